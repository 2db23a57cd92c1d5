#!/usr/bin/env python3
# sanitizers: yes
"""Why a map says what it says: the causes in words, the facts in JSON, and that asking changes nothing."""
import os
import signal
import sys
import threading
import time
import urllib.parse

sys.path.insert(0, "t/lib")
from driver import Driver
from harness import *
from mariadb import MariaDB, PROGRAMS as MARIADB_PROGRAMS
from slapd import SUFFIX, PROGRAMS as SLAPD_PROGRAMS, Slapd
from stall import Stopped, thread_of
from web import ask, ask_json

ODD = "o'(\\)\"*@d.example"      # quotes, parentheses, a backslash, a star
ROWS = {"joe@d.example": "joe@box.example", "@c.example": "all@box.example",
        "bare": "bare@box.example", "changed@d.example": "old@box.example",
        "gone@d.example": "gone@box.example", ODD: "odd@box.example"}
SECRET = "the-password-of-nobody"


def sql_of(rows):
    quote = lambda s: "'" + s.replace("'", "''") + "'"
    return "INSERT INTO alias VALUES %s;" % ", ".join(
        "(%s, %s)" % (quote(k), quote(v)) for k, v in rows.items())


class World(Server):
    """A server with an HTTP socket, and what is asked of it."""

    def __init__(self, *args, **kw):
        super().__init__(*args, **dict({"start_wait": "100ms"}, **kw))
        self.web = "unix:%s/web" % self.dir
        self.listeners.append({"protocol": "http", "address": self.web})

    @staticmethod
    def query(**arguments):
        return "&".join("%s=%s" % (k, urllib.parse.quote(v.encode("utf-8", "surrogateescape")))
                        for k, v in arguments.items())

    def explain(self, map, key, **more):
        status, x = ask_json(self.web, "/v1/explain?" + self.query(map=map, key=key, **more))
        return x if status == 200 else (status, x.get("error"))

    def lookup(self, map, key):
        status, x = ask_json(self.web, "/v1/maps/%s?%s" % (map, self.query(key=key)))
        return x if status == 200 else (status, x.get("error"))

    def noted(self):
        """How many keys each map's caches know of."""
        status = ask_json(self.web, "/v1/status")[1]
        return {m["name"]: sum(t["cached"] for t in m["tables"]) for m in status["maps"]}


def table(x, step=0, index=0):
    return x["steps"][step]["tables"][index]


def keys(x, reached=True):
    return [s["key"] for s in x["steps"] if s["reached"] >= reached]


def says(x, pattern, name):
    return like(x["why"] if isinstance(x, dict) else str(x), pattern, name + ": in words")


# --- what is asked of directories ----------------------------------------------------------------

def lite(dir):
    path = dir + "/mail.sqlite"
    database(path, "CREATE TABLE alias(address TEXT, goto TEXT);" + sql_of(ROWS))
    return {"name": "lite", "driver": "sqlite", "dbpath": path}


ALIAS = "SELECT goto FROM alias WHERE address = '%s'"


