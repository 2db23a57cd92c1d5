/* driver.h - the frame loop that every driver program shares. Blocking, one thread. */
#ifndef DRIVER_DRIVER_H
#define DRIVER_DRIVER_H

#include "base/buf.h"

/* A setting as the server sent it. Both strings belong to the loop, for the life of the program. */
struct setting {
	const char *name;
	const char *value;
};

struct settings {
	const struct setting *list;
	size_t n;
};

/* The value of `name`, or `otherwise`. */
const char *setting_get(const struct settings *s, const char *name, const char *otherwise);

/* How one request ended. */
enum ended {
	ENDED_DONE,	/* definite success; all rows were sent */
	ENDED_TEMP,	/* this request failed; ret_why says how */
	ENDED_DOWN,	/* the directory cannot be reached; ret_why says how */
};

/* Where rows go. Values are raw, before result_format; NULL columns are not sent. */
struct rows;
void rows_key(struct rows *rows, struct text key);	/* scan: whose the next values are */
void rows_value(struct rows *rows, struct text value);

/*
 * What a directory has to do: four functions. `handle` is the driver's connection, `table` what
 * table_new() made of a table's settings.
 */
struct driver {
	const char *name;			/* "socketmapd-sqlite" */
	const char *(*version)(void);		/* its library, "sqlite 3.40.1" */

	/* Called once, before the first request; does not connect. NULL with a reason: settings are wrong. */
	void *(*open)(const struct settings *source, struct buf *ret_why);
	void (*close)(void *handle);

	/* Never connects either. NULL with a reason: every use of the table ends in ENDED_TEMP. */
	void *(*table_new)(void *handle, const struct settings *table, struct buf *ret_why);
	void (*table_free)(void *handle, void *table);

	/* Blocking. ENDED_DONE only after the directory's own definite success. */
	enum ended (*lookup)(void *handle, void *table, struct text key, struct rows *rows,
			     struct buf *ret_why);
	enum ended (*scan)(void *handle, void *table, struct rows *rows, struct buf *ret_why);
	enum ended (*ping)(void *handle, struct buf *ret_why);
};

/*
 * The whole program: handles --version and --help, hardens the process (no core, dies with the
 * server), speaks frames on descriptors 0 and 1 until end of file. Returns the exit status.
 */
int driver_main(const struct driver *driver, int argc, char **argv);

#endif
