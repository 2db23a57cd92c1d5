#include "base/ldap_filter.h"

#include "base/fold.h"
#include "base/ldap_syntax.h"
#include "base/must.h"

#include <stdlib.h>
#include <strings.h>

#define KEYS_MAX 100	/* assertions with an expansion */

/* Why a scan is not the same, in reasons. */
#define ENDLESS ": one value would have keys without end"
#define ALIKE ": every key finds the same"

/* --- quoting ---------------------------------------------------------------------- */

static void quote(struct text part, const char *raw, struct buf *out)
{
	for (size_t i = 0; i < part.n; i++) {
		char c = part.p[i];

		if (c && strchr(raw, c))
			buf_byte(out, c);
		else
			buf_printf(out, "\\%02X", (unsigned char)c);
	}
}

#define HARMLESS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._@"

void ldap_quote_filter(void *ctx, struct text part, struct buf *out)
{
	(void)ctx;
	quote(part, HARMLESS " !\"#$%&'+,/:;<=>?[]^`{|}~", out);
}

void ldap_quote_dn(void *ctx, struct text part, struct buf *out)
{
	(void)ctx;
	quote(part, HARMLESS, out);
}

/* --- keys ------------------------------------------------------------------------- */

bool ldap_key_is_plain(struct text key)
{
	if (key.n == 0 || key.n > LDAP_KEY_MAX)
		return false;
	for (size_t i = 0; i < key.n; i++)
		if (key.p[i] <= ' ' || key.p[i] > '~')
			return false;
	return true;
}

static bool is_address(struct text key)
{
	const char *at = text_rchr(key, '@');

	return at && at > key.p && at + 1 < key.p + key.n;
}

bool ldap_key_next(const struct ldap_key *k, struct text value, size_t *at,
		   struct text *ret_key)
{
	struct text before = text_of(k->before), after = text_of(k->after);

	if (value.n < after.n ||
	    !text_eq(text_skip(value, value.n - after.n), after))
		return false;
	value.n -= after.n;
	while (*at + before.n < value.n) {
		size_t i = (*at)++;
		struct text key = text_skip(value, i);

		if (i && !k->is_open)
			return false;
		if (!text_starts(key, before))
			continue;
		key = text_skip(key, before.n);
		if (k->wants_address && !is_address(key))
			continue;
		*ret_key = key;
		return true;
	}
	return false;
}

static void key_done(struct ldap_key *k)
{
	free(k->attribute);
	free(k->before);
	free(k->after);
}

/* --- patterns --------------------------------------------------------------------- */

/* The value of an assertion: up to two expansions, and what stands before, between, behind. */
struct pattern {
	bool is_open;
	size_t n;
	char letters[2];
	struct buf runs[3];
};

static void pattern_done(struct pattern *p)
{
	for (size_t i = 0; i < sizeof p->runs / sizeof *p->runs; i++)
		buf_done(&p->runs[i]);
}

/* False with a reason. Freed with pattern_done(), whatever the result. */
static bool pattern_parse(struct span value, struct pattern *ret, struct buf *ret_why)
{
	struct span rest = value;
	uint16_t unit;

	*ret = (struct pattern){ .is_open = value.n && value.p[0] == '*' };
	if (ret->is_open)
		rest = span_from(rest, 1);
	while (value_next(&rest, &unit)) {
		if (unit == STAR)
			return span_refuse(value, "has a * not at its front" ENDLESS, ret_why);
		if (is_expansion(unit)) {
			if (ret->n == 2)
				return span_refuse(value, "mixes parts of the key", ret_why);
			ret->letters[ret->n++] = (char)(unit - EXPANSION);
		} else {
			buf_byte(&ret->runs[ret->n], (char)unit);
		}
	}
	return true;
}

/* What stands beside the key. Matching rules differ in what they make of blanks, of é. */
static bool add_side(struct text run, char **ret, bool *is_cased)
{
	struct buf folded = { 0 };

	if (run.n && !ldap_key_is_plain(run))
		return false;
	fold(run, &folded);
	if (!text_eq(run, buf_view(&folded)))
		*is_cased = true;
	*ret = buf_take(&folded);
	return true;
}

