/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two HTTP/2 sessions of one loop, joined by a unix socket. The test is the loop's thread: it acts,
 * then runs the loop until what it waits for is true, so each state is seen as it is.
 */
#include "check.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "event/loop.h"
#include "net/conn.h"
#include "net/h2_conn.h"
#include "net/listener.h"

struct end {
	struct h2_conn *h2;
	struct h2_stream *stream;
	bool consumes;
	size_t n_got, n_fields;
	char status[64]; /* the last field named "status" or ":status" */
	bool has_ended, has_trailers, is_closed, had_goaway, is_drained;
	unsigned n_stream_closes;
	uint32_t error;
	struct err why;
};

static struct {
	char dir[32];
	struct net_addr addr;
	struct ev_loop *loop;
	struct listener *listener;
	struct conn *dialling, *mute; /* mute: a peer that never answers */
	bool wants_mute;
	int64_t ping_ns;
	struct end client, server;
	bool (*is_reached)(void);
	struct ev_timer *timeout;
	bool is_timed_out;
} t;

static void changed(void)
{
	if (t.is_reached && t.is_reached())
		ev_loop_stop(t.loop);
}

static void on_headers(void *arg, struct h2_stream *s, const struct h2_header *h, size_t n,
		       bool is_trailers, bool end)
{
	struct end *e = arg;

	e->stream = s;
	e->has_trailers |= is_trailers;
	e->has_ended |= end;
	e->n_fields = n;
	for (size_t i = 0; i < n; i++) {
		ASSERT_EQ(strlen(h[i].value), h[i].value_len);
		if (str_has_suffix(h[i].name, "status"))
			snprintf(e->status, sizeof(e->status), "%s", h[i].value);
	}
	changed();
}

static void on_data(void *arg, struct h2_stream *s, const uint8_t *bytes, size_t n)
{
	struct end *e = arg;

	for (size_t i = 0; i < n; i++)
		ASSERT_EQ(bytes[i], (uint8_t)((e->n_got + i) % 251));
	e->n_got += n;
	if (e->consumes)
		h2_consume(s, n);
	changed();
}

static void on_end(void *arg, struct h2_stream *s)
{
	struct end *e = arg;

	(void)s;
	e->has_ended = true;
	changed();
}

static void on_stream_drained(void *arg, struct h2_stream *s)
{
	struct end *e = arg;

	(void)s;
	e->is_drained = true;
	changed();
}

static void on_stream_close(void *arg, struct h2_stream *s, uint32_t error)
{
	struct end *e = arg;

	e->n_stream_closes++;
	e->error = error;
	if (e->stream == s)
		e->stream = NULL;
	changed();
}

static void on_goaway(void *arg, uint32_t error)
{
	struct end *e = arg;

	(void)error;
	e->had_goaway = true;
	changed();
}

static void on_close(void *arg, const struct err *why)
{
	struct end *e = arg;

	e->is_closed = true;
	e->why = *why;
	h2_conn_free(e->h2);
	e->h2 = NULL;
	changed();
}

static const struct h2_ops ops = {
	.on_headers = on_headers,
	.on_data = on_data,
	.on_end = on_end,
	.on_stream_drained = on_stream_drained,
	.on_stream_close = on_stream_close,
	.on_goaway = on_goaway,
	.on_close = on_close,
};

/* ---- running the loop ---- */

static void timed_out(void *arg)
{
	(void)arg;
	t.is_timed_out = true;
	ev_loop_stop(t.loop);
}

static void run_until(bool (*is_reached)(void))
{
	t.is_reached = is_reached;
	t.is_timed_out = false;
	ev_timer_start(t.timeout, 20 * NS_PER_S, 0);
	while (!is_reached() && !t.is_timed_out)
		assert_int_equal(ev_loop_run(t.loop), 0);
	ev_timer_stop(t.timeout);
	assert_false(t.is_timed_out);
}

