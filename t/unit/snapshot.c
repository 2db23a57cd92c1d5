#include "unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xxhash.h>

/* --- the modules themselves, with a kernel and a memory that the tests can spoil ----- */

enum fault { NONE, FAIL, DIE };

static enum fault fault;
static int calls_left;			/* until the fault */
static int fault_errno = EIO;
static const char *failed_call;		/* what it met, NULL: not reached */
static size_t piece;			/* 0, or: so many bytes at a time, and EINTRs */
static bool is_interrupted;
static const char *shrinking;		/* a file that is cut before it is read on */
static _Atomic ssize_t mapped;		/* bytes */
static atomic_int n_open;

static bool meets_fault(const char *name)
{
	if (fault == NONE || --calls_left != 0)
		return false;
	if (fault == DIE)
		_exit(9);
	failed_call = name;
	errno = fault_errno;
	return true;
}

static bool interrupts(void)
{
	if (!piece)
		return false;
	is_interrupted = !is_interrupted;
	if (is_interrupted)
		errno = EINTR;
	return is_interrupted;
}

static int spoiled_openat(int dir, const char *name, int flags, ...)
{
	int fd = meets_fault("openat") ? -1 : openat(dir, name, flags, 0600);

	n_open += fd >= 0;
	return fd;
}

static int spoiled_close(int fd)
{
	n_open--;
	close(fd);
	return meets_fault("close") ? -1 : 0;
}

static ssize_t spoiled_write(int fd, const void *p, size_t n)
{
	if (meets_fault("write") || interrupts())
		return -1;
	return write(fd, p, piece && n > piece ? piece : n);
}

static ssize_t spoiled_pread(int fd, void *p, size_t n, off_t from)
{
	if (meets_fault("pread") || interrupts())
		return -1;
	if (shrinking && from && truncate(shrinking, 0))
		abort();
	return pread(fd, p, piece && n > piece ? piece : n, from);
}

static int spoiled_fsync(int fd)
{
	return meets_fault("fsync") ? -1 : fsync(fd);
}

static int spoiled_fstat(int fd, struct stat *st)
{
	return meets_fault("fstat") ? -1 : fstat(fd, st);
}

static int spoiled_renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	return meets_fault("renameat") ? -1 : renameat(from_dir, from, to_dir, to);
}

static int spoiled_unlinkat(int dir, const char *name, int flags)
{
	return meets_fault("unlinkat") ? -1 : unlinkat(dir, name, flags);
}

static void *spoiled_mmap(void *p, size_t n, int prot, int flags, int fd, off_t off)
{
	if (meets_fault("mmap"))
		return MAP_FAILED;
	mapped += (ssize_t)n;
	return mmap(p, n, prot, flags, fd, off);
}

static int spoiled_munmap(void *p, size_t n)
{
	mapped -= (ssize_t)n;
	return munmap(p, n);
}

static void *spoiled_mremap(void *p, size_t old, size_t n, int flags)
{
	if (meets_fault("mremap"))
		return MAP_FAILED;
	mapped += (ssize_t)n - (ssize_t)old;
	return mremap(p, old, n, flags);
}

static void *spoiled_realloc(void *p, size_t n)
{
	return meets_fault("realloc") ? NULL : realloc(p, n);
}

static XXH3_state_t *spoiled_state(void)
{
	return meets_fault("XXH3_createState") ? NULL : XXH3_createState();
}

#define openat spoiled_openat
#define close spoiled_close
#define write spoiled_write
#define pread spoiled_pread
#define fsync spoiled_fsync
#define fstat spoiled_fstat
#define renameat spoiled_renameat
#define unlinkat spoiled_unlinkat
#define mmap spoiled_mmap
#define munmap spoiled_munmap
#define mremap spoiled_mremap
#define realloc spoiled_realloc
#define XXH3_createState spoiled_state
#include "base/buf.c"
#include "base/hash.c"
#include "store/mirror.c"
#include "store/mirror_builder.c"
#include "store/mirror_index.c"
#undef IMAGE_FORMAT
#undef PAGE
#include "store/shard.c"
#include "store/demand.c"
#include "store/snapshot.c"
#undef openat
#undef close
#undef write
#undef fsync
#undef fstat
#undef renameat
#undef unlinkat
#undef realloc

