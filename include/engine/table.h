/* table.h - one query template on one source, with its mirror and its demand cache. */
#ifndef ENGINE_TABLE_H
#define ENGINE_TABLE_H

#include "base/verdict.h"
#include "engine/counters.h"
#include "engine/process.h"
#include "engine/rejection.h"
#include "engine/settings.h"
#include "store/demand.h"
#include "store/distinct.h"
#include "store/mirror.h"

#include <pthread.h>
#include <stdatomic.h>

struct source;

/* Longest joined value kept, bytes; the protocols carry less than this. */
#define VALUE_MAX ((size_t)1 << 20)

/* By age of a mirror's last accepted truth; see DESIGN 6. */
enum table_state { TABLE_EMPTY, TABLE_FRESH, TABLE_STALE, TABLE_EXPIRED };

/* What may become of a scan. */
enum scan_outcome { SCAN_OK, SCAN_WAS_REJECTED, SCAN_FAILED, SCAN_OUTCOMES };
const char *scan_outcome_name(enum scan_outcome outcome);	/* "rejected" */

/* What has become of a table's scans. All zeroes: there were none. */
struct table_scans {
	uint64_t n[SCAN_OUTCOMES];
	struct histogram took;		/* those that were ok */
	uint64_t ended;			/* the last one, clock_wall_msec(); 0: none yet */
	enum scan_outcome outcome;	/* of the last one, as all that follows */
	uint64_t msec;			/* what it took; 0: it never began */
	size_t rows;
	char why[200];			/* not ok, escaped */
	uint64_t began;			/* the one that is running, clock_msec(); 0: none is */
	size_t rows_now;		/* of that one, so far */
};

struct table {
	uint64_t id;				/* never used twice */
	struct table_settings *settings;	/* owned, constant */
	char *map;				/* the name of its map, for the log; owned */
	struct source *source;			/* a reference; constant */
	_Atomic(struct mirror *) mirror;	/* published; NULL until the first accepted scan */
	struct demand *demand;			/* owned */
	_Atomic uint64_t n_learnt;		/* answers of the directory that went into `demand` */
	_Atomic uint64_t doubted;		/* msec: see table_doubt() */
	_Atomic uint64_t wanted;		/* msec: somebody asked for a scan that begins after this */
	_Atomic uint64_t n_differing;		/* sampled keys whose live answer was another */
	_Atomic uint64_t scan_began, scan_rows;	/* the running scan; see struct table_scans */
	pthread_mutex_t lock;			/* guards rejection, scans */
	struct rejection rejection;		/* of its scans */
	struct table_scans scans;
	unsigned refs;				/* control thread only */
};

/* Bytes of the smallest cache of single keys that such a table is content with. */
size_t table_least_cache(const struct table_settings *settings);

/* Takes over `settings`; takes a reference to `source`. One reference is the caller's. Control thread. */
struct table *table_new(struct table_settings *settings, const char *map, struct source *source);
struct table *table_ref(struct table *t);
void table_unref(struct table *t);		/* NULL is fine */

/*
 * Do the table's templates and domain list leave anything to ask for this key? If not, it
 * is not found, whatever the directory holds; postfix-tables.md 3, 6.
 */
bool table_asks(const struct table_settings *s, struct text key);
const char *table_why_not(const struct table_settings *s, struct text key);	/* NULL: it asks */

/* Can the table's mirror know this key at all? If not, it is as if there were none. */
bool table_is_mirrored(const struct table_settings *s, struct text key);

enum table_state table_state(const struct table *t, uint64_t now);
enum table_state table_state_of(const struct table_settings *s, const struct mirror *m, uint64_t now);
const char *table_state_name(enum table_state state);

/*
 * The table's cache is about to forget, as the directory has changed: the mirror of now may know as
 * little of that. Until a later one is there, it is no proof that a key is absent where the
 * directory is to be asked, and fails. Any thread.
 */
void table_doubt(struct table *t);

/* What is known of scans that were rejected; `times` 0: none since the last good one. Any thread. */
struct rejection table_rejection(struct table *t);

/* A scan begins; it has ended, with so many rows, or could not even begin. Refresh thread. */
void table_scan_begins(struct table *t);
void table_scan_ended(struct table *t, enum scan_outcome outcome, size_t rows, struct text why);

/* What has become of scans. Any thread. */
struct table_scans table_scans(struct table *t);

