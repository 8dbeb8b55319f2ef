/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CSI_CLIENT_INTERNAL_H
#define CSI_CLIENT_INTERNAL_H

#include <pthread.h>

#include "csi/codec.h"

#define DRIVER_NAME_MAX 64

struct csi_client {
	struct grpc_channel *channel;
	pthread_mutex_t lock;              /* guards driver_name; held for a copy alone */
	char driver_name[DRIVER_NAME_MAX]; /* as GetPluginInfo told last, for the metric */
};

/* One unary call. ret_reply: address of a pointer to a message of reply_type, which lives in
 * ctx->arena. */
int client_call(struct csi_client *c, struct ctx *ctx, const char *path, const void *request,
		const ProtobufCMessageDescriptor *reply_type, void *ret_reply, struct err *err);

/* For a reply that cannot be decoded: *err becomes INTERNAL and names the method. Returns -1. */
int client_refuse_reply(const char *path, struct err *err);

int client_controller_get_capabilities(void *impl, struct ctx *ctx, uint64_t *ret_caps,
				       struct err *err);
int client_create_volume(void *impl, struct ctx *ctx, const struct csi_create_volume *req,
			 struct csi_volume *ret, struct err *err);
int client_delete_volume(void *impl, struct ctx *ctx, const char *volume_id,
			 const struct secrets *secrets, struct err *err);
int client_validate_volume_capabilities(void *impl, struct ctx *ctx, const struct csi_validate *req,
					struct csi_validated *ret, struct err *err);
int client_list_volumes(void *impl, struct ctx *ctx, uint32_t max_entries,
			const char *starting_token, struct csi_volume_list *ret, struct err *err);
int client_get_capacity(void *impl, struct ctx *ctx, const struct csi_get_capacity *req,
			struct csi_capacity *ret, struct err *err);
int client_controller_get_volume(void *impl, struct ctx *ctx, const char *volume_id,
				 struct csi_volume_status *ret, struct err *err);
int client_node_get_capabilities(void *impl, struct ctx *ctx, uint64_t *ret_caps, struct err *err);
int client_node_get_info(void *impl, struct ctx *ctx, struct csi_node_info *ret, struct err *err);
int client_node_stage_volume(void *impl, struct ctx *ctx, const struct csi_stage *req,
			     struct err *err);
int client_node_unstage_volume(void *impl, struct ctx *ctx, const char *volume_id,
			       const char *staging_target_path, struct err *err);
int client_node_publish_volume(void *impl, struct ctx *ctx, const struct csi_publish *req,
			       struct err *err);
int client_node_unpublish_volume(void *impl, struct ctx *ctx, const char *volume_id,
				 const char *target_path, struct err *err);
int client_node_get_volume_stats(void *impl, struct ctx *ctx, const char *volume_id,
				 const char *volume_path, const char *staging_target_path,
				 struct csi_stats *ret, struct err *err);

#endif
