/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/2 sessions without sockets: a client's core and a server's, whose bytes the test carries in
 * pieces of its choice and whose time it makes. Both act by a script: what to do in which callback.
 */
#include "check.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "net/h2.h"

enum where {
	NOWHERE,
	IN_HEADERS,
	IN_DATA,
	IN_END,
	IN_DRAINED,
	IN_STREAM_CLOSE,
	IN_GOAWAY,
	N_WHERE
};
enum what { RESET, CLOSE, PULL, REQUEST, N_WHAT };

#define STREAMS_MAX 64
#define REST_NS (5 * NS_PER_S)

struct end {
	struct h2 *h2;
	struct end *peer;
	struct str wire; /* on its way to the other */
	enum where where;
	enum what what;
	bool answers; /* a request with the length of its body as a trailer, after an echo of it */
	bool is_lazy; /* does not consume */
	unsigned n_headers, n_opened, n_closed, n_goaways, n_ends, n_drained, depth;
	bool is_closed;
	struct err why;
	uint32_t error, goaway_error; /* the last */
	size_t n_got;
	char status[32]; /* the last x-status */
};

static struct {
	struct end client, server;
	int64_t now_ns;
	uint64_t seed; /* of the pieces; 0: all at once */
	size_t piece;  /* their size, when it is always the same */
} t;

static uint64_t next_random(void)
{
	t.seed ^= t.seed << 13;
	t.seed ^= t.seed >> 7;
	t.seed ^= t.seed << 17;
	return t.seed;
}

static struct h2_stream *request(bool end)
{
	static const struct h2_header head[] = {
		{ ":method", "POST", 0, false },
		{ ":scheme", "http", 0, false },
		{ ":path", "/", 0, false },
		{ ":authority", "localhost", 0, false },
	};
	struct err err = { 0 };

	return h2_request(t.client.h2, head, ARRAY_LEN(head), end, NULL, &err);
}

/* ---- what is done in callbacks ---- */

static void act(struct end *e, enum where where, struct h2_stream *s)
{
	if (e->where != where)
		return;
	switch (e->what) {
	case RESET:
		if (s)
			h2_reset(s, H2_CANCEL);
		break;
	case CLOSE:
		h2_close(e->h2, H2_INTERNAL_ERROR);
		break;
	case PULL:
		(void)h2_pull(e->h2, &e->wire, SIZE_MAX);
		break;
	case REQUEST:
		if (e == &t.client && e->n_opened < 4 && request(true))
			e->n_opened++;
		break;
	case N_WHAT:
		break;
	}
}

/* No callback comes inside another, or after the end. */
static void enter(struct end *e)
{
	ASSERT_EQ(e->depth, 0);
	ASSERT_FALSE(e->is_closed);
	e->depth++;
}

static void answer(struct end *e, struct h2_stream *s)
{
	static const struct h2_header head[] = { { ":status", "200", 0, false } };
	const struct h2_header trailers[] = { { "x-status", "fine", 0, false } };
	autofree uint8_t *body = xcalloc(1, 100000);

	if (!e->answers)
		return;
	(void)h2_respond(s, head, 1, false);
	memset(body, 7, 100000);
	for (int i = 0; i < 4; i++)
		(void)h2_send(s, body, 100000, false);
	h2_send_trailers(s, trailers, 1);
}

static void on_headers(void *arg, struct h2_stream *s, const struct h2_header *h, size_t n,
		       bool is_trailers, bool end)
{
	struct end *e = arg;

	enter(e);
	e->n_headers++;
	if (!is_trailers && e == &t.server)
		e->n_opened++;
	for (size_t i = 0; i < n; i++) {
		ASSERT_EQ(strlen(h[i].value), h[i].value_len);
		if (str_is_equal(h[i].name, "x-status"))
			snprintf(e->status, sizeof(e->status), "%s", h[i].value);
	}
	act(e, IN_HEADERS, s);
	if (e == &t.server && end)
		answer(e, s);
	e->depth--;
}

static void on_data(void *arg, struct h2_stream *s, const uint8_t *bytes, size_t n)
{
	struct end *e = arg;

	enter(e);
	for (size_t i = 0; i < n; i++)
		ASSERT_EQ(bytes[i], 7);
	e->n_got += n;
	if (!e->is_lazy)
		h2_consume(s, n);
	act(e, IN_DATA, s);
	e->depth--;
}

