#include "daemon/options.h"

#include "daemon/driver_kind.h"

#define FIELD(block, member) \
	.offset = offsetof(struct block, member), \
	.size = sizeof(((struct block *)NULL)->member)
#define DAEMON(member) FIELD(daemon_block, member)
#define LISTENER(member) FIELD(listener_block, member)
#define SOURCE(member) FIELD(source_settings, member)
#define MAP(member) FIELD(map_block, member)
#define TABLE(member) FIELD(table_block, member)
#define K(n) ((uint64_t)(n) << 10)
#define M(n) ((uint64_t)(n) << 20)
#define SECONDS(n) ((uint64_t)(n) * 1000)
#define DAYS(n) SECONDS((uint64_t)(n) * 24 * 3600)

static const char *const level_words[] = { "error", "warn", "info", "debug", NULL };
static const char *const keys_words[] = { "hash", "full", "none", NULL };
static const char *const mode_words[] = { "demand", "mirror", NULL };
static const char *const on_miss_words[] = { "ask", "notfound", "domain", NULL };
static const char *const stale_miss_words[] = { "temp", "notfound", "domain", NULL };
static const char *const parent_words[] = { "none", "plain", "dotted", NULL };

/*
 * The words Postfix knows; the ones without a map here are allowed so that a line of
 * main.cf fits.
 */
static const char *const propagate_words[] = {
	"canonical", "virtual", "generic", "alias", "forward", "include", NULL,
};

const struct option_row daemon_rows[] = {
	{ "threads", OPTION_COUNT, DAEMON(s.threads), .max = 256, .otherwise = "0",
	  .flags = OPTION_RESTART, .help = "threads that answer; 0: one per CPU" },
	{ "user", OPTION_USER, DAEMON(s.user), .flags = OPTION_RESTART,
	  .help = "whom to become after binding" },
	{ "group", OPTION_GROUP, DAEMON(s.group), .flags = OPTION_RESTART,
	  .help = "which group to become after binding" },
	{ "log", OPTION_TEXT, DAEMON(log), .otherwise = "stderr",
	  .help = "\"stderr\", or \"syslog:FACILITY\"" },
	{ "log_level", OPTION_WORD, DAEMON(s.log.level), .otherwise = "info",
	  .words = level_words, .help = "the least important lines that are written" },
	{ "log_keys", OPTION_WORD, DAEMON(s.log.keys), .otherwise = "hash",
	  .words = keys_words, .help = "how addresses appear in the log" },
	{ "maps_directory", OPTION_PATH, DAEMON(maps_directory), .min = 1,
	  .otherwise = "maps.d", .help = "where the map files are" },
	{ "driver_directory", OPTION_PATH, DAEMON(driver_directory), .min = 1,
	  .computed = "beside socketmapd, or libexec/socketmapd",
	  .help = "where the driver programs are" },
	{ "max_clients", OPTION_COUNT, DAEMON(s.max_clients), .min = 1,
	  .max = 1000000, .otherwise = "4096", .flags = OPTION_RESTART,
	  .help = "connections in all" },
	{ "max_clients_per_address", OPTION_COUNT, DAEMON(s.max_clients_per_address),
	  .min = 1, .max = 1000000, .otherwise = "512", .flags = OPTION_RESTART,
	  .help = "connections of one IP address" },
	{ "stop_timeout", OPTION_TIME, DAEMON(s.stop_timeout), .max = SECONDS(600),
	  .otherwise = "5s", .help = "how long SIGTERM waits for open requests" },
	{ "state_directory", OPTION_PATH, DAEMON(s.state_directory),
	  .computed = "of $STATE_DIRECTORY, or " STATEDIR,
	  .flags = OPTION_RESTART | OPTION_EMPTY,
	  .help = "where snapshots are kept for the next start; \"\": nowhere" },
	{ "snapshot_interval", OPTION_TIME, DAEMON(s.snapshot_interval), .min = 100,
	  .max = DAYS(30), .otherwise = "1m",
	  .help = "how often a table is written at most" },
	{ "start_wait", OPTION_TIME, DAEMON(s.start_wait), .max = SECONDS(3600),
	  .otherwise = "10s", .flags = OPTION_RESTART,
	  .help = "how long a start waits for every mirror before it calls itself ready" },
	{ "recipient_delimiter", OPTION_TEXT, DAEMON(keys.recipient_delimiter),
	  .otherwise = "", .help = "as in main.cf: a set of characters" },
	{ "local_domains", OPTION_LIST, DAEMON(keys.local_domains), .otherwise = "",
	  .help = "myorigin and mydestination of main.cf" },
	{ "propagate_unmatched_extensions", OPTION_LIST, DAEMON(keys.propagate),
	  .otherwise = "canonical, virtual", .words = propagate_words,
	  .help = "as in main.cf: which maps put the extension back" },
	{ "owner_request_special", OPTION_BOOL, DAEMON(keys.owner_request_special),
	  .otherwise = "true",
	  .help = "as in main.cf: owner-x and x-request keep their '-'" },
	{ "listeners", OPTION_BLOCKS, .flags = OPTION_REQUIRED,
	  .help = "where clients connect" },
	{ "sources", OPTION_BLOCKS, .help = "the directories" },
	{ 0 }
};

