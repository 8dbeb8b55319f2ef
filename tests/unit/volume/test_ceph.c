/* SPDX-License-Identifier: Apache-2.0 */
/* ceph-csi's handles, and what its classes say. */
#include "volume/ceph.h"
#include "volume/io_limits.h"

#include "base/mem.h"
#include "base/num.h"
#include "check.h"

#define UUID_TEXT "ef8bee5a-62a9-41fa-88f5-f0784edfb316"
#define LONG_ID "0b5e4c1e-77d6-4b2c-a2b9-3f1f6b0e9f11"

TEST(handles_go_there_and_back)
{
	static const struct {
		const char *text, *cluster;
		int64_t pool_id;
	} cases[] = {
		{ "0001-0002-c1-0000000000000001-" UUID_TEXT, "c1", 1 },
		{ "0001-0024-" LONG_ID "-00000000000000ff-" UUID_TEXT, LONG_ID, 255 },
		{ "0001-0005-a-b_c-7fffffffffffffff-" UUID_TEXT, "a-b_c", INT64_MAX },
		{ "0001-0001-x-0000000000000000-" UUID_TEXT, "x", 0 },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct ceph_handle handle;
		char again[129];
		struct err err;

		ASSERT_OK(ceph_handle_parse(cases[i].text, &handle, &err), &err);
		ASSERT_STR(handle.cluster, cases[i].cluster);
		ASSERT_EQ(handle.pool_id, cases[i].pool_id);
		ASSERT_STR(handle.uuid, UUID_TEXT);
		ceph_handle_format(&handle, again);
		ASSERT_STR(again, cases[i].text);
	}
}

TEST(what_is_no_handle_is_not_found)
{
	static const char *const cases[] = {
		"",
		"0001",
		"0001-",
		"0001-0002",
		"0001-0002-",
		"0001-0002-c1",
		"0001-0002-c1-0000000000000001",
		"0001-0002-c1-0000000000000001-",
		"0001-0002-c1-0000000000000001-" UUID_TEXT "-",
		"0001-0002-c1-0000000000000001-" UUID_TEXT "0",
		"0001-0002-c1-0000000000000001-EF8BEE5A-62a9-41fa-88f5-f0784edfb316",
		"0001-0003-c1-0000000000000001-" UUID_TEXT,
		"0001-0001-c1-0000000000000001-" UUID_TEXT,
		"0001-0000--0000000000000001-" UUID_TEXT,
		"0001-0002-c/-0000000000000001-" UUID_TEXT,
		"0001-0002-c1-000000000000001-" UUID_TEXT,
		"0001-0002-c1-000000000000000A-" UUID_TEXT,
		"0001-0002-c1-8000000000000000-" UUID_TEXT,
		"0001-0025-" LONG_ID "x-0000000000000001-" UUID_TEXT,
		"0001-ffff-c1-0000000000000001-" UUID_TEXT,
		"000g-0002-c1-0000000000000001-" UUID_TEXT,
		"mig_mons-b7f67366bb43f32e07d8a261a7840da9_image-" UUID_TEXT "_706f6f6c",
		"v1-00112233445566778899aabbccddeeff-pvc-1",
		"pvc-1",
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct ceph_handle handle = { .pool_id = 7 };
		struct err err;

		ASSERT_ERR(ceph_handle_parse(cases[i], &handle, &err), &err, ERR_NOT_FOUND,
			   "is no handle");
		ASSERT_EQ(handle.pool_id, 7);
	}
}

TEST(a_handle_of_another_version_may_well_name_something)
{
	static const char *const cases[] = {
		"0002-0002-c1-0000000000000001-" UUID_TEXT,
		"00ff-0002-something new",
		"0000-0024-",
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct ceph_handle handle;
		struct err err;

		ASSERT_ERR(ceph_handle_parse(cases[i], &handle, &err), &err,
			   ERR_FAILED_PRECONDITION, "of another version");
	}
}

