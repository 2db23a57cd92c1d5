/* What tables take over from snapshots, with clocks of our own; and which files are removed. */
#include "unit/test.h"

#include "base/hash.h"
#include "engine/restore.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define MINUTE ((uint64_t)60000)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)
#define YEAR (365 * DAY)
#define NOW (11 * YEAR)			/* of clock_msec(): a year after the boot */
#define WALL (56 * YEAR)		/* of clock_wall_msec() */
#define OVER (5 * MINUTE * 11 / 10 + 1)	/* longer than anything is fresh in a cache */

static struct table_settings settings = {
	.mode = TABLE_MIRROR, .max_age = 15 * MINUTE, .stale_max = 3 * DAY, .ttl = 5 * MINUTE,
	.negative_ttl = MINUTE / 2, .max_entries = 1000, .max_bytes = 1 << 20,
};

static void ages_go_on_while_nobody_counts(void **state)
{
	static const struct {
		const char *what;
		uint64_t age, written, clock, mirror, demand;
		enum table_state is;
	} cases[] = {
		{ "at once", 0, WALL, NOW, 0, 0, TABLE_FRESH },
		{ "young", MINUTE, WALL - MINUTE, NOW - MINUTE, 2 * MINUTE, MINUTE, TABLE_FRESH },
		{ "the last FRESH moment", MINUTE, WALL - 14 * MINUTE, NOW - 14 * MINUTE, 15 * MINUTE,
		  14 * MINUTE, TABLE_FRESH },
		{ "the first STALE one", MINUTE, WALL - 14 * MINUTE - 1, NOW - 14 * MINUTE - 1,
		  15 * MINUTE + 1, 14 * MINUTE + 1, TABLE_STALE },
		{ "a weekend", HOUR, WALL - 2 * DAY, NOW - 2 * DAY, 2 * DAY + HOUR, 2 * DAY,
		  TABLE_STALE },
		{ "too long", 0, WALL - 3 * DAY - 1, NOW - 3 * DAY - 1, 3 * DAY + 1, 3 * DAY + 1,
		  TABLE_EXPIRED },
		{ "the wall clock lost a year", 0, WALL - YEAR, NOW, YEAR, YEAR, TABLE_EXPIRED },
		{ "from the epoch on", 0, 0, NOW, NOW, NOW, TABLE_EXPIRED },
		{ "older than can be", UINT64_MAX, WALL - 1, NOW - 1, NOW, 1, TABLE_EXPIRED },
		{ "both huge", UINT64_MAX, 0, 0, NOW, NOW, TABLE_EXPIRED },
		{ "a moment in the future", 0, WALL + 1, NOW, 15 * MINUTE + 1, OVER, TABLE_STALE },
		{ "a year in the future", MINUTE, WALL + YEAR, NOW - MINUTE, 15 * MINUTE + 1, OVER,
		  TABLE_STALE },
		{ "old, from the future", DAY, WALL + HOUR, NOW, DAY, OVER, TABLE_STALE },
		{ "the far future", UINT64_MAX, UINT64_MAX, UINT64_MAX, NOW, OVER, TABLE_EXPIRED },
		/* it was an hour ahead then, and is right since */
		{ "the wall clock lost most of it", 0, WALL - 1, NOW - HOUR, 15 * MINUTE + 1, OVER,
		  TABLE_STALE },
		{ "and some of it", 0, WALL - 1, NOW - 2 * MINUTE, 2 * MINUTE, 2 * MINUTE,
		  TABLE_FRESH },
		/* a host without a clock of its own goes on at the time when it was switched off */
		{ "another boot", 0, WALL - 1, NOW + 1, 15 * MINUTE + 1, OVER, TABLE_STALE },
		{ "another boot, a day later", 0, WALL - DAY, NOW + DAY, DAY, DAY, TABLE_STALE },
		{ "another host that runs for long", 0, WALL - 1, NOW - YEAR, 15 * MINUTE + 1, OVER,
		  TABLE_STALE },
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const struct snapshot s = { .age = cases[i].age, .written = cases[i].written,
					    .clock = cases[i].clock };
		struct ages a = restore_ages(&s, &settings, NOW, WALL);
		enum table_state is = a.mirror <= settings.max_age   ? TABLE_FRESH :
				      a.mirror <= settings.stale_max ? TABLE_STALE :
								       TABLE_EXPIRED;

		if (a.mirror != cases[i].mirror || a.demand != cases[i].demand || is != cases[i].is)
			fail_msg("%s: mirror %ju, demand %ju, state %d", cases[i].what,
				 (uintmax_t)a.mirror, (uintmax_t)a.demand, (int)is);
	}
}

