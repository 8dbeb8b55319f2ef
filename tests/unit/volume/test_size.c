/* SPDX-License-Identifier: Apache-2.0 */
/* Sizes: never below required, never above the limit. */
#include "volume/size.h"

#include "base/mem.h"
#include "base/num.h"
#include "check.h"

TEST(sizes_are_chosen_within_the_range)
{
	static const struct {
		uint64_t required, limit;
		const char *fs;
		uint64_t want; /* 0: refused with */
		enum err_code code;
	} cases[] = {
		{ 0, 0, "ext4", GIB, ERR_OK },
		{ 0, 0, "", GIB, ERR_OK },
		{ 1, 0, "ext4", VOL_SIZE_MIN_EXT4, ERR_OK },
		{ 1, 0, "xfs", VOL_SIZE_MIN_XFS, ERR_OK },
		{ 1, 0, "", VOL_SIZE_MIN_RAW, ERR_OK },
		{ GIB, GIB, "ext4", GIB, ERR_OK },
		{ GIB + 1, 0, "ext4", GIB + 4096, ERR_OK },
		{ GIB + 1, GIB + 4096, "ext4", GIB + 4096, ERR_OK },
		{ GIB + 1, GIB + 4095, "ext4", 0, ERR_OUT_OF_RANGE },
		{ 0, 64 * MIB, "ext4", 64 * MIB, ERR_OK },
		{ 0, 64 * MIB + 5, "ext4", 64 * MIB, ERR_OK },
		{ 0, 64 * MIB, "xfs", 0, ERR_OUT_OF_RANGE },
		{ 0, 4095, "", 0, ERR_OUT_OF_RANGE },
		{ 1, 2 * MIB, "xfs", 0, ERR_OUT_OF_RANGE },
		{ 0, 5 * GIB, "ext4", GIB, ERR_OK },
		{ 2 * GIB, GIB, "ext4", 0, ERR_INVALID_ARGUMENT },
		{ VOL_SIZE_MAX, 0, "", VOL_SIZE_MAX, ERR_OK },
		{ VOL_SIZE_MAX + 1, 0, "", 0, ERR_OUT_OF_RANGE },
		{ UINT64_MAX, 0, "", 0, ERR_OUT_OF_RANGE },
		{ INT64_MAX, INT64_MAX, "ext4", 0, ERR_OUT_OF_RANGE },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct vol_range range = { cases[i].required, cases[i].limit };
		uint64_t bytes = 7;
		struct err err;

		if (cases[i].code == ERR_OK) {
			ASSERT_OK(vol_size_choose(&range, cases[i].fs, &bytes, &err), &err);
			ASSERT_EQ(bytes, cases[i].want);
			ASSERT_TRUE(vol_size_is_within(bytes, &range));
		} else {
			ASSERT_ERR(vol_size_choose(&range, cases[i].fs, &bytes, &err), &err,
				   cases[i].code, "capacity_range");
			ASSERT_EQ(bytes, 7);
		}
	}
}

