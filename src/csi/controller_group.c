/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GroupController: snapshots of several volumes at one moment.
 *
 * A group lies in one pool, that of all its volumes, which its id names. Its members are snapshots
 * that are listed and restored like any other and go with the group alone. The ids of the members
 * that come with Delete and Get are compared with what is there: a CO that knows others has mixed
 * something up, and deleting what it does not know would lose data.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "csi/driver-internal.h"
#include "csi/fields.h"
#include "csi/validate.h"
#include "volume/snapshot_params.h"

int driver_group_controller_get_capabilities(
	void *impl, struct ctx *ctx,
	const struct csi_group_controller_get_capabilities_request *req,
	struct csi_group_controller_get_capabilities_response *ret, struct err *err)
{
	static const struct driver_capability table[] = {
		{ CSI_CAP_BIT(CSI_GROUP_CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT), BACKEND_GROUP },
	};

	ret->capabilities = driver_capabilities(impl, ctx->arena, table, ARRAY_LEN(table),
						&ret->n_capabilities);
	return 0;
}

static void fill_group(struct arena *a, const struct backend *pool,
		       const struct backend_group *group, struct csi_volume_group_snapshot *ret)
{
	struct csi_snapshot *snapshots = arena_array(a, group->n_members, sizeof(*snapshots));

	*ret = (struct csi_volume_group_snapshot){
		.group_snapshot_id = driver_format_id(a, pool, VOL_KIND_GROUP, group->token),
		.snapshots = snapshots,
		.n_snapshots = group->n_members,
		.has_creation_time = true,
		.creation_time = { .seconds = group->created_ns / NS_PER_S,
				   .nanos = (int32_t)(group->created_ns % NS_PER_S) },
		.ready_to_use = true,
	};
	for (size_t i = 0; i < group->n_members; i++) {
		driver_fill_snapshot(a, pool, &group->members[i], &snapshots[i]);
		ret->ready_to_use = ret->ready_to_use && snapshots[i].ready_to_use;
	}
}

/* The pool of the volumes, and their tokens in it. */
struct sources {
	struct backend *pool;
	const char **tokens; /* in the request's order */
};

static int refuse_twice(const char *id, struct err *err)
{
	return err_set(err, ERR_INVALID_ARGUMENT, "source_volume_ids: volume '%s' is named twice",
		       id);
}

static const char *pool_words(struct arena *a, const struct backend *pool)
{
	return pool ? arena_printf(a, "in pool '%s'", pool->pool_name)
		    : "in a pool that is not on this node";
}

static int refuse_two_pools(struct arena *a,
			    const struct csi_create_volume_group_snapshot_request *req, size_t i,
			    const struct backend *first, const struct backend *other,
			    struct err *err)
{
	return err_set(
		err, ERR_FAILED_PRECONDITION,
		"source_volume_ids: the volumes of a group have to be in one pool, but volume "
		"'%s' is %s and volume '%s' %s",
		req->source_volume_ids[0], pool_words(a, first), req->source_volume_ids[i],
		pool_words(a, other));
}

static int resolve_sources(struct csi_driver *d, struct arena *a,
			   const struct csi_create_volume_group_snapshot_request *req,
			   struct sources *ret, struct err *err)
{
	size_t n = req->n_source_volume_ids;
	struct sources s = { .tokens = arena_array(a, n, sizeof(*s.tokens)) };
	struct csi_ref ref;

	for (size_t i = 0; i < n; i++) {
		if (driver_resolve(d, req->source_volume_ids[i], &ref, err) < 0)
			return err_wrap(err, "source_volume_ids");
		s.tokens[i] = arena_strdup(a, ref.token);
		if (i > 0 && ref.pool != s.pool)
			return refuse_two_pools(a, req, i, s.pool, ref.pool, err);
		s.pool = ref.pool;
		for (size_t j = 0; j < i; j++) {
			if (str_is_equal(s.tokens[j], s.tokens[i]))
				return refuse_twice(req->source_volume_ids[i], err);
		}
	}
	*ret = s;
	return 0;
}