#define UNTIL(name, what)      \
	static bool name(void) \
	{                      \
		return (what); \
	}
UNTIL(are_joined, t.client.h2 && (t.server.h2 || t.mute))
UNTIL(server_has_request, t.server.stream)
UNTIL(server_has_it_all, t.server.has_ended)
UNTIL(client_has_it_all, t.client.has_ended)
UNTIL(client_has_a_window_full, t.client.n_got >= 1 << 20)
UNTIL(server_is_drained, t.server.is_drained)
UNTIL(client_stream_is_over, t.client.n_stream_closes > 0)
UNTIL(server_stream_is_over, t.server.n_stream_closes > 0)
UNTIL(client_had_goaway, t.client.had_goaway)
UNTIL(client_is_closed, t.client.is_closed)
UNTIL(both_are_closed, t.client.is_closed &&t.server.is_closed)

static void mute_data(void *arg, const uint8_t *bytes, size_t n)
{
	(void)arg;
	(void)bytes;
	(void)n;
}

static void mute_close(void *arg, const struct err *why)
{
	(void)arg;
	(void)why;
	t.mute = NULL;
}

static void accepted(void *arg, struct conn *c)
{
	static const struct conn_ops mute = { .on_data = mute_data, .on_close = mute_close };

	(void)arg;
	if (t.wants_mute) {
		t.mute = c;
		conn_set_ops(c, &mute, NULL);
	} else {
		t.server.h2 = h2_conn_new(
			t.loop, c,
			&(struct h2_options){ .is_server = true, .ops = &ops, .arg = &t.server });
	}
	changed();
}

static void dialled(void *arg)
{
	(void)arg;
	t.client.h2 = h2_conn_new(t.loop, TAKE_PTR(t.dialling),
				  &(struct h2_options){ .ping_interval_ns = t.ping_ns,
							.ping_timeout_ns = t.ping_ns,
							.ops = &ops,
							.arg = &t.client });
	changed();
}

static void join(void)
{
	static const struct conn_ops dial_ops = { .on_open = dialled };
	struct err err = { 0 };

	ASSERT_OK(conn_connect(t.loop, &t.addr, NULL, NULL, 0, &dial_ops, NULL, &t.dialling, &err),
		  &err);
	run_until(are_joined);
}

static int set_up(void **state)
{
	struct err err = { 0 };

	(void)state;
	memset(&t, 0, sizeof(t));
	memcpy(t.dir, "/tmp/cleat-h2-XXXXXX", 21);
	assert_non_null(mkdtemp(t.dir));
	t.addr.kind = NET_ADDR_UNIX;
	snprintf(t.addr.path, sizeof(t.addr.path), "%s/s", t.dir);
	assert_int_equal(ev_loop_new(&t.loop), 0);
	t.timeout = ev_timer_new(t.loop, timed_out, NULL);
	ASSERT_OK(listener_open(t.loop, &t.addr, 0600, NULL, accepted, NULL, &t.listener, &err),
		  &err);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	h2_conn_free(t.client.h2);
	h2_conn_free(t.server.h2);
	if (t.mute)
		conn_abort(t.mute);
	listener_close(t.listener);
	ev_timer_free(t.timeout);
	ev_loop_free(t.loop);
	return rmdir(t.dir);
}

/* ---- what is said ---- */

static struct h2_stream *request(bool end)
{
	static const struct h2_header head[] = {
		{ ":method", "POST", 0, false },
		{ ":scheme", "http", 0, false },
		{ ":path", "/", 0, false },
		{ ":authority", "localhost", 0, false },
	};
	struct err err = { 0 };
	struct h2_stream *s =
		h2_request(h2_conn_core(t.client.h2), head, ARRAY_LEN(head), end, NULL, &err);

	ASSERT_OK(s ? 0 : -1, &err);
	h2_conn_flush(t.client.h2);
	return s;
}

