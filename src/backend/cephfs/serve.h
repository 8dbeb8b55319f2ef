/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_CEPHFS_SERVE_H
#define BACKEND_CEPHFS_SERVE_H

#include "base/str.h"

#include <stddef.h>

/*
 * The server of one volume where the kernel has no client for CephFS: this program started with
 * this word (backend/ceph/server.h), which runs ceph-fuse and ends with it. It serves once the
 * volume is mounted. While it lives it has a lock on the file "server" in the volume's directory of
 * the node's state, so that there is one at a time.
 */
#define CEPHFS_SERVE "cephfs-serve"

#define CEPHFS_SUBTYPE \
	"cleat-cephfs" /* the mount is of "fuse.cleat-cephfs", its source the token */
#define CEPHFS_LOCK "server"

struct cephfs_order {
	const char *dir;    /* the volume's in the node's state, as the kernel names it */
	const char *target; /* where to mount, as the kernel names it */
	const char *token;
	const char *monitors, *user, *key;
	const char *fs_name;
	const char *path;    /* in the filesystem */
	const char *options; /* of the mount, with commas between; "" */
};
/* Appends to a string that is wiped. */
void cephfs_order_encode(const struct cephfs_order *order, struct str *out);
/* Points into bytes. -1: it is none. */
int cephfs_order_decode(const char *bytes, size_t n, struct cephfs_order *ret_order);

/* What the server is. 0, or 1 if it was not started as one. */
int cephfs_serve(void);

#endif
