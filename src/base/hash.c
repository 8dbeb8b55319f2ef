/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fowler, Noll and Vo's hashes (RFC 9923): a step for each byte, no key and no table. Their values
 * are on disk and in ids, so nothing here may ever give another one.
 */
#include "base/hash.h"

#define PRIME_32 UINT32_C(16777619)
#define START_32 UINT32_C(2166136261)
#define PRIME_64 UINT64_C(0x100000001b3)

__extension__ typedef unsigned __int128 word128;

uint64_t hash_fnv1a_64(uint64_t h, const void *bytes, size_t n)
{
	const uint8_t *p = bytes;

	for (size_t i = 0; i < n; i++)
		h = (h ^ p[i]) * PRIME_64;
	return h;
}

uint32_t hash_fnv1a_32(const void *bytes, size_t n)
{
	const uint8_t *p = bytes;
	uint32_t h = START_32;

	for (size_t i = 0; i < n; i++)
		h = (h ^ p[i]) * PRIME_32;
	return h;
}

uint32_t hash_fnv1_32(const void *bytes, size_t n)
{
	const uint8_t *p = bytes;
	uint32_t h = START_32;

	for (size_t i = 0; i < n; i++)
		h = (h * PRIME_32) ^ p[i];
	return h;
}

void hash_fnv1a_128(const void *bytes, size_t n, uint8_t ret_hash[HASH_FNV1A_128_BYTES])
{
	const word128 prime = ((word128)1 << 88) + 0x13b;
	word128 h = ((word128)0x6c62272e07bb0142 << 64) + 0x62b821756295c58d;
	const uint8_t *p = bytes;

	for (size_t i = 0; i < n; i++)
		h = (h ^ p[i]) * prime;
	for (size_t i = HASH_FNV1A_128_BYTES; i-- > 0; h >>= 8)
		ret_hash[i] = (uint8_t)h;
}
