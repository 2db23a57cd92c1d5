#include "daemon/conf_parts.h"

#include "base/must.h"
#include "store/cdb_export.h"

#include <limits.h>

#define TYPE "cdb:"

/* NULL, or what is wrong with a path. */
static const char *check_path(struct text path)
{
	const char *slash = text_rchr(path, '/');
	struct text rest = path, name;

	if (!slash || path.p[0] != '/')
		return "must begin with '/', behind " TYPE;
	while (text_next(&rest, "/", &name))
		if (text_is(name, ".."))
			return "must do without \"..\"";
	name = text_from(path, slash + 1);
	if (name.n <= strlen(CDB_SUFFIX) ||
	    !text_is(text_skip(name, name.n - strlen(CDB_SUFFIX)), CDB_SUFFIX))
		return "must end with NAME" CDB_SUFFIX ", which is " TYPE ".../NAME to Postfix";
	return name.n + strlen(CDB_TEMP_SUFFIX) > NAME_MAX ? "is too long for a file" : NULL;
}

static bool is_all_mirrors(const struct map_settings *m)
{
	for (size_t i = 0; i < m->n_tables; i++)
		if (m->tables[i]->mode != TABLE_MIRROR)
			return false;
	return true;
}

void conf_export(struct conf *c, const struct node *root, const char *value,
		 struct map_settings *m)
{
	const struct node *where = node_find(root, "export");
	struct text path = text_of(value);
	const char *wrong;

	if (!value)
		return;
	wrong = "wants \"" TYPE "/path/NAME" CDB_SUFFIX "\"";
	if (text_starts(path, TEXT(TYPE))) {
		path = text_skip(path, strlen(TYPE));
		wrong = check_path(path);
	}
	if (wrong)
		conf_error(c, where, "export: \"%s\": %s", value, wrong);
	if (m->is_secret)
		conf_error(c, where, "export: a secret map is never written to disk");
	if (!is_all_mirrors(m))
		conf_error(c, where, "export: needs mode = \"mirror\" in every table: what is "
			   "looked up key by key cannot be written to a file");
	for (size_t i = 0; i < c->settings->n_maps; i++)
		if (text_eq(text_of(c->settings->maps[i]->export_path), path))
			conf_error(c, where, "export: the map \"%s\" is written to that file",
				   c->settings->maps[i]->name);
	m->export_path = must_strdup(path.p);
}
