/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loop devices by what sysfs alone says of them, for taking down what lies on a disk that died.
 *
 * LOOP_GET_STATUS64, which loopdev.c trusts, asks the backing file's filesystem for the inode, and
 * one that was shut down answers EIO; so does every look at the file itself. The name of the
 * backing file and the sector size are in the kernel's own memory and are always told. That is less
 * than an inode, so callers use it only where the inode cannot be had, and only for what goes away.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

#include "base/fd.h"
#include "base/str.h"
#include "host/err-internal.h"
#include "host/loopdev-internal.h"

#define OUR_SECTOR_SIZE "4096"
#define DELETED " (deleted)"
#define MEMFD "memfd:"

/* False when there is none, which a free or vanished device has not. */
static bool read_text(int dirfd, const char *path, char *ret_text, size_t cap)
{
	autofd int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, ret_text, cap - 1);

	if (n < 0)
		return false;
	ret_text[n] = '\0';
	ret_text[strcspn(ret_text, "\n")] = '\0';
	return true;
}

/* name: NULL for any, of files that are unlinked. */
static bool has_last_name(char *path, const char *name, struct host_loop_seen *seen)
{
	const char *last;

	seen->is_deleted =
		str_has_suffix(path, DELETED) && !(name && str_has_suffix(name, DELETED));
	if (seen->is_deleted)
		path[strlen(path) - strlen(DELETED)] = '\0';
	last = strrchr(path, '/');
	last = last ? last + 1 : path;
	if (str_has_prefix(last, MEMFD) && (!name || str_is_equal(last + strlen(MEMFD), name)))
		last += strlen(MEMFD);
	(void)snprintf(seen->name, sizeof(seen->name), "%s", last);
	return name ? str_is_equal(last, name) : seen->is_deleted;
}

/* All but the size of its sectors. */
static bool look_at_file(int dirfd, const char *entry, const char *name,
			 struct host_loop_seen *ret_seen)
{
	char path[300];
	char text[4200];
	unsigned minor;

	if (!loop_parse_name(entry, &minor))
		return false;
	*ret_seen = (struct host_loop_seen){ .devno = makedev(LOOP_MAJOR_NUMBER, minor) };
	(void)snprintf(ret_seen->path, sizeof(ret_seen->path), "/dev/loop%u", minor);
	(void)snprintf(path, sizeof(path), "%s/loop/backing_file", entry);
	if (!read_text(dirfd, path, text, sizeof(text)) || strlen(text) >= sizeof(ret_seen->file))
		return false;
	memcpy(ret_seen->file, text, strlen(text) + 1);
	return has_last_name(text, name, ret_seen);
}

static bool look_at(int dirfd, const char *entry, const char *name, struct host_loop_seen *ret_seen)
{
	char path[300];
	char text[24];

	if (!look_at_file(dirfd, entry, name, ret_seen))
		return false;
	(void)snprintf(path, sizeof(path), "%s/queue/logical_block_size", entry);
	return read_text(dirfd, path, text, sizeof(text)) && str_is_equal(text, OUR_SECTOR_SIZE);
}

static int each_seen(const char *name, host_loop_seen_fn fn, void *arg, struct err *err)
{
	autodir DIR *dir = opendir(LOOP_SYSFS_DIR);
	const struct dirent *entry;
	struct host_loop_seen seen;

	if (!dir)
		return host_err(err, errno, "list '%s'; is sysfs mounted?", LOOP_SYSFS_DIR);
	while ((errno = 0, entry = readdir(dir))) {
		if (look_at(dirfd(dir), entry->d_name, name, &seen) && fn(arg, &seen) != 0)
			return 0;
	}
	return errno ? host_err(err, errno, "list '%s'", LOOP_SYSFS_DIR) : 0;
}

int host_loop_each_named(const char *name, host_loop_seen_fn fn, void *arg, struct err *err)
{
	return each_seen(name, fn, arg, err);
}

struct unlinked {
	dev_t fs;
	host_loop_seen_fn fn;
	void *arg;
};

