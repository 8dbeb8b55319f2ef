/* SPDX-License-Identifier: Apache-2.0 */
/* The values are those of the authors' own test vectors. */
#include "base/hash.h"

#include "../check.h"

#include "base/hex.h"

static void hex128(const char *text, char ret_hex[33])
{
	uint8_t hash[HASH_FNV1A_128_BYTES];

	hash_fnv1a_128(text, strlen(text), hash);
	hex_format(hash, sizeof(hash), ret_hex);
}

TEST(values_are_those_of_everybody_and_for_ever)
{
	char hex[33];

	ASSERT_TRUE(hash_fnv1a_64(HASH_FNV1A_64_START, "", 0) == UINT64_C(0xcbf29ce484222325));
	ASSERT_TRUE(hash_fnv1a_64(HASH_FNV1A_64_START, "a", 1) == UINT64_C(0xaf63dc4c8601ec8c));
	ASSERT_TRUE(hash_fnv1a_64(HASH_FNV1A_64_START, "foobar", 6) ==
		    UINT64_C(0x85944171f73967e8));
	ASSERT_TRUE(hash_fnv1a_32("", 0) == 0x811c9dc5);
	ASSERT_TRUE(hash_fnv1a_32("a", 1) == 0xe40c292c);
	ASSERT_TRUE(hash_fnv1a_32("foobar", 6) == 0xbf9cf968);
	ASSERT_TRUE(hash_fnv1_32("", 0) == 0x811c9dc5);
	ASSERT_TRUE(hash_fnv1_32("a", 1) == 0x050c5d7e);
	ASSERT_TRUE(hash_fnv1_32("foobar", 6) == 0x31f0b262);
	hex128("", hex);
	ASSERT_STR(hex, "6c62272e07bb014262b821756295c58d");
	hex128("a", hex);
	ASSERT_STR(hex, "d228cb696f1a8caf78912b704e4a8964");
	hex128("foobar", hex);
	ASSERT_STR(hex, "343e1662793c64bf6f0d3597ba446f18");
}

TEST(a_hash_goes_on_from_where_it_was)
{
	uint64_t h = hash_fnv1a_64(HASH_FNV1A_64_START, "foo", 3);

	ASSERT_TRUE(hash_fnv1a_64(h, "bar", 3) == hash_fnv1a_64(HASH_FNV1A_64_START, "foobar", 6));
}

RUN_TESTS(UNIT(values_are_those_of_everybody_and_for_ever), UNIT(a_hash_goes_on_from_where_it_was))
