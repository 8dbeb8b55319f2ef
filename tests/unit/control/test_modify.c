/* SPDX-License-Identifier: Apache-2.0 */
/* Claims that name another VolumeAttributesClass than they have. */
#include "check.h"
#include "control/resizer-internal.h"
#include "grown.h"

#include "base/mem.h"
#include "base/str.h"

#define CURRENT "status.currentVolumeAttributesClassName"
#define MODIFY_STATUS "status.modifyVolumeStatus.status"
#define MODIFY_TARGET "status.modifyVolumeStatus.targetVolumeAttributesClassName"
#define PV_CLASS "spec.volumeAttributesClassName"

static void begin(void)
{
	grown_begin();
	grown_put_class("gold", DRIVER, "500");
	grown_put_class("silver", DRIVER, "50");
}

static void assert_has(const char *class)
{
	ASSERT_STR(grown_at(CLAIM, CURRENT), class);
	ASSERT_STR(grown_at(PV, PV_CLASS), class);
	ASSERT_STR(grown_at(CLAIM, MODIFY_STATUS), "");
	ASSERT_STR(grown_conditions(), "Unused");
}

TEST(a_class_is_applied_and_recorded)
{
	begin();
	grown_want_class("gold");
	grown_run(MINUTE);
	ASSERT_STR(fake_service.last_modify, "id-" PV_NAME " mutable={iops=500} secrets={}");
	assert_has("gold");
	ASSERT_STR(fake_events(),
		   "Normal VolumeModify: external resizer is modifying volume data-0 with vac "
		   "gold\nNormal VolumeModifySuccessful: external resizer modified volume data-0 "
		   "with vac gold successfully\n");
	grown_want_class("silver");
	grown_run(MINUTE);
	assert_has("silver");
	ASSERT_STR(fake_service.modified, "{iops=50}");
}

/* Three questions about the driver; claim, PV and class read; three writes and the call. */
TEST(modifying_costs_three_writes_and_none_when_it_is_so)
{
	begin();
	grown_want_class("gold");
	fake_set_plan((struct fake_plan){ 0 });
	grown_run(MINUTE);
	ASSERT_EQ(fake_steps(), 3 + 3 + 3 + 1);
	fake_set_plan((struct fake_plan){ 0 });
	grown_run(MINUTE);
	ASSERT_EQ(fake_steps(), 0);
}

TEST(names_go_along_if_they_are_wanted_and_secrets_are_the_pvs)
{
	struct resize_process p;

	begin();
	fake_put("/api/v1/namespaces/ops/secrets/key",
		 "{\"kind\":\"Secret\",\"data\":{\"user\":\"eHl6\"}}");
	fake_put("/api/v1/namespaces/ops/secrets/expand",
		 "{\"kind\":\"Secret\",\"data\":{\"user\":\"YWJj\"}}");
	fake_merge(PV, "{\"spec\":{\"csi\":{\"controllerExpandSecretRef\":{\"name\":\"expand\","
		       "\"namespace\":\"ops\"}}}}");
	grown_want_class("silver");
	grown_run(MINUTE);
	ASSERT_STR(fake_service.last_modify, "id-" PV_NAME " mutable={iops=50} secrets={user=abc}");
	fake_merge(PV, "{\"metadata\":{\"annotations\":{\"volume.kubernetes.io/"
		       "controller-modify-secret-name\":\"key\",\"volume.kubernetes.io/"
		       "controller-modify-secret-namespace\":\"ops\"}}}");
	grown_want_class("gold");
	grown_start(&p, (struct resizer_options){ .extra_modify_metadata = true });
	fake_run(MINUTE);
	grown_stop(&p);
	ASSERT_STR(fake_service.last_modify,
		   "id-" PV_NAME " mutable={csi.storage.k8s.io/pv/name=" PV_NAME
		   ",csi.storage.k8s.io/pvc/name=data-0,csi.storage.k8s.io/pvc/namespace=default,"
		   "iops=500} secrets={user=xyz}");
}

TEST(a_class_that_is_not_there_is_waited_for)
{
	struct resize_process p;

	begin();
	grown_want_class("late");
	grown_start(&p, (struct resizer_options){ 0 });
	fake_run(20 * MINUTE);
	ASSERT_STR(grown_at(CLAIM, MODIFY_STATUS), "Pending");
	ASSERT_STR(grown_at(CLAIM, MODIFY_TARGET), "");
	ASSERT_STR(grown_conditions(), "Unused");
	assert_true(contains(fake_events(),
			     "Warning VolumeModifyFailed: VAC \"late\" does not exist."));
	grown_put_class("late", DRIVER, "7");
	fake_settle();
	grown_stop(&p);
	assert_has("late");
}

