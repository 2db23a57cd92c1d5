#include "driver/driver.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/must.h"
#include "driver/facts.h"
#include "wire/frame.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#define READ_BYTES ((size_t)64 << 10)
#define WRITE_BYTES ((size_t)64 << 10)
#define REASON_MAX 200

/* Half of the shortest scan_idle there may be. */
#define ALIVE_MSEC 50

enum { EXIT_SETTINGS = 1, EXIT_PROTOCOL = 2 };

/* A table the server has told us about; made at its first use. */
struct entry {
	struct entry *next;
	char *id;
	struct settings settings;
	bool is_used;
	void *table;		/* NULL after its first use: `why` */
	struct buf why;
};

struct rows {
	struct buf out;		/* frames not written yet, for rows and everything else */
	uint64_t n;		/* values of this request */
	struct buf key;		/* the last one sent */
	bool has_key;
	bool is_dropped;	/* the values that come belong to a key nobody can ask */
	uint64_t until;		/* of the values that come */
	bool is_flushed;	/* some of this request have been written */
	size_t began;		/* where those of this request begin in `out` */
};

/* When the server spoke to us, or heard of us, last; msec. */
static uint64_t heard_of;

/* It wants to know the queries of this request. */
static bool is_explaining;

struct peer {
	const struct driver *driver;
	struct settings source;
	void *handle;		/* NULL before `start` */
	struct entry *tables;
	struct buf in;
	struct rows rows;
};

static const struct text none;

/* --- settings --------------------------------------------------------------------- */

const char *setting_get(const struct settings *s, const char *name, const char *otherwise)
{
	for (size_t i = s->n; i-- > 0;)
		if (strcmp(s->list[i].name, name) == 0)
			return s->list[i].value;
	return otherwise;
}

static char *copy(struct text t)
{
	struct buf b = { 0 };

	buf_text(&b, t);
	return buf_take(&b);
}

static void add_setting(struct settings *s, struct text name, struct text value)
{
	s->list = must(reallocarray(s->list, s->n + 1, sizeof *s->list));
	s->list[s->n++] = (struct setting){ copy(name), copy(value) };
}

static void settings_done(struct settings *s)
{
	for (size_t i = 0; i < s->n; i++) {
		free(s->list[i].name);
		free(s->list[i].value);
	}
	free(s->list);
}

/* --- writing ---------------------------------------------------------------------- */

/* Write all there is. When that fails, the server has gone: nobody is left to tell. */
static void flush(struct buf *out)
{
	size_t at = 0;

	while (at < out->n) {
		ssize_t n = write(STDOUT_FILENO, out->p + at, out->n - at);

		if (n < 0 && errno != EINTR)
			exit(0);
		at += n < 0 ? 0 : (size_t)n;
	}
	buf_clear(out);
}

static void flush_if_full(struct rows *rows)
{
	if (rows->out.n < WRITE_BYTES)
		return;
	flush(&rows->out);
	rows->is_flushed = true;
}

static void rows_begin(struct rows *rows)
{
	rows->n = 0;
	rows->has_key = rows->is_dropped = rows->is_flushed = false;
	rows->until = 0;
	rows->began = rows->out.n;
}

bool rows_undo(struct rows *rows)
{
	if (rows->is_flushed)
		return false;
	rows->out.n = rows->began;
	rows_begin(rows);
	return true;
}

void rows_key(struct rows *rows, struct text key)
{
	driver_alive();	/* it may take long to have so many rows that they are worth sending */
	if (rows->has_key && text_eq(key, buf_view(&rows->key)))
		return;
	buf_clear(&rows->key);
	buf_text(&rows->key, key);
	rows->has_key = true;
	rows->until = 0;
	rows->is_dropped = !frame_add(&rows->out, FRAME_KEY, key, none, none);
}

void rows_until(struct rows *rows, uint64_t seconds)
{
	struct buf number = { 0 };

	if (seconds == rows->until)
		return;
	rows->until = seconds;
	buf_printf(&number, "%" PRIu64, seconds);
	frame_add(&rows->out, FRAME_UNTIL, buf_view(&number), none, none);
	buf_done(&number);
}

/* No value can hold a NUL. */
void rows_unusable(struct rows *rows)
{
	rows_value(rows, (struct text){ "", 1 });
}

void rows_fail(struct rows *rows)
{
	if (rows->is_dropped)
		return;
	frame_add(&rows->out, FRAME_FAIL, none, none, none);
	rows->n++;
}

void rows_value(struct rows *rows, struct text value)
{
	if (rows->is_dropped || value.n == 0)
		return;
	if (!frame_add(&rows->out, FRAME_VALUE, value, none, none)) {
		rows_unusable(rows);
		return;
	}
	rows->n++;
	flush_if_full(rows);
}

void driver_alive(void)
{
	uint64_t now = clock_msec();
	struct buf out = { 0 };

	if (now - heard_of < ALIVE_MSEC)
		return;
	heard_of = now;
	frame_add(&out, FRAME_INFO, TEXT("alive"), TEXT("1"), none);
	flush(&out);
	buf_done(&out);
}

