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
static int decode_reply(const struct csi_rpc *rpc, struct arena *a, const struct msg_bytes *in,
			void *reply, struct err *err)
{
	if (message_decode(rpc->response, a, in, MSG_FIELDS_REPLY, reply, err) == 0 &&
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
		r = decode_reply(rpc, ctx->arena, &in, reply, err);
	if (r == 0 && rpc == &csi_rpcs[CSI_RPC_GetPluginInfo])
		learn_name(c, ((const struct csi_get_plugin_info_response *)reply)->name);
	observe(c, rpc->path, begin_ns, r < 0 ? err->code : ERR_OK);
	return r;
}

/* A stream on its way to the caller's csi_stream. */
struct incoming {
	const struct csi_rpc *rpc;
	struct csi_stream *out;
	struct arena *arena; /* of one message: a stream may be longer than memory */
	struct err *err;
	bool is_refused; /* what ended the call is in err: the message, or the caller had enough */
};

static int take_message(void *arg, const uint8_t *bytes, size_t n)
{
	struct incoming *in = arg;
	void *message;

	arena_reset(in->arena);
	message = arena_alloc(in->arena, in->rpc->response->size);
	in->is_refused = decode_reply(in->rpc, in->arena, &(const struct msg_bytes){ bytes, n },
				      message, in->err) < 0 ||
			 in->out->take(in->out->arg, message, in->err) < 0;
	return in->is_refused ? -1 : 0;
}

static int stream(struct csi_client *c, struct ctx *ctx, const struct csi_rpc *rpc, const void *req,
		  struct csi_stream *out, struct err *err)
{
	autoarena struct arena *one = arena_new();
	struct msg_bytes request = message_encode(rpc->request, ctx->arena, req);
	struct err refusal, failure;
	struct incoming in = { .rpc = rpc, .out = out, .arena = one, .err = &refusal };
	int64_t begin_ns = clock_now_ns();
	int r;

	r = grpc_channel_stream(c->channel, ctx, rpc->path, request.data, request.n, take_message,
				&in, &failure);
	if (r < 0)
		*err = in.is_refused ? refusal : failure;
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
#define CSI_RPC_STREAM(service, Method, name, ...)                                             \
	static int call_##name(void *impl, struct ctx *ctx,                                    \
			       const struct csi_##name##_request *req, struct csi_stream *out, \
			       struct err *err)                                                \
	{                                                                                      \
		return stream(impl, ctx, &csi_rpcs[CSI_RPC_##Method], req, out, err);          \
	}
#include "csi/rpc.def"

static uint64_t link_changes(void *impl)
{
	const struct csi_client *c = impl;

	return grpc_channel_changes(c->channel);
}

static const struct csi_service_ops client_ops = {
	.link_changes = link_changes,
#define CSI_RPC(service, Method, name, ...) .name = call_##name,
#define CSI_RPC_STREAM CSI_RPC
#include "csi/rpc.def"
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
