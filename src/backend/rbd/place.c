/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where an image is: which cluster config.json gives a name to, and which pool and namespace of it.
 *
 * The namespace is config.json's alone, as ceph-csi has it: a handle does not tell it, so what a
 * class says else would make volumes that nobody finds again.
 *
 * A cluster that a handle names and config.json does not is no reason to say that its volume is
 * gone; a pool that a living cluster does not have is one, since numbers of pools are never given
 * again.
 *
 * Where cluster-mapping.json leads from a handle, the journal says where it is: an entry of its
 * UUID. Else nothing is asked that was not asked before there was such a file. The entry and not
 * the image, since an image that goes leaves its entry until the end; so a removal that is repeated
 * stays where it was begun.
 */
#include "backend/rbd/image.h"
#include "base/str.h"

static int connect_to(struct images *images, struct ctx *ctx, const char *cluster,
		      const struct secrets *secrets, struct image_place *place, struct err *err)
{
	*place = (struct image_place){ .images = images, .ctx = ctx };
	if (ceph_elsewhere_connect(&images->ceph, ctx, cluster, secrets, CEPH_LOGIN_USER,
				   &place->cluster, &place->conn, err) < 0)
		return -1;
	place->lib = ceph_conn_lib(place->conn);
	return 0;
}

void image_place_close(struct image_place *place)
{
	if (!place->conn)
		return;
	if (place->io)
		place->lib->rados_ioctx_destroy(place->io);
	if (!place->borrows_conn)
		ceph_conn_put(place->conn);
	*place = (struct image_place){ 0 };
}

static int check_namespace(const struct image_place *place, const char *ns, struct err *err)
{
	if (!*ns || str_is_equal(ns, place->cluster.rados_namespace))
		return 0;
	return err_set(err, ERR_INVALID_ARGUMENT,
		       "parameters: radosNamespace: '%s' is asked, config.json has '%s' for "
		       "cluster '%s', which is where its volumes are looked for; say so there "
		       "(rbd.radosNamespace), and leave it out here",
		       ns, place->cluster.rados_namespace, place->cluster.id);
}

static int open_pool(struct image_place *place, const char *pool, const char *ns, struct err *err)
{
	if (check_namespace(place, ns, err) < 0)
		return -1;
	if (ceph_conn_open_pool(place->conn, pool, place->cluster.rados_namespace, &place->io,
				err) < 0) {
		if (err->code == ERR_NOT_FOUND)
			err->code = ERR_INVALID_ARGUMENT; /* no volume is missing */
		return err_wrap(err, "parameters: pool");
	}
	place->pool_id = place->lib->rados_ioctx_get_id(place->io);
	place->told_cluster = place->cluster.id;
	place->told_pool_id = place->pool_id;
	return 0;
}

int image_place_open(struct images *images, struct ctx *ctx, const char *cluster, const char *pool,
		     const char *ns, const struct secrets *secrets, struct image_place *ret_place,
		     struct err *err)
{
	struct image_place place;

	if (connect_to(images, ctx, cluster, secrets, &place, err) < 0) {
		if (err->code == ERR_NOT_FOUND)
			err->code = ERR_INVALID_ARGUMENT;
		return err_wrap(err, "parameters: clusterID");
	}
	if (open_pool(&place, pool, ns, err) < 0) {
		image_place_close(&place);
		return -1;
	}
	*ret_place = place;
	return 0;
}

int image_place_open_beside(const struct image_place *place, int64_t pool_id,
			    struct image_place *ret_place, struct err *err)
{
	struct image_place beside = *place;

	beside.borrows_conn = true;
	beside.pool_id = beside.told_pool_id = pool_id;
	beside.told_cluster = place->cluster.id;
	if (ceph_conn_open_pool_id(place->conn, pool_id, place->cluster.rados_namespace, &beside.io,
				   err) < 0)
		return -1;
	*ret_place = beside;
	return 0;
}

struct ceph_journal image_place_journal(const struct image_place *place,
					enum ceph_journal_kind kind)
{
	return (struct ceph_journal){ .conn = place->conn,
				      .io = place->io,
				      .kind = kind,
				      .instance = place->images->ceph.instance };
}

/* ---- what a handle names ---- */

struct looking {
	struct images *images;
	struct ctx *ctx;
	const struct ceph_handle *handle;
	const struct secrets *secrets;
	const struct image_place *beside; /* NULL: none */
	enum ceph_journal_kind kind;
	bool needs_entry;
	struct ceph_candidate first; /* whose pool is there; cluster "": none */
	struct image_place place;
	struct ceph_entry entry;
};

