/*
 * socketmapctl: asks and tells a running socketmapd by its control socket. See socketmapctl(8).
 */
#include "base/must.h"
#include "ctl/ctl.h"
#include "ctl/interrupt.h"
#include "ctl/show.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define DEFAULT_SOCKET "/run/socketmapd/control"
#define DEFAULT_TIMEOUT_MSEC 30000
#define DEFAULT_INTERVAL_MSEC 2000
#define SECONDS_MAX 86400.0

/* Options of single commands, as bits. */
enum {
	TAKES_ALL = 1,
	TAKES_WAIT = 2,
	TAKES_ADDRESS = 4,
	TAKES_SAMPLE = 8,	/* and --full */
	TAKES_MAP = 16,
	TAKES_NO_LIVE = 32,
	TAKES_INTERVAL = 64,
};

/* Rows end with a NULL name. */
static const struct command {
	const char *name;
	int (*run)(struct ctl *c);
	unsigned takes;
	unsigned least, most;		/* words behind it */
	const char *usage, *help;
} commands[] = {
	{ "status", ctl_status, 0, 0, 0, "", "is all well, and what is not" },
	{ "maps", ctl_maps, 0, 0, 0, "", "all maps and their tables" },
	{ "sources", ctl_sources, 0, 0, 0, "", "all directories" },
	{ "lookup", ctl_lookup, 0, 2, 2, "MAP KEY", "what Postfix is told" },
	{ "explain", ctl_explain, TAKES_NO_LIVE, 2, 2, "[--no-live] MAP KEY",
	  "and why, step by step" },
	{ "refresh", ctl_refresh, TAKES_ALL | TAKES_WAIT, 0, 1, "MAP|--all [--wait]",
	  "scan the directory now" },
	{ "accept", ctl_accept, TAKES_WAIT, 1, 1, "[--wait] MAP",
	  "take a scan that was rejected" },
	{ "flush", ctl_flush, TAKES_ADDRESS, 0, 2, "MAP [KEY] | --address A",
	  "forget answers to single keys" },
	{ "dump", ctl_dump, 0, 1, 1, "MAP", "all keys and values of a mirror" },
	{ "diff", ctl_diff, TAKES_SAMPLE, 1, 1, "[--sample N|--full] MAP",
	  "compare a mirror with the directory" },
	{ "trace", ctl_trace, TAKES_MAP, 0, 0, "[--map M]",
	  "watch lookups as they are answered" },
	{ "reload", ctl_reload, 0, 0, 0, "", "read the configuration again" },
	{ "top", ctl_top, TAKES_INTERVAL, 0, 0, "[--interval SEC]",
	  "a live table of maps and sources" },
	{ "postfix", ctl_postfix, 0, 0, 0, "", "print lines for main.cf" },
	{ 0 }
};

enum { OPT_JSON = 256, OPT_TIMEOUT, OPT_VERSION, OPT_ALL, OPT_WAIT, OPT_ADDRESS, OPT_SAMPLE,
       OPT_FULL, OPT_MAP, OPT_NO_LIVE, OPT_INTERVAL };

static const struct option options[] = {
	{ "socket", required_argument, NULL, 's' },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "timeout", required_argument, NULL, OPT_TIMEOUT },
	{ "version", no_argument, NULL, OPT_VERSION },
	{ "help", no_argument, NULL, 'h' },
	{ "all", no_argument, NULL, OPT_ALL },
	{ "wait", no_argument, NULL, OPT_WAIT },
	{ "address", required_argument, NULL, OPT_ADDRESS },
	{ "sample", required_argument, NULL, OPT_SAMPLE },
	{ "full", no_argument, NULL, OPT_FULL },
	{ "map", required_argument, NULL, OPT_MAP },
	{ "no-live", no_argument, NULL, OPT_NO_LIVE },
	{ "interval", required_argument, NULL, OPT_INTERVAL },
	{ 0 }
};

/* What the command line says. */
struct line {
	struct ctl ctl;
	const char *socket;
	unsigned given;			/* options of single commands */
	bool is_help;
};

static void print_help(void)
{
	puts("usage: socketmapctl [-s SOCKET] [--json] [--timeout SEC] COMMAND\n");
	for (const struct command *k = commands; k->name; k++)
		printf("  %-7s %-24s %s\n", k->name, k->usage, k->help);
	puts("\nSOCKET is $SOCKETMAPD_CONTROL or " DEFAULT_SOCKET ". Exit codes: 0 done, 1 the "
	     "answer is no,\n2 wrong usage, 3 no server, 4 it could not do it. See "
	     "socketmapctl(8).");
}

static const char try_help[] = "; `socketmapctl help` lists the commands";

