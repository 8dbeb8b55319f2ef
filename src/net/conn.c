/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A byte connection on libuv; conn_tls.c is its TLS.
 *
 * Life: made by conn_connect or conn_accept, ended by uv_close alone. Every failure becomes
 * uv_close, whose callback runs in a later turn of the loop; it reports on_close (unless the user
 * closed first) and frees. So no callback runs inside a call that the user made, and a conn that a
 * user closes from its own callback is still there when the callback returns.
 */
#include "net/conn.h"

#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "event/loop.h"
#include "net/conn-internal.h"
#include "net/tls-internal.h"

#define LINGER_NS NS_PER_S

struct write_req {
	uv_write_t req;
	struct conn *conn;
	size_t n;
	char bytes[];
};

static void handle_closed(uv_handle_t *handle)
{
	struct conn *c = handle->data;

	if (!c->user_closed)
		c->ops->on_close(c->arg, &c->why);
	uv_freeaddrinfo(c->addrs);
	SSL_free(c->ssl);
	str_done(&c->tls_out);
	tls_unref(c->tls);
	free(c);
}

void conn_end(struct conn *c)
{
	if (c->closing)
		return;
	c->closing = true;
	ev_timer_free(TAKE_PTR(c->timer)); /* now, so that the loop may be freed next */
	if (c->resolve) {
		c->resolve->data = NULL;
		uv_cancel((uv_req_t *)c->resolve);
		c->resolve = NULL;
	}
	if (!c->reopening)
		uv_close(&c->uv.handle, handle_closed);
}

static void fail(struct conn *c, int uv_error, const char *what)
{
	if (c->closing)
		return;
	err_os(&c->why, ERR_UNAVAILABLE, uv_error, "%s", what);
	conn_end(c);
}

static void written(uv_write_t *req, int status)
{
	struct write_req *w = container_of(req, struct write_req, req);
	struct conn *c = w->conn;

	c->backlog -= w->n;
	c->moved_ns = clock_now_ns();
	explicit_bzero(w->bytes, w->n);
	free(w);
	if (c->closing)
		return;
	if (status < 0) {
		fail(c, status, "write");
	} else if (c->user_closed) {
		if (c->backlog == 0)
			conn_end(c);
	} else if (c->is_high && c->backlog < CONN_BACKLOG_LOW) {
		c->is_high = false;
		c->ops->on_drained(c->arg);
	}
}

void conn_send_raw(struct conn *c, const char *bytes, size_t n)
{
	uv_buf_t buf = uv_buf_init((char *)(uintptr_t)bytes, (unsigned)n);
	struct write_req *w = NULL;
	int sent = 0;

	if (c->closing)
		return;
	if (c->backlog == 0)
		sent = uv_try_write(&c->uv.stream, &buf, 1);
	if (sent < 0 && sent != UV_EAGAIN) {
		fail(c, sent, "write");
		return;
	}
	sent = sent < 0 ? 0 : sent;
	if ((size_t)sent == n)
		return;
	w = xmalloc(sizeof(*w) + n - (size_t)sent);
	*w = (struct write_req){ .conn = c, .n = n - (size_t)sent };
	memcpy(w->bytes, bytes + sent, w->n);
	buf = uv_buf_init(w->bytes, (unsigned)w->n);
	sent = uv_write(&w->req, &c->uv.stream, &buf, 1, written);
	if (sent < 0) {
		free(w);
		fail(c, sent, "write");
		return;
	}
	if (c->backlog == 0)
		c->moved_ns = clock_now_ns();
	c->backlog += w->n;
	c->is_high |= c->backlog > CONN_BACKLOG_HIGH;
}

void conn_opened(struct conn *c)
{
	c->is_open = true;
	ev_timer_stop(c->timer);
	c->ops->on_open(c->arg);
}

/* What is read is dealt with before anything else is, so all connections share one buffer. */
static void give_buffer(uv_handle_t *handle, size_t suggested, uv_buf_t *ret_buf)
{
	struct conn *c = handle->data;

	(void)suggested;
	*ret_buf = uv_buf_init(ev_loop_scratch(c->loop), EV_SCRATCH_SIZE);
}

static void got_bytes(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct conn *c = stream->data;

	if (n == 0 || c->closing || c->user_closed)
		return;
	if (n == UV_EOF) {
		if (c->is_open)
			c->why = (struct err){ .msg = "peer closed" };
		else
			err_set(&c->why, ERR_UNAVAILABLE, "peer closed during the TLS handshake");
		conn_end(c);
	} else if (n < 0) {
		fail(c, (int)n, "read");
	} else if (!conn_tls_begin(c)) {
		return;
	} else if (c->ssl) {
		conn_tls_receive(c, buf->base, (size_t)n);
	} else {
		c->ops->on_data(c->arg, (const uint8_t *)buf->base, (size_t)n);
		explicit_bzero(buf->base, (size_t)n);
	}
}

