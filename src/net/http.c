/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One list of streams, and at most three of these at a time: a connection
 * being made, a session that takes new streams, and sessions that only finish
 * what they have (after GOAWAY).
 *
 *   http_open ──► waiting ──(session open)──► sent ──► reply ──► on_end, freed
 *                    │  └─(connect failed)──► on_end(UNAVAILABLE)
 *                    └◄──(REFUSED_STREAM, not yet answered)── sent
 *
 * Connections are made for waiting streams only, from a timer, so that nothing
 * calls back inside http_open and a server that is away is tried in growing
 * intervals however many streams wait. The interval falls back to its start
 * with the first reply, not with the handshake: a server that accepts and then
 * drops connections is away too.
 */
#include "net/http.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/random.h"
#include "event/loop.h"
#include "net/conn.h"
#include "net/h2_conn.h"
#include "net/http-internal.h"
#include "net/tls.h"

#include <inttypes.h>
#include <stdio.h>

#define CONNECT_TIMEOUT_NS (10 * NS_PER_S)
#define PING_INTERVAL_NS (20 * NS_PER_S)
#define PING_TIMEOUT_NS (10 * NS_PER_S)
#define BACKOFF_MIN_NS (100 * NS_PER_MS)
#define BACKOFF_MAX_NS (10 * NS_PER_S)
#define HEADERS_MAX 16
#define TRIES_MAX 3

struct session {
	struct http *c;
	struct session *next; /* in c->sessions */
	struct h2_conn *h2;
};

struct http_stream {
	struct http *c;
	struct http_stream *prev, *next;
	const struct http_stream_ops *ops; /* NULL: cancelled */
	void *arg;
	struct h2_stream *h2s; /* NULL: waiting */
	unsigned tries;
	bool has_reply;
	bool has_ended;
	char *head; /* method NUL path NUL {name NUL value NUL}; sensitive names begin with '!' */
	size_t n_headers;
	char *body;
	size_t body_len;
};

struct http {
	struct ev_loop *loop;
	struct net_addr addr;
	struct tls *tls;
	char authority[NET_ADDR_HOST_MAX + 10];
	/* all below: loop only */
	struct ev_timer *dial_timer;
	bool dial_planned;
	struct conn *dialling;
	struct session *session; /* the one that takes new streams */
	struct session *sessions;
	struct http_stream *first, *last;
	int64_t backoff_ns;
	int64_t next_dial_ns;
	bool is_closing;
};

/* ---- streams ---- */

static void link_stream(struct http_stream *s)
{
	struct http *c = s->c;

	s->prev = c->last;
	if (s->prev)
		s->prev->next = s;
	else
		c->first = s;
	c->last = s;
}

static void free_stream(struct http_stream *s)
{
	struct http *c = s->c;

	if (s->prev)
		s->prev->next = s->next;
	else
		c->first = s->next;
	if (s->next)
		s->next->prev = s->prev;
	else
		c->last = s->prev;
	free(s->head);
	free(s->body);
	free(s);
}

static void end_stream(struct http_stream *s, const struct err *why)
{
	const struct http_stream_ops *ops = s->ops;
	void *arg = s->arg;

	free_stream(s);
	if (ops)
		ops->on_end(arg, why);
}

static struct http_stream *find_waiting(const struct http *c)
{
	struct http_stream *s = c->first;

	while (s && s->h2s)
		s = s->next;
	return s;
}

/* Those that wait now hear why; streams opened by their callbacks stand behind them and wait for
 * the next attempt. */
static void fail_waiting(struct http *c, const struct err *why)
{
	struct http_stream *s;
	size_t n = 0;

	for (s = c->first; s; s = s->next)
		n += !s->h2s;
	for (; n > 0 && (s = find_waiting(c)); n--)
		end_stream(s, why);
}

static size_t read_head(const struct http_stream *s, struct h2_header *v)
{
	const char *at = s->head;
	size_t n = 0;

	v[n++] = (struct h2_header){ .name = ":method", .value = at };
	at += strlen(at) + 1;
	v[n++] = (struct h2_header){ .name = ":scheme", .value = s->c->tls ? "https" : "http" };
	v[n++] = (struct h2_header){ .name = ":authority", .value = s->c->authority };
	v[n++] = (struct h2_header){ .name = ":path", .value = at };
	at += strlen(at) + 1;
	for (size_t i = 0; i < s->n_headers; i++) {
		v[n].is_sensitive = *at == '!';
		v[n].name = at + v[n].is_sensitive;
		at += strlen(at) + 1;
		v[n++].value = at;
		at += strlen(at) + 1;
	}
	return n;
}

/* False if the session takes no more; then the stream waits. */
static bool send_stream(struct http_stream *s)
{
	struct h2_header headers[HEADERS_MAX + 4] = { 0 };
	size_t n = read_head(s, headers);
	struct h2_conn *h2 = s->c->session->h2;
	struct err ignored;

	s->h2s = h2_request(h2_conn_core(h2), headers, n, !s->body, s, &ignored);
	if (!s->h2s)
		return false;
	s->tries++;
	if (s->body)
		(void)h2_send(s->h2s, s->body, s->body_len,
			      true); /* bodies are small: no need to wait */
	return true;
}

