/* fold.h - Unicode case folding, as Postfix folds lookup keys. Knows utf8proc. */
#ifndef BASE_FOLD_H
#define BASE_FOLD_H

#include "base/buf.h"

/*
 * Append `t`, fully case folded, to `out`: ß becomes ss, İ becomes i + U+0307.
 * No normalisation, no IDNA. False, with `out` unchanged, when `t` is not
 * valid UTF-8 (overlong forms, surrogates and > U+10FFFF included).
 *
 * Source: Postfix src/util/casefold.c (ICU U_FOLD_CASE_DEFAULT), which
 * utf8proc's UTF8PROC_CASEFOLD equals on every code point; probed, see t/unit/fold.c.
 */
bool fold(struct text t, struct buf *out);

/*
 * Append to `out` what all texts have in common that some directory takes for the same as `t`:
 * folded, in compatibility decomposition, without accents, control characters and what cannot
 * be seen, white space as blanks. Servers differ: RFC 4518 2 says so but for accents, OpenLDAP
 * does half of it with old tables, Active Directory drops accents. False, with `out`
 * unchanged, when `t` is not UTF-8.
 */
bool fold_alike(struct text t, struct buf *out);

/* Is `t` valid UTF-8? */
bool utf8_valid(struct text t);

/* The library and its version, for --version. */
const char *fold_version(void);

#endif