bool driver_tells_queries(void)
{
	return is_explaining;
}

/* At once: should the directory never answer, it is known what it was asked. */
void driver_query(struct text query)
{
	const size_t most = FRAME_MAX - strlen("query ");
	struct buf out = { 0 };

	if (!is_explaining)
		return;
	if (query.n > most)
		query.n = most;
	frame_add(&out, FRAME_QUERY, query, none, none);
	flush(&out);
	buf_done(&out);
}

/* Make it one short line of printable ASCII, whatever a library says. */
static struct text tidy(struct buf *why)
{
	if (why->n == 0)
		buf_str(why, "unknown error");
	if (why->n > REASON_MAX)
		why->n = REASON_MAX;
	for (size_t i = 0; i < why->n; i++)
		if (why->p[i] < 0x20 || why->p[i] > 0x7e)
			why->p[i] = ' ';
	return text_trim(buf_view(why));
}

/* The one end of a request. */
static void end(struct rows *rows, enum ended ended, struct buf *why)
{
	static const enum frame_verb verbs[] = {
		[ENDED_TEMP] = FRAME_TEMP,
		[ENDED_DOWN] = FRAME_DOWN,
		[ENDED_DONE] = FRAME_DONE,
	};

	if (ended == ENDED_DONE) {
		buf_clear(why);
		buf_printf(why, "%" PRIu64, rows->n);
	}
	facts_send(&rows->out);
	frame_add(&rows->out, verbs[ended], tidy(why), none, none);
}

/* --- requests --------------------------------------------------------------------- */

static struct entry *find_table(struct peer *p, struct text id)
{
	struct entry *e = p->tables;

	while (e && !text_is(id, e->id))
		e = e->next;
	if (!e) {
		e = must_calloc(1, sizeof *e);
		*e = (struct entry){ .next = p->tables, .id = copy(id) };
		p->tables = e;
	}
	return e;
}

static void entry_free(struct peer *p, struct entry *e)
{
	if (e->table)
		p->driver->table_free(p->handle, e->table);
	settings_done(&e->settings);
	buf_done(&e->why);
	free(e->id);
	free(e);
}

static void forget(struct peer *p, struct text id)
{
	struct entry *e = find_table(p, id);
	struct entry **at = &p->tables;

	while (*at != e)
		at = &(*at)->next;
	*at = e->next;
	entry_free(p, e);
}

/* The table as its driver made it; NULL with a reason, the same at every use. */
static void *use_table(struct peer *p, struct text id, struct buf *why)
{
	struct entry *e = find_table(p, id);

	if (!e->is_used) {
		e->is_used = true;
		e->table = p->driver->table_new(p->handle, &e->settings, &e->why);
	}
	if (!e->table)
		buf_text(why, buf_view(&e->why));
	return e->table;
}

static void request(struct peer *p, const struct frame *f)
{
	enum ended ended = ENDED_TEMP;
	struct buf why = { 0 };
	void *table = f->verb == FRAME_PING ? NULL : use_table(p, f->args[0], &why);

	heard_of = clock_msec();
	is_explaining = f->verb == FRAME_EXPLAIN;
	if (is_explaining)
		flush(&p->rows.out);	/* queries go out at once, behind earlier replies */
	rows_begin(&p->rows);
	if (f->verb == FRAME_PING)
		ended = p->driver->ping(p->handle, &why);
	else if (table && (f->verb == FRAME_LOOKUP || is_explaining))
		ended = p->driver->lookup(p->handle, table, f->args[1], &p->rows, &why);
	else if (table && f->verb == FRAME_SCAN)
		ended = p->driver->scan(p->handle, table, &p->rows, &why);
	else if (table && p->driver->changed)
		ended = p->driver->changed(p->handle, table, &p->rows, &why);
	else if (table)
		buf_str(&why, "this driver cannot tell");
	end(&p->rows, ended, &why);
	buf_done(&why);
}

/* --- the conversation ------------------------------------------------------------- */

/* Say why on stderr, which is the server's. Returns `status`. */
__attribute__((format(printf, 3, 4)))
static int complain(const struct peer *p, int status, const char *format, ...)
{
	va_list args;

	fprintf(stderr, "%s: ", p->driver->name);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	return status;
}

/* The settings are complete: accept them with a hello, or say what is wrong with them. */
static int start(struct peer *p)
{
	struct buf text = { 0 };
	int status = 0;

	p->handle = p->driver->open(&p->source, &text);
	if (p->handle) {
		buf_printf(&text, "%s/%s %s", p->driver->name, VERSION,
			   p->driver->version());
		frame_add(&p->rows.out, FRAME_HELLO, TEXT("1"), buf_view(&text), none);
	} else {
		end(&p->rows, ENDED_DOWN, &text);
		status = complain(p, EXIT_SETTINGS, "%s", buf_cstr(&text));
	}
	flush(&p->rows.out);
	buf_done(&text);
	return status;
}