static void plan_dial(struct http *c);

/* Sends what waits; called with a session that is open, outside its callbacks or at their end. */
static void send_waiting(struct http *c)
{
	bool any = false;

	for (struct http_stream *s = c->first; s && c->session; s = s->next) {
		if (s->h2s)
			continue;
		if (!send_stream(s)) {
			c->session = NULL;
			break;
		}
		any = true;
	}
	if (any && c->session)
		h2_conn_flush(c->session->h2);
	if (!c->session)
		plan_dial(c);
}

/* ---- the session ---- */

static void on_headers(void *arg, struct h2_stream *h2s, const struct h2_header *h, size_t n,
		       bool is_trailers, bool end)
{
	struct session *session = arg;
	struct http_stream *s = h2_stream_user(h2s);
	uint64_t status = 0;

	if (!s)
		return;
	s->has_ended |= end;
	if (is_trailers)
		return;
	session->c->backoff_ns = 0;
	s->has_reply = true;
	for (size_t i = 0; i < n; i++)
		if (str_is_equal(h[i].name, ":status"))
			(void)str_parse_u64(h[i].value,
					    &status); /* nghttp2 has checked it: 3 digits */
	if (s->ops)
		s->ops->on_reply(s->arg, (int)status, h, n);
}

static void on_data(void *arg, struct h2_stream *h2s, const uint8_t *bytes, size_t n)
{
	struct http_stream *s = h2_stream_user(h2s);

	if (s && s->ops)
		s->ops->on_data(s->arg, bytes, n);
	h2_consume(h2s, n);
}

static void on_half_closed(void *arg, struct h2_stream *h2s)
{
	struct http_stream *s = h2_stream_user(h2s);

	if (s)
		s->has_ended = true;
}

static void on_stream_close(void *arg, struct h2_stream *h2s, uint32_t error)
{
	struct session *session = arg;
	struct http_stream *s = h2_stream_user(h2s);
	const struct err *failure = h2_failure(h2_conn_core(session->h2));
	struct err why = { .code = ERR_OK };

	if (!s)
		return;
	s->h2s = NULL;
	if (session != s->c->session && h2_stream_count(h2_conn_core(session->h2)) <= 1)
		h2_conn_close(session->h2,
			      H2_NO_ERROR); /* this was the last that it had to finish */
	if (s->has_ended) {
		end_stream(s, &why);
		return;
	}
	if (error == H2_REFUSED_STREAM && !s->has_reply && s->tries < TRIES_MAX && s->ops) {
		plan_dial(s->c); /* waits again */
		return;
	}
	if (failure)
		(void)err_set(&why, ERR_UNAVAILABLE, "connection to %s lost: %s", s->c->authority,
			      failure->msg);
	else
		(void)err_set(&why, ERR_UNAVAILABLE,
			      "%s broke the reply off (HTTP/2 error %" PRIu32 ")", s->c->authority,
			      error);
	end_stream(s, &why);
}

static void on_goaway(void *arg, uint32_t error)
{
	struct session *session = arg;

	if (session->c->session == session)
		session->c->session = NULL;
	if (h2_stream_count(h2_conn_core(session->h2)) == 0)
		h2_conn_close(session->h2, H2_NO_ERROR);
	plan_dial(session->c);
}

static void on_session_close(void *arg, const struct err *why)
{
	struct session *session = arg;
	struct http *c = session->c;
	struct session **at = &c->sessions;

	while (*at != session)
		at = &(*at)->next;
	*at = session->next;
	if (c->session == session)
		c->session = NULL;
	h2_conn_free(session->h2);
	free(session);
	plan_dial(c); /* for what was opened since then, or refused */
}

static const struct h2_ops session_ops = {
	.on_headers = on_headers,
	.on_data = on_data,
	.on_end = on_half_closed,
	.on_stream_close = on_stream_close,
	.on_goaway = on_goaway,
	.on_close = on_session_close,
};

/* ---- connecting ---- */

static void grow_backoff(struct http *c)
{
	c->backoff_ns = c->backoff_ns ? c->backoff_ns * 2 : BACKOFF_MIN_NS;
	if (c->backoff_ns > BACKOFF_MAX_NS)
		c->backoff_ns = BACKOFF_MAX_NS;
	c->next_dial_ns = clock_now_ns() + random_jitter_ns(c->backoff_ns, 0.3);
}

static void on_dial_failed(void *arg, const struct err *why)
{
	struct http *c = arg;
	struct err reason = *why;

	c->dialling = NULL;
	grow_backoff(c);
	reason.code = ERR_UNAVAILABLE;
	(void)err_wrap(&reason, "connect to %s", c->authority);
	fail_waiting(c, &reason);
}

