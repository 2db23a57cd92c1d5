#include "engine/source.h"

#include "engine/table.h"

/* Bytes of the queries of one lookup that are kept. */
#define QUERIES_MAX ((size_t)64 << 10)

void source_probe(struct table *table, struct probe *p)
{
	p->job.table = table;
	p->job.probe = p;
	p->job.is_retried = false;
	p->is_cut = false;
	p->took = 0;
	buf_clear(&p->why);
	buf_clear(&p->queries);
	source_submit(&p->job);
}

void probe_query(struct probe *p, struct text query)
{
	size_t at = p->queries.n;

	if (p->is_cut)
		return;
	p->is_cut = at + query.n >= QUERIES_MAX;
	buf_text(&p->queries, p->is_cut ? TEXT("(more was sent than is shown)") : query);
	for (; at < p->queries.n; at++)
		if (p->queries.p[at] == '\0')
			p->queries.p[at] = ' ';
	buf_byte(&p->queries, '\0');
}

void probe_end(struct probe *p, struct answer answer)
{
	struct table *table = p->job.table;

	p->verdict = answer.verdict;
	p->reason = answer.reason;
	buf_clear(&p->text);
	buf_text(&p->text, answer.value);
	p->on_end(p);
	table_unref(table);
}

void probe_done(struct probe *p)
{
	buf_done(&p->job.key);
	buf_done(&p->text);
	buf_done(&p->why);
	buf_done(&p->queries);
}