const struct option_row listener_rows[] = {
	{ "protocol", OPTION_TEXT, LISTENER(protocol), .flags = OPTION_REQUIRED,
	  .help = "\"socketmap\", \"tcp_table\", \"http\" or \"control\"" },
	{ "address", OPTION_TEXT, LISTENER(s.address), .flags = OPTION_REQUIRED,
	  .help = "\"unix:/path\", \"inet:127.0.0.1:8999\", \"inet:[::1]:8999\" or "
	  "\"systemd:NAME\"" },
	{ "map", OPTION_TEXT, LISTENER(s.map),
	  .help = "the map of a tcp_table listener" },
	{ "owner", OPTION_USER, LISTENER(s.owner), .help = "of a unix socket" },
	{ "group", OPTION_GROUP, LISTENER(s.group), .help = "of a unix socket" },
	{ "mode", OPTION_MODE, LISTENER(s.mode), .max = 0777, .otherwise = "0660",
	  .help = "of a unix socket" },
	{ "max_request", OPTION_SIZE, LISTENER(s.max_request), .min = 512,
	  .max = 999999, .computed = "16K; tcp_table 8K", .help = "longest request" },
	{ "request_timeout", OPTION_TIME, LISTENER(s.request_timeout), .min = 100,
	  .max = SECONDS(3600), .otherwise = "10s",
	  .help = "to finish a request that has begun" },
	{ "idle_timeout", OPTION_TIME, LISTENER(s.idle_timeout), .max = DAYS(30),
	  .computed = "60s; tcp_table 0", .help = "without a request; 0: none" },
	{ "write_timeout", OPTION_TIME, LISTENER(s.write_timeout), .min = 100,
	  .max = SECONDS(3600), .otherwise = "30s",
	  .help = "for a client to read some of its replies" },
	{ "max_unread", OPTION_SIZE, LISTENER(s.max_unread), .min = K(128),
	  .max = M(1024), .otherwise = "1M", .help = "replies that a client leaves "
	  "unread" },
	{ "max_pipelined", OPTION_COUNT, LISTENER(s.max_pipelined), .min = 1,
	  .max = 100000, .otherwise = "64", .help = "requests of one client answered in "
	  "one go" },
	{ 0 }
};