static void on_end(void *arg, struct h2_stream *s)
{
	struct end *e = arg;

	enter(e);
	e->n_ends++;
	act(e, IN_END, s);
	answer(e, s);
	e->depth--;
}

static void on_stream_drained(void *arg, struct h2_stream *s)
{
	struct end *e = arg;

	enter(e);
	e->n_drained++;
	act(e, IN_DRAINED, s);
	e->depth--;
}

static void on_stream_close(void *arg, struct h2_stream *s, uint32_t error)
{
	struct end *e = arg;

	enter(e);
	e->n_closed++;
	e->error = error;
	act(e, IN_STREAM_CLOSE, s);
	e->depth--;
}

static void on_goaway(void *arg, uint32_t error)
{
	struct end *e = arg;

	enter(e);
	e->n_goaways++;
	e->goaway_error = error;
	act(e, IN_GOAWAY, NULL);
	e->depth--;
}

static void on_close(void *arg, const struct err *why)
{
	struct end *e = arg;

	enter(e);
	e->is_closed = true;
	e->why = *why;
	h2_free(e->h2);
	e->h2 = NULL;
	e->depth--;
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

/* ---- the wire ---- */

static size_t choose_piece(size_t left)
{
	size_t n = left;

	if (t.piece)
		n = t.piece;
	else if (t.seed)
		n = next_random() % 4 ? next_random() % 40 + 1 : next_random() % 40000 + 1;
	return n < left ? n : left;
}

static void deliver(struct end *to, const char *bytes, size_t n)
{
	while (n > 0 && to->h2) {
		size_t piece = choose_piece(n);
		/* Of exactly its size, and gone afterwards. */
		autofree uint8_t *copy = xmalloc(piece);

		memcpy(copy, bytes, piece);
		h2_receive(to->h2, t.now_ns, copy, piece);
		bytes += piece;
		n -= piece;
	}
}

/* One end's turn as its owner does it. True: something went out or was told. */
static bool turn(struct end *e)
{
	struct str out = STR_INIT;
	bool any = false;

	if (e->h2 && h2_next(e->h2) <= t.now_ns) {
		any = h2_phase(e->h2) < H2_CLOSING;
		if (any)
			(void)h2_tick(e->h2, t.now_ns);
	}
	if (e->h2)
		(void)h2_pull(e->h2, &e->wire, 5000);
	out = e->wire;
	e->wire = STR_INIT;
	any |= out.len > 0;
	if (!any && e->h2 && h2_phase(e->h2) == H2_CLOSING) {
		any = true;
		ASSERT_FALSE(h2_tick(e->h2, t.now_ns));
		if (e->peer->h2)
			h2_lose(e->peer->h2, &(struct err){ .code = ERR_UNAVAILABLE });
	}
	deliver(e->peer, str_get(&out), out.len);
	str_done(&out);
	return any;
}

static void exchange(void)
{
	bool any = true;

	while (any) {
		any = turn(&t.client);
		any |= turn(&t.server);
	}
}

static void join(int64_t ping_ns)
{
	t.client.h2 = h2_new(&(struct h2_options){ .ops = &ops,
						   .arg = &t.client,
						   .owner = &t,
						   .ping_interval_ns = ping_ns,
						   .ping_timeout_ns = ping_ns },
			     t.now_ns);
	t.server.h2 = h2_new(
		&(struct h2_options){ .is_server = true, .ops = &ops, .arg = &t.server }, t.now_ns);
}

static int set_up(void **state)
{
	(void)state;
	memset(&t, 0, sizeof(t));
	t.client.peer = &t.server;
	t.server.peer = &t.client;
	t.now_ns = NS_PER_S;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	h2_free(t.client.h2);
	h2_free(t.server.h2);
	str_done(&t.client.wire);
	str_done(&t.server.wire);
	return 0;
}

static void send_body(struct h2_stream *s, size_t n)
{
	autofree uint8_t *body = xmalloc(n);

	memset(body, 7, n);
	h2_send(s, body, n, true);
}

/* ---- tests ---- */

static void serve(unsigned n)
{
	t.server.answers = true;
	join(0);
	for (unsigned i = 0; i < n; i++)
		send_body(request(false), 30000);
	exchange();
	ASSERT_EQ(t.server.n_got, n * 30000);
	ASSERT_EQ(t.server.n_ends, n);
	ASSERT_EQ(t.client.n_got, n * 400000);
	ASSERT_EQ(t.client.n_closed, n);
	ASSERT_EQ(t.server.n_closed, n);
	ASSERT_EQ(t.client.error, H2_NO_ERROR);
	ASSERT_STR(t.client.status, "fine");
	ASSERT_EQ(h2_stream_count(t.client.h2), 0);
	ASSERT_EQ(h2_queued(t.server.h2), 0);
	ASSERT_EQ(h2_owed(t.server.h2), 0);
	ASSERT_EQ(h2_owed(t.client.h2), 0);
	ASSERT_EQ(h2_next(t.client.h2), t.now_ns + REST_NS);
}

TEST(calls_pass_byte_by_byte)
{
	t.piece = 1;
	serve(2);
}

TEST(calls_pass_in_pieces_of_any_size)
{
	for (uint64_t seed = 1; seed <= 30; seed++) {
		(void)set_up(NULL);
		t.seed = seed * 0x9e3779b97f4a7c15;
		serve(3);
		(void)tear_down(NULL);
	}
	(void)set_up(NULL);
}

TEST(a_burst_of_requests_in_one_piece_is_told_whole)
{
	join(0);
	exchange();
	for (unsigned i = 0; i < 200; i++)
		assert_non_null(request(i % 2));
	while (h2_pull(t.client.h2, &t.client.wire, SIZE_MAX) > 0)
		;
	deliver(&t.server, t.client.wire.buf, t.client.wire.len);
	ASSERT_EQ(t.server.n_opened, 200);
	ASSERT_EQ(h2_stream_count(t.server.h2), 200);
}

TEST(a_peer_that_floods_is_given_up)
{
	static const char ping[17] = "\0\0\10\6\0\0\0\0\0";
	static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0";

	join(0);
	deliver(&t.server, preface, sizeof(preface));
	for (unsigned i = 0; i < 2000 && !h2_failure(t.server.h2); i++)
		deliver(&t.server, ping, sizeof(ping));
	assert_non_null(h2_failure(t.server.h2));
	ASSERT_EQ(h2_phase(t.server.h2), H2_CLOSING);
	ASSERT_EQ(h2_next(t.server.h2), 0);
	ASSERT_FALSE(h2_tick(t.server.h2, t.now_ns));
	ASSERT_ERR(-1, &t.server.why, ERR_UNAVAILABLE, "HTTP/2: ");
}

TEST(what_is_no_http2_is_given_up)
{
	join(0);
	deliver(&t.server, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 26);
	ASSERT_EQ(h2_phase(t.server.h2), H2_CLOSING);
	exchange();
	ASSERT_TRUE(t.server.is_closed);
}

/* The last stream id of the n-th GOAWAY on the wire, or 0. */
static uint32_t goaway_id(const struct str *wire, unsigned n)
{
	const uint8_t *p = (const uint8_t *)str_get(wire), *end = p + wire->len;

	while (p + 9 <= end) {
		size_t len = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];

		if (p[3] == 7 && n-- == 0)
			return (uint32_t)p[9] << 24 | (uint32_t)p[10] << 16 | (uint32_t)p[11] << 8 |
			       p[12];
		p += 9 + len;
	}
	return 0;
}

