#include "unit/conf_dir.h"

static void what_is_right_but_odd_is_noted(void **state)
{
	static const struct { const char *map, *note; } cases[] = {
		{ GOOD_MAP, NULL },
		{ MIRROR, NULL },
		{ GOOD_MAP "\nrefresh = \"5m\";",
		  ALIAS_FILE ":2: refresh: no effect without mode = \"mirror\"\n" },
		{ MIRROR "\ndomains = \"" ALIAS "\";", NULL },
		{ "source = \"db\";\nquery = \"SELECT v FROM t WHERE k=%s\";",
		  ALIAS_FILE ":2: query: " },
	};
	(void)state;

	write_file("db.sqlite", TEXT(""));
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct buf why = { 0 }, notes = { 0 };

		settings_free(load_map(ALIAS, cases[i].map, &why, &notes));
		if (cases[i].note)
			assert_memory_equal(buf_cstr(&notes), cases[i].note,
				strlen(cases[i].note));
		else if (i < 2)
			assert_string_equal(buf_cstr(&notes), "");
		buf_done(&why);
		buf_done(&notes);
	}
	remove_file("db.sqlite");
}

static void defaults_and_settings_take_effect(void **state)
{
	static const struct { const char *map, *effect; } cases[] = {
		{ GOOD_MAP, "\nmode=demand\n" },
		{ GOOD_MAP, "\nttl=300000\n" },
		{ GOOD_MAP, "\nnegative_ttl=30000\n" },
		{ GOOD_MAP, "\ndeadline=2000\n" },
		{ GOOD_MAP, "\nstale_max=259200000\n" },
		{ GOOD_MAP, "\ncache_size=16777216\n" },
		{ GOOD_MAP, "\nresult_format=%s\n" },
		{ GOOD_MAP "ttl = \"1m\";", "\nttl=60000\n" },
		{ MIRROR, "\nmode=mirror\nrefresh=300000\nchange_interval=0\nmax_age=900000\n" },
		{ MIRROR "refresh = \"10s\";", "\nrefresh=10000\nchange_interval=0\nmax_age=300000\n" },
		{ MIRROR "refresh = "
		  "\"2d\";", "\nrefresh=172800000\nchange_interval=0\nmax_age=259200000\n" },
		{ MIRROR "stale_max = \"10m\";", "\nmax_age=600000\nstale_max=600000\n" },
		{ MIRROR, "\non_miss=ask\nstale_miss=temp\n" },
		{ MIRROR, "\nmin_entries=1\nmax_shrink=30\n" },
		{ MIRROR, "\nmax_entries=50000000\nmax_bytes=4294967296\n" },
		{ MIRROR "expect = [ \"a b@x.test\", \"c@x.test\" ];",
		  "\nexpect=a b@x.test\\x0ac@x.test\n" },
		{ MIRROR "expect = \"a@x.test, c@x.test\";",
		  "\nexpect=a@x.test\\x0ac@x.test\n" },
		{ GOOD_MAP, "\nquery=SELECT v FROM t WHERE k='%s'\n" },
		{ "source = \"db\"; select_field = \"v\"; table = \"t\"; where_field = "
		  "\"k\";",
		  "\nquery=SELECT v FROM t WHERE k='%s' \n" },
		{ "source = \"db\"; select_field = \"v\"; table = \"t\"; where_field = "
		  "\"k\"; "
		  "additional_conditions = \"AND on = 1\";",
		  "\nquery=SELECT v FROM t WHERE k='%s' AND on = 1\n" },
		{ GOOD_MAP "select_field = \"x\"; table = \"y\"; where_field = \"z\";",
		  "\nquery=SELECT v FROM t WHERE k='%s'\n" },
		{ GOOD_MAP, "\nsearch=virtual\nparents=0\npropagate=1\nowner=1\n" },
		{ GOOD_MAP "propagate_unmatched_extensions = \"canonical\";",
		  "\npropagate=0\n" },
		{ GOOD_MAP "recipient_delimiter = \"+-\"; owner_request_special = false;",
		  "\nowner=0\ndelimiter=+-\n" },
		{ GOOD_MAP "local_domains = \"Home.TEST\";", "\nlocal=home.test\n" },
		{ GOOD_MAP "search = \"transport\";",
		  "\nsearch=transport\nparents=2\npropagate=0\n" },
		{ GOOD_MAP "search = \"transport\"; parent_domain_style = \"none\";",
		  "\nparents=0\n" },
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct buf why = { 0 }, notes = { 0 };
		struct settings *s = load_map(ALIAS, cases[i].map, &why, &notes);

		assert_string_equal(buf_cstr(&why), "");
		assert_non_null(s);
		if (!strstr(s->maps[0]->fingerprint, cases[i].effect))
			fail_msg("no %s in %s", cases[i].effect, s->maps[0]->fingerprint);
		settings_free(s);
		buf_done(&why);
		buf_done(&notes);
	}
}

