/* source.h - one directory: its queue of lookups and its pool of driver processes. Control thread. */
#ifndef ENGINE_SOURCE_H
#define ENGINE_SOURCE_H

#include "engine/counters.h"
#include "engine/loop.h"
#include "engine/settings.h"
#include "store/demand.h"

struct source;
struct table;

/*
 * One lookup on its way to a directory. Made on an answer loop, posted to the
 * control loop, freed by the source; but see struct probe.
 */
struct job {
	struct message message;
	struct job *next;
	struct table *table;	/* a reference from source_submit() on */
	struct buf key;
	struct probe *probe;	/* which it is part of; NULL: a request waits for it */
	bool is_retried;	/* its first process died */
	uint64_t expires;	/* nobody waits for it after this, msec of clock_msec() */
};

/* Takes over `settings`. One reference is the caller's. */
struct source *source_new(struct source_settings *settings, struct loop *control);
struct source *source_ref(struct source *s);
void source_unref(struct source *s);	/* the last one ends its processes; NULL is fine */

/*
 * A registry has it from now on, or no longer. The last one to leave stops it, as nobody heeds
 * any more what it says: requests that wait for it begin anew with the registry of then.
 */
void source_enter(struct source *s);
void source_leave(struct source *s);

const struct source_settings *source_settings(const struct source *s);

/*
 * Post a lookup from an answer loop. Whatever happens, demand_put() is called for the key
 * in the table's demand cache, and those who waited are sent home (ask_wake()).
 */
void source_post(struct loop *control, struct table *table, struct text key, uint64_t expires);

/* Put a job into the queue of its table's source. Control thread. */
void source_submit(struct job *job);

/*
 * A lookup for people, past the table's cache, which learns nothing from it. It waits in the same
 * queue, is answered by the same processes within the same limits, and counted like the others.
 */
struct probe {
	struct job job;			/* key and expires are the caller's to set, the rest is not */
	/*
	 * The same; somebody wants to know how it is now: a directory that is left alone is tried at once.
	 * Without it the driver is asked as for clients.
	 */
	bool wants_queries;
	void (*on_end)(struct probe *p);
	void *user;
	enum verdict verdict;		/* what came of it, as all that follows */
	enum temp_reason reason;
	struct buf text;		/* value, or what clients would be told */
	struct buf why;			/* the driver's own words for that, escaped; or empty */
	struct buf queries;		/* what the driver sent to the directory, each with a NUL behind it */
	bool is_cut;			/* there were too many to keep */
	uint64_t took;			/* usec in the process, or in two; 0: it did not come to that */
};

/*
 * Begin. From a control thread's callback; on_end(probe) comes on the control thread, perhaps before
 * this returns, and the probe is the caller's again, to be used once more or freed after probe_done().
 * It holds the table meanwhile. source.c, probe.c.
 */
void source_probe(struct table *table, struct probe *p);
void probe_done(struct probe *p);

/* For the source: the driver tells a query; it is over. */
void probe_query(struct probe *p, struct text query);
void probe_end(struct probe *p, struct answer answer);

/* End its processes and fail what is queued or under way, whoever still holds it. */
void source_stop(struct source *s);

/* Tell its processes that a table is gone. */
void source_forget(struct source *s, uint64_t table_id);

/* A driver process says something about the directory: "host", "cert_not_after". Any thread. */
void source_learn(struct source *s, struct text name, struct text value);

/*
 * A scan has just talked to the directory, or could not, for the reason `why`; lookups see to that
 * themselves, but need not wait until their turn to try has come. Any thread that holds a table of it.
 */
void source_heard(struct source *s, bool is_there, struct text why);

/* Does the directory answer, as far as is known? IDLE: nobody has asked yet. */
enum source_state { SOURCE_IDLE, SOURCE_UP, SOURCE_DOWN };
const char *source_state_name(enum source_state state);	/* "up" */

/* What is known of it at this moment. */
struct source_stats {
	const char *name;
	enum source_state state;
	unsigned up, busy;	/* processes that said hello; of those, with a lookup */
	size_t queued;
	uint64_t lookups, failures, restarts;	/* since the start of the server */
	char host[128];		/* whom a driver process talked to last; "": unknown */
	uint64_t cert_not_after;	/* Unix seconds; 0: unknown, or no TLS */
	struct histogram took;		/* lookups, from a process's getting one to its answer */
	uint64_t failed_at;		/* the last time, clock_wall_msec(); 0: never */
	uint64_t failing_since;		/* the first failure in a row, likewise; 0: it does not fail */
	char why[200];			/* escaped */
};
struct source_stats source_stats(struct source *s);

#endif
