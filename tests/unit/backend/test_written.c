/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volumes of which each block is written before they are there: in one call or in many, with
 * trouble in each, and what becomes of those that nobody comes back for. On the fake host.
 */
#include "backend/registry.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/str.h"
#include "check.h"
#include "fake/host.h"

#define N_CALLS_MAX 200
#define N_HALVES 4 /* as many as a pool keeps */

struct env {
	struct registry *r;
	struct backend *b;
	struct ctx ctx;
	struct err err;
	struct backend_volume vol;
};

static void start(struct env *e)
{
	const struct backend_config config = {
		.kind = "pool", .name = "p", .dir = "/pool", .reserve_bytes = 100 * MIB
	};

	ctx_init(&e->ctx, 0);
	e->r = registry_new();
	ASSERT_OK(registry_open(e->r, &e->ctx, &config, &e->err), &e->err);
	e->b = registry_at(e->r, 0);
}

static void stop(struct env *e)
{
	registry_free(e->r);
	ctx_done(&e->ctx);
}

static void setup(struct env *e)
{
	fake_host_reset(2000 * MIB);
	start(e);
}

static void teardown(struct env *e)
{
	stop(e);
	ASSERT_EQ(fake_host_n_fds(), 0);
	ASSERT_EQ(fake_host_n_nameless(), 0);
	fake_host_reset(0);
	clock_fake_set(-1);
}

static int create_of(struct env *e, const char *name, const char *fs, uint64_t bytes)
{
	const struct backend_spec spec = {
		.name = name, .token = name, .bytes = bytes, .fs = fs, .is_written = true
	};

	return backend_create(e->b, &e->ctx, &spec, &e->vol, &e->err);
}

static int create(struct env *e, const char *name)
{
	return create_of(e, name, "ext4", 64 * MIB);
}

/* Begins it, and the call's time is over. */
static void begin(struct env *e, const char *name)
{
	fake_host_slow_gaps(1);
	ASSERT_ERR(create(e, name), &e->err, ERR_ABORTED,
		   "the next goes on: some of it is written");
	ASSERT_FALSE(fake_host_has(name));
}

TEST(each_block_is_written_when_that_is_asked)
{
	static const char *const kinds[] = { "", "ext4", "xfs" };
	const struct backend_spec reserved = {
		.name = "reserved", .token = "reserved", .bytes = 64 * MIB, .fs = "ext4"
	};
	struct env e;

	setup(&e);
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		const char *name = kinds[i][0] ? kinds[i] : "raw";

		ASSERT_OK(create_of(&e, name, kinds[i], 320 * MIB), &e.err);
		ASSERT_TRUE(fake_host_is_written(name));
	}
	ASSERT_OK(backend_create(e.b, &e.ctx, &reserved, &e.vol, &e.err), &e.err);
	ASSERT_FALSE(fake_host_is_written("reserved"));
	teardown(&e);
}

TEST(many_calls_make_it_when_one_is_too_short)
{
	struct env e;
	uint64_t used;

	setup(&e);
	fake_host_slow_gaps(3);
	ASSERT_ERR(create(&e, "v"), &e.err, ERR_ABORTED, "the next goes on");
	used = fake_host_used_bytes();
	ASSERT_ERR(create(&e, "v"), &e.err, ERR_ABORTED, "the next goes on");
	ASSERT_ERR(create(&e, "v"), &e.err, ERR_ABORTED, "the next goes on");
	ASSERT_EQ(fake_host_used_bytes(), used); /* it is the same one */
	ASSERT_EQ(fake_host_n_nameless(), 1);
	ASSERT_ERR(backend_stat(e.b, &e.ctx, "v", NULL, &e.vol, &e.err), &e.err, ERR_ABORTED,
		   "being made");
	ASSERT_OK(create(&e, "v"), &e.err);
	ASSERT_TRUE(fake_host_is_written("v"));
	ASSERT_EQ(fake_host_n_nameless(), 0);
	ASSERT_OK(backend_stat(e.b, &e.ctx, "v", NULL, &e.vol, &e.err), &e.err);
	ASSERT_FALSE(e.vol.is_damaged);
	teardown(&e);
}

