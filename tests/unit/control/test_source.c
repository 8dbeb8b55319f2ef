/* SPDX-License-Identifier: Apache-2.0 */
/* Claims that are to be made of a snapshot or of another claim's volume: what is sent, what is
 * refused, and how long their sources are kept; also when every step goes wrong in every way. */
#include "check.h"
#include "cluster.h"
#include "control/provision-internal.h"
#include "control/snapshots.h"

#include "base/mem.h"

#define SNAPSHOT "/apis/snapshot.storage.k8s.io/v1/namespaces/default/volumesnapshots/snap"
#define CONTENT "/apis/snapshot.storage.k8s.io/v1/volumesnapshotcontents/content"
#define SOURCE "/api/v1/namespaces/default/persistentvolumeclaims/source"
#define SOURCE_PV "/api/v1/persistentvolumes/source-pv"
#define RESTORE_FINALIZER "provisioner.storage.kubernetes.io/volumesnapshot-as-source-protection"
#define CLONE_FINALIZER "provisioner.storage.kubernetes.io/cloning-protection"
#define STEPS_MAX 100

static void put_snapshot(void)
{
	fake_put(SNAPSHOT,
		 "{\"kind\":\"VolumeSnapshot\",\"metadata\":{\"name\":\"snap\",\"namespace\":"
		 "\"default\",\"uid\":\"s1\",\"finalizers\":[\"other/finalizer\"]},\"spec\":{"
		 "\"source\":{\"persistentVolumeClaimName\":\"old\"}},\"status\":{"
		 "\"boundVolumeSnapshotContentName\":\"content\",\"readyToUse\":true,"
		 "\"restoreSize\":\"1Gi\"}}");
	fake_put(
		CONTENT,
		"{\"kind\":\"VolumeSnapshotContent\",\"metadata\":{\"name\":\"content\"},\"spec\":{"
		"\"driver\":\"" DRIVER "\",\"deletionPolicy\":\"Delete\",\"sourceVolumeMode\":"
		"\"Filesystem\",\"source\":{\"volumeHandle\":\"v\"},\"volumeSnapshotRef\":{"
		"\"namespace\":\"default\",\"name\":\"snap\",\"uid\":\"s1\"}},\"status\":{"
		"\"snapshotHandle\":\"snap-7\",\"readyToUse\":true,\"restoreSize\":1073741824}}");
}

static void put_source(void)
{
	fake_put(SOURCE,
		 "{\"kind\":\"PersistentVolumeClaim\",\"metadata\":{\"name\":\"source\","
		 "\"namespace\":\"default\",\"uid\":\"src1\"},\"spec\":{\"accessModes\":["
		 "\"ReadWriteOnce\"],\"storageClassName\":\"fast\",\"volumeMode\":\"Filesystem\","
		 "\"volumeName\":\"source-pv\",\"resources\":{\"requests\":{\"storage\":\"1Gi\"}}},"
		 "\"status\":{\"phase\":\"Bound\"}}");
	fake_put(SOURCE_PV,
		 "{\"kind\":\"PersistentVolume\",\"metadata\":{\"name\":\"source-pv\"},\"spec\":{"
		 "\"capacity\":{\"storage\":\"1Gi\"},\"csi\":{\"driver\":\"" DRIVER
		 "\",\"volumeHandle\":\"vol-9\"},\"claimRef\":{\"namespace\":\"default\",\"name\":"
		 "\"source\",\"uid\":\"src1\"},\"persistentVolumeReclaimPolicy\":\"Retain\"},"
		 "\"status\":{\"phase\":\"Bound\"}}");
}

static void want_snapshot(void)
{
	fake_merge(CLAIM, "{\"spec\":{\"dataSource\":{\"apiGroup\":\"snapshot.storage.k8s.io\","
			  "\"kind\":\"VolumeSnapshot\",\"name\":\"snap\"}}}");
}

static void want_clone(void)
{
	fake_merge(CLAIM, "{\"spec\":{\"dataSource\":{\"kind\":\"PersistentVolumeClaim\",\"name\":"
			  "\"source\"}}}");
}

static void begin(void)
{
	cluster_begin();
	fake_service.caps |=
		CSI_CAP_BIT(CSI_CTRL_CREATE_DELETE_SNAPSHOT) | CSI_CAP_BIT(CSI_CTRL_CLONE_VOLUME);
	put_snapshot();
	put_source();
}

