/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A provisioner on each of two nodes, n1 and n2, each with a driver of its own and no leader: who
 * makes and deletes what, and that one claim ends with one volume whatever goes wrong where.
 */
#include "check.h"
#include "cluster.h"
#include "control/provision-internal.h"

#include "base/mem.h"
#include "base/str.h"

#define JOURNAL_OF(node) \
	"/apis/coordination.k8s.io/v1/namespaces/default/leases/cleat-intents-" node
#define STEPS_MAX 200
#define HOUR (60 * MINUTE)

static void start(struct process *p, const char *node, bool owns_immediate)
{
	process_start(p, (struct provision_options){ .node_name = node,
						     .owns_immediate = owns_immediate,
						     .journal_node = node });
}

static void run_one(const char *node, int64_t limit_ns)
{
	struct process p;

	start(&p, node, true);
	fake_run(limit_ns);
	process_stop(&p);
}

static void run_both(int64_t limit_ns)
{
	struct process one, two;

	start(&one, "n1", true);
	start(&two, "n2", true);
	fake_run(limit_ns);
	process_stop(&one);
	process_stop(&two);
}

static void begin(void)
{
	cluster_begin();
	fake_service.caps |= CSI_CAP_BIT(CSI_CTRL_GET_CAPACITY);
	fake_service.room_bytes = UINT64_C(10) << 30;
}

static bool is_intent_left(void)
{
	static const char *const journals[] = { JOURNAL_OF("n1"), JOURNAL_OF("n2") };

	for (size_t i = 0; i < ARRAY_LEN(journals); i++)
		if (fake_has(journals[i]) &&
		    strstr(fake_text(journals[i]), "intents.cleat.csi/c1a1"))
			return true;
	return false;
}

/* Bound to the one volume that there is, on this node, where its PV says that it is. */
static void assert_bound_on(const char *node)
{
	autofree char *volume = xasprintf("%s.%s", node, PV_NAME);
	autofree char *handle = xasprintf("\"volumeHandle\":\"id-%s\"", volume);

	ASSERT_TRUE(contains(fake_text(CLAIM), "\"phase\":\"Bound\""));
	ASSERT_TRUE(contains(fake_text(PV), handle));
	ASSERT_TRUE(contains(fake_text(PV), str_is_equal(node, "n1") ? "\"a\"" : "\"b\""));
	ASSERT_TRUE(fake_service_has(volume));
	ASSERT_EQ(fake_service.n_volumes, 1);
	ASSERT_EQ(fake_count(&core_pv_type), 1);
	ASSERT_FALSE(is_intent_left());
}

static void assert_bound_somewhere(void)
{
	assert_bound_on(fake_service_has("n1." PV_NAME) ? "n1" : "n2");
}

static void assert_nothing_left(void)
{
	ASSERT_FALSE(fake_has(CLAIM));
	ASSERT_EQ(fake_count(&core_pv_type), 0);
	ASSERT_EQ(fake_service.n_volumes, 0);
	ASSERT_FALSE(is_intent_left());
}

static void select_node(const char *node)
{
	autofree char *patch = xasprintf(
		"{\"metadata\":{\"annotations\":{\"" ANN_SELECTED_NODE "\":\"%s\"}}}", node);

	fake_merge(CLAIM, patch);
}

TEST(a_claim_is_for_the_node_that_is_selected)
{
	begin();
	cluster_use_wait_for_consumer(); /* n2 */
	run_one("n1", MINUTE);
	ASSERT_EQ(fake_service.n_created, 0);
	ASSERT_FALSE(fake_has(PV));
	run_one("n2", MINUTE);
	assert_bound_on("n2");
	ASSERT_TRUE(contains(fake_service.last_request,
			     " requisite=[{topology.example/zone=b}] preferred=[{topology"));
}

TEST(a_claim_that_waits_for_a_consumer_is_nobodys_before)
{
	begin();
	fake_merge(CLASS, "{\"volumeBindingMode\":\"WaitForFirstConsumer\"}");
	run_both(HOUR);
	ASSERT_EQ(fake_service.n_created, 0);
	ASSERT_FALSE(strstr(fake_text(CLAIM), ANN_SELECTED_NODE));
}

TEST(of_two_nodes_one_gets_a_claim_that_is_bound_at_once)
{
	begin();
	run_both(MINUTE);
	assert_bound_somewhere();
	ASSERT_EQ(fake_service.n_created, 1);
	ASSERT_TRUE(contains(fake_text(CLAIM), "\"team\":\"blue\"")); /* written whole */
}

