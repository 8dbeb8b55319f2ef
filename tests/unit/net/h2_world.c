/* SPDX-License-Identifier: Apache-2.0 */
#include "h2_world.h"

#include "event/loop.h"
#include "net/conn.h"
#include "net/tls.h"

struct h2_world t;

struct ev_timer {
	struct ev_timer *next;
	ev_timer_fn fn;
	void *arg;
	int64_t due_ns; /* 0: not started */
	bool is_freed;
};

/* ---- the loop ---- */

struct ev_timer *ev_timer_new(struct ev_loop *loop, ev_timer_fn fn, void *arg)
{
	struct ev_timer *timer = xcalloc(1, sizeof(*timer));

	*timer = (struct ev_timer){ .next = t.timers, .fn = fn, .arg = arg };
	t.timers = timer;
	return timer;
}

void ev_timer_start(struct ev_timer *timer, int64_t delay_ns, int64_t repeat_ns)
{
	timer->due_ns = clock_now_ns() + delay_ns;
}

void ev_timer_stop(struct ev_timer *timer)
{
	timer->due_ns = 0;
}

void ev_timer_free(struct ev_timer *timer)
{
	if (!timer)
		return;
	timer->due_ns = 0;
	timer->is_freed = true;
}

struct ev_turn *ev_turn_new(struct ev_loop *loop, ev_timer_fn fn, void *arg)
{
	return (struct ev_turn *)ev_timer_new(loop, fn, arg);
}

void ev_turn_start(struct ev_turn *turn)
{
	ev_timer_start((struct ev_timer *)turn, 0, 0);
}

void ev_turn_free(struct ev_turn *turn)
{
	ev_timer_free((struct ev_timer *)turn);
}

static struct ev_timer *find_due(int64_t until_ns)
{
	struct ev_timer *found = NULL;

	for (struct ev_timer *timer = t.timers; timer; timer = timer->next)
		if (timer->due_ns > 0 && timer->due_ns <= until_ns &&
		    (!found || timer->due_ns < found->due_ns))
			found = timer;
	return found;
}

/* ---- connections ---- */

struct tls *tls_ref(struct tls *tls)
{
	return tls;
}

void tls_unref(struct tls *tls)
{
}

int conn_connect(struct ev_loop *loop, const struct net_addr *addr, struct tls *tls,
		 const char *server_name, int64_t timeout_ns, const struct conn_ops *ops, void *arg,
		 struct conn **ret_conn, struct err *err)
{
	struct conn *c = &t.conns[t.n_conns++];

	ASSERT_TRUE(t.n_conns <= CONNS_MAX);
	*c = (struct conn){ .ops = ops, .arg = arg, .fate = *t.script };
	c->dialled_ns = clock_now_ns();
	if (t.script[1])
		t.script++;
	if (c->fate == 'n') {
		c->is_over = true;
		return err_set(err, ERR_UNAVAILABLE, "no such socket");
	}
	*ret_conn = c;
	return 0;
}

void conn_set_ops(struct conn *c, const struct conn_ops *ops, void *arg)
{
	c->ops = ops;
	c->arg = arg;
}

size_t conn_write(struct conn *c, const void *bytes, size_t n)
{
	ASSERT_FALSE(c->is_over);
	h2_receive(c->peer, clock_now_ns(), bytes, n);
	return 0;
}

size_t conn_backlog(const struct conn *c)
{
	return 0;
}

int64_t conn_stalled_ns(const struct conn *c)
{
	return 0;
}

const char *conn_peer(const struct conn *c)
{
	return "peer";
}

void conn_close(struct conn *c)
{
	ASSERT_FALSE(c->is_over);
	c->is_over = true;
}

void conn_abort(struct conn *c)
{
	conn_close(c);
}

/* ---- the peer ---- */

