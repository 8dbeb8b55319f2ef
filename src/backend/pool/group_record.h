/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_POOL_GROUP_RECORD_H
#define BACKEND_POOL_GROUP_RECORD_H

#include "backend/backend.h"
#include "base/str.h"

/*
 * What a group's file .cleat/groups/TOKEN says (README.md): text, so that a person can read it; the
 * name comes last and goes to the end.
 */
#define GROUP_RECORD_MAX (64u << 10)

struct group_member {
	char token[VOL_TOKEN_MAX];  /* of the snapshot */
	char source[VOL_TOKEN_MAX]; /* of the volume */
};

struct group_record {
	int64_t created_ns;
	struct uuid pool;
	char name[129];
	struct group_member *members; /* owned; in the order of their sources, none twice */
	size_t n_members;
};

void group_record_done(struct group_record *r);
void group_record_format(const struct group_record *r, struct str *out);
/* FAILED_PRECONDITION says which part is wrong, or what a newer cleat's record needs. */
int group_record_parse(const char *text, struct group_record *ret_record, struct err *err);

#endif
