#include "engine/source.h"

#include "base/clock.h"
#include "base/conceal.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/must.h"
#include "engine/lookup.h"
#include "engine/process.h"
#include "engine/table.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

/* Of what a directory says, as much as is looked at for a key. */
#define WHY_MAX 400

/* One place in the pool. */
struct slot {
	struct source *source;
	struct process *process;
	enum {
		SLOT_EMPTY,	/* no process */
		SLOT_STARTING,	/* no hello yet */
		SLOT_PROBING,	/* asked whether the directory is there */
		SLOT_RESTING,	/* it was not; see source.rest_until */
		SLOT_IDLE,
		SLOT_BUSY,
	} state;
	bool is_recovering;	/* SLOT_PROBING: the directory was down before */
	struct job *job;	/* SLOT_BUSY */
	uint64_t began;		/* then, usec of clock_usec() */
	struct values values;	/* what came for it */
};

struct source {
	struct message back;	/* of a scan that succeeded, when that is news; first */
	atomic_bool is_back_posted;
	struct source_settings *settings;	/* owned */
	struct loop *control;
	unsigned refs;
	unsigned n_registries;	/* that have it */
	bool is_stopped;	/* no process is started any more */
	struct slot *slots;
	struct job *first, **last;
	size_t n_queued;
	uv_timer_t timer;	/* when resting is over */
	unsigned failures;	/* of processes or the directory, in a row */
	uint64_t failing_since;	/* the first of them, clock_wall_msec() */
	uint64_t rest_until;	/* msec of clock_msec(); 0: it does not rest */
	uint64_t succeeded;	/* the last lookup that did, usec of clock_usec() */
	uint64_t random;
	uint64_t n_lookups, n_failures, n_restarts;
	struct histogram took;
	_Atomic int heard;	/* enum source_state, by the last that anybody heard of it */
	pthread_mutex_t lock;	/* guards what follows; scans learn on another thread */
	char host[128];
	uint64_t cert_not_after;
	uint64_t failed_at;
	char why[200];
};

static void pump(struct source *s);

/* --- jobs ------------------------------------------------------------------------------- */

static void job_end(struct source *s, struct job *job, struct answer answer)
{
	struct table *t = job->table;

	if (answer.verdict == TEMP)
		s->n_failures++;
	if (job->probe) {
		probe_end(job->probe, answer);
		return;
	}
	if (answer.verdict != TEMP)
		atomic_fetch_add_explicit(&t->n_learnt, 1, memory_order_relaxed);
	ask_wake(demand_put(t->demand, buf_view(&job->key), answer, clock_msec()), answer);
	buf_done(&job->key);
	free(job);
	table_unref(t);
}

/* The reason goes to the client's log, so it names the source, and no data. */
static void job_fail(struct source *s, struct job *job, enum temp_reason of, const char *why)
{
	struct buf reason = { 0 };

	buf_printf(&reason, "source %s: %s", s->settings->name, why);
	job_end(s, job, (struct answer){ TEMP, buf_view(&reason), of });
	buf_done(&reason);
}

static struct job *dequeue(struct source *s)
{
	struct job *job = s->first;

	if (!job)
		return NULL;
	s->first = job->next;
	if (!s->first)
		s->last = &s->first;
	s->n_queued--;
	return job;
}

/* Back to the front: its process died, which may not have been its fault. */
static void requeue(struct source *s, struct job *job)
{
	job->next = s->first;
	s->first = job;
	if (!job->next)
		s->last = &job->next;
	s->n_queued++;
}

static void fail_queue(struct source *s, enum temp_reason of, const char *why)
{
	for (struct job *job; (job = dequeue(s));)
		job_fail(s, job, of, why);
}

/* --- resting ---------------------------------------------------------------------------- */

/* The first failure costs nothing, so that one lost process is replaced at once. */
static uint64_t rest_msec(struct source *s)
{
	const uint64_t first = 250, longest = 60000;
	unsigned doublings = s->failures < 2 ? 0 : s->failures - 2;

	if (s->failures < 2)
		return 0;
	return clock_jitter(doublings > 7 || first << doublings > longest ? longest
									  : first << doublings,
			    &s->random);
}

static void end_rest(struct source *s)
{
	s->rest_until = 0;	/* whatever clock_msec() says: libuv's clock may be a little ahead */
	uv_timer_stop(&s->timer);
}

static void on_rested(uv_timer_t *timer)
{
	struct source *s = timer->data;

	end_rest(s);
	pump(s);
}

