/* SPDX-License-Identifier: Apache-2.0 */
/* VolumeSnapshots to contents and back, with the snapshotter of a driver beside it, so that what
 * one of the two writes is what the other one reads; every step of both gone wrong in every way. */
#include "check.h"
#include "control/snapshot_controller.h"
#include "control/snapshots.h"
#include "control/snapshotter.h"
#include "fake/kube.h"
#include "fake/service.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/str.h"
#include "kube/informer.h"

#include <stdio.h>
#include <string.h>

#define DRIVER "pool.cleat.csi"
#define GROUP "/apis/snapshot.storage.k8s.io/v1/"
#define SNAPSHOT GROUP "namespaces/default/volumesnapshots/snap"
#define CONTENT GROUP "volumesnapshotcontents/snapcontent-s1"
#define CLASS GROUP "volumesnapshotclasses/snaps"
#define CLAIM "/api/v1/namespaces/default/persistentvolumeclaims/data"
#define VOLUME "/api/v1/persistentvolumes/pv-1"
#define RESTORE "/api/v1/namespaces/default/persistentvolumeclaims/restored"
#define NAME "snapshot-s1"
#define MINUTE (60 * NS_PER_S)
#define STEPS_MAX 120

static bool contains(const char *text, const char *part)
{
	if (strstr(text, part))
		return true;
	(void)fprintf(stderr, "no '%s' in:\n%s\n", part, text);
	return false;
}

static void drop_line(void *arg, const char *line)
{
}

static void put_class(const char *name)
{
	autofree char *path = xasprintf(GROUP "volumesnapshotclasses/%s", name);
	autofree char *json = xasprintf(
		"{\"kind\":\"VolumeSnapshotClass\",\"metadata\":{\"name\":\"%s\",\"annotations\":{"
		"\"" ANN_DEFAULT_SNAPSHOT_CLASS "\":\"true\"}},\"driver\":\"" DRIVER
		"\",\"deletionPolicy\":\"Delete\",\"parameters\":{\"freeze\":\"true\"}}",
		name);

	fake_put(path, json);
}

static void put_snapshot(const char *source)
{
	autofree char *json = xasprintf(
		"{\"kind\":\"VolumeSnapshot\",\"metadata\":{\"name\":\"snap\",\"namespace\":"
		"\"default\",\"uid\":\"s1\"},\"spec\":{\"source\":{%s}}}",
		source);

	fake_put(SNAPSHOT, json);
}

static void put_claim(void)
{
	fake_put(
		CLAIM,
		"{\"kind\":\"PersistentVolumeClaim\",\"metadata\":{\"name\":\"data\",\"namespace\":"
		"\"default\",\"uid\":\"c1\",\"finalizers\":[\"other/one\"]},\"spec\":{"
		"\"storageClassName\":\"fast\",\"volumeMode\":\"Block\",\"volumeName\":\"pv-1\","
		"\"resources\":{\"requests\":{\"storage\":\"1Gi\"}}},\"status\":{\"phase\":"
		"\"Bound\"}}");
	fake_put(VOLUME,
		 "{\"kind\":\"PersistentVolume\",\"metadata\":{\"name\":\"pv-1\"},\"spec\":{"
		 "\"csi\":{\"driver\":\"" DRIVER "\",\"volumeHandle\":\"vol-1\"},"
		 "\"claimRef\":{\"namespace\":\"default\",\"name\":\"data\",\"uid\":\"c1\"}},"
		 "\"status\":{\"phase\":\"Bound\"}}");
}

static void begin(void)
{
	log_set_sink(drop_line, NULL);
	fake_reset();
	fake_service_reset();
	fake_employ_manager(false);
	fake_tell_writes(true); /* the two share a cache */
	fake_service.caps =
		CSI_CAP_BIT(CSI_CTRL_CREATE_DELETE_SNAPSHOT) | CSI_CAP_BIT(CSI_CTRL_LIST_SNAPSHOTS);
	put_class("snaps");
	put_claim();
	put_snapshot("\"persistentVolumeClaimName\":\"data\"");
}

