/* Sources and tables of driver ldap: what the driver is told, refused, and remarked on. */
#include "unit/conf_dir.h"

#define FILTER_MAP "source = \"ldap\"; search_base = \"dc=x\"; "
#define MIRROR_MAP FILTER_MAP "mode = \"mirror\"; query_filter = "

/* The daemon's file with a source "ldap" of these settings. */
static struct settings *load_source(const char *source, const char *map, struct buf *why,
				    struct buf *notes)
{
	struct buf conf = { 0 };
	struct settings *s;

	buf_printf(&conf,
		   "driver_directory = \"bin\";\n"
		   "listeners = ( { protocol = \"socketmap\"; address = "
		   "\"inet:127.0.0.1:8999\"; } );\n"
		   "sources = ( { name = \"ldap\"; driver = \"ldap\";\n%s } );\n",
		   source);
	write_file("s.conf", buf_view(&conf));
	write_file(ALIAS_FILE, text_of(map));
	s = load(why, notes);
	remove_file(ALIAS_FILE);
	buf_done(&conf);
	return s;
}

static void same_options(const struct options *options, const char *want)
{
	struct text rest = text_of(want), item;

	while (text_next(&rest, " ", &item)) {
		char name[64], value[128];
		const char *got;

		snprintf(name, sizeof name, "%.*s", (int)item.n, item.p);
		*strchr(name, '=') = '\0';
		snprintf(value, sizeof value, "%.*s", (int)item.n, item.p);
		got = option_of(options, name);
		if (strcmp(got ? got : "-", strchr(value, '=') + 1) != 0)
			fail_msg("%s is \"%s\"; want %s", name, got ? got : "-", value);
	}
}

static void a_source_has_the_safer_defaults(void **state)
{
	static const struct {
		const char *source, *want, *notes;
	} cases[] = {
		{ "",
		  "server_host=localhost server_port=389 version=3 bind=none start_tls=false "
		  "tls_require_cert=true tls_ca_cert_file=- chase_referrals=false "
		  "dereference=0 "
		  "page_size=500 connect_timeout=2000 retry_interval=60000 "
		  "idle_interval=60000 "
		  "timeout=5000 scan_timeout=600000 scan_idle=30000 sasl_minssf=0",
		  "" },
		{ "server_host = \"ldap://a, ldap://b\"; start_tls = true;",
		  "tls_ca_cert_file=/etc/ssl/certs/ca-certificates.crt", "" },
		{ "server_host = \"ldaps://a\"; tls_ca_cert_dir = \"/etc\";",
		  "tls_ca_cert_file=- tls_ca_cert_dir=/etc", "" },
		{ "bind_dn = \"cn=r\"; bind_pw_credential = \"pw\";", "bind=simple", "" },
		{ "bind = \"yes\"; bind_dn = \"cn=r\"; bind_pw_credential = \"pw\";",
		  "bind=simple", "" },
		{ "bind = \"no\";", "bind=none", "" },
		{ "bind = \"sasl\"; sasl_mechs = \"EXTERNAL\"; server_host = \"ldapi:///\";",
		  "bind=sasl sasl_mechs=EXTERNAL", "" },
		{ "bind = \"none\"; bind_dn = \"cn=r\";", "bind=none",
		  "s.conf:4: bind_dn: no effect with bind = \"none\"\n" },
		{ "bind_dn = \"cn=r\"; bind_pw = \"secret\";", "bind_pw=secret",
		  "s.conf:4: bind_pw: a bind_pw_file of mode 0600 keeps it out of here\n" },
		{ "bind_dn = \"cn=r\"; bind_pw_credential = \"pw\"; server_host = \"a\";",
		  "bind=simple",
		  "s.conf:4: server_host: \"a\" gets the password in the clear: start_tls, or "
		  "ldaps://\n" },
		{ "bind_dn = \"cn=r\"; bind_pw_credential = \"pw\"; server_host = \"a\"; "
		  "start_tls = true;",
		  "bind=simple", "" },
		{ "bind_dn = \"cn=r\"; bind_pw_credential = \"pw\"; "
		  "server_host = \"ldaps://a 127.0.0.1 [::1]:390 localhost\";",
		  "bind=simple", "" },
		{ "server_host = \"a\";", "bind=none", "" },
		{ "server_host = \"ldaps://a\"; tls_require_cert = false;",
		  "tls_ca_cert_file=-",
		  "s.conf:4: tls_require_cert: without it, whoever answers is believed, and "
		  "gets the password\n" },
		{ "version = 2;", "version=2",
		  "s.conf:4: version: most servers refuse a bind in version 2\n" },
		{ "chase_referrals = true;", "chase_referrals=true",
		  "s.conf:4: chase_referrals: servers that nobody named here are asked, and "
		  "without a bind\n" },
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct buf why = { 0 }, notes = { 0 };
		struct settings *s = load_source(cases[i].source, FILTER_MAP, &why, &notes);

		assert_string_equal(buf_cstr(&why), "");
		assert_string_equal(buf_cstr(&notes), cases[i].notes);
		same_options(&s->sources[0]->options, cases[i].want);
		settings_free(s);
		buf_done(&why);
		buf_done(&notes);
	}
}

