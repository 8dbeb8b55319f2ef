/* SPDX-License-Identifier: Apache-2.0 */
/* Topology segments of pools, and whether a wanted topology reaches one. */
#include "volume/topology.h"

#include "base/mem.h"
#include "check.h"

TEST(segments_name_the_pool_and_its_filesystem)
{
	autoarena struct arena *a = arena_new();
	struct uuid pool;
	char value[VOL_SEGMENT_VALUE_MAX];

	ASSERT_EQ(uuid_parse("00112233-4455-6677-8899-aabbccddeeff", &pool), 0);
	vol_segment_value(&pool, value);
	ASSERT_STR(value, "00112233445566778899aabbccddeeff");
	ASSERT_STR(vol_segment_key(a, "pool.cleat.csi", "fast"), "pool.cleat.csi/fast");
}

TEST(a_pool_is_reached_from_topologies_that_hold_its_segment)
{
	struct strpair mine = { "d/a", "1" };
	struct strpair node[] = { { "d/a", "1" }, { "d/b", "2" } };
	struct strpair other = { "d/a", "9" };
	struct vol_topology place = { { &mine, 1 } };
	struct vol_topology wanted[] = { { { &other, 1 } }, { { node, 2 } } };

	ASSERT_TRUE(vol_topology_allows(&(struct vol_topologies){ NULL, 0 }, &place));
	ASSERT_TRUE(vol_topology_allows(&(struct vol_topologies){ wanted, 2 }, &place));
	ASSERT_FALSE(vol_topology_allows(&(struct vol_topologies){ wanted, 1 }, &place));
}

RUN_TESTS(UNIT(segments_name_the_pool_and_its_filesystem),
	  UNIT(a_pool_is_reached_from_topologies_that_hold_its_segment))
