#include "daemon/report.h"

#include "base/clock.h"
#include "base/must.h"
#include "daemon/acceptor.h"
#include "engine/inquiry.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <sys/un.h>

/* --- maps -------------------------------------------------------------------------------- */

static enum table_state worse(enum table_state a, enum table_state b)
{
	if (a == TABLE_EMPTY || b == TABLE_EMPTY)
		return TABLE_EMPTY;
	return a > b ? a : b;
}

static void take_table(struct report_table *r, struct table *t, uint64_t now)
{
	const struct mirror *mirror = atomic_load_explicit(&t->mirror, memory_order_acquire);
	const struct table_settings *s = t->settings;

	*r = (struct report_table){
		.source = must_strdup(s->source),
		.is_mirror = s->mode == TABLE_MIRROR,
		.state = table_state(t, now),
		.cached = demand_entries(t->demand),
		.cache_bytes = demand_bytes(t->demand),
		.differing = count_of(&t->n_differing),
		.refresh = s->refresh,
		.max_age = s->max_age,
		.rejection = table_rejection(t),
		.scans = table_scans(t),
	};
	if (mirror) {
		r->born = mirror_born(mirror);
		r->entries = mirror_entries(mirror);
		r->bytes = mirror_bytes(mirror);
	}
}

/* What its mirrors say together. */
static void judge_map(struct report_map *r)
{
	enum table_state state = TABLE_FRESH;
	uint64_t born = UINT64_MAX;
	bool has_mirror = false;

	for (size_t i = 0; i < r->n_tables; i++) {
		const struct report_table *t = &r->tables[i];

		if (!t->is_mirror)
			continue;
		has_mirror = true;
		state = worse(state, t->state);
		born = t->born < born ? t->born : born;
	}
	r->state = has_mirror ? table_state_name(state) : "DEMAND";
	r->is_ready = state == TABLE_FRESH || state == TABLE_STALE;
	r->born = has_mirror ? born : 0;
}

static struct report_export take_export(const struct map *m)
{
	const struct export_status *s = &m->export;

	if (!m->settings->export_path)
		return (struct report_export){ 0 };
	return (struct report_export){
		must_strdup(m->settings->export_path), s->has_failed, s->current_at, s->entries,
		s->bad,
	};
}

static void take_map(struct report_map *r, const struct map *m, size_t n_loops, uint64_t now)
{
	r->name = must_strdup(m->settings->name);
	r->search = m->settings->rules.kind;
	r->is_secret = m->settings->is_secret;
	counters_sum(m->counters, n_loops, &r->counts);
	r->export = take_export(m);
	r->n_tables = m->n_tables;
	r->tables = must_calloc(m->n_tables, sizeof *r->tables);
	for (size_t i = 0; i < m->n_tables; i++)
		take_table(&r->tables[i], m->tables[i], now);
	judge_map(r);
}

static void take_maps(struct report *r, const struct registry *from)
{
	size_t size = (from->n_maps + 1) * sizeof *r->maps;

	r->n_maps = from->n_maps;
	r->maps = memset(must(aligned_alloc(_Alignof(struct report_map), size)), 0, size);
	for (size_t i = 0; i < r->n_maps; i++)
		take_map(&r->maps[i], from->maps[i], from->loops->n_answers, r->now);
}

/* --- everything else --------------------------------------------------------------------- */

static void take_sources(struct report *r, const struct registry *from)
{
	r->n_sources = from->n_sources;
	r->sources = must_calloc(r->n_sources + 1, sizeof *r->sources);
	for (size_t i = 0; i < r->n_sources; i++) {
		const struct source_settings *s = source_settings(from->sources[i]);

		r->sources[i] = (struct report_source){
			must_strdup(s->name), must_strdup(s->driver), source_stats(from->sources[i]),
		};
		r->sources[i].stats.name = NULL;
	}
}

static const char *protocol_of(const struct listener_settings *s)
{
	if (s->kind == LISTENER_TABLES)
		return s->protocol->name;
	return s->kind == LISTENER_CONTROL ? "control" : "http";
}

/* "unix:/path", "inet:127.0.0.1:8999"; NULL: it has none that others could use. */
static char *address_of(int fd)
{
	union {
		struct sockaddr any;
		struct sockaddr_un un;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} a = { 0 };
	socklen_t n = sizeof a.un;
	char host[INET6_ADDRSTRLEN] = "";
	struct buf text = { 0 };

	if (getsockname(fd, &a.any, &n) != 0)
		return NULL;
	if (a.any.sa_family == AF_UNIX && a.un.sun_path[0])
		buf_printf(&text, "unix:%.*s", (int)sizeof a.un.sun_path, a.un.sun_path);
	else if (a.any.sa_family == AF_INET && inet_ntop(AF_INET, &a.in.sin_addr, host, sizeof host))
		buf_printf(&text, "inet:%s:%u", host, ntohs(a.in.sin_port));
	else if (a.any.sa_family == AF_INET6 &&
		 inet_ntop(AF_INET6, &a.in6.sin6_addr, host, sizeof host))
		buf_printf(&text, "inet:[%s]:%u", host, ntohs(a.in6.sin6_port));
	return text.n ? buf_take(&text) : NULL;
}

