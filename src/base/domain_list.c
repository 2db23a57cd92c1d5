#include "base/domain_list.h"

#include "base/cf.h"
#include "base/file.h"
#include "base/fold.h"
#include "base/must.h"

#include <stdatomic.h>
#include <stdlib.h>

#define FILE_BYTES_MAX ((size_t)64 << 20)
#define FILE_DEPTH_MAX 10	/* files that name files */

/* Comparison is exact, so only the first item with a name can ever match. */
struct item {
	char *name;		/* folded */
	size_t n;
	size_t place;		/* in the list, to find the first of equal names */
	bool admits;		/* false after an odd number of '!' */
};

struct domain_list {
	struct item *items;	/* first as they come, then sorted by name and unique */
	size_t n, cap;
	atomic_uint refs;	/* all that changes once it is parsed */
};

static int compare_names(const void *a, const void *b)
{
	const struct item *x = a, *y = b;
	int c = memcmp(x->name, y->name, x->n < y->n ? x->n : y->n);

	return c ? c : (x->n > y->n) - (x->n < y->n);
}

static int compare_items(const void *a, const void *b)
{
	const struct item *x = a, *y = b;
	int c = compare_names(a, b);

	return c ? c : (x->place > y->place) - (x->place < y->place);
}

/* Take over the bytes of `name`. */
static void add(struct domain_list *l, struct buf *name, bool admits)
{
	size_t n = name->n;

	if (l->n == l->cap) {
		l->cap = l->cap ? l->cap * 2 : 8;
		l->items = must(realloc(l->items, l->cap * sizeof *l->items));
	}
	l->items[l->n] = (struct item){ buf_take(name), n, l->n, admits };
	l->n++;
}

/*
 * The keys of a texthash: file. Postfix asks for the folded domain and does not fold the
 * keys of the file, so what is stored in capitals never matches; it ignores lines that
 * are not UTF-8 and lines without a value (src/util/dict_thash.c). It also knows quotes
 * in keys, which no domain has.
 */
static bool add_texthash(struct domain_list *l, const char *path, bool admits,
			 struct buf *ret_why)
{
	struct buf file = { 0 }, line = { 0 };
	unsigned lineno = 0, first;
	bool ok = file_read(path, FILE_BYTES_MAX, &file, ret_why);
	struct text rest = buf_view(&file);

	while (ok && cf_next_line(&rest, &lineno, &line, &first)) {
		struct text list = buf_view(&line), key, value;
		struct buf name = { 0 };

		if (text_trim((struct text){ line.p, 1 }).n == 0 || !utf8_valid(list) ||
		    !text_next(&list, " \t\r\n\v\f", &key) ||
		    !text_next(&list, " \t\r\n\v\f", &value))
			continue;
		buf_text(&name, key);
		add(l, &name, admits);
	}
	buf_done(&line);
	buf_done(&file);
	return ok;
}

static bool add_list(struct domain_list *l, struct text list, bool admits, int depth,
		     struct buf *ret_why);

/* The items of a /file, one or more a line; lines that start with '#' are comments. */
static bool add_file(struct domain_list *l, const char *path, bool admits, int depth,
		     struct buf *ret_why)
{
	struct buf file = { 0 };
	struct text rest, line;
	bool ok = depth < FILE_DEPTH_MAX;

	if (!ok)
		buf_printf(ret_why, "%s: too many files that name files", path);
	ok = ok && file_read(path, FILE_BYTES_MAX, &file, ret_why);
	rest = buf_view(&file);
	while (ok && text_next(&rest, "\n", &line))
		if (line.p[0] != '#')
			ok = add_list(l, line, admits, depth + 1, ret_why);
	buf_done(&file);
	return ok;
}

static bool refuse(struct text item, const char *why, struct buf *ret_why)
{
	buf_escaped(ret_why, item);
	buf_printf(ret_why, ": %s", why);
	return false;
}

/* Add one item, without its '!'s. */
static bool add_item(struct domain_list *l, struct text item, bool admits, int depth,
		     struct buf *ret_why)
{
	const struct text texthash = TEXT("texthash:");
	struct buf name = { 0 };
	bool ok;

	if (item.n == 0)
		return refuse(TEXT("!"), "nothing to negate", ret_why);
	if (text_chr(item, '{') || text_chr(item, '}') || text_chr(item, '\0'))
		return refuse(item, "not a domain", ret_why);
	if (item.p[0] == '/' || text_starts(item, texthash)) {
		bool is_file = item.p[0] == '/';

		buf_text(&name, is_file ? item : text_skip(item, texthash.n));
		ok = is_file ? add_file(l, buf_cstr(&name), admits, depth, ret_why) :
			       add_texthash(l, buf_cstr(&name), admits, ret_why);
		buf_done(&name);
		return ok;
	}
	if (item.p[0] != '[' && text_chr(item, ':'))
		return refuse(item, "of tables, only texthash: is supported", ret_why);
	ok = fold(item, &name);
	if (ok)
		add(l, &name, admits);
	buf_done(&name);
	return ok || refuse(item, "not UTF-8", ret_why);
}

static bool add_list(struct domain_list *l, struct text list, bool admits, int depth,
		     struct buf *ret_why)
{
	struct text item;

	while (text_next(&list, ", \t\r\n", &item)) {
		bool item_admits = admits;

		if (item.p[0] == '#')
			break;	/* Postfix warns, and ignores the rest of the line */
		for (; item.n && item.p[0] == '!'; item = text_skip(item, 1))
			item_admits = !item_admits;
		if (!add_item(l, item, item_admits, depth, ret_why))
			return false;
	}
	return true;
}

/* Sort by name and keep the first of equal ones. */
static void settle(struct domain_list *l)
{
	size_t kept = 0;

	if (l->n == 0)
		return;
	qsort(l->items, l->n, sizeof *l->items, compare_items);
	for (size_t i = 1; i < l->n; i++)
		if (compare_names(&l->items[kept], &l->items[i]) != 0)
			l->items[++kept] = l->items[i];
		else
			free(l->items[i].name);
	l->n = kept + 1;
}

struct domain_list *domain_list_new(struct text list, struct buf *ret_why)
{
	struct domain_list *l = must_calloc(1, sizeof *l);

	l->refs = 1;
	if (add_list(l, list, true, 0, ret_why)) {
		settle(l);
		return l;
	}
	domain_list_free(l);
	return NULL;
}

struct domain_list *domain_list_ref(struct domain_list *list)
{
	if (list)
		atomic_fetch_add_explicit(&list->refs, 1, memory_order_relaxed);
	return list;
}

void domain_list_free(struct domain_list *list)
{
	if (!list || atomic_fetch_sub_explicit(&list->refs, 1, memory_order_acq_rel) > 1)
		return;
	for (size_t i = 0; i < list->n; i++)
		free(list->items[i].name);
	free(list->items);
	free(list);
}

bool domain_list_admits(const struct domain_list *list, struct text key)
{
	const char *at = text_rchr(key, '@');

	if (!at || at == key.p || list->n == 0)
		return false;

	struct text domain = text_from(key, at + 1);
	struct item wanted = { .name = (char *)domain.p, .n = domain.n };
	const struct item *found = bsearch(&wanted, list->items, list->n, sizeof wanted,
					   compare_names);
	return found && found->admits;
}
