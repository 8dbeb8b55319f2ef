/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CSI_SERVER_H
#define CSI_SERVER_H

#include "csi/service.h"

struct grpc_server;

/*
 * struct csi_server - the CSI services of a struct csi_service on a gRPC server
 *
 * The codec between protobuf and csi/service.h, one log line and one histogram sample
 * (csi_plugin_operations_seconds) a call. Methods that the service has not are UNIMPLEMENTED. What
 * the service points to must outlive the gRPC server.
 */
struct csi_server;

/*
 * Whom the server is for. A controller gets Identity, Controller and NodeGetInfo: the other Node
 * calls mount where the caller says, so whoever had its key would be root on every node; they are
 * answered PERMISSION_DENIED.
 */
enum csi_server_scope { CSI_SERVER_ALL, CSI_SERVER_FOR_CONTROLLER };

struct csi_server_options {
	enum csi_server_scope scope;
	const char *driver_name;     /* labels the metric; copied */
	unsigned lanes[CSI_N_LANES]; /* of the grpc_server's work */
	/* The lane of this very call; NULL: that of its row in rpc.def. On the I/O thread, with the
	 * arena of the call and the request's bytes. */
	enum csi_rpc_lane (*lane_of)(void *arg, const struct csi_rpc *rpc, struct arena *a,
				     const struct msg_bytes *request);
	void *lane_arg;
};

/* As grpc_server_add: before the loop runs, or on its thread. */
struct csi_server *csi_server_new(struct grpc_server *server, const struct csi_service *service,
				  const struct csi_server_options *opts);
/* After the gRPC server, which calls into it. NULL is fine. */
void csi_server_free(struct csi_server *s);

#endif
