/* SPDX-License-Identifier: Apache-2.0 */
/* NodeStage, NodePublish and their opposites on the fake host: what is mounted afterwards, and what
 * is refused why. */
#include "base/mem.h"
#include "csi/note.h"
#include "fixture.h"
#include "host/fs.h"
#include "host/mount.h"
#include "volume/id.h"
#include "volume/topology.h"

static const char *const flags_ro[] = { "ro", "noatime" };

static void make_and_stage(struct fixture *f, const struct vol_capability *cap)
{
	ASSERT_OK(do_create(f, "v", cap, 64 * MIB), &f->err);
	ASSERT_OK(do_stage(f, "/s1", cap), &f->err);
}

/* A mount that is not the volume's: another volume's. */
static void mount_other(struct fixture *f, const char *path)
{
	const char *id = f->id;

	ASSERT_OK(do_create(f, "other", &cap_mount, 64 * MIB), &f->err);
	ASSERT_OK(do_stage(f, path, &cap_mount), &f->err);
	f->id = id;
}

TEST(a_mount_lives_and_leaves_nothing)
{
	struct fixture *f = fixture_begin();
	bool ro = true;

	make_and_stage(f, &cap_mount);
	ASSERT_TRUE(is_mounted("/s1", NULL));
	ASSERT_OK(do_publish(f, "/s1", "/pods/t1", &cap_mount, false), &f->err);
	ASSERT_TRUE(is_mounted("/pods/t1", &ro));
	ASSERT_FALSE(ro);
	ASSERT_OK(do_publish(f, "/s1", "/pods/t2", &cap_mount, true), &f->err);
	ASSERT_TRUE(is_mounted("/pods/t2", &ro));
	ASSERT_TRUE(ro);
	ASSERT_OK(do_unpublish(f, "/pods/t1"), &f->err);
	ASSERT_OK(do_unpublish(f, "/pods/t2"), &f->err);
	ASSERT_OK(do_unstage(f, "/s1"), &f->err);
	assert_node_is_clean();
	ASSERT_OK(do_delete(f), &f->err);
	ASSERT_FALSE(fake_host_has("v"));
	fixture_end(f);
}

TEST(a_raw_device_lives_and_leaves_nothing)
{
	struct fixture *f = fixture_begin();
	struct host_mount_at at;

	make_and_stage(f, &cap_block);
	ASSERT_FALSE(is_mounted("/s1", NULL));
	ASSERT_EQ(fake_host_n_loops(), 1);
	ASSERT_OK(do_publish(f, "/s1", "/pods/t1", &cap_block, false), &f->err);
	ASSERT_OK(host_mount_look("/pods/t1", &at, &f->err), &f->err);
	ASSERT_TRUE(at.is_mount_root && at.is_block_device);
	ASSERT_OK(do_unpublish(f, "/pods/t1"), &f->err);
	ASSERT_OK(do_unstage(f, "/s1"), &f->err);
	assert_node_is_clean();
	fixture_end(f);
}

TEST(every_call_may_come_twice)
{
	const struct vol_capability *caps[] = { &cap_mount, &cap_block };

	for (size_t i = 0; i < ARRAY_LEN(caps); i++) {
		struct fixture *f = fixture_begin();

		make_and_stage(f, caps[i]);
		ASSERT_OK(do_stage(f, "/s1", caps[i]), &f->err);
		ASSERT_OK(do_publish(f, "/s1", "/pods/t1", caps[i], false), &f->err);
		ASSERT_OK(do_publish(f, "/s1", "/pods/t1", caps[i], false), &f->err);
		ASSERT_OK(do_stage(f, "/s1", caps[i]), &f->err);
		ASSERT_EQ(fake_host_n_loops(), 1);
		ASSERT_OK(do_unpublish(f, "/pods/t1"), &f->err);
		ASSERT_OK(do_unpublish(f, "/pods/t1"), &f->err);
		ASSERT_OK(do_unstage(f, "/s1"), &f->err);
		ASSERT_OK(do_unstage(f, "/s1"), &f->err);
		assert_node_is_clean();
		fixture_end(f);
	}
}

