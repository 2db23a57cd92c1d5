#!/usr/bin/env python3
"""
Real mail, delivered by a real virtual(8) with the maps that it takes from no socketmap: from the
files that the preset multidomain-ldap writes for it, with the lines that contrib/ has for master.cf.
"""
import os
import re
import signal
import sys

sys.path.insert(0, "t/lib")
from certificates import Authority
from harness import *
from postfix import Smtp, installed
from presets import Preset, make_postfix
from slapd import Slapd

if os.geteuid() or not installed():
    ok(False, "a Postfix to run, and root to run it")
    done()

PRESET = "multidomain-ldap"
GID = 5000
BASE = """dn: ou=Mail,{0}
objectClass: organizationalUnit
ou: Mail

dn: ou=Manager,{0}
objectClass: organizationalUnit
ou: Manager

dn: cn=mailAccountReader,ou=Manager,{0}
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: mailAccountReader
userPassword: secret
"""
ACCOUNT = """
dn: uid={uid},ou=Mail,{{0}}
objectClass: account
objectClass: posixAccount
objectClass: postfixUser
uid: {uid}
cn: {uid}
uidNumber: {number}
gidNumber: {gid}
homeDirectory: {home}
mailacceptinggeneralid: {name}@one.test
maildrop: {name}@host.test
"""
MORE_SERVICES = """
qmgr unix n - n 300 1 qmgr
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
discard unix - - n - - discard
plain unix - n n - - virtual
  -o virtual_mailbox_base=/
  -o virtual_mailbox_maps=cdb:{fake}/mailbox
  -o virtual_uid_maps=cdb:{fake}/uid
  -o virtual_gid_maps=static:5000
refused unix - n n - - virtual
  -o virtual_mailbox_base=/
  -o virtual_mailbox_maps=socketmap:unix:socketmapd/socketmap:virtual_mailbox_maps
  -o virtual_uid_maps=static:5000
  -o virtual_gid_maps=static:5000
refused_uid unix - n n - - virtual
  -o virtual_mailbox_base=/
  -o virtual_mailbox_maps=static:x
  -o virtual_uid_maps=socketmap:unix:socketmapd/socketmap:virtual_uid_maps
  -o virtual_gid_maps=static:5000
"""
TRANSPORTS = ("inline:{{fake.test = plain:}, {ben@host.test = refused:}, "
              "{cleo@host.test = refused_uid:}}")


class Mail:
    """Mail that is sent, and what became of it."""

    def __init__(self, postfix):
        self.postfix = postfix

    def send(self, recipient, service="smtp"):
        with Smtp(self.postfix, service) as smtp:
            return smtp.send("s@far.test", [recipient])

    def fate(self, recipient, n=1):
        """The nth line of the log about it: "status=sent (...)"; None: there are not so many."""
        def lines():
            return re.findall(r"to=<%s>.* (status=.*)" % re.escape(recipient), self.postfix.log())
        wait_for(lambda: len(lines()) >= n, 20)
        return lines()[n - 1] if len(lines()) >= n else None

    def flush(self):
        """What `postqueue -f` sends to the queue manager."""
        with connect("unix:%s/queue/public/qmgr" % self.postfix.dir) as s:
            s.sendall(b"FADI")


def owners(maildir):
    """Of each mail in it: (uid, gid)."""
    try:
        with os.scandir(maildir + "/new") as entries:
            return sorted((e.stat().st_uid, e.stat().st_gid) for e in entries)
    except FileNotFoundError:
        return []


def home(name, uid):
    path = "%s/%s" % (mails, name)
    os.mkdir(path)
    os.chown(path, uid, GID)
    return path


def account(name, number):
    return ACCOUNT.format(uid="u" + name, name=name, number=number, gid=GID,
                          home=home(name, number))


def master_lines():
    """What contrib/ has for master.cf, with the state directory of this test."""
    with open("contrib/%s.conf" % PRESET, encoding="utf-8") as f:
        block = re.search(r"^#   (virtual +unix .*\n(?:#     -o .*\n)+)", f.read(), re.M)[1]
    return block.replace("#     -o", "  -o").replace("/var/lib/socketmapd", server.state)


# --- what virtual(8) does -----------------------------------------------------------------------

def check_delivery(mail):
    like(mail.send("anna@one.test"), "^250", "mail is taken")
    like(mail.fate("anna@host.test"), r"^status=sent \(delivered to maildir\)", "and delivered")
    same(owners(mails + "/anna/mailbox"), [(5001, GID)], "into the maildir, as its user and group")
    mail.send("anna+box@one.test")
    like(mail.fate("anna+box@host.test"), "^status=sent", "so is mail with an extension")
    same(owners(mails + "/anna/mailbox"), [(5001, GID)] * 2, "into the same maildir")


def check_refusal(mail):
    mail.send("ben@one.test")
    like(mail.fate("ben@host.test"), r"^status=deferred \(mail system configuration error\)",
         "a virtual(8) with a socketmap of mailboxes delivers nothing")
    mail.send("cleo@one.test")
    like(mail.fate("cleo@host.test"), r"^status=deferred \(mail system configuration error\)",
         "nor does one with a socketmap of uids")
    like(mail.postfix.log(), "socketmap:.* map is not allowed for security-sensitive data",
         "Postfix says why")


