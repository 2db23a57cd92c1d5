#!/usr/bin/env python3
# sanitizers: yes
"""
The same data in Postfix's texthash: tables and in socketmapd must route mail alike: real smtpd,
cleanup and trivial-rewrite ask each table in three forms, and every outcome is compared.

  texthash  the truth
  direct    socketmap:...:NAME, one request per address: the server walks the keys
  union     unionmap:{inline:..., socketmap:...:NAME_exact}: Postfix walks them
"""
import os
import re
import sys

sys.path.insert(0, "t/lib")
from harness import *
from postfix import AuthServer, Postfix, Resolver, Smtp, installed
from routes import ADDRESSES, BROKEN, CLIENTS, GROUPS, NAMES, TABLES, addresses, internal_addresses

VARIANTS = ("texthash", "direct", "union")
DELIMITER = "+-"


# --- the tables, three times ------------------------------------------------------------------

def table_names(name):
    """One name for each of its tables."""
    n = len(TABLES[name].tables)
    return [name] if n == 1 else ["%s_%d" % (name, i) for i in range(n)]


def write_texthash(dir):
    for name, table in TABLES.items():
        for file, rows in zip(table_names(name), table.tables):
            with open(dir + "/" + file, "w", encoding="utf-8") as f:
                f.writelines("%s %s\n" % row for row in rows.items())
            os.utime(f.name, (1, 1))    # Postfix waits two seconds for a file that is new


def write_database(path):
    lines = []
    for name, table in TABLES.items():
        for file, rows in zip(table_names(name), table.tables):
            lines.append("CREATE TABLE %s (k TEXT PRIMARY KEY, v TEXT)" % file)
            for row in rows.items():
                lines.append("INSERT OR IGNORE INTO %s VALUES ('%s', '%s')" % (
                    file, *(s.replace("'", "''") for s in (row[0].casefold(), row[1]))))
    database(path, ";\n".join(lines) + ";\n")


def maps():
    """NAME as Postfix users write it, NAME_exact for union; mirrors and live queries."""
    conf = {}
    for name, table in TABLES.items():
        names = table_names(name)
        live = [{"source": "rows", "query": "SELECT v FROM %s WHERE k = '%%s'" % n} for n in names]
        mirrors = [dict(t, mode="mirror", on_miss="notfound", scan_query="SELECT k, v FROM " + n)
                   for n, t in zip(names, live)]
        one = mirrors[0] if len(mirrors) == 1 else {"tables": mirrors}
        conf[name] = dict(table.settings, **one)
        conf.update((n + "_exact", dict(t, search="exact")) for n, t in zip(names, live))
    return conf


def spec(variant, name):
    """What goes into main.cf."""
    if variant == "direct":
        return "socketmap:unix:%s:%s" % (server.socket, name)
    form = "texthash:%s/%%s" % texthash if variant == "texthash" else \
        "unionmap:{inline:{never.invalid=x}, socketmap:unix:%s:%%s_exact}" % server.socket
    return ", ".join(form % t for t in table_names(name))


# --- the services -------------------------------------------------------------------------------

def fill_in(options, variant):
    def of(match):
        return auth if match[1] == "auth" else spec(variant, match[1])
    return {k: re.sub(r"\{(\w+)\}", of, v) for k, v in options.items()}


def services(group, variant):
    name = "%s-%s" % (group.name, variant)
    own = {"rewrite_service_name": name + "-rw", "cleanup_service_name": name + "-cl"}
    options = dict(own, **fill_in(group.options, variant))
    smtpd = dict({"smtpd_recipient_restrictions": "permit"}, **options)
    return [(name, "smtpd", smtpd),
            (name + "-all", "smtpd", dict(smtpd, smtpd_reject_unlisted_recipient="no")),
            (name + "-cl", "cleanup", options),
            (name + "-rw", "trivial-rewrite", dict(options, **group.domains))]


# --- the probes: (service) -> {what was sent: what came of it} ----------------------------------

def rcpt(service):
    """Would smtpd take the recipient?"""
    with Smtp(postfix, service) as s:
        s.say("MAIL FROM:<probe@other.test> SMTPUTF8")
        return dict(zip(addresses(), s.say_all(["RCPT TO:<%s>" % a for a in addresses()])))


def expand(service):
    """Who gets a message in the end?"""
    with Smtp(postfix, service + "-all") as s:
        reply = s.send("probe@other.test", addresses())
        outcome = {"end of message": re.sub(r" as \w+", "", reply)}
        if reply.startswith("250"):
            for original, recipient in postfix.queued(reply.split()[-1])[1]:
                outcome[original] = outcome.get(original, ()) + (recipient,)
        return outcome


