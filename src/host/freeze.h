/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_FREEZE_H
#define HOST_FREEZE_H

#include "base/ctx.h"
#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

/*
 * Filesystems that stand still for a moment, so that copies of several devices are of one moment,
 * and clean. A frozen filesystem stays so whoever dies; so a guard, a process of its own for each,
 * freezes it and thaws it: when told, when whoever told it dies, or when its time is up.
 *
 * What nobody survives is that all processes of a container are killed at once (the end of its PID
 * namespace, an OOM kill of its group): host_freeze_thaw is for whoever comes next. A filesystem
 * that was unmounted while it was frozen is frozen when it is mounted again, and keeps its device
 * until then.
 */
struct host_freeze;

#define HOST_FREEZE_MAX 256

/*
 * Freezes the filesystems that these fds are on (opened for reading, not O_PATH), all at once, none
 * of which lies on another: all of them, or none. No longer than limit_ns from now on, whatever
 * happens; more than what is done meanwhile needs. It may take a second and more, as all that is
 * dirty is written out, and ends with ctx even if a filesystem does not answer; its guard then
 * stays until that does, and thaws it.
 *
 * FAILED_PRECONDITION: a filesystem cannot be frozen; ABORTED: somebody else has frozen it;
 * PERMISSION_DENIED (CAP_SYS_ADMIN); UNAVAILABLE: a guard could not be started;
 * DEADLINE_EXCEEDED, CANCELLED.
 */
int host_freeze_begin(struct ctx *ctx, struct host_freeze **ret_freeze, const int *dir_fds,
		      size_t n, int64_t limit_ns, struct err *err);

/*
 * Thaws them and forgets freeze, always. 0: all of them were frozen from the end of
 * host_freeze_begin until now. Otherwise what was done meanwhile is not of one moment and is to be
 * thrown away: DEADLINE_EXCEEDED: a guard's time was up; ABORTED: somebody else thawed one;
 * UNAVAILABLE: a guard was killed; INTERNAL: one does not thaw, its guard goes on trying. Waits a
 * few seconds at most.
 */
int host_freeze_end(struct host_freeze *freeze, struct err *err);

/* Thaws the filesystem that the fd is on, whoever froze it; 0 also when it is not frozen. For those
 * that a killed process may have left frozen. INTERNAL, PERMISSION_DENIED. */
int host_freeze_thaw(int dir_fd, struct err *err);

/* All that was written to the fd's filesystem is durable (syncfs). It takes as long as the disk
 * takes: neither ctx nor a signal ends it, so it is for a lane whose slots may be lost. An error of
 * earlier writing that nobody was told is told here. */
int host_fs_sync(int fd, struct err *err);

/* What the guard is: this program started with this word, and nothing else, as argument; it then
 * ends with what host_freeze_guard returns. */
#define HOST_FREEZE_GUARD "freeze-guard"
/* 0, or 1 if it was not started by host_freeze_begin. */
int host_freeze_guard(void);

#endif
