/* SPDX-License-Identifier: Apache-2.0 */
/* VolumeGroupSnapshots to contents, to what the driver cuts, to members, and back:
 * snapshot-controller and snapshotter on one cache, every step of both gone wrong in every way. */
#include "check.h"
#include "control/snapshot_controller.h"
#include "control/snapshots.h"
#include "control/snapshotter.h"
#include "fake/kube.h"
#include "fake/service.h"

#include "base/clock.h"
#include "base/hex.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/sha256.h"
#include "kube/informer.h"

#include <stdio.h>
#include <string.h>

#define DRIVER "pool.cleat.csi"
#define GROUPS "/apis/groupsnapshot.storage.k8s.io/v1/"
#define SNAPSHOTS "/apis/snapshot.storage.k8s.io/v1/"
#define GROUP GROUPS "namespaces/default/volumegroupsnapshots/both"
#define CONTENT GROUPS "volumegroupsnapshotcontents/groupsnapcontent-g1"
#define CLASS GROUPS "volumegroupsnapshotclasses/groups"
#define MINUTE (60 * NS_PER_S)
#define STEPS_MAX 200

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

static void put_claim(const char *name)
{
	autofree char *path =
		xasprintf("/api/v1/namespaces/default/persistentvolumeclaims/%s", name);
	autofree char *pv_path = xasprintf("/api/v1/persistentvolumes/pv-%s", name);
	autofree char *json = xasprintf(
		"{\"kind\":\"PersistentVolumeClaim\",\"metadata\":{\"name\":\"%s\",\"namespace\":"
		"\"default\",\"uid\":\"c-%s\",\"labels\":{\"app\":\"db\"}},\"spec\":{"
		"\"volumeName\":\"pv-%s\",\"resources\":{\"requests\":{\"storage\":\"1Gi\"}}},"
		"\"status\":{\"phase\":\"Bound\"}}",
		name, name, name);
	autofree char *pv = xasprintf(
		"{\"kind\":\"PersistentVolume\",\"metadata\":{\"name\":\"pv-%s\"},\"spec\":{"
		"\"csi\":{"
		"\"driver\":\"" DRIVER
		"\",\"volumeHandle\":\"vol-%s\"},\"claimRef\":{\"namespace\":"
		"\"default\",\"name\":\"%s\",\"uid\":\"c-%s\"}},\"status\":{\"phase\":\"Bound\"}}",
		name, name, name, name);

	fake_put(path, json);
	fake_put(pv_path, pv);
}

static void put_class(void)
{
	fake_put(CLASS,
		 "{\"kind\":\"VolumeGroupSnapshotClass\",\"metadata\":{\"name\":\"groups\","
		 "\"annotations\":{\"" ANN_DEFAULT_GROUP_CLASS "\":\"true\"}},\"driver\":\"" DRIVER
		 "\",\"deletionPolicy\":\"Delete\",\"parameters\":{"
		 "\"csi.storage.k8s.io/group-snapshotter-secret-name\":"
		 "\"key-${volumegroupsnapshot.name}\",\"csi.storage.k8s.io/"
		 "group-snapshotter-secret-namespace\":\"${volumegroupsnapshot.namespace}\"}}");
}

static void put_group(const char *source)
{
	autofree char *json = xasprintf(
		"{\"kind\":\"VolumeGroupSnapshot\",\"metadata\":{\"name\":\"both\",\"namespace\":"
		"\"default\",\"uid\":\"g1\"},\"spec\":{\"source\":{%s}}}",
		source);

	fake_put(GROUP, json);
}

static void begin(void)
{
	log_set_sink(drop_line, NULL);
	fake_reset();
	fake_service_reset();
	fake_employ_manager(false);
	fake_tell_writes(true);
	fake_service.caps =
		CSI_CAP_BIT(CSI_CTRL_CREATE_DELETE_SNAPSHOT) | CSI_CAP_BIT(CSI_CTRL_LIST_SNAPSHOTS);
	fake_put("/api/v1/namespaces/default/secrets/key-both",
		 "{\"kind\":\"Secret\",\"metadata\":{\"name\":\"key-both\",\"namespace\":"
		 "\"default\"},"
		 "\"data\":{}}");
	put_class();
	put_claim("a");
	put_claim("b");
	put_claim("other");
	fake_merge("/api/v1/namespaces/default/persistentvolumeclaims/other",
		   "{\"metadata\":{\"labels\":{\"app\":\"web\"}}}");
	put_group("\"selector\":{\"matchLabels\":{\"app\":\"db\"}}");
}

