#include "base/must.h"

#include <assert.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local jmp_buf *guard;	/* where to go when memory is out; NULL: nowhere */

void *must(void *p)
{
	if (!p && guard)
		longjmp(*guard, 1);
	if (!p) {
		fputs("socketmapd: out of memory\n", stderr);
		abort();
	}
	return p;
}

bool must_guard(void (*run)(void *ctx), void *ctx)
{
	jmp_buf here;
	bool is_done = false;

	assert(!guard);
	guard = &here;
	if (setjmp(here) == 0) {
		run(ctx);
		is_done = true;
	}
	guard = NULL;
	return is_done;
}

char *must_strdup(const char *s)
{
	return must(strdup(s));
}

void *must_calloc(size_t n, size_t size)
{
	return must(calloc(n, size));
}
