#include "unit/test.h"

#include "base/search.h"

/* Short names, as the tables below are long. */
#define EXACT SEARCH_EXACT
#define VIRTUAL SEARCH_VIRTUAL
#define ADDRESS SEARCH_ADDRESS
#define TRANSPORT SEARCH_TRANSPORT
#define MAIL SEARCH_MAIL_ACCESS
#define HELO SEARCH_DOMAIN_ACCESS
#define CLIENT SEARCH_NETWORK_ACCESS
#define DOMAINS SEARCH_DOMAIN
#define NONE PARENTS_NONE
#define PLAIN PARENTS_PLAIN
#define DOTTED PARENTS_DOTTED

static const struct text locals[] = {
	{ "local.test", 10 }, { "b\303\274cher.test", 12 },
};

static struct search_rules rules_of(enum search_kind kind, enum parent_style parents)
{
	return (struct search_rules){
		.kind = kind,
		.parents = parents,
		.recipient_delimiter = TEXT("+-"),
		.local_domains = locals,
		.n_local_domains = sizeof locals / sizeof *locals,
		.propagate = true,
		.owner_request_special = true,
	};
}

/* All candidates of `key`, separated by " | ". */
static const char *walk(const struct search_rules *rules, const char *key,
			struct buf *out)
{
	struct text copy = exact_copy(text_of(key)), candidate;
	struct search s = { 0 };

	buf_clear(out);
	assert_true(search_start(&s, rules, copy));
	while (search_next(&s, &candidate)) {
		if (out->n)
			buf_str(out, " | ");
		buf_text(out, candidate);
	}
	assert_false(search_next(&s, &candidate));
	search_done(&s);
	free((char *)copy.p);
	return buf_cstr(out);
}

