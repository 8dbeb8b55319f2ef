/* SPDX-License-Identifier: Apache-2.0 */
/* Claims that ask for more than they have: the status, the PV, the driver, the Events. */
#include "check.h"
#include "control/resizer-internal.h"
#include "grown.h"

#include "base/mem.h"
#include "base/str.h"

#define RESIZE_STATUS "status.allocatedResourceStatuses.storage"
#define ALLOCATED "status.allocatedResources.storage"
#define CAPACITY "status.capacity.storage"
#define PV_CAPACITY "spec.capacity.storage"

static const char *note(void)
{
	autojson struct json_doc *doc = NULL;
	const char *text = fake_text(PV);
	static char found[64];
	struct err err;

	ASSERT_OK(json_parse(text, strlen(text), &doc, &err), &err);
	(void)snprintf(found, sizeof(found), "%s",
		       str_or(json_get_string(json_path(json_root(doc), "metadata.annotations"),
					      ANN_PRE_RESIZE),
			      ""));
	return found;
}

/* A process whose claim asks for so much, after so long with a driver that says the code to that.
 */
static void start_growing(struct resize_process *p, const char *size, enum err_code says,
			  int64_t limit_ns)
{
	grown_begin();
	fake_service.expand_error = says;
	grown_ask(size);
	grown_start(p, (struct resizer_options){ 0 });
	fake_run(limit_ns);
}

TEST(a_volume_grows_and_then_waits_for_its_node)
{
	grown_begin();
	grown_ask("1.5Gi");
	grown_run(MINUTE);
	ASSERT_STR(fake_service.last_expand,
		   "id-" PV_NAME " bytes=1610612736 mount:1:xfs:noatime secrets={}");
	ASSERT_STR(grown_at(CLAIM, RESIZE_STATUS), "NodeResizePending");
	ASSERT_STR(grown_at(CLAIM, ALLOCATED), "1.5Gi");
	ASSERT_STR(grown_at(CLAIM, CAPACITY), "1Gi");
	ASSERT_STR(grown_at(PV, PV_CAPACITY), "1536Mi");
	ASSERT_STR(note(), "1Gi");
	ASSERT_STR(grown_conditions(), "Unused,Resizing,FileSystemResizePending");
	ASSERT_STR(fake_events(),
		   "Normal Resizing: External resizer is resizing volume " PV_NAME "\n"
		   "Normal FileSystemResizeRequired: Require file system resize of volume on "
		   "node\n");
}

/* Three questions about the driver, two objects read, three writes and the call. */
TEST(growing_costs_three_writes)
{
	grown_begin();
	grown_ask("2Gi");
	fake_set_plan((struct fake_plan){ 0 });
	grown_run(MINUTE);
	ASSERT_EQ(fake_steps(), 3 + 2 + 3 + 1);
	ASSERT_EQ(fake_recent_reads(), 2); /* which costs etcd nothing */
	ASSERT_EQ(fake_reconciles(), 1);
}

TEST(what_is_older_than_the_cache_is_read_anew)
{
	grown_begin();
	fake_serve_old();
	grown_ask("2Gi");
	fake_set_plan((struct fake_plan){ 0 });
	grown_run(MINUTE);
	ASSERT_STR(grown_at(CLAIM, ALLOCATED), "2Gi");
	ASSERT_EQ(fake_recent_reads(), 2);
	ASSERT_EQ(fake_steps(), 3 + 1 + 2 + 3 + 1);
	ASSERT_EQ(fake_reconciles(), 1);
}

/* Nothing says then that the claim has changed since. */
TEST(what_was_begun_goes_on_by_what_is_written)
{
	grown_begin();
	grown_ask("2Gi");
	fake_merge(CLAIM, "{\"status\":{\"allocatedResources\":{\"storage\":\"2Gi\"},"
			  "\"allocatedResourceStatuses\":{\"storage\":"
			  "\"ControllerResizeInProgress\"}}}");
	fake_set_plan((struct fake_plan){ 0 });
	grown_run(MINUTE);
	ASSERT_EQ(fake_service.n_expanded, 1);
	ASSERT_EQ(fake_recent_reads(), 0);
}

