/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keeper of connections without sockets or time: conn, timers and turns are this file's, the
 * clock stands still, and the peer is a server's session that acts by the path of a request. What
 * becomes of each attempt says a script: one letter an attempt, the last one for all that follow.
 *
 *   o opens   x fails   n fails inside conn_connect   d opens and is lost at once   h hangs
 */
#include "check.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "event/loop.h"
#include "net/conn.h"
#include "net/h2_client.h"
#include "net/tls.h"

#define START_NS (1000 * NS_PER_S)
#define PAUSE_MIN (100 * NS_PER_MS)
#define PAUSE_MAX (800 * NS_PER_MS)
#define CONNS_MAX 32
#define CALLS_MAX 16

struct conn {
	const struct conn_ops *ops;
	void *arg;
	char fate;
	int64_t dialled_ns;
	bool is_decided, is_open, is_over;
	struct h2 *peer;
	struct h2_stream *held; /* of the last "/hold" */
	struct str wire;        /* to the client */
	bool is_patched;
};

struct ev_timer {
	struct ev_timer *next;
	ev_timer_fn fn;
	void *arg;
	int64_t due_ns; /* 0: not started */
	bool is_freed;
};

struct call {
	struct h2_call h2;
	const char *path;
	struct call *starts, *cancels; /* in on_over */
	unsigned n_turns, n_over;
	bool has_end;
	struct h2_call_end end;
	struct err why;
};

static struct {
	const char *script;
	struct conn conns[CONNS_MAX];
	unsigned n_conns;
	struct ev_timer *timers; /* turns too */
	uint32_t limit;          /* of streams; 0: the peer's own */
	struct h2_client *client;
	struct call calls[CALLS_MAX];
	unsigned n_calls, n_refused;
	bool is_connected, is_inside;
	unsigned n_changes;
} t;

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

static void lose(struct conn *c)
{
	const struct err why = { .code = ERR_UNAVAILABLE, .msg = "cable cut" };

	c->is_over = true;
	c->ops->on_close(c->arg, &why);
}

static void answer_held(struct conn *c)
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
static void settle(void)
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

static void pass(int64_t ns)
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

static void start(struct call *call)
{
	t.is_inside = true;
	h2_call_start(t.client, &call->h2);
	t.is_inside = false;
}

static struct call *make(const char *path)
{
	struct call *call = &t.calls[t.n_calls++];

	ASSERT_TRUE(t.n_calls <= CALLS_MAX);
	call->path = path;
	return call;
}

static struct call *begin(const char *path)
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

static void expect_over(const struct call *call, int how)
{
	ASSERT_EQ(call->n_over, 1);
	ASSERT_EQ(call->end.how, how);
}

static void expect_answered(const struct call *call)
{
	expect_over(call, H2_CALL_ENDED);
	ASSERT_TRUE(call->has_end);
}

static void expect_between(int64_t ns, int64_t pause_ns)
{
	assert_in_range(ns, pause_ns * 7 / 10, pause_ns * 13 / 10);
}

static void set_up(const char *script, struct h2_client_options opts)
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

/* The client is gone and nothing runs for it any more. */
static void tear_down(void)
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

#define BY_REPLY ((struct h2_client_options){ 0 })
#define BY_TIME ((struct h2_client_options){ .settle_ns = NS_PER_S })

/* ---- connecting ---- */

TEST(the_first_call_connects_and_others_share_it)
{
	set_up("o", BY_REPLY);
	pass(NS_PER_S);
	ASSERT_EQ(t.n_conns, 0);
	for (int i = 0; i < 5; i++)
		expect_answered(begin("/"));
	ASSERT_EQ(t.n_conns, 1);
	ASSERT_EQ(t.n_changes, 1);
	ASSERT_TRUE(t.is_connected);
	tear_down();
}

TEST(one_attempt_at_a_time_and_all_that_wait_go_with_it)
{
	struct call *a = NULL, *b = NULL;

	set_up("h", BY_REPLY);
	a = begin("/");
	b = begin("/");
	pass(5 * NS_PER_S);
	ASSERT_EQ(t.n_conns, 1);
	ASSERT_EQ(a->n_turns + b->n_turns, 0);
	t.conns[0].fate = 'o';
	settle();
	expect_answered(a);
	expect_answered(b);
	tear_down();
}

