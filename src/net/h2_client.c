/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keeps connections to one endpoint: at most one that is being made or takes new streams
 * (current), and beside it those that only finish what they have.
 *
 *                 a call starts   timer            made          failed         current is left
 *   IDLE          DUE             –                –             –              –
 *   DUE           it waits        CONNECTING, or   –             –              –
 *                                 IDLE if none waits
 *                                 (and is_wanted is not set)
 *   CONNECTING    it waits        –                READY: all    IDLE: all      –
 *                                                  that wait     that wait
 *                                                  are sent      fail
 *   READY         sent, or waits  sends more       –             –              IDLE
 *
 * IDLE becomes DUE at once when a call waits, or a connection is wanted for one to come. Left is a
 * connection that was lost, whose peer said GOAWAY, or that is full (leaves_full); it is closed
 * when its last stream is over. Whatever is left is no loss of calls: those end by their streams,
 * and what was refused waits again.
 *
 * - Attempts begin from the timer, which DUE sets to the end of the pause: so nothing is called
 * back inside h2_call_start, and a peer that is away is tried in growing intervals however many
 * calls wait. In READY the same timer gives the room of an ended stream to the next call, since a
 * stream counts until its on_stream_close has returned.
 * - Every attempt makes the pause longer, also the good one, until that has proven itself: a peer
 * that accepts and drops is away too.
 * - Callbacks about failed attempts start new calls, which must not fail with them: a call knows
 * how many attempts there had been when it came.
 */
#include "net/h2_client.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "event/loop.h"
#include "net/conn.h"
#include "net/h2_conn.h"
#include "net/tls.h"

#define CONNECT_NS (10 * NS_PER_S)
#define PAUSE_SPREAD 0.3

enum phase { IDLE, DUE, CONNECTING, READY };

struct session {
	struct h2_client *client;
	struct h2_conn *h2;
	struct session *next;
	int64_t opened_ns;
};

struct call_list {
	struct h2_call *first, *last;
};

struct h2_client {
	struct ev_loop *loop;
	struct net_addr addr;
	struct tls *tls;
	char *server_name; /* NULL: as tls says */
	struct h2_client_options opts;
	enum phase phase;
	bool is_freeing;
	bool is_wanted;           /* a connection, though no call waits */
	struct conn *conn;        /* CONNECTING */
	struct session *current;  /* READY */
	struct session *sessions; /* that one and those that were left */
	struct call_list waiting, open;
	unsigned n_failed;      /* attempts */
	struct ev_timer *timer; /* NULL until the first call */
	int64_t pause_ns;       /* the last one; 0: the next attempt is the first of a row */
	int64_t next_ns;        /* no attempt before */
};

/* ---- lists of calls ---- */

static void append_call(struct call_list *list, struct h2_call *call)
{
	call->next = NULL;
	call->prev = list->last;
	if (call->prev)
		call->prev->next = call;
	else
		list->first = call;
	list->last = call;
}

static void remove_call(struct h2_call *call)
{
	struct call_list *list = call->stream ? &call->client->open : &call->client->waiting;

	if (call->prev)
		call->prev->next = call->next;
	else
		list->first = call->next;
	if (call->next)
		call->next->prev = call->prev;
	else
		list->last = call->prev;
	call->prev = call->next = NULL;
}

static void wait_call(struct h2_client *c, struct h2_call *call)
{
	call->attempt = c->n_failed;
	append_call(&c->waiting, call);
}

static void end_call(struct h2_call *call, const struct h2_call_end *end)
{
	struct h2_client *c = call->client;

	remove_call(call);
	call->stream = NULL;
	call->client = NULL;
	c->opts.ops->on_over(call, end);
}

/* ---- from phase to phase ---- */

static void timer_fired(void *arg);

/* A call waits: sees to its turn. */
static void plan(struct h2_client *c)
{
	bool is_needed = c->waiting.first || c->is_wanted;
	int64_t left_ns = 0;

	if (!is_needed || c->is_freeing || c->phase == DUE || c->phase == CONNECTING)
		return;
	if (!c->timer)
		c->timer = ev_timer_new(c->loop, timer_fired, c);
	if (c->phase == IDLE) {
		left_ns = c->next_ns - clock_now_ns();
		c->phase = DUE;
	}
	ev_timer_start(c->timer, left_ns > 0 ? left_ns : 0, 0);
}

static void lengthen_pause(struct h2_client *c)
{
	c->pause_ns = c->pause_ns ? c->pause_ns * 2 : c->opts.pause_min_ns;
	if (c->pause_ns > c->opts.pause_max_ns)
		c->pause_ns = c->opts.pause_max_ns;
	c->next_ns = clock_now_ns() + random_jitter_ns(c->pause_ns, PAUSE_SPREAD);
}

