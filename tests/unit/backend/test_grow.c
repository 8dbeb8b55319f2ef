/* SPDX-License-Identifier: Apache-2.0 */
/* Growth of a pool's volumes where the files are not as they should be. */
#include "backend/registry.h"
#include "base/num.h"
#include "check.h"
#include "fake/host.h"
#include "host/blockdev.h"

struct env {
	struct registry *r;
	struct backend *b;
	struct ctx ctx;
	struct err err;
};

static void setup(struct env *e)
{
	const struct backend_config config = { .kind = "pool",
					       .dir = "/pool",
					       .reserve_bytes = 100 * MIB };
	const struct backend_spec spec = { .name = "v", .token = "v", .bytes = 64 * MIB, .fs = "" };
	struct backend_volume vol;

	fake_host_reset(GIB);
	ctx_init(&e->ctx, 0);
	e->r = registry_new();
	ASSERT_OK(registry_open(e->r, &e->ctx, &config, &e->err), &e->err);
	e->b = registry_at(e->r, 0);
	ASSERT_OK(backend_create(e->b, &e->ctx, &spec, &vol, &e->err), &e->err);
}

static void teardown(struct env *e)
{
	registry_free(e->r);
	ctx_done(&e->ctx);
	ASSERT_EQ(fake_host_n_fds(), 0);
	fake_host_reset(0);
}

static int grow(struct env *e, uint64_t bytes)
{
	struct backend_volume vol;

	return backend_grow(e->b, &e->ctx, "v", bytes, NULL, &vol, &e->err);
}

static uint64_t device_bytes(struct env *e)
{
	const struct backend_attach_options opts = { 0 };
	struct backend_device dev;
	uint64_t bytes = 0;

	ASSERT_OK(backend_attach(e->b, &e->ctx, "v", &opts, &dev, &e->err), &e->err);
	ASSERT_OK(host_block_size(dev.path, &bytes, &e->err), &e->err);
	return bytes;
}

/* It may have been attached as large as it is, and its filesystem grown to that. */
TEST(a_file_that_a_killed_growth_left_larger_is_not_made_shorter)
{
	struct env e;

	setup(&e);
	fake_host_set_size("v", 256 * MIB);
	ASSERT_EQ(device_bytes(&e), 256 * MIB);
	ASSERT_OK(grow(&e, 128 * MIB), &e.err);
	ASSERT_STR(fake_host_attr("v", "user.cleat.state"), "cleat state 1\nbytes=134217728\n");
	ASSERT_EQ(device_bytes(&e), 256 * MIB);
	ASSERT_OK(grow(&e, 320 * MIB), &e.err);
	ASSERT_EQ(device_bytes(&e), 320 * MIB);
	teardown(&e);
}

TEST(what_is_damaged_does_not_grow)
{
	struct env e;

	setup(&e);
	fake_host_set_attr("v", "user.cleat.state", "cleat state 1\nbytes=134217728\n");
	ASSERT_ERR(grow(&e, 256 * MIB), &e.err, ERR_DATA_LOSS, "the file has 67108864 bytes");
	fake_host_set_attr("v", "user.cleat.state", "cleat state 1\nneeds=thin\n");
	ASSERT_ERR(grow(&e, 256 * MIB), &e.err, ERR_DATA_LOSS, "'thin'");
	ASSERT_STR(fake_host_attr("v", "user.cleat.state"), "cleat state 1\nneeds=thin\n");
	teardown(&e);
}

TEST(growth_that_does_not_fit_says_what_would)
{
	struct env e;

	setup(&e);
	ASSERT_ERR(grow(&e, 2 * GIB), &e.err, ERR_OUT_OF_RANGE,
		   "it takes 1984Mi more, and 860Mi are free");
	ASSERT_OK(grow(&e, 924 * MIB), &e.err);
	ASSERT_ERR(grow(&e, 924 * MIB + 4096), &e.err, ERR_OUT_OF_RANGE, "and 0 are free");
	teardown(&e);
}

TEST(growth_is_not_begun_once_cancelled)
{
	struct env e;
	uint64_t before;

	setup(&e);
	before = fake_host_used_bytes();
	ctx_cancel(&e.ctx);
	ASSERT_ERR(grow(&e, 128 * MIB), &e.err, ERR_CANCELLED, "grow 'v'");
	ASSERT_EQ(fake_host_used_bytes(), before);
	teardown(&e);
}

RUN_TESTS(UNIT(a_file_that_a_killed_growth_left_larger_is_not_made_shorter),
	  UNIT(what_is_damaged_does_not_grow), UNIT(growth_that_does_not_fit_says_what_would),
	  UNIT(growth_is_not_begun_once_cancelled))
