/* page.h - the status page: one HTML file inside the program. */
#ifndef DAEMON_PAGE_H
#define DAEMON_PAGE_H

#include "daemon/http.h"

/* page.html. Its numbers come from /v1/status, its explanations from /v1/explain. */
void page_reply(const struct http_request *request, struct http_reply *reply);

#endif
