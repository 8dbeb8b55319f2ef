/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CSI on a gRPC server: the rows of rpc.def, and what happens around each call: decode, call,
 * encode, one log line, one histogram sample; of a stream each message goes out as it is made.
 *
 * Calls that answer constants run on the I/O thread, since kubelet asks for capabilities before
 * nearly every operation and two thread hand-overs would cost more than the answer. Lines of such
 * calls and of those that only look are debug; a change is info, a failure warn, and a failure that
 * is ours or the disk's error.
 */
#define LOG_ROOM "csi"
#include "csi/server.h"

#include <assert.h>
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
	struct csi_server_options opts;
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

/* One call while it is served. */
struct serving {
	const struct bound_method *bound;
	struct grpc_call *grpc;
	const char *id;      /* what the log names the call by */
	uint64_t n_messages; /* of a stream, that went out */
	struct arena *arena; /* of one message: a stream may be longer than memory */
};

static void log_call(const struct serving *s, int64_t took_ns, const struct err *err)
{
	const struct csi_rpc *rpc = s->bound->rpc;
	/* Two more may come, and LOG_F_END, which is 0. */
	struct log_field fields[7] = {
		log_str("method", rpc->path),
		log_str(rpc->id_key, s->id),
		log_str("code", err_code_name(err ? err->code : ERR_OK)),
		log_duration("seconds", took_ns),
	};
	struct log_field *next = &fields[4];
	enum log_level level = level_of(rpc, err);

	if (rpc->stream)
		*next++ = log_u64("messages", s->n_messages);
	if (err)
		*next = log_err(err);
	if (log_is_enabled(level, LOG_ROOM))
		log_write(level, __FILE__, __LINE__, err ? "call failed" : "call served", fields);
}

static int call_service(struct serving *s, const void *request, struct msg_bytes *ret_out,
			struct err *err)
{
	const struct csi_rpc *rpc = s->bound->rpc;
	struct ctx *ctx = grpc_call_ctx(s->grpc);
	void *reply = arena_alloc(ctx->arena, rpc->response->size);

	if (rpc->call(&s->bound->server->service, ctx, request, reply, err) < 0)
		return -1;
	log_message("GRPC response", rpc->path, rpc->response, reply);
	*ret_out = message_encode(rpc->response, ctx->arena, reply);
	return 0;
}

static int send_message(void *arg, const void *message, struct err *err)
{
	struct serving *s = arg;
	const struct csi_rpc *rpc = s->bound->rpc;
	struct msg_bytes out;

	arena_reset(s->arena);
	out = message_encode(rpc->response, s->arena, message);
	if (grpc_call_send(s->grpc, out.data, out.n, err) < 0)
		return -1;
	log_message("GRPC response", rpc->path, rpc->response, message);
	s->n_messages++;
	return 0;
}

static int stream_service(struct serving *s, const void *request, struct err *err)
{
	autoarena struct arena *one = arena_new();
	struct csi_stream out = { .take = send_message, .arg = s };

	s->arena = one;
	return s->bound->rpc->stream(&s->bound->server->service, grpc_call_ctx(s->grpc), request,
				     &out, err);
}

/* *ret_out is what a unary call answers. */
static int serve(struct serving *s, struct msg_bytes *ret_out, struct err *err)
{
	const struct csi_rpc *rpc = s->bound->rpc;
	const struct msg_field *id = s->bound->id;
	struct arena *a = grpc_call_ctx(s->grpc)->arena;
	void *request = arena_alloc(a, rpc->request->size);
	struct msg_bytes in = { 0 };

	in.data = grpc_call_request(s->grpc, &in.n);
	if (message_decode(rpc->request, a, &in, MSG_FIELDS_REQUEST, request, err) < 0)
		return -1;
	log_message("GRPC call", rpc->path, rpc->request, request);
	if (id)
		memcpy(&s->id, (const char *)request + id->offset, sizeof(s->id));
	return rpc->stream ? stream_service(s, request, err)
			   : call_service(s, request, ret_out, err);
}