def check_queries(db, slapd):
    """The same key to all three; what they got is known of the directories themselves, where they tell."""
    server = World(recipient_delimiter="+")
    server.sources = [lite(server.dir), db.source("db", password="secret"),
                      slapd.source("ldap", bind_pw="secret")]
    exact = {"search": "exact", "ttl": "1h"}
    server.maps = {
        "of_sqlite": dict(exact, source="lite", query=ALIAS),
        "of_sqlite_bare": dict(exact, source="lite",
                               query="SELECT goto FROM alias WHERE '%s' = address OR %s"),
        "of_mysql": dict(exact, source="db", query=ALIAS),
        "of_mysql_text": dict(exact, source="db",
                              query="SELECT goto FROM alias WHERE address = '%s' -- %s"),
        "of_ldap": dict(exact, source="ldap", search_base=SUFFIX, result_attribute="maildrop",
                        query_filter="(mailacceptinggeneralid=%s)"),
        "of_group": dict(exact, source="ldap", search_base="ou=%d,dc=example,dc=com",
                         query_filter="(cn=%u)", result_attribute="mail",
                         special_result_attribute="member", scope="one")}
    with server:
        for map, query in (
                ("of_sqlite", "SELECT goto FROM alias WHERE address = 'o''(\\)\"*@d.example'"),
                ("of_mysql", "SELECT goto FROM alias WHERE address = 'o\\'(\\\\)\\\"*@d.example'"),
                ("of_mysql_text", "SELECT goto FROM alias WHERE address = 'o\\'(\\\\)\\\"*@d.example'"
                 " -- o\\'(\\\\)\\\"*@d.example"),
                ("of_ldap", 'base "dc=example,dc=com" scope sub filter "(mailacceptinggeneralid='
                            'o\'\\28\\5C\\29"\\2A@d.example)" attributes maildrop')):
            x = server.explain(map, ODD)
            d = table(x)["directory"]
            same(d["queries"], [query], map + ": the query, expanded and escaped")
            same((d["verdict"], d["value"], x["answer"]["value"]), ("FOUND",) + (ROWS[ODD],) * 2,
                 map + ": which finds it")
            ok(0 < d["took"] < 60 and table(x)["asks"], map + ": in some time")
            same((table(x)["source_state"], table(x)["state"]), ("up", "DEMAND"), map + ": a source")
            says(x, "directory .* was asked just now, and has ", map)
        x = server.explain("of_sqlite_bare", "x) OR (1")
        like(table(x)["directory"]["queries"][0], r"OR x\) or \(1$", "what is not bound")
        says(x, "failed in source \"lite\": .*syntax error", "a statement that cannot be")
        same(x["answer"]["reason_class"], "failed", "is a failed lookup")

        x = server.explain("of_group", "team@d.example")
        queries = table(x)["directory"]["queries"]
        same(queries[0], 'base "ou=d.example,dc=example,dc=com" scope one filter "(cn=team)" '
             "attributes mail member", "LDAP: the search")
        same(sorted(q.split('"')[1] for q in queries[1:]),
             ["cn=%s,ou=d.example,dc=example,dc=com" % n for n in ("ann", "bob")],
             "LDAP: and what its entries lead to")
        ok(all(" scope base " in q for q in queries[1:]), "LDAP: which are entries", queries)
        same(sorted(x["answer"]["value"].split(",")), ["ann@box.example", "bob@box.example"],
             "LDAP: the members")
        same(set(server.noted().values()), {0}, "nothing of all that is in a cache")
        same([server.ask(m, ODD) for m in ("of_sqlite", "of_mysql", "of_ldap")],
             ["OK " + ROWS[ODD]] * 3, "clients get the same")
        same([server.explain(m, ODD)["answer"]["from"] for m in ("of_sqlite", "of_mysql", "of_ldap")],
             ["cache"] * 3, "and from then on the caches know")
        text = "".join(ask(server.web, "/v1/explain?" + server.query(map=m, key=ODD)).body.decode()
                       for m in server.maps)
        ok("secret" not in text and "cn=reader" not in text, "no password, no bind DN")
    with Driver("sqlite", {"dbpath": server.sources[0]["dbpath"]}, {"1": {"query": ALIAS}}) as d:
        same(d.explain("1", "joe@d.example"),
             ([ROWS["joe@d.example"]], [ALIAS % "joe@d.example"]), "a driver by itself explains")
        same((d.lookup("1", "joe@d.example"), d.queries), ([ROWS["joe@d.example"]], []),
             "and tells of no query in a lookup")
        for i in range(3):
            d.say("lookup 1 joe@d.example")
            d.say("explain 1 joe@d.example")
        same([(len(d.hear().rows), len(d.queries)) for i in range(6)], [(1, 0), (1, 1)] * 3,
             "nor of one in the reply before")
        d.explain("1", "x" * ((1 << 20) - 20))
        same(len(d.queries[0]), (1 << 20) - len("query "), "a query longer than a message is cut")


# --- mirrors -------------------------------------------------------------------------------------

