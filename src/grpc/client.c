/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gRPC client. A caller on a worker fills a struct rpc, posts it to the I/O thread and sleeps
 * in poll(2) on an eventfd and on its ctx's cancellation; the I/O thread collects the answer and
 * writes the eventfd. The rpc is counted by reference, since a caller that gives up leaves while
 * its stream still exists.
 *
 * A unary call is a stream of exactly one message: both ways share everything but who looks at the
 * messages.
 *
 *   IDLE ──first call──► CONNECTING ──open──► READY ──lost──► IDLE (calls under way fail, the next
 * one connects) └──failed──► BACKOFF ──timer──► IDLE or CONNECTING (if calls wait)
 */
#include "grpc/client.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/random.h"
#include "base/str.h"
#include "event/loop.h"
#include "event/sync.h"
#include "grpc/status.h"
#include "net/conn.h"
#include "net/h2.h"
#include "net/tls.h"

#define PREFIX 5
#define CONNECT_NS (10 * NS_PER_S)
#define BACKOFF_MIN_NS (100 * NS_PER_MS)
#define BACKOFF_MAX_NS NS_PER_S
#define PING_NS (20 * NS_PER_S)
#define PING_TIMEOUT_NS (10 * NS_PER_S)

enum channel_state { IDLE, CONNECTING, READY, BACKOFF };

struct rpc {
	atomic_uint refs;
	struct grpc_channel *ch;
	char *path;
	struct str request; /* prefix and message */
	int64_t deadline_ns;

	/* I/O thread */
	struct h2_stream *stream;
	struct rpc *next; /* in the channel's list of waiting ones */
	bool is_waiting, has_head, was_resent, is_processed;
	bool has_status;
	struct err status;

	pthread_mutex_t lock; /* below: both threads */
	struct str in;        /* DATA as it came */
	size_t owed;          /* bytes not yet consumed on the stream, since too much waits here */
	bool is_done, is_given_up;
	struct err result;
	int wake_fd;
};

struct grpc_channel {
	struct ev_loop *loop;
	struct net_addr addr;
	struct tls *tls;
	char target[NET_ADDR_TEXT_MAX];
	/* I/O thread */
	enum channel_state state;
	struct conn *conn; /* while connecting */
	struct h2 *h2;
	bool going_away;
	struct rpc *waiting, **waiting_tail;
	struct ev_timer *backoff;
	int64_t backoff_ns;
	atomic_bool connected;
};

static void rpc_unref(struct rpc *r)
{
	if (atomic_fetch_sub(&r->refs, 1) != 1)
		return;
	free(r->path);
	str_done(&r->request);
	str_done(&r->in);
	pthread_mutex_destroy(&r->lock);
	close(r->wake_fd);
	free(r);
}

static void wake_caller(struct rpc *r)
{
	uint64_t one = 1;

	/* Cannot fail in a way that matters: the counter is far from its end. */
	(void)!write(r->wake_fd, &one, sizeof(one));
}

/* I/O thread: the call's outcome is known. */
static void finish(struct rpc *r, const struct err *result)
{
	pthread_mutex_lock(&r->lock);
	if (!r->is_done) {
		r->is_done = true;
		r->result = *result;
	}
	pthread_mutex_unlock(&r->lock);
	wake_caller(r);
}

static void finish_unavailable(struct rpc *r, const char *target, const char *why)
{
	struct err err = { 0 };

	err_set(&err, ERR_UNAVAILABLE, "%s: %s", target, why);
	finish(r, &err);
}

/* ---- streams ---- */

static void send_request(struct grpc_channel *ch, struct rpc *r);

static void add_waiting(struct grpc_channel *ch, struct rpc *r)
{
	r->is_waiting = true;
	r->next = NULL;
	*ch->waiting_tail = r;
	ch->waiting_tail = &r->next;
}

static struct rpc *take_waiting(struct grpc_channel *ch)
{
	struct rpc *r = ch->waiting;

	if (!r)
		return NULL;
	ch->waiting = r->next;
	if (!ch->waiting)
		ch->waiting_tail = &ch->waiting;
	r->is_waiting = false;
	return r;
}

