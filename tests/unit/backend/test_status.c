/* SPDX-License-Identifier: Apache-2.0 */
/* What a pool's files say of it, beside its driver and without. On the fake host. */
#include "backend/pool/pool.h"
#include "backend/registry.h"
#include "base/num.h"
#include "check.h"
#include "fake/host.h"
#include "host/fs.h"

struct env {
	struct registry *r;
	struct ctx ctx;
	struct err err;
	struct pool_status status;
};

static void setup(struct env *e)
{
	const struct backend_config config = { .kind = "pool",
					       .name = "one",
					       .dir = "/pool",
					       .node_id = "n1",
					       .reserve_bytes = 64 * MIB };

	fake_host_reset(4 * GIB);
	ctx_init(&e->ctx, 0);
	e->r = registry_new();
	ASSERT_OK(registry_open(e->r, &e->ctx, &config, &e->err), &e->err);
}

static void teardown(struct env *e)
{
	registry_free(e->r);
	ctx_done(&e->ctx);
	ASSERT_EQ(fake_host_n_fds(), 0);
	ASSERT_EQ(fake_host_n_foreign_touched(), 0);
	fake_host_reset(0);
}

static int look(struct env *e, uint64_t reserve_bytes)
{
	const struct pool_status_ask ask = { .dir = "/pool", .reserve_bytes = reserve_bytes };

	return pool_status(&e->ctx, &ask, &e->status, &e->err);
}

static void create(struct env *e, const char *name)
{
	const struct backend_spec spec = {
		.name = name, .token = name, .bytes = 64 * MIB, .fs = "ext4"
	};
	struct backend_volume vol;

	ASSERT_OK(backend_create(registry_at(e->r, 0), &e->ctx, &spec, &vol, &e->err), &e->err);
}

static void snapshot(struct env *e, const char *name, const char *source)
{
	const struct backend_snapshot_spec spec = { .name = name, .token = name, .source = source };
	struct backend_snapshot snap;

	ASSERT_OK(backend_snapshot_create(registry_at(e->r, 0), &e->ctx, &spec, &snap, &e->err),
		  &e->err);
}

TEST(counts_what_is_there_as_the_driver_does)
{
	struct backend_info info = { 0 };
	struct env e;

	setup(&e);
	create(&e, "a");
	create(&e, "b");
	snapshot(&e, "s", "a");
	fake_host_add_foreign("theirs");
	fake_host_add_dir("/pool/lost+found"); /* ext4's own */
	ASSERT_OK(look(&e, 64 * MIB), &e.err);
	ASSERT_OK(backend_info(registry_at(e.r, 0), &e.ctx, &info, &e.err), &e.err);
	ASSERT_TRUE(e.status.is_served);
	ASSERT_EQ(e.status.server, 4711);
	ASSERT_STR(e.status.node, "n1");
	ASSERT_EQ(e.status.n_volumes, 2);
	ASSERT_EQ(e.status.n_snapshots, 1);
	ASSERT_EQ(e.status.n_damaged, 0);
	ASSERT_EQ(e.status.n_foreign, 1);
	ASSERT_EQ(e.status.volume_bytes, 128 * MIB);
	ASSERT_EQ(e.status.total_bytes, info.total_bytes);
	ASSERT_EQ(e.status.kept_bytes, 64 * MIB);
	ASSERT_TRUE(e.status.reserved_bytes <= info.reserved_bytes);
	ASSERT_TRUE(e.status.available_bytes >= info.available_bytes);
	ASSERT_TRUE(e.status.available_bytes + e.status.kept_bytes + e.status.reserved_bytes <=
		    e.status.free_bytes);
	teardown(&e);
}

TEST(works_without_a_driver_and_knows_damage)
{
	struct env e;

	setup(&e);
	create(&e, "a");
	snapshot(&e, "s", "a");
	registry_free(e.r);
	e.r = registry_new();
	fake_host_set_size("a", 4096);
	ASSERT_OK(look(&e, 0), &e.err);
	ASSERT_FALSE(e.status.is_served);
	ASSERT_EQ(e.status.n_volumes, 0);
	ASSERT_EQ(e.status.n_damaged, 1);
	ASSERT_EQ(e.status.n_snapshots, 1);
	ASSERT_EQ(e.status.volume_bytes, 0);
	ASSERT_EQ(e.status.kept_bytes, GIB); /* by rule: 4 GiB / 4 */
	teardown(&e);
}

TEST(what_is_no_pool_is_refused_and_stays_as_it_is)
{
	struct env e;

	setup(&e);
	registry_free(e.r);
	e.r = registry_new();
	fake_host_reset(4 * GIB);
	ASSERT_ERR(look(&e, 0), &e.err, ERR_NOT_FOUND, "'/pool' is no pool");
	teardown(&e);
}

RUN_TESTS(UNIT(counts_what_is_there_as_the_driver_does),
	  UNIT(works_without_a_driver_and_knows_damage),
	  UNIT(what_is_no_pool_is_refused_and_stays_as_it_is))
