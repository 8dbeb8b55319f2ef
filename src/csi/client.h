/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CSI_CLIENT_H
#define CSI_CLIENT_H

#include "csi/service.h"

struct grpc_channel;

/*
 * The same service over a gRPC channel: any vendor's driver on a socket, or a node's agent over
 * TLS. Calls observe csi_sidecar_operations_seconds. The channel is borrowed and must outlive the
 * client.
 */
struct csi_client;
struct csi_client *csi_client_new(struct grpc_channel *channel);
void csi_client_free(struct csi_client *c);
struct csi_service csi_client_service(struct csi_client *c);

#endif
