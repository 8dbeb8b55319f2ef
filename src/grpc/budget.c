/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What peers may take of us. Memory and descriptors are taken by whoever connects, so each of them
 * has an end, and reaching it must not lock out the next honest peer: a newcomer takes the place of
 * the oldest in the lowest state, and of unfinished requests the oldest goes first. A call under
 * way is never cut off for somebody else's sake.
 *
 * The lists are walked: they are as long as the limits, and that is short.
 */
#include "grpc/server-internal.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "event/loop.h"

#define SWEEP_NS (5 * NS_PER_S) /* how late a limit of time may be kept, or half of it */

enum state { SILENT, IDLE, BUSY };

static enum state state_of(const struct session *ss)
{
	if (h2_stream_count(h2_conn_core(ss->h2)) > 0)
		return BUSY;
	return ss->has_asked ? IDLE : SILENT;
}

static void end_session(struct session *ss, const char *why)
{
	if (ss->is_ending)
		return;
	log_debug("connection ended", log_str("peer", h2_conn_peer(ss->h2)),
		  log_str("reason", why));
	ss->is_ending = true;
	h2_conn_close(ss->h2, H2_ENHANCE_YOUR_CALM);
}

/* ---- connections ---- */

static struct session *find_oldest(const struct grpc_server *s, enum state state, unsigned *ret_n)
{
	struct session *oldest = NULL;

	*ret_n = 0;
	for (struct session *ss = s->sessions; ss; ss = ss->next) {
		if (ss->is_ending || state_of(ss) != state)
			continue;
		(*ret_n)++;
		if (!oldest || ss->since_ns <= oldest->since_ns)
			oldest = ss;
	}
	return oldest;
}

void budget_make_room(struct grpc_server *s, struct session *newcomer)
{
	unsigned n_silent, n_idle, n_busy;
	struct session *silent = find_oldest(s, SILENT, &n_silent);
	struct session *idle = find_oldest(s, IDLE, &n_idle);

	(void)find_oldest(s, BUSY, &n_busy);
	if (n_silent > s->limits.silent_connections)
		end_session(silent, "too many that ask nothing");
	else if (n_silent + n_idle + n_busy <= s->limits.connections)
		return;
	else if (silent && silent != newcomer)
		end_session(silent, "another needs its place");
	else
		end_session(idle ? idle : newcomer, "too many connections");
}

/* ---- replies that nobody reads ---- */

static bool is_choked(const struct session *ss)
{
	return h2_conn_unsent(ss->h2) > ss->server->limits.unsent_bytes &&
	       h2_conn_stalled_ns(ss->h2) > 0;
}

bool budget_begin_call(struct session *ss)
{
	ss->has_asked = true;
	if (!is_choked(ss))
		return true;
	end_session(ss, "does not read its replies");
	return false;
}

void budget_end_call(struct session *ss)
{
	ss->since_ns = clock_now_ns();
}

/* ---- requests that are still coming ---- */

static void link_newest(struct grpc_call *c)
{
	struct grpc_server *s = c->server;

	c->older = s->newest;
	c->newer = NULL;
	if (c->older)
		c->older->newer = c;
	else
		s->oldest = c;
	s->newest = c;
}

static void unlink_request(struct grpc_call *c)
{
	struct grpc_server *s = c->server;

	if (c->older)
		c->older->newer = c->newer;
	else
		s->oldest = c->newer;
	if (c->newer)
		c->newer->older = c->older;
	else
		s->newest = c->older;
}

void budget_begin_request(struct session *ss, struct grpc_call *c)
{
	c->session = ss;
	/* A stream may last; each of its messages may not. */
	c->begun_ns = c->is_stream ? INT64_MAX : clock_now_ns();
	c->is_unfinished = true;
	link_newest(c);
}

void budget_release_request(struct grpc_call *c, size_t n)
{
	if (!c->is_unfinished)
		return;
	n = n < c->counted ? n : c->counted;
	c->counted -= n;
	c->session->unfinished_bytes -= n;
	c->server->unfinished_bytes -= n;
}

void budget_end_request(struct grpc_call *c)
{
	if (!c->is_unfinished)
		return;
	budget_release_request(c, c->counted);
	c->is_unfinished = false;
	unlink_request(c);
}

