/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fake host's loop devices, mkfs and mounts.
 */
#include <assert.h>
#include <errno.h>
#include <linux/magic.h>
#include <sys/sysmacros.h>

#include "base/mem.h"
#include "base/path.h"
#include "base/str.h"
#include "fake/host-internal.h"
#include "fake/host.h"
#include "host/loopdev.h"
#include "host/mkfs.h"
#include "host/mount.h"
#include "host/repair.h"

#define LOOP_MAJOR_NUMBER 7

static void clear_loop(int i)
{
	struct fake_inode *backing = world.loops[i].backing;

	world.loops[i] = (struct fake_loop){ 0 };
	fake_inode_put(backing);
}

void fake_loop_put(int i)
{
	struct fake_loop *loop = &world.loops[i];

	assert(loop->n_users > 0);
	loop->n_users--;
	if (loop->n_users == 0 && loop->is_autoclear)
		clear_loop(i);
}

void fake_block_power_cut(void)
{
	while (world.mounts.n > 2)
		world.mounts.n--;
	for (int i = 0; i < FAKE_N_LOOPS; i++) {
		if (world.loops[i].backing && !world.loops[i].is_foreign)
			clear_loop(i);
	}
}

static void fill_loop(int i, struct host_loop *ret_loop)
{
	*ret_loop = (struct host_loop){
		.devno = makedev(LOOP_MAJOR_NUMBER, (unsigned)i),
		.is_direct = world.loops[i].is_direct,
		.is_read_only = world.loops[i].is_read_only,
		.is_autoclear = world.loops[i].is_autoclear,
		.is_reader = world.loops[i].is_reader,
	};
	(void)snprintf(ret_loop->path, sizeof(ret_loop->path), "/dev/loop%d", i);
}

int fake_loop_of(const char *path)
{
	uint64_t minor;

	if (!str_has_prefix(path, "/dev/loop") || str_parse_u64(path + 9, &minor) < 0 ||
	    minor >= FAKE_N_LOOPS)
		return -1;
	return (int)minor;
}

static int find_loop(const struct host_loop_file *file, bool is_reader, struct host_loop *ret_loop,
		     int *ret_hold_fd, struct err *err)
{
	if (file->fd >= 0)
		assert(fake_fd_get(file->fd)->inode->number == file->inode);
	if (fake_step(err) < 0)
		return -1;
	if (world.is_pool_dead && file->device == world.pool->device)
		return err_set(err, ERR_INTERNAL, "the disk of this file is dead");
	for (int i = 0; i < FAKE_N_LOOPS; i++) {
		struct fake_loop *loop = &world.loops[i];

		if (!loop->backing || loop->backing->on->device != file->device ||
		    loop->backing->number != file->inode || loop->is_reader != is_reader)
			continue;
		fill_loop(i, ret_loop);
		if (ret_hold_fd) {
			loop->n_users++;
			*ret_hold_fd = fake_fd_new(NULL, i, true);
		}
		return 1;
	}
	return 0;
}

int host_loop_find(const struct host_loop_file *file, struct host_loop *ret_loop, int *ret_hold_fd,
		   struct err *err)
{
	return find_loop(file, false, ret_loop, ret_hold_fd, err);
}

int host_loop_find_reader(const struct host_loop_file *file, struct host_loop *ret_loop,
			  int *ret_hold_fd, struct err *err)
{
	return find_loop(file, true, ret_loop, ret_hold_fd, err);
}

int host_loop_attach(struct ctx *ctx, int backing_fd, const struct host_loop_options *opts,
		     struct host_loop *ret_loop, int *ret_hold_fd, struct err *err)
{
	struct fake_inode *inode = fake_fd_get(backing_fd)->inode;

	if (ctx_check(ctx, err) < 0 || fake_step(err) < 0)
		return -1;
	if (!world.can_direct && !opts->allow_buffered)
		return err_set(err, ERR_FAILED_PRECONDITION, "no direct I/O over this file");
	for (int i = 0; i < FAKE_N_LOOPS; i++) {
		if (world.loops[i].backing)
			continue;
		world.loops[i] = (struct fake_loop){
			.backing = inode,
			.bytes = inode->bytes,
			.is_read_only = opts->read_only,
			.is_reader = opts->reader,
			.is_direct = world.can_direct,
			.is_autoclear = true,
			.claim = fake_fd_get(backing_fd)->claim,
			.n_users = 1,
		};
		inode->n_users++;
		for (size_t j = 0; j < world.pool->root->entries.n; j++) {
			if (world.pool->root->entries.v[j].inode == inode)
				(void)snprintf(world.loops[i].name, sizeof(world.loops[i].name),
					       "%s", world.pool->root->entries.v[j].name);
		}
		fill_loop(i, ret_loop);
		*ret_hold_fd = fake_fd_new(NULL, i, true);
		return 0;
	}
	return err_set(err, ERR_UNAVAILABLE, "no free loop device");
}

