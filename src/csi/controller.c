/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Controller calls that only look: capabilities, ListVolumes, ControllerGetVolume,
 * ValidateVolumeCapabilities, GetCapacity.
 *
 * Damaged volumes are left out of lists: they cannot be served, and the CO would only try to; the
 * metrics and `cleat ctl` show them.
 */
#define LOG_ROOM "csi"
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/vec.h"
#include "csi/driver-internal.h"
#include "csi/fields.h"
#include "csi/validate.h"
#include "event/sync.h"
#include "volume/params.h"
#include "volume/size.h"
#include "volume/topology.h"

/* A page never grows beyond a gRPC message of 4 MiB, whatever max_entries says: an entry takes some
 * 250 bytes. */
#define LIST_PAGE_MAX 8000u

int driver_controller_get_capabilities(void *impl, struct ctx *ctx,
				       const struct csi_controller_get_capabilities_request *req,
				       struct csi_controller_get_capabilities_response *ret,
				       struct err *err)
{
	static const struct driver_capability table[] = {
		{ CSI_CAP_BIT(CSI_CTRL_CREATE_DELETE_VOLUME) |
			  CSI_CAP_BIT(CSI_CTRL_SINGLE_NODE_MULTI_WRITER),
		  0, 0 },
		/* of these no request brings secrets */
		{ CSI_CAP_BIT(CSI_CTRL_LIST_VOLUMES) | CSI_CAP_BIT(CSI_CTRL_GET_CAPACITY) |
			  CSI_CAP_BIT(CSI_CTRL_GET_VOLUME) |
			  CSI_CAP_BIT(CSI_CTRL_GET_VOLUME_HEALTH) |
			  CSI_CAP_BIT(CSI_CTRL_LIST_VOLUME_HEALTH),
		  0, BACKEND_ELSEWHERE },
		{ CSI_CAP_BIT(CSI_CTRL_EXPAND_VOLUME), BACKEND_GROW, 0 },
		{ CSI_CAP_BIT(CSI_CTRL_CREATE_DELETE_SNAPSHOT) | CSI_CAP_BIT(CSI_CTRL_GET_SNAPSHOT),
		  BACKEND_SNAPSHOT, 0 },
		{ CSI_CAP_BIT(CSI_CTRL_LIST_SNAPSHOTS), BACKEND_SNAPSHOT, BACKEND_ELSEWHERE },
		{ CSI_CAP_BIT(CSI_CTRL_CLONE_VOLUME), BACKEND_CLONE, 0 },
		{ CSI_CAP_BIT(CSI_CTRL_MODIFY_VOLUME), BACKEND_MODIFY, 0 },
		/* the last: not without nodes */
		{ CSI_CAP_BIT(CSI_CTRL_PUBLISH_UNPUBLISH_VOLUME), BACKEND_FENCE, 0 },
	};
	const struct csi_driver *d = impl;
	size_t n = ARRAY_LEN(table) - !d->nodes.look;

	ret->capabilities = driver_capabilities(d, ctx->arena, table, n, &ret->n_capabilities);
	return 0;
}

/* published_node_ids without LIST_VOLUMES_PUBLISHED_NODES means nothing to a CO (CSI 1.13), so it
 * may tell people where the volume is staged. */
static void fill_status(struct csi_driver *d, struct ctx *ctx,
			struct csi_controller_get_volume_response *entry)
{
	struct csi_ref ref;
	struct err ignored;

	if (!d->serve_node || driver_find_pool(d, entry->volume.volume_id, &ref, &ignored) < 0 ||
	    !node_state_is_in_use(d, ctx, &ref))
		return;
	entry->has_status = true;
	entry->status.published_node_ids =
		arena_memdup(ctx->arena, &(const char *){ d->node_id }, sizeof(d->node_id));
	entry->status.n_published_node_ids = 1;
}

int driver_controller_get_volume(void *impl, struct ctx *ctx,
				 const struct csi_controller_get_volume_request *req,
				 struct csi_controller_get_volume_response *ret, struct err *err)
{
	struct csi_driver *d = impl;
	struct backend_volume vol;
	struct csi_ref ref;

	if (fields_check(&csi_controller_get_volume_request_type, req, err) < 0 ||
	    driver_check_listed(d, err) < 0 ||
	    driver_find_volume(d, ctx, req->volume_id, NULL, &ref, &vol, err) < 0)
		return -1;
	/* A status is REQUIRED in this reply, though it says nothing of nodes here. */
	ret->has_volume = ret->has_status = true;
	driver_fill_listed(d, ctx->arena, ref.pool, &vol, &ret->volume);
	fill_status(d, ctx, ret);
	return 0;
}

struct page {
	struct csi_driver *d;
	struct arena *a;
	struct backend *pool;
	size_t max;
	bool is_full; /* one more was seen */
	VEC(struct csi_controller_get_volume_response) entries;
};

