/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Usage of a mounted filesystem by fstatvfs on an O_PATH fd, so that a path that became a symlink
 * after it was looked at is not followed. One syscall, no walk: kubelet asks each volume every
 * minute.
 */
#include "host/usage.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/fd.h"
#include "host/err-internal.h"
#include "host/resolve-internal.h"

int host_usage_look(const char *path, struct host_usage *ret_usage, struct err *err)
{
	autofd int fd = host_open_real(path, 0);
	struct statvfs fs;
	struct stat st;

	if (fd < 0)
		return host_err(err, -fd, "look at the usage of '%s'", path);
	if (fstat(fd, &st) < 0 || fstatvfs(fd, &fs) < 0)
		return host_err(err, errno, "look at the usage of '%s'", path);
	if (S_ISLNK(st.st_mode))
		return err_set(err, ERR_FAILED_PRECONDITION, "'%s' is a symlink", path);
	*ret_usage = (struct host_usage){
		.total_bytes = fs.f_blocks * fs.f_frsize,
		.used_bytes = (fs.f_blocks - fs.f_bfree) * fs.f_frsize,
		.available_bytes = fs.f_bavail * fs.f_frsize,
		.total_inodes = fs.f_files,
		.used_inodes = fs.f_files - fs.f_ffree,
		.available_inodes = fs.f_ffree,
	};
	return 0;
}
