/* buf.h - bytes that grow. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/text.h"

#include <stdint.h>

/*
 * A growing run of bytes. All zeroes is a valid empty buffer; buf_done() frees
 * it. One owner. Growing aborts when memory is out, so whoever adds bytes of
 * a peer's choosing caps their number first.
 */
struct buf {
	char *p;
	size_t n;	/* bytes in use */
	size_t cap;	/* bytes allocated */
};

/* Make room for `n` more bytes where there is none yet, and return where they go. */
char *buf_grow(struct buf *b, size_t n);

/* Make room for `n` more bytes; false, with nothing changed, when memory is out. */
bool buf_reserve(struct buf *b, size_t n);

/* Where the next `n` bytes go; b->n is unchanged. */
static inline char *buf_room(struct buf *b, size_t n)
{
	return b->p && b->cap - b->n >= n ? b->p + b->n : buf_grow(b, n);
}

/* Append bytes, a text, one byte, or a C string. The source may not lie inside `b`. */
static inline void buf_add(struct buf *b, const void *p, size_t n)
{
	if (n) {
		memcpy(buf_room(b, n), p, n);
		b->n += n;
	}
}

static inline void buf_text(struct buf *b, struct text t)
{
	buf_add(b, t.p, t.n);
}

static inline void buf_byte(struct buf *b, char c)
{
	*buf_room(b, 1) = c;
	b->n++;
}

static inline void buf_str(struct buf *b, const char *s)
{
	buf_add(b, s, strlen(s));
}

/* Append in the manner of printf(3). */
void buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Append `t` with everything but printable ASCII, and `"` and `\`, written as \xHH. */
void buf_escaped(struct buf *b, struct text t);

/* Drop the first `n` bytes (n <= b->n). */
void buf_drop(struct buf *b, size_t n);

/* Empty it, keeping the memory. */
static inline void buf_clear(struct buf *b)
{
	b->n = 0;
}

/* The bytes so far; dead once `b` changes. */
static inline struct text buf_view(const struct buf *b)
{
	return (struct text){ b->p, b->n };
}

/* The bytes so far as a C string; dead once `b` changes. Bytes after a NUL are hidden. */
const char *buf_cstr(struct buf *b);

/* Hand the bytes to the caller as a C string to free(); `b` is empty afterwards. */
char *buf_take(struct buf *b);

/* Free it; `b` is an empty buffer afterwards. */
void buf_done(struct buf *b);

/* The same for a secret: it is overwritten first. What it outgrew before is not. */
void buf_wipe(struct buf *b);

#endif
