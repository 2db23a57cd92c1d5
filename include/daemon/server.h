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
 * path       the configuration file, for reloads
 */
struct server *server_new(const char *path, struct settings *settings, struct buf *ret_why);

/* Serve until SIGTERM or SIGINT. Returns the exit status: 0, or 1 when a second signal cut it short. */
int server_run(struct server *s);

void server_free(struct server *s);

#endif
