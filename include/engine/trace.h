/* trace.h - lookups as they are answered, for whoever watches. Any thread. */
#ifndef ENGINE_TRACE_H
#define ENGINE_TRACE_H

#include "base/buf.h"
#include "base/verdict.h"
#include "engine/lookup.h"

/* One answer. */
struct trace_event {
	uint64_t at;			/* clock_wall_msec() */
	struct buf map, key, value;	/* value: or the reason; each cut to TRACE_TEXT bytes */
	enum verdict verdict;		/* as it was sent */
	enum protocol_kind protocol;
	enum origin origin;
	bool is_stale;
	uint64_t took;			/* usec */
};

#define TRACE_TEXT ((size_t)1024)	/* bytes kept of one text */
#define TRACE_QUEUE ((size_t)1024)	/* events kept for one watcher who does not come for them */
#define TRACE_WATCHERS 8		/* at once */

struct trace;

/* Watch from now on, one map or (empty) all. NULL: there are TRACE_WATCHERS already. Ends with trace_end(). */
struct trace *trace_begin(struct text map);
void trace_end(struct trace *t);

/*
 * Take the next event, waiting up to `msec` for one. False: there was none. `ret_lost`: how many were
 * dropped since the last one because nobody came for them. *ret is the caller's, trace_event_done().
 */
bool trace_next(struct trace *t, uint64_t msec, struct trace_event *ret, uint64_t *ret_lost);
void trace_event_done(struct trace_event *e);

/* Does anybody watch? One relaxed load: this is all that an answer costs when nobody does. */
bool trace_is_on(void);

/* Tell the watchers; only when trace_is_on(). Never waits for them, and fails no answer. */
void trace_tell(struct text map, struct text key, const struct answer *sent,
		enum protocol_kind protocol, const struct tally *tally, uint64_t usec);

#endif