TEST(a_claim_that_gives_up_is_rolled_back)
{
	struct resize_process p;

	begin();
	grown_want_class("late");
	grown_start(&p, (struct resizer_options){ 0 });
	fake_run(MINUTE);
	grown_want_class("");
	fake_run(10 * MINUTE);
	grown_stop(&p);
	assert_has("");
	assert_true(contains(fake_events(), "Normal VolumeModifyCanceled: "));
	ASSERT_STR(fake_service.last_modify, "");
}

TEST(what_the_driver_refuses_for_good_rests_until_it_is_another_class)
{
	struct resize_process p;

	begin();
	fake_service.modify_error = ERR_INVALID_ARGUMENT;
	grown_want_class("gold");
	grown_start(&p, (struct resizer_options){ 0 });
	fake_run(NS_PER_S);
	ASSERT_STR(grown_at(CLAIM, MODIFY_STATUS), "Infeasible");
	ASSERT_STR(grown_at(CLAIM, MODIFY_TARGET), "gold");
	ASSERT_STR(grown_conditions(), "Unused,ModifyingVolume,ModifyVolumeError");
	assert_true(contains(fake_text(CLAIM), "\"reason\":\"InvalidArgument\""));
	assert_true(contains(fake_text(CLAIM), "\"message\":\"the driver says no\""));
	assert_true(contains(fake_text(CLAIM),
			     "Modifying volume to \\\"gold\\\" failed. Waiting for retry."));
	fake_service.last_modify[0] = '\0';
	fake_run(4 * MINUTE);
	ASSERT_STR(fake_service.last_modify, "");
	fake_run(2 * MINUTE);
	assert_true(contains(fake_service.last_modify, "iops=500"));
	fake_service.modify_error = ERR_OK;
	grown_want_class("silver");
	fake_run(NS_PER_S);
	grown_stop(&p);
	assert_has("silver");
}

/* Back to the class that it has: the driver is told so, since nobody knows what it did. */
TEST(a_way_back_is_a_modification_as_well)
{
	struct resize_process p;

	begin();
	grown_want_class("silver");
	grown_run(MINUTE);
	fake_service.modify_error = ERR_INVALID_ARGUMENT;
	grown_want_class("gold");
	grown_start(&p, (struct resizer_options){ 0 });
	fake_run(NS_PER_S);
	fake_service.modify_error = ERR_OK;
	grown_want_class("silver");
	fake_run(NS_PER_S);
	grown_stop(&p);
	assert_has("silver");
	ASSERT_EQ(fake_service.n_modified, 2);
}

TEST(what_is_in_doubt_is_settled_before_another_class_is_tried)
{
	struct resize_process p;

	begin();
	fake_service.modify_error = ERR_DEADLINE_EXCEEDED;
	grown_want_class("gold");
	grown_start(&p, (struct resizer_options){ 0 });
	fake_run(NS_PER_S / 2);
	ASSERT_STR(grown_at(CLAIM, MODIFY_STATUS), "InProgress");
	assert_true(contains(fake_text(CLAIM), "\"reason\":\"DeadlineExceeded\""));
	grown_want_class("silver");
	fake_run(NS_PER_S / 2);
	assert_true(contains(fake_service.last_modify, "iops=500"));
	grown_want_class("");
	fake_run(10 * NS_PER_S);
	assert_true(contains(fake_service.last_modify, "iops=500"));
	grown_want_class("silver");
	fake_service.modify_error = ERR_OK;
	fake_run(MINUTE);
	ASSERT_STR(grown_at(PV, PV_CLASS), "silver");
	grown_stop(&p);
	assert_has("silver");
	ASSERT_EQ(fake_service.n_modified, 2);
}

TEST(a_final_failure_lets_another_class_through)
{
	struct resize_process p;

	begin();
	fake_service.modify_error = ERR_INTERNAL;
	grown_want_class("gold");
	grown_start(&p, (struct resizer_options){ 0 });
	fake_run(NS_PER_S / 2);
	ASSERT_STR(grown_at(CLAIM, MODIFY_STATUS), "InProgress");
	fake_service.modify_error = ERR_OK;
	grown_want_class("silver");
	fake_run(MINUTE);
	grown_stop(&p);
	assert_has("silver");
	ASSERT_EQ(fake_service.n_modified, 1);
}

