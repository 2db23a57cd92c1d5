#include "unit/conf_dir.h"

static void what_is_wrong_with_the_daemons_file_is_said(void **state)
{
	static const struct { const char *conf, *why; } cases[] = {
		{ "thread = 1;", "s.conf:4: unknown setting \"thread\"; did you mean "
		  "\"threads\"?\n" },
		{ "colour = 1;", "s.conf:4: unknown setting \"colour\"\n" },
		{ "query = \"x\";",
		  "s.conf:4: unknown setting \"query\"; it belongs to a table of driver "
		  "\"sqlite\" or a table of driver \"mysql\"\n" },
		{ "search_base = \"x\";",
		  "s.conf:4: unknown setting \"search_base\"; it belongs to a table of "
		  "driver \"ldap\"\n" },
		{ "threads = \"2\";", "s.conf:4: threads: wants a whole number below "
		  "2147483648\n" },
		{ "threads = -1;", "s.conf:4: threads: \"-1\": wants a whole number "
		  "below 2147483648\n" },
		{ "threads = 257;", "s.conf:4: threads: 257 is more than 256\n" },
		{ "max_clients = 99999999999;",
		  "s.conf:4: max_clients: wants a whole number below 2147483648\n" },
		{ "max_clients = 0x100000001;",
		  "s.conf:4: max_clients: wants a whole number below 2147483648\n" },
		{ "max_clients = 1.5;", "s.conf:4: max_clients: wants a whole number "
		  "below 2147483648\n" },
		{ "max_clients = 0;", "s.conf:4: max_clients: 0 is less than 1\n" },
		{ "log = \"a\nb\";", "s.conf:4: log: \"a\\x0ab\" is none of \"stderr\", "
		  "\"syslog:mail\", \"syslog:daemon\", \"syslog:local0\" to "
		  "\"local7\"\n" },
		{ "log = \"\\xff\";",
		  "s.conf:4: log: wants a string in double quotes\n" },
		{ "stop_timeout = 5;", "s.conf:4: stop_timeout: wants a duration in "
		  "double quotes, with "
		  "its unit: \"500ms\", \"30s\", \"5m\", \"3d\"\n" },
		{ "stop_timeout = \"5\";", "s.conf:4: stop_timeout: \"5\": wants a "
		  "duration in double "
		  "quotes, with its unit: \"500ms\", \"30s\", \"5m\", \"3d\"\n" },
		{ "stop_timeout = \"1h\";", "s.conf:4: stop_timeout: 1h is more than "
		  "10m\n" },
		{ "owner_request_special = \"yes\";",
		  "s.conf:4: owner_request_special: wants true or false, without "
		  "quotes\n" },
		{ "owner_request_special = 1;",
		  "s.conf:4: owner_request_special: wants true or false, without "
		  "quotes\n" },
		{ "owner_request_special = yes;", "s.conf:4: syntax error\n" },
		{ "log_level = \"inf\";", "s.conf:4: log_level: \"inf\" is none of "
		  "\"error\", \"warn\", "
		  "\"info\", \"debug\"; did you mean \"info\"?\n" },
		{ "log = \"syslog:post\";", "s.conf:4: log: \"syslog:post\" is none of "
		  "\"stderr\", "
		  "\"syslog:mail\", \"syslog:daemon\", \"syslog:local0\" to "
		  "\"local7\"\n" },
		{ "user = \"no-such-user\";",
		  "s.conf:4: user: there is no user \"no-such-user\" on this host\n" },
		{ "group = [ \"root\" ];", "s.conf:4: group: wants the name of a group, "
		  "in double quotes\n" },
		{ "local_domains = [ 1 ];", "s.conf:4: local_domains: wants a list: [ "
		  "\"a\", \"b\" ], or \"a, b\"\n" },
		{ "local_domains = [ \"a\", \"\" ];",
		  "s.conf:4: local_domains: an empty item\n" },
		{ "propagate_unmatched_extensions = \"virtal\";",
		  "s.conf:4: propagate_unmatched_extensions: \"virtal\" is none of "
		  "\"canonical\", \"virtual\", "
		  "\"generic\", \"alias\", \"forward\", \"include\"; did you mean "
		  "\"virtual\"?\n" },
		{ "maps_directory = \"\";", "s.conf:4: maps_directory: must not be "
		  "empty\n" },
		{ "maps_directory = \"nowhere\";",
		  "s.conf:4: maps_directory: nowhere: No such file or directory\n" },
		{ "maps_directory = \"bin\";", "s.conf:4: maps_directory: no map "
		  "(NAME.conf) in bin\n" },
		{ "threads = 1; threads = 2;", "s.conf:4: duplicate setting name\n" },
		{ "threads = 1\n\n}", "s.conf:6: syntax error\n" },
		{ "a = 1;\nb = 2;", "s.conf:4: unknown setting \"a\"\ns.conf:5: unknown "
		  "setting \"b\"\n" },
		{ "log = \"a\\x00b\";", "s.conf:4: \\x00 would end the string\n" },
		{ "log = \"stderr;\n", "s.conf:4: the string that begins here never "
		  "ends\n" },
		{ "# fine\n/* log = \"\n", "s.conf:5: the comment that begins here never "
		  "ends\n" },
		{ "log = \"\xff\";", "s.conf:4: not UTF-8\n" },
		{ "@include \"nowhere.conf\"",
		  "s.conf:4: in the file included here:\nnowhere.conf: No such file or "
		  "directory\n" },
		{ "@include nowhere.conf", "s.conf:4: @include wants a file name in "
		  "double quotes\n" },
	};
	(void)state;

	write_file("maps.d/virtual_alias_maps.conf", TEXT(GOOD_MAP));
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct buf conf = { 0 }, why = { 0 }, notes = { 0 };

		buf_str(&conf, good_conf);
		buf_str(&conf, cases[i].conf);
		write_file("s.conf", buf_view(&conf));
		assert_null(load(&why, &notes));
		assert_string_equal(buf_cstr(&why), cases[i].why);
		buf_done(&conf);
		buf_done(&why);
		buf_done(&notes);
	}
	remove_file("maps.d/virtual_alias_maps.conf");
}

