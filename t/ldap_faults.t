#!/usr/bin/env python3
# sanitizers: asan
"""
Everything that may happen to an LDAP server and the way to it: what clients are told meanwhile,
and that all is well when it is over. Each fault has a source of its own, and all run at once;
those of a whole server have their own server, and come one after the other.
"""
import signal
import sys
import time

sys.path.insert(0, "t/lib")
from harness import *
from faults import *
from certificates import Authority
from driver import Driver
from faultproxy import FaultProxy
from ldap_stub import SEARCH_DONE, Raw, Stub, entry, result
from slapd import ACL, SUFFIX, Slapd

PAGE = 100
SHARED = "ou=shared," + SUFFIX


def host_failed(phase, why):
    """The line of the log that names all three."""
    return r'host_failed .*host=ldaps?://127\.0\.0\.1:\d+ phase=%s why="?%s' % (phase, why)


def ldap_maps(name, base=SHARED, query_filter="(mail=%s)", size_limit=0, **mirror):
    return maps(name, {"search_base": base, "query_filter": query_filter, "size_limit": size_limit,
                       "result_attribute": "description"}, dict(mirror, refresh="4s"), "6s")


def source(name, server_host, **settings):
    settings = dict({"name": name, "driver": "ldap", "server_host": server_host,
                     "bind_dn": user(name), "bind_pw": "secret", "page_size": PAGE,
                     "connections": 2, "timeout": "2s", "connect_timeout": "1s",
                     "retry_interval": "1s", "scan_idle": "2s", "scan_timeout": "20s"}, **settings)
    if "bind_pw_file" in settings:
        del settings["bind_pw"]
    return settings


# --- the directory ------------------------------------------------------------------------------

def user(name):
    return "cn=%s,ou=users,%s" % (name, SUFFIX)


def group(name):
    return "cn=%s,ou=groups,%s" % (name, SUFFIX)


def ou(name):
    return "dn: ou=%s,%s\nobjectClass: organizationalUnit\nou: %s\n\n" % (name, SUFFIX, name)


def person(key, value, base=SHARED):
    name = key.partition("@")[0]
    return "dn: cn=%s,%s\nobjectClass: adGroup\ncn: %s\nmail: %s\ndescription: %s\n\n" % (
        name, base, name, key, value)


def people(base=SHARED):
    return "".join(person(key, reply[3:], base) for key, reply in KNOWN.items())


def login(name):
    return "dn: %s\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\ncn: %s\n" \
        "userPassword: secret\n\n" % (user(name), name)


# Who is in one of these groups meets its limit or sees no more than that; nobody is at first.
LIMITS = {
    "sizelimit": "size.soft=100 size.hard=100",
    "prtotal": "size.prtotal=350",
    "adminlimit": "size.unchecked=50",
    "pagesize": "size.pr=20",
}
HIDDEN = {"hidden": 'dn.children="%s"' % SHARED, "hidden_base": 'dn.subtree="%s"' % SHARED,
          "hidden_half": 'dn.children="%s" filter=(cn=user5*)' % SHARED,
          "hidden_key": 'dn.children="%s" attrs=mail' % SHARED}
MEMBERS = 'group/adGroup/member="%s" '
BASES = "reference", "ignored", "no_base", "referral"   # what happens to them may not happen to all


def directory():
    """Of a slapd for all of them: its entries, limits and access rights."""
    ldif = ou("users") + ou("groups") + ou("shared") + people()
    ldif += "".join("dn: %s\nobjectClass: adGroup\ncn: %s\n\n" % (group(g), g)
                    for g in [*LIMITS, *HIDDEN])
    ldif += "".join(ou(b) + people("ou=%s,%s" % (b, SUFFIX)) for b in BASES)
    acl = "".join("access to %s by %s by * break\n" % (
        what, MEMBERS % group(g) + ("search" if g == "hidden_key" else "none"))
        for g, what in HIDDEN.items())
    limits = "".join("limits " + MEMBERS % group(g) + limit + "\n" for g, limit in LIMITS.items())
    return {"ldif": ldif, "acl": acl + ACL, "database": limits + "limits * size=unlimited\n"}


def change(slapd, dn, verb, attribute, value):
    slapd.modify("dn: %s\nchangetype: modify\n%s: %s\n%s: %s\n" % (
        dn, verb, attribute, attribute, value))


# --- the network, TLS, one user -----------------------------------------------------------------