static int find_sources(struct csi_driver *d, struct arena *a,
			const struct csi_create_volume_group_snapshot_request *req,
			struct sources *ret, struct err *err)
{
	struct csi_ref ref;

	if (req->n_source_volume_ids > BACKEND_GROUP_MAX)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "source_volume_ids: %zu volumes, a group has %d at most",
			       req->n_source_volume_ids, BACKEND_GROUP_MAX);
	if (resolve_sources(d, a, req, ret, err) < 0)
		return -1;
	if (!ret->pool) /* of none of them, which is said as of one */
		return driver_find_pool(d, req->source_volume_ids[0], &ref, err) < 0
			       ? -1
			       : err_set(err, ERR_UNAVAILABLE, "the pool came just now");
	if (!(ret->pool->caps & BACKEND_GROUP))
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "source_volume_ids: the volumes are in pool '%s' (%s), which cannot "
			       "make snapshots of a group",
			       ret->pool->pool_name, ret->pool->ops->name);
	return 0;
}

/* The name is the CO's key, whatever pool its volumes are in. */
static int check_other_pools(struct csi_driver *d, struct ctx *ctx, const struct backend *pool,
			     const char *name, const char *token, struct err *err)
{
	const struct registry_pools pools = registry_pools(d->pools, ctx->arena);

	for (size_t i = 0; i < pools.n; i++) {
		struct backend_group group;
		struct err ignored; /* one that does not answer stops no other */

		if (pools.v[i] == pool || !(pools.v[i]->caps & BACKEND_GROUP) ||
		    backend_group_stat(pools.v[i], ctx, token, &group, &ignored) < 0)
			continue;
		return err_set(err, ERR_ALREADY_EXISTS,
			       "name '%s': the group snapshot exists in pool '%s'", name,
			       pools.v[i]->pool_name);
	}
	return 0;
}

int driver_create_volume_group_snapshot(void *impl, struct ctx *ctx,
					const struct csi_create_volume_group_snapshot_request *req,
					struct csi_create_volume_group_snapshot_response *ret,
					struct err *err)
{
	struct csi_driver *d = impl;
	struct vol_snapshot_params params;
	char token[VOL_TOKEN_MAX];
	struct backend_group_spec spec;
	struct backend_group group;
	struct sources sources = { 0 };
	int r;

	if (validate_create_group(req, err) < 0 ||
	    vol_snapshot_params_parse(&req->parameters, &params, err) < 0 ||
	    find_sources(d, ctx->arena, req, &sources, err) < 0)
		return -1;
	vol_token_from_name(req->name, token);
	spec = (struct backend_group_spec){
		.name = req->name,
		.token = token,
		.sources = sources.tokens,
		.n_sources = req->n_source_volume_ids,
		.options = driver_snapshot_options(d, &params, &req->secrets),
	};
	if (inflight_begin_of(d->inflight, VOL_KIND_GROUP, token, "CreateVolumeGroupSnapshot",
			      err) < 0)
		return -1;
	r = check_other_pools(d, ctx, sources.pool, req->name, token, err);
	if (r == 0)
		r = ctx_check(ctx, err);
	if (r == 0)
		r = backend_group_create(sources.pool, ctx, &spec, &group, err);
	inflight_end_of(d->inflight, VOL_KIND_GROUP, token);
	if (r < 0)
		return -1;
	ret->has_group_snapshot = true;
	fill_group(ctx->arena, sources.pool, &group, &ret->group_snapshot);
	return 0;
}

static bool has_id(const char *const *ids, size_t n, const char *id)
{
	for (size_t i = 0; i < n; i++) {
		if (str_is_equal(ids[i], id))
			return true;
	}
	return false;
}

static int refuse_members(const struct csi_volume_group_snapshot *group, const char *what,
			  const char *id, struct err *err)
{
	return err_set(err, ERR_INVALID_ARGUMENT,
		       "snapshot_ids: %s '%s'; group snapshot '%s' has %zu snapshots", what, id,
		       group->group_snapshot_id, group->n_snapshots);
}

