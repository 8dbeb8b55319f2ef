/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bare way, which is the limit: the system calls without which the same would not be there
 * after a power cut, in this process, without a look at anything first.
 *
 *   volume:    O_TMPFILE → FICLONE of a template → fallocate → fsetxattr → fsync → linkat →
 * fsync(dir) snapshot:  syncfs of the mount → O_TMPFILE → FICLONE → fsetxattr → fsync → linkat →
 * fsync(dir) deletion:  unlink → fsync(dir) stage:     LOOP_CONFIGURE → mount; publish: bind
 *   growth:    fallocate → fsetxattr → fsync → LOOP_SET_CAPACITY → XFS_IOC_FSGROWFSDATA
 *   list:      readdir → open, fstat, fgetxattr of each on the page
 *
 * An xfs has no template here, as XFS cannot be copied to a second one that is mounted without
 * nouuid: mkfs.xfs is run in the nameless file.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "bench.h"
#include "host/xfs-internal.h"

#define ATTR "user.bench"
#define TRIES 1000u

static unsigned grown_number;

static int open_ref(struct bench *b, const char *name, int flags)
{
	int fd = openat(b->ref_fd, name, flags | O_CLOEXEC, 0600);

	if (fd < 0)
		die("open '%s'", name);
	return fd;
}

static void name_it(struct bench *b, int fd, const char *name)
{
	static const char record[300] = { [0 ... 299] = 'r' };
	char path[32];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (fsetxattr(fd, ATTR, record, sizeof(record), 0) < 0 || fsync(fd) < 0 ||
	    linkat(AT_FDCWD, path, b->ref_fd, name, AT_SYMLINK_FOLLOW) < 0 || fsync(b->ref_fd) < 0)
		die("name '%s'", name);
}

void bare_create(struct bench *b, const char *name, int from_fd, uint64_t bytes)
{
	int fd = open_ref(b, ".", O_TMPFILE | O_RDWR);

	if ((from_fd >= 0 && ioctl(fd, FICLONE, from_fd) < 0) || ftruncate(fd, (off_t)bytes) < 0 ||
	    fallocate(fd, 0, 0, (off_t)bytes) < 0)
		die("make '%s'", name);
	name_it(b, fd, name);
	(void)close(fd);
}

static void create_xfs(struct bench *b, const char *name, uint64_t bytes)
{
	int fd = open_ref(b, ".", O_TMPFILE | O_RDWR);
	char path[64], ignored[8];

	(void)snprintf(path, sizeof(path), "/proc/%d/fd/%d", getpid(), fd);
	if (fallocate(fd, 0, 0, (off_t)bytes) < 0)
		die("make '%s'", name);
	RUN(b, ignored, "mkfs.xfs", "-q", "-f", "-K", "-s", "size=4096", path);
	if (fallocate(fd, 0, 0, (off_t)bytes) < 0)
		die("make '%s'", name);
	name_it(b, fd, name);
	(void)close(fd);
}

static void clone_file(struct bench *b, int from_fd, const char *name)
{
	int fd = open_ref(b, ".", O_TMPFILE | O_RDWR);

	if (ioctl(fd, FICLONE, from_fd) < 0)
		die("clone to '%s'", name);
	name_it(b, fd, name);
	(void)close(fd);
}

static void delete_file(struct bench *b, const char *name)
{
	if (unlinkat(b->ref_fd, name, 0) < 0 || fsync(b->ref_fd) < 0)
		die("delete '%s'", name);
}

static int control(unsigned long what, unsigned long arg)
{
	int fd = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	int rc = fd < 0 ? -1 : ioctl(fd, what, arg);

	(void)close(fd);
	return rc;
}

unsigned bare_free_number(void)
{
	int rc = control(LOOP_CTL_GET_FREE, 0);

	if (rc < 0)
		die("find a free loop device");
	return (unsigned)rc;
}

void bare_number(unsigned long what, unsigned number)
{
	/* one that was just unmounted may not be free yet */
	for (unsigned i = 0; i < TRIES; i++) {
		if (control(what, number) >= 0 || errno == ENODEV || errno == EEXIST)
			return;
		if (errno != EBUSY)
			break;
		(void)nanosleep(&(struct timespec){ .tv_nsec = NS_PER_MS }, NULL);
	}
	die("add or remove loop device %u", number);
}

