#!/usr/bin/env python3
# sanitizers: asan
"""socketmapd-ldap by itself: how it connects, logs in, and gets over servers that are not well."""
import sys

sys.path.insert(0, "t/lib")
from harness import *
from certificates import Authority
from driver import LEAKY, Driver
from faultproxy import FaultProxy
from ldap_stub import Stub
from slapd import SUFFIX, Slapd

DN = "cn=reader," + SUFFIX
TABLES = {"1": {"search_base": SUFFIX, "query_filter": "(mail=%s)", "result_attribute": "mail"}}
PEOPLE = "".join("dn: cn=u%d,%s\nobjectClass: adGroup\ncn: u%d\nmail: u%d@x\n\n" % (i, SUFFIX, i, i)
                 for i in range(10))


def driver(*hosts, environment={}, **settings):
    """With these hosts, URLs or servers; as the reader, unless told otherwise."""
    hosts = " ".join(h if isinstance(h, str) else h.uri for h in hosts)
    return Driver("ldap", {"server_host": hosts, "bind": "simple", "bind_dn": DN,
                           "bind_pw": "secret"} | settings, TABLES, **environment)


def binds(server, since=0):
    """The "BIND" lines of its log that say as whom."""
    return re.findall(r" BIND (dn=.*(?:method|mech)=\S*)", server.log()[since:])


def check_ways_in(server):
    for settings, pattern, why in (
            ({}, r'^dn="cn=reader,.*mech=SIMPLE', "a simple bind"),
            ({"bind": "none"}, None, "no bind"),
            ({"bind_dn": "", "bind_pw": ""}, r'^dn="" method=128', "an anonymous bind"),
            ({"bind": "sasl", "sasl_mechs": "EXTERNAL", "server_host": server.ldapi, "bind_dn": ""},
             r'^dn="cn=reader,.*mech=EXTERNAL', "SASL EXTERNAL on the unix socket"),
            ({"bind": "sasl", "sasl_mechs": "DIGEST-MD5", "bind_dn": "reader"},
             r'^dn="cn=reader,.*mech=DIGEST-MD5', "SASL with a password"),
            ({"bind": "sasl", "sasl_mechs": "SCRAM-SHA-256", "bind_dn": "reader",
              "sasl_minssf": "0"}, r'^dn="cn=reader,.*mech=SCRAM-SHA-256', "SASL with another one"),
            ({"server_host": "127.0.0.1:%d" % server.port}, "mech=SIMPLE", "a host and its port"),
            ({"server_host": "127.0.0.1", "server_port": str(server.port)}, "mech=SIMPLE",
             "a host and server_port"),
            ({"server_host": server.uri + "/o=ignored??sub"}, "mech=SIMPLE", "a whole URL")):
        before = len(server.log())
        # The plugin loses what it takes of OpenSSL.
        environment = LEAKY if settings.get("sasl_mechs") == "DIGEST-MD5" else {}
        with driver(server, environment=environment, **settings) as d:
            same(d.lookup("1", "u1@x"), ["u1@x"], why)
            same(d.lookup("1", "nobody@x"), [], why + ": a miss")
        ok("secret" not in d.log, why + ": no secret in the log", d.log)
        found = (binds(server, before) or [None])[-1]
        ok(re.search(pattern, found or "") if pattern else found is None, why + ": as that",
           binds(server, before))


def check_refused(server):
    for settings, pattern, why in (
            ({"bind_pw": "wrong"}, r"bind: Invalid credentials \(49\)", "a wrong password"),
            ({"bind_dn": "cn=nobody," + SUFFIX}, r"bind: Invalid credentials \(49\)", "a wrong DN"),
            ({"bind_dn": "no DN"}, r"bind: .*invalid DN", "no DN at all"),
            ({"bind": "sasl", "sasl_mechs": "DIGEST-MD5", "bind_dn": "reader", "bind_pw": "wrong"},
             r"bind: Invalid credentials \(49\)", "a wrong password by SASL"),
            ({"version": "2"}, r"bind: Protocol error \(2\)", "version 2 of the protocol")):
        before = len(server.log())
        environment = LEAKY if "sasl_mechs" in settings else {}
        with driver(server, environment=environment, **settings) as d:
            replies = [d.ask("lookup", "1", "u1@x") for _ in range(4)] + [d.ask("ping")]
        same([r.end for r in replies], ["down"] * 5, why)
        like(replies[0].text, "^%s: %s" % (re.escape(server.uri), pattern), why + " is called that")
        same(replies[4].text, replies[0].text, why + ": also later")
        same(server.log()[before:].count(" ACCEPT "), 1, why + ": is sent once")
        ok("wrong" not in d.log, why + ": no secret in the log", d.log)
    for settings, pattern, why in (
            ({"bind": "sasl", "sasl_mechs": "NO-SUCH", "bind_dn": "reader"}, "bind: ",
             "an unknown mechanism"),
            ({"bind": "sasl", "sasl_mechs": "SCRAM-SHA-256", "bind_dn": "reader",
              "sasl_minssf": "128"}, "bind: ", "a mechanism that is too weak")):
        with driver(server, **settings) as d:
            reply = d.ask("ping")
        same(reply.end, "down", why)
        like(reply.text, pattern, why + " is called that")


