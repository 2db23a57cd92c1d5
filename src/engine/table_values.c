/* What a source brought for one key, as a value. */
#include "engine/table.h"

#include "base/fold.h"
#include "base/hash.h"

const char *value_unusable(struct text value)
{
	if (text_chr(value, '\0'))
		return "value with a NUL";
	return utf8_valid(value) ? NULL : "value is not UTF-8";
}

void values_clear(struct values *v)
{
	buf_clear(&v->text);
	distinct_clear(&v->seen);
	v->n = 0;
	v->why = NULL;
}

void values_done(struct values *v)
{
	buf_done(&v->text);
	distinct_done(&v->seen);
}

/* Where a value stands in the joined text, as one number, which is never 0. */
static uint64_t place_of(size_t start, size_t n)
{
	return (uint64_t)start << 32 | n;
}

static struct text value_at(const struct values *v, uint64_t place)
{
	return (struct text){ v->text.p + (place >> 32), place & UINT32_MAX };
}

/* A whole value, which may itself hold commas; the last one, which is not in `seen` yet. */
struct candidate {
	const struct values *values;
	struct text value;
};

static bool is_same_value(const void *ctx, uint64_t place)
{
	const struct candidate *c = ctx;

	return text_eq(value_at(c->values, place), c->value);
}

/* Is what stands from `start` on there already? If not, note it. */
static bool is_repeated(struct values *v, size_t start)
{
	const struct candidate c = { v, value_at(v, place_of(start, v->text.n - start)) };
	uint64_t hash = hash_text(c.value);

	if (distinct_find(&v->seen, hash, is_same_value, &c))
		return true;
	if (!distinct_add(&v->seen, hash, place_of(start, c.value.n)))
		v->why = "out of memory";
	return false;
}

void values_add(struct values *v, const struct table_settings *s, struct text key,
		struct text value)
{
	size_t before = v->text.n;

	if (value.n == 0 || v->why)
		return;
	/* Whatever result_format would make of it: this is how drivers say "no use". */
	if (text_chr(value, '\0')) {
		v->why = value_unusable(value);
		return;
	}
	if (before)
		buf_byte(&v->text, ',');

	size_t start = v->text.n;
	if (!template_expand(s->result_format, key, value, NULL, NULL, &v->text) ||
	    v->text.n == start || (s->distinct_values && is_repeated(v, start))) {
		v->text.n = before;
		return;
	}
	if (v->why)
		return;
	v->n++;
	if (s->expansion_limit && v->n > s->expansion_limit)
		v->why = "expansion_limit exceeded";
	else if (v->text.n > VALUE_MAX)
		v->why = "value too long";
	else
		v->why = value_unusable((struct text){ v->text.p + start, v->text.n - start });
}

struct answer values_answer(const struct values *v)
{
	if (v->why)
		return answer_temp_for(REASON_UNUSABLE, v->why);
	if (v->n == 0)
		return answer_absent(PROOF_DIRECTORY);
	return answer_found(buf_view(&v->text));
}