static const struct {
	enum search_kind kind;
	enum parent_style parents;
	const char *key, *want;
} walks[] = {
	/* the key alone, whatever it looks like: Postfix expands it in unionmap form */
	{ EXACT, 0, "Joe+X@D.Test", "joe+x@d.test" },
	{ EXACT, 0, "@Dom.test", "@dom.test" },
	{ EXACT, 0, ".Parent.test", ".parent.test" },
	{ EXACT, 0, "user+x@", "user+x@" },
	{ EXACT, 0, "\"a b\"@d.test", "\"a b\"@d.test" },
	{ EXACT, 0, "*", "*" },
	{ EXACT, 0, "192.0.2", "192.0.2" },
	{ EXACT, 0, "", "" },

	{ VIRTUAL, 0, "joe@d.test", "joe@d.test | @d.test" },
	{ VIRTUAL, 0, "Joe+X@D.Test", "joe+x@d.test | joe@d.test | @d.test" },
	{ VIRTUAL, 0, "joe+x@Local.test",
	  "joe+x@local.test | joe@local.test | joe+x | joe | @local.test" },
	{ VIRTUAL, 0, "J\303\226RG@B\303\234CHER.test",
	  "j\303\266rg@b\303\274cher.test | j\303\266rg | @b\303\274cher.test" },
	{ VIRTUAL, 0, "stra\303\237e@d.test", "strasse@d.test | @d.test" },
	{ VIRTUAL, 0, "\"a B+x\"@d.test", "\"a b+x\"@d.test | \"a b\"@d.test | @d.test" },
	{ VIRTUAL, 0, "a b+x@d.test", "a b+x@d.test | a b@d.test | @d.test" },
	{ VIRTUAL, 0, "\"a+b c\"@d.test", "\"a+b c\"@d.test | a@d.test | @d.test" },
	{ VIRTUAL, 0, "joe.+x@d.test", "joe.+x@d.test | \"joe.\"@d.test | @d.test" },
	{ VIRTUAL, 0, "\"a@b\"@local.test",
	  "\"a@b\"@local.test | \"a@b\" | @local.test" },
	{ VIRTUAL, 0, "\"\"@d.test", "\"\"@d.test | @d.test" },
	{ VIRTUAL, 0, "@d.test", "@d.test" },
	{ VIRTUAL, 0, "joe+@d.test", "joe+@d.test | joe@d.test | @d.test" },
	{ VIRTUAL, 0, "+joe@d.test", "+joe@d.test | @d.test" },
	{ VIRTUAL, 0, "owner-list@d.test", "owner-list@d.test | @d.test" },
	{ VIRTUAL, 0, "postmaster+x@d.test",
	  "postmaster+x@d.test | postmaster@d.test | @d.test" },
	{ VIRTUAL, 0, "joe+x@[192.0.2.1]",
	  "joe+x@[192.0.2.1] | joe@[192.0.2.1] | @[192.0.2.1]" },
	{ VIRTUAL, 0, "joe+x", "joe+x | joe" },
	{ VIRTUAL, 0, "joe+x@", "joe+x@ | joe@ | @" },
	{ VIRTUAL, 0, "", "" },

	{ ADDRESS, 0, "joe+x@d.test", "joe+x@d.test | joe@d.test | @d.test" },
	{ ADDRESS, 0, "\"a b+x\"@d.test",
	  "\"a b+x\"@d.test | a b+x@d.test | \"a b\"@d.test | a b@d.test | @d.test" },
	{ ADDRESS, 0, "a b+x@d.test", "a b+x@d.test | a b@d.test | @d.test" },
	{ ADDRESS, 0, "\"a@b\"@local.test",
	  "\"a@b\"@local.test | a@b@local.test | \"a@b\" | a@b | @local.test" },
	{ ADDRESS, 0, "joe.+x@d.test",
	  "joe.+x@d.test | \"joe.\"@d.test | joe.@d.test | @d.test" },
	{ ADDRESS, 0, "\"\"@d.test", "\"\"@d.test | @d.test" },
	{ ADDRESS, 0, "<>", "<>" },
	{ ADDRESS, 0, "\"<>\"", "\"<>\" | <>" },
	{ ADDRESS, 0, "mail-1.d.test", "mail-1.d.test" },	/* a host: no extension */
	{ ADDRESS, 0, "[mail-1.d.test]:587", "[mail-1.d.test]:587" },

	{ TRANSPORT, DOTTED, "Joe+x@A.b.test",
	  "joe+x@a.b.test | joe@a.b.test | a.b.test | .b.test | .test" },
	{ TRANSPORT, PLAIN, "joe@a.b.test", "joe@a.b.test | a.b.test | b.test | test" },
	{ TRANSPORT, NONE, "joe@a.b.test", "joe@a.b.test | a.b.test" },
	{ TRANSPORT, DOTTED, "joe@local.test", "joe@local.test | local.test | .test" },
	{ TRANSPORT, DOTTED, "\"a b\"@c.test",
	  "\"a b\"@c.test | a b@c.test | c.test | .test" },
	{ TRANSPORT, DOTTED, "*", "*" },
	{ TRANSPORT, DOTTED, "a.b.test", "a.b.test" },
	{ TRANSPORT, DOTTED, ".b.test", ".b.test" },
	{ TRANSPORT, DOTTED, "@b.test", "@b.test | b.test | .test" },
	{ TRANSPORT, DOTTED, "joe@a..b", "joe@a..b | a..b | ..b | .b" },
	{ TRANSPORT, PLAIN, "joe@a..b", "joe@a..b | a..b | .b" },
	{ TRANSPORT, DOTTED, "joe@", "joe@" },

	{ MAIL, PLAIN, "joe+x@a.test",
	  "joe+x@a.test | joe@a.test | a.test | test | joe+x@ | joe@" },
	{ MAIL, DOTTED, "joe@a.test", "joe@a.test | a.test | .test | joe@" },
	{ MAIL, PLAIN, "\"a b+x\"@c.test",
	  "\"a b+x\"@c.test | a b+x@c.test | \"a b\"@c.test | a b@c.test | c.test | "
	  "test | \"a b+x\"@ | a b+x@ | \"a b\"@ | a b@" },
	{ MAIL, PLAIN, "<>", "<>" },
	{ MAIL, PLAIN, "x.y@", "x.y@" },
	{ MAIL, PLAIN, "joe@[192.0.2.1]",
	  "joe@[192.0.2.1] | [192.0.2.1] | 0.2.1] | 2.1] | 1] | joe@" },

	{ HELO, PLAIN, "Mail.Client.test", "mail.client.test | client.test | test" },
	{ HELO, DOTTED, "mail.client.test", "mail.client.test | .client.test | .test" },
	{ HELO, PLAIN, "mail.test.", "mail.test. | test." },
	{ HELO, PLAIN, "192.0.2.1", "192.0.2.1" },
	{ HELO, PLAIN, "x192.0.2.1", "x192.0.2.1 | 0.2.1 | 2.1 | 1" },
	{ HELO, PLAIN, "2001:db8::1", "2001:db8::1" },
	{ HELO, PLAIN, "", "" },

	{ CLIENT, PLAIN, "192.0.2.33", "192.0.2.33 | 192.0.2 | 192.0 | 192" },
	{ CLIENT, PLAIN, "192.0.2", "192.0.2 | 192.0 | 192" },
	{ CLIENT, PLAIN, "2001:DB8::1",
	  "2001:db8::1 | 2001:db8: | 2001:db8 | 2001" },
	{ CLIENT, PLAIN, "::1", "::1 | :" },
	{ CLIENT, PLAIN, "mx.client.test", "mx.client.test | client.test | test" },
	{ CLIENT, PLAIN, "10.dyn.test", "10.dyn.test | dyn.test | test" },
	{ CLIENT, PLAIN, "x.192.0.2", "x.192.0.2 | 192.0.2 | 0.2 | 2" },
	{ CLIENT, PLAIN, "unknown", "unknown" },

	{ DOMAINS, NONE, "Sub.D.test", "sub.d.test" },
	{ DOMAINS, PLAIN, "sub.d.test", "sub.d.test | d.test | test" },
	{ DOMAINS, DOTTED, "sub.d.test", "sub.d.test | .d.test | .test" },
	{ DOMAINS, PLAIN, "192.0.2.33", "192.0.2.33" },	/* mynetworks */
	{ DOMAINS, NONE, "[192.0.2.1]", "[192.0.2.1]" },
};

