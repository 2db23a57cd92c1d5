#include "base/sql.h"

#include "base/must.h"

#include <stdlib.h>

struct sql {
	struct template *whole;
	char *statement;		/* NULL: cannot be bound */
	char *unbound;			/* why not */
	struct template **parameters;
	size_t n;
};

enum kind { STRING, NAME, COMMENT, CODE_COMMENT, KINDS };

enum {
	IN_SQLITE = 1 << SQL_SQLITE,
	IN_MYSQL = 1 << SQL_MYSQL,
	IN_BOTH = IN_SQLITE | IN_MYSQL,
};

/*
 * What is read differently from the rest of a query. Sources: sqlite's tokenize.c; MySQL
 * manual 9.1.1, 9.2, 9.7.
 */
static const struct token {
	const char *open, *close;
	enum kind kind;
	bool doubles;			/* the closing quote written twice is itself */
	unsigned dialects;
} tokens[] = {
	{ "'", "'", STRING, true, IN_BOTH },
	{ "\"", "\"", NAME, true, IN_SQLITE },
	{ "\"", "\"", STRING, true, IN_MYSQL },
	{ "`", "`", NAME, true, IN_BOTH },
	{ "[", "]", NAME, false, IN_SQLITE },
	{ "--", "\n", COMMENT, false, IN_SQLITE },
	{ "--", "\n", COMMENT, false, IN_MYSQL },	/* before a blank; see token_at() */
	{ "#", "\n", COMMENT, false, IN_MYSQL },
	{ "/*!", "*/", CODE_COMMENT, false, IN_MYSQL },	/* the server runs it */
	{ "/*M!", "*/", CODE_COMMENT, false, IN_MYSQL },
	{ "/*", "*/", COMMENT, false, IN_BOTH },
};

struct lexer {
	struct sql *sql;
	enum sql_dialect dialect;
	struct text in;
	size_t i;
	struct buf statement, unbound;
	enum { OTHER, LITERAL, PARAMETER } last;	/* what stands before */
};

static bool is_at(const struct lexer *l, size_t i, const char *s)
{
	return i < l->in.n && text_starts(text_skip(l->in, i), text_of(s));
}

static bool is_expansion(const struct lexer *l, size_t i)
{
	return l->in.p[i] == '%' && l->in.p[i + 1] != '%';
}

/* Note why the query cannot be bound; the first reason stays. */
static void unbound(struct lexer *l, size_t i, const char *where)
{
	size_t n = l->in.p[i] == '%' ? 2 : 1;

	if (l->unbound.n)
		return;
	buf_escaped(&l->unbound, (struct text){ l->in.p + i, n });
	buf_printf(&l->unbound, " %s at column %zu", where, i + 1);
}

/* Copy up to `end`, undoing %%; an expansion there cannot be bound. */
static void copy(struct lexer *l, size_t end, const char *where)
{
	for (; l->i < end; l->i++) {
		if (l->in.p[l->i] == '%') {
			if (is_expansion(l, l->i))
				unbound(l, l->i, where);
			l->i++;
		}
		buf_byte(&l->statement, l->in.p[l->i]);
	}
}

/* MySQL takes "--" for two minus signs unless a blank, a control byte or the end follows. */
static bool is_minus_minus(const struct lexer *l, const struct token *t)
{
	size_t next = l->i + 2;

	return t->dialects == IN_MYSQL && strcmp(t->open, "--") == 0 && next < l->in.n &&
	       (unsigned char)l->in.p[next] > ' ' && l->in.p[next] != 0x7f;
}

static const struct token *token_at(const struct lexer *l)
{
	for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++)
		if (tokens[i].dialects & 1u << l->dialect &&
		    is_at(l, l->i, tokens[i].open) && !is_minus_minus(l, &tokens[i]))
			return &tokens[i];
	return NULL;
}

/* Is there a backslash at `i` that escapes what follows? */
static bool escapes(const struct lexer *l, const struct token *t, size_t i)
{
	return l->dialect == SQL_MYSQL && t->kind == STRING && l->in.p[i] == '\\' &&
	       i + 1 < l->in.n;
}

/* Where the token ends, one past its last byte; 0 when nothing closes it. */
static size_t token_end(const struct lexer *l, const struct token *t)
{
	size_t close_n = strlen(t->close);

	for (size_t i = l->i + strlen(t->open); i < l->in.n; i++) {
		if (escapes(l, t, i)) {
			i++;
		} else if (is_at(l, i, t->close)) {
			if (!t->doubles || !is_at(l, i + 1, t->close))
				return i + close_n;
			i++;
		}
	}
	return t->kind == COMMENT ? l->in.n : 0;
}

static bool has_expansion(const struct lexer *l, size_t end)
{
	for (size_t i = l->i; i < end; i++)
		if (l->in.p[i] == '%' && is_expansion(l, i++))
			return true;
	return false;
}

/* What follows a backslash, as MySQL reads it; \% and \_ keep theirs, for LIKE. */
static void add_escaped(char c, struct buf *out)
{
	static const char from[] = "0bnrtZ", to[] = "\0\b\n\r\t\x1a";
	const char *p = c ? strchr(from, c) : NULL;

	if (c == '_' || c == '%')
		buf_byte(out, '\\');
	buf_byte(out, p ? to[p - from] : c);
}