static void handle(struct grpc_call *grpc, void *arg)
{
	struct serving s = { .bound = arg, .grpc = grpc, .id = "" };
	const struct csi_rpc *rpc = s.bound->rpc;
	int64_t begin_ns = clock_now_ns();
	struct msg_bytes out = { 0 };
	struct err err;
	int64_t took_ns;
	int r;

	r = serve(&s, &out, &err);
	took_ns = clock_now_ns() - begin_ns;
	log_call(&s, took_ns, r < 0 ? &err : NULL);
	metric_observe(METRIC_PLUGIN_OPERATIONS, (double)took_ns / (double)NS_PER_S,
		       METRIC_ARGS(s.bound->server->driver_name, rpc->path,
				   err_code_camel(r < 0 ? err.code : ERR_OK)));
	if (r < 0)
		grpc_call_fail(grpc, &err);
	else if (rpc->stream)
		grpc_call_finish(grpc);
	else
		grpc_call_reply(grpc, out.data, out.n);
}

static void refuse(struct grpc_call *grpc, void *arg)
{
	const struct serving s = { .bound = arg, .grpc = grpc, .id = "" };
	struct err err;

	(void)err_set(&err, ERR_PERMISSION_DENIED,
		      "%s is for kubelet, at the agent's own socket; this endpoint is the "
		      "controller's",
		      s.bound->rpc->path);
	log_call(&s, 0, &err);
	grpc_call_fail(grpc, &err);
}

/* Before there is a worker: a worker of the wrong lane would be one too few when it hangs. */
static unsigned choose_lane(struct grpc_call *grpc, void *arg)
{
	const struct bound_method *bound = arg;
	const struct csi_server_options *opts = &bound->server->opts;
	struct msg_bytes in = { 0 };

	in.data = grpc_call_request(grpc, &in.n);
	return opts
		->lanes[opts->lane_of(opts->lane_arg, bound->rpc, grpc_call_ctx(grpc)->arena, &in)];
}

/* What the service does not have is refused without a worker. */
static void bind_method(struct csi_server *s, const struct csi_server_options *opts,
			const struct csi_rpc *rpc, struct bound_method *bound)
{
	bool is_served = rpc->is_served(&s->service);
	bool is_refused = is_served && opts->scope == CSI_SERVER_FOR_CONTROLLER &&
			  rpc->caller == CSI_RPC_KUBELET;

	/* Sending blocks, and what answers constants runs on the I/O thread. */
	assert(!rpc->stream || rpc->what != CSI_RPC_ASKS);
	*bound = (struct bound_method){
		.server = s,
		.rpc = rpc,
		.id = message_find(rpc->request, rpc->id_field),
		.grpc = { .path = rpc->path,
			  .fn = is_refused ? refuse : handle,
			  .lane = opts->lanes[rpc->lane],
			  .choose_lane = opts->lane_of ? choose_lane : NULL,
			  .is_inline = is_refused || !is_served || rpc->what == CSI_RPC_ASKS,
			  .kind = rpc->stream ? GRPC_SERVER_STREAM : GRPC_UNARY },
	};
	if (is_served)
		metric_expect(METRIC_PLUGIN_OPERATIONS,
			      METRIC_ARGS(s->driver_name, rpc->path, err_code_camel(ERR_OK)));
}

struct csi_server *csi_server_new(struct grpc_server *server, const struct csi_service *service,
				  const struct csi_server_options *opts)
{
	struct csi_server *s = xcalloc(1, sizeof(*s));

	s->service = *service;
	s->opts = *opts;
	s->opts.driver_name = s->driver_name = xstrdup(opts->driver_name);
	for (size_t i = 0; i < CSI_N_RPCS; i++) {
		bind_method(s, opts, &csi_rpcs[i], &s->methods[i]);
		grpc_server_add(server, &s->methods[i].grpc, 1, &s->methods[i]);
	}
	return s;
}

void csi_server_free(struct csi_server *s)
{
	if (!s)
		return;
	free(s->driver_name);
	free(s);
}