static void asks_the_keys_that_postfix_would(void **state)
{
	struct buf got = { 0 };
	(void)state;

	for (size_t i = 0; i < sizeof walks / sizeof *walks; i++) {
		struct search_rules rules = rules_of(walks[i].kind, walks[i].parents);

		assert_string_equal(walk(&rules, walks[i].key, &got), walks[i].want);
	}
	buf_done(&got);
}

static void without_delimiter_or_local_domains_fewer_keys_are_asked(void **state)
{
	struct search_rules rules = rules_of(SEARCH_ADDRESS, PARENTS_NONE);
	struct buf got = { 0 };
	(void)state;

	rules.recipient_delimiter = TEXT("");
	assert_string_equal(walk(&rules, "joe+x@local.test", &got),
			    "joe+x@local.test | joe+x | @local.test");
	rules.n_local_domains = 0;
	assert_string_equal(walk(&rules, "joe+x@local.test", &got),
			    "joe+x@local.test | @local.test");
	buf_done(&got);
}

static void a_delimiter_inside_a_character_asks_no_broken_key(void **state)
{
	struct search_rules rules = rules_of(SEARCH_ADDRESS, PARENTS_NONE);
	struct buf got = { 0 };
	(void)state;

	rules.recipient_delimiter = TEXT("\266");
	assert_string_equal(walk(&rules, "j\303\266rg@d.test", &got),
			    "j\303\266rg@d.test | @d.test");
	buf_done(&got);
}

static void a_key_that_is_not_utf8_has_no_walk(void **state)
{
	struct search s = { 0 };
	(void)state;

	for (enum search_kind k = 0; k < SEARCH_KINDS; k++) {
		struct search_rules rules = rules_of(k, PARENTS_PLAIN);

		assert_false(search_start(&s, &rules, TEXT("j\366rg@d.test")));
	}
	search_done(&s);
}

static size_t allocated(const struct search *s)
{
	return s->candidate.cap + s->last.cap + s->scratch.cap + s->local.cap;
}

