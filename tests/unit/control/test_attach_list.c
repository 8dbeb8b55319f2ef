/* SPDX-License-Identifier: Apache-2.0 */
/* What the driver lists as attached, against what attachments say. */
#include "attaching.h"
#include "check.h"

#include "base/mem.h"

static const struct attach_options listing = { .list_interval_ns = MINUTE };

static void begin(struct attaching *p)
{
	attaching_begin();
	fake_service.caps |= CSI_CAP_BIT(CSI_CTRL_LIST_VOLUMES) |
			     CSI_CAP_BIT(CSI_CTRL_LIST_VOLUMES_PUBLISHED_NODES);
	attaching_start(p, listing);
	fake_settle();
	ASSERT_TRUE(fake_service_is_attached("vol-1", "i-1"));
	ASSERT_EQ(fake_service.n_published, 1);
}

TEST(what_is_as_it_says_is_left_alone)
{
	autofree char *text = NULL;
	struct attaching p;

	begin(&p);
	text = xstrdup(fake_text(VA));
	fake_run(3 * MINUTE);
	attaching_stop(&p);
	ASSERT_EQ(fake_service.n_listed, 3);
	ASSERT_EQ(fake_service.n_published, 1);
	ASSERT_STR(fake_text(VA), text);
}

TEST(what_is_not_attached_any_more_is_attached_again)
{
	struct attaching p;

	begin(&p);
	fake_service.publish_context = "sdc";
	fake_service_attach("vol-1", "i-1", false);
	fake_service_attach("vol-1", "i-2", true); /* elsewhere is not here */
	fake_run(3 * MINUTE);
	attaching_stop(&p);
	ASSERT_EQ(fake_service.n_published, 2);
	ASSERT_TRUE(fake_service_is_attached("vol-1", "i-1"));
	assert_true(contains(fake_text(VA), "\"attachmentMetadata\":{\"disk\":\"sdc\"}"));
}

TEST(what_is_attached_again_as_it_was_need_not_be_told)
{
	autofree char *text = NULL;
	struct attaching p;

	begin(&p);
	text = xstrdup(fake_text(VA));
	fake_service_attach("vol-1", "i-1", false);
	fake_run(3 * MINUTE);
	attaching_stop(&p);
	ASSERT_EQ(fake_service.n_published, 2);
	ASSERT_STR(fake_text(VA), text);
}

TEST(what_the_driver_answers_no_more_is_taken_back)
{
	struct attaching p;

	begin(&p);
	fake_merge(VA, "{\"status\":{\"attachmentMetadata\":{\"old\":\"x\"}}}");
	fake_service.publish_context = "sdc";
	fake_service_attach("vol-1", "i-1", false);
	fake_run(2 * MINUTE);
	attaching_stop(&p);
	assert_true(contains(fake_text(VA), "\"attachmentMetadata\":{\"disk\":\"sdc\"}"));
}

/* A try that fails is made again, though its attachment says that all is well. */
TEST(what_is_forced_stays_so_until_it_succeeds)
{
	struct attaching p;

	begin(&p);
	fake_service_attach("vol-1", "i-1", false);
	fake_service.publish_error = ERR_UNAVAILABLE;
	fake_run(MINUTE);
	fake_service.publish_error = ERR_OK;
	fake_run(5 * NS_PER_S);
	attaching_stop(&p);
	ASSERT_TRUE(fake_service_is_attached("vol-1", "i-1"));
	assert_null(strstr(fake_text(VA), "attachError"));
}

/* The list's own step, and each of the attaching that follows, by this process or the next. */
TEST(what_is_not_attached_any_more_is_attached_after_any_trouble)
{
	static const enum fake_fault faults[] = { FAKE_FAIL, FAKE_LOSE, FAKE_KILL,
						  FAKE_KILL_AFTER };

	for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
		struct fake_plan plan = { .fault = faults[i], .code = ERR_UNAVAILABLE };
		bool is_reached;

		do {
			struct attaching p;

			plan.at++;
			begin(&p);
			fake_service.publish_context = "sdc";
			fake_service_attach("vol-1", "i-1", false);
			fake_set_plan(plan);
			fake_run(2 * MINUTE);
			is_reached = fake_steps() >= plan.at;
			attaching_stop(&p);
			fake_set_plan((struct fake_plan){ 0 });
			attaching_start(&p, listing);
			fake_run(3 * MINUTE);
			attaching_stop(&p);
			ASSERT_TRUE(fake_service_is_attached("vol-1", "i-1"));
			assert_null(strstr(fake_text(VA), "attachError"));
			/* a process that was killed in between may have had the answer alone */
			if (faults[i] == FAKE_FAIL || faults[i] == FAKE_LOSE)
				assert_true(contains(fake_text(VA), "{\"disk\":\"sdc\"}"));
		} while (is_reached);
		ASSERT_TRUE(plan.at > 4);
	}
}