/* Make a key of a pattern. False with a reason; `ret` holds what key_done() frees anyway. */
static bool key_of(struct span value, struct ldap_key *ret, struct buf *ret_why)
{
	struct pattern p;
	const char *wrong = NULL;

	if (!pattern_parse(value, &p, ret_why)) {
		pattern_done(&p);
		return false;
	}
	ret->is_open = p.is_open;
	ret->wants_address = p.n == 2;
	if (p.n == 0)
		wrong = "has no expansion";
	else if (p.n == 1 && p.letters[0] != 's')
		wrong = "is a part of the key only" ENDLESS;
	else if (p.n == 2 && (p.letters[0] != 'u' || p.letters[1] != 'd' ||
			      !text_is(buf_view(&p.runs[1]), "@")))
		wrong = "mixes parts of the key";
	else if (p.is_open && p.runs[0].n == 0)
		wrong = "has nothing between * and the key";
	else if (!add_side(buf_view(&p.runs[0]), &ret->before, &ret->is_cased) ||
		 !add_side(buf_view(&p.runs[p.n]), &ret->after, &ret->is_cased))
		wrong = "has a blank or something else than ASCII beside the key";
	pattern_done(&p);
	return !wrong || span_refuse(value, wrong, ret_why);
}

/* --- the plan --------------------------------------------------------------------- */

static void branch_done(struct ldap_branch *b)
{
	for (size_t i = 0; i < b->n_keys; i++)
		key_done(&b->keys[i]);
	free(b->keys);
	free(b->filter);
}

void ldap_plan_done(struct ldap_plan *plan)
{
	for (size_t i = 0; i < plan->n; i++)
		branch_done(&plan->branches[i]);
	free(plan->branches);
	*plan = (struct ldap_plan){ 0 };
}

static struct ldap_branch *add_branch(struct ldap_plan *plan, const char *filter)
{
	plan->branches = must(reallocarray(plan->branches, plan->n + 1,
					   sizeof *plan->branches));
	plan->branches[plan->n] = (struct ldap_branch){ .filter = must_strdup(filter) };
	return &plan->branches[plan->n++];
}

/* Takes over what is in `key`. */
static void add_key(struct ldap_branch *b, struct ldap_key key)
{
	b->keys = must(reallocarray(b->keys, b->n_keys + 1, sizeof *b->keys));
	b->keys[b->n_keys++] = key;
}

/* --- derivation ------------------------------------------------------------------- */

struct derivation {
	struct ldap_plan plan;	/* the branches' filters are their surroundings so far */
	struct buf around;	/* filters that hold where we are, each in parentheses */
	size_t n_keys;
	struct buf *why;
};

static bool derive(struct derivation *d, struct span content);

/* The branch with these surroundings. */
static struct ldap_branch *find_branch(struct ldap_plan *plan, const char *around)
{
	for (size_t i = 0; i < plan->n; i++)
		if (strcmp(plan->branches[i].filter, around) == 0)
			return &plan->branches[i];
	return add_branch(plan, around);
}

static bool derive_assertion(struct derivation *d, struct span content)
{
	struct ldap_key key = { 0 };
	struct assertion a;
	bool is_good = assertion_parse(content, &a, d->why);

	if (is_good && a.op != '=')
		is_good = span_refuse(content, "is no comparison for equality", d->why);
	else if (is_good && text_chr(buf_view(&a.attribute), ';'))
		is_good = span_refuse(content, "has an attribute with options", d->why);
	else if (is_good && ++d->n_keys > KEYS_MAX)
		is_good = span_refuse(content, "is one expansion too many", d->why);
	if (!is_good || !key_of(a.value, &key, d->why)) {
		buf_done(&a.attribute);
		key_done(&key);
		return false;
	}
	key.attribute = buf_take(&a.attribute);
	add_key(find_branch(&d->plan, buf_cstr(&d->around)), key);
	return true;
}

static bool derive_and(struct derivation *d, struct span content, struct span list)
{
	struct span rest = list, child, asking = { 0 };
	size_t before = d->around.n;

	while (filter_next(&rest, &child)) {
		if (!has_expansion(child)) {
			buf_byte(&d->around, '(');
			span_bytes(child, &d->around);
			buf_byte(&d->around, ')');
		} else if (asking.p) {
			return span_refuse(content, "is an AND of several filters with an "
					   "expansion", d->why);
		} else {
			asking = child;
		}
	}
	if (!derive(d, asking))
		return false;
	d->around.n = before;
	return true;
}

static bool derive_or(struct derivation *d, struct span list)
{
	struct span child;

	while (filter_next(&list, &child)) {
		if (!has_expansion(child))
			return span_refuse(child, "is in an OR without an expansion" ALIKE,
					   d->why);
		if (!derive(d, child))
			return false;
	}
	return true;
}

