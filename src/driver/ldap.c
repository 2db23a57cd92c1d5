/* The ldap driver, for OpenLDAP, Active Directory and their like. Knows libldap. */
#include "driver/ldap.h"

#include "base/clock.h"
#include "base/must.h"
#include "wire/frame.h"

#include <stdio.h>
#include <stdlib.h>

#define LIST_SEPARATORS ", \t\r\n"

static const char *version(void)
{
	static char text[64];
	LDAPAPIInfo info = { .ldapai_info_version = LDAP_API_INFO_VERSION };
	char *tls = NULL;

	if (ldap_get_option(NULL, LDAP_OPT_API_INFO, &info) != LDAP_OPT_SUCCESS)
		return "libldap";
	ldap_get_option(NULL, LDAP_OPT_X_TLS_PACKAGE, &tls);
	snprintf(text, sizeof text, "libldap %d.%d.%d %s", info.ldapai_vendor_version / 10000,
		 info.ldapai_vendor_version / 100 % 100, info.ldapai_vendor_version % 100,
		 tls ? tls : "without TLS");
	ldap_memfree(tls);
	ldap_memfree(info.ldapai_vendor_name);
	ber_memvfree((void **)info.ldapai_extensions);
	return text;
}

static void *open_handle(const struct settings *source, struct buf *ret_why)
{
	struct session *s = must_calloc(1, sizeof *s);

	if (session_init(s, source, ret_why))
		return s;
	session_done(s);
	free(s);
	return NULL;
}

static void close_handle(void *handle)
{
	session_done(handle);
	free(handle);
}

/* --- tables ----------------------------------------------------------------------- */

static bool is_true(const struct settings *settings, const char *name)
{
	return strcmp(setting_get(settings, name, "false"), "true") == 0;
}

/* Add the names of a list setting; returns how many. */
static size_t add_attributes(struct table *t, size_t n, const char *name,
			     const char *otherwise)
{
	struct text list = text_of(setting_get(t->settings, name, otherwise)), item;
	size_t added = 0;

	while (text_next(&list, LIST_SEPARATORS, &item)) {
		t->attributes = must(reallocarray(t->attributes, n + added + 2,
						  sizeof *t->attributes));
		t->attributes[n + added++] = must(strndup(item.p, item.n));
		t->attributes[n + added] = NULL;
	}
	return added;
}

static void get_attributes(struct table *t)
{
	size_t n = 0;

	n += t->n_terminal = add_attributes(t, n, "terminal_result_attribute", "");
	n += t->n_leaf = add_attributes(t, n, "leaf_result_attribute", "");
	n += t->n_result = add_attributes(t, n, "result_attribute", "maildrop");
	n += t->n_special = add_attributes(t, n, "special_result_attribute", "");
	if (n)
		return;
	/* No list at all would be a wish for everything. */
	t->attributes = must_calloc(2, sizeof *t->attributes);
	t->attributes[0] = must_strdup(LDAP_NO_ATTRS);
}

static bool get_number(const struct settings *settings, const char *name,
		       const char *otherwise, size_t *ret, struct buf *ret_why)
{
	uint64_t number;

	if (frame_number(text_of(setting_get(settings, name, otherwise)), &number) &&
	    number <= INT32_MAX) {
		*ret = (size_t)number;
		return true;
	}
	buf_printf(ret_why, "%s is not a number", name);
	return false;
}

static bool get_limits(struct table *t, const struct settings *source, struct buf *ret_why)
{
	const char *limit = setting_get(t->settings, "expansion_limit", "0");
	size_t page_size;

	if (!get_number(t->settings, "recursion_limit", "1000", &t->recursion_limit,
			ret_why) ||
	    !get_number(t->settings, "expansion_limit", "0", &t->expansion_limit,
			ret_why) ||
	    !get_number(t->settings, "size_limit", limit, &t->size_limit, ret_why) ||
	    !get_number(source, "page_size", "500", &page_size, ret_why))
		return false;
	t->page_size = (unsigned)page_size;
	return true;
}

