#include "base/search.h"
#include "ctl/ctl.h"
#include "ctl/show.h"
#include "ctl/value.h"

#include <stdio.h>

#define QUEUE "/var/spool/postfix/"

/* How Postfix comes to a map. */
struct way {
	const char *type;		/* "socketmap", "tcp" */
	struct buf endpoint;		/* "unix:socketmapd/socketmap", "127.0.0.1:8998" */
	bool is_outside;		/* a unix socket that chrooted daemons do not see */
};

/* What delivers refuses our kind of table: postfix-client.md 2.9, DICT_FLAG_NO_UNAUTH. */
static const struct refusal {
	const char *map, *daemon;
	bool has_other_readers;		/* who take it: smtpd(8) */
} refusals[] = {
	{ "virtual_mailbox_maps", "virtual(8)", true },
	{ "virtual_uid_maps", "virtual(8)", false },
	{ "virtual_gid_maps", "virtual(8)", false },
	{ "alias_maps", "local(8)", false },
	{ "mailbox_command_maps", "local(8)", false },
};

/* Parameters that hold something else, too, as long as nobody takes it out: their defaults. */
static const struct {
	const char *map, *beside;
} defaults[] = {
	{ "mydestination", "$myhostname, localhost.$mydomain, localhost, " },
	{ "mynetworks", "127.0.0.0/8, [::1]/128, " },
};

static const struct refusal *refusal_of(struct text map)
{
	for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++)
		if (text_is(map, refusals[i].map))
			return &refusals[i];
	return NULL;
}

/* --- where the server listens ------------------------------------------------------------ */

/* Append HOST:PORT of "inet:HOST:PORT", with loopback for all addresses of this host. */
static void add_inet(struct buf *out, struct text address)
{
	struct text host = text_skip(address, 5);
	const char *port = text_chr(host, 0) ? NULL : text_rchr(host, ':');

	if (!port)
		return;
	struct text name = text_before(host, port);
	if (text_is(name, "0.0.0.0") || text_is(name, "*"))
		name = TEXT("127.0.0.1");
	else if (text_is(name, "[::]"))
		name = TEXT("[::1]");
	show_text(out, name);
	show_text(out, text_from(host, port));
}

/* How good a way an address is, 0: none. `ret` is filled if it is better than `least`. */
static int take_address(struct text address, bool is_tcp, int least, struct way *ret)
{
	bool is_unix = text_starts(address, TEXT("unix:"));
	bool is_inside = text_starts(address, TEXT("unix:" QUEUE));
	bool is_inet = text_starts(address, TEXT("inet:"));
	int good = is_inside ? 3 : is_inet ? 2 : is_unix ? 1 : 0;

	if (is_tcp && !is_inet)		/* tcp_table(5) has no unix sockets */
		return least;
	if (good <= least)
		return least;
	ret->is_outside = is_unix && !is_inside;
	buf_clear(&ret->endpoint);
	if (!is_tcp)
		buf_str(&ret->endpoint, is_inet ? "inet:" : "unix:");
	if (is_inet)
		add_inet(&ret->endpoint, address);
	else
		show_text(&ret->endpoint, text_skip(address, is_inside ? strlen("unix:" QUEUE) :
									 strlen("unix:")));
	return good;
}

/*
 * The best way to a map: by a socketmap, else by a tcp_table of its own. Sockets below the queue
 * directory are the same to chrooted daemons and to all others. False: there is none.
 */
static bool find_way(const json_t *status, struct text map, struct way *ret)
{
	const json_t *listener, *socket;
	size_t i, k;

	for (int is_tcp = 0; is_tcp < 2; is_tcp++) {
		int best = 0;

		ret->type = is_tcp ? "tcp" : "socketmap";
		json_array_foreach(value_get(status, "listeners"), i, listener) {
			if (!value_is(listener, "protocol",
				      is_tcp ? "tcp_table" : "socketmap") ||
			    (is_tcp && !text_eq(value_text(listener, "map"), map)))
				continue;
			best = take_address(value_text(listener, "address"), is_tcp, best, ret);
			json_array_foreach(value_get(listener, "sockets"), k, socket)
				best = take_address(text_of(json_string_value(socket)), is_tcp,
						    best, ret);
		}
		if (best)
			return true;
	}
	return false;
}

/* --- lines ------------------------------------------------------------------------------- */

/* "socketmap:unix:socketmapd/socketmap:virtual_alias_maps" */
static void add_table(struct buf *out, const struct way *way, struct text map)
{
	buf_printf(out, "%s:%s", way->type, buf_cstr((struct buf *)&way->endpoint));
	if (strcmp(way->type, "socketmap") == 0) {
		buf_byte(out, ':');
		show_text(out, map);
	}
}

/*
 * The same for a map that searches nothing by itself although the parameter's tables are
 * searched: Postfix must do it, postfix-client.md 1.
 */
static void add_searched(struct buf *out, const struct way *way, struct text map, bool is_plain)
{
	if (!is_plain)
		buf_str(out, "unionmap:{inline:{never.invalid=x}, ");
	add_table(out, way, map);
	if (!is_plain)
		buf_byte(out, '}');
}

/* The exported file as Postfix names it, without ".cdb"; empty: there is none. */
static void add_export(struct buf *out, const json_t *map)
{
	struct text path = value_text(value_get(map, "export"), "path");
	struct text suffix = TEXT(".cdb");

	if (path.n <= suffix.n)
		return;
	if (text_is(text_skip(path, path.n - suffix.n), ".cdb"))
		path.n -= suffix.n;
	buf_str(out, "cdb:");
	show_text(out, path);
}

