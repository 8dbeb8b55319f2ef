/* SPDX-License-Identifier: Apache-2.0 */
/* A socket of messages, so that an order and an answer are each whole or not there, and the end of
 * either side is seen by the other. */
#include "backend/ceph/server.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/mem.h"
#include "host/fs.h"
#include "host/self.h"

#define FIRST_SAFE_FD 10
#define ANSWER_NS (120 * NS_PER_S) /* beside the ctx's deadline */
#define KILLED_NS (5 * NS_PER_S)
#define MAGIC UINT32_C(0x52424453)

struct answer {
	uint32_t magic;
	int32_t code; /* enum err_code; ERR_OK: it serves */
	int32_t os;
	char msg[ERR_MSG_MAX];
};

void ceph_server_order_encode(const char *const *texts, size_t n_texts, struct str *out)
{
	for (size_t i = 0; i < n_texts; i++)
		str_append_wiping(out, texts[i], strlen(texts[i]) + 1);
}

int ceph_server_order_decode(const char *bytes, size_t n, const char *first, const char **texts,
			     size_t n_texts)
{
	size_t at = 0;

	for (size_t i = 0; i < n_texts; i++) {
		const char *end = memchr(bytes + at, '\0', n - at);

		if (!end)
			return -1;
		texts[i] = bytes + at;
		at = (size_t)(end - bytes) + 1;
	}
	return at == n && str_is_equal(texts[0], first) ? 0 : -1;
}

static int make_socket(int *ret_fd, int *ret_child_fd, struct err *err)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_os(err, ERR_UNAVAILABLE, errno, "make a socket for a server");
	*ret_fd = pair[0];
	*ret_child_fd = fcntl(pair[1], F_DUPFD_CLOEXEC, FIRST_SAFE_FD);
	(void)close(pair[1]);
	return *ret_child_fd < 0 ? err_os(err, ERR_UNAVAILABLE, errno, "make a socket for a server")
				 : 0;
}

static int send_order(int fd, const struct str *order, struct err *err)
{
	if (order->len > CEPH_SERVER_ORDER_MAX)
		return err_set(err, ERR_INVALID_ARGUMENT, "the volume's names are too long");
	if (send(fd, order->buf, order->len, MSG_NOSIGNAL) != (ssize_t)order->len)
		return err_os(err, ERR_UNAVAILABLE, errno, "tell the server its volume");
	return 0;
}

/* What the server says, or that it ended without a word, or that the time is up. */
static int await(struct ctx *ctx, int fd, struct err *err)
{
	int64_t until_ns = clock_now_ns() + ANSWER_NS;
	struct answer said;

	for (;;) {
		struct pollfd fds[2] = { { .fd = fd, .events = POLLIN },
					 { .fd = ctx_cancel_fd(ctx), .events = POLLIN } };
		int64_t left_ns = until_ns - clock_now_ns();

		if (ctx_check(ctx, err) < 0)
			return err_wrap(err, "it is still opening the volume");
		if (left_ns <= 0)
			return err_set(err, ERR_DEADLINE_EXCEEDED,
				       "it did not open the volume in time");
		(void)poll(fds, 2, ctx_poll_ms(ctx, (int)(left_ns / NS_PER_MS) + 1));
		if (fds[0].revents)
			break;
	}
	if (recv(fd, &said, sizeof(said), 0) != (ssize_t)sizeof(said) || said.magic != MAGIC)
		return err_set(err, ERR_UNAVAILABLE, "it ended without a word");
	if (said.code == ERR_OK)
		return 0;
	said.msg[sizeof(said.msg) - 1] = '\0';
	(void)err_set(err, (enum err_code)said.code, "%s", said.msg);
	err->os = said.os;
	return -1;
}

/* One that serves nobody yet, and whose socket has ended. */
static void end_server(pid_t pid, int64_t undo_ns)
{
	autofd int fd = -1;
	struct ctx ctx;
	struct err ignored; /* it is gone, or will be */

	ctx_init(&ctx, 0);
	if (host_process_open(pid, &fd, &ignored) == 0 &&
	    !(undo_ns && host_process_wait(&ctx, pid, fd, undo_ns)) &&
	    host_process_kill(fd, &ignored) == 0)
		(void)host_process_wait(&ctx, pid, fd, KILLED_NS);
	ctx_done(&ctx);
}

int ceph_server_start(struct ctx *ctx, const struct ceph_server *server, const struct str *order,
		      pid_t *ret_pid, struct err *err)
{
	struct host_self what = { .word = server->word, .name = server->token };
	autofd int child_fd = -1;
	autofd int fd = -1;
	pid_t pid;

	if (ctx_check(ctx, err) < 0 || make_socket(&fd, &child_fd, err) < 0)
		return -1;
	what.fd = child_fd;
	if (host_self_start(&what, &pid, err) < 0)
		return -1;
	(void)close(TAKE_FD(child_fd)); /* so that the server's end is an end */
	if (send_order(fd, order, err) < 0 || await(ctx, fd, err) < 0) {
		(void)close(TAKE_FD(fd));
		end_server(pid, server->undo_ns);
		return -1;
	}
	if (ret_pid)
		*ret_pid = pid;
	return 0;
}

int ceph_server_read(char *bytes, size_t *ret_n)
{
	socklen_t len = sizeof(int);
	int type = 0;
	ssize_t n;

	if (getsockopt(HOST_SELF_FD, SOL_SOCKET, SO_TYPE, &type, &len) < 0 ||
	    type != SOCK_SEQPACKET)
		return -1;
	n = recv(HOST_SELF_FD, bytes, CEPH_SERVER_ORDER_MAX, 0);
	*ret_n = n > 0 ? (size_t)n : 0;
	return 0;
}

int ceph_server_answer(const struct err *err)
{
	struct answer answer = { .magic = MAGIC };

	if (err) {
		answer.code = (int32_t)err->code;
		answer.os = err->os;
		memcpy(answer.msg, err->msg, sizeof(answer.msg));
	}
	return send(HOST_SELF_FD, &answer, sizeof(answer), MSG_NOSIGNAL) == (ssize_t)sizeof(answer)
		       ? 0
		       : -1;
}

bool ceph_server_is_alone(void)
{
	struct pollfd fd = { .fd = HOST_SELF_FD, .events = POLLRDHUP };

	return poll(&fd, 1, 0) > 0;
}

int ceph_server_lock(int dir_fd, const char *name, int *ret_fd, struct err *err)
{
	int holder = 0;

	if (host_lock_take(dir_fd, name, ret_fd, &holder, err) == 0)
		return 0;
	return err->code != ERR_ABORTED
		       ? -1
		       : err_wrap(err, "an earlier server (process %d) of the volume has not ended",
				  holder);
}
