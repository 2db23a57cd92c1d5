"""
What t/route.t sends through Postfix: for each parameter a table, the addresses or names to look
up, and the services that do it. Every table exists three times: as texthash: file, which is the
truth, and as the maps NAME and NAME_exact of socketmapd.
"""

# The local parts: what Postfix's search rules tell apart. Internal form, without quotes.
LOCALS = [
    "joe", "joe+x", "joe+X-y", "joe-x", "joe+", "joe++x", "+joe", "Joe+MiXed", "JOE",
    "ann", "ann+news", "ANN+News", "ann+news+more", "ann-news", "ann+other",
    "a b", "A b+x", "a+b c", "a@b", "a@b+x", "q\"q", "q\"q+x", "q\\q", "a,b", "(c)+<d>",
    "dot.", "dot.+x", "raw.", "raw.+x", "two..dots", "two..dots+x", "joe..+x", ".lead",
    "jörg", "JÖRG+Ä", "straße", "STRASSE-x", "\u017filk", "\u0130x", "o\u0308", "ö",
    "owner-list", "Owner-list+x", "owner", "list-request", "list+x-request", "list-requests",
    "postmaster", "PostMaster+x", "mailer-daemon", "mailer-daemon+x", "double-bounce",
    "none", "none+x", "x!y", "x%y", "x!y+z", "joe+a b", "joe+\"", "joe+a@b", "joe+!z", "joe+%z",
    "*", "@joe", "unknown",
]
DOMAINS = ["plain.test", "catch.test", "local.test"]
MORE_DOMAINS = ["Plain.TEST", "sub.plain.test", "bücher.test", "BÜCHER.test",
                "xn--bcher-kva.test", "[192.0.2.1]", "other.test", "plain.test."]

OWN = "plain.test, catch.test, sub.plain.test, bücher.test, xn--bcher-kva.test"
LOCAL = OWN + ", local.test"    # where only local_recipient_maps is tried

BROKEN = [l + "@plain.test" for l in ("loop", "loop+x", "bad", "bad+x", "self", "Self+x", "1000",
                                     "1000+x", "1001", "1001+x", "long", "long+x")]

# The keys: one for each rule, and decoys that no address must find.
LOCAL_KEYS = ["joe", "ann+News", '"a b"', '"a@b"', '"q\\"q"', '"a,b"', '"(c)"', '"dot."', "raw.",
              "two..dots", "Jörg", "strasse", "silk", "ö", "owner", "list", "postmaster",
              "mailer", "double", "x!y", "x%y"]
DECOYS = ["*", "@", "plain.test", ".test", "test", "joe@", "@plain", "plain.test@"]


def quoted(local):
    """The local part as it stands in an SMTP command (quote_822_local.c)."""
    if local and not set(local) & set(' ()<>@,;:\\"[]') and ".." not in local and \
            local[0] != "." and local[-1] != ".":
        return local
    return '"%s"' % local.replace("\\", "\\\\").replace('"', '\\"')


def internal_addresses():
    pairs = [(l, d) for d in DOMAINS for l in LOCALS + [""]]
    some = LOCALS[:4] + ["ann+news+x", "a b+x", "none", "jörg"]
    return pairs + [(l, d) for d in MORE_DOMAINS for l in some]


def addresses():
    """All as SMTP commands hold them, and some in forms that only lenient servers take."""
    return [quoted(l) + "@" + d for l, d in internal_addresses()] + \
        ["a@b@plain.test", "joe", "joe+x", "@plain.test", "joe@plain", "x%plain.test@local.test",
         "plain.test!joe", "joe@[192.0.2.1", "a b@plain.test", '"joe"@plain.test']


def address_keys():
    keys = [l + "@" + d for d in ("plain.test", "catch.test") for l in LOCAL_KEYS]
    keys += LOCAL_KEYS + ["joe@local.test", "@catch.test", "joe@bücher.test", "joe@[192.0.2.1]",
                          "@[192.0.2.1]", "joe@sub.plain.test", "<>", '"<>"']
    return keys + DECOYS


