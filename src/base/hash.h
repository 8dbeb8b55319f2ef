/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

/*
 * FNV: hashes that are the same in every process and every version, for what is stored, or what
 * another program computes too. Whoever chooses the bytes can make two meet; tables that outsiders
 * fill use base/map.h.
 */
#define HASH_FNV1A_64_START UINT64_C(0xcbf29ce484222325)
/* FNV-1a of 64 bits; goes on from h, HASH_FNV1A_64_START at first. */
uint64_t hash_fnv1a_64(uint64_t h, const void *bytes, size_t n);

/* FNV-1a of 32 bits, as Go's hash/fnv.New32a. */
uint32_t hash_fnv1a_32(const void *bytes, size_t n);
/* FNV-1 of 32 bits, which multiplies first, as Go's hash/fnv.New32. */
uint32_t hash_fnv1_32(const void *bytes, size_t n);

#define HASH_FNV1A_128_BYTES 16
/* FNV-1a of 128 bits, the highest byte first: for names of things, where two must not meet by
 * accident. */
void hash_fnv1a_128(const void *bytes, size_t n, uint8_t ret_hash[HASH_FNV1A_128_BYTES]);

#endif
