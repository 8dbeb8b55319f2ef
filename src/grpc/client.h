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
/* No call may be under way. Not on the I/O thread while the loop runs, unless the loop was stopped.
 */
void grpc_channel_free(struct grpc_channel *ch);
bool grpc_channel_is_connected(const struct grpc_channel *ch); /* any thread */
/* How often a connection was made or lost: as long as it is the same number, the other side is the
 * same process. Any thread. */
unsigned grpc_channel_changes(const struct grpc_channel *ch);

/*
 * Unary call from a worker: blocks until reply, deadline (sent along as grpc-timeout) or
 * cancellation of ctx. The reply lives in ctx->arena. On failure err has the server's code and
 * message, or UNAVAILABLE, DEADLINE_EXCEEDED, CANCELLED.
 */
int grpc_channel_call(struct grpc_channel *ch, struct ctx *ctx, const char *path, const void *req,
		      size_t n_req, const uint8_t **ret_reply, size_t *ret_n, struct err *err);

/* Server streaming: fn is called on this thread for each message (borrowed); ≠0 from it ends the
 * call with CANCELLED. A slow fn stalls the server. */
typedef int (*grpc_message_fn)(void *arg, const uint8_t *message, size_t n);
int grpc_channel_stream(struct grpc_channel *ch, struct ctx *ctx, const char *path, const void *req,
			size_t n_req, grpc_message_fn fn, void *arg, struct err *err);

#endif