def check_passwords(server):
    """An empty one would be an anonymous bind; a new one is read from its file when needed."""
    stub, file = Stub(), scratch() + "/password"
    for settings in {"bind_pw": ""}, {"bind_pw_file": file, "bind_pw": ""}:
        replace(file, "")
        os.chmod(file, 0o600)
        with driver(stub, **settings) as d:
            replies = d.ask("lookup", "1", "u1@x"), d.ask("ping")
        same([r.end for r in replies], ["down"] * 2, "an empty password is refused")
        like(replies[0].text, "empty", "and the reason given")
    same(stub.binds, 0, "without a word to the server")
    stub.close()
    replace(file, "secret\n")
    os.chmod(file, 0o600)
    with driver(server, bind_pw_file=file, bind_pw="nonsense") as d:
        same(d.lookup("1", "u1@x"), ["u1@x"], "the password of a file")
        server.modify("dn: %s\nchangetype: modify\nreplace: userPassword\nuserPassword: new\n" % DN)
        replace(file, "new\n")
        os.chmod(file, 0o600)
        same(d.lookup("1", "u1@x"), ["u1@x"], "an open connection goes on with the old one")
        server.restart()
        same(d.lookup("1", "u1@x"), ["u1@x"], "the next one reads the new one")
    ok("host_failed" not in d.log, "at once", d.log)
    with driver(server, retry_interval="200") as d:
        same(d.lookup("1", "u1@x"), "down", "the old password is refused")
        server.modify("dn: %s\nchangetype: modify\nreplace: userPassword\nuserPassword: secret\n"
                      % DN)
        ok(wait_for(lambda: d.lookup("1", "u1@x") == ["u1@x"]), "until it is right again")


def check_settings(server):
    for settings, pattern in (
            ({"server_host": "http://x"}, "server_host"), ({"server_port": "99999"}, "server_port"),
            ({"timeout": "soon"}, "timeout is not"), ({"retry_interval": "-1"}, "retry_interval")):
        with driver(server, **settings) as d:
            same(d.hello.end, "down", "%s is refused" % settings)
            like(d.hello.text, pattern, "%s: by its name" % settings)
        same(d.process.returncode, 1, "and ends it")


def check_hosts(server, other):
    dead = "ldap://127.0.0.1:%d" % free_port()
    before = len(other.log())
    for _ in range(4):
        with driver(server, other) as d:
            same(d.lookup("1", "u1@x"), ["u1@x"], "the first of two hosts")
            same(d.info["host"], server.uri, "is the one that is asked")
    ok(" ACCEPT " not in other.log()[before:], "and the only one")
    with driver(dead, "ldap://nosuch.invalid", server) as d:
        same(d.lookup("1", "u1@x"), ["u1@x"], "the third one when the first two are no good")
        same(d.info["host"], server.uri, "the server hears which")
        same(d.lookup("1", "u2@x"), ["u2@x"], "and stays with it")
    like(d.log, "event=host_failed source=test host=%s phase=connect why=\"Connection refused\" "
         "rests=60s" % dead, "the first one is named")
    like(d.log, "host=ldap://nosuch.invalid phase=resolve why=", "and the second one")
    same(d.log.count("host_failed"), 2, "each once")
    like(d.log, "event=host_connected source=test host=%s tls=none" % server.uri, "and the third")
    with driver(server, other, bind_pw="wrong") as d:
        same(d.lookup("1", "u1@x"), "down", "a password that no host takes")
    same(d.log.count("host_failed"), 2, "is shown to each of them once")
    with driver(dead, "ldapi://%2Fnowhere") as d:
        reply = d.ask("ping")
        same(reply.end, "down", "no host at all")
        like(reply.text, "ldapi://%2Fnowhere: connect: No such file", "the last one's reason")