static int add_to_page(void *arg, const struct backend_volume *vol)
{
	struct page *page = arg;
	struct csi_controller_get_volume_response entry = { .has_volume = true };

	if (vol->is_damaged)
		return 0;
	if (page->entries.n == page->max) {
		page->is_full = true;
		return 1;
	}
	driver_fill_listed(page->d, page->a, page->pool, vol, &entry.volume);
	vec_push(&page->entries, entry);
	return 0;
}

int driver_list_begin(const struct registry_pools *pools, enum vol_kind kind, const char *token,
		      struct driver_list *ret_list, struct err *err)
{
	struct driver_list list = { .pools = *pools };
	struct err why;

	if (!str_is_empty(token)) {
		while (list.first < pools->n &&
		       backend_resolve(pools->v[list.first], kind, token, list.after, &why) < 0)
			list.first++;
		if (list.first == pools->n)
			return err_set(err, ERR_ABORTED,
				       "starting_token: '%.64s' is no token of this list; begin "
				       "again without one",
				       token);
	}
	*ret_list = list;
	return 0;
}

int driver_list_walk(const struct driver_list *list, struct ctx *ctx, driver_list_fn fn, void *arg,
		     struct err *err)
{
	bool has_failed = false;
	bool has_answered = false;
	int r = 0;

	for (size_t i = list->first; i < list->pools.n && r <= 0; i++) {
		r = fn(arg, ctx, list->pools.v[i], i == list->first ? list->after : "", err);
		if (r < 0)
			has_failed = true;
		else
			has_answered = true;
		if (ctx_check(ctx, err) < 0)
			return -1;
	}
	return has_failed && !has_answered ? -1 : 0;
}

static int fill_page(void *arg, struct ctx *ctx, struct backend *pool, const char *after,
		     struct err *err)
{
	struct page *page = arg;

	page->pool = pool;
	if (backend_each(pool, ctx, after, add_to_page, page, err) < 0)
		return -1;
	return page->is_full;
}

int driver_list_volumes(void *impl, struct ctx *ctx, const struct csi_list_volumes_request *req,
			struct csi_list_volumes_response *ret, struct err *err)
{
	struct csi_driver *d = impl;
	struct page page = { .d = d, .a = ctx->arena, .max = LIST_PAGE_MAX };
	const struct registry_pools pools = registry_pools(d->pools, ctx->arena);
	struct driver_list list;
	int r;

	if (fields_check(&csi_list_volumes_request_type, req, err) < 0 ||
	    driver_check_listed(d, err) < 0 ||
	    driver_list_begin(&pools, VOL_KIND_VOLUME, req->starting_token, &list, err) < 0)
		return -1;
	if (req->max_entries > 0 && req->max_entries < page.max)
		page.max = req->max_entries;
	r = driver_list_walk(&list, ctx, fill_page, &page, err);
	if (r == 0) {
		ret->n_entries = page.entries.n;
		for (size_t i = 0; i < page.entries.n; i++)
			fill_status(d, ctx, &page.entries.v[i]);
		if (page.entries.n > 0)
			ret->entries = arena_memdup(ctx->arena, page.entries.v,
						    page.entries.n * sizeof(*page.entries.v));
		if (page.is_full)
			ret->next_token = ret->entries[ret->n_entries - 1].volume.volume_id;
	}
	vec_done(&page.entries);
	return r;
}

static int check_all(const struct csi_driver *d, const struct backend *pool,
		     const struct backend_volume *vol,
		     const struct csi_validate_volume_capabilities_request *req, struct err *err)
{
	struct vol_params params;

	for (size_t i = 0; i < req->n_volume_capabilities; i++) {
		struct vol_capability cap = req->volume_capabilities[i];

		if (driver_check_capability(pool, vol, &cap, err) < 0)
			return -1;
	}
	if (pool->caps & BACKEND_ELSEWHERE)
		return 0; /* its parameters are its own, and were checked when it was made */
	if (vol_params_parse(&req->parameters, &params, err) < 0 ||
	    vol_limits_merge(&params.limits, "mutable_parameters", &req->mutable_parameters, err) <
		    0)
		return -1;
	return driver_check_limits(d, pool, &params.limits, err);
}

/* That something cannot be done is an answer here and no error (CSI 1.13,
 * ValidateVolumeCapabilities). */
int driver_validate_volume_capabilities(void *impl, struct ctx *ctx,
					const struct csi_validate_volume_capabilities_request *req,
					struct csi_validate_volume_capabilities_response *ret,
					struct err *err)
{
	struct csi_driver *d = impl;
	struct backend_volume vol;
	struct csi_ref ref;
	struct err why;

	if (validate_validate(req, err) < 0 ||
	    driver_find_volume(d, ctx, req->volume_id, &req->secrets, &ref, &vol, err) < 0)
		return -1;
	if (check_all(d, ref.pool, &vol, req, &why) < 0) {
		ret->message = arena_strdup(ctx->arena, why.msg);
		return 0;
	}
	/* The CO compares the confirmation with what it asked, so it gets exactly that back. */
	ret->has_confirmed = true;
	ret->confirmed.volume_context = req->volume_context;
	ret->confirmed.volume_capabilities = req->volume_capabilities;
	ret->confirmed.n_volume_capabilities = req->n_volume_capabilities;
	ret->confirmed.parameters = req->parameters;
	ret->confirmed.mutable_parameters = req->mutable_parameters;
	return 0;
}

