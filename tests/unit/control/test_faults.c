/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every step of a claim's life, gone wrong in every way: the step fails, its answer is lost, the
 * process dies before or after it; and meanwhile the claim stays or is deleted. Afterwards a new
 * process over the same API and driver must come to the one right end: bound to exactly one volume,
 * or nothing left at all. The loops end when a run does not reach step n.
 */
#include "check.h"
#include "cluster.h"
#include "control/provision-internal.h"

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
	{ FAKE_LOSE, ERR_OK },
	{ FAKE_KILL, ERR_OK },
	{ FAKE_KILL_AFTER, ERR_OK },
	/* Said of CreateVolume these mean that there is no such volume; nobody may say it of one that there is. */
	{ FAKE_FAIL, ERR_RESOURCE_EXHAUSTED },
	{ FAKE_FAIL, ERR_INVALID_ARGUMENT },
};
#define N_TROUBLES ARRAY_LEN(troubles)
#define N_HONEST_TROUBLES (N_TROUBLES - 2)
/* clang-format on */

enum claim_fate {
	CLAIM_STAYS,
	CLAIM_DELETED_BEFORE_STEP, /* at the step that goes wrong, by a user */
	CLAIM_DELETED_AFTER,       /* when the first process has given up */
};

static void delete_claim(void *arg)
{
	fake_delete(CLAIM);
}

static void assert_bound(void)
{
	assert_true(contains(fake_text(CLAIM), "\"phase\":\"Bound\""));
	ASSERT_FALSE(is_on_record());
	assert_true(contains(fake_text(PV), "\"phase\":\"Bound\""));
	ASSERT_EQ(fake_count(&core_pv_type), 1);
	ASSERT_EQ(fake_service.n_volumes, 1);
	ASSERT_TRUE(fake_service_has(PV_NAME));
}

static void assert_nothing_left(void)
{
	ASSERT_FALSE(fake_has(CLAIM));
	ASSERT_EQ(fake_count(&core_pv_type), 0);
	ASSERT_EQ(fake_service.n_volumes, 0);
}

/* The scheduler: a claim that was given back gets its node again. */
static void schedule(void)
{
	if (fake_has(CLAIM))
		fake_merge(CLAIM, "{\"metadata\":{\"annotations\":{\"volume.kubernetes.io/"
				  "selected-node\":\"n2\"}}}");
}

/* The first process meets the trouble at step `at`; then a healthy second one. False if step `at`
 * was not reached. */
static bool live_through(struct fake_plan plan, enum claim_fate fate)
{
	struct process p;
	bool is_reached;

	if (fate == CLAIM_DELETED_BEFORE_STEP)
		plan.hook = delete_claim;
	fake_set_plan(plan);
	process_start(&p, (struct provision_options){ 0 });
	fake_run(10 * NS_PER_S);
	is_reached = fake_steps() >= plan.at;
	process_stop(&p);
	if (fate == CLAIM_DELETED_AFTER)
		fake_delete(CLAIM);
	fake_set_plan((struct fake_plan){ 0 });
	schedule();
	cluster_run(20 * MINUTE);
	return is_reached;
}

static void try_every_step(size_t n_troubles, enum claim_fate fate, void (*prepare)(void),
			   void (*check)(void))
{
	for (size_t t = 0; t < n_troubles; t++) {
		struct fake_plan plan = { .fault = troubles[t].fault, .code = troubles[t].code };

		do {
			plan.at++;
			ASSERT_TRUE(plan.at < STEPS_MAX);
			cluster_begin();
			cluster_use_wait_for_consumer();
			prepare();
		} while (live_through(plan, fate) && (check(), true));
		ASSERT_TRUE(plan.at > 5);
	}
}

static void nothing_more(void)
{
}

TEST(a_claim_is_bound_after_any_trouble)
{
	try_every_step(N_TROUBLES, CLAIM_STAYS, nothing_more, assert_bound);
}

TEST(a_claim_deleted_during_any_trouble_leaves_nothing)
{
	try_every_step(N_TROUBLES, CLAIM_DELETED_BEFORE_STEP, nothing_more, assert_nothing_left);
}

TEST(a_claim_deleted_after_any_trouble_leaves_nothing)
{
	try_every_step(N_TROUBLES, CLAIM_DELETED_AFTER, nothing_more, assert_nothing_left);
}

/* Bound by an earlier process, then deleted: the trouble meets the release. */
static void bind_and_delete(void)
{
	cluster_run(MINUTE);
	fake_delete(CLAIM);
}

