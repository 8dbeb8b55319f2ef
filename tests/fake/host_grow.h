/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FAKE_HOST_GROW_H
#define TESTS_FAKE_HOST_GROW_H

#include <stdbool.h>
#include <stdint.h>

/* Whether this process may grow an ext4 that is mounted (CAP_SYS_RESOURCE). It may after a reset.
 */
void fake_host_set_can_grow_ext4(bool can);
/* Whether it could be grown without its blocks being moved. */
void fake_host_set_ext4_in_place(bool is_in_place);
/* How big the filesystem in the file is, and the device over it; 0: there is none. */
uint64_t fake_host_fs_bytes(const char *name);
uint64_t fake_host_device_bytes(const char *name);
/* host_xfs_growth_is_in_log of the volume that is this file. */
bool fake_host_growth_is_in_log(const char *name);
/* host_xfs_copies_lag of it. */
bool fake_host_copies_lag(const char *name);

#endif
