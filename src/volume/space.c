/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a pool may promise, to whom.
 *
 * How many blocks thin volumes have cannot be read from their files alone: what two of them share
 * is in both. It is no more than all that is used, less what is certainly thick volumes' own (their
 * sizes without what these share). Where nothing is shared that is exact; where much is, thin
 * volumes are granted less rather than more.
 */
#include "volume/space.h"

#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "volume/size.h"

static uint64_t minus(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

static uint64_t plus(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* bytes * numerator / denominator, rounded down; both ≤ VOL_OVERCOMMIT_MAX. */
static uint64_t scale(uint64_t bytes, uint64_t numerator, uint64_t denominator)
{
	uint64_t whole = bytes / denominator;
	uint64_t rest = bytes % denominator * numerator / denominator;

	return whole > UINT64_MAX / numerator ? UINT64_MAX : plus(whole * numerator, rest);
}

static uint64_t round_down(uint64_t bytes)
{
	return bytes - bytes % VOL_SIZE_UNIT;
}

uint64_t vol_space_unpromised(const struct vol_space *s)
{
	return minus(s->free_bytes, plus(plus(s->kept_bytes, s->pending_bytes), s->shared_bytes));
}

unsigned vol_space_percent_of(uint64_t usable_bytes, uint64_t unpromised_bytes)
{
	if (usable_bytes == 0)
		return 100;
	return (unsigned)((double)minus(usable_bytes, unpromised_bytes) * 100 /
			  (double)usable_bytes);
}

unsigned vol_space_percent(const struct vol_space *s)
{
	return vol_space_percent_of(minus(s->total_bytes, s->kept_bytes), vol_space_unpromised(s));
}

uint64_t vol_space_thin_used(const struct vol_space *s)
{
	uint64_t own = minus(s->thick_bytes, s->shared_bytes);

	return least(s->thin_allocated, minus(minus(s->total_bytes, s->free_bytes), own));
}

uint64_t vol_space_for_thick(const struct vol_space *s)
{
	uint64_t left = vol_space_unpromised(s);
	uint64_t need = scale(s->thin_bytes, 100, s->overcommit);

	/* so that what is promised fits into what is left of it */
	need += need < UINT64_MAX && scale(need, s->overcommit, 100) < s->thin_bytes;
	return round_down(minus(left, minus(need, vol_space_thin_used(s))));
}

uint64_t vol_space_for_thin(const struct vol_space *s)
{
	uint64_t base = plus(vol_space_unpromised(s), vol_space_thin_used(s));

	if (vol_space_percent(s) >= VOL_FULL)
		return 0;
	return round_down(minus(scale(base, s->overcommit, 100), s->thin_bytes));
}

uint64_t vol_space_overdrawn(const struct vol_space *s)
{
	return minus(plus(s->kept_bytes, s->shared_bytes), s->free_bytes);
}

static int parse_percent(const char *text, uint64_t *ret_percent)
{
	size_t n = strspn(text, "0123456789");
	size_t n_fraction = text[n] == '.' ? strspn(text + n + 1, "0123456789") : 0;
	char digits[16];

	if (n == 0 || n > 3 || (text[n] == '.' && (n_fraction == 0 || n_fraction > 2)) ||
	    text[n + (text[n] == '.') + n_fraction])
		return -1;
	(void)snprintf(digits, sizeof(digits), "%.*s%.*s%s", (int)n, text, (int)n_fraction,
		       text + n + (text[n] == '.'),
		       n_fraction == 0   ? "00"
		       : n_fraction == 1 ? "0"
					 : "");
	return str_parse_u64(digits, ret_percent);
}

int vol_overcommit_parse(const char *text, unsigned *ret_percent, struct err *err)
{
	uint64_t percent;

	if (parse_percent(text, &percent) < 0 || percent < 100 || percent > VOL_OVERCOMMIT_MAX)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "'%.32s' is no ratio from 1 (nothing is promised twice) to %u, such "
			       "as 2 or 1.5",
			       text, VOL_OVERCOMMIT_MAX / 100);
	*ret_percent = (unsigned)percent;
	return 0;
}

void vol_overcommit_format(unsigned percent, char ret_text[VOL_OVERCOMMIT_TEXT_MAX])
{
	unsigned fraction = percent % 100;

	if (fraction == 0)
		(void)snprintf(ret_text, VOL_OVERCOMMIT_TEXT_MAX, "%u", percent / 100);
	else if (fraction % 10 == 0)
		(void)snprintf(ret_text, VOL_OVERCOMMIT_TEXT_MAX, "%u.%u", percent / 100,
			       fraction / 10);
	else
		(void)snprintf(ret_text, VOL_OVERCOMMIT_TEXT_MAX, "%u.%02u", percent / 100,
			       fraction);
}
