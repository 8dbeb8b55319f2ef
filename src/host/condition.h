/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_CONDITION_H
#define HOST_CONDITION_H

#include "base/err.h"

#include <stdbool.h>

/* What became of a filesystem that is mounted. */
struct host_condition {
	bool is_read_only; /* all its mounts are: after an error of its own, or by hand */
	bool is_shut_down; /* it answers nothing any more */
};
/* From the mount table and one look, path being the mount's. NOT_FOUND: nothing is mounted there.
 */
int host_condition_of_mount(const char *path, struct host_condition *ret, struct err *err);

/*
 * Whether the superblock on the unmounted device or file says that the filesystem ("ext4", "xfs")
 * has errors that its tool has to repair. A journal that wants to be replayed is no error.
 * DATA_LOSS: there is no such superblock; NOT_FOUND, INTERNAL: it cannot be read.
 */
int host_condition_of_device(const char *device, const char *fs, bool *ret_has_errors,
			     struct err *err);

/*
 * Whether the ext4 on the unmounted device is one that resize2fs was growing when it was killed:
 * resize2fs says "errors" as long as it works. What the kernel finds it counts, and nobody has
 * mounted this one since it was made or e2fsck found it clean. Codes as above.
 */
int host_ext4_is_half_grown(const char *device, bool *ret_is_half_grown, struct err *err);

#endif
