/*
 * load.c - a load generator that checks every answer. Each connection has one request under
 * way, as Postfix does. One thread, bare epoll, no allocation per request.
 *
 * The data it expects: key user0000123@bench.example has the value box0000123@store.example.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define EVENTS 512
#define DIGITS 7
#define NSEC 1000000000ULL

static const char usage[] =
	"usage: load [options] ADDRESS      ADDRESS: unix:/path or inet:127.0.0.1:PORT\n"
	"  -p PROTOCOL   socketmap (default) or tcp_table\n"
	"  -m MAP        map to ask for (bench)\n"
	"  -c N          connections (32)\n"
	"  -d SECONDS    how long (3)\n"
	"  -k KEYS       keys 0 to KEYS-1 are asked at random (1000000)\n"
	"  -r RATE       requests a second, due at even times; without it as fast as it goes\n"
	"  -n            a new connection for each request\n"
	"  -x VALUE      expect this value for every key\n"
	"  -u PID        tell the CPU time of this process per request\n";

struct options {
	const char *protocol, *map, *value, *address;
	unsigned connections, keys, rate, seconds;
	bool renews;
	int pid;
};

/* Bytes with a number of DIGITS digits in them. */
struct pattern {
	char text[512];
	size_t n;
	size_t at;	/* where the number goes; 0: there is none */
};

struct client {
	int fd;
	uint64_t due;	/* when the request was to be sent, nsec */
	unsigned key;
	size_t n;	/* of the reply, so far */
	char in[512];
};

/*
 * Latencies in buckets of 1/32 of their size: bucket 32 * e + m holds what
 * is from (32 + m) << e nsec on.
 */
#define STEPS 32
#define BUCKETS (STEPS * 40)

static struct options options = { "socketmap", "bench", NULL, NULL, 32, 1000000, 0, 3, false, 0 };
static struct pattern request, reply;
static struct client *clients;
static uint64_t buckets[BUCKETS], answers;
static int epoll;

static void die(const char *what)
{
	fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now_nsec(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NSEC + (uint64_t)t.tv_nsec;
}

static void latency_add(uint64_t nsec)
{
	unsigned e = 0;

	while (nsec >> e >= 2 * STEPS)
		e++;
	size_t i = nsec < STEPS ? 0 : STEPS * e + (nsec >> e) - STEPS;
	buckets[i < BUCKETS ? i : BUCKETS - 1]++;
}

/* The latency that `share` of the answers do not exceed, usec. */
static double latency_at(double share)
{
	uint64_t left = (uint64_t)(share * (double)answers);
	size_t i = 0;

	while (i < BUCKETS - 1 && buckets[i] <= left)
		left -= buckets[i++];
	return (double)((STEPS + i % STEPS + 1) << (i / STEPS)) / 1000;
}

/* User and system time of a process so far, usec. */
static double cpu_usec(int pid)
{
	char path[64], line[1024];
	unsigned long user, system;

	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	FILE *f = fopen(path, "r");
	if (!f || !fgets(line, sizeof line, f))
		die(path);
	fclose(f);
	if (sscanf(strrchr(line, ')'), ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
		   &user, &system) != 2)
		die(path);
	return (double)(user + system) * 1e6 / (double)sysconf(_SC_CLK_TCK);
}

/* One message: "HEAD 0000000 TAIL" without the blanks, as a line or as a netstring. */
static void pattern_set(struct pattern *p, const char *head, bool has_number, const char *tail)
{
	bool is_line = strcmp(options.protocol, "tcp_table") == 0;
	size_t n = strlen(head) + (has_number ? DIGITS : 0) + strlen(tail);
	int at = is_line ? 0 : snprintf(p->text, sizeof p->text, "%zu:", n);

	p->at = has_number ? (size_t)at + strlen(head) : 0;
	p->n = (size_t)at + n + 1;
	if (p->n >= sizeof p->text) {
		fputs("load: map or value is too long\n", stderr);
		exit(2);
	}
	snprintf(p->text + at, sizeof p->text - (size_t)at, "%s%s%s%c", head,
		 has_number ? "0000000" : "", tail, is_line ? '\n' : ',');
}

static void pattern_fill(struct pattern *p, unsigned key)
{
	for (size_t i = DIGITS; p->at && i-- > 0; key /= 10)
		p->text[p->at + i] = (char)('0' + key % 10);
}

static void patterns_set(void)
{
	bool is_table = strcmp(options.protocol, "tcp_table") == 0;
	char head[300];

	snprintf(head, sizeof head, "%s user", is_table ? "get" : options.map);
	pattern_set(&request, head, true, "@bench.example");
	snprintf(head, sizeof head, "%s %s", is_table ? "200" : "OK",
		 options.value ? options.value : "box");
	pattern_set(&reply, head, !options.value, options.value ? "" : "@store.example");
}

static socklen_t parse_address(struct sockaddr_storage *ret)
{
	const char *at = strchr(options.address, ':');
	const char *port = strrchr(options.address, ':');

	if (!at) {
		fputs(usage, stderr);
		exit(2);
	}
	memset(ret, 0, sizeof *ret);
	if (strncmp(options.address, "unix:", 5) == 0) {
		struct sockaddr_un *un = (struct sockaddr_un *)ret;
		un->sun_family = AF_UNIX;
		snprintf(un->sun_path, sizeof un->sun_path, "%s", at + 1);
		return sizeof *un;
	}
	struct sockaddr_in *in4 = (struct sockaddr_in *)ret;
	in4->sin_family = AF_INET;
	in4->sin_port = htons((uint16_t)atoi(port + 1));
	in4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return sizeof *in4;
}

static void client_connect(struct client *c)
{
	struct sockaddr_storage address;
	socklen_t n = parse_address(&address);
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = c };

	c->fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, n) < 0)
		die(options.address);
	if (address.ss_family == AF_INET)
		setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
	if (fcntl(c->fd, F_SETFL, O_NONBLOCK) < 0 ||
	    epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event) < 0)
		die("epoll");
}

