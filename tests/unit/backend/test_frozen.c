/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a process that was killed together with its guards left frozen is thawed by the next one: at
 * once where it is mounted, else when it is mounted again. On the fake host.
 */
#include "backend/registry.h"
#include "base/num.h"
#include "check.h"
#include "fake/host.h"
#include "fake/host_extent.h"
#include "fake/host_freeze.h"
#include "host/fs.h"
#include "host/mount.h"

#define FROZEN "/pool/.cleat/frozen"

struct env {
	struct registry *r;
	struct backend *b;
	struct ctx ctx;
	struct err err;
	char device[64];
};

static void start(struct env *e)
{
	const struct backend_config config = { .kind = "pool",
					       .dir = "/pool",
					       .reserve_bytes = 100 * MIB };

	e->r = registry_new();
	ASSERT_OK(registry_open(e->r, &e->ctx, &config, &e->err), &e->err);
	e->b = registry_at(e->r, 0);
}

/* The volume "v", attached so that it stays. */
static void setup(struct env *e)
{
	const struct backend_spec spec = {
		.name = "v", .token = "v", .bytes = 64 * MIB, .fs = "ext4"
	};
	const struct backend_attach_options keep = { .hold = true };
	struct backend_volume vol;
	struct backend_device dev;

	fake_host_reset(GIB);
	fake_host_add_dir("/mnt");
	ctx_init(&e->ctx, 0);
	start(e);
	ASSERT_OK(backend_create(e->b, &e->ctx, &spec, &vol, &e->err), &e->err);
	ASSERT_OK(backend_attach(e->b, &e->ctx, "v", &keep, &dev, &e->err), &e->err);
	(void)snprintf(e->device, sizeof(e->device), "%s", dev.path);
}

static void teardown(struct env *e)
{
	ASSERT_OK(backend_detach(e->b, &e->ctx, "v", &e->err), &e->err);
	registry_free(e->r);
	ctx_done(&e->ctx);
	ASSERT_EQ(fake_host_n_fds(), 0);
	fake_host_reset(0);
}

static void mount_only(struct env *e)
{
	const struct host_mount_options opts = { .fs = "ext4" };

	ASSERT_OK(host_mount_device(&e->ctx, e->device, "/mnt", &opts, &e->err), &e->err);
}

static int settle(struct env *e)
{
	return backend_settle(e->b, &e->ctx, "v", "/mnt", &e->err);
}

static int mount_v(struct env *e)
{
	mount_only(e);
	return settle(e);
}

static void umount_v(struct env *e)
{
	ASSERT_OK(host_mount_umount(&e->ctx, "/mnt", &e->err), &e->err);
}

static int take(struct env *e)
{
	const struct backend_snapshot_spec spec = {
		.name = "s", .token = "s", .source = "v", .options = { .freeze = true }
	};
	struct backend_snapshot snap;

	return backend_snapshot_create(e->b, &e->ctx, &spec, &snap, &e->err);
}

static int count_name(void *arg, const char *name, bool is_regular)
{
	(void)name;
	(void)is_regular;
	++*(unsigned *)arg;
	return 0;
}

static unsigned n_records(void)
{
	struct err err;
	unsigned n = 0;
	int fd;

	ASSERT_OK(host_dir_open(FROZEN, &fd, &err), &err);
	ASSERT_OK(host_dir_each(fd, count_name, &n, &err), &err);
	host_fd_close(fd);
	return n;
}

static void die(void *arg)
{
	(void)arg;
	ASSERT_EQ(fake_host_n_frozen(), 1);
	ASSERT_EQ(n_records(), 1);
	fake_host_fail_from(1);
}

/* While it was frozen, with all guards. */
static void kill_in_mid_freeze(struct env *e)
{
	fake_host_at_clone(die, NULL);
	ASSERT_EQ(take(e), -1);
	registry_free(e->r);
	fake_host_at_clone(NULL, NULL);
	fake_host_kill_guards();
	fake_host_kill();
	ASSERT_EQ(fake_host_n_frozen(), 1);
}

TEST(thaws_what_is_mounted_when_the_pool_is_opened)
{
	struct env e;

	setup(&e);
	ASSERT_OK(mount_v(&e), &e.err);
	kill_in_mid_freeze(&e);
	start(&e);
	ASSERT_EQ(fake_host_n_frozen(), 0);
	ASSERT_EQ(n_records(), 0);
	ASSERT_OK(take(&e), &e.err);
	umount_v(&e);
	teardown(&e);
}

