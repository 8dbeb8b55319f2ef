/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host/usage.h, host/blockdev.h and host/condition.h on the fake host: a filesystem
 * is as big as its file, and a tenth of it is used.
 */
#include "fake/host_usage.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/str.h"
#include "host/blockdev.h"
#include "host/condition.h"
#include "host/fs.h"
#include "host/usage.h"

#include "fake/host-internal.h"

int host_usage_look(const char *path, struct host_usage *ret_usage, struct err *err)
{
	struct fake_mount *mount;

	if (fake_step(err) < 0)
		return -1;
	if (!fake_lookup(path, &mount))
		return err_set(err, ERR_NOT_FOUND, "look at the usage of '%s'", path);
	if (fake_hangs(mount, err))
		return -1;
	*ret_usage = (struct host_usage){
		.total_bytes = mount->fs->total_bytes,
		.used_bytes = mount->fs->total_bytes / 10,
		.available_bytes = mount->fs->total_bytes - mount->fs->total_bytes / 10,
		.total_inodes = 1000,
		.used_inodes = 11,
		.available_inodes = 989,
	};
	return 0;
}

/* Whether a block device is there is all that can be asked of it here. */
static int tell_device(const char *device, struct err *err)
{
	unsigned long i = strtoul(device + strlen("/dev/loop"), NULL, 10);

	if (fake_step(err) < 0)
		return -1;
	if (i >= FAKE_N_LOOPS || !world.loops[i].backing)
		return err_set(err, ERR_NOT_FOUND, "open '%s'", device);
	return 0;
}

int host_block_make_writable(const char *device, struct err *err)
{
	return tell_device(device, err);
}

static unsigned n_flushes;

int host_block_flush(const char *device, struct err *err)
{
	if (tell_device(device, err) < 0)
		return -1;
	n_flushes++;
	return 0;
}

unsigned fake_host_n_flushes(void)
{
	return n_flushes;
}

bool fake_host_refuses_writes(const char *target)
{
	const struct fake_inode *node = fake_lookup(target, NULL);

	assert(node && node->kind == FAKE_BLOCK);
	return world.loops[minor(node->rdev)].is_read_only;
}

const char *fake_host_mount_flags(const char *target)
{
	struct fake_mount *mount;

	assert(fake_lookup(target, &mount));
	return mount->flags;
}

int host_condition_of_mount(const char *path, struct host_condition *ret, struct err *err)
{
	struct fake_mount *mount;

	if (fake_step(err) < 0)
		return -1;
	if (!fake_lookup(path, &mount))
		return err_set(err, ERR_NOT_FOUND, "look at '%s'", path);
	if (fake_hangs(mount, err))
		return -1;
	*ret = (struct host_condition){ mount->fs->is_read_only, mount->fs->is_shut_down };
	return 0;
}

int host_condition_errors(const char *device, struct host_fs_errors *ret_errors)
{
	const struct fake_inode *backing = world.loops[fake_loop_of(device)].backing;

	if (!backing || !str_is_equal(backing->fs, "ext4"))
		return 0;
	*ret_errors = (struct host_fs_errors){ .n = backing->has_errors,
					       .first_ns = backing->has_errors ? 1000000000 : 0 };
	return 1;
}

int host_condition_of_device(const char *device, const char *fs, bool *ret_has_errors,
			     struct err *err)
{
	const struct fake_inode *backing;

	if (tell_device(device, err) < 0)
		return -1;
	backing = world.loops[strtoul(device + strlen("/dev/loop"), NULL, 10)].backing;
	if (!str_is_equal(backing->fs, fs))
		return err_set(err, ERR_DATA_LOSS, "there is no %s superblock on '%s'", fs, device);
	*ret_has_errors = backing->has_errors;
	return 0;
}
