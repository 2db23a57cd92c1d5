#include "base/must.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *must(void *p)
{
	if (!p) {
		fputs("socketmapd: out of memory\n", stderr);
		abort();
	}
	return p;
}

char *must_strdup(const char *s)
{
	return must(strdup(s));
}

void *must_calloc(size_t n, size_t size)
{
	return must(calloc(n, size));
}
