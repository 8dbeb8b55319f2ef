/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_HTTP_H
#define NET_HTTP_H

#include "base/ctx.h"
#include "base/err.h"
#include "base/str.h"
#include "net/h2.h"

#include <stddef.h>
#include <stdint.h>

struct ev_loop;
struct tls;

/*
 * struct http - an HTTP/2 client for one server over one TLS connection
 *
 * Connects when there is a request and no connection, at most one attempt at a time; after a failed
 * one the next waits 0.1–10 s (doubled, jittered) and requests wait with it. A server that says
 * GOAWAY gets its streams finished while new requests go over a new connection. PINGs find a dead
 * peer in 30 s. A request that the server refused unseen (REFUSED_STREAM) is sent again by itself,
 * any other failure is the caller's to judge: it may have been done.
 */
struct http;

struct http_options {
	const char *host; /* name or address without brackets; copied */
	uint16_t port;
	struct tls *tls; /* taken a reference of */
};

/* Any thread. */
struct http *http_new(struct ev_loop *loop, const struct http_options *opts);
/* Any thread; what is under way ends with UNAVAILABLE. No new requests may be made. NULL is fine.
 */
void http_free(struct http *c);

struct http_request {
	const char *method;
	const char *path;
	const struct h2_header *headers; /* beside the pseudo-headers; names in lower case */
	size_t n_headers;
	const char *body; /* NULL: none */
	size_t body_len;
};

struct http_reply {
	int status;
	struct str headers; /* name NUL value NUL … */
	struct str body;
};
#define HTTP_REPLY_INIT ((struct http_reply){ 0 })
void http_reply_done(struct http_reply *r);
#define autoreply __attribute__((cleanup(http_reply_done)))
const char *http_reply_header(const struct http_reply *r, const char *name); /* NULL if absent */

/*
 * Any thread but the loop's: sends, waits, gives the whole reply, whatever its status. UNAVAILABLE:
 * no connection, or it broke; DEADLINE_EXCEEDED or CANCELLED: ctx's, or timeout_ns (0: none) is
 * over; RESOURCE_EXHAUSTED: a body over 32 MiB.
 */
#define HTTP_BODY_MAX (32u << 20)
int http_call(struct http *c, struct ctx *ctx, const struct http_request *req, int64_t timeout_ns,
	      struct http_reply *ret_reply, struct err *err);

/*
 * I/O thread only: a request whose reply comes in pieces. No callback runs inside http_open; any
 * may call http_cancel. Bytes count as dealt with when on_data returns. on_end comes once and last:
 * why->code OK means a whole reply.
 */
struct http_stream;
struct http_stream_ops {
	void (*on_reply)(void *arg, int status, const struct h2_header *headers, size_t n);
	void (*on_data)(void *arg, const uint8_t *bytes, size_t n);
	void (*on_end)(void *arg, const struct err *why);
};
struct http_stream *http_open(struct http *c, const struct http_request *req,
			      const struct http_stream_ops *ops, void *arg);
void http_cancel(struct http_stream *s); /* no callback follows, on_end neither; NULL is fine */

#endif
