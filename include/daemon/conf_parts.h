/* conf_parts.h - what the files conf_*.c share while a configuration is read. */
#ifndef DAEMON_CONF_PARTS_H
#define DAEMON_CONF_PARTS_H

#include "base/sql.h"
#include "daemon/driver_kind.h"
#include "daemon/node.h"

/*
 * A configuration in the making. Errors are collected; any text in `why` means that all
 * of it is off.
 */
struct conf {
	char *dir;			/* of the daemon's file, absolute */
	struct node root;		/* the daemon's file */
	struct daemon_block daemon;
	struct settings *settings;
	struct buf *why, *notes;
};

/*
 * Append "FILE:LINE: message\n" to the errors or notes, once. `where` is the item that is
 * wrong, or the group that lacks something.
 */
void conf_error(struct conf *c, const struct node *where, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void conf_note(struct conf *c, const struct node *where, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* How a note begins that tells how a table is scanned; see conf_note_level(). */
#define NOTE_MIRROR "mirror of "

/* Where the settings of a group go. */
struct target {
	const struct option_row *rows;
	void *block;			/* into its fields */
	struct options *options;	/* or: into these */
	const char *refuse;		/* or: nowhere, for this reason */
};					/* none of them: seen to elsewhere */

/*
 * Put each item of a group where its row is found. `targets` ends with rows NULL; what no
 * row knows goes to that one's options, or is an error.
 */
void conf_apply(struct conf *c, const struct node *group, const struct target *targets);

/* One item into its field. */
void conf_set(struct conf *c, const struct node *item, const struct option_row *row,
	      void *block);

/*
 * Complain of required settings that `group` lacks; with `options`, add the defaults of
 * those that it lacks.
 */
void conf_complete(struct conf *c, const struct node *group,
		   const struct option_row *rows, struct options *options);

/* The groups in the list `name`; complains of what is none. Returns their number. */
size_t conf_blocks(struct conf *c, const struct node *group, const char *name,
		   const struct node **ret_groups);

/* A driver's options are sorted by name. */
void conf_option_set(struct options *options, const char *name, const char *value);
const char *conf_option_get(const struct options *options, const char *name);
void conf_option_drop(struct options *options, const char *name);

/* Append "name=value\n" for each; of those that are secret in `rows` a keyed hash. */
void conf_options_print(const struct options *options, const struct option_row *rows,
			struct buf *out);

/* Is it a name for a map or a source: letters, digits, '_', '.', '-'? */
bool conf_is_name(struct text name);

/* conf_listener.c: read `listeners`; later, check what they say about maps. */
void conf_listeners(struct conf *c);
void conf_listeners_check(struct conf *c);

/*
 * conf_source.c: read `sources`; one more source from its group, which is returned even
 * when something is wrong with it; find one by name. The sources belong to the settings.
 */
void conf_sources(struct conf *c);
struct source_settings *conf_source_add(struct conf *c, const struct node *group);
struct source_settings *conf_source_find(const struct conf *c, const char *name);

/*
 * conf_identity.c: give a complete source, a complete table its identity: see struct
 * table_settings. An option belongs to it unless it is OPTION_TUNING or OPTION_SECRET.
 *
 * kind          the driver, or NULL
 * source        of the table, or NULL after an error
 * domain_files  what stands in the files that `domain` names
 */
struct table_draft;
void conf_identify_source(struct source_settings *s, const struct driver_kind *kind);
void conf_identify_table(struct table_draft *d, const struct source_settings *source,
			 struct text domain_files);

/*
 * conf_export.c: take over and check `export` of a map whose tables have been read; NULL:
 * there is none.
 */
void conf_export(struct conf *c, const struct node *root, const char *value,
		 struct map_settings *m);

/* conf_map.c: read a map from its parsed file; later, what maps say about each other. */
void conf_map(struct conf *c, const char *name, const struct node *root);
void conf_maps_check(struct conf *c);
const struct map_settings *conf_map_find(const struct conf *c, const char *name);

/* A table in the making. */
struct table_draft {
	struct conf *conf;
	const struct node *group;	/* its settings */
	const struct node *postfix;	/* those from a Postfix table file, or NULL */
	const struct driver_kind *kind;	/* NULL: a program that we know nothing of */
	struct table_block block;
};

/* Where the setting `name` stands; without it, where the table does. */
const struct node *table_where(const struct table_draft *d, const char *name);

/*
 * conf_sql.c: complete and check the options of a table of an SQL database: the query,
 * for want of one made of what old files of Postfix have instead, and scan_query.
 */
#define CONF_SQL_OLD_ROWS \
	{ "select_field", OPTION_TEXT, .min = 1, .flags = OPTION_POSTFIX, \
	  .help = "for want of query: SELECT this" }, \
	{ "table", OPTION_TEXT, .min = 1, .flags = OPTION_POSTFIX, \
	  .help = "for want of query: FROM this" }, \
	{ "where_field", OPTION_TEXT, .min = 1, .flags = OPTION_POSTFIX, \
	  .help = "for want of query: WHERE this = '%s'" }, \
	{ "additional_conditions", OPTION_TEXT, .flags = OPTION_POSTFIX, \
	  .help = "for want of query: what follows" }
void conf_sql_finish(struct table_draft *d, enum sql_dialect dialect);

/*
 * conf_remote.c, for sources in the network: complain when there is more than one of NAME,
 * NAME_file, NAME_credential, NAME_cf, and return the first of them, or NULL.
 */
const struct node *conf_check_secret(struct conf *c, const struct node *group,
				     const char *name);

/* conf_ldap_postfix.c: see driver_kind.from_postfix. */
void conf_ldap_from_postfix(struct conf *c, const char *path, struct cf *cf);

/* The time limits are ours, but the driver tells its library and the server of them. */
void conf_pass_limits(struct source_settings *s);

/*
 * conf_table.c: add the table, or the tables, that `group` describes to the map.
 *
 * outer      rows that may stand in the group but are not the table's (a map of one
 *            table), or NULL
 */
void conf_tables(struct conf *c, struct map_settings *map, const struct node *group,
		 const struct option_row *outer);

/*
 * conf_postfix.c: take "sqlite:/path/x.cf" apart: find or add its source, and hand out
 * the rest. False after an error. A secret stays in the file: the driver gets the file's
 * name, as NAME_cf.
 *
 * where      the setting in which it stands
 * ret_rest   the settings of the table, to free with node_done()
 */
bool conf_postfix(struct conf *c, const struct node *where, struct text name,
		  const struct source_settings **ret_source, struct node *ret_rest);

#endif
