/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random numbers from the kernel and nowhere else: no state to seed, to share
 * between threads or to guess. A call costs well under a microsecond, and all
 * that needs it (ids, hash seeds, jitter) is rare.
 */
#include "base/random.h"

#include <assert.h>
#include <errno.h>
#include <sys/random.h>

void random_bytes(void *buf, size_t n)
{
	char *p = buf;

	while (n > 0) {
		ssize_t got = getrandom(p, n, 0);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			abort();
		p += got;
		n -= (size_t)got;
	}
}

uint64_t random_below(uint64_t bound)
{
	uint64_t limit;
	uint64_t v;

	assert(bound > 0);
	/* What lies above the last whole multiple of bound would favour small results. */
	limit = UINT64_MAX - UINT64_MAX % bound;
	do
		random_bytes(&v, sizeof(v));
	while (v >= limit);
	return v % bound;
}

int64_t random_jitter_ns(int64_t base_ns, double spread)
{
	double unit = (double)random_below(UINT64_C(1) << 53) / (double)(UINT64_C(1) << 53);
	double ns = (double)base_ns * (1 - spread + 2 * spread * unit);

	assert(spread >= 0 && spread <= 1);
	return ns >= 0x1p63 ? INT64_MAX : (int64_t)ns;
}
