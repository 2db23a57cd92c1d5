/* secret.h - where drivers get passwords from, each time they need one. */
#ifndef DRIVER_SECRET_H
#define DRIVER_SECRET_H

#include "driver/driver.h"

/*
 * Append the password that the settings call `name` to `ret_secret`, which is empty. It
 * stands in the first of these settings that there is:
 *
 * NAME_file		a file of its own: regular, ours or root's, closed to others
 * NAME_credential	a credential of the systemd unit
 * NAME_cf		a Postfix table file, its parameter NAME
 * NAME			itself; none of them: the empty password
 *
 * One line break at the end of a file is not part of it. False with a reason, which never
 * holds any of it, when it cannot be read or a file of its own is empty. The caller frees
 * it with buf_wipe().
 */
bool secret_read(const struct settings *source, const char *name, struct buf *ret_secret,
		 struct buf *ret_why);

#endif