uint64_t driver_room(const struct backend_info *info, const struct vol_params *params)
{
	return params->is_thin ? info->thin.max_bytes : info->max_volume_bytes;
}

/*
 * The filesystem that decides the least size; fails if no volume could be made for what is asked.
 * Provisioners ask for a class without capabilities, and then its parameters say the filesystem.
 */
static int find_capacity_fs(const struct csi_get_capacity_request *req,
			    const struct vol_params *params, const char **ret_fs, struct err *err)
{
	const char *wanted = str_or(params->fs, params->legacy_fs);
	bool is_block = false;

	*ret_fs = req->n_volume_capabilities > 0 ? "" : vol_fs_resolve(wanted);
	if (!*ret_fs)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "parameters: fstype: '%.64s' is not supported; use ext4 or xfs",
			       wanted);
	for (size_t i = 0; i < req->n_volume_capabilities; i++) {
		const struct vol_capability *cap = &req->volume_capabilities[i];

		if (vol_capability_check(cap, err) < 0)
			return -1;
		is_block = is_block || cap->access == VOL_ACCESS_BLOCK;
		if (cap->access == VOL_ACCESS_MOUNT)
			*ret_fs = vol_fs_resolve(cap->fs_type);
	}
	return vol_params_check_fs(params, *ret_fs, is_block, err);
}

static bool is_said_first(struct said *said, const char *text)
{
	LOCK_SCOPE(&said->lock);
	size_t at = said->next % SAID_MAX;

	for (size_t i = 0; i < SAID_MAX; i++) {
		if (str_is_equal(said->texts[i], text))
			return false;
	}
	free(said->texts[at]);
	said->texts[at] = xstrdup(text);
	said->next++;
	return true;
}

/* Provisioners ask again every minute: one line for each reason. */
static void say_once(struct csi_driver *d, const struct err *why)
{
	if (is_said_first(&d->said, why->msg))
		log_warn("there is no capacity for a class that no volume can be made for",
			 log_err(why));
}

static bool is_pool_asked(struct csi_driver *d, struct arena *a, const struct backend *pool,
			  const struct csi_get_capacity_request *req,
			  const struct vol_params *params)
{
	struct vol_topologies wanted = { &req->accessible_topology,
					 req->has_accessible_topology ? 1 : 0 };
	struct vol_topology place = driver_pool_topology(d, a, pool);

	if (!str_is_empty(params->pool) && !str_is_equal(params->pool, pool->pool_name))
		return false;
	if (params->is_thin && !(pool->caps & BACKEND_THIN))
		return false;
	return vol_topology_allows(&wanted, &place);
}

/* Of the pools that are asked and answer; fails if some are and none does. */
static int add_capacities(struct csi_driver *d, struct ctx *ctx,
			  const struct csi_get_capacity_request *req,
			  const struct vol_params *params,
			  struct csi_get_capacity_response *capacity, struct err *err)
{
	const struct registry_pools pools = registry_pools(d->pools, ctx->arena);
	bool has_failed = false;
	bool has_answered = false;

	for (size_t i = 0; i < pools.n; i++) {
		struct backend_info info;
		uint64_t room;

		if (!is_pool_asked(d, ctx->arena, pools.v[i], req, params))
			continue;
		if (backend_info(pools.v[i], ctx, &info, err) < 0) {
			has_failed = true;
			continue;
		}
		has_answered = true;
		room = driver_room(&info, params);
		capacity->available_capacity += params->is_thin ? room : info.available_bytes;
		if (room > capacity->maximum_volume_size)
			capacity->maximum_volume_size = room;
	}
	return has_failed && !has_answered ? -1 : 0;
}

int driver_get_capacity(void *impl, struct ctx *ctx, const struct csi_get_capacity_request *req,
			struct csi_get_capacity_response *ret, struct err *err)
{
	struct csi_driver *d = impl;
	struct csi_get_capacity_response capacity = { 0 };
	struct vol_params params;
	struct err why;
	const char *fs;

	if (validate_get_capacity(req, err) < 0 || driver_check_listed(d, err) < 0)
		return -1;
	if (vol_params_parse(&req->parameters, &params, &why) < 0 ||
	    find_capacity_fs(req, &params, &fs, &why) < 0) {
		say_once(d, &why);
		return 0;
	}
	capacity.minimum_volume_size = vol_size_min(fs);
	if (add_capacities(d, ctx, req, &params, &capacity, err) < 0)
		return -1;
	/* 0: not said */
	capacity.has_minimum_volume_size = capacity.minimum_volume_size > 0;
	capacity.has_maximum_volume_size = capacity.maximum_volume_size > 0;
	*ret = capacity;
	return 0;
}