/* Two nodes, n1 with disk a and n2 with b, and where the volume is. */
static void put_places(const char *disks)
{
	static const char *const of[] = { "a", "b" };
	autofree char *affinity = xasprintf(
		"{\"spec\":{\"nodeAffinity\":{\"required\":{\"nodeSelectorTerms\":[{"
		"\"matchExpressions\":[{\"key\":\"disk\",\"operator\":\"In\",\"values\":[%s]}"
		"]}]}}}}",
		disks);

	for (size_t i = 0; i < ARRAY_LEN(of); i++) {
		autofree char *path = xasprintf("/api/v1/nodes/n%zu", i + 1);
		autofree char *json =
			xasprintf("{\"kind\":\"Node\",\"metadata\":{\"name\":\"n%zu\","
				  "\"labels\":{\"disk\":\"%s\",\"zone\":\"z\"}}}",
				  i + 1, of[i]);

		fake_put(path, json);
	}
	fake_merge(VOLUME, affinity);
}

struct process {
	bool has_nodes; /* each with a snapshotter; set before start() */
	struct snapshot_caches caches;
	struct snapshot_controller *controller;
	struct snapshotter *snapshotter;
};

static void start(struct process *p, struct snapshot_controller_options opts)
{
	p->caches = (struct snapshot_caches){
		.snapshots = informer_new(NULL, &snapshot_type, NULL),
		.contents = informer_new(NULL, &snapshot_content_type, NULL),
		.classes = informer_new(NULL, &snapshot_class_type, NULL),
		.pvcs = informer_new(NULL, &core_pvc_type, NULL),
		.pvs = informer_new(NULL, &core_pv_type, NULL),
		.groups = informer_new(NULL, &group_snapshot_type, NULL),
		.group_contents = informer_new(NULL, &group_content_type, NULL),
		.group_classes = informer_new(NULL, &group_class_type, NULL),
		.nodes = p->has_nodes ? informer_new(NULL, &core_node_type, NULL) : NULL,
	};
	opts.caches = p->caches;
	p->controller = snapshot_controller_new(&opts);
	p->snapshotter = snapshotter_new(&(struct snapshotter_options){
		.contents = p->caches.contents,
		.classes = p->caches.classes,
		.service = fake_service_get(),
		.driver_name = DRIVER,
	});
	snapshot_controller_start(p->controller);
	snapshotter_start(p->snapshotter);
}

static void stop(struct process *p)
{
	snapshot_controller_pause(p->controller);
	snapshotter_pause(p->snapshotter);
	snapshot_controller_free(p->controller);
	snapshotter_free(p->snapshotter);
	informer_free(p->caches.snapshots);
	informer_free(p->caches.contents);
	informer_free(p->caches.classes);
	informer_free(p->caches.pvcs);
	informer_free(p->caches.pvs);
	informer_free(p->caches.groups);
	informer_free(p->caches.group_contents);
	informer_free(p->caches.group_classes);
	informer_free(p->caches.nodes);
}

static void run(int64_t limit_ns)
{
	struct process p = { 0 };

	start(&p, (struct snapshot_controller_options){ 0 });
	fake_run(limit_ns);
	stop(&p);
}

static void assert_ready(void)
{
	const char *text = fake_text(SNAPSHOT);

	assert_true(contains(text, "\"boundVolumeSnapshotContentName\":\"snapcontent-s1\""));
	assert_true(contains(text, "\"readyToUse\":true"));
	assert_true(contains(text, "\"creationTime\":\"2023-11-14T22:13:20Z\""));
	assert_true(contains(text, "\"restoreSize\":\"1Gi\""));
	assert_true(contains(text, SNAPSHOT_SOURCE_FINALIZER));
	assert_true(contains(text, SNAPSHOT_BOUND_FINALIZER));
	assert_null(strstr(text, "\"error\""));
	assert_true(contains(fake_text(CONTENT), SNAPSHOT_CONTENT_FINALIZER));
	assert_null(strstr(fake_text(CONTENT), ANN_BEING_CREATED));
	if (fake_has(CLAIM))
		assert_null(strstr(fake_text(CLAIM), CLAIM_SOURCE_FINALIZER));
	ASSERT_EQ(fake_service.n_snapshots, 1);
	ASSERT_EQ(fake_service.n_cut, 1);
}

static void assert_nothing_left(void)
{
	ASSERT_FALSE(fake_has(SNAPSHOT));
	ASSERT_EQ(fake_count(&snapshot_content_type), 0);
	ASSERT_EQ(fake_service.n_snapshots, 0);
	assert_null(strstr(fake_text(CLAIM), CLAIM_SOURCE_FINALIZER));
	assert_true(contains(fake_text(CLAIM), "other/one"));
}

