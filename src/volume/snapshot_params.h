/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VOLUME_SNAPSHOT_PARAMS_H
#define VOLUME_SNAPSHOT_PARAMS_H

#include "base/err.h"
#include "base/strmap.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * VolumeSnapshotClass (and VolumeGroupSnapshotClass) parameters. Keys that begin with
 * "csi.storage.k8s.io/" are Kubernetes' own and let through; of those the VolumeSnapshot that it is
 * made for is read (volumesnapshot/namespace, volumesnapshot/name, and the uid that
 * volumesnapshotcontent/name ends with; of groups the same of volumegroupsnapshot), which
 * snapshotters add with --extra-create-metadata. Every other key must be in the table of
 * snapshot_params.c.
 *
 * - freeze: "false" (default): a mounted filesystem is written out, and the snapshot is what a
 *   power cut would leave, which its journal mends at the next mount; "true": it is frozen
 *   meanwhile, so there is nothing to mend
 * - maxExtents: how many pieces the volume's file may have for its blocks to be shared; 0: any
 * - whenFragmented: with more of them "copy" (default): the snapshot is a full copy, if the volume
 *   can be kept still for so long; "refuse": there is none
 */
struct vol_snapshot_params {
	bool freeze;
	uint64_t max_extents; /* 0: no limit */
	bool copy_above;
	const char *owner_namespace; /* of the VolumeSnapshot; "": not told, as the next two;
					borrowed from the map */
	const char *owner_name;
	const char *owner_uid;
};

#define VOL_SNAPSHOT_MAX_EXTENTS UINT64_C(100000) /* unless the class says otherwise */

/* INVALID_ARGUMENT names the key, the nearest known one, and the allowed values. */
int vol_snapshot_params_parse(const struct strmap *map, struct vol_snapshot_params *ret_params,
			      struct err *err);

#endif