#define LISTENER(text) "listeners = ( { " text " } );", "sources = ();"
#define SOCKETMAP "protocol = \"socketmap\"; "
#define SOURCE(text) \
	"listeners = ( { " SOCKETMAP "address = \"inet:[::1]:1\"; } );", \
	"sources = ( { " text " } );"
#define TEN "0123456789"
#define LONG_PATH "/" TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN "0123456"

static void what_is_wrong_with_listeners_and_sources_is_said(void **state)
{
	static const struct { const char *listeners, *sources, *why; } cases[] = {
		{ "", "", "s.conf:1: listeners is missing: where clients connect\n" },
		{ "listeners = ();", "", "s.conf:2: listeners: there must be one\n" },
		{ "listeners = \"x\";", "",
		  "s.conf:2: listeners: wants a list of groups: ( { ... }, { ... } )\n" },
		{ LISTENER("protocol = \"socketmap\";"),
		  "s.conf:2: address is missing: \"unix:/path\", "
		  "\"inet:127.0.0.1:8999\", \"inet:[::1]:8999\" or \"systemd:NAME\"\n" },
		{ LISTENER("protocol = \"https\"; address = \"inet:[::1]:1\";"),
		  "s.conf:2: unknown protocol \"https\"; did you mean \"http\"?: "
		  "\"socketmap\", \"tcp_table\", \"http\" or \"control\"\n" },
		{ LISTENER("protocol = \"control\"; address = \"inet:[::1]:1\"; max_unread = \"1M\";"),
		  "s.conf:2: max_unread is for socketmap and tcp_table\n"
		  "s.conf:2: address: control wants \"unix:/path\" or \"systemd:NAME\", as only "
		  "there it is known who asks\n" },
		{ LISTENER("protocol = \"http\"; address = \"inet:[::1]:1\"; map = \"m\"; "
		  "idle_timeout = \"1s\";"),
		  "s.conf:2: map is for socketmap and tcp_table\n"
		  "s.conf:2: idle_timeout is for socketmap and tcp_table\n"
		  "s.conf:2: there is no map \"m\"\n" },
		{ LISTENER(SOCKETMAP "address = \"inet:localhost:1\";"),
		  "s.conf:2: address: wants an IP address and a port: "
		  "\"inet:127.0.0.1:8999\", "
		  "\"inet:[::1]:8999\"\n" },
		{ LISTENER(SOCKETMAP "address = \"inet:::1:1\";"),
		  "s.conf:2: address: wants an IP address and a port: "
		  "\"inet:127.0.0.1:8999\", "
		  "\"inet:[::1]:8999\"\n" },
		{ LISTENER(SOCKETMAP "address = \"inet:127.0.0.1:65536\";"),
		  "s.conf:2: address: wants an IP address and a port: "
		  "\"inet:127.0.0.1:8999\", "
		  "\"inet:[::1]:8999\"\n" },
		{ LISTENER(SOCKETMAP "address = \"unix:relative\";"),
		  "s.conf:2: address: wants \"unix:/path\", \"inet:ADDRESS:PORT\" or "
		  "\"systemd:NAME\"\n" },
		{ LISTENER(SOCKETMAP "address = \"unix:" LONG_PATH "\";"),
		  "s.conf:2: address: the path of a unix socket may have 107 bytes\n" },
		{ LISTENER(SOCKETMAP "address = \"inet:[::1]:1\"; map = \"m\";"),
		  "s.conf:2: map: socketmap clients name the map themselves\n"
		  "s.conf:2: there is no map \"m\"\n" },
		{ LISTENER("protocol = \"tcp_table\"; address = \"inet:[::1]:1\";"),
		  "s.conf:2: map is missing: tcp_table clients cannot name it\n" },
		{ LISTENER("protocol = \"tcp_table\"; address = \"inet:[::1]:1\"; map = "
		  "\"virtual_alias_map\";"),
		  "s.conf:2: there is no map \"virtual_alias_map\"; did you mean "
		  "\"virtual_alias_maps\"?\n" },
		{ LISTENER(SOCKETMAP "address = \"inet:[::1]:1\"; mode = \"0600\"; owner "
		  "= \"root\";"),
		  "s.conf:2: owner is for unix: addresses\ns.conf:2: mode is for unix: "
		  "addresses\n" },
		{ LISTENER(SOCKETMAP "address = \"unix:/x\"; mode = 0660;"),
		  "s.conf:2: mode: wants an octal mode in double quotes: \"0660\"\n" },
		{ LISTENER(SOCKETMAP "address = \"unix:/x\"; mode = \"0690\";"),
		  "s.conf:2: mode: \"0690\": wants an octal mode in double quotes: "
		  "\"0660\"\n" },
		{ LISTENER(SOCKETMAP "address = \"unix:/x\"; mode = \"1777\";"),
		  "s.conf:2: mode: 1777 is more than 0777\n" },
		{ LISTENER(SOCKETMAP "address = \"unix:/x\"; max_request = \"1M\";"),
		  "s.conf:2: max_request: 1M is more than 999999\n" },
		{ LISTENER(SOCKETMAP "address = \"inet:[::1]:1\"; }, {" SOCKETMAP
			   "address = \"inet:[0::0:1]:1\";"),
		  "s.conf:2: address: a second listener on inet:[0::0:1]:1\n" },
		{ SOURCE("name = \"db\"; driver = \"sqlite\";"),
		  "s.conf:3: dbpath is missing: the database file\n" },
		{ SOURCE("driver = \"sqlite\"; dbpath = \"/x\";"),
		  "s.conf:3: name is missing: what tables call it\n" },
		{ SOURCE("name = \"d b\"; driver = \"sqlite\"; dbpath = \"/x\";"),
		  "s.conf:3: name: \"d b\" is not made of letters, digits, '_', '.', "
		  "'-'\n" },
		{ SOURCE("name = \"db\"; driver = \"sqllite\"; dbpath = \"/x\";"),
		  "s.conf:3: unknown driver \"sqllite\"; did you mean \"sqlite\"?\n" },
		{ SOURCE("name = \"db\"; driver = \"/no/such\";"),
		  "s.conf:3: driver: there is no program /no/such that may be "
		  "started\n" },
		{ SOURCE("name = \"db\"; driver = \"/etc/passwd\";"),
		  "s.conf:3: driver: there is no program /etc/passwd that may be "
		  "started\n" },
		{ SOURCE("name = \"db\"; driver = \"/bin/cat\"; x = [ 1 ];"),
		  "s.conf:3: x: a driver program takes only single values\n" },
		{ SOURCE("name = \"db\"; driver = \"sqlite\"; dbpth = \"/x\";"),
		  "s.conf:3: unknown setting \"dbpth\"; did you mean \"dbpath\"?\n"
		  "s.conf:3: dbpath is missing: the database file\n" },
		{ SOURCE("name = \"a\"; driver = \"/bin/cat\"; }, { name = \"a\"; driver "
		  "= \"/bin/cat\";"),
		  "s.conf:3: name: a second source \"a\"\n" },
	};
	(void)state;

	write_file("maps.d/virtual_alias_maps.conf", TEXT("source = \"db\"; " MAP_QUERY));
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct buf conf = { 0 }, why = { 0 }, notes = { 0 };
		char *end;

		buf_printf(&conf, "driver_directory = \"bin\";\n%s\n%s\n",
			cases[i].listeners,
			   cases[i].sources);
		write_file("s.conf", buf_view(&conf));
		assert_null(load(&why, &notes));
		end = strstr(buf_cstr(&why), "maps.d/virtual_alias_maps.conf:1: there is "
			"no source");
		if (end) {	/* that follows from the rest */
			size_t n = strcspn(end, "\n") + 1;

			memmove(end, end + n, strlen(end + n) + 1);
		}
		assert_string_equal(why.p, cases[i].why);
		buf_done(&conf);
		buf_done(&why);
		buf_done(&notes);
	}
	remove_file("maps.d/virtual_alias_maps.conf");
}

