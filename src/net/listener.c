/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sockets that are listened on. The delicate part is the file of a unix socket: bind(2) refuses an
 * existing path, and a process that was killed leaves its file behind. So the path is probed by
 * connecting: refused means that nobody listens and the file may go, success means that somebody
 * lives there, whom SO_PEERCRED names.
 *
 * The socket is bound under a temporary name, given its mode, and moved into place, so that it
 * never exists with a wider mode. Moving is where two processes that start at once would take each
 * other's place: an empty path is filled by RENAME_NOREPLACE, a stale file leaves by
 * RENAME_EXCHANGE, and what came out must be the very file that was probed, or it is put back.
 *
 * A process that was killed while it spawned a tool leaves its listening socket to the child for
 * as long as that has not come to its exec: whoever is named by SO_PEERCRED and is dead is looked
 * at again for a moment.
 */
#include "net/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <uv.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "event/loop.h"
#include "net/conn-internal.h"
#include "net/conn.h"
#include "net/tls.h"

#define BACKLOG 128
#define ORPHAN_TRIES 100
#define ORPHAN_WAIT_MS 10

struct pending {
	struct listener *listener; /* NULL once it closed */
	struct conn *conn;
	struct pending *next;
};

struct listener {
	union net_socket uv;
	struct ev_loop *loop;
	struct net_addr addr;
	struct tls *tls;
	listener_accept_fn fn;
	void *arg;
	dev_t dev;
	ino_t ino;
	struct pending *pending; /* TLS handshakes under way, the last to come first */
	unsigned n_pending;
};

static void unlink_pending(struct pending *p)
{
	struct pending **at = NULL;

	if (!p->listener)
		return;
	for (at = &p->listener->pending; *at != p; at = &(*at)->next)
		;
	*at = p->next;
	p->listener->n_pending--;
}

static void evict_oldest(struct listener *l)
{
	struct pending *p = l->pending;

	while (p->next)
		p = p->next;
	unlink_pending(p);
	conn_abort(p->conn);
	free(p);
}

static void pending_open(void *arg)
{
	struct pending *p = arg;
	struct listener *l = p->listener;
	struct conn *c = p->conn;

	unlink_pending(p);
	free(p);
	l->fn(l->arg, c);
}

static void pending_close(void *arg, const struct err *why)
{
	struct pending *p = arg;

	log_debug("connection failed before it was open", log_err(why));
	unlink_pending(p);
	free(p);
}

static const struct conn_ops pending_ops = {
	.on_open = pending_open,
	.on_close = pending_close,
};

static void connection_waits(uv_stream_t *server, int status)
{
	struct listener *l = server->data;
	struct pending *p = NULL;
	struct err err = { 0 };

	if (status < 0)
		return;
	if (l->n_pending >= LISTENER_HANDSHAKES_MAX)
		evict_oldest(l);
	p = xcalloc(1, sizeof(*p));
	*p = (struct pending){ .listener = l, .next = l->pending };
	l->pending = p;
	l->n_pending++;
	/* Without TLS on_open runs inside: p is then gone when this returns. */
	if (conn_accept(l->loop, server, l->addr.kind == NET_ADDR_UNIX, l->tls, &pending_ops, p,
			&p->conn, &err) < 0) {
		log_warn("connection not accepted", log_err(&err));
		unlink_pending(p);
		free(p);
	}
}

/* Who listens; 0 if that cannot be told (a process of another container). */
static pid_t peer_of(int fd)
{
	struct ucred cred = { 0 };
	socklen_t len = sizeof(cred);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 ? cred.pid : 0;
}

static int refuse_living(pid_t pid, const char *path, struct err *err)
{
	if (pid > 0)
		return err_set(err, ERR_FAILED_PRECONDITION, "socket '%s' is in use by process %d",
			       path, pid);
	return err_set(err, ERR_FAILED_PRECONDITION, "socket '%s' is in use by another process",
		       path);
}

/* 0: nothing is there; 1: a socket that nobody listens on; 2: one whose owner is dead and which
 * somebody still has; -1: hands off. */
