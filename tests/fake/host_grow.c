/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host/grow.h on the fake host: a device keeps the size that its file had until it is told, and a
 * filesystem the one that its device had. A rest below 64 KiB is of no use to it.
 */
#include "fake/host_grow.h"

#include <assert.h>

#include "base/str.h"
#include "fake/host-internal.h"
#include "host/caps.h"
#include "host/condition.h"
#include "host/grow.h"

#define LEAST_BYTES (UINT64_C(64) << 10)

int host_loop_set_capacity(const struct host_loop *loop, dev_t device, uint64_t inode,
			   uint64_t bytes, struct err *err)
{
	int i = fake_loop_of(loop->path);
	struct fake_loop *found = &world.loops[i];

	if (fake_step(err) < 0)
		return -1;
	if (!found->backing || found->backing->on->device != device ||
	    found->backing->number != inode)
		return err_set(err, ERR_NOT_FOUND, "'%s' is not over this file any more",
			       loop->path);
	world.n_touched += found->is_foreign;
	if (found->bytes >= bytes)
		return 0;
	found->bytes = found->backing->bytes;
	if (found->bytes < bytes)
		return err_set(err, ERR_FAILED_PRECONDITION, "the file of '%s' is smaller",
			       loop->path);
	return 0;
}

/* The loop device of this path, with such a filesystem on it, or NULL with err. */
static struct fake_loop *look_at_device(const char *device, const char *fs, struct err *err)
{
	int i = fake_loop_of(device);

	if (fake_step(err) < 0)
		return NULL;
	if (i < 0 || !world.loops[i].backing) {
		(void)err_set(err, ERR_NOT_FOUND, "open '%s'", device);
		return NULL;
	}
	if (!str_is_equal(world.loops[i].backing->fs, fs)) {
		(void)err_set(err, ERR_DATA_LOSS, "there is no %s superblock on '%s'", fs, device);
		return NULL;
	}
	return &world.loops[i];
}

static struct fake_loop *look_at_mount(const char *path, const char *fs,
				       struct fake_mount **ret_mount, struct err *err)
{
	struct fake_mount *mount = NULL;

	if (fake_step(err) < 0)
		return NULL;
	if (!fake_lookup(path, &mount)) {
		(void)err_set(err, ERR_NOT_FOUND, "open '%s'", path);
		return NULL;
	}
	if (mount->loop < 0 || !str_is_equal(mount->fs->type, fs)) {
		(void)err_set(err, ERR_FAILED_PRECONDITION, "no %s is mounted at '%s'", fs, path);
		return NULL;
	}
	if (ret_mount)
		*ret_mount = mount;
	return &world.loops[mount->loop];
}

static bool is_smaller(const struct fake_loop *loop)
{
	return loop->bytes >= loop->backing->fs_bytes + LEAST_BYTES;
}

static void grow(const struct fake_loop *loop)
{
	struct fake_inode *backing = loop->backing;

	if (!is_smaller(loop))
		return;
	backing->fs_bytes = loop->bytes;
	backing->growth_is_in_log = str_is_equal(backing->fs, "xfs");
	if (backing->inner)
		backing->inner->total_bytes = backing->fs_bytes;
}

int host_fs_device_is_smaller(const char *device, const char *fs, bool *ret_is_smaller,
			      struct err *err)
{
	const struct fake_loop *loop = look_at_device(device, fs, err);

	if (!loop)
		return -1;
	*ret_is_smaller = is_smaller(loop);
	return 0;
}

int host_fs_mount_is_smaller(const char *path, const char *fs, bool *ret_is_smaller,
			     struct err *err)
{
	const struct fake_loop *loop = look_at_mount(path, fs, NULL, err);

	if (!loop)
		return -1;
	*ret_is_smaller = is_smaller(loop);
	return 0;
}

