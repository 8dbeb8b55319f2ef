/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GRPC_CLIENT_H
#define GRPC_CLIENT_H

#include "base/ctx.h"
#include "base/err.h"
#include "grpc/call.h"
#include "net/addr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ev_loop;
struct tls;

/*
 * struct grpc_channel - calls to one endpoint over one HTTP/2 connection
 *
 * Connects on first use and again after a loss; after a failed attempt, or a connection that was
 * lost within a second, the next waits 0.1–1 s with jitter. Calls wait for the connection, and for
 * room below the peer's limit of streams, within their deadline; they fail with UNAVAILABLE and the
 * reason when an attempt failed or the connection was lost under them. A server that says GOAWAY
 * gets its calls finished while new ones go over a new connection. A call whose stream the server
 * refused before processing it (GOAWAY, REFUSED_STREAM) is sent once more.
 */
struct grpc_channel;

/* tls: a reference is taken; NULL: none. Any thread. */
struct grpc_channel *grpc_channel_new(struct ev_loop *loop, const struct net_addr *addr,
				      struct tls *tls);
/* Before the first call: whom the server's certificate must name, where that is neither what tls
 * says nor the host; channels to many servers share one tls. */
void grpc_channel_expect(struct grpc_channel *ch, const char *server_name);
/* Connects as a call would, and nobody waits for it: grpc_channel_is_connected tells. On the I/O
 * thread. */
void grpc_channel_connect(struct grpc_channel *ch);
/* No call may be under way. Not on the I/O thread while the loop runs, unless the loop was stopped.
 */
void grpc_channel_free(struct grpc_channel *ch);
bool grpc_channel_is_connected(const struct grpc_channel *ch); /* any thread */
/* How often a connection was made or lost: as long as it is the same number, the other side is the
 * same process. Any thread. */
unsigned grpc_channel_changes(const struct grpc_channel *ch);

/* What goes along with a call, beside what gRPC says itself. */
struct grpc_metadata {
	const char *name;  /* lower case letters, digits, '-', '_', '.'; not "grpc-…" */
	const char *value; /* printable ASCII. Never indexed by HPACK, as what is secret must not */
};

#define GRPC_CLIENT_METADATA_MAX 16u
struct grpc_call_options {
	const struct grpc_metadata *metadata; /* at most 16, GRPC_METADATA_MAX bytes; copied */
	size_t n_metadata;
};

/*
 * Unary call from a worker: blocks until reply, deadline (sent along as grpc-timeout) or
 * cancellation of ctx. The reply lives in ctx->arena. On failure err has the server's code and
 * message, or UNAVAILABLE, DEADLINE_EXCEEDED, CANCELLED; INVALID_ARGUMENT for metadata that cannot
 * be sent.
 */
int grpc_channel_call(struct grpc_channel *ch, struct ctx *ctx, const char *path, const void *req,
		      size_t n_req, const uint8_t **ret_reply, size_t *ret_n, struct err *err);
/* opts may be NULL. */
int grpc_channel_call_with(struct grpc_channel *ch, struct ctx *ctx, const char *path,
			   const struct grpc_call_options *opts, const void *req, size_t n_req,
			   const uint8_t **ret_reply, size_t *ret_n, struct err *err);

/* Server streaming: fn is called on this thread for each message (borrowed); ≠0 from it ends the
 * call with CANCELLED. A slow fn stalls the server. */
typedef int (*grpc_message_fn)(void *arg, const uint8_t *message, size_t n);
int grpc_channel_stream(struct grpc_channel *ch, struct ctx *ctx, const char *path, const void *req,
			size_t n_req, grpc_message_fn fn, void *arg, struct err *err);

/*
 * struct grpc_stream - a call of any number of messages both ways, from a worker
 *
 * One thread at a time. Everything that blocks does so until ctx is over, which lives as long. When
 * both sides only send, both wait: who sends much receives in between.
 */
struct grpc_stream;

/* Does not wait for the connection. opts may be NULL. */
int grpc_stream_open(struct grpc_channel *ch, struct ctx *ctx, const char *path,
		     const struct grpc_call_options *opts, struct grpc_stream **ret_stream,
		     struct err *err);
/* Copies; blocks while the server does not read. -1: the call is over, and err says how; a server
 * that ended it well without reading all is CANCELLED, and its messages are still to be received.
 */
int grpc_stream_send(struct grpc_stream *s, const void *bytes, size_t n, struct err *err);
/* No more will be sent. */
void grpc_stream_close_send(struct grpc_stream *s);
/* 1: a message, which lives until the next call here; 0: the server ended the call well; -1: it did
 * not, or ctx is over, or the connection was lost. */
int grpc_stream_receive(struct grpc_stream *s, const uint8_t **ret_message, size_t *ret_n,
			struct err *err);
/* Cancels the call unless it is over. NULL is fine. */
void grpc_stream_free(struct grpc_stream *s);

#endif
