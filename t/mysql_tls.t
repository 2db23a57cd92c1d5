#!/usr/bin/env python3
"""socketmapd-mysql and TLS: required when asked for, verified, and what is wrong is said."""
import sys

sys.path.insert(0, "t/lib")
from harness import *
from driver import Driver
from mariadb import MariaDB

CA_CONF = """[ca]
default_ca = it
[it]
dir = {dir}
database = {dir}/index
new_certs_dir = {dir}
serial = {dir}/serial
default_md = sha256
policy = any
copy_extensions = copy
[any]
commonName = supplied
"""


def openssl(*arguments):
    p = run("openssl", *arguments)
    if p.returncode:
        raise RuntimeError("openssl %s: %s" % (" ".join(arguments), p.stderr))


def authority(name):
    """A CA in a directory of its own: ca.pem, ca.key."""
    dir = "%s/%s" % (certificates, name)
    os.makedirs(dir)
    replace(dir + "/conf", CA_CONF.format(dir=dir))
    replace(dir + "/index", "")
    replace(dir + "/serial", "01\n")
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=" + name, "-days", "2",
            "-keyout", dir + "/ca.key", "-out", dir + "/ca.pem")
    return dir


def certificate(ca, name, alternative, start="20200101000000Z", end="20990101000000Z"):
    """Signed by that CA; the path without .pem and .key."""
    path = "%s/%s" % (certificates, name)
    openssl("req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=" + name, "-addext",
            "subjectAltName=" + alternative, "-keyout", path + ".key", "-out", path + ".csr")
    openssl("ca", "-batch", "-notext", "-config", ca + "/conf", "-cert", ca + "/ca.pem",
            "-keyfile", ca + "/ca.key", "-startdate", start, "-enddate", end, "-in", path + ".csr",
            "-out", path + ".pem")
    return path


def serve(path):
    """Have the server use that certificate from now on."""
    for end in ".pem", ".key":
        shutil.copyfile(path + end, certificates + "/server" + end)
        os.chmod(certificates + "/server" + end, 0o644)
    if db:
        db.sql("FLUSH SSL")


def driver(**settings):
    return Driver("mysql", {"hosts": "inet:127.0.0.1:%d" % db.port, "user": "reader",
                            "password": "secret", "dbname": "mail", **settings}, {})


def check(why, end, pattern, **settings):
    """How a ping ends, and what the log or the reason says."""
    with driver(**settings) as d:
        reply = d.ask("ping")
    ok(reply.end == end, why, reply, d.log)
    like(reply.text if end == "down" else d.log, pattern, why + ": " + pattern)


certificates = scratch()
db = None
ca, stranger = authority("ca"), authority("stranger")
good = certificate(ca, "good", "IP:127.0.0.1,DNS:localhost")
wrong_name = certificate(ca, "wrong_name", "DNS:db.example")
expired = certificate(ca, "expired", "IP:127.0.0.1", end="20200102000000Z")
client = certificate(ca, "client", "DNS:client.example")
serve(good)
db = MariaDB(options="ssl_cert=%s/server.pem\nssl_key=%s/server.key\nssl_ca=%s/ca.pem\n" %
             (certificates, certificates, ca))
plain = MariaDB()
name = r"inet:127\.0\.0\.1:%d: " % db.port

check("a good certificate", "done", "tls=TLS_", tls_CAfile=ca + "/ca.pem")
check("no TLS", "done", "tls=none")
check("the version is a setting", "done", "tls=TLS_", tls_CAfile=ca + "/ca.pem",
      tls_min_version="TLSv1.3")
check("the CAs of the system", "down", name + ".*TLS.*certificate", tls_verify_cert=True)
check("a CA that we do not know", "down", name + ".*self-signed certificate",
      tls_CAfile=stranger + "/ca.pem")
check("the same unverified", "down", name + ".*self-signed certificate",
      tls_CAfile=stranger + "/ca.pem", tls_verify_cert=False)
check("over a unix socket", "done", "tls=TLS_", tls_CAfile=ca + "/ca.pem",
      hosts="unix:" + db.socket)
serve(wrong_name)
check("a wrong name", "down", name + ".*for another name", tls_CAfile=ca + "/ca.pem")
check("a wrong name that does not matter", "done", "tls=TLS_", tls_CAfile=ca + "/ca.pem",
      tls_verify_cert=False)
check("a wrong name on a unix socket", "done", "tls=TLS_", tls_CAfile=ca + "/ca.pem",
      hosts="unix:" + db.socket)
serve(expired)
check("an expired certificate", "down", name + ".*expired", tls_CAfile=ca + "/ca.pem")
serve(good)
db.sql("ALTER USER reader@'%' REQUIRE X509")
check("no certificate of ours", "down", name + ".*Access denied", tls_CAfile=ca + "/ca.pem")
check("our certificate", "done", "tls=TLS_", tls_CAfile=ca + "/ca.pem",
      tls_cert_file=client + ".pem", tls_key_file=client + ".key")
name = r"inet:127\.0\.0\.1:%d: " % plain.port
for settings in {"tls_CAfile": ca + "/ca.pem"}, {"tls_ciphers": "HIGH"}, \
        {"tls_min_version": "TLSv1.2"}, {"tls_verify_cert": True}, \
        {"tls_CAfile": ca + "/ca.pem", "tls_verify_cert": False}:
    check("a server without TLS, %s" % list(settings), "down", name + ".*TLS",
          hosts="inet:127.0.0.1:%d" % plain.port, **settings)
file = certificates + "/my.cnf"
replace(file, "[client]\nssl-ca=%s/ca.pem\n" % ca)
check("nor is that of an option file forgotten", "down", name + ".*TLS",
      hosts="inet:127.0.0.1:%d" % plain.port, option_file=file)
check("tls_verify_cert = no alone does not ask for TLS", "done", "tls=none",
      hosts="inet:127.0.0.1:%d" % plain.port, tls_verify_cert=False)
done()
