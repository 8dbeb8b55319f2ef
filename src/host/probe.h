/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_PROBE_H
#define HOST_PROBE_H

#include "base/ctx.h"
#include "base/err.h"

#include <stdint.h>

/*
 * What may never return, asked by a child process: a thread that waits in the kernel for a server
 * that is gone cannot be had back, and what it looks at is busy for as long as it waits; a child is
 * killed.
 */
#define HOST_PROBE_LOOK "mount-look"
#define HOST_PROBE_FORCE "mount-force"

/* Whether what is mounted at the path answers within the time, if only with an error: 1, or 0: it
 * is silent. */
int host_mount_answers(struct ctx *ctx, const char *path, int64_t ns, struct err *err);
/*
 * Unmounts what is mounted at the path though its server is silent: what is asked of it ends with
 * an error, wherever else it is mounted. 0 also when nothing is mounted there. FAILED_PRECONDITION:
 * busy all the same. DEADLINE_EXCEEDED: the kernel does not let go of it in time.
 */
int host_mount_force(struct ctx *ctx, const char *path, int64_t ns, struct err *err);

/* What the child is, by the word it was started with. 1: it was not started as one. */
int host_probe_child(const char *word, const char *path);

#endif
