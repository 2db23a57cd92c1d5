#!/usr/bin/env python3
# sanitizers: yes
"""
A real Postfix, chrooted as on Debian, asks through a relative socket path: what each verdict
becomes for a sender (reliability.md 1), and what cleanup makes of extensions and catch-alls.
"""
import os
import sys

sys.path.insert(0, "t/lib")
from harness import *
from postfix import Postfix, Smtp, installed

if os.geteuid() or not installed():
    ok(False, "a Postfix to run, and root to run it")
    done()

# map (also the source): its rows
DATA = {
    "virtual_mailbox_domains": {"box.test": "x", "bücher.test": "x"},
    "virtual_mailbox_maps": {"user@box.test": "box/", "jörg@bücher.test": "box/"},
    "virtual_alias_maps": {"alias@box.test": "user@box.test", "two@box.test": "A@x.test, b@y.test",
                           "@catch.test": "all@box.test", "real@catch.test": "user@box.test",
                           "same@catch.test": "same@catch.test"},
    "virtual_alias_domains": {"catch.test": "x"},
    "check_recipient_access": {"blocked@box.test": "554 5.7.1 blocked", "user@box.test": "DUNNO"},
    "transport_maps": {"routed@box.test": "smtp:[relay.test]"},
    "relay_domains": {"relayed.test": "x"},
    "relay_recipient_maps": {"known@relayed.test": "x"},
}
# What makes a map fail for an address: map, key it is asked with, recipient, wanted reply.
FAILURES = [
    ("virtual_mailbox_maps", "temp1@box.test", "temp1@box.test", "451 4.3.0"),
    ("virtual_mailbox_maps", "temp2+x@box.test", "temp2+x@box.test", "451 4.3.0"),
    ("virtual_mailbox_maps", "silent@box.test", "silent@box.test", "451 4.3.0"),
    ("virtual_mailbox_maps", "killed@box.test", "killed@box.test", "451 4.3.0"),
    ("virtual_mailbox_maps", "garbage@box.test", "garbage@box.test", "451 4.3.0"),
    ("virtual_mailbox_maps", "zero@box.test", "zero@box.test", "451 4.3.0"),
    ("virtual_mailbox_domains", "temp.test", "user@temp.test", "451 4.3.0"),
    ("virtual_alias_maps", "temp3@box.test", "temp3@box.test", "451 4.3.0"),
    ("check_recipient_access", "temp4@box.test", "temp4@box.test", "451 4.3.5"),
    ("transport_maps", "temp5@box.test", "temp5@box.test", "451 4.3.0"),
    ("relay_domains", "temp6.test", "u@temp6.test", "451 4.3.0"),
    ("relay_recipient_maps", "temp7@relayed.test", "temp7@relayed.test", "451 4.3.0"),
]
HOW = {"silent": "silent", "killed": "value x; die", "garbage": "raw hello\\n",
       "zero": "value x; done 0"}
OUTCOMES = [
    ("user@box.test", "250"),
    ("USER@Box.TEST", "250"),
    ("user+ext@box.test", "250"),
    ("jörg@bücher.test", "250"),
    ("JÖRG+x@BÜCHER.test", "250"),
    ("nobody@box.test", "550 5.1.1"),
    ("user@elsewhere.test", "554 5.7.1"),
    ("alias@box.test", "250"),
    ("any@catch.test", "250"),
    ("blocked@box.test", "554 5.7.1"),
    ("known@relayed.test", "250"),
    ("unknown@relayed.test", "550 5.1.1"),
]
# recipient, what cleanup makes of it
REWRITES = [
    ("user@box.test", ["user@box.test"]),
    ("alias@box.test", ["user@box.test"]),
    ("Alias+Ext@box.test", ["user+Ext@box.test"]),
    ("two+e@box.test", ["A+e@x.test", "b+e@y.test"]),
    ("any@catch.test", ["all@box.test"]),
    ("any+ext@catch.test", ["all@box.test"]),
    ("real+ext@catch.test", ["user+ext@box.test"]),
    ("same@catch.test", ["same@catch.test"]),
]


