/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_RBD_RBD_INTERNAL_H
#define BACKEND_RBD_RBD_INTERNAL_H

#include "backend/ceph/elsewhere.h"
#include "backend/ceph/journal.h"
#include "backend/rbd/rbd.h"
#include "volume/ceph.h"

struct images {
	struct ceph_elsewhere ceph;
	unsigned soft_depth, hard_depth, max_snapshots; /* none is 0 */
};

static inline struct images *images_of(struct backend *b)
{
	return (struct images *)b;
}

/* rbd.c. lib NULL: the real one. */
struct backend *images_new(const struct backend_config *config, const struct ceph_lib *lib);

/* What a call works with: the cluster that a handle or a class names, connected, its pool open. */
struct image_place {
	struct images *images;
	struct ctx *ctx;
	struct ceph_cluster cluster;
	struct ceph_conn *conn;
	const struct ceph_lib *lib; /* conn's */
	rados_ioctx_t io;           /* of the image's pool and namespace */
	int64_t pool_id;
	/* What ids that are told call it: a handle's own words where cluster-mapping.json led from
	 * them, and else where it is. */
	const char *told_cluster;
	int64_t told_pool_id;
	bool borrows_conn; /* of another place, which outlives this one */
};

/* place.c. A place that was opened is closed by image_place_close; one that was not is empty. */
int image_place_open(struct images *images, struct ctx *ctx, const char *cluster, const char *pool,
		     const char *ns, const struct secrets *secrets, struct image_place *ret_place,
		     struct err *err);
/* Where a volume's handle says, or cluster-mapping.json leads to (ceph_elsewhere_search); where the
 * first of these is, if the volume is nowhere. NOT_FOUND: there is no such pool. */
int image_place_open_handle(struct images *images, struct ctx *ctx,
			    const struct ceph_handle *handle, const struct secrets *secrets,
			    struct image_place *ret_place, struct err *err);
/* A pool of the same cluster, by the same connection: a cluster that is silent is asked by one call
 * at a time, and two of them would be in each other's way. Closed before place is. */
int image_place_open_beside(const struct image_place *place, int64_t pool_id,
			    struct image_place *ret_place, struct err *err);
/* Where what a handle names is, with its entry: in the same cluster, by the same connection, or
 * INVALID_ARGUMENT. NOT_FOUND. Closed before place is. */
int image_place_find_beside(const struct image_place *place, const struct ceph_handle *handle,
			    enum ceph_journal_kind kind, const struct secrets *secrets,
			    struct image_place *ret_place, struct ceph_entry *ret_entry,
			    struct err *err);
void image_place_close(struct image_place *place);
/* What a volume's image is called, by the journal; where cluster-mapping.json led to and that has
 * no entry, what it is called unless its class says another. NOT_FOUND; "": the entry is torn. */
int image_place_name_image(const struct image_place *place, const char *uuid,
			   const char **ret_image, struct err *err);
/* Whether a handle may mean what is in this place: it says so, or cluster-mapping.json does. */
bool image_place_may_have(const struct image_place *place, const struct ceph_handle *handle);
struct ceph_journal image_place_journal(const struct image_place *place,
					enum ceph_journal_kind kind);

/* What a handle names: its entry in the journal of that kind. NOT_FOUND. The place is closed by
 * image_place_close. */
struct image_entry {
	struct image_place place;
	struct ceph_journal journal;
	struct ceph_entry entry;
};
int image_entry_open(struct backend *b, struct ctx *ctx, const char *token,
		     enum ceph_journal_kind kind, const struct secrets *secrets,
		     struct image_entry *ret_entry, struct err *err);
/* Whether what the journal has for a name can be this class's: ALREADY_EXISTS in another pool;
 * FAILED_PRECONDITION if somebody has torn it. */
int image_entry_check(const struct image_place *place, const struct ceph_entry *entry,
		      const char *name, struct err *err);

/* The operations, as backend.h has them; volume.c, snapshot.c … */
int image_create(struct backend *b, struct ctx *ctx, const struct backend_spec *spec,
		 struct backend_volume *ret_vol, struct err *err);
int image_remove(struct backend *b, struct ctx *ctx, const char *token,
		 const struct secrets *secrets, struct err *err);
int image_grow(struct backend *b, struct ctx *ctx, const char *token, uint64_t bytes,
	       const struct secrets *secrets, struct backend_volume *ret_vol, struct err *err);
/* limits.c */
int image_modify(struct backend *b, struct ctx *ctx, const char *token,
		 const struct vol_limits *limits, const struct secrets *secrets, struct err *err);
int image_stat(struct backend *b, struct ctx *ctx, const char *token, const struct secrets *secrets,
	       struct backend_volume *ret_vol, struct err *err);
int image_snapshot_create(struct backend *b, struct ctx *ctx,
			  const struct backend_snapshot_spec *spec,
			  struct backend_snapshot *ret_snap, struct err *err);
int image_snapshot_remove(struct backend *b, struct ctx *ctx, const char *token,
			  const struct secrets *secrets, struct err *err);
int image_snapshot_stat(struct backend *b, struct ctx *ctx, const char *token,
			const struct secrets *secrets, struct backend_snapshot *ret_snap,
			struct err *err);
/* fence.c */
int image_publish(struct backend *b, struct ctx *ctx, const char *token,
		  const struct backend_use *use, struct err *err);
int image_unpublish(struct backend *b, struct ctx *ctx, const char *token,
		    const struct backend_use *use, struct err *err);
/* changed.c */
int image_snapshot_allocated(struct backend *b, struct ctx *ctx, const char *token,
			     const struct secrets *secrets, uint64_t from, backend_range_fn fn,
			     void *arg, struct err *err);
int image_snapshot_changed(struct backend *b, struct ctx *ctx, const char *base, const char *target,
			   const struct secrets *secrets, uint64_t from, backend_range_fn fn,
			   void *arg, struct err *err);
/* attach.c: by the kernel's client or by our FUSE server with a loop device over it. */
int image_attach(struct backend *b, struct ctx *ctx, const char *token,
		 const struct backend_attach_options *opts, struct backend_device *ret_dev,
		 struct err *err);
int image_find_device(struct backend *b, struct ctx *ctx, const char *token,
		      struct backend_device *ret_dev, struct err *err);
int image_detach(struct backend *b, struct ctx *ctx, const char *token, struct err *err);
int image_settle(struct backend *b, struct ctx *ctx, const char *token, const char *mount_path,
		 struct err *err);
int image_find_reader(struct backend *b, struct ctx *ctx, const char *token,
		      struct backend_device *ret_dev, struct err *err);
int image_drop_reader(struct backend *b, struct ctx *ctx, const char *token, struct err *err);
/* here.c; as backend_ops.each_here. */
int image_each_here(struct backend *b, struct ctx *ctx, backend_each_fn fn, void *arg,
		    struct err *err);
/* note.c: files in state_dir. */
int image_note_get(struct backend *b, struct ctx *ctx, const char *token, char *ret_note,
		   struct err *err);
int image_note_set(struct backend *b, struct ctx *ctx, const char *token, const char *note,
		   struct err *err);

#endif
