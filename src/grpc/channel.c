/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The I/O thread's side of a gRPC channel: what becomes of a call on the stream that net/h2_client
 * gives it.
 *
 *   posted ──► waits ──turn──► on its stream ──status, or the stream's end──► finished
 *                ▲  └──no connection──► UNAVAILABLE    │
 *                └────────────refused unseen───────────┘
 *
 * A connection that was lost within a second counts as a failed attempt: a server that accepts and
 * drops is not called in a tight loop. At the server's limit of streams calls wait for room: they
 * are short, and the connection is one peer's to account for.
 *
 * No PINGs: servers on grpc-go take more than two within five minutes for abuse and end the
 * connection ("too_many_pings"), and with it every call that takes long. That a peer's machine is
 * gone is found by TCP itself (net/conn), that its process is gone by the kernel, and one that
 * hangs by the deadlines of the calls.
 */
#include "grpc/client.h"

#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "event/loop.h"
#include "grpc/client-internal.h"
#include "grpc/status.h"
#include "net/h2_client.h"

#define PAUSE_MIN_NS (100 * NS_PER_MS)
#define PAUSE_MAX_NS NS_PER_S
#define SETTLE_NS NS_PER_S
#define TRIES 2
/* Calls of a channel share a connection, which stops when 4 MiB of it are not consumed: that takes
 * 32 callers who read nothing, and each of them keeps a few times this. */
#define STREAM_WINDOW (128u << 10)

struct grpc_channel {
	struct ev_loop *loop;
	struct net_addr addr;
	bool has_tls;
	char target[NET_ADDR_TEXT_MAX];
	char authority[NET_ADDR_TEXT_MAX]; /* of the requests: "host:port", "[::1]:port" */
	atomic_bool connected;
	atomic_uint changes;  /* of connected */
	struct h2_client *h2; /* I/O thread */
};

struct ev_loop *channel_loop(const struct grpc_channel *ch)
{
	return ch->loop;
}

const char *channel_target(const struct grpc_channel *ch)
{
	return ch->target;
}

static struct rpc *rpc_of(struct h2_call *call)
{
	return container_of(call, struct rpc, call);
}

/* ---- a call ---- */

static void wake_caller(struct rpc *r)
{
	uint64_t one = 1;

	/* Cannot fail in a way that matters: the counter is far from its end. */
	(void)!write(r->wake_fd, &one, sizeof(one));
}

static void finish(struct rpc *r, const struct err *result)
{
	pthread_mutex_lock(&r->lock);
	r->is_done = true;
	r->result = *result;
	pthread_mutex_unlock(&r->lock);
	wake_caller(r);
}

static void finish_unavailable(struct rpc *r, const char *why)
{
	struct err err = { 0 };

	err_set(&err, ERR_UNAVAILABLE, "%s: %s", r->ch->target, why);
	finish(r, &err);
}

/* What the caller queued goes to the stream; from then on the call cannot be sent again. */
static void move_out(struct rpc *r)
{
	bool is_room = false;

	pthread_mutex_lock(&r->lock);
	r->is_out_posted = false;
	if (r->call.stream && (r->out.len > 0 || r->is_out_end)) {
		r->in_h2 = h2_send(r->call.stream, r->out.buf, r->out.len, r->is_out_end);
		str_wipe(&r->out);
		r->call.is_final = true;
	}
	is_room = r->in_h2 <= H2_SEND_HIGH;
	pthread_mutex_unlock(&r->lock);
	if (is_room)
		wake_caller(r);
}

static size_t add_metadata(const struct rpc *r, struct h2_header *h)
{
	const char *at = r->metadata.buf;

	for (size_t i = 0; i < r->n_metadata; i++) {
		const char *value = at + strlen(at) + 1;

		h[i] = (struct h2_header){ at, value, 0, true };
		at = value + strlen(value) + 1;
	}
	return r->n_metadata;
}

