#include "base/hosts.h"

#include "base/clock.h"
#include "base/must.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdlib.h>
#include <strings.h>

#define SEPARATORS ", \t\r\n"

static char *copy(struct text t)
{
	struct buf b = { 0 };

	buf_text(&b, t);
	return buf_take(&b);
}

/* A number or a service; 0: neither. */
static unsigned parse_port(struct text t)
{
	char *name = copy(t), *end;
	unsigned long port = strtoul(name, &end, 10);
	const struct servent *service = *end ? getservbyname(name, "tcp") : NULL;

	if (service)
		port = ntohs((uint16_t)service->s_port);
	else if (*end || port > 65535)
		port = 0;
	free(name);
	return (unsigned)port;
}

/* Take "host", "host:port" or "[address]:port" apart. False: the port is none. */
static bool parse_inet(struct text t, struct host *ret)
{
	const char *bracket = text_starts(t, TEXT("[")) ? text_chr(t, ']') : NULL;
	const char *colon = text_rchr(bracket ? text_from(t, bracket) : t, ':');
	struct text name = colon ? text_before(t, colon) : t;

	if (bracket)
		name = text_skip(text_before(t, bracket), 1);
	if (name.n == 0)
		return false;
	ret->name = copy(name);
	if (colon) {
		ret->port = parse_port(text_from(t, colon + 1));
		if (ret->port == 0)
			return false;
	}
	if (strcasecmp(ret->name, "localhost") == 0) {
		free(ret->name);
		ret->name = NULL;
		ret->is_unix = true;
	}
	return true;
}

static bool parse_host(struct text t, struct host *ret)
{
	ret->label = copy(t);
	if (text_starts(t, TEXT("unix:"))) {
		t = text_skip(t, strlen("unix:"));
		ret->is_unix = true;
		ret->name = copy(t);
		return t.n > 0;
	}
	if (text_starts(t, TEXT("inet:")))
		t = text_skip(t, strlen("inet:"));
	return parse_inet(t, ret);
}

bool hosts_parse(struct text list, struct hosts *ret, struct buf *ret_why)
{
	struct hosts h = { .random = clock_msec() };
	struct text item;
	bool is_good = true;

	while (is_good && text_next(&list, SEPARATORS, &item)) {
		h.list = must(reallocarray(h.list, h.n + 1, sizeof *h.list));
		h.list[h.n] = (struct host){ 0 };
		is_good = parse_host(item, &h.list[h.n++]);
		if (!is_good)
			buf_printf(ret_why, "hosts: \"%.*s\" is no unix:/path or "
				   "inet:host:port", (int)item.n, item.p);
	}
	if (is_good && h.n == 0) {
		hosts_done(&h);
		return hosts_parse(TEXT("localhost"), ret, ret_why);
	}
	if (!is_good)
		hosts_done(&h);
	*ret = h;
	return is_good;
}

void hosts_done(struct hosts *h)
{
	for (size_t i = 0; i < h->n; i++) {
		free(h->list[i].label);
		free(h->list[i].name);
	}
	free(h->list);
	*h = (struct hosts){ 0 };
}

static bool may_try(struct host *h, bool is_unix, uint64_t now)
{
	if (h->rests_until <= now)
		h->rests_until = 0;
	return h->is_unix == is_unix && h->rests_until == 0;
}

static struct host *pick(struct hosts *h, bool is_unix, uint64_t now)
{
	struct host *picked = NULL;
	size_t seen = 0;

	for (size_t i = 0; i < h->n; i++)
		if (may_try(&h->list[i], is_unix, now) &&
		    clock_random(&h->random) % ++seen == 0)
			picked = &h->list[i];
	return picked;
}

struct host *hosts_pick(struct hosts *h, uint64_t now)
{
	struct host *picked = pick(h, true, now);

	return picked ? picked : pick(h, false, now);
}

void hosts_wake(struct hosts *h)
{
	for (size_t i = 0; i < h->n; i++)
		if (!h->list[i].is_refused)
			h->list[i].rests_until = 0;
}
