/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ControllerListVolumeHealth, ControllerGetVolumeHealth, NodeGetVolumeHealth, NodeGetStorageHealth.
 *
 * A disk is on one node, so what is wrong with a volume there is wrong with it everywhere, and the
 * controller's calls answer as the node's do. They differ where the pool is not here: the node says
 * that its pods cannot have the volume, the controller that somebody else has to be asked.
 *
 * A list goes over the pools' files, and over the devices whose files are gone: these are the
 * volumes that no file tells of any more.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "base/path.h"
#include "base/str.h"
#include "base/vec.h"
#include "csi/driver-internal.h"
#include "csi/fields.h"
#include "volume/space.h"

#define LIST_PAGE_MAX 2000u

/* ---- one volume ---- */

int driver_controller_get_volume_health(void *impl, struct ctx *ctx,
					const struct csi_controller_get_volume_health_request *req,
					struct csi_controller_get_volume_health_response *ret,
					struct err *err)
{
	struct csi_driver *d = impl;
	struct health health = { .a = ctx->arena };
	struct node_exam what = { .staging_path = "" };

	if (fields_check(&csi_controller_get_volume_health_request_type, req, err) < 0 ||
	    driver_check_listed(d, err) < 0 ||
	    driver_find_pool(d, req->volume_id, &what.ref, err) < 0)
		return -1;
	if (node_examine(d, ctx, &what, &health, err) < 0)
		return err_wrap(err, "volume '%s'", req->volume_id);
	ret->has_volume_health = true;
	ret->volume_health = health_reply(&health, req->volume_id);
	return 0;
}

/* A path may be one that was only tried, so it is no error when nothing is there; and what is there
 * may hang. */
static const char *resolve_staging(struct csi_driver *d, struct ctx *ctx, const char *token,
				   const char *path)
{
	const char *real = "";
	struct err ignored;

	if (!path_is_clean(path) || looks_begin(d->looks, token, &ignored) < 0)
		return "";
	if (driver_resolve_path(d, ctx, "staging_target_path", path, &real, &ignored) < 0)
		real = "";
	looks_end(d->looks, token);
	return real;
}

int driver_node_get_volume_health(void *impl, struct ctx *ctx,
				  const struct csi_node_get_volume_health_request *req,
				  struct csi_node_get_volume_health_response *ret, struct err *err)
{
	struct csi_driver *d = impl;
	struct health health = { .a = ctx->arena };
	struct node_exam what = { 0 };
	struct err why;

	if (fields_check(&csi_node_get_volume_health_request_type, req, err) < 0 ||
	    driver_resolve(d, req->volume_id, &what.ref, err) < 0)
		return -1;
	if (driver_find_pool(d, req->volume_id, &what.ref, &why) < 0) {
		health_add(&health, HEALTH_POOL_GONE, "%s", why.msg);
	} else {
		what.staging_path =
			resolve_staging(d, ctx, what.ref.token, req->staging_target_path);
		if (node_examine(d, ctx, &what, &health, err) < 0)
			return err_wrap(err, "volume '%s'", req->volume_id);
	}
	ret->has_volume_health = true;
	ret->volume_health = health_reply(&health, req->volume_id);
	return 0;
}

/* ---- all volumes of a pool ---- */

struct walk {
	struct arena *a;
	VEC(struct backend_volume) volumes;
	VEC(struct lost_volume) lost;
	bool has_thin;
	bool has_info;
	struct backend_info info; /* of the pool, for thin ones */
};

static int take_volume(void *arg, const struct backend_volume *vol)
{
	struct walk *walk = arg;

	walk->has_thin = walk->has_thin || vol->is_thin;
	vec_push(&walk->volumes, *vol);
	return 0;
}

static int take_lost(void *arg, const char *token, const struct backend_device *dev)
{
	struct walk *walk = arg;
	struct lost_volume lost = { .device = *dev };

	(void)snprintf(lost.token, sizeof(lost.token), "%s", token);
	vec_push(&walk->lost, lost);
	return 0;
}

static int compare_lost(const void *a, const void *b)
{
	const struct lost_volume *one = a;
	const struct lost_volume *other = b;

	return strcmp(one->token, other->token);
}

static int gather(struct csi_driver *d, struct ctx *ctx, struct backend *pool, const char *after,
		  struct walk *walk, struct err *err)
{
	char key[UUID_TEXT_MAX];
	struct err ignored; /* whoever needs the figures asks himself, then */
	int r;

	driver_pool_look_key(pool, key);
	if (looks_begin(d->looks, key, err) < 0)
		return err_wrap(err, "pool '%s'", pool->pool_name);
	r = backend_each(pool, ctx, after, take_volume, walk, err);
	if (r == 0)
		r = backend_each_lost(pool, ctx, take_lost, walk, err);
	walk->has_info =
		r == 0 && walk->has_thin && backend_info(pool, ctx, &walk->info, &ignored) == 0;
	looks_end(d->looks, key);
	if (walk->lost.n > 0)
		qsort(walk->lost.v, walk->lost.n, sizeof(walk->lost.v[0]), compare_lost);
	return r;
}

