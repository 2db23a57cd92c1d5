#include "driver/ldap_suffix.h"

#include <strings.h>

/* Written in one way, for ldap_memfree(); NULL: not a DN. */
static char *normal(const char *dn)
{
	char *out = NULL;

	if (ldap_dn_normalize(dn, LDAP_DN_FORMAT_LDAP, &out, LDAP_DN_FORMAT_LDAPV3) !=
	    LDAP_SUCCESS)
		return NULL;
	return out;
}

bool dn_is_within(const char *dn, const char *base)
{
	char *a = normal(dn), *b = normal(base);
	size_t n = a ? strlen(a) : 0, n_base = b ? strlen(b) : 0;
	bool is_within = a && b && n >= n_base && strcasecmp(a + n - n_base, b) == 0;

	/* An escaped comma is no boundary; it is written as \2C. */
	if (is_within && n_base && n > n_base)
		is_within = a[n - n_base - 1] == ',';
	ldap_memfree(a);
	ldap_memfree(b);
	return is_within;
}

int suffixes_read(struct session *s, struct entry **ret, struct buf *ret_why)
{
	static char name[] = "namingContexts", *attributes[] = { name, NULL };

	return search_entry(s, "", "(objectClass=*)", attributes, ret, ret_why);
}

int suffix_read_csn(struct session *s, const char *suffix, struct entry **ret,
		    struct buf *ret_why)
{
	static char name[] = "contextCSN", *attributes[] = { name, NULL };

	return search_entry(s, suffix, "(objectClass=*)", attributes, ret, ret_why);
}

/* Time, count, server, modification: digits, which stand in a filter as they are. */
static bool is_csn(struct text t)
{
	static const char may[] = "0123456789abcdefABCDEFZ.#";

	for (size_t i = 0; i < t.n; i++)
		if (!memchr(may, t.p[i], sizeof may - 1))
			return false;
	return true;
}

static struct text server_of(struct text csn)
{
	struct text part = TEXT("");

	for (int i = 0; i < 3; i++)
		text_next(&csn, "#", &part);
	return part;
}

static bool is_less(struct text a, struct text b)
{
	int order = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);

	return order < 0 || (order == 0 && a.n < b.n);
}

static bool has(struct text list, struct text csn)
{
	struct text item;

	while (text_next(&list, " ", &item))
		if (text_eq(item, csn))
			return true;
	return false;
}

/* The least value that is not in `after`, of this server, or with an empty name of any. */
static struct text least_gone(struct text before, struct text after, struct text server)
{
	struct text least = TEXT(""), csn;

	while (text_next(&before, " ", &csn))
		if (!has(after, csn) && (!server.n || text_eq(server_of(csn), server)) &&
		    (!least.n || is_less(csn, least)))
			least = csn;
	return least;
}

struct text csn_of_first_change(struct text before, struct text after)
{
	struct text first = least_gone(before, after, TEXT("")), rest = after, csn;

	while (text_next(&rest, " ", &csn))
		if (!has(before, csn) && !least_gone(before, after, server_of(csn)).n)
			return TEXT("");
	return is_csn(first) ? first : TEXT("");
}

bool base_expand(const struct table *t, struct buf *ret, struct buf *ret_why)
{
	const struct text any = TEXT("a@a");

	if (!t->is_base_dynamic && t->search_base &&
	    template_expand(t->search_base, any, any, NULL, NULL, ret))
		return true;
	buf_str(ret_why, t->is_base_dynamic ? "search_base is not the same for all keys" :
					      "search_base is not set");
	return false;
}
