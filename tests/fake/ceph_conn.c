/* SPDX-License-Identifier: Apache-2.0 */
/* Connections and pools: what a login is worth is told at connect, as by the library. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/base64.h"
#include "base/mem.h"
#include "base/str.h"
#include "fake/ceph-internal.h"

static struct {
	VEC(struct fake_pair) options; /* of the last connect */
	unsigned n_connections, n_connects;
	char host[64]; /* where connections come from */
} conns;               /* under the lock of ceph.c */

static struct fake_pool *find_pool(struct fake_cluster *cluster, const char *name)
{
	for (size_t i = 0; i < cluster->pools.n; i++)
		if (str_is_equal(cluster->pools.v[i]->name, name))
			return cluster->pools.v[i];
	return NULL;
}

static void free_options(void)
{
	for (size_t i = 0; i < conns.options.n; i++) {
		free(conns.options.v[i].key);
		free(conns.options.v[i].value);
	}
	vec_done(&conns.options);
}

void fake_conn_reset(void)
{
	free_options();
	conns.n_connects = 0;
	(void)snprintf(conns.host, sizeof(conns.host), FAKE_CEPH_HOST);
}

void fake_ceph_set_host(const char *ip)
{
	fake_ceph_lock();
	(void)snprintf(conns.host, sizeof(conns.host), "%s", ip);
	fake_ceph_unlock();
}

unsigned fake_conn_count(void)
{
	return conns.n_connections;
}

unsigned fake_ceph_n_connections(void)
{
	unsigned n;

	fake_ceph_lock();
	n = conns.n_connections;
	fake_ceph_unlock();
	return n;
}

unsigned fake_ceph_n_connects(void)
{
	unsigned n;

	fake_ceph_lock();
	n = conns.n_connects;
	fake_ceph_unlock();
	return n;
}

static const char *find_option(const struct fake_pair *options, size_t n, const char *name)
{
	for (size_t i = n; i > 0; i--)
		if (str_is_equal(options[i - 1].key, name))
			return options[i - 1].value;
	return NULL;
}

const char *fake_ceph_option(const char *name)
{
	return find_option(conns.options.v, conns.options.n, name);
}

static int create2(rados_t *ret, const char *cluster, const char *name, uint64_t flags)
{
	struct fake_conn *conn;

	if (!str_has_prefix(name, "client."))
		return -EINVAL;
	conn = xcalloc(1, sizeof(*conn));
	conn->user = xstrdup(name + strlen("client."));
	fake_ceph_lock();
	conn->process = fake_ceph_process();
	conns.n_connections++;
	fake_ceph_unlock();
	*ret = conn;
	return 0;
}

/* Those that 16.2.15 has, as far as somebody may want them: it refuses others so. */
static const char *const option_names[] = {
	"mon_host",
	"key",
	"keyring",
	"client_mount_timeout",
	"rados_osd_op_timeout",
	"rados_mon_op_timeout",
	"log_file",
	"log_to_stderr",
	"err_to_stderr",
	"log_to_syslog",
	"ms_async_op_threads",
	"librados_thread_count",
	"rbd_op_threads",
	"rbd_op_thread_timeout",
	"admin_socket",
	"rbd_cache",
	"rbd_cache_size",
	"objecter_inflight_ops",
	"log_max_recent",
};

static int conf_set(rados_t handle, const char *option, const char *value)
{
	struct fake_conn *conn = handle;

	for (size_t i = 0; i < ARRAY_LEN(option_names); i++)
		if (str_is_equal(option_names[i], option)) {
			vec_push(&conn->options,
				 ((struct fake_pair){ xstrdup(option), xstrdup(value),
						      strlen(value) }));
			return 0;
		}
	return -ENOENT;
}

static int conf_get(rados_t handle, const char *option, char *buf, size_t n)
{
	const struct fake_conn *conn = handle;
	const char *value = find_option(conn->options.v, conn->options.n, option);

	if (!value)
		return -ENOENT;
	if (strlen(value) >= n)
		return -ENAMETOOLONG;
	memcpy(buf, value, strlen(value) + 1);
	return 0;
}

const char *fake_conn_option(const struct fake_conn *conn, const char *name)
{
	return str_or(find_option(conn->options.v, conn->options.n, name), "");
}

/* The key as the library decodes it: type, time, length, and as many bytes. */
static bool is_key(const char *text)
{
	size_t n = 0;
	autofree char *bytes = base64_decode(text, &n);

	return bytes && n > 12;
}

