#!/usr/bin/env python3
"""Holds the code to DESIGN 10: layers, one home per library, one maker of NOTFOUND, sizes."""
import os
import re
import sys

MAY_KNOW = {
    "base": {"base"},
    "wire": {"wire", "base"},
    "store": {"store", "base"},
    "driver": {"driver", "base", "wire"},
    "engine": {"engine", "base", "wire", "store"},
    "daemon": {"daemon", "engine", "base", "wire", "store"},
    "ctl": {"ctl", "base"},
}
# The files that may include a third-party header; libuv is the loop of two layers.
LIBRARY_HOME = {
    "uv.h": r"(src|include)/(engine|daemon)/",
    "libconfig.h": r"src/daemon/conf_file\.c",
    "microhttpd.h": r"src/daemon/http\.c",
    "jansson.h": r"(src/daemon/(status|explain|json|control(_\w+)?)|src/ctl/\w+|include/(daemon/json|ctl/\w+))\.[ch]",
    "mariadb/mysql.h": r"(src|include)/driver/mysql",
    "mariadb/errmsg.h": r"src/driver/mysql",
    "mariadb/mysqld_error.h": r"src/driver/mysql",
    "ldap.h": r"(src|include)/driver/ldap",
    "openldap.h": r"src/driver/ldap_connect\.c",
    "sasl/sasl.h": r"src/driver/ldap_bind\.c",
    "openssl/err.h": r"src/driver/ldap_tls\.c",
    "openssl/ssl.h": r"src/driver/ldap_tls\.c",
    "openssl/x509v3.h": r"src/driver/ldap_tls\.c",
    "sqlite3.h": r"src/driver/sqlite\.c",
    "curl/curl.h": r"src/ctl/client\.c",
    "cdb.h": r"src/store/cdb_export\.c",
    "utf8proc.h": r"src/base/fold\.c",
    "xxhash.h": r"src/base/hash\.c",
}
LINES_MAX = 600
FUNCTION_MAX = 60

failures = []


def sources():
    for top in ("src", "include"):
        for folder, _, names in os.walk(top):
            for name in sorted(names):
                if name.endswith((".c", ".h")):
                    yield os.path.join(folder, name)


def check_includes(path, text):
    layer = path.split("/")[1]
    for ours in re.findall(r'^#include "([^"]+)"', text, re.M):
        if ours.split("/")[0] not in MAY_KNOW[layer]:
            failures.append("%s reaches into %s" % (path, ours))
    for theirs in re.findall(r"^#include <([^>]+)>", text, re.M):
        home = LIBRARY_HOME.get(theirs)
        if home and not re.match(home, path):
            failures.append("%s includes %s, whose home is %s" % (path, theirs, home))
    own = path.replace("src/", "").replace(".c", ".h")
    if path.endswith(".c") and os.path.exists("include/" + own):
        first = re.search(r'^#include [<"]([^>"]+)[>"]', text, re.M)
        if first.group(1) != own:
            failures.append("%s does not include its own header first" % path)


def check_notfound(path, text):
    """NOTFOUND may be compared and named in tables, but made in one function only."""
    if path == "src/base/verdict.c":
        return
    code = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    for line in code.split("\n"):
        if not re.search(r"\bNOTFOUND\b", line) or re.search(r'"[^"]*NOTFOUND', line):
            continue
        if re.search(r"[!=]= *NOTFOUND\b|case NOTFOUND:|\[NOTFOUND\] *=|^\s*NOTFOUND,", line):
            continue
        failures.append("%s makes a NOTFOUND: %s" % (path, line.strip()))


def check_sizes(path, text):
    lines = text.split("\n")
    if len(lines) > LINES_MAX:
        failures.append("%s has %d lines" % (path, len(lines)))
    start = None
    for number, line in enumerate(lines, 1):
        if line == "{":
            start = number
        elif line == "}" and start:
            if number - start > FUNCTION_MAX:
                failures.append("%s:%d: a function of %d lines" % (path, start, number - start))
            start = None


checks = [
    ("layers include only lower ones, libraries have one home", check_includes),
    ("one function makes NOTFOUND", check_notfound),
    ("files and functions stay readable", check_sizes),
]
print("1..%d" % len(checks))
status = 0
for number, (name, check) in enumerate(checks, 1):
    failures.clear()
    for path in sources():
        with open(path, encoding="utf-8") as f:
            check(path, f.read())
    print("%sok %d - %s" % ("not " if failures else "", number, name))
    for failure in failures:
        print("# " + failure)
        status = 1
sys.exit(status)
