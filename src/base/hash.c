#include "base/hash.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <xxhash.h>

static unsigned char secret[XXH3_SECRET_SIZE_MIN];	/* set before threads start, then constant */

void hash_random(void *p, size_t n)
{
	char *at = p;

	while (n) {
		ssize_t got = getrandom(at, n, 0);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) {
			perror("socketmapd: getrandom");
			abort();
		}
		at += got;
		n -= (size_t)got;
	}
}

void hash_init(void)
{
	hash_random(secret, sizeof secret);
}

uint64_t hash_text(struct text t)
{
	return XXH3_64bits_withSecret(t.p, t.n, secret, sizeof secret);
}

bool hash_checksum(const struct text *parts, size_t n_parts, void *ret_checksum)
{
	XXH3_state_t *state = XXH3_createState();
	XXH128_canonical_t canonical;

	if (!state)
		return false;
	XXH3_128bits_reset(state);
	for (size_t i = 0; i < n_parts; i++)
		if (parts[i].n)
			XXH3_128bits_update(state, parts[i].p, parts[i].n);
	XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state));
	XXH3_freeState(state);
	memcpy(ret_checksum, canonical.digest, HASH_CHECKSUM_BYTES);
	return true;
}

const char *hash_version(void)
{
	static char version[32];

	if (!version[0]) {
		unsigned v = XXH_versionNumber();

		snprintf(version, sizeof version, "xxhash %u.%u.%u", v / 10000, v / 100 % 100,
			 v % 100);
	}
	return version;
}
