/* SPDX-License-Identifier: Apache-2.0 */
/* A person's check of one volume beside the driver, on the fake host. */
#include "backend/pool/pool.h"
#include "backend/registry.h"
#include "base/num.h"
#include "check.h"
#include "fake/host.h"
#include "host/fs.h"

struct env {
	struct registry *r;
	struct backend *b;
	struct ctx ctx;
	struct err err;
	struct pool_checked checked;
};

static void setup(struct env *e)
{
	const struct backend_config config = {
		.kind = "pool", .name = "disk", .dir = "/pool", .reserve_bytes = 64 * MIB
	};

	fake_host_reset(4 * GIB);
	ctx_init(&e->ctx, 0);
	e->r = registry_new();
	ASSERT_OK(registry_open(e->r, &e->ctx, &config, &e->err), &e->err);
	e->b = registry_at(e->r, 0);
}

static void teardown(struct env *e)
{
	registry_free(e->r);
	ctx_done(&e->ctx);
	ASSERT_EQ(fake_host_n_fds(), 0);
	ASSERT_EQ(fake_host_n_foreign_touched(), 0);
	fake_host_reset(0);
}

static void create(struct env *e, const char *name, const char *fs)
{
	const struct backend_spec spec = {
		.name = name, .token = name, .bytes = 64 * MIB, .fs = fs
	};
	struct backend_volume vol;

	ASSERT_OK(backend_create(e->b, &e->ctx, &spec, &vol, &e->err), &e->err);
}

static int attach(struct env *e, const char *name)
{
	struct backend_device dev;

	return backend_attach(e->b, &e->ctx, name, &(struct backend_attach_options){ .hold = true },
			      &dev, &e->err);
}

static int check(struct env *e, const char *name, bool repair, struct str *output)
{
	const struct pool_check what = {
		.dir = "/pool", .token = name, .repair = repair, .output = output
	};

	return pool_check(&e->ctx, &what, &e->checked, &e->err);
}

TEST(tells_and_mends)
{
	autostr struct str said = STR_INIT;
	struct env e;

	setup(&e);
	create(&e, "v", "ext4");
	ASSERT_OK(check(&e, "v", false, &said), &e.err);
	ASSERT_EQ(e.checked.verdict, HOST_FS_CLEAN);
	ASSERT_STR(e.checked.name, "v");
	ASSERT_STR(e.checked.fs, "ext4");
	ASSERT_STR(str_get(&said), "looked at ext4\n");
	fake_host_set_errors("v", true);
	ASSERT_OK(check(&e, "v", false, NULL), &e.err);
	ASSERT_EQ(e.checked.verdict, HOST_FS_HAS_ERRORS);
	ASSERT_OK(check(&e, "v", true, NULL), &e.err);
	ASSERT_EQ(e.checked.verdict, HOST_FS_REPAIRED);
	ASSERT_OK(check(&e, "v", false, NULL), &e.err);
	ASSERT_EQ(e.checked.verdict, HOST_FS_CLEAN);
	teardown(&e);
}

TEST(leaves_alone_what_is_attached)
{
	const struct backend_attach_options reader = { .read_only = true,
						       .hold = true,
						       .reader = true };
	struct backend_device dev;
	struct env e;

	setup(&e);
	create(&e, "v", "ext4");
	ASSERT_OK(attach(&e, "v"), &e.err);
	ASSERT_ERR(check(&e, "v", false, NULL), &e.err, ERR_FAILED_PRECONDITION, "/dev/loop");
	ASSERT_OK(backend_detach(e.b, &e.ctx, "v", &e.err), &e.err);
	ASSERT_OK(backend_attach(e.b, &e.ctx, "v", &reader, &dev, &e.err), &e.err);
	ASSERT_ERR(check(&e, "v", true, NULL), &e.err, ERR_FAILED_PRECONDITION, dev.path);
	ASSERT_OK(backend_detach(e.b, &e.ctx, "v", &e.err), &e.err);
	ASSERT_OK(check(&e, "v", true, NULL), &e.err);
	teardown(&e);
}

TEST(what_is_being_checked_is_not_attached)
{
	struct env e;
	int dir_fd;
	int fd;

	setup(&e);
	create(&e, "v", "ext4");
	ASSERT_OK(host_dir_open("/pool", &dir_fd, &e.err), &e.err);
	ASSERT_OK(host_file_open(dir_fd, "v", false, &fd, &e.err), &e.err);
	ASSERT_OK(host_file_claim(fd, true, &e.err), &e.err);
	ASSERT_ERR(attach(&e, "v"), &e.err, ERR_ABORTED, "being checked");
	ASSERT_ERR(check(&e, "v", false, NULL), &e.err, ERR_FAILED_PRECONDITION, "another process");
	host_fd_close(fd);
	host_fd_close(dir_fd);
	ASSERT_OK(attach(&e, "v"), &e.err);
	ASSERT_OK(backend_detach(e.b, &e.ctx, "v", &e.err), &e.err);
	teardown(&e);
}

TEST(says_what_cannot_be_checked)
{
	struct env e;

	setup(&e);
	create(&e, "raw", "");
	create(&e, "short", "ext4");
	fake_host_set_size("short", 4096);
	fake_host_add_foreign("other");
	ASSERT_ERR(check(&e, "absent", false, NULL), &e.err, ERR_NOT_FOUND,
		   "no volume 'absent' in '/pool'");
	ASSERT_ERR(check(&e, "other", false, NULL), &e.err, ERR_NOT_FOUND, "no volume of cleat's");
	ASSERT_ERR(check(&e, "raw", false, NULL), &e.err, ERR_FAILED_PRECONDITION, "raw block");
	ASSERT_ERR(check(&e, "short", false, NULL), &e.err, ERR_FAILED_PRECONDITION, "damaged");
	teardown(&e);
}

TEST(fails_at_any_call_and_leaves_nothing)
{
	bool is_reached = true;

	for (unsigned n = 1; is_reached; n++) {
		struct env e;

		setup(&e);
		create(&e, "v", "ext4");
		fake_host_set_errors("v", true);
		fake_host_fail_at(n);
		(void)check(&e, "v", true, NULL);
		is_reached = fake_host_failed();
		fake_host_fail_at(0);
		ASSERT_OK(check(&e, "v", true, NULL), &e.err);
		ASSERT_OK(attach(&e, "v"), &e.err);
		ASSERT_OK(backend_detach(e.b, &e.ctx, "v", &e.err), &e.err);
		teardown(&e);
	}
}

RUN_TESTS(UNIT(tells_and_mends), UNIT(leaves_alone_what_is_attached),
	  UNIT(what_is_being_checked_is_not_attached), UNIT(says_what_cannot_be_checked),
	  UNIT(fails_at_any_call_and_leaves_nothing))
