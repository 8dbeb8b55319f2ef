/* SPDX-License-Identifier: Apache-2.0 */
/* Contents to snapshots and back to nothing: what is asked and written, and every step gone wrong
 * in every way. What the snapshot-controller does to contents is done here by hand. */
#include "check.h"
#include "control/secrets.h"
#include "control/snapshots.h"
#include "control/snapshotter.h"
#include "fake/kube.h"
#include "fake/service.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "kube/informer.h"

#include <stdio.h>
#include <string.h>

#define DRIVER "pool.cleat.csi"
#define CONTENTS "/apis/snapshot.storage.k8s.io/v1/volumesnapshotcontents/"
#define CONTENT CONTENTS "snapcontent-s1"
#define CLASS "/apis/snapshot.storage.k8s.io/v1/volumesnapshotclasses/snaps"
#define NAME "snapshot-s1"
#define MINUTE (60 * NS_PER_S)
#define STEPS_MAX 60

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

static void put_class(void)
{
	fake_put(CLASS, "{\"kind\":\"VolumeSnapshotClass\",\"metadata\":{\"name\":\"snaps\"},"
			"\"driver\":\"" DRIVER "\",\"deletionPolicy\":\"Delete\",\"parameters\":{"
			"\"freeze\":\"true\",\"csi.storage.k8s.io/snapshotter-secret-name\":\"x\","
			"\"csi.storage.k8s.io/snapshotter-secret-namespace\":\"y\"}}");
}

static void put_content(const char *source)
{
	autofree char *json = xasprintf(
		"{\"kind\":\"VolumeSnapshotContent\",\"metadata\":{\"name\":\"snapcontent-s1\","
		"\"finalizers\":[\"" SNAPSHOT_CONTENT_FINALIZER
		"\"]},\"spec\":{\"driver\":\"" DRIVER
		"\",\"deletionPolicy\":\"Delete\",\"volumeSnapshotClassName\":\"snaps\","
		"\"source\":{%s},\"volumeSnapshotRef\":{\"namespace\":\"default\",\"name\":"
		"\"snap\",\"uid\":\"s1\"}}}",
		source);

	fake_put(CONTENT, json);
}

static void begin(void)
{
	log_set_sink(drop_line, NULL);
	fake_reset();
	fake_service_reset();
	fake_service.caps =
		CSI_CAP_BIT(CSI_CTRL_CREATE_DELETE_SNAPSHOT) | CSI_CAP_BIT(CSI_CTRL_LIST_SNAPSHOTS);
	put_class();
	put_content("\"volumeHandle\":\"vol-1\"");
}

struct process {
	struct informer *contents, *classes;
	struct snapshotter *snapshotter;
};

static void start(struct process *p, struct snapshotter_options opts)
{
	p->contents = opts.contents = informer_new(NULL, &snapshot_content_type, NULL);
	p->classes = opts.classes = informer_new(NULL, &snapshot_class_type, NULL);
	opts.service = fake_service_get();
	opts.driver_name = DRIVER;
	p->snapshotter = snapshotter_new(&opts);
	snapshotter_start(p->snapshotter);
}

static void stop(struct process *p)
{
	snapshotter_pause(p->snapshotter);
	snapshotter_free(p->snapshotter);
	informer_free(p->contents);
	informer_free(p->classes);
}

static void run(int64_t limit_ns)
{
	struct process p;

	start(&p, (struct snapshotter_options){ 0 });
	fake_run(limit_ns);
	stop(&p);
}

/* As the snapshot-controller does for a VolumeSnapshot that is deleted. */
static void let_go(void)
{
	if (!fake_has(CONTENT))
		return;
	fake_merge(CONTENT, "{\"metadata\":{\"annotations\":{\"" ANN_BEING_DELETED "\":\"yes\"}}}");
	fake_delete(CONTENT);
}

