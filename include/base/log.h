/* log.h - one line per event, key=value, escaped, rate limited. Any thread. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/buf.h"

#include <stdint.h>

enum log_level { LOG_AT_ERROR, LOG_AT_WARN, LOG_AT_INFO, LOG_AT_DEBUG };

/* How lookup keys (addresses) appear in lines at INFO and above. */
enum log_keys { LOG_KEYS_HASH, LOG_KEYS_FULL, LOG_KEYS_NONE };

/* Where lines go and which. Set by log_setup(), before threads start and at a reload. */
struct log_settings {
	enum log_level level;	/* lines above it are not written */
	enum log_keys keys;
	int facility;		/* a LOG_* facility of syslog(3), or -1 for stderr */
};

void log_setup(const struct log_settings *settings);

/* Find out who reads stderr: log_prefix(). Once, before any thread and any line. */
void log_init(void);

/*
 * What a line on stderr begins with: "<3>" for an error and so on where systemd's journal reads it,
 * which takes that off and knows the line's priority, else nothing. Source: sd-daemon(3);
 * JOURNAL_STREAM in systemd.exec(5).
 */
const char *log_prefix(enum log_level level);

/* Parse "stderr" or "syslog:FACILITY" into a facility for log_settings. */
bool log_parse_target(struct text target, int *ret_facility);

/*
 * One `name=value` of a line. Make them with the macros below; texts are
 * escaped, cut to 200 bytes, and quoted where they hold blanks.
 */
struct log_field {
	const char *name;
	enum { LOG_TEXT, LOG_NUMBER, LOG_MSEC, LOG_KEY, LOG_KEY_LIST } kind;
	struct text text;
	uint64_t number;
};

#define F_TEXT(name, t) ((struct log_field){ (name), LOG_TEXT, (t), 0 })
#define F_STR(name, s) ((struct log_field){ (name), LOG_TEXT, text_of(s), 0 })
#define F_NUM(name, u) ((struct log_field){ (name), LOG_NUMBER, { 0 }, (uint64_t)(u) })
#define F_MSEC(name, u) ((struct log_field){ (name), LOG_MSEC, { 0 }, (uint64_t)(u) })
#define F_KEY(name, t) ((struct log_field){ (name), LOG_KEY, (t), 0 })	/* obeys log_keys */
#define F_KEYS(name, s) ((struct log_field){ (name), LOG_KEY_LIST, text_of(s), 0 })	/* of log_key() */

/*
 * Write "event=EVENT field=value ...". `event` is a literal in snake_case.
 * `scope` is the map or source it belongs to ("" for none): each (event,
 * scope) may write 10 lines at once and one a second after that; what was swallowed is told
 * as suppressed=N by the next line that passes. ERROR and WARN alike.
 */
#define log_error(event, scope, ...) \
	log_event(LOG_AT_ERROR, event, scope, (struct log_field[]){ __VA_ARGS__ }, \
		  sizeof((struct log_field[]){ __VA_ARGS__ }) / sizeof(struct log_field))
#define log_warn(event, scope, ...) \
	log_event(LOG_AT_WARN, event, scope, (struct log_field[]){ __VA_ARGS__ }, \
		  sizeof((struct log_field[]){ __VA_ARGS__ }) / sizeof(struct log_field))
#define log_info(event, scope, ...) \
	log_event(LOG_AT_INFO, event, scope, (struct log_field[]){ __VA_ARGS__ }, \
		  sizeof((struct log_field[]){ __VA_ARGS__ }) / sizeof(struct log_field))
#define log_debug(event, scope, ...) \
	log_event(LOG_AT_DEBUG, event, scope, (struct log_field[]){ __VA_ARGS__ }, \
		  sizeof((struct log_field[]){ __VA_ARGS__ }) / sizeof(struct log_field))

void log_event(enum log_level level, const char *event, const char *scope,
	       const struct log_field *fields, size_t n_fields);

/* Append a key as log_keys says: whole, as "#HASH", or as "-". For fields with several keys. */
void log_key(struct buf *out, struct text key);

/* The same, as "#HASH" whatever log_keys says: for what people see who do not read the log. */
void log_key_hash(struct buf *out, struct text key);

/* How many lines were swallowed since the start. */
uint64_t log_suppressed(void);

/* What log_event() would write, without the newline and without rate limiting; for tests. */
void log_format(struct buf *out, const char *event, const struct log_field *fields,
		size_t n_fields);

/*
 * The rate limiter alone, time as an argument: may this (event, scope) write
 * now? On true, `*ret_suppressed` is how many were swallowed since the last time.
 */
bool log_admit(const char *event, const char *scope, uint64_t now_msec,
	       uint64_t *ret_suppressed);

#endif