static void what_is_wrong_with_a_source_is_said(void **state)
{
	static const struct {
		const char *source, *why;
	} cases[] = {
		{ "server_host = \"http://a\";",
		  "server_host: \"http://a\" is no ldap://host:port, "
		  "ldaps://host:port, ldapi://%2Fpath, host or host:port\n" },
		{ "server_host = [];", "server_host: there is none\n" },
		{ "bind = \"true\";", "bind: \"true\" is none of \"yes\", \"no\", \"none\", "
				      "\"simple\", \"sasl\"\n" },
		{ "bind = \"yes\";", "bind_dn is missing: as whom to log in; or bind = "
				     "\"none\"\n" },
		{ "bind_dn = \"cn=r\";",
		  "bind_dn: there is no password (bind_pw_file, bind_pw), "
		  "or it is empty: the server would let us in as nobody\n" },
		{ "bind_dn = \"cn=r\"; bind_pw = \"\";", "bind_pw: must not be empty\n" },
		{ "bind_dn = \"cn=r\"; bind_pw_file = \"/etc/passwd\"; bind_pw_credential = "
		  "\"x\";",
		  "bind_pw_credential: there is a bind_pw_file already\n" },
		{ "start_tls = true; server_host = \"ldap://a ldaps://b\";",
		  "start_tls: ldaps:// is TLS from the start\n" },
		{ "start_tls = true; version = 2;", "version: TLS wants version 3\n" },
		{ "version = 4;", "version: 4 is more than 3\n" },
		{ "server_port = 0;", "server_port: 0 is less than 1\n" },
		{ "dereference = 4;", "dereference: 4 is more than 3\n" },
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct buf why = { 0 }, notes = { 0 }, want = { 0 };

		assert_null(load_source(cases[i].source, FILTER_MAP, &why, &notes));
		buf_printf(&want, "s.conf:4: %s", cases[i].why);
		assert_string_equal(buf_cstr(&why), buf_cstr(&want));
		buf_done(&why);
		buf_done(&notes);
		buf_done(&want);
	}
}

