#!/usr/bin/env python3
"""
The ready maps for iRedMail and PostfixAdmin, on databases with their tables: what each map says,
and what a real smtpd, cleanup and trivial-rewrite make of it. The configuration is the one in
contrib/, the parameters are those that it gives for main.cf.
"""
import os
import sys

sys.path.insert(0, "t/lib")
from harness import *
from mariadb import MariaDB
from postfix import installed
from presets import NO, Preset, check_mail, copies_alone, lookups_alone, make_postfix

if os.geteuid() or not installed():
    ok(False, "a Postfix to run, and root to run it")
    done()

# Keys that no map knows; they must not disturb a database either.
STRANGE = ["nobody@example.test", "anna@far.test", "far.test", "@far.test", "anna", "@", "%", "\\",
           "anna%@example.test", "_nna@example.test", "' OR '1'='1", "x' OR '1'='1@example.test",
           "\\' OR 1=1 -- @example.test", "jörg@example.test", "用户@example.test",
           '"a b"@example.test', '"@x"@example.test', "anna@example.test@far.test"]

IREDMAIL = {
    "our_domains": {
        "example.test": "OK example.test", "backup.test": "OK backup.test",
        "alias.test": "OK alias.test", "off.test": NO, "aliasoff.test": NO},
    "virtual_mailbox_domains": {
        "example.test": "OK example.test", "EXAMPLE.Test": "OK example.test",
        "alias.test": "OK alias.test", "catchalias.test": "OK catchalias.test",
        "aliasoff.test": NO, "offalias.test": NO, "backupalias.test": NO, "backup.test": NO,
        "off.test": NO, "sub.example.test": NO},
    "relay_domains": {
        "backup.test": "OK backup.test", "sub.backup.test": "OK backup.test",
        "example.test": NO, "off.test": NO},
    "virtual_mailbox_maps": {
        "anna@example.test": "OK vmail1/example.test/anna/Maildir/",
        "Anna+Box@Example.test": "OK vmail1/example.test/anna/Maildir/",
        "ben@example.test": "OK vmail1/example.test/ben/Maildir/",
        "full@example.test": NO, "closed@example.test": NO, "dora@off.test": NO,
        "anna@alias.test": NO, "x@catch.test": NO},
    "virtual_alias_maps": {
        "anna@example.test": "OK anna@example.test", "ANNA@Example.TEST": "OK anna@example.test",
        "anna+Box@example.test": "OK anna+Box@example.test",
        "ben@example.test": "OK ben@example.test,far@elsewhere.test",
        "team@example.test": "OK anna@example.test,carla@catch.test",
        "sales+x@example.test": "OK anna+x@example.test",
        "news@example.test": "OK news@example.test",
        "closed@example.test": NO, "dora@off.test": NO, "x@off.test": NO, "full@example.test": NO,
        # other names of a domain
        "anna@alias.test": "OK anna@example.test", "Anna+X@alias.test": "OK anna+X@example.test",
        "team@alias.test": "OK anna@example.test,carla@catch.test",
        "nobody@alias.test": NO, "closed@alias.test": NO, "anna@aliasoff.test": NO,
        "dora@offalias.test": NO, "x@offalias.test": NO,
        # catch-alls, which hide nobody
        "x@catch.test": "OK carla@catch.test", "x+y@catch.test": "OK carla@catch.test",
        "shop@catch.test": "OK anna@example.test", "shop+y@catch.test": "OK anna+y@example.test",
        "x@catchalias.test": "OK carla@catch.test", "x+y@catchalias.test": "OK carla@catch.test",
        "shop@catchalias.test": "OK anna@example.test",
        "shop+y@catchalias.test": "OK anna+y@example.test",
        "@catch.test": "OK carla@catch.test", "@example.test": NO},
    "transport_maps": {
        "ben@example.test": "OK lmtp:[192.0.2.7]:24",
        "ben+x@example.test": "OK lmtp:[192.0.2.7]:24",
        "anna@example.test": "OK dovecot", "example.test": "OK dovecot",
        "nobody@example.test": "OK dovecot", "news@example.test": "OK mlmmj:example.test/news",
        "old@example.test": "OK dovecot", "closed@example.test": "OK dovecot",
        "x@catch.test": "OK lmtp:[192.0.2.8]:24", "x@backup.test": "OK relay:[192.0.2.25]",
        "x@sub.example.test": NO, "dora@off.test": NO, "list@off.test": NO, "*": NO},
    "smtpd_sender_login_maps": {
        "anna@example.test": "OK anna@example.test", "anna+x@example.test": "OK anna@example.test",
        "BEN@example.test": "OK Ben@example.test", "full@example.test": "OK full@example.test",
        "mute@example.test": NO, "closed@example.test": NO, "dora@off.test": NO,
        "sales@example.test": NO},
    "recipient_bcc_maps": {
        "anna@example.test": "OK to-anna@log.test", "anna+x@example.test": "OK to-anna@log.test",
        "ben@example.test": "OK to-example@log.test", "x+y@example.test": "OK to-example@log.test",
        "carla@catch.test": NO, "dora@off.test": NO},
    "sender_bcc_maps": {
        "anna@example.test": "OK from-anna@log.test",
        "Anna+x@example.test": "OK from-anna@log.test",
        "ben@example.test": "OK from-example@log.test", "carla@catch.test": NO},
    "sender_dependent_relayhost_maps": {
        "anna@example.test": "OK [192.0.2.50]:587", "anna+x@example.test": "OK [192.0.2.50]:587",
        "ben@example.test": "OK [192.0.2.51]:587", "carla@catch.test": NO, "<>": NO},
}
IREDMAIL_KNOWS = {      # of STRANGE: what is a domain's answer
    "transport_maps": "OK dovecot", "recipient_bcc_maps": "OK to-example@log.test",
    "sender_bcc_maps": "OK from-example@log.test",
    "sender_dependent_relayhost_maps": "OK [192.0.2.51]:587",
}

