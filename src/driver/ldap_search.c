/*
 * One search: its pages, its ranges, its limits. Only a whole result is a success, and of
 * what a server may send there is an end.
 */
#include "driver/ldap_entry.h"

#include "base/clock.h"
#include "base/must.h"

#include <stdlib.h>
#include <strings.h>

/* One message; the entries that wait to be given out. */
#define MESSAGE_BYTES_MAX ((ber_len_t)64 << 20)
#define BATCH_BYTES_MAX ((size_t)256 << 20)

/* Of a search without pages, as many entries are given out at a time. */
#define BATCH_ENTRIES 256

struct run {
	struct session *s;
	const struct search *what;
	struct buf *why;
	unsigned opened;		/* the connection it runs on */
	bool is_part;			/* it fetches a range itself: those are left alone */
	bool is_cancelled;
	size_t n_seen;

	struct entry **list;		/* not given out yet */
	size_t n, room, bytes;

	struct berval cookie;		/* of the next page */
	bool is_paging;			/* one has come */
	uint64_t watched_at;
	struct search_result result;
};

static struct search_result run_search(struct session *s, const struct search *what,
				       bool is_part, struct buf *ret_why);

/* --- attributes in parts ----------------------------------------------------------- */

/* Somebody asked for exactly this. */
static bool is_asked_for(const struct search *what, const char *name)
{
	for (char **a = what->attributes; a && *a; a++)
		if (strcasecmp(*a, name) == 0)
			return true;
	return false;
}

/* Fetch the part of `a` that begins at `from`. LDAP_SUCCESS, or what the search failed of. */
static int fetch_part(struct run *r, struct entry *e, struct attribute *a, const char *plain,
		      size_t from, struct range *ret)
{
	struct entry *part = NULL;
	struct buf name = { 0 };
	char *attributes[2] = { NULL };
	struct search what = {
		.base = e->dn, .scope = LDAP_SCOPE_BASE, .filter = "(objectClass=*)",
		.attributes = attributes, .on_entry = entry_take, .ctx = &part,
	};
	struct search_result result;

	buf_printf(&name, "%s;range=%zu-*", plain, from);
	attributes[0] = buf_take(&name);
	result = run_search(r->s, &what, true, r->why);
	free(result.matched);
	free(attributes[0]);
	/* That this entry has gone says nothing about the base of the search itself. */
	if (result.code == LDAP_NO_SUCH_OBJECT)
		result.code = LDAP_OTHER;
	else if (result.code == LDAP_SUCCESS &&
		 !(part && range_take(e, a, part, plain, from, ret)))
		result.code = LDAP_DECODING_ERROR;
	entry_free(part);
	return result.code;
}

/* Fetch the rest of an attribute of which the server has sent the beginning. */
static int fetch_rest(struct run *r, struct entry *e, size_t i)
{
	struct attribute *a = &e->attributes[i];
	struct range range;
	char *plain = NULL;
	int code = LDAP_DECODING_ERROR;

	if (range_parse(a->name, &range) && range.from == 0 && range_is_whole(a, &range)) {
		plain = range_plain(a->name, &range);
		code = LDAP_SUCCESS;
	}
	while (code == LDAP_SUCCESS && !range.is_last)
		code = fetch_part(r, e, a, plain, range.to + 1, &range);
	if (code != LDAP_SUCCESS) {
		free(plain);
		return code;
	}
	free(a->name);
	a->name = plain;
	return range_drop_empty(e, i) ? LDAP_SUCCESS : LDAP_DECODING_ERROR;
}

static int complete(struct run *r, struct entry *e)
{
	for (size_t i = 0; i < e->n; i++) {
		const char *name = e->attributes[i].name;
		size_t n = e->n;
		int code;

		if (!range_is(name) || is_asked_for(r->what, name))
			continue;
		code = fetch_rest(r, e, i);
		if (code != LDAP_SUCCESS) {
			buf_str(r->why, "an attribute comes in parts, and not all came: ");
			return code;
		}
		if (e->n < n)
			i--;
	}
	return LDAP_SUCCESS;
}

/* --- giving out ------------------------------------------------------------------- */

static void forget(struct run *r)
{
	for (size_t i = 0; i < r->n; i++)
		entry_free(r->list[i]);
	r->n = r->bytes = 0;
}

static bool has_connection(const struct run *r)
{
	return r->s->ld && r->s->opened == r->opened;
}

/* All that has come: whole entries, in their order. */
static int give_out(struct run *r)
{
	int code = LDAP_SUCCESS;

	session_watch(r->s, 0);
	r->watched_at = 0;
	for (size_t i = 0; i < r->n && code == LDAP_SUCCESS && !r->is_cancelled; i++) {
		if (!r->is_part)
			code = complete(r, r->list[i]);
		if (code != LDAP_SUCCESS)
			break;
		r->is_cancelled = !r->what->on_entry(r->what->ctx, r->list[i]);
		r->list[i] = NULL;
	}
	forget(r);
	if (r->is_cancelled)
		return LDAP_USER_CANCELLED;
	if (code == LDAP_SUCCESS && !has_connection(r))
		return LDAP_SERVER_DOWN;
	return code;
}

