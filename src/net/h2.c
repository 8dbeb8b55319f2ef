/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/2 sessions: nghttp2 does the protocol on memory, a conn carries the bytes. What took care to
 * get right:
 *
 * - nghttp2 must not be re-entered: while it runs a callback we only submit; h->busy says so, and
 * whoever began (bytes from the conn, or a caller's h2_flush) flushes at the end.
 * - mem_send gives one frame a call; frames are gathered up to 64 KiB a write, and gathering stops
 * while the conn's backlog is high, so a peer that does not read stalls the senders and not our
 * memory.
 * - A server that answers before the request's body ended follows its END_STREAM with
 * RST_STREAM(NO_ERROR) (RFC 9113 §8.1), or the peer would send on into the void.
 * - Bodies may hold secrets: nghttp2's own copy of a DATA frame is zeroed as soon as it is on its
 * way.
 * - Sessions end by a timer of zero delay, so that no on_close runs inside a caller's h2_close.
 */
#include "net/h2.h"

#include <string.h>

#include <nghttp2/nghttp2.h>

#include "base/clock.h"
#include "base/mem.h"
#include "event/loop.h"
#include "net/conn.h"
#include "net/h2-internal.h"

#define STREAM_WINDOW (1 << 20)
#define CONN_WINDOW (4 << 20)
#define HEADERS_MAX (64u << 10) /* counted as RFC 9113 §6.5.2 does */
#define HEADER_COST 32
#define FRAME_HEAD 9u /* RFC 9113 §4.1 */
#define WRITE_BATCH (64u << 10)
#define DRAIN_GRACE_NS (100 * NS_PER_MS)

static void end_session(struct h2 *h, const struct err *why);

static struct h2_stream *find_stream(nghttp2_session *ng, int32_t id)
{
	return nghttp2_session_get_stream_user_data(ng, id);
}

/* The fields' texts lie one after the other; now that all are there their places are known. */
static void report_headers(struct h2_stream *s, bool is_trailers, bool end)
{
	struct h2 *h = s->h;
	const char *at = h->text.buf;

	for (size_t i = 0; i < h->fields.n; i++) {
		struct h2_header *f = &h->fields.v[i];

		f->name = at;
		f->value = at + strlen(at) + 1;
		at = f->value + f->value_len + 1;
	}
	if (end)
		s->remote_closed = true;
	h->ops->on_headers(h->arg, s, h->fields.v, h->fields.n, is_trailers, end);
}

/* ---- nghttp2 callbacks ---- */

static int begin_headers(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
	struct h2 *h = user;
	struct h2_stream *s = NULL;

	str_reset(&h->text);
	h->fields.n = 0;
	h->list_size = 0;
	if (frame->hd.type == NGHTTP2_HEADERS && h->is_server &&
	    frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
		s = h2_stream_new(h, frame->hd.stream_id);
		nghttp2_session_set_stream_user_data(ng, s->id, s);
	}
	return 0;
}

static int got_header(nghttp2_session *ng, const nghttp2_frame *frame, const uint8_t *name,
		      size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
		      void *user)
{
	struct h2 *h = user;
	struct h2_stream *s = find_stream(ng, frame->hd.stream_id);

	(void)flags;
	if (!s || frame->hd.type != NGHTTP2_HEADERS)
		return 0;
	h->list_size += name_len + value_len + HEADER_COST;
	if (h->list_size > HEADERS_MAX) {
		nghttp2_submit_rst_stream(ng, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_ENHANCE_YOUR_CALM);
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	}
	str_append_n(&h->text, name, name_len);
	str_append_char(&h->text, '\0');
	str_append_n(&h->text, value, value_len);
	str_append_char(&h->text, '\0');
	vec_push(&h->fields, ((struct h2_header){ .value_len = value_len }));
	return 0;
}

static bool is_informational(const struct h2 *h)
{
	/* ":status" is the first field, name and value NUL-terminated. */
	return h->fields.n > 0 && strcmp(h->text.buf, ":status") == 0 &&
	       h->text.buf[sizeof(":status")] == '1';
}

static void got_headers_frame(struct h2 *h, struct h2_stream *s, const nghttp2_frame *frame)
{
	bool end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
	bool is_trailers = s->got_headers;

	if (!h->is_server && is_informational(h))
		return;
	s->got_headers = true;
	report_headers(s, is_trailers, end);
}

static int got_frame(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
	struct h2 *h = user;
	struct h2_stream *s = NULL;

	switch (frame->hd.type) {
	case NGHTTP2_HEADERS:
		s = find_stream(ng, frame->hd.stream_id);
		if (s)
			got_headers_frame(h, s, frame);
		break;
	case NGHTTP2_DATA:
		s = find_stream(ng, frame->hd.stream_id);
		if (s && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) {
			s->remote_closed = true;
			h->ops->on_end(h->arg, s);
		}
		break;
	case NGHTTP2_PING:
		if (frame->hd.flags & NGHTTP2_FLAG_ACK)
			h->pinged_ns = 0;
		break;
	case NGHTTP2_GOAWAY:
		if (h->ops->on_goaway)
			h->ops->on_goaway(h->arg, frame->goaway.error_code);
		break;
	default:
		break;
	}
	return 0;
}

static int got_data(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *bytes, size_t n,
		    void *user)
{
	struct h2 *h = user;
	struct h2_stream *s = find_stream(ng, id);

	(void)flags;
	if (!s) {
		nghttp2_session_consume(ng, id, n);
		return 0;
	}
	s->unconsumed += n;
	h->ops->on_data(h->arg, s, bytes, n);
	return 0;
}

static int sent_frame(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
	struct h2 *h = user;
	struct h2_stream *s = NULL;

	if (!h->is_server || !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM) ||
	    (frame->hd.type != NGHTTP2_DATA && frame->hd.type != NGHTTP2_HEADERS))
		return 0;
	s = find_stream(ng, frame->hd.stream_id);
	if (s && !s->remote_closed)
		nghttp2_submit_rst_stream(ng, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_NO_ERROR);
	return 0;
}

