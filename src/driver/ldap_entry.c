#include "driver/ldap_entry.h"

#include "base/must.h"

#include <stdlib.h>
#include <strings.h>

/* Each is compared with those before it. */
#define ATTRIBUTES_MAX 4096

/* What an allocation costs beyond what was asked for, about. */
#define OVERHEAD 32

/* --- entries ---------------------------------------------------------------------- */

static void attribute_done(struct attribute *a)
{
	for (size_t i = 0; i < a->n; i++)
		free((char *)a->values[i].p);
	free(a->values);
	free(a->name);
}

void entry_free(struct entry *e)
{
	if (!e)
		return;
	for (size_t i = 0; i < e->n; i++)
		attribute_done(&e->attributes[i]);
	free(e->attributes);
	free(e->dn);
	free(e);
}

/* NULL when there is a NUL in it. */
static char *copy_name(const struct berval *from)
{
	if (!from->bv_val || memchr(from->bv_val, '\0', from->bv_len))
		return NULL;
	return must(strndup(from->bv_val, from->bv_len));
}

static struct text copy_value(const struct berval *from)
{
	size_t n = from->bv_val ? strnlen(from->bv_val, from->bv_len) : 0;

	return (struct text){ must(strndup(n ? from->bv_val : "", n)), n };
}

static size_t value_bytes(const struct text *value)
{
	return value->n + sizeof *value + OVERHEAD;
}

/* Takes over `name`. */
static struct attribute *find_or_add(struct entry *e, char *name)
{
	for (size_t i = 0; i < e->n; i++)
		if (strcasecmp(e->attributes[i].name, name) == 0) {
			free(name);
			return &e->attributes[i];
		}
	e->attributes = must(reallocarray(e->attributes, e->n + 1, sizeof *e->attributes));
	e->attributes[e->n] = (struct attribute){ .name = name };
	e->bytes += strlen(name) + sizeof *e->attributes + OVERHEAD;
	return &e->attributes[e->n++];
}

static bool add_attribute(struct entry *e, const struct berval *name,
			  const struct berval *values)
{
	char *copy = e->n < ATTRIBUTES_MAX ? copy_name(name) : NULL;
	struct attribute *a;
	size_t n = 0;

	if (!copy)
		return false;
	a = find_or_add(e, copy);
	while (values && values[n].bv_val)
		n++;
	if (n)
		a->values = must(reallocarray(a->values, a->n + n, sizeof *a->values));
	for (size_t i = 0; i < n && e->bytes <= ENTRY_BYTES_MAX; i++) {
		a->values[a->n] = copy_value(&values[i]);
		e->bytes += value_bytes(&a->values[a->n++]);
	}
	return e->bytes <= ENTRY_BYTES_MAX;
}

struct entry *entry_new(LDAP *ld, LDAPMessage *message, struct buf *ret_why)
{
	struct entry *e = must_calloc(1, sizeof *e);
	struct berval dn, name, *values = NULL;
	BerElement *ber = NULL;
	int code = ldap_get_dn_ber(ld, message, &ber, &dn);
	bool is_good = code == LDAP_SUCCESS && (e->dn = copy_name(&dn));

	e->bytes = sizeof *e + OVERHEAD + (is_good ? dn.bv_len : 0);
	while (is_good) {
		code = ldap_get_attribute_ber(ld, message, ber, &name, &values);
		is_good = code == LDAP_SUCCESS;
		if (!is_good || !name.bv_val)
			break;
		is_good = add_attribute(e, &name, values);
		ber_memfree(values);
		values = NULL;
	}
	ber_free(ber, 0);
	if (is_good)
		return e;
	buf_str(ret_why, code != LDAP_SUCCESS ? "an entry cannot be decoded" :
			 "an entry is too large, or has a NUL in a name");
	entry_free(e);
	return NULL;
}

const struct attribute *entry_find(const struct entry *e, const char *name)
{
	for (size_t i = 0; i < e->n; i++)
		if (strcasecmp(e->attributes[i].name, name) == 0)
			return &e->attributes[i];
	return NULL;
}

bool entry_take(void *ctx, struct entry *e)
{
	struct entry **to = ctx;

	entry_free(*to);
	*to = e;
	return true;
}

/* --- ranges ----------------------------------------------------------------------- */

static const char option[] = ";range=";

bool range_is(const char *name)
{
	return strcasestr(name, option);
}

static bool number(const char **at, size_t *ret)
{
	char *end;

	if (**at < '0' || **at > '9')
		return false;
	*ret = strtoul(*at, &end, 10);
	*at = end;
	return *ret <= ENTRY_BYTES_MAX;
}

bool range_parse(const char *name, struct range *ret)
{
	const char *at = strcasestr(name, option);

	if (!at)
		return false;
	*ret = (struct range){ .before = (size_t)(at - name) };
	at += strlen(option);
	if (!number(&at, &ret->from) || *at++ != '-')
		return false;
	ret->is_last = *at == '*';
	if (ret->is_last)
		at++;
	else if (!number(&at, &ret->to) || ret->to < ret->from)
		return false;
	ret->behind = at;
	return (*at == '\0' || *at == ';') && !range_is(at);
}

char *range_plain(const char *name, const struct range *r)
{
	struct buf b = { 0 };

	buf_add(&b, name, r->before);
	buf_str(&b, r->behind);
	return buf_take(&b);
}

bool range_is_whole(const struct attribute *a, const struct range *r)
{
	return r->is_last ? a->n > 0 || r->from == 0 : a->n == r->to - r->from + 1;
}

static bool is_part_of(const struct attribute *a, const char *plain, struct range *ret)
{
	char *name = range_parse(a->name, ret) ? range_plain(a->name, ret) : NULL;
	bool is_it = name && strcasecmp(name, plain) == 0;

	free(name);
	return is_it;
}

bool range_take(struct entry *e, struct attribute *to, struct entry *part, const char *plain,
		size_t from, struct range *ret)
{
	struct attribute *a = part->attributes;

	while (a < part->attributes + part->n && !is_part_of(a, plain, ret))
		a++;
	if (a == part->attributes + part->n || ret->from != from || !range_is_whole(a, ret))
		return false;
	to->values = must(reallocarray(to->values, to->n + a->n, sizeof *to->values));
	for (size_t i = 0; i < a->n; i++) {
		to->values[to->n++] = a->values[i];
		e->bytes += value_bytes(&a->values[i]);
	}
	a->n = 0;
	return e->bytes <= ENTRY_BYTES_MAX;
}

bool range_drop_empty(struct entry *e, size_t i)
{
	for (size_t j = 0; j < e->n; j++) {
		struct attribute *other = &e->attributes[j];

		if (j == i || strcasecmp(other->name, e->attributes[i].name) != 0)
			continue;
		if (other->n)
			return false;
		attribute_done(other);
		memmove(other, other + 1, (e->n - j - 1) * sizeof *other);
		e->n--;
		return true;
	}
	return true;
}
