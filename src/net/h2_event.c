/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What nghttp2 tells, kept until it has returned, so that users may do what they like when they
 * hear it: nghttp2 must not be entered again from its own callbacks, and a user who hears of a
 * frame is never inside the session.
 *
 * - Events live for one h2_receive or h2_tick. DATA is not copied: it lies in the bytes that are
 * being received.
 * - What is noted is little, however much is received at once: above EVENTS_MAX or TEXT_MAX (of
 * header fields, which HPACK makes of few bytes) nghttp2 is paused at the next chance, and goes on
 * when users have heard what there is. So a session keeps its few KB and does not tear holes into
 * the heap with every burst.
 * - A block may arrive in parts, so what was received of it stays when the rest is forgotten.
 */
#include <string.h>

#include "base/mem.h"
#include "net/h2-internal.h"

#define HEADER_COST 32
#define EVENTS_MAX 32u
#define TEXT_MAX 1024u
/* What a session keeps for later; only a peer that is up to something makes it have more. */
#define KEPT_FACTOR 4u

void h2_event_add(struct h2 *h, const struct h2_event *e)
{
	vec_push(&h->events, *e);
}

int h2_event_pause(struct h2 *h)
{
	if (h->events.n < EVENTS_MAX && h->block_text < TEXT_MAX)
		return 0;
	h->is_paused = true;
	return NGHTTP2_ERR_PAUSE;
}

/* ---- header blocks ---- */

static void drop_block(struct h2 *h)
{
	if (h->text.buf)
		h->text.buf[h->block_text] = '\0';
	h->text.len = h->block_text;
	h->fields.n = h->block_fields;
	h->list_size = 0;
}

int h2_block_begin(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
	struct h2 *h = user;
	struct h2_stream *s = NULL;

	drop_block(h);
	if (frame->hd.type == NGHTTP2_HEADERS && h->is_server &&
	    frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
		s = h2_stream_new(h, frame->hd.stream_id);
		nghttp2_session_set_stream_user_data(ng, s->id, s);
	}
	return 0;
}

int h2_block_field(nghttp2_session *ng, const nghttp2_frame *frame, const uint8_t *name,
		   size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
		   void *user)
{
	struct h2 *h = user;
	struct h2_stream *s = nghttp2_session_get_stream_user_data(ng, frame->hd.stream_id);

	(void)flags;
	if (!s || frame->hd.type != NGHTTP2_HEADERS)
		return 0;
	h->list_size += name_len + value_len + HEADER_COST;
	if (h->list_size > H2_HEADERS_MAX) {
		nghttp2_submit_rst_stream(ng, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_ENHANCE_YOUR_CALM);
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	}
	/* nghttp2 puts a NUL behind both. */
	str_append_n(&h->text, name, name_len + 1);
	str_append_n(&h->text, value, value_len + 1);
	vec_push(&h->fields, ((struct h2_header){ .value_len = value_len }));
	return h2_event_pause(h);
}

static bool is_informational(const struct h2 *h)
{
	const char *first = str_get(&h->text) + h->block_text;

	/* ":status" is the first field, name and value NUL-terminated. */
	return h->fields.n > h->block_fields && strcmp(first, ":status") == 0 &&
	       first[sizeof(":status")] == '1';
}

void h2_block_end(struct h2 *h, struct h2_stream *s, bool end)
{
	if (!h->is_server && is_informational(h)) {
		drop_block(h);
		return;
	}
	h2_event_add(h, &(struct h2_event){ .kind = EVENT_HEADERS,
					    .is_trailers = s->got_headers,
					    .end = end,
					    .stream = s,
					    .n = h->fields.n - h->block_fields });
	s->got_headers = true;
	s->remote_closed |= end;
	h->block_text = h->text.len;
	h->block_fields = h->fields.n;
}

/* ---- telling users ---- */

/* The fields' texts lie one after the other; nothing is appended to them now, so their places are
 * known. */
static void locate_fields(struct h2 *h)
{
	const char *at = h->text.buf;

	for (size_t i = 0; i < h->block_fields; i++) {
		struct h2_header *f = &h->fields.v[i];

		f->name = at;
		f->value = at + strlen(at) + 1;
		at = f->value + f->value_len + 1;
	}
}

/* What is told of stays no longer; the block that is still coming moves to the front. */
static void forget(struct h2 *h)
{
	size_t rest = h->fields.n - h->block_fields;

	if (rest > 0)
		memmove(h->fields.v, h->fields.v + h->block_fields, rest * sizeof(*h->fields.v));
	h->fields.n = rest;
	h->block_fields = 0;
	str_consume(&h->text, h->block_text);
	h->block_text = 0;
	h->events.n = 0;
	if (h->events.cap > EVENTS_MAX * KEPT_FACTOR)
		vec_done(&h->events);
	if (rest == 0 && h->fields.cap > EVENTS_MAX * KEPT_FACTOR)
		vec_done(&h->fields);
	if (h->text.len == 0 && h->text.cap > TEXT_MAX * KEPT_FACTOR)
		str_done(&h->text);
}

void h2_event_over(struct h2_stream *s, uint32_t error)
{
	if (s->is_known)
		s->h->ops->on_stream_close(s->h->arg, s, error);
	h2_stream_free(s);
}

static void deliver(struct h2 *h, const struct h2_event *e, const struct h2_header *fields)
{
	const struct h2_ops *ops = h->ops;

	/* Over: of what came before, streams' ends are all that is still told. */
	if (h->phase >= H2_CLOSING && e->kind != EVENT_OVER)
		return;
	switch (e->kind) {
	case EVENT_HEADERS:
		e->stream->is_known = true;
		ops->on_headers(h->arg, e->stream, fields, e->n, e->is_trailers, e->end);
		break;
	case EVENT_DATA:
		ops->on_data(h->arg, e->stream, e->bytes, e->n);
		break;
	case EVENT_END:
		ops->on_end(h->arg, e->stream);
		break;
	case EVENT_DRAINED:
		if (ops->on_stream_drained)
			ops->on_stream_drained(h->arg, e->stream);
		break;
	case EVENT_OVER:
		h2_event_over(e->stream, e->error);
		break;
	case EVENT_GOAWAY:
		if (ops->on_goaway)
			ops->on_goaway(h->arg, e->error);
		break;
	}
}

void h2_event_deliver(struct h2 *h)
{
	size_t fields = 0;

	locate_fields(h);
	/* A user who pulls adds events: they are told in this same loop, and move the others. */
	for (size_t i = 0; i < h->events.n; i++) {
		struct h2_event e = h->events.v[i];

		deliver(h, &e, h->fields.n > 0 ? h->fields.v + fields : NULL);
		if (e.kind == EVENT_HEADERS)
			fields += e.n;
	}
	forget(h);
}
