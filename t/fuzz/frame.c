/* A stream of driver frames; what parses is written again byte for byte. */
#include "fuzz/fuzz.h"

#include "wire/frame.h"

static void check_number(struct text t)
{
	struct buf again = { 0 };
	uint64_t n;

	if (frame_number(t, &n)) {
		buf_printf(&again, "%llu", (unsigned long long)n);
		assert(text_eq(buf_view(&again), t));
	}
	buf_done(&again);
}

static enum parsed take(struct text in, size_t max, struct buf *log, size_t *ret_used)
{
	struct frame frame;
	struct buf again = { 0 };
	enum parsed parsed = frame_parse(in, &frame, ret_used);

	(void)max;
	assert(parsed != MEANINGLESS);
	if (parsed == PARSED) {
		assert(frame_add(&again, frame.verb, frame.args[0], frame.args[1],
				 frame.args[2]));
		assert(text_eq(buf_view(&again), (struct text){ in.p, *ret_used }));
		buf_text(log, buf_view(&again));
		check_number(frame.args[0]);
	}
	buf_done(&again);
	return parsed;
}

/* One message of arbitrary arguments, as the peer would read it. */
static void check_written(enum frame_verb verb, struct text args)
{
	struct text number = TEXT("17"), word = TEXT("option");
	struct buf out = { 0 };
	struct frame frame;
	size_t used;

	switch (verb) {
	case FRAME_START:
	case FRAME_PING:
	case FRAME_FAIL:
		assert(frame_add(&out, verb, TEXT(""), TEXT(""), TEXT("")));
		break;
	case FRAME_HELLO:
	case FRAME_SOURCE:
	case FRAME_LOOKUP:
	case FRAME_EXPLAIN:
	case FRAME_INFO:
		assert(frame_add(&out, verb, number, args, TEXT("")));
		break;
	case FRAME_TABLE:
		assert(frame_add(&out, verb, number, word, args));
		break;
	default:
		assert(frame_add(&out, verb, args, TEXT(""), TEXT("")));
	}
	assert(frame_parse(buf_view(&out), &frame, &used) == PARSED);
	assert(frame.verb == verb && used == out.n);
	assert(verb == FRAME_START || verb == FRAME_PING || verb == FRAME_FAIL ||
	       text_eq(frame.args[0], args) || text_eq(frame.args[1], args) ||
	       text_eq(frame.args[2], args));
	buf_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct text in = fuzz_text(data, size);

	fuzz_stream(in, take, FRAME_MAX);
	if (size)
		check_written(data[0] % FRAME_VERBS, text_skip(in, 1));
	return 0;
}
