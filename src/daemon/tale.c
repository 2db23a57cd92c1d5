#include "daemon/tale.h"

#define SHOWN_MAX ((size_t)120)	/* bytes of a key or value */

/* --- pieces ------------------------------------------------------------------------------ */

void tell_quoted(struct buf *out, struct text t)
{
	bool is_long = t.n > SHOWN_MAX;

	if (is_long) {		/* but no half characters */
		t.n = SHOWN_MAX;
		while (t.n && ((unsigned char)t.p[t.n] & 0xc0) == 0x80)
			t.n--;
	}
	buf_byte(out, '"');
	buf_text(out, t);
	buf_str(out, is_long ? "...\"" : "\"");
}

void tell_time(struct buf *out, uint64_t msec)
{
	uint64_t s = (msec + 500) / 1000;

	if (msec < 1000 || (msec < 2000 && msec % 1000))
		buf_printf(out, "%u ms", (unsigned)msec);
	else if (s < 120)
		buf_printf(out, "%u s", (unsigned)s);
	else if (s < 2 * 3600)
		buf_printf(out, "%u min", (unsigned)(s / 60));
	else if (s < 2 * 86400)
		buf_printf(out, "%u h", (unsigned)(s / 3600));
	else
		buf_printf(out, "%llu days", (unsigned long long)(s / 86400));
}

void tell_named_time(struct buf *out, const char *name, uint64_t msec)
{
	buf_printf(out, "%s = ", name);
	tell_time(out, msec);
}

static bool has_many_tables(const struct tale *t)
{
	return t->x->n_steps && t->x->steps[0].n_tables > 1;
}

void tell_place(const struct tale *t, const char *what, const struct explain_table *et)
{
	buf_printf(t->out, "%s \"%s\"", what, et->source);
	if (has_many_tables(t))
		buf_printf(t->out, " (table %zu)", et->index);
}

const struct explain_step *tell_step(const struct tale *t, const struct explain_table *et)
{
	for (size_t i = 0; i < t->x->n_steps; i++) {
		const struct explain_step *s = &t->x->steps[i];

		if (et >= s->tables && et < s->tables + s->n_tables)
			return s;
	}
	return NULL;
}

struct text tell_key_of(const struct tale *t, const struct explain_table *et)
{
	return buf_view(&tell_step(t, et)->key);
}

/* Who sends mail chooses keys, and could have an administrator run `$(...)`: POSIX sh 2.2.2. */
static void add_word(struct buf *out, struct text word)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				    "0123456789@.+-_=:/";
	bool is_plain = true;

	for (size_t i = 0; i < word.n; i++)
		is_plain &= memchr(plain, word.p[i], sizeof plain - 1) != NULL;
	if (is_plain) {
		buf_text(out, word);
		return;
	}
	buf_byte(out, '\'');
	for (size_t i = 0; i < word.n; i++)
		if (word.p[i] == '\'')
			buf_str(out, "'\\''");
		else
			buf_byte(out, word.p[i]);
	buf_byte(out, '\'');
}

void tell_flush(const struct tale *t, struct text key)
{
	buf_printf(t->out, "`socketmapctl flush %s%.*s ", key.n && *key.p == '-' ? "-- " : "",
		   (int)t->map.n, t->map.p);
	if (key.n > SHOWN_MAX)
		buf_str(t->out, "KEY");
	else
		add_word(t->out, key);
	buf_byte(t->out, '`');
}

void tell_late(const struct tale *t, const struct explain_table *et)
{
	const struct explain_live *l = &et->live;

	buf_str(t->out, "does not answer within ");
	tell_named_time(t->out, "deadline", et->times.deadline);
	if (l->waited > l->took) {
		buf_str(t->out, ": for ");
		tell_time(t->out, l->waited / 1000);
		buf_str(t->out, " no driver process was free to ask it");
	} else if (l->took) {
		buf_str(t->out, ": it took ");
		tell_time(t->out, l->took / 1000);
	}
}

/* --- how a candidate came about ---------------------------------------------------------- */

