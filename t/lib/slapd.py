"""A private slapd for a test: on loopback and a unix socket, with the schemas of mail systems."""
import atexit
import os
import re
import shutil
import signal
import socket
import subprocess
import urllib.parse

from harness import (die_with_parent, done, free_port, ok, run, scratch, stat_fields, threads,
                     wait_for)

PATH = os.environ.get("PATH", "") + ":/usr/sbin:/usr/bin"
PROGRAMS = {p: shutil.which(p, path=PATH) for p in ("slapd", "slapadd", "ldapmodify", "ldapsearch")}
SUFFIX = "dc=example,dc=com"

# Names, syntaxes and matching rules as in the installations they come from; the OIDs are not.
SCHEMA = """
objectidentifier our 1.3.6.1.4.1.4203.666.88
objectidentifier ia5 1.3.6.1.4.1.1466.115.121.1.26
objectidentifier dir 1.3.6.1.4.1.1466.115.121.1.15
objectidentifier int 1.3.6.1.4.1.1466.115.121.1.27
objectidentifier bool 1.3.6.1.4.1.1466.115.121.1.7
"""
IA5 = "EQUALITY caseIgnoreIA5Match SUBSTR caseIgnoreIA5SubstringsMatch SYNTAX ia5"
EXACT = "EQUALITY caseExactIA5Match SYNTAX ia5"
DIR = "EQUALITY caseIgnoreMatch SUBSTR caseIgnoreSubstringsMatch SYNTAX dir"
INT = "EQUALITY integerMatch ORDERING integerOrderingMatch SYNTAX int"
BOOL = "EQUALITY booleanMatch SYNTAX bool"
ATTRIBUTES = {
    "mailacceptinggeneralid maildrop": IA5,                             # postfix.schema
    "mailAlias mailGroupMember": IA5,                                   # postfix-book.schema
    "mailHomeDirectory mailQuota": EXACT, "mailEnabled": BOOL + " SINGLE-VALUE",
    "mailUidNumber mailGidNumber": INT + " SINGLE-VALUE",
    "sAMAccountName userPrincipalName targetAddress": DIR + " SINGLE-VALUE",    # AD
    "proxyAddresses": DIR, "memberURL": "EQUALITY caseExactMatch SYNTAX dir",
    "userAccountControl groupType": INT + " SINGLE-VALUE",
    "domainName domainAliasName accountStatus domainStatus enabledService": IA5,  # iRedMail
    "shadowAddress mailForwardingAddress": IA5, "mtaTransport memberOfGroup": IA5,
    "domainBackupMX domainSenderBccAddress domainRecipientBccAddress": IA5,
    "userSenderBccAddress userRecipientBccAddress senderRelayHost": IA5,
    "domainGlobalAdmin accessPolicy listAllowedUser": IA5, "mailMessageStore": EXACT,
    "expires": INT,
}
CLASSES = {
    "postfixUser AUXILIARY": "mailacceptinggeneralid maildrop",
    "PostfixBookMailAccount AUXILIARY": "mail mailAlias mailHomeDirectory mailEnabled mailQuota"
    " mailUidNumber mailGidNumber mailGroupMember",
    "PostfixBookMailForward AUXILIARY": "mail mailAlias",
    "adUser AUXILIARY": "sAMAccountName userPrincipalName proxyAddresses userAccountControl"
    " targetAddress mail expires",
    "adGroup STRUCTURAL": "cn sAMAccountName proxyAddresses mail member memberURL groupType"
    " description",
    "mailDomain STRUCTURAL": "domainName domainAliasName accountStatus enabledService"
    " mtaTransport senderRelayHost domainSenderBccAddress domainRecipientBccAddress"
    " domainBackupMX cn description",
    "mailUser AUXILIARY": "mail shadowAddress mailForwardingAddress accountStatus domainStatus"
    " enabledService memberOfGroup mtaTransport senderRelayHost userSenderBccAddress"
    " userRecipientBccAddress mailMessageStore homeDirectory domainGlobalAdmin",
    "mailList STRUCTURAL": "mail cn shadowAddress accountStatus domainStatus enabledService"
    " accessPolicy listAllowedUser mtaTransport memberOfGroup mailForwardingAddress",
    "mailAlias STRUCTURAL": "mail cn mailForwardingAddress accountStatus enabledService"
    " shadowAddress domainStatus",
}
CONF = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
include /etc/ldap/schema/nis.schema
include {dir}/mail.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload syncprov
pidfile {dir}/pid
argsfile {dir}/args
threads 4
authz-regexp gidNumber=.*,cn=peercred,cn=external,cn=auth cn=reader,{suffix}
authz-regexp uid=([^,]*),.*cn=auth cn=$1,{suffix}
{options}
database mdb
suffix "{suffix}"
rootdn "cn=admin,{suffix}"
rootpw admin
directory {dir}/data
maxsize 1073741824
dbnosync
index objectClass,mail,uid,cn,member,mailacceptinggeneralid,maildrop eq
index mailAlias,proxyAddresses,domainName,shadowAddress eq
{database}
{acl}
"""
ACL = """access to attrs=userPassword by anonymous auth by * none
access to * by * read"""
BASE = """dn: {suffix}
objectClass: organization
objectClass: dcObject
o: test
dc: {dc}