static void peer_headers(void *arg, struct h2_stream *s, const struct h2_header *h, size_t n,
			 bool is_trailers, bool end)
{
	static const struct h2_header ok = { ":status", "200", 0, false };
	struct conn *c = arg;
	const char *path = "";

	for (size_t i = 0; i < n; i++)
		if (str_is_equal(h[i].name, ":path"))
			path = h[i].value;
	if (str_is_equal(path, "/hold"))
		c->held = s;
	else if (str_is_equal(path, "/refuse") || (str_is_equal(path, "/once") && !t.n_refused++))
		h2_reset(s, H2_REFUSED_STREAM);
	else
		h2_respond(s, &ok, 1, true);
}

static void peer_data(void *arg, struct h2_stream *s, const uint8_t *bytes, size_t n)
{
	h2_consume(s, n);
}

static void peer_end(void *arg, struct h2_stream *s)
{
}

static void peer_stream_close(void *arg, struct h2_stream *s, uint32_t error)
{
	struct conn *c = arg;

	if (c->held == s)
		c->held = NULL;
}

static void peer_close(void *arg, const struct err *why)
{
}

static const struct h2_ops peer_ops = {
	.on_headers = peer_headers,
	.on_data = peer_data,
	.on_end = peer_end,
	.on_stream_close = peer_stream_close,
	.on_close = peer_close,
};

void lose(struct conn *c)
{
	const struct err why = { .code = ERR_UNAVAILABLE, .msg = "cable cut" };

	c->is_over = true;
	c->ops->on_close(c->arg, &why);
}

void answer_held(struct conn *c)
{
	static const struct h2_header ok = { ":status", "200", 0, false };

	assert_non_null(c->held);
	h2_respond(c->held, &ok, 1, true);
}

/* What the script says of an attempt; false: nothing now. */
static bool decide(struct conn *c)
{
	const struct err why = { .code = ERR_UNAVAILABLE, .msg = "nobody there" };

	if (c->is_over || c->is_decided || c->fate == 'h')
		return false;
	c->is_decided = true;
	if (c->fate == 'x') {
		c->is_over = true;
		c->ops->on_close(c->arg, &why);
		return true;
	}
	c->peer = h2_new(&(struct h2_options){ .is_server = true, .ops = &peer_ops, .arg = c },
			 clock_now_ns());
	c->is_open = true;
	c->ops->on_open(c->arg);
	if (c->fate == 'd')
		lose(c);
	return true;
}

/* The limit is the first setting of the peer's first frame (RFC 9113 §6.5.1). */
static void patch_limit(struct conn *c)
{
	if (t.limit > 0 && !c->is_patched) {
		ASSERT_EQ(c->wire.buf[3], 4);
		ASSERT_EQ(c->wire.buf[10], 3);
		memset(c->wire.buf + 11, 0, 3);
		c->wire.buf[14] = (char)t.limit;
	}
	c->is_patched = true;
}

static bool carry(struct conn *c)
{
	if (!c->is_open || c->is_over)
		return false;
	if (h2_next(c->peer) <= clock_now_ns())
		(void)h2_tick(c->peer, clock_now_ns());
	if (h2_pull(c->peer, &c->wire, SIZE_MAX) == 0)
		return false;
	patch_limit(c);
	c->ops->on_data(c->arg, (const uint8_t *)c->wire.buf, c->wire.len);
	str_reset(&c->wire);
	return true;
}

/* Until nothing is left to happen now. */
void settle(void)
{
	struct ev_timer *timer = NULL;
	bool any = true;

	while (any) {
		any = false;
		for (unsigned i = 0; i < t.n_conns; i++)
			any |= decide(&t.conns[i]) || carry(&t.conns[i]);
		if ((timer = find_due(clock_now_ns())) != NULL) {
			timer->due_ns = 0;
			timer->fn(timer->arg);
			any = true;
		}
	}
}

void pass(int64_t ns)
{
	int64_t until_ns = clock_now_ns() + ns;
	struct ev_timer *timer = NULL;

	settle();
	while ((timer = find_due(until_ns)) != NULL) {
		clock_fake_set(timer->due_ns);
		settle();
	}
	clock_fake_set(until_ns);
	settle();
}

