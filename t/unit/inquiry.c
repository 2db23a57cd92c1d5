/* What other threads ask of a loop, and the events and numbers they are told of. */
#include "unit/test.h"

#include "base/recent.h"
#include "engine/counters.h"
#include "engine/inquiry.h"

#include <stdatomic.h>
#include <stdio.h>

static struct loops loops;
static struct loop *loop;

static int set_up(void **state)
{
	(void)state;
	loops_init(&loops, 1);
	loop = &loops.answers[0];
	loop_start(loop, "loop");
	return 0;
}

static void on_stop(struct message *message)
{
	(void)message;
	loop_stop(loop);
}

static int tear_down(void **state)
{
	static struct message stop = { NULL, on_stop };
	(void)state;

	loop_post(loop, &stop);
	loop_join(loop);
	loops_done(&loops);
	return 0;
}

struct question {
	struct message message;
	struct inquiry *inquiry;	/* to be ended later */
	pthread_t thread;		/* that answered */
	int answer;
	uv_sem_t *may_go_on;
};

static _Atomic int n_dropped;
static pthread_t dropped_on;

static void drop(void *ctx)
{
	dropped_on = pthread_self();
	free(ctx);
	atomic_fetch_add(&n_dropped, 1);
}

static void answer_now(struct inquiry *q, void *ctx)
{
	struct question *question = ctx;

	question->thread = pthread_self();
	question->answer = 42;
	inquiry_end(q);
}

static void on_later(struct message *message)
{
	struct question *question = (struct question *)message;

	question->answer = 43;
	inquiry_end(question->inquiry);
}

static void answer_later(struct inquiry *q, void *ctx)
{
	struct question *question = ctx;

	question->inquiry = q;
	question->message.run = on_later;
	loop_post(loop, &question->message);
}

static void answer_late(struct inquiry *q, void *ctx)
{
	struct question *question = ctx;

	uv_sem_wait(question->may_go_on);
	inquiry_end(q);
}

static void a_loop_answers_on_its_thread(void **state)
{
	struct question *q = calloc(1, sizeof *q);
	(void)state;

	assert_true(inquiry_run(loop, answer_now, q, drop, 10000));
	assert_int_equal(q->answer, 42);
	assert_true(pthread_equal(q->thread, loop->thread));
	free(q);
	assert_int_equal(n_dropped, 0);
}

static void it_may_answer_in_a_later_callback(void **state)
{
	struct question *q = calloc(1, sizeof *q);
	(void)state;

	assert_true(inquiry_run(loop, answer_later, q, drop, 10000));
	assert_int_equal(q->answer, 43);
	free(q);
}

static void who_waits_too_long_is_told_so_and_the_loop_cleans_up(void **state)
{
	struct question *q = calloc(1, sizeof *q), *after = calloc(1, sizeof *after);
	uv_sem_t may_go_on;
	(void)state;

	uv_sem_init(&may_go_on, 0);
	q->may_go_on = &may_go_on;
	assert_false(inquiry_run(loop, answer_late, q, drop, 20));
	assert_int_equal(n_dropped, 0);
	uv_sem_post(&may_go_on);
	assert_true(inquiry_run(loop, answer_now, after, drop, 10000));	/* behind it */
	assert_int_equal(n_dropped, 1);
	assert_true(pthread_equal(dropped_on, loop->thread));
	free(after);
	uv_sem_destroy(&may_go_on);
}

