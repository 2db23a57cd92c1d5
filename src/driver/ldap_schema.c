#include "driver/ldap_entry.h"

#include "base/must.h"

#include <ldap_schema.h>
#include <stdlib.h>
#include <strings.h>

/* Active Directory says so of itself. Source: Microsoft MS-ADTS 3.1.1.3.4.1.1. */
#define CAPABILITY_ACTIVE_DIRECTORY "1.2.840.113556.1.4.800"

/* Supertypes above each other. */
#define DEPTH_MAX 32

struct schema {
	LDAPAttributeType **types;
	size_t n;
	bool is_active_directory;
	struct key_type **given;	/* out of schema_key_type() */
	size_t n_given;
};

/* --- rules ------------------------------------------------------------------------ */

struct rule {
	const char *name, *oid;
	enum matching matching;
};

/*
 * Those whose assertion is the value, give or take case and blanks: RFC 4517 4.2. What is not
 * here makes several keys of one value (telephoneNumberMatch ignores hyphens), or of several
 * ways to write a key the same (generalizedTimeMatch).
 */
static const struct rule equality_rules[] = {
	{ "caseIgnoreMatch", "2.5.13.2", MATCHING_IGNORE },
	{ "caseIgnoreIA5Match", "1.3.6.1.4.1.1466.109.114.2", MATCHING_IGNORE },
	{ "caseExactMatch", "2.5.13.5", MATCHING_EXACT },
	{ "caseExactIA5Match", "1.3.6.1.4.1.1466.109.114.1", MATCHING_EXACT },
	{ "integerMatch", "2.5.13.14", MATCHING_EXACT },
	{ "booleanMatch", "2.5.13.13", MATCHING_EXACT },
	{ "octetStringMatch", "2.5.13.17", MATCHING_OCTETS },
	{ NULL, NULL, MATCHING_UNKNOWN },
};

static const struct rule substrings_rules[] = {
	{ "caseIgnoreSubstringsMatch", "2.5.13.4", MATCHING_IGNORE },
	{ "caseIgnoreIA5SubstringsMatch", "1.3.6.1.4.1.1466.109.114.3", MATCHING_IGNORE },
	{ "caseExactSubstringsMatch", "2.5.13.7", MATCHING_EXACT },
	{ "caseExactIA5SubstringsMatch", "1.3.6.1.4.1.4203.1.2.1", MATCHING_EXACT },
	{ NULL, NULL, MATCHING_UNKNOWN },
};

/* The syntaxes of text: RFC 4517 3.3.6, 3.3.15. */
static const char *const text_syntaxes[] = {
	"1.3.6.1.4.1.1466.115.121.1.15", "1.3.6.1.4.1.1466.115.121.1.26",
};

static enum matching rule_find(const struct rule *rules, const char *name)
{
	while (name && rules->name && strcasecmp(rules->name, name) != 0 &&
	       strcmp(rules->oid, name) != 0)
		rules++;
	return name ? rules->matching : MATCHING_UNKNOWN;
}

/* --- types ------------------------------------------------------------------------ */

static bool is_called(const LDAPAttributeType *type, const char *name)
{
	for (char **n = type->at_names; n && *n; n++)
		if (strcasecmp(*n, name) == 0)
			return true;
	return type->at_oid && strcmp(type->at_oid, name) == 0;
}

static const LDAPAttributeType *find(const struct schema *s, const char *name)
{
	for (size_t i = 0; name && i < s->n; i++)
		if (is_called(s->types[i], name))
			return s->types[i];
	return NULL;
}

static bool is_subtype(const struct schema *s, const LDAPAttributeType *type,
		       const LDAPAttributeType *of)
{
	for (int depth = 0; type && type != of && depth < DEPTH_MAX; depth++)
		type = find(s, type->at_sup_oid);
	return type == of;
}

/* What a type does not say of itself, its supertypes say: RFC 4512 2.5.1. */
struct nature {
	const char *equality, *substrings, *syntax;
};

static struct nature nature_of(const struct schema *s, const LDAPAttributeType *type)
{
	struct nature n = { 0 };

	for (int depth = 0; type && depth < DEPTH_MAX; depth++) {
		n.equality = n.equality ? n.equality : type->at_equality_oid;
		n.substrings = n.substrings ? n.substrings : type->at_substr_oid;
		n.syntax = n.syntax ? n.syntax : type->at_syntax_oid;
		type = find(s, type->at_sup_oid);
	}
	return n;
}

static bool is_text(const struct nature *n)
{
	for (size_t i = 0; n->syntax && i < sizeof text_syntaxes / sizeof *text_syntaxes; i++)
		if (strcmp(n->syntax, text_syntaxes[i]) == 0)
			return true;
	return false;
}

static enum matching matching_of(const struct schema *s, const struct nature *n)
{
	if (!n->equality && s->is_active_directory && is_text(n))
		return MATCHING_IGNORE;
	return rule_find(equality_rules, n->equality);
}

/*
 * What an equality rule has made of the values, the substrings rule compares: when the two
 * differ, who knows what comes of it.
 */
static bool has_substrings(const struct schema *s, const struct nature *n)
{
	if (!n->substrings && s->is_active_directory && is_text(n))
		return true;
	return n->substrings &&
	       rule_find(substrings_rules, n->substrings) == matching_of(s, n);
}

/* --- key types -------------------------------------------------------------------- */

static void add_name(struct key_type *k, size_t *n, const char *name)
{
	k->names = must(reallocarray(k->names, *n + 2, sizeof *k->names));
	k->names[(*n)++] = must_strdup(name);
	k->names[*n] = NULL;
}

