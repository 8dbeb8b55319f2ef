/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ids: "v1-<32 hex digits>-<token>" for a volume, "s1-…" for a snapshot, "g1-…" for a group.
 *
 * A volume belongs to a pool, that is to a filesystem, and not to a node: node names may be 253
 * bytes long, and a disk that is moved to another machine takes its volumes along. The token is a
 * file name, so its alphabet is what every filesystem and every shell takes without quoting, and
 * lower case alone, so that it survives case folding. Parsing is strict: formatting what was parsed
 * gives the same text again, so one volume never has two ids (locks and idempotence go by the id).
 */
#include "volume/id.h"

#include <string.h>

#include "base/hash.h"
#include "base/hex.h"
#include "base/mem.h"
#include "base/str.h"

#define HEX_POOL 32
#define HASH_PREFIX "h."
#define MEMBER_PREFIX "member-"
#define PREFIX_LEN 3 /* "v1-" */

static const struct {
	const char *prefix;
	const char *name;
	const char *field; /* of requests */
} kinds[] = {
	[VOL_KIND_VOLUME] = { "v1-", "volume", "volume_id" },
	[VOL_KIND_SNAPSHOT] = { "s1-", "snapshot", "snapshot_id" },
	[VOL_KIND_GROUP] = { "g1-", "group snapshot", "group_snapshot_id" },
};

static bool is_token_char(char c, bool is_first)
{
	if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
		return true;
	return !is_first && (c == '.' || c == '_' || c == '-');
}

bool vol_token_is_valid(const char *token)
{
	size_t n = strnlen(token, VOL_TOKEN_OWN_MAX);

	if (n == 0 || n >= VOL_TOKEN_OWN_MAX)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (!is_token_char(token[i], i == 0))
			return false;
	}
	return true;
}

void vol_token_from_name(const char *name, char ret_token[VOL_TOKEN_MAX])
{
	uint8_t hash[HASH_FNV1A_128_BYTES];

	/* A name that looks like a hash is hashed too: else it could be chosen to meet another
	 * name's token. */
	if (vol_token_is_valid(name) && !str_has_prefix(name, HASH_PREFIX)) {
		memcpy(ret_token, name, strlen(name) + 1);
		return;
	}
	hash_fnv1a_128(name, strlen(name), hash);
	memcpy(ret_token, HASH_PREFIX, strlen(HASH_PREFIX));
	hex_format(hash, sizeof(hash), ret_token + strlen(HASH_PREFIX));
}

void vol_token_of_member(const char *group_name, const char *source, char ret_token[VOL_TOKEN_MAX])
{
	uint8_t hash[HASH_FNV1A_128_BYTES];
	autostr struct str text = STR_INIT;

	/* a token has no newline */
	str_appendf(&text, "%s\n%s", group_name, source);
	hash_fnv1a_128(str_get(&text), text.len, hash);
	memcpy(ret_token, MEMBER_PREFIX, strlen(MEMBER_PREFIX));
	hex_format(hash, sizeof(hash), ret_token + strlen(MEMBER_PREFIX));
}

const char *vol_kind_name(enum vol_kind kind)
{
	return kinds[kind].name;
}

void vol_id_format(enum vol_kind kind, const struct vol_id *id, char ret_text[VOL_ID_MAX])
{
	memcpy(ret_text, kinds[kind].prefix, PREFIX_LEN);
	hex_format(id->pool.b, sizeof(id->pool.b), ret_text + PREFIX_LEN);
	ret_text[PREFIX_LEN + HEX_POOL] = '-';
	memcpy(ret_text + PREFIX_LEN + HEX_POOL + 1, id->token, strlen(id->token) + 1);
}

/* A letter of ours and digits that are not this version's: an id that another cleat made. */
static bool has_other_version(const char *text)
{
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		size_t n = text[0] == kinds[i].prefix[0] ? strspn(text + 1, "0123456789") : 0;

		if (n > 0 && text[1 + n] == '-')
			return !str_has_prefix(text, kinds[i].prefix);
	}
	return false;
}

int vol_id_parse(enum vol_kind kind, const char *text, struct vol_id *ret_id, struct err *err)
{
	const char *pool = text + PREFIX_LEN;
	struct vol_id id = { 0 };

	if (has_other_version(text))
		return err_set(
			err, ERR_FAILED_PRECONDITION,
			"%s '%.128s': made by another version of cleat, this one knows ids that "
			"begin with '%s'; let that version handle it",
			kinds[kind].field, text, kinds[kind].prefix);
	if (!str_has_prefix(text, kinds[kind].prefix) ||
	    hex_parse(pool, sizeof(id.pool.b), id.pool.b) < 0 || pool[HEX_POOL] != '-' ||
	    !vol_token_is_valid(pool + HEX_POOL + 1))
		return err_set(err, ERR_NOT_FOUND, "%s '%.128s': not an id of this driver",
			       kinds[kind].field, text);
	memcpy(id.token, pool + HEX_POOL + 1, strlen(pool + HEX_POOL + 1) + 1);
	*ret_id = id;
	return 0;
}
