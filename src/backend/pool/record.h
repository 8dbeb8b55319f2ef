/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_POOL_RECORD_H
#define BACKEND_POOL_RECORD_H

#include "backend/backend.h"

/*
 * What a volume's file says of itself, in the extended attribute user.cleat.volume: what never
 * changes (README.md). Text, so that `getfattr -d` answers a person; the name comes last and goes
 * to the end, so it may hold anything.
 */
#define RECORD_ATTR "user.cleat.volume"
#define RECORD_MAX 2048

struct record {
	uint64_t bytes; /* at its birth */
	char fs[8];
	bool allow_buffered;
	int64_t created_ns;
	struct uuid uuid; /* of the filesystem inside; zero for raw volumes */
	struct uuid pool; /* the identity of the pool that it was made in */
	char name[129];
};

void record_format(const struct record *r, char ret_text[RECORD_MAX]);
/* FAILED_PRECONDITION says which part is wrong, or what a newer cleat's record needs. */
int record_parse(const char *text, struct record *ret_record, struct err *err);

#endif