/* The next token of the two lists, which are in order; each is told once. */
struct merge {
	size_t volume, lost;
};

static const char *next_token(const struct walk *walk, struct merge *at,
			      const struct backend_volume **ret_vol)
{
	const struct backend_volume *vol =
		at->volume < walk->volumes.n ? &walk->volumes.v[at->volume] : NULL;
	const char *lost = at->lost < walk->lost.n ? walk->lost.v[at->lost].token : NULL;
	const char *token;

	*ret_vol = vol && (!lost || strcmp(vol->token, lost) <= 0) ? vol : NULL;
	token = *ret_vol ? vol->token : lost;
	if (*ret_vol)
		at->volume++;
	while (token && at->lost < walk->lost.n && strcmp(walk->lost.v[at->lost].token, token) == 0)
		at->lost++;
	return token;
}

static int tell_unhealthy(struct csi_driver *d, struct ctx *ctx, struct backend *pool,
			  const struct walk *walk, const char *after, driver_health_fn fn,
			  void *arg, struct err *err)
{
	const struct lost_volumes lost = { walk->lost.v, walk->lost.n };
	struct node_exam what = { .lost = &lost,
				  .info = walk->has_info ? &walk->info : NULL,
				  .staging_path = "" };
	struct merge at = { 0 };
	const char *token;

	while ((token = next_token(walk, &at, &what.vol))) {
		struct health health = { .a = ctx->arena };
		char id[VOL_ID_MAX];
		struct err why;

		if (ctx_check(ctx, err) < 0)
			return -1;
		if (strcmp(token, after) <= 0)
			continue;
		what.ref.pool = pool;
		(void)snprintf(what.ref.token, sizeof(what.ref.token), "%s", token);
		/* one that cannot be looked at, or went meanwhile, is not told of */
		if (node_examine(d, ctx, &what, &health, &why) < 0 || health.n == 0)
			continue;
		backend_format_id(pool, VOL_KIND_VOLUME, token, id);
		if (fn(arg, id, &health) != 0)
			return 0;
	}
	return 0;
}

int driver_each_unhealthy(struct csi_driver *d, struct ctx *ctx, struct backend *pool,
			  const char *after, driver_health_fn fn, void *arg, struct err *err)
{
	struct walk walk = { .a = ctx->arena };
	int r = gather(d, ctx, pool, after, &walk, err);

	if (r == 0)
		r = tell_unhealthy(d, ctx, pool, &walk, after, fn, arg, err);
	vec_done(&walk.volumes);
	vec_done(&walk.lost);
	return r;
}

/* ---- the list ---- */

struct page {
	struct csi_driver *d;
	struct arena *a;
	size_t max;
	bool is_full; /* one more was seen */
	VEC(struct csi_volume_health) entries;
};

static int add_to_page(void *arg, const char *volume_id, const struct health *h)
{
	struct page *page = arg;

	if (page->entries.n == page->max) {
		page->is_full = true;
		return 1;
	}
	vec_push(&page->entries, health_reply(h, arena_strdup(page->a, volume_id)));
	return 0;
}

static int fill_page(void *arg, struct ctx *ctx, struct backend *pool, const char *after,
		     struct err *err)
{
	struct page *page = arg;

	if (driver_each_unhealthy(page->d, ctx, pool, after, add_to_page, page, err) < 0)
		return -1;
	return page->is_full;
}

int driver_controller_list_volume_health(
	void *impl, struct ctx *ctx, const struct csi_controller_list_volume_health_request *req,
	struct csi_controller_list_volume_health_response *ret, struct err *err)
{
	struct csi_driver *d = impl;
	struct page page = { .d = d, .a = ctx->arena, .max = LIST_PAGE_MAX };
	const struct registry_pools pools = registry_pools(d->pools, ctx->arena);
	struct driver_list list;
	int r;

	if (fields_check(&csi_controller_list_volume_health_request_type, req, err) < 0 ||
	    driver_check_listed(d, err) < 0 ||
	    driver_list_begin(&pools, VOL_KIND_VOLUME, req->starting_token, &list, err) < 0)
		return -1;
	if (req->max_entries > 0 && req->max_entries < page.max)
		page.max = req->max_entries;
	r = driver_list_walk(&list, ctx, fill_page, &page, err);
	if (r == 0 && page.entries.n > 0) {
		ret->n_entries = page.entries.n;
		ret->entries = arena_memdup(ctx->arena, page.entries.v,
					    page.entries.n * sizeof(*page.entries.v));
		if (page.is_full)
			ret->next_token = ret->entries[ret->n_entries - 1].volume_id;
	}
	vec_done(&page.entries);
	return r;
}