/* What to do about a file that is missing. `state` is the state directory, if there is one. */
static void add_advice(struct buf *out, const struct refusal *r, struct text state)
{
	buf_str(out, ".\n# If it delivers mail here, it needs a file: set\n#   export = \"cdb:");
	show_text(out, state.n ? state : TEXT(STATEDIR));
	buf_printf(out, "/export/%s.cdb\";\n# in the map.\n", r->map);
}

/*
 * A map that virtual(8) or local(8) does not take from us. What virtual(8) gets goes to
 * `master`, as smtpd(8) has to keep the socketmap. local(8) gets nothing: it runs commands that
 * stand in alias_maps as the owner of the file (aliases(5)), which is the server's user, and those
 * of mailbox_command_maps as the recipient.
 */
static void add_refused(struct buf *out, struct buf *master, const json_t *map,
			const struct way *way, const struct refusal *r, struct text state)
{
	bool is_virtual = strcmp(r->daemon, "virtual(8)") == 0;
	struct buf file = { 0 };

	add_export(&file, map);
	buf_printf(out, "# %s refuses socketmap: and tcp: in %s", r->daemon, r->map);
	if (!is_virtual)
		buf_printf(out, ", and should not get\n# an export either, as it runs commands "
			   "that stand in it: leave %s\n# to a file that belongs to root.\n",
			   r->map);
	else if (!file.n)
		add_advice(out, r, state);
	else
		buf_str(out, "; see the lines for master.cf below.\n");
	if (r->has_other_readers) {
		buf_printf(out, "%s = ", r->map);
		add_table(out, way, value_text(map, "name"));
		buf_byte(out, '\n');
	}
	if (file.n && is_virtual)
		buf_printf(master, "#     -o %s=%s\n", r->map, buf_cstr(&file));
	buf_done(&file);
}

/* A map whose name is no parameter: how to use it is the administrator's choice. */
static void add_other(struct buf *out, const json_t *map, const struct way *way,
		      bool is_restriction)
{
	struct text name = value_text(map, "name");

	if (is_restriction) {
		buf_str(out, "# in smtpd_recipient_restrictions or the like:\n#   ");
		show_text(out, name);
		buf_byte(out, ' ');
	} else {
		buf_str(out, "# ");
		show_text(out, name);
		buf_str(out, " is no parameter of main.cf (it is searched as \"");
		show_text(out, value_text(map, "search"));
		buf_str(out, "\"). Where it belongs:\n#   ");
	}
	add_table(out, way, name);
	buf_byte(out, '\n');
}

static void add_map(struct buf *out, struct buf *master, const json_t *map,
		    const struct way *way, struct text state)
{
	struct text name = value_text(map, "name");
	const struct refusal *refusal = refusal_of(name);
	enum search_kind kind;
	enum parent_style parents;
	const char *class;
	bool is_known = search_defaults(name, &kind, &parents, &class);

	buf_byte(out, '\n');
	if (refusal) {
		add_refused(out, master, map, way, refusal, state);
		return;
	}
	if (!is_known || text_starts(name, TEXT("check_"))) {
		add_other(out, map, way, is_known);
		return;
	}
	bool is_plain = kind == SEARCH_EXACT || !value_is(map, "search", "exact");
	show_text(out, name);
	buf_str(out, " = ");
	for (size_t i = 0; i < sizeof defaults / sizeof *defaults; i++)
		if (text_is(name, defaults[i].map))
			buf_str(out, defaults[i].beside);
	add_searched(out, way, name, is_plain);
	buf_byte(out, '\n');
}

/* --- the whole --------------------------------------------------------------------------- */

static int print(const json_t *status)
{
	const json_t *maps = value_get(status, "maps"), *map;
	struct text state = value_text(value_get(status, "snapshots"), "directory");
	struct buf out = { 0 }, lines = { 0 }, master = { 0 };
	bool is_outside = false, has_any = false;
	size_t i;

	json_array_foreach(maps, i, map) {
		struct way way = { 0 };

		if (find_way(status, value_text(map, "name"), &way)) {
			add_map(&lines, &master, map, &way, state);
			is_outside |= way.is_outside;
			has_any = true;
		} else {
			buf_str(&lines, "\n# no listener serves ");
			show_text(&lines, value_text(map, "name"));
			buf_byte(&lines, '\n');
		}
		buf_done(&way.endpoint);
	}
	buf_str(&out, "# For main.cf, from the maps and listeners of the running socketmapd. "
		"Then: postfix reload\n");
	if (is_outside)
		buf_str(&out, "# Daemons that are chrooted (column 5 of master.cf; on Debian smtpd,\n"
			"# cleanup and trivial-rewrite are) see no socket outside of\n"
			"# " QUEUE ": make the listener's address\n"
			"# \"unix:" QUEUE "socketmapd/socketmap\", or use an inet one.\n");
	buf_text(&out, buf_view(&lines));
	if (master.n)
		buf_printf(&out, "\n# For master.cf, where virtual(8) delivers:\n"
			   "#   virtual unix - n n - - virtual\n%s"
			   "#     -o soft_bounce=yes\n", buf_cstr(&master));
	show_out(&out);
	buf_done(&out);
	buf_done(&lines);
	buf_done(&master);
	if (!has_any && json_array_size(maps))
		return ctl_fail(CTL_FAILED, "no listener that Postfix could use: the "
				"configuration needs one with protocol = \"socketmap\" and an "
				"address that is known");
	return CTL_DONE;
}

int ctl_postfix(struct ctl *c)
{
	json_t *status;

	if (c->is_json)
		return ctl_fail(CTL_USAGE, "what postfix prints is for main.cf, and not JSON");

	int code = ctl_get_status(c, c->timeout, &status);
	if (!code)
		code = print(status);
	json_decref(status);
	return code;
}