def check_mirrors():
    server = World(recipient_delimiter="+")
    source = lite(server.dir)
    virtual = {"source": "lite", "search": "virtual", "mode": "mirror", "refresh": "1h",
               "query": ALIAS, "scan_query": "SELECT address, goto FROM alias"}
    server.sources = [source]
    server.maps = {
        "virtual_alias_maps": virtual,
        "trusting": dict(virtual, on_miss="notfound"),
        "listed": dict(virtual, domain="d.example"),
        "local_part": dict(virtual, query="SELECT goto FROM alias WHERE address = '%u@%d'"),
        "two": {"search": "virtual", "tables": [
            dict({k: v for k, v in virtual.items() if k != "search"}, domain="none.example"),
            {"source": "lite", "query": ALIAS, "ttl": "1h"}]}}
    with server:
        for m in "virtual_alias_maps", "trusting", "listed", "local_part":
            server.wait_for_event("refreshed", map=m)
        same(server.ask("virtual_alias_maps", "joe+tag@d.example"), "OK joe+tag@box.example",
             "a client")
        before = server.noted()

        x = server.explain("virtual_alias_maps", "JOE@d.example")
        says(x, r'^"joe@d.example" is in the mirror of source "lite", which is \d+ m?s old\.$',
             "a plain hit")
        same((keys(x), keys(x, False)), (["joe@d.example"], ["joe@d.example", "@d.example"]),
             "a plain hit: the keys in order, and which are reached")
        t = table(x)
        same([t[k] for k in ("mode", "state", "mirror", "mirror_value", "verdict", "from", "asks",
                             "value", "index", "source", "why_not", "rejected", "scan_why")],
             ["mirror", "FRESH", "hit", "joe@box.example", "FOUND", "mirror", False,
              "joe@box.example", 0, "lite", None, None, None], "a plain hit: the table")
        same((t["directory"]["verdict"], t["directory"]["value"]), ("FOUND", "joe@box.example"),
             "a plain hit: the directory says the same")
        same(t["cache"], {"noted": "nothing", "fresh": False, "usable": False, "in_flight": False,
                          "age": None, "value": None}, "a plain hit: no single key is noted")
        a = x["answer"]
        same([a[k] for k in ("verdict", "value", "matched_key", "step", "from", "stale", "reason",
                             "reason_class")],
             ["FOUND", "joe@box.example", "joe@d.example", 0, "mirror", False, None, None],
             "a plain hit: the answer")
        same(x["replies"], {"socketmap": "OK joe@box.example", "tcp_table": "200 joe@box.example"},
             "a plain hit: the replies")
        ok(0 < t["age"] < 600 and abs(a["age"] - t["age"]) < 1 and x["note"] is None and
           x["search"] == "virtual", "a plain hit: ages", x)

        x = server.explain("virtual_alias_maps", "joe+tag@d.example")
        says(x, '^"joe@d.example", the address without its extension, is in the mirror', "plus")
        same(keys(x), ["joe+tag@d.example", "joe@d.example"], "plus: the keys")
        same((x["answer"]["value"], x["answer"]["step"], x["replies"]["socketmap"]),
             ("joe+tag@box.example", 1, "OK joe+tag@box.example"), "plus: as for the client")
        x = server.explain("virtual_alias_maps", "who@c.example")
        says(x, '^"@c.example", the catch-all of the domain, is in the mirror', "a catch-all")
        same(x["answer"]["matched_key"], "@c.example", "a catch-all: the key")

        x = server.explain("listed", "joe@e.example")
        says(x, "^Nothing is looked up for this key: .*domain list.* Postfix would not ask", "not in domain")
        same((x["answer"]["verdict"], x["answer"]["from"], table(x)["directory"]),
             ("NOTFOUND", "rules", None), "not in domain: not found by the rules")
        like(table(x)["why_not"], "domain list", "not in domain: as the table says")
        x = server.explain("local_part", "bare")
        says(x, "^Nothing is looked up .* lacks a part that .* templates need.* Postfix would not",
             "nothing for %d")
        x = server.explain("virtual_alias_maps", "")
        says(x, "key is empty", "an empty key")
        x = server.explain("virtual_alias_maps", "\udcff@d.example")
        says(x, "not UTF-8", "no UTF-8")
        same((x["steps"], x["answer"]["verdict"], x["key"]), ([], "NOTFOUND", "\\xff@d.example"),
             "no UTF-8: never looked up")

        x = server.explain("trusting", "nobody@d.example")
        says(x, 'mirror of source "lite", which is .* old, has none of the 2 keys that are tried, and '
                "is complete", "a trusted miss")
        x = server.explain("virtual_alias_maps", "nobody@d.example")
        says(x, 'directory of source "lite" was asked just now, and said "not found"', "an asked miss")
        same((table(x)["asks"], table(x)["mirror"], x["answer"]["from"]), (True, "miss", "directory"),
             "an asked miss: by the directory")
        x = server.explain("virtual_alias_maps", "nobody@d.example", live="0")
        same((table(x)["directory"], x["answer"]["verdict"], x["answer"]["from"]),
             (None, "NOTFOUND", "mirror"), "not live: what the mirror says alone")
        like(x["note"], "no directory was asked", "not live: is noted")

        x = server.explain("two", "who@c.example")
        same([(t["index"], t["reached"], bool(t["why_not"]), t["mode"]) for t in x["steps"][1]["tables"]],
             [(0, True, True, "mirror"), (1, True, False, "demand")], "two tables: each about each key")
        says(x, r'directory of source "lite" \(table 1\) .* has "@c.example", the catch-all', "two tables")
        x = server.explain("two", "nobody@d.example")
        says(x, r"2 of the 4 lookups are left out: .*Postfix would not ask", "two tables: what is left out")
        same(server.explain("virtual_alias_map", "x"),
             (404, 'no such map: virtual_alias_map; did you mean "virtual_alias_maps"?'), "no such map")
        same(server.lookup("virtual_alias_map", "x")[0], 404, "nor to look up in")

        rows = {k: v for k, v in ROWS.items() if k != "gone@d.example"}
        database(source["dbpath"] + ".new", "CREATE TABLE alias(address TEXT, goto TEXT);" +
                 sql_of(dict(rows, **{"changed@d.example": "new@box.example",
                                      "added@d.example": "added@box.example"})))
        os.rename(source["dbpath"] + ".new", source["dbpath"])
        x = server.explain("virtual_alias_maps", "changed@d.example")
        says(x, 'is in the mirror .* But the directory says otherwise by now: "changed@d.example" has the '
                'value "new@box.example"; the next refresh comes in about \\d+ min, or at once with '
                "`socketmapctl refresh virtual_alias_maps`", "another value")
        same((x["answer"]["value"], table(x)["directory"]["value"]),
             ("old@box.example", "new@box.example"), "another value: clients get the mirror's")
        x = server.explain("virtual_alias_maps", "gone@d.example")
        says(x, 'But the directory says otherwise by now: "gone@d.example" is not found', "a deleted key")
        x = server.explain("trusting", "added@d.example")
        says(x, 'directory says otherwise .* "added@d.example" has the value "added@', "a new key, trusted")
        x = server.explain("virtual_alias_maps", "added@d.example")
        says(x, 'directory .* has "added@d.example".* The mirror, .* old, does not have it yet: the next '
                "refresh comes in about ", "a new key")
        same(server.noted(), before, "no cache has learnt from explaining")


