/* Files in the form of cdb: what stands in them, and what is left when the writer fails. */
#include "unit/test.h"

#include <cdb.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- the module itself, with a kernel that the tests can spoil -------------------------- */

enum fault { NONE, FAIL, DIE };

static enum fault fault;
static int calls_left;		/* until the fault */
static bool is_reached;

static bool meets_fault(void)
{
	if (fault == NONE || --calls_left != 0)
		return false;
	if (fault == DIE)
		_exit(9);
	is_reached = true;
	errno = EIO;
	return true;
}

#define SPOILED(call) (meets_fault() ? -1 : (call))
#define openat(...) SPOILED(openat(__VA_ARGS__))
#define flock(fd, how) SPOILED(flock(fd, how))
#define fstatat(...) SPOILED(fstatat(__VA_ARGS__))
#define ftruncate(fd, n) SPOILED(ftruncate(fd, n))
#define fchmod(fd, mode) SPOILED(fchmod(fd, mode))
#define fsync(fd) SPOILED(fsync(fd))
#define renameat(...) SPOILED(renameat(__VA_ARGS__))
#define cdb_make_start(c, fd) SPOILED(cdb_make_start(c, fd))
#define cdb_make_add(...) SPOILED(cdb_make_add(__VA_ARGS__))
#define cdb_make_finish(c) (cdb_make_finish(c) | SPOILED(0)) /* it frees, whatever happens */
#include "store/cdb_export.c"
#undef openat
#undef flock
#undef fstatat
#undef ftruncate
#undef fchmod
#undef fsync
#undef renameat
#undef cdb_make_start
#undef cdb_make_add
#undef cdb_make_finish

/* --- tools -------------------------------------------------------------------------------- */

#define NAME "m.cdb"

static char directory[] = "/tmp/cdb_exportXXXXXX";
static int dir;

/* "a=1 b= c=2@99": b is bad, the value of c ends. '_' is a NUL. */
static struct mirror *mirror_of(const char *rows)
{
	const struct mirror_limits limits = { .max_entries = 1000, .max_bytes = 1 << 20,
					      .max_value = 1000 };
	struct mirror_builder *b = mirror_builder_new(&limits);
	struct text rest = text_of(rows), row;

	while (text_next(&rest, " ", &row)) {
		const char *equal = text_chr(row, '=');
		struct text value = text_from(row, equal + 1);
		const char *at = text_chr(value, '@');
		struct buf key = { 0 }, timed = { 0 };

		buf_text(&key, text_before(row, equal));
		for (size_t i = 0; i < key.n; i++)
			key.p[i] = key.p[i] == '_' ? '\0' : key.p[i];
		if (at) {
			timed_add(&timed, strtoull(at + 1, NULL, 10), text_before(value, at));
			value = buf_view(&timed);
		}
		assert_true(value.n ? mirror_add(b, buf_view(&key), value)
				    : mirror_add_bad(b, buf_view(&key)));
		buf_done(&timed);
		buf_done(&key);
	}
	struct mirror *m = mirror_seal(b, 1);
	assert_non_null(m);
	return m;
}

/* Everything in the file, in its order, in the same notation; the caller frees it. */
static char *contents(void)
{
	int fd = openat(dir, NAME, O_RDONLY);
	struct buf out = { 0 };
	struct cdb c;
	unsigned at;

	assert_true(fd >= 0);
	assert_int_equal(cdb_init(&c, fd), 0);
	cdb_seqinit(&at, &c);
	while (cdb_seqnext(&at, &c) > 0) {
		struct text key = { cdb_getkey(&c), cdb_keylen(&c) };
		struct text value = { cdb_getdata(&c), cdb_datalen(&c) };

		if (out.n)
			buf_byte(&out, ' ');
		buf_escaped(&out, key);
		buf_byte(&out, '=');
		buf_escaped(&out, value);
		/* what a sequence shows must be found, too */
		assert_int_equal(cdb_find(&c, key.p, (unsigned)key.n), 1);
	}
	cdb_free(&c);
	close(fd);
	return buf_take(&out);
}

