/* One key: a search by the templates of a table, and what its entries lead to. */
#include "driver/ldap_entry.h"
#include "driver/ldap_suffix.h"

#include "base/must.h"

#include <stdlib.h>

/* All entries of one lookup, which has a few seconds to read them. */
#define LOOKUP_BYTES_MAX ((size_t)128 << 20)

struct found {
	struct found *next;
	struct entries entries;
	size_t room;
	struct lookup *lookup;
};

struct lookup {
	struct session *s;
	const struct table *t;
	struct found *all;		/* the newest first; they live as long as the lookup */
	size_t bytes;
	bool is_search_failed;		/* not a rule of ours */
	bool has_references;		/* part of a search is elsewhere */
	struct rows *rows;
	size_t n_values;
	struct buf why;
};

/* --- searches --------------------------------------------------------------------- */

static bool keep(void *ctx, struct entry *e)
{
	struct found *f = ctx;

	if (f->entries.n == f->room) {
		f->room = f->room ? f->room * 2 : 4;
		f->entries.list = must(reallocarray(f->entries.list, f->room,
						    sizeof *f->entries.list));
	}
	f->entries.list[f->entries.n++] = e;
	f->lookup->bytes += e->bytes;
	return f->lookup->bytes <= LOOKUP_BYTES_MAX;
}

/* `ret_matched` may be NULL. */
static int search(struct lookup *l, const char *base, int scope, const char *filter,
		  char **attributes, const struct entries **ret, char **ret_matched)
{
	struct found *f = must_calloc(1, sizeof *f);
	const struct search what = {
		.base = base, .scope = scope, .filter = filter, .attributes = attributes,
		.size_limit = l->t->size_limit, .on_entry = keep, .ctx = f,
	};
	struct search_result result;

	f->next = l->all;
	f->lookup = l;
	l->all = f;
	result = search_run(l->s, &what, &l->why);
	*ret = &f->entries;
	l->has_references = l->has_references || result.has_references;
	if (result.code == LDAP_USER_CANCELLED)
		buf_printf(&l->why, "more than %zu MiB of entries: ", LOOKUP_BYTES_MAX >> 20);
	if (ret_matched)
		*ret_matched = result.matched;
	else
		free(result.matched);
	return result.code;
}

/* For values_walk(): live. */
static int fetch(void *ctx, const char *base, int scope, const char *filter,
		 char **attributes, const struct entries **ret)
{
	struct lookup *l = ctx;
	int code = search(l, base, scope, filter, attributes, ret, NULL);

	l->is_search_failed = code != LDAP_SUCCESS && code != LDAP_NO_SUCH_OBJECT;
	return code;
}

static void lookup_done(struct lookup *l)
{
	while (l->all) {
		struct found *f = l->all;

		l->all = f->next;
		for (size_t i = 0; i < f->entries.n; i++)
			entry_free(f->entries.list[i]);
		free(f->entries.list);
		free(f);
	}
	buf_done(&l->why);
}

/* A search has failed; what we have to say about it stands before what the session has. */
static enum ended failed(struct lookup *l, int code, struct buf *ret_why)
{
	buf_text(ret_why, buf_view(&l->why));
	return session_failed(l->s, code, "search", ret_why);
}

/* --- a base that is not there --------------------------------------------------------- */

/*
 * What follows the last expansion of the base, from the next name on: the same for all keys.
 * "" when there is none, or who knows.
 */
static char *fixed_base(const char *template)
{
	const char *end = template;
	struct buf b = { 0 };

	for (const char *p = template; (p = strchr(p, '%')) && p[1]; p += 2)
		if (p[1] != '%')
			end = p + 2;
	end += strcspn(end, ",;\\");
	if (strchr(template, '"') || *end == '\\')
		return must_strdup("");
	for (const char *p = *end ? end + 1 : end; *p; p++) {
		buf_byte(&b, *p);
		if (*p == '%' && p[1] == '%')
			p++;
	}
	return buf_take(&b);
}

/*
 * What must be there for `base` to be missing because of its key: the fixed part, or the top
 * of that part of the tree which is the server's, whichever is longer. `*ret_may_lack`: it need
 * not be, as it is above all that the server has.
 */
static int find_top(struct lookup *l, const char *base, const char *fixed, char **ret_top,
		    bool *ret_may_lack)
{
	struct entry *root = NULL;
	int code = suffixes_read(l->s, &root, &l->why);
	const struct attribute *suffixes = root ? entry_find(root, "namingContexts") : NULL;
	const char *own = NULL;

	*ret_may_lack = false;
	for (size_t i = 0; suffixes && i < suffixes->n; i++) {
		const char *suffix = suffixes->values[i].p;

		if (dn_is_within(base, suffix) && (!own || dn_is_within(suffix, own)))
			own = suffix;
		*ret_may_lack = *ret_may_lack || dn_is_within(suffix, fixed);
	}
	*ret_may_lack = *ret_may_lack && !own;
	*ret_top = must_strdup(own && dn_is_within(own, fixed) ? own : fixed);
	entry_free(root);
	/* Who hides the root DSE may be asked nevertheless. */
	return code == LDAP_NO_SUCH_OBJECT || code == LDAP_INSUFFICIENT_ACCESS ? LDAP_SUCCESS
									      : code;
}