/* --- help --------------------------------------------------------------------------- */

#define NAME "virtual_alias_maps.0.snapshot"
#define LEFTOVER NAME ".new"
#define ASIDE NAME ".bad"

static const struct mirror_limits wide = {
	.max_entries = 10000000, .max_bytes = (size_t)1 << 32, .max_value = 1 << 22,
};

static const struct demand_times times = {
	.ttl = 1000, .negative_ttl = 300, .stale_max = 2000, .retry = 100,
};

static char path[] = "/dev/shm/snapshot-XXXXXX";
static int dir;

/* In memory, where a thousand fsyncs cost nothing. */
static int make_directory(void **state)
{
	(void)state;
	if (!mkdtemp(path) && !mkdtemp(strcpy(path, "/tmp/snapshot-XXXXXX")))
		return -1;
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dir < 0 ? -1 : 0;
}

static int remove_directory(void **state)
{
	(void)state;
	close(dir);
	return rmdir(path);
}

/* Each test leaves the directory as it found it. */
static int clean(void **state)
{
	(void)state;
	fault = NONE;
	piece = 0;
	unlinkat(dir, NAME, 0);
	unlinkat(dir, NAME, AT_REMOVEDIR);
	unlinkat(dir, LEFTOVER, 0);
	unlinkat(dir, LEFTOVER, AT_REMOVEDIR);
	unlinkat(dir, ASIDE, 0);
	unlinkat(dir, "other", 0);
	return n_open == 0 && mapped == 0 ? 0 : -1;
}

static bool is_there(const char *name)
{
	return faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static const struct snapshot small = {
	.fingerprint = { "query one", 9 }, .written = 1700000000123, .clock = 99, .age = 42,
	.entries = 3,
	.mirror = { "mirror\0image", 12 }, .demand = { "demand image", 12 },
};

/* Not only another one: of another length. */
static const struct snapshot other = {
	.fingerprint = { "query one", 9 }, .written = 1700000099999, .clock = 77, .age = 7,
	.entries = 2,
	.mirror = { "this is another image of a mirror", 33 }, .demand = { "", 0 },
};

static bool is_same(const struct snapshot *a, const struct snapshot *b)
{
	return text_eq(a->fingerprint, b->fingerprint) && text_eq(a->mirror, b->mirror) &&
	       text_eq(a->demand, b->demand) && a->written == b->written &&
	       a->clock == b->clock && a->age == b->age && a->entries == b->entries;
}

static bool writes(const struct snapshot *s)
{
	struct buf why = { 0 };
	bool is_written = snapshot_write(dir, NAME, s, &why);

	assert_true(is_written == (why.n == 0));
	buf_done(&why);
	return is_written;
}

/* What a read says, and whether it tells why. */
static enum snapshot_says read_as(struct text fingerprint, struct snapshot_file *f)
{
	struct buf why = { 0 };
	enum snapshot_says says = snapshot_read(dir, NAME, fingerprint, f, &why);

	assert_true((why.n == 0) == (says == SNAPSHOT_GOOD || says == SNAPSHOT_ABSENT));
	assert_int_equal(n_open, 0);
	if (says != SNAPSHOT_GOOD)
		assert_int_equal(mapped, 0);
	buf_done(&why);
	return says;
}

static enum snapshot_says says(void)
{
	struct snapshot_file f;
	enum snapshot_says s = read_as(small.fingerprint, &f);

	if (s == SNAPSHOT_GOOD)
		snapshot_done(&f);
	return s;
}

/* Why it is refused; the result is static. */
static const char *reason(void)
{
	static char text[200];
	struct snapshot_file f;
	struct buf why = { 0 };

	if (snapshot_read(dir, NAME, small.fingerprint, &f, &why) == SNAPSHOT_GOOD)
		snapshot_done(&f);
	snprintf(text, sizeof text, "%s", buf_cstr(&why));
	buf_done(&why);
	return text;
}

static bool holds(const struct snapshot *want)
{
	struct snapshot_file f;

	if (read_as(want->fingerprint, &f) != SNAPSHOT_GOOD)
		return false;

	bool is_it = is_same(&f.s, want);
	snapshot_done(&f);
	return is_it;
}

/* Put any bytes there. */
static void put_file(const char *name, const void *p, size_t n)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_int_equal(write(fd, p, n), (ssize_t)n);
	close(fd);
}