POSTFIXADMIN = {
    "our_domains": {
        "example.test": "OK example.test", "backup.test": "OK backup.test",
        "alias.test": "OK alias.test", "off.test": NO},
    "virtual_mailbox_domains": {
        "example.test": "OK example.test", "Example.TEST": "OK example.test",
        "alias.test": "OK alias.test", "catch.test": "OK catch.test", "backup.test": NO,
        "relayed.test": NO, "off.test": NO, "sub.example.test": NO},
    "relay_domains": {
        "backup.test": "OK backup.test", "relayed.test": "OK relayed.test",
        "sub.relayed.test": "OK relayed.test", "example.test": NO, "off.test": NO},
    "virtual_alias_maps": {
        "anna@example.test": "OK anna@example.test", "ANNA@Example.TEST": "OK anna@example.test",
        "anna+Box@example.test": "OK anna+Box@example.test",
        "ben@example.test": "OK ben@example.test,far@elsewhere.test",
        "team@example.test": "OK carla@catch.test,anna@example.test",
        "sales+x@example.test": "OK anna+x@example.test", "closed@example.test": NO,
        # other names of a domain
        "anna@alias.test": "OK anna@example.test", "Anna+X@alias.test": "OK anna+X@example.test",
        "team@alias.test": "OK carla@catch.test,anna@example.test",
        "nobody@alias.test": NO, "closed@alias.test": NO, "anna@aliasoff.test": NO,
        # catch-alls, which hide nobody; example.test's is not active
        "x@catch.test": "OK carla@catch.test", "x+y@catch.test": "OK carla@catch.test",
        "shop@catch.test": "OK anna@example.test", "shop+y@catch.test": "OK anna+y@example.test",
        "x@catchalias.test": "OK carla@catch.test", "x+y@catchalias.test": "OK carla@catch.test",
        "shop@catchalias.test": "OK anna@example.test",
        "shop+y@catchalias.test": "OK anna+y@example.test",
        "@catch.test": "OK carla@catch.test", "@example.test": NO},
    "virtual_mailbox_maps": {
        "anna@example.test": "OK example.test/anna/", "Ben+x@example.test": "OK example.test/ben/",
        "anna@alias.test": "OK example.test/anna/", "Ben+x@Alias.test": "OK example.test/ben/",
        "closed@example.test": NO, "closed@alias.test": NO, "anna@aliasoff.test": NO,
        "sales@example.test": NO, "x@catch.test": NO},
    "transport_maps": {
        "anna@example.test": "OK :", "example.test": "OK :", "x@alias.test": "OK :",
        "x@catch.test": "OK lmtp:[192.0.2.8]:24", "x@relayed.test": "OK smtp:[192.0.2.25]",
        "x@off.test": NO, "x@sub.example.test": NO, "*": NO},
    "smtpd_sender_login_maps": {
        "anna@example.test": "OK anna@example.test", "anna+x@example.test": "OK anna@example.test",
        "BEN@example.test": "OK Ben@example.test", "closed@example.test": NO,
        "sales@example.test": NO},
}
POSTFIXADMIN_KNOWS = {"transport_maps": "OK :"}