int host_fs_grow_mounted(struct ctx *ctx, const char *path, const char *fs, struct err *err)
{
	struct fake_mount *mount = NULL;
	const struct fake_loop *loop;

	if (ctx_check(ctx, err) < 0)
		return -1;
	loop = look_at_mount(path, fs, &mount, err);
	if (!loop)
		return -1;
	if (!is_smaller(loop) && !loop->backing->copies_lag)
		return 0;
	if (mount->is_read_only || mount->fs->is_read_only)
		return err_set(err, ERR_FAILED_PRECONDITION, "grow the %s at '%s': read-only", fs,
			       path);
	if (str_is_equal(fs, "ext4") && world.cannot_grow_ext4)
		return err_set(err, ERR_PERMISSION_DENIED, "this process lacks CAP_SYS_RESOURCE");
	grow(loop);
	loop->backing->copies_lag = str_is_equal(fs, "xfs");
	if (fake_step(err) < 0)
		return -1;
	loop->backing->copies_lag = false;
	return 0;
}

int host_xfs_copies_lag(const char *device, bool *ret_lag, struct err *err)
{
	const struct fake_loop *loop = look_at_device(device, "xfs", err);

	if (!loop)
		return -1;
	*ret_lag = loop->backing->copies_lag;
	return 0;
}

int host_xfs_growth_is_in_log(const char *path, bool *ret_is_in_log, struct err *err)
{
	const struct fake_loop *loop = look_at_mount(path, "xfs", NULL, err);

	if (!loop)
		return -1;
	*ret_is_in_log = loop->backing->growth_is_in_log;
	return 0;
}

int host_ext4_is_half_grown(const char *device, bool *ret_is_half_grown, struct err *err)
{
	const struct fake_loop *loop = look_at_device(device, "ext4", err);

	if (!loop)
		return -1;
	*ret_is_half_grown = loop->backing->is_half_grown;
	return 0;
}

int host_ext4_grows_in_place(const char *device, bool *ret_is_in_place, struct err *err)
{
	if (!look_at_device(device, "ext4", err))
		return -1;
	*ret_is_in_place = !world.must_move_ext4;
	return 0;
}

int host_caps_check(const struct host_cap_need *needs, size_t n, struct err *err)
{
	(void)needs;
	(void)n;
	return world.cannot_grow_ext4
		       ? err_set(err, ERR_PERMISSION_DENIED, "this process lacks CAP_SYS_RESOURCE")
		       : 0;
}

/* Steps for both tools: killed before the second, it is checked and as small as before; within it,
 * it says that it has errors. */
int host_ext4_grow_offline(struct ctx *ctx, const char *device, struct err *err)
{
	const struct fake_loop *loop;

	if (ctx_check(ctx, err) < 0)
		return -1;
	loop = look_at_device(device, "ext4", err);
	if (!loop)
		return -1;
	if (!is_smaller(loop) && !loop->backing->has_errors)
		return 0;
	for (size_t i = 0; i < world.mounts.n; i++) {
		if (world.mounts.v[i].loop >= 0 && &world.loops[world.mounts.v[i].loop] == loop)
			return err_set(err, ERR_FAILED_PRECONDITION, "'%s' is mounted", device);
	}
	if (fake_step(err) < 0)
		return -1;
	if (!world.must_move_ext4 || loop->backing->is_half_grown)
		loop->backing->has_errors = loop->backing->is_half_grown = false;
	if (world.must_move_ext4)
		return err_set(err, ERR_FAILED_PRECONDITION, "'%s' has no room", device);
	if (fake_step(err) < 0)
		return -1;
	loop->backing->has_errors = loop->backing->is_half_grown = true;
	if (fake_step(err) < 0)
		return -1;
	grow(loop);
	loop->backing->has_errors = loop->backing->is_half_grown = false;
	return 0;
}

void fake_host_set_ext4_in_place(bool is_in_place)
{
	world.must_move_ext4 = !is_in_place;
}

void fake_host_set_can_grow_ext4(bool can)
{
	world.cannot_grow_ext4 = !can;
}

uint64_t fake_host_fs_bytes(const char *name)
{
	return fake_pool_file(name)->fs_bytes;
}

bool fake_host_growth_is_in_log(const char *name)
{
	return fake_pool_file(name)->growth_is_in_log;
}

bool fake_host_copies_lag(const char *name)
{
	return fake_pool_file(name)->copies_lag;
}

uint64_t fake_host_device_bytes(const char *name)
{
	const struct fake_inode *inode = fake_pool_file(name);

	for (size_t i = 0; i < FAKE_N_LOOPS; i++) {
		if (world.loops[i].backing == inode && !world.loops[i].is_reader)
			return world.loops[i].bytes;
	}
	return 0;
}
