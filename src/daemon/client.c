#include "daemon/client.h"

#include "base/clock.h"
#include "base/log.h"
#include "engine/trace.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* Replies collected before they are written and the next client gets its turn. */
#define OUT_HIGH ((size_t)256 << 10)

/* While the server stops: how long somebody who has just been let in may take to ask. */
#define FIRST_REQUEST_MSEC 1000

static const struct listener_settings *limits(const struct client *c)
{
	return c->listener->settings;
}

/* --- its end -------------------------------------------------------------------------------- */

static void on_closed(uv_handle_t *handle)
{
	struct client *c = handle->data;
	struct answers *a = c->answers;

	buf_done(&c->in);
	buf_done(&c->out);
	buf_done(&c->later);
	listener_unref(c->listener);
	c->message.run = a->on_client_gone;
	loop_post(&a->engine->loops.control, &c->message);
}

void client_close(struct client *c)
{
	struct answers *a = c->answers;

	if (c->is_closing)
		return;
	c->is_closing = true;
	if (c->ask) {
		/* It comes home to nobody; what it learns still fills the cache. */
		answers_unpark(a, c->ask);
		c->ask->owner = NULL;
		c->ask = NULL;
	}
	if (c->is_waiting) {
		struct client **at = &a->waiting;

		while (*at != c)
			at = &(*at)->next_waiting;
		*at = c->next_waiting;
	}
	if (c->prev)
		c->prev->next = c->next;
	else
		a->clients = c->next;
	if (c->next)
		c->next->prev = c->prev;
	atomic_store_explicit(&c->seat->client, NULL, memory_order_relaxed);
	loop_close_stream(&c->uv.stream, on_closed);
	answers_check_drained(a);
}

static void count_listener(const struct client *c, enum listener_counter which)
{
	count_up(&c->listener->counters[c->answers->loop->index].n[which], 1);
}

static void refuse(struct client *c, enum listener_counter which, const char *why)
{
	count_listener(c, which);
	log_info("client_closed", c->listener->settings->address,
		 F_STR("listener", c->listener->settings->address), F_STR("why", why));
	client_close(c);
}

