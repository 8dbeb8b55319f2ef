/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VOLUME_ID_H
#define VOLUME_ID_H

#include "base/err.h"
#include "base/uuid.h"

#include <stdbool.h>

/*
 * A volume id as the CO sees it: "<version>-<pool identity>-<token>", opaque to everyone else, ≤128
 * bytes. The pool identity is the pool's own (32 hex digits, src/backend/pool), so a
 * volume belongs to a pool and not to a node. The token is made from the name that CreateVolume was
 * given, always the same for the same name, and is also the name of the volume's file:
 * [a-z0-9][a-z0-9._-]*, ≤ VOL_TOKEN_MAX - 1 bytes, never begins with a dot.
 */
#define VOL_ID_MAX 129
#define VOL_TOKEN_MAX 91
#define VOL_ID_VERSION "v1"
/* What ids of snapshots and of groups of them will begin with; reserved, so that none is ever taken
 * for a volume's. */
#define VOL_SNAPSHOT_ID_VERSION "s1"
#define VOL_GROUP_ID_VERSION "g1"

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

void vol_id_format(const struct vol_id *id, char ret_text[VOL_ID_MAX]);

/*
 * NOT_FOUND for what is no id of ours: the CSI conformance suite demands that, not
 * INVALID_ARGUMENT, for ids that name nothing. FAILED_PRECONDITION for an id of another version (or
 * of a kind that this one does not know): what it names may well be there, so it must not be taken
 * for gone.
 */
int vol_id_parse(const char *text, struct vol_id *ret_id, struct err *err);

#endif
