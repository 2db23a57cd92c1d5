#include "base/fold.h"
#include "base/hash.h"
#include "base/log.h"
#include "daemon/conf.h"
#include "daemon/json.h"
#include "daemon/notify.h"
#include "daemon/options.h"
#include "daemon/server.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <uv.h>

static const char usage[] =
	"usage: socketmapd [-t | --replace] [-c FILE]\n"
	"\n"
	"  -c, --config FILE   read FILE instead of " SYSCONFDIR "/socketmapd.conf\n"
	"  -t, --check         check the configuration and exit: 0 good, 1 bad\n"
	"      --replace       take the place of the running server without a gap\n"
	"      --options       list every configuration option and exit\n"
	"      --version       print the versions of the server and its libraries and exit\n"
	"  -h, --help          print this and exit\n"
	"\n"
	"Runs in the foreground. SIGHUP reloads, SIGUSR1 logs statistics, SIGUSR2 scans all mirrors\n"
	"now, SIGTERM drains and stops.\n"
	"See socketmapd(8), socketmapd.conf(5), socketmapd.maps(5).\n";

static void print_version(void)
{
	printf("socketmapd %s\nlibuv %s\n%s\n%s\n%s\n%s\n%s\n", VERSION, uv_version_string(),
	       conf_version(), http_version(), json_version(), fold_version(), hash_version());
}

/* Lines of `text` on stderr, so that they can be read at a terminal and in a journal alike. */
static void complain(bool is_error, struct buf *text)
{
	struct text rest = buf_view(text), line;

	while (text_next(&rest, "\n", &line))
		fprintf(stderr, "%ssocketmapd: %.*s\n",
			log_prefix(is_error ? LOG_AT_ERROR : conf_note_level(line)), (int)line.n,
			line.p);
	buf_done(text);
}

static int check(struct settings *settings, const char *path)
{
	printf("%s: good: %zu maps, %zu sources, %zu listeners\n", path, settings->n_maps,
	       settings->n_sources, settings->n_listeners);
	settings_free(settings);
	return 0;
}

/*
 * The memory of this process holds everybody's addresses, and the passwords that stand in the
 * configuration: no core, and no debugger but root's.
 */
static void harden(void)
{
	const struct rlimit none = { 0, 0 };

	setrlimit(RLIMIT_CORE, &none);
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

static int serve(const char *path, struct settings *settings, bool is_replacing)
{
	struct buf why = { 0 };

	notify_init();
	log_setup(&settings->daemon.log);
	struct server *server = server_new(path, settings, is_replacing, &why);
	if (!server) {
		complain(true, &why);
		return 1;
	}

	int status = server_run(server);
	server_free(server);
	return status;
}

int main(int argc, char **argv)
{
	enum { OPT_VERSION = 256, OPT_OPTIONS, OPT_REPLACE };
	static const struct option longs[] = {
		{ "config", required_argument, NULL, 'c' }, { "check", no_argument, NULL, 't' },
		{ "replace", no_argument, NULL, OPT_REPLACE },
		{ "options", no_argument, NULL, OPT_OPTIONS },
		{ "version", no_argument, NULL, OPT_VERSION }, { "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	const char *path = SYSCONFDIR "/socketmapd.conf";
	bool only_check = false, is_replacing = false;
	struct buf why = { 0 }, notes = { 0 };

	for (int c; (c = getopt_long(argc, argv, "c:th", longs, NULL)) != -1;)
		switch (c) {
		case 'c':
			path = optarg;
			break;
		case 't':
			only_check = true;
			break;
		case OPT_REPLACE:
			is_replacing = true;
			break;
		case OPT_OPTIONS:
			options_print(stdout);
			return 0;
		case OPT_VERSION:
			print_version();
			return 0;
		case 'h':
			fputs(usage, stdout);
			return 0;
		default:
			fputs(usage, stderr);
			return 2;
		}
	if (optind < argc || (only_check && is_replacing)) {
		fputs(usage, stderr);
		return 2;
	}

	harden();
	log_init();
	hash_init();
	json_init();
	struct settings *settings = conf_load(path, &why, &notes);
	complain(false, &notes);
	if (!settings) {
		complain(true, &why);
		return 1;
	}
	buf_done(&why);
	return only_check ? check(settings, path) : serve(path, settings, is_replacing);
}