static int open_pool_of(struct looking *l, const struct ceph_candidate *at,
			struct image_place *place, struct err *err)
{
	if (connect_to(l->images, l->ctx, at->cluster, l->secrets, place, err) < 0) {
		if (err->code == ERR_NOT_FOUND) /* config.json has changed in this moment */
			err->code = ERR_FAILED_PRECONDITION;
		return -1;
	}
	if (ceph_conn_open_pool_id(place->conn, at->pool_id, place->cluster.rados_namespace,
				   &place->io, err) < 0) {
		image_place_close(place);
		return -1;
	}
	place->pool_id = at->pool_id;
	return 0;
}

static int open_candidate(struct looking *l, const struct ceph_candidate *at,
			  struct image_place *ret_place, struct err *err)
{
	bool is_beside = l->beside && str_is_equal(l->beside->cluster.id, at->cluster);
	struct image_place place;

	if ((is_beside ? image_place_open_beside(l->beside, at->pool_id, &place, err)
		       : open_pool_of(l, at, &place, err)) < 0)
		return -1;
	place.told_cluster = arena_strdup(l->ctx->arena, l->handle->cluster);
	place.told_pool_id = l->handle->pool_id;
	*ret_place = place;
	return 0;
}

static int refuse_bare(const struct image_place *place, const char *image, struct err *err)
{
	return err_set(err, ERR_FAILED_PRECONDITION,
		       "its image '%s' is here, and the journal has no entry of it, since that is "
		       "not mirrored; ceph-csi's controller (cephcsi --type=controller) makes the "
		       "entries of PersistentVolumes of another site",
		       image_spec(place, image));
}

/* What is mirrored is the image alone. By the name that it has unless its class says another; one
 * that is there for its snapshots is none. 1: it is there, and that is enough; 0 with err. */
static int look_for_image(const struct looking *l, const struct image_place *place, struct err *err)
{
	const char *name = arena_printf(l->ctx->arena, CEPH_VOLUME_PREFIX "%s", l->handle->uuid);
	const struct err none = *err;
	struct image_look look;
	int found;

	if (l->kind != CEPH_JOURNAL_VOLUMES ||
	    (place->pool_id == l->handle->pool_id &&
	     str_is_equal(place->cluster.id, l->handle->cluster)))
		return 0;
	found = image_look_maybe(place, name, IMAGE_ASK_GIVEN_UP, &look, err);
	if (found > 0 && str_is_equal(look.given_up, name))
		found = 0;
	if (found > 0 && l->needs_entry)
		return refuse_bare(place, name, err);
	if (found == 0)
		*err = none;
	return found;
}

static int look_in(struct looking *l, const struct image_place *place, bool is_only,
		   struct err *err)
{
	const struct ceph_journal journal = image_place_journal(place, l->kind);

	if ((is_only && !l->needs_entry) ||
	    ceph_journal_read(&journal, l->ctx, l->handle->uuid, &l->entry, err) == 0)
		return 1;
	return err->code == ERR_NOT_FOUND ? look_for_image(l, place, err) : -1;
}

static int look_at(void *arg, const struct ceph_candidate *at, bool is_only, struct err *err)
{
	struct looking *l = arg;
	struct image_place place;
	int found;

	if (open_candidate(l, at, &place, err) < 0)
		return err->code == ERR_NOT_FOUND ? 0 : -1;
	if (!l->first.cluster[0])
		l->first = *at;
	found = look_in(l, &place, is_only, err);
	if (found > 0)
		l->place = place;
	else
		image_place_close(&place);
	return found;
}

/* 1, 0 with err, -1. */
static int look_for(struct looking *l, struct err *err)
{
	return ceph_elsewhere_search(&l->images->ceph, CEPH_MAPPED_POOLS, l->handle, look_at, l,
				     err);
}

int image_place_open_handle(struct images *images, struct ctx *ctx,
			    const struct ceph_handle *handle, const struct secrets *secrets,
			    struct image_place *ret_place, struct err *err)
{
	struct looking l = { .images = images,
			     .ctx = ctx,
			     .handle = handle,
			     .secrets = secrets,
			     .kind = CEPH_JOURNAL_VOLUMES };
	int found = look_for(&l, err);

