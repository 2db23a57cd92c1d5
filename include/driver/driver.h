/* driver.h - the frame loop that every driver program shares. Blocking, one thread. */
#ifndef DRIVER_DRIVER_H
#define DRIVER_DRIVER_H

#include "base/buf.h"

/* A setting as the server sent it. Numbers come in decimal, times in milliseconds. */
struct setting {
	char *name;
	char *value;
};

/*
 * The settings of the source, with its `name`, or of one table. They belong to the loop:
 * the source's for the life of the program, a table's until its table_free() returns.
 */
struct settings {
	struct setting *list;
	size_t n;
};

/* The value of `name`, the last one if there are several, or `otherwise`. */
const char *setting_get(const struct settings *s, const char *name,
			const char *otherwise);

/* How one request ended. Zero is the safe one. */
enum ended {
	ENDED_TEMP,	/* this request failed; ret_why says how */
	ENDED_DOWN,	/* the directory cannot be reached; ret_why says how */
	ENDED_DONE,	/* definite success; all rows were sent */
};

/*
 * Where rows go. Values are raw, before result_format; NULL and empty ones are not sent.
 * A value too long for a message arrives as one that the server cannot use (its key is
 * TEMP); the values of a key too long for a message are dropped, as nobody can ask for
 * it.
 */
struct rows;
void rows_key(struct rows *rows, struct text key);	/* scan: whose the values are */
void rows_value(struct rows *rows, struct text value);

/* scan: when the values that follow, of this key, end: Unix seconds; 0: never. */
void rows_until(struct rows *rows, uint64_t seconds);

/*
 * scan: this key answers TEMP. Unusable data are counted, and too many of them mean that
 * something is wrong with the scan; that a lookup of the key would fail is nothing unusual.
 */
void rows_unusable(struct rows *rows);
void rows_fail(struct rows *rows);

/*
 * Tell the server about the directory: goes out with the end of this request, or of the next
 * one. "host": whom we talk to; "cert_not_after": Unix seconds. Only what changed is sent.
 */
void driver_info(const char *name, const char *value);

/*
 * What the driver is about to ask the directory, expanded and escaped, as people would type
 * it: an SQL statement; 'base "dc=x" scope sub filter "(mail=a)"'. Sent only when somebody wants to
 * know (explain), else this costs nothing. No secrets: no password, no bind DN.
 */
void driver_query(struct text query);
bool driver_tells_queries(void);	/* is it worth making one? */

/*
 * A scan goes on though there are no rows to send; else the server takes us for dead after
 * scan_idle. May be called for every little step: it is sent every now and then. Each
 * rows_key() says it, too.
 */
void driver_alive(void);

/*
 * Take back all rows of this request, to begin again. False: too late, some of them are
 * on their way.
 */
bool rows_undo(struct rows *rows);

/*
 * What a directory has to do. `handle` is the driver's connection, `table` what
 * table_new() made of a table's settings. A reason may be anything: the server gets the
 * beginning of it, as one line of ASCII.
 */
struct driver {
	const char *name;			/* "socketmapd-sqlite" */
	const char *(*version)(void);		/* its library, "sqlite 3.40.1" */

	/*
	 * Called once, before the first request; does not connect. NULL with a reason:
	 * the settings are wrong.
	 */
	void *(*open)(const struct settings *source, struct buf *ret_why);
	void (*close)(void *handle);

	/*
	 * Called at the table's first use; does not connect. NULL with a reason: every
	 * use of the table ends in ENDED_TEMP.
	 */
	void *(*table_new)(void *handle, const struct settings *table,
			   struct buf *ret_why);
	void (*table_free)(void *handle, void *table);

	/* Blocking. ENDED_DONE only after the directory's own definite success. */
	enum ended (*lookup)(void *handle, void *table, struct text key,
			     struct rows *rows, struct buf *ret_why);
	enum ended (*scan)(void *handle, void *table, struct rows *rows,
			   struct buf *ret_why);
	enum ended (*ping)(void *handle, struct buf *ret_why);

	/*
	 * Values that differ whenever a scan of the table would; only compared. NULL:
	 * there is no such thing.
	 */
	enum ended (*changed)(void *handle, void *table, struct rows *rows,
			      struct buf *ret_why);

	/*
	 * Called when there is nothing to do. Returns in how many msec it wants to be
	 * called again, should nothing have come by then; -1: not. NULL: never.
	 */
	int (*idle)(void *handle);
};

/*
 * The whole program: handles --version and --help, hardens the process (no core, dies
 * with the server), speaks frames on descriptors 0 and 1 until end of file. Returns the
 * exit status: 0 when the server has gone, 1 for wrong settings, 2 when it does not
 * speak the protocol.
 */
int driver_main(const struct driver *driver, int argc, char **argv);

#endif