static void a_table_has_postfixs_defaults(void **state)
{
	static const struct {
		const char *map, *want;
		struct needs needs;
	} cases[] = {
		{ "",
		  "search_base=dc=x scope=sub query_filter=(mailacceptinggeneralid=%s) "
		  "result_attribute=maildrop terminal_result_attribute= "
		  "leaf_result_attribute= "
		  "special_result_attribute= recursion_limit=1000 size_limit=0 "
		  "expansion_limit=0 "
		  "key_pattern=%s scan_filter=- key_attribute=- change_check=- "
		  "ignore_references=false expiry_attribute=-",
		  { 0 } },
		{ "expansion_limit = 7;", "expansion_limit=7 size_limit=7", { 0 } },
		{ "expansion_limit = 7; size_limit = 0;",
		  "expansion_limit=7 size_limit=0",
		  { 0 } },
		{ "query_filter = \"(mail=%u@x)\";", "", { .local = true } },
		{ "result_format = \"%2\";", "", { .domain = true, .labels = 2 } },
		{ "result_attribute = \"a, b c\";", "result_attribute=a\nb\nc", { 0 } },
		{ "result_attribute = [];", "result_attribute=", { 0 } },
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct buf why = { 0 }, notes = { 0 }, map = { 0 };

		buf_printf(&map, FILTER_MAP "%s", cases[i].map);

		struct settings *s = load_source("", buf_cstr(&map), &why, &notes);
		assert_string_equal(buf_cstr(&why), "");
		assert_string_equal(buf_cstr(&notes), "");
		same_options(&s->maps[0]->tables[0]->options, cases[i].want);
		assert_int_equal(s->maps[0]->tables[0]->needs.local, cases[i].needs.local);
		assert_int_equal(s->maps[0]->tables[0]->needs.domain, cases[i].needs.domain);
		assert_int_equal(s->maps[0]->tables[0]->needs.labels, cases[i].needs.labels);
		assert_false(s->maps[0]->tables[0]->asks_odd_keys);
		settings_free(s);
		buf_done(&why);
		buf_done(&notes);
		buf_done(&map);
	}
}

static void what_a_key_is_made_of_is_needed(void **state)
{
	struct buf why = { 0 }, notes = { 0 };
	struct settings *s = load_source("",
					 "source = \"ldap\"; query_filter = \"(uid=%u)\"; "
					 "search_base = \"dc=%2,dc=%1\";",
					 &why, &notes);
	(void)state;

	assert_non_null(s);
	assert_true(s->maps[0]->tables[0]->needs.local);
	assert_int_equal(s->maps[0]->tables[0]->needs.labels, 2);
	settings_free(s);
	buf_done(&why);
	buf_done(&notes);
}

static void a_mirror_says_what_it_is_made_of(void **state)
{
	static const struct {
		const char *map, *notes;
	} cases[] = {
		{ "\"(mail=%s)\";", "1: mirror of (mail=*): keys from mail" },
		{ "\"(&(objectClass=a)(|(mail=%s)(uid=%s)(mail=smtp:%s)))\";",
		  "1: mirror of (&(objectClass=a)(|(mail=*)(uid=*))): keys from mail, uid" },
		{ "\"x=%s\"; scan_filter = \"(y=*)\"; key_attribute = \"y, z\"; "
		  "key_pattern = \"smtp:%s\";",
		  "1: mirror of (y=*): keys from y, z" },
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct buf why = { 0 }, notes = { 0 }, map = { 0 }, want = { 0 };

		buf_printf(&map, MIRROR_MAP "%s", cases[i].map);
		buf_printf(&want, ALIAS_FILE ":%s\n", cases[i].notes);

		struct settings *s = load_source("", buf_cstr(&map), &why, &notes);
		assert_string_equal(buf_cstr(&why), "");
		assert_string_equal(buf_cstr(&notes), buf_cstr(&want));
		assert_int_equal(conf_note_level(buf_view(&notes)), LOG_AT_INFO);
		assert_true(s->maps[0]->tables[0]->asks_odd_keys);
		settings_free(s);
		buf_done(&why);
		buf_done(&notes);
		buf_done(&map);
		buf_done(&want);
	}
}

