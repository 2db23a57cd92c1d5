#include "daemon/metrics_lines.h"

#include <math.h>
#include <stdio.h>

void metrics_family(struct buf *out, const char *name, const char *type, const char *help)
{
	buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* Append a label's value: backslash, quote and newline are escaped. */
static void add_label(struct buf *out, const char *value)
{
	for (; *value; value++)
		if (*value == '\n')
			buf_str(out, "\\n");
		else if (*value == '"' || *value == '\\')
			buf_printf(out, "\\%c", *value);
		else
			buf_byte(out, *value);
}

void metrics_line(struct buf *out, const char *name, const char *suffix,
		  const struct label *labels, double value)
{
	const char *before = "{";

	if (isnan(value))
		return;
	buf_printf(out, "%s%s", name, suffix);
	for (size_t i = 0; i < LABELS_MAX && labels[i].name; i++) {
		buf_printf(out, "%s%s=\"", before, labels[i].name);
		add_label(out, labels[i].value);
		buf_byte(out, '"');
		before = ",";
	}
	buf_printf(out, "%s %.16g\n", *before == ',' ? "}" : "", value);
}

void metrics_single(struct buf *out, const char *name, const char *type, const char *help,
		    double value)
{
	metrics_family(out, name, type, help);
	metrics_line(out, name, "", NO_LABELS, value);
}

void metrics_histogram(struct buf *out, const char *name, const char *label, const char *value,
		       const struct histogram *h, const struct histogram_bounds *bounds)
{
	uint64_t n = 0;
	char le[32];

	for (size_t i = 0; i <= HISTOGRAM_BUCKETS; i++) {
		n += count_of(&h->n[i]);
		if (i < HISTOGRAM_BUCKETS)
			snprintf(le, sizeof le, "%g", (double)bounds->usec[i] / 1e6);
		else
			snprintf(le, sizeof le, "+Inf");
		metrics_line(out, name, "_bucket", LABELS({ label, value }, { "le", le }), (double)n);
	}
	metrics_line(out, name, "_sum", LABELS({ label, value }), (double)count_of(&h->usec) / 1e6);
	metrics_line(out, name, "_count", LABELS({ label, value }), (double)n);
}
