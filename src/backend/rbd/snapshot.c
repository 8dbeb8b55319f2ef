/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshots in ceph-csi's layout: an image of its own, which is a clone of the volume and has one
 * snapshot, of its own name; volumes are made of that. It outlives its volume.
 *
 *   csi-vol-V@csi-snap-S ──clone──► csi-snap-S; the former is removed (to the trash of csi-vol-V);
 *   csi-snap-S@csi-snap-S; metadata; csi.imageid
 *
 * Or, if the class says so, on the volume's image (stay.c), which the entry tells.
 *
 * The last snapshot says that the clone before it was not killed half-way; csi.imageid that all is
 * done. A clone without that snapshot was given to nobody, and is made anew.
 *
 * A snapshot of a volume with many parents has one more. Above the limit it is flattened by the
 * manager before it is ready.
 */
#include <stdio.h>

#include "backend/rbd/image.h"
#include "base/mem.h"
#include "base/str.h"

#define KUBERNETES "csi.storage.k8s.io/"

struct cutting {
	const struct backend_snapshot_spec *spec;
	struct ceph_rbd_snapshot_params params;
	struct ceph_handle volume; /* the source's */
	struct image_place place;
	struct ceph_journal journal;
	struct ceph_entry entry;
	struct ceph_entry source;
	struct image_look look; /* the snapshot's image, once it is whole */
	bool is_retry;
};

/* Whether it can be used; else it is flattened meanwhile. */
static int check_ready(const struct image_place *p, const char *name, const struct image_look *look,
		       bool *ret_is_ready, struct err *err)
{
	unsigned depth;

	if (image_depth(p, look, &depth, err) < 0)
		return -1;
	*ret_is_ready = depth < p->images->hard_depth;
	if (depth >= p->images->soft_depth && image_flatten_later(p, name, err) < 0 &&
	    !*ret_is_ready)
		return -1;
	return 0;
}

static int fill_snapshot(const struct image_place *p, const struct ceph_entry *entry,
			 const struct image_look *look, struct backend_snapshot *ret_snap,
			 struct err *err)
{
	const char *source = image_uuid_in_name(p->ctx->arena, entry->source);
	struct backend_snapshot snap = { .bytes = image_plain_bytes(entry, look->bytes),
					 .created_ns = look->created_ns };

	if (check_ready(p, image_of_snapshot(entry), look, &snap.is_ready, err) < 0)
		return -1;
	image_token(p, entry->uuid, snap.token);
	if (*source)
		image_token(p, source, snap.source);
	(void)snprintf(snap.name, sizeof(snap.name), "%s", entry->name);
	*ret_snap = snap;
	return 0;
}

static int check_source(const struct cutting *c, struct err *err)
{
	const char *uuid = image_uuid_in_name(c->place.ctx->arena, c->entry.source);

	if (str_is_equal(uuid, c->volume.uuid))
		return 0;
	return err_set(err, ERR_ALREADY_EXISTS, "it exists and is of image '%s'",
		       image_spec(&c->place, c->entry.source));
}

static int reserve(struct cutting *c, struct err *err)
{
	const struct ceph_reservation what = { .name = c->spec->name,
					       .prefix = c->params.prefix,
					       .source = c->source.image,
					       .owner = c->params.owner,
					       .kms = c->source.kms,
					       .layout = c->params.stays ? IMAGE_LAYOUT_SOURCE : "",
					       .pool_id = -1 };

	if (ceph_journal_reserve(&c->journal, c->place.ctx, &what, &c->entry, err) < 0)
		return -1;
	return image_entry_check(&c->place, &c->entry, c->spec->name, err) < 0
		       ? -1
		       : check_source(c, err);
}

static int check_number(const struct cutting *c, struct image_look *ret_look, struct err *err)
{
	if (image_look(&c->place, c->source.image, 0, ret_look, err) < 0)
		return -1;
	if (ret_look->n_snaps < c->place.images->max_snapshots)
		return image_check_settled(&c->place, c->source.image, ret_look, err);
	return err_set(err, ERR_RESOURCE_EXHAUSTED,
		       "image '%s' has %zu snapshots, with those in its trash; delete some, "
		       "and what was made of them",
		       image_spec(&c->place, c->source.image), ret_look->n_snaps);
}

/* The clone. Its moment is that of the call that ends well. */
static int cut(struct cutting *c, struct err *err)
{
	struct image_look look;
	struct image source;
	int rc = 0;

	if (check_number(c, &look, err) < 0)
		return -1;
	if (image_open(&c->place, c->source.image, &source, err) < 0)
		return -1;
	if (image_has_snap(&look, c->entry.image))
		rc = image_drop_snap(&source, c->entry.image, err);
	if (rc == 0)
		rc = image_branch(&source, c->entry.image, &c->place, c->entry.image,
				  &image_shape_hidden, err);
	image_close(&source);
	return rc;
}