TEST(clusters_ids_are_those_of_config_json)
{
	ASSERT_TRUE(ceph_cluster_id_is_valid("c"));
	ASSERT_TRUE(ceph_cluster_id_is_valid(LONG_ID));
	ASSERT_TRUE(ceph_cluster_id_is_valid("rook-ceph_1.A"));
	ASSERT_FALSE(ceph_cluster_id_is_valid(""));
	ASSERT_FALSE(ceph_cluster_id_is_valid(LONG_ID "x"));
	ASSERT_FALSE(ceph_cluster_id_is_valid("a b"));
	ASSERT_FALSE(ceph_cluster_id_is_valid("a/b"));
}

static int parse_with(const char *key, const char *value, struct ceph_rbd_params *ret,
		      struct err *err)
{
	struct strpair pairs[] = { { "clusterID", "c1" }, { "pool", "rbd" }, { key, value } };

	return ceph_rbd_params_parse(&(struct strmap){ pairs, 3 }, ret, err);
}

TEST(a_class_of_two_keys_has_ceph_csis_defaults)
{
	struct ceph_rbd_params p;
	struct err err;

	ASSERT_OK(parse_with("mounter", "", &p, &err), &err);
	ASSERT_STR(p.cluster, "c1");
	ASSERT_STR(p.pool, "rbd");
	ASSERT_STR(p.data_pool, "");
	ASSERT_STR(p.rados_namespace, "");
	ASSERT_STR(p.prefix, "csi-vol-");
	ASSERT_EQ(p.features, CEPH_RBD_LAYERING);
	ASSERT_EQ(p.stripe_unit + p.stripe_count + p.object_size, 0);
	ASSERT_EQ(p.mounter, CEPH_MOUNTER_ANY);
	ASSERT_STR(p.map_options, "");
	ASSERT_STR(p.unmap_options, "");
	ASSERT_STR(p.mkfs_options, "");
	ASSERT_STR(p.owner, "");
	ASSERT_STR(p.claim, "");
	ASSERT_STR(p.volume, "");
}

TEST(all_keys_are_read)
{
	struct strpair pairs[] = {
		{ "clusterID", "c1" },
		{ "pool", "rbd" },
		{ "dataPool", "ec" },
		{ "radosNamespace", "ns" },
		{ "volumeNamePrefix", "shop-" },
		{ "imageFeatures", "layering,exclusive-lock, object-map ,fast-diff,deep-flatten" },
		{ "stripeUnit", "65536" },
		{ "stripeCount", "16" },
		{ "objectSize", "8388608" },
		{ "mounter", "rbd-nbd" },
		{ "tryOtherMounters", "true" },
		{ "mapOptions", "krbd:queue_depth=1024,rxbounce;nbd:try-netlink" },
		{ "unmapOptions", "force" },
		{ "mkfsOptions", "-m0 -Ediscard" },
		{ "cephLogDir", "/var/log/ceph" },
		{ "cephLogStrategy", "remove" },
		{ "csi.storage.k8s.io/fstype", "ext4" },
		{ "csi.storage.k8s.io/pv/name", "pv-1" },
		{ "csi.storage.k8s.io/pvc/name", "data" },
		{ "csi.storage.k8s.io/pvc/namespace", "shop" },
	};
	struct ceph_rbd_params p;
	struct err err;

	ASSERT_OK(ceph_rbd_params_parse(&(struct strmap){ pairs, ARRAY_LEN(pairs) }, &p, &err),
		  &err);
	ASSERT_STR(p.data_pool, "ec");
	ASSERT_STR(p.rados_namespace, "ns");
	ASSERT_STR(p.prefix, "shop-");
	ASSERT_EQ(p.features, 61);
	ASSERT_EQ(p.stripe_unit, 65536);
	ASSERT_EQ(p.stripe_count, 16);
	ASSERT_EQ(p.object_size, 8 * MIB);
	ASSERT_EQ(p.mounter, CEPH_MOUNTER_FUSE);
	ASSERT_STR(p.map_options, "queue_depth=1024,rxbounce");
	ASSERT_STR(p.unmap_options, "force");
	ASSERT_STR(p.mkfs_options, "-m0 -Ediscard");
	ASSERT_STR(p.owner, "shop");
	ASSERT_STR(p.claim, "data");
	ASSERT_STR(p.volume, "pv-1");
}

