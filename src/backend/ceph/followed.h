/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_CEPH_FOLLOWED_H
#define BACKEND_CEPH_FOLLOWED_H

#include "base/arena.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

/*
 * A file of a mounted ConfigMap, read anew when it has changed, as a ConfigMap's does under a
 * running pod. One that has changed and is not whole is told of once in the log, and what was read
 * before is used on.
 */
struct followed;

/* What the bytes mean, in the arena. NULL with err: not whole. */
typedef const void *(*followed_parse_fn)(struct arena *a, const char *text, size_t n,
					 struct err *err);

struct followed_options {
	const char *dir, *name; /* copied */
	const char *what;       /* for words: "which says what clusters of Ceph there are" */
	followed_parse_fn parse;
	const char *if_absent; /* the text that a file which is not there stands for; NULL: it has
				  to be there */
};
/* Reads nothing yet. */
struct followed *followed_new(const struct followed_options *opts);
void followed_free(struct followed *f);
const char *followed_path(const struct followed *f);

/*
 * What the file says now, borrowed until followed_end: nothing that blocks between the two. NULL:
 * it is missing or not whole, and there is nothing of before (FAILED_PRECONDITION; says where and
 * what), and no followed_end. Any thread.
 */
const void *followed_begin(struct followed *f, struct err *err);
void followed_end(struct followed *f);

#endif
