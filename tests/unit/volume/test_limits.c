/* SPDX-License-Identifier: Apache-2.0 */
/* Limits of I/O: quantities are read, what is none is refused by key and value. */
#include "volume/io_limits.h"

#include "base/mem.h"
#include "base/num.h"
#include "check.h"
#include "volume/params.h"

static int merge_one(struct vol_limits *limits, const char *key, const char *value, struct err *err)
{
	struct strpair pair = { key, value };
	struct strmap map = { &pair, 1 };

	return vol_limits_merge(limits, "mutable_parameters", &map, err);
}

TEST(quantities_are_read)
{
	static const struct {
		const char *key, *value;
		struct vol_limits want;
	} cases[] = {
		{ "readIOPS", "500", { .read_iops = 500 } },
		{ "readIOPS", "1", { .read_iops = 1 } },
		{ "writeIOPS", "2k", { .write_iops = 2000 } },
		{ "writeIOPS", "1G", { .write_iops = 1000000000 } },
		{ "readBandwidth", "20Mi", { .read_bandwidth = 20 * MIB } },
		{ "readBandwidth", "4096", { .read_bandwidth = 4096 } },
		{ "writeBandwidth", "100M", { .write_bandwidth = 100000000 } },
		{ "writeBandwidth", "1Ti", { .write_bandwidth = 1024 * GIB } },
		{ "csi.storage.k8s.io/pvc/name", "data", { 0 } },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct vol_limits got = { 0 };
		struct err err;

		ASSERT_OK(merge_one(&got, cases[i].key, cases[i].value, &err), &err);
		ASSERT_TRUE(vol_limits_are_equal(&got, &cases[i].want));
		ASSERT_TRUE(vol_limits_are_valid(&got));
	}
}

TEST(what_is_no_limit_is_refused_by_key_and_value)
{
	static const struct {
		const char *key, *value;
	} cases[] = {
		{ "readIOPS", "0" },
		{ "writeIOPS", "0" },
		{ "readIOPS", "" },
		{ "readIOPS", "-1" },
		{ "readIOPS", "1.5" },
		{ "readIOPS", "1000000001" },
		{ "readIOPS", "2G" },
		{ "readIOPS", "5000000000" }, /* 32 bits would make 705032704 of it */
		{ "readIOPS", "99999999999999999999999" },
		{ "readIOPS", "500/s" },
		{ "readIOPS", " 500" },
		{ "readIOPS", "MAX" },
		{ "readBandwidth", "0" },
		{ "readBandwidth", "4095" },
		{ "writeBandwidth", "2Ti" },
		{ "writeBandwidth", "16Ei" },
		{ "writeBandwidth", "17179869184Gi" },
		{ "writeBandwidth", "20MB" },
		{ "readiops", "500" },
		{ "iops", "500" },
		{ "pool", "fast" },
		{ "XXX_FakeKey", "XXX_FakeValue" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct vol_limits got = { .read_iops = 7, .write_bandwidth = 8192 };
		struct vol_limits before = got;
		struct err err;

		ASSERT_ERR(merge_one(&got, cases[i].key, cases[i].value, &err), &err,
			   ERR_INVALID_ARGUMENT, cases[i].key);
		ASSERT_TRUE(strstr(err.msg, cases[i].value) != NULL);
		ASSERT_TRUE(vol_limits_are_equal(&got, &before));
	}
}

TEST(the_nearest_key_is_told)
{
	struct vol_limits got = { 0 };
	struct err err;

	ASSERT_ERR(merge_one(&got, "readIops", "500", &err), &err, ERR_INVALID_ARGUMENT,
		   "perhaps 'readIOPS'");
}

TEST(only_keys_that_are_there_change_and_one_bad_one_changes_none)
{
	struct vol_limits got = { .read_iops = 7, .write_iops = 9, .read_bandwidth = 8192 };
	struct strpair good[] = { { "readIOPS", "max" }, { "writeBandwidth", "1Mi" } };
	struct strpair bad[] = { { "readIOPS", "5" }, { "writeBandwidth", "0" } };
	struct err err;

	ASSERT_OK(vol_limits_merge(&got, "mutable_parameters", &(struct strmap){ good, 2 }, &err),
		  &err);
	ASSERT_EQ(got.read_iops, 0);
	ASSERT_EQ(got.write_iops, 9);
	ASSERT_EQ(got.read_bandwidth, 8192);
	ASSERT_EQ(got.write_bandwidth, MIB);
	ASSERT_ERR(vol_limits_merge(&got, "mutable_parameters", &(struct strmap){ bad, 2 }, &err),
		   &err, ERR_INVALID_ARGUMENT, "writeBandwidth: '0'");
	ASSERT_EQ(got.read_iops, 0);
	ASSERT_OK(vol_limits_merge(&got, "mutable_parameters", &STRMAP_EMPTY, &err), &err);
	ASSERT_EQ(got.write_iops, 9);
}

TEST(a_class_may_have_them_among_its_parameters)
{
	struct strpair pairs[] = { { "pool", "fast" }, { "writeIOPS", "2k" } };
	struct strpair zero = { "writeIOPS", "0" };
	struct vol_params params;
	struct err err;

	ASSERT_OK(vol_params_parse(&(struct strmap){ pairs, 2 }, &params, &err), &err);
	ASSERT_EQ(params.limits.write_iops, 2000);
	ASSERT_ERR(vol_params_parse(&(struct strmap){ &zero, 1 }, &params, &err), &err,
		   ERR_INVALID_ARGUMENT, "parameters: writeIOPS: '0'");
}

TEST(they_are_told_in_words)
{
	char text[VOL_LIMITS_TEXT_MAX];
	struct vol_limits all = { 1000000000, 1000000000, 1024 * GIB - 1, 1024 * GIB - 1 };

	vol_limits_describe(&(struct vol_limits){ 0 }, text);
	ASSERT_STR(text, "no limits");
	vol_limits_describe(&(struct vol_limits){ .read_iops = 500, .write_bandwidth = 20 * MIB },
			    text);
	ASSERT_STR(text, "readIOPS=500 writeBandwidth=20Mi");
	vol_limits_describe(&all, text);
	ASSERT_STR(text, "readIOPS=1000000000 writeIOPS=1000000000 readBandwidth=1099511627775 "
			 "writeBandwidth=1099511627775");
}

TEST(ranges_are_known_of_numbers_too)
{
	ASSERT_TRUE(vol_limits_are_valid(&(struct vol_limits){ 0 }));
	ASSERT_TRUE(vol_limits_are_valid(&(struct vol_limits){ .read_bandwidth = 4096 }));
	ASSERT_FALSE(vol_limits_are_valid(&(struct vol_limits){ .read_bandwidth = 4095 }));
	ASSERT_FALSE(vol_limits_are_valid(&(struct vol_limits){ .write_iops = 1000000001 }));
	ASSERT_FALSE(vol_limits_are_set(&(struct vol_limits){ 0 }));
	ASSERT_TRUE(vol_limits_are_set(&(struct vol_limits){ .write_iops = 1 }));
}

RUN_TESTS(UNIT(quantities_are_read), UNIT(what_is_no_limit_is_refused_by_key_and_value),
	  UNIT(the_nearest_key_is_told),
	  UNIT(only_keys_that_are_there_change_and_one_bad_one_changes_none),
	  UNIT(a_class_may_have_them_among_its_parameters), UNIT(they_are_told_in_words),
	  UNIT(ranges_are_known_of_numbers_too))
