#!/usr/bin/env python3
"""
The ready maps for directories, each on a slapd with its schema: every map against Postfix's own
ldap: tables with the same settings, three ways (copies alone, lookups alone, as it is); and what
a real smtpd, cleanup and trivial-rewrite make of the first two. The configurations are those in
contrib/, the parameters are those that they give for main.cf.
"""
import base64
import os
import re
import sys

sys.path.insert(0, "t/lib")
from certificates import Authority
from harness import *
from postfix import AuthServer, Smtp, installed
from presets import NO, Preset, check_mail, copies_alone, lookups_alone, make_postfix
from slapd import Slapd

if os.geteuid() or not installed():
    ok(False, "a Postfix to run, and root to run it")
    done()

# Keys that nobody has, and that are hard to write into a filter.
STRANGE = ["nobody@one.test", "nobody@far.test", "far.test", "@far.test", "nobody", "@", "%", "*",
           "\\", "an*@one.test", "*@one.test", "anna\\@one.test", "anna)(uid=*@one.test",
           "anna@one.test)(mail=*", "(mail=*)", "anna@one.test ", "an na@one.test",
           "jörg@one.test", "用户@one.test", '"a b"@one.test', '"@x"@one.test',
           "anna@one.test@far.test", "one.test@", "smtp:anna@one.test"]

MULTIDOMAIN = """dn: ou=Mail,{0}
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
MAILBOX = """dn: ou=Domains,{0}
objectClass: organizationalUnit
ou: Domains

dn: ou=Mail,{0}
objectClass: organizationalUnit
ou: Mail
"""
PEOPLE = """dn: ou=people,{0}
objectClass: organizationalUnit
ou: people
"""
IREDMAIL = """dn: o=domains,{0}
objectClass: organization
o: domains
"""
OFFICE = """dn: ou=office,{0}
objectClass: organizationalUnit
ou: office
"""
# What the classes of Active Directory and iRedMail need beyond t/lib/slapd.py.
MORE_SCHEMA = """
attributetype ( our:3.1 NAME 'objectCategory' EQUALITY caseIgnoreMatch SYNTAX dir SINGLE-VALUE )
objectclass ( our:4.1 NAME 'user' SUP top STRUCTURAL MUST cn MAY ( mail $ proxyAddresses
  $ sAMAccountName $ userPrincipalName $ userAccountControl $ objectCategory ) )
objectclass ( our:4.2 NAME 'group' SUP top STRUCTURAL MUST cn MAY ( mail $ proxyAddresses
  $ member $ objectCategory ) )
objectclass ( our:4.3 NAME 'contact' SUP top STRUCTURAL MUST cn MAY ( mail $ proxyAddresses
  $ targetAddress $ objectCategory ) )
objectclass ( our:4.4 NAME 'mailExternalUser' SUP top STRUCTURAL MUST mail MAY ( cn
  $ accountStatus $ domainStatus $ enabledService $ memberOfGroup $ shadowAddress ) )