TEST(when_kubelet_is_done_the_note_goes)
{
	struct resize_process p;

	start_growing(&p, "2Gi", ERR_OK, MINUTE);
	ASSERT_TRUE(grown_on_node());
	fake_run(MINUTE);
	grown_stop(&p);
	ASSERT_STR(note(), "");
	ASSERT_STR(grown_at(PV, PV_CAPACITY), "2Gi");
	ASSERT_EQ(fake_service.n_expanded, 1);
}

TEST(what_needs_no_node_is_done_at_once)
{
	grown_begin();
	fake_service.needs_node = false;
	fake_service.expand_bytes = UINT64_C(3) << 30;
	grown_ask("2Gi");
	grown_run(MINUTE);
	ASSERT_STR(grown_at(CLAIM, CAPACITY), "3Gi");
	ASSERT_STR(grown_at(CLAIM, ALLOCATED), "2Gi");
	ASSERT_STR(grown_at(CLAIM, RESIZE_STATUS), "");
	ASSERT_STR(grown_at(PV, PV_CAPACITY), "3Gi");
	ASSERT_STR(note(), "");
	ASSERT_STR(grown_conditions(), "Unused");
	assert_true(contains(fake_text(CLAIM), "\"" ANN_NODE_NOT_REQUIRED "\":\"true\""));
	assert_true(
		contains(fake_events(), "Normal VolumeResizeSuccessful: Resize volume succeeded"));
}

TEST(the_next_growth_takes_the_mark_of_the_last_off)
{
	grown_begin();
	fake_service.needs_node = false;
	grown_ask("2Gi");
	grown_run(MINUTE);
	fake_service.needs_node = true;
	grown_ask("4Gi");
	grown_run(MINUTE);
	ASSERT_STR(grown_at(CLAIM, ALLOCATED), "4Gi");
	ASSERT_FALSE(strstr(fake_text(CLAIM), ANN_NODE_NOT_REQUIRED));
	ASSERT_STR(note(), "2Gi");
}

TEST(a_claim_that_nobody_else_may_grow_is_left_alone)
{
	static const char *const pvs[] = {
		"{\"spec\":{\"csi\":{\"driver\":\"other\"}}}",
		"{\"spec\":{\"claimRef\":{\"uid\":\"other\"}}}",
		"{\"spec\":{\"claimRef\":{\"namespace\":\"other\"}}}",
		"{\"spec\":{\"claimRef\":null}}",
	};
	static const char *const claims[] = {
		"{\"status\":{\"phase\":\"Lost\"}}",
		"{\"spec\":{\"volumeName\":\"\"}}",
		"{\"spec\":{\"volumeName\":\"another\"}}",
		"{\"spec\":{\"resources\":{\"requests\":{\"storage\":\"1Gi\"}}}}",
		"{\"spec\":{\"resources\":{\"requests\":{\"storage\":\"512Mi\"}}}}",
		"{\"spec\":{\"resources\":{\"requests\":{\"storage\":\"many\"}}}}",
		"{\"status\":{\"capacity\":null}}",
	};

	for (size_t i = 0; i < ARRAY_LEN(pvs) + ARRAY_LEN(claims); i++) {
		grown_begin();
		fake_employ_manager(false);
		grown_ask("2Gi");
		if (i < ARRAY_LEN(pvs))
			fake_merge(PV, pvs[i]);
		else
			fake_merge(CLAIM, claims[i - ARRAY_LEN(pvs)]);
		fake_set_plan((struct fake_plan){ 0 });
		grown_run(MINUTE);
		ASSERT_EQ(fake_steps(), 0);
	}
}

TEST(a_claim_that_is_being_deleted_grows_all_the_same)
{
	grown_begin();
	grown_ask("2Gi");
	fake_employ_manager(false);
	fake_delete(CLAIM);
	grown_run(MINUTE);
	ASSERT_STR(grown_at(CLAIM, RESIZE_STATUS), "NodeResizePending");
}

