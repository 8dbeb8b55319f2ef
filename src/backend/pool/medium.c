/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The filesystem that a pool lies on, in all that depends on which it is.
 *
 *            shares blocks   overwrites in place    a name is durable            what is free
 *   XFS      yes (reflink)   until it is shared     by a sync of its directory,  known at once
 *                                                   all changes before with it
 *   ext4     no              always                 the same; the file is        known at once
 *                                                   synced before
 *   btrfs    yes             with nodatacow (+C),   by a commit (syncfs)         after a commit
 *                            until it is shared
 *
 * What statfs says of btrfs is as old as the last commit, up to half a minute (measured: 200 MiB
 * that were allocated are not missing, and 200 MiB that were given back not there). So there is one
 * after each allocation, before the promise for it ends, and after each removal. A commit costs
 * some milliseconds; it writes out what is dirty of all volumes, which direct I/O keeps little.
 *
 * A thick volume has room for its first write and for each later one. On btrfs that is so only
 * without copy-on-write, which costs the checksums: with it each overwrite takes new room, and
 * direct I/O is not direct. So a directory that becomes a pool there gets the attribute C, which
 * its new files have from it. Who takes it off (chattr -C) has wanted checksums: new volumes are
 * made without it, and the pool says at each opening what that means. What shares blocks with
 * another file has the attribute as that has it, since btrfs refuses the rest.
 *
 * Where files cannot share blocks a snapshot is a copy (copy.c, copying.c), and so is what is made
 * of one (create_copy.c). Groups are not offered: all members would have to be still for as long as
 * all of them are copied.
 */
#include "backend/pool/pool-internal.h"
#include "host/freeze.h"

#define LOG_ROOM "backend"
#include "base/log.h"

#define RIGHT_WAY "mkfs.xfs -m reflink=1 DEVICE and mount it, or try --pool-image=FILE"

/* An ext4 without extents (mounted as ext3 was) cannot set blocks aside. One that has no block or
 * no inode left is not asked: its volumes are served. */
static int try_allocation(const struct pool *p, struct err *err)
{
	autohostfd int fd = -1;

	if (host_file_make(p->dir_fd, &fd, err) < 0)
		return err->code == ERR_RESOURCE_EXHAUSTED ? 0 : -1;
	if (host_file_allocate(fd, 4096, err) == 0 || err->code == ERR_RESOURCE_EXHAUSTED)
		return 0;
	err->code = ERR_FAILED_PRECONDITION;
	return err_wrap(err, "the ext4 of '%s' cannot set blocks aside (has it extents?)", p->dir);
}

int pool_check_medium(const struct pool *p, const struct host_fs *fs, struct err *err)
{
	if (fs->kind == HOST_FS_KIND_OTHER)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "'%s' lies on %s; a pool is on XFS with reflink, or on btrfs, or on "
			       "ext4, where snapshots are full copies: " RIGHT_WAY,
			       p->dir, fs->type);
	if (fs->kind == HOST_FS_KIND_XFS && !fs->can_clone)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "the XFS of '%s' was made without reflink, which cannot be "
			       "added: " RIGHT_WAY,
			       p->dir);
	if (fs->is_read_only)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "the filesystem of '%s' is read-only: mount -o remount,rw", p->dir);
	return fs->kind == HOST_FS_KIND_EXT4 ? try_allocation(p, err) : 0;
}

const char *pool_describe_medium(enum host_fs_kind kind)
{
	switch (kind) {
	case HOST_FS_KIND_XFS:
		return "xfs";
	case HOST_FS_KIND_BTRFS:
		return "btrfs";
	case HOST_FS_KIND_EXT4:
		return "ext4, snapshots: full copies, no groups";
	case HOST_FS_KIND_OTHER:
		break;
	}
	return "a filesystem that is none of a pool's";
}

void pool_take_medium(struct pool *p, const struct host_fs *fs)
{
	p->base.medium = pool_describe_medium(fs->kind);
	p->base.filesystem = fs->uuid;
	p->fs_kind = fs->kind;
	p->can_clone = fs->can_clone;
	if (!fs->can_clone)
		p->base.caps &= ~(unsigned)BACKEND_GROUP;
}

static void warn_of_cow(const struct pool *p)
{
	bool is_nocow;
	struct err err;

	if (host_file_get_nocow(p->dir_fd, &is_nocow, &err) == 0 && !is_nocow)
		log_warn("new volumes of this pool are copy-on-write (its directory has no "
			 "attribute C): they have checksums, and no room of their own for being "
			 "overwritten",
			 log_str("pool", p->base.pool_name), log_str("dir", p->dir));
}

int pool_prepare_medium(const struct pool *p, struct err *err)
{
	if (p->fs_kind != HOST_FS_KIND_BTRFS)
		return 0;
	return host_file_set_nocow(p->dir_fd, true, err);
}

void pool_warn_of_medium(const struct pool *p)
{
	if (p->fs_kind == HOST_FS_KIND_BTRFS)
		warn_of_cow(p);
}

int pool_make_file(const struct pool *p, int dir_fd, int like_fd, int *ret_fd, struct err *err)
{
	autohostfd int fd = -1;
	bool is_nocow;
	bool wants;

	if (host_file_make(dir_fd, &fd, err) < 0)
		return -1;
	if (p->fs_kind == HOST_FS_KIND_BTRFS) {
		if (host_file_get_nocow(like_fd < 0 ? p->dir_fd : like_fd, &wants, err) < 0 ||
		    host_file_get_nocow(fd, &is_nocow, err) < 0 ||
		    (is_nocow != wants && host_file_set_nocow(fd, wants, err) < 0))
			return -1;
	}
	*ret_fd = fd;
	fd = -1;
	return 0;
}

int pool_write_out(const struct pool *p, int fd, struct err *err)
{
	return p->fs_kind == HOST_FS_KIND_XFS ? host_file_write_out(fd, err)
					      : host_file_sync(fd, err);
}

int pool_sync_named(const struct pool *p, int dir_fd, struct err *err)
{
	return p->fs_kind == HOST_FS_KIND_BTRFS ? host_fs_sync(dir_fd, err)
						: host_dir_sync(dir_fd, err);
}

int pool_settle_space(const struct pool *p, struct err *err)
{
	return p->fs_kind == HOST_FS_KIND_BTRFS ? host_fs_sync(p->dir_fd, err) : 0;
}
