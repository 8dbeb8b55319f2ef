/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_SNAPSHOT_METADATA_H
#define CONTROL_SNAPSHOT_METADATA_H

#include "csi/service.h"

#include <stdint.h>

struct kube_client;

/*
 * What backup software asks a cluster of the snapshots of one driver: which ranges of a
 * VolumeSnapshot hold data, and which have changed (the requests of proto/snapshotmetadata.proto,
 * by the contract of external-snapshot-metadata 1.1).
 *
 * It works off no queue and writes nothing: each call is judged by the API server (who asks, and
 * whether they may read VolumeSnapshots of that namespace), then handed on to the driver, whose
 * messages come back one by one. So any number of replicas may answer, and none needs a lease.
 */
struct snapshot_metadata;

struct snapshot_metadata_options {
	struct kube_client *client; /* without a fence: it creates reviews, which are questions */
	struct csi_service service;
	const char *driver_name;
	const char *audience; /* of tokens; "" or NULL: that of the SnapshotMetadataService */
	int64_t timeout_ns;   /* of all that comes before the first message */
	int64_t stream_ns;    /* of a call as a whole; ≤ 0: no limit */
};

/* Strings are copied; the client and what the service points to outlive it. */
struct snapshot_metadata *snapshot_metadata_new(const struct snapshot_metadata_options *opts);
/* No call may be under way. NULL is fine. */
void snapshot_metadata_free(struct snapshot_metadata *sm);

/* Whether the driver can tell at all. FAILED_PRECONDITION: it cannot, or is another one; else it is
 * to be asked again. Blocks. */
int snapshot_metadata_check(struct snapshot_metadata *sm, struct ctx *ctx, struct err *err);

/*
 * The calls. Requests have passed fields_check. out gets the driver's messages as they come and may
 * block; it is csi_<name>'s of the same answer. Any number at once, each on a worker.
 *
 * UNAUTHENTICATED: no token of this audience. PERMISSION_DENIED: it may not get VolumeSnapshots in
 * the namespace. INTERNAL: the API server cannot be asked about either. UNAVAILABLE: driver,
 * snapshot, content, class or Secret are not there or not ready. INVALID_ARGUMENT: a snapshot of
 * another driver. FAILED_PRECONDITION: the content is of another snapshot. And the driver's own.
 */
int snapshot_metadata_allocated(struct snapshot_metadata *sm, struct ctx *ctx,
				const struct snapmeta_get_metadata_allocated_request *req,
				struct csi_stream *out, struct err *err);
int snapshot_metadata_delta(struct snapshot_metadata *sm, struct ctx *ctx,
			    const struct snapmeta_get_metadata_delta_request *req,
			    struct csi_stream *out, struct err *err);

#endif