"""
READER_ONLY = """access to attrs=userPassword by anonymous auth by * none
access to dn.subtree="ou=Mail,{0}" by dn.exact="cn=mailAccountReader,ou=Manager,{0}" read by * none
access to * by * none"""


def entry(dn, classes, **attributes):
    """LDIF; a value may be a list."""
    lines = ["dn: " + dn] + ["objectClass: " + c for c in classes.split()]
    name, _, value = dn.partition(",")[0].partition("=")
    for name, values in {name: value, **attributes}.items():
        lines += ["%s: %s" % (name, v) for v in ([values] if isinstance(values, str) else values)]
    return "\n".join(lines) + "\n"


# --- A: multidomain ---------------------------------------------------------------------------

def account(uid, addresses, drops, number):
    return entry("uid=%s,ou=Mail,{0}" % uid, "account posixAccount postfixUser", cn=uid,
                 uidNumber=str(number), gidNumber="5000", homeDirectory="/srv/mail/" + uid,
                 mailacceptinggeneralid=addresses.split(), maildrop=drops.split(),
                 userPassword="of " + uid)


MULTIDOMAIN_DATA = [
    account("mail000", "anna@one.test Anna.Smith@one.test sales@two.test", "anna@host.test", 5001),
    account("mail001", "ben@one.test ben@two.test", "ben@host.test ben@far.test", 5002),
    account("mail002", "@three.test carla@three.test", "carla@host.test", 5003),
    account("mail003", "away@two.test", "away@elsewhere.test", 5004),
]
MULTIDOMAIN_CASES = {
    "virtual_alias_domains": {
        "one.test": "OK one.test,two.test", "TWO.test": "OK one.test,two.test",
        "three.test": "OK three.test", "host.test": NO, "sub.one.test": NO, "test": NO},
    "virtual_alias_maps": {
        "anna@one.test": "OK anna@host.test", "ANNA.smith@ONE.test": "OK anna@host.test",
        "anna+box@one.test": "OK anna+box@host.test", "sales@two.test": "OK anna@host.test",
        "ben@two.test": "OK ben@host.test,ben@far.test", "anna@two.test": NO,
        "carla@three.test": "OK carla@host.test", "x@three.test": "OK carla@host.test",
        "x+y@three.test": "OK carla@host.test", "anna@host.test": NO},
    "virtual_mailbox_maps": {
        "anna@host.test": "OK /srv/mail/mail000/mailbox/", "anna@one.test": NO,
        "carla+x@host.test": "OK /srv/mail/mail002/mailbox/",
        "away@elsewhere.test": "OK /srv/mail/mail003/mailbox/"},
    "virtual_uid_maps": {"anna@host.test": "OK 5001", "ben@far.test": "OK 5002"},
    "virtual_gid_maps": {"anna@host.test": "OK 5000", "dora@host.test": NO},
    "smtpd_sender_login_maps": {
        "anna@one.test": "OK mail000", "anna@host.test": "OK mail000", "ben@two.test": "OK mail001",
        "anna@two.test": NO, "x@three.test": "OK mail002"},
    "our_domains": {"one.test": "OK OK", "host.test": "OK OK", "far.test": "OK OK",
                    "other.test": NO},
}
MULTIDOMAIN_RCPT = [
    ("anna@one.test", "250"), ("Anna.SMITH+x@one.test", "250"), ("x@three.test", "250"),
    ("ben@two.test", "250"), ("anna@host.test", "250"),
    ("nobody@one.test", "550 5.1.1"), ("anna@two.test", "550 5.1.1"),
    ("nobody@host.test", "550 5.1.1"), ("anna@far.test", "554 5.7.1"),
    ("anna@sub.one.test", "554 5.7.1"),
]
MULTIDOMAIN_MAIL = [
    ("s@far.test", "anna@one.test", "anna@host.test"),
    ("s@far.test", "Anna.Smith+x@one.test", "anna+x@host.test"),
    ("s@far.test", "ben@one.test", "ben@host.test ben@far.test"),
    ("s@far.test", "x+y@three.test", "carla@host.test"),
    ("s@far.test", "away@two.test", "away@elsewhere.test"),
]
MULTIDOMAIN_ROUTES = [
    ("s@far.test", "anna@host.test", ("dovecot", "host.test")),
    ("s@far.test", "away@elsewhere.test", ("smtp", "elsewhere.test")),
]

# --- B: mailboxes -----------------------------------------------------------------------------


def mailbox(uid, mail, alias="", extra=""):
    return entry("uid=%s,ou=Mail,{0}" % uid, "inetOrgPerson PostfixBookMailAccount" + extra,
                 cn=uid, sn=uid, mail=mail.split(), mailAlias=alias.split())


MAILBOX_DATA = [
    *(entry("dc=%s.test,ou=Domains,{0}" % d, "dNSDomain") for d in ("one", "two", "three")),
    mailbox("anna", "anna@one.test", "sales@one.test Info@Two.test"),
    mailbox("ben", "ben@two.test", "team@one.test"),
    mailbox("carla", "carla@three.test", "@three.test"),
    mailbox("dora", "dora@three.test", "team@one.test"),
]
MAILBOX_CASES = {
    "our_domains": {"one.test": "OK one.test", "far.test": NO},
    "virtual_mailbox_domains": {"one.test": "OK one.test", "One.TEST": "OK one.test",
                                "sub.one.test": NO},
    "virtual_mailbox_maps": {"anna@one.test": "OK anna@one.test", "sales@one.test": NO,
                             "Ben+x@two.test": "OK ben@two.test"},
    "virtual_alias_maps": {
        "sales@one.test": "OK anna@one.test", "info+x@two.test": "OK anna+x@one.test",
        "team@one.test": "OK ben@two.test,dora@three.test", "x@three.test": "OK carla@three.test",
        "dora+y@three.test": "OK dora+y@three.test", "anna@one.test": "OK anna@one.test"},
    "smtpd_sender_login_maps": {"anna@one.test": "OK anna", "info@two.test": "OK anna",
                                "team@one.test": "OK ben,dora"},
}
MAILBOX_RCPT = [
    ("anna@one.test", "250"), ("sales+x@one.test", "250"), ("team@one.test", "250"),
    ("x@three.test", "250"), ("nobody@one.test", "550 5.1.1"), ("info@one.test", "550 5.1.1"),
    ("anna@far.test", "554 5.7.1"),
]
MAILBOX_MAIL = [
    ("s@far.test", "sales+x@one.test", "anna+x@one.test"),
    ("s@far.test", "team@one.test", "ben@two.test dora@three.test"),
    ("s@far.test", "x@three.test", "carla@three.test"),
    ("s@far.test", "dora@three.test", "dora@three.test"),
]
MAILBOX_ROUTES = [("s@far.test", "anna@one.test", ("dovecot", "one.test"))]

# --- C: iRedMail ------------------------------------------------------------------------------


def domain(name, services="mail", **attributes):
    return entry("domainName=%s,o=domains,{0}" % name, "mailDomain",
                 **{"accountStatus": "active", "enabledService": services.split(), **attributes})


def user(mail, services="mail deliver smtp", classes="inetOrgPerson mailUser", **attributes):
    dn = "mail=%s,domainName=%s,o=domains,{0}" % (mail, mail.partition("@")[2])
    more = {"accountStatus": "active", "enabledService": services.split(), "cn": mail, **attributes}
    if "inetOrgPerson" in classes:
        more.update(sn="x", homeDirectory="/vmail/" + mail)
    return entry(dn, classes, **more)


IREDMAIL_DATA = [
    domain("one.test", "mail domainalias recipientbcc senderbcc", mtaTransport="dovecot",
           domainAliasName="alias.test", domainRecipientBccAddress="to-one@log.test",
           domainSenderBccAddress="from-one@log.test", senderRelayHost="[192.0.2.51]:587"),
    domain("two.test", mtaTransport="lmtp:[192.0.2.8]:24", domainAliasName="idle.test"),
    domain("backup.test", domainBackupMX="yes", mtaTransport="relay:[192.0.2.25]"),
    domain("off.test", accountStatus="disabled"),
    user("anna@one.test", "mail deliver smtp recipientbcc senderbcc",
         shadowAddress=["anna@alias.test", "a.smith@one.test"], memberOfGroup="team@one.test",
         userRecipientBccAddress="to-anna@log.test", userSenderBccAddress="from-anna@log.test",
         senderRelayHost="[192.0.2.50]:587"),
    user("ben@one.test", "mail deliver smtp forward", mtaTransport="lmtp:[192.0.2.7]:24",
         mailForwardingAddress=["ben@one.test", "ben@far.test"], memberOfGroup="team@one.test"),
    user("carla@two.test", memberOfGroup=["team@one.test", "all@two.test"]),
    user("closed@one.test", accountStatus="disabled", shadowAddress="shut@one.test"),
    user("mute@one.test", "mail deliver"), user("deaf@one.test", "mail smtp"),
    user("gone@one.test", domainStatus="disabled"),
    user("@two.test", "", mailForwardingAddress="carla@two.test"),
    user("shop@one.test", "mail deliver", "mailAlias", shadowAddress="shop@alias.test",
         mailForwardingAddress=["anna@one.test", "x@far.test"]),
    user("news@one.test", "mail deliver mlmmj", "mailList", mtaTransport="mlmmj:one.test/news"),
    user("guest@far.test", "mail deliver", "mailExternalUser", memberOfGroup="team@one.test"),
]
IREDMAIL_DATA[-1] = IREDMAIL_DATA[-1].replace("domainName=far.test", "domainName=one.test")
IREDMAIL_CASES = {
    "our_domains": {"alias.test": "OK one.test", "backup.test": "OK backup.test", "off.test": NO},
    "virtual_mailbox_domains": {"one.test": "OK one.test", "alias.test": "OK one.test",
                                "idle.test": NO, "backup.test": NO, "off.test": NO},
    "relay_domains": {"backup.test": "OK backup.test", "sub.backup.test": "OK backup.test",
                      "one.test": NO},
    "virtual_mailbox_maps": {"anna@alias.test": "OK /vmail/anna@one.test/Maildir/",
                             "closed@one.test": NO, "deaf@one.test": NO, "gone@one.test": NO},
    "virtual_alias_maps": {
        "shop@one.test": "OK anna@one.test,x@far.test",
        "ben@one.test": "OK ben@one.test,ben@far.test",
        "team@one.test": "OK anna@one.test,ben@one.test,carla@two.test,guest@far.test",
        "anna@alias.test": "OK anna@one.test", "a.smith+x@one.test": "OK anna+x@one.test",
        "news@one.test": "OK news@one.test", "x@two.test": "OK carla@two.test",
        "shut@one.test": NO, "nobody@one.test": NO},
    "transport_maps": {"ben@one.test": "OK lmtp:[192.0.2.7]:24", "anna@one.test": "OK dovecot",
                       "news@one.test": "OK mlmmj:one.test/news", "x@alias.test": "OK dovecot",
                       "x@far.test": NO},
    "smtpd_sender_login_maps": {"a.smith@one.test": "OK anna@one.test", "mute@one.test": NO},
    "recipient_bcc_maps": {"anna@one.test": "OK to-anna@log.test",
                           "x@one.test": "OK to-one@log.test", "x@two.test": NO},
    "sender_bcc_maps": {"anna@one.test": "OK from-anna@log.test",
                        "x@alias.test": "OK from-one@log.test"},
    "sender_dependent_relayhost_maps": {"anna@one.test": "OK [192.0.2.50]:587",
                                        "x@one.test": "OK [192.0.2.51]:587"},
}

# --- D: docker-mailserver ---------------------------------------------------------------------


def person(uid, mail, enabled="TRUE", **attributes):
    return entry("uid=%s,ou=people,{0}" % uid, "inetOrgPerson PostfixBookMailAccount", cn=uid,
                 sn=uid, mail=mail, mailEnabled=enabled, **attributes)


POSTFIXBOOK_DATA = [
    person("anna", "anna@one.test", mailAlias=["sales@one.test", "Postmaster@Two.test"],
           mailGroupMember=["team@one.test", "all@two.test"]),
    person("ben", "ben@one.test", mailGroupMember="team@one.test"),
    person("off", "off@shut.test", "FALSE", mailAlias="x@shut.test",
           mailGroupMember="team@one.test"),
]
POSTFIXBOOK_CASES = {
    "our_domains": {"one.test": "OK OK", "shut.test": "OK OK", "far.test": NO},
    "virtual_mailbox_domains": {"one.test": "OK OK", "two.test": "OK OK", "shut.test": NO},
    "virtual_mailbox_maps": {"anna@one.test": "OK anna@one.test", "off@shut.test": NO},
    "virtual_alias_maps": {"sales@one.test": "OK anna@one.test",
                           "postmaster+x@two.test": "OK anna+x@one.test",
                           "team@one.test": "OK anna@one.test,ben@one.test",
                           "x@shut.test": NO, "anna@one.test": NO},
    "smtpd_sender_login_maps": {"anna@one.test": "OK anna,anna@one.test"},
}

# --- E: Active Directory ----------------------------------------------------------------------


def somebody(cn, kind, mail, proxies="", **attributes):
    category = {"user": "person", "contact": "person", "group": "group"}[kind]
    return entry("cn=%s,ou=office,{0}" % cn, kind, objectCategory=category, mail=mail,
                 proxyAddresses=proxies.split(), **attributes)


def ad_user(cn, mail, proxies="", control="512"):
    return somebody(cn, "user", mail, proxies, sAMAccountName=cn, userPrincipalName=cn + "@ad.test",
                    userAccountControl=control)


AD_DATA = [
    ad_user("anna", "Anna@One.test", "SMTP:Anna@One.test smtp:a.smith@one.test SIP:anna@sip.test"),
    ad_user("ben", "ben@one.test", "SMTP:ben@one.test smtp:ben@two.test x500:/o=Ex/cn=ben"),
    ad_user("off", "off@one.test", "SMTP:off@one.test smtp:gone@one.test", "514"),
    somebody("guest", "contact", "guest@far.test", "SMTP:guest@far.test smtp:guest@one.test"),
    somebody("team", "group", "team@one.test", "SMTP:team@one.test smtp:crew@one.test",
             member=["cn=anna,ou=office,{0}", "cn=inner,ou=office,{0}"]),
    somebody("inner", "group", "inner@one.test", "",
             member=["cn=ben,ou=office,{0}", "cn=guest,ou=office,{0}"]),
    somebody("empty", "group", "empty@one.test"),
]
AD_CASES = {
    "our_domains": {"one.test": "OK OK", "far.test": "OK OK", "none.test": NO},
    "virtual_mailbox_domains": {"one.test": "OK OK", "two.test": "OK OK", "sip.test": "OK OK",
                                "far.test": NO},
    "virtual_mailbox_maps": {"anna@one.test": "OK anna", "off@one.test": NO, "team@one.test": NO},
    "virtual_alias_maps": {
        "a.smith@one.test": "OK Anna@One.test", "anna@one.test": "OK Anna@One.test",
        "gone@one.test": NO, "guest@one.test": "OK guest@far.test",
        "crew@one.test": "OK Anna@One.test,ben@one.test,guest@far.test",
        "inner@one.test": "OK ben@one.test,guest@far.test", "empty@one.test": "OK empty@one.test",
        "anna@sip.test": NO, "/o=ex/cn=ben": NO},
    "smtpd_sender_login_maps": {"ben@two.test": "OK ben,ben@ad.test", "off@one.test": NO},
}


# --- Postfix's own tables -----------------------------------------------------------------------

TABLE_NAMES = ("search_base scope query_filter result_attribute leaf_result_attribute "
               "special_result_attribute recursion_limit result_format").split()


def table_settings(text):
    """Of each table in a map file: the settings that Postfix has, too."""
    text = re.sub(r"^ *#.*$", "", text, flags=re.M)
    for group in re.findall(r"\{\n(.*?)\n  \}", text, re.S) or [text]:
        found = {}
        for name, value in re.findall(r'^ *(\w+) = ((?:"[^"]*"\s*)+|[^;]*);', group, re.M):
            parts = re.findall(r'"([^"]*)"', value)
            found[name] = "".join(parts) if parts else value.strip('"')
        yield found


class Truth:
    """Postfix's ldap: tables with the settings of a preset's maps, asked by postmap."""

    def __init__(self, preset, connection):
        self.dir = scratch()
        self.tables, self.answers = {}, {}
        os.mkdir(self.dir + "/conf")
        replace(self.dir + "/conf/main.cf", "compatibility_level = 3.6\nmyhostname = host.test\n")
        for file in os.listdir("maps.d/" + preset):
            with open("maps.d/%s/%s" % (preset, file), encoding="utf-8") as f:
                self.tables[file[:-5]] = [
                    (self.write(file[:-5] + str(i), {**connection, **t}), t)
                    for i, t in enumerate(table_settings(f.read()))]

    def write(self, name, settings):
        path = "%s/%s.cf" % (self.dir, name)
        names = [n for n in settings if n in TABLE_NAMES or not n.islower() or n in CONNECTION]
        replace(path, "".join("%s = %s\n" % (n, settings[n]) for n in names))
        return path

    def ask(self, path, keys):
        """The values of these keys in one table."""
        p = run("postmap", "-c", self.dir + "/conf", "-q", "-", "ldap:" + path,
                input="".join(k + "\n" for k in keys))
        if p.returncode > 1 or "warning" in p.stderr:
            ok(False, "postmap -q - ldap:" + path, p.stderr)
        return dict(line.split("\t", 1) for line in p.stdout.splitlines())

    def of(self, map, keys):
        """What each key finds, when it is looked up as Postfix looks it up in this parameter."""
        walks = {k: list(candidates(map, k)) for k in keys}
        all = sorted({c for walk in walks.values() for c in walk})
        tables = [(self.ask(path, all), t) for path, t in self.tables[map]]
        return {k: next((result(found[c], t) for c in walk for found, t in tables if c in found),
                        NO) for k, walk in walks.items()}


CONNECTION = ("server_host version bind bind_dn bind_pw start_tls tls_require_cert "
              "tls_ca_cert_file").split()


def result(value, table):
    values = value.split(",")
    if table.get("distinct_values") == "true":
        values = list(dict.fromkeys(values))
    return "OK " + ",".join(values)


def candidates(map, key):
    """For keys without an extension, where no domain is local; address kinds and domain kinds."""
    at, domain = key.rpartition("@")[1:]
    yield key
    if map.endswith("domains"):
        while map == "relay_domains" and "." in key:
            key = key.partition(".")[2]
            yield key
    elif map == "transport_maps":
        while at and domain:
            yield domain
            domain = domain and "." + domain.lstrip(".").partition(".")[2]
            if domain == ".":
                return
    elif at and domain:
        yield "@" + domain


# --- the test -----------------------------------------------------------------------------------

def in_order(reply):
    """Directories have their own order of values."""
    verdict, _, values = reply.partition(" ")
    return verdict + " " + ",".join(sorted(values.split(",")))


def check_maps(server, name, cases, truth, keys):
    same(server.map_names, sorted(cases), name + ": each map has cases")
    with server.client() as client:
        for map, replies in cases.items():
            for key, want in replies.items():
                same(in_order(client.ask(map, key)), in_order(want),
                     "%s: %s: %s" % (name, map, key))
            got = {k: client.ask(map, k) for k in keys}
            wrong = ["%s: got %r, want %r" % (k, got[k], truth[map][k])
                     for k in keys if got[k] != truth[map][k]]
            ok(not wrong, "%s: %s agrees with Postfix on %d keys" % (name, map, len(keys)), *wrong)


def all_keys(data):
    """Every address and domain in the entries, and the strange ones."""
    values = re.findall(r"^\w+: (.*)$", "\n".join(data), re.M)
    plain = {re.sub("^smtp:", "", v, flags=re.I) for v in values if "+" not in v}
    domains = {v.rpartition("@")[2] for v in plain if "@" in v}
    made = {form + d for d in domains for form in ("", "@", "Sub.")}
    return sorted(plain | made) + STRANGE


def check(name, ldif, data, cases, suffix="dc=example,dc=com", bind_dn=None, mail=None, **slapd):
    directory = Slapd("\n".join([ldif, *data]).format(suffix), suffix=suffix, schema=MORE_SCHEMA,
                      certificate=certificate, **slapd)
    bind_dn = (bind_dn or "cn=reader,{0}").format(suffix)
    moved = [(r"ldaps://dc1[^\"]*", directory.ldaps), (r'"ldap://[^"]*"', '"%s"' % directory.uri),
             ("/etc/ssl/certs/ca-certificates.crt", authority.pem),
             (r'(?<=bind_dn = ")[^"]*', bind_dn)]
    truth_of = Truth(name, {
        "server_host": directory.uri, "version": "3", "bind": "yes", "bind_dn": bind_dn,
        "bind_pw": "secret", "start_tls": "yes", "tls_require_cert": "yes",
        "tls_ca_cert_file": authority.pem})
    keys = all_keys(data)
    truth = {map: truth_of.of(map, keys) for map in cases}
    ok(sum(a != NO for t in truth.values() for a in t.values()) > 10, name + ": Postfix finds some")

    with Preset(name, scratch(), moved, copies_alone) as alone:
        alone.wait_for_copies(name + " without lookups")
        check_maps(alone, name + ", copies", cases, truth, keys)
    with Preset(name, scratch(), moved, lookups_alone) as alone:
        check_maps(alone, name + ", lookups", cases, truth, keys)
        same(alone.events("refreshed"), [], name + " without copies")
    postfix = make_postfix(name, [LOGIN_SERVICE], **LOGIN)
    server = Preset(name, postfix.dir + "/queue", moved)
    server.write()
    p = run(PROGRAM, "-t", "-c", server.conf)
    remarks = [l for l in (p.stdout + p.stderr).splitlines() if "mirror of" not in l]
    same((p.returncode, remarks[1:]), (0, []), name + " is accepted without remarks")
    with server:
        server.wait_for_copies(name)
        check_maps(server, name, cases, truth, keys)
        if mail:
            with postfix:
                mail(postfix, directory, server)
        server.has_no_trouble(name)
    directory.stop()


# The login is asked for in plain text, as nobody listens.
LOGIN = {"smtpd_sasl_type": "dovecot", "smtpd_sasl_path": "private/auth"}
LOGIN_SERVICE = ("login", "smtpd", {
    "smtpd_sasl_auth_enable": "yes",
    "smtpd_relay_restrictions": "permit_sasl_authenticated, reject",
    "smtpd_sender_restrictions": "reject_sender_login_mismatch"})


def check_login(postfix, login, own, other):
    """Who is logged in may send as whom the map says, and who is not, as nobody in it."""
    AuthServer(postfix.dir + "/queue/private/auth", {login: "pw"})
    plain = base64.b64encode(("\0%s\0pw" % login).encode()).decode()
    mismatch = "553 5.7.1 <%s>: Sender address rejected: "
    with Smtp(postfix, "login") as smtp:
        smtp.say("MAIL FROM:<%s>" % own)
        like(smtp.say("RCPT TO:<x@far.test>"), "^" + re.escape(mismatch % own) + "not logged in",
             "nobody sends as %s" % own)
        smtp.say("RSET")
        like(smtp.say("AUTH PLAIN " + plain), "^235 ", login + " logs in")
        for sender, want in (own, "250 "), (other, mismatch % other + "not owned by user " + login):
            smtp.say("RSET", "MAIL FROM:<%s>" % sender)
            like(smtp.say("RCPT TO:<x@far.test>"), "^" + re.escape(want),
                 "%s sends as %s" % (login, sender))


def multidomain_mail(postfix, directory, server):
    check_mail(postfix, MULTIDOMAIN_RCPT, MULTIDOMAIN_MAIL, MULTIDOMAIN_ROUTES)
    check_login(postfix, "mail000", "anna.smith@one.test", "ben@one.test")
    new = account("mail009", "new@one.test", "new@host.test", 5009)
    directory.modify(new.format(directory.suffix))
    same(server.ask("virtual_alias_maps", "new@one.test"), "OK new@host.test",
         "a new address works at once")


def mailbox_mail(postfix, directory, server):
    check_mail(postfix, MAILBOX_RCPT, MAILBOX_MAIL, MAILBOX_ROUTES)
    check_login(postfix, "anna", "info@two.test", "ben@two.test")
    directory.modify(mailbox("new", "new@one.test").format(directory.suffix))
    same(server.ask("virtual_mailbox_maps", "new@one.test"), "OK new@one.test",
         "a new mailbox works at once")


authority = Authority()
certificate = authority.certificate("ldap", "IP:127.0.0.1")
check("multidomain-ldap", MULTIDOMAIN, MULTIDOMAIN_DATA, MULTIDOMAIN_CASES, mail=multidomain_mail,
      bind_dn="cn=mailAccountReader,ou=Manager,{0}", acl=READER_ONLY.format("dc=example,dc=com"))
check("mailbox-ldap", MAILBOX, MAILBOX_DATA, MAILBOX_CASES, "dc=example,dc=net", mail=mailbox_mail)
check("iredmail-ldap", IREDMAIL, IREDMAIL_DATA, IREDMAIL_CASES)
# Without an index, entries come in one order from a lookup and in another one from a scan.
check("postfixbook-ldap", PEOPLE, POSTFIXBOOK_DATA, POSTFIXBOOK_CASES,
      database="index mailGroupMember eq")
check("activedirectory-ldap", OFFICE, AD_DATA, AD_CASES)
done()