/*
 * What a mirror says now, by the wall clock: values whose time has passed are gone, and a
 * key without any other is absent.
 *
 * scratch    what `ret_value` may look into; cleared when it is needed
 */
enum mirror_says table_find(const struct mirror *m, struct text key, struct buf *scratch,
			    struct text *ret_value);

/* The same for a value of a mirror that has been found already; as timed_read(). */
enum mirror_says table_read(struct text *value, struct buf *scratch);

/* What a driver process is told about it. */
struct process_table table_for_process(const struct table *t);

/* Does a domain map hold `domain`? YES and NO only when it knows without asking. */
enum membership { MEMBER_UNKNOWN, MEMBER_YES, MEMBER_NO };

/*
 * How a table asks its domain map (on_miss, stale_miss = "domain"), by the map's name.
 * Called on the answer loop; never waits.
 */
struct domain_oracle {
	enum membership (*ask)(void *ctx, const char *map, struct text domain, uint64_t now);
	void *ctx;
	struct text request;	/* what the client asked for: the domain of keys without one */
};

/* The domain that the domain map is asked about for a key; empty: none, as for a bare user. */
struct text table_domain(struct text key, const struct domain_oracle *oracle);

/* Who knew an answer, nearest first. */
enum origin { ORIGIN_RULES, ORIGIN_MIRROR, ORIGIN_CACHE, ORIGIN_DIRECTORY };
const char *origin_name(enum origin origin);	/* "mirror"; "rules": nothing had to be known */

/* What table_get() found out. */
struct table_reply {
	struct answer answer;	/* unless is_parked; value in the mirror or in `value` */
	bool is_parked;		/* demand_put() will return the waiter */
	bool lead;		/* the caller submits a lookup for the key, parked or not */
	bool has_stale;		/* with is_parked: `value` holds what may stand in */
	bool is_stale;		/* FOUND or NOTFOUND is older than it should be */
	enum origin origin;	/* unless is_parked */
};

/*
 * What the table says about a folded key, at once. Answer loops only. The answer's value is good until
 * the callback returns or `value` changes.
 *
 * waiter     parked when is_parked
 * value      scratch, cleared first
 */
struct table_reply table_get(struct table *t, struct text key, uint64_t now,
			     const struct domain_oracle *oracle, struct waiter *waiter,
			     struct buf *value);

/*
 * What table_get() would say, for people: nothing changes. `is_parked` means that the directory
 * would be asked, and nobody is parked. Any loop.
 */
struct table_reply table_foretell(struct table *t, struct text key, uint64_t now,
				  const struct domain_oracle *oracle, struct buf *value);

/* Only what the table knows without asking: FOUND, NOTFOUND or TEMP. */
enum verdict table_peek(struct table *t, struct text key, uint64_t now,
			const struct domain_oracle *oracle);

/*
 * What a parked request gets when the directory failed, or did not answer in time:
 * the old value, or the word of a FRESH mirror, or `temp`.
 *
 * value      scratch; `stale` may look into it
 */
struct table_reply table_settle(struct table *t, struct text key, uint64_t now,
				const struct domain_oracle *oracle, struct text stale,
				struct answer temp, struct buf *value);

/*
 * What a parked request gets when the directory has `said` something: that, or as
 * table_settle() for a TEMP.
 */
struct table_reply table_delivered(struct table *t, struct text key, uint64_t now,
				   const struct domain_oracle *oracle, struct text stale,
				   struct answer said, struct buf *value);

/*
 * Formats what a source brought for one key, as Postfix does: each value through
 * result_format, joined with ','; more than expansion_limit is an error.
 * postfix-tables.md 4. Unlike Postfix, distinct_values leaves out what is there already.
 * All zeroes is valid; values_done() frees it.
 */
struct values {
	struct buf text;
	size_t n;
	struct distinct seen;	/* distinct_values: where each stands in `text` */
	const char *why;	/* not NULL: the key's answer is TEMP for this reason */
};

void values_clear(struct values *v);
void values_done(struct values *v);
void values_add(struct values *v, const struct table_settings *s, struct text key,
		struct text value);

/* The answer when the source ended in success: FOUND, absent, or TEMP. */
struct answer values_answer(const struct values *v);

/* Why no client may see `value` (not UTF-8, a NUL), or NULL. */
const char *value_unusable(struct text value);

#endif