static void what_is_wrong_with_a_table_is_said(void **state)
{
	static const struct {
		const char *map, *why;
	} cases[] = {
		{ "source = \"ldap\";", "search_base is missing: as in Postfix: where the "
					"entries are" },
		{ FILTER_MAP "scope = \"all\";", "scope: \"all\" is none of \"sub\", \"one\", "
						 "\"base\"" },
		{ FILTER_MAP "query_filter = \"(mail=%x)\";", "query_filter: " },
		{ "source = \"ldap\"; search_base = \"dc=%\";", "search_base: " },
		{ FILTER_MAP "recursion_limit = 0;", "recursion_limit: 0 is less than 1" },
		{ FILTER_MAP "change_check = \"entryCSN\";", "change_check: " },
		{ MIRROR_MAP "\"(mail=%s)\"; change_interval = \"10s\";",
		  "change_interval: there is no change_check to ask" },
		{ MIRROR_MAP "\"(!(mail=%s))\";",
		  "mode = \"mirror\": no scan can be made of query_filter: " },
		{ MIRROR_MAP "\"(mail=%u)\"; key_attribute = \"mail\";",
		  "scan_filter and key_attribute go together" },
		{ MIRROR_MAP "\"(mail=%u)\"; scan_filter = \"(mail=*)\";",
		  "scan_filter and key_attribute go together" },
		{ MIRROR_MAP "\"(mail=%s)\"; key_pattern = \"x%s\";",
		  "scan_filter and key_attribute go together" },
		{ MIRROR_MAP "\"(mail=%s)\"; scan_filter = \"(mail=%s)\"; key_attribute = "
			     "\"mail\";",
		  "scan_filter: " },
		{ FILTER_MAP "mode = \"mirror\"; scan_filter = \"(mail=*)\"; key_attribute = "
			     "\"mail\";",
		  "query_filter is missing: what scan_filter does not find, " },
		{ "source = \"ldap\"; search_base = \"dc=%d\"; mode = \"mirror\";",
		  "mode = \"mirror\": search_base depends on the key: " },
		{ MIRROR_MAP "\"(mail=%s)\"; expect = [ \"a b\" ];",
		  "expect: \"a b\": only keys "
		  "of printable ASCII" },
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct buf why = { 0 }, notes = { 0 }, want = { 0 };

		assert_null(load_source("", cases[i].map, &why, &notes));
		buf_printf(&want, ALIAS_FILE ":1: %s", cases[i].why);
		if (strncmp(buf_cstr(&why), buf_cstr(&want), want.n) != 0)
			fail_msg("%s\n%s", why.p, want.p);
		assert_ptr_equal(strchr(why.p, '\n'), why.p + why.n - 1);
		buf_done(&why);
		buf_done(&notes);
		buf_done(&want);
	}
}

static void what_does_nothing_is_noted(void **state)
{
	static const struct {
		const char *map, *notes;
	} cases[] = {
		{ FILTER_MAP "query_filter = \"(mail=x%%)\";",
		  "query_filter: without %s or the like, every key gets the same" },
		{ FILTER_MAP "scan_filter = \"(mail=*)\";",
		  "scan_filter: no effect without mode = \"mirror\"" },
		{ FILTER_MAP "expiry_attribute = \"until\";",
		  "expiry_attribute: no effect without mode = \"mirror\"" },
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct buf why = { 0 }, notes = { 0 }, want = { 0 };
		struct settings *s = load_source("", cases[i].map, &why, &notes);

		assert_string_equal(buf_cstr(&why), "");
		buf_printf(&want, ALIAS_FILE ":1: %s\n", cases[i].notes);
		assert_string_equal(buf_cstr(&notes), buf_cstr(&want));
		settings_free(s);
		buf_done(&why);
		buf_done(&notes);
		buf_done(&want);
	}
}

#define LDAP_TABLE "postfix_table = \"proxy:ldap:@/x.cf\";"

