#!/usr/bin/env python3
# sanitizers: asan
"""Scans of the ldap driver: lookups find the keys that they deliver, and no other plain ones."""
import base64
import random
import sys

sys.path.insert(0, "t/lib")
from harness import *
from driver import Driver
from slapd import ACL, SUFFIX, Slapd

BAD = ["\0"]
SCHEMA = """
attributetype ( our:3.1 NAME ( 'longName' 'lN' ) EQUALITY caseIgnoreMatch
    SUBSTR caseIgnoreSubstringsMatch SYNTAX dir )
attributetype ( our:3.2 NAME 'subName' SUP longName )
attributetype ( our:3.3 NAME 'exact' EQUALITY caseExactMatch SUBSTR caseExactSubstringsMatch
    SYNTAX dir )
attributetype ( our:3.4 NAME 'octets' EQUALITY octetStringMatch
    SYNTAX 1.3.6.1.4.1.1466.115.121.1.40 )
attributetype ( our:3.5 NAME 'phone' EQUALITY telephoneNumberMatch
    SYNTAX 1.3.6.1.4.1.1466.115.121.1.50 )
attributetype ( our:3.6 NAME 'noRule' SYNTAX dir )
attributetype ( our:3.7 NAME 'noSubstrings' EQUALITY caseIgnoreMatch SYNTAX dir )
attributetype ( our:3.8 NAME 'moment' EQUALITY generalizedTimeMatch
    SYNTAX 1.3.6.1.4.1.1466.115.121.1.24 )
attributetype ( our:3.9 NAME 'seconds' EQUALITY caseExactIA5Match SYNTAX ia5 )
attributetype ( our:3.10 NAME 'mixed' EQUALITY caseIgnoreMatch SUBSTR caseExactSubstringsMatch
    SYNTAX dir )
attributetype ( our:3.11 NAME 'pickySub' SUP noSubstrings EQUALITY caseExactMatch )
attributetype ( our:3.12 NAME 'value' EQUALITY caseExactMatch SYNTAX dir )
attributetype ( our:3.13 NAME 'terminal' EQUALITY caseExactMatch SYNTAX dir )
attributetype ( our:3.14 NAME 'leaf' EQUALITY caseExactMatch SYNTAX dir )
attributetype ( our:3.15 NAME 'amount' EQUALITY integerMatch SYNTAX int )
objectclass ( our:4.1 NAME 'odd' SUP top STRUCTURAL MAY ( cn $ uid $ mail $ mailAlias $
    proxyAddresses $ member $ memberURL $ longName $ subName $ exact $ octets $ phone $ noRule $
    noSubstrings $ moment $ seconds $ mixed $ pickySub $ value $ terminal $ leaf $ amount $
    mailEnabled $ seeAlso ) )
"""


def entry(name, parent="ou=Odd", **attributes):
    """LDIF of an entry; values are strings, lists of them, or bytes."""
    lines = ["dn: cn=%s,%s,%s" % (name, parent, SUFFIX), "objectClass: odd"]
    for attribute, values in attributes.items():
        attribute = attribute.replace("__", ";").replace("_", "-")
        for value in values if isinstance(values, list) else [values]:
            raw = value if isinstance(value, bytes) else value.encode()
            lines.append("%s:: %s" % (attribute, base64.b64encode(raw).decode()))
    return "\n".join(lines) + "\n\n"


def dn(name, parent="ou=Odd"):
    return "cn=%s,%s,%s" % (name, parent, SUFFIX)


UNITS = "".join("dn: ou=%s,%s\nobjectClass: organizationalUnit\nou: %s\n\n" % (u, SUFFIX, u)
                for u in ("Odd", "Many", "Groups", "Ends", "Away", "Walk"))
