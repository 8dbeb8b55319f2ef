/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GRPC_SERVER_H
#define GRPC_SERVER_H

#include "grpc/call.h"
#include "net/addr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ev_loop;
struct tls;
struct work;

/*
 * struct grpc_server - serves methods on any number of listeners (gRPC over HTTP/2)
 *
 * Handlers are plain blocking code on the worker lane of their method; methods that never block may
 * run inline on the I/O thread, which saves two thread hand-overs. A full lane answers UNAVAILABLE,
 * which clients repeat. Messages over 4 MiB get RESOURCE_EXHAUSTED without being buffered; gzip
 * UNIMPLEMENTED; a compressed flag without encoding INTERNAL; not exactly one message INTERNAL. A
 * deadline is also kept here when the client is silent about it. All functions: before the loop
 * runs, or on the I/O thread.
 */
struct grpc_server;

/* What comes: one message, which the handler finds whole (grpc_call_request), or any number, which
 * it receives (grpc_call_receive). What goes: one (grpc_call_reply) or any number (grpc_call_send).
 */
enum grpc_kind {
	GRPC_UNARY,
	GRPC_SERVER_STREAM,
	GRPC_CLIENT_STREAM,
	GRPC_BIDI,
};

typedef void (*grpc_handler_fn)(struct grpc_call *call, void *arg);

struct grpc_method {
	const char *path; /* "/package.Service/Method" */
	grpc_handler_fn fn;
	unsigned lane; /* of the server's work; none if is_inline */
	/* Not NULL: which lane this call runs on, by its request. On the I/O thread, once, with the
	 * fn's arg; must not block. Not for those that receive. */
	unsigned (*choose_lane)(struct grpc_call *call, void *arg);
	bool is_inline; /* must not block, nor take longer than some microseconds; not for those
			   that receive */
	enum grpc_kind kind;
};

/*
 * What peers may take of us. Beyond it a newcomer takes the place of the oldest in the lowest state
 * (silent: has asked nothing yet; idle: has no call under way), never of one with a call under way;
 * and the oldest unfinished request goes first. Of a stream what counts is what its handler has not
 * received yet, from when that was nothing. All 0: what is in the comments.
 */
struct grpc_limits {
	unsigned connections;         /* 128 */
	unsigned silent_connections;  /* 64 */
	size_t unfinished_bytes;      /* 6 MiB of requests that are still coming, all together */
	size_t unfinished_bytes_each; /* 5 MiB, of one connection */
	size_t unsent_bytes;          /* 1 MiB of replies that a connection does not read */
	int64_t silent_ns;            /* 60 s until the first request */
	int64_t request_ns;           /* 30 s until a request, or a message of a stream, is whole */
	int64_t stalled_ns;           /* 30 s in which none of what waits is read */
	int64_t unread_ns;            /* 10 min in which of a stream there is no room to send */
};

struct grpc_server *grpc_server_new(struct ev_loop *loop, struct work *work);
/* Before it listens. */
void grpc_server_limit(struct grpc_server *s, const struct grpc_limits *limits);
/* Calls that are not over are cancelled and get no answer; their handlers end on their workers, who
 * are stopped afterwards. */
void grpc_server_free(struct grpc_server *s);

/* methods lives as long as the server; arg goes to each handler. A path may be there once
 * (asserted). */
void grpc_server_add(struct grpc_server *s, const struct grpc_method *methods, size_t n, void *arg);

struct grpc_listen_options {
	struct tls *tls;     /* NULL: none. Borrowed: a reference is taken */
	bool allow_insecure; /* tcp without tls also beyond loopback */
};
/*
 * unix sockets have mode 0600 (see net/listener.h for stale and living ones). FAILED_PRECONDITION:
 * in use; tcp without TLS on an address that is not loopback, without allow_insecure.
 */
int grpc_server_listen(struct grpc_server *s, const struct net_addr *addr,
		       const struct grpc_listen_options *opts, struct err *err);
/* The port of the newest tcp listener. */
uint16_t grpc_server_port(const struct grpc_server *s);
/* False once a unix socket's file was removed or replaced by someone else. */
bool grpc_server_is_bound(const struct grpc_server *s);
/* Closes the listeners and opens them anew at the same addresses (after grpc_server_is_bound said
 * no). */
int grpc_server_rebind(struct grpc_server *s, struct err *err);

/*
 * No new connections and calls (GOAWAY); done(arg) on the I/O thread when the last connection is
 * gone, at the latest timeout_ns from now, when what is left is cut off.
 */
void grpc_server_drain(struct grpc_server *s, int64_t timeout_ns, void (*done)(void *arg),
		       void *arg);

#endif
