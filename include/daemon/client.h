/* client.h - one connection: bytes to requests, answers to bytes, and its limits. Its loop's thread. */
#ifndef DAEMON_CLIENT_H
#define DAEMON_CLIENT_H

#include "daemon/answers.h"

/* A connection. Made by the control loop, lives on an answer loop, ends on the control loop. */
struct client {
	union {
		uv_handle_t handle;
		uv_stream_t stream;
		uv_tcp_t tcp;
		uv_pipe_t pipe;
	} uv;
	struct message message;		/* brings it to its loop, and back when it is gone */
	struct answers *answers;
	struct listener *listener;	/* a reference */
	struct seat *seat;
	int fd;				/* until the loop has it */
	bool is_unix;			/* kind of socket */
	struct client *prev, *next;	/* in answers.clients */
	struct client *next_waiting;	/* in answers.waiting */
	struct ask *ask;		/* the request that waits; nothing is read meanwhile */
	struct buf in;			/* received, not yet answered */
	struct buf out;			/* being written */
	struct buf later;		/* to be written after that */
	uv_write_t write;
	bool is_reading, is_writing, is_waiting, is_closing;
	bool has_asked;			/* at least a part of a request */
	bool has_ended;			/* nothing more comes; close when all is answered */
	uint64_t last_active;		/* the end of its last request, or its arrival */
	uint64_t asked;			/* when its request came that waits, usec of clock_usec() */
	uint64_t began;			/* when the first byte of the unfinished request came; 0: none */
	uint64_t written;		/* when output last made progress */
};

/*
 * On the client's loop: take its descriptor and serve it. When it is gone its message is
 * posted to the control loop with answers.on_client_gone, which gives its seat back and frees it.
 */
void client_begin(struct message *message);

/* Answer what is there; its turn, see answers_again(). */
void client_turn(struct client *c);

/* Its ask came home, or its deadline passed (`is_late`: the ask stays lent out). */
void client_resume(struct client *c, struct ask *ask, bool is_late);

/* Check its time limits. */
void client_check(struct client *c, uint64_t now);

/*
 * Close when nothing is owed to it: no request waits, no reply is unwritten, and it has ended or,
 * while the server stops, has asked nothing more and is not about to begin.
 */
void client_finish(struct client *c);

/* Close now. */
void client_close(struct client *c);

/* A message to a loop: ask the client in the seat to leave, if it is still there. */
struct eviction {
	struct message message;
	struct answers *answers;
	struct seat *seat;
	void *client;
};
void client_evict(struct message *message);

#endif
