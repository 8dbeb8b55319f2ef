/* SPDX-License-Identifier: Apache-2.0 */
/* A PersistentVolume from bound to gone: finalizer, policy, attachments, secrets. */
#include "check.h"
#include "cluster.h"
#include "control/provision-internal.h"

#include "base/mem.h"
#include "base/metric.h"
#include "base/str.h"

#define HAND_MADE "/api/v1/persistentvolumes/by-hand"

static void put_by_hand(const char *policy, const char *phase, const char *finalizers)
{
	bool is_released = strcmp(phase, "Released") == 0;
	char json[1024];

	(void)snprintf(json, sizeof(json),
		       "{\"kind\":\"PersistentVolume\",\"metadata\":{\"name\":\"by-hand\","
		       "\"finalizers\":[%s]},\"spec\":{"
		       "%s"
		       "\"csi\":{\"driver\":\"" DRIVER
		       "\",\"volumeHandle\":\"id-by-hand\"},\"storageClassName\":\"fast\","
		       "\"persistentVolumeReclaimPolicy\":\"%s\"},\"status\":{\"phase\":\"%s\"}}",
		       finalizers,
		       is_released ? "\"claimRef\":{\"namespace\":\"default\",\"name\":"
				     "\"by-hand\",\"uid\":\"b4\"},"
				   : "",
		       policy, phase);
	fake_put(HAND_MADE, json);
}

TEST(a_deleted_claim_takes_its_volume_along)
{
	cluster_begin();
	cluster_run(MINUTE);
	fake_delete(CLAIM);
	cluster_run(MINUTE);
	ASSERT_FALSE(fake_has(CLAIM));
	ASSERT_EQ(fake_count(&core_pv_type), 0);
	ASSERT_EQ(fake_service.n_volumes, 0);
}

TEST(retain_leaves_everything_but_the_finalizer)
{
	cluster_begin();
	fake_merge(CLASS, "{\"reclaimPolicy\":\"Retain\"}");
	cluster_run(MINUTE);
	fake_delete(CLAIM);
	cluster_run(MINUTE);
	assert_true(contains(fake_text(PV), "\"phase\":\"Released\""));
	assert_true(contains(fake_text(PV), "\"finalizers\":[\"kubernetes.io/pv-protection\"]"));
	ASSERT_EQ(fake_service.n_volumes, 1);
	fake_delete(PV);
	cluster_run(MINUTE);
	ASSERT_FALSE(fake_has(PV));
	ASSERT_EQ(fake_service.n_volumes, 1);
}

TEST(a_pv_deleted_by_a_user_waits_for_its_claim)
{
	cluster_begin();
	cluster_run(MINUTE);
	fake_delete(PV);
	cluster_run(MINUTE);
	assert_true(contains(fake_text(PV), PV_FINALIZER));
	ASSERT_EQ(fake_service.n_volumes, 1);
	fake_delete(CLAIM);
	cluster_run(MINUTE);
	ASSERT_FALSE(fake_has(PV));
	ASSERT_EQ(fake_service.n_volumes, 0);
}

