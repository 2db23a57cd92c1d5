#!/usr/bin/env python3
"""What man/socketmapd-driver.7 shows is true: the session by hand, and the driver of 30 lines."""
import os
import sys

sys.path.insert(0, "t/lib")
from harness import *


def examples():
    """The literal blocks of the page's EXAMPLES, as they are read."""
    with open("man/socketmapd-driver.7") as f:
        page = f.read().partition(".Sh EXAMPLES\n")[2]
    blocks = [b.partition("\n")[2] for b in page.split(".Bd ")[1:]]
    return [b.partition(".Ed\n")[0].replace("\\e", "\\") for b in blocks]


session, program, configuration = examples()
dir = scratch()

# --- the session: what is typed, and what must come of it -------------------------------------

typed, said, continues = [], [], False
for line in session.splitlines():
    if line.startswith("$ ") or continues:
        typed.append(line.removeprefix("$ "))
        continues = line.endswith(("\\", "|"))
    else:
        said.append(line)
versions = run(BUILD + "/socketmapd-sqlite", "--version").stdout.split()
os.environ["PATH"] = os.path.abspath(BUILD) + ":" + os.environ["PATH"]
for shell in ("bash", "dash"):
    p = run(shell, "-c", "\n".join(typed).replace("/tmp/demo", dir + "/" + shell))
    got = p.stdout.splitlines()
    hello = "hello 1 %s/%s %s %s" % tuple(versions)
    same(got[0], "%d:%s," % (len(hello), hello), "%s: the driver says hello" % shell)
    same(got[1:], said[1:], "%s: the session by hand goes as the page says" % shell)

# --- the driver: the page's configuration, word for word ---------------------------------------

driver, data = dir + "/lines.py", dir + "/aliases.txt"
replace(driver, program)
os.chmod(driver, 0o755)
replace(data, "joe@x.test joe@y.test\n\njim@x.test jim@y.test, jo@y.test\njoe@x.test two@y.test\n")
table = configuration.partition(");\n\n")[2]
server = Server(
    maps={"virtual_alias_maps": table + 'negative_ttl = "0s";\n',
          "asked": {"source": "lines", "search": "exact", "ttl": "100ms", "stale_max": "0s"}},
    sources=[{"name": "lines", "driver": driver, "path": data, "timeout": "20s",
              "start_timeout": "20s"}])

with server:
    found = server.wait_for_reply("virtual_alias_maps", "Joe@x.test", "^OK")
    same(found, "OK joe@y.test,two@y.test", "its rows make a mirror")
    same(server.ask("virtual_alias_maps", "jill@x.test"), "NOTFOUND ", "a key it lacks is absent")
    same(server.ask("asked", "jim@x.test"), "OK jim@y.test, jo@y.test", "it is asked for a key")
    same(server.ask("asked", "jill@x.test"), "NOTFOUND ", "and for one that it lacks")
    replace(data, "joe@x.test\n")
    like(server.ask("asked", "jack@x.test"), "^TEMP ", "a line that it cannot read is no answer")
    os.unlink(data)
    like(server.ask("asked", "jane@x.test"), "^TEMP ", "nor is a file that is gone")
    replace(data, "jane@x.test back@y.test\n")
    same(server.wait_for_reply("asked", "jane@x.test", "^OK"), "OK back@y.test",
         "and then it answers again")

done()
