/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What of a snapshot is not zero, and what differs between two, by librbd's difference of snapshots
 * of one image: by the object map where the image has fast-diff (whole objects, no data asked),
 * else object by object.
 *
 * In ceph-csi's layout each snapshot is an image of its own, a clone of a snapshot of the volume
 * that is in its trash and has no name there; librbd compares snapshots by name. So the difference
 * can be told of those that stay on their volume's image alone; what is not zero of all.
 *
 * It goes window by window, and what one has is told when librbd is not at it any more, by someone
 * who may be as slow as he likes. Within a window ranges may come in any order (an image with
 * stripes), so they are sorted.
 */
#include <errno.h>
#include <stdlib.h>

#include "backend/changes.h"
#include "backend/rbd/image.h"
#include "base/num.h"
#include "base/str.h"
#include "base/vec.h"

/* So much has at most as many ranges as fit into 1 MiB or so, in blocks of 4 KiB or of an object.
 */
#define WINDOW_EXACT (256 * MIB)
#define WINDOW_WHOLE (128 * GIB)

struct differing {
	uint64_t start, bytes;
};

struct walk {
	const struct image_place *p;
	const struct ceph_entry *target;
	const char *base; /* its snapshot's name; NULL: what is not zero */
	rbd_image_t open;
	bool is_whole; /* objects */
	VEC(struct differing) found;
};

/* Of what is not there in the target there is nothing to read, but it differs. */
static int collect(uint64_t start, size_t bytes, int exists, void *arg)
{
	struct walk *w = arg;

	if (exists || w->base)
		vec_push(&w->found, ((struct differing){ start, bytes }));
	return 0;
}

static int compare_starts(const void *a, const void *b)
{
	const struct differing *x = a, *y = b;

	return (x->start > y->start) - (x->start < y->start);
}

/* fn's answer if it is not 0. */
static int tell(struct walk *w, struct changes *c)
{
	int rc = 0;

	if (w->found.n > 1)
		qsort(w->found.v, w->found.n, sizeof(w->found.v[0]), compare_starts);
	for (size_t i = 0; i < w->found.n && rc == 0; i++)
		rc = changes_add(c, w->found.v[i].start, w->found.v[i].bytes);
	w->found.n = 0;
	return rc;
}

static int failed(const struct walk *w, int rc, struct err *err)
{
	const char *image = image_of_snapshot(w->target);

	return ceph_conn_failed(w->p->conn, rc, err, "%s '%s@%s'%s%s",
				w->base ? "compare snapshot" : "map snapshot",
				image_spec(w->p, image), w->target->image, w->base ? " with " : "",
				str_or(w->base, ""));
}

static int walk_open(struct walk *w, uint64_t from, struct changes *c, struct err *err)
{
	uint64_t window = w->is_whole ? WINDOW_WHOLE : WINDOW_EXACT;
	int rc = 0;

	for (uint64_t at = from; at < c->end && rc == 0;) {
		uint64_t bytes = c->end - at < window ? c->end - at : window;

		if (ctx_check(w->p->ctx, err) < 0)
			return -1;
		rc = w->p->lib->rbd_diff_iterate2(w->open, w->base, at, bytes, true, w->is_whole,
						  collect, w);
		if (rc < 0)
			return failed(w, rc, err);
		ceph_conn_answered(w->p->conn);
		rc = tell(w, c);
		at += bytes;
	}
	if (rc == 0)
		rc = changes_finish(c);
	return rc < 0 ? -1 : 0;
}

static int walk(struct walk *w, uint64_t from, struct changes *c, struct err *err)
{
	const struct ceph_lib *lib = w->p->lib;
	const char *image = image_of_snapshot(w->target);
	uint64_t features = 0;
	int rc = lib->rbd_open_read_only(w->p->io, image, &w->open, w->target->image);

	if (rc < 0)
		return failed(w, rc, err);
	rc = lib->rbd_get_features(w->open, &features);
	if (rc == 0)
		rc = lib->rbd_get_size(w->open, &c->end);
	if (rc < 0) {
		rc = failed(w, rc, err);
	} else {
		w->is_whole = features & CEPH_RBD_FAST_DIFF;
		rc = walk_open(w, from - from % 4096, c, err);
	}
	vec_done(&w->found);
	(void)lib->rbd_close(w->open); /* nothing was changed */
	return rc;
}

