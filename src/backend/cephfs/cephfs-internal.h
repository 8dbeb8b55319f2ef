/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_CEPHFS_CEPHFS_INTERNAL_H
#define BACKEND_CEPHFS_CEPHFS_INTERNAL_H

#include "backend/ceph/elsewhere.h"
#include "backend/ceph/journal.h"
#include "backend/cephfs/cephfs.h"
#include "backend/cephfs/mounted.h"
#include "volume/ceph.h"

#define SUBVOLUMES_FS "ceph" /* what the volumes' filesystem is called */
#define SUBVOLUME_MOUNTED                                                                          \
	"mounted" /* in the node's state: source and device of the kernel's mount of a volume that \
		     a person has made */

struct subvolumes {
	struct ceph_elsewhere ceph;
	char *kernel_options, *fuse_options; /* of each mount; "" */
	struct mounted servers;
	int64_t copy_wait_ns; /* so long a call waits for the copy that it has begun */
};

static inline struct subvolumes *subvolumes_of(struct backend *b)
{
	return (struct subvolumes *)b;
}

/* cephfs.c. lib NULL: the real one. */
struct backend *subvolumes_new(const struct backend_config *config, const struct ceph_lib *lib);
/* Volumes that a person has made have ids that are no handles: their tokens are of another shape,
 * and name no volume in any journal. */
bool subvolume_is_static(const char *token);

/* What a call works with: the cluster that a handle or a class names, connected, and one of its
 * filesystems. */
struct subvolume_place {
	struct subvolumes *subvolumes;
	struct ctx *ctx;
	struct ceph_cluster cluster;
	struct ceph_conn *conn;
	const struct ceph_lib *lib; /* conn's */
	rados_ioctx_t io;           /* of the metadata pool, in the journal's namespace */
	int64_t fscid;
	const char *fs_name;
	/* What ids that are told call it: a handle's own words where cluster-mapping.json led from
	 * them, and else where it is. */
	const char *told_cluster;
	int64_t told_fscid;
	bool borrows_conn; /* of another place, which outlives this one */
};

/* place.c. A place that was opened is closed by subvolume_place_close; one that was not is empty.
 * Of a cluster or filesystem that is not there, or may not be seen: INVALID_ARGUMENT by a class's
 * names, FAILED_PRECONDITION by a handle; never NOT_FOUND. */
int subvolume_place_open(struct subvolumes *s, struct ctx *ctx, const char *cluster,
			 const char *fs_name, const struct secrets *secrets,
			 struct subvolume_place *ret_place, struct err *err);
/* Where a volume's handle says, or cluster-mapping.json leads to (ceph_elsewhere_search); where the
 * first of these is, if the volume is nowhere. */
int subvolume_place_open_handle(struct subvolumes *s, struct ctx *ctx,
				const struct ceph_handle *handle, const struct secrets *secrets,
				struct subvolume_place *ret_place, struct err *err);
/* The entry of what a handle names, which is in this place: INVALID_ARGUMENT if it is in another.
 * NOT_FOUND. */
int subvolume_place_find(const struct subvolume_place *place, const struct ceph_handle *handle,
			 enum ceph_journal_kind kind, const struct secrets *secrets,
			 struct ceph_entry *ret_entry, struct err *err);
void subvolume_place_close(struct subvolume_place *place);
struct ceph_journal subvolume_place_journal(const struct subvolume_place *place,
					    enum ceph_journal_kind kind);
/* The token of what has this UUID, of this place. */
void subvolume_token(const struct subvolume_place *p, const char *uuid,
		     char ret_token[VOL_TOKEN_MAX]);

/* What a handle names: its entry in the journal of that kind. NOT_FOUND. The place is closed by
 * subvolume_place_close. */
struct subvolume_entry {
	struct subvolume_place place;
	struct ceph_journal journal;
	struct ceph_entry entry;
};
int subvolume_entry_open(struct backend *b, struct ctx *ctx, const char *token,
			 enum ceph_journal_kind kind, const struct secrets *secrets,
			 struct subvolume_entry *ret_entry, struct err *err);
/* FAILED_PRECONDITION if somebody has torn what the journal has for a name. */
int subvolume_entry_check(const struct ceph_entry *entry, const char *name, struct err *err);

/* The operations, as backend.h has them; volume.c, snapshot.c, mount.c */
int subvolume_create(struct backend *b, struct ctx *ctx, const struct backend_spec *spec,
		     struct backend_volume *ret_vol, struct err *err);
int subvolume_remove(struct backend *b, struct ctx *ctx, const char *token,
		     const struct secrets *secrets, struct err *err);
int subvolume_grow(struct backend *b, struct ctx *ctx, const char *token, uint64_t bytes,
		   const struct secrets *secrets, struct backend_volume *ret_vol, struct err *err);
int subvolume_stat(struct backend *b, struct ctx *ctx, const char *token,
		   const struct secrets *secrets, struct backend_volume *ret_vol, struct err *err);
int subvolume_snapshot_create(struct backend *b, struct ctx *ctx,
			      const struct backend_snapshot_spec *spec,
			      struct backend_snapshot *ret_snap, struct err *err);
int subvolume_snapshot_remove(struct backend *b, struct ctx *ctx, const char *token,
			      const struct secrets *secrets, struct err *err);
int subvolume_snapshot_stat(struct backend *b, struct ctx *ctx, const char *token,
			    const struct secrets *secrets, struct backend_snapshot *ret_snap,
			    struct err *err);
int subvolume_mount(struct backend *b, struct ctx *ctx, const char *token,
		    const struct backend_mount_options *opts, struct err *err);
bool subvolume_is_mount_of(const struct backend *b, const char *token,
			   const struct host_mountinfo *mount);
int subvolume_note_get(struct backend *b, struct ctx *ctx, const char *token, char *ret_note,
		       struct err *err);
int subvolume_note_set(struct backend *b, struct ctx *ctx, const char *token, const char *note,
		       struct err *err);

#endif