static void the_settings_hold_what_the_files_say(void **state)
{
	static const char conf[] =
		"driver_directory = \"bin\"; threads = 3; stop_timeout = \"7s\"; log = "
		"\"syslog:mail\";\n"
		"recipient_delimiter = \"+\"; local_domains = [ \"Home.test\" ];\n"
		"listeners = ( { protocol = \"tcp_table\"; address = "
		"\"inet:[::1]:8998\"; map = \"transport_maps\"; },"
		"  { protocol = \"socketmap\"; address = \"unix:/run/x\"; mode = "
		"\"0600\"; owner = \"root\"; } );\n"
		"sources = ( { name = \"db\"; driver = \"sqlite\"; dbpath = "
		"\"db.sqlite\"; },"
		"  { name = \"own\"; driver = \"/bin/cat\"; base = \"x\"; depth = 4; "
		"deep = true; } );\n";
	struct buf why = { 0 }, notes = { 0 }, path = { 0 };
	(void)state;

	write_file("s.conf", text_of(conf));
	write_file("maps.d/transport_maps.conf",
		   TEXT("\n source = \"db\"; query = \"SELECT '%u@%d'\"; result_format = "
		   	"\"%2\"; domain = \"a.test\";"));
	write_file("maps.d/alias.conf", TEXT("search = \"virtual\"; source = \"own\"; "
		"anything = \"goes\"; "
					     "expect = [ \"STRASSE@x\" ]; mode = "
					     "\"mirror\";"));
	write_file("maps.d/x.conf~", TEXT("not read"));
	write_file("maps.d/.y.conf", TEXT("not read"));
	write_file("maps.d/README", TEXT("not read"));

	struct settings *s = load(&why, &notes);
	assert_string_equal(buf_cstr(&why), "");
	assert_int_equal(s->daemon.threads, 3);
	assert_int_equal(s->daemon.stop_timeout, 7000);
	assert_true(s->daemon.log.facility >= 0);
	assert_int_equal(s->daemon.max_clients, 4096);
	assert_int_equal(s->daemon.max_clients_per_address, 512);

	assert_int_equal(s->n_listeners, 2);
	assert_ptr_equal(s->listeners[0]->protocol, &tcp_table);
	assert_int_equal(s->listeners[0]->max_request, tcp_table.max_request);
	assert_int_equal(s->listeners[0]->idle_timeout, 0);
	assert_string_equal(s->listeners[0]->map, "transport_maps");
	assert_ptr_equal(s->listeners[1]->protocol, &socketmap);
	assert_int_equal(s->listeners[1]->max_request, 16384);
	assert_int_equal(s->listeners[1]->idle_timeout, 60000);
	assert_int_equal(s->listeners[1]->mode, 0600);
	assert_int_equal(s->listeners[1]->max_pipelined, 64);

	assert_int_equal(s->n_sources, 2);
	assert_string_equal(s->sources[0]->options.list[0].name, "busy_timeout");
	assert_string_equal(s->sources[0]->options.list[0].value, "1000");
	assert_string_equal(s->sources[0]->options.list[1].name, "dbpath");
	buf_printf(&path, "%s/db.sqlite", dir);
	assert_string_equal(s->sources[0]->options.list[1].value, buf_cstr(&path));
	buf_clear(&path);
	buf_printf(&path, "%s/bin/socketmapd-sqlite", dir);
	assert_string_equal(s->sources[0]->program, buf_cstr(&path));
	assert_int_equal(s->sources[0]->scan_idle, 30000);
	assert_string_equal(s->sources[1]->program, "/bin/cat");
	assert_int_equal(s->sources[1]->options.n, 3);
	assert_string_equal(s->sources[1]->options.list[0].value, "x");
	assert_string_equal(s->sources[1]->options.list[1].value, "true");
	assert_string_equal(s->sources[1]->options.list[2].value, "4");

	assert_int_equal(s->n_maps, 2);
	assert_string_equal(s->maps[0]->name, "alias");
	assert_int_equal(s->maps[0]->rules.kind, SEARCH_VIRTUAL);
	assert_true(s->maps[0]->rules.propagate);
	assert_text(s->maps[0]->rules.recipient_delimiter, "+");
	assert_text(s->maps[0]->rules.local_domains[0], "home.test");
	assert_text(s->maps[0]->tables[0]->expect[0], "strasse@x");
	assert_string_equal(s->maps[0]->tables[0]->options.list[0].value, "goes");
	assert_string_equal(s->maps[1]->name, "transport_maps");
	assert_int_equal(s->maps[1]->rules.kind, SEARCH_TRANSPORT);
	assert_int_equal(s->maps[1]->rules.parents, PARENTS_DOTTED);
	assert_true(s->maps[1]->tables[0]->needs.local);
	assert_true(s->maps[1]->tables[0]->needs.domain);
	assert_int_equal(s->maps[1]->tables[0]->needs.labels, 2);
	assert_true(domain_list_admits(s->maps[1]->tables[0]->domain, TEXT("u@a.test")));
	assert_false(domain_list_admits(s->maps[1]->tables[0]->domain, TEXT("u@b.test")));
	settings_free(s);
	remove_file("maps.d/transport_maps.conf");
	remove_file("maps.d/alias.conf");
	remove_file("maps.d/x.conf~");
	remove_file("maps.d/.y.conf");
	remove_file("maps.d/README");
	buf_done(&why);
	buf_done(&notes);
	buf_done(&path);
}

