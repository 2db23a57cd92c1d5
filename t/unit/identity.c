/* Which settings make a table another one, and which leave what it has learnt true. */
#include "unit/conf_dir.h"

#include "daemon/driver_kind.h"

#define SOURCE(more) \
	"driver_directory = \"bin\";\n" \
	"listeners = ( { protocol = \"socketmap\"; address = \"inet:127.0.0.1:8999\"; } );\n" \
	"sources = ( { name = \"db\"; " more " } );\n"
#define SQLITE "driver = \"sqlite\"; dbpath = \"db.sqlite\"; "
#define MYSQL "driver = \"mysql\"; dbname = \"mail\"; "
#define EXTERNAL "driver = \"ldap\"; bind = \"sasl\"; sasl_mechs = \"EXTERNAL\"; start_tls = true; "
#define LDAP_MAP "source = \"db\"; search_base = \"dc=x\";"

/* The identity of the only table; to be freed. */
static char *identity_of(const char *conf, const char *map)
{
	struct buf why = { 0 }, notes = { 0 };
	struct settings *s;
	char *identity;

	write_file("s.conf", text_of(conf));
	write_file(ALIAS_FILE, text_of(map));
	s = load(&why, &notes);
	if (!s)
		fail_msg("%s", buf_cstr(&why));
	identity = strdup(s->maps[0]->tables[0]->identity);
	settings_free(s);
	buf_done(&why);
	buf_done(&notes);
	return identity;
}

/* Compare a configuration with another one. */
static void check(const char *conf, const char *map, const char *conf2, const char *map2,
		  bool is_same)
{
	char *a = identity_of(conf, map), *b = identity_of(conf2, map2);

	if ((strcmp(a, b) == 0) != is_same)
		fail_msg("%s identity:\n%s%s\n%s%s", is_same ? "another" : "the same", conf, map,
			 conf2, map2);
	free(a);
	free(b);
}

static void what_is_answered_is_the_identity(void **state)
{
	static const char *const maps[] = {
		"source = \"db\"; query = \"SELECT w FROM t WHERE k='%s'\";",
		GOOD_MAP "scan_query = \"SELECT k, v FROM t\";",
		GOOD_MAP "result_format = \"%s/\";",
		GOOD_MAP "domain = \"here.test\";",
		GOOD_MAP "expansion_limit = 1;",
		GOOD_MAP "distinct_values = true;",
	};
	static const char *const sources[] = {
		SOURCE("driver = \"sqlite\"; dbpath = \"other.sqlite\";"),
		SOURCE(MYSQL),
		SOURCE("driver = \"/bin/true\"; dbpath = \"db.sqlite\";"),
	};
	(void)state;

	for (size_t i = 0; i < sizeof maps / sizeof *maps; i++)
		check(SOURCE(SQLITE), GOOD_MAP, SOURCE(SQLITE), maps[i], false);
	for (size_t i = 0; i < sizeof sources / sizeof *sources; i++)
		check(SOURCE(SQLITE), GOOD_MAP, sources[i], GOOD_MAP, false);
	check(SOURCE(MYSQL), GOOD_MAP, SOURCE("driver = \"mysql\"; dbname = \"shop\"; "), GOOD_MAP,
	      false);
	check(SOURCE(MYSQL), GOOD_MAP, SOURCE(MYSQL "hosts = \"inet:db2.test\"; "), GOOD_MAP, false);
	check(SOURCE(MYSQL), GOOD_MAP, SOURCE(MYSQL "user = \"other\"; "), GOOD_MAP, false);
	check(SOURCE(EXTERNAL "tls_cert = \"a.pem\"; tls_key = \"k.pem\";"), LDAP_MAP,
	      SOURCE(EXTERNAL "tls_cert = \"b.pem\"; tls_key = \"k.pem\";"), LDAP_MAP, false);
}