static int stream_closed(nghttp2_session *ng, int32_t id, uint32_t error, void *user)
{
	struct h2 *h = user;
	struct h2_stream *s = find_stream(ng, id);

	if (!s)
		return 0;
	if (s->unconsumed > 0)
		nghttp2_session_consume_connection(ng, s->unconsumed);
	nghttp2_session_set_stream_user_data(ng, id, NULL);
	h->ops->on_stream_close(h->arg, s, error);
	h2_stream_free(s);
	return 0;
}

/* ---- the session ---- */

static void gather(struct str *batch, const uint8_t *frame, size_t n)
{
	str_append_wiping(batch, frame, n);
	/* nghttp2 writes its buffer anew for the next frame and reads nothing of this one again. */
	if (n > FRAME_HEAD && frame[3] == NGHTTP2_DATA)
		explicit_bzero((void *)(uintptr_t)(frame + FRAME_HEAD), n - FRAME_HEAD);
}

/* Gives what nghttp2 wants sent to the conn, as long as that is not choked. */
static void send_frames(struct h2 *h)
{
	autowipe struct str batch = STR_INIT;
	const uint8_t *frame = NULL;
	ssize_t n = 0;

	while (conn_backlog(h->conn) < CONN_BACKLOG_HIGH &&
	       (n = nghttp2_session_mem_send(h->ng, &frame)) > 0) {
		gather(&batch, frame, (size_t)n);
		if (batch.len >= WRITE_BATCH) {
			conn_write(h->conn, batch.buf, batch.len);
			str_reset(&batch);
		}
	}
	if (batch.len > 0)
		conn_write(h->conn, batch.buf, batch.len);
	if (n < 0)
		end_session(h,
			    &(struct err){ .code = ERR_INTERNAL, .msg = "HTTP/2 session failed" });
}

