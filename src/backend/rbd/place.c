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
 */
#include "backend/rbd/rbd-internal.h"
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

int image_place_open_handle(struct images *images, struct ctx *ctx,
			    const struct ceph_handle *handle, const struct secrets *secrets,
			    struct image_place *ret_place, struct err *err)
{
	struct image_place place;

	if (connect_to(images, ctx, handle->cluster, secrets, &place, err) < 0) {
		if (err->code == ERR_NOT_FOUND)
			err->code = ERR_FAILED_PRECONDITION;
		return -1;
	}
	if (ceph_conn_open_pool_id(place.conn, handle->pool_id, place.cluster.rados_namespace,
				   &place.io, err) < 0) {
		image_place_close(&place);
		return -1;
	}
	place.pool_id = handle->pool_id;
	*ret_place = place;
	return 0;
}

int image_place_open_beside(const struct image_place *place, int64_t pool_id,
			    struct image_place *ret_place, struct err *err)
{
	struct image_place beside = *place;

	beside.borrows_conn = true;
	beside.pool_id = pool_id;
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

int image_entry_open(struct backend *b, struct ctx *ctx, const char *token,
		     enum ceph_journal_kind kind, const struct secrets *secrets,
		     struct image_entry *ret_entry, struct err *err)
{
	struct ceph_handle handle;
	struct image_entry e;

	if (ceph_handle_parse(token, &handle, err) < 0 ||
	    image_place_open_handle(images_of(b), ctx, &handle, secrets, &e.place, err) < 0)
		return -1;
	e.journal = image_place_journal(&e.place, kind);
	if (ceph_journal_read(&e.journal, ctx, handle.uuid, &e.entry, err) < 0) {
		image_place_close(&e.place);
		return -1;
	}
	*ret_entry = e;
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
