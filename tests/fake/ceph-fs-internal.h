/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FAKE_CEPH_FS_INTERNAL_H
#define TESTS_FAKE_CEPH_FS_INTERNAL_H

#include "fake/ceph-internal.h"

/* Filesystems with their subvolumes: ceph_fs.c. While locked. */
struct fake_snap {
	char *name;
	VEC(struct fake_pair) meta;
};

enum fake_subvolume_state {
	STATE_WHOLE,
	STATE_COPYING,
	STATE_CANCELED,
	STATE_FAILED,
	STATE_RETAINED
};

struct fake_subvolume {
	char *group, *name;
	enum fake_subvolume_state state;
	bool is_clone;
	uint64_t bytes;
	unsigned looks_left; /* of a copy, until it is complete */
	char *source, *snap; /* of one that is being copied */
	VEC(struct fake_pair) meta;
	VEC(struct fake_snap *) snaps;
};

struct fake_filesystem {
	char *name;
	int64_t id, metadata_pool;
	VEC(char *) groups;
	VEC(struct fake_subvolume *) subvolumes;
};

struct fake_fs_trouble {
	unsigned copy_failures; /* of the next copies */
	bool are_hidden;        /* the filesystems, from the client */
	bool is_removed_later;  /* what is retained for no snapshot any more */
};
extern struct fake_fs_trouble fake_fs_trouble;

void fake_fs_remove(struct fake_filesystem *fs, const char *name);
struct fake_subvolume *fake_fs_find(const struct fake_filesystem *fs, const char *group,
				    const char *name);

#endif
