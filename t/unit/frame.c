#include "unit/test.h"

#include "wire/frame.h"
#include "wire/netstring.h"

#define NONE TEXT("")

/* One message of each verb: the example of the manual, and its arguments. */
static const struct {
	enum frame_verb verb;
	const char *args[3];
	const char *wire;
} messages[] = {
	{ FRAME_HELLO, { "1", "socketmapd-sqlite sqlite 3.40.1" },
	  "39:hello 1 socketmapd-sqlite sqlite 3.40.1," },
	{ FRAME_SOURCE, { "dbpath", "/a b.sqlite" }, "25:source dbpath /a b.sqlite," },
	{ FRAME_SOURCE, { "password", "" }, "16:source password ," },
	{ FRAME_START, { 0 }, "5:start," },
	{ FRAME_TABLE, { "7", "query", "SELECT 1" }, "22:table 7 query SELECT 1," },
	{ FRAME_FORGET, { "7" }, "8:forget 7," },
	{ FRAME_LOOKUP, { "7", "\"a b\"@x,y:" }, "19:lookup 7 \"a b\"@x,y:," },
	{ FRAME_LOOKUP, { "7", "" }, "9:lookup 7 ," },
	{ FRAME_SCAN, { "7" }, "6:scan 7," },
	{ FRAME_CHANGED, { "7" }, "9:changed 7," },
	{ FRAME_EXPLAIN, { "7", "a b" }, "13:explain 7 a b," },
	{ FRAME_PING, { 0 }, "4:ping," },
	{ FRAME_KEY, { "joe@a.test" }, "14:key joe@a.test," },
	{ FRAME_KEY, { "" }, "4:key ," },
	{ FRAME_VALUE, { " a, b " }, "12:value  a, b ," },
	{ FRAME_UNTIL, { "1763800000" }, "16:until 1763800000," },
	{ FRAME_FAIL, { "" }, "4:fail," },
	{ FRAME_QUERY, { "SELECT 1" }, "14:query SELECT 1," },
	{ FRAME_INFO, { "host", "ldap://a b" }, "20:info host ldap://a b," },
	{ FRAME_DONE, { "0" }, "6:done 0," },
	{ FRAME_TEMP, { "no such table: t" }, "21:temp no such table: t," },
	{ FRAME_DOWN, { "Can't connect" }, "18:down Can't connect," },
};
#define N_MESSAGES (sizeof messages / sizeof *messages)

static bool add(struct buf *out, size_t i)
{
	const char *const *args = messages[i].args;

	return frame_add(out, messages[i].verb, text_of(args[0]), text_of(args[1]),
			 text_of(args[2]));
}

static void assert_message(const struct frame *frame, size_t i)
{
	assert_int_equal(frame->verb, messages[i].verb);
	for (size_t k = 0; k < 3; k++)
		assert_true(text_eq(frame->args[k], text_of(messages[i].args[k])));
}

static void writes_every_verb_as_the_manual_says(void **state)
{
	bool seen[FRAME_VERBS] = { 0 };
	(void)state;

	for (size_t i = 0; i < N_MESSAGES; i++) {
		struct buf out = { 0 };

		assert_true(add(&out, i));
		assert_text(buf_view(&out), messages[i].wire);
		buf_done(&out);
		seen[messages[i].verb] = true;
	}
	for (size_t v = 0; v < FRAME_VERBS; v++)
		assert_true(seen[v]);
}

static void reads_every_verb_at_every_split(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_MESSAGES; i++) {
		struct text wire = text_of(messages[i].wire);

		for (size_t n = 0; n <= wire.n; n++) {
			struct text copy = exact_copy((struct text){ wire.p, n });
			struct frame frame;
			size_t used = 0;
			enum parsed parsed = frame_parse(copy, &frame, &used);

			assert_int_equal(parsed, n < wire.n ? NEED_MORE : PARSED);
			if (parsed == PARSED) {
				assert_message(&frame, i);
				assert_int_equal(used, wire.n);
			}
			free((char *)copy.p);
		}
	}
}

static void messages_in_one_piece_come_out_in_order(void **state)
{
	struct buf out = { 0 };
	struct frame frame;
	size_t used;
	(void)state;

	for (size_t i = 0; i < N_MESSAGES; i++)
		add(&out, i);
	struct text rest = buf_view(&out);
	for (size_t i = 0; i < N_MESSAGES; i++) {
		assert_int_equal(frame_parse(rest, &frame, &used), PARSED);
		assert_message(&frame, i);
		rest = text_skip(rest, used);
	}
	assert_int_equal(frame_parse(rest, &frame, &used), NEED_MORE);
	buf_done(&out);
}

