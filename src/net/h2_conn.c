/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Joins an HTTP/2 session to a conn and to the loop.
 *
 * What users call moves bytes out and no more (send_some). The session's callbacks run where the
 * loop calls us: on bytes, room for more, the end of a turn, and when the timer says that the
 * session's time has come (h2_next; at once, if a user's flush left something to tell). Each of
 * these ends in settle, after which nothing waits but for one of them.
 */
#include "net/h2_conn.h"

#include "base/clock.h"
#include "base/mem.h"
#include "event/loop.h"
#include "net/conn.h"

#define WRITE_BATCH (16u << 10) /* little, since it is memory beside all that waits */

struct h2_conn {
	struct h2 *h2;
	struct conn *conn; /* NULL once the session is over or it is lost */
	struct ev_turn *turn;
	struct ev_timer *timer; /* h2_tick is due */
	int64_t timer_ns;       /* when it fires; INT64_MAX: it does not */
};

/* Gives some of what the session wants sent to the conn, unless that is choked; false: nothing. */
static bool send_some(struct h2_conn *c)
{
	autowipe struct str batch = STR_INIT;

	if (!c->conn)
		return false;
	if (conn_backlog(c->conn) < CONN_BACKLOG_HIGH && h2_pull(c->h2, &batch, WRITE_BATCH) > 0) {
		conn_write(c->conn, batch.buf, batch.len);
		return true;
	}
	if (h2_phase(c->h2) >= H2_CLOSING)
		conn_close(TAKE_PTR(c->conn));
	return false;
}

/* A timer that fires early finds nothing due and is set anew, so it is only ever set sooner. */
static void plan_tick(struct h2_conn *c)
{
	int64_t next_ns = h2_next(c->h2);

	if (next_ns >= c->timer_ns)
		return;
	c->timer_ns = next_ns;
	ev_timer_start(c->timer, next_ns > 0 ? next_ns - clock_now_ns() : 0, 0);
}

/* Sends and tells by turns, so that replies' memory goes as they do. c is gone when the session has
 * ended. */
static void settle(struct h2_conn *c)
{
	bool is_sending = true;

	while (is_sending || h2_next(c->h2) == 0) {
		is_sending = send_some(c);
		if (h2_phase(c->h2) >= H2_CLOSING && c->conn)
			continue; /* its last words go first */
		if (h2_next(c->h2) == 0 && !h2_tick(c->h2, clock_now_ns()))
			return;
	}
	plan_tick(c);
}

static void timer_fired(void *arg)
{
	struct h2_conn *c = arg;

	c->timer_ns = INT64_MAX;
	if (h2_tick(c->h2, clock_now_ns()))
		settle(c);
}

static void turn_over(void *arg)
{
	settle(arg);
}

static void conn_data(void *arg, const uint8_t *bytes, size_t n)
{
	struct h2_conn *c = arg;

	h2_receive(c->h2, clock_now_ns(), bytes, n);
	settle(c);
}

static void conn_drained(void *arg)
{
	settle(arg);
}

static void conn_closed(void *arg, const struct err *why)
{
	struct h2_conn *c = arg;
	struct err reason = *why;

	c->conn = NULL;
	if (reason.code == ERR_OK)
		reason.code = ERR_UNAVAILABLE;
	h2_lose(c->h2, &reason);
	settle(c);
}

static const struct conn_ops ops = {
	.on_data = conn_data,
	.on_drained = conn_drained,
	.on_close = conn_closed,
};

struct h2_conn *h2_conn_new(struct ev_loop *loop, struct conn *conn, const struct h2_options *opts)
{
	struct h2_conn *c = xcalloc(1, sizeof(*c));
	struct h2_options core = *opts;

	core.owner = c;
	c->h2 = h2_new(&core, clock_now_ns());
	c->conn = conn;
	c->turn = ev_turn_new(loop, turn_over, c);
	c->timer = ev_timer_new(loop, timer_fired, c);
	c->timer_ns = INT64_MAX;
	conn_set_ops(conn, &ops, c);
	h2_conn_flush(c);
	return c;
}

void h2_conn_free(struct h2_conn *c)
{
	if (!c)
		return;
	if (c->conn)
		conn_abort(c->conn);
	h2_free(c->h2);
	ev_turn_free(c->turn);
	ev_timer_free(c->timer);
	free(c);
}

struct h2 *h2_conn_core(const struct h2_conn *c)
{
	return c->h2;
}

struct h2_conn *h2_conn_of(const struct h2_stream *s)
{
	return h2_owner(h2_stream_session(s));
}

void h2_conn_flush(struct h2_conn *c)
{
	while (send_some(c))
		;
	plan_tick(c);
}

void h2_conn_flush_soon(struct h2_conn *c)
{
	ev_turn_start(c->turn);
}

void h2_conn_close(struct h2_conn *c, enum h2_error error)
{
	h2_close(c->h2, error);
	h2_conn_flush(c);
}

void h2_conn_drain(struct h2_conn *c)
{
	h2_drain(c->h2, clock_now_ns());
	h2_conn_flush(c);
}

size_t h2_conn_unsent(const struct h2_conn *c)
{
	return h2_owed(c->h2) + (c->conn ? conn_backlog(c->conn) : 0);
}

int64_t h2_conn_stalled_ns(const struct h2_conn *c)
{
	return c->conn ? conn_stalled_ns(c->conn) : 0;
}

const char *h2_conn_peer(const struct h2_conn *c)
{
	return c->conn ? conn_peer(c->conn) : "";
}
