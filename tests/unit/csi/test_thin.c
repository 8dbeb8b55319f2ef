/* SPDX-License-Identifier: Apache-2.0 */
/* Thin volumes by StorageClass: who may be one, what GetCapacity tells of them. */
#include "base/mem.h"
#include "base/str.h"
#include "fake/host_extent.h"
#include "fixture.h"

static struct strpair thin_pairs[] = { { "provisioning", "thin" },
				       { "csi.storage.k8s.io/fstype", "xfs" },
				       { "pool", "disk" } };
#define THIN(n) ((struct strmap){ thin_pairs, n })

static struct vol_capability with_fs(const char *fs)
{
	struct vol_capability cap = cap_mount;

	cap.fs_type = fs;
	return cap;
}

static int create(struct fixture *f, const char *name, const struct vol_capability *cap,
		  uint64_t bytes, struct csi_volume *ret_vol)
{
	const struct csi_create_volume_request req = { .name = name,
						       .capacity_range = { bytes, 0 },
						       .volume_capabilities = cap,
						       .n_volume_capabilities = 1,
						       .parameters = THIN(2),
						       .volume_content_source = { .id = "" } };
	struct csi_create_volume_response reply;
	int r = csi_create_volume(&f->csi, &f->ctx, &req, &reply, &f->err);

	if (ret_vol && r == 0)
		*ret_vol = reply.volume;
	return r;
}

static struct csi_get_capacity_response capacity(struct fixture *f, size_t n_pairs)
{
	const struct csi_get_capacity_request req = { .parameters = THIN(n_pairs) };
	struct csi_get_capacity_response ret;

	ASSERT_OK(csi_get_capacity(&f->csi, &f->ctx, &req, &ret, &f->err), &f->err);
	return ret;
}

static struct backend_info info(struct fixture *f)
{
	struct backend_info now;

	ASSERT_OK(backend_info(registry_find_name(f->pools, "disk"), &f->ctx, &now, &f->err),
		  &f->err);
	return now;
}

TEST(a_class_makes_thin_volumes_of_xfs)
{
	struct fixture *f = fixture_begin();
	const struct vol_capability xfs = with_fs("xfs"), ext4 = with_fs("ext4");
	struct csi_volume vol;

	ASSERT_OK(create(f, "v", &xfs, 10 * GIB, &vol), &f->err);
	ASSERT_TRUE(vol.capacity_bytes == 10 * GIB);
	ASSERT_EQ(info(f).thin.bytes, 10 * GIB);
	ASSERT_ERR(create(f, "w", &ext4, GIB, NULL), &f->err, ERR_INVALID_ARGUMENT,
		   "provisioning: 'thin' is for volumes with xfs inside, and ext4");
	ASSERT_ERR(create(f, "w", &cap_mount, GIB, NULL), &f->err, ERR_INVALID_ARGUMENT, "ext4");
	ASSERT_ERR(create(f, "w", &cap_block, GIB, NULL), &f->err, ERR_INVALID_ARGUMENT,
		   "raw block");
	ASSERT_FALSE(fake_host_has("w"));
	/* the same name with another class is another volume */
	ASSERT_ERR(do_create(f, "v", &xfs, 10 * GIB), &f->err, ERR_ALREADY_EXISTS,
		   "it exists and is thin");
	fixture_end(f);
}

TEST(a_pool_without_thin_volumes_says_so)
{
	struct fixture *f = fixture_begin();
	const struct vol_capability xfs = with_fs("xfs");

	fixture_add_mem(f, 20 * GIB);
	thin_pairs[2].value = "ram";
	{
		const struct csi_create_volume_request req = { .name = "v",
							       .volume_capabilities = &xfs,
							       .n_volume_capabilities = 1,
							       .parameters = THIN(3),
							       .volume_content_source = {
								       .id = "" } };
		struct csi_create_volume_response reply;

		ASSERT_ERR(csi_create_volume(&f->csi, &f->ctx, &req, &reply, &f->err), &f->err,
			   ERR_INVALID_ARGUMENT, "pool ram has no thin volumes");
	}
	ASSERT_TRUE(capacity(f, 3).available_capacity == 0);
	thin_pairs[2].value = "disk";
	ASSERT_TRUE(capacity(f, 3).available_capacity > 8 * GIB);
	/* and it is not the roomiest for one */
	ASSERT_OK(create(f, "v", &xfs, GIB, NULL), &f->err);
	ASSERT_EQ(info(f).thin.bytes, GIB);
	fixture_end(f);
}