# --- trouble -------------------------------------------------------------------------------------

MIRROR = {"search": "exact", "mode": "mirror", "on_miss": "notfound", "refresh": "1h"}
MANY = {"k%d" % i: "v%d" % i for i in range(100)}
TROUBLE = {
    "fresh": MIRROR, "stale": dict(MIRROR, refresh="1s", max_age="1s", stale_max="1h"),
    "of_nobody": dict(MIRROR, search="domain"),
    "by_domain": dict(MIRROR, refresh="1s", max_age="1s", stale_max="1h", stale_miss="domain", domains="of_nobody"),
    "expired": dict(MIRROR, refresh="1s", max_age="1s", stale_max="2s"),
    "empty": MIRROR, "too_small": dict(MIRROR, min_entries=500),
    "rejected": dict(MIRROR, refresh="1s"),
    "asking": dict(MIRROR, on_miss="ask"),
    "negative": {"search": "exact", "negative_ttl": "1h"},
    "kept": {"search": "exact", "ttl": "100ms", "stale_max": "1h"},
    "slow": {"search": "exact", "deadline": "300ms"},
    "dead": {"search": "exact", "deadline": "1s"},
    "hidden": {"search": "exact", "secret": True},
    "long": {"search": "exact"}, "unusable": {"search": "exact", "expansion_limit": 1},
    "dies": {"search": "exact"},
}


def trouble_world():
    server = World()
    directories = {}
    for name, settings in TROUBLE.items():
        d = directories[name] = Directory(server.dir, name)
        d.rows(dict(MANY, two=["a", "b"], long5="x" * 5000, long200="x" * 200000))
        server.maps[name] = dict(settings, source=name)
        server.sources.append(d.source(timeout="2s", connections=2, bind_pw=SECRET))
    return server, directories


def check_answers(server):
    """What may be asked without trouble."""
    x = server.lookup("negative", "k7")
    same([x[k] for k in ("map", "key", "verdict", "value", "matched_key", "step", "from", "stale",
                         "age", "reason", "reason_class")],
         ["negative", "k7", "FOUND", "v7", "k7", 0, "directory", False, None, None, None],
         "one lookup as JSON")
    x = server.lookup("negative", "k7")
    ok(x["from"] == "cache" and 0 <= x["age"] < 60, "the next one by the cache", x)
    x = server.lookup("fresh", "k7")
    ok(x["from"] == "mirror" and 0 < x["age"] < 600, "by a mirror, which has an age", x)
    x = server.lookup("fresh", "nobody")
    ok(x["verdict"] == "NOTFOUND" and x["from"] == "mirror" and x["value"] is None and
       0 < x["age"] < 600, "an absence, too", x)
    same(server.ask("negative", "k7"), "OK v7", "as for a client")
    for map, key, status in (("hidden", "k7", 403), ("hiddem", "k7", 404)):
        same((server.lookup(map, key)[0], server.explain(map, key)[0]), (status,) * 2,
             "%s: %d" % (map, status))
    ok("secret" in server.explain("hidden", "k7")[1], "which says why")
    for path in "/v1/maps/negative", "/v1/explain?map=negative", "/v1/explain?key=x", "/v1/explain":
        same(ask_json(server.web, path)[0], 400, path + ": 400")
    for path in "/v1/maps/negative?", "/v1/explain?map=negative&":
        same([ask_json(server.web, "%skey=%s" % (path, "a." * n))[0] for n in (512, 513)], [200, 400],
             path + ": keys have an end")
    same(ask(server.web, "/v1/explain?map=negative&key=k7", "POST").status, 405, "only to be read")

    x = server.explain("long", "long5")
    says(x, "too long for tcp_table, 5000 bytes: its clients get a temporary error", "a long value")
    same(x["replies"], {"socketmap": "OK " + "x" * 5000, "tcp_table": "400 value%20too%20long"},
         "a long value: the replies that are really sent")
    x = server.explain("long", "long200")
    says(x, "too long for socketmap, 200000 bytes.* too long for tcp_table", "a longer one")
    same(x["replies"]["socketmap"], "TEMP value too long", "a longer one: TEMP")
    same(server.ask("long", "long200"), x["replies"]["socketmap"], "a longer one: as for a client")
    x = server.explain("unusable", "two")
    says(x, 'cannot answer for "two", as its value cannot be used: expansion_limit exceeded', "too many")
    same((x["answer"]["reason_class"], x["answer"]["reason"]),
         ("unusable", "unusable: expansion_limit exceeded"), "too many: the reason")
    same(server.ask("unusable", "two"), x["replies"]["socketmap"], "too many: as for a client")


