/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_CEPHFS_INSIDE_H
#define BACKEND_CEPHFS_INSIDE_H

#include "base/ctx.h"
#include "base/err.h"

#include <limits.h>

/*
 * A directory of a filesystem that no client takes for the path of its mount: the filesystem is
 * mounted at state_dir/TOKEN/inside, the directory bound from there to where it is wanted, and the
 * first mount taken down; what is mounted lives as long as a bind of it. So nothing else is ever
 * seen where it is wanted, whoever is killed.
 */
struct cephfs_inside {
	char path[PATH_MAX]; /* where to mount the filesystem, as the kernel names it */
};
/* Makes the place, and clears it of what somebody was killed behind. */
int cephfs_inside_begin(struct ctx *ctx, const char *state_dir, const char *token,
			struct cephfs_inside *ret, struct err *err);
/* The same in a volume's own directory. */
int cephfs_inside_begin_in(struct ctx *ctx, const char *dir, struct cephfs_inside *ret,
			   struct err *err);
int cephfs_inside_show(struct ctx *ctx, const struct cephfs_inside *in, const char *inside,
		       const char *target, struct err *err);
/* Clears and removes the place; what cannot be, whoever begins there next clears. */
void cephfs_inside_end(struct ctx *ctx, const struct cephfs_inside *in);
/* 0 also when there is none. */
int cephfs_inside_clear(const char *state_dir, const char *token, struct err *err);

/* INVALID_ARGUMENT: text is not ".snap/<name>/<name>". */
int cephfs_inside_check(const char *text, struct err *err);

#endif