ODD = [
    entry("joe", mail=["Joe@X.test", "  blank@x.test ", "two  words@x.test"],
          mailAlias=["j@x.test", "joe.doe@y.test"], value=["first", "second"]),
    entry("jim", mail="jim@x.test", mailAlias=["j@x.test", "jim@x.test"], value="third", uid="1"),
    entry("option", mail__lang_en="english@x.test", value="fourth"),
    entry("none", mail="none@x.test"),
    entry("ats", mail=["a@b@c.test", "@d.test", "e@", "f"], value="fifth"),
    entry("smtp", proxyAddresses=["SMTP:Main@x.test", "smtp:other@x.test", "sip:sip@x.test",
                                  "smtp: blank@x.test", "smtp:", "xsmtp:no@x.test"], value="v6"),
    entry("strange", proxyAddresses=["smtp:jos\u00e9@z.test", "smtp:\uff4doto@z.test",
                                     "smtp:stra\u00dfe@z.test", "smtp:tab@z.test\t",
                                     "smtp:so\u00adft@z.test", "smtp:\u2121@z.test",
                                     "smtp:plain@z.test"], value="v7"),
    entry("names", longName=["long@x.test"], subName=["sub@x.test"], value="v8"),
    entry("exact", exact=["lower@x.test", "Upper@x.test", " edge@x.test ", "Local@low.test",
                          "\uff4doto@x.test"], value="v9"),
    entry("octets", octets=["raw@x.test", " edge@x.test", "Raw@x.test", b"\xff\xfe"], value="v10"),
    entry("typed", phone="+49 30-12", noRule="norule", noSubstrings=["nosub@x.test"],
          moment="20240102030405Z", mixed="mixed@x.test", amount=["7", "42", "-1"],
          mailEnabled="TRUE", value="v11"),
    entry("specials", mail=["*@star.test", "(paren)@x.test", "back\\slash@x.test", "a=b@x.test",
                            "100%@x.test", "x" * 500 + "@x.test"], value="v12"),
    entry("twice", mail="twice@x.test", mailAlias=["Twice@x.test", "twice@x.test"], value="v13"),
    entry("later", proxyAddresses="smtp:later@z.test", value="v14"),
]
MANY = [entry("m%03d" % i, "ou=Many", mail="m%03d@x.test" % i, value="value %d" % i)
        for i in range(60)]
GROUPS = [
    entry("u%d" % i, "ou=Groups", mail="u%d@x.test" % i, leaf="u%d" % i, value="w%d" % i)
    for i in range(5)
] + [
    entry("top", "ou=Groups", proxyAddresses="smtp:top@x.test", leaf="top-leaf",
          member=[dn("sub", "ou=Groups"), dn("u0", "ou=Groups"), dn("gone", "ou=Groups")]),
    entry("sub", "ou=Groups", proxyAddresses="smtp:sub@x.test",
          member=[dn("u1", "ou=Groups"), dn("u2", "ou=Groups"), "CN=U1,ou=groups," + SUFFIX]),
    entry("empty", "ou=Groups", proxyAddresses="smtp:empty@x.test", leaf="own-leaf"),
    entry("cycle", "ou=Groups", proxyAddresses="smtp:cycle@x.test",
          member=[dn("elcyc", "ou=Groups"), dn("u3", "ou=Groups")]),
    entry("elcyc", "ou=Groups", proxyAddresses="smtp:elcyc@x.test",
          member=dn("cycle", "ou=Groups")),
    entry("explodes", "ou=Groups", proxyAddresses="smtp:explodes@x.test",
          member=[dn("explodes", "ou=Groups"), dn("cycle", "ou=Groups")], leaf="never"),
    entry("url", "ou=Groups", proxyAddresses="smtp:url@x.test",
          memberURL="ldap:///ou=Groups,%s?leaf,value?sub?(mail=u*)" % SUFFIX),
    entry("badurl", "ou=Groups", proxyAddresses="smtp:badurl@x.test", memberURL="ldap://[x"),
    entry("badfilter", "ou=Groups", proxyAddresses="smtp:badfilter@x.test",
          memberURL="ldap:///%s??sub?(mail" % SUFFIX),
    entry("badname", "ou=Groups", proxyAddresses="smtp:badname@x.test",
          memberURL="ldap:///no-dn??base"),
    entry("stop", "ou=Groups", proxyAddresses="smtp:stop@x.test", terminal="stopped",
          member=dn("u4", "ou=Groups"), value="unseen"),
    entry("pair1", "ou=Groups", proxyAddresses="smtp:pair@x.test", leaf="left", value="p1",
          member=dn("u4", "ou=Groups")),
    entry("pair2", "ou=Groups", proxyAddresses="smtp:pair@x.test", leaf="right", value="p2"),
    entry("pair3", "ou=Groups", proxyAddresses="smtp:three@x.test", value="p3"),
    entry("pair4", "ou=Groups", proxyAddresses=["smtp:three@x.test", "smtp:pair@x.test"],
          value="p4"),
]
ENDS = [
    entry("never", "ou=Ends", mail=["never@x.test", "both@x.test"], value="n"),
    entry("soon", "ou=Ends", mail=["soon@x.test", "both@x.test"], value="s",
          moment="20330518033320Z"),
    entry("zone", "ou=Ends", mail="zone@x.test", value="z", moment="20330518053320.5+0200"),
    entry("seconds", "ou=Ends", mail="seconds@x.test", value="t", seconds="2000000000"),
    entry("zero", "ou=Ends", mail="zero@x.test", value="u", seconds="0"),
    entry("broken", "ou=Ends", mail=["broken@x.test"], value="v", seconds="tomorrow"),
    entry("several", "ou=Ends", mail=["several@x.test"], value="w", seconds=["1", "2"]),
    entry("ticks", "ou=Ends", mail=["ticks@x.test"], value="x", seconds="133000000000000000"),
]
REFERRAL = "dn: ou=Else,ou=Away,%s\nobjectClass: referral\nobjectClass: extensibleObject\n" \
    "ou: Else\nref: ldap://127.0.0.1:1/ou=Else,%s\n\n" % (SUFFIX, SUFFIX)

