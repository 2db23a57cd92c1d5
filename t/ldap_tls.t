#!/usr/bin/env python3
# sanitizers: asan
"""socketmapd-ldap and TLS: verified, never given up, and what is wrong is said in plain words."""
import sys

sys.path.insert(0, "t/lib")
from harness import *
from certificates import Authority
from driver import LEAKY, Driver
from slapd import SUFFIX, Slapd

READER = {"bind": "simple", "bind_dn": "cn=reader," + SUFFIX, "bind_pw": "secret"}
WAYS = "ldaps", "StartTLS"
ALL = {"expired": "expired on 2020-01-02", "early": "not valid before 2098-01-01",
       "name": "for another name: ldap.example", "issuer": "unknown issuer: .*CN=stranger"}


def settings(server, way, **more):
    return dict(READER, tls_ca_cert_file=ca.pem, start_tls=way == "StartTLS",
                server_host=server.ldaps if way == "ldaps" else server.uri) | more


def ask(source, environment={}):
    """How a ping ends, what is said, and what the log has to say."""
    with Driver("ldap", source, {}, **environment) as d:
        reply = d.ask("ping")
    return reply.end, reply.text + d.log, d


def check_good(server):
    for way in WAYS:
        end, said, d = ask(settings(server, way))
        same(end, "done", way + ": a good certificate")
        like(said, r"event=host_connected .*tls=.*TLS1\.[23] ", way + ": is in the log")
        same(d.info.get("cert_not_after"), "4070908800", way + ": its end is reported")
        ok("cert_expires" not in said, way + ": it is far away", said)
        same(ask(settings(server, way, tls_ca_cert_file="", tls_ca_cert_dir=ca.folder))[0], "done",
             way + ": a directory of CAs")
        end, said, _ = ask(settings(server, way, tls_ca_cert_file=stranger.pem,
                                    tls_require_cert=False))
        same(end, "done", way + ": an unknown issuer that does not matter")
    replace(files + "/.ldaprc", "TLS_CIPHER_SUITE NONE\n")
    for environment in {"LDAPTLS_CIPHER_SUITE": "NONE"}, {"HOME": files}, \
            {"LDAPCONF": files + "/.ldaprc"}:
        same(ask(settings(server, "ldaps"), environment)[0], "done",
             "%s has no say" % list(environment))
    end, said, d = ask(dict(READER, server_host=server.uri))
    same((end, d.info.get("cert_not_after")), ("done", "0"), "without TLS there is no certificate")
    like(said, "tls=none", "and the log says so")


def check_bad(servers):
    """Each check that fails has its own words, and no word of the others."""
    for way in WAYS:
        for name, pattern in ALL.items():
            server = servers[name]
            before = len(server.log())
            end, said, d = ask(settings(server, way))
            same(end, "down", "%s: %s" % (way, name))
            like(said, r"host=ldap.*phase=tls why=.*" + pattern, "%s: %s is said" % (way, name))
            others = [p for n, p in ALL.items() if n != name and re.search(p, said)]
            ok(not others, "%s: %s: and nothing else" % (way, name), said)
            ok(" BIND " not in server.log()[before:],
               "%s: %s: nobody is told a password" % (way, name), server.log()[before:])
            same(ask(settings(server, way, tls_require_cert=False))[0], "done",
                 "%s: %s: unless told to" % (way, name))
    like(ask(settings(servers["name"], "ldaps"))[1], r"another name: ldap\.example, other\.example, "
         r"10\.1\.2\.3, not 127\.0\.0\.1", "a wrong name comes with all names")
    like(ask(settings(servers["name"], "ldaps", server_host="ldaps://localhost:%d" %
                      servers["name"].tls_port))[1],
         "not .*, which libldap puts in the place of localhost", "localhost is another name")
    like(ask(settings(servers["all"], "ldaps"))[1],
         "unknown issuer: .*stranger; .*expired on .*; .*another name", "several faults are told")


def check_files(server):
    for way in WAYS:
        for name, text, pattern in (
                ("tls_ca_cert_file", None, "CA file .*/missing: No such file"),
                ("tls_ca_cert_file", "no certificate", "CA file .*/file: not what it should be"),
                ("tls_ca_cert_dir", None, "CA directory .*/missing: No such file"),
                ("tls_cert", None, "our certificate .*/missing: No such file")):
            path = files + ("/missing" if text is None else "/file")
            if text:
                replace(path, text)
            source = dict(settings(server, way), **{name: path})
            if name == "tls_cert":
                source["tls_key"] = path
            if name == "tls_ca_cert_dir":
                source["tls_ca_cert_file"] = ""
            end, said, _ = ask(source, LEAKY)   # libldap 2.5 loses half a context
            same(end, "down", "%s: a bad %s" % (way, name))
            like(said, "phase=tls why=.*" + pattern, "%s: a bad %s is named" % (way, name))
    end, said, _ = ask(dict(settings(server, "ldaps"), tls_ca_cert_file=""))
    same(end, "down", "without a setting, the CAs of the system count")
    like(said, "unknown issuer: .*CN=ca", "which do not know ours")
    end, said, _ = ask(settings(server, "ldaps", tls_cipher_suite="HIGH:!aNULL:+++"), LEAKY)
    same(end, "down", "ciphers that are none")
    like(said, "phase=tls why=\"tls_cipher_suite is nothing that (GnuTLS|OpenSSL) knows",
         "are called that")


