/* driver_kind.h - what the server knows of its own drivers: the settings they take. */
#ifndef DAEMON_DRIVER_KIND_H
#define DAEMON_DRIVER_KIND_H

#include "daemon/options.h"

struct cf;
struct conf;
struct node;
struct table_draft;

/*
 * One driver, constant. Adding one is adding a file with one of these and a place in
 * driver_kinds.
 */
struct driver_kind {
	const char *name;	/* driver = "sqlite", "sqlite:/x.cf", socketmapd-sqlite */
	const struct option_row *source_rows;	/* the first Postfix one identifies it */
	const struct option_row *table_rows;

	/* Check the options of a table together, complete them and its `needs`. */
	void (*finish)(struct table_draft *draft);

	/* The same for a source; `group` is where it stands. NULL: nothing to do. */
	void (*finish_source)(struct conf *c, const struct node *group,
			      struct source_settings *s);

	/*
	 * Make the parameters of the Postfix table file `path` ours, before they are taken
	 * for options: other names and words, other defaults. NULL: they are the same.
	 */
	void (*from_postfix)(struct conf *c, const char *path, struct cf *cf);

	const char *const *postfix_names;	/* of source_rows, for its files; or NULL */
	const char *change_option;	/* what change_interval wants; NULL: change_query */
};

extern const struct driver_kind driver_ldap;		/* conf_ldap.c */
extern const struct driver_kind driver_mysql;		/* conf_mysql.c */
extern const struct driver_kind driver_sqlite;		/* conf_sqlite.c */

extern const struct driver_kind *const driver_kinds[];	/* ends with NULL */

/* The driver of that name, or NULL. */
const struct driver_kind *driver_kind_find(struct text name);

#endif
