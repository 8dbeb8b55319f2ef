/* SPDX-License-Identifier: Apache-2.0 */
/* What becomes of a claim: bound, refused, given back, or left alone; and what is written
 * meanwhile. */
#include "check.h"
#include "cluster.h"
#include "control/provision-internal.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/str.h"
#include "kube/fence.h"
#include "kube/informer.h"

static void assert_bound(void)
{
	assert_true(contains(fake_text(CLAIM), "\"phase\":\"Bound\""));
	ASSERT_FALSE(is_on_record());
	assert_true(contains(fake_text(CLAIM), "kubernetes.io/pvc-protection"));
	ASSERT_EQ(fake_service.n_volumes, 1);
	ASSERT_EQ(fake_count(&core_pv_type), 1);
}

static void assert_refused(const char *text)
{
	assert_true(contains(fake_events(), "Warning ProvisioningFailed: "));
	assert_true(contains(fake_events(), text));
	ASSERT_EQ(fake_service.n_volumes, 0);
	ASSERT_EQ(fake_count(&core_pv_type), 0);
	ASSERT_FALSE(is_on_record());
}

TEST(a_claim_is_bound_to_a_new_volume)
{
	cluster_begin();
	cluster_run(MINUTE);
	assert_bound();
	assert_true(contains(fake_service.last_request,
			     "name=" PV_NAME " bytes=1073741824 caps=[mount:1:xfs:noatime] "
			     "params={pool=p} mutable={} secrets={}"));
	assert_true(contains(
		fake_events(),
		"Normal Provisioning: External provisioner is provisioning volume for claim "
		"\"default/data-0\"\n"));
	assert_true(contains(
		fake_events(),
		"Normal ProvisioningSucceeded: Successfully provisioned volume " PV_NAME "\n"));
}

static void put_another(unsigned i)
{
	autofree char *path = xasprintf(CLAIM "%u", i);
	autofree char *named = xasprintf("{\"metadata\":{\"name\":\"data-0%u\","
					 "\"uid\":\"c1a1%u\",\"resourceVersion\":null}}",
					 i, i);
	autofree char *text = xstrdup(fake_text(CLAIM));

	fake_put(path, text);
	fake_merge(path, named);
}

/* Of each that comes while others come its intent, the call and the PV, and no more: what is to go
 * from the journal goes with the next intent, and after the last of them once by itself. */
TEST(claims_that_follow_each_other_cost_three_steps_each)
{
	unsigned n = 10;
	struct process p;

	cluster_begin();
	fake_employ_manager(false);
	process_start(&p, (struct provision_options){ 0 });
	fake_run(MINUTE);
	fake_set_plan((struct fake_plan){ 0 });
	for (unsigned i = 0; i < n; i++) {
		put_another(i);
		fake_run(200 * NS_PER_MS);
	}
	fake_run(MINUTE);
	ASSERT_EQ(fake_steps(), 3 * n + 1);
	ASSERT_FALSE(strstr(fake_text(JOURNAL), "c1a1"));
	process_stop(&p);
}

TEST(the_pv_is_written_as_others_expect_it)
{
	autojson struct json_doc *doc = NULL;
	autofree char *spec = NULL, *identity = NULL;
	const struct json *root;
	struct err err;

	cluster_begin();
	cluster_run(MINUTE);
	ASSERT_OK(json_parse(fake_text(PV), strlen(fake_text(PV)), &doc, &err), &err);
	root = json_root(doc);
	spec = json_text(json_get(root, "spec"));
	identity = json_text(json_get(json_path(root, "spec.csi.volumeAttributes"),
				      "storage.kubernetes.io/csiProvisionerIdentity"));
	assert_true(contains(identity, "-" DRIVER "\""));
	assert_true(contains(
		spec, "{\"capacity\":{\"storage\":\"1Gi\"},\"accessModes\":[\"ReadWriteOnce\"],"
		      "\"mountOptions\":[\"noatime\"],\"persistentVolumeReclaimPolicy\":\"Delete\","
		      "\"volumeMode\":\"Filesystem\",\"storageClassName\":\"fast\",\"claimRef\":{"
		      "\"kind\":\"PersistentVolumeClaim\",\"apiVersion\":\"v1\",\"namespace\":"
		      "\"default\","
		      "\"name\":\"data-0\",\"uid\":\"c1a1\",\"resourceVersion\":\""));
	assert_true(contains(
		spec,
		"\"nodeAffinity\":{\"required\":{\"nodeSelectorTerms\":[{\"matchExpressions\":[{"
		"\"key\":\"topology.example/zone\",\"operator\":\"In\",\"values\":[\""));
	assert_true(contains(spec, "\"csi\":{\"driver\":\"" DRIVER
				   "\",\"volumeHandle\":\"id-" PV_NAME "\",\"fsType\":\"xfs\","
				   "\"volumeAttributes\":{\"hint\":\"on\","));
	assert_true(
		contains(fake_text(PV),
			 "\"annotations\":{\"pv.kubernetes.io/provisioned-by\":\"" DRIVER "\","
			 "\"volume.kubernetes.io/provisioner-deletion-secret-name\":\"\","
			 "\"volume.kubernetes.io/provisioner-deletion-secret-namespace\":\"\"}"));
	assert_true(contains(fake_text(PV), "\"finalizers\":[\"" PV_FINALIZER
					    "\",\"kubernetes.io/pv-protection\"]"));
}

