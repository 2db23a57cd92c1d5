#include "engine/flush.h"

/* What was forgotten of a table that would ask for it; `n` keys. */
static void forgot(struct engine *e, struct table *t, size_t n, struct flushed *ret)
{
	/* In this order: a file that is written meanwhile counts as older than this. */
	atomic_fetch_add_explicit(&t->n_learnt, 1, memory_order_release);
	persist_forgotten(e->persist, t);
	ret->n += n;
	ret->is_concerned = true;
	if (t->settings->mode != TABLE_MIRROR)
		return;
	refresh_now(e->refresh, t);
	ret->is_refreshing = true;
}

struct flushed flush_map(struct engine *e, struct map *m)
{
	struct flushed f = { 0 };

	for (size_t i = 0; i < m->n_tables; i++) {
		table_doubt(m->tables[i]);
		forgot(e, m->tables[i], demand_forget_all(m->tables[i]->demand), &f);
	}
	return f;
}

/* One table: every candidate that the walk of lookup.c comes to. */
static void flush_table(struct engine *e, const struct map *m, struct table *t, struct text request,
			struct flushed *ret)
{
	struct search search = { 0 };
	bool is_asked = false;
	struct text key;
	size_t n = 0;

	if (search_start(&search, &m->settings->rules, request))
		while (search_next(&search, &key)) {
			if (!table_asks(t->settings, key))
				continue;
			is_asked = true;
			table_doubt(t);
			n += demand_forget(t->demand, key);
		}
	search_done(&search);
	if (is_asked)
		forgot(e, t, n, ret);
}

struct flushed flush_key(struct engine *e, struct map *m, struct text key)
{
	struct flushed f = { 0 };

	for (size_t i = 0; i < m->n_tables; i++)
		flush_table(e, m, m->tables[i], key, &f);
	return f;
}

/* Is the map asked for domains or hosts, and never for addresses? */
static bool is_of_domains(const struct map *m)
{
	enum search_kind kind = m->settings->rules.kind;

	return kind == SEARCH_DOMAIN || kind == SEARCH_DOMAIN_ACCESS ||
	       kind == SEARCH_NETWORK_ACCESS;
}

struct flushed flush_address(struct engine *e, struct map *m, struct text address)
{
	const char *at = text_rchr(address, '@');

	return flush_key(e, m, at && is_of_domains(m) ? text_from(address, at + 1) : address);
}
