/* SPDX-License-Identifier: Apache-2.0 */
#include "base/random.h"

#include "../check.h"

#include <stdbool.h>

TEST(bytes_are_all_written)
{
	uint8_t seen[64] = { 0 };

	/* A byte that is never written stays 0; one in 2^400 runs would fail by chance. */
	for (int round = 0; round < 50; round++) {
		uint8_t bytes[64] = { 0 };

		random_bytes(bytes, sizeof(bytes));
		for (size_t i = 0; i < sizeof(bytes); i++)
			seen[i] |= bytes[i];
	}
	for (size_t i = 0; i < sizeof(seen); i++)
		ASSERT_TRUE(seen[i] != 0);
	random_bytes(NULL, 0);
}

TEST(below_reaches_all_and_only_what_is_below)
{
	bool seen[6] = { false };

	for (int i = 0; i < 1000; i++)
		seen[random_below(6)] = true;
	for (int i = 0; i < 6; i++)
		ASSERT_TRUE(seen[i]);
	ASSERT_EQ(random_below(1), 0);
	ASSERT_TRUE(random_below(UINT64_MAX) < UINT64_MAX);
}

TEST(jitter_stays_within_its_spread)
{
	for (int i = 0; i < 1000; i++) {
		int64_t ns = random_jitter_ns(1000000, 0.25);

		ASSERT_TRUE(ns >= 750000 && ns < 1250000);
	}
	ASSERT_EQ(random_jitter_ns(1000, 0), 1000);
	ASSERT_TRUE(random_jitter_ns(INT64_MAX, 1) >= 0);
}

RUN_TESTS(UNIT(bytes_are_all_written), UNIT(below_reaches_all_and_only_what_is_below),
	  UNIT(jitter_stays_within_its_spread))
