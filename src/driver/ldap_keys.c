#include "driver/ldap_keys.h"

#include "base/fold.h"
#include "base/must.h"
#include "driver/ldap_entry.h"

#include <stdlib.h>
#include <strings.h>
#include <time.h>

/* --- values as a server compares them --------------------------------------------- */

/* Every server takes it as it is, but for case. */
static bool is_simple(struct text t)
{
	for (size_t i = 0; i < t.n; i++)
		if (t.p[i] <= ' ' || t.p[i] > '~')
			return false;
	return true;
}

static void lower_ascii(struct buf *b)
{
	for (size_t i = 0; i < b->n; i++)
		if (b->p[i] >= 'A' && b->p[i] <= 'Z')
			b->p[i] |= 0x20;
}

/* Blanks at the ends do not count, and others not how many: RFC 4518 2.6.1. */
static void squeeze(struct buf *b)
{
	size_t n = 0;

	for (size_t i = 0; i < b->n; i++)
		if (b->p[i] != ' ' || (n && b->p[n - 1] != ' '))
			b->p[n++] = b->p[i];
	b->n = n && b->p[n - 1] == ' ' ? n - 1 : n;
}

static bool has_capitals(struct text t)
{
	for (size_t i = 0; i < t.n; i++)
		if (t.p[i] >= 'A' && t.p[i] <= 'Z')
			return true;
	return false;
}

/* --- keys ------------------------------------------------------------------------- */

static void add_key(struct entry_keys *to, struct text key, bool is_doubtful)
{
	if (to->n == to->room) {
		to->room = to->room ? to->room * 2 : 8;
		to->list = must(reallocarray(to->list, to->room, sizeof *to->list));
	}
	/* Where it begins is known when `bytes` has stopped growing. */
	to->list[to->n++] = (struct entry_key){ { NULL, key.n }, is_doubtful };
	buf_text(&to->bytes, key);
}

/* Keys are folded before they are asked for: one with capitals never is. */
static void add_keys(struct entry_keys *to, const struct ldap_key *k, struct text value,
		     bool is_doubtful)
{
	struct text key;
	size_t at = 0;

	while (ldap_key_next(k, value, &at, &key))
		if (ldap_key_is_plain(key) && !has_capitals(key))
			add_key(to, key, is_doubtful);
}

static void add_value(struct entry_keys *to, const struct key_rule *rule, struct text value)
{
	enum matching matching = rule->type.matching;
	struct buf alike = { 0 };

	buf_text(&alike, value);
	if (matching == MATCHING_IGNORE)
		lower_ascii(&alike);
	add_keys(to, rule->key, buf_view(&alike), false);
	buf_clear(&alike);
	if (matching != MATCHING_OCTETS && !is_simple(value) && fold_alike(value, &alike)) {
		squeeze(&alike);
		add_keys(to, rule->key, buf_view(&alike), true);
	}
	buf_done(&alike);
}

/* Is it called so, options aside? What finds an attribute finds it with options, too. */
static bool is_named(const char *name, char *const *names)
{
	size_t n = strcspn(name, ";");

	for (; *names; names++)
		if (strncasecmp(name, *names, n) == 0 && (*names)[n] == '\0')
			return true;
	return false;
}

/* A key for certain before the same one in doubt. */
static int by_key(const void *a, const void *b)
{
	const struct entry_key *x = a, *y = b;
	size_t n = x->key.n < y->key.n ? x->key.n : y->key.n;
	int order = memcmp(x->key.p, y->key.p, n);

	if (order == 0)
		order = (x->key.n > y->key.n) - (x->key.n < y->key.n);
	return order ? order : x->is_doubtful - y->is_doubtful;
}

static void sort(struct entry_keys *keys)
{
	const char *p = keys->bytes.p;
	size_t n = 0;

	for (size_t i = 0; i < keys->n; i++) {
		keys->list[i].key.p = p;
		p += keys->list[i].key.n;
	}
	if (keys->n > 1)
		qsort(keys->list, keys->n, sizeof *keys->list, by_key);
	for (size_t i = 0; i < keys->n; i++)
		if (n == 0 || !text_eq(keys->list[n - 1].key, keys->list[i].key))
			keys->list[n++] = keys->list[i];
	keys->n = n;
}

bool entry_keys_find(const struct entry *e, struct key_rule *rules, size_t n_rules,
		     struct entry_keys *ret)
{
	bool has_any = false;

	ret->n = 0;
	buf_clear(&ret->bytes);
	for (size_t i = 0; i < n_rules; i++)
		for (size_t j = 0; j < e->n; j++) {
			const struct attribute *a = &e->attributes[j];

			if (a->n == 0 || !is_named(a->name, rules[i].type.names))
				continue;
			has_any = rules[i].is_seen = true;
			for (size_t k = 0; k < a->n; k++)
				add_value(ret, &rules[i], a->values[k]);
		}
	sort(ret);
	return has_any;
}

