/* SPDX-License-Identifier: Apache-2.0 */
/* What is done with a filesystem that is not well, on the fake host. */
#include "fixture.h"
#include "volume/id.h"

TEST(a_filesystem_that_records_errors_is_not_staged)
{
	struct fixture *f = fixture_begin();

	ASSERT_OK(do_create(f, "v", &cap_mount, 64 * MIB), &f->err);
	fake_host_set_errors("v", true);
	ASSERT_ERR(do_stage(f, "/s1", &cap_mount), &f->err, ERR_FAILED_PRECONDITION,
		   "superblock records errors");
	assert_non_null(strstr(f->err.msg, "cleat ctl volume check"));
	assert_non_null(strstr(f->err.msg, f->id));
	assert_node_is_clean();
	fake_host_set_errors("v", false);
	ASSERT_OK(do_stage(f, "/s1", &cap_mount), &f->err);
	fixture_end(f);
}

TEST(a_filesystem_that_went_read_only_is_not_published_for_writing)
{
	struct fixture *f = fixture_begin();

	ASSERT_OK(do_create(f, "v", &cap_mount, 64 * MIB), &f->err);
	ASSERT_OK(do_stage(f, "/s1", &cap_mount), &f->err);
	ASSERT_OK(do_publish(f, "/s1", "/pods/t1", &cap_mount, false), &f->err);
	fake_host_set_condition("v", true, false);
	ASSERT_ERR(do_publish(f, "/s1", "/pods/t1", &cap_mount, false), &f->err,
		   ERR_FAILED_PRECONDITION, "went read-only");
	ASSERT_ERR(do_publish(f, "/s1", "/pods/t2", &cap_mount, false), &f->err,
		   ERR_FAILED_PRECONDITION, "cleat ctl volume check");
	ASSERT_FALSE(path_exists("/pods/t2"));
	ASSERT_OK(do_publish(f, "/s1", "/pods/t2", &cap_mount, true), &f->err);
	ASSERT_OK(do_unpublish(f, "/pods/t1"), &f->err);
	ASSERT_OK(do_unpublish(f, "/pods/t2"), &f->err);
	ASSERT_OK(do_unstage(f, "/s1"), &f->err);
	assert_node_is_clean();
	fixture_end(f);
}

TEST(a_filesystem_that_was_shut_down_is_not_published_at_all)
{
	struct fixture *f = fixture_begin();

	ASSERT_OK(do_create(f, "v", &cap_mount, 64 * MIB), &f->err);
	ASSERT_OK(do_stage(f, "/s1", &cap_mount), &f->err);
	fake_host_set_condition("v", false, true);
	ASSERT_ERR(do_publish(f, "/s1", "/pods/t1", &cap_mount, true), &f->err,
		   ERR_FAILED_PRECONDITION, "was shut down");
	ASSERT_FALSE(path_exists("/pods/t1"));
	fixture_end(f);
}

/* Bytes are the workload's affair. */
TEST(a_raw_volume_has_no_condition)
{
	struct fixture *f = fixture_begin();

	ASSERT_OK(do_create(f, "v", &cap_block, 64 * MIB), &f->err);
	fake_host_set_errors("v", true);
	ASSERT_OK(do_stage(f, "/s1", &cap_block), &f->err);
	ASSERT_OK(do_publish(f, "/s1", "/pods/t1", &cap_block, false), &f->err);
	fixture_end(f);
}

RUN_TESTS(UNIT(a_filesystem_that_records_errors_is_not_staged),
	  UNIT(a_filesystem_that_went_read_only_is_not_published_for_writing),
	  UNIT(a_filesystem_that_was_shut_down_is_not_published_at_all),
	  UNIT(a_raw_volume_has_no_condition))
