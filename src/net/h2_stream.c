/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sending half of HTTP/2 streams. A body waits in its stream's queue until nghttp2 asks for it,
 * which it does as far as the peer's windows allow; trailers follow when the queue is empty.
 *
 * - A body whose queue is empty is deferred. It is resumed only when there are bytes or an end to
 * send: resuming it with nothing would clear nghttp2's flag and lose the next wake-up.
 * - Trailers are submitted inside the read callback that ends the body (EOF without END_STREAM), so
 * that no empty DATA frame goes before them.
 * - A stream that nghttp2 has closed is kept until its user has heard so (is_over); what is asked
 * of it until then goes nowhere.
 */
#include "net/h2.h"

#include <assert.h>
#include <string.h>

#include <nghttp2/nghttp2.h>

#include "base/mem.h"
#include "net/h2-internal.h"

struct h2_stream *h2_stream_new(struct h2 *h, int32_t id)
{
	struct h2_stream *s = xcalloc(1, sizeof(*s));

	s->h = h;
	s->id = id;
	s->next = h->streams;
	if (s->next)
		s->next->prev = s;
	h->streams = s;
	h->n_streams++;
	return s;
}

void h2_stream_free(struct h2_stream *s)
{
	struct h2 *h = s->h;

	if (s->prev)
		s->prev->next = s->next;
	else
		h->streams = s->next;
	if (s->next)
		s->next->prev = s->prev;
	h->n_streams--;
	h->queued -= s->out.len - s->out_pos;
	h->owed -= s->end_queued ? s->out.len - s->out_pos : 0;
	str_wipe(&s->out);
	str_done(&s->trailers);
	free(s);
}

static void trailers_nv(const struct h2_stream *s, nghttp2_nv *nv)
{
	const char *p = s->trailers.buf;

	for (size_t i = 0; i < s->n_trailers; i++) {
		size_t name_len = strlen(p), value_len = strlen(p + name_len + 1);

		nv[i] = (nghttp2_nv){
			.name = (uint8_t *)(uintptr_t)p,
			.namelen = name_len,
			.value = (uint8_t *)(uintptr_t)(p + name_len + 1),
			.valuelen = value_len,
		};
		p += name_len + value_len + 2;
	}
}

