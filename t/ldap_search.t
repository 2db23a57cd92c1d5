#!/usr/bin/env python3
# sanitizers: asan
"""socketmapd-ldap and single searches: what comes in parts, what a hostile server may send, bases
that are not there, and whether anything has changed."""
import itertools
import sys

sys.path.insert(0, "t/lib")
from harness import *
from driver import Driver
from ldap_stub import REFERENCE, SEARCH_DONE, Raw, Stub, ber, entry, result
from slapd import ACL, SUFFIX, Slapd

INTERMEDIATE = 0x79
DONE = result(SEARCH_DONE)
PAGED = "1.2.840.113556.1.4.319"


def table(**settings):
    return dict({"search_base": SUFFIX, "query_filter": "(cn=%s)",
                 "result_attribute": "member"}, **settings)


def driver(server, *tables, **source):
    return Driver("ldap", dict({"server_host": server.uri, "bind": "none", "retry_interval": "1"},
                               **source),
                  {str(n): t for n, t in enumerate(tables, 1)})


# --- attributes in parts --------------------------------------------------------------------


def parts(*answers, first={}):
    """A search function: first an entry with these parts, then what each request says."""
    left = iter(answers)

    def search(request):
        if b";range=" not in request:
            return [entry("cn=g", {"cn": ["g"], **first, "zz": ["after"]}), DONE]
        asked, answer = next(left, (b"", None))
        if asked not in request or answer is None:
            return [result(SEARCH_DONE, 1, "not what was expected")]
        return answer if isinstance(answer, list) else [entry("cn=g", answer), DONE]
    return search


def check_parts():
    good = {
        "two parts": parts((b"member;range=2-*", {"member;range=2-*": ["c"]}),
                           first={"member;range=0-1": ["a", "b"]}),
        "with an empty one beside it": parts(
            (b"member;range=2-*", {"member": [], "MEMBER;Range=2-*": ["c"]}),
            first={"member": [], "member;range=0-1": ["a", "b"]}),
        "the empty one behind it": parts((b"member;range=2-*", {"member;range=2-*": ["c"]}),
                                         first={"member;range=0-1": ["a", "b"], "member": []}),
        "many parts": parts((b"member;range=1-*", {"member;range=1-1": ["b"]}),
                            (b"member;range=2-*", {"member;range=2-2": ["c"], "other": ["x"]}),
                            (b"member;range=3-*", {"member;range=3-*": ["d"]}),
                            first={"member;range=0-0": ["a"]}),
        "one part": parts(first={"member;range=0-*": ["a", "b", "c"]}),
        "one part, no values": parts(first={"member;range=0-*": []}),
        "with options": parts((b"member;x;range=2-*", {"member;x;range=2-*": ["c"]}),
                              first={"member;x;range=0-1": ["a", "b"]}),
    }
    want = {"many parts": list("abcd"), "one part, no values": []}
    stub = Stub()
    with driver(stub, table(result_attribute="cn member zz")) as d:
        for name, stub.search in good.items():
            same(d.lookup("1", "g"), ["g", *want.get(name, "abc"), "after"], "ranges: " + name)

    begin = {"member;range=0-1": ["a", "b"]}
    bad = {
        "a gap": parts((b"", {"member;range=3-*": ["d"]}), first=begin),
        "the same again": parts((b"", begin), first=begin),
        "fewer values than it says": parts((b"", {"member;range=2-4": ["c", "d"]}), first=begin),
        "more values than it says": parts((b"", {"member;range=2-2": ["c", "d"]}), first=begin),
        "a last part without values": parts((b"", {"member;range=2-*": []}), first=begin),
        "another attribute": parts((b"", {"memberx;range=2-*": ["c"]}), first=begin),
        "no part": parts((b"", {"member": ["c"]}), first=begin),
        "no attribute": parts((b"", {}), first=begin),
        "no entry": parts((b"", [DONE]), first=begin),
        "the entry has gone": parts((b"", [result(SEARCH_DONE, 32)]), first=begin),
        "an error": parts((b"", [result(SEARCH_DONE, 11)]), first=begin),
        "no beginning": parts(first={"member;range=2-*": ["c"]}),
        "a beginning that is short": parts(first={"member;range=0-2": ["a", "b"]}),
        "two beginnings": parts((b"", {"member;range=2-*": ["c"]}),
                                first={"member;range=0-1": ["a", "b"],
                                       "member;range=0-*": ["a", "b"]}),
        "it comes whole, too": parts((b"", {"member;range=2-*": ["c"]}),
                                     first=dict(begin, member=["a"])),
        "backwards": parts(first={"member;range=1-0": []}),
        "no number": parts(first={"member;range=0-x": ["a"]}),
        "a huge number": parts(first={"member;range=0-99999999999999999999": ["a"]}),
        "two ranges": parts(first={"member;range=0-0;range=0-*": ["a"]}),
        "nothing": parts(first={"member;range=": ["a"]}),
        "without end": lambda request: [entry("cn=g", {
            "member;range=0-1" if b";range=" not in request else "member;range=2-3":
            ["a", "b"]}), DONE],
    }
    # The base is made of the key: even then, what has gone is no word on the key.
    dynamic = table(search_base="cn=%s", search_filter="(cn=%s)")
    with driver(stub, table(), dynamic) as d:
        for name, stub.search in bad.items():
            same([d.lookup("1", "g"), d.process.poll()], ["temp", None], "ranges: " + name)
        stub.search = parts((b"", [result(SEARCH_DONE, 32)]), first=begin)
        same(d.lookup("2", "g"), "temp", "ranges: the entry has gone, and the base has the key")
    stub.search = lambda request: [entry("cn=g", begin), DONE]
    with driver(stub, table(result_attribute="member;range=0-1")) as d:
        same(d.lookup("1", "g"), ["a", "b"], "ranges: who asks for a part gets it")
    stub.close()


