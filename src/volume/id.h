/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VOLUME_ID_H
#define VOLUME_ID_H

#include "base/err.h"
#include "base/uuid.h"

#include <stdbool.h>

/*
 * An id as the CO sees it: "<kind and version>-<pool identity>-<token>", opaque to everyone else,
 * ≤128 bytes. The pool identity is the pool's own (32 hex digits, src/backend/pool), so a volume, a
 * snapshot or a group of snapshots belongs to a pool and not to a node. The token is made from the
 * name that the creating call was given, always the same for the same name, and is also the name of
 * the file: [a-z0-9][a-z0-9._-]*, ≤ VOL_TOKEN_OWN_MAX - 1 bytes, never begins with a dot. Each kind
 * has tokens of its own.
 */
#define VOL_ID_MAX 129
#define VOL_TOKEN_OWN_MAX 91
#define VOL_TOKEN_MAX 129 /* handles of others are tokens too (backend.h, BACKEND_ELSEWHERE) */

/* What an id names. */
enum vol_kind {
	VOL_KIND_VOLUME,   /* v1-… */
	VOL_KIND_SNAPSHOT, /* s1-… */
	VOL_KIND_GROUP,    /* g1-…: of snapshots */
};

struct vol_id {
	struct uuid pool;
	char token[VOL_TOKEN_MAX];
};

/*
 * Names that already have the form of a token and are short enough stay readable ("pvc-0b5e…"); all
 * others, and those that begin with "h.", become "h." + 128-bit FNV-1a in hex of the name, so two
 * names may in theory share a token: backends keep the whole name beside the volume and compare.
 */
void vol_token_from_name(const char *name, char ret_token[VOL_TOKEN_MAX]);
bool vol_token_is_valid(const char *token);

/* The token of the snapshot that a group has of a volume, which is its name as well: the same for
 * the same names, readable by nobody. */
void vol_token_of_member(const char *group_name, const char *source, char ret_token[VOL_TOKEN_MAX]);

/* "volume", "snapshot", "group snapshot"; for messages. */
const char *vol_kind_name(enum vol_kind kind);

void vol_id_format(enum vol_kind kind, const struct vol_id *id, char ret_text[VOL_ID_MAX]);

/*
 * NOT_FOUND for what is no id of ours of this kind: the CSI conformance suite demands that, not
 * INVALID_ARGUMENT, for ids that name nothing. FAILED_PRECONDITION for an id of another version:
 * what it names may well be there, so it must not be taken for gone.
 */
int vol_id_parse(enum vol_kind kind, const char *text, struct vol_id *ret_id, struct err *err);

#endif
