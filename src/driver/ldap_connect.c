#include "driver/ldap.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/must.h"
#include "driver/ldap_bind.h"
#include "driver/ldap_network.h"
#include "driver/ldap_watchdog.h"
#include "driver/secret.h"
#include "wire/frame.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <openldap.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* Longer than an idle connection takes to turn out to be dead. */
#define AT_ONCE_MSEC 1000

/* For the farewell to a server. */
#define CLOSE_MSEC 500

/* The certificate of a server has to last so long, or somebody hears of it once a day. */
#define CERT_DAYS 14
#define DAY_SECONDS 86400

struct place {
	struct addresses addresses;
	uint64_t warned;	/* of its certificate; 0: never */
};

/* --- settings --------------------------------------------------------------------- */

static bool get_msec(const struct settings *source, const char *name,
		     const char *otherwise, uint64_t *ret, struct buf *ret_why)
{
	if (frame_number(text_of(setting_get(source, name, otherwise)), ret) &&
	    *ret <= INT_MAX)
		return true;
	buf_printf(ret_why, "%s is not a number of milliseconds", name);
	return false;
}

static bool get_hosts(const struct settings *source, struct hosts *ret, struct buf *ret_why)
{
	const char *list = setting_get(source, "server_host", "localhost");
	uint64_t port;

	if (frame_number(text_of(setting_get(source, "server_port", "389")), &port) &&
	    port <= 65535)
		return hosts_parse_urls(text_of(list), (unsigned)port, ret, ret_why);
	buf_str(ret_why, "server_port is not a port");
	return false;
}

bool session_init(struct session *s, const struct settings *source, struct buf *ret_why)
{
	const struct { const char *name, *otherwise; uint64_t *field; } times[] = {
		{ "connect_timeout", "2000", &s->connect_timeout },
		{ "timeout", "5000", &s->timeout },
		{ "scan_timeout", "600000", &s->scan_timeout },
		{ "scan_idle", "30000", &s->scan_idle },
		{ "retry_interval", "60000", &s->retry_interval },
		{ "idle_interval", "60000", &s->idle_interval },
	};
	bool is_good;

	*s = (struct session){ .source = source };
	is_good = get_hosts(source, &s->hosts, ret_why);
	for (size_t i = 0; i < sizeof times / sizeof *times && is_good; i++)
		is_good = get_msec(source, times[i].name, times[i].otherwise,
				   times[i].field, ret_why);
	if (!is_good)
		return false;
	s->places = must_calloc(s->hosts.n, sizeof *s->places);
	s->watchdog = watchdog_new();
	if (!s->watchdog)
		buf_printf(ret_why, "no thread can be started: %s", strerror(errno));
	return s->watchdog != NULL;
}

void session_done(struct session *s)
{
	session_close(s);
	watchdog_free(s->watchdog);
	for (size_t i = 0; s->places && i < s->hosts.n; i++)
		addresses_done(&s->places[i].addresses);
	free(s->places);
	hosts_done(&s->hosts);
	buf_done(&s->why);
}

static const char *get(const struct session *s, const char *name)
{
	return setting_get(s->source, name, "");
}

/* --- time ------------------------------------------------------------------------- */

/* A tenth is for the server to hear of it before it takes us for dead. */
static uint64_t request_msec(const struct session *s)
{
	uint64_t whole = s->purpose == FOR_SCANS ? s->scan_timeout : s->timeout;

	return whole - whole / 10;
}

static uint64_t until(uint64_t when)
{
	uint64_t now = clock_msec();

	return now < when ? when - now : 0;
}

/* How many hosts could be tried. */
static unsigned n_awake(const struct session *s)
{
	uint64_t now = clock_msec();
	unsigned n = 0;

	for (size_t i = 0; i < s->hosts.n; i++)
		n += s->hosts.list[i].rests_until <= now;
	return n;
}

/* A request shall live to see the last host. */
static uint64_t connect_msec(const struct session *s)
{
	uint64_t left = until(s->began + request_msec(s)), share;
	unsigned n = n_awake(s);

	share = n > 1 ? left / (n + 1) : left;
	return share < s->connect_timeout ? share : s->connect_timeout;
}

/* When this host, connected, must be done with the request. */
static uint64_t attempt_end(const struct session *s)
{
	uint64_t left = until(s->began + request_msec(s));
	bool has_others = s->purpose == FOR_LOOKUPS && n_awake(s) > 1;

	return clock_msec() + (has_others ? left / 2 : left);
}

uint64_t session_left(const struct session *s)
{
	uint64_t left = until(s->ends);

	return left ? left : 1;
}

