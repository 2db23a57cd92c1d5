#include "engine/scan.h"

#include "base/clock.h"
#include "base/fold.h"
#include "base/log.h"

/* Fewer lost keys than this are never suspicious (max_shrink). */
#define SHRINK_KEYS 20

/* Keys of a new mirror that are looked up live, to see whether query and scan agree. */
#define SAMPLES 8

/* --- rows ----------------------------------------------------------------------------------- */

bool scan_begin(struct scan *s)
{
	const struct table_settings *t = s->table->settings;
	const struct mirror_limits limits = {
		.max_entries = t->max_entries,
		.max_bytes = t->max_bytes,
		.max_value = VALUE_MAX,
		.max_values = t->expansion_limit,
	};

	s->samples = 0;
	s->began = clock_msec();
	s->builder = mirror_builder_new(&limits);
	return s->builder != NULL;
}

/* Take the key of the coming values. */
static void set_key(struct scan *s, struct text key)
{
	if (text_eq(key, buf_view(&s->row_key)))
		return;
	buf_clear(&s->row_key);
	buf_text(&s->row_key, key);
	buf_clear(&s->key);
	s->is_bad_key = !fold(key, &s->key) || text_chr(key, '\0');
}

const char *scan_row(struct scan *s, const struct row *row)
{
	bool is_kept;

	if (row->key.n == 0)
		return "driver process sent a value without a key";
	set_key(s, row->key);
	buf_clear(&s->value);
	if (row->value.n == 0 ||
	    !template_expand(s->table->settings->result_format, buf_view(&s->key), row->value,
			     NULL, NULL, &s->value) ||
	    s->value.n == 0)
		return NULL;
	if (s->is_bad_key || value_unusable(buf_view(&s->value)))
		is_kept = mirror_add_bad(s->builder, buf_view(&s->key));
	else
		is_kept = mirror_add(s->builder, buf_view(&s->key), buf_view(&s->value));
	return is_kept ? NULL : "max_entries or max_bytes exceeded";
}

size_t scan_rows(const struct scan *s)
{
	return s->builder ? mirror_builder_rows(s->builder) : 0;
}

/* --- the verdict ---------------------------------------------------------------------------- */

const char *scan_verdict(const struct table_settings *s, const struct mirror *old,
			 const struct mirror *scanned, size_t n_rows, size_t n_bad)
{
	size_t now = mirror_entries(scanned), before = old ? mirror_entries(old) : 0;
	struct text ignored;

	if (now < s->min_entries)
		return "fewer keys than min_entries";
	if (n_bad * 100 > n_rows)
		return "more than 1% unusable rows";
	if (before > now + SHRINK_KEYS && (before - now) * 100 > before * s->max_shrink)
		return "shrunken by more than max_shrink";
	for (size_t i = 0; i < s->n_expect; i++)
		if (mirror_find(scanned, s->expect[i], &ignored) != MIRROR_HIT)
			return "a key of `expect` is missing";
	return NULL;
}

static void free_mirror(void *mirror)
{
	mirror_free(mirror);
}

/* The one place where a mirror becomes visible. */
static void publish(struct scan *s, struct mirror *mirror, struct loops *loops)
{
	struct table *t = s->table;
	struct mirror *old = atomic_exchange(&t->mirror, mirror);

	if (old)
		loops_retire(loops, &loops->refresh, old, free_mirror);
	log_info("refreshed", t->map, F_STR("map", t->map), F_STR("source", t->settings->source),
		 F_NUM("entries", mirror_entries(mirror)), F_NUM("bytes", mirror_bytes(mirror)),
		 F_MSEC("took", clock_msec() - s->began));
	s->samples = SAMPLES;
}

const char *scan_finish(struct scan *s, struct loops *loops)
{
	const struct table *t = s->table;
	const struct mirror *old = atomic_load(&t->mirror);
	size_t rows = mirror_builder_rows(s->builder), bad = mirror_builder_bad(s->builder);
	struct mirror *scanned = mirror_seal(s->builder, s->began);

	s->builder = NULL;
	scan_abandon(s);
	if (!scanned)
		return "max_entries or max_bytes exceeded";

	const char *why = scan_verdict(t->settings, old, scanned, rows, bad);
	if (!why) {
		publish(s, scanned, loops);
		return NULL;
	}
	log_error("refresh_rejected", t->map, F_STR("map", t->map),
		  F_STR("source", t->settings->source), F_STR("why", why),
		  F_NUM("old", old ? mirror_entries(old) : 0), F_NUM("new", mirror_entries(scanned)));
	mirror_free(scanned);
	return why;
}

void scan_abandon(struct scan *s)
{
	mirror_builder_free(s->builder);
	s->builder = NULL;
	buf_clear(&s->row_key);
	buf_clear(&s->key);
}

void scan_done(struct scan *s)
{
	scan_abandon(s);
	buf_done(&s->key);
	buf_done(&s->row_key);
	buf_done(&s->value);
	buf_done(&s->live.text);
}

/* --- the comparison --------------------------------------------------------------------------- */

bool scan_sample(struct scan *s, uint64_t random, struct text *ret_key)
{
	const struct mirror *m = atomic_load(&s->table->mirror);

	if (s->samples == 0 || !mirror_sample(m, random, &s->sampled_key, &s->sampled) ||
	    !table_asks(s->table->settings, s->sampled_key))
		return false;
	s->samples--;
	values_clear(&s->live);
	*ret_key = s->sampled_key;
	return true;
}

void scan_live(struct scan *s, struct text value)
{
	values_add(&s->live, s->table->settings, s->sampled_key, value);
}

/* Another answer means that scan_query is not the same question as the template, or a collation. */
void scan_compare(struct scan *s)
{
	struct table *t = s->table;
	struct answer live = values_answer(&s->live);

	if (live.verdict == TEMP || (live.verdict == FOUND && text_eq(live.value, s->sampled)))
		return;
	atomic_fetch_add_explicit(&t->n_differing, 1, memory_order_relaxed);
	log_warn("mirror_differs", t->map, F_STR("map", t->map),
		 F_STR("source", t->settings->source), F_KEY("key", s->sampled_key),
		 F_STR("why", live.verdict == FOUND ? "lookup has another value" :
						      "lookup does not find the key"));
}