static void a_used_walk_is_as_good_as_new_and_allocates_nothing(void **state)
{
	struct search s = { 0 };
	struct buf fresh = { 0 }, got = { 0 };
	size_t bytes = 0;
	(void)state;

	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < sizeof walks / sizeof *walks; i++) {
			struct search_rules rules =
				rules_of(walks[i].kind, walks[i].parents);
			struct text key;

			buf_clear(&got);
			assert_true(search_start(&s, &rules, text_of(walks[i].key)));
			while (search_next(&s, &key)) {
				buf_text(&got, key);
				buf_str(&got, " | ");
			}
			walk(&rules, walks[i].key, &fresh);
			assert_int_equal(got.n, fresh.n ? fresh.n + 3 : 0);
			assert_int_equal(strncmp(got.p, fresh.p, fresh.n), 0);
		}
		if (round)
			assert_int_equal(allocated(&s), bytes);
		bytes = allocated(&s);
	}
	search_done(&s);
	buf_done(&fresh);
	buf_done(&got);
}

static void results_are_rewritten_as_mail_addr_map_does(void **state)
{
	static const struct {
		enum search_kind kind;
		bool propagate;
		const char *key, *found, *value, *want;	/* want NULL: no address in it */
	} cases[] = {
		{ VIRTUAL, true, "u@d.test", "u@d.test", "x@y", "x@y" },
		{ VIRTUAL, true, "u+Ext@d.test", "u+ext@d.test", " x@y ,z", " x@y ,z" },
		{ VIRTUAL, true, "u+Ext@d.test", "u@d.test", "x@y", "x+Ext@y" },
		{ VIRTUAL, true, "u+Ext@d.test", "u@d.test", "x@y, \"z z\"@y",
		  "x+Ext@y, \"z z+Ext\"@y" },
		{ VIRTUAL, false, "u+Ext@d.test", "u@d.test", "x@y ,z@y", "x@y ,z@y" },
		{ VIRTUAL, true, "u+Ext@local.test", "u", "x@y", "x+Ext@y" },
		{ VIRTUAL, true, "u+Ext@local.test", "u+ext", "x@y", "x@y" },
		{ VIRTUAL, true, "u+Ext@d.test", "@d.test", "x@y", "x@y" },
		{ VIRTUAL, true, "\"a b+E c\"@d.test", "\"a b\"@d.test", "x@y",
		  "\"x+E c\"@y" },
		{ VIRTUAL, true, "\"a+E c\"@d.test", "a@d.test", "x@y", "\"x+E c\"@y" },
		{ VIRTUAL, true, "u+Ext@d.test", "u@d.test", ",", NULL },
		{ VIRTUAL, false, "u+Ext@d.test", "u@d.test", ",", "," },
		{ VIRTUAL, true, "u@d.test", "u@d.test", ",", "," },

		{ VIRTUAL, true, "U+E@d.test", "@d.test", "@o.test", "U+E@o.test" },
		{ VIRTUAL, false, "U+E@d.test", "@d.test", "@o.test", "U+E@o.test" },
		{ VIRTUAL, true, "U+E@d.test", "u+e@d.test", "@o.test", "U+E@o.test" },
		{ VIRTUAL, true, "U+E@d.test", "u@d.test", "@o.test", "U+E@o.test" },
		{ VIRTUAL, false, "U+E@d.test", "u@d.test", "@o.test", "U@o.test" },
		{ VIRTUAL, true, "\"A b+E\"@d.test", "@d.test", "@o.test",
		  "\"A b+E\"@o.test" },
		{ VIRTUAL, false, "\"A b+E\"@d.test", "\"a b\"@d.test", "@o.test",
		  "\"A b\"@o.test" },
		{ VIRTUAL, true, "\"A+b c\"@d.test", "a@d.test", "@o.test",
		  "\"A+b c\"@o.test" },
		{ VIRTUAL, true, "at2@d.test", "@d.test", "@y, foo@z",
		  "\"at2@y, foo\"@z" },
		{ VIRTUAL, true, "@d.test", "@d.test", "@o.test", "@o.test" },
		{ VIRTUAL, true, "u@d.test", "u@d.test", "x@y, @o.test", "x@y, @o.test" },

		{ ADDRESS, true, "u+E@d.test", "u@d.test", "x@y", "x@y" },
		{ ADDRESS, true, "u+E@d.test", "@d.test", "@o.test", "@o.test" },
		{ TRANSPORT, true, "u+E@d.test", "u@d.test", "smtp:[h]", "smtp:[h]" },
		{ MAIL, true, "u+E@d.test", "u+e@", "REJECT x", "REJECT x" },
		{ EXACT, true, "u@d.test", "u@d.test", "@o.test", "@o.test" },
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct search_rules rules = rules_of(cases[i].kind, PARENTS_DOTTED);
		struct search s = { 0 };
		struct buf out = { 0 };
		struct text key;

		rules.propagate = cases[i].propagate;
		buf_str(&out, "OK ");
		assert_true(search_start(&s, &rules, text_of(cases[i].key)));
		do
			assert_true(search_next(&s, &key));
		while (!text_is(key, cases[i].found));
		assert_int_equal(search_result(&s, text_of(cases[i].value), &out),
				 cases[i].want != NULL);
		assert_text(text_skip(buf_view(&out), 3),
			    cases[i].want ? cases[i].want : "");
		search_done(&s);
		buf_done(&out);
	}
}

