/* SPDX-License-Identifier: Apache-2.0 */
/*
 * File descriptors: closing them in cleanup attributes and moving whole
 * buffers. Reading does not trust st_size, which is 0 in /proc and stale for
 * a file that grows; it reads until the end or until max is passed.
 */
#include "base/fd.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

void fd_closep(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		(void)close(*fd); /* nothing was written that close could still report on */
	errno = saved;
}

void fd_closedirp(DIR **dir)
{
	int saved = errno;

	if (*dir)
		(void)closedir(*dir); /* reading only */
	errno = saved;
}

int fd_write_all(int fd, const void *buf, size_t n)
{
	const char *p = buf;

	while (n > 0) {
		ssize_t done = write(fd, p, n);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return -errno;
		p += done;
		n -= (size_t)done;
	}
	return 0;
}

int fd_read_file(int dirfd, const char *path, size_t max, char **ret_buf, size_t *ret_len)
{
	autofd int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return fd_read_all(fd, max, ret_buf, ret_len);
}

int fd_read_all(int fd, size_t max, char **ret_buf, size_t *ret_len)
{
	size_t cap = 1024;
	size_t len = 0;
	autofree char *buf = xmalloc(cap);

	for (;;) {
		ssize_t got = read(fd, buf + len, cap - len - 1);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			break;
		len += (size_t)got;
		if (len > max)
			return -EFBIG;
		if (len == cap - 1) {
			cap *= 2;
			buf = xrealloc(buf, cap);
		}
	}
	buf[len] = '\0';
	*ret_buf = TAKE_PTR(buf);
	if (ret_len)
		*ret_len = len;
	return 0;
}
