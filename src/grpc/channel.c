/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The I/O thread's side of a gRPC channel: connections and the streams on them.
 *
 *   IDLE ──a call──► CONNECTING ──open──► READY ──lost, GOAWAY──► IDLE or BACKOFF
 *    ▲                   └──failed, its calls fail──► BACKOFF
 *    └───────────────────────────timer──────────────────┘
 *
 * A session that the peer is leaving (GOAWAY) finishes the calls on it beside the next one, so that
 * one long call does not keep all others waiting for a server that is going. A session that was
 * lost soon after it opened counts as a failed attempt: a server that accepts and drops is not
 * called in a tight loop.
 *
 * No PINGs: servers on grpc-go take more than two within five minutes for abuse and end the
 * connection ("too_many_pings"), and with it every call that takes long. That a peer's machine is
 * gone is found by TCP itself (net/conn), that its process is gone by the kernel, and one that
 * hangs by the deadlines of the calls.
 *
 * Calls wait in one list while there is no connection, and when the peer's limit of streams is
 * reached; whatever may have changed that tries them again in order.
 */
#include "grpc/client.h"

#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "event/loop.h"
#include "grpc/client-internal.h"
#include "grpc/status.h"
#include "net/conn.h"
#include "net/h2_conn.h"
#include "net/tls.h"

#define PREFIX 5
#define CONNECT_NS (10 * NS_PER_S)
#define BACKOFF_MIN_NS (100 * NS_PER_MS)
#define BACKOFF_MAX_NS NS_PER_S

enum channel_state { IDLE, CONNECTING, READY, BACKOFF };

struct session {
	struct grpc_channel *ch;
	struct h2_conn *h2;
	struct session *next;
	int64_t opened_ns;
};

struct grpc_channel {
	struct ev_loop *loop;
	struct net_addr addr;
	struct tls *tls;
	char *server_name; /* NULL: as tls says */
	char target[NET_ADDR_TEXT_MAX];
	char authority[NET_ADDR_TEXT_MAX]; /* of the requests: "host:port", "[::1]:port" */
	atomic_bool connected;
	atomic_uint changes; /* of connected */
	/* I/O thread only */
	enum channel_state state;
	struct conn *conn;        /* CONNECTING */
	struct session *current;  /* READY */
	struct session *sessions; /* that one, and those that the peer is leaving */
	struct rpc *waiting, **waiting_tail;
	struct ev_timer *room; /* a stream ended: there is room for another */
	struct ev_timer *backoff;
	int64_t backoff_ns;
};

struct ev_loop *channel_loop(const struct grpc_channel *ch)
{
	return ch->loop;
}

