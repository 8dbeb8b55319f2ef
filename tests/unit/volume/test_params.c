/* SPDX-License-Identifier: Apache-2.0 */
/* StorageClass parameters: known ones are read, unknown ones refused by name. */
#include "volume/params.h"

#include "base/mem.h"
#include "check.h"

static int parse_one(const char *key, const char *value, struct vol_params *ret, struct err *err)
{
	struct strpair pair = { key, value };
	struct strmap map = { &pair, 1 };

	return vol_params_parse(&map, ret, err);
}

TEST(no_parameters_mean_any_pool_direct_io_and_reserved_blocks)
{
	struct vol_params params;
	struct err err;

	ASSERT_OK(vol_params_parse(&STRMAP_EMPTY, &params, &err), &err);
	ASSERT_STR(params.pool, "");
	ASSERT_FALSE(params.allow_buffered);
	ASSERT_FALSE(params.is_written);
}

TEST(known_keys_are_read)
{
	struct vol_params params;
	struct err err;

	ASSERT_OK(parse_one("pool", "fast-1", &params, &err), &err);
	ASSERT_STR(params.pool, "fast-1");
	ASSERT_OK(parse_one("directIO", "preferred", &params, &err), &err);
	ASSERT_TRUE(params.allow_buffered);
	ASSERT_OK(parse_one("directIO", "required", &params, &err), &err);
	ASSERT_FALSE(params.allow_buffered);
	ASSERT_OK(parse_one("allocation", "written", &params, &err), &err);
	ASSERT_TRUE(params.is_written);
	ASSERT_OK(parse_one("allocation", "reserved", &params, &err), &err);
	ASSERT_FALSE(params.is_written);
	ASSERT_FALSE(params.no_snapshot_reserve);
	ASSERT_OK(parse_one("snapshotReserve", "none", &params, &err), &err);
	ASSERT_TRUE(params.no_snapshot_reserve);
	ASSERT_OK(parse_one("snapshotReserve", "full", &params, &err), &err);
	ASSERT_FALSE(params.no_snapshot_reserve);
	ASSERT_OK(parse_one("provisioning", "thin", &params, &err), &err);
	ASSERT_TRUE(params.is_thin);
	ASSERT_OK(parse_one("provisioning", "thick", &params, &err), &err);
	ASSERT_FALSE(params.is_thin);
}

TEST(what_a_thin_volume_cannot_have_is_named)
{
	static const struct {
		const char *key, *value, *say; /* NULL: taken */
	} cases[] = {
		{ "allocation", "written", "allocation: 'written' contradicts provisioning=thin" },
		{ "allocation", "reserved", "allocation: 'reserved' contradicts" },
		{ "snapshotReserve", "full", "snapshotReserve: 'full' contradicts" },
		{ "snapshotReserve", "none", NULL },
		{ "directIO", "preferred", NULL },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct strpair pairs[] = { { cases[i].key, cases[i].value },
					   { "provisioning", "thin" } };
		struct vol_params params;
		struct err err;
		int rc = vol_params_parse(&(struct strmap){ pairs, 2 }, &params, &err);

		if (cases[i].say)
			ASSERT_ERR(rc, &err, ERR_INVALID_ARGUMENT, cases[i].say);
		else
			ASSERT_OK(rc, &err);
	}
}

TEST(thin_is_for_xfs_alone)
{
	struct vol_params params = { .is_thin = true };
	struct err err;

	ASSERT_OK(vol_params_check_fs(&params, "xfs", false, &err), &err);
	ASSERT_OK(vol_params_check_fs(&params, "", false, &err), &err);
	ASSERT_ERR(vol_params_check_fs(&params, "ext4", false, &err), &err, ERR_INVALID_ARGUMENT,
		   "'thin' is for volumes with xfs inside, and ext4 is asked");
	ASSERT_TRUE(strstr(err.msg, "csi.storage.k8s.io/fstype: xfs") != NULL);
	ASSERT_ERR(vol_params_check_fs(&params, "", true, &err), &err, ERR_INVALID_ARGUMENT,
		   "raw block volume");
	ASSERT_TRUE(strstr(err.msg, "csi.storage.k8s.io/fstype: xfs") != NULL);
	params.is_thin = false;
	ASSERT_OK(vol_params_check_fs(&params, "ext4", true, &err), &err);
}

