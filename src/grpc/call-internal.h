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
	const char *peer;    /* in the arena */
	struct str metadata; /* name NUL value NUL …; written before the handler starts */
	int64_t unread_ns;   /* the server's limit, which may be gone */

	/* I/O thread only */
	struct h2_stream *stream;
	struct ev_timer *deadline;
	struct str in; /* request as it arrives: 5 bytes of prefix, then the message */
	struct session *session;
	struct grpc_call *older, *newer; /* among the server's unfinished requests */
	int64_t begun_ns;
	size_t counted;     /* bytes of it in the budgets */
	bool is_unfinished; /* is in that list */
	bool is_dispatched; /* the handler was started */
	bool is_answered;   /* a status was sent */
	bool has_head;      /* response headers were sent */
	bool is_stream;     /* of requests: they are received by the handler */
	uint8_t prefix[5];  /* of the message that comes, as far as it is there */
	unsigned n_prefix;
	size_t n_missing; /* bytes of that message */

	/* handler, then I/O after the post that ends the call */
	const void *reply;
	size_t n_reply;
	bool has_said; /* reply, fail or finish was called */
	bool has_reply;
	struct err status;

	/* streaming; lock guards them */
	pthread_mutex_t lock;
	pthread_cond_t changed; /* for the handler: room to send, something arrived */
	struct str out;         /* messages with prefix on their way to the I/O thread */
	size_t in_h2;           /* bytes that wait in the stream */
	bool is_posted, is_gone;
	struct str arrived;            /* messages with prefix on their way to the handler */
	bool is_all;                   /* no more will arrive */
	size_t to_consume, to_release; /* bytes that the I/O thread shall hear of */
	bool is_consume_posted;

	/* handler */
	struct str box; /* what it took of arrived */
	size_t box_at;  /* before it, all was received */
	/* bytes of the whole stream: taken, received; for which the window was opened, and which
	 * are in the budgets no more */
	uint64_t n_taken, n_received, n_opened, n_released;
};

#define CALL_PREFIX 5
static inline size_t call_prefix_length(const uint8_t p[CALL_PREFIX])
{
	return (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
}

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
/* I/O thread: the handler shall stop. */
void call_wake(struct grpc_call *call);
struct grpc_call *call_ref(struct grpc_call *call);

/* call_receive.c; I/O thread. Bytes of a stream of requests, false: refused; and their end. */
bool call_arrived(struct grpc_call *call, const uint8_t *bytes, size_t n);
void call_all_arrived(struct grpc_call *call);
/* I/O thread: sets the deadline of ctx and watches it. */
void call_set_timeout(struct grpc_call *call, int64_t timeout_ns);

#endif
