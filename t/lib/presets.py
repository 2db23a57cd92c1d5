"""The ready configurations in contrib/ and maps.d/, moved to where a test has its directory."""
import os
import re

from harness import Server, free_port, like, ok, replace, same, wait_for
from postfix import Postfix, Resolver, Smtp

NO = "NOTFOUND "
# What turns a copied table into one that is asked for every key.
OF_MIRRORS = (r"\n *(mode|scan_query|scan_filter|key_attribute|key_pattern|refresh|min_entries|"
              r"on_miss|stale_miss|domains|change_query|change_check|change_interval|expiry_\w+|"
              r"ignore_references|export) = [^;]*;[^\n]*")


class Preset(Server):
    """
    The server with a configuration of contrib/, moved into the queue directory of a Postfix.

    moved   what else is replaced in it: (pattern, text) pairs
    edit    changes the text of a map
    """

    def __init__(self, name, queue, moved, edit=None):
        super().__init__()
        with open("contrib/%s.conf" % name, encoding="utf-8") as f:
            text = f.read().replace("/var/spool/postfix", queue)
        text = text.replace("/run/socketmapd", self.dir)
        text = text.replace("127.0.0.1:9199", "127.0.0.1:%d" % free_port())
        for pattern, new in moved:
            text = re.sub(pattern, lambda _, new=new: new, text)
        secret = self.dir + "/" + re.search(r'(?:password|bind_pw)_file = "(.*)"', text)[1]
        self.conf_text = 'threads = 2;\nlog_keys = "full";\nstate_directory = "%s";\n%s' % (
            self.state, text)
        self.listeners = [{"address": re.search(r'address = "(.*)"', text)[1]}]
        os.makedirs(queue + "/socketmapd")
        os.mkdir(self.dir + "/maps.d")
        self.map_names = sorted(f[:-5] for f in os.listdir("maps.d/" + name))
        self.n_copies = 0
        for map in self.map_names:
            with open("maps.d/%s/%s.conf" % (name, map), encoding="utf-8") as f:
                text = f.read()
            text = edit(text) if edit else text
            text = text.replace("/var/lib/socketmapd", self.state)
            self.n_copies += len(re.findall('^ *mode = "mirror"', text, re.M))
            replace("%s/maps.d/%s.conf" % (self.dir, map), text)
        replace(secret, "secret\n")
        os.chmod(secret, 0o600)

    def write(self):
        replace(self.conf, self.conf_text)

    def wait_for_copies(self, name):
        """All tables that are mirrors have been scanned."""
        ok(wait_for(lambda: len(self.events("refreshed")) >= self.n_copies),
           name + ": all tables are copied", self.log())

    def has_no_trouble(self, name):
        for event in "mirror_differs", "refresh_rejected", "lookup_failed", "source_failed":
            same(self.events(event), [], "%s: no %s" % (name, event))


def copies_alone(text):
    """Nothing is asked for, so that all answers come from scans."""
    text = re.sub(r'\n *on_miss = "notfound";', "", text)
    text = re.sub(r'refresh = "\d+m"', 'refresh = "1s"', text)
    text = re.sub(r'change_interval = "10s"', 'change_interval = "1s"', text)
    return re.sub(r'mode = "mirror";', 'mode = "mirror"; on_miss = "notfound";', text)


def lookups_alone(text):
    """Nothing is copied, so that all answers come from lookups."""
    return re.sub(OF_MIRRORS, "", text)


def make_postfix(name, services=(), **main):
    """One with the parameters that the file in contrib/ has for main.cf; chrooted, as in Debian."""
    with open("contrib/%s.conf" % name, encoding="utf-8") as f:
        parameters = dict(re.findall(r"^#   (\w+) =(?: (\S+))?$", f.read(), re.M))
    relay = {"smtpd_relay_restrictions": "reject_unauth_destination"}
    main = {"recipient_delimiter": "+", "mydestination": "localhost.test",
            "virtual_transport": "dovecot", **parameters, **main}
    postfix = Postfix([("smtp", "smtpd", relay), ("cleanup", "cleanup", {}),
                       ("rewrite", "trivial-rewrite", {}), *services], **main)
    with open(postfix.dir + "/conf/master.cf", encoding="utf-8") as f:
        chrooted = f.read().replace(" - n - 0 ", " - y - 0 ")
    replace(postfix.dir + "/conf/master.cf", chrooted)
    return postfix


def check_mail(postfix, recipients, mail, routes=()):
    """
    recipients  (recipient, how smtpd's reply begins)
    mail        (sender, recipient, to whom cleanup sends it)
    routes      (sender, recipient, (transport, next hop))
    """
    with Smtp(postfix, "smtp") as smtp:
        for recipient, want in recipients:
            smtp.say("RSET", "MAIL FROM:<s@far.test>")
            like(smtp.say("RCPT TO:<%s>" % recipient), "^" + want, "%s: %s" % (recipient, want))
        for sender, recipient, want in mail:
            reply = smtp.send(sender, [recipient])
            if like(reply, "^250 2.0.0 Ok: queued as ", "%s is taken" % recipient):
                got = [r for _, r in postfix.queued(reply.rpartition(" ")[2])[1]]
                same(sorted(got), sorted(want.split()), "%s to %s" % (sender, recipient))
    with Resolver(postfix, "rewrite") as resolver:
        for sender, recipient, want in routes:
            same(resolver.resolve(sender, recipient)[:2], want,
                 "the route from %s to %s" % (sender, recipient))
