#include "daemon/conf_parts.h"

#include "base/hosts.h"

static const char *const tls_words[] = { "TLSv1.2", "TLSv1.3", NULL };

static const struct option_row mysql_source_rows[] = {
	{ "hosts", OPTION_LIST, .otherwise = "localhost", .flags = OPTION_POSTFIX,
	  .help = "as in Postfix: \"unix:/path\", \"inet:host:port\", in any order" },
	{ "user", OPTION_TEXT, .flags = OPTION_POSTFIX, .help = "as in Postfix" },
	{ "password", OPTION_TEXT, .flags = OPTION_POSTFIX | OPTION_SECRET,
	  .help = "as in Postfix; password_file is safer" },
	{ "password_file", OPTION_PATH, .min = 1,
	  .flags = OPTION_TUNING,
	  .help = "instead: read from this file at each connect" },
	{ "password_credential", OPTION_TEXT, .min = 1,
	  .flags = OPTION_TUNING,
	  .help = "instead: the systemd credential of that name" },
	{ "password_cf", OPTION_PATH, .min = 1,
	  .flags = OPTION_TUNING,
	  .help = "instead: the password in this Postfix table file" },
	{ "dbname", OPTION_TEXT, .min = 1, .flags = OPTION_REQUIRED | OPTION_POSTFIX,
	  .help = "the database" },
	{ "charset", OPTION_TEXT, .min = 1, .otherwise = "utf8mb4",
	  .flags = OPTION_POSTFIX, .help = "as in Postfix: of keys and values" },
	{ "option_file", OPTION_PATH, .flags = OPTION_POSTFIX,
	  .help = "as in Postfix, but without one none is read" },
	{ "option_group", OPTION_TEXT, .computed = "of option_file: client",
	  .flags = OPTION_POSTFIX, .help = "as in Postfix: its section" },
	{ "tls_cert_file", OPTION_PATH, .flags = OPTION_POSTFIX | OPTION_TUNING,
	  .help = "our certificate" },
	{ "tls_key_file", OPTION_PATH, .flags = OPTION_POSTFIX | OPTION_TUNING,
	  .help = "its key" },
	{ "tls_CAfile", OPTION_PATH, .flags = OPTION_POSTFIX | OPTION_TUNING,
	  .help = "whose certificates are believed" },
	{ "tls_CApath", OPTION_PATH, .flags = OPTION_POSTFIX | OPTION_TUNING,
	  .help = "the same, as a directory" },
	{ "tls_ciphers", OPTION_TEXT, .flags = OPTION_POSTFIX | OPTION_TUNING,
	  .help = "ciphers for TLS 1.2" },
	{ "tls_verify_cert", OPTION_BOOL, .computed = "by the host: true for inet:",
	  .flags = OPTION_POSTFIX | OPTION_TUNING,
	  .help = "whether the server's name must be right" },
	{ "tls_min_version", OPTION_WORD, .words = tls_words,
	  .computed = "TLSv1.2",
	  .flags = OPTION_TUNING, .help = "the oldest TLS that is spoken" },
	{ "retry_interval", OPTION_TIME, .min = 1000, .max = 86400000, .otherwise = "60s",
	  .flags = OPTION_POSTFIX | OPTION_TUNING,
	  .help = "how long a host that failed is left alone" },
	{ "idle_interval", OPTION_TIME, .min = 1000, .max = 86400000, .otherwise = "60s",
	  .flags = OPTION_POSTFIX | OPTION_TUNING,
	  .help = "when an unused connection is closed" },
	{ "connect_timeout", OPTION_TIME, .min = 1000, .max = 600000, .otherwise = "2s",
	  .flags = OPTION_TUNING, .help = "for one host to be connected" },
	{ 0 }
};

static const struct option_row mysql_table_rows[] = {
	{ "query", OPTION_TEXT, .min = 1, .flags = OPTION_POSTFIX,
	  .help = "as in Postfix: the values in all of its columns" },
	{ "scan_query", OPTION_TEXT, .min = 1, .help = "all keys and their values" },
	{ "expiry_column", OPTION_TEXT, .min = 1,
	  .help = "the column of scan_query that says when a row ends" },
	{ "change_query", OPTION_TEXT, .min = 1,
	  .flags = OPTION_TUNING,
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

static void mysql_finish_source(struct conf *c, const struct node *group,
				struct source_settings *s)
{
	const char *list = conf_option_get(&s->options, "hosts");
	const struct node *where = node_find(group, "hosts");
	struct hosts hosts;
	struct buf why = { 0 };

	if (list && !hosts_parse(text_of(list), &hosts, &why))
		conf_error(c, where ? where : group, "%s", buf_cstr(&why));
	else if (list)
		hosts_done(&hosts);
	conf_check_secret(c, group, "password");
	conf_pass_limits(s);
	buf_done(&why);
}

const struct driver_kind driver_mysql = {
	.name = "mysql",
	.source_rows = mysql_source_rows,
	.table_rows = mysql_table_rows,
	.finish = mysql_finish,
	.finish_source = mysql_finish_source,
};
