/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_METADATA_SERVER_H
#define CMD_METADATA_SERVER_H

#include "csi/service.h"

#include <stdint.h>

struct ev_loop;
struct kube_client;
struct work;

/*
 * The SnapshotMetadata service of proto/snapshotmetadata.proto, over TLS, for backup software: the
 * wire of control/snapshot_metadata.h, with one line of the log and one sample
 * (snapshot_metadata_controller_operations_seconds) a call; and gRPC's health check beside it.
 * Clients show a token in each call and no certificate.
 */
struct metadata_server;

#define METADATA_MINUTES_MAX 100000u

struct metadata_server_options {
	struct ev_loop *loop;
	struct work *work;
	struct kube_client *client; /* without a fence */
	struct csi_service service;
	const char *driver_name;
	unsigned port;                    /* 0: what the system chooses */
	const char *cert_file, *key_file; /* read again when they change */
	const char *min_tls;              /* "VersionTLS12", "VersionTLS13"; "" or NULL: 1.2 */
	const char *audience;             /* "" or NULL: that of the SnapshotMetadataService */
	int64_t timeout_ns;               /* of what comes before a stream */
	int64_t stream_ns;                /* of a call as a whole; ≤ 0: no limit */
};

/* From the main thread, while the loop runs; all strings are copied. FAILED_PRECONDITION:
 * certificates, or the port; *ret is to be closed and freed also then, if it is not NULL. */
int metadata_server_open(const struct metadata_server_options *opts, struct metadata_server **ret,
			 struct err *err);
/* Takes nothing more and lets streams end, for grace_ns at most; what is left is cut off. No call
 * uses client or service any more when it returns. While the loop runs, not on it. NULL is fine, as
 * for the next. */
void metadata_server_close(struct metadata_server *m, int64_t grace_ns);
/* After close, when neither loop nor workers run any more. */
void metadata_server_free(struct metadata_server *m);

#endif
