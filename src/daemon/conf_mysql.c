#include "daemon/conf_parts.h"

#include "base/hosts.h"

#include <inttypes.h>

static const char *const tls_words[] = { "TLSv1.2", "TLSv1.3", NULL };

static const struct option_row mysql_source_rows[] = {
	{ "hosts", OPTION_LIST, .otherwise = "localhost", .flags = OPTION_POSTFIX,
	  .help = "as in Postfix: \"unix:/path\", \"inet:host:port\", in any order" },
	{ "user", OPTION_TEXT, .flags = OPTION_POSTFIX, .help = "as in Postfix" },
	{ "password", OPTION_TEXT, .flags = OPTION_POSTFIX | OPTION_SECRET,
	  .help = "as in Postfix; password_file is safer" },
	{ "password_file", OPTION_PATH, .min = 1,
	  .help = "instead: read from this file at each connect" },
	{ "password_credential", OPTION_TEXT, .min = 1,
	  .help = "instead: the systemd credential of that name" },
	{ "password_cf", OPTION_PATH, .min = 1,
	  .help = "instead: the password in this Postfix table file" },
	{ "dbname", OPTION_TEXT, .min = 1, .flags = OPTION_REQUIRED | OPTION_POSTFIX,
	  .help = "the database" },
	{ "charset", OPTION_TEXT, .min = 1, .otherwise = "utf8mb4",
	  .flags = OPTION_POSTFIX, .help = "as in Postfix: of keys and values" },
	{ "option_file", OPTION_PATH, .flags = OPTION_POSTFIX,
	  .help = "as in Postfix, but without one none is read" },
	{ "option_group", OPTION_TEXT, .computed = "of option_file: client",
	  .flags = OPTION_POSTFIX, .help = "as in Postfix: its section" },
	{ "tls_cert_file", OPTION_PATH, .flags = OPTION_POSTFIX,
	  .help = "our certificate" },
	{ "tls_key_file", OPTION_PATH, .flags = OPTION_POSTFIX, .help = "its key" },
	{ "tls_CAfile", OPTION_PATH, .flags = OPTION_POSTFIX,
	  .help = "whose certificates are believed" },
	{ "tls_CApath", OPTION_PATH, .flags = OPTION_POSTFIX,
	  .help = "the same, as a directory" },
	{ "tls_ciphers", OPTION_TEXT, .flags = OPTION_POSTFIX,
	  .help = "ciphers for TLS 1.2" },
	{ "tls_verify_cert", OPTION_BOOL, .computed = "by the host: true for inet:",
	  .flags = OPTION_POSTFIX, .help = "whether the server's name must be right" },
	{ "tls_min_version", OPTION_WORD, .words = tls_words,
	  .computed = "TLSv1.2", .help = "the oldest TLS that is spoken" },
	{ "retry_interval", OPTION_TIME, .min = 1000, .max = 86400000, .otherwise = "60s",
	  .flags = OPTION_POSTFIX, .help = "how long a host that failed is left alone" },
	{ "idle_interval", OPTION_TIME, .min = 1000, .max = 86400000, .otherwise = "60s",
	  .flags = OPTION_POSTFIX, .help = "when an unused connection is closed" },
	{ "connect_timeout", OPTION_TIME, .min = 1000, .max = 600000, .otherwise = "2s",
	  .help = "for one host to be connected" },
	{ 0 }
};

static const struct option_row mysql_table_rows[] = {
	{ "query", OPTION_TEXT, .min = 1, .flags = OPTION_POSTFIX,
	  .help = "as in Postfix: the values in all of its columns" },
	{ "scan_query", OPTION_TEXT, .min = 1, .help = "all keys and their values" },
	{ "change_query", OPTION_TEXT, .min = 1,
	  .help = "its result differs when that of scan_query does" },
	{ "require_result_set", OPTION_BOOL, .otherwise = "true", .flags = OPTION_POSTFIX,
	  .help = "as in Postfix: a CALL without a result is an error" },
	CONF_SQL_OLD_ROWS,
	{ 0 }
};

static void mysql_finish(struct table_draft *d)
{
	conf_sql_finish(d, SQL_MYSQL);
}

static void check_hosts(struct conf *c, const struct node *group, const char *list)
{
	const struct node *where = node_find(group, "hosts");
	struct buf why = { 0 };
	struct hosts hosts;

	if (hosts_parse(text_of(list), &hosts, &why))
		hosts_done(&hosts);
	else
		conf_error(c, where ? where : group, "%s", buf_cstr(&why));
	buf_done(&why);
}

static void check_password(struct conf *c, const struct node *group)
{
	static const char *const names[] = {
		"password", "password_file", "password_credential", "password_cf",
	};
	const struct node *first = NULL;

	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		const struct node *item = node_find(group, names[i]);

		if (item && first)
			conf_error(c, item, "%s: there is a %s already", item->name,
				   first->name);
		first = first ? first : item;
	}
	if (node_find(group, "password"))
		conf_note(c, node_find(group, "password"),
			  "password: a password_file of mode 0600 keeps it out of here");
}

static void pass_on(struct options *options, const char *name, uint64_t msec)
{
	struct buf value = { 0 };

	buf_printf(&value, "%" PRIu64, msec);
	conf_option_set(options, name, buf_cstr(&value));
	buf_done(&value);
}

/* The time limits are ours, but the driver tells its library and the server of them. */
static void mysql_finish_source(struct conf *c, const struct node *group,
				struct source_settings *s)
{
	const char *hosts = conf_option_get(&s->options, "hosts");

	if (hosts)
		check_hosts(c, group, hosts);
	check_password(c, group);
	pass_on(&s->options, "timeout", s->timeout);
	pass_on(&s->options, "scan_timeout", s->scan_timeout);
	pass_on(&s->options, "scan_idle", s->scan_idle);
}

const struct driver_kind driver_mysql = {
	.name = "mysql",
	.source_rows = mysql_source_rows,
	.table_rows = mysql_table_rows,
	.finish = mysql_finish,
	.finish_source = mysql_finish_source,
};
