/* What the ldap driver makes of entries, with entries made up here: postfix-tables.md 8. */
#include "driver/ldap_entry.c"
#include "driver/ldap_values.c"

#include "unit/test.h"

#define PLACES_MAX 8

/* A directory of the test's own: what a search with this base finds. */
struct place {
	const char *base;
	const char *entries;		/* see parse() */
	int code;			/* LDAP_SUCCESS unless told otherwise */
};

static const struct place *places;
static struct entries parsed[PLACES_MAX];	/* of them, at the first use */
static struct buf fetched;			/* what was searched, "base scope filter attributes" */
static size_t n_fetched;

/* --- entries in short ------------------------------------------------------------- */

static struct text copy(struct text t)
{
	return (struct text){ strndup(t.p ? t.p : "", t.n), t.n };
}

/* "name=value|value". */
static void parse_attribute(struct entry *e, struct text in)
{
	const char *end = text_chr(in, '=');
	struct attribute *a;
	struct text name, values, value;

	assert_non_null(end);
	name = text_before(in, end);
	values = text_from(in, end + 1);
	e->attributes = reallocarray(e->attributes, e->n + 1, sizeof *e->attributes);
	a = &e->attributes[e->n++];
	*a = (struct attribute){ .name = (char *)copy(name).p };
	while (text_next(&values, "|", &value)) {
		a->values = reallocarray(a->values, a->n + 1, sizeof *a->values);
		a->values[a->n++] = copy(text_is(value, "-") ? TEXT("") : value);
	}
}

/*
 * "a=1|2 b=3 & a=4": two entries, with these attributes and values. A value that is to be empty
 * is written as -, a blank in one as ~.
 */
static struct entries parse(const char *in)
{
	struct entries ret = { 0 };
	struct text list = text_of(in), one, attribute;

	while (text_next(&list, "&", &one)) {
		struct entry *e = calloc(1, sizeof *e);

		ret.list = reallocarray(ret.list, ret.n + 1, sizeof(struct entry *));
		ret.list[ret.n++] = e;
		while (text_next(&one, " ", &attribute))
			parse_attribute(e, attribute);
	}
	for (size_t i = 0; i < ret.n; i++)
		for (size_t j = 0; j < ret.list[i]->n; j++)
			for (size_t k = 0; k < ret.list[i]->attributes[j].n; k++) {
				struct text v = ret.list[i]->attributes[j].values[k];

				for (size_t c = 0; c < v.n; c++)
					if (v.p[c] == '~')
						((char *)v.p)[c] = ' ';
			}
	return ret;
}

static void entries_done(struct entries *e)
{
	for (size_t i = 0; i < e->n; i++)
		entry_free(e->list[i]);
	free(e->list);
	*e = (struct entries){ 0 };
}

/* --- walks ------------------------------------------------------------------------ */

/* The attributes of a table, each list separated by blanks. */
struct wanted {
	const char *terminal, *leaf, *result, *special;
	size_t recursion_limit, expansion_limit, size_limit;	/* 0: 1000, none, none */
};

static size_t add_names(struct table *t, size_t n, const char *names)
{
	struct text list = text_of(names), name;
	size_t before = n;

	while (text_next(&list, " ", &name)) {
		t->attributes = reallocarray(t->attributes, n + 2, sizeof *t->attributes);
		t->attributes[n++] = (char *)copy(name).p;
		t->attributes[n] = NULL;
	}
	return n - before;
}

static struct table table_of(const struct wanted *w)
{
	struct table t = {
		.recursion_limit = w->recursion_limit ? w->recursion_limit : 1000,
		.expansion_limit = w->expansion_limit, .size_limit = w->size_limit,
	};
	size_t n = 0;

	n += t.n_terminal = add_names(&t, n, w->terminal);
	n += t.n_leaf = add_names(&t, n, w->leaf);
	n += t.n_result = add_names(&t, n, w->result);
	n += t.n_special = add_names(&t, n, w->special);
	assert_true(n > 0);
	return t;
}

static int fetch(void *ctx, const char *base, int scope, const char *filter,
		 char **attributes, const struct entries **ret)
{
	(void)ctx;
	n_fetched++;
	buf_clear(&fetched);
	buf_printf(&fetched, "%s %d %s", base, scope, filter);
	for (char **a = attributes; *a; a++)
		buf_printf(&fetched, " %s", *a);
	for (size_t i = 0; places && places[i].base; i++) {
		if (strcmp(places[i].base, base) != 0)
			continue;
		if (!parsed[i].list && places[i].entries)
			parsed[i] = parse(places[i].entries);
		*ret = &parsed[i];
		return places[i].code;
	}
	return LDAP_NO_SUCH_OBJECT;
}

