/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VOLUME_IO_LIMITS_H
#define VOLUME_IO_LIMITS_H

#include "base/err.h"
#include "base/strmap.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * How much a workload may read and write on a volume each second: the keys of a
 * VolumeAttributesClass, which a StorageClass may have as well.
 *
 *   readIOPS, writeIOPS            requests: "500", "2k"; 1 to 1G
 *   readBandwidth, writeBandwidth  bytes: "20Mi", "100M"; 4Ki to 1Ti
 *
 * A quantity is a whole number with a suffix of Kubernetes' (k M G T, Ki Mi Gi Ti), or "max": no
 * limit.
 */
struct vol_limits { /* each 0: no limit */
	uint64_t read_iops;
	uint64_t write_iops;
	uint64_t read_bandwidth; /* bytes */
	uint64_t write_bandwidth;
};

#define VOL_LIMITS_TEXT_MAX 144

/* The keys, in that order. */
#define VOL_LIMITS_N 4
extern const char *const vol_limits_keys[VOL_LIMITS_N];

bool vol_limits_is_key(const char *key);
/* One key of them, in the field ("parameters") of a request. INVALID_ARGUMENT names key, value and
 * what is allowed; limits is untouched then. */
int vol_limits_set(struct vol_limits *limits, const char *field, const char *key, const char *value,
		   struct err *err);
/* All of a map: what has no key in it stays as it is. Keys of Kubernetes' own are let through;
 * INVALID_ARGUMENT for any other that is none of the four, and then nothing is changed. */
int vol_limits_merge(struct vol_limits *limits, const char *field, const struct strmap *map,
		     struct err *err);

bool vol_limits_are_set(const struct vol_limits *limits);
bool vol_limits_are_equal(const struct vol_limits *a, const struct vol_limits *b);
/* Whether each is none or within its range. */
bool vol_limits_are_valid(const struct vol_limits *limits);
/* "readIOPS=500 writeBandwidth=20Mi", or "no limits". */
void vol_limits_describe(const struct vol_limits *limits, char ret_text[VOL_LIMITS_TEXT_MAX]);

#endif
