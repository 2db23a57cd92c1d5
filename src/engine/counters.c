#include "engine/counters.h"

#include <string.h>

const struct histogram_bounds lookup_bounds = { {
	50, 100, 250, 1000, 2500, 5000, 10000, 25000, 100000, 250000, 1000000, 2500000,
} };

#define SECOND ((uint64_t)1000000)

const struct histogram_bounds refresh_bounds = { {
	SECOND / 10, SECOND / 4, SECOND / 2, SECOND, 5 * SECOND / 2, 5 * SECOND, 10 * SECOND,
	25 * SECOND, 50 * SECOND, 100 * SECOND, 300 * SECOND, 600 * SECOND,
} };

void counters_sum(const struct counters *cells, size_t n, struct counters *ret)
{
	/* Nothing but counters is in there, one behind the other. */
	_Atomic uint64_t *sum = (_Atomic uint64_t *)ret;
	size_t n_counters = sizeof *ret / sizeof *sum;

	memset(ret, 0, sizeof *ret);
	for (size_t i = 0; i < n; i++) {
		const _Atomic uint64_t *cell = (const _Atomic uint64_t *)&cells[i];

		for (size_t k = 0; k < n_counters; k++)
			count_up(&sum[k], count_of(&cell[k]));
	}
}

const char *const reply_words[VERDICTS] = {
	[TEMP] = "temp", [FOUND] = "found", [NOTFOUND] = "notfound", [PERM] = "perm",
};

uint64_t counters_replies(const struct counters *sum, enum verdict verdict)
{
	uint64_t n = 0;

	for (size_t i = 0; i < PROTOCOLS; i++)
		n += count_of(&sum->replies[i][verdict]);
	return n;
}
