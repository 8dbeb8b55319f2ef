/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_H2_H
#define NET_H2_H

#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * struct h2 - one HTTP/2 session (RFC 9113) as bytes in, calls out, bytes out; nghttp2 behind this
 * door. It knows no socket, no loop and no clock; net/h2_conn.h joins it to those. One thread.
 *
 * Its owner gives it what came (h2_receive) and the time (h2_tick, when h2_next says so), and sends
 * what it takes out (h2_pull). Callbacks run inside h2_receive and h2_tick and nowhere else, so
 * never inside a call that a user makes; and from a callback every function may be called but those
 * two and h2_free.
 *
 * Streams belong to the session and are gone when on_stream_close returns; users who keep a stream
 * pointer clear it there. What is asked of a stream that the peer has ended in the meantime is
 * dropped.
 *
 * Flow control: received DATA counts against a window of 1 MiB a stream (or what the options say;
 * and 4 MiB a connection) until h2_consume says that the bytes are dealt with, so a user who does
 * not consume stalls the peer and not our memory. Sent bodies wait in the stream's own queue:
 * h2_send returns how much waits, on_stream_drained tells when less than half of H2_SEND_HIGH is
 * left.
 */
struct h2;
struct h2_stream;

#define H2_SEND_HIGH (256u << 10)
#define H2_MAX_STREAMS 256u

/* RFC 9113 §7, those used here. */
enum h2_error {
	H2_NO_ERROR = 0,
	H2_PROTOCOL_ERROR = 1,
	H2_INTERNAL_ERROR = 2,
	H2_REFUSED_STREAM = 7,
	H2_CANCEL = 8,
	H2_ENHANCE_YOUR_CALM = 11,
};

struct h2_header {
	const char *name; /* lower case; ":path" and so on for pseudo-headers */
	const char *value;
	size_t value_len;  /* 0 in what is sent: strlen; in what came it is exact */
	bool is_sensitive; /* never indexed: a secret, or another one in each call */
};

struct h2_ops {
	/* Header block complete: request, response (also 1xx are hidden), or trailers. end: no more
	 * from the peer. */
	void (*on_headers)(void *arg, struct h2_stream *s, const struct h2_header *h, size_t n,
			   bool is_trailers, bool end);
	void (*on_data)(void *arg, struct h2_stream *s, const uint8_t *bytes, size_t n);
	void (*on_end)(void *arg, struct h2_stream *s); /* peer's half closed after data */
	void (*on_stream_drained)(void *arg, struct h2_stream *s);
	/* enum h2_error. For streams that were asked for, or told of by on_headers. */
	void (*on_stream_close)(void *arg, struct h2_stream *s, uint32_t error);
	void (*on_goaway)(void *arg, uint32_t error); /* the peer takes no new streams */
	/* The session is over, from h2_tick; nothing follows. It may be freed from here or later.
	 */
	void (*on_close)(void *arg, const struct err *why);
};

struct h2_options {
	bool is_server;
	int64_t ping_interval_ns; /* client: PING when nothing was heard for this long; 0: never */
	int64_t ping_timeout_ns;  /* no answer: UNAVAILABLE and close */
	/* Of each stream, which so much may come of before the user consumes; 0: 1 MiB. Streams
	 * that nobody consumes stall the others of a connection when they have 4 MiB together. */
	uint32_t stream_window;
	const struct h2_ops *ops;
	void *arg;
	void *owner; /* h2_owner gives it back */
};

/* ---- for its owner ---- */

/* Preface and SETTINGS are there to be pulled. now_ns here and below: of one clock that never goes
 * back, above 0. */
struct h2 *h2_new(const struct h2_options *opts, int64_t now_ns);
void h2_free(struct h2 *h); /* no callbacks */

enum h2_phase {
	H2_OPEN,
	H2_DRAINING, /* no new streams; over when the last one is done */
	H2_CLOSING,  /* over: pull what is left, close, tick */
	H2_CLOSED,   /* on_close was called */
};
enum h2_phase h2_phase(const struct h2 *h);

/* What the peer sent. Dropped when the session is over. */
void h2_receive(struct h2 *h, int64_t now_ns, const uint8_t *bytes, size_t n);
/* Appends whole frames until there are none or limit bytes or more were appended; how many. They
 * may hold secrets. */
size_t h2_pull(struct h2 *h, struct str *out, size_t limit);
/* The bytes' way is gone: over, for that reason. */
void h2_lose(struct h2 *h, const struct err *why);
/* When h2_tick is due: 0 is at once, INT64_MAX never. Any other call may have made it sooner. */
int64_t h2_next(const struct h2 *h);
/* False: on_close was called, and h may be no more. */
bool h2_tick(struct h2 *h, int64_t now_ns);

/* Over: GOAWAY(error) is there to be pulled. No callback follows but on_stream_close for each open
 * stream and then on_close. */
void h2_close(struct h2 *h, enum h2_error error);
/* Server: first GOAWAY at 2^31-1, a second with the real id a moment later; streams in flight go
 * on. Over when the last one is done (RFC 9113 §6.8). */
void h2_drain(struct h2 *h, int64_t now_ns);

/* ---- for its users ---- */

/* Client: opens a stream. end: no body. NULL when no stream may be opened (goaway, limit reached):
 * err UNAVAILABLE. */
struct h2_stream *h2_request(struct h2 *h, const struct h2_header *headers, size_t n, bool end,
			     void *user, struct err *err);
/* Server: response headers; end: no body and no trailers. */
int h2_respond(struct h2_stream *s, const struct h2_header *headers, size_t n, bool end);

/* n bytes of body will follow, in pieces: their room is made once. */
void h2_expect(struct h2_stream *s, size_t n);
/* Queues body bytes (copied); end closes our half. Returns bytes waiting in this stream. */
size_t h2_send(struct h2_stream *s, const void *bytes, size_t n, bool end);
/* After the queued body: trailers, which close our half. Server: if the peer still sends, RST
 * NO_ERROR follows. */
int h2_send_trailers(struct h2_stream *s, const struct h2_header *headers, size_t n);
void h2_reset(struct h2_stream *s, enum h2_error error);

/* n received bytes of this stream are dealt with: opens the windows again. */
void h2_consume(struct h2_stream *s, size_t n);

void *h2_stream_user(const struct h2_stream *s);
void h2_stream_set_user(struct h2_stream *s, void *user);
struct h2 *h2_stream_session(const struct h2_stream *s);
int32_t h2_stream_id(const struct h2_stream *s);
size_t h2_stream_count(const struct h2 *h);
/* The one after s, or the first (NULL): for who frees a session and what hangs on its streams. */
struct h2_stream *h2_stream_next(const struct h2 *h, const struct h2_stream *s);
void *h2_owner(const struct h2 *h);
/* Bytes of all streams' bodies that were not pulled yet. */
size_t h2_queued(const struct h2 *h);
/* Of these, what is of bodies that are whole. Of the others each user keeps what waits low by what
 * h2_send says. */
size_t h2_owed(const struct h2 *h);
/* Why the session is over, for on_stream_close of the streams that die with it; NULL while it
 * lives. */
const struct err *h2_failure(const struct h2 *h);

#endif