static void respond(void)
{
	static const struct h2_header head[] = { { ":status", "200", 0, false } };

	assert_int_equal(h2_respond(t.server.stream, head, 1, false), 0);
}

static void end_with(const char *status)
{
	const struct h2_header trailers[] = { { "x-status", status, 0, false } };

	h2_send_trailers(t.server.stream, trailers, 1);
	h2_conn_flush(t.server.h2);
}

/* n bytes of the pattern that on_data expects, from at on. */
static uint8_t *pattern(size_t at, size_t n)
{
	uint8_t *bytes = xmalloc(n);

	for (size_t i = 0; i < n; i++)
		bytes[i] = (uint8_t)((at + i) % 251);
	return bytes;
}

/* ---- tests ---- */

TEST(bodies_and_trailers_arrive_in_both_directions)
{
	autofree uint8_t *body = pattern(0, 3 << 20);
	struct h2_stream *s = NULL;

	t.client.consumes = t.server.consumes = true;
	join();
	s = request(false);
	h2_send(s, body, 3 << 20, true);
	h2_conn_flush(t.client.h2);
	run_until(server_has_it_all);
	ASSERT_EQ(t.server.n_got, 3 << 20);
	respond();
	h2_send(t.server.stream, body, 3 << 20, false);
	end_with("fine");
	run_until(client_has_it_all);
	ASSERT_EQ(t.client.n_got, 3 << 20);
	ASSERT_TRUE(t.client.has_trailers);
	ASSERT_STR(t.client.status, "fine");
	run_until(client_stream_is_over);
	ASSERT_EQ(t.client.error, H2_NO_ERROR);
}

TEST(a_reader_who_does_not_consume_stalls_the_sender_and_not_the_memory)
{
	autofree uint8_t *body = pattern(0, 3 << 20);

	join();
	(void)request(true);
	run_until(server_has_request);
	respond();
	h2_send(t.server.stream, body, 3 << 20, false);
	h2_conn_flush(t.server.h2);
	run_until(client_has_a_window_full);
	ASSERT_EQ(t.client.n_got, 1 << 20);
	ASSERT_EQ(h2_send(t.server.stream, NULL, 0, false), 2 << 20);
	ASSERT_FALSE(t.server.is_drained);

	t.client.consumes = true;
	h2_consume(t.client.stream, t.client.n_got);
	h2_conn_flush(t.client.h2);
	run_until(server_is_drained);
	end_with("done");
	run_until(client_has_it_all);
	ASSERT_EQ(t.client.n_got, 3 << 20);
}

/* The sender always has something waiting, and must not keep what went out. */
TEST(a_body_that_never_runs_dry_arrives_whole)
{
	size_t sent = 0;

	t.client.consumes = true;
	join();
	(void)request(true);
	run_until(server_has_request);
	respond();
	for (int i = 0; i < 40; i++) {
		autofree uint8_t *part = pattern(sent, 400000);

		t.server.is_drained = false;
		h2_send(t.server.stream, part, 400000, false);
		sent += 400000;
		h2_conn_flush(t.server.h2);
		run_until(server_is_drained);
	}
	end_with("done");
	run_until(client_has_it_all);
	ASSERT_EQ(t.client.n_got, sent);
}

TEST(an_answer_before_the_request_ended_stops_the_sender_without_error)
{
	join();
	(void)request(false);
	run_until(server_has_request);
	respond();
	end_with("too much");
	run_until(client_stream_is_over);
	ASSERT_STR(t.client.status, "too much");
	ASSERT_EQ(t.client.error, H2_NO_ERROR);
	run_until(server_stream_is_over);
	ASSERT_FALSE(t.client.is_closed);
}

TEST(a_reset_reaches_the_other_side_with_its_code)
{
	struct h2_stream *s = NULL;

	join();
	s = request(false);
	run_until(server_has_request);
	h2_reset(s, H2_CANCEL);
	h2_conn_flush(t.client.h2);
	run_until(server_stream_is_over);
	ASSERT_EQ(t.server.error, H2_CANCEL);
}

