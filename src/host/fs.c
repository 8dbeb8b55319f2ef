/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Filesystems and directories.
 *
 * The UUID and the reflink bit of an XFS come from XFS_IOC_FSGEOMETRY_V1, not from FS_IOC_GETFSUUID
 * (Linux 6.9) or from blkid on the device: one ioctl that every XFS has known since it has reflink,
 * that needs no device node and that tells both at once. btrfs has ioctls as old as that, too. ext4
 * has one since Linux 6.0; statfs tells 8 bytes that are made of its UUID, on each kernel the same.
 *
 * Nothing here parses paths: a caller has a directory fd and a single name (base/path.h checks it),
 * so no symlink and no
 * ".." can lead elsewhere.
 */
#include "host/fs.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>

#include "base/fd.h"
#include "host/btrfs-internal.h"
#include "host/err-internal.h"
#include "host/lock-internal.h"
#include "host/xfs-internal.h"

static const struct {
	unsigned long magic;
	const char *name;
	enum host_fs_kind kind;
} known_types[] = {
	{ XFS_SUPER_MAGIC, "xfs", HOST_FS_KIND_XFS },
	{ EXT4_SUPER_MAGIC, "ext4", HOST_FS_KIND_EXT4 },
	{ BTRFS_SUPER_MAGIC, "btrfs", HOST_FS_KIND_BTRFS },
	{ TMPFS_MAGIC, "tmpfs" },
	{ OVERLAYFS_SUPER_MAGIC, "overlay" },
	{ F2FS_SUPER_MAGIC, "f2fs" },
	{ NFS_SUPER_MAGIC, "nfs" },
	{ SQUASHFS_MAGIC, "squashfs" },
	{ RAMFS_MAGIC, "ramfs" },
	{ SMB2_SUPER_MAGIC, "smb" },
	{ MSDOS_SUPER_MAGIC, "vfat" },
	{ FUSE_SUPER_MAGIC, "fuse" },
};

enum err_code host_code(int errnum)
{
	switch (errnum) {
	case ENOENT:
		return ERR_NOT_FOUND;
	case EEXIST:
		return ERR_ALREADY_EXISTS;
	case ENOSPC:
	case EDQUOT:
	case EMFILE:
	case ENFILE:
	case ENOMEM:
		return ERR_RESOURCE_EXHAUSTED;
	case EPERM:
	case EACCES:
		return ERR_PERMISSION_DENIED;
	case EROFS:
	case EBUSY:
	case ENOTDIR:
	case ELOOP:
	case EISDIR:
	case ENOTEMPTY:
		return ERR_FAILED_PRECONDITION;
	default:
		return ERR_INTERNAL;
	}
}

void host_fd_close(int fd)
{
	int saved = errno;

	if (fd >= 0 && !host_lock_close(fd))
		(void)close(fd); /* nothing to do about an error: the data was synced before if it
				    mattered */
	errno = saved;
}

void host_fd_closep(int *fd)
{
	host_fd_close(*fd);
}

static enum host_fs_kind name_type(unsigned long magic, char *ret_name, size_t cap)
{
	for (size_t i = 0; i < sizeof(known_types) / sizeof(known_types[0]); i++) {
		if (known_types[i].magic == magic) {
			(void)snprintf(ret_name, cap, "%s", known_types[i].name);
			return known_types[i].kind;
		}
	}
	(void)snprintf(ret_name, cap, "0x%lx", magic);
	return HOST_FS_KIND_OTHER;
}

static bool is_zero(const struct uuid *uuid)
{
	static const struct uuid zero;

	return memcmp(uuid, &zero, sizeof(zero)) == 0;
}

static int look_xfs(int fd, struct host_fs *fs, struct err *err)
{
	struct xfs_geometry geometry = { 0 };

	if (ioctl(fd, XFS_GEOMETRY, &geometry) < 0)
		return host_err(err, errno, "ask XFS for its geometry");
	fs->can_clone = geometry.flags & XFS_GEOMETRY_REFLINK;
	memcpy(fs->uuid.b, geometry.uuid, sizeof(fs->uuid.b));
	fs->tree = fs->uuid;
	return 0;
}