TEST(the_same_staging_path_with_another_capability_is_refused)
{
	struct fixture *f = fixture_begin();
	struct vol_capability other = cap_mount;

	make_and_stage(f, &cap_mount);
	other.mode = VOL_MODE_SINGLE_NODE_WRITER;
	ASSERT_ERR(do_stage(f, "/s1", &other), &f->err, ERR_ALREADY_EXISTS, "/s1");
	ASSERT_ERR(do_stage(f, "/s1", &cap_block), &f->err, ERR_ALREADY_EXISTS, "/s1");
	other = cap_mount;
	other.fs_type = "";
	ASSERT_OK(do_stage(f, "/s1", &other), &f->err);
	fixture_end(f);
}

TEST(a_volume_staged_elsewhere_is_refused_with_the_place)
{
	const struct vol_capability *caps[] = { &cap_mount, &cap_block };

	for (size_t i = 0; i < ARRAY_LEN(caps); i++) {
		struct fixture *f = fixture_begin();

		make_and_stage(f, caps[i]);
		ASSERT_ERR(do_stage(f, "/s2", caps[i]), &f->err, ERR_FAILED_PRECONDITION,
			   "staged at '/s1'");
		ASSERT_OK(do_unstage(f, "/s2"), &f->err);
		ASSERT_OK(do_publish(f, "/s1", "/pods/t1", caps[i], false), &f->err);
		fixture_end(f);
	}
}

TEST(bad_staging_paths_are_refused)
{
	struct fixture *f = fixture_begin();

	fake_host_add_symlink("/link");
	ASSERT_OK(do_create(f, "v", &cap_mount, 64 * MIB), &f->err);
	mount_other(f, "/s2");
	ASSERT_ERR(do_stage(f, "/absent", &cap_mount), &f->err, ERR_FAILED_PRECONDITION, "/absent");
	ASSERT_ERR(do_stage(f, "/link", &cap_mount), &f->err, ERR_INVALID_ARGUMENT,
		   "symbolic link");
	ASSERT_ERR(do_stage(f, "/s2", &cap_mount), &f->err, ERR_FAILED_PRECONDITION, "/s2");
	ASSERT_ERR(do_unstage(f, "/s2"), &f->err, ERR_FAILED_PRECONDITION, "left alone");
	ASSERT_EQ(fake_host_n_mounts(), 1);
	ASSERT_EQ(fake_host_n_loops(), 1);
	fixture_end(f);
}

TEST(unknown_and_unfit_volumes_are_refused)
{
	struct fixture *f = fixture_begin();
	struct vol_capability xfs = cap_mount;

	xfs.fs_type = "xfs";
	f->id = "fake-id";
	ASSERT_ERR(do_stage(f, "/s1", &cap_mount), &f->err, ERR_NOT_FOUND, "fake-id");
	ASSERT_OK(do_create(f, "v", &cap_mount, 64 * MIB), &f->err);
	ASSERT_ERR(do_stage(f, "/s1", &xfs), &f->err, ERR_FAILED_PRECONDITION,
		   "the volume has ext4");
	ASSERT_OK(do_create(f, "raw", &cap_block, 64 * MIB), &f->err);
	ASSERT_ERR(do_stage(f, "/s1", &cap_mount), &f->err, ERR_FAILED_PRECONDITION, "raw");
	fake_host_set_size("raw", 4096);
	ASSERT_ERR(do_stage(f, "/s1", &cap_block), &f->err, ERR_DATA_LOSS, "damaged");
	assert_node_is_clean();
	fixture_end(f);
}

TEST(a_refused_mount_leaves_nothing)
{
	struct fixture *f = fixture_begin();

	ASSERT_OK(do_create(f, "v", &cap_mount, 64 * MIB), &f->err);
	fake_host_set_direct(false);
	ASSERT_ERR(do_stage(f, "/s1", &cap_mount), &f->err, ERR_FAILED_PRECONDITION, "direct");
	assert_node_is_clean();
	fixture_end(f);
}

