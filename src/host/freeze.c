/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Freezing by guards; freeze_guard.c is what they do.
 *
 * A guard is this very program (/proc/self/exe, which is there even after an upgrade has replaced
 * the file), since fork is not for a threaded process and a thread dies with it. It is started and
 * has answered before anything is frozen. Its socket is the only thing between it and us: when it
 * closes, by us or by our death, the guard thaws.
 *
 * FIFREEZE is done by the guards, so none that hangs holds us up, and they do it at the same time:
 * an idle filesystem takes 40 ms for it, two as well. A guard that hangs is not waited for and
 * never killed; it stays as a zombie, when it has ended, until this process does.
 */
#include "host/freeze.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/mem.h"
#include "host/err-internal.h"
#include "host/freeze-internal.h"

#define FIRST_SAFE_FD 10
#define START_NS (10 * NS_PER_S)
#define THAW_NS (5 * NS_PER_S)
#define END_NS (2 * NS_PER_S)

struct guard {
	int fd; /* -1: nothing more is said */
	int dir_fd;
	pid_t pid; /* 0: none */
	bool is_frozen;
};

struct host_freeze {
	size_t n;
	struct guard guards[];
};

static int start_guard(struct guard *g, int dir_fd, struct err *err)
{
	struct host_self what = { .word = HOST_FREEZE_GUARD, .is_silent = true };
	autofd int child_fd = -1;
	int pair[2];

	g->dir_fd = fcntl(dir_fd, F_DUPFD_CLOEXEC, FIRST_SAFE_FD);
	if (g->dir_fd < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return host_err(err, errno, "prepare to freeze a filesystem");
	g->fd = pair[0];
	child_fd = fcntl(pair[1], F_DUPFD_CLOEXEC, FIRST_SAFE_FD);
	(void)close(pair[1]);
	if (child_fd < 0)
		return host_err(err, errno, "prepare to freeze a filesystem");
	what.fd = child_fd;
	return host_self_start(&what, &g->pid, err) < 0 ? err_wrap(err, "guard a frozen filesystem")
							: 0;
}

static int say(struct guard *g, enum freeze_word word, int64_t limit_ns, int fd)
{
	struct freeze_message message = { .word = word, .limit_ns = limit_ns };
	struct iovec part = { &message, sizeof(message) };
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct msghdr header = { .msg_iov = &part, .msg_iovlen = 1 };

	if (fd >= 0) {
		struct cmsghdr *with = (struct cmsghdr *)(void *)control;

		header.msg_control = control;
		header.msg_controllen = sizeof(control);
		*with = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(int)),
					  .cmsg_level = SOL_SOCKET,
					  .cmsg_type = SCM_RIGHTS };
		memcpy(CMSG_DATA(with), &fd, sizeof(int));
	}
	return sendmsg(g->fd, &header, MSG_NOSIGNAL) == (ssize_t)sizeof(message) ? 0 : -1;
}

/* What the guard says next, if it is this. ctx may be NULL. */
static int hear(struct ctx *ctx, struct guard *g, enum freeze_word word, int64_t until_ns,
		struct freeze_message *ret_message, struct err *err)
{
	for (;;) {
		struct pollfd fds[2] = {
			{ .fd = g->fd, .events = POLLIN },
			{ .fd = ctx ? ctx_cancel_fd(ctx) : -1, .events = POLLIN },
		};
		int64_t left_ns = until_ns - clock_now_ns();
		int wait_ms = left_ns > 0 ? (int)(left_ns / NS_PER_MS) + 1 : 0;

		if (ctx && ctx_check(ctx, err) < 0)
			return -1;
		(void)poll(fds, 2, ctx ? ctx_poll_ms(ctx, wait_ms) : wait_ms);
		if (fds[0].revents)
			break;
		if (left_ns <= 0)
			return err_set(err, ERR_DEADLINE_EXCEEDED,
				       "no answer in time, so its disk is slow or dead");
	}
	if (recv(g->fd, ret_message, sizeof(*ret_message), 0) != (ssize_t)sizeof(*ret_message) ||
	    ret_message->word != word)
		return err_set(err, ERR_UNAVAILABLE, "its guard has ended early");
	return 0;
}