struct process {
	struct snapshot_caches caches;
	struct snapshot_controller *controller;
	struct snapshotter *snapshotter;
	struct informer *all[8], *nodes;
};

static void start_as(struct process *p, bool has_nodes)
{
	static const struct kube_type *const types[] = {
		&snapshot_type, &snapshot_content_type, &snapshot_class_type, &core_pvc_type,
		&core_pv_type,  &group_snapshot_type,   &group_content_type,  &group_class_type,
	};

	for (size_t i = 0; i < ARRAY_LEN(types); i++)
		p->all[i] = informer_new(NULL, types[i], NULL);
	p->caches = (struct snapshot_caches){ p->all[0], p->all[1], p->all[2], p->all[3],
					      p->all[4], p->all[5], p->all[6], p->all[7] };
	p->nodes = has_nodes ? informer_new(NULL, &core_node_type, NULL) : NULL;
	p->caches.nodes = p->nodes;
	p->controller = snapshot_controller_new(
		&(struct snapshot_controller_options){ .caches = p->caches });
	p->snapshotter = snapshotter_new(&(struct snapshotter_options){
		.contents = p->caches.contents,
		.classes = p->caches.classes,
		.group_contents = p->caches.group_contents,
		.group_classes = p->caches.group_classes,
		.service = fake_service_get(),
		.driver_name = DRIVER,
	});
	snapshot_controller_start(p->controller);
	snapshotter_start(p->snapshotter);
}

static void start(struct process *p)
{
	start_as(p, false);
}

static void stop(struct process *p)
{
	snapshot_controller_pause(p->controller);
	snapshotter_pause(p->snapshotter);
	snapshot_controller_free(p->controller);
	snapshotter_free(p->snapshotter);
	for (size_t i = 0; i < ARRAY_LEN(p->all); i++)
		informer_free(p->all[i]);
	informer_free(p->nodes);
}

static void run(int64_t limit_ns)
{
	struct process p;

	start(&p);
	fake_run(limit_ns);
	stop(&p);
}

static const char *member_path(const char *volume, bool is_content)
{
	static char path[256];
	autofree char *text = xasprintf("g1%s", volume);
	uint8_t hash[SHA256_BYTES];
	char hex[2 * SHA256_BYTES + 1];

	sha256(text, strlen(text), hash);
	hex_format(hash, sizeof(hash), hex);
	(void)snprintf(path, sizeof(path), SNAPSHOTS "%s%s",
		       is_content ? "volumesnapshotcontents/snapcontent-"
				  : "namespaces/default/volumesnapshots/snapshot-",
		       hex);
	return path;
}

static void assert_member(const char *volume, const char *claim)
{
	autofree char *source = xasprintf("\"persistentVolumeClaimName\":\"%s\"", claim);
	autofree char *handle =
		xasprintf("\"snapshotHandle\":\"snap-groupsnapshot-g1-%s\"", volume);
	const char *text = fake_text(member_path(volume, false));

	assert_true(contains(text, source));
	assert_true(contains(text, "\"readyToUse\":true"));
	assert_true(contains(text, "\"restoreSize\":\"1Gi\""));
	assert_true(contains(text, "\"volumeGroupSnapshotName\":\"both\""));
	assert_true(contains(text, SNAPSHOT_MEMBER_FINALIZER));
	assert_true(contains(text, "\"ownerReferences\":[{\"apiVersion\":"
				   "\"groupsnapshot.storage.k8s.io/v1\",\"kind\":"
				   "\"VolumeGroupSnapshot\",\"name\":\"both\",\"uid\":\"g1\"}]"));
	text = fake_text(member_path(volume, true));
	assert_true(contains(text, handle));
	assert_true(contains(text, "\"volumeGroupSnapshotHandle\":\"group-groupsnapshot-g1\""));
	assert_true(contains(text, "\"" ANN_GROUP_HANDLE "\":\"group-groupsnapshot-g1\""));
	assert_true(contains(text, "\"" ANN_SNAPSHOT_SECRET_NAME "\":\"key-both\""));
	assert_true(contains(fake_text(member_path(volume, true)),
			     "\"sourceVolumeMode\":\"Filesystem\""));
}