TEST(secrets_and_a_raw_block_volume_are_the_pvs)
{
	grown_begin();
	fake_put("/api/v1/namespaces/ops/secrets/key",
		 "{\"kind\":\"Secret\",\"data\":{\"user\":\"eHl6\"}}");
	fake_merge(PV, "{\"spec\":{\"volumeMode\":\"Block\",\"accessModes\":[\"ReadWriteMany\"],"
		       "\"csi\":{\"controllerExpandSecretRef\":{\"name\":\"key\",\"namespace\":"
		       "\"ops\"}}}}");
	grown_ask("2Gi");
	grown_run(MINUTE);
	ASSERT_STR(fake_service.last_expand,
		   "id-" PV_NAME " bytes=2147483648 block:5: secrets={user=xyz}");
}

TEST(a_missing_secret_is_told_and_nothing_is_asked)
{
	grown_begin();
	fake_merge(PV, "{\"spec\":{\"csi\":{\"controllerExpandSecretRef\":{\"name\":\"key\","
		       "\"namespace\":\"ops\"}}}}");
	grown_ask("2Gi");
	grown_run(NS_PER_S / 2);
	ASSERT_STR(fake_service.last_expand, "");
	assert_true(contains(fake_events(), "Warning VolumeResizeFailed: "));
	assert_true(contains(fake_events(), "secret ops/key"));
	ASSERT_STR(grown_conditions(), "Unused,Resizing");
}

TEST(a_final_failure_is_a_condition_and_a_smaller_request_is_another)
{
	struct resize_process p;

	start_growing(&p, "8Gi", ERR_INTERNAL, 10 * NS_PER_S);
	ASSERT_STR(grown_conditions(), "Unused,Resizing,ControllerResizeError");
	ASSERT_STR(grown_at(CLAIM, RESIZE_STATUS), "ControllerResizeInProgress");
	assert_true(contains(fake_text(CLAIM), "\"failed to expand pvc with the driver says no\""));
	assert_true(contains(fake_events(),
			     "Warning VolumeResizeFailed: resize volume \"" PV_NAME
			     "\" by resizer \"" DRIVER "\" failed: the driver says no"));
	fake_service.expand_error = ERR_OK;
	grown_ask("2Gi");
	fake_run(MINUTE);
	grown_stop(&p);
	ASSERT_STR(grown_at(CLAIM, ALLOCATED), "2Gi");
	ASSERT_STR(grown_conditions(), "Unused,Resizing,FileSystemResizePending");
	ASSERT_EQ(fake_service.n_expanded, 1);
}

/* Who starts anew does not know how the call ended: it is asked for again before anything else. */
TEST(what_was_begun_goes_on_where_nobody_knows_how_it_ended)
{
	grown_begin();
	fake_service.expand_error = ERR_INTERNAL;
	grown_ask("8Gi");
	grown_run(10 * NS_PER_S);
	fake_service.expand_error = ERR_OK;
	grown_ask("2Gi");
	grown_run(MINUTE);
	ASSERT_STR(grown_at(CLAIM, ALLOCATED), "8Gi");
	ASSERT_STR(grown_at(PV, PV_CAPACITY), "8Gi");
}

TEST(what_is_in_doubt_is_asked_for_again)
{
	static const enum err_code codes[] = { ERR_CANCELLED, ERR_DEADLINE_EXCEEDED,
					       ERR_UNAVAILABLE, ERR_ABORTED,
					       ERR_RESOURCE_EXHAUSTED };

	for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
		struct resize_process p;

		start_growing(&p, "8Gi", codes[i], 10 * NS_PER_S);
		ASSERT_STR(grown_conditions(), "Unused,Resizing");
		grown_ask("2Gi");
		fake_run(10 * NS_PER_S);
		assert_true(contains(fake_service.last_expand, "bytes=8589934592"));
		fake_service.expand_error = ERR_OK;
		fake_run(MINUTE);
		grown_stop(&p);
		ASSERT_STR(grown_at(CLAIM, ALLOCATED), "8Gi");
	}
}

/* No kubelet comes by to wake the claim for the rest of what it asks for. */
TEST(what_was_begun_is_done_and_then_what_is_asked_for_by_now)
{
	struct resize_process p;

	grown_begin();
	fake_service.needs_node = false;
	fake_service.expand_error = ERR_DEADLINE_EXCEEDED;
	grown_ask("2Gi");
	grown_start(&p, (struct resizer_options){ 0 });
	fake_run(NS_PER_S / 2);
	grown_ask("4Gi");
	fake_run(NS_PER_S / 2);
	fake_service.expand_error = ERR_OK;
	fake_run(MINUTE);
	grown_stop(&p);
	ASSERT_STR(grown_at(CLAIM, CAPACITY), "4Gi");
	ASSERT_EQ(fake_service.n_expanded, 2);
}

