#include "daemon/conf_parts.h"

#include "base/hosts.h"
#include "base/ldap_filter.h"
#include "base/must.h"

#include <stdlib.h>

/* What libldap of Debian is told by ldap.conf, which no driver of ours reads. */
#define SYSTEM_CA "/etc/ssl/certs/ca-certificates.crt"

static const char *const bind_words[] = { "yes", "no", "none", "simple", "sasl", NULL };
static const char *const scope_words[] = { "sub", "one", "base", NULL };
static const char *const change_words[] = { "contextCSN", "modifyTimestamp", NULL };

static const struct option_row ldap_source_rows[] = {
	{ "server_host", OPTION_LIST, .otherwise = "localhost", .flags = OPTION_POSTFIX,
	  .help = "as in Postfix: URLs or hosts, tried in this order" },
	{ "server_port", OPTION_COUNT, .min = 1, .max = 65535, .otherwise = "389",
	  .flags = OPTION_POSTFIX, .help = "as in Postfix: of hosts without a port" },
	{ "version", OPTION_COUNT, .min = 2, .max = 3, .otherwise = "3",
	  .flags = OPTION_POSTFIX, .help = "of the protocol" },
	{ "bind", OPTION_WORD, .words = bind_words, .computed = "by bind_dn: simple or none",
	  .flags = OPTION_POSTFIX, .help = "as in Postfix: how to log in" },
	{ "bind_dn", OPTION_TEXT, .flags = OPTION_POSTFIX,
	  .help = "as in Postfix: as whom" },
	{ "bind_pw", OPTION_TEXT, .min = 1, .flags = OPTION_POSTFIX | OPTION_SECRET,
	  .help = "its password; bind_pw_file is safer" },
	{ "bind_pw_file", OPTION_PATH, .min = 1, .flags = OPTION_TUNING,
	  .help = "instead: read from this file at each connect" },
	{ "bind_pw_credential", OPTION_TEXT, .min = 1, .flags = OPTION_TUNING,
	  .help = "instead: the systemd credential of that name" },
	{ "bind_pw_cf", OPTION_PATH, .min = 1, .flags = OPTION_TUNING,
	  .help = "instead: the bind_pw in this Postfix table file" },
	{ "sasl_mechs", OPTION_TEXT, .flags = OPTION_POSTFIX,
	  .help = "with bind = \"sasl\", as in Postfix" },
	{ "sasl_realm", OPTION_TEXT, .flags = OPTION_POSTFIX, .help = "the same" },
	{ "sasl_authz_id", OPTION_TEXT, .flags = OPTION_POSTFIX, .help = "the same" },
	{ "sasl_minssf", OPTION_COUNT, .max = 4096, .otherwise = "0",
	  .flags = OPTION_POSTFIX, .help = "the same" },
	{ "start_tls", OPTION_BOOL, .otherwise = "false",
	  .flags = OPTION_POSTFIX | OPTION_TUNING,
	  .help = "encrypt ldap:// connections" },
	{ "tls_require_cert", OPTION_BOOL, .otherwise = "true",
	  .flags = OPTION_POSTFIX | OPTION_TUNING,
	  .help = "whether the server's certificate must be right" },
	{ "tls_ca_cert_file", OPTION_PATH, .flags = OPTION_POSTFIX | OPTION_TUNING,
	  .computed = "of the system", .help = "whose certificates are believed" },
	{ "tls_ca_cert_dir", OPTION_PATH, .flags = OPTION_POSTFIX | OPTION_TUNING,
	  .help = "the same, as a directory" },
	/* With EXTERNAL it says who we are, and so what we may see. */
	{ "tls_cert", OPTION_PATH, .flags = OPTION_POSTFIX,
	  .help = "our certificate" },
	{ "tls_key", OPTION_PATH, .flags = OPTION_POSTFIX | OPTION_TUNING,
	  .help = "its key" },
	{ "tls_cipher_suite", OPTION_TEXT, .flags = OPTION_POSTFIX | OPTION_TUNING,
	  .help = "the ciphers, as the TLS library of libldap writes them" },
	{ "dereference", OPTION_COUNT, .max = 3, .otherwise = "0", .flags = OPTION_POSTFIX,
	  .help = "as in Postfix: when to follow alias entries" },
	{ "chase_referrals", OPTION_BOOL, .otherwise = "false", .flags = OPTION_POSTFIX,
	  .help = "as in Postfix: go where the server sends us" },
	{ "page_size", OPTION_COUNT, .max = 1000000, .otherwise = "500",
	  .flags = OPTION_TUNING,
	  .help = "entries of a scan per request; 0: all in one" },
	{ "connect_timeout", OPTION_TIME, .min = 100, .max = 600000, .otherwise = "2s",
	  .flags = OPTION_TUNING,
	  .help = "for one host to be connected and logged in to" },
	{ "retry_interval", OPTION_TIME, .min = 1000, .max = 86400000, .otherwise = "60s",
	  .flags = OPTION_TUNING, .help = "how long a host that failed is left alone" },
	{ "idle_interval", OPTION_TIME, .min = 1000, .max = 86400000, .otherwise = "60s",
	  .flags = OPTION_TUNING, .help = "when an unused connection is closed" },
	{ 0 }
};

