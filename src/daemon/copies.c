#include "daemon/copies.h"

#include "base/must.h"

#include <stdlib.h>

static bool has_mirrors(const struct map *map)
{
	for (size_t i = 0; i < map->n_tables; i++)
		if (map->tables[i]->settings->mode == TABLE_MIRROR)
			return true;
	return false;
}

void copies_take(struct copies *s, struct command *c, const struct map *map)
{
	bool has_one = false;

	if (map->settings->is_secret) {
		command_fail(c, 403, "this map is secret");
		return;
	}
	s->n = map->n_tables;
	s->list = must_calloc(s->n, sizeof *s->list);
	for (size_t i = 0; i < s->n; i++) {
		struct mirror *m = atomic_load_explicit(&map->tables[i]->mirror,
							memory_order_acquire);

		if (!m)
			continue;
		s->list[i] = mirror_ref(m);
		s->n_entries += mirror_entries(m);
		has_one = true;
	}
	if (!has_mirrors(map))
		command_fail(c, 409, "this map has no mirror: each key is looked up by itself");
	else if (!has_one)
		command_fail(c, 409, "this map has no copy yet: no scan has been accepted");
}

void copies_done(struct copies *s)
{
	for (size_t i = 0; i < s->n; i++)
		mirror_free(s->list[i]);
	free(s->list);
}
