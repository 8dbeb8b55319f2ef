/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_POOL_GROUP_INTERNAL_H
#define BACKEND_POOL_GROUP_INTERNAL_H

#include "backend/pool/group_record.h"
#include "backend/pool/pool-internal.h"

/* The name of a group's mark in .cleat/groups, which no group can have. */
#define GROUP_MARK_MAX (VOL_TOKEN_MAX + 1)
void pool_group_mark(const char *token, char ret_mark[GROUP_MARK_MAX]);
/* 1, or 0. */
int pool_group_is_marked(const struct pool *p, const char *token, struct err *err);

/* NOT_FOUND; FAILED_PRECONDITION: it is damaged. group_record_done is the caller's. */
int pool_group_read(const struct pool *p, const char *token, struct group_record *ret_record,
		    struct err *err);

/* Removes the group's members that do not count, and its mark. */
int pool_group_sweep(struct pool *p, const char *group, struct err *err);

#endif
