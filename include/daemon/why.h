/* why.h - an explanation in words. Pure. */
#ifndef DAEMON_WHY_H
#define DAEMON_WHY_H

#include "engine/explain.h"
#include "wire/protocol.h"

/*
 * Append one to a few plain sentences that name what decided the answer. Keys and values are cut where
 * they are long.
 *
 * sent   what each protocol's clients really get: answer_sendable()
 */
void why_say(const struct explanation *x, struct text map, struct text key,
	     const enum verdict sent[static PROTOCOLS], struct buf *out);

#endif
