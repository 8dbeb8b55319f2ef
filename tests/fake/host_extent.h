/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FAKE_HOST_EXTENT_H
#define TESTS_FAKE_HOST_EXTENT_H

#include <stdbool.h>
#include <stdint.h>

/* Files below "/pool" and what is written in them. */

/* New bytes, as a pod writes them: at a new place, so that what shares the old one keeps it. */
void fake_host_write(const char *name, uint64_t start, uint64_t bytes);
/* What was written is gone from there (a discard): it reads as zeros. */
void fake_host_punch(const char *name, uint64_t start, uint64_t bytes);
/* Whether two files read the same: what mkfs put inside, and all that was written. */
bool fake_host_reads_same(const char *name, const char *other_name);
/* The file is said to be of so many extents; 0: as many as it is. */
void fake_host_set_n_extents(const char *name, unsigned n);
/* No place of the file is certain from now on. */
void fake_host_blur(const char *name);
/* Its blocks are at new places from now on, with the same bytes, and the other's at those where
 * they were, as if it had been given them. */
void fake_host_move(const char *name, const char *other_name);
/* Calls this after each look at the map of a file. */
void fake_host_after_map(void (*fn)(void *arg), void *arg);

/* On the fake clock each piece of a copy takes so long. */
void fake_host_slow_copies(int64_t ns);
/* Calls this each time before a clone. */
void fake_host_at_clone(void (*fn)(void *arg), void *arg);

#endif
