/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pools that are missing at the start, come later, die: what is served, told and bounded. The fake
 * host has one thread at a time: things are done to it before the loop runs or between two runs.
 */
#include "cmd/lanes.h"
#include "cmd/pools_watch.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/num.h"
#include "check.h"
#include "cmd/pools.h"
#include "event/loop.h"
#include "event/sync.h"
#include "event/work.h"
#include "fake/host.h"

#define HOUR (3600 * NS_PER_S)

/* Those up to the one that is used, which has one thread. */
static const struct work_lane_def lanes[] = {
	[LANE_API] = { .name = "api", .threads = 1 },
	[LANE_MINOR] = { .name = "minor", .threads = 1 },
	[LANE_HOST] = { .name = "host", .threads = 1 },
	[LANE_LOOK] = { .name = "look", .threads = 1 },
	[LANE_STORE] = { .name = "store", .threads = 1 },
	[LANE_REMOTE] = { .name = "remote", .threads = 1 },
	[LANE_STREAM] = { .name = "stream", .threads = 1 },
	[LANE_SLOW] = { .name = "slow", .threads = 1 },
};

struct env {
	struct registry *r;
	struct backend_config configs[2];
	struct ev_loop *loop;
	struct work *work;
	struct pools_watch *w;
	struct ev_timer *poll;
	const char *until; /* stop when the report holds it; "": when it is empty */
	unsigned n_changed;
	struct ctx ctx;
	struct err err;
};

static void count_change(void *arg)
{
	((struct env *)arg)->n_changed++;
}

static void check_report(void *arg)
{
	struct env *e = arg;
	autostr struct str report = STR_INIT;

	(void)pools_watch_report(e->w, &report);
	if (e->until[0] ? strstr(str_get(&report), e->until) != NULL : !str_get(&report)[0])
		ev_loop_stop(e->loop);
}

static void setup(struct env *e)
{
	*e = (struct env){ .configs = { { .kind = "mem", .name = "ram", .mem_bytes = GIB },
					{ .kind = "pool", .name = "disk", .dir = "/pool" } } };
	fake_host_reset(GIB);
	ctx_init(&e->ctx, 0);
	e->r = registry_new();
	ASSERT_EQ(ev_loop_new(&e->loop), 0);
	ASSERT_EQ(work_new(&(struct work_options){ .lanes = lanes, .n_lanes = ARRAY_LEN(lanes) },
			   &e->work),
		  0);
}

static void watch(struct env *e, int64_t calm_ns)
{
	const struct pools_watch_options opts = { .registry = e->r,
						  .configs = e->configs,
						  .n_configs = 2,
						  .every_ns = NS_PER_MS,
						  .calm_ns = calm_ns,
						  .changed = count_change,
						  .arg = e };

	e->w = pools_watch_new(e->loop, e->work, &opts);
	e->poll = ev_timer_new(e->loop, check_report, e);
}

static void set_flag(void *flag)
{
	sync_flag_set(flag);
}

/* Looks are taken until the report is so; none runs afterwards (their lane has one thread). */
static void run_until(struct env *e, const char *says)
{
	struct sync_flag idle = { 0 };

	e->until = says;
	ev_timer_start(e->poll, NS_PER_MS, NS_PER_MS);
	ASSERT_EQ(ev_loop_run(e->loop), 0);
	ev_timer_stop(e->poll);
	ASSERT_EQ(work_submit(e->work, LANE_SLOW, set_flag, &idle), 0);
	ASSERT_EQ(sync_flag_wait_until(&idle, INT64_MAX), 0);
}

static void teardown(struct env *e)
{
	ASSERT_EQ(ev_loop_spawn(e->loop), 0);
	ASSERT_EQ(pools_watch_stop(e->w, 10 * NS_PER_S), 0);
	ev_loop_join(e->loop);
	work_free(e->work);
	pools_watch_free(e->w);
	ev_timer_free(e->poll);
	ev_loop_free(e->loop);
	registry_free(e->r);
	ctx_done(&e->ctx);
	fake_host_reset(0);
}

TEST(a_missing_pool_among_several_is_served_when_it_comes)
{
	const struct registry_missing *missing;
	struct env e;

	setup(&e);
	fake_host_unmount_pool();
	ASSERT_OK(pools_open(e.r, &e.ctx, e.configs, 2, false, &e.err), &e.err);
	ASSERT_EQ(registry_count(e.r), 1);
	ASSERT_EQ(registry_missing(e.r, e.ctx.arena, &missing), 1);
	ASSERT_STR(missing[0].name, "disk");
	ASSERT_TRUE(strstr(missing[0].why, "is its disk not mounted") != NULL);
	watch(&e, HOUR);
	run_until(&e, "pool 'disk' at '/pool'");
	ASSERT_EQ(e.n_changed, 0);
	fake_host_mount_pool();
	run_until(&e, "");
	ASSERT_EQ(registry_count(e.r), 2);
	ASSERT_EQ(registry_missing(e.r, e.ctx.arena, &missing), 0);
	teardown(&e);
	/* told at once although there is an hour of calm: it was never there before */
	ASSERT_EQ(e.n_changed, 1);
}

