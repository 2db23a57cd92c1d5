#include "base/text.h"

static bool is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

struct text text_trim(struct text t)
{
	while (t.n && is_blank(t.p[0]))
		t = text_skip(t, 1);
	while (t.n && is_blank(t.p[t.n - 1]))
		t.n--;
	return t;
}

bool text_next(struct text *list, const char *separators, struct text *ret_item)
{
	struct text set = text_of(separators);
	struct text item = *list;

	while (item.n && text_chr(set, item.p[0]))
		item = text_skip(item, 1);
	if (item.n == 0)
		return false;

	size_t n = 1;
	while (n < item.n && !text_chr(set, item.p[n]))
		n++;
	*list = text_skip(item, n);
	*ret_item = (struct text){ item.p, n };
	return true;
}
