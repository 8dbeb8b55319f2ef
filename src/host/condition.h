/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_CONDITION_H
#define HOST_CONDITION_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

/* What became of a filesystem that is mounted. */
struct host_condition {
	bool is_read_only; /* all its mounts are: after an error of its own, or by hand */
	bool is_shut_down; /* it answers nothing any more */
};
/* From the mount table and one look, path being the mount's. NOT_FOUND: nothing is mounted there.
 */
int host_condition_of_mount(const char *path, struct host_condition *ret, struct err *err);

/* What an ext4 counts of its errors until e2fsck has mended them. */
struct host_fs_errors {
	uint64_t n;
	int64_t first_ns, last_ns; /* wall clock; 0: not told */
};
/* Of the one that is mounted from the device: 1, or 0 if there is none. Asks sysfs alone, so a disk
 * that hangs holds nobody up. */
int host_condition_errors(const char *device, struct host_fs_errors *ret_errors);

/*
 * Whether the superblock on the unmounted device or file says that the filesystem ("ext4", "xfs")
 * has errors that its tool has to repair. A journal that wants to be replayed is no error.
 * DATA_LOSS: there is no such superblock; NOT_FOUND, INTERNAL: it cannot be read.
 */
int host_condition_of_device(const char *device, const char *fs, bool *ret_has_errors,
			     struct err *err);

/*
 * Whether the ext4 on the unmounted device is one that resize2fs was growing when it was killed:
 * resize2fs says "errors" as long as it works, and who is killed while the superblock is written
 * leaves one that is not as its checksum. What the kernel finds it counts, and nobody has
 * mounted this one since it was made or e2fsck found it clean. Codes as above.
 */
int host_ext4_is_half_grown(const char *device, bool *ret_is_half_grown, struct err *err);

#endif
