#include "base/verdict.h"

struct answer answer_absent(enum proof proof)
{
	if (proof > PROOF_NONE && proof < PROOFS)
		return (struct answer){ .verdict = NOTFOUND };
	return answer_temp("absence without proof");
}

struct answer answer_found(struct text value)
{
	if (value.n == 0)
		return answer_temp_for(REASON_UNUSABLE, "empty value");
	return (struct answer){ .verdict = FOUND, .value = value };
}

struct answer answer_temp_for(enum temp_reason reason, const char *why)
{
	return (struct answer){ TEMP, text_of(why), reason };
}

struct answer answer_temp(const char *why)
{
	return answer_temp_for(REASON_OTHER, why);
}

struct answer answer_perm(const char *why)
{
	return (struct answer){ .verdict = PERM, .value = text_of(why) };
}

const char *verdict_name(enum verdict verdict)
{
	static const char *const names[VERDICTS] = {
		[TEMP] = "TEMP", [FOUND] = "FOUND", [NOTFOUND] = "NOTFOUND", [PERM] = "PERM",
	};

	return verdict < VERDICTS ? names[verdict] : "TEMP";
}

const char *temp_reason_name(enum temp_reason reason)
{
	static const char *const names[TEMP_REASONS] = {
#define X(id, name) [id] = name,
		TEMP_REASON_ROWS(X)
#undef X
	};

	return reason < TEMP_REASONS ? names[reason] : names[REASON_OTHER];
}