static void a_postfix_table_becomes_a_source_and_a_table(void **state)
{
	struct buf why = { 0 };
	struct settings *s = load_postfix("dbpath = /nowhere/db.sqlite\n"
					  "query = SELECT v FROM t\n  WHERE k = '%u'\n"
					  "expansion_limit = 5\ndomain = a.test, "
					  "b.test\n",
					  "postfix_table = \"proxy:sqlite:@/x.cf, "
					  "sqlite:@/y.cf\"; ttl = \"1m\";",
					  &why);
	(void)state;

	assert_string_equal(buf_cstr(&why), "");
	assert_int_equal(s->n_sources, 2);
	assert_string_equal(s->sources[1]->name, "sqlite:/nowhere/db.sqlite");
	assert_string_equal(s->sources[1]->driver, "sqlite");
	assert_string_equal(s->sources[1]->options.list[1].value, "/nowhere/db.sqlite");
	assert_int_equal(s->sources[1]->connections, 4);
	assert_int_equal(s->maps[0]->n_tables, 2);
	assert_string_equal(s->maps[0]->tables[0]->source, "sqlite:/nowhere/db.sqlite");
	assert_string_equal(s->maps[0]->tables[0]->options.list[0].value,
			    "SELECT v FROM t  WHERE k = '%u'");
	assert_int_equal(s->maps[0]->tables[0]->expansion_limit, 5);
	assert_int_equal(s->maps[0]->tables[0]->ttl, 60000);
	assert_true(s->maps[0]->tables[0]->needs.local);
	assert_non_null(s->maps[0]->tables[0]->domain);
	assert_string_equal(s->maps[0]->tables[1]->source, "sqlite:/nowhere/db.sqlite");
	assert_null(s->maps[0]->tables[1]->domain);
	settings_free(s);
	buf_done(&why);
}

static void equal_settings_have_equal_fingerprints(void **state)
{
	static const struct { const char *a, *b; bool is_same; } cases[] = {
		{ GOOD_MAP, "\n# moved\n" MAP_QUERY "source = \"db\";", true },
		{ GOOD_MAP, GOOD_MAP "ttl = \"300s\"; mode = \"demand\";", true },
		{ GOOD_MAP, GOOD_MAP "search = \"virtual\";", true },
		{ GOOD_MAP, "tables = ( { " GOOD_MAP "} );", true },
		{ GOOD_MAP, GOOD_MAP "ttl = \"301s\";", false },
		{ GOOD_MAP, GOOD_MAP "recipient_delimiter = \"+\";", false },
		{ GOOD_MAP, GOOD_MAP "scan_query = \"SELECT 1\";", false },
		{ GOOD_MAP, "tables = ( { " GOOD_MAP "}, { " GOOD_MAP "} );", false },
		{ GOOD_MAP "result_format = \"x\ny\";",
		  GOOD_MAP "result_format = \"x\\x0ay\";", true },
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct buf why = { 0 }, notes = { 0 };
		struct settings *a = load_map(ALIAS, cases[i].a, &why, &notes);
		struct settings *b = load_map(ALIAS, cases[i].b, &why, &notes);

		assert_string_equal(buf_cstr(&why), "");
		assert_int_equal(strcmp(a->maps[0]->fingerprint,
			b->maps[0]->fingerprint) == 0,
				 cases[i].is_same);
		assert_string_equal(a->sources[0]->fingerprint,
			b->sources[0]->fingerprint);
		assert_string_equal(a->listeners[0]->fingerprint,
			b->listeners[0]->fingerprint);
		settings_free(a);
		settings_free(b);
		buf_done(&why);
		buf_done(&notes);
	}
}