static int hello(struct peer *p, const struct frame *f)
{
	uint64_t version;

	if (!frame_number(f->args[0], &version) || version != DRIVER_PROTOCOL_VERSION)
		return complain(p, EXIT_PROTOCOL, "the server does not speak version %d",
				DRIVER_PROTOCOL_VERSION);
	add_setting(&p->source, TEXT("name"), f->args[1]);
	return 0;
}

static int set_table(struct peer *p, const struct frame *f)
{
	struct entry *e = find_table(p, f->args[0]);

	if (e->is_used)
		return complain(p, EXIT_PROTOCOL, "setting for a table in use");
	add_setting(&e->settings, f->args[1], f->args[2]);
	return 0;
}

/* Which messages the server may send, before `start` and after it. */
static const bool allowed[2][FRAME_VERBS] = {
	{ [FRAME_HELLO] = true, [FRAME_SOURCE] = true, [FRAME_START] = true },
	{ [FRAME_TABLE] = true, [FRAME_FORGET] = true, [FRAME_LOOKUP] = true,
	  [FRAME_EXPLAIN] = true, [FRAME_SCAN] = true, [FRAME_CHANGED] = true, [FRAME_PING] = true },
};

/* Returns an exit status; 0: go on. */
static int handle(struct peer *p, const struct frame *f)
{
	if (!allowed[p->handle != NULL][f->verb])
		return complain(p, EXIT_PROTOCOL, "unexpected \"%s\"",
				frame_verb_name(f->verb));
	switch (f->verb) {
	case FRAME_HELLO:
		return hello(p, f);
	case FRAME_SOURCE:
		add_setting(&p->source, f->args[0], f->args[1]);
		return 0;
	case FRAME_START:
		return start(p);
	case FRAME_TABLE:
		return set_table(p, f);
	case FRAME_FORGET:
		forget(p, f->args[0]);
		return 0;
	default:
		request(p, f);
		return 0;
	}
}

/* Handle what has been received. Returns an exit status; 0: go on. */
static int handle_all(struct peer *p)
{
	size_t at = 0, used;
	int status = 0;

	while (status == 0) {
		struct frame f;
		struct text rest = text_skip(buf_view(&p->in), at);
		enum parsed parsed = frame_parse(rest, &f, &used);

		if (parsed == NEED_MORE)
			break;
		if (parsed != PARSED)
			return complain(p, EXIT_PROTOCOL, "the server sent no message");
		at += used;
		status = handle(p, &f);
		flush_if_full(&p->rows);
	}
	buf_drop(&p->in, at);
	return status;
}

/* Let the driver put its things in order as long as nothing comes. */
static void wait_for_server(struct peer *p)
{
	struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };
	int ready = 0;

	while (ready == 0 && p->handle && p->driver->idle) {
		int wait = p->driver->idle(p->handle);

		ready = wait < 0 ? 1 : poll(&in, 1, wait);
	}
}

/* Returns the exit status. */
static int converse(struct peer *p)
{
	int status = 0;

	while (status == 0) {
		flush(&p->rows.out);
		wait_for_server(p);

		ssize_t n = read(STDIN_FILENO, buf_room(&p->in, READ_BYTES), READ_BYTES);
		if (n == 0 || (n < 0 && errno != EINTR))
			break;
		p->in.n += n < 0 ? 0 : (size_t)n;
		status = handle_all(p);
	}
	return status;
}

static void peer_done(struct peer *p)
{
	while (p->tables) {
		struct entry *e = p->tables;

		p->tables = e->next;
		entry_free(p, e);
	}
	if (p->handle)
		p->driver->close(p->handle);
	facts_done();
	settings_done(&p->source);
	buf_done(&p->in);
	buf_done(&p->rows.out);
	buf_done(&p->rows.key);
}

/* --- the program ------------------------------------------------------------------ */

/*
 * No secret in a core or to a debugger, no life without a server, and no death of signals
 * that are meant for it (pkill finds the drivers, too). At a terminal, ^C shall work.
 */
static void harden(void)
{
	static const int ignored[] = { SIGPIPE, SIGHUP, SIGUSR1, SIGUSR2 };

	for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
		signal(ignored[i], SIG_IGN);
	if (!isatty(STDIN_FILENO))
		signal(SIGINT, SIG_IGN);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_DUMPABLE, 0);
	setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
}

static int usage(const struct driver *driver, FILE *to)
{
	fprintf(to,
		"usage: %s [--version | --help]\n"
		"socketmapd starts it and speaks socketmapd-driver(7) on its standard\n"
		"input and output.\n",
		driver->name);
	return to == stdout ? 0 : EXIT_PROTOCOL;
}

int driver_main(const struct driver *driver, int argc, char **argv)
{
	struct peer p = { .driver = driver };
	int status;

	if (argc == 2 && strcmp(argv[1], "--version") == 0) {
		printf("%s %s\n%s\n", driver->name, VERSION, driver->version());
		return 0;
	}
	if (argc > 1)
		return usage(driver, strcmp(argv[1], "--help") == 0 ? stdout : stderr);

	harden();
	hash_init();
	status = converse(&p);
	peer_done(&p);
	return status;
}
