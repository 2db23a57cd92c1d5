#include "base/search.h"

#include "base/fold.h"

/* What a candidate key is made of. */
enum {
	LOCAL = 1,		/* the local part */
	EXTENSION = 2,		/* with its extension, if it has one */
	AT = 4,
	DOMAIN = 8,
	IF_LOCAL = 16,		/* only for addresses in a local domain */
	PARENTS = 32,		/* parents of the candidate before, one by one */

	FULL = LOCAL | EXTENSION | AT | DOMAIN,
	BARE = LOCAL | AT | DOMAIN,
	USER = LOCAL | EXTENSION | IF_LOCAL,
	BARE_USER = LOCAL | IF_LOCAL,
	USER_AT = LOCAL | EXTENSION | AT,
	BARE_USER_AT = LOCAL | AT,
	CATCH_ALL = AT | DOMAIN,
};

/* One kind: its name in the configuration, and its candidates in order, up to a 0. */
static const struct kind {
	const char *name;
	bool is_address;	/* the key is taken apart; else it is a name */
	unsigned char walk[7];
} kinds[SEARCH_KINDS] = {
	[SEARCH_EXACT] = { "exact", false, { FULL } },
	[SEARCH_VIRTUAL] = { "virtual", true,
			     { FULL, BARE, USER, BARE_USER, CATCH_ALL } },
	[SEARCH_ADDRESS] = { "address", true,
			     { FULL, BARE, USER, BARE_USER, CATCH_ALL } },
	[SEARCH_TRANSPORT] = { "transport", true, { FULL, BARE, DOMAIN, PARENTS } },
	[SEARCH_MAIL_ACCESS] = { "mail_access", true,
				 { FULL, BARE, DOMAIN, PARENTS, USER_AT, BARE_USER_AT } },
	[SEARCH_DOMAIN_ACCESS] = { "domain_access", false, { FULL, PARENTS } },
	[SEARCH_NETWORK_ACCESS] = { "network_access", false, { FULL, PARENTS } },
	[SEARCH_DOMAIN] = { "domain", false, { FULL, PARENTS } },
};

bool search_kind_parse(struct text name, enum search_kind *ret_kind)
{
	for (enum search_kind k = 0; k < SEARCH_KINDS; k++)
		if (text_is(name, kinds[k].name)) {
			*ret_kind = k;
			return true;
		}
	return false;
}

const char *search_kind_name(enum search_kind kind)
{
	return kinds[kind].name;
}

/*
 * main.cf parameters, and the access tables by the restriction that uses them,
 * as 3.7 asks a hash: table in their place. "exact" stands where Postfix asks
 * each key by itself whatever the table's type (smtp_tls_policy_maps, ...).
 */
static const struct {
	enum search_kind kind;
	enum parent_style parents;
	const char *class;
	const char *map_names;
} defaults[] = {
	{ SEARCH_VIRTUAL, PARENTS_NONE, "virtual", "virtual_alias_maps" },
	{ SEARCH_VIRTUAL, PARENTS_NONE, "canonical",
	  "canonical_maps sender_canonical_maps recipient_canonical_maps" },
	{ SEARCH_VIRTUAL, PARENTS_NONE, "generic",
	  "smtp_generic_maps lmtp_generic_maps" },
	/* alias_maps: as part of local_recipient_maps; local(8) itself refuses us */
	{ SEARCH_ADDRESS, PARENTS_NONE, NULL,
	  "virtual_mailbox_maps virtual_uid_maps virtual_gid_maps relay_recipient_maps "
	  "local_recipient_maps alias_maps relocated_maps sender_bcc_maps "
	  "recipient_bcc_maps smtpd_sender_login_maps sender_dependent_relayhost_maps "
	  "sender_dependent_default_transport_maps "
	  "address_verify_sender_dependent_relayhost_maps "
	  "address_verify_sender_dependent_default_transport_maps "
	  "smtp_sasl_password_maps lmtp_sasl_password_maps" },
	{ SEARCH_TRANSPORT, PARENTS_DOTTED, NULL,
	  "transport_maps address_verify_transport_maps" },
	{ SEARCH_DOMAIN, PARENTS_NONE, NULL,
	  "virtual_alias_domains virtual_mailbox_domains mydestination" },
	{ SEARCH_DOMAIN, PARENTS_PLAIN, NULL,
	  "relay_domains fast_flush_domains mynetworks permit_mx_backup_networks "
	  "debug_peer_list qmqpd_authorized_clients" },
	{ SEARCH_DOMAIN, PARENTS_DOTTED, NULL,
	  "smtpd_authorized_verp_clients smtpd_authorized_xclient_hosts "
	  "smtpd_authorized_xforward_hosts smtpd_client_event_limit_exceptions "
	  "smtpd_sasl_exceptions_networks" },
	{ SEARCH_MAIL_ACCESS, PARENTS_PLAIN, NULL,
	  "check_sender_access check_recipient_access" },
	{ SEARCH_DOMAIN_ACCESS, PARENTS_PLAIN, NULL,
	  "check_helo_access check_etrn_access" },
	{ SEARCH_NETWORK_ACCESS, PARENTS_PLAIN, NULL,
	  "check_client_access check_reverse_client_hostname_access "
	  "check_client_a_access check_client_mx_access check_client_ns_access "
	  "check_reverse_client_hostname_a_access "
	  "check_reverse_client_hostname_mx_access "
	  "check_reverse_client_hostname_ns_access "
	  "check_helo_a_access check_helo_mx_access check_helo_ns_access "
	  "check_sender_a_access check_sender_mx_access check_sender_ns_access "
	  "check_recipient_a_access check_recipient_mx_access "
	  "check_recipient_ns_access" },
	{ SEARCH_EXACT, PARENTS_NONE, NULL,
	  "check_ccert_access check_sasl_access fallback_transport_maps "
	  "lmtp_discard_lhlo_keyword_address_maps lmtp_pix_workaround_maps "
	  "lmtp_tls_policy_maps local_login_sender_maps mailbox_command_maps "
	  "mailbox_transport_maps masquerade_exceptions "
	  "postscreen_discard_ehlo_keyword_address_maps rbl_reply_maps relay_clientcerts "
	  "smtp_discard_ehlo_keyword_address_maps smtp_pix_workaround_maps "
	  "smtp_tls_policy_maps smtpd_discard_ehlo_keyword_address_maps "
	  "smtpd_milter_maps tls_server_sni_maps" },
};

