/* show.h - how things look to people: safe texts, readable numbers, a little colour. */
#ifndef CTL_SHOW_H
#define CTL_SHOW_H

#include "base/buf.h"

#include <stdint.h>

enum colour { PLAIN, BOLD, DIM, RED, YELLOW, GREEN };

/*
 * Once, before anything is shown: the character set is that of a terminal, where one is
 * stdout, else UTF-8; colour is for terminals only, and not if NO_COLOR is set.
 */
void show_begin(void);

/*
 * Append `t` as a terminal may see it. Whatever is not printed as itself, or has no width
 * (controls, marks that change the direction of writing, what is not UTF-8), is written as \xHH.
 * Returns how many columns that takes.
 */
size_t show_text(struct buf *out, struct text t);

/* Columns of what show_text() or we have written. */
size_t show_width(struct text shown);

/* Append `t`, which has been made safe, in that colour. */
void show_coloured(struct buf *out, enum colour colour, struct text t);

/*
 * Append a number. NAN, what is not known, is "-".
 *
 * seconds   "850 us", "12 ms", "3.2 s", "3m 12s", "2h 05m", "4d 3h"
 * bytes     "512", "1.2K", "34M"
 * count     "1,234,567"
 * rate      per second: "0", "0.4", "12", "1,234"
 */
void show_seconds(struct buf *out, double seconds);
void show_bytes(struct buf *out, double bytes);
void show_count(struct buf *out, double n);
void show_rate(struct buf *out, double per_second);

/* Append "3 maps", "1 map". */
void show_plural(struct buf *out, double n, const char *thing);

/* Append "3m 12s ago" of a moment, Unix time; "just now" for the last second and the future. */
void show_ago(struct buf *out, double then);

/* Append "14:03:22.123" of a moment, Unix time, in local time. */
void show_clock(struct buf *out, double then);

/* Write `b` to stdout and empty it. */
void show_out(struct buf *b);

/* The moment, Unix time. */
double show_now(void);

#endif
