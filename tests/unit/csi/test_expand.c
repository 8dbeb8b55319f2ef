/* SPDX-License-Identifier: Apache-2.0 */
/* ControllerExpandVolume, NodeExpandVolume and the growth at staging, on the fake host. */
#include "base/mem.h"
#include "fake/host_freeze.h"
#include "fake/host_grow.h"
#include "fake_share.h"
#include "fixture.h"
#include "host/blockdev.h"

static const struct vol_capability cap_xfs = { .access = VOL_ACCESS_MOUNT,
					       .mode = VOL_MODE_SINGLE_NODE_MULTI_WRITER,
					       .fs_type = "xfs",
					       .mount_group = "" };

static struct fixture *begin(const struct vol_capability *cap)
{
	struct fixture *f = fixture_begin();

	ASSERT_OK(do_create(f, "v", cap, 512 * MIB), &f->err);
	return f;
}

static struct fixture *begin_published(const struct vol_capability *cap)
{
	struct fixture *f = begin(cap);

	ASSERT_OK(do_stage(f, "/s1", cap), &f->err);
	ASSERT_OK(do_publish(f, "/s1", "/pods/t1", cap, false), &f->err);
	return f;
}

static int expand(struct fixture *f, uint64_t required, uint64_t limit,
		  const struct vol_capability *cap,
		  struct csi_controller_expand_volume_response *reply)
{
	struct csi_controller_expand_volume_request req = { .volume_id = f->id,
							    .capacity_range = { required, limit } };

	if (cap)
		req.volume_capability = *cap;
	return csi_controller_expand_volume(&f->csi, &f->ctx, &req, reply, &f->err);
}

static int node_expand(struct fixture *f, const char *path, uint64_t required, uint64_t limit,
		       const struct vol_capability *cap)
{
	struct csi_node_expand_volume_response reply;
	struct csi_node_expand_volume_request req = { .volume_id = f->id,
						      .volume_path = path,
						      .capacity_range = { required, limit } };

	if (cap)
		req.volume_capability = *cap;
	if (csi_node_expand_volume(&f->csi, &f->ctx, &req, &reply, &f->err) < 0)
		return -1;
	ASSERT_TRUE(reply.capacity_bytes >= required);
	return 0;
}

static void grow_in_use(const struct vol_capability *cap)
{
	struct fixture *f = begin_published(cap);
	struct csi_controller_expand_volume_response reply = { 0 };

	for (int i = 0; i < 2; i++) {
		ASSERT_OK(expand(f, GIB, 0, cap, &reply), &f->err);
		ASSERT_EQ(reply.capacity_bytes, GIB);
		ASSERT_TRUE(reply.node_expansion_required);
		ASSERT_EQ(fake_host_device_bytes("v"), GIB);
		ASSERT_TRUE(fake_host_fs_bytes("v") <= 512 * MIB);
	}
	ASSERT_OK(node_expand(f, "/pods/t1", GIB, 0, NULL), &f->err);
	ASSERT_EQ(fake_host_fs_bytes("v"), GIB);
	ASSERT_OK(node_expand(f, "/s1", GIB, GIB, cap), &f->err);
	ASSERT_OK(node_expand(f, "/s1", 0, 0, NULL), &f->err);
	ASSERT_OK(expand(f, 2 * GIB, 0, NULL, &reply), &f->err);
	ASSERT_OK(node_expand(f, "/s1", 0, 0, NULL), &f->err);
	ASSERT_EQ(fake_host_fs_bytes("v"), 2 * GIB);
	fixture_end(f);
}

TEST(a_mounted_filesystem_grows_in_use)
{
	grow_in_use(&cap_mount);
	grow_in_use(&cap_xfs);
}

static int stage_clone(struct fixture *f, const char *path)
{
	const struct csi_create_volume_request req = {
		.name = "clone",
		.volume_capabilities = &cap_xfs,
		.n_volume_capabilities = 1,
		.has_volume_content_source = true,
		.volume_content_source = { CSI_SOURCE_VOLUME, f->id },
	};
	const char *source = f->id;
	struct csi_create_volume_response made;
	int rc;

	if (csi_create_volume(&f->csi, &f->ctx, &req, &made, &f->err) < 0)
		return -1;
	f->id = made.volume.volume_id;
	rc = do_stage(f, path, &cap_xfs);
	f->id = source;
	return rc;
}

