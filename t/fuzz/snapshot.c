/*
 * Any bytes as a snapshot file, as they are and with a checksum that is right for them; as
 * the image of a mirror and as that of a cache. What loads can be written again and loads the
 * same.
 */
#include "fuzz/fuzz.h"

#include "base/hash.h"
#include "store/demand.h"
#include "store/mirror.h"
#include "store/snapshot.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define NAME "fuzz.snapshot"
#define NOW 1000000000u
#define HEAD 80			/* bytes of the header */

static char path[] = "/dev/shm/fuzz-snapshot-XXXXXX";
static int dir = -1;

static const struct mirror_limits limits = {
	.max_entries = 100000, .max_bytes = 1 << 20, .max_value = 100000,
};

static const struct demand_times times = {
	.ttl = 3600000, .negative_ttl = 60000, .stale_max = 259200000, .retry = 1000,
};

static void remove_directory(void)
{
	unlinkat(dir, NAME, 0);
	rmdir(path);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	hash_init();
	if (!mkdtemp(path) && !mkdtemp(strcpy(path, "/tmp/fuzz-snapshot-XXXXXX")))
		abort();
	dir = open(path, O_RDONLY | O_DIRECTORY);
	atexit(remove_directory);
	return dir < 0;
}

/* --- mirrors ------------------------------------------------------------------------ */

static struct mirror *load_mirror(struct text image, size_t entries)
{
	struct text copy = fuzz_copy(image);
	const char *why = NULL;
	struct mirror *m = mirror_from_image(copy, entries, &limits, 1, &why);

	assert(m || why);
	fuzz_free(copy);
	return m;
}

/* The number of entries is not in the image: try some. */
static void check_mirror(struct text image, size_t entries)
{
	struct mirror *m = load_mirror(image, entries);
	struct text key, value, found;

	if (!m)
		return;
	assert(text_eq(mirror_image(m), image));
	assert(mirror_entries(m) == entries && mirror_bad(m) <= entries);
	assert(mirror_payload(m) <= image.n);
	if (mirror_sample(m, image.n, &key, &value))
		assert(mirror_find(m, key, &found) == MIRROR_HIT && text_eq(found, value));
	mirror_free(m);
}

/* --- caches ------------------------------------------------------------------------- */

/* A cache that has taken the image over; NULL when it is none. */
static struct demand *load_demand(struct text image, uint64_t elapsed)
{
	struct text copy = fuzz_copy(image);
	struct demand *d = demand_new(1 << 20, &times);
	bool is_good = demand_restore(d, copy, NOW, elapsed);

	fuzz_free(copy);
	if (is_good)
		return d;
	assert(demand_entries(d) == 0);
	demand_free(d);
	return NULL;
}

/* Entries may change their places, and nothing else. */
static uint64_t sum_of(struct text t)
{
	uint64_t sum = t.n;

	for (size_t i = 0; i < t.n; i++)
		sum += (uint64_t)(unsigned char)t.p[i] << 24;
	return sum;
}

static void check_demand(struct text image)
{
	struct buf first = { 0 }, second = { 0 };
	struct demand *d = load_demand(image, 0), *again;

	if (!d)
		return;
	assert(demand_image(d, NOW, &first));
	again = load_demand(buf_view(&first), 0);
	assert(again && demand_entries(again) == demand_entries(d));
	assert(demand_image(again, NOW, &second));
	assert(sum_of(buf_view(&first)) == sum_of(buf_view(&second)));
	demand_free(again);
	demand_free(d);

	d = load_demand(image, UINT64_MAX);
	assert(d && demand_entries(d) == 0);
	demand_free(d);
	buf_done(&first);
	buf_done(&second);
}

/* --- files -------------------------------------------------------------------------- */

static void write_file(struct text content)
{
	int fd = openat(dir, NAME, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert(fd >= 0 && write(fd, content.p, content.n) == (ssize_t)content.n);
	close(fd);
}

static void check_written_again(const struct snapshot *s)
{
	struct buf why = { 0 };
	struct snapshot_file f;

	assert(snapshot_write(dir, NAME, s, &why));
	assert(snapshot_read(dir, NAME, s->fingerprint, &f, &why) == SNAPSHOT_GOOD);
	assert(text_eq(f.s.fingerprint, s->fingerprint) && text_eq(f.s.mirror, s->mirror) &&
	       text_eq(f.s.demand, s->demand) && f.s.written == s->written &&
	       f.s.clock == s->clock && f.s.age == s->age && f.s.entries == s->entries);
	snapshot_done(&f);
	buf_done(&why);
}

/* Read what is there; the fingerprint is the one it says itself, so that it is not foreign. */
static enum snapshot_says check_file(struct text in)
{
	struct buf why = { 0 };
	struct snapshot_file f;
	uint64_t n = 0;

	if (in.n >= HEAD)
		memcpy(&n, in.p + 24, sizeof n);

	struct text fingerprint = in.n >= HEAD && n <= in.n - HEAD
					  ? (struct text){ in.p + HEAD, n } : TEXT("");
	write_file(in);

	enum snapshot_says says = snapshot_read(dir, NAME, fingerprint, &f, &why);
	assert((says == SNAPSHOT_GOOD) == (why.n == 0));
	assert(says == SNAPSHOT_GOOD || says == SNAPSHOT_BAD);
	buf_done(&why);
	if (says != SNAPSHOT_GOOD)
		return says;

	check_mirror(f.s.mirror, f.s.entries);
	check_demand(f.s.demand);
	check_written_again(&f.s);
	snapshot_done(&f);
	return says;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct text in = fuzz_text(data, size);
	struct buf sealed = { 0 };

	check_file(in);
	if (in.n > HASH_CHECKSUM_BYTES) {
		buf_add(&sealed, in.p, in.n);

		struct text rest = { sealed.p, in.n - HASH_CHECKSUM_BYTES };
		assert(hash_checksum(&rest, 1, sealed.p + rest.n));
		check_file(buf_view(&sealed));
	}
	for (size_t entries = 0; entries < 4; entries++)
		check_mirror(in, entries);
	check_demand(in);
	buf_done(&sealed);
	return 0;
}