/* Of an address, whose first candidate was `whole`. NULL: nothing to say. */
static const char *address_form(struct text key, struct text whole)
{
	const char *at = text_rchr(key, '@'), *whole_at = text_rchr(whole, '@');

	if (at == key.p)
		return "the catch-all of the domain";
	if (at && at + 1 == key.p + key.n)
		return "the user in any domain";
	if (at && text_starts(whole, text_before(key, at)))
		return "the address without its extension";
	if (at)
		return "the same address, quoted in another way";
	if (!whole_at)
		return text_starts(whole, key) ? "the user without the extension" : NULL;
	if (text_eq(key, text_from(whole, whole_at + 1)))
		return "the domain alone";
	return text_starts(whole, key) ? "the bare user, as the domain is one of local_domains" :
					 "a parent domain";
}

/* What a candidate is in the walk, unless it is the whole key. */
static const char *form_of(const struct explanation *x, const struct explain_step *s)
{
	struct text key = buf_view(&s->key), whole = buf_view(&x->steps[0].key);

	if (s == x->steps)
		return NULL;
	switch (x->search) {
	case SEARCH_VIRTUAL:
	case SEARCH_ADDRESS:
	case SEARCH_TRANSPORT:
	case SEARCH_MAIL_ACCESS:
		return address_form(key, whole);
	case SEARCH_NETWORK_ACCESS:
		return text_starts(whole, key) ? "the network" : "a parent domain";
	case SEARCH_DOMAIN_ACCESS:
	case SEARCH_DOMAIN:
		return "a parent domain";
	case SEARCH_EXACT:
	case SEARCH_KINDS:
		break;
	}
	return NULL;
}

void tell_key(const struct tale *t, const struct explain_step *s, bool is_open)
{
	const char *form = form_of(t->x, s);

	tell_quoted(t->out, buf_view(&s->key));
	if (form)
		buf_printf(t->out, ", %s%s", form, is_open ? "," : "");
}

/* --- mirrors and their scans ------------------------------------------------------------- */

void tell_rejection(const struct tale *t, const struct explain_table *et)
{
	const struct rejection *r = &et->rejection;
	struct text expected = text_of(r->expected);

	if (r->times == 1)
		buf_str(t->out, " The mirror's last scan was rejected, ");
	else
		buf_printf(t->out, " The mirror's scans have been rejected, %llu in a row for ",
			   (unsigned long long)r->times);
	tell_time(t->out, et->rejected_for);
	buf_printf(t->out, "%s: %s", r->times == 1 ? " ago" : "", scan_fault_name(r->fault));
	if (expected.n) {
		buf_str(t->out, ", ");
		tell_quoted(t->out, expected);
	}
	buf_printf(t->out, " (%zu key%s", r->new, r->new == 1 ? "" : "s");
	if (et->has_mirror)
		buf_printf(t->out, ", the copy has %zu", r->old);
	buf_str(t->out, "); ");
	scan_fault_advise(t->out, text_of(scan_fault_name(r->fault)), t->map);
	buf_byte(t->out, '.');
}

void tell_last_scan(const struct tale *t, const struct explain_table *et)
{
	if (et->rejection.times) {
		tell_rejection(t, et);
	} else if (et->scan.ago && et->scan.outcome != SCAN_OK) {
		buf_str(t->out, " The last refresh failed ");
		tell_time(t->out, et->scan.ago);
		buf_printf(t->out, " ago: %s.", et->scan.why);
		if (et->scan.is_running)
			buf_str(t->out, " Another one is running.");
	} else if (et->source_state == SOURCE_DOWN && *et->source_why) {
		buf_printf(t->out, " Its source is down: %s.", et->source_why);
	} else if (!et->scan.ago) {
		buf_str(t->out, et->scan.is_running ? " Its first scan is running." :
						      " No scan has ended yet.");
	} else if (et->scan.is_running) {
		buf_str(t->out, " A refresh is running.");
	}
}

void tell_next_refresh(const struct tale *t, const struct explain_table *et)
{
	uint64_t every = et->times.refresh, ago = et->scan.ago ? et->scan.ago : et->age;

	if (et->scan.is_running) {
		buf_str(t->out, "a refresh is running");
	} else if (ago >= every) {
		buf_str(t->out, "the next refresh is due");
	} else {
		buf_str(t->out, "the next refresh comes in about ");
		tell_time(t->out, every - ago);
	}
}

void tell_mirror_age(const struct tale *t, const struct explain_table *et)
{
	buf_str(t->out, et->state == TABLE_STALE ? "which is stale: " : "which is ");
	tell_time(t->out, et->age);
	buf_str(t->out, " old");
	if (et->state != TABLE_STALE)
		return;
	buf_str(t->out, ", more than ");
	tell_named_time(t->out, "max_age", et->times.max_age);
}
