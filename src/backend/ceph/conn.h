/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_CEPH_CONN_H
#define BACKEND_CEPH_CONN_H

#include "backend/ceph/lib.h"
#include "base/ctx.h"
#include "base/secret.h"

/*
 * Connections to clusters: one for each (monitors, user, key), shared by all calls, made at the
 * first, dropped when nobody has used it for some minutes (ceph_conns_sweep). The key is in memory
 * alone, never in a file, an argument or a log.
 *
 * No call hangs: each connection has client_mount_timeout and rados_osd_op_timeout, so whatever the
 * library asks OSDs ends with ETIMEDOUT; what it asks monitors or the manager runs as an errand
 * (errand.h), which its caller may leave. librbd asks monitors by itself, so where it is used the
 * connection has rados_mon_op_timeout as well, and commands to the manager, which must not have it,
 * go over a connection of their own, made by the first and closed soon after the last. A call that
 * timed out is silent until a call succeeds: meanwhile one call at a time asks the cluster, and
 * others are refused at once (UNAVAILABLE, with who is asking and for how long), so that a dead
 * cluster takes one worker and not those of the others.
 */
struct ceph_conns;
struct ceph_conn;

struct ceph_conns_options {
	const struct ceph_lib *lib; /* NULL: ceph_lib_load() at the first use */
	unsigned op_timeout_s;      /* 0: 10 */
	int64_t idle_ns;            /* 0: 5 min */
	bool has_librbd;            /* it is used on these connections */
};
struct ceph_conns *ceph_conns_new(const struct ceph_conns_options *opts);
void ceph_conns_free(struct ceph_conns *c); /* none is in use any more */
/* Closes what is idle. Each minute or so; may block for a connection's shutdown. */
void ceph_conns_sweep(struct ceph_conns *c);

struct ceph_login {
	const char *cluster; /* its id, for messages */
	const char *monitors;
	const char *user; /* "csi-rbd", without "client." */
	const char *key;  /* base64 */
};
/* userID and userKey of the secrets, or adminID and adminKey, first the one that is asked and in
 * its place the other. INVALID_ARGUMENT names the key that is missing, never a value. */
enum ceph_login_as { CEPH_LOGIN_USER, CEPH_LOGIN_ADMIN };
int ceph_login_read(const struct secrets *secrets, enum ceph_login_as as, struct ceph_login *login,
		    struct err *err);

/*
 * A connection for one call, which ends by ceph_conn_put. UNAUTHENTICATED: wrong key or unknown
 * user; UNAVAILABLE: no monitor answers; INVALID_ARGUMENT: malformed key, monitors. All say which
 * cluster and user. FAILED_PRECONDITION: no library.
 */
int ceph_conn_get(struct ceph_conns *c, struct ctx *ctx, const struct ceph_login *login,
		  struct ceph_conn **ret_conn, struct err *err);
void ceph_conn_put(struct ceph_conn *conn);

const struct ceph_lib *ceph_conn_lib(const struct ceph_conn *conn);
rados_t ceph_conn_rados(const struct ceph_conn *conn);
const char *ceph_conn_cluster(const struct ceph_conn *conn);

/* A pool by its name or number, in a namespace (""); the caller destroys the ioctx by lib.
 * NOT_FOUND names it. */
int ceph_conn_open_pool(struct ceph_conn *conn, const char *pool, const char *ns,
			rados_ioctx_t *ret_io, struct err *err);
int ceph_conn_open_pool_id(struct ceph_conn *conn, int64_t pool_id, const char *ns,
			   rados_ioctx_t *ret_io, struct err *err);

/*
 * What a call of the library answered (rc <0) as an err, always -1: EACCES, EPERM
 * PERMISSION_DENIED (says which capability is missing where that is known), ENOENT NOT_FOUND,
 * EEXIST ALREADY_EXISTS, ETIMEDOUT, ENOTCONN, ESHUTDOWN (blocklisted: says so, and the connection
 * is made anew) UNAVAILABLE, ENOSPC, EDQUOT RESOURCE_EXHAUSTED, EBUSY FAILED_PRECONDITION, EROFS
 * UNAVAILABLE, EINVAL INVALID_ARGUMENT, others INTERNAL. Also keeps the books of silence.
 */
int ceph_conn_failed(struct ceph_conn *conn, int rc, struct err *err, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* A call of the library was answered: of use where a lease lasts long, since others are refused for
 * as long as a silent cluster is being asked. Costs nothing else. */
void ceph_conn_answered(struct ceph_conn *conn);

#endif