TEST(finalizer_follows_policy_and_phase)
{
	static const struct {
		const char *policy, *phase, *finalizers;
		const char *want;
	} cases[] = {
		{ "Delete", "Bound", "\"a/b\"", "\"finalizers\":[\"a/b\",\"" PV_FINALIZER "\"]" },
		{ "Delete", "Bound", "\"" PV_FINALIZER "\"",
		  "\"finalizers\":[\"" PV_FINALIZER "\"]" },
		{ "Delete", "Available", "", "\"finalizers\":[]" },
		{ "Retain", "Bound", "\"" PV_FINALIZER "\",\"a/b\"", "\"finalizers\":[\"a/b\"]" },
		{ "Recycle", "Released", "\"" PV_FINALIZER "\"", "\"finalizers\":[]" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		cluster_begin();
		put_by_hand(cases[i].policy, cases[i].phase, cases[i].finalizers);
		cluster_run(MINUTE);
		assert_true(contains(fake_text(HAND_MADE), cases[i].want));
		ASSERT_EQ(fake_service.n_deleted, 0);
	}
}

TEST(pvs_of_others_are_left_alone)
{
	autofree char *before = NULL;

	cluster_begin();
	put_by_hand("Delete", "Released", "\"" PV_FINALIZER "\"");
	fake_merge(HAND_MADE, "{\"spec\":{\"csi\":{\"driver\":\"other\"}}}");
	before = xstrdup(fake_text(HAND_MADE));
	cluster_run(MINUTE);
	ASSERT_STR(fake_text(HAND_MADE), before);
}

TEST(an_attachment_keeps_the_volume)
{
	struct process p;

	cluster_begin();
	put_by_hand("Delete", "Released", "");
	fake_put("/apis/storage.k8s.io/v1/volumeattachments/va",
		 "{\"kind\":\"VolumeAttachment\",\"metadata\":{\"name\":\"va\"},\"spec\":{"
		 "\"attacher\":\"" DRIVER "\","
		 "\"nodeName\":\"n1\",\"source\":{\"persistentVolumeName\":\"by-hand\"}}}");
	process_start(&p, (struct provision_options){ 0 });
	fake_settle();
	assert_true(contains(
		fake_events(),
		"Normal VolumeDelete: persistentvolume by-hand is still attached to node n1"));
	ASSERT_TRUE(fake_has(HAND_MADE));
	ASSERT_STR(fake_service.last_delete_secrets, "");
	fake_merge("/apis/storage.k8s.io/v1/volumeattachments/va",
		   "{\"metadata\":{\"deletionTimestamp\":\"2026-01-01T00:00:00Z\"}}");
	fake_settle();
	process_stop(&p);
	ASSERT_FALSE(fake_has(HAND_MADE));
}

TEST(a_failing_driver_is_reported_and_asked_again)
{
	struct process p;

	cluster_begin();
	put_by_hand("Delete", "Released", "\"" PV_FINALIZER "\"");
	fake_service.delete_error = ERR_FAILED_PRECONDITION;
	process_start(&p, (struct provision_options){ 0 });
	fake_run(MINUTE);
	assert_true(contains(fake_events(), "Warning VolumeFailedDelete: "));
	assert_true(contains(fake_events(), "delete volume id-by-hand"));
	assert_true(contains(fake_events(), "the driver says no"));
	ASSERT_TRUE(fake_has(HAND_MADE));
	fake_service.delete_error = ERR_OK;
	fake_run(2 * MINUTE);
	process_stop(&p);
	ASSERT_FALSE(fake_has(HAND_MADE));
}

/* G2: pod and claim deleted together; NodeUnstage is at the volume, or comes in a moment. */
TEST(a_volume_in_use_for_a_moment_is_nobodys_warning)
{
	static const enum err_code codes[] = { ERR_ABORTED, ERR_FAILED_PRECONDITION };

	for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
		struct process p;

		cluster_begin();
		put_by_hand("Delete", "Released", "\"" PV_FINALIZER "\"");
		fake_service.delete_error = codes[i];
		process_start(&p, (struct provision_options){ 0 });
		fake_run(3 * NS_PER_S);
		assert_null(strstr(fake_events(), "VolumeFailedDelete"));
		fake_service.delete_error = ERR_OK;
		fake_run(5 * NS_PER_S);
		process_stop(&p);
		ASSERT_FALSE(fake_has(HAND_MADE));
		assert_null(strstr(fake_events(), "VolumeFailedDelete"));
	}
}

TEST(secrets_for_deletion_come_from_the_pv)
{
	cluster_begin();
	fake_put("/api/v1/namespaces/ops/secrets/key",
		 "{\"kind\":\"Secret\",\"data\":{\"user\":\"eHl6\"}}");
	put_by_hand("Delete", "Released", "");
	fake_merge(HAND_MADE, "{\"metadata\":{\"annotations\":{\"" ANN_DELETE_SECRET_NAME
			      "\":\"key\",\"" ANN_DELETE_SECRET_NS "\":\"ops\"}}}");
	cluster_run(MINUTE);
	ASSERT_STR(fake_service.last_delete_secrets, "{user=xyz}");
	ASSERT_FALSE(fake_has(HAND_MADE));
}

TEST(secrets_for_deletion_come_from_the_class_if_the_pv_has_no_note)
{
	cluster_begin();
	fake_put("/api/v1/namespaces/ops/secrets/by-hand",
		 "{\"kind\":\"Secret\",\"data\":{\"user\":\"eHl6\"}}");
	fake_merge(CLASS,
		   "{\"parameters\":{\"csi.storage.k8s.io/provisioner-secret-name\":\"${pv.name}\","
		   "\"csi.storage.k8s.io/provisioner-secret-namespace\":\"ops\"}}");
	put_by_hand("Delete", "Released", "");
	cluster_run(MINUTE);
	ASSERT_STR(fake_service.last_delete_secrets, "{user=xyz}");
}

TEST(a_missing_secret_does_not_keep_the_volume)
{
	cluster_begin();
	put_by_hand("Delete", "Released", "");
	fake_merge(HAND_MADE, "{\"metadata\":{\"annotations\":{\"" ANN_DELETE_SECRET_NAME
			      "\":\"gone\",\"" ANN_DELETE_SECRET_NS "\":\"ops\"}}}");
	cluster_run(MINUTE);
	ASSERT_STR(fake_service.last_delete_secrets, "{}");
	ASSERT_FALSE(fake_has(HAND_MADE));
}

TEST(a_claim_ref_taken_off_saves_the_volume_from_a_stale_cache)
{
	struct process p;

	cluster_begin();
	put_by_hand("Delete", "Released", "\"" PV_FINALIZER "\"");
	process_start(&p, (struct provision_options){ 0 });
	fake_sync();
	fake_freeze(true);
	fake_merge(HAND_MADE,
		   "{\"spec\":{\"claimRef\":null},\"status\":{\"phase\":\"Available\"}}");
	fake_settle();
	process_stop(&p);
	ASSERT_TRUE(fake_has(HAND_MADE));
	ASSERT_STR(fake_service.last_delete_secrets, "");
}

