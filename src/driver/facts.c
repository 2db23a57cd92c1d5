#include "driver/facts.h"

#include "base/must.h"
#include "driver/driver.h"
#include "wire/frame.h"

#include <stdlib.h>

/* What is known of the directory, and whether the server knows it, too. */
struct fact {
	char *name;
	char *value;
	bool is_sent;
};

static struct fact *facts;
static size_t n_facts;

void driver_info(const char *name, const char *value)
{
	struct fact *f = facts;

	while (f < facts + n_facts && strcmp(f->name, name) != 0)
		f++;
	if (f == facts + n_facts) {
		facts = must(reallocarray(facts, n_facts + 1, sizeof *facts));
		f = &facts[n_facts++];
		*f = (struct fact){ .name = must_strdup(name) };
	}
	if (f->value && strcmp(f->value, value) == 0)
		return;
	free(f->value);
	f->value = must_strdup(value);
	f->is_sent = false;
}

void facts_send(struct buf *out)
{
	for (struct fact *f = facts; f < facts + n_facts; f++) {
		if (!f->is_sent)
			frame_add(out, FRAME_INFO, text_of(f->name), text_of(f->value), TEXT(""));
		f->is_sent = true;
	}
}

void facts_done(void)
{
	for (struct fact *f = facts; f < facts + n_facts; f++) {
		free(f->name);
		free(f->value);
	}
	free(facts);
	facts = NULL;
	n_facts = 0;
}
