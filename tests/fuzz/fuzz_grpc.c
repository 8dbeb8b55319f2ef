/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes from a client to the gRPC server: HTTP/2 frames, header blocks, gRPC prefixes,
 * messages.
 *
 * The server is the real one on a real socket, since that is where lives of connections, sessions,
 * streams and calls end in each other's callbacks. One input is one connection: all bytes are sent,
 * then our half is closed, which ends the session whatever state it is in, and the round is over
 * when the server's half closes too. Handlers run inline, so a round has one thread and one order.
 * The server lives on between rounds: what an input leaves behind, a later one trips over. Half of
 * the rounds hang up without reading, so that answers meet a closed socket.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "event/loop.h"
#include "event/work.h"
#include "grpc/server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct work_lane_def lane = { .name = "none", .threads = 1 };
static const struct work_options one_lane = { .lanes = &lane, .n_lanes = 1 };
static struct ev_loop *loop;
static struct work *work;
static struct grpc_server *server;
static struct net_addr addr;
static char dir[] = "/tmp/fuzz-grpc-XXXXXX";

static void echo(struct grpc_call *call, void *arg)
{
	size_t n = 0;
	const uint8_t *req = grpc_call_request(call, &n);

	(void)arg;
	grpc_call_reply(call, req, n);
}

static void refuse(struct grpc_call *call, void *arg)
{
	struct err err = { 0 };
	size_t n = 0;
	const uint8_t *req = grpc_call_request(call, &n);

	(void)arg;
	err_set(&err, n > 0 ? req[0] % 17 : ERR_UNKNOWN, "%.*s", (int)(n < 256 ? n : 256),
		(const char *)req);
	grpc_call_fail(call, &err);
}

static void say_nothing(struct grpc_call *call, void *arg)
{
	(void)call;
	(void)arg;
}

static const struct grpc_method methods[] = {
	{ .path = "/f.F/Echo", .fn = echo, .is_inline = true },
	{ .path = "/f.F/Refuse", .fn = refuse, .is_inline = true },
	{ .path = "/f.F/SayNothing", .fn = say_nothing, .is_inline = true },
};

static void stop_server(void)
{
	grpc_server_free(server);
	work_free(work);
	ev_loop_free(loop);
	(void)rmdir(dir);
}

static void start_server(void)
{
	struct err err = { 0 };

	if (!mkdtemp(dir) || ev_loop_new(&loop) < 0 || work_new(&one_lane, &work) < 0)
		abort();
	addr.kind = NET_ADDR_UNIX;
	snprintf(addr.path, sizeof(addr.path), "%s/s", dir);
	server = grpc_server_new(loop, work);
	grpc_server_add(server, methods, ARRAY_LEN(methods), NULL);
	if (grpc_server_listen(server, &addr, &(struct grpc_listen_options){ 0 }, &err) < 0)
		abort();
	atexit(stop_server);
}

/* Reads what the server says until it closes. All there is, since a reset is told only once. */
static void read_answer(void *arg, unsigned events)
{
	const int *fd = arg;
	uint8_t buf[4096];
	ssize_t n = 0;

	(void)events;
	do
		n = read(*fd, buf, sizeof(buf));
	while (n > 0);
	if (n == 0 || errno != EAGAIN)
		ev_loop_stop(loop);
}

static void connect_to_server(int fd)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };

	memcpy(sa.sun_path, addr.path, sizeof(sa.sun_path));
	if (fd < 0 || connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		abort();
}

/* A second connection that must be served: the server lives, and took all of the first one's
 * bytes, which came before. */
static void probe_server(void)
{
	static const uint8_t hello[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0";
	struct ev_io *io = NULL;
	autofd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	connect_to_server(fd);
	if (fd_write_all(fd, hello, sizeof(hello)) < 0 || shutdown(fd, SHUT_WR) < 0 ||
	    ev_io_new(loop, fd, read_answer, &fd, &io) < 0 || ev_io_want(io, EV_READ) < 0)
		abort();
	ev_loop_run(loop);
	ev_io_free(io);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ev_io *io = NULL;
	autofd int fd = -1;

	if (!loop)
		start_server();
	if (size > 65536)
		return -1;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	connect_to_server(fd);
	if (fd_write_all(fd, data, size) < 0)
		abort();
	if (size % 2) {
		close(TAKE_FD(fd));
		probe_server();
		return 0;
	}
	if (shutdown(fd, SHUT_WR) < 0 || ev_io_new(loop, fd, read_answer, &fd, &io) < 0 ||
	    ev_io_want(io, EV_READ) < 0)
		abort();
	ev_loop_run(loop);
	ev_io_free(io);
	return 0;
}
