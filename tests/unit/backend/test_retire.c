/* SPDX-License-Identifier: Apache-2.0 */
/* A pool that died: let go of by the last call, missing meanwhile, and opened again. */
#include "backend/registry.h"
#include "base/num.h"
#include "check.h"
#include "fake/host.h"

static const struct backend_config config = {
	.kind = "pool", .name = "disk", .dir = "/pool", .reserve_bytes = 64 * MIB
};

struct env {
	struct registry *r;
	struct backend *b;
	struct ctx ctx;
	struct err err;
};

static void setup(struct env *e)
{
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
	fake_host_reset(0);
}

static void create(struct env *e, const char *name)
{
	const struct backend_spec spec = {
		.name = name, .token = name, .bytes = 64 * MIB, .fs = "ext4"
	};
	struct backend_volume vol;

	ASSERT_OK(backend_create(registry_at(e->r, 0), &e->ctx, &spec, &vol, &e->err), &e->err);
}

static int retire_in_call(void *arg, const struct backend_volume *vol)
{
	struct env *e = arg;
	struct backend_volume again;

	registry_retire(e->r, e->b, "its disk died");
	ASSERT_TRUE(fake_host_n_fds() > 0); /* this very call still uses them */
	ASSERT_TRUE(backend_stat(e->b, &e->ctx, vol->token, NULL, &again, &e->err) < 0);
	ASSERT_EQ(e->err.code, ERR_UNAVAILABLE);
	ASSERT_TRUE(fake_host_n_fds() > 0);
	ASSERT_EQ(e->b->life, BACKEND_RETIRED);
	return 1;
}

TEST(the_last_call_lets_go)
{
	struct env e;

	setup(&e);
	create(&e, "v");
	ASSERT_OK(backend_each(e.b, &e.ctx, "", retire_in_call, &e, &e.err), &e.err);
	ASSERT_EQ(fake_host_n_fds(), 0);
	teardown(&e);
}

TEST(a_machine_short_of_memory_is_no_dead_disk)
{
	static const enum err_code codes[] = { ERR_INTERNAL, ERR_RESOURCE_EXHAUSTED };

	for (size_t i = 0; i < 2; i++) {
		struct backend_info info = { 0 };
		struct env e;

		setup(&e);
		fake_host_fail_with(codes[i]);
		fake_host_fail_at(1);
		ASSERT_ERR(backend_info(e.b, &e.ctx, &info, &e.err), &e.err, ERR_UNAVAILABLE,
			   "made to fail");
		ASSERT_EQ(info.is_dead, codes[i] == ERR_INTERNAL);
		fake_host_fail_at(0);
		teardown(&e);
	}
}

TEST(calls_to_a_retired_pool_are_unavailable_not_done)
{
	struct backend_info info;
	struct env e;

	setup(&e);
	create(&e, "v");
	registry_retire(e.r, e.b, "its disk died");
	ASSERT_EQ(fake_host_n_fds(), 0);
	ASSERT_TRUE(backend_remove(e.b, &e.ctx, "v", NULL, &e.err) < 0);
	ASSERT_EQ(e.err.code, ERR_UNAVAILABLE);
	ASSERT_TRUE(backend_detach(e.b, &e.ctx, "v", &e.err) < 0);
	ASSERT_EQ(e.err.code, ERR_UNAVAILABLE);
	ASSERT_TRUE(backend_info(e.b, &e.ctx, &info, &e.err) < 0);
	ASSERT_FALSE(info.is_dead); /* which would retire it once more */
	teardown(&e);
}

TEST(it_is_missing_until_it_is_opened_again)
{
	autoarena struct arena *a = arena_new();
	const struct registry_missing *missing;
	struct backend_volume vol;
	struct uuid identity;
	struct env e;

	setup(&e);
	create(&e, "v");
	identity = e.b->identity;
	registry_retire(e.r, e.b, "its disk died");
	ASSERT_EQ(registry_count(e.r), 0);
	ASSERT_EQ(registry_missing(e.r, a, &missing), 1);
	ASSERT_STR(missing[0].name, "disk");
	ASSERT_STR(missing[0].where, "/pool");
	ASSERT_STR(missing[0].why, "its disk died");
	ASSERT_OK(registry_open(e.r, &e.ctx, &config, &e.err), &e.err);
	ASSERT_EQ(registry_missing(e.r, a, &missing), 0);
	ASSERT_TRUE(registry_find_identity(e.r, &identity) == registry_at(e.r, 0));
	ASSERT_OK(backend_stat(registry_at(e.r, 0), &e.ctx, "v", NULL, &vol, &e.err), &e.err);
	ASSERT_STR(e.b->pool_name, "disk"); /* who still has it may still name it */
	teardown(&e);
}

/* SERVED, a call begins, RETIRED, another is refused, the first ends, LET_GO; and no way back. */
TEST(its_life_goes_one_way)
{
	struct backend_volume vol;
	struct env e;

	setup(&e);
	create(&e, "v");
	ASSERT_EQ(e.b->life, BACKEND_SERVED);
	ASSERT_OK(backend_each(e.b, &e.ctx, "", retire_in_call, &e, &e.err), &e.err);
	ASSERT_EQ(e.b->life, BACKEND_LET_GO);
	ASSERT_TRUE(backend_stat(e.b, &e.ctx, "v", NULL, &vol, &e.err) < 0);
	ASSERT_EQ(e.b->life, BACKEND_LET_GO);
	backend_retire(e.b);
	ASSERT_EQ(e.b->life, BACKEND_LET_GO);
	teardown(&e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		UNIT(the_last_call_lets_go),
		UNIT(its_life_goes_one_way),
		UNIT(a_machine_short_of_memory_is_no_dead_disk),
		UNIT(calls_to_a_retired_pool_are_unavailable_not_done),
		UNIT(it_is_missing_until_it_is_opened_again),
	};

	return cmocka_run_group_tests_name("retire", tests, NULL, NULL);
}
