/*
 * What entries are worth. Not what one would make up, but what Postfix does, and what sites
 * have come to rely on. Source: Postfix src/global/dict_ldap.c, dict_ldap_get_values(), url_attrs(),
 * attrdesc_subtype(); postfix-tables.md 8.
 */
#include "driver/ldap.h"

#include "base/log.h"
#include "base/must.h"

#include <stdlib.h>
#include <strings.h>

/* Our own limit to recursion_limit: each level takes a piece of the stack. */
#define DEPTH_MAX 4000

struct walk {
	const struct table *t;
	const struct fetcher *fetcher;
	void (*on_value)(void *ctx, struct text value);
	void *ctx;
	size_t n_sure;		/* values that count whatever result_format is */
	struct buf *why;
};

static int walk_entries(struct walk *w, const struct entries *entries, size_t depth);

/* --- names ------------------------------------------------------------------------ */

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + 'a' - 'A') : c;
}

/* 1: `b` is `a`, or `a` with options. -1: the other way round. 0: neither. */
static int subtype(const char *a, const char *b)
{
	while (*a && lower(*a) == lower(*b))
		a++, b++;
	if (!*a && (!*b || *b == ';'))
		return 1;
	return !*b && *a == ';' ? -1 : 0;
}

/* Which of the attributes it was asked for is it? Their number: none. */
static size_t attribute_index(const struct table *t, const char *name)
{
	size_t i = 0;

	while (t->attributes[i] && subtype(t->attributes[i], name) <= 0)
		i++;
	return i;
}

/* Has the entry a value of one of these? By its very name: options do not count here. */
static bool has_any(const struct entry *e, char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < e->n; j++)
			if (e->attributes[j].n &&
			    strcasecmp(names[i], e->attributes[j].name) == 0)
				return true;
	return false;
}

/* --- values ----------------------------------------------------------------------- */

/*
 * Give out one value. It is the server that counts for expansion_limit, what result_format has
 * made of them; one with a local part and a domain outlives every format.
 */
static int give(struct walk *w, struct text value)
{
	const char *at = text_rchr(value, '@');

	if (at && at > value.p && at < value.p + value.n - 1)
		w->n_sure++;
	if (w->t->expansion_limit && w->n_sure > w->t->expansion_limit) {
		buf_str(w->why, "more values than expansion_limit");
		return LDAP_SIZELIMIT_EXCEEDED;
	}
	if (value.n)
		w->on_value(w->ctx, value);
	return LDAP_SUCCESS;
}

/*
 * What to ask for where a URL says it: of these those that we have a use for, the one with
 * options where they differ in them. NULL: none. The strings stay their owners'.
 */
static char **url_attributes(const struct table *t, char **wanted)
{
	char **list = NULL;
	size_t n = 0;

	for (char **a = wanted; *a; a++)
		for (char **b = t->attributes; *b; b++) {
			int is = subtype(*a, *b);

			if (!is)
				continue;
			list = must(reallocarray(list, n + 2, sizeof *list));
			list[n++] = is > 0 ? *b : *a;
			list[n] = NULL;
		}
	return list;
}

/* Fetch and walk. What is not there has no values, and that is no error. */
static int follow(struct walk *w, const char *base, int scope, const char *filter,
		  char **attributes, size_t depth)
{
	const struct entries *found = NULL;
	int code = w->fetcher->fetch(w->fetcher->ctx, base, scope, filter, attributes, &found);

	if (code == LDAP_SUCCESS)
		return walk_entries(w, found, depth + 1);
	if (code != LDAP_NO_SUCH_OBJECT)
		return code;
	log_warn("reference_missing", "", F_STR("dn", base));
	return LDAP_SUCCESS;
}

/* The host of a URL is nobody's business: the same server is asked. */
static int follow_url(struct walk *w, const char *text, size_t depth)
{
	LDAPURLDesc *url;
	char **attributes, **own = NULL;
	int code;

	if (ldap_url_parse(text, &url) != LDAP_URL_SUCCESS) {
		buf_str(w->why, "a value is a malformed LDAP URL");
		return LDAP_PARAM_ERROR;
	}
	attributes = w->t->attributes;
	if (url->lud_attrs && *url->lud_attrs)
		attributes = own = url_attributes(w->t, url->lud_attrs);
	code = !attributes ? LDAP_SUCCESS :
	       follow(w, url->lud_dn ? url->lud_dn : "", url->lud_scope,
		      url->lud_filter ? url->lud_filter : "(objectClass=*)", attributes,
		      depth);
	free(own);
	ldap_free_urldesc(url);
	return code;
}

static int walk_special(struct walk *w, const struct attribute *a, size_t depth)
{
	int code = LDAP_SUCCESS;

	if (a->n && (depth >= w->t->recursion_limit || depth >= DEPTH_MAX)) {
		buf_str(w->why, "references nest deeper than recursion_limit");
		return LDAP_CLIENT_LOOP;
	}
	for (size_t i = 0; i < a->n && code == LDAP_SUCCESS; i++) {
		const char *value = a->values[i].p;

		code = ldap_is_ldap_url(value) ? follow_url(w, value, depth) :
		       follow(w, value, LDAP_SCOPE_BASE, "(objectClass=*)", w->t->attributes,
			      depth);
	}
	return code;
}

static int walk_attribute(struct walk *w, const struct attribute *a, bool is_terminal,
			  bool is_leaf, size_t depth)
{
	const struct table *t = w->t;
	size_t n_values = t->n_terminal + t->n_leaf + t->n_result;
	size_t i = attribute_index(t, a->name);
	int code = LDAP_SUCCESS;

	if (is_terminal ? i >= t->n_terminal : i >= n_values + t->n_special)
		return LDAP_SUCCESS;
	if (!is_leaf && i < t->n_terminal + t->n_leaf)
		return LDAP_SUCCESS;
	if (i >= n_values)
		return walk_special(w, a, depth);
	for (size_t j = 0; j < a->n && code == LDAP_SUCCESS; j++)
		code = give(w, a->values[j]);
	return code;
}

/*
 * The entries of one search. Once an entry is terminal, or no leaf, those that follow it
 * are, too: the flags belong to the search.
 */
static int walk_entries(struct walk *w, const struct entries *entries, size_t depth)
{
	const struct table *t = w->t;
	char *const *special = t->attributes + t->n_terminal + t->n_leaf + t->n_result;
	bool is_terminal = false, is_leaf = true;
	int code = LDAP_SUCCESS;

	if (t->size_limit && entries->n > t->size_limit) {
		buf_str(w->why, "more entries than size_limit");
		return LDAP_SIZELIMIT_EXCEEDED;
	}
	for (size_t i = 0; i < entries->n; i++) {
		const struct entry *e = entries->list[i];

		is_terminal = is_terminal || has_any(e, t->attributes, t->n_terminal);
		if (!is_terminal && t->n_leaf && has_any(e, special, t->n_special))
			is_leaf = false;
		for (size_t j = 0; j < e->n && code == LDAP_SUCCESS; j++)
			code = walk_attribute(w, &e->attributes[j], is_terminal, is_leaf,
					      depth);
	}
	return code;
}

int values_walk(const struct table *t, const struct entries *entries,
		const struct fetcher *fetcher, void (*on_value)(void *ctx, struct text value),
		void *ctx, struct buf *ret_why)
{
	struct walk w = {
		.t = t, .fetcher = fetcher, .on_value = on_value, .ctx = ctx, .why = ret_why,
	};

	return walk_entries(&w, entries, 1);
}