/* The content of a literal as a template, quotes and backslashes undone. */
static void decode(struct lexer *l, const struct token *t, size_t end, struct buf *out)
{
	for (size_t i = l->i + 1; i < end - 1; i++) {
		if (escapes(l, t, i)) {
			if (is_expansion(l, ++i))
				unbound(l, i, "after a backslash");
			add_escaped(l->in.p[i], out);
		} else {
			buf_byte(out, l->in.p[i]);
			i += l->in.p[i] == t->close[0];
		}
		if (l->in.p[i] == '%')
			buf_byte(out, l->in.p[++i]);
	}
}

static bool is_word(char c)
{
	return c & 0x80 || c == '_' || c == '$' || (c >= '0' && c <= '9') ||
	       ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
}

/*
 * Does a word touch the literal that makes more of it than a string: X'', and in MySQL
 * N'', B'' and _utf8mb4''?
 */
static bool has_prefix(const struct lexer *l)
{
	const char *letters = l->dialect == SQL_MYSQL ? "xXnNbB" : "xX";
	size_t start = l->i;

	while (start && is_word(l->in.p[start - 1]))
		start--;
	if (l->dialect == SQL_MYSQL && l->in.p[start] == '_')
		return true;
	return l->i - start == 1 && strchr(letters, l->in.p[start]);
}

static void add_parameter(struct lexer *l, const struct token *t, size_t end)
{
	struct sql *s = l->sql;
	struct buf source = { 0 }, why = { 0 };
	struct template *parameter;

	if (has_prefix(l))
		unbound(l, l->i, "with a prefix, around an expansion,");
	decode(l, t, end, &source);
	parameter = template_new(buf_view(&source), TEMPLATE_QUERY, &why);
	s->parameters = must(reallocarray(s->parameters, s->n + 1, sizeof parameter));
	s->parameters[s->n++] = must(parameter);
	buf_done(&source);
	buf_str(&l->statement, " ? ");	/* blanks, lest ?1 come about */
	l->i = end;
}

static void string(struct lexer *l, const struct token *t, size_t end)
{
	bool is_parameter = has_expansion(l, end);
	bool is_next = is_parameter ? l->last != OTHER : l->last == PARAMETER;

	/* MySQL joins neighbouring literals, but not parameters. */
	if (l->dialect == SQL_MYSQL && is_next)
		unbound(l, l->i, "next to another string, with an expansion,");
	if (is_parameter)
		add_parameter(l, t, end);
	else
		copy(l, end, "");
	l->last = is_parameter ? PARAMETER : LITERAL;
}

static void other(struct lexer *l)
{
	const char *markers = l->dialect == SQL_MYSQL ? "?" : "?:@$#";
	char c = l->in.p[l->i];

	if (c && strchr(markers, c))
		unbound(l, l->i, "outside a quoted string");
	if (!strchr(" \t\r\n\v\f", c))
		l->last = OTHER;
	copy(l, l->i + 1, "outside a quoted string");
}

static void token(struct lexer *l, const struct token *t)
{
	static const char *const where[KINDS] = {
		[NAME] = "in a quoted name", [COMMENT] = "in a comment",
		[CODE_COMMENT] = "beginning a comment with code",
	};
	size_t end = token_end(l, t);

	if (t->kind == CODE_COMMENT || end == 0) {
		unbound(l, l->i, end ? where[t->kind] : "never closed");
		copy(l, l->in.n, "");
	} else if (t->kind == STRING) {
		string(l, t, end);
	} else {
		if (t->kind == NAME)
			l->last = OTHER;
		copy(l, end, where[t->kind]);
	}
}

struct sql *sql_new(struct text query, enum sql_dialect dialect, struct buf *ret_why)
{
	struct sql *s = must_calloc(1, sizeof *s);
	struct lexer l = { .sql = s, .dialect = dialect, .in = query };

	s->whole = template_new(query, TEMPLATE_QUERY, ret_why);
	if (!s->whole) {
		sql_free(s);
		return NULL;
	}
	while (l.i < l.in.n) {
		const struct token *t = token_at(&l);

		if (t)
			token(&l, t);
		else
			other(&l);
	}
	if (l.unbound.n)
		s->unbound = buf_take(&l.unbound);
	else
		s->statement = buf_take(&l.statement);
	buf_done(&l.statement);
	return s;
}

void sql_free(struct sql *sql)
{
	if (!sql)
		return;
	for (size_t i = 0; i < sql->n; i++)
		template_free(sql->parameters[i]);
	free(sql->parameters);
	template_free(sql->whole);
	free(sql->statement);
	free(sql->unbound);
	free(sql);
}

struct needs sql_needs(const struct sql *sql)
{
	return template_needs(sql->whole);
}

const char *sql_statement(const struct sql *sql)
{
	return sql->statement;
}

const char *sql_unbound(const struct sql *sql)
{
	return sql->unbound;
}

size_t sql_parameters(const struct sql *sql)
{
	return sql->statement ? sql->n : 0;
}

void sql_parameter(const struct sql *sql, size_t i, struct text key, struct buf *out)
{
	template_expand(sql->parameters[i], key, (struct text){ 0 }, NULL, NULL, out);
}

void sql_escaped(const struct sql *sql, struct text key, template_quote *quote, void *ctx,
		 struct buf *out)
{
	template_expand(sql->whole, key, (struct text){ 0 }, quote, ctx, out);
}
