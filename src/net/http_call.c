/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker's call is a stream whose callbacks gather the reply and signal a
 * condition. The call is shared by worker and loop and goes with the later of
 * the two, since a worker may give up (deadline, cancellation) at any moment.
 */
#include "net/http.h"

#include "base/clock.h"
#include "base/mem.h"
#include "event/loop.h"
#include "event/sync.h"
#include "net/http-internal.h"

#include <inttypes.h>

#define CANCEL_CHECK_NS (50 * NS_PER_MS)

struct call {
	struct ev_loop *loop;
	atomic_uint refs;
	struct http_stream *stream; /* loop only, once posted */
	pthread_mutex_t lock;       /* all below */
	pthread_cond_t ended;
	bool is_done;
	struct http_reply reply;
	struct err err;
};

static void unref_call(struct call *call)
{
	if (atomic_fetch_sub(&call->refs, 1) != 1)
		return;
	http_reply_done(&call->reply);
	pthread_cond_destroy(&call->ended);
	pthread_mutex_destroy(&call->lock);
	free(call);
}

static void finish_call(struct call *call, const struct err *why)
{
	pthread_mutex_lock(&call->lock);
	call->stream = NULL;
	call->err = *why;
	call->is_done = true;
	pthread_cond_signal(&call->ended);
	pthread_mutex_unlock(&call->lock);
	unref_call(call);
}

static void on_call_reply(void *arg, int status, const struct h2_header *headers, size_t n)
{
	struct call *call = arg;

	LOCK_SCOPE(&call->lock);
	call->reply.status = status;
	for (size_t i = 0; i < n; i++) {
		str_append_n(&call->reply.headers, headers[i].name, strlen(headers[i].name) + 1);
		str_append_n(&call->reply.headers, headers[i].value, strlen(headers[i].value) + 1);
	}
}

static void on_call_data(void *arg, const uint8_t *bytes, size_t n)
{
	struct call *call = arg;
	struct err why;

	pthread_mutex_lock(&call->lock);
	if (call->reply.body.len + n <= HTTP_BODY_MAX) {
		str_append_wiping(&call->reply.body, bytes, n);
		pthread_mutex_unlock(&call->lock);
		return;
	}
	pthread_mutex_unlock(&call->lock);
	(void)err_set(&why, ERR_RESOURCE_EXHAUSTED, "the reply is larger than %u bytes",
		      HTTP_BODY_MAX);
	http_cancel(call->stream);
	finish_call(call, &why);
}

static void on_call_end(void *arg, const struct err *why)
{
	finish_call(arg, why);
}

static const struct http_stream_ops call_ops = {
	.on_reply = on_call_reply,
	.on_data = on_call_data,
	.on_end = on_call_end,
};

static void start_call(void *arg)
{
	struct call *call = arg;

	http_stream_start(call->stream);
}

/* The worker has left; whatever the stream still was to bring is not wanted. */
static void drop_call(void *arg)
{
	struct call *call = arg;

	if (call->stream) {
		http_cancel(TAKE_PTR(call->stream));
		unref_call(call); /* the loop's */
	}
	unref_call(call); /* the one this post came with */
}

/* Waits for the end of the call; false if the worker must leave before. */
static bool wait_call(struct call *call, struct ctx *ctx, int64_t until_ns)
{
	LOCK_SCOPE(&call->lock);
	while (!call->is_done) {
		int64_t check_ns = clock_now_ns() + CANCEL_CHECK_NS;

		if (ctx_is_cancelled(ctx) || ctx_remaining_ns(ctx) == 0 ||
		    clock_now_ns() >= until_ns)
			return false;
		(void)sync_cond_wait_until(&call->ended, &call->lock, check_ns);
	}
	return true;
}

int http_call(struct http *c, struct ctx *ctx, const struct http_request *req, int64_t timeout_ns,
	      struct http_reply *ret_reply, struct err *err)
{
	struct call *call = xcalloc(1, sizeof(*call));
	int64_t until_ns = timeout_ns > 0 ? clock_now_ns() + timeout_ns : INT64_MAX;
	int r = 0;

	atomic_init(&call->refs, 2);
	call->loop = http_loop(c);
	pthread_mutex_init(&call->lock, NULL);
	sync_cond_init(&call->ended);
	call->stream = http_stream_make(c, req, &call_ops, call);
	ev_post(call->loop, start_call, call);
	if (!wait_call(call, ctx, until_ns)) {
		if (ctx_check(ctx, err) == 0)
			(void)err_set(err, ERR_DEADLINE_EXCEEDED, "no reply in %" PRId64 " s",
				      timeout_ns / NS_PER_S);
		ev_post(call->loop, drop_call, call); /* takes our reference along */
		return -1;
	}
	if (call->err.code != ERR_OK) {
		*err = call->err;
		r = -1;
	} else {
		*ret_reply = call->reply;
		call->reply = HTTP_REPLY_INIT;
	}
	unref_call(call);
	return r;
}

void http_reply_done(struct http_reply *r)
{
	str_done(&r->headers);
	str_wipe(&r->body);
	r->status = 0;
}

const char *http_reply_header(const struct http_reply *r, const char *name)
{
	const char *at = r->headers.buf;
	const char *end = at + r->headers.len;

	while (at && at < end) {
		const char *value = at + strlen(at) + 1;

		if (strcmp(at, name) == 0)
			return value;
		at = value + strlen(value) + 1;
	}
	return NULL;
}