static void on_turn(struct h2_call *call)
{
	struct rpc *r = rpc_of(call);
	struct grpc_channel *ch = r->ch;
	char timeout[GRPC_TIMEOUT_MAX] = "";
	struct h2_header h[8 + GRPC_CLIENT_METADATA_MAX] = {
		{ ":method", "POST", 0, false },
		{ ":scheme", ch->has_tls ? "https" : "http", 0, false },
		{ ":path", r->path, 0, false },
		{ ":authority", ch->authority, 0, false },
		{ "content-type", "application/grpc", 0, false },
		{ "te", "trailers", 0, false },
		{ "user-agent", "cleat", 0, false },
	};
	size_t n = 7;

	if (r->deadline_ns != CTX_NO_DEADLINE) {
		int64_t left = r->deadline_ns - clock_now_ns();

		grpc_timeout_format(left > 1 ? left : 1, timeout);
		h[n++] = (struct h2_header){ "grpc-timeout", timeout, 0, true };
	}
	n += add_metadata(r, h + n);
	h2_call_request(call, h, n, false);
	if (!call->stream)
		return;
	if (r->is_stream)
		move_out(r);
	else
		h2_send(call->stream, r->request.buf, r->request.len, true);
}

static bool is_grpc_type(const char *type)
{
	return type && str_has_prefix(type, "application/grpc");
}

/* Headers of the reply or its trailers: the status, if it is there. */
static void read_status(struct rpc *r, const struct h2_header *h, size_t n)
{
	const char *status = NULL, *message = "", *http = NULL, *type = NULL;

	for (size_t i = 0; i < n; i++) {
		if (str_is_equal(h[i].name, "grpc-status"))
			status = h[i].value;
		else if (str_is_equal(h[i].name, "grpc-message"))
			message = h[i].value;
		else if (str_is_equal(h[i].name, ":status"))
			http = h[i].value;
		else if (str_is_equal(h[i].name, "content-type"))
			type = h[i].value;
	}
	if (status) {
		r->has_status = true;
		grpc_message_decode(grpc_status_parse(status), message, &r->status);
	} else if (http && !str_is_equal(http, "200")) {
		r->has_status = true;
		err_set(&r->status, grpc_status_from_http(http),
			"%s: answered with HTTP status %s and no gRPC status", r->ch->target, http);
	} else if (http && !is_grpc_type(type)) {
		r->has_status = true;
		err_set(&r->status, ERR_UNKNOWN, "%s: is no gRPC server (content-type '%s')",
			r->ch->target, type ? type : "");
	}
}

static void on_headers(struct h2_call *call, const struct h2_header *h, size_t n, bool is_trailers,
		       bool end)
{
	struct rpc *r = rpc_of(call);

	(void)is_trailers;
	read_status(r, h, n);
	/* Over, though not all of ours may be sent. */
	if (r->has_status && (!end || r->is_stream))
		h2_reset(call->stream, end ? H2_NO_ERROR : H2_CANCEL);
}

static bool on_data(struct h2_call *call, const uint8_t *bytes, size_t n)
{
	struct rpc *r = rpc_of(call);
	bool is_room = false;

	pthread_mutex_lock(&r->lock);
	str_append_wiping(&r->in, bytes, n);
	/* A caller who waits takes it at once, whole or not; one who does not stalls the server. */
	is_room = r->in.len <= STREAM_WINDOW;
	if (!is_room)
		r->owed += n;
	pthread_mutex_unlock(&r->lock);
	wake_caller(r);
	return is_room;
}

static void on_drained(struct h2_call *call)
{
	struct rpc *r = rpc_of(call);

	pthread_mutex_lock(&r->lock);
	r->in_h2 = 0;
	pthread_mutex_unlock(&r->lock);
	wake_caller(r);
}

/* The end of a stream that the server did not give a status. */
static void finish_ended(struct rpc *r, uint32_t error)
{
	char why[64] = "";

	if (error == H2_NO_ERROR) {
		finish_unavailable(r, "stream ended without a status");
	} else if (error == H2_CANCEL && clock_now_ns() >= r->deadline_ns) {
		/* A server that keeps the deadline too may be a moment faster than we are. */
		finish(r, &(struct err){ .code = ERR_DEADLINE_EXCEEDED,
					 .msg = "the server gave the call up at its deadline" });
	} else {
		snprintf(why, sizeof(why), "stream reset by the peer (HTTP/2 error %u)", error);
		finish_unavailable(r, why);
	}
}

