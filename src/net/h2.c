/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/2 sessions on memory: nghttp2 does the protocol, its owner carries the bytes. What took care
 * to get right:
 *
 * - nghttp2 must not be entered from its own callbacks: they only note what happened (h2_event.c),
 * and users are called when nghttp2 has returned. h2_pull calls nobody, so that users may call it:
 * what it made happen is told by the next h2_tick, which is due at once.
 * - nghttp2 gives one frame a call; frames are gathered up to a limit, so that an owner who stops
 * pulling while the peer does not read stalls the senders and not our memory.
 * - A server that answers before the request's body ended follows its END_STREAM with
 * RST_STREAM(NO_ERROR) (RFC 9113 §8.1), or the peer would send on into the void.
 * - Bodies may hold secrets: nghttp2's own copy of a DATA frame is zeroed as soon as it is on its
 * way.
 *
 * Phases, and what each thing that happens makes of them (–: nothing):
 *
 *            h2_drain    h2_close, h2_lose, broken   nghttp2 is done   h2_tick
 *   OPEN     DRAINING    CLOSING                     CLOSING           PING, or CLOSING
 *   DRAINING –           CLOSING                     CLOSING           PING, GOAWAY, or CLOSING
 *   CLOSING  –           –                           –                 CLOSED
 *   CLOSED   –           –                           –                 –
 *
 * h2_tick makes CLOSING of a PING that was not answered in time, GOAWAY is the second of a graceful
 * end, and CLOSED ends the streams and calls on_close.
 *
 * nghttp2 is done when it wants neither bytes nor to send: a drained session whose last stream
 * ended, or a GOAWAY for a peer that broke the rules. What is received counts in OPEN and DRAINING
 * alone; pulled can be in all but CLOSED.
 */
#include "net/h2.h"

#include <string.h>

#include <nghttp2/nghttp2.h>

#include "base/clock.h"
#include "base/mem.h"
#include "net/h2-internal.h"

#define STREAM_WINDOW (1 << 20)
#define CONN_WINDOW (4 << 20)
#define FRAME_HEAD 9u   /* RFC 9113 §4.1 */
#define USUAL_REST 500u /* bytes beside bodies, so that most are gathered without growing */
#define DRAIN_GRACE_NS (100 * NS_PER_MS)
#define REST_NS (5 * NS_PER_S) /* without a stream, until the memory for them is given back */

static struct h2_stream *find_stream(nghttp2_session *ng, int32_t id)
{
	return nghttp2_session_get_stream_user_data(ng, id);
}

/* ---- nghttp2 callbacks ---- */

static int got_frame(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
	struct h2 *h = user;
	bool end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
	struct h2_stream *s = NULL;

	switch (frame->hd.type) {
	case NGHTTP2_HEADERS:
		s = find_stream(ng, frame->hd.stream_id);
		if (s)
			h2_block_end(h, s, end);
		break;
	case NGHTTP2_DATA:
		s = find_stream(ng, frame->hd.stream_id);
		if (s && end) {
			s->remote_closed = true;
			h2_event_add(h, &(struct h2_event){ .kind = EVENT_END, .stream = s });
		}
		break;
	case NGHTTP2_PING:
		if (frame->hd.flags & NGHTTP2_FLAG_ACK)
			h->pinged_ns = 0;
		break;
	case NGHTTP2_GOAWAY:
		h2_event_add(h, &(struct h2_event){ .kind = EVENT_GOAWAY,
						    .error = frame->goaway.error_code });
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
	h2_event_add(h,
		     &(struct h2_event){ .kind = EVENT_DATA, .stream = s, .bytes = bytes, .n = n });
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
	s->unconsumed = 0;
	s->is_over = true;
	nghttp2_session_set_stream_user_data(ng, id, NULL);
	h2_event_add(h, &(struct h2_event){ .kind = EVENT_OVER, .stream = s, .error = error });
	return 0;
}

/* ---- the session ---- */

static void make_session(struct h2 *h)
{
	nghttp2_session_callbacks *cb = NULL;
	nghttp2_option *opt = NULL;
	nghttp2_mem mem = h2_memory(h);

	if (nghttp2_session_callbacks_new(&cb) != 0 || nghttp2_option_new(&opt) != 0)
		abort();
	nghttp2_session_callbacks_set_on_begin_headers_callback(cb, h2_block_begin);
	nghttp2_session_callbacks_set_on_header_callback(cb, h2_block_field);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, got_frame);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, got_data);
	nghttp2_session_callbacks_set_on_frame_send_callback(cb, sent_frame);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, stream_closed);
	nghttp2_option_set_no_auto_window_update(opt, 1);
	/* A server's would stay for a tree of priorities, which nobody uses. */
	nghttp2_option_set_no_closed_streams(opt, 1);
	if ((h->is_server ? nghttp2_session_server_new3
			  : nghttp2_session_client_new3)(&h->ng, cb, h, opt, &mem) != 0)
		abort();
	nghttp2_session_callbacks_del(cb);
	nghttp2_option_del(opt);
}