TEST(block_claims_have_no_filesystem)
{
	cluster_begin();
	fake_merge(CLAIM,
		   "{\"spec\":{\"volumeMode\":\"Block\",\"accessModes\":[\"ReadWriteOncePod\"]}}");
	fake_merge(CLASS, "{\"parameters\":{\"csi.storage.k8s.io/fstype\":null}}");
	fake_service.caps |= CSI_CAP_BIT(CSI_CTRL_SINGLE_NODE_MULTI_WRITER);
	cluster_run(MINUTE);
	assert_bound();
	assert_true(contains(fake_service.last_request, "caps=[block:6:]"));
	assert_null(strstr(fake_text(PV), "fsType"));
	assert_true(contains(fake_text(PV), "\"volumeMode\":\"Block\""));
}

TEST(each_access_mode_is_a_capability)
{
	cluster_begin();
	fake_merge(CLAIM, "{\"spec\":{\"accessModes\":[\"ReadWriteOnce\",\"ReadOnlyMany\"]}}");
	cluster_run(MINUTE);
	assert_true(contains(fake_service.last_request,
			     "caps=[mount:1:xfs:noatime,mount:3:xfs:noatime]"));
}

TEST(options_reach_the_request)
{
	struct process p;

	cluster_begin();
	fake_merge(CLASS, "{\"parameters\":{\"csi.storage.k8s.io/"
			  "fstype\":null},\"reclaimPolicy\":\"Retain\"}");
	process_start(&p, (struct provision_options){ .extra_create_metadata = true,
						      .default_fs = "ext4",
						      .volume_name_prefix = "vol" });
	fake_run(MINUTE);
	process_stop(&p);
	assert_true(contains(fake_service.last_request, "name=vol-c1a1 "));
	assert_true(contains(fake_service.last_request, "mount:1:ext4"));
	assert_true(contains(
		fake_service.last_request,
		"params={csi.storage.k8s.io/pv/name=vol-c1a1,csi.storage.k8s.io/pvc/name=data-0,"
		"csi.storage.k8s.io/pvc/namespace=default,pool=p}"));
	assert_true(contains(fake_text("/api/v1/persistentvolumes/vol-c1a1"),
			     "\"persistentVolumeReclaimPolicy\":\"Retain\""));
}

TEST(a_name_may_have_less_of_the_uid)
{
	struct process p;

	cluster_begin();
	process_start(&p,
		      (struct provision_options){ .volume_name_prefix = "vol", .name_digits = 3 });
	fake_run(MINUTE);
	process_stop(&p);
	assert_true(contains(fake_service.last_request, "name=vol-c1a "));
	assert_true(contains(fake_text("/api/v1/persistentvolumes/vol-c1a"), "\"volumeHandle\""));
}

TEST(a_claim_that_is_only_read_may_have_a_pv_that_is_only_read)
{
	for (int is_asked = 0; is_asked < 2; is_asked++) {
		for (int is_alone = 0; is_alone < 2; is_alone++) {
			struct process p;

			cluster_begin();
			fake_merge(CLAIM,
				   is_alone ? "{\"spec\":{\"accessModes\":[\"ReadOnlyMany\"]}}"
					    : "{\"spec\":{\"accessModes\":[\"ReadOnlyMany\","
					      "\"ReadWriteMany\"]}}");
			process_start(&p,
				      (struct provision_options){ .publish_readonly = is_asked });
			fake_run(MINUTE);
			process_stop(&p);
			ASSERT_EQ(contains(fake_text(PV), "\"readOnly\":true"),
				  is_asked && is_alone);
		}
	}
}

TEST(secrets_go_to_the_driver_and_by_name_to_the_pv)
{
	cluster_begin();
	fake_put("/api/v1/namespaces/default/secrets/key-data-0",
		 "{\"kind\":\"Secret\",\"data\":{\"user\":\"eHl6\"}}");
	fake_merge(CLASS,
		   "{\"parameters\":{\"csi.storage.k8s.io/secret-name\":\"key-${pvc.name}\","
		   "\"csi.storage.k8s.io/secret-namespace\":\"${pvc.namespace}\","
		   "\"csi.storage.k8s.io/node-stage-secret-name\":\"${pvc.annotations['team']}\","
		   "\"csi.storage.k8s.io/node-stage-secret-namespace\":\"ops\"}}");
	cluster_run(MINUTE);
	assert_true(contains(fake_service.last_request,
			     "params={pool=p} mutable={} secrets={user=xyz}"));
	assert_true(contains(fake_text(PV),
			     "\"nodeStageSecretRef\":{\"name\":\"blue\",\"namespace\":\"ops\"}"));
	assert_true(contains(fake_text(PV), "\"controllerExpandSecretRef\":{\"name\":\"key-data-"
					    "0\",\"namespace\":\"default\"}"));
	assert_true(contains(fake_text(PV), "provisioner-deletion-secret-name\":\"key-data-0\""));
	assert_true(contains(fake_text(PV), "controller-modify-secret-namespace\":\"default\""));
	assert_null(strstr(fake_events(), "xyz"));
}