static bool export(const struct cdb_table *tables, size_t n, struct cdb_exported *ret)
{
	struct cdb_exported ignored;
	struct buf why = { 0 };
	bool is_good = cdb_export(dir, NAME, tables, n, 50, ret ? ret : &ignored, &why);

	assert_int_equal(is_good, why.n == 0);
	buf_done(&why);
	return is_good;
}

/* Write these rows. */
static bool export_rows(const char *rows, struct cdb_exported *ret)
{
	struct cdb_table t = { .mirror = mirror_of(rows) };
	bool is_good = export(&t, 1, ret);

	mirror_free(t.mirror);
	return is_good;
}

static void assert_contents(const char *want)
{
	char *got = contents();

	assert_string_equal(got, want);
	free(got);
}

static void assert_alone(void)
{
	assert_int_equal(faccessat(dir, NAME CDB_TEMP_SUFFIX, F_OK, AT_SYMLINK_NOFOLLOW), -1);
}

/* --- tests -------------------------------------------------------------------------------- */

static void what_a_mirror_says_stands_in_the_file(void **state)
{
	static const struct { const char *rows, *want; size_t bad; } cases[] = {
		{ "a=1 b=2", "a=1 b=2", 0 },
		{ "a=1 b=2 a=3", "a=1,3 b=2", 0 },
		{ "bad= a=1", "bad=\\x00 a=1", 1 },		/* an error to Postfix */
		{ "a=1@49 b=2@51", "b=2", 0 },
		{ "a=1@49 a=2@51 a=3", "a=2,3", 0 },
		{ "a=1 a_=2 _=3", "a=1", 0 },		/* nobody can ask for a NUL */
		{ "@a.b=1 *=2", "@a.b=1 *=2", 0 },
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct cdb_exported made = { 0 };

		assert_true(export_rows(cases[i].rows, &made));
		assert_contents(cases[i].want);
		assert_int_equal(made.bad, cases[i].bad);
		assert_alone();
	}
}

static void the_first_table_with_a_key_has_it(void **state)
{
	static const struct { const char *first, *second, *want; } cases[] = {
		{ "a=1 b=2", "b=3 c=4", "a=1 b=2 c=4" },
		{ "b=", "b=3", "b=\\x00" },
		{ "b=2@49", "b=3", "b=3" },
		{ "b=2@51", "b=3", "b=2" },
		{ "a=1", "b=", "a=1 b=\\x00" },
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct cdb_table t[] = { { .mirror = mirror_of(cases[i].first) },
					 { .mirror = mirror_of(cases[i].second) } };

		assert_true(export(t, 2, NULL));
		assert_contents(cases[i].want);
		mirror_free(t[0].mirror);
		mirror_free(t[1].mirror);
	}
}

static void a_key_that_a_table_is_not_asked_for_is_not_its_own(void **state)
{
	struct buf why = { 0 };
	struct cdb_table t[] = {
		{ mirror_of("@x.y=1 a@x.y=2 c=9 a@no.y=8"), { .local = true },
		  domain_list_new(TEXT("x.y"), &why) },
		{ mirror_of("@x.y=3 a@x.y=4"), { 0 }, NULL },
	};
	(void)state;

	assert_true(export(t, 2, NULL));
	assert_contents("a@x.y=2 @x.y=3");
	mirror_free(t[0].mirror);
	mirror_free(t[1].mirror);
	domain_list_free(t[0].domain);
	buf_done(&why);
}

static ino_t inode(void)
{
	struct stat st;

	assert_int_equal(fstatat(dir, NAME, &st, AT_SYMLINK_NOFOLLOW), 0);
	return st.st_ino;
}

