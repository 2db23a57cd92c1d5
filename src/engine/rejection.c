#include "engine/rejection.h"

#include "base/log.h"
#include "engine/table.h"

#include <stdio.h>

static bool is_about_size(enum scan_fault fault)
{
	return fault == SCAN_TOO_SMALL || fault == SCAN_SHRUNKEN;
}

const struct text *rejection_lacks(const struct table_settings *s, const struct mirror *scanned)
{
	const struct text *lacking = NULL;
	struct buf scratch = { 0 };
	struct text ignored;

	for (size_t i = 0; i < s->n_expect && !lacking; i++)
		if (table_find(scanned, s->expect[i], &scratch, &ignored) != MIRROR_HIT)
			lacking = &s->expect[i];
	buf_done(&scratch);
	return lacking;
}

static void add_missing(struct text key, struct buf *sample, struct buf *hashes)
{
	buf_str(sample, sample->n ? " " : "");
	buf_str(hashes, hashes->n ? " " : "");
	log_key(sample, key);
	log_key_hash(hashes, key);
}

/* That of `expect`, and keys of the old mirror that the new one lacks: people want to see some. */
static void sample_missing(struct rejection *r, const struct table_settings *s,
			   const struct judged *j)
{
	bool is_lacking = j->fault == SCAN_LACKS_KEY;
	const struct text *expected = is_lacking ? rejection_lacks(s, j->new) : NULL;
	struct text key, value, ignored;
	struct buf sample = { 0 }, hashes = { 0 };
	size_t at = 0, n = expected != NULL;

	*r->expected = '\0';
	if (expected) {
		add_missing(*expected, &sample, &hashes);
		snprintf(r->expected, sizeof r->expected, "%.*s", (int)expected->n, expected->p);
	}
	while (j->old && n < REJECTION_SAMPLE && mirror_next(j->old, &at, &key, &value)) {
		if (mirror_find(j->new, key, &ignored) != MIRROR_ABSENT ||
		    (expected && text_eq(key, *expected)))
			continue;
		add_missing(key, &sample, &hashes);
		n++;
	}
	snprintf(r->missing, sizeof r->missing, "%s", buf_cstr(&sample));
	snprintf(r->hashes, sizeof r->hashes, "%s", buf_cstr(&hashes));
	buf_done(&sample);
	buf_done(&hashes);
}

static bool is_accepted(const struct rejection *r, const struct table_settings *s,
			const struct judged *j, bool is_same, uint64_t now)
{
	bool is_size = is_about_size(j->fault);

	if (r->is_accepted && (is_same || (is_size && is_about_size(r->fault) &&
					   mirror_entries(j->new) >= r->new)))
		return true;
	return is_same && is_size && s->shrink_confirm &&
	       now >= r->same_since + s->shrink_confirm;
}

bool rejection_add(struct rejection *r, const struct table_settings *s, const struct judged *j,
		   uint64_t now)
{
	uint64_t digest = mirror_digest(j->new);
	bool is_same = r->times && r->fault == j->fault && r->digest == digest &&
		       r->new == mirror_entries(j->new);
	bool is_wanted = is_accepted(r, s, j, is_same, now);

	if (r->times++ == 0)
		r->since = now;
	if (!is_same)
		r->same_since = now;
	r->is_accepted = false;
	r->fault = j->fault;
	r->old = j->old ? mirror_entries(j->old) : 0;
	r->new = mirror_entries(j->new);
	r->rows = j->rows;
	r->bad = j->bad;
	r->digest = digest;
	sample_missing(r, s, j);
	return is_wanted;
}
