/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host/usage.h, host/blockdev.h and host/resolve.h on the fake host: a filesystem is as big as its
 * file, and a tenth of it is used; a device keeps its read-only flag.
 */
#include "fake/host_usage.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/path.h"
#include "base/str.h"
#include "host/blockdev.h"
#include "host/fs.h"
#include "host/resolve.h"
#include "host/usage.h"

#include "fake/host-internal.h"

int host_usage_look(const char *path, struct host_usage *ret_usage, struct err *err)
{
	struct fake_mount *mount;

	if (fake_step(err) < 0)
		return -1;
	if (!fake_lookup(path, &mount))
		return err_set(err, ERR_NOT_FOUND, "look at the usage of '%s'", path);
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

static bool is_device_read_only[FAKE_N_LOOPS];

static unsigned number_of(const char *device)
{
	return (unsigned)strtoul(device + strlen("/dev/loop"), NULL, 10) % FAKE_N_LOOPS;
}

int host_block_set_read_only(const char *device, bool read_only, struct err *err)
{
	if (fake_step(err) < 0)
		return -1;
	is_device_read_only[number_of(device)] = read_only;
	return 0;
}

bool fake_host_is_device_read_only(const char *device)
{
	return is_device_read_only[number_of(device)];
}

int host_root_open(const char *dir, int *ret_fd, struct err *err)
{
	return host_dir_open(dir, ret_fd, err);
}

/* The links that fake_host_add_link made; only the first on the way is followed. */
int host_path_resolve(int root_fd, const char *root, const char *path, char ret_path[PATH_MAX],
		      struct err *err)
{
	if (fake_step(err) < 0)
		return -1;
	(void)snprintf(ret_path, PATH_MAX, "%s", path);
	if (root_fd >= 0 && (!path_is_below(path, root) || str_is_equal(path, root)))
		return err_set(err, ERR_INVALID_ARGUMENT, "'%s' is not below '%s'", path, root);
	for (size_t n = 1; path[n]; n++) {
		autofree char *prefix = xstrndup(path, n);
		const struct fake_inode *inode = path[n] == '/' ? fake_lookup(prefix, NULL) : NULL;

		if (!inode || inode->kind != FAKE_SYMLINK)
			continue;
		if (root_fd >= 0)
			return err_set(err, ERR_INVALID_ARGUMENT, "'%s' is a symbolic link",
				       prefix);
		(void)snprintf(ret_path, PATH_MAX, "%s%s", inode->text, path + n);
		return 0;
	}
	return 0;
}
