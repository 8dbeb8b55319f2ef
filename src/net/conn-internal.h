/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_CONN_INTERNAL_H
#define NET_CONN_INTERNAL_H

#include <openssl/ssl.h>
#include <uv.h>

#include "base/str.h"
#include "net/conn.h"

union net_socket {
	uv_handle_t handle;
	uv_stream_t stream;
	uv_tcp_t tcp;
	uv_pipe_t pipe;
};

struct conn {
	union net_socket uv;
	struct ev_loop *loop;
	struct ev_timer *timer; /* connect timeout, then linger at close */
	const struct conn_ops *ops;
	void *arg;
	SSL *ssl;
	struct tls *tls;
	const char *tls_in; /* what OpenSSL has not read yet of what is being received */
	size_t n_tls_in;
	struct str tls_out; /* what it wrote and is not sent yet */
	size_t backlog;
	int64_t moved_ns; /* when something of the backlog went out last, or it began */
	bool is_unix, is_open, is_high;
	bool user_closed; /* no callbacks any more */
	bool closing;     /* uv_close was called */
	uv_connect_t connect_req;
	uv_getaddrinfo_t *resolve; /* under way; its arg is cleared when we go first */
	struct addrinfo *addrs, *next_addr;
	bool reopening; /* between two addresses: the old socket is being closed */
	uint16_t port;
	struct err why;
	char peer[CONN_PEER_MAX];
};

/* What was accepted on server becomes a conn; its on_open comes when TLS is done (at once, but
 * later, without TLS). */
int conn_accept(struct ev_loop *loop, uv_stream_t *server, bool is_unix, struct tls *tls,
		const struct conn_ops *ops, void *arg, struct conn **ret_conn, struct err *err);

/* ---- between conn.c and conn_tls.c ---- */

/* Ends it; c->why says why. */
void conn_end(struct conn *c);
void conn_send_raw(struct conn *c, const char *bytes, size_t n);
void conn_opened(struct conn *c);

/* Makes c->ssl; names as in tls_session_new. */
int conn_tls_new(struct conn *c, const char *server_name, const char *host, struct err *err);
/* Nothing to do without TLS: true. False: it has ended. */
bool conn_tls_begin(struct conn *c);
/* A step of it; true: it is done, and on_open has been told. */
bool conn_tls_handshake(struct conn *c);
void conn_tls_receive(struct conn *c, const char *bytes, size_t n);
void conn_tls_write(struct conn *c, const void *bytes, size_t n);
void conn_tls_shutdown(struct conn *c);

#endif
