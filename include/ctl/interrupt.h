/* interrupt.h - signals that end the program, in good order. */
#ifndef CTL_INTERRUPT_H
#define CTL_INTERRUPT_H

#include <stdbool.h>

/* From now on SIGINT, SIGTERM and SIGHUP are noted, and SIGPIPE ends us quietly. */
void interrupt_watch(void);

/* The signal that has come; 0: none. */
int interrupt_came(void);

#endif
