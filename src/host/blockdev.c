/* SPDX-License-Identifier: Apache-2.0 */
/* What a block device can be told whatever is on it. */
#include "host/blockdev.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>

#include <linux/fs.h>

#include "base/fd.h"
#include "host/err-internal.h"

int host_block_size(const char *device, uint64_t *ret_bytes, struct err *err)
{
	autofd int fd = open(device, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	uint64_t bytes = 0;

	if (fd < 0 || ioctl(fd, BLKGETSIZE64, &bytes) < 0)
		return host_err(err, errno, "ask '%s' for its size", device);
	*ret_bytes = bytes;
	return 0;
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