static void assert_ready(void)
{
	const char *text = fake_text(GROUP);

	assert_true(
		contains(text, "\"boundVolumeGroupSnapshotContentName\":\"groupsnapcontent-g1\""));
	assert_true(contains(text, "\"readyToUse\":true"));
	assert_true(contains(text, "\"creationTime\":\"2023-11-14T22:13:20Z\""));
	assert_true(contains(text, GROUP_BOUND_FINALIZER));
	assert_null(strstr(text, "\"error\""));
	assert_null(strstr(fake_text(CONTENT), ANN_GROUP_BEING_CREATED));
	assert_member("vol-a", "a");
	assert_member("vol-b", "b");
	ASSERT_EQ(fake_count(&snapshot_type), 2);
	ASSERT_EQ(fake_count(&snapshot_content_type), 2);
	ASSERT_EQ(fake_service.n_groups, 1);
	ASSERT_EQ(fake_service.n_snapshots, 2);
	ASSERT_EQ(fake_service.n_cut, 0);
}

static void assert_nothing_left(void)
{
	ASSERT_FALSE(fake_has(GROUP));
	ASSERT_EQ(fake_count(&group_content_type), 0);
	ASSERT_EQ(fake_count(&snapshot_type), 0);
	ASSERT_EQ(fake_count(&snapshot_content_type), 0);
	ASSERT_EQ(fake_service.n_groups, 0);
	ASSERT_EQ(fake_service.n_snapshots, 0);
}

TEST(a_group_is_cut_and_told_member_by_member)
{
	begin();
	run(MINUTE);
	assert_ready();
	assert_true(contains(fake_text(GROUP), "\"volumeGroupSnapshotClassName\":\"groups\""));
	assert_true(contains(fake_text(CONTENT), "\"" ANN_GROUP_SECRET_NAME "\":\"key-both\""));
	assert_true(contains(fake_events(), "Normal CreatingGroupSnapshot"));
	assert_true(contains(fake_events(), "Normal GroupSnapshotCreated"));
	assert_true(contains(fake_events(), "Normal GroupSnapshotReady"));
	assert_null(strstr(fake_events(), "Warning"));
}

static void put_place(const char *claim, const char *disk)
{
	autofree char *pv = xasprintf("/api/v1/persistentvolumes/pv-%s", claim);
	autofree char *node = xasprintf("/api/v1/nodes/n-%s", disk);
	autofree char *affinity = xasprintf(
		"{\"spec\":{\"nodeAffinity\":{\"required\":{\"nodeSelectorTerms\":[{"
		"\"matchExpressions\":[{\"key\":\"disk\",\"operator\":\"In\",\"values\":[\"%s\"]}"
		"]}]}}}}",
		disk);
	autofree char *json = xasprintf("{\"kind\":\"Node\",\"metadata\":{\"name\":\"n-%s\","
					"\"labels\":{\"disk\":\"%s\"}}}",
					disk, disk);

	fake_merge(pv, affinity);
	fake_put(node, json);
}

/* Where each node has a snapshotter. */
TEST(contents_are_marked_for_the_node_of_their_volumes)
{
	struct process p;

	begin();
	put_place("a", "x");
	put_place("b", "x");
	start_as(&p, true);
	fake_run(MINUTE);
	stop(&p);
	assert_ready();
	assert_true(contains(fake_text(CONTENT), "\"" SNAPSHOT_LABEL_NODE "\":\"n-x\""));
	assert_true(contains(fake_text(member_path("vol-a", true)),
			     "\"" SNAPSHOT_LABEL_NODE "\":\"n-x\""));
	assert_true(contains(fake_text(member_path("vol-b", true)),
			     "\"" SNAPSHOT_LABEL_NODE "\":\"n-x\""));
}