static int set_words(const struct cutting *c, const struct image *image, struct err *err)
{
	const struct image_word words[] = {
		{ IMAGE_CLUSTER_WORD, c->place.images->ceph.cluster_name },
		{ KUBERNETES "volumesnapshot/name", c->params.snapshot },
		{ KUBERNETES "volumesnapshot/namespace", c->params.owner },
		{ KUBERNETES "volumesnapshotcontent/name", c->params.content },
	};

	return c->place.images->ceph.keeps_names
		       ? image_set_words(image, words, ARRAY_LEN(words), err)
		       : 0;
}

static int finish_open(struct cutting *c, const struct image *image, bool has_snap, struct err *err)
{
	if ((!has_snap && image_snap(image, c->entry.image, err) < 0) ||
	    set_words(c, image, err) < 0)
		return -1;
	return image_look_open(image, &c->look, err);
}

static int finish(struct cutting *c, bool has_snap, struct err *err)
{
	struct image image;
	int rc;

	if (image_open(&c->place, c->entry.image, &image, err) < 0)
		return -1;
	rc = finish_open(c, &image, has_snap, err);
	image_close(&image);
	if (rc < 0)
		return -1;
	return ceph_journal_set_image_id(&c->journal, c->place.ctx, c->entry.uuid, c->look.id, err);
}

static int make_staying(struct cutting *c, struct err *err)
{
	struct image_look look;

	if (check_number(c, &look, err) < 0 ||
	    image_stay_cut(&c->place, &c->entry, &c->look, err) < 0)
		return -1;
	return ceph_journal_set_image_id(&c->journal, c->place.ctx, c->entry.uuid, c->look.id, err);
}

static int make(struct cutting *c, struct err *err)
{
	bool has_snap = false;
	struct image_look look;

	if (image_snapshot_stays(&c->entry))
		return make_staying(c, err);
	if (c->is_retry) {
		int found = image_look_begun(&c->place, c->entry.image, 0, &look, err);

		has_snap = found > 0 && image_has_snap(&look, c->entry.image);
		if (found < 0 ||
		    (!has_snap && image_discard_torn(&c->place, c->entry.image, err) < 0))
			return -1;
	}
	if (!has_snap && cut(c, err) < 0)
		return -1;
	return finish(c, has_snap, err);
}

/* 1: it is there, whole, whatever became of its volume. 0: it is to be made. */
static int take_existing(struct cutting *c, struct err *err)
{
	int found;

	if (ceph_journal_find(&c->journal, c->place.ctx, c->spec->name, &c->entry, err) < 0)
		return err->code == ERR_NOT_FOUND ? 0 : -1;
	c->is_retry = true;
	if (!*c->entry.image_id)
		return 0;
	if (check_source(c, err) < 0)
		return -1;
	found = image_snapshot_look(&c->place, &c->entry, &c->look, err);
	if (found != 0)
		return found;
	c->is_retry = false;
	return !image_snapshot_stays(&c->entry) && image_discard(&c->place, c->entry.image, err) < 0
		       ? -1
		       : ceph_journal_forget(&c->journal, c->place.ctx, c->entry.uuid,
					     c->spec->name, err);
}

/* As volume.c's: of a volume whose image is not there. */
static void give_back(const struct cutting *c, const struct err *why)
{
	struct image_look look;
	struct err ignored;

	if (c->is_retry || !image_is_refused(why) ||
	    image_look_maybe(&c->place, c->source.image, 0, &look, &ignored) != 0 ||
	    image_look_maybe(&c->place, c->entry.image, 0, &look, &ignored) != 0)
		return;
	(void)ceph_journal_forget(&c->journal, c->place.ctx, c->entry.uuid, c->spec->name,
				  &ignored);
}

static int create(struct cutting *c, struct err *err)
{
	struct ceph_journal volumes = image_place_journal(&c->place, CEPH_JOURNAL_VOLUMES);
	int found;

	c->journal = image_place_journal(&c->place, CEPH_JOURNAL_SNAPSHOTS);
	found = take_existing(c, err);
	if (found != 0)
		return found < 0 ? -1 : 0;
	if (ceph_journal_read(&volumes, c->place.ctx, c->volume.uuid, &c->source, err) < 0 ||
	    image_crypt_check(&c->source, err) < 0)
		return err_wrap(err, "volume '%s'", c->spec->source);
	if (reserve(c, err) < 0)
		return -1;
	if (make(c, err) == 0)
		return 0;
	give_back(c, err);
	return -1;
}

