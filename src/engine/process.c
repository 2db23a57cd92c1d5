#include "engine/process.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/must.h"
#include "engine/loop.h"

#include <assert.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

/* How often a running request is checked against its limits. */
#define TICK_MSEC 50
#define READ_BYTES ((size_t)256 << 10)

struct process {
	const struct source_settings *settings;
	const struct process_events *events;	/* NULL once nobody wants to know */
	void *user;
	const char *why;			/* it is being killed; NULL while it lives */
	uv_process_t child;
	uv_pipe_t pipe;
	uv_timer_t timer;
	unsigned open;				/* handles not closed yet */
	bool has_exited;

	enum { STARTING, IDLE, ASKED } state;
	uint64_t deadline;			/* of the start or the request */
	uint64_t idle_limit, last_row;		/* scan: longest silence; 0: none */
	bool is_explaining;			/* the request is for people: queries come, too */
	uint64_t rows;				/* values of the request so far */
	struct buf key;				/* whose values come */
	uint64_t until;				/* when they end, Unix seconds; 0: never */
	struct buf in;				/* received and not parsed; n of it used */
	uint64_t *known;			/* ids of the tables it was told about */
	size_t n_known;
};

static void on_closed(uv_handle_t *handle)
{
	struct process *p = handle->data;

	if (--p->open > 0)
		return;
	if (p->events)
		p->events->on_dead(p->user, p->why);
	buf_done(&p->in);
	buf_done(&p->key);
	free(p->known);
	free(p);
}

void process_kill(struct process *p, const char *why)
{
	if (p->why)
		return;
	p->why = why;
	if (!p->has_exited)
		uv_process_kill(&p->child, SIGKILL);
	loop_close_stream((uv_stream_t *)&p->pipe, on_closed);
	uv_close((uv_handle_t *)&p->timer, on_closed);
}

void process_drop(struct process *p)
{
	p->events = NULL;
	process_kill(p, "no longer needed");
}

static void on_child_exit(uv_process_t *child, int64_t status, int term_signal)
{
	struct process *p = child->data;

	p->has_exited = true;
	uv_close((uv_handle_t *)child, on_closed);
	process_kill(p, term_signal ? "driver process was killed" :
			status ? "driver process failed" : "driver process ended");
}

static void on_tick(uv_timer_t *timer)
{
	struct process *p = timer->data;
	uint64_t now = clock_msec();

	if (now >= p->deadline)
		process_kill(p, p->state == STARTING ? "no hello from the driver process" :
						       "deadline missed");
	else if (p->idle_limit && now >= p->last_row + p->idle_limit)
		process_kill(p, "scan stalled");
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
	struct process *p = handle->data;
	(void)suggested;

	*ret = uv_buf_init(buf_room(&p->in, READ_BYTES), READ_BYTES);
}

static void become_idle(struct process *p)
{
	p->state = IDLE;
	p->idle_limit = 0;
	uv_timer_stop(&p->timer);
}

static void on_hello(struct process *p, const struct frame *f)
{
	uint64_t version;

	if (p->state != STARTING || !frame_number(f->args[0], &version)) {
		process_kill(p, "driver process speaks out of turn");
	} else if (version != DRIVER_PROTOCOL_VERSION) {
		process_kill(p, "driver process speaks another version");
	} else {
		become_idle(p);
		p->events->on_hello(p->user, f->args[1]);
	}
}

static void on_end(struct process *p, const struct frame *f)
{
	uint64_t rows;

	if (f->verb == FRAME_DONE && (!frame_number(f->args[0], &rows) || rows != p->rows)) {
		process_kill(p, "driver process lost rows");
		return;
	}
	become_idle(p);
	p->events->on_end(p->user, f->verb, f->verb == FRAME_DONE ? TEXT("") : f->args[0]);
}

