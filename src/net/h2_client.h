/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_H2_CLIENT_H
#define NET_H2_CLIENT_H

#include "net/h2.h"

struct ev_loop;
struct net_addr;
struct tls;

/*
 * struct h2_client - keeps HTTP/2 connections to one endpoint and gives calls their streams
 *
 * Connects when a call waits (or h2_client_connect says so) and there is no connection, one attempt
 * at a time, each for 10 s at most. When it fails, the calls that wait hear so, and the next begins
 * after a pause that doubles (and is jittered) with every failure in a row; calls that come in
 * between wait for it. A peer
 * that says GOAWAY gets its streams finished while new calls go over a new connection. A call that
 * the peer refused unseen (REFUSED_STREAM, GOAWAY) is sent again by itself.
 *
 * I/O thread only, except _new and _expect. Callbacks come from the loop alone, never inside a
 * function here, but on_turn, which may come inside h2_call_start, and on_over inside _free. They
 * may do anything but free the client.
 */
struct h2_client;

/* A request and its stream; part of what its user keeps of it, zeroed before h2_call_start. */
struct h2_call {
	/* To be read. client: NULL when it was not started, or is over; stream: also while it
	 * waits. */
	struct h2_client *client;
	struct h2_stream *stream;
	/* To be set: it cannot be sent again, since what was sent of it is not kept. */
	bool is_final;
	/* The client's. */
	struct h2_call *prev, *next;
	unsigned tries, attempt;
	bool is_answered;
};

struct h2_call_end {
	enum {
		H2_CALL_ENDED,  /* by either side: error says how */
		H2_CALL_LOST,   /* with its connection, for that reason */
		H2_CALL_UNSENT, /* no connection could be made, for that reason */
		H2_CALL_CLOSED, /* the client was freed */
	} how;
	uint32_t error;        /* ENDED: enum h2_error */
	const struct err *why; /* LOST, UNSENT */
};

struct h2_client_ops {
	/* A stream may be opened: by h2_call_request, and then its body may be sent. Nothing else
	 * may be done in here. */
	void (*on_turn)(struct h2_call *call);
	void (*on_headers)(struct h2_call *call, const struct h2_header *h, size_t n,
			   bool is_trailers, bool end);
	/* True: dealt with; false: h2_consume is called later. */
	bool (*on_data)(struct h2_call *call, const uint8_t *bytes, size_t n);
	void (*on_end)(struct h2_call *call);     /* as in struct h2_ops; may be NULL */
	void (*on_drained)(struct h2_call *call); /* the same */
	/* Once and last; the call is the user's again. */
	void (*on_over)(struct h2_call *call, const struct h2_call_end *end);
	/* There is a connection that takes calls, or no more. May be NULL. */
	void (*on_change)(void *arg, bool is_connected);
};

struct h2_client_options {
	const struct net_addr *addr;        /* copied */
	struct tls *tls;                    /* a reference is taken; NULL: none */
	int64_t pause_min_ns, pause_max_ns; /* between attempts */
	/* When an attempt counts as good. Above 0: when its connection has lasted that long; if
	 * not, the pause begins with the loss. 0: when something was answered; the pause counts
	 * from when the connection was made, since one that nothing is asked of may be lost
	 * unheard. */
	int64_t settle_ns;
	/* What a connection at the peer's limit of streams means. False: calls wait for room. True:
	 * it is left to finish what it has, and the next one is made: where streams last. */
	bool leaves_full;
	unsigned tries;         /* how often a call is sent that the peer refuses unseen */
	uint32_t stream_window; /* as in struct h2_options, like the next */
	int64_t ping_interval_ns;
	int64_t ping_timeout_ns;
	const struct h2_client_ops *ops;
	void *arg; /* of on_change */
};

/* Any thread. opts->ops lives as long. */
struct h2_client *h2_client_new(struct ev_loop *loop, const struct h2_client_options *opts);
/* Before the first call: as server_name of conn_connect. Copied. */
void h2_client_expect(struct h2_client *c, const char *server_name);
/* Makes a connection for calls to come, if there is none; one attempt, of which on_change tells if
 * it succeeds. */
void h2_client_connect(struct h2_client *c);
/* Not from a callback; no call may be started any more. Those that are there end (CLOSED). NULL is
 * fine. */
void h2_client_free(struct h2_client *c);

void h2_call_start(struct h2_client *c, struct h2_call *call);
/* In on_turn: opens call->stream, which stays NULL when the connection takes no more; the call's
 * turn comes again then. end: no body. */
void h2_call_request(struct h2_call *call, const struct h2_header *headers, size_t n, bool end);
/* What was queued in call->stream goes to the connection; or at the end of the loop's turn. After
 * callbacks it happens by itself. Nothing without a stream. */
void h2_call_flush(struct h2_call *call);
void h2_call_flush_soon(struct h2_call *call);
/* Resets the stream; no callback follows, and the call is the user's again. One that was not
 * started, or is over, is fine. */
void h2_call_cancel(struct h2_call *call);

#endif
