/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_EXT4_INTERNAL_H
#define HOST_EXT4_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* ext4.c: whether the group begins with a copy of the superblock (sparse_super). */
bool ext4_has_backup(uint64_t group);

/* condition.c: of one that is half grown (condition.h), opened for writing: a superblock that was
 * written in part says "errors" and gets the checksum of what it has, so that e2fsck takes it and
 * counts anew. Small ones have no other. */
int host_ext4_end_torn_write(int fd, struct err *err);

#endif
