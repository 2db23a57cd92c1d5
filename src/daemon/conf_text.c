#include "daemon/conf_file.h"

#include "base/file.h"
#include "base/fold.h"
#include "base/must.h"

#include <stdlib.h>

#define FILE_MAX (1 << 20)
#define WHOLE_MAX (4 << 20)
#define INCLUDE_DEPTH 10
#define NO_INTEGER "0.0" /* in place of a number that libconfig would wrap to 32 bits */

/* One file on its way into the whole text. */
struct scan {
	struct conf_text *whole;
	const char *path;
	struct text in;
	size_t at;		/* up to here it was copied */
	unsigned depth;		/* of includes */
	bool is_good;
	struct buf *why;
};

static unsigned line_at(struct text t, size_t at)
{
	unsigned line = 1;

	for (size_t i = 0; i < at; i++)
		line += t.p[i] == '\n';
	return line;
}

static void complain(struct scan *s, size_t at, const char *what)
{
	buf_printf(s->why, "%s:%u: %s\n", s->path, line_at(s->in, at), what);
	s->is_good = false;
}

static void span_add(struct scan *s, unsigned line)
{
	struct conf_text *w = s->whole;

	w->spans = must(realloc(w->spans, (w->n_spans + 1) * sizeof *w->spans));
	w->spans[w->n_spans++] = (struct span){
		line_at(buf_view(&w->text), w->text.n), must_strdup(s->path), line,
	};
}

static bool is_in(struct text t, size_t at, const char *set)
{
	return at < t.n && t.p[at] && strchr(set, t.p[at]);
}

#define DIGITS "0123456789"
#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

static size_t run_of(struct text t, size_t at, const char *set)
{
	while (is_in(t, at, set))
		at++;
	return at;
}

/* The scan_ functions return where the thing at `at` ends. */

static size_t scan_comment(struct scan *s, size_t at)
{
	const char *end;

	if (text_starts(text_skip(s->in, at), TEXT("/*"))) {
		end = memmem(s->in.p + at + 2, s->in.n - at - 2, "*/", 2);
		if (end)
			return (size_t)(end + 2 - s->in.p);
		complain(s, at, "the comment that begins here never ends");
		return s->in.n;
	}
	end = text_chr(text_skip(s->in, at), '\n');
	return end ? (size_t)(end - s->in.p) : s->in.n;
}

static size_t scan_string(struct scan *s, size_t at)
{
	size_t end = at + 1;

	while (end < s->in.n && s->in.p[end] != '"') {
		struct text rest = text_skip(s->in, end);

		if (text_starts(rest, TEXT("\\x00")) || text_starts(rest, TEXT("\\X00")))
			complain(s, end, "\\x00 would end the string");
		end += s->in.p[end] == '\\' && rest.n > 1 ? 2 : 1;
	}
	if (end < s->in.n)
		return end + 1;
	complain(s, at, "the string that begins here never ends");
	return s->in.n;
}

static size_t scan_number(struct text in, size_t at, bool *ret_is_large)
{
	size_t digits = at + is_in(in, at, "+-");
	bool is_hex = is_in(in, digits, "0") && is_in(in, digits + 1, "xX");
	const char *set = is_hex ? DIGITS "abcdefABCDEF" : DIGITS;
	size_t from = digits + (is_hex ? 2 : 0);
	size_t end = run_of(in, from, set);
	unsigned long long n = 0;	/* not counted on beyond INT32_MAX */

	if (!is_hex && is_in(in, end, ".eE"))
		return run_of(in, end, DIGITS ".eE+-");
	for (size_t i = from; i < end && n <= INT32_MAX; i++) {
		char digit[2] = { in.p[i], '\0' };

		n = n * (is_hex ? 16 : 10) + strtoull(digit, NULL, 16);
	}
	end = run_of(in, end, "L");
	*ret_is_large = n > INT32_MAX;
	return end;
}

static bool scan_file(struct conf_text *whole, const char *path, unsigned depth,
		      struct buf *ret_why);

/* The name in `@include "name"` and where that ends; false: there is none. */
static bool take_name(struct text in, size_t at, struct text *ret_name, size_t *ret_end)
{
	size_t from = run_of(in, at + strlen("@include"), " \t") + 1, end = from;

	if (!is_in(in, from - 1, "\""))
		return false;
	while (end < in.n && in.p[end] != '"' && (unsigned char)in.p[end] >= ' ')
		end++;
	*ret_name = (struct text){ in.p + from, end - from };
	*ret_end = end + 1;
	return is_in(in, end, "\"");
}

