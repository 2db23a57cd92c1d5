/*
 * Has anything changed that a scan would see?
 *
 * contextCSN (OpenLDAP with syncprov; draft-chu-ldap-csn): the time of the last change to a
 * database, one search for one entry. It tells of changes to any entry of it, and of nothing
 * else: not of access rights, nor of values that the server makes up as it answers.
 *
 * modifyTimestamp (RFC 4512 3.4.2): a digest of the entries that a scan would read, with their
 * times of change. The newest time alone would miss what was deleted. Referenced entries
 * outside of search_base are not seen.
 */
#include "driver/ldap_entry.h"
#include "driver/ldap_suffix.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

/* Two changes may carry the same second; clocks may differ by a little. */
#define SETTLED_SECONDS 60

/* --- contextCSN ------------------------------------------------------------------- */

static int by_text(const void *a, const void *b)
{
	const struct text *x = a, *y = b;

	return strcmp(x->p, y->p);
}

/* The values for one suffix, in an order of ours: they are a set. */
static enum ended add_context(struct session *s, const char *suffix, bool is_needed,
			      struct rows *rows, struct buf *ret_why)
{
	struct entry *e = NULL;
	int code = suffix_read_csn(s, suffix, &e, ret_why);
	const struct attribute *csn = e ? entry_find(e, "contextCSN") : NULL;
	enum ended ended = ENDED_DONE;

	if (code != LDAP_SUCCESS && (is_needed || code != LDAP_NO_SUCH_OBJECT)) {
		ended = session_failed(s, code, "search", ret_why);
	} else if (csn && csn->n) {
		qsort(csn->values, csn->n, sizeof *csn->values, by_text);
		rows_value(rows, text_of(suffix));
		for (size_t i = 0; i < csn->n; i++)
			rows_value(rows, csn->values[i]);
	} else if (is_needed) {
		buf_printf(ret_why, "change_check: \"%s\" shows no contextCSN: is there the "
			   "syncprov overlay, and may we read it?", suffix);
		ended = ENDED_TEMP;
	}
	entry_free(e);
	return ended;
}

/*
 * Ask every database that may have entries of the scan: the one with search_base, those below
 * it; for references all there are, as far as they tell.
 */
static enum ended contexts(struct session *s, const struct table *t, const char *base,
			   struct rows *rows, struct buf *ret_why)
{
	struct entry *root = NULL;
	int code = suffixes_read(s, &root, ret_why);
	const struct attribute *suffixes = root ? entry_find(root, "namingContexts") : NULL;
	const char *own = NULL;
	enum ended ended = ENDED_DONE;

	for (size_t i = 0; suffixes && i < suffixes->n; i++) {
		const char *suffix = suffixes->values[i].p;

		if (dn_is_within(base, suffix) && (!own || dn_is_within(suffix, own)))
			own = suffix;
	}
	if (code != LDAP_SUCCESS) {
		ended = session_failed(s, code, "search", ret_why);
	} else if (!own && *base) {
		buf_str(ret_why, "change_check: search_base is in none of namingContexts");
		ended = ENDED_TEMP;
	}
	for (size_t i = 0; suffixes && i < suffixes->n && ended == ENDED_DONE; i++) {
		const char *suffix = suffixes->values[i].p;
		bool is_needed = suffix == own || dn_is_within(suffix, base);

		if (is_needed || t->n_special)
			ended = add_context(s, suffix, is_needed, rows, ret_why);
	}
	entry_free(root);
	return ended;
}

/* --- modifyTimestamp -------------------------------------------------------------- */

static char csn_name[] = "entryCSN";		/* of OpenLDAP */
static char usn_name[] = "uSNChanged";		/* of Active Directory */
static char time_name[] = "modifyTimestamp";	/* of everybody */

struct digest {
	uint64_t n;
	uint64_t sums[2];	/* the order of entries does not count */
	bool has_seconds_only;	/* the first two know each change; the third may not */
	bool is_blind;		/* an entry does not tell when it changed */
	struct buf newest;
};