TEST(capacity_of_a_thin_class_is_what_is_granted)
{
	struct fixture *f = fixture_begin();
	const struct vol_capability xfs = with_fs("xfs");
	struct csi_get_capacity_response now;

	ASSERT_OK(create(f, "v", &xfs, 3 * GIB, NULL), &f->err);
	fake_host_write("v", 0, GIB);
	now = capacity(f, 2);
	ASSERT_TRUE(now.available_capacity > 8 * GIB); /* 2 times 7, less 3 */
	ASSERT_EQ(now.maximum_volume_size, now.available_capacity);
	ASSERT_EQ(now.minimum_volume_size, 300 * MIB);
	ASSERT_ERR(create(f, "w", &xfs, now.maximum_volume_size + 4096, NULL), &f->err,
		   ERR_RESOURCE_EXHAUSTED, "--pool-overcommit");
	ASSERT_OK(create(f, "w", &xfs, now.maximum_volume_size, NULL), &f->err);
	ASSERT_TRUE(capacity(f, 2).available_capacity == 0);
	ASSERT_FALSE(capacity(f, 2).has_maximum_volume_size);
	fixture_end(f);
}

TEST(a_class_that_no_volume_can_be_made_for_has_no_capacity)
{
	struct fixture *f = fixture_begin();
	struct csi_get_capacity_request req = { .parameters = THIN(1) };
	struct csi_get_capacity_response ret;

	ASSERT_TRUE(capacity(f, 1).available_capacity == 0); /* ext4, which is the default */
	req.volume_capabilities = &cap_block;
	req.n_volume_capabilities = 1;
	ASSERT_OK(csi_get_capacity(&f->csi, &f->ctx, &req, &ret, &f->err), &f->err);
	ASSERT_TRUE(ret.available_capacity == 0);
	fixture_end(f);
}

TEST(a_full_pool_refuses_thin_volumes_and_tells_no_capacity)
{
	struct fixture *f = fixture_begin();
	const struct vol_capability xfs = with_fs("xfs");
	uint64_t usable = info(f).usable_bytes;

	ASSERT_OK(create(f, "v", &xfs, 8 * GIB, NULL), &f->err);
	fake_host_write("v", 0, usable / 100 * 89);
	ASSERT_TRUE(capacity(f, 2).available_capacity > 0);
	fake_host_write("v", 0, usable / 100 * 91);
	ASSERT_TRUE(capacity(f, 2).available_capacity == 0);
	ASSERT_ERR(create(f, "w", &xfs, GIB, NULL), &f->err, ERR_RESOURCE_EXHAUSTED,
		   "full, and from 90 % on no thin volume is made");
	f->id = NULL;
	ASSERT_OK(create(f, "v", &xfs, 8 * GIB, NULL), &f->err);
	fixture_end(f);
}

static int create_of(struct fixture *f, const char *name, const char *source,
		     struct csi_volume *vol)
{
	const struct vol_capability any = with_fs("");
	const struct csi_create_volume_request req = { .name = name,
						       .volume_capabilities = &any,
						       .n_volume_capabilities = 1,
						       .parameters = THIN(2),
						       .has_volume_content_source = true,
						       .volume_content_source = { CSI_SOURCE_VOLUME,
										  source } };
	struct csi_create_volume_response reply;
	int r = csi_create_volume(&f->csi, &f->ctx, &req, &reply, &f->err);

	*vol = reply.volume;
	return r;
}

TEST(a_thin_copy_has_its_sources_filesystem_which_is_xfs)
{
	struct fixture *f = fixture_begin();
	const struct vol_capability xfs = with_fs("xfs");
	struct csi_volume vol;
	const char *id;

	ASSERT_OK(do_create(f, "thick", &xfs, 400 * MIB), &f->err);
	id = f->id;
	ASSERT_OK(create_of(f, "c", id, &vol), &f->err);
	ASSERT_EQ(info(f).thin.bytes, 400 * MIB);
	ASSERT_OK(do_create(f, "other", &cap_mount, 400 * MIB), &f->err);
	id = f->id;
	ASSERT_ERR(create_of(f, "d", id, &vol), &f->err, ERR_INVALID_ARGUMENT,
		   "'thin' is for volumes with xfs inside, and ext4 is asked");
	ASSERT_FALSE(fake_host_has("d"));
	fixture_end(f);
}

static struct csi_volume_health health_of(struct fixture *f, const char *id)
{
	const struct csi_controller_get_volume_health_request req = { .volume_id = id };
	struct csi_controller_get_volume_health_response reply;

	ASSERT_OK(csi_controller_get_volume_health(&f->csi, &f->ctx, &req, &reply, &f->err),
		  &f->err);
	return reply.volume_health;
}

/* The volume is the only one that is told of, and so; "": none is. */
static void assert_told(struct fixture *f, const char *id, const char *reason)
{
	const struct csi_controller_list_volume_health_request req = { .starting_token = "" };
	struct csi_controller_list_volume_health_response list;
	struct csi_volume_health health = health_of(f, id);

	ASSERT_OK(csi_controller_list_volume_health(&f->csi, &f->ctx, &req, &list, &f->err),
		  &f->err);
	ASSERT_EQ(list.n_entries, *reason ? 1 : 0);
	ASSERT_EQ(health.n_health_statuses, *reason ? 1 : 0);
	if (!*reason)
		return;
	ASSERT_STR(list.entries[0].volume_id, id);
	ASSERT_STR(list.entries[0].health_statuses[0].reason, reason);
	ASSERT_STR(health.health_statuses[0].reason, reason);
	ASSERT_EQ(health.health_statuses[0].status, CSI_VOLUME_HEALTH_ERROR_TYPE_DEGRADED);
	assert_non_null(strstr(health.health_statuses[0].message, "fstrim"));
}

