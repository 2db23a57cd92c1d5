/* fuzz.h - what the libFuzzer targets share: inputs of several parts, and streams. */
#ifndef FUZZ_FUZZ_H
#define FUZZ_FUZZ_H

#include "base/buf.h"
#include "wire/protocol.h"

#undef NDEBUG
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline struct text fuzz_text(const uint8_t *data, size_t size)
{
	return (struct text){ (const char *)data, size };
}

/* A heap copy of exactly t.n bytes, so that ASan sees one byte too far. */
static inline struct text fuzz_copy(struct text t)
{
	char *p = malloc(t.n ? t.n : 1);

	if (t.n)
		memcpy(p, t.p, t.n);
	return (struct text){ p, t.n };
}

static inline void fuzz_free(struct text copy)
{
	free((char *)copy.p);
}

/* Cut the first line off `*in`; what is left may be empty. */
static inline struct text fuzz_line(struct text *in)
{
	const char *end = text_chr(*in, '\n');
	struct text line = end ? text_before(*in, end) : *in;

	*in = end ? text_from(*in, end + 1) : (struct text){ in->p + in->n, 0 };
	return line;
}

/* A number made of the bytes, so that the same input is always cut alike (FNV-1a). */
static inline uint64_t fuzz_seed(struct text t)
{
	uint64_t h = 14695981039346656037u;

	for (size_t i = 0; i < t.n; i++)
		h = (h ^ (unsigned char)t.p[i]) * 1099511628211u;
	return h;
}

static inline size_t fuzz_count(struct text t, char c)
{
	size_t n = 0;

	for (size_t i = 0; i < t.n; i++)
		n += t.p[i] == c;
	return n;
}

/*
 * Take one message from the front of `in` and append all that it means to `log`;
 * `max` is the longest to accept.
 */
typedef enum parsed fuzz_take(struct text in, size_t max, struct buf *log,
			      size_t *ret_used);

static inline bool fuzz_is_closed(enum parsed parsed)
{
	return parsed == MALFORMED || parsed == OVERLONG;
}

/* Feed `in` as a socket would, in pieces of `piece` bytes (0: any size), and log it. */
static inline struct buf fuzz_feed(struct text in, fuzz_take *take, size_t max,
				   size_t piece)
{
	uint64_t random = fuzz_seed(in) | 1;
	struct buf log = { 0 }, pending = { 0 };
	enum parsed parsed = NEED_MORE;

	while (in.n && !fuzz_is_closed(parsed)) {
		size_t n = piece ? piece : (random >> 33) % in.n + 1;

		random = random * 6364136223846793005u + 1442695040888963407u;
		n = n < in.n ? n : in.n;
		buf_add(&pending, in.p, n);
		in = text_skip(in, n);

		struct text copy = fuzz_copy(buf_view(&pending)), rest = copy;
		for (size_t used = 0;; rest = text_skip(rest, used), used = 0) {
			parsed = take(rest, max, &log, &used);
			if (parsed == NEED_MORE || fuzz_is_closed(parsed))
				break;
			assert(used > 0 && used <= rest.n);
		}
		assert(fuzz_is_closed(parsed) || rest.n < max + REQUEST_EXTRA);
		buf_drop(&pending, copy.n - rest.n);
		fuzz_free(copy);
	}
	buf_str(&log, fuzz_is_closed(parsed) ? "closed" : "open");
	buf_done(&pending);
	return log;
}

/* However the bytes arrive, they mean the same. */
static inline void fuzz_stream(struct text in, fuzz_take *take, size_t max)
{
	struct buf whole = fuzz_feed(in, take, max, SIZE_MAX);

	for (size_t piece = in.n <= 512 ? 0 : 1; piece < 2; piece++) {
		struct buf cut = fuzz_feed(in, take, max, in.n <= 512 ? piece : 0);

		assert(text_eq(buf_view(&whole), buf_view(&cut)));
		buf_done(&cut);
	}
	buf_done(&whole);
}

#endif