static void on_frame(struct process *p, const struct frame *f)
{
	if (f->verb == FRAME_HELLO) {
		on_hello(p, f);
		return;
	}
	if (p->state == STARTING && f->verb == FRAME_DOWN) {
		log_error("driver_refused", p->settings->name, F_STR("source", p->settings->name),
			  F_TEXT("why", f->args[0]));
		process_kill(p, "driver process refuses its settings");
		return;
	}
	if (p->state != ASKED) {
		process_kill(p, "driver process speaks out of turn");
		return;
	}
	switch (f->verb) {
	case FRAME_KEY:
		buf_clear(&p->key);
		buf_text(&p->key, f->args[0]);
		p->until = 0;
		break;
	case FRAME_UNTIL:
		if (!frame_number(f->args[0], &p->until))
			process_kill(p, "driver process sent no time");
		break;
	case FRAME_VALUE:
		p->rows++;
		p->events->on_row(p->user, &(struct row){ buf_view(&p->key), f->args[0],
							  p->until, false });
		break;
	case FRAME_FAIL:
		if (!p->idle_limit) {	/* not a scan: `temp` says so there */
			process_kill(p, "driver process speaks out of turn");
			break;
		}
		p->rows++;
		p->events->on_row(p->user, &(struct row){ .key = buf_view(&p->key),
							  .is_failure = true });
		break;
	case FRAME_QUERY:
		if (p->is_explaining && p->events->on_query)
			p->events->on_query(p->user, f->args[0]);
		else
			process_kill(p, "driver process speaks out of turn");
		break;
	case FRAME_INFO:
		p->events->on_info(p->user, f->args[0], f->args[1]);
		break;
	case FRAME_DONE:
	case FRAME_TEMP:
	case FRAME_DOWN:
		on_end(p, f);
		break;
	default:
		process_kill(p, "driver process speaks out of turn");
		break;
	}
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *unused)
{
	struct process *p = stream->data;
	size_t used, at = 0;
	struct frame f;
	(void)unused;

	if (n < 0) {
		process_kill(p, "driver process hung up");
		return;
	}
	p->in.n += (size_t)n;
	p->last_row = clock_msec();
	while (!p->why) {
		enum parsed parsed = frame_parse(text_skip(buf_view(&p->in), at), &f, &used);

		if (parsed == NEED_MORE)
			break;
		if (parsed != PARSED) {
			process_kill(p, "driver process sent garbage");
			break;
		}
		at += used;
		on_frame(p, &f);
	}
	buf_drop(&p->in, at);
}

/* A message on its way; libuv reads its bytes until on_written(). */
struct sent {
	uv_write_t write;
	struct buf bytes;
};

static void on_written(uv_write_t *write, int status)
{
	struct sent *sent = (struct sent *)write;
	(void)status;		/* a lost driver is noticed by the reading side */

	buf_done(&sent->bytes);
	free(sent);
}

/* Takes over the bytes of `out`. */
static void send_frames(struct process *p, struct buf *out)
{
	struct sent *sent = must_calloc(1, sizeof *sent);

	sent->bytes = *out;
	*out = (struct buf){ 0 };

	uv_buf_t b = uv_buf_init(sent->bytes.p, (unsigned)sent->bytes.n);
	if (uv_write(&sent->write, (uv_stream_t *)&p->pipe, &b, 1, on_written) != 0)
		on_written(&sent->write, 0);
}

static void greet(struct process *p)
{
	const struct source_settings *s = p->settings;
	struct buf out = { 0 };

	frame_add(&out, FRAME_HELLO, TEXT("1"), text_of(s->name), TEXT(""));
	for (size_t i = 0; i < s->options.n; i++)
		frame_add(&out, FRAME_SOURCE, text_of(s->options.list[i].name),
			  text_of(s->options.list[i].value), TEXT(""));
	frame_add(&out, FRAME_START, TEXT(""), TEXT(""), TEXT(""));
	send_frames(p, &out);
}

static int spawn(struct process *p, uv_loop_t *loop, int fd)
{
	char *args[] = { p->settings->program, NULL };
	uv_stdio_container_t stdio[3] = {
		{ .flags = UV_INHERIT_FD, .data.fd = fd },
		{ .flags = UV_INHERIT_FD, .data.fd = fd },
		{ .flags = UV_INHERIT_FD, .data.fd = STDERR_FILENO },
	};
	uv_process_options_t options = {
		.file = p->settings->program,
		.args = args,
		.exit_cb = on_child_exit,
		.stdio = stdio,
		.stdio_count = 3,
	};

	return uv_spawn(loop, &p->child, &options);
}

