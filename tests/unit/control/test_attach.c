/* SPDX-License-Identifier: Apache-2.0 */
/* An attachment from its making to its end: calls, finalizers, status, and who is left alone. */
#include "attaching.h"
#include "check.h"

#include "base/mem.h"
#include "kube/fence.h"

#define MARKED "\"finalizers\":[\"" FINALIZER "\"]"
#define ATTACHED "\"attached\":true"

static void assert_attached(void)
{
	assert_true(contains(fake_text(VA), MARKED));
	assert_true(contains(fake_text(VA), ATTACHED));
	assert_true(contains(fake_text(VOLUME), FINALIZER));
	ASSERT_TRUE(fake_service_is_attached("vol-1", "i-1"));
}

static bool says(const char *path, const char *part)
{
	return strstr(fake_text(path), part);
}

TEST(an_attachment_is_attached_and_says_so)
{
	attaching_begin();
	fake_service.publish_context = "sdb";
	attaching_run(MINUTE);
	assert_attached();
	assert_true(contains(fake_text(VA), "\"csi.alpha.kubernetes.io/node-id\":\"i-1\""));
	assert_true(contains(fake_text(VA), "\"attachmentMetadata\":{\"disk\":\"sdb\"}"));
	ASSERT_STR(fake_service.last_publish,
		   "vol-1 to i-1 mount:1:xfs:noatime rw context={hint=on} secrets={}");
	ASSERT_EQ(fake_service.n_published, 1);
	attaching_run(MINUTE);
	ASSERT_EQ(fake_service.n_published, 1);
}

/* What upstream writes: PV and attachment once each, then the status; and the finalizer's end,
 * before which nothing is read: whoever waits for the detachment waits for each request. */
TEST(it_takes_three_writes_and_one)
{
	struct attaching p;
	unsigned n_reads = 1, n_calls = 4;

	attaching_begin();
	fake_set_plan((struct fake_plan){ 0 });
	attaching_start(&p, (struct attach_options){ 0 });
	fake_settle();
	assert_attached();
	ASSERT_EQ(fake_steps(), 3 + n_reads + n_calls);
	fake_set_plan((struct fake_plan){ 0 });
	fake_delete(VA);
	fake_settle();
	ASSERT_FALSE(fake_has(VA));
	ASSERT_EQ(fake_steps(), 1 + 1);
	attaching_stop(&p);
}

TEST(a_deleted_attachment_is_detached_and_gone)
{
	attaching_begin();
	attaching_run(MINUTE);
	fake_delete(VA);
	attaching_run(MINUTE);
	ASSERT_FALSE(fake_has(VA));
	ASSERT_STR(fake_service.last_unpublish, "vol-1 from i-1 secrets={}");
	ASSERT_EQ(fake_service.n_attached, 0);
	assert_true(contains(fake_text(VOLUME), FINALIZER));
	fake_delete(VOLUME);
	attaching_run(MINUTE);
	ASSERT_FALSE(fake_has(VOLUME));
}

static void change_volume(void *arg)
{
	fake_merge(VOLUME, "{\"metadata\":{\"labels\":{\"a\":\"b\"}}}");
}

/* At the end of a volume the provisioner, the API server's own controller and we take our
 * finalizers off side by side: nobody begins again for that. */
TEST(the_end_of_a_volume_takes_one_write_whoever_writes_meanwhile)
{
	struct attaching p;

	attaching_begin();
	attaching_start(&p, (struct attach_options){ 0 });
	fake_settle();
	fake_delete(VA);
	fake_settle();
	fake_merge(VOLUME, "{\"metadata\":{\"finalizers\":[\"" FINALIZER "\",\"a/b\"]}}");
	fake_settle();
	fake_set_plan((struct fake_plan){ .at = 1, .hook = change_volume });
	fake_delete(VOLUME);
	fake_settle();
	assert_true(contains(fake_text(VOLUME), "\"finalizers\":[\"a/b\"]"));
	ASSERT_EQ(fake_steps(), 1);
	attaching_stop(&p);
}

