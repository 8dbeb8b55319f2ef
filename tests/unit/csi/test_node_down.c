/* SPDX-License-Identifier: Apache-2.0 */
/* Taking down what others have meddled with, on the fake host. */
#include "base/mem.h"
#include "fixture.h"
#include "host/loopdev.h"
#include "host/mount.h"

static void bind_over(struct fixture *f, const char *from, const char *at)
{
	ASSERT_OK(host_mount_bind(&f->ctx, from, at, false, NULL, 0, &f->err), &f->err);
}

TEST(layers_of_the_volume_on_each_other_all_go)
{
	struct fixture *f = fixture_begin();

	ASSERT_OK(do_create(f, "v", &cap_mount, 64 * MIB), &f->err);
	ASSERT_OK(do_stage(f, "/s1", &cap_mount), &f->err);
	ASSERT_OK(do_publish(f, "/s1", "/pods/t1", &cap_mount, false), &f->err);
	bind_over(f, "/s1", "/s1");
	bind_over(f, "/s1", "/s1");
	bind_over(f, "/s1", "/pods/t1");
	ASSERT_EQ(fake_host_n_mounts(), 5);
	ASSERT_OK(do_stage(f, "/s1", &cap_mount), &f->err);
	ASSERT_OK(do_unpublish(f, "/pods/t1"), &f->err);
	ASSERT_EQ(fake_host_n_mounts(), 3);
	ASSERT_OK(do_unstage(f, "/s1"), &f->err);
	assert_node_is_clean();
	fixture_end(f);
}

TEST(a_layer_of_something_else_is_left_alone)
{
	struct fixture *f = fixture_begin();
	const char *id;

	ASSERT_OK(do_create(f, "v", &cap_mount, 64 * MIB), &f->err);
	ASSERT_OK(do_stage(f, "/s1", &cap_mount), &f->err);
	id = f->id;
	ASSERT_OK(do_create(f, "other", &cap_mount, 64 * MIB), &f->err);
	ASSERT_OK(do_stage(f, "/s2", &cap_mount), &f->err);
	bind_over(f, "/s2", "/s1");
	f->id = id;
	ASSERT_ERR(do_unstage(f, "/s1"), &f->err, ERR_FAILED_PRECONDITION, "left alone");
	ASSERT_EQ(fake_host_n_mounts(), 3);
	ASSERT_ERR(do_publish(f, "/s1", "/pods/t1", &cap_mount, false), &f->err,
		   ERR_FAILED_PRECONDITION, "/s1");
	ASSERT_OK(host_mount_umount(&f->ctx, "/s1", &f->err), &f->err);
	ASSERT_OK(do_unstage(f, "/s1"), &f->err);
	ASSERT_EQ(fake_host_n_mounts(), 1);
	fixture_end(f);
}

/* A device that goes from under a target could be another volume's in the next moment. */
TEST(a_lost_note_does_not_take_the_device_from_under_a_target)
{
	const struct vol_capability *caps[] = { &cap_mount, &cap_block };

	for (size_t i = 0; i < ARRAY_LEN(caps); i++) {
		for (int readonly = 0; readonly <= 1; readonly++) {
			struct fixture *f = fixture_begin();

			ASSERT_OK(do_create(f, "v", caps[i], 64 * MIB), &f->err);
			ASSERT_OK(do_stage(f, "/s1", caps[i]), &f->err);
			ASSERT_OK(do_publish(f, "/s1", "/pods/t1", caps[i], readonly), &f->err);
			fake_host_set_attr("v", "user.cleat.note", "");
			ASSERT_ERR(do_unstage(f, "/s1"), &f->err, ERR_FAILED_PRECONDITION,
				   "/pods/t1");
			ASSERT_OK(do_unpublish(f, "/pods/t1"), &f->err);
			ASSERT_OK(do_unstage(f, "/s1"), &f->err);
			assert_node_is_clean();
			fixture_end(f);
		}
	}
}

static int take_first(void *arg, const struct host_loop_seen *seen)
{
	*(struct host_loop_seen *)arg = *seen;
	return 1;
}

/* As losetup --detach does. */
static void unbind(const char *name)
{
	struct host_loop_seen seen = { .path = "" };
	struct err err;

	ASSERT_OK(host_loop_each_named(name, take_first, &seen, &err), &err);
	ASSERT_OK(host_loop_let_go(&seen, name, &err), &err);
}

TEST(a_raw_target_whose_device_was_unbound_goes)
{
	struct fixture *f = fixture_begin();
	const char *id;

	ASSERT_OK(do_create(f, "v", &cap_block, 64 * MIB), &f->err);
	ASSERT_OK(do_stage(f, "/s1", &cap_block), &f->err);
	ASSERT_OK(do_publish(f, "/s1", "/pods/t1", &cap_block, false), &f->err);
	id = f->id;
	unbind("v");
	ASSERT_EQ(fake_host_n_loops(), 0);
	/* the number is another volume's by now, and that one is left alone */
	ASSERT_OK(do_create(f, "other", &cap_block, 64 * MIB), &f->err);
	ASSERT_OK(do_stage(f, "/s2", &cap_block), &f->err);
	ASSERT_OK(do_publish(f, "/s2", "/pods/t2", &cap_block, false), &f->err);
	f->id = id;
	ASSERT_ERR(do_unpublish(f, "/pods/t2"), &f->err, ERR_FAILED_PRECONDITION, "left alone");
	ASSERT_OK(do_unpublish(f, "/pods/t1"), &f->err);
	ASSERT_OK(do_unstage(f, "/s1"), &f->err);
	ASSERT_FALSE(path_exists("/pods/t1"));
	ASSERT_TRUE(path_exists("/pods/t2"));
	ASSERT_EQ(fake_host_n_loops(), 1);
	fixture_end(f);
}

RUN_TESTS(UNIT(layers_of_the_volume_on_each_other_all_go),
	  UNIT(a_layer_of_something_else_is_left_alone),
	  UNIT(a_lost_note_does_not_take_the_device_from_under_a_target),
	  UNIT(a_raw_target_whose_device_was_unbound_goes))
