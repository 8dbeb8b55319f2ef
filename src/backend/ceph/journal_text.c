/* SPDX-License-Identifier: Apache-2.0 */
/* What stands in the journal may come from anybody who can write to the pool. */
#include <string.h>

#include "backend/ceph/journal-internal.h"
#include "base/hex.h"
#include "base/str.h"

#define POOL_DIGITS 16

bool journal_parse_pool(const char *text, int64_t *ret_id)
{
	uint8_t b[POOL_DIGITS / 2];
	uint64_t id = 0;

	if (strspn(text, "0123456789abcdef") < POOL_DIGITS || hex_parse(text, sizeof(b), b) < 0)
		return false;
	for (size_t i = 0; i < sizeof(b); i++)
		id = id << 8 | b[i];
	if (id > INT64_MAX)
		return false;
	*ret_id = (int64_t)id;
	return true;
}

bool journal_parse_uuid(const char *text, char ret_uuid[UUID_TEXT_MAX])
{
	char back[UUID_TEXT_MAX];
	struct uuid u;

	if (uuid_parse(text, &u) < 0)
		return false;
	uuid_format(&u, back);
	if (!str_is_equal(back, text))
		return false;
	memcpy(ret_uuid, back, UUID_TEXT_MAX);
	return true;
}

bool journal_parse_holding(const char *text, char ret_uuid[UUID_TEXT_MAX], int64_t *ret_pool_id)
{
	const char *slash = strchr(text, '/');
	int64_t id = -1;

	if (slash) {
		if (slash != text + POOL_DIGITS || !journal_parse_pool(text, &id))
			return false;
		text = slash + 1;
	}
	if (!journal_parse_uuid(text, ret_uuid))
		return false;
	*ret_pool_id = id;
	return true;
}

struct ceph_entry journal_entry_of(const char *const values[KEYS], const char *uuid,
				   int64_t pool_id)
{
	struct ceph_entry e = { .pool_id = pool_id };

	memcpy(e.uuid, uuid, UUID_TEXT_MAX);
	e.name = str_or(values[NAME_AT], "");
	e.image = str_or(values[IMAGE_AT], "");
	e.image_id = str_or(values[IMAGE_ID_AT], "");
	e.source = str_or(values[SOURCE_AT], "");
	e.owner = str_or(values[OWNER_AT], "");
	e.layout = str_or(values[LAYOUT_AT], "");
	e.backing = str_or(values[BACKING_AT], "");
	e.path = str_or(values[PATH_AT], "");
	e.kms = str_or(values[KMS_AT], "");
	return e;
}

const char *const journal_keys[KEYS] = {
	[IMAGE_AT] = "csi.imagename",
	[IMAGE_ID_AT] = "csi.imageid",
	[OWNER_AT] = "csi.volume.owner",
	[JOURNAL_POOL_AT] = "csi.journalpool",
	[LAYOUT_AT] = "cleat.layout",
	[BACKING_AT] = "csi.volume.backingsnapshotid",
	[PATH_AT] = "cleat.path",
	[KMS_AT] = "csi.volume.encryptKMS",
	[ENCRYPTION_AT] = "csi.volume.encryptionType",
};
