/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which loop device is over a file. What must never happen is that one is overlooked: the file
 * would be attached, and its filesystem mounted, twice.
 *
 * The kernel has no table from files to devices, and to ask all devices takes 14 ms where 500 are
 * bound, so three steps, of which each is only taken if the one before had no answer:
 *
 * 1. The index of this process: the number of the device that was last over this inode. The device
 *    itself then confirms it (LOOP_GET_STATUS64); an entry that is wrong is dropped.
 * 2. Whether anybody but us has the file open at all, which every loop device has: a write lease
 *    (F_SETLEASE) is granted only if not, and is given back at once. This takes 2 µs however many
 *    devices there are, and does not depend on names. It says nothing if the caller's fd is the
 *    very one that the device was bound with. Whoever opens the file in these 2 µs waits so long,
 *    and the signal that the kernel then sends us is made one that is ignored.
 * 3. All devices, when there was no answer: after a restart, or while somebody reads the file.
 *    First those whose backing file has the right name in sysfs, which takes no lock of the device.
 *    If none is, all others that are not larger than the file: they may have been bound by another
 *    name that the file had, and that name may be gone. Opening a device can wait for one that is
 *    being set up or torn down, or has died, which is why this comes last. What cannot be asked is
 *    not over this file, whose disk answered a moment ago.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

#include "base/fd.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/str.h"
#include "host/err-internal.h"
#include "host/loopdev-internal.h"

#define SECTOR_BYTES 512

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards indexed */
static struct map *indexed; /* device, inode, reader → unsigned *, the number */

/* Which of the devices over a file. */
struct look_for {
	const struct host_loop_file *file;
	bool is_reader;
	uint64_t sectors; /* of the file */
};

static void format_key(uint64_t device, uint64_t inode, bool is_reader, char key[64])
{
	(void)snprintf(key, 64, "%llx:%llx:%d", (unsigned long long)device,
		       (unsigned long long)inode, is_reader);
}

void loop_index_put(const struct loop_info64 *info, bool is_reader, unsigned minor)
{
	unsigned *box = xmalloc(sizeof(*box));
	char key[64];

	*box = minor;
	format_key(info->lo_device, info->lo_inode, is_reader, key);
	pthread_mutex_lock(&lock);
	if (!indexed)
		indexed = map_new();
	box = map_put(indexed, key, box);
	pthread_mutex_unlock(&lock);
	free(box);
}

static bool index_get(const struct look_for *look, unsigned *ret_minor)
{
	unsigned *box;
	char key[64];

	format_key(look->file->device, look->file->inode, look->is_reader, key);
	pthread_mutex_lock(&lock);
	box = indexed ? map_find(indexed, key) : NULL;
	if (box)
		*ret_minor = *box;
	pthread_mutex_unlock(&lock);
	return box;
}

static void index_drop(const struct look_for *look, unsigned minor)
{
	unsigned *box;
	char key[64];

	format_key(look->file->device, look->file->inode, look->is_reader, key);
	pthread_mutex_lock(&lock);
	box = map_find(indexed, key);
	box = box && *box == minor ? map_take(indexed, key) : NULL;
	pthread_mutex_unlock(&lock);
	free(box);
}

/* 1 if the minor is the one, 0 if not, or if it is gone or (ret_is_free, may be NULL) bound to
 * nothing; -errno. */
static int is_over_inode(unsigned minor, const struct look_for *look, struct host_loop *ret_loop,
			 int *ret_fd, bool *ret_is_free)
{
	struct loop_info64 info = { 0 };
	struct host_loop loop;
	char path[64];
	autofd int fd = loop_open(minor, O_RDONLY | O_NONBLOCK, path, sizeof(path));

	if (fd < 0)
		return fd == -ENXIO || fd == -ENOENT || fd == -ENODEV ? 0 : fd;
	if (ioctl(fd, LOOP_GET_STATUS64, &info) < 0) {
		if (ret_is_free)
			*ret_is_free = errno == ENXIO;
		return errno == ENXIO ? 0 : -errno;
	}
	if (info.lo_device != (uint64_t)look->file->device || info.lo_inode != look->file->inode)
		return 0;
	loop_fill(minor, path, &info, &loop);
	if (loop.is_reader != look->is_reader)
		return 0;
	loop_index_put(&info, loop.is_reader, minor);
	*ret_loop = loop;
	if (ret_fd)
		*ret_fd = TAKE_FD(fd);
	return 1;
}

static int find_indexed(const struct look_for *look, struct host_loop *ret_loop, int *ret_hold_fd,
			struct err *err)
{
	bool is_free = false;
	unsigned minor;
	int rc;