TEST(what_is_infeasible_rests_until_it_is_another_request)
{
	static const enum err_code codes[] = { ERR_INVALID_ARGUMENT, ERR_OUT_OF_RANGE,
					       ERR_NOT_FOUND };

	for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
		struct resize_process p;

		start_growing(&p, "8Gi", codes[i], NS_PER_S);
		ASSERT_STR(grown_at(CLAIM, RESIZE_STATUS), "ControllerResizeInfeasible");
		ASSERT_STR(grown_conditions(), "Unused,Resizing,ControllerResizeError");
		fake_service.last_expand[0] = '\0';
		fake_run(4 * MINUTE);
		ASSERT_STR(fake_service.last_expand, "");
		fake_run(2 * MINUTE);
		assert_true(contains(fake_service.last_expand, "bytes=8589934592"));
		fake_service.expand_error = ERR_OK;
		grown_ask("2Gi");
		fake_run(NS_PER_S);
		grown_stop(&p);
		ASSERT_STR(grown_at(CLAIM, ALLOCATED), "2Gi");
		ASSERT_STR(grown_conditions(), "Unused,Resizing,FileSystemResizePending");
	}
}

TEST(a_request_taken_back_altogether_leaves_the_claim_alone)
{
	grown_begin();
	fake_service.expand_error = ERR_OUT_OF_RANGE;
	grown_ask("8Gi");
	grown_run(NS_PER_S);
	grown_ask("1Gi");
	fake_set_plan((struct fake_plan){ 0 });
	grown_run(10 * MINUTE);
	ASSERT_EQ(fake_steps(), 0);
}

/* ---- pods ---- */

static void put_pod(const char *name, const char *volume, const char *phase)
{
	autofree char *path = xasprintf("/api/v1/namespaces/default/pods/%s", name);
	autofree char *text =
		xasprintf("{\"kind\":\"Pod\",\"metadata\":{\"name\":\"%s\"},\"spec\":{\"volumes\":["
			  "{\"name\":\"tmp\",\"emptyDir\":{}},%s]},\"status\":{\"phase\":\"%s\"}}",
			  name, volume, phase);

	fake_put(path, text);
}

#define OF_CLAIM "{\"name\":\"v\",\"persistentVolumeClaim\":{\"claimName\":\"data-0\"}}"
#define OF_OTHER "{\"name\":\"v\",\"persistentVolumeClaim\":{\"claimName\":\"data-1\"}}"
#define MADE_FOR_POD "{\"name\":\"0\",\"ephemeral\":{}}"

static bool is_asked_beside(const char *name, const char *volume, const char *phase,
			    struct resizer_options opts)
{
	struct resize_process p;

	grown_begin();
	put_pod("a", OF_OTHER, "Running");
	put_pod("b", OF_OTHER, "Running");
	put_pod(name, volume, phase);
	fake_service.expand_error = ERR_FAILED_PRECONDITION;
	grown_ask("2Gi");
	grown_start(&p, opts);
	fake_run(NS_PER_S / 2);
	ASSERT_TRUE(fake_service.last_expand[0]);
	fake_service.last_expand[0] = '\0';
	fake_run(MINUTE);
	grown_stop(&p);
	return fake_service.last_expand[0];
}

TEST(a_driver_that_grows_nothing_in_use_is_not_asked_beside_a_pod)
{
	ASSERT_FALSE(is_asked_beside("z", OF_CLAIM, "Running", (struct resizer_options){ 0 }));
	assert_true(contains(fake_events(), "Warning VolumeResizeFailed: Unable to expand "
					    "default/data-0 because CSI driver " DRIVER
					    " only supports offline expansion and volume is "
					    "currently in-use"));
	ASSERT_FALSE(
		is_asked_beside("data", MADE_FOR_POD, "Pending", (struct resizer_options){ 0 }));
	ASSERT_TRUE(is_asked_beside("z", OF_CLAIM, "Succeeded", (struct resizer_options){ 0 }));
	ASSERT_TRUE(is_asked_beside("z", OF_CLAIM, "Failed", (struct resizer_options){ 0 }));
	ASSERT_TRUE(is_asked_beside("z", OF_OTHER, "Running", (struct resizer_options){ 0 }));
	ASSERT_TRUE(
		is_asked_beside("other", MADE_FOR_POD, "Running", (struct resizer_options){ 0 }));
	ASSERT_TRUE(is_asked_beside("z", OF_CLAIM, "Running",
				    (struct resizer_options){ .ignores_use = true }));
}

