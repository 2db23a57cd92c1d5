#include "base/address.h"

#include <strings.h>

/* Take the quotes off `t`; false when it is not one quoted string from end to end. */
static bool unquote(struct text t, struct buf *ret_local)
{
	buf_clear(ret_local);
	if (t.n < 2 || t.p[0] != '"')
		return false;
	for (size_t i = 1; i < t.n; i++) {
		if (t.p[i] == '"')
			return i + 1 == t.n;
		if (t.p[i] == '\\' && ++i == t.n)
			return false;
		buf_byte(ret_local, t.p[i]);
	}
	return false;
}

void address_parse(struct text key, struct buf *local, struct address *ret)
{
	const char *at = text_rchr(key, '@');
	struct address a = { .local = key };

	a.was_quoted = unquote(key, local);	/* `"a@b"`: that '@' parts nothing */
	if (!a.was_quoted && at) {
		a.has_domain = true;
		a.domain = text_from(key, at + 1);
		a.local = text_before(key, at);
		a.was_quoted = unquote(a.local, local);
	}
	if (a.was_quoted)
		a.local = buf_view(local);
	*ret = a;
}

static bool is_word(struct text t, struct text word)
{
	return t.n == word.n && strncasecmp(t.p, word.p, t.n) == 0;
}

/* Mailing list addresses of old: with '-' as a delimiter they would lose their name. */
static bool is_list_address(struct text local)
{
	struct text owner = TEXT("owner-"), request = TEXT("-request");

	if (local.n >= owner.n && is_word(text_before(local, local.p + owner.n), owner))
		return true;
	return local.n > request.n &&
	       is_word(text_skip(local, local.n - request.n), request);
}

size_t address_extension(struct text local, struct text delimiters,
			 bool owner_request_special)
{
	size_t n = 0;

	while (n < local.n && !text_chr(delimiters, local.p[n]))
		n++;
	if (n == 0 || n == local.n)
		return local.n;
	if (is_word(local, TEXT("postmaster")) || is_word(local, TEXT("mailer-daemon")) ||
	    is_word(local, TEXT("double-bounce")))
		return local.n;
	if (owner_request_special && text_chr(delimiters, '-') && is_list_address(local))
		return local.n;
	return n;
}

bool address_needs_quotes(struct text local)
{
	const struct text specials = TEXT("()<>@,;:\\\"[]");

	if (local.n == 0 || local.p[0] == '.' || local.p[local.n - 1] == '.')
		return true;
	for (size_t i = 0; i < local.n; i++) {
		unsigned char c = (unsigned char)local.p[i];

		if (c <= ' ' || c == 0x7f || text_chr(specials, (char)c))
			return true;
		if (c == '.' && local.p[i + 1] == '.')	/* the last byte is no dot */
			return true;
	}
	return false;
}

void address_quote_always(struct text local, struct buf *out)
{
	buf_byte(out, '"');
	for (size_t i = 0; i < local.n; i++) {
		char c = local.p[i];

		if (c == '"' || c == '\\' || c == '\r')
			buf_byte(out, '\\');
		buf_byte(out, c);
	}
	buf_byte(out, '"');
}

void address_quote_local(struct text local, struct buf *out)
{
	if (address_needs_quotes(local))
		address_quote_always(local, out);
	else
		buf_text(out, local);
}
