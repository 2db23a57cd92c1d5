#include "base/cf.h"

#include "base/file.h"
#include "base/must.h"

#include <stdlib.h>

#define CF_MAX ((size_t)1 << 20)

static bool starts_blank(struct text t)
{
	return t.n && text_trim((struct text){ t.p, 1 }).n == 0;
}

/* Take one line off `rest`, without its line break. */
static struct text take_line(struct text *rest)
{
	const char *end = text_chr(*rest, '\n');
	struct text line = end ? text_before(*rest, end) : *rest;

	*rest = text_skip(*rest, line.n + (end ? 1 : 0));
	return line;
}

bool cf_next_line(struct text *rest, unsigned *lineno, struct buf *line,
		  unsigned *ret_first)
{
	buf_clear(line);
	while (rest->n) {
		struct text one = take_line(rest);
		struct text content = text_trim(one);

		++*lineno;
		if (content.n && content.p[0] != '#') {
			if (line->n == 0)
				*ret_first = *lineno;
			buf_text(line, one);
		}
		if (line->n && !starts_blank(*rest) && !text_starts(*rest, TEXT("#")))
			break;
	}
	return line->n > 0;
}

/* Take `name = value` apart, as Postfix's split_nameval(); NULL or what is wrong. */
static const char *split(struct text line, struct text *ret_name, struct text *ret_value)
{
	const char *equals = text_chr(line, '=');
	size_t n = 0;

	if (starts_blank(line))
		return "white space at the start of a line that continues nothing";
	if (text_chr(line, '\0'))
		return "NUL byte";
	while (n < line.n && line.p[n] != '=' && !starts_blank(text_skip(line, n)))
		n++;
	if (!equals || text_trim(text_before(line, equals)).n != n)
		return "missing '=' after the name";
	if (n == 0)
		return "missing name";
	*ret_name = (struct text){ line.p, n };
	*ret_value = text_trim(text_from(line, equals + 1));
	return NULL;
}

static char *copy(struct text t)
{
	struct buf b = { 0 };

	buf_text(&b, t);
	return buf_take(&b);
}

static struct cf_entry *find(const struct cf *cf, struct text name)
{
	for (size_t i = 0; i < cf->n; i++)
		if (text_is(name, cf->entries[i].name))
			return &cf->entries[i];
	return NULL;
}

static void put(struct cf *cf, struct text name, struct text value, unsigned line)
{
	struct cf_entry *e = find(cf, name);

	if (e) {
		free(e->value);
	} else {
		cf->entries = must(reallocarray(cf->entries, cf->n + 1, sizeof *e));
		e = &cf->entries[cf->n++];
		e->name = copy(name);
	}
	e->value = copy(value);
	e->line = line;
}

bool cf_parse(struct text file, struct cf *ret, struct buf *ret_why)
{
	struct cf cf = { 0 };
	struct buf line = { 0 };
	unsigned lineno = 0, first = 0;
	const char *wrong = NULL;

	while (!wrong && cf_next_line(&file, &lineno, &line, &first)) {
		struct text name, value;

		wrong = split(buf_view(&line), &name, &value);
		if (!wrong)
			put(&cf, name, value, first);
	}
	if (wrong) {
		buf_printf(ret_why, "line %u: %s", first, wrong);
		cf_done(&cf);
	}
	buf_wipe(&line);
	*ret = cf;
	return !wrong;
}

bool cf_read(const char *path, struct cf *ret, struct buf *ret_why)
{
	struct buf file = { 0 };
	struct buf why = { 0 };
	bool ok = false;

	if (file_read(path, CF_MAX, &file, ret_why)) {
		ok = cf_parse(buf_view(&file), ret, &why);
		if (!ok)
			buf_printf(ret_why, "%s: %s", path, buf_cstr(&why));
	} else {
		*ret = (struct cf){ 0 };
	}
	buf_done(&why);
	buf_wipe(&file);
	return ok;
}

const struct cf_entry *cf_find(const struct cf *cf, const char *name)
{
	return find(cf, text_of(name));
}

const char *cf_get(const struct cf *cf, const char *name)
{
	const struct cf_entry *e = cf_find(cf, name);

	return e ? e->value : NULL;
}

void cf_set(struct cf *cf, const char *name, const char *value)
{
	const struct cf_entry *e = cf_find(cf, name);

	put(cf, text_of(name), text_of(value), e ? e->line : 1);
}

static void free_entry(struct cf_entry *e)
{
	/* Some are passwords. */
	explicit_bzero(e->value, strlen(e->value));
	free(e->name);
	free(e->value);
}

void cf_drop(struct cf *cf, const char *name)
{
	struct cf_entry *e = find(cf, text_of(name));

	if (!e)
		return;
	free_entry(e);
	cf->n--;
	memmove(e, e + 1, (size_t)(cf->entries + cf->n - e) * sizeof *e);
}

void cf_done(struct cf *cf)
{
	for (size_t i = 0; i < cf->n; i++)
		free_entry(&cf->entries[i]);
	free(cf->entries);
	*cf = (struct cf){ 0 };
}
