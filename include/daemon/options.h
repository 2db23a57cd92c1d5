/* options.h - every setting of the configuration, one row each, and what they fill. */
#ifndef DAEMON_OPTIONS_H
#define DAEMON_OPTIONS_H

#include "engine/settings.h"

#include <stdio.h>

enum option_type {
	OPTION_TEXT,	/* char *; `min` is its least length */
	OPTION_PATH,	/* char *, absolute; in files relative to the daemon's file */
	OPTION_USER,	/* char *, a user that exists */
	OPTION_GROUP,	/* char *, a group that exists */
	OPTION_COUNT,	/* an unsigned type */
	OPTION_TIME,	/* uint64_t, msec; "30s" in files */
	OPTION_SIZE,	/* size_t, bytes; "16M" in files */
	OPTION_BOOL,	/* bool */
	OPTION_WORD,	/* an enum; its values are the places of its words */
	OPTION_MODE,	/* mode_t; "0660" in files */
	OPTION_LIST,	/* struct strings; in files an array, or as in main.cf */
	OPTION_BLOCKS,	/* a list of groups, which have rows of their own */
	OPTION_TYPES
};

enum {
	OPTION_REQUIRED = 1,
	OPTION_RESTART = 2,	/* a reload leaves it as it was */
	OPTION_MIRROR = 4,	/* has no effect on a demand table */
	OPTION_POSTFIX = 8,	/* is a parameter of Postfix's table files, too */
	OPTION_SECRET = 16,	/* of a source: shown to nobody; see conf_postfix() */
	/*
	 * Changes when, how fast or by which way is answered, never what: not part of a
	 * table's identity. When in doubt leave it out: then a changed value costs a
	 * snapshot, and not somebody's mail.
	 */
	OPTION_TUNING = 32,
	OPTION_EMPTY = 64,	/* a path that may be "", which is none */
};

/*
 * One setting. Rows end with a NULL name. Where `offset` and `size` are 0 (drivers'
 * options) the checked value is kept as text in a struct options: numbers in decimal,
 * times in msec.
 */
struct option_row {
	const char *name;
	enum option_type type;
	size_t offset, size;		/* of its field in the block */
	uint64_t min, max;		/* of numbers; max 0: none */
	const char *otherwise;		/* the default, as in a file; NULL: none */
	const char *computed;		/* or what the default depends on */
	unsigned flags;
	const char *const *words;	/* of OPTION_WORD; perhaps of OPTION_LIST */
	const char *help;
};

struct strings {
	char **list;
	size_t n;
};

/* Settings for all maps that a map may override. */
struct key_settings {
	char *recipient_delimiter;
	struct strings local_domains;
	struct strings propagate;
	bool owner_request_special;
};

/* What the rows of each block fill in before it becomes settings. */
struct daemon_block {
	struct daemon_settings s;	/* first: what follows about a reload relies on it */
	char *log;
	char *maps_directory, *driver_directory;
	struct key_settings keys;
};

struct listener_block {
	struct listener_settings s;
	char *protocol;
};

struct map_block {
	char *search;
	unsigned parents;		/* enum parent_style, or UINT_MAX */
	bool is_secret;
	char *export;
	struct key_settings keys;
};

struct table_block {
	struct table_settings s;
	char *postfix_table;
	char *result_format, *domain;
	struct strings expect;
};

extern const struct option_row daemon_rows[], listener_rows[], source_rows[], map_rows[],
	table_rows[];

/* The row of that name, or NULL; takes NULL for no rows. */
const struct option_row *option_find(const struct option_row *rows, struct text name);

/* Set each field that has a default; nothing is freed. `dir` as for option_parse(). */
void options_default(const struct option_row *rows, const char *dir, void *block);

/* Free what the block's fields own. */
void options_clear(const struct option_row *rows, void *block);

/* Append "name=value\n" for every field: equal texts are equal settings. */
void options_fingerprint(const struct option_row *rows, const void *block,
			 struct buf *out);

/* How a value of that type is written: "a duration in double quotes, ..." */
const char *option_wants(enum option_type type);

/* "duration", "list" */
const char *option_type_name(enum option_type type);

/*
 * Parse `text` into `field`, which is freed or overwritten. Defaults go the same way.
 *
 * dir        where relative paths start; NULL: they are refused
 *
 * False, with the field unchanged, and the reason ("wants a duration ...") in `ret_why`.
 */
bool option_parse(const struct option_row *row, struct text text, const char *dir,
		  void *field, struct buf *ret_why);

/* Replace an OPTION_LIST by `n` items as they are. */
bool option_parse_list(const struct option_row *row, const struct text *items, size_t n,
		       void *field, struct buf *ret_why);

/* Append a field's value in its canonical form. */
void option_print(const struct option_row *row, const void *field, struct buf *out);

/* Free what one field owns. */
void option_clear(const struct option_row *row, void *field);

/*
 * Write every option, a line each: block, name, type, default ("-" for none), "required"
 * or "optional", "reload" or "restart"; separated by tabs. For `socketmapd --options`.
 */
void options_print(FILE *out);

/*
 * What differs between two configurations and cannot change while the server runs: a line
 * each, "threads: 4 instead of 2 needs a restart". False when there is nothing.
 */
bool settings_needs_restart(const struct settings *old, const struct settings *new,
			    struct buf *ret_why);

/*
 * Exchange just these: so that `new` has what the running server was started with, and the next
 * reload is compared with that.
 */
void settings_keep_started(struct settings *old, struct settings *new);

#endif