def check_caches(server, directories):
    same(server.ask("negative", "nobody"), "NOTFOUND ", "asked once")
    directories["negative"].rows({"nobody": "somebody"})
    x = server.explain("negative", "nobody")
    says(x, r'said "not found" to "nobody" \d+ m?s ago, which is believed for negative_ttl = 60 min; then it '
            "is asked again, or after `socketmapctl flush negative nobody`", "a negative answer")
    says(x, 'But the directory says otherwise by now: "nobody" has the value "somebody"',
         "and the directory's next word")
    t = table(x)
    same((t["cache"]["noted"], t["cache"]["fresh"], t["from"], t["verdict"], t["asks"],
          x["answer"]["verdict"]), ("notfound", True, "cache", "NOTFOUND", False, "NOTFOUND"),
         "a negative answer: by the cache")
    ok(0 <= t["cache"]["age"] < 60, "a negative answer: its age", t)
    same(server.ask("negative", "nobody"), "NOTFOUND ", "a negative answer: explaining changed nothing")

    same(server.ask("kept", "k1"), "OK v1", "asked, and kept")
    directories["kept"].script("lookup * down cable is cut\nping * down cable is cut")
    wait_for(lambda: table(server.explain("kept", "k1", live="0"))["asks"])
    x = server.explain("kept", "k1")
    says(x, r'directory cannot answer: .*cable is cut. So a stale value stands in: source "kept" gave it for "k1" '
            r"\d+ m?s ago \(ttl = 100 ms\)", "a stale value")
    same((x["answer"]["stale"], x["answer"]["from"], table(x)["cache"]["noted"],
          table(x)["cache"]["usable"], table(x)["directory"]["verdict"],
          table(x)["directory"]["why"]), (True, "cache", "found", True, "TEMP", "cable is cut"),
         "a stale value: the facts")
    same(server.ask("kept", "k1"), "OK v1", "a stale value: as for a client")


def check_copies(server, directories):
    for name in "stale", "expired", "by_domain":
        directories[name].script("scan * temp out of disk")
    directories["rejected"].rows({"k1": "v1"})
    x = wait_for(lambda: (x := server.explain("stale", "k1"))["answer"]["stale"] and
                 table(x)["scan_why"] and x)
    says(x, "is in the mirror .* is stale: .* old, more than max_age = 1 s. The last refresh failed .* ago: "
            "out of disk", "a stale copy")
    same((table(x)["state"], x["answer"]["from"], x["replies"]["socketmap"], table(x)["scan_why"]),
         ("STALE", "mirror", "OK v1", "out of disk"), "a stale copy: the facts")
    x = server.explain("stale", "nobody")
    says(x, 'mirror .* is stale: .* does not have "nobody".* stale_miss = "temp" makes it a temporary error. '
            "The last refresh failed .*: out of disk", "a stale miss")
    same(x["answer"]["reason_class"], "stale", "a stale miss: TEMP")
    same(server.ask("stale", "nobody"), x["replies"]["socketmap"], "a stale miss: as for a client")
    x = wait_for(lambda: (x := server.explain("by_domain", "u@d.test"))["answer"]["verdict"] == "TEMP" and x)
    says(x, r'stale_miss = "domain" .*The map "of_nobody" \(domains\) cannot say whether it has "d.test"',
         "a stale miss whose domain map is empty")
    x = wait_for(lambda: (x := server.explain("expired", "k1"))["answer"]["verdict"] == "TEMP" and x)
    says(x, "is expired: .* old, more than stale_max = 2 s, .* no longer believed. The last refresh failed",
         "an expired copy")
    same((table(x)["state"], x["answer"]["reason_class"], table(x)["mirror"]),
         ("EXPIRED", "expired", "hit"), "an expired copy: has the key, and may not say so")
    same(server.ask("expired", "k1"), x["replies"]["socketmap"], "an expired copy: as for a client")
    x = server.explain("empty", "k1")
    says(x, "mirror .* was never loaded, .* The last refresh failed .*: no rows today", "never loaded")
    same((table(x)["state"], table(x)["mirror"], table(x)["age"], x["answer"]["age"],
          x["answer"]["reason_class"]),
         ("EMPTY", None, None, None, "empty"), "never loaded: the facts")
    x = server.explain("too_small", "k1")
    says(x, r"was never loaded.* scans? .*rejected, .*: fewer keys than min_entries \(103 keys\).*"
            "if the directory is right: lower `min_entries`, and reload", "the first scan rejected")
    x = wait_for(lambda: table(x := server.explain("rejected", "k2"))["rejected"] and x)
    same((x["answer"]["verdict"], table(x)["rejected"]["why"], table(x)["directory"]["verdict"]),
         ("FOUND", "shrunken by more than max_shrink", "NOTFOUND"), "a rejected scan: the old copy")
    says(x, 'directory says otherwise by now: "k2" is not found.* The mirror\'s .*scans? .*rejected, '
            r".*: shrunken by more than max_shrink \(1 key, the copy has 103\).* `socketmapctl accept rejected`",
         "a rejected scan")