static size_t get_file(const char *name, void *p, size_t max)
{
	int fd = openat(dir, name, O_RDONLY);
	ssize_t n = read(fd, p, max);

	assert_in_range(n, 0, max - 1);
	close(fd);
	return (size_t)n;
}

/* Run in a process of its own; its exit status, or 128 + the signal that killed it. */
static int in_child(int (*run)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(run());
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* --- round trips -------------------------------------------------------------------- */

static void what_is_written_is_read(void **state)
{
	struct stat st;
	(void)state;

	assert_int_equal(says(), SNAPSHOT_ABSENT);
	assert_true(writes(&small));
	assert_true(holds(&small));
	assert_true(writes(&other));
	assert_true(holds(&other));
	assert_false(is_there(LEFTOVER));
	assert_int_equal(fstatat(dir, NAME, &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
}

static void the_layout_is_as_documented(void **state)
{
	unsigned char bytes[300];
	XXH128_canonical_t sum;
	(void)state;

	assert_true(writes(&small));
	size_t n = get_file(NAME, bytes, sizeof bytes);
	assert_int_equal(n, 80 + 9 + 12 + 12 + 16);
	assert_memory_equal(bytes, "socketmapd-snap\n", 16);
	assert_memory_equal(bytes + 80, "query onemirror\0imagedemand image", 33);
	XXH128_canonicalFromHash(&sum, XXH3_128bits(bytes, n - 16));
	assert_memory_equal(bytes + n - 16, sum.digest, 16);
}

static void nothing_at_all_can_be_written(void **state)
{
	const struct snapshot empty = { 0 };
	(void)state;

	assert_true(writes(&empty));
	assert_true(holds(&empty));
}

static void short_writes_and_reads_and_interruptions_do_not_matter(void **state)
{
	(void)state;
	for (piece = 1; piece < 130; piece++) {
		assert_true(writes(piece % 2 ? &small : &other));
		assert_true(holds(piece % 2 ? &small : &other));
	}
}

/* A mirror of a million bytes, a cache, and what they say after the way through a file. */
static struct mirror *make_mirror(unsigned n)
{
	struct mirror_builder *b = mirror_builder_new(&wide);
	char key[40], value[60] = "";

	for (unsigned i = 0; i < n; i++) {
		snprintf(key, sizeof key, "user%u@a.test", i);
		snprintf(value + 8, sizeof value - 8, "box%u@imap.test", i);
		if (i % 100 == 99)
			assert_true(mirror_add_bad(b, text_of(key)));
		else			/* an end, some NULs, as of a row that expires */
			assert_true(mirror_add(b, text_of(key),
					       (struct text){ value, sizeof value }));
	}

	struct buf longest = { 0 };
	memset(buf_room(&longest, MIRROR_MAX_KEY), 'k', MIRROR_MAX_KEY);
	longest.n = MIRROR_MAX_KEY;
	assert_true(mirror_add(b, buf_view(&longest), TEXT("v")));
	buf_done(&longest);
	return mirror_seal(b, 1);
}

static void assert_same_mirror(const struct mirror *a, const struct mirror *b)
{
	struct text x, y;
	char key[40];

	assert_int_equal(mirror_entries(a), mirror_entries(b));
	assert_int_equal(mirror_bad(a), mirror_bad(b));
	assert_int_equal(mirror_payload(a), mirror_payload(b));
	assert_true(text_eq(mirror_image(a), mirror_image(b)));
	for (unsigned i = 0; i < 20000; i++) {
		snprintf(key, sizeof key, "user%u@a.test", i);

		enum mirror_says says_a = mirror_find(a, text_of(key), &x);
		assert_int_equal(says_a, mirror_find(b, text_of(key), &y));
		assert_true(says_a != MIRROR_HIT || text_eq(x, y));
	}
}

static void a_mirror_and_a_cache_say_the_same_afterwards(void **state)
{
	static const unsigned sizes[] = { 0, 1, 10000 };
	(void)state;

	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		struct mirror *m = make_mirror(sizes[i]), *again;
		struct demand *d = demand_new(1 << 20, &times);
		struct buf image = { 0 };
		struct snapshot_file f;
		const char *why;

		demand_put(d, TEXT("a"), answer_found(TEXT("v")), 5000);
		assert_true(demand_image(d, 5000, &image));
		assert_true(writes(&(struct snapshot){
			.fingerprint = small.fingerprint, .entries = mirror_entries(m),
			.mirror = mirror_image(m), .demand = buf_view(&image) }));
		demand_free(d);

		assert_int_equal(snapshot_read(dir, NAME, small.fingerprint, &f, &image),
				 SNAPSHOT_GOOD);
		again = mirror_from_image(f.s.mirror, f.s.entries, &wide, 1, &why);
		assert_same_mirror(m, again);
		d = demand_new(1 << 20, &times);
		assert_true(demand_restore(d, f.s.demand, 7000, 100));
		assert_int_equal(demand_peek(d, TEXT("a"), 7000), DEMAND_FOUND);
		demand_free(d);
		snapshot_done(&f);
		mirror_free(m);
		mirror_free(again);
		buf_done(&image);
	}
}

/* --- what may be there instead ------------------------------------------------------ */

static void a_file_cut_at_any_length_is_bad(void **state)
{
	char bytes[300];
	(void)state;

	assert_true(writes(&small));
	size_t n = get_file(NAME, bytes, sizeof bytes - 1);
	for (size_t cut = 0; cut < n; cut++) {
		put_file(NAME, bytes, cut);
		assert_int_equal(says(), SNAPSHOT_BAD);
	}
	put_file(NAME, bytes, n);
	assert_true(holds(&small));
	bytes[n] = '\0';
	put_file(NAME, bytes, n + 1);
	assert_int_equal(says(), SNAPSHOT_BAD);
}

static void any_flipped_bit_is_found(void **state)
{
	char bytes[300];
	(void)state;

	assert_true(writes(&small));
	size_t n = get_file(NAME, bytes, sizeof bytes);
	for (size_t i = 0; i < n * 8; i++) {
		bytes[i / 8] ^= (char)(1 << i % 8);
		put_file(NAME, bytes, n);
		assert_int_equal(says(), SNAPSHOT_BAD);
		bytes[i / 8] ^= (char)(1 << i % 8);
	}
	for (size_t i = 0; i < n; i++)
		for (int c = 0; c < 256; c += 5) {
			char was = bytes[i];

			bytes[i] = (char)c;
			put_file(NAME, bytes, n);
			assert_int_equal(says(), bytes[i] == was ? SNAPSHOT_GOOD
								 : SNAPSHOT_BAD);
			bytes[i] = was;
		}
}

/* The bytes with a checksum that is right for them. */
static void put_sealed(char *bytes, size_t n)
{
	const struct text all = { bytes, n - HASH_CHECKSUM_BYTES };

	assert_true(hash_checksum(&all, 1, bytes + all.n));
	put_file(NAME, bytes, n);
}

static void lengths_that_do_not_add_up_are_bad(void **state)
{
	static const uint64_t lengths[] = {
		0, 1, 8, 9, 10, 12, 24, 33, 34, 129, 130, 1 << 20, UINT64_C(1) << 63,
		UINT64_MAX - 80, UINT64_MAX - 24, UINT64_MAX - 11, UINT64_MAX,
	};
	const size_t n_lengths = sizeof lengths / sizeof *lengths;
	char bytes[300];
	struct header h;
	(void)state;

	assert_true(writes(&small));
	size_t n = get_file(NAME, bytes, sizeof bytes);
	memcpy(&h, bytes, sizeof h);
	for (size_t i = 0; i < n_lengths * n_lengths * n_lengths; i++) {
		h.n_fingerprint = lengths[i % n_lengths];
		h.n_mirror = lengths[i / n_lengths % n_lengths];
		h.n_demand = lengths[i / n_lengths / n_lengths];
		memcpy(bytes, &h, sizeof h);
		put_sealed(bytes, n);

		bool is_right = h.n_fingerprint <= 33 && h.n_mirror <= 33 &&
				h.n_demand <= 33 &&
				h.n_fingerprint + h.n_mirror + h.n_demand == 33;
		assert_int_equal(says(), !is_right		  ? SNAPSHOT_BAD
					 : h.n_fingerprint == 9 ? SNAPSHOT_GOOD
								  : SNAPSHOT_FOREIGN);
	}

	/* too short for a checksum, with the length that would come out of the difference */
	h.n_fingerprint = h.n_mirror = 0;
	h.n_demand = (uint64_t)0 - HASH_CHECKSUM_BYTES;
	put_file(NAME, &h, sizeof h);
	assert_int_equal(says(), SNAPSHOT_BAD);
}

static void what_others_have_written_is_told_apart(void **state)
{
	char bytes[300];
	struct header h;
	(void)state;

	assert_true(writes(&small));
	size_t n = get_file(NAME, bytes, sizeof bytes);
	memcpy(&h, bytes, sizeof h);

	h.version++;
	memcpy(bytes, &h, sizeof h);
	put_sealed(bytes, n);
	assert_int_equal(says(), SNAPSHOT_BAD);
	assert_non_null(strstr(reason(), "version 2"));

	h.version--;
	h.byte_order = __builtin_bswap32(h.byte_order);
	memcpy(bytes, &h, sizeof h);
	put_sealed(bytes, n);
	assert_int_equal(says(), SNAPSHOT_BAD);
	assert_non_null(strstr(reason(), "byte order"));

	memcpy(h.magic, "SQLite format 3", sizeof h.magic);
	memcpy(bytes, &h, sizeof h);
	put_sealed(bytes, n);
	assert_int_equal(says(), SNAPSHOT_BAD);
	assert_string_equal(reason(), "not a snapshot");
}

static void another_fingerprint_is_foreign(void **state)
{
	static const char *const others[] = { "", "query on", "query onE", "query one " };
	struct snapshot_file f;
	(void)state;

	assert_true(writes(&small));
	for (size_t i = 0; i < sizeof others / sizeof *others; i++)
		assert_int_equal(read_as(text_of(others[i]), &f), SNAPSHOT_FOREIGN);
}

static void only_a_file_of_ours_is_read(void **state)
{
	(void)state;
	assert_true(writes(&small));
	assert_int_equal(renameat(dir, NAME, dir, "other"), 0);

	assert_int_equal(symlinkat("other", dir, NAME), 0);
	assert_int_equal(says(), SNAPSHOT_BAD);
	unlinkat(dir, NAME, 0);
	assert_int_equal(symlinkat("nowhere", dir, NAME), 0);
	assert_int_equal(says(), SNAPSHOT_BAD);
	unlinkat(dir, NAME, 0);

	assert_int_equal(linkat(dir, "other", dir, NAME, 0), 0);
	assert_int_equal(says(), SNAPSHOT_BAD);
	unlinkat(dir, "other", 0);
	assert_int_equal(says(), SNAPSHOT_GOOD);

	assert_int_equal(fchmodat(dir, NAME, 0620, 0), 0);
	assert_int_equal(says(), SNAPSHOT_BAD);
	assert_int_equal(fchmodat(dir, NAME, 0602, 0), 0);
	assert_int_equal(says(), SNAPSHOT_BAD);
	assert_int_equal(fchmodat(dir, NAME, 0644, 0), 0);
	assert_int_equal(says(), SNAPSHOT_GOOD);
	if (geteuid() == 0) {
		assert_int_equal(fchownat(dir, NAME, 65534, 0, 0), 0);
		assert_int_equal(says(), SNAPSHOT_BAD);
	}
	unlinkat(dir, NAME, 0);

	assert_int_equal(mkdirat(dir, NAME, 0700), 0);
	assert_int_equal(says(), SNAPSHOT_BAD);
	unlinkat(dir, NAME, AT_REMOVEDIR);
	assert_int_equal(mkfifoat(dir, NAME, 0600), 0);
	alarm(20);		/* it must not wait for a writer */
	assert_int_equal(says(), SNAPSHOT_BAD);
	assert_string_equal(reason(), "not a regular file");
	alarm(0);
	unlinkat(dir, NAME, 0);
	assert_int_equal(mknodat(dir, NAME, S_IFSOCK | 0600, 0), 0);
	assert_int_equal(says(), SNAPSHOT_BAD);
}

static void a_bad_file_is_moved_aside_in_place_of_an_older_one(void **state)
{
	char bytes[10];
	(void)state;

	put_file(ASIDE, "old", 3);
	put_file(NAME, "rubbish", 7);
	snapshot_move_aside(dir, NAME);
	assert_false(is_there(NAME));
	assert_int_equal(get_file(ASIDE, bytes, sizeof bytes), 7);
	snapshot_move_aside(dir, NAME);		/* nothing there: nothing happens */
	assert_true(is_there(ASIDE));
}

/* --- what may go wrong -------------------------------------------------------------- */

static void what_a_killed_writer_left_is_removed(void **state)
{
	(void)state;
	put_file(LEFTOVER, "half a snapshot", 15);
	assert_true(writes(&small));
	assert_true(holds(&small));
	assert_false(is_there(LEFTOVER));

	assert_int_equal(symlinkat("/etc/passwd", dir, LEFTOVER), 0);
	assert_true(writes(&other));
	assert_true(holds(&other));
	assert_false(is_there(LEFTOVER));

	assert_int_equal(mkdirat(dir, LEFTOVER, 0700), 0);
	assert_false(writes(&small));
	assert_true(holds(&other));
}

static void a_name_too_long_is_refused(void **state)
{
	char name[300];
	struct buf why = { 0 };
	struct snapshot_file f;
	(void)state;

	for (size_t n = NAME_MAX - 5; n < NAME_MAX + 5; n++) {
		memset(name, 'n', n);
		name[n] = '\0';

		bool is_written = snapshot_write(dir, name, &small, &why);
		assert_true(is_written == (n <= NAME_MAX - 4));
		assert_int_equal(snapshot_read(dir, name, small.fingerprint, &f, &why),
				 is_written ? SNAPSHOT_GOOD : n > NAME_MAX ? SNAPSHOT_ERROR
									   : SNAPSHOT_ABSENT);
		if (is_written)
			snapshot_done(&f);
		unlinkat(dir, name, 0);
	}
	buf_done(&why);
}

/* Let the nth call fail, for all n. Returns how many there were. */
static int fail_each_call_of_a_write(int error)
{
	int n = 1;

	for (fault_errno = error;; n++) {
		assert_true(writes(&small));
		fault = FAIL;
		calls_left = n;
		failed_call = NULL;

		bool is_written = writes(&other);
		fault = NONE;
		assert_int_equal(n_open, 0);
		if (!failed_call)
			break;
		assert_true(is_written == (!strcmp(failed_call, "close") ||
					   !strcmp(failed_call, "unlinkat")));
		if (is_written)
			assert_true(holds(&other));
		else
			assert_true(holds(&small) || (!strcmp(failed_call, "fsync") &&
						      holds(&other)));
		assert_false(is_there(LEFTOVER));
	}
	assert_true(holds(&other));
	return n - 1;
}

static void whichever_call_fails_the_old_file_survives(void **state)
{
	(void)state;
	/* state, unlinkat, openat, 4 x write, fsync, close, renameat, fsync */
	assert_int_equal(fail_each_call_of_a_write(EIO), 11);
	assert_int_equal(fail_each_call_of_a_write(ENOSPC), 11);
	fault_errno = EIO;
}

/* Let a writer die at its nth call, for all n; what it has left is in nobody's way. */
static int write_and_die(void)
{
	return writes(&other) ? 0 : 1;
}

static void a_writer_killed_at_any_call_leaves_the_old_or_the_new_file(void **state)
{
	int status, n_new = 0, n_old = 0;
	(void)state;

	for (piece = 0; piece < 100; piece += 40)
		for (int n = 1;; n++) {
			assert_true(writes(&small));
			fault = DIE;
			calls_left = n;
			status = in_child(write_and_die);
			fault = NONE;
			n_old += holds(&small);
			n_new += holds(&other);
			assert_true(holds(&small) || holds(&other));
			if (status != 9)
				break;
			assert_true(writes(&small));
			assert_false(is_there(LEFTOVER));
		}
	assert_int_equal(status, 0);
	assert_true(n_old > 20 && n_new > 3);
}

static const struct snapshot *big(void)
{
	static char bytes[1 << 20];
	static struct snapshot s;

	s = small;
	s.mirror = (struct text){ bytes, sizeof bytes };
	return &s;
}

static int write_beyond_the_limit(void)
{
	struct rlimit limit = { 100000, 100000 };

	signal(SIGXFSZ, SIG_IGN);
	if (setrlimit(RLIMIT_FSIZE, &limit))
		return 2;
	return writes(big()) ? 3 : 0;
}

static void a_limit_of_file_size_is_a_failure(void **state)
{
	(void)state;
	assert_true(writes(&small));
	assert_int_equal(in_child(write_beyond_the_limit), 0);
	assert_true(holds(&small));
	assert_false(is_there(LEFTOVER));
}

static int write_as_nobody(void)
{
	if (geteuid() == 0 && (setresgid(65534, 65534, 65534) ||
			       setresuid(65534, 65534, 65534)))
		return 2;
	return writes(&other) ? 3 : 0;
}

static void a_directory_that_may_not_be_written_is_a_failure(void **state)
{
	(void)state;
	assert_true(writes(&small));
	assert_int_equal(fchmod(dir, 0500), 0);

	int status = in_child(write_as_nobody);
	assert_int_equal(fchmod(dir, 0700), 0);
	assert_int_equal(status, 0);
	assert_true(holds(&small));
	assert_false(is_there(LEFTOVER));
}

/* On a file system of 256 KiB that only this process sees. 77: there are none to be had. */
static int write_to_a_full_disk(void)
{
	if (unshare(CLONE_NEWNS) ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("none", path, "tmpfs", 0, "size=256k,mode=0700"))
		return 77;
	dir = open(path, O_RDONLY | O_DIRECTORY);
	if (!writes(&small))
		return 2;
	if (writes(big()))
		return 3;
	if (!holds(&small) || is_there(LEFTOVER))
		return 4;
	if (mount("none", path, NULL, MS_REMOUNT | MS_RDONLY, NULL))
		return 77;
	if (writes(&other) || !holds(&small))
		return 5;
	return 0;
}

static void a_full_disk_is_a_failure(void **state)
{
	int status = in_child(write_to_a_full_disk);
	(void)state;

	if (status == 77)
		skip();
	assert_int_equal(status, 0);
}

/* --- reading under faults ----------------------------------------------------------- */

/* The way from a file to answers; false when something failed. Nothing may leak. */
static bool load(struct text fingerprint)
{
	struct buf why = { 0 };
	struct snapshot_file f;
	const char *wrong;
	enum snapshot_says s = snapshot_read(dir, NAME, fingerprint, &f, &why);
	bool is_loaded = false;

	if (s == SNAPSHOT_GOOD) {
		struct mirror *m = mirror_from_image(f.s.mirror, f.s.entries, &wide, 1,
						     &wrong);
		struct demand *d = demand_new(1 << 20, &times);

		is_loaded = m && d && demand_restore(d, f.s.demand, 5000, 0);
		snapshot_done(&f);
		mirror_free(m);
		demand_free(d);
	} else {
		assert_int_equal(s, SNAPSHOT_ERROR);	/* never taken for a bad file */
		assert_true(why.n > 0);
	}
	buf_done(&why);
	return is_loaded;
}

static void whichever_call_fails_the_loader_says_so_and_leaks_nothing(void **state)
{
	struct mirror *m = make_mirror(100);
	struct demand *d = demand_new(1 << 20, &times);
	struct buf image = { 0 };
	int n = 0;
	(void)state;

	demand_put(d, TEXT("a"), answer_found(TEXT("v")), 5000);
	assert_true(demand_image(d, 5000, &image));
	assert_true(writes(&(struct snapshot){
		.fingerprint = small.fingerprint, .entries = mirror_entries(m),
		.mirror = mirror_image(m), .demand = buf_view(&image) }));
	mirror_free(m);
	demand_free(d);
	buf_done(&image);

	for (bool is_loaded = false; !is_loaded || failed_call;) {
		fault = FAIL;
		calls_left = ++n;
		failed_call = NULL;
		is_loaded = load(small.fingerprint);
		fault = NONE;
		assert_true(is_loaded == (!failed_call || !strcmp(failed_call, "close")));
		assert_int_equal(n_open, 0);
		assert_int_equal(mapped, 0);
	}
	/* openat, fstat, pread, mmap, pread, close, checksum, mirror, cache */
	assert_int_equal(n, 9 + 1);
}

static void without_memory_there_is_no_image_of_a_cache(void **state)
{
	struct demand *d = demand_new((size_t)1 << 20, &times);
	int n = 0;
	(void)state;

	demand_put(d, TEXT("a"), answer_found(TEXT("v")), 5000);
	for (bool is_made = false; !is_made;) {
		struct buf image = { 0 };

		buf_str(&image, "before");
		fault = FAIL;
		calls_left = ++n;
		is_made = demand_image(d, 5000, &image);
		fault = NONE;
		assert_true(is_made == (image.n > strlen("before")));
		assert_memory_equal(image.p, "before", strlen("before"));
		buf_done(&image);
	}
	assert_true(n > 1);
	demand_free(d);
}

static void a_file_that_shrinks_while_it_is_read_is_bad(void **state)
{
	char file[100];
	(void)state;

	assert_true(writes(&small));
	snprintf(file, sizeof file, "%s/%s", path, NAME);
	shrinking = file;
	assert_int_equal(says(), SNAPSHOT_BAD);
	shrinking = NULL;
}

/* A reader that comes while files are replaced. */
#define ROUNDS 300

static atomic_bool is_done;

static void *write_in_turn(void *arg)
{
	struct buf why = { 0 };
	(void)arg;

	for (int i = 0; i < ROUNDS; i++)
		if (!snapshot_write(dir, NAME, i % 2 ? &small : &other, &why))
			abort();
	is_done = true;
	return NULL;
}

static void a_reader_sees_the_old_or_the_new_file_while_one_is_written(void **state)
{
	pthread_t writer;
	struct buf why = { 0 };
	int n_small = 0, n_other = 0;
	(void)state;

	assert_true(writes(&small));
	pthread_create(&writer, NULL, write_in_turn, NULL);
	while (!is_done) {
		struct snapshot_file f;

		assert_int_equal(snapshot_read(dir, NAME, small.fingerprint, &f, &why),
				 SNAPSHOT_GOOD);
		n_small += is_same(&f.s, &small);
		n_other += is_same(&f.s, &other);
		snapshot_done(&f);
	}
	pthread_join(writer, NULL);
	assert_true(n_small + n_other > 0);
	assert_true(holds(&small));
	buf_done(&why);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(what_is_written_is_read, clean),
		cmocka_unit_test_teardown(the_layout_is_as_documented, clean),
		cmocka_unit_test_teardown(nothing_at_all_can_be_written, clean),
		cmocka_unit_test_teardown(
			short_writes_and_reads_and_interruptions_do_not_matter, clean),
		cmocka_unit_test_teardown(a_mirror_and_a_cache_say_the_same_afterwards, clean),
		cmocka_unit_test_teardown(a_file_cut_at_any_length_is_bad, clean),
		cmocka_unit_test_teardown(any_flipped_bit_is_found, clean),
		cmocka_unit_test_teardown(lengths_that_do_not_add_up_are_bad, clean),
		cmocka_unit_test_teardown(what_others_have_written_is_told_apart, clean),
		cmocka_unit_test_teardown(another_fingerprint_is_foreign, clean),
		cmocka_unit_test_teardown(only_a_file_of_ours_is_read, clean),
		cmocka_unit_test_teardown(a_bad_file_is_moved_aside_in_place_of_an_older_one,
					  clean),
		cmocka_unit_test_teardown(what_a_killed_writer_left_is_removed, clean),
		cmocka_unit_test_teardown(a_name_too_long_is_refused, clean),
		cmocka_unit_test_teardown(whichever_call_fails_the_old_file_survives, clean),
		cmocka_unit_test_teardown(
			a_writer_killed_at_any_call_leaves_the_old_or_the_new_file, clean),
		cmocka_unit_test_teardown(a_limit_of_file_size_is_a_failure, clean),
		cmocka_unit_test_teardown(
			a_directory_that_may_not_be_written_is_a_failure, clean),
		cmocka_unit_test_teardown(a_full_disk_is_a_failure, clean),
		cmocka_unit_test_teardown(
			whichever_call_fails_the_loader_says_so_and_leaks_nothing, clean),
		cmocka_unit_test_teardown(without_memory_there_is_no_image_of_a_cache, clean),
		cmocka_unit_test_teardown(a_file_that_shrinks_while_it_is_read_is_bad, clean),
		cmocka_unit_test_teardown(
			a_reader_sees_the_old_or_the_new_file_while_one_is_written, clean),
	};

	hash_init();
	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
