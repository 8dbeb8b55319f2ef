/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The read-only flag of a block device. A mount of a device node cannot forbid writing, since
 * writing to a device is no writing to the filesystem that its node lies on; this flag can.
 */
#include "host/blockdev.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>

#include <linux/fs.h>

#include "base/fd.h"
#include "host/host-internal.h"

int host_block_set_read_only(const char *device, bool read_only, struct err *err)
{
	autofd int fd = open(device, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	int now = 0;
	int wanted = read_only;

	if (fd < 0 || ioctl(fd, BLKROGET, &now) < 0)
		return host_err(err, errno, "look at '%s'", device);
	if (now != wanted && ioctl(fd, BLKROSET, &wanted) < 0)
		return host_err(err, errno, "make '%s' %s", device,
				read_only ? "read-only" : "writable");
	return 0;
}
