/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gRPC server: listeners → HTTP/2 sessions → calls. Everything here runs on the I/O thread.
 * What the protocol demands of a request is checked as early as it can be known: method,
 * content-type and timeout at the headers; size at the first five bytes, so that an oversized
 * message is refused without being buffered; the number of messages at the end.
 */
#include "grpc/server.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/vec.h"
#include "event/loop.h"
#include "grpc/call-internal.h"
#include "grpc/server-internal.h"
#include "grpc/status.h"
#include "net/conn.h"
#include "net/listener.h"
#include "net/tls.h"

#define PREFIX 5
#define LARGE_REQUEST (64u << 10)

struct method_row {
	const struct grpc_method *method;
	void *arg;
};

/* ---- a request ---- */

struct request_head {
	const char *path, *verb, *content_type, *timeout, *encoding;
};

/* For names that are known here: most differ from them in the first two letters. */
static inline bool is_named(const char *name, const char *known)
{
	return name[0] == known[0] && name[1] == known[1] && strcmp(name, known) == 0;
}

static void read_head(const struct h2_header *h, size_t n, struct request_head *ret_head)
{
	*ret_head = (struct request_head){ "", "", "", NULL, NULL };
	for (size_t i = 0; i < n; i++) {
		if (is_named(h[i].name, ":path"))
			ret_head->path = h[i].value;
		else if (is_named(h[i].name, ":method"))
			ret_head->verb = h[i].value;
		else if (is_named(h[i].name, "content-type"))
			ret_head->content_type = h[i].value;
		else if (is_named(h[i].name, "grpc-timeout"))
			ret_head->timeout = h[i].value;
		else if (is_named(h[i].name, "grpc-encoding"))
			ret_head->encoding = h[i].value;
	}
}

/* Those that HTTP/2 and gRPC use themselves; the rest is the caller's. */
static bool is_own_header(const char *name)
{
	return name[0] == ':' || (name[0] == 'g' && str_has_prefix(name, "grpc-")) ||
	       is_named(name, "te") || is_named(name, "content-type") ||
	       is_named(name, "user-agent");
}

/* False: too much of it. */
static bool keep_metadata(struct grpc_call *c, const struct h2_header *h, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (is_own_header(h[i].name))
			continue;
		str_append_wiping(&c->metadata, h[i].name, strlen(h[i].name) + 1);
		str_append_wiping(&c->metadata, h[i].value, strlen(h[i].value) + 1);
	}
	return c->metadata.len <= GRPC_METADATA_MAX;
}

static bool is_grpc_type(const char *type)
{
	const char *rest = type + strlen("application/grpc");

	return str_has_prefix(type, "application/grpc") &&
	       (*rest == '\0' || *rest == '+' || *rest == ';');
}

/* Finds the method and checks the headers; answers and returns false if the call ends here. */
static bool accept_head(struct grpc_server *s, struct grpc_call *c, const struct request_head *head)
{
	const struct method_row *row = map_find(s->methods, head->path);
	char text[512] = "";
	int64_t timeout = 0;

	if (!str_is_equal(head->verb, "POST")) {
		call_refuse(c, "405", ERR_INTERNAL, "gRPC calls are POST requests");
	} else if (!is_grpc_type(head->content_type)) {
		snprintf(text, sizeof(text), "content-type '%.100s' is not application/grpc",
			 head->content_type);
		call_refuse(c, "415", ERR_INVALID_ARGUMENT, text);
	} else if (head->timeout && grpc_timeout_parse(head->timeout, &timeout) < 0) {
		snprintf(text, sizeof(text), "malformed grpc-timeout '%.50s'", head->timeout);
		call_refuse(c, "400", ERR_INTERNAL, text);
	} else if (!row) {
		snprintf(text, sizeof(text), "unknown method %.300s", head->path);
		call_refuse(c, "200", ERR_UNIMPLEMENTED, text);
	} else if (head->encoding && !str_is_equal(head->encoding, "identity")) {
		snprintf(text, sizeof(text), "message encoding '%.50s' is not supported",
			 head->encoding);
		call_refuse(c, "200", ERR_UNIMPLEMENTED, text);
	} else {
		c->method = row->method;
		c->method_arg = row->arg;
		c->is_stream =
			row->method->kind == GRPC_CLIENT_STREAM || row->method->kind == GRPC_BIDI;
		if (head->timeout)
			call_set_timeout(c, timeout);
		return true;
	}
	return false;
}