static bool lists_name(const char *names, struct text name)
{
	struct text list = text_of(names), item;

	while (text_next(&list, " ", &item))
		if (text_eq(item, name))
			return true;
	return false;
}

bool search_defaults(struct text map_name, enum search_kind *ret_kind,
		     enum parent_style *ret_parents, const char **ret_class)
{
	for (size_t i = 0; i < sizeof defaults / sizeof *defaults; i++) {
		if (!lists_name(defaults[i].map_names, map_name))
			continue;
		*ret_kind = defaults[i].kind;
		*ret_parents = defaults[i].parents;
		*ret_class = defaults[i].class;
		return true;
	}
	return false;
}

bool search_start(struct search *s, const struct search_rules *rules, struct text key)
{
	s->rules = rules;
	s->key = key;
	s->step = 0;
	s->is_stripped = false;
	buf_clear(&s->candidate);
	return fold(key, &s->candidate);
}

/* What the steps after the first need to know of the key. */
static void take_apart(struct search *s)
{
	const struct search_rules *rules = s->rules;

	s->address = (struct address){ 0 };
	s->extension = 0;
	s->is_quoted = s->is_raw = false;
	if (!kinds[rules->kind].is_address)
		return;
	address_parse(s->key, &s->local, &s->address);
	s->extension = address_extension(s->address.local, rules->recipient_delimiter,
					 rules->owner_request_special);
	s->is_quoted = s->address.was_quoted;
	s->is_raw = !s->is_quoted && address_needs_quotes(s->address.local);
}

/* Digits and dots, or a colon, which no host name has. */
static bool is_numeric(struct text host)
{
	if (text_chr(host, ':'))
		return true;
	for (size_t i = 0; i < host.n; i++)
		if (host.p[i] != '.' && (host.p[i] < '0' || host.p[i] > '9'))
			return false;
	return true;
}

/* 2001:db8::1, 2001:db8:, 2001:db8, 2001 (smtpd_check.c, check_addr_access). */
static struct text parent_network(struct text address)
{
	const char *cut = text_rchr(address, text_chr(address, ':') ? ':' : '.');

	return cut ? text_before(address, cut) : (struct text){ 0 };
}

/* a.b.c, b.c, c, or with dots: a.b.c, .b.c, .c (match_ops.c, match_hostname). */
static struct text parent_domain(struct text host, enum parent_style style)
{
	const char *dot = host.n ? text_chr(text_skip(host, 1), '.') : NULL;

	if (!dot || style == PARENTS_NONE)
		return (struct text){ 0 };
	return text_from(host, dot + (style == PARENTS_PLAIN));
}

/* Make s->host its own parent; false when it has none. */
static bool next_parent(struct search *s)
{
	const struct search_rules *rules = s->rules;

	if (kinds[rules->kind].is_address || !is_numeric(s->key))
		s->host = parent_domain(s->host, rules->parents);
	else if (rules->kind == SEARCH_NETWORK_ACCESS)
		s->host = parent_network(s->host);
	else
		s->host = (struct text){ 0 };	/* an address has no parent domains */
	return s->host.n > 0;
}

bool search_is_local(const struct search_rules *rules, struct text domain)
{
	for (size_t i = 0; i < rules->n_local_domains; i++)
		if (text_eq(rules->local_domains[i], domain))
			return true;
	return false;
}

static bool in_local_domain(struct search *s)
{
	if (s->rules->n_local_domains == 0)
		return false;
	buf_clear(&s->scratch);
	fold(s->address.domain, &s->scratch);
	return search_is_local(s->rules, buf_view(&s->scratch));
}

