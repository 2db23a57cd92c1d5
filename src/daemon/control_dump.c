#include "daemon/control.h"

#include "base/log.h"
#include "base/must.h"
#include "daemon/admin.h"
#include "daemon/copies.h"
#include "daemon/json.h"

/* So much is made at a time, and waits for the client. */
#define PIECE ((size_t)16 << 10)

/* First the command that brings the mirrors, then the stream's. */
struct dump {
	struct command command;
	struct copies copies;
	size_t table, at;	/* the next entry: mirror_next() */
	size_t n;		/* entries so far */
	struct buf scratch;
	bool has_yielded;
};

static void done(struct command *c)
{
	struct dump *d = (struct dump *)c;

	copies_done(&d->copies);
	buf_done(&d->scratch);
}

static void run(struct command *c, struct map *map)
{
	copies_take(&((struct dump *)c)->copies, c, map);
}

/* The entry as it answers now; one whose values have all ended is none. */
static void add_entry(struct dump *d, struct text key, struct text value, struct buf *out)
{
	enum mirror_says says = value.n ? table_read(&value, &d->scratch) : MIRROR_BAD;
	json_int_t table = (json_int_t)d->table;

	if (says == MIRROR_ABSENT)
		return;
	if (says == MIRROR_HIT)
		json_line(out, json_pack("{s:I, s:o, s:o}", "table", table, "key", json_text(key),
					 "value", json_text(value)));
	else
		json_line(out, json_pack("{s:I, s:o, s:b}", "table", table, "key", json_text(key),
					 "bad", 1));
	d->n++;
}

static bool more(void *ctx, struct buf *out)
{
	struct dump *d = ctx;
	struct text key, value;

	if (!d->has_yielded)
		loop_yield();	/* answers come first */
	d->has_yielded = true;
	for (; d->table < d->copies.n; d->table++, d->at = 0) {
		const struct mirror *m = d->copies.list[d->table];

		while (m && mirror_next(m, &d->at, &key, &value)) {
			add_entry(d, key, value, out);
			if (out->n >= PIECE)
				return true;
		}
	}
	json_line(out, json_pack("{s:b, s:I}", "end", 1, "entries", (json_int_t)d->n));
	return false;
}

static void on_over(void *ctx)
{
	command_free(ctx);
}

void control_dump(const struct http_request *request, struct http_reply *reply)
{
	struct dump *d = must_calloc(1, sizeof *d);

	d->command = (struct command){ .run = run, .done = done };
	if (!command_wants_map(&d->command, request, reply)) {
		command_free(&d->command);
		return;
	}
	if (!command_run(&d->command, ADMIN_PATIENCE, reply))
		return;
	log_info("control_dump", "", F_TEXT("map", buf_view(&d->command.map)),
		 F_NUM("who", command_who(request)));
	reply->type = HTTP_NDJSON;
	reply->stream = (struct http_stream){ more, on_over, d };
}
