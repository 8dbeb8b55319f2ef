/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For n = 1, 2, …: the operation runs with its n-th host call failing, or with the process killed
 * just before it, or with the power gone. Then either the same call comes again, or the opposite
 * one, as a CO does. At the end the state is the promised one, the volume has its data's file, and
 * after taking all down nothing is left on the host.
 */
#include "base/mem.h"
#include "base/str.h"
#include "fake/host_grow.h"
#include "fixture.h"

#define N_CALLS_MAX 300

enum trouble {
	TROUBLE_FAIL,
	TROUBLE_KILL,
	TROUBLE_POWER,
	TROUBLES,
};

struct operation {
	const char *name;
	void (*prepare)(struct fixture *f, const struct vol_capability *cap);
	int (*run)(struct fixture *f, const struct vol_capability *cap);
	int (*opposite)(struct fixture *f, const struct vol_capability *cap); /* NULL: none */
	/* What an undone failure must have left, if the operation failed and the process lives on;
	 * NULL: anything. */
	void (*check_undone)(void);
	bool is_mount_state; /* a reboot takes what prepare did */
	/* What must be so once it was done; NULL: no more than can be taken down. */
	void (*check_done)(struct fixture *f, const struct vol_capability *cap);
};

static void prepare_nothing(struct fixture *f, const struct vol_capability *cap)
{
	(void)f;
	(void)cap;
}

static void prepare_volume(struct fixture *f, const struct vol_capability *cap)
{
	ASSERT_OK(do_create(f, "v", cap, 64 * MIB), &f->err);
}

static void prepare_staged(struct fixture *f, const struct vol_capability *cap)
{
	prepare_volume(f, cap);
	ASSERT_OK(do_stage(f, "/s1", cap), &f->err);
}

static void prepare_published(struct fixture *f, const struct vol_capability *cap)
{
	prepare_staged(f, cap);
	ASSERT_OK(do_publish(f, "/s1", "/pods/t1", cap, false), &f->err);
}

static int run_create(struct fixture *f, const struct vol_capability *cap)
{
	return do_create(f, "v", cap, 64 * MIB);
}

static int run_delete(struct fixture *f, const struct vol_capability *cap)
{
	(void)cap;
	return do_delete(f);
}

static int run_stage(struct fixture *f, const struct vol_capability *cap)
{
	return do_stage(f, "/s1", cap);
}

static int run_unstage(struct fixture *f, const struct vol_capability *cap)
{
	(void)cap;
	return do_unstage(f, "/s1");
}

static int run_publish(struct fixture *f, const struct vol_capability *cap)
{
	return do_publish(f, "/s1", "/pods/t1", cap, false);
}

static void prepare_read_only(struct fixture *f, const struct vol_capability *cap)
{
	prepare_staged(f, cap);
	ASSERT_OK(do_publish(f, "/s1", "/pods/t1", cap, true), &f->err);
}

static int run_publish_read_only(struct fixture *f, const struct vol_capability *cap)
{
	return do_publish(f, "/s1", "/pods/t1", cap, true);
}

static int run_unpublish(struct fixture *f, const struct vol_capability *cap)
{
	(void)cap;
	return do_unpublish(f, "/pods/t1");
}

static int run_expand(struct fixture *f, const struct vol_capability *cap)
{
	(void)cap;
	return do_expand(f, 256 * MIB);
}

static void prepare_expanded(struct fixture *f, const struct vol_capability *cap)
{
	prepare_published(f, cap);
	ASSERT_OK(run_expand(f, cap), &f->err);
}

static int run_node_expand(struct fixture *f, const struct vol_capability *cap)
{
	(void)cap;
	return do_node_expand(f, "/pods/t1", 256 * MIB);
}

/* It grew while it was not staged. */
static void prepare_grown(struct fixture *f, const struct vol_capability *cap)
{
	prepare_volume(f, cap);
	ASSERT_OK(run_expand(f, cap), &f->err);
}

static void prepare_grown_without_right(struct fixture *f, const struct vol_capability *cap)
{
	fake_host_set_can_grow_ext4(false);
	prepare_grown(f, cap);
}

static void check_grown(struct fixture *f, const struct vol_capability *cap)
{
	(void)f;
	ASSERT_EQ(fake_host_device_bytes("v"), 256 * MIB);
	if (cap->access == VOL_ACCESS_MOUNT)
		ASSERT_EQ(fake_host_fs_bytes("v"), 256 * MIB);
}

static void check_volume_grown(struct fixture *f, const struct vol_capability *cap)
{
	(void)cap;
	ASSERT_OK(do_expand(f, 1), &f->err);
	if (fake_host_device_bytes("v"))
		ASSERT_EQ(fake_host_device_bytes("v"), 256 * MIB);
}

static void check_not_staged(void)
{
	ASSERT_EQ(fake_host_n_mounts(), 0);
	ASSERT_EQ(fake_host_n_loops(), 0);
}

static void check_not_published(void)
{
	ASSERT_FALSE(path_exists("/pods/t1"));
}

static void recover(struct fixture *f, enum trouble trouble)
{
	fake_host_fail_at(0);
	if (trouble != TROUBLE_FAIL)
		fixture_restart(f, trouble == TROUBLE_POWER);
}

/* A CO that comes back to a rebooted node begins with staging. */
static void stage_again(struct fixture *f, const struct operation *op,
			const struct vol_capability *cap, enum trouble trouble)
{
	if (trouble != TROUBLE_POWER || !op->is_mount_state)
		return;
	if (op->run == run_publish || op->run == run_publish_read_only)
		ASSERT_OK(do_stage(f, "/s1", cap), &f->err);
	if (op->run == run_node_expand) {
		ASSERT_OK(do_stage(f, "/s1", cap), &f->err);
		ASSERT_OK(do_publish(f, "/s1", "/pods/t1", cap, false), &f->err);
	}
}

