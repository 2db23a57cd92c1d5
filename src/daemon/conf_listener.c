#include "daemon/conf_parts.h"

#include "base/must.h"
#include "daemon/nearest.h"
#include "daemon/units.h"

#include <arpa/inet.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <sys/un.h>

/* "127.0.0.1:8999" or "[::1]:8999", in one spelling each. */
static bool canonical_inet(struct text t, struct buf *out)
{
	bool is_six = text_starts(t, TEXT("["));
	const char *colon = text_rchr(t, ':');
	unsigned char address[sizeof(struct in6_addr)];
	char host[INET6_ADDRSTRLEN] = "";
	uint64_t port;

	if (!colon || !count_parse(text_from(t, colon + 1), &port) || port < 1 ||
	    port > 65535)
		return false;

	struct text name = text_before(t, colon);
	if (is_six && (name.n < 2 || name.p[name.n - 1] != ']'))
		return false;
	if (is_six)
		name = (struct text){ name.p + 1, name.n - 2 };
	if (name.n >= sizeof host)
		return false;
	memcpy(host, name.p, name.n);
	if (inet_pton(is_six ? AF_INET6 : AF_INET, host, address) != 1)
		return false;
	inet_ntop(is_six ? AF_INET6 : AF_INET, address, host, sizeof host);
	buf_printf(out, "inet:[%s]:%u", host, (unsigned)port);
	return true;
}

/* What FileDescriptorName= of systemd.socket(5) takes. */
static bool is_socket_name(struct text t)
{
	for (size_t i = 0; i < t.n; i++)
		if (t.p[i] <= ' ' || t.p[i] > '~' || t.p[i] == ':')
			return false;
	return t.n >= 1 && t.n <= 255;
}

/* Append the address in its only spelling; returns what is wrong with it, or NULL. */
static const char *canonical_address(const char *address, struct buf *out)
{
	struct text t = text_of(address);

	if (text_starts(t, TEXT("inet:")))
		return canonical_inet(text_skip(t, strlen("inet:")), out)
			       ? NULL
			       : "wants an IP address and a port: "
				 "\"inet:127.0.0.1:8999\", \"inet:[::1]:8999\"";
	if (text_starts(t, TEXT("systemd:"))) {
		buf_text(out, t);
		return is_socket_name(text_skip(t, strlen("systemd:")))
			       ? NULL
			       : "wants a name as in FileDescriptorName= of a .socket unit: "
				 "\"systemd:socketmap\"";
	}
	if (!text_starts(t, TEXT("unix:/")))
		return "wants \"unix:/path\", \"inet:ADDRESS:PORT\" or \"systemd:NAME\"";
	if (t.n - strlen("unix:") >= sizeof((struct sockaddr_un *)NULL)->sun_path)
		return "the path of a unix socket may have 107 bytes";
	buf_text(out, t);
	return NULL;
}

/* Can only this host reach it? */
static bool is_local(struct text address)
{
	return text_starts(address, TEXT("unix:")) || text_starts(address, TEXT("systemd:")) ||
	       text_starts(address, TEXT("inet:127.")) || text_starts(address, TEXT("inet:[::1]:")) ||
	       text_starts(address, TEXT("inet:[::ffff:127."));
}

/* Of a listener for administrators, which has neither maps nor limits to be set. */
static void check_administrators(struct conf *c, const struct node *group,
				 const struct listener_block *b)
{
	static const char *const of_tables[] = {
		"map", "max_request", "request_timeout", "idle_timeout", "write_timeout",
		"max_unread", "max_pipelined",
	};

	for (size_t i = 0; i < sizeof of_tables / sizeof *of_tables; i++)
		if (node_find(group, of_tables[i]))
			conf_error(c, node_find(group, of_tables[i]),
				   "%s is for socketmap and tcp_table", of_tables[i]);
	if (!b->s.address)
		return;
	if (b->s.kind == LISTENER_CONTROL && text_starts(text_of(b->s.address), TEXT("inet:")))
		conf_error(c, node_find(group, "address"),
			   "address: control wants \"unix:/path\" or \"systemd:NAME\", as only "
			   "there it is known who asks");
	else if (!is_local(text_of(b->s.address)))
		conf_note(c, node_find(group, "address"),
			  "address: whoever reaches %s may look up every key of every map",
			  b->s.address);
}

/*
 * Members of the server's group are let in, so they must reach the file, too, when root makes it for
 * a server that becomes somebody else.
 */
static void give_to_service(const struct conf *c, struct listener_block *b)
{
	const struct daemon_settings *d = &c->daemon.s;
	const struct passwd *user = d->user ? getpwnam(d->user) : NULL;
	const struct group *group = user ? getgrgid(user->pw_gid) : NULL;
	const char *name = d->group ? d->group : group ? group->gr_name : NULL;

	if (name && !b->s.group && b->s.address && text_starts(text_of(b->s.address), TEXT("unix:")))
		b->s.group = must_strdup(name);
}