static void keep_reason(struct source *s, struct text why)
{
	struct buf escaped = { 0 };

	buf_escaped(&escaped, why);
	pthread_mutex_lock(&s->lock);
	s->failed_at = clock_wall_msec();
	snprintf(s->why, sizeof s->why, "%s", buf_cstr(&escaped));
	pthread_mutex_unlock(&s->lock);
	buf_done(&escaped);
}

static void on_back(struct message *message)
{
	struct source *s = (struct source *)message;

	atomic_store(&s->is_back_posted, false);
	if (s->failures) {
		end_rest(s);
		pump(s);
	}
}

void source_heard(struct source *s, bool is_there, struct text why)
{
	s->heard = is_there ? SOURCE_UP : SOURCE_DOWN;
	if (!is_there)
		keep_reason(s, why);
	else if (!atomic_exchange(&s->is_back_posted, true))
		loop_post(s->control, &s->back);
}

/* Many that fail together are one outage; one while others succeed, as its table is slow, is none. */
static void note_failure(struct source *s, uint64_t began, struct text why)
{
	uint64_t now = clock_msec();

	keep_reason(s, why);
	if (now >= s->rest_until && began >= s->succeeded) {
		if (s->failures++ == 0)
			s->failing_since = clock_wall_msec();
		s->rest_until = now + rest_msec(s);
		uv_timer_start(&s->timer, on_rested, s->rest_until - now, 0);
	}
	log_warn("source_failed", s->settings->name, F_STR("source", s->settings->name),
		 F_TEXT("why", why),
		 F_MSEC("next", s->rest_until > now ? s->rest_until - now : 0));
}

static void note_success(struct source *s)
{
	s->heard = SOURCE_UP;
	if (s->failures >= 2)
		log_info("source_back", s->settings->name, F_STR("source", s->settings->name));
	s->failures = 0;
	s->succeeded = clock_usec();
	end_rest(s);
}

/* Nobody can be asked now, and it has just been tried: waiting would only add to the delay. */
static bool is_down(const struct source *s)
{
	if (s->failures < 2)
		return false;
	for (unsigned i = 0; i < s->settings->connections; i++)
		if (s->slots[i].state == SLOT_IDLE || s->slots[i].state == SLOT_BUSY)
			return false;
	return true;
}

/* --- what processes say ------------------------------------------------------------------ */

static void probe(struct slot *slot)
{
	slot->is_recovering = slot->state == SLOT_RESTING;
	slot->state = SLOT_PROBING;
	process_ping(slot->process);
}

static void on_hello(void *user, struct text program)
{
	struct slot *slot = user;
	const char *source = slot->source->settings->name;

	log_info("driver_started", source, F_STR("source", source), F_TEXT("program", program),
		 F_NUM("pid", process_pid(slot->process)));
	probe(slot);
}

static void on_row(void *user, const struct row *row)
{
	struct slot *slot = user;

	if (slot->job)
		values_add(&slot->values, slot->job->table->settings, buf_view(&slot->job->key),
			   row->value);
}

static void on_info(void *user, struct text name, struct text value)
{
	struct slot *slot = user;

	source_learn(slot->source, name, value);
}

static void on_query(void *user, struct text query)
{
	struct slot *slot = user;

	if (slot->job && slot->job->probe)
		probe_query(slot->job->probe, query);
}

/* What the directory says of a lookup, for those who may not see keys; `job` may be NULL. */
static void conceal_job(const struct job *job, struct text why, struct buf *out)
{
	if (why.n > WHY_MAX)
		why.n = WHY_MAX;
	conceal(out, why, job ? buf_view(&job->key) : TEXT(""));
}

static void end_job(struct slot *slot, enum frame_verb end, struct text why)
{
	struct source *s = slot->source;
	struct job *job = slot->job;
	uint64_t took = clock_usec() - slot->began;
	struct buf concealed = { 0 };

	slot->job = NULL;
	histogram_add(&s->took, &lookup_bounds, took);
	if (job->probe)
		job->probe->took += took;
	if (end == FRAME_DONE) {
		job_end(s, job, values_answer(&slot->values));
		return;
	}

	if (job->probe)
		buf_escaped(&job->probe->why, why);
	conceal_job(job, why, &concealed);
	log_warn("lookup_refused", job->table->map, F_STR("map", job->table->map),
		 F_STR("source", s->settings->name), F_KEY("key", buf_view(&job->key)),
		 F_TEXT("why", buf_view(&concealed)));
	buf_done(&concealed);
	if (end == FRAME_DOWN)
		job_fail(s, job, REASON_DOWN, "directory is down");
	else
		job_fail(s, job, REASON_FAILED, "lookup failed");
}

