/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_CEPHFS_VIEW_H
#define BACKEND_CEPHFS_VIEW_H

#include "backend/cephfs/cephfs-internal.h"

/*
 * Volumes that show a snapshot (backingSnapshot; ceph-csi calls them shallow): an entry of the
 * journal that names the snapshot, a reference (backing.h), and no subvolume. They can only be
 * read. The snapshot's directory is inside another one, which is mounted first: a client takes no
 * path with ".snap" in it.
 */
#define VIEW_ID_KEY "backingSnapshotID" /* of a volume's context */
#define VIEW_INSIDE_KEY "backingSnapshotRoot"

struct subvolume_view {
	const char *root;   /* "/volumes/csi/csi-vol-P/", with the slash, as ceph-csi has it */
	const char *inside; /* of root: ".snap/csi-snap-S/<UUID>" */
	uint64_t bytes;     /* of the snapshot; 0: not told */
	int64_t created_ns;
};

/* What a volume shows that is backed by the snapshot of that handle, which is in this place. 1; 0
 * with err: it is there and nobody tells its directory; NOT_FOUND: it is not. */
int subvolume_view_look(const struct subvolume_place *p, const char *handle,
			struct subvolume_view *ret_view, struct err *err);

/* 1: spec asks for one; 0: for a copy, or no snapshot. ret_view is then what it shows. */
int subvolume_view_choose(const struct subvolume_place *p, const struct backend_spec *spec,
			  const struct ceph_fs_params *params, struct subvolume_view *ret_view,
			  struct err *err);
int subvolume_view_make(const struct subvolume_place *p, const struct backend_spec *spec,
			const struct ceph_fs_params *params, struct ceph_entry *ret_entry,
			struct err *err);
/* The last one of a snapshot that was deleted takes the snapshot with it. The entry stays. */
int subvolume_view_remove(const struct subvolume_place *p, const struct ceph_entry *entry,
			  struct err *err);

#endif
