/* SPDX-License-Identifier: Apache-2.0 */
/* What is read as a quantity must come back from its canonical form as the same value. */
#include "base/mem.h"
#include "base/num.h"
#include "kube/quantity.h"

#include <assert.h>
#include <errno.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autofree char *text = xstrndup((const char *)data, size);
	char canonical[NUM_QUANTITY_MAX];
	uint64_t value;
	uint64_t again;
	int r = kube_quantity_parse(text, &value);

	if (r < 0) {
		assert(r == -EINVAL || r == -ERANGE);
		return 0;
	}
	assert(value <= INT64_MAX);
	num_format_quantity(value, canonical);
	r = kube_quantity_parse(canonical, &again);
	assert(r == 0 && again == value);
	return 0;
}