static int look_btrfs(int fd, struct host_fs *fs, struct err *err)
{
	struct btrfs_info info = { 0 };
	struct btrfs_subvolume subvolume = { 0 };

	if (ioctl(fd, BTRFS_INFO, &info) < 0 || ioctl(fd, BTRFS_SUBVOLUME, &subvolume) < 0)
		return host_err(err, errno, "ask btrfs for its UUIDs");
	fs->can_clone = true;
	memcpy(fs->uuid.b, info.fsid, sizeof(fs->uuid.b));
	memcpy(fs->tree.b, subvolume.uuid, sizeof(fs->tree.b));
	if (is_zero(&fs->tree)) /* the top one of an old filesystem */
		fs->tree = fs->uuid;
	return 0;
}

int host_fs_look(int fd, struct host_fs *ret_fs, struct err *err)
{
	struct host_fs found = { 0 };
	struct statfs fs;
	struct stat st;

	if (fstatfs(fd, &fs) < 0 || fstat(fd, &st) < 0)
		return host_err(err, errno, "look at the filesystem");
	found.total_bytes = (uint64_t)fs.f_blocks * (uint64_t)fs.f_frsize;
	found.free_bytes = (uint64_t)fs.f_bavail * (uint64_t)fs.f_frsize;
	found.is_read_only = fs.f_flags & ST_RDONLY;
	found.device = st.st_dev;
	found.kind = name_type((unsigned long)fs.f_type, found.type, sizeof(found.type));
	if (found.kind == HOST_FS_KIND_EXT4) {
		static_assert(sizeof(fs.f_fsid) <= sizeof(found.uuid.b), "room for it");
		memcpy(found.uuid.b, &fs.f_fsid, sizeof(fs.f_fsid));
		found.tree = found.uuid;
	}
	if ((found.kind == HOST_FS_KIND_XFS && look_xfs(fd, &found, err) < 0) ||
	    (found.kind == HOST_FS_KIND_BTRFS && look_btrfs(fd, &found, err) < 0))
		return -1;
	*ret_fs = found;
	return 0;
}

int host_dir_open(const char *path, int *ret_fd, struct err *err)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return host_err(err, errno, "open directory '%s'", path);
	*ret_fd = fd;
	return 0;
}

int host_dir_make(int dirfd, const char *name, int *ret_fd, struct err *err)
{
	int fd;

	if (mkdirat(dirfd, name, 0700) < 0 && errno != EEXIST)
		return host_err(err, errno, "make directory '%s'", name);
	fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return host_err(err, errno, "open directory '%s'", name);
	*ret_fd = fd;
	return 0;
}

int host_dir_open_at(int dirfd, const char *name, int *ret_fd, struct err *err)
{
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return host_err(err, errno, "open directory '%s'", name);
	*ret_fd = fd;
	return 0;
}

int host_dir_each(int dirfd, host_dir_fn fn, void *arg, struct err *err)
{
	autofd int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	autodir DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;

	if (!dir)
		return host_err(err, errno, "read directory");
	(void)TAKE_FD(fd);
	for (;;) {
		errno = 0;
		entry = readdir(dir);
		if (!entry)
			break;
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		if (fn(arg, entry->d_name, entry->d_type == DT_REG) != 0)
			return 0;
	}
	if (errno)
		return host_err(err, errno, "read directory");
	return 0;
}

int host_dir_sync(int dirfd, struct err *err)
{
	if (fsync(dirfd) < 0)
		return host_err(err, errno, "sync directory");
	return 0;
}

int host_file_get_nocow(int fd, bool *ret_is_nocow, struct err *err)
{
	int flags = 0;

	if (ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0 && errno != ENOTTY && errno != EOPNOTSUPP)
		return host_err(err, errno, "ask for the flags of a file");
	*ret_is_nocow = flags & FS_NOCOW_FL;
	return 0;
}

int host_file_set_nocow(int fd, bool is_nocow, struct err *err)
{
	int flags = 0;

	if (ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0) {
		flags = is_nocow ? flags | FS_NOCOW_FL : flags & ~FS_NOCOW_FL;
		if (ioctl(fd, FS_IOC_SETFLAGS, &flags) == 0)
			return 0;
	}
	return err_os(err,
		      errno == ENOTTY || errno == EOPNOTSUPP || errno == EINVAL
			      ? ERR_FAILED_PRECONDITION
			      : host_code(errno),
		      errno, "turn copy-on-write of a file %s", is_nocow ? "off" : "on");
}