def access_keys():
    """Of check_sender_access: "test" would hide what is asked after the domains."""
    return [k for k in address_keys() if k != "test"] + ["ann+news@", '"a b"@', "jörg@"]


def rewriting_keys():
    """
    Without the raw key "raw.": smtpd finds it for raw.+x, so that RCPT passes, but cleanup does
    not, so that mail bounces. Over socketmap both send the same key and get cleanup's answer.
    """
    return [k for k in address_keys() if not k.startswith("raw.")]


def rows(keys, value):
    """{key: value(n)}: each row tells which one was found."""
    return {k: value(n) for n, k in enumerate(dict.fromkeys(keys))}


ALIASES = ["x%d@other.test", "x%d@other.test, Y@other.test", '"z %d"@other.test', "bare%d",
           "<u%d@other.test>", "Full Name <u%d@other.test>, v@other.test", "@other.test",
           "g%d: a@other.test, b@other.test;", "u%d%%other.test", "a%d@other.test (comment)",
           "ann+news@plain.test, k%d@other.test", "other.test!bang%d", "m%d@sub.plain.test"]


def alias(n):
    value = ALIASES[n % len(ALIASES)]
    return value % n if "%" in value else value


def canonical(n):
    values = ["c%d@other.test", '"c %d"@other.test', "@other.test", "C%d", "<c%d@other.test>"]
    return values[n % 5].replace("%d", str(n))


def transport(n):
    values = ["lmtp:n%d", "smtp:[n%d]", ":n%d", "n%d:", "error:5.1.2 n%d", "relay:n%d.test:25"]
    return values[n % 6].replace("%d", str(n))


def reject(n):
    values = ["REJECT row %d", "450 4.7.1 later %d", "OK", "554 5.7.1 no %d", "DUNNO"]
    return values[n % 5].replace("%d", str(n))


# Host and domain names, for HELO, clients and domain lists.
NAMES = [prefix + n for prefix in ("", "x.", "A.b.", "x") for n in
         ("mail.client.test", "Mail.CLIENT.test", "client.test", "test", "dotted.test",
          "a.dotted.test", "only.sub.test", "sub.test", "localhost", "unknown", "10.dyn.test",
          "bücher.test", "BÜCHER.test", "xn--bcher-kva.test", "straße.test", "other.invalid",
          "under_score.client.test", "192.0.2.33")]
NAMES += ["client.test.", "192.0.2.34", "198.51.100.7", "2001:db8::1", "[192.0.2.33]",
          "[198.51.100.7]", "[IPv6:2001:db8::1]", "[192.0.2.33", "a..client.test", ".client.test"]
NAME_KEYS = ["client.test", "mail.client.test", ".dotted.test", "only.sub.test", "localhost",
             "unknown", "192.0.2.33", "198.51.100", "192.0", "10", "33", "2.33", "7", ".test",
             "bücher.test", ".strasse.test", "[192.0.2.33]", "100.7]", "*", "@client.test",
             "2001:db8", "2001:db8::1", "203.0.113.9", "203.0.113", ":"]
ADDRESSES = ["192.0.2.33", "192.0.2.34", "192.0.3.1", "192.1.0.1", "198.51.100.7", "198.51.101.7",
             "203.0.113.9", "203.0.113.10", "10.1.2.3", "100.7.0.1", "33.33.33.33", "7.7.7.7",
             "IPV6:2001:db8::1", "IPV6:2001:DB8::2", "IPV6:2001:db8:1::2", "IPV6:2001:db9::1",
             "IPV6:::1"]


def is_host_name(name):
    """What XCLIENT takes for a NAME."""
    return name.isascii() and not set(name) & set("[]_:") and ".." not in name and \
        name[0] != "." and name[-1] != "." and not name.replace(".", "").isdigit()


CLIENTS = [(n, "203.0.113.200") for n in NAMES if is_host_name(n)] + \
    [("[UNAVAILABLE]", a) for a in ADDRESSES]


class Table:
    """Rows; what socketmapd has to be told of it beyond its name; or several tables in order."""

    def __init__(self, rows, *more, **settings):
        self.tables, self.settings = (rows,) + more, settings