static void assert_ready(void)
{
	const char *text = fake_text(CONTENT);

	assert_true(contains(text, "\"snapshotHandle\":\"snap-" NAME "\""));
	assert_true(contains(text, "\"readyToUse\":true"));
	assert_true(contains(text, "\"creationTime\":1700000000000000005"));
	assert_true(contains(text, "\"restoreSize\":1073741824"));
	assert_null(strstr(text, ANN_BEING_CREATED));
	assert_null(strstr(text, "\"error\""));
	ASSERT_EQ(fake_service.n_snapshots, 1);
	ASSERT_EQ(fake_service.n_cut, 1);
}

static void assert_nothing_left(void)
{
	ASSERT_FALSE(fake_has(CONTENT));
	ASSERT_EQ(fake_service.n_snapshots, 0);
}

TEST(a_content_is_cut)
{
	begin();
	run(MINUTE);
	assert_ready();
	assert_true(contains(fake_service.last_snapshot_request,
			     "name=" NAME " source=vol-1 params={freeze=true} secrets={}"));
	ASSERT_STR(fake_events(), "");
}

TEST(a_content_that_is_let_go_goes_with_its_snapshot)
{
	begin();
	run(MINUTE);
	let_go();
	run(MINUTE);
	assert_nothing_left();
}

TEST(a_kept_one_loses_the_finalizer_alone)
{
	begin();
	run(MINUTE);
	fake_merge(CONTENT, "{\"spec\":{\"deletionPolicy\":\"Retain\"}}");
	let_go();
	run(MINUTE);
	ASSERT_FALSE(fake_has(CONTENT));
	ASSERT_EQ(fake_service.n_snapshots, 1);
}

TEST(one_deleted_by_hand_waits_for_its_snapshot)
{
	begin();
	run(MINUTE);
	fake_delete(CONTENT);
	run(MINUTE);
	ASSERT_TRUE(fake_has(CONTENT));
	ASSERT_EQ(fake_service.n_snapshots, 1);
	let_go();
	run(MINUTE);
	assert_nothing_left();
}

/* The group's handle is what is deleted, by whoever has the group. */
TEST(members_of_groups_are_not_deleted_singly)
{
	begin();
	run(MINUTE);
	fake_merge(CONTENT, "{\"status\":{\"volumeGroupSnapshotHandle\":\"g\"}}");
	let_go();
	run(MINUTE);
	ASSERT_FALSE(fake_has(CONTENT));
	ASSERT_EQ(fake_service.n_snapshots, 1);
}

TEST(others_are_left_alone)
{
	begin();
	fake_merge(CONTENT, "{\"spec\":{\"driver\":\"other.csi\"}}");
	let_go();
	run(MINUTE);
	ASSERT_TRUE(fake_has(CONTENT));
	ASSERT_EQ(fake_reconciles(), 0);
}

TEST(options_reach_the_request)
{
	struct process p;

	begin();
	start(&p, (struct snapshotter_options){
			  .name_prefix = "s", .name_digits = 1, .extra_create_metadata = true });
	fake_run(MINUTE);
	stop(&p);
	assert_true(contains(fake_service.last_snapshot_request,
			     "name=s-s source=vol-1 params={"
			     "csi.storage.k8s.io/volumesnapshot/name=snap,"
			     "csi.storage.k8s.io/volumesnapshot/namespace=default,"
			     "csi.storage.k8s.io/volumesnapshotcontent/name=snapcontent-s1,"
			     "freeze=true}"));
}

TEST(secrets_are_those_that_the_content_notes)
{
	begin();
	fake_put("/api/v1/namespaces/sec/secrets/key",
		 "{\"kind\":\"Secret\",\"metadata\":{\"name\":\"key\",\"namespace\":\"sec\"},"
		 "\"data\":{\"user\":\"eHl6\"}}");
	fake_merge(CONTENT, "{\"metadata\":{\"annotations\":{\"" ANN_SNAPSHOT_SECRET_NAME
			    "\":\"key\",\"" ANN_SNAPSHOT_SECRET_NS "\":\"sec\"}}}");
	run(MINUTE);
	assert_ready();
	assert_true(contains(fake_service.last_snapshot_request, "secrets={user=xyz}"));
	let_go();
	run(MINUTE);
	assert_nothing_left();
	ASSERT_STR(fake_service.last_delete_secrets, "{user=xyz}");
}

