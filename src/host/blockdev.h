/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_BLOCKDEV_H
#define HOST_BLOCKDEV_H

#include "base/err.h"

#include <stdbool.h>

/*
 * Whether the block device refuses to be written to, whoever has it open (BLKROSET). Kept by the
 * kernel with the device's number, also when what is behind it changes. NOT_FOUND, INTERNAL.
 */
int host_block_set_read_only(const char *device, bool read_only, struct err *err);

#endif