TEST(a_group_of_several_nodes_is_told_whose)
{
	struct process p;

	begin();
	put_place("a", "x");
	put_place("b", "y");
	start_as(&p, true);
	fake_run(MINUTE);
	stop(&p);
	assert_true(contains(fake_events(), "on node 'n-"));
	ASSERT_FALSE(fake_has(CONTENT));
}

TEST(a_group_that_is_deleted_takes_all_along)
{
	autostr struct str page = STR_INIT;

	begin();
	run(MINUTE);
	fake_delete(GROUP);
	run(MINUTE);
	assert_nothing_left();
	metric_render(&page);
	assert_true(contains(str_get(&page), "operation_name=\"CreateGroupSnapshotAndReady\","
					     "snapshot_type=\"dynamic\","
					     "operation_status=\"success\"} "));
	assert_true(contains(str_get(&page), "operation_name=\"DeleteGroupSnapshot\","
					     "snapshot_type=\"dynamic\","
					     "operation_status=\"success\"} "));
}

TEST(a_member_goes_with_its_group_and_not_before)
{
	begin();
	run(MINUTE);
	fake_delete(member_path("vol-a", false));
	run(MINUTE);
	ASSERT_TRUE(fake_has(member_path("vol-a", false)));
	assert_true(contains(fake_events(),
			     "Warning SnapshotDeletePending: Snapshot is a member of "
			     "group snapshot both"));
	fake_delete(GROUP);
	run(10 * MINUTE);
	assert_nothing_left();
}

TEST(a_group_stays_while_a_claim_is_made_of_a_member)
{
	const char *restore = "/api/v1/namespaces/default/persistentvolumeclaims/restored";
	autofree char *json = NULL;

	begin();
	run(MINUTE);
	json = xasprintf(
		"{\"kind\":\"PersistentVolumeClaim\",\"metadata\":{\"name\":\"restored\","
		"\"namespace\":\"default\"},\"spec\":{\"dataSource\":{\"apiGroup\":"
		"\"snapshot.storage.k8s.io\",\"kind\":\"VolumeSnapshot\",\"name\":\"%s\"}}}",
		strrchr(member_path("vol-b", false), '/') + 1);
	fake_put(restore, json);
	fake_delete(GROUP);
	run(MINUTE);
	assert_true(contains(fake_events(), "Warning GroupSnapshotDeletePending"));
	ASSERT_EQ(fake_count(&snapshot_type), 2);
	fake_merge(restore, "{\"spec\":{\"volumeName\":\"pv-x\"}}");
	run(10 * MINUTE);
	assert_nothing_left();
}

TEST(a_retained_group_stays)
{
	begin();
	fake_merge(CLASS, "{\"deletionPolicy\":\"Retain\"}");
	run(MINUTE);
	fake_delete(GROUP);
	run(MINUTE);
	ASSERT_FALSE(fake_has(GROUP));
	ASSERT_EQ(fake_count(&snapshot_type), 0);
	ASSERT_TRUE(fake_has(CONTENT));
	ASSERT_EQ(fake_service.n_groups, 1);
	ASSERT_EQ(fake_service.n_snapshots, 2);
}