TEST(a_release_comes_to_its_end_after_any_trouble)
{
	try_every_step(N_TROUBLES, CLAIM_STAYS, bind_and_delete, assert_nothing_left);
}

/* Made by a process that died before the PV, and deleted: the trouble meets the cleanup. */
static void die_and_delete(void)
{
	struct process p;

	fake_set_plan((struct fake_plan){ .at = 8, .fault = FAKE_KILL_AFTER });
	process_start(&p, (struct provision_options){ 0 });
	fake_settle();
	process_stop(&p);
	ASSERT_EQ(fake_service.n_volumes, 1);
	ASSERT_EQ(fake_count(&core_pv_type), 0);
	fake_delete(CLAIM);
}

TEST(a_cleanup_comes_to_its_end_after_any_trouble)
{
	try_every_step(N_HONEST_TROUBLES, CLAIM_STAYS, die_and_delete, assert_nothing_left);
}

TEST(a_user_deleting_at_every_step_leaves_nothing)
{
	unsigned at = 0;

	do {
		at++;
		ASSERT_TRUE(at < STEPS_MAX);
		cluster_begin();
		cluster_use_wait_for_consumer();
	} while (live_through((struct fake_plan){ .at = at }, CLAIM_DELETED_BEFORE_STEP) &&
		 (assert_nothing_left(), true));
	ASSERT_TRUE(at > 5);
}

/* As delete_claim, but by someone who also strips all finalizers: only what is under way can save
 * the volume. */
static void strip_claim(void *arg)
{
	if (!fake_has(CLAIM))
		return;
	fake_merge(CLAIM, "{\"metadata\":{\"finalizers\":[]}}");
	fake_delete(CLAIM);
}

TEST(a_claim_torn_away_at_every_step_leaves_nothing)
{
	unsigned at = 0;
	bool is_reached;

	do {
		at++;
		ASSERT_TRUE(at < STEPS_MAX);
		cluster_begin();
		fake_set_plan((struct fake_plan){ .at = at, .hook = strip_claim });
		cluster_run(MINUTE);
		is_reached = fake_steps() >= at;
		fake_set_plan((struct fake_plan){ 0 });
		if (is_reached) {
			cluster_run(MINUTE);
			assert_nothing_left();
		}
	} while (is_reached);
	ASSERT_TRUE(at > 5);
}

/*
 * Another process that also believes to lead, with caches of its own, does everything there is to
 * do while the first one stands at a step with caches that see nothing of it.
 */
static void run_rival(void *arg)
{
	struct process rival;

	fake_set_plan((struct fake_plan){ 0 });
	fake_freeze(true);
	process_start(&rival, (struct provision_options){ 0 });
	fake_settle();
	if (arg)
		fake_delete(CLAIM);
	fake_settle();
	process_stop(&rival);
	fake_freeze(false);
}

TEST(caches_staler_than_the_api_at_every_step_do_no_harm)
{
	static bool is_deleted = true;
	unsigned n_steps;

	cluster_begin();
	cluster_run(MINUTE);
	n_steps = fake_steps();
	ASSERT_TRUE(n_steps > 5);
	for (unsigned i = 0; i < 2 * n_steps; i++) {
		struct process p;

		cluster_begin();
		fake_set_plan((struct fake_plan){
			.at = i / 2 + 1, .hook = run_rival, .arg = i % 2 ? &is_deleted : NULL });
		process_start(&p, (struct provision_options){ 0 });
		fake_run(MINUTE);
		process_stop(&p);
		cluster_run(MINUTE);
		if (i % 2 == 0)
			assert_bound();
		fake_delete(CLAIM);
		cluster_run(MINUTE);
		assert_nothing_left();
	}
}

RUN_TESTS(UNIT(a_claim_is_bound_after_any_trouble),
	  UNIT(a_claim_deleted_during_any_trouble_leaves_nothing),
	  UNIT(a_claim_deleted_after_any_trouble_leaves_nothing),
	  UNIT(a_release_comes_to_its_end_after_any_trouble),
	  UNIT(a_cleanup_comes_to_its_end_after_any_trouble),
	  UNIT(a_user_deleting_at_every_step_leaves_nothing),
	  UNIT(a_claim_torn_away_at_every_step_leaves_nothing),
	  UNIT(caches_staler_than_the_api_at_every_step_do_no_harm))