/* Parse seconds, more than zero. */
static bool parse_seconds(const char *text, uint64_t *ret_msec)
{
	char *end;
	double s = strtod(text, &end);

	if (end == text || *end || !isfinite(s) || s < 0.001 || s > SECONDS_MAX)
		return false;
	*ret_msec = (uint64_t)(s * 1000 + 0.5);
	return true;
}

static bool is_count(const char *text)
{
	return *text && strlen(text) <= 9 && !text[strspn(text, "0123456789")];
}

/* Say what an option wants, if it did not get it. */
static bool wants(bool is_good, const char *what)
{
	if (!is_good)
		ctl_fail(CTL_USAGE, "%s, and no unit; not \"%s\"", what, optarg);
	return is_good;
}

/* One option; false: it was wrong, which has been said. */
static bool take_option(struct line *l, int option)
{
	static const unsigned takes[] = {
		[OPT_ALL - OPT_JSON] = TAKES_ALL, [OPT_WAIT - OPT_JSON] = TAKES_WAIT,
		[OPT_ADDRESS - OPT_JSON] = TAKES_ADDRESS, [OPT_SAMPLE - OPT_JSON] = TAKES_SAMPLE,
		[OPT_FULL - OPT_JSON] = TAKES_SAMPLE, [OPT_MAP - OPT_JSON] = TAKES_MAP,
		[OPT_NO_LIVE - OPT_JSON] = TAKES_NO_LIVE,
		[OPT_INTERVAL - OPT_JSON] = TAKES_INTERVAL,
	};
	struct ctl *c = &l->ctl;

	if (option >= OPT_JSON)
		l->given |= takes[option - OPT_JSON];
	switch (option) {
	case 's': l->socket = optarg; break;
	case 'h': l->is_help = true; break;
	case OPT_JSON: c->is_json = true; break;
	case OPT_TIMEOUT:
		return wants(parse_seconds(optarg, &c->timeout), "--timeout wants seconds above 0");
	case OPT_ALL: c->is_all = true; break;
	case OPT_WAIT: c->is_waiting = true; break;
	case OPT_ADDRESS: c->address = optarg; break;
	case OPT_SAMPLE:
		c->sample = optarg;
		return wants(is_count(optarg), "--sample wants a number of keys, 0 for all");
	case OPT_FULL: c->is_full = true; break;
	case OPT_MAP: c->map = optarg; break;
	case OPT_NO_LIVE: c->is_not_live = true; break;
	case OPT_INTERVAL:
		return wants(parse_seconds(optarg, &c->interval), "--interval wants seconds above 0");
	case OPT_VERSION:
		printf("socketmapctl %s\nlibcurl %s\njansson %s\n", VERSION, client_version(),
		       jansson_version_str());
		exit(CTL_DONE);
	default:			/* getopt_long(3) has said it */
		return false;
	}
	return true;
}

static const struct command *find_command(const char *name)
{
	for (const struct command *k = commands; k->name; k++)
		if (strcmp(k->name, name) == 0)
			return k;
	return NULL;
}

static int run(const struct command *k, struct line *l)
{
	struct ctl *c = &l->ctl;

	if (l->given & ~k->takes || c->n_words < k->least || c->n_words > k->most)
		return ctl_fail(CTL_USAGE, "usage: socketmapctl %s%s%s", k->name,
				*k->usage ? " " : "", k->usage);
	interrupt_watch();
	c->client = client_new(l->socket);
	int code = k->run(c);
	client_free(c->client);
	return code;
}

/* What has been printed must have been written. */
static int finish(int code)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return code;
	return ctl_fail(CTL_FAILED, "cannot write: %s", strerror(errno));
}

int main(int argc, char **argv)
{
	struct line l = { .ctl = { .timeout = DEFAULT_TIMEOUT_MSEC,
				   .interval = DEFAULT_INTERVAL_MSEC } };
	const char *of_environment = getenv("SOCKETMAPD_CONTROL");
	int option;

	l.socket = of_environment && *of_environment ? of_environment : DEFAULT_SOCKET;
	show_begin();
	while ((option = getopt_long(argc, argv, "s:h", options, NULL)) != -1)
		if (!take_option(&l, option))
			return CTL_USAGE;
	if (strncmp(l.socket, "unix:", 5) == 0)
		l.socket += 5;		/* as in the configuration */
	if (l.is_help || (optind < argc && strcmp(argv[optind], "help") == 0)) {
		print_help();
		return finish(CTL_DONE);
	}
	if (optind == argc)
		return ctl_fail(CTL_USAGE, "what shall be done?%s", try_help);

	const struct command *k = find_command(argv[optind]);
	if (!k)
		return ctl_fail(CTL_USAGE, "no such command: %s%s", argv[optind], try_help);
	l.ctl.words = argv + optind + 1;
	l.ctl.n_words = (size_t)(argc - optind - 1);
	return finish(run(k, &l));
}