/* Whatever stops NodeExpandVolume: also between the growth and what makes it whole. */
static void whole_in_copies(bool is_killed)
{
	bool is_reached = true;
	unsigned n_in_log = 0;
	unsigned n_lag = 0;

	for (unsigned n = 1; is_reached; n++) {
		struct fixture *f = begin_published(&cap_xfs);

		ASSERT_OK(do_expand(f, GIB), &f->err);
		if (is_killed)
			fake_host_fail_from(n);
		else
			fake_host_fail_at(n);
		(void)node_expand(f, "/pods/t1", GIB, 0, NULL);
		is_reached = fake_host_failed();
		if (is_killed)
			fixture_restart(f, false);
		fake_host_fail_at(0);
		n_in_log += fake_host_growth_is_in_log("v");
		n_lag += fake_host_copies_lag("v");
		if (!is_reached)
			ASSERT_FALSE(fake_host_growth_is_in_log("v"));
		fake_host_add_dir("/s2");
		ASSERT_OK(stage_clone(f, "/s2"), &f->err);
		ASSERT_OK(node_expand(f, "/pods/t1", GIB, 0, NULL), &f->err);
		ASSERT_FALSE(fake_host_growth_is_in_log("v") || fake_host_copies_lag("v"));
		ASSERT_EQ(fake_host_fs_bytes("v"), GIB);
		ASSERT_EQ(fake_host_n_frozen(), 0);
		fixture_end(f);
	}
	ASSERT_TRUE(n_in_log > 0 && n_lag > 0);
}

TEST(an_xfs_that_has_just_grown_is_whole_in_its_copies)
{
	whole_in_copies(false);
	whole_in_copies(true);
}

/* What a power cut leaves: its log knows all of the growth, and nobody asks for it again. */
TEST(an_xfs_cut_off_in_its_growth_tells_it_everywhere_after_the_next_stage)
{
	bool is_lagging = false;

	for (unsigned n = 1; !is_lagging; n++) {
		struct fixture *f = begin_published(&cap_xfs);

		ASSERT_OK(do_expand(f, GIB), &f->err);
		fake_host_fail_from(n);
		(void)node_expand(f, "/pods/t1", GIB, 0, NULL);
		ASSERT_TRUE(fake_host_failed());
		fixture_restart(f, true);
		fake_host_fail_at(0);
		is_lagging = fake_host_copies_lag("v");
		ASSERT_OK(do_stage(f, "/s1", &cap_xfs), &f->err);
		ASSERT_FALSE(fake_host_copies_lag("v"));
		fixture_end(f);
	}
}

/* The same growth at staging; whoever comes after a kill finds it mounted and grown. */
TEST(an_xfs_that_grew_as_it_was_staged_is_whole_once_it_is)
{
	bool is_reached = true;
	unsigned n_in_log = 0;

	for (unsigned n = 1; is_reached; n++) {
		struct fixture *f = begin(&cap_xfs);

		ASSERT_OK(do_expand(f, GIB), &f->err);
		fake_host_fail_from(n);
		(void)do_stage(f, "/s1", &cap_xfs);
		is_reached = fake_host_failed();
		fixture_restart(f, false);
		n_in_log += fake_host_growth_is_in_log("v");
		ASSERT_OK(do_stage(f, "/s1", &cap_xfs), &f->err);
		ASSERT_FALSE(fake_host_growth_is_in_log("v"));
		ASSERT_EQ(fake_host_fs_bytes("v"), GIB);
		ASSERT_EQ(fake_host_n_frozen(), 0);
		fixture_end(f);
	}
	ASSERT_TRUE(n_in_log > 0);
}

TEST(a_raw_device_grows_at_once_and_so_does_its_reader)
{
	struct fixture *f = begin_published(&cap_block);
	struct csi_controller_expand_volume_response reply = { .node_expansion_required = true };
	uint64_t reader = 0;

	ASSERT_OK(do_publish(f, "/s1", "/pods/t2", &cap_block, true), &f->err);
	ASSERT_OK(expand(f, GIB, 0, &cap_block, &reply), &f->err);
	ASSERT_EQ(reply.capacity_bytes, GIB);
	ASSERT_FALSE(reply.node_expansion_required);
	ASSERT_EQ(fake_host_device_bytes("v"), GIB);
	ASSERT_OK(host_block_size("/dev/loop1", &reader, &f->err), &f->err);
	ASSERT_EQ(reader, GIB);
	ASSERT_OK(node_expand(f, "/pods/t1", GIB, 0, &cap_block), &f->err);
	ASSERT_OK(node_expand(f, "/pods/t2", GIB, 0, NULL), &f->err);
	fixture_end(f);
}