/* ---- pools ---- */

unsigned driver_fullness(const struct backend_info *info)
{
	return vol_space_percent_of(info->usable_bytes,
				    info->available_bytes + info->thin.kept_bytes);
}

static void tell_fullness(const struct backend *pool, const struct backend_info *info,
			  struct pool_health *h)
{
	char left[NUM_QUANTITY_MAX];
	unsigned percent = driver_fullness(info);

	if (info->usable_bytes == 0 || percent < VOL_NEARLY_FULL)
		return;
	num_format_quantity(info->available_bytes + info->thin.kept_bytes, left);
	pool_health_add(
		h, percent < VOL_FULL ? POOL_HEALTH_NEARLY_FULL : POOL_HEALTH_FULL,
		"pool '%s' has given %u %% of what volumes can have, %s are left: delete volumes "
		"and snapshots, %sor grow its filesystem",
		pool->pool_name, percent, left,
		info->thin.n_volumes ? "have thin volumes give back what is deleted in them "
				       "(fstrim), "
				     : "");
}

/* Figures of what is shared are up to a minute old, and then what was overwritten counts twice:
 * where no thin volume is, nobody has taken anything. */
static void tell_overdrawn(const struct backend *pool, const struct backend_info *info,
			   struct pool_health *h)
{
	char gone[NUM_QUANTITY_MAX];

	if (info->overdrawn_bytes == 0 || info->thin.n_volumes == 0)
		return;
	num_format_quantity(info->overdrawn_bytes, gone);
	pool_health_add(
		h, POOL_HEALTH_OVERDRAWN,
		"thin volumes were written to pool '%s' beyond what was theirs: %s are gone "
		"of what is kept for metadata and for overwriting what thick volumes share "
		"with snapshots. When all is gone, such writes fail as well: have thin "
		"volumes give back what is deleted in them (fstrim), delete snapshots and "
		"volumes, or grow its filesystem",
		pool->pool_name, gone);
}

static int tell_lost(void *arg, const char *token, const struct backend_device *dev)
{
	struct pool_health *h = arg;

	pool_health_add(h, POOL_HEALTH_FILES_MISSING,
			"'%s' has the bytes of volume '%s', whose file somebody removed: they are "
			"lost when that device goes, copy them before",
			dev->path, token);
	return 0;
}

static void look_at_pool(struct ctx *ctx, struct backend *pool, struct pool_health *h)
{
	struct backend_info info;
	struct err err;

	if (backend_info(pool, ctx, &info, &err) < 0) {
		if (info.is_dead || err.code == ERR_UNAVAILABLE)
			pool_health_add(h, POOL_HEALTH_GONE, "%s", err.msg);
		return;
	}
	tell_fullness(pool, &info, h);
	tell_overdrawn(pool, &info, h);
	if (info.n_damaged + info.n_damaged_snapshots > 0)
		pool_health_add(
			h, POOL_HEALTH_DAMAGED,
			"pool '%s' has %llu damaged volumes and %llu damaged snapshots, which are "
			"neither served nor deleted: the log of this driver names them",
			pool->pool_name, (unsigned long long)info.n_damaged,
			(unsigned long long)info.n_damaged_snapshots);
	(void)backend_each_lost(pool, ctx, tell_lost, h, &err); /* next time */
}

void driver_examine_pool(struct csi_driver *d, struct ctx *ctx, struct backend *pool,
			 struct pool_health *h)
{
	char key[UUID_TEXT_MAX];
	struct err err;

	driver_pool_look_key(pool, key);
	if (looks_begin(d->looks, key, &err) < 0) {
		pool_health_add(h, POOL_HEALTH_SILENT, "pool '%s': %s", pool->pool_name, err.msg);
		return;
	}
	look_at_pool(ctx, pool, h);
	looks_end(d->looks, key);
}

int driver_node_get_storage_health(void *impl, struct ctx *ctx,
				   const struct csi_node_get_storage_health_request *req,
				   struct csi_node_get_storage_health_response *ret,
				   struct err *err)
{
	struct csi_driver *d = impl;
	const struct registry_pools pools = registry_pools(d->pools, ctx->arena);
	struct pool_health health = { .a = ctx->arena };
	const struct registry_missing *missing;
	size_t n_missing;

	if (fields_check(&csi_node_get_storage_health_request_type, req, err) < 0)
		return -1;
	for (size_t i = 0; i < pools.n; i++) {
		if (ctx_check(ctx, err) < 0)
			return -1;
		driver_examine_pool(d, ctx, pools.v[i], &health);
	}
	n_missing = registry_missing(d->pools, ctx->arena, &missing);
	for (size_t i = 0; i < n_missing; i++)
		pool_health_add(&health, POOL_HEALTH_GONE, "pool '%s' at '%s' is not served: %s",
				missing[i].name, missing[i].where, missing[i].why);
	pool_health_reply(&health, ret);
	return 0;
}
