#!/usr/bin/env python3
"""Every fuzz target replays its corpus, then looks for more for FUZZ_SECONDS (5)."""
import glob
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, "t/lib")
from harness import done, ok

SECONDS = int(os.environ.get("FUZZ_SECONDS", "5"))
SEED = os.environ.get("FUZZ_SEED", "1")     # the same walk each time; `make fuzz` walks elsewhere
TELLING = ("Assertion", "ERROR", "SUMMARY", "runtime error", "Test unit", "Base64")


def check(what, name, args):
    """Run a target; what it finds is left in build/fuzz/."""
    command = [f"build/fuzz/{name}", f"-artifact_prefix=build/fuzz/{name}-", "-timeout=5",
               "-rss_limit_mb=1024", *args]
    try:
        run = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, timeout=SECONDS + 120)
    except (OSError, subprocess.TimeoutExpired) as error:
        return ok(False, f"{name} {what}", error)
    lines = run.stdout.decode(errors="replace").splitlines()
    told = [line for line in lines if any(word in line for word in TELLING)]
    return ok(run.returncode == 0, f"{name} {what}", *(told or lines[-5:]))


for target in sorted(glob.glob("t/fuzz/*.c")):
    name = os.path.basename(target)[:-len(".c")]
    corpus, words = f"t/fuzz/corpus/{name}", f"t/fuzz/{name}.dict"
    inputs = sorted(glob.glob(corpus + "/*"))
    ok(inputs, f"{name} has a corpus")
    check("replays its corpus", name, inputs)
    with tempfile.TemporaryDirectory() as found:
        args = [f"-dict={words}"] if os.path.exists(words) else []
        args += [f"-seed={SEED}", f"-max_total_time={SECONDS}", found, corpus]
        check("finds nothing new", name, args)
done()