static void client_ask(struct client *c, uint64_t due)
{
	static uint64_t random = 88172645463325252ULL;

	random ^= random << 13;
	random ^= random >> 7;
	random ^= random << 17;
	c->key = (unsigned)((random >> 32) * options.keys >> 32);
	c->due = due;
	c->n = 0;
	pattern_fill(&request, c->key);
	if (write(c->fd, request.text, request.n) != (ssize_t)request.n)
		die("write");
}

/* True when the whole reply is there, and is right; anything else than a prefix ends the program. */
static bool client_read(struct client *c)
{
	ssize_t got = read(c->fd, c->in + c->n, sizeof c->in - c->n);

	if (got <= 0)
		die(got ? "read" : "the server closed");
	c->n += (size_t)got;
	pattern_fill(&reply, c->key);
	if (c->n > reply.n || memcmp(c->in, reply.text, c->n) != 0) {
		fprintf(stderr, "load: wrong answer for key %u: %.*s\n", c->key, (int)c->n, c->in);
		exit(1);
	}
	return c->n == reply.n;
}

static void client_answered(struct client *c)
{
	answers++;
	latency_add(now_nsec() - c->due);
	if (!options.renews)
		return;
	close(c->fd);
	client_connect(c);
}

/* As fast as it goes: each answer is followed by the next question. */
static void run_closed(uint64_t end)
{
	struct epoll_event events[EVENTS];

	for (unsigned i = 0; i < options.connections; i++)
		client_ask(&clients[i], now_nsec());
	while (now_nsec() < end) {
		int n = epoll_wait(epoll, events, EVENTS, 1000);

		for (int i = 0; i < n; i++) {
			struct client *c = events[i].data.ptr;
			if (!client_read(c))
				continue;
			client_answered(c);
			client_ask(c, now_nsec());
		}
	}
}

/*
 * At a fixed rate. Latency counts from when a request was due, so that waiting for a free
 * connection is part of it. Never sleeps, so that it is never late by itself.
 */
static void run_open(uint64_t start, uint64_t end)
{
	struct epoll_event events[EVENTS];
	struct client **idle = calloc(options.connections, sizeof *idle);
	size_t n_idle = 0;
	uint64_t sent = 0, now;

	if (!idle)
		die("memory");
	while (n_idle < options.connections) {
		idle[n_idle] = &clients[n_idle];
		n_idle++;
	}
	while ((now = now_nsec()) < end) {
		uint64_t due = start + sent * NSEC / options.rate;

		while (n_idle && due <= now) {
			client_ask(idle[--n_idle], due);
			due = start + ++sent * NSEC / options.rate;
		}
		int n = epoll_wait(epoll, events, EVENTS, 0);
		for (int i = 0; i < n; i++)
			if (client_read(events[i].data.ptr)) {
				client_answered(events[i].data.ptr);
				idle[n_idle++] = events[i].data.ptr;
			}
	}
	free(idle);
}

static void parse_options(int argc, char **argv)
{
	int c;

	while ((c = getopt(argc, argv, "p:m:c:d:k:r:nx:u:")) != -1)
		switch (c) {
		case 'p': options.protocol = optarg; break;
		case 'm': options.map = optarg; break;
		case 'c': options.connections = (unsigned)atoi(optarg); break;
		case 'd': options.seconds = (unsigned)atoi(optarg); break;
		case 'k': options.keys = (unsigned)atoi(optarg); break;
		case 'r': options.rate = (unsigned)atoi(optarg); break;
		case 'n': options.renews = true; break;
		case 'x': options.value = optarg; break;
		case 'u': options.pid = atoi(optarg); break;
		default: fputs(usage, stderr); exit(2);
		}
	options.address = argv[optind];
	if (optind != argc - 1 || !options.connections || !options.keys) {
		fputs(usage, stderr);
		exit(2);
	}
}

int main(int argc, char **argv)
{
	parse_options(argc, argv);
	patterns_set();
	epoll = epoll_create1(EPOLL_CLOEXEC);
	clients = calloc(options.connections, sizeof *clients);
	if (epoll < 0 || !clients)
		die("start");
	for (unsigned i = 0; i < options.connections; i++)
		client_connect(&clients[i]);

	double cpu = options.pid ? cpu_usec(options.pid) : 0;
	uint64_t start = now_nsec();
	if (options.rate)
		run_open(start, start + options.seconds * NSEC);
	else
		run_closed(start + options.seconds * NSEC);
	double seconds = (double)(now_nsec() - start) / (double)NSEC;

	printf("answers=%llu rate=%.0f p50=%.1f p99=%.1f p999=%.1f", (unsigned long long)answers,
	       (double)answers / seconds, latency_at(0.5), latency_at(0.99), latency_at(0.999));
	if (options.pid)
		printf(" cpu=%.3f", (cpu_usec(options.pid) - cpu) / (double)(answers ? answers : 1));
	putchar('\n');
	return 0;
}
