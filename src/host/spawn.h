/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_SPAWN_H
#define HOST_SPAWN_H

#include "base/ctx.h"
#include "base/err.h"
#include "base/str.h"

#include <poll.h>
#include <stdint.h>

/* A file passed to the tool is its fd 3; this is the path by which it opens it. */
#define HOST_SPAWN_FD_PATH "/proc/self/fd/3"
#define HOST_SPAWN_INPUT_PATH "/proc/self/fd/0"

/* What else is waited for while a tool runs: look is called at first, and whenever one of the fds
 * has what it waits for (fd -1: none); -1 ends the tool as the end of the ctx's time does. */
#define HOST_SPAWN_WATCH_MAX 2
struct host_spawn_watch {
	struct pollfd fds[HOST_SPAWN_WATCH_MAX];
	int (*look)(void *arg, struct err *err);
	void *arg;
};

struct host_spawn {
	const char *tool; /* "mkfs.ext4": looked for in the system's directories, never in $PATH */
	const char *package;     /* what to install when it is missing */
	const char *const *argv; /* argv[0] is the tool's name; NULL at the end */
	const char *setting;     /* one more of its environment, "NAME=value"; NULL: none */
	const char *input;  /* what it reads on fd 0, also by HOST_SPAWN_INPUT_PATH; NULL: none */
	int pass_fd;        /* the tool's fd 3; -1: none */
	int64_t timeout_ns; /* beside the deadline of ctx; HOST_SPAWN_FOR_EVER: none */
	struct str *output; /* gets what it said, the last HOST_SPAWN_OUTPUT_MAX bytes or so, what
			       is not printable as '?'; NULL: not wanted */
	struct host_spawn_watch *watch; /* NULL: nothing */
	int *ret_status; /* gets its exit code, and any is success; NULL: only 0 is */
};
#define HOST_SPAWN_OUTPUT_MAX 32768u
#define HOST_SPAWN_FOR_EVER (INT64_MAX / 2)

/*
 * Runs a tool to its end: no shell, standard input of ours, environment of our own, all other fds
 * closed on exec. 0 if it exits 0. FAILED_PRECONDITION: not installed; INTERNAL: how it ended and
 * the last line it said; DEADLINE_EXCEEDED or CANCELLED: its process group was killed and it was
 * waited for.
 */
int host_spawn(struct ctx *ctx, const struct host_spawn *spawn, struct err *err);

#endif