# --- what a server may send --------------------------------------------------------------------


def check_hostile():
    good = {
        "a value with a NUL": ([entry("cn=g", {"member": ["be\0hind"]}), DONE], ["be"]),
        "an attribute that comes twice":
            ([ber(0x64, ber(4, "cn=g"), ber(0x30, *[
                ber(0x30, ber(4, "member"), ber(0x31, ber(4, v))) for v in "ab"])), DONE],
             ["a", "b"]),
        "a reference and an intermediate response":
            ([ber(REFERENCE, ber(4, "ldap://elsewhere/")), ber(INTERMEDIATE),
              entry("cn=g", {"member": ["a"]}), DONE], ["a"]),
        "5000 entries": ([entry("cn=%d" % i, {"member": [str(i)]}) for i in range(5000)] + [DONE],
                         [str(i) for i in range(5000)]),
        "a big entry": ([entry("cn=g", {"member": ["%d" % i for i in range(100000)]}), DONE],
                        ["%d" % i for i in range(100000)]),
    }
    bad = {
        "a NUL in a name": [entry("cn=\0g", {"member": ["a"]}), DONE],
        "a NUL in an attribute": [entry("cn=g", {"mem\0ber": ["a"]}), DONE],
        "10000 attributes": [entry("cn=g", {"member;x-%d" % i: ["a"] for i in range(10000)}), DONE],
        "no entry at all": [ber(0x64), DONE],
        "half an entry": [ber(0x64, ber(4, "cn=g"), b"\x30\x50member"), DONE],
        "a wrong length inside": [ber(0x64, ber(4, "cn=g"), ber(0x30, ber(0x30, b"\x04\x7fmem"))),
                                  DONE],
        "another response": [ber(0x6b), DONE],
        "no result in the end": [ber(SEARCH_DONE)],
        "a code below zero": [ber(SEARCH_DONE, ber(10, b"\xff"), ber(4), ber(4))],
        "a code that says that we have stopped":
            [ber(SEARCH_DONE, ber(10, b"\xa8"), ber(4), ber(4))],
        "a message of 2 GB": [Raw(b"\x30\x84\x7f\xff\xff\xff\x02\x01\x02")],
        "a message of 100 MB": [Raw(b"\x30\x84\x06\x00\x00\x00\x02\x01\x02" + bytes(1000))],
        "no message": [Raw(b"HTTP/1.0 200 OK\r\n\r\n" + bytes(1000))],
        "more entries than there is memory": itertools.chain(
            itertools.repeat(entry("cn=g", {"member": ["x" * 1000000]}), 200), [DONE]),
    }
    stub = Stub()
    for name, (answer, want) in good.items():
        stub.search = lambda request: answer
        with driver(stub, table()) as d:
            same(d.lookup("1", "g"), want, "odd: " + name)
    for name, answer in bad.items():
        stub.search = lambda request: answer
        with driver(stub, table(), timeout="20000") as d:
            reply = d.ask("lookup", "1", "g")
            ok(reply.end in ("temp", "down", "eof"), "hostile: " + name, reply.end)
            peak = d.peak_kb() if reply.end != "eof" else 0
            ok(peak < 400000 * SLOW, "hostile: " + name + ": and takes no more than it may", peak)
    stub.close()


