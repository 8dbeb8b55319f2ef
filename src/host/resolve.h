/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_RESOLVE_H
#define HOST_RESOLVE_H

#include "base/err.h"

#include <limits.h>

/* An fd of the directory that paths have to lie in (O_PATH; dir itself may be a symlink, it is
 * followed once, here). host_fd_close. */
int host_root_open(const char *dir, int *ret_fd, struct err *err);

/*
 * The path as the kernel names it in mountinfo: no symlink in it but, perhaps, its last component,
 * which is not looked at. path is clean and absolute. What of it does not exist is left as it is.
 *
 * With root_fd ≥0 and the root's name, the path has to begin with that name or with what the kernel
 * calls it, and below it there may be no symlink at all (openat2, RESOLVE_BENEATH and
 * RESOLVE_NO_SYMLINKS): INVALID_ARGUMENT with both. With root_fd -1 it may be anywhere.
 */
int host_path_resolve(int root_fd, const char *root, const char *path, char ret_path[PATH_MAX],
		      struct err *err);

#endif
