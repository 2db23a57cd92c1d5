#include "driver/ldap_suffix.h"

#include "driver/ldap_entry.h"

#include <stdlib.h>
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
	const struct search what = {
		.base = "", .scope = LDAP_SCOPE_BASE, .filter = "(objectClass=*)",
		.attributes = attributes, .on_entry = entry_take, .ctx = ret,
	};
	struct search_result result = search_run(s, &what, ret_why);

	free(result.matched);
	return result.code;
}