static const struct option_row ldap_table_rows[] = {
	{ "search_base", OPTION_TEXT, .flags = OPTION_REQUIRED | OPTION_POSTFIX,
	  .help = "as in Postfix: where the entries are" },
	{ "scope", OPTION_WORD, .words = scope_words, .otherwise = "sub",
	  .flags = OPTION_POSTFIX, .help = "as in Postfix: how far below" },
	{ "query_filter", OPTION_TEXT, .min = 1, .otherwise = "(mailacceptinggeneralid=%s)",
	  .flags = OPTION_POSTFIX, .help = "as in Postfix: which entries a key has" },
	{ "result_attribute", OPTION_LIST, .otherwise = "maildrop", .flags = OPTION_POSTFIX,
	  .help = "as in Postfix: what is in its values" },
	{ "terminal_result_attribute", OPTION_LIST, .otherwise = "", .flags = OPTION_POSTFIX,
	  .help = "as in Postfix: the only ones, in entries that have one" },
	{ "leaf_result_attribute", OPTION_LIST, .otherwise = "", .flags = OPTION_POSTFIX,
	  .help = "as in Postfix: only of entries that lead nowhere" },
	{ "special_result_attribute", OPTION_LIST, .otherwise = "", .flags = OPTION_POSTFIX,
	  .help = "as in Postfix: DNs and URLs of entries that count, too" },
	{ "recursion_limit", OPTION_COUNT, .min = 1, .otherwise = "1000",
	  .flags = OPTION_POSTFIX, .help = "as in Postfix: how deep they lead" },
	{ "size_limit", OPTION_COUNT, .computed = "of expansion_limit",
	  .flags = OPTION_POSTFIX, .help = "as in Postfix: entries per search of a lookup; 0: no limit" },
	{ "scan_filter", OPTION_TEXT, .min = 1, .flags = OPTION_MIRROR,
	  .computed = "of query_filter", .help = "the entries of all keys" },
	{ "key_attribute", OPTION_LIST, .flags = OPTION_MIRROR,
	  .computed = "of query_filter", .help = "with scan_filter: where the keys are" },
	{ "key_pattern", OPTION_TEXT, .min = 1, .otherwise = "%s", .flags = OPTION_MIRROR,
	  .help = "with key_attribute: what stands around a key" },
	{ "change_check", OPTION_WORD, .words = change_words,
	  .flags = OPTION_MIRROR | OPTION_TUNING,
	  .help = "what differs when a scan would" },
	{ "ignore_references", OPTION_BOOL, .otherwise = "false", .flags = OPTION_MIRROR,
	  .help = "take a scan without what other servers have" },
	{ "expiry_attribute", OPTION_TEXT, .min = 1, .flags = OPTION_MIRROR,
	  .help = "when the keys of an entry end" },
	{ 0 }
};

static const struct node *where(const struct node *group, const char *name)
{
	const struct node *item = node_find(group, name);

	return item ? item : group;
}

static bool is_true(const struct options *options, const char *name)
{
	const char *value = conf_option_get(options, name);

	return value && strcmp(value, "true") == 0;
}

/* `value` may be the old one. */
static void replace(struct options *options, const char *name, const char *value)
{
	char *copy = must_strdup(value);

	conf_option_drop(options, name);
	conf_option_set(options, name, copy);
	free(copy);
}

/* How to bind, in the words of the driver. */
static const char *bind_of(const struct options *options)
{
	const char *word = conf_option_get(options, "bind");
	const char *dn = conf_option_get(options, "bind_dn");

	if (!word)
		return dn && *dn ? "simple" : "none";
	return strcmp(word, "yes") == 0 ? "simple" : strcmp(word, "no") == 0 ? "none" : word;
}

/* An empty password would be an anonymous bind that looks like success: RFC 4513 5.1.2. */
static void check_bind(struct conf *c, const struct node *group, struct options *options)
{
	const char *bind = bind_of(options), *dn = conf_option_get(options, "bind_dn");
	const struct node *secret = conf_check_secret(c, group, "bind_pw");
	bool has_dn = dn && *dn;

	if (strcmp(bind, "simple") == 0 && !has_dn)
		conf_error(c, where(group, secret ? secret->name : "bind"),
			   "bind_dn is missing: as whom to log in; or bind = \"none\"");
	else if (strcmp(bind, "simple") == 0 && !secret)
		conf_error(c, where(group, "bind_dn"),
			   "bind_dn: there is no password (bind_pw_file, bind_pw), or it "
			   "is empty: the server would let us in as nobody");
	else if (strcmp(bind, "none") == 0 && (has_dn || secret))
		conf_note(c, where(group, has_dn ? "bind_dn" : secret->name),
			  "%s: no effect with bind = \"none\"",
			  has_dn ? "bind_dn" : secret->name);
	replace(options, "bind", bind);
}