TEST(nobody_competes_where_that_is_off)
{
	struct process p;

	begin();
	start(&p, "n1", false);
	fake_run(HOUR);
	ASSERT_FALSE(strstr(fake_text(CLAIM), ANN_SELECTED_NODE));
	select_node("n1"); /* by somebody else */
	fake_run(MINUTE);
	process_stop(&p);
	assert_bound_on("n1");
}

TEST(a_node_without_room_does_not_compete)
{
	begin();
	fake_service.full_node = "n1";
	run_one("n1", HOUR);
	ASSERT_FALSE(strstr(fake_text(CLAIM), ANN_SELECTED_NODE));
	run_both(MINUTE);
	assert_bound_on("n2");
	begin();
	fake_service.full_node = "n1";
	run_one("n1", HOUR);
	fake_service.full_node = NULL;
	run_one("n1", 2 * MINUTE);
	assert_bound_on("n1");
}

TEST(a_claim_given_back_is_competed_for_anew)
{
	begin();
	fake_service.full_node = "n1";
	select_node("n1");
	run_both(5 * MINUTE);
	assert_bound_on("n2");
}

TEST(a_node_that_the_class_does_not_allow_does_not_compete)
{
	begin();
	fake_merge(CLASS, "{\"allowedTopologies\":[{\"matchLabelExpressions\":[{\"key\":"
			  "\"topology.example/zone\",\"values\":[\"b\"]}]}]}");
	run_one("n1", HOUR);
	ASSERT_FALSE(strstr(fake_text(CLAIM), ANN_SELECTED_NODE));
	run_both(MINUTE);
	assert_bound_on("n2");
}

TEST(a_populators_claim_is_left_alone)
{
	begin();
	fake_merge(CLAIM,
		   "{\"spec\":{\"dataSourceRef\":{\"apiGroup\":\"x.example\",\"kind\":\"Hello\","
		   "\"name\":\"h\"}}}");
	run_both(HOUR);
	ASSERT_FALSE(strstr(fake_text(CLAIM), ANN_SELECTED_NODE));
}

TEST(a_volume_is_deleted_by_its_node)
{
	begin();
	cluster_use_wait_for_consumer();
	run_one("n2", MINUTE);
	assert_bound_on("n2");
	fake_delete(CLAIM);
	run_one("n1", HOUR);
	ASSERT_EQ(fake_service.n_volumes, 1);
	ASSERT_TRUE(fake_has(PV));
	run_one("n2", MINUTE);
	ASSERT_EQ(fake_service.n_volumes, 0);
	ASSERT_FALSE(fake_has(PV));
}

/* kubelet has not registered the driver yet when the process starts. */
TEST(a_volume_waits_until_its_node_is_registered)
{
	struct process p;

	begin();
	cluster_use_wait_for_consumer();
	run_one("n2", MINUTE);
	fake_delete(CLAIM);
	fake_merge("/api/v1/nodes/n2",
		   "{\"metadata\":{\"labels\":{\"topology.example/zone\":null}}}");
	fake_merge("/apis/storage.k8s.io/v1/csinodes/n2", "{\"spec\":{\"drivers\":[]}}");
	start(&p, "n2", true);
	fake_run(MINUTE);
	ASSERT_EQ(fake_service.n_volumes, 1);
	fake_merge("/api/v1/nodes/n2",
		   "{\"metadata\":{\"labels\":{\"topology.example/zone\":\"b\"}}}");
	fake_run(MINUTE);
	process_stop(&p);
	ASSERT_EQ(fake_service.n_volumes, 0);
}

/* n1 may have made it, and the scheduler has chosen n2 since: it ends there, and nothing stays on
 * n1. */
TEST(a_claim_that_goes_to_another_node_in_doubt_has_one_volume)
{
	begin();
	cluster_use_wait_for_consumer();
	select_node("n1");
	fake_service.create_error = ERR_DEADLINE_EXCEEDED;
	run_one("n1", 5 * NS_PER_S);
	ASSERT_TRUE(is_intent_left());
	fake_service.create_error = ERR_OK;
	select_node("n2");
	run_both(5 * MINUTE);
	assert_bound_on("n2");
}

/* Killed before its intent went out of the journal, and the claim was deleted meanwhile. Were its
 * volume asked for, one could come to be right after its PV's reconcile has deleted it. */