READER = 'limits dn.exact="cn=reader,%s" ' % SUFFIX
MANY_BASE, GROUP_BASE = "ou=Many," + SUFFIX, "ou=Groups," + SUFFIX
SMTP = {"main@x.test": ["v6"], "other@x.test": ["v6"], "moto@z.test": ["v7"],
        "plain@z.test": ["v7"], "later@z.test": ["v14"]}
TABLES = {}     # of the one driver with the usual settings
PROBES = ["a", "b", "nobody@x.test", "x.test", "y.test", "c.test", "b@c.test", "d.test", "z.test",
          "low.test", "joe@x.test", "joe@x", "oe@x.test", "jim@x.test", "f", "e@", "twice@x.test",
          "main@x.test", "sip@x.test", "sip:sip@x.test", "smtp:main@x.test", "no@x.test",
          "moto@z.test", "strasse@z.test", "tab@z.test", "soft@z.test", "tel@z.test",
          "plain@z.test", "jose@z.test", "upper@x.test", "edge@x.test", "raw@x.test",
          "local@low.test", "moto@x.test", "7", "42", "-1", "07", "true", "norule",
          "nosub@x.test", "star.test", "*@star.test", "x@star.test", "(paren)@x.test", "*",
          "back\\slash@x.test", "a=b@x.test", "100%@x.test", "x" * 500 + "@x.test", "m001@x.test",
          "lang-en", "english@x.test", "long@x.test", "sub@x.test", "top@x.test", "gone@x.test"]


def table(name, query_filter, base="ou=Odd," + SUFFIX, result="value", **settings):
    TABLES[name] = {"search_base": base, "query_filter": query_filter,
                    "result_attribute": result, **settings}
    return name


def driver(server, tables=None, **settings):
    return Driver("ldap", server.source(**settings), TABLES if tables is None else tables)


def is_plain(key):
    return 0 < len(key) <= 512 and all("!" <= c <= "~" for c in key)


def needs_met(settings, key):
    local, at, domain = key.rpartition("@")
    return "%u@%d" not in settings["query_filter"] or bool(local and domain)


def scan(d, name):
    """What a scan delivers: {key: values}, BAD for those that cannot be answered; or its end."""
    reply = d.ask("scan", name)
    if reply.end != "done":
        return "%s %s" % (reply.end, reply.text)
    keys = {}
    for key, value in reply.rows:
        keys.setdefault(key, []).append(value)
    return {k: BAD if "\0" in v else v for k, v in keys.items()}


def check_same(d, name, what):
    """The heart of it: the scan and lookups of each key agree. Returns the scan."""
    keys = scan(d, name)
    if not ok(isinstance(keys, dict), "%s: there is a scan" % what, keys):
        return {}
    rng, settings = random.Random(name), TABLES[name]
    probes = list(PROBES)
    for key in rng.choices(sorted(keys) or ["x"], k=60):
        i = rng.randrange(len(key))
        probes.append(key[:i] + rng.choice(["", "x", "@", "."]) + key[i + rng.randrange(2):])
    wrong = ["a key that is not plain: %r" % k for k in keys if not is_plain(k) or k != k.lower()]
    for key in keys:
        if needs_met(settings, key):
            found = d.lookup(name, key)
            # The order of several entries is the server's whim.
            if keys[key] != BAD and sorted(found) != sorted(keys[key]):
                wrong.append("%s: scan %s, lookup %s" % (key, keys[key], found))
    for key in probes:
        if is_plain(key) and needs_met(settings, key) and key not in keys and \
                d.lookup(name, key) not in ([], "temp"):
            wrong.append("%s: lookup finds it, the scan does not" % key)
    ok(not wrong, "%s: lookups agree" % what, *wrong[:10])
    return keys