/* Both of them: what the source and the table of x.cf are told. */
static void a_postfix_table_has_postfixs_meaning(void **state)
{
	static const struct {
		const char *cf, *source, *table, *notes;
	} cases[] = {
		{ "",
		  "server_host=localhost server_port=389 version=3 bind=none start_tls=false "
		  "tls_require_cert=false timeout=10000 chase_referrals=false dereference=0",
		  "search_base= scope=sub query_filter=(mailacceptinggeneralid=%s) "
		  "result_attribute=maildrop recursion_limit=1000 size_limit=0",
		  "" },
		{ "timeout = 3\nserver_host = a b:390\nserver_port = 1389\n",
		  "timeout=3000 server_port=1389", "", "" },
		{ "bind = YES\n", "bind=none", "", "" },
		{ "bind = yes\nbind_dn = cn=r\nbind_pw = x\n", "bind=simple bind_dn=cn=r", "",
		  "" },
		{ "bind = No\nbind_dn = cn=r\nbind_pw = x\n",
		  "bind=none bind_dn=- bind_pw_cf=-", "", "" },
		{ "bind = SASL\nsasl_mechs = EXTERNAL\n", "bind=sasl sasl_mechs=EXTERNAL", "",
		  "" },
		{ "bind_dn =\nbind_pw =\ntls_ca_cert_file =\n", "bind=none bind_dn=-", "",
		  "" },
		{ "scope = ONE\n", "", "scope=one", "" },
		{ "scope = tree\n", "", "scope=sub",
		  "x.cf:1: scope: \"tree\" is none, and taken "
		  "for \"sub\" as in Postfix\n" },
		{ "result_filter = %u\n", "", "", "" },
		{ "version = 2\n", "version=2", "",
		  "x.cf:1: version: most servers refuse a bind in version 2\n" },
		{ "version = 1\n", "version=2", "",
		  "x.cf:1: version: 1 is taken for 2, as in Postfix\n"
		  "x.cf:1: version: most servers refuse a bind in version 2\n" },
		{ "version = 2\nstart_tls = yes\ntls_require_cert = yes\n",
		  "version=3 tls_ca_cert_file=/etc/ssl/certs/ca-certificates.crt", "", "" },
		{ "server_host = ldaps://a\nversion = 2\ntls_require_cert = YES\n",
		  "version=3", "", "" },
		{ "start_tls = yes\n", "start_tls=true", "",
		  "x.cf:1: tls_require_cert: without "
		  "it, whoever answers is believed, and gets the password\n" },
		{ "chase_referrals = yes\n", "chase_referrals=true", "",
		  "x.cf:1: "
		  "chase_referrals: servers that nobody named here are asked, and without a "
		  "bind\n" },
		{ "server_host = ldap://a: localhost\n", "server_host=localhost", "",
		  "x.cf:1: server_host: \"ldap://a:\" is no ldap://host:port, "
		  "ldaps://host:port, "
		  "ldapi://%2Fpath, host or host:port; left out, as in Postfix\n" },
		{ "cache = yes\ncache_size = 5\ncache_expiry = 1\ndebuglevel = 1\n"
		  "tls_random_file = /x\n",
		  "", "",
		  "x.cf:1: cache: has no effect\n"
		  "x.cf:3: cache_expiry: has no effect\nx.cf:2: cache_size: has no effect\n"
		  "x.cf:4: debuglevel: has no effect\nx.cf:5: tls_random_file: has no "
		  "effect\n" },
		{ "expansion_limit = 3\nresult_attribute =\nspecial_result_attribute = "
		  "member\n"
		  "leaf_result_attribute = mail uid\n",
		  "",
		  "expansion_limit=3 size_limit=3 "
		  "result_attribute= special_result_attribute=member "
		  "leaf_result_attribute=mail\nuid",
		  "" },
		{ "search_bsae = x\n", "", "search_base=",
		  "x.cf:1: search_bsae: no parameter of "
		  "ldap: tables, and ignored as in Postfix; did you mean \"search_base\"?\n" },
		{ "page_size = 5\nkey_attribute = x\n", "page_size=500", "key_attribute=-",
		  "x.cf:1: page_size: no parameter of ldap: tables, and ignored as in "
		  "Postfix\n"
		  "x.cf:2: key_attribute: no parameter of ldap: tables, and ignored as in "
		  "Postfix\n" },
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct buf why = { 0 }, notes = { 0 };
		struct settings *s =
			load_postfix_noting(cases[i].cf, LDAP_TABLE, &why, &notes);

		assert_string_equal(buf_cstr(&why), "");
		assert_string_equal(buf_cstr(&notes), cases[i].notes);
		assert_int_equal(s->n_sources, 2);
		same_options(&s->sources[1]->options, cases[i].source);
		same_options(&s->maps[0]->tables[0]->options, cases[i].table);
		settings_free(s);
		buf_done(&why);
		buf_done(&notes);
	}
}