TEST(a_cancelled_call_takes_nothing_away)
{
	struct env e;

	setup(&e);
	begin(&e, "v");
	ctx_cancel(&e.ctx);
	ASSERT_ERR(create(&e, "v"), &e.err, ERR_CANCELLED, "");
	ASSERT_EQ(fake_host_n_nameless(), 1);
	ctx_done(&e.ctx);
	ctx_init(&e.ctx, 0);
	ASSERT_OK(create(&e, "v"), &e.err);
	teardown(&e);
}

TEST(one_that_is_wanted_otherwise_is_begun_anew)
{
	const struct backend_spec reserved = {
		.name = "v", .token = "v", .bytes = 64 * MIB, .fs = "ext4"
	};
	struct env e;

	setup(&e);
	begin(&e, "v");
	fake_host_slow_gaps(1);
	ASSERT_ERR(create_of(&e, "v", "ext4", 96 * MIB), &e.err, ERR_ABORTED, "");
	ASSERT_EQ(fake_host_n_nameless(), 1);
	fake_host_slow_gaps(1);
	ASSERT_ERR(create_of(&e, "v", "", 96 * MIB), &e.err, ERR_ABORTED, "");
	ASSERT_EQ(fake_host_n_nameless(), 1);
	ASSERT_OK(backend_create(e.b, &e.ctx, &reserved, &e.vol, &e.err), &e.err);
	ASSERT_EQ(fake_host_n_nameless(), 0);
	ASSERT_EQ(e.vol.bytes, 64 * MIB);
	ASSERT_STR(e.vol.fs, "ext4");
	teardown(&e);
}

TEST(a_deleted_one_gives_its_blocks_back)
{
	struct env e;
	uint64_t used;

	setup(&e);
	ASSERT_OK(create(&e, "other"), &e.err); /* with the template */
	used = fake_host_used_bytes();
	begin(&e, "v");
	ASSERT_TRUE(fake_host_used_bytes() > used);
	ASSERT_OK(backend_remove(e.b, &e.ctx, "v", NULL, &e.err), &e.err);
	ASSERT_EQ(fake_host_used_bytes(), used);
	teardown(&e);
}

TEST(the_oldest_of_too_many_is_given_up)
{
	char name[16];
	struct env e;

	setup(&e);
	clock_fake_set(NS_PER_S);
	for (unsigned i = 0; i <= N_HALVES; i++) {
		(void)snprintf(name, sizeof(name), "v%u", i);
		begin(&e, name);
		clock_fake_advance(NS_PER_S);
	}
	ASSERT_EQ(fake_host_n_nameless(), N_HALVES);
	ASSERT_ERR(backend_stat(e.b, &e.ctx, "v0", NULL, &e.vol, &e.err), &e.err, ERR_NOT_FOUND,
		   "");
	ASSERT_ERR(backend_stat(e.b, &e.ctx, "v1", NULL, &e.vol, &e.err), &e.err, ERR_ABORTED, "");
	teardown(&e);
}

TEST(one_that_nobody_comes_back_for_is_given_up)
{
	struct backend_info info;
	struct env e;

	setup(&e);
	clock_fake_set(NS_PER_S);
	begin(&e, "v");
	clock_fake_advance(600 * NS_PER_S);
	ASSERT_OK(backend_info(e.b, &e.ctx, &info, &e.err), &e.err);
	ASSERT_EQ(fake_host_n_nameless(), 1);
	clock_fake_advance(600 * NS_PER_S);
	ASSERT_OK(backend_info(e.b, &e.ctx, &info, &e.err), &e.err);
	ASSERT_EQ(fake_host_n_nameless(), 0);
	teardown(&e);
}

TEST(a_retired_pool_lets_go_of_them)
{
	struct env e;

	setup(&e);
	begin(&e, "v");
	backend_retire(e.b);
	ASSERT_EQ(fake_host_n_nameless(), 0);
	teardown(&e);
}

