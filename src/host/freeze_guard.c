/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guard of one frozen filesystem.
 *
 * It is one process, with one thread, for one filesystem: FIFREEZE of a filesystem whose disk does
 * not answer waits for ever and cannot be interrupted, so it must not keep anybody from thawing the
 * others; and a process that is killed in the midst of it leaves a frozen filesystem once the disk
 * answers. So nobody kills a guard. When FIFREEZE returns after all, the guard finds that nobody is
 * there any more and thaws at once.
 *
 * It writes nothing anywhere, so that it cannot come to wait for what it has frozen itself. Signals
 * that ask a process to end do not concern it: it ends when its work does.
 */
#include <errno.h>
#include <linux/fs.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "host/freeze-internal.h"
#include "host/freeze.h"

#define THAW_AGAIN_MS 100

struct guard {
	int dir_fd;
	int64_t limit_ns;
	int64_t until_ns;
	enum freeze_ended ended;
};

/* The next message, with its fd if it brings one: 1; 0 when the time is up; -1 when the other side
 * is gone. until_ns INT64_MAX: no time. */
static int receive(struct freeze_message *message, int *ret_fd, int64_t until_ns)
{
	char control[CMSG_SPACE(sizeof(int))];
	struct iovec part = { message, sizeof(*message) };
	struct msghdr header = { .msg_iov = &part,
				 .msg_iovlen = 1,
				 .msg_control = control,
				 .msg_controllen = sizeof(control) };
	const struct cmsghdr *found;

	for (;;) {
		struct pollfd fd = { .fd = FREEZE_GUARD_FD, .events = POLLIN };
		int64_t left_ns = until_ns == INT64_MAX ? 0 : until_ns - clock_now_ns();
		int wait_ms =
			until_ns == INT64_MAX ? -1 : (int)((left_ns + NS_PER_MS - 1) / NS_PER_MS);

		if (left_ns < 0)
			return 0;
		if (poll(&fd, 1, wait_ms) == 1)
			break;
	}
	if (recvmsg(FREEZE_GUARD_FD, &header, MSG_CMSG_CLOEXEC) != (ssize_t)sizeof(*message))
		return -1;
	found = CMSG_FIRSTHDR(&header);
	if (ret_fd && found && found->cmsg_type == SCM_RIGHTS)
		memcpy(ret_fd, CMSG_DATA(found), sizeof(int));
	return 1;
}

static void say(enum freeze_word word, int os, enum freeze_ended ended)
{
	struct freeze_message message = { .word = word, .os = os, .ended = ended };

	/* nobody there: the next receive tells */
	(void)send(FREEZE_GUARD_FD, &message, sizeof(message), MSG_NOSIGNAL);
}

/* Until it is thawed. Not frozen is fine for the filesystem, though not for those who counted on
 * it. */
static void thaw(struct guard *g)
{
	while (ioctl(g->dir_fd, FITHAW, 0) < 0) {
		if (errno == EINVAL) {
			if (g->ended == FREEZE_ON_TIME)
				g->ended = FREEZE_WAS_NOT;
			return;
		}
		(void)poll(NULL, 0, THAW_AGAIN_MS);
	}
}

/* While it is frozen. */
static void keep(struct guard *g)
{
	struct freeze_message message;
	int rc = receive(&message, NULL, g->until_ns);

	if (rc == 0)
		g->ended = FREEZE_TIME_WAS_UP;
	thaw(g);
	if (rc == 0 && receive(&message, NULL, INT64_MAX) < 0)
		return;
	if (rc >= 0)
		say(FREEZE_THAWED, 0, g->ended);
}

static void ignore_signals(void)
{
	static const int signals[] = { SIGHUP,  SIGINT,  SIGQUIT, SIGPIPE,
				       SIGALRM, SIGTERM, SIGUSR1, SIGUSR2 };

	for (size_t i = 0; i < ARRAY_LEN(signals); i++)
		(void)signal(signals[i], SIG_IGN);
}

int host_freeze_guard(void)
{
	struct freeze_message message = { 0 };
	struct guard g = { .dir_fd = -1 };
	int type = 0;
	int rc;

	if (getsockopt(FREEZE_GUARD_FD, SOL_SOCKET, SO_TYPE, &type, &(socklen_t){ sizeof(type) }) <
		    0 ||
	    type != SOCK_SEQPACKET)
		return 1;
	ignore_signals();
	(void)prctl(PR_SET_NAME, HOST_FREEZE_GUARD);
	if (receive(&message, &g.dir_fd, INT64_MAX) < 0 || message.word != FREEZE_HELLO ||
	    g.dir_fd < 0)
		return 1;
	g.limit_ns = message.limit_ns;
	say(FREEZE_READY, 0, FREEZE_ON_TIME);
	if (receive(&message, NULL, INT64_MAX) < 0 || message.word != FREEZE_DO)
		return 0;
	g.until_ns = clock_now_ns() + g.limit_ns;
	do
		rc = ioctl(g.dir_fd, FIFREEZE, 0);
	while (rc < 0 && errno == EINTR);
	say(FREEZE_FROZEN, rc < 0 ? errno : 0, FREEZE_ON_TIME);
	if (rc == 0)
		keep(&g);
	return 0;
}
