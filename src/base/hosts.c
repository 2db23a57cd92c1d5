#include "base/hosts.h"

#include "base/clock.h"
#include "base/must.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <netdb.h>
#include <stdlib.h>
#include <strings.h>

#define SEPARATORS ", \t\r\n"
#define LDAPI_SOCKET "/var/run/slapd/ldapi"	/* libldap's of Debian */

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
	if (name.n == 0 || (!bracket && text_chr(name, ':')))
		return false;
	ret->name = copy(name);
	if (colon) {
		ret->port = parse_port(text_from(t, colon + 1));
		if (ret->port == 0)
			return false;
	}
	return true;
}

static bool parse_host(struct text t, struct host *ret)
{
	if (text_starts(t, TEXT("unix:"))) {
		t = text_skip(t, strlen("unix:"));
		ret->is_unix = true;
		ret->name = copy(t);
		return t.n > 0;
	}
	if (text_starts(t, TEXT("inet:")))
		t = text_skip(t, strlen("inet:"));
	if (!parse_inet(t, ret))
		return false;
	if (strcasecmp(ret->name, "localhost") == 0) {
		free(ret->name);
		ret->name = NULL;
		ret->is_unix = true;
	}
	return true;
}

static struct host *add_host(struct hosts *h, struct text label)
{
	h->list = must(reallocarray(h->list, h->n + 1, sizeof *h->list));
	h->list[h->n] = (struct host){ .label = copy(label) };
	return &h->list[h->n++];
}

bool hosts_parse(struct text list, struct hosts *ret, struct buf *ret_why)
{
	struct hosts h = { .random = clock_msec() };
	struct text item;
	bool is_good = true;

	while (is_good && text_next(&list, SEPARATORS, &item)) {
		is_good = parse_host(item, add_host(&h, item));
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

static int hex_digit(char c)
{
	static const char digits[] = "0123456789abcdef";
	const char *at = c ? strchr(digits, tolower((unsigned char)c)) : NULL;

	return at ? (int)(at - digits) : -1;
}

/* A part of a URL without its %XX. NULL: what follows a % is none, or it is a NUL. */
static char *url_decode(struct text t)
{
	struct buf b = { 0 };

	for (size_t i = 0; i < t.n; i++) {
		int c = (unsigned char)t.p[i];

		if (c == '%') {
			int high = i + 2 < t.n ? hex_digit(t.p[i + 1]) : -1;
			int low = i + 2 < t.n ? hex_digit(t.p[i + 2]) : -1;

			c = high < 0 || low < 0 ? 0 : high * 16 + low;
			i += 2;
		}
		if (c == 0) {
			buf_done(&b);
			return NULL;
		}
		buf_byte(&b, (char)c);
	}
	return buf_take(&b);
}

static bool starts_with_scheme(struct text t, const char *scheme)
{
	size_t n = strlen(scheme);

	return t.n >= n && strncasecmp(t.p, scheme, n) == 0;
}

/*
 * "/run/ldapi" behind "ldapi://" would be a DN, and the socket the library's own: nobody
 * means that.
 */
static bool parse_ldapi(struct text socket, struct text rest, struct host *ret)
{
	ret->is_unix = true;
	if (socket.n == 0 && rest.n > 1 && rest.p[0] == '/' && rest.p[1] != '?')
		return false;
	ret->name = socket.n ? url_decode(socket) : copy(TEXT(LDAPI_SOCKET));
	return ret->name != NULL;
}

static bool parse_url(struct text t, unsigned port, struct host *ret)
{
	bool is_ldapi = starts_with_scheme(t, "ldapi://");
	size_t skip = is_ldapi || starts_with_scheme(t, "ldaps://") ? 8
		      : starts_with_scheme(t, "ldap://")	    ? 7
								    : 0;
	struct text where = text_skip(t, skip), rest;
	size_t n = 0;

	while (skip && n < where.n && where.p[n] != '/' && where.p[n] != '?')
		n++;
	if (skip) {
		rest = text_skip(where, n);
		where.n = n;
	}
	if (is_ldapi)
		return parse_ldapi(where, rest, ret);
	ret->is_tls = skip == 8;
	if (skip && where.n == 0)
		where = TEXT("localhost");
	if (!parse_inet(where, ret) || strpbrk(ret->name, "/?<>"))
		return false;
	if (ret->port == 0)
		ret->port = skip == 0 && port ? port : ret->is_tls ? 636 : 389;
	return true;
}

bool hosts_parse_urls(struct text list, unsigned port, struct hosts *ret, struct buf *ret_why)
{
	struct hosts h = { .random = clock_msec() };
	struct text item;
	bool is_good = true;

	while (is_good && text_next(&list, SEPARATORS, &item)) {
		is_good = parse_url(item, port, add_host(&h, item));
		if (!is_good)
			buf_printf(ret_why, "server_host: \"%.*s\" is no ldap://host:port, "
				   "ldaps://host:port, ldapi://%%2Fpath, host or host:port",
				   (int)item.n, item.p);
	}
	if (is_good && h.n == 0) {
		buf_str(ret_why, "server_host: there is none");
		is_good = false;
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

static bool may_try(struct host *h, uint64_t now)
{
	if (h->rests_until <= now)
		h->rests_until = 0;
	return h->rests_until == 0;
}

struct host *hosts_first(struct hosts *h, uint64_t now)
{
	for (size_t i = 0; i < h->n; i++)
		if (may_try(&h->list[i], now))
			return &h->list[i];
	return NULL;
}

static struct host *pick(struct hosts *h, bool is_unix, uint64_t now)
{
	struct host *picked = NULL;
	size_t seen = 0;

	for (size_t i = 0; i < h->n; i++)
		if (h->list[i].is_unix == is_unix && may_try(&h->list[i], now) &&
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
