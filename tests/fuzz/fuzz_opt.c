/* SPDX-License-Identifier: Apache-2.0 */
/* Durations and sizes as they come from command lines and StorageClasses. */
#include "base/mem.h"
#include "base/opt.h"

#include <assert.h>
#include <errno.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const known[] = { "csi-address", "timeout", "pool-size" };
	autofree char *text = xstrndup((const char *)data, size);
	const char *nearest = opt_nearest(text, known, ARRAY_LEN(known));
	uint64_t bytes = 7;
	int64_t ns = -7;
	int r = opt_parse_duration(text, &ns);

	assert((r == 0 && ns >= 0) || (r == -EINVAL && ns == -7));
	r = opt_parse_bytes(text, &bytes);
	assert(r == 0 || ((r == -EINVAL || r == -ERANGE) && bytes == 7));
	/* What is a duration ends in a unit that no size has, but for plain zero. */
	assert(r != 0 || ns == -7 || strcmp(text, "0") == 0);
	assert(!nearest || strlen(text) > 2);
	return 0;
}
