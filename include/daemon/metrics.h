/* metrics.h - /metrics: the text format 0.0.4 of Prometheus. HTTP's threads. */
#ifndef DAEMON_METRICS_H
#define DAEMON_METRICS_H

#include "daemon/http.h"
#include "daemon/report.h"

/*
 * Labels are names of maps, sources, listeners and loops from the configuration, and words from
 * closed lists; never anything from a client or a directory.
 * Source: https://prometheus.io/docs/instrumenting/exposition_formats/, ecosystem.md 4.1.
 */
void metrics_reply(const struct http_request *request, struct http_reply *reply);

/* The same without HTTP; `admin` for what is not in the report. */
void metrics_print(const struct report *r, const struct admin *a, struct buf *out);

/* Those of maps; the standard process_* metrics of this process. Parts of it. */
void metrics_maps(struct buf *out, const struct report *r);
void metrics_process(struct buf *out);

#endif
