/* LDAP filter templates, and scans made of them. A template, a value and a key, in lines. */
#include "fuzz/fuzz.h"

#include "base/fold.h"
#include "base/ldap_filter.h"
#include "base/ldap_syntax.h"

#include <strings.h>

/* A whole filter, taken apart. `content` is a view into `units`. */
struct parsed_filter {
	struct span units, content;
	bool is_good;
};

static struct parsed_filter parse(struct text template)
{
	struct parsed_filter f = { 0 };
	struct buf why = { 0 };

	f.is_good = span_new(template, &f.units, &why) &&
		    filter_parse(f.units, &f.content, &why);
	assert(f.is_good == (why.n == 0));
	buf_done(&why);
	return f;
}

static void parsed_done(struct parsed_filter *f)
{
	free((void *)f->units.p);
}

/* The same operators over the same attributes, whatever the values. */
static void check_structure(struct span a, struct span b)
{
	struct filter f = filter_of(a), g = filter_of(b);
	struct buf why = { 0 };
	struct span x, y;

	assert(f.op == g.op);
	while (f.op && filter_next(&f.body, &x)) {
		assert(filter_next(&g.body, &y));
		check_structure(x, y);
	}
	if (f.op) {
		assert(!filter_next(&g.body, &y));
	} else {
		struct assertion s, t;

		assert(assertion_parse(f.body, &s, &why));
		assert(assertion_parse(g.body, &t, &why));
		assert(s.op == t.op);
		assert(text_eq(buf_view(&s.attribute), buf_view(&t.attribute)));
		buf_done(&s.attribute);
		buf_done(&t.attribute);
	}
}

/* The filter for a key. False: the template asks for more than the key has. */
static bool parse_for(struct text source, struct text key, struct parsed_filter *ret)
{
	struct buf why = { 0 }, filter = { 0 }, doubled = { 0 };
	struct template *t = template_new(source, TEMPLATE_QUERY, &why);
	bool is_asked = needs_met(template_needs(t), key);

	assert(template_expand(t, key, (struct text){ 0 }, ldap_quote_filter, NULL,
			       &filter) == is_asked);
	for (size_t i = 0; i < filter.n; i++) {
		if (filter.p[i] == '%')
			buf_byte(&doubled, '%');
		buf_byte(&doubled, filter.p[i]);
	}
	if (is_asked) {
		*ret = parse(buf_view(&doubled));
		assert(ret->is_good);
	}
	template_free(t);
	buf_done(&filter);
	buf_done(&doubled);
	return is_asked;
}

/* Does a value match a pattern? */
static bool matches(struct span pattern, struct text value)
{
	uint16_t unit;

	while (value_next(&pattern, &unit)) {
		if (unit == STAR) {
			for (size_t i = 0; i <= value.n; i++)
				if (matches(pattern, text_skip(value, i)))
					return true;
			return false;
		}
		if (unit >= 'A' && unit <= 'Z')
			unit |= 0x20;
		if (value.n == 0 || (unsigned char)value.p[0] != unit)
			return false;
		value = text_skip(value, 1);
	}
	return value.n == 0;
}

/* Is there an assertion of this attribute that the value matches? */
static bool has_match(struct span content, const char *attribute, struct text value)
{
	struct filter f = filter_of(content);
	struct buf why = { 0 };
	struct assertion a;
	struct span child;
	bool is_match;

	while (f.op && filter_next(&f.body, &child))
		if (has_match(child, attribute, value))
			return true;
	if (f.op)
		return false;
	assert(assertion_parse(f.body, &a, &why));
	is_match = a.op == '=' && strcasecmp(buf_cstr(&a.attribute), attribute) == 0 &&
		   matches(a.value, value);
	buf_done(&a.attribute);
	return is_match;
}

/* What a scan takes for keys of a value is found with them. */
static void check_keys(struct text template, const struct ldap_key *k, struct text value)
{
	struct text key;
	size_t at = 0, n = 0;

	while (n++ < 8 && ldap_key_next(k, value, &at, &key)) {
		struct parsed_filter f;

		assert(key.n > 0 && key.p >= value.p && key.p + key.n <= value.p + value.n);
		if (parse_for(template, key, &f)) {
			assert(has_match(f.content, k->attribute, value));
			parsed_done(&f);
		}
	}
}

static void check_plan(struct text template, const struct ldap_plan *plan, struct text value)
{
	struct buf folded = { 0 };

	if (value.n > 200 || !fold(value, &folded))
		buf_clear(&folded);
	for (size_t i = 0; i < plan->n; i++) {
		const struct ldap_branch *b = &plan->branches[i];
		struct buf filter = { 0 };
		struct parsed_filter f;

		for (const char *p = b->filter; *p; p++)
			buf_str(&filter, *p == '%' ? "%%" : (char[]){ *p, '\0' });
		f = parse(buf_view(&filter));
		assert(f.is_good && !has_expansion(f.units));
		assert(b->n_keys > 0);
		for (size_t j = 0; j < b->n_keys; j++) {
			assert(has_match(f.content, b->keys[j].attribute, TEXT("any")));
			check_keys(template, &b->keys[j], buf_view(&folded));
		}
		parsed_done(&f);
		buf_done(&filter);
	}
	buf_done(&folded);
}

/* No key changes the structure of the filter. */
static void check_expansion(struct text template, struct span content, struct text key)
{
	struct parsed_filter f;

	if (parse_for(template, key, &f)) {
		check_structure(content, f.content);
		parsed_done(&f);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct text in = fuzz_text(data, size);
	struct text template = fuzz_copy(fuzz_line(&in)), value = fuzz_copy(fuzz_line(&in));
	struct text key = fuzz_copy(in);
	struct parsed_filter f = parse(template);
	struct buf why = { 0 };
	struct ldap_plan plan;
	bool is_good = ldap_plan_derive(template, &plan, &why);

	assert(is_good == (why.n == 0) && is_good == (plan.n > 0));
	assert(f.is_good || !is_good);
	if (f.is_good)
		check_expansion(template, f.content, key);
	if (is_good)
		check_plan(template, &plan, value);
	ldap_plan_done(&plan);
	buf_clear(&why);
	is_good = ldap_plan_explicit(template, value, key, &plan, &why);
	assert(is_good == (why.n == 0) && is_good == (plan.n == 1));
	ldap_plan_done(&plan);
	buf_done(&why);
	parsed_done(&f);
	fuzz_free(template);
	fuzz_free(value);
	fuzz_free(key);
	return 0;
}
