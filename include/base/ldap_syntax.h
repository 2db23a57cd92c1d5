/* ldap_syntax.h - the syntax of LDAP filter templates, for ldap_filter.c alone. Pure. */
#ifndef BASE_LDAP_SYNTAX_H
#define BASE_LDAP_SYNTAX_H

#include "base/buf.h"

/*
 * A template is a row of units: bytes (%% is one), and EXPANSION + its letter (%S %U %D are
 * %s %u %d here). No key can change the structure around an expansion, as it is quoted.
 * In values that were taken apart, STAR is a `*` that was not escaped.
 */
enum { EXPANSION = 0x100, STAR = 0x200 };

struct span {
	const uint16_t *p;
	size_t n;
};

/* Take a template apart. The caller frees ret->p. False with a reason. */
bool span_new(struct text source, struct span *ret, struct buf *ret_why);

/* `s` from unit `i` on. */
static inline struct span span_from(struct span s, size_t i)
{
	return (struct span){ s.p + i, s.n - i };
}

static inline bool is_expansion(uint16_t unit)
{
	return unit >= EXPANSION && unit < STAR;
}

bool has_expansion(struct span s);

/* Append it as bytes; it holds no expansion. */
void span_bytes(struct span s, struct buf *out);

/* Append to the reason what is wrong with `s`: '"(a=b)" REASON'. Always false. */
bool span_refuse(struct span s, const char *reason, struct buf *ret_why);

/*
 * Check a whole filter: RFC 4515 as libldap's filter.c takes it, 32 operators deep, and no
 * expansions but in values. What stands in its parentheses, which may be missing, is a view
 * into `s`. False with a reason.
 */
bool filter_parse(struct span s, struct span *ret_content, struct buf *ret_why);

/* What stands between two parentheses: "&" and a list, or an assertion. */
struct filter {
	char op;		/* & | ! or 0 */
	struct span body;
};

struct filter filter_of(struct span content);

/* Take the next filter off a list. False: none is left, or something else, which stays. */
bool filter_next(struct span *list, struct span *ret_content);

/* An assertion: "attribute", "=", "value"; also with <= >= ~= :=. */
struct assertion {
	struct buf attribute;
	char op;		/* what stands before the "=", or that */
	struct span value;
};

/* False with a reason. `ret->attribute` is freed by the caller, whatever the result. */
bool assertion_parse(struct span s, struct assertion *ret, struct buf *ret_why);

/* Is it a value of an assertion, a pattern with `*` where it may be one? */
bool is_assertion_value(struct span value, bool may_have_stars);

/* Take one unit off a value, escapes undone. False: none is left, or nonsense, which stays. */
bool value_next(struct span *value, uint16_t *ret);

/* The name or the numbers of an attribute type, without options: RFC 4512 1.4, oid. */
bool is_oid(struct text t);

#endif