static void tell_change(struct h2_client *c, bool is_connected)
{
	if (c->opts.ops->on_change)
		c->opts.ops->on_change(c->opts.arg, is_connected);
}

/* It takes no new streams from now on. */
static void leave(struct session *ss)
{
	struct h2_client *c = ss->client;
	int64_t now_ns = clock_now_ns();

	if (c->current != ss)
		return;
	c->current = NULL;
	c->phase = IDLE;
	if (c->opts.settle_ns > 0 && now_ns - ss->opened_ns < c->opts.settle_ns) {
		c->next_ns = now_ns + random_jitter_ns(c->pause_ns, PAUSE_SPREAD);
	} else if (c->opts.settle_ns > 0) {
		c->pause_ns = 0;
		c->next_ns = 0;
	}
	tell_change(c, false);
	plan(c);
}

/* Lets it finish the streams it has. */
static void retire(struct session *ss)
{
	leave(ss);
	if (h2_stream_count(h2_conn_core(ss->h2)) == 0)
		h2_conn_close(ss->h2, H2_NO_ERROR);
}

/* Gives those that wait their turn; false: the connection does not take them all. */
static bool send_waiting(struct h2_client *c)
{
	struct h2_call *call = NULL;
	bool is_full = false;

	while ((call = c->waiting.first) && !is_full) {
		c->opts.ops->on_turn(call);
		is_full = !call->stream;
	}
	h2_conn_flush(c->current->h2);
	return !is_full;
}

static void send_or_leave(struct h2_client *c)
{
	if (!send_waiting(c) && c->opts.leaves_full)
		retire(c->current);
}

/* ---- a connection's life ---- */

static void on_headers(void *arg, struct h2_stream *s, const struct h2_header *h, size_t n,
		       bool is_trailers, bool end)
{
	struct session *ss = arg;
	struct h2_client *c = ss->client;
	struct h2_call *call = h2_stream_user(s);

	if (!call)
		return;
	call->is_answered = true;
	if (c->opts.settle_ns == 0)
		c->pause_ns = 0;
	c->opts.ops->on_headers(call, h, n, is_trailers, end);
}

static void on_data(void *arg, struct h2_stream *s, const uint8_t *bytes, size_t n)
{
	struct session *ss = arg;
	struct h2_call *call = h2_stream_user(s);

	if (!call || ss->client->opts.ops->on_data(call, bytes, n))
		h2_consume(s, n);
}

static void on_end(void *arg, struct h2_stream *s)
{
	struct session *ss = arg;
	struct h2_call *call = h2_stream_user(s);

	if (call && ss->client->opts.ops->on_end)
		ss->client->opts.ops->on_end(call);
}

static void on_stream_drained(void *arg, struct h2_stream *s)
{
	struct session *ss = arg;
	struct h2_call *call = h2_stream_user(s);

	if (call && ss->client->opts.ops->on_drained)
		ss->client->opts.ops->on_drained(call);
}

static bool may_send_again(const struct h2_call *call, uint32_t error)
{
	return error == H2_REFUSED_STREAM && !call->is_answered && !call->is_final &&
	       call->tries < call->client->opts.tries;
}

static void on_stream_close(void *arg, struct h2_stream *s, uint32_t error)
{
	struct session *ss = arg;
	struct h2_client *c = ss->client;
	struct h2_call *call = h2_stream_user(s);
	const struct err *failure = h2_failure(h2_conn_core(ss->h2));

	if (ss != c->current && h2_stream_count(h2_conn_core(ss->h2)) <= 1)
		h2_conn_close(ss->h2, H2_NO_ERROR); /* this was the last that it had to finish */
	if (call && may_send_again(call, error)) {
		remove_call(call);
		call->stream = NULL;
		wait_call(c, call);
	} else if (call) {
		end_call(call, &(struct h2_call_end){
				       .how = failure ? H2_CALL_LOST : H2_CALL_ENDED,
				       .error = error,
				       .why = failure,
			       });
	}
	plan(c);
}

static void on_goaway(void *arg, uint32_t error)
{
	(void)error; /* whatever the reason is, the streams say how they end */
	retire(arg);
}