TEST(a_pool_that_dies_is_named_and_told_of_no_more_often_than_calm_allows)
{
	struct env e;

	setup(&e);
	fake_host_unmount_pool();
	ASSERT_OK(pools_open(e.r, &e.ctx, e.configs, 2, false, &e.err), &e.err);
	watch(&e, HOUR);
	fake_host_mount_pool();
	run_until(&e, "");
	fake_host_kill_disk();
	run_until(&e, "pool 'disk'");
	teardown(&e);
	ASSERT_EQ(e.n_changed, 1);
}

TEST(a_change_is_told_when_there_was_calm)
{
	struct env e;

	setup(&e);
	ASSERT_OK(pools_open(e.r, &e.ctx, e.configs, 2, false, &e.err), &e.err);
	watch(&e, 0);
	fake_host_kill_disk();
	run_until(&e, "pool 'disk'");
	teardown(&e);
	ASSERT_EQ(e.n_changed, 1);
}

TEST(no_pool_at_all_and_contradictions_end_the_start)
{
	struct env e;

	setup(&e);
	fake_host_unmount_pool();
	ASSERT_ERR(pools_open(e.r, &e.ctx, e.configs + 1, 1, false, &e.err), &e.err,
		   ERR_FAILED_PRECONDITION, "/pool");
	e.configs[0] = (struct backend_config){ .kind = "pool", .name = "a", .dir = "/pool" };
	e.configs[1] = (struct backend_config){ .kind = "pool", .name = "b", .dir = "/nowhere" };
	ASSERT_ERR(pools_open(e.r, &e.ctx, e.configs, 2, false, &e.err), &e.err,
		   ERR_FAILED_PRECONDITION, "/nowhere");
	fake_host_mount_pool();
	fake_host_add_dir("/pool/sub");
	e.configs[1] = (struct backend_config){ .kind = "pool", .name = "b", .dir = "/pool/sub" };
	ASSERT_ERR(pools_open(e.r, &e.ctx, e.configs, 2, false, &e.err), &e.err, ERR_ALREADY_EXISTS,
		   "same filesystem");
	watch(&e, 0);
	teardown(&e);
}

TEST(a_node_starts_without_a_pool)
{
	struct env e;

	setup(&e);
	fake_host_unmount_pool();
	ASSERT_OK(pools_open(e.r, &e.ctx, e.configs + 1, 1, true, &e.err), &e.err);
	ASSERT_EQ(registry_count(e.r), 0);
	teardown(&e);
}

/* A scrape that hangs in a dead disk must not take the next ones with it. */
TEST(a_scrape_does_not_wait_for_one_that_still_asks_the_pools)
{
	struct env e;
	struct pools_gauges gauges = { .is_asking = ATOMIC_FLAG_INIT };
	autostr struct str text = STR_INIT;

	setup(&e);
	ASSERT_OK(pools_open(e.r, &e.ctx, e.configs, 2, false, &e.err), &e.err);
	gauges.registry = e.r;
	ASSERT_FALSE(atomic_flag_test_and_set(&gauges.is_asking));
	pools_set_gauges(&gauges);
	metric_render(&text);
	ASSERT_TRUE(strstr(str_get(&text), "{pool=\"disk\"}") == NULL);
	atomic_flag_clear(&gauges.is_asking);
	pools_set_gauges(&gauges);
	pools_set_gauges(&gauges);
	metric_render(&text);
	ASSERT_TRUE(strstr(str_get(&text), "cleat_pool_volumes{pool=\"disk\"} 0") != NULL);
	watch(&e, HOUR);
	teardown(&e);
}

RUN_TESTS(UNIT(a_missing_pool_among_several_is_served_when_it_comes),
	  UNIT(a_pool_that_dies_is_named_and_told_of_no_more_often_than_calm_allows),
	  UNIT(a_change_is_told_when_there_was_calm),
	  UNIT(no_pool_at_all_and_contradictions_end_the_start), UNIT(a_node_starts_without_a_pool),
	  UNIT(a_scrape_does_not_wait_for_one_that_still_asks_the_pools))
