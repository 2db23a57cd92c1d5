/*
 * Postfix reads an address list from its right end, keeps all it does not
 * understand, and adds the commas that are missing. Whoever wants the same
 * recipients has to read it the same way, so this follows tok822_parse.c
 * state by state, with the tree flattened: an address is a run of tokens.
 */
#include "base/address.h"

#include "base/must.h"

#include <stdlib.h>

/* No protocol carries a longer reply (Postfix src/util/dict_sockmap.c). */
#define LIST_MAX_BYTES 100000

/* A token's type is its character, or one of these. */
enum { WORD = 256, DOMAIN_LITERAL, COMMENT, GROUP_START };

struct token {
	int type;
	size_t start, n;	/* its text, unquoted, in list.chars */
	size_t address_end;	/* where the address that begins here ends; 0: none */
};

struct list {
	struct token *tokens;
	size_t n;
	struct buf chars;	/* of all tokens, end to end */
	struct buf local;	/* scratch: a local part with its extension */
};

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool is_operator(char c)
{
	return text_chr(TEXT("|%!()<>@,;:\\\".[]"), c) != NULL;
}

static bool ends_atom(char c)
{
	return is_space(c) || is_operator(c);
}

/* Take the text of a token off `t`, up to the byte `end`; '\0': to what ends an atom. */
static void collect(struct text *t, char end, struct buf *chars)
{
	while (t->n) {
		if (t->p[0] == '\\') {
			*t = text_skip(*t, 1);
			if (t->n == 0)
				return;
		} else if (end ? t->p[0] == end : ends_atom(t->p[0])) {
			break;
		}
		buf_byte(chars, is_space(t->p[0]) ? ' ' : t->p[0]);
		*t = text_skip(*t, 1);
	}
	if (end && t->n)
		*t = text_skip(*t, 1);
}

static void skip_comment(struct text *t)
{
	for (int level = 1; t->n && level; *t = text_skip(*t, 1)) {
		if (t->p[0] == '\\' && t->n > 1)
			*t = text_skip(*t, 1);
		else
			level += (t->p[0] == '(') - (t->p[0] == ')');
	}
}

static struct token next_token(struct text *t, struct buf *chars)
{
	struct token token = { .type = WORD, .start = chars->n };
	char c = t->p[0];

	if (c == '\\' || !is_operator(c)) {
		collect(t, '\0', chars);
	} else {
		*t = text_skip(*t, 1);
		switch (c) {
		case '(':
			token.type = COMMENT;
			skip_comment(t);
			break;
		case '[':
			token.type = DOMAIN_LITERAL;
			buf_byte(chars, '[');
			collect(t, ']', chars);
			buf_byte(chars, ']');
			break;
		case '"':
			collect(t, '"', chars);
			break;
		default:
			token.type = (unsigned char)c;
			buf_byte(chars, c);
		}
	}
	token.n = chars->n - token.start;
	return token;
}

static void scan(struct text t, struct list *list)
{
	list->tokens = must_calloc(t.n + 1, sizeof *list->tokens);
	while (t.n) {
		if (is_space(t.p[0]))
			t = text_skip(t, 1);
		else
			list->tokens[list->n++] = next_token(&t, &list->chars);
	}
	list->tokens[list->n].start = list->chars.n;	/* where the last one ends */
}

/* The tokens from `first` to before `end` are an address, if there are any. */
static void mark_address(struct list *list, size_t first, size_t end)
{
	while (first < end && list->tokens[first].type == COMMENT)
		first++;
	if (first < end)
		list->tokens[first].address_end = end;
}

static bool is_any_of(int type, const char *set)
{
	return type < WORD && text_chr(text_of(set), (char)type);
}

/*
 * Walk left from `n` (the number of tokens not yet seen) past all tokens that
 * are not in `set`; the number left, the found one included.
 */
static size_t skip_left(const struct list *list, size_t n, const char *set)
{
	while (n && !is_any_of(list->tokens[n - 1].type, set))
		n--;
	return n;
}