static bool get_scope(struct table *t, struct buf *ret_why)
{
	static const struct { const char *name; int scope; } scopes[] = {
		{ "sub", LDAP_SCOPE_SUBTREE },
		{ "one", LDAP_SCOPE_ONELEVEL },
		{ "base", LDAP_SCOPE_BASE },
	};
	const char *name = setting_get(t->settings, "scope", "sub");

	for (size_t i = 0; i < sizeof scopes / sizeof *scopes; i++)
		if (strcmp(name, scopes[i].name) == 0) {
			t->scope = scopes[i].scope;
			return true;
		}
	buf_printf(ret_why, "scope: unknown word \"%s\"", name);
	return false;
}

/* Has it an expansion of the key? `%%` is none. */
static bool is_dynamic(const char *template)
{
	for (const char *p = template; (p = strchr(p, '%')) && p[1]; p += 2)
		if (p[1] != '%')
			return true;
	return false;
}

/* What is no template is NULL; without a query_filter there are no lookups. */
static bool get_template(const struct settings *settings, const char *name,
			 struct template **ret, struct buf *ret_why)
{
	const char *source = setting_get(settings, name, NULL);
	struct buf why = { 0 };

	*ret = source ? template_new(text_of(source), TEMPLATE_QUERY, &why) : NULL;
	if (source && !*ret)
		buf_printf(ret_why, "%s: %s", name, buf_cstr(&why));
	buf_done(&why);
	return !source || *ret;
}

/* How to scan; a reason why not is no error until somebody wants to. */
static void get_plan(struct table *t)
{
	const char *filter = setting_get(t->settings, "scan_filter", NULL);
	const char *attribute = setting_get(t->settings, "key_attribute", NULL);
	const char *pattern = setting_get(t->settings, "key_pattern", "%s");
	const char *query = setting_get(t->settings, "query_filter", NULL);

	t->is_plan_explicit = attribute != NULL;
	if (t->is_base_dynamic)
		buf_str(&t->why_not, "search_base has an expansion");
	else if (!!filter != !!attribute)
		buf_str(&t->why_not, "scan_filter and key_attribute belong together");
	else if (filter)
		ldap_plan_explicit(text_of(filter), text_of(attribute), text_of(pattern),
				   &t->plan, &t->why_not);
	else if (query)
		ldap_plan_derive(text_of(query), &t->plan, &t->why_not);
	else
		buf_str(&t->why_not, "neither query_filter nor scan_filter is set");
}

static void table_free(void *handle, void *table)
{
	struct table *t = table;
	(void)handle;

	template_free(t->search_base);
	template_free(t->query_filter);
	for (size_t i = 0; t->attributes && t->attributes[i]; i++)
		free(t->attributes[i]);
	free(t->attributes);
	ldap_plan_done(&t->plan);
	buf_done(&t->why_not);
	free(t);
}

static void *table_new(void *handle, const struct settings *settings, struct buf *ret_why)
{
	struct table *t = must_calloc(1, sizeof *t);
	const struct session *s = handle;

	t->settings = settings;
	t->is_base_dynamic = is_dynamic(setting_get(settings, "search_base", ""));
	t->ignore_references = is_true(settings, "ignore_references");
	t->change_check = setting_get(settings, "change_check", NULL);
	if (!get_template(settings, "search_base", &t->search_base, ret_why) ||
	    !get_template(settings, "query_filter", &t->query_filter, ret_why) ||
	    !get_scope(t, ret_why) || !get_limits(t, s->source, ret_why)) {
		table_free(handle, t);
		return NULL;
	}
	get_attributes(t);
	get_plan(t);
	return t;
}

/* --- requests --------------------------------------------------------------------- */

/* What the server wants. */
struct job {
	enum ended (*run)(struct session *s, const struct job *r,
			  struct buf *ret_why);
	enum purpose purpose;
	struct table *table;
	struct text key;
	struct rows *rows;		/* NULL for a ping */
};

/*
 * Run it on the connection there is, and when that gets lost, on another one: until a
 * host answers, or all of them rest. Rows on their way cannot be asked for again.
 */
static enum ended run(struct session *s, const struct job *r, struct buf *ret_why)
{
	enum ended ended;

	s->began = clock_msec();
	s->is_new = false;
	while ((ended = session_open(s, r->purpose, ret_why)) == ENDED_DONE) {
		ended = r->run(s, r, ret_why);
		if (ended != ENDED_DOWN)
			break;
		if (r->rows && !rows_undo(r->rows)) {
			ended = ENDED_TEMP;
			break;
		}
		buf_clear(ret_why);
	}
	s->used = clock_msec();
	return ended;
}