TEST(kubernetes_own_keys_tell_the_claim_and_the_filesystem)
{
	struct strpair pairs[] = {
		{ "csi.storage.k8s.io/fstype", "btrfs" },
		{ "csi.storage.k8s.io/pv/name", "pvc-1" },
		{ "csi.storage.k8s.io/pvc/name", "data" },
		{ "csi.storage.k8s.io/pvc/namespace", "shop" },
		{ "csi.storage.k8s.io/pvc/uid", "u-1" },
	};
	struct vol_params params;
	struct err err;

	ASSERT_OK(vol_params_parse(&STRMAP_EMPTY, &params, &err), &err);
	ASSERT_STR(params.claim_name, "");
	ASSERT_OK(vol_params_parse(&(struct strmap){ pairs, ARRAY_LEN(pairs) }, &params, &err),
		  &err);
	ASSERT_STR(params.fs, "btrfs");
	ASSERT_STR(params.claim_namespace, "shop");
	ASSERT_STR(params.claim_name, "data");
	ASSERT_STR(params.claim_uid, "u-1");
}

TEST(the_claims_uid_is_read_from_the_name_of_its_pv)
{
	static const struct {
		const char *pv, *uid;
	} cases[] = {
		{ "pvc-0b5e0b5e-0b5e-4b5e-8b5e-0b5e0b5e0b5e",
		  "0b5e0b5e-0b5e-4b5e-8b5e-0b5e0b5e0b5e" },
		{ "k-8s-0b5e0b5e-0b5e-4b5e-8b5e-0b5e0b5e0b5e",
		  "0b5e0b5e-0b5e-4b5e-8b5e-0b5e0b5e0b5e" },
		{ "0b5e0b5e-0b5e-4b5e-8b5e-0b5e0b5e0b5e", "" },
		{ "pvc_0b5e0b5e-0b5e-4b5e-8b5e-0b5e0b5e0b5e", "" },
		{ "pvc-0b5e0b5e-0b5e-4b5e-8b5e", "" },
		{ "pvc-1", "" },
		{ "", "" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct strpair pairs[] = {
			{ "csi.storage.k8s.io/pv/name", cases[i].pv },
			{ "csi.storage.k8s.io/pvc/name", "data" },
		};
		struct vol_params params;
		struct err err;

		ASSERT_OK(vol_params_parse(&(struct strmap){ pairs, ARRAY_LEN(pairs) }, &params,
					   &err),
			  &err);
		ASSERT_STR(params.claim_uid, cases[i].uid);
	}
}

TEST(the_filesystem_under_its_old_key_is_read_in_any_case)
{
	static const char *const keys[] = { "fstype", "fsType", "FSTYPE" };
	struct vol_params params;
	struct err err;

	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		ASSERT_OK(parse_one(keys[i], "xfs", &params, &err), &err);
		ASSERT_STR(params.legacy_fs, "xfs");
	}
	ASSERT_OK(parse_one("pool", "p", &params, &err), &err);
	ASSERT_STR(params.legacy_fs, "");
}

TEST(keys_of_kubernetes_are_let_through)
{
	struct vol_params params;
	struct err err;

	ASSERT_OK(parse_one("csi.storage.k8s.io/pvc/name", "claim", &params, &err), &err);
}

TEST(bad_ones_are_named)
{
	static const struct {
		const char *key, *value, *say;
	} cases[] = {
		{ "directio", "required", "meant is perhaps 'directIO'" },
		{ "colour", "red", "unknown key 'colour'" },
		{ "", "x", "unknown key ''" },
		{ "directIO", "maybe", "neither 'required' nor 'preferred'" },
		{ "directIO", "", "neither" },
		{ "allocation", "thick", "'thick' is neither 'reserved' nor 'written'" },
		{ "allocation", "", "neither 'reserved'" },
		{ "Allocation", "written", "meant is perhaps 'allocation'" },
		{ "snapshotReserve", "half", "neither 'full'" },
		{ "snapshotReserve", "", "neither 'full'" },
		{ "snapshotreserve", "full", "meant is perhaps 'snapshotReserve'; known are pool" },
		{ "provisioning", "Thin", "'Thin' is neither 'thick'" },
		{ "provisioning", "", "neither 'thick'" },
		{ "provisionning", "thin", "meant is perhaps 'provisioning'" },
		{ "pool", "", "no name of a pool" },
		{ "pool", "../x", "../x" },
		{ "pool", "Upper", "Upper" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct vol_params params = { .pool = "untouched" };
		struct err err;

		ASSERT_ERR(parse_one(cases[i].key, cases[i].value, &params, &err), &err,
			   ERR_INVALID_ARGUMENT, cases[i].say);
		ASSERT_STR(params.pool, "untouched");
	}
}

RUN_TESTS(UNIT(kubernetes_own_keys_tell_the_claim_and_the_filesystem),
	  UNIT(the_claims_uid_is_read_from_the_name_of_its_pv),
	  UNIT(no_parameters_mean_any_pool_direct_io_and_reserved_blocks),
	  UNIT(known_keys_are_read), UNIT(what_a_thin_volume_cannot_have_is_named),
	  UNIT(thin_is_for_xfs_alone), UNIT(the_filesystem_under_its_old_key_is_read_in_any_case),
	  UNIT(keys_of_kubernetes_are_let_through), UNIT(bad_ones_are_named))
