/*
 * notify.h - tells the service manager how we are: the datagrams of sd_notify(3), without
 * its library. Without a service manager that wants to know, nothing happens. Main thread.
 */
#ifndef DAEMON_NOTIFY_H
#define DAEMON_NOTIFY_H

#include <stdint.h>

/*
 * Take NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID out of the environment, so that driver
 * processes do not have them.
 */
void notify_init(void);

/*
 * READY=1: everybody is answered as well as we can; also at the end of a reload. With MAINPID=,
 * as we may have taken the place of the process that the manager started; it has to be told
 * before that one ends (NotifyAccess=all).
 */
void notify_ready(void);

/* RELOADING=1, with the time that Type=notify-reload wants to see; notify_ready() ends it. */
void notify_reloading(void);

void notify_stopping(void);	/* STOPPING=1 */

/*
 * How long the manager waits for notify_alive() before it kills the service, msec:
 * sd_watchdog_enabled(3). 0: for ever; or it means another process.
 */
uint64_t notify_patience(void);

void notify_alive(void);	/* WATCHDOG=1; nothing without notify_patience() */

#endif
