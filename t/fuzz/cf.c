/* Postfix table files: names are unique, and what was read can be written and read. */
#include "fuzz/fuzz.h"

#include "base/cf.h"

#include <ctype.h>

static void check_trimmed(const char *s)
{
	size_t n = strlen(s);

	assert(n == 0 ||
	       (!isspace((unsigned char)s[0]) && !isspace((unsigned char)s[n - 1])));
}

static void check_entries(const struct cf *cf, size_t lines)
{
	for (size_t i = 0; i < cf->n; i++) {
		const struct cf_entry *e = &cf->entries[i];

		assert(e->name[0] && !strpbrk(e->name, "=\n \t"));
		assert(!strchr(e->value, '\n'));
		check_trimmed(e->value);
		assert(e->line >= 1 && e->line <= lines);
		assert(cf_get(cf, e->name) == e->value); /* so no name is there twice */
	}
	assert(!cf_get(cf, ""));
}

static void check_again(const struct cf *cf)
{
	struct buf text = { 0 }, why = { 0 };
	struct cf again;

	for (size_t i = 0; i < cf->n; i++)
		buf_printf(&text, "# x\n%s =\n\n  %s\n", cf->entries[i].name,
			   cf->entries[i].value);
	assert(cf_parse(buf_view(&text), &again, &why));
	assert(again.n == cf->n);
	for (size_t i = 0; i < cf->n; i++) {
		assert(strcmp(again.entries[i].name, cf->entries[i].name) == 0);
		/* a value that begins with '#' is a comment on a line of its own */
		if (cf->entries[i].value[0] != '#')
			assert(strcmp(again.entries[i].value, cf->entries[i].value) == 0);
	}
	cf_done(&again);
	buf_done(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct text file = fuzz_copy(fuzz_text(data, size));
	struct buf why = { 0 };
	struct cf cf = { NULL, 99 };

	if (cf_parse(file, &cf, &why)) {
		assert(why.n == 0);
		check_entries(&cf, fuzz_count(file, '\n') + 1);
		check_again(&cf);
	} else {
		assert(cf.n == 0 && strncmp(buf_cstr(&why), "line ", 5) == 0);
	}
	cf_done(&cf);
	buf_done(&why);
	fuzz_free(file);
	return 0;
}