static int log_in(struct fake_conn *conn, struct fake_cluster *cluster)
{
	for (size_t i = 0; i < cluster->users.n; i++)
		if (str_is_equal(cluster->users.v[i].name, conn->user))
			return str_is_equal(cluster->users.v[i].key, fake_conn_option(conn, "key"))
				       ? 0
				       : -EACCES;
	return -EACCES;
}

static void keep_options(const struct fake_conn *conn)
{
	free_options();
	for (size_t i = 0; i < conn->options.n; i++) {
		const struct fake_pair *o = &conn->options.v[i];

		if (!str_is_equal(o->key, "key"))
			vec_push(&conns.options,
				 ((struct fake_pair){ xstrdup(o->key), xstrdup(o->value), o->n }));
	}
}

static int connect_locked(struct fake_conn *conn)
{
	const char *monitors = fake_conn_option(conn, "mon_host");
	struct fake_cluster *cluster = fake_ceph_cluster(monitors);
	int rc;

	if (!is_key(fake_conn_option(conn, "key")) || !*monitors || strchr(monitors, ' '))
		return -EINVAL;
	rc = cluster ? fake_ceph_enter_cluster(cluster, FAKE_READ) : fake_ceph_suffer();
	if (rc == 0)
		rc = cluster ? log_in(conn, cluster) : -ETIMEDOUT;
	if (rc < 0)
		return rc;
	conn->cluster = cluster;
	conn->fence = cluster->fence;
	conn->client = fake_ceph_id(cluster);
	conn->address = xasprintf("%s:0/%llu", conns.host, (unsigned long long)conn->client);
	conns.n_connects++;
	keep_options(conn);
	return 0;
}

static int fake_connect(rados_t handle)
{
	fake_ceph_lock();
	return fake_ceph_leave(connect_locked(handle));
}

static void fake_shutdown(rados_t handle)
{
	struct fake_conn *conn = handle;

	fake_ceph_lock();
	conns.n_connections--;
	fake_ceph_unlock();
	for (size_t i = 0; i < conn->options.n; i++) {
		explicit_bzero(conn->options.v[i].value, conn->options.v[i].n);
		free(conn->options.v[i].key);
		free(conn->options.v[i].value);
	}
	vec_done(&conn->options);
	free(conn->user);
	free(conn->address);
	free(conn);
}

static int cluster_fsid(rados_t handle, char *buf, size_t n)
{
	static const char fsid[] = "6f1b6f44-0000-4000-8000-00000000c1c1";
	int rc = fake_ceph_enter(handle, FAKE_READ);

	if (rc == 0 && n < sizeof(fsid))
		rc = -ERANGE;
	if (rc == 0) {
		memcpy(buf, fsid, sizeof(fsid));
		rc = sizeof(fsid) - 1;
	}
	return fake_ceph_leave(rc);
}

static int getaddrs(rados_t handle, char **ret)
{
	struct fake_conn *conn = handle;

	*ret = xstrdup(conn->address);
	return 0;
}

/* Each with its NUL, and one more; or how much room that takes. */
static int list_pools(const struct fake_cluster *cluster, char *buf, size_t n)
{
	size_t at = 0;

	for (size_t i = 0; i < cluster->pools.n; i++)
		at += strlen(cluster->pools.v[i]->name) + 1;
	if (at + 1 > n)
		return (int)at + 1;
	at = 0;
	for (size_t i = 0; i < cluster->pools.n; i++) {
		size_t len = strlen(cluster->pools.v[i]->name) + 1;

		memcpy(buf + at, cluster->pools.v[i]->name, len);
		at += len;
	}
	buf[at] = '\0';
	return (int)at + 1;
}

static int pool_list(rados_t handle, char *buf, size_t n)
{
	struct fake_conn *conn = handle;
	int rc = fake_ceph_enter(conn, FAKE_READ);
	int len = rc < 0 ? 0 : list_pools(conn->cluster, buf, n);

	rc = fake_ceph_leave(rc);
	return rc < 0 ? rc : len;
}

static int64_t pool_lookup(rados_t handle, const char *name)
{
	struct fake_conn *conn = handle;
	int rc = fake_ceph_enter(conn, FAKE_READ);
	struct fake_pool *pool = rc < 0 ? NULL : find_pool(conn->cluster, name);
	int64_t id = pool ? pool->id : -ENOENT;

	rc = fake_ceph_leave(rc);
	return rc < 0 ? rc : id;
}

