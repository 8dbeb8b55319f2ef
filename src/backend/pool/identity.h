/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_POOL_IDENTITY_H
#define BACKEND_POOL_IDENTITY_H

#include "base/err.h"
#include "base/uuid.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * Who a pool is, and where it was when it was last served: the file .cleat/pool, as README.md has
 * it. The identity is random and stays; volume ids and topology are made of it. The rest is what a
 * copy or a move changes.
 */
#define POOL_IDENTITY_FILE "pool"
#define POOL_IDENTITY_MAX 1024
#define POOL_NODE_MAX 257

struct pool_identity {
	struct uuid identity;
	struct uuid filesystem;   /* XFS: of the superblock */
	uint64_t inode;           /* of the pool's directory */
	char node[POOL_NODE_MAX]; /* that serves it; "": the next one that opens it writes itself
				     down */
};

void pool_identity_format(const struct pool_identity *id, char ret_text[POOL_IDENTITY_MAX]);
/* FAILED_PRECONDITION says which part is wrong, or what a newer cleat's file needs. */
int pool_identity_parse(const char *text, struct pool_identity *ret_id, struct err *err);

/* Of the directory .cleat. NOT_FOUND: there is none yet. */
int pool_identity_read(int meta_fd, struct pool_identity *ret_id, struct err *err);
/* Whole and durable, or as it was. ALREADY_EXISTS unless replace. */
int pool_identity_write(int meta_fd, const struct pool_identity *id, bool replace, struct err *err);

/* FAILED_PRECONDITION says what differs between what is recorded and what is seen now, and both
 * ways out. An empty node on either side is no difference, nor is another if any node will do. */
int pool_identity_compare(const struct pool_identity *recorded, const struct pool_identity *seen,
			  bool any_node, const char *dir, struct err *err);

#endif