def single(service):
    """What each recipient does to a message of its own."""
    outcome = {}
    with Smtp(postfix, service + "-all") as s:
        for a in BROKEN:
            reply = s.send("probe@other.test", [a])
            outcome[a] = (re.sub(r" as \w+", "", reply),
                          reply.startswith("250") and postfix.queued(reply.split()[-1]))
    return outcome


def senders(service):
    """Who sends it in the end, and who gets a blind copy?"""
    outcome = {}
    with Smtp(postfix, service + "-all") as s:
        for a in [""] + addresses()[::3]:
            reply = s.send(a, ["probe@other.test"])
            outcome[a] = postfix.queued(reply.split()[-1]) if reply.startswith("250") else reply
    return outcome


def one_by_one(service, items, commands):
    outcome = {}
    with Smtp(postfix, service) as s:
        for item in items:
            outcome[item] = [s.say(c) for c in commands(item)][-2]
    return outcome


def sender(service):
    """Would smtpd take it from that sender?"""
    return one_by_one(service, [""] + addresses(), lambda a: (
        "MAIL FROM:<%s> SMTPUTF8" % a, "RCPT TO:<probe@other.test>", "RSET"))


def helo(service):
    return one_by_one(service, NAMES, lambda n: (
        "HELO " + n, "MAIL FROM:<probe@other.test>", "RCPT TO:<probe@other.test>", "RSET"))


def client(service):
    return one_by_one(service, CLIENTS, lambda c: (
        "XCLIENT NAME=%s ADDR=%s" % c, "EHLO probe", "MAIL FROM:<probe@other.test>",
        "RCPT TO:<probe@other.test>", "RSET"))


def resolve_all(service, pairs):
    with Resolver(postfix, service + "-rw") as r:
        return {p: r.resolve(*p) for p in pairs}


def internal():
    return ["%s@%s" % a for a in internal_addresses() if a[0] or a[1] == "plain.test"]


def resolve(service):
    """Which transport and next hop does the recipient get?"""
    return resolve_all(service, [("probe@other.test", a) for a in internal()])


def resolve_sender(service):
    return resolve_all(service, [(a, "probe@elsewhere.test") for a in [""] + internal()])


def domains(service):
    names = NAMES + ["[%s]" % a for a in ADDRESSES]
    return resolve_all(service, [("probe@other.test", "none@" + n) for n in names])


PROBES = {"rcpt": rcpt, "expand": expand, "single": single, "senders": senders, "from": sender,
          "helo": helo, "client": client, "resolve": resolve, "resolve_sender": resolve_sender,
          "domains": domains}


def compare(group, probe):
    truth = PROBES[probe]("%s-texthash" % group.name)
    kinds = len({re.sub(r"<[^>]*>", "", str(v)) for v in truth.values()})
    ok(kinds >= 2, "%s %s: %d outcomes of %d kinds" % (group.name, probe, len(truth), kinds))
    for variant in VARIANTS[1:]:
        got = PROBES[probe]("%s-%s" % (group.name, variant))
        wrong = ["%r\n  texthash %s\n  %s %s" % (k, truth.get(k), variant, got.get(k))
                 for k in {**truth, **got} if truth.get(k) != got.get(k)]
        ok(not wrong, "%s %s: %s routes as texthash" % (group.name, probe, variant),
           "%d differences" % len(wrong), *wrong[:10])


if not installed():
    skip_all("no Postfix here")
if os.geteuid() != 0:
    skip_all("Postfix runs only as root")

texthash = scratch()
write_texthash(texthash)
write_database(texthash + "/rows.sqlite")
auth = texthash + "/auth"
AuthServer(auth)
server = Server(maps(), [{"name": "rows", "driver": "sqlite", "dbpath": texthash + "/rows.sqlite"}],
                recipient_delimiter=DELIMITER, local_domains=["host.test", "local.test"],
                propagate_unmatched_extensions=["virtual"])
postfix = Postfix([s for g in GROUPS for v in VARIANTS for s in services(g, v)],
                  recipient_delimiter=DELIMITER, mydestination="local.test",
                  propagate_unmatched_extensions="virtual", virtual_mailbox_maps="inline:{none=x}",
                  virtual_alias_maps="", local_transport="local:local")
with server, postfix:
    for g in GROUPS:
        for p in g.probes:
            compare(g, p)
done()