TEST(when_the_pod_has_ended_the_volume_grows)
{
	struct resize_process p;

	grown_begin();
	put_pod("web", OF_CLAIM, "Running");
	fake_service.expand_error = ERR_FAILED_PRECONDITION;
	grown_ask("2Gi");
	grown_start(&p, (struct resizer_options){ 0 });
	fake_run(MINUTE);
	ASSERT_STR(grown_conditions(), "Unused,Resizing,ControllerResizeError");
	fake_service.expand_error = ERR_OK;
	fake_merge(POD, "{\"status\":{\"phase\":\"Succeeded\"}}");
	fake_run(5 * MINUTE);
	grown_stop(&p);
	ASSERT_STR(grown_at(CLAIM, RESIZE_STATUS), "NodeResizePending");
}

/* ---- drivers ---- */

TEST(less_than_was_asked_for_is_not_believed)
{
	grown_begin();
	fake_service.expand_bytes = UINT64_C(1) << 30;
	grown_ask("2Gi");
	grown_run(NS_PER_S / 2);
	ASSERT_STR(grown_at(PV, PV_CAPACITY), "1Gi");
	assert_true(contains(fake_events(), "asked for 2Gi the driver says that it has made it "
					    "1Gi"));
}

TEST(a_driver_whose_nodes_do_all_is_not_called)
{
	struct resize_process p;

	grown_begin();
	fake_service.caps = CSI_CAP_BIT(CSI_CTRL_CREATE_DELETE_VOLUME);
	grown_ask("2Gi");
	grown_start(&p, (struct resizer_options){ .grows_on_node = true });
	fake_run(MINUTE);
	grown_stop(&p);
	ASSERT_STR(fake_service.last_expand, "");
	ASSERT_STR(grown_at(CLAIM, RESIZE_STATUS), "NodeResizePending");
	ASSERT_STR(grown_at(PV, PV_CAPACITY), "2Gi");
}

TEST(a_driver_that_grows_no_more_is_named)
{
	grown_begin();
	fake_service.caps = CSI_CAP_BIT(CSI_CTRL_CREATE_DELETE_VOLUME);
	grown_ask("2Gi");
	grown_run(NS_PER_S / 2);
	assert_true(contains(fake_events(), "does not expand volumes any more"));
	ASSERT_STR(grown_at(PV, PV_CAPACITY), "1Gi");
}

TEST(another_driver_behind_the_address_is_told_nothing)
{
	grown_begin();
	fake_service.name = "someone.else";
	grown_ask("2Gi");
	grown_run(MINUTE);
	ASSERT_STR(fake_service.last_expand, "");
	ASSERT_STR(grown_at(CLAIM, ALLOCATED), "");
}

/* ---- others who write ---- */

TEST(two_growths_follow_each_other)
{
	struct resize_process p;

	start_growing(&p, "2Gi", ERR_OK, MINUTE);
	grown_ask("4Gi");
	fake_run(MINUTE);
	ASSERT_STR(grown_at(CLAIM, ALLOCATED), "2Gi");
	ASSERT_TRUE(grown_on_node());
	fake_run(MINUTE);
	ASSERT_STR(grown_at(CLAIM, ALLOCATED), "4Gi");
	ASSERT_TRUE(grown_on_node());
	fake_run(MINUTE);
	grown_stop(&p);
	ASSERT_STR(grown_at(CLAIM, CAPACITY), "4Gi");
	ASSERT_STR(note(), "");
	ASSERT_EQ(fake_service.n_expanded, 2);
}