int host_loop_check(const struct host_loop *loop, int hold_fd, const struct host_loop_options *opts,
		    struct err *err)
{
	(void)hold_fd;
	if (fake_step(err) < 0)
		return -1;
	if (loop->is_read_only != opts->read_only)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "it is attached %s as '%s'; detach it first",
			       loop->is_read_only ? "read-only" : "for writing", loop->path);
	if (!loop->is_direct && !opts->allow_buffered)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "'%s' over this file has no direct I/O", loop->path);
	return 0;
}

void host_loop_sweep(void)
{
}

int host_loop_keep(int hold_fd, struct err *err)
{
	if (fake_step(err) < 0)
		return -1;
	world.loops[fake_fd_get(hold_fd)->loop].is_autoclear = false;
	return 0;
}

int host_loop_detach(const struct host_loop *loop, dev_t device, uint64_t inode, struct err *err)
{
	int i = fake_loop_of(loop->path);
	struct fake_loop *found = &world.loops[i];

	if (fake_step(err) < 0)
		return -1;
	if (!found->backing || found->backing->on->device != device ||
	    found->backing->number != inode)
		return 0;
	world.n_touched += found->is_foreign;
	found->is_autoclear = true;
	if (!found->n_users)
		clear_loop(i);
	return 0;
}

static bool is_seen(int i, const char *name, struct host_loop_seen *ret_seen)
{
	struct fake_loop *loop = &world.loops[i];

	if (!loop->backing || (name && !str_is_equal(loop->name, name)))
		return false;
	*ret_seen = (struct host_loop_seen){ .devno = makedev(LOOP_MAJOR_NUMBER, (unsigned)i),
					     .is_deleted = loop->backing->n_links == 0 };
	(void)snprintf(ret_seen->path, sizeof(ret_seen->path), "/dev/loop%d", i);
	(void)snprintf(ret_seen->file, sizeof(ret_seen->file), "%d/%s", (int)loop->backing->number,
		       loop->name);
	(void)snprintf(ret_seen->name, sizeof(ret_seen->name), "%s", loop->name);
	return true;
}

int host_loop_each_named(const char *name, host_loop_seen_fn fn, void *arg, struct err *err)
{
	struct host_loop_seen seen;

	if (fake_step(err) < 0)
		return -1;
	for (int i = 0; i < FAKE_N_LOOPS; i++) {
		if (is_seen(i, name, &seen) && fn(arg, &seen) != 0)
			break;
	}
	return 0;
}

int host_loop_find_unlinked(dev_t fs, const char *name, struct host_loop_seen *ret_seen,
			    struct err *err)
{
	struct host_loop_seen seen;

	if (fake_step(err) < 0)
		return -1;
	for (int i = 0; i < FAKE_N_LOOPS; i++) {
		if (is_seen(i, name, &seen) && seen.is_deleted &&
		    world.loops[i].backing->on->device == fs) {
			*ret_seen = seen;
			return 1;
		}
	}
	return 0;
}

int host_loop_each_unlinked(dev_t fs, host_loop_seen_fn fn, void *arg, struct err *err)
{
	struct host_loop_seen seen;

	if (fake_step(err) < 0)
		return -1;
	for (int i = 0; i < FAKE_N_LOOPS; i++) {
		if (is_seen(i, NULL, &seen) && seen.is_deleted &&
		    world.loops[i].backing->on->device == fs && fn(arg, &seen) != 0)
			break;
	}
	return 0;
}

int host_loop_let_go(const struct host_loop_seen *seen, const char *name, struct err *err)
{
	struct host_loop_seen now;
	int i = fake_loop_of(seen->path);

	if (fake_step(err) < 0)
		return -1;
	if (!is_seen(i, name, &now))
		return 0;
	world.n_touched += world.loops[i].is_foreign;
	world.loops[i].is_autoclear = true;
	if (!world.loops[i].n_users)
		clear_loop(i);
	return 0;
}