static void what_is_wrong_with_a_map_is_said(void **state)
{
	static const struct { const char *name, *map, *why; } cases[] = {
		{ ALIAS, "", ALIAS_FILE ":1: source is missing, or postfix_table\n" },
		{ ALIAS, "source = \"bd\"; " MAP_QUERY,
		  ALIAS_FILE ":1: there is no source \"bd\"; did you mean \"db\"?\n" },
		{ ALIAS, "source = \"db\";",
		  ALIAS_FILE ":1: query is missing, or select_field, table and "
		  	"where_field\n" },
		{ ALIAS, "source = \"db\"; table = \"t\"; select_field = \"v\";",
		  ALIAS_FILE ":1: query is missing, or select_field, table and "
		  	"where_field\n" },
		{ ALIAS, "source = \"db\"; query = \"\";",
		  ALIAS_FILE ":1: query: must not be empty\n" },
		{ ALIAS, "source = \"db\"; dbpath = \"/x\"; " MAP_QUERY, ALIAS_FILE
		  ":1: unknown setting \"dbpath\"; it belongs to a source of driver "
		  "\"sqlite\"\n" },
		{ ALIAS, GOOD_MAP "refresj = \"5m\";",
		  ALIAS_FILE ":1: unknown setting \"refresj\"; did you mean "
		  	"\"refresh\"?\n" },
		{ ALIAS, GOOD_MAP "\nserach = \"exact\";",
		  ALIAS_FILE ":2: unknown setting \"serach\"; did you mean "
		  	"\"search\"?\n" },
		{ ALIAS, GOOD_MAP "search = \"virtul\";",
		  ALIAS_FILE ":1: search: \"virtul\" is none of "
		  "\"exact\", \"virtual\", \"address\", \"transport\", \"mail_access\", "
		  "\"domain_access\", "
		  "\"network_access\", \"domain\"; did you mean \"virtual\"?\n" },
		{ "my_map", GOOD_MAP, "maps.d/my_map.conf:1: search is missing: "
		  "\"my_map\" is no parameter "
		  "of Postfix that would tell; one of \"exact\", \"virtual\", "
		  "\"address\", \"transport\", "
		  "\"mail_access\", \"domain_access\", \"network_access\", "
		  "\"domain\"\n" },
		{ "my map", GOOD_MAP, "maps.d/my map.conf:1: a map's name is made of "
		  "letters, digits, "
		  "'_', '.' and '-'\n" },
		{ "my:map", GOOD_MAP, "maps.d/my:map.conf:1: a map's name is made of "
		  "letters, digits, "
		  "'_', '.' and '-'\n" },
		{ ALIAS, GOOD_MAP "parent_domain_style = \"plain\";", ALIAS_FILE
		  ":1: parent_domain_style: search = \"virtual\" tries no parent "
		  "domains\n" },
		{ ALIAS, GOOD_MAP "mode = \"mirror\";",
		  ALIAS_FILE ":1: mode = \"mirror\" wants a scan_query\n" },
		{ ALIAS, MIRROR "on_miss = \"domain\";",
		  ALIAS_FILE ":1: domains is missing: the name of the map of our "
		  	"domains\n" },
		{ ALIAS, MIRROR "stale_miss = \"domain\"; domains = \"relay_domains\";",
		  ALIAS_FILE ":1: domains: there is no map \"relay_domains\"\n" },
		{ ALIAS, MIRROR "stale_miss = \"domain\"; domains = \"" ALIAS "\";",
		  ALIAS_FILE
		  ":1: domains: the map \"" ALIAS "\" holds no domains: its search is "
		  "\"virtual\"\n"
		  ALIAS_FILE ":1: domains: the map \"" ALIAS "\" asks a domain map "
		  	"itself\n" },
		{ ALIAS, MIRROR "max_age = \"1m\";", ALIAS_FILE
		  ":1: max_age: shorter than refresh: every copy would go "
		  "stale\n" },
		{ ALIAS, MIRROR "max_age = \"4d\";",
		  ALIAS_FILE ":1: max_age: longer than stale_max\n" },
		{ ALIAS, MIRROR "stale_max = \"1m\";", ALIAS_FILE
		  ":1: stale_max: shorter than refresh: every copy would "
		  "expire\n" },
		{ ALIAS, MIRROR "export = \"/x/a.cdb\";", ALIAS_FILE
		  ":1: export: \"/x/a.cdb\": wants \"cdb:/path/NAME.cdb\"\n" },
		{ ALIAS, MIRROR "export = \"cdb:x/a.cdb\";", ALIAS_FILE
		  ":1: export: \"cdb:x/a.cdb\": must begin with '/', behind cdb:\n" },
		{ ALIAS, MIRROR "export = \"cdb:/x/a\";", ALIAS_FILE
		  ":1: export: \"cdb:/x/a\": must end with NAME.cdb, which is "
		  "cdb:.../NAME to Postfix\n" },
		{ ALIAS, MIRROR "export = \"cdb:/x/.cdb\";", ALIAS_FILE
		  ":1: export: \"cdb:/x/.cdb\": must end with NAME.cdb, which is "
		  "cdb:.../NAME to Postfix\n" },
		{ ALIAS, MIRROR "export = \"cdb:/x/../a.cdb\";", ALIAS_FILE
		  ":1: export: \"cdb:/x/../a.cdb\": must do without \"..\"\n" },
		{ ALIAS, MIRROR "export = \"cdb:/x/a.cdb\"; secret = true;", ALIAS_FILE
		  ":1: export: a secret map is never written to disk\n" },
		{ ALIAS, GOOD_MAP "export = \"cdb:/x/a.cdb\";", ALIAS_FILE
		  ":1: export: needs mode = \"mirror\" in every table: what is looked up "
		  "key by key cannot be written to a file\n" },
		{ ALIAS, "export = \"cdb:/x/a.cdb\"; tables = ( { " MIRROR "}, { " GOOD_MAP
		  "} );", ALIAS_FILE
		  ":1: export: needs mode = \"mirror\" in every table: what is looked up "
		  "key by key cannot be written to a file\n" },
		{ ALIAS, MIRROR "max_shrink = 101;",
		  ALIAS_FILE ":1: max_shrink: 101 is more than 100\n" },
		{ ALIAS, GOOD_MAP "cache_size = \"63K\";",
		  ALIAS_FILE ":1: cache_size: 63K is less than 64K\n" },
		{ ALIAS, GOOD_MAP "result_format = \"\";",
		  ALIAS_FILE ":1: result_format: must not be empty\n" },
		{ ALIAS, MIRROR "expect = 1;",
		  ALIAS_FILE ":1: expect: wants a list: [ \"a\", \"b\" ], or \"a, "
		  	"b\"\n" },
		{ ALIAS, "tables = ( { " GOOD_MAP "} );\nrefresh = \"5m\";",
		  ALIAS_FILE ":2: refresh belongs into each of the tables\n" },
		{ ALIAS, "tables = (\n{ " GOOD_MAP "search = \"exact\"; } );",
		  ALIAS_FILE ":2: search belongs to the map, outside of its tables\n" },
		{ ALIAS, "tables = ();", ALIAS_FILE ":1: tables: there must be one\n" },
		{ ALIAS, "tables = 3;", ALIAS_FILE
		  ":1: tables: wants a list of groups: ( { ... }, { ... } )\n" },
		{ ALIAS, "tables = (\n{ " GOOD_MAP "},\n{ source = \"db\"; } );",
		  ALIAS_FILE ":3: query is missing, or select_field, table and "
		  	"where_field\n" },
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct buf why = { 0 }, notes = { 0 };

		assert_null(load_map(cases[i].name, cases[i].map, &why, &notes));
		assert_string_equal(buf_cstr(&why), cases[i].why);
		buf_done(&why);
		buf_done(&notes);
	}
}