TEST(a_group_that_was_brought_is_bound)
{
	begin();
	run(MINUTE);
	fake_merge(CONTENT, "{\"spec\":{\"deletionPolicy\":\"Retain\"}}");
	fake_merge(member_path("vol-a", true), "{\"spec\":{\"deletionPolicy\":\"Retain\"}}");
	fake_merge(member_path("vol-b", true), "{\"spec\":{\"deletionPolicy\":\"Retain\"}}");
	fake_delete(GROUP);
	run(MINUTE);
	fake_delete(CONTENT);
	fake_delete(member_path("vol-a", true));
	fake_delete(member_path("vol-b", true));
	run(MINUTE);
	ASSERT_EQ(fake_count(&snapshot_content_type), 0);
	ASSERT_EQ(fake_count(&group_content_type), 0);
	ASSERT_EQ(fake_service.n_snapshots, 2);

	fake_put(GROUPS "volumegroupsnapshotcontents/brought",
		 "{\"kind\":\"VolumeGroupSnapshotContent\",\"metadata\":{\"name\":\"brought\"},"
		 "\"spec\":{\"driver\":\"" DRIVER "\",\"deletionPolicy\":\"Delete\",\"source\":{"
		 "\"groupSnapshotHandles\":{\"volumeGroupSnapshotHandle\":\"group-groupsnapshot-"
		 "g1\","
		 "\"volumeSnapshotHandles\":[\"snap-groupsnapshot-g1-vol-a\","
		 "\"snap-groupsnapshot-g1-vol-b\"]}},\"volumeGroupSnapshotRef\":{\"namespace\":"
		 "\"default\",\"name\":\"both\"}}}");
	put_group("\"volumeGroupSnapshotContentName\":\"brought\"");
	run(MINUTE);
	assert_true(contains(fake_text(GROUP), "\"readyToUse\":true"));
	assert_true(contains(fake_text(GROUP), "\"brought\""));
	assert_true(contains(fake_text(member_path("vol-a", false)), "\"readyToUse\":true"));
	fake_delete(GROUP);
	run(MINUTE);
	assert_nothing_left();
}