/* Checks the prefix as soon as it is there. False: answered. */
static bool check_prefix(struct grpc_call *c)
{
	const uint8_t *p = (const uint8_t *)c->in.buf;
	size_t n = 0;
	char text[96] = "";

	if (c->in.len < PREFIX)
		return true;
	n = (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
	if (p[0] != 0) {
		call_refuse(c, "200", ERR_INTERNAL, "compressed flag set without grpc-encoding");
	} else if (n > GRPC_MESSAGE_MAX) {
		snprintf(text, sizeof(text), "message of %zu bytes is over the limit of %u", n,
			 GRPC_MESSAGE_MAX);
		call_refuse(c, "200", ERR_RESOURCE_EXHAUSTED, text);
	} else if (c->in.len > PREFIX + n) {
		call_refuse(c, "200", ERR_INTERNAL, "more than one message in a unary request");
	} else {
		/* Large: at once, so that it is never copied; its pages come as its bytes do. */
		if (n >= LARGE_REQUEST)
			call_expect_request(c, PREFIX + n);
		return true;
	}
	call_drop_request(c);
	return false;
}

static void request_over(struct grpc_server *s, struct grpc_call *c)
{
	const uint8_t *p = (const uint8_t *)c->in.buf;

	if (c->is_stream) {
		call_all_arrived(c);
		return; /* what was not received yet still counts */
	}
	budget_end_request(c);
	if (c->is_answered || c->is_dispatched)
		return;
	if (c->in.len < PREFIX || c->in.len - PREFIX != ((size_t)p[1] << 24 | (size_t)p[2] << 16 |
							 (size_t)p[3] << 8 | p[4]))
		call_refuse(c, "200", ERR_INTERNAL, "request ended without a whole message");
	else
		call_dispatch(c, s->work);
}

/* ---- HTTP/2 callbacks ---- */

static void on_headers(void *arg, struct h2_stream *stream, const struct h2_header *h, size_t n,
		       bool is_trailers, bool end)
{
	struct session *ss = arg;
	struct grpc_call *c = h2_stream_user(stream);
	struct request_head head = { 0 };

	if (!is_trailers) {
		read_head(h, n, &head);
		c = call_new(ss->server, ss->server->loop, stream, h2_conn_peer(ss->h2));
		h2_stream_set_user(stream, c);
		if (!budget_begin_call(ss) || !accept_head(ss->server, c, &head))
			return;
		if (!keep_metadata(c, h, n)) {
			call_refuse(c, "200", ERR_RESOURCE_EXHAUSTED, "too much metadata");
			return;
		}
		if (!end)
			budget_begin_request(ss, c);
		if (c->is_stream)
			call_dispatch(c, ss->server->work);
	}
	if (c && end)
		request_over(ss->server, c);
}

static void on_data(void *arg, struct h2_stream *stream, const uint8_t *bytes, size_t n)
{
	struct grpc_call *c = h2_stream_user(stream);

	(void)arg;
	if (c && c->is_stream && !c->is_answered) {
		if (call_arrived(c, bytes, n))
			budget_count_request(c, n);
		else
			budget_end_request(c);
		return;
	}
	h2_consume(stream, n);
	if (!c || c->is_answered || c->is_dispatched)
		return;
	str_append_wiping(&c->in, bytes, n);
	if (check_prefix(c))
		budget_count_request(c, n);
	else
		budget_end_request(c);
}

static void on_end(void *arg, struct h2_stream *stream)
{
	struct session *ss = arg;
	struct grpc_call *c = h2_stream_user(stream);

	if (c)
		request_over(ss->server, c);
}

static void on_stream_drained(void *arg, struct h2_stream *stream)
{
	struct grpc_call *c = h2_stream_user(stream);

	(void)arg;
	if (c)
		call_stream_drained(c);
}

static void on_stream_close(void *arg, struct h2_stream *stream, uint32_t error)
{
	struct grpc_call *c = h2_stream_user(stream);

	(void)error;
	budget_end_call(arg);
	if (!c)
		return;
	budget_end_request(c);
	call_stream_gone(c);
}

static void drained_if_empty(struct grpc_server *s)
{
	void (*done)(void *arg) = s->drain_done;

	if (!s->draining || s->sessions || !done)
		return;
	s->drain_done = NULL;
	ev_timer_stop(s->drain_timer);
	done(s->drain_arg);
}

static void on_session_close(void *arg, const struct err *why)
{
	struct session *ss = arg;
	struct grpc_server *s = ss->server;

	log_debug("connection closed", log_err(why));
	if (ss->prev)
		ss->prev->next = ss->next;
	else
		s->sessions = ss->next;
	if (ss->next)
		ss->next->prev = ss->prev;
	s->n_sessions--;
	h2_conn_free(ss->h2);
	free(ss);
	drained_if_empty(s);
}

static const struct h2_ops session_ops = {
	.on_headers = on_headers,
	.on_data = on_data,
	.on_end = on_end,
	.on_stream_drained = on_stream_drained,
	.on_stream_close = on_stream_close,
	.on_close = on_session_close,
};

static void on_accept(void *arg, struct conn *conn)
{
	struct grpc_server *s = arg;
	struct session *ss = xcalloc(1, sizeof(*ss));

	ss->server = s;
	ss->since_ns = clock_now_ns();
	ss->next = s->sessions;
	if (ss->next)
		ss->next->prev = ss;
	s->sessions = ss;
	s->n_sessions++;
	ss->h2 = h2_conn_new(
		s->loop, conn,
		&(struct h2_options){ .is_server = true, .ops = &session_ops, .arg = ss });
	budget_make_room(s, ss);
}

/* ---- door ---- */

static void cut_off(void *arg)
{
	struct grpc_server *s = arg;

	for (struct session *ss = s->sessions; ss; ss = ss->next)
		h2_conn_close(ss->h2, H2_NO_ERROR);
}

struct grpc_server *grpc_server_new(struct ev_loop *loop, struct work *work)
{
	struct grpc_server *s = xcalloc(1, sizeof(*s));

	s->loop = loop;
	s->work = work;
	s->methods = map_new();
	s->drain_timer = ev_timer_new(loop, cut_off, s);
	budget_init(s);
	return s;
}

static void close_listeners(struct grpc_server *s)
{
	for (size_t i = 0; i < s->endpoints.n; i++) {
		listener_close(s->endpoints.v[i].listener);
		s->endpoints.v[i].listener = NULL;
	}
}

/* Without callbacks: its calls are told here. */
static void drop_session(struct session *ss)
{
	struct h2 *core = h2_conn_core(ss->h2);

	for (struct h2_stream *stream = NULL; (stream = h2_stream_next(core, stream));) {
		struct grpc_call *c = h2_stream_user(stream);

		if (!c)
			continue;
		budget_end_request(c);
		call_stream_gone(c);
	}
	h2_conn_free(ss->h2);
	free(ss);
}

void grpc_server_free(struct grpc_server *s)
{
	void *row = NULL;
	struct session *ss = NULL;

	if (!s)
		return;
	close_listeners(s);
	while ((ss = s->sessions) != NULL) {
		s->sessions = ss->next;
		drop_session(ss);
	}
	for (size_t it = 0; map_next(s->methods, &it, NULL, &row);)
		free(row);
	for (size_t i = 0; i < s->endpoints.n; i++)
		tls_unref(s->endpoints.v[i].tls);
	vec_done(&s->endpoints);
	map_free(s->methods);
	ev_timer_free(s->drain_timer);
	ev_timer_free(s->sweep_timer);
	free(s);
}

void grpc_server_add(struct grpc_server *s, const struct grpc_method *methods, size_t n, void *arg)
{
	for (size_t i = 0; i < n; i++) {
		struct method_row *row = xcalloc(1, sizeof(*row));
		void *old = NULL;

		assert(!methods[i].is_inline || methods[i].kind < GRPC_CLIENT_STREAM);
		*row = (struct method_row){ &methods[i], arg };
		old = map_put(s->methods, methods[i].path, row);
		assert(!old);
	}
}

int grpc_server_listen(struct grpc_server *s, const struct net_addr *addr,
		       const struct grpc_listen_options *opts, struct err *err)
{
	struct endpoint e = { .addr = *addr };
	char text[NET_ADDR_TEXT_MAX] = "";

	net_addr_format(addr, text);
	if (addr->kind == NET_ADDR_TCP && !opts->tls && !opts->allow_insecure &&
	    !net_addr_is_loopback(addr))
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "%s without TLS is refused beyond loopback: give a certificate, a "
			       "key and a CA, or --insecure",
			       text);
	if (listener_open(s->loop, addr, 0600, opts->tls, on_accept, s, &e.listener, err) < 0)
		return -1;
	e.tls = opts->tls ? tls_ref(opts->tls) : NULL;
	vec_push(&s->endpoints, e);
	return 0;
}