/* host/repair.h: what has errors loses them when it may be written to. */
int host_fs_check(struct ctx *ctx, int fd, const char *fs, bool repair, struct str *output,
		  enum host_verdict *ret_verdict, struct err *err)
{
	struct fake_inode *inode = fake_fd_get(fd)->inode;

	if (ctx_check(ctx, err) < 0 || fake_step(err) < 0)
		return -1;
	assert(str_is_equal(inode->fs, fs));
	if (output)
		str_appendf(output, "looked at %s\n", fs);
	*ret_verdict = !inode->has_errors ? HOST_FS_CLEAN
		       : repair           ? HOST_FS_REPAIRED
					  : HOST_FS_HAS_ERRORS;
	inode->has_errors = inode->has_errors && !repair;
	return 0;
}

/* mkfs */

static int make_fs(struct ctx *ctx, int fd, const char *fs, struct err *err)
{
	struct fake_inode *inode = fake_fd_get(fd)->inode;

	if (ctx_check(ctx, err) < 0 || fake_step(err) < 0)
		return -1;
	if (world.at_mkfs)
		world.at_mkfs(world.at_mkfs_arg);
	assert(!inode->n_links && "mkfs only ever on a file without a name");
	(void)snprintf(inode->fs, sizeof(inode->fs), "%s", fs);
	memset(&inode->fs_uuid, 0x11, sizeof(inode->fs_uuid));
	inode->fs_bytes = inode->bytes;
	inode->is_written = inode->is_synced = false;
	if (inode->allocated_bytes)
		inode->allocated_bytes -= 4096;
	return 0;
}

int host_mkfs_ext4(struct ctx *ctx, int fd, uint64_t bytes, struct err *err)
{
	assert(fake_fd_get(fd)->inode->bytes == bytes);
	return make_fs(ctx, fd, "ext4", err);
}

int host_mkfs_xfs(struct ctx *ctx, int fd, const struct uuid *uuid, const char *label,
		  struct err *err)
{
	struct fake_inode *inode = fake_fd_get(fd)->inode;

	if (make_fs(ctx, fd, "xfs", err) < 0)
		return -1;
	inode->fs_uuid = *uuid;
	inode->bytes -= 4096;
	inode->fs_bytes = inode->bytes;
	(void)snprintf(inode->label, sizeof(inode->label), "%s", str_or(label, ""));
	return 0;
}

int host_mkfs_device(struct ctx *ctx, const char *device, const char *fs, const char *options,
		     struct err *err)
{
	int n = fake_loop_of(device);
	struct fake_loop *loop = n < 0 ? NULL : &world.loops[n];

	if (ctx_check(ctx, err) < 0 || fake_step(err) < 0)
		return -1;
	assert(loop && loop->backing);
	if (!loop->backing->fs[0])
		(void)snprintf(loop->backing->fs, sizeof(loop->backing->fs), "%s", fs);
	if (!str_is_equal(loop->backing->fs, fs))
		return err_set(err, ERR_FAILED_PRECONDITION, "'%s' bears '%s'", device,
			       loop->backing->fs);
	loop->backing->fs_bytes = loop->backing->bytes;
	return 0;
}

int host_ext4_stamp(int fd, const struct uuid *uuid, struct err *err)
{
	struct fake_inode *inode = fake_fd_get(fd)->inode;

	if (fake_step(err) < 0)
		return -1;
	assert(!inode->n_links && str_is_equal(inode->fs, "ext4"));
	inode->fs_uuid = *uuid;
	inode->is_written = inode->is_synced = false;
	return 0;
}

int host_probe(int fd, struct host_probe *ret_probe, struct err *err)
{
	const struct fake_inode *inode = fake_fd_get(fd)->inode;

	if (fake_step(err) < 0)
		return -1;
	*ret_probe = (struct host_probe){ 0 };
	(void)snprintf(ret_probe->type, sizeof(ret_probe->type), "%s", inode->fs);
	(void)snprintf(ret_probe->label, sizeof(ret_probe->label), "%s", inode->label);
	return 0;
}

/* host/mount.h */

static unsigned long magic_of(const char *type)
{
	return str_is_equal(type, "xfs")    ? XFS_SUPER_MAGIC
	       : str_is_equal(type, "ext4") ? EXT4_SUPER_MAGIC
					    : TMPFS_MAGIC;
}

bool fake_hangs(const struct fake_mount *mount, struct err *err)
{
	if (!world.is_server_silent || mount->fs != world.remote)
		return false;
	world.n_hangs++;
	(void)err_set(err, ERR_DEADLINE_EXCEEDED, "the server of '%s' is silent", mount->path);
	return true;
}