TEST(thaws_what_was_unmounted_when_it_is_mounted_again)
{
	struct env e;

	setup(&e);
	ASSERT_OK(mount_v(&e), &e.err);
	kill_in_mid_freeze(&e);
	umount_v(&e);
	start(&e);
	ASSERT_EQ(fake_host_n_frozen(), 1);
	ASSERT_EQ(n_records(), 1);
	/* another process, and it is still known */
	registry_free(e.r);
	start(&e);
	ASSERT_OK(backend_settle(e.b, &e.ctx, "w", "/mnt", &e.err), &e.err);
	ASSERT_EQ(n_records(), 1);
	ASSERT_OK(mount_v(&e), &e.err);
	ASSERT_EQ(fake_host_n_frozen(), 0);
	ASSERT_EQ(n_records(), 0);
	umount_v(&e);
	teardown(&e);
}

TEST(what_is_not_attached_is_not_frozen)
{
	struct env e;

	setup(&e);
	ASSERT_OK(mount_v(&e), &e.err);
	kill_in_mid_freeze(&e);
	fake_host_power_cut();
	start(&e);
	ASSERT_EQ(n_records(), 0);
	teardown(&e);
}

TEST(thawing_survives_trouble_at_every_call)
{
	bool is_reached = true;

	for (unsigned n = 1; is_reached; n++) {
		const struct backend_config config = { .kind = "pool",
						       .dir = "/pool",
						       .reserve_bytes = 100 * MIB };
		struct env e;

		setup(&e);
		ASSERT_OK(mount_v(&e), &e.err);
		kill_in_mid_freeze(&e);
		fake_host_fail_at(n);
		e.r = registry_new();
		(void)registry_open(e.r, &e.ctx, &config, &e.err);
		is_reached = fake_host_failed();
		fake_host_fail_at(0);
		registry_free(e.r);
		start(&e);
		ASSERT_EQ(fake_host_n_frozen(), 0);
		ASSERT_EQ(n_records(), 0);
		umount_v(&e);
		teardown(&e);
	}
}

TEST(a_mount_that_cannot_be_thawed_is_said_and_tried_again)
{
	struct env e;

	setup(&e);
	ASSERT_OK(mount_v(&e), &e.err);
	kill_in_mid_freeze(&e);
	umount_v(&e);
	start(&e);
	mount_only(&e);
	fake_host_fail_at(1);
	ASSERT_ERR(settle(&e), &e.err, ERR_INTERNAL, "thaw '/mnt'");
	fake_host_fail_at(0);
	ASSERT_OK(settle(&e), &e.err);
	ASSERT_EQ(fake_host_n_frozen(), 0);
	umount_v(&e);
	teardown(&e);
}

/* It is not known what a call that failed has left to a guard. */
TEST(calls_that_fail_again_and_again_leave_one_record)
{
	unsigned most = 0;
	struct env e;

	setup(&e);
	ASSERT_OK(mount_v(&e), &e.err);
	for (unsigned i = 0; i < 3; i++) {
		for (unsigned n = 1;; n++) {
			fake_host_fail_at(n);
			(void)take(&e);
			if (!fake_host_failed())
				break;
			most = n_records() > most ? n_records() : most;
			fake_host_fail_at(0);
			ASSERT_OK(backend_snapshot_remove(e.b, &e.ctx, "s", NULL, &e.err), &e.err);
		}
		fake_host_fail_at(0);
		ASSERT_OK(backend_snapshot_remove(e.b, &e.ctx, "s", NULL, &e.err), &e.err);
	}
	ASSERT_EQ(most, 1);
	ASSERT_EQ(n_records(), 1);
	ASSERT_OK(settle(&e), &e.err);
	ASSERT_EQ(n_records(), 0);
	umount_v(&e);
	teardown(&e);
}

TEST(leaves_alone_what_is_no_record)
{
	static const char *const names[] = { "v", "v.notes", ".v", "V.0b5e0b5e-0b5e-4b5e-8b5e" };
	struct env e;

	setup(&e);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		int dir_fd, fd;

		ASSERT_OK(host_dir_open(FROZEN, &dir_fd, &e.err), &e.err);
		ASSERT_OK(host_file_open_or_make(dir_fd, names[i], &fd, &e.err), &e.err);
		host_fd_close(fd);
		host_fd_close(dir_fd);
	}
	ASSERT_OK(mount_v(&e), &e.err);
	fake_host_leave_frozen("/mnt"); /* a person */
	registry_free(e.r);
	start(&e);
	ASSERT_EQ(fake_host_n_frozen(), 1);
	ASSERT_EQ(n_records(), 4);
	fake_host_thaw_all();
	umount_v(&e);
	teardown(&e);
}

RUN_TESTS(UNIT(thaws_what_is_mounted_when_the_pool_is_opened),
	  UNIT(thaws_what_was_unmounted_when_it_is_mounted_again),
	  UNIT(what_is_not_attached_is_not_frozen), UNIT(thawing_survives_trouble_at_every_call),
	  UNIT(a_mount_that_cannot_be_thawed_is_said_and_tried_again),
	  UNIT(calls_that_fail_again_and_again_leave_one_record),
	  UNIT(leaves_alone_what_is_no_record))