def check_no_tls(plain):
    """A server without TLS is not spoken to without it."""
    for source, pattern in (
            (settings(plain, "StartTLS"), "refuses StartTLS: .*unsupported extended operation"),
            (dict(settings(plain, "ldaps"), server_host="ldaps://127.0.0.1:%d" % plain.port),
             "no TLS on this port"),
            (dict(settings(plain, "StartTLS"), server_host="ldaps://127.0.0.1:%d" % plain.port),
             "start_tls does not go with ldaps")):
        end, said, _ = ask(source)
        same(end, "down", "no TLS: " + pattern)
        like(said, "phase=tls why=.*" + pattern, "no TLS is said: " + pattern)
    ok(" BIND " not in plain.log(), "no password went there", plain.log())


def check_old(old):
    for way in WAYS:
        end, said, _ = ask(settings(old, way))
        same(end, "down", way + ": a server with TLS 1.1 only")
        like(said, r"phase=tls why=.*no TLS 1\.2 or newer", way + ": is called that")
        end, said, _ = ask(settings(old, way, tls_cipher_suite="NORMAL:+VERS-TLS1.1"), LEAKY)
        same(end, "down", way + ": whatever the ciphers")


def check_client(server):
    """LEAKY: libldap 2.5 loses a part of each context that has a certificate of ours."""
    ours, wrong = (c.certificate("client", "DNS:client.example") for c in (ca, stranger))
    current = files + "/client"

    def take(path):
        for end in ".pem", ".key":
            shutil.copyfile(path + end, current + end)

    for way in WAYS:
        same(ask(settings(server, way))[0], "down", way + ": no certificate of ours")
        source = settings(server, way, tls_cert=current + ".pem", tls_key=current + ".key",
                          idle_interval="0")
        take(wrong)
        with Driver("ldap", source, {}, **LEAKY) as d:
            same(d.ask("ping").end, "down", way + ": one that the server does not know")
            take(ours)
            same(d.ask("ping").end, "done", way + ": the right one is read without a restart")
            before, accepted = d.peak_kb(), server.log().count(" ACCEPT ")
            for _ in range(50):
                d.ask("ping")
                wait_for(lambda: server.log().count(" closed") == server.log().count(" ACCEPT "))
            same(server.log().count(" ACCEPT ") - accepted, 50, way + ": many connections")
            ok(d.peak_kb() - before < 400 or SLOW > 1, way + ": in the same memory", before,
               d.peak_kb())


def check_soon(server):
    for way in WAYS:
        with Driver("ldap", dict(settings(server, way), idle_interval="50"), {}) as d:
            for _ in range(3):
                same(d.ask("ping").end, "done", way + ": a certificate that ends soon")
                wait_for(lambda: server.log().count("closed") == server.log().count("ACCEPT"))
        same(len(re.findall("event=cert_expires .*days=2 ", d.log)), 1,
             way + ": is told of once for all connections")


def check_whole():
    """All of it: the client gets TEMP and never NOTFOUND, and it recovers by itself."""
    current = files + "/current"

    def serve(path):
        for end in ".pem", ".key":
            shutil.copyfile(path + end, current + end)

    serve(good)
    slapd = Slapd("".join("dn: cn=u%d,%s\nobjectClass: adGroup\ncn: u%d\nmail: u%d@x\n\n" %
                          (i, SUFFIX, i, i) for i in range(9)), certificate=current)
    source = slapd.source(server_host=slapd.ldaps, tls_ca_cert_file=ca.pem, retry_interval="1s")
    map = {"source": "directory", "search_base": SUFFIX, "query_filter": "(mail=%s)",
           "result_attribute": "mail", "mode": "demand", "search": "exact"}
    with Server(maps={"m": map}, sources=[source]) as s:
        same(s.ask("m", "u0@x"), "OK u0@x", "an answer over TLS")
        same(s.ask("m", "nobody@x"), "NOTFOUND ", "and one that there is none")
        s.stats()
        like(s.log(), "event=stats source=directory .*cert_not_after=4070908800",
             "the statistics know when the certificate ends")
        serve(ca.certificate("whole", "IP:127.0.0.1", end="20200102000000Z"))
        slapd.restart()
        for i in range(1, 4):
            like(s.ask("m", "u%d@x" % i), "^TEMP ", "an expired certificate: TEMP")
        like(s.ask("m", "nobody2@x"), "^TEMP ", "for a key that is not there, too")
        like(s.log(), "event=host_failed .*expired on 2020-01-02", "the log says why")
        serve(good)
        slapd.restart()
        same(s.wait_for_reply("m", "u5@x", "^OK", 20), "OK u5@x", "a good one: it goes on")


def in_days(n):
    return time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + n * 86400 + 3600))


files = scratch()
ca, stranger = Authority("ca"), Authority("stranger")
ca.folder = scratch()
shutil.copy(ca.pem, ca.folder + "/ca.pem")
NAMES = "DNS:ldap.example,DNS:other.example,IP:10.1.2.3"
good = ca.certificate("good", "IP:127.0.0.1", end="20990101000000Z")
server = Slapd(certificate=good)
check_good(server)
check_files(server)
check_bad({
    "expired": Slapd(certificate=ca.certificate("expired", "IP:127.0.0.1", end="20200102000000Z")),
    "early": Slapd(certificate=ca.certificate("early", "IP:127.0.0.1", start="20980101000000Z")),
    "name": Slapd(certificate=ca.certificate("name", NAMES)),
    "issuer": Slapd(certificate=stranger.certificate("issuer", "IP:127.0.0.1")),
    "all": Slapd(certificate=stranger.certificate("all", NAMES, end="20200102000000Z")),
})
check_no_tls(Slapd())
check_old(Slapd(certificate=good, options="TLSCipherSuite NORMAL:-VERS-ALL:+VERS-TLS1.1"))
check_client(Slapd(certificate=good, options="TLSVerifyClient demand\nTLSCACertificateFile " +
                   ca.pem))
check_whole()
check_soon(Slapd(certificate=ca.certificate("soon", "IP:127.0.0.1", end=in_days(2))))
done()
