/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The SnapshotMetadata service on a gRPC server. A call holds a worker of the lane of streams from
 * its first byte to its last. What comes of the driver is encoded and sent before the next message
 * is received, so a reader that is slow, or has stopped reading, makes the driver wait and takes no
 * memory here but for what is on its way to it. It does take that worker, for as long as a call may
 * last; so one host has at most half of them, and the others have theirs whatever it does.
 */
#define LOG_ROOM "cmd"
#include "cmd/metadata_server.h"

#include <pthread.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/str.h"
#include "cmd/endpoint.h"
#include "cmd/lanes.h"
#include "cmd/peer_share.h"
#include "control/snapshot_metadata.h"
#include "csi/fields.h"
#include "event/loop.h"
#include "event/sync.h"
#include "grpc/server.h"
#include "net/tls.h"

struct method {
	const char *path;
	const char *operation;                     /* in the metric */
	const struct msg_type *request, *response; /* the latter's struct is CSI's */
	const char *snapshot_field;                /* for the log */
	int (*call)(struct snapshot_metadata *sm, struct ctx *ctx, const void *req,
		    struct csi_stream *out, struct err *err);
};

static int call_allocated(struct snapshot_metadata *sm, struct ctx *ctx, const void *req,
			  struct csi_stream *out, struct err *err)
{
	return snapshot_metadata_allocated(sm, ctx, req, out, err);
}

static int call_delta(struct snapshot_metadata *sm, struct ctx *ctx, const void *req,
		      struct csi_stream *out, struct err *err)
{
	return snapshot_metadata_delta(sm, ctx, req, out, err);
}

static const struct method methods[] = {
	{ "/snapshotmetadata.SnapshotMetadata/GetMetadataAllocated", "MetadataAllocated",
	  &snapmeta_get_metadata_allocated_request_type,
	  &snapmeta_get_metadata_allocated_response_type, "snapshot_name", call_allocated },
	{ "/snapshotmetadata.SnapshotMetadata/GetMetadataDelta", "MetadataDelta",
	  &snapmeta_get_metadata_delta_request_type, &snapmeta_get_metadata_delta_response_type,
	  "target_snapshot_name", call_delta },
};

/* Its address is the handler's argument. */
struct bound {
	struct metadata_server *server;
	const struct method *method;
	struct grpc_method grpc;
};

struct metadata_server {
	struct ev_loop *loop;
	struct snapshot_metadata *service;
	char *driver_name;
	struct endpoint endpoint;
	struct bound bound[ARRAY_LEN(methods)];
	struct grpc_method health;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* lock: no connection is left; no call begins any more; how many go on, and whose */
	bool is_drained, is_closed;
	unsigned n_calls;
	struct peer_share *share;
};

/* One call while it is served. */
struct serving {
	const struct bound *bound;
	struct grpc_call *grpc;
	const char *ns, *snapshot; /* for the log */
	uint64_t n_messages;
	struct arena *arena; /* of one message: a stream may be longer than memory */
};

static int send_message(void *arg, const void *message, struct err *err)
{
	struct serving *s = arg;
	struct msg_bytes out;

	arena_reset(s->arena);
	out = message_encode(s->bound->method->response, s->arena, message);
	if (grpc_call_send(s->grpc, out.data, out.n, err) < 0)
		return -1;
	s->n_messages++;
	return 0;
}

static const char *string_at(const struct msg_type *type, const char *field, const void *msg)
{
	return message_string(message_value(message_find(type, field), msg, 0));
}

/* A call whose connection is gone may still have been waiting for its worker. */
static int begin_call(struct metadata_server *m, const char *peer, struct err *err)
{
	LOCK_SCOPE(&m->lock);

	if (m->is_closed)
		return err_set(err, ERR_UNAVAILABLE, "the server is being stopped");
	if (peer_share_take(m->share, peer, err) < 0)
		return -1;
	m->n_calls++;
	return 0;
}

static void end_call(struct metadata_server *m, const char *peer)
{
	LOCK_SCOPE(&m->lock);

	peer_share_give(m->share, peer);
	m->n_calls--;
	pthread_cond_broadcast(&m->changed);
}

