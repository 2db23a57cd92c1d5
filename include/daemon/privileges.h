/* privileges.h - from root to a service user, for good. */
#ifndef DAEMON_PRIVILEGES_H
#define DAEMON_PRIVILEGES_H

#include "base/buf.h"

/*
 * Become `user` and `group` (NULL: the user's own group; both NULL: stay), supplementary groups
 * included, and make sure that there is no way back. False with a reason. Not root: fine
 * when it is that user already.
 */
bool privileges_drop(const char *user, const char *group, struct buf *ret_why);

#endif
