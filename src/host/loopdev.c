/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loop devices by LOOP_CONFIGURE (Linux ≥5.8), which sets file, block size, direct I/O and
 * AUTOCLEAR in one step: there is no moment at which a killed process leaves a bound device behind.
 * Block size 4096 for files on disks: with 512 the kernel silently gives up direct I/O once the
 * backing file shares blocks (XFS after a reflink), and the flag must be read back because the
 * ioctl succeeds either way.
 *
 * The number is one of our own (loopnum.c), so threads of this process do not race for it. If
 * another process was quicker (EBUSY, or the device is gone), the next is tried. In a container
 * whose /dev is its own the node of a new device is missing and is made here.
 *
 * A reader is one more device over the same file, bound read-only: the kernel then refuses writes
 * whatever is done to the device or its node. It bears a mark in the one field of a loop device
 * that is the binder's own (lo_file_name), so that it is never taken for the device that is written
 * to, also not when that one is read-only or gone.
 *
 * Two settings belong to the minor, survive detach and would be inherited by the next volume, so
 * each attach looks at them. BLKROSET is undone. discard_max_bytes = 0 keeps blkdiscard, fstrim and
 * mkfs from punching a thick file. What shall be punched has a number that was never without
 * (loopnum.c), since Linux 6.18 refuses to raise it again (it forgets the granularity, and then no
 * size is a multiple of it); where a device is found that somebody else has bound, it is tried.
 *
 * A device that is there already, whoever bound it, is held to the same: block size, direct I/O,
 * the whole file, discard; host_loop_check is for both. loopfind.c finds it.
 */
#include "host/loopdev.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "host/err-internal.h"
#include "host/loopdev-internal.h"

#define MINOR_MAX ((1u << 20) - 1)
#define BLOCK_SIZE_BYTES 4096
#define ATTACH_TRIES 64
#define READER_MARK "cleat-reader"

int loop_open(unsigned minor, int flags, char *path, size_t cap)
{
	char in_sysfs[64];
	bool is_made;
	int fd;

	(void)snprintf(path, cap, "/dev/loop%u", minor);
	fd = open(path, flags | O_CLOEXEC);
	if (fd >= 0 || errno != ENOENT)
		return fd < 0 ? -errno : fd;
	/* opening the node of a device that is gone would make it anew */
	(void)snprintf(in_sysfs, sizeof(in_sysfs), "/sys/block/loop%u", minor);
	if (access(in_sysfs, F_OK) < 0)
		return -ENOENT;
	is_made = mknod(path, S_IFBLK | 0600, makedev(LOOP_MAJOR_NUMBER, minor)) == 0;
	if (!is_made && errno != EEXIST)
		return -errno;
	fd = open(path, flags | O_CLOEXEC);
	if (fd >= 0)
		return fd;
	/* there is no such device: leave no node that outlives all that could use it */
	fd = -errno;
	if (is_made)
		(void)unlink(path);
	return fd;
}

bool loop_parse_name(const char *entry, unsigned *ret_minor)
{
	return str_has_prefix(entry, "loop") &&
	       str_parse_u32(entry + strlen("loop"), MINOR_MAX, ret_minor) == 0;
}

