/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_H2_INTERNAL_H
#define NET_H2_INTERNAL_H

#include <nghttp2/nghttp2.h>

#include "base/str.h"
#include "base/vec.h"
#include "net/h2.h"

#define H2_HEADERS_MAX (64u << 10) /* of a block, counted as RFC 9113 §6.5.2 does */

/* Memory that begins and ends with a page and belongs to nobody else. */
struct h2_pages {
	void *p; /* NULL: none */
	size_t n;
};

struct h2_stream {
	struct h2 *h;
	struct h2_stream *prev, *next;
	int32_t id;
	void *user;
	struct str out; /* body waiting, from out_pos on */
	size_t out_pos;
	struct str trailers; /* packed like text, sent when out is empty */
	size_t n_trailers;
	size_t unconsumed;
	bool end_queued, has_trailers, deferred, was_high;
	bool got_headers, remote_closed;
	bool is_known; /* its user has heard of it, or asked for it */
	bool is_over;  /* nghttp2 has it no more; on_stream_close is still to come */
};

/* What nghttp2 told and users have not heard yet. */
struct h2_event {
	enum { EVENT_HEADERS, EVENT_DATA, EVENT_END, EVENT_DRAINED, EVENT_OVER, EVENT_GOAWAY } kind;
	bool is_trailers, end;
	uint32_t error;
	struct h2_stream *stream;
	const uint8_t *bytes; /* of what is being received */
	size_t n;             /* bytes, or fields */
};

struct h2 {
	nghttp2_session *ng;
	const struct h2_ops *ops;
	void *arg, *owner;
	enum h2_phase phase;
	bool is_server;
	bool is_paused; /* nghttp2 has more to tell of what it was given */
	VEC(struct h2_event) events;
	struct str text; /* fields of blocks not delivered yet: name NUL value NUL … */
	VEC(struct h2_header) fields;
	size_t block_text, block_fields; /* where the block begins that is being received */
	size_t list_size;                /* of that block */
	struct h2_stream *streams;
	size_t n_streams;
	size_t queued; /* of all streams' out */
	size_t owed;   /* of these, what is of streams that nothing is added to any more */
	int64_t ping_interval_ns, ping_timeout_ns, heard_ns;
	int64_t pinged_ns; /* 0: no PING is under way */
	int64_t goaway_ns; /* when the second GOAWAY is due; 0: never */
	struct err why;
	bool is_used; /* something came or went since the session last gave back its memory */
	struct h2_pages frame_buf, table; /* nghttp2's, while it has them */
};

struct h2_stream *h2_stream_new(struct h2 *h, int32_t id);
void h2_stream_free(struct h2_stream *s);

/* ---- h2_memory.c ---- */

nghttp2_mem h2_memory(struct h2 *h);
/* Gives back what an idle session needs not to keep. Nothing is on its way in either direction. */
void h2_memory_rest(struct h2 *h);

/* ---- h2_event.c ---- */

void h2_event_add(struct h2 *h, const struct h2_event *e);
/* For nghttp2's callbacks that may pause it, to return: when there are many, users hear them
 * first. */
int h2_event_pause(struct h2 *h);
/* Its end: tells who knows of it, and frees it. */
void h2_event_over(struct h2_stream *s, uint32_t error);
/* Calls the users for all there are. */
void h2_event_deliver(struct h2 *h);

/* nghttp2's callbacks about a header block. */
int h2_block_begin(nghttp2_session *ng, const nghttp2_frame *frame, void *user);
int h2_block_field(nghttp2_session *ng, const nghttp2_frame *frame, const uint8_t *name,
		   size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
		   void *user);
/* It is whole. */
void h2_block_end(struct h2 *h, struct h2_stream *s, bool end);

#endif