/* A new one is named by where it is, whatever its volume's handle says. */
static int fill_made(struct cutting *c, struct backend_snapshot *ret_snap, struct err *err)
{
	c->place.told_cluster = c->place.cluster.id;
	c->place.told_pool_id = c->place.pool_id;
	if (fill_snapshot(&c->place, &c->entry, &c->look, ret_snap, err) < 0)
		return -1;
	(void)snprintf(ret_snap->source, sizeof(ret_snap->source), "%s", c->spec->source);
	return 0;
}

static int check_class(const struct cutting *c, struct err *err)
{
	char pool[256] = "";

	if (!str_is_equal(c->params.cluster, c->place.cluster.id))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "parameters: clusterID: '%s' is asked, and volume '%s' is in '%s'",
			       c->params.cluster, c->spec->source, c->place.cluster.id);
	if (!*c->params.pool)
		return 0;
	if (c->place.lib->rados_ioctx_get_pool_name(c->place.io, pool, sizeof(pool)) < 0 ||
	    str_is_equal(c->params.pool, pool))
		return 0;
	return err_set(err, ERR_INVALID_ARGUMENT,
		       "parameters: pool: '%s' is asked, and a snapshot lies in the pool of its "
		       "volume, '%s'; leave it out",
		       c->params.pool, pool);
}

int image_snapshot_create(struct backend *b, struct ctx *ctx,
			  const struct backend_snapshot_spec *spec,
			  struct backend_snapshot *ret_snap, struct err *err)
{
	struct cutting c = { .spec = spec };
	int rc;

	if (ceph_rbd_snapshot_params_parse(spec->options.parameters, &c.params, err) < 0 ||
	    ceph_handle_parse(spec->source, &c.volume, err) < 0)
		return -1;
	if (image_place_open_handle(images_of(b), ctx, &c.volume, spec->options.secrets, &c.place,
				    err) < 0)
		return -1;
	rc = check_class(&c, err) < 0 || create(&c, err) < 0 || fill_made(&c, ret_snap, err) < 0
		     ? -1
		     : 0;
	image_place_close(&c.place);
	return rc;
}

/* A call that was killed may have left one on the volume. */
static int drop_snap_of_source(const struct image_entry *f, struct err *err)
{
	struct image_look look;
	struct image source;
	int found;
	int rc;

	if (*f->entry.image_id || !*f->entry.source)
		return 0;
	found = image_look_maybe(&f->place, f->entry.source, 0, &look, err);
	if (found <= 0 || !image_has_snap(&look, f->entry.image))
		return found < 0 ? -1 : 0;
	if (image_open(&f->place, f->entry.source, &source, err) < 0)
		return -1;
	rc = image_drop_snap(&source, f->entry.image, err);
	image_close(&source);
	return rc;
}

static int remove_image(const struct image_entry *f, struct err *err)
{
	if (!*f->entry.image)
		return 0;
	if (image_snapshot_stays(&f->entry))
		return image_stay_drop(&f->place, &f->entry, err);
	return drop_snap_of_source(f, err) < 0 ? -1 : image_discard(&f->place, f->entry.image, err);
}

static int remove_found(const struct image_entry *f, struct err *err)
{
	if (remove_image(f, err) < 0)
		return -1;
	return ceph_journal_forget(&f->journal, f->place.ctx, f->entry.uuid, f->entry.name, err);
}

int image_snapshot_remove(struct backend *b, struct ctx *ctx, const char *token,
			  const struct secrets *secrets, struct err *err)
{
	struct image_entry f;
	int rc;

	if (image_entry_open(b, ctx, token, CEPH_JOURNAL_SNAPSHOTS, secrets, &f, err) < 0)
		return err->code == ERR_NOT_FOUND ? 0 : -1;
	rc = remove_found(&f, err);
	image_place_close(&f.place);
	return rc;
}

static int stat_found(const struct image_entry *f, struct backend_snapshot *ret_snap,
		      struct err *err)
{
	struct image_look look = { .parent_id = "" };
	int found;

	if (!*f->entry.image_id)
		return err_set(err, ERR_NOT_FOUND, "it has been begun and is not made yet");
	found = image_snapshot_look(&f->place, &f->entry, &look, err);
	if (found < 0 || fill_snapshot(&f->place, &f->entry, &look, ret_snap, err) < 0)
		return -1;
	if (!found) {
		ret_snap->is_damaged = true;
		(void)snprintf(ret_snap->damage, sizeof(ret_snap->damage),
			       "the journal names an image that is not there");
	}
	return 0;
}

int image_snapshot_stat(struct backend *b, struct ctx *ctx, const char *token,
			const struct secrets *secrets, struct backend_snapshot *ret_snap,
			struct err *err)
{
	struct image_entry f;
	int rc;

	if (image_entry_open(b, ctx, token, CEPH_JOURNAL_SNAPSHOTS, secrets, &f, err) < 0)
		return -1;
	rc = stat_found(&f, ret_snap, err);
	image_place_close(&f.place);
	return rc;
}