static void a_bad_template_is_an_error_at_its_line(void **state)
{
	static const struct { const char *map, *where; } cases[] = {
		{ "source = \"db\";\nquery = \"SELECT '%x'\";",
		  ALIAS_FILE ":2: query: " },
		{ "source = \"db\";\nquery = \"SELECT 1 %\";", ALIAS_FILE ":2: query: " },
		{ GOOD_MAP "\nresult_format = \"%0\";",
		  ALIAS_FILE ":2: result_format: " },
		{ GOOD_MAP "\n\ndomain = \"hash:/x\";", ALIAS_FILE ":3: domain: " },
		{ GOOD_MAP "\n\ndomain = \"/no/such/file\";", ALIAS_FILE ":3: domain: " },
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct buf why = { 0 }, notes = { 0 };

		assert_null(load_map(ALIAS, cases[i].map, &why, &notes));
		assert_memory_equal(buf_cstr(&why), cases[i].where,
			strlen(cases[i].where));
		assert_true(why.n > strlen(cases[i].where) + 1);
		assert_null(strchr(strchr(why.p, '\n') + 1, '\n'));
		buf_done(&why);
		buf_done(&notes);
	}
}

static void what_postfix_ignores_is_noted(void **state)
{
	static const struct { const char *cf, *notes; } cases[] = {
		{ "hosts = localhost\n", "x.cf:1: hosts: no parameter of sqlite: tables, and "
		  "ignored as in Postfix\n" },
		{ "result_fromat = %u\n", "x.cf:1: result_fromat: no parameter of sqlite: "
		  "tables, and ignored as in Postfix; did you mean \"result_format\"?\n" },
		{ "scan_query = SELECT 2\n", "x.cf:1: scan_query: no parameter of sqlite: "
		  "tables, and ignored as in Postfix\n" },	/* it is ours */
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct buf cf = { 0 }, why = { 0 }, notes = { 0 };

		buf_printf(&cf, "%sdbpath = /\nquery = SELECT '%%s'\n", cases[i].cf);

		struct settings *s = load_postfix_noting(
			buf_cstr(&cf), "postfix_table = \"sqlite:@/x.cf\";", &why, &notes);
		assert_non_null(s);
		assert_string_equal(buf_cstr(&notes), cases[i].notes);
		assert_int_equal(conf_note_level(buf_view(&notes)), LOG_AT_WARN);
		assert_null(option_of(&s->maps[0]->tables[0]->options, "scan_query"));
		settings_free(s);
		buf_done(&cf);
		buf_done(&why);
		buf_done(&notes);
	}
}