/* Does the key have what such a candidate is made of? */
static bool is_possible(struct search *s, unsigned char parts)
{
	bool is_stripped = parts & LOCAL && !(parts & EXTENSION);

	if (is_stripped && s->extension >= s->address.local.n)
		return false;
	if (!s->address.has_domain)
		return parts == FULL ||
		       (parts == BARE && s->rules->kind == SEARCH_VIRTUAL);
	return !(parts & IF_LOCAL) || in_local_domain(s);
}

/*
 * Append the parts of the key that make a candidate, folded. False when a part
 * is not UTF-8: a recipient_delimiter that is no ASCII can cut a character.
 */
static bool assemble(struct search *s, unsigned char parts, bool quote)
{
	const struct address *a = &s->address;

	if (parts & LOCAL) {
		size_t n = parts & EXTENSION ? a->local.n : s->extension;
		struct text local = { a->local.p, n };

		buf_clear(&s->scratch);
		if (!fold(local, &s->scratch))
			return false;
		s->is_quoted = quote && address_needs_quotes(buf_view(&s->scratch));
		if (s->is_quoted)
			address_quote_local(buf_view(&s->scratch), &s->candidate);
		else
			buf_text(&s->candidate, buf_view(&s->scratch));
	}
	if (parts & AT && a->has_domain)
		buf_byte(&s->candidate, '@');
	return !(parts & DOMAIN) || fold(a->domain, &s->candidate);
}

static void swap_candidates(struct search *s)
{
	struct buf last = s->last;

	s->last = s->candidate;
	s->candidate = last;
}

/*
 * Make the candidate of these parts; false, with the current one kept, when
 * there is none.
 *
 * is_second  the raw form of a local part whose quoted form has just been asked
 *
 * For the kinds that Postfix asks in both forms it sends two requests. Both
 * forms are walked for the first one already, or its catch-all would hide the
 * raw key from the second. For rewriting it asks the quoted form alone.
 */
static bool make_candidate(struct search *s, unsigned char parts, bool is_second)
{
	if (is_second && (!(parts & LOCAL) || !s->is_quoted ||
			  s->rules->kind == SEARCH_VIRTUAL))
		return false;
	s->host = (struct text){ 0 };
	if (!is_possible(s, parts))
		return false;
	swap_candidates(s);
	buf_clear(&s->candidate);
	if (!assemble(s, parts, !s->is_raw && !is_second) || s->candidate.n == 0 ||
	    text_eq(buf_view(&s->candidate), buf_view(&s->last))) {
		swap_candidates(s);
		return false;
	}
	s->is_stripped = parts & LOCAL && !(parts & EXTENSION);
	s->host = buf_view(&s->candidate);
	return true;
}

bool search_next(struct search *s, struct text *ret_key)
{
	const unsigned char *walk = kinds[s->rules->kind].walk;

	if (s->step == 0) {	/* the whole key, which search_start() folded */
		s->step = 1;
		s->host = buf_view(&s->candidate);
		*ret_key = s->host;
		if (s->candidate.n)
			return true;
	}
	if (s->step == 1)
		take_apart(s);
	for (; walk[s->step / 2]; s->step++) {	/* each of the walk in two forms */
		unsigned char parts = walk[s->step / 2];

		if (parts & PARENTS && next_parent(s)) {
			*ret_key = s->host;
			return true;
		}
		if (!(parts & PARENTS) && make_candidate(s, parts, s->step % 2)) {
			*ret_key = s->host;
			s->step++;
			return true;
		}
	}
	return false;
}

/*
 * Append what stands for "@other": the local part in front of it, in quoted
 * form (mail_addr_map.c). What else the value may hold becomes part of the address.
 */
static void join_other(struct text local, struct text value, struct buf *out)
{
	const char *at = text_rchr(value, '@');
	struct buf joined = { 0 };

	buf_text(&joined, local);
	buf_text(&joined, text_before(value, at));
	address_quote_local(buf_view(&joined), out);
	buf_text(out, text_from(value, at));
	buf_done(&joined);
}

/* search_result() for a value that cannot go out as it is. */
static bool rewrite(const struct search *s, struct text value, struct buf *out)
{
	const struct search_rules *rules = s->rules;
	struct buf unquoted = { 0 }, joined = { 0 };
	struct address a;
	bool is_list = true;

	address_parse(s->key, &unquoted, &a);

	size_t n = s->is_stripped ? s->extension : a.local.n;
	struct text extension = text_skip(a.local, n);

	a.local.n = n;
	if (value.p[0] == '@' && n) {
		join_other(a.local, value, &joined);
		value = buf_view(&joined);
	}
	if (extension.n && rules->propagate)
		is_list = address_list_extend(value, extension, out);
	else
		buf_text(out, value);
	buf_done(&unquoted);
	buf_done(&joined);
	return is_list;
}

bool search_result(const struct search *s, struct text value, struct buf *out)
{
	bool is_other = value.n && value.p[0] == '@';

	if (s->rules->kind == SEARCH_VIRTUAL && (is_other || (s->is_stripped && value.n)))
		return rewrite(s, value, out);
	buf_text(out, value);
	return true;
}

void search_done(struct search *s)
{
	buf_done(&s->local);
	buf_done(&s->candidate);
	buf_done(&s->last);
	buf_done(&s->scratch);
	*s = (struct search){ 0 };
}