/* Has it said something that we have not read yet? Closing then would be a reset to it. */
static bool has_more(const struct client *c)
{
	uv_os_fd_t fd;
	char byte;

	return uv_fileno(&c->uv.handle, &fd) == 0 &&
	       recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

/* It has come to ask, and its first request is on the way. */
static bool is_new(const struct client *c)
{
	return !c->has_asked && clock_msec() < c->last_active + FIRST_REQUEST_MSEC;
}

/* It has got all that it asked for, and will not or, while we stop, cannot ask more. */
static bool is_done(const struct client *c)
{
	if (c->ask || c->is_writing || c->is_waiting)
		return false;
	return c->has_ended || (c->answers->is_draining && !has_more(c) && !is_new(c));
}

void client_finish(struct client *c)
{
	if (is_done(c))
		client_close(c);
}

/* --- output --------------------------------------------------------------------------------- */

static void write_out(struct client *c);

static void on_written(uv_write_t *write, int status)
{
	struct client *c = write->data;

	c->is_writing = false;
	buf_clear(&c->out);
	if (c->is_closing)
		return;
	if (status != 0) {
		client_close(c);
		return;
	}
	if (c->later.n) {
		struct buf spare = c->out;

		c->out = c->later;
		c->later = spare;
		write_out(c);
		return;
	}
	if (!c->is_waiting)	/* else its turn comes */
		client_turn(c);
}

/* Leave c->out to libuv. */
static void write_out(struct client *c)
{
	uv_buf_t b = uv_buf_init(c->out.p, (unsigned)c->out.n);

	c->is_writing = true;
	c->written = clock_msec();
	c->write.data = c;
	if (uv_write(&c->write, &c->uv.stream, &b, 1, on_written) != 0) {
		c->is_writing = false;
		client_close(c);
	}
}

/* Send the replies of this callback; what the socket does not take at once waits in c->out. */
static void flush(struct client *c)
{
	struct buf *out = &c->answers->out;
	int sent = 0;

	if (out->n == 0 || c->is_closing)
		return;
	if (!c->is_writing) {
		uv_buf_t b = uv_buf_init(out->p, (unsigned)out->n);

		sent = uv_try_write(&c->uv.stream, &b, 1);
		if (sent < 0 && sent != UV_EAGAIN) {
			client_close(c);
			return;
		}
		sent = sent < 0 ? 0 : sent;
	}
	if ((size_t)sent < out->n) {
		buf_text(c->is_writing ? &c->later : &c->out, text_skip(buf_view(out), (size_t)sent));
		if (c->out.n + c->later.n > limits(c)->max_unread)
			refuse(c, LISTENER_UNREAD, "reads no replies");
		else if (!c->is_writing)
			write_out(c);
	}
}

/* --- requests ------------------------------------------------------------------------------- */

/* One more answer of `map`; `sent` is what became of it. */
static void count_answer(struct client *c, struct map *map, struct answer answer, enum verdict sent,
			 uint64_t usec)
{
	struct counters *n = &map->counters[c->answers->loop->index];
	struct tally tally = c->answers->lookup.tally;

	count_up(&n->replies[limits(c)->protocol->kind][sent], 1);
	histogram_add(&n->took, &lookup_bounds, usec);
	if (sent == TEMP)
		count_up(&n->temps[answer.verdict == FOUND ? REASON_TOO_LONG : answer.reason], 1);
	else if (tally.is_stale)
		count(n, sent == FOUND ? COUNT_STALE_HITS : COUNT_STALE_MISSES);
	if (sent == FOUND)
		count_up(&n->hits[tally.step < COUNTED_STEPS ? tally.step : COUNTED_STEPS - 1], 1);
}

/* Tell those who watch, but nobody of secret maps. */
static void tell(const struct client *c, const struct request *request, const struct map *map,
		 struct answer answer, enum verdict sent, uint64_t usec)
{
	static const struct tally none;

	if (map && map->settings->is_secret)
		return;
	if (sent != answer.verdict)
		answer = (struct answer){ .verdict = sent, .value = TEXT("value too long") };
	trace_tell(request->map, request->key, &answer, limits(c)->protocol->kind,
		   map ? &c->answers->lookup.tally : &none, usec);
}

/* To a request that came at `since`, usec. Returns the time. */
static uint64_t respond(struct client *c, const struct request *request, struct answer answer,
			struct map *map, uint64_t since)
{
	enum verdict sent = limits(c)->protocol->reply(answer, &c->answers->out);
	uint64_t now = clock_usec();

	count_listener(c, LISTENER_REQUESTS);
	if (map)
		count_answer(c, map, answer, sent, now - since);
	else if (answer.reason == REASON_UNKNOWN_MAP)
		count_up(&c->answers->n_unknown_map, 1);
	if (trace_is_on())
		tell(c, request, map, answer, sent, now - since);
	if (sent != answer.verdict && map)
		log_error("value_too_long", map->settings->name, F_STR("map", map->settings->name),
			  F_NUM("bytes", answer.value.n));
	return now;
}

static void wait_for(struct client *c, struct ask *ask)
{
	ask->owner = c;
	c->ask = ask;
	answers_park(c->answers, ask);
}

/* At `now`, usec; returns the time afterwards. */
static uint64_t answer(struct client *c, const struct request *request, uint64_t now)
{
	struct answers *a = c->answers;
	struct request r = { limits(c)->map ? text_of(limits(c)->map) : request->map, request->key };
	struct answer found;
	struct map *map;
	struct ask *ask = lookup_run(&a->lookup, engine_registry(a->engine), r.map, r.key, NULL,
				     now / 1000, &found, &map);

	if (!ask)
		return respond(c, &r, found, map, now);
	count(&map->counters[a->loop->index], COUNT_ASKED);
	c->asked = now;
	wait_for(c, ask);
	return now;
}

/* Answer from the front of `in` as much as may be answered at `now`, usec; returns the bytes used. */
static size_t serve(struct client *c, struct text in, uint64_t now)
{
	struct answers *a = c->answers;
	const struct protocol *protocol = limits(c)->protocol;
	struct request request;
	unsigned answered = 0;
	size_t used, at = 0;

	while (!c->ask && !c->is_writing && at < in.n) {
		if (answered++ == limits(c)->max_pipelined || a->out.n > OUT_HIGH) {
			answers_again(a, c);
			break;
		}

		enum parsed parsed = protocol->parse(text_skip(in, at), limits(c)->max_request,
						     &a->scratch, &request, &used);
		switch (parsed) {
		case PARSED:
			at += used;
			now = answer(c, &request, now);
			c->began = 0;
			continue;
		case MEANINGLESS:
			at += used;
			count_listener(c, LISTENER_REQUEST);
			request = (struct request){ 0 };
			now = respond(c, &request, answer_perm("bad request"), NULL, now);
			c->began = 0;
			continue;
		case NEED_MORE:
			if (!c->began)
				c->began = now / 1000;
			return at;
		case MALFORMED:
		case OVERLONG:
			count_listener(c, parsed == OVERLONG ? LISTENER_TOO_LONG : LISTENER_SYNTAX);
			log_info("protocol_error", limits(c)->address,
				 F_STR("listener", limits(c)->address),
				 F_KEY("bytes", text_skip(in, at)));
			c->has_ended = true;
			return in.n;
		}
	}
	return at;
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
	struct client *c = handle->data;
	(void)suggested;

	*ret = uv_buf_init(c->answers->in, sizeof c->answers->in);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *b);

/* Read while nothing is owed, so that a client cannot pile up work or replies. */
static void set_reading(struct client *c)
{
	bool wanted = !c->ask && !c->is_writing && !c->is_waiting && !c->has_ended;

	if (c->is_closing || wanted == c->is_reading)
		return;
	c->is_reading = wanted;
	if (!wanted)
		uv_read_stop(&c->uv.stream);
	else if (uv_read_start(&c->uv.stream, on_alloc, on_read) != 0)
		client_close(c);
}

/* After its requests: write, close if that was all, see to reading and to its place in the queue. */
static void settle(struct client *c, uint64_t usec)
{
	flush(c);
	buf_clear(&c->answers->out);
	if (c->is_closing)
		return;
	if (is_done(c)) {
		client_close(c);
		return;
	}
	c->last_active = usec / 1000;
	atomic_store_explicit(&c->seat->idle_since,
			      c->ask || c->is_writing || c->is_waiting || c->began ||
					      !limits(c)->protocol->is_evictable ? 0 : usec,
			      memory_order_relaxed);
	set_reading(c);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *b)
{
	struct client *c = stream->data;
	uint64_t usec = clock_usec();

	if (n == 0)
		return;
	if (n < 0) {
		c->has_ended = true;
		if (n != UV_EOF)
			client_close(c);	/* a reset: normal when smtpd exits */
		else
			client_finish(c);
		return;
	}
	c->has_asked = true;
	if (c->in.n == 0) {
		struct text in = { b->base, (size_t)n };

		buf_text(&c->in, text_skip(in, serve(c, in, usec)));
	} else {
		buf_add(&c->in, b->base, (size_t)n);
		buf_drop(&c->in, serve(c, buf_view(&c->in), usec));
	}
	settle(c, usec);
}

void client_turn(struct client *c)
{
	uint64_t usec = clock_usec();

	c->is_waiting = false;
	buf_drop(&c->in, serve(c, buf_view(&c->in), usec));
	settle(c, usec);
}

void client_resume(struct client *c, struct ask *ask, bool is_late)
{
	struct answers *a = c->answers;
	struct registry *r = engine_registry(a->engine);
	struct request request = { buf_view(&ask->map), buf_view(&ask->key) };
	struct answer found;
	struct map *map;
	uint64_t usec = clock_usec(), now = usec / 1000;
	struct ask *next = is_late ? lookup_expire(&a->lookup, r, ask, now, &found, &map) :
				     lookup_run(&a->lookup, r, request.map, request.key, ask, now,
						&found, &map);

	c->ask = NULL;
	if (next)
		wait_for(c, next);
	else
		usec = respond(c, &request, found, map, c->asked);
	buf_drop(&c->in, serve(c, buf_view(&c->in), usec));
	settle(c, usec);
}

/* --- its limits ------------------------------------------------------------------------------- */

void client_check(struct client *c, uint64_t now)
{
	const struct listener_settings *l = limits(c);

	if (is_done(c)) {
		client_close(c);
	} else if (c->is_writing) {
		if (now >= c->written + l->write_timeout)
			refuse(c, LISTENER_UNREAD, "reads no replies");
	} else if (c->ask || c->is_waiting) {
		return;
	} else if (c->began) {
		if (l->request_timeout && now >= c->began + l->request_timeout)
			refuse(c, LISTENER_TIMEOUT, "request not finished in time");
	} else if (l->idle_timeout && now >= c->last_active + l->idle_timeout) {
		client_close(c);
	}
}

void client_evict(struct message *message)
{
	struct eviction *e = (struct eviction *)message;
	struct client *c;

	for (c = e->answers->clients; c; c = c->next)
		if (c == e->client && c->seat == e->seat)
			break;
	if (c)
		client_close(c);
	free(e);
}

/* --- its beginning ----------------------------------------------------------------------------- */

static int open_stream(struct client *c, uv_loop_t *loop)
{
	if (c->is_unix) {
		uv_pipe_init(loop, &c->uv.pipe, 0);
		return uv_pipe_open(&c->uv.pipe, c->fd);
	}
	uv_tcp_init(loop, &c->uv.tcp);
	return uv_tcp_open(&c->uv.tcp, c->fd);
}

void client_begin(struct message *message)
{
	struct client *c = (struct client *)((char *)message - offsetof(struct client, message));
	struct answers *a = c->answers;
	int rc = open_stream(c, &a->loop->uv);

	c->uv.handle.data = c;
	c->last_active = clock_msec();
	c->next = a->clients;
	if (c->next)
		c->next->prev = c;
	a->clients = c;
	atomic_store_explicit(&c->seat->client, c, memory_order_relaxed);
	if (rc != 0) {
		close(c->fd);
		client_close(c);
		return;
	}
	settle(c, clock_usec());
}