static void warnings_are_kept_and_daily_business_only_once(void **state)
{
	static struct recent all[RECENT_EVENTS];
	char text[32];
	(void)state;

	recent_add(LOG_AT_WARN, "warned", TEXT("map=first"));
	for (int i = 0; i < 300; i++) {
		snprintf(text, sizeof text, "map=m%d n=%d", i % 3, i);
		recent_add(LOG_AT_INFO, "refreshed", text_of(text));
	}
	recent_add(LOG_AT_INFO, "refreshed", TEXT("map=m10 n=1"));
	assert_int_equal(recent_get(all), 5);
	assert_string_equal(all[0].event, "warned");
	assert_string_equal(all[1].text, "map=m0 n=297");
	assert_string_equal(all[3].text, "map=m2 n=299");
	assert_string_equal(all[4].text, "map=m10 n=1");
	for (int i = 0; i < 2 * RECENT_EVENTS; i++) {
		snprintf(text, sizeof text, "n=%d", i);
		recent_add(LOG_AT_WARN, "warned", text_of(text));
	}
	assert_int_equal(recent_get(all), RECENT_EVENTS);
	assert_string_equal(all[0].text, "n=100");
	assert_string_equal(all[RECENT_EVENTS - 1].text, "n=199");
}

static void kept_events_show_no_keys(void **state)
{
	static const struct log_settings full = { LOG_AT_ERROR, LOG_KEYS_FULL, -1 };
	static struct recent all[RECENT_EVENTS];
	(void)state;

	log_setup(&full);	/* WARN is kept, and not written */
	log_warn("lookup_failed", "m", F_STR("map", "m"), F_KEY("key", TEXT("a@secret.example")),
		 F_KEYS("missing", "b@secret.example"), F_NUM("n", 1));
	size_t n = recent_get(all);
	assert_string_equal(all[n - 1].event, "lookup_failed");
	assert_null(strstr(all[n - 1].text, "secret"));
	assert_non_null(strstr(all[n - 1].text, "map=m key=#"));
	assert_non_null(strstr(all[n - 1].text, " n=1"));
}

static void durations_fall_into_their_buckets(void **state)
{
	struct histogram h = { 0 };
	(void)state;

	for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
		histogram_add(&h, &lookup_bounds, lookup_bounds.usec[i]);
		assert_int_equal(count_of(&h.n[i]), 1);
		histogram_add(&h, &lookup_bounds, lookup_bounds.usec[i] + 1);
		assert_int_equal(count_of(&h.n[i]), 1);
		assert_int_equal(count_of(&h.n[i + 1]), 1);
		h = (struct histogram){ 0 };
	}
	histogram_add(&h, &lookup_bounds, 0);
	histogram_add(&h, &lookup_bounds, 7);
	assert_int_equal(count_of(&h.n[0]), 2);
	assert_int_equal(count_of(&h.usec), 7);
}

static void cells_add_up(void **state)
{
	struct counters cells[3], sum;
	(void)state;

	memset(cells, 0, sizeof cells);
	for (size_t i = 0; i < 3; i++) {
		count(&cells[i], COUNT_ASKED);
		count_up(&cells[i].replies[PROTOCOL_SOCKETMAP][FOUND], 2);
		count_up(&cells[i].replies[PROTOCOL_TCP_TABLE][FOUND], i);
		count_up(&cells[i].temps[TEMP_REASONS - 1], 5);
		histogram_add(&cells[i].took, &lookup_bounds, UINT32_MAX);
	}
	counters_sum(cells, 3, &sum);
	assert_int_equal(count_of(&sum.n[COUNT_ASKED]), 3);
	assert_int_equal(counters_replies(&sum, FOUND), 9);
	assert_int_equal(counters_replies(&sum, TEMP), 0);
	assert_int_equal(count_of(&sum.temps[TEMP_REASONS - 1]), 15);
	assert_int_equal(count_of(&sum.took.n[HISTOGRAM_BUCKETS]), 3);
	assert_int_equal(count_of(&sum.took.usec), 3 * (uint64_t)UINT32_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_loop_answers_on_its_thread),
		cmocka_unit_test(it_may_answer_in_a_later_callback),
		cmocka_unit_test(who_waits_too_long_is_told_so_and_the_loop_cleans_up),
		cmocka_unit_test(warnings_are_kept_and_daily_business_only_once),
		cmocka_unit_test(kept_events_show_no_keys),
		cmocka_unit_test(durations_fall_into_their_buckets),
		cmocka_unit_test(cells_add_up),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
