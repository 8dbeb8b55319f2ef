/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CreateVolume and DeleteVolume.
 *
 * CreateVolume is idempotent by name: first every open pool is asked for the token that the name
 * gives, and only if none has it a pool is chosen. So a retry never makes a second volume in
 * another pool because that one has more room now. A pool that does not answer cannot be asked, and
 * must not stop the others: who repeats a call names one place (requisite), and then its silence is
 * the answer. The volume is whole or absent when the backend returns, so there is nothing to undo
 * here.
 *
 * A volume with a source goes where the source is (source.c). If it is wanted elsewhere, the answer
 * is RESOURCE_EXHAUSTED: provisioners then have another node chosen for the pod.
 *
 * DeleteVolume of a volume that is mounted on this node is refused with the place; a device that a
 * killed NodeStage left attached without a mount is in nobody's use and is detached first.
 */
#include <assert.h>
#include <string.h>

#include "base/num.h"
#include "base/str.h"
#include "csi/driver-internal.h"
#include "csi/fields.h"
#include "csi/source.h"
#include "csi/validate.h"
#include "volume/params.h"
#include "volume/size.h"
#include "volume/topology.h"

struct plan {
	const char *name;
	char token[VOL_TOKEN_MAX];
	bool is_mount;
	const char *fs; /* "" = raw; for a source that was not looked at also: not said */
	uint64_t bytes;
	bool needs_device; /* raw block, or a filesystem that is made on one */
	struct source source;
	struct vol_params params;
};

/* One filesystem for all capabilities; raw only if none of them wants a mount. None said is the
 * source's, if there is one. */
static int choose_fs(const struct csi_create_volume_request *req, struct plan *plan,
		     struct err *err)
{
	const char *fs = "";

	for (size_t i = 0; i < req->n_volume_capabilities; i++) {
		const struct vol_capability *cap = &req->volume_capabilities[i];
		const char *wanted;

		if (vol_capability_check(cap, err) < 0)
			return -1;
		if (cap->access != VOL_ACCESS_MOUNT)
			continue;
		plan->is_mount = true;
		if (plan->source.kind != BACKEND_SOURCE_NONE && str_is_empty(cap->fs_type))
			continue;
		wanted = vol_fs_resolve(cap->fs_type);
		if (*fs && !str_is_equal(fs, wanted))
			return err_set(
				err, ERR_INVALID_ARGUMENT,
				"volume_capabilities: fs_type %s and %s at once; a volume has "
				"one filesystem",
				fs, wanted);
		fs = wanted;
	}
	plan->fs = fs;
	return 0;
}

/* A provisioner that reads the old key has put it into the capability; one that does not, or a
 * person, is told the new one. */
static int check_legacy_fs(const struct plan *plan, struct err *err)
{
	const char *legacy = plan->params.legacy_fs;

	if (!*legacy || !*plan->fs || str_is_equal(vol_fs_resolve(legacy), plan->fs))
		return 0;
	return err_set(err, ERR_INVALID_ARGUMENT,
		       "parameters: fstype: '%.64s', but the capability asks for %s; the key is "
		       "csi.storage.k8s.io/fstype",
		       legacy, plan->fs);
}

static int check_thin(const struct csi_create_volume_request *req, const struct plan *plan,
		      struct err *err)
{
	bool is_block = false;

	for (size_t i = 0; i < req->n_volume_capabilities; i++)
		is_block = is_block || req->volume_capabilities[i].access == VOL_ACCESS_BLOCK;
	return vol_params_check_fs(&plan->params, plan->fs, is_block, err);
}

static int refuse_pool_name(struct csi_driver *d, struct arena *a, const char *name,
			    struct err *err)
{
	const struct registry_pools pools = registry_pools(d->pools, a);
	const struct registry_missing *missing;
	size_t n_missing = registry_missing(d->pools, a, &missing);
	const char *known = "";

	for (size_t i = 0; i < n_missing; i++) {
		if (str_is_equal(missing[i].name, name))
			return err_set(err, ERR_UNAVAILABLE, "pool '%s' is not served now: %s",
				       name, missing[i].why);
	}
	for (size_t i = 0; i < pools.n; i++)
		known = arena_printf(a, "%s%s%s", known, i ? ", " : "", pools.v[i]->pool_name);
	return err_set(err, ERR_INVALID_ARGUMENT,
		       "parameters: pool: no pool '%s' here; there are: %s", name, known);
}

static bool needs_device(const struct csi_create_volume_request *req)
{
	for (size_t i = 0; i < req->n_volume_capabilities; i++) {
		if (req->volume_capabilities[i].access == VOL_ACCESS_BLOCK ||
		    !str_is_empty(req->volume_capabilities[i].fs_type))
			return true;
	}
	return false;
}