def check_keys(server):
    mail = table("mail", "(mail=%s)")
    bare = table("bare", "mail=%s")
    alias = table("alias", "(rfc822Mailbox=%s)")
    oid = table("oid", "(0.9.2342.19200300.100.1.3=%s)")
    either = table("either", "(|(mail=%s)(mailAlias=%s))")
    branches = table("branches", "(&(objectClass=odd)(|(mail=%s)(&(uid=1)(mailAlias=%s))))")
    without = table("without", "(&(mail=%s)(!(uid=1)))")
    address = table("address", "(mail=%u@%d)")
    domain = table("domain", "(|(mail=*@%s)(mailAlias=*@%s))", result="mail mailAlias")
    smtp = table("smtp", "(proxyAddresses=smtp:%s)")
    capital = table("capital", "(proxyAddresses=SMTP:%s)")
    upper = table("upper", "(proxyAddresses=*@%s)")
    names = table("names", "(longName=%s)")
    second = table("second", "(lN=%s)")
    exact = table("exact", "(exact=%s)")
    open_exact = table("open_exact", "(exact=*@%s)")
    number = table("number", "(amount=%s)")
    boolean = table("boolean", "(mailEnabled=%s)")
    octets = table("octets", "(octets=%s)")
    parts = table("parts", "(|(mail=%s)(proxyAddresses=smtp:%s))", result="value mail")
    nothing = table("nothing", "(mail=%s)", result="")
    limited = table("limited", "(|(mail=%s)(mailAlias=%s))", size_limit="1", expansion_limit="1")
    few = table("few", "(mail=%s)", result="mail", expansion_limit="1")
    empty = table("empty", "(mail=%s)", base="ou=Walk," + SUFFIX)
    by_hand = table("by_hand", "(mail=%s)", scan_filter="(&(objectClass=odd)(uid=1))",
                    key_attribute="mail rfc822Mailbox", key_pattern="%s")
    by_hand_smtp = table("by_hand_smtp", "(proxyAddresses=smtp:%s)", key_pattern="smtp:%s",
                         scan_filter="(objectClass=odd)", key_attribute="proxyAddresses")
    by_hand_rule = table("by_hand_rule", "(noRule:caseIgnoreMatch:=%s)",
                         scan_filter="(noRule=*)", key_attribute="noRule")
    one = table("one", "(mail=%s)", base=SUFFIX, scope="one")
    with driver(server) as d:
        keys = check_same(d, mail, "mail=%s")
        same(keys.get("joe@x.test"), ["first", "second"], "all values of an entry, in their order")
        same(keys.get("blank@x.test"), ["first", "second"], "blanks around a value do not count")
        ok("two words@x.test" not in keys, "a key with blanks is left to the directory")
        same(keys.get("english@x.test"), ["fourth"], "an attribute with an option is one, too")
        ok("none@x.test" not in keys, "no values, no key")
        same(keys.get("a@b@c.test"), ["fifth"], "a key is any text")
        same(keys.get("(paren)@x.test"), ["v12"], "what is special in filters is a key")
        for other in bare, alias, oid:
            same(check_same(d, other, other), keys, "%s: the same attribute" % other)
        keys = check_same(d, either, "two alternatives")
        same(keys.get("j@x.test"), ["first", "second", "third"], "two entries of one key")
        same(keys.get("twice@x.test"), ["v13"], "an entry counts once for a key")
        keys = check_same(d, branches, "alternatives with conditions")
        same([keys.get(k) for k in ("j@x.test", "joe.doe@y.test", "jim@x.test")],
             [["third"], None, ["third"]], "each with its own, an entry of both counts once")
        keys = check_same(d, without, "a condition")
        same("jim@x.test" in keys, False, "a condition: what it excludes is not there")
        keys = check_same(d, address, "%u@%d")
        same([k in keys for k in ("f", "e@", "@d.test", "a@b@c.test")], [False] * 3 + [True],
             "%u@%d: both parts must be there")
        keys = check_same(d, domain, "*@%s")
        ok("b@c.test" in keys and "c.test" in keys and "d.test" in keys, "*@%s: behind each @")
        keys = check_same(d, smtp, "smtp:%s")
        same(keys.get("main@x.test"), ["v6"], "smtp:%s: case does not matter")
        same(keys.get("plain@z.test"), ["v7"], "smtp:%s: another")
        same([k for k in ("moto", "strasse", "tab", "soft", "tel", "jos\u00e9") if k + "@z.test" in keys],
             ["moto"], "whether a strange value equals a plain key, the server was asked")
        same(check_same(d, capital, "SMTP:%s"), keys, "SMTP:%s is the same")
        same(check_same(d, upper, "*@%s of strange values").get("z.test"), ["v7", "v14"],
             "*@%s: what stands before does not matter")
        keys = check_same(d, names, "an attribute with subtypes")
        same(sorted(keys), ["long@x.test", "sub@x.test"], "subtypes have keys of their supertype")
        same(check_same(d, second, "its other name"), keys, "by any name")
        keys = check_same(d, exact, "caseExactMatch")
        same(sorted(keys), ["edge@x.test", "lower@x.test", "moto@x.test"],
             "caseExactMatch: what is not folded is no key")
        same(sorted(check_same(d, open_exact, "caseExactMatch *@%s")), ["low.test", "x.test"],
             "caseExactMatch: the part that is the key must be folded")
        same(sorted(check_same(d, number, "integerMatch")), ["-1", "42", "7"], "numbers")
        same(check_same(d, boolean, "booleanMatch"), {}, "TRUE is no folded key")
        same(sorted(check_same(d, octets, "octetStringMatch")), ["raw@x.test"], "octets")
        check_same(d, parts, "alternatives of two kinds")
        same(check_same(d, nothing, "no result attribute"), {}, "no attribute, no values")
        keys = check_same(d, limited, "size_limit")
        same([keys.get(k) for k in ("j@x.test", "jim@x.test", "twice@x.test")],
             [BAD, ["third"], ["v13"]], "size_limit: such keys have no answer")
        same(d.lookup(limited, "j@x.test"), "temp", "as with lookups")
        d.say("scan " + few)
        messages = []
        while not messages or not messages[-1].startswith("done"):
            messages.append(d.message())
        same(("fail" in messages, "value \0" in messages, d.lookup(few, "joe@x.test")),
             (True, False, "temp"), "expansion_limit: their values are not called unusable")
        same(d.ask("scan", empty), ([], "done", "0"), "an empty part of the tree is no error")
        same(sorted(scan(d, by_hand)), ["jim@x.test"], "scan_filter and key_attribute")
        same(scan(d, by_hand_smtp), scan(d, smtp), "key_pattern")
        same(scan(d, by_hand_rule), {"norule": ["v11"]}, "key_attribute is taken on trust")
        same(scan(d, one), {}, "scope is kept")