/* What the size is answered with. */
TEST(sizes_are_as_asked_or_refused)
{
	static const struct {
		uint64_t required, limit;
		uint64_t want; /* 0: refused with */
		enum err_code code;
		const char *part;
	} cases[] = {
		{ 0, 0, 0, ERR_INVALID_ARGUMENT, "capacity_range: required" },
		{ GIB, GIB - 4096, 0, ERR_INVALID_ARGUMENT, "limit_bytes" },
		{ 100 * MIB, 0, 512 * MIB, ERR_OK, NULL },
		{ 0, 600 * MIB, 512 * MIB, ERR_OK, NULL },
		{ 100 * MIB, 200 * MIB, 0, ERR_OUT_OF_RANGE, "volumes do not shrink" },
		{ 600 * MIB + 1, 600 * MIB + 2, 0, ERR_OUT_OF_RANGE, "no multiple" },
		{ 600 * MIB, 600 * MIB, 600 * MIB, ERR_OK, NULL },
		{ 600 * MIB + 1, 0, 600 * MIB + 4096, ERR_OK, NULL },
		{ 100 * GIB, 0, 0, ERR_OUT_OF_RANGE, "are free" },
		{ UINT64_MAX, 0, 0, ERR_OUT_OF_RANGE, "more than a volume can have" },
		{ 5 * GIB, 5 * GIB, 5 * GIB, ERR_OK, NULL },
	};
	struct fixture *f = begin(&cap_mount);

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct csi_controller_expand_volume_response reply = { 0 };
		int r = expand(f, cases[i].required, cases[i].limit, NULL, &reply);

		if (cases[i].want) {
			ASSERT_OK(r, &f->err);
			ASSERT_EQ(reply.capacity_bytes, cases[i].want);
		} else {
			ASSERT_ERR(r, &f->err, cases[i].code, cases[i].part);
		}
	}
	fixture_end(f);
}

TEST(what_is_not_there_or_damaged_does_not_grow)
{
	struct csi_controller_expand_volume_response reply;
	struct fixture *f = begin(&cap_mount);
	const char *id = f->id;

	f->id = "";
	ASSERT_ERR(expand(f, GIB, 0, NULL, &reply), &f->err, ERR_INVALID_ARGUMENT, "volume_id");
	ASSERT_ERR(node_expand(f, "/s1", GIB, 0, NULL), &f->err, ERR_INVALID_ARGUMENT, "volume_id");
	f->id = "nobody's";
	ASSERT_ERR(expand(f, GIB, 0, NULL, &reply), &f->err, ERR_NOT_FOUND, "nobody's");
	ASSERT_ERR(node_expand(f, "some/path", GIB, 0, NULL), &f->err, ERR_NOT_FOUND, "nobody's");
	f->id = id;
	ASSERT_ERR(expand(f, GIB, 0, &cap_xfs, &reply), &f->err, ERR_INVALID_ARGUMENT, "has ext4");
	ASSERT_ERR(node_expand(f, "/s1", 0, 0, &cap_xfs), &f->err, ERR_INVALID_ARGUMENT,
		   "has ext4");
	fake_host_set_size("v", 4096);
	ASSERT_ERR(expand(f, GIB, 0, NULL, &reply), &f->err, ERR_DATA_LOSS, "damaged");
	ASSERT_ERR(node_expand(f, "/s1", 0, 0, NULL), &f->err, ERR_DATA_LOSS, "damaged");
	fixture_end(f);
}

TEST(only_a_mount_of_the_volume_is_a_volume_path)
{
	static const char *const elsewhere[] = { "some/path", "/s1",  "/s2",      "/pods/t1/sub",
						 "/pods",     "/x/y", "/pods/../" };
	struct fixture *f = begin_published(&cap_mount);
	const char *id = f->id;

	ASSERT_OK(do_create(f, "w", &cap_mount, 64 * MIB), &f->err);
	ASSERT_OK(do_stage(f, "/s2", &cap_mount), &f->err);
	ASSERT_ERR(node_expand(f, "", 0, 0, NULL), &f->err, ERR_INVALID_ARGUMENT, "volume_path");
	for (size_t i = 0; i < ARRAY_LEN(elsewhere); i++) {
		if (strcmp(elsewhere[i], "/s2") != 0)
			ASSERT_ERR(node_expand(f, elsewhere[i], 0, 0, NULL), &f->err, ERR_NOT_FOUND,
				   "is not at volume_path");
	}
	f->id = id;
	ASSERT_ERR(node_expand(f, "/s2", 0, 0, NULL), &f->err, ERR_NOT_FOUND, "volume_path '/s2'");
	ASSERT_ERR(node_expand(f, "/s1", 0, 0, &cap_block), &f->err, ERR_INVALID_ARGUMENT,
		   "as a mount");
	ASSERT_ERR(node_expand(f, "/s1", GIB, 0, NULL), &f->err, ERR_OUT_OF_RANGE,
		   "the volume has 512Mi; ControllerExpandVolume");
	ASSERT_ERR(node_expand(f, "/s1", 0, MIB, NULL), &f->err, ERR_OUT_OF_RANGE,
		   "nothing makes it smaller");
	ASSERT_ERR(node_expand(f, "/s1", 2, 1, NULL), &f->err, ERR_INVALID_ARGUMENT, "limit_bytes");
	fixture_end(f);
}