static void flush_to_client(uint32_t *ret_id)
{
	(void)h2_pull(t.server.h2, &t.server.wire, SIZE_MAX);
	*ret_id = goaway_id(&t.server.wire, 0);
	ASSERT_EQ(goaway_id(&t.server.wire, 1), 0);
	deliver(&t.client, str_get(&t.server.wire), t.server.wire.len);
	str_reset(&t.server.wire);
}

TEST(a_drain_says_goaway_twice_and_ends_with_its_last_stream)
{
	struct h2_stream *s = NULL;
	uint32_t id = 0;

	t.server.answers = true;
	join(0);
	s = request(false);
	exchange();
	h2_drain(t.server.h2, t.now_ns);
	h2_drain(t.server.h2, t.now_ns);
	ASSERT_EQ(h2_phase(t.server.h2), H2_DRAINING);
	flush_to_client(&id);
	ASSERT_EQ(id, INT32_MAX);
	ASSERT_EQ(t.client.n_goaways, 1);
	assert_null(request(true));

	ASSERT_EQ(h2_next(t.server.h2), t.now_ns + 100 * NS_PER_MS);
	ASSERT_TRUE(h2_tick(t.server.h2, t.now_ns + 99 * NS_PER_MS));
	flush_to_client(&id);
	ASSERT_EQ(id, 0);
	t.now_ns += 100 * NS_PER_MS;
	ASSERT_TRUE(h2_tick(t.server.h2, t.now_ns));
	flush_to_client(&id);
	ASSERT_EQ(id, 1);
	ASSERT_EQ(h2_next(t.server.h2), INT64_MAX);

	send_body(s, 10);
	exchange();
	ASSERT_EQ(t.client.n_closed, 1);
	ASSERT_EQ(t.client.error, H2_NO_ERROR);
	ASSERT_STR(t.client.status, "fine");
	ASSERT_TRUE(t.server.is_closed);
}

