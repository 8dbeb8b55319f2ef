/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_RANDOM_H
#define BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

void random_bytes(void *buf, size_t n); /* getrandom(2); aborts if the kernel has none */
uint64_t random_below(uint64_t bound);  /* uniform in [0, bound); bound > 0 */
/* base_ns times a factor in [1 - spread, 1 + spread), for backoff with jitter; spread 0..1. */
int64_t random_jitter_ns(int64_t base_ns, double spread);

#endif
