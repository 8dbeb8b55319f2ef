/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The service over a gRPC channel, one function a row of rpc.def. What the other side answers is
 * checked like any input: malformed bytes, negative sizes or a missing volume id are its fault, so
 * INTERNAL.
 *
 * Fields that an older driver (CSI 1.12 and before) sends and 1.13 does not know are skipped by the
 * decoder; enum values that this version does not know have no capability bit.
 */
#include "csi/client.h"

#include <pthread.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/str.h"
#include "csi/fields.h"
#include "event/sync.h"
#include "grpc/client.h"

#define DRIVER_NAME_MAX 64

struct csi_client {
	struct grpc_channel *channel;
	pthread_mutex_t lock;              /* guards driver_name; held for a copy alone */
	char driver_name[DRIVER_NAME_MAX]; /* as GetPluginInfo told last, for the metric */
};

/* A driver that never said its name has no series: one under a made-up name would stay for ever. */
static void observe(struct csi_client *c, const char *path, int64_t begin_ns, enum err_code code)
{
	char name[DRIVER_NAME_MAX];

	{
		LOCK_SCOPE(&c->lock);
		memcpy(name, c->driver_name, sizeof(name));
	}
	if (*name)
		metric_observe(METRIC_SIDECAR_OPERATIONS,
			       (double)(clock_now_ns() - begin_ns) / (double)NS_PER_S,
			       METRIC_ARGS(name, path, err_code_camel(code)));
}

/* A reply that cannot be read is its sender's fault, whatever is wrong with it. */
static int decode_reply(const struct csi_rpc *rpc, struct ctx *ctx, const struct msg_bytes *in,
			void *reply, struct err *err)
{
	if (message_decode(rpc->response, ctx->arena, in, MSG_FIELDS_REPLY, reply, err) == 0 &&
	    fields_check_required(rpc->response, reply, err) == 0)
		return 0;
	err->code = ERR_INTERNAL;
	return err_wrap(err, "reply of %s", rpc->path);
}

static void learn_name(struct csi_client *c, const char *name)
{
	if (*name && strlen(name) < DRIVER_NAME_MAX) {
		LOCK_SCOPE(&c->lock);
		memcpy(c->driver_name, name, strlen(name) + 1);
	}
}

static int call(struct csi_client *c, struct ctx *ctx, const struct csi_rpc *rpc, const void *req,
		void *reply, struct err *err)
{
	struct msg_bytes out = message_encode(rpc->request, ctx->arena, req);
	int64_t begin_ns = clock_now_ns();
	struct msg_bytes in = { 0 };
	int r;

	r = grpc_channel_call(c->channel, ctx, rpc->path, out.data, out.n, &in.data, &in.n, err);
	if (r == 0)
		r = decode_reply(rpc, ctx, &in, reply, err);
	if (r == 0 && rpc == &csi_rpcs[CSI_RPC_GetPluginInfo])
		learn_name(c, ((const struct csi_get_plugin_info_response *)reply)->name);
	observe(c, rpc->path, begin_ns, r < 0 ? err->code : ERR_OK);
	return r;
}

#define CSI_RPC(service, Method, name, ...)                                         \
	static int call_##name(void *impl, struct ctx *ctx,                         \
			       const struct csi_##name##_request *req,              \
			       struct csi_##name##_response *ret, struct err *err)  \
	{                                                                           \
		return call(impl, ctx, &csi_rpcs[CSI_RPC_##Method], req, ret, err); \
	}
#include "csi/rpc.def"
#undef CSI_RPC

static uint64_t link_changes(void *impl)
{
	const struct csi_client *c = impl;

	return grpc_channel_changes(c->channel);
}

static const struct csi_service_ops client_ops = {
	.link_changes = link_changes,
#define CSI_RPC(service, Method, rpc, ...) .rpc = call_##rpc,
#include "csi/rpc.def"
#undef CSI_RPC
};

struct csi_client *csi_client_new(struct grpc_channel *channel)
{
	struct csi_client *c = xcalloc(1, sizeof(*c));

	c->channel = channel;
	pthread_mutex_init(&c->lock, NULL);
	return c;
}

void csi_client_free(struct csi_client *c)
{
	if (!c)
		return;
	pthread_mutex_destroy(&c->lock);
	free(c);
}

struct csi_service csi_client_service(struct csi_client *c)
{
	return (struct csi_service){ &client_ops, c };
}
