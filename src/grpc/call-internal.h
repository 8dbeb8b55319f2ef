/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GRPC_CALL_INTERNAL_H
#define GRPC_CALL_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/str.h"
#include "grpc/call.h"
#include "grpc/server.h"
#include "net/conn.h"
#include "net/h2_conn.h"

struct ev_timer;
struct session;

/*
 * Held by the stream (I/O thread) and by the handler (worker), freed by whoever lets go last. The
 * stream may die while the handler runs: then stream is NULL and the answer is dropped.
 */
struct grpc_call {
	atomic_uint refs;
	struct ctx ctx;
	struct ev_loop *loop;
	struct grpc_server *server;
	const struct grpc_method *method;
	void *method_arg;
	char peer[CONN_PEER_MAX];

	/* I/O thread only */
	struct h2_stream *stream;
	struct ev_timer *deadline;
	struct str in; /* request as it arrives: 5 bytes of prefix, then the message */
	struct session *session;
	struct grpc_call *older, *newer; /* among the server's unfinished requests */
	bool is_unfinished;              /* is in that list */
	int64_t begun_ns;
	size_t counted;     /* bytes of it in the budgets */
	bool is_dispatched; /* the handler was started */
	bool is_answered;   /* a status was sent */
	bool has_head;      /* response headers were sent */

	/* handler, then I/O after the post that ends the call */
	const void *reply;
	size_t n_reply;
	bool has_said; /* reply, fail or finish was called */
	bool has_reply;
	struct err status;

	/* streaming; lock guards them */
	pthread_mutex_t lock;
	pthread_cond_t writable;
	struct str out; /* messages with prefix on their way to the I/O thread */
	size_t in_h2;   /* bytes that wait in the stream */
	bool is_posted, is_gone;
};

struct grpc_call *call_new(struct grpc_server *server, struct ev_loop *loop,
			   struct h2_stream *stream, const char *peer);
void call_unref(struct grpc_call *call);

/* I/O thread: headers-only answer; http is ":status", normally "200". */
void call_refuse(struct grpc_call *call, const char *http, enum err_code code, const char *message);
/* I/O thread: the request will have n bytes. */
void call_expect_request(struct grpc_call *call, size_t n);
/* Forgets and zeroes what came of the request. */
void call_drop_request(struct grpc_call *call);
/* I/O thread: starts the handler (inline or on its lane). */
void call_dispatch(struct grpc_call *call, struct work *work);
/* I/O thread: the stream is gone. Drops the stream's reference. */
void call_stream_gone(struct grpc_call *call);
void call_stream_drained(struct grpc_call *call);
/* I/O thread: begins to watch the deadline of ctx. */
void call_watch_deadline(struct grpc_call *call);

#endif