TEST(a_failed_attempt_is_told_to_those_that_wait_and_to_no_others)
{
	static const char *const scripts[] = { "xo", "no" };

	for (size_t i = 0; i < ARRAY_LEN(scripts); i++) {
		struct call *a, *b, *later;

		set_up(scripts[i], BY_REPLY);
		a = make("/");
		later = make("/");
		a->starts = later;
		start(a);
		b = begin("/");
		expect_over(a, H2_CALL_UNSENT);
		expect_over(b, H2_CALL_UNSENT);
		ASSERT_STR(b->why.msg, i == 0 ? "nobody there" : "no such socket");
		ASSERT_EQ(later->n_over, 0);
		pass(2 * PAUSE_MIN);
		expect_answered(later);
		expect_between(t.conns[1].dialled_ns - START_NS, PAUSE_MIN);
		tear_down();
	}
}

TEST(pauses_double_up_to_their_limit_and_only_calls_end_them)
{
	static const int64_t pauses[] = { PAUSE_MIN, 2 * PAUSE_MIN, 4 * PAUSE_MIN, PAUSE_MAX,
					  PAUSE_MAX };
	int64_t last_ns = START_NS;

	set_up("x", BY_TIME);
	expect_over(begin("/"), H2_CALL_UNSENT);
	for (size_t i = 0; i < ARRAY_LEN(pauses); i++) {
		struct call *call = begin("/");

		pass(2 * NS_PER_S);
		expect_over(call, H2_CALL_UNSENT);
		ASSERT_EQ(t.n_conns, i + 2);
		if (i == 0)
			expect_between(t.conns[1].dialled_ns - START_NS, PAUSE_MIN);
		last_ns = t.conns[i + 1].dialled_ns;
		/* The pause is long over, so the next one begins at once unless we come sooner. */
		clock_fake_set(last_ns);
	}
	for (size_t i = 1; i < ARRAY_LEN(pauses); i++)
		expect_between(t.conns[i + 1].dialled_ns - t.conns[i].dialled_ns, pauses[i]);
	pass(60 * NS_PER_S);
	ASSERT_EQ(t.n_conns, ARRAY_LEN(pauses) + 1);
	tear_down();
}

/* ---- when a connection counts as made ---- */

TEST(a_peer_that_accepts_and_drops_is_called_in_growing_intervals)
{
	const struct h2_client_options both[] = { BY_REPLY, BY_TIME };

	for (size_t k = 0; k < ARRAY_LEN(both); k++) {
		set_up("d", both[k]);
		for (unsigned i = 0; i < 6; i++) {
			struct call *call = begin("/");

			pass(i == 0 ? 0 : 2 * PAUSE_MAX);
			expect_over(call, H2_CALL_LOST);
			ASSERT_STR(call->why.msg, "cable cut");
			ASSERT_EQ(t.n_conns, i + 1);
			clock_fake_set(t.conns[i].dialled_ns);
		}
		expect_between(t.conns[1].dialled_ns - t.conns[0].dialled_ns, PAUSE_MIN);
		expect_between(t.conns[3].dialled_ns - t.conns[2].dialled_ns, 4 * PAUSE_MIN);
		expect_between(t.conns[5].dialled_ns - t.conns[4].dialled_ns, PAUSE_MAX);
		tear_down();
	}
}

TEST(by_time_a_connection_that_lasted_is_replaced_at_once)
{
	set_up("xo", BY_TIME);
	expect_over(begin("/"), H2_CALL_UNSENT);
	pass(2 * PAUSE_MIN);
	expect_answered(begin("/"));
	pass(NS_PER_S);
	lose(&t.conns[1]);
	ASSERT_FALSE(t.is_connected);
	expect_answered(begin("/"));
	ASSERT_EQ(t.n_conns, 3);
	/* This one did not last: answered or not, the next waits from now. */
	pass(NS_PER_S / 2);
	lose(&t.conns[2]);
	(void)begin("/");
	ASSERT_EQ(t.n_conns, 3);
	pass(2 * PAUSE_MIN);
	ASSERT_EQ(t.n_conns, 4);
	expect_between(t.conns[3].dialled_ns - t.conns[2].dialled_ns - NS_PER_S / 2, PAUSE_MIN);
	tear_down();
}