def check_referrals(server, other):
    """A part of the tree is with the other server, which takes us as we come: anonymous."""
    base = "ou=else," + SUFFIX
    other.modify("dn: %s\nobjectClass: organizationalUnit\nou: else\n\n"
                 "dn: cn=far,%s\nobjectClass: adGroup\ncn: far\nmail: far@x\n" % (base, base))
    server.modify("dn: %s\nobjectClass: referral\nobjectClass: extensibleObject\nou: else\n"
                  "ref: %s/%s\n" % (base, other.uri, base), "-M")
    for chases, values in (False, []), (True, ["far@x"]):
        with driver(server, chase_referrals=chases) as d:
            same(d.lookup("1", "far@x"), values, "chase_referrals = %s" % chases)
            same(d.lookup("1", "u1@x"), ["u1@x"], "and what is here")
            same(d.lookup("1", "nobody@x"), "temp" if chases else [], "a miss is in doubt then")
            reply = d.ask("scan", "1")
            same(reply.end, "temp", "a scan follows nothing")
            like(reply.text, "on another server", "... and says so")
    other.stop()
    for chases, values in (False, []), (True, "temp"):
        with driver(server, chase_referrals=chases) as d:
            same(d.lookup("1", "far@x"), values, "the other one is away, %s" % chases)
    other.start()
    other.modify("dn: cn=far,%s\nchangetype: delete\n\ndn: %s\nchangetype: delete\n" % (base, base))
    with driver(server, chase_referrals=True, environment=LEAKY) as d:      # libldap leaks
        d.say("table 2 search_base %s" % SUFFIX.replace("example", "%1"))
        d.say("table 2 query_filter (mail=%s)")
        same([d.lookup(i, "far@example") for i in "12"], ["temp"] * 2, "it knows nothing of it")


def check_lost(server, other):
    """Connections end for many reasons; nobody need know."""
    with driver(server) as d:
        same(d.lookup("1", "u1@x"), ["u1@x"], "connected")
        server.restart()
        same(d.lookup("1", "u1@x"), ["u1@x"], "a restarted server is asked again")
        server.restart()
        same(d.ask("ping").end, "done", "also by a ping")
    same(d.log.count("event="), 1, "which nobody has to read about")
    with driver(server, idle_interval="200") as d:
        before = len(server.log())
        same(d.lookup("1", "u1@x"), ["u1@x"], "connected")
        ok(wait_for(lambda: " closed" in server.log()[before:]), "an unused connection is closed")
        like(server.log()[before:], " UNBIND", "with a farewell")
        same(d.lookup("1", "u2@x"), ["u2@x"], "and opened when it is needed")
    with driver(server, other, retry_interval="300") as d:
        same(d.lookup("1", "u1@x"), ["u1@x"], "connected")
        server.stop()
        same([d.lookup("1", "u1@x"), d.info["host"]], [["u1@x"], other.uri],
             "the second host when the first has died")
        server.start()
        other.stop()
        ok(wait_for(lambda: d.lookup("1", "u1@x") == ["u1@x"]), "and the other way round")
        same(d.info["host"], server.uri, "the first host again")
        server.stop()
        same(d.lookup("1", "u1@x"), "down", "both have died")
        server.start()
        ok(wait_for(lambda: d.ask("ping").end == "done"), "a ping finds the one that is back")
        other.start()


