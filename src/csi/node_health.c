/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is wrong with a volume on this node: asked of the pool, of the kernel's tables and, last, of
 * what is mounted. Nothing is remembered.
 *
 *   file → device → note → mounts → filesystem
 *
 * The first three are the pool's disk, the last is the volume's own; either may hang, so each is a
 * look of its own (looks.h): one at a time at a pool, one at a time at a volume.
 *
 * That a device is gone is said only where the kernel shows that somebody uses it, or the CO says
 * so: the note is written before what it is about is made, so by itself it proves nothing.
 */
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/str.h"
#include "base/vec.h"
#include "csi/driver-internal.h"
#include "host/condition.h"
#include "volume/space.h"

struct exam {
	struct csi_driver *d;
	struct ctx *ctx;
	const struct node_exam *what;
	struct health *h;
	struct backend_volume vol;
	bool is_known; /* vol is filled */
	struct node_state state;
};

void driver_pool_look_key(const struct backend *pool, char ret_key[UUID_TEXT_MAX])
{
	uuid_format(&pool->identity, ret_key);
}

/* ---- the pool ---- */

/* err says why something of the pool failed: that is the condition if the pool itself is gone. */
static int tell_pool(struct exam *e, struct err *err)
{
	struct backend_info info;
	struct err why;

	if (ctx_check(e->ctx, &why) < 0 ||
	    backend_info(e->what->ref.pool, e->ctx, &info, &why) == 0 ||
	    (!info.is_dead && why.code != ERR_UNAVAILABLE))
		return -1;
	(void)err;
	health_add(e->h, HEALTH_POOL_GONE,
		   "%s; bring its disk back, or restart what it is on: volumes are served again as "
		   "soon as it is there",
		   why.msg);
	return 0;
}

struct find_lost {
	const char *token;
	struct backend_device *ret_dev;
	bool is_found;
};

static int see_lost(void *arg, const char *token, const struct backend_device *dev)
{
	struct find_lost *look = arg;

	if (!str_is_equal(token, look->token))
		return 0;
	*look->ret_dev = *dev;
	look->is_found = true;
	return 1;
}

/* 1: a device has the bytes of a file of this name that is gone, and is looked at from now on. */
static int find_lost(struct exam *e, struct err *err)
{
	struct node_state *state = &e->state;
	struct find_lost look = { .token = e->what->ref.token, .ret_dev = &state->device };

	for (size_t i = 0; e->what->lost && i < e->what->lost->n && !look.is_found; i++)
		(void)see_lost(&look, e->what->lost->v[i].token, &e->what->lost->v[i].device);
	if (!e->what->lost &&
	    backend_each_lost(e->what->ref.pool, e->ctx, see_lost, &look, err) < 0)
		return -1;
	if (!look.is_found)
		return 0;
	state->ref = e->what->ref;
	state->way = &node_way_device;
	state->pools = e->d->pools;
	state->is_attached = true;
	health_add(e->h, HEALTH_FILE_MISSING,
		   "somebody removed its file from pool '%s'; '%s' still has the bytes, and they "
		   "are lost once the volume is taken down here: copy them to another volume "
		   "before the pods that use it end",
		   e->what->ref.pool->pool_name, state->device.path);
	return 1;
}

struct used_path {
	const struct note *note;
	char path[300];
};

static int match_noted(void *arg, const struct host_mountinfo *info)
{
	struct used_path *used = arg;
	uint64_t hash = note_hash_path(info->point);

	if (!note_find(used->note, hash) && !(used->note->is_staged && used->note->staging == hash))
		return 0;
	(void)snprintf(used->path, sizeof(used->path), "%s", info->point);
	return 1;
}

/* The path where the volume, which has no device, is used: "" if nothing says that it is. */
static int find_use(struct exam *e, struct used_path *used, struct err *err)
{
	const struct note *note = &e->state.note;
	const char *staging = e->what->staging_path;

	used->note = note;
	used->path[0] = '\0';
	if (!note->is_staged && note->n_targets == 0)
		return 0;
	if (note->is_staged && note->is_block && !str_is_empty(staging) &&
	    note->staging == note_hash_path(staging)) {
		(void)snprintf(used->path, sizeof(used->path), "%s", staging);
		return 0;
	}
	return host_mountinfo_each(match_noted, used, err);
}

