/* screen.h - the terminal of a program that redraws it, and its keys. */
#ifndef CTL_SCREEN_H
#define CTL_SCREEN_H

#include "base/buf.h"

#include <stdint.h>

/*
 * Take the terminal: its other screen, no echo, no line editing. Whatever ends the program,
 * screen_leave() comes first, as atexit(3) sees to it. False: stdin or stdout is none.
 */
bool screen_enter(void);
void screen_leave(void);		/* more than once is fine */

/* Its size; 80 x 24 where it does not tell. */
void screen_size(size_t *ret_columns, size_t *ret_rows);

/* Show these lines, as many as there is room for. */
void screen_draw(struct text lines);

/* Wait for a key: itself, 0 after `msec`, at a signal or a new size, -1 at the end of input. */
int screen_key(uint64_t msec);

#endif