/*
 * Of an inherited name only the sockets know; sockets of ours only know where they were bound first,
 * before they were placed.
 */
static void take_sockets(struct report_listener *to, const struct listener *from)
{
	size_t n = 0;

	to->sockets = must_calloc(from->n_gates + 1, sizeof *to->sockets);
	for (size_t i = 0; from->is_inherited && i < from->n_gates; i++)
		if ((to->sockets[n] = address_of(from->gates[i].fd)))
			n++;
	if (!from->is_inherited)
		to->sockets[n] = must_strdup(from->settings->address);
}

static void take_listeners(struct report *r, const struct acceptor *a)
{
	r->n_listeners = a->n;
	r->listeners = must_calloc(a->n + 1, sizeof *r->listeners);
	for (size_t i = 0; i < a->n; i++) {
		const struct listener *from = a->listeners[i];
		struct report_listener *to = &r->listeners[i];

		to->protocol = must_strdup(protocol_of(from->settings));
		to->is_http = from->settings->kind != LISTENER_TABLES;
		to->address = must_strdup(from->settings->address);
		to->map = from->settings->map ? must_strdup(from->settings->map) : NULL;
		take_sockets(to, from);
		for (size_t k = 0; k < a->loops->n_answers; k++)
			for (size_t n = 0; n < LISTENER_COUNTS; n++)
				to->counts[n] += count_of(&from->counters[k].n[n]);
	}
}

static void take_clients(struct report *r, const struct acceptor *a)
{
	r->clients = admission_clients(a->admission);
	r->accepted = a->n_accepted;
	r->refused = a->n_refused;
	r->refused_address = a->n_refused_address;
	r->evicted = a->n_evicted;
	for (size_t i = 0; i < a->loops->n_answers; i++)
		r->unknown_map += count_of(&a->answers[i].n_unknown_map);
}

void report_take(struct report *r, const struct admin *a)
{
	const struct registry *from = engine_registry(a->engine);

	*r = (struct report){
		.now = clock_msec(),
		.wall = clock_wall_msec(),
		.phase = (enum admin_phase)atomic_load(&a->phase),
		.reloads = a->reloads,
		.max_clients = a->max_clients,
		.snapshots = persist_stats(a->engine->persist),
		.exports = exports_stats(a->engine->exports),
	};
	take_clients(r, a->acceptor);
	take_maps(r, from);
	take_sources(r, from);
	take_listeners(r, a->acceptor);
}

/* --- life -------------------------------------------------------------------------------- */

void report_clear(struct report *r)
{
	for (size_t i = 0; i < r->n_maps; i++) {
		for (size_t k = 0; k < r->maps[i].n_tables; k++)
			free(r->maps[i].tables[k].source);
		free(r->maps[i].tables);
		free(r->maps[i].export.path);
		free(r->maps[i].name);
	}
	for (size_t i = 0; i < r->n_sources; i++) {
		free(r->sources[i].name);
		free(r->sources[i].driver);
	}
	for (size_t i = 0; i < r->n_listeners; i++) {
		free(r->listeners[i].protocol);
		free(r->listeners[i].address);
		free(r->listeners[i].map);
		for (char **s = r->listeners[i].sockets; s && *s; s++)
			free(*s);
		free(r->listeners[i].sockets);
	}
	free(r->maps);
	free(r->sources);
	free(r->listeners);
}

/* On its way to the control loop, and back. */
struct errand {
	struct report report;
	const struct admin *admin;
};

static void run_errand(struct inquiry *q, void *ctx)
{
	struct errand *e = ctx;

	report_take(&e->report, e->admin);
	inquiry_end(q);
}

void report_free(struct report *r)
{
	if (r)
		report_clear(r);
	free(r);
}

static void drop_errand(void *ctx)
{
	report_free(ctx);	/* its first member */
}

struct report *report_get(struct admin *a)
{
	struct errand *e = must_calloc(1, sizeof *e);

	e->admin = a;
	if (!inquiry_run(&a->engine->loops.control, run_errand, e, drop_errand, ADMIN_PATIENCE))
		return NULL;
	return &e->report;
}
