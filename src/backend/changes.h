/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_CHANGES_H
#define BACKEND_CHANGES_H

#include "backend/backend.h"

/*
 * changes - what backend_ops.allocated and changed tell, for backends whose snapshots are files
 *
 * Ranges are told by a struct changes, which makes of what it is given what backend.h promises:
 * multiples of 4096 that neither overlap nor touch.
 */
struct changes {
	uint64_t end; /* of the snapshot: nothing beyond is told */
	backend_range_fn fn;
	void *arg;
	uint64_t start, stop; /* the range that may still grow; none if they are equal */
};

/* Begins nowhere before the one that was added last. fn's answer if it is not 0: the walk is over.
 */
int changes_add(struct changes *c, uint64_t start, uint64_t bytes);
/* The last range. As changes_add. */
int changes_finish(struct changes *c);

/* FAILED_PRECONDITION: the snapshots are not of one volume. */
int changes_check_source(const struct backend_snapshot *base, const struct backend_snapshot *target,
			 struct err *err);

/* A snapshot's file: nobody writes to it, and when it is deleted it loses its names before its
 * blocks. */
struct changes_file {
	int fd;
	const char *token;
};

/*
 * What of target differs from base, by the places of their blocks; base NULL: what of target is not
 * zero. Both are of one filesystem. As backend_ops.changed.
 */
int changes_walk(struct ctx *ctx, const struct changes_file *base,
		 const struct changes_file *target, uint64_t from, struct changes *c,
		 struct err *err);

#endif
