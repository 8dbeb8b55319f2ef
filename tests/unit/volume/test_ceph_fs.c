/* SPDX-License-Identifier: Apache-2.0 */
/* What classes of cephfs.csi.ceph.com say. */
#include "base/mem.h"
#include "check.h"
#include "volume/capability.h"
#include "volume/ceph.h"

static int parse(const char *key, const char *value, struct ceph_fs_params *ret, struct err *err)
{
	struct strpair pairs[] = { { "clusterID", "c1" }, { "fsName", "cephfs" }, { key, value } };
	autoarena struct arena *a = arena_new();
	struct strmap map = strmap_from(a, pairs, key ? 3 : 2);

	return ceph_fs_params_parse(&map, ret, err);
}

TEST(a_class_of_two_keys_is_enough)
{
	struct ceph_fs_params p;
	struct err err;

	ASSERT_OK(parse(NULL, NULL, &p, &err), &err);
	ASSERT_STR(p.prefix, "csi-vol-");
	ASSERT_STR(p.pool, "");
	ASSERT_OK(parse("mounter", "", &p, &err), &err);
	ASSERT_OK(parse("mounter", "fuse", &p, &err), &err);
	ASSERT_OK(parse("mounter", "kernel", &p, &err), &err);
}

TEST(what_is_wrong_is_named)
{
	static const struct {
		const char *key, *value, *says;
	} wrong[] = {
		{ "clusterID", "", "clusterID is missing" },
		{ "fsName", "", "fsName is missing" },
		{ "fsName", "a/b", "has a character" },
		{ "mounter", "rbd", "neither 'kernel' nor 'fuse'" },
		{ "kernelMountOptions", "wsync,name=admin", "'name' is not for a class" },
		{ "kernelMountOptions", "mds_namespace=x", "'mds_namespace' is not for a class" },
		{ "kernelMountOptions", "a b", "has a blank" },
		{ "fuseMountOptions", "modules=x", "'modules' is not for a class" },
		{ "fuseMountOptions", "=x", "a word without a name" },
		{ "encrypted", "true", "keep this class with ceph-csi" },
		{ "backingSnapshot", "yes", "neither 'true' nor 'false'" },
		{ "fsname", "cephfs", "meant is perhaps 'fsName'" },
	};

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		struct ceph_fs_params p;
		struct err err;

		ASSERT_ERR(parse(wrong[i].key, wrong[i].value, &p, &err), &err,
			   ERR_INVALID_ARGUMENT, wrong[i].says);
	}
}

TEST(what_is_not_asked_may_be_there)
{
	struct ceph_fs_params p;
	struct err err;

	ASSERT_OK(parse("encrypted", "false", &p, &err), &err);
	ASSERT_OK(parse("backingSnapshot", "false", &p, &err), &err);
	ASSERT_EQ(p.backing, CEPH_FS_BACKING_NEVER);
	ASSERT_OK(parse("backingSnapshot", "True", &p, &err), &err);
	ASSERT_EQ(p.backing, CEPH_FS_BACKING_ALWAYS);
	ASSERT_OK(parse("backingSnapshot", "", &p, &err), &err);
	ASSERT_EQ(p.backing, CEPH_FS_BACKING_FOR_READERS);
	ASSERT_OK(parse("csi.storage.k8s.io/pvc/name", "data", &p, &err), &err);
	ASSERT_OK(parse("kernelMountOptions", "ms_mode=secure,wsync", &p, &err), &err);
}

TEST(a_shared_filesystem_takes_all_modes_and_its_own_flags)
{
	static const char *const good[] = { "noatime", "wsync", "rsize=1048576", "_netdev",
					    "sync" };
	static const char *const ext4[] = { "discard" };
	struct vol_capability cap = { .access = VOL_ACCESS_MOUNT,
				      .fs_type = "ext4", /* a provisioner's default */
				      .mount_flags = good,
				      .n_mount_flags = ARRAY_LEN(good),
				      .mount_group = "" };
	struct err err;

	for (int m = VOL_MODE_SINGLE_NODE_WRITER; m <= VOL_MODE_SINGLE_NODE_MULTI_WRITER; m++) {
		cap.mode = (enum vol_mode)m;
		ASSERT_OK(vol_capability_check_shared(&cap, &err), &err);
	}
	cap.mount_flags = ext4;
	cap.n_mount_flags = 1;
	ASSERT_ERR(vol_capability_check_shared(&cap, &err), &err, ERR_INVALID_ARGUMENT,
		   "'discard' is not allowed for a shared filesystem");
	cap.access = VOL_ACCESS_BLOCK;
	ASSERT_ERR(vol_capability_check_shared(&cap, &err), &err, ERR_INVALID_ARGUMENT, "block");
	cap.mode = VOL_MODE_UNKNOWN;
	ASSERT_ERR(vol_capability_check_shared(&cap, &err), &err, ERR_INVALID_ARGUMENT,
		   "must not be UNKNOWN");
}

RUN_TESTS(UNIT(a_class_of_two_keys_is_enough), UNIT(what_is_wrong_is_named),
	  UNIT(what_is_not_asked_may_be_there),
	  UNIT(a_shared_filesystem_takes_all_modes_and_its_own_flags))
