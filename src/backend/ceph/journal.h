/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_CEPH_JOURNAL_H
#define BACKEND_CEPH_JOURNAL_H

#include "backend/ceph/conn.h"
#include "base/uuid.h"

/*
 * ceph-csi's journal, read and written as it does: which UUID a name of the CO was given, and what
 * image goes with it. Objects of size 0 with an omap:
 *
 *   csi.volumes.<instance>  csi.volume.<name> → UUID, or "<hex64 pool id>/UUID" if the image is in
 *                           another pool than this directory
 *   csi.volume.<UUID>       csi.volname, csi.imagename, csi.imageid, csi.volume.owner; if it is
 *                           encrypted csi.volume.encryptKMS, csi.volume.encryptionType;
 *                           csi.journalpool (hex64) if the directory is in another pool than it,
 *                           which is the image's; cleat.source, of which ceph-csi does not know, of
 *                           copies in CephFS; csi.volume.backingsnapshotid, the handle of the
 *                           snapshot that a volume in CephFS shows
 *   csi.snaps.<instance>    csi.snap.<name> → the same
 *   csi.snap.<UUID>         csi.snapname, csi.imagename, csi.imageid, csi.source, csi.volume.owner,
 *                           csi.journalpool, the two of encryption; cleat.layout, of which ceph-csi
 *                           does not know, if the snapshot is not laid out as that program does it;
 *                           cleat.path, the same, of snapshots in CephFS: where the subvolume's
 * data was
 *
 * Reserving is one operation that is done or not (set the key if it is absent), and comes first; so
 * two controllers never give one name two UUIDs, and looking a name up reads one key. A reservation
 * whose object or image never came is completed by the next try, with the same UUID:
 *
 *   reserve: directory key → object with its keys ─(image is made)→ csi.imageid
 *   forget:  (image is gone) → directory key → object, which tells the name to whoever tries again
 */
enum ceph_journal_kind { CEPH_JOURNAL_VOLUMES, CEPH_JOURNAL_SNAPSHOTS };

struct ceph_journal {
	struct ceph_conn *conn;
	rados_ioctx_t io; /* the journal's pool and namespace; borrowed */
	enum ceph_journal_kind kind;
	const char *instance; /* "" gives "default" */
};

struct ceph_entry {
	char uuid[UUID_TEXT_MAX];
	int64_t pool_id;   /* of the image; -1: the journal's own */
	const char *name;  /* the CO's; these are in the ctx's arena, "" if not there */
	const char *image; /* csi.imagename */
	const char *image_id;
	const char *source; /* snapshots: the image that they were taken of; cleat.source */
	const char *owner;
	const char *layout;  /* "": ceph-csi's */
	const char *backing; /* csi.volume.backingsnapshotid */
	const char *path;    /* cleat.path */
	const char *kms;     /* csi.volume.encryptKMS; "": it is not encrypted */
	bool is_new;         /* ceph_journal_reserve has given the name this UUID just now */
};

/* The entry of a name, with its object's keys as far as they are there (torn ones: ""). NOT_FOUND.
 * FAILED_PRECONDITION: what the key holds is not ours to understand; names object and key. */
int ceph_journal_find(const struct ceph_journal *j, struct ctx *ctx, const char *name,
		      struct ceph_entry *ret_entry, struct err *err);
/* The same by UUID: the object alone, in j's pool. NOT_FOUND. */
int ceph_journal_read(const struct ceph_journal *j, struct ctx *ctx, const char *uuid,
		      struct ceph_entry *ret_entry, struct err *err);

/*
 * The entry of the name, made if it is not there: with a new UUID, image prefix + UUID, source and
 * owner. One that is there is completed (its object), never changed. A UUID object of another name
 * is never touched.
 */
struct ceph_reservation {
	const char *name;
	const char *prefix;
	const char *source, *owner; /* "" */
	const char *layout;         /* NULL: ceph-csi's */
	const char *backing, *path; /* NULL: none */
	const char *kms;            /* NULL, "": not encrypted; else its blocks are */
	int64_t pool_id;            /* of the image, if not the journal's; else -1 */
};
int ceph_journal_reserve(const struct ceph_journal *j, struct ctx *ctx,
			 const struct ceph_reservation *what, struct ceph_entry *ret_entry,
			 struct err *err);
int ceph_journal_set_image_id(const struct ceph_journal *j, struct ctx *ctx, const char *uuid,
			      const char *image_id, struct err *err);
/* The directory's key if it still has this UUID, then the object. 0 also when neither is there.
 * name "": as the object tells. j's pool is the object's. */
int ceph_journal_forget(const struct ceph_journal *j, struct ctx *ctx, const char *uuid,
			const char *name, struct err *err);

/* Every name of the directory with the UUID that it holds, or what else it does; 512 at a time; fn
 * ≠0 stops. For the audit. */
typedef int (*ceph_journal_fn)(void *arg, const char *name, const char *uuid);
int ceph_journal_each(const struct ceph_journal *j, struct ctx *ctx, ceph_journal_fn fn, void *arg,
		      struct err *err);

#endif