int host_mount_look(const char *path, struct host_mount_at *ret_at, struct err *err)
{
	int loop = fake_loop_of(path);
	struct fake_mount *mount;
	const struct fake_inode *inode = fake_lookup(path, &mount);

	if (fake_step(err) < 0)
		return -1;
	*ret_at = (struct host_mount_at){ 0 };
	if (loop >= 0) {
		ret_at->exists = ret_at->is_block_device = world.loops[loop].backing;
		ret_at->rdev = makedev(LOOP_MAJOR_NUMBER, (unsigned)loop);
		return 0;
	}
	if (!inode)
		return 0;
	if (fake_hangs(mount, err))
		return -1;
	*ret_at = (struct host_mount_at){
		.exists = true,
		.is_dir = inode->kind == FAKE_DIR,
		.is_symlink = inode->kind == FAKE_SYMLINK,
		.is_block_device = inode->kind == FAKE_BLOCK,
		.is_mount_root = str_is_equal(mount->path, path),
		.is_read_only = mount->is_read_only,
		.device = mount->device,
		.rdev = inode->rdev,
		.fs_magic = magic_of(mount->fs->type),
	};
	return 0;
}

static int check_target(const char *target, struct fake_inode **ret_inode, struct err *err)
{
	struct fake_inode *inode = fake_lookup(target, NULL);

	if (!inode)
		return err_set(err, ERR_NOT_FOUND, "open '%s'", target);
	if (inode->kind == FAKE_SYMLINK)
		return err_set(err, ERR_FAILED_PRECONDITION, "'%s' is a symlink", target);
	*ret_inode = inode;
	return 0;
}

static bool has_flag(const char *const *flags, size_t n, const char *flag)
{
	for (size_t i = 0; i < n; i++) {
		if (str_is_equal(flags[i], flag))
			return true;
	}
	return false;
}

static void add_mount(struct fake_mount *mount, const char *target)
{
	(void)snprintf(mount->path, sizeof(mount->path), "%s", target);
	mount->id = ++world.next_mount;
	vec_push(&world.mounts, *mount);
}

static void add_remote_dir(struct fake_inode *dir)
{
	const char *path = str_or(world.remote_dir, "");

	while (*path) {
		size_t n = strcspn(path, "/");
		autofree char *name = xstrndup(path, n);

		fake_entry_add(dir, name, fake_inode_new(dir->on, FAKE_DIR), true);
		dir = fake_entry_find(dir, name)->inode;
		path += n + (path[n] == '/');
	}
}

static int mount_remote(const char *source, const char *target,
			const struct host_mount_options *opts, struct err *err)
{
	struct fake_mount mount = { .loop = -1, .is_read_only = opts->read_only };

	if (world.is_server_silent) {
		world.n_hangs++;
		return err_set(err, ERR_UNAVAILABLE, "mount '%s': no answer", source);
	}
	if (!world.remote)
		world.remote = fake_fs_new(opts->fs, makedev(0, 50), UINT64_C(1) << 40);
	if (!fake_entry_find(world.remote->root, source)) {
		fake_entry_add(world.remote->root, source, fake_inode_new(world.remote, FAKE_DIR),
			       true);
		add_remote_dir(fake_entry_find(world.remote->root, source)->inode);
	}
	mount.fs = world.remote;
	mount.root = fake_entry_find(world.remote->root, source)->inode;
	mount.device = world.remote->device;
	(void)snprintf(mount.source, sizeof(mount.source), "%s", source);
	add_mount(&mount, target);
	return 0;
}

static void keep_flags(struct fake_mount *mount, const char *const *flags, size_t n_flags)
{
	for (size_t i = 0, n = 0; i < n_flags && n < sizeof(mount->flags); i++)
		n += (size_t)snprintf(mount->flags + n, sizeof(mount->flags) - n, "%s%s",
				      i ? "," : "", flags[i]);
}