TEST(a_volume_that_has_its_pv_is_not_asked_for_again)
{
	begin();
	cluster_use_wait_for_consumer();
	run_one("n2", 0); /* the journal is written out some time later */
	ASSERT_TRUE(fake_has(PV) && is_intent_left());
	fake_employ_manager(false); /* the PV is not released yet */
	fake_merge(CLAIM, "{\"metadata\":{\"finalizers\":null}}");
	fake_delete(CLAIM);
	fake_service.last_request[0] = '\0';
	run_one("n2", MINUTE);
	ASSERT_STR(fake_service.last_request, "");
	ASSERT_FALSE(is_intent_left());
	fake_employ_manager(true);
	run_one("n2", MINUTE);
	assert_nothing_left();
}

/* A driver that says nowhere where its volumes are: not deleted, and no volume of a PV either. */
TEST(a_volume_that_a_pv_tells_of_is_never_deleted_from_the_journal)
{
	begin();
	cluster_use_wait_for_consumer();
	run_one("n2", 0);
	ASSERT_TRUE(fake_has(PV) && is_intent_left());
	fake_merge(PV, "{\"spec\":{\"nodeAffinity\":null}}");
	run_one("n2", MINUTE);
	ASSERT_FALSE(is_intent_left());
	ASSERT_EQ(fake_service.n_volumes, 1);
}

/* clang-format off */
static const struct {
	enum fake_fault fault;
	enum err_code code;
} troubles[] = {
	{ FAKE_FAIL, ERR_UNAVAILABLE },
	{ FAKE_FAIL, ERR_DEADLINE_EXCEEDED },
	{ FAKE_FAIL, ERR_ABORTED },
	{ FAKE_FAIL, ERR_INTERNAL },
	{ FAKE_FAIL, ERR_PERMISSION_DENIED },
	{ FAKE_LOSE, ERR_OK },
	{ FAKE_KILL, ERR_OK },
	{ FAKE_KILL_AFTER, ERR_OK },
};
/* clang-format on */

static void be_sent_away(void *arg)
{
	if (fake_has(CLAIM) && !strstr(fake_text(CLAIM), "\"volumeName\""))
		select_node(strstr(fake_text(CLAIM), "\"" ANN_SELECTED_NODE "\":\"n1\"") ? "n2"
											 : "n1");
}

static void be_deleted(void *arg)
{
	fake_delete(CLAIM);
}

/* Both nodes' steps are one count: each of either goes wrong once, and hook happens before it. */
static void try_every_step(void (*hook)(void *arg), void (*check)(void))
{
	for (size_t t = 0; t < ARRAY_LEN(troubles); t++) {
		struct fake_plan plan = { .fault = troubles[t].fault,
					  .code = troubles[t].code,
					  .hook = hook };
		bool is_reached;

		do {
			plan.at++;
			ASSERT_TRUE(plan.at < STEPS_MAX);
			begin();
			fake_set_plan(plan);
			run_both(2 * MINUTE);
			is_reached = fake_steps() >= plan.at;
			fake_set_plan((struct fake_plan){ 0 });
			run_both(HOUR);
			if (is_reached)
				check();
		} while (is_reached);
		ASSERT_TRUE(plan.at > 8);
	}
}

TEST(after_any_trouble_there_is_one_volume)
{
	try_every_step(NULL, assert_bound_somewhere);
}

TEST(sent_to_the_other_node_at_every_step_there_is_one_volume)
{
	try_every_step(be_sent_away, assert_bound_somewhere);
}

TEST(deleted_at_every_step_there_is_none)
{
	try_every_step(be_deleted, assert_nothing_left);
}

RUN_TESTS(UNIT(a_claim_is_for_the_node_that_is_selected),
	  UNIT(a_claim_that_waits_for_a_consumer_is_nobodys_before),
	  UNIT(of_two_nodes_one_gets_a_claim_that_is_bound_at_once),
	  UNIT(nobody_competes_where_that_is_off), UNIT(a_node_without_room_does_not_compete),
	  UNIT(a_claim_given_back_is_competed_for_anew),
	  UNIT(a_node_that_the_class_does_not_allow_does_not_compete),
	  UNIT(a_populators_claim_is_left_alone), UNIT(a_volume_is_deleted_by_its_node),
	  UNIT(a_volume_waits_until_its_node_is_registered),
	  UNIT(a_claim_that_goes_to_another_node_in_doubt_has_one_volume),
	  UNIT(a_volume_that_has_its_pv_is_not_asked_for_again),
	  UNIT(a_volume_that_a_pv_tells_of_is_never_deleted_from_the_journal),
	  UNIT(after_any_trouble_there_is_one_volume),
	  UNIT(sent_to_the_other_node_at_every_step_there_is_one_volume),
	  UNIT(deleted_at_every_step_there_is_none))
