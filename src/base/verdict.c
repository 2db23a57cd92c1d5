#include "base/verdict.h"

struct answer answer_absent(enum proof proof)
{
	if (proof > PROOF_NONE && proof < PROOFS)
		return (struct answer){ NOTFOUND, { NULL, 0 } };
	return answer_temp("absence without proof");
}

struct answer answer_found(struct text value)
{
	if (value.n == 0)
		return answer_temp("empty value");
	return (struct answer){ FOUND, value };
}

struct answer answer_temp(const char *why)
{
	return (struct answer){ TEMP, text_of(why) };
}

struct answer answer_perm(const char *why)
{
	return (struct answer){ PERM, text_of(why) };
}

const char *verdict_name(enum verdict verdict)
{
	static const char *const names[VERDICTS] = {
		[TEMP] = "TEMP", [FOUND] = "FOUND", [NOTFOUND] = "NOTFOUND", [PERM] = "PERM",
	};

	return verdict < VERDICTS ? names[verdict] : "TEMP";
}
