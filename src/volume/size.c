/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sizes. Capacity is never rounded below what was required nor above the limit; when no multiple of
 * the unit lies between the two, the answer is OUT_OF_RANGE and not a volume of nearly the right
 * size (CSI 1.13, CapacityRange).
 */
#include "volume/size.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/num.h"
#include "base/str.h"

uint64_t vol_size_min(const char *fs)
{
	if (str_is_equal(fs, "ext4"))
		return VOL_SIZE_MIN_EXT4;
	if (str_is_equal(fs, "xfs"))
		return VOL_SIZE_MIN_XFS;
	return VOL_SIZE_MIN_RAW;
}

static int refuse_small_limit(const char *fs, uint64_t limit, uint64_t min, struct err *err)
{
	char limit_text[NUM_QUANTITY_MAX], min_text[NUM_QUANTITY_MAX];

	num_format_quantity(limit, limit_text);
	num_format_quantity(min, min_text);
	return err_set(err, ERR_OUT_OF_RANGE,
		       "capacity_range.limit_bytes: %s is less than the least size of a %s volume, "
		       "%s",
		       limit_text, str_or(fs, "raw"), min_text);
}

static int refuse_large(uint64_t required, struct err *err)
{
	char text[NUM_QUANTITY_MAX], max_text[NUM_QUANTITY_MAX];

	num_format_quantity(required, text);
	num_format_quantity(VOL_SIZE_MAX, max_text);
	return err_set(err, ERR_OUT_OF_RANGE,
		       "capacity_range.required_bytes: %s is more than a volume can have, %s", text,
		       max_text);
}

static int refuse_limit_inside(const struct vol_range *range, struct err *err)
{
	return err_set(err, ERR_OUT_OF_RANGE,
		       "capacity_range: no multiple of %" PRIu64 " lies between required_bytes "
		       "%" PRIu64 " and limit_bytes %" PRIu64,
		       VOL_SIZE_UNIT, range->required_bytes, range->limit_bytes);
}

/* Only a limit is given, or nothing: the default size, or as much of it as the limit allows. */
static int choose_default(uint64_t limit, const char *fs, uint64_t min, uint64_t *ret_bytes,
			  struct err *err)
{
	uint64_t bytes = VOL_SIZE_DEFAULT;

	if (limit && bytes > limit)
		bytes = limit & ~(VOL_SIZE_UNIT - 1);
	if (bytes < min)
		return refuse_small_limit(fs, limit, min, err);
	*ret_bytes = bytes;
	return 0;
}

int vol_size_choose(const struct vol_range *range, const char *fs, uint64_t *ret_bytes,
		    struct err *err)
{
	uint64_t required = range->required_bytes;
	uint64_t limit = range->limit_bytes;
	uint64_t min = vol_size_min(fs);
	uint64_t bytes;

	if (limit && limit < required)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "capacity_range: limit_bytes %" PRIu64
			       " is less than required_bytes "
			       "%" PRIu64,
			       limit, required);
	if (!required)
		return choose_default(limit, fs, min, ret_bytes, err);
	if (!num_round_up_u64(required, VOL_SIZE_UNIT, &bytes) || bytes > VOL_SIZE_MAX)
		return refuse_large(required, err);
	if (bytes < min)
		bytes = min;
	if (limit && bytes > limit) {
		if (limit < min)
			return refuse_small_limit(fs, limit, min, err);
		return refuse_limit_inside(range, err);
	}
	*ret_bytes = bytes;
	return 0;
}

int vol_size_choose_grown(const struct vol_range *range, uint64_t now, uint64_t *ret_bytes,
			  struct err *err)
{
	char now_text[NUM_QUANTITY_MAX], limit_text[NUM_QUANTITY_MAX];
	uint64_t bytes = now;

	if (range->limit_bytes && now > range->limit_bytes) {
		num_format_quantity(now, now_text);
		num_format_quantity(range->limit_bytes, limit_text);
		return err_set(err, ERR_OUT_OF_RANGE,
			       "capacity_range.limit_bytes: %s is less than the volume has, %s; "
			       "volumes do not shrink",
			       limit_text, now_text);
	}
	if (range->required_bytes > now &&
	    (!num_round_up_u64(range->required_bytes, VOL_SIZE_UNIT, &bytes) ||
	     bytes > VOL_SIZE_MAX))
		return refuse_large(range->required_bytes, err);
	if (range->limit_bytes && bytes > range->limit_bytes)
		return refuse_limit_inside(range, err);
	*ret_bytes = bytes;
	return 0;
}

static int refuse_smaller(const char *field, uint64_t bytes, uint64_t source_bytes, struct err *err)
{
	char text[NUM_QUANTITY_MAX], source_text[NUM_QUANTITY_MAX];

	num_format_quantity(bytes, text);
	num_format_quantity(source_bytes, source_text);
	return err_set(err, ERR_OUT_OF_RANGE,
		       "capacity_range.%s: %s is less than the source has, %s; ask for %s or more",
		       field, text, source_text, source_text);
}

int vol_size_choose_from(const struct vol_range *range, uint64_t source_bytes, uint64_t *ret_bytes,
			 struct err *err)
{
	struct vol_range wanted = *range;

	if (range->limit_bytes && range->limit_bytes < source_bytes)
		return refuse_smaller("limit_bytes", range->limit_bytes, source_bytes, err);
	if (range->required_bytes && range->required_bytes < source_bytes)
		return refuse_smaller("required_bytes", range->required_bytes, source_bytes, err);
	if (!wanted.required_bytes)
		wanted.required_bytes = source_bytes;
	return vol_size_choose(&wanted, "", ret_bytes, err);
}

bool vol_size_is_within(uint64_t bytes, const struct vol_range *range)
{
	return bytes >= range->required_bytes &&
	       (!range->limit_bytes || bytes <= range->limit_bytes);
}
