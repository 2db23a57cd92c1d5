#include "engine/rejection.h"

#include "base/log.h"

#include <stdio.h>

const char *scan_fault_name(enum scan_fault fault)
{
	static const char *const names[SCAN_FAULTS] = {
		[SCAN_GOOD] = "nothing",
		[SCAN_UNUSABLE_ROWS] = "more than 1% unusable rows",
		[SCAN_LACKS_KEY] = "a key of `expect` is missing",
		[SCAN_TOO_SMALL] = "fewer keys than min_entries",
		[SCAN_SHRUNKEN] = "shrunken by more than max_shrink",
	};

	return names[fault];
}

static bool is_about_size(enum scan_fault fault)
{
	return fault == SCAN_TOO_SMALL || fault == SCAN_SHRUNKEN;
}

/* Keys of the old mirror that the new one lacks: whoever is asked wants to see some. */
static void sample_missing(struct rejection *r, const struct judged *j)
{
	struct text key, value, ignored;
	struct buf sample = { 0 }, hashes = { 0 };
	size_t at = 0, n = 0;

	while (j->old && n < REJECTION_SAMPLE && mirror_next(j->old, &at, &key, &value)) {
		if (mirror_find(j->new, key, &ignored) != MIRROR_ABSENT)
			continue;
		buf_str(&sample, n ? " " : "");
		buf_str(&hashes, n++ ? " " : "");
		log_key(&sample, key);
		log_key_hash(&hashes, key);
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
	sample_missing(r, j);
	return is_wanted;
}