static void refuse_request(struct grpc_call *c, enum err_code code, const char *text)
{
	struct h2_conn *h2 = c->session->h2;

	budget_end_request(c);
	call_refuse(c, "200", code, text);
	call_drop_request(c);
	if (c->is_dispatched)
		call_wake(c);
	h2_conn_flush_soon(h2);
}

/* The oldest that has bytes here, of one session, or of all (NULL). */
static struct grpc_call *oldest_of(const struct grpc_server *s, const struct session *ss)
{
	struct grpc_call *c = s->oldest;

	while (c && (c->counted == 0 || (ss && c->session != ss)))
		c = c->newer;
	return c;
}

void budget_count_request(struct grpc_call *c, size_t n)
{
	struct grpc_server *s = c->server;
	struct session *ss = c->session;
	struct grpc_call *oldest;

	if (!c->is_unfinished)
		return;
	if (c->is_stream && c->counted == 0) {
		/* Whose handler keeps up is never the oldest. */
		unlink_request(c);
		link_newest(c);
	}
	c->counted += n;
	ss->unfinished_bytes += n;
	s->unfinished_bytes += n;
	while (ss->unfinished_bytes > s->limits.unfinished_bytes_each &&
	       (oldest = oldest_of(s, ss)))
		refuse_request(oldest, ERR_RESOURCE_EXHAUSTED,
			       "too many unfinished requests on this connection");
	while (s->unfinished_bytes > s->limits.unfinished_bytes && (oldest = oldest_of(s, NULL)))
		refuse_request(oldest, ERR_RESOURCE_EXHAUSTED,
			       "too many unfinished requests at this server, try again");
}

/* ---- time ---- */

static void sweep_requests(struct grpc_server *s, int64_t now_ns)
{
	char text[80];

	(void)snprintf(text, sizeof(text), "the request was not complete after %lld s",
		       (long long)(s->limits.request_ns / NS_PER_S));
	for (struct grpc_call *c = s->oldest, *newer; c; c = newer) {
		newer = c->newer;
		if (now_ns > c->begun_ns && now_ns - c->begun_ns > s->limits.request_ns)
			refuse_request(c, ERR_DEADLINE_EXCEEDED, text);
	}
}

static void sweep(void *arg)
{
	struct grpc_server *s = arg;
	int64_t now_ns = clock_now_ns();

	sweep_requests(s, now_ns);
	for (struct session *ss = s->sessions; ss; ss = ss->next) {
		if (state_of(ss) == SILENT && now_ns - ss->since_ns > s->limits.silent_ns)
			end_session(ss, "has asked nothing");
		else if (h2_conn_stalled_ns(ss->h2) > s->limits.stalled_ns)
			end_session(ss, "does not read its replies");
	}
}

static int64_t sweep_every_ns(const struct grpc_limits *l)
{
	const int64_t times[] = { l->silent_ns, l->request_ns, l->stalled_ns };
	int64_t every_ns = SWEEP_NS;

	for (size_t i = 0; i < ARRAY_LEN(times); i++)
		if (times[i] / 2 < every_ns)
			every_ns = times[i] / 2;
	return every_ns;
}

void grpc_server_limit(struct grpc_server *s, const struct grpc_limits *limits)
{
	const struct grpc_limits *l = limits;
	int64_t every_ns = 0;

	s->limits = (struct grpc_limits){
		.connections = l->connections ? l->connections : 128,
		.silent_connections = l->silent_connections ? l->silent_connections : 64,
		.unfinished_bytes = l->unfinished_bytes ? l->unfinished_bytes : 6u << 20,
		.unfinished_bytes_each =
			l->unfinished_bytes_each ? l->unfinished_bytes_each : 5u << 20,
		.unsent_bytes = l->unsent_bytes ? l->unsent_bytes : 1u << 20,
		.silent_ns = l->silent_ns ? l->silent_ns : 60 * NS_PER_S,
		.request_ns = l->request_ns ? l->request_ns : 30 * NS_PER_S,
		.stalled_ns = l->stalled_ns ? l->stalled_ns : 30 * NS_PER_S,
		.unread_ns = l->unread_ns ? l->unread_ns : 600 * NS_PER_S,
	};
	every_ns = sweep_every_ns(&s->limits);
	ev_timer_start(s->sweep_timer, every_ns, every_ns);
}

void budget_init(struct grpc_server *s)
{
	s->sweep_timer = ev_timer_new(s->loop, sweep, s);
	grpc_server_limit(s, &(struct grpc_limits){ 0 });
}