TEST(a_secret_that_is_gone_does_not_keep_a_snapshot)
{
	begin();
	run(MINUTE);
	fake_merge(CONTENT, "{\"metadata\":{\"annotations\":{\"" ANN_SNAPSHOT_SECRET_NAME
			    "\":\"key\",\"" ANN_SNAPSHOT_SECRET_NS "\":\"sec\"}}}");
	let_go();
	run(MINUTE);
	assert_nothing_left();
}

TEST(what_is_not_ready_is_asked_for_again)
{
	begin();
	fake_service.ready_after = 3;
	run(NS_PER_S / 2);
	assert_true(contains(fake_text(CONTENT), "\"readyToUse\":false"));
	assert_true(contains(fake_text(CONTENT), "\"snapshotHandle\":\"snap-" NAME "\""));
	run(MINUTE);
	assert_ready();
}

/* Final: the next one asks anew, and nothing keeps the content from going. */
TEST(a_refusal_is_told_and_forgotten)
{
	begin();
	fake_service.snapshot_error = ERR_INVALID_ARGUMENT;
	run(10 * NS_PER_S);
	assert_true(contains(fake_events(),
			     "Warning SnapshotCreationFailed: Failed to create snapshot: failed to "
			     "take snapshot of the volume vol-1: \"rpc error: code = "
			     "InvalidArgument desc = the driver says no\""));
	assert_true(contains(fake_events(), "Warning SnapshotContentCheckandUpdateFailed: "));
	assert_true(contains(fake_text(CONTENT), "\"error\":{\"message\":\"Failed to c"));
	assert_true(contains(fake_text(CONTENT), "\"readyToUse\":false"));
	assert_null(strstr(fake_text(CONTENT), ANN_BEING_CREATED));
	let_go();
	run(MINUTE);
	assert_nothing_left();
}

TEST(a_doubt_keeps_the_content_until_it_is_settled)
{
	begin();
	fake_service.snapshot_error = ERR_UNAVAILABLE;
	run(10 * NS_PER_S);
	assert_true(contains(fake_text(CONTENT), ANN_BEING_CREATED));
	let_go();
	run(10 * MINUTE);
	ASSERT_TRUE(fake_has(CONTENT));
	fake_service.snapshot_error = ERR_OK;
	run(10 * MINUTE);
	assert_nothing_left();
	ASSERT_EQ(fake_service.n_cut, 1);
	ASSERT_EQ(fake_service.n_undone, 1);
}

/* The first call's answer got lost, the class with its parameters is deleted, then the snapshot. */
TEST(a_class_that_is_gone_keeps_nothing)
{
	begin();
	fake_set_plan((struct fake_plan){ .at = 5, .fault = FAKE_KILL_AFTER });
	run(NS_PER_S);
	fake_set_plan((struct fake_plan){ 0 });
	ASSERT_EQ(fake_service.n_snapshots, 1);
	assert_true(contains(fake_text(CONTENT), ANN_BEING_CREATED));
	fake_delete(CLASS);
	ASSERT_FALSE(fake_has(CLASS));
	let_go();
	run(MINUTE);
	assert_nothing_left();

	begin();
	fake_service.snapshot_error = ERR_UNAVAILABLE;
	run(NS_PER_S);
	fake_delete(CLASS);
	let_go();
	fake_service.snapshot_error = ERR_INVALID_ARGUMENT; /* of a call without parameters */
	run(MINUTE);
	assert_true(contains(fake_text(CONTENT), ANN_BEING_CREATED));
	put_class();
	fake_service.snapshot_error = ERR_OK;
	run(10 * MINUTE);
	assert_nothing_left();
}