static void on_end(void *user, enum frame_verb end, struct text why)
{
	struct slot *slot = user;
	struct source *s = slot->source;
	struct buf concealed = { 0 };
	bool is_lookup = slot->state == SLOT_BUSY;

	slot->state = end == FRAME_DOWN ? SLOT_RESTING : SLOT_IDLE;
	if (end == FRAME_DOWN) {
		conceal_job(slot->job, why, &concealed);
		note_failure(s, is_lookup ? slot->began : UINT64_MAX, buf_view(&concealed));
	} else if (is_lookup || slot->is_recovering) {
		/* That a new process answers a ping does not clear its forerunner's crash. */
		note_success(s);
	}
	buf_done(&concealed);
	if (slot->job)
		end_job(slot, end, why);
	pump(s);
}

static void on_dead(void *user, const char *why)
{
	struct slot *slot = user;
	struct source *s = slot->source;
	struct job *job = slot->job;

	slot->process = NULL;
	slot->state = SLOT_EMPTY;
	slot->job = NULL;
	s->n_restarts++;
	if (job && job->probe) {
		job->probe->took += clock_usec() - slot->began;
		buf_str(&job->probe->why, why);
	}
	note_failure(s, job ? slot->began : UINT64_MAX, text_of(why));
	if (job && !job->is_retried && clock_msec() < job->expires) {
		job->is_retried = true;
		requeue(s, job);
	} else if (job) {
		job_fail(s, job, REASON_FAILED, why);
	}
	pump(s);
}

static const struct process_events events = { on_hello, on_row, on_info, on_end, on_dead, on_query };

/* --- the pool ----------------------------------------------------------------------------- */

static bool start(struct slot *slot)
{
	struct source *s = slot->source;
	struct buf why = { 0 };

	slot->process = process_start(&s->control->uv, s->settings, &events, slot, &why);
	if (slot->process)
		slot->state = SLOT_STARTING;
	else
		note_failure(s, UINT64_MAX, buf_view(&why));
	buf_done(&why);
	return slot->process;
}

static struct slot *find_slot(struct source *s, int state)
{
	for (unsigned i = 0; i < s->settings->connections; i++)
		if ((int)s->slots[i].state == state)
			return &s->slots[i];
	return NULL;
}

/* Is some process about to say whether the directory is there? */
static bool is_trying(struct source *s)
{
	return find_slot(s, SLOT_STARTING) || find_slot(s, SLOT_PROBING);
}

static void dispatch(struct slot *slot, struct job *job)
{
	struct process_table table = table_for_process(job->table);

	slot->source->n_lookups++;
	slot->began = clock_usec();
	slot->state = SLOT_BUSY;
	slot->job = job;
	values_clear(&slot->values);
	if (job->probe)
		buf_clear(&job->probe->why);	/* of one that has died of it */
	/* A driver that was killed by `explain`, as it does not know it, knows `lookup` all the same. */
	if (job->probe && job->probe->wants_queries && !job->is_retried)
		process_explain(slot->process, &table, buf_view(&job->key));
	else
		process_lookup(slot->process, &table, buf_view(&job->key));
}

/* Give waiting jobs to idle processes; have as many processes as the queue is worth. */
static void pump(struct source *s)
{
	uint64_t now = clock_msec();
	bool is_quiet = now < s->rest_until && !is_trying(s);
	struct slot *slot;

	if (s->is_stopped)
		return;
	/* What somebody wants to know may wait for the outcome. */
	if (is_down(s) && (is_quiet || !(s->first && s->first->probe)))
		fail_queue(s, REASON_DOWN, "directory is down");
	while (s->first && s->first->expires <= now)
		job_fail(s, dequeue(s), REASON_DEADLINE, "no process was free in time");
	while (s->first && (slot = find_slot(s, SLOT_IDLE)))
		dispatch(slot, dequeue(s));

	if (now < s->rest_until)
		return;
	/* While something is wrong, one process at a time finds out whether it still is. */
	while (!(s->failures && is_trying(s)) && (slot = find_slot(s, SLOT_RESTING)))
		probe(slot);
	size_t starting = is_trying(s) ? 1 : 0;
	bool is_wanted = s->failures ? !starting && !find_slot(s, SLOT_IDLE) : s->n_queued > starting;
	if (is_wanted && (slot = find_slot(s, SLOT_EMPTY)) && !start(slot) && is_down(s))
		fail_queue(s, REASON_DOWN, "directory is down");
}

void source_submit(struct job *job)
{
	struct source *s = table_ref(job->table)->source;

	if (s->is_stopped) {
		job_fail(s, job, REASON_STOPPING, "no longer asked");
		return;
	}
	if (job->probe && job->probe->wants_queries) {
		end_rest(s);	/* somebody wants to know how it is now */
	} else if (is_down(s)) {
		job_fail(s, job, REASON_DOWN, "directory is down");
		return;
	}
	if (s->n_queued >= s->settings->queue) {
		job_fail(s, job, REASON_QUEUE, "queue is full");
		return;
	}
	job->next = NULL;
	*s->last = job;
	s->last = &job->next;
	s->n_queued++;
	pump(s);
}