static enum ended run_lookup(struct session *s, const struct job *r,
			     struct buf *ret_why)
{
	return ldap_lookup(s, r->table, r->key, r->rows, ret_why);
}

static enum ended lookup(void *handle, void *table, struct text key, struct rows *rows,
			 struct buf *ret_why)
{
	struct table *t = table;
	const struct job r = { run_lookup, FOR_LOOKUPS, t, key, rows };
	const char *wrong = !t->query_filter ? "query_filter is not set" :
			    !t->search_base ? "search_base is not set" :
			    !needs_met(needs_both(template_needs(t->query_filter),
						  template_needs(t->search_base)), key) ?
			    "the query cannot be asked for such a key" : NULL;

	if (!wrong)
		return run(handle, &r, ret_why);
	buf_str(ret_why, wrong);
	return ENDED_TEMP;
}

static enum ended run_scan(struct session *s, const struct job *r,
			   struct buf *ret_why)
{
	return ldap_scan(s, r->table, r->rows, ret_why);
}

static enum ended scan(void *handle, void *table, struct rows *rows, struct buf *ret_why)
{
	struct table *t = table;
	const struct job r = { run_scan, FOR_SCANS, t, { 0 }, rows };

	if (t->plan.n)
		return run(handle, &r, ret_why);
	buf_printf(ret_why, "no scan: %s", buf_cstr(&t->why_not));
	return ENDED_TEMP;
}

static enum ended run_changed(struct session *s, const struct job *r,
			      struct buf *ret_why)
{
	return ldap_changed(s, r->table, r->rows, ret_why);
}

/* The server waits for it as long as for a lookup. */
static enum ended changed(void *handle, void *table, struct rows *rows,
			  struct buf *ret_why)
{
	struct table *t = table;
	const struct job r = { run_changed, FOR_LOOKUPS, t, { 0 }, rows };

	if (t->change_check)
		return run(handle, &r, ret_why);
	buf_str(ret_why, "change_check is not set");
	return ENDED_TEMP;
}

/* The root entry is there for everybody; a server that hides it is a server, too. */
static enum ended run_ping(struct session *s, const struct job *r,
			   struct buf *ret_why)
{
	static char no_attributes[] = LDAP_NO_ATTRS, *list[] = { no_attributes, NULL };
	LDAPMessage *result = NULL;
	int code = LDAP_SUCCESS;
	(void)r;

	if (!s->is_new) {
		session_watch(s, session_left(s));
		code = ldap_search_ext_s(s->ld, "", LDAP_SCOPE_BASE, "(objectClass=*)", list,
					 1, NULL, NULL, NULL, 0, &result);
		session_watch(s, 0);
		ldap_msgfree(result);
	}
	if (code == LDAP_SUCCESS || code == LDAP_NO_SUCH_OBJECT ||
	    code == LDAP_INSUFFICIENT_ACCESS)
		return ENDED_DONE;
	return session_failed(s, code, "ping", ret_why);
}

/* The server asks whether anything is back, having waited by itself. */
static enum ended ping(void *handle, struct buf *ret_why)
{
	const struct job r = { run_ping, FOR_LOOKUPS, NULL, { 0 }, NULL };
	struct session *s = handle;

	if (!s->ld)
		hosts_wake(&s->hosts);
	return run(s, &r, ret_why);
}

static int idle(void *handle)
{
	struct session *s = handle;
	uint64_t unused = clock_msec() - s->used;

	if (!s->ld)
		return -1;
	if (unused < s->idle_interval)
		return (int)(s->idle_interval - unused);
	session_close(s);
	return -1;
}

int main(int argc, char **argv)
{
	static const struct driver ldap = {
		.name = "socketmapd-ldap",
		.version = version,
		.open = open_handle,
		.close = close_handle,
		.table_new = table_new,
		.table_free = table_free,
		.lookup = lookup,
		.scan = scan,
		.changed = changed,
		.ping = ping,
		.idle = idle,
	};

	/* Neither ldap.conf nor the environment has a say. */
	setenv("LDAPNOINIT", "1", 1);
	return driver_main(&ldap, argc, argv);
}