static bool can_hold(const struct backend *pool, const struct plan *plan)
{
	if (*plan->params.pool && !str_is_equal(plan->params.pool, pool->pool_name))
		return false;
	if (plan->params.is_thin && !(pool->caps & BACKEND_THIN))
		return false;
	return !plan->needs_device || !(pool->caps & BACKEND_MOUNT);
}

/* Whatever the topology: a pool that could hold it, as long as one that is missing might not. */
static int check_any_can(struct csi_driver *d, struct arena *a, const struct plan *plan,
			 struct err *err)
{
	const struct registry_pools pools = registry_pools(d->pools, a);
	const struct registry_missing *missing;

	for (size_t i = 0; i < pools.n; i++) {
		if (can_hold(pools.v[i], plan))
			return 0;
	}
	if ((!plan->needs_device && !plan->params.is_thin) || pools.n == 0 ||
	    registry_missing(d->pools, a, &missing) > 0)
		return 0;
	if (plan->params.is_thin)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "parameters: provisioning: %s%s has no thin volumes; say thick",
			       *plan->params.pool ? "pool " : "what is served here",
			       plan->params.pool);
	return err_set(err, ERR_INVALID_ARGUMENT,
		       "volume_capabilities: %s%s has no block devices, which raw block and a "
		       "named fs_type need; ask for a mount without fs_type",
		       *plan->params.pool ? "pool " : "what is served here", plan->params.pool);
}

static int make_plan(struct csi_driver *d, struct ctx *ctx,
		     const struct csi_create_volume_request *req, struct plan *ret_plan,
		     struct err *err)
{
	struct plan plan = { .name = req->name };

	if (source_resolve(d, &req->volume_content_source, &plan.source, err) < 0 ||
	    choose_fs(req, &plan, err) < 0 ||
	    vol_params_parse(&req->parameters, &plan.params, err) < 0 ||
	    vol_limits_merge(&plan.params.limits, "mutable_parameters", &req->mutable_parameters,
			     err) < 0 ||
	    check_legacy_fs(&plan, err) < 0 || check_thin(req, &plan, err) < 0 ||
	    vol_size_choose(&req->capacity_range, plan.fs, &plan.bytes, err) < 0)
		return -1;
	if (*plan.params.pool && !registry_find_name(d->pools, plan.params.pool))
		return refuse_pool_name(d, ctx->arena, plan.params.pool, err);
	plan.needs_device = needs_device(req);
	if (check_any_can(d, ctx->arena, &plan, err) < 0)
		return -1;
	vol_token_from_name(req->name, plan.token);
	*ret_plan = plan;
	return 0;
}

static bool is_pool_allowed(struct csi_driver *d, struct arena *a, const struct backend *pool,
			    const struct plan *plan, const struct vol_topologies *wanted)
{
	struct vol_topology place = driver_pool_topology(d, a, pool);

	return can_hold(pool, plan) && vol_topology_allows(wanted, &place);
}

/* What the pool must lie in: requisite, else preferred, which then may be left for any other
 * (CSI 1.13, topology). */
static const struct vol_topologies *binding_topologies(const struct csi_create_volume_request *req)
{
	static const struct vol_topologies anywhere = { NULL, 0 };

	return req->accessibility_requirements.requisite.n > 0
		       ? &req->accessibility_requirements.requisite
		       : &anywhere;
}

/* 1: the pool that has the token already. 0: none, but ret_pool has begun to make it if it is not
 * NULL. Fails if no allowed pool could be asked. */
static int find_existing(struct csi_driver *d, struct ctx *ctx, const struct plan *plan,
			 const struct vol_topologies *wanted, struct backend **ret_pool,
			 struct backend_volume *ret_vol, struct err *err)
{
	const struct registry_pools pools = registry_pools(d->pools, ctx->arena);
	bool has_failed = false;
	bool has_answered = false;

	*ret_pool = NULL;
	for (size_t i = 0; i < pools.n; i++) {
		bool is_allowed = is_pool_allowed(d, ctx->arena, pools.v[i], plan, wanted);
		struct err why;

		if (backend_stat(pools.v[i], ctx, plan->token, NULL, ret_vol, &why) == 0) {
			*ret_pool = pools.v[i];
			return 1;
		}
		if (!is_allowed)
			continue;
		if (why.code == ERR_ABORTED)
			*ret_pool = pools.v[i];
		if (why.code == ERR_NOT_FOUND || why.code == ERR_ABORTED) {
			has_answered = true;
		} else {
			has_failed = true;
			*err = why;
		}
	}
	return has_failed && !has_answered ? -1 : 0;
}