static void on_dial_open(void *arg)
{
	struct http *c = arg;
	struct session *session = xcalloc(1, sizeof(*session));
	struct h2_options opts = {
		.ping_interval_ns = PING_INTERVAL_NS,
		.ping_timeout_ns = PING_TIMEOUT_NS,
		.ops = &session_ops,
		.arg = session,
	};

	session->c = c;
	grow_backoff(c); /* until it has answered */
	session->h2 = h2_conn_new(c->loop, TAKE_PTR(c->dialling), &opts);
	session->next = c->sessions;
	c->sessions = session;
	c->session = session;
	send_waiting(c);
}

static void on_dial_data(void *arg, const uint8_t *bytes, size_t n)
{
	/* None comes before on_open, and on_open hands the conn on. */
}

static void on_dial_drained(void *arg)
{
	/* As above. */
}

static const struct conn_ops dial_ops = {
	.on_open = on_dial_open,
	.on_data = on_dial_data,
	.on_drained = on_dial_drained,
	.on_close = on_dial_failed,
};

static void dial(void *arg)
{
	struct http *c = arg;
	struct err err;

	c->dial_planned = false;
	if (c->session) {
		send_waiting(c);
		return;
	}
	if (c->dialling)
		return;
	if (conn_connect(c->loop, &c->addr, c->tls, NULL, CONNECT_TIMEOUT_NS, &dial_ops, c,
			 &c->dialling, &err) < 0)
		on_dial_failed(c, &err);
}

static void plan_dial(struct http *c)
{
	int64_t left_ns;

	if (!find_waiting(c) || c->dial_planned || c->dialling || c->is_closing)
		return;
	if (!c->dial_timer)
		c->dial_timer = ev_timer_new(c->loop, dial, c);
	left_ns = c->session ? 0 : c->next_dial_ns - clock_now_ns();
	c->dial_planned = true;
	ev_timer_start(c->dial_timer, left_ns > 0 ? left_ns : 0, 0);
}

/* ---- the door ---- */

struct http *http_new(struct ev_loop *loop, const struct http_options *opts)
{
	struct http *c = xcalloc(1, sizeof(*c));
	bool is_v6 = strchr(opts->host, ':') != NULL;

	c->loop = loop;
	c->tls = opts->tls ? tls_ref(opts->tls) : NULL;
	c->addr.kind = NET_ADDR_TCP;
	c->addr.port = opts->port;
	(void)snprintf(c->addr.host, sizeof(c->addr.host), "%s", opts->host);
	(void)snprintf(c->authority, sizeof(c->authority), is_v6 ? "[%s]:%u" : "%s:%u",
		       c->addr.host, opts->port);
	return c;
}

static void destroy(void *arg)
{
	struct http *c = arg;
	struct err why;

	c->is_closing = true;
	(void)err_set(&why, ERR_UNAVAILABLE, "the client of %s is closing", c->authority);
	while (c->first) {
		if (c->first->h2s)
			h2_stream_set_user(c->first->h2s, NULL);
		end_stream(c->first, &why);
	}
	while (c->sessions) {
		struct session *session = c->sessions;

		c->sessions = session->next;
		h2_conn_free(session->h2);
		free(session);
	}
	if (c->dialling)
		conn_abort(c->dialling);
	ev_timer_free(c->dial_timer);
	tls_unref(c->tls);
	free(c);
}

void http_free(struct http *c)
{
	if (c)
		ev_post(c->loop, destroy, c);
}

static char *pack_head(const struct http_request *req, size_t n_headers)
{
	struct str head = STR_INIT;

	str_append_n(&head, req->method, strlen(req->method) + 1);
	str_append_n(&head, req->path, strlen(req->path) + 1);
	for (size_t i = 0; i < n_headers; i++) {
		if (req->headers[i].is_sensitive)
			str_append_char(&head, '!');
		str_append_n(&head, req->headers[i].name, strlen(req->headers[i].name) + 1);
		str_append_n(&head, req->headers[i].value, strlen(req->headers[i].value) + 1);
	}
	return str_take(&head);
}

struct http_stream *http_stream_make(struct http *c, const struct http_request *req,
				     const struct http_stream_ops *ops, void *arg)
{
	struct http_stream *s = xcalloc(1, sizeof(*s));

	s->c = c;
	s->ops = ops;
	s->arg = arg;
	s->n_headers = req->n_headers < HEADERS_MAX ? req->n_headers : HEADERS_MAX;
	s->head = pack_head(req, s->n_headers);
	if (req->body) {
		s->body = xstrndup(req->body, req->body_len);
		s->body_len = req->body_len;
	}
	return s;
}

void http_stream_start(struct http_stream *s)
{
	link_stream(s);
	plan_dial(s->c);
}

struct http_stream *http_open(struct http *c, const struct http_request *req,
			      const struct http_stream_ops *ops, void *arg)
{
	struct http_stream *s = http_stream_make(c, req, ops, arg);

	http_stream_start(s);
	return s;
}

void http_cancel(struct http_stream *s)
{
	struct h2_stream *h2s;

	if (!s)
		return;
	h2s = s->h2s;
	if (h2s) {
		h2_stream_set_user(h2s, NULL);
		h2_reset(h2s, H2_CANCEL);
		h2_conn_flush(h2_conn_of(h2s));
	}
	free_stream(s);
}

struct ev_loop *http_loop(const struct http *c)
{
	return c->loop;
}
