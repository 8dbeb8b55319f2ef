/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_EXT4_INTERNAL_H
#define HOST_EXT4_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

/* ext4.c: whether the group begins with a copy of the superblock (sparse_super). */
bool ext4_has_backup(uint64_t group);

#endif