static int look_for_device(struct exam *e, struct err *err)
{
	struct used_path used;
	int r = find_lost(e, err);

	if (r != 0)
		return r < 0 ? -1 : 0;
	if (e->state.way != &node_way_device)
		return 0;
	if (node_state_load_note(e->d, e->ctx, &e->state, err) < 0)
		return tell_pool(e, err);
	if (find_use(e, &used, err) < 0)
		return -1;
	if (used.path[0])
		health_add(e->h, HEALTH_DEVICE_GONE,
			   "its loop device was taken away while it was in use at '%.300s': end "
			   "the pods that use it on this node, then it is staged anew",
			   used.path);
	return 0;
}

static void check_direct(struct exam *e, const struct backend_device *dev)
{
	if (dev->is_direct || e->vol.allow_buffered || !(e->state.ref.pool->caps & BACKEND_DIRECT))
		return;
	health_add(e->h, HEALTH_BUFFERED,
		   "'%s' goes through the page cache of the node: somebody turned direct I/O off, "
		   "or the disk below the pool no longer takes it; 'losetup --direct-io=on %s' "
		   "turns it on again, in use too",
		   dev->path, dev->path);
}

/* A thin volume gets its blocks from the pool when it is written: whoever uses it is told before
 * there are none. */
static void check_room(struct exam *e)
{
	struct backend *pool = e->what->ref.pool;
	struct backend_info asked;
	const struct backend_info *info = e->what->info;
	char left[NUM_QUANTITY_MAX];
	unsigned percent;
	struct err err;

	if (!e->vol.is_thin)
		return;
	if (!info && backend_info(pool, e->ctx, &asked, &err) < 0)
		return; /* its own condition, if it lasts */
	info = info ? info : &asked;
	percent = driver_fullness(info);
	if (percent < VOL_NEARLY_FULL)
		return;
	num_format_quantity(info->available_bytes + info->thin.kept_bytes, left);
	health_add(
		e->h, percent < VOL_FULL ? HEALTH_POOL_NEARLY_FULL : HEALTH_POOL_FULL,
		"it is thin, and pool '%s' below it is %u %% full: writes fail (ENOSPC) once the "
		"%s that are left are written, by this volume or another; delete what is not "
		"needed and have it given back (fstrim), delete volumes and snapshots of the "
		"pool, or grow its filesystem",
		pool->pool_name, percent, left);
}

static int look_in_pool(struct exam *e, struct err *err)
{
	const struct csi_ref *ref = &e->what->ref;
	int r;

	/* elsewhere nothing is told without secrets: what is said is of the device and its mounts
	 */
	if (!e->is_known && !(ref->pool->caps & BACKEND_ELSEWHERE) &&
	    backend_stat(ref->pool, e->ctx, ref->token, NULL, &e->vol, err) < 0) {
		struct err why = *err;

		if (err->code != ERR_NOT_FOUND)
			return tell_pool(e, err);
		r = find_lost(e, err);
		if (r == 0)
			*err = why;
		return r > 0 ? 0 : -1;
	}
	e->is_known = true;
	if (e->vol.is_damaged)
		health_add(e->h, HEALTH_DAMAGED,
			   "its file in pool '%s' is damaged (%s): it is kept, and neither served "
			   "nor deleted; restore the volume from a snapshot or a backup, and "
			   "remove the file by hand",
			   ref->pool->pool_name, e->vol.damage);
	if (node_state_load(e->d, e->ctx, ref, &e->state, err) < 0)
		return tell_pool(e, err);
	if (!e->state.is_attached)
		return look_for_device(e, err);
	check_room(e);
	if (e->state.way == &node_way_device) {
		check_direct(e, &e->state.device);
		if (e->state.has_reader)
			check_direct(e, &e->state.reader);
	}
	return 0;
}

/* ---- what is mounted ---- */

