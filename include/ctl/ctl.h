/* ctl.h - socketmapctl: what was asked on the command line, and the ways in which it ends. */
#ifndef CTL_CTL_H
#define CTL_CTL_H

#include "ctl/client.h"

#include <jansson.h>

/* Exit codes: socketmapctl(8). */
enum {
	CTL_DONE = 0,		/* lookup: found */
	CTL_NO = 1,		/* NOTFOUND; there are differences; not ready */
	CTL_USAGE = 2,		/* wrong usage, no such command or map */
	CTL_NO_SERVER = 3,	/* it cannot be reached, refuses us, or makes no sense */
	CTL_FAILED = 4,		/* it could not do it: TEMP or PERM, a failed refresh, ... */
	CTL_INTERRUPTED = 130,	/* ^C, as shells say it: 128 + SIGINT */
};

/* One run of the program. */
struct ctl {
	struct client *client;
	bool is_json;
	uint64_t timeout;		/* msec */
	char *const *words;		/* behind the command */
	size_t n_words;
	bool is_all, is_waiting, is_full, is_not_live;
	const char *address, *map;	/* flush --address, trace --map; NULL: not given */
	const char *sample;		/* digits; NULL: not given */
	uint64_t interval;		/* msec */
};

/* All commands. They print, and return an exit code. */
int ctl_status(struct ctl *c);
int ctl_maps(struct ctl *c);
int ctl_sources(struct ctl *c);
int ctl_lookup(struct ctl *c);
int ctl_explain(struct ctl *c);
int ctl_refresh(struct ctl *c);
int ctl_accept(struct ctl *c);
int ctl_flush(struct ctl *c);
int ctl_reload(struct ctl *c);
int ctl_dump(struct ctl *c);
int ctl_diff(struct ctl *c);
int ctl_trace(struct ctl *c);
int ctl_top(struct ctl *c);
int ctl_postfix(struct ctl *c);

/* Say what is wrong on stderr, in a line that begins with our name; printf's. Returns `code`. */
int ctl_fail(int code, const char *why, ...) __attribute__((format(printf, 2, 3)));

/*
 * What became of an exchange that client_ask() or client_stream() tell of: 0 when the reply says
 * 2xx, else the exit code, with the reason on stderr. `root` is the reply as JSON, or NULL.
 */
int ctl_outcome(enum heard heard, const struct reply *reply, const json_t *root);

/* Begin a path: "/v1/accept?map=M". */
void ctl_path(struct buf *path, const char *what, const char *name, const char *value);

/* Append an argument: "&key=K". */
void ctl_path_more(struct buf *path, const char *name, const char *value);

/*
 * Ask for a JSON document, and with --json print it as it came, whatever it says.
 *
 * ret_root   set when it was JSON, of an error, too; the caller's. Else NULL.
 *
 * 0, or an exit code as ctl_outcome().
 */
int ctl_ask(struct ctl *c, enum method method, const char *path, json_t **ret_root);

/* The same for /v1/status, printing nothing: `*ret_root` is a status when it returns 0. */
int ctl_get_status(struct ctl *c, uint64_t msec, json_t **ret_root);

#endif