static void what_tunes_is_not(void **state)
{
	static const char *const maps[] = {
		MIRROR "refresh = \"1m\"; max_age = \"2m\"; stale_max = \"1h\";",
		MIRROR "on_miss = \"notfound\"; stale_miss = \"notfound\"; ttl = \"1m\";",
		MIRROR "negative_ttl = \"1s\"; deadline = \"1s\"; cache_size = \"1M\";",
		MIRROR "min_entries = 5; max_shrink = 1; expect = \"a@b\"; max_bytes = \"1G\";",
		MIRROR "secret = true; search = \"exact\"; recipient_delimiter = \"-\";",
		GOOD_MAP "scan_query = \"SELECT k, v FROM t\"; mode = \"demand\";",
	};
	(void)state;

	for (size_t i = 0; i < sizeof maps / sizeof *maps; i++)
		check(SOURCE(SQLITE), MIRROR, SOURCE(SQLITE), maps[i], true);
	check(SOURCE(SQLITE), GOOD_MAP,
	      SOURCE(SQLITE "connections = 1; queue = 1; timeout = \"1s\"; scan_idle = \"1s\"; "
			    "busy_timeout = \"2s\"; "), GOOD_MAP, true);
	check(SOURCE(MYSQL), GOOD_MAP,
	      SOURCE(MYSQL "timeout = \"1s\"; scan_timeout = \"1m\"; connect_timeout = \"1s\"; "
			   "tls_CAfile = \"ca.pem\"; "), GOOD_MAP, true);
}

static void a_source_may_have_another_name(void **state)
{
	static const char other[] =
		"driver_directory = \"bin\";\n"
		"listeners = ( { protocol = \"socketmap\"; address = \"inet:127.0.0.1:8999\"; } );\n"
		"sources = ( { name = \"new\"; " SQLITE " } );\n";
	(void)state;

	check(SOURCE(SQLITE), GOOD_MAP, other, "source = \"new\"; " MAP_QUERY, true);
}

static void what_stands_in_a_domain_file_belongs_to_it(void **state)
{
	char map[PATH_MAX + 256];
	char *before, *after;
	(void)state;

	snprintf(map, sizeof map, "%sdomain = \"%s/domains\";", GOOD_MAP, dir);
	write_file("domains", TEXT("here.test\n"));
	before = identity_of(SOURCE(SQLITE), map);
	write_file("domains", TEXT("there.test\n"));
	after = identity_of(SOURCE(SQLITE), map);
	assert_string_not_equal(before, after);
	free(before);
	free(after);
	remove_file("domains");
}

static void no_secret_is_in_it(void **state)
{
	(void)state;

	check(SOURCE(MYSQL), GOOD_MAP, SOURCE(MYSQL "password = \"secret\"; "), GOOD_MAP, true);
	check(SOURCE(MYSQL "password = \"secret\"; "), GOOD_MAP,
	      SOURCE(MYSQL "password_file = \"pw\"; "), GOOD_MAP, true);

	char *digest = identity_of(SOURCE("driver = \"/bin/true\"; any = \"secret\"; "), GOOD_MAP);
	assert_int_equal(strlen(digest), 32);
	assert_int_equal(strspn(digest, "0123456789abcdef"), 32);
	free(digest);
}

/* Whoever marks an option has to come here, and to think once more. */
static void only_these_options_are_apart(void **state)
{
	static const struct { const struct option_row *rows; const char *apart; } blocks[] = {
		{ source_rows, "name connections queue timeout start_timeout scan_timeout scan_idle " },
		{ table_rows, "source postfix_table mode refresh change_interval max_age stale_max ttl "
			      "negative_ttl deadline cache_size on_miss stale_miss domains min_entries "
			      "max_shrink shrink_confirm expect max_entries max_bytes " },
	};
	(void)state;

	for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) {
		struct buf apart = { 0 };

		for (const struct option_row *r = blocks[i].rows; r->name; r++)
			if (r->flags & (OPTION_TUNING | OPTION_SECRET))
				buf_printf(&apart, "%s ", r->name);
		assert_string_equal(buf_cstr(&apart), blocks[i].apart);
		buf_done(&apart);
	}
}

static int make(void **state)
{
	char path[PATH_MAX + 64];

	if (make_dir(state) != 0)
		return -1;
	write_file("bin/socketmapd-mysql", TEXT("#!/bin/sh\n"));
	snprintf(path, sizeof path, "%s/bin/socketmapd-mysql", dir);
	return chmod(path, 0755);
}

static int unmake(void **state)
{
	remove_file("bin/socketmapd-mysql");
	remove_file(ALIAS_FILE);
	return remove_dir(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_answered_is_the_identity),
		cmocka_unit_test(what_tunes_is_not),
		cmocka_unit_test(a_source_may_have_another_name),
		cmocka_unit_test(what_stands_in_a_domain_file_belongs_to_it),
		cmocka_unit_test(no_secret_is_in_it),
		cmocka_unit_test(only_these_options_are_apart),
	};

	return cmocka_run_group_tests(tests, make, unmake);
}