static bool is_loopback(const struct host *h)
{
	return h->is_unix || strcmp(h->name, "localhost") == 0 ||
	       strcmp(h->name, "::1") == 0 || strncmp(h->name, "127.", 4) == 0;
}

static void check_clear_text(struct conf *c, const struct node *group,
			     const struct options *options, const struct hosts *hosts)
{
	bool sends_password = strcmp(conf_option_get(options, "bind"), "simple") == 0;

	for (size_t i = 0; sends_password && i < hosts->n; i++)
		if (!hosts->list[i].is_tls && !is_loopback(&hosts->list[i]) &&
		    !is_true(options, "start_tls"))
			conf_note(c, where(group, "server_host"),
				  "server_host: \"%s\" gets the password in the clear: "
				  "start_tls, or ldaps://", hosts->list[i].label);
}

static void check_tls(struct conf *c, const struct node *group, struct options *options,
		      const struct hosts *hosts)
{
	bool starts_tls = is_true(options, "start_tls"), is_ldaps = false;

	for (size_t i = 0; i < hosts->n; i++)
		is_ldaps = is_ldaps || hosts->list[i].is_tls;
	if (starts_tls && is_ldaps)
		conf_error(c, where(group, "start_tls"),
			   "start_tls: ldaps:// is TLS from the start");
	if (!starts_tls && !is_ldaps)
		return;
	if (strcmp(conf_option_get(options, "version"), "3") != 0)
		conf_error(c, where(group, "version"), "version: TLS wants version 3");
	if (!is_true(options, "tls_require_cert"))
		conf_note(c, where(group, "tls_require_cert"),
			  "tls_require_cert: without it, whoever answers is believed, "
			  "and gets the password");
	else if (!conf_option_get(options, "tls_ca_cert_file") &&
		 !conf_option_get(options, "tls_ca_cert_dir"))
		conf_option_set(options, "tls_ca_cert_file", SYSTEM_CA);
}

static void ldap_finish_source(struct conf *c, const struct node *group,
			       struct source_settings *s)
{
	struct options *options = &s->options;
	const char *list = conf_option_get(options, "server_host");
	const char *port = conf_option_get(options, "server_port");
	const char *version = conf_option_get(options, "version");
	struct hosts hosts = { 0 };
	struct buf why = { 0 };

	check_bind(c, group, options);
	if (list && port && version) {	/* they are right, or have defaults */
		unsigned n = (unsigned)strtoul(port, NULL, 10);

		if (!hosts_parse_urls(text_of(list), n, &hosts, &why))
			conf_error(c, where(group, "server_host"), "%s", buf_cstr(&why));
		check_tls(c, group, options, &hosts);
		check_clear_text(c, group, options, &hosts);
		if (strcmp(version, "2") == 0)
			conf_note(c, where(group, "version"),
				  "version: most servers refuse a bind in version 2");
	}
	if (is_true(options, "chase_referrals"))
		conf_note(c, where(group, "chase_referrals"),
			  "chase_referrals: servers that nobody named here are asked, and "
			  "without a bind");
	conf_pass_limits(s);
	hosts_done(&hosts);
	buf_done(&why);
}

/* Is there an expansion: a % that is not %%? */
static bool is_dynamic(const char *template)
{
	const char *p = template;

	while (p && (p = strchr(p, '%')) && p[1] == '%')
		p += 2;
	return p != NULL;
}

static void check_template(struct table_draft *d, const char *name)
{
	const char *source = conf_option_get(&d->block.s.options, name);
	struct buf why = { 0 };
	struct template *t =
		source ? template_new(text_of(source), TEMPLATE_QUERY, &why) : NULL;

	if (t)
		d->block.s.needs = needs_both(d->block.s.needs, template_needs(t));
	else if (source)
		conf_error(d->conf, table_where(d, name), "%s: %s", name, buf_cstr(&why));
	template_free(t);
	buf_done(&why);
}

static bool is_new_attribute(const struct ldap_plan *plan, size_t branch, size_t key)
{
	const char *name = plan->branches[branch].keys[key].attribute;

	for (size_t b = 0; b <= branch; b++)
		for (size_t k = 0; k < (b < branch ? plan->branches[b].n_keys : key); k++)
			if (strcmp(plan->branches[b].keys[k].attribute, name) == 0)
				return false;
	return true;
}

