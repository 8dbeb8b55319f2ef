/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_CEPHFS_BACKING_H
#define BACKEND_CEPHFS_BACKING_H

#include "backend/cephfs/cephfs-internal.h"

/*
 * Which volumes show a snapshot (view.h), so that it stays while one does. It is kept as ceph-csi
 * keeps it, in an object beside the journal:
 *
 *   rt-backingsnapshot-<handle>   attribute csi.ceph.com/rt-version: 1; bytes: how many count;
 * keys: the snapshot's handle and the volumes' subvolume names, each 1 (counts) or 2 (masked: it
 * does not, and never will again)
 *
 *   nobody shows it ── add ──► snapshot 1, volumes 1 … ── mask: it is deleted ──► snapshot 2,
 *   volumes 1 … ── drop: the last goes, and with it the snapshot ──► no object
 *
 * All numbers are big-endian and of 32 bits, but for a key's, which is one byte. What was read is
 * written back only if nobody else has written meanwhile.
 */
enum backing_ref { BACKING_REF_NONE, BACKING_REF_COUNTS, BACKING_REF_MASKED };

struct backing {
	uint64_t version; /* of the object; 0: there is none */
	uint32_t n;       /* that count */
	enum backing_ref snapshot, volume;
};

/* handle: of the snapshot; volume: a subvolume's name, or NULL. */
int backing_read(const struct subvolume_place *p, const char *handle, const char *volume,
		 struct backing *ret_backing, struct err *err);
/* Was deleted, and is there for those alone that show it: 1, 0. */
int backing_is_masked(const struct subvolume_place *p, const char *handle, struct err *err);

/* NOT_FOUND: the snapshot was deleted. 0 also if the volume shows it already. */
int backing_add(const struct subvolume_place *p, const char *handle, const char *volume,
		struct err *err);
/* The snapshot is deleted: nobody is added any more. ret_n: volumes that still show it. */
int backing_mask(const struct subvolume_place *p, const char *handle, uint32_t *ret_n,
		 struct err *err);
/* What backing_mask has left of a snapshot that is gone. */
int backing_forget(const struct subvolume_place *p, const char *handle, struct err *err);
/* The volume shows it no more. Before the last one of a deleted snapshot goes, remove_snapshot is
 * called: may be killed behind it, and is then called again. */
int backing_drop(const struct subvolume_place *p, const char *handle, const char *volume,
		 int (*remove_snapshot)(const struct subvolume_place *p, const char *handle,
					struct err *err),
		 struct err *err);

#endif