/* One that cannot be asked is over a file of another, dead filesystem. */
static int ask_unlinked(void *arg, const struct host_loop_seen *seen)
{
	const struct unlinked *look = arg;
	struct loop_info64 info = { 0 };
	autofd int fd = -1;

	if (!seen->is_deleted)
		return 0;
	fd = open(seen->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || ioctl(fd, LOOP_GET_STATUS64, &info) < 0 ||
	    info.lo_device != (uint64_t)look->fs)
		return 0;
	return look->fn(look->arg, seen);
}

int host_loop_each_unlinked(dev_t fs, host_loop_seen_fn fn, void *arg, struct err *err)
{
	return each_seen(NULL, ask_unlinked, &(struct unlinked){ fs, fn, arg }, err);
}

struct found {
	struct host_loop_seen *seen;
	bool is_found;
};

static int take_first(void *arg, const struct host_loop_seen *seen)
{
	struct found *found = arg;

	*found->seen = *seen;
	found->is_found = true;
	return 1;
}

int host_loop_find_unlinked(dev_t fs, const char *name, struct host_loop_seen *ret_seen,
			    struct err *err)
{
	struct found found = { .seen = ret_seen };

	if (each_seen(name, ask_unlinked, &(struct unlinked){ fs, take_first, &found }, err) < 0)
		return -1;
	return found.is_found;
}

/* path NULL: by the name, and sectors as ours. */
static bool is_still(int dirfd, const struct host_loop_seen *seen, const char *name,
		     const char *path)
{
	const char *entry = strrchr(seen->path, '/') + 1;
	struct host_loop_seen now;

	if (!path)
		return look_at(dirfd, entry, name, &now);
	return look_at_file(dirfd, entry, name, &now) && str_is_equal(now.file, path);
}

static int let_go(const struct host_loop_seen *seen, const char *name, const char *path,
		  struct err *err)
{
	autodir DIR *dir = opendir(LOOP_SYSFS_DIR);
	/* while it is open nobody can bind it to another file */
	autofd int fd = open(seen->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (!dir)
		return host_err(err, errno, "list '%s'; is sysfs mounted?", LOOP_SYSFS_DIR);
	if (fd < 0)
		return errno == ENXIO || errno == ENODEV || errno == ENOENT
			       ? 0
			       : host_err(err, errno, "open '%s'", seen->path);
	if (!is_still(dirfd(dir), seen, name, path))
		return 0;
	if (ioctl(fd, LOOP_CLR_FD) < 0 && errno != ENXIO)
		return host_err(err, errno, "unbind '%s'", seen->path);
	(void)close(TAKE_FD(fd));
	loop_number_end(minor(seen->devno));
	return 0;
}

int host_loop_let_go(const struct host_loop_seen *seen, const char *name, struct err *err)
{
	return let_go(seen, name, NULL, err);
}

int host_loop_let_go_over(const struct host_loop_seen *seen, struct err *err)
{
	return let_go(seen, seen->name, seen->file, err);
}

/* Also when it cannot be asked. */
static bool may_be_on(const struct host_loop_seen *seen, const dev_t *fs, size_t n_fs)
{
	struct loop_info64 info = { 0 };
	autofd int fd = open(seen->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0 || ioctl(fd, LOOP_GET_STATUS64, &info) < 0)
		return true;
	for (size_t i = 0; i < n_fs; i++) {
		if (fs[i] && info.lo_device == (uint64_t)fs[i])
			return true;
	}
	return false;
}

int host_loop_find_over(const char *path, const dev_t *fs, size_t n_fs,
			struct host_loop_seen *ret_seen, struct err *err)
{
	autodir DIR *dir = opendir(LOOP_SYSFS_DIR);
	const char *name = strrchr(path, '/') + 1;
	const struct dirent *entry;
	struct host_loop_seen seen;

	if (!dir)
		return host_err(err, errno, "list '%s'; is sysfs mounted?", LOOP_SYSFS_DIR);
	while ((errno = 0, entry = readdir(dir))) {
		if (look_at_file(dirfd(dir), entry->d_name, name, &seen) &&
		    str_is_equal(seen.file, path) && may_be_on(&seen, fs, n_fs)) {
			*ret_seen = seen;
			return 1;
		}
	}
	return errno ? host_err(err, errno, "list '%s'", LOOP_SYSFS_DIR) : 0;
}
