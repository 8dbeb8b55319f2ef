/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_BTRFS_INTERNAL_H
#define HOST_BTRFS_INTERNAL_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>

/* Of the kernel's linux/btrfs.h, which has names that base/banned.h forbids. */

/* struct btrfs_ioctl_fs_info_args */
struct btrfs_info {
	uint64_t max_id, num_devices;
	uint8_t fsid[16];
	uint8_t rest[992];
};
static_assert(sizeof(struct btrfs_info) == 1024, "kernel ABI");
#define BTRFS_INFO _IOR(0x94, 31, struct btrfs_info)

/* struct btrfs_ioctl_get_subvol_info_args */
struct btrfs_subvolume {
	uint64_t treeid;
	char name[256];
	uint64_t parent_id, dirid, generation, flags;
	uint8_t uuid[16];
	uint8_t rest[192];
};
static_assert(sizeof(struct btrfs_subvolume) == 504 &&
		      offsetof(struct btrfs_subvolume, uuid) == 296,
	      "kernel ABI");
#define BTRFS_SUBVOLUME _IOR(0x94, 60, struct btrfs_subvolume)

#endif