void h2_flush(struct h2 *h)
{
	if (h->busy || h->ending || !h->conn)
		return;
	h->busy = true;
	send_frames(h);
	h->busy = false;
	if (!h->ending && !nghttp2_session_want_read(h->ng) && !nghttp2_session_want_write(h->ng))
		end_session(h,
			    &(struct err){ .code = ERR_UNAVAILABLE, .msg = "HTTP/2 session over" });
}

static void flush_now(void *arg)
{
	h2_flush(arg);
}

void h2_flush_soon(struct h2 *h)
{
	ev_turn_start(h->flush);
}

/* The conn is closed now; who uses the session hears it from the timer. */
static void end_session(struct h2 *h, const struct err *why)
{
	if (h->ending)
		return;
	h->ending = true;
	h->why = *why;
	if (h->conn)
		conn_close(h->conn);
	h->conn = NULL;
	ev_timer_start(h->later, 0, 0);
}

static void report_end(void *arg)
{
	struct h2 *h = arg;
	struct h2_stream *s = NULL;

	ev_timer_stop(h->ping_timer);
	while ((s = h->streams) != NULL) {
		nghttp2_session_set_stream_user_data(h->ng, s->id, NULL);
		h->ops->on_stream_close(h->arg, s, H2_CANCEL);
		h2_stream_free(s);
	}
	h->ops->on_close(h->arg, &h->why);
}

static void conn_data(void *arg, const uint8_t *bytes, size_t n)
{
	struct h2 *h = arg;
	ssize_t r = 0;

	if (h->ending)
		return;
	h->heard_ns = h->ping_interval_ns ? clock_now_ns() : 0;
	h->busy = true;
	r = nghttp2_session_mem_recv(h->ng, bytes, n);
	h->busy = false;
	if (r < 0 && !h->ending) {
		/* A preface that is no HTTP/2, or a peer that floods: nothing more to say to it. */
		struct err why = { 0 };

		err_set(&why, ERR_UNAVAILABLE, "HTTP/2: %s", nghttp2_strerror((int)r));
		send_frames(h);
		end_session(h, &why);
		return;
	}
	h2_flush(h);
}

static void conn_drained(void *arg)
{
	h2_flush(arg);
}

static void conn_closed(void *arg, const struct err *why)
{
	struct h2 *h = arg;
	struct err reason = *why;

	h->conn = NULL;
	if (reason.code == ERR_OK)
		reason.code = ERR_UNAVAILABLE;
	end_session(h, &reason);
}

static const struct conn_ops h2_conn_ops = {
	.on_data = conn_data,
	.on_drained = conn_drained,
	.on_close = conn_closed,
};

static void check_peer(void *arg)
{
	struct h2 *h = arg;
	int64_t now = clock_now_ns();

	if (h->pinged_ns && now - h->pinged_ns > h->ping_timeout_ns) {
		end_session(h, &(struct err){ .code = ERR_UNAVAILABLE,
					      .msg = "peer does not answer PING" });
		return;
	}
	if (!h->pinged_ns && now - h->heard_ns > h->ping_interval_ns) {
		h->pinged_ns = now;
		nghttp2_submit_ping(h->ng, NGHTTP2_FLAG_NONE, NULL);
		h2_flush(h);
	}
}

static void make_session(struct h2 *h)
{
	nghttp2_session_callbacks *cb = NULL;
	nghttp2_option *opt = NULL;

	if (nghttp2_session_callbacks_new(&cb) != 0 || nghttp2_option_new(&opt) != 0)
		abort();
	nghttp2_session_callbacks_set_on_begin_headers_callback(cb, begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(cb, got_header);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, got_frame);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, got_data);
	nghttp2_session_callbacks_set_on_frame_send_callback(cb, sent_frame);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, stream_closed);
	nghttp2_option_set_no_auto_window_update(opt, 1);
	if ((h->is_server ? nghttp2_session_server_new2 : nghttp2_session_client_new2)(&h->ng, cb,
										       h, opt) != 0)
		abort();
	nghttp2_session_callbacks_del(cb);
	nghttp2_option_del(opt);
}

