/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_GROW_H
#define HOST_GROW_H

#include "base/ctx.h"
#include "base/err.h"
#include "host/loopdev.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * A file that became longer is seen by the device over it, and the device by the filesystem on it.
 * Each step may be done again, and does nothing where it was done. fs is "ext4" or "xfs";
 * FAILED_PRECONDITION for any other.
 */

/* The device has the size of its file, in whole blocks of it, at least bytes. NOT_FOUND: it is not
 * over this inode (any more); FAILED_PRECONDITION: it does not get as big, since the file is
 * smaller or the device shows a part of it. Devices that are readers have a size of their own. */
int host_loop_set_capacity(const struct host_loop *loop, dev_t device, uint64_t inode,
			   uint64_t bytes, struct err *err);

/* What a superblock says of the size of its filesystem. */
struct host_super {
	uint32_t block_bytes;
	uint64_t n_blocks;
	uint32_t group_blocks; /* of an ext4 block group or an XFS allocation group */
	uint32_t first_block;  /* where the first of them begins */
	/* the least that a last, shorter group has */
	uint32_t least_blocks;
	/* ext4: and how much more when it begins with copies: for the number of groups, and so many
	 * blocks beside that */
	uint32_t groups_per_copy; /* 0: never more */
	uint32_t copy_blocks;
};
/* From the first n bytes of a device: 0, or -1 if there is none of this kind in them, or one that
 * contradicts itself. */
#define HOST_SUPER_BYTES 4096
int host_super_parse(const uint8_t *head, size_t n, const char *fs, struct host_super *ret_super);
/*
 * How many blocks the filesystem can have on a device of this size. A rest that is too short for a
 * group of its own is not used: on XFS below 64 blocks (the kernel's XFS_MIN_AG_BLOCKS), on ext4
 * below what the group's own tables take and 50 blocks more (as resize2fs has it; the kernel is
 * asked for no more either). A device of up to one group is used whole.
 */
uint64_t host_super_usable_blocks(const struct host_super *super, uint64_t device_bytes);

/* Up to how many blocks it can become without any of its blocks being moved: for XFS all, for ext4
 * as many as there are blocks of descriptors, those that are kept free for more among them. */
uint64_t host_super_in_place_blocks(const struct host_super *super);

/* Whether growing would gain at least a block, by that rule: false is what it is after growing.
 * DATA_LOSS: there is no such filesystem; NOT_FOUND. The device is not mounted, or is ext4. */
int host_fs_device_is_smaller(const char *device, const char *fs, bool *ret_is_smaller,
			      struct err *err);
/* The same of what is mounted at the path. */
int host_fs_mount_is_smaller(const char *path, const char *fs, bool *ret_is_smaller,
			     struct err *err);

/*
 * Whether copies of the superblock on an XFS tell of a smaller size than the first one: of a growth
 * that a power cut, or a copy of the device, met between its transaction and the writing of the
 * copies. The kernel does not mind, but xfs_repair would believe them, as they are more, and make
 * the filesystem smaller than its files. host_fs_grow_mounted() writes them anew. One read a group,
 * 256 at most: with more groups a sample. The device is not mounted. DATA_LOSS: it has no XFS.
 */
int host_xfs_copies_lag(const char *device, bool *ret_lag, struct err *err);

/*
 * The filesystem mounted at the path gets as big as its device, in use, and the copies of an XFS's
 * superblock tell so. PERMISSION_DENIED: of ext4
 * without CAP_SYS_RESOURCE; it can be grown while it is not mounted. FAILED_PRECONDITION: it is
 * read-only, or an ext4 with errors; ABORTED: it is being grown. Waits while the filesystem is
 * frozen, whatever ctx says.
 */
int host_fs_grow_mounted(struct ctx *ctx, const char *path, const char *fs, struct err *err);

/*
 * Whether the XFS mounted at the path has grown and only its log says so, not yet its superblock on
 * the disk. Linux (6.18 at least) replays such a log in vain: it meets changes of the new part
 * before it knows of it, and refuses the mount (xfs_buf_map_verify: daddr … out of range, error
 * 117). So neither a power cut nor a copy of the device is survived until the filesystem was frozen
 * once (host/freeze.h), which writes the superblock and ends the log. Reads 4 KiB by direct I/O.
 */
int host_xfs_growth_is_in_log(const char *path, bool *ret_is_in_log, struct err *err);

/*
 * The ext4 on a device (or in a file) that nobody has mounted gets as big as that is: checked and
 * mended first as at boot (e2fsck -f -p), which resize2fs insists on. That reads all inodes: 64
 * bytes of memory and a disk's seek or less for each, so ctx needs time in proportion; the device
 * is left as it is if there is nothing to gain. A tool that is killed is begun anew by the next
 * call. FAILED_PRECONDITION: a tool is not installed, the device is mounted, or it does not grow in
 * place (what was half grown is mended all the same); DATA_LOSS: there are errors that only a
 * person may have mended.
 */
int host_ext4_grow_offline(struct ctx *ctx, const char *device, struct err *err);
/*
 * Whether that would move no block of a file. Where it would, one that is killed may lose some:
 * such a filesystem grows in use alone, which its journal makes safe.
 */
int host_ext4_grows_in_place(const char *device, bool *ret_is_in_place, struct err *err);

#endif