TEST(a_ping_that_is_answered_asks_again_and_one_that_is_not_ends_it)
{
	join(10 * NS_PER_S);
	(void)request(false);
	exchange();
	ASSERT_EQ(h2_next(t.client.h2), t.now_ns + 10 * NS_PER_S);
	t.now_ns += 10 * NS_PER_S;
	exchange();
	ASSERT_EQ(h2_next(t.client.h2), t.now_ns + 10 * NS_PER_S);
	ASSERT_EQ(h2_phase(t.client.h2), H2_OPEN);

	t.now_ns += 10 * NS_PER_S;
	ASSERT_TRUE(h2_tick(t.client.h2, t.now_ns));
	ASSERT_EQ(h2_pull(t.client.h2, &t.client.wire, SIZE_MAX), 17);
	ASSERT_TRUE(h2_tick(t.client.h2, t.now_ns + 10 * NS_PER_S - 1));
	ASSERT_TRUE(h2_tick(t.client.h2, t.now_ns + 10 * NS_PER_S));
	ASSERT_EQ(h2_next(t.client.h2), 0);
	ASSERT_FALSE(h2_tick(t.client.h2, t.now_ns + 10 * NS_PER_S));
	ASSERT_EQ(t.client.n_closed, 1);
	ASSERT_ERR(-1, &t.client.why, ERR_UNAVAILABLE, "PING");
}

/* Everything that a callback may do, in each of them, on either side. */
static void run_script(struct end *e, enum where where, enum what what)
{
	t.server.answers = true;
	join(0);
	e->where = where;
	e->what = what;
	for (unsigned i = 0; i < 3; i++) {
		send_body(request(false), 300000);
		t.client.n_opened++;
	}
	exchange();
	if (t.server.h2)
		h2_drain(t.server.h2, t.now_ns);
	exchange();
	t.now_ns += NS_PER_S;
	exchange();
	/* The server goes when its streams are done. */
	ASSERT_TRUE(t.server.is_closed);
	ASSERT_TRUE(t.client.is_closed);
	ASSERT_EQ(t.client.n_closed, t.client.n_opened);
	ASSERT_EQ(t.server.n_closed, t.server.n_opened);
	if (what == PULL || what == REQUEST) {
		ASSERT_EQ(t.client.error, H2_NO_ERROR);
		ASSERT_STR(t.client.status, "fine");
	}
}

TEST(any_call_may_be_made_in_any_callback)
{
	for (int side = 0; side < 2; side++)
		for (int where = NOWHERE; where < N_WHERE; where++)
			for (int what = 0; what < N_WHAT; what++) {
				(void)set_up(NULL);
				t.seed = (uint64_t)(where * 10 + what + 1) * 0x9e3779b97f4a7c15;
				run_script(side ? &t.server : &t.client, where, what);
				(void)tear_down(NULL);
			}
	(void)set_up(NULL);
}

