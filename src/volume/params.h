/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VOLUME_PARAMS_H
#define VOLUME_PARAMS_H

#include "base/err.h"
#include "base/strmap.h"
#include "volume/io_limits.h"

#include <stdbool.h>

/*
 * StorageClass parameters that CreateVolume takes. Keys that begin with "csi.storage.k8s.io/" are
 * Kubernetes' own and are let through, of which the claim that a volume is made for (pvc/namespace,
 * pvc/name, pvc/uid, which provisioners add; without the uid, the one that pv/name ends with) and
 * fstype are read; every other key must be in the table of params.c.
 *
 *   pool       name of the pool; absent: the one with the most room
 *   directIO   "required" (default): a volume whose loop device cannot do direct I/O is refused;
 * "preferred": it is used
 *   allocation "reserved" (default): the volume has its blocks, each of which is written for the
 * first time by its user; "written": zeros are written to all of them when it is made
 *   provisioning "thick" (default); "thin": the volume has the blocks that were written, xfs alone
 *   fstype     (any case) what csi.storage.k8s.io/fstype was before; provisioners read it and send
 * it along, so it must agree with the capability
 *   readIOPS … writeBandwidth  as volume/io_limits.h has them; mutable parameters win over these
 *   snapshotReserve  "full" (default): room to overwrite what the volume shares with its snapshots
 * is kept free; "none": it is not, and when the pool is full, writes to the volume fail
 */
struct vol_params {
	const char *pool;         /* "" = any; borrowed from the map */
	bool allow_buffered;      /* directIO=preferred */
	bool is_written;          /* allocation=written */
	bool is_thin;             /* provisioning=thin; then without either of its neighbours */
	bool no_snapshot_reserve; /* snapshotReserve=none */
	const char *legacy_fs;    /* "" = not given; borrowed from the map */
	const char
		*fs; /* csi.storage.k8s.io/fstype, for calls without capabilities; "" = not given */
	const char *claim_namespace; /* "" = not told, as the next two */
	const char *claim_name;
	const char *claim_uid;
	struct vol_limits limits;
};

/* INVALID_ARGUMENT names the key, the nearest known one, and the allowed values, or the two that
 * contradict each other. */
int vol_params_parse(const struct strmap *map, struct vol_params *ret_params, struct err *err);

/* Whether a volume of these parameters can have this filesystem ("": none is known) and be a raw
 * block device: a thin one only xfs, which goes on when the pool is full. INVALID_ARGUMENT. */
int vol_params_check_fs(const struct vol_params *params, const char *fs, bool is_block,
			struct err *err);

#endif
