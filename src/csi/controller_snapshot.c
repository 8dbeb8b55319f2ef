/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CreateSnapshot, DeleteSnapshot, ListSnapshots, GetSnapshot.
 *
 * A snapshot lies in the pool of its volume, which its id names, so every call but CreateSnapshot
 * goes to one pool. CreateSnapshot also asks the others whether they have the name: it is the CO's
 * key, and one that is taken for a volume in another pool must not become a second snapshot. One
 * that is there is answered also when its volume is gone. The volume is not locked: the backend
 * keeps apart what must not happen at once, and a mounted volume is in use all the time.
 *
 * Where a snapshot may be is honoured if it is said, and where it is not told
 * (SNAPSHOT_ACCESSIBILITY_CONSTRAINTS is not offered): csi-sanity 5.6.0 compares what a driver
 * tells with the bookkeeping of protobuf's library included, which nothing that came over a wire
 * passes.
 *
 * A filter that names nothing of ours lists nothing. One that names something in a pool that is not
 * here is UNAVAILABLE: an empty list would say that it is gone.
 */
#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "base/vec.h"
#include "csi/driver-internal.h"
#include "csi/fields.h"
#include "csi/validate.h"
#include "volume/snapshot_params.h"
#include "volume/topology.h"

/* As that of ListVolumes (controller.c); an entry takes up to 600 bytes. */
#define LIST_PAGE_MAX 6000u

void driver_fill_snapshot(struct arena *a, const struct backend *pool,
			  const struct backend_snapshot *snap, struct csi_snapshot *ret)
{
	*ret = (struct csi_snapshot){
		.size_bytes = snap->bytes,
		.snapshot_id = driver_format_id(a, pool, VOL_KIND_SNAPSHOT, snap->token),
		.source_volume_id =
			snap->source[0] ? driver_format_id(a, pool, VOL_KIND_VOLUME, snap->source)
					: "",
		.has_creation_time = true,
		.creation_time = { .seconds = snap->created_ns / NS_PER_S,
				   .nanos = (int32_t)(snap->created_ns % NS_PER_S) },
		.ready_to_use = snap->is_ready,
		.group_snapshot_id =
			snap->group[0] ? driver_format_id(a, pool, VOL_KIND_GROUP, snap->group)
				       : "",
	};
}

struct backend_snapshot_options driver_snapshot_options(const struct csi_driver *d,
							const struct vol_snapshot_params *params,
							const struct secrets *secrets)
{
	return (struct backend_snapshot_options){ .freeze = params->freeze,
						  .max_extents = params->max_extents,
						  .copy_above = params->copy_above,
						  .secrets = secrets,
						  .owner = { .cluster = d->cluster_id,
							     .claim_namespace =
								     params->owner_namespace,
							     .claim_name = params->owner_name,
							     .claim_uid = params->owner_uid } };
}

/* A snapshot is where its volume is and nowhere else. */
static int check_topology(struct csi_driver *d, struct arena *a, const struct backend *pool,
			  const struct csi_create_snapshot_request *req, struct err *err)
{
	struct vol_topology place = driver_pool_topology(d, a, pool);

	if ((pool->caps & BACKEND_ELSEWHERE) ||
	    vol_topology_allows(&req->accessibility_requirements.requisite, &place))
		return 0;
	return err_set(err, ERR_RESOURCE_EXHAUSTED,
		       "accessibility_requirements: a snapshot of volume '%s' can only be in its "
		       "pool '%s', which does not lie in the topology that is asked",
		       req->source_volume_id, pool->pool_name);
}

