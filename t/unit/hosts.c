/* The servers of a source: how they are written, and which one is tried. */
#include "base/hosts.h"

#include "unit/test.h"

/* One line for each: "unix name" or "inet name port"; "-" for no name. */
static const char *show(const char *list)
{
	static struct buf out;
	struct buf why = { 0 };
	struct hosts h;

	buf_clear(&out);
	if (!hosts_parse(text_of(list), &h, &why))
		buf_text(&out, buf_view(&why));
	for (size_t i = 0; i < h.n; i++)
		buf_printf(&out, "%s%s %s %u", i ? "; " : "",
			   h.list[i].is_unix ? "unix" : "inet",
			   h.list[i].name ? h.list[i].name : "-", h.list[i].port);
	hosts_done(&h);
	buf_done(&why);
	return buf_cstr(&out);
}

static void hosts_are_written_as_in_postfix(void **state)
{
	static const struct { const char *list, *want; } cases[] = {
		{ "", "unix - 0" },
		{ "localhost", "unix - 0" },
		{ "inet:LocalHost:3307", "unix - 3307" },
		{ "unix:/run/my.sock", "unix /run/my.sock 0" },
		{ "unix:/run/a:b", "unix /run/a:b 0" },
		{ "db.example", "inet db.example 0" },
		{ "db.example:3307", "inet db.example 3307" },
		{ "inet:db.example", "inet db.example 0" },
		{ "inet:10.0.0.1:3306", "inet 10.0.0.1 3306" },
		{ "inet:[2001:db8::1]:3306", "inet 2001:db8::1 3306" },
		{ "[::1]", "inet ::1 0" },
		{ "db.example:smtp", "inet db.example 25" },
		{ "a, b\tc\r\nunix:/d", "inet a 0; inet b 0; inet c 0; unix /d 0" },
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		assert_string_equal(show(cases[i].list), cases[i].want);
}

static void what_is_no_host_is_refused(void **state)
{
	static const char *const cases[] = {
		"unix:", "inet:", ":3306", "db:0", "db:65536", "db:no_such_service", "db:",
		"db:-1", "[::1]:x", "a b:99999", "2001:db8::1",
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		assert_non_null(strstr(show(cases[i]), "is no unix:/path or inet:host:port"));
}

/* One line for each: "ldap name port", "ldaps name port", "ldapi path". */
static const char *show_urls(const char *list, unsigned port)
{
	static struct buf out;
	struct buf why = { 0 };
	struct hosts h;

	buf_clear(&out);
	if (!hosts_parse_urls(text_of(list), port, &h, &why)) {
		assert_int_equal(h.n, 0);
		buf_text(&out, buf_view(&why));
	}
	for (size_t i = 0; i < h.n; i++)
		buf_printf(&out, "%sldap%s %s %u", i ? "; " : "",
			   h.list[i].is_unix ? "i" : h.list[i].is_tls ? "s" : "",
			   h.list[i].name, h.list[i].port);
	hosts_done(&h);
	buf_done(&why);
	return buf_cstr(&out);
}

static void ldap_hosts_are_urls_or_names(void **state)
{
	static const struct { const char *list; unsigned port; const char *want; } cases[] = {
		{ "localhost", 0, "ldap localhost 389" },
		{ "localhost", 3389, "ldap localhost 3389" },
		{ "ldap1.example:1389", 3389, "ldap ldap1.example 1389" },
		{ "10.0.0.1 [2001:db8::1]:636", 0, "ldap 10.0.0.1 389; ldap 2001:db8::1 636" },
		{ "ldap://a", 3389, "ldap a 389" },	/* server_port is not for URLs */
		{ "LDAPS://A", 3389, "ldaps A 636" },
		{ "ldap://a:10389/dc=x?mail?sub,ldaps://[::1]:10636", 0,
		  "ldap a 10389; ldaps ::1 10636" },
		{ "ldap:// ldap:///dc=x ldap://?x ldaps://", 0,
		  "ldap localhost 389; ldap localhost 389; ldap localhost 389; "
		  "ldaps localhost 636" },
		{ "ldapi://%2Frun%2fslapd%2Fldapi", 0, "ldapi /run/slapd/ldapi 0" },
		{ "ldapi://%2Frun%20x/??\?\?!x", 0, "ldapi /run x 0" },
		{ "ldapi:// ldapi:/// ldapi:///??", 0,
		  "ldapi /var/run/slapd/ldapi 0; ldapi /var/run/slapd/ldapi 0; "
		  "ldapi /var/run/slapd/ldapi 0" },
		{ "ldap://b,c\td", 1, "ldap b 389; ldap c 1; ldap d 1" },
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		assert_string_equal(show_urls(cases[i].list, cases[i].port), cases[i].want);
}

static void what_is_no_ldap_host_is_refused(void **state)
{
	static const char *const cases[] = {
		"ldap://a:", "ldap://a:x", "ldaps://a:65536", "ldapi://%2", "ldapi://%00x",
		"ldapi://%zz", "ldapi:///run/ldapi", "http://a", "a/b", "a:b:c", ":389", "::1",
		"ldaps://:1636",
		"unix:/x", "<ldap://a>", "good ldap://a:0",
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		if (!strstr(show_urls(cases[i], 0), "is no ldap://host:port"))
			fail_msg("\"%s\": %s", cases[i], show_urls(cases[i], 0));
	assert_string_equal(show_urls(" ,", 0), "server_host: there is none");
}

static void ldap_hosts_are_tried_in_their_order(void **state)
{
	struct buf why = { 0 };
	struct hosts h;
	(void)state;

	assert_true(hosts_parse_urls(TEXT("a ldapi:/// c"), 0, &h, &why));
	for (unsigned i = 0; i < 20; i++)
		assert_ptr_equal(hosts_first(&h, 1), &h.list[0]);
	h.list[0].rests_until = 100;
	assert_ptr_equal(hosts_first(&h, 99), &h.list[1]);
	h.list[1].rests_until = h.list[2].rests_until = 200;
	assert_null(hosts_first(&h, 99));
	assert_ptr_equal(hosts_first(&h, 100), &h.list[0]);
	hosts_done(&h);
}

static void unix_sockets_are_tried_first(void **state)
{
	struct buf why = { 0 };
	struct hosts h;
	(void)state;

	assert_true(hosts_parse(TEXT("a unix:/b c"), &h, &why));
	for (unsigned i = 0; i < 100; i++)
		assert_string_equal(hosts_pick(&h, 1)->label, "unix:/b");
	hosts_done(&h);
}

static void every_host_has_its_chance(void **state)
{
	struct buf why = { 0 };
	unsigned seen[3] = { 0 };
	struct hosts h;
	(void)state;

	assert_true(hosts_parse(TEXT("a b c"), &h, &why));
	for (unsigned i = 0; i < 3000; i++)
		seen[hosts_pick(&h, 1) - h.list]++;
	for (unsigned i = 0; i < 3; i++)
		assert_in_range(seen[i], 800, 1200);
	hosts_done(&h);
}

static void a_host_rests_until_its_time(void **state)
{
	struct buf why = { 0 };
	struct hosts h;
	(void)state;

	assert_true(hosts_parse(TEXT("a b"), &h, &why));
	h.list[0].rests_until = 100;
	for (unsigned i = 0; i < 50; i++)
		assert_ptr_equal(hosts_pick(&h, 99), &h.list[1]);
	h.list[1].rests_until = 200;
	assert_null(hosts_pick(&h, 99));
	assert_ptr_equal(hosts_pick(&h, 100), &h.list[0]);
	hosts_done(&h);
}

static void only_who_did_not_refuse_us_is_woken(void **state)
{
	struct buf why = { 0 };
	struct hosts h;
	(void)state;

	assert_true(hosts_parse(TEXT("a b"), &h, &why));
	h.list[0].rests_until = h.list[1].rests_until = 100;
	h.list[0].is_refused = true;
	hosts_wake(&h);
	assert_ptr_equal(hosts_pick(&h, 1), &h.list[1]);
	h.list[1].rests_until = 100;
	assert_null(hosts_pick(&h, 1));
	hosts_done(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hosts_are_written_as_in_postfix),
		cmocka_unit_test(what_is_no_host_is_refused),
		cmocka_unit_test(ldap_hosts_are_urls_or_names),
		cmocka_unit_test(what_is_no_ldap_host_is_refused),
		cmocka_unit_test(ldap_hosts_are_tried_in_their_order),
		cmocka_unit_test(unix_sockets_are_tried_first),
		cmocka_unit_test(every_host_has_its_chance),
		cmocka_unit_test(a_host_rests_until_its_time),
		cmocka_unit_test(only_who_did_not_refuse_us_is_woken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
