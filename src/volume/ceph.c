/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ceph-csi's handles.
 *
 * Parsing is strict: formatting what was parsed gives the same text again, so one volume never has
 * two ids (locks go by the id). A handle of another version is told from nonsense, since
 * DeleteVolume takes what is no handle for gone.
 */
#include "volume/ceph.h"

#include <stdio.h>
#include <string.h>

#include "base/hex.h"
#include "base/str.h"

#define HANDLE_VERSION "0001-"
#define HEX16 4
#define HEX64 16
#define CLUSTER_CHARS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

bool ceph_cluster_id_is_valid(const char *id)
{
	size_t n = strnlen(id, CEPH_CLUSTER_MAX);

	return n > 0 && n < CEPH_CLUSTER_MAX && strspn(id, CLUSTER_CHARS) == n;
}

void ceph_handle_format(const struct ceph_handle *handle, char ret_text[129])
{
	(void)snprintf(ret_text, 129, HANDLE_VERSION "%04zx-%s-%016llx-%s", strlen(handle->cluster),
		       handle->cluster, (unsigned long long)handle->pool_id,
		       handle->uuid); /* at most 105 bytes */
}

/* n hexadecimal digits in lower case and a '-' behind them. */
static bool read_hex(const char *text, size_t n, uint64_t *ret_value)
{
	uint64_t value = 0;

	for (size_t i = 0; i < n; i++) {
		int digit = text[i] >= 'A' && text[i] <= 'F' ? -1 : hex_digit(text[i]);

		if (digit < 0)
			return false;
		value = value << 4 | (unsigned)digit;
	}
	*ret_value = value;
	return text[n] == '-';
}

static bool read_handle(const char *text, struct ceph_handle *handle)
{
	const char *rest = text + strlen(HANDLE_VERSION);
	uint64_t len = 0, pool = 0;
	struct uuid uuid;

	if (!read_hex(rest, HEX16, &len) || len == 0 || len >= CEPH_CLUSTER_MAX)
		return false;
	rest += HEX16 + 1;
	if (strnlen(rest, len + 1) <= len || rest[len] != '-')
		return false;
	memcpy(handle->cluster, rest, len);
	handle->cluster[len] = '\0';
	rest += len + 1;
	if (!ceph_cluster_id_is_valid(handle->cluster) || !read_hex(rest, HEX64, &pool) ||
	    pool > INT64_MAX || uuid_parse(rest + HEX64 + 1, &uuid) < 0)
		return false;
	handle->pool_id = (int64_t)pool;
	uuid_format(&uuid, handle->uuid);
	return str_is_equal(rest + HEX64 + 1, handle->uuid);
}

/* "0002-…", followed by what a length may be. */
static bool has_other_version(const char *text)
{
	uint64_t version = 0, len = 0;

	return read_hex(text, HEX16, &version) && version != 1 &&
	       read_hex(text + HEX16 + 1, HEX16, &len) && len > 0 && len < CEPH_CLUSTER_MAX;
}

int ceph_handle_parse(const char *text, struct ceph_handle *ret_handle, struct err *err)
{
	struct ceph_handle handle = { 0 };

	if (has_other_version(text))
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "handle '%.128s': of another version than '" HANDLE_VERSION
			       "', which is the one that is known here; let the driver that made "
			       "it handle it",
			       text);
	if (!str_has_prefix(text, HANDLE_VERSION) || !read_handle(text, &handle))
		return err_set(err, ERR_NOT_FOUND, "'%.128s' is no handle of a volume of Ceph",
			       text);
	*ret_handle = handle;
	return 0;
}
