#include "base/log.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/recent.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#define VALUE_MAX 200
#define BURST 10
#define EVERY_MSEC 1000
#define BUCKETS 512

static _Atomic int level = LOG_AT_INFO;
static _Atomic int keys = LOG_KEYS_HASH;
static _Atomic int facility = -1;
static bool is_journal;		/* set by log_init(), then constant */

static const int priorities[] = {
	[LOG_AT_ERROR] = LOG_ERR, [LOG_AT_WARN] = LOG_WARNING,
	[LOG_AT_INFO] = LOG_INFO, [LOG_AT_DEBUG] = LOG_DEBUG,
};

static const struct { const char *name; int facility; } facilities[] = {
	{ "mail", LOG_MAIL },     { "daemon", LOG_DAEMON }, { "user", LOG_USER },
	{ "local0", LOG_LOCAL0 }, { "local1", LOG_LOCAL1 }, { "local2", LOG_LOCAL2 },
	{ "local3", LOG_LOCAL3 }, { "local4", LOG_LOCAL4 }, { "local5", LOG_LOCAL5 },
	{ "local6", LOG_LOCAL6 }, { "local7", LOG_LOCAL7 },
};

bool log_parse_target(struct text target, int *ret_facility)
{
	if (text_is(target, "stderr")) {
		*ret_facility = -1;
		return true;
	}
	if (!text_starts(target, TEXT("syslog:")))
		return false;
	target = text_skip(target, strlen("syslog:"));
	for (size_t i = 0; i < sizeof facilities / sizeof *facilities; i++)
		if (text_is(target, facilities[i].name)) {
			*ret_facility = facilities[i].facility;
			return true;
		}
	return false;
}

void log_init(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	uintmax_t device, inode;
	struct stat st;
	char more;

	/* A shell in between may have sent stderr elsewhere, and passed the variable on. */
	is_journal = stream && fstat(STDERR_FILENO, &st) == 0 &&
		     sscanf(stream, "%" SCNuMAX ":%" SCNuMAX "%c", &device, &inode, &more) == 2 &&
		     device == st.st_dev && inode == st.st_ino;
}

const char *log_prefix(enum log_level at)
{
	static const char *const prefixes[] = {
		[LOG_ERR] = "<3>", [LOG_WARNING] = "<4>", [LOG_INFO] = "<6>", [LOG_DEBUG] = "<7>",
	};

	return is_journal ? prefixes[priorities[at]] : "";
}

void log_setup(const struct log_settings *settings)
{
	level = (int)settings->level;
	keys = (int)settings->keys;
	if (facility != settings->facility && settings->facility >= 0)
		openlog("socketmapd", LOG_PID | LOG_NDELAY, settings->facility);
	facility = settings->facility;
}

/* The allowance of one (event, scope). */
struct bucket {
	uint64_t id;		/* hash of both; 0: never used */
	uint64_t refilled_at;
	uint64_t suppressed;
	unsigned tokens;
};

/*
 * As many as fit, whoever the scopes come from. Each has WAYS places; when
 * all are taken the one that was quiet for longest goes.
 */
#define WAYS 4
static struct bucket buckets[BUCKETS / WAYS][WAYS];
static pthread_mutex_t buckets_lock = PTHREAD_MUTEX_INITIALIZER;	/* guards buckets */

static _Atomic uint64_t n_suppressed;

uint64_t log_suppressed(void)
{
	return atomic_load_explicit(&n_suppressed, memory_order_relaxed);
}

static struct bucket *find_bucket(uint64_t id, uint64_t now)
{
	struct bucket *set = buckets[(id >> 1) % (BUCKETS / WAYS)], *oldest = set;

	for (unsigned i = 0; i < WAYS; i++) {
		if (set[i].id == id)
			return &set[i];
		if (set[i].refilled_at < oldest->refilled_at)
			oldest = &set[i];
	}
	*oldest = (struct bucket){ .id = id, .refilled_at = now, .tokens = BURST };
	return oldest;
}

bool log_admit(const char *event, const char *scope, uint64_t now, uint64_t *ret_suppressed)
{
	uint64_t id = (hash_text(text_of(event)) * 31 + hash_text(text_of(scope))) | 1;
	bool is_admitted = false;

	pthread_mutex_lock(&buckets_lock);
	struct bucket *b = find_bucket(id, now);
	if (now >= b->refilled_at + EVERY_MSEC) {
		uint64_t earned = (now - b->refilled_at) / EVERY_MSEC;

		b->tokens = earned >= BURST - b->tokens ? BURST : b->tokens + (unsigned)earned;
		b->refilled_at += earned * EVERY_MSEC;
	}
	if (b->tokens) {
		b->tokens--;
		*ret_suppressed = b->suppressed;
		b->suppressed = 0;
		is_admitted = true;
	} else {
		b->suppressed++;
		atomic_fetch_add_explicit(&n_suppressed, 1, memory_order_relaxed);
	}
	pthread_mutex_unlock(&buckets_lock);
	return is_admitted;
}