def check_refusals(server):
    reasons = {
        ("(phone=%s)",): "phone is compared by telephoneNumberMatch, which is more",
        ("(noRule=%s)",): "noRule has no EQUALITY rule",
        ("(noSubstrings=*@%s)",): "no SUBSTR rule that fits|subtypes of noSubstrings",
        ("(mixed=*@%s)",): "mixed has no SUBSTR rule that fits its EQUALITY rule",
        ("(noSubstrings=%s)",): "subtypes of noSubstrings are compared otherwise",
        ("(member=%s)",): "member is compared by distinguishedNameMatch",
        ("(moment=%s)",): "moment is compared by generalizedTimeMatch",
        ("(exact=X%s)",): "exact respects case, and the filter has capitals",
        ("(unheard=%s)",): "schema has no attribute \"unheard\"",
        ("(uid=%u)",): "\"%u\" is a part of the key only",
        ("(mail=%s)", "dc=%d,dc=com"): "search_base h.* an expansion",
        ("(mail=%s)", "ou=Nowhere," + SUFFIX): "ou=Nowhere.*No such object",
        ("(mail=%s)", "nonsense"): "Invalid DN syntax",
    }
    tables = {str(i): {"query_filter": key[0], "result_attribute": "value",
                       "search_base": key[1] if len(key) > 1 else "ou=Odd," + SUFFIX}
              for i, key in enumerate(reasons)}
    with driver(server, tables) as d:
        for i, (key, why) in enumerate(reasons.items()):
            reply = d.ask("scan", str(i))
            same((reply.rows, reply.end), ([], "temp"), "%s is refused" % " ".join(key))
            like(reply.text, why, "... and says why")


