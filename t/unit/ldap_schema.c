/* How attributes are compared, by schemas made up here: also that of Active Directory. */
#include "driver/ldap_entry.c"
#include "driver/ldap_schema.c"

#include "unit/test.h"

#define TEXT_SYNTAX "1.3.6.1.4.1.1466.115.121.1.15"
#define IA5_SYNTAX "1.3.6.1.4.1.1466.115.121.1.26"

static const char *const openldap[] = {
	"( 2.5.4.41 NAME 'name' EQUALITY caseIgnoreMatch SUBSTR caseIgnoreSubstringsMatch "
	"SYNTAX " TEXT_SYNTAX "{32768} )",
	"( 2.5.4.3 NAME ( 'cn' 'commonName' ) DESC 'it\\27s' X-ORIGIN 'us' SUP name )",
	"( 1.1 NAME 'deeper' SUP commonName )",
	"( 1.2 NAME 'mail' EQUALITY 1.3.6.1.4.1.1466.109.114.2 SUBSTR "
	"1.3.6.1.4.1.1466.109.114.3 SYNTAX " IA5_SYNTAX " )",
	"( 1.3 NAME 'exact' EQUALITY caseExactMatch SUBSTR caseIgnoreSubstringsMatch )",
	"( 1.4 NAME 'phone' EQUALITY telephoneNumberMatch )",
	"( 1.5 NAME 'none' SYNTAX " TEXT_SYNTAX " )",
	"( 1.6 NAME 'above' EQUALITY caseIgnoreMatch )",
	"( 1.7 NAME 'below' SUP above EQUALITY caseExactMatch )",
	"( 1.8 NAME 'octets' EQUALITY octetStringMatch SUBSTR octetStringSubstringsMatch )",
	"( 1.9 NAME 'ring' SUP gnir )",
	"( 1.10 NAME 'gnir' SUP ring )",
	"( 1.11 NAME 'orphan' SUP nobody )",
	"( 1.12 EQUALITY integerMatch )",
	"nonsense",
	NULL
};

static const char *const active_directory[] = {
	"( 1.1 NAME 'mail' SYNTAX '" TEXT_SYNTAX "' SINGLE-VALUE )",
	"( 1.2 NAME 'upn' SYNTAX '" IA5_SYNTAX "' )",
	"( 1.3 NAME 'member' SYNTAX '1.3.6.1.4.1.1466.115.121.1.12' )",
	NULL
};

static const char *const broken[] = {
	"( 1.1 NAME 'mail' EQUALITY caseIgnoreMatch )", "( 1.2 NAME 'x SUP mail )", NULL
};

/* --- the server ------------------------------------------------------------------- */

static struct {
	bool is_root_hidden, is_subschema_hidden, is_active_directory;
	int code;
	const char *const *types;
} server;

static void add(struct entry *e, const char *name, const char *const *values)
{
	struct attribute *a;

	e->attributes = must(reallocarray(e->attributes, e->n + 1, sizeof *e->attributes));
	a = &e->attributes[e->n++];
	*a = (struct attribute){ .name = must_strdup(name) };
	for (; *values; values++) {
		a->values = must(reallocarray(a->values, a->n + 1, sizeof *a->values));
		a->values[a->n++] = (struct text){ must_strdup(*values), strlen(*values) };
	}
}

int search_entry(struct session *s, const char *base, const char *filter, char **attributes,
		 struct entry **ret, struct buf *ret_why)
{
	static const char *const dn[] = { "cn=Subschema", NULL };
	static const char *const capabilities[] = { "1.2", CAPABILITY_ACTIVE_DIRECTORY, NULL };
	bool is_root = *base == '\0';
	struct entry *e = must_calloc(1, sizeof *e);
	(void)s;
	(void)filter;
	(void)attributes;
	(void)ret_why;

	e->dn = must_strdup(base);
	if (is_root) {
		if (!server.is_root_hidden)
			add(e, "subschemaSubentry", dn);
		if (server.is_active_directory)
			add(e, "supportedCapabilities", capabilities);
	} else {
		assert_string_equal(base, "cn=Subschema");
		add(e, "attributeTypes", server.types);
	}
	if (server.code != LDAP_SUCCESS || (!is_root && server.is_subschema_hidden))
		entry_free(e);
	else
		*ret = e;
	return server.code;
}

enum ended session_failed(struct session *s, int code, const char *phase, struct buf *ret_why)
{
	(void)s;
	buf_printf(ret_why, "%s: code %d", phase, code);
	return ENDED_DOWN;
}

/* --- tests ------------------------------------------------------------------------ */