TEST(publish_wants_the_staging_mount_of_this_very_volume)
{
	struct fixture *f = fixture_begin();

	ASSERT_OK(do_create(f, "v", &cap_mount, 64 * MIB), &f->err);
	ASSERT_ERR(do_publish(f, "/s1", "/pods/t1", &cap_mount, false), &f->err,
		   ERR_FAILED_PRECONDITION, "/s1");
	mount_other(f, "/s2");
	ASSERT_ERR(do_publish(f, "/s2", "/pods/t1", &cap_mount, false), &f->err,
		   ERR_FAILED_PRECONDITION, "/s2");
	ASSERT_OK(do_stage(f, "/s1", &cap_mount), &f->err);
	ASSERT_ERR(do_publish(f, "/s2", "/pods/t1", &cap_mount, false), &f->err,
		   ERR_FAILED_PRECONDITION, "/s2");
	ASSERT_FALSE(path_exists("/pods/t1"));
	fixture_end(f);
}

TEST(after_a_reboot_nothing_is_published_and_taking_down_is_fine)
{
	const struct vol_capability *caps[] = { &cap_mount, &cap_block };

	for (size_t i = 0; i < ARRAY_LEN(caps); i++) {
		struct fixture *f = fixture_begin();

		make_and_stage(f, caps[i]);
		ASSERT_OK(do_publish(f, "/s1", "/pods/t1", caps[i], false), &f->err);
		fixture_restart(f, true);
		ASSERT_ERR(do_publish(f, "/s1", "/pods/t1", caps[i], false), &f->err,
			   ERR_FAILED_PRECONDITION, "/s1");
		ASSERT_OK(do_unpublish(f, "/pods/t1"), &f->err);
		ASSERT_OK(do_unstage(f, "/s1"), &f->err);
		assert_node_is_clean();
		ASSERT_OK(do_stage(f, "/s1", caps[i]), &f->err);
		ASSERT_OK(do_publish(f, "/s1", "/pods/t1", caps[i], false), &f->err);
		fixture_end(f);
	}
}

TEST(after_a_kill_everything_is_known_again)
{
	const struct vol_capability *caps[] = { &cap_mount, &cap_block };

	for (size_t i = 0; i < ARRAY_LEN(caps); i++) {
		struct fixture *f = fixture_begin();

		make_and_stage(f, caps[i]);
		ASSERT_OK(do_publish(f, "/s1", "/pods/t1", caps[i], false), &f->err);
		fixture_restart(f, false);
		ASSERT_OK(do_stage(f, "/s1", caps[i]), &f->err);
		ASSERT_OK(do_publish(f, "/s1", "/pods/t1", caps[i], false), &f->err);
		ASSERT_ERR(do_publish(f, "/s1", "/pods/t1", caps[i], true), &f->err,
			   ERR_ALREADY_EXISTS, "/pods/t1");
		ASSERT_OK(do_unpublish(f, "/pods/t1"), &f->err);
		ASSERT_OK(do_unstage(f, "/s1"), &f->err);
		assert_node_is_clean();
		fixture_end(f);
	}
}

/* The table of NodePublishVolume: T = target path, P = the other arguments. */
TEST(second_publishes_follow_the_table_of_csi)
{
	static const struct {
		enum vol_mode mode;
		bool many;
	} cases[] = {
		{ VOL_MODE_SINGLE_NODE_MULTI_WRITER, true },
		{ VOL_MODE_SINGLE_NODE_SINGLE_WRITER, false },
		{ VOL_MODE_SINGLE_NODE_WRITER, false },
		{ VOL_MODE_SINGLE_NODE_READER_ONLY, false },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct fixture *f = fixture_begin();
		struct vol_capability cap = cap_mount;

		cap.mode = cases[i].mode;
		make_and_stage(f, &cap);
		ASSERT_OK(do_publish(f, "/s1", "/pods/t1", &cap, false), &f->err);
		ASSERT_OK(do_publish(f, "/s1", "/pods/t1", &cap, false), &f->err);
		ASSERT_ERR(do_publish(f, "/s1", "/pods/t1", &cap, true), &f->err,
			   ERR_ALREADY_EXISTS, "/pods/t1");
		for (int readonly = 0; readonly <= 1; readonly++) {
			if (cases[i].many) {
				ASSERT_OK(do_publish(f, "/s1", "/pods/t2", &cap, readonly),
					  &f->err);
				ASSERT_OK(do_unpublish(f, "/pods/t2"), &f->err);
			} else {
				ASSERT_ERR(do_publish(f, "/s1", "/pods/t2", &cap, readonly),
					   &f->err, ERR_FAILED_PRECONDITION, "/pods/t1");
				ASSERT_FALSE(path_exists("/pods/t2"));
			}
		}
		ASSERT_OK(do_unpublish(f, "/pods/t1"), &f->err);
		ASSERT_OK(do_publish(f, "/s1", "/pods/t2", &cap, false), &f->err);
		fixture_end(f);
	}
}

