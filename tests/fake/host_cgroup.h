/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FAKE_HOST_CGROUP_H
#define TESTS_FAKE_HOST_CGROUP_H

#include "host/cgroup.h"

#include <stdbool.h>
#include <stddef.h>

/* host/cgroup.h on the fake host. Survives a kill, not fake_cgroup_reset() or a reboot. */
void fake_cgroup_reset(void);
void fake_cgroup_set_controller(bool is_there); /* there unless told */
void fake_cgroup_add_pod(const char *uid);
void fake_cgroup_remove_pod(const char *uid);
/* A line that somebody else wrote. */
void fake_cgroup_set(const char *uid, dev_t device, const struct host_io_limits *limits);
/* What the kernel holds; none without a line. */
struct host_io_limits fake_cgroup_get(const char *uid, dev_t device);
size_t fake_cgroup_n_lines(void);
unsigned fake_cgroup_n_writes(void);
/* Called in the middle of the next limiting that writes; once. */
void fake_cgroup_at_write(void (*fn)(void *arg), void *arg);

#endif