TEST(a_volume_outlives_its_attachment)
{
	struct attaching p;

	attaching_begin();
	attaching_start(&p, (struct attach_options){ 0 });
	fake_settle();
	fake_delete(VOLUME);
	fake_settle();
	assert_true(contains(fake_text(VOLUME), MARKED));
	fake_delete(VA);
	fake_settle();
	attaching_stop(&p);
	ASSERT_FALSE(fake_has(VA));
	ASSERT_FALSE(fake_has(VOLUME));
	ASSERT_EQ(fake_service.n_attached, 0);
}

TEST(a_volume_that_is_being_deleted_is_not_attached)
{
	attaching_begin();
	fake_employ_manager(false);
	fake_delete(VOLUME);
	attaching_run(MINUTE);
	ASSERT_EQ(fake_service.n_published, 0);
	ASSERT_FALSE(says(VA, FINALIZER));
	assert_true(contains(fake_text(VA), "persistentvolume pv-1 is being deleted"));
}

TEST(a_pv_given_back_to_its_in_tree_driver_is_let_go)
{
	attaching_begin();
	fake_delete(VA);
	fake_merge(VOLUME, "{\"metadata\":{\"finalizers\":[\"" FINALIZER
			   "\",\"a/b\"],\"annotations\":{\"pv.kubernetes.io/migrated-to\":\"" DRIVER
			   "\"}},\"spec\":{\"csi\":null,\"awsElasticBlockStore\":{}}}");
	attaching_run(MINUTE);
	assert_true(contains(fake_text(VOLUME), FINALIZER));
	fake_merge(VOLUME, "{\"metadata\":{\"annotations\":null}}");
	attaching_run(MINUTE);
	assert_true(contains(fake_text(VOLUME), "\"finalizers\":[\"a/b\"]"));
}

static void fail_and_recover(bool is_noting)
{
	struct attaching p;

	attaching_begin();
	fake_note_writes(is_noting);
	fake_service.publish_error = ERR_RESOURCE_EXHAUSTED;
	attaching_start(&p, (struct attach_options){ 0 });
	fake_run(10 * NS_PER_S);
	assert_true(contains(fake_text(VA), "\"attachError\":{\"time\":\""));
	assert_true(contains(
		fake_text(VA),
		"\"message\":\"attach volume vol-1 to i-1: the driver says no\",\"errorCode\":8"));
	/* at 0, 1, 3 and 7 s: that the status changes is no reason to try again */
	ASSERT_EQ(fake_service.n_published, 4);
	assert_true(contains(fake_text(VA), MARKED));
	fake_service.publish_error = ERR_OK;
	fake_run(MINUTE);
	attaching_stop(&p);
	assert_attached();
	ASSERT_FALSE(says(VA, "attachError"));
}

TEST(a_failure_stands_in_the_status_until_it_is_over)
{
	fail_and_recover(true);
	fail_and_recover(false);
}

TEST(no_answer_of_the_driver_means_detached_but_a_good_one)
{
	for (int code = ERR_CANCELLED; code <= ERR_UNAUTHENTICATED; code++) {
		struct attaching p;

		attaching_begin();
		attaching_run(MINUTE);
		fake_service.unpublish_error = (enum err_code)code;
		fake_delete(VA);
		attaching_start(&p, (struct attach_options){ 0 });
		fake_run(2 * NS_PER_S);
		assert_true(contains(fake_text(VA), MARKED));
		assert_true(contains(fake_text(VA), "\"detachError\":{\"time\":\""));
		ASSERT_FALSE(says(VA, "errorCode"));
		ASSERT_EQ(fake_service.n_unpublished, 2);
		fake_service.unpublish_error = ERR_OK;
		fake_run(MINUTE);
		attaching_stop(&p);
		ASSERT_FALSE(fake_has(VA));
	}
}

TEST(what_is_no_answer_of_the_driver_has_no_code)
{
	attaching_begin();
	fake_merge(VOLUME, "{\"spec\":{\"csi\":{\"controllerPublishSecretRef\":{\"name\":\"key\","
			   "\"namespace\":\"ops\"}}}}");
	attaching_run(MINUTE);
	assert_true(contains(fake_text(VA), "secret ops/key"));
	ASSERT_FALSE(says(VA, "errorCode"));
	ASSERT_EQ(fake_service.n_published, 0);
}