void session_watch(struct session *s, uint64_t msec)
{
	if (msec)
		s->watched = msec;
	watchdog_set(s->watchdog, msec);
}

/* --- what went wrong -------------------------------------------------------------- */

/* Of the connection; the host is to blame, or on its way out. */
static const int lost[] = {
	LDAP_SERVER_DOWN, LDAP_TIMEOUT, LDAP_CONNECT_ERROR, LDAP_BUSY, LDAP_UNAVAILABLE,
};

/*
 * Of the connection, perhaps, and nobody's fault: we are out of step, or the server has
 * forgotten who we are (Active Directory's 1). Another one costs little.
 */
static const int broken[] = {
	LDAP_LOCAL_ERROR, LDAP_ENCODING_ERROR, LDAP_DECODING_ERROR, LDAP_NO_MEMORY,
	LDAP_X_CONNECTING, LDAP_OPERATIONS_ERROR, LDAP_PROTOCOL_ERROR,
	LDAP_STRONG_AUTH_REQUIRED, LDAP_UNWILLING_TO_PERFORM, LDAP_OTHER,
};

static bool is_in(int code, const int *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (list[i] == code)
			return true;
	return false;
}

#define IS_IN(code, list) is_in(code, list, sizeof list / sizeof *list)

/* `is_refused`: it does not want us. Asking again soon may lock the account. */
static void rest(struct session *s, const char *phase, const char *message,
		 bool is_refused)
{
	struct host *h = s->host;

	h->rests_until = clock_msec() + s->retry_interval;
	h->is_refused = is_refused;
	buf_clear(&s->why);
	buf_printf(&s->why, "%s: %s: %s", h->label, phase, message);
	log_warn("host_failed", h->label, F_STR("source", get(s, "name")),
		 F_STR("host", h->label), F_STR("phase", phase), F_STR("why", message),
		 F_MSEC("rests", s->retry_interval));
}

/*
 * The host was not silent for long: the request has asked for more than its time allows,
 * which another host would not change.
 */
static bool is_out_of_time(const struct session *s)
{
	return watchdog_has_bitten(s->watchdog) && s->watched < AT_ONCE_MSEC &&
	       s->watched * 4 < request_msec(s);
}

enum ended session_failed(struct session *s, int code, const char *phase,
			  struct buf *ret_why)
{
	bool has_bitten = watchdog_has_bitten(s->watchdog);
	bool is_over = is_out_of_time(s);
	bool is_lost = IS_IN(code, lost) && !is_over;
	struct buf message = { 0 };

	if (is_over)
		buf_str(&message, "the time of this request is over");
	else
		connection_describe(s, code, &message);
	buf_printf(ret_why, "%s: %s: %s", s->host->label, phase, buf_cstr(&message));
	/* An old connection may have been closed long ago by a server that is well. */
	if (is_lost && (s->is_new || has_bitten || clock_msec() - s->began >= AT_ONCE_MSEC))
		rest(s, phase, buf_cstr(&message), false);
	if (is_lost || is_over || IS_IN(code, broken))
		session_close(s);
	buf_done(&message);
	return is_lost ? ENDED_DOWN : ENDED_TEMP;
}

/* --- connecting ------------------------------------------------------------------- */

/* The URL of a host: the library compares its certificate with the name in there. */
static char *host_url(const struct host *h)
{
	bool is_six = !h->is_unix && strchr(h->name, ':');
	struct buf url = { 0 };

	buf_str(&url, h->is_unix ? "ldapi://" : h->is_tls ? "ldaps://" : "ldap://");
	buf_str(&url, is_six ? "[" : "");
	for (const char *p = h->name; *p; p++)
		if (isalnum((unsigned char)*p) || strchr("-._", *p) || (is_six && *p == ':'))
			buf_byte(&url, *p);
		else
			buf_printf(&url, "%%%02X", (unsigned char)*p);
	buf_str(&url, is_six ? "]" : "");
	if (!h->is_unix)
		buf_printf(&url, ":%u", h->port);
	return buf_take(&url);
}

/* A plain connection: a handle around a socket of ours. */
static bool open_socket(struct session *s, uint64_t deadline)
{
	struct addresses *a = &s->places[s->host - s->hosts.list].addresses;
	char *url = host_url(s->host);
	struct buf why = { 0 };
	const char *phase = "resolve";
	int fd = -1, code = LDAP_CONNECT_ERROR;

	if (network_resolve(s->host, s->host->port, a, until(deadline), &why)) {
		phase = "connect";
		fd = network_connect(s->host, a, until(deadline), &why);
	}
	if (fd >= 0 && !watchdog_guard(s->watchdog, fd))
		buf_str(&why, strerror(errno));
	else if (fd >= 0)
		code = ldap_init_fd(fd, s->host->is_unix ? LDAP_PROTO_IPC : LDAP_PROTO_TCP,
				    url, &s->ld);
	if (code != LDAP_SUCCESS && fd >= 0)
		close(fd);
	if (code != LDAP_SUCCESS)
		rest(s, phase, why.n ? buf_cstr(&why) : ldap_err2string(code), false);
	buf_done(&why);
	free(url);
	return code == LDAP_SUCCESS;
}

