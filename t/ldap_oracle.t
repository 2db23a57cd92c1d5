#!/usr/bin/env python3
# sanitizers: asan
"""Real Postfix is the oracle: for its ldap: tables we answer every key as postmap does."""
import random
import sys

sys.path.insert(0, "t/lib")
from harness import *
from oracle import Oracle

RANDOM_TABLES = int(sys.argv[1]) if len(sys.argv) > 1 else 120 // SLOW**2

# What tables made up at random consist of, for each tree of the oracle: how to get in, where to
# look, what finds something, which attributes may be compared with a key, which may be values,
# which may lead elsewhere, which domains a list may name, and where the keys come from.
READER = "bind = yes\nbind_dn = @@LDAP_READER_DN@@\nbind_pw = @@LDAP_READER_PW@@"
ANYBODY = "bind = no"
TREES = [
    dict(bind=READER, bases=["ou=Mail,@@BASE_A@@"] * 4 + ["uid=%u,ou=Mail,@@BASE_A@@"],
         good=["mailacceptinggeneralid=%s"] * 3 + ["maildrop=%s", "uid=%u", "maildrop=%u@%d"],
         keys="mailacceptinggeneralid maildrop uid uidNumber cn".split(),
         values="maildrop uid homeDirectory mailacceptinggeneralid uidNumber".split(),
         special=[], domains="big.example mx.example.com",
         pools="a.alias, a.drop, a.uid, a.nasty"),
    dict(bind=ANYBODY, bases=["ou=Mail,@@BASE_B@@"] * 9 + [
             "@@BASE_B@@", "uid=%u,ou=Mail,@@BASE_B@@", "dc=%d,ou=Domains,@@BASE_B@@",
             "dc=%2.%1,ou=Domains,@@BASE_B@@", "ou=%U,@@BASE_B@@"],
         good=["mail=%s", "mail=%s", "mailAlias=%s", "uid=%u", "mail=%u@%d", "dc=%d"],
         keys="mail mailAlias uid cn mailUidNumber dc".split(),
         values="mail mailAlias uid mailQuota mailEnabled dc".split(),
         special=[], domains="domain1.net domain2.me", pools="b.mail, b.alias, b.uid, b.nasty"),
    dict(bind=ANYBODY, bases=["@@BASE_C@@"] * 9 + ["ou=Groups,@@BASE_C@@", "dc=%2,dc=%1",
                                                   "cn=%u,ou=Groups,@@BASE_C@@"],
         good=["proxyAddresses=smtp:%s"] * 3 + ["mail=%s", "cn=%u", "proxyAddresses=smtp:%u@%d"],
         keys="proxyAddresses mail sAMAccountName userPrincipalName department cn".split(),
         values="mail mail memberAddr maildrop cn sAMAccountName proxyAddresses".split(),
         special="member memberURL".split(), domains="corp.example legacy-corp.example",
         pools="c.mail, c.proxy, c.group, c.dag, c.nasty"),
    dict(bind=ANYBODY, bases=["o=domains,@@BASE_D@@"] * 5 + [
             "domainName=%d,o=domains,@@BASE_D@@", "ou=Users,domainName=%d,o=domains,@@BASE_D@@",
             "mail=%s,ou=Users,domainName=%d,o=domains,@@BASE_D@@"],
         good=["mail=%s", "mail=%s", "shadowAddress=%s", "mail=@%d", "domainName=%d"],
         keys="mail shadowAddress memberOfGroup domainName uid".split(),
         values="mail mailForwardingAddress mtaTransport homeDirectory domainName".split(),
         special=[], domains="alpha1.example", pools="d.mail, d.shadow, d.list, d.utf8.nasty"),
    dict(bind=ANYBODY, bases=["@@BASE_E@@"] * 14 + [
             "ou=Keys,@@BASE_E@@", "ou=%u,@@BASE_E@@", "dc=%u,dc=example",
             "cn=%s,ou=One,@@BASE_E@@", "%u,@@BASE_E@@"],
         good=["oraKey=%s"] * 4 + ["oraExact=%s", "oraKey=%u", "cn=%u"],
         keys="oraKey oraExact oraNum oraPhone oraIA5 oraNoEq oraTime cn oraValue".split(),
         values="oraValue oraValue oraExact oraLeaf oraTerm oraBlob oraNum mail oraValue;lang-en"
                " oraLN".split(),
         special="seeAlso oraRef".split(), domains="odd.example",
         pools="e.key, e.combo, e.exact, e.opt, e.scope, e.nasty"),
]
PIECES = ["%s"] * 9 + r"""%u %d %S %U %D %1 %u@%d *@%s %s* *%s* %u* *@%d *%d* smtp:%s %u*%d
%%%s %2.%1 x %s%s %u%% \2a%s 7""".split() + [" %s", "%s ", "%u %u"]
ASSERTIONS = ["({g})"] * 24 + ["({a}={v})"] * 6 + """
({a}>={v})
({a}<={v})
({a}~={v})
({a}:caseExactMatch:={v})
({a}:caseIgnoreMatch:={v})
({a}:dn:={v})
({a}:1.2.840.113556.1.4.803:={v})
({a};lang-en={v})
(:caseIgnoreMatch:={v})
(nosuchattribute={v})
""".strip().splitlines()
AROUND = ["{}"] * 8 + """
(&(objectClass=*){})
(&(objectClass=*){}(!{}))
(|{}{})
(|{}{}{})
(|{}(&{}{}))
(&{}(!(objectClass=organizationalUnit)))
(&(|{}{})(|(objectClass=*){}))
(&(!(cn=target)){})
""".strip().splitlines()
# Asked with a few keys only: an error for every key, or everything there is.
ODD = """
( {a}={v})
({v}={v})
({v})
{a}={v}
{g}
({g}
(!{})
(&)
(|{}
(objectClass=*)
({a}=*)
(&({a}=*)(!({a}={v})))
({a}={v})()
(&({g}){v})
""".strip().splitlines()
FORMATS = ["%s", "%u", "%d", "%S", "%U", "%D", "%1", "%%", "x", ",", "@", ""] + ["%s"] * 9
HOSTS = ["@@LDAP_URI@@"] * 6 + ["ldap://127.0.0.1:@@DEAD_PORT@@ @@LDAP_URI@@",
                                "127.0.0.1:@@LDAP_PORT@@", "@@LDAPI_URI@@"]