TEST(secrets_go_with_both_calls)
{
	attaching_begin();
	fake_put(SECRET, "{\"kind\":\"Secret\",\"data\":{\"user\":\"eHl6\"}}");
	fake_merge(VOLUME, "{\"spec\":{\"csi\":{\"controllerPublishSecretRef\":{\"name\":\"key\","
			   "\"namespace\":\"ops\"}}}}");
	attaching_run(MINUTE);
	assert_true(contains(fake_service.last_publish, "secrets={user=xyz}"));
	fake_delete(VA);
	attaching_run(MINUTE);
	ASSERT_STR(fake_service.last_unpublish, "vol-1 from i-1 secrets={user=xyz}");
	ASSERT_FALSE(fake_has(VA));
}

TEST(the_secret_for_growing_goes_with_them_where_it_is_lent)
{
	for (int lends = 0; lends < 2; lends++) {
		struct attaching p;

		attaching_begin();
		fake_put(SECRET, "{\"kind\":\"Secret\",\"data\":{\"user\":\"eHl6\"}}");
		fake_merge(VOLUME, "{\"spec\":{\"csi\":{\"controllerExpandSecretRef\":"
				   "{\"name\":\"key\",\"namespace\":\"ops\"}}}}");
		attaching_start(&p, (struct attach_options){ .lends_expand_secret = lends });
		fake_run(MINUTE);
		ASSERT_EQ(contains(fake_service.last_publish, "secrets={user=xyz}"), lends);
		fake_delete(VA);
		fake_run(MINUTE);
		ASSERT_EQ(contains(fake_service.last_unpublish, "secrets={user=xyz}"), lends);
		attaching_stop(&p);
	}
}

TEST(a_secret_that_is_gone_keeps_nothing_attached)
{
	attaching_begin();
	fake_put(SECRET, "{\"kind\":\"Secret\",\"data\":{\"user\":\"eHl6\"}}");
	fake_merge(VOLUME, "{\"spec\":{\"csi\":{\"controllerPublishSecretRef\":{\"name\":\"key\","
			   "\"namespace\":\"ops\"}}}}");
	attaching_run(MINUTE);
	fake_delete(SECRET);
	fake_delete(VA);
	attaching_run(MINUTE);
	ASSERT_STR(fake_service.last_unpublish, "vol-1 from i-1 secrets={}");
	ASSERT_FALSE(fake_has(VA));
}

TEST(read_only_is_said_to_drivers_that_know_it)
{
	for (int knows = 0; knows < 2; knows++) {
		attaching_begin();
		fake_service.caps |= knows ? CSI_CAP_BIT(CSI_CTRL_PUBLISH_READONLY) : 0;
		fake_merge(VOLUME, "{\"spec\":{\"csi\":{\"readOnly\":true}}}");
		attaching_run(MINUTE);
		assert_true(contains(fake_service.last_publish, knows ? " ro " : " rw "));
	}
}

TEST(a_node_that_is_gone_is_known_by_the_attachments_note)
{
	static const char *const ends[] = { "{\"spec\":{\"drivers\":[]}}",
					    "{\"spec\":{\"drivers\":[{\"name\":\"" DRIVER
					    "\",\"nodeID\":\"\"}]}}",
					    NULL };

	for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
		attaching_begin();
		attaching_run(MINUTE);
		if (ends[i])
			fake_merge(CSI_NODE, ends[i]);
		else
			fake_delete(CSI_NODE);
		fake_delete(VA);
		attaching_run(MINUTE);
		ASSERT_FALSE(fake_has(VA));
		ASSERT_STR(fake_service.last_unpublish, "vol-1 from i-1 secrets={}");
	}
}

/* At once when it registers, not at the backoff's next turn. */
TEST(an_attachment_waits_for_the_drivers_node)
{
	struct attaching p;

	attaching_begin();
	fake_merge(CSI_NODE, "{\"spec\":{\"drivers\":[]}}");
	attaching_start(&p, (struct attach_options){ 0 });
	fake_run(5 * MINUTE);
	ASSERT_EQ(fake_service.n_published, 0);
	ASSERT_FALSE(says(VA, FINALIZER));
	assert_true(contains(fake_text(VA), "is not in CSINode n1"));
	fake_merge(CSI_NODE,
		   "{\"spec\":{\"drivers\":[{\"name\":\"" DRIVER "\",\"nodeID\":\"i-1\"}]}}");
	fake_settle();
	attaching_stop(&p);
	assert_attached();
}

