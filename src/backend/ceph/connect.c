/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Logging in, and what the library's answers mean.
 *
 * Options given by conf_set outweigh the environment (CEPH_ARGS, CEPH_KEYRING), which the library
 * reads as well. A malformed key never reaches it: it would log the key.
 */
#include <errno.h>
#include <string.h>

#include "backend/ceph/conn-internal.h"
#include "base/base64.h"
#include "base/mem.h"
#include "base/str.h"

/* Of a key: type, time and length, before its bytes. */
#define KEY_HEAD_BYTES 12

int ceph_login_read(const struct secrets *secrets, enum ceph_login_as as, struct ceph_login *login,
		    struct err *err)
{
	static const char *const names[][2] = { { "userID", "userKey" },
						{ "adminID", "adminKey" } };

	for (size_t i = 0; secrets && i < ARRAY_LEN(names); i++) {
		const char *const *pair = names[i ^ (as == CEPH_LOGIN_ADMIN)];
		const char *user = secrets_find(secrets, pair[0]);
		const char *key = secrets_find(secrets, pair[1]);

		if (str_is_empty(user) && str_is_empty(key))
			continue;
		if (str_is_empty(user) || str_is_empty(key))
			return err_set(err, ERR_INVALID_ARGUMENT,
				       "the secret has %s and no %s; both are needed",
				       pair[str_is_empty(user)], pair[!str_is_empty(user)]);
		login->user = user;
		login->key = key;
		return 0;
	}
	return err_set(err, ERR_INVALID_ARGUMENT,
		       "there is no secret with userID and userKey: the class has to name one "
		       "(csi.storage.k8s.io/provisioner-secret-name and the like)");
}

static bool is_key(const char *text)
{
	size_t n = 0;
	char *bytes = base64_decode(text, &n);
	const uint8_t *b = (const uint8_t *)bytes;
	bool is = bytes && n > KEY_HEAD_BYTES &&
		  n - KEY_HEAD_BYTES ==
			  (size_t)b[KEY_HEAD_BYTES - 2] + ((size_t)b[KEY_HEAD_BYTES - 1] << 8);

	if (bytes)
		explicit_bzero(bytes, n);
	free(bytes);
	return is;
}

int conn_check_login(const struct ceph_login *login, struct err *err)
{
	if (str_is_empty(login->monitors))
		return err_set(err, ERR_INVALID_ARGUMENT, "cluster '%s' has no monitors",
			       login->cluster);
	if (str_has_prefix(login->user, "client."))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "userID '%.80s' of cluster '%s': without 'client.' before it",
			       login->user, login->cluster);
	if (!is_key(login->key))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "the key of user '%.80s' of cluster '%s' is none: it is what 'ceph "
			       "auth get-key client.%.80s' prints",
			       login->user, login->cluster, login->user);
	return 0;
}

static int set_options(const struct ceph_conns *c, const struct ceph_login *login, bool is_bounded,
		       rados_t rados)
{
	char timeout[16];
	const char *const options[][2] = {
		{ "mon_host", login->monitors },
		{ "key", login->key },
		{ "keyring", "" },
		{ "client_mount_timeout", timeout },
		{ "rados_mon_op_timeout", is_bounded ? timeout : "0" }, /* errand.c */
		{ "rados_osd_op_timeout", timeout },
		{ "log_file", "" },
		{ "log_to_stderr", "false" },
		{ "err_to_stderr", "false" },
		{ "log_to_syslog", "false" },
		{ "admin_socket", "" },
		{ "ms_async_op_threads", "1" },
		{ "librados_thread_count", "1" },
		{ "rbd_op_threads", "1" },
	};

	(void)snprintf(timeout, sizeof(timeout), "%u", c->op_timeout_s);
	for (size_t i = 0; i < ARRAY_LEN(options); i++) {
		int rc = c->lib->rados_conf_set(rados, options[i][0], options[i][1]);

		if (rc < 0)
			return rc;
	}
	return 0;
}

