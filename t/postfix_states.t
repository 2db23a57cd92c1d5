#!/usr/bin/env python3
"""
What each state of a mirror becomes for a sender: real smtpd and trivial-rewrite, four roles of
maps, three policies for misses, from EMPTY to EXPIRED. reliability.md 1 and 3, as one table.
"""
import os
import sys
import time

sys.path.insert(0, "t/lib")
from harness import *
from postfix import Postfix, Smtp, installed

if os.geteuid() or not installed():
    ok(False, "a Postfix to run, and root to run it")
    done()

LOCAL, FOREIGN = "box.test", "far.test"
# role: key of the row and its value, and what found, not found and nobody-knows are for a sender
ROLES = {
    "mailboxes": ("user@box.test", "box/", "250", "550 5.1.1", "451 4.3.0"),
    "domains": ("box.test", "x", "250", "554 5.7.1", "451 4.3.0"),
    "access": ("user@box.test", "OK", "250", "250", "451 4.3.5"),
    "transport": ("user@box.test", "smtp:[relay.test]", "250", "250", "451 4.3.0"),
}
POLICIES = ("temp", "notfound", "domain")
# What a recipient is: in the table; missing, in a domain of ours; missing, in another one.
HIT, MISS, OTHER = "hit", "miss", "other"
FOUND, NOTFOUND, TEMP = 0, 1, 2
ALL_TEMP = {HIT: TEMP, MISS: TEMP, OTHER: TEMP}
STATES = {
    "EMPTY": dict.fromkeys(POLICIES, ALL_TEMP),
    "FRESH": dict.fromkeys(POLICIES, {HIT: FOUND, MISS: NOTFOUND, OTHER: NOTFOUND}),
    "STALE": {
        "temp": {HIT: FOUND, MISS: TEMP, OTHER: TEMP},
        "notfound": {HIT: FOUND, MISS: NOTFOUND, OTHER: NOTFOUND},
        "domain": {HIT: FOUND, MISS: TEMP, OTHER: NOTFOUND},
    },
    "EXPIRED": dict.fromkeys(POLICIES, ALL_TEMP),
}
# A copy is in each state for as long as the test takes: what a reload changes is when it leaves it.
YOUNG = {"refresh": "1s", "max_age": "1h", "stale_max": "1h"}
AGES = {"EMPTY": YOUNG, "FRESH": YOUNG, "STALE": dict(YOUNG, max_age="1s"),
        "EXPIRED": dict(YOUNG, max_age="1s", stale_max="1s")}


def recipients(role):
    """Whom to write to for each kind of key."""
    if role == "domains":       # of ours, but not in this table, is a subdomain
        return {HIT: "user@box.test", MISS: "user@sub.box.test", OTHER: "user@far.test"}
    found = {HIT: "user@box.test", MISS: "nobody@box.test"}
    if role != "mailboxes":     # which is only asked about domains that Postfix takes for ours
        found[OTHER] = "user@far.test"
    return found


def map_name(role, policy):
    return "%s_%s" % (role, policy)


def table(role, policy):
    return "socketmap:unix:socketmapd/socketmap:" + map_name(role, policy)


def make_postfix():
    """
    A smtpd and a trivial-rewrite for each role and policy; all else is static. Each process
    serves one session, as trivial-rewrite remembers what it was told of "*" for 30 s.
    """
    services = [("cleanup", "cleanup", {})]
    for role in ROLES:
        for policy in POLICIES:
            name, rewrite, smtpd = map_name(role, policy), {}, {}
            rewrite["virtual_mailbox_domains"] = "inline:{box.test=x}"
            smtpd["virtual_mailbox_maps"] = "static:x"
            if role == "mailboxes":
                smtpd["virtual_mailbox_maps"] = table(role, policy)
            elif role == "domains":
                rewrite["virtual_mailbox_domains"] = table(role, policy)
                smtpd["smtpd_relay_restrictions"] = "reject_unauth_destination"
            elif role == "access":
                smtpd["smtpd_recipient_restrictions"] = "check_recipient_access " + \
                    table(role, policy)
            else:
                rewrite["transport_maps"] = table(role, policy)
            smtpd["rewrite_service_name"] = "rewrite_" + name
            smtpd["max_use"] = rewrite["max_use"] = "1"
            services.append((name, "smtpd", smtpd))
            services.append(("rewrite_" + name, "trivial-rewrite", rewrite))
    return Postfix(services, smtpd_delay_reject="yes", mydestination="")


def start_server(postfix):
    server = Server()
    server.socket = postfix.dir + "/queue/socketmapd/socketmap"
    os.mkdir(os.path.dirname(server.socket))
    server.listeners = [server.listener(mode="0660", group="postfix")]
    directories = {role: Directory(server.dir, role) for role in ROLES}
    directories["ours"] = Directory(server.dir, "ours")
    directories["ours"].rows({"box.test": "x", "sub.box.test": "x"})
    server.sources = [d.source() for d in directories.values()]
    server.maps["ours"] = {"source": "ours", "search": "domain", "mode": "mirror",
                           "on_miss": "notfound", "stale_miss": "notfound"}
    for role, (key, value, *_) in ROLES.items():
        directories[role].rows({key: value, "other@elsewhere.test": "x"})
        directories[role].script("scan * down not yet")
        for policy in POLICIES:
            server.maps[map_name(role, policy)] = dict(
                YOUNG, source=role, mode="mirror", on_miss="notfound", stale_miss=policy,
                search={"domains": "exact", "access": "mail_access", "transport": "transport",
                        "mailboxes": "address"}[role],
                **({"domains": "ours"} if policy == "domain" else {}))
    return server.start(), directories


def states(server):
    """Of all maps but the domain map. Lines of one map come once a second at most."""
    time.sleep(1.1)
    return [f.get("state") for m, f in server.stats().items() if m != "ours"]


def check_state(postfix, server, state):
    for role in ROLES:
        for policy in POLICIES:
            server.maps[map_name(role, policy)].update(AGES[state])
    ok(server.reload(), "settings for " + state)
    ok(wait_for(lambda: states(server) == [state] * len(ROLES) * len(POLICIES), 30),
       "all maps are " + state, server.log()[-2000:])
    for role, (_, _, *outcomes) in ROLES.items():
        for policy, wanted in STATES[state].items():
            with Smtp(postfix, map_name(role, policy)) as smtp:
                for kind, address in recipients(role).items():
                    smtp.say("MAIL FROM:<>")
                    reply = smtp.say("RCPT TO:<%s>" % address)
                    smtp.say("RSET")
                    like(reply, "^" + outcomes[wanted[kind]], "%s, stale_miss = %s, %s: %s: %s" % (
                        state, policy, role, kind, outcomes[wanted[kind]]))


postfix = make_postfix()
server, directories = start_server(postfix)
with server, postfix:
    server.wait_for_reply("ours", "box.test", "OK")
    check_state(postfix, server, "EMPTY")
    for role in ROLES:
        directories[role].script("")
    check_state(postfix, server, "FRESH")
    for role in ROLES:
        directories[role].script("scan * down gone")
    check_state(postfix, server, "STALE")
    check_state(postfix, server, "EXPIRED")
    for role in ROLES:
        directories[role].script("")
    check_state(postfix, server, "FRESH")
done()