/* The phase is the controller-manager's, which writes it some time after the claimRef is edited; it
 * is away here. */
TEST(a_claim_ref_edited_by_hand_saves_the_volume_before_the_phase_says_so)
{
	static const char *const patches[] = {
		"{\"spec\":{\"claimRef\":null}}",
		"{\"spec\":{\"claimRef\":{\"uid\":null}}}",
	};

	for (size_t i = 0; i < ARRAY_LEN(patches); i++) {
		cluster_begin();
		fake_employ_manager(false);
		put_by_hand("Delete", "Released", "\"" PV_FINALIZER "\"");
		fake_merge(HAND_MADE, patches[i]);
		cluster_run(MINUTE);
		ASSERT_TRUE(fake_has(HAND_MADE));
		ASSERT_STR(fake_service.last_delete_secrets, "");
	}
}

/* A path made of it led to "no such object", which is what a claim that is gone looks like. */
TEST(a_claim_ref_that_is_no_name_keeps_the_volume)
{
	static const char *const names[] = { "", "..", "x/../../../nodes/n9", "a b" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		autofree char *patch =
			xasprintf("{\"spec\":{\"claimRef\":{\"name\":\"%s\"}}}", names[i]);

		cluster_begin();
		fake_employ_manager(false);
		put_by_hand("Delete", "Released", "\"" PV_FINALIZER "\"");
		fake_merge(HAND_MADE, patch);
		cluster_run(MINUTE);
		ASSERT_TRUE(fake_has(HAND_MADE));
		ASSERT_STR(fake_service.last_delete_secrets, "");
	}
}

TEST(a_claim_that_is_there_keeps_the_volume)
{
	struct process p;

	cluster_begin();
	fake_employ_manager(false);
	put_by_hand("Delete", "Released", "\"" PV_FINALIZER "\"");
	fake_merge(HAND_MADE, "{\"spec\":{\"claimRef\":{\"name\":\"data-0\",\"uid\":\"c1a1\"}}}");
	fake_merge(CLAIM, "{\"spec\":{\"volumeName\":\"by-hand\"}}");
	process_start(&p, (struct provision_options){ 0 });
	fake_run(MINUTE);
	ASSERT_TRUE(fake_has(HAND_MADE));
	ASSERT_STR(fake_service.last_delete_secrets, "");
	assert_true(contains(fake_events(), "Warning VolumeFailedDelete: its claim default/data-0 "
					    "is there"));
	fake_merge(CLAIM, "{\"metadata\":{\"uid\":\"another\"}}");
	fake_run(2 * MINUTE);
	process_stop(&p);
	ASSERT_STR(fake_service.last_delete_secrets, "{}");
}

TEST(metrics_count_both_ends)
{
	autostr struct str text = STR_INIT;

	cluster_begin();
	put_by_hand("Delete", "Released", "");
	fake_service.delete_error = ERR_INTERNAL;
	cluster_run(NS_PER_S / 2);
	fake_service.delete_error = ERR_OK;
	cluster_run(MINUTE);
	metric_render(&text);
	assert_true(contains(str_get(&text),
			     "controller_persistentvolume_delete_total{class=\"fast\"} "));
	assert_true(contains(str_get(&text),
			     "controller_persistentvolume_delete_failed_total{class=\"fast\"} "));
	assert_true(contains(
		str_get(&text),
		"controller_persistentvolume_delete_duration_seconds_count{class=\"fast\"} "));
}

RUN_TESTS(UNIT(a_deleted_claim_takes_its_volume_along),
	  UNIT(retain_leaves_everything_but_the_finalizer),
	  UNIT(a_pv_deleted_by_a_user_waits_for_its_claim),
	  UNIT(finalizer_follows_policy_and_phase), UNIT(pvs_of_others_are_left_alone),
	  UNIT(an_attachment_keeps_the_volume), UNIT(a_failing_driver_is_reported_and_asked_again),
	  UNIT(a_volume_in_use_for_a_moment_is_nobodys_warning),
	  UNIT(secrets_for_deletion_come_from_the_pv),
	  UNIT(secrets_for_deletion_come_from_the_class_if_the_pv_has_no_note),
	  UNIT(a_missing_secret_does_not_keep_the_volume),
	  UNIT(a_claim_ref_taken_off_saves_the_volume_from_a_stale_cache),
	  UNIT(a_claim_ref_edited_by_hand_saves_the_volume_before_the_phase_says_so),
	  UNIT(a_claim_ref_that_is_no_name_keeps_the_volume),
	  UNIT(a_claim_that_is_there_keeps_the_volume), UNIT(metrics_count_both_ends))
