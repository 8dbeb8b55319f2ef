/* SPDX-License-Identifier: Apache-2.0 */
/* What a block device can be told whatever is on it. */
#include "host/blockdev.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include <linux/fs.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "host/err-internal.h"

#define NBD_DIGITS_MAX 8

int host_block_size(const char *device, uint64_t *ret_bytes, struct err *err)
{
	autofd int fd = open(device, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	uint64_t bytes = 0;

	if (fd < 0 || ioctl(fd, BLKGETSIZE64, &bytes) < 0)
		return host_err(err, errno, "ask '%s' for its size", device);
	*ret_bytes = bytes;
	return 0;
}

int host_nbd_is_used(const char *device, struct err *err)
{
	static const char prefix[] = "/dev/nbd";
	const char *number = device + strlen(prefix);
	autofree char *text = NULL;
	char path[64];
	size_t n;
	int rc;

	if (!str_has_prefix(device, prefix) || !*number || strlen(number) > NBD_DIGITS_MAX ||
	    strspn(number, "0123456789") != strlen(number))
		return err_set(
			err, ERR_FAILED_PRECONDITION,
			"'%.64s' is no network block device, and whether it is in use is not "
			"known",
			device);
	(void)snprintf(path, sizeof(path), "/sys/block/nbd%s/size", number);
	rc = fd_read_file(AT_FDCWD, path, 64, &text, &n);
	if (rc < 0)
		return rc == -ENOENT ? 0 : host_err(err, -rc, "read '%s'", path);
	return !str_is_equal(text, "0\n");
}

int host_block_make_writable(const char *device, struct err *err)
{
	autofd int fd = open(device, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	int now = 0;

	if (fd < 0 || ioctl(fd, BLKROGET, &now) < 0)
		return host_err(err, errno, "look at '%s'", device);
	if (now && ioctl(fd, BLKROSET, &(int){ 0 }) < 0)
		return host_err(err, errno, "make '%s' writable", device);
	return 0;
}

int host_block_flush(const char *device, struct err *err)
{
	autofd int fd = open(device, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return host_err(err, errno, "open '%s'", device);
	if (ioctl(fd, BLKFLSBUF, 0) < 0)
		return host_err(err, errno, "flush '%s'", device);
	return 0;
}

int host_block_sync(const char *device, struct err *err)
{
	autofd int fd = open(device, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return host_err(err, errno, "open '%s'", device);
	if (fsync(fd) < 0)
		return host_err(err, errno, "sync '%s'", device);
	return 0;
}
