#include "ctl/ctl.h"
#include "ctl/show.h"
#include "ctl/value.h"

#include <stdio.h>
#include <unistd.h>

/* The exit code that stands for a verdict. */
static const struct {
	const char *verdict;
	int code;
} verdicts[] = {
	{ "FOUND", CTL_DONE },
	{ "NOTFOUND", CTL_NO },
	{ "TEMP", CTL_FAILED },
	{ "PERM", CTL_FAILED },
};

static int code_of(const json_t *answer)
{
	for (size_t i = 0; i < sizeof verdicts / sizeof *verdicts; i++)
		if (value_is(answer, "verdict", verdicts[i].verdict))
			return verdicts[i].code;
	return ctl_fail(CTL_NO_SERVER, "the server's answer has no verdict");
}

/* "MAP: KEY: NOTFOUND, from the mirror, 3m 12s old: reason" */
static void print_reason(const json_t *answer)
{
	struct text from = value_text(answer, "from"), reason = value_text(answer, "reason");
	struct buf line = { 0 };

	show_text(&line, value_text(answer, "map"));
	buf_str(&line, ": ");
	show_text(&line, value_text(answer, "key"));
	buf_str(&line, ": ");
	show_text(&line, value_text(answer, "verdict"));
	if (from.p) {
		buf_str(&line, ", from the ");
		show_text(&line, from);
	}
	if (value_get(answer, "age")) {
		buf_str(&line, ", ");
		show_seconds(&line, value_number(answer, "age"));
		buf_str(&line, " old");
	}
	if (value_true(answer, "stale"))
		buf_str(&line, ", stale");
	if (reason.p) {
		buf_str(&line, ": ");
		show_text(&line, reason);
	}
	fflush(stdout);
	fprintf(stderr, "%s\n", buf_cstr(&line));
	buf_done(&line);
}

int ctl_lookup(struct ctl *c)
{
	struct buf path = { 0 }, out = { 0 };
	json_t *answer;

	buf_str(&path, "/v1/maps/");
	client_encode(&path, text_of(c->words[0]));
	buf_str(&path, "?key=");
	client_encode(&path, text_of(c->words[1]));
	int code = ctl_ask(c, GET, buf_cstr(&path), &answer);
	if (!code) {
		code = code_of(answer);
		/* Programs get the value as it is; a terminal might obey it. */
		if (code == CTL_DONE && isatty(STDOUT_FILENO))
			show_text(&out, value_text(answer, "value"));
		else if (code == CTL_DONE)
			buf_text(&out, value_text(answer, "value"));
		if (code == CTL_DONE && !c->is_json) {
			buf_byte(&out, '\n');
			show_out(&out);
		}
		if (code == CTL_NO || code == CTL_FAILED || value_true(answer, "stale"))
			print_reason(answer);
	}
	json_decref(answer);
	buf_done(&path);
	buf_done(&out);
	return code;
}