static int keep(struct run *r, LDAPMessage *message)
{
	struct entry *e = entry_new(r->s->ld, message, r->why);

	if (!e) {
		buf_str(r->why, ": ");
		return LDAP_DECODING_ERROR;
	}
	if (r->n == r->room) {
		r->room = r->room ? r->room * 2 : 16;
		r->list = must(reallocarray(r->list, r->room, sizeof *r->list));
	}
	r->list[r->n++] = e;
	r->bytes += e->bytes;
	r->n_seen++;
	if (r->what->size_limit && r->n_seen > r->what->size_limit)
		return LDAP_SIZELIMIT_EXCEEDED;
	if (r->bytes > BATCH_BYTES_MAX) {
		buf_printf(r->why, "more than %zu MiB at once, a smaller page_size may help: ",
			   BATCH_BYTES_MAX >> 20);
		return LDAP_SIZELIMIT_EXCEEDED;
	}
	/* Between pages, the connection serves nobody else: all of a page has come first. */
	if (!r->what->page_size && r->n >= BATCH_ENTRIES)
		return give_out(r);
	return LDAP_SUCCESS;
}

/* --- messages --------------------------------------------------------------------- */

/*
 * Have the library watched while it waits. A lookup has what is left of its time, all in
 * all; a scan has it anew for each message, give or take a tenth: to say so costs. Another
 * tenth is for the server to hear of it before it takes us for dead.
 */
static void watch(struct run *r)
{
	struct session *s = r->s;
	bool is_scan = s->purpose == FOR_SCANS;
	uint64_t now = clock_msec(), left = session_left(s);

	if (r->watched_at && (!is_scan || now - r->watched_at < s->scan_idle / 10))
		return;
	r->watched_at = now;
	if (is_scan) {
		uint64_t idle = s->scan_idle - s->scan_idle / 10;

		driver_alive();
		left = left < idle ? left : idle;
	}
	session_watch(s, left);
}

static int library_code(LDAP *ld)
{
	int code = LDAP_SUCCESS;

	ldap_get_option(ld, LDAP_OPT_RESULT_CODE, &code);
	return code == LDAP_SUCCESS ? LDAP_SERVER_DOWN : code;
}

/*
 * The cookie of the next page, or the empty one. Without the control in its answer, a server
 * has not said whether this was all.
 */
static int parse_cookie(struct run *r, LDAPControl **controls)
{
	LDAPControl *page = ldap_control_find(LDAP_CONTROL_PAGEDRESULTS, controls, NULL);
	struct berval cookie = { 0 };
	ber_int_t estimate;

	if (!page) {
		buf_str(r->why, r->is_paging ? "the server has lost its page: " :
			"the server ignores paging, page_size = 0 does without: ");
		return LDAP_CONTROL_NOT_FOUND;
	}
	if (ldap_parse_pageresponse_control(r->s->ld, page, &estimate, &cookie) !=
	    LDAP_SUCCESS) {
		buf_str(r->why, "the server's page control cannot be decoded: ");
		return LDAP_DECODING_ERROR;
	}
	ber_memfree(r->cookie.bv_val);
	r->cookie = cookie;
	r->is_paging = true;
	return LDAP_SUCCESS;
}

/* What the server says at the end of a search, or of one page. */
static int parse_end(struct run *r, LDAPMessage *message)
{
	LDAPControl **controls = NULL;
	char *matched = NULL;
	int code = LDAP_OTHER;
	int parsed = ldap_parse_result(r->s->ld, message, &code, &matched, NULL, NULL,
				       &controls, 0);

	if (parsed != LDAP_SUCCESS)
		code = parsed;
	else if (code < 0)
		code = LDAP_OTHER;	/* only the library may say these */
	if (code == LDAP_SUCCESS && r->what->page_size)
		code = parse_cookie(r, controls);
	if (code == LDAP_NO_SUCH_OBJECT && matched && *matched)
		r->result.matched = must_strdup(matched);
	ldap_memfree(matched);
	ldap_controls_free(controls);
	return code;
}

/* One message; true: it was the last one. */
static bool handle(struct run *r, LDAPMessage *message, int *ret_code)
{
	switch (ldap_msgtype(message)) {
	case LDAP_RES_SEARCH_ENTRY:
		*ret_code = keep(r, message);
		return false;
	case LDAP_RES_SEARCH_REFERENCE:
		r->result.has_references = true;
		return false;
	case LDAP_RES_INTERMEDIATE:
		return false;
	case LDAP_RES_SEARCH_RESULT:
		*ret_code = parse_end(r, message);
		return true;
	default:
		buf_str(r->why, "the server answers something else: ");
		*ret_code = LDAP_PROTOCOL_ERROR;
		return false;
	}
}

