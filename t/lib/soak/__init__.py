"""What t/soak.t is made of: directories that change, faults, clients, and the judge of all answers."""
