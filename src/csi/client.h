/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CSI_CLIENT_H
#define CSI_CLIENT_H

#include "csi/service.h"

struct grpc_channel;

/*
 * struct csi_client - the same service over a gRPC channel
 *
 * Any vendor's driver on a socket, or a node's agent over TLS. Calls observe
 * csi_sidecar_operations_seconds once GetPluginInfo told the driver's name. Any threads but the
 * I/O thread call, which waits for nobody. Errors: the driver's own with its code; of the channel
 * (grpc/client.h); INTERNAL for a reply that cannot be read or lacks what CSI requires.
 */
struct csi_client;
/* The channel is borrowed and must outlive the client. */
struct csi_client *csi_client_new(struct grpc_channel *channel);
/* No call may be under way. NULL is fine. */
void csi_client_free(struct csi_client *c);
/* Lives as long as the client. */
struct csi_service csi_client_service(struct csi_client *c);

#endif