def refresh(*maps):
    """Scan now, and wait for the new files of these maps."""
    n = {m: len(server.events("export_written", map=m)) for m in maps}
    server.signal(signal.SIGUSR2)
    for m in maps:
        ok(server.wait_for_event("export_written", n[m] + 1, map=m), "a new file for " + m)


def check_change(mail, directory):
    moved = home("moved", 5009)
    directory.modify("dn: uid=uanna,ou=Mail,%s\nchangetype: modify\n"
                     "replace: homeDirectory\nhomeDirectory: %s\n-\n"
                     "replace: uidNumber\nuidNumber: 5009\n" % (directory.suffix, moved))
    refresh("virtual_mailbox_maps", "virtual_uid_maps")
    mail.send("anna@one.test")
    like(mail.fate("anna@host.test", 2), "^status=sent", "after a change, too")
    same((owners(moved + "/mailbox"), len(owners(mails + "/anna/mailbox"))), ([(5009, GID)], 2),
         "the next mail goes to the new maildir, as the new user")
    like(mail.postfix.log(), r"virtual\[.*export/virtual_\w+_maps\(0,.* has changed -- restarting",
         "the running virtual(8) has noticed the new file")


def check_new(mail, directory):
    """Known to smtpd at once, to virtual(8) after the next refresh."""
    directory.modify(account("dora", 5010).format(directory.suffix))
    like(mail.send("dora@one.test"), "^250", "mail to a new mailbox is taken at once,")
    like(mail.fate("dora@host.test"), r'^status=(deferred|SOFTBOUNCE) \(unknown user',
         "waits, and does not bounce")
    refresh("virtual_mailbox_maps", "virtual_uid_maps", "virtual_gid_maps")
    mail.flush()
    ok(wait_for(lambda: owners(mails + "/dora/mailbox") == [(5010, GID)], 20),
       "and is delivered when the files know it", mail.postfix.log()[-1500:])


def check_errors(mail):
    """Without soft_bounce, to see what is an error to virtual(8) and what is not."""
    mail.send("user7@fake.test", "any")
    like(mail.fate("user7@fake.test"), "^status=sent", "a key beside a bad one is as ever")
    mail.send("bad@fake.test", "any")
    like(mail.fate("bad@fake.test"), r"^status=deferred \(mail system configuration error",
         "a mailbox whose value is unusable is an error: mail waits")
    mail.send("baduid@fake.test", "any")
    like(mail.fate("baduid@fake.test"), r"^status=deferred \(mail system configuration error",
         "so does mail to one whose uid is")
    mail.send("nobody@fake.test", "any")
    like(mail.fate("nobody@fake.test"), r"^status=bounced \(unknown user", "nobody is unknown")


# --- the test --------------------------------------------------------------------------------------

def fake_server():
    """Maps with values that nobody may see."""
    users = {"user%d@fake.test" % i: "%s/user%d/" % (mails, i) for i in range(200)}
    home("user7", 5107)
    fake = Server()
    boxes, uids = Directory(fake.dir, "boxes"), Directory(fake.dir, "uids")
    boxes.rows({"bad@fake.test": "\udcff", "baduid@fake.test": mails + "/x/", **users})
    uids.rows({"baduid@fake.test": "\udcff", **dict.fromkeys(users, "5107")})
    fake.sources = [boxes.source(), uids.source()]
    fake.maps = {n: {"source": s, "search": "exact", "mode": "mirror",
                     "export": "cdb:%s/export/%s.cdb" % (fake.state, n)}
                 for n, s in (("mailbox", "boxes"), ("uid", "uids"))}
    return fake


mails = scratch()
authority = Authority()
certificate = authority.certificate("ldap", "IP:127.0.0.1")
slapd = Slapd((BASE + "".join(account(n, u) for n, u in (("anna", 5001), ("ben", 5002),
                                                         ("cleo", 5003)))).format("dc=example,dc=com"),
              certificate=certificate)
fake = fake_server()
any_recipient = ("any", "smtpd", {"smtpd_reject_unlisted_recipient": "no",
                                  "smtpd_relay_restrictions": "reject_unauth_destination"})
postfix = make_postfix(PRESET, [any_recipient], virtual_transport="virtual",
                       default_transport="discard", fast_flush_domains="",
                       virtual_mailbox_domains="host.test, fake.test", transport_maps=TRANSPORTS)
server = Preset(PRESET, postfix.dir + "/queue", [
    (r'"ldap://[^"]*"', '"%s"' % slapd.uri),
    ("/etc/ssl/certs/ca-certificates.crt", authority.pem),
    (r'(?<=bind_dn = ")[^"]*', "cn=mailAccountReader,ou=Manager,dc=example,dc=com")])
with open(postfix.dir + "/conf/master.cf", "a", encoding="utf-8") as f:
    f.write(master_lines() + MORE_SERVICES.format(fake=fake.state + "/export"))
with fake, server:
    for s, map in ((server, "virtual_mailbox_maps"), (server, "virtual_uid_maps"),
                   (server, "virtual_gid_maps"), (fake, "mailbox"), (fake, "uid")):
        ok(s.wait_for_event("export_written", map=map), map + " is written")
    server.wait_for_copies(PRESET)
    with postfix:
        mail = Mail(postfix)
        check_delivery(mail)
        check_refusal(mail)
        check_change(mail, slapd)
        check_new(mail, slapd)
        check_errors(mail)
slapd.stop()
done()
