/* demand.h - answers for single keys: TTLs, bounded memory, single flight. Any thread. */
#ifndef STORE_DEMAND_H
#define STORE_DEMAND_H

#include "base/buf.h"
#include "base/verdict.h"

/*
 * A cache of what the directory said about single keys. Sharded by hash, one short mutex
 * each; nothing waits under a lock. Time is an argument.
 */
struct demand;

/*
 * All in msec. The TTLs carry jitter, drawn per entry: up to a tenth up or down for ttl,
 * only down for negative_ttl. With a TTL of 0 nothing is kept; waiters come back as ever.
 */
struct demand_times {
	uint64_t ttl;		/* how long a FOUND is fresh; the last tenth refreshes ahead */
	uint64_t negative_ttl;	/* how long a NOTFOUND is; never used afterwards */
	uint64_t stale_max;	/* how long past its ttl a FOUND may stand in */
	uint64_t retry;		/* after a failure, until the key is asked again */
};

/* Whoever waits for a key embeds one, lent to the cache until demand_put() returns it. */
struct waiter {
	struct waiter *next;
};

enum demand_says {
	DEMAND_FOUND,		/* fresh; value appended */
	DEMAND_NOTFOUND,	/* the directory said so, less than negative_ttl ago */
	DEMAND_STALE,		/* it failed less than `retry` ago; an old value appended */
	DEMAND_FAILED,		/* the same, and there is no old value that may be used; or it was */
				/* forgotten, and what is on its way about it is from before that */
	DEMAND_WAIT,		/* the waiter is parked: demand_put() will return it */
	DEMAND_FULL,		/* no room even for the question: TEMP */
};

struct demand_reply {
	enum demand_says says;
	bool lead;		/* the caller must see to a demand_put() for the key */
	bool has_stale;		/* with DEMAND_WAIT: a usable old value was appended */
};

/*
 * max_bytes  the most memory the cache ever uses, whatever strangers ask: keys, values,
 *            entries, index, questions in flight. At least 64 KiB; what was never used is
 *            not resident.
 *            A value over a sixteenth of it (in small caches: over 64 KiB) is not kept.
 *
 * NULL when there is not so much memory.
 */
struct demand *demand_new(size_t max_bytes, const struct demand_times *times);
void demand_free(struct demand *d);	/* no waiter may be parked; NULL is fine */

/*
 * What is known about a folded key.
 *
 * w          parked on DEMAND_WAIT, else untouched
 * value      the value is appended on DEMAND_FOUND, DEMAND_STALE, and with has_stale
 */
struct demand_reply demand_get(struct demand *d, struct text key, uint64_t now,
			       struct waiter *w, struct buf *value);

/*
 * Only what is fresh and known, nobody parked, nothing started: DEMAND_FOUND,
 * DEMAND_NOTFOUND, or DEMAND_FAILED for anything else.
 */
enum demand_says demand_peek(struct demand *d, struct text key, uint64_t now);

/* What is noted about a key, for people. */
struct demand_view {
	enum { NOTED_NOTHING, NOTED_FOUND, NOTED_NOTFOUND, NOTED_FAILED } what;
	bool is_fresh;		/* FOUND: within its ttl; NOTFOUND: within negative_ttl; FAILED: within retry */
	bool is_usable;		/* FOUND, not fresh: may still stand in when the directory fails */
	bool is_in_flight;	/* the directory is being asked */
	uint64_t age;		/* msec since the directory said so, or failed; about */
	enum demand_says says;	/* what demand_get() would, but for DEMAND_FULL; with DEMAND_WAIT, */
				/* is_usable is has_stale */
};

/* Look without touching anything: nobody parks, nothing is led. A FOUND's value is appended to `value`. */
struct demand_view demand_look(struct demand *d, struct text key, uint64_t now, struct buf *value);

/*
 * Forget what is noted about a key, or about all keys: values that could stand in, too. What a
 * directory is being asked about comes back to those who wait for it, but is not kept, as it may be
 * older than this; who asks until then gets DEMAND_FAILED. Nor is anything restored from now on.
 * Returns how many keys were forgotten.
 */
size_t demand_forget(struct demand *d, struct text key);
size_t demand_forget_all(struct demand *d);
bool demand_has_forgotten(const struct demand *d);	/* ever: files may know more */

/*
 * The directory has spoken, or failed to. FOUND and NOTFOUND replace what was known; TEMP
 * keeps it and starts the retry pause. PERM and an empty FOUND are taken as TEMP.
 *
 * Returns everybody who waited for the key, in no order, for the caller to wake; NULL for
 * nobody. What is kept or not does not matter to them: they get this answer.
 */
struct waiter *demand_put(struct demand *d, struct text key, struct answer answer,
			  uint64_t now);

/*
 * Append all that is known and may still be used, FOUNDs and NOTFOUNDs with their ages, in a
 * form for files; never nothing. Questions in flight and failures are left out, but not an
 * old value that stands behind them. No lock is held for longer than it takes to copy a few
 * hundred entries, so it is not the cache of one moment, but each key is there once or not.
 * False, with `out` unchanged: memory is out. It takes up to twice max_bytes.
 */
bool demand_image(struct demand *d, uint64_t now, struct buf *out);

/*
 * Take over an image, which may be any bytes, written `elapsed` msec ago (UINT64_MAX: nobody
 * knows, nothing is taken). Left out is what has passed its time since then: a NOTFOUND past
 * its negative_ttl, a FOUND past stale_max. So are all NOTFOUNDs when negative_ttl is shorter
 * now than it was; FOUNDs are fresh for no longer than the ttl of now. What is known already
 * is kept; a failure or a question in flight is not in the way, its waiters wait on. When
 * there are more than fit, any may be missing. False: it is none, and nothing of it was taken.
 */
bool demand_restore(struct demand *d, struct text image, uint64_t now, uint64_t elapsed);

size_t demand_entries(struct demand *d);	/* keys about which something is noted */
size_t demand_bytes(struct demand *d);		/* memory in use, never above max_bytes */

#endif