static void read_status(struct rpc *r, const struct h2_header *h, size_t n)
{
	const char *status = NULL, *message = "", *http = "200";

	for (size_t i = 0; i < n; i++) {
		if (str_is_equal(h[i].name, "grpc-status"))
			status = h[i].value;
		else if (str_is_equal(h[i].name, "grpc-message"))
			message = h[i].value;
		else if (str_is_equal(h[i].name, ":status"))
			http = h[i].value;
	}
	if (status) {
		r->has_status = true;
		r->status.code = grpc_status_parse(status);
		grpc_message_decode(message, r->status.msg, sizeof(r->status.msg));
	} else if (!str_is_equal(http, "200")) {
		r->has_status = true;
		err_set(&r->status, grpc_status_from_http(http), "peer answered HTTP status %s",
			http);
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
	if (r->has_status && !end)
		h2_reset(s, H2_CANCEL);
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
	str_append_n(&r->in, bytes, n);
	/* A whole message of the largest size always fits; a caller who is slower than that stalls
	 * the server. */
	if (r->in.len <= GRPC_MESSAGE_MAX + PREFIX)
		h2_consume(s, n);
	else
		r->owed += n;
	pthread_mutex_unlock(&r->lock);
	wake_caller(r);
}

static void on_end(void *arg, struct h2_stream *s)
{
	(void)arg;
	(void)s;
}

static void on_stream_close(void *arg, struct h2_stream *s, uint32_t error)
{
	struct grpc_channel *ch = arg;
	struct rpc *r = h2_stream_user(s);
	char why[64] = "";

	if (!r)
		return;
	r->stream = NULL;
	if (r->has_status) {
		finish(r, &r->status);
	} else if (error == H2_REFUSED_STREAM && !r->was_resent && !r->is_processed) {
		r->was_resent = true;
		send_request(ch, r);
		return;
	} else if (error == H2_NO_ERROR) {
		finish_unavailable(r, ch->target, "stream ended without a status");
	} else {
		snprintf(why, sizeof(why),
			 "stream reset by the peer or connection lost (HTTP/2 error %u)", error);
		finish_unavailable(r, ch->target, why);
	}
	rpc_unref(r);
}

static void open_stream(struct grpc_channel *ch, struct rpc *r)
{
	char timeout[GRPC_TIMEOUT_MAX] = "";
	struct err err = { 0 };
	struct h2_header h[8] = {
		{ ":method", "POST", 0, false },
		{ ":scheme", ch->tls ? "https" : "http", 0, false },
		{ ":path", r->path, 0, false },
		{ ":authority",
		  ch->addr.kind == NET_ADDR_UNIX || !ch->addr.host[0] ? "localhost" : ch->addr.host,
		  0, false },
		{ "content-type", "application/grpc", 0, false },
		{ "te", "trailers", 0, false },
		{ "user-agent", "cleat", 0, false },
	};
	size_t n = 7;

	if (r->deadline_ns != CTX_NO_DEADLINE) {
		int64_t left = r->deadline_ns - clock_now_ns();

		grpc_timeout_format(left > 1 ? left : 1, timeout);
		h[n++] = (struct h2_header){ "grpc-timeout", timeout, 0, false };
	}
	r->stream = h2_request(ch->h2, h, n, false, r, &err);
	if (!r->stream) {
		finish_unavailable(r, ch->target, err.msg);
		rpc_unref(r);
		return;
	}
	h2_send(r->stream, r->request.buf, r->request.len, true);
}

/* ---- the connection ---- */

static void connect_now(struct grpc_channel *ch);

static void fail_waiting(struct grpc_channel *ch, const struct err *why)
{
	for (struct rpc *r = NULL; (r = take_waiting(ch)) != NULL;) {
		finish_unavailable(r, ch->target, why->msg);
		rpc_unref(r);
	}
}

static void on_goaway(void *arg, uint32_t error)
{
	struct grpc_channel *ch = arg;

	(void)error;
	ch->going_away = true;
}

static void on_session_close(void *arg, const struct err *why)
{
	struct grpc_channel *ch = arg;

	(void)why;
	h2_free(ch->h2);
	ch->h2 = NULL;
	ch->going_away = false;
	ch->state = IDLE;
	atomic_store(&ch->connected, false);
	if (ch->waiting)
		connect_now(ch);
}

static const struct h2_ops session_ops = {
	.on_headers = on_headers,
	.on_data = on_data,
	.on_end = on_end,
	.on_stream_close = on_stream_close,
	.on_goaway = on_goaway,
	.on_close = on_session_close,
};

static void conn_open(void *arg)
{
	struct grpc_channel *ch = arg;
	struct conn *conn = ch->conn;

	ch->conn = NULL;
	ch->state = READY;
	ch->backoff_ns = 0;
	atomic_store(&ch->connected, true);
	ch->h2 = h2_new(ch->loop, conn,
			&(struct h2_options){
				.ping_interval_ns = PING_NS,
				.ping_timeout_ns = PING_TIMEOUT_NS,
				.ops = &session_ops,
				.arg = ch,
			});
	for (struct rpc *r = NULL; (r = take_waiting(ch)) != NULL;)
		open_stream(ch, r);
	h2_flush(ch->h2);
}

static void conn_failed(void *arg, const struct err *why)
{
	struct grpc_channel *ch = arg;

	ch->conn = NULL;
	ch->state = BACKOFF;
	ch->backoff_ns = ch->backoff_ns ? ch->backoff_ns * 2 : BACKOFF_MIN_NS;
	if (ch->backoff_ns > BACKOFF_MAX_NS)
		ch->backoff_ns = BACKOFF_MAX_NS;
	ev_timer_start(ch->backoff, random_jitter_ns(ch->backoff_ns, 0.2), 0);
	fail_waiting(ch, why);
}

static const struct conn_ops connecting_ops = {
	.on_open = conn_open,
	.on_close = conn_failed,
};

static void connect_now(struct grpc_channel *ch)
{
	struct err err = { 0 };

	ch->state = CONNECTING;
	if (conn_connect(ch->loop, &ch->addr, ch->tls, CONNECT_NS, &connecting_ops, ch, &ch->conn,
			 &err) < 0)
		conn_failed(ch, &err);
}

static void backoff_over(void *arg)
{
	struct grpc_channel *ch = arg;

	ch->state = IDLE;
	if (ch->waiting)
		connect_now(ch);
}

static void send_request(struct grpc_channel *ch, struct rpc *r)
{
	if (ch->state == READY && !ch->going_away) {
		open_stream(ch, r);
		h2_flush(ch->h2);
		return;
	}
	add_waiting(ch, r);
	if (ch->state == IDLE)
		connect_now(ch);
}

/* ---- posts from callers ---- */

static void posted_start(void *arg)
{
	struct rpc *r = arg;

	send_request(r->ch, r); /* this reference is the stream's */
}

static void posted_cancel(void *arg)
{
	struct rpc *r = arg;
	struct grpc_channel *ch = r->ch;

	if (r->stream) {
		h2_reset(r->stream, H2_CANCEL);
		h2_flush(ch->h2);
	} else if (r->is_waiting) {
		struct rpc **at = &ch->waiting;

		while (*at != r)
			at = &(*at)->next;
		*at = r->next;
		if (!*at)
			ch->waiting_tail = at;
		r->is_waiting = false;
		rpc_unref(r);
	}
	rpc_unref(r);
}

static void posted_consume(void *arg)
{
	struct rpc *r = arg;
	size_t n = 0;

	pthread_mutex_lock(&r->lock);
	n = r->owed;
	r->owed = 0;
	pthread_mutex_unlock(&r->lock);
	if (r->stream && n > 0) {
		h2_consume(r->stream, n);
		h2_flush(r->ch->h2);
	}
	rpc_unref(r);
}

/* ---- the caller ---- */

static struct rpc *rpc_new(struct grpc_channel *ch, struct ctx *ctx, const char *path,
			   const void *req, size_t n_req)
{
	uint8_t prefix[PREFIX] = { 0, (uint8_t)(n_req >> 24), (uint8_t)(n_req >> 16),
				   (uint8_t)(n_req >> 8), (uint8_t)n_req };
	struct rpc *r = xcalloc(1, sizeof(*r));

	r->refs = 2; /* caller and stream */
	r->ch = ch;
	r->path = xstrdup(path);
	r->deadline_ns = ctx->deadline_ns;
	r->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pthread_mutex_init(&r->lock, NULL);
	str_append_n(&r->request, prefix, PREFIX);
	str_append_n(&r->request, req, n_req);
	return r;
}

/* Waits until there is something new. -1: the ctx is over. */
static int wait_rpc(struct rpc *r, struct ctx *ctx, struct err *err)
{
	struct pollfd fds[2] = { { .fd = r->wake_fd, .events = POLLIN },
				 { .fd = ctx_cancel_fd(ctx), .events = POLLIN } };
	uint64_t count = 0;

	while (ctx_check(ctx, err) == 0) {
		int n = poll(fds, fds[1].fd >= 0 ? 2 : 1, ctx_poll_ms(ctx, -1));

		if (n > 0 && (fds[0].revents & POLLIN)) {
			(void)!read(r->wake_fd, &count, sizeof(count));
			return 0;
		}
	}
	return -1;
}

/*
 * Takes the next whole message out of what arrived. 1: it is in ret_message; 0: nothing whole is
 * there, and *ret_done tells whether more may come; -1: the peer broke the rules.
 */
static int next_message(struct rpc *r, struct str *ret_message, bool *ret_done, struct err *err)
{
	const uint8_t *p = NULL;
	bool must_consume = false;
	size_t n = 0;
	int found = 0;

	pthread_mutex_lock(&r->lock);
	*ret_done = r->is_done;
	p = (const uint8_t *)r->in.buf;
	if (r->in.len >= PREFIX) {
		n = (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
		if (p[0] != 0)
			found = err_set(err, ERR_INTERNAL,
					"reply is compressed though nobody asked for it");
		else if (n > GRPC_MESSAGE_MAX)
			found = err_set(err, ERR_RESOURCE_EXHAUSTED,
					"reply of %zu bytes is over the limit of %u", n,
					GRPC_MESSAGE_MAX);
		else
			found = r->in.len >= PREFIX + n;
	}
	if (found == 1) {
		str_reset(ret_message);
		str_append_n(ret_message, p + PREFIX, n);
		str_consume(&r->in, PREFIX + n);
		must_consume = r->owed > 0;
	}
	pthread_mutex_unlock(&r->lock);
	if (must_consume) {
		atomic_fetch_add(&r->refs, 1);
		ev_post(r->ch->loop, posted_consume, r);
	}
	return found;
}

/* Hands every message to fn until the stream is over. */
static int receive(struct rpc *r, struct ctx *ctx, grpc_message_fn fn, void *arg, struct err *err)
{
	autostr struct str message = STR_INIT;
	bool is_done = false;
	int found = 0;

	for (;;) {
		while ((found = next_message(r, &message, &is_done, err)) == 1)
			if (fn(arg, (const uint8_t *)str_get(&message), message.len) != 0)
				return err_set(err, ERR_CANCELLED, "the caller wants no more");
		if (found < 0)
			return -1;
		if (is_done)
			break;
		if (wait_rpc(r, ctx, err) < 0)
			return -1;
	}
	if (r->result.code == ERR_OK)
		return 0;
	*err = r->result;
	return -1;
}

int grpc_channel_stream(struct grpc_channel *ch, struct ctx *ctx, const char *path, const void *req,
			size_t n_req, grpc_message_fn fn, void *arg, struct err *err)
{
	struct rpc *r = NULL;
	int result = 0;

	if (n_req > GRPC_MESSAGE_MAX)
		return err_set(err, ERR_RESOURCE_EXHAUSTED,
			       "request of %zu bytes is over the limit of %u", n_req,
			       GRPC_MESSAGE_MAX);
	if (ctx_check(ctx, err) < 0)
		return -1;
	r = rpc_new(ch, ctx, path, req, n_req);
	if (r->wake_fd < 0) {
		err_os(err, ERR_RESOURCE_EXHAUSTED, errno, "eventfd");
		r->refs = 1;
		rpc_unref(r);
		return -1;
	}
	ev_post(ch->loop, posted_start, r);
	result = receive(r, ctx, fn, arg, err);
	/* This reference goes with the post, which also tells a stream that is still there to end.
	 */
	ev_post(ch->loop, posted_cancel, r);
	return result;
}

struct unary {
	struct ctx *ctx;
	const uint8_t *reply;
	size_t n;
	unsigned count;
};

static int keep_reply(void *arg, const uint8_t *message, size_t n)
{
	struct unary *u = arg;

	if (u->count++ > 0)
		return -1;
	u->reply = arena_memdup(u->ctx->arena, message, n);
	u->n = n;
	return 0;
}

int grpc_channel_call(struct grpc_channel *ch, struct ctx *ctx, const char *path, const void *req,
		      size_t n_req, const uint8_t **ret_reply, size_t *ret_n, struct err *err)
{
	struct unary u = { .ctx = ctx };
	int r = grpc_channel_stream(ch, ctx, path, req, n_req, keep_reply, &u, err);

	if (u.count > 1 || (r == 0 && u.count == 0))
		return err_set(err, ERR_INTERNAL, "%s: %s answered with %u messages instead of one",
			       ch->target, path, u.count);
	if (r < 0)
		return -1;
	*ret_reply = u.reply;
	*ret_n = u.n;
	return 0;
}

/* ---- the channel ---- */

static void make_on_loop(void *arg)
{
	struct grpc_channel *ch = arg;

	ch->backoff = ev_timer_new(ch->loop, backoff_over, ch);
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
	ev_post(loop, make_on_loop, ch);
	return ch;
}

static void free_on_loop(void *arg)
{
	struct grpc_channel *ch = arg;

	if (ch->conn)
		conn_abort(ch->conn);
	h2_free(ch->h2);
	ev_timer_free(ch->backoff);
}

void grpc_channel_free(struct grpc_channel *ch)
{
	if (!ch)
		return;
	ev_call(ch->loop, free_on_loop, ch);
	tls_unref(ch->tls);
	free(ch);
}

bool grpc_channel_is_connected(const struct grpc_channel *ch)
{
	return atomic_load(&ch->connected);
}