static void name_peer(struct conn *c)
{
	struct sockaddr_storage sa = { 0 };
	int len = sizeof(sa);
	char host[INET6_ADDRSTRLEN] = "?";
	struct ucred cred = { 0 };
	socklen_t cred_len = sizeof(cred);
	uv_os_fd_t fd = -1;

	if (c->is_unix) {
		if (uv_fileno(&c->uv.handle, &fd) == 0 &&
		    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &cred_len) == 0)
			snprintf(c->peer, sizeof(c->peer), "unix pid %d uid %u", cred.pid,
				 cred.uid);
		return;
	}
	if (uv_tcp_getpeername(&c->uv.tcp, (struct sockaddr *)&sa, &len) < 0)
		return;
	uv_ip_name((struct sockaddr *)&sa, host, sizeof(host));
	/* The port sits at the same place in both families. */
	snprintf(c->peer, sizeof(c->peer), sa.ss_family == AF_INET6 ? "[%s]:%u" : "%s:%u", host,
		 ntohs(((struct sockaddr_in *)&sa)->sin_port));
}

/* A peer whose machine is gone says nothing; the kernel finds out, on both sides. Best effort. */
static void watch_peer(struct conn *c)
{
	static const struct {
		int level, name, value;
	} options[] = {
		{ SOL_SOCKET, SO_KEEPALIVE, 1 },          { IPPROTO_TCP, TCP_KEEPIDLE, 20 },
		{ IPPROTO_TCP, TCP_KEEPINTVL, 5 },        { IPPROTO_TCP, TCP_KEEPCNT, 3 },
		{ IPPROTO_TCP, TCP_USER_TIMEOUT, 35000 }, { IPPROTO_TCP, TCP_NODELAY, 1 },
	};
	uv_os_fd_t fd = -1;

	if (uv_fileno(&c->uv.handle, &fd) < 0)
		return;
	for (size_t i = 0; i < ARRAY_LEN(options); i++)
		(void)setsockopt(fd, options[i].level, options[i].name, &options[i].value,
				 sizeof(options[i].value));
}

/* The socket is connected: reads begin, TLS too. */
static void begin(struct conn *c)
{
	int r = 0;

	name_peer(c);
	if (!c->is_unix)
		watch_peer(c);
	r = uv_read_start(&c->uv.stream, give_buffer, got_bytes);
	if (r < 0) {
		fail(c, r, "read");
		return;
	}
	if (c->ssl)
		(void)conn_tls_handshake(c);
	else if (!c->tls)
		conn_opened(c);
}

static void try_address(struct conn *c);

static void handle_reopened(uv_handle_t *handle)
{
	struct conn *c = handle->data;

	c->reopening = false;
	if (c->closing) {
		handle_closed(handle);
		return;
	}
	uv_tcp_init(ev_loop_uv(c->loop), &c->uv.tcp);
	c->uv.handle.data = c;
	try_address(c);
}

/* A socket is good for one address: for the next it is closed and made anew. */
static void connect_failed(struct conn *c, int uv_error)
{
	if (!c->next_addr) {
		fail(c, uv_error, "connect");
		return;
	}
	c->reopening = true;
	uv_close(&c->uv.handle, handle_reopened);
}

static void connected(uv_connect_t *req, int status)
{
	struct conn *c = req->data;

	if (c->closing)
		return;
	if (status < 0)
		connect_failed(c, status);
	else
		begin(c);
}

static void try_address(struct conn *c)
{
	struct sockaddr_storage sa = { 0 };
	int r = 0;

	memcpy(&sa, c->next_addr->ai_addr, c->next_addr->ai_addrlen);
	/* The port sits at the same place in both families. */
	((struct sockaddr_in *)&sa)->sin_port = htons(c->port);
	c->next_addr = c->next_addr->ai_next;
	r = uv_tcp_connect(&c->connect_req, &c->uv.tcp, (struct sockaddr *)&sa, connected);
	if (r < 0)
		connect_failed(c, r);
}

static void time_out(void *arg)
{
	struct conn *c = arg;

	if (c->user_closed)
		conn_end(c);
	else
		fail(c, UV_ETIMEDOUT, c->tls ? "connect and TLS handshake" : "connect");
}

static void resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *info)
{
	struct conn *c = req->data;

	free(req);
	if (!c) {
		uv_freeaddrinfo(info);
		return;
	}
	c->resolve = NULL;
	if (status < 0) {
		fail(c, status, "resolve name");
		return;
	}
	c->addrs = c->next_addr = info;
	try_address(c);
}