static void take_all_down(struct fixture *f)
{
	ASSERT_OK(do_unpublish(f, "/pods/t1"), &f->err);
	ASSERT_OK(do_unstage(f, "/s1"), &f->err);
	assert_node_is_clean();
	ASSERT_OK(do_delete(f), &f->err);
	ASSERT_FALSE(fake_host_has("v"));
	ASSERT_EQ(fake_host_n_files(), 0);
	ASSERT_EQ(fake_host_n_nameless(), 0);
	ASSERT_EQ(fake_host_n_foreign_touched(), 0);
}

/* One round; whether the n-th call was reached. */
static bool run_with_trouble(const struct operation *op, const struct vol_capability *cap,
			     enum trouble trouble, bool go_back, unsigned n)
{
	struct fixture *f = fixture_begin();
	bool is_reached;
	int r;

	fake_host_add_foreign_loop();
	op->prepare(f, cap);
	if (trouble == TROUBLE_FAIL)
		fake_host_fail_at(n);
	else
		fake_host_fail_from(n);
	r = op->run(f, cap);
	is_reached = fake_host_failed();
	if (!is_reached)
		ASSERT_EQ(r, 0);
	recover(f, is_reached ? trouble : TROUBLE_FAIL);
	if (r < 0 && trouble == TROUBLE_FAIL && op->check_undone)
		op->check_undone();
	stage_again(f, op, cap, is_reached ? trouble : TROUBLE_FAIL);
	if (go_back && op->opposite(f, cap) < 0)
		fail_msg("%s, trouble %d at call %u, then the opposite: %s", op->name, (int)trouble,
			 n, f->err.msg);
	if (!go_back && op->run(f, cap) < 0)
		fail_msg("%s, trouble %d at call %u, then again: %s", op->name, (int)trouble, n,
			 f->err.msg);
	if (op->check_done && !go_back)
		op->check_done(f, cap);
	take_all_down(f);
	fixture_end(f);
	return is_reached;
}

static void run_all(const struct operation *op)
{
	const struct vol_capability *caps[] = { &cap_mount, &cap_block };

	for (size_t c = 0; c < ARRAY_LEN(caps); c++) {
		for (int trouble = 0; trouble < TROUBLES; trouble++) {
			for (int go_back = 0; go_back <= (op->opposite != NULL); go_back++) {
				unsigned n = 1;

				while (run_with_trouble(op, caps[c], (enum trouble)trouble, go_back,
							n)) {
					n++;
					ASSERT_TRUE(n < N_CALLS_MAX);
				}
				ASSERT_TRUE(n > 1);
			}
		}
	}
}

TEST(create_survives_trouble_at_every_call)
{
	run_all(&(const struct operation){ "create", prepare_nothing, run_create, NULL, NULL,
					   false });
}

TEST(delete_survives_trouble_at_every_call)
{
	run_all(&(const struct operation){ "delete", prepare_volume, run_delete, NULL, NULL,
					   false });
}

TEST(stage_survives_trouble_at_every_call)
{
	run_all(&(const struct operation){ "stage", prepare_volume, run_stage, run_unstage,
					   check_not_staged, true });
}

TEST(unstage_survives_trouble_at_every_call)
{
	run_all(&(const struct operation){ "unstage", prepare_staged, run_unstage, run_stage, NULL,
					   true });
}

TEST(publish_survives_trouble_at_every_call)
{
	run_all(&(const struct operation){ "publish", prepare_staged, run_publish, run_unpublish,
					   check_not_published, true });
}

TEST(unpublish_survives_trouble_at_every_call)
{
	run_all(&(const struct operation){ "unpublish", prepare_published, run_unpublish, NULL,
					   NULL, true });
}

TEST(read_only_publish_survives_trouble_at_every_call)
{
	run_all(&(const struct operation){ "read-only publish", prepare_staged,
					   run_publish_read_only, run_unpublish,
					   check_not_published, true });
}

TEST(read_only_unpublish_survives_trouble_at_every_call)
{
	run_all(&(const struct operation){ "read-only unpublish", prepare_read_only, run_unpublish,
					   NULL, NULL, true });
}

TEST(controller_expand_survives_trouble_at_every_call)
{
	run_all(&(const struct operation){ "expand", prepare_published, run_expand, NULL, NULL,
					   false, check_volume_grown });
}

TEST(node_expand_survives_trouble_at_every_call)
{
	run_all(&(const struct operation){ "node expand", prepare_expanded, run_node_expand, NULL,
					   NULL, true, check_grown });
}

TEST(stage_with_growth_survives_trouble_at_every_call)
{
	run_all(&(const struct operation){ "stage and grow", prepare_grown, run_stage, run_unstage,
					   check_not_staged, true, check_grown });
	run_all(&(const struct operation){ "grow and stage", prepare_grown_without_right, run_stage,
					   run_unstage, check_not_staged, true, check_grown });
}

RUN_TESTS(UNIT(controller_expand_survives_trouble_at_every_call),
	  UNIT(node_expand_survives_trouble_at_every_call),
	  UNIT(stage_with_growth_survives_trouble_at_every_call),
	  UNIT(create_survives_trouble_at_every_call), UNIT(delete_survives_trouble_at_every_call),
	  UNIT(stage_survives_trouble_at_every_call), UNIT(unstage_survives_trouble_at_every_call),
	  UNIT(publish_survives_trouble_at_every_call),
	  UNIT(unpublish_survives_trouble_at_every_call),
	  UNIT(read_only_publish_survives_trouble_at_every_call),
	  UNIT(read_only_unpublish_survives_trouble_at_every_call))