void bare_stage(struct bench *b, const char *name, unsigned number, const char *fs, const char *at)
{
	int file = open_ref(b, name, O_RDWR);
	struct loop_config config = { .fd = (uint32_t)file,
				      .block_size = 4096,
				      .info.lo_flags = LO_FLAGS_DIRECT_IO | LO_FLAGS_AUTOCLEAR };
	char device[32];
	int fd;

	(void)snprintf(device, sizeof(device), "/dev/loop%u", number);
	fd = open(device, O_RDWR | O_CLOEXEC);
	if (fd < 0 || ioctl(fd, LOOP_CONFIGURE, &config) < 0 || mount(device, at, fs, 0, NULL) < 0)
		die("mount '%s' at '%s'", device, at);
	(void)close(fd); /* it clears itself when the mount goes */
	(void)close(file);
}

static void round_small(struct bench *b, unsigned round)
{
	char name[64], at[256], target[256];
	struct span span;

	(void)place(at, b->base, "bare-small", 0);
	(void)place(target, b->base, "bare-target", 0);
	(void)snprintf(name, sizeof(name), "bare-small-%u", round);
	span_begin(b, BARE, &span);
	bare_create(b, name, b->template_fd, SMALL_BYTES);
	span_end(b, BARE, CREATE_EXT4, &span);
	span_begin(b, BARE, &span);
	bare_stage(b, name, bare_free_number(), "ext4", at);
	span_end(b, BARE, STAGE, &span);
	span_begin(b, BARE, &span);
	if (mkdir(target, 0750) < 0 || mount(at, target, NULL, MS_BIND, NULL) < 0)
		die("bind '%s'", target);
	span_end(b, BARE, PUBLISH, &span);
	span_begin(b, BARE, &span);
	if (umount2(target, UMOUNT_NOFOLLOW) < 0 || rmdir(target) < 0)
		die("unmount '%s'", target);
	span_end(b, BARE, UNPUBLISH, &span);
	span_begin(b, BARE, &span);
	if (umount2(at, UMOUNT_NOFOLLOW) < 0)
		die("unmount '%s'", at);
	span_end(b, BARE, UNSTAGE, &span);
	span_begin(b, BARE, &span);
	delete_file(b, name);
	span_end(b, BARE, DELETE, &span);
	span_begin(b, BARE, &span);
	create_xfs(b, name, SMALL_BYTES);
	span_end(b, BARE, CREATE_XFS, &span);
	delete_file(b, name);
	span_begin(b, BARE, &span);
	bare_create(b, name, -1, SMALL_BYTES);
	span_end(b, BARE, CREATE_RAW, &span);
	delete_file(b, name);
}

static void snapshot(struct bench *b, enum op op, int base_fd, int mount_fd, const char *name)
{
	struct span span;

	span_begin(b, BARE, &span);
	if (syncfs(mount_fd) < 0)
		die("syncfs");
	clone_file(b, base_fd, name);
	span_end(b, BARE, op, &span);
}

static void round_snapshots(struct bench *b, unsigned round)
{
	int base_fd = open_ref(b, "bare-base", O_RDONLY);
	char at[256];
	int mount_fd = open(place(at, b->base, "bare-base", 0), O_RDONLY | O_CLOEXEC);
	struct span span;
	int fd;

	snapshot(b, SNAPSHOT_IDLE, base_fd, mount_fd, "bare-idle");
	make_dirty(at, round);
	snapshot(b, SNAPSHOT_DIRTY, base_fd, mount_fd, "bare-dirty");
	fd = open_ref(b, "bare-idle", O_RDONLY);
	span_begin(b, BARE, &span);
	bare_create(b, "bare-restored", fd, BASE_BYTES);
	span_end(b, BARE, RESTORE, &span);
	span_begin(b, BARE, &span);
	delete_file(b, "bare-restored");
	span_end(b, BARE, DELETE_RESTORED, &span);
	(void)close(fd);
	span_begin(b, BARE, &span);
	delete_file(b, "bare-idle");
	span_end(b, BARE, DELETE_SNAPSHOT, &span);
	delete_file(b, "bare-dirty");
	(void)close(mount_fd);
	(void)close(base_fd);
}

static void grow(struct bench *b, uint64_t bytes)
{
	int fd = open_ref(b, "bare-grown", O_RDWR);
	struct xfs_geometry geometry = { 0 };
	struct xfs_growth growth = { .newblocks = bytes / 4096 };
	char at[256], device[32];
	struct span span;
	int loop, dir;

	(void)snprintf(device, sizeof(device), "/dev/loop%u", grown_number);
	span_begin(b, BARE, &span);
	loop = open(device, O_RDONLY | O_CLOEXEC);
	dir = open(place(at, b->base, "bare-grown", 0), O_RDONLY | O_CLOEXEC);
	if (loop < 0 || dir < 0 || fallocate(fd, 0, 0, (off_t)bytes) < 0 ||
	    fsetxattr(fd, ATTR, &bytes, sizeof(bytes), 0) < 0 || fsync(fd) < 0 ||
	    ioctl(loop, LOOP_SET_CAPACITY) < 0 || ioctl(dir, XFS_GEOMETRY, &geometry) < 0)
		die("grow");
	growth.imaxpct = geometry.imaxpct;
	if (ioctl(dir, XFS_GROW_DATA, &growth) < 0)
		die("grow the xfs");
	(void)close(dir);
	(void)close(loop);
	span_end(b, BARE, EXPAND, &span);
	(void)close(fd);
}

