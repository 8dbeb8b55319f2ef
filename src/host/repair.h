/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_REPAIR_H
#define HOST_REPAIR_H

#include "base/ctx.h"
#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>

enum host_verdict {
	HOST_FS_CLEAN,
	HOST_FS_HAS_ERRORS, /* what is mounted next is not to be trusted */
	HOST_FS_REPAIRED,
	HOST_FS_WANTS_REPLAY, /* XFS: its tool repairs only what was mounted once more first */
	/* XFS: its tool would make it smaller than it has become (host_xfs_copies_lag in
	 * host/grow.h), and was not run: growing it where it is mounted is what mends it. */
	HOST_FS_HALF_GROWN,
};

/*
 * Runs the filesystem's own checker (e2fsck, xfs_repair) on the file, which nobody may have mounted
 * or attached: without repair it changes nothing. It takes as long as it takes; only ctx ends it.
 * output (may be NULL) gets what the tool said, its last 32 KiB. FAILED_PRECONDITION: the tool is
 * not installed; INTERNAL: it could not do its work.
 */
int host_fs_check(struct ctx *ctx, int fd, const char *fs, bool repair, struct str *output,
		  enum host_verdict *ret_verdict, struct err *err);

#endif
