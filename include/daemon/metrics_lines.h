/* metrics_lines.h - lines of the text format 0.0.4 of Prometheus; for metrics*.c. */
#ifndef DAEMON_METRICS_LINES_H
#define DAEMON_METRICS_LINES_H

#include "base/buf.h"
#include "engine/counters.h"

/* Of every name of our own. */
#define METRICS_PREFIX "socketmapd_"

struct label {
	const char *name, *value;
};

#define LABELS_MAX 4
#define LABELS(...) ((const struct label[LABELS_MAX]){ __VA_ARGS__ })
#define NO_LABELS ((const struct label[LABELS_MAX]){ { NULL, NULL } })

/* "# HELP" and "# TYPE" of a family; its lines follow at once. `name` with the prefix. */
void metrics_family(struct buf *out, const char *name, const char *type, const char *help);

/* One value, of NAME and SUFFIX. NAN is no value, and no line. */
void metrics_line(struct buf *out, const char *name, const char *suffix,
		  const struct label *labels, double value);

/* A family of one line without labels. */
void metrics_single(struct buf *out, const char *name, const char *type, const char *help,
		    double value);

/* The lines of one histogram, in seconds, with one label besides "le". */
void metrics_histogram(struct buf *out, const char *name, const char *label, const char *value,
		       const struct histogram *h, const struct histogram_bounds *bounds);

#endif
