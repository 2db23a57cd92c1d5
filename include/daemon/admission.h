/* admission.h - who may connect: a place for each client, and who leaves when there is none. */
#ifndef DAEMON_ADMISSION_H
#define DAEMON_ADMISSION_H

#include "base/text.h"

#include <stdatomic.h>
#include <stdint.h>
#include <sys/socket.h>

/*
 * A client's place. Written by its loop while it answers, read by the control
 * loop when it looks for the client that has been idle longest.
 */
struct seat {
	_Alignas(64) _Atomic uint64_t idle_since;	/* usec; 0: busy, or never to be evicted */
	_Atomic(void *) client;		/* for its own loop to recognise; see client_evict() */
	unsigned loop;			/* the answer loop; control thread only, as all that follows */
	uint64_t address;		/* hash of its address; 0: a unix socket */
	struct seat *next_free;
};

/* All seats. Control thread. */
struct admission;

struct admission *admission_new(size_t max_clients, size_t max_per_address);
void admission_free(struct admission *a);

enum admitted {
	ADMITTED,
	REFUSED_ADDRESS,	/* max_clients_per_address */
	REFUSED_FULL,		/* max_clients, and nobody may be asked to leave */
};

/*
 * A seat for a client from `peer` that `loop` will serve.
 *
 * ret_seat     set on ADMITTED; idle_since is 0; give it back with admission_leave()
 * ret_evicted  set on ADMITTED: the seat whose client has been idle longest and now has to go
 *              for it, or NULL. Not chosen again while it is going.
 */
enum admitted admission_enter(struct admission *a, const struct sockaddr *peer, unsigned loop,
			      struct seat **ret_seat, struct seat **ret_evicted);
void admission_leave(struct admission *a, struct seat *seat);

size_t admission_clients(const struct admission *a);

#endif
