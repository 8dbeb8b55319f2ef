/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_SECRET_SCAN_H
#define TESTS_UNIT_SECRET_SCAN_H

#include "check.h"

#include <stdbool.h>

/*
 * For tests that nothing of a secret is left: one that is never in memory as a whole unless a test
 * writes it byte by byte, and a search for it through all that this process can write, freed memory
 * too.
 */
#define SECRET_LEN 32
#define MAP_LARGEST (64u << 20) /* larger ones are a sanitizer's */

/* The secret's byte i, a letter: nowhere in memory unless the test puts it there. */
static inline char secret_byte(size_t i)
{
	return (char)('a' + ((i + 3) * 151 ^ i * i * 29) % 26);
}

__attribute__((no_sanitize("address", "thread"))) static inline unsigned
count_in(const volatile char *p, size_t n)
{
	unsigned found = 0;

	for (size_t at = 0; at + SECRET_LEN <= n; at++) {
		size_t same = 0;

		while (same < SECRET_LEN && p[at + same] == secret_byte(same))
			same++;
		found += same == SECRET_LEN;
	}
	return found;
}

/* Copies of the secret in all memory that this process can write. */
static inline unsigned count_secrets(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	unsigned long from = 0, to = 0;
	unsigned found = 0;
	char line[512] = "";

	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps))
		if (sscanf(line, "%lx-%lx rw-p", &from, &to) == 2 && strstr(line, " rw-p ") &&
		    to - from <= MAP_LARGEST)
			found += count_in((const volatile char *)from, to - from);
	fclose(maps);
	return found;
}

#endif
