/*
 * report.h - everything that is known about the running server at one moment: what /v1/status, /metrics
 * and SIGUSR1 tell.
 */
#ifndef DAEMON_REPORT_H
#define DAEMON_REPORT_H

#include "daemon/admin.h"
#include "engine/source.h"

/* Times are msec of clock_msec() unless they say "wall", of clock_wall_msec(). All owned. */

struct report_table {
	char *source;
	bool is_mirror;
	enum table_state state;		/* of a mirror */
	uint64_t born;			/* 0: no mirror */
	size_t entries, bytes;		/* of the mirror */
	size_t cached, cache_bytes;	/* of the cache of single keys */
	size_t differing;		/* keys */
	uint64_t refresh, max_age;	/* settings, msec */
	struct rejection rejection;	/* times 0: none */
	struct table_scans scans;
};

/* The file of a map with `export`; path NULL: it has none. As struct export_status. */
struct report_export {
	char *path;
	bool has_failed;		/* to be written, the last time */
	uint64_t current_at;		/* wall; 0: never yet */
	size_t entries, bad;		/* 0: not counted by this process */
};

struct report_map {
	char *name;
	enum search_kind search;
	bool is_secret;
	const char *state;		/* the worst of its mirrors, or "DEMAND" */
	bool is_ready;			/* each of its mirrors may answer */
	uint64_t born;			/* of the oldest mirror; 0: there is none, or one is missing */
	struct counters counts;		/* of all loops together */
	struct report_export export;
	struct report_table *tables;
	size_t n_tables;
};

struct report_source {
	char *name, *driver;
	struct source_stats stats;	/* without its name */
};

struct report_listener {
	char *protocol, *address;
	char *map;			/* of a tcp_table; else NULL */
	char **sockets;			/* where it really listens, as addresses; ends with a NULL */
	bool is_http;			/* then nothing is counted */
	uint64_t counts[LISTENER_COUNTS];
};

struct report {
	uint64_t now, wall;
	enum admin_phase phase;
	struct admin_reloads reloads;
	size_t clients, max_clients;
	uint64_t accepted, refused, refused_address, evicted, unknown_map;
	struct report_map *maps;
	size_t n_maps;
	struct report_source *sources;
	size_t n_sources;
	struct report_listener *listeners;
	size_t n_listeners;
	struct persist_stats snapshots;
	struct exports_stats exports;
};

/* On the control thread; other threads report_get(). Ends with report_clear(). */
void report_take(struct report *r, const struct admin *a);
void report_clear(struct report *r);

/* From a thread without a loop. NULL: the control loop does not answer. Ends with report_free(). */
struct report *report_get(struct admin *a);
void report_free(struct report *r);		/* NULL is fine */

#endif
