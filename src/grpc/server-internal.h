/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GRPC_SERVER_INTERNAL_H
#define GRPC_SERVER_INTERNAL_H

#include "base/map.h"
#include "base/vec.h"
#include "grpc/call-internal.h"
#include "grpc/server.h"
#include "net/h2_conn.h"
#include "net/listener.h"

struct endpoint {
	struct net_addr addr;
	struct tls *tls;
	struct listener *listener;
};

struct session {
	struct grpc_server *server;
	struct h2_conn *h2;
	struct session *prev, *next; /* the last to come first */
	int64_t since_ns;            /* when it came, or its last call ended */
	size_t unfinished_bytes;
	bool has_asked;
	bool is_ending;
};

struct grpc_server {
	struct ev_loop *loop;
	struct work *work;
	struct map *methods;
	VEC(struct endpoint) endpoints;
	struct session *sessions;
	unsigned n_sessions;
	struct grpc_limits limits;
	struct grpc_call *oldest, *newest; /* unfinished requests */
	size_t unfinished_bytes;
	struct ev_timer *sweep_timer;
	bool draining;
	struct ev_timer *drain_timer;
	void (*drain_done)(void *arg);
	void *drain_arg;
};

/* budget.c: what peers may take of us (struct grpc_limits). I/O thread. */
void budget_init(struct grpc_server *s);
/* A session came: ends others, or it, until there is room. */
void budget_make_room(struct grpc_server *s, struct session *newcomer);
/* False: the session is being ended, since it does not read its replies. */
bool budget_begin_call(struct session *ss);
void budget_end_call(struct session *ss);
/* A request whose end has not come yet; n more bytes of it, which may cost it or older ones their
 * place; its end, also when it is in no list. */
void budget_begin_request(struct session *ss, struct grpc_call *c);
void budget_count_request(struct grpc_call *c, size_t n);
/* n bytes of a stream's were received by its handler. */
void budget_release_request(struct grpc_call *c, size_t n);
void budget_end_request(struct grpc_call *c);

#endif
