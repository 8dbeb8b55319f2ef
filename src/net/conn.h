/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_CONN_H
#define NET_CONN_H

#include "base/err.h"
#include "net/addr.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct ev_loop;
struct tls;

/*
 * struct conn - bytes to and from a peer over a unix or TCP socket, with TLS if asked. I/O thread
 * only. A TCP peer whose machine is gone is found after 35 s at the latest.
 *
 * Callbacks never run inside conn_connect or conn_write, may call conn_close, and none runs after
 * on_close or after conn_close. on_close is called exactly once unless conn_close came first; the
 * conn is gone when it returns.
 */
struct conn;

struct conn_ops {
	void (*on_open)(void *arg); /* connected, TLS handshake done, ALPN h2 agreed */
	void (*on_data)(void *arg, const uint8_t *bytes, size_t n);
	void (*on_drained)(void *arg); /* the backlog fell below CONN_BACKLOG_LOW again */
	void (*on_close)(
		void *arg,
		const struct err *why); /* UNAVAILABLE; why->code OK: clean end of stream */
};

#define CONN_BACKLOG_HIGH (256u << 10) /* conn_write callers stop producing above this */
#define CONN_BACKLOG_LOW (64u << 10)

/* Starts connecting; the outcome is on_open or on_close. Names are resolved off the loop, their
 * addresses tried in turn. timeout_ns covers all of it. server_name: whom the peer's certificate
 * must name (SNI and check); NULL: whom tls says, or the host. */
int conn_connect(struct ev_loop *loop, const struct net_addr *addr, struct tls *tls,
		 const char *server_name, int64_t timeout_ns, const struct conn_ops *ops, void *arg,
		 struct conn **ret_conn, struct err *err);

void conn_set_ops(struct conn *c, const struct conn_ops *ops,
		  void *arg); /* for accepted connections */

/* Copies. Returns the backlog in bytes afterwards. Writing to a conn that is about to close is
 * dropped. */
size_t conn_write(struct conn *c, const void *bytes, size_t n);
size_t conn_backlog(const struct conn *c);
/* How long the peer has taken nothing of what waits for it; 0 if nothing waits. */
int64_t conn_stalled_ns(const struct conn *c);

/* Sends what is queued (for at most a second), then closes; no callback follows. */
void conn_close(struct conn *c);
/* Closes at once, dropping what is queued. */
void conn_abort(struct conn *c);

#define CONN_PEER_MAX 320
/* "unix pid 4711 uid 0" or "10.0.0.1:4242", and of a verified certificate its names: " DNS:a URI:b
 * CN=c", the alternative ones first. A name has no blank in it. Lives with the conn. */
const char *conn_peer(const struct conn *c);

#endif
