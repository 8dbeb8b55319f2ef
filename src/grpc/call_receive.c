/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams of requests: from bytes on the I/O thread to messages in a handler.
 *
 *        I/O thread                               worker
 *   data ──► scan, budget ──► arrived ──(lock)──► box ──► grpc_call_receive
 *   window, budget ◄────────── ev_post ───────────┘
 *
 * The I/O thread looks at the prefixes, so that a message that breaks the rules ends the call when
 * it begins; the handler then only cuts. The window opens for what the handler received, in steps,
 * and, when it waits, for the part of a message that is there: the largest message is larger than
 * the window. The budgets know a byte from its arrival until the handler has received its message.
 */
#include "grpc/call.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "event/loop.h"
#include "event/sync.h"
#include "grpc/call-internal.h"
#include "grpc/server-internal.h"

#define STEP (64u << 10)

/* ---- I/O thread ---- */

/* The prefix is whole: may its message come? */
static bool check_message(struct grpc_call *c)
{
	size_t n = call_prefix_length(c->prefix);
	char text[96] = "";

	c->n_prefix = 0;
	c->n_missing = n;
	if (c->prefix[0] != 0) {
		call_refuse(c, "200", ERR_INTERNAL, "compressed flag set without grpc-encoding");
		return false;
	}
	if (n <= GRPC_MESSAGE_MAX)
		return true;
	snprintf(text, sizeof(text), "message of %zu bytes is over the limit of %u", n,
		 GRPC_MESSAGE_MAX);
	call_refuse(c, "200", ERR_RESOURCE_EXHAUSTED, text);
	return false;
}

static bool is_partial(const struct grpc_call *c)
{
	return c->n_prefix > 0 || c->n_missing > 0;
}

static bool scan(struct grpc_call *c, const uint8_t *p, size_t n)
{
	bool was_partial = is_partial(c), has_begun = false;

	while (n > 0) {
		size_t step = n < c->n_missing ? n : c->n_missing;

		if (step == 0) {
			has_begun |= c->n_prefix == 0;
			c->prefix[c->n_prefix++] = *p;
			step = 1;
			if (c->n_prefix == CALL_PREFIX && !check_message(c))
				return false;
		} else {
			c->n_missing -= step;
		}
		p += step;
		n -= step;
	}
	/* How long it takes to be whole is counted a message. */
	if (!is_partial(c))
		c->begun_ns = INT64_MAX;
	else if (has_begun || !was_partial)
		c->begun_ns = clock_now_ns();
	return true;
}

bool call_arrived(struct grpc_call *c, const uint8_t *bytes, size_t n)
{
	if (!scan(c, bytes, n)) {
		call_wake(c);
		return false;
	}
	LOCK_SCOPE(&c->lock);
	str_append_wiping(&c->arrived, bytes, n);
	pthread_cond_signal(&c->changed);
	return true;
}

void call_all_arrived(struct grpc_call *c)
{
	if (is_partial(c) && !c->is_answered) {
		call_refuse(c, "200", ERR_INTERNAL, "stream ended inside a message");
		call_wake(c);
	}
	LOCK_SCOPE(&c->lock);
	c->is_all = true;
	pthread_cond_signal(&c->changed);
}

static void posted_consume(void *arg)
{
	struct grpc_call *c = arg;
	size_t n = 0, released = 0;

	pthread_mutex_lock(&c->lock);
	n = c->to_consume;
	released = c->to_release;
	c->to_consume = c->to_release = 0;
	c->is_consume_posted = false;
	pthread_mutex_unlock(&c->lock);
	budget_release_request(c, released);
	if (c->stream) {
		h2_consume(c->stream, n);
		h2_conn_flush_soon(h2_conn_of(c->stream));
	}
	call_unref(c);
}

/* ---- handler's thread, under the lock ---- */

/* The window shall be open for all up to that byte of the stream. */
static void open_window(struct grpc_call *c, uint64_t until)
{
	c->to_consume += until - c->n_opened;
	c->n_opened = until;
	c->to_release += c->n_received - c->n_released;
	c->n_released = c->n_received;
	if (c->is_consume_posted || (c->to_consume == 0 && c->to_release == 0))
		return;
	c->is_consume_posted = true;
	ev_post(c->loop, posted_consume, call_ref(c));
}

/* Cuts the next message off the box; false: none is whole. */
static bool cut(struct grpc_call *c, const uint8_t **ret_message, size_t *ret_n)
{
	const uint8_t *p = (const uint8_t *)str_get(&c->box) + c->box_at;
	size_t left = c->box.len - c->box_at, n = 0;

	if (left < CALL_PREFIX)
		return false;
	n = call_prefix_length(p);
	if (left - CALL_PREFIX < n)
		return false;
	c->box_at += CALL_PREFIX + n;
	c->n_received += CALL_PREFIX + n;
	*ret_message = p + CALL_PREFIX;
	*ret_n = n;
	return true;
}

static void take(struct grpc_call *c)
{
	str_consume(&c->box, c->box_at);
	c->box_at = 0;
	str_append_wiping(&c->box, c->arrived.buf, c->arrived.len);
	c->n_taken += c->arrived.len;
	str_wipe(&c->arrived);
}

static int fail_gone(struct grpc_call *c, struct err *err)
{
	/* A deadline that passed cancels too, but is the better reason. */
	if (ctx_remaining_ns(&c->ctx) == 0)
		return err_set(err, ERR_DEADLINE_EXCEEDED, "deadline exceeded");
	return ctx_check(&c->ctx, err) < 0 ? -1 : err_set(err, ERR_CANCELLED, "the call is over");
}

int grpc_call_receive(struct grpc_call *c, const uint8_t **ret_message, size_t *ret_n,
		      struct err *err)
{
	LOCK_SCOPE(&c->lock);
	for (;;) {
		if (c->is_gone)
			return fail_gone(c, err);
		if (cut(c, ret_message, ret_n)) {
			if (c->n_received > c->n_opened && c->n_received - c->n_opened >= STEP)
				open_window(c, c->n_received);
			return 1;
		}
		if (c->arrived.len > 0) {
			take(c);
			continue;
		}
		if (c->is_all)
			return 0;
		open_window(c, c->n_taken);
		(void)sync_cond_wait_until(&c->changed, &c->lock, INT64_MAX);
	}
}