def check_codes():
    stub = Stub()
    with driver(stub, table(), table(search_base="cn=%s," + SUFFIX)) as d:
        for entries in [], [entry("cn=g", {"member": ["a"]})]:
            ends, before = {}, stub.searches
            for code in range(1, 124):
                stub.search = lambda request: entries + [result(SEARCH_DONE, code)]
                for id in "12" if code != 32 else "1":
                    ends.setdefault(d.ask("lookup", id, "g").end, []).append(code)
                    d.ask("ping")       # after a "down" it tries again at once
            ok(set(ends) <= {"temp", "down"}, "no result code but 0 is an answer, %d entries"
               % len(entries), ends)
            ok(stub.searches - before >= 245, "and all of them were said", stub.searches - before)
        stub.search = lambda request: entries + [DONE]
        same(d.lookup("1", "g"), ["a"], "and 0 is one")
    stub.close()


def check_size_limit():
    stub = Stub()
    with driver(stub, table(size_limit="2")) as d:
        for n, want in (2, ["0", "1"]), (3, "temp"), (1000, "temp"):
            stub.search = lambda request: [
                entry("cn=%d" % i, {"member": [str(i)]}) for i in range(n)] + [DONE]
            same(d.lookup("1", "g"), want, "size_limit 2, the server sends %d" % n)
    stub.close()


def check_nested():
    """The connection gets lost between two searches of one lookup: it begins again."""
    lost = iter([True])

    def search(request):
        if b"cn=inner" in request:
            if next(lost, False):
                raise OSError
            return [entry("cn=inner", {"mail": ["a@b"]}), DONE]
        return [entry("cn=g", {"mail": ["first@x"], "member": ["cn=inner"]}), DONE]

    stub = Stub(search=search)
    with driver(stub, table(result_attribute="mail", special_result_attribute="member"),
                table(search_base="cn=plain")) as d:
        d.lookup("2", "g")
        same(d.lookup("1", "g"), ["first@x", "a@b"], "a nested search that loses its connection")
        same(stub.searches, 5, "all of the lookup was asked again")
        for code, want in (32, ["first@x"]), (50, "temp"), (34, "temp"), (3, "temp"), (52, "down"):
            stub.search = lambda request: [result(SEARCH_DONE, code)] \
                if b"cn=inner" in request else search(request)
            same(d.ask("lookup", "1", "g").end if isinstance(want, str) else d.lookup("1", "g"),
                 want, "a nested search ends with %d" % code)
    stub.close()


# --- bases that are not there -----------------------------------------------------------------