def check_groups(server):
    special = dict(base=GROUP_BASE, special_result_attribute="member memberURL")
    leaves = table("leaves", "(proxyAddresses=smtp:%s)", result="",
                   leaf_result_attribute="leaf", recursion_limit="20", **special)
    shallow = table("shallow", "(proxyAddresses=smtp:%s)", recursion_limit="1", result="value",
                    **special)
    terminal = table("terminal", "(proxyAddresses=smtp:%s)", result="value",
                     terminal_result_attribute="terminal", recursion_limit="30", **special)
    small = table("small", "(proxyAddresses=smtp:%s)", size_limit="2", recursion_limit="30",
                  **special)
    cyclic = "cycle@x.test", "elcyc@x.test", "explodes@x.test"
    broken = "badurl@x.test", "badfilter@x.test", "badname@x.test"
    for dereference in "0", "3":
        with driver(server, dereference=dereference) as d:
            keys = check_same(d, leaves, "nested groups, dereference %s" % dereference)
            same(keys.get("top@x.test"), ["u1", "u2", "u1", "u0"], "nested, one member has gone")
            same(keys.get("empty@x.test"), ["own-leaf"], "an empty group is a leaf")
            same(keys.get("pair@x.test"), ["u4"], "once an entry is no leaf, no other one is")
            same(sorted(keys.get("url@x.test", [])), ["u%d" % i for i in range(5)], "by LDAP URL")
            same([keys.get(k) for k in cyclic + broken], [BAD] * 6, "cycles, bad URLs: no answer")
            # What explodes would take a lookup longer than anybody waits.
            same([d.lookup(leaves, k) for k in cyclic[:2] + broken], ["temp"] * 5, "so do lookups")
            for other in shallow, small:
                check_same(d, other, other)
            keys = check_same(d, terminal, "terminal attributes")
            same(keys.get("stop@x.test"), ["stopped"], "a terminal attribute stops the walk")
            same(keys.get("three@x.test"), ["p3", "p4"], "two entries, one with another key")


def check_ends(server):
    base = dict(base="ou=Ends," + SUFFIX)
    moment = table("moment", "(mail=%s)", expiry_attribute="moment", **base)
    seconds = table("seconds", "(mail=%s)", expiry_attribute="seconds", **base)
    collected = table("collected", "(mail=%s)", expiry_attribute="moment", size_limit="9", **base)
    together = table("together", "(mail=%s)", expiry_attribute="moment",
                     leaf_result_attribute="leaf", **base)
    with driver(server) as d:
        for name in moment, collected:
            d.until.clear()
            keys = scan(d, name)
            same(keys.get("both@x.test"), ["n", "s"], "%s: a key of two entries" % name)
            same(d.until, {k + "@x.test": 2000000000 for k in ("soon", "zone", "both")},
                 "%s: a GeneralizedTime; the last one of a key is that of its last entry" % name)
        same(scan(d, together).get("both@x.test"), BAD, "what belongs together needs one end")
        d.until.clear()
        keys = scan(d, seconds)
        same((keys.get("seconds@x.test"), d.until.get("seconds@x.test")), (["t"], 2000000000),
             "Unix seconds")
        same((keys.get("zero@x.test"), d.until.get("zero@x.test", 0)), (["u"], 0), "0 is never")
        same([keys.get(k + "@x.test") for k in ("broken", "several", "ticks")], [BAD] * 3,
             "an end that is none: no answer")


def check_pages(server):
    many = table("many", "(mail=%s)", base=MANY_BASE)
    twice = table("twice", "(|(mail=%s)(&(uid=0)(mailAlias=%s)))", base=MANY_BASE)
    want = {"m%03d@x.test" % i: ["value %d" % i] for i in range(60)}
    for size in "0", "1", "7", "20", "59", "60", "61", "1000":
        with driver(server, page_size=size) as d:
            same([scan(d, many), scan(d, twice)], [want] * 2, "page_size %s: all of it" % size)
            same(scan(d, "smtp"), SMTP, "page_size %s: the server was asked in between" % size)


