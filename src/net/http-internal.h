/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_HTTP_INTERNAL_H
#define NET_HTTP_INTERNAL_H

#include "net/http.h"

/* The two halves of http_open: any thread makes (copies all of req), the I/O thread starts. */
struct http_stream *http_stream_make(struct http *c, const struct http_request *req,
				     const struct http_stream_ops *ops, void *arg);
void http_stream_start(struct http_stream *s);
struct ev_loop *http_loop(const struct http *c);

#endif
