/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every step of what is published of a segment, gone wrong in every way: the step fails, its answer
 * is lost, the process dies before or after it, another process does everything meanwhile, nodes,
 * classes or values change in between. Afterwards each segment has one object with the right value,
 * and none that is not ours was touched. The loops end when a run does not reach step n.
 */
#include "capacities.h"
#include "check.h"

#include "base/mem.h"

#define STEPS_MAX 60
#define STEPS_MIN 6

/* clang-format off */
static const struct {
	enum fake_fault fault;
	enum err_code code;
} troubles[] = {
	{ FAKE_FAIL, ERR_UNAVAILABLE },
	{ FAKE_FAIL, ERR_DEADLINE_EXCEEDED },
	{ FAKE_FAIL, ERR_ABORTED },
	{ FAKE_FAIL, ERR_INTERNAL },
	{ FAKE_FAIL, ERR_PERMISSION_DENIED },
	{ FAKE_FAIL, ERR_INVALID_ARGUMENT },
	{ FAKE_FAIL, ERR_ALREADY_EXISTS },
	{ FAKE_FAIL, ERR_NOT_FOUND },
	{ FAKE_LOSE, ERR_OK },
	{ FAKE_KILL, ERR_OK },
	{ FAKE_KILL_AFTER, ERR_OK },
};
/* clang-format on */

/* One to be made, one to be changed, one too many, one of nothing, and two of somebody else. */
static void prepare(void)
{
	capacities_begin();
	capacities_put("csisc-old", CAPACITY_MANAGER, "fast", "b", "1Gi");
	capacities_put("csisc-twin", CAPACITY_MANAGER, "fast", "b", "1Gi");
	capacities_put("csisc-gone", CAPACITY_MANAGER, "fast", "z", "1Gi");
	capacities_put("foreign", "somebody", "fast", "a", "1Gi");
	capacities_put("foreign-gone", "somebody", "fast", "z", "1Gi");
}

static void assert_foreign(void)
{
	ASSERT_TRUE(contains(fake_text(CAPACITIES "foreign"), "\"capacity\":\"1Gi\""));
	ASSERT_TRUE(contains(fake_text(CAPACITIES "foreign-gone"), "\"capacity\":\"1Gi\""));
}

static void assert_done(const char *capacity)
{
	ASSERT_STR(capacities_at("fast", "a", "capacity"), capacity);
	ASSERT_STR(capacities_at("fast", "b", "capacity"), capacity);
	ASSERT_STR(capacities_at("fast", "a", "owner"), "set-uid");
	ASSERT_STR(capacities_at("fast", "b", "owner"), "set-uid");
	ASSERT_EQ(capacities_count("fast", "z"), 0);
	ASSERT_EQ(fake_count(&storage_capacity_type), 4);
	assert_foreign();
}

TEST(a_process_after_any_trouble_comes_to_the_end)
{
	for (size_t t = 0; t < ARRAY_LEN(troubles); t++) {
		struct fake_plan plan = { .fault = troubles[t].fault, .code = troubles[t].code };
		bool is_reached;

		do {
			plan.at++;
			ASSERT_TRUE(plan.at < STEPS_MAX);
			prepare();
			fake_set_plan(plan);
			capacities_run(10 * NS_PER_S);
			is_reached = fake_steps() >= plan.at;
			fake_set_plan((struct fake_plan){ 0 });
			assert_foreign();
			capacities_run(2 * MINUTE);
			assert_done("10Gi");
		} while (is_reached);
		ASSERT_TRUE(plan.at > STEPS_MIN);
	}
}

/* The same in one process, which has to come round by itself. */
TEST(a_process_gets_over_any_failure)
{
	for (size_t t = 0; troubles[t].fault != FAKE_KILL; t++) {
		struct fake_plan plan = { .fault = troubles[t].fault, .code = troubles[t].code };
		unsigned n_steps;

		do {
			plan.at++;
			ASSERT_TRUE(plan.at < STEPS_MAX);
			prepare();
			fake_set_plan(plan);
			capacities_run(30 * NS_PER_S);
			n_steps = fake_steps();
			assert_done("10Gi");
		} while (n_steps >= plan.at);
		ASSERT_TRUE(plan.at > STEPS_MIN);
	}
}

/* Another process that also believes to lead, with caches of its own, while the first one stands at
 * a step with caches that see nothing of it. */
static void run_rival(void *arg)
{
	fake_set_plan((struct fake_plan){ 0 });
	fake_freeze(true);
	capacities_run(0);
	fake_freeze(false);
}