def start_server(postfix):
    """Listening in the queue directory, for the group postfix alone."""
    server = Server(recipient_delimiter="+", local_domains=["host.test"])
    os.makedirs(postfix.dir + "/queue/socketmapd")
    server.socket = postfix.dir + "/queue/socketmapd/socketmap"
    server.listeners = [server.listener(mode="0660", group="postfix")]
    directories = {}
    for map, rows in DATA.items():
        directories[map] = d = Directory(server.dir, map)
        d.rows(rows)
        server.sources.append(d.source(timeout="1s"))
        server.maps[map] = {"source": map, "mode": "demand", "negative_ttl": "1s"}
    return server.start(), directories


def table(name):
    return "socketmap:unix:socketmapd/socketmap:" + name


def make_postfix():
    restrictions = {
        "smtpd_relay_restrictions": "reject_unauth_destination",
        "smtpd_recipient_restrictions": "check_recipient_access " + table("check_recipient_access"),
        "smtpd_delay_reject": "yes",
    }
    parameters = {name: table(name) for name in DATA if name != "check_recipient_access"}
    postfix = Postfix([("smtp", "smtpd", restrictions), ("cleanup", "cleanup", {}),
                       ("rewrite", "trivial-rewrite", {})],
                      recipient_delimiter="+", mydestination="host.test", **parameters)
    with open(postfix.dir + "/conf/master.cf", encoding="utf-8") as f:
        chrooted = f.read().replace(" - n - 0 ", " - y - 0 ")
    replace(postfix.dir + "/conf/master.cf", chrooted)
    return postfix


def rcpt(postfix, address, sender=[0]):
    """The reply to one recipient; the sender is new, as smtpd remembers pairs."""
    sender[0] += 1
    with Smtp(postfix, "smtp") as smtp:
        smtp.say("MAIL FROM:<s%d@far.test> SMTPUTF8" % sender[0])
        return smtp.say("RCPT TO:<%s>" % address)


def check_failures(postfix, directories):
    for map, key, recipient, wanted in FAILURES:
        how = next((h for word, h in HOW.items() if word in key), "down gone")
        directories[map].script("lookup %s %s" % (key, how))
        begin = time.monotonic()
        like(rcpt(postfix, recipient), "^" + wanted, "%s fails for %s: %s" % (map, key, wanted))
        ok(time.monotonic() - begin < 5 * SLOW, "%s fails for %s: soon" % (map, key))
        directories[map].script("")
    reply = [None]

    def is_back():
        reply[0] = rcpt(postfix, "temp1@box.test")
        return reply[0].startswith("550")
    directories["virtual_mailbox_maps"].script("")
    wait_for(is_back)
    like(reply[0], "^550 5.1.1", "when it is back, unknown is unknown again")


def check_rewriting(postfix):
    for recipient, wanted in REWRITES:
        with Smtp(postfix, "smtp") as smtp:
            reply = smtp.send("s@far.test", [recipient])
        queue_id = reply.rpartition(" ")[2]
        if like(reply, "^250 2.0.0 Ok: queued as ", "%s is taken" % recipient):
            recipients = [r for _, r in postfix.queued(queue_id)[1]]
            same(recipients, wanted, "%s goes to %s" % (recipient, " ".join(wanted)))


def check_outage(postfix, server):
    """Without the server nothing is bounced, and its return needs nobody's help."""
    like(rcpt(postfix, "user@box.test"), "^250", "before an outage")
    same(server.stop(), None, "the server stops")
    like(rcpt(postfix, "user@box.test"), "^451 ", "without the server: 451")
    like(rcpt(postfix, "nobody@box.test"), "^451 ", "for unknown users, too")
    server.start()
    like(rcpt(postfix, "user@box.test"), "^250", "and when it is back, 250 at once")
    like(rcpt(postfix, "nobody@box.test"), "^550", "and 550")


postfix = make_postfix()
server, directories = start_server(postfix)
with server, postfix:
    for recipient, wanted in OUTCOMES:
        like(rcpt(postfix, recipient), "^" + wanted, "%s: %s" % (recipient, wanted))
    check_rewriting(postfix)
    check_failures(postfix, directories)
    check_outage(postfix, server)
done()
