/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every step of an attachment's life, gone wrong in every way: the step fails, its answer is lost,
 * the process dies before or after it; and meanwhile the attachment stays, is deleted, or is torn
 * away and made anew. Afterwards a new process over the same API and driver must come to the one
 * right end: attached and said so, or detached and nothing left. The loops end when a run does not
 * reach step n.
 */
#include "attaching.h"
#include "check.h"

#include "base/mem.h"

#define STEPS_MAX 60

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
	{ FAKE_FAIL, ERR_RESOURCE_EXHAUSTED },
	{ FAKE_FAIL, ERR_INVALID_ARGUMENT },
	{ FAKE_FAIL, ERR_NOT_FOUND },
	{ FAKE_FAIL, ERR_FAILED_PRECONDITION },
	{ FAKE_LOSE, ERR_OK },
	{ FAKE_KILL, ERR_OK },
	{ FAKE_KILL_AFTER, ERR_OK },
};
/* clang-format on */

static void do_nothing(void *arg)
{
}

static void delete_attachment(void *arg)
{
	fake_delete(VA);
}

static void delete_all(void *arg)
{
	fake_delete(VOLUME);
	fake_delete(VA);
}

/* As a user who strips finalizers and a controller-manager that begins again: same name, new UID.
 */
static void remake_attachment(void *arg)
{
	if (fake_has(VA)) {
		fake_merge(VA, "{\"metadata\":{\"finalizers\":null}}");
		fake_delete(VA);
	}
	attaching_put();
}

static void assert_attached(void)
{
	assert_true(contains(fake_text(VA), "\"attached\":true"));
	assert_true(contains(fake_text(VA), "\"attachmentMetadata\":{\"disk\":\"sdb\"}"));
	assert_true(contains(fake_text(VA), "\"finalizers\":[\"" FINALIZER "\"]"));
	assert_true(contains(fake_text(VOLUME), FINALIZER));
	assert_null(strstr(fake_text(VA), "Error"));
	ASSERT_TRUE(fake_service_is_attached("vol-1", "i-1"));
}

static void assert_detached(void)
{
	ASSERT_FALSE(fake_has(VA));
	ASSERT_EQ(fake_service.n_attached, 0);
}

static void assert_nothing_left(void)
{
	assert_detached();
	ASSERT_FALSE(fake_has(VOLUME));
}

/* The first process meets the trouble at step `at`; then a healthy second one. False if step `at`
 * was not reached. */
static bool live_through(struct fake_plan plan, void (*afterwards)(void *arg))
{
	struct attaching p;
	bool is_reached;

	fake_set_plan(plan);
	attaching_start(&p, (struct attach_options){ 0 });
	fake_run(10 * NS_PER_S);
	is_reached = fake_steps() >= plan.at;
	attaching_stop(&p);
	fake_set_plan((struct fake_plan){ 0 });
	afterwards(NULL);
	attaching_run(20 * MINUTE);
	return is_reached;
}

struct story {
	void (*before)(void *arg);     /* a healthy process has attached it */
	void (*during)(void *arg);     /* at the step that goes wrong */
	void (*afterwards)(void *arg); /* when the first process is gone */
	void (*check)(void);
};

static void try_every_step(const struct story *s)
{
	for (size_t t = 0; t < ARRAY_LEN(troubles); t++) {
		struct fake_plan plan = { .fault = troubles[t].fault,
					  .code = troubles[t].code,
					  .hook = s->during };

		do {
			plan.at++;
			ASSERT_TRUE(plan.at < STEPS_MAX);
			attaching_begin();
			fake_service.publish_context = "sdb";
			if (s->before) {
				attaching_run(MINUTE);
				assert_attached();
				s->before(NULL);
			}
		} while (live_through(plan, s->afterwards ? s->afterwards : do_nothing) &&
			 (s->check(), true));
		ASSERT_TRUE(plan.at > 4);
	}
}

