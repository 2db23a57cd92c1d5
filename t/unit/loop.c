/* Loops that show whether they are alive. */
#include "unit/test.h"

#include "engine/loop.h"

#include <unistd.h>

static struct loops loops;

static int set_up(void **state)
{
	(void)state;
	loops_init(&loops, 3);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	loops_done(&loops);
	return 0;
}

/* The loop has been in one callback for so long. */
static void silence(struct loop *loop, uint64_t msec)
{
	atomic_store(&loop->beat, uv_hrtime() / 1000000 - msec);
}

static void silence_all(uint64_t msec)
{
	for (size_t i = 0; i < loops.n_answers; i++)
		silence(&loops.answers[i], msec);
	silence(&loops.control, msec);
	silence(&loops.refresh, msec);
}

static void loops_have_names(void **state)
{
	(void)state;
	assert_string_equal(loops.answers[0].name, "answers0");
	assert_string_equal(loops.answers[2].name, "answers2");
	assert_string_equal(loops.control.name, "control");
	assert_string_equal(loops.refresh.name, "refresh");
}

static void each_loop_has_its_patience(void **state)
{
	const struct { struct loop *loop; uint64_t patience; } each[] = {
		{ &loops.answers[0], 10000 }, { &loops.answers[2], 10000 },
		{ &loops.control, 10000 },    { &loops.refresh, 600000 },
	};
	(void)state;

	for (size_t i = 0; i < sizeof each / sizeof *each; i++) {
		silence_all(0);
		assert_null(loops_stalled(&loops));
		silence(each[i].loop, each[i].patience - 1000);
		assert_null(loops_stalled(&loops));
		silence(each[i].loop, each[i].patience + 1000);
		assert_ptr_equal(loops_stalled(&loops), each[i].loop);
		assert_true(loop_silence(each[i].loop) > each[i].patience);
	}
}

static void the_first_of_several_is_told(void **state)
{
	(void)state;
	silence_all(1000000);
	assert_ptr_equal(loops_stalled(&loops), &loops.answers[0]);
}

static void a_running_loop_is_not_silent(void **state)
{
	(void)state;
	silence_all(1000000);
	silence(&loops.control, 0);
	silence(&loops.refresh, 0);
	for (size_t i = 0; i < loops.n_answers; i++)
		loop_start(&loops.answers[i], "answers");
	while (loops_stalled(&loops))
		usleep(1000);
	for (size_t i = 0; i < loops.n_answers; i++)
		assert_true(loop_silence(&loops.answers[i]) < 1000000);
}

struct stop {
	struct message message;
	struct loop *loop;
};

static void on_stop(struct message *message)
{
	loop_stop(((struct stop *)message)->loop);
}

static void nor_does_its_pulse_keep_it_running(void **state)
{
	struct stop stop[3];
	(void)state;

	for (size_t i = 0; i < loops.n_answers; i++) {
		stop[i] = (struct stop){ { NULL, on_stop }, &loops.answers[i] };
		loop_post(&loops.answers[i], &stop[i].message);
	}
	for (size_t i = 0; i < loops.n_answers; i++)
		loop_join(&loops.answers[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(loops_have_names),
		cmocka_unit_test(each_loop_has_its_patience),
		cmocka_unit_test(the_first_of_several_is_told),
		cmocka_unit_test(a_running_loop_is_not_silent),
		cmocka_unit_test(nor_does_its_pulse_keep_it_running),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