TEST(what_cleat_does_not_do_may_be_there_but_not_asked)
{
	static const char *const keys[] = {
		"integrityMode",
		"baseReadIops",
		"maxWriteBps",
		"topologyConstrainedPools",
		"readIopsPerGiB",
		"baseWriteIops",
		"maxBps",
		"baseReadBytesPerSecond",
		"bpsPerGiB",
		"encryptionCipher",
		"encryptionKeySize",
		"encryptionSectorSize",
		"baseVolSizeBytes",
	};

	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		struct ceph_rbd_params p;
		struct err err;

		ASSERT_OK(parse_with(keys[i], "", &p, &err), &err);
		ASSERT_OK(parse_with(keys[i], "false", &p, &err), &err);
		ASSERT_ERR(parse_with(keys[i], "true", &p, &err), &err, ERR_INVALID_ARGUMENT,
			   keys[i]);
		ASSERT_TRUE(strstr(err.msg, "cleat does not") != NULL);
	}
}

static int parse_encrypted(const char *key, const char *value, struct ceph_rbd_params *ret,
			   struct err *err)
{
	struct strpair pairs[] = {
		{ "clusterID", "c1" }, { "encrypted", "true" }, { "pool", "rbd" }, { key, value }
	};

	return ceph_rbd_params_parse(&(struct strmap){ pairs, 4 }, ret, err);
}

TEST(volumes_may_be_encrypted_by_the_secrets_passphrase)
{
	static const struct {
		const char *key, *value, *say;
	} refused[] = {
		{ "encryptionType", "file", "fscrypt" },
		{ "encryptionType", "luks", "none of 'block' and 'file'" },
		{ "encryptionKMSID", "vault-1", "encryptionPassphrase" },
		{ "mounter", "krbd", "served by FUSE" },
		{ "objectSize", "33554432", "16 MiB" },
	};
	struct ceph_rbd_params p;
	struct err err;

	ASSERT_OK(parse_with("encrypted", "", &p, &err), &err);
	ASSERT_FALSE(p.encrypted);
	ASSERT_OK(parse_with("encrypted", "false", &p, &err), &err);
	ASSERT_FALSE(p.encrypted);
	ASSERT_OK(parse_with("encrypted", "true", &p, &err), &err);
	ASSERT_TRUE(p.encrypted);
	ASSERT_ERR(parse_with("encrypted", "yes", &p, &err), &err, ERR_INVALID_ARGUMENT,
		   "neither 'true' nor 'false'");
	ASSERT_OK(parse_with("encryptionType", "block", &p, &err), &err);
	ASSERT_OK(parse_with("encryptionKMSID", "default", &p, &err), &err);
	for (size_t i = 0; i < ARRAY_LEN(refused); i++)
		ASSERT_ERR(parse_encrypted(refused[i].key, refused[i].value, &p, &err), &err,
			   ERR_INVALID_ARGUMENT, refused[i].say);
	ASSERT_OK(parse_encrypted("objectSize", "8388608", &p, &err), &err);
	ASSERT_OK(parse_encrypted("mounter", "rbd", &p, &err), &err);
}

/* They are the same of every kind of storage, so they are read by whoever makes the volume. */
TEST(limits_of_io_may_be_in_a_class)
{
	struct ceph_rbd_params p;
	struct err err;

	for (size_t i = 0; i < VOL_LIMITS_N; i++)
		ASSERT_OK(parse_with(vol_limits_keys[i], "500", &p, &err), &err);
	ASSERT_ERR(parse_with("readIopss", "500", &p, &err), &err, ERR_INVALID_ARGUMENT,
		   "readIOPS");
	ASSERT_ERR(parse_with("maxBps", "500", &p, &err), &err, ERR_INVALID_ARGUMENT,
		   "VolumeAttributesClass");
}

TEST(mounters_and_options_of_the_kernels_client)
{
	static const struct {
		const char *key, *value, *options;
		enum ceph_mounter mounter;
	} cases[] = {
		{ "mounter", "rbd", "", CEPH_MOUNTER_ANY },
		{ "mounter", "krbd", "", CEPH_MOUNTER_KRBD },
		{ "mounter", "fuse", "", CEPH_MOUNTER_FUSE },
		{ "mapOptions", "a,b=c", "a,b=c", CEPH_MOUNTER_ANY },
		{ "mapOptions", "nbd:x", "", CEPH_MOUNTER_ANY },
		{ "mapOptions", "nbd:x;krbd:a", "a", CEPH_MOUNTER_ANY },
		{ "mapOptions", "krbd:", "", CEPH_MOUNTER_ANY },
		{ "mapOptions", "crush_location=host:n1|rack:r", "crush_location=host:n1|rack:r",
		  CEPH_MOUNTER_ANY },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct ceph_rbd_params p;
		struct err err;

		ASSERT_OK(parse_with(cases[i].key, cases[i].value, &p, &err), &err);
		ASSERT_STR(p.map_options, cases[i].options);
		ASSERT_EQ(p.mounter, cases[i].mounter);
	}
}

