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
 * finish or fail for streaming ones. Handler's thread only. A handler that receives begins when the
 * call does, and holds its worker until it ends.
 */
struct grpc_call;

#define GRPC_MESSAGE_MAX (4u << 20)

struct ctx *grpc_call_ctx(struct grpc_call *call);
const uint8_t *grpc_call_request(const struct grpc_call *call,
				 size_t *ret_n);          /* the message, without its prefix */
const char *grpc_call_path(const struct grpc_call *call); /* "/csi.v1.Node/NodeStageVolume" */
const char *grpc_call_peer(const struct grpc_call *call); /* as conn_peer */

/* What the client sent along ("authorization"); NULL if it did not. The name in lower case; "-bin"
 * values as they came, in base64. Calls with more than GRPC_METADATA_MAX of it are refused. */
#define GRPC_METADATA_MAX (8u << 10)
const char *grpc_call_metadata(const struct grpc_call *call, const char *name);

/* Client streams: the next message, which lives until the next receive or the end of the handler.
 * 1: there it is; 0: the client has sent all; -1: CANCELLED, DEADLINE_EXCEEDED or INTERNAL, and
 * nobody listens any more. Blocks; by receiving the client's window opens again. */
int grpc_call_receive(struct grpc_call *call, const uint8_t **ret_message, size_t *ret_n,
		      struct err *err);

/* n ≤ GRPC_MESSAGE_MAX, else the caller gets RESOURCE_EXHAUSTED. bytes must live in the call's
 * arena or be static. */
void grpc_call_reply(struct grpc_call *call, const void *bytes, size_t n);
/* err->msg goes out as grpc-message, so it must hold no secret. */
void grpc_call_fail(struct grpc_call *call, const struct err *err);

/* Streaming: blocks while the peer does not read. -1 with CANCELLED or DEADLINE_EXCEEDED once
 * nobody listens, or reads nothing for too long (grpc_limits.unread_ns), or the ctx's deadline has
 * passed, which the handler may bring forward. Copies. */
int grpc_call_send(struct grpc_call *call, const void *bytes, size_t n, struct err *err);
void grpc_call_finish(struct grpc_call *call);

#endif
