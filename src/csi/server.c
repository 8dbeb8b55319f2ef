/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CSI on a gRPC server: the rows of rpc.def, and what happens around each call: decode, call,
 * encode, one log line, one histogram sample.
 *
 * Calls that answer constants run on the I/O thread, since kubelet asks for capabilities before
 * nearly every operation and two thread hand-overs would cost more than the answer. Lines of such
 * calls and of those that only look are debug; a change is info, a failure warn, and a failure that
 * is ours or the disk's error.
 */
#define LOG_ROOM "csi"
#include "csi/server.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/str.h"
#include "csi/dump.h"
#include "grpc/server.h"

/* One method on the gRPC server; its address is the handler's argument. */
struct bound_method {
	struct csi_server *server;
	const struct csi_rpc *rpc;
	const struct msg_field *id; /* of the request, for the log; NULL: the call names nothing */
	struct grpc_method grpc;
};

/* Read-only once made. */
struct csi_server {
	struct csi_service service;
	char *driver_name;
	struct bound_method methods[CSI_N_RPCS];
};

static void log_message(const char *what, const char *method, const struct msg_type *type,
			const void *msg)
{
	autostr struct str text = STR_INIT;

	if (!log_is_enabled(LOG_DEBUG, LOG_ROOM))
		return;
	dump_message(type, msg, &text);
	log_debug(what, log_str("method", method), log_str("message", str_get(&text)));
}

static enum log_level level_of(const struct csi_rpc *rpc, const struct err *err)
{
	if (!err)
		return rpc->what == CSI_RPC_CHANGES ? LOG_INFO : LOG_DEBUG;
	if (err->code == ERR_INTERNAL || err->code == ERR_UNKNOWN || err->code == ERR_DATA_LOSS)
		return LOG_ERROR;
	return LOG_WARN;
}

static void log_call(const struct csi_rpc *rpc, const char *id, int64_t took_ns,
		     const struct err *err)
{
	enum log_level level = level_of(rpc, err);

	if (err)
		log_at(level, "call failed", log_str("method", rpc->path), log_str(rpc->id_key, id),
		       log_str("code", err_code_name(err->code)), log_duration("seconds", took_ns),
		       log_err(err));
	else
		log_at(level, "call served", log_str("method", rpc->path), log_str(rpc->id_key, id),
		       log_str("code", "OK"), log_duration("seconds", took_ns));
}

/* *id becomes what the log names the call by. */
static int serve(const struct bound_method *bound, struct grpc_call *grpc, const char **id,
		 struct msg_bytes *ret_out, struct err *err)
{
	const struct csi_rpc *rpc = bound->rpc;
	struct ctx *ctx = grpc_call_ctx(grpc);
	void *request = arena_alloc(ctx->arena, rpc->request->size);
	void *reply = arena_alloc(ctx->arena, rpc->response->size);
	struct msg_bytes in = { 0 };

	in.data = grpc_call_request(grpc, &in.n);
	if (message_decode(rpc->request, ctx->arena, &in, MSG_FIELDS_REQUEST, request, err) < 0)
		return -1;
	log_message("GRPC call", rpc->path, rpc->request, request);
	if (bound->id)
		memcpy(id, (const char *)request + bound->id->offset, sizeof(*id));
	if (rpc->call(&bound->server->service, ctx, request, reply, err) < 0)
		return -1;
	log_message("GRPC response", rpc->path, rpc->response, reply);
	*ret_out = message_encode(rpc->response, ctx->arena, reply);
	return 0;
}

static void handle(struct grpc_call *grpc, void *arg)
{
	const struct bound_method *bound = arg;
	int64_t begin_ns = clock_now_ns();
	struct msg_bytes out = { 0 };
	const char *id = "";
	struct err err;
	int64_t took_ns;
	int r;

	r = serve(bound, grpc, &id, &out, &err);
	took_ns = clock_now_ns() - begin_ns;
	log_call(bound->rpc, id, took_ns, r < 0 ? &err : NULL);
	metric_observe(METRIC_PLUGIN_OPERATIONS, (double)took_ns / (double)NS_PER_S,
		       METRIC_ARGS(bound->server->driver_name, bound->rpc->path,
				   err_code_camel(r < 0 ? err.code : ERR_OK)));
	if (r < 0)
		grpc_call_fail(grpc, &err);
	else
		grpc_call_reply(grpc, out.data, out.n);
}

static void refuse(struct grpc_call *grpc, void *arg)
{
	const struct bound_method *bound = arg;
	struct err err;

	(void)err_set(&err, ERR_PERMISSION_DENIED,
		      "%s is for kubelet, at the agent's own socket; this endpoint is the "
		      "controller's",
		      bound->rpc->path);
	log_call(bound->rpc, "", 0, &err);
	grpc_call_fail(grpc, &err);
}

/* What the service does not have is refused without a worker. */
static void bind_method(struct csi_server *s, const struct csi_server_options *opts,
			const struct csi_rpc *rpc, struct bound_method *bound)
{
	bool is_served = rpc->is_served(&s->service);
	bool is_refused = is_served && opts->scope == CSI_SERVER_FOR_CONTROLLER &&
			  rpc->caller == CSI_RPC_KUBELET;

	*bound = (struct bound_method){
		.server = s,
		.rpc = rpc,
		.id = message_find(rpc->request, rpc->id_field),
		.grpc = { .path = rpc->path,
			  .fn = is_refused ? refuse : handle,
			  .lane = rpc->lane == CSI_RPC_HOST ? opts->host_lane : opts->store_lane,
			  .is_inline = is_refused || !is_served || rpc->what == CSI_RPC_ASKS },
	};
	if (is_served)
		metric_expect(METRIC_PLUGIN_OPERATIONS,
			      METRIC_ARGS(s->driver_name, rpc->path, err_code_camel(ERR_OK)));
}

int csi_server_new(struct grpc_server *server, const struct csi_service *service,
		   const struct csi_server_options *opts, struct csi_server **ret_server,
		   struct err *err)
{
	struct csi_server *s = xcalloc(1, sizeof(*s));

	(void)err; /* nothing here can fail; the door leaves room for it */
	s->service = *service;
	s->driver_name = xstrdup(opts->driver_name);
	for (size_t i = 0; i < CSI_N_RPCS; i++) {
		bind_method(s, opts, &csi_rpcs[i], &s->methods[i]);
		grpc_server_add(server, &s->methods[i].grpc, 1, &s->methods[i]);
	}
	*ret_server = s;
	return 0;
}

void csi_server_free(struct csi_server *s)
{
	if (!s)
		return;
	free(s->driver_name);
	free(s);
}
