#include "ctl/client.h"

#include "base/clock.h"
#include "base/must.h"
#include "ctl/interrupt.h"

#include <curl/curl.h>
#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define CONNECT_MSEC 2000L
#define TICK_MSEC 200		/* how soon a signal is seen that comes between two looks */
#define SERVICE_GROUP "socketmapd"

struct client {
	char *path;
	CURLM *multi;
	CURL *easy;
};

/* One request on its way. */
struct exchange {
	struct client *client;
	struct reply *reply;
	bool (*on_line)(void *ctx, struct text line);	/* NULL: the whole body is kept */
	void *ctx;
	struct buf line;
	uint64_t heard_at;
	bool is_enough, is_too_long;
};

void reply_done(struct reply *r)
{
	buf_done(&r->body);
	buf_done(&r->why);
}

struct client *client_new(const char *path)
{
	struct client *c = must_calloc(1, sizeof *c);

	/* No TLS, no Windows: nothing is to be set up. */
	curl_global_init(CURL_GLOBAL_NOTHING);
	c->path = must_strdup(path);
	c->multi = must(curl_multi_init());
	c->easy = must(curl_easy_init());
	return c;
}

void client_free(struct client *c)
{
	if (!c)
		return;
	curl_easy_cleanup(c->easy);
	curl_multi_cleanup(c->multi);
	curl_global_cleanup();
	free(c->path);
	free(c);
}

void client_encode(struct buf *out, struct text t)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				    "0123456789-._~";

	for (size_t i = 0; i < t.n; i++)
		if (memchr(plain, t.p[i], sizeof plain - 1))
			buf_byte(out, t.p[i]);
		else
			buf_printf(out, "%%%02X", (unsigned char)t.p[i]);
}

const char *client_version(void)
{
	return curl_version_info(CURLVERSION_NOW)->version;
}

/* --- why there is no reply --------------------------------------------------------------- */

/* Who may connect, by what the socket says of itself. */
static void add_who_may(struct buf *out, const char *path)
{
	struct stat st;
	const struct group *g = stat(path, &st) == 0 && st.st_gid ? getgrgid(st.st_gid) : NULL;

	buf_printf(out, " (root and members of the group %s may)",
		   g ? g->gr_name : SERVICE_GROUP);
}

static void explain_connect(struct buf *out, const char *path, int error)
{
	struct stat st;

	if (stat(path, &st) != 0)
		error = errno;
	else if (!S_ISSOCK(st.st_mode))
		error = ENOTSOCK;
	else if (access(path, W_OK) != 0)
		error = errno;
	switch (error) {
	case ENOENT:
		buf_printf(out, "no control socket at %s: is the server running, and has its "
			   "configuration a listener with protocol = \"control\"?", path);
		return;
	case ECONNREFUSED:
		buf_printf(out, "nobody listens at %s any more: the server is not running",
			   path);
		return;
	}
	buf_printf(out, "cannot connect to %s: %s", path,
		   error ? strerror(error) : "it takes too long");
	if (error == EACCES || error == EPERM)
		add_who_may(out, path);
}

static void explain(struct exchange *x, CURLcode code, uint64_t msec)
{
	struct buf *why = &x->reply->why;
	const char *path = x->client->path;
	double connected = 0;
	long error = 0, status = 0;

	curl_easy_getinfo(x->client->easy, CURLINFO_OS_ERRNO, &error);
	curl_easy_getinfo(x->client->easy, CURLINFO_CONNECT_TIME, &connected);
	curl_easy_getinfo(x->client->easy, CURLINFO_RESPONSE_CODE, &status);
	if (x->is_too_long)
		buf_printf(why, "the answer from %s is too long", path);
	else if (code == CURLE_COULDNT_CONNECT)
		explain_connect(why, path, (int)error);
	else if (code == CURLE_OPERATION_TIMEDOUT || code == CURLE_ABORTED_BY_CALLBACK)
		buf_printf(why, "the server at %s has not answered for %g s", path,
			   (double)msec / 1000);
	else if (code == CURLE_UNSUPPORTED_PROTOCOL || code == CURLE_WEIRD_SERVER_REPLY)
		buf_printf(why, "what answers at %s does not speak HTTP", path);
	else if ((code == CURLE_RECV_ERROR || code == CURLE_GOT_NOTHING) && !status)
		buf_printf(why, "what listens at %s hangs up without an answer: it is not a "
			   "control socket, or the server has just ended", path);
	else if (code == CURLE_PARTIAL_FILE || code == CURLE_RECV_ERROR ||
		 code == CURLE_GOT_NOTHING)
		buf_printf(why, "the server at %s has ended in the middle of its answer", path);
	else
		buf_printf(why, "%s: %s", path, curl_easy_strerror(code));
}

/* --- one request ------------------------------------------------------------------------- */

