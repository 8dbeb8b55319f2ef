/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VOLUME_SIZE_H
#define VOLUME_SIZE_H

#include "base/err.h"
#include "volume/capability.h"

#include <stdbool.h>
#include <stdint.h>

/* Bytes. Volumes are whole multiples of VOL_SIZE_UNIT, so that a 4096-byte sector always fits. */
#define VOL_SIZE_UNIT UINT64_C(4096)
#define VOL_SIZE_DEFAULT (UINT64_C(1) << 30) /* no range given */
#define VOL_SIZE_MAX (UINT64_C(1) << 50)     /* 1 PiB */
#define VOL_SIZE_MIN_RAW (UINT64_C(1) << 20)
#define VOL_SIZE_MIN_EXT4 (UINT64_C(16) << 20)
#define VOL_SIZE_MIN_XFS (UINT64_C(300) << 20) /* mkfs.xfs refuses less since xfsprogs 5.19 */

/* The smallest volume that holds what is asked: raw size, or room for the filesystem fs ("" = raw).
 */
uint64_t vol_size_min(const char *fs);

/*
 * The size to make: required rounded up to the unit and to the minimum of fs. OUT_OF_RANGE when
 * that exceeds limit or VOL_SIZE_MAX; INVALID_ARGUMENT when limit < required. Never rounds above
 * limit.
 */
int vol_size_choose(const struct vol_range *range, const char *fs, uint64_t *ret_bytes,
		    struct err *err);

/*
 * The same for a volume that begins with the bytes of a source, which has source_bytes: these if
 * nothing is required. OUT_OF_RANGE, too, when what is required or the limit is less than the
 * source has; names both sizes.
 */
int vol_size_choose_from(const struct vol_range *range, uint64_t source_bytes, uint64_t *ret_bytes,
			 struct err *err);

/*
 * The size that a volume of this size grows to: what is required, rounded up to the unit, or the
 * one that it has if that is enough. OUT_OF_RANGE: it has more than the limit (volumes do not
 * shrink), or as vol_size_choose.
 */
int vol_size_choose_grown(const struct vol_range *range, uint64_t now, uint64_t *ret_bytes,
			  struct err *err);

/* Whether an existing volume of this size satisfies the range (idempotence of CreateVolume). */
bool vol_size_is_within(uint64_t bytes, const struct vol_range *range);

#endif