int host_mount_device(struct ctx *ctx, const char *device, const char *target,
		      const struct host_mount_options *opts, struct err *err)
{
	int i = fake_loop_of(device);
	struct fake_mount mount = { .loop = i };
	struct fake_inode *inode;
	struct fake_inode *backing;

	if (ctx_check(ctx, err) < 0 || fake_step(err) < 0 || check_target(target, &inode, err) < 0)
		return -1;
	if (!str_is_equal(opts->fs, "ext4") && !str_is_equal(opts->fs, "xfs"))
		return mount_remote(device, target, opts, err);
	backing = i < 0 ? NULL : world.loops[i].backing;
	if (inode->kind != FAKE_DIR || !backing || !str_is_equal(backing->fs, opts->fs))
		return err_set(err, ERR_INTERNAL, "mount '%s' at '%s'", device, target);
	if (has_flag(opts->flags, opts->n_flags, "wrong"))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "the filesystem refuses the mount option 'wrong'");
	if (!backing->inner && backing->growth_is_in_log)
		return err_os(err, ERR_DATA_LOSS, EUCLEAN, "mount '%s' at '%s'", device, target);
	if (!backing->inner)
		backing->inner = fake_fs_new(backing->fs, 0, backing->fs_bytes);
	backing->inner->device = makedev(LOOP_MAJOR_NUMBER, (unsigned)i);
	world.loops[i].n_users++;
	mount.fs = backing->inner;
	mount.root = mount.fs->root;
	mount.device = mount.fs->device;
	mount.is_read_only = opts->read_only || has_flag(opts->flags, opts->n_flags, "ro");
	keep_flags(&mount, opts->flags, opts->n_flags);
	add_mount(&mount, target);
	return 0;
}

static struct fake_inode *device_node(int loop)
{
	struct fake_inode *node = fake_inode_new(world.memory, FAKE_BLOCK);

	node->n_links = 1;
	node->rdev = makedev(LOOP_MAJOR_NUMBER, (unsigned)loop);
	return node;
}

int host_mount_bind(struct ctx *ctx, const char *source, const char *target, bool read_only,
		    const char *const *flags, size_t n_flags, struct err *err)
{
	int loop = fake_loop_of(source);
	struct fake_mount *from = NULL;
	struct fake_mount mount = { .loop = -1 };
	struct fake_inode *inode;

	if (ctx_check(ctx, err) < 0 || fake_step(err) < 0 || check_target(target, &inode, err) < 0)
		return -1;
	mount.root = loop >= 0 ? device_node(loop) : fake_lookup(source, &from);
	if (!mount.root || (mount.root->kind == FAKE_DIR) != (inode->kind == FAKE_DIR))
		return err_set(err, ERR_INTERNAL, "bind '%s' at '%s'", source, target);
	mount.fs = loop >= 0 ? world.memory : from->fs;
	mount.device = mount.fs->device;
	mount.is_read_only =
		read_only || has_flag(flags, n_flags, "ro") || (from && from->is_read_only);
	keep_flags(&mount, flags, n_flags);
	/* a bind keeps the filesystem, and so its device, as the first mount does */
	mount.loop = from ? from->loop : -1;
	if (mount.loop >= 0)
		world.loops[mount.loop].n_users++;
	if (from)
		memcpy(mount.source, from->source, sizeof(mount.source));
	add_mount(&mount, target);
	return 0;
}

/* The topmost mount at the path: its index + 1, or 0. */
static size_t mount_at(const char *path)
{
	for (size_t i = world.mounts.n; i > 2; i--) {
		if (str_is_equal(world.mounts.v[i - 1].path, path))
			return i;
	}
	return 0;
}

/* Something is mounted below it, or it is the last mount of a filesystem whose files are open (fds
 * know no mount here). */
static bool is_busy(const struct fake_mount *mount)
{
	size_t n_mounts = 0;

	for (size_t i = 0; i < world.mounts.n; i++) {
		if (path_is_below(world.mounts.v[i].path, mount->path) &&
		    !str_is_equal(world.mounts.v[i].path, mount->path))
			return true;
		n_mounts += world.mounts.v[i].fs == mount->fs;
	}
	for (size_t i = 0; n_mounts == 1 && i < world.inodes.n; i++) {
		if (world.inodes.v[i]->on == mount->fs && world.inodes.v[i]->n_users &&
		    mount->fs != world.memory)
			return true;
	}
	return false;
}

static bool is_mounted(int loop)
{
	for (size_t i = 0; i < world.mounts.n; i++) {
		if (world.mounts.v[i].loop == loop)
			return true;
	}
	return false;
}

