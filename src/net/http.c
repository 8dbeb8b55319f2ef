/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests and replies on the calls that net/h2_client keeps connections for. A request is copied,
 * so that any thread can make it and it can be sent again; all else is the loop's.
 *
 * Streams may last (watches), so a connection that is full of them is left for another. A reply is
 * what proves a connection: a server that accepts and then drops is away. PINGs, since the watches
 * of a peer that is gone would else stay silent until TCP notices.
 */
#include "net/http.h"

#include "base/clock.h"
#include "base/mem.h"
#include "event/loop.h"
#include "net/addr.h"
#include "net/h2_client.h"
#include "net/http-internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PING_INTERVAL_NS (20 * NS_PER_S)
#define PING_TIMEOUT_NS (10 * NS_PER_S)
#define PAUSE_MIN_NS (100 * NS_PER_MS)
#define PAUSE_MAX_NS (10 * NS_PER_S)
#define HEADERS_MAX 16
#define TRIES 3

struct http_stream {
	struct h2_call call;
	struct http *c;
	const struct http_stream_ops *ops;
	void *arg;
	bool has_ended;
	char *head; /* method NUL path NUL {name NUL value NUL}; sensitive names begin with '!' */
	size_t n_headers;
	char *body;
	size_t body_len;
};

struct http {
	struct ev_loop *loop;
	struct h2_client *h2;
	bool has_tls;
	char authority[NET_ADDR_HOST_MAX + 10];
};

static struct http_stream *stream_of(struct h2_call *call)
{
	return container_of(call, struct http_stream, call);
}

static void free_stream(struct http_stream *s)
{
	free(s->head);
	if (s->body) /* a token that is to be reviewed, for one */
		explicit_bzero(s->body, s->body_len);
	free(s->body);
	free(s);
}

static size_t read_head(const struct http_stream *s, struct h2_header *v)
{
	const char *at = s->head;
	size_t n = 0;

	v[n++] = (struct h2_header){ .name = ":method", .value = at };
	at += strlen(at) + 1;
	v[n++] = (struct h2_header){ .name = ":scheme", .value = s->c->has_tls ? "https" : "http" };
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

/* ---- what becomes of a call ---- */

static void on_turn(struct h2_call *call)
{
	struct http_stream *s = stream_of(call);
	struct h2_header headers[HEADERS_MAX + 4] = { 0 };
	size_t n = read_head(s, headers);

	h2_call_request(call, headers, n, !s->body);
	/* Bodies are small: no need to wait. */
	if (call->stream && s->body)
		(void)h2_send(call->stream, s->body, s->body_len, true);
}

static void on_headers(struct h2_call *call, const struct h2_header *h, size_t n, bool is_trailers,
		       bool end)
{
	struct http_stream *s = stream_of(call);
	uint64_t status = 0;

	s->has_ended |= end;
	if (is_trailers)
		return;
	for (size_t i = 0; i < n; i++)
		if (str_is_equal(h[i].name, ":status"))
			(void)str_parse_u64(h[i].value,
					    &status); /* nghttp2 has checked it: 3 digits */
	s->ops->on_reply(s->arg, (int)status, h, n);
}

static bool on_data(struct h2_call *call, const uint8_t *bytes, size_t n)
{
	struct http_stream *s = stream_of(call);

	s->ops->on_data(s->arg, bytes, n);
	return true;
}

static void on_end(struct h2_call *call)
{
	stream_of(call)->has_ended = true;
}

static void explain_end(const struct http_stream *s, const struct h2_call_end *end,
			struct err *ret_why)
{
	const char *server = s->c->authority;

	if (s->has_ended) {
		*ret_why = (struct err){ .code = ERR_OK };
		return;
	}
	switch (end->how) {
	case H2_CALL_ENDED:
		(void)err_set(ret_why, ERR_UNAVAILABLE,
			      "%s broke the reply off (HTTP/2 error %" PRIu32 ")", server,
			      end->error);
		break;
	case H2_CALL_LOST:
		(void)err_set(ret_why, ERR_UNAVAILABLE, "connection to %s lost: %s", server,
			      end->why->msg);
		break;
	case H2_CALL_UNSENT:
		*ret_why = *end->why;
		ret_why->code = ERR_UNAVAILABLE;
		(void)err_wrap(ret_why, "connect to %s", server);
		break;
	case H2_CALL_CLOSED:
		(void)err_set(ret_why, ERR_UNAVAILABLE, "the client of %s is closing", server);
		break;
	}
}

static void on_over(struct h2_call *call, const struct h2_call_end *end)
{
	struct http_stream *s = stream_of(call);
	const struct http_stream_ops *ops = s->ops;
	void *arg = s->arg;
	struct err why;

	explain_end(s, end, &why);
	free_stream(s);
	ops->on_end(arg, &why);
}

static const struct h2_client_ops client_ops = {
	.on_turn = on_turn,
	.on_headers = on_headers,
	.on_data = on_data,
	.on_end = on_end,
	.on_over = on_over,
};

/* ---- the door ---- */

struct http *http_new(struct ev_loop *loop, const struct http_options *opts)
{
	struct http *c = xcalloc(1, sizeof(*c));
	struct net_addr addr = { .kind = NET_ADDR_TCP, .port = opts->port };
	bool is_v6 = strchr(opts->host, ':') != NULL;

	(void)snprintf(addr.host, sizeof(addr.host), "%s", opts->host);
	(void)snprintf(c->authority, sizeof(c->authority), is_v6 ? "[%s]:%u" : "%s:%u", addr.host,
		       opts->port);
	c->loop = loop;
	c->has_tls = opts->tls != NULL;
	c->h2 = h2_client_new(loop, &(struct h2_client_options){
					    .addr = &addr,
					    .tls = opts->tls,
					    .pause_min_ns = PAUSE_MIN_NS,
					    .pause_max_ns = PAUSE_MAX_NS,
					    .leaves_full = true,
					    .tries = TRIES,
					    .ping_interval_ns = PING_INTERVAL_NS,
					    .ping_timeout_ns = PING_TIMEOUT_NS,
					    .ops = &client_ops,
				    });
	return c;
}

static void destroy(void *arg)
{
	struct http *c = arg;

	h2_client_free(c->h2);
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
	h2_call_start(s->c->h2, &s->call);
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
	if (!s)
		return;
	h2_call_cancel(&s->call);
	free_stream(s);
}

struct ev_loop *http_loop(const struct http *c)
{
	return c->loop;
}