TEST(by_reply_an_answer_makes_pauses_short_again)
{
	set_up("xxxo", BY_REPLY);
	for (unsigned i = 0; i < 3; i++) {
		struct call *call = begin("/");

		pass(PAUSE_MAX);
		expect_over(call, H2_CALL_UNSENT);
	}
	expect_answered(begin("/"));
	pass(2 * PAUSE_MAX);
	lose(&t.conns[3]);
	expect_answered(begin("/"));
	lose(&t.conns[4]);
	(void)begin("/");
	ASSERT_EQ(t.n_conns, 5);
	pass(2 * PAUSE_MIN);
	ASSERT_EQ(t.n_conns, 6);
	expect_between(t.conns[5].dialled_ns - t.conns[4].dialled_ns, PAUSE_MIN);
	tear_down();
}

/* ---- connections that are left ---- */

TEST(after_goaway_streams_finish_beside_the_next_connection)
{
	struct call *old = NULL;

	set_up("o", BY_REPLY);
	old = begin("/hold");
	pass(NS_PER_S);
	h2_drain(t.conns[0].peer, clock_now_ns());
	settle();
	ASSERT_FALSE(t.is_connected);
	expect_answered(begin("/"));
	ASSERT_EQ(t.n_conns, 2);
	ASSERT_FALSE(t.conns[0].is_over);
	answer_held(&t.conns[0]);
	settle();
	expect_answered(old);
	ASSERT_TRUE(t.conns[0].is_over);
	ASSERT_FALSE(t.conns[1].is_over);
	tear_down();
}

TEST(a_connection_without_streams_is_closed_at_goaway_and_none_is_made_for_nobody)
{
	set_up("o", BY_REPLY);
	expect_answered(begin("/"));
	h2_drain(t.conns[0].peer, clock_now_ns());
	pass(NS_PER_S);
	ASSERT_TRUE(t.conns[0].is_over);
	ASSERT_EQ(t.n_conns, 1);
	tear_down();
}

TEST(a_cancelled_last_stream_lets_its_connection_go)
{
	struct call *old = NULL;

	set_up("o", BY_REPLY);
	old = begin("/hold");
	h2_drain(t.conns[0].peer, clock_now_ns());
	settle();
	ASSERT_FALSE(t.conns[0].is_over);
	h2_call_cancel(&old->h2);
	settle();
	ASSERT_TRUE(t.conns[0].is_over);
	ASSERT_EQ(old->n_over, 0);
	tear_down();
}

TEST(a_peer_that_falls_silent_is_given_up)
{
	struct call *call = NULL;

	set_up("o", (struct h2_client_options){ .ping_interval_ns = 20 * NS_PER_S,
						.ping_timeout_ns = 10 * NS_PER_S });
	call = begin("/hold");
	pass(100 * NS_PER_S); /* it answers PINGs */
	ASSERT_EQ(call->n_over, 0);
	t.conns[0].is_open = false; /* nothing comes of it any more */
	pass(31 * NS_PER_S);
	expect_over(call, H2_CALL_LOST);
	assert_non_null(strstr(call->why.msg, "PING"));
	tear_down();
}

/* ---- refused streams ---- */

TEST(what_is_refused_unseen_is_sent_again_so_often_and_no_more)
{
	struct call *call = NULL, *final = NULL;

	set_up("o", BY_REPLY);
	call = begin("/refuse");
	expect_over(call, H2_CALL_ENDED);
	ASSERT_EQ(call->end.error, H2_REFUSED_STREAM);
	ASSERT_EQ(call->n_turns, 3);
	call = begin("/once");
	expect_answered(call);
	ASSERT_EQ(call->n_turns, 2);
	final = make("/refuse");
	final->h2.is_final = true;
	start(final);
	settle();
	expect_over(final, H2_CALL_ENDED);
	ASSERT_EQ(final->n_turns, 1);
	ASSERT_EQ(t.n_conns, 1);
	tear_down();
}

/* ---- the limit of streams ---- */

TEST(calls_wait_for_room_and_go_in_order)
{
	struct call *first = NULL, *second = NULL, *third = NULL;

	set_up("o", BY_TIME);
	t.limit = 1;
	expect_answered(begin("/"));
	first = begin("/hold");
	second = begin("/hold");
	third = begin("/");
	assert_null(second->h2.stream);
	h2_call_cancel(&first->h2);
	settle();
	assert_non_null(second->h2.stream);
	assert_null(third->h2.stream);
	answer_held(&t.conns[0]);
	settle();
	expect_answered(second);
	expect_answered(third);
	ASSERT_EQ(t.n_conns, 1);
	tear_down();
}

