/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_CSI_FAKE_GRPC_H
#define TESTS_UNIT_CSI_FAKE_GRPC_H

#include "base/ctx.h"
#include "grpc/client.h"
#include "grpc/server.h"

/*
 * The room grpc/ in one process and one thread, put in its place at link time: what csi/server adds
 * to the server is what csi/client's channel calls. Handlers run inside the call, with an arena of
 * own, as on the wire. A message of a stream is with its reader before the send returns.
 */
struct grpc_server *fake_grpc_server(void);
struct grpc_channel *fake_grpc_channel(void);
void fake_grpc_reset(void);

/* The next call gets these bytes as reply, or as its stream's one message, instead of the
 * handler's. */
void fake_grpc_set_reply(const void *bytes, size_t n);
/* As grpc_channel_call with raw request bytes. */
int fake_grpc_call(struct ctx *ctx, const char *path, const void *req, size_t n, struct err *err);
const struct grpc_method *fake_grpc_find(const char *path); /* NULL if nobody serves it */

#endif
