/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_HTTPD_H
#define NET_HTTPD_H

#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ev_loop;
struct work;

/*
 * struct httpd - answers GET of a few fixed paths over HTTP/1.1, for metrics and probes. Plain
 * text, no TLS, one request a connection, request heads up to 4 KiB within 10 s, at most 64
 * connections: a newcomer takes the place of the oldest that has not asked yet.
 */
struct httpd;

/* Fills body and returns the HTTP status (200, 500, 503 …). */
typedef unsigned (*httpd_fn)(void *arg, struct str *body);

struct httpd_route {
	const char *path;         /* "/metrics" */
	const char *content_type; /* NULL: text/plain; charset=utf-8 */
	httpd_fn fn;
	bool is_blocking; /* runs on a worker of lane instead of the I/O thread */
	unsigned lane;
};

/*
 * endpoint: ":9808", "127.0.0.1:9808", "[::1]:9808". routes is borrowed. FAILED_PRECONDITION if it
 * cannot listen. Before the loop runs, or on the I/O thread.
 */
int httpd_new(struct ev_loop *loop, struct work *work, const char *endpoint,
	      const struct httpd_route *routes, size_t n, void *arg, struct httpd **ret_httpd,
	      struct err *err);
uint16_t httpd_port(const struct httpd *h);
/*
 * No route is called any more once this has returned: takes no new request and waits for the
 * blocking routes that are at work, which get their answers out. While the loop and the workers
 * run, and not on either; before what the routes read is freed. -ETIMEDOUT: one still is at work.
 */
int httpd_close(struct httpd *h, int64_t timeout_ns);
/* After httpd_close, or if the loop never ran. */
void httpd_free(struct httpd *h);

#endif