void entry_keys_done(struct entry_keys *keys)
{
	free(keys->list);
	buf_done(&keys->bytes);
	*keys = (struct entry_keys){ 0 };
}

/* --- marks -------------------------------------------------------------------------- */

static bool place(struct marks *m, uint64_t hash)
{
	size_t i = hash & (m->n_slots - 1);

	while (m->slots[i] && m->slots[i] != hash)
		i = (i + 1) & (m->n_slots - 1);
	if (m->slots[i])
		return false;
	m->slots[i] = hash;
	return true;
}

static void grow(struct marks *m)
{
	struct marks old = *m;

	m->n_slots = old.n_slots ? old.n_slots * 2 : 1024;
	m->slots = must_calloc(m->n_slots, sizeof *m->slots);
	for (size_t i = 0; i < old.n_slots; i++)
		if (old.slots[i])
			place(m, old.slots[i]);
	free(old.slots);
}

bool marks_add(struct marks *m, uint64_t hash)
{
	if (m->n * 2 >= m->n_slots)
		grow(m);
	if (!place(m, hash ? hash : 1))
		return false;
	m->n++;
	return true;
}

void marks_done(struct marks *m)
{
	free(m->slots);
	*m = (struct marks){ 0 };
}

/* --- expiry ----------------------------------------------------------------------- */

/* Take `n` digits off the front of `t`. */
static bool take_number(struct text *t, size_t n, int *ret)
{
	*ret = 0;
	for (size_t i = 0; i < n; i++) {
		if (i >= t->n || t->p[i] < '0' || t->p[i] > '9')
			return false;
		*ret = *ret * 10 + (t->p[i] - '0');
	}
	*t = text_skip(*t, n);
	return true;
}

/* "Z", "+0100", "-05": how far it is ahead of UTC, seconds. */
static bool take_zone(struct text t, int *ret)
{
	int hours, minutes = 0, sign = t.n && t.p[0] == '-' ? -1 : 1;

	*ret = 0;
	if (text_is(t, "Z"))
		return true;
	if (t.n == 0 || (t.p[0] != '+' && t.p[0] != '-'))
		return false;
	t = text_skip(t, 1);
	if (!take_number(&t, 2, &hours) || (t.n && !take_number(&t, 2, &minutes)))
		return false;
	*ret = sign * (hours * 3600 + minutes * 60);
	return t.n == 0 && hours < 24 && minutes < 60;
}

/* 20240229235959.5Z: minutes, seconds and fractions may be missing; fractions are dropped. */
static bool parse_time(struct text t, uint64_t *ret)
{
	struct tm tm = { 0 }, same;
	int fraction, zone;

	if (!take_number(&t, 4, &tm.tm_year) || !take_number(&t, 2, &tm.tm_mon) ||
	    !take_number(&t, 2, &tm.tm_mday) || !take_number(&t, 2, &tm.tm_hour))
		return false;
	if (take_number(&t, 2, &tm.tm_min))
		take_number(&t, 2, &tm.tm_sec);
	if (t.n && (t.p[0] == '.' || t.p[0] == ',')) {
		t = text_skip(t, 1);
		if (!take_number(&t, 1, &fraction))
			return false;
		while (take_number(&t, 1, &fraction))
			;
	}
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	same = tm;

	time_t seconds = timegm(&same);
	if (same.tm_mon != tm.tm_mon || same.tm_mday != tm.tm_mday ||
	    same.tm_hour != tm.tm_hour || same.tm_min != tm.tm_min || !take_zone(t, &zone))
		return false;
	*ret = seconds > zone ? (uint64_t)(seconds - zone) : 1;
	return true;
}

/* Active Directory's ticks have 18 digits, or are 0 for never, as here. */
static bool parse_seconds(struct text t, uint64_t *ret)
{
	if (t.n == 0 || t.n > 11)
		return false;
	*ret = 0;
	for (size_t i = 0; i < t.n; i++) {
		if (t.p[i] < '0' || t.p[i] > '9')
			return false;
		*ret = *ret * 10 + (uint64_t)(t.p[i] - '0');
	}
	return true;
}

bool entry_expiry(const struct entry *e, const char *attribute, uint64_t *ret)
{
	const struct attribute *a = entry_find(e, attribute);

	*ret = 0;
	if (!a || a->n == 0)
		return true;
	return a->n == 1 &&
	       (parse_seconds(a->values[0], ret) || parse_time(a->values[0], ret));
}
