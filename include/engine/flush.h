/* flush.h - forgets what single lookups have learnt: they are asked anew. Control thread. */
#ifndef ENGINE_FLUSH_H
#define ENGINE_FLUSH_H

#include "engine/engine.h"

/*
 * Where a FOUND was forgotten, no older copy may say NOTFOUND in its place: see table_doubt(). Of what
 * the directory is being asked at this moment see demand_forget().
 */

/* What came of it. */
struct flushed {
	size_t n;		/* keys forgotten */
	bool is_concerned;	/* some table of the map has, or would ask, one of the keys */
	bool is_refreshing;	/* one of those is a mirror, which is scanned at once */
};

/* All keys of a map. */
struct flushed flush_map(struct engine *e, struct map *m);

/* What a client's `key` may lead to: every candidate of the map's search order, in each table. */
struct flushed flush_key(struct engine *e, struct map *m, struct text key);

/*
 * All that mail to or from `address` may ask of the map: the address, and of maps that are asked for
 * domains or hosts, its domain.
 */
struct flushed flush_address(struct engine *e, struct map *m, struct text address);

#endif
