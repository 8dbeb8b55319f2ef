/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Topology: where a pool can be reached from. A node reports one segment for each of its pools, a
 * volume carries the one of its own pool, so a wanted topology (a node's whole set, or what a
 * StorageClass allows) fits if it contains the volume's segments.
 */
#include "volume/topology.h"

static const char hex_digits[] = "0123456789abcdef";

void vol_segment_value(const struct uuid *pool, char ret_text[VOL_SEGMENT_VALUE_MAX])
{
	for (size_t i = 0; i < sizeof(pool->b); i++) {
		ret_text[2 * i] = hex_digits[pool->b[i] >> 4];
		ret_text[2 * i + 1] = hex_digits[pool->b[i] & 0xf];
	}
	ret_text[2 * sizeof(pool->b)] = '\0';
}

const char *vol_segment_key(struct arena *a, const char *driver, const char *pool_name)
{
	return arena_printf(a, "%s/%s", driver, pool_name);
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
