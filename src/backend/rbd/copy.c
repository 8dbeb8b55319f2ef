/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volumes of snapshots and of volumes: clones, in ceph-csi's layout, so that either program can
 * take them apart.
 *
 *   of a snapshot:  csi-snap-S@csi-snap-S ──clone──► csi-vol-V (of one that stays on its volume's
 * image, csi-vol-A@csi-snap-S)
 *   of a volume:    csi-vol-A@csi-vol-V-temp ──clone──► csi-vol-V-temp@csi-vol-V ──clone──►
 * csi-vol-V where each snapshot is removed (to the trash) when its clone is there
 *
 * A clone that librbd was killed in may be an image without its parent, which looks whole and is
 * empty. So an image counts only if a later step is there, too: the journal's csi.imageid, or,
 * for the "-temp" one, the snapshot that was taken of it; what has none was given to nobody, and is
 * made anew.
 *
 * Each clone puts one or two images between a volume and its blocks. Above a limit whoever is the
 * source is flattened first, so that an answer that has to wait leaves nothing behind.
 */
#include <stdio.h>

#include "backend/rbd/image.h"
#include "base/num.h"
#include "base/str.h"

#define LOG_ROOM "backend"
#include "base/log.h"

struct copying {
	const struct image_place *p;
	const char *name; /* of the new image */
	const struct image_shape *shape;
	const struct image_copy *copy;
	struct image_place from; /* of the source */
	const char *image;       /* the source's */
	const char *temp;
	struct image_copied copied;
};

/* Here and there are one cluster, or librbd could not clone. */
static int open_source(struct copying *c, enum ceph_journal_kind kind, struct ceph_entry *ret_entry,
		       struct err *err)
{
	struct ceph_handle handle;

	return ceph_handle_parse(c->copy->source, &handle, err) < 0
		       ? -1
		       : image_place_find_beside(c->p, &handle, kind, c->copy->secrets, &c->from,
						 ret_entry, err);
}

static int check_source(const struct copying *c, const struct ceph_entry *entry, uint64_t raw,
			struct err *err)
{
	uint64_t bytes = image_plain_bytes(entry, raw);
	char has[NUM_QUANTITY_MAX], asked[NUM_QUANTITY_MAX];

	if (image_crypt_compare(entry, c->copy->kms, err) < 0)
		return -1;
	if (c->copy->bytes == 0 || c->copy->bytes == bytes ||
	    (c->copy->bytes > bytes && !*entry->kms))
		return 0;
	num_format_quantity(bytes, has);
	num_format_quantity(c->copy->bytes, asked);
	if (c->copy->bytes > bytes)
		return err_set(
			err, ERR_OUT_OF_RANGE,
			"it is encrypted and has %s, and %s are asked: a copy is as large as "
			"its source at first (librbd does not read all of one that is larger "
			"than its parent); ask for %s, and expand it then",
			has, asked, has);
	return err_set(err, ERR_OUT_OF_RANGE, "it has %s, and %s are asked", has, asked);
}

/* more: parents that what is made of it has besides its own. */
static int check_depth(struct copying *c, const struct image_look *look, unsigned more,
		       struct err *err)
{
	unsigned depth;

	if (image_depth(&c->from, look, &depth, err) < 0)
		return -1;
	c->copied = (struct image_copied){ .bytes = look->bytes, .depth = depth + more };
	if (c->copied.depth <= c->p->images->hard_depth)
		return 0;
	if (image_flatten_later(&c->from, c->image, err) < 0)
		return -1;
	return err_set(err, ERR_ABORTED,
		       "image '%s' has %u parents, and what is made of it would have more than %u; "
		       "it is being flattened, and the same call goes on when that is done",
		       image_spec(&c->from, c->image), depth, c->p->images->hard_depth);
}