enum trouble { TROUBLE_FAIL, TROUBLE_KILL, TROUBLE_POWER, TROUBLES };

/* The volume was begun, and the n-th host call of the call that would end it goes wrong. */
static bool end_with_trouble(enum trouble trouble, unsigned n)
{
	bool is_reached;
	struct env e;
	int rc;

	setup(&e);
	begin(&e, "v");
	if (trouble == TROUBLE_FAIL)
		fake_host_fail_at(n);
	else
		fake_host_fail_from(n);
	rc = create(&e, "v");
	is_reached = fake_host_failed();
	ASSERT_TRUE(is_reached || rc == 0);
	if (trouble != TROUBLE_FAIL && is_reached) {
		stop(&e); /* only its memory: the dead close nothing */
		if (trouble == TROUBLE_KILL)
			fake_host_kill();
		else
			fake_host_power_cut();
		ASSERT_EQ(fake_host_n_nameless(), 0);
		start(&e);
	}
	fake_host_fail_at(0);
	ASSERT_OK(create(&e, "v"), &e.err);
	ASSERT_FALSE(e.vol.is_damaged);
	ASSERT_TRUE(fake_host_is_written("v"));
	ASSERT_EQ(fake_host_n_files(), 1);
	ASSERT_EQ(fake_host_n_nameless(), 0);
	ASSERT_OK(backend_remove(e.b, &e.ctx, "v", NULL, &e.err), &e.err);
	teardown(&e);
	return is_reached;
}

TEST(going_on_survives_trouble_at_every_call)
{
	for (int trouble = 0; trouble < TROUBLES; trouble++) {
		unsigned n = 1;

		while (end_with_trouble((enum trouble)trouble, n)) {
			n++;
			ASSERT_TRUE(n < N_CALLS_MAX);
		}
		ASSERT_TRUE(n > 5);
	}
}

/* Begins further ones in the middle of a mkfs. */
struct nested {
	struct env *e;
	unsigned depth;
	struct err refused; /* of the one that failed */
};

static void create_inside(void *arg)
{
	static const char *const names[] = { "b", "c" };
	struct nested *nested = arg;
	const struct backend_spec spec = { .name = names[nested->depth],
					   .token = names[nested->depth],
					   .bytes = (96 + 32 * nested->depth) * MIB,
					   .fs = "ext4",
					   .is_written = true };
	struct backend_volume vol;
	struct err err;

	nested->depth++;
	if (backend_create(nested->e->b, &nested->e->ctx, &spec, &vol, &err) < 0)
		nested->refused = err;
}

TEST(only_two_are_written_at_once)
{
	struct nested nested = { 0 };
	struct env e;

	setup(&e);
	nested.e = &e;
	fake_host_at_mkfs(create_inside, &nested);
	ASSERT_OK(create(&e, "a"), &e.err);
	ASSERT_EQ(nested.depth, 2);
	fake_host_at_mkfs(NULL, NULL);
	ASSERT_TRUE(fake_host_has("b"));
	ASSERT_FALSE(fake_host_has("c"));
	ASSERT_ERR(-1, &nested.refused, ERR_UNAVAILABLE, "waits its turn");
	ASSERT_EQ(fake_host_n_nameless(), 0);
	ASSERT_OK(create(&e, "c"), &e.err);
	teardown(&e);
}

RUN_TESTS(UNIT(each_block_is_written_when_that_is_asked),
	  UNIT(many_calls_make_it_when_one_is_too_short), UNIT(a_cancelled_call_takes_nothing_away),
	  UNIT(one_that_is_wanted_otherwise_is_begun_anew),
	  UNIT(a_deleted_one_gives_its_blocks_back), UNIT(the_oldest_of_too_many_is_given_up),
	  UNIT(one_that_nobody_comes_back_for_is_given_up), UNIT(a_retired_pool_lets_go_of_them),
	  UNIT(going_on_survives_trouble_at_every_call), UNIT(only_two_are_written_at_once))
