/*
 * mirror [DIRECTORY] - what a mirror of a million mail addresses costs; its snapshot is
 * written to the directory and removed. Prints `name value` lines.
 */
#include "base/buf.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/must.h"
#include "store/mirror.h"
#include "store/snapshot.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define ENTRIES 1000000u
#define LOOKUPS 1000000u
#define ROUNDS 5		/* the best counts: whatever disturbs makes it slower */

/* The rows of a scan, then as many whose keys it lacks: offsets into `bytes`. */
struct row {
	size_t key, value, end;
};

static struct buf bytes;
static struct row rows[2 * ENTRIES];

static const struct mirror_limits limits = {
	.max_entries = ENTRIES, .max_bytes = (size_t)1 << 30, .max_value = 100000,
};

static struct text text_at(size_t from, size_t to)
{
	return (struct text){ bytes.p + from, to - from };
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static double least(double a, double b)
{
	return a < b ? a : b;
}

/* bob.rossi81234@mail42.example -> bob.rossi@imap2.example.net */
static void make_rows(void)
{
	static const char *const given[] = { "anna", "giovanna", "bob", "joe", "li" };
	static const char *const family[] = { "rossi", "smith", "van-berg", "ng", "garcia" };
	uint64_t seed = 1;

	for (unsigned i = 0; i < 2 * ENTRIES; i++) {
		const char *g = given[clock_random(&seed) % 5];
		const char *f = family[clock_random(&seed) % 5];
		unsigned domain = (unsigned)(clock_random(&seed) % 500);

		rows[i].key = bytes.n;
		buf_printf(&bytes, "%s.%s%u@mail%u.example", g, f, i, domain);
		rows[i].value = bytes.n;
		buf_printf(&bytes, "%s.%s@imap%u.example.net", g, f, domain % 10);
		rows[i].end = bytes.n;
	}
}

static struct mirror *build(double *ret_seconds)
{
	double start = now();
	struct mirror_builder *b = must(mirror_builder_new(&limits));

	for (const struct row *r = rows; r < rows + ENTRIES; r++)
		if (!mirror_add(b, text_at(r->key, r->value), text_at(r->value, r->end)))
			abort();

	struct mirror *m = must(mirror_seal(b, 1));
	*ret_seconds = now() - start;
	return m;
}

#define SNAPSHOT "mirror.snapshot"

/* Write a mirror to disk, read it back and make a mirror of that; seconds of both. */
static void save_and_load(int dir, const struct mirror *m, double *ret_save,
			  double *ret_load)
{
	struct snapshot s = { .entries = mirror_entries(m), .mirror = mirror_image(m) };
	struct snapshot_file f;
	struct buf why = { 0 };
	const char *reason;

	double start = now();
	if (!snapshot_write(dir, SNAPSHOT, &s, &why))
		abort();
	*ret_save = now() - start;

	start = now();
	if (snapshot_read(dir, SNAPSHOT, s.fingerprint, &f, &why) != SNAPSHOT_GOOD)
		abort();
	struct mirror *loaded = must(mirror_from_image(f.s.mirror, f.s.entries, &limits, 1,
						       &reason));
	snapshot_done(&f);
	*ret_load = now() - start;

	mirror_free(loaded);
	unlinkat(dir, SNAPSHOT, 0);
	buf_done(&why);
}

/*
 * Look up keys in random order; ns each. The keys are copied side by side first, since
 * that of a request is in the processor's cache when its turn comes.
 */
static double look_up(const struct mirror *m, unsigned base, enum mirror_says want)
{
	struct buf keys = { 0 };
	size_t *from = must_calloc(LOOKUPS + 1, sizeof *from);
	uint64_t seed = 7;

	for (unsigned i = 0; i < LOOKUPS; i++) {
		const struct row *r = &rows[base + clock_random(&seed) % ENTRIES];

		buf_text(&keys, text_at(r->key, r->value));
		from[i + 1] = keys.n;
	}

	double start = now();
	for (unsigned i = 0; i < LOOKUPS; i++) {
		struct text key = { keys.p + from[i], from[i + 1] - from[i] }, value;

		if (mirror_find(m, key, &value) != want)
			abort();
	}

	double ns = (now() - start) * 1e9 / LOOKUPS;
	free(from);
	buf_done(&keys);
	return ns;
}

/* The yardstick: one read, at an address that the one before told, in as much memory. */
static double random_read(void)
{
	size_t n = bytes.n / 2 / sizeof(uint64_t);
	uint64_t *p = must_calloc(n, sizeof *p), at = 1, seed = 9;

	for (size_t i = 0; i < n; i++)
		p[i] = clock_random(&seed);

	double start = now();
	for (unsigned i = 0; i < LOOKUPS; i++)
		at = p[((at >> 32) * n) >> 32] ^ clock_random(&seed);

	double ns = (now() - start) * 1e9 / LOOKUPS;
	if (at == 0)
		puts("");	/* the reads must not be optimised away */
	free(p);
	return ns;
}

int main(int argc, char **argv)
{
	int dir = open(argc > 1 ? argv[1] : ".", O_RDONLY | O_DIRECTORY);
	double seconds, build_s = 1e9, hit_ns = 1e9, miss_ns = 1e9, read_ns = 1e9;
	double save_s = 1e9, load_s = 1e9, extra = 0, payload = 0;

	hash_init();
	make_rows();
	for (int round = 0; round < ROUNDS; round++) {
		struct mirror *m = build(&seconds);

		build_s = least(build_s, seconds);
		hit_ns = least(hit_ns, look_up(m, 0, MIRROR_HIT));
		miss_ns = least(miss_ns, look_up(m, ENTRIES, MIRROR_ABSENT));
		read_ns = least(read_ns, random_read());
		double save, load;
		save_and_load(dir, m, &save, &load);
		save_s = least(save_s, save);
		load_s = least(load_s, load);
		payload = (double)mirror_payload(m) / ENTRIES;
		extra = (double)(mirror_bytes(m) - mirror_payload(m)) / ENTRIES;
		mirror_free(m);
	}
	printf("mirror_build_seconds %.3f\n", build_s);
	printf("mirror_save_seconds %.3f\n", save_s);
	printf("mirror_load_seconds %.3f\n", load_s);
	printf("mirror_hit_ns %.0f\n", hit_ns);
	printf("mirror_miss_ns %.0f\n", miss_ns);
	printf("mirror_random_read_ns %.0f\n", read_ns);
	printf("mirror_payload_bytes_per_entry %.2f\n", payload);
	printf("mirror_extra_bytes_per_entry %.2f\n", extra);
	buf_done(&bytes);
	return 0;
}