int host_mount_umount(struct ctx *ctx, const char *target, struct err *err)
{
	size_t i = mount_at(target);
	int loop;

	if (ctx_check(ctx, err) < 0 || fake_step(err) < 0)
		return -1;
	if (!i)
		return 0;
	if (is_busy(&world.mounts.v[i - 1]))
		return err_set(err, ERR_FAILED_PRECONDITION, "unmount '%s': busy", target);
	loop = world.mounts.v[i - 1].loop;
	memmove(&world.mounts.v[i - 1], &world.mounts.v[i],
		(world.mounts.n - i) * sizeof(world.mounts.v[0]));
	world.mounts.n--;
	if (loop >= 0 && !is_mounted(loop))
		world.loops[loop].backing->growth_is_in_log = false;
	if (loop >= 0)
		fake_loop_put(loop);
	return 0;
}

int host_mount_each(dev_t devno, host_mount_fn fn, void *arg, struct err *err)
{
	if (fake_step(err) < 0)
		return -1;
	for (size_t i = 2; i < world.mounts.n; i++) {
		const struct fake_mount *mount = &world.mounts.v[i];

		if ((mount->device == devno || mount->root->rdev == devno) &&
		    fn(arg, mount->path, mount->is_read_only) != 0)
			break;
	}
	return 0;
}

static struct host_mountinfo line_of(struct fake_mount *mount)
{
	static char root[] = "/";

	return (struct host_mountinfo){
		.id = mount->id,
		.device = mount->device,
		.root = root,
		.point = mount->path,
		.fs = mount->fs->type,
		.source = mount->source,
		.super_options = root + 1,
		.read_only = mount->is_read_only,
	};
}

int host_mountinfo_each(host_mountinfo_fn fn, void *arg, struct err *err)
{
	if (fake_step(err) < 0)
		return -1;
	for (size_t i = 2; i < world.mounts.n; i++) {
		struct fake_mount mount = world.mounts.v[i];
		struct host_mountinfo info = line_of(&mount);

		if (fn(arg, &info) != 0)
			break;
	}
	return 0;
}

static int give_line(const struct fake_mount *mount, char **ret_line,
		     struct host_mountinfo *ret_info)
{
	struct fake_mount *copy = xmalloc(sizeof(*copy));

	*copy = *mount;
	*ret_line = (char *)copy;
	*ret_info = line_of(copy);
	return 1;
}

int host_mountinfo_find_top(const char *path, char **ret_line, struct host_mountinfo *ret_info,
			    struct err *err)
{
	size_t i = mount_at(path);

	if (fake_step(err) < 0)
		return -1;
	return i ? give_line(&world.mounts.v[i - 1], ret_line, ret_info) : 0;
}

int host_mountinfo_find_under(const char *path, char **ret_line, struct host_mountinfo *ret_info,
			      struct err *err)
{
	struct fake_mount *mount;

	if (fake_step(err) < 0)
		return -1;
	if (!fake_lookup(path, &mount))
		return 0;
	return fake_hangs(mount, err) ? -1 : give_line(mount, ret_line, ret_info);
}

int host_mount_make_target(const char *path, bool is_dir, bool *ret_made, struct err *err)
{
	autofree char *parent = path_parent(path);
	struct fake_inode *dir = parent ? fake_lookup(parent, NULL) : NULL;
	struct fake_inode *inode = fake_lookup(path, NULL);

	if (fake_step(err) < 0)
		return -1;
	if (inode && (inode->kind == FAKE_SYMLINK || (inode->kind == FAKE_DIR) != is_dir))
		return err_set(err, ERR_FAILED_PRECONDITION, "'%s' is there and is something else",
			       path);
	*ret_made = !inode;
	if (inode)
		return 0;
	if (!dir)
		return err_set(err, ERR_NOT_FOUND, "make '%s'", path);
	inode = fake_inode_new(dir->on, is_dir ? FAKE_DIR : FAKE_FILE);
	inode->is_synced = true;
	fake_entry_add(dir, path_last(path), inode, true);
	return 0;
}

static bool is_empty(const struct fake_inode *dir)
{
	for (size_t i = 0; i < dir->entries.n; i++) {
		if (!dir->entries.v[i].is_gone)
			return false;
	}
	return true;
}

int host_mount_remove_target(const char *path, struct err *err)
{
	autofree char *parent = path_parent(path);
	struct fake_inode *inode = fake_lookup(path, NULL);

	if (fake_step(err) < 0)
		return -1;
	if (!inode)
		return 0;
	if (mount_at(path))
		return err_set(err, ERR_FAILED_PRECONDITION, "'%s' is still a mount point", path);
	if (!is_empty(inode) || inode->kind == FAKE_SYMLINK || inode->bytes)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "'%s' is not the empty target that a mount was on", path);
	fake_entry_remove(fake_lookup(parent, NULL), path_last(path));
	return 0;
}
