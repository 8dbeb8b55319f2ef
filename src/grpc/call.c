/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One RPC on the server: from a whole request to its status.
 *
 *        I/O thread                         worker
 *   headers, data, end ──► dispatch ──────► handler: reply / fail / send…
 *   reset, deadline ─────► ctx_cancel          │
 *   answer on stream ◄──── ev_post ────────────┘
 *
 * nghttp2 sessions are single-threaded, so a handler only fills in the call and posts it. The
 * deadline is kept here as well as by the client: when it passes the status goes out at once, and
 * the handler finds its ctx expired; what it answers later is dropped. Streaming keeps at most
 * H2_SEND_HIGH bytes on the way; the handler waits on a condition for room, but not for ever: a
 * peer that reads nothing for grpc_limits.unread_ns has its call ended, and with it a worker.
 */
#include "grpc/call.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "event/loop.h"
#include "event/sync.h"
#include "event/work.h"
#include "grpc/server-internal.h"
#include "grpc/status.h"

#define PREFIX 5

/* Decimal, without the machinery of printf: this is done for every call. */
static void format_id(uint64_t id, char ret_text[24])
{
	char digits[24];
	size_t n = 0;

	do
		digits[n++] = (char)('0' + id % 10);
	while ((id /= 10) > 0);
	for (size_t i = 0; i < n; i++)
		ret_text[i] = digits[n - 1 - i];
	ret_text[n] = '\0';
}

struct grpc_call *call_new(struct grpc_server *server, struct ev_loop *loop,
			   struct h2_stream *stream, const char *peer)
{
	static atomic_uint_fast64_t next_id;
	struct grpc_call *c = xcalloc(1, sizeof(*c));

	c->refs = 1;
	c->server = server;
	c->loop = loop;
	c->stream = stream;
	c->unread_ns = server->limits.unread_ns;
	ctx_init(&c->ctx, 0);
	format_id(atomic_fetch_add(&next_id, 1) + 1, c->ctx.id);
	c->peer = arena_strdup(c->ctx.arena, peer);
	pthread_mutex_init(&c->lock, NULL);
	sync_cond_init(&c->changed);
	return c;
}

struct grpc_call *call_ref(struct grpc_call *c)
{
	atomic_fetch_add(&c->refs, 1);
	return c;
}

void call_drop_request(struct grpc_call *c)
{
	/* No more than came: memory that was only reserved has no pages yet. */
	if (c->in.buf)
		explicit_bzero(c->in.buf, c->in.len);
	str_done(&c->in);
}

void call_expect_request(struct grpc_call *c, size_t n)
{
	struct str all = STR_INIT;

	str_reserve(&all, n);
	str_append_n(&all, str_get(&c->in), c->in.len);
	call_drop_request(c);
	c->in = all;
}

