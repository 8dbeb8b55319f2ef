/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_CEPH_BLOCKLIST_H
#define BACKEND_CEPH_BLOCKLIST_H

#include "backend/ceph/conn.h"
#include "volume/ceph_client.h"

/*
 * The cluster's blocklist. who: an IP, by which whatever client comes from there, now and later, is
 * refused by all OSDs (ESHUTDOWN), and its watches end; or the address of one client, with its
 * nonce. Of one client alone a node makes the next one by mapping again; but no nonce is used
 * twice, so such an entry is never in anybody's way.
 */
/* For as long as makes no difference; mon 'profile rbd' allows it. Idempotent; durable when it
 * returns 0, and in force at each OSD that this connection asks next. FAILED_PRECONDITION: this
 * process comes from that IP itself, or is that client. */
int ceph_blocklist_add(struct ceph_conn *conn, struct ctx *ctx, const char *who, struct err *err);
/* 1, or 0. who NULL: of any IP as a whole. */
int ceph_blocklist_has(struct ceph_conn *conn, struct ctx *ctx, const char *who, struct err *err);
/* 0 also when it is not on it. PERMISSION_DENIED says which caps that needs. */
int ceph_blocklist_lift(struct ceph_conn *conn, struct ctx *ctx, const char *who, struct err *err);

#endif
