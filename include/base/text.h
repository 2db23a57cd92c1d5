/* text.h - a view of bytes that somebody else owns. */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/*
 * `n` bytes at `p`, any bytes, no terminator. A view dies with what it looks
 * into; whoever keeps one longer copies it first. `p` may be NULL when n is 0.
 */
struct text {
	const char *p;
	size_t n;
};

/* The text of a string literal, its length known to the compiler. */
#define TEXT(literal) ((struct text){ "" literal, sizeof(literal) - 1 })

/* The text of a C string; the empty text for NULL. */
static inline struct text text_of(const char *s)
{
	return (struct text){ s, s ? strlen(s) : 0 };
}

/* Same bytes? */
static inline bool text_eq(struct text a, struct text b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* Same bytes as the C string `s`? */
static inline bool text_is(struct text t, const char *s)
{
	return text_eq(t, text_of(s));
}

/* Does `t` begin with `prefix`? */
static inline bool text_starts(struct text t, struct text prefix)
{
	return t.n >= prefix.n && text_eq((struct text){ t.p, prefix.n }, prefix);
}

/* The first / last `c` in `t`, or NULL. */
static inline const char *text_chr(struct text t, char c)
{
	return t.n ? memchr(t.p, c, t.n) : NULL;
}

static inline const char *text_rchr(struct text t, char c)
{
	return t.n ? memrchr(t.p, c, t.n) : NULL;
}

/* What stands before `end` and from `start` on; both point into `t` or one past it. */
static inline struct text text_before(struct text t, const char *end)
{
	return (struct text){ t.p, (size_t)(end - t.p) };
}

static inline struct text text_from(struct text t, const char *start)
{
	return (struct text){ start, t.n - (size_t)(start - t.p) };
}

/* `t` without its first `n` bytes; n must not exceed t.n. */
static inline struct text text_skip(struct text t, size_t n)
{
	return (struct text){ n ? t.p + n : t.p, t.n - n };
}

/* `t` without ASCII white space at both ends. */
struct text text_trim(struct text t);

/*
 * Take the next item of a list, which ends at any byte of `separators`; runs of
 * separators count as one. False at the end of the list.
 *
 * list       in: the list; out: what is left of it
 * ret_item   set on true: a view into the list, never empty
 */
bool text_next(struct text *list, const char *separators, struct text *ret_item);

#endif