struct paths {
	struct arena *a;
	VEC(const char *) list;
};

static int take_path(void *arg, const char *path, bool read_only)
{
	struct paths *paths = arg;

	(void)read_only;
	vec_push(&paths->list, arena_strdup(paths->a, path));
	return 0;
}

/* " since …", or nothing. */
static const char *say_since(struct arena *a, int64_t wall_ns)
{
	char text[CLOCK_TEXT_MAX];

	if (wall_ns <= 0)
		return "";
	clock_format(wall_ns, text);
	return arena_printf(a, " since %s", text);
}

static void judge_filesystem(struct exam *e, const char *path, const struct host_condition *is)
{
	struct host_fs_errors errors = { 0 };
	const char *since;
	char id[VOL_ID_MAX];

	if (e->state.way == &node_way_device)
		(void)host_condition_errors(e->state.device.path, &errors);
	since = say_since(e->h->a, errors.first_ns);
	backend_format_id(e->what->ref.pool, VOL_KIND_VOLUME, e->what->ref.token, id);
	if (is->is_shut_down)
		health_add(
			e->h, HEALTH_SHUT_DOWN,
			"its filesystem at '%.300s' was shut down%s after an error (the kernel's "
			"log says which) and answers nothing more: end the pods that use it on "
			"this node, then it is staged anew and its log replayed",
			path, since);
	else if (is->is_read_only)
		health_add(e->h, HEALTH_READ_ONLY,
			   "its filesystem at '%.300s' can only be read%s: it had an error (the "
			   "kernel's log says which), or somebody remounted it; end the pods that "
			   "use it on this node, then run 'cleat ctl volume check --pool=DIR %s' "
			   "there",
			   path, since, id);
	else if (errors.n > 0)
		health_add(e->h, HEALTH_ERRORS,
			   "its filesystem at '%.300s' has counted %llu errors%s and goes on: end "
			   "the pods that use it on this node, then run 'cleat ctl volume check "
			   "--pool=DIR %s --repair' there; it is not staged again before",
			   path, (unsigned long long)errors.n, since, id);
}

/* All mounts of a device are of one filesystem, so the first that is not covered by another will
 * do.
 */
static int look_at_mounts(struct exam *e, struct err *err)
{
	struct paths paths = { .a = e->ctx->arena };
	int r = node_each_mount(&e->state, take_path, &paths, err);

	for (size_t i = 0; r == 0 && i < paths.list.n; i++) {
		struct host_condition is = { 0 };
		struct node_at at;

		r = node_look(&e->state, paths.list.v[i], &at, err);
		if (r < 0 || !at.is_mount || at.at.is_block_device)
			continue;
		r = e->state.way->condition(&e->state, paths.list.v[i], &is, err);
		if (r == 0)
			judge_filesystem(e, paths.list.v[i], &is);
		if (e->state.way == &node_way_device)
			break;
	}
	vec_done(&paths.list);
	return r;
}

/* One look, which is a condition itself if it does not come back. */
static int look_once(struct exam *e, const char *key, int (*look)(struct exam *, struct err *),
		     struct err *err)
{
	struct err why;
	int r;

	if (looks_begin(e->d->looks, key, &why) < 0) {
		health_add(e->h, HEALTH_SILENT, "%s; the disk and the kernel's log say more",
			   why.msg);
		return 0;
	}
	r = look(e, err);
	looks_end(e->d->looks, key);
	return r;
}

int node_examine(struct csi_driver *d, struct ctx *ctx, const struct node_exam *what,
		 struct health *h, struct err *err)
{
	struct exam e = { .d = d, .ctx = ctx, .what = what, .h = h };
	char pool[UUID_TEXT_MAX];

	if (what->vol) {
		e.vol = *what->vol;
		e.is_known = true;
	}
	driver_pool_look_key(what->ref.pool, pool);
	if (look_once(&e, pool, look_in_pool, err) < 0)
		return -1;
	if (!e.state.is_attached || ctx_check(ctx, err) < 0)
		return e.state.is_attached ? -1 : 0;
	return look_once(&e, what->ref.token, look_at_mounts, err);
}