const struct option_row source_rows[] = {
	{ "name", OPTION_TEXT, SOURCE(name), .flags = OPTION_REQUIRED | OPTION_TUNING,
	  .help = "what tables call it" },
	{ "driver", OPTION_TEXT, SOURCE(driver), .flags = OPTION_REQUIRED,
	  .help = "\"ldap\", \"mysql\", \"sqlite\", or the path of a driver program" },
	{ "connections", OPTION_COUNT, SOURCE(connections), .min = 1, .max = 256,
	  .otherwise = "4", .flags = OPTION_TUNING,
	  .help = "driver processes for lookups" },
	{ "queue", OPTION_COUNT, SOURCE(queue), .min = 1, .max = 1000000,
	  .otherwise = "1024", .flags = OPTION_TUNING,
	  .help = "lookups that wait for a process" },
	{ "timeout", OPTION_TIME, SOURCE(timeout), .min = 10,
	  .max = SECONDS(600), .otherwise = "5s", .flags = OPTION_TUNING,
	  .help = "one lookup" },
	{ "start_timeout", OPTION_TIME, SOURCE(start_timeout), .min = 10,
	  .max = SECONDS(600), .otherwise = "10s", .flags = OPTION_TUNING,
	  .help = "the start of a driver process" },
	{ "scan_timeout", OPTION_TIME, SOURCE(scan_timeout), .min = 100,
	  .max = DAYS(1), .otherwise = "10m", .flags = OPTION_TUNING,
	  .help = "one whole scan" },
	{ "scan_idle", OPTION_TIME, SOURCE(scan_idle), .min = 100,
	  .max = DAYS(1), .otherwise = "30s", .flags = OPTION_TUNING,
	  .help = "a scan without a new row" },
	{ 0 }
};

const struct option_row map_rows[] = {
	{ "search", OPTION_TEXT, MAP(search), .computed = "by the map's name",
	  .help = "which keys are tried for one request" },
	{ "parent_domain_style", OPTION_WORD, MAP(parents), .words = parent_words,
	  .computed = "by the map's name or search",
	  .help = "how parent domains look as keys" },
	{ "recipient_delimiter", OPTION_TEXT, MAP(keys.recipient_delimiter),
	  .computed = "of socketmapd.conf", .help = "overrides socketmapd.conf" },
	{ "local_domains", OPTION_LIST, MAP(keys.local_domains),
	  .computed = "of socketmapd.conf", .help = "overrides socketmapd.conf" },
	{ "propagate_unmatched_extensions", OPTION_LIST, MAP(keys.propagate),
	  .computed = "of socketmapd.conf", .words = propagate_words,
	  .help = "overrides socketmapd.conf" },
	{ "owner_request_special", OPTION_BOOL, MAP(keys.owner_request_special),
	  .computed = "of socketmapd.conf", .help = "overrides socketmapd.conf" },
	{ "secret", OPTION_BOOL, MAP(is_secret), .otherwise = "false",
	  .help = "never written to state_directory" },
	{ "export", OPTION_TEXT, MAP(export), .min = 1,
	  .help = "\"cdb:/path/NAME.cdb\": a copy that Postfix reads by itself" },
	{ "tables", OPTION_BLOCKS, .help = "the tables of a map that has several" },
	{ 0 }
};