static int receive(struct run *r, int id)
{
	int code = LDAP_SUCCESS;
	bool is_over = false;

	while (code == LDAP_SUCCESS && !is_over) {
		LDAPMessage *message = NULL;
		int type;

		watch(r);
		type = ldap_result(r->s->ld, id, LDAP_MSG_ONE, NULL, &message);
		if (type > 0)
			is_over = handle(r, message, &code);
		else
			code = type < 0 ? library_code(r->s->ld) : LDAP_TIMEOUT;
		ldap_msgfree(message);
	}
	if (!is_over && has_connection(r)) {
		watch(r);
		ldap_abandon_ext(r->s->ld, id, NULL, NULL);
	}
	return code;
}

/* --- searches --------------------------------------------------------------------- */

/* Of a length that a server announces, the library allocates all at once. */
static void limit_messages(LDAP *ld)
{
	ber_len_t most = MESSAGE_BYTES_MAX;
	Sockbuf *sb = NULL;

	if (ldap_get_option(ld, LDAP_OPT_SOCKBUF, &sb) == LDAP_OPT_SUCCESS && sb)
		ber_sockbuf_ctrl(sb, LBER_SB_OPT_SET_MAX_INCOMING, &most);
}

/*
 * Send it. Lookups tell the server of their time limit, as Postfix does. Scans do not: a
 * server refuses more than it is ready to give, and gives as much to those that do not ask.
 */
static int send_search(struct run *r, int *ret_id)
{
	const struct search *what = r->what;
	uint64_t left = session_left(r->s);
	/* In whole seconds, less than the watchdog's: a slow search is not a dead server. */
	struct timeval limit = { .tv_sec = (time_t)(left < 2000 ? 1 : left / 1000) };
	LDAPControl *page = NULL, *controls[2] = { NULL };
	int code = LDAP_SUCCESS;

	watch(r);
	if (what->page_size)
		code = ldap_create_page_control(r->s->ld, (ber_int_t)what->page_size,
						&r->cookie, 1, &page);
	controls[0] = page;
	if (code == LDAP_SUCCESS)
		code = ldap_search_ext(r->s->ld, what->base, what->scope, what->filter,
				       what->attributes, 0, controls, NULL,
				       r->s->purpose == FOR_LOOKUPS ? &limit : NULL,
				       (int)what->size_limit, ret_id);
	ldap_control_free(page);
	return code;
}

/* Until there are no more pages. */
static int search_all(struct run *r)
{
	int code, id;

	do {
		code = send_search(r, &id);
		if (code == LDAP_SUCCESS)
			code = receive(r, id);
		if (code == LDAP_SUCCESS)
			code = give_out(r);
	} while (code == LDAP_SUCCESS && r->cookie.bv_len);
	return code;
}

static const char *scope_name(int scope)
{
	return scope == LDAP_SCOPE_BASE ? "base" : scope == LDAP_SCOPE_ONELEVEL ? "one" : "sub";
}

/* What is sent, for people: base and filter are escaped already. */
static void tell_query(const struct search *what)
{
	struct buf query = { 0 };

	if (!driver_tells_queries())
		return;
	buf_printf(&query, "base \"%s\" scope %s filter \"%s\"", what->base,
		   scope_name(what->scope), what->filter);
	for (char **a = what->attributes; a && *a; a++)
		buf_printf(&query, "%s%s", a == what->attributes ? " attributes " : " ", *a);
	driver_query(buf_view(&query));
	buf_done(&query);
}

static struct search_result run_search(struct session *s, const struct search *what,
				       bool is_part, struct buf *ret_why)
{
	struct run r = {
		.s = s, .what = what, .why = ret_why, .opened = s->opened, .is_part = is_part,
	};

	if (s->ld) {
		tell_query(what);
		limit_messages(s->ld);
		r.result.code = search_all(&r);
		session_watch(s, 0);
	} else {
		r.result.code = LDAP_SERVER_DOWN;
	}
	forget(&r);
	free(r.list);
	ber_memfree(r.cookie.bv_val);
	return r.result;
}

struct search_result search_run(struct session *s, const struct search *what,
				struct buf *ret_why)
{
	return run_search(s, what, false, ret_why);
}

int search_entry(struct session *s, const char *dn, const char *filter, char **attributes,
		 struct entry **ret, struct buf *ret_why)
{
	const struct search what = {
		.base = dn, .scope = LDAP_SCOPE_BASE, .filter = filter,
		.attributes = attributes, .on_entry = entry_take, .ctx = ret,
	};
	struct search_result result = search_run(s, &what, ret_why);

	free(result.matched);
	return result.code;
}
