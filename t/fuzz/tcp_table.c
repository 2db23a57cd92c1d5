/* A stream of tcp_table requests, and the replies to them. */
#include "fuzz/fuzz.h"

#include "wire/netstring.h"

#include <ctype.h>

#define REPLY_MAX 4096

static void decode(struct text t, struct buf *out)
{
	for (size_t i = 0; i < t.n; i++) {
		if (t.p[i] != '%') {
			buf_byte(out, t.p[i]);
			continue;
		}
		assert(i + 2 < t.n && isxdigit((unsigned char)t.p[i + 1]) &&
		       isxdigit((unsigned char)t.p[i + 2]));

		char hex[] = { t.p[i + 1], t.p[i + 2], '\0' };
		buf_byte(out, (char)strtol(hex, NULL, 16));
		i += 2;
	}
}

/* One printable line that says 500 for NOTFOUND only, and 200 for a whole value. */
static void check_reply(struct text reply, struct answer answer, enum verdict sent)
{
	static const char *const codes[VERDICTS] = {
		[TEMP] = "400 ", [FOUND] = "200 ", [NOTFOUND] = "500 ", [PERM] = "400 ",
	};
	struct buf value = { 0 };

	assert(reply.n <= REPLY_MAX && reply.p[reply.n - 1] == '\n');
	assert(sent < VERDICTS && text_starts(reply, text_of(codes[sent])));
	assert((sent == NOTFOUND) == (answer.verdict == NOTFOUND));

	struct text encoded = { reply.p + 4, reply.n - 5 };
	assert((encoded.n == 0) == (sent == NOTFOUND));
	for (size_t i = 0; i < encoded.n; i++)
		assert(encoded.p[i] > ' ' && encoded.p[i] <= '~');
	decode(encoded, &value);
	if (sent == FOUND) {
		assert(answer.verdict == FOUND);
		assert(text_eq(buf_view(&value), answer.value));
	}
	buf_done(&value);
}

static void reply(struct answer answer, struct buf *log)
{
	struct buf out = { 0 };
	enum verdict sent = tcp_table.reply(answer, &out);

	check_reply(buf_view(&out), answer, sent);
	buf_text(log, buf_view(&out));
	buf_done(&out);
}

static enum parsed take(struct text in, size_t max, struct buf *log, size_t *ret_used)
{
	struct request req = { TEXT("?"), TEXT("?") };
	struct buf scratch = { 0 };
	enum parsed parsed = tcp_table.parse(in, max, &scratch, &req, ret_used);

	if (parsed == PARSED || parsed == MEANINGLESS) {
		assert(*ret_used <= max && in.p[*ret_used - 1] == '\n');
		assert(!text_chr((struct text){ in.p, *ret_used - 1 }, '\n'));
	}
	if (parsed == PARSED) {
		enum verdict any = (enum verdict)(fuzz_seed(req.key) % (VERDICTS + 1));

		assert(req.map.n == 0 && req.key.n <= max);
		netstring_add(log, req.key, TEXT(""));
		reply((struct answer){ .verdict = any, .value = req.key }, log);
		reply((struct answer){ .verdict = FOUND, .value = req.key }, log);
	} else if (parsed == MEANINGLESS) {
		reply(answer_perm("bad request"), log);
	}
	buf_done(&scratch);
	return parsed;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fuzz_stream(fuzz_text(data, size), take, tcp_table.max_request);
	fuzz_stream(fuzz_text(data, size), take, 16);
	return 0;
}