# What smtpd says to a recipient.
IREDMAIL_RCPT = [
    ("anna@example.test", "250"), ("ANNA+box@Example.test", "250"), ("team@example.test", "250"),
    ("anna@alias.test", "250"), ("x@catch.test", "250"), ("x+y@catchalias.test", "250"),
    ("news@example.test", "250"), ("x@backup.test", "250"),
    ("nobody@example.test", "550 5.1.1"), ("closed@example.test", "550 5.1.1"),
    ("full@example.test", "550 5.1.1"), ("nobody@alias.test", "550 5.1.1"),
    ("dora@off.test", "554 5.7.1"), ("anna@aliasoff.test", "554 5.7.1"),
    ("anna@far.test", "554 5.7.1"),
]
POSTFIXADMIN_RCPT = [
    ("anna@example.test", "250"), ("ANNA+box@Example.test", "250"), ("team@example.test", "250"),
    ("anna@alias.test", "250"), ("x@catch.test", "250"), ("x+y@catchalias.test", "250"),
    ("x@backup.test", "250"), ("x@relayed.test", "250"),
    ("nobody@example.test", "550 5.1.1"), ("closed@example.test", "550 5.1.1"),
    ("nobody@alias.test", "550 5.1.1"), ("anna@aliasoff.test", "550 5.1.1"),
    ("x@off.test", "554 5.7.1"), ("anna@far.test", "554 5.7.1"),
]
# Sender, recipient, and to whom cleanup sends it. Copies go by the recipient that smtpd took, not
# by what its aliases make of it.
IREDMAIL_MAIL = [
    ("s@far.test", "anna+Box@example.test", "anna+Box@example.test to-anna@log.test"),
    ("s@far.test", "x+y@catchalias.test", "carla@catch.test"),
    ("s@far.test", "shop+y@catch.test", "anna+y@example.test"),
    ("s@far.test", "sales@example.test", "anna@example.test to-example@log.test"),
    ("s@far.test", "sales@alias.test", "anna@example.test"),
    ("s@far.test", "ben@example.test",
     "ben@example.test to-example@log.test far@elsewhere.test"),
    ("anna+x@example.test", "carla@catch.test", "carla@catch.test from-anna@log.test"),
    ("ben@example.test", "carla@catch.test", "carla@catch.test from-example@log.test"),
]
POSTFIXADMIN_MAIL = [
    ("s@far.test", "anna+Box@example.test", "anna+Box@example.test"),
    ("s@far.test", "x+y@catchalias.test", "carla@catch.test"),
    ("s@far.test", "shop+y@catch.test", "anna+y@example.test"),
    ("s@far.test", "ben@alias.test", "ben@example.test far@elsewhere.test"),
]
# Sender, recipient, and its transport and next hop.
IREDMAIL_ROUTES = [
    ("s@far.test", "anna@example.test", ("dovecot", "example.test")),
    ("s@far.test", "ben+x@example.test", ("lmtp", "[192.0.2.7]:24")),
    ("s@far.test", "news@example.test", ("mlmmj", "example.test/news")),
    ("s@far.test", "carla@catch.test", ("lmtp", "[192.0.2.8]:24")),
    ("s@far.test", "x@backup.test", ("relay", "[192.0.2.25]")),
    ("anna+x@example.test", "x@far.test", ("smtp", "[192.0.2.50]:587")),
    ("ben@example.test", "x@far.test", ("smtp", "[192.0.2.51]:587")),
    ("carla@catch.test", "x@far.test", ("smtp", "far.test")),
]
POSTFIXADMIN_ROUTES = [
    ("s@far.test", "anna@example.test", ("dovecot", "example.test")),
    ("s@far.test", "carla@catch.test", ("lmtp", "[192.0.2.8]:24")),
    ("s@far.test", "x@relayed.test", ("smtp", "[192.0.2.25]")),
]