def cpu_seconds(pid):
    fields = stat_fields(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def check_stalls(server, other):
    """A host that says no more, wherever it stops, costs its share of the time and no more."""
    tls = {"tls_ca_cert_file": ca.pem}
    stalls = [("ldap", server.port, 0, "bind"), ("ldap", server.port, 3, "bind")] + \
        [("ldaps", server.tls_port, n, "tls") for n in (0, 3, 100, 700)] + \
        [("start_tls", server.port, n, "tls") for n in (0, 5, 60, 700)]

    def check(stall):
        proxy, how, n, phase = stall
        why = "%s stalls after %d bytes" % (how, n)
        scheme = "ldaps" if how == "ldaps" else "ldap"
        url = "%s://127.0.0.1:%d" % (scheme, proxy.port)
        good = other.ldaps if how == "ldaps" else other.uri
        settings = dict(tls, start_tls=how == "start_tls", timeout="3000", connect_timeout="1000")
        with driver(url, good, **settings) as d:
            same(d.lookup("1", "u1@x"), ["u1@x"], why + ": the second host answers in time")
            same(d.info["host"], good, why + ": it is named")
        like(d.log, r'event=host_failed .*phase=%s why="no answer within \d+ ms' % phase,
             why + ": the first one rests")
        with driver(url, **settings) as d:
            reply = d.ask("lookup", "1", "u1@x")
            same(reply.end, "down", why + ": there is no other")
            like(reply.text, "no answer within", why + ": that is said")
            cpu = cpu_seconds(d.process.pid)
            ok(cpu < 0.5 * SLOW, why + ": and it sleeps meanwhile", cpu)
            proxy.set("pass")
            same(d.ask("ping").end, "done", why + ": until it is well again")
        proxy.close()

    in_parallel(check, [(FaultProxy(port, "stall_after", n), how, n, phase)
                        for how, port, n, phase in stalls])
    stalled = [FaultProxy(server.port, "stall") for _ in range(3)]
    with driver(*["127.0.0.1:%d" % p.port for p in stalled], other, timeout="3000") as d:
        same(d.lookup("1", "u1@x"), ["u1@x"], "the fourth host answers in time")
    for proxy in stalled:
        proxy.close()


def check_stalled_searches(server, other):
    def check(case):
        mode, proxy = case
        url = "ldap://127.0.0.1:%d" % proxy.port
        with driver(url, other, timeout="3000") as d:
            same(d.lookup("1", "u1@x"), ["u1@x"], mode + ": connected")
            proxy.set(mode, 5)
            same(d.lookup("1", "u1@x"), ["u1@x"], mode + ": the second host answers")
            same(d.info["host"], other.uri, mode + ": it is named")
        with driver(url, timeout="2000") as d:
            proxy.set("pass")
            same(d.lookup("1", "u1@x"), ["u1@x"], mode + ": connected")
            proxy.set(mode, 5)
            reply = d.ask("lookup", "1", "u1@x")
            same(reply.end, "down", mode + ": there is no other")
            waited = re.search(r"no answer within (\d+) ms", reply.text)
            ok(int(waited[1]) <= 1800 if waited else mode in
               ("close_after", "rst_after", "refuse"),
               mode + ": it is told before the server takes us for dead", reply)
            proxy.set("pass")
            same(d.ask("ping").end, "done", mode + ": until it is well again")
            same(d.lookup("1", "u1@x"), ["u1@x"], mode + ": and answers")
        proxy.close()

    in_parallel(check, [(mode, FaultProxy(server.port)) for mode in (
        "stall", "stall_after", "trickle", "close_after", "rst_after", "refuse")])
    with driver(server, timeout="1000") as d:
        same(d.lookup("1", "u1@x"), ["u1@x"], "connected")
        server.signal(signal.SIGSTOP)
        same([d.lookup("1", "u1@x") for _ in range(2)], ["down"] * 2, "a server that is stopped")
        same(d.ask("ping").end, "down", "is still stopped")
        server.signal(signal.SIGCONT)
        same([d.ask("ping").end, d.lookup("1", "u1@x")], ["done", ["u1@x"]], "and goes on")


def check_codes(server):
    """Only success is a success; what is the server's fault is worth another host."""
    for code in 1, 2, 3, 4, 8, 9, 10, 11, 12, 18, 32, 33, 34, 36, 48, 49, 50, 53, 54, 64, 80, 118:
        stub = Stub(search=code)
        with driver(stub, server) as d:
            reply = d.ask("lookup", "1", "u1@x")
            same((reply.end, reply.rows), ("temp", []), "search: code %d is TEMP" % code)
            like(reply.text, r"\(%d\)" % code, "search: code %d is said" % code)
        ok("host_failed" not in d.log, "search: code %d: the host does not rest" % code, d.log)
        stub.close()
    for code in 51, 52:
        stub = Stub(search=code)
        with driver(stub, server) as d:
            same(d.lookup("1", "u1@x"), ["u1@x"], "search: code %d: the other host" % code)
        with driver(stub) as d:
            same(d.lookup("1", "u1@x"), "down", "search: code %d: no other host" % code)
        stub.close()
    for code, n in (8, 1), (19, 1), (49, 1), (50, 1), (53, 1), (51, 3), (52, 3), (80, 3):
        stub = Stub(bind=code)
        with driver(stub) as d:
            ends = [d.lookup("1", "u1@x")] + [d.ask("ping").end for _ in range(2)]
            same(ends, ["down"] * 3, "bind: code %d is DOWN" % code)
        same(stub.binds, n, "bind: code %d: so often it is asked in three requests" % code)
        stub.close()
    for name, garbage in (("no BER", b"HTTP/1.0 400 Bad\r\n\r\n"), ("nothing", b""),
                          ("a huge length", b"\x30\x84\x7f\xff\xff\xff")):
        stub = Stub(search=lambda _, g=garbage: [g])
        # libldap 2.5 loses the request.
        with driver(stub, environment=LEAKY, timeout="1000") as d:
            ok(d.lookup("1", "u1@x") in ("temp", "down"), "search: %s for an answer" % name)
            ok(d.lookup("1", "u1@x") in ("temp", "down"), "search: %s again" % name)
        stub.close()


ca = Authority()
good = ca.certificate("good", "IP:127.0.0.1")
server, other = (Slapd(PEOPLE, certificate=good) for _ in range(2))
for check in check_ways_in, check_refused, check_passwords, check_settings, check_codes:
    check(server)
for check in check_hosts, check_referrals, check_lost, check_stalls, check_stalled_searches:
    check(server, other)
done()
