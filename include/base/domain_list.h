/* domain_list.h - the `domain` parameter of Postfix tables: which keys are looked up. */
#ifndef BASE_DOMAIN_LIST_H
#define BASE_DOMAIN_LIST_H

#include "base/buf.h"

struct domain_list;

/*
 * Parse a list: names, `!name`, `/file` and `!/file` (read now), and
 * `texthash:/file` (read now). Other type:table items are refused.
 * NULL with a reason appended to `ret_why`. The caller frees it.
 *
 * First match wins; the end of the list is no match; comparison is exact after case
 * folding, but keys of texthash: files are not folded.
 * Source: Postfix src/util/match_list.c, src/global/db_common.c; postfix-tables.md 6.
 */
struct domain_list *domain_list_new(struct text list, struct buf *ret_why);
void domain_list_free(struct domain_list *list);	/* drops one reference; NULL is fine */

/* One more reference, for another thread; the parser's is the first. `list`; NULL is fine. */
struct domain_list *domain_list_ref(struct domain_list *list);

/*
 * May `key`, folded, be looked up? False for keys without '@', with an empty local
 * part, or with a domain that the list does not match; such keys are not found.
 */
bool domain_list_admits(const struct domain_list *list, struct text key);

#endif