TEST(publishing_with_another_capability_than_staged_is_refused)
{
	struct fixture *f = fixture_begin();
	struct vol_capability other = cap_mount;

	make_and_stage(f, &cap_mount);
	other.mode = VOL_MODE_SINGLE_NODE_WRITER;
	ASSERT_ERR(do_publish(f, "/s1", "/pods/t1", &other, false), &f->err,
		   ERR_FAILED_PRECONDITION, "another volume_capability");
	ASSERT_ERR(do_publish(f, "/s1", "/pods/t1", &cap_block, false), &f->err,
		   ERR_FAILED_PRECONDITION, "not staged as a block device");
	fixture_end(f);
}

TEST(reader_only_modes_and_ro_flags_make_read_only_mounts)
{
	struct vol_capability reader = cap_mount;
	struct vol_capability flag = cap_mount;
	const struct vol_capability *caps[] = { &reader, &flag };

	reader.mode = VOL_MODE_SINGLE_NODE_READER_ONLY;
	flag.mount_flags = flags_ro;
	flag.n_mount_flags = 2;
	for (size_t i = 0; i < ARRAY_LEN(caps); i++) {
		struct fixture *f = fixture_begin();
		bool ro = false;

		make_and_stage(f, caps[i]);
		ASSERT_OK(do_publish(f, "/s1", "/pods/t1", caps[i], false), &f->err);
		ASSERT_TRUE(is_mounted("/pods/t1", &ro) && ro);
		fixture_end(f);
	}
}

TEST(bad_targets_are_refused_and_left_as_they_are)
{
	struct fixture *f = fixture_begin();

	fake_host_add_symlink("/pods/link");
	fake_host_add_dir("/pods/full/of-things");
	fake_host_add_dir("/pods/dir");
	make_and_stage(f, &cap_mount);
	ASSERT_ERR(do_publish(f, "/s1", "/pods/link", &cap_mount, false), &f->err,
		   ERR_INVALID_ARGUMENT, "symbolic link");
	ASSERT_ERR(do_unpublish(f, "/pods/link"), &f->err, ERR_INVALID_ARGUMENT, "symbolic link");
	ASSERT_ERR(do_publish(f, "/s1", "/pods/full", &cap_mount, false), &f->err,
		   ERR_FAILED_PRECONDITION, "not empty");
	ASSERT_ERR(do_publish(f, "/s1", "/nowhere/t", &cap_mount, false), &f->err,
		   ERR_FAILED_PRECONDITION, "/nowhere");
	mount_other(f, "/s2");
	ASSERT_ERR(do_publish(f, "/s1", "/s2", &cap_mount, false), &f->err, ERR_FAILED_PRECONDITION,
		   "/s2");
	ASSERT_ERR(do_unpublish(f, "/s2"), &f->err, ERR_FAILED_PRECONDITION, "left alone");
	ASSERT_TRUE(is_mounted("/s2", NULL));
	ASSERT_OK(do_publish(f, "/s1", "/pods/dir", &cap_mount, false), &f->err);
	ASSERT_OK(do_create(f, "raw", &cap_block, 64 * MIB), &f->err);
	fake_host_add_dir("/s3");
	ASSERT_OK(do_stage(f, "/s3", &cap_block), &f->err);
	ASSERT_ERR(do_publish(f, "/s3", "/pods/full", &cap_block, false), &f->err,
		   ERR_FAILED_PRECONDITION, "wants a file");
	fixture_end(f);
}

