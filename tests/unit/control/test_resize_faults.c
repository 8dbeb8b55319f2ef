/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every step of a claim that becomes larger and of another class, gone wrong in every way: the step
 * fails, its answer is lost, the process dies before or after it, another process does everything
 * meanwhile. Afterwards a new process over the same API and driver, and kubelet, must come to the
 * one right end. The loops end when a run does not reach step n.
 */
#include "check.h"
#include "grown.h"

#include "base/mem.h"

#define STEPS_MAX 100

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
	{ FAKE_FAIL, ERR_FAILED_PRECONDITION },
	{ FAKE_FAIL, ERR_INVALID_ARGUMENT },
	{ FAKE_FAIL, ERR_NOT_FOUND },
	{ FAKE_LOSE, ERR_OK },
	{ FAKE_KILL, ERR_OK },
	{ FAKE_KILL_AFTER, ERR_OK },
};
/* clang-format on */

/* A process, and kubelet, until nothing is left to do. */
static void live(int64_t limit_ns)
{
	struct resize_process p;

	grown_start(&p, (struct resizer_options){ 0 });
	do
		fake_run(limit_ns);
	while (grown_on_node());
	grown_stop(&p);
}

static void prepare(void)
{
	grown_begin();
	grown_put_class("gold", DRIVER, "500");
	grown_want_class("gold");
	grown_ask("2Gi");
}

static void assert_done(void)
{
	ASSERT_STR(grown_at(CLAIM, "status.capacity.storage"), "2Gi");
	ASSERT_STR(grown_at(CLAIM, "status.allocatedResourceStatuses.storage"), "");
	ASSERT_STR(grown_at(CLAIM, "status.currentVolumeAttributesClassName"), "gold");
	ASSERT_STR(grown_at(CLAIM, "status.modifyVolumeStatus.status"), "");
	ASSERT_STR(grown_conditions(), "Unused");
	ASSERT_STR(grown_at(PV, "spec.capacity.storage"), "2Gi");
	ASSERT_STR(grown_at(PV, "spec.volumeAttributesClassName"), "gold");
	ASSERT_FALSE(strstr(fake_text(PV), ANN_PRE_RESIZE));
	ASSERT_STR(fake_service.modified, "{iops=500}");
	ASSERT_TRUE(fake_service.n_expanded > 0);
}

static bool live_through(struct fake_plan plan)
{
	bool is_reached;

	fake_set_plan(plan);
	live(10 * NS_PER_S);
	is_reached = fake_steps() >= plan.at;
	fake_set_plan((struct fake_plan){ 0 });
	live(20 * MINUTE);
	return is_reached;
}

TEST(a_claim_comes_to_its_end_after_any_trouble)
{
	for (size_t t = 0; t < ARRAY_LEN(troubles); t++) {
		struct fake_plan plan = { .fault = troubles[t].fault, .code = troubles[t].code };

		do {
			plan.at++;
			ASSERT_TRUE(plan.at < STEPS_MAX);
			prepare();
		} while (live_through(plan) && (assert_done(), true));
		ASSERT_TRUE(plan.at > 12);
	}
}

/* The same in one process, which has to come round by itself. */
TEST(a_process_gets_over_any_failure)
{
	for (size_t t = 0; troubles[t].fault != FAKE_KILL; t++) {
		struct fake_plan plan = { .fault = troubles[t].fault, .code = troubles[t].code };
		bool is_reached;

		do {
			plan.at++;
			ASSERT_TRUE(plan.at < STEPS_MAX);
			prepare();
			fake_set_plan(plan);
			live(20 * MINUTE);
			is_reached = fake_steps() >= plan.at;
			/* read as gone, the claim is no more this process's affair */
			if (troubles[t].code == ERR_NOT_FOUND)
				live(20 * MINUTE);
			assert_done();
		} while (is_reached);
		ASSERT_TRUE(plan.at > 12);
	}
}

/* Another process that also believes to lead, with caches of its own, while the first one stands at
 * a step with caches that see nothing of it. */
static void run_rival(void *arg)
{
	fake_set_plan((struct fake_plan){ 0 });
	fake_freeze(true);
	live(0);
	fake_freeze(false);
}

