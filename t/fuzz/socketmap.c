/* A stream of socketmap requests, and the replies to them. */
#include "fuzz/fuzz.h"

#include "wire/netstring.h"

#define REPLY_MAX 100000

static char big[REPLY_MAX + 100];

/* Any answer, chosen by the key; a key "big..." makes a value around the size limit. */
static struct answer answer_for(struct text key)
{
	if (text_starts(key, TEXT("big")))
		return (struct answer){ .verdict = FOUND, .value = { big, REPLY_MAX - 16 + key.n % 100 } };
	return (struct answer){ .verdict = (enum verdict)(fuzz_seed(key) % (VERDICTS + 1)), .value = key };
}

/* One strict netstring: a word that Postfix knows, a blank, and a text if one is due. */
static void check_reply(struct text reply, struct answer answer, enum verdict sent)
{
	static const char *const words[VERDICTS] = {
		[TEMP] = "TEMP ", [FOUND] = "OK ", [NOTFOUND] = "NOTFOUND ",
		[PERM] = "PERM ",
	};
	struct text content;
	size_t used;

	assert(netstring_parse(reply, REPLY_MAX, &content, &used) == PARSED);
	assert(used == reply.n);
	assert(sent < VERDICTS && text_starts(content, text_of(words[sent])));
	assert((sent == NOTFOUND) == (answer.verdict == NOTFOUND));

	struct text value = text_skip(content, strlen(words[sent]));
	assert((value.n == 0) == (sent == NOTFOUND));
	assert(!text_chr(value, '\0'));
	if (sent == FOUND)
		assert(answer.verdict == FOUND && text_eq(value, answer.value));
	if (sent == TEMP || sent == PERM)
		for (size_t i = 0; i < value.n; i++)
			assert(i < REASON_MAX && value.p[i] >= ' ' && value.p[i] <= '~');
}

static void reply(struct answer answer, struct buf *log)
{
	struct buf out = { 0 };
	enum verdict sent = socketmap.reply(answer, &out);

	check_reply(buf_view(&out), answer, sent);
	buf_text(log, buf_view(&out));
	buf_done(&out);
}

static enum parsed take(struct text in, size_t max, struct buf *log, size_t *ret_used)
{
	struct request req = { TEXT("?"), TEXT("?") };
	struct buf scratch = { 0 };
	enum parsed parsed = socketmap.parse(in, max, &scratch, &req, ret_used);

	if (parsed == PARSED) {
		assert(req.map.n && !text_chr(req.map, ' '));
		assert(req.map.n + 1 + req.key.n <= max);
		netstring_add(log, req.map, TEXT(""));
		netstring_add(log, req.key, TEXT(""));
		reply(answer_for(req.key), log);
	} else if (parsed == MEANINGLESS) {
		reply(answer_perm("bad request"), log);
	}
	buf_done(&scratch);
	return parsed;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!big[0])
		memset(big, 'v', sizeof big);
	fuzz_stream(fuzz_text(data, size), take, socketmap.max_request);
	fuzz_stream(fuzz_text(data, size), take, 20);
	return 0;
}
