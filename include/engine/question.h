/* question.h - one lookup from outside the answer loops, answered as a client's would be. */
#ifndef ENGINE_QUESTION_H
#define ENGINE_QUESTION_H

#include "engine/engine.h"

/* What came of it. All zeroes is valid. */
struct question_reply {
	bool has_map;			/* else the answer is TEMP, "no such map" */
	bool is_refused;		/* the map is secret, and nothing was asked */
	struct answer answer;		/* its text in `text` */
	struct buf text;
	struct buf matched_key;		/* FOUND: the candidate that has the value */
	unsigned step;			/* FOUND: its place, from 0 */
	enum origin origin;		/* table.h: who knew */
	bool is_stale;			/* by a copy past its time */
	uint64_t age;			/* msec, of what it was read from; 0: the directory, now */
	uint64_t took;			/* usec, from the question to the answer */
};

/*
 * Ask a map as Postfix would, waiting for the directory up to the map's deadline. Counted like any other
 * question to the directory, but not as a reply. From a thread without a loop. False: no loop answers.
 * On true ends with question_done().
 *
 * with_secrets   of maps that are secret, too
 */
bool question_ask(struct engine *e, struct text map, struct text key, bool with_secrets,
		  struct question_reply *ret);
void question_done(struct question_reply *r);

/* Make `answer` the reply's; its text is copied. */
void question_set(struct question_reply *r, struct answer answer);

/* How long a loop that is alive takes at most to hear of an inquiry, msec. */
#define QUESTION_PATIENCE 2000

#endif
