/*
 * control.h - what the control socket has beyond the public one: orders, and long answers. HTTP's
 * threads. Each is logged once, as event=control_NAME with who=UID.
 */
#ifndef DAEMON_CONTROL_H
#define DAEMON_CONTROL_H

#include "daemon/http.h"

/*
 * POST /v1/refresh?map=M or ?all=1: scan now, as SIGUSR2 does. 202 {"requested": maps, "time"};
 * 409 for a map without a mirror.
 */
void control_refresh(const struct http_request *request, struct http_reply *reply);

/*
 * POST /v1/accept?map=M: have what was rejected, refresh_accept(). 202 {"accepted": tables, "time"};
 * 409 when nothing was.
 */
void control_accept(const struct http_request *request, struct http_reply *reply);

/*
 * POST /v1/flush?map=M, ?map=M&key=K or ?address=A: forget what single lookups have learnt, and scan
 * the mirrored tables that are concerned. 200 {"flushed": keys, "maps": [...], "refreshing": [...]}.
 */
void control_flush(const struct http_request *request, struct http_reply *reply);

/* POST /v1/reload: as SIGHUP. 200 {"ok": true, "notes"}, or 409 {"ok": false, "error", "errors"}. */
void control_reload(const struct http_request *request, struct http_reply *reply);

/*
 * GET /v1/dump?map=M: every entry of the map's mirrors at one moment, a line each: {"table", "key",
 * "value"}, or "bad": true in place of the value; values whose time has passed are left out. The last
 * line is {"end": true, "entries": n}. Keeps the mirrors, not the map.
 */
void control_dump(const struct http_request *request, struct http_reply *reply);

/*
 * GET /v1/diff?map=M&sample=N: N keys of the mirrors by chance (0: all) are looked up in the
 * directory; a line for each whose answer is another, {"progress": ...} each second, and
 * {"end": true, "compared", "different", "failed"}. What fails is no difference.
 */
void control_diff(const struct http_request *request, struct http_reply *reply);

/* GET /v1/trace?map=M: answers as they are sent; trace.h. {} in a second without any. */
void control_trace(const struct http_request *request, struct http_reply *reply);

#endif
