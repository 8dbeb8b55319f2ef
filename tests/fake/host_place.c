/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fake host's answers to where a directory is: root of its filesystem, still at its path; and
 * to what a path means.
 */
#include "base/mem.h"
#include "base/path.h"
#include "base/str.h"
#include "fake/host-internal.h"
#include "fake/host.h"
#include "host/fs.h"
#include "host/resolve.h"

int host_dir_open_at(int dirfd, const char *name, int *ret_fd, struct err *err)
{
	const struct fake_entry *entry = fake_entry_find(fake_fd_get(dirfd)->inode, name);

	if (fake_step(err) < 0)
		return -1;
	if (!entry)
		return err_set(err, ERR_NOT_FOUND, "open directory '%s'", name);
	if (entry->inode->kind != FAKE_DIR)
		return err_set(err, ERR_FAILED_PRECONDITION, "open directory '%s'", name);
	*ret_fd = fake_fd_new(entry->inode, -1, true);
	return 0;
}

int host_dir_is_fs_root(int dirfd, bool *ret_is_root, struct err *err)
{
	const struct fake_inode *inode = fake_fd_get(dirfd)->inode;

	if (fake_step(err) < 0)
		return -1;
	*ret_is_root = inode == inode->on->root;
	return 0;
}

int host_dir_is_covered(int dirfd, const char *path, bool *ret_is_covered, struct err *err)
{
	struct fake_mount *mount;
	const struct fake_inode *inode = fake_lookup(path, &mount);

	if (fake_step(err) < 0)
		return -1;
	*ret_is_covered = inode && inode == mount->root && inode != fake_fd_get(dirfd)->inode;
	return 0;
}

int host_file_rename(int dirfd, const char *name, const char *new_name, struct err *err)
{
	struct fake_inode *dir = fake_fd_get(dirfd)->inode;
	struct fake_entry *entry = fake_entry_find(dir, name);
	struct fake_inode *inode;

	if (fake_step(err) < 0)
		return -1;
	if (!entry)
		return err_set(err, ERR_NOT_FOUND, "rename '%s'", name);
	inode = entry->inode;
	if (fake_entry_find(dir, new_name))
		fake_entry_remove(dir, new_name);
	inode->n_users++;
	fake_entry_add(dir, new_name, inode, false);
	fake_entry_remove(dir, name);
	fake_inode_put(inode);
	return 0;
}

void fake_host_unmount_pool(void)
{
	for (size_t i = 0; i < world.mounts.n; i++) {
		if (str_is_equal(world.mounts.v[i].path, "/pool")) {
			world.mounts.v[i] = world.mounts.v[--world.mounts.n];
			return;
		}
	}
}

void fake_host_mount_pool(void)
{
	struct fake_mount mount = {
		.path = "/pool",
		.root = world.pool->root,
		.fs = world.pool,
		.loop = -1,
		.device = world.pool->device,
	};

	fake_host_unmount_pool();
	vec_push(&world.mounts, mount);
}

void fake_host_root_is_xfs(void)
{
	struct fake_fs *root = fake_lookup("/", NULL)->on;

	(void)snprintf(root->type, sizeof(root->type), "xfs");
}

void fake_host_copy_to_another_disk(void)
{
	uuid_make(&world.pool->uuid);
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