/* What was left to the source, as the volume has it. */
static void take_from_existing(const struct backend_volume *vol, struct arena *a, struct plan *plan)
{
	if (plan->source.kind == BACKEND_SOURCE_NONE)
		return;
	plan->bytes = vol->is_damaged ? VOL_SIZE_DEFAULT : vol->bytes;
	if (plan->is_mount && !*plan->fs)
		plan->fs = vol_fs_resolve(arena_strdup(a, vol->fs));
}

int driver_compare_limits(const char *name, const struct vol_limits *asked,
			  const struct vol_limits *has, struct err *err)
{
	char asked_text[VOL_LIMITS_TEXT_MAX], has_text[VOL_LIMITS_TEXT_MAX];

	if (vol_limits_are_equal(asked, has))
		return 0;
	vol_limits_describe(asked, asked_text);
	vol_limits_describe(has, has_text);
	return err_set(err, ERR_ALREADY_EXISTS, "name '%s': the volume exists with %s, asked is %s",
		       name, has_text, asked_text);
}

static int check_existing(struct csi_driver *d, struct ctx *ctx,
			  const struct csi_create_volume_request *req, struct plan *plan,
			  const struct backend *pool, const struct backend_volume *vol,
			  struct err *err)
{
	char text[NUM_QUANTITY_MAX];

	take_from_existing(vol, ctx->arena, plan);
	if (vol->is_damaged)
		return 0; /* backend_create says so in its own words */
	if (source_check_existing(ctx->arena, &plan->source, pool, vol, err) < 0)
		return -1;
	if (!is_pool_allowed(d, ctx->arena, pool, plan, binding_topologies(req)))
		return err_set(
			err, ERR_ALREADY_EXISTS,
			"name '%s': the volume exists in pool '%s', which is not where it is "
			"wanted now",
			req->name, pool->pool_name);
	num_format_quantity(vol->bytes, text);
	if (!vol_size_is_within(vol->bytes, &req->capacity_range))
		return err_set(err, ERR_ALREADY_EXISTS,
			       "name '%s': the volume exists with %s, outside the capacity_range "
			       "of now",
			       req->name, text);
	return driver_compare_limits(req->name, &plan->params.limits, &vol->limits, err);
}

/*
 * Of the allowed pools the one with the most room, NULL if none is allowed. One that cannot be
 * asked is passed over while there is another; else its error is the answer.
 */
static int choose_roomiest(struct csi_driver *d, struct ctx *ctx, const struct plan *plan,
			   const struct vol_topologies *wanted, struct backend **ret_pool,
			   uint64_t *ret_room, struct err *err)
{
	const struct registry_pools pools = registry_pools(d->pools, ctx->arena);
	struct backend *best = NULL;
	bool has_failed = false;

	*ret_room = 0;
	for (size_t i = 0; i < pools.n; i++) {
		struct backend *pool = pools.v[i];
		struct backend_info info;
		uint64_t room;

		if (!is_pool_allowed(d, ctx->arena, pool, plan, wanted))
			continue;
		if (backend_info(pool, ctx, &info, err) < 0) {
			has_failed = true;
			continue;
		}
		room = driver_room(&info, &plan->params);
		if (!best || room > *ret_room) {
			best = pool;
			*ret_room = room;
		}
	}
	*ret_pool = best;
	return !best && has_failed ? -1 : 0;
}

/* RESOURCE_EXHAUSTED says that no volume was made and sends the caller elsewhere: only where no
 * pool is missing that might be the one that is asked. */
static int refuse_topology(struct csi_driver *d, struct arena *a,
			   const struct vol_topologies *wanted, struct err *err)
{
	const char *foreign = vol_topology_foreign_key(wanted, d->name);
	const struct registry_missing *missing;

	if (!foreign && registry_missing(d->pools, a, &missing) > 0)
		return err_set(err, ERR_UNAVAILABLE,
			       "accessibility_requirements: the pool that is asked is not served "
			       "here now; not served is '%s' at '%s': %s",
			       missing[0].name, missing[0].where, missing[0].why);
	if (foreign)
		return err_set(
			err, ERR_RESOURCE_EXHAUSTED,
			"accessibility_requirements: no pool here lies in what is asked, "
			"which has the key '%.80s'; this driver's keys are '%s/' and a pool's "
			"identity, other labels have to be translated by the provisioner",
			foreign, d->name);
	return err_set(err, ERR_RESOURCE_EXHAUSTED,
		       "accessibility_requirements: no pool of this driver lies in the topology "
		       "that is asked");
}

