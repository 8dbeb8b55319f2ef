/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_PROBE_H
#define HOST_PROBE_H

#include "base/ctx.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * What may never return, asked by a child process: a thread that waits in the kernel for a server
 * that is gone cannot be had back, and what it looks at is busy for as long as it waits; a child is
 * killed.
 */
#define HOST_PROBE_LOOK "mount-look"
#define HOST_PROBE_FLUSH "mount-flush"
#define HOST_PROBE_FORCE "mount-force"

/* Whether what is mounted at the path answers within the time, if only with an error: 1, or 0: it
 * is silent. Where an earlier child still waits for the same filesystem that is known at once, and
 * no other is started. RESOURCE_EXHAUSTED: too many wait already, for others. */
int host_mount_answers(struct ctx *ctx, const char *path, int64_t ns, struct err *err);
/*
 * Has what was written to the filesystem that is mounted at the path taken to its storage: 1, also
 * where that ended with an error, which the next one would, too; or 0: not within the time. It goes
 * on then, and as long as it does each further call is 0 at once: there is one child for a path.
 */
int host_mount_flush(struct ctx *ctx, const char *path, int64_t ns, struct err *err);
/*
 * Unmounts what is mounted at the path though its server is silent: what is asked of it ends with
 * an error, wherever else it is mounted. 0 also when nothing is mounted there. FAILED_PRECONDITION:
 * busy all the same. DEADLINE_EXCEEDED: the kernel does not let go of it in time.
 */
int host_mount_force(struct ctx *ctx, const char *path, int64_t ns, struct err *err);

/* Whether the word is a child's. */
bool host_probe_knows(const char *word);
/* What the child is, by the word it was started with. 1: it was not started as one. */
int host_probe_child(const char *word, const char *path);

#endif
