/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a pool's files say of it, with or without a driver.
 *
 * The driver knows three things more: what it has promised to creates that have not allocated yet,
 * the reserve that it was told to keep, and the over-commit that it was told to allow. So what is
 * available is what it would be if nothing were being made, with those that hold unless others are
 * asked for.
 */
#include "backend/pool/pool-internal.h"
#include "host/extent.h"

struct looking {
	struct pool *p;
	struct ctx *ctx;
	struct pool_status *ret;
	struct vol_space *space;
};

static void add_space(const struct pool_volume *found, uint64_t shared, struct vol_space *space)
{
	space->shared_bytes += shared;
	if (found->record.is_thin) {
		space->thin_bytes += found->file.bytes;
		space->thin_allocated += found->file.allocated_bytes;
	} else {
		space->thick_bytes += found->file.bytes;
	}
}

static int add_volume(const struct looking *l, const char *name, struct err *err)
{
	struct pool_volume found;
	uint64_t shared = 0;
	int rc = 0;

	if (pool_find(l->p, name, true, &found, err) < 0)
		return -1;
	if (found.kind == POOL_FILE_WHOLE && !found.record.no_reserve)
		rc = host_file_shared_bytes(l->ctx, found.fd, &shared, err);
	host_fd_close(found.fd);
	if (found.kind != POOL_FILE_FOREIGN)
		add_space(&found, shared, l->space);
	l->ret->n_volumes += found.kind == POOL_FILE_WHOLE;
	l->ret->n_thin += found.kind == POOL_FILE_WHOLE && found.record.is_thin;
	l->ret->n_damaged += found.kind == POOL_FILE_DAMAGED;
	l->ret->n_foreign += found.kind == POOL_FILE_FOREIGN;
	l->ret->volume_bytes += found.kind == POOL_FILE_WHOLE ? found.vol.bytes : 0;
	return rc;
}

static int add_snapshot(const struct looking *l, const char *name, struct err *err)
{
	struct pool_snapshot found;

	if (pool_find_snapshot(l->p, name, true, &found, err) < 0)
		return -1;
	host_fd_close(found.fd);
	l->ret->n_snapshots += found.kind == POOL_FILE_WHOLE;
	l->ret->n_copying += found.kind == POOL_FILE_WHOLE && !found.snap.is_ready;
	l->ret->n_damaged_snapshots += found.kind == POOL_FILE_DAMAGED;
	l->ret->n_foreign += found.kind == POOL_FILE_FOREIGN;
	return 0;
}

static int add_shelf(const struct looking *l, enum pool_shelf shelf, struct err *err)
{
	struct pool_names names;
	int rc = 0;

	if (pool_shelf_fd(l->p, shelf) < 0)
		return 0;
	if (pool_names_read(l->p, shelf, "", &names, err) < 0)
		return -1;
	l->ret->n_foreign += names.n_other;
	for (size_t i = 0; i < names.n && rc == 0; i++) {
		rc = ctx_check(l->ctx, err);
		if (rc == 0)
			rc = shelf == POOL_VOLUMES ? add_volume(l, names.v[i], err)
						   : add_snapshot(l, names.v[i], err);
		/* one that went meanwhile */
		if (rc < 0 && err->code == ERR_NOT_FOUND)
			rc = 0;
	}
	pool_names_done(&names);
	return rc;
}

static void take_space(const struct vol_space *s, struct pool_status *ret)
{
	ret->total_bytes = s->total_bytes;
	ret->free_bytes = s->free_bytes;
	ret->kept_bytes = s->kept_bytes;
	ret->reserved_bytes = s->shared_bytes;
	ret->available_bytes = vol_space_for_thick(s);
	ret->thin_bytes = s->thin_bytes;
	ret->thin_used_bytes = vol_space_thin_used(s);
	ret->thin_kept_bytes = vol_space_unpromised(s) - ret->available_bytes;
	ret->thin_available_bytes = pool_thin_room(s);
	ret->overcommit = s->overcommit;
	ret->percent = vol_space_percent(s);
	ret->overdrawn_bytes = vol_space_overdrawn(s);
}

static int look(struct pool *p, struct ctx *ctx, const struct pool_status_ask *ask,
		struct pool_status *ret, struct err *err)
{
	struct vol_space space = { .overcommit = ask->overcommit ? ask->overcommit
								 : VOL_OVERCOMMIT_DEFAULT };
	const struct looking looking = { p, ctx, ret, &space };
	struct pool_identity id;
	struct host_fs fs;
	int rc = pool_beside_identify(p, ask->dir, &id, err) < 0
			 ? -1
			 : pool_beside_find_server(p, &ret->server, err);

	if (rc < 0 || host_fs_look(p->dir_fd, &fs, err) < 0 ||
	    add_shelf(&looking, POOL_SNAPSHOTS, err) < 0 ||
	    add_shelf(&looking, POOL_VOLUMES, err) < 0)
		return -1;
	ret->is_served = rc > 0;
	ret->identity = id.identity;
	(void)snprintf(ret->node, sizeof(ret->node), "%s", id.node);
	ret->medium = pool_describe_medium(fs.kind);
	space.total_bytes = fs.total_bytes;
	space.free_bytes = fs.free_bytes;
	space.kept_bytes = pool_kept_bytes(ask->reserve_bytes, fs.total_bytes);
	take_space(&space, ret);
	return 0;
}

int pool_status(struct ctx *ctx, const struct pool_status_ask *ask, struct pool_status *ret,
		struct err *err)
{
	struct pool_status status = { .server = 0 };
	struct pool pool;
	int rc;

	if (pool_beside_open(&pool, ask->dir, err) < 0)
		return -1;
	rc = look(&pool, ctx, ask, &status, err);
	pool_beside_close(&pool);
	if (rc == 0)
		*ret = status;
	return rc;
}