static int connect_failed(const struct ceph_conn *conn, const struct ceph_login *login, int rc,
			  struct err *err)
{
	switch (-rc) {
	case EACCES:
	case EPERM:
		return err_set(err, ERR_UNAUTHENTICATED,
			       "cluster '%s' does not let user '%.80s' in: it is unknown there, or "
			       "the secret has another key than the cluster",
			       login->cluster, login->user);
	case ETIMEDOUT:
		return err_set(err, ERR_UNAVAILABLE,
			       "no monitor of cluster '%s' answered user '%.80s' within %u s: "
			       "%.200s",
			       login->cluster, login->user, conn->conns->op_timeout_s,
			       login->monitors);
	case EINVAL:
	case ENOENT:
		return err_os(err, ERR_INVALID_ARGUMENT, rc,
			      "cluster '%s', user '%.80s': monitors '%.200s' cannot be read, or "
			      "their names not be found",
			      login->cluster, login->user, login->monitors);
	default:
		return err_os(err, ERR_UNAVAILABLE, rc, "connect to cluster '%s' as '%.80s'",
			      login->cluster, login->user);
	}
}

int ceph_conn_connect(struct ceph_conn *conn, const struct ceph_login *login, rados_t *ret_rados,
		      struct err *err)
{
	const struct ceph_lib *lib = conn->lib;
	autofree char *name = xasprintf("client.%s", login->user);
	rados_t rados;
	int rc = lib->rados_create2(&rados, "ceph", name, 0);

	if (rc < 0)
		return err_os(err, ERR_INVALID_ARGUMENT, rc, "cluster '%s': user '%.80s'",
			      login->cluster, login->user);
	rc = set_options(conn->conns, login, conn->conns->has_librbd, rados);
	if (rc < 0) {
		lib->rados_shutdown(rados);
		return err_os(err, ERR_INTERNAL, rc, "options of Ceph's library");
	}
	rc = lib->rados_connect(rados);
	if (rc < 0) {
		lib->rados_shutdown(rados);
		conn->timed_out = rc == -ETIMEDOUT;
		return connect_failed(conn, login, rc, err);
	}
	*ret_rados = rados;
	return 0;
}

#define KEY_TEXT_MAX 512

int conn_connect_again(const struct ceph_conns *c, const struct account *a, rados_t like,
		       rados_t *ret_rados)
{
	autofree char *name = xasprintf("client.%s", a->user);
	char key[KEY_TEXT_MAX];
	const struct ceph_login login = { .monitors = a->monitors, .user = a->user, .key = key };
	rados_t rados;
	int rc = c->lib->rados_conf_get(like, "key", key, sizeof(key));

	if (rc < 0 || (rc = c->lib->rados_create2(&rados, "ceph", name, 0)) < 0)
		return rc;
	rc = set_options(c, &login, false, rados);
	explicit_bzero(key, sizeof(key));
	if (rc == 0)
		rc = c->lib->rados_connect(rados);
	if (rc < 0)
		c->lib->rados_shutdown(rados);
	else
		*ret_rados = rados;
	return rc < 0 ? rc : 0;
}

struct meaning {
	int errnum;
	enum err_code code;
	const char *hint; /* NULL: what the error is called */
};

static const struct meaning meanings[] = {
	{ EACCES, ERR_PERMISSION_DENIED,
	  "may not: its caps need mon 'profile rbd', osd and mgr "
	  "'profile rbd pool=…' with this pool" },
	{ EPERM, ERR_PERMISSION_DENIED,
	  "may not: its caps need mon 'profile rbd', osd and mgr "
	  "'profile rbd pool=…' with this pool" },
	{ ENOENT, ERR_NOT_FOUND, NULL },
	{ EEXIST, ERR_ALREADY_EXISTS, NULL },
	{ ETIMEDOUT, ERR_UNAVAILABLE, "got no answer in time" },
	{ ENOTCONN, ERR_UNAVAILABLE, "is not connected any more; the next call connects anew" },
	{ ESHUTDOWN, ERR_UNAVAILABLE,
	  "is blocklisted there from this address (a lost node is fenced until a volume is "
	  "attached to it once it is back); the next call connects anew" },
	{ ENOSPC, ERR_RESOURCE_EXHAUSTED, "finds the pool or the cluster full" },
	{ EDQUOT, ERR_RESOURCE_EXHAUSTED, "finds the pool's quota used up" },
	{ EBUSY, ERR_FAILED_PRECONDITION, NULL },
	{ EROFS, ERR_UNAVAILABLE, "may only read now" },
	{ EINVAL, ERR_INVALID_ARGUMENT, NULL },
};