TEST(a_snapshot_of_a_claim_becomes_ready)
{
	begin();
	run(MINUTE);
	assert_ready();
	assert_true(contains(fake_text(SNAPSHOT), "\"volumeSnapshotClassName\":\"snaps\""));
	assert_true(contains(
		fake_events(),
		"Normal CreatingSnapshot: Waiting for a snapshot default/snap to be created by the "
		"CSI driver.\n"));
	assert_true(contains(fake_events(), "Normal SnapshotCreated: Snapshot default/snap was "
					    "successfully created by the CSI driver.\n"));
	assert_true(contains(fake_events(),
			     "Normal SnapshotReady: Snapshot default/snap is ready to use.\n"));
	assert_null(strstr(fake_events(), "Warning"));
}

/* By operation and status, of ones that were cut. */
static bool is_counted(const char *op, const char *status)
{
	autofree char *series = xasprintf(
		"snapshot_controller_operation_total_seconds_count{driver_name=\"" DRIVER
		"\",operation_name=\"%s\",snapshot_type=\"dynamic\",operation_status=\"%s\"} ",
		op, status);
	autostr struct str page = STR_INIT;

	metric_render(&page);
	return strstr(str_get(&page), series) &&
	       strstr(str_get(&page), "\nsnapshot_controller_operations_in_flight 0\n");
}

TEST(the_ways_of_snapshots_are_counted)
{
	begin();
	run(MINUTE);
	assert_true(is_counted("CreateSnapshot", "success"));
	assert_true(is_counted("CreateSnapshotAndReady", "success"));
	fake_delete(SNAPSHOT);
	run(MINUTE);
	assert_true(is_counted("DeleteSnapshot", "success"));
	ASSERT_FALSE(is_counted("CreateSnapshot", "cancel"));
}

TEST(the_content_is_written_as_others_expect_it)
{
	begin();
	fake_merge(CLASS, "{\"parameters\":{\"csi.storage.k8s.io/snapshotter-secret-name\":"
			  "\"key-${volumesnapshot.name}\",\"csi.storage.k8s.io/"
			  "snapshotter-secret-namespace\":\"${volumesnapshot.namespace}\"}}");
	fake_put("/api/v1/namespaces/default/secrets/key-snap",
		 "{\"kind\":\"Secret\",\"metadata\":{\"name\":\"key-snap\",\"namespace\":"
		 "\"default\"},"
		 "\"data\":{\"user\":\"eHl6\"}}");
	run(MINUTE);
	assert_ready();
	assert_true(contains(
		fake_text(CONTENT),
		"\"spec\":{\"driver\":\"" DRIVER "\",\"deletionPolicy\":\"Delete\","
		"\"volumeSnapshotClassName\":\"snaps\",\"sourceVolumeMode\":\"Block\",\"source\":{"
		"\"volumeHandle\":\"vol-1\"},\"volumeSnapshotRef\":{\"apiVersion\":"
		"\"snapshot.storage.k8s.io/"
		"v1\",\"kind\":\"VolumeSnapshot\",\"namespace\":\"default\","
		"\"name\":\"snap\",\"uid\":\"s1\",\"resourceVersion\":\""));
	assert_true(contains(fake_text(CONTENT),
			     "\"" ANN_SNAPSHOT_SECRET_NAME
			     "\":\"key-snap\",\"" ANN_SNAPSHOT_SECRET_NS "\":\"default\""));
	assert_true(contains(fake_service.last_snapshot_request, "secrets={user=xyz}"));
}

TEST(a_snapshot_that_is_deleted_takes_all_along)
{
	begin();
	run(MINUTE);
	fake_delete(SNAPSHOT);
	run(MINUTE);
	assert_nothing_left();
}

TEST(a_retained_content_stays)
{
	begin();
	fake_merge(CLASS, "{\"deletionPolicy\":\"Retain\"}");
	run(MINUTE);
	assert_null(strstr(fake_text(SNAPSHOT), SNAPSHOT_BOUND_FINALIZER));
	fake_delete(SNAPSHOT);
	run(MINUTE);
	ASSERT_FALSE(fake_has(SNAPSHOT));
	assert_true(contains(fake_text(CONTENT), ANN_BEING_DELETED));
	ASSERT_EQ(fake_service.n_snapshots, 1);
	fake_delete(CONTENT); /* by an administrator */
	run(MINUTE);
	ASSERT_FALSE(fake_has(CONTENT));
	ASSERT_EQ(fake_service.n_snapshots, 1);
}

