/* process.h - one driver process: started, spoken to, killed when it is late. */
#ifndef ENGINE_PROCESS_H
#define ENGINE_PROCESS_H

#include "engine/settings.h"
#include "wire/frame.h"

#include <uv.h>

struct process;

/* One value, as the directory has it. Views. */
struct row {
	struct text key;		/* empty for a lookup */
	struct text value;
	uint64_t until;			/* Unix seconds when it ends; 0: never */
	bool is_failure;		/* no value: to look the key up ends in temp */
};

/*
 * What happens to a process. All are called on the thread of its loop; `user` is the owner's.
 * Each request gets its rows and then exactly one on_end(); a process whose answer is not
 * exactly that is killed. on_dead() comes once, last, and the process is gone afterwards.
 */
struct process_events {
	void (*on_hello)(void *user, struct text program);
	void (*on_row)(void *user, const struct row *row);
	void (*on_info)(void *user, struct text name, struct text value);	/* about the directory */
	void (*on_end)(void *user, enum frame_verb end, struct text why);	/* DONE, TEMP or DOWN */
	void (*on_dead)(void *user, const char *why);
	void (*on_query)(void *user, struct text query);	/* only of process_explain(); or NULL */
};

/* What a process is told about a table before the table's first use. */
struct process_table {
	uint64_t id;			/* never used twice in the life of the server */
	const struct options *options;
};

/*
 * Start the source's program with one end of a socket pair as its descriptors 0 and 1,
 * and tell it the source's settings. It must say hello within start_timeout.
 * NULL, with a reason, when it cannot be started. `settings` must outlive it.
 */
struct process *process_start(uv_loop_t *loop, const struct source_settings *settings,
			      const struct process_events *events, void *user,
			      struct buf *ret_why);

/*
 * Ask something; only when it has said hello and has nothing else to do. One that died
 * before its on_dead() was heard takes the question along. To explain is to look up, and to
 * tell the queries that it takes.
 */
void process_lookup(struct process *p, const struct process_table *table, struct text key);
void process_explain(struct process *p, const struct process_table *table, struct text key);
void process_scan(struct process *p, const struct process_table *table);
void process_changed(struct process *p, const struct process_table *table);
void process_ping(struct process *p);

/* A table is gone; the process may drop what it prepared for it. At any time. */
void process_forget(struct process *p, uint64_t table_id);

/* End it: no event but on_dead() follows, and not even that with process_drop(). */
void process_kill(struct process *p, const char *why);
void process_drop(struct process *p);

int process_pid(const struct process *p);

#endif
