/* json.h - replies made with jansson, whose allocations cannot fail here. */
#ifndef DAEMON_JSON_H
#define DAEMON_JSON_H

#include "daemon/http.h"

#include <jansson.h>

/* Once, before any other use: jansson allocates with must(). */
void json_init(void);

/* `root` is the body; takes over the reference. */
void json_reply(struct http_reply *reply, json_t *root);

/* The body is {"error": why}, with that status; `why` is printf's. Replaces what is there. */
void json_fail(struct http_reply *reply, unsigned status, const char *why, ...)
	__attribute__((format(printf, 3, 4)));

/* Append `root` in one line; takes over the reference. For application/x-ndjson. */
void json_line(struct buf *out, json_t *root);

/* A string; bytes that are no UTF-8 are written as \xHH. A NULL for the C string NULL. */
json_t *json_text(struct text t);
json_t *json_str(const char *s);

/* json_text(), or a NULL where there is none. */
json_t *json_text_if(bool is_there, struct text t);

/* Milliseconds as seconds: of a duration, or since the epoch. */
json_t *json_seconds(uint64_t msec);

/* "jansson 2.14", for --version. */
const char *json_version(void);

#endif
