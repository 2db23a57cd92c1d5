#include "ctl/value.h"

#include <math.h>

json_t *value_parse(struct text document)
{
	return document.n ? json_loadb(document.p, document.n, JSON_ALLOW_NUL, NULL) : NULL;
}

json_t *value_get(const json_t *o, const char *name)
{
	json_t *v = json_object_get(o, name);

	return json_is_null(v) ? NULL : v;
}

struct text value_string(const json_t *v)
{
	return (struct text){ json_string_value(v), json_string_length(v) };
}

struct text value_text(const json_t *o, const char *name)
{
	return value_string(value_get(o, name));
}

bool value_is(const json_t *o, const char *name, const char *text)
{
	return text_is(value_text(o, name), text);
}

double value_number(const json_t *o, const char *name)
{
	const json_t *v = value_get(o, name);

	return json_is_number(v) ? json_number_value(v) : NAN;
}

bool value_true(const json_t *o, const char *name)
{
	return json_is_true(json_object_get(o, name));
}
