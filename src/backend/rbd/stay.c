/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshots that stay on the image of their volume: one call of librbd makes them, in a third of
 * the time of ceph-csi's layout, and what differs between two of them can be told. ceph-csi finds
 * no image of their name.
 *
 *   csi-vol-V@csi-snap-S; csi.snap.S has cleat.layout=source and the image's id
 *
 * The volume may be deleted before them. Its image then keeps its name, which has a UUID and is in
 * nobody's way, since of an image in the trash nothing can be cloned; it loses its entry, its
 * metadata says that it was deleted, and it goes with the last of its snapshots. Clones have that
 * word from it, too, so it is the image's own name: of another name it says nothing.
 */
#include <errno.h>

#include "backend/rbd/image.h"
#include "base/str.h"

bool image_snapshot_stays(const struct ceph_entry *entry)
{
	return str_is_equal(entry->layout, IMAGE_LAYOUT_SOURCE);
}

const char *image_of_snapshot(const struct ceph_entry *entry)
{
	return image_snapshot_stays(entry) ? entry->source : entry->image;
}

/* Of the image to that of its snapshot. */
static bool turn_to_snap(struct image_look *look, const char *name)
{
	const struct image_snap *snap = image_find_snap(look, name);

	if (!snap)
		return false;
	look->bytes = snap->bytes;
	look->created_ns = snap->created_ns;
	return true;
}

/* One that names a parent which was let go of while it was made is there, and nothing of it can be
 * read (image_check_settled). */
static int check_opens(const struct image_place *p, const char *name, const char *snap,
		       struct err *err)
{
	rbd_image_t open;
	int rc;

	if (ctx_check(p->ctx, err) < 0)
		return -1;
	rc = p->lib->rbd_open_read_only(p->io, name, &open, snap);
	if (rc == -ENOENT)
		return err_os(err, ERR_ABORTED, ENOENT,
			      "snapshot '%s@%s' is there and cannot be opened: one of its parents "
			      "is just being flattened, or was when it was made; what stays so is "
			      "lost, and can only be deleted",
			      image_spec(p, name), snap);
	if (rc < 0)
		return ceph_conn_failed(p->conn, rc, err, "open snapshot '%s@%s'",
					image_spec(p, name), snap);
	(void)p->lib->rbd_close(open); /* nothing was changed */
	return 0;
}

int image_snapshot_look(const struct image_place *p, const struct ceph_entry *entry,
			struct image_look *ret_look, struct err *err)
{
	struct image_look look;
	int found = image_look_maybe(p, image_of_snapshot(entry), 0, &look, err);

	if (found <= 0)
		return found;
	if (image_snapshot_stays(entry)) {
		if (!turn_to_snap(&look, entry->image))
			return 0;
		if (check_opens(p, entry->source, entry->image, err) < 0)
			return -1;
	}
	*ret_look = look;
	return 1;
}

static int cut_open(const struct image *source, const struct ceph_entry *entry,
		    struct image_look *ret_look, struct err *err)
{
	struct image_look look;

	if (image_look_open(source, &look, err) < 0)
		return -1;
	/* of a call that was killed: its moment is that of the one that ends well */
	if (image_has_snap(&look, entry->image) && image_drop_snap(source, entry->image, err) < 0)
		return -1;
	if (image_snap(source, entry->image, err) < 0 || image_look_open(source, &look, err) < 0)
		return -1;
	if (!turn_to_snap(&look, entry->image))
		return err_set(err, ERR_ABORTED, "somebody removed its snapshot '%s@%s' just now",
			       image_spec(source->place, source->name), entry->image);
	if (check_opens(source->place, source->name, entry->image, err) < 0)
		return -1; /* the next call makes it anew */
	*ret_look = look;
	return 0;
}

int image_stay_cut(const struct image_place *p, const struct ceph_entry *entry,
		   struct image_look *ret_look, struct err *err)
{
	struct image source;
	int rc;

	if (image_open(p, entry->source, &source, err) < 0)
		return -1;
	rc = cut_open(&source, entry, ret_look, err);
	image_close(&source);
	return rc;
}

/* 1 if one of its snapshots is in the journal as one that stays. */
static int has_staying(const struct image_place *p, const char *name, const struct image_look *look,
		       struct err *err)
{
	for (size_t i = 0; i < look->n_snaps; i++) {
		const char *uuid = image_uuid_in_name(p->ctx->arena, look->snaps[i].name);
		struct ceph_journal j;
		struct ceph_entry entry;

		if (!look->snaps[i].is_user || !*uuid)
			continue;
		j = image_place_journal(p, CEPH_JOURNAL_SNAPSHOTS);
		if (ceph_journal_read(&j, p->ctx, uuid, &entry, err) < 0) {
			if (err->code != ERR_NOT_FOUND)
				return -1;
			continue;
		}
		if (image_snapshot_stays(&entry) && str_is_equal(entry.source, name) &&
		    str_is_equal(entry.image, look->snaps[i].name))
			return 1;
	}
	return 0;
}

/* ret_is_last: the image was only kept for it. */
static int drop_open(const struct image *source, const struct ceph_entry *entry, bool *ret_is_last,
		     struct err *err)
{
	struct image_look look;
	const char *given_up;
	int found;

	if (image_drop_snap(source, entry->image, err) < 0 ||
	    image_get_word(source, IMAGE_GIVEN_UP_WORD, &given_up, err) < 0)
		return -1;
	*ret_is_last = false;
	if (!str_is_equal(given_up, source->name))
		return 0;
	if (image_look_open(source, &look, err) < 0)
		return -1;
	found = has_staying(source->place, source->name, &look, err);
	*ret_is_last = found == 0;
	return found < 0 ? -1 : 0;
}

/* An image that was only kept for its snapshots, has no name any more and may be in the trash yet,
 * as a call was killed that had put it there. One whose volume is in the journal is in the trash by
 * somebody's hand, and his. */
static int drop_rest(const struct image_place *p, const char *name, struct err *err)
{
	const char *uuid = image_uuid_in_name(p->ctx->arena, name);
	struct ceph_journal j = image_place_journal(p, CEPH_JOURNAL_VOLUMES);
	struct ceph_entry volume;

	if (!*uuid || ceph_journal_read(&j, p->ctx, uuid, &volume, err) == 0)
		return 0;
	return err->code == ERR_NOT_FOUND ? image_discard(p, name, err) : -1;
}

int image_stay_drop(const struct image_place *p, const struct ceph_entry *entry, struct err *err)
{
	bool is_last = false;
	struct image source;
	int rc;

	if (image_open(p, entry->source, &source, err) < 0)
		return err->code == ERR_NOT_FOUND ? drop_rest(p, entry->source, err) : -1;
	rc = drop_open(&source, entry, &is_last, err);
	image_close(&source);
	if (rc < 0)
		return -1;
	return is_last ? image_discard(p, entry->source, err) : 0;
}

static int give_up(const struct image_place *p, const char *name, struct err *err)
{
	const struct image_word word = { IMAGE_GIVEN_UP_WORD, name };
	struct image image;
	int rc;

	if (image_open(p, name, &image, err) < 0)
		return -1;
	rc = image_set_words(&image, &word, 1, err);
	image_close(&image);
	return rc;
}

int image_stay_keep(const struct image_place *p, const char *name, const struct image_look *look,
		    struct err *err)
{
	int found = has_staying(p, name, look, err);

	if (found <= 0)
		return found;
	return image_check_discard(p, name, look, err) < 0 || give_up(p, name, err) < 0 ? -1 : 1;
}
