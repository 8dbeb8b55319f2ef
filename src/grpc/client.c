/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The caller's side of a gRPC call. A caller on a worker fills a struct rpc, posts it to the
 * channel (channel.c) and sleeps in poll(2) on an eventfd and on its ctx's cancellation; the I/O
 * thread appends what arrives and writes the eventfd.
 *
 * Every call is a stream, and those of one request send theirs with the headers, from a copy that
 * is kept in case that the server refuses the stream unseen. The caller takes what arrived as a
 * whole and finds the messages in its own copy, so that a long stream costs neither a lock nor a
 * move of memory for each message.
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
#include "net/h2.h"

#define PREFIX 5

struct inbox {
	struct str bytes;
	size_t at; /* before it all was looked at */
};

struct grpc_stream {
	struct rpc *rpc;
	struct ctx *ctx;
	struct inbox box;
};

static void append_message(struct str *out, const void *bytes, size_t n)
{
	const uint8_t prefix[PREFIX] = { 0, (uint8_t)(n >> 24), (uint8_t)(n >> 16),
					 (uint8_t)(n >> 8), (uint8_t)n };

	str_append_wiping(out, prefix, PREFIX);
	str_append_wiping(out, bytes, n);
}

static int check_size(size_t n, struct err *err)
{
	if (n <= GRPC_MESSAGE_MAX)
		return 0;
	return err_set(err, ERR_RESOURCE_EXHAUSTED, "request of %zu bytes is over the limit of %u",
		       n, GRPC_MESSAGE_MAX);
}

/* ---- metadata ---- */

static bool is_sendable(const struct grpc_metadata *m)
{
	static const char *const own[] = {
		"content-type", "te",      "user-agent", "connection",       "transfer-encoding",
		"host",         "upgrade", "keep-alive", "proxy-connection", "http2-settings"
	};
	size_t n = strspn(m->name, "abcdefghijklmnopqrstuvwxyz0123456789-_.");

	if (n == 0 || m->name[n] != '\0' || str_has_prefix(m->name, "grpc-"))
		return false;
	for (size_t i = 0; i < ARRAY_LEN(own); i++)
		if (str_is_equal(m->name, own[i]))
			return false;
	for (const char *p = m->value; *p; p++)
		if (*p < ' ' || *p > '~')
			return false;
	return true;
}

static int pack_metadata(struct rpc *r, const struct grpc_call_options *opts, struct err *err)
{
	if (!opts)
		return 0;
	if (opts->n_metadata > GRPC_CLIENT_METADATA_MAX)
		return err_set(err, ERR_INVALID_ARGUMENT, "more than %u pieces of metadata",
			       GRPC_CLIENT_METADATA_MAX);
	for (size_t i = 0; i < opts->n_metadata; i++) {
		const struct grpc_metadata *m = &opts->metadata[i];

		if (!is_sendable(m))
			return err_set(err, ERR_INVALID_ARGUMENT, "metadata '%.64s' cannot be sent",
				       m->name);
		str_append_wiping(&r->metadata, m->name, strlen(m->name) + 1);
		str_append_wiping(&r->metadata, m->value, strlen(m->value) + 1);
	}
	r->n_metadata = opts->n_metadata;
	if (r->metadata.len > GRPC_METADATA_MAX)
		return err_set(err, ERR_INVALID_ARGUMENT, "more than %u bytes of metadata",
			       GRPC_METADATA_MAX);
	return 0;
}

/* ---- the call ---- */

