/* value.h - reading JSON that may lack anything, or have it in another shape. */
#ifndef CTL_VALUE_H
#define CTL_VALUE_H

#include "base/text.h"

#include <jansson.h>

/* Parse a whole document; NULL: it is none. Ends with json_decref(). */
json_t *value_parse(struct text document);

/* A member of an object; NULL when it is not there, null, or `o` is no object. Borrowed. */
json_t *value_get(const json_t *o, const char *name);

/* A string; {NULL, 0} when there is none. A view into `o`, which may hold anything. */
struct text value_text(const json_t *o, const char *name);

/* The same of a value that may be a string; of NULL, too. */
struct text value_string(const json_t *v);

/* Is it this string? */
bool value_is(const json_t *o, const char *name, const char *text);

/* A number, or NAN when there is none. */
double value_number(const json_t *o, const char *name);

/* true; anything else is false. */
bool value_true(const json_t *o, const char *name);

#endif