struct process *process_start(uv_loop_t *loop, const struct source_settings *settings,
			      const struct process_events *events, void *user,
			      struct buf *ret_why)
{
	uv_os_sock_t pair[2];
	int rc = uv_socketpair(SOCK_STREAM, 0, pair, UV_NONBLOCK_PIPE, 0);

	if (rc != 0) {
		buf_printf(ret_why, "socketpair: %s", uv_strerror(rc));
		return NULL;
	}

	struct process *p = must_calloc(1, sizeof *p);
	*p = (struct process){ .settings = settings, .events = events, .user = user };
	p->child.data = p->pipe.data = p->timer.data = p;
	uv_timer_init(loop, &p->timer);
	uv_pipe_init(loop, &p->pipe, 0);
	uv_pipe_open(&p->pipe, pair[0]);
	p->open = 3;

	rc = spawn(p, loop, pair[1]);
	close(pair[1]);
	if (rc != 0) {
		buf_printf(ret_why, "%s: %s", settings->program, uv_strerror(rc));
		p->has_exited = true;
		uv_close((uv_handle_t *)&p->child, on_closed);
		process_drop(p);
		return NULL;
	}
	p->deadline = clock_msec() + settings->start_timeout;
	uv_timer_start(&p->timer, on_tick, TICK_MSEC, TICK_MSEC);
	uv_read_start((uv_stream_t *)&p->pipe, on_alloc, on_read);
	greet(p);
	return p;
}

/* Tell the process about the table unless it has been told. */
static void introduce(struct process *p, const struct process_table *table, struct text id,
		      struct buf *out)
{
	for (size_t i = 0; i < p->n_known; i++)
		if (p->known[i] == table->id)
			return;
	p->known = must(reallocarray(p->known, p->n_known + 1, sizeof *p->known));
	p->known[p->n_known++] = table->id;
	for (size_t i = 0; i < table->options->n; i++)
		frame_add(out, FRAME_TABLE, id, text_of(table->options->list[i].name),
			  text_of(table->options->list[i].value));
}

static void ask(struct process *p, enum frame_verb verb, const struct process_table *table,
		struct text key, uint64_t timeout)
{
	struct buf out = { 0 }, id = { 0 };

	assert(p->state == IDLE);
	if (p->why)	/* it has just died, and on_dead() is on its way */
		return;
	if (table) {
		buf_printf(&id, "%" PRIu64, table->id);
		introduce(p, table, buf_view(&id), &out);
	}
	frame_add(&out, verb, buf_view(&id), key, TEXT(""));
	send_frames(p, &out);
	buf_done(&id);

	p->state = ASKED;
	p->is_explaining = verb == FRAME_EXPLAIN;
	p->rows = 0;
	p->until = 0;
	buf_clear(&p->key);
	p->last_row = clock_msec();
	p->deadline = p->last_row + timeout;
	uv_timer_start(&p->timer, on_tick, TICK_MSEC, TICK_MSEC);
}

void process_lookup(struct process *p, const struct process_table *table, struct text key)
{
	ask(p, FRAME_LOOKUP, table, key, p->settings->timeout);
}

void process_explain(struct process *p, const struct process_table *table, struct text key)
{
	ask(p, FRAME_EXPLAIN, table, key, p->settings->timeout);
}

void process_scan(struct process *p, const struct process_table *table)
{
	ask(p, FRAME_SCAN, table, TEXT(""), p->settings->scan_timeout);
	p->idle_limit = p->settings->scan_idle;
}

void process_changed(struct process *p, const struct process_table *table)
{
	ask(p, FRAME_CHANGED, table, TEXT(""), p->settings->timeout);
}

void process_ping(struct process *p)
{
	ask(p, FRAME_PING, NULL, TEXT(""), p->settings->timeout);
}

void process_forget(struct process *p, uint64_t table_id)
{
	for (size_t i = 0; i < p->n_known; i++) {
		if (p->known[i] != table_id || p->why)
			continue;

		struct buf out = { 0 }, id = { 0 };
		p->known[i] = p->known[--p->n_known];
		buf_printf(&id, "%" PRIu64, table_id);
		frame_add(&out, FRAME_FORGET, buf_view(&id), TEXT(""), TEXT(""));
		send_frames(p, &out);
		buf_done(&id);
		return;
	}
}

int process_pid(const struct process *p)
{
	return (int)p->child.pid;
}
