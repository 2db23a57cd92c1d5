/* ldap_watchdog.h - a thread that ends calls of libldap that would not end by themselves. */
#ifndef DRIVER_LDAP_WATCHDOG_H
#define DRIVER_LDAP_WATCHDOG_H

#include <stdbool.h>
#include <stdint.h>

struct watchdog;

/* Start the thread, which sleeps until it is needed. NULL, with errno: there can be none. */
struct watchdog *watchdog_new(void);
void watchdog_free(struct watchdog *w);		/* NULL is fine */

/*
 * Watch this socket from now on, through a duplicate of its own; -1: none. False, with
 * errno: there are no descriptors left. It has not bitten yet.
 */
bool watchdog_guard(struct watchdog *w, int fd);

/*
 * Shut the socket down, both ways, in `msec` unless told otherwise by then; 0: never.
 * Monotonic time, no signals.
 */
void watchdog_set(struct watchdog *w, uint64_t msec);

/* Has it shut this socket down? */
bool watchdog_has_bitten(struct watchdog *w);

#endif