static void what_is_wrong_with_a_postfix_table_is_said(void **state)
{
	static const char good[] = "dbpath = /x\nquery = SELECT 1\n";
	static const struct { const char *cf, *map, *why; } cases[] = {
		{ good, "postfix_table = \"nosql:@/x.cf\";",
		  ALIAS_FILE ":1: postfix_table: there is no driver here for "
		  	"\"nosql:x.cf\"\n" },
		{ good, "postfix_table = \"@/x.cf\";",
		  ALIAS_FILE ":1: postfix_table: there is no driver here for "
		  	"\"x.cf\"\n" },
		{ good, "postfix_table = \"sqlite:x.cf\";",
		  ALIAS_FILE ":1: postfix_table: the path in \"sqlite:x.cf\" must begin "
		  	"with '/'\n" },
		{ good, "postfix_table = \"sqlite:@/z.cf\";",
		  ALIAS_FILE ":1: postfix_table: z.cf: No such file or directory\n" },
		{ good, "postfix_table = \"sqlite:@/x.cf\";\nsource = \"db\";",
		  ALIAS_FILE ":1: postfix_table brings its own source\n" },
		{ good, "postfix_table = \" \";",
		  ALIAS_FILE ":1: postfix_table: wants \"sqlite:/path/x.cf\", as in "
		  	"main.cf\n" },
		{ good, "postfix_table = \"sqlite:@/x.cf\";\nquery = \"SELECT 2\";",
		  ALIAS_FILE ":2: query: x.cf:2 has it, too\n" },
		{ "query = SELECT 1\n", "postfix_table = \"sqlite:@/x.cf\";",
		  "x.cf:1: dbpath is missing: the database file\n" },
		{ "dbpath = db.sqlite\nquery = SELECT 1\n",
		  "postfix_table = \"sqlite:@/x.cf\";",
		  "x.cf:1: dbpath: \"db.sqlite\" must begin with '/'\n" },
		{ "dbpath = /x\n", "postfix_table = \"sqlite:@/x.cf\";",
		  "x.cf:1: query is missing, or select_field, table and where_field\n" },
		{ "dbpath = /x\nquery = SELECT 1\nresult_format =\n",
		  "postfix_table = \"sqlite:@/x.cf\";",
		  "x.cf:3: result_format: must not be empty\n" },
		{ "dbpath = /x\nquery = SELECT 1\nexpansion_limit = many\n",
		  "postfix_table = \"sqlite:@/x.cf\";",
		  "x.cf:3: expansion_limit: \"many\": wants a whole number below "
		  "2147483648\n" },
		{ good, "postfix_table = \"sqlite:@/x.cf\"; mode = \"mirror\";",
		  ALIAS_FILE ":1: mode = \"mirror\" wants a scan_query\n" },
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct buf why = { 0 };

		assert_null(load_postfix(cases[i].cf, cases[i].map, &why));
		assert_string_equal(buf_cstr(&why), cases[i].why);
		buf_done(&why);
	}
}