static int check_other_pools(struct csi_driver *d, struct ctx *ctx, const struct backend *pool,
			     const char *name, const char *token, struct err *err)
{
	const struct registry_pools pools = registry_pools(d->pools, ctx->arena);

	for (size_t i = 0; i < pools.n; i++) {
		struct backend_snapshot snap;
		struct err ignored; /* one that does not answer stops no other */

		if (pools.v[i] == pool || !(pools.v[i]->caps & BACKEND_SNAPSHOT) ||
		    backend_snapshot_stat(pools.v[i], ctx, token, NULL, &snap, &ignored) < 0)
			continue;
		return err_set(
			err, ERR_ALREADY_EXISTS,
			"name '%s': the snapshot exists in pool '%s', of volume '%s'", name,
			pools.v[i]->pool_name,
			driver_format_id(ctx->arena, pools.v[i], VOL_KIND_VOLUME, snap.source));
	}
	return 0;
}

static int create_in_pool(struct csi_driver *d, struct ctx *ctx, const struct csi_ref *volume,
			  const struct csi_create_snapshot_request *req,
			  const struct backend_snapshot_spec *spec, struct csi_snapshot *ret,
			  struct err *err)
{
	struct backend_snapshot snap;

	if ((!(volume->pool->caps & BACKEND_ELSEWHERE) &&
	     check_other_pools(d, ctx, volume->pool, req->name, spec->token, err) < 0) ||
	    ctx_check(ctx, err) < 0)
		return -1;
	if (backend_snapshot_create(volume->pool, ctx, spec, &snap, err) < 0)
		return err_wrap(err, "snapshot of volume '%s'", req->source_volume_id);
	driver_fill_snapshot(ctx->arena, volume->pool, &snap, ret);
	return 0;
}

static int find_source(struct csi_driver *d, const char *volume_id, struct csi_ref *ret_ref,
		       struct err *err)
{
	if (driver_find_pool(d, volume_id, ret_ref, err) < 0)
		return err_wrap(err, "source_volume_id");
	if (!(ret_ref->pool->caps & BACKEND_SNAPSHOT))
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "source_volume_id: volume '%s' is in pool '%s' (%s), which cannot "
			       "make snapshots",
			       volume_id, ret_ref->pool->pool_name, ret_ref->pool->ops->name);
	return 0;
}

int driver_create_snapshot(void *impl, struct ctx *ctx,
			   const struct csi_create_snapshot_request *req,
			   struct csi_create_snapshot_response *ret, struct err *err)
{
	struct csi_driver *d = impl;
	struct vol_snapshot_params params = { 0 };
	char token[VOL_TOKEN_MAX];
	struct backend_snapshot_spec spec;
	struct csi_ref volume;
	int r;

	if (validate_create_snapshot(req, err) < 0 ||
	    (!driver_elsewhere(d) &&
	     vol_snapshot_params_parse(&req->parameters, &params, err) < 0) ||
	    find_source(d, req->source_volume_id, &volume, err) < 0 ||
	    check_topology(d, ctx->arena, volume.pool, req, err) < 0)
		return -1;
	vol_token_from_name(req->name, token);
	spec = (struct backend_snapshot_spec){
		.name = req->name,
		.token = token,
		.source = volume.token,
		.options = driver_snapshot_options(d, &params, &req->secrets),
	};
	if (driver_elsewhere(d))
		spec.options.parameters = &req->parameters;
	if (inflight_begin_of(d->inflight, VOL_KIND_SNAPSHOT, token, "CreateSnapshot", err) < 0)
		return -1;
	r = create_in_pool(d, ctx, &volume, req, &spec, &ret->snapshot, err);
	ret->has_snapshot = r == 0;
	inflight_end_of(d->inflight, VOL_KIND_SNAPSHOT, token);
	return r;
}

int driver_delete_snapshot(void *impl, struct ctx *ctx,
			   const struct csi_delete_snapshot_request *req,
			   struct csi_delete_snapshot_response *ret, struct err *err)
{
	struct csi_driver *d = impl;
	struct csi_ref ref;
	int r;