/* FNV-1a, not keyed: the same from one process to the next. */
static uint64_t mix(uint64_t hash, const char *s)
{
	do
		hash = (hash ^ (unsigned char)*s) * UINT64_C(0x100000001b3);
	while (*s++);
	return hash;
}

static const char *first_value(const struct entry *e, const char *name)
{
	const struct attribute *a = entry_find(e, name);

	return a && a->n ? a->values[0].p : "";
}

static bool digest_entry(void *ctx, struct entry *e)
{
	static const uint64_t starts[2] = { UINT64_C(0xcbf29ce484222325), 1 };
	const char *csn = first_value(e, csn_name), *usn = first_value(e, usn_name);
	const char *time = first_value(e, time_name);
	struct digest *d = ctx;

	d->n++;
	for (size_t i = 0; i < 2; i++)
		d->sums[i] += mix(mix(mix(mix(starts[i], e->dn), csn), usn), time);
	d->is_blind = d->is_blind || !(*csn || *usn || *time);
	if (!*csn && !*usn) {
		d->has_seconds_only = true;
		if (strcmp(time, buf_cstr(&d->newest)) > 0) {
			buf_clear(&d->newest);
			buf_str(&d->newest, time);
		}
	}
	entry_free(e);
	return true;
}

/* In the same second as the newest change, another one may still come. */
static bool is_settled(struct digest *d, time_t now)
{
	struct tm newest = { 0 };

	return !d->has_seconds_only ||
	       (strptime(buf_cstr(&d->newest), "%Y%m%d%H%M%S", &newest) &&
		timegm(&newest) + SETTLED_SECONDS < now);
}

static enum ended digest_search(struct session *s, const struct table *t, const char *base,
				int scope, const char *filter, struct digest *d,
				struct buf *ret_why)
{
	static char *attributes[] = { csn_name, usn_name, time_name, NULL };
	const struct search what = {
		.base = base, .scope = scope, .filter = filter, .attributes = attributes,
		.page_size = t->page_size, .on_entry = digest_entry, .ctx = d,
	};
	struct search_result result = search_run(s, &what, ret_why);

	free(result.matched);
	return result.code == LDAP_SUCCESS ? ENDED_DONE :
	       session_failed(s, result.code, "search", ret_why);
}

/* References may lead anywhere: as far as they stay below search_base, they are seen. */
static enum ended timestamps(struct session *s, const struct table *t, const char *base,
			     struct rows *rows, struct buf *ret_why)
{
	struct digest d = { 0 };
	struct buf text = { 0 };
	time_t now = time(NULL);
	enum ended ended = ENDED_DONE;

	if (t->n_special)
		ended = digest_search(s, t, base, LDAP_SCOPE_SUBTREE, "(objectClass=*)", &d,
				      ret_why);
	for (size_t i = 0; !t->n_special && i < t->plan.n && ended == ENDED_DONE; i++)
		ended = digest_search(s, t, base, t->scope, t->plan.branches[i].filter, &d,
				      ret_why);
	if (ended == ENDED_DONE && d.is_blind) {
		buf_str(ret_why, "change_check: there are entries without modifyTimestamp");
		ended = ENDED_TEMP;
	}
	buf_printf(&text, "%" PRIu64 " %016" PRIx64 "%016" PRIx64, d.n, d.sums[0], d.sums[1]);
	if (!is_settled(&d, now))
		buf_printf(&text, " at %" PRIu64, clock_usec());
	rows_value(rows, buf_view(&text));
	buf_done(&text);
	buf_done(&d.newest);
	return ended;
}

enum ended ldap_changed(struct session *s, struct table *t, struct rows *rows,
			struct buf *ret_why)
{
	struct buf base = { 0 };
	enum ended ended = ENDED_TEMP;

	if (base_expand(t, &base, ret_why))
		ended = (strcmp(t->change_check, "contextCSN") == 0 ? contexts : timestamps)
			(s, t, buf_cstr(&base), rows, ret_why);
	buf_done(&base);
	return ended;
}