TEST(what_a_node_gave_up_is_tried_once_more_after_a_while)
{
	struct resize_process p;

	start_growing(&p, "2Gi", ERR_OK, MINUTE);
	fake_merge(CLAIM, "{\"status\":{\"allocatedResourceStatuses\":{\"storage\":"
			  "\"NodeResizeInfeasible\"}}}");
	fake_run(9 * MINUTE);
	ASSERT_STR(grown_at(CLAIM, RESIZE_STATUS), "NodeResizeInfeasible");
	fake_run(2 * MINUTE);
	grown_stop(&p);
	ASSERT_STR(grown_at(CLAIM, RESIZE_STATUS), "NodeResizePending");
	ASSERT_EQ(fake_service.n_expanded, 2);
}

/* Between the call and its record somebody else labels the claim. */
static void label(void *arg)
{
	fake_merge(CLAIM, "{\"metadata\":{\"labels\":{\"team\":\"red\"}}}");
	fake_merge(PV, "{\"metadata\":{\"labels\":{\"team\":\"red\"}}}");
}

TEST(a_label_written_at_any_step_costs_no_second_call)
{
	for (unsigned at = 6; at <= 9; at++) {
		grown_begin();
		grown_ask("2Gi");
		fake_set_plan((struct fake_plan){ .at = at, .hook = label });
		grown_run(MINUTE);
		ASSERT_STR(grown_at(CLAIM, RESIZE_STATUS), "NodeResizePending");
		ASSERT_STR(grown_at(CLAIM, "metadata.labels.team"), "red");
		ASSERT_STR(grown_at(PV, PV_CAPACITY), "2Gi");
		ASSERT_EQ(fake_service.n_expanded, 1);
	}
}

/* ... or another resizer has begun something else by then. */
static void begin_another(void *arg)
{
	fake_merge(CLAIM, "{\"status\":{\"allocatedResources\":{\"storage\":\"9Gi\"}}}");
}

TEST(what_another_has_begun_is_not_written_over)
{
	grown_begin();
	grown_ask("2Gi");
	fake_set_plan((struct fake_plan){ .at = 9, .hook = begin_another });
	grown_run(NS_PER_S / 2);
	ASSERT_STR(grown_at(CLAIM, ALLOCATED), "9Gi");
	ASSERT_STR(grown_at(CLAIM, RESIZE_STATUS), "ControllerResizeInProgress");
}

/* A claim made anew under the same name knows nothing of the last one's failures. */
TEST(failures_are_of_a_claim_and_not_of_its_name)
{
	struct resize_process p;

	start_growing(&p, "2Gi", ERR_OUT_OF_RANGE, NS_PER_S);
	fake_service.expand_error = ERR_OK;
	fake_merge(CLAIM, "{\"metadata\":{\"uid\":\"c2\"}}");
	fake_merge(PV, "{\"spec\":{\"claimRef\":{\"uid\":\"c2\"}}}");
	fake_run(NS_PER_S);
	ASSERT_STR(grown_at(CLAIM, RESIZE_STATUS), "NodeResizePending");
	ASSERT_EQ(map_count(p.resizer->memos), 0);
	grown_stop(&p);
}

/* It is gone, and forgotten, while the driver still says no to it. */
static void vanish(void *arg)
{
	fake_merge(CLAIM, "{\"metadata\":{\"finalizers\":[]}}");
	fake_delete(CLAIM);
	fake_sync();
}

TEST(nothing_is_remembered_of_a_claim_that_is_gone)
{
	struct resize_process p;

	grown_begin();
	fake_service.expand_error = ERR_INTERNAL;
	grown_ask("2Gi");
	fake_set_plan((struct fake_plan){ .at = 7, .hook = vanish });
	grown_start(&p, (struct resizer_options){ 0 });
	fake_run(NS_PER_S / 2);
	ASSERT_TRUE(fake_service.last_expand[0]);
	ASSERT_FALSE(fake_has(CLAIM));
	ASSERT_EQ(map_count(p.resizer->memos), 0);
	grown_stop(&p);
}

static void replace_pv(void *arg)
{
	fake_merge(PV, "{\"metadata\":{\"uid\":\"another\"}}");
}