TEST(attributes_class_gives_mutable_parameters)
{
	cluster_begin();
	fake_service.caps |= CSI_CAP_BIT(CSI_CTRL_MODIFY_VOLUME);
	fake_merge(CLAIM, "{\"spec\":{\"volumeAttributesClassName\":\"gold\"}}");
	fake_put("/apis/storage.k8s.io/v1/volumeattributesclasses/gold",
		 "{\"kind\":\"VolumeAttributesClass\",\"driverName\":\"" DRIVER
		 "\",\"parameters\":{\"iops\":\"9\"}}");
	cluster_run(MINUTE);
	assert_true(contains(fake_service.last_request, "mutable={iops=9}"));
	assert_true(contains(fake_text(PV), "\"volumeAttributesClassName\":\"gold\""));
}

TEST(claims_of_others_are_left_alone)
{
	static const char *const patches[] = {
		"{\"metadata\":{\"annotations\":{\"volume.kubernetes.io/"
		"storage-provisioner\":\"other\"}}}",
		"{\"metadata\":{\"annotations\":{\"volume.kubernetes.io/"
		"storage-provisioner\":null}}}",
		"{\"spec\":{\"volumeName\":\"pv-by-hand\"}}",
		"{\"metadata\":{\"deletionTimestamp\":\"2026-01-01T00:00:00Z\",\"finalizers\":[\"a/"
		"b\"]}}",
		"{\"spec\":{\"storageClassName\":\"gone\"}}",
		"{\"spec\":{\"dataSource\":{\"apiGroup\":\"x.example\",\"kind\":\"Tape\",\"name\":"
		"\"t\"}}}",
	};

	for (size_t i = 0; i < ARRAY_LEN(patches); i++) {
		autofree char *before = NULL;

		cluster_begin();
		fake_merge(CLAIM, patches[i]);
		before = xstrdup(fake_text(CLAIM));
		cluster_run(MINUTE);
		ASSERT_STR(fake_text(CLAIM), before);
		ASSERT_EQ(fake_service.n_created, 0);
	}
	assert_true(contains(fake_events(), "Normal Provisioning: Assuming an external populator"));
}

TEST(classes_of_others_are_left_alone)
{
	cluster_begin();
	fake_merge(CLASS, "{\"provisioner\":\"other\"}");
	cluster_run(MINUTE);
	ASSERT_EQ(fake_steps(), 3); /* the journal was opened */
	ASSERT_EQ(fake_service.n_created, 0);
}

TEST(a_class_that_comes_later_wakes_its_claims)
{
	struct process p;

	cluster_begin();
	fake_merge(CLAIM, "{\"spec\":{\"storageClassName\":\"later\"}}");
	process_start(&p, (struct provision_options){ 0 });
	fake_run(MINUTE);
	ASSERT_EQ(fake_service.n_created, 0);
	fake_put("/apis/storage.k8s.io/v1/storageclasses/later",
		 "{\"kind\":\"StorageClass\",\"metadata\":{\"name\":\"later\"},\"provisioner\":"
		 "\"" DRIVER "\"}");
	fake_settle();
	process_stop(&p);
	ASSERT_EQ(fake_service.n_created, 1);
}

TEST(late_binding_waits_for_a_node)
{
	struct process p;

	cluster_begin();
	fake_merge(CLASS, "{\"volumeBindingMode\":\"WaitForFirstConsumer\"}");
	process_start(&p, (struct provision_options){ 0 });
	fake_run(MINUTE);
	ASSERT_EQ(fake_service.n_created, 0);
	fake_merge(
		CLAIM,
		"{\"metadata\":{\"annotations\":{\"volume.kubernetes.io/selected-node\":\"n1\"}}}");
	fake_run(MINUTE);
	process_stop(&p);
	assert_bound();
}