static void a_changed_domain_file_changes_the_fingerprint(void **state)
{
	struct buf why = { 0 }, notes = { 0 }, map = { 0 };
	(void)state;

	buf_str(&map, GOOD_MAP);
	buf_printf(&map, "domain = \"!%s/no, %s/yes\";", dir, dir);
	write_file("no", TEXT("b.test\n"));
	write_file("yes", TEXT("a.test\n"));
	struct settings *a = load_map(ALIAS, buf_cstr(&map), &why, &notes);
	struct settings *b = load_map(ALIAS, buf_cstr(&map), &why, &notes);
	write_file("no", TEXT("c.test\n"));
	struct settings *c = load_map(ALIAS, buf_cstr(&map), &why, &notes);

	assert_string_equal(buf_cstr(&why), "");
	assert_string_equal(a->maps[0]->fingerprint, b->maps[0]->fingerprint);
	assert_string_not_equal(a->maps[0]->fingerprint, c->maps[0]->fingerprint);
	settings_free(a);
	settings_free(b);
	settings_free(c);
	remove_file("no");
	remove_file("yes");
	buf_done(&why);
	buf_done(&notes);
	buf_done(&map);
}

static void a_reload_says_what_it_cannot_change(void **state)
{
	struct buf why = { 0 }, notes = { 0 }, conf = { 0 };
	(void)state;

	struct settings *old = load_map(ALIAS, GOOD_MAP, &why, &notes);
	buf_str(&conf, good_conf);
	buf_str(&conf, "threads = 2; user = \"root\"; stop_timeout = \"1s\";");
	write_file("s.conf", buf_view(&conf));
	write_file(ALIAS_FILE, TEXT(GOOD_MAP));
	struct settings *new = load(&why, &notes);
	remove_file(ALIAS_FILE);

	assert_string_equal(buf_cstr(&why), "");
	assert_false(settings_needs_restart(old, old, &why));
	assert_true(settings_needs_restart(old, new, &why));
	assert_string_equal(buf_cstr(&why), "threads: \"2\" instead of \"0\" needs a "
		"restart\n"
					    "user: \"root\" instead of \"\" needs a "
					    "restart\n");

	/* What runs is what was started: two reloads say the same, and the way back is none. */
	settings_keep_started(old, new);
	assert_int_equal(new->daemon.threads, 0);
	assert_null(new->daemon.user);
	assert_int_equal(new->daemon.stop_timeout, 1000);
	assert_int_equal(old->daemon.threads, 2);
	assert_string_equal(old->daemon.user, "root");
	settings_free(old);
	settings_free(new);
	buf_done(&why);
	buf_done(&notes);
	buf_done(&conf);
}

/*
 * One row of a table of its own for each type; see that the defaults of the real ones
 * parse.
 */

static void every_default_is_a_value_that_could_be_written(void **state)
{
	static const struct option_row *const blocks[] = {
		daemon_rows, listener_rows, source_rows, map_rows, table_rows,
	};
	(void)state;

	for (size_t b = 0; b < sizeof blocks / sizeof *blocks; b++)
		for (const struct option_row *r = blocks[b]; r->name; r++) {
			union { uint64_t n; char *s; struct strings list; } field = { 0 };
			struct buf why = { 0 };

			assert_non_null(r->help);
			assert_true(r->type == OPTION_BLOCKS || r->size > 0);
			assert_true(!r->otherwise || !r->computed);
			if (r->otherwise && !option_parse(r, text_of(r->otherwise), "/",
				&field, &why))
				fail_msg("%s: %s", r->name, buf_cstr(&why));
			option_clear(r, &field);
			buf_done(&why);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_right_but_odd_is_noted),
		cmocka_unit_test(defaults_and_settings_take_effect),
		cmocka_unit_test(the_settings_hold_what_the_files_say),
		cmocka_unit_test(a_postfix_table_becomes_a_source_and_a_table),
		cmocka_unit_test(equal_settings_have_equal_fingerprints),
		cmocka_unit_test(a_changed_domain_file_changes_the_fingerprint),
		cmocka_unit_test(a_reload_says_what_it_cannot_change),
		cmocka_unit_test(every_default_is_a_value_that_could_be_written),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