def check_limits(server):
    """What the server cuts short is no scan."""
    name = "many"
    for limit, sizes, why in (("size=10", ["0"], "Size limit exceeded|sizelimit"),
                              ("size=10 size.prtotal=10", ["5"], "limit exceeded"),
                              ("size.soft=100 size.hard=100 size.pr=5", ["50"], "limit exceeded"),
                              ("size.prtotal=disabled", ["20"], "")):
        server.database = READER + limit
        server.restart()
        for size in sizes:
            with driver(server, {name: TABLES[name]}, page_size=size) as d:
                reply = d.ask("scan", name)
                same(reply.end, "temp", "%s, page_size %s: no scan" % (limit, size))
                like(reply.text, why, "... and says why")
    server.database = ""
    server.acl = "access to dn.subtree=\"%s\" by * search\naccess to * by * read" % MANY_BASE
    server.restart()
    with driver(server, {name: TABLES[name]}) as d:
        reply = d.ask("scan", name)
        same((reply.rows, reply.end, reply.text), ([], "done", "0"),
             "entries that are hidden from us do not exist")
    server.acl = 'access to dn.subtree="%s" attrs=mail by * search\n' \
        'access to * by * read' % MANY_BASE
    server.restart()
    with driver(server, {name: TABLES[name]}) as d:
        reply = d.ask("scan", name)
        same((reply.rows, reply.end), ([], "temp"), "entries that hide their key only are seen")
        like(reply.text, "hides the attribute of its key", "... and the reason is told")
    server.acl = "access to attrs=mailAlias by * search\naccess to * by * read"
    server.restart()
    for name in "either", "branches":
        with driver(server, {name: TABLES[name]}) as d:
            same(d.lookup(name, "j@x.test")[-1:], ["third"], "%s: lookups find hidden keys" % name)
            reply = d.ask("scan", name)
            same((reply.rows if name == "branches" else [], reply.end), ([], "temp"),
                 "... a scan knows that it does not")
            like(reply.text, "hide", "... and says so")
    server.acl = "access to * by * read"
    server.restart()


def check_references(server):
    base = dict(base="ou=Away," + SUFFIX)
    refers = table("refers", "(mail=%s)", **base)
    ignores = table("ignores", "(mail=%s)", ignore_references=True, **base)
    collects = table("collects", "(|(mail=%s)(&(uid=1)(mailAlias=%s)))", **base)
    inside = table("inside", "(mail=%s)", base="ou=Deep,ou=Else,ou=Away," + SUFFIX)
    with driver(server) as d:
        for name in refers, collects:
            reply = d.ask("scan", name)
            same(reply.end, "temp", "%s: a reference: the scan lacks something" % name)
            like(reply.text, "ignore_references", "... and says what to do")
        same(scan(d, ignores), {"here@x.test": ["here"]}, "unless it may")
        same(d.ask("scan", inside).end, "temp", "a search_base that is elsewhere")


def check_stalls(server):
    """Whatever happens in the middle, what has come is no scan."""
    name = "bulk"
    tables = {name: {"search_base": "ou=Walk," + SUFFIX, "query_filter": "(mail=%s)",
                     "result_attribute": "value"}}
    n = 6000
    server.stop()
    server.database = READER + "size=unlimited"
    server.configure()
    server.add_offline("".join(entry("w%04d" % i, "ou=Walk", mail="w%04d@x.test" % i,
                                     value="x" * 200) for i in range(n)))
    server.start()
    for happens, page_size in (("killed", "50"), ("killed", "0"), ("stopped", "50")):
        with driver(server, tables, page_size=page_size, scan_idle="1500", timeout="1000",
                    connect_timeout="1000", retry_interval="100") as d:
            keys = scan(d, name)
            same((type(keys), len(keys)), (dict, n), "%s: before" % happens) or note(keys)
            d.say("scan " + name)
            first = d.message()
            server.signal(9 if happens == "killed" else 19)
            rows, end = 1, first
            while end.split(" ")[0] in ("key", "value", "info", "until"):
                end = d.message()
                rows += 1
            ok(end.startswith(("temp", "down")) or (end == "done %d" % n and rows > 2 * n),
               "the server is %s with pages of %s: no half scan" % (happens, page_size), end)
            if happens == "killed":
                server.process.wait()
                server.start()
            else:
                server.signal(18)
            ok(wait_for(lambda: isinstance(scan(d, name), dict)), "... and it recovers by itself")


class Gate:
    """Passes connections on to a server, and calls on_request(bytes) before each request."""

    def __init__(self, port, on_request):
        self.target, self.on_request = port, on_request
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client = self.listener.accept()[0]
            server = socket.create_connection(("127.0.0.1", self.target))
            for pair in (client, server, self.on_request), (server, client, lambda _: None):
                threading.Thread(target=self.pump, args=pair, daemon=True).start()

    @staticmethod
    def pump(source, sink, on_data):
        try:
            while data := source.recv(1 << 20):
                on_data(data)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass        # the other side has gone


