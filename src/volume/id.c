/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volume ids: "v1-<32 hex digits>-<token>".
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
#include "base/str.h"

#define HEX_POOL 32
#define HASH_PREFIX "h."

static bool is_token_char(char c, bool is_first)
{
	if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
		return true;
	return !is_first && (c == '.' || c == '_' || c == '-');
}

bool vol_token_is_valid(const char *token)
{
	size_t n = strnlen(token, VOL_TOKEN_MAX);

	if (n == 0 || n >= VOL_TOKEN_MAX)
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

void vol_id_format(const struct vol_id *id, char ret_text[VOL_ID_MAX])
{
	size_t version = strlen(VOL_ID_VERSION);

	memcpy(ret_text, VOL_ID_VERSION, version);
	ret_text[version] = '-';
	hex_format(id->pool.b, sizeof(id->pool.b), ret_text + version + 1);
	ret_text[version + 1 + HEX_POOL] = '-';
	memcpy(ret_text + version + 2 + HEX_POOL, id->token, strlen(id->token) + 1);
}

/* A kind (volume, snapshot, group) and digits: an id that another version of cleat will make. */
static bool has_other_version(const char *text)
{
	bool has_kind = text[0] == VOL_ID_VERSION[0] || text[0] == VOL_SNAPSHOT_ID_VERSION[0] ||
			text[0] == VOL_GROUP_ID_VERSION[0];
	size_t n = has_kind ? strspn(text + 1, "0123456789") : 0;

	return n > 0 && text[1 + n] == '-' && !str_has_prefix(text, VOL_ID_VERSION "-");
}

int vol_id_parse(const char *text, struct vol_id *ret_id, struct err *err)
{
	const char *pool = text + strlen(VOL_ID_VERSION "-");
	struct vol_id id = { 0 };

	if (has_other_version(text))
		return err_set(
			err, ERR_FAILED_PRECONDITION,
			"volume_id '%.128s': made by another version of cleat, this one knows "
			"ids of version %s; let that version handle it",
			text, VOL_ID_VERSION);
	if (!str_has_prefix(text, VOL_ID_VERSION "-") ||
	    hex_parse(pool, sizeof(id.pool.b), id.pool.b) < 0 || pool[HEX_POOL] != '-' ||
	    !vol_token_is_valid(pool + HEX_POOL + 1))
		return err_set(err, ERR_NOT_FOUND, "volume_id '%.128s': not an id of this driver",
			       text);
	memcpy(id.token, pool + HEX_POOL + 1, strlen(pool + HEX_POOL + 1) + 1);
	*ret_id = id;
	return 0;
}
