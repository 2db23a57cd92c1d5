/* probes.h - lookups past all caches for a thread without a loop, several at a time. */
#ifndef ENGINE_PROBES_H
#define ENGINE_PROBES_H

#include "engine/source.h"

struct probes;

/*
 * All functions from one thread, which is not a loop's. `control` is the control loop; it ends after
 * probes_end() and the sources' source_stop().
 */
struct probes *probes_begin(struct loop *control);

/* What is still asked comes back to nobody. */
void probes_end(struct probes *p);

/*
 * Ask a table's directory about a key, for as long as the table's deadline. The caller holds the
 * table until the answer is here, or, after probes_end(), until a message runs that he posts then.
 *
 * user    comes back as probe->user
 */
void probes_ask(struct probes *p, struct table *t, struct text key, void *user);

/* The next that has ended, in whatever order; waits `msec` for it. NULL: none. Ends with probes_free(). */
struct probe *probes_next(struct probes *p, uint64_t msec);
void probes_free(struct probe *probe);

#endif