static int start_tcp(struct conn *c, const struct net_addr *addr)
{
	/* All families: one that this machine lacks fails at once, and the next address is tried.
	 */
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
	union {
		struct sockaddr sa;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} to = { 0 };
	int r = 0;

	c->port = addr->port;
	if (uv_ip4_addr(addr->host, addr->port, &to.v4) == 0 ||
	    uv_ip6_addr(addr->host, addr->port, &to.v6) == 0)
		return uv_tcp_connect(&c->connect_req, &c->uv.tcp, &to.sa, connected);
	c->resolve = xcalloc(1, sizeof(*c->resolve));
	c->resolve->data = c;
	r = uv_getaddrinfo(ev_loop_uv(c->loop), c->resolve, resolved, addr->host, NULL, &hints);
	if (r < 0) {
		free(c->resolve);
		c->resolve = NULL;
	}
	return r;
}

static struct conn *new_conn(struct ev_loop *loop, bool is_unix, struct tls *tls,
			     const struct conn_ops *ops, void *arg)
{
	struct conn *c = xcalloc(1, sizeof(*c));

	c->loop = loop;
	c->is_unix = is_unix;
	c->tls = tls ? tls_ref(tls) : NULL;
	c->ops = ops;
	c->arg = arg;
	c->connect_req.data = c;
	if (is_unix)
		uv_pipe_init(ev_loop_uv(loop), &c->uv.pipe, 0);
	else
		uv_tcp_init(ev_loop_uv(loop), &c->uv.tcp);
	c->uv.handle.data = c;
	c->timer = ev_timer_new(loop, time_out, c);
	return c;
}

/* For failures before the user got the conn: no callback. */
static int discard(struct conn *c)
{
	c->user_closed = true;
	conn_end(c);
	return -1;
}

int conn_connect(struct ev_loop *loop, const struct net_addr *addr, struct tls *tls,
		 const char *server_name, int64_t timeout_ns, const struct conn_ops *ops, void *arg,
		 struct conn **ret_conn, struct err *err)
{
	struct conn *c = new_conn(loop, addr->kind == NET_ADDR_UNIX, tls, ops, arg);
	char text[NET_ADDR_TEXT_MAX] = "";
	int r = 0;

	if (tls && conn_tls_new(c, server_name, addr->host, err) < 0)
		return discard(c);
	if (addr->kind == NET_ADDR_UNIX)
		uv_pipe_connect(&c->connect_req, &c->uv.pipe, addr->path, connected);
	else
		r = start_tcp(c, addr);
	if (r < 0) {
		net_addr_format(addr, text);
		err_os(err, ERR_UNAVAILABLE, r, "connect to %s", text);
		return discard(c);
	}
	if (timeout_ns > 0)
		ev_timer_start(c->timer, timeout_ns, 0);
	*ret_conn = c;
	return 0;
}

#define HANDSHAKE_NS (10 * NS_PER_S)

int conn_accept(struct ev_loop *loop, uv_stream_t *server, bool is_unix, struct tls *tls,
		const struct conn_ops *ops, void *arg, struct conn **ret_conn, struct err *err)
{
	struct conn *c = new_conn(loop, is_unix, tls, ops, arg);
	int r = uv_accept(server, &c->uv.stream);

	if (r < 0) {
		err_os(err, ERR_UNAVAILABLE, r, "accept");
		return discard(c);
	}
	ev_timer_start(c->timer, HANDSHAKE_NS, 0);
	*ret_conn = c;
	begin(c);
	return 0;
}

void conn_set_ops(struct conn *c, const struct conn_ops *ops, void *arg)
{
	c->ops = ops;
	c->arg = arg;
}

size_t conn_write(struct conn *c, const void *bytes, size_t n)
{
	if (c->closing || c->user_closed || n == 0)
		return c->backlog;
	if (!c->ssl) {
		conn_send_raw(c, bytes, n);
		return c->backlog;
	}
	conn_tls_write(c, bytes, n);
	return c->backlog;
}

size_t conn_backlog(const struct conn *c)
{
	return c->backlog;
}

int64_t conn_stalled_ns(const struct conn *c)
{
	return c->backlog > 0 ? clock_now_ns() - c->moved_ns : 0;
}

void conn_close(struct conn *c)
{
	if (c->user_closed)
		return;
	if (c->ssl && c->is_open && !c->closing)
		conn_tls_shutdown(c);
	c->user_closed = true;
	if (c->closing)
		return;
	uv_read_stop(&c->uv.stream);
	if (c->backlog == 0 || !c->is_open)
		conn_end(c);
	else
		ev_timer_start(c->timer, LINGER_NS, 0);
}

void conn_abort(struct conn *c)
{
	c->user_closed = true;
	conn_end(c);
}

const char *conn_peer(const struct conn *c)
{
	return c->peer;
}
