#include "daemon/json.h"

#include "base/fold.h"
#include "base/must.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static void *allocate(size_t n)
{
	return must(malloc(n ? n : 1));
}

void json_init(void)
{
	json_set_alloc_funcs(allocate, free);
}

static int append(const char *p, size_t n, void *out)
{
	buf_add(out, p, n);
	return 0;
}

void json_line(struct buf *out, json_t *root)
{
	json_dump_callback(root, append, out, JSON_COMPACT | JSON_REAL_PRECISION(15));
	buf_byte(out, '\n');
	json_decref(root);
}

void json_reply(struct http_reply *reply, json_t *root)
{
	buf_clear(&reply->body);
	json_line(&reply->body, root);
	reply->type = HTTP_JSON;
}

void json_fail(struct http_reply *reply, unsigned status, const char *why, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, why);
	vsnprintf(text, sizeof text, why, ap);
	va_end(ap);
	json_reply(reply, json_pack("{s:o}", "error", json_str(text)));
	reply->status = status;
}

json_t *json_text(struct text t)
{
	struct buf escaped = { 0 };
	json_t *s;

	if (utf8_valid(t))
		return json_stringn(t.n ? t.p : "", t.n);
	buf_escaped(&escaped, t);
	s = json_stringn(escaped.p, escaped.n);
	buf_done(&escaped);
	return s;
}

json_t *json_str(const char *s)
{
	return s ? json_text(text_of(s)) : json_null();
}

json_t *json_text_if(bool is_there, struct text t)
{
	return is_there ? json_text(t) : json_null();
}

json_t *json_seconds(uint64_t msec)
{
	return json_real((double)msec / 1000);
}

const char *json_version(void)
{
	static char version[32];

	snprintf(version, sizeof version, "jansson %s", jansson_version_str());
	return version;
}
