/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Regular files: nameless birth, allocation, attributes, locks.
 *
 * A file is made by O_TMPFILE, filled, written out and only then linked, so that a crash at any
 * instruction leaves either nothing or the whole. linkat() goes through /proc/self/fd because
 * AT_EMPTY_PATH needs CAP_DAC_READ_SEARCH.
 *
 * host_file_allocate() calls fallocate() over the whole range again after something wrote into the
 * file: it is a no-op where blocks are, and fills what a tool punched out.
 */
#include "host/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "base/clock.h"
#include "base/fd.h"
#include "host/err-internal.h"

#define WRITE_OUT (SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER)

int host_file_look(int fd, struct host_file *ret_file, struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return host_err(err, errno, "look at the file");
	*ret_file = (struct host_file){
		.bytes = (uint64_t)st.st_size,
		.allocated_bytes = (uint64_t)st.st_blocks * 512,
		.device = st.st_dev,
		.inode = st.st_ino,
		.is_regular = S_ISREG(st.st_mode),
		.n_links = st.st_nlink,
		.changed_ns = st.st_mtim.tv_sec * NS_PER_S + st.st_mtim.tv_nsec,
	};
	return 0;
}

int host_file_make(int dirfd, int *ret_fd, struct err *err)
{
	int fd = openat(dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd < 0)
		return host_err(err, errno, "make a nameless file");
	*ret_fd = fd;
	return 0;
}

int host_file_link(int fd, int dirfd, const char *name, struct err *err)
{
	char path[32];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (linkat(AT_FDCWD, path, dirfd, name, AT_SYMLINK_FOLLOW) < 0)
		return host_err(err, errno, "link file '%s'", name);
	return 0;
}