/* preferred in its order as long as there is room, then the rest of what is binding. */
static int choose_pool(struct csi_driver *d, struct ctx *ctx,
		       const struct csi_create_volume_request *req, const struct plan *plan,
		       struct backend **ret_pool, struct err *err)
{
	struct backend *pool;
	uint64_t room;

	for (size_t i = 0; i < req->accessibility_requirements.preferred.n; i++) {
		struct vol_topologies one = { &req->accessibility_requirements.preferred.v[i], 1 };

		if (choose_roomiest(d, ctx, plan, &one, &pool, &room, err) < 0)
			continue;
		if (pool && room >= plan->bytes) {
			*ret_pool = pool;
			return 0;
		}
	}
	if (choose_roomiest(d, ctx, plan, binding_topologies(req), &pool, &room, err) < 0)
		return -1;
	if (!pool)
		return refuse_topology(d, ctx->arena, binding_topologies(req), err);
	*ret_pool = pool;
	return 0;
}

static int check_place_of_source(struct csi_driver *d, struct ctx *ctx,
				 const struct csi_create_volume_request *req,
				 const struct plan *plan, struct err *err)
{
	const struct backend *pool = plan->source.ref.pool;
	struct vol_topology place = driver_pool_topology(d, ctx->arena, pool);

	if (*plan->params.pool && !str_is_equal(plan->params.pool, pool->pool_name))
		return err_set(
			err, ERR_INVALID_ARGUMENT,
			"parameters: pool: '%s' is asked, and the source '%s' is in pool '%s'; "
			"a volume made of it has to be there too",
			plan->params.pool, plan->source.id, pool->pool_name);
	if (!vol_topology_allows(binding_topologies(req), &place))
		return err_set(
			err, ERR_RESOURCE_EXHAUSTED,
			"accessibility_requirements: a volume made of '%s' has to be where "
			"that is, in pool '%s'%s%s%s, which does not lie in the topology that "
			"is asked",
			plan->source.id, pool->pool_name, *d->node_id ? " on node '" : "",
			d->node_id, *d->node_id ? "'" : "");
	return 0;
}

/* Where the source is, as large as that unless more is asked, with its filesystem. */
static int follow_source(struct csi_driver *d, struct ctx *ctx,
			 const struct csi_create_volume_request *req, struct plan *plan,
			 struct backend **ret_pool, struct err *err)
{
	const char *fs;
	struct source_facts *facts = arena_alloc(ctx->arena, sizeof(*facts));

	if (source_look(d, ctx, &plan->source, facts, err) < 0 ||
	    check_place_of_source(d, ctx, req, plan, err) < 0 ||
	    source_choose_fs(&plan->source, facts, plan->is_mount, plan->fs, &fs, err) < 0)
		return -1;
	if (vol_size_choose_from(&req->capacity_range, facts->bytes, &plan->bytes, err) < 0)
		return err_wrap(err, "volume of '%s'", plan->source.id);
	plan->fs = fs;
	*ret_pool = plan->source.ref.pool;
	return check_legacy_fs(plan, err) < 0 ? -1 : check_thin(req, plan, err);
}

static struct backend_spec make_spec(struct csi_driver *d,
				     const struct csi_create_volume_request *req,
				     const struct plan *plan, const struct backend *pool)
{
	bool has_source = plan->source.kind != BACKEND_SOURCE_NONE;

	return (struct backend_spec){ .name = plan->name,
				      .token = plan->token,
				      .bytes = plan->bytes,
				      .fs = pool->caps & BACKEND_MOUNT ? "" : plan->fs,
				      .allow_buffered = plan->params.allow_buffered,
				      .is_written = plan->params.is_written,
				      .no_reserve = plan->params.no_snapshot_reserve,
				      .is_thin = plan->params.is_thin,
				      .source_kind = plan->source.kind,
				      .source = has_source ? plan->source.ref.token : NULL,
				      .limits = plan->params.limits,
				      .secrets = &req->secrets,
				      .owner = { .cluster = d->cluster_id,
						 .claim_namespace = plan->params.claim_namespace,
						 .claim_name = plan->params.claim_name,
						 .claim_uid = plan->params.claim_uid } };
}

/* pool: NULL, or the one that has begun to make it. */
static int find_place(struct csi_driver *d, struct ctx *ctx,
		      const struct csi_create_volume_request *req, struct plan *plan,
		      struct backend **pool, struct err *err)
{
	const struct backend *begun = *pool;

