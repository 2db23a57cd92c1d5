/* Why nobody can say, in words. */
#include "daemon/tale.h"

static void say_empty(const struct tale *t, const struct explain_table *et)
{
	tell_place(t, "The mirror of source", et);
	buf_str(t->out, " was never loaded, so that nobody can say whether the key exists.");
	tell_last_scan(t, et);
}

static void say_expired(const struct tale *t, const struct explain_table *et)
{
	tell_place(t, "The mirror of source", et);
	buf_str(t->out, " is expired: ");
	tell_time(t->out, et->age);
	buf_str(t->out, " old, more than ");
	tell_named_time(t->out, "stale_max", et->times.stale_max);
	buf_str(t->out, ", and is no longer believed.");
	tell_last_scan(t, et);
}

/* Why its domain map does not settle a miss of a stale mirror. */
static void say_domain(const struct tale *t, const struct explain_table *et)
{
	struct text domain = buf_view(&et->domain);

	if (!et->domains)
		return;
	if (!domain.n) {
		buf_printf(t->out, " The key has no domain that the map \"%s\" (domains) could be "
			   "asked about.", et->domains);
		return;
	}
	buf_printf(t->out, et->membership == MEMBER_YES ? " The map \"%s\" (domains) has " :
		   " The map \"%s\" (domains) cannot say whether it has ", et->domains);
	tell_quoted(t->out, domain);
	buf_str(t->out, et->membership == MEMBER_YES ? "." : ": explain it there to see why.");
}

static void say_stale_miss(const struct tale *t, const struct explain_table *et)
{
	tell_place(t, "The mirror of source", et);
	buf_str(t->out, ", ");
	tell_mirror_age(t, et);
	buf_str(t->out, ", does not have ");
	tell_quoted(t->out, tell_key_of(t, et));
	buf_printf(t->out, ". It may have come since, so that stale_miss = \"%s\" makes it a temporary "
		   "error.", et->stale_miss == STALE_MISS_DOMAIN ? "domain" : "temp");
	say_domain(t, et);
	tell_last_scan(t, et);
}

/* Nobody asks it, or it has been asked. */
static void say_down(const struct tale *t, const struct explain_table *et)
{
	if (et->live.took) {
		tell_place(t, "The directory of source", et);
		buf_str(t->out, " was asked just now, and is down: ");
		buf_text(t->out, buf_view(&et->live.why));
		buf_byte(t->out, '.');
		return;
	}
	tell_place(t, "Source", et);
	if (et->failing_for) {
		buf_str(t->out, " has been down for ");
		tell_time(t->out, et->failing_for);
	} else {
		buf_str(t->out, " is down");
	}
	buf_str(t->out, ": its breaker is open, and it is asked only now and then until it is back.");
	if (*et->source_why)
		buf_printf(t->out, " Its last error: %s.", et->source_why);
}

static void say_deadline(const struct tale *t, const struct explain_table *et)
{
	const struct explain_live *l = &et->live;

	if (!t->x->is_live) {
		buf_str(t->out, "Only the directory can say, and it was not asked: a temporary error is "
				"what clients get when it does not answer in time.");
		return;
	}
	tell_place(t, "The directory of source", et);
	buf_byte(t->out, ' ');
	tell_late(t, et);
	if (l->took && l->verdict == TEMP && l->why.n) {
		buf_str(t->out, " (");
		buf_text(t->out, buf_view(&l->why));
		buf_byte(t->out, ')');
	}
	buf_byte(t->out, '.');
	if (et->source_state == SOURCE_DOWN && *et->source_why)
		buf_printf(t->out, " The last error of its source: %s.", et->source_why);
}

/* A client's question of before. */
static void say_failed_before(const struct tale *t, const struct explain_table *et)
{
	const struct explain_live *l = &et->live;

	tell_place(t, "The directory of source", et);
	buf_str(t->out, " failed to answer for ");
	tell_quoted(t->out, tell_key_of(t, et));
	buf_byte(t->out, ' ');
	tell_time(t->out, et->cache.age);
	buf_str(t->out, " ago, and is left alone for a second.");
	if (l->was_asked && l->verdict == TEMP && l->why.n) {
		buf_str(t->out, " Asked again just now, it fails once more: ");
		buf_text(t->out, buf_view(&l->why));
		buf_byte(t->out, '.');
	} else if (l->was_asked && l->verdict != TEMP) {
		buf_str(t->out, " Asked again just now, it answers.");
	} else if (et->source_state == SOURCE_DOWN && *et->source_why) {
		buf_printf(t->out, " The last error of its source: %s.", et->source_why);
	}
}

static void say_failed(const struct tale *t, const struct explain_table *et)
{
	if (!et->would_ask) {
		say_failed_before(t, et);
		return;
	}
	tell_place(t, "The lookup failed in source", et);
	if (et->live.why.n) {
		buf_str(t->out, ": ");
		buf_text(t->out, buf_view(&et->live.why));
	}
	buf_byte(t->out, '.');
}

/* Why the mirror's word does not do instead of the directory's. */
static void say_mirror_is_stale(const struct tale *t, const struct explain_table *et)
{
	if (et->state != TABLE_STALE || !et->is_mirrored || et->mirror != MIRROR_ABSENT)
		return;
	buf_str(t->out, " The mirror does not have the key, but is not believed about that, as it "
			"is ");
	tell_time(t->out, et->age);
	buf_str(t->out, " old, more than ");
	tell_named_time(t->out, "max_age", et->times.max_age);
	buf_byte(t->out, '.');
	say_domain(t, et);
	tell_last_scan(t, et);
}

static void say_queue(const struct tale *t, const struct explain_table *et)
{
	tell_place(t, "The queue of source", et);
	buf_str(t->out, " is full: lookups come faster than the directory answers them.");
}

static void say_other(const struct tale *t, const struct explain_table *et)
{
	tell_place(t, "Source", et);
	buf_str(t->out, " cannot answer for ");
	tell_quoted(t->out, tell_key_of(t, et));
	buf_printf(t->out, et->reason == REASON_UNUSABLE ? ", as its value cannot be used: " : ": ");
	buf_text(t->out, buf_view(&et->text));
	buf_byte(t->out, '.');
}

void tell_temp(const struct tale *t, const struct explain_table *et)
{
	switch (et->reason) {
	case REASON_EMPTY:
		say_empty(t, et);
		break;
	case REASON_EXPIRED:
		say_expired(t, et);
		break;
	case REASON_STALE:
		say_stale_miss(t, et);
		break;
	case REASON_DOWN:
		say_down(t, et);
		say_mirror_is_stale(t, et);
		break;
	case REASON_DEADLINE:
		say_deadline(t, et);
		say_mirror_is_stale(t, et);
		break;
	case REASON_FAILED:
		say_failed(t, et);
		say_mirror_is_stale(t, et);
		break;
	case REASON_QUEUE:
		say_queue(t, et);
		break;
	default:
		say_other(t, et);
		break;
	}
}