/* Find the addresses, from right to left; `right` is where the one being read ends. */
static void parse(struct list *list)
{
	bool word_ok = true, in_group = false;
	size_t right = list->n, n = list->n;

	while (n) {
		struct token *token = &list->tokens[n - 1];

		switch (token->type) {
		case COMMENT:
			break;
		case ';':
			mark_address(list, n, right);
			right = n - 1;
			in_group = word_ok = true;
			break;
		case ':':
			if (!in_group) {
				word_ok = true;
				break;
			}
			token->type = GROUP_START;
			mark_address(list, n, right);
			n = skip_left(list, n, ",");
			right = n ? n - 1 : 0;
			continue;
		case '>':
			mark_address(list, n, right);
			right = n - 1;
			n = skip_left(list, n, "<");
			mark_address(list, n, right);
			n = skip_left(list, n, ">;,:");
			right = n ? n - 1 : 0;
			word_ok = true;
			continue;
		case WORD:
		case DOMAIN_LITERAL:
			if (!word_ok) {		/* a comma is missing */
				mark_address(list, n, right);
				right = n;
			}
			word_ok = false;
			break;
		case ',':
			mark_address(list, n, right);
			right = n - 1;
			word_ok = true;
			break;
		default:
			word_ok = true;
		}
		n--;
	}
	mark_address(list, 0, right);
}

/* The first token of `type` in [first, end), or `end`. */
static size_t first_of(const struct list *list, size_t first, size_t end, int type)
{
	while (first < end && list->tokens[first].type != type)
		first++;
	return first;
}

static size_t last_of(const struct list *list, size_t first, size_t end, int type)
{
	for (size_t i = end; i > first; i--)
		if (list->tokens[i - 1].type == type)
			return i - 1;
	return end;
}

/* The text of the tokens [first, end). */
static struct text span(const struct list *list, size_t first, size_t end)
{
	size_t from = list->tokens[first].start, to = list->tokens[end].start;

	return text_skip((struct text){ list->chars.p, to }, from);
}

/* Append the local part [first, end) with its extension. */
static void extend_local(struct list *list, size_t first, size_t end,
			 struct text extension, bool has_at, struct buf *out)
{
	buf_clear(&list->local);
	buf_text(&list->local, span(list, first, end));
	buf_text(&list->local, extension);

	/* `root+x%host` without its quotes is mail for that host: a stranger's choice. */
	if (!has_at && (text_chr(extension, '!') || text_chr(extension, '%')))
		address_quote_always(buf_view(&list->local), out);
	else
		address_quote_local(buf_view(&list->local), out);
}

/*
 * Append the address [first, end) with its extension. Postfix completes the
 * address first (trivial-rewrite/rewrite.c), so the extension goes to what
 * will be the local part: `host!user` and `user%host` become `user@host`, and
 * a source route is dropped.
 */
static void extend(struct list *list, size_t first, size_t end, struct text extension,
		   struct buf *out)
{
	size_t colon = first_of(list, first, end, ':');

	if (list->tokens[first].type == '@' && colon + 1 < end)
		first = colon + 1;

	size_t domain = last_of(list, first, end, '@');
	size_t bang = first_of(list, first, end, '!');
	bool has_at = domain != end;

	if (!has_at && bang != end) {
		buf_text(out, span(list, first, bang + 1));
		first = bang + 1;
	} else if (!has_at) {
		domain = last_of(list, first, end, '%');
	}
	extend_local(list, first, domain, extension, has_at, out);
	buf_text(out, span(list, domain, end));
}

static bool extend_all(struct list *list, struct text extension, struct buf *out)
{
	size_t before = out->n;

	for (size_t i = 0; i < list->n; i++) {
		if (!list->tokens[i].address_end)
			continue;
		if (out->n > before)
			buf_str(out, ", ");
		extend(list, i, list->tokens[i].address_end, extension, out);
		if (out->n - before > LIST_MAX_BYTES) {
			out->n = before;
			return false;
		}
	}
	return out->n > before;
}

bool address_list_extend(struct text list, struct text extension, struct buf *out)
{
	struct list l = { 0 };

	/* mail_addr_crunch.c reads the null address, alone, as an empty local part. */
	scan(text_is(list, "<>") ? TEXT("\"\"") : list, &l);
	parse(&l);

	bool found = extend_all(&l, extension, out);

	free(l.tokens);
	buf_done(&l.chars);
	buf_done(&l.local);
	return found;
}