def random_table(number):
    """A table file for the oracle, with the lines that tell which keys to ask."""
    pick = random.Random(number)
    tree = TREES[number % len(TREES)]
    is_odd = pick.random() < 0.15

    def fill(what):
        while "{}" in what:
            what = what.replace("{}", pick.choice(ASSERTIONS), 1)
        for hole, choices in ("{g}", tree["good"]), ("{a}", tree["keys"]), ("{v}", PIECES):
            while hole in what:
                what = what.replace(hole, pick.choice(choices), 1)
        return what

    def some(names, n):
        n = min(len(names), pick.randint(1, n))
        return pick.choice([" ", ", "]).join(pick.sample(names, n))

    lines = ["#@ type: ldap", "#@ desc: made up", "#@ pools: " + tree["pools"],
             "#@ keys: " + ("few" if is_odd else pick.choice(("address", "bare", "domain"))),
             "server_host = " + pick.choice(HOSTS), "version = 3", tree["bind"],
             "search_base = " + pick.choice(tree["bases"]),
             "query_filter = " + fill(pick.choice(ODD if is_odd else AROUND))]

    def maybe(chance, name, value):
        if pick.random() < chance:
            lines.append("%s = %s" % (name, value))

    maybe(0.97, "result_attribute", some(tree["values"], 3) if pick.random() < 0.9 else "")
    maybe(0.2, "leaf_result_attribute", some(tree["values"], 2))
    maybe(0.2, "terminal_result_attribute", some(tree["values"], 2))
    if tree["special"]:
        maybe(0.6, "special_result_attribute", some(tree["special"], 2))
    maybe(0.4, "result_format", "".join(pick.choices(FORMATS, k=3)) or "%s")
    maybe(0.08, "scope", pick.choice(["sub", "one", "base", "ONE"]))
    maybe(0.05, "domain", tree["domains"])
    maybe(0.15, "expansion_limit", pick.randint(1, 4))
    maybe(0.15, "size_limit", pick.randint(1, 4))
    maybe(0.1, "recursion_limit", pick.randint(1, 3))
    maybe(0.1, "dereference", pick.randint(0, 3))
    return "\n".join(lines) + "\n"