TEST(a_rival_at_every_step_does_no_harm)
{
	unsigned n_steps;

	prepare();
	live(MINUTE);
	n_steps = fake_steps();
	ASSERT_TRUE(n_steps > 12);
	for (unsigned at = 1; at <= n_steps; at++) {
		prepare();
		fake_set_plan((struct fake_plan){ .at = at, .hook = run_rival });
		live(MINUTE);
		live(20 * MINUTE);
		assert_done();
	}
}

/* The same where the API server's memory is as old as the caches: it has seen nothing of it either.
 */
TEST(a_memory_staler_than_what_is_written_does_no_harm)
{
	unsigned at = 0;
	bool is_reached;

	do {
		at++;
		ASSERT_TRUE(at < STEPS_MAX);
		prepare();
		fake_serve_old();
		fake_set_plan((struct fake_plan){ .at = at, .hook = run_rival });
		live(MINUTE);
		is_reached = fake_steps() >= at;
		live(20 * MINUTE);
		assert_done();
	} while (is_reached);
	ASSERT_TRUE(at > 12);
}

/* The user changes the mind at every step: what counts in the end is the last word, unless growth
 * was begun, which only ever goes up. */
static void ask_for_more(void *arg)
{
	grown_ask("4Gi");
	grown_want_class("silver");
}

TEST(a_user_who_wants_another_at_every_step_gets_it)
{
	unsigned at = 0;
	bool is_reached;

	do {
		at++;
		ASSERT_TRUE(at < STEPS_MAX);
		prepare();
		grown_put_class("silver", DRIVER, "50");
		fake_set_plan((struct fake_plan){ .at = at, .hook = ask_for_more });
		live(20 * MINUTE);
		is_reached = fake_steps() >= at;
		if (is_reached) {
			ASSERT_STR(grown_at(CLAIM, "status.capacity.storage"), "4Gi");
			ASSERT_STR(grown_at(PV, "spec.capacity.storage"), "4Gi");
			ASSERT_STR(grown_at(CLAIM, "status.currentVolumeAttributesClassName"),
				   "silver");
			ASSERT_STR(fake_service.modified, "{iops=50}");
			ASSERT_STR(grown_conditions(), "Unused");
		}
	} while (is_reached);
	ASSERT_TRUE(at > 12);
}

/* Claim and PV are torn away, finalizers and all, and the claim is made anew under its name. */
static void replace(void *arg)
{
	fake_merge(CLAIM, "{\"metadata\":{\"finalizers\":[]}}");
	fake_delete(CLAIM);
	fake_delete(PV);
	cluster_put_claim("data-0");
	fake_merge(CLAIM, "{\"metadata\":{\"uid\":\"c2\"},\"spec\":{\"volumeName\":\"other\"},"
			  "\"status\":{\"phase\":\"Bound\",\"capacity\":{\"storage\":\"1Gi\"}}}");
}

TEST(a_claim_made_anew_at_every_step_is_not_touched)
{
	unsigned at = 0;
	bool is_reached;

	do {
		at++;
		ASSERT_TRUE(at < STEPS_MAX);
		prepare();
		fake_set_plan((struct fake_plan){ .at = at, .hook = replace });
		live(MINUTE);
		is_reached = fake_steps() >= at;
		if (is_reached) {
			ASSERT_STR(grown_at(CLAIM, "status.allocatedResources.storage"), "");
			ASSERT_STR(grown_at(CLAIM, "status.modifyVolumeStatus.status"), "");
			ASSERT_STR(grown_at(CLAIM, "status.capacity.storage"), "1Gi");
			ASSERT_FALSE(fake_has(PV));
		}
	} while (is_reached);
	ASSERT_TRUE(at > 12);
}

RUN_TESTS(UNIT(a_claim_comes_to_its_end_after_any_trouble), UNIT(a_process_gets_over_any_failure),
	  UNIT(a_rival_at_every_step_does_no_harm),
	  UNIT(a_memory_staler_than_what_is_written_does_no_harm),
	  UNIT(a_user_who_wants_another_at_every_step_gets_it),
	  UNIT(a_claim_made_anew_at_every_step_is_not_touched))