TEST(a_read_only_target_is_grown_by_its_staging_mount)
{
	struct fixture *f = begin(&cap_mount);

	ASSERT_OK(do_stage(f, "/s1", &cap_mount), &f->err);
	ASSERT_OK(do_publish(f, "/s1", "/pods/t1", &cap_mount, true), &f->err);
	ASSERT_OK(do_expand(f, GIB), &f->err);
	ASSERT_OK(node_expand(f, "/pods/t1", GIB, 0, NULL), &f->err);
	ASSERT_EQ(fake_host_fs_bytes("v"), GIB);
	fixture_end(f);
}

TEST(ext4_without_the_right_grows_when_it_is_staged_next)
{
	struct fixture *f = begin_published(&cap_mount);

	fake_host_set_can_grow_ext4(false);
	ASSERT_OK(node_expand(f, "/pods/t1", 0, 0, NULL), &f->err);
	ASSERT_OK(do_expand(f, GIB), &f->err);
	ASSERT_ERR(node_expand(f, "/pods/t1", GIB, 0, NULL), &f->err, ERR_FAILED_PRECONDITION,
		   "CAP_SYS_RESOURCE");
	assert_non_null(strstr(f->err.msg, "when it is staged next"));
	ASSERT_OK(do_stage(f, "/s1", &cap_mount), &f->err);
	ASSERT_EQ(fake_host_fs_bytes("v"), 512 * MIB);
	ASSERT_OK(do_unpublish(f, "/pods/t1"), &f->err);
	ASSERT_OK(do_unstage(f, "/s1"), &f->err);
	ASSERT_OK(do_stage(f, "/s1", &cap_mount), &f->err);
	ASSERT_EQ(fake_host_fs_bytes("v"), GIB);
	ASSERT_OK(do_publish(f, "/s1", "/pods/t1", &cap_mount, false), &f->err);
	ASSERT_OK(node_expand(f, "/pods/t1", GIB, 0, NULL), &f->err);
	fixture_end(f);
}

TEST(ext4_that_cannot_grow_here_is_staged_as_it_is)
{
	struct fixture *f = begin(&cap_mount);

	fake_host_set_can_grow_ext4(false);
	fake_host_set_ext4_in_place(false);
	ASSERT_OK(do_expand(f, GIB), &f->err);
	ASSERT_OK(do_stage(f, "/s1", &cap_mount), &f->err);
	ASSERT_EQ(fake_host_fs_bytes("v"), 512 * MIB);
	ASSERT_ERR(node_expand(f, "/s1", GIB, 0, NULL), &f->err, ERR_FAILED_PRECONDITION,
		   "cannot become so much larger without that capability");
	fake_host_set_can_grow_ext4(true);
	ASSERT_OK(node_expand(f, "/s1", GIB, 0, NULL), &f->err);
	ASSERT_EQ(fake_host_fs_bytes("v"), GIB);
	fixture_end(f);
}

/* With errors that the kernel found a person decides, whatever its size. */
TEST(a_filesystem_with_errors_is_not_grown_at_staging)
{
	struct fixture *f = begin(&cap_mount);

	for (int can = 0; can < 2; can++) {
		fake_host_set_can_grow_ext4(can);
		ASSERT_OK(do_expand(f, GIB), &f->err);
		fake_host_set_errors("v", true);
		ASSERT_ERR(do_stage(f, "/s1", &cap_mount), &f->err, ERR_FAILED_PRECONDITION,
			   "cleat ctl volume check");
		ASSERT_EQ(fake_host_fs_bytes("v"), 512 * MIB);
	}
	fake_host_set_errors("v", false);
	ASSERT_OK(do_stage(f, "/s1", &cap_mount), &f->err);
	ASSERT_EQ(fake_host_fs_bytes("v"), GIB);
	fixture_end(f);
}