def check_bases():
    """Where the base has the key, no such object is no such key; but not where the rest is gone."""
    tree = "dn: ou=a,{0}\nobjectClass: organizationalUnit\nou: a\n\n" \
           "dn: cn=k,ou=a,{0}\nobjectClass: adGroup\ncn: k\nmail: k@x\n\n" \
           "dn: ou=50%,{0}\nobjectClass: organizationalUnit\nou: 50%\n\n".format(SUFFIX)
    cases = {
        "cn=%s,ou=a," + SUFFIX: [],
        "cn=%s+sn=x,ou=a," + SUFFIX: [],
        "cn=x\\,%s , OU=A, DC=Example;dc=com": [],
        "cn=%s,ou=50%%," + SUFFIX: [],
        "cn=%s," + SUFFIX: [],
        "cn=%s": [],
        "dc=%s,dc=com": [],             # above all that there is
        "cn=%s,ou=gone," + SUFFIX: "temp",
        "cn=%s,ou=51%%," + SUFFIX: "temp",
        "cn=%s,ou=hidden," + SUFFIX: "temp",
        "cn=%s,dc=elsewhere,dc=org": "temp",
        "cn=%s,no name": "temp",        # this, slapd does not like at all
        "ou=gone," + SUFFIX: "temp",
    }
    hidden = "dn: ou=hidden,%s\nobjectClass: organizationalUnit\nou: hidden\n\n" % SUFFIX
    acl = 'access to dn.subtree="ou=hidden,%s" by * none\n' % SUFFIX
    server = Slapd(tree + hidden, acl=acl + ACL)
    tables = [table(search_base=b, query_filter="(cn=*)", result_attribute="mail") for b in cases]
    with driver(server, *tables) as d:
        for n, (base, want) in enumerate(cases.items(), 1):
            same(d.lookup(str(n), "nobody"), want, "no such base: " + base)
        like(d.ask("lookup", str(len(cases)), "nobody").text, "search_base.*No such object",
             "and the reason is told")
        same(d.lookup("1", "k"), ["k@x"], "there is such a base")
    for name in ("cn=k,ou=a,", "ou=a,", "ou=50%,", "ou=hidden,", "cn=reader,", ""):
        server.modify("dn: %s%s\nchangetype: delete\n" % (name, SUFFIX))
    with driver(server, table(search_base="dc=%2,dc=%1"), table(search_base="ou=%u,dc=%2,dc=com"),
                bind="none") as d:
        for id in "12":
            same([d.lookup(id, k) for k in ("k@example.com", "k@else.com")], ["temp", []],
                 "a server that has nothing yet: of what is to come it cannot tell")
    server.stop()

    # A server that does not say how far it got, and none that knows its suffixes.
    stub = Stub()
    with driver(stub, table(search_base="cn=%s,ou=a," + SUFFIX)) as d:
        for n, codes, want in (("is there", [32, 0, 0], []), ("is not there", [32, 0, 32], "temp"),
                               ("is there, the root entry hidden", [32, 32, 0], []),
                               ("is not there, the root entry hidden", [32, 50, 32], "temp"),
                               ("cannot be asked", [32, 0, 50], "temp"),
                               ("and the root entry cannot be asked", [32, 80], "temp")):
            left = iter(codes)
            stub.search = lambda request: [result(SEARCH_DONE, next(left))]
            same(d.lookup("1", "k"), want, "no word on how far it got: the rest " + n)
    stub.close()


# --- pages, and what has changed ------------------------------------------------------------------


def page(cookie, code=0, value=None):
    """The end of one page."""
    value = ber(0x30, ber(2, b"\0"), ber(4, cookie)) if value is None else value
    return result(SEARCH_DONE, code) + ber(0xa0, ber(0x30, ber(4, PAGED), ber(4, value)))