static void on_value(void *ctx, struct text value)
{
	struct buf *out = ctx;

	if (out->n)
		buf_byte(out, ',');
	buf_text(out, value);
}

/* The values of `entries`, joined, or "CODE why". */
static const char *walk(const struct wanted *w, const char *entries)
{
	static struct buf out;
	struct entries e = parse(entries);
	struct table t = table_of(w);
	const struct fetcher fetcher = { fetch, NULL };
	struct buf why = { 0 };
	int code;

	n_fetched = 0;
	buf_clear(&out);
	code = values_walk(&t, &e, &fetcher, on_value, &out, &why);
	if (code != LDAP_SUCCESS) {
		buf_clear(&out);
		buf_printf(&out, "%d %s", code, buf_cstr(&why));
	}
	buf_done(&why);
	entries_done(&e);
	for (size_t i = 0; i < PLACES_MAX; i++)
		entries_done(&parsed[i]);
	for (char **a = t.attributes; *a; a++)
		free(*a);
	free(t.attributes);
	return buf_cstr(&out);
}

struct walk_case {
	struct wanted wanted;
	const char *entries, *values;
};

static void check(const struct walk_case *cases, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const char *got = walk(&cases[i].wanted, cases[i].entries);

		if (strcmp(got, cases[i].values) != 0)
			fail_msg("%s: got %s, not %s", cases[i].entries, got, cases[i].values);
	}
}

#define CHECK(cases) check(cases, sizeof cases / sizeof *cases)

#define T .terminal
#define L .leaf
#define R .result
#define S .special

/* --- the rules -------------------------------------------------------------------- */

static void values_come_in_the_order_of_the_server(void **state)
{
	static const struct walk_case cases[] = {
		{ { R = "a" }, "a=1|2", "1,2" },
		{ { R = "b a" }, "a=1 b=2 & b=3 a=4", "1,2,3,4" },
		{ { R = "a" }, "b=1 a=2 c=3", "2" },
		{ { R = "a" }, "a=same a=same & a=same", "same,same,same" },
		{ { R = "a" }, "b=1", "" },
		{ { R = "a" }, "", "" },
		{ { R = "a" }, "a=1|-|2", "1,2" },
		{ { R = "a" }, "a=-", "" },
		{ { R = "a" }, "a= & a=1", "1" },
	};
	(void)state;

	places = NULL;
	CHECK(cases);
}

static void names_are_compared_as_descriptions(void **state)
{
	static const struct walk_case cases[] = {
		{ { R = "mail" }, "MAIL=1 Mail;lang-de=2 mail;x;y=3", "1,2,3" },
		{ { R = "MaiL" }, "mail=1", "1" },
		{ { R = "mail;lang-de" }, "mail=1 mail;LANG-de=2 mail;lang-de;x=3 mail;lang=4",
		  "2,3" },
		{ { R = "mail" }, "mailx=1 mai=2 rfc822Mailbox=3", "" },
	};
	(void)state;

	places = NULL;
	CHECK(cases);
}

static void a_terminal_attribute_ends_all_others(void **state)
{
	static const struct walk_case cases[] = {
		{ { T = "t", R = "v", S = "s" }, "v=1 t=2 s=away", "2" },
		{ { T = "t", R = "v" }, "v=1 & t=2", "1,2" },
		/* the flag belongs to the search */
		{ { T = "t", R = "v" }, "t=1 v=2 & v=3 & t=4", "1,4" },
		{ { T = "t", L = "l", R = "v" }, "l=1 & t=2 l=3 & l=4", "1,2" },
		/* by its very name: options make none */
		{ { T = "t", R = "v" }, "t;x=1 v=2 & v=3", "1,2,3" },
		{ { T = "t", R = "v" }, "t=0 t;x=1 v=2", "0,1" },
		{ { T = "t", R = "v" }, "t= v=2", "2" },
		/* listed twice, it counts as what it is first */
		{ { T = "v", R = "v w" }, "v=1 w=2", "1" },
	};
	(void)state;

	places = NULL;
	CHECK(cases);
}

static void a_leaf_attribute_is_for_entries_that_lead_nowhere(void **state)
{
	static const struct place here[] = { { "x", "l=x", 0 }, { 0 } };
	static const struct walk_case cases[] = {
		{ { L = "l", S = "s" }, "l=1", "1" },
		{ { L = "l", R = "v", S = "s" }, "l=1 v=2 s=x", "2,x" },
		{ { L = "l", S = "s" }, "l=1 s=", "1" },
		/* the flag belongs to the search, and each search has its own */
		{ { L = "l", S = "s" }, "s=x & l=2", "x" },
		{ { L = "l", S = "s" }, "l=1 & s=x l=2 & l=3", "1,x" },
		/* by its very name */
		{ { L = "l", S = "s" }, "l=1 s;o=x", "1,x" },
		/* without leaf attributes nothing changes */
		{ { R = "l", S = "s" }, "l=1 s=x & l=3", "1,x,3" },
		/* after an entry that is none, terminal attributes are lost, too */
		{ { T = "t", L = "l", S = "s" }, "s=x & t=1 l=2", "x" },
		{ { T = "t", L = "l", R = "v", S = "s" }, "t=1 s=x & s=x v=2", "1" },
		{ { L = "v", R = "v", S = "s" }, "v=1 s=x & v=2", "" },
		{ { L = "l", R = "s", S = "s" }, "l=1 s=x", "x" },
	};
	(void)state;

	places = here;
	CHECK(cases);
}

