#include "daemon/conf_parts.h"

#include "base/fold.h"
#include "base/hash.h"
#include "base/must.h"

/* Whether and how something is asked; and secrets, of which not even a digest is kept. */
#define APART (OPTION_TUNING | OPTION_SECRET)

static void add(struct buf *out, const char *name, struct text value)
{
	buf_printf(out, "%s=", name);
	buf_escaped(out, value);
	buf_byte(out, '\n');
}

static void add_block(const struct option_row *rows, const void *block, struct buf *out)
{
	for (const struct option_row *r = rows; r->name; r++) {
		struct buf value = { 0 };

		if (r->flags & APART)
			continue;
		option_print(r, (const char *)block + r->offset, &value);
		add(out, r->name, buf_view(&value));
		buf_done(&value);
	}
}

/* An option without a row counts: it may be of a program we know nothing of. */
static void add_options(const struct options *options, const struct option_row *rows,
			const struct option_row *passed_on, struct buf *out)
{
	for (size_t i = 0; i < options->n; i++) {
		const struct driver_option *o = &options->list[i];
		const struct option_row *row = option_find(rows, text_of(o->name));

		if (!row)
			row = option_find(passed_on, text_of(o->name));
		if (!row || !(row->flags & APART))
			add(out, o->name, text_of(o->value));
	}
}

void conf_identify_source(struct source_settings *s, const struct driver_kind *kind)
{
	struct buf text = { 0 };

	add_block(source_rows, s, &text);
	/* Our own drivers are told some of source_rows, conf_pass_limits(). */
	add_options(&s->options, kind ? kind->source_rows : NULL, kind ? source_rows : NULL,
		    &text);
	s->identity = buf_take(&text);
}

/*
 * Keys are kept folded, so the library that folds belongs to it: another Unicode version
 * would ask a restored mirror for keys in a spelling that it does not hold.
 */
void conf_identify_table(struct table_draft *d, const struct source_settings *source,
			 struct text domain_files)
{
	struct table_settings *s = &d->block.s;
	unsigned char digest[HASH_CHECKSUM_BYTES];
	struct buf text = { 0 }, hex = { 0 };

	buf_printf(&text, "%s\n%s", fold_version(), source ? source->identity : "");
	add_block(table_rows, &d->block, &text);
	add_options(&s->options, d->kind ? d->kind->table_rows : NULL, NULL, &text);
	buf_text(&text, domain_files);

	struct text whole = buf_view(&text);
	must(hash_checksum(&whole, 1, digest) ? digest : NULL);
	for (size_t i = 0; i < sizeof digest; i++)
		buf_printf(&hex, "%02x", digest[i]);
	s->identity = buf_take(&hex);
	buf_done(&text);
}
