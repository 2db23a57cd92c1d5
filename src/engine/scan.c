#include "engine/scan.h"

#include "base/clock.h"
#include "base/fold.h"
#include "base/log.h"
#include "store/timed.h"

#include <errno.h>

/* Fewer lost keys than this are never suspicious (max_shrink). */
#define SHRINK_KEYS 20

/* Keys of a new mirror that are looked up live, to see whether query and scan agree. */
#define SAMPLES 8

/* Bytes of values that are not compared one by one. */
#define LONG_LIST 65536

/* --- rows ----------------------------------------------------------------------------------- */

struct mirror_limits scan_limits(const struct table_settings *s)
{
	return (struct mirror_limits){
		.max_entries = s->max_entries,
		.max_bytes = s->max_bytes,
		.max_value = VALUE_MAX,
		.max_values = s->expansion_limit,
		.is_distinct = s->distinct_values,
	};
}

bool scan_begin(struct scan *s)
{
	const struct mirror_limits limits = scan_limits(s->table->settings);

	s->samples = 0;
	s->began = s->born = clock_msec();
	s->builder = mirror_builder_new(&limits);
	return s->builder != NULL;
}

/* Why the builder has just given up. */
static const char *limit_or_memory(void)
{
	return errno == ENOMEM ? "out of memory" : "max_entries or max_bytes exceeded";
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

/* The row's value as a mirror keeps it. */
static struct text value_of(struct scan *s, uint64_t until)
{
	if (until == 0)
		return buf_view(&s->value);
	buf_clear(&s->timed);
	timed_add(&s->timed, until, buf_view(&s->value));
	return buf_view(&s->timed);
}

const char *scan_row(struct scan *s, const struct row *row)
{
	/* With a NUL drivers say "no use", whatever result_format would make of it. */
	bool is_bad = text_chr(row->value, '\0');
	bool is_kept;

	if (row->key.n == 0)
		return "driver process sent a value without a key";
	set_key(s, row->key);
	if (row->is_failure)
		return mirror_add_failed(s->builder, buf_view(&s->key)) ? NULL : limit_or_memory();
	buf_clear(&s->value);
	if (row->value.n == 0)
		return NULL;
	if (!is_bad &&
	    (!template_expand(s->table->settings->result_format, buf_view(&s->key), row->value,
			      NULL, NULL, &s->value) ||
	     s->value.n == 0))
		return NULL;
	if (is_bad || s->is_bad_key || value_unusable(buf_view(&s->value)))
		is_kept = mirror_add_bad(s->builder, buf_view(&s->key));
	else
		is_kept = mirror_add(s->builder, buf_view(&s->key), value_of(s, row->until));
	return is_kept ? NULL : limit_or_memory();
}

size_t scan_rows(const struct scan *s)
{
	return s->builder ? mirror_builder_rows(s->builder) : 0;
}

/* --- the verdict ---------------------------------------------------------------------------- */

enum scan_fault scan_verdict(const struct table_settings *s, const struct judged *j)
{
	size_t now = mirror_entries(j->new), before = j->old ? mirror_entries(j->old) : 0;

	if (j->bad * 100 > j->rows)
		return SCAN_UNUSABLE_ROWS;
	if (rejection_lacks(s, j->new))
		return SCAN_LACKS_KEY;
	if (now < s->min_entries)
		return SCAN_TOO_SMALL;
	if (before > now + SHRINK_KEYS && (before - now) * 100 > before * s->max_shrink)
		return SCAN_SHRUNKEN;
	return SCAN_GOOD;
}

/* Note the fault. True: the scan is to be published all the same, which is logged. */
static bool is_accepted(struct table *t, const struct judged *j)
{
	uint64_t now = clock_msec();

	pthread_mutex_lock(&t->lock);
	bool is_operator = t->rejection.is_accepted;
	bool is_wanted = rejection_add(&t->rejection, t->settings, j, now);
	struct rejection r = t->rejection;
	pthread_mutex_unlock(&t->lock);

	struct log_field fields[] = {
		F_STR("map", t->map), F_STR("source", t->settings->source),
		F_STR("why", scan_fault_name(r.fault)), F_NUM("old", r.old), F_NUM("new", r.new),
		F_NUM("rows", r.rows), F_NUM("bad", r.bad), F_NUM("times", r.times),
		F_MSEC("since", now - r.since), F_MSEC("same_since", now - r.same_since),
		F_KEYS("missing", r.missing), F_STR("by", is_operator ? "operator" : "shrink_confirm"),
	};
	size_t n = sizeof fields / sizeof *fields;

	if (is_wanted)
		log_event(LOG_AT_WARN, "rejection_accepted", t->map, fields, n);
	else
		log_event(LOG_AT_ERROR, "refresh_rejected", t->map, fields, n - 1);
	return is_wanted;
}

bool scan_accept(struct table *t)
{
	pthread_mutex_lock(&t->lock);
	bool is_rejected = t->rejection.times > 0;
	t->rejection.is_accepted = is_rejected;
	pthread_mutex_unlock(&t->lock);
	return is_rejected;
}

static void free_mirror(void *mirror)
{
	mirror_free(mirror);
}

/* The one place where a scan's mirror becomes visible; restore_table() has those of snapshots. */
static void publish(struct scan *s, struct mirror *mirror, struct loops *loops)
{
	struct table *t = s->table;
	struct mirror *old = atomic_exchange(&t->mirror, mirror);

	pthread_mutex_lock(&t->lock);
	t->rejection = (struct rejection){ 0 };
	pthread_mutex_unlock(&t->lock);
	if (old)
		loops_retire(loops, &loops->refresh, old, free_mirror);
	log_info("refreshed", t->map, F_STR("map", t->map), F_STR("source", t->settings->source),
		 F_NUM("entries", mirror_entries(mirror)), F_NUM("bytes", mirror_bytes(mirror)),
		 F_MSEC("took", clock_msec() - s->began));
	s->samples = SAMPLES;
}

enum scan_end scan_finish(struct scan *s, struct loops *loops, const char **ret_why)
{
	struct table *t = s->table;
	struct judged j = {
		.old = atomic_load(&t->mirror),
		.rows = mirror_builder_rows(s->builder), .bad = mirror_builder_bad(s->builder),
	};
	struct mirror *scanned = mirror_seal(s->builder, s->born);

	*ret_why = scanned ? NULL : limit_or_memory();
	s->builder = NULL;
	scan_abandon(s);
	if (!scanned)
		return SCAN_LOST;

	j.new = scanned;
	j.fault = scan_verdict(t->settings, &j);
	if (j.fault != SCAN_GOOD && !is_accepted(t, &j)) {
		mirror_free(scanned);
		return SCAN_REJECTED;
	}
	publish(s, scanned, loops);
	return SCAN_PUBLISHED;
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
	buf_done(&s->timed);
	values_done(&s->live);
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

static bool holds(struct text list, struct text item)
{
	struct text one;

	while (text_next(&list, ",", &one))
		if (text_eq(one, item))
			return true;
	return false;
}

bool scan_is_same(struct text a, struct text b)
{
	struct text rest = a, item;

	if (a.n != b.n)
		return false;
	if (a.n > LONG_LIST || text_eq(a, b))
		return true;
	while (text_next(&rest, ",", &item))
		if (!holds(b, item))
			return false;
	return true;
}

/* Another answer means that scan_query is not the same question as the template, or a collation. */
void scan_compare(struct scan *s)
{
	struct table *t = s->table;
	struct answer live = values_answer(&s->live);
	struct text copied = s->sampled;
	enum mirror_says says = table_read(&copied, &s->timed);

	if (live.verdict == TEMP || says == MIRROR_BAD ||
	    (live.verdict == FOUND && says == MIRROR_HIT && scan_is_same(live.value, copied)) ||
	    (live.verdict == NOTFOUND && says == MIRROR_ABSENT))
		return;
	atomic_fetch_add_explicit(&t->n_differing, 1, memory_order_relaxed);
	log_warn("mirror_differs", t->map, F_STR("map", t->map),
		 F_STR("source", t->settings->source), F_KEY("key", s->sampled_key),
		 F_STR("why", live.verdict == FOUND ? "lookup has another value" :
						      "lookup does not find the key"));
}
