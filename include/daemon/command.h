/* command.h - something that an administrator wants, on its way to the control loop and back. */
#ifndef DAEMON_COMMAND_H
#define DAEMON_COMMAND_H

#include "daemon/http.h"
#include "engine/registry.h"

/*
 * Embedded, as the first member, in what a handler allocates for its wishes and for what comes of
 * them. Only one thread at a time has it: HTTP's, the control loop's, HTTP's again.
 */
struct command {
	struct admin *admin;
	struct buf map;		/* the map's name; empty: it is about none, or about all */
	/*
	 * Do it, or call command_fail(). Control thread; what is not counted by reference is forgotten
	 * before it returns.
	 *
	 * map    that map, or NULL without a name
	 */
	void (*run)(struct command *c, struct map *map);
	/* Free what the embedding struct owns, not the struct itself. Any thread; may be NULL. */
	void (*done)(struct command *c);
	unsigned status;	/* of HTTP, when it failed; 0: it did not */
	struct buf why;
};

/*
 * Have c->run() called, and wait for it `msec` at most. An unknown map is a 404. True: done, and
 * the command is the caller's, to end with command_free(). False: it failed, `reply` says so, and
 * the command is gone.
 */
bool command_run(struct command *c, uint64_t msec, struct http_reply *reply);
void command_free(struct command *c);

/* From run(): it cannot be done, and is answered {"error": why} with that status. */
void command_fail(struct command *c, unsigned status, const char *why);

/* The request's argument `map`, which must be there. False: `reply` says that it is not. */
bool command_wants_map(struct command *c, const struct http_request *r, struct http_reply *reply);

/* Append "no such map: NAME", with what may have been meant. In a loop's callback. */
void no_such_map(const struct registry *r, struct text name, struct buf *out);

/* The user at the other end, for the log. */
uint64_t command_who(const struct http_request *r);

#endif
