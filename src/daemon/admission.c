#include "daemon/admission.h"

#include "base/hash.h"
#include "base/must.h"

#include <netinet/in.h>
#include <stdlib.h>

#define BUCKETS 1024

/* Seats beyond max_clients, for those who come while those who were evicted are still going. */
#define SPARE_SEATS 32

/* How many clients an address has. */
struct address {
	struct address *next;
	uint64_t hash;
	size_t clients;
};

struct admission {
	struct seat *seats;
	struct seat *free;
	size_t n, taken, max_clients, max_per_address;
	struct address *buckets[BUCKETS];
};

struct admission *admission_new(size_t max_clients, size_t max_per_address)
{
	struct admission *a = must_calloc(1, sizeof *a);

	a->n = max_clients + SPARE_SEATS;
	a->max_clients = max_clients;
	a->max_per_address = max_per_address;
	a->seats = must(aligned_alloc(_Alignof(struct seat), a->n * sizeof *a->seats));
	memset(a->seats, 0, a->n * sizeof *a->seats);
	for (size_t i = a->n; i-- > 0;) {
		a->seats[i].next_free = a->free;
		a->free = &a->seats[i];
	}
	return a;
}

void admission_free(struct admission *a)
{
	if (!a)
		return;
	for (size_t i = 0; i < BUCKETS; i++)
		while (a->buckets[i]) {
			struct address *next = a->buckets[i]->next;

			free(a->buckets[i]);
			a->buckets[i] = next;
		}
	free(a->seats);
	free(a);
}

/* The address without the port; 0 for a unix socket, whose peers have none. */
static uint64_t address_hash(const struct sockaddr *peer)
{
	struct text t = { NULL, 0 };

	if (peer->sa_family == AF_INET)
		t = (struct text){ (const char *)&((const struct sockaddr_in *)peer)->sin_addr, 4 };
	else if (peer->sa_family == AF_INET6)
		t = (struct text){ (const char *)&((const struct sockaddr_in6 *)peer)->sin6_addr, 16 };
	return t.n ? hash_text(t) | 1 : 0;
}

/* The pointer to the address's counter, or to where it belongs. */
static struct address **find_address(struct admission *a, uint64_t hash)
{
	struct address **at = &a->buckets[hash / 2 % BUCKETS];

	while (*at && (*at)->hash != hash)
		at = &(*at)->next;
	return at;
}

static struct seat *find_idlest(struct admission *a)
{
	struct seat *idlest = NULL;
	uint64_t oldest = UINT64_MAX;

	/* A walk over all seats, so that the requests themselves keep no list in order. */
	for (size_t i = 0; i < a->n; i++) {
		uint64_t since = atomic_load_explicit(&a->seats[i].idle_since, memory_order_relaxed);

		if (since && since < oldest) {
			oldest = since;
			idlest = &a->seats[i];
		}
	}
	return idlest;
}

static void count_address(struct admission *a, uint64_t hash)
{
	struct address **at = find_address(a, hash);

	if (!*at) {
		*at = must_calloc(1, sizeof **at);
		(*at)->hash = hash;
	}
	(*at)->clients++;
}

enum admitted admission_enter(struct admission *a, const struct sockaddr *peer, unsigned loop,
			      struct seat **ret_seat, struct seat **ret_evicted)
{
	uint64_t hash = address_hash(peer);
	struct address *same = hash ? *find_address(a, hash) : NULL;
	struct seat *seat = a->free, *evicted = NULL;

	if (same && same->clients >= a->max_per_address)
		return REFUSED_ADDRESS;
	if (!seat)
		return REFUSED_FULL;
	if (a->taken >= a->max_clients) {
		evicted = find_idlest(a);
		if (!evicted)
			return REFUSED_FULL;
		atomic_store_explicit(&evicted->idle_since, 0, memory_order_relaxed);
	}
	if (hash)
		count_address(a, hash);
	a->free = seat->next_free;
	a->taken++;
	seat->address = hash;
	seat->loop = loop;
	atomic_store_explicit(&seat->client, NULL, memory_order_relaxed);
	atomic_store_explicit(&seat->idle_since, 0, memory_order_relaxed);
	*ret_seat = seat;
	*ret_evicted = evicted;
	return ADMITTED;
}

void admission_leave(struct admission *a, struct seat *seat)
{
	if (seat->address) {
		struct address **at = find_address(a, seat->address);
		struct address *gone = *at;

		if (--gone->clients == 0) {
			*at = gone->next;
			free(gone);
		}
	}
	atomic_store_explicit(&seat->idle_since, 0, memory_order_relaxed);
	seat->next_free = a->free;
	a->free = seat;
	a->taken--;
}

size_t admission_clients(const struct admission *a)
{
	return a->taken;
}