TEST(a_full_connection_is_left_where_streams_last)
{
	struct call *first = NULL, *second = NULL;

	set_up("o", (struct h2_client_options){ .leaves_full = true });
	t.limit = 1;
	expect_answered(begin("/"));
	pass(2 * PAUSE_MIN);
	first = begin("/hold");
	second = begin("/hold");
	ASSERT_EQ(t.n_conns, 2);
	assert_non_null(second->h2.stream);
	answer_held(&t.conns[0]);
	settle();
	expect_answered(first);
	ASSERT_TRUE(t.conns[0].is_over);
	ASSERT_EQ(second->n_over, 0);
	h2_call_cancel(&second->h2);
	tear_down();
}

/* ---- leaving ---- */

TEST(a_call_may_leave_in_every_phase)
{
	struct call *call = NULL;

	set_up("xho", BY_REPLY);
	call = make("/");
	h2_call_cancel(&call->h2); /* not started */
	expect_over(begin("/"), H2_CALL_UNSENT);
	call = begin("/"); /* in the pause */
	h2_call_cancel(&call->h2);
	h2_call_cancel(&call->h2);
	pass(NS_PER_S);
	ASSERT_EQ(t.n_conns, 1); /* for nobody */
	call = begin("/");       /* while it connects */
	ASSERT_EQ(t.n_conns, 2);
	h2_call_cancel(&call->h2);
	t.conns[1].fate = 'o';
	settle();
	ASSERT_TRUE(t.is_connected);
	call = begin("/hold"); /* on its stream */
	h2_call_cancel(&call->h2);
	settle();
	assert_null(t.conns[1].held);
	expect_answered(begin("/"));
	ASSERT_EQ(t.n_conns, 2);
	tear_down();
}

TEST(a_call_may_end_others_from_its_end)
{
	struct call *a = NULL, *b = NULL, *later = NULL;

	set_up("xdo", BY_TIME);
	for (int i = 0; i < 2; i++) { /* with the attempt, with the connection */
		a = make("/hold");
		b = make("/hold");
		later = make("/");
		/* Whichever is first. */
		a->cancels = b;
		b->cancels = a;
		a->starts = b->starts = i == 0 ? NULL : later;
		start(a);
		start(b);
		pass(NS_PER_S);
		ASSERT_EQ(a->n_over + b->n_over, 1);
	}
	expect_answered(later);
	ASSERT_EQ(t.n_conns, 3);
	tear_down();
}

TEST(freeing_ends_what_is_there_in_every_phase)
{
	static const char *const scripts[] = { "x", "h", "o" };

	for (size_t i = 0; i < ARRAY_LEN(scripts); i++) {
		struct call *first, *second, *third;

		set_up(scripts[i], BY_TIME);
		t.limit = 1;
		first = begin("/hold");
		second = begin("/hold");
		third = make("/");
		second->starts = third; /* too late, which it is told */
		tear_down();
		expect_over(first, i == 0 ? H2_CALL_UNSENT : H2_CALL_CLOSED);
		expect_over(second, H2_CALL_CLOSED);
		expect_over(third, H2_CALL_CLOSED);
	}
	h2_client_free(NULL);
}

RUN_TESTS(UNIT(the_first_call_connects_and_others_share_it),
	  UNIT(one_attempt_at_a_time_and_all_that_wait_go_with_it),
	  UNIT(a_failed_attempt_is_told_to_those_that_wait_and_to_no_others),
	  UNIT(pauses_double_up_to_their_limit_and_only_calls_end_them),
	  UNIT(a_peer_that_accepts_and_drops_is_called_in_growing_intervals),
	  UNIT(by_time_a_connection_that_lasted_is_replaced_at_once),
	  UNIT(by_reply_an_answer_makes_pauses_short_again),
	  UNIT(after_goaway_streams_finish_beside_the_next_connection),
	  UNIT(a_connection_without_streams_is_closed_at_goaway_and_none_is_made_for_nobody),
	  UNIT(a_cancelled_last_stream_lets_its_connection_go),
	  UNIT(a_peer_that_falls_silent_is_given_up),
	  UNIT(what_is_refused_unseen_is_sent_again_so_often_and_no_more),
	  UNIT(calls_wait_for_room_and_go_in_order),
	  UNIT(a_full_connection_is_left_where_streams_last), UNIT(a_call_may_leave_in_every_phase),
	  UNIT(a_call_may_end_others_from_its_end), UNIT(freeing_ends_what_is_there_in_every_phase))