def check_pages():
    """Each page must end well, and the last one say that it is."""
    one = [entry("cn=a", {"modifyTimestamp": ["20200101000000Z"]})]
    two = [entry("cn=b", {"modifyTimestamp": ["20200101000000Z"]})]
    stub = Stub()

    def changed(d, *pages):
        left = iter(pages)
        stub.search = lambda request: next(left, [result(SEARCH_DONE, 1)])
        reply = d.ask("changed", "1")
        return [v for _, v in reply.rows] if reply.end == "done" else reply.end

    with driver(stub, table(change_check="modifyTimestamp"), page_size="1") as d:
        whole = changed(d, one + [page("x")], two + [page("")])
        like(str(whole), r"^\['2 [0-9a-f]{32}'\]$", "pages: two of them")
        same(changed(d, one + two + [page("")]), whole, "pages: all in one")
        same(changed(d, one + [page("x")], [page("y")], two + [page("")]), whole,
             "pages: an empty one between them")
        for name, pages in {
                "no word on pages": [one + [DONE]],
                "no word on the second one": [one + [page("x")], two + [DONE]],
                "an error in the first": [one + [page("x", 4)]],
                "an error in the second": [one + [page("x")], two + [page("", 3)]],
                "a control that is none": [one + [page("", value="x")]],
                "the second one refused": [one + [page("x")], [result(SEARCH_DONE, 53)]],
                "paging refused": [[result(SEARCH_DONE, 12)]]}.items():
            same(changed(d, *pages), "temp", "pages: " + name)
        left = iter([one + [page("x")]])

        def lose(request):
            for answer in left:
                return answer
            raise OSError
        stub.search = lose
        ok(d.ask("changed", "1").end in ("temp", "down"), "pages: the connection gets lost")
    stub.close()


def check_changes():
    people = "".join("dn: cn=u{0},{1}\nobjectClass: adGroup\ncn: u{0}\nmail: u{0}@x\n\n"
                     .format(i, SUFFIX) for i in range(7))
    server = Slapd(people, database="overlay syncprov\n")
    plain = Slapd(people)
    kinds = {"1": table(change_check="contextCSN"),
             "2": table(change_check="modifyTimestamp"),
             "3": table(change_check="modifyTimestamp", special_result_attribute="member"),
             "4": table(change_check="contextCSN", search_base="cn=%s," + SUFFIX),
             "5": table(change_check="contextCSN", search_base="dc=elsewhere"),
             "6": table(change_check="modifyTimestamp", search_base="dc=elsewhere"),
             "7": table(change_check="contextCSN", search_base="")}

    with driver(server, *kinds.values(), page_size="2") as d, \
            driver(server, *kinds.values(), page_size="0") as other, \
            driver(plain, *kinds.values()) as poor:
        def says(id, d=d):
            reply = d.ask("changed", id)
            return [v for _, v in reply.rows] if reply.end == "done" else reply.end

        before = {id: says(id) for id in "1237"}
        ok(all(isinstance(v, list) and v for v in before.values()), "changes are seen", before)
        same({id: says(id) for id in "1237"}, before, "as long as there are none, all is the same")
        same({id: says(id, other) for id in "1237"}, before, "to another driver, too")
        same([says(id) for id in "456"], ["temp"] * 3, "bases where nobody can tell")
        same(says("1", poor), "temp", "a server without contextCSN")
        like(poor.ask("changed", "1").text, "syncprov", "the reason is told")
        same(len(says("2", poor)), 1, "it has times")
        for name, ldif in {
                "a change": "dn: cn=u1,%s\nchangetype: modify\nreplace: mail\nmail: new@x\n",
                "a deletion": "dn: cn=u2,%s\nchangetype: delete\n",
                "another name": "dn: cn=u3,%s\nchangetype: modrdn\nnewrdn: cn=u33\n"
                                "deleteoldrdn: 1\n",
                "a new entry": "dn: cn=u9,%s\nobjectClass: adGroup\ncn: u9\n"}.items():
            server.modify(ldif % SUFFIX)
            now = {id: says(id) for id in "1237"}
            same([id for id in now if now[id] == before[id]], [], name + " is seen")
            same({id: says(id) for id in "1237"}, now, name + " is seen once")
            before = now
    server.stop()
    plain.stop()


check_parts()
check_hostile()
check_codes()
check_size_limit()
check_nested()
check_bases()
check_pages()
check_changes()
done()