	if (plan->source.kind == BACKEND_SOURCE_NONE)
		return begun ? 0 : choose_pool(d, ctx, req, plan, pool, err);
	if (follow_source(d, ctx, req, plan, pool, err) < 0)
		return -1;
	if (begun && begun != *pool)
		return err_set(err, ERR_ABORTED,
			       "name '%s': a volume of this name is being made in pool '%s'",
			       plan->name, begun->pool_name);
	return 0;
}

static int create_in_pool(struct csi_driver *d, struct ctx *ctx,
			  const struct csi_create_volume_request *req, struct plan *plan,
			  struct csi_volume *ret, struct err *err)
{
	struct backend_spec spec;
	struct backend_volume vol;
	struct backend *pool = NULL;
	int rc;

	rc = find_existing(d, ctx, plan, binding_topologies(req), &pool, &vol, err);
	if (rc < 0)
		return -1;
	if (rc > 0 && check_existing(d, ctx, req, plan, pool, &vol, err) < 0)
		return -1;
	if (rc == 0 && find_place(d, ctx, req, plan, &pool, err) < 0)
		return -1;
	assert(pool);
	spec = make_spec(d, req, plan, pool);
	if (driver_check_limits(d, pool, &plan->params.limits, err) < 0 || ctx_check(ctx, err) < 0)
		return -1;
	if (backend_create(pool, ctx, &spec, &vol, err) < 0) /* it names the pool and the token */
		return str_is_equal(plan->name, plan->token)
			       ? -1
			       : err_wrap(err, "create '%s'", plan->name);
	driver_fill_volume(d, ctx->arena, pool, &vol, ret);
	return 0;
}

int driver_create_volume(void *impl, struct ctx *ctx, const struct csi_create_volume_request *req,
			 struct csi_create_volume_response *ret, struct err *err)
{
	struct csi_driver *d = impl;
	struct backend *elsewhere = driver_elsewhere(d);
	struct plan plan;
	int r;

	if (validate_create_volume(req, err) < 0)
		return -1;
	if (elsewhere) {
		r = driver_create_elsewhere(d, ctx, elsewhere, req, &ret->volume, err);
		ret->has_volume = r == 0;
		return r;
	}
	if (make_plan(d, ctx, req, &plan, err) < 0 ||
	    inflight_begin(d->inflight, plan.token, "CreateVolume", err) < 0)
		return -1;
	r = create_in_pool(d, ctx, req, &plan, &ret->volume, err);
	ret->has_volume = r == 0;
	inflight_end(d->inflight, plan.token);
	return r;
}

static int check_unused(struct ctx *ctx, const struct node_state *state, struct err *err)
{
	const char *path;

	if (node_find_mount(state, ctx, NODE_MOUNT_ANY, NULL, &path, err) < 0)
		return -1;
	if (!path && state->note.is_staged && state->note.is_block)
		path = str_or(state->note.staging_text, "(a long path)");
	if (path)
		return err_set(
			err, ERR_FAILED_PRECONDITION,
			"volume '%s' is in use on this node: staged or published at '%s'%s%s",
			state->ref.token, path, state->device.path[0] ? " as " : "",
			state->device.path);
	return 0;
}

static int delete_in_pool(struct csi_driver *d, struct ctx *ctx, const struct csi_ref *ref,
			  const struct secrets *secrets, struct err *err)
{
	struct node_state state;

	if (node_state_load(d, ctx, ref, &state, err) < 0)
		return -1;
	if (state.is_attached) {
		if (check_unused(ctx, &state, err) < 0 || ctx_check(ctx, err) < 0 ||
		    node_detach(ctx, &state, err) < 0)
			return -1;
	}
	if (ctx_check(ctx, err) < 0)
		return -1;
	return backend_remove(ref->pool, ctx, ref->token, secrets, err);
}

int driver_delete_volume(void *impl, struct ctx *ctx, const struct csi_delete_volume_request *req,
			 struct csi_delete_volume_response *ret, struct err *err)
{
	struct csi_driver *d = impl;
	struct csi_ref ref;
	int r;

	if (fields_check(&csi_delete_volume_request_type, req, err) < 0)
		return -1;
	if (driver_find_pool(d, req->volume_id, &ref, err) < 0)
		return err->code == ERR_NOT_FOUND ? 0 : -1; /* no driver of ours made it */
	if (inflight_begin(d->inflight, ref.token, "DeleteVolume", err) < 0)
		return -1;
	r = delete_in_pool(d, ctx, &ref, &req->secrets, err);
	inflight_end(d->inflight, ref.token);
	if (r < 0)
		return err_wrap(err, "delete volume '%s'", req->volume_id);
	return 0;
}
