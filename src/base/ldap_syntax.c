#include "base/ldap_syntax.h"

#include "base/must.h"
#include "base/template.h"

#include <stdlib.h>
#include <strings.h>

#define DEPTH_MAX 32	/* operators inside each other */
#define SHOWN_MAX 60	/* units of a filter in a reason */

static bool is_alpha(unsigned c)
{
	return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
}

static bool is_digit(unsigned c)
{
	return c >= '0' && c <= '9';
}

/* --- units ------------------------------------------------------------------------ */

bool has_expansion(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (is_expansion(s.p[i]))
			return true;
	return false;
}

bool span_new(struct text source, struct span *ret, struct buf *ret_why)
{
	struct template *t = text_chr(source, '\0') ? NULL :
			     template_new(source, TEMPLATE_QUERY, ret_why);
	uint16_t *to;

	if (!t) {
		if (ret_why->n == 0)
			buf_str(ret_why, "it holds a NUL");
		return false;
	}
	template_free(t);
	ret->p = to = must_calloc(source.n + 1, sizeof *to);
	for (size_t i = 0; i < source.n; i++) {
		unsigned char c = (unsigned char)source.p[i];

		if (c == '%' && source.p[++i] != '%') {
			c = (unsigned char)source.p[i];
			/* %S %U %D are the same here. */
			*to++ = (uint16_t)(EXPANSION + (is_alpha(c) ? c | 0x20 : c));
		} else {
			*to++ = c;
		}
	}
	ret->n = (size_t)(to - ret->p);
	return true;
}

void span_bytes(struct span s, struct buf *out)
{
	for (size_t i = 0; i < s.n; i++)
		buf_byte(out, (char)s.p[i]);
}

bool span_refuse(struct span s, const char *reason, struct buf *ret_why)
{
	struct buf text = { 0 };

	for (size_t i = 0; i < s.n && i < SHOWN_MAX; i++) {
		if (is_expansion(s.p[i]))
			buf_byte(&text, '%');
		buf_byte(&text, (char)s.p[i]);
	}
	buf_str(ret_why, "\"");
	buf_escaped(ret_why, buf_view(&text));
	buf_str(ret_why, s.n > SHOWN_MAX ? "...\" " : "\" ");
	buf_str(ret_why, reason);
	buf_done(&text);
	return false;
}

/* --- syntax: RFC 4515, as libldap's filter.c takes it ----------------------------- */

static struct span skip_blanks(struct span s)
{
	while (s.n && (s.p[0] == ' ' || s.p[0] == '\t' || s.p[0] == '\n'))
		s = span_from(s, 1);
	return s;
}

/* Where the parenthesis closes that was opened before `i`; s.n: nowhere. */
static size_t find_close(struct span s, size_t i)
{
	size_t open = 1;

	for (; i < s.n; i++) {
		if (s.p[i] == '\\')
			i++;
		else if (s.p[i] == '(')
			open++;
		else if (s.p[i] == ')' && --open == 0)
			return i;
	}
	return s.n;
}

bool filter_next(struct span *list, struct span *ret_content)
{
	size_t close;

	*list = skip_blanks(*list);
	if (list->n == 0 || list->p[0] != '(' || (close = find_close(*list, 1)) == list->n)
		return false;
	*ret_content = (struct span){ list->p + 1, close - 1 };
	*list = span_from(*list, close + 1);
	return true;
}

struct filter filter_of(struct span content)
{
	struct filter f = { 0, skip_blanks(content) };

	if (f.body.n && (f.body.p[0] == '&' || f.body.p[0] == '|' || f.body.p[0] == '!')) {
		f.op = (char)f.body.p[0];
		f.body = span_from(f.body, 1);
	}
	return f;
}

/* Letters, digits and hyphens; at least one. */
static bool is_ldh(struct text t)
{
	for (size_t i = 0; i < t.n; i++)
		if (!is_alpha((unsigned char)t.p[i]) && !is_digit((unsigned char)t.p[i]) &&
		    t.p[i] != '-')
			return false;
	return t.n > 0;
}

bool is_oid(struct text t)
{
	if (t.n && is_alpha((unsigned char)t.p[0]))
		return is_ldh(t);
	for (size_t i = 0; i < t.n; i++)
		if (!is_digit((unsigned char)t.p[i]) &&
		    (t.p[i] != '.' || i == 0 || t.p[i - 1] == '.'))
			return false;
	return t.n && t.p[t.n - 1] != '.';
}

/* An attribute with its options: RFC 4512 2.5. */
static bool is_description(struct text t)
{
	const char *semicolon = text_chr(t, ';');

	if (!is_oid(semicolon ? text_before(t, semicolon) : t))
		return false;
	while (semicolon) {
		struct text options = text_from(t, semicolon + 1);

		semicolon = text_chr(options, ';');
		if (!is_ldh(semicolon ? text_before(options, semicolon) : options))
			return false;
		t = options;
	}
	return true;
}