static void a_name_leads_to_an_entry(void **state)
{
	static const struct place here[] = {
		{ "cn=a,dc=x", "v=of~a", 0 }, { "cn=b,dc=x", "v=of~b m=cn=a,dc=x", 0 },
		{ "cn=hidden", "v=1", LDAP_INSUFFICIENT_ACCESS }, { "cn=none", "", 0 }, { 0 },
	};
	static const struct walk_case cases[] = {
		{ { R = "v", S = "m" }, "m=cn=a,dc=x|cn=b,dc=x v=own", "of a,of b,of a,own" },
		{ { R = "v", S = "m" }, "m=cn=a,dc=x|cn=a,dc=x", "of a,of a" },
		{ { R = "v", S = "m" }, "m=cn=gone|cn=none|cn=a,dc=x", "of a" },
		{ { R = "v", S = "m" }, "v=1 m=cn=hidden v=2", "50 " },
		{ { R = "v", S = "m" }, "m;range-like=cn=a,dc=x", "of a" },
		{ { R = "v", S = "m" }, "m= v=1", "1" },
	};
	const struct wanted w = { T = "t", L = "l", R = "v w", S = "m" };
	(void)state;

	places = here;
	CHECK(cases);
	assert_string_equal(walk(&w, "m=cn=a,dc=x"), "of a");
	assert_text(buf_view(&fetched), "cn=a,dc=x 0 (objectClass=*) t l v w m");
}

static void a_url_is_a_search_of_its_own(void **state)
{
	static const struct place here[] = {
		{ "dc=x", "v=1 & v=2", 0 }, { "", "v=root", 0 }, { 0 },
	};
	static const struct {
		const char *url, *fetched, *values;
	} cases[] = {
		{ "ldap:///dc=x", "dc=x 0 (objectClass=*) v w;o m", "1,2" },
		{ "ldap://host.invalid:1/dc=x??sub?(cn=y)", "dc=x 2 (cn=y) v w;o m", "1,2" },
		{ "LDAPS:///dc=x??one", "dc=x 1 (objectClass=*) v w;o m", "1,2" },
		{ "ldapi://%2Fnowhere/dc=x", "dc=x 0 (objectClass=*) v w;o m", "1,2" },
		{ "ldap:///", " 0 (objectClass=*) v w;o m", "root" },
		{ "ldap:///dc=x?v?sub", "dc=x 2 (objectClass=*) v", "1,2" },
		{ "ldap:///dc=x?V,other", "dc=x 0 (objectClass=*) v", "1,2" },
		/* of two that differ in options, the one that has them */
		{ "ldap:///dc=x?v;o", "dc=x 0 (objectClass=*) v;o", "1,2" },
		{ "ldap:///dc=x?w", "dc=x 0 (objectClass=*) w;o", "1,2" },
		{ "ldap:///dc=x?other", "", "" },
		{ "ldap:///dc=x??bogus", "", "-9 a value is a malformed LDAP URL" },
		{ "ldap://[/dc=x", "", "-9 a value is a malformed LDAP URL" },
		{ "ldap:///dc=y", "dc=y 0 (objectClass=*) v w;o m", "" },
		/* not a URL, but a name that there is not */
		{ "http://dc=x", "http://dc=x 0 (objectClass=*) v w;o m", "" },
	};
	const struct wanted w = { R = "v w;o", S = "m" };
	(void)state;

	places = here;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct buf entry = { 0 };

		buf_clear(&fetched);
		buf_printf(&entry, "m=%s", cases[i].url);
		assert_string_equal(walk(&w, buf_cstr(&entry)), cases[i].values);
		assert_text(buf_view(&fetched), cases[i].fetched);
		buf_done(&entry);
	}
}

/* --- limits ----------------------------------------------------------------------- */

#define TOO_DEEP "-16 references nest deeper than recursion_limit"
#define TOO_MANY "4 more values than expansion_limit"