TEST(a_published_volume_is_not_unstaged_and_not_deleted)
{
	const struct vol_capability *caps[] = { &cap_mount, &cap_block };

	for (size_t i = 0; i < ARRAY_LEN(caps); i++) {
		struct fixture *f = fixture_begin();

		make_and_stage(f, caps[i]);
		ASSERT_OK(do_publish(f, "/s1", "/pods/t1", caps[i], false), &f->err);
		ASSERT_ERR(do_unstage(f, "/s1"), &f->err, ERR_FAILED_PRECONDITION, "/pods/t1");
		ASSERT_ERR(do_delete(f), &f->err, ERR_FAILED_PRECONDITION, "in use");
		ASSERT_OK(do_unpublish(f, "/pods/t1"), &f->err);
		ASSERT_ERR(do_delete(f), &f->err, ERR_FAILED_PRECONDITION, "/s1");
		ASSERT_OK(do_unstage(f, "/s1"), &f->err);
		ASSERT_OK(do_delete(f), &f->err);
		fixture_end(f);
	}
}

TEST(more_targets_than_the_note_holds_still_work)
{
	struct fixture *f = fixture_begin();

	make_and_stage(f, &cap_mount);
	for (unsigned i = 0; i < NOTE_TARGETS_MAX + 5; i++) {
		autofree char *target = xasprintf("/pods/many-%u", i);

		ASSERT_OK(do_publish(f, "/s1", target, &cap_mount, false), &f->err);
		ASSERT_OK(do_publish(f, "/s1", target, &cap_mount, false), &f->err);
	}
	for (unsigned i = 0; i < NOTE_TARGETS_MAX + 5; i++) {
		autofree char *target = xasprintf("/pods/many-%u", i);

		ASSERT_OK(do_unpublish(f, target), &f->err);
		ASSERT_FALSE(path_exists(target));
	}
	ASSERT_OK(do_unstage(f, "/s1"), &f->err);
	assert_node_is_clean();
	fixture_end(f);
}

/* kubelet takes targets down that it made up for volumes whose disk has gone; nothing there is
 * fine. */
TEST(unknown_volumes_are_taken_down_where_nothing_is)
{
	struct fixture *f = fixture_begin();

	mount_other(f, "/s2");
	fake_host_add_dir("/pods/t1");
	f->id = "v1-00112233445566778899aabbccddeeff-gone";
	ASSERT_OK(do_unpublish(f, "/pods/t1"), &f->err);
	ASSERT_OK(do_unpublish(f, "/pods/t1"), &f->err);
	ASSERT_OK(do_unstage(f, "/s1"), &f->err);
	ASSERT_ERR(do_unpublish(f, "/s2"), &f->err, ERR_FAILED_PRECONDITION, "left alone");
	ASSERT_ERR(do_unstage(f, "/s2"), &f->err, ERR_FAILED_PRECONDITION, "left alone");
	f->id = "no-id-of-ours";
	ASSERT_ERR(do_unpublish(f, "/s2"), &f->err, ERR_NOT_FOUND, "/s2");
	ASSERT_ERR(do_unstage(f, "/s2"), &f->err, ERR_NOT_FOUND, "/s2");
	ASSERT_TRUE(is_mounted("/s2", NULL));
	ASSERT_FALSE(path_exists("/pods/t1"));
	fixture_end(f);
}

enum loss {
	LOSS_DISK,
	LOSS_POOL, /* not open here any more */
	LOSS_FILE, /* removed by hand */
	LOSSES,
};

