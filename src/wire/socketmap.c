#include "wire/netstring.h"

/* Postfix src/util/dict_sockmap.c: DICT_SOCKMAP_MAX_REPLY. */
#define REPLY_MAX 100000

static const struct text words[VERDICTS] = {
	[TEMP] = { "TEMP ", 5 },
	[FOUND] = { "OK ", 3 },
	[NOTFOUND] = { "NOTFOUND ", 9 },
	[PERM] = { "PERM ", 5 },
};

static enum parsed parse(struct text in, size_t max, struct buf *scratch,
			 struct request *ret_req, size_t *ret_used)
{
	struct text content;
	enum parsed parsed = netstring_parse(in, max, &content, ret_used);

	(void)scratch;
	if (parsed != PARSED)
		return parsed;

	const char *blank = text_chr(content, ' ');
	if (!blank || blank == content.p)
		return MEANINGLESS;
	ret_req->map = text_before(content, blank);
	ret_req->key = text_from(content, blank + 1);
	return PARSED;
}

static enum verdict reply(struct answer answer, struct buf *out)
{
	char reason[REASON_MAX];

	answer = answer_sendable(answer, REPLY_MAX - words[FOUND].n, reason);
	netstring_add(out, words[answer.verdict], answer.value);
	return answer.verdict;
}

const struct protocol socketmap = {
	.name = "socketmap",
	.kind = PROTOCOL_SOCKETMAP,
	.max_request = 16 * 1024,
	.is_evictable = true,
	.idle_timeout = 60 * 1000,	/* Postfix reconnects silently */
	.names_map = true,
	.parse = parse,
	.reply = reply,
};
