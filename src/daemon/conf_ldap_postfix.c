/* What ldap: tables of Postfix have other than ours: names, words and defaults. */
#include "daemon/conf_parts.h"

#include "base/cf.h"
#include "base/hosts.h"

#include <ctype.h>
#include <strings.h>

#define LIST_SEPARATORS ", \t\r\n"

/* Where a parameter stands, for messages. */
static struct node place_of(const char *path, const struct cf *cf, const char *name)
{
	const struct cf_entry *e = cf_find(cf, name);

	return (struct node){ .file = (char *)path, .line = e ? e->line : 1 };
}

static bool is_set(const struct cf *cf, const char *name)
{
	const char *value = cf_get(cf, name);

	return value && *value;
}

static bool says_yes(const struct cf *cf, const char *name)
{
	return is_set(cf, name) && strcasecmp(cf_get(cf, name), "yes") == 0;
}

static void set_default(struct cf *cf, const char *name, const char *value)
{
	if (!cf_find(cf, name))
		cf_set(cf, name, value);
}

static void lower(struct cf *cf, const char *name)
{
	struct buf word = { 0 };

	for (const char *p = cf_get(cf, name); p && *p; p++)
		buf_byte(&word, (char)tolower((unsigned char)*p));
	if (cf_find(cf, name))
		cf_set(cf, name, buf_cstr(&word));
	buf_done(&word);
}

static void drop_ignored(struct conf *c, const char *path, struct cf *cf)
{
	static const char *const ignored[] = {
		"cache", "cache_expiry", "cache_size", "debuglevel", "tls_random_file",
	};

	for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++) {
		struct node place = place_of(path, cf, ignored[i]);

		if (cf_find(cf, ignored[i]))
			conf_note(c, &place, "%s: has no effect", ignored[i]);
		cf_drop(cf, ignored[i]);
	}
}

/* What is empty is not set. */
static void drop_empty(struct cf *cf)
{
	static const char *const names[] = {
		"bind_dn", "bind_pw", "result_format", "tls_ca_cert_dir",
		"tls_ca_cert_file", "tls_cert", "tls_key",
	};

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (!is_set(cf, names[i]))
			cf_drop(cf, names[i]);
}

/* Its name until Postfix 2.2. */
static void rename_result_filter(struct cf *cf)
{
	struct buf value = { 0 };

	if (is_set(cf, "result_filter") && !is_set(cf, "result_format")) {
		buf_str(&value, cf_get(cf, "result_filter"));
		cf_set(cf, "result_format", buf_cstr(&value));
	}
	cf_drop(cf, "result_filter");
	buf_done(&value);
}

static void check_scope(struct conf *c, const char *path, struct cf *cf)
{
	static const char *const known[] = { "", "sub", "one", "base" };
	struct node place = place_of(path, cf, "scope");
	const char *scope;
	bool is_known = false;

	lower(cf, "scope");
	scope = cf_get(cf, "scope");
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		is_known = is_known || !scope || strcmp(scope, known[i]) == 0;
	if (is_known)
		return;
	conf_note(c, &place, "scope: \"%s\" is none, and taken for \"sub\" as in Postfix",
		  scope);
	cf_set(cf, "scope", "sub");
}

/* Without a DN, Postfix binds as nobody; so is who does not bind at all. */
static void set_bind(struct cf *cf)
{
	lower(cf, "bind");
	set_default(cf, "bind", "simple");

	bool is_simple = strcmp(cf_get(cf, "bind"), "simple") == 0 || says_yes(cf, "bind");
	bool is_none = strcmp(cf_get(cf, "bind"), "none") == 0 ||
		       strcmp(cf_get(cf, "bind"), "no") == 0;
	if (is_simple && !is_set(cf, "bind_dn"))
		cf_set(cf, "bind", "none");
	if (is_none || (is_simple && !is_set(cf, "bind_dn"))) {
		cf_drop(cf, "bind_dn");
		cf_drop(cf, "bind_pw");
	}
}

/* Postfix leaves out what is no URL. */
static void check_hosts(struct conf *c, const char *path, struct cf *cf)
{
	struct text list = text_of(cf_get(cf, "server_host")), item;
	struct node place = place_of(path, cf, "server_host");
	struct buf good = { 0 }, why = { 0 };
	struct hosts hosts;

	while (text_next(&list, LIST_SEPARATORS, &item)) {
		buf_clear(&why);
		if (hosts_parse_urls(item, 0, &hosts, &why)) {
			buf_printf(&good, "%s%.*s", good.n ? " " : "", (int)item.n, item.p);
			hosts_done(&hosts);
		} else {
			conf_note(c, &place, "%s; left out, as in Postfix", buf_cstr(&why));
		}
	}
	if (is_set(cf, "server_host"))
		cf_set(cf, "server_host", buf_cstr(&good));
	buf_done(&good);
	buf_done(&why);
}

/* Debian's default is 3; what is neither 2 nor 3 is 2; TLS makes it 3. */
static void set_version(struct conf *c, const char *path, struct cf *cf)
{
	struct node place = place_of(path, cf, "version");
	const char *version = cf_get(cf, "version");
	const char *hosts = cf_get(cf, "server_host");

	if (!version)
		return;
	if (version[0] && strspn(version, "0123456789") == strlen(version) &&
	    strcmp(version, "2") != 0 && strcmp(version, "3") != 0) {
		conf_note(c, &place, "version: %s is taken for 2, as in Postfix", version);
		cf_set(cf, "version", "2");
	}
	if (says_yes(cf, "start_tls") || (hosts && strcasestr(hosts, "ldaps:")))
		cf_set(cf, "version", "3");
}

void conf_ldap_from_postfix(struct conf *c, const char *path, struct cf *cf)
{
	drop_ignored(c, path, cf);
	drop_empty(cf);
	rename_result_filter(cf);
	check_scope(c, path, cf);
	check_hosts(c, path, cf);
	set_version(c, path, cf);
	set_bind(cf);
	set_default(cf, "search_base", "");
	set_default(cf, "timeout", "10");
	set_default(cf, "tls_require_cert", "no");
}
