/* SPDX-License-Identifier: Apache-2.0 */
/* VolumeSnapshotClass parameters: known ones are read, unknown ones refused by name. */
#include "volume/snapshot_params.h"

#include "base/mem.h"
#include "check.h"

static int parse_one(const char *key, const char *value, struct vol_snapshot_params *ret,
		     struct err *err)
{
	struct strpair pair = { key, value };
	struct strmap map = { &pair, 1 };

	return vol_snapshot_params_parse(&map, ret, err);
}

TEST(no_parameters_mean_no_freeze_and_a_copy_of_what_is_in_pieces)
{
	struct vol_snapshot_params params;
	struct err err;

	ASSERT_OK(vol_snapshot_params_parse(&STRMAP_EMPTY, &params, &err), &err);
	ASSERT_FALSE(params.freeze);
	ASSERT_EQ(params.max_extents, VOL_SNAPSHOT_MAX_EXTENTS);
	ASSERT_TRUE(params.copy_above);
	ASSERT_STR(params.owner_namespace, "");
	ASSERT_STR(params.owner_name, "");
	ASSERT_STR(params.owner_uid, "");
}

TEST(known_keys_are_read)
{
	struct strpair pairs[] = {
		{ "freeze", "true" },
		{ "maxExtents", "0" },
		{ "whenFragmented", "refuse" },
	};
	struct vol_snapshot_params params;
	struct err err;

	ASSERT_OK(vol_snapshot_params_parse(&(struct strmap){ pairs, ARRAY_LEN(pairs) }, &params,
					    &err),
		  &err);
	ASSERT_TRUE(params.freeze);
	ASSERT_EQ(params.max_extents, 0);
	ASSERT_FALSE(params.copy_above);
	ASSERT_OK(parse_one("freeze", "false", &params, &err), &err);
	ASSERT_FALSE(params.freeze);
	ASSERT_OK(parse_one("whenFragmented", "copy", &params, &err), &err);
	ASSERT_TRUE(params.copy_above);
	ASSERT_OK(parse_one("maxExtents", "123456", &params, &err), &err);
	ASSERT_EQ(params.max_extents, 123456);
}

TEST(kubernetes_own_keys_tell_whose_it_is)
{
	static const char *const kinds[] = { "volumesnapshot", "volumegroupsnapshot" };
	static const char uid[] = "0b5e0b5e-0b5e-4b5e-8b5e-0b5e0b5e0b5e";

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		autoarena struct arena *a = arena_new();
		struct strpair pairs[] = {
			{ arena_printf(a, "csi.storage.k8s.io/%s/name", kinds[i]), "daily" },
			{ arena_printf(a, "csi.storage.k8s.io/%s/namespace", kinds[i]), "shop" },
			{ arena_printf(a, "csi.storage.k8s.io/%scontent/name", kinds[i]),
			  arena_printf(a, "snapcontent-%s", uid) },
			{ "csi.storage.k8s.io/snapshotter-secret-name", "x" },
		};
		struct vol_snapshot_params params;
		struct err err;

		ASSERT_OK(vol_snapshot_params_parse(&(struct strmap){ pairs, ARRAY_LEN(pairs) },
						    &params, &err),
			  &err);
		ASSERT_STR(params.owner_name, "daily");
		ASSERT_STR(params.owner_namespace, "shop");
		ASSERT_STR(params.owner_uid, uid);
		pairs[2].value = "by-hand";
		ASSERT_OK(vol_snapshot_params_parse(&(struct strmap){ pairs, ARRAY_LEN(pairs) },
						    &params, &err),
			  &err);
		ASSERT_STR(params.owner_uid, "");
	}
}

TEST(bad_ones_are_named)
{
	static const struct {
		const char *key, *value, *say;
	} cases[] = {
		{ "Freeze", "true", "meant is perhaps 'freeze'" },
		{ "maxextents", "1", "meant is perhaps 'maxExtents'" },
		{ "colour", "red", "unknown key 'colour'; known are freeze, maxExtents" },
		{ "", "x", "unknown key ''" },
		{ "pool", "fast", "unknown key 'pool'" },
		{ "freeze", "yes", "freeze: 'yes' is neither 'true' nor 'false'" },
		{ "freeze", "", "neither 'true'" },
		{ "maxExtents", "", "no whole number" },
		{ "maxExtents", "-1", "'-1' is no whole number" },
		{ "maxExtents", "20k", "no whole number" },
		{ "maxExtents", "18446744073709551616", "no whole number" },
		{ "whenFragmented", "Copy", "neither 'copy' nor 'refuse'" },
		{ "whenFragmented", "", "neither 'copy' nor 'refuse'" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct vol_snapshot_params params = { .owner_name = "untouched" };
		struct err err;

		ASSERT_ERR(parse_one(cases[i].key, cases[i].value, &params, &err), &err,
			   ERR_INVALID_ARGUMENT, cases[i].say);
		ASSERT_STR(params.owner_name, "untouched");
	}
}

RUN_TESTS(UNIT(no_parameters_mean_no_freeze_and_a_copy_of_what_is_in_pieces),
	  UNIT(known_keys_are_read), UNIT(kubernetes_own_keys_tell_whose_it_is),
	  UNIT(bad_ones_are_named))