/* "type:dn:rule": each may be missing, but not type and rule. */
static bool is_extended(struct text t)
{
	const char *colon = text_chr(t, ':');
	struct text type = colon ? text_before(t, colon) : t, rule = { 0 };

	if (colon) {
		rule = text_from(t, colon + 1);
		colon = text_chr(rule, ':');

		struct text dn = colon ? text_before(rule, colon) : rule;
		bool is_dn = dn.n == 2 && strncasecmp(dn.p, "dn", 2) == 0;
		if (colon && !is_dn)
			return false;
		if (is_dn)
			rule = colon ? text_from(rule, colon + 1) : TEXT("");
	}
	return (type.n || rule.n) && (type.n == 0 || is_description(type)) &&
	       (rule.n == 0 || is_oid(rule));
}

static int hex_digit(unsigned unit)
{
	if (is_digit(unit))
		return (int)unit - '0';
	unit |= 0x20;
	return unit >= 'a' && unit <= 'f' ? (int)unit - 'a' + 10 : -1;
}

bool value_next(struct span *value, uint16_t *ret)
{
	size_t used = 1;

	if (value->n == 0 || value->p[0] == '(' || value->p[0] == ')')
		return false;
	*ret = value->p[0] == '*' ? STAR : value->p[0];
	if (value->p[0] == '\\') {
		uint16_t next = value->n > 1 ? value->p[1] : 0;
		int high = hex_digit(next), low = value->n > 2 ? hex_digit(value->p[2]) : -1;

		if (high >= 0 && low >= 0) {
			*ret = (uint16_t)(high * 16 + low);
			used = 3;
		} else if (next == '*' || next == '(' || next == ')' || next == '\\') {
			*ret = next;	/* RFC 1960 */
			used = 2;
		} else {
			return false;
		}
	}
	*value = span_from(*value, used);
	return true;
}

bool is_assertion_value(struct span value, bool may_have_stars)
{
	bool was_star = false;
	uint16_t unit;

	while (value_next(&value, &unit)) {
		if (unit == STAR && (was_star || !may_have_stars))
			return false;
		was_star = unit == STAR;
	}
	return value.n == 0;
}

bool assertion_parse(struct span s, struct assertion *ret, struct buf *ret_why)
{
	size_t i = 0, n;

	*ret = (struct assertion){ .op = '=' };
	while (i < s.n && s.p[i] != '=')
		i++;
	if (i == s.n)
		return span_refuse(s, "is no attribute=value", ret_why);
	n = i;
	if (n && (s.p[n - 1] == '<' || s.p[n - 1] == '>' || s.p[n - 1] == '~' ||
		  s.p[n - 1] == ':'))
		ret->op = (char)s.p[--n];
	if (has_expansion((struct span){ s.p, n }))
		return span_refuse(s, "has an expansion in the attribute's name", ret_why);
	span_bytes((struct span){ s.p, n }, &ret->attribute);
	ret->value = span_from(s, i + 1);
	if (ret->op == ':' ? !is_extended(buf_view(&ret->attribute)) :
			     !is_description(buf_view(&ret->attribute)))
		return span_refuse(s, "does not begin with an attribute", ret_why);
	if (!is_assertion_value(ret->value, ret->op == '='))
		return span_refuse(s, "has a *, ( ) or \\ where none may be", ret_why);
	return true;
}

static bool check_filter(struct span content, unsigned depth, struct buf *ret_why)
{
	struct filter f = filter_of(content);
	struct span child;
	size_t n = 0;

	if (!f.op) {
		struct assertion a;
		bool is_good = assertion_parse(f.body, &a, ret_why);

		buf_done(&a.attribute);
		return is_good;
	}
	if (depth == DEPTH_MAX)
		return span_refuse(content, "is nested too deeply", ret_why);
	while ((f.op != '!' || n == 0) && filter_next(&f.body, &child)) {
		if (!check_filter(child, depth + 1, ret_why))
			return false;
		n++;
	}
	if (f.body.n)
		return span_refuse(f.body, "is no (filter), or lacks a )", ret_why);
	return f.op != '!' || n == 1 || span_refuse(content, "is a NOT of nothing", ret_why);
}

bool filter_parse(struct span s, struct span *ret_content, struct buf *ret_why)
{
	size_t close;

	*ret_content = s;
	if (s.n && s.p[0] == '(') {
		close = find_close(s, 1);
		if (close == s.n)
			return span_refuse(s, "lacks a )", ret_why);
		if (close + 1 != s.n)
			return span_refuse(span_from(s, close + 1), "stands behind the filter",
					   ret_why);
		*ret_content = (struct span){ s.p + 1, s.n - 2 };
		return check_filter(*ret_content, 0, ret_why);
	}
	/* An assertion may stand without parentheses, but "&(a=b)(c=d)" may not. */
	struct assertion a;
	bool is_good = assertion_parse(s, &a, ret_why);

	buf_done(&a.attribute);
	return is_good;
}
