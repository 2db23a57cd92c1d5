/*
 * Scans on request, and accepted ones: an engine on one thread, with t/lib/fake_driver. For who
 * decides when to scan, and for this test, time passes faster than it does.
 */
#include "unit/test.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/must.h"
#include "engine/engine.h"
#include "engine/scan.h"

#include <stdio.h>
#include <unistd.h>

#define FASTER 5u

static uint64_t fast_msec(void)
{
	static uint64_t start;

	if (!start)
		start = clock_msec();
	return start + (clock_usec() - start * 1000) * FASTER / 1000;
}

static int fast_timer_start(uv_timer_t *timer, uv_timer_cb on_time, uint64_t msec, uint64_t repeat)
{
	return uv_timer_start(timer, on_time, (msec + FASTER - 1) / FASTER, repeat / FASTER);
}

static uint64_t fast_due_in(const uv_timer_t *timer)
{
	return uv_timer_get_due_in(timer) * FASTER;
}

#define clock_msec fast_msec
#define uv_timer_start fast_timer_start
#define uv_timer_get_due_in fast_due_in
#include "engine/turn.c"
#include "engine/refresh.c"
#include "engine/scan.c"

#define PATIENCE_MSEC 20000		/* as it is */

static char dir[] = "/tmp/smrefreshXXXXXX";
static struct engine engine;

/* --- files of the driver ------------------------------------------------------------ */

static const char *path_of(const char *name)
{
	static char path[sizeof dir + 20];

	snprintf(path, sizeof path, "%s/%s", dir, name);
	return path;
}

static void replace(const char *name, const char *text)
{
	char old[sizeof dir + 20];

	snprintf(old, sizeof old, "%s", path_of("new"));
	FILE *f = fopen(old, "w");
	assert_non_null(f);
	fputs(text, f);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(rename(old, path_of(name)), 0);
}

/* Keys k0 to k(n-1). */
static void write_rows(size_t n)
{
	struct buf rows = { 0 };

	for (size_t i = 0; i < n; i++)
		buf_printf(&rows, "k%zu\tv%zu\n", i, n);
	replace("rows", buf_cstr(&rows));
	buf_done(&rows);
}

/* How many scans the driver was asked for. */
static size_t scans(void)
{
	FILE *f = fopen(path_of("activity"), "r");
	char line[200];
	size_t n = 0;

	while (f && fgets(line, sizeof line, f))
		n += strstr(line, " scan ") != NULL;
	if (f)
		fclose(f);
	return n;
}

/* --- the engine --------------------------------------------------------------------- */

static void add_option(struct options *o, const char *name, const char *value)
{
	o->list = must(realloc(o->list, (o->n + 1) * sizeof *o->list));
	o->list[o->n++] = (struct driver_option){ must_strdup(name), must_strdup(value) };
}

static struct source_settings *new_source(void)
{
	struct source_settings *s = must_calloc(1, sizeof *s);

	s->name = must_strdup("fake");
	s->driver = must_strdup("fake");
	s->program = must(realpath("t/lib/fake_driver", NULL));
	s->fingerprint = must_strdup("");
	s->identity = must_strdup("");
	s->connections = 1;
	s->queue = 10;
	s->timeout = s->start_timeout = s->scan_timeout = s->scan_idle = PATIENCE_MSEC;
	add_option(&s->options, "data", path_of("rows"));
	add_option(&s->options, "script", path_of("script"));
	add_option(&s->options, "activity", path_of("activity"));
	return s;
}

static struct map_settings *new_map(void)
{
	struct map_settings *m = must_calloc(1, sizeof *m);
	struct table_settings *t = must_calloc(1, sizeof *t);
	struct buf why = { 0 };

	t->source = must_strdup("fake");
	t->result_format = template_new(TEXT("%s"), TEMPLATE_RESULT, &why);
	t->mode = TABLE_MIRROR;
	t->refresh = t->max_age = t->stale_max = 3600000;
	t->cache_size = 64 << 10;
	t->min_entries = 1;
	t->max_shrink = 30;
	t->max_entries = 1000;
	t->max_bytes = 1 << 20;
	t->fingerprint = must_strdup("");
	t->identity = must_strdup("");
	m->name = must_strdup("m");
	m->rules.kind = SEARCH_EXACT;
	m->fingerprint = must_strdup("");
	m->tables = must_calloc(1, sizeof *m->tables);
	m->tables[m->n_tables++] = t;
	return m;
}

static struct table *table(void)
{
	return engine_registry(&engine)->maps[0]->tables[0];
}