struct h2 *h2_new(const struct h2_options *opts, int64_t now_ns)
{
	const uint32_t window = opts->stream_window ? opts->stream_window : STREAM_WINDOW;
	const nghttp2_settings_entry server[] = {
		{ NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, H2_MAX_STREAMS },
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window },
		{ NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, H2_HEADERS_MAX },
	};
	const nghttp2_settings_entry client[] = {
		{ NGHTTP2_SETTINGS_ENABLE_PUSH, 0 },
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window },
	};
	struct h2 *h = xcalloc(1, sizeof(*h));

	h->ops = opts->ops;
	h->arg = opts->arg;
	h->owner = opts->owner;
	h->is_server = opts->is_server;
	h->ping_interval_ns = opts->ping_interval_ns;
	h->ping_timeout_ns = opts->ping_timeout_ns;
	h->heard_ns = now_ns;
	make_session(h);
	if (h->is_server)
		nghttp2_submit_settings(h->ng, NGHTTP2_FLAG_NONE, server, ARRAY_LEN(server));
	else
		nghttp2_submit_settings(h->ng, NGHTTP2_FLAG_NONE, client, ARRAY_LEN(client));
	nghttp2_session_set_local_window_size(h->ng, NGHTTP2_FLAG_NONE, 0, CONN_WINDOW);
	return h;
}

void h2_free(struct h2 *h)
{
	if (!h)
		return;
	/* nghttp2 tells of the streams that it has. */
	for (struct h2_stream *s = h->streams; s; s = s->next)
		nghttp2_session_set_stream_user_data(h->ng, s->id, NULL);
	nghttp2_session_del(h->ng);
	while (h->streams)
		h2_stream_free(h->streams);
	vec_done(&h->events);
	str_done(&h->text);
	vec_done(&h->fields);
	free(h);
}

static void begin_end(struct h2 *h, const struct err *why)
{
	if (h->phase >= H2_CLOSING)
		return;
	h->phase = H2_CLOSING;
	h->why = *why;
}

void h2_lose(struct h2 *h, const struct err *why)
{
	begin_end(h, why);
}

void h2_close(struct h2 *h, enum h2_error error)
{
	if (h->phase >= H2_CLOSING)
		return;
	nghttp2_session_terminate_session(h->ng, error);
	begin_end(h, &(struct err){ .code = ERR_UNAVAILABLE, .msg = "session closed" });
}

void h2_drain(struct h2 *h, int64_t now_ns)
{
	if (h->phase != H2_OPEN)
		return;
	h->phase = H2_DRAINING;
	h->goaway_ns = now_ns + DRAIN_GRACE_NS;
	nghttp2_submit_shutdown_notice(h->ng);
}

/* A preface that is no HTTP/2, or a peer that floods: nothing more to say to it. */
static void break_off(struct h2 *h, int error)
{
	struct err why = { 0 };

	err_set(&why, ERR_UNAVAILABLE, "HTTP/2: %s", nghttp2_strerror(error));
	begin_end(h, &why);
}

void h2_receive(struct h2 *h, int64_t now_ns, const uint8_t *bytes, size_t n)
{
	ssize_t r = 0;

	h->heard_ns = now_ns;
	h->is_used = true;
	do {
		if (h->phase >= H2_CLOSING)
			return;
		h->is_paused = false;
		r = nghttp2_session_mem_recv(h->ng, bytes, n);
		h2_event_deliver(h);
		if (r < 0) {
			break_off(h, (int)r);
			return;
		}
		bytes += r;
		n -= (size_t)r;
	} while (n > 0 || h->is_paused);
}

static void gather(const struct h2 *h, struct str *out, size_t limit, const uint8_t *frame,
		   size_t n)
{
	if (!out->buf)
		str_reserve(out, (h->queued < limit ? h->queued : limit) + USUAL_REST);
	str_append_wiping(out, frame, n);
	/* nghttp2 writes its buffer anew for the next frame and reads nothing of this one again. */
	if (n > FRAME_HEAD && frame[3] == NGHTTP2_DATA)
		explicit_bzero((void *)(uintptr_t)(frame + FRAME_HEAD), n - FRAME_HEAD);
}