const struct option_row table_rows[] = {
	{ "source", OPTION_TEXT, TABLE(s.source), .flags = OPTION_TUNING,
	  .help = "the directory to ask" },
	{ "postfix_table", OPTION_TEXT, TABLE(postfix_table), .min = 1,
	  .flags = OPTION_TUNING,
	  .help = "instead: \"sqlite:/etc/postfix/x.cf\", as in main.cf" },
	{ "mode", OPTION_WORD, TABLE(s.mode), .otherwise = "demand",
	  .words = mode_words, .flags = OPTION_TUNING,
	  .help = "ask for single keys, or copy all of them" },
	{ "refresh", OPTION_TIME, TABLE(s.refresh), .min = 1000, .max = DAYS(30),
	  .otherwise = "5m", .flags = OPTION_MIRROR | OPTION_TUNING,
	  .help = "from one scan to the next" },
	{ "change_interval", OPTION_TIME, TABLE(s.change_interval), .max = DAYS(30),
	  .otherwise = "0", .flags = OPTION_MIRROR | OPTION_TUNING,
	  .help = "how often to ask whether anything changed; 0: never" },
	{ "max_age", OPTION_TIME, TABLE(s.max_age), .min = 1000, .max = DAYS(365),
	  .computed = "3 x refresh, at least 5m", .flags = OPTION_MIRROR | OPTION_TUNING,
	  .help = "a mirror is FRESH until so old" },
	{ "stale_max", OPTION_TIME, TABLE(s.stale_max), .max = DAYS(365),
	  .otherwise = "3d", .flags = OPTION_TUNING,
	  .help = "the oldest answer that may still be given" },
	{ "ttl", OPTION_TIME, TABLE(s.ttl), .min = 100, .max = DAYS(30),
	  .otherwise = "5m", .flags = OPTION_TUNING,
	  .help = "how long a found key is fresh" },
	{ "negative_ttl", OPTION_TIME, TABLE(s.negative_ttl), .max = DAYS(1),
	  .otherwise = "30s", .flags = OPTION_TUNING,
	  .help = "how long an absent key is believed to be so" },
	{ "deadline", OPTION_TIME, TABLE(s.deadline), .min = 10, .max = SECONDS(60),
	  .otherwise = "2s", .flags = OPTION_TUNING,
	  .help = "how long a request waits for the directory" },
	{ "cache_size", OPTION_SIZE, TABLE(s.cache_size), .min = K(64),
	  .max = M(65536), .otherwise = "16M", .flags = OPTION_TUNING,
	  .help = "memory for the answers to single keys" },
	{ "on_miss", OPTION_WORD, TABLE(s.on_miss), .otherwise = "ask",
	  .words = on_miss_words, .flags = OPTION_MIRROR | OPTION_TUNING,
	  .help = "a key that a FRESH mirror lacks" },
	{ "stale_miss", OPTION_WORD, TABLE(s.stale_miss), .otherwise = "temp",
	  .words = stale_miss_words, .flags = OPTION_MIRROR | OPTION_TUNING,
	  .help = "a key that a STALE mirror lacks" },
	{ "domains", OPTION_TEXT, TABLE(s.domains), .flags = OPTION_MIRROR | OPTION_TUNING,
	  .help = "the map of our domains, for the word \"domain\"" },
	{ "min_entries", OPTION_COUNT, TABLE(s.min_entries), .otherwise = "1",
	  .flags = OPTION_MIRROR | OPTION_TUNING,
	  .help = "a scan with fewer keys is rejected" },
	{ "max_shrink", OPTION_COUNT, TABLE(s.max_shrink), .max = 100,
	  .otherwise = "30", .flags = OPTION_MIRROR | OPTION_TUNING,
	  .help = "percent of the keys a scan may lose" },
	{ "shrink_confirm", OPTION_TIME, TABLE(s.shrink_confirm), .max = DAYS(30),
	  .otherwise = "0", .flags = OPTION_MIRROR | OPTION_TUNING,
	  .help = "accept scans that are too small if all are the same for so long; 0: never" },
	{ "expect", OPTION_LIST, TABLE(expect), .flags = OPTION_MIRROR | OPTION_TUNING,
	  .help = "keys that every good scan holds" },
	{ "max_entries", OPTION_COUNT, TABLE(s.max_entries), .min = 1,
	  .otherwise = "50000000", .flags = OPTION_MIRROR | OPTION_TUNING,
	  .help = "a scan with more keys is rejected" },
	{ "max_bytes", OPTION_SIZE, TABLE(s.max_bytes), .min = K(64),
	  .otherwise = "4G", .flags = OPTION_MIRROR | OPTION_TUNING,
	  .help = "a scan with more bytes is rejected" },
	{ "result_format", OPTION_TEXT, TABLE(result_format), .min = 1,
	  .otherwise = "%s", .flags = OPTION_POSTFIX,
	  .help = "as in Postfix: made of each value" },
	{ "domain", OPTION_TEXT, TABLE(domain), .otherwise = "",
	  .flags = OPTION_POSTFIX, .help = "as in Postfix: the only domains to look up" },
	{ "expansion_limit", OPTION_COUNT, TABLE(s.expansion_limit),
	  .otherwise = "0", .flags = OPTION_POSTFIX,
	  .help = "as in Postfix: values per key" },
	{ "distinct_values", OPTION_BOOL, TABLE(s.distinct_values), .otherwise = "false",
	  .help = "leave out values that the key has already" },
	{ 0 }
};