static void recursion_ends_at_its_limit(void **state)
{
	static const struct place here[] = {
		{ "one", "v=1 m=two", 0 }, { "two", "v=2", 0 }, { "self", "m=self v=x", 0 },
		{ "stop", "t=1 m=two", 0 }, { 0 },
	};
	static const struct walk_case cases[] = {
		{ { R = "v", S = "m", .recursion_limit = 3 }, "m=one", "1,2" },
		{ { R = "v", S = "m", .recursion_limit = 2 }, "m=one", TOO_DEEP },
		{ { R = "v", S = "m", .recursion_limit = 2 }, "m=two v=0", "2,0" },
		{ { R = "v", S = "m", .recursion_limit = 1 }, "v=0 m=two", TOO_DEEP },
		{ { R = "v", S = "m", .recursion_limit = 1 }, "v=0 m=", "0" },
		/* what is not followed is no recursion */
		{ { T = "t", S = "m", .recursion_limit = 1 }, "t=0 m=two", "0" },
		{ { T = "t", S = "m", .recursion_limit = 2 }, "m=stop", "1" },
		{ { R = "v", S = "m", .recursion_limit = 5 }, "m=self", TOO_DEEP },
	};
	const struct wanted endless = { R = "v", S = "m", .recursion_limit = 100000000 };
	(void)state;

	places = here;
	CHECK(cases);
	assert_string_equal(walk(&cases[7].wanted, "m=self"), TOO_DEEP);
	assert_int_equal(n_fetched, 4);
	assert_string_equal(walk(&endless, "m=self"), TOO_DEEP);
	assert_int_equal(n_fetched, DEPTH_MAX - 1);
}

/*
 * What has no local part, or no domain, may fall to result_format, which we do not know: only
 * the server can count it.
 */
static void expansion_ends_early_only_when_it_is_sure(void **state)
{
	static const struct place here[] = {
		{ "two", "v=b@b|c@c", 0 }, { "plain", "v=x|y|z", 0 }, { 0 },
	};
	static const struct walk_case cases[] = {
		{ { R = "v", .expansion_limit = 2 }, "v=a@b|c@d", "a@b,c@d" },
		{ { R = "v", .expansion_limit = 2 }, "v=a@b|c@d|e@f", TOO_MANY },
		{ { R = "v", .expansion_limit = 2 }, "v=a@b & v=c@d & v=a@b@c", TOO_MANY },
		{ { R = "v", .expansion_limit = 1 }, "v=a@b|c|@d|e@|-|@", "a@b,c,@d,e@,@" },
		{ { R = "v", .expansion_limit = 0 }, "v=a@b|c@d|e@f", "a@b,c@d,e@f" },
		/* one counter for all of the recursion */
		{ { R = "v", S = "m", .expansion_limit = 3 }, "m=two v=a@a", "b@b,c@c,a@a" },
		{ { R = "v", S = "m", .expansion_limit = 2 }, "m=two v=a@a", TOO_MANY },
		{ { R = "v", S = "m", .expansion_limit = 1 }, "m=plain v=a@a", "x,y,z,a@a" },
		/* the others do not count */
		{ { T = "t", R = "v", .expansion_limit = 1 }, "t=a@a v=b@b|c@c", "a@a" },
	};
	(void)state;

	places = here;
	CHECK(cases);
}

static void the_size_limit_is_of_each_search(void **state)
{
	static const struct place here[] = { { "two", "v=1 & v=2", 0 }, { 0 } };
	static const char too_many[] = "4 more entries than size_limit";
	static const struct walk_case cases[] = {
		{ { R = "v", .size_limit = 2 }, "v=1 & v=2", "1,2" },
		{ { R = "v", .size_limit = 2 }, "v=1 & v=2 & v=3", too_many },
		{ { R = "v", .size_limit = 2 }, "x=1 & x=2 & x=3", too_many },
		{ { R = "v", S = "m", .size_limit = 2 }, "m=two|two & m=two", "1,2,1,2,1,2" },
		{ { R = "v", S = "m", .size_limit = 1 }, "m=two", too_many },
	};
	(void)state;

	places = here;
	CHECK(cases);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_come_in_the_order_of_the_server),
		cmocka_unit_test(names_are_compared_as_descriptions),
		cmocka_unit_test(a_terminal_attribute_ends_all_others),
		cmocka_unit_test(a_leaf_attribute_is_for_entries_that_lead_nowhere),
		cmocka_unit_test(a_name_leads_to_an_entry),
		cmocka_unit_test(a_url_is_a_search_of_its_own),
		cmocka_unit_test(recursion_ends_at_its_limit),
		cmocka_unit_test(expansion_ends_early_only_when_it_is_sure),
		cmocka_unit_test(the_size_limit_is_of_each_search),
	};
	int status = cmocka_run_group_tests(tests, NULL, NULL);

	buf_done(&fetched);
	return status;
}