static int open_regular(int dirfd, const char *name, int flags, int *ret_fd, struct err *err)
{
	autofd int fd = openat(dirfd, name, flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
	struct stat st;

	/* somebody has a lease on it (for 2 µs, if it is loopfind.c): so it is a regular file, and
	 * waiting for it ends */
	if (fd < 0 && errno == EWOULDBLOCK)
		fd = openat(dirfd, name, flags | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return host_err(err, errno, "open '%s'", name);
	if (fstat(fd, &st) < 0)
		return host_err(err, errno, "look at '%s'", name);
	if (!S_ISREG(st.st_mode))
		return err_set(err, ERR_FAILED_PRECONDITION, "'%s' is not a regular file", name);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int host_file_open(int dirfd, const char *name, bool read_only, int *ret_fd, struct err *err)
{
	return open_regular(dirfd, name, read_only ? O_RDONLY : O_RDWR, ret_fd, err);
}

int host_file_open_or_make(int dirfd, const char *name, int *ret_fd, struct err *err)
{
	return open_regular(dirfd, name, O_RDWR | O_CREAT, ret_fd, err);
}

int host_file_rename(int dirfd, const char *name, const char *new_name, struct err *err)
{
	if (renameat(dirfd, name, dirfd, new_name) < 0)
		return host_err(err, errno, "rename '%s' to '%s'", name, new_name);
	return 0;
}

int host_file_unlink(int dirfd, const char *name, struct err *err)
{
	if (unlinkat(dirfd, name, 0) < 0 && errno != ENOENT)
		return host_err(err, errno, "unlink '%s'", name);
	return 0;
}

int host_file_resize(int fd, uint64_t bytes, struct err *err)
{
	if (bytes > INT64_MAX)
		return err_set(err, ERR_OUT_OF_RANGE,
			       "file of %llu bytes is beyond what files hold",
			       (unsigned long long)bytes);
	if (ftruncate(fd, (off_t)bytes) < 0)
		return host_err(err, errno, "set size %llu", (unsigned long long)bytes);
	return 0;
}

int host_file_allocate(int fd, uint64_t bytes, struct err *err)
{
	int rc;

	if (host_file_resize(fd, bytes, err) < 0)
		return -1;
	do
		rc = fallocate(fd, 0, 0, (off_t)bytes);
	while (rc < 0 && errno == EINTR);
	if (rc < 0)
		return host_err(err, errno, "allocate %llu bytes", (unsigned long long)bytes);
	return 0;
}

/* Blocks beyond the end of a file, which a failure leaves, would stay with it. */
static int extend(int fd, off_t from, off_t to)
{
	int rc;

	do
		rc = fallocate(fd, 0, from, to - from);
	while (rc < 0 && errno == EINTR);
	if (rc == 0)
		return 0;
	rc = -errno;
	if (ftruncate(fd, from) < 0)
		return rc; /* of the two errors the first says more */
	return rc;
}

int host_file_extend(int fd, uint64_t bytes, struct err *err)
{
	struct stat st;
	int rc;

	if (bytes > INT64_MAX)
		return err_set(err, ERR_OUT_OF_RANGE,
			       "file of %llu bytes is beyond what files hold",
			       (unsigned long long)bytes);
	if (fstat(fd, &st) < 0)
		return host_err(err, errno, "look at the file");
	if (bytes <= (uint64_t)st.st_size)
		return 0;
	rc = extend(fd, st.st_size, (off_t)bytes);
	return rc < 0 ? host_err(err, -rc, "extend to %llu bytes", (unsigned long long)bytes) : 0;
}

int host_file_sync(int fd, struct err *err)
{
	if (fsync(fd) < 0)
		return host_err(err, errno, "sync file");
	return 0;
}

int host_file_write_out(int fd, struct err *err)
{
	if (sync_file_range(fd, 0, 0, WRITE_OUT) < 0)
		return host_err(err, errno, "write out file");
	return 0;
}

int host_file_touch(int fd, struct err *err)
{
	const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_nsec = UTIME_NOW } };

	if (futimens(fd, times) < 0)
		return host_err(err, errno, "set the time of a file");
	return 0;
}

int host_file_get_attr(int fd, const char *name, char *ret_text, size_t cap, struct err *err)
{
	ssize_t n = fgetxattr(fd, name, ret_text, cap - 1);

	if (n < 0 && errno == ENODATA)
		return err_set(err, ERR_NOT_FOUND, "no attribute '%s'", name);
	if (n < 0 && errno == ERANGE)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "attribute '%s' is longer than %zu bytes", name, cap - 1);
	if (n < 0)
		return host_err(err, errno, "read attribute '%s'", name);
	ret_text[n] = '\0';
	if (strlen(ret_text) != (size_t)n)
		return err_set(err, ERR_FAILED_PRECONDITION, "attribute '%s' has a NUL byte inside",
			       name);
	return 0;
}

int host_file_set_attr(int fd, const char *name, const char *text, struct err *err)
{
	if (fsetxattr(fd, name, text, strlen(text), 0) < 0)
		return host_err(err, errno, "set attribute '%s'", name);
	return 0;
}

int host_file_claim(int fd, bool alone, struct err *err)
{
	if (flock(fd, (alone ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0)
		return 0;
	if (errno == EWOULDBLOCK)
		return err_os(err, ERR_ABORTED, errno, "somebody else has claimed it");
	return host_err(err, errno, "claim a file");
}

int host_file_get_text(int fd, char *ret_text, size_t cap, struct err *err)
{
	ssize_t n = pread(fd, ret_text, cap - 1, 0);

	if (n < 0)
		return host_err(err, errno, "read file");
	ret_text[n] = '\0';
	return 0;
}

int host_file_set_text(int fd, const char *text, struct err *err)
{
	size_t n = strlen(text);

	if (ftruncate(fd, 0) < 0 || pwrite(fd, text, n, 0) != (ssize_t)n)
		return host_err(err, errno, "write file");
	return 0;
}

int host_file_make_memory(const char *name, uint64_t bytes, int *ret_fd, struct err *err)
{
	autofd int fd = memfd_create(name, MFD_CLOEXEC);

	if (fd < 0)
		return host_err(err, errno, "make a file in memory");
	if (host_file_resize(fd, bytes, err) < 0)
		return -1;
	*ret_fd = TAKE_FD(fd);
	return 0;
}
