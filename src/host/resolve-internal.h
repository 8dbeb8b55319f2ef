/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_RESOLVE_INTERNAL_H
#define HOST_RESOLVE_INTERNAL_H

/* resolve.c, for those who are given paths. */

/* openat2 of an absolute path that has no symlink in it (host_path_resolve); ELOOP if one has come.
 * The last component is opened itself, whatever it is. O_PATH and O_CLOEXEC are added. fd or
 * -errno. */
int host_open_real(const char *path, int flags);
/* The same of its parent; ret_name is the last component. */
int host_open_real_parent(const char *path, const char **ret_name);

#endif