static int make_of_snapshot(struct copying *c, struct err *err)
{
	struct ceph_entry entry;
	struct image_look look;
	int found;

	if (open_source(c, CEPH_JOURNAL_SNAPSHOTS, &entry, err) < 0)
		return -1;
	c->image = image_of_snapshot(&entry);
	if (!*entry.image_id)
		return err_set(err, ERR_FAILED_PRECONDITION, "it is not ready yet");
	found = image_snapshot_look(&c->from, &entry, &look, err);
	if (found == 0)
		return err_set(err, ERR_NOT_FOUND, "image '%s' has no snapshot '%s'",
			       image_spec(&c->from, c->image), entry.image);
	if (found < 0 || check_source(c, &entry, look.bytes, err) < 0 ||
	    check_depth(c, &look, 1, err) < 0)
		return -1;
	if (c->copy->is_retry && image_discard_torn(c->p, c->name, err) < 0)
		return -1;
	return image_clone(&c->from, c->image, entry.image, c->p, c->name, c->shape, err);
}

/* Its moment is that of the call that ends well. */
static int snap_source(struct copying *c, const struct image *source, const struct image_look *look,
		       struct err *err)
{
	if (image_has_snap(look, c->temp) && image_drop_snap(source, c->temp, err) < 0)
		return -1;
	return image_branch(source, c->temp, c->p, c->temp, &image_shape_hidden, err);
}

static int make_temp(struct copying *c, const struct image_look *look, struct err *err)
{
	struct image source;
	int rc;

	if (image_open(&c->from, c->image, &source, err) < 0)
		return -1;
	rc = snap_source(c, &source, look, err);
	image_close(&source);
	return rc;
}

static int make_of_temp(struct copying *c, bool has_snap, struct err *err)
{
	struct image temp;
	int rc = 0;

	if (image_open(c->p, c->temp, &temp, err) < 0)
		return -1;
	if (!has_snap)
		rc = image_snap(&temp, c->name, err);
	if (rc == 0)
		rc = image_clone(c->p, c->temp, c->name, c->p, c->name, c->shape, err);
	if (rc == 0)
		rc = image_drop_snap(&temp, c->name, err);
	image_close(&temp);
	return rc;
}

enum begun {
	BEGUN_NOTHING, /* that could be used */
	BEGUN_TEMP,    /* the hidden image is whole and has its snapshot */
	BEGUN_ALL,
};

/* What an earlier call has left. The snapshot of the hidden image is removed last, so where only
 * one in the trash is left of it and its clone is there, all is. */
static int look_what_is_begun(const struct copying *c, enum begun *ret_begun, struct err *err)
{
	struct image_look temp, image;
	int has_temp = image_look_begun(c->p, c->temp, 0, &temp, err);
	int has_image = has_temp < 0 ? -1 : image_look_begun(c->p, c->name, 0, &image, err);

	if (has_image < 0)
		return -1;
	*ret_begun = BEGUN_NOTHING;
	if (has_temp && image_has_snap(&temp, c->name))
		*ret_begun = BEGUN_TEMP;
	else if (has_temp && has_image && temp.n_snaps > 0 &&
		 str_is_equal(image.parent_id, temp.id))
		*ret_begun = BEGUN_ALL;
	return 0;
}

static int recover(const struct copying *c, enum begun *ret_begun, struct err *err)
{
	if (look_what_is_begun(c, ret_begun, err) < 0)
		return -1;
	if (*ret_begun != BEGUN_ALL && image_discard_torn(c->p, c->name, err) < 0)
		return -1;
	return *ret_begun == BEGUN_NOTHING ? image_discard_torn(c->p, c->temp, err) : 0;
}

