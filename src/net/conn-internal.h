/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_CONN_INTERNAL_H
#define NET_CONN_INTERNAL_H

#include <uv.h>

#include "net/conn.h"

/* What was accepted on server becomes a conn; its on_open comes when TLS is done (at once, but
 * later, without TLS). */
int conn_accept(struct ev_loop *loop, uv_stream_t *server, bool is_unix, struct tls *tls,
		const struct conn_ops *ops, void *arg, struct conn **ret_conn, struct err *err);

#endif
