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
		buf_done(&m->tables[i].domain);
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
		{ 0, "0 ms" }, { 999, "999 ms" }, { 1000, "1 s" }, { 1500, "1500 ms" },
		{ 2500, "3 s" }, { 119000, "119 s" },
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

/* Strangers choose keys, and administrators copy commands. */
static void a_command_is_harmless_in_a_shell(void **state)
{
	static const struct {
		const char *key, *words;
	} cases[] = {
		{ "joe+x=y@a-b.example", "m joe+x=y@a-b.example" }, { "$(id)", "m '$(id)'" },
		{ "a b", "m 'a b'" }, { "`id`;id", "m '`id`;id'" }, { "o'neil", "m 'o'\\''neil'" },
		{ "~a", "m '~a'" }, { "a!b", "m 'a!b'" }, { "\303\274", "m '\303\274'" },
		{ "-x", "-- m -x" },
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct made m;
		char want[100];

		make(&m, SEARCH_EXACT, (const char *const[KEYS_MAX]){ cases[i].key });
		last(&m)->origin = ORIGIN_CACHE;
		m.x.answer.origin = ORIGIN_CACHE;
		question_set(&m.x.answer, answer_absent(PROOF_ALL_TABLES));
		snprintf(want, sizeof want, "or after `socketmapctl flush %s`.", cases[i].words);
		assert_non_null(strstr(words(&m), want));
	}
}

/* --- what the directory says, and when ----------------------------------------------- */

static void ask_live(struct made *m, enum verdict verdict, const char *why, uint64_t took,
		     uint64_t waited)
{
	struct explain_live *l = &last(m)->live;

	l->was_asked = true;
	l->verdict = verdict;
	l->took = took;
	l->waited = waited;
	l->is_late = took + waited > last(m)->times.deadline * 1000;
	put(&l->why, why);
}

static void a_cached_failure_is_no_earlier_one_of_its_source(void **state)
{
	static const struct {
		enum verdict live;
		enum source_state source;
		const char *words;
	} cases[] = {
		{ TEMP, SOURCE_UP, " Asked again just now, it fails once more: new reason." },
		{ NOTFOUND, SOURCE_UP, " Asked again just now, it answers." },
		{ PERM, SOURCE_UP, "" },	/* not asked */
		{ PERM, SOURCE_DOWN, " The last error of its source: old reason." },
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct made m;
		char want[200];

		make(&m, SEARCH_EXACT, (const char *const[KEYS_MAX]){ "k" });
		decide(&m, answer_temp_for(REASON_FAILED, "the directory failed"));
		strcpy(last(&m)->source_why, "old reason");
		last(&m)->source_state = cases[i].source;
		last(&m)->cache.age = 300;
		if (cases[i].live != PERM)
			ask_live(&m, cases[i].live, "new reason", 1, 0);
		snprintf(want, sizeof want, "The directory of source \"dir\" failed to answer for "
			 "\"k\" 300 ms ago, and is left alone for a second.%s", cases[i].words);
		assert_string_equal(words(&m), want);
	}
}

static void who_is_late_is_told_apart_from_who_is_not_asked(void **state)
{
	struct made m;
	(void)state;

	for (int i = 0; i < 3; i++) {
		static const char *const want[] = {
			"does not answer within deadline = 2 s: it took 3 s.",
			"does not answer within deadline = 2 s: for 3 s no driver process was free "
			"to ask it.",
			"was asked just now, and is down: cut.",
		};

		make(&m, SEARCH_EXACT, (const char *const[KEYS_MAX]){ "k" });
		decide(&m, answer_temp_for(i < 2 ? REASON_DEADLINE : REASON_DOWN, ""));
		last(&m)->would_ask = true;
		ask_live(&m, i < 2 ? FOUND : TEMP, i < 2 ? "" : "cut", i ? 10 : 3000000,
			 i == 1 ? 3000000 : 0);
		assert_non_null(strstr(words(&m), want[i]));
	}
	make(&m, SEARCH_EXACT, (const char *const[KEYS_MAX]){ "k" });
	decide(&m, answer_temp_for(REASON_DOWN, ""));
	last(&m)->would_ask = true;
	last(&m)->state = TABLE_STALE;
	last(&m)->age = 3 * HOUR;
	assert_string_equal(words(&m),
			    "Source \"dir\" is down: its breaker is open, and it is asked only now and "
			    "then until it is back. The mirror does not have the key, but is not believed "
			    "about that, as it is 3 h old, more than max_age = 2 h.");
}

static void a_stale_value_tells_why_it_stands_in(void **state)
{
	static const char *const why[] = {
		"does not answer within deadline = 2 s: it took 3 s.", "cannot answer: cut.",
		"has just failed, and is left alone for a second.", "was not asked.",
	};
	struct made m;
	char want[200];
	(void)state;

	for (size_t i = 0; i < sizeof why / sizeof *why; i++) {
		make(&m, SEARCH_EXACT, (const char *const[KEYS_MAX]){ "k" });
		last(&m)->origin = ORIGIN_CACHE;
		last(&m)->is_stale = true;
		last(&m)->cache.age = 2 * HOUR;
		last(&m)->would_ask = i != 2;
		decide(&m, answer_found(TEXT("v")));
		m.x.is_live = i != 3;
		if (i != 3)
			ask_live(&m, i == 1 ? TEMP : FOUND, "cut", i ? 10 : 3000000, 0);
		put(&last(&m)->live.text, "v");
		snprintf(want, sizeof want, "The directory %s So a stale value stands in: source "
			 "\"dir\" gave it for \"k\" 2 h ago (ttl = 60 min).", why[i]);
		assert_string_equal(words(&m), want);
	}
}