TEST(an_attachment_waits_for_its_volume)
{
	autofree char *text = NULL;
	struct attaching p;

	attaching_begin();
	text = xstrdup(fake_text(VOLUME));
	fake_merge(VOLUME, "{\"metadata\":{\"finalizers\":null}}");
	fake_delete(VOLUME);
	attaching_start(&p, (struct attach_options){ 0 });
	fake_run(5 * MINUTE);
	ASSERT_EQ(fake_service.n_published, 0);
	fake_put(VOLUME, text);
	fake_settle();
	attaching_stop(&p);
	assert_attached();
}

TEST(a_driver_that_comes_back_is_asked_at_once)
{
	struct attaching p;

	attaching_begin();
	fake_service.publish_error = ERR_UNAVAILABLE;
	attaching_start(&p, (struct attach_options){ 0 });
	fake_run(5 * MINUTE);
	fake_service.publish_error = ERR_OK;
	fake_settle();
	ASSERT_FALSE(says(VA, ATTACHED));
	fake_service.link_changes++;
	fake_settle();
	attaching_stop(&p);
	assert_attached();
}

TEST(another_driver_behind_the_address_is_not_called)
{
	attaching_begin();
	fake_service.name = "other";
	attaching_run(MINUTE);
	ASSERT_EQ(fake_service.n_published, 0);
	assert_true(contains(fake_text(VA), "is 'other' now"));
}

TEST(a_driver_that_does_not_attach_has_its_attachments_marked)
{
	attaching_begin();
	fake_service.caps = CSI_CAP_BIT(CSI_CTRL_CREATE_DELETE_VOLUME);
	attaching_run(MINUTE);
	assert_true(contains(fake_text(VA), ATTACHED));
	ASSERT_FALSE(says(VA, FINALIZER));
	ASSERT_FALSE(says(VOLUME, FINALIZER));
	ASSERT_EQ(fake_service.n_published, 0);
	fake_delete(VA);
	ASSERT_FALSE(fake_has(VA));
}

TEST(a_driver_that_attaches_no_more_holds_nothing)
{
	attaching_begin();
	attaching_run(MINUTE);
	fake_service.caps = CSI_CAP_BIT(CSI_CTRL_CREATE_DELETE_VOLUME);
	fake_delete(VA);
	fake_delete(VOLUME);
	attaching_run(MINUTE);
	ASSERT_FALSE(fake_has(VA));
	ASSERT_FALSE(fake_has(VOLUME));
	ASSERT_EQ(fake_service.n_unpublished, 0);
}

TEST(an_inline_volume_is_attached_by_its_own_spec)
{
	attaching_begin();
	fake_merge(VA, "{\"spec\":{\"source\":{\"persistentVolumeName\":null,\"inlineVolumeSpec\":{"
		       "\"accessModes\":[\"ReadWriteMany\"],\"csi\":{\"driver\":\"" DRIVER
		       "\",\"volumeHandle\":\"vol-2\",\"volumeAttributes\":{\"a\":\"b\"}}}}}}");
	attaching_run(MINUTE);
	ASSERT_STR(fake_service.last_publish, "vol-2 to i-1 mount:5: rw context={a=b} secrets={}");
	assert_true(contains(fake_text(VA), ATTACHED));
	ASSERT_FALSE(says(VOLUME, FINALIZER));
	fake_delete(VA);
	attaching_run(MINUTE);
	ASSERT_FALSE(fake_has(VA));
	ASSERT_STR(fake_service.last_unpublish, "vol-2 from i-1 secrets={}");
}

TEST(a_source_is_one_of_two)
{
	static const char *const sources[] = {
		"{\"persistentVolumeName\":null}",
		"{\"inlineVolumeSpec\":{\"csi\":{\"driver\":\"" DRIVER
		"\",\"volumeHandle\":\"v\"}}}",
	};

	for (size_t i = 0; i < ARRAY_LEN(sources); i++) {
		autofree char *patch = xasprintf("{\"spec\":{\"source\":%s}}", sources[i]);

		attaching_begin();
		fake_merge(VA, patch);
		attaching_run(MINUTE);
		ASSERT_EQ(fake_service.n_published, 0);
		assert_true(contains(fake_text(VA), "its source must be either"));
	}
}

