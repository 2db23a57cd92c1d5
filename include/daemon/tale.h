/* tale.h - pieces of sentences that explain an answer; for why.c and why_temp.c. Pure. */
#ifndef DAEMON_TALE_H
#define DAEMON_TALE_H

#include "engine/explain.h"

/* What is being explained. */
struct tale {
	const struct explanation *x;
	struct text map, key;
	struct buf *out;
};

/* "40 s", "12 min", "5 h", "3 days": in the largest unit of which there are two, or that fits. */
void tell_time(struct buf *out, uint64_t msec);
void tell_named_time(struct buf *out, const char *name, uint64_t msec);	/* "ttl = 40 s" */

/* Between quotes, cut where it is long. */
void tell_quoted(struct buf *out, struct text t);

/* `the mirror of source "a" (table 1)`; `what` ends in "source". */
void tell_place(const struct tale *t, const char *what, const struct explain_table *et);

/* The step that a table view belongs to; its key. */
const struct explain_step *tell_step(const struct tale *t, const struct explain_table *et);
struct text tell_key_of(const struct tale *t, const struct explain_table *et);

/* `"a@b", the address without its extension`; where more of the sentence follows, `is_open`. */
void tell_key(const struct tale *t, const struct explain_step *s, bool is_open);

/* "does not answer within deadline = 2 s: it took 5 s" */
void tell_late(const struct tale *t, const struct explain_table *et);

/* The command that has a key asked anew; copied to a shell it does that, and no more. */
void tell_flush(const struct tale *t, struct text key);

/* "which is 12 s old", or more when that is too old. */
void tell_mirror_age(const struct tale *t, const struct explain_table *et);

/* A sentence: what is wrong with its scans, `rejection.times` of which were rejected. */
void tell_rejection(const struct tale *t, const struct explain_table *et);

/* Sentences: why there is no younger copy. */
void tell_last_scan(const struct tale *t, const struct explain_table *et);

/* "the next refresh comes in about 3 min" */
void tell_next_refresh(const struct tale *t, const struct explain_table *et);

/* Sentences: why the table, whose word is TEMP, cannot answer. why_temp.c. */
void tell_temp(const struct tale *t, const struct explain_table *et);

#endif
