/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loop devices by LOOP_CONFIGURE (Linux ≥5.8), which sets file, block size, direct I/O and
 * AUTOCLEAR in one step: there is no moment at which a killed process leaves a bound device behind.
 * Block size 4096 always: with 512 the kernel silently gives up direct I/O once the backing file
 * shares blocks (XFS after a reflink), and the flag must be read back because the ioctl succeeds
 * either way.
 *
 * LOOP_CTL_GET_FREE only tells a number that was free a moment ago, so a race lost to another
 * process (EBUSY) asks again. Threads of this process must not race at all: the loser's open fd
 * would keep the winner's device alive past its detach, and a delete right after would find the
 * volume "in use". So each number is claimed while it is being bound; the claim is a short list,
 * and under its lock there is only the ioctl on loop-control, which waits for no device. In a
 * container whose /dev is its own the node of a new device is missing and is made here.
 *
 * A reader is one more device over the same file, bound read-only: the kernel then refuses writes
 * whatever is done to the device or its node. It bears a mark in the one field of a loop device
 * that is the binder's own (lo_file_name), so that it is never taken for the device that is written
 * to, also not when that one is read-only or gone.
 *
 * Two settings belong to the minor, survive detach and would be inherited by the next volume, so
 * each attach looks at them. BLKROSET is undone. discard_max_bytes = 0 keeps blkdiscard, fstrim and
 * mkfs from punching a thick file; it is only ever lowered, as the kernel refuses to raise it
 * again.
 *
 * Finding: /sys/block/loopN/loop/backing_file says which name is behind a device without taking its
 * locks; only one with the right name is opened and asked for its inode (LOOP_GET_STATUS64), which
 * decides. Opening all of them would be eight times quicker with 500 devices (1.8 against 14 ms),
 * but open(2) waits for a device that is being set up or torn down (47 ms were seen, and a dead
 * disk is for ever), so one hung volume would stop every other.
 */
#include "host/loopdev.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <pthread.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/fd.h"
#include "base/str.h"
#include "host/host-internal.h"

#define LOOP_MAJOR_NUMBER 7
#define BLOCK_SIZE_BYTES 4096
#define LOOP_MINOR_MAX ((1u << 20) - 1)
#define ATTACH_TRIES 64
#define READER_MARK "cleat-reader"

/* A minor that a thread is binding now; on that thread's stack. */
struct claim {
	int minor;
	struct claim *next;
};
static pthread_mutex_t claims_lock = PTHREAD_MUTEX_INITIALIZER; /* guards claims */
static struct claim *claims;

static int open_loop(unsigned minor, int flags, char *path, size_t cap)
{
	int fd;

	(void)snprintf(path, cap, "/dev/loop%u", minor);
	fd = open(path, flags | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT) {
		if (mknod(path, S_IFBLK | 0600, makedev(LOOP_MAJOR_NUMBER, minor)) < 0 &&
		    errno != EEXIST)
			return -errno;
		fd = open(path, flags | O_CLOEXEC);
	}
	return fd < 0 ? -errno : fd;
}

static void fill_loop(unsigned minor, const char *path, const struct loop_info64 *info,
		      struct host_loop *loop)
{
	*loop = (struct host_loop){
		.devno = makedev(LOOP_MAJOR_NUMBER, minor),
		.is_direct = info->lo_flags & LO_FLAGS_DIRECT_IO,
		.is_read_only = info->lo_flags & LO_FLAGS_READ_ONLY,
		.is_autoclear = info->lo_flags & LO_FLAGS_AUTOCLEAR,
		.is_reader = strcmp((const char *)info->lo_file_name, READER_MARK) == 0,
	};
	(void)snprintf(loop->path, sizeof(loop->path), "%s", path);
}

/* Which of the devices over a file. */
struct look_for {
	dev_t device;
	uint64_t inode;
	const char *name;
	bool is_reader;
};

