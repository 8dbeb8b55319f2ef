/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checked arithmetic for numbers that come from outside: sizes in requests,
 * quantities, figures from /proc. Answers by bool, because the caller knows
 * the field's name and which error code it deserves.
 */
#include "base/num.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

bool num_add_u64(uint64_t a, uint64_t b, uint64_t *ret)
{
	uint64_t sum;

	if (__builtin_add_overflow(a, b, &sum))
		return false;
	*ret = sum;
	return true;
}

bool num_mul_u64(uint64_t a, uint64_t b, uint64_t *ret)
{
	uint64_t product;

	if (__builtin_mul_overflow(a, b, &product))
		return false;
	*ret = product;
	return true;
}

bool num_round_up_u64(uint64_t a, uint64_t unit, uint64_t *ret)
{
	uint64_t sum;

	assert(unit && (unit & (unit - 1)) == 0);
	if (!num_add_u64(a, unit - 1, &sum))
		return false;
	*ret = sum & ~(unit - 1);
	return true;
}

void num_format_quantity(uint64_t value, char ret_text[NUM_QUANTITY_MAX])
{
	static const char *const suffixes[] = { "", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei" };
	size_t i = 0;

	while (value && value % 1024 == 0) {
		value /= 1024;
		i++;
	}
	(void)snprintf(ret_text, NUM_QUANTITY_MAX, "%" PRIu64 "%s", value, suffixes[i]);
}