static void lose(struct fixture *f, enum loss loss)
{
	struct csi_driver_options opts = {
		.name = "d.test", .version = "1", .node_id = "n1", .serve_node = true
	};
	static char id[VOL_ID_MAX];

	if (loss == LOSS_DISK)
		fake_host_kill_disk();
	if (loss == LOSS_FILE)
		fake_host_remove("v");
	if (loss != LOSS_POOL)
		return;
	(void)snprintf(id, sizeof(id), "%s", f->id);
	f->id = id;
	fixture_stop(f);
	f->pools = registry_new();
	opts.pools = f->pools;
	ASSERT_OK(csi_driver_new(&opts, &f->driver, &f->err), &f->err);
	f->csi = csi_driver_service(f->driver);
}

/* Neither the pool nor the file nor the note decides whether a mount or a device can go. */
TEST(what_goes_down_needs_nothing)
{
	const struct vol_capability *caps[] = { &cap_mount, &cap_block };

	for (size_t i = 0; i < ARRAY_LEN(caps) * LOSSES; i++) {
		struct fixture *f = fixture_begin();

		make_and_stage(f, caps[i % 2]);
		ASSERT_OK(do_publish(f, "/s1", "/pods/t1", caps[i % 2], false), &f->err);
		lose(f, (enum loss)(i / 2));
		ASSERT_ERR(do_unstage(f, "/s1"), &f->err, ERR_FAILED_PRECONDITION, "/pods/t1");
		ASSERT_OK(do_unpublish(f, "/pods/t1"), &f->err);
		ASSERT_OK(do_unpublish(f, "/pods/t1"), &f->err);
		ASSERT_OK(do_unstage(f, "/s1"), &f->err);
		ASSERT_OK(do_unstage(f, "/s1"), &f->err);
		assert_node_is_clean();
		fixture_end(f);
	}
}

TEST(what_another_pool_knows_as_its_own_is_left_alone)
{
	struct fixture *f = fixture_begin();

	make_and_stage(f, &cap_mount);
	f->id = "v1-00112233445566778899aabbccddeeff-v";
	ASSERT_ERR(do_unpublish(f, "/s1"), &f->err, ERR_FAILED_PRECONDITION, "left alone");
	ASSERT_ERR(do_unstage(f, "/s1"), &f->err, ERR_FAILED_PRECONDITION, "left alone");
	ASSERT_OK(do_unstage(f, "/s2"), &f->err);
	ASSERT_TRUE(is_mounted("/s1", NULL));
	ASSERT_EQ(fake_host_n_loops(), 1);
	fixture_end(f);
}

/* One symlink in a prefix, and the text of a path is no longer that of the mount. */
TEST(two_names_of_a_place_are_one)
{
	struct vol_capability one = cap_mount;
	struct fixture *f = fixture_begin();

	one.mode = VOL_MODE_SINGLE_NODE_WRITER;
	fake_host_add_dir("/real/s");
	fake_host_add_link("/link", "/real");
	ASSERT_OK(do_create(f, "v", &one, 64 * MIB), &f->err);
	ASSERT_OK(do_stage(f, "/link/s", &one), &f->err);
	ASSERT_OK(do_stage(f, "/real/s", &one), &f->err);
	ASSERT_OK(do_publish(f, "/link/s", "/link/t", &one, false), &f->err);
	ASSERT_ERR(do_publish(f, "/link/s", "/link/t2", &one, false), &f->err,
		   ERR_FAILED_PRECONDITION, "/real/t");
	ASSERT_ERR(do_unstage(f, "/link/s"), &f->err, ERR_FAILED_PRECONDITION, "/real/t");
	ASSERT_OK(do_unpublish(f, "/real/t"), &f->err);
	ASSERT_OK(do_unstage(f, "/link/s"), &f->err);
	assert_node_is_clean();
	fixture_end(f);
}

