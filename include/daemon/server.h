/* server.h - the running server: starts, accepts, reloads, stops. Control thread. */
#ifndef DAEMON_SERVER_H
#define DAEMON_SERVER_H

#include "base/buf.h"
#include "engine/settings.h"

struct server;

/*
 * Bind every listener and check the limits of the process. Nothing answers yet.
 * NULL with a reason. Takes over `settings` in any case.
 *
 * path          the configuration file, for reloads
 * is_replacing  another server may be running, whose place this one takes; see replace.h
 */
struct server *server_new(const char *path, struct settings *settings, bool is_replacing,
			  struct buf *ret_why);

/*
 * Serve until SIGTERM or SIGINT; a second one ends the process at once, with status 1. Returns the
 * exit status: 0, or 1 when the other server could not be replaced.
 */
int server_run(struct server *s);

void server_free(struct server *s);

#endif
