/* lookups.h - GET /v1/maps/NAME: one lookup as JSON, and what explanations share with it. HTTP's threads. */
#ifndef DAEMON_LOOKUPS_H
#define DAEMON_LOOKUPS_H

#include "daemon/json.h"
#include "engine/question.h"

/* GET /v1/maps/NAME?key=K: what a client of the map would get. 200 for every verdict. */
void lookups_get(const struct http_request *request, struct http_reply *reply);

/* {"map", "key", "verdict", ...} */
json_t *lookups_json(struct text map, struct text key, const struct question_reply *r);

/*
 * The request's argument `key`. False: it is not there, or longer than anything that mail has a
 * name for (RFC 5321 4.5.3.1), and `reply` says so. A walk takes time that grows with the square of the
 * key's length, and no answer comes from its loop meanwhile.
 */
bool lookups_take_key(const struct http_request *request, struct text *ret_key,
		      struct http_reply *reply);
#define LOOKUPS_KEY_MAX ((size_t)1024)

/* Values of secret maps are for the control socket only. */
bool lookups_may_see_secrets(const struct http_request *request);

/* There is no such map (404, with what may have been meant), or it is secret (403). */
void lookups_refuse(const struct http_request *request, struct text map, bool has_map,
		    struct http_reply *reply);

#endif
