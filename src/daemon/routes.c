#include "daemon/http.h"
#include "daemon/metrics.h"
#include "daemon/status.h"

#define EVERYWHERE (HTTP_PUBLIC | HTTP_CONTROL)

const struct http_route http_routes[] = {
	{ "/livez", false, EVERYWHERE, status_live },
	{ "/readyz", false, EVERYWHERE, status_ready },
	{ "/metrics", false, EVERYWHERE, metrics_reply },
	{ "/v1/status", false, EVERYWHERE, status_all },
	{ 0 },
};