TEST(a_filesystem_that_went_read_only_is_not_grown)
{
	struct fixture *f = begin_published(&cap_mount);

	ASSERT_OK(do_expand(f, GIB), &f->err);
	fake_host_set_condition("v", true, false);
	ASSERT_ERR(node_expand(f, "/pods/t1", GIB, 0, NULL), &f->err, ERR_FAILED_PRECONDITION,
		   "cleat ctl volume check");
	/* and what is staged stays so, for who only reads */
	ASSERT_OK(do_stage(f, "/s1", &cap_mount), &f->err);
	fixture_end(f);
}

TEST(a_staged_filesystem_that_a_kill_left_small_grows_at_the_next_stage)
{
	struct fixture *f = begin_published(&cap_xfs);

	ASSERT_OK(do_expand(f, GIB), &f->err);
	fixture_restart(f, false);
	ASSERT_OK(do_stage(f, "/s1", &cap_xfs), &f->err);
	ASSERT_EQ(fake_host_fs_bytes("v"), GIB);
	fixture_end(f);
}

TEST(a_volume_in_memory_grows)
{
	struct csi_create_volume_response made;
	struct fixture *f = fixture_begin();
	struct strpair pool = { "pool", "ram" };
	struct csi_create_volume_request req = { .name = "v",
						 .capacity_range = { 64 * MIB, 0 },
						 .parameters = { &pool, 1 },
						 .volume_capabilities = &cap_mount,
						 .n_volume_capabilities = 1,
						 .volume_content_source = { .id = "" } };

	fixture_add_mem(f, GIB);
	ASSERT_OK(csi_create_volume(&f->csi, &f->ctx, &req, &made, &f->err), &f->err);
	f->id = made.volume.volume_id;
	ASSERT_OK(do_stage(f, "/s1", &cap_mount), &f->err);
	ASSERT_OK(do_expand(f, 512 * MIB), &f->err);
	ASSERT_OK(node_expand(f, "/s1", 512 * MIB, 0, NULL), &f->err);
	ASSERT_ERR(do_expand(f, 2 * GIB), &f->err, ERR_OUT_OF_RANGE, "512Mi are free");
	ASSERT_OK(do_unstage(f, "/s1"), &f->err);
	fixture_end(f);
}

TEST(volumes_of_a_pool_that_cannot_grow_are_refused)
{
	const struct vol_capability cap_any = { .access = VOL_ACCESS_MOUNT,
						.mode = VOL_MODE_SINGLE_NODE_WRITER,
						.fs_type = "",
						.mount_group = "" };
	struct csi_controller_expand_volume_response reply;
	struct csi_controller_get_capabilities_response caps;
	struct fixture *f;

	share_reset();
	f = fixture_begin_with(&share_kind);
	ASSERT_OK(do_create(f, "v", &cap_any, 64 * MIB), &f->err);
	ASSERT_OK(csi_controller_get_capabilities(
			  &f->csi, &f->ctx,
			  &(const struct csi_controller_get_capabilities_request){}, &caps,
			  &f->err),
		  &f->err);
	ASSERT_FALSE(csi_capability_bits(caps.capabilities, caps.n_capabilities) &
		     CSI_CAP_BIT(CSI_CTRL_EXPAND_VOLUME));
	ASSERT_ERR(expand(f, GIB, 0, NULL, &reply), &f->err, ERR_INVALID_ARGUMENT, "cannot grow");
	ASSERT_ERR(node_expand(f, "/s1", 0, 0, NULL), &f->err, ERR_INVALID_ARGUMENT, "cannot grow");
	fixture_end(f);
}

RUN_TESTS(UNIT(a_mounted_filesystem_grows_in_use),
	  UNIT(an_xfs_that_has_just_grown_is_whole_in_its_copies),
	  UNIT(an_xfs_cut_off_in_its_growth_tells_it_everywhere_after_the_next_stage),
	  UNIT(an_xfs_that_grew_as_it_was_staged_is_whole_once_it_is),
	  UNIT(a_raw_device_grows_at_once_and_so_does_its_reader),
	  UNIT(sizes_are_as_asked_or_refused), UNIT(what_is_not_there_or_damaged_does_not_grow),
	  UNIT(only_a_mount_of_the_volume_is_a_volume_path),
	  UNIT(a_read_only_target_is_grown_by_its_staging_mount),
	  UNIT(ext4_without_the_right_grows_when_it_is_staged_next),
	  UNIT(ext4_that_cannot_grow_here_is_staged_as_it_is),
	  UNIT(a_filesystem_with_errors_is_not_grown_at_staging),
	  UNIT(a_filesystem_that_went_read_only_is_not_grown),
	  UNIT(a_staged_filesystem_that_a_kill_left_small_grows_at_the_next_stage),
	  UNIT(a_volume_in_memory_grows), UNIT(volumes_of_a_pool_that_cannot_grow_are_refused))