/* `@include "name"`, at the beginning of a line. */
static size_t scan_include(struct scan *s, size_t at)
{
	const char *slash = strrchr(s->path, '/');
	struct buf path = { 0 }, why = { 0 };
	struct text name;
	size_t end;

	if (!take_name(s->in, at, &name, &end)) {
		complain(s, at, "@include wants a file name in double quotes");
		return s->in.n;
	}
	if (slash && !text_starts(name, TEXT("/")))
		buf_add(&path, s->path, (size_t)(slash + 1 - s->path));
	buf_text(&path, name);
	if (s->depth == INCLUDE_DEPTH) {
		complain(s, at, "files that include each other too deeply");
	} else if (!scan_file(s->whole, buf_cstr(&path), s->depth + 1, &why)) {
		complain(s, at, "in the file included here:");
		buf_text(s->why, buf_view(&why));
	}
	buf_done(&path);
	buf_done(&why);
	buf_byte(&s->whole->text, '\n');
	span_add(s, line_at(s->in, end));
	return end;
}

static bool begins_line(struct text t, size_t at)
{
	while (at > 0 && (t.p[at - 1] == ' ' || t.p[at - 1] == '\t'))
		at--;
	return at == 0 || t.p[at - 1] == '\n';
}

static size_t scan_token(struct scan *s, size_t at, bool *ret_is_large)
{
	struct text rest = text_skip(s->in, at);
	bool is_signed = is_in(s->in, at, "+-.");

	if (rest.p[0] == '"')
		return scan_string(s, at);
	if (rest.p[0] == '#' || text_starts(rest, TEXT("//")) ||
	    text_starts(rest, TEXT("/*")))
		return scan_comment(s, at);
	if (is_in(s->in, at + is_signed, DIGITS))
		return scan_number(s->in, at, ret_is_large);
	if (is_in(s->in, at, LETTERS "*"))
		return run_of(s->in, at, LETTERS DIGITS "-_*");
	return at + 1;
}

static void check_characters(struct scan *s)
{
	const char *nul = text_chr(s->in, '\0');
	struct text lines = s->in, line;

	if (nul)
		complain(s, (size_t)(nul - s->in.p), "a NUL byte");
	if (text_starts(s->in, TEXT("\xef\xbb\xbf")))
		complain(s, 0, "the file begins with a byte order mark");
	while (text_next(&lines, "\n", &line))
		if (!utf8_valid(line)) {
			complain(s, (size_t)(line.p - s->in.p), "not UTF-8");
			return;
		}
}

static bool scan_text(struct conf_text *whole, const char *path, struct text in,
		      unsigned depth, struct buf *ret_why)
{
	struct scan s = { whole, path, in, 0, depth, true, ret_why };

	check_characters(&s);
	span_add(&s, 1);
	while (s.is_good && s.at < in.n) {
		if (text_starts(text_skip(in, s.at), TEXT("@include")) &&
		    begins_line(in, s.at)) {
			s.at = scan_include(&s, s.at);
			continue;
		}

		bool is_large = false;
		size_t end = scan_token(&s, s.at, &is_large);

		if (is_large)
			buf_str(&whole->text, NO_INTEGER);
		else
			buf_add(&whole->text, in.p + s.at, end - s.at);
		s.at = end;
	}
	if (s.is_good && whole->text.n > WHOLE_MAX)
		complain(&s, 0, "the file and what it includes are too large");
	return s.is_good;
}

static bool scan_file(struct conf_text *whole, const char *path, unsigned depth,
		      struct buf *ret_why)
{
	struct buf in = { 0 };
	bool is_good = file_read(path, FILE_MAX, &in, ret_why);

	if (is_good)
		is_good = scan_text(whole, path, buf_view(&in), depth, ret_why);
	else
		buf_byte(ret_why, '\n');
	buf_done(&in);
	return is_good;
}

bool conf_text_read(struct conf_text *t, const char *path, struct buf *ret_why)
{
	return scan_file(t, path, 0, ret_why);
}

bool conf_text_take(struct conf_text *t, const char *path, struct text text,
		    struct buf *ret_why)
{
	return scan_text(t, path, text, 0, ret_why);
}

const struct span *conf_text_span(const struct conf_text *t, unsigned line)
{
	size_t i = t->n_spans;

	while (i > 1 && t->spans[i - 1].first > line)
		i--;
	return &t->spans[i - 1];
}

void conf_text_done(struct conf_text *t)
{
	for (size_t i = 0; i < t->n_spans; i++)
		free(t->spans[i].file);
	free(t->spans);
	buf_done(&t->text);
	*t = (struct conf_text){ 0 };
}
