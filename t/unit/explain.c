/* Explanations in words, and what is kept of a driver's queries. */
#include "unit/test.h"

#include "daemon/why.h"

#define HOUR ((uint64_t)3600000)

/* --- an explanation by hand ---------------------------------------------------------- */

#define KEYS_MAX 4

/* One table about up to four keys; the last one of them decides. */
struct made {
	struct explanation x;
	struct explain_step steps[KEYS_MAX];
	struct explain_table tables[KEYS_MAX];
};

static void put(struct buf *b, const char *s)
{
	buf_clear(b);
	buf_str(b, s);
}

static struct explain_table *last(struct made *m)
{
	return &m->tables[m->x.n_steps - 1];
}

static void make(struct made *m, enum search_kind search, const char *const keys[KEYS_MAX])
{
	*m = (struct made){ .x = { .has_map = true, .search = search, .is_live = true,
				   .steps = m->steps } };
	for (size_t i = 0; i < KEYS_MAX && keys[i]; i++) {
		put(&m->steps[i].key, keys[i]);
		m->steps[i].tables = &m->tables[i];
		m->steps[i].n_tables = 1;
		m->tables[i] = (struct explain_table){
			.source = (char *)"dir", .is_mirror = true, .is_reached = true,
			.state = TABLE_FRESH, .age = 40000, .has_mirror = true,
			.is_mirrored = true, .verdict = NOTFOUND, .origin = ORIGIN_MIRROR,
			.times = { HOUR, 2 * HOUR, 48 * HOUR, HOUR, 30000, 2000 },
			.scan = { .ago = HOUR / 6 },
		};
		m->x.n_steps++;
	}
}

static void decide(struct made *m, struct answer a)
{
	struct explain_table *et = last(m);

	et->verdict = a.verdict;
	et->reason = a.reason;
	put(&et->text, a.value.p);
	m->x.decisive = et;
	question_set(&m->x.answer, a);
	m->x.answer.origin = et->origin;
}

/* The words, which are static, after which all is forgotten. */
static const char *words(struct made *m)
{
	static struct buf out;
	enum verdict sent[PROTOCOLS];

	for (size_t i = 0; i < PROTOCOLS; i++)
		sent[i] = m->x.answer.answer.verdict;
	buf_clear(&out);
	why_say(&m->x, TEXT("m"), TEXT("k"), sent, &out);
	for (size_t i = 0; i < KEYS_MAX; i++) {
		buf_done(&m->steps[i].key);
		buf_done(&m->tables[i].text);
		buf_done(&m->tables[i].live.text);
		buf_done(&m->tables[i].live.why);
	}
	question_done(&m->x.answer);
	return buf_cstr(&out);
}

/* --- what is said -------------------------------------------------------------------- */

static void a_hit_tells_what_kind_of_key_matched(void **state)
{
	static const struct {
		enum search_kind search;
		const char *keys[KEYS_MAX];
		const char *words;
	} cases[] = {
		{ SEARCH_EXACT, { "k" }, "\"k\" is in" },
		{ SEARCH_VIRTUAL, { "a+b@c", "a@c" },
		  "\"a@c\", the address without its extension, is in" },
		{ SEARCH_VIRTUAL, { "a+b@c", "a@c", "@c" }, "\"@c\", the catch-all of the domain, is in" },
		{ SEARCH_VIRTUAL, { "a@c", "a", "@c" }, "\"@c\", the catch-all of the domain, is in" },
		{ SEARCH_VIRTUAL, { "a+b", "a" }, "\"a\", the user without the extension, is in" },
		{ SEARCH_ADDRESS, { "a@c", "a" },
		  "\"a\", the bare user, as the domain is one of local_domains, is in" },
		{ SEARCH_ADDRESS, { "\"a b\"@c", "a b@c" },
		  "\"a b@c\", the same address, quoted in another way, is in" },
		{ SEARCH_TRANSPORT, { "a@b.c", "b.c" }, "\"b.c\", the domain alone, is in" },
		{ SEARCH_TRANSPORT, { "a@b.c", "b.c", ".c" }, "\".c\", a parent domain, is in" },
		{ SEARCH_MAIL_ACCESS, { "a@b.c", "b.c", "c", "a@" },
		  "\"a@\", the user in any domain, is in" },
		{ SEARCH_DOMAIN, { "a.b", "b" }, "\"b\", a parent domain, is in" },
		{ SEARCH_NETWORK_ACCESS, { "1.2.3.4", "1.2.3" }, "\"1.2.3\", the network, is in" },
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct made m;
		char want[200];

		make(&m, cases[i].search, cases[i].keys);
		decide(&m, answer_found(TEXT("v")));
		snprintf(want, sizeof want, "%s the mirror of source \"dir\", which is 40 s old.",
			 cases[i].words);
		assert_string_equal(words(&m), want);
	}
}

static void times_are_told_in_fitting_units(void **state)
{
	static const struct {
		uint64_t msec;
		const char *words;
	} cases[] = {
		{ 0, "0 ms" }, { 999, "999 ms" }, { 1000, "1 s" }, { 119000, "119 s" },
		{ 120000, "2 min" }, { 2 * HOUR - 60000, "119 min" }, { 2 * HOUR, "2 h" },
		{ 47 * HOUR, "47 h" }, { 48 * HOUR, "2 days" }, { 2400 * HOUR, "100 days" },
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct made m;
		char want[200];

		make(&m, SEARCH_EXACT, (const char *const[KEYS_MAX]){ "k" });
		last(&m)->age = cases[i].msec;
		decide(&m, answer_found(TEXT("v")));
		snprintf(want, sizeof want,
			 "\"k\" is in the mirror of source \"dir\", which is %s old.",
			 cases[i].words);
		assert_string_equal(words(&m), want);
	}
}

