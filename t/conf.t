#!/usr/bin/env python3
"""The options, their manual and the samples say the same, both ways; -t takes the samples."""
import collections
import glob
import os
import re
import shutil
import sys

sys.path.insert(0, "t/lib")
from harness import *

# Which part of which manual describes the options of a block, and the sample that shows them.
BLOCKS = {
    "daemon": ("conf", "DAEMON"), "listener": ("conf", "LISTENERS"),
    "source": ("conf", "SOURCES"), "sqlite source": ("conf", "SQLITE SOURCES"),
    "mysql source": ("conf", "MYSQL SOURCES"), "ldap source": ("conf", "LDAP SOURCES"),
    "map": ("maps", "MAPS"), "table": ("maps", "TABLES"),
    "sqlite table": ("maps", "SQLITE TABLES"), "mysql table": ("maps", "MYSQL TABLES"),
    "ldap table": ("maps", "LDAP TABLES"),
}
SAMPLES = {"conf": ["contrib/socketmapd.conf"], "maps": sorted(glob.glob("maps.d/*.conf"))}
Option = collections.namedtuple("Option", "block name type default required reload")


def read(path):
    with open(path) as f:
        return f.read()


def known_options():
    lines = run(PROGRAM, "--options").stdout.splitlines()
    return [Option(*line.split("\t")) for line in lines]


def sections(page):
    """Section title to its text."""
    parts = re.split(r"^\.Sh (.*)$", read("man/socketmapd.%s.5" % page), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2]))


def manual_options(block):
    """Name to (type, default, text) of the entries of a section; with a default as in --options."""
    page, title = BLOCKS[block]
    text = sections(page).get(title, "")
    entries = re.split(r"^\.It Ic ", text, flags=re.M)[1:]
    found = {}
    for entry in entries:
        head, _, body = entry.partition("\n")
        m = re.fullmatch(r"(\S+) Ar (\S+)(?: Pq (.*))?", head)
        if not m:
            found[head] = "not in the form: .It Ic name Ar type [Pq default]"
            continue
        default = (m[3] or "-").replace(r"\(dq", '"')
        found[m[1]] = m[2], default, " ".join(body.split())
    return found


def check_manual(options):
    for block in BLOCKS:
        manual = manual_options(block)
        known = {o.name: o for o in options if o.block == block}
        same(sorted(manual), sorted(known), "the manual has the %s options and no others" % block)
        wrong = []
        for name in set(manual) & set(known):
            o = known[name]
            default = "required" if o.required == "required" else o.default
            if manual[name][:2] != (o.type, default):
                wrong.append("%s: %s in the manual, %s in the program" %
                             (name, manual[name][:2], (o.type, default)))
            if ("needs a restart" in manual[name][2]) != (o.reload == "restart"):
                wrong.append("%s: about restarts" % name)
        ok(not wrong, "types and defaults of the %s options are right" % block, *wrong)


def sample_settings(path):
    """(name, value, is a comment) of every setting in a sample, commented ones included."""
    for line in read(path).splitlines():
        bare = re.sub(r'"(?:[^"\\]|\\.)*"', lambda m: '"' + "x" * (len(m[0]) - 2) + '"', line)
        is_comment = bare.lstrip().startswith("#")
        if is_comment and not re.match(r"\s*# [A-Za-z_]+ = .*;", bare):
            continue            # prose
        for m in re.finditer(r"(?:^|[{;#])\s*([A-Za-z_]+) = ([^;]*)", bare):
            yield m[1], line[m.start(2):m.end(2)], is_comment


def check_samples(options):
    for page, paths in SAMPLES.items():
        known = [o for o in options if BLOCKS[o.block][0] == page]
        defaults = collections.defaultdict(set)
        for o in known:
            if o.default not in ("-", '""') and not o.default.startswith(("by ", "of ", "beside ")):
                defaults[o.name].add(re.match(r"[^;]*", o.default)[0])
        shown = {s for path in paths for s in sample_settings(path)}
        same(sorted({s[0] for s in shown}), sorted({o.name for o in known}),
             "%s: the sample shows every option and no others" % page)
        wrong = [s for s in shown if s[2] and defaults[s[0]] and "default" not in s[1] and
                 s[0] != "max_age" and s[1].strip('"') not in defaults[s[0]]]
        ok(not wrong, "%s: what the sample has in comments is the default" % page, *wrong)


def check_program(dir):
    shutil.copy("contrib/socketmapd.conf", dir)
    shutil.copytree("maps.d", dir + "/maps.d")
    conf = dir + "/socketmapd.conf"
    p = run(PROGRAM, "-t", "-c", conf)
    same(p.returncode, 0, "-t takes the samples")
    notes = [l for l in p.stderr.splitlines() if "there is no /var/lib/" not in l and ".conf:" in l]
    same(notes, [], "and has nothing to remark, except that there is no database yet")

    with open(dir + "/maps.d/transport_maps.conf", "a") as f:
        f.write('refersh = "1m";\n')
    with open(conf, "a") as f:
        f.write('threads = "2";\n')
    p = run(PROGRAM, "-t", "-c", conf)
    same(p.returncode, 1, "a typing error is an error")
    like(p.stderr, r'socketmapd\.conf:\d+: threads: wants', "told with file and line,")
    like(p.stderr, r'maps\.d/transport_maps\.conf:\d+: unknown setting "refersh"; '
         r'did you mean "refresh"\?', "and all at once")

    p = run(PROGRAM, "-t", "-c", dir + "/none.conf")
    same((p.returncode, "none.conf" in p.stderr), (1, True), "so is a file that is not there")


def check_lint():
    if not shutil.which("mandoc"):
        ok(False, "mandoc is installed")
        return
    for page in sorted(glob.glob("man/*.[1-8]")):
        lines = run("mandoc", "-T", "lint", page).stdout.splitlines()
        wrong = [l for l in lines if "referenced manual not found" not in l]
        ok(not wrong, "mandoc has nothing to say about %s" % page, *wrong)


options = known_options()
ok(len(options) > 60, "the program lists its options")
same(sorted({o.block for o in options}), sorted(BLOCKS), "in the blocks that are known here")
same(len({(o.block, o.name) for o in options}), len(options), "each once")
check_manual(options)
check_samples(options)
check_program(scratch())
check_lint()
done()