TEST(a_thin_volume_in_use_is_told_before_its_writes_fail)
{
	struct fixture *f = fixture_begin();
	const struct vol_capability xfs = with_fs("xfs");
	uint64_t usable = info(f).usable_bytes;
	struct csi_volume vol;

	ASSERT_OK(do_create(f, "thick", &xfs, 400 * MIB), &f->err);
	ASSERT_OK(do_stage(f, "/s2", &xfs), &f->err);
	ASSERT_OK(create(f, "v", &xfs, 8 * GIB, &vol), &f->err);
	f->id = vol.volume_id;
	fake_host_write("v", 0, usable / 100 * 85 - 400 * MIB);
	assert_told(f, vol.volume_id, ""); /* nobody uses it */
	ASSERT_OK(do_stage(f, "/s1", &xfs), &f->err);
	assert_told(f, vol.volume_id, "PoolNearlyFull");
	fake_host_write("v", 0, usable / 100 * 91 - 400 * MIB);
	assert_told(f, vol.volume_id, "PoolAlmostFull");
	fake_host_punch("v", 0, GIB);
	assert_told(f, vol.volume_id, "");
	fixture_end(f);
}

static bool is_storage_told(struct fixture *f, const char *reason, const char *text)
{
	const struct csi_node_get_storage_health_request req = { 0 };
	struct csi_node_get_storage_health_response reply;

	ASSERT_OK(csi_node_get_storage_health(&f->csi, &f->ctx, &req, &reply, &f->err), &f->err);
	for (size_t i = 0; i < reply.n_backend_health; i++) {
		if (str_is_equal(reply.backend_health[i].reason, reason))
			return strstr(reply.backend_health[i].message, text) != NULL;
	}
	return false;
}

/* Promises alone fill no pool: what is watched is what is written, and given to thick volumes. */
TEST(a_pool_is_as_full_as_it_is_written)
{
	struct fixture *f = fixture_begin();
	const struct vol_capability xfs = with_fs("xfs");
	uint64_t usable = info(f).usable_bytes;

	ASSERT_OK(create(f, "v", &xfs, capacity(f, 2).maximum_volume_size, NULL), &f->err);
	ASSERT_EQ(info(f).available_bytes, 0);
	ASSERT_FALSE(is_storage_told(f, "PoolNearlyFull", "") ||
		     is_storage_told(f, "PoolAlmostFull", ""));
	fake_host_write("v", 0, usable / 100 * 82);
	ASSERT_TRUE(is_storage_told(f, "PoolNearlyFull", "given 81 %"));
	fake_host_write("v", 0, usable / 100 * 92);
	ASSERT_TRUE(is_storage_told(f, "PoolAlmostFull", "have thin volumes give back"));
	fixture_end(f);
}

TEST(a_pool_whose_reserve_is_written_away_is_overdrawn)
{
	struct fixture *f = fixture_begin();
	const struct vol_capability xfs = with_fs("xfs");
	uint64_t usable = info(f).usable_bytes;

	ASSERT_OK(do_create(f, "thick", &xfs, GIB), &f->err);
	fake_host_write("thick", 0, GIB);
	assert_non_null(do_snapshot(f, "s", f->id));
	ASSERT_OK(create(f, "v", &xfs, 8 * GIB, NULL), &f->err);
	fake_host_write("v", 0, usable - 2 * GIB);
	ASSERT_FALSE(is_storage_told(f, "PoolOverdrawn", ""));
	fake_host_write("v", 0, usable - 2 * GIB + 300 * MIB);
	ASSERT_TRUE(is_storage_told(f, "PoolOverdrawn", "300Mi are gone"));
	fake_host_punch("v", 0, 400 * MIB);
	ASSERT_FALSE(is_storage_told(f, "PoolOverdrawn", ""));
	fixture_end(f);
}

RUN_TESTS(UNIT(a_class_makes_thin_volumes_of_xfs), UNIT(a_pool_without_thin_volumes_says_so),
	  UNIT(capacity_of_a_thin_class_is_what_is_granted),
	  UNIT(a_class_that_no_volume_can_be_made_for_has_no_capacity),
	  UNIT(a_full_pool_refuses_thin_volumes_and_tells_no_capacity),
	  UNIT(a_thin_volume_in_use_is_told_before_its_writes_fail),
	  UNIT(a_pool_is_as_full_as_it_is_written),
	  UNIT(a_pool_whose_reserve_is_written_away_is_overdrawn),
	  UNIT(a_thin_copy_has_its_sources_filesystem_which_is_xfs))