/* False: the host rests now. */
static bool connect_host(struct session *s, const char *password)
{
	const struct addresses *a = &s->places[s->host - s->hosts.list].addresses;
	uint64_t deadline = clock_msec() + connect_msec(s);
	const char *phase = NULL;
	struct buf why = { 0 };
	enum bound bound;

	if (!open_socket(s, deadline))
		return false;
	session_watch(s, until(deadline) ? until(deadline) : 1);
	bound = connection_bind(s, a, password, deadline, &phase, &why);
	session_watch(s, 0);
	if (bound == BOUND) {
		s->is_new = true;
		s->opened++;
	} else {
		rest(s, phase, buf_cstr(&why), bound == BOUND_REFUSED);
		session_close(s);
	}
	buf_done(&why);
	return bound == BOUND;
}

/* An empty password is no password: servers take such a bind for an anonymous one. */
static bool read_password(const struct session *s, struct buf *ret_password,
			  struct buf *ret_why)
{
	enum bind_kind kind = connection_bind_kind(s);

	if (kind == BIND_NONE)
		return true;
	if (!secret_read(s->source, "bind_pw", ret_password, ret_why))
		return false;
	if (ret_password->n || kind == BIND_SASL || !*get(s, "bind_dn"))
		return true;
	buf_str(ret_why, "bind_pw is empty: that would be an anonymous bind");
	return false;
}

static void check_certificate(struct session *s)
{
	struct place *place = &s->places[s->host - s->hosts.list];
	uint64_t ends = connection_not_after(s), now = clock_msec();
	uint64_t today = (uint64_t)time(NULL);
	struct buf text = { 0 };

	buf_printf(&text, "%" PRIu64, ends);
	driver_info("cert_not_after", buf_cstr(&text));
	buf_done(&text);
	if (ends == 0 || ends > today + CERT_DAYS * DAY_SECONDS ||
	    (place->warned && now - place->warned < DAY_SECONDS * 1000))
		return;
	place->warned = now;
	log_warn("cert_expires", s->host->label, F_STR("source", get(s, "name")),
		 F_STR("host", s->host->label),
		 F_NUM("days", ends > today ? (ends - today) / DAY_SECONDS : 0),
		 F_NUM("cert_not_after", ends));
}

/* A host is in use: everybody who wants to know hears of it. */
static void tell_connected(struct session *s, const struct host *before)
{
	struct buf cipher = { 0 };

	driver_info("host", s->host->label);
	check_certificate(s);
	connection_cipher(s, &cipher);
	if (s->host != before || s->why.n)
		log_info("host_connected", s->host->label, F_STR("source", get(s, "name")),
			 F_STR("host", s->host->label), F_TEXT("tls", buf_view(&cipher)));
	buf_done(&cipher);
	buf_clear(&s->why);
}

enum ended session_open(struct session *s, enum purpose purpose, struct buf *ret_why)
{
	const struct host *before = s->host;
	struct buf password = { 0 };
	enum ended ended = ENDED_DOWN;
	struct host *h = NULL;

	s->purpose = purpose;
	if (s->ld && watchdog_has_bitten(s->watchdog))
		session_close(s);
	if (!s->ld && !read_password(s, &password, ret_why))
		goto end;
	while (!s->ld && (h = hosts_first(&s->hosts, clock_msec())) && connect_msec(s)) {
		s->host = h;
		if (purpose == FOR_SCANS)
			driver_alive();
		if (connect_host(s, buf_cstr(&password)))
			tell_connected(s, before);
	}
	if (s->ld) {
		connection_set_referrals(s);
		s->ends = attempt_end(s);
		ended = ENDED_DONE;
	} else {
		buf_text(ret_why, s->why.n ? buf_view(&s->why) :
				  TEXT("no time is left for another try"));
		ended = h ? ENDED_TEMP : ENDED_DOWN;
	}
end:
	buf_wipe(&password);
	return ended;
}

void session_close(struct session *s)
{
	if (!s->ld)
		return;
	session_watch(s, CLOSE_MSEC);
	ldap_unbind_ext(s->ld, NULL, NULL);
	watchdog_guard(s->watchdog, -1);
	s->ld = NULL;
}
