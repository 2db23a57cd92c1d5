/* health.h - what is not well, in the words of /v1/status. */
#ifndef CTL_HEALTH_H
#define CTL_HEALTH_H

#include "ctl/show.h"

#include <jansson.h>

/* How good a state is: "FRESH", "STALE", "up", ... What is not known is plain. */
enum colour health_colour(struct text state);

/* Append "3,000 keys before, 12 now", of a rejected scan. */
void health_change(struct buf *out, const json_t *rejected);

/* Append "once, " or "3 times, first ", of rejected scans; when follows. */
void health_times(struct buf *out, const json_t *rejected);

/* Append what to do about a rejected scan of the map: scan_fault_advise(). */
void health_advice(struct buf *out, const json_t *rejected, struct text map);

/*
 * Append a sentence, without a full stop, if there is anything to be said about a map's table, or
 * a source; else nothing.
 */
void health_of_table(struct buf *out, const json_t *table, struct text map);
void health_of_source(struct buf *out, const json_t *source);

/*
 * Of a map: the age of its oldest mirror, NAN when it has none or a copy is missing, and the
 * entries of all, NAN when it has none.
 */
double health_age(const json_t *map);
double health_entries(const json_t *map);

#endif
