#include "engine/restore.h"

#include "base/log.h"
#include "engine/scan.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#define SUFFIX ".snapshot"

/* --- into tables ------------------------------------------------------------------------ */

static uint64_t sum(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static uint64_t less(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t more(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

struct ages restore_ages(const struct snapshot *s, const struct table_settings *t, uint64_t now,
			 uint64_t wall)
{
	bool is_future = wall < s->written || now < s->clock;
	uint64_t by_wall = wall < s->written ? 0 : wall - s->written;
	uint64_t by_ours = is_future ? UINT64_MAX : now - s->clock;
	uint64_t over = more(t->ttl + t->ttl / 10 /* its jitter, demand.h */, t->negative_ttl) + 1;

	return (struct ages){
		.mirror = less(now, more(sum(s->age, by_wall),
					 less(sum(s->age, by_ours), t->max_age + 1))),
		.demand = less(now, more(by_wall, less(by_ours, over))),
	};
}

const char *restore_table(struct table *t, const struct snapshot *s, uint64_t now, uint64_t wall)
{
	const struct mirror_limits limits = scan_limits(t->settings);
	struct ages ages = restore_ages(s, t->settings, now, wall);
	bool is_mirror = t->settings->mode == TABLE_MIRROR;
	struct mirror *mirror = NULL;
	const char *why = NULL;

	if (is_mirror && s->mirror.n && !atomic_load(&t->mirror)) {
		mirror = mirror_from_image(s->mirror, s->entries, &limits, now - ages.mirror, &why);
		if (!mirror)
			return why;
	}
	if (s->demand.n && !demand_restore(t->demand, s->demand, now, ages.demand)) {
		mirror_free(mirror);
		return "not the image of a demand cache";
	}
	if (mirror)
		atomic_store_explicit(&t->mirror, mirror, memory_order_release);
	log_info("snapshot_restored", t->map, F_STR("map", t->map),
		 F_STR("state", is_mirror ? table_state_name(table_state(t, now)) : "DEMAND"),
		 F_NUM("entries", mirror ? mirror_entries(mirror) : 0),
		 F_NUM("cached", demand_entries(t->demand)),
		 F_MSEC("age", mirror ? ages.mirror : ages.demand));
	return NULL;
}

/* --- or away ---------------------------------------------------------------------------- */

void snapshot_name(struct text map, size_t table, struct buf *out)
{
	buf_text(out, map);
	buf_printf(out, ".%zu" SUFFIX, table);
}

/* Take `end` off `name`, if it is there. */
static bool strip(struct text *name, const char *end)
{
	size_t n = strlen(end);

	if (name->n < n || memcmp(name->p + name->n - n, end, n) != 0)
		return false;
	name->n -= n;
	return true;
}

/* Could it be from snapshot_name()? */
static bool is_snapshot(struct text name)
{
	const char *dot;

	if (!strip(&name, SUFFIX))
		return false;
	dot = text_rchr(name, '.');
	if (!dot || dot == name.p || dot + 1 == name.p + name.n)
		return false;
	for (const char *at = dot + 1; at < name.p + name.n; at++)
		if (*at < '0' || *at > '9')
			return false;
	return true;
}

static bool is_in(struct text name, char *const *names, size_t n_names)
{
	for (size_t i = 0; i < n_names; i++)
		if (text_is(name, names[i]))
			return true;
	return false;
}

/* store/snapshot.c writes to ".new" beside a file, and moves bad ones to ".bad". */
static bool is_rubbish(struct text name, char *const *names, size_t n_names)
{
	bool is_new = strip(&name, ".new");

	if (!is_new)
		strip(&name, ".bad");
	return is_snapshot(name) && (is_new || !is_in(name, names, n_names));
}

void snapshots_sweep(int dir, char *const *names, size_t n_names)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *list = fd < 0 ? NULL : fdopendir(fd);

	if (!list) {
		if (fd >= 0)
			close(fd);
		return;
	}
	for (struct dirent *e; (e = readdir(list));)
		if (is_rubbish(text_of(e->d_name), names, n_names))
			unlinkat(dir, e->d_name, 0);
	closedir(list);
}