TEST(a_class_that_comes_later_wakes_its_contents)
{
	struct process p;

	begin();
	fake_delete(CLASS);
	start(&p, (struct snapshotter_options){ 0 });
	fake_run(4 * MINUTE);
	assert_true(contains(fake_events(), "volumesnapshotclass snaps is not there"));
	put_class();
	fake_run(NS_PER_S);
	assert_ready();
	stop(&p);
}

TEST(wrong_classes_are_refused_by_name)
{
	begin();
	fake_merge(CLASS, "{\"driver\":\"other.csi\"}");
	run(MINUTE);
	assert_true(contains(fake_events(), "volumesnapshotclass snaps is of driver 'other.csi'"));
	begin();
	fake_merge(CLASS, "{\"parameters\":{\"csi.storage.k8s.io/fstype\":\"x\"}}");
	run(MINUTE);
	assert_true(contains(fake_events(), "unknown parameter 'csi.storage.k8s.io/fstype'"));
	ASSERT_EQ(fake_service.n_snapshots, 0);
}

TEST(a_snapshot_that_there_is_is_looked_up)
{
	begin();
	put_content("\"snapshotHandle\":\"snap-" NAME "\"");
	fake_service_put_snapshot("other");
	fake_service_put_snapshot(NAME);
	fake_service.ignores_list_filter = true;
	fake_put("/api/v1/namespaces/default/secrets/list-snap",
		 "{\"kind\":\"Secret\",\"metadata\":{\"name\":\"list-snap\",\"namespace\":"
		 "\"default\"},\"data\":{\"user\":\"eHl6\"}}");
	fake_merge(CLASS, "{\"parameters\":{\"csi.storage.k8s.io/snapshotter-list-secret-name\":"
			  "\"list-${volumesnapshot.name}\",\"csi.storage.k8s.io/"
			  "snapshotter-list-secret-namespace\":\"${volumesnapshot.namespace}\"}}");
	run(MINUTE);
	assert_true(contains(fake_text(CONTENT), "\"snapshotHandle\":\"snap-" NAME "\""));
	assert_true(contains(fake_text(CONTENT), "\"readyToUse\":true"));
	ASSERT_STR(fake_service.last_list_secrets, "{user=xyz}");
	ASSERT_EQ(fake_service.n_cut, 0);
	let_go();
	run(MINUTE);
	ASSERT_FALSE(fake_has(CONTENT));
	ASSERT_FALSE(fake_service_has_snapshot(NAME));
	ASSERT_TRUE(fake_service_has_snapshot("other"));
}

TEST(one_that_there_is_not_is_an_error)
{
	begin();
	put_content("\"snapshotHandle\":\"snap-none\"");
	run(MINUTE);
	assert_true(contains(fake_events(),
			     "Warning SnapshotContentCheckandUpdateFailed: Failed to "
			     "check and update snapshot content: failed to list "
			     "snapshot for content snapcontent-s1: \"can not find "
			     "snapshot for snapshotID snap-none\""));
}

TEST(a_driver_without_a_list_is_believed)
{
	begin();
	fake_service.caps = CSI_CAP_BIT(CSI_CTRL_CREATE_DELETE_SNAPSHOT);
	put_content("\"snapshotHandle\":\"snap-any\"");
	run(MINUTE);
	assert_true(contains(fake_text(CONTENT), "\"snapshotHandle\":\"snap-any\""));
	assert_true(contains(fake_text(CONTENT), "\"readyToUse\":true"));
	assert_true(contains(fake_text(CONTENT), "\"creationTime\":"));
}

TEST(one_that_was_never_bound_goes_when_it_is_deleted)
{
	begin();
	put_content("\"snapshotHandle\":\"snap-" NAME "\"");
	fake_service_put_snapshot(NAME);
	fake_merge(CONTENT, "{\"spec\":{\"volumeSnapshotRef\":{\"uid\":null}},\"status\":{"
			    "\"snapshotHandle\":\"snap-" NAME "\",\"readyToUse\":true}}");
	fake_delete(CONTENT);
	run(MINUTE);
	assert_nothing_left();
}