TEST(a_list_that_broke_off_says_nothing)
{
	struct attaching p;

	begin(&p);
	fake_service_attach("vol-1", "i-1", false);
	for (int i = 0; i < 5; i++) {
		char handle[16];

		(void)snprintf(handle, sizeof(handle), "other-%d", i);
		fake_service_attach(handle, "i-1", true);
	}
	fake_service.list_page = 2;
	fake_service.list_fails_at = 3;
	fake_run(MINUTE + NS_PER_S);
	ASSERT_EQ(fake_service.n_listed, 3);
	ASSERT_EQ(fake_service.n_published, 1);
	fake_run(MINUTE);
	attaching_stop(&p);
	ASSERT_EQ(fake_service.n_listed, 6);
	ASSERT_EQ(fake_service.n_published, 2);
}

TEST(a_list_without_end_is_left)
{
	struct attaching p;

	begin(&p);
	fake_service_attach("vol-1", "i-1", false);
	fake_service.lists_for_ever = true;
	fake_run(MINUTE + NS_PER_S);
	attaching_stop(&p);
	ASSERT_EQ(fake_service.n_listed, 2);
	ASSERT_EQ(fake_service.n_published, 1);
}

TEST(a_volume_without_a_status_says_nothing)
{
	struct attaching p;

	begin(&p);
	fake_service.lists_no_status = true;
	fake_run(2 * MINUTE);
	attaching_stop(&p);
	ASSERT_EQ(fake_service.n_listed, 2);
	ASSERT_EQ(fake_service.n_published, 1);
}

static void change_attachment(void *arg)
{
	fake_merge(VA, "{\"metadata\":{\"labels\":{\"a\":\"b\"}}}");
	fake_sync();
}

TEST(a_list_older_than_the_attachment_says_nothing)
{
	struct attaching p;

	begin(&p);
	fake_service_attach("vol-1", "i-1", false);
	fake_set_plan((struct fake_plan){ .at = 1, .hook = change_attachment });
	fake_run(MINUTE + NS_PER_S);
	attaching_stop(&p);
	ASSERT_EQ(fake_service.n_listed, 1);
	ASSERT_EQ(fake_service.n_published, 1);
}

/* Our finalizer was taken off by hand, another one holds the object. */
TEST(what_is_attached_behind_its_attachments_end_is_detached)
{
	struct attaching p;

	begin(&p);
	fake_merge(VA, "{\"metadata\":{\"finalizers\":[\"a/b\"]},\"status\":{\"attached\":false}}");
	fake_delete(VA);
	fake_run(2 * MINUTE);
	attaching_stop(&p);
	ASSERT_EQ(fake_service.n_attached, 0);
	ASSERT_EQ(fake_service.n_unpublished, 1);
}

TEST(a_driver_that_cannot_tell_is_not_asked)
{
	struct attaching p;

	attaching_begin();
	fake_service.caps |= CSI_CAP_BIT(CSI_CTRL_LIST_VOLUMES);
	attaching_start(&p, listing);
	fake_run(3 * MINUTE);
	attaching_stop(&p);
	ASSERT_EQ(fake_service.n_listed, 0);
}

RUN_TESTS(UNIT(what_is_as_it_says_is_left_alone),
	  UNIT(what_is_not_attached_any_more_is_attached_again),
	  UNIT(what_is_attached_again_as_it_was_need_not_be_told),
	  UNIT(what_the_driver_answers_no_more_is_taken_back),
	  UNIT(what_is_forced_stays_so_until_it_succeeds),
	  UNIT(what_is_not_attached_any_more_is_attached_after_any_trouble),
	  UNIT(a_list_that_broke_off_says_nothing), UNIT(a_list_without_end_is_left),
	  UNIT(a_volume_without_a_status_says_nothing),
	  UNIT(a_list_older_than_the_attachment_says_nothing),
	  UNIT(what_is_attached_behind_its_attachments_end_is_detached),
	  UNIT(a_driver_that_cannot_tell_is_not_asked))
