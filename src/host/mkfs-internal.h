/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_MKFS_INTERNAL_H
#define HOST_MKFS_INTERNAL_H

#include "host/spawn.h"

/* What of ext4 is spelt out, for whatever it is made in; mkfs.c says why. */
#define MKFS_EXT4_FEATURES                                                                \
	"none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg," \
	"sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum,metadata_csum_seed"

#define MKFS_EXT4_SETTING "MKE2FS_CONFIG=" HOST_SPAWN_INPUT_PATH
#define MKFS_EXT4_CONFIG                     \
	"[defaults]\n"                       \
	"default_mntopts = acl,user_xattr\n" \
	"enable_periodic_fsck = 0\n"         \
	"hash_alg = half_md4\n"              \
	"[fs_types]\n"                       \
	"ext4 = {\n"                         \
	"}\n"

#endif
