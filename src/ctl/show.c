#include "ctl/show.h"

#include "base/clock.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <wchar.h>

#define KIBI 1024.0

static bool has_colour;

void show_begin(void)
{
	const char *term = getenv("TERM"), *no_colour = getenv("NO_COLOR");
	bool is_terminal = isatty(STDOUT_FILENO);

	/* What is read by programs is as it is in the directory: UTF-8. */
	setlocale(LC_CTYPE, is_terminal ? "" : "C.UTF-8");
	has_colour = is_terminal && !(no_colour && *no_colour) && term &&
		     strcmp(term, "dumb") != 0;
}

/*
 * One character of `t`: its bytes, and its columns; 0: it must not be shown. Combining marks
 * have no width either, and an address that looks like another one is better seen through.
 */
static size_t next_character(struct text t, int *ret_width)
{
	mbstate_t state = { 0 };
	wchar_t c;
	size_t n = mbrtowc(&c, t.p, t.n, &state);

	*ret_width = 0;
	if (n == 0 || n > t.n)		/* NUL, not valid, or cut */
		return 1;
	int width = wcwidth(c);
	*ret_width = width > 0 ? width : 0;
	return n;
}

size_t show_text(struct buf *out, struct text t)
{
	size_t columns = 0;

	while (t.n) {
		int width;
		size_t n = next_character(t, &width);

		if (width)
			buf_add(out, t.p, n);
		for (size_t i = 0; !width && i < n; i++)
			buf_printf(out, "\\x%02x", (unsigned char)t.p[i]);
		columns += width ? (size_t)width : 4 * n;
		t = text_skip(t, n);
	}
	return columns;
}

size_t show_width(struct text shown)
{
	size_t columns = 0;

	while (shown.n) {
		int width;

		shown = text_skip(shown, next_character(shown, &width));
		columns += (size_t)width;
	}
	return columns;
}

void show_coloured(struct buf *out, enum colour colour, struct text t)
{
	/* ECMA-48 8.3.117, select graphic rendition */
	static const char *const codes[] = {
		[BOLD] = "1", [DIM] = "2", [RED] = "31", [YELLOW] = "33", [GREEN] = "32",
	};
	bool is_coloured = has_colour && colour != PLAIN && t.n;

	if (is_coloured)
		buf_printf(out, "\033[%sm", codes[colour]);
	buf_text(out, t);
	if (is_coloured)
		buf_str(out, "\033[0m");
}

/* --- numbers ----------------------------------------------------------------------------- */

/* What is not known, or out of all reason. */
static bool is_no_number(struct buf *out, double n)
{
	if (isfinite(n) && fabs(n) < 1e15)
		return false;
	buf_byte(out, '-');
	return true;
}

void show_seconds(struct buf *out, double s)
{
	if (is_no_number(out, s))
		return;
	if (s < 0)
		s = 0;

	unsigned long long whole = (unsigned long long)(s + 0.5);
	if (s < 0.0009995)
		buf_printf(out, "%.0f us", s * 1e6);
	else if (s < 0.9995)
		buf_printf(out, s < 0.00995 ? "%.1f ms" : "%.0f ms", s * 1e3);
	else if (s < 9.95)
		buf_printf(out, "%.1f s", s);
	else if (whole < 60)
		buf_printf(out, "%llu s", whole);
	else if (whole < 3600)
		buf_printf(out, "%llum %02llus", whole / 60, whole % 60);
	else if (whole < 86400)
		buf_printf(out, "%lluh %02llum", whole / 3600, whole / 60 % 60);
	else
		buf_printf(out, "%llud %lluh", whole / 86400, whole / 3600 % 24);
}

void show_bytes(struct buf *out, double bytes)
{
	static const char units[] = "KMGTP";
	size_t unit = 0;

	if (is_no_number(out, bytes))
		return;
	if (bytes < KIBI) {
		buf_printf(out, "%.0f", bytes);
		return;
	}
	for (bytes /= KIBI; bytes >= KIBI && units[unit + 1]; unit++)
		bytes /= KIBI;
	buf_printf(out, bytes < 9.95 ? "%.1f%c" : "%.0f%c", bytes, units[unit]);
}

void show_count(struct buf *out, double n)
{
	char digits[32];

	if (is_no_number(out, n))
		return;
	int length = snprintf(digits, sizeof digits, "%.0f", fabs(n));
	if (n < 0)
		buf_byte(out, '-');
	for (int i = 0; i < length; i++) {
		if (i && (length - i) % 3 == 0)
			buf_byte(out, ',');
		buf_byte(out, digits[i]);
	}
}

void show_rate(struct buf *out, double r)
{
	if (is_no_number(out, r))
		return;
	if (r > 0 && r < 9.95)
		buf_printf(out, r < 0.05 ? "<0.1" : "%.1f", r);
	else
		show_count(out, r);
}

void show_plural(struct buf *out, double n, const char *thing)
{
	show_count(out, n);
	buf_printf(out, " %s%s", thing, n == 1 ? "" : "s");
}

/* --- time -------------------------------------------------------------------------------- */

double show_now(void)
{
	return (double)clock_wall_msec() / 1000;
}

void show_ago(struct buf *out, double then)
{
	double age = show_now() - then;

	if (isnan(age)) {
		buf_str(out, "at an unknown time");
	} else if (age < 1) {
		buf_str(out, "just now");
	} else {
		show_seconds(out, age);
		buf_str(out, " ago");
	}
}

void show_clock(struct buf *out, double then)
{
	struct tm tm;
	char text[32];

	if (is_no_number(out, then))
		return;
	long long msec = (long long)(then * 1000 + 0.5);
	time_t t = (time_t)(msec / 1000);
	if (!localtime_r(&t, &tm) || !strftime(text, sizeof text, "%H:%M:%S", &tm))
		snprintf(text, sizeof text, "%lld", msec / 1000);
	buf_printf(out, "%s.%03lld", text, msec % 1000 < 0 ? 0 : msec % 1000);
}

void show_out(struct buf *b)
{
	if (b->n)
		fwrite(b->p, 1, b->n, stdout);
	buf_clear(b);
}
