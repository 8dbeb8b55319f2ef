/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_RBD_RBD_H
#define BACKEND_RBD_RBD_H

#include "backend/registry.h"

/*
 * "rbd:DIR": images of Ceph's RBD, of the clusters that DIR/config.json names, under the handles
 * and with the journal of ceph-csi. One instance for all clusters: a handle names its own. config:
 * dir is DIR, state_dir where the node keeps what has to outlive the process.
 */
extern const struct backend_kind rbd_kind;

#endif