static void add_names(struct key_type *k, size_t *n, const LDAPAttributeType *type)
{
	for (char **name = type->at_names; name && *name; name++)
		add_name(k, n, *name);
	if (type->at_oid)
		add_name(k, n, type->at_oid);
}

static void explain(const struct nature *n, const char *attribute, struct buf *ret_why)
{
	if (n->equality)
		buf_printf(ret_why, "%s is compared by %s, which is more than a comparison of "
			   "text", attribute, n->equality);
	else
		buf_printf(ret_why, "%s has no EQUALITY rule", attribute);
}

const struct key_type *schema_key_type(struct schema *schema, const char *attribute,
				       struct buf *ret_why)
{
	const LDAPAttributeType *type = find(schema, attribute);
	struct key_type *k;
	struct nature n;
	size_t n_names = 0;

	if (!type) {
		buf_printf(ret_why, "the server's schema has no attribute \"%s\"", attribute);
		return NULL;
	}
	k = must_calloc(1, sizeof *k);
	schema->given = must(reallocarray(schema->given, schema->n_given + 1, sizeof k));
	schema->given[schema->n_given++] = k;
	n = nature_of(schema, type);
	*k = (struct key_type){
		.matching = matching_of(schema, &n),
		.has_substrings = has_substrings(schema, &n),
	};
	if (k->matching == MATCHING_UNKNOWN)
		explain(&n, attribute, ret_why);
	for (size_t i = 0; i < schema->n; i++) {
		if (!is_subtype(schema, schema->types[i], type))
			continue;
		add_names(k, &n_names, schema->types[i]);
		n = nature_of(schema, schema->types[i]);
		k->has_substrings = k->has_substrings && has_substrings(schema, &n);
		if (k->matching == MATCHING_UNKNOWN || matching_of(schema, &n) == k->matching)
			continue;
		k->matching = MATCHING_UNKNOWN;
		buf_printf(ret_why, "subtypes of %s are compared otherwise", attribute);
	}
	return k;
}

/* --- reading ---------------------------------------------------------------------- */

static bool has_value(const struct attribute *a, const char *value)
{
	for (size_t i = 0; a && i < a->n; i++)
		if (text_is(a->values[i], value))
			return true;
	return false;
}

/*
 * A definition that cannot be parsed is none, unless it may be that of a subtype: then we
 * would miss keys. False with a reason.
 */
static bool add_type(struct schema *schema, const char *definition, struct buf *ret_why)
{
	const char *at;
	int code;
	LDAPAttributeType *type = ldap_str2attributetype(definition, &code, &at,
							 LDAP_SCHEMA_ALLOW_ALL);

	if (!type) {
		if (!strcasestr(definition, " SUP "))
			return true;
		buf_printf(ret_why, "attributeTypes: %.60s: %s", definition,
			   ldap_scherr2str(code));
		return false;
	}
	schema->types = must(reallocarray(schema->types, schema->n + 1, sizeof type));
	schema->types[schema->n++] = type;
	return true;
}

static bool add_types(struct schema *schema, const struct entry *subschema,
		      struct buf *ret_why)
{
	const struct attribute *types = entry_find(subschema, "attributeTypes");

	for (size_t i = 0; types && i < types->n; i++)
		if (!add_type(schema, types->values[i].p, ret_why))
			return false;
	if (schema->n == 0)
		buf_str(ret_why, "the server's subschema has no attributeTypes for us");
	return schema->n > 0;
}

static enum ended read_subschema(struct session *s, const char *dn, struct schema *schema,
				 struct buf *ret_why)
{
	static char types[] = "attributeTypes", *attributes[] = { types, NULL };
	struct entry *subschema = NULL;
	int code = search_entry(s, dn, "(objectClass=subschema)", attributes, &subschema,
				ret_why);
	enum ended ended = ENDED_TEMP;

	if (code != LDAP_SUCCESS)
		ended = session_failed(s, code, "schema", ret_why);
	else if (!subschema)
		buf_printf(ret_why, "there is no subschema \"%s\", or it is hidden", dn);
	else if (add_types(schema, subschema, ret_why))
		ended = ENDED_DONE;
	entry_free(subschema);
	return ended;
}

enum ended schema_read(struct session *s, struct schema **ret, struct buf *ret_why)
{
	static char subschema[] = "subschemaSubentry";
	static char capabilities[] = "supportedCapabilities";
	static char *attributes[] = { subschema, capabilities, NULL };
	struct schema *schema = must_calloc(1, sizeof *schema);
	struct entry *root = NULL;
	int code = search_entry(s, "", "(objectClass=*)", attributes, &root, ret_why);
	const struct attribute *dn = root ? entry_find(root, subschema) : NULL;
	enum ended ended = ENDED_TEMP;

	if (code != LDAP_SUCCESS) {
		ended = session_failed(s, code, "schema", ret_why);
	} else if (!dn || dn->n == 0) {
		buf_str(ret_why, "the server's root DSE names no subschemaSubentry");
	} else {
		schema->is_active_directory = has_value(entry_find(root, capabilities),
							CAPABILITY_ACTIVE_DIRECTORY);
		ended = read_subschema(s, dn->values[0].p, schema, ret_why);
	}
	entry_free(root);
	if (ended == ENDED_DONE)
		*ret = schema;
	else
		schema_free(schema);
	return ended;
}

void schema_free(struct schema *schema)
{
	if (!schema)
		return;
	for (size_t i = 0; i < schema->n; i++)
		ldap_attributetype_free(schema->types[i]);
	for (size_t i = 0; i < schema->n_given; i++) {
		for (char **name = schema->given[i]->names; name && *name; name++)
			free(*name);
		free(schema->given[i]->names);
		free(schema->given[i]);
	}
	free(schema->types);
	free(schema->given);
	free(schema);
}