static void kinds_have_names(void **state)
{
	enum search_kind got = SEARCH_KINDS;
	(void)state;

	for (enum search_kind k = 0; k < SEARCH_KINDS; k++) {
		assert_true(search_kind_parse(text_of(search_kind_name(k)), &got));
		assert_int_equal(got, k);
	}
	assert_false(search_kind_parse(TEXT("Virtual"), &got));
	assert_false(search_kind_parse(TEXT(""), &got));
	assert_int_equal(got, SEARCH_KINDS - 1);
}

static void maps_named_after_parameters_know_their_kind(void **state)
{
	static const struct {
		const char *name;
		enum search_kind kind;
		enum parent_style parents;
		const char *class;
	} cases[] = {
		{ "virtual_alias_maps", SEARCH_VIRTUAL, PARENTS_NONE, "virtual" },
		{ "recipient_canonical_maps", SEARCH_VIRTUAL, PARENTS_NONE, "canonical" },
		{ "smtp_generic_maps", SEARCH_VIRTUAL, PARENTS_NONE, "generic" },
		{ "virtual_mailbox_maps", SEARCH_ADDRESS, PARENTS_NONE, NULL },
		{ "smtpd_sender_login_maps", SEARCH_ADDRESS, PARENTS_NONE, NULL },
		{ "virtual_mailbox_domains", SEARCH_DOMAIN, PARENTS_NONE, NULL },
		{ "relay_domains", SEARCH_DOMAIN, PARENTS_PLAIN, NULL },
		{ "transport_maps", SEARCH_TRANSPORT, PARENTS_DOTTED, NULL },
		{ "check_sender_access", SEARCH_MAIL_ACCESS, PARENTS_PLAIN, NULL },
		{ "check_helo_access", SEARCH_DOMAIN_ACCESS, PARENTS_PLAIN, NULL },
		{ "check_client_access", SEARCH_NETWORK_ACCESS, PARENTS_PLAIN, NULL },
		{ "smtp_tls_policy_maps", SEARCH_EXACT, PARENTS_NONE, NULL },
	};
	enum search_kind kind;
	enum parent_style parents;
	const char *class;
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		assert_true(search_defaults(text_of(cases[i].name), &kind, &parents,
					    &class));
		assert_int_equal(kind, cases[i].kind);
		assert_int_equal(parents, cases[i].parents);
		assert_true(class == NULL || cases[i].class != NULL);
		if (cases[i].class)
			assert_string_equal(class, cases[i].class);
	}
	assert_false(search_defaults(TEXT("virtual"), &kind, &parents, &class));
	assert_false(search_defaults(TEXT("virtual_alias_map"), &kind, &parents, &class));
	assert_false(search_defaults(TEXT(""), &kind, &parents, &class));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(asks_the_keys_that_postfix_would),
		cmocka_unit_test(without_delimiter_or_local_domains_fewer_keys_are_asked),
		cmocka_unit_test(a_delimiter_inside_a_character_asks_no_broken_key),
		cmocka_unit_test(a_key_that_is_not_utf8_has_no_walk),
		cmocka_unit_test(a_used_walk_is_as_good_as_new_and_allocates_nothing),
		cmocka_unit_test(results_are_rewritten_as_mail_addr_map_does),
		cmocka_unit_test(kinds_have_names),
		cmocka_unit_test(maps_named_after_parameters_know_their_kind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