def moved(db):
    return [("/run/mysqld/mysqld.sock", db.socket)]


def check_maps(server, cases, known, refused=None):
    """`refused`: what the database does not compare, as its columns are latin1."""
    same(server.map_names, sorted(cases), "each map has cases")
    with server.client() as client:
        for map, replies in cases.items():
            for key, want in replies.items():
                same(client.ask(map, key), want, "%s: %s" % (map, key))
            for key in STRANGE:
                want = known.get(map, NO) if key.endswith("@example.test") else NO
                want = "TEMP %s: source " % map if key == refused else want
                same(client.ask(map, key)[:len(want)], want, "%s: %s" % (map, key))


def check(name, db, maps, known, recipients, mail, routes, add, refused=None):
    postfix = make_postfix(name, mydestination="host.test")
    server = Preset(name, postfix.dir + "/queue", moved(db))
    server.write()
    p = run(PROGRAM, "-t", "-c", server.conf)
    like(p.stdout + p.stderr, r"^[^\n]*: good: .*\n$", name + " is accepted without remarks")
    with Preset(name, scratch(), moved(db), copies_alone) as alone:
        alone.wait_for_copies(name + " without lookups")
        check_maps(alone, maps, known)
        add("early@example.test")
        same(alone.wait_for_reply("virtual_alias_maps", "early@alias.test", "^OK"),
             "OK anna@example.test", name + ": a new alias is copied")
    with Preset(name, scratch(), moved(db), lookups_alone) as alone:
        check_maps(alone, maps, known, refused)
        same(alone.events("refreshed"), [], name + " without copies")
    with server, postfix:
        server.wait_for_copies(name)
        check_maps(server, maps, known)
        check_mail(postfix, recipients, mail, routes)
        add("later@example.test")
        same(server.ask("virtual_alias_maps", "later@alias.test"), "OK anna@example.test",
             "a new alias works at once")
        server.has_no_trouble(name)


def load(db, name, user, file):
    db.sql("CREATE DATABASE %s; CREATE USER %s@'%%' IDENTIFIED BY 'secret';"
           "GRANT SELECT ON %s.* TO %s@'%%';" % (name, user, name, user))
    with open(file, encoding="utf-8") as f:
        db.sql(f.read(), name)


db = MariaDB("SELECT 1")
load(db, "vmail", "vmail", "t/lib/iredmail.sql")
load(db, "postfix", "postfix", "t/lib/postfixadmin.sql")
check("iredmail-mysql", db, IREDMAIL, IREDMAIL_KNOWS, IREDMAIL_RCPT, IREDMAIL_MAIL,
      IREDMAIL_ROUTES,
      lambda a: db.sql("INSERT INTO forwardings (address, forwarding, domain) VALUES"
                       " ('%s', 'anna@example.test', 'example.test')" % a, "vmail"))
check("postfixadmin-mysql", db, POSTFIXADMIN, POSTFIXADMIN_KNOWS, POSTFIXADMIN_RCPT,
      POSTFIXADMIN_MAIL, POSTFIXADMIN_ROUTES,
      lambda a: db.sql("INSERT INTO alias (address, goto, domain) VALUES"
                       " ('%s', 'anna@example.test', 'example.test')" % a, "postfix"),
      "用户@example.test")
done()
