/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BACKEND_CEPH_JOURNAL_INTERNAL_H
#define BACKEND_CEPH_JOURNAL_INTERNAL_H

#include "backend/ceph/journal.h"

#include <stdbool.h>
#include <stdint.h>

/* An object's keys; how NAME_AT and SOURCE_AT are called the journal's kind says. */
enum journal_key {
	NAME_AT,
	IMAGE_AT,
	IMAGE_ID_AT,
	SOURCE_AT,
	OWNER_AT,
	JOURNAL_POOL_AT,
	LAYOUT_AT,
	BACKING_AT,
	PATH_AT,
	KMS_AT,
	ENCRYPTION_AT,
	KEYS
};
extern const char *const journal_keys[KEYS];
/* What they hold, NULL where one is absent. */
struct ceph_entry journal_entry_of(const char *const values[KEYS], const char *uuid,
				   int64_t pool_id);

/* Texts of the journal, as ceph-csi writes them and no other way: a text that is another spelling
 * of the same would name an object that is called otherwise. */
bool journal_parse_pool(const char *text, int64_t *ret_id); /* hex64, what follows is not read */
bool journal_parse_uuid(const char *text, char ret_uuid[UUID_TEXT_MAX]);
/* What a directory's key holds: "UUID", or "<hex64 pool>/UUID"; without a pool, -1. */
bool journal_parse_holding(const char *text, char ret_uuid[UUID_TEXT_MAX], int64_t *ret_pool_id);

#endif
