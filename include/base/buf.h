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

/* Make room for `n` more bytes and return where they go; b->n is unchanged. */
char *buf_room(struct buf *b, size_t n);

/* Append bytes, a text, one byte, or a C string. The source may not lie inside `b`. */
void buf_add(struct buf *b, const void *p, size_t n);
void buf_text(struct buf *b, struct text t);
void buf_byte(struct buf *b, char c);
void buf_str(struct buf *b, const char *s);

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

#endif