void rpc_unref(struct rpc *r)
{
	if (atomic_fetch_sub(&r->refs, 1) != 1)
		return;
	free(r->path);
	str_wipe(&r->metadata);
	str_wipe(&r->request);
	str_wipe(&r->out);
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

static void post(struct rpc *r, ev_post_fn fn)
{
	atomic_fetch_add(&r->refs, 1);
	ev_post(channel_loop(r->ch), fn, r);
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
		post(r, channel_consume_rpc);
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

/* The caller's reference; the channel has another once the call is posted. */
static int rpc_new(struct grpc_channel *ch, struct ctx *ctx, const char *path,
		   const struct grpc_call_options *opts, struct rpc **ret_rpc, struct err *err)
{
	struct rpc *r = xcalloc(1, sizeof(*r));

	r->refs = 1;
	r->ch = ch;
	r->path = xstrdup(path);
	r->deadline_ns = ctx->deadline_ns;
	pthread_mutex_init(&r->lock, NULL);
	r->wake_fd = -1;
	if (pack_metadata(r, opts, err) < 0) {
		rpc_unref(r);
		return -1;
	}
	r->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (r->wake_fd < 0) {
		err_os(err, ERR_RESOURCE_EXHAUSTED, errno, "eventfd");
		rpc_unref(r);
		return -1;
	}
	*ret_rpc = r;
	return 0;
}

/* req: the one message, or NULL for a stream of them. */
static int begin(struct grpc_stream *s, struct grpc_channel *ch, struct ctx *ctx, const char *path,
		 const struct grpc_call_options *opts, const void *req, size_t n_req,
		 struct err *err)
{
	*s = (struct grpc_stream){ .ctx = ctx };
	if (check_size(n_req, err) < 0 || ctx_check(ctx, err) < 0 ||
	    rpc_new(ch, ctx, path, opts, &s->rpc, err) < 0)
		return -1;
	s->rpc->is_stream = !req;
	if (req)
		append_message(&s->rpc->request, req, n_req);
	post(s->rpc, channel_start_rpc);
	return 0;
}

static void end(struct grpc_stream *s)
{
	str_wipe(&s->box.bytes);
	/* The caller's reference goes with it. */
	ev_post(channel_loop(s->rpc->ch), channel_end_rpc, s->rpc);
}

int grpc_stream_open(struct grpc_channel *ch, struct ctx *ctx, const char *path,
		     const struct grpc_call_options *opts, struct grpc_stream **ret_stream,
		     struct err *err)
{
	struct grpc_stream *s = xcalloc(1, sizeof(*s));

	if (begin(s, ch, ctx, path, opts, NULL, 0, err) < 0) {
		free(s);
		return -1;
	}
	*ret_stream = s;
	return 0;
}

void grpc_stream_free(struct grpc_stream *s)
{
	if (!s)
		return;
	end(s);
	free(s);
}

static int fail_over(const struct rpc *r, struct err *err)
{
	if (r->result.code == ERR_OK)
		return err_set(err, ERR_CANCELLED, "the server ended the call and reads no more");
	*err = r->result;
	return -1;
}

/* 1: there is room; 0: not now; -1: the call is over. */
static int queue_message(struct rpc *r, const void *bytes, size_t n, struct err *err)
{
	bool must_post = false;

	pthread_mutex_lock(&r->lock);
	if (r->is_done) {
		pthread_mutex_unlock(&r->lock);
		return fail_over(r, err); /* nobody writes it any more */
	}
	if (r->out.len + r->in_h2 > H2_SEND_HIGH) {
		pthread_mutex_unlock(&r->lock);
		return 0;
	}
	append_message(&r->out, bytes, n);
	must_post = !r->is_out_posted;
	r->is_out_posted = true;
	pthread_mutex_unlock(&r->lock);
	if (must_post)
		post(r, channel_send_rpc);
	return 1;
}

int grpc_stream_send(struct grpc_stream *s, const void *bytes, size_t n, struct err *err)
{
	int queued = 0;

	if (check_size(n, err) < 0)
		return -1;
	while ((queued = queue_message(s->rpc, bytes, n, err)) == 0)
		if (wait_rpc(s->rpc, s->ctx, err) < 0)
			return -1;
	return queued < 0 ? -1 : ctx_check(s->ctx, err);
}

void grpc_stream_close_send(struct grpc_stream *s)
{
	struct rpc *r = s->rpc;
	bool must_post = false;

	pthread_mutex_lock(&r->lock);
	must_post = !r->is_out_end && !r->is_out_posted;
	r->is_out_end = true;
	r->is_out_posted |= must_post;
	pthread_mutex_unlock(&r->lock);
	if (must_post)
		post(r, channel_send_rpc);
}

int grpc_stream_receive(struct grpc_stream *s, const uint8_t **ret_message, size_t *ret_n,
			struct err *err)
{
	struct rpc *r = s->rpc;

	for (;;) {
		int found = 0;
		bool is_done = false;

		/* also while there is always a message more */
		if (ctx_is_cancelled(s->ctx))
			return ctx_check(s->ctx, err);
		found = next_message(&s->box, ret_message, ret_n, err);
		if (found != 0)
			return found;
		is_done = take_arrived(r, &s->box);
		found = next_message(&s->box, ret_message, ret_n, err);
		if (found != 0)
			return found;
		if (is_done && r->result.code != ERR_OK) {
			*err = r->result;
			return -1;
		}
		if (is_done && s->box.at < s->box.bytes.len)
			return err_set(err, ERR_INTERNAL, "reply ended inside a message");
		if (is_done)
			return 0;
		if (wait_rpc(r, s->ctx, err) < 0)
			return -1;
	}
}

static int run(struct grpc_channel *ch, struct ctx *ctx, const char *path,
	       const struct grpc_call_options *opts, const void *req, size_t n_req,
	       grpc_message_fn fn, void *arg, struct err *err)
{
	struct grpc_stream s;
	const uint8_t *message = NULL;
	size_t n = 0;
	int r = 0;

	if (begin(&s, ch, ctx, path, opts, req ? req : "", n_req, err) < 0)
		return -1;
	while ((r = grpc_stream_receive(&s, &message, &n, err)) == 1)
		if (fn(arg, message, n) != 0) {
			r = err_set(err, ERR_CANCELLED, "the caller wants no more");
			break;
		}
	end(&s);
	return r;
}

int grpc_channel_stream(struct grpc_channel *ch, struct ctx *ctx, const char *path, const void *req,
			size_t n_req, grpc_message_fn fn, void *arg, struct err *err)
{
	return run(ch, ctx, path, NULL, req, n_req, fn, arg, err);
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

int grpc_channel_call_with(struct grpc_channel *ch, struct ctx *ctx, const char *path,
			   const struct grpc_call_options *opts, const void *req, size_t n_req,
			   const uint8_t **ret_reply, size_t *ret_n, struct err *err)
{
	struct unary u = { .ctx = ctx };
	int r = run(ch, ctx, path, opts, req, n_req, keep_reply, &u, err);

	if (u.count > 1 || (r == 0 && u.count == 0))
		return err_set(err, ERR_INTERNAL, "%s: %s answered with %u messages instead of one",
			       channel_target(ch), path, u.count);
	if (r < 0)
		return -1;
	*ret_reply = u.reply;
	*ret_n = u.n;
	return 0;
}

int grpc_channel_call(struct grpc_channel *ch, struct ctx *ctx, const char *path, const void *req,
		      size_t n_req, const uint8_t **ret_reply, size_t *ret_n, struct err *err)
{
	return grpc_channel_call_with(ch, ctx, path, NULL, req, n_req, ret_reply, ret_n, err);
}
