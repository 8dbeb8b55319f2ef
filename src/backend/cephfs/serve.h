/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_CEPHFS_SERVE_H
#define BACKEND_CEPHFS_SERVE_H

#include "base/clock.h"
#include "base/err.h"
#include "base/str.h"

#include <stddef.h>

/*
 * The server of one volume where the kernel has no client for CephFS: this program started with
 * this word (backend/ceph/server.h), which runs ceph-fuse and ends with it. It serves once the
 * volume is mounted. While it lives it has a lock on the file "server" in the volume's directory of
 * the node's state, so that there is one at a time; at its end it takes that away, and the
 * directory, unless there is more in it. Whoever ordered it and is gone before it serves has
 * nothing mounted, and no ceph-fuse, soon after.
 */
#define CEPHFS_SERVE "cephfs-serve"
#define CEPHFS_UNDO_NS (20 * NS_PER_S) /* most of it for a ceph-fuse that does not die */

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
	const char *inside;  /* of that, what is to be seen (inside.h); "": all of it */
	const char *options; /* of the mount, with commas between; "" */
};
/* Appends to a string that is wiped. */
void cephfs_order_encode(const struct cephfs_order *order, struct str *out);
/* Points into bytes. -1: it is none. */
int cephfs_order_decode(const char *bytes, size_t n, struct cephfs_order *ret_order);

/* serve_words.c: err is how ceph-fuse ended, always -1, and becomes what that means, with what it
 * said itself (output, all of it). took_ns: it ran for so long. is_served: after it had mounted,
 * when none of what goes wrong before is meant. */
int cephfs_explain(const struct cephfs_order *order, const char *output, int64_t took_ns,
		   bool is_served, struct err *err);
/* The last line of it, "" if there is none; appended. */
void cephfs_last_words(const char *output, struct str *out);

/* What the server is. 0, or 1 if it was not started as one. */
int cephfs_serve(void);

#endif
