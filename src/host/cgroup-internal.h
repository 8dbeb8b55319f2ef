/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_CGROUP_INTERNAL_H
#define HOST_CGROUP_INTERNAL_H

/* cgroup.c, where pods' cgroups are found, for cgroup_io.c, which limits them. */
#include "host/cgroup.h"

#define CGROUP_FILE_MAX (1u << 20)
#define CGROUP_V1_FILE "blkio.throttle.read_iops_device"

enum cgroup_version { CGROUP_V1, CGROUP_V2 };

/* fd or -errno. */
int cgroup_open_dir(int dirfd, const char *path);
/* The hierarchy that limits I/O; FAILED_PRECONDITION without one. */
int cgroup_open(const char *root, enum cgroup_version *ret_version, int *ret_fd, struct err *err);
/* NOT_FOUND. */
int cgroup_open_pod(int fd, const char *uid, int *ret_fd, struct err *err);

/* Every pod's cgroup in the hierarchy; ≠0 stops. */
typedef int (*cgroup_pod_fn)(void *arg, int pod_fd, const char *uid);
void cgroup_each_pod(int fd, cgroup_pod_fn fn, void *arg);

/* fn for the name of each directory in dirfd; ≠0 stops and is returned. A dirfd that is gone has
 * none. */
typedef int (*cgroup_dir_fn)(void *arg, int dirfd, const char *name);
int cgroup_each_dir(int dirfd, cgroup_dir_fn fn, void *arg);

#endif
