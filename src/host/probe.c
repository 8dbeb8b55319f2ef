/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The child says over a socket what came of it: one errno. Whoever started it waits for that and
 * for nothing else; one that cannot be killed, since it waits where no signal is taken, is left to
 * itself, until it ends. There is one such at most for each filesystem that is silent and for each
 * mount that is taken down by force: it keeps what it waits for, so the number that the mount table
 * has of that is nobody else's meanwhile.
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
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/vec.h"
#include "host/err-internal.h"
#include "host/mount.h"
#include "host/resolve-internal.h"
#include "host/self.h"

#define FIRST_SAFE_FD 10
#define KILLED_NS NS_PER_S

#define LEFT_MAX 64

/* A child that does not die. */
struct left {
	const char *word;
	uint64_t of; /* what it waits for: key_of */
	pid_t pid;
	int fd;
};

static pthread_mutex_t left_lock = PTHREAD_MUTEX_INITIALIZER; /* guards left; nothing blocks */
static VEC(struct left) left;

/* 0: nothing is mounted there. */
static int key_of(const char *word, const char *path, uint64_t *ret_key, struct err *err)
{
	struct host_mountinfo info;
	autofree char *line = NULL;
	int rc = host_mountinfo_find_top(path, &line, &info, err);

	*ret_key = rc <= 0 ? 0 : strcmp(word, HOST_PROBE_FORCE) == 0 ? info.id : info.device;
	return rc < 0 ? -1 : 0;
}

/* Under the lock. */
static void sweep_left(void)
{
	for (size_t i = left.n; i > 0; i--) {
		struct left *l = &left.v[i - 1];
		struct pollfd fd = { .fd = l->fd, .events = POLLIN };

		if (poll(&fd, 1, 0) != 1)
			continue;
		(void)waitpid(l->pid, NULL, WNOHANG);
		(void)close(l->fd);
		*l = left.v[--left.n];
	}
}

/* 1: one is waiting for just that. */
static int look_at_left(const char *word, uint64_t key, struct err *err)
{
	bool is_waiting = false;
	size_t n;

	pthread_mutex_lock(&left_lock);
	sweep_left();
	n = left.n;
	for (size_t i = 0; i < n && key; i++)
		is_waiting |= left.v[i].of == key && strcmp(left.v[i].word, word) == 0;
	pthread_mutex_unlock(&left_lock);
	if (!is_waiting && n >= LEFT_MAX)
		return err_set(err, ERR_RESOURCE_EXHAUSTED,
			       "%zu children that ask what is mounted wait for servers that do not "
			       "answer, and do not die",
			       n);
	return is_waiting;
}

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

static void end(pid_t pid, const char *word, uint64_t key)
{
	autofd int fd = -1;
	struct ctx ctx;
	struct err ignored; /* it has ended */

	ctx_init(&ctx, 0);
	if (host_process_open(pid, &fd, &ignored) == 0 &&
	    (host_process_kill(fd, &ignored) < 0 || !host_process_wait(&ctx, pid, fd, KILLED_NS))) {
		pthread_mutex_lock(&left_lock);
		vec_push(&left, ((struct left){ word, key, pid, TAKE_FD(fd) }));
		pthread_mutex_unlock(&left_lock);
	}
	ctx_done(&ctx);
}

/* As await. */
static int ask(struct ctx *ctx, const char *word, const char *path, int64_t ns, int *ret_said,
	       struct err *err)
{
	struct host_self what = { .word = word, .name = path };
	autofd int child_fd = -1;
	autofd int fd = -1;
	uint64_t key;
	pid_t pid;
	int rc;

	if (ctx_check(ctx, err) < 0 || key_of(word, path, &key, err) < 0)
		return -1;
	rc = look_at_left(word, key, err);
	if (rc != 0)
		return rc < 0 ? -1 : 0;
	if (make_socket(&fd, &child_fd, err) < 0)
		return -1;
	what.fd = child_fd;
	if (host_self_start(&what, &pid, err) < 0)
		return -1;
	(void)close(TAKE_FD(child_fd)); /* so that its end is an end */
	rc = await(ctx, fd, ns, ret_said, err);
	end(pid, word, key);
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