/* Whether it is there, since librbd's word that something is not says nothing for a moment. */
static int check_there(const struct image_place *p, const struct ceph_entry *entry,
		       const char *token, struct err *err)
{
	struct image_look look;
	int found;

	if (!*entry->image_id)
		return err_set(err, ERR_NOT_FOUND,
			       "snapshot '%s' has been begun and is not made yet", token);
	if (*entry->kms)
		return err_set(
			err, ERR_FAILED_PRECONDITION,
			"snapshot '%s' is of an encrypted volume, of whose blocks the cluster "
			"tells where they lie in the image, and not where in the volume; read "
			"all of it",
			token);
	found = image_snapshot_look(p, entry, &look, err);
	if (found == 0)
		return err_set(err, ERR_NOT_FOUND, "snapshot '%s': '%s@%s' is not there", token,
			       image_spec(p, image_of_snapshot(entry)), entry->image);
	return found < 0 ? -1 : 0;
}

int image_snapshot_allocated(struct backend *b, struct ctx *ctx, const char *token,
			     const struct secrets *secrets, uint64_t from, backend_range_fn fn,
			     void *arg, struct err *err)
{
	struct changes c = { .fn = fn, .arg = arg };
	struct image_entry f;
	int rc;

	if (image_entry_open(b, ctx, token, CEPH_JOURNAL_SNAPSHOTS, secrets, &f, err) < 0)
		return -1;
	rc = check_there(&f.place, &f.entry, token, err);
	if (rc == 0) {
		struct walk w = { .p = &f.place, .target = &f.entry };

		rc = walk(&w, from, &c, err);
	}
	image_place_close(&f.place);
	return rc;
}

static int check_pair(const struct ceph_entry *base, const char *base_token,
		      const struct ceph_entry *target, const char *target_token, struct err *err)
{
	if (!str_is_equal(base->source, target->source))
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "snapshot '%s' is of image '%s' and snapshot '%s' of image '%s'; "
			       "only snapshots of one volume can be compared",
			       base_token, base->source, target_token, target->source);
	if (image_snapshot_stays(base) && image_snapshot_stays(target))
		return 0;
	return err_set(err, ERR_FAILED_PRECONDITION,
		       "snapshot '%s' is an image of its own, which librbd cannot compare with "
		       "another; make snapshots by a VolumeSnapshotClass with 'snapshotLayout: "
		       "source'",
		       image_snapshot_stays(base) ? target_token : base_token);
}

/* Both in one pool of one cluster, or they were not of one image. */
static int changed_from(const struct image_entry *f, const char *base, const char *target,
			uint64_t from, struct changes *c, struct err *err)
{
	struct ceph_handle handle;
	struct ceph_entry before;
	struct walk w = { .p = &f->place, .target = &f->entry };

	if (ceph_handle_parse(base, &handle, err) < 0)
		return -1;
	if (!image_place_may_have(&f->place, &handle))
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "snapshots '%s' and '%s' are in different pools; only snapshots of "
			       "one volume can be compared",
			       base, target);
	if (ceph_journal_read(&f->journal, f->place.ctx, handle.uuid, &before, err) < 0)
		return err_wrap(err, "snapshot '%s'", base);
	if (check_pair(&before, base, &f->entry, target, err) < 0 ||
	    check_there(&f->place, &before, base, err) < 0 ||
	    check_there(&f->place, &f->entry, target, err) < 0)
		return -1;
	w.base = before.image;
	return walk(&w, from, c, err);
}

int image_snapshot_changed(struct backend *b, struct ctx *ctx, const char *base, const char *target,
			   const struct secrets *secrets, uint64_t from, backend_range_fn fn,
			   void *arg, struct err *err)
{
	struct changes c = { .fn = fn, .arg = arg };
	struct image_entry f;
	int rc;

	if (image_entry_open(b, ctx, target, CEPH_JOURNAL_SNAPSHOTS, secrets, &f, err) < 0)
		return -1;
	rc = changed_from(&f, base, target, from, &c, err);
	image_place_close(&f.place);
	return rc;
}