# Public tables that cannot be a mirror, with the reason that is given.
REFUSED = {
    "ldap_domain_only_filter": r'"%d" is a part of the key only',
    "ldap_dynbase_domain": "search_base depends on the key",
    "ldap_filter_fixed": r"\(oraKey=single\).*no expansion",
    "ldap_filter_prefix": r"&\(mail=%u\*\)\(mail=\*@%d\).*AND of several",
}
# Those that Postfix cannot answer, either.
DEAD = "ldap_all_dead ldap_starttls_badca ldap_static_base_missing".split()
# Groups in circles are errors, whatever the format would make of their members.
GROUPS = """#@ type: ldap
#@ pools: c.group, c.grpcyc
server_host = @@LDAP_URI@@
version = 3
bind = no
search_base = @@BASE_C@@
query_filter = (proxyAddresses=smtp:%s)
result_attribute = cn
leaf_result_attribute = mail
special_result_attribute = member
result_format = """

made = {"ldap_random_%03d" % i: random_table(i) for i in range(RANDOM_TABLES)}
made.update(ldap_made_domain=GROUPS + "%d\n", ldap_made_constant=GROUPS + "OK\n")
oracle = Oracle("ldap", made, "--no-mysql")
# The empty key is never looked up; Postfix sees first that there is no connection.
with open(oracle.answers, errors="surrogateescape") as f:
    answers = [line for line in f if not line.startswith("ldap_starttls_badca\t\t")]
with open(oracle.answers, "w", errors="surrogateescape") as f:
    f.writelines(answers)


def mirror(name):
    """Its map as a mirror. Anonymous clients may not read whole trees there; the reader may."""
    path = "%s/%s.cf" % (oracle.dir, name)
    with open(oracle.tables[name]) as f:
        replace(path, re.sub(r"(?m)^bind *= *no(ne)?$", oracle_reader, f.read()))
    return {"postfix_table": "ldap:" + path, "search": "exact", "mode": "mirror",
            "on_miss": "notfound", "refresh": "1h", "ignore_references": True, "min_entries": 0}


def why_refused(name):
    """What -t says of it as a mirror; None: nothing."""
    probe = Server(maps={name: mirror(name)})
    probe.write()
    p = run(PROGRAM, "-t", "-c", probe.conf)
    return p.stdout + p.stderr if p.returncode else None


with open(oracle.tables["ldap_defaults"]) as f:
    oracle_reader = "bind = yes\n" + "\n".join(re.findall(r"(?m)^bind_.*", f.read()))
refused = {t: why_refused(t) for t in oracle.tables}
for t, reason in REFUSED.items():
    like(refused[t] or "", reason, t + " cannot be a mirror, and the reason is told")
public = [t for t in sorted(oracle.tables) if not t.startswith("ldap_random_")]
same([t for t in public if refused[t]], sorted(REFUSED), "all other public tables can")
mirrors = [t for t in refused if not refused[t]]

maps = {t: {"postfix_table": "ldap:" + f, "search": "exact"} for t, f in oracle.tables.items()}
maps.update(("mirror-" + t, mirror(t)) for t in mirrors)
with Server(maps=maps) as server:
    def ended(t, *events):
        return [e for name in events for e in server.events(name, map="mirror-" + t)]

    wait_for(lambda: all(ended(t, "refreshed", "refresh_rejected", "refresh_failed")
                         for t in mirrors), 60)
    loaded = [t for t in mirrors if ended(t, "refreshed")]
    reasons = {t: ended(t, "refresh_rejected", "refresh_failed")[-1].get("why", "")
               for t in mirrors if t not in loaded}
    same([t for t in public if t in reasons], sorted(DEAD),
         "the mirrors of the public tables are loaded, but for those that have no good answers")
    bad = {t: why for t, why in reasons.items() if t not in DEAD
           and not re.search("^no scan: ", why)}
    ok(not bad, "the others have reasons", bad)
    oracle.compare(server, "mirrored", "mirror-{table}", loaded + DEAD)
    oracle.compare(server, "asked", "{table}", oracle.tables)
    oracle.compare(server, "cached", "{table}", oracle.tables)

done()