static void format_text(struct buf *out, struct text t)
{
	bool is_cut = t.n > VALUE_MAX;
	bool is_plain = t.n > 0;

	if (is_cut)
		t.n = VALUE_MAX;
	for (size_t i = 0; i < t.n; i++)
		if (t.p[i] <= ' ' || t.p[i] > '~' || strchr("\"\\=", t.p[i]))
			is_plain = false;
	if (is_plain) {
		buf_text(out, t);
	} else {
		buf_byte(out, '"');
		buf_escaped(out, t);
		buf_byte(out, '"');
	}
	if (is_cut)
		buf_str(out, "...");
}

static void format_msec(struct buf *out, uint64_t msec)
{
	if (msec < 10000)
		buf_printf(out, "%" PRIu64 "ms", msec);
	else
		buf_printf(out, "%" PRIu64 "s", msec / 1000);
}

void log_key_hash(struct buf *out, struct text key)
{
	buf_printf(out, "#%012" PRIx64, hash_text(key) >> 16);
}

void log_key(struct buf *out, struct text key)
{
	switch ((enum log_keys)keys) {
	case LOG_KEYS_FULL:
		buf_text(out, key);
		break;
	case LOG_KEYS_HASH:
		log_key_hash(out, key);
		break;
	case LOG_KEYS_NONE:
		buf_str(out, "-");
		break;
	}
}

static void format_key(struct buf *out, struct text key, bool is_for_all)
{
	if (keys != LOG_KEYS_FULL)
		log_key(out, key);
	else if (is_for_all)
		log_key_hash(out, key);
	else
		format_text(out, key);
}

/* Append " name=value ..."; what is for all eyes shows no key. */
static void format_fields(struct buf *out, const struct log_field *fields, size_t n_fields,
			  bool is_for_all)
{
	for (size_t i = 0; i < n_fields; i++) {
		const struct log_field *f = &fields[i];

		if (f->kind == LOG_KEY_LIST && is_for_all && keys == LOG_KEYS_FULL)
			continue;
		buf_printf(out, " %s=", f->name);
		switch (f->kind) {
		case LOG_TEXT:
		case LOG_KEY_LIST:
			format_text(out, f->text);
			break;
		case LOG_NUMBER:
			buf_printf(out, "%" PRIu64, f->number);
			break;
		case LOG_MSEC:
			format_msec(out, f->number);
			break;
		case LOG_KEY:
			format_key(out, f->text, is_for_all);
			break;
		}
	}
}

void log_format(struct buf *out, const char *event, const struct log_field *fields,
		size_t n_fields)
{
	buf_printf(out, "event=%s", event);
	format_fields(out, fields, n_fields, false);
}

static void keep(enum log_level at, const char *event, const struct log_field *fields,
		 size_t n_fields)
{
	struct buf text = { 0 };

	format_fields(&text, fields, n_fields, true);
	recent_add(at, event, text_trim(buf_view(&text)));
	buf_done(&text);
}

static void write_line(enum log_level at, struct buf *line)
{
	if (facility >= 0) {
		syslog(priorities[at], "%s", buf_cstr(line));
		return;
	}
	buf_byte(line, '\n');

	/* One write, so that lines of several threads do not mix; a full pipe loses the line. */
	ssize_t ignored = write(STDERR_FILENO, line->p, line->n);
	(void)ignored;
}

void log_event(enum log_level at, const char *event, const char *scope,
	       const struct log_field *fields, size_t n_fields)
{
	static const char *const words[] = {
		[LOG_AT_ERROR] = "error", [LOG_AT_WARN] = "warn",
		[LOG_AT_INFO] = "info", [LOG_AT_DEBUG] = "debug",
	};
	uint64_t suppressed = 0;

	bool is_written = (int)at <= level, is_kept = recent_wants(at, event);

	if ((!is_written && !is_kept) || !log_admit(event, scope, clock_msec(), &suppressed))
		return;
	if (is_kept)
		keep(at, event, fields, n_fields);
	if (!is_written)
		return;

	struct buf line = { 0 };
	if (facility < 0)
		buf_printf(&line, "%s%s: %s: ", log_prefix(at), program_invocation_short_name,
			   words[at]);
	log_format(&line, event, fields, n_fields);
	if (suppressed)
		buf_printf(&line, " suppressed=%" PRIu64, suppressed);
	write_line(at, &line);
	buf_done(&line);
}
