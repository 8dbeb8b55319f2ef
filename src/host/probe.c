/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The child says over a socket what came of it: one errno. Whoever started it waits for that and
 * for nothing else; one that cannot be killed, since it waits where no signal is taken, is left to
 * itself.
 *
 * A look wants what only the server can say: attributes as they are now, and how much room there
 * is. Who flushes waits for pages on their way, which nothing interrupts, and keeps the mount busy
 * meanwhile; so another one of the same path is not started beside it. It is known by its words in
 * /proc, also by the process after us.
 */
#include "host/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/mem.h"
#include "host/err-internal.h"
#include "host/resolve-internal.h"
#include "host/self.h"

#define FIRST_SAFE_FD 10
#define KILLED_NS NS_PER_S

static int make_socket(int *ret_fd, int *ret_child_fd, struct err *err)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return host_err(err, errno, "make a socket for a child");
	*ret_fd = pair[0];
	*ret_child_fd = fcntl(pair[1], F_DUPFD_CLOEXEC, FIRST_SAFE_FD);
	(void)close(pair[1]);
	return *ret_child_fd < 0 ? host_err(err, errno, "make a socket for a child") : 0;
}

/* 1 and what it says, or 0: it says nothing in time. */
static int await(struct ctx *ctx, int fd, int64_t ns, int *ret_said, struct err *err)
{
	int64_t until_ns = clock_now_ns() + ns;

	for (;;) {
		struct pollfd fds[2] = { { .fd = fd, .events = POLLIN },
					 { .fd = ctx_cancel_fd(ctx), .events = POLLIN } };
		int64_t left_ns = until_ns - clock_now_ns();

		if (ctx_check(ctx, err) < 0)
			return -1;
		if (left_ns <= 0)
			return 0;
		(void)poll(fds, 2, ctx_poll_ms(ctx, (int)(left_ns / NS_PER_MS) + 1));
		if (fds[0].revents)
			break;
	}
	return recv(fd, ret_said, sizeof(*ret_said), 0) == (ssize_t)sizeof(*ret_said)
		       ? 1
		       : err_set(err, ERR_UNAVAILABLE, "a child ended without a word");
}

static void end(pid_t pid)
{
	autofd int fd = -1;
	struct ctx ctx;
	struct err ignored; /* it has ended, or will */

	ctx_init(&ctx, 0);
	if (host_process_open(pid, &fd, &ignored) == 0 && host_process_kill(fd, &ignored) == 0)
		(void)host_process_wait(&ctx, pid, fd, KILLED_NS);
	ctx_done(&ctx);
}

/* As await. */
static int ask(struct ctx *ctx, const char *word, const char *path, int64_t ns, int *ret_said,
	       struct err *err)
{
	struct host_self what = { .word = word, .name = path };
	autofd int child_fd = -1;
	autofd int fd = -1;
	pid_t pid;
	int rc;

	if (ctx_check(ctx, err) < 0 || make_socket(&fd, &child_fd, err) < 0)
		return -1;
	what.fd = child_fd;
	if (host_self_start(&what, &pid, err) < 0)
		return -1;
	(void)close(TAKE_FD(child_fd)); /* so that its end is an end */
	rc = await(ctx, fd, ns, ret_said, err);
	end(pid);
	return rc;
}

int host_mount_answers(struct ctx *ctx, const char *path, int64_t ns, struct err *err)
{
	int said;

	return ask(ctx, HOST_PROBE_LOOK, path, ns, &said, err);
}

int host_mount_flush(struct ctx *ctx, const char *path, int64_t ns, struct err *err)
{
	int said;

	return host_self_is_here(HOST_PROBE_FLUSH, path)
		       ? 0
		       : ask(ctx, HOST_PROBE_FLUSH, path, ns, &said, err);
}

int host_mount_force(struct ctx *ctx, const char *path, int64_t ns, struct err *err)
{
	int said = 0;
	int rc = ask(ctx, HOST_PROBE_FORCE, path, ns, &said, err);

	if (rc < 0)
		return -1;
	if (rc == 0)
		return err_set(err, ERR_DEADLINE_EXCEEDED,
			       "unmount '%s' by force: the kernel does not let go of it", path);
	if (said == EBUSY)
		return err_os(err, ERR_FAILED_PRECONDITION, said,
			      "unmount '%s' by force: something is mounted below it", path);
	return said ? host_err(err, said, "unmount '%s' by force", path) : 0;
}

static int look(const char *path)
{
	autofd int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct statfs fs;
	struct statx st;

	return fd < 0 ||
			       statx(fd, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC, STATX_BASIC_STATS,
				     &st) < 0 ||
			       fstatfs(fd, &fs) < 0
		       ? errno
		       : 0;
}

static int flush(const char *path)
{
	autofd int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 || syncfs(fd) < 0 ? errno : 0;
}

static int force(const char *target)
{
	char path[PATH_MAX + 64];
	const char *name;
	autofd int fd = host_open_real_parent(target, &name);

	if (fd < 0)
		return fd == -ENOENT ? 0 : -fd;
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", fd, name);
	if (umount2(path, UMOUNT_NOFOLLOW | MNT_FORCE) == 0 || errno == EINVAL || errno == ENOENT)
		return 0;
	return errno;
}

static const struct {
	const char *word;
	int (*run)(const char *path); /* 0 or an errno */
} children[] = {
	{ HOST_PROBE_LOOK, look },
	{ HOST_PROBE_FLUSH, flush },
	{ HOST_PROBE_FORCE, force },
};

static size_t find_child(const char *word)
{
	size_t i = 0;

	while (i < ARRAY_LEN(children) && strcmp(children[i].word, word) != 0)
		i++;
	return i;
}

bool host_probe_knows(const char *word)
{
	return find_child(word) < ARRAY_LEN(children);
}

int host_probe_child(const char *word, const char *path)
{
	socklen_t len = sizeof(int);
	size_t i = find_child(word);
	int type = 0;
	int said;

	if (i == ARRAY_LEN(children) ||
	    getsockopt(HOST_SELF_FD, SOL_SOCKET, SO_TYPE, &type, &len) < 0 ||
	    type != SOCK_SEQPACKET)
		return 1;
	said = children[i].run(path);
	(void)send(HOST_SELF_FD, &said, sizeof(said), MSG_NOSIGNAL);
	return 0;
}
