/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_H2_CONN_H
#define NET_H2_CONN_H

#include "net/h2.h"

struct conn;
struct ev_loop;

/*
 * struct h2_conn - an HTTP/2 session (net/h2.h) on a conn and on the loop's time. I/O thread only.
 *
 * It owns both. Callbacks come from the loop alone, never inside a function here; every function
 * but _free may be called from them, and _free from on_close.
 */
struct h2_conn;

/* Takes the open conn. opts->owner is ours. */
struct h2_conn *h2_conn_new(struct ev_loop *loop, struct conn *c, const struct h2_options *opts);
void h2_conn_free(struct h2_conn *c); /* aborts the conn if still there; no callbacks */
struct h2 *h2_conn_core(const struct h2_conn *c);
struct h2_conn *h2_conn_of(const struct h2_stream *s);

/* h2_close, and the conn is closed when it is out; h2_drain. */
void h2_conn_close(struct h2_conn *c, enum h2_error error);
void h2_conn_drain(struct h2_conn *c);

/* Everything queued since the last call goes to the conn. Callers outside callbacks end a batch of
 * calls with it; after callbacks it happens by itself. */
void h2_conn_flush(struct h2_conn *c);
/* The same at the end of this turn of the loop: replies that come in a burst share a write. */
void h2_conn_flush_soon(struct h2_conn *c);

/* Bytes that wait for the peer to read, in streams that are whole (h2_owed) and on the conn; and
 * for how long it has read nothing of them. */
size_t h2_conn_unsent(const struct h2_conn *c);
int64_t h2_conn_stalled_ns(const struct h2_conn *c);
const char *h2_conn_peer(const struct h2_conn *c); /* conn_peer */

#endif