static int serve(struct serving *s, struct err *err)
{
	const struct method *m = s->bound->method;
	struct ctx *ctx = grpc_call_ctx(s->grpc);
	autoarena struct arena *one = arena_new();
	struct csi_stream out = { .take = send_message, .arg = s };
	void *request = arena_alloc(ctx->arena, m->request->size);
	struct msg_bytes in = { 0 };

	in.data = grpc_call_request(s->grpc, &in.n);
	if (message_decode(m->request, ctx->arena, &in, MSG_FIELDS_REQUEST, request, err) < 0)
		return -1;
	s->ns = string_at(m->request, "namespace", request);
	s->snapshot = string_at(m->request, m->snapshot_field, request);
	s->arena = one;
	if (fields_check(m->request, request, err) < 0)
		return -1;
	return m->call(s->bound->server->service, ctx, request, &out, err);
}

static void log_call(const struct serving *s, int64_t took_ns, const struct err *err)
{
	/* One more may come, and LOG_F_END, which is 0. */
	struct log_field fields[9] = {
		log_str("method", s->bound->method->path),
		log_str("namespace", s->ns),
		log_str("snapshot", s->snapshot),
		log_str("peer", grpc_call_peer(s->grpc)),
		log_str("code", err_code_name(err ? err->code : ERR_OK)),
		log_duration("seconds", took_ns),
		log_u64("messages", s->n_messages),
	};

	if (err)
		fields[7] = log_err(err);
	if (log_is_enabled(err ? LOG_WARN : LOG_INFO, LOG_ROOM))
		log_write(err ? LOG_WARN : LOG_INFO, __FILE__, __LINE__,
			  err ? "call failed" : "call served", fields);
}

static void handle(struct grpc_call *grpc, void *arg)
{
	struct serving s = { .bound = arg, .grpc = grpc, .ns = "", .snapshot = "" };
	int64_t begin_ns = clock_now_ns();
	struct err err;
	int64_t took_ns;
	int r;

	r = begin_call(s.bound->server, grpc_call_peer(grpc), &err);
	if (r == 0) {
		r = serve(&s, &err);
		end_call(s.bound->server, grpc_call_peer(grpc));
	}
	took_ns = clock_now_ns() - begin_ns;
	log_call(&s, took_ns, r < 0 ? &err : NULL);
	metric_observe(METRIC_SNAPSHOT_METADATA, (double)took_ns / (double)NS_PER_S,
		       METRIC_ARGS(s.bound->server->driver_name, s.bound->method->operation,
				   err_code_camel(r < 0 ? err.code : ERR_OK)));
	if (r < 0)
		grpc_call_fail(grpc, &err);
	else
		grpc_call_finish(grpc);
}

/* It is served, so it serves; a driver that is away is in the calls' own answers. */
static void answer_health(struct grpc_call *grpc, void *arg)
{
	struct arena *a = grpc_call_ctx(grpc)->arena;
	const struct grpc_health_health_check_response reply = {
		.status = GRPC_HEALTH_HEALTH_CHECK_RESPONSE_SERVING_STATUS_SERVING,
	};
	struct grpc_health_health_check_request ask;
	struct msg_bytes in = { 0 }, out;
	struct err err;

	(void)arg;
	in.data = grpc_call_request(grpc, &in.n);
	if (message_decode(&grpc_health_health_check_request_type, a, &in, MSG_FIELDS_REQUEST, &ask,
			   &err) < 0) {
		grpc_call_fail(grpc, &err);
		return;
	}
	if (*ask.service) {
		(void)err_set(&err, ERR_NOT_FOUND, "unknown service");
		grpc_call_fail(grpc, &err);
		return;
	}
	out = message_encode(&grpc_health_health_check_response_type, a, &reply);
	grpc_call_reply(grpc, out.data, out.n);
}

