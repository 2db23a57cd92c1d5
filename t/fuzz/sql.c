/* SQL query templates, in both dialects. Line 1 is the template, the rest a key. */
#include "fuzz/fuzz.h"

#include "base/sql.h"

#include <ctype.h>

static const struct dialect {
	enum sql_dialect id;
	const char *strings;	/* what opens a string or a quoted name ... */
	const char *ends;	/* ... and what closes it; doubled, it stays inside */
	bool has_backslash;
} dialects[] = {
	{ SQL_SQLITE, "'\"`[", "'\"`]", false },
	{ SQL_MYSQL, "'\"`", "'\"`", true },
};

/* As mysql_real_escape_string(3), or doubling without backslashes; ctx: the dialect. */
static void quote(void *ctx, struct text part, struct buf *out)
{
	const struct dialect *d = ctx;

	for (size_t i = 0; i < part.n; i++) {
		if (d->has_backslash && part.p[i] && strchr("'\"\\", part.p[i]))
			buf_byte(out, '\\');
		else if (!d->has_backslash && part.p[i] == '\'')
			buf_byte(out, '\'');
		buf_byte(out, part.p[i]);
	}
}

/* The number of bytes of the comment at the front of `t`; 0: there is none. */
static size_t comment_size(const struct dialect *d, struct text t)
{
	bool is_line = text_starts(t, TEXT("--")) &&
		       (!d->has_backslash || t.n == 2 || iscntrl((unsigned char)t.p[2]) ||
			t.p[2] == ' ');
	const char *end;

	if (is_line || (d->has_backslash && text_starts(t, TEXT("#")))) {
		end = text_chr(t, '\n');
		return end ? (size_t)(end - t.p) : t.n;
	}
	if (!text_starts(t, TEXT("/*")))
		return 0;
	end = t.n > 4 ? memmem(t.p + 2, t.n - 2, "*/", 2) : NULL;
	return end ? (size_t)(end - t.p) + 2 : t.n;
}

/* The number of bytes of the string or quoted name at the front of `t`. */
static size_t string_size(const struct dialect *d, struct text t)
{
	char end = d->ends[strchr(d->strings, t.p[0]) - d->strings];
	size_t i = 1;

	for (; i < t.n; i++) {
		if (d->has_backslash && t.p[i] == '\\' && t.p[0] != '`')
			i++;
		else if (t.p[i] == end && end != ']' && i + 1 < t.n && t.p[i + 1] == end)
			i++;
		else if (t.p[i] == end)
			return i + 1;
	}
	return t.n;
}

/* A query with '' for each string: what no key may change. */
static void skeleton(const struct dialect *d, struct text t, struct buf *out)
{
	while (t.n) {
		size_t n = comment_size(d, t);

		if (n) {
			buf_add(out, t.p, n);
		} else if (t.p[0] && strchr(d->strings, t.p[0])) {
			n = string_size(d, t);
			buf_str(out, "''");
		} else {
			buf_byte(out, t.p[0]);
			n = 1;
		}
		t = text_skip(t, n);
	}
}

static void escaped_skeleton(const struct dialect *d, const struct sql *sql,
			     struct text key, struct buf *out)
{
	struct buf query = { 0 };

	sql_escaped(sql, key, quote, (void *)d, &query);
	skeleton(d, buf_view(&query), out);
	buf_done(&query);
}

/* Whatever the key, the database sees the same query. */
static void check_injection(const struct dialect *d, const struct sql *sql,
			    struct text key)
{
	struct buf strange = { 0 }, tame = { 0 };

	escaped_skeleton(d, sql, key, &strange);
	escaped_skeleton(d, sql, TEXT("a@b.c.d.e.f.g.h.i.j"), &tame);
	assert(text_eq(buf_view(&strange), buf_view(&tame)));
	buf_done(&strange);
	buf_done(&tame);
}

/* SQLite has one way to escape: bound and escaped are the same query, byte for byte. */
static void check_same_query(const struct dialect *d, const struct sql *sql,
			     struct text key)
{
	struct text statement = text_of(sql_statement(sql));
	struct buf bound = { 0 }, escaped = { 0 }, value = { 0 };
	struct text mark = TEXT(" ? ");
	size_t parameter = 0;

	while (statement.n) {
		bool is_mark = text_starts(statement, mark);

		if (!is_mark)
			buf_byte(&bound, statement.p[0]);
		statement = text_skip(statement, is_mark ? mark.n : 1);
		if (!is_mark)
			continue;
		buf_clear(&value);
		sql_parameter(sql, parameter++, key, &value);
		buf_byte(&bound, '\'');
		quote((void *)d, buf_view(&value), &bound);
		buf_byte(&bound, '\'');
	}
	sql_escaped(sql, key, quote, (void *)d, &escaped);
	assert(text_eq(buf_view(&bound), buf_view(&escaped)));
	buf_done(&bound);
	buf_done(&escaped);
	buf_done(&value);
}

static void check(const struct dialect *d, const struct sql *sql, struct text query,
		  struct text key)
{
	const char *statement = sql_statement(sql);
	bool has_own = text_chr(query, '?');
	struct buf out = { 0 };

	assert((statement == NULL) == (sql_unbound(sql) != NULL));
	if (statement && !has_own)
		assert(fuzz_count(text_of(statement), '?') == sql_parameters(sql));
	if (!needs_met(sql_needs(sql), key))
		return;

	buf_byte(&out, 'x');
	for (size_t i = 0; statement && i < sql_parameters(sql); i++)
		sql_parameter(sql, i, key, &out);
	sql_escaped(sql, key, quote, (void *)d, &out);
	assert(out.p[0] == 'x');
	buf_done(&out);
	if (statement && needs_met(sql_needs(sql), TEXT("a@b.c.d.e.f.g.h.i.j")))
		check_injection(d, sql, key);
	if (statement && !has_own && !d->has_backslash)
		check_same_query(d, sql, key);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct text in = fuzz_text(data, size);
	struct text query = fuzz_copy(fuzz_line(&in)), key = fuzz_copy(in);

	if (text_chr(query, '\0'))
		query.n = 0;	/* no setting holds one */
	for (size_t i = 0; i < sizeof dialects / sizeof *dialects; i++) {
		struct buf why = { 0 };
		struct sql *sql = sql_new(query, dialects[i].id, &why);

		assert((sql == NULL) == (why.n > 0));
		if (sql)
			check(&dialects[i], sql, query, key);
		sql_free(sql);
		buf_done(&why);
	}
	fuzz_free(query);
	fuzz_free(key);
	return 0;
}
