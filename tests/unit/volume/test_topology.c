/* SPDX-License-Identifier: Apache-2.0 */
/* Topology segments of pools, and whether a wanted topology reaches one. */
#include "volume/topology.h"

#include "base/mem.h"
#include "check.h"

TEST(segments_are_of_a_pools_identity)
{
	autoarena struct arena *a = arena_new();
	struct uuid pool;

	ASSERT_EQ(uuid_parse("00112233-4455-6677-8899-aabbccddeeff", &pool), 0);
	ASSERT_STR(vol_segment_key(a, "pool.cleat.csi", &pool),
		   "pool.cleat.csi/00112233445566778899aabbccddeeff");
}

TEST(a_pools_key_is_told_from_others)
{
	static const char *const others[] = {
		"pool.cleat.csi/default",
		"pool.cleat.csi/00112233445566778899aabbccddeef",
		"pool.cleat.csi/00112233445566778899aabbccddeefff",
		"pool.cleat.csi/00112233445566778899AABBCCDDEEFF",
		"pool.cleat.csi.00112233445566778899aabbccddeeff",
		"apool.cleat.csi/00112233445566778899aabbccddeeff",
		"pool.cleat.cs",
		"topology.kubernetes.io/zone",
		"",
	};

	ASSERT_TRUE(vol_segment_is_pool("pool.cleat.csi/00112233445566778899aabbccddeeff",
					"pool.cleat.csi"));
	for (size_t i = 0; i < ARRAY_LEN(others); i++)
		ASSERT_FALSE(vol_segment_is_pool(others[i], "pool.cleat.csi"));
}

TEST(a_foreign_key_among_pools_is_found)
{
	struct strpair pools[] = { { "d/00112233445566778899aabbccddeeff", "here" },
				   { "d/ff112233445566778899aabbccddeeff", "here" } };
	struct strpair mixed[] = { pools[0], { "kubernetes.io/hostname", "n1" } };
	struct vol_topology wanted[] = { { { pools, 2 } }, { { mixed, 2 } } };

	ASSERT_TRUE(!vol_topology_foreign_key(&(struct vol_topologies){ wanted, 1 }, "d"));
	ASSERT_STR(vol_topology_foreign_key(&(struct vol_topologies){ wanted, 2 }, "d"),
		   "kubernetes.io/hostname");
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

RUN_TESTS(UNIT(segments_are_of_a_pools_identity), UNIT(a_pools_key_is_told_from_others),
	  UNIT(a_foreign_key_among_pools_is_found),
	  UNIT(a_pool_is_reached_from_topologies_that_hold_its_segment))
