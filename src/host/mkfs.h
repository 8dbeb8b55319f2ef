/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_MKFS_H
#define HOST_MKFS_H

#include "base/ctx.h"
#include "base/err.h"
#include "base/uuid.h"

#include <stdint.h>

/*
 * Filesystems made inside files that nobody else can see yet. The caller has proof of blankness by
 * construction: the file was born nameless in the same function. Nothing here ever gets a device or
 * a path, but for host_mkfs_device, which has to look.
 */

/* Fills fd, a regular file of this size, with an ext4; its UUID is left to host_ext4_stamp. */
int host_mkfs_ext4(struct ctx *ctx, int fd, uint64_t bytes, struct err *err);

/* The same with XFS; label may be NULL. The file's blocks stay allocated but its size may have
 * shrunk to whole AGs. */
int host_mkfs_xfs(struct ctx *ctx, int fd, const struct uuid *uuid, const char *label,
		  struct err *err);

/*
 * mkfs_device.c: the filesystem (ext4, xfs) of a device whose volume was born without, made if the
 * device bears nothing (libblkid), or what a mkfs that was killed left. options: of mkfs, separated
 * by blanks, in the place of those that are not about safety; "": ours. FAILED_PRECONDITION: it
 * bears something else, which is left alone; names it.
 */
int host_mkfs_device(struct ctx *ctx, const char *device, const char *fs, const char *options,
		     struct err *err);

/*
 * Makes a copied ext4 an individual: own UUID and directory hash seed in the superblock and each of
 * its backups, checksums renewed. For an ext4 that host_mkfs_ext4 made and that was never mounted;
 * INTERNAL if it is anything else.
 */
int host_ext4_stamp(int fd, const struct uuid *uuid, struct err *err);

/* What libblkid sees in the file or device: type "" when it is blank, "xfs", "ext4", "dos" (a
 * partition table) … */
struct host_probe {
	char type[24];
	char label[24];
};
/* DATA_LOSS when signatures contradict each other; INTERNAL when it cannot be read. Never "blank"
 * by default. */
int host_probe(int fd, struct host_probe *ret_probe, struct err *err);

#endif
