/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VOLUME_OWNER_H
#define VOLUME_OWNER_H

/*
 * What the pool driver tells of a volume's owner where volumes are listed or looked up, in their
 * volume_context: whom they were made for, by their records, so that whoever looks for volumes that
 * nobody has any more can tell its own cluster's from another's. CreateVolume does not answer it,
 * so no PV has it. A key is left out where nothing is known.
 */
#define VOL_OWNER_PREFIX "cleat.csi/"
#define VOL_OWNER_CLUSTER VOL_OWNER_PREFIX "cluster" /* uid of its namespace kube-system */
#define VOL_OWNER_CLAIM VOL_OWNER_PREFIX "claim"     /* "namespace/name" */
#define VOL_OWNER_CREATED VOL_OWNER_PREFIX "created" /* RFC 3339 */

#endif