TEST(a_deletion_that_fails_is_told)
{
	begin();
	run(MINUTE);
	let_go();
	fake_service.snapshot_delete_error = ERR_FAILED_PRECONDITION;
	run(MINUTE);
	assert_true(
		contains(fake_events(), "Warning SnapshotDeleteError: Failed to delete snapshot"));
	ASSERT_EQ(fake_service.n_snapshots, 1);
	fake_service.snapshot_delete_error = ERR_OK;
	run(10 * MINUTE);
	assert_nothing_left();
}

TEST(another_driver_behind_the_address_gets_no_call)
{
	begin();
	fake_service.name = "other.csi";
	run(MINUTE);
	assert_true(contains(fake_events(), "is 'other.csi' now"));
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
	{ FAKE_FAIL, ERR_INTERNAL },
	{ FAKE_FAIL, ERR_PERMISSION_DENIED },
	{ FAKE_LOSE, ERR_OK },
	{ FAKE_KILL, ERR_OK },
	{ FAKE_KILL_AFTER, ERR_OK },
};
/* clang-format on */

static void let_go_now(void *arg)
{
	let_go();
}

static bool live_through(struct fake_plan plan)
{
	struct process p;
	bool is_reached;

	fake_set_plan(plan);
	start(&p, (struct snapshotter_options){ 0 });
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
		ASSERT_TRUE(plan.at > 4);
	}
}

static void nothing_more(void)
{
}

static void cut_slowly(void)
{
	fake_service.ready_after = 2;
}

static void cut_and_let_go(void)
{
	run(MINUTE);
	let_go();
}

TEST(a_content_is_ready_after_any_trouble)
{
	try_every_step(nothing_more, NULL, assert_ready);
	try_every_step(cut_slowly, NULL, assert_ready);
}

TEST(a_content_let_go_during_any_trouble_leaves_nothing)
{
	try_every_step(nothing_more, let_go_now, assert_nothing_left);
	try_every_step(cut_slowly, let_go_now, assert_nothing_left);
}

TEST(a_deletion_comes_to_its_end_after_any_trouble)
{
	try_every_step(cut_and_let_go, NULL, assert_nothing_left);
}

RUN_TESTS(UNIT(a_content_is_cut), UNIT(a_content_that_is_let_go_goes_with_its_snapshot),
	  UNIT(a_kept_one_loses_the_finalizer_alone),
	  UNIT(one_deleted_by_hand_waits_for_its_snapshot),
	  UNIT(members_of_groups_are_not_deleted_singly), UNIT(others_are_left_alone),
	  UNIT(options_reach_the_request), UNIT(secrets_are_those_that_the_content_notes),
	  UNIT(a_secret_that_is_gone_does_not_keep_a_snapshot),
	  UNIT(what_is_not_ready_is_asked_for_again), UNIT(a_refusal_is_told_and_forgotten),
	  UNIT(a_doubt_keeps_the_content_until_it_is_settled),
	  UNIT(a_class_that_is_gone_keeps_nothing),
	  UNIT(a_class_that_comes_later_wakes_its_contents),
	  UNIT(wrong_classes_are_refused_by_name), UNIT(a_snapshot_that_there_is_is_looked_up),
	  UNIT(one_that_there_is_not_is_an_error), UNIT(a_driver_without_a_list_is_believed),
	  UNIT(one_that_was_never_bound_goes_when_it_is_deleted),
	  UNIT(a_deletion_that_fails_is_told), UNIT(another_driver_behind_the_address_gets_no_call),
	  UNIT(a_content_is_ready_after_any_trouble),
	  UNIT(a_content_let_go_during_any_trouble_leaves_nothing),
	  UNIT(a_deletion_comes_to_its_end_after_any_trouble))
