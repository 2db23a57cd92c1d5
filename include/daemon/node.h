/* node.h - a configuration file as a tree, whatever syntax it came in. */
#ifndef DAEMON_NODE_H
#define DAEMON_NODE_H

#include "base/buf.h"

enum node_type {
	NODE_STRING,	/* text: what stood between the quotes */
	NODE_INTEGER,	/* text: its digits */
	NODE_BOOLEAN,	/* text: "true" or "false" */
	NODE_OTHER,	/* a float, or a string that is not UTF-8: nothing takes it */
	NODE_WORD,	/* text: a value of a Postfix table file, which has no types */
	NODE_LIST,	/* items without names */
	NODE_GROUP,	/* items with names, each once */
};

/* One setting and where it stands. Owns all it points to; node_done() frees it. */
struct node {
	enum node_type type;
	char *name;		/* NULL in lists and at the root */
	char *text;		/* of scalars, else NULL */
	char *file;
	unsigned line;
	struct node *items;
	size_t n;
};

/* The item of that name in a group, or NULL. */
const struct node *node_find(const struct node *group, const char *name);

void node_done(struct node *node);

#endif