static void unknown_protocol(struct conf *c, const struct node *group, const char *name)
{
	static const char *const known[] = { "socketmap", "tcp_table", "http", "control" };
	struct nearest nearest = { .name = text_of(name) };
	struct buf hint = { 0 };

	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		nearest_try(&nearest, known[i]);
	nearest_hint(&nearest, &hint);
	conf_error(c, node_find(group, "protocol"), "unknown protocol \"%s\"%s: %s", name,
		   buf_cstr(&hint), option_find(listener_rows, TEXT("protocol"))->help);
	buf_done(&hint);
}

static void check_protocol(struct conf *c, const struct node *group,
			   struct listener_block *b)
{
	if (!b->protocol)
		return;
	if (strcmp(b->protocol, "http") == 0)
		b->s.kind = LISTENER_HTTP;
	else if (strcmp(b->protocol, "control") == 0)
		b->s.kind = LISTENER_CONTROL;
	if (b->s.kind != LISTENER_TABLES) {
		check_administrators(c, group, b);
		if (b->s.kind == LISTENER_CONTROL)
			give_to_service(c, b);
		return;
	}
	b->s.protocol = protocol_find(text_of(b->protocol));
	if (!b->s.protocol) {
		unknown_protocol(c, group, b->protocol);
		return;
	}
	if (b->s.max_request == 0)
		b->s.max_request = b->s.protocol->max_request;
	if (b->s.idle_timeout == UINT64_MAX)
		b->s.idle_timeout = b->s.protocol->idle_timeout;
	if (b->s.protocol->names_map && b->s.map)
		conf_error(c, node_find(group, "map"),
			   "map: %s clients name the map themselves", b->protocol);
	if (!b->s.protocol->names_map && !b->s.map)
		conf_error(c, group, "map is missing: %s clients cannot name it",
			   b->protocol);
}

static void check_address(struct conf *c, const struct node *group,
			  const struct listener_block *b)
{
	static const char *const of_unix[] = { "owner", "group", "mode" };
	const struct node *where = node_find(group, "address");
	struct buf address = { 0 }, other = { 0 };

	if (!b->s.address)
		return;

	const char *why = canonical_address(b->s.address, &address);
	if (why)
		conf_error(c, where, "address: %s", why);
	for (size_t i = 0; !why && i < c->settings->n_listeners; i++) {
		const struct listener_settings *l = c->settings->listeners[i];

		buf_clear(&other);
		if (l->address && !canonical_address(l->address, &other) &&
		    text_eq(buf_view(&other), buf_view(&address)))
			conf_error(c, where, "address: a second listener on %s",
				   b->s.address);
	}
	for (size_t i = 0; i < sizeof of_unix / sizeof *of_unix; i++)
		if (!text_starts(text_of(b->s.address), TEXT("unix:")) &&
		    node_find(group, of_unix[i]))
			conf_error(c, node_find(group, of_unix[i]),
				   "%s is for unix: addresses", of_unix[i]);
	buf_done(&address);
	buf_done(&other);
}

static void read_listener(struct conf *c, const struct node *group)
{
	struct listener_block b = { .s.idle_timeout = UINT64_MAX };
	const struct target targets[] = { { .rows = listener_rows, .block = &b }, { 0 } };
	struct buf fingerprint = { 0 };

	options_default(listener_rows, c->dir, &b);
	conf_apply(c, group, targets);
	conf_complete(c, group, listener_rows, NULL);
	check_protocol(c, group, &b);
	check_address(c, group, &b);
	options_fingerprint(listener_rows, &b, &fingerprint);
	b.s.fingerprint = buf_take(&fingerprint);

	struct settings *s = c->settings;
	s->listeners =
		must(realloc(s->listeners, (s->n_listeners + 1) * sizeof *s->listeners));
	s->listeners[s->n_listeners] = must_calloc(1, sizeof b.s);
	*s->listeners[s->n_listeners++] = b.s;
	b.s = (struct listener_settings){ 0 };
	options_clear(listener_rows, &b);
}

void conf_listeners(struct conf *c)
{
	const struct node *list = node_find(&c->root, "listeners"), *groups;
	size_t n = conf_blocks(c, &c->root, "listeners", &groups);

	for (size_t i = 0; i < n; i++)
		read_listener(c, &groups[i]);
	if (list && list->type == NODE_LIST && list->n == 0)
		conf_error(c, list, "listeners: there must be one");
}

void conf_listeners_check(struct conf *c)
{
	for (size_t i = 0; i < c->settings->n_listeners; i++) {
		const struct listener_settings *l = c->settings->listeners[i];
		const struct node *group = &node_find(&c->root, "listeners")->items[i];
		struct nearest nearest = { .name = text_of(l->map) };
		struct buf hint = { 0 };

		for (size_t m = 0; l->map && m < c->settings->n_maps; m++)
			nearest_try(&nearest, c->settings->maps[m]->name);
		nearest_hint(&nearest, &hint);
		if (l->map && !conf_map_find(c, l->map))
			conf_error(c, node_find(group, "map"), "there is no map \"%s\"%s",
				   l->map, buf_cstr(&hint));
		buf_done(&hint);
	}
}
