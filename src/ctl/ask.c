#include "ctl/ctl.h"

#include "ctl/interrupt.h"
#include "ctl/show.h"
#include "ctl/value.h"

#include <stdarg.h>
#include <stdio.h>

int ctl_fail(int code, const char *why, ...)
{
	struct buf text = { 0 }, line = { 0 };
	va_list ap;

	va_start(ap, why);
	int n = vsnprintf(NULL, 0, why, ap);
	va_end(ap);
	va_start(ap, why);
	vsnprintf(buf_room(&text, (size_t)n + 1), (size_t)n + 1, why, ap);
	va_end(ap);
	text.n = (size_t)n;
	buf_str(&line, "socketmapctl: ");
	show_text(&line, buf_view(&text));	/* parts of it are the server's */
	fflush(stdout);
	fprintf(stderr, "%s\n", buf_cstr(&line));
	buf_done(&text);
	buf_done(&line);
	return code;
}

/* The exit code of a refusal. */
static int code_of(unsigned status)
{
	switch (status) {
	case 400:
	case 404:
		return CTL_USAGE;
	case 409:
		return CTL_FAILED;
	}
	return CTL_NO_SERVER;
}

static int explain_refusal(const struct reply *reply, const json_t *root)
{
	struct text error = value_text(root, "error");
	int code = code_of(reply->status);

	if (!error.p)
		return ctl_fail(CTL_NO_SERVER, "the server says %u, and no reason; is this the "
				"control socket of a socketmapd?", reply->status);
	if (reply->status == 405 || text_is(error, "nothing is here") ||
	    text_is(error, "this is for the control socket"))
		return ctl_fail(CTL_NO_SERVER, "the server knows nothing of this here; is it the "
				"socket of the listener with protocol = \"control\"? (%.*s)",
				(int)error.n, error.p);
	if (reply->status == 403)
		return ctl_fail(code, "the server refuses: %.*s", (int)error.n, error.p);
	return ctl_fail(code, "%.*s", (int)error.n, error.p);
}

int ctl_outcome(enum heard heard, const struct reply *reply, const json_t *root)
{
	struct text why = buf_view(&reply->why);

	if (heard == HEARD_INTERRUPT)
		return 128 + interrupt_came();
	if (heard == HEARD_NOTHING)
		return ctl_fail(CTL_NO_SERVER, "%.*s", (int)why.n, why.p ? why.p : "");
	if (reply->status / 100 == 2)
		return CTL_DONE;
	return explain_refusal(reply, root);
}

void ctl_path(struct buf *path, const char *what, const char *name, const char *value)
{
	buf_printf(path, "/v1/%s?%s=", what, name);
	client_encode(path, text_of(value));
}

void ctl_path_more(struct buf *path, const char *name, const char *value)
{
	buf_printf(path, "&%s=", name);
	client_encode(path, text_of(value));
}

static int ask(struct ctl *c, enum method method, const char *path, uint64_t msec,
	       bool is_shown, json_t **ret_root)
{
	struct reply reply = { 0 };
	enum heard heard = client_ask(c->client, method, path, msec, &reply);
	json_t *root = heard == HEARD ? value_parse(buf_view(&reply.body)) : NULL;

	if (root && is_shown) {
		if (reply.body.p[reply.body.n - 1] != '\n')
			buf_byte(&reply.body, '\n');
		show_out(&reply.body);
	}
	int code = ctl_outcome(heard, &reply, root);
	if (!code && !json_is_object(root))
		code = ctl_fail(CTL_NO_SERVER, "the server's answer is no JSON, or not all of "
				"it");
	reply_done(&reply);
	*ret_root = root;
	return code;
}

int ctl_ask(struct ctl *c, enum method method, const char *path, json_t **ret_root)
{
	return ask(c, method, path, c->timeout, c->is_json, ret_root);
}

int ctl_get_status(struct ctl *c, uint64_t msec, json_t **ret_root)
{
	int code = ask(c, GET, "/v1/status", msec, false, ret_root);

	if (!code && !value_get(*ret_root, "maps"))
		code = ctl_fail(CTL_NO_SERVER, "the server's answer is not the status of a "
				"socketmapd");
	return code;
}