TEST(wrong_wishes_are_refused_by_name)
{
	static const struct {
		const char *path, *patch, *text;
	} cases[] = {
		{ CLAIM, "{\"spec\":{\"selector\":{\"matchLabels\":{\"a\":\"b\"}}}}",
		  "claim selector is not supported" },
		{ CLAIM, "{\"spec\":{\"resources\":{\"requests\":{\"storage\":\"0\"}}}}",
		  "no size above zero" },
		{ CLAIM, "{\"spec\":{\"accessModes\":[]}}", "the claim has no access mode" },
		{ CLAIM, "{\"spec\":{\"accessModes\":[\"Sometimes\"]}}",
		  "unknown access mode 'Sometimes'" },
		{ CLAIM,
		  "{\"spec\":{\"dataSourceRef\":{\"kind\":\"PersistentVolumeClaim\",\"name\":"
		  "\"src\",\"namespace\":\"far\"}}}",
		  "dataSourceRef namespace 'far'" },
		{ CLAIM, "{\"spec\":{\"volumeAttributesClassName\":\"gold\"}}",
		  "does not support MODIFY_VOLUME" },
		{ CLASS, "{\"parameters\":{\"csi.storage.k8s.io/fsType\":\"x\"}}",
		  "unknown parameter 'csi.storage.k8s.io/fsType'" },
		{ CLASS, "{\"parameters\":{\"fstype\":\"xfs\"}}", "both give a filesystem" },
		{ CLASS, "{\"parameters\":{\"csi.storage.k8s.io/secret-name\":\"x\"}}",
		  "needs 'csi.storage.k8s.io/secret-namespace'" },
		{ CLASS,
		  "{\"parameters\":{\"csi.storage.k8s.io/secret-name\":\"x\",\"csi.storage.k8s.io/"
		  "secret-namespace\":\"y\"}}",
		  "secret y/x" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		cluster_begin();
		fake_merge(cases[i].path, cases[i].patch);
		cluster_run(NS_PER_S / 2);
		assert_refused(cases[i].text);
		ASSERT_STR(fake_service.last_request, "");
	}
}

TEST(a_driver_that_cannot_create_is_named)
{
	cluster_begin();
	fake_service.caps = 0;
	cluster_run(NS_PER_S / 2);
	assert_refused("driver " DRIVER " does not create volumes");
}

/* C3: another version of the driver, or another driver, behind the same address. */
TEST(a_driver_is_asked_again_after_a_new_connection)
{
	struct process p;

	cluster_begin();
	fake_merge(CLASS, "{\"parameters\":{\"csi.storage.k8s.io/fstype\":null}}");
	fake_merge(CLAIM, "{\"spec\":{\"volumeMode\":\"Block\"}}");
	fake_service.create_error = ERR_INTERNAL;
	process_start(&p, (struct provision_options){ 0 });
	fake_run(NS_PER_S / 2);
	assert_true(contains(fake_service.last_request, "caps=[block:1:]"));
	fake_service.caps |= CSI_CAP_BIT(CSI_CTRL_SINGLE_NODE_MULTI_WRITER);
	fake_service.link_changes = 2;
	fake_run(MINUTE);
	assert_true(contains(fake_service.last_request, "caps=[block:7:]"));
	fake_service.create_error = ERR_OK;
	fake_service.link_changes = 4;
	fake_service.name = "other.example";
	fake_run(5 * MINUTE);
	process_stop(&p);
	assert_true(contains(fake_events(), "is 'other.example' now, and was '" DRIVER "'"));
	ASSERT_EQ(fake_service.n_created, 0);
}

/* What external-provisioner does with each code: is the intent still on record, how often is it
 * asked in four minutes. */
TEST(error_codes_decide_what_comes_next)
{
	static const struct {
		enum err_code code;
		bool stays_in_doubt;
		bool is_repeated;
	} cases[] = {
		{ ERR_CANCELLED, true, true },          { ERR_DEADLINE_EXCEEDED, true, true },
		{ ERR_UNAVAILABLE, true, true },        { ERR_ABORTED, true, true },
		{ ERR_ALREADY_EXISTS, true, true },     { ERR_INTERNAL, false, true },
		{ ERR_UNKNOWN, false, true },           { ERR_RESOURCE_EXHAUSTED, false, true },
		{ ERR_OUT_OF_RANGE, false, true },      { ERR_NOT_FOUND, false, true },
		{ ERR_PERMISSION_DENIED, false, true }, { ERR_INVALID_ARGUMENT, false, false },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char text[96];

		cluster_begin();
		fake_note_writes(false);
		fake_service.create_error = cases[i].code;
		cluster_run(4 * MINUTE);
		(void)snprintf(text, sizeof(text), "rpc error: code = %s desc = the driver says no",
			       err_code_camel(cases[i].code));
		assert_true(contains(fake_events(), text));
		ASSERT_EQ(is_on_record(), cases[i].stays_in_doubt);
		/* 1 + 2 + 4 + … + 128 s: eight retries, each on its own backoff and none because of
		 * our own writes. */
		ASSERT_EQ(fake_reconciles(), cases[i].is_repeated ? 8 : 1);
	}
}

/* A driver may say most things without having looked for the name. */
TEST(an_error_that_says_nothing_of_existence_settles_no_older_doubt)
{
	static const enum err_code vague[] = { ERR_INTERNAL, ERR_OUT_OF_RANGE, ERR_UNIMPLEMENTED,
					       ERR_INVALID_ARGUMENT };

	for (size_t i = 0; i < ARRAY_LEN(vague); i++) {
		struct process p;

		cluster_begin();
		fake_service.create_error = ERR_UNAVAILABLE;
		process_start(&p, (struct provision_options){ 0 });
		fake_settle();
		fake_service.create_error = vague[i];
		fake_run(10 * NS_PER_S);
		ASSERT_TRUE(is_on_record());
		fake_service.create_error = ERR_RESOURCE_EXHAUSTED;
		fake_run(10 * MINUTE);
		ASSERT_FALSE(is_on_record());
		process_stop(&p);
	}
}

/* Made, the answer lost, the class changed so that the driver refuses it, the claim deleted. */
TEST(a_volume_in_doubt_outlives_a_refusal_of_its_parameters)
{
	struct process p;

	cluster_begin();
	fake_set_plan((struct fake_plan){ .at = 8, .fault = FAKE_LOSE });
	process_start(&p, (struct provision_options){ 0 });
	fake_settle();
	ASSERT_EQ(fake_service.n_volumes, 1);
	fake_service.create_error = ERR_INVALID_ARGUMENT;
	fake_run(10 * NS_PER_S);
	fake_delete(CLAIM);
	fake_run(10 * MINUTE);
	ASSERT_EQ(fake_service.n_volumes, 1);
	fake_service.create_error = ERR_OK;
	fake_run(10 * MINUTE);
	process_stop(&p);
	ASSERT_EQ(fake_service.n_volumes, 0);
	ASSERT_FALSE(fake_has(CLAIM));
}

TEST(an_infeasible_claim_rests_five_minutes)
{
	struct process p;

	cluster_begin();
	fake_service.create_error = ERR_INVALID_ARGUMENT;
	process_start(&p, (struct provision_options){ 0 });
	fake_run(4 * MINUTE);
	assert_true(contains(fake_events(),
			     "Warning ProvisioningFailed: Volume provisioning failed "
			     "with infeasible error. Retries will be delayed. "));
	fake_service.create_error = ERR_OK;
	fake_merge(
		CLAIM,
		"{\"metadata\":{\"annotations\":{\"volume.kubernetes.io/selected-node\":\"n1\"}}}");
	fake_settle();
	ASSERT_EQ(fake_service.n_created, 0);
	fake_run(2 * MINUTE);
	process_stop(&p);
	assert_bound();
}

TEST(a_class_made_anew_lifts_the_rest)
{
	struct process p;

	cluster_begin();
	fake_service.create_error = ERR_INVALID_ARGUMENT;
	process_start(&p, (struct provision_options){ 0 });
	fake_settle();
	fake_service.create_error = ERR_OK;
	fake_merge(CLASS, "{\"metadata\":{\"uid\":\"new\"}}");
	fake_settle();
	process_stop(&p);
	ASSERT_EQ(fake_service.n_created, 1);
}

TEST(a_full_node_gives_the_claim_back_to_the_scheduler)
{
	struct process p;

	cluster_begin();
	cluster_use_wait_for_consumer();
	fake_service.free_bytes = 0;
	process_start(&p, (struct provision_options){ 0 });
	fake_run(MINUTE);
	assert_refused("code = ResourceExhausted");
	assert_null(strstr(fake_text(CLAIM), "selected-node"));
	ASSERT_EQ(fake_reconciles(), 1);
	fake_service.free_bytes = UINT64_MAX;
	fake_merge(
		CLAIM,
		"{\"metadata\":{\"annotations\":{\"volume.kubernetes.io/selected-node\":\"n1\"}}}");
	fake_run(MINUTE);
	process_stop(&p);
	assert_bound();
}

TEST(a_volume_of_unknown_size_counts_as_asked)
{
	cluster_begin();
	fake_service.answers_no_capacity = true;
	cluster_run(MINUTE);
	assert_bound();
	assert_true(contains(fake_text(PV), "\"storage\":\"1Gi\""));
}

TEST(a_larger_volume_says_so)
{
	cluster_begin();
	fake_service.answer_bytes = 1610612736;
	cluster_run(MINUTE);
	assert_true(contains(fake_text(PV), "\"storage\":\"1536Mi\""));
}

/* G4: else nobody says anything, and the claim waits for ever. */
TEST(a_claim_that_would_grow_is_told_when_the_driver_cannot)
{
	for (int can_expand = 0; can_expand < 3; can_expand++) {
		struct provision_options opts = { .grows_on_node = can_expand == 2 };
		struct process p;
		bool is_told;

		cluster_begin();
		if (can_expand == 1)
			fake_service.caps |= CSI_CAP_BIT(CSI_CTRL_EXPAND_VOLUME);
		process_start(&p, opts);
		fake_run(MINUTE);
		assert_null(strstr(fake_events(), "VolumeResizeFailed"));
		fake_merge(CLAIM,
			   "{\"spec\":{\"resources\":{\"requests\":{\"storage\":\"2Gi\"}}}}");
		fake_settle();
		process_stop(&p);
		is_told = strstr(fake_events(),
				 "Warning VolumeResizeFailed: driver " DRIVER
				 " does not expand volumes: the volume keeps its 1Gi\n");
		ASSERT_EQ(is_told, !can_expand);
	}
}

TEST(a_volume_too_small_is_deleted_again)
{
	cluster_begin();
	fake_service.answer_bytes = 1000;
	cluster_run(NS_PER_S / 2);
	assert_refused("created volume capacity 1000 less than requested capacity 1Gi");
	ASSERT_EQ(fake_service.n_deleted, 1);
}

TEST(a_volume_too_small_that_stays_is_on_record)
{
	cluster_begin();
	fake_service.answer_bytes = 1000;
	fake_service.delete_error = ERR_INTERNAL;
	cluster_run(NS_PER_S / 2);
	assert_true(contains(fake_events(), "it is still there: delete volume id-" PV_NAME
					    ": the driver says no"));
	ASSERT_TRUE(is_on_record());
}

TEST(a_foreign_pv_of_the_name_is_not_taken)
{
	cluster_begin();
	fake_put(PV, "{\"kind\":\"PersistentVolume\",\"metadata\":{\"name\":\"" PV_NAME
		     "\"},\"spec\":{\"csi\":{"
		     "\"driver\":\"" DRIVER "\",\"volumeHandle\":\"other\"}}}");
	cluster_run(NS_PER_S / 2);
	assert_true(contains(fake_events(),
			     "persistentvolume " PV_NAME " exists and is not this claim's"));
	ASSERT_TRUE(is_on_record());
}

TEST(a_saved_pv_is_waited_for_and_made_again_if_it_goes)
{
	struct process p;

	cluster_begin();
	fake_employ_manager(false);
	process_start(&p, (struct provision_options){ 0 });
	fake_settle();
	fake_merge(
		CLAIM,
		"{\"metadata\":{\"annotations\":{\"volume.kubernetes.io/selected-node\":\"n1\"}}}");
	fake_set_plan((struct fake_plan){ 0 });
	fake_settle();
	ASSERT_EQ(fake_steps(), 0);
	fake_merge(PV, "{\"metadata\":{\"finalizers\":[]}}");
	fake_delete(PV);
	fake_settle();
	ASSERT_TRUE(fake_has(PV));
	fake_employ_manager(true);
	fake_run(MINUTE);
	process_stop(&p);
	assert_bound();
}

/* Bound, used, deleted and its PV gone, while the cache still shows a new claim. */
TEST(what_a_stale_cache_makes_is_unmade)
{
	struct process p;

	cluster_begin();
	process_start(&p, (struct provision_options){ 0 });
	fake_sync();
	fake_freeze(true);
	fake_merge(CLAIM, "{\"metadata\":{\"finalizers\":[]}}");
	fake_delete(CLAIM);
	fake_settle();
	ASSERT_EQ(fake_service.n_created, 1);
	fake_freeze(false);
	fake_run(MINUTE);
	process_stop(&p);
	ASSERT_EQ(fake_service.n_volumes, 0);
	ASSERT_EQ(fake_count(&core_pv_type), 0);
	ASSERT_FALSE(is_on_record());
}

/* The class is gone and so is the claim: what was asked for stands in the journal. */
TEST(a_volume_in_doubt_is_settled_without_class_and_claim)
{
	struct process p;
	char asked[4096];

	cluster_begin();
	fake_set_plan((struct fake_plan){ .at = 8, .fault = FAKE_KILL_AFTER });
	process_start(&p, (struct provision_options){ 0 });
	fake_settle();
	process_stop(&p);
	ASSERT_EQ(fake_service.n_volumes, 1);
	(void)snprintf(asked, sizeof(asked), "%s", fake_service.last_request);
	fake_set_plan((struct fake_plan){ 0 });
	fake_delete(CLASS);
	fake_merge(CLAIM, "{\"metadata\":{\"finalizers\":[]}}");
	fake_delete(CLAIM);
	cluster_run(MINUTE);
	ASSERT_STR(fake_service.last_request, asked);
	ASSERT_EQ(fake_service.n_volumes, 0);
	ASSERT_FALSE(is_on_record());
}

/* An unsettled claim is never tried elsewhere, nor with other words. */
TEST(a_claim_in_doubt_is_asked_for_as_on_record)
{
	struct process p;
	char asked[4096];

	cluster_begin();
	cluster_use_wait_for_consumer();
	fake_service.create_error = ERR_DEADLINE_EXCEEDED;
	process_start(&p, (struct provision_options){ 0 });
	fake_settle();
	(void)snprintf(asked, sizeof(asked), "%s", fake_service.last_request);
	process_stop(&p);
	fake_merge(CLAIM, "{\"metadata\":{\"annotations\":{\"volume.kubernetes.io/"
			  "selected-node\":\"n1\"}}}");
	fake_delete(CLASS);
	fake_service.create_error = ERR_OK;
	cluster_run(MINUTE);
	ASSERT_STR(fake_service.last_request, asked);
	assert_bound();
	assert_true(contains(fake_text(PV), "\"storageClassName\":\"fast\""));
	assert_true(contains(fake_text(PV), "\"mountOptions\":[\"noatime\"]"));
}

/* What the binder writes to at the same time is left to it; cleat leaves nothing on a claim. */
TEST(a_claim_is_not_written_to)
{
	cluster_begin();
	fake_employ_manager(false);
	{
		autofree char *before = xstrdup(fake_text(CLAIM));

		cluster_run(MINUTE);
		ASSERT_TRUE(fake_has(PV));
		ASSERT_STR(fake_text(CLAIM), before);
	}
}

/* Opening: 3; name and capabilities, once a connection: 3; intent, CreateVolume, PV, intent out: 4.
 */
TEST(a_claim_alone_takes_four_requests_and_its_end_five)
{
	struct process p;

	cluster_begin();
	process_start(&p, (struct provision_options){ 0 });
	fake_run(MINUTE);
	ASSERT_EQ(fake_steps(), 3 + 3 + 4);
	fake_set_plan((struct fake_plan){ 0 });
	fake_delete(CLAIM);
	fake_run(MINUTE);
	process_stop(&p);
	/* GET PV, GET claim, DeleteVolume, DELETE and PATCH the PV */
	ASSERT_EQ(fake_steps(), 5);
	ASSERT_EQ(fake_count(&core_pv_type), 0);
}

TEST(nothing_is_written_after_the_lease_is_lost)
{
	struct process p;

	cluster_begin();
	process_start(&p, (struct provision_options){ 0 });
	provisioner_pause(p.provisioner);
	fake_run(MINUTE);
	ASSERT_EQ(fake_steps(), 0);
	provisioner_start(p.provisioner);
	fake_run(MINUTE);
	process_stop(&p);
	assert_bound();
}

/* A moment after the claim is bound its intent is there still, to go with the next write. */
TEST(an_orderly_end_leaves_nothing_on_record)
{
	struct fence *fence = fence_new();
	struct process p;

	cluster_begin();
	fake_set_fence(fence);
	fence_open(fence, FENCE_NO_LIMIT);
	process_start(&p, (struct provision_options){ .fence = fence });
	fake_run(100 * NS_PER_MS);
	ASSERT_TRUE(is_on_record());
	provisioner_settle(p.provisioner);
	provisioner_pause(p.provisioner);
	process_stop(&p);
	fake_set_fence(NULL);
	fence_free(fence);
	assert_bound();
	fake_delete(CLAIM);
	cluster_run(MINUTE);
	ASSERT_EQ(fake_service.n_created, 1);
	ASSERT_EQ(fake_service.n_deleted, 1);
}

static void lose_lease(void *arg)
{
	provisioner_pause(arg);
}

TEST(a_reconcile_under_way_stops_when_the_lease_is_lost)
{
	/* 1, 2, 3 journal opened, 4, 5, 6 name and capabilities, 7 PUT journal, 8 CreateVolume, 9
	 * POST PV.
	 */
	for (unsigned at = 1; at <= 9; at++) {
		struct process p;
		unsigned steps;

		cluster_begin();
		process_start(&p, (struct provision_options){ 0 });
		fake_set_plan(
			(struct fake_plan){ .at = at, .hook = lose_lease, .arg = p.provisioner });
		fake_settle();
		steps = fake_steps();
		assert_null(strstr(fake_events(), "Warning"));
		ASSERT_TRUE(steps >= at && (at > 6 ? steps == at : steps <= 6));
		process_stop(&p);
		cluster_run(MINUTE);
		assert_bound();
	}
}

static void close_fence(void *arg)
{
	fence_close(arg);
}

/* Nobody noticed: nothing is cancelled, the clock alone says so. */
static void pass_limit(void *arg)
{
	fence_open(arg, 0);
}

/* Before anybody is told that the lease is lost. Steps as above. */
TEST(nothing_is_made_or_written_beyond_the_fence)
{
	void (*const hooks[])(void *) = { close_fence, pass_limit };

	for (unsigned at = 1; at <= 18; at++) {
		struct fence *fence = fence_new();
		unsigned step = (at + 1) / 2;
		struct process p;

		cluster_begin();
		fake_set_fence(fence);
		fence_open(fence, FENCE_NO_LIMIT);
		process_start(&p, (struct provision_options){ .fence = fence });
		fake_set_plan(
			(struct fake_plan){ .at = step, .hook = hooks[at % 2], .arg = fence });
		fake_settle();
		assert_null(strstr(fake_events(), "Warning"));
		ASSERT_EQ(fake_service.n_created, step >= 8);
		ASSERT_EQ(fake_has(PV), step >= 9);
		/* reading it may go on, while nobody cancels it */
		if (hooks[at % 2] == close_fence)
			ASSERT_TRUE(step > 6 ? fake_steps() == step : fake_steps() <= 6);
		fence_close(fence);
		fence_open(fence, FENCE_NO_LIMIT);
		fake_run(MINUTE);
		process_stop(&p);
		fence_free(fence);
		assert_bound();
	}
}

TEST(the_event_names_what_the_api_server_does_not_like)
{
	struct process p;

	cluster_begin();
	process_start(&p, (struct provision_options){ 0 });
	fake_refuse("/persistentvolumes", 422,
		    "{\"reason\":\"Invalid\",\"message\":\"admission refused it\",\"details\":{"
		    "\"causes\":[{\"reason\":\"FieldValueInvalid\",\"field\":"
		    "\"spec.mountOptions\",\"message\":\"noatime is not for us\"}]}}");
	fake_settle();
	assert_true(contains(fake_events(), "create persistentvolumes: admission refused it; "
					    "spec.mountOptions: noatime is not for us"));
	ASSERT_TRUE(is_on_record());
	fake_refuse(NULL, 0, NULL);
	fake_run(MINUTE);
	process_stop(&p);
	assert_bound();
}

static void refuse_leases(void *body)
{
	fake_refuse("/leases", 403, body);
}

/* Where a right is missing intents are in memory only; here nothing may be made without a record.
 */
TEST(a_lease_refused_for_another_reason_than_a_right_keeps_volumes_from_being_made)
{
	static struct {
		char body[256];
		const char *event;
	} cases[] = {
		{ "{\"reason\":\"Forbidden\",\"message\":\"leases is forbidden\",\"details\":{"
		  "\"causes\":[{\"reason\":\"NamespaceTerminating\",\"field\":"
		  "\"metadata.namespace\",\"message\":\"namespace x is being terminated\"}]}}",
		  "metadata.namespace: namespace x is being terminated" },
		{ "{\"reason\":\"Forbidden\",\"message\":\"exceeded quota: q, limited: 2\"}",
		  "exceeded quota: q" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct process p;

		cluster_begin();
		process_start(&p, (struct provision_options){ 0 });
		fake_set_plan(
			(struct fake_plan){ .at = 5, .hook = refuse_leases, .arg = cases[i].body });
		fake_settle();
		ASSERT_EQ(fake_service.n_created, 0);
		assert_true(contains(fake_events(), cases[i].event));
		fake_refuse(NULL, 0, NULL);
		fake_run(MINUTE);
		process_stop(&p);
		assert_bound();
	}
}

TEST(while_the_journal_cannot_be_opened_claims_are_told_so)
{
	struct process p;

	cluster_begin();
	fake_refuse("/leases", 403,
		    "{\"reason\":\"Forbidden\",\"message\":\"exceeded quota: q, limited: 2\"}");
	process_start(&p, (struct provision_options){ 0 });
	fake_run(10 * NS_PER_S);
	assert_true(contains(fake_events(), "Warning ProvisioningFailed: waiting until what is "
					    "being made can be put on record: "));
	assert_true(contains(fake_events(), "exceeded quota: q"));
	ASSERT_EQ(fake_service.n_created, 0);
	fake_refuse(NULL, 0, NULL);
	fake_run(MINUTE);
	process_stop(&p);
	assert_bound();
}

TEST(no_call_may_take_longer_than_told)
{
	struct process p;

	cluster_begin();
	process_start(&p, (struct provision_options){ .timeout_ns = 3 * NS_PER_S });
	fake_run(MINUTE);
	fake_delete(CLAIM);
	fake_run(MINUTE);
	process_stop(&p);
	ASSERT_EQ(fake_service.n_deleted, 1);
	ASSERT_EQ(fake_service.longest_ns, 3 * NS_PER_S);
}

TEST(metrics_count_both_ends)
{
	autostr struct str text = STR_INIT;

	cluster_begin();
	fake_service.create_error = ERR_INTERNAL;
	cluster_run(NS_PER_S / 2);
	fake_service.create_error = ERR_OK;
	cluster_run(MINUTE);
	metric_render(&text);
	assert_true(contains(
		str_get(&text),
		"controller_persistentvolumeclaim_provision_total{class=\"fast\",source=\"\"} "));
	assert_true(contains(str_get(&text), "controller_persistentvolumeclaim_provision_failed_"
					     "total{class=\"fast\",source=\"\"} "));
	assert_true(contains(str_get(&text),
			     "controller_persistentvolumeclaim_provision_duration_seconds_count{"));
}

RUN_TESTS(UNIT(a_claim_is_bound_to_a_new_volume),
	  UNIT(claims_that_follow_each_other_cost_three_steps_each),
	  UNIT(the_pv_is_written_as_others_expect_it), UNIT(block_claims_have_no_filesystem),
	  UNIT(each_access_mode_is_a_capability), UNIT(options_reach_the_request),
	  UNIT(secrets_go_to_the_driver_and_by_name_to_the_pv),
	  UNIT(attributes_class_gives_mutable_parameters), UNIT(claims_of_others_are_left_alone),
	  UNIT(a_name_may_have_less_of_the_uid),
	  UNIT(a_claim_that_is_only_read_may_have_a_pv_that_is_only_read),
	  UNIT(classes_of_others_are_left_alone), UNIT(a_class_that_comes_later_wakes_its_claims),
	  UNIT(late_binding_waits_for_a_node), UNIT(wrong_wishes_are_refused_by_name),
	  UNIT(a_driver_that_cannot_create_is_named),
	  UNIT(a_driver_is_asked_again_after_a_new_connection),
	  UNIT(error_codes_decide_what_comes_next),
	  UNIT(an_error_that_says_nothing_of_existence_settles_no_older_doubt),
	  UNIT(a_volume_in_doubt_outlives_a_refusal_of_its_parameters),
	  UNIT(an_infeasible_claim_rests_five_minutes), UNIT(a_class_made_anew_lifts_the_rest),
	  UNIT(a_full_node_gives_the_claim_back_to_the_scheduler),
	  UNIT(a_volume_of_unknown_size_counts_as_asked), UNIT(a_larger_volume_says_so),
	  UNIT(a_claim_that_would_grow_is_told_when_the_driver_cannot),
	  UNIT(a_volume_too_small_is_deleted_again),
	  UNIT(a_volume_too_small_that_stays_is_on_record),
	  UNIT(a_foreign_pv_of_the_name_is_not_taken),
	  UNIT(a_saved_pv_is_waited_for_and_made_again_if_it_goes),
	  UNIT(what_a_stale_cache_makes_is_unmade),
	  UNIT(a_volume_in_doubt_is_settled_without_class_and_claim),
	  UNIT(a_claim_in_doubt_is_asked_for_as_on_record), UNIT(a_claim_is_not_written_to),
	  UNIT(a_claim_alone_takes_four_requests_and_its_end_five),
	  UNIT(nothing_is_written_after_the_lease_is_lost),
	  UNIT(an_orderly_end_leaves_nothing_on_record),
	  UNIT(a_reconcile_under_way_stops_when_the_lease_is_lost),
	  UNIT(nothing_is_made_or_written_beyond_the_fence),
	  UNIT(the_event_names_what_the_api_server_does_not_like),
	  UNIT(a_lease_refused_for_another_reason_than_a_right_keeps_volumes_from_being_made),
	  UNIT(while_the_journal_cannot_be_opened_claims_are_told_so),
	  UNIT(no_call_may_take_longer_than_told), UNIT(metrics_count_both_ends))