/* 1 if the minor is the one, 0 if not or if it is free or gone. */
static int is_over_inode(unsigned minor, const struct look_for *look, struct host_loop *ret_loop,
			 int *ret_fd)
{
	struct loop_info64 info = { 0 };
	struct host_loop loop;
	char path[64];
	autofd int fd = open_loop(minor, O_RDONLY, path, sizeof(path));

	if (fd < 0)
		return fd == -ENXIO || fd == -ENOENT || fd == -ENODEV ? 0 : fd;
	if (ioctl(fd, LOOP_GET_STATUS64, &info) < 0)
		return errno == ENXIO ? 0 : -errno;
	if (info.lo_device != (uint64_t)look->device || info.lo_inode != look->inode)
		return 0;
	fill_loop(minor, path, &info, &loop);
	if (loop.is_reader != look->is_reader)
		return 0;
	*ret_loop = loop;
	if (ret_fd)
		*ret_fd = TAKE_FD(fd);
	return 1;
}

/* Whether the path that sysfs gives ends in this name; files that are unlinked have " (deleted)"
 * behind. */
static bool has_name(char *path, const char *name)
{
	static const char deleted[] = " (deleted)";
	const char *last;
	size_t n;

	path[strcspn(path, "\n")] = '\0';
	n = strlen(path);
	if (str_has_suffix(path, deleted) && !str_has_suffix(name, deleted))
		path[n - strlen(deleted)] = '\0';
	last = strrchr(path, '/');
	return str_is_equal(last ? last + 1 : path, name);
}

/* 1 if the minor is over a file of this name, 0 if not or if it is free. */
static int is_over_name(int dirfd, const char *entry, const char *name)
{
	char path[80];
	autofd int fd = -1;
	char text[4097];
	ssize_t n;

	(void)snprintf(path, sizeof(path), "%s/loop/backing_file", entry);
	fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n < 0)
		return errno == ENOENT || errno == ENODEV || errno == ENXIO ? 0 : -errno;
	text[n] = '\0';
	return has_name(text, name);
}

static int find_loop(const struct look_for *look, struct host_loop *ret_loop, int *ret_hold_fd,
		     struct err *err)
{
	autodir DIR *dir = opendir("/sys/devices/virtual/block");
	const struct dirent *entry;

	if (!dir)
		return host_err(err, errno, "list '/sys/devices/virtual/block'; is sysfs mounted?");
	for (;;) {
		uint64_t minor;
		int rc;

		errno = 0;
		entry = readdir(dir);
		if (!entry)
			break;
		if (!str_has_prefix(entry->d_name, "loop") ||
		    str_parse_u64(entry->d_name + 4, &minor) < 0 || minor > LOOP_MINOR_MAX)
			continue;
		rc = is_over_name(dirfd(dir), entry->d_name, look->name);
		if (rc > 0)
			rc = is_over_inode((unsigned)minor, look, ret_loop, ret_hold_fd);
		if (rc < 0)
			return host_err(err, -rc, "ask '/dev/%s' what is behind it", entry->d_name);
		if (rc > 0)
			return 1;
	}
	if (errno)
		return host_err(err, errno, "list '/sys/devices/virtual/block'");
	return 0;
}

int host_loop_find(dev_t device, uint64_t inode, const char *name, struct host_loop *ret_loop,
		   int *ret_hold_fd, struct err *err)
{
	return find_loop(&(struct look_for){ device, inode, name, false }, ret_loop, ret_hold_fd,
			 err);
}

int host_loop_find_reader(dev_t device, uint64_t inode, const char *name,
			  struct host_loop *ret_loop, int *ret_hold_fd, struct err *err)
{
	return find_loop(&(struct look_for){ device, inode, name, true }, ret_loop, ret_hold_fd,
			 err);
}

