/* explain.h - GET /v1/explain: why a map says what it says. HTTP's threads. */
#ifndef DAEMON_EXPLAIN_H
#define DAEMON_EXPLAIN_H

#include "daemon/http.h"

/*
 * GET /v1/explain?map=M&key=K[&live=0]: each key that is tried, what each table and its directory say
 * of it, the replies of both protocols, and the reason in words (why.h).
 */
void explain_reply(const struct http_request *request, struct http_reply *reply);

/* How long one explanation may ask directories in all, msec. */
#define EXPLAIN_MSEC 10000

#endif
