/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_XFS_INTERNAL_H
#define HOST_XFS_INTERNAL_H

#include <assert.h>
#include <stdint.h>
#include <sys/ioctl.h>

/* xfs_fs.h of the kernel, declared here so that xfsprogs' headers are not needed to build. */

/* struct xfs_fsop_geom_v1 */
struct xfs_geometry {
	uint32_t blocksize, rtextsize, agblocks, agcount, logblocks, sectsize, inodesize, imaxpct;
	uint64_t datablocks, rtblocks, rtextents, logstart;
	uint8_t uuid[16];
	uint32_t sunit, swidth;
	int32_t version;
	uint32_t flags, logsectsize, rtsectsize, dirblocksize;
};
static_assert(sizeof(struct xfs_geometry) == 112, "kernel ABI");
#define XFS_GEOMETRY _IOR('X', 100, struct xfs_geometry)
#define XFS_GEOMETRY_REFLINK (UINT32_C(1) << 20)

/* struct xfs_growfs_data */
struct xfs_growth {
	uint64_t newblocks;
	uint32_t imaxpct;
	uint32_t pad;
};
static_assert(sizeof(struct xfs_growth) == 16, "kernel ABI");
#define XFS_GROW_DATA _IOW('X', 110, struct xfs_growth)

#endif