/* "I sub: names", "E: names", or the reason. */
static void describe(struct schema *schema, const char *attribute, struct buf *out)
{
	static const char letters[] = {
		[MATCHING_UNKNOWN] = '?', [MATCHING_IGNORE] = 'I', [MATCHING_EXACT] = 'E',
		[MATCHING_OCTETS] = 'O',
	};
	const struct key_type *k = schema_key_type(schema, attribute, out);

	assert_int_equal(!k || k->matching == MATCHING_UNKNOWN, out->n > 0);
	if (!k || k->matching == MATCHING_UNKNOWN)
		return;
	buf_byte(out, letters[k->matching]);
	buf_str(out, k->has_substrings ? " sub:" : ":");
	for (char **name = k->names; *name; name++)
		buf_printf(out, " %s", *name);
}

static void check(const char *const (*cases)[2], size_t n)
{
	struct schema *schema = NULL;
	struct buf got = { 0 };

	assert_int_equal(schema_read(NULL, &schema, &got), ENDED_DONE);
	assert_int_equal(got.n, 0);
	for (size_t i = 0; i < n; i++) {
		buf_clear(&got);
		describe(schema, cases[i][0], &got);
		assert_text(buf_view(&got), cases[i][1]);
	}
	schema_free(schema);
	buf_done(&got);
}

#define CHECK(cases) check(cases, sizeof cases / sizeof *cases)

static void rules_are_inherited_and_subtypes_have_a_say(void **state)
{
	static const char *const cases[][2] = {
		{ "name", "I sub: name 2.5.4.41 cn commonName 2.5.4.3 deeper 1.1" },
		{ "CN", "I sub: cn commonName 2.5.4.3 deeper 1.1" },
		{ "2.5.4.3", "I sub: cn commonName 2.5.4.3 deeper 1.1" },
		{ "deeper", "I sub: deeper 1.1" },
		{ "mail", "I sub: mail 1.2" },
		{ "exact", "E: exact 1.3" },
		{ "octets", "O: octets 1.8" },
		{ "1.12", "E: 1.12" },
		{ "phone", "phone is compared by telephoneNumberMatch, which is more than a "
		  "comparison of text" },
		{ "none", "none has no EQUALITY rule" },
		{ "ring", "ring has no EQUALITY rule" },
		{ "orphan", "orphan has no EQUALITY rule" },
		{ "above", "subtypes of above are compared otherwise" },
		{ "below", "E: below 1.7" },
		{ "unheard", "the server's schema has no attribute \"unheard\"" },
	};
	(void)state;

	server.types = openldap;
	CHECK(cases);
}

static void in_active_directory_the_syntax_decides(void **state)
{
	static const char *const its_own[][2] = {
		{ "mail", "I sub: mail 1.1" },
		{ "upn", "I sub: upn 1.2" },
		{ "member", "member has no EQUALITY rule" },
	};
	static const char *const elsewhere[][2] = {
		{ "mail", "mail has no EQUALITY rule" },
	};
	(void)state;

	server.types = active_directory;
	server.is_active_directory = true;
	CHECK(its_own);
	server.is_active_directory = false;
	CHECK(elsewhere);
}

static void check_unreadable(enum ended want, const char *want_why)
{
	struct schema *schema = NULL;
	struct buf why = { 0 };

	assert_int_equal(schema_read(NULL, &schema, &why), want);
	assert_null(schema);
	assert_text(buf_view(&why), want_why);
	buf_done(&why);
}

static void what_cannot_be_read_has_its_reason(void **state)
{
	static const char *const empty[] = { "nonsense", NULL };
	(void)state;

	server.types = broken;
	check_unreadable(ENDED_TEMP,
			 "attributeTypes: ( 1.2 NAME 'x SUP mail ): Expecting a name");
	server.types = empty;
	check_unreadable(ENDED_TEMP, "the server's subschema has no attributeTypes for us");
	server.is_subschema_hidden = true;
	check_unreadable(ENDED_TEMP, "there is no subschema \"cn=Subschema\", or it is hidden");
	server.is_root_hidden = true;
	check_unreadable(ENDED_TEMP, "the server's root DSE names no subschemaSubentry");
	server.code = LDAP_SERVER_DOWN;
	check_unreadable(ENDED_DOWN, "schema: code -1");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rules_are_inherited_and_subtypes_have_a_say),
		cmocka_unit_test(in_active_directory_the_syntax_decides),
		cmocka_unit_test(what_cannot_be_read_has_its_reason),
	};

	return cmocka_run_group_tests_name("ldap_schema", tests, NULL, NULL);
}
