/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_HOST_INTERNAL_H
#define HOST_HOST_INTERNAL_H

#include "base/err.h"

#include <stdbool.h>

/* The code that an errno has everywhere in this room (fs.h); errnum is positive. */
enum err_code host_code(int errnum);

/* err_os with that code. */
#define host_err(err, errnum, ...) err_os((err), host_code(errnum), (errnum), __VA_ARGS__)

/* openat2 of an absolute path that has no symlink in it (host_path_resolve); ELOOP if one has come.
 * The last component is opened itself, whatever it is. O_PATH and O_CLOEXEC are added. fd or
 * -errno. */
int host_open_real(const char *path, int flags);
/* The same of its parent; ret_name is the last component. */
int host_open_real_parent(const char *path, const char **ret_name);

/* Writes a small text to an existing file below /sys or /proc. 0 or -errno. */
int host_sysfs_write(const char *path, const char *text);

/* lock.c: closes the fd if it is a lock's. */
bool host_lock_close(int fd);

#endif