static int probe_once(const char *path, struct stat *ret_stale, struct err *err)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	autofd int fd = -1;

	if (lstat(path, ret_stale) < 0)
		return errno == ENOENT
			       ? 0
			       : err_os(err, ERR_FAILED_PRECONDITION, errno, "socket '%s'", path);
	if (!S_ISSOCK(ret_stale->st_mode))
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "'%s' exists and is no socket: it is left alone; remove it or "
			       "choose another path",
			       path);
	memcpy(sa.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_os(err, ERR_INTERNAL, errno, "probe socket '%s'", path);
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0 || errno != ECONNREFUSED) {
		pid_t pid = peer_of(fd);

		(void)refuse_living(pid, path, err);
		return pid > 0 && kill(pid, 0) < 0 && errno == ESRCH ? 2 : -1;
	}
	return 1;
}

/* As probe_once; 2 has become one of the others, or -1. */
static int probe_existing(const char *path, struct stat *ret_stale, struct err *err)
{
	int r = probe_once(path, ret_stale, err);

	for (int i = 0; r == 2 && i < ORPHAN_TRIES; i++) {
		(void)poll(NULL, 0, ORPHAN_WAIT_MS); /* nothing tells when the child execs */
		r = probe_once(path, ret_stale, err);
	}
	return r == 2 ? -1 : r;
}

/* 0, or -EAGAIN: somebody else was quicker, look again. */
static int replace_stale(const char *temp, const char *path, const struct stat *stale)
{
	struct stat out = { 0 };

	if (renameat2(AT_FDCWD, temp, AT_FDCWD, path, RENAME_EXCHANGE) < 0)
		return errno == ENOENT ? -EAGAIN : -errno;
	if (lstat(temp, &out) == 0 && out.st_dev == stale->st_dev && out.st_ino == stale->st_ino)
		return unlink(temp) < 0 ? -errno : 0;
	return renameat2(AT_FDCWD, temp, AT_FDCWD, path, RENAME_EXCHANGE) < 0 ? -errno : -EAGAIN;
}

/* Moves the socket at temp to path, unless somebody lives there. */
static int move_into_place(const char *temp, const char *path, struct err *err)
{
	for (int tries = 0; tries < 10; tries++) {
		struct stat stale = { 0 };
		int r = probe_existing(path, &stale, err);

		if (r < 0)
			return -1;
		if (r > 0)
			r = replace_stale(temp, path, &stale);
		else if (renameat2(AT_FDCWD, temp, AT_FDCWD, path, RENAME_NOREPLACE) < 0)
			r = errno == EEXIST ? -EAGAIN : -errno;
		if (r == -EINVAL) /* a filesystem without these flags */
			r = rename(temp, path) < 0 ? -errno : 0;
		if (r == 0)
			return 0;
		if (r != -EAGAIN)
			return err_os(err, ERR_INTERNAL, -r, "socket '%s'", path);
	}
	return err_set(err, ERR_FAILED_PRECONDITION,
		       "socket '%s' is replaced by others all the time", path);
}

/* The temporary name begins with a dot, which kubelet's plugin watcher ignores, and is not made of
 * the pid, which containers that share the directory may have in common. */
static int name_temp(const char *path, struct sockaddr_un *ret_sa, struct err *err)
{
	int dir_len = (int)(strrchr(path, '/') + 1 - path);
	int n = snprintf(ret_sa->sun_path, sizeof(ret_sa->sun_path), "%.*s.%08x", dir_len, path,
			 (unsigned)random_below(UINT64_C(1) << 32));

	if (n < 0 || (size_t)n >= sizeof(ret_sa->sun_path))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "socket path '%s' is too long: its directory must leave 9 of 107 "
			       "bytes for a temporary name",
			       path);
	return 0;
}