static void on_over(struct h2_call *call, const struct h2_call_end *end)
{
	struct rpc *r = rpc_of(call);

	if (r->has_status)
		finish(r, &r->status);
	else if (end->how == H2_CALL_ENDED)
		finish_ended(r, end->error);
	else
		finish_unavailable(r, end->why ? end->why->msg : "channel closed");
	rpc_unref(r);
}

static void on_change(void *arg, bool is_connected)
{
	struct grpc_channel *ch = arg;

	atomic_store(&ch->connected, is_connected);
	atomic_fetch_add(&ch->changes, 1);
}

/* The status comes with the trailers, so the end of data alone says nothing: no on_end. */
static const struct h2_client_ops client_ops = {
	.on_turn = on_turn,
	.on_headers = on_headers,
	.on_data = on_data,
	.on_drained = on_drained,
	.on_over = on_over,
	.on_change = on_change,
};

/* ---- posts from callers ---- */

void channel_start_rpc(void *rpc)
{
	struct rpc *r = rpc;

	h2_call_start(r->ch->h2, &r->call);
}

void channel_end_rpc(void *rpc)
{
	struct rpc *r = rpc;

	if (r->call.client) {
		/* Its end is told later, and the channel may be freed before. */
		h2_call_cancel(&r->call);
		rpc_unref(r);
	}
	rpc_unref(r);
}

void channel_consume_rpc(void *rpc)
{
	struct rpc *r = rpc;
	size_t n = 0;

	pthread_mutex_lock(&r->lock);
	n = r->owed;
	r->owed = 0;
	pthread_mutex_unlock(&r->lock);
	if (r->call.stream && n > 0) {
		h2_consume(r->call.stream, n);
		h2_call_flush(&r->call);
	}
	rpc_unref(r);
}

void channel_send_rpc(void *rpc)
{
	struct rpc *r = rpc;

	move_out(r);
	h2_call_flush_soon(&r->call);
	rpc_unref(r);
}

/* ---- the channel ---- */

static void format_authority(struct grpc_channel *ch)
{
	if (ch->addr.kind == NET_ADDR_UNIX || ch->addr.host[0] == '\0')
		snprintf(ch->authority, sizeof(ch->authority), "localhost");
	else
		snprintf(ch->authority, sizeof(ch->authority), "%s", ch->target + strlen("tcp://"));
}

struct grpc_channel *grpc_channel_new(struct ev_loop *loop, const struct net_addr *addr,
				      struct tls *tls)
{
	struct grpc_channel *ch = xcalloc(1, sizeof(*ch));

	ch->loop = loop;
	ch->addr = *addr;
	ch->has_tls = tls != NULL;
	net_addr_format(addr, ch->target);
	format_authority(ch);
	ch->h2 = h2_client_new(loop, &(struct h2_client_options){
					     .addr = addr,
					     .tls = tls,
					     .pause_min_ns = PAUSE_MIN_NS,
					     .pause_max_ns = PAUSE_MAX_NS,
					     .settle_ns = SETTLE_NS,
					     .tries = TRIES,
					     .stream_window = STREAM_WINDOW,
					     .ops = &client_ops,
					     .arg = ch,
				     });
	return ch;
}

void grpc_channel_expect(struct grpc_channel *ch, const char *server_name)
{
	h2_client_expect(ch->h2, server_name);
}

void grpc_channel_connect(struct grpc_channel *ch)
{
	h2_client_connect(ch->h2);
}

static void free_on_loop(void *arg)
{
	struct grpc_channel *ch = arg;

	h2_client_free(ch->h2);
}

void grpc_channel_free(struct grpc_channel *ch)
{
	if (!ch)
		return;
	ev_call(ch->loop, free_on_loop, ch);
	free(ch);
}

unsigned grpc_channel_changes(const struct grpc_channel *ch)
{
	return atomic_load(&ch->changes);
}

bool grpc_channel_is_connected(const struct grpc_channel *ch)
{
	return atomic_load(&ch->connected);
}