/*
 * To Postfix, a base that is made of the key and not there is a key that is not there; it
 * regrets that it cannot see mistakes then. Those in the part of the base that is the same for
 * all keys can be seen, and a replica that is still empty: what has gone, or is hidden from
 * us, is not about this key.
 */
static enum ended base_missing(struct lookup *l, const char *base, const char *fixed,
			       const char *matched, struct buf *ret_why)
{
	static char none[] = LDAP_NO_ATTRS, *attributes[] = { none, NULL };
	const struct entries *found;
	enum ended ended = ENDED_DONE;
	bool may_lack;
	char *top;
	int code;

	if (matched && dn_is_within(matched, fixed))
		return ENDED_DONE;
	code = find_top(l, base, fixed, &top, &may_lack);
	if (code == LDAP_SUCCESS && *top)
		code = search(l, top, LDAP_SCOPE_BASE, "(objectClass=*)", attributes, &found,
			      NULL);
	if (code == LDAP_NO_SUCH_OBJECT && !may_lack) {
		buf_printf(ret_why, "search_base: there is no \"%s\", or it is hidden from us",
			   top);
		ended = ENDED_TEMP;
	} else if (code != LDAP_SUCCESS && code != LDAP_NO_SUCH_OBJECT) {
		ended = failed(l, code, ret_why);
	}
	free(top);
	return ended;
}

static enum ended no_such_object(struct lookup *l, const char *base, const char *matched,
				 struct buf *ret_why)
{
	const char *template = setting_get(l->t->settings, "search_base", "");
	enum ended ended;
	char *fixed;

	if (!l->t->is_base_dynamic) {
		buf_str(ret_why, "search_base: ");
		return failed(l, LDAP_NO_SUCH_OBJECT, ret_why);
	}
	fixed = fixed_base(template);
	ended = base_missing(l, base, fixed, matched, ret_why);
	free(fixed);
	return ended;
}

/* --- lookup ----------------------------------------------------------------------- */

static void give(void *ctx, struct text value)
{
	struct lookup *l = ctx;

	rows_value(l->rows, value);
	l->n_values++;
}

/*
 * The library follows references, but passes over servers that it cannot reach, and whether it
 * tells of their errors depends on whose answer comes first. Nothing may be nothing, or that.
 */
static bool may_have_missed(const struct lookup *l)
{
	return l->has_references && l->n_values == 0 &&
	       strcmp(setting_get(l->s->source, "chase_referrals", "false"), "true") == 0;
}

static enum ended look_up(struct lookup *l, const char *base, const char *filter,
			  struct buf *ret_why)
{
	const struct fetcher fetcher = { fetch, l };
	const struct entries *found;
	char *matched = NULL;
	int code = search(l, base, l->t->scope, filter, l->t->attributes, &found, &matched);
	enum ended ended = ENDED_DONE;

	if (code == LDAP_SUCCESS) {
		code = values_walk(l->t, found, &fetcher, give, l, ret_why);
		if (code != LDAP_SUCCESS)
			ended = l->is_search_failed ? failed(l, code, ret_why) : ENDED_TEMP;
	} else if (code == LDAP_NO_SUCH_OBJECT) {
		ended = no_such_object(l, base, matched, ret_why);
	} else {
		ended = failed(l, code, ret_why);
	}
	free(matched);
	if (ended != ENDED_DONE || !may_have_missed(l))
		return ended;
	buf_str(ret_why, "nothing here, and it is not certain that the servers to which this one "
		"refers were asked");
	return ENDED_TEMP;
}

enum ended ldap_lookup(struct session *s, struct table *t, struct text key,
		       struct rows *rows, struct buf *ret_why)
{
	struct lookup l = { .s = s, .t = t, .rows = rows };
	struct buf base = { 0 }, filter = { 0 };
	enum ended ended = ENDED_TEMP;

	if (!text_chr(key, '\0') &&
	    template_expand(t->search_base, key, key, ldap_quote_dn, NULL, &base) &&
	    template_expand(t->query_filter, key, key, ldap_quote_filter, NULL, &filter))
		ended = look_up(&l, buf_cstr(&base), buf_cstr(&filter), ret_why);
	else
		buf_str(ret_why, "the query cannot be asked for such a key");
	lookup_done(&l);
	buf_done(&base);
	buf_done(&filter);
	return ended;
}
