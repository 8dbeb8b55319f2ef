/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CSI on a gRPC server: the table of methods, and what happens around each call: check and unpack,
 * serve, pack, one log line, one histogram sample.
 *
 * Calls that answer constants run on the I/O thread, since kubelet asks for capabilities before
 * nearly every operation and two thread hand-overs would cost more than the answer. Lines of such
 * calls and of those that only look are debug; a change is info, a failure warn, and a failure that
 * is ours or the disk's error.
 */
#define LOG_ROOM "csi"
#include "csi/server.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/str.h"
#include "csi/codec.h"
#include "csi/dump.h"
#include "event/work.h"
#include "grpc/server.h"

/* One method on the gRPC server; its address is the handler's argument. */
struct bound_method {
	struct csi_server *server;
	const struct codec_method *codec;
	struct grpc_method grpc;
};

/* Read-only once made. */
struct csi_server {
	struct csi_service service;
	char *driver_name;
	struct bound_method *methods;
	size_t n_methods;
};

static void log_message(const char *what, const char *method, const ProtobufCMessage *msg)
{
	autostr struct str text = STR_INIT;

	if (!log_is_enabled(LOG_DEBUG, LOG_ROOM))
		return;
	dump_message(msg, &text);
	log_debug(what, log_str("method", method), log_str("message", str_get(&text)));
}

static void log_call(const struct codec_method *method, const char *volume, int64_t took_ns,
		     const struct err *err)
{
	enum log_level level = LOG_INFO;

	if (!err)
		level = method->kind == CODEC_CHANGES ? LOG_INFO : LOG_DEBUG;
	else if (err->code == ERR_INTERNAL || err->code == ERR_UNKNOWN ||
		 err->code == ERR_DATA_LOSS)
		level = LOG_ERROR;
	else
		level = LOG_WARN;
	if (err)
		log_at(level, "call failed", log_str("method", method->path),
		       log_str("volume", volume), log_str("code", err_code_name(err->code)),
		       log_duration("seconds", took_ns), log_err(err));
	else
		log_at(level, "call served", log_str("method", method->path),
		       log_str("volume", volume), log_str("code", "OK"),
		       log_duration("seconds", took_ns));
}

static int serve(const struct codec_method *method, struct codec_call *call,
		 const struct wire_bytes *in, struct wire_bytes *ret_out, struct err *err)
{
	ProtobufCMessage *request;
	ProtobufCMessage *reply;

	if (wire_unpack(call->ctx->arena, method->request, in, WIRE_FIELDS_REQUEST, &request, err) <
	    0)
		return -1;
	log_message("GRPC call", method->path, request);
	call->request = request;
	if (method->serve(call, &reply, err) < 0)
		return -1;
	log_message("GRPC response", method->path, reply);
	*ret_out = wire_pack(call->ctx->arena, reply);
	return 0;
}

static void handle(struct grpc_call *grpc, void *arg)
{
	struct bound_method *bound = arg;
	struct csi_server *s = bound->server;
	struct codec_call call = { .service = &s->service,
				   .ctx = grpc_call_ctx(grpc),
				   .volume = "" };
	int64_t begin_ns = clock_now_ns();
	struct wire_bytes in = { 0 };
	struct wire_bytes out = { 0 };
	struct err err;
	int64_t took_ns;
	int r;

	in.data = grpc_call_request(grpc, &in.n);
	r = serve(bound->codec, &call, &in, &out, &err);
	took_ns = clock_now_ns() - begin_ns;
	log_call(bound->codec, call.volume, took_ns, r < 0 ? &err : NULL);
	metric_observe(METRIC_PLUGIN_OPERATIONS, (double)took_ns / (double)NS_PER_S,
		       METRIC_ARGS(s->driver_name, bound->codec->path,
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
		      bound->codec->path);
	log_call(bound->codec, "", 0, &err);
	grpc_call_fail(grpc, &err);
}

static bool is_for_kubelet(const struct codec_method *codec)
{
	return codec->is_node && !str_is_equal(codec->path, "/csi.v1.Node/NodeGetInfo");
}

static void bind_methods(struct csi_server *s, struct grpc_server *grpc,
			 enum csi_server_scope scope, const struct codec_method *codec, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct bound_method *bound = &s->methods[s->n_methods++];
		bool is_refused = scope == CSI_SERVER_FOR_CONTROLLER && is_for_kubelet(&codec[i]);

		*bound = (struct bound_method){
			.server = s,
			.codec = &codec[i],
			.grpc = { .path = codec[i].path,
				  .fn = is_refused ? refuse : handle,
				  .lane = codec[i].is_node ? WORK_HOST : WORK_STORE,
				  .is_inline = is_refused || codec[i].kind == CODEC_ASKS },
		};
		metric_expect(
			METRIC_PLUGIN_OPERATIONS,
			METRIC_ARGS(s->driver_name, bound->codec->path, err_code_camel(ERR_OK)));
		grpc_server_add(grpc, &bound->grpc, 1, bound);
	}
}

int csi_server_new(struct grpc_server *server, enum csi_server_scope scope,
		   const struct csi_service *service, const char *driver_name,
		   struct csi_server **ret_server, struct err *err)
{
	struct csi_server *s = xcalloc(1, sizeof(*s));

	(void)err; /* nothing here can fail; the door leaves room for it */
	s->service = *service;
	s->driver_name = xstrdup(driver_name);
	s->methods = xcalloc(codec_n_identity_methods + codec_n_controller_methods +
				     codec_n_node_methods,
			     sizeof(*s->methods));
	bind_methods(s, server, scope, codec_identity_methods, codec_n_identity_methods);
	bind_methods(s, server, scope, codec_controller_methods, codec_n_controller_methods);
	bind_methods(s, server, scope, codec_node_methods, codec_n_node_methods);
	*ret_server = s;
	return 0;
}

void csi_server_free(struct csi_server *s)
{
	if (!s)
		return;
	free(s->methods);
	free(s->driver_name);
	free(s);
}