static void the_same_again_leaves_the_file_alone(void **state)
{
	struct cdb_exported made;
	(void)state;

	assert_true(export_rows("a=1 b=2", NULL));
	ino_t before = inode();
	assert_true(export_rows("a=1 b=2", &made));
	assert_true(made.is_same);
	assert_int_equal(inode(), before);
	assert_alone();
	assert_true(export_rows("a=1 b=3", &made));
	assert_false(made.is_same);

	/* but not one that others could not read */
	assert_int_equal(fchmodat(dir, NAME, 0600, 0), 0);
	assert_true(export_rows("a=1 b=3", &made));
	assert_false(made.is_same);
}

static void after_any_failure_the_old_file_is_whole(void **state)
{
	int n = 0;
	(void)state;

	for (is_reached = true; is_reached; n++) {
		assert_true(export_rows("old=1", NULL));
		assert_alone();
		is_reached = false;
		calls_left = n + 1;
		fault = FAIL;
		bool is_good = export_rows("new=1 more=2", NULL);
		fault = NONE;
		char *got = contents();
		assert_true(!strcmp(got, "new=1 more=2") || (!is_good && !strcmp(got, "old=1")));
		free(got);
		if (n >= 4)	/* until then it is not sure that the file beside it is ours */
			assert_alone();
	}
	assert_in_range(n, 10, 20);
}

static void a_writer_that_dies_leaves_the_old_file_or_the_new(void **state)
{
	bool is_over = false;
	(void)state;

	for (int n = 1; !is_over; n++) {
		assert_true(export_rows("old=1", NULL));
		pid_t child = fork();
		if (child == 0) {
			fault = DIE;
			calls_left = n;
			export_rows("new=1 more=2", NULL);
			_exit(0);
		}
		int status;
		assert_int_equal(waitpid(child, &status, 0), child);
		char *got = contents();
		assert_true(!strcmp(got, "new=1 more=2") || !strcmp(got, "old=1"));
		is_over = status == 0;
		assert_true(!is_over || !strcmp(got, "new=1 more=2"));
		free(got);
	}
	assert_true(export_rows("next=1", NULL));	/* what the dead have left is no obstacle */
	assert_contents("next=1");
	assert_alone();
}

static void a_name_that_is_too_long_is_refused(void **state)
{
	struct cdb_table t = { .mirror = mirror_of("a=1") };
	char name[NAME_MAX + 1];
	struct buf why = { 0 };
	struct cdb_exported made;
	(void)state;

	memset(name, 'x', NAME_MAX);
	name[NAME_MAX] = '\0';
	assert_false(cdb_export(dir, name, &t, 1, 0, &made, &why));
	assert_non_null(strstr(buf_cstr(&why), "File name too long"));
	buf_done(&why);
	mirror_free(t.mirror);
}

static void more_than_a_cdb_can_hold_is_refused(void **state)
{
	struct writer w = { .bytes = UINT32_MAX - CDB_RECORD - 1 };
	(void)state;

	errno = 0;
	assert_false(put(&w, TEXT("a"), TEXT("1")));
	assert_int_equal(errno, EFBIG);
}

static int make_directory(void **state)
{
	(void)state;
	dir = mkdtemp(directory) ? open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	return dir < 0;
}

static int remove_directory(void **state)
{
	(void)state;
	unlinkat(dir, NAME, 0);
	close(dir);
	return rmdir(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_a_mirror_says_stands_in_the_file),
		cmocka_unit_test(the_first_table_with_a_key_has_it),
		cmocka_unit_test(a_key_that_a_table_is_not_asked_for_is_not_its_own),
		cmocka_unit_test(the_same_again_leaves_the_file_alone),
		cmocka_unit_test(after_any_failure_the_old_file_is_whole),
		cmocka_unit_test(a_writer_that_dies_leaves_the_old_file_or_the_new),
		cmocka_unit_test(a_name_that_is_too_long_is_refused),
		cmocka_unit_test(more_than_a_cdb_can_hold_is_refused),
	};

	return cmocka_run_group_tests_name("cdb_export", tests, make_directory,
					   remove_directory);
}
