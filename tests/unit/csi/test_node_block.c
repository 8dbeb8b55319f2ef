/* SPDX-License-Identifier: Apache-2.0 */
/* Raw block volumes on the fake host: who can write to which target. */
#include <sys/sysmacros.h>

#include "base/mem.h"
#include "fake/host_usage.h"
#include "fixture.h"
#include "host/mount.h"

static void make_and_stage(struct fixture *f, const struct vol_capability *cap)
{
	ASSERT_OK(do_create(f, "v", cap, 64 * MIB), &f->err);
	ASSERT_OK(do_stage(f, "/s1", cap), &f->err);
}

static dev_t device_at(struct fixture *f, const char *path)
{
	struct host_mount_at at;

	ASSERT_OK(host_mount_look(path, &at, &f->err), &f->err);
	ASSERT_TRUE(at.is_mount_root && at.is_block_device);
	return at.rdev;
}

TEST(a_read_only_target_stays_so_beside_a_writer)
{
	struct fixture *f = fixture_begin();

	make_and_stage(f, &cap_block);
	ASSERT_OK(do_publish(f, "/s1", "/pods/t1", &cap_block, true), &f->err);
	ASSERT_TRUE(fake_host_refuses_writes("/pods/t1"));
	ASSERT_OK(do_publish(f, "/s1", "/pods/t2", &cap_block, false), &f->err);
	ASSERT_TRUE(fake_host_refuses_writes("/pods/t1"));
	ASSERT_FALSE(fake_host_refuses_writes("/pods/t2"));
	ASSERT_OK(do_publish(f, "/s1", "/pods/t1", &cap_block, true), &f->err);
	ASSERT_ERR(do_publish(f, "/s1", "/pods/t1", &cap_block, false), &f->err, ERR_ALREADY_EXISTS,
		   "/pods/t1");
	fixture_end(f);
}

TEST(the_reader_goes_with_the_last_read_only_target)
{
	struct fixture *f = fixture_begin();
	dev_t reader;

	make_and_stage(f, &cap_block);
	ASSERT_EQ(fake_host_n_loops(), 1);
	ASSERT_OK(do_publish(f, "/s1", "/pods/t1", &cap_block, true), &f->err);
	ASSERT_OK(do_publish(f, "/s1", "/pods/t2", &cap_block, true), &f->err);
	ASSERT_EQ(fake_host_n_loops(), 2);
	reader = device_at(f, "/pods/t1");
	ASSERT_TRUE(reader == device_at(f, "/pods/t2"));
	fixture_restart(f, false);
	ASSERT_OK(do_unpublish(f, "/pods/t1"), &f->err);
	ASSERT_TRUE(fake_host_refuses_writes("/pods/t2"));
	ASSERT_EQ(fake_host_n_loops(), 2);
	ASSERT_OK(do_unpublish(f, "/pods/t2"), &f->err);
	ASSERT_EQ(fake_host_n_loops(), 1);
	ASSERT_OK(do_publish(f, "/s1", "/pods/t1", &cap_block, true), &f->err);
	ASSERT_ERR(do_unstage(f, "/s1"), &f->err, ERR_FAILED_PRECONDITION, "/pods/t1");
	ASSERT_OK(do_unpublish(f, "/pods/t1"), &f->err);
	ASSERT_OK(do_unstage(f, "/s1"), &f->err);
	assert_node_is_clean();
	ASSERT_OK(do_delete(f), &f->err);
	fixture_end(f);
}

TEST(a_reader_only_mode_needs_no_second_device)
{
	struct fixture *f = fixture_begin();
	struct vol_capability cap = cap_block;

	cap.mode = VOL_MODE_SINGLE_NODE_READER_ONLY;
	make_and_stage(f, &cap);
	ASSERT_OK(do_publish(f, "/s1", "/pods/t1", &cap, false), &f->err);
	ASSERT_TRUE(fake_host_refuses_writes("/pods/t1"));
	ASSERT_EQ(fake_host_n_loops(), 1);
	fixture_end(f);
}

/* Each device has a page cache of its own. */
TEST(each_publish_flushes_the_caches)
{
	struct fixture *f = fixture_begin();
	unsigned n;

	make_and_stage(f, &cap_block);
	n = fake_host_n_flushes();
	ASSERT_OK(do_publish(f, "/s1", "/pods/t1", &cap_block, false), &f->err);
	ASSERT_EQ(fake_host_n_flushes(), n + 1);
	ASSERT_OK(do_publish(f, "/s1", "/pods/t2", &cap_block, true), &f->err);
	ASSERT_EQ(fake_host_n_flushes(), n + 3);
	fixture_end(f);
}

/* The pool cannot say that there are two devices, and the kernel still can. */
TEST(a_dead_disk_keeps_neither_device)
{
	struct fixture *f = fixture_begin();

	make_and_stage(f, &cap_block);
	ASSERT_OK(do_publish(f, "/s1", "/pods/t1", &cap_block, true), &f->err);
	fake_host_kill_disk();
	ASSERT_ERR(do_unstage(f, "/s1"), &f->err, ERR_FAILED_PRECONDITION, "/pods/t1");
	ASSERT_OK(do_unpublish(f, "/pods/t1"), &f->err);
	ASSERT_OK(do_unstage(f, "/s1"), &f->err);
	assert_node_is_clean();
	fixture_end(f);
}

/* Nobody can see it in the directory any more, and it fills the pool all the same. */
TEST(a_volume_whose_file_is_gone_is_not_deleted_while_a_device_has_its_bytes)
{
	const struct vol_capability *caps[] = { &cap_mount, &cap_block };

	for (size_t i = 0; i < ARRAY_LEN(caps); i++) {
		struct fixture *f = fixture_begin();

		make_and_stage(f, caps[i]);
		ASSERT_OK(do_publish(f, "/s1", "/pods/t1", caps[i], false), &f->err);
		fake_host_unlink("v");
		ASSERT_ERR(do_delete(f), &f->err, ERR_FAILED_PRECONDITION, "/dev/loop0");
		ASSERT_OK(do_unpublish(f, "/pods/t1"), &f->err);
		ASSERT_OK(do_unstage(f, "/s1"), &f->err);
		assert_node_is_clean();
		ASSERT_OK(do_delete(f), &f->err);
		fixture_end(f);
	}
}

TEST(stats_of_a_read_only_target_are_its_size)
{
	struct fixture *f = fixture_begin();
	struct csi_node_get_volume_stats_response stats;

	make_and_stage(f, &cap_block);
	ASSERT_OK(do_publish(f, "/s1", "/pods/t1", &cap_block, true), &f->err);
	ASSERT_OK(csi_node_get_volume_stats(&f->csi, &f->ctx,
					    &(const struct csi_node_get_volume_stats_request){
						    .volume_id = f->id,
						    .volume_path = "/pods/t1",
						    .staging_target_path = "" },
					    &stats, &f->err),
		  &f->err);
	ASSERT_TRUE(stats.n_usage == 1 && stats.usage[0].total == 64 * MIB);
	fixture_end(f);
}

RUN_TESTS(UNIT(a_read_only_target_stays_so_beside_a_writer),
	  UNIT(the_reader_goes_with_the_last_read_only_target),
	  UNIT(a_reader_only_mode_needs_no_second_device), UNIT(each_publish_flushes_the_caches),
	  UNIT(a_dead_disk_keeps_neither_device),
	  UNIT(a_volume_whose_file_is_gone_is_not_deleted_while_a_device_has_its_bytes),
	  UNIT(stats_of_a_read_only_target_are_its_size))
