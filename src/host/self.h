/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_SELF_H
#define HOST_SELF_H

#include "base/ctx.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * This program once more, as a process that outlives the one that started it, and the ends of such
 * processes.
 */

#define HOST_SELF_FD 3
struct host_self {
	const char *word, *name; /* "PROGRAM WORD NAME"; name NULL: none. Everybody can read them */
	int fd;                  /* its fd HOST_SELF_FD; all else but 0 to 2 is closed */
	bool is_silent;          /* else its standard error is ours */
};
/* In a session of its own. UNAVAILABLE. */
int host_self_start(const struct host_self *what, pid_t *ret_pid, struct err *err);

/* In it, first: signals that ask a process to end, or tell that somebody is gone, do not concern
 * it; the kernel does not wait for its own writing back when this process needs memory, which could
 * be waiting for this process (PR_SET_IO_FLUSHER); and it leaves the cgroup it was started in for
 * one of this name at the root of cgroup v2, or for the roots of v1, if it may, since a container's
 * processes end together with its cgroup. False: that was not possible. */
bool host_self_settle(const char *name);

/*
 * While it still has one thread: a mount namespace of its own, without what is mounted in it but
 * the root and what programs need (/proc, /sys, /dev, /usr, /lib, /etc and below). Descriptors stay
 * good. So a process that outlives its starter keeps nobody's filesystem mounted, and the last
 * process of a namespace that serves a mount of it never waits for itself in its own end.
 */
int host_self_leave_mounts(struct err *err);

/* Whether one that was started by these words runs, whoever started it; false in doubt. */
bool host_self_is_here(const char *word, const char *name);

/* A process by a descriptor, so that it is this very one. NOT_FOUND. */
int host_process_open(pid_t pid, int *ret_fd, struct err *err);
/* Whether it ended within ns and the ctx; one that is a child of ours is reaped then. */
bool host_process_wait(struct ctx *ctx, pid_t pid, int fd, int64_t ns);
/* If a child of ours, of this name (host_self_settle), has ended: its remains. */
void host_process_reap(pid_t pid, const char *name);
/* SIGKILL. 0 also when it has ended. */
int host_process_kill(int fd, struct err *err);

#endif