def check_changes(server):
    """A value that moves from one entry to another between two searches is not missed."""
    name = table("moves", "(|(&(uid=a)(mail=%s))(&(uid=b)(mailAlias=%s)))",
                 base="ou=Walk," + SUFFIX)
    server.stop()
    server.database = "overlay syncprov"
    server.configure()
    server.add_offline(entry("mv0", "ou=Walk", uid="a", value="a", mail="a@x.test") +
                       entry("mv1", "ou=Walk", uid="b", value="b",
                             mailAlias=["b@x.test", "moved@x.test"]))
    server.start()
    place, moves, tries = ["mv1"], [0], [0]

    def move(to):
        if place[0] != to and moves[0] > 0:
            there, gone = (("mv1", "mailAlias"), ("mv0", "mail"))[::1 if to == "mv1" else -1]
            server.modify("".join(
                "dn: %s\nchangetype: modify\n%s: %s\n%s: moved@x.test\n\n" % (
                    dn(who, "ou=Walk"), verb, attribute, attribute)
                for (who, attribute), verb in ((there, "add"), (gone, "delete"))))
            place[0] = to
            moves[0] -= 1

    def on_request(data):
        """Where it is not seen: here at the second search, there at the first."""
        if b"\x87\x04mail" in data:                # (mail=*)
            tries[0] += 1
            move("mv1")
        elif b"\x87\x09mailAlias" in data:
            move("mv0")
    gate = Gate(server.port, on_request)
    with driver(server, {name: TABLES[name]},
                server_host="ldap://127.0.0.1:%d" % gate.port) as d:
        want = {"a@x.test": ["a"], "b@x.test": ["b"], "moved@x.test": ["b"]}
        same((scan(d, name), tries), (want, [1]), "nothing changes: one scan")
        moves[0], tries[0] = 1, 0
        same((scan(d, name), tries), (dict(want, **{"moved@x.test": ["a"]}), [2]),
             "something moves: it begins again")
        moves[0], tries[0] = 99, 0
        like(scan(d, name), "^temp the directory changes faster than it can be read",
             "it always does: no scan")
        same(tries, [4], "... after a few")
        moves[0] = 0
        same(sorted(scan(d, name)), sorted(want), "when it rests, there is a scan")


def check_changing_pages(server):
    """Nor one that moves between two pages of one search; and what else has changed comes once."""
    base = "ou=Pages," + SUFFIX
    tables = [table("pages", "(mail=%s)", base), table("collected", "(mail=%s)", base,
                                                       terminal_result_attribute="terminal")]
    server.modify("dn: %s\nobjectClass: organizationalUnit\nou: Pages\n\n" % base + "".join(
        entry("p%d" % i, "ou=Pages", mail="p%d@x.test" % i, value="p%d" % i) for i in range(4)))
    pages, changes = [0], [""]

    def on_request(data):
        if b"\x87\x04mail" in data:
            pages[0] += 1
            if pages[0] == 3 and changes[0]:        # p0 and p1 have been read
                server.modify(changes.pop())
                changes.append("")
    gate = Gate(server.port, on_request)

    def paged_scan(name, ldif=""):
        pages[0], changes[0] = 0, ldif
        with driver(server, {name: TABLES[name]}, page_size="1",
                    server_host="ldap://127.0.0.1:%d" % gate.port) as d:
            return scan(d, name)

    def modify(who, what):
        return "dn: %s\nchangetype: modify\n%s\n\n" % (dn(who, "ou=Pages"), what)
    want = {"p%d@x.test" % i: ["p%d" % i] for i in range(4)}
    for name in tables:
        same(paged_scan(name), want, name + ": nothing changes")
        server.modify(modify("p3", "add: mail\nmail: moves@x.test"))
        same(paged_scan(name, modify("p1", "add: mail\nmail: moves@x.test") +
                        modify("p3", "delete: mail\nmail: moves@x.test") +
                        modify("p0", "replace: uid\nuid: touched") +
                        modify("p2", "replace: uid\nuid: touched")),
             dict(want, **{"moves@x.test": ["p1"]}), name + ": something moves")
        server.modify(modify("p1", "delete: mail\nmail: moves@x.test"))
    same(paged_scan("pages", "dn: %s\nchangetype: modrdn\nnewrdn: cn=p9\ndeleteoldrdn: 1\n\n" %
                    dn("p0", "ou=Pages")), want, "an entry is renamed")
    server.acl = "access to attrs=entryCSN by * none\n" + ACL
    server.restart()
    same(paged_scan("pages"), want, "entryCSN is hidden, and nothing changes")
    like(paged_scan("pages", modify("p1", "replace: uid\nuid: again")),
         "^temp .*does not show entryCSN", "something does: no scan")


server = Slapd(UNITS + "".join(ODD + MANY + GROUPS + ENDS) + REFERRAL +
               entry("here", "ou=Away", mail="here@x.test", value="here"), schema=SCHEMA)
for check in check_keys, check_refusals, check_groups, check_ends, check_pages, \
        check_references, check_limits, check_stalls, check_changes, check_changing_pages:
    check(server)
done()