static void assert_bound(void)
{
	assert_true(contains(fake_text(CLAIM), "\"phase\":\"Bound\""));
	ASSERT_FALSE(is_on_record());
	ASSERT_EQ(fake_service.n_volumes, 1);
}

/* Of nobody's need: neither finalizer is left, and those of others are. */
static void assert_unprotected(void)
{
	assert_null(strstr(fake_text(SNAPSHOT), RESTORE_FINALIZER));
	assert_true(contains(fake_text(SNAPSHOT), "other/finalizer"));
	if (fake_has(SOURCE) && strstr(fake_text(SOURCE), "deletionTimestamp"))
		assert_null(strstr(fake_text(SOURCE), CLONE_FINALIZER));
}

TEST(a_claim_is_made_of_a_snapshot)
{
	begin();
	want_snapshot();
	cluster_run(MINUTE);
	assert_bound();
	assert_true(contains(fake_service.last_request, " source=snapshot:snap-7"));
	assert_unprotected();
}

TEST(a_larger_one_too)
{
	begin();
	want_snapshot();
	fake_merge(CLAIM, "{\"spec\":{\"resources\":{\"requests\":{\"storage\":\"2Gi\"}}}}");
	cluster_run(MINUTE);
	assert_bound();
	assert_true(contains(fake_service.last_request, "bytes=2147483648"));
}

TEST(a_claim_is_a_clone_of_another)
{
	begin();
	want_clone();
	cluster_run(MINUTE);
	assert_bound();
	assert_true(contains(fake_service.last_request, " source=volume:vol-9"));
	assert_true(contains(fake_text(SOURCE), CLONE_FINALIZER)); /* as upstream: until its end */
	fake_delete(SOURCE);
	cluster_run(MINUTE);
	ASSERT_FALSE(fake_has(SOURCE));
}

TEST(by_reference_alone_is_the_same)
{
	begin();
	fake_merge(CLAIM, "{\"spec\":{\"dataSourceRef\":{\"kind\":\"PersistentVolumeClaim\","
			  "\"name\":\"source\"}}}");
	cluster_run(MINUTE);
	assert_bound();
	assert_true(contains(fake_service.last_request, " source=volume:vol-9"));
}