/* The driver has done it though nobody could write that down: the failure before counts no more. */
TEST(a_success_that_is_not_recorded_is_no_failure)
{
	struct resize_process p;

	begin();
	grown_put_class("tin", DRIVER, "5");
	fake_service.modify_error = ERR_INTERNAL;
	grown_want_class("gold");
	grown_start(&p, (struct resizer_options){ 0 });
	fake_run(NS_PER_S / 2);
	fake_service.modify_error = ERR_OK;
	fake_refuse("persistentvolumes/", 500, "{}");
	grown_want_class("silver");
	fake_run(NS_PER_S / 2);
	ASSERT_EQ(fake_service.n_modified, 1);
	grown_want_class("tin");
	fake_run(NS_PER_S / 2);
	ASSERT_STR(grown_at(CLAIM, MODIFY_TARGET), "silver");
	fake_refuse(NULL, 0, NULL);
	fake_run(MINUTE);
	grown_stop(&p);
	assert_has("tin");
}

TEST(a_class_of_another_driver_is_refused_unasked)
{
	begin();
	grown_put_class("foreign", "other.csi", "1");
	grown_want_class("foreign");
	grown_run(NS_PER_S / 2);
	ASSERT_STR(grown_at(CLAIM, MODIFY_STATUS), "Infeasible");
	ASSERT_STR(fake_service.last_modify, "");
	assert_true(contains(fake_events(), "is of driver 'other.csi'"));
}

TEST(the_class_of_something_in_doubt_may_be_gone)
{
	begin();
	fake_service.modify_error = ERR_UNAVAILABLE;
	grown_want_class("gold");
	grown_run(NS_PER_S / 2);
	fake_delete(GOLD);
	fake_merge(CLAIM, "{\"spec\":{\"volumeAttributesClassName\":\"silver\"}}");
	grown_run(NS_PER_S / 2);
	ASSERT_STR(grown_at(CLAIM, MODIFY_STATUS), "InProgress");
	ASSERT_STR(grown_at(CLAIM, MODIFY_TARGET), "gold");
}

TEST(a_claim_both_larger_and_of_another_class_becomes_both)
{
	begin();
	grown_want_class("gold");
	grown_ask("2Gi");
	grown_run(MINUTE);
	ASSERT_STR(grown_at(CLAIM, CURRENT), "gold");
	ASSERT_STR(grown_at(PV, "spec.capacity.storage"), "2Gi");
	ASSERT_STR(grown_conditions(), "Unused,Resizing,FileSystemResizePending");
}

/* One half that fails keeps nothing from the other. */
TEST(a_volume_that_cannot_grow_is_modified)
{
	begin();
	fake_service.expand_error = ERR_UNAVAILABLE;
	grown_want_class("gold");
	grown_ask("2Gi");
	grown_run(NS_PER_S / 2);
	ASSERT_STR(grown_at(CLAIM, CURRENT), "gold");
	ASSERT_STR(grown_conditions(), "Unused,Resizing");
}

TEST(a_driver_that_modifies_nothing_is_left_alone)
{
	begin();
	fake_service.caps &= ~CSI_CAP_BIT(CSI_CTRL_MODIFY_VOLUME);
	grown_want_class("gold");
	grown_run(MINUTE);
	ASSERT_STR(fake_service.last_modify, "");
	ASSERT_STR(grown_at(CLAIM, MODIFY_STATUS), "");
}

RUN_TESTS(UNIT(a_class_is_applied_and_recorded),
	  UNIT(modifying_costs_three_writes_and_none_when_it_is_so),
	  UNIT(names_go_along_if_they_are_wanted_and_secrets_are_the_pvs),
	  UNIT(a_class_that_is_not_there_is_waited_for), UNIT(a_claim_that_gives_up_is_rolled_back),
	  UNIT(what_the_driver_refuses_for_good_rests_until_it_is_another_class),
	  UNIT(a_way_back_is_a_modification_as_well),
	  UNIT(what_is_in_doubt_is_settled_before_another_class_is_tried),
	  UNIT(a_final_failure_lets_another_class_through),
	  UNIT(a_success_that_is_not_recorded_is_no_failure),
	  UNIT(a_class_of_another_driver_is_refused_unasked),
	  UNIT(the_class_of_something_in_doubt_may_be_gone),
	  UNIT(a_claim_both_larger_and_of_another_class_becomes_both),
	  UNIT(a_volume_that_cannot_grow_is_modified),
	  UNIT(a_driver_that_modifies_nothing_is_left_alone))
