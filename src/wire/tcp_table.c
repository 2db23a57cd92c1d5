#include "wire/protocol.h"

/*
 * Longest reply, its newline included: Postfix src/util/dict_tcp.c, DICT_TCP_MAXLEN. A
 * longer one costs the client ten attempts, one a second.
 */
#define REPLY_MAX 4096

/* 5xx means "no such key" (dict_tcp.c), so PERM must be 400. */
static const struct text codes[VERDICTS] = {
	[TEMP] = { "400 ", 4 },
	[FOUND] = { "200 ", 4 },
	[NOTFOUND] = { "500 ", 4 },
	[PERM] = { "400 ", 4 },
};

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

/*
 * Append `t` with its %XX decoded. Blanks and control characters must be encoded: a stray
 * one at the end would make another key of it, which is not found.
 */
static bool decode(struct text t, struct buf *out)
{
	char *to = buf_room(out, t.n + 1);	/* never NULL */
	size_t n = 0;

	for (size_t i = 0; i < t.n; i++) {
		unsigned char c = (unsigned char)t.p[i];

		if (c <= ' ' || c == 0x7f)
			return false;
		if (c != '%') {
			to[n++] = (char)c;
			continue;
		}
		if (t.n - i < 3)
			return false;

		int high = hex_value(t.p[i + 1]), low = hex_value(t.p[i + 2]);
		if (high < 0 || low < 0)
			return false;
		to[n++] = (char)(high << 4 | low);
		i += 2;
	}
	out->n += n;
	return true;
}

static enum parsed parse_line(struct text line, struct buf *scratch,
			      struct request *ret_req)
{
	static const struct text get = { "get ", 4 };

	if (line.n && line.p[line.n - 1] == '\r')
		line.n--;
	buf_clear(scratch);
	if (!text_starts(line, get) || !decode(text_skip(line, get.n), scratch))
		return MEANINGLESS;
	ret_req->map = TEXT("");
	ret_req->key = buf_view(scratch);
	return PARSED;
}

static enum parsed parse(struct text in, size_t max, struct buf *scratch,
			 struct request *ret_req, size_t *ret_used)
{
	struct text first = { in.p, in.n < max ? in.n : max };
	const char *end = text_chr(first, '\n');

	if (!end)
		return in.n < max ? NEED_MORE : OVERLONG;
	*ret_used = (size_t)(end - in.p) + 1;
	return parse_line(text_before(in, end), scratch, ret_req);
}

/* Append `t` encoded, at most `max` bytes; false, with `out` unchanged: it takes more. */
static bool encode(struct text t, size_t max, struct buf *out)
{
	static const char hex[] = "0123456789ABCDEF";
	char *to = buf_room(out, max);
	size_t n = 0;

	for (size_t i = 0; i < t.n; i++) {
		unsigned char c = (unsigned char)t.p[i];
		bool is_plain = c > ' ' && c <= '~' && c != '%';

		if (max - n < (is_plain ? 1 : 3))
			return false;
		if (is_plain) {
			to[n++] = (char)c;
		} else {
			to[n++] = '%';
			to[n++] = hex[c >> 4];
			to[n++] = hex[c & 0xf];
		}
	}
	out->n += n;
	return true;
}

static enum verdict reply(struct answer answer, struct buf *out)
{
	const size_t max = REPLY_MAX - codes[FOUND].n - 1;
	char reason[REASON_MAX];
	size_t before = out->n;

	answer = answer_sendable(answer, max, reason);
	buf_text(out, codes[answer.verdict]);
	if (!encode(answer.value, max, out)) {
		out->n = before;
		return reply(answer_temp_for(REASON_TOO_LONG, "value too long"), out);
	}
	buf_byte(out, '\n');
	return answer.verdict;
}

const struct protocol tcp_table = {
	.name = "tcp_table",
	.kind = PROTOCOL_TCP_TABLE,
	.max_request = 8 * 1024,
	.idle_timeout = 0,		/* reconnecting costs Postfix a second, dict_tcp.c */
	.names_map = false,
	.parse = parse,
	.reply = reply,
};