const char *channel_target(const struct grpc_channel *ch)
{
	return ch->target;
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

static void add_waiting(struct rpc *r)
{
	struct grpc_channel *ch = r->ch;

	r->is_waiting = true;
	r->next = NULL;
	*ch->waiting_tail = r;
	ch->waiting_tail = &r->next;
}

static void remove_waiting(struct rpc *r)
{
	struct grpc_channel *ch = r->ch;
	struct rpc **at = &ch->waiting;

	while (*at != r)
		at = &(*at)->next;
	*at = r->next;
	if (!*at)
		ch->waiting_tail = at;
	r->is_waiting = false;
}

static void fail_waiting(struct grpc_channel *ch, const struct err *why)
{
	while (ch->waiting) {
		struct rpc *r = ch->waiting;

		remove_waiting(r);
		finish_unavailable(r, why->msg);
		rpc_unref(r);
	}
}

/* What the caller queued goes to the stream; from then on the call cannot be sent again. */
static void move_out(struct rpc *r)
{
	bool is_room = false;

	pthread_mutex_lock(&r->lock);
	r->is_out_posted = false;
	if (r->stream && (r->out.len > 0 || r->is_out_end)) {
		r->in_h2 = h2_send(r->stream, r->out.buf, r->out.len, r->is_out_end);
		str_wipe(&r->out);
		r->was_resent = true;
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

/* False if the session takes no stream now. */
static bool open_stream(struct session *ss, struct rpc *r)
{
	struct grpc_channel *ch = ss->ch;
	char timeout[GRPC_TIMEOUT_MAX] = "";
	struct err ignored = { 0 };
	struct h2_header h[8 + GRPC_CLIENT_METADATA_MAX] = {
		{ ":method", "POST", 0, false },
		{ ":scheme", ch->tls ? "https" : "http", 0, false },
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
	r->stream = h2_request(h2_conn_core(ss->h2), h, n, false, r, &ignored);
	if (!r->stream)
		return false;
	if (r->is_stream)
		move_out(r);
	else
		h2_send(r->stream, r->request.buf, r->request.len, true);
	return true;
}

static void open_waiting(void *arg)
{
	struct grpc_channel *ch = arg;

	if (ch->state != READY)
		return;
	while (ch->waiting && open_stream(ch->current, ch->waiting))
		remove_waiting(ch->waiting);
	h2_conn_flush(ch->current->h2);
}

/* ---- streams ---- */

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

static void on_headers(void *arg, struct h2_stream *s, const struct h2_header *h, size_t n,
		       bool is_trailers, bool end)
{
	struct rpc *r = h2_stream_user(s);

	(void)arg;
	(void)is_trailers;
	if (!r)
		return;
	r->is_processed = true;
	read_status(r, h, n);
	/* Over, though not all of ours may be sent. */
	if (r->has_status && (!end || r->is_stream))
		h2_reset(s, end ? H2_NO_ERROR : H2_CANCEL);
}

static void on_data(void *arg, struct h2_stream *s, const uint8_t *bytes, size_t n)
{
	struct rpc *r = h2_stream_user(s);

	(void)arg;
	if (!r) {
		h2_consume(s, n);
		return;
	}
	pthread_mutex_lock(&r->lock);
	str_append_wiping(&r->in, bytes, n);
	/* A whole message of the largest size always fits; a caller who is slower than that stalls
	 * the server. */
	if (r->in.len <= GRPC_MESSAGE_MAX + PREFIX)
		h2_consume(s, n);
	else
		r->owed += n;
	pthread_mutex_unlock(&r->lock);
	wake_caller(r);
}

static void on_stream_drained(void *arg, struct h2_stream *s)
{
	struct rpc *r = h2_stream_user(s);

	(void)arg;
	if (!r)
		return;
	pthread_mutex_lock(&r->lock);
	r->in_h2 = 0;
	pthread_mutex_unlock(&r->lock);
	wake_caller(r);
}

/* The status comes with the trailers, so the end of data alone says nothing. */
static void on_end(void *arg, struct h2_stream *s)
{
	(void)arg;
	(void)s;
}

static void on_stream_close(void *arg, struct h2_stream *s, uint32_t error)
{
	struct session *ss = arg;
	const struct err *failure = h2_failure(h2_conn_core(ss->h2));
	struct rpc *r = h2_stream_user(s);
	char why[64] = "";

	/* Later, since the stream counts until this returns. */
	if (ss->ch->waiting)
		ev_timer_start(ss->ch->room, 0, 0);
	if (!r)
		return;
	r->stream = NULL;
	if (error == H2_REFUSED_STREAM && !r->was_resent && !r->is_processed) {
		r->was_resent = true;
		channel_start_rpc(r);
		return;
	}
	if (r->has_status) {
		finish(r, &r->status);
	} else if (failure) {
		finish_unavailable(r, failure->msg);
	} else if (error == H2_NO_ERROR) {
		finish_unavailable(r, "stream ended without a status");
	} else if (error == H2_CANCEL && clock_now_ns() >= r->deadline_ns) {
		/* A server that keeps the deadline too may be a moment faster than we are. */
		finish(r, &(struct err){ .code = ERR_DEADLINE_EXCEEDED,
					 .msg = "the server gave the call up at its deadline" });
	} else {
		snprintf(why, sizeof(why), "stream reset by the peer (HTTP/2 error %u)", error);
		finish_unavailable(r, why);
	}
	rpc_unref(r);
}

/* ---- connections ---- */

static void connect_if_needed(struct grpc_channel *ch);

static void back_off(struct grpc_channel *ch)
{
	ch->state = BACKOFF;
	ch->backoff_ns = ch->backoff_ns ? ch->backoff_ns * 2 : BACKOFF_MIN_NS;
	if (ch->backoff_ns > BACKOFF_MAX_NS)
		ch->backoff_ns = BACKOFF_MAX_NS;
	ev_timer_start(ch->backoff, random_jitter_ns(ch->backoff_ns, 0.2), 0);
}

/* The session takes no new calls from now on. */
static void leave(struct session *ss)
{
	struct grpc_channel *ch = ss->ch;

	if (ch->current != ss)
		return;
	ch->current = NULL;
	atomic_store(&ch->connected, false);
	atomic_fetch_add(&ch->changes, 1);
	if (clock_now_ns() - ss->opened_ns < BACKOFF_MAX_NS) {
		back_off(ch);
		return;
	}
	ch->backoff_ns = 0;
	ch->state = IDLE;
	connect_if_needed(ch);
}

static void on_goaway(void *arg, uint32_t error)
{
	(void)error;
	leave(arg);
}

static void on_session_close(void *arg, const struct err *why)
{
	struct session *ss = arg;
	struct session **at = &ss->ch->sessions;

	log_debug("gRPC session over", log_str("target", ss->ch->target), log_err(why));
	leave(ss);
	while (*at != ss)
		at = &(*at)->next;
	*at = ss->next;
	h2_conn_free(ss->h2);
	free(ss);
}

static const struct h2_ops session_ops = {
	.on_headers = on_headers,
	.on_data = on_data,
	.on_end = on_end,
	.on_stream_drained = on_stream_drained,
	.on_stream_close = on_stream_close,
	.on_goaway = on_goaway,
	.on_close = on_session_close,
};

static void conn_open(void *arg)
{
	struct grpc_channel *ch = arg;
	struct session *ss = xcalloc(1, sizeof(*ss));
	const struct h2_options opts = {
		.ops = &session_ops,
		.arg = ss,
	};

	*ss = (struct session){ .ch = ch, .next = ch->sessions, .opened_ns = clock_now_ns() };
	ss->h2 = h2_conn_new(ch->loop, TAKE_PTR(ch->conn), &opts);
	ch->sessions = ch->current = ss;
	ch->state = READY;
	atomic_store(&ch->connected, true);
	atomic_fetch_add(&ch->changes, 1);
	open_waiting(ch);
}

static void conn_failed(void *arg, const struct err *why)
{
	struct grpc_channel *ch = arg;

	ch->conn = NULL;
	back_off(ch);
	fail_waiting(ch, why);
}

static const struct conn_ops connecting_ops = {
	.on_open = conn_open,
	.on_close = conn_failed,
};

static void connect_if_needed(struct grpc_channel *ch)
{
	struct err err = { 0 };

	if (ch->state != IDLE || !ch->waiting)
		return;
	ch->state = CONNECTING;
	if (conn_connect(ch->loop, &ch->addr, ch->tls, ch->server_name, CONNECT_NS, &connecting_ops,
			 ch, &ch->conn, &err) < 0)
		conn_failed(ch, &err);
}

static void backoff_over(void *arg)
{
	struct grpc_channel *ch = arg;

	ch->state = IDLE;
	connect_if_needed(ch);
}

/* ---- posts from callers ---- */

void channel_start_rpc(void *rpc)
{
	struct rpc *r = rpc;

	add_waiting(r);
	open_waiting(r->ch);
	connect_if_needed(r->ch);
}

void channel_end_rpc(void *rpc)
{
	struct rpc *r = rpc;

	if (r->stream) {
		struct h2_stream *s = TAKE_PTR(r->stream);

		/* Its end is told later, and the channel may be freed before. */
		h2_stream_set_user(s, NULL);
		h2_reset(s, H2_CANCEL);
		h2_conn_flush(h2_conn_of(s));
		rpc_unref(r);
	} else if (r->is_waiting) {
		remove_waiting(r);
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
	if (r->stream && n > 0) {
		h2_consume(r->stream, n);
		h2_conn_flush(h2_conn_of(r->stream));
	}
	rpc_unref(r);
}

void channel_send_rpc(void *rpc)
{
	struct rpc *r = rpc;

	move_out(r);
	if (r->stream)
		h2_conn_flush_soon(h2_conn_of(r->stream));
	rpc_unref(r);
}

/* ---- the channel ---- */

static void make_on_loop(void *arg)
{
	struct grpc_channel *ch = arg;

	ch->room = ev_timer_new(ch->loop, open_waiting, ch);
	ch->backoff = ev_timer_new(ch->loop, backoff_over, ch);
}

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
	ch->tls = tls ? tls_ref(tls) : NULL;
	ch->waiting_tail = &ch->waiting;
	net_addr_format(addr, ch->target);
	format_authority(ch);
	ev_post(loop, make_on_loop, ch);
	return ch;
}

void grpc_channel_expect(struct grpc_channel *ch, const char *server_name)
{
	free(ch->server_name);
	ch->server_name = xstrdup(server_name);
}

static void free_on_loop(void *arg)
{
	struct grpc_channel *ch = arg;

	if (ch->conn)
		conn_abort(ch->conn);
	while (ch->sessions) {
		struct session *ss = ch->sessions;

		ch->sessions = ss->next;
		h2_conn_free(ss->h2);
		free(ss);
	}
	ev_timer_free(ch->room);
	ev_timer_free(ch->backoff);
}

void grpc_channel_free(struct grpc_channel *ch)
{
	if (!ch)
		return;
	ev_call(ch->loop, free_on_loop, ch);
	tls_unref(ch->tls);
	free(ch->server_name);
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
