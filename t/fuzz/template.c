/* %s templates. Line 1 is the template, line 2 a key, the rest a value. */
#include "fuzz/fuzz.h"

#include "base/template.h"

static void as_is(void *ctx, struct text part, struct buf *out)
{
	(void)ctx;
	buf_text(out, part);
}

static void count_calls(void *ctx, struct text part, struct buf *out)
{
	size_t *calls = ctx;

	(void)part, (void)out;
	++*calls;
}

/* The template without its expansions, %% being one %. */
static void check_frame(struct text source, const struct template *t, struct text key,
			struct text value)
{
	struct buf want = { 0 }, got = { 0 };
	size_t expansions = 0, calls = 0;

	for (size_t i = 0; i < source.n; i++) {
		if (source.p[i] != '%')
			buf_byte(&want, source.p[i]);
		else if (source.p[++i] == '%')
			buf_byte(&want, '%');
		else
			expansions++;
	}
	assert(template_expand(t, key, value, count_calls, &calls, &got));
	assert(calls == expansions);
	assert(text_eq(buf_view(&want), buf_view(&got)));
	buf_done(&want);
	buf_done(&got);
}

static void check_expansion(struct text source, const struct template *t, bool is_query,
			    struct text key, struct text value)
{
	struct needs needs = template_needs(t);
	struct buf out = { 0 }, again = { 0 };

	buf_str(&out, "x");
	buf_str(&again, "x");
	bool ok = template_expand(t, key, value, NULL, NULL, &out);
	assert(template_expand(t, key, value, as_is, NULL, &again) == ok);
	assert(text_eq(buf_view(&out), buf_view(&again)));
	if (!needs_met(needs, key) && key.n)
		assert(!ok);
	if (is_query && needs_met(needs, key))
		assert(ok);
	if (ok)
		check_frame(source, t, key, value);
	else
		assert(out.n == 1);
	assert(out.n <= 1 + source.n * (1 + key.n + value.n));
	buf_done(&out);
	buf_done(&again);
}

static void check_needs(struct needs needs, struct text key)
{
	struct needs all = { true, true, 9 };
	struct needs both = needs_both(needs, all);

	assert(both.local && both.domain && both.labels == 9);
	both = needs_both(needs, (struct needs){ 0 });
	assert(both.local == needs.local && both.domain == needs.domain &&
	       both.labels == needs.labels);
	assert(!needs_met(all, key) || needs_met(needs, key));
	assert(needs_met((struct needs){ 0 }, key) == (key.n > 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct text in = fuzz_text(data, size);
	struct text source = fuzz_copy(fuzz_line(&in)), key = fuzz_copy(fuzz_line(&in));
	struct text value = fuzz_copy(in);

	for (enum template_role role = TEMPLATE_QUERY; role <= TEMPLATE_RESULT; role++) {
		struct buf why = { 0 };
		struct template *t = template_new(source, role, &why);

		assert((t == NULL) == (why.n > 0));
		if (t) {
			check_needs(template_needs(t), key);
			check_expansion(source, t, role == TEMPLATE_QUERY, key, value);
		}
		template_free(t);
		buf_done(&why);
	}
	fuzz_free(source);
	fuzz_free(key);
	fuzz_free(value);
	return 0;
}
