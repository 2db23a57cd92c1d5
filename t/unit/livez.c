/* /livez, asked through the table of routes, while a loop hangs in a callback. */
#include "unit/test.h"

#include "daemon/admin.h"
#include "daemon/http.h"

#include <semaphore.h>
#include <unistd.h>

static struct engine engine;
static struct admin admin = { .engine = &engine };

/* A callback that does not come back until it is let go. */
struct hang {
	struct message message;
	sem_t has_begun, may_end;
};

static void hang(struct message *message)
{
	struct hang *h = (struct hang *)message;

	sem_post(&h->has_begun);
	while (sem_wait(&h->may_end) != 0)
		;
}

struct stop {
	struct message message;
	struct loop *loop;
};

static void stop(struct message *message)
{
	loop_stop(((struct stop *)message)->loop);
}

static void stop_all(struct loops *loops)
{
	struct stop stops[3];

	for (size_t i = 0; i < loops->n_answers; i++) {
		stops[i] = (struct stop){ { NULL, stop }, &loops->answers[i] };
		loop_post(&loops->answers[i], &stops[i].message);
	}
	for (size_t i = 0; i < loops->n_answers; i++)
		loop_join(&loops->answers[i]);
}

/* What GET /livez says; the status, with the text in `body`. */
static unsigned livez(char body[static 80])
{
	struct http_request request = { .admin = &admin, .door = HTTP_PUBLIC,
					.path = TEXT("/livez") };
	struct http_reply reply = { .status = 200 };

	for (const struct http_route *r = http_routes; r->path; r++)
		if (strcmp(r->path, "/livez") == 0 && !r->is_post && r->doors & HTTP_PUBLIC)
			r->handle(&request, &reply);
	assert_true(reply.body.n > 0 && reply.body.n < 80);
	memcpy(body, reply.body.p, reply.body.n);
	body[reply.body.n] = '\0';
	buf_done(&reply.body);
	return reply.status;
}

/* Ask until it says that; a loop that runs shows it each second. */
static void wait_for(unsigned status, const char *begin)
{
	char body[80] = "";

	for (int i = 0; i < 3000; i++) {
		if (livez(body) == status && strncmp(body, begin, strlen(begin)) == 0)
			return;
		usleep(10000);
	}
	fail_msg("/livez does not say %u %s, but: %s", status, begin, body);
}

/* As if a long time had passed: who runs shows that he is alive, who hangs cannot. */
static void let_time_pass(void)
{
	for (size_t i = 0; i < engine.loops.n_answers; i++)
		atomic_store(&engine.loops.answers[i].beat, uv_hrtime() / 1000000 - 1000000);
}

static void a_loop_that_hangs_turns_it_red_until_it_goes_on(void **state)
{
	struct hang h = { .message.run = hang };
	struct loops *loops = &engine.loops;
	(void)state;

	loops_init(loops, 3);
	for (size_t i = 0; i < loops->n_answers; i++)
		loop_start(&loops->answers[i], "answers");
	wait_for(200, "ok\n");
	let_time_pass();
	wait_for(200, "ok\n");

	sem_init(&h.has_begun, 0, 0);
	sem_init(&h.may_end, 0, 0);
	loop_post(&loops->answers[1], &h.message);
	while (sem_wait(&h.has_begun) != 0)
		;
	let_time_pass();
	wait_for(503, "answers1 has been silent for 1");
	sem_post(&h.may_end);
	wait_for(200, "ok\n");

	stop_all(loops);
	loops_done(loops);
	sem_destroy(&h.has_begun);
	sem_destroy(&h.may_end);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_loop_that_hangs_turns_it_red_until_it_goes_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