void call_unref(struct grpc_call *c)
{
	if (atomic_fetch_sub(&c->refs, 1) != 1)
		return;
	ctx_done(&c->ctx);
	call_drop_request(c);
	str_wipe(&c->out);
	str_wipe(&c->arrived);
	str_wipe(&c->box);
	str_wipe(&c->metadata);
	pthread_cond_destroy(&c->changed);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

/* ---- I/O thread ---- */

static void stop_deadline(struct grpc_call *c)
{
	ev_timer_free(c->deadline);
	c->deadline = NULL;
}

static void send_head(struct grpc_call *c)
{
	static const struct h2_header head[] = {
		{ ":status", "200", 0, false },
		{ "content-type", "application/grpc", 0, false },
	};

	if (c->has_head)
		return;
	c->has_head = true;
	h2_respond(c->stream, head, ARRAY_LEN(head), false);
}

/* Status as trailers, or as headers alone when nothing was sent before. */
static void send_status(struct grpc_call *c, const char *http, enum err_code code,
			const char *message)
{
	autostr struct str text = STR_INIT;
	char number[24] = "";
	struct h2_header h[5] = { 0 };
	size_t n = 0;

	c->is_answered = true;
	stop_deadline(c);
	if (!c->stream)
		return;
	format_id(code, number);
	grpc_message_encode(message, &text);
	if (!c->has_head) {
		h[n++] = (struct h2_header){ ":status", http, 0, false };
		h[n++] = (struct h2_header){ "content-type", "application/grpc", 0, false };
	}
	h[n++] = (struct h2_header){ "grpc-status", number, 0, false };
	if (text.len > 0)
		h[n++] = (struct h2_header){ "grpc-message", text.buf, 0, false };
	if (!c->has_head && code == ERR_UNIMPLEMENTED)
		h[n++] = (struct h2_header){ "grpc-accept-encoding", "identity", 0, false };
	if (c->has_head)
		h2_send_trailers(c->stream, h, n);
	else
		h2_respond(c->stream, h, n, true);
}

void call_refuse(struct grpc_call *c, const char *http, enum err_code code, const char *message)
{
	if (!c->is_answered)
		send_status(c, http, code, message);
}

static void put_prefix(uint8_t prefix[PREFIX], size_t n)
{
	prefix[0] = 0;
	for (int i = 0; i < 4; i++)
		prefix[1 + i] = (uint8_t)(n >> (24 - 8 * i));
}

static void answer(struct grpc_call *c)
{
	uint8_t prefix[PREFIX];

	if (c->is_answered)
		return;
	if (!c->has_said)
		err_set(&c->status, ERR_INTERNAL, "handler of %s gave no answer", c->method->path);
	if (c->has_reply && c->n_reply > GRPC_MESSAGE_MAX)
		err_set(&c->status, ERR_RESOURCE_EXHAUSTED,
			"reply of %zu bytes is over the limit of %u", c->n_reply, GRPC_MESSAGE_MAX);
	else if (c->has_reply && c->stream) {
		send_head(c);
		put_prefix(prefix, c->n_reply);
		h2_expect(c->stream, PREFIX + c->n_reply);
		h2_send(c->stream, prefix, PREFIX, false);
		h2_send(c->stream, c->reply, c->n_reply, false);
	}
	send_status(c, "200", c->status.code, c->status.code == ERR_OK ? "" : c->status.msg);
}

static void flush_call(struct grpc_call *c)
{
	if (c->stream)
		h2_conn_flush_soon(h2_conn_of(c->stream));
}

/* Moves what a streaming handler queued into the stream. */
static void move_out(struct grpc_call *c)
{
	LOCK_SCOPE(&c->lock);
	c->is_posted = false;
	if (!c->stream || c->is_answered || c->out.len == 0)
		return;
	send_head(c);
	c->in_h2 = h2_send(c->stream, c->out.buf, c->out.len, false);
	str_reset(&c->out);
	/* The opposite of what grpc_call_send waits for, and of what makes a stream tell. */
	if (c->in_h2 <= H2_SEND_HIGH)
		pthread_cond_signal(&c->changed);
}

static void posted_out(void *arg)
{
	struct grpc_call *c = arg;

	move_out(c);
	flush_call(c);
	call_unref(c);
}

static void posted_end(void *arg)
{
	struct grpc_call *c = arg;

	move_out(c);
	answer(c);
	flush_call(c);
	call_unref(c);
}

void call_stream_drained(struct grpc_call *c)
{
	LOCK_SCOPE(&c->lock);
	c->in_h2 = 0;
	pthread_cond_signal(&c->changed);
}

void call_wake(struct grpc_call *c)
{
	ctx_cancel(&c->ctx);
	LOCK_SCOPE(&c->lock);
	c->is_gone = true;
	pthread_cond_signal(&c->changed);
}

void call_stream_gone(struct grpc_call *c)
{
	stop_deadline(c);
	c->stream = NULL;
	call_wake(c);
	call_unref(c);
}

static void deadline_passed(void *arg)
{
	struct grpc_call *c = arg;

	call_ref(c);
	call_refuse(c, "200", ERR_DEADLINE_EXCEEDED, "deadline exceeded");
	call_wake(c);
	flush_call(c);
	call_unref(c);
}

void call_set_timeout(struct grpc_call *c, int64_t timeout_ns)
{
	int64_t deadline_ns = CTX_NO_DEADLINE;

	if (__builtin_add_overflow(clock_now_ns(), timeout_ns, &deadline_ns))
		return;
	c->ctx.deadline_ns = deadline_ns;
	c->deadline = ev_timer_new(c->loop, deadline_passed, c);
	ev_timer_start(c->deadline, timeout_ns, 0);
}

/* ---- handler's thread ---- */

static void run_handler(void *arg)
{
	struct grpc_call *c = arg;
	struct err err;

	/* Nobody waits for what waited too long for a worker, and the caller's next try may be on
	 * its way: it must not find this one begun. */
	if (ctx_check(&c->ctx, &err) < 0)
		grpc_call_fail(c, &err);
	else
		c->method->fn(c, c->method_arg);
	if (c->method->is_inline) {
		answer(c);
		call_unref(c);
	} else {
		ev_post(c->loop, posted_end, c);
	}
}

static unsigned choose_lane(struct grpc_call *c)
{
	const struct grpc_method *m = c->method;

	return m->choose_lane ? m->choose_lane(c, c->method_arg) : m->lane;
}

void call_dispatch(struct grpc_call *c, struct work *work)
{
	c->is_dispatched = true;
	call_ref(c);
	if (c->method->is_inline) {
		run_handler(c);
	} else if (work_submit(work, choose_lane(c), run_handler, c) < 0) {
		call_refuse(c, "200", ERR_UNAVAILABLE,
			    "too many calls wait for a worker, try again");
		call_unref(c);
	}
}

struct ctx *grpc_call_ctx(struct grpc_call *c)
{
	return &c->ctx;
}

const uint8_t *grpc_call_request(const struct grpc_call *c, size_t *ret_n)
{
	*ret_n = 0;
	if (c->is_stream)
		return (const uint8_t *)"";
	*ret_n = c->in.len - PREFIX;
	return (const uint8_t *)c->in.buf + PREFIX;
}

const char *grpc_call_path(const struct grpc_call *c)
{
	return c->method->path;
}

const char *grpc_call_peer(const struct grpc_call *c)
{
	return c->peer;
}

const char *grpc_call_metadata(const struct grpc_call *c, const char *name)
{
	const char *at = str_get(&c->metadata), *end = at + c->metadata.len;

	while (at < end) {
		const char *value = at + strlen(at) + 1;

		if (strcmp(at, name) == 0)
			return value;
		at = value + strlen(value) + 1;
	}
	return NULL;
}

void grpc_call_reply(struct grpc_call *c, const void *bytes, size_t n)
{
	c->reply = bytes;
	c->n_reply = n;
	c->has_reply = c->has_said = true;
	c->status.code = ERR_OK;
}

void grpc_call_fail(struct grpc_call *c, const struct err *err)
{
	c->has_reply = false;
	c->has_said = true;
	c->status = *err;
	if (c->status.code == ERR_OK)
		c->status.code = ERR_UNKNOWN;
}

/* With the lock. -1: the peer has not read for too long, or the time that the handler itself gave
 * its call is up. */
static int wait_for_room(struct grpc_call *c, struct err *err)
{
	int64_t until_ns = clock_now_ns() + c->unread_ns;
	int r = 0;

	if (c->ctx.deadline_ns < until_ns)
		until_ns = c->ctx.deadline_ns;
	while (c->out.len + c->in_h2 > H2_SEND_HIGH && !c->is_gone) {
		if (r < 0 && ctx_check(&c->ctx, err) < 0)
			return -1;
		if (r < 0)
			return err_set(err, ERR_DEADLINE_EXCEEDED,
				       "nothing of what was sent has been read for %lld s",
				       (long long)(c->unread_ns / NS_PER_S));
		r = sync_cond_wait_until(&c->changed, &c->lock, until_ns);
	}
	return 0;
}

int grpc_call_send(struct grpc_call *c, const void *bytes, size_t n, struct err *err)
{
	uint8_t prefix[PREFIX];
	bool post = false;
	int r;

	if (n > GRPC_MESSAGE_MAX)
		return err_set(err, ERR_RESOURCE_EXHAUSTED,
			       "message of %zu bytes is over the limit of %u", n, GRPC_MESSAGE_MAX);
	put_prefix(prefix, n);
	pthread_mutex_lock(&c->lock);
	r = wait_for_room(c, err);
	if (r == 0 && !c->is_gone) {
		str_append_n(&c->out, prefix, PREFIX);
		str_append_wiping(&c->out, bytes, n);
		post = !c->is_posted;
		c->is_posted = true;
	}
	pthread_mutex_unlock(&c->lock);
	if (post) {
		call_ref(c);
		ev_post(c->loop, posted_out, c);
	}
	return r < 0 ? -1 : ctx_check(&c->ctx, err);
}

void grpc_call_finish(struct grpc_call *c)
{
	c->has_reply = false;
	c->has_said = true;
	c->status.code = ERR_OK;
}