TEST(an_attachment_is_attached_after_any_trouble)
{
	try_every_step(&(struct story){ .check = assert_attached });
}

TEST(one_deleted_during_any_trouble_is_detached)
{
	try_every_step(&(struct story){ .during = delete_attachment, .check = assert_detached });
}

TEST(one_deleted_after_any_trouble_is_detached)
{
	try_every_step(
		&(struct story){ .afterwards = delete_attachment, .check = assert_detached });
}

TEST(a_detachment_comes_to_its_end_after_any_trouble)
{
	try_every_step(&(struct story){ .before = delete_attachment, .check = assert_detached });
}

TEST(a_volume_goes_after_its_attachment_after_any_trouble)
{
	try_every_step(&(struct story){ .before = delete_all, .check = assert_nothing_left });
	try_every_step(&(struct story){ .during = delete_all, .check = assert_nothing_left });
}

TEST(one_made_anew_at_every_step_is_attached)
{
	try_every_step(&(struct story){ .during = remake_attachment, .check = assert_attached });
	try_every_step(&(struct story){ .before = delete_attachment,
					.during = remake_attachment,
					.check = assert_attached });
}

/*
 * Another process that also believes to lead, with caches of its own, does everything there is to
 * do while the first one stands at a step with caches that see nothing of it.
 */
static void run_rival(void *arg)
{
	void (*act)(void *arg) = *(void (*const *)(void *))arg;
	struct attaching rival;

	fake_set_plan((struct fake_plan){ 0 });
	fake_freeze(true);
	attaching_start(&rival, (struct attach_options){ 0 });
	fake_settle();
	act(NULL);
	fake_settle();
	attaching_stop(&rival);
	fake_freeze(false);
}

static void try_rival(void (*act)(void *arg), bool is_noting, void (*check)(void))
{
	struct attaching p;
	unsigned n_steps;

	attaching_begin();
	fake_service.publish_context = "sdb";
	fake_set_plan((struct fake_plan){ 0 });
	attaching_run(MINUTE);
	n_steps = fake_steps();
	ASSERT_TRUE(n_steps > 4);
	for (unsigned at = 1; at <= n_steps; at++) {
		attaching_begin();
		fake_note_writes(is_noting);
		fake_service.publish_context = "sdb";
		fake_set_plan((struct fake_plan){ .at = at, .hook = run_rival, .arg = &act });
		attaching_start(&p, (struct attach_options){ 0 });
		fake_run(MINUTE);
		attaching_stop(&p);
		attaching_run(MINUTE);
		check();
	}
}

TEST(caches_staler_than_the_api_at_every_step_do_no_harm)
{
	for (int is_noting = 0; is_noting < 2; is_noting++) {
		try_rival(do_nothing, is_noting, assert_attached);
		try_rival(remake_attachment, is_noting, assert_attached);
	}
}

/* The rival detached it. The first process's call is on its way and no check can catch it: what it
 * attaches after the end nobody knows of, as with every attacher; but nothing is said to be so. */
static void assert_gone(void)
{
	ASSERT_FALSE(fake_has(VA));
}

TEST(a_late_leader_says_nothing_of_what_is_gone)
{
	for (int is_noting = 0; is_noting < 2; is_noting++)
		try_rival(delete_attachment, is_noting, assert_gone);
}

RUN_TESTS(UNIT(an_attachment_is_attached_after_any_trouble),
	  UNIT(one_deleted_during_any_trouble_is_detached),
	  UNIT(one_deleted_after_any_trouble_is_detached),
	  UNIT(a_detachment_comes_to_its_end_after_any_trouble),
	  UNIT(a_volume_goes_after_its_attachment_after_any_trouble),
	  UNIT(one_made_anew_at_every_step_is_attached),
	  UNIT(caches_staler_than_the_api_at_every_step_do_no_harm),
	  UNIT(a_late_leader_says_nothing_of_what_is_gone))