TABLES = {
    "virtual_alias_maps": Table(rows(rewriting_keys(), alias)),
    "two": Table({"@plain.test": "catch@other.test", "joe@plain.test": "first@other.test",
                  "ann@plain.test": "first@other.test, joe@catch.test"},
                 {"joe@plain.test": "second@other.test", "ann+news@plain.test": "second@other.test",
                  "x@plain.test": "x@other.test", "@catch.test": "@other.test"}, search="virtual"),
    "overridden": Table(rows(rewriting_keys(), alias), search="virtual", recipient_delimiter="-",
                        owner_request_special=False, propagate_unmatched_extensions=["generic"]),
    "broken": Table({"loop@plain.test": "pool@plain.test", "pool@plain.test": "loop@plain.test",
                     "bad@plain.test": ",", "self@plain.test": "SELF@plain.test, x@other.test",
                     "1000@plain.test": ", ".join("u%d@other.test" % i for i in range(1000)),
                     "1001@plain.test": ", ".join("u%d@other.test" % i for i in range(1001)),
                     "long@plain.test": "x" * 1000 + "@other.test"}, search="virtual"),
    "recipient_canonical_maps": Table(rows(rewriting_keys(), canonical)),
    "sender_canonical_maps": Table(rows(rewriting_keys(), canonical)),
    "recipient_bcc_maps": Table(rows(address_keys(), lambda n: "bcc%d@other.test" % n)),
    "sender_bcc_maps": Table(rows(address_keys(), lambda n: "bcc%d@other.test" % n)),
    "virtual_mailbox_maps": Table(rows(address_keys(), "box{}/".format)),
    "relay_recipient_maps": Table(rows(address_keys(), "relay{}".format)),
    "local_recipient_maps": Table(rows(address_keys(), "local{}".format),
                                  local_domains=LOCAL.split(", ")),
    "smtpd_sender_login_maps": Table(rows(address_keys(), "login{}".format)),
    "check_sender_access": Table(rows(access_keys(), reject)),
    "check_recipient_access": Table(rows(access_keys()[::-1], reject)),
    "check_helo_access": Table(rows(NAME_KEYS, reject)),
    "check_client_access": Table(rows(NAME_KEYS, reject)),
    "mynetworks": Table(rows(NAME_KEYS, str)),
    "transport_maps": Table(rows([k for k in address_keys() if k not in ("plain.test", ".test")]
                                 + [".plain.test", "bücher.test", "local.test"], transport)),
    "domain_transport": Table(rows(NAME_KEYS + ["none@test", "joe"], transport),
                              search="transport"),
    "plain_transport": Table(rows(NAME_KEYS + ["none@test", "joe"], transport),
                             search="transport", parent_domain_style="plain"),
    "dotted_relay": Table(rows(NAME_KEYS, str), search="domain", parent_domain_style="dotted"),
    "dotted_helo": Table(rows(NAME_KEYS, reject), search="domain_access",
                         parent_domain_style="dotted"),
    "dotted_sender": Table(rows(access_keys() + [".plain.test"], reject),
                           search="mail_access", parent_domain_style="dotted"),
    "relocated_maps": Table(rows(address_keys(), "new{}@other.test".format)),
    "sender_dependent_relayhost_maps": Table(rows(address_keys(), "[relay{}]".format)),
    "sender_dependent_default_transport_maps": Table(rows(address_keys(), "smtp{}".format)),
    "mydestination": Table(rows(NAME_KEYS, str)),
    "virtual_alias_domains": Table(rows(NAME_KEYS, str)),
    "virtual_mailbox_domains": Table(rows(NAME_KEYS, str)),
    "relay_domains": Table(rows(NAME_KEYS, str)),
}

class Group:
    """
    One set of services. `options` hold {NAME} where the table NAME goes, and `probes` names what
    to do with them (t/route.t). Domain classes are literals, so that each test is of one table.
    """

    def __init__(self, name, probes, options, domains="virtual_alias_domains"):
        self.name, self.probes, self.options = name, probes.split(), options
        self.domains = {domains: OWN} if domains else {}