	if (fields_check(&csi_delete_snapshot_request_type, req, err) < 0)
		return -1;
	if (driver_find_pool_of(d, VOL_KIND_SNAPSHOT, req->snapshot_id, &ref, err) < 0)
		return err->code == ERR_NOT_FOUND ? 0 : -1; /* no driver of ours made it */
	if (!(ref.pool->caps & BACKEND_SNAPSHOT))
		return 0; /* it has none */
	if (inflight_begin_of(d->inflight, VOL_KIND_SNAPSHOT, ref.token, "DeleteSnapshot", err) < 0)
		return -1;
	r = ctx_check(ctx, err) < 0
		    ? -1
		    : backend_snapshot_remove(ref.pool, ctx, ref.token, &req->secrets, err);
	inflight_end_of(d->inflight, VOL_KIND_SNAPSHOT, ref.token);
	if (r < 0)
		return err_wrap(err, "delete snapshot '%s'", req->snapshot_id);
	return 0;
}

int driver_find_snapshot(struct csi_driver *d, struct ctx *ctx, const char *snapshot_id,
			 const struct secrets *secrets, struct csi_ref *ret_ref,
			 struct backend_snapshot *ret_snap, struct err *err)
{
	struct backend_snapshot snap;
	struct csi_ref ref;

	if (driver_find_pool_of(d, VOL_KIND_SNAPSHOT, snapshot_id, &ref, err) < 0)
		return -1;
	if (!(ref.pool->caps & BACKEND_SNAPSHOT))
		return err_set(err, ERR_NOT_FOUND, "snapshot '%s': pool '%s' (%s) has no snapshots",
			       snapshot_id, ref.pool->pool_name, ref.pool->ops->name);
	if (backend_snapshot_stat(ref.pool, ctx, ref.token, secrets, &snap, err) < 0)
		return err_wrap(err, "snapshot '%s'", snapshot_id);
	*ret_ref = ref;
	*ret_snap = snap;
	return 0;
}

/* One that is whole. */
static int find_good(struct csi_driver *d, struct ctx *ctx, const char *snapshot_id,
		     const struct secrets *secrets, struct csi_ref *ret_ref,
		     struct backend_snapshot *ret_snap, struct err *err)
{
	if (driver_find_snapshot(d, ctx, snapshot_id, secrets, ret_ref, ret_snap, err) < 0)
		return -1;
	if (ret_snap->is_damaged)
		return err_set(err, ERR_DATA_LOSS, "snapshot '%s' in pool '%s' is damaged: %s",
			       snapshot_id, ret_ref->pool->pool_name, ret_snap->damage);
	return 0;
}

int driver_get_snapshot(void *impl, struct ctx *ctx, const struct csi_get_snapshot_request *req,
			struct csi_get_snapshot_response *ret, struct err *err)
{
	struct csi_driver *d = impl;
	struct backend_snapshot snap;
	struct csi_ref ref;

	if (fields_check(&csi_get_snapshot_request_type, req, err) < 0 ||
	    find_good(d, ctx, req->snapshot_id, &req->secrets, &ref, &snap, err) < 0)
		return -1;
	ret->has_snapshot = true;
	driver_fill_snapshot(ctx->arena, ref.pool, &snap, &ret->snapshot);
	return 0;
}

struct page {
	struct arena *a;
	struct backend *pool;
	const char *source; /* token of the volume that is asked for; NULL: any */
	size_t max;
	bool is_full; /* one more was seen */
	VEC(struct csi_list_snapshots_response_entry) entries;
};

static int add_to_page(void *arg, const struct backend_snapshot *snap)
{
	struct page *page = arg;
	struct csi_list_snapshots_response_entry entry = { .has_snapshot = true };

	if (snap->is_damaged || (page->source && !str_is_equal(snap->source, page->source)))
		return 0;
	if (page->entries.n == page->max) {
		page->is_full = true;
		return 1;
	}
	driver_fill_snapshot(page->a, page->pool, snap, &entry.snapshot);
	vec_push(&page->entries, entry);
	return 0;
}