static void long_keys_are_cut_between_characters(void **state)
{
	char key[302] = "", want[400];
	struct made m;
	(void)state;

	for (size_t i = 0; i < 100; i++)
		strcat(key, "\342\202\254");	/* the euro sign */
	make(&m, SEARCH_EXACT, (const char *const[KEYS_MAX]){ key });
	decide(&m, answer_found(TEXT("v")));
	snprintf(want, sizeof want,
		 "\"%.120s...\" is in the mirror of source \"dir\", which is 40 s old.", key);
	assert_string_equal(words(&m), want);
	memmove(key + 1, key, 300);
	key[0] = 'x';
	make(&m, SEARCH_EXACT, (const char *const[KEYS_MAX]){ key });
	decide(&m, answer_found(TEXT("v")));
	snprintf(want, sizeof want,
		 "\"%.118s...\" is in the mirror of source \"dir\", which is 40 s old.", key);
	assert_string_equal(words(&m), want);
}

static void an_absence_of_a_stale_copy_is_told_as_such(void **state)
{
	struct made m;
	(void)state;

	make(&m, SEARCH_EXACT, (const char *const[KEYS_MAX]){ "k" });
	last(&m)->state = TABLE_STALE;
	last(&m)->is_stale = true;
	last(&m)->age = 3 * HOUR;
	last(&m)->source_state = SOURCE_DOWN;
	strcpy(last(&m)->source_why, "no route");
	m.x.answer.origin = ORIGIN_MIRROR;
	question_set(&m.x.answer, answer_absent(PROOF_ALL_TABLES));
	assert_string_equal(words(&m),
			    "The mirror of source \"dir\", which is stale: 3 h old, more than max_age "
			    "= 2 h, has no such key, and stale_miss lets it say so. Its source is down: "
			    "no route.");
}

static void only_a_copy_that_answers_can_differ(void **state)
{
	static const char *const hit = "\"k\" is in the mirror of source \"dir\", which is 40 s old.";
	struct made m;
	char want[300];
	(void)state;

	for (int i = 0; i < 4; i++) {
		const bool is_same = i == 1, is_asked = i != 2, is_reached = i != 3;

		make(&m, SEARCH_EXACT, (const char *const[KEYS_MAX]){ "k" });
		decide(&m, answer_found(TEXT("v")));
		last(&m)->is_reached = is_reached;
		last(&m)->live.was_asked = is_asked;
		last(&m)->live.verdict = FOUND;
		put(&last(&m)->live.text, is_same ? "v" : "w");
		snprintf(want, sizeof want, "%s%s", hit, i ? "" :
			 " But the directory says otherwise by now: \"k\" has the value \"w\"; the next "
			 "refresh comes in about 50 min, or at once with `socketmapctl refresh m`.");
		assert_string_equal(words(&m), want);
	}
}

static void what_nobody_thought_of_is_told_as_it_is(void **state)
{
	struct made m;
	(void)state;

	make(&m, SEARCH_EXACT, (const char *const[KEYS_MAX]){ "k" });
	decide(&m, answer_temp_for(REASON_CACHE_FULL, "cache_size exhausted"));
	assert_string_equal(words(&m),
			    "Source \"dir\" cannot answer for \"k\": cache_size exhausted.");
	make(&m, SEARCH_VIRTUAL, (const char *const[KEYS_MAX]){ "a+b@c", "a@c" });
	decide(&m, answer_found(TEXT("v")));
	question_set(&m.x.answer, answer_temp_for(REASON_UNUSABLE, "value is no address list"));
	assert_string_equal(words(&m), "The value of \"a@c\", the address without its extension, is no "
				       "list of addresses, to which the extension could be added.");
	make(&m, SEARCH_EXACT, (const char *const[KEYS_MAX]){ "k" });
	m.x.is_cut = true;
	assert_string_equal(words(&m), "No answer among the first 1 keys: there are more than are looked "
				       "at here.");
}

/* --- queries ------------------------------------------------------------------------- */

static void queries_are_kept_each_with_its_end_up_to_a_limit(void **state)
{
	static char big[60000];
	struct probe p = { 0 };
	(void)state;

	memset(big, 'x', sizeof big);
	probe_query(&p, TEXT("one"));
	probe_query(&p, (struct text){ "t\0o", 3 });
	assert_true(text_eq(buf_view(&p.queries), (struct text){ "one\0t o\0", 8 }));
	probe_query(&p, (struct text){ big, sizeof big });
	assert_int_equal(p.queries.n, 8 + sizeof big + 1);
	for (int i = 0; i < 3; i++)
		probe_query(&p, (struct text){ big, sizeof big });
	assert_true(p.is_cut);
	assert_string_equal(p.queries.p + 8 + sizeof big + 1, "(more was sent than is shown)");
	assert_true(p.queries.n < 65536);
	probe_restart(&p);
	probe_query(&p, TEXT("anew"));
	assert_true(text_eq(buf_view(&p.queries), (struct text){ "anew\0", 5 }));
	probe_done(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_hit_tells_what_kind_of_key_matched),
		cmocka_unit_test(times_are_told_in_fitting_units),
		cmocka_unit_test(long_keys_are_cut_between_characters),
		cmocka_unit_test(an_absence_of_a_stale_copy_is_told_as_such),
		cmocka_unit_test(only_a_copy_that_answers_can_differ),
		cmocka_unit_test(what_nobody_thought_of_is_told_as_it_is),
		cmocka_unit_test(queries_are_kept_each_with_its_end_up_to_a_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