/* --- tables ----------------------------------------------------------------------------- */

static const struct demand_times times = { 5 * MINUTE, MINUTE / 2, 3 * DAY, 1000 };

static char map[] = "m";

static struct table new_table(void)
{
	return (struct table){ .settings = &settings, .map = map,
			       .demand = demand_new(1 << 20, &times) };
}

static void done(struct table *t)
{
	mirror_free(t->mirror);
	demand_free(t->demand);
}

static struct mirror *new_mirror(void)
{
	const struct mirror_limits limits = { 1000, 1 << 20, 1 << 16, 0, false };
	struct mirror_builder *b = mirror_builder_new(&limits);

	assert_true(mirror_add(b, TEXT("a@x.test"), TEXT("1")));
	assert_true(mirror_add(b, TEXT("b@x.test"), TEXT("2")));
	return mirror_seal(b, NOW);
}

/* A file of a minute ago, in memory. */
struct file {
	struct mirror *mirror;
	struct buf demand;
	struct snapshot s;
};

static struct file new_file(void)
{
	struct file f = { .mirror = new_mirror() };
	struct demand *d = demand_new(1 << 20, &times);
	struct waiter w;
	struct buf value = { 0 };

	demand_get(d, TEXT("asked"), NOW, &w, &value);
	demand_put(d, TEXT("asked"), answer_found(TEXT("yes")), NOW);
	assert_true(demand_image(d, NOW, &f.demand));
	demand_free(d);
	buf_done(&value);
	f.s = (struct snapshot){ .written = WALL - MINUTE, .clock = NOW - MINUTE, .age = MINUTE,
				 .entries = 2, .mirror = mirror_image(f.mirror), .demand = buf_view(&f.demand) };
	return f;
}

static void file_done(struct file *f)
{
	mirror_free(f->mirror);
	buf_done(&f->demand);
}

static void a_table_takes_over_what_it_lacks(void **state)
{
	struct table t = new_table();
	struct file f = new_file();
	struct text value;
	(void)state;

	assert_null(restore_table(&t, &f.s, NOW, WALL));
	assert_int_equal(mirror_find(t.mirror, TEXT("b@x.test"), &value), MIRROR_HIT);
	assert_text(value, "2");
	assert_int_equal(NOW - mirror_born(t.mirror), 2 * MINUTE);
	assert_int_equal(demand_peek(t.demand, TEXT("asked"), NOW), DEMAND_FOUND);
	done(&t);
	file_done(&f);
}

static void a_table_keeps_the_mirror_it_has(void **state)
{
	struct table t = new_table();
	struct file f = new_file();
	struct mirror *mine = new_mirror();
	(void)state;

	t.mirror = mine;
	assert_null(restore_table(&t, &f.s, NOW, WALL));
	assert_ptr_equal(t.mirror, mine);
	assert_int_equal(demand_peek(t.demand, TEXT("asked"), NOW), DEMAND_FOUND);
	done(&t);
	file_done(&f);
}

static void a_demand_table_takes_no_mirror(void **state)
{
	struct table t = new_table();
	struct file f = new_file();
	(void)state;

	settings.mode = TABLE_DEMAND;
	assert_null(restore_table(&t, &f.s, NOW, WALL));
	settings.mode = TABLE_MIRROR;
	assert_null(t.mirror);
	done(&t);
	file_done(&f);
}