/* "mirror of (mail=*): keys from attributes mail", in the words of the plan. */
static void describe(struct table_draft *d, const struct ldap_plan *plan)
{
	struct buf text = { 0 };

	for (size_t b = 0; b < plan->n; b++)
		buf_printf(&text, "%s%s", b ? " and " : "", plan->branches[b].filter);
	buf_str(&text, ": keys from");
	for (size_t b = 0; b < plan->n; b++)
		for (size_t k = 0; k < plan->branches[b].n_keys; k++)
			if (is_new_attribute(plan, b, k))
				buf_printf(&text, "%s %s", b || k ? "," : "",
					   plan->branches[b].keys[k].attribute);
	conf_note(d->conf, table_where(d, "mode"), NOTE_MIRROR "%s", buf_cstr(&text));
	buf_done(&text);
}

static void check_plan(struct table_draft *d)
{
	const struct options *options = &d->block.s.options;
	const char *query_filter = conf_option_get(options, "query_filter");
	const char *scan_filter = conf_option_get(options, "scan_filter");
	const char *key_attribute = conf_option_get(options, "key_attribute");
	const char *key_pattern = conf_option_get(options, "key_pattern");
	struct ldap_plan plan = { 0 };
	struct buf why = { 0 };
	bool is_explicit = scan_filter || key_attribute || node_find(d->group, "key_pattern");

	if (is_explicit && (!scan_filter || !key_attribute))
		conf_error(d->conf, table_where(d, scan_filter ? "scan_filter" : "mode"),
			   "scan_filter and key_attribute go together");
	else if (is_explicit && !node_find(d->group, "query_filter"))
		conf_error(d->conf, table_where(d, "scan_filter"),
			   "query_filter is missing: what scan_filter does not find, and keys "
			   "with blanks or accents, are looked up");
	else if (is_explicit && key_pattern &&
		 !ldap_plan_explicit(text_of(scan_filter), text_of(key_attribute),
				     text_of(key_pattern), &plan, &why))
		conf_error(d->conf, table_where(d, "scan_filter"), "scan_filter: %s",
			   buf_cstr(&why));
	else if (!is_explicit && query_filter &&
		 !ldap_plan_derive(text_of(query_filter), &plan, &why))
		conf_error(d->conf, table_where(d, "mode"),
			   "mode = \"mirror\": no scan can be made of query_filter: %s; "
			   "set scan_filter, key_attribute and key_pattern, or mode = "
			   "\"demand\"", buf_cstr(&why));
	if (plan.n)
		describe(d, &plan);
	ldap_plan_done(&plan);
	buf_done(&why);
}

static void check_mirror(struct table_draft *d)
{
	struct table_settings *s = &d->block.s;
	const char *base = conf_option_get(&s->options, "search_base");

	s->asks_odd_keys = true;
	if (is_dynamic(base))
		conf_error(d->conf, table_where(d, "mode"),
			   "mode = \"mirror\": search_base depends on the key: name a base "
			   "above all of them, or set mode = \"demand\"");
	else
		check_plan(d);
	for (size_t i = 0; i < s->n_expect; i++)
		if (!ldap_key_is_plain(s->expect[i]))
			conf_error(d->conf, table_where(d, "expect"),
				   "expect: \"%.*s\": only keys of printable ASCII without "
				   "blanks are in the mirror of a directory",
				   (int)s->expect[i].n, s->expect[i].p);
}

static void ldap_finish(struct table_draft *d)
{
	struct table_settings *s = &d->block.s;
	const char *filter = conf_option_get(&s->options, "query_filter");
	struct buf limit = { 0 };

	check_template(d, "search_base");
	check_template(d, "query_filter");
	if (filter && !is_dynamic(filter))
		conf_note(d->conf, table_where(d, "query_filter"),
			  "query_filter: without %%s or the like, every key gets the same");
	buf_printf(&limit, "%zu", s->expansion_limit);
	conf_option_set(&s->options, "expansion_limit", buf_cstr(&limit));
	if (!conf_option_get(&s->options, "size_limit"))
		conf_option_set(&s->options, "size_limit", buf_cstr(&limit));
	if (s->mode == TABLE_MIRROR)
		check_mirror(d);
	buf_done(&limit);
}

static const char *const postfix_names[] = { "timeout", NULL };

const struct driver_kind driver_ldap = {
	.name = "ldap",
	.source_rows = ldap_source_rows,
	.table_rows = ldap_table_rows,
	.finish = ldap_finish,
	.finish_source = ldap_finish_source,
	.from_postfix = conf_ldap_from_postfix,
	.postfix_names = postfix_names,
	.change_option = "change_check",
};
