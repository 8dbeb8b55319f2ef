/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_H2_INTERNAL_H
#define NET_H2_INTERNAL_H

#include <nghttp2/nghttp2.h>

#include "base/str.h"
#include "base/vec.h"
#include "net/h2.h"

struct ev_timer;
struct ev_turn;

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
};

struct h2 {
	struct ev_loop *loop;
	struct conn *conn; /* NULL once closed */
	nghttp2_session *ng;
	const struct h2_ops *ops;
	void *arg;
	bool is_server, busy, ending, draining;
	struct str text; /* header block being received: name NUL value NUL …; blocks never mix */
	VEC(struct h2_header) fields;
	size_t list_size; /* of that block */
	struct h2_stream *streams;
	size_t n_streams;
	size_t queued; /* of all streams' out */
	struct ev_timer *ping_timer, *later;
	struct ev_turn *flush;
	int64_t ping_interval_ns, ping_timeout_ns, heard_ns, pinged_ns;
	struct err why;
};

struct h2_stream *h2_stream_new(struct h2 *h, int32_t id);
void h2_stream_free(struct h2_stream *s);

#endif