/* The fields' text is within the limit, with the 32 octets that RFC 9113 §6.5.2 adds to each it is
 * not. */
TEST(a_header_list_over_the_limit_costs_the_stream_alone)
{
	autofree char *value = xcalloc(1, 32701);
	struct h2_header head[] = {
		{ ":method", "POST", 0, false }, { ":scheme", "http", 0, false },
		{ ":path", "/", 0, false },      { ":authority", "localhost", 0, false },
		{ "x-a", value, 0, false },      { "x-b", value, 32673, false }
	};
	struct err err = { 0 };

	join();
	memset(value, 'a', 32673);
	assert_non_null(h2_request(h2_conn_core(t.client.h2), head, 5, true, NULL, &err));
	h2_conn_flush(t.client.h2);
	run_until(server_has_request);
	ASSERT_EQ(t.server.n_fields, 5);
	assert_non_null(h2_request(h2_conn_core(t.client.h2), head, 6, true, NULL, &err));
	h2_conn_flush(t.client.h2);
	run_until(client_stream_is_over);
	ASSERT_EQ(t.client.error, H2_ENHANCE_YOUR_CALM);
	ASSERT_FALSE(t.client.is_closed);
	ASSERT_EQ(h2_stream_count(h2_conn_core(t.server.h2)), 1);
}

static void no_streams(void)
{
	struct err err = { 0 };
	const struct h2_header head = { ":method", "GET", 0, false };

	assert_null(h2_request(h2_conn_core(t.client.h2), &head, 1, true, NULL, &err));
	ASSERT_EQ(err.code, ERR_UNAVAILABLE);
}

TEST(a_draining_server_finishes_what_runs_and_then_goes)
{
	t.client.consumes = true;
	join();
	(void)request(true);
	run_until(server_has_request);
	h2_conn_drain(t.server.h2);
	run_until(client_had_goaway);
	no_streams();
	ASSERT_EQ(t.client.n_stream_closes, 0);
	respond();
	h2_send(t.server.stream, "\0\1\2", 3, false);
	end_with("late but whole");
	run_until(both_are_closed);
	ASSERT_EQ(t.client.n_got, 3);
	ASSERT_STR(t.client.status, "late but whole");
	ASSERT_EQ(t.client.error, H2_NO_ERROR);
}

TEST(a_lost_connection_ends_its_streams_and_says_why)
{
	join();
	(void)request(false);
	run_until(server_has_request);
	h2_conn_free(t.server.h2);
	t.server.h2 = NULL;
	run_until(client_is_closed);
	ASSERT_EQ(t.client.n_stream_closes, 1);
	ASSERT_EQ(t.client.why.code, ERR_UNAVAILABLE);
}

TEST(a_peer_that_does_not_answer_pings_is_given_up)
{
	t.wants_mute = true;
	t.ping_ns = 20 * NS_PER_MS;
	join();
	(void)request(false);
	run_until(client_is_closed);
	ASSERT_EQ(t.client.n_stream_closes, 1);
	ASSERT_ERR(-1, &t.client.why, ERR_UNAVAILABLE, "PING");
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
RUN_TESTS(T(bodies_and_trailers_arrive_in_both_directions),
	  T(a_reader_who_does_not_consume_stalls_the_sender_and_not_the_memory),
	  T(a_body_that_never_runs_dry_arrives_whole),
	  T(an_answer_before_the_request_ended_stops_the_sender_without_error),
	  T(a_reset_reaches_the_other_side_with_its_code),
	  T(a_header_list_over_the_limit_costs_the_stream_alone),
	  T(a_draining_server_finishes_what_runs_and_then_goes),
	  T(a_lost_connection_ends_its_streams_and_says_why),
	  T(a_peer_that_does_not_answer_pings_is_given_up))