def pdus(data):
    """Where each message ends, and what it is."""
    at = 0
    while at < len(data):
        n, skip = data[at + 1], 2
        if n >= 128:
            skip += n - 128
            n = int.from_bytes(data[at + 2:at + skip], "big")
        body = at + skip
        yield at + skip + n, data[body + 2 + data[body + 1]], data[body:body + n]
        at += skip + n


def offsets(slapd):
    """Bytes from the server up to the places of a scan where a connection may get stuck."""
    proxy = FaultProxy(slapd.port)
    proxy.tap = bytearray()
    with Driver("ldap", {"server_host": "ldap://127.0.0.1:%d" % proxy.port, "bind": "simple",
                         "bind_dn": "cn=reader," + SUFFIX, "bind_pw": "secret",
                         "page_size": str(PAGE)},
                {"1": {"search_base": SHARED, "query_filter": "(mail=%s)",
                       "result_attribute": "description"}}) as d:
        same(d.ask("scan", "1").end, "done", "a scan to see what it looks like on the wire")
    proxy.close()
    seen = list(pdus(proxy.tap))
    rows = [end for end, _, body in seen if b"cn=user" in body]
    same(len(rows), ROWS, "it has all entries")
    pages = [end for end, tag, _ in seen if tag == SEARCH_DONE and end > rows[0]]
    return {"bound": seen[0][0], "entry": rows[4 * PAGE + PAGE // 2], "page": pages[3]}


def network_faults(slapd):
    at = offsets(slapd)
    silent = "no answer within"
    lost = "Can't contact LDAP server"
    ldaps = {"tls_ca_cert_file": CA.pem}
    tls = dict(ldaps, start_tls=True)
    table = {
        # name: mode, bytes, phase, what is said, settings of the source
        "refused": ("refuse", 0, "connect", "Connection refused", {}),
        "dropped": ("drop", 0, "connect", "Connection timed out", {}),
        "bind": ("stall_after", 0, "bind", silent, {}),
        "bind_pdu": ("stall_after", 5, "bind", silent, {}),
        "bind_rst": ("rst_after", 5, "bind", lost, {}),
        "trickle": ("trickle", 0, "bind", silent, {"timeout": "1s"}),
        "starttls": ("stall_after", 0, "tls", silent, tls),
        "starttls_shake": ("stall_after", 700, "tls", silent, tls),
        "ldaps": ("stall_after", 0, "tls", silent, ldaps),
        "ldaps_shake": ("stall_after", 700, "tls", silent, ldaps),
        "search": ("stall_after", at["bound"], "search", silent, {}),
        "scan_entry": ("stall_after", at["entry"], "search", silent, {}),
        "scan_pdu": ("stall_after", at["entry"] + 20, "search", silent, {}),
        "scan_page": ("stall_after", at["page"], "search", silent, {}),
        "scan_rst": ("rst_after", at["entry"] + 20, "search", lost, {}),
        "scan_close": ("close_after", at["entry"], "search", lost, {}),
    }
    for name, (mode, n, phase, why, settings) in table.items():
        is_ldaps, is_scan = name.startswith("ldaps"), name.startswith("scan_")
        proxy = FaultProxy(slapd.tls_port if is_ldaps else slapd.port)
        saw = "(?s)(?=.*%s).*%s" % (MID_SCAN, host_failed(phase, why)) if is_scan else \
            host_failed(phase, why)
        yield name, Fault(lambda p=proxy, m=mode, n=n: p.set(m, n), lambda p=proxy: p.set("pass"),
                          saw, "scans" if is_scan else "all",
                          server_host="ldap%s://127.0.0.1:%d" % ("s" * is_ldaps, proxy.port),
                          **settings)


def two_host_faults(slapd):
    """One of two hosts is always bad, each in its turn, and no moment is without a good one."""
    for name, mode, n in (("two_refuse", "refuse", 0), ("two_drop", "drop", 0),
                          ("two_stall", "stall", 0), ("two_reset", "rst_after", 0)):
        proxies = FaultProxy(slapd.port), FaultProxy(slapd.port)

        def swap(bad, good, mode=mode, n=n):
            good.set("pass")
            bad.set(mode, n)
        yield name, Fault(
            lambda p=proxies, swap=swap: swap(p[0], p[1]),
            lambda p=proxies, swap=swap: swap(p[1], p[0]), "host_failed|refresh_failed", "nothing",
            server_host=" ".join("ldap://127.0.0.1:%d" % p.port for p in proxies), timeout="4s")
    proxy = FaultProxy(slapd.port)
    yield "no_name", Fault(lambda: proxy.set("refuse"), lambda: proxy.set("pass"),
                           r"host_failed .*host=ldap://nosuch\.invalid phase=resolve why=",
                           server_host="ldap://nosuch.invalid ldap://127.0.0.1:%d" % proxy.port)


def diverted(good, bad, saw, stops="all", scheme="ldap", **settings):
    """For a while, another server is at the port of the good one."""
    proxy = FaultProxy(good)
    return Fault(lambda: proxy.divert(bad), lambda: proxy.divert(good), saw, stops,
                 server_host="%s://127.0.0.1:%d" % (scheme, proxy.port), **settings)


def certificate_faults(slapd):
    """Servers that would say that nobody is there, were they to be believed."""
    nobody = ou("shared")
    for name, authority, alternative, end, scheme, why in (
            ("expired", CA, "IP:127.0.0.1", "20200102000000Z", "ldap", "expired on 2020-01-02"),
            ("other_name", CA, "DNS:ldap.example", "20990101000000Z", "ldaps",
             "for another name: ldap.example"),
            ("unknown_ca", Authority("stranger"), "IP:127.0.0.1", "20990101000000Z", "ldap",
             "unknown issuer: .*CN=stranger")):
        bad = Slapd(nobody, certificate=authority.certificate(name, alternative, end=end))
        port = "tls_port" if scheme == "ldaps" else "port"
        fault = diverted(getattr(slapd, port), getattr(bad, port),
                         host_failed("tls", "its certificate .*" + why), scheme=scheme,
                         tls_ca_cert_file=CA.pem, start_tls=scheme == "ldap")

        def end(end=fault.end, name=name, bad=bad):
            end()
            ok(" BIND " not in bad.log(), name + ": it is not told the password", bad.log()[-2000:])
        fault.end = end
        yield name, fault


def stub_faults(slapd):
    for name, phase, garbage in (
            ("http", "bind", b"HTTP/1.0 400 Bad Request\r\n\r\n"),
            ("noise", "search", bytes(range(256)) * 20),
            ("huge", "search", b"\x30\x84\x7f\xff\xff\xff\x02\x01\x02")):
        stub = Stub(**{phase: lambda _, g=garbage: [Raw(g)]})
        yield name, diverted(slapd.port, stub.port, host_failed(phase, ""))

    def cut_short(request):
        """Some entries for a scan, and an end that is none."""
        entries = [entry("cn=user%d" % i, {"mail": ["user%d@d.example" % i],
                                           "description": ["box%d-%s" % (i, PAD)]})
                   for i in range(1, 400)]
        return (entries if b"\x87\x04mail" in request else []) + [
            result(SEARCH_DONE, 3 if b"mail" in request else 32)]
    yield "timelimit", diverted(
        slapd.port, Stub(search=cut_short).port,
        r"refresh_failed .*why=.*search: Time limit exceeded \(3\)",
        table={"scan_filter": "(mail=*)", "key_attribute": "mail"})


# --- limits, access rights and entries ----------------------------------------------------------

def limit_faults(slapd):
    """The source's user becomes a member of a group, and is one no longer."""
    words = {"sizelimit": (4, {"page_size": 0}), "prtotal": (4, {}), "adminlimit": (11, {}),
             "pagesize": (11, {})}
    faults = {
        g: (r"refresh_failed .*why=.*ldap://.*: search: .*\(%d\)" % code, "scans", {}, settings)
        for g, (code, settings) in words.items()
    }
    faults.update({
        "hidden": ("refresh_rejected .*fewer keys than min_entries", "truth",
                   {"min_entries": 1, "max_shrink": 1}, {}),    # if it comes between two pages
        "hidden_half": ("refresh_rejected .*a key of `expect` is missing", "truth",
                        {"expect": ["user550@d.example"]}, {}),
        "hidden_base": (r"refresh_failed .*search_base.*search: No such object \(32\)", "all",
                        {}, {}),
        "hidden_key": ("refresh_failed .*hides the attribute of its key", "scans", {}, {}),
    })
    for g, (saw, stops, table, settings) in faults.items():
        yield g, Fault(lambda g=g: change(slapd, group(g), "add", "member", user(g)),
                       lambda g=g: change(slapd, group(g), "delete", "member", user(g)),
                       saw, stops, table, server_host=slapd.uri, **settings)


def entry_faults(slapd):
    def refer(name, base):
        slapd.modify("dn: ou=%s,%s\nobjectClass: referral\nobjectClass: extensibleObject\nou: %s\n"
                     "ref: ldap://127.0.0.1:1/dc=elsewhere\n" % (name, base, name), "-M")

    def stay(name, base):
        slapd.modify("dn: ou=%s,%s\nchangetype: delete\n" % (name, base), "-M")

    def rename(old, new):
        slapd.modify("dn: ou=%s,%s\nchangetype: modrdn\nnewrdn: ou=%s\ndeleteoldrdn: 1\n" %
                     (old, SUFFIX, new))
    for name, saw, stops, table in (
            ("reference", "refresh_failed .*part of .* is on another server", "scans", {}),
            ("ignored", "", "nothing", {"ignore_references": True})):
        base = "ou=%s,%s" % (name, SUFFIX)
        yield name, Fault(lambda b=base: refer("away", b), lambda b=base: stay("away", b),
                          saw, stops, dict(table, base=base), server_host=slapd.uri)
    yield "no_base", Fault(lambda: rename("no_base", "moved"), lambda: rename("moved", "no_base"),
                           r"refresh_failed .*search_base.*search: No such object \(32\)",
                           table={"base": "ou=no_base," + SUFFIX}, server_host=slapd.uri)

    def begin():
        rename("referral", "replaced")
        refer("referral", SUFFIX)

    def end():
        stay("referral", SUFFIX)
        rename("replaced", "referral")
    yield "referral", Fault(begin, end, r"refresh_failed .*search: Referral \(10\)",
                            table={"base": "ou=referral," + SUFFIX}, server_host=slapd.uri)


class Rotation:
    """The password changes; the file that we read it from does so later."""

    def __init__(self, slapd, name):
        self.slapd, self.name, self.n = slapd, name, 0
        self.file = scratch() + "/password"
        self.proxy = FaultProxy(slapd.port)

    def binds(self):
        return len(re.findall('BIND dn="cn=%s,.* method=128' % self.name, self.slapd.log()))

    def begin(self):
        self.n += 1
        change(self.slapd, user(self.name), "replace", "userPassword", "secret%d" % self.n)
        self.proxy.divert(self.slapd.port)
        self.since, self.before = time.monotonic(), self.binds()

    def end(self):
        """Each scan has tried it once, those processes for lookups once per retry_interval."""
        took, n = time.monotonic() - self.since, self.binds() - self.before
        ok(0 < n < 6 + 0.75 * took, "the account is not hammered with an old password",
           "%d times in %.1f s" % (n, took))
        self.write("secret%d" % self.n)

    def write(self, password):
        with open(self.file, "w") as f:
            os.chmod(self.file, 0o600)
            f.write(password + "\n")

    def fault(self):
        self.write("secret")
        return Fault(self.begin, self.end, host_failed("bind", r"Invalid credentials \(49\)"),
                     server_host="ldap://127.0.0.1:%d" % self.proxy.port, bind_pw_file=self.file,
                     retry_interval="6s")


def check_faults():
    slapd = Slapd(certificate=CA.certificate("good", "IP:127.0.0.1"), **directory())
    faults = {"rotated": Rotation(slapd, "rotated").fault()}
    for some in (network_faults, two_host_faults, certificate_faults, stub_faults, limit_faults,
                 entry_faults):
        faults.update(some(slapd))
    slapd.modify("".join(map(login, faults)))
    server = Server(threads=1)
    for name, fault in faults.items():
        server.sources.append(source(name, **fault.source))
        server.maps.update(ldap_maps(name, **fault.table))
        fault.begin()

    def run(name):
        base = faults[name].table.get("base", SHARED)
        Case(server, name, faults[name],
             lambda key: slapd.modify(person(key, "late", base))).live()
    with server, Watch(server):
        in_parallel(run, faults)


# --- a whole server -----------------------------------------------------------------------------

ACTIVE = "attributetype ( our:9.1 NAME 'isActive' %s )\n" \
    "objectclass ( our:9.2 NAME 'activeUser' SUP top AUXILIARY MAY isActive )\n"


def check_server():
    known = ACTIVE % "EQUALITY booleanMatch SYNTAX bool"

    def active(ldif):
        return ldif.replace("objectClass: adGroup\n", "objectClass: adGroup\n"
                            "objectClass: activeUser\nisActive: TRUE\n")
    slapd = Slapd(ou("shared") + ou("users") + login("slapd") + active(people()), schema=known,
                  database="limits * size=unlimited\n")
    proxy = FaultProxy(slapd.port)
    scan = offsets(slapd)["entry"]

    def freeze():
        slapd.signal(signal.SIGSTOP)

    def kill():
        """When a scan is in the middle of an entry."""
        proxy.set("stall_after", scan + 20)
        ok(wait_for(proxy.is_stalled), "a scan is on its way")
        slapd.stop()
        proxy.divert(slapd.port)

    def take(schema):
        slapd.schema = schema
        slapd.restart()

    faults = {
        "down": Fault(slapd.stop, slapd.start, host_failed("(connect|bind)", "")),
        "stopped": Fault(freeze, lambda: slapd.signal(signal.SIGCONT),
                         host_failed("(bind|search)", "no answer within")),
        "killed": Fault(kill, slapd.start, MID_SCAN +
                        ".*search: (Can't contact LDAP server|no answer within)"),
        "restarted": Fault(slapd.restart, lambda: None, "", "nothing"),
        "schema": Fault(lambda: take(""), lambda: take(known),
                        "refresh_rejected .*fewer keys than min_entries", "truth"),
    }
    server = Server(maps=ldap_maps("slapd", query_filter="(&(mail=%s)(isActive=TRUE))",
                                   min_entries=1),
                    sources=[source("slapd", "ldap://127.0.0.1:%d" % proxy.port)])
    slapd.stop()
    case = Case(server, "slapd", faults["down"],
                lambda key: slapd.modify(active(person(key, "late"))))
    with server, Watch(server), case:
        case.check_empty()
        slapd.start()
        case.check_works()
        for name, case.fault in faults.items():
            note(name)
            case.suffer()


# --- servers that do as they like -----------------------------------------------------------------

def check_stubs():
    """A server that takes its time for a scan, and one that sends attributes in parts."""
    def slow(request):
        if b"\x87\x04mail" not in request:
            yield result(SEARCH_DONE, 32)
            return
        for i in range(1, 41):
            time.sleep(0.1)
            yield entry("cn=user%d" % i, {"mail": ["user%d@d.example" % i], "description": ["x"]})
        yield result(SEARCH_DONE)

    def ranges(request):
        """As Active Directory, but that the rest may be refused."""
        found = re.search(rb"(?i)description;range=(\d+)-", request)
        if found and is_refused:
            return [result(SEARCH_DONE, 11)]
        if not found and b"mail" not in request:
            return [result(SEARCH_DONE, 32)]
        at = int(found[1]) if found else 0
        end = "*" if at == 4 else str(at + 1)
        part = {"description;range=%d-%s" % (at, end): ["v%d" % i for i in (at, at + 1)]}
        return [entry("cn=group", {"mail": ["group@d.example"], **part}), result(SEARCH_DONE)]
    is_refused = True
    whole = "OK v0,v1,v2,v3,v4,v5"
    server = Server()
    for name, search, settings in (("slow", slow, {}), ("collected", slow, {"size_limit": 9}),
                                   ("ranges", ranges, {})):
        server.sources.append(source(name, Stub(search=search).uri, page_size=0,
                                     scan_idle="1500ms"))
        server.maps.update(ldap_maps(name, scan_filter="(mail=*)", key_attribute="mail",
                                     **settings))
    with server, Watch(server):
        for kind in KINDS:
            like(server.ask("ranges_" + kind, "group@d.example"), "^TEMP ", kind +
                 ": an attribute of which the beginning is there only")
        ok(server.wait_for_event("refresh_failed", map="ranges_trust"), "there is no scan")
        like(server.log(), r"refresh_failed map=ranges_\w+ .*comes in parts.*\(11\)",
             "as the log says")
        is_refused = False
        for kind in KINDS:
            same(server.wait_for_reply("ranges_" + kind, "group@d.example", "^OK"), whole,
                 kind + ": the whole of it")
        is_refused = True
        for name in "slow", "collected":
            same(server.wait_for_reply(name + "_trust", "user40@d.example", "^OK", 20), "OK x",
                 name + ": a scan may take longer than scan_idle, as long as it goes on")


started = time.monotonic()
CA = Authority()
in_parallel(lambda check: check(), [check_faults, check_server, check_stubs])
note("%.0f s" % (time.monotonic() - started))
done()