static void on_posted(struct message *message)
{
	source_submit((struct job *)message);
}

void source_post(struct loop *control, struct table *table, struct text key, uint64_t expires)
{
	struct job *job = must_calloc(1, sizeof *job);

	*job = (struct job){ .message.run = on_posted, .table = table, .expires = expires };
	buf_text(&job->key, key);
	loop_post(control, &job->message);
}

/* --- life --------------------------------------------------------------------------------- */

struct source *source_new(struct source_settings *settings, struct loop *control)
{
	struct source *s = must_calloc(1, sizeof *s);

	*s = (struct source){ .back.run = on_back, .settings = settings, .control = control,
			      .refs = 1 };
	s->last = &s->first;
	hash_random(&s->random, sizeof s->random);
	pthread_mutex_init(&s->lock, NULL);
	uv_timer_init(&control->uv, &s->timer);
	s->timer.data = s;
	s->slots = must_calloc(settings->connections, sizeof *s->slots);
	for (unsigned i = 0; i < settings->connections; i++)
		s->slots[i].source = s;
	return s;
}

struct source *source_ref(struct source *s)
{
	s->refs++;
	return s;
}

void source_enter(struct source *s)
{
	s->n_registries++;
}

void source_leave(struct source *s)
{
	if (--s->n_registries == 0)
		source_stop(s);
}

static void on_closed(uv_handle_t *handle)
{
	struct source *s = handle->data;

	for (unsigned i = 0; i < s->settings->connections; i++)
		values_done(&s->slots[i].values);
	pthread_mutex_destroy(&s->lock);
	source_settings_free(s->settings);
	free(s->slots);
	free(s);
}

void source_stop(struct source *s)
{
	s->is_stopped = true;
	fail_queue(s, REASON_STOPPING, "no longer asked");
	for (unsigned i = 0; i < s->settings->connections; i++) {
		struct slot *slot = &s->slots[i];
		struct job *job = slot->job;

		if (slot->process)
			process_drop(slot->process);
		slot->process = NULL;
		slot->state = SLOT_EMPTY;
		slot->job = NULL;
		if (job)
			job_fail(s, job, REASON_STOPPING, "no longer asked");
	}
}

void source_unref(struct source *s)
{
	if (!s || --s->refs > 0)
		return;
	assert(!s->first);	/* a queued job holds its table, and the table its source */
	source_stop(s);
	uv_close((uv_handle_t *)&s->timer, on_closed);
}

const struct source_settings *source_settings(const struct source *s)
{
	return s->settings;
}

void source_forget(struct source *s, uint64_t table_id)
{
	for (unsigned i = 0; i < s->settings->connections; i++)
		if (s->slots[i].process && s->slots[i].state != SLOT_STARTING)
			process_forget(s->slots[i].process, table_id);
}

void source_learn(struct source *s, struct text name, struct text value)
{
	uint64_t number;

	pthread_mutex_lock(&s->lock);
	if (text_is(name, "host"))
		snprintf(s->host, sizeof s->host, "%.*s", (int)value.n, value.p);
	else if (text_is(name, "cert_not_after") && frame_number(value, &number))
		s->cert_not_after = number;
	pthread_mutex_unlock(&s->lock);
}

const char *source_state_name(enum source_state state)
{
	static const char *const names[] = {
		[SOURCE_IDLE] = "idle", [SOURCE_UP] = "up", [SOURCE_DOWN] = "down",
	};

	return names[state];
}

struct source_stats source_stats(struct source *s)
{
	struct source_stats stats = {
		.state = is_down(s) ? SOURCE_DOWN : (enum source_state)s->heard,
		.took = s->took,
		.name = s->settings->name,
		.failing_since = s->failures ? s->failing_since : 0,
		.queued = s->n_queued,
		.lookups = s->n_lookups,
		.failures = s->n_failures,
		.restarts = s->n_restarts,
	};

	pthread_mutex_lock(&s->lock);
	memcpy(stats.host, s->host, sizeof stats.host);
	stats.cert_not_after = s->cert_not_after;
	stats.failed_at = s->failed_at;
	memcpy(stats.why, s->why, sizeof stats.why);
	pthread_mutex_unlock(&s->lock);
	for (unsigned i = 0; i < s->settings->connections; i++) {
		stats.up += s->slots[i].state >= SLOT_PROBING;
		stats.busy += s->slots[i].state == SLOT_BUSY;
	}
	return stats;
}