static void every_error_of_every_file_is_said_at_once(void **state)
{
	struct buf why = { 0 }, notes = { 0 };
	(void)state;

	write_file("s.conf", TEXT("driver_directory = \"bin\"; a = 1;\nlisteners = ( { } "
		");\n"));
	write_file("maps.d/one.conf", TEXT("a = ;"));
	write_file("maps.d/two.conf", TEXT("search = \"exact\";\ntables = ( { }, { x = "
		"1; } );"));
	assert_null(load(&why, &notes));
	assert_string_equal(buf_cstr(&why),
			    "s.conf:1: unknown setting \"a\"\n"
			    "s.conf:2: protocol is missing: \"socketmap\", \"tcp_table\", "
			    "\"http\" or \"control\"\n"
			    "s.conf:2: address is missing: \"unix:/path\", "
			    "\"inet:127.0.0.1:8999\", "
			    "\"inet:[::1]:8999\" or \"systemd:NAME\"\n"
			    "maps.d/one.conf:1: syntax error\n"
			    "maps.d/two.conf:2: source is missing, or postfix_table\n");
	remove_file("maps.d/one.conf");
	remove_file("maps.d/two.conf");
	buf_done(&why);
	buf_done(&notes);
}

static void included_files_keep_their_names_and_lines(void **state)
{
	struct buf why = { 0 }, notes = { 0 }, conf = { 0 };
	(void)state;

	buf_str(&conf, "a = 1;\n@include \"bin/inc.conf\"\n@include \"");
	buf_printf(&conf, "%s/abs.conf\" d = 4;\n", dir);
	buf_str(&conf, good_conf);
	buf_str(&conf, "e = 5;\n");
	write_file("s.conf", buf_view(&conf));
	write_file("bin/inc.conf", TEXT("# @include \"nowhere\"\nlog = \"@include "
		"\\\"x\\\"\";\n"
					"@include \"deeper.conf\"\nb = 2;"));
	write_file("bin/deeper.conf", TEXT("\n\nc = 3;\nmax_clients = 99999999999;\n"));
	write_file("abs.conf", TEXT("\nf = 6;\n"));
	write_file("maps.d/virtual_alias_maps.conf", TEXT(GOOD_MAP));
	assert_null(load(&why, &notes));
	assert_string_equal(buf_cstr(&why),
			    "s.conf:1: unknown setting \"a\"\n"
			    "bin/deeper.conf:3: unknown setting \"c\"\n"
			    "bin/deeper.conf:4: max_clients: wants a whole number below "
			    "2147483648\n"
			    "bin/inc.conf:4: unknown setting \"b\"\n"
			    "abs.conf:2: unknown setting \"f\"\n"
			    "s.conf:3: unknown setting \"d\"\n"
			    "s.conf:7: unknown setting \"e\"\n"
			    "bin/inc.conf:2: log: \"@include \"x\"\" is none of "
			    "\"stderr\", \"syslog:mail\", "
			    "\"syslog:daemon\", \"syslog:local0\" to \"local7\"\n");

	buf_clear(&why);
	write_file("bin/deeper.conf", TEXT("x = ;\n"));
	assert_null(load(&why, &notes));
	assert_string_equal(buf_cstr(&why), "bin/deeper.conf:1: syntax error\n");

	buf_clear(&why);
	write_file("bin/deeper.conf", TEXT("@include \"inc.conf\"\n"));
	assert_null(load(&why, &notes));
	assert_non_null(strstr(buf_cstr(&why), "files that include each other too "
		"deeply\n"));
	remove_file("bin/inc.conf");
	remove_file("bin/deeper.conf");
	remove_file("abs.conf");
	remove_file("maps.d/virtual_alias_maps.conf");
	buf_done(&why);
	buf_done(&notes);
	buf_done(&conf);
}

