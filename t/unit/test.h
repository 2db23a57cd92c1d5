/* test.h - what every cmocka program here includes. One group per program (cmocka prints one TAP plan). */
#ifndef UNIT_TEST_H
#define UNIT_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"

/* Compare a text with a C string; prints both when they differ. */
#define assert_text(t, s) \
	do { \
		struct buf got_ = { 0 }; \
		buf_text(&got_, (t)); \
		assert_string_equal(buf_cstr(&got_), (s)); \
		buf_done(&got_); \
	} while (0)

/* A heap copy of exactly t.n bytes, so that AddressSanitizer sees one byte too far. */
static inline struct text exact_copy(struct text t)
{
	char *p = malloc(t.n ? t.n : 1);

	if (t.n)
		memcpy(p, t.p, t.n);
	return (struct text){ p, t.n };
}

#endif