/* ---- calls ---- */

static struct call *call_of(struct h2_call *h2)
{
	return container_of(h2, struct call, h2);
}

void start(struct call *call)
{
	t.is_inside = true;
	h2_call_start(t.client, &call->h2);
	t.is_inside = false;
}

struct call *make(const char *path)
{
	struct call *call = &t.calls[t.n_calls++];

	ASSERT_TRUE(t.n_calls <= CALLS_MAX);
	call->path = path;
	return call;
}

struct call *begin(const char *path)
{
	struct call *call = make(path);

	start(call);
	settle();
	return call;
}

static void on_turn(struct h2_call *h2)
{
	const struct h2_header head[] = {
		{ ":method", "GET", 0, false },
		{ ":scheme", "http", 0, false },
		{ ":path", call_of(h2)->path, 0, false },
		{ ":authority", "localhost", 0, false },
	};

	call_of(h2)->n_turns++;
	h2_call_request(h2, head, ARRAY_LEN(head), true);
}

static void on_headers(struct h2_call *h2, const struct h2_header *h, size_t n, bool is_trailers,
		       bool end)
{
	ASSERT_FALSE(t.is_inside);
	call_of(h2)->has_end = end;
}

static bool on_data(struct h2_call *h2, const uint8_t *bytes, size_t n)
{
	return true;
}

static void on_over(struct h2_call *h2, const struct h2_call_end *end)
{
	struct call *call = call_of(h2);

	ASSERT_FALSE(t.is_inside);
	assert_null(h2->client);
	assert_null(h2->stream);
	call->n_over++;
	call->end = *end;
	if (end->why)
		call->why = *end->why;
	if (call->cancels)
		h2_call_cancel(&call->cancels->h2);
	if (call->starts)
		start(call->starts);
}

static void on_change(void *arg, bool is_connected)
{
	ASSERT_FALSE(t.is_inside);
	ASSERT_TRUE(t.is_connected != is_connected);
	t.is_connected = is_connected;
	t.n_changes++;
}

static const struct h2_client_ops client_ops = {
	.on_turn = on_turn,
	.on_headers = on_headers,
	.on_data = on_data,
	.on_over = on_over,
	.on_change = on_change,
};

void expect_over(const struct call *call, int how)
{
	ASSERT_EQ(call->n_over, 1);
	ASSERT_EQ(call->end.how, how);
}

void expect_answered(const struct call *call)
{
	expect_over(call, H2_CALL_ENDED);
	ASSERT_TRUE(call->has_end);
}

void expect_between(int64_t ns, int64_t pause_ns)
{
	assert_in_range(ns, pause_ns * 7 / 10, pause_ns * 13 / 10);
}

void set_up(const char *script, struct h2_client_options opts)
{
	const struct net_addr addr = { .kind = NET_ADDR_TCP, .host = "localhost", .port = 1 };

	memset(&t, 0, sizeof(t));
	clock_fake_set(START_NS);
	t.script = script;
	opts.addr = &addr;
	opts.pause_min_ns = PAUSE_MIN;
	opts.pause_max_ns = PAUSE_MAX;
	opts.tries = opts.tries ? opts.tries : 3;
	opts.ops = &client_ops;
	t.client = h2_client_new(NULL, &opts);
}

void tear_down(void)
{
	h2_client_free(t.client);
	t.client = NULL;
	assert_null(find_due(INT64_MAX));
	for (unsigned i = 0; i < t.n_conns; i++) {
		ASSERT_TRUE(t.conns[i].is_over);
		h2_free(t.conns[i].peer);
		str_done(&t.conns[i].wire);
	}
	while (t.timers) {
		struct ev_timer *timer = t.timers;

		ASSERT_TRUE(timer->is_freed);
		t.timers = timer->next;
		free(timer);
	}
	for (unsigned i = 0; i < t.n_calls; i++)
		assert_null(t.calls[i].h2.client);
	clock_fake_set(-1);
}