def check_down(server, directories):
    directories["dead"].script("lookup * down no route to host\nping * down no route to host")
    x = wait_for(lambda: (x := server.explain("dead", "k%d" % time.monotonic_ns()))["answer"]
                 ["reason_class"] == "down" and "has been down" in x["why"] and x)
    says(x, r'^Source "dead" has been down for \d+ m?s: its breaker is open, .* Its last error: no route to '
            "host", "a breaker that is open")
    same((table(x)["source_state"], table(x)["source_why"], x["replies"]["socketmap"]),
         ("down", "no route to host", "TEMP dead: source dead: directory is down"),
         "a breaker that is open: the facts")
    directories["slow"].script("lookup * delay 0.8; rows; done")
    x = server.explain("slow", "k1")
    says(x, r"does not answer within deadline = 300 ms: it took \d+ m?s", "a slow directory")
    same((x["answer"]["reason_class"], table(x)["directory"]["value"]), ("deadline", "v1"),
         "a slow directory: what it says comes too late")
    same(server.ask("slow", "k2"), x["replies"]["socketmap"], "a slow directory: as for a client")
    directories["slow"].script("lookup * silent")
    x = server.explain("slow", "k1")
    says(x, r"does not answer within deadline = 300 ms: it took .* .deadline missed.", "a silent one")
    same(table(x)["directory"]["queries"], ["the row of k1"], "a silent one: what it was asked")
    directories["dies"].script("lookup * die")
    x = server.explain("dies", "k1")
    says(x, "lookup failed in source \"dies\": driver process (was killed|hung up)", "a driver that dies")
    directories["asking"].script("lookup * temp busy")
    x = server.explain("asking", "nobody")
    says(x, "is complete. The directory itself cannot say so at this moment: busy", "the mirror's word")
    same((x["answer"]["verdict"], table(x)["asks"]), ("NOTFOUND", True), "the mirror's word: stands")


def check_trouble():
    server, directories = trouble_world()
    for name in "empty", "of_nobody":
        directories[name].script("scan * temp no rows today")
    with server:
        for name in ("fresh", "stale", "expired", "rejected", "asking"):
            server.wait_for_event("refreshed", map=name)
        server.wait_for_event("refresh_rejected", map="too_small")
        check_answers(server)
        check_caches(server, directories)
        check_copies(server, directories)
        before = server.noted()
        check_down(server, directories)
        texts = "".join(ask(server.web, "/v1/explain?" + server.query(map=m, key="k1")).body.decode()
                        for m in server.maps if m not in ("slow", "dies"))
        ok(SECRET not in texts + server.log(), "no password in any explanation")
        after = server.noted()
        same({m: after[m] for m in after if m not in ("slow",)},
             {m: before[m] for m in before if m not in ("slow",)}, "explaining fills no cache")


def check_old_driver():
    """One that does not know how to explain is asked all the same, and nobody suffers."""
    server = World()
    d = Directory(server.dir)
    d.rows({"k": "v", "l": "w"})
    server.sources = [d.source(old="yes", connections=1)]
    server.maps = {"m": {"source": "fake", "search": "exact", "deadline": "10s"}}
    with server:
        for n in range(5):
            x = server.explain("m", "k")
            same((x["answer"]["value"], table(x)["directory"]["queries"], table(x)["source_state"]),
                 ("v", [], "up"), "an old driver: explained, without queries")
        same(server.ask("m", "l"), "OK w", "an old driver: serves clients")


