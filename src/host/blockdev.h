/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HOST_BLOCKDEV_H
#define HOST_BLOCKDEV_H

#include "base/err.h"

#include <stdint.h>

/* NOT_FOUND, INTERNAL. */
int host_block_size(const char *device, uint64_t *ret_bytes, struct err *err);

/* Whether a network block device ("/dev/nbd3") has something behind it, dead or not: 1, or 0. Opens
 * nothing. FAILED_PRECONDITION: that is no name of one. */
int host_nbd_is_used(const char *device, struct err *err);

/* Undoes BLKROSET, which makes a block device refuse to be written to and is kept by the kernel
 * with the device's number. NOT_FOUND, INTERNAL. */
int host_block_make_writable(const char *device, struct err *err);

/* What was written through the device's page cache goes to what is behind it, and what the cache
 * has of it is forgotten (BLKFLSBUF). NOT_FOUND, INTERNAL. */
int host_block_flush(const char *device, struct err *err);

/* All that was written to the device is durable: what its page cache has, and what its own volatile
 * cache has (fsync). Takes as long as the disk takes. NOT_FOUND, INTERNAL. */
int host_block_sync(const char *device, struct err *err);

#endif
