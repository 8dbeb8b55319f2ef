/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_POOL_COPYING_INTERNAL_H
#define BACKEND_POOL_COPYING_INTERNAL_H

#include "backend/pool/pool-internal.h"

/* A snapshot that is being copied. Who is at it has it alone, but for what the lock guards. */
struct pool_copying {
	char snapshot[VOL_TOKEN_MAX];
	char source[VOL_TOKEN_MAX];
	struct record record; /* the snapshot's */
	bool no_reserve;      /* the volume's */
	int fd;               /* the snapshot */
	int from_fd;          /* the volume, claimed */
	uint64_t at;
	uint64_t data_bytes; /* of the volume */
	uint64_t promised;   /* what is still to be allocated of that */
	bool is_promised;
	bool has_failed_to_share;

	/* pool.lock guards these */
	bool is_busy;
	bool is_wanted;  /* by somebody who waits: no piece is begun */
	struct ctx *ctx; /* of who copies a piece; NULL: is not to be cancelled */
	int64_t retry_ns;
	bool has_failed;
	struct err failure;
};

/* Takes the one of this snapshot (or, if that is NULL, one of this volume) from whoever is at it:
 * 1; 0 if there is none. ABORTED: he does not let go of it. */
int pool_copying_take(struct pool *p, struct ctx *ctx, const char *snapshot, const char *source,
		      struct pool_copying **ret, struct err *err);
void pool_copying_give_back(struct pool *p, struct pool_copying *c);
/* It is in no list any more; freed. */
void pool_copying_end(struct pool *p, struct pool_copying *c);
/* What is still to be copied is promised, also of one that an earlier process began. */
int pool_copying_promise(struct pool *p, struct ctx *ctx, struct pool_copying *c, struct err *err);
/* All its bytes are there. The record that says so comes after them, and then that. */
int pool_copying_finish(struct pool_copying *c, struct err *err);
void pool_copying_log(const struct pool *p, const struct pool_copying *c, const char *text);

#endif