/* Its end, if that comes until then: one that waits for a disk is left alone. */
static void bury(const struct guard *g, int64_t until_ns)
{
	autofd int pid_fd = -1;
	struct pollfd fd = { .events = POLLIN };
	int64_t left_ns = until_ns - clock_now_ns();

	if (!g->pid)
		return;
	pid_fd = (int)syscall(SYS_pidfd_open, g->pid, 0);
	fd.fd = pid_fd;
	if (pid_fd >= 0)
		(void)poll(&fd, 1, left_ns > 0 ? (int)(left_ns / NS_PER_MS) : 0);
	(void)waitpid(g->pid, NULL, WNOHANG);
}

static void free_freeze(struct host_freeze *f)
{
	int64_t until_ns = clock_now_ns() + END_NS;

	/* all of them first: none is to wait for another's end */
	for (size_t i = 0; i < f->n; i++) {
		fd_closep(&f->guards[i].fd);
		fd_closep(&f->guards[i].dir_fd);
	}
	for (size_t i = 0; i < f->n; i++)
		bury(&f->guards[i], until_ns);
	free(f);
}

/* Where the filesystem is, for people. */
struct place {
	char path[200];
};

static const char *place_of(const struct guard *g, struct place *place)
{
	char link[64];
	ssize_t n;

	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", g->dir_fd);
	n = readlink(link, place->path, sizeof(place->path) - 1);
	place->path[n > 0 ? n : 0] = '\0';
	return place->path;
}

static int thaw_failed(const struct guard *g, struct err *err)
{
	struct place place;
	struct err ours;

	/* with the guard dead it is for us; nobody knows since when it is thawed */
	if (err->code == ERR_UNAVAILABLE && host_freeze_thaw(g->dir_fd, &ours) < 0)
		*err = ours;
	if (err->code == ERR_DEADLINE_EXCEEDED)
		return err_set(err, ERR_INTERNAL,
			       "the frozen filesystem at '%s' does not thaw; its guard goes on "
			       "trying",
			       place_of(g, &place));
	return err_wrap(err, "thaw the filesystem at '%s'", place_of(g, &place));
}

static int judge(const struct guard *g, const struct freeze_message *message, struct err *err)
{
	struct place place;

	switch ((enum freeze_ended)message->ended) {
	case FREEZE_ON_TIME:
		return 0;
	case FREEZE_TIME_WAS_UP:
		return err_set(err, ERR_DEADLINE_EXCEEDED,
			       "the filesystem at '%s' was frozen for as long as it may be, and "
			       "thawed before all was done",
			       place_of(g, &place));
	case FREEZE_WAS_NOT:
		return err_set(err, ERR_ABORTED,
			       "somebody else thawed the filesystem at '%s' while it was to stay "
			       "frozen",
			       place_of(g, &place));
	}
	return err_set(err, ERR_INTERNAL, "the guard of a frozen filesystem said %u",
		       message->ended);
}

/* Tells all at once, then hears all; the first trouble is kept. */
static int thaw_all(struct host_freeze *f, struct err *err)
{
	int64_t until_ns = clock_now_ns() + THAW_NS;
	struct err other;
	int rc = 0;

	for (size_t i = 0; i < f->n; i++) {
		if (f->guards[i].is_frozen)
			(void)say(&f->guards[i], FREEZE_UNDO, 0, -1); /* its answer tells */
	}
	for (size_t i = 0; i < f->n; i++) {
		struct guard *g = &f->guards[i];
		struct err *to = rc < 0 ? &other : err;
		struct freeze_message message;

		if (!g->is_frozen)
			continue;
		if (hear(NULL, g, FREEZE_THAWED, until_ns, &message, to) < 0)
			rc = thaw_failed(g, to);
		else if (judge(g, &message, to) < 0)
			rc = -1;
	}
	return rc;
}

