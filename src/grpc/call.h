/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GRPC_CALL_H
#define GRPC_CALL_H

#include "base/ctx.h"
#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

/*
 * struct grpc_call - one RPC as its handler sees it
 *
 * Borrowed for the time of the handler. The ctx is cancelled when the peer resets the stream,
 * disconnects or lets the deadline pass; its arena lives until the reply's bytes are on their way.
 * A handler answers exactly once: reply or fail for unary methods; any number of sends and then
 * finish or fail for streaming ones. Handler's thread only.
 */
struct grpc_call;

#define GRPC_MESSAGE_MAX (4u << 20)

struct ctx *grpc_call_ctx(struct grpc_call *call);
const uint8_t *grpc_call_request(const struct grpc_call *call,
				 size_t *ret_n);          /* the message, without its prefix */
const char *grpc_call_path(const struct grpc_call *call); /* "/csi.v1.Node/NodeStageVolume" */
const char *grpc_call_peer(const struct grpc_call *call); /* as conn_peer */

/* n ≤ GRPC_MESSAGE_MAX, else the caller gets RESOURCE_EXHAUSTED. bytes must live in the call's
 * arena or be static. */
void grpc_call_reply(struct grpc_call *call, const void *bytes, size_t n);
/* err->msg goes out as grpc-message, so it must hold no secret. */
void grpc_call_fail(struct grpc_call *call, const struct err *err);

/* Streaming: blocks while the peer does not read. -1 with CANCELLED or DEADLINE_EXCEEDED once
 * nobody listens. Copies. */
int grpc_call_send(struct grpc_call *call, const void *bytes, size_t n, struct err *err);
void grpc_call_finish(struct grpc_call *call);

#endif