	if (found == 0 && l.first.cluster[0])
		found = open_candidate(&l, &l.first, &l.place, err) < 0 ? -1 : 1;
	if (found <= 0)
		return -1;
	*ret_place = l.place;
	return 0;
}

static int refuse_other(const struct image_place *place, const char *cluster, struct err *err)
{
	return err_set(err, ERR_INVALID_ARGUMENT,
		       "it is in cluster '%s', and the class makes volumes in '%s'; a copy is made "
		       "within one cluster",
		       cluster, place->cluster.id);
}

/* Its cluster; what is not known may be anywhere. */
static bool may_be_in(const struct image_place *place, const struct ceph_handle *handle)
{
	struct ceph_candidates all;

	ceph_config_candidates(place->images->ceph.config, CEPH_MAPPED_POOLS, handle, &all);
	for (size_t i = 0; i < all.n; i++)
		if (str_is_equal(all.v[i].cluster, place->cluster.id))
			return true;
	return all.doubt.code != ERR_OK;
}

int image_place_find_beside(const struct image_place *place, const struct ceph_handle *handle,
			    enum ceph_journal_kind kind, const struct secrets *secrets,
			    struct image_place *ret_place, struct ceph_entry *ret_entry,
			    struct err *err)
{
	struct looking l = { .images = place->images,
			     .ctx = place->ctx,
			     .handle = handle,
			     .secrets = secrets,
			     .beside = place,
			     .kind = kind,
			     .needs_entry = true };

	if (!may_be_in(place, handle))
		return refuse_other(place, handle->cluster, err);
	if (look_for(&l, err) <= 0)
		return -1;
	if (!str_is_equal(l.place.cluster.id, place->cluster.id)) {
		(void)refuse_other(place, l.place.cluster.id, err);
		image_place_close(&l.place);
		return -1;
	}
	*ret_place = l.place;
	*ret_entry = l.entry;
	return 0;
}

int image_place_name_image(const struct image_place *place, const char *uuid,
			   const char **ret_image, struct err *err)
{
	const struct ceph_journal journal = image_place_journal(place, CEPH_JOURNAL_VOLUMES);
	bool is_mapped = place->told_pool_id != place->pool_id ||
			 !str_is_equal(place->told_cluster, place->cluster.id);
	struct ceph_entry entry;

	if (ceph_journal_read(&journal, place->ctx, uuid, &entry, err) == 0)
		*ret_image = entry.image;
	else if (err->code == ERR_NOT_FOUND && is_mapped)
		*ret_image = arena_printf(place->ctx->arena, CEPH_VOLUME_PREFIX "%s", uuid);
	else
		return -1;
	return 0;
}

bool image_place_may_have(const struct image_place *place, const struct ceph_handle *handle)
{
	struct ceph_candidates all;

	ceph_config_candidates(place->images->ceph.config, CEPH_MAPPED_POOLS, handle, &all);
	for (size_t i = 0; i < all.n; i++)
		if (str_is_equal(all.v[i].cluster, place->cluster.id) &&
		    all.v[i].pool_id == place->pool_id)
			return true;
	return false;
}

int image_entry_open(struct backend *b, struct ctx *ctx, const char *token,
		     enum ceph_journal_kind kind, const struct secrets *secrets,
		     struct image_entry *ret_entry, struct err *err)
{
	struct ceph_handle handle;
	struct looking l = { .images = images_of(b),
			     .ctx = ctx,
			     .handle = &handle,
			     .secrets = secrets,
			     .kind = kind,
			     .needs_entry = true };

	if (ceph_handle_parse(token, &handle, err) < 0 || look_for(&l, err) <= 0)
		return -1;
	*ret_entry = (struct image_entry){ .place = l.place,
					   .journal = image_place_journal(&l.place, kind),
					   .entry = l.entry };
	return 0;
}

int image_entry_check(const struct image_place *place, const struct ceph_entry *entry,
		      const char *name, struct err *err)
{
	if (entry->pool_id >= 0 && entry->pool_id != place->pool_id)
		return err_set(err, ERR_ALREADY_EXISTS,
			       "name '%s': it exists as image '%s' of pool number %lld, not of the "
			       "one that is asked",
			       name, entry->image, (long long)entry->pool_id);
	if (str_is_equal(entry->name, name) && *entry->image)
		return 0;
	return err_set(
		err, ERR_FAILED_PRECONDITION,
		"the journal's entry '%s' of name '%s' is torn: it is of name '%s' and image "
		"'%s'; another program has changed it",
		entry->uuid, name, entry->name, entry->image);
}