struct h2 *h2_new(struct ev_loop *loop, struct conn *c, const struct h2_options *opts)
{
	const nghttp2_settings_entry server[] = {
		{ NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, H2_MAX_STREAMS },
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW },
		{ NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HEADERS_MAX },
	};
	const nghttp2_settings_entry client[] = {
		{ NGHTTP2_SETTINGS_ENABLE_PUSH, 0 },
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW },
	};
	struct h2 *h = xcalloc(1, sizeof(*h));

	h->loop = loop;
	h->conn = c;
	h->ops = opts->ops;
	h->arg = opts->arg;
	h->is_server = opts->is_server;
	h->ping_interval_ns = opts->ping_interval_ns;
	h->ping_timeout_ns = opts->ping_timeout_ns;
	h->heard_ns = clock_now_ns();
	h->later = ev_timer_new(loop, report_end, h);
	h->ping_timer = ev_timer_new(loop, check_peer, h);
	h->flush = ev_turn_new(loop, flush_now, h);
	make_session(h);
	if (h->is_server)
		nghttp2_submit_settings(h->ng, NGHTTP2_FLAG_NONE, server, ARRAY_LEN(server));
	else
		nghttp2_submit_settings(h->ng, NGHTTP2_FLAG_NONE, client, ARRAY_LEN(client));
	nghttp2_session_set_local_window_size(h->ng, NGHTTP2_FLAG_NONE, 0, CONN_WINDOW);
	conn_set_ops(c, &h2_conn_ops, h);
	if (h->ping_interval_ns > 0)
		ev_timer_start(h->ping_timer, h->ping_interval_ns / 2, h->ping_interval_ns / 2);
	h2_flush(h);
	return h;
}

void h2_free(struct h2 *h)
{
	if (!h)
		return;
	if (h->conn)
		conn_abort(h->conn);
	while (h->streams) {
		nghttp2_session_set_stream_user_data(h->ng, h->streams->id, NULL);
		h2_stream_free(h->streams);
	}
	ev_timer_free(h->ping_timer);
	ev_timer_free(h->later);
	ev_turn_free(h->flush);
	nghttp2_session_del(h->ng);
	str_done(&h->text);
	vec_done(&h->fields);
	free(h);
}

void h2_close(struct h2 *h, enum h2_error error)
{
	bool was_busy = h->busy;

	if (h->ending)
		return;
	nghttp2_session_terminate_session(h->ng, error);
	if (was_busy)
		return; /* want_read turns false; the flush that follows ends the session */
	h->busy = true;
	send_frames(h);
	h->busy = false;
	end_session(h, &(struct err){ .code = ERR_UNAVAILABLE, .msg = "session closed" });
}

static void second_goaway(void *arg)
{
	struct h2 *h = arg;

	if (h->ending) {
		report_end(h);
		return;
	}
	nghttp2_submit_goaway(h->ng, NGHTTP2_FLAG_NONE,
			      nghttp2_session_get_last_proc_stream_id(h->ng), NGHTTP2_NO_ERROR,
			      NULL, 0);
	h2_flush(h);
}

void h2_drain(struct h2 *h)
{
	if (h->draining || h->ending)
		return;
	h->draining = true;
	nghttp2_submit_shutdown_notice(h->ng);
	h2_flush(h);
	if (h->ending)
		return;
	ev_timer_free(h->later);
	h->later = ev_timer_new(h->loop, second_goaway, h);
	ev_timer_start(h->later, DRAIN_GRACE_NS, 0);
}

size_t h2_stream_count(const struct h2 *h)
{
	return h->n_streams;
}

size_t h2_unsent(const struct h2 *h)
{
	return h->queued + (h->conn ? conn_backlog(h->conn) : 0);
}

int64_t h2_stalled_ns(const struct h2 *h)
{
	return h->conn ? conn_stalled_ns(h->conn) : 0;
}

const char *h2_peer(const struct h2 *h)
{
	return h->conn ? conn_peer(h->conn) : "";
}

const struct err *h2_failure(const struct h2 *h)
{
	return h->ending ? &h->why : NULL;
}
