#include "wire/protocol.h"

const struct protocol *const protocols[PROTOCOLS] = {
	[PROTOCOL_SOCKETMAP] = &socketmap, [PROTOCOL_TCP_TABLE] = &tcp_table,
};

const struct protocol *protocol_find(struct text name)
{
	for (size_t i = 0; i < PROTOCOLS; i++)
		if (text_is(name, protocols[i]->name))
			return protocols[i];
	return NULL;
}

static struct text make_reason(struct text why, char reason[static REASON_MAX])
{
	why = text_trim(why);
	if (why.n == 0)
		return TEXT("no reason given");
	if (why.n > REASON_MAX)
		why.n = REASON_MAX;
	for (size_t i = 0; i < why.n; i++)
		reason[i] = why.p[i] >= ' ' && why.p[i] <= '~' ? why.p[i] : '?';
	return (struct text){ reason, why.n };
}

struct answer answer_sendable(struct answer answer, size_t max_value,
			      char reason[static REASON_MAX])
{
	switch (answer.verdict) {
	case FOUND:
		if (answer.value.n == 0)
			return answer_temp_for(REASON_UNUSABLE, "empty value");
		if (answer.value.n > max_value)
			return answer_temp_for(REASON_TOO_LONG, "value too long");
		if (text_chr(answer.value, '\0'))
			return answer_temp_for(REASON_UNUSABLE, "value with a NUL");
		return answer;
	case NOTFOUND:
		answer.value = TEXT("");
		return answer;
	case PERM:
		break;
	default:
		answer.verdict = TEMP;
	}
	answer.value = make_reason(answer.value, reason);
	return answer;
}
