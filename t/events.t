#!/usr/bin/env python3
"""The events that the code logs are those that socketmapd(8) describes, both ways."""
import glob
import re
import sys

sys.path.insert(0, "t/lib")
from harness import *

NAME = r'"([a-z_]+)"'
CALL = r'\blog_(?:event|error|warn|info|debug|errors)\([^";]*' + NAME + r"(?:\s*:\s*" + NAME + ")?"


def in_code():
    """{event: a file that logs it}"""
    found = {}
    for path in sorted(glob.glob("src/[!b]*/*.c")):
        with open(path) as f:
            for names in re.findall(CALL, f.read()):
                found |= {name: path for name in names if name}
    return found


def in_manual():
    with open("man/socketmapd.8") as f:
        section = re.search(r"^\.Sh LOG\n(.*?)^\.Sh ", f.read(), re.M | re.S)[1]
    items = re.findall(r"^\.It Ic (.+)$", section, re.M)
    return {name for item in items for name in item.split(" , ")}


code, manual = in_code(), in_manual()
ok(len(code) > 40, "the events are found in the code", len(code))
same({e: f for e, f in code.items() if e not in manual}, {}, "all are described")
same(sorted(manual - set(code)), [], "and no others")
done()