static void on_session_close(void *arg, const struct err *why)
{
	struct session *ss = arg;
	struct session **at = &ss->client->sessions;
	char peer[NET_ADDR_TEXT_MAX] = "";

	net_addr_format(&ss->client->addr, peer);
	log_debug("connection over", log_str("peer", peer), log_err(why));
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

/* ---- connecting ---- */

static void conn_open(void *arg)
{
	struct h2_client *c = arg;
	struct session *ss = xcalloc(1, sizeof(*ss));
	const struct h2_options opts = {
		.stream_window = c->opts.stream_window,
		.ping_interval_ns = c->opts.ping_interval_ns,
		.ping_timeout_ns = c->opts.ping_timeout_ns,
		.ops = &session_ops,
		.arg = ss,
	};

	*ss = (struct session){ .client = c, .next = c->sessions, .opened_ns = clock_now_ns() };
	ss->h2 = h2_conn_new(c->loop, TAKE_PTR(c->conn), &opts);
	c->sessions = c->current = ss;
	c->phase = READY;
	lengthen_pause(c); /* until it has proven itself */
	tell_change(c, true);
	send_or_leave(c);
}

static void conn_failed(void *arg, const struct err *why)
{
	struct h2_client *c = arg;
	struct h2_call *call = NULL;

	c->conn = NULL;
	c->phase = IDLE;
	c->n_failed++;
	lengthen_pause(c);
	while ((call = c->waiting.first) && call->attempt != c->n_failed)
		end_call(call, &(struct h2_call_end){ .how = H2_CALL_UNSENT, .why = why });
}

static const struct conn_ops connecting_ops = {
	.on_open = conn_open,
	.on_close = conn_failed,
};

static void connect_peer(struct h2_client *c)
{
	struct err err = { 0 };

	c->phase = CONNECTING;
	c->is_wanted = false;
	if (conn_connect(c->loop, &c->addr, c->tls, c->server_name, CONNECT_NS, &connecting_ops, c,
			 &c->conn, &err) < 0)
		conn_failed(c, &err);
}

static void timer_fired(void *arg)
{
	struct h2_client *c = arg;

	switch (c->phase) {
	case DUE:
		c->phase = IDLE;
		if (c->waiting.first || c->is_wanted)
			connect_peer(c);
		break;
	case READY:
		send_or_leave(c);
		break;
	case IDLE:
	case CONNECTING:
		break;
	}
}

/* ---- the door ---- */

struct h2_client *h2_client_new(struct ev_loop *loop, const struct h2_client_options *opts)
{
	struct h2_client *c = xcalloc(1, sizeof(*c));

	c->loop = loop;
	c->opts = *opts;
	c->addr = *opts->addr;
	c->opts.addr = NULL;
	c->tls = opts->tls ? tls_ref(opts->tls) : NULL;
	return c;
}

void h2_client_expect(struct h2_client *c, const char *server_name)
{
	free(c->server_name);
	c->server_name = xstrdup(server_name);
}

void h2_client_connect(struct h2_client *c)
{
	if (c->phase == READY || c->phase == CONNECTING)
		return;
	c->is_wanted = true;
	plan(c);
}

static void end_all(struct h2_client *c)
{
	const struct h2_call_end end = { .how = H2_CALL_CLOSED };

	while (c->open.first) {
		h2_stream_set_user(c->open.first->stream, NULL);
		end_call(c->open.first, &end);
	}
	while (c->waiting.first)
		end_call(c->waiting.first, &end);
}

void h2_client_free(struct h2_client *c)
{
	if (!c)
		return;
	c->is_freeing = true;
	end_all(c);
	if (c->conn)
		conn_abort(c->conn);
	while (c->sessions) {
		struct session *ss = c->sessions;

		c->sessions = ss->next;
		h2_conn_free(ss->h2);
		free(ss);
	}
	ev_timer_free(c->timer);
	tls_unref(c->tls);
	free(c->server_name);
	free(c);
}

void h2_call_start(struct h2_client *c, struct h2_call *call)
{
	call->client = c;
	wait_call(c, call);
	if (c->phase != READY || c->is_freeing)
		plan(c);
	else if (!send_waiting(c) && c->opts.leaves_full)
		plan(c); /* to leave it is not told from in here */
}

void h2_call_request(struct h2_call *call, const struct h2_header *headers, size_t n, bool end)
{
	struct h2_client *c = call->client;
	struct err ignored = { 0 };
	struct h2_stream *s =
		h2_request(h2_conn_core(c->current->h2), headers, n, end, call, &ignored);

	if (!s)
		return; /* whatever the reason: it waits until that is over */
	remove_call(call);
	call->stream = s;
	call->tries++;
	append_call(&c->open, call);
}

void h2_call_flush(struct h2_call *call)
{
	if (call->stream)
		h2_conn_flush(h2_conn_of(call->stream));
}

void h2_call_flush_soon(struct h2_call *call)
{
	if (call->stream)
		h2_conn_flush_soon(h2_conn_of(call->stream));
}

void h2_call_cancel(struct h2_call *call)
{
	struct h2_stream *s = call->stream;

	if (!call->client)
		return;
	remove_call(call);
	call->stream = NULL;
	call->client = NULL;
	if (!s)
		return;
	h2_stream_set_user(s, NULL);
	h2_reset(s, H2_CANCEL);
	h2_conn_flush(h2_conn_of(s));
}