static bool take_lines(struct exchange *x)
{
	const char *end;
	size_t used = 0;

	while ((end = text_chr(text_skip(buf_view(&x->line), used), '\n'))) {
		struct text rest = text_skip(buf_view(&x->line), used);
		struct text line = text_before(rest, end);

		used += line.n + 1;
		if (line.n && !x->on_line(x->ctx, line)) {
			x->is_enough = true;
			return false;
		}
	}
	buf_drop(&x->line, used);
	return true;
}

/* Called by libcurl: what is not taken ends the transfer. */
static size_t on_bytes(char *bytes, size_t size, size_t n, void *ctx)
{
	struct exchange *x = ctx;
	long status = 0;

	n *= size;
	curl_easy_getinfo(x->client->easy, CURLINFO_RESPONSE_CODE, &status);
	x->heard_at = clock_msec();

	bool is_stream = x->on_line && status == 200;
	struct buf *to = is_stream ? &x->line : &x->reply->body;
	if (n > (is_stream ? LINE_MAX_BYTES : REPLY_MAX) - to->n) {
		x->is_too_long = true;
		return 0;
	}
	buf_add(to, bytes, n);
	return is_stream && !take_lines(x) ? 0 : n;
}

static void set(struct exchange *x, enum method method, const char *url, uint64_t msec)
{
	CURL *e = x->client->easy;

	curl_easy_reset(e);		/* keeps the connection */
	curl_easy_setopt(e, CURLOPT_URL, url);
	curl_easy_setopt(e, CURLOPT_PATH_AS_IS, 1L);	/* a map may be called ".." */
	curl_easy_setopt(e, CURLOPT_UNIX_SOCKET_PATH, x->client->path);
	curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http");
	curl_easy_setopt(e, CURLOPT_PROXY, "");		/* and none of the environment */
	curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(e, CURLOPT_USERAGENT, "socketmapctl/" VERSION);
	curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MSEC);
	if (!x->on_line)
		curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)msec);
	if (method == POST)
		curl_easy_setopt(e, CURLOPT_COPYPOSTFIELDS, "");
	curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_bytes);
	curl_easy_setopt(e, CURLOPT_WRITEDATA, x);
}

/* Has the one who reads our stdout left? A stream may have nothing to write for long. */
static bool is_reader_gone(void)
{
	struct pollfd out = { .fd = STDOUT_FILENO };

	return poll(&out, 1, 0) == 1 && (out.revents & POLLERR);
}

/* Until it is over: its code, or HEARD_INTERRUPT. */
static enum heard transfer(struct exchange *x, uint64_t msec, CURLcode *ret_code)
{
	struct client *c = x->client;
	int n_running = 1, n_left;

	*ret_code = CURLE_OK;
	while (n_running) {
		if (curl_multi_perform(c->multi, &n_running) != CURLM_OK)
			return HEARD_NOTHING;
		if (!n_running)
			break;
		if (interrupt_came())
			return HEARD_INTERRUPT;
		if (x->on_line && is_reader_gone())
			raise(SIGPIPE);
		if (x->on_line && clock_msec() - x->heard_at > msec) {
			*ret_code = CURLE_OPERATION_TIMEDOUT;
			return HEARD_NOTHING;
		}
		curl_multi_poll(c->multi, NULL, 0, TICK_MSEC, NULL);
	}

	const CURLMsg *m = curl_multi_info_read(c->multi, &n_left);
	*ret_code = m ? m->data.result : CURLE_FAILED_INIT;
	return *ret_code == CURLE_OK ? HEARD : HEARD_NOTHING;
}

static enum heard run(struct exchange *x, enum method method, const char *path, uint64_t msec)
{
	struct client *c = x->client;
	struct reply *reply = x->reply;
	struct buf url = { 0 };
	long status = 0;
	CURLcode code;

	buf_clear(&reply->body);
	buf_clear(&reply->why);
	reply->status = 0;
	if (strlen(c->path) >= sizeof((struct sockaddr_un *)0)->sun_path) {
		buf_printf(&reply->why, "%s: a socket cannot have so long a path", c->path);
		return HEARD_NOTHING;
	}
	buf_printf(&url, "http://localhost%s", path);
	set(x, method, buf_cstr(&url), msec);
	x->heard_at = clock_msec();
	curl_multi_add_handle(c->multi, c->easy);
	enum heard heard = transfer(x, msec, &code);
	curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
	reply->status = (unsigned)status;
	if (x->is_enough)
		heard = HEARD_ENOUGH;
	else if (heard == HEARD_NOTHING)
		explain(x, code, msec);
	curl_multi_remove_handle(c->multi, c->easy);
	buf_done(&x->line);
	buf_done(&url);
	return heard;
}

enum heard client_ask(struct client *c, enum method method, const char *path, uint64_t msec,
		      struct reply *ret)
{
	struct exchange x = { .client = c, .reply = ret };

	return run(&x, method, path, msec);
}

enum heard client_stream(struct client *c, const char *path, uint64_t msec,
			 bool (*on_line)(void *ctx, struct text line), void *ctx,
			 struct reply *ret)
{
	struct exchange x = { .client = c, .reply = ret, .on_line = on_line, .ctx = ctx };

	return run(&x, GET, path, msec);
}