void loop_fill(unsigned minor, const char *path, const struct loop_info64 *info,
	       struct host_loop *loop)
{
	*loop = (struct host_loop){
		.devno = makedev(LOOP_MAJOR_NUMBER, minor),
		.is_direct = info->lo_flags & LO_FLAGS_DIRECT_IO,
		.is_read_only = info->lo_flags & LO_FLAGS_READ_ONLY,
		.is_autoclear = info->lo_flags & LO_FLAGS_AUTOCLEAR,
		.is_reader = strcmp((const char *)info->lo_file_name, READER_MARK) == 0,
		.is_whole = info->lo_offset == 0 && info->lo_sizelimit == 0,
	};
	(void)snprintf(loop->path, sizeof(loop->path), "%s", path);
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

/* A small text to an existing file. 0 or -errno. */
static int write_sysfs(const char *path, const char *text)
{
	autofd int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return fd_write_all(fd, text, strlen(text));
}

int loop_turn_off_discard(unsigned minor, struct err *err)
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
	rc = write_sysfs(path, "0");
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

/* A number in sysfs; 0 if it cannot be read. */
static uint64_t read_limit(unsigned minor, const char *name)
{
	char path[80], text[24] = "";
	autofd int fd = -1;
	uint64_t value = 0;

	(void)snprintf(path, sizeof(path), "/sys/block/loop%u/queue/%s", minor, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
		return 0;
	text[strcspn(text, "\n")] = '\0';
	(void)str_parse_u64(text, &value);
	return value;
}

void loop_turn_on_discard(unsigned minor)
{
	uint64_t most = read_limit(minor, "discard_max_hw_bytes");
	char path[80], text[24];

	most -= most % BLOCK_SIZE_BYTES;
	if (read_limit(minor, "discard_max_bytes") > 0 || most == 0)
		return;
	(void)snprintf(path, sizeof(path), "/sys/block/loop%u/queue/discard_max_bytes", minor);
	(void)snprintf(text, sizeof(text), "%llu", (unsigned long long)most);
	(void)write_sysfs(path, text);
}

static unsigned block_bytes(const struct host_loop_options *opts)
{
	return opts->block_bytes ? opts->block_bytes : BLOCK_SIZE_BYTES;
}

int loop_bind(unsigned minor, int backing_fd, const struct host_loop_options *opts, char *path,
	      size_t cap, int *ret_fd, struct err *err)
{
	struct loop_config config = {
		.fd = (uint32_t)backing_fd,
		.block_size = block_bytes(opts),
		.info.lo_flags = LO_FLAGS_DIRECT_IO | LO_FLAGS_AUTOCLEAR |
				 (opts->read_only ? LO_FLAGS_READ_ONLY : 0),
	};
	autofd int fd = loop_open(minor, opts->read_only ? O_RDONLY : O_RDWR, path, cap);

	if (opts->reader)
		memcpy(config.info.lo_file_name, READER_MARK, sizeof(READER_MARK));
	if (fd == -ENXIO || fd == -ENODEV || fd == -ENOENT)
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

int host_loop_check(const struct host_loop *loop, int hold_fd, const struct host_loop_options *opts,
		    struct err *err)
{
	int block_size = 0;

	if (ioctl(hold_fd, BLKSSZGET, &block_size) < 0)
		return host_err(err, errno, "ask '%s' for its block size", loop->path);
	if ((unsigned)block_size != block_bytes(opts) || !loop->is_whole)
		return err_set(
			err, ERR_FAILED_PRECONDITION,
			"somebody attached it as '%s' with blocks of %d bytes and %s; it must "
			"be all of it with blocks of %u: detach that (losetup --detach %s)",
			loop->path, block_size,
			loop->is_whole ? "all of the file" : "a part of the file",
			block_bytes(opts), loop->path);
	if (loop->is_read_only != opts->read_only)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "it is attached %s as '%s'; detach it first",
			       loop->is_read_only ? "read-only" : "for writing", loop->path);
	if (!loop->is_direct && !opts->allow_buffered)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "'%s' over this file has no direct I/O (directIO=preferred would "
			       "accept that; if somebody attached it so: losetup --detach %s)",
			       loop->path, loop->path);
	if (opts->read_only)
		return 0;
	if (make_writable(hold_fd, loop->path, err) < 0)
		return -1;
	if (opts->keep_allocated)
		return loop_turn_off_discard(minor(loop->devno), err);
	loop_turn_on_discard(minor(loop->devno));
	return 0;
}

/* Binds a free device: its number, or -1. */
static int bind_free(struct ctx *ctx, int backing_fd, const struct host_loop_options *opts,
		     char *path, size_t cap, int *ret_fd, struct err *err)
{
	autofd int control_fd = open("/dev/loop-control", O_RDWR | O_CLOEXEC);

	if (control_fd < 0)
		return err_os(err, ERR_FAILED_PRECONDITION, errno,
			      "open '/dev/loop-control' (modprobe loop; a container needs the "
			      "host's /dev)");
	for (unsigned i = 0; i < ATTACH_TRIES; i++) {
		int number;
		int rc;

		if (ctx_check(ctx, err) < 0)
			return -1;
		number = loop_number_take(control_fd, opts->keep_allocated);
		if (number < 0)
			return host_err(err, -number, "add a loop device");
		rc = loop_bind((unsigned)number, backing_fd, opts, path, cap, ret_fd, err);
		if (rc > 0)
			return number;
		if (rc < 0) {
			loop_number_end((unsigned)number);
			return -1;
		}
	}
	return err_set(err, ERR_UNAVAILABLE,
		       "other processes took every free loop device, %d tries", ATTACH_TRIES);
}

static int take_bound(unsigned number, char *path, size_t cap, int fd,
		      const struct host_loop_options *opts, struct host_loop *ret_loop,
		      int *ret_hold_fd, struct err *err)
{
	struct loop_info64 info = { 0 };
	autofd int hold_fd = loop_open(number, O_RDONLY, path, cap);

	if (hold_fd < 0)
		return host_err(err, -hold_fd, "hold '%s'", path);
	if (ioctl(fd, LOOP_GET_STATUS64, &info) < 0)
		return host_err(err, errno, "ask '%s' for its flags", path);
	loop_fill(number, path, &info, ret_loop);
	if (host_loop_check(ret_loop, hold_fd, opts, err) < 0)
		return -1;
	loop_index_put(&info, ret_loop->is_reader, number);
	*ret_hold_fd = TAKE_FD(hold_fd);
	return 0;
}

int host_loop_attach(struct ctx *ctx, int backing_fd, const struct host_loop_options *opts,
		     struct host_loop *ret_loop, int *ret_hold_fd, struct err *err)
{
	char path[64] = "";
	int fd = -1;
	int number = bind_free(ctx, backing_fd, opts, path, sizeof(path), &fd, err);
	int rc;

	if (number < 0)
		return -1;
	rc = take_bound((unsigned)number, path, sizeof(path), fd, opts, ret_loop, ret_hold_fd, err);
	(void)close(fd); /* and so it is unbound, if it is not held */
	if (rc < 0)
		loop_number_end((unsigned)number);
	return rc;
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
