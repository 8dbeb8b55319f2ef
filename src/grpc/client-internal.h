/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GRPC_CLIENT_INTERNAL_H
#define GRPC_CLIENT_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/str.h"
#include "grpc/client.h"
#include "net/h2_client.h"

/* Held by its caller (a worker) and by the channel (I/O thread), freed by whoever lets go last: a
 * caller that gives up leaves while its stream still exists. */
struct rpc {
	atomic_uint refs;
	struct grpc_channel *ch;
	char *path;
	struct str metadata; /* name NUL value NUL …, n_metadata of them */
	size_t n_metadata;
	struct str request; /* prefix and message of a call with one; kept, for it may be resent */
	int64_t deadline_ns;
	bool is_stream; /* of requests: they are in out */

	/* I/O thread only */
	struct h2_call call; /* client is set as long as the channel has its reference */
	bool has_status;
	struct err status;

	pthread_mutex_t lock; /* below: both threads */
	struct str in;        /* DATA as it came */
	size_t owed;          /* bytes not yet consumed on the stream, since too much waits here */
	struct str out;       /* messages with prefix on their way to the I/O thread */
	size_t in_h2;         /* bytes that wait in the stream */
	bool is_out_end, is_out_posted;
	bool is_done;
	struct err result;
	int wake_fd; /* told of whatever is new in here */
};

void rpc_unref(struct rpc *r);

struct ev_loop *channel_loop(const struct grpc_channel *ch);
const char *channel_target(const struct grpc_channel *ch);

/* To be posted to the channel's loop with a struct rpc, and a reference of it. */
void channel_start_rpc(void *rpc);
void channel_end_rpc(void *rpc); /* nobody waits for it any more */
void channel_consume_rpc(void *rpc);
void channel_send_rpc(void *rpc);

#endif