const struct option_row *option_find(const struct option_row *rows, struct text name)
{
	for (const struct option_row *r = rows; r && r->name; r++)
		if (text_is(name, r->name))
			return r;
	return NULL;
}

static void *field_of(const struct option_row *row, void *block)
{
	return (char *)block + row->offset;
}

void options_default(const struct option_row *rows, const char *dir, void *block)
{
	for (const struct option_row *r = rows; r->name; r++) {
		struct buf ignored = { 0 };

		if (r->otherwise)
			option_parse(r, text_of(r->otherwise), dir, field_of(r, block),
				&ignored);
		buf_done(&ignored);
	}
}

void options_clear(const struct option_row *rows, void *block)
{
	for (const struct option_row *r = rows; r->name; r++)
		option_clear(r, field_of(r, block));
}

void options_fingerprint(const struct option_row *rows, const void *block,
	struct buf *out)
{
	for (const struct option_row *r = rows; r->name; r++) {
		struct buf value = { 0 };

		option_print(r, (const char *)block + r->offset, &value);
		buf_printf(out, "%s=", r->name);
		buf_escaped(out, buf_view(&value));
		buf_byte(out, '\n');
		buf_done(&value);
	}
}

static void print_block(FILE *out, const char *block, const struct option_row *rows)
{
	for (const struct option_row *r = rows; r->name; r++)
		fprintf(out, "%s\t%s\t%s\t%s\t%s\t%s\n", block, r->name,
			option_type_name(r->type),
			r->computed ? r->computed : !r->otherwise ? "-" :
			*r->otherwise ? r->otherwise : "\"\"",
			r->flags & OPTION_REQUIRED ? "required" : "optional",
			r->flags & OPTION_RESTART ? "restart" : "reload");
}

void options_print(FILE *out)
{
	print_block(out, "daemon", daemon_rows);
	print_block(out, "listener", listener_rows);
	print_block(out, "source", source_rows);
	print_block(out, "map", map_rows);
	print_block(out, "table", table_rows);
	for (const struct driver_kind *const *k = driver_kinds; *k; k++) {
		struct buf block = { 0 };

		buf_printf(&block, "%s source", (*k)->name);
		print_block(out, buf_cstr(&block), (*k)->source_rows);
		buf_clear(&block);
		buf_printf(&block, "%s table", (*k)->name);
		print_block(out, buf_cstr(&block), (*k)->table_rows);
		buf_done(&block);
	}
}

bool settings_needs_restart(const struct settings *old, const struct settings *new,
			    struct buf *ret_why)
{
	size_t before = ret_why->n;

	for (const struct option_row *r = daemon_rows; r->name; r++) {
		struct buf was = { 0 }, is = { 0 };

		if (r->flags & OPTION_RESTART) {
			option_print(r, (const char *)&old->daemon + r->offset, &was);
			option_print(r, (const char *)&new->daemon + r->offset, &is);
			if (!text_eq(buf_view(&was), buf_view(&is)))
				buf_printf(ret_why,
					"%s: \"%s\" instead of \"%s\" needs a restart\n",
					   r->name, buf_cstr(&is), buf_cstr(&was));
		}
		buf_done(&was);
		buf_done(&is);
	}
	return ret_why->n > before;
}

void settings_keep_started(struct settings *old, struct settings *new)
{
	for (const struct option_row *r = daemon_rows; r->name; r++) {
		char *was = (char *)&old->daemon + r->offset, *is = (char *)&new->daemon + r->offset;

		for (size_t i = 0; r->flags & OPTION_RESTART && i < r->size; i++) {
			char byte = was[i];

			was[i] = is[i];
			is[i] = byte;
		}
	}
}