	if (!index_get(look, &minor))
		return 0;
	rc = is_over_inode(minor, look, ret_loop, ret_hold_fd, &is_free);
	if (rc < 0)
		return host_err(err, -rc, "ask '/dev/loop%u' what is behind it", minor);
	if (rc == 0)
		index_drop(look, minor);
	if (is_free)
		loop_number_end(minor);
	return rc;
}

static bool is_open_nowhere_else(int fd)
{
	if (fd < 0 || fcntl(fd, F_SETSIG, SIGURG) < 0 || fcntl(fd, F_SETLEASE, F_WRLCK) < 0)
		return false;
	(void)fcntl(fd, F_SETLEASE, F_UNLCK);
	return true;
}

static bool read_line(int dirfd, const char *entry, const char *attr, char *text, size_t cap)
{
	char path[300];
	autofd int fd = -1;
	ssize_t n;

	(void)snprintf(path, sizeof(path), "%s/%s", entry, attr);
	fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, cap - 1);
	text[n > 0 ? n : 0] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return n >= 0;
}

/* Whether the path that sysfs gives ends in this name; files that are unlinked have " (deleted)"
 * behind. */
static bool has_name(char *path, const char *name)
{
	static const char deleted[] = " (deleted)";
	const char *last;
	size_t n = strlen(path);

	if (str_has_suffix(path, deleted) && !str_has_suffix(name, deleted))
		path[n - strlen(deleted)] = '\0';
	last = strrchr(path, '/');
	return str_is_equal(last ? last + 1 : path, name);
}

/* One that is bound has a directory "loop"; the name in it cannot be read if it is very long. */
static bool is_bound(int dirfd, const char *entry)
{
	char path[300];

	(void)snprintf(path, sizeof(path), "%s/loop", entry);
	return faccessat(dirfd, path, F_OK, 0) == 0;
}

static bool may_be(int dirfd, const char *entry, const struct look_for *look, bool by_name)
{
	char text[4200];
	uint64_t sectors;
	bool has_right_name = read_line(dirfd, entry, "loop/backing_file", text, sizeof(text)) &&
			      has_name(text, look->file->name);

	if (by_name)
		return has_right_name;
	return !has_right_name && is_bound(dirfd, entry) &&
	       (!read_line(dirfd, entry, "size", text, sizeof(text)) ||
		str_parse_u64(text, &sectors) < 0 || sectors <= look->sectors);
}

static int scan(const struct look_for *look, bool by_name, struct host_loop *ret_loop,
		int *ret_hold_fd, struct err *err)
{
	autodir DIR *dir = opendir(LOOP_SYSFS_DIR);
	const struct dirent *entry;

	if (!dir)
		return host_err(err, errno, "list '%s'; is sysfs mounted?", LOOP_SYSFS_DIR);
	while ((errno = 0, entry = readdir(dir))) {
		unsigned minor;
		int rc;

		if (!loop_parse_name(entry->d_name, &minor) ||
		    !may_be(dirfd(dir), entry->d_name, look, by_name))
			continue;
		rc = is_over_inode(minor, look, ret_loop, ret_hold_fd, NULL);
		if (rc < 0 && by_name && *look->file->name)
			return host_err(err, -rc, "ask '/dev/%s' what is behind it", entry->d_name);
		if (rc > 0)
			return 1;
	}
	return errno ? host_err(err, errno, "list '%s'", LOOP_SYSFS_DIR) : 0;
}

static int find_loop(const struct host_loop_file *file, bool is_reader, struct host_loop *ret_loop,
		     int *ret_hold_fd, struct err *err)
{
	const struct look_for look = { file, is_reader, file->bytes / SECTOR_BYTES };
	int rc = find_indexed(&look, ret_loop, ret_hold_fd, err);

	if (rc == 0 && is_open_nowhere_else(file->fd))
		return 0;
	if (rc == 0)
		rc = scan(&look, true, ret_loop, ret_hold_fd, err);
	if (rc == 0)
		rc = scan(&look, false, ret_loop, ret_hold_fd, err);
	return rc;
}

int host_loop_find(const struct host_loop_file *file, struct host_loop *ret_loop, int *ret_hold_fd,
		   struct err *err)
{
	return find_loop(file, false, ret_loop, ret_hold_fd, err);
}

int host_loop_find_unmounted(dev_t device, uint64_t inode, struct host_loop *ret_loop,
			     struct err *err)
{
	/* a path without a last component is "/" */
	const struct host_loop_file file = { .device = device, .inode = inode, .name = "" };
	const struct look_for look = { .file = &file };

	return scan(&look, true, ret_loop, NULL, err);
}

int host_loop_find_reader(const struct host_loop_file *file, struct host_loop *ret_loop,
			  int *ret_hold_fd, struct err *err)
{
	return find_loop(file, true, ret_loop, ret_hold_fd, err);
}