static ssize_t read_body(nghttp2_session *ng, int32_t id, uint8_t *buf, size_t size,
			 uint32_t *flags, nghttp2_data_source *source, void *user)
{
	struct h2_stream *s = source->ptr;
	struct h2 *h = user;
	size_t left = s->out.len - s->out_pos, n = left < size ? left : size;
	nghttp2_nv nv[16];

	if (n == 0 && !s->end_queued) {
		s->deferred = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	if (n > 0)
		memcpy(buf, s->out.buf + s->out_pos, n);
	s->out_pos += n;
	h->queued -= n;
	h->owed -= s->end_queued ? n : 0;
	if (s->out_pos == s->out.len) {
		if (s->end_queued)
			str_wipe(&s->out);
		str_reset(&s->out);
		s->out_pos = 0;
	}
	if (n == left && s->end_queued) {
		*flags |= NGHTTP2_DATA_FLAG_EOF;
		if (s->has_trailers) {
			*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
			trailers_nv(s, nv);
			nghttp2_submit_trailer(ng, id, nv, s->n_trailers);
		}
	} else if (s->was_high && left - n < H2_SEND_HIGH / 2) {
		s->was_high = false;
		h2_event_add(h, &(struct h2_event){ .kind = EVENT_DRAINED, .stream = s });
	}
	return (ssize_t)n;
}

static void fill_nv(const struct h2_header *headers, size_t n, nghttp2_nv *nv)
{
	for (size_t i = 0; i < n; i++)
		nv[i] = (nghttp2_nv){
			.name = (uint8_t *)(uintptr_t)headers[i].name,
			.namelen = strlen(headers[i].name),
			.value = (uint8_t *)(uintptr_t)headers[i].value,
			.valuelen = headers[i].value_len ? headers[i].value_len
							 : strlen(headers[i].value),
			.flags = headers[i].is_sensitive ? NGHTTP2_NV_FLAG_NO_INDEX
							 : NGHTTP2_NV_FLAG_NONE,
		};
}

#define NV_MAX 32

struct h2_stream *h2_request(struct h2 *h, const struct h2_header *headers, size_t n, bool end,
			     void *user, struct err *err)
{
	struct h2_stream *s = NULL;
	nghttp2_data_provider body = { .read_callback = read_body };
	nghttp2_nv nv[NV_MAX];
	int32_t id = 0;

	assert(n <= NV_MAX);
	if (h->phase != H2_OPEN ||
	    h->n_streams >= nghttp2_session_get_remote_settings(
				    h->ng, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS) ||
	    !nghttp2_session_check_request_allowed(h->ng)) {
		err_set(err, ERR_UNAVAILABLE, "connection takes no new streams");
		return NULL;
	}
	s = h2_stream_new(h, 0);
	s->user = user;
	s->is_known = true;
	body.source.ptr = s;
	fill_nv(headers, n, nv);
	id = nghttp2_submit_request(h->ng, NULL, nv, n, end ? NULL : &body, s);
	if (id < 0) {
		h2_stream_free(s);
		err_set(err, ERR_UNAVAILABLE, "HTTP/2 request: %s", nghttp2_strerror(id));
		return NULL;
	}
	s->id = id;
	return s;
}

int h2_respond(struct h2_stream *s, const struct h2_header *headers, size_t n, bool end)
{
	nghttp2_data_provider body = { .source.ptr = s, .read_callback = read_body };
	nghttp2_nv nv[NV_MAX];

	assert(n <= NV_MAX);
	if (s->is_over)
		return -1;
	fill_nv(headers, n, nv);
	return nghttp2_submit_response(s->h->ng, s->id, nv, n, end ? NULL : &body) == 0 ? 0 : -1;
}

static void wake(struct h2_stream *s)
{
	if (!s->deferred || s->is_over)
		return;
	s->deferred = false;
	nghttp2_session_resume_data(s->h->ng, s->id);
}

void h2_expect(struct h2_stream *s, size_t n)
{
	if (!s->is_over && !s->out.buf)
		str_reserve(&s->out, n);
}

static void end_body(struct h2_stream *s)
{
	if (!s->end_queued)
		s->h->owed += s->out.len - s->out_pos;
	s->end_queued = true;
}

size_t h2_send(struct h2_stream *s, const void *bytes, size_t n, bool end)
{
	size_t waiting = 0;

	if (s->is_over)
		return 0;
	if (s->out_pos >= H2_SEND_HIGH) {
		/* A peer that is always a little behind would else keep all that ever went out. */
		str_consume(&s->out, s->out_pos);
		s->out_pos = 0;
	}
	if (n > 0)
		str_append_wiping(&s->out, bytes, n);
	s->h->queued += n;
	if (end)
		end_body(s);
	waiting = s->out.len - s->out_pos;
	s->was_high |= waiting > H2_SEND_HIGH;
	if (n > 0 || end)
		wake(s);
	return waiting;
}

int h2_send_trailers(struct h2_stream *s, const struct h2_header *headers, size_t n)
{
	assert(n <= 16);
	for (size_t i = 0; i < n; i++) {
		str_append(&s->trailers, headers[i].name);
		str_append_char(&s->trailers, '\0');
		str_append(&s->trailers, headers[i].value);
		str_append_char(&s->trailers, '\0');
	}
	s->n_trailers = n;
	s->has_trailers = true;
	end_body(s);
	wake(s);
	return 0;
}

void h2_reset(struct h2_stream *s, enum h2_error error)
{
	if (!s->is_over)
		nghttp2_submit_rst_stream(s->h->ng, NGHTTP2_FLAG_NONE, s->id, error);
}

void h2_consume(struct h2_stream *s, size_t n)
{
	n = n < s->unconsumed ? n : s->unconsumed;
	s->unconsumed -= n;
	if (n > 0)
		nghttp2_session_consume(s->h->ng, s->id, n);
}

void *h2_stream_user(const struct h2_stream *s)
{
	return s->user;
}

void h2_stream_set_user(struct h2_stream *s, void *user)
{
	s->user = user;
}

struct h2 *h2_stream_session(const struct h2_stream *s)
{
	return s->h;
}

int32_t h2_stream_id(const struct h2_stream *s)
{
	return s->id;
}
