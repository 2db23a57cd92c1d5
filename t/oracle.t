#!/usr/bin/env python3
# sanitizers: yes
"""Real Postfix is the oracle: for its sqlite: tables we answer every key as postmap does."""
import random
import sys

sys.path.insert(0, "t/lib")
from harness import *
from oracle import Oracle

RANDOM_TABLES = 60
# The key column can be copied where Postfix asks for it with a plain '='. It asks for folded keys
# only, so that stored ones that are not folded themselves are found by nobody; we would fold them.
FOLDED = "{0} = lower({0}) AND instr({0}, 'ß') = 0 AND instr({0}, 'İ') = 0"
FORWARDINGS = ("SELECT address, forwarding FROM forwardings WHERE active=1 AND "
               + FOLDED.format("address") + " ORDER BY id")
KV = "SELECT k, v FROM kv WHERE " + FOLDED.format("k")
SCAN = {
    "lite_alias": FORWARDINGS,
    "lite_legacy": FORWARDINGS,
    "lite_domains": "SELECT domain, domain FROM domain WHERE active=1 AND " + FOLDED.format("domain"),
    "lite_mailbox": "SELECT username, storagenode || '/' || maildir FROM mailbox WHERE active=1 AND "
                    + FOLDED.format("username"),
    "lite_kv": KV,
    "lite_trailing_statement": KV + "; SELECT 'never'; this is not SQL",
    "lite_first_column": "SELECT k, a FROM multi WHERE " + FOLDED.format("k") + " ORDER BY rowid",
    "lite_rows_limit_3": "SELECT k, v FROM rowset WHERE " + FOLDED.format("k") + " ORDER BY seq",
    "lite_types": "SELECT k, d FROM types UNION ALL SELECT k, f FROM types"
                  " UNION ALL SELECT k, b FROM types",
}

# What tables made up at random consist of: a query, with something for each {}, and the rest.
PIECES = ["%s"] * 4 + ["%u"] * 2 + """%S %d %U %D %1 %2 %% '' x @ . - %u@%d @%d / %%s " \\ -- /* ? :a [
""".split() + [" "]
QUERIES = ["SELECT v FROM kv WHERE k='{}'"] * 6 + ["SELECT '{}'"] * 4 + """
SELECT v FROM kv WHERE k='{}' OR k='{}' ORDER BY rowid
SELECT v FROM kv WHERE k LIKE '{}' ORDER BY rowid
SELECT v FROM kv WHERE k GLOB '{}' ORDER BY rowid
SELECT 'a' UNION ALL SELECT '{}' UNION ALL SELECT v FROM kv WHERE k='{}'
SELECT v FROM kv WHERE k='{}' -- {}
SELECT v /* {} */ FROM kv WHERE k='%s'
SELECT v FROM kv WHERE k="{}"
SELECT 1 AS '{}'
SELECT v '{}' FROM kv WHERE k = '{}'
SELECT v FROM [kv] WHERE `k`='{}'; SELECT '{}'
SELECT name FROM num WHERE id='{}'
SELECT X'{}'
SELECT forwarding FROM forwardings WHERE address='%s' AND '{}' <> '' ORDER BY id
SELECT forwarding FROM forwardings WHERE address='%u@%d' OR address = '@%d' ORDER BY id
SELECT v FROM rowset WHERE k='%s' ORDER BY seq
SELECT '{}','{}'
""".strip().splitlines()
DOMAINS = ["d1.example", "!d1.example, d1.example", "D1.Example bulk.example", "!!d1.example",
           "bulk.example,, d1.example !user.example"]


def random_table(pick):
    """A table file for the oracle, with the lines that tell which keys to ask."""
    def some(n):
        return "".join(pick.choices(PIECES, k=pick.randint(1, n)))

    query = pick.choice(QUERIES)
    while "{}" in query:
        query = query.replace("{}", some(3), 1)
    lines = ["#@ type: sqlite", "#@ class: unsafe", "#@ desc: made up",
             "#@ pools: lite.odd.key, lite.odd.rowkey, lite.vmail.alias",
             "#@ keys: " + pick.choice(("address", "bare", "domain")),
             "dbpath = @@SQLITE_DB@@", "query = " + query]
    if pick.random() < 0.5:
        lines.append("result_format = " + (some(4).strip() or "%s"))
    if pick.random() < 0.3:
        lines.append("domain = " + pick.choice(DOMAINS))
    if pick.random() < 0.2:
        lines.append("expansion_limit = %d" % pick.randint(1, 3))
    return "\n".join(lines) + "\n"


made = {"lite_random_%02d" % i: random_table(random.Random(i)) for i in range(RANDOM_TABLES)}
oracle = Oracle("lite", made, "--no-ldap", "--no-mysql")
maps = {t: {"postfix_table": "sqlite:" + f, "search": "exact"} for t, f in oracle.tables.items()}
for t, query in SCAN.items():
    maps["mirror-" + t] = dict(maps[t], mode="mirror", scan_query=query, on_miss="notfound",
                               refresh="1h")
with Server(maps=maps) as server:
    loaded = [server.wait_for_event("refreshed", map="mirror-" + t) for t in SCAN]
    ok(all(loaded), "the mirrors are loaded", server.log())
    oracle.compare(server, "asked", "{table}", oracle.tables)
    oracle.compare(server, "cached", "{table}", oracle.tables)
    oracle.compare(server, "mirrored", "mirror-{table}", SCAN)

done()