TEST(others_are_left_alone)
{
	autofree char *va = NULL, *pv = NULL;

	attaching_begin();
	fake_merge(VA, "{\"spec\":{\"attacher\":\"other\"}}");
	va = xstrdup(fake_text(VA));
	pv = xstrdup(fake_text(VOLUME));
	attaching_run(MINUTE);
	ASSERT_STR(fake_text(VA), va);
	ASSERT_STR(fake_text(VOLUME), pv);
	ASSERT_EQ(fake_service.n_published, 0);
}

TEST(a_volume_of_another_driver_is_not_attached)
{
	attaching_begin();
	fake_merge(VOLUME, "{\"spec\":{\"csi\":{\"driver\":\"other\"}}}");
	attaching_run(MINUTE);
	ASSERT_EQ(fake_service.n_published, 0);
	ASSERT_FALSE(says(VOLUME, FINALIZER));
	assert_true(contains(fake_text(VA), "volume pv-1: it is a volume of driver 'other'"));
}

/* Finalizers taken off a PV by hand. */
TEST(a_volume_that_is_not_known_any_more_counts_as_attached)
{
	attaching_begin();
	attaching_run(MINUTE);
	fake_merge(VOLUME, "{\"metadata\":{\"finalizers\":null}}");
	fake_delete(VOLUME);
	ASSERT_FALSE(fake_has(VOLUME));
	fake_delete(VA);
	attaching_run(MINUTE);
	assert_true(contains(fake_text(VA), MARKED));
	assert_true(contains(fake_text(VA), "what to detach is not known"));
	ASSERT_EQ(fake_service.n_unpublished, 0);
}

/* Its PV put back: the API server is asked for what the cache does not have. */
TEST(a_volume_that_only_the_api_knows_is_read_and_detached)
{
	autofree char *pv = NULL;
	struct attaching p;

	attaching_begin();
	attaching_start(&p, (struct attach_options){ 0 });
	fake_settle();
	pv = xstrdup(fake_text(VOLUME));
	fake_merge(VOLUME, "{\"metadata\":{\"finalizers\":null}}");
	fake_delete(VOLUME);
	fake_settle();
	fake_freeze_one(p.pvs);
	fake_put(VOLUME, pv);
	fake_delete(VA);
	fake_settle();
	attaching_stop(&p);
	ASSERT_FALSE(fake_has(VA));
	ASSERT_STR(fake_service.last_unpublish, "vol-1 from i-1 secrets={}");
}

static void delete_attachment(void)
{
	fake_delete(VA);
}

TEST(one_deleted_while_it_is_attached_is_detached)
{
	attaching_begin();
	fake_service.on_publish = delete_attachment;
	attaching_run(MINUTE);
	ASSERT_FALSE(fake_has(VA));
	ASSERT_EQ(fake_service.n_published, 1);
	ASSERT_EQ(fake_service.n_unpublished, 1);
	ASSERT_EQ(fake_service.n_attached, 0);
}

static void remake_attachment(void)
{
	fake_service.on_publish = NULL;
	fake_merge(VA, "{\"metadata\":{\"finalizers\":null}}");
	fake_delete(VA);
	attaching_put();
}

TEST(one_made_anew_while_it_is_attached_is_not_taken_for_the_old_one)
{
	attaching_begin();
	fake_service.on_publish = remake_attachment;
	attaching_run(MINUTE);
	assert_attached();
	ASSERT_EQ(fake_service.n_published, 2);
}

/* Nobody looks at it once ours is off. */
TEST(under_a_finalizer_of_others_it_says_that_it_is_detached)
{
	attaching_begin();
	fake_service.publish_context = "sdb";
	fake_merge(VA, "{\"metadata\":{\"finalizers\":[\"a/b\"]}}");
	attaching_run(MINUTE);
	assert_true(contains(fake_text(VA), "\"finalizers\":[\"a/b\",\"" FINALIZER "\"]"));
	fake_delete(VA);
	attaching_run(MINUTE);
	assert_true(contains(fake_text(VA), "\"finalizers\":[\"a/b\"]"));
	assert_true(contains(fake_text(VA), "\"attached\":false"));
	ASSERT_FALSE(says(VA, "sdb"));
	ASSERT_EQ(fake_service.n_unpublished, 1);
}