/* The label of its content, where each node has a snapshotter. NULL: it has none. */
TEST(a_content_is_marked_for_the_node_of_its_volume)
{
	static const struct {
		const char *disks, *node;
		bool has_nodes;
	} cases[] = {
		{ "\"b\"", "n2", true },       { "\"a\"", "n1", true }, { "\"gone\"", NULL, true },
		{ "\"a\",\"b\"", NULL, true }, { NULL, NULL, true },    { "\"b\"", NULL, false },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct process p = { .has_nodes = cases[i].has_nodes };
		autofree char *label = xasprintf("\"labels\":{\"" SNAPSHOT_LABEL_NODE "\":\"%s\"}",
						 str_or(cases[i].node, ""));

		begin();
		if (cases[i].disks)
			put_places(cases[i].disks);
		start(&p, (struct snapshot_controller_options){ 0 });
		fake_run(MINUTE);
		stop(&p);
		assert_ready();
		if (cases[i].node)
			assert_true(contains(fake_text(CONTENT), label));
		else
			assert_null(strstr(fake_text(CONTENT), SNAPSHOT_LABEL_NODE));
	}
}

/* What an administrator, or a backup, brings along. */
static void put_static(const char *uid)
{
	autofree char *json = xasprintf(
		"{\"kind\":\"VolumeSnapshotContent\",\"metadata\":{\"name\":\"brought\"},\"spec\":{"
		"\"driver\":\"" DRIVER "\",\"deletionPolicy\":\"Delete\",\"source\":{"
		"\"snapshotHandle\":\"snap-" NAME "\"},\"volumeSnapshotRef\":{\"namespace\":"
		"\"default\",\"name\":\"snap\"%s%s%s}}}",
		uid ? ",\"uid\":\"" : "", uid ? uid : "", uid ? "\"" : "");

	fake_service_put_snapshot(NAME);
	fake_put(GROUP "volumesnapshotcontents/brought", json);
	put_snapshot("\"volumeSnapshotContentName\":\"brought\"");
}

TEST(a_content_that_was_brought_is_bound)
{
	begin();
	put_static(NULL);
	run(MINUTE);
	assert_true(contains(fake_text(SNAPSHOT), "\"readyToUse\":true"));
	assert_true(
		contains(fake_text(SNAPSHOT), "\"boundVolumeSnapshotContentName\":\"brought\""));
	assert_true(contains(fake_text(GROUP "volumesnapshotcontents/brought"), "\"uid\":\"s1\""));
	ASSERT_EQ(fake_service.n_cut, 0);
	fake_delete(SNAPSHOT);
	run(MINUTE);
	assert_nothing_left();
}

TEST(one_that_comes_later_is_waited_for)
{
	struct process p = { 0 };

	begin();
	put_snapshot("\"volumeSnapshotContentName\":\"brought\"");
	start(&p, (struct snapshot_controller_options){ 0 });
	fake_run(5 * MINUTE);
	assert_true(contains(fake_events(), "Warning SnapshotContentMissing"));
	assert_true(contains(fake_text(SNAPSHOT), "VolumeSnapshotContent is missing"));
	put_static(NULL);
	fake_merge(SNAPSHOT, "{\"metadata\":{\"labels\":{\"a\":\"b\"}}}");
	fake_run(NS_PER_S);
	assert_true(contains(fake_text(SNAPSHOT), "\"readyToUse\":true"));
	assert_null(strstr(fake_text(SNAPSHOT), "\"error\""));
	stop(&p);
}

TEST(a_content_of_another_is_not_taken)
{
	begin();
	put_static("other");
	run(MINUTE);
	assert_true(contains(fake_events(), "Warning SnapshotContentMisbound"));
	fake_delete(SNAPSHOT);
	run(MINUTE);
	ASSERT_FALSE(fake_has(SNAPSHOT));
	ASSERT_TRUE(fake_has(GROUP "volumesnapshotcontents/brought"));
	ASSERT_EQ(fake_service.n_snapshots, 1);

	begin();
	put_static(NULL);
	fake_merge(GROUP "volumesnapshotcontents/brought",
		   "{\"spec\":{\"source\":{\"snapshotHandle\":null,\"volumeHandle\":\"v\"}}}");
	run(MINUTE);
	assert_true(contains(fake_events(), "Warning SnapshotContentMismatch"));
}