static void nul_bytes_are_refused_everywhere(void **state)
{
	struct buf why = { 0 };
	(void)state;

	struct settings *s = conf_load_text("s.conf", TEXT("a = 1;\n\0b = 2;"), "m",
		TEXT(""), &why, NULL);
	assert_null(s);
	assert_string_equal(buf_cstr(&why), "s.conf:2: a NUL byte\n");
	buf_done(&why);
}

static void any_text_cut_anywhere_is_only_an_error(void **state)
{
	static const char map[] =
		"search = \"virtual\"; /* x */ tables = ( { " GOOD_MAP "expect = [ "
		"\"a\\\"\", \"b\" ]; }, "
		"{ source = \"db\"; select_field = \"x\"; max_shrink = 0x1fL; refresh = "
		"\"5m\" \"x\"; } ); # z\n";
	struct buf why = { 0 };
	(void)state;

	for (size_t i = 0; i <= sizeof map - 1; i++) {
		struct text conf = exact_copy((struct text){ good_conf,
			sizeof good_conf - 1 });
		struct text cut = exact_copy((struct text){ map, i });

		buf_clear(&why);
		assert_null(conf_load_text("/nowhere/s.conf", conf, "m", cut, &why,
			NULL));
		assert_true(why.n > 0);
		free((char *)cut.p);

		cut = exact_copy((struct text){ conf.p, i < conf.n ? i : conf.n });
		buf_clear(&why);
		assert_null(conf_load_text("/nowhere/s.conf", cut, "m", TEXT(GOOD_MAP),
			&why, NULL));
		assert_true(why.n > 0);
		free((char *)cut.p);
		free((char *)conf.p);
	}
	buf_done(&why);
}