def check_long_walk():
    """A question that asks a slow directory about key after key ends before its asker gives up."""
    server = World()
    d = Directory(server.dir)
    d.rows({"k": "v"})
    d.script("lookup * delay 0.2; done")
    server.sources = [d.source(connections=1)]
    server.maps = {"m": {"source": "fake", "search": "domain_access", "parent_domain_style": "plain",
                         "mode": "mirror", "refresh": "1h", "deadline": "100ms"}}
    with server:
        server.wait_for_event("refreshed", map="m")
        x = server.lookup("m", "a." * 500 + "x")
        same(isinstance(x, dict) and (x["verdict"], x["reason_class"], x["reason"]),
             ("TEMP", "deadline", "m: no answer in time"), "a long walk has an end")


# --- loops that stand still ----------------------------------------------------------------------

def check_rest():
    """A directory that is left alone is tried when somebody wants to know, and when a scan says it is back."""
    server = World()
    d = Directory(server.dir)
    d.rows({"k": "v", "l": "w"})
    server.sources = [d.source(connections=1)]
    server.maps = {"m": {"source": "fake", "search": "exact"},
                   "copy": {"source": "fake", "search": "exact", "mode": "mirror", "refresh": "1s"}}

    def fall():
        d.script("hello * hello 1 fake_driver\nlookup * down gone\nping * down gone\nscan * down gone")
        like(server.wait_for_reply("m", "nobody", "down$"), "down$", "a directory is down")
        for _ in range(9):
            server.explain("m", "k")

    with server:
        fall()
        like(server.events("source_failed")[-1]["next"], r"^[2-9]\ds$", "and left alone for long")
        asked = len(d.activity("ping"))
        same(table(server.explain("m", "k"))["directory"]["verdict"], "TEMP", "still down, says who asks")
        ok(len(d.activity("ping")) > asked, "and it was tried for that")
        d.script("scan * down gone")
        same(table(server.explain("m", "k"))["directory"]["verdict"], "FOUND", "back, says who asks")
        same(server.ask("m", "k"), "OK v", "which ends the rest")
        fall()
        d.script("")
        same(server.wait_for_reply("m", "l", "^OK", 5), "OK w", "so does a scan that succeeds")


def check_blip():
    """Many lookups that fail together are one failure."""
    server = World()
    d = Directory(server.dir)
    d.rows({"k%d" % i: "v" for i in range(32)})
    server.sources = [d.source(connections=8)]
    server.maps = {"m": {"source": "fake", "search": "exact", "deadline": "10s"}}
    with server:
        d.script("lookup * delay 0.3; rows; done")
        for i in 0, 8:
            in_parallel(lambda k: server.ask("m", "k%d" % k), range(i, i + 8))
        d.script("lookup * delay 0.5; down blip")
        in_parallel(lambda k: server.ask("m", "k%d" % k), range(16, 24))
        failed = server.events("source_failed")
        ok(len(failed) >= 8, "eight lookups fail", failed)
        ok(all(int(f["next"][:-2]) < 600 for f in failed), "for which it rests once", failed)
        d.script("")
        same(server.wait_for_reply("m", "k30", "^OK", 3), "OK v", "and is soon back")


def check_stalls():
    """Who asks gives up, and what was asked is answered to nobody, later."""
    server = World(threads=1)
    d = Directory(server.dir)
    d.rows({"k": "v"})
    server.sources = [d.source()]
    server.maps = {"m": {"source": "fake", "search": "exact"}}
    with server:
        same(server.explain("m", "k")["answer"]["value"], "v", "all is well")
        wait_for(lambda: stat_fields(server.pid)[0] == "S")     # with no lock in its hands
        with Stopped(server.pid):
            same(server.explain("m", "k", live="0"), (503, "the control loop does not answer"),
                 "the control loop stalls: no explanation")
        same(server.explain("m", "k")["answer"]["value"], "v", "it goes on: there is one")
        with Stopped(thread_of(server.pid, "answers")):
            same(server.lookup("m", "k"), (503, "no answer loop answers"),
                 "the only answer loop stalls: no lookup")
            same(server.explain("m", "k")["answer"]["value"], "v", "explanations do not need it")
        same(server.lookup("m", "k")["value"], "v", "it goes on: lookups, too")


# --- many at once, and the end -------------------------------------------------------------------

def stopped_world(slapd, db, timeout):
    server = World(stop_timeout="1s")
    server.sources = [slapd.source("ldap", timeout=timeout, connections=2),
                      db.source("db", timeout=timeout, connections=2)]
    exact = {"search": "exact", "deadline": "60s"}
    server.maps = {
        "of_ldap": dict(exact, source="ldap", search_base=SUFFIX, result_attribute="maildrop",
                        query_filter="(mailacceptinggeneralid=%s)"),
        "of_db": dict(exact, source="db", query=ALIAS),
        "copied": dict(exact, source="db", query=ALIAS, mode="mirror", on_miss="notfound",
                       scan_query="SELECT address, goto FROM alias", refresh="1h")}
    return server


