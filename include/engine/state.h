/* state.h - the state directory: ours alone, and written by one server at a time. */
#ifndef ENGINE_STATE_H
#define ENGINE_STATE_H

#include "base/buf.h"

#include <sys/types.h>

/*
 * The directory is opened once and named by its descriptor from then on, so that nobody can
 * put another one in its place. Who writes there holds a POSIX write lock on the file "lock"
 * inside: the kernel drops it when the process ends, however that happens, and tells others who
 * has it, F_GETLK in fcntl(2). Driver processes do not inherit it.
 *
 * Any close of "lock" by this process would drop its lock, fcntl(2): so one struct state for
 * each process and directory. One thread at a time.
 */
struct state;

/*
 * Open the directory `path`, made with mode 0700 if it is not there and its parent allows that.
 * NULL, with a reason in `ret_why`, when it cannot be opened, is a link, belongs to another
 * user, or others may write to it. Ends with state_close(), which also drops the lock.
 */
struct state *state_open(const char *path, struct buf *ret_why);
void state_close(struct state *s);	/* NULL is fine */

/* Its descriptor, for openat() and the like. */
int state_directory(const struct state *s);

/*
 * Have we got the lock? Takes it if nobody has. Never waits: whoever wants to write after
 * another server asks again now and then. A reason in `ret_why` when it is not ours.
 */
bool state_lock(struct state *s, struct buf *ret_why);

/*
 * After state_lock() has said no: the process that has the lock. 0: nobody any more, or one
 * that we cannot see (in another PID namespace, or on another host).
 */
pid_t state_holder(const struct state *s);

#endif