static void what_postfix_would_die_of_is_an_error(void **state)
{
	static const struct {
		const char *cf, *map, *why;
	} cases[] = {
		{ "bind = true\n", LDAP_TABLE,
		  "x.cf:1: bind: \"true\" is none of \"yes\", \"no\", "
		  "\"none\", \"simple\", \"sasl\"\n" },
		{ "bind_dn = cn=r\nbind_pw =\n", LDAP_TABLE,
		  "x.cf:1: bind_dn: there is no "
		  "password (bind_pw_file, bind_pw), or it is empty: the server would let us "
		  "in "
		  "as nobody\n" },
		{ "start_tls = true\n", LDAP_TABLE, "x.cf:1: start_tls: wants yes or no\n" },
		{ "start_tls = yes\nserver_host = ldaps://a\ntls_require_cert = yes\n",
		  LDAP_TABLE, "x.cf:1: start_tls: ldaps:// is TLS from the start\n" },
		{ "scope =\n", LDAP_TABLE,
		  "x.cf:1: scope: \"\" is none of \"sub\", \"one\", "
		  "\"base\"\n" },
		{ "recursion_limit = 0\n", LDAP_TABLE,
		  "x.cf:1: recursion_limit: 0 is less than "
		  "1\n" },
		{ "timeout = 0\n", LDAP_TABLE, "x.cf:1: timeout: 0 is less than 10ms\n" },
		{ "dereference = 4\n", LDAP_TABLE, "x.cf:1: dereference: 4 is more than 3\n" },
		{ "server_host = http://a\n", LDAP_TABLE,
		  "x.cf:1: server_host: there is none\n" },
		{ "search_base = dc=%d\n", LDAP_TABLE " mode = \"mirror\";",
		  ALIAS_FILE ":1: mode = \"mirror\": search_base depends on the key: name a "
			     "base above all of "
			     "them, or set mode = \"demand\"\n" },
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct buf why = { 0 };

		assert_null(load_postfix(cases[i].cf, cases[i].map, &why));
		assert_string_equal(buf_cstr(&why), cases[i].why);
		buf_done(&why);
	}
}

static void the_old_name_of_result_format_is_known(void **state)
{
	static const struct {
		const char *cf;
		bool wants_local;
	} cases[] = {
		{ "result_filter = %U", true },
		{ "result_format =\nresult_filter = %U", true },
		{ "result_format = %s\nresult_filter = %U", false },
		{ "result_format =", false },
		{ "result_format = %U\nresult_filter = %s", true },
		{ "result_filter =", false },
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct buf why = { 0 };
		struct settings *s = load_postfix(cases[i].cf, LDAP_TABLE, &why);

		assert_string_equal(buf_cstr(&why), "");
		assert_int_equal(s->maps[0]->tables[0]->needs.local, cases[i].wants_local);
		settings_free(s);
		buf_done(&why);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_source_has_the_safer_defaults),
		cmocka_unit_test(what_is_wrong_with_a_source_is_said),
		cmocka_unit_test(a_table_has_postfixs_defaults),
		cmocka_unit_test(what_a_key_is_made_of_is_needed),
		cmocka_unit_test(a_mirror_says_what_it_is_made_of),
		cmocka_unit_test(what_is_wrong_with_a_table_is_said),
		cmocka_unit_test(what_does_nothing_is_noted),
		cmocka_unit_test(a_postfix_table_has_postfixs_meaning),
		cmocka_unit_test(what_postfix_would_die_of_is_an_error),
		cmocka_unit_test(the_old_name_of_result_format_is_known),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
