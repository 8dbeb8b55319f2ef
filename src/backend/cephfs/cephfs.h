/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_CEPHFS_CEPHFS_H
#define BACKEND_CEPHFS_CEPHFS_H

#include "backend/registry.h"

/* "cephfs:/etc/ceph-csi-config": subvolumes of the filesystems of all clusters that config.json in
 * this directory names. */
extern const struct backend_kind cephfs_kind;

#endif