GROUPS = [
    Group("alias", "rcpt expand", {"virtual_alias_maps": "{virtual_alias_maps}"}),
    Group("two", "rcpt expand", {"virtual_alias_maps": "{two}"}),
    Group("overridden", "rcpt expand",
          {"virtual_alias_maps": "{overridden}", "recipient_delimiter": "-",
           "owner_request_special": "no", "propagate_unmatched_extensions": "generic"}),
    Group("broken", "single", {"virtual_alias_maps": "{broken}"}),
    Group("canonical", "rcpt expand senders",
          {"recipient_canonical_maps": "{recipient_canonical_maps}",
           "sender_canonical_maps": "{sender_canonical_maps}"}),
    Group("bcc", "expand senders", {"recipient_bcc_maps": "{recipient_bcc_maps}",
                                    "sender_bcc_maps": "{sender_bcc_maps}"}),
    Group("mailbox", "rcpt", {"virtual_mailbox_maps": "{virtual_mailbox_maps}"},
          "virtual_mailbox_domains"),
    Group("relay", "rcpt", {"relay_recipient_maps": "{relay_recipient_maps}"}, "relay_domains"),
    Group("local", "rcpt", {"local_recipient_maps": "{local_recipient_maps}",
                            "mydestination": LOCAL}, None),
    Group("login", "from", {"smtpd_sender_login_maps": "{smtpd_sender_login_maps}",
                            "smtpd_sasl_auth_enable": "yes", "smtpd_sasl_type": "dovecot",
                            "smtpd_sasl_path": "{auth}",
                            "smtpd_recipient_restrictions":
                            "reject_sender_login_mismatch, permit"}),
    Group("sender", "from",
          {"smtpd_recipient_restrictions": "check_sender_access {check_sender_access}, permit"}),
    Group("recipient", "rcpt",
          {"smtpd_recipient_restrictions":
           "check_recipient_access {check_recipient_access}, permit",
           "smtpd_reject_unlisted_recipient": "no"}),
    Group("dotted_access", "from helo",
          {"smtpd_recipient_restrictions":
           "check_helo_access {dotted_helo}, check_sender_access {dotted_sender}, permit",
           "parent_domain_matches_subdomains": ""}),
    Group("helo", "helo",
          {"smtpd_recipient_restrictions": "check_helo_access {check_helo_access}, permit"}),
    Group("client", "client",
          {"smtpd_recipient_restrictions": "check_client_access {check_client_access}, permit"}),
    Group("mynetworks", "client", {"mynetworks": "{mynetworks}",
                                   "smtpd_recipient_restrictions": "permit_mynetworks, reject"}),
    Group("transport", "resolve", {"transport_maps": "{transport_maps}"}, "relay_domains"),
    Group("domain_transport", "resolve domains", {"transport_maps": "{domain_transport}"}, None),
    Group("plain_transport", "resolve domains",
          {"transport_maps": "{plain_transport}",
           "parent_domain_matches_subdomains": "transport_maps"}, None),
    Group("dotted_relay", "domains", {"relay_domains": "{dotted_relay}",
                                      "parent_domain_matches_subdomains": ""}, None),
    Group("relocated", "resolve", {"relocated_maps": "{relocated_maps}"}, "relay_domains"),
    Group("relayhost", "resolve_sender",
          {"sender_dependent_relayhost_maps": "{sender_dependent_relayhost_maps}"}),
    Group("default_transport", "resolve_sender",
          {"sender_dependent_default_transport_maps":
           "{sender_dependent_default_transport_maps}"}),
    Group("mydestination", "domains", {"mydestination": "{mydestination}"}, None),
    Group("alias_domains", "domains", {"virtual_alias_domains": "{virtual_alias_domains}"}, None),
    Group("mailbox_domains", "domains",
          {"virtual_mailbox_domains": "{virtual_mailbox_domains}"}, None),
    Group("relay_domains", "domains", {"relay_domains": "{relay_domains}"}, None),
]