static int freezing_failed(const struct guard *g, int errnum, struct err *err)
{
	struct place place;
	const char *path = place_of(g, &place);

	if (errnum == EBUSY)
		return err_os(err, ERR_ABORTED, errnum,
			      "freeze the filesystem at '%s' (somebody else has frozen it)", path);
	if (errnum == EOPNOTSUPP || errnum == ENOTTY)
		return err_os(err, ERR_FAILED_PRECONDITION, errnum,
			      "freeze the filesystem at '%s' (this kind cannot be frozen)", path);
	return host_err(err, errnum, "freeze the filesystem at '%s'", path);
}

static int start_all(struct ctx *ctx, struct host_freeze *f, const int *dir_fds, int64_t limit_ns,
		     struct err *err)
{
	int64_t until_ns = clock_now_ns() + START_NS;
	struct freeze_message message;

	for (size_t i = 0; i < f->n; i++) {
		if (ctx_check(ctx, err) < 0 || start_guard(&f->guards[i], dir_fds[i], err) < 0)
			return -1;
		(void)say(&f->guards[i], FREEZE_HELLO, limit_ns, f->guards[i].dir_fd);
	}
	for (size_t i = 0; i < f->n; i++) {
		if (hear(ctx, &f->guards[i], FREEZE_READY, until_ns, &message, err) < 0)
			return -1;
	}
	return 0;
}

/* What failed is not frozen. What is not heard of will be thawed by its guard; of a dead guard it
 * is not known, so it is thawed too. All are heard, so that those who are frozen are known. */
static int freeze_all(struct ctx *ctx, struct host_freeze *f, int64_t limit_ns, struct err *err)
{
	int64_t until_ns = clock_now_ns() + limit_ns;
	struct place place;
	struct err other;
	int rc = 0;

	for (size_t i = 0; i < f->n; i++)
		(void)say(&f->guards[i], FREEZE_DO, 0, -1); /* its answer tells */
	for (size_t i = 0; i < f->n; i++) {
		struct guard *g = &f->guards[i];
		struct err *to = rc < 0 ? &other : err;
		struct freeze_message message;

		if (hear(ctx, g, FREEZE_FROZEN, until_ns, &message, to) < 0) {
			g->is_frozen = to->code == ERR_UNAVAILABLE;
			rc = err_wrap(to, "freeze the filesystem at '%s'", place_of(g, &place));
		} else if (message.os) {
			rc = freezing_failed(g, message.os, to);
		} else {
			g->is_frozen = true;
		}
	}
	return rc;
}

int host_freeze_begin(struct ctx *ctx, struct host_freeze **ret_freeze, const int *dir_fds,
		      size_t n, int64_t limit_ns, struct err *err)
{
	struct host_freeze *f = xcalloc(1, sizeof(*f) + n * sizeof(f->guards[0]));
	struct err undo;

	assert(n > 0 && n <= HOST_FREEZE_MAX && limit_ns > 0);
	f->n = n;
	for (size_t i = 0; i < n; i++)
		f->guards[i] = (struct guard){ .fd = -1, .dir_fd = -1 };
	if (start_all(ctx, f, dir_fds, limit_ns, err) < 0 ||
	    freeze_all(ctx, f, limit_ns, err) < 0) {
		(void)thaw_all(f, &undo); /* what is said is why it was to be undone */
		free_freeze(f);
		return -1;
	}
	*ret_freeze = f;
	return 0;
}

int host_freeze_end(struct host_freeze *f, struct err *err)
{
	int rc = thaw_all(f, err);

	free_freeze(f);
	return rc;
}

int host_freeze_thaw(int dir_fd, struct err *err)
{
	if (ioctl(dir_fd, FITHAW, 0) < 0 && errno != EINVAL && errno != EOPNOTSUPP)
		return host_err(err, errno, "thaw a filesystem");
	return 0;
}

int host_fs_sync(int fd, struct err *err)
{
	if (syncfs(fd) < 0)
		return host_err(err, errno, "write out a filesystem");
	return 0;
}