static void refuses_what_is_no_message(void **state)
{
	static const char *const bad[] = {
		"", " ", "bogus", "bogus 1", "PING", "pin", "pingg", " ping",
		"ping ", "ping x", "start ", "start 1",			/* too many */
		"hello", "hello 1", "source", "source dbpath", "table", "table 7",
		"table 7 query", "forget", "lookup", "lookup 7", "scan", "key", "value",
		"done", "temp", "down",					/* too few */
		"hello  x", "source  x", "table  query x", "table 7  x", "lookup  k",
	};
	(void)state;

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct frame frame = { .verb = FRAME_VERBS };
		size_t used = 0;
		struct buf in = { 0 };

		netstring_add(&in, text_of(bad[i]), NONE);
		assert_int_equal(frame_parse(buf_view(&in), &frame, &used), MALFORMED);
		assert_int_equal(frame.verb, FRAME_VERBS);
		assert_int_equal(used, 0);
		buf_done(&in);
	}
}

static void refuses_what_is_no_netstring(void **state)
{
	static const char *const bad[] = { "ping\n", "04:ping,", "4:pingx", "1048577" };
	struct frame frame;
	size_t used;
	(void)state;

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_int_equal(frame_parse(text_of(bad[i]), &frame, &used), MALFORMED);
}

static void the_last_argument_is_any_bytes(void **state)
{
	char bytes[256];
	struct text value = { bytes, sizeof bytes };
	struct buf out = { 0 };
	struct frame frame;
	size_t used;
	(void)state;

	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = (char)i;
	assert_true(frame_add(&out, FRAME_LOOKUP, TEXT("1"), value, NONE));
	assert_int_equal(frame_parse(buf_view(&out), &frame, &used), PARSED);
	assert_true(text_eq(frame.args[1], value));
	buf_done(&out);
}

static void what_the_peer_would_refuse_is_not_written(void **state)
{
	struct text big = { calloc(1, FRAME_MAX + 1), FRAME_MAX - strlen("value ") };
	struct buf out = { 0 };
	struct frame frame;
	size_t used;
	(void)state;

	assert_true(frame_add(&out, FRAME_VALUE, big, NONE, NONE));
	assert_int_equal(frame_parse(buf_view(&out), &frame, &used), PARSED);

	size_t before = out.n;
	big.n++;
	assert_false(frame_add(&out, FRAME_VALUE, big, NONE, NONE));
	big.n = SIZE_MAX;
	assert_false(frame_add(&out, FRAME_LOOKUP, TEXT("1"), big, NONE));
	assert_int_equal(out.n, before);
	buf_done(&out);
	free((char *)big.p);
}

static void numbers_are_plain_digits(void **state)
{
	static const struct { const char *in; uint64_t want; } good[] = {
		{ "0", 0 }, { "1", 1 }, { "1000000", 1000000 },
		{ "18446744073709551615", UINT64_MAX },
	};
	static const char *const bad[] = {
		"", "-1", "+1", " 1", "1 ", "01", "00", "1x", "0x1",
		"18446744073709551616", "18446744073709551620", "99999999999999999999",
	};
	uint64_t n = 42;
	(void)state;

	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		assert_true(frame_number(text_of(good[i].in), &n));
		assert_int_equal(n, good[i].want);
	}
	n = 42;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_false(frame_number(text_of(bad[i]), &n));
	assert_int_equal(n, 42);
}

static void verbs_have_the_names_of_the_wire(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_MESSAGES; i++) {
		const char *word = strchr(messages[i].wire, ':') + 1;
		const char *name = frame_verb_name(messages[i].verb);

		assert_true(text_starts(text_of(word), text_of(name)));
	}
	assert_string_equal(frame_verb_name(FRAME_VERBS), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(writes_every_verb_as_the_manual_says),
		cmocka_unit_test(reads_every_verb_at_every_split),
		cmocka_unit_test(messages_in_one_piece_come_out_in_order),
		cmocka_unit_test(refuses_what_is_no_message),
		cmocka_unit_test(refuses_what_is_no_netstring),
		cmocka_unit_test(the_last_argument_is_any_bytes),
		cmocka_unit_test(what_the_peer_would_refuse_is_not_written),
		cmocka_unit_test(numbers_are_plain_digits),
		cmocka_unit_test(verbs_have_the_names_of_the_wire),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
