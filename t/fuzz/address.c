/*
 * Addresses and lists of them. Line 1 is a recipient_delimiter, line 2 a key, the rest a
 * list, as a directory might hold it.
 */
#include "fuzz/fuzz.h"

#include "base/address.h"

#include <ctype.h>

static bool lies_in(struct text part, struct text whole)
{
	return part.n == 0 || (part.p >= whole.p && part.p + part.n <= whole.p + whole.n);
}

/* Quoted again, an address is taken apart into the same parts. */
static void check_parts(struct text key, struct address *a)
{
	struct buf local = { 0 }, quoted = { 0 };
	struct address again;

	address_parse(key, &local, a);
	/* an '@' inside the one quoted string of a key parts nothing */
	assert(a->has_domain || a->was_quoted || !text_chr(key, '@'));
	assert(lies_in(a->domain, key));
	assert(lies_in(a->local, key) || lies_in(a->local, buf_view(&local)));
	assert(!text_chr(a->domain, '@') && (a->has_domain || a->domain.n == 0));
	assert(a->local.n <= key.n);

	struct buf kept = { 0 };
	buf_text(&kept, a->local);
	address_quote_local(buf_view(&kept), &quoted);
	assert(address_needs_quotes(buf_view(&kept)) ==
	       !text_eq(buf_view(&kept), buf_view(&quoted)));
	if (a->has_domain) {
		buf_byte(&quoted, '@');
		buf_text(&quoted, a->domain);
		address_parse(buf_view(&quoted), &local, &again);
		assert(text_eq(again.local, buf_view(&kept)));
		assert(text_eq(again.domain, a->domain));
		assert(again.was_quoted == address_needs_quotes(buf_view(&kept)));
	}
	buf_done(&kept);
	buf_done(&quoted);
	buf_done(&local);
}

static void check_extension(struct text key, struct text delimiters)
{
	struct buf scratch = { 0 };
	struct address a;

	address_parse(key, &scratch, &a);
	for (int special = 0; special < 2; special++) {
		size_t at = address_extension(a.local, delimiters, special);

		assert(at <= a.local.n && (at > 0 || a.local.n == 0));
		if (at == a.local.n)
			continue;
		assert(text_chr(delimiters, a.local.p[at]));
		if (special && text_chr(delimiters, '-'))
			assert(!text_starts(a.local, TEXT("owner-")));
		for (size_t i = 1; i < at; i++)
			assert(!text_chr(delimiters, a.local.p[i]));
	}
	assert(address_extension(a.local, TEXT(""), true) == a.local.n);
	buf_done(&scratch);
}

/* Of anything else Postfix makes what it can: it quotes local parts only. */
static bool is_plain(struct text list)
{
	for (size_t i = 0; i < list.n; i++)
		if (!isalnum((unsigned char)list.p[i]) &&
		    !text_chr(TEXT(" ,@.+-_"), list.p[i]))
			return false;
	return true;
}

/* What is rewritten once is in the form that rewriting leaves alone. */
static void check_fixpoint(struct text list)
{
	struct buf again = { 0 };

	assert(address_list_extend(list, TEXT(""), &again));
	assert(text_eq(list, buf_view(&again)));
	buf_done(&again);
}

/* There is an address or there is none, with and without an extension. */
static void check_list(struct text list, struct text extension)
{
	struct text plain = TEXT("+ext");
	struct buf once = { 0 }, extended = { 0 }, strange = { 0 };

	buf_byte(&once, 'x');
	bool is_list = address_list_extend(list, TEXT(""), &once);
	bool is_extended = address_list_extend(list, plain, &extended);
	bool fits = list.n < 1000 && extension.n < 40;

	assert(once.p[0] == 'x' && (once.n > 1) == is_list);
	assert((extended.n > 0) == is_extended);
	assert(is_extended == is_list || !fits);
	if (is_list && is_plain(list))
		check_fixpoint(text_skip(buf_view(&once), 1));
	if (is_extended)
		assert(memmem(extended.p, extended.n, plain.p, plain.n));
	assert(address_list_extend(list, extension, &strange) == is_list || !fits);
	buf_done(&once);
	buf_done(&extended);
	buf_done(&strange);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct text in = fuzz_text(data, size);
	struct text delimiters = fuzz_copy(fuzz_line(&in));
	struct text key = fuzz_copy(fuzz_line(&in)), list = fuzz_copy(in);
	struct address a;

	check_parts(key, &a);
	check_extension(key, delimiters);
	check_list(list, key);
	fuzz_free(delimiters);
	fuzz_free(key);
	fuzz_free(list);
	return 0;
}
