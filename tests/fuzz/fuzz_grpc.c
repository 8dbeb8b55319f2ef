/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes from a client to the gRPC server: HTTP/2 frames, header blocks, gRPC prefixes,
 * messages.
 *
 * The server is the real one on a real socket, since that is where lives of connections, sessions,
 * streams and calls end in each other's callbacks. One input is one connection: all bytes are sent,
 * and when the server has dealt with them our half is closed, which ends the session whatever state
 * it is in, and the round is over when the server's half closes too. The server lives on between
 * rounds: what an input leaves behind, a later one trips over. Half of the rounds hang up without
 * reading, so that answers meet a closed socket.
 *
 * Handlers run inline or, those that receive, at the end of the loop's turn: event/work and
 * event/sync are this file's, so a round has one thread and one order. A handler that would have to
 * wait finds instead that nobody listens any more.
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
#include "base/vec.h"
#include "event/loop.h"
#include "event/sync.h"
#include "event/work.h"
#include "grpc/call-internal.h"
#include "grpc/server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct job {
	work_fn fn;
	void *arg;
};

static struct ev_loop *loop;
static struct ev_turn *turn; /* of the jobs */
static VEC(struct job) jobs;
static struct grpc_server *server;
static struct net_addr addr;
static char dir[] = "/tmp/fuzz-grpc-XXXXXX";

/* ---- what handlers stand on ---- */

int work_submit(struct work *w, unsigned lane, work_fn fn, void *arg)
{
	(void)w;
	if (lane > 0)
		return -EBUSY;
	vec_push(&jobs, ((struct job){ fn, arg }));
	ev_turn_start(turn);
	return 0;
}

static void run_jobs(void *arg)
{
	(void)arg;
	for (size_t i = 0; i < jobs.n; i++)
		jobs.v[i].fn(jobs.v[i].arg);
	jobs.n = 0;
}

/* Of event/loop, for threads that nobody starts here. */
int work_thread_start(const char *name, work_fn fn, void *arg, struct work_thread **ret_thread)
{
	abort();
}

void work_thread_join(struct work_thread *t)
{
	abort();
}

_Thread_local void (*sync_before_wait)(void);

void sync_cond_init(pthread_cond_t *c)
{
	pthread_cond_init(c, NULL);
}

/* In here only handlers wait, for the client: with their call's lock. */
int sync_cond_wait_until(pthread_cond_t *c, pthread_mutex_t *m, int64_t deadline_ns)
{
	struct grpc_call *call = container_of(m, struct grpc_call, lock);

	if (c != &call->changed || call->is_gone)
		abort();
	call->is_gone = true;
	return 0;
}

/* ---- handlers ---- */

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

static void count(struct grpc_call *call, void *arg)
{
	const uint8_t *m = NULL;
	struct err err = { 0 };
	size_t n = 0, bytes = 0;
	char *text = NULL;
	int r = 0;

	while ((r = grpc_call_receive(call, &m, &n, &err)) == 1)
		for (size_t i = 0; i < n; i++)
			bytes += m[i] > 0;
	text = arena_printf(grpc_call_ctx(call)->arena, "%zu", bytes);
	if (r < 0)
		grpc_call_fail(call, &err);
	else
		grpc_call_reply(call, text, strlen(text));
}

/* A message that begins with 'q' ends it. */
static void chat(struct grpc_call *call, void *arg)
{
	const uint8_t *m = NULL;
	struct err err = { 0 };
	size_t n = 0;

	while (grpc_call_receive(call, &m, &n, &err) == 1)
		if ((n > 0 && m[0] == 'q') || grpc_call_send(call, m, n, &err) < 0)
			break;
	if (err.code != ERR_OK)
		grpc_call_fail(call, &err);
	else
		grpc_call_finish(call);
}

static const struct grpc_method methods[] = {
	{ .path = "/f.F/Echo", .fn = echo, .is_inline = true },
	{ .path = "/f.F/Refuse", .fn = refuse, .is_inline = true },
	{ .path = "/f.F/SayNothing", .fn = say_nothing, .is_inline = true },
	{ .path = "/f.F/Count", .fn = count, .kind = GRPC_CLIENT_STREAM },
	{ .path = "/f.F/Chat", .fn = chat, .kind = GRPC_BIDI },
	{ .path = "/f.F/Busy", .fn = chat, .kind = GRPC_BIDI, .lane = 1 },
};

static void stop_server(void)
{
	grpc_server_free(server);
	ev_turn_free(turn);
	ev_loop_free(loop);
	vec_done(&jobs);
	(void)rmdir(dir);
}

static void start_server(void)
{
	struct err err = { 0 };

	if (!mkdtemp(dir) || ev_loop_new(&loop) < 0)
		abort();
	turn = ev_turn_new(loop, run_jobs, NULL);
	addr.kind = NET_ADDR_UNIX;
	snprintf(addr.path, sizeof(addr.path), "%s/s", dir);
	server = grpc_server_new(loop, NULL);
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
	probe_server();
	if (shutdown(fd, SHUT_WR) < 0 || ev_io_new(loop, fd, read_answer, &fd, &io) < 0 ||
	    ev_io_want(io, EV_READ) < 0)
		abort();
	ev_loop_run(loop);
	ev_io_free(io);
	return 0;
}