size_t h2_pull(struct h2 *h, struct str *out, size_t limit)
{
	const uint8_t *frame = NULL;
	size_t before = out->len;
	ssize_t n = 0;

	if (h->phase == H2_CLOSED)
		return 0;
	while (out->len - before < limit && (n = nghttp2_session_mem_send(h->ng, &frame)) > 0)
		gather(h, out, limit, frame, (size_t)n);
	h->is_used |= out->len > before;
	if (n < 0)
		begin_end(h, &(struct err){ .code = ERR_INTERNAL, .msg = "HTTP/2 session failed" });
	else if (h->phase < H2_CLOSING && !nghttp2_session_want_read(h->ng) &&
		 !nghttp2_session_want_write(h->ng))
		begin_end(h,
			  &(struct err){ .code = ERR_UNAVAILABLE, .msg = "HTTP/2 session over" });
	return out->len - before;
}

/* ---- time ---- */

static int64_t ping_due_ns(const struct h2 *h)
{
	if (h->ping_interval_ns == 0)
		return INT64_MAX;
	return h->pinged_ns ? h->pinged_ns + h->ping_timeout_ns : h->heard_ns + h->ping_interval_ns;
}

static int64_t rest_due_ns(const struct h2 *h)
{
	return h->is_used && h->n_streams == 0 && h->phase == H2_OPEN ? h->heard_ns + REST_NS
								      : INT64_MAX;
}

int64_t h2_next(const struct h2 *h)
{
	int64_t next_ns = ping_due_ns(h), rest_ns = rest_due_ns(h);

	if (h->phase == H2_CLOSED)
		return INT64_MAX;
	if (h->phase == H2_CLOSING || h->events.n > 0)
		return 0;
	if (rest_ns < next_ns)
		next_ns = rest_ns;
	return h->goaway_ns && h->goaway_ns < next_ns ? h->goaway_ns : next_ns;
}

/* What is not sent yet makes it used again when it is. */
static void check_rest(struct h2 *h, int64_t now_ns)
{
	if (now_ns < rest_due_ns(h))
		return;
	h->is_used = false;
	if (!nghttp2_session_want_write(h->ng))
		h2_memory_rest(h);
}

static void check_peer(struct h2 *h, int64_t now_ns)
{
	if (now_ns < ping_due_ns(h))
		return;
	if (h->pinged_ns) {
		begin_end(h, &(struct err){ .code = ERR_UNAVAILABLE,
					    .msg = "peer does not answer PING" });
		return;
	}
	h->pinged_ns = now_ns;
	nghttp2_submit_ping(h->ng, NGHTTP2_FLAG_NONE, NULL);
}

static void check_drain(struct h2 *h, int64_t now_ns)
{
	if (!h->goaway_ns || now_ns < h->goaway_ns)
		return;
	h->goaway_ns = 0;
	nghttp2_submit_goaway(h->ng, NGHTTP2_FLAG_NONE,
			      nghttp2_session_get_last_proc_stream_id(h->ng), NGHTTP2_NO_ERROR,
			      NULL, 0);
}

/* The last that users hear. Nothing is pulled any more, so nghttp2 asks no stream for its body. */
static void report_end(struct h2 *h)
{
	struct h2_stream *s = NULL;

	h->phase = H2_CLOSED;
	for (s = h->streams; s; s = s->next) {
		nghttp2_session_set_stream_user_data(h->ng, s->id, NULL);
		s->is_over = true;
	}
	while ((s = h->streams) != NULL)
		h2_event_over(s, H2_CANCEL);
	h->ops->on_close(h->arg, &h->why);
}

/* Who closes in here, or is closed for silence, still says so: the end is told by the next tick. */
bool h2_tick(struct h2 *h, int64_t now_ns)
{
	bool is_over = h->phase >= H2_CLOSING;

	if (!is_over)
		check_peer(h, now_ns);
	if (h->phase < H2_CLOSING)
		check_drain(h, now_ns);
	h2_event_deliver(h);
	check_rest(h, now_ns);
	if (h->phase == H2_CLOSING && is_over)
		report_end(h);
	return !is_over;
}

enum h2_phase h2_phase(const struct h2 *h)
{
	return h->phase;
}

size_t h2_stream_count(const struct h2 *h)
{
	return h->n_streams;
}

struct h2_stream *h2_stream_next(const struct h2 *h, const struct h2_stream *s)
{
	return s ? s->next : h->streams;
}

void *h2_owner(const struct h2 *h)
{
	return h->owner;
}

size_t h2_queued(const struct h2 *h)
{
	return h->queued;
}

size_t h2_owed(const struct h2 *h)
{
	return h->owed;
}

const struct err *h2_failure(const struct h2 *h)
{
	return h->phase >= H2_CLOSING ? &h->why : NULL;
}