static int tell_name(const struct fake_pool *pool, char *buf, size_t n)
{
	size_t len = strlen(pool->name);

	if (len >= n)
		return -ERANGE;
	memcpy(buf, pool->name, len + 1);
	return (int)len;
}

static int pool_reverse_lookup(rados_t handle, int64_t id, char *buf, size_t n)
{
	struct fake_conn *conn = handle;
	int rc = fake_ceph_enter(conn, FAKE_READ);

	if (rc == 0) {
		struct fake_pool *pool = fake_ceph_pool(conn->cluster, id);

		rc = pool ? tell_name(pool, buf, n) : -ENOENT;
	}
	return fake_ceph_leave(rc);
}

static void open_io(struct fake_conn *conn, struct fake_pool *pool, rados_ioctx_t *ret)
{
	struct fake_io *io = xcalloc(1, sizeof(*io));

	io->conn = conn;
	io->pool = pool;
	io->ns = xstrdup("");
	fake_ceph_opened(1);
	*ret = io;
}

static int ioctx_create(rados_t handle, const char *name, rados_ioctx_t *ret)
{
	struct fake_conn *conn = handle;
	int rc = fake_ceph_enter(conn, FAKE_READ);
	struct fake_pool *pool = rc < 0 ? NULL : find_pool(conn->cluster, name);

	if (rc == 0 && !pool)
		rc = -ENOENT;
	rc = fake_ceph_leave(rc);
	if (rc == 0)
		open_io(conn, pool, ret);
	return rc;
}

static int ioctx_create2(rados_t handle, int64_t id, rados_ioctx_t *ret)
{
	struct fake_conn *conn = handle;
	int rc = fake_ceph_enter(conn, FAKE_READ);
	struct fake_pool *pool = rc < 0 ? NULL : fake_ceph_pool(conn->cluster, id);

	if (rc == 0 && !pool)
		rc = -ENOENT;
	rc = fake_ceph_leave(rc);
	if (rc == 0)
		open_io(conn, pool, ret);
	return rc;
}

static void ioctx_destroy(rados_ioctx_t handle)
{
	struct fake_io *io = handle;

	fake_ceph_opened(-1);
	free(io->ns);
	free(io);
}

static void set_pool_full_try(rados_ioctx_t handle)
{
	((struct fake_io *)handle)->conn->tries_full = true;
}

static void ioctx_set_namespace(rados_ioctx_t handle, const char *ns)
{
	struct fake_io *io = handle;

	free(io->ns);
	io->ns = xstrdup(str_or(ns, ""));
}

static int ioctx_get_namespace(rados_ioctx_t handle, char *buf, unsigned n)
{
	const char *ns = ((struct fake_io *)handle)->ns;
	size_t len = strlen(ns);

	if (len >= n)
		return -ERANGE;
	memcpy(buf, ns, len + 1);
	return (int)len;
}

static int64_t ioctx_get_id(rados_ioctx_t handle)
{
	return ((struct fake_io *)handle)->pool->id;
}

static int ioctx_get_pool_name(rados_ioctx_t handle, char *buf, unsigned n)
{
	return tell_name(((struct fake_io *)handle)->pool, buf, n);
}

static void buffer_free(char *buf)
{
	free(buf);
}

void fake_ceph_fill_conn(struct ceph_lib *lib)
{
	lib->rados_create2 = create2;
	lib->rados_conf_set = conf_set;
	lib->rados_conf_get = conf_get;
	lib->rados_connect = fake_connect;
	lib->rados_shutdown = fake_shutdown;
	lib->rados_cluster_fsid = cluster_fsid;
	lib->rados_getaddrs = getaddrs;
	lib->rados_pool_list = pool_list;
	lib->rados_pool_lookup = pool_lookup;
	lib->rados_pool_reverse_lookup = pool_reverse_lookup;
	lib->rados_ioctx_create = ioctx_create;
	lib->rados_ioctx_create2 = ioctx_create2;
	lib->rados_ioctx_destroy = ioctx_destroy;
	lib->rados_set_pool_full_try = set_pool_full_try;
	lib->rados_ioctx_set_namespace = ioctx_set_namespace;
	lib->rados_ioctx_get_namespace = ioctx_get_namespace;
	lib->rados_ioctx_get_id = ioctx_get_id;
	lib->rados_ioctx_get_pool_name = ioctx_get_pool_name;
	lib->rados_buffer_free = buffer_free;
}
