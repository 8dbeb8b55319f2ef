/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_CGROUP_H
#define HOST_CGROUP_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Limits of block I/O that the kernel holds against the pods of kubelet: io.max of cgroup v2, or
 * blkio.throttle.* of v1. root is where cgroups are mounted ("/sys/fs/cgroup"); v1 is its
 * directory blkio. Pods are found below every "kubepods" (cgroupfs) or "…kubepods.slice" (systemd)
 * in it, guaranteed, burstable and besteffort.
 *
 * In v2 a pod's limit is one for all its containers together. In v1 a cgroup's limit says nothing
 * about those below it, so each of them gets it: each container has the whole of it for itself.
 */
struct host_io_limits { /* per second; 0: none */
	uint64_t read_iops;
	uint64_t write_iops;
	uint64_t read_bytes;
	uint64_t write_bytes;
};

#define HOST_POD_UID_MAX 64

/* Whether text can be a pod's uid, and thus part of a cgroup's name. */
bool host_pod_uid_is_valid(const char *uid);

/* 0 if the kernel can limit I/O by the cgroups at root; FAILED_PRECONDITION says what is missing.
 */
int host_cgroup_check(const char *root, struct err *err);

/*
 * From now on these are the pod's limits of this device: written where the kernel has others, and
 * read back nowhere else; lines of other devices stay as they are. Returns how many cgroups had to
 * be changed. NOT_FOUND: the pod has no cgroup (yet, or any more), or there is no such device,
 * which is 0 where limits are to be lifted. FAILED_PRECONDITION: its cgroup has no such controller.
 */
int host_cgroup_limit(const char *root, const char *pod_uid, dev_t device,
		      const struct host_io_limits *limits, struct err *err);

/* Every device that a pod has a limit of. fn ≠0 stops the walk, which is then 0. */
typedef int (*host_cgroup_fn)(void *arg, const char *pod_uid, dev_t device);
int host_cgroup_each(const char *root, host_cgroup_fn fn, void *arg, struct err *err);

/* The limits of one device in the text of an io.max, or (by which of the four) of a
 * blkio.throttle file; none if it has no line of it. For the fuzz target and the rest of this. */
void host_cgroup_parse_max(const char *text, dev_t device, struct host_io_limits *ret);
uint64_t host_cgroup_parse_throttle(const char *text, dev_t device);

#endif
