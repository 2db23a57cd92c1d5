/*
 * responder.c - the yardstick: the least that a libuv socketmap server can do. It finds the end
 * of each request and replies a constant. One loop, one read buffer, one write per read.
 *
 *	responder ADDRESS VALUE		ADDRESS: unix:/path or inet:127.0.0.1:PORT
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#define BUFFER 65536

static char in[BUFFER], out[BUFFER];
static char reply[512];
static size_t reply_n;

/* Unparsed bytes of a client between two reads; requests of the benchmark are short. */
struct client {
	union {
		uv_stream_t stream;
		uv_tcp_t tcp;
		uv_pipe_t pipe;
	};
	size_t n;
	char rest[256];
};

static void on_closed(uv_handle_t *handle)
{
	free(handle);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
	struct client *c = (struct client *)handle;
	(void)suggested;

	memcpy(in, c->rest, c->n);
	*ret = uv_buf_init(in + c->n, (unsigned)(sizeof in - c->n));
}

/* Bytes of the netstring at the front; 0: not all there, or none. */
static size_t request_length(const char *p, size_t n)
{
	size_t length = 0, i = 0;

	while (i < n && i < 7 && p[i] >= '0' && p[i] <= '9')
		length = length * 10 + (size_t)(p[i++] - '0');
	if (i == n || p[i] != ':' || n - i - 1 < length + 1)
		return 0;
	return i + 1 + length + 1;
}

static void on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *b)
{
	struct client *c = (struct client *)stream;
	size_t n = c->n, used = 0, out_n = 0, length;
	(void)b;

	if (got < 0) {
		uv_close((uv_handle_t *)stream, on_closed);
		return;
	}
	n += (size_t)got;
	while (out_n + reply_n <= sizeof out && (length = request_length(in + used, n - used))) {
		memcpy(out + out_n, reply, reply_n);
		out_n += reply_n;
		used += length;
	}
	c->n = n - used;
	if (c->n > sizeof c->rest) {
		uv_close((uv_handle_t *)stream, on_closed);
		return;
	}
	memcpy(c->rest, in + used, c->n);
	if (out_n) {
		uv_buf_t w = uv_buf_init(out, (unsigned)out_n);
		/* A client at depth 1 always has room, unless it is gone. */
		if (uv_try_write(stream, &w, 1) != (int)out_n)
			uv_close((uv_handle_t *)stream, on_closed);
	}
}

static void on_connection(uv_stream_t *server, int status)
{
	struct client *c = calloc(1, sizeof *c);

	if (status < 0 || !c)
		abort();
	if (server->type == UV_TCP) {
		uv_tcp_init(server->loop, &c->tcp);
	} else {
		uv_pipe_init(server->loop, &c->pipe, 0);
	}
	if (uv_accept(server, &c->stream) < 0 || uv_read_start(&c->stream, on_alloc, on_read) < 0)
		uv_close((uv_handle_t *)&c->stream, on_closed);
	else if (server->type == UV_TCP)
		uv_tcp_nodelay(&c->tcp, 1);
}

static int listen_on(uv_loop_t *loop, const char *address, struct client *server)
{
	struct sockaddr_in in4;
	const char *port = strrchr(address, ':');

	if (strncmp(address, "unix:", 5) == 0) {
		unlink(address + 5);
		uv_pipe_init(loop, &server->pipe, 0);
		if (uv_pipe_bind(&server->pipe, address + 5) < 0)
			return -1;
	} else {
		uv_tcp_init(loop, &server->tcp);
		uv_ip4_addr("127.0.0.1", port ? atoi(port + 1) : 0, &in4);
		if (uv_tcp_bind(&server->tcp, (struct sockaddr *)&in4, 0) < 0)
			return -1;
	}
	return uv_listen(&server->stream, 1024, on_connection);
}

int main(int argc, char **argv)
{
	static struct client server;
	uv_loop_t *loop = uv_default_loop();

	if (argc != 3 || strlen(argv[2]) > 200) {
		fputs("usage: responder ADDRESS VALUE\n", stderr);
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	reply_n = (size_t)snprintf(reply, sizeof reply, "%zu:OK %s,", strlen(argv[2]) + 3, argv[2]);
	if (listen_on(loop, argv[1], &server) < 0) {
		fprintf(stderr, "responder: cannot listen on %s\n", argv[1]);
		return 1;
	}
	return uv_run(loop, UV_RUN_DEFAULT);
}
