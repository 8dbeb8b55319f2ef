/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A responder for metrics and probes. Why not libmicrohttpd: it is the only thing that would pull
 * in gnutls, and measured here a process that merely starts its daemon has 4.3 MiB resident
 * against 1.6 MiB of an empty one, which is more than the whole budget of a node agent (4 MiB).
 * What is needed is one method, no bodies, no keep-alive, no TLS: this file.
 *
 * A request is read up to the empty line that ends its head; the request line decides, the headers
 * are ignored. Whatever is not understood gets a 400, 404, 405 or 431 and the connection is closed.
 * Blocking routes run on a worker; the request stays in the server's list until both its connection
 * and its worker are done with it.
 */
#include "net/httpd.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "event/loop.h"
#include "event/sync.h"
#include "event/work.h"
#include "net/addr.h"
#include "net/conn.h"
#include "net/listener.h"

#define HEAD_MAX 4096
#define REQUESTS_MAX 64
#define TIMEOUT_NS (10 * NS_PER_S)

struct request {
	struct httpd *httpd;
	struct conn *conn; /* NULL once gone */
	struct ev_timer *timer;
	struct request *next;
	const struct httpd_route *route;
	struct str head, body;
	unsigned status;
	bool is_head, at_work;
};

struct httpd {
	struct ev_loop *loop;
	struct work *work;
	struct listener *listener;
	const struct httpd_route *routes;
	size_t n_routes;
	void *arg;
	struct request *requests;
	unsigned n_requests;

	pthread_mutex_t lock;
	pthread_cond_t idle; /* n_at_work is 0 */
	unsigned n_at_work;  /* lock: requests whose route is on a worker or on its way back */
};

static void free_request(struct request *r)
{
	struct request **at = &r->httpd->requests;

	while (*at != r)
		at = &(*at)->next;
	*at = r->next;
	r->httpd->n_requests--;
	if (r->conn)
		conn_close(r->conn);
	ev_timer_free(r->timer);
	str_done(&r->head);
	str_done(&r->body);
	free(r);
}

static const char *reason(unsigned status)
{
	switch (status) {
	case 200:
		return "OK";
	case 400:
		return "Bad Request";
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	case 431:
		return "Request Header Fields Too Large";
	case 503:
		return "Service Unavailable";
	default:
		return "Internal Server Error";
	}
}

static void respond(struct request *r)
{
	autostr struct str out = STR_INIT;
	const char *type = r->route && r->route->content_type ? r->route->content_type
							      : "text/plain; charset=utf-8";

	if (r->conn) {
		str_appendf(&out,
			    "HTTP/1.1 %u %s\r\nContent-Type: %s\r\nContent-Length: "
			    "%zu\r\nConnection: close\r\n"
			    "X-Content-Type-Options: nosniff\r\n%s\r\n",
			    r->status, reason(r->status), type, r->body.len,
			    r->status == 405 ? "Allow: GET, HEAD\r\n" : "");
		if (!r->is_head)
			str_append_n(&out, str_get(&r->body), r->body.len);
		conn_write(r->conn, out.buf, out.len);
	}
	free_request(r);
}

static void refuse(struct request *r, unsigned status)
{
	r->status = status;
	str_reset(&r->body);
	str_appendf(&r->body, "%s\n", reason(status));
	respond(r);
}

static void count_work(struct httpd *h, int by)
{
	LOCK_SCOPE(&h->lock);
	h->n_at_work += (unsigned)by;
	if (h->n_at_work == 0)
		pthread_cond_broadcast(&h->idle);
}

static void worked(void *arg)
{
	struct request *r = arg;
	struct httpd *h = r->httpd;

	r->at_work = false;
	respond(r);
	count_work(h, -1); /* the last touch: httpd_close may go on */
}

static void work_route(void *arg)
{
	struct request *r = arg;

	r->status = r->route->fn(r->httpd->arg, &r->body);
	ev_post(r->httpd->loop, worked, r);
}

static void run_route(struct request *r)
{
	if (!r->route->is_blocking) {
		r->status = r->route->fn(r->httpd->arg, &r->body);
		respond(r);
		return;
	}
	r->at_work = true;
	count_work(r->httpd, 1);
	if (work_submit(r->httpd->work, r->route->lane, work_route, r) < 0) {
		count_work(r->httpd, -1);
		r->at_work = false;
		refuse(r, 503);
	}
}

