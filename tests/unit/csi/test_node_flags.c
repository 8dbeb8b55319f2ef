/* SPDX-License-Identifier: Apache-2.0 */
/* Mount flags that change while a volume is in use, on the fake host. */
#include "base/mem.h"
#include "fake/host_usage.h"
#include "fixture.h"

#define PLAIN "suid,dev,exec,diratime,relatime,symfollow"

static const char *const staged_flags[] = { "noatime", "discard", "commit=5" };

static struct vol_capability with_flags(const char *const *flags, size_t n)
{
	struct vol_capability cap = cap_mount;

	cap.mount_flags = flags;
	cap.n_mount_flags = n;
	return cap;
}

static struct fixture *begin(void)
{
	struct fixture *f = fixture_begin();
	struct vol_capability cap = with_flags(staged_flags, 3);

	ASSERT_OK(do_create(f, "v", &cap, 64 * MIB), &f->err);
	ASSERT_OK(do_stage(f, "/s1", &cap), &f->err);
	ASSERT_OK(do_publish(f, "/s1", "/pods/t1", &cap, false), &f->err);
	return f;
}

TEST(another_order_is_the_same)
{
	static const char *const flags[] = { "commit=5", "noatime", "discard", "defaults" };
	struct fixture *f = begin();
	struct vol_capability cap = with_flags(flags, 4);

	ASSERT_OK(do_stage(f, "/s1", &cap), &f->err);
	ASSERT_OK(do_publish(f, "/s1", "/pods/t1", &cap, false), &f->err);
	ASSERT_OK(do_publish(f, "/s1", "/pods/t2", &cap, false), &f->err);
	fixture_end(f);
}

TEST(what_a_bind_can_have_it_gets)
{
	static const char *const flags[] = { "discard", "commit=5", "noexec", "ro" };
	struct fixture *f = begin();
	struct vol_capability cap = with_flags(flags, 4);
	bool ro = false;

	ASSERT_STR(fake_host_mount_flags("/pods/t1"), PLAIN ",noatime");
	ASSERT_OK(do_publish(f, "/s1", "/pods/t2", &cap, false), &f->err);
	ASSERT_STR(fake_host_mount_flags("/pods/t2"), PLAIN ",noexec,ro");
	ASSERT_TRUE(is_mounted("/pods/t2", &ro) && ro);
	ASSERT_ERR(do_publish(f, "/s1", "/pods/t1", &cap, false), &f->err, ERR_ALREADY_EXISTS,
		   "other arguments");
	fixture_end(f);
}

TEST(a_flag_of_the_filesystem_is_named_with_the_way_out)
{
	static const char *const more[] = { "discard", "commit=5", "sync" };
	static const char *const less[] = { "commit=5" };
	static const char *const other[] = { "discard", "commit=50" };
	struct fixture *f = begin();
	struct vol_capability cap = with_flags(more, 3);

	ASSERT_ERR(do_publish(f, "/s1", "/pods/t2", &cap, false), &f->err, ERR_FAILED_PRECONDITION,
		   "without the mount flag 'sync'");
	assert_non_null(strstr(f->err.msg, "stop what uses the volume on this node"));
	ASSERT_ERR(do_stage(f, "/s1", &cap), &f->err, ERR_ALREADY_EXISTS,
		   "without the mount flag 'sync'");
	cap = with_flags(less, 1);
	ASSERT_ERR(do_publish(f, "/s1", "/pods/t2", &cap, false), &f->err, ERR_FAILED_PRECONDITION,
		   "with the mount flag 'discard'");
	cap = with_flags(other, 2);
	ASSERT_ERR(do_publish(f, "/s1", "/pods/t2", &cap, false), &f->err, ERR_FAILED_PRECONDITION,
		   "without the mount flag 'commit=50'");
	ASSERT_FALSE(path_exists("/pods/t2"));
	fixture_end(f);
}

/* As kubelet sends it with both calls where CSIDriver says seLinuxMount. */
TEST(an_selinux_context_is_one_of_the_filesystem)
{
	static const char *const flags[] = {
		"context=\"system_u:object_r:container_file_t:s0:c1,c2\""
	};
	static const char *const others[] = {
		"context=\"system_u:object_r:container_file_t:s0:c3,c4\""
	};
	struct fixture *f = fixture_begin();
	struct vol_capability cap = with_flags(flags, 1);

	ASSERT_OK(do_create(f, "v", &cap_mount, 64 * MIB), &f->err);
	ASSERT_OK(do_stage(f, "/s1", &cap), &f->err);
	ASSERT_OK(do_publish(f, "/s1", "/pods/t1", &cap, false), &f->err);
	ASSERT_STR(fake_host_mount_flags("/pods/t1"), PLAIN);
	cap = with_flags(others, 1);
	ASSERT_ERR(do_publish(f, "/s1", "/pods/t2", &cap, false), &f->err, ERR_FAILED_PRECONDITION,
		   "without the mount flag 'context=");
	fixture_end(f);
}

TEST(an_access_mode_is_named)
{
	struct fixture *f = begin();
	struct vol_capability cap = with_flags(staged_flags, 3);

	cap.mode = VOL_MODE_SINGLE_NODE_WRITER;
	ASSERT_ERR(do_publish(f, "/s1", "/pods/t2", &cap, false), &f->err, ERR_FAILED_PRECONDITION,
		   "SINGLE_NODE_MULTI_WRITER, asked is SINGLE_NODE_WRITER");
	fixture_end(f);
}

RUN_TESTS(UNIT(another_order_is_the_same), UNIT(what_a_bind_can_have_it_gets),
	  UNIT(a_flag_of_the_filesystem_is_named_with_the_way_out),
	  UNIT(an_selinux_context_is_one_of_the_filesystem), UNIT(an_access_mode_is_named))