/* Clients are there before the files are read, and ask a directory that is dead. */
static void what_could_not_be_said_does_not_hide_what_is_known(void **state)
{
	struct table t = new_table();
	struct file f = new_file();
	struct waiter w, other;
	struct buf value = { 0 };
	(void)state;

	assert_true(demand_get(t.demand, TEXT("asked"), NOW, &w, &value).lead);
	assert_null(restore_table(&t, &f.s, NOW, WALL));
	assert_int_equal(demand_get(t.demand, TEXT("asked"), NOW, &other, &value).says, DEMAND_FOUND);
	assert_text(buf_view(&value), "yes");
	assert_ptr_equal(demand_put(t.demand, TEXT("asked"), answer_temp("dead"), NOW), &w);
	assert_null(w.next);
	assert_int_equal(demand_peek(t.demand, TEXT("asked"), NOW), DEMAND_FOUND);
	done(&t);

	t = new_table();
	demand_get(t.demand, TEXT("asked"), NOW, &w, &value);
	assert_ptr_equal(demand_put(t.demand, TEXT("asked"), answer_temp("dead"), NOW), &w);
	assert_null(restore_table(&t, &f.s, NOW, WALL));
	assert_int_equal(demand_peek(t.demand, TEXT("asked"), NOW), DEMAND_FOUND);
	done(&t);
	buf_done(&value);
	file_done(&f);
}

static void half_a_snapshot_is_none(void **state)
{
	(void)state;

	for (int broken = 0; broken < 3; broken++) {
		struct table t = new_table();
		struct file f = new_file();

		if (broken == 0)
			f.s.demand = TEXT("?");
		else if (broken == 1)
			f.s.entries = 3;
		else
			f.s.mirror.n--;
		assert_non_null(restore_table(&t, &f.s, NOW, WALL));
		assert_null(t.mirror);
		assert_int_equal(demand_entries(t.demand), 0);
		done(&t);
		file_done(&f);
	}
}

static void a_snapshot_beyond_the_limits_is_none(void **state)
{
	struct table t = new_table();
	struct file f = new_file();
	(void)state;

	settings.max_entries = 1;
	assert_non_null(restore_table(&t, &f.s, NOW, WALL));
	settings.max_entries = 1000;
	assert_null(t.mirror);
	done(&t);
	file_done(&f);
}

/* --- files ------------------------------------------------------------------------------ */

static void only_our_own_rubbish_is_removed(void **state)
{
	static const struct { const char *name; bool stays; } files[] = {
		{ "kept.0.snapshot", true }, { "kept.0.snapshot.bad", true },
		{ "kept.0.snapshot.new", false },
		{ "kept.1.snapshot", false }, { "gone.0.snapshot", false },
		{ "gone.0.snapshot.bad", false }, { "gone.0.snapshot.new", false },
		{ "with.dots.12.snapshot", false }, { "lock", true }, { "gone.0.cdb", true },
		{ "gone.snapshot", true }, { "gone.x.snapshot", true }, { ".0.snapshot", true },
		{ "gone..snapshot", true }, { "0.snapshot", true }, { "gone.0.snapshot.bad.old", true },
		{ "gone.0.snapshot~", true },
	};
	static char kept[] = "kept.0.snapshot";
	char *const names[] = { kept };
	char path[] = "/tmp/restore-XXXXXX";
	(void)state;

	assert_non_null(mkdtemp(path));
	int dir = open(path, O_RDONLY | O_DIRECTORY);
	for (size_t i = 0; i < sizeof files / sizeof *files; i++)
		close(openat(dir, files[i].name, O_WRONLY | O_CREAT, 0600));
	snapshots_sweep(dir, names, 1);
	for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
		if ((faccessat(dir, files[i].name, F_OK, 0) == 0) != files[i].stays)
			fail_msg("%s", files[i].name);
		unlinkat(dir, files[i].name, 0);
	}
	close(dir);
	assert_int_equal(rmdir(path), 0);
}

static void names_are_made_of_map_and_number(void **state)
{
	struct buf name = { 0 };
	(void)state;

	snapshot_name(TEXT("virtual_alias_maps"), 12, &name);
	assert_string_equal(buf_cstr(&name), "virtual_alias_maps.12.snapshot");
	buf_done(&name);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ages_go_on_while_nobody_counts),
		cmocka_unit_test(a_table_takes_over_what_it_lacks),
		cmocka_unit_test(a_table_keeps_the_mirror_it_has),
		cmocka_unit_test(a_demand_table_takes_no_mirror),
		cmocka_unit_test(what_could_not_be_said_does_not_hide_what_is_known),
		cmocka_unit_test(half_a_snapshot_is_none),
		cmocka_unit_test(a_snapshot_beyond_the_limits_is_none),
		cmocka_unit_test(only_our_own_rubbish_is_removed),
		cmocka_unit_test(names_are_made_of_map_and_number),
	};

	hash_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
