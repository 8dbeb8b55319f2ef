/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_FD_H
#define BASE_FD_H

#include <dirent.h>
#include <stddef.h>
#include <stdint.h>

/* fds that close themselves; cleanup keeps errno and accepts -1. Hand one on with TAKE_FD. */
void fd_closep(int *fd);
void fd_closedirp(DIR **dir);
#define autofd __attribute__((cleanup(fd_closep)))
#define autodir __attribute__((cleanup(fd_closedirp)))

#define TAKE_FD(fd)                     \
	({                              \
		int *take_fd_ = &(fd);  \
		int taken_ = *take_fd_; \
		*take_fd_ = -1;         \
		taken_;                 \
	})

/* Writes all of it, retrying EINTR. 0 or -errno. */
int fd_write_all(int fd, const void *buf, size_t n);

/* Whole file into malloc'ed NUL-terminated memory; more than max bytes gives -EFBIG. 0 or -errno.
 */
int fd_read_file(int dirfd, const char *path, size_t max, char **ret_buf, size_t *ret_len);
int fd_read_all(int fd, size_t max, char **ret_buf, size_t *ret_len);

#endif