/* All loops in turn, on this thread. */
static void step(void)
{
	uv_run(&engine.loops.answers[0].uv, UV_RUN_NOWAIT);
	uv_run(&engine.loops.control.uv, UV_RUN_NOWAIT);
	uv_run(&engine.loops.refresh.uv, UV_RUN_NOWAIT);
	usleep(1000);
}

static size_t entries(void)
{
	const struct mirror *m = atomic_load(&table()->mirror);

	return m ? mirror_entries(m) : 0;
}

static uint64_t rejected(void)
{
	return table_rejection(table()).times;
}

static void wait_for(size_t (*what)(void), size_t least)
{
	uint64_t end = clock_msec() + PATIENCE_MSEC * FASTER;

	while (what() < least && clock_msec() < end)
		step();
	assert_true(what() >= least);
}

static void wait_for_entries(size_t n)
{
	uint64_t end = clock_msec() + PATIENCE_MSEC * FASTER;

	while (entries() != n && clock_msec() < end)
		step();
	assert_int_equal(entries(), n);
}

static size_t is_idle(void)
{
	return !uv_loop_alive(&engine.loops.refresh.uv);
}

static int setup(void **state)
{
	const struct log_settings quiet = { (enum log_level)-1, LOG_KEYS_NONE, -1 };
	struct source_settings *source;
	struct map_settings *map;
	struct settings settings = {
		.sources = &source, .n_sources = 1, .maps = &map, .n_maps = 1
	};
	(void)state;

	log_setup(&quiet);
	assert_non_null(mkdtemp(dir));
	replace("script", "");
	write_rows(100);
	source = new_source();
	map = new_map();
	engine_init(&engine, 1, NULL);
	engine_adopt(&engine, &settings);
	wait_for(entries, 100);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	engine_stop(&engine);
	loop_stop(&engine.loops.refresh);
	wait_for(is_idle, 1);
	engine_done(&engine);
	unlink(path_of("rows"));
	unlink(path_of("script"));
	unlink(path_of("activity"));
	return rmdir(dir);
}

/* --- tests -------------------------------------------------------------------------- */

/* Have the rows scanned and rejected. */
static void reject(size_t n)
{
	uint64_t before = rejected();

	uint64_t end = clock_msec() + PATIENCE_MSEC * FASTER;

	write_rows(n);
	refresh_now(engine.refresh, table());
	while ((rejected() == before || table_rejection(table()).new != n) &&
	       clock_msec() < end)
		step();
	assert_true(rejected() > before);
	assert_int_equal(table_rejection(table()).new, n);
}

static void what_an_operator_accepts_is_scanned_and_published_at_once(void **state)
{
	(void)state;
	reject(50);
	assert_int_equal(entries(), 100);
	assert_true(refresh_accept(engine.refresh, table()));
	wait_for_entries(50);
	assert_int_equal(rejected(), 0);
	assert_false(refresh_accept(engine.refresh, table()));	/* nothing is rejected */
}

static void something_worse_is_not_what_was_accepted(void **state)
{
	(void)state;
	reject(25);
	scan_accept(table());
	reject(24);			/* takes the acceptance along */
	assert_int_equal(entries(), 50);
	assert_true(refresh_accept(engine.refresh, table()));
	wait_for_entries(24);
}

static void a_flood_of_requests_is_one_scan_a_second(void **state)
{
	size_t before = scans();
	uint64_t begin = clock_msec();
	(void)state;

	write_rows(150);
	for (int i = 0; i < 1000; i++) {
		refresh_now(engine.refresh, i % 2 ? table() : NULL);
		if (i % 5 == 0)
			step();
	}
	write_rows(151);
	refresh_now(engine.refresh, NULL);
	wait_for(entries, 151);			/* the last request is never lost */
	/* Twice as many: libuv's clock lags behind, and our haste makes that more. */
	assert_in_range(scans() - before, 1, 2 * (clock_msec() - begin) / 1000 + 2);
}

/* A table that this refresh does not know, or not any more. */
static void a_request_for_a_table_that_is_gone_is_nothing(void **state)
{
	struct table other = { .id = 4711 };
	size_t before = scans();
	(void)state;

	refresh_now(engine.refresh, &other);
	for (int i = 0; i < 100; i++)
		step();
	assert_int_equal(scans(), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_an_operator_accepts_is_scanned_and_published_at_once),
		cmocka_unit_test(something_worse_is_not_what_was_accepted),
		cmocka_unit_test(a_flood_of_requests_is_one_scan_a_second),
		cmocka_unit_test(a_request_for_a_table_that_is_gone_is_nothing),
	};

	hash_init();
	return cmocka_run_group_tests(tests, setup, teardown);
}
