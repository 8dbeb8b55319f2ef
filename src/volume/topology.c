/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Topology: where a pool can be reached from. A node reports one segment for each of its pools, a
 * volume carries the one of its own pool, so a wanted topology (a node's whole set, or what a
 * StorageClass allows) fits if it contains the volume's segments.
 */
#include "volume/topology.h"

#include <errno.h>
#include <string.h>

#include "base/hex.h"

#define IDENTITY_DIGITS 32

const char *vol_segment_key(struct arena *a, const char *driver, const struct uuid *identity)
{
	char text[IDENTITY_DIGITS + 1];

	hex_format(identity->b, sizeof(identity->b), text);
	return arena_printf(a, "%s/%s", driver, text);
}

int vol_segment_parse(const char *key, const char *driver, struct uuid *ret_identity)
{
	size_t n = strlen(driver);

	if (strncmp(key, driver, n) != 0 || key[n] != '/' || strlen(key + n + 1) != IDENTITY_DIGITS)
		return -EINVAL;
	return hex_parse(key + n + 1, sizeof(ret_identity->b), ret_identity->b);
}

bool vol_segment_is_pool(const char *key, const char *driver)
{
	struct uuid identity;

	return vol_segment_parse(key, driver, &identity) == 0;
}

bool vol_topology_allows(const struct vol_topologies *wanted, const struct vol_topology *place)
{
	if (wanted->n == 0)
		return true;
	for (size_t i = 0; i < wanted->n; i++) {
		if (strmap_is_subset(&place->segments, &wanted->v[i].segments))
			return true;
	}
	return false;
}

const char *vol_topology_foreign_key(const struct vol_topologies *wanted, const char *driver)
{
	for (size_t i = 0; i < wanted->n; i++) {
		const struct strmap *segments = &wanted->v[i].segments;

		for (size_t k = 0; k < segments->n; k++) {
			if (!vol_segment_is_pool(segments->v[k].key, driver))
				return segments->v[k].key;
		}
	}
	return NULL;
}