static int make_of_volume(struct copying *c, struct err *err)
{
	enum begun begun = BEGUN_NOTHING;
	struct ceph_entry entry;
	struct image_look look;

	if (open_source(c, CEPH_JOURNAL_VOLUMES, &entry, err) < 0)
		return -1;
	c->image = entry.image;
	if (image_look(&c->from, c->image, 0, &look, err) < 0 ||
	    check_source(c, &entry, look.bytes, err) < 0 || check_depth(c, &look, 2, err) < 0 ||
	    (c->copy->is_retry && recover(c, &begun, err) < 0))
		return -1;
	c->copied.bytes = begun == BEGUN_NOTHING ? look.bytes : 0; /* 0: as it was then */
	if (begun == BEGUN_ALL)
		return 0;
	if (begun == BEGUN_NOTHING && (image_check_settled(&c->from, c->image, &look, err) < 0 ||
				       make_temp(c, &look, err) < 0))
		return -1;
	return make_of_temp(c, begun == BEGUN_TEMP, err);
}

int image_copy_make(const struct image_place *p, const char *name, const struct image_copy *copy,
		    const struct image_shape *shape, struct image_copied *ret_copied,
		    struct err *err)
{
	bool is_snapshot = copy->kind == BACKEND_SOURCE_SNAPSHOT;
	struct copying c = {
		.p = p,
		.name = name,
		.shape = shape,
		.copy = copy,
		.temp = image_temp_name(p->ctx->arena, name),
	};
	int rc = is_snapshot ? make_of_snapshot(&c, err) : make_of_volume(&c, err);

	image_place_close(&c.from);
	if (rc < 0)
		return err_wrap(err, "source: %s '%s'", is_snapshot ? "snapshot" : "volume",
				copy->source);
	*ret_copied = c.copied;
	return 0;
}

/* The name of the image that it is a copy of; "" if it does not tell: it was flattened. */
static int find_origin(const struct image_place *p, const char *name, const struct image_look *look,
		       const char **ret_origin, struct err *err)
{
	const char *temp = image_temp_name(p->ctx->arena, name);
	struct image_look hidden;
	int found;

	if (!str_is_equal(look->parent, temp)) {
		*ret_origin = look->parent;
		return 0;
	}
	found = image_look_maybe(p, temp, 0, &hidden, err);
	*ret_origin = found > 0 ? hidden.parent : "";
	return found < 0 ? -1 : 0;
}

/* Of one that does not say by itself what it was made of: ceph-csi's, or none at all. */
static int check_parent(const struct image_place *p, const char *name,
			const struct image_look *look, const char *source, struct err *err)
{
	struct ceph_handle handle;
	const char *origin;

	if (ceph_handle_parse(source, &handle, err) < 0 ||
	    find_origin(p, name, look, &origin, err) < 0)
		return -1;
	if (!*origin)
		return err_set(err, ERR_ALREADY_EXISTS,
			       "image '%s' exists and was made of nothing, or does not tell any "
			       "more; now '%s' is asked",
			       image_spec(p, name), source);
	if (str_is_equal(image_uuid_in_name(p->ctx->arena, origin), handle.uuid))
		return 0;
	return err_set(err, ERR_ALREADY_EXISTS,
		       "image '%s' exists and was made of '%s'; now '%s' is asked",
		       image_spec(p, name), origin, source);
}

int image_copy_check(const struct image_place *p, const char *name, const struct image_look *look,
		     enum backend_source kind, const char *source, struct err *err)
{
	const char *made_of = *look->made_of ? look->made_of : look->parent;

	if (kind == BACKEND_SOURCE_NONE && !*look->made_of && !*look->parent_id)
		return 0;
	if (kind != BACKEND_SOURCE_NONE && !*look->made_of)
		return check_parent(p, name, look, source, err);
	if (kind != BACKEND_SOURCE_NONE && str_is_equal(look->made_of, source))
		return 0;
	return err_set(err, ERR_ALREADY_EXISTS,
		       "image '%s' exists and was made of '%s'; now %s%s%s is asked",
		       image_spec(p, name), made_of, kind == BACKEND_SOURCE_NONE ? "" : "'",
		       kind == BACKEND_SOURCE_NONE ? "none" : source,
		       kind == BACKEND_SOURCE_NONE ? "" : "'");
}