static void deep_nesting_is_only_an_error(void **state)
{
	struct buf text = { 0 }, why = { 0 };
	(void)state;

	buf_str(&text, "a = ");
	for (size_t i = 0; i < 200000; i++)
		buf_byte(&text, '(');
	assert_null(conf_load_text("s.conf", buf_view(&text), "m", TEXT(""), &why, NULL));
	assert_non_null(strstr(buf_cstr(&why), "s.conf:1: "));

	buf_clear(&text);
	buf_clear(&why);
	buf_str(&text, "listeners = ");
	for (size_t i = 0; i < 1000; i++)
		buf_byte(&text, '(');
	for (size_t i = 0; i < 1000; i++)
		buf_byte(&text, ')');
	buf_byte(&text, ';');
	assert_null(conf_load_text("s.conf", buf_view(&text), "m", TEXT(""), &why, NULL));
	assert_non_null(strstr(buf_cstr(&why), "listeners: wants a list of groups"));
	buf_done(&text);
	buf_done(&why);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_wrong_with_the_daemons_file_is_said),
		cmocka_unit_test(what_is_wrong_with_listeners_and_sources_is_said),
		cmocka_unit_test(what_is_wrong_with_a_map_is_said),
		cmocka_unit_test(a_bad_template_is_an_error_at_its_line),
		cmocka_unit_test(what_postfix_ignores_is_noted),
		cmocka_unit_test(what_is_wrong_with_a_postfix_table_is_said),
		cmocka_unit_test(every_error_of_every_file_is_said_at_once),
		cmocka_unit_test(included_files_keep_their_names_and_lines),
		cmocka_unit_test(nul_bytes_are_refused_everywhere),
		cmocka_unit_test(any_text_cut_anywhere_is_only_an_error),
		cmocka_unit_test(deep_nesting_is_only_an_error),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
