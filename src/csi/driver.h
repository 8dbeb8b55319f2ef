/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CSI_DRIVER_H
#define CSI_DRIVER_H

#include "backend/registry.h"
#include "csi/service.h"

/*
 * The local CSI service: Identity, Controller, SnapshotMetadata and Node over the pools of this
 * process. Validation (csi/validate) and one-call-per-volume (csi/inflight) are inside, so
 * in-process callers get the same answers as those on the wire.
 */
struct csi_driver;

struct csi_driver_options {
	const char *name; /* "pool.cleat.csi" */
	const char *version;
	const char *node_id; /* ≤256 bytes */
	bool serve_controller;
	bool serve_node;
	uint64_t max_volumes; /* 0: the CO decides */
	const char
		*path_root; /* staging and target paths have to lie below; NULL or "": anywhere */
	const char
		*cluster_id; /* whose volumes they are, for their records; NULL or "": not told */
	const char *cgroup_root; /* where the pods' limits of I/O are kept; NULL or "": nowhere */
	struct registry *pools;  /* borrowed; must outlive the driver */
	/* Who knows the CO's nodes, for storage that shuts lost ones out; copied, what it points to
	 * must outlive the driver. NULL: nobody does, and ControllerPublishVolume is not offered.
	 */
	const struct backend_nodes *nodes;
};

/* INVALID_ARGUMENT for a driver name or node id that CSI does not allow. Strings are copied. */
int csi_driver_new(const struct csi_driver_options *opts, struct csi_driver **ret_driver,
		   struct err *err);
void csi_driver_free(struct csi_driver *d);
struct csi_service csi_driver_service(struct csi_driver *d);

/* For csi_server_options.lane_of, with the driver as arg: the row's lane, or CSI_RPC_REMOTE if the
 * pool of the call, or one of those that it may go to, is of a kind that waits for other machines;
 * a stream's is CSI_RPC_STREAMS whatever its pool.
 */
enum csi_rpc_lane csi_driver_lane_of(void *driver, const struct csi_rpc *rpc, struct arena *a,
				     const struct msg_bytes *request);

/* Whether there is something to do for csi_driver_keep_limits. Any thread, waits for nothing. */
bool csi_driver_limits_are_due(struct csi_driver *d);
/* Compares the limits of I/O that volumes have with those that the kernel holds against their pods,
 * and mends them. On a worker, about each second, one at a time. */
void csi_driver_keep_limits(struct csi_driver *d, struct ctx *ctx);

/* Looks at all pools and volumes that are here, sets the metrics of their conditions and logs what
 * has come or gone since the last time. On a worker, one at a time; a disk that hangs keeps it. */
void csi_driver_watch_health(struct csi_driver *d, struct ctx *ctx);
/* How many looks at disks and mounts do not come back. Any thread; waits for nothing. */
size_t csi_driver_n_silent(struct csi_driver *d);

#endif
