#include "daemon/http.h"
#include "daemon/control.h"
#include "daemon/explain.h"
#include "daemon/lookups.h"
#include "daemon/metrics.h"
#include "daemon/page.h"
#include "daemon/status.h"

#define EVERYWHERE (HTTP_PUBLIC | HTTP_CONTROL)

const struct http_route http_routes[] = {
	{ "/", false, EVERYWHERE, page_reply },
	{ "/livez", false, EVERYWHERE, status_live },
	{ "/readyz", false, EVERYWHERE, status_ready },
	{ "/metrics", false, EVERYWHERE, metrics_reply },
	{ "/v1/status", false, EVERYWHERE, status_all },
	{ "/v1/maps/", false, EVERYWHERE, lookups_get },
	{ "/v1/explain", false, EVERYWHERE, explain_reply },
	{ "/v1/refresh", true, HTTP_CONTROL, control_refresh },
	{ "/v1/accept", true, HTTP_CONTROL, control_accept },
	{ "/v1/flush", true, HTTP_CONTROL, control_flush },
	{ "/v1/reload", true, HTTP_CONTROL, control_reload },
	{ "/v1/dump", false, HTTP_CONTROL, control_dump },
	{ "/v1/trace", false, HTTP_CONTROL, control_trace },
	{ "/v1/diff", false, HTTP_CONTROL, control_diff },
	{ 0 },
};