/* Each is told by an event, nothing is made; and when it is mended the claim is bound. */
TEST(sources_that_do_not_fit_are_refused_by_name)
{
	static const struct {
		void (*want)(void);
		const char *path, *patch, *text;
	} cases[] = {
		{ want_snapshot, SNAPSHOT, "{\"status\":{\"readyToUse\":false}}",
		  "VolumeSnapshot 'snap' is not ready" },
		{ want_snapshot, SNAPSHOT, "{\"status\":null}", "is not bound" },
		{ want_snapshot, SNAPSHOT,
		  "{\"metadata\":{\"deletionTimestamp\":\"2026-01-01T00:00:00Z\"}}",
		  "VolumeSnapshot 'snap' is being deleted" },
		{ want_snapshot, SNAPSHOT, "{\"status\":{\"restoreSize\":\"2Gi\"}}",
		  "asks for 1Gi and its data source VolumeSnapshot 'snap' needs 2Gi" },
		{ want_snapshot, CONTENT, "{\"spec\":{\"volumeSnapshotRef\":{\"uid\":\"other\"}}}",
		  "content of another" },
		{ want_snapshot, CONTENT, "{\"spec\":{\"driver\":\"other.csi\"}}",
		  "is of driver 'other.csi'" },
		{ want_snapshot, CONTENT, "{\"status\":{\"snapshotHandle\":null}}",
		  "without a snapshotHandle" },
		{ want_snapshot, CONTENT, "{\"spec\":{\"sourceVolumeMode\":\"Block\"}}",
		  "was cut of a volume with volumeMode Block" },
		{ want_clone, SOURCE, "{\"status\":{\"phase\":\"Pending\"}}", "is not bound" },
		{ want_clone, SOURCE, "{\"spec\":{\"storageClassName\":\"\"}}",
		  "has no StorageClass" },
		{ want_clone, SOURCE, "{\"spec\":{\"volumeMode\":\"Block\"}}",
		  "has volumeMode Block, the claim Filesystem" },
		{ want_clone, SOURCE,
		  "{\"spec\":{\"resources\":{\"requests\":{\"storage\":\"2Gi\"}}}}", "needs 2Gi" },
		{ want_clone, SOURCE_PV, "{\"spec\":{\"csi\":{\"driver\":\"other.csi\"}}}",
		  "a volume of driver 'other.csi'" },
		{ want_clone, SOURCE_PV, "{\"spec\":{\"claimRef\":{\"uid\":\"other\"}}}",
		  "has a volume that is not bound to it" },
		{ want_clone, SOURCE, "{\"spec\":{\"volumeName\":\"nowhere\"}}",
		  "has a volume that is not there" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct process p;

		begin();
		fake_employ_manager(false);
		cases[i].want();
		fake_merge(cases[i].path, cases[i].patch);
		process_start(&p, (struct provision_options){ 0 });
		fake_run(MINUTE);
		assert_true(contains(fake_events(), "Warning ProvisioningFailed"));
		assert_true(contains(fake_events(), cases[i].text));
		ASSERT_EQ(fake_service.n_volumes, 0);
		ASSERT_FALSE(is_on_record());
		put_snapshot();
		put_source();
		fake_employ_manager(true);
		fake_run(5 * MINUTE);
		assert_bound();
		process_stop(&p);
	}
}

/* Or the two would wait for each other: the snapshot for the claim, the claim for a snapshot that
 * is not being deleted. */
TEST(a_claim_that_was_there_before_the_deletion_is_made)
{
	begin();
	want_snapshot();
	fake_merge(CLAIM, "{\"metadata\":{\"creationTimestamp\":\"2025-12-31T23:59:59Z\"}}");
	fake_delete(SNAPSHOT); /* 2026-01-01 */
	cluster_run(MINUTE);
	assert_bound();
	assert_null(strstr(fake_text(SNAPSHOT), RESTORE_FINALIZER));

	begin();
	want_snapshot();
	fake_merge(CLAIM, "{\"metadata\":{\"creationTimestamp\":\"2026-01-01T00:00:01Z\"}}");
	fake_delete(SNAPSHOT);
	cluster_run(MINUTE);
	assert_true(contains(fake_events(), "VolumeSnapshot 'snap' is being deleted"));
	ASSERT_EQ(fake_service.n_volumes, 0);
}

TEST(missing_sources_are_waited_for)
{
	struct process p;

	begin();
	want_snapshot();
	fake_delete(SNAPSHOT);
	fake_merge(SNAPSHOT, "{\"metadata\":{\"finalizers\":[]}}");
	process_start(&p, (struct provision_options){ 0 });
	fake_run(4 * MINUTE);
	assert_true(contains(fake_events(), "data source VolumeSnapshot 'snap'"));
	put_snapshot();
	fake_run(NS_PER_S); /* at once, and not at the next turn of the backoff */
	assert_bound();
	process_stop(&p);
}

TEST(another_volume_mode_needs_leave)
{
	begin();
	want_snapshot();
	fake_merge(CONTENT, "{\"spec\":{\"sourceVolumeMode\":\"Block\"},\"metadata\":{"
			    "\"annotations\":{\"" ANN_ALLOW_MODE_CHANGE "\":\"true\"}}}");
	cluster_run(MINUTE);
	assert_bound();

	begin();
	want_snapshot();
	fake_merge(CONTENT, "{\"spec\":{\"sourceVolumeMode\":\"Block\"}}");
	{
		struct process p;

		process_start(&p, (struct provision_options){ .allow_mode_conversion = true });
		fake_run(MINUTE);
		process_stop(&p);
	}
	assert_bound();
}

TEST(a_driver_that_cannot_is_named)
{
	begin();
	fake_service.caps = CSI_CAP_BIT(CSI_CTRL_CREATE_DELETE_VOLUME);
	want_snapshot();
	cluster_run(MINUTE);
	assert_true(contains(fake_events(), "driver " DRIVER " has no snapshots"));
	want_clone();
	fake_merge(CLAIM, "{\"spec\":{\"dataSource\":{\"apiGroup\":null}}}");
	cluster_run(MINUTE);
	assert_true(contains(fake_events(), "driver " DRIVER " does not clone volumes"));
	ASSERT_EQ(fake_service.n_volumes, 0);
}

TEST(an_empty_volume_is_not_handed_out)
{
	begin();
	want_snapshot();
	fake_service.forgets_sources = true;
	cluster_run(NS_PER_S / 2);
	assert_true(contains(fake_events(), "no content_source in its answer"));
	ASSERT_EQ(fake_service.n_created, 1);
	ASSERT_EQ(fake_service.n_volumes, 0);
	ASSERT_FALSE(fake_has(PV));
}

TEST(sources_of_other_kinds_are_left_alone)
{
	begin();
	fake_merge(CLAIM, "{\"spec\":{\"dataSourceRef\":{\"apiGroup\":\"example.org\",\"kind\":"
			  "\"Archive\",\"name\":\"a\"}}}");
	cluster_run(MINUTE);
	assert_true(contains(fake_events(), "Assuming an external populator"));
	ASSERT_EQ(fake_service.n_volumes, 0);
}

/* A right of newer Roles. */
TEST(a_snapshot_may_go_unprotected)
{
	begin();
	want_snapshot();
	fake_refuse("/volumesnapshots/", 403,
		    "{\"kind\":\"Status\",\"reason\":\"Forbidden\",\"message\":\"no\"}");
	cluster_run(MINUTE);
	assert_bound();
}

/* An earlier call's end is unknown: the source stays until the volume in doubt is settled. */
TEST(what_is_on_record_keeps_its_source)
{
	struct process p;

	begin();
	want_snapshot();
	fake_service.create_error = ERR_UNAVAILABLE;
	process_start(&p, (struct provision_options){ 0 });
	fake_run(10 * NS_PER_S);
	ASSERT_TRUE(is_on_record());
	fake_merge(CLAIM, "{\"metadata\":{\"finalizers\":[]}}");
	fake_delete(CLAIM);
	fake_run(5 * MINUTE);
	assert_true(contains(fake_text(SNAPSHOT), RESTORE_FINALIZER));
	fake_service.create_error = ERR_OK;
	fake_run(15 * MINUTE);
	ASSERT_FALSE(is_on_record());
	ASSERT_EQ(fake_service.n_volumes, 0);
	assert_unprotected();
	process_stop(&p);
}

TEST(a_claim_that_is_kept_as_a_source_is_told_why_it_does_not_go)
{
	struct process p;

	begin();
	want_clone();
	process_start(&p, (struct provision_options){ 0 });
	fake_run(MINUTE);
	assert_bound();
	fake_put(
		"/api/v1/namespaces/default/persistentvolumeclaims/late",
		"{\"kind\":\"PersistentVolumeClaim\",\"metadata\":{\"name\":\"late\",\"namespace\":"
		"\"default\",\"uid\":\"l8\"},\"spec\":{\"accessModes\":[\"ReadWriteOnce\"],"
		"\"storageClassName\":\"none\",\"dataSource\":{\"kind\":\"PersistentVolumeClaim\","
		"\"name\":\"source\"},\"resources\":{\"requests\":{\"storage\":\"1Gi\"}}},"
		"\"status\":{"
		"\"phase\":\"Pending\"}}");
	fake_run(MINUTE);
	assert_null(strstr(fake_events(), "ClaimDeletePending"));
	fake_delete(SOURCE);
	fake_run(MINUTE);
	assert_true(contains(fake_text(SOURCE), CLONE_FINALIZER));
	assert_true(contains(fake_events(), "Warning ClaimDeletePending: Claim is being used to "
					    "make another claim's volume"));
	fake_delete("/api/v1/namespaces/default/persistentvolumeclaims/late");
	fake_run(MINUTE);
	assert_unprotected();
	process_stop(&p);
}

TEST(a_source_is_kept_while_another_claim_waits)
{
	struct process p;

	begin();
	want_snapshot();
	fake_put(
		"/api/v1/namespaces/default/persistentvolumeclaims/late",
		"{\"kind\":\"PersistentVolumeClaim\",\"metadata\":{\"name\":\"late\",\"namespace\":"
		"\"default\",\"uid\":\"l8\"},\"spec\":{\"accessModes\":[\"ReadWriteOnce\"],"
		"\"storageClassName\":\"none\",\"dataSource\":{\"apiGroup\":"
		"\"snapshot.storage.k8s.io\",\"kind\":\"VolumeSnapshot\",\"name\":\"snap\"},"
		"\"resources\":{\"requests\":{\"storage\":\"1Gi\"}}},\"status\":{\"phase\":"
		"\"Pending\"}}");
	process_start(&p, (struct provision_options){ 0 });
	fake_run(MINUTE);
	assert_bound();
	assert_true(contains(fake_text(SNAPSHOT), RESTORE_FINALIZER));
	fake_delete("/api/v1/namespaces/default/persistentvolumeclaims/late");
	fake_run(MINUTE);
	assert_unprotected();
	process_stop(&p);
}

/* ---- every step, in every way ---- */

/* clang-format off */
static const struct {
	enum fake_fault fault;
	enum err_code code;
} troubles[] = {
	{ FAKE_FAIL, ERR_UNAVAILABLE },
	{ FAKE_FAIL, ERR_ABORTED },
	{ FAKE_FAIL, ERR_NOT_FOUND },
	{ FAKE_LOSE, ERR_OK },
	{ FAKE_KILL, ERR_OK },
	{ FAKE_KILL_AFTER, ERR_OK },
};
/* clang-format on */

static void delete_claim(void *arg)
{
	fake_delete(CLAIM);
}

static bool live_through(struct fake_plan plan)
{
	struct process p;
	bool is_reached;

	fake_set_plan(plan);
	process_start(&p, (struct provision_options){ 0 });
	fake_run(10 * NS_PER_S);
	is_reached = fake_steps() >= plan.at;
	process_stop(&p);
	fake_set_plan((struct fake_plan){ 0 });
	cluster_run(20 * MINUTE);
	return is_reached;
}

static void try_every_step(void (*want)(void), bool is_deleted)
{
	for (size_t t = 0; t < ARRAY_LEN(troubles); t++) {
		struct fake_plan plan = { .fault = troubles[t].fault,
					  .code = troubles[t].code,
					  .hook = is_deleted ? delete_claim : NULL };
		bool is_reached = true;

		while (is_reached) {
			plan.at++;
			ASSERT_TRUE(plan.at < STEPS_MAX);
			begin();
			want();
			is_reached = live_through(plan);
			if (is_reached && is_deleted) {
				ASSERT_FALSE(fake_has(CLAIM));
				ASSERT_EQ(fake_service.n_volumes, 0);
			} else if (is_reached) {
				assert_bound();
			}
			assert_unprotected();
			fake_delete(SOURCE);
			cluster_run(MINUTE);
			ASSERT_FALSE(fake_has(SOURCE));
		}
		ASSERT_TRUE(plan.at > 8);
	}
}

TEST(a_restore_comes_to_its_end_after_any_trouble)
{
	try_every_step(want_snapshot, false);
}

TEST(a_clone_comes_to_its_end_after_any_trouble)
{
	try_every_step(want_clone, false);
}

TEST(a_restore_deleted_during_any_trouble_leaves_nothing)
{
	try_every_step(want_snapshot, true);
}

TEST(a_clone_deleted_during_any_trouble_leaves_nothing)
{
	try_every_step(want_clone, true);
}

RUN_TESTS(UNIT(a_claim_is_made_of_a_snapshot), UNIT(a_larger_one_too),
	  UNIT(a_claim_is_a_clone_of_another), UNIT(by_reference_alone_is_the_same),
	  UNIT(sources_that_do_not_fit_are_refused_by_name),
	  UNIT(a_claim_that_was_there_before_the_deletion_is_made),
	  UNIT(missing_sources_are_waited_for), UNIT(another_volume_mode_needs_leave),
	  UNIT(a_driver_that_cannot_is_named), UNIT(an_empty_volume_is_not_handed_out),
	  UNIT(sources_of_other_kinds_are_left_alone), UNIT(a_snapshot_may_go_unprotected),
	  UNIT(what_is_on_record_keeps_its_source),
	  UNIT(a_claim_that_is_kept_as_a_source_is_told_why_it_does_not_go),
	  UNIT(a_source_is_kept_while_another_claim_waits),
	  UNIT(a_restore_comes_to_its_end_after_any_trouble),
	  UNIT(a_clone_comes_to_its_end_after_any_trouble),
	  UNIT(a_restore_deleted_during_any_trouble_leaves_nothing),
	  UNIT(a_clone_deleted_during_any_trouble_leaves_nothing))