TEST(what_cannot_be_cut_is_told_by_name)
{
	static const struct {
		const char *path, *patch, *text;
	} cases[] = {
		{ GROUP, "{\"spec\":{\"source\":{\"selector\":{\"matchLabels\":null}}}}",
		  "matchLabels is empty" },
		{ GROUP, "{\"spec\":{\"source\":{\"selector\":{\"matchLabels\":{\"app\":\"x\"}}}}}",
		  "no PVC has the labels" },
		{ GROUP, "{\"spec\":{\"volumeGroupSnapshotClassName\":\"none\"}}",
		  "volumegroupsnapshotclass none is not there" },
		{ CLASS, "{\"driver\":\"other.csi\"}", "0 default group snapshot classes" },
		{ "/api/v1/namespaces/default/persistentvolumeclaims/a",
		  "{\"status\":{\"phase\":\"Pending\"}}", "the PVC a is not yet bound" },
		{ "/api/v1/persistentvolumes/pv-a", "{\"spec\":{\"claimRef\":{\"uid\":\"x\"}}}",
		  "not bound to the PVC a" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		begin();
		fake_merge(cases[i].path, cases[i].patch);
		run(MINUTE);
		assert_true(contains(fake_events(), cases[i].text));
		assert_true(contains(fake_text(GROUP), "\"error\":{\"message\":\"Failed to "));
		ASSERT_EQ(fake_service.n_groups, 0);
		put_claim("a");
		put_class();
		fake_merge(GROUP, "{\"spec\":{\"volumeGroupSnapshotClassName\":\"groups\","
				  "\"source\":{\"selector\":{\"matchLabels\":{\"app\":\"db\"}}}}}");
		run(10 * MINUTE);
		assert_ready();
	}
}

TEST(a_failure_of_the_driver_is_told_to_the_user)
{
	begin();
	fake_service.group_error = ERR_FAILED_PRECONDITION;
	run(MINUTE);
	assert_true(contains(fake_events(), "Warning GroupSnapshotCreationFailed"));
	assert_true(contains(fake_text(GROUP), "the driver says no"));
	assert_null(strstr(fake_text(CONTENT), ANN_GROUP_BEING_CREATED));
	fake_service.group_error = ERR_OK;
	run(10 * MINUTE);
	assert_ready();
}

TEST(a_doubt_keeps_the_content_until_it_is_settled)
{
	begin();
	fake_service.group_error = ERR_UNAVAILABLE;
	run(MINUTE);
	assert_true(contains(fake_text(CONTENT), ANN_GROUP_BEING_CREATED));
	fake_delete(GROUP);
	run(10 * MINUTE);
	ASSERT_TRUE(fake_has(CONTENT));
	fake_service.group_error = ERR_OK;
	run(10 * MINUTE);
	assert_nothing_left();
}

/* As external-snapshotter leaves it for a moment: ready, and its own annotation not yet off. A mark
 * from then is one that it passes over. */
TEST(the_mark_comes_when_no_attempt_is_under_way)
{
	struct process p;

	begin();
	start(&p);
	fake_run(MINUTE);
	snapshotter_pause(p.snapshotter);
	fake_merge(CONTENT,
		   "{\"metadata\":{\"annotations\":{\"" ANN_GROUP_BEING_CREATED "\":\"yes\"}}}");
	fake_delete(GROUP);
	fake_run(MINUTE);
	assert_true(contains(fake_text(CONTENT), "deletionTimestamp"));
	assert_null(strstr(fake_text(CONTENT), ANN_GROUP_BEING_DELETED));
	fake_merge(CONTENT,
		   "{\"metadata\":{\"annotations\":{\"" ANN_GROUP_BEING_CREATED "\":null}}}");
	fake_run(MINUTE);
	assert_true(contains(fake_text(CONTENT), ANN_GROUP_BEING_DELETED));
	snapshotter_start(p.snapshotter);
	fake_run(MINUTE);
	stop(&p);
	assert_nothing_left();
}

/* A cluster that has snapshots, and no groups: their caches never sync. */
TEST(without_groups_the_rest_goes_on)
{
	struct process p;

	begin();
	fake_put(SNAPSHOTS "volumesnapshotclasses/snaps",
		 "{\"kind\":\"VolumeSnapshotClass\",\"metadata\":{\"name\":\"snaps\"},\"driver\":"
		 "\"" DRIVER "\",\"deletionPolicy\":\"Delete\"}");
	fake_put(SNAPSHOTS "namespaces/default/volumesnapshots/one",
		 "{\"kind\":\"VolumeSnapshot\",\"metadata\":{\"name\":\"one\",\"namespace\":"
		 "\"default\"},\"spec\":{\"volumeSnapshotClassName\":\"snaps\",\"source\":{"
		 "\"persistentVolumeClaimName\":\"a\"}}}");
	start(&p);
	fake_freeze_one(p.caches.groups);
	fake_freeze_one(p.caches.group_contents);
	fake_freeze_one(p.caches.group_classes);
	fake_run(MINUTE);
	assert_true(contains(fake_text(SNAPSHOTS "namespaces/default/volumesnapshots/one"),
			     "\"readyToUse\":true"));
	ASSERT_EQ(fake_service.n_groups, 0);
	stop(&p);
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

static void delete_group(void *arg)
{
	fake_delete(GROUP);
}

static bool live_through(struct fake_plan plan)
{
	struct process p;
	bool is_reached;

	fake_set_plan(plan);
	start(&p);
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
		ASSERT_TRUE(plan.at > 12);
	}
}

static void nothing_more(void)
{
}

static void ready_and_deleted(void)
{
	run(MINUTE);
	fake_delete(GROUP);
}

TEST(a_group_is_ready_after_any_trouble)
{
	try_every_step(nothing_more, NULL, assert_ready);
}

TEST(a_group_deleted_during_any_trouble_leaves_nothing)
{
	try_every_step(nothing_more, delete_group, assert_nothing_left);
}

TEST(a_deletion_comes_to_its_end_after_any_trouble)
{
	try_every_step(ready_and_deleted, NULL, assert_nothing_left);
}

RUN_TESTS(UNIT(a_group_is_cut_and_told_member_by_member),
	  UNIT(contents_are_marked_for_the_node_of_their_volumes),
	  UNIT(a_group_of_several_nodes_is_told_whose),
	  UNIT(a_group_that_is_deleted_takes_all_along),
	  UNIT(a_member_goes_with_its_group_and_not_before),
	  UNIT(a_group_stays_while_a_claim_is_made_of_a_member), UNIT(a_retained_group_stays),
	  UNIT(a_group_that_was_brought_is_bound), UNIT(what_cannot_be_cut_is_told_by_name),
	  UNIT(a_failure_of_the_driver_is_told_to_the_user),
	  UNIT(a_doubt_keeps_the_content_until_it_is_settled),
	  UNIT(the_mark_comes_when_no_attempt_is_under_way), UNIT(without_groups_the_rest_goes_on),
	  UNIT(a_group_is_ready_after_any_trouble),
	  UNIT(a_group_deleted_during_any_trouble_leaves_nothing),
	  UNIT(a_deletion_comes_to_its_end_after_any_trouble))