/* What someone else's BLKROSET left on the minor: it would make a mount fail with EACCES. */
static int make_writable(int fd, const char *path, struct err *err)
{
	int is_read_only = 0;

	if (ioctl(fd, BLKROGET, &is_read_only) == 0 && !is_read_only)
		return 0;
	if (ioctl(fd, BLKROSET, &(int){ 0 }) < 0)
		return host_err(err, errno, "make '%s' writable", path);
	return 0;
}

static int turn_off_discard(unsigned minor, struct err *err)
{
	char path[64];
	autofd int fd = -1;
	char now[24] = "";
	int rc;

	(void)snprintf(path, sizeof(path), "/sys/block/loop%u/queue/discard_max_bytes", minor);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, now, sizeof(now) - 1) < 0)
		return err_os(err, ERR_FAILED_PRECONDITION, errno, "read '%s'", path);
	if (now[0] == '0')
		return 0;
	rc = host_sysfs_write(path, "0");
	if (rc == -EROFS)
		return err_os(
			err, ERR_FAILED_PRECONDITION, -rc,
			"turn off discard by writing 0 to '%s' (either /sys is mounted "
			"read-only here: run privileged, or bind the node's /sys; or the first "
			"sysfs of this network namespace was, and then all are: use the "
			"node's network)",
			path);
	if (rc < 0)
		return err_os(err, ERR_FAILED_PRECONDITION, -rc,
			      "turn off discard by writing 0 to '%s'", path);
	return 0;
}

/* A free device that no other thread of this process is binding; -errno. Ended by claim_end. */
static int claim_free_minor(int control_fd, struct claim *claim)
{
	pthread_mutex_lock(&claims_lock);
	claim->minor = ioctl(control_fd, LOOP_CTL_GET_FREE);
	for (const struct claim *c = claims; c && claim->minor >= 0; c = c->next) {
		if (c->minor == claim->minor) {
			claim->minor = ioctl(control_fd, LOOP_CTL_ADD, -1);
			break;
		}
	}
	if (claim->minor < 0)
		claim->minor = -errno;
	claim->next = claims;
	claims = claim;
	pthread_mutex_unlock(&claims_lock);
	return claim->minor;
}

static void claim_end(const struct claim *claim)
{
	pthread_mutex_lock(&claims_lock);
	for (struct claim **c = &claims; *c; c = &(*c)->next) {
		if (*c == claim) {
			*c = claim->next;
			break;
		}
	}
	pthread_mutex_unlock(&claims_lock);
}

/* Binds the file to the minor: 1 and its fd, or 0 when another process was quicker. */
static int bind_minor(unsigned minor, int backing_fd, const struct host_loop_options *opts,
		      char *path, size_t cap, int *ret_fd, struct err *err)
{
	struct loop_config config = {
		.fd = (uint32_t)backing_fd,
		.block_size = BLOCK_SIZE_BYTES,
		.info.lo_flags = LO_FLAGS_DIRECT_IO | LO_FLAGS_AUTOCLEAR |
				 (opts->read_only ? LO_FLAGS_READ_ONLY : 0),
	};
	autofd int fd = open_loop(minor, opts->read_only ? O_RDONLY : O_RDWR, path, cap);

	if (opts->reader)
		memcpy(config.info.lo_file_name, READER_MARK, sizeof(READER_MARK));
	if (fd == -ENXIO || fd == -ENODEV)
		return 0;
	if (fd < 0)
		return host_err(err, -fd, "open '%s'", path);
	if (ioctl(fd, LOOP_CONFIGURE, &config) < 0) {
		if (errno == EBUSY || errno == ENXIO)
			return 0;
		return host_err(err, errno, "bind '%s' (LOOP_CONFIGURE, Linux 5.8 or newer)", path);
	}
	*ret_fd = TAKE_FD(fd);
	return 1;
}

static int bind_free_device(int control_fd, int backing_fd, const struct host_loop_options *opts,
			    unsigned *ret_minor, char *path, size_t cap, int *ret_fd,
			    struct err *err)
{
	struct claim claim;
	int minor = claim_free_minor(control_fd, &claim);
	int rc;