TEST(paths_outside_the_root_are_refused)
{
	struct csi_driver_options opts = { .name = "d.test",
					   .version = "1",
					   .node_id = "n1",
					   .serve_node = true,
					   .path_root = "/pods" };
	struct fixture *f = fixture_begin();
	struct csi_node_get_volume_stats_response stats;

	ASSERT_OK(do_create(f, "v", &cap_mount, 64 * MIB), &f->err);
	csi_driver_free(f->driver);
	opts.pools = f->pools;
	ASSERT_OK(csi_driver_new(&opts, &f->driver, &f->err), &f->err);
	f->csi = csi_driver_service(f->driver);
	fake_host_add_dir("/pods/s");
	fake_host_add_link("/pods/out", "/");
	ASSERT_ERR(do_stage(f, "/s1", &cap_mount), &f->err, ERR_INVALID_ARGUMENT, "/s1");
	ASSERT_ERR(do_stage(f, "/pods/out/s1", &cap_mount), &f->err, ERR_INVALID_ARGUMENT, "link");
	ASSERT_OK(do_stage(f, "/pods/s", &cap_mount), &f->err);
	ASSERT_ERR(do_publish(f, "/pods/s", "/t", &cap_mount, false), &f->err, ERR_INVALID_ARGUMENT,
		   "target_path");
	ASSERT_ERR(do_unpublish(f, "/t"), &f->err, ERR_INVALID_ARGUMENT, "target_path");
	ASSERT_ERR(do_unstage(f, "/s1"), &f->err, ERR_INVALID_ARGUMENT, "/pods");
	ASSERT_ERR(csi_node_get_volume_stats(&f->csi, &f->ctx,
					     &(const struct csi_node_get_volume_stats_request){
						     .volume_id = f->id,
						     .volume_path = "/s1",
						     .staging_target_path = "" },
					     &stats, &f->err),
		   &f->err, ERR_INVALID_ARGUMENT, "volume_path");
	ASSERT_OK(do_unstage(f, "/pods/s"), &f->err);
	assert_node_is_clean();
	fixture_end(f);
}

static int do_stats(struct fixture *f, const char *path,
		    struct csi_node_get_volume_stats_response *stats)
{
	return csi_node_get_volume_stats(
		&f->csi, &f->ctx,
		&(const struct csi_node_get_volume_stats_request){
			.volume_id = f->id, .volume_path = path, .staging_target_path = "" },
		stats, &f->err);
}

TEST(stats_are_of_the_volume_at_the_path)
{
	struct fixture *f = fixture_begin();
	struct csi_node_get_volume_stats_response stats;

	make_and_stage(f, &cap_mount);
	ASSERT_OK(do_publish(f, "/s1", "/pods/t1", &cap_mount, false), &f->err);
	ASSERT_OK(do_stats(f, "/pods/t1", &stats), &f->err);
	ASSERT_EQ(stats.n_usage, 2);
	ASSERT_EQ(stats.usage[0].unit, CSI_VOLUME_USAGE_UNIT_BYTES);
	ASSERT_TRUE(stats.usage[0].total == 64 * MIB &&
		    stats.usage[0].used + stats.usage[0].available == 64 * MIB);
	ASSERT_TRUE(stats.usage[1].unit == CSI_VOLUME_USAGE_UNIT_INODES &&
		    stats.usage[1].total == 1000 && stats.usage[1].used == 11);
	ASSERT_OK(do_stats(f, "/s1", &stats), &f->err);
	ASSERT_ERR(do_stats(f, "/pods", &stats), &f->err, ERR_NOT_FOUND, "/pods");
	ASSERT_ERR(do_stats(f, "some/path", &stats), &f->err, ERR_NOT_FOUND, "some/path");
	ASSERT_ERR(do_stats(f, "/absent", &stats), &f->err, ERR_NOT_FOUND, "/absent");
	mount_other(f, "/s2");
	ASSERT_ERR(do_stats(f, "/s2", &stats), &f->err, ERR_NOT_FOUND, "/s2");
	fixture_end(f);
}

TEST(stats_of_a_raw_device_are_its_size)
{
	struct fixture *f = fixture_begin();
	struct csi_node_get_volume_stats_response stats;

	make_and_stage(f, &cap_block);
	ASSERT_ERR(do_stats(f, "/s1", &stats), &f->err, ERR_NOT_FOUND, "/s1");
	ASSERT_OK(do_publish(f, "/s1", "/pods/t1", &cap_block, false), &f->err);
	ASSERT_OK(do_stats(f, "/pods/t1", &stats), &f->err);
	ASSERT_EQ(stats.n_usage, 1);
	ASSERT_TRUE(stats.usage[0].total == 64 * MIB && stats.usage[0].used == 0);
	fixture_end(f);
}

