/* template.h - Postfix's %s templates: what they ask of a key and make of it. Pure. */
#ifndef BASE_TEMPLATE_H
#define BASE_TEMPLATE_H

#include "base/buf.h"

/*
 * What the templates of one table ask of a key together. A key that lacks any
 * of it is not looked up, which means not found.
 * Source: Postfix src/global/db_common.c; postfix-tables.md 3.
 */
struct needs {
	bool local;		/* %u %U: a local part that is not empty */
	bool domain;		/* %d %D: a domain that is not empty */
	unsigned labels;	/* %1..%9: at least so many labels in the domain */
};

/* What one template is used for; decides what %u and %d stand for and ask. */
enum template_role {
	TEMPLATE_QUERY,		/* query, search_base, query_filter: all of the key */
	TEMPLATE_RESULT,	/* result_format: %s %u %d are of the value */
};

struct template;

/*
 * Parse a template. NULL on an unknown %x or a lone % at its end, with the
 * reason appended to `ret_why`. The caller frees it with template_free().
 */
struct template *template_new(struct text source, enum template_role role,
			      struct buf *ret_why);
void template_free(struct template *t);

/* What the template asks of a key. */
struct needs template_needs(const struct template *t);

/* All that `a` or `b` asks for. */
struct needs needs_both(struct needs a, struct needs b);

/* Does `key` have it? Never true for the empty key. */
bool needs_met(struct needs needs, struct text key);

/* Append a part of a key to `out`, quoted for where it goes. */
typedef void template_quote(void *ctx, struct text part, struct buf *out);

/*
 * Append the expanded template to `out`. One pass: a % inside the key or the
 * value is data.
 *
 * value      for TEMPLATE_RESULT, one value of the directory; else ignored
 * quote      for the parts of the key and value; NULL: as they are
 *
 * False, with `out` unchanged, when the value lacks what %u or %d ask (it is
 * skipped then) or the key what the template needs.
 */
bool template_expand(const struct template *t, struct text key, struct text value,
		     template_quote *quote, void *ctx, struct buf *out);

#endif
