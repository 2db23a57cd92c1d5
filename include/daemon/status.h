/* status.h - /livez, /readyz and /v1/status. HTTP's threads. */
#ifndef DAEMON_STATUS_H
#define DAEMON_STATUS_H

#include "daemon/http.h"

/* "ok", or 503 with the name of a loop that has stalled. Asks no loop anything. */
void status_live(const struct http_request *request, struct http_reply *reply);

/* JSON: is every map ready to answer, and if not, why? 503 when not, at the start and at the end. */
void status_ready(const struct http_request *request, struct http_reply *reply);

/* JSON: everything of report.h. */
void status_all(const struct http_request *request, struct http_reply *reply);

#endif
