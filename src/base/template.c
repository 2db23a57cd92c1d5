#include "base/template.h"

#include "base/must.h"

#include <stdlib.h>

#define HINT " (write %% for a percent sign)"

/* A piece of a template: text as it stands, and then one expansion ('\0' for none). */
struct piece {
	struct text literal;	/* into template.literals */
	char letter;		/* s u d S U D 1..9 */
};

struct template {
	enum template_role role;
	struct needs needs;
	bool value_local, value_domain;	/* what %u and %d of a result ask of a value */
	char *literals;			/* the source with %% undone, for the pieces */
	struct piece *pieces;
	size_t n;
};

/* An address as templates see it: taken apart at the last '@', nothing unquoted. */
struct parts {
	struct text whole, local, domain;
	bool has_at;
};

static struct parts parts_of(struct text t)
{
	const char *at = text_rchr(t, '@');

	if (!at)
		return (struct parts){ .whole = t, .local = t };
	return (struct parts){ t, text_before(t, at), text_from(t, at + 1), true };
}

/*
 * The n-th label from the right, from 1; false when there are fewer. Empty labels do not
 * count, as Postfix takes domains apart with argv_split().
 */
static bool label(struct text domain, unsigned n, struct text *ret_label)
{
	for (;;) {
		while (domain.n && domain.p[domain.n - 1] == '.')
			domain.n--;
		if (domain.n == 0)
			return false;

		const char *dot = text_rchr(domain, '.');
		const char *start = dot ? dot + 1 : domain.p;
		if (--n == 0) {
			*ret_label = text_from(domain, start);
			return true;
		}
		domain = text_before(domain, start);
	}
}

struct needs needs_both(struct needs a, struct needs b)
{
	return (struct needs){
		.local = a.local || b.local,
		.domain = a.domain || b.domain,
		.labels = a.labels > b.labels ? a.labels : b.labels,
	};
}

bool needs_met(struct needs needs, struct text key)
{
	struct parts k = parts_of(key);
	struct text ignored;

	return key.n && (!needs.local || k.local.n) && (!needs.domain || k.domain.n) &&
	       (!needs.labels || label(k.domain, needs.labels, &ignored));
}

/* Note what %letter asks for; false: there is no such expansion. */
static bool require(struct template *t, char letter)
{
	bool of_value = t->role == TEMPLATE_RESULT;

	switch (letter) {
	case 's':
	case 'S':
		return true;
	case 'u':
		*(of_value ? &t->value_local : &t->needs.local) = true;
		return true;
	case 'd':
		*(of_value ? &t->value_domain : &t->needs.domain) = true;
		return true;
	case 'U':
		t->needs.local = true;
		return true;
	case 'D':
		t->needs.domain = true;
		return true;
	}
	if (letter < '1' || letter > '9')
		return false;
	t->needs.domain = true;
	if (t->needs.labels < (unsigned)(letter - '0'))
		t->needs.labels = (unsigned)(letter - '0');
	return true;
}

static void add_piece(struct template *t, const char *start, const char *end, char letter)
{
	struct text literal = { start, (size_t)(end - start) };

	t->pieces[t->n++] = (struct piece){ literal, letter };
}

/* Cut `source` into pieces. False with a reason. */
static bool parse(struct template *t, struct text source, struct buf *ret_why)
{
	char *to = t->literals, *start = to;

	for (size_t i = 0; i < source.n; i++) {
		if (source.p[i] != '%') {
			*to++ = source.p[i];
			continue;
		}
		if (++i == source.n) {
			buf_str(ret_why, "a lone % at the end" HINT);
			return false;
		}
		if (source.p[i] == '%') {
			*to++ = '%';
			continue;
		}
		if (!require(t, source.p[i])) {
			buf_str(ret_why, "unknown expansion %");
			buf_escaped(ret_why, (struct text){ source.p + i, 1 });
			buf_printf(ret_why, " at character %zu", i);
			buf_str(ret_why, HINT);
			return false;
		}
		add_piece(t, start, to, source.p[i]);
		start = to;
	}
	add_piece(t, start, to, '\0');
	return true;
}

struct template *template_new(struct text source, enum template_role role,
			      struct buf *ret_why)
{
	struct template *t = must_calloc(1, sizeof *t);
	size_t percents = 0;

	for (size_t i = 0; i < source.n; i++)
		percents += source.p[i] == '%';
	t->role = role;
	t->literals = must_calloc(source.n + 1, 1);
	t->pieces = must_calloc(percents + 1, sizeof *t->pieces);
	if (parse(t, source, ret_why))
		return t;
	template_free(t);
	return NULL;
}

void template_free(struct template *t)
{
	if (!t)
		return;
	free(t->literals);
	free(t->pieces);
	free(t);
}

struct needs template_needs(const struct template *t)
{
	return t->needs;
}

/* What %letter stands for; the needs are met. */
static struct text expansion(char letter, const struct parts *key,
			     const struct parts *value)
{
	struct text part = { 0 };

	switch (letter) {
	case 's':
		return value->whole;
	case 'u':
		return value->local;
	case 'd':
		return value->domain;
	case 'S':
		return key->whole;
	case 'U':
		return key->local;
	case 'D':
		return key->domain;
	}
	label(key->domain, (unsigned)(letter - '0'), &part);
	return part;
}

bool template_expand(const struct template *t, struct text key, struct text value,
		     template_quote *quote, void *ctx, struct buf *out)
{
	struct parts k = parts_of(key);
	struct parts v = t->role == TEMPLATE_RESULT ? parts_of(value) : k;

	if (!needs_met(t->needs, key) || v.whole.n == 0 ||
	    (t->value_domain && !v.domain.n) || (t->value_local && !v.local.n))
		return false;

	for (size_t i = 0; i < t->n; i++) {
		buf_text(out, t->pieces[i].literal);
		if (!t->pieces[i].letter)
			break;

		struct text part = expansion(t->pieces[i].letter, &k, &v);
		if (quote)
			quote(ctx, part, out);
		else
			buf_text(out, part);
	}
	return true;
}