static void add_methods(struct metadata_server *m)
{
	for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
		struct bound *b = &m->bound[i];

		*b = (struct bound){ .server = m,
				     .method = &methods[i],
				     .grpc = { .path = methods[i].path,
					       .fn = handle,
					       .lane = LANE_STREAM,
					       .kind = GRPC_SERVER_STREAM } };
		grpc_server_add(m->endpoint.server, &b->grpc, 1, b);
		metric_expect(
			METRIC_SNAPSHOT_METADATA,
			METRIC_ARGS(m->driver_name, methods[i].operation, err_code_camel(ERR_OK)));
	}
	m->health = (struct grpc_method){ .path = "/grpc.health.v1.Health/Check",
					  .fn = answer_health,
					  .is_inline = true };
	grpc_server_add(m->endpoint.server, &m->health, 1, m);
}

struct opening {
	struct metadata_server *m;
	const struct metadata_server_options *opts;
	struct tls *tls;
	struct err *err;
	int rc;
};

static void open_on_loop(void *arg)
{
	struct opening *o = arg;
	autofree char *address = xasprintf("tcp://:%u", o->opts->port);

	endpoint_init(&o->m->endpoint, o->opts->loop, o->opts->work, "snapshot metadata");
	add_methods(o->m);
	o->rc = endpoint_listen(&o->m->endpoint, address, o->tls, false, o->err);
}

static struct metadata_server *server_new(const struct metadata_server_options *opts)
{
	struct metadata_server *m = xcalloc(1, sizeof(*m));

	m->loop = opts->loop;
	m->driver_name = xstrdup(opts->driver_name);
	m->share = peer_share_new(LANE_STREAM_THREADS / 2);
	pthread_mutex_init(&m->lock, NULL);
	sync_cond_init(&m->changed);
	m->service = snapshot_metadata_new(&(struct snapshot_metadata_options){
		.client = opts->client,
		.service = opts->service,
		.driver_name = opts->driver_name,
		.audience = opts->audience,
		.timeout_ns = opts->timeout_ns,
		.stream_ns = opts->stream_ns,
	});
	return m;
}

int metadata_server_open(const struct metadata_server_options *opts, struct metadata_server **ret,
			 struct err *err)
{
	const struct tls_options tls = {
		.is_server = true,
		.cert_file = opts->cert_file,
		.key_file = opts->key_file,
		.needs_1_3 = str_is_equal(opts->min_tls, "VersionTLS13"),
	};
	struct opening o = { .opts = opts, .err = err };

	if (tls_new(&tls, &o.tls, err) < 0)
		return -1;
	o.m = server_new(opts);
	ev_call(opts->loop, open_on_loop, &o);
	tls_unref(o.tls);
	*ret = o.m; /* also of one that does not listen: its server is the loop's to close */
	return o.rc;
}

static void mark_drained(void *arg)
{
	struct metadata_server *m = arg;
	LOCK_SCOPE(&m->lock);

	m->is_drained = true;
	pthread_cond_broadcast(&m->changed);
}

struct closing {
	struct metadata_server *m;
	int64_t grace_ns;
};

static void begin_drain(void *arg)
{
	struct closing *c = arg;

	endpoint_unwatch(&c->m->endpoint);
	grpc_server_drain(c->m->endpoint.server, c->grace_ns, mark_drained, c->m);
}

void metadata_server_close(struct metadata_server *m, int64_t grace_ns)
{
	struct closing c = { m, grace_ns };

	if (!m)
		return;
	ev_call(m->loop, begin_drain, &c);
	LOCK_SCOPE(&m->lock);
	while (!m->is_drained)
		(void)sync_cond_wait_until(&m->changed, &m->lock, INT64_MAX);
	m->is_closed = true;
	while (m->n_calls > 0)
		(void)sync_cond_wait_until(&m->changed, &m->lock, INT64_MAX);
}

void metadata_server_free(struct metadata_server *m)
{
	if (!m)
		return;
	endpoint_free(&m->endpoint);
	snapshot_metadata_free(m->service);
	pthread_cond_destroy(&m->changed);
	pthread_mutex_destroy(&m->lock);
	peer_share_free(m->share);
	free(m->driver_name);
	free(m);
}