dn: cn=reader,{suffix}
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: reader
userPassword: secret

"""


def schema():
    text, n = SCHEMA, 0
    for names, definition in ATTRIBUTES.items():
        for name in names.split():
            n += 1
            text += "attributetype ( our:1.%d NAME '%s' %s )\n" % (n, name, definition)
    for n, (name, attributes) in enumerate(CLASSES.items()):
        name, kind = name.split()
        text += "objectclass ( our:2.%d NAME '%s' SUP top %s MAY ( %s ) )\n" % (
            n + 1, name, kind, " $ ".join(attributes.split()))
    return text


class Slapd:
    """
    One server with its data, stopped when the test ends. Clients are "cn=reader,SUFFIX",
    password "secret" (by EXTERNAL on the unix socket, too); "cn=admin,SUFFIX" may do everything.

    ldif        entries below the suffix, which is there already
    schema      attributetype and objectclass lines behind those above
    acl         lines for slapd.conf
    options     global lines for slapd.conf: sizelimit, ...
    database    lines for its database: limits, index, overlay syncprov, ...
    certificate a path with .pem and .key behind it: StartTLS and ldaps are offered
    """

    def __init__(self, ldif="", suffix=SUFFIX, schema="", acl=ACL, options="", database="",
                 certificate=None):
        self.dir, self.suffix = scratch(), suffix
        self.port, self.tls_port, self.socket = free_port(), free_port(), self.dir + "/ldapi"
        self.uri = "ldap://127.0.0.1:%d" % self.port
        self.ldaps = "ldaps://127.0.0.1:%d" % self.tls_port
        self.ldapi = "ldapi://" + urllib.parse.quote(self.socket, safe="")
        self.schema, self.acl, self.options = schema, acl, options
        self.database, self.certificate = database, certificate
        self.process = None
        os.mkdir(self.dir + "/data")
        atexit.register(self.stop)
        self.configure()
        self.add_offline(BASE.format(suffix=suffix, dc=re.search("=([^,]*)", suffix)[1]) + ldif)
        self.start()

    def configure(self):
        """Write slapd.conf; takes effect at the next start()."""
        options = self.options
        if self.certificate:
            options = "TLSCertificateFile {0}.pem\nTLSCertificateKeyFile {0}.key\n".format(
                self.certificate) + options
        with open(self.dir + "/mail.schema", "w") as f:
            f.write(schema() + self.schema + "\n")
        with open(self.dir + "/slapd.conf", "w") as f:
            f.write(CONF.format(dir=self.dir, suffix=self.suffix, options=options,
                                database=self.database, acl=self.acl))

    def add_offline(self, ldif):
        """The fast way; not while it runs."""
        p = run(PROGRAMS["slapadd"], "-q", "-f", self.dir + "/slapd.conf", "-b", self.suffix,
                input=ldif)
        if p.returncode:
            ok(False, "slapadd loads the directory", p.stderr[-2000:])
            done()

    def start(self):
        urls = [self.uri, self.ldapi] + ([self.ldaps] if self.certificate else [])
        with open(self.dir + "/log", "ab") as log:
            self.process = subprocess.Popen(
                [PROGRAMS["slapd"], "-h", " ".join(urls), "-f", self.dir + "/slapd.conf",
                 "-d", "stats"], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=die_with_parent)
        if not wait_for(lambda: self.process.poll() is not None or self.is_up(), 30) or \
                self.process.poll() is not None:
            ok(False, "slapd starts", self.log()[-2000:])
            done()

    def is_up(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return "slapd starting" in self.log()
        except OSError:
            return False

    def stop(self):
        """As a crash would: nothing waits for clients."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()

    def restart(self):
        self.stop()
        self.configure()
        self.start()

    def signal(self, number):
        """SIGSTOP and SIGCONT, for one; when it returns, every thread has stopped."""
        self.process.send_signal(number)
        if number == signal.SIGSTOP:
            wait_for(lambda: all(stat_fields(t)[:1] in ([], ["T"]) for t in threads(self.process.pid)))

    def log(self):
        """Every operation has its lines: BIND, SRCH, SEARCH RESULT, ..."""
        with open(self.dir + "/log", errors="replace") as f:
            return f.read()

    def _admin(self, program, *arguments, input=""):
        return run(PROGRAMS[program], "-x", "-H", self.ldapi, "-D", "cn=admin," + self.suffix,
                   "-w", "admin", *arguments, input=input,)

    def modify(self, ldif, *options):
        """Changes while it runs, as LDIF with changetype; entries without are added."""
        p = self._admin("ldapmodify", "-a", *options, input=ldif)
        if p.returncode:
            raise RuntimeError("ldapmodify: %s%s" % (p.stdout, p.stderr))

    def search(self, filter, *attributes, base=None):
        """What ldapsearch says of it, as LDIF."""
        return self._admin("ldapsearch", "-LLL", "-o", "ldif-wrap=no", "-b",
                           self.suffix if base is None else base, filter, *attributes).stdout

    def source(self, name="directory", **settings):
        return dict({"name": name, "driver": "ldap", "server_host": self.uri,
                     "bind_dn": "cn=reader," + self.suffix, "bind_pw": "secret"}, **settings)