static const char long_text[] =
	"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

TEST(bad_values_are_named)
{
	static const struct {
		const char *key, *value, *say;
	} cases[] = {
		{ "dataPool", "a b", "dataPool: 'a b' has a character" },
		{ "dataPool", "a/b", "has a character" },
		{ "dataPool", long_text, "longer than 128 bytes" },
		{ "radosNamespace", "a@b", "has a character" },
		{ "volumeNamePrefix", "a\nb", "has a character" },
		{ "volumeNamePrefix", long_text, "longer than 48 bytes" },
		{ "imageFeatures", "layering,colour", "'colour' is no feature" },
		{ "imageFeatures", "layering,", "'' is no feature" },
		{ "imageFeatures", ",layering", "'' is no feature" },
		{ "imageFeatures", "layering exclusive-lock", "is no list with commas" },
		{ "imageFeatures", "Layering", "is no feature" },
		{ "imageFeatures", "object-map", "object-map needs exclusive-lock" },
		{ "imageFeatures", "exclusive-lock,fast-diff", "fast-diff needs object-map" },
		{ "imageFeatures", "exclusive-lock,journaling", "journaling, which neither" },
		{ "stripeUnit", "4096", "stripeUnit and stripeCount: one" },
		{ "stripeCount", "2", "stripeUnit and stripeCount: one" },
		{ "stripeCount", "0", "no whole number above 0" },
		{ "stripeUnit", "4Ki", "no whole number above 0" },
		{ "objectSize", "4194305", "no power of two" },
		{ "objectSize", "2048", "no power of two" },
		{ "objectSize", "67108864", "no power of two" },
		{ "objectSize", "-1", "no whole number" },
		{ "mounter", "nbd", "mounter: 'nbd' is none of" },
		{ "tryOtherMounters", "yes", "neither 'true' nor 'false'" },
		{ "mapOptions", "a b", "has a blank" },
		{ "mapOptions", "krbd:a,secret=x", "'secret' is not for a class to say" },
		{ "mapOptions", "name=admin", "'name' is not for a class to say" },
		{ "unmapOptions", long_text, "longer than 255 bytes" },
		{ "mkfsOptions", "a\nb", "a control character" },
		{ "dataPools", "x", "meant is perhaps 'dataPool'" },
		{ "imagefeatures", "x", "meant is perhaps 'imageFeatures'" },
		{ "colour", "red", "unknown key 'colour'; known are clusterID, pool" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct ceph_rbd_params p = { .owner = "untouched" };
		struct err err;

		ASSERT_ERR(parse_with(cases[i].key, cases[i].value, &p, &err), &err,
			   ERR_INVALID_ARGUMENT, cases[i].say);
		ASSERT_STR(p.owner, "untouched");
	}
}

TEST(units_of_a_stripe_fill_an_object)
{
	struct strpair pairs[] = { { "clusterID", "c1" },
				   { "pool", "rbd" },
				   { "stripeUnit", "65536" },
				   { "stripeCount", "4" },
				   { "objectSize", "32768" } };
	struct strmap map = { pairs, ARRAY_LEN(pairs) };
	struct ceph_rbd_params p;
	struct err err;

	ASSERT_ERR(ceph_rbd_params_parse(&map, &p, &err), &err, ERR_INVALID_ARGUMENT,
		   "65536 does not divide the object's size, 32768");
	map.n = 4;
	ASSERT_OK(ceph_rbd_params_parse(&map, &p, &err), &err);
}

TEST(clusterID_and_pool_are_needed)
{
	struct strpair pool = { "pool", "rbd" };
	struct strpair both[] = { { "clusterID", "c1" }, { "pool", "" } };
	struct ceph_rbd_params p;
	struct err err;

	ASSERT_ERR(ceph_rbd_params_parse(&(struct strmap){ &pool, 1 }, &p, &err), &err,
		   ERR_INVALID_ARGUMENT, "clusterID is missing");
	ASSERT_ERR(ceph_rbd_params_parse(&(struct strmap){ both, 2 }, &p, &err), &err,
		   ERR_INVALID_ARGUMENT, "pool is missing");
	both[0].value = "a/b";
	ASSERT_ERR(ceph_rbd_params_parse(&(struct strmap){ both, 2 }, &p, &err), &err,
		   ERR_INVALID_ARGUMENT, "is no id of a cluster");
}

TEST(snapshot_classes_are_read)
{
	struct strpair pairs[] = {
		{ "clusterID", "c1" },
		{ "pool", "rbd" },
		{ "snapshotNamePrefix", "s-" },
		{ "csi.storage.k8s.io/volumesnapshot/name", "daily" },
		{ "csi.storage.k8s.io/volumesnapshot/namespace", "shop" },
		{ "csi.storage.k8s.io/volumesnapshotcontent/name", "snapcontent-1" },
	};
	struct ceph_rbd_snapshot_params p;
	struct err err;

	ASSERT_OK(ceph_rbd_snapshot_params_parse(&(struct strmap){ pairs, ARRAY_LEN(pairs) }, &p,
						 &err),
		  &err);
	ASSERT_STR(p.cluster, "c1");
	ASSERT_STR(p.pool, "rbd");
	ASSERT_STR(p.prefix, "s-");
	ASSERT_STR(p.owner, "shop");
	ASSERT_STR(p.snapshot, "daily");
	ASSERT_STR(p.content, "snapcontent-1");
	ASSERT_FALSE(p.stays);
	pairs[1] = (struct strpair){ "snapshotLayout", "source" };
	ASSERT_OK(ceph_rbd_snapshot_params_parse(&(struct strmap){ pairs, 2 }, &p, &err), &err);
	ASSERT_TRUE(p.stays);
	pairs[1].value = "image";
	ASSERT_OK(ceph_rbd_snapshot_params_parse(&(struct strmap){ pairs, 2 }, &p, &err), &err);
	ASSERT_FALSE(p.stays);
	pairs[1].value = "clone";
	ASSERT_ERR(ceph_rbd_snapshot_params_parse(&(struct strmap){ pairs, 2 }, &p, &err), &err,
		   ERR_INVALID_ARGUMENT, "snapshotLayout");
	pairs[1] = (struct strpair){ "pool", "rbd" };
	ASSERT_OK(ceph_rbd_snapshot_params_parse(&(struct strmap){ pairs, 1 }, &p, &err), &err);
	ASSERT_STR(p.prefix, "csi-snap-");
	ASSERT_STR(p.pool, "");
	ASSERT_STR(p.owner, "");
	ASSERT_ERR(ceph_rbd_snapshot_params_parse(&(struct strmap){ pairs + 1, 1 }, &p, &err), &err,
		   ERR_INVALID_ARGUMENT, "clusterID is missing");
	pairs[2].key = "snapshotnameprefix";
	ASSERT_ERR(ceph_rbd_snapshot_params_parse(&(struct strmap){ pairs, 3 }, &p, &err), &err,
		   ERR_INVALID_ARGUMENT, "meant is perhaps 'snapshotNamePrefix'");
}

RUN_TESTS(UNIT(volumes_may_be_encrypted_by_the_secrets_passphrase), UNIT(handles_go_there_and_back),
	  UNIT(what_is_no_handle_is_not_found),
	  UNIT(a_handle_of_another_version_may_well_name_something),
	  UNIT(clusters_ids_are_those_of_config_json),
	  UNIT(a_class_of_two_keys_has_ceph_csis_defaults), UNIT(all_keys_are_read),
	  UNIT(what_cleat_does_not_do_may_be_there_but_not_asked),
	  UNIT(limits_of_io_may_be_in_a_class), UNIT(mounters_and_options_of_the_kernels_client),
	  UNIT(bad_values_are_named), UNIT(units_of_a_stripe_fill_an_object),
	  UNIT(clusterID_and_pool_are_needed), UNIT(snapshot_classes_are_read))