uint16_t grpc_server_port(const struct grpc_server *s)
{
	for (size_t i = s->endpoints.n; i-- > 0;)
		if (s->endpoints.v[i].addr.kind == NET_ADDR_TCP && s->endpoints.v[i].listener)
			return listener_port(s->endpoints.v[i].listener);
	return 0;
}

bool grpc_server_is_bound(const struct grpc_server *s)
{
	for (size_t i = 0; i < s->endpoints.n; i++)
		if (!s->endpoints.v[i].listener || !listener_is_bound(s->endpoints.v[i].listener))
			return false;
	return true;
}

int grpc_server_rebind(struct grpc_server *s, struct err *err)
{
	close_listeners(s);
	for (size_t i = 0; i < s->endpoints.n; i++) {
		struct endpoint *e = &s->endpoints.v[i];

		if (listener_open(s->loop, &e->addr, 0600, e->tls, on_accept, s, &e->listener,
				  err) < 0)
			return -1;
	}
	return 0;
}

static void check_drained(void *arg)
{
	drained_if_empty(arg);
}

void grpc_server_drain(struct grpc_server *s, int64_t timeout_ns, void (*done)(void *arg),
		       void *arg)
{
	s->draining = true;
	s->drain_done = done;
	s->drain_arg = arg;
	close_listeners(s);
	for (struct session *ss = s->sessions; ss; ss = ss->next)
		h2_conn_drain(ss->h2);
	ev_timer_start(s->drain_timer, timeout_ns, 0);
	ev_post(s->loop, check_drained, s);
}