def check_crowd(slapd, db):
    """Who explains waits for a directory that stands still; nobody else does."""
    with stopped_world(slapd, db, "1s") as server:
        server.wait_for_event("refreshed", map="copied")
        for m in "of_ldap", "of_db":
            same(server.explain(m, ODD)["answer"]["value"], ROWS[ODD], m + ": before")
        slapd.signal(signal.SIGSTOP)
        db.signal(signal.SIGSTOP)
        got = []
        crowd = [threading.Thread(target=lambda m=m, i=i: got.append(
            server.explain(m, "crowd%d@d.example" % i))) for i in range(8) for m in ("of_ldap", "of_db")]
        try:
            for t in crowd:
                t.start()
            n = 0
            while any(t.is_alive() for t in crowd):
                if server.ask("copied", "joe@d.example") == "OK joe@box.example" and \
                        ask(server.web, "/livez").status == 200:
                    n += 1
                else:
                    n = -1000000
            ok(n > 0, "meanwhile the server answers", n)
        finally:
            slapd.signal(signal.SIGCONT)
            db.signal(signal.SIGCONT)
        same([x["answer"]["verdict"] for x in got], ["TEMP"] * 16, "a crowd: each has its answer, TEMP")
        for m in "of_ldap", "of_db":
            x = wait_for(lambda: (x := server.explain(m, ODD))["answer"]["verdict"] == "FOUND" and x, 30)
            same(x and x["answer"]["value"], ROWS[ODD], m + ": afterwards")
        same(set(server.noted().values()), {0}, "a crowd: no cache has learnt anything")


def check_end(slapd, db):
    """The server stops, or is told of other maps, while people wait for a directory that stands still."""
    server = stopped_world(slapd, db, "50s")
    got = []

    def wait(function, *arguments):
        def run():
            try:
                got.append(function(*arguments))
            except OSError as e:        # the server has gone
                got.append(e)
        t = threading.Thread(target=run)
        t.start()
        return t
    with server:
        server.wait_for_event("refreshed", map="copied")
        for m in "of_ldap", "of_db":
            wait_for(lambda: server.lookup(m, ODD)["verdict"] == "FOUND")
        slapd.signal(signal.SIGSTOP)
        db.signal(signal.SIGSTOP)
        try:
            waiting = [wait(f, m, "k%d" % i) for i in range(2) for m in ("of_ldap", "of_db")
                       for f in (server.explain, server.lookup)]
            asked = lambda: sum(s["busy"] + s["queued"]
                                for s in ask_json(server.web, "/v1/status")[1]["sources"])
            ok(wait_for(lambda: asked() == 8), "all eight wait for a directory")
            maps = dict(server.maps)
            del server.maps["of_db"]
            ok(server.reload(), "a map goes while it is explained")
            same(server.explain("of_db", "x")[0], 404, "nobody else knows of it")
            server.maps = maps
            ok(server.reload(), "and comes back")
            same(len(got), 0, "they still wait")
            same(server.stop(), None, "the server stops at once all the same")
        finally:
            slapd.signal(signal.SIGCONT)
            db.signal(signal.SIGCONT)
        for t in waiting:
            t.join()
        same((len(got), [x for x in got if isinstance(x, dict) and x.get("verdict") == "NOTFOUND"]),
             (8, []), "nobody waits any more, and nobody was told that anything does not exist")


GROUP = "".join("""
dn: cn={0},ou=d.example,{1}
objectClass: adGroup
cn: {0}
{2}
""".format(cn, SUFFIX, rest) for cn, rest in {
    "team": "member: cn=ann,ou=d.example,{0}\nmember: cn=bob,ou=d.example,{0}".format(SUFFIX),
    "ann": "mail: ann@box.example", "bob": "mail: bob@box.example"}.items())
LDIF = """dn: ou=d.example,{0}
objectClass: organizationalUnit
ou: d.example
{1}
dn: cn=odd,{0}
objectClass: organizationalRole
objectClass: postfixUser
cn: odd
mailacceptinggeneralid: {2}
maildrop: {3}
""".format(SUFFIX, GROUP, ODD, ROWS[ODD])

if not all(MARIADB_PROGRAMS.values()) or not all(SLAPD_PROGRAMS.values()):
    skip_all("no MariaDB or no slapd here")
SLAPD = Slapd(LDIF)
DB = MariaDB("CREATE TABLE alias(address VARCHAR(255), goto VARCHAR(255));" +
             sql_of({k.replace("\\", "\\\\"): v for k, v in ROWS.items()}))
check_queries(DB, SLAPD)
check_mirrors()
check_trouble()
check_old_driver()
check_long_walk()
check_rest()
check_blip()
check_stalls()
check_crowd(SLAPD, DB)
check_end(SLAPD, DB)
SLAPD.stop()
DB.stop()
done()