static struct fence *fence;

static void lose_lease(void)
{
	fence_close(fence);
}

TEST(who_lost_the_lease_during_the_call_writes_nothing)
{
	struct attaching p;

	attaching_begin();
	fence = fence_new();
	fence_open(fence, FENCE_NO_LIMIT);
	fake_set_fence(fence);
	fake_service.on_publish = lose_lease;
	attaching_start(&p, (struct attach_options){ .fence = fence });
	fake_settle();
	ASSERT_EQ(fake_service.n_published, 1);
	ASSERT_FALSE(says(VA, ATTACHED));
	ASSERT_FALSE(says(VA, "attachError"));
	fake_service.on_publish = NULL;
	fence_open(fence, FENCE_NO_LIMIT);
	fake_run(MINUTE);
	attaching_stop(&p);
	fake_set_fence(NULL);
	fence_free(fence);
	assert_attached();
}

static void lose_lease_at(void *arg)
{
	fence_close(fence);
}

TEST(who_lost_the_lease_before_the_call_does_not_make_it)
{
	for (unsigned at = 1; at <= 6; at++) {
		struct attaching p;

		attaching_begin();
		fence = fence_new();
		fence_open(fence, FENCE_NO_LIMIT);
		fake_set_fence(fence);
		fake_set_plan((struct fake_plan){ .at = at, .hook = lose_lease_at });
		attaching_start(&p, (struct attach_options){ .fence = fence });
		fake_settle();
		ASSERT_TRUE(fake_steps() >= at);
		ASSERT_EQ(fake_service.n_published, 0);
		attaching_stop(&p);
		fake_set_fence(NULL);
		fence_free(fence);
	}
}

RUN_TESTS(UNIT(an_attachment_is_attached_and_says_so), UNIT(it_takes_three_writes_and_one),
	  UNIT(a_deleted_attachment_is_detached_and_gone),
	  UNIT(the_end_of_a_volume_takes_one_write_whoever_writes_meanwhile),
	  UNIT(a_volume_outlives_its_attachment),
	  UNIT(a_volume_that_is_being_deleted_is_not_attached),
	  UNIT(a_pv_given_back_to_its_in_tree_driver_is_let_go),
	  UNIT(a_failure_stands_in_the_status_until_it_is_over),
	  UNIT(no_answer_of_the_driver_means_detached_but_a_good_one),
	  UNIT(what_is_no_answer_of_the_driver_has_no_code), UNIT(secrets_go_with_both_calls),
	  UNIT(the_secret_for_growing_goes_with_them_where_it_is_lent),
	  UNIT(a_secret_that_is_gone_keeps_nothing_attached),
	  UNIT(read_only_is_said_to_drivers_that_know_it),
	  UNIT(a_node_that_is_gone_is_known_by_the_attachments_note),
	  UNIT(an_attachment_waits_for_the_drivers_node), UNIT(an_attachment_waits_for_its_volume),
	  UNIT(a_driver_that_comes_back_is_asked_at_once),
	  UNIT(another_driver_behind_the_address_is_not_called),
	  UNIT(a_driver_that_does_not_attach_has_its_attachments_marked),
	  UNIT(a_driver_that_attaches_no_more_holds_nothing),
	  UNIT(an_inline_volume_is_attached_by_its_own_spec), UNIT(a_source_is_one_of_two),
	  UNIT(others_are_left_alone), UNIT(a_volume_of_another_driver_is_not_attached),
	  UNIT(a_volume_that_is_not_known_any_more_counts_as_attached),
	  UNIT(a_volume_that_only_the_api_knows_is_read_and_detached),
	  UNIT(one_deleted_while_it_is_attached_is_detached),
	  UNIT(one_made_anew_while_it_is_attached_is_not_taken_for_the_old_one),
	  UNIT(under_a_finalizer_of_others_it_says_that_it_is_detached),
	  UNIT(who_lost_the_lease_during_the_call_writes_nothing),
	  UNIT(who_lost_the_lease_before_the_call_does_not_make_it))