static int bind_unix(struct listener *l, mode_t mode, struct err *err)
{
	const char *path = l->addr.path;
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	struct stat st = { 0 };
	autofd int fd = -1;
	int r = 0;

	if (name_temp(path, &sa, err) < 0)
		return -1;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_os(err, ERR_INTERNAL, errno, "socket '%s'", path);
	if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return err_os(err, ERR_FAILED_PRECONDITION, errno,
			      "socket '%s' cannot be made (does its directory exist?)", path);
	if (chmod(sa.sun_path, mode) < 0 || lstat(sa.sun_path, &st) < 0 || listen(fd, BACKLOG) < 0)
		r = err_os(err, ERR_INTERNAL, errno, "socket '%s'", path);
	else
		r = move_into_place(sa.sun_path, path, err);
	if (r < 0) {
		(void)unlink(sa.sun_path); /* there is another error to tell */
		return -1;
	}
	l->dev = st.st_dev;
	l->ino = st.st_ino;
	r = uv_pipe_open(&l->uv.pipe, fd);
	if (r < 0)
		return err_os(err, ERR_INTERNAL, r, "socket '%s'", path);
	(void)TAKE_FD(fd);
	return 0;
}

static int bind_tcp(struct listener *l, struct err *err)
{
	const struct net_addr *a = &l->addr;
	union {
		struct sockaddr sa;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} at = { 0 };
	char text[NET_ADDR_TEXT_MAX] = "";
	const char *host = strcmp(a->host, "localhost") == 0 ? "127.0.0.1" : a->host;
	int r = 0;

	net_addr_format(a, text);
	if (host[0] == '\0')
		host = access("/proc/net/if_inet6", F_OK) == 0 ? "::" : "0.0.0.0";
	if (uv_ip4_addr(host, a->port, &at.v4) < 0 && uv_ip6_addr(host, a->port, &at.v6) < 0)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "%s: listen on a numeric address, not on a name", text);
	r = uv_tcp_bind(&l->uv.tcp, &at.sa, 0);
	return r < 0 ? err_os(err, ERR_FAILED_PRECONDITION, r, "listen on %s", text) : 0;
}

static void handle_closed(uv_handle_t *handle)
{
	struct listener *l = handle->data;

	tls_unref(l->tls);
	free(l);
}

int listener_open(struct ev_loop *loop, const struct net_addr *addr, mode_t mode, struct tls *tls,
		  listener_accept_fn fn, void *arg, struct listener **ret_listener, struct err *err)
{
	struct listener *l = xcalloc(1, sizeof(*l));
	bool is_unix = addr->kind == NET_ADDR_UNIX;
	char text[NET_ADDR_TEXT_MAX] = "";
	int r = 0;

	*l = (struct listener){
		.loop = loop, .addr = *addr, .tls = tls ? tls_ref(tls) : NULL, .fn = fn, .arg = arg
	};
	if (is_unix)
		uv_pipe_init(ev_loop_uv(loop), &l->uv.pipe, 0);
	else
		uv_tcp_init(ev_loop_uv(loop), &l->uv.tcp);
	l->uv.handle.data = l;
	r = is_unix ? bind_unix(l, mode, err) : bind_tcp(l, err);
	if (r == 0) {
		r = uv_listen(&l->uv.stream, BACKLOG, connection_waits);
		net_addr_format(addr, text);
		if (r < 0)
			err_os(err, ERR_FAILED_PRECONDITION, r, "listen on %s", text);
	}
	if (r < 0) {
		listener_close(l);
		return -1;
	}
	*ret_listener = l;
	return 0;
}

uint16_t listener_port(const struct listener *l)
{
	struct sockaddr_storage sa = { 0 };
	int len = sizeof(sa);

	if (l->addr.kind == NET_ADDR_UNIX ||
	    uv_tcp_getsockname(&l->uv.tcp, (struct sockaddr *)&sa, &len) < 0)
		return 0;
	return ntohs(((struct sockaddr_in *)&sa)->sin_port);
}

int listener_is_bound(const struct listener *l)
{
	struct stat st = { 0 };

	if (l->addr.kind != NET_ADDR_UNIX)
		return 1;
	return l->ino != 0 && lstat(l->addr.path, &st) == 0 && st.st_dev == l->dev &&
	       st.st_ino == l->ino;
}

void listener_close(struct listener *l)
{
	struct pending *p = NULL;

	if (!l)
		return;
	if (l->addr.kind == NET_ADDR_UNIX && listener_is_bound(l))
		(void)unlink(l->addr.path);
	while ((p = l->pending) != NULL) {
		l->pending = p->next;
		conn_abort(p->conn);
		free(p);
	}
	uv_close(&l->uv.handle, handle_closed);
}