/* What is asked of a stream between its end and the word of it. */
TEST(a_stream_that_is_over_takes_anything_and_does_nothing)
{
	const struct h2_header head[] = { { ":status", "200", 0, false } };
	struct h2_stream *s = NULL;

	join(0);
	s = request(false);
	exchange();
	h2_reset(s, H2_CANCEL);
	(void)h2_pull(t.client.h2, &t.client.wire, SIZE_MAX);
	ASSERT_EQ(h2_next(t.client.h2), 0);
	ASSERT_EQ(t.client.n_closed, 0);
	ASSERT_EQ(h2_send(s, "abc", 3, true), 0);
	ASSERT_EQ(h2_respond(s, head, 1, true), -1);
	h2_send_trailers(s, head, 1);
	h2_consume(s, 10);
	h2_reset(s, H2_CANCEL);
	exchange();
	ASSERT_EQ(t.client.n_closed, 1);
	ASSERT_EQ(t.client.error, H2_CANCEL);
	ASSERT_EQ(t.server.error, H2_CANCEL);
	ASSERT_EQ(h2_phase(t.server.h2), H2_OPEN);
}

TEST(a_lazy_reader_stalls_the_sender)
{
	t.server.is_lazy = true;
	join(0);
	send_body(request(false), 3 << 20);
	exchange();
	ASSERT_EQ(t.server.n_got, 1 << 20);
	ASSERT_EQ(h2_queued(t.client.h2), 2 << 20);
	ASSERT_EQ(h2_owed(t.client.h2), 2 << 20);
	ASSERT_EQ(t.client.n_drained, 0);
}

TEST(a_body_that_goes_on_is_owed_once_it_is_whole)
{
	autofree uint8_t *body = xmalloc(3 << 20);
	struct h2_stream *s;

	memset(body, 7, 3 << 20);
	t.server.is_lazy = true;
	join(0);
	s = request(false);
	h2_send(s, body, 3 << 20, false);
	exchange();
	ASSERT_EQ(h2_queued(t.client.h2), 2 << 20);
	ASSERT_EQ(h2_owed(t.client.h2), 0);
	h2_send(s, NULL, 0, true);
	h2_send(s, NULL, 0, true);
	ASSERT_EQ(h2_owed(t.client.h2), 2 << 20);
	h2_reset(s, H2_CANCEL);
	exchange();
	ASSERT_EQ(h2_queued(t.client.h2), 0);
	ASSERT_EQ(h2_owed(t.client.h2), 0);
}

/* The table in h2.c: phases × what happens. */
TEST(phases_are_as_their_table_says)
{
	enum event { DRAIN, CLOSE_IT, LOSE, DONE, TICK };
	static const struct {
		enum h2_phase from;
		enum event event;
		enum h2_phase to;
	} rows[] = {
		{ H2_OPEN, DRAIN, H2_DRAINING },
		{ H2_OPEN, CLOSE_IT, H2_CLOSING },
		{ H2_OPEN, LOSE, H2_CLOSING },
		{ H2_OPEN, DONE, H2_OPEN },
		{ H2_OPEN, TICK, H2_OPEN },
		{ H2_DRAINING, DRAIN, H2_DRAINING },
		{ H2_DRAINING, CLOSE_IT, H2_CLOSING },
		{ H2_DRAINING, LOSE, H2_CLOSING },
		{ H2_DRAINING, DONE, H2_CLOSING },
		{ H2_DRAINING, TICK, H2_DRAINING },
		{ H2_CLOSING, DRAIN, H2_CLOSING },
		{ H2_CLOSING, CLOSE_IT, H2_CLOSING },
		{ H2_CLOSING, LOSE, H2_CLOSING },
		{ H2_CLOSING, DONE, H2_CLOSING },
		{ H2_CLOSING, TICK, H2_CLOSED },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		bool is_closing = rows[i].to == H2_CLOSED;

		(void)set_up(NULL);
		join(0);
		exchange();
		if (rows[i].from == H2_DRAINING)
			h2_drain(t.server.h2, t.now_ns);
		else if (rows[i].from == H2_CLOSING)
			h2_close(t.server.h2, H2_NO_ERROR);
		ASSERT_EQ(h2_phase(t.server.h2), rows[i].from);
		if (rows[i].event == DRAIN)
			h2_drain(t.server.h2, t.now_ns);
		else if (rows[i].event == CLOSE_IT)
			h2_close(t.server.h2, H2_NO_ERROR);
		else if (rows[i].event == LOSE)
			h2_lose(t.server.h2, &(struct err){ .code = ERR_UNAVAILABLE });
		else if (rows[i].event == TICK)
			ASSERT_EQ(h2_tick(t.server.h2, t.now_ns), !is_closing);
		else {
			t.now_ns += NS_PER_S;
			if (rows[i].from != H2_CLOSING)
				(void)h2_tick(t.server.h2, t.now_ns);
			(void)h2_pull(t.server.h2, &t.server.wire, SIZE_MAX);
		}
		ASSERT_EQ(t.server.is_closed, is_closing);
		if (!is_closing)
			ASSERT_EQ(h2_phase(t.server.h2), rows[i].to);
		(void)tear_down(NULL);
	}
	(void)set_up(NULL);
}