/* `content` was checked, and has an expansion. */
static bool derive(struct derivation *d, struct span content)
{
	struct filter f = filter_of(content);

	switch (f.op) {
	case '&':
		return derive_and(d, content, f.body);
	case '|':
		return derive_or(d, f.body);
	case '!':
		return span_refuse(content, "is a NOT around an expansion: it finds the rest",
				   d->why);
	default:
		return derive_assertion(d, f.body);
	}
}

static bool has_key_before(const struct ldap_branch *b, size_t i)
{
	for (size_t j = 0; j < i; j++)
		if (strcasecmp(b->keys[j].attribute, b->keys[i].attribute) == 0)
			return true;
	return false;
}

/* Put its filter together: the surroundings, and one of the key attributes. */
static void complete(struct ldap_branch *b)
{
	struct buf present = { 0 }, filter = { 0 };
	size_t n = 0;

	for (size_t i = 0; i < b->n_keys; i++)
		if (!has_key_before(b, i)) {
			buf_printf(&present, "(%s=*)", b->keys[i].attribute);
			n++;
		}
	if (b->filter[0])
		buf_printf(&filter, "(&%s", b->filter);
	buf_printf(&filter, n > 1 ? "(|%s)" : "%s", buf_cstr(&present));
	if (b->filter[0])
		buf_byte(&filter, ')');
	free(b->filter);
	b->filter = buf_take(&filter);
	buf_done(&present);
}

bool ldap_plan_derive(struct text query_filter, struct ldap_plan *ret, struct buf *ret_why)
{
	struct derivation d = { .why = ret_why };
	struct span units, content;
	bool is_good;

	*ret = (struct ldap_plan){ 0 };
	if (!span_new(query_filter, &units, ret_why))
		return false;
	is_good = filter_parse(units, &content, ret_why);
	if (is_good && !has_expansion(content))
		is_good = span_refuse(units, "has no expansion" ALIKE, ret_why);
	is_good = is_good && derive(&d, content);
	if (is_good)
		*ret = d.plan;
	else
		ldap_plan_done(&d.plan);
	for (size_t i = 0; i < ret->n; i++)
		complete(&ret->branches[i]);
	buf_done(&d.around);
	free((void *)units.p);
	return is_good;
}

/* --- what the administrator says -------------------------------------------------- */

/* Add a key for each attribute of the list. False with a reason. */
static bool add_attributes(struct ldap_branch *b, struct text attributes, struct span pattern,
			   struct buf *ret_why)
{
	struct text name;

	while (text_next(&attributes, ", \t\r\n", &name)) {
		struct ldap_key key = { 0 };
		struct buf copy = { 0 };

		buf_text(&copy, name);
		if (!is_oid(name) || b->n_keys == KEYS_MAX) {
			buf_str(ret_why, "\"");
			buf_escaped(ret_why, name);
			buf_str(ret_why, is_oid(name) ? "\" is one attribute too many" :
							"\" is no attribute without options");
			buf_done(&copy);
			return false;
		}
		key.attribute = buf_take(&copy);
		if (!key_of(pattern, &key, ret_why)) {
			key_done(&key);
			return false;
		}
		add_key(b, key);
	}
	if (b->n_keys == 0)
		buf_str(ret_why, "no attribute is named");
	return b->n_keys > 0;
}

static bool explicit_filter(struct text scan_filter, struct ldap_plan *plan,
			    struct buf *ret_why)
{
	struct span units, content;
	struct buf filter = { 0 };
	bool is_good;

	if (!span_new(scan_filter, &units, ret_why))
		return false;
	is_good = filter_parse(units, &content, ret_why);
	if (is_good && has_expansion(units))
		is_good = span_refuse(units, "has an expansion, but a scan asks for no key",
				      ret_why);
	if (is_good) {
		buf_byte(&filter, '(');
		span_bytes(content, &filter);
		buf_byte(&filter, ')');
		add_branch(plan, buf_cstr(&filter));
	}
	buf_done(&filter);
	free((void *)units.p);
	return is_good;
}

bool ldap_plan_explicit(struct text scan_filter, struct text attributes, struct text pattern,
			struct ldap_plan *ret, struct buf *ret_why)
{
	struct ldap_plan plan = { 0 };
	struct span units = { 0 };
	bool is_good;

	*ret = plan;
	is_good = explicit_filter(scan_filter, &plan, ret_why) &&
		  span_new(pattern.n ? pattern : TEXT("%s"), &units, ret_why) &&
		  (is_assertion_value(units, true) ||
		   span_refuse(units, "is no value of a filter", ret_why)) &&
		  add_attributes(&plan.branches[0], attributes, units, ret_why);
	if (is_good)
		*ret = plan;
	else
		ldap_plan_done(&plan);
	free((void *)units.p);
	return is_good;
}