static void lose_room(void *arg)
{
	fake_service.room_bytes = GIB_10 / 2;
	capacities_put_pv("a-1", "a");
	capacities_put_pv("b-1", "b");
}

static void replace_class(void *arg)
{
	fake_delete(CLASS);
	fake_sync();
	capacities_put_class("fast", DRIVER, true);
}

static void take_nodes(void *arg)
{
	fake_delete(NODE2);
	fake_sync();
	fake_put(NODE2, "{\"kind\":\"Node\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"n2\","
			"\"labels\":{\"topology.example/zone\":\"b\"}}}");
}

/* Whatever happens at every step of a run, a process that goes on is right two seconds later. */
static void happen_at_every_step(void (*hook)(void *arg), const char *capacity)
{
	unsigned at = 0;
	bool is_reached;

	do {
		struct capacity_process p;

		at++;
		ASSERT_TRUE(at < STEPS_MAX);
		prepare();
		fake_set_plan((struct fake_plan){ .at = at, .hook = hook });
		capacities_start(&p, (struct capacity_options){ 0 });
		fake_run(2 * NS_PER_S);
		is_reached = fake_steps() >= at;
		if (is_reached)
			assert_done(capacity);
		capacities_stop(&p);
	} while (is_reached);
	ASSERT_TRUE(at > STEPS_MIN);
}

TEST(a_value_that_changes_while_it_is_published_is_published_in_the_end)
{
	happen_at_every_step(lose_room, "5Gi");
}

TEST(a_class_made_anew_and_a_node_that_comes_back_leave_nothing_doubled)
{
	happen_at_every_step(replace_class, "10Gi");
	happen_at_every_step(take_nodes, "10Gi");
}

TEST(a_rival_at_every_step_does_no_harm)
{
	unsigned n_steps;

	prepare();
	capacities_run(2 * NS_PER_S);
	n_steps = fake_steps();
	ASSERT_TRUE(n_steps > STEPS_MIN);
	for (unsigned at = 1; at <= n_steps; at++) {
		prepare();
		fake_set_plan((struct fake_plan){ .at = at, .hook = run_rival });
		capacities_run(10 * NS_PER_S);
		assert_done("10Gi");
	}
}

/* The one that was chosen since knows better by then. */
static void run_newer_rival(void *arg)
{
	fake_service.room_bytes = GIB_10 / 2;
	run_rival(arg);
}

TEST(what_was_asked_before_never_overwrites_what_was_asked_since)
{
	unsigned n_steps;

	prepare();
	capacities_run(2 * NS_PER_S);
	n_steps = fake_steps();
	for (unsigned at = 1; at <= n_steps; at++) {
		prepare();
		fake_set_plan((struct fake_plan){ .at = at, .hook = run_newer_rival });
		capacities_run(NS_PER_S / 4); /* before anything is asked again */
		ASSERT_STR(capacities_at("fast", "a", "capacity"), "5Gi");
		ASSERT_STR(capacities_at("fast", "b", "capacity"), "5Gi");
	}
}

static void take_node(void *arg)
{
	fake_delete(NODE2);
}

TEST(a_node_that_goes_at_every_step_takes_its_own_along)
{
	unsigned at = 0;
	bool is_reached;

	do {
		struct capacity_process p;

		at++;
		prepare();
		fake_set_plan((struct fake_plan){ .at = at, .hook = take_node });
		capacities_start(&p, (struct capacity_options){ 0 });
		fake_run(2 * NS_PER_S);
		is_reached = fake_steps() >= at;
		if (is_reached) {
			ASSERT_EQ(capacities_count("fast", "b"), 0);
			ASSERT_EQ(capacities_count("fast", "a"), 1);
			assert_foreign();
		}
		capacities_stop(&p);
	} while (is_reached);
	ASSERT_TRUE(at > STEPS_MIN);
}

RUN_TESTS(UNIT(a_process_after_any_trouble_comes_to_the_end), UNIT(a_process_gets_over_any_failure),
	  UNIT(a_value_that_changes_while_it_is_published_is_published_in_the_end),
	  UNIT(a_class_made_anew_and_a_node_that_comes_back_leave_nothing_doubled),
	  UNIT(a_rival_at_every_step_does_no_harm),
	  UNIT(what_was_asked_before_never_overwrites_what_was_asked_since),
	  UNIT(a_node_that_goes_at_every_step_takes_its_own_along))