/* ---- memory of sessions that rest ---- */

#define SESSIONS 400

/* Of this process, in pages. */
static uint64_t resident(void)
{
	unsigned long long whole = 0, there = 0;
	FILE *f = fopen("/proc/self/statm", "re");

	assert_non_null(f);
	ASSERT_EQ(fscanf(f, "%llu %llu", &whole, &there), 2);
	(void)fclose(f);
	return there;
}

TEST(a_session_that_rests_gives_back_its_pages)
{
	struct h2 *clients[SESSIONS], *servers[SESSIONS];
	uint64_t used, at_rest;

	t.server.answers = true;
	for (size_t i = 0; i < SESSIONS; i++) {
		join(0);
		ASSERT_TRUE(request(true) != NULL);
		exchange();
		ASSERT_STR(t.client.status, "fine");
		clients[i] = t.client.h2;
		servers[i] = t.server.h2;
	}
	used = resident();
	t.now_ns += REST_NS;
	for (size_t i = 0; i < SESSIONS; i++) {
		ASSERT_EQ(h2_next(clients[i]), t.now_ns);
		ASSERT_TRUE(h2_tick(clients[i], t.now_ns));
		ASSERT_TRUE(h2_tick(servers[i], t.now_ns));
		ASSERT_EQ(h2_next(clients[i]), INT64_MAX);
	}
	at_rest = resident();
	/* each of the two: the page of streams, and of the buffer one or, after long frames, five;
	 * the kernel counts in lots */
	if (at_rest + (uint64_t)SESSIONS * 7 > used)
		fail_msg("%" PRIu64 " pages in use, %" PRIu64 " at rest", used, at_rest);
	/* and is what it was when it is used again */
	for (size_t i = 0; i < SESSIONS; i++) {
		t.client.h2 = clients[i];
		t.server.h2 = servers[i];
		ASSERT_TRUE(request(true) != NULL);
		t.client.status[0] = '\0';
		exchange();
		ASSERT_STR(t.client.status, "fine");
		(void)tear_down(NULL);
	}
	t.client.h2 = t.server.h2 = NULL;
}

TEST(a_session_with_a_stream_does_not_rest)
{
	struct h2_stream *s;

	join(0);
	t.server.answers = true;
	s = request(false);
	exchange();
	ASSERT_EQ(h2_next(t.client.h2), INT64_MAX);
	ASSERT_EQ(h2_next(t.server.h2), INT64_MAX);
	t.now_ns += 2 * REST_NS;
	ASSERT_TRUE(h2_tick(t.client.h2, t.now_ns));
	ASSERT_TRUE(h2_tick(t.server.h2, t.now_ns));
	send_body(s, 10);
	exchange();
	ASSERT_STR(t.client.status, "fine");
	ASSERT_EQ(h2_next(t.client.h2), t.now_ns + REST_NS);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
RUN_TESTS(T(calls_pass_byte_by_byte), T(calls_pass_in_pieces_of_any_size),
	  T(a_burst_of_requests_in_one_piece_is_told_whole), T(a_peer_that_floods_is_given_up),
	  T(what_is_no_http2_is_given_up),
	  T(a_drain_says_goaway_twice_and_ends_with_its_last_stream),
	  T(a_ping_that_is_answered_asks_again_and_one_that_is_not_ends_it),
	  T(any_call_may_be_made_in_any_callback),
	  T(a_stream_that_is_over_takes_anything_and_does_nothing),
	  T(a_lazy_reader_stalls_the_sender), T(a_body_that_goes_on_is_owed_once_it_is_whole),
	  T(a_session_that_rests_gives_back_its_pages), T(a_session_with_a_stream_does_not_rest),
	  T(phases_are_as_their_table_says))