TEST(a_call_that_is_out_of_time_changes_nothing)
{
	struct fixture *f = fixture_begin();

	ASSERT_OK(do_create(f, "v", &cap_mount, 64 * MIB), &f->err);
	ctx_cancel(&f->ctx);
	ASSERT_ERR(do_stage(f, "/s1", &cap_mount), &f->err, ERR_CANCELLED, "");
	assert_node_is_clean();
	fixture_end(f);
}

TEST(the_node_tells_its_pools)
{
	struct fixture *f = fixture_begin();
	struct csi_node_get_info_response info;
	struct csi_node_get_capabilities_response caps;

	fixture_add_mem(f, GIB);
	ASSERT_OK(csi_node_get_info(&f->csi, &f->ctx, &(const struct csi_node_get_info_request){},
				    &info, &f->err),
		  &f->err);
	ASSERT_STR(info.node_id, "n1");
	ASSERT_TRUE(info.has_accessible_topology);
	ASSERT_EQ(info.accessible_topology.segments.n, 2);
	for (size_t i = 0; i < registry_count(f->pools); i++) {
		const char *key = vol_segment_key(f->ctx.arena, "d.test",
						  &registry_at(f->pools, i)->identity);

		ASSERT_STR(strmap_find(&info.accessible_topology.segments, key), "here");
	}
	ASSERT_OK(csi_node_get_capabilities(&f->csi, &f->ctx,
					    &(const struct csi_node_get_capabilities_request){},
					    &caps, &f->err),
		  &f->err);
	ASSERT_TRUE(csi_capability_bits(caps.capabilities, caps.n_capabilities) ==
		    (CSI_CAP_BIT(CSI_NODE_STAGE_UNSTAGE_VOLUME) |
		     CSI_CAP_BIT(CSI_NODE_GET_VOLUME_STATS) | CSI_CAP_BIT(CSI_NODE_EXPAND_VOLUME) |
		     CSI_CAP_BIT(CSI_NODE_GET_VOLUME_HEALTH) |
		     CSI_CAP_BIT(CSI_NODE_GET_STORAGE_HEALTH) |
		     CSI_CAP_BIT(CSI_NODE_SINGLE_NODE_MULTI_WRITER)));
	fixture_end(f);
}

RUN_TESTS(UNIT(a_mount_lives_and_leaves_nothing), UNIT(a_raw_device_lives_and_leaves_nothing),
	  UNIT(every_call_may_come_twice),
	  UNIT(the_same_staging_path_with_another_capability_is_refused),
	  UNIT(a_volume_staged_elsewhere_is_refused_with_the_place),
	  UNIT(bad_staging_paths_are_refused), UNIT(unknown_and_unfit_volumes_are_refused),
	  UNIT(a_refused_mount_leaves_nothing),
	  UNIT(publish_wants_the_staging_mount_of_this_very_volume),
	  UNIT(after_a_reboot_nothing_is_published_and_taking_down_is_fine),
	  UNIT(after_a_kill_everything_is_known_again),
	  UNIT(second_publishes_follow_the_table_of_csi),
	  UNIT(publishing_with_another_capability_than_staged_is_refused),
	  UNIT(reader_only_modes_and_ro_flags_make_read_only_mounts),
	  UNIT(bad_targets_are_refused_and_left_as_they_are),
	  UNIT(a_published_volume_is_not_unstaged_and_not_deleted),
	  UNIT(more_targets_than_the_note_holds_still_work),
	  UNIT(unknown_volumes_are_taken_down_where_nothing_is), UNIT(what_goes_down_needs_nothing),
	  UNIT(what_another_pool_knows_as_its_own_is_left_alone),
	  UNIT(two_names_of_a_place_are_one), UNIT(paths_outside_the_root_are_refused),
	  UNIT(stats_are_of_the_volume_at_the_path), UNIT(stats_of_a_raw_device_are_its_size),
	  UNIT(a_call_that_is_out_of_time_changes_nothing), UNIT(the_node_tells_its_pools))