	if (minor < 0)
		rc = host_err(err, -minor, "ask for a free loop device");
	else
		rc = bind_minor((unsigned)minor, backing_fd, opts, path, cap, ret_fd, err);
	claim_end(&claim);
	if (rc > 0)
		*ret_minor = (unsigned)minor;
	return rc;
}

int host_loop_attach(struct ctx *ctx, int backing_fd, const struct host_loop_options *opts,
		     struct host_loop *ret_loop, int *ret_hold_fd, struct err *err)
{
	autofd int control_fd = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	struct loop_info64 info = { 0 };
	autofd int fd = -1;
	autofd int hold_fd = -1;
	char path[64] = "";
	unsigned minor = 0;
	int rc = 0;

	if (control_fd < 0)
		return err_os(err, ERR_FAILED_PRECONDITION, errno,
			      "open '/dev/loop-control' (modprobe loop; a container needs the "
			      "host's /dev)");
	for (unsigned i = 0; rc == 0 && i < ATTACH_TRIES; i++) {
		if (ctx_check(ctx, err) < 0)
			return -1;
		rc = bind_free_device(control_fd, backing_fd, opts, &minor, path, sizeof(path), &fd,
				      err);
	}
	if (rc < 0)
		return -1;
	if (rc == 0)
		return err_set(err, ERR_UNAVAILABLE,
			       "other processes took every free loop device, %d tries",
			       ATTACH_TRIES);
	if (ioctl(fd, LOOP_GET_STATUS64, &info) < 0)
		return host_err(err, errno, "ask '%s' for its flags", path);
	if (!(info.lo_flags & LO_FLAGS_DIRECT_IO) && !opts->allow_buffered)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "the kernel gives '%s' no direct I/O over this file "
			       "(directIO=preferred would accept that)",
			       path);
	if (!opts->read_only && make_writable(fd, path, err) < 0)
		return -1;
	if (opts->keep_allocated && !opts->read_only && turn_off_discard(minor, err) < 0)
		return -1;
	hold_fd = open(path, O_RDONLY | O_CLOEXEC);
	if (hold_fd < 0)
		return host_err(err, errno, "hold '%s'", path);
	fill_loop(minor, path, &info, ret_loop);
	*ret_hold_fd = TAKE_FD(hold_fd);
	return 0;
}

int host_loop_keep(int hold_fd, struct err *err)
{
	struct loop_info64 info = { 0 };

	if (ioctl(hold_fd, LOOP_GET_STATUS64, &info) < 0)
		return host_err(err, errno, "ask a loop device for its flags");
	if (!(info.lo_flags & LO_FLAGS_AUTOCLEAR))
		return 0;
	info.lo_flags &= ~(uint32_t)LO_FLAGS_AUTOCLEAR;
	if (ioctl(hold_fd, LOOP_SET_STATUS64, &info) < 0)
		return host_err(err, errno, "keep a loop device bound");
	return 0;
}

int host_loop_detach(const struct host_loop *loop, dev_t device, uint64_t inode, struct err *err)
{
	struct loop_info64 info = { 0 };
	autofd int fd = open(loop->path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return errno == ENXIO || errno == ENODEV || errno == ENOENT
			       ? 0
			       : host_err(err, errno, "open '%s'", loop->path);
	if (ioctl(fd, LOOP_GET_STATUS64, &info) < 0)
		return errno == ENXIO
			       ? 0
			       : host_err(err, errno, "ask '%s' what is behind it", loop->path);
	if (info.lo_device != (uint64_t)device || info.lo_inode != inode)
		return 0;
	if (ioctl(fd, LOOP_CLR_FD) < 0 && errno != ENXIO)
		return host_err(err, errno, "unbind '%s'", loop->path);
	return 0;
}