int ceph_conn_failed(struct ceph_conn *conn, int rc, struct err *err, const char *fmt, ...)
{
	struct meaning m = { -rc, ERR_INTERNAL, NULL };
	char what[256];
	va_list ap;

	for (size_t i = 0; i < ARRAY_LEN(meanings); i++)
		if (meanings[i].errnum == -rc)
			m = meanings[i];
	conn_note_failure(conn, rc);
	va_start(ap, fmt);
	(void)vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	if (!m.hint)
		return err_os(err, m.code, rc, "cluster '%s': %s", conn->cluster, what);
	(void)err_set(err, m.code, "cluster '%s': %s: user '%.80s' %s", conn->cluster, what,
		      conn->account->user, m.hint);
	err->os = -rc;
	return -1;
}

static int open_failed(struct ceph_conn *conn, int rc, const char *pool, struct err *err)
{
	if (rc == -ENOENT)
		return err_set(err, ERR_NOT_FOUND, "cluster '%s' has no pool %s", conn->cluster,
			       pool);
	return ceph_conn_failed(conn, rc, err, "open pool %s", pool);
}

/*
 * In a pool that is full or at its quota the library would hold back whatever writes, until its
 * time-out, and that is nearly everything: opening an image writes a watch, deleting one frees
 * room. Told to try, it is answered: what takes no room is done, what does is refused with ENOSPC
 * or EDQUOT.
 */
static rados_ioctx_t use_pool(const struct ceph_conn *conn, rados_ioctx_t io, const char *ns)
{
	conn->lib->rados_set_pool_full_try(io);
	conn->lib->rados_ioctx_set_namespace(io, ns);
	return io;
}

/* Opening one waits for the monitors' map, and for the newest before it is said not to be there. */
struct opening {
	struct ceph_errand errand;
	char *name; /* NULL: by its number */
	int64_t id;
	rados_ioctx_t io;
};

static int open_now(struct ceph_errand *e, const struct ceph_lib *lib, rados_t rados)
{
	struct opening *o = (struct opening *)e;

	return o->name ? lib->rados_ioctx_create(rados, o->name, &o->io)
		       : lib->rados_ioctx_create2(rados, o->id, &o->io);
}

static void free_opening(struct ceph_errand *e, const struct ceph_lib *lib)
{
	struct opening *o = (struct opening *)e;

	if (o->io)
		lib->rados_ioctx_destroy(o->io);
	free(o->name);
	free(o);
}

/* The library's answer, and -ETIMEDOUT also for a wait of its that is given up here. */
static int run_opening(struct ceph_conn *conn, struct opening *o, struct err *err)
{
	struct ctx ctx; /* the connection's time limit is short enough */
	int rc = 0;
	int ended;

	if (conn->conns->has_librbd)
		return open_now(&o->errand, conn->lib, conn->rados);
	ctx_init(&ctx, 0);
	ended = ceph_errand_run(conn, &ctx, &o->errand, &rc, err);
	ctx_done(&ctx);
	return ended > 0 ? rc : ended == 0 ? -ETIMEDOUT : -ECANCELED;
}

static void end_opening(const struct ceph_conn *conn, struct opening *o)
{
	if (conn->conns->has_librbd)
		free_opening(&o->errand, conn->lib);
	else
		ceph_errand_put(&o->errand);
}

static int open_pool(struct ceph_conn *conn, const char *pool, int64_t pool_id, const char *ns,
		     rados_ioctx_t *ret_io, struct err *err)
{
	struct opening *o = xcalloc(1, sizeof(*o));
	char words[128];
	int rc;

	o->errand = (struct ceph_errand){ "open a pool", open_now, free_opening };
	o->name = pool ? xstrdup(pool) : NULL;
	o->id = pool_id;
	if (pool)
		(void)snprintf(words, sizeof(words), "'%.100s'", pool);
	else
		(void)snprintf(words, sizeof(words), "number %lld", (long long)pool_id);
	rc = run_opening(conn, o, err);
	if (rc >= 0)
		*ret_io = use_pool(conn, TAKE_PTR(o->io), ns);
	end_opening(conn, o);
	return rc == -ECANCELED ? -1 : rc < 0 ? open_failed(conn, rc, words, err) : 0;
}

int ceph_conn_open_pool(struct ceph_conn *conn, const char *pool, const char *ns,
			rados_ioctx_t *ret_io, struct err *err)
{
	return open_pool(conn, pool, 0, ns, ret_io, err);
}

int ceph_conn_open_pool_id(struct ceph_conn *conn, int64_t pool_id, const char *ns,
			   rados_ioctx_t *ret_io, struct err *err)
{
	return open_pool(conn, NULL, pool_id, ns, ret_io, err);
}