/* Each is told once, and nothing is made; when it is mended the snapshot becomes ready. */
TEST(what_cannot_be_cut_is_told_by_name)
{
	static const struct {
		const char *path, *patch, *text;
	} cases[] = {
		{ CLAIM, "{\"status\":{\"phase\":\"Pending\"}}", "the PVC data is not yet bound" },
		{ CLAIM, "{\"status\":{\"phase\":\"Lost\"}}", "the PVC data is not yet bound" },
		{ CLAIM, "{\"spec\":{\"volumeName\":\"none\"}}",
		  "the PV none of PVC data is not there" },
		{ VOLUME, "{\"spec\":{\"claimRef\":{\"uid\":\"x\"}}}",
		  "the PV pv-1 is not bound to the PVC data" },
		{ VOLUME, "{\"spec\":{\"csi\":null}}", "the PV pv-1 is no volume of a CSI driver" },
		{ SNAPSHOT, "{\"spec\":{\"volumeSnapshotClassName\":\"none\"}}",
		  "GetSnapshotClassFailed: Failed to get snapshot class with error "
		  "volumesnapshotclass.snapshot.storage.k8s.io \"none\" not found" },
		{ CLASS, "{\"driver\":\"other.csi\"}",
		  "SetDefaultSnapshotClassFailed: Failed to set default snapshot class with error "
		  "cannot find default snapshot class" },
		{ CLAIM, "{\"metadata\":{\"deletionTimestamp\":\"2026-01-01T00:00:00Z\"}}",
		  "the PVC data is being deleted" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct process p = { 0 };

		begin();
		fake_merge(cases[i].path, cases[i].patch);
		start(&p, (struct snapshot_controller_options){ 0 });
		fake_run(MINUTE);
		assert_true(contains(fake_events(), cases[i].text));
		assert_true(contains(fake_text(SNAPSHOT), "\"error\":{\"message\":\"Failed to "));
		ASSERT_EQ(fake_count(&snapshot_content_type), 0);
		put_claim();
		put_class("snaps");
		fake_merge(SNAPSHOT, "{\"spec\":{\"volumeSnapshotClassName\":\"snaps\"}}");
		fake_run(5 * MINUTE);
		assert_ready();
		stop(&p);
	}
}

TEST(two_default_classes_are_none)
{
	begin();
	put_class("more");
	run(MINUTE);
	assert_true(contains(fake_events(), "2 default snapshot classes were found"));
	ASSERT_EQ(fake_count(&snapshot_content_type), 0);
}

TEST(a_class_wakes_what_waits_for_it)
{
	struct process p = { 0 };

	begin();
	fake_delete(CLASS);
	start(&p, (struct snapshot_controller_options){ 0 });
	fake_run(5 * MINUTE);
	put_class("snaps");
	fake_run(NS_PER_S);
	assert_ready();
	stop(&p);
}

/* The claim stays until it is cut, and no longer. */
TEST(a_claim_that_is_cut_is_kept)
{
	struct process p = { 0 };

	begin();
	fake_service.ready_after = 4;
	start(&p, (struct snapshot_controller_options){ 0 });
	fake_run(2 * NS_PER_S);
	assert_true(contains(fake_text(CLAIM), CLAIM_SOURCE_FINALIZER));
	fake_delete(CLAIM);
	fake_run(MINUTE);
	assert_ready();
	stop(&p);
}

static void put_restore(void)
{
	fake_put(RESTORE,
		 "{\"kind\":\"PersistentVolumeClaim\",\"metadata\":{\"name\":\"restored\","
		 "\"namespace\":\"default\",\"uid\":\"r1\"},\"spec\":{\"dataSource\":{\"apiGroup\":"
		 "\"snapshot.storage.k8s.io\",\"kind\":\"VolumeSnapshot\",\"name\":\"snap\"},"
		 "\"resources\":{\"requests\":{\"storage\":\"1Gi\"}}},\"status\":{\"phase\":"
		 "\"Pending\"}}");
}

TEST(a_snapshot_stays_while_a_claim_waits_for_it)
{
	struct process p = { 0 };

	begin();
	run(MINUTE);
	put_restore();
	fake_delete(SNAPSHOT);
	start(&p, (struct snapshot_controller_options){ 0 });
	fake_run(10 * MINUTE);
	assert_true(contains(fake_events(),
			     "Warning SnapshotDeletePending: Snapshot is being used to "
			     "restore a PVC"));
	ASSERT_TRUE(fake_has(SNAPSHOT) && fake_has(CONTENT));
	fake_merge(RESTORE,
		   "{\"spec\":{\"volumeName\":\"pv-2\"},\"status\":{\"phase\":\"Bound\"}}");
	fake_run(NS_PER_S);
	assert_nothing_left();
	stop(&p);
}

TEST(a_content_that_went_missing_is_told)
{
	begin();
	run(MINUTE);
	fake_merge(CONTENT, "{\"metadata\":{\"finalizers\":[]}}");
	fake_delete(CONTENT);
	ASSERT_FALSE(fake_has(CONTENT));
	run(MINUTE);
	assert_true(contains(fake_events(), "Warning SnapshotContentMissing"));
	assert_true(contains(fake_text(SNAPSHOT), "\"readyToUse\":false"));
	fake_delete(SNAPSHOT);
	run(MINUTE);
	ASSERT_FALSE(fake_has(SNAPSHOT));
}

/* Nobody would ever let it go: its snapshot's finalizers were taken off by hand. */
TEST(a_content_without_its_snapshot_can_be_deleted)
{
	begin();
	run(MINUTE);
	fake_merge(SNAPSHOT, "{\"metadata\":{\"finalizers\":[]}}");
	fake_delete(SNAPSHOT);
	ASSERT_FALSE(fake_has(SNAPSHOT));
	run(MINUTE);
	ASSERT_TRUE(fake_has(CONTENT));
	fake_delete(CONTENT);
	run(MINUTE);
	assert_nothing_left();
}

TEST(one_deleted_by_hand_stays_while_its_snapshot_does)
{
	begin();
	run(MINUTE);
	fake_delete(CONTENT);
	run(MINUTE);
	ASSERT_TRUE(fake_has(CONTENT));
	ASSERT_EQ(fake_service.n_snapshots, 1);
	fake_delete(SNAPSHOT);
	run(MINUTE);
	assert_nothing_left();
}

/* As external-snapshotter does, whose patch of annotations has all of them as it read them before.
 */
TEST(a_mark_that_a_snapshotter_took_off_is_put_on_again)
{
	struct process p = { 0 };

	begin();
	start(&p, (struct snapshot_controller_options){ 0 });
	fake_run(MINUTE);
	snapshotter_pause(p.snapshotter);
	fake_delete(SNAPSHOT);
	fake_run(MINUTE);
	assert_true(contains(fake_text(CONTENT), ANN_BEING_DELETED));
	fake_merge(CONTENT, "{\"metadata\":{\"annotations\":null}}");
	fake_run(MINUTE);
	assert_true(contains(fake_text(CONTENT), ANN_BEING_DELETED));
	snapshotter_start(p.snapshotter);
	fake_run(MINUTE);
	stop(&p);
	assert_nothing_left();
}

static bool is_marked(void)
{
	return strstr(fake_text(CONTENT), ANN_BEING_DELETED);
}

/* external-snapshotter writes its status, which makes it ready, before it takes its own annotation
 * off, and takes that for the last there is to see. */
TEST(the_mark_comes_when_no_attempt_is_under_way)
{
	struct process p = { 0 };

	begin();
	start(&p, (struct snapshot_controller_options){ 0 });
	fake_run(MINUTE);
	snapshotter_pause(p.snapshotter);
	fake_merge(CONTENT, "{\"metadata\":{\"annotations\":{\"" ANN_BEING_CREATED "\":\"yes\"}}}");
	fake_delete(SNAPSHOT);
	fake_run(MINUTE);
	assert_true(contains(fake_text(CONTENT), "deletionTimestamp"));
	ASSERT_FALSE(is_marked());
	fake_merge(CONTENT, "{\"metadata\":{\"annotations\":{\"" ANN_BEING_CREATED "\":null}}}");
	fake_run(MINUTE);
	ASSERT_TRUE(is_marked());
	/* One that began meanwhile. */
	fake_merge(CONTENT, "{\"metadata\":{\"annotations\":{\"" ANN_BEING_CREATED "\":\"yes\"}}}");
	fake_run(MINUTE);
	ASSERT_FALSE(is_marked());
	snapshotter_start(p.snapshotter);
	fake_run(MINUTE);
	stop(&p);
	assert_nothing_left();
}

/* The same where nobody else waits for it: its snapshot was taken away by hand. */
TEST(a_content_without_its_snapshot_is_marked_when_no_attempt_is_under_way)
{
	struct process p = { 0 };

	begin();
	start(&p, (struct snapshot_controller_options){ 0 });
	fake_run(MINUTE);
	snapshotter_pause(p.snapshotter);
	fake_merge(SNAPSHOT, "{\"metadata\":{\"finalizers\":[]}}");
	fake_delete(SNAPSHOT);
	fake_merge(CONTENT, "{\"metadata\":{\"annotations\":{\"" ANN_BEING_CREATED "\":\"yes\"}}}");
	fake_delete(CONTENT);
	fake_run(MINUTE);
	ASSERT_FALSE(is_marked());
	fake_merge(CONTENT, "{\"metadata\":{\"annotations\":{\"" ANN_BEING_CREATED "\":null}}}");
	fake_run(MINUTE);
	ASSERT_TRUE(is_marked());
	stop(&p);
}

/* Remade under its old name, of another UID: the new one gets a content of its own. */
TEST(a_namesake_is_another)
{
	begin();
	run(MINUTE);
	fake_merge(SNAPSHOT, "{\"metadata\":{\"finalizers\":[]}}");
	fake_delete(SNAPSHOT);
	put_snapshot("\"persistentVolumeClaimName\":\"data\"");
	fake_merge(SNAPSHOT, "{\"metadata\":{\"uid\":\"s2\"}}");
	run(MINUTE);
	assert_true(contains(fake_text(SNAPSHOT),
			     "\"boundVolumeSnapshotContentName\":\"snapcontent-s2\""));
	assert_true(contains(fake_text(SNAPSHOT), "\"readyToUse\":true"));
	ASSERT_EQ(fake_service.n_snapshots, 2);
}

TEST(a_failure_of_the_driver_is_told_to_the_user)
{
	begin();
	fake_service.snapshot_error = ERR_FAILED_PRECONDITION;
	run(MINUTE);
	assert_true(contains(fake_text(SNAPSHOT), "the driver says no"));
	assert_true(contains(fake_text(SNAPSHOT), "\"readyToUse\":false"));
	fake_service.snapshot_error = ERR_OK;
	run(10 * MINUTE);
	assert_ready();
}

TEST(members_of_groups_are_left_to_their_group)
{
	begin();
	fake_merge(SNAPSHOT, "{\"metadata\":{\"finalizers\":[\"" SNAPSHOT_MEMBER_FINALIZER "\"]}}");
	run(MINUTE);
	ASSERT_EQ(fake_count(&snapshot_content_type), 0);
	ASSERT_EQ(fake_service.n_cut, 0);
}

/* ---- every step, in every way ---- */

/* clang-format off */
static const struct {
	enum fake_fault fault;
	enum err_code code;
} troubles[] = {
	{ FAKE_FAIL, ERR_UNAVAILABLE },
	{ FAKE_FAIL, ERR_ABORTED },
	{ FAKE_FAIL, ERR_PERMISSION_DENIED },
	{ FAKE_LOSE, ERR_OK },
	{ FAKE_KILL, ERR_OK },
	{ FAKE_KILL_AFTER, ERR_OK },
};
/* clang-format on */

static void delete_snapshot(void *arg)
{
	fake_delete(SNAPSHOT);
}

static bool live_through(struct fake_plan plan)
{
	struct process p = { 0 };
	bool is_reached;

	fake_set_plan(plan);
	start(&p, (struct snapshot_controller_options){ 0 });
	fake_run(10 * NS_PER_S);
	is_reached = fake_steps() >= plan.at;
	stop(&p);
	fake_set_plan((struct fake_plan){ 0 });
	run(20 * MINUTE);
	return is_reached;
}

static void try_every_step(void (*prepare)(void), void (*hook)(void *arg), void (*check)(void))
{
	for (size_t t = 0; t < ARRAY_LEN(troubles); t++) {
		struct fake_plan plan = { .fault = troubles[t].fault,
					  .code = troubles[t].code,
					  .hook = hook };
		bool is_reached = true;

		while (is_reached) {
			plan.at++;
			ASSERT_TRUE(plan.at < STEPS_MAX);
			begin();
			prepare();
			is_reached = live_through(plan);
			if (is_reached)
				check();
		}
		ASSERT_TRUE(plan.at > 8);
	}
}

static void nothing_more(void)
{
}

/* Caches that learn of our own writes by the watch alone. */
static void see_late(void)
{
	fake_note_writes(false);
}

static void ready_and_deleted(void)
{
	run(MINUTE);
	fake_delete(SNAPSHOT);
}

TEST(a_snapshot_is_ready_after_any_trouble)
{
	try_every_step(nothing_more, NULL, assert_ready);
	try_every_step(see_late, NULL, assert_ready);
}

TEST(a_snapshot_deleted_during_any_trouble_leaves_nothing)
{
	try_every_step(nothing_more, delete_snapshot, assert_nothing_left);
	try_every_step(see_late, delete_snapshot, assert_nothing_left);
}

TEST(a_deletion_comes_to_its_end_after_any_trouble)
{
	try_every_step(ready_and_deleted, NULL, assert_nothing_left);
}

/* Another pair of controllers, with caches of their own, does all there is to do while the first
 * stands at a step with caches that see nothing of it. */
static void run_rival(void *arg)
{
	struct process rival;

	fake_set_plan((struct fake_plan){ 0 });
	fake_freeze(true);
	start(&rival, (struct snapshot_controller_options){ 0 });
	fake_settle();
	if (arg)
		fake_delete(SNAPSHOT);
	fake_settle();
	stop(&rival);
	fake_freeze(false);
}

TEST(caches_staler_than_the_api_at_every_step_do_no_harm)
{
	static bool is_deleted = true;
	unsigned n_steps;

	begin();
	run(MINUTE);
	n_steps = fake_steps();
	ASSERT_TRUE(n_steps > 8);
	for (unsigned i = 0; i < 2 * n_steps; i++) {
		struct process p = { 0 };

		begin();
		fake_set_plan((struct fake_plan){
			.at = i / 2 + 1, .hook = run_rival, .arg = i % 2 ? &is_deleted : NULL });
		start(&p, (struct snapshot_controller_options){ 0 });
		fake_run(MINUTE);
		stop(&p);
		run(10 * MINUTE);
		if (i % 2 == 0)
			assert_ready();
		fake_delete(SNAPSHOT);
		run(10 * MINUTE);
		assert_nothing_left();
	}
}

RUN_TESTS(UNIT(the_ways_of_snapshots_are_counted), UNIT(a_snapshot_of_a_claim_becomes_ready),
	  UNIT(the_content_is_written_as_others_expect_it),
	  UNIT(a_snapshot_that_is_deleted_takes_all_along), UNIT(a_retained_content_stays),
	  UNIT(a_content_is_marked_for_the_node_of_its_volume),
	  UNIT(a_content_that_was_brought_is_bound), UNIT(one_that_comes_later_is_waited_for),
	  UNIT(a_content_of_another_is_not_taken), UNIT(what_cannot_be_cut_is_told_by_name),
	  UNIT(two_default_classes_are_none), UNIT(a_class_wakes_what_waits_for_it),
	  UNIT(a_claim_that_is_cut_is_kept), UNIT(a_snapshot_stays_while_a_claim_waits_for_it),
	  UNIT(a_content_that_went_missing_is_told),
	  UNIT(a_content_without_its_snapshot_can_be_deleted),
	  UNIT(one_deleted_by_hand_stays_while_its_snapshot_does), UNIT(a_namesake_is_another),
	  UNIT(a_mark_that_a_snapshotter_took_off_is_put_on_again),
	  UNIT(the_mark_comes_when_no_attempt_is_under_way),
	  UNIT(a_content_without_its_snapshot_is_marked_when_no_attempt_is_under_way),
	  UNIT(a_failure_of_the_driver_is_told_to_the_user),
	  UNIT(members_of_groups_are_left_to_their_group),
	  UNIT(a_snapshot_is_ready_after_any_trouble),
	  UNIT(a_snapshot_deleted_during_any_trouble_leaves_nothing),
	  UNIT(a_deletion_comes_to_its_end_after_any_trouble),
	  UNIT(caches_staler_than_the_api_at_every_step_do_no_harm))