/* The first page, in no order. */
static void list(struct bench *b)
{
	char path[256], value[512];
	const struct dirent *entry;
	struct span span;
	struct stat st;
	unsigned n = 0;
	DIR *dir;

	(void)snprintf(path, sizeof(path), "%s/.cleat/snapshots", b->pool);
	span_begin(b, BARE, &span);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		int fd;

		if (entry->d_name[0] == '.' || ++n > LISTED)
			continue;
		fd = openat(dirfd(dir), entry->d_name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0 || fstat(fd, &st) < 0 ||
		    fgetxattr(fd, "user.cleat.snapshot", value, sizeof(value)) < 0)
			die("look at snapshot '%s'", entry->d_name);
		(void)close(fd);
	}
	if (!dir || n < LISTED)
		die("list '%s'", path);
	(void)closedir(dir);
	span_end(b, BARE, LIST, &span);
}

void bare_round(struct bench *b, unsigned round)
{
	round_small(b, round);
	round_snapshots(b, round);
	grow(b, SMALL_BYTES + (round + 1) * GROWTH_BYTES);
	list(b);
}

void bare_clone(struct bench *b, unsigned round)
{
	char path[256];
	struct span span;
	int fd;

	(void)round;
	(void)snprintf(path, sizeof(path), "%s/data", b->pool);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		die("open '%s'", path);
	span_begin(b, BARE, &span);
	bare_create(b, "bare-clone", fd, SMALL_BYTES);
	span_end(b, BARE, CLONE, &span);
	span_begin(b, BARE, &span);
	delete_file(b, "bare-clone");
	span_end(b, BARE, DELETE_CLONE, &span);
	(void)close(fd);
}

void bare_make_template(struct bench *b)
{
	int fd = open_ref(b, "template", O_RDWR | O_CREAT);
	char path[256], ignored[8];

	(void)snprintf(path, sizeof(path), "%s/template", b->ref);
	if (ftruncate(fd, (off_t)SMALL_BYTES) < 0)
		die("make a template");
	RUN(b, ignored, "mkfs.ext4", "-q", "-F", "-m", "0", "-E",
	    "nodiscard,assume_storage_prezeroed=1", path);
	if (fsync(fd) < 0)
		die("make a template");
	b->template_fd = fd;
}

void bare_remove_template(struct bench *b)
{
	(void)close(b->template_fd);
	delete_file(b, "template");
}

static void start_base(struct bench *b)
{
	char path[256], ignored[8], at[256];
	int fd = open_ref(b, "bare-base", O_RDWR | O_CREAT);

	if (fallocate(fd, 0, 0, (off_t)BASE_BYTES) < 0)
		die("make a volume");
	(void)close(fd);
	(void)snprintf(path, sizeof(path), "%s/bare-base", b->ref);
	RUN(b, ignored, "mkfs.ext4", "-q", "-F", "-m", "0", "-E",
	    "nodiscard,assume_storage_prezeroed=1", path);
	if (mkdir(place(at, b->base, "bare-base", 0), 0700) < 0)
		die("make '%s'", at);
	bare_stage(b, "bare-base", bare_free_number(), "ext4", at);
}

void bare_start(struct bench *b)
{
	char at[256];

	if (mkdir(place(at, b->base, "bare-small", 0), 0700) < 0 ||
	    mkdir(place(at, b->base, "bare-grown", 0), 0700) < 0)
		die("make '%s'", at);
	create_xfs(b, "bare-grown", SMALL_BYTES);
	grown_number = bare_free_number();
	bare_stage(b, "bare-grown", grown_number, "xfs", at);
	start_base(b);
}

void bare_stop(struct bench *b)
{
	char at[256];

	(void)rmdir(place(at, b->base, "bare-small", 0));
	if (umount2(place(at, b->base, "bare-grown", 0), 0) < 0 || rmdir(at) < 0 ||
	    umount2(place(at, b->base, "bare-base", 0), 0) < 0 || rmdir(at) < 0)
		die("unmount '%s'", at);
	delete_file(b, "bare-grown");
	delete_file(b, "bare-base");
}