/* "GET /path?query HTTP/1.1" */
static void read_request_line(struct request *r)
{
	char *line = r->head.buf, *path = NULL, *end = NULL;

	line[strcspn(line, "\r\n")] = '\0';
	path = strchr(line, ' ');
	end = path ? strchr(path + 1, ' ') : NULL;
	if (!end || !str_has_prefix(end + 1, "HTTP/1.")) {
		refuse(r, 400);
		return;
	}
	*path++ = '\0';
	*end = '\0';
	path[strcspn(path, "?")] = '\0';
	r->is_head = str_is_equal(line, "HEAD");
	if (!r->is_head && !str_is_equal(line, "GET")) {
		refuse(r, 405);
		return;
	}
	for (size_t i = 0; i < r->httpd->n_routes; i++) {
		if (str_is_equal(path, r->httpd->routes[i].path)) {
			r->route = &r->httpd->routes[i];
			run_route(r);
			return;
		}
	}
	refuse(r, 404);
}

static void on_data(void *arg, const uint8_t *bytes, size_t n)
{
	struct request *r = arg;

	if (r->at_work)
		return;
	str_append_n(&r->head, bytes, n);
	if (memchr(r->head.buf, '\0', r->head.len))
		refuse(r, 400);
	else if (strstr(r->head.buf, "\r\n\r\n") || strstr(r->head.buf, "\n\n"))
		read_request_line(r);
	else if (r->head.len > HEAD_MAX)
		refuse(r, 431);
}

static void on_close(void *arg, const struct err *why)
{
	struct request *r = arg;

	(void)why;
	r->conn = NULL;
	if (!r->at_work)
		free_request(r);
}

static void time_out(void *arg)
{
	struct request *r = arg;

	if (r->conn)
		conn_abort(r->conn);
	r->conn = NULL;
	if (!r->at_work)
		free_request(r);
}

static const struct conn_ops request_ops = {
	.on_data = on_data,
	.on_close = on_close,
};

/* The one that has said nothing, or not all, for longest: a probe of kubelet's must get in among
 * any number of those. */
static bool evict_oldest(struct httpd *h)
{
	struct request *oldest = NULL;

	for (struct request *r = h->requests; r; r = r->next)
		if (!r->at_work)
			oldest = r;
	if (!oldest)
		return false;
	if (oldest->conn)
		conn_abort(TAKE_PTR(oldest->conn));
	free_request(oldest);
	return true;
}

static void on_accept(void *arg, struct conn *conn)
{
	struct httpd *h = arg;
	struct request *r = NULL;

	if (h->n_requests >= REQUESTS_MAX && !evict_oldest(h)) {
		conn_abort(conn);
		return;
	}
	r = xcalloc(1, sizeof(*r));
	r->httpd = h;
	r->conn = conn;
	r->next = h->requests;
	h->requests = r;
	h->n_requests++;
	r->timer = ev_timer_new(h->loop, time_out, r);
	ev_timer_start(r->timer, TIMEOUT_NS, 0);
	conn_set_ops(conn, &request_ops, r);
}

int httpd_new(struct ev_loop *loop, struct work *work, const char *endpoint,
	      const struct httpd_route *routes, size_t n, void *arg, struct httpd **ret_httpd,
	      struct err *err)
{
	struct httpd *h = NULL;
	struct net_addr addr = { 0 };
	autofree char *text = xasprintf("tcp://%s", endpoint);

	if (!strrchr(endpoint, ':'))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "HTTP endpoint '%s' has no port: write :PORT or HOST:PORT",
			       endpoint);
	if (net_addr_parse(text, &addr, err) < 0)
		return -1;
	h = xcalloc(1, sizeof(*h));
	*h = (struct httpd){
		.loop = loop, .work = work, .routes = routes, .n_routes = n, .arg = arg
	};
	pthread_mutex_init(&h->lock, NULL);
	sync_cond_init(&h->idle);
	if (listener_open(loop, &addr, 0, NULL, on_accept, h, &h->listener, err) < 0) {
		httpd_free(h);
		return -1;
	}
	*ret_httpd = h;
	return 0;
}

uint16_t httpd_port(const struct httpd *h)
{
	return listener_port(h->listener);
}

/* Requests at work stay, and answer. */
static void close_on_loop(void *arg)
{
	struct httpd *h = arg;
	struct request *next;

	if (h->listener)
		listener_close(TAKE_PTR(h->listener));
	for (struct request *r = h->requests; r; r = next) {
		next = r->next;
		if (!r->at_work)
			free_request(r);
	}
}

int httpd_close(struct httpd *h, int64_t timeout_ns)
{
	int64_t until_ns = timeout_ns == INT64_MAX ? INT64_MAX : clock_now_ns() + timeout_ns;
	int r = 0;

	ev_call(h->loop, close_on_loop, h);
	LOCK_SCOPE(&h->lock);
	while (h->n_at_work > 0 && r == 0)
		r = sync_cond_wait_until(&h->idle, &h->lock, until_ns);
	return h->n_at_work > 0 ? -ETIMEDOUT : 0;
}

void httpd_free(struct httpd *h)
{
	if (!h)
		return;
	close_on_loop(h);
	pthread_cond_destroy(&h->idle);
	pthread_mutex_destroy(&h->lock);
	free(h);
}
