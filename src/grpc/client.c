/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The caller's side of a gRPC call. A caller on a worker fills a struct rpc, posts it to the
 * channel (channel.c) and sleeps in poll(2) on an eventfd and on its ctx's cancellation; the I/O
 * thread appends what arrives and writes the eventfd.
 *
 * A unary call is a stream of exactly one message: both ways share everything but who looks at the
 * messages. The caller takes what arrived as a whole and finds the messages in its own copy, so
 * that a long stream costs neither a lock nor a move of memory for each message.
 */
#include "grpc/client.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/mem.h"
#include "event/loop.h"
#include "event/sync.h"
#include "grpc/client-internal.h"

#define PREFIX 5

struct inbox {
	struct str bytes;
	size_t at; /* before it all was looked at */
};

static struct rpc *rpc_new(struct grpc_channel *ch, struct ctx *ctx, const char *path,
			   const void *req, size_t n_req)
{
	uint8_t prefix[PREFIX] = { 0, (uint8_t)(n_req >> 24), (uint8_t)(n_req >> 16),
				   (uint8_t)(n_req >> 8), (uint8_t)n_req };
	struct rpc *r = xcalloc(1, sizeof(*r));

	r->refs = 2; /* caller and channel */
	r->ch = ch;
	r->path = xstrdup(path);
	r->deadline_ns = ctx->deadline_ns;
	r->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pthread_mutex_init(&r->lock, NULL);
	str_append_n(&r->request, prefix, PREFIX);
	str_append_n(&r->request, req, n_req);
	return r;
}

void rpc_unref(struct rpc *r)
{
	if (atomic_fetch_sub(&r->refs, 1) != 1)
		return;
	free(r->path);
	str_wipe(&r->request);
	str_wipe(&r->in);
	pthread_mutex_destroy(&r->lock);
	if (r->wake_fd >= 0)
		close(r->wake_fd);
	free(r);
}

/* Waits until there is something new. -1: the ctx is over. */
static int wait_rpc(struct rpc *r, struct ctx *ctx, struct err *err)
{
	struct pollfd fds[2] = { { .fd = r->wake_fd, .events = POLLIN },
				 { .fd = ctx_cancel_fd(ctx), .events = POLLIN } };
	uint64_t count = 0;

	while (ctx_check(ctx, err) == 0) {
		int n = poll(fds, fds[1].fd >= 0 ? 2 : 1, ctx_poll_ms(ctx, -1));

		if (n > 0 && (fds[0].revents & POLLIN)) {
			(void)!read(r->wake_fd, &count, sizeof(count));
			return 0;
		}
	}
	return -1;
}

/* Moves what arrived into the box; true if nothing will follow. */
static bool take_arrived(struct rpc *r, struct inbox *box)
{
	bool is_done = false, must_consume = false;

	str_consume(&box->bytes, box->at);
	box->at = 0;
	pthread_mutex_lock(&r->lock);
	str_append_wiping(&box->bytes, str_get(&r->in), r->in.len);
	str_wipe(&r->in);
	must_consume = r->owed > 0;
	is_done = r->is_done;
	pthread_mutex_unlock(&r->lock);
	if (must_consume) {
		atomic_fetch_add(&r->refs, 1);
		ev_post(channel_loop(r->ch), channel_consume_rpc, r);
	}
	return is_done;
}

/* 1: the next message; 0: no whole one is there; -1: the peer broke the rules. */
static int next_message(struct inbox *box, const uint8_t **ret_message, size_t *ret_n,
			struct err *err)
{
	const uint8_t *p = (const uint8_t *)str_get(&box->bytes) + box->at;
	size_t left = box->bytes.len - box->at, n = 0;

	if (left < PREFIX)
		return 0;
	n = (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
	if (p[0] != 0)
		return err_set(err, ERR_INTERNAL, "reply is compressed though nobody asked for it");
	if (n > GRPC_MESSAGE_MAX)
		return err_set(err, ERR_RESOURCE_EXHAUSTED,
			       "reply of %zu bytes is over the limit of %u", n, GRPC_MESSAGE_MAX);
	if (left < PREFIX + n)
		return 0;
	box->at += PREFIX + n;
	*ret_message = p + PREFIX;
	*ret_n = n;
	return 1;
}

/* Hands every message to fn until the stream is over. */
static int receive(struct rpc *r, struct ctx *ctx, struct inbox *box, grpc_message_fn fn, void *arg,
		   struct err *err)
{
	const uint8_t *message = NULL;
	bool is_done = false;
	size_t n = 0;
	int found = 0;

	for (;;) {
		is_done = take_arrived(r, box);
		while ((found = next_message(box, &message, &n, err)) == 1)
			if (fn(arg, message, n) != 0)
				return err_set(err, ERR_CANCELLED, "the caller wants no more");
		if (found < 0)
			return -1;
		if (is_done)
			break;
		if (wait_rpc(r, ctx, err) < 0)
			return -1;
	}
	if (r->result.code != ERR_OK) {
		*err = r->result;
		return -1;
	}
	if (box->at < box->bytes.len)
		return err_set(err, ERR_INTERNAL, "reply ended inside a message");
	return 0;
}

int grpc_channel_stream(struct grpc_channel *ch, struct ctx *ctx, const char *path, const void *req,
			size_t n_req, grpc_message_fn fn, void *arg, struct err *err)
{
	struct inbox box = { 0 };
	struct rpc *r = NULL;
	int result = 0;

	if (n_req > GRPC_MESSAGE_MAX)
		return err_set(err, ERR_RESOURCE_EXHAUSTED,
			       "request of %zu bytes is over the limit of %u", n_req,
			       GRPC_MESSAGE_MAX);
	if (ctx_check(ctx, err) < 0)
		return -1;
	r = rpc_new(ch, ctx, path, req, n_req);
	if (r->wake_fd < 0) {
		err_os(err, ERR_RESOURCE_EXHAUSTED, errno, "eventfd");
		r->refs = 1;
		rpc_unref(r);
		return -1;
	}
	ev_post(channel_loop(ch), channel_start_rpc, r);
	result = receive(r, ctx, &box, fn, arg, err);
	str_wipe(&box.bytes);
	/* The caller's reference goes with it. */
	ev_post(channel_loop(ch), channel_end_rpc, r);
	return result;
}

struct unary {
	struct ctx *ctx;
	const uint8_t *reply;
	size_t n;
	unsigned count;
};

static int keep_reply(void *arg, const uint8_t *message, size_t n)
{
	struct unary *u = arg;

	if (u->count++ > 0)
		return -1;
	u->reply = arena_memdup(u->ctx->arena, message, n);
	u->n = n;
	return 0;
}

int grpc_channel_call(struct grpc_channel *ch, struct ctx *ctx, const char *path, const void *req,
		      size_t n_req, const uint8_t **ret_reply, size_t *ret_n, struct err *err)
{
	struct unary u = { .ctx = ctx };
	int r = grpc_channel_stream(ch, ctx, path, req, n_req, keep_reply, &u, err);

	if (u.count > 1 || (r == 0 && u.count == 0))
		return err_set(err, ERR_INTERNAL, "%s: %s answered with %u messages instead of one",
			       channel_target(ch), path, u.count);
	if (r < 0)
		return -1;
	*ret_reply = u.reply;
	*ret_n = u.n;
	return 0;
}
