/* SPDX-License-Identifier: Apache-2.0 */
/* RFC 3339 times as the API server sends them; what is taken is formatted and must be read back as
 * the same time. */
#include "base/clock.h"
#include "base/mem.h"

#include <assert.h>
#include <errno.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autofree char *text = xstrndup((const char *)data, size);
	char again[CLOCK_TEXT_MAX];
	int64_t ns = -7;
	int64_t back;
	int64_t lost;
	int r = clock_parse(text, &ns);

	if (r < 0) {
		assert(r == -EINVAL && ns == -7);
		return 0;
	}
	clock_format_micro(ns, again);
	r = clock_parse(again, &back);
	assert(r == 0);
	lost = ns - back;
	assert(lost >= 0 && lost < NS_PER_US);
	return 0;
}