TEST(a_copy_is_never_smaller_than_its_source)
{
	static const struct {
		uint64_t required, limit, source;
		uint64_t want; /* 0: refused with */
		const char *say;
	} cases[] = {
		{ 0, 0, 64 * MIB, 64 * MIB, "" },
		{ 0, GIB, 64 * MIB, 64 * MIB, "" },
		{ 0, 64 * MIB, 64 * MIB, 64 * MIB, "" },
		{ 64 * MIB, 64 * MIB, 64 * MIB, 64 * MIB, "" },
		{ GIB + 1, 0, 64 * MIB, GIB + 4096, "" },
		{ 32 * MIB, 0, 64 * MIB, 0,
		  "required_bytes: 32Mi is less than the source has, 64Mi" },
		{ 64 * MIB - 1, 0, 64 * MIB, 0, "required_bytes" },
		{ 1, GIB, 64 * MIB, 0, "required_bytes" },
		{ 0, 32 * MIB, 64 * MIB, 0, "limit_bytes: 32Mi is less than the source has, 64Mi" },
		{ 0, 64 * MIB - 1, 64 * MIB, 0, "limit_bytes" },
		{ GIB + 1, GIB + 2, 64 * MIB, 0, "no multiple" },
		{ UINT64_MAX, 0, 64 * MIB, 0, "more than a volume can have" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct vol_range range = { cases[i].required, cases[i].limit };
		uint64_t bytes = 7;
		struct err err;
		int r = vol_size_choose_from(&range, cases[i].source, &bytes, &err);

		if (cases[i].want) {
			ASSERT_OK(r, &err);
			ASSERT_EQ(bytes, cases[i].want);
		} else {
			ASSERT_ERR(r, &err, ERR_OUT_OF_RANGE, cases[i].say);
			ASSERT_EQ(bytes, 7);
		}
	}
}

TEST(a_volume_grows_and_never_shrinks)
{
	static const struct {
		uint64_t now, required, limit;
		uint64_t want; /* 0: refused with */
		const char *part;
	} cases[] = {
		{ GIB, 2 * GIB, 0, 2 * GIB, NULL },
		{ GIB, 11 * GIB, 11 * GIB, 11 * GIB, NULL },
		{ GIB, 2 * GIB + 1, 0, 2 * GIB + 4096, NULL },
		{ GIB, GIB, 0, GIB, NULL },
		{ 2 * GIB, GIB, 0, 2 * GIB, NULL },
		{ 2 * GIB, 1, 2 * GIB, 2 * GIB, NULL },
		{ GIB, 0, 2 * GIB, GIB, NULL },
		{ 2 * GIB, GIB, GIB, 0, "volumes do not shrink" },
		{ 2 * GIB, 0, 2 * GIB - 1, 0, "less than the volume has, 2Gi" },
		{ GIB, 2 * GIB + 1, 2 * GIB + 4095, 0, "no multiple" },
		{ GIB, VOL_SIZE_MAX + 1, 0, 0, "more than a volume can have, 1Pi" },
		{ GIB, UINT64_MAX, 0, 0, "more than a volume can have" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct vol_range range = { cases[i].required, cases[i].limit };
		uint64_t bytes = 7;
		struct err err;

		if (cases[i].want) {
			ASSERT_OK(vol_size_choose_grown(&range, cases[i].now, &bytes, &err), &err);
			ASSERT_EQ(bytes, cases[i].want);
			continue;
		}
		ASSERT_ERR(vol_size_choose_grown(&range, cases[i].now, &bytes, &err), &err,
			   ERR_OUT_OF_RANGE, cases[i].part);
		ASSERT_EQ(bytes, 7);
	}
}

TEST(sizes_are_written_with_units)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} cases[] = {
		{ 0, "0" },
		{ 1000, "1000" },
		{ GIB, "1Gi" },
		{ 1536 * MIB, "1536Mi" },
		{ GIB + 1, "1073741825" },
		{ VOL_SIZE_MAX, "1Pi" },
		{ VOL_SIZE_MAX * 1024, "1Ei" },
		{ UINT64_MAX, "18446744073709551615" },
	};
	char text[NUM_QUANTITY_MAX];

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		num_format_quantity(cases[i].bytes, text);
		ASSERT_STR(text, cases[i].text);
	}
}

TEST(an_existing_size_is_compared_with_the_range)
{
	ASSERT_TRUE(vol_size_is_within(GIB, &(struct vol_range){ 0, 0 }));
	ASSERT_TRUE(vol_size_is_within(GIB, &(struct vol_range){ GIB, GIB }));
	ASSERT_FALSE(vol_size_is_within(GIB, &(struct vol_range){ GIB + 1, 0 }));
	ASSERT_FALSE(vol_size_is_within(GIB, &(struct vol_range){ 0, GIB - 1 }));
}

RUN_TESTS(UNIT(sizes_are_chosen_within_the_range), UNIT(a_copy_is_never_smaller_than_its_source),
	  UNIT(a_volume_grows_and_never_shrinks), UNIT(sizes_are_written_with_units),
	  UNIT(an_existing_size_is_compared_with_the_range))