TEST(another_pv_of_the_same_name_is_not_written_to)
{
	grown_begin();
	grown_ask("2Gi");
	fake_set_plan((struct fake_plan){ .at = 8, .hook = replace_pv });
	grown_run(NS_PER_S / 2);
	ASSERT_EQ(fake_service.n_expanded, 1);
	ASSERT_STR(grown_at(PV, PV_CAPACITY), "1Gi");
}

/* The driver has grown it though nobody could write that down: the failure before counts no more.
 */
TEST(a_success_that_is_not_recorded_is_no_failure)
{
	struct resize_process p;

	start_growing(&p, "8Gi", ERR_INTERNAL, NS_PER_S / 2);
	fake_service.expand_error = ERR_OK;
	fake_refuse("persistentvolumes/", 500, "{}");
	grown_ask("4Gi");
	fake_run(NS_PER_S / 2);
	ASSERT_EQ(fake_service.n_expanded, 1);
	grown_ask("2Gi");
	fake_refuse(NULL, 0, NULL);
	fake_run(MINUTE);
	grown_stop(&p);
	ASSERT_STR(grown_at(CLAIM, ALLOCATED), "4Gi");
	ASSERT_STR(grown_at(PV, PV_CAPACITY), "4Gi");
}

TEST(another_term_begins_without_what_the_last_one_knew)
{
	struct resize_process p;

	start_growing(&p, "8Gi", ERR_INTERNAL, NS_PER_S / 2);
	ASSERT_EQ(map_count(p.resizer->memos), 1);
	resizer_pause(p.resizer);
	grown_ask("2Gi");
	fake_service.expand_error = ERR_OK;
	fake_run(MINUTE);
	ASSERT_EQ(fake_service.n_expanded, 0);
	resizer_start(p.resizer);
	fake_run(MINUTE);
	grown_stop(&p);
	ASSERT_STR(grown_at(CLAIM, ALLOCATED), "8Gi");
}

RUN_TESTS(UNIT(a_volume_grows_and_then_waits_for_its_node), UNIT(growing_costs_three_writes),
	  UNIT(what_is_older_than_the_cache_is_read_anew),
	  UNIT(what_was_begun_goes_on_by_what_is_written), UNIT(when_kubelet_is_done_the_note_goes),
	  UNIT(what_needs_no_node_is_done_at_once),
	  UNIT(the_next_growth_takes_the_mark_of_the_last_off),
	  UNIT(a_claim_that_nobody_else_may_grow_is_left_alone),
	  UNIT(a_claim_that_is_being_deleted_grows_all_the_same),
	  UNIT(secrets_and_a_raw_block_volume_are_the_pvs),
	  UNIT(a_missing_secret_is_told_and_nothing_is_asked),
	  UNIT(a_final_failure_is_a_condition_and_a_smaller_request_is_another),
	  UNIT(what_was_begun_goes_on_where_nobody_knows_how_it_ended),
	  UNIT(what_is_in_doubt_is_asked_for_again),
	  UNIT(what_was_begun_is_done_and_then_what_is_asked_for_by_now),
	  UNIT(what_is_infeasible_rests_until_it_is_another_request),
	  UNIT(a_request_taken_back_altogether_leaves_the_claim_alone),
	  UNIT(a_driver_that_grows_nothing_in_use_is_not_asked_beside_a_pod),
	  UNIT(when_the_pod_has_ended_the_volume_grows),
	  UNIT(less_than_was_asked_for_is_not_believed),
	  UNIT(a_driver_whose_nodes_do_all_is_not_called),
	  UNIT(a_driver_that_grows_no_more_is_named),
	  UNIT(another_driver_behind_the_address_is_told_nothing),
	  UNIT(two_growths_follow_each_other),
	  UNIT(what_a_node_gave_up_is_tried_once_more_after_a_while),
	  UNIT(a_label_written_at_any_step_costs_no_second_call),
	  UNIT(what_another_has_begun_is_not_written_over),
	  UNIT(failures_are_of_a_claim_and_not_of_its_name),
	  UNIT(nothing_is_remembered_of_a_claim_that_is_gone),
	  UNIT(another_pv_of_the_same_name_is_not_written_to),
	  UNIT(a_success_that_is_not_recorded_is_no_failure),
	  UNIT(another_term_begins_without_what_the_last_one_knew))