static void a_mirror_that_answers_for_a_late_directory_says_so(void **state)
{
	struct made m;
	(void)state;

	make(&m, SEARCH_EXACT, (const char *const[KEYS_MAX]){ "k" });
	m.x.answer.origin = ORIGIN_MIRROR;
	question_set(&m.x.answer, answer_absent(PROOF_ALL_TABLES));
	last(&m)->would_ask = true;
	ask_live(&m, FOUND, "", 3000000, 0);
	put(&last(&m)->live.text, "v");
	assert_string_equal(words(&m),
			    "The mirror of source \"dir\", which is 40 s old, has no such key, and is "
			    "complete. The directory itself does not answer within deadline = 2 s: it took "
			    "3 s. It has the value \"v\".");
}

static void a_rejection_tells_what_settles_it(void **state)
{
	static const struct {
		struct rejection r;
		const char *words;
	} cases[] = {
		{ { .times = 1, .fault = SCAN_SHRUNKEN, .new = 5 },
		  "max_shrink (5 keys); if the directory is right: `socketmapctl accept m`." },
		{ { .times = 1, .fault = SCAN_TOO_SMALL, .new = 5 },
		  "min_entries (5 keys); if the directory is right: lower `min_entries`, and reload." },
		{ { .times = 1, .fault = SCAN_LACKS_KEY, .new = 5, .expected = "root" },
		  "missing, \"root\" (5 keys); if the directory is right: remove that key from `expect`, "
		  "and reload." },
	};
	struct made m;
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		make(&m, SEARCH_EXACT, (const char *const[KEYS_MAX]){ "k" });
		last(&m)->has_mirror = false;
		last(&m)->rejection = cases[i].r;
		decide(&m, answer_temp_for(REASON_EMPTY, ""));
		assert_non_null(strstr(words(&m), cases[i].words));
	}
}

static void a_stale_miss_tells_what_the_domain_map_says(void **state)
{
	static const struct {
		const char *domain;
		enum membership says;
		const char *words;
	} cases[] = {
		{ "", MEMBER_UNKNOWN,
		  " The key has no domain that the map \"doms\" (domains) could be asked about." },
		{ "d.test", MEMBER_YES, " The map \"doms\" (domains) has \"d.test\"." },
		{ "d.test", MEMBER_UNKNOWN, " The map \"doms\" (domains) cannot say whether it has "
		  "\"d.test\": explain it there to see why." },
	};
	struct made m;
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		make(&m, SEARCH_EXACT, (const char *const[KEYS_MAX]){ "k" });
		last(&m)->stale_miss = STALE_MISS_DOMAIN;
		last(&m)->domains = (char *)"doms";
		put(&last(&m)->domain, cases[i].domain);
		last(&m)->membership = cases[i].says;
		decide(&m, answer_temp_for(REASON_STALE, ""));
		assert_non_null(strstr(words(&m), cases[i].words));
	}
}

static void a_row_that_has_ended_is_told(void **state)
{
	struct made m;
	(void)state;

	make(&m, SEARCH_EXACT, (const char *const[KEYS_MAX]){ "k" });
	last(&m)->is_ended = true;
	m.x.answer.origin = ORIGIN_MIRROR;
	question_set(&m.x.answer, answer_absent(PROOF_ALL_TABLES));
	assert_non_null(strstr(words(&m), "is complete. The mirror has a row of \"k\", but its expiry "
					  "time has passed."));
}

static void rejections_and_scans_are_told_as_they_are(void **state)
{
	struct made m;
	(void)state;

	for (int i = 0; i < 2; i++) {
		make(&m, SEARCH_EXACT, (const char *const[KEYS_MAX]){ "k" });
		last(&m)->has_mirror = false;
		last(&m)->rejection = (struct rejection){ .times = i ? 2 : 1, .new = i ? 2 : 1 };
		last(&m)->rejected_for = 300000;
		decide(&m, answer_temp_for(REASON_EMPTY, ""));
		assert_non_null(strstr(words(&m), i ?
			"The mirror's scans have been rejected, 2 in a row for 5 min: " :
			"The mirror's last scan was rejected, 5 min ago: "));
	}
	make(&m, SEARCH_EXACT, (const char *const[KEYS_MAX]){ "k" });
	decide(&m, answer_found(TEXT("v")));
	last(&m)->is_stale = true;
	last(&m)->scan.is_running = true;
	last(&m)->scan.outcome = SCAN_FAILED;
	strcpy(last(&m)->scan.why, "no route");
	assert_non_null(strstr(words(&m), " The last refresh failed 10 min ago: no route. Another one "
					  "is running."));
	make(&m, SEARCH_EXACT, (const char *const[KEYS_MAX]){ "k" });
	decide(&m, answer_temp_for(REASON_QUEUE, "source dir: queue is full"));
	assert_string_equal(words(&m), "The queue of source \"dir\" is full: lookups come faster than "
				       "the directory answers them.");
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
		cmocka_unit_test(a_command_is_harmless_in_a_shell),
		cmocka_unit_test(a_cached_failure_is_no_earlier_one_of_its_source),
		cmocka_unit_test(who_is_late_is_told_apart_from_who_is_not_asked),
		cmocka_unit_test(a_stale_value_tells_why_it_stands_in),
		cmocka_unit_test(a_mirror_that_answers_for_a_late_directory_says_so),
		cmocka_unit_test(a_rejection_tells_what_settles_it),
		cmocka_unit_test(a_stale_miss_tells_what_the_domain_map_says),
		cmocka_unit_test(a_row_that_has_ended_is_told),
		cmocka_unit_test(rejections_and_scans_are_told_as_they_are),
		cmocka_unit_test(queries_are_kept_each_with_its_end_up_to_a_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
