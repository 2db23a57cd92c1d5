/* settings.h - everything a configuration says, checked, constant after load. */
#ifndef ENGINE_SETTINGS_H
#define ENGINE_SETTINGS_H

#include "base/domain_list.h"
#include "base/log.h"
#include "base/search.h"
#include "base/template.h"
#include "wire/protocol.h"

#include <sys/types.h>

/* A setting that is passed on to a driver process as it stands. */
struct driver_option {
	char *name;
	char *value;
};

struct options {
	struct driver_option *list;
	size_t n;
};

/* One directory and its pool of driver processes. All times in msec. */
struct source_settings {
	char *name;
	char *driver;			/* as configured: "sqlite", or the path of a program */
	char *program;			/* the program to start, absolute */
	struct options options;		/* for the driver: dbpath, ... */
	unsigned connections;		/* driver processes for lookups; a scan has its own */
	size_t queue;			/* lookups waiting for a process, at most; more are TEMP */
	uint64_t timeout;		/* one lookup; the process is killed when it is over */
	uint64_t start_timeout;		/* from start to the driver's hello */
	uint64_t scan_timeout;		/* one whole scan */
	uint64_t scan_idle;		/* a scan without a new row */
	char *fingerprint;		/* equal texts are equal settings */
	char *identity;			/* equal texts are the same directory */
};

enum table_mode { TABLE_DEMAND, TABLE_MIRROR };

/* What to do about a key that the mirror lacks; see DESIGN 6. */
enum on_miss { ON_MISS_ASK, ON_MISS_NOTFOUND, ON_MISS_DOMAIN };
enum stale_miss { STALE_MISS_TEMP, STALE_MISS_NOTFOUND, STALE_MISS_DOMAIN };

/* One query template on one source, with its cache. */
struct table_settings {
	char *source;
	unsigned line;			/* where in the map's file it stands, for messages */
	struct options options;		/* for the driver: query, scan_query, ... */
	struct needs needs;		/* of all its templates together */
	struct template *result_format;
	struct domain_list *domain;	/* NULL: every key */
	size_t expansion_limit;		/* values per key; 0: no limit */
	bool distinct_values;		/* a value that the key has already is left out */
	enum table_mode mode;
	bool asks_odd_keys;		/* mirror: what is not ldap_key_is_plain() is not in it */
	uint64_t refresh;		/* mirror: from one scan to the next */
	uint64_t change_interval;	/* mirror: how often it is asked whether anything changed; 0: never */
	uint64_t max_age;		/* mirror: FRESH until so old */
	uint64_t stale_max;		/* STALE until so old, then EXPIRED; demand: see demand.h */
	uint64_t ttl, negative_ttl;	/* demand, and what a mirror's misses were told */
	uint64_t deadline;		/* how long a request may wait for the directory */
	size_t cache_size;		/* bytes of the demand cache */
	enum on_miss on_miss;
	enum stale_miss stale_miss;
	char *domains;			/* the domain map for ON_MISS_DOMAIN, STALE_MISS_DOMAIN; or NULL */
	size_t min_entries;		/* a scan with fewer keys is rejected */
	unsigned max_shrink;		/* percent a scan may lose against the mirror (and 20 keys) */
	uint64_t shrink_confirm;	/* a scan too small is accepted if it is the same for so long; 0: never */
	struct text *expect;		/* folded keys that every good scan holds */
	size_t n_expect;
	size_t max_entries, max_bytes;	/* a scan that brings more is rejected */
	/*
	 * A digest of all that defines the answers and of nothing else, the directory included:
	 * what one table has learnt is true for another one with the same identity, in this
	 * process or, by way of a snapshot, in the next. Never of secrets.
	 */
	char *identity;
	char *fingerprint;
};

/* What clients ask by name: a search kind and an ordered list of tables. */
struct map_settings {
	char *name;
	struct search_rules rules;
	bool is_secret;			/* never written to disk */
	char *export_path;		/* the file, "/x/NAME.cdb"; all tables are mirrors. NULL: none */
	struct table_settings **tables;
	size_t n_tables;
	char *fingerprint;		/* of the map and all its tables */
};

/* Who connects: clients with lookups, or administrators, see daemon/http.h, which has its own limits. */
enum listener_kind { LISTENER_TABLES, LISTENER_HTTP, LISTENER_CONTROL };

struct listener_settings {
	enum listener_kind kind;
	const struct protocol *protocol;	/* of LISTENER_TABLES, else NULL */
	char *address;			/* as configured: "unix:/path", "inet:127.0.0.1:8999" */
	char *map;			/* the one map of a tcp_table listener, else NULL */
	char *owner, *group;		/* of a unix socket; NULL: the server's */
	mode_t mode;			/* of a unix socket */
	size_t max_request;		/* bytes */
	uint64_t request_timeout;	/* to finish a request that has begun */
	uint64_t idle_timeout;		/* without a request; 0: none */
	uint64_t write_timeout;		/* for a client to read some of its replies */
	size_t max_unread;		/* bytes of replies a client leaves unread before it is closed */
	unsigned max_pipelined;		/* requests of one client answered per turn of the loop */
	char *fingerprint;
};

struct daemon_settings {
	unsigned threads;		/* answer loops */
	char *user, *group;		/* to become after binding; NULL: stay */
	struct log_settings log;
	size_t max_clients, max_clients_per_address;
	uint64_t stop_timeout;		/* SIGTERM: how long parked requests may still wait */
	char *state_directory;		/* NULL: no snapshots */
	uint64_t snapshot_interval;	/* each table is written so often at most */
	uint64_t start_wait;		/* for every mirror, before the server is called ready */
};

struct settings {
	struct daemon_settings daemon;
	struct listener_settings **listeners;
	size_t n_listeners;
	struct source_settings **sources;
	size_t n_sources;
	struct map_settings **maps;	/* sorted by name */
	size_t n_maps;
};

/*
 * Each takes NULL and half-filled structs (calloc'ed). settings_free() frees all that
 * is still in its lists: who keeps a source, a map, a table or a listener puts NULL in its place.
 */
void options_done(struct options *options);
void source_settings_free(struct source_settings *s);
void table_settings_free(struct table_settings *s);
void map_settings_free(struct map_settings *s);
void listener_settings_free(struct listener_settings *s);
void settings_free(struct settings *s);

#endif