/* Each member is named, and nothing else. */
static int check_members(const struct csi_volume_group_snapshot *group, const char *const *ids,
			 size_t n_ids, struct err *err)
{
	autofree const char **members = xcalloc(group->n_snapshots + 1, sizeof(*members));

	for (size_t i = 0; i < group->n_snapshots; i++) {
		members[i] = group->snapshots[i].snapshot_id;
		if (!has_id(ids, n_ids, members[i]))
			return refuse_members(group, "missing is its member", members[i], err);
	}
	for (size_t i = 0; i < n_ids; i++) {
		if (!has_id(members, group->n_snapshots, ids[i]))
			return refuse_members(group, "not of the group is", ids[i], err);
	}
	return 0;
}

static int look(struct ctx *ctx, const struct csi_ref *ref,
		struct csi_volume_group_snapshot *ret_group, struct err *err)
{
	struct backend_group group;

	if (backend_group_stat(ref->pool, ctx, ref->token, &group, err) < 0)
		return -1;
	fill_group(ctx->arena, ref->pool, &group, ret_group);
	return 0;
}

/* One that lost a member cannot be compared, and goes all the same. */
static int check_before_delete(struct ctx *ctx, const struct csi_ref *ref,
			       const struct csi_delete_volume_group_snapshot_request *req,
			       struct err *err)
{
	struct csi_volume_group_snapshot group;

	if (look(ctx, ref, &group, err) < 0)
		return err->code == ERR_NOT_FOUND || err->code == ERR_DATA_LOSS ? 0 : -1;
	return check_members(&group, req->snapshot_ids, req->n_snapshot_ids, err);
}

int driver_delete_volume_group_snapshot(void *impl, struct ctx *ctx,
					const struct csi_delete_volume_group_snapshot_request *req,
					struct csi_delete_volume_group_snapshot_response *ret,
					struct err *err)
{
	struct csi_driver *d = impl;
	struct csi_ref ref;
	int r;

	if (fields_check(&csi_delete_volume_group_snapshot_request_type, req, err) < 0)
		return -1;
	if (driver_find_pool_of(d, VOL_KIND_GROUP, req->group_snapshot_id, &ref, err) < 0)
		return err->code == ERR_NOT_FOUND ? 0 : -1; /* no driver of ours made it */
	if (!(ref.pool->caps & BACKEND_GROUP))
		return 0; /* it has none */
	if (inflight_begin_of(d->inflight, VOL_KIND_GROUP, ref.token, "DeleteVolumeGroupSnapshot",
			      err) < 0)
		return -1;
	r = check_before_delete(ctx, &ref, req, err);
	if (r == 0)
		r = ctx_check(ctx, err);
	if (r == 0)
		r = backend_group_remove(ref.pool, ctx, ref.token, &req->secrets, err);
	inflight_end_of(d->inflight, VOL_KIND_GROUP, ref.token);
	return r < 0 ? err_wrap(err, "delete group snapshot '%s'", req->group_snapshot_id) : 0;
}

int driver_get_volume_group_snapshot(void *impl, struct ctx *ctx,
				     const struct csi_get_volume_group_snapshot_request *req,
				     struct csi_get_volume_group_snapshot_response *ret,
				     struct err *err)
{
	struct csi_driver *d = impl;
	struct csi_volume_group_snapshot group;
	struct csi_ref ref;

	if (fields_check(&csi_get_volume_group_snapshot_request_type, req, err) < 0 ||
	    driver_find_pool_of(d, VOL_KIND_GROUP, req->group_snapshot_id, &ref, err) < 0)
		return -1;
	if (!(ref.pool->caps & BACKEND_GROUP))
		return err_set(err, ERR_NOT_FOUND,
			       "group snapshot '%s': pool '%s' (%s) has no group snapshots",
			       req->group_snapshot_id, ref.pool->pool_name, ref.pool->ops->name);
	if (look(ctx, &ref, &group, err) < 0)
		return err_wrap(err, "group snapshot '%s'", req->group_snapshot_id);
	if (check_members(&group, req->snapshot_ids, req->n_snapshot_ids, err) < 0)
		return -1;
	ret->has_group_snapshot = true;
	ret->group_snapshot = group;
	return 0;
}
