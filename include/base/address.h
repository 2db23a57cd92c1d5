/* address.h - mail addresses as Postfix takes them apart and puts them together. Pure. */
#ifndef BASE_ADDRESS_H
#define BASE_ADDRESS_H

#include "base/buf.h"

/* An address taken apart. Views; `local` is unquoted and holds the extension. */
struct address {
	struct text local;		/* "a b+ext" of `"a b+ext"@dom` */
	struct text domain;		/* what stands behind the last '@' */
	bool has_domain;		/* there is an '@' */
	bool was_quoted;		/* the local part came in quoted form */
};

/*
 * Take `key` apart at its last '@' (not at one in a quoted string that has nothing
 * behind it). Never fails: what is no address comes back as a local part.
 *
 * local      scratch for an unquoted local part; cleared first
 * ret        views into `key` and `local`
 *
 * Source: RFC 5322 3.2.4 (quoted-string), Postfix src/global/quote_822_local.c.
 */
void address_parse(struct text key, struct buf *local, struct address *ret);

/*
 * Where the extension of an unquoted local part starts: a position p with
 * 0 < p < local.n, or local.n for none. local.p[p] is the delimiter.
 *
 * delimiters               recipient_delimiter, a set; the first of its characters splits
 * owner_request_special    with '-' in the set, owner-x and x-request are whole
 *
 * postmaster, mailer-daemon and double-bounce never have one.
 * Source: Postfix src/global/split_addr.c.
 */
size_t address_extension(struct text local, struct text delimiters,
			 bool owner_request_special);

/* Append a local part, in double quotes if it is no dot-atom (quote_822_local.c). */
void address_quote_local(struct text local, struct buf *out);

/* Append a local part in double quotes, needed or not. */
void address_quote_always(struct text local, struct buf *out);

/* Does address_quote_local() change it? */
bool address_needs_quotes(struct text local);

/*
 * Rewrite a list of addresses in RFC 822 syntax (`a@y, Full Name <b@y>`,
 * `"a b"@y`, comments, groups; separated by commas, blanks, newlines) into a
 * list joined with ", ", inserting `extension` before the last '@' of each.
 *
 * out        the list is appended; quoted where needed
 *
 * False, with `out` unchanged, when there is no address in `list`, or when the
 * result is longer than any reply may be (100000 bytes).
 * Source: Postfix src/global/mail_addr_crunch.c, tok822_parse.c; postfix-client.md 5.5.
 */
bool address_list_extend(struct text list, struct text extension, struct buf *out);

#endif