static int fill_page(void *arg, struct ctx *ctx, struct backend *pool, const char *after,
		     struct err *err)
{
	struct page *page = arg;

	page->pool = pool;
	if (backend_snapshot_each(pool, ctx, after, add_to_page, page, err) < 0)
		return -1;
	return page->is_full;
}

/* Those that have snapshots; of a volume, its own pool alone. */
static struct registry_pools choose_pools(struct csi_driver *d, struct arena *a,
					  const struct csi_ref *volume)
{
	struct registry_pools all = registry_pools(d->pools, a);
	struct registry_pools chosen = { 0 };

	for (size_t i = 0; i < all.n; i++) {
		if ((all.v[i]->caps & BACKEND_SNAPSHOT) && !(all.v[i]->caps & BACKEND_ELSEWHERE) &&
		    (!volume || all.v[i] == volume->pool))
			all.v[chosen.n++] = all.v[i];
	}
	chosen.v = all.v;
	return chosen;
}

static int list_one(struct csi_driver *d, struct ctx *ctx,
		    const struct csi_list_snapshots_request *req, const struct csi_ref *volume,
		    struct page *page, struct err *err)
{
	struct backend_snapshot snap;
	struct csi_ref ref;

	if (!str_is_empty(req->starting_token))
		return err_set(err, ERR_ABORTED,
			       "starting_token: the list of one snapshot has no second page");
	if (find_good(d, ctx, req->snapshot_id, &req->secrets, &ref, &snap, err) < 0)
		return err->code == ERR_NOT_FOUND ? 0 : -1;
	page->pool = ref.pool;
	return volume && volume->pool != ref.pool ? 0 : add_to_page(page, &snap);
}

static int list_many(struct csi_driver *d, struct ctx *ctx,
		     const struct csi_list_snapshots_request *req, const struct csi_ref *volume,
		     struct page *page, struct err *err)
{
	const struct registry_pools pools = choose_pools(d, ctx->arena, volume);
	struct driver_list list;

	if (driver_list_begin(&pools, VOL_KIND_SNAPSHOT, req->starting_token, &list, err) < 0)
		return -1;
	return driver_list_walk(&list, ctx, fill_page, page, err);
}

static int fill_list(struct csi_driver *d, struct ctx *ctx,
		     const struct csi_list_snapshots_request *req, struct page *page,
		     struct err *err)
{
	const struct csi_ref *volume = NULL;
	struct csi_ref ref;

	if (!str_is_empty(req->source_volume_id)) {
		if (driver_find_pool(d, req->source_volume_id, &ref, err) < 0)
			return err->code == ERR_NOT_FOUND ? 0 : -1;
		volume = &ref;
		page->source = arena_strdup(ctx->arena, ref.token);
	}
	return str_is_empty(req->snapshot_id) ? list_many(d, ctx, req, volume, page, err)
					      : list_one(d, ctx, req, volume, page, err);
}

int driver_list_snapshots(void *impl, struct ctx *ctx, const struct csi_list_snapshots_request *req,
			  struct csi_list_snapshots_response *ret, struct err *err)
{
	struct csi_driver *d = impl;
	struct page page = { .a = ctx->arena, .max = LIST_PAGE_MAX };
	int r;

	if (fields_check(&csi_list_snapshots_request_type, req, err) < 0 ||
	    driver_check_listed(d, err) < 0)
		return -1;
	if (req->max_entries > 0 && req->max_entries < page.max)
		page.max = req->max_entries;
	r = fill_list(d, ctx, req, &page, err);
	if (r == 0 && page.entries.n > 0) {
		ret->n_entries = page.entries.n;
		ret->entries = arena_memdup(ctx->arena, page.entries.v,
					    page.entries.n * sizeof(*page.entries.v));
		if (page.is_full)
			ret->next_token = ret->entries[ret->n_entries - 1].snapshot.snapshot_id;
	}
	vec_done(&page.entries);
	return r;
}
