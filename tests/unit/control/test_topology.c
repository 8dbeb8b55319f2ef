/* SPDX-License-Identifier: Apache-2.0 */
/* Where the driver is asked to make a volume: by the request that reaches it. */
#include "check.h"
#include "cluster.h"
#include "control/provision-internal.h"

#include "base/mem.h"

#define ALLOW(terms) "{\"allowedTopologies\":[" terms "]}"
#define ZONE(values)                                                                               \
	"{\"matchLabelExpressions\":[{\"key\":\"topology.example/zone\",\"values\":[" values "]}]" \
	"}"
#define HOST_AND_ZONE                                                   \
	"{\"matchLabelExpressions\":["                                  \
	"{\"key\":\"topology.example/zone\",\"values\":[\"a\",\"b\"]}," \
	"{\"key\":\"topology.example/host\",\"values\":[\"n1\",\"n2\"]}]}"
#define Z(zone) "{topology.example/zone=" zone "}"
#define HZ(host, zone) "{topology.example/host=" host ",topology.example/zone=" zone "}"

static void run(struct provision_options opts)
{
	struct process p;

	process_start(&p, opts);
	fake_settle();
	process_stop(&p);
}

TEST(names_rotate_by_fnv1_and_ordinal)
{
	/* FNV-1, 32 bit: "" 0x811c9dc5, "a" 0x050c5d7e, "web" 0x810f8a2d. */
	ASSERT_EQ(topology_offset("", 1000), 0x811c9dc5u % 1000);
	ASSERT_EQ(topology_offset("a", 1000), 0x050c5d7eu % 1000);
	for (size_t n = 1; n < 9; n++) {
		ASSERT_EQ(topology_offset("data-a-0", n), topology_offset("a", n));
		ASSERT_EQ(topology_offset("logs-a-0", n), topology_offset("data-a-0", n));
		ASSERT_EQ(topology_offset("data-a-1", n), (0x050c5d7eu + 1) % n);
		ASSERT_EQ(topology_offset("a-7", n), (0x050c5d7eu + 7) % n);
	}
	/* A number that no ordinal can be is part of the name. */
	ASSERT_TRUE(topology_offset("a-4294967296", 65536) != topology_offset("a-0", 65536));
	ASSERT_TRUE(topology_offset("x-", 65536) != topology_offset("x", 65536));
}

TEST(immediate_claims_may_go_to_every_node)
{
	cluster_begin();
	run((struct provision_options){ 0 });
	assert_true(contains(fake_service.last_request, " requisite=[" Z("a") Z("b") "]"));
}

TEST(claims_of_a_set_go_round_the_zones)
{
	static const char *const names[] = { "data-web-0", "data-web-1" };
	bool begins_at_a[2];

	for (int i = 0; i < 2; i++) {
		cluster_begin();
		fake_delete(CLAIM);
		fake_manage();
		cluster_put_claim(names[i]);
		run((struct provision_options){ 0 });
		begins_at_a[i] = strstr(fake_service.last_request, "preferred=[" Z("a"));
	}
	ASSERT_TRUE(begins_at_a[0] != begins_at_a[1]);
}

TEST(no_requirement_without_topology_support)
{
	cluster_begin();
	fake_service.has_topology = false;
	run((struct provision_options){ 0 });
	assert_true(contains(fake_service.last_request, " requisite=[] preferred=[]"));
}

TEST(immediate_topology_can_be_switched_off)
{
	cluster_begin();
	run((struct provision_options){ .no_immediate_topology = true });
	assert_true(contains(fake_service.last_request, " requisite=[] preferred=[]"));
}

TEST(allowed_topologies_are_multiplied_out)
{
	cluster_begin();
	fake_merge(CLASS, ALLOW(HOST_AND_ZONE "," ZONE("\"c\"")));
	run((struct provision_options){ .no_immediate_topology = true });
	assert_true(contains(fake_service.last_request,
			     " requisite=[" Z("c") HZ("n1", "a") HZ("n1", "b") HZ("n2", "a")
				     HZ("n2", "b") "]"));
}

TEST(selected_node_comes_first)
{
	cluster_begin();
	cluster_use_wait_for_consumer();
	run((struct provision_options){ 0 });
	assert_true(contains(fake_service.last_request,
			     " requisite=[" Z("a") Z("b") "] preferred=[" Z("b") Z("a") "]"));
}

TEST(strict_topology_asks_for_the_node_alone)
{
	cluster_begin();
	cluster_use_wait_for_consumer();
	run((struct provision_options){ .strict_topology = true });
	assert_true(contains(fake_service.last_request,
			     " requisite=[" Z("b") "] preferred=[" Z("b") "]"));
}

TEST(strict_topology_stays_within_the_allowed)
{
	cluster_begin();
	cluster_use_wait_for_consumer();
	fake_merge(CLASS, ALLOW(ZONE("\"a\",\"b\"")));
	run((struct provision_options){ .strict_topology = true });
	assert_true(contains(fake_service.last_request,
			     " requisite=[" Z("b") "] preferred=[" Z("b") "]"));
}

TEST(a_node_outside_the_allowed_is_refused)
{
	cluster_begin();
	cluster_use_wait_for_consumer();
	fake_merge(CLASS, ALLOW(ZONE("\"a\"")));
	run((struct provision_options){ .strict_topology = true });
	assert_true(contains(fake_events(),
			     "selected node 'n2' is in none of the class's allowedTopologies"));
	ASSERT_EQ(fake_service.n_created, 0);
}

TEST(a_key_twice_in_one_term_is_refused)
{
	cluster_begin();
	fake_merge(CLASS, ALLOW("{\"matchLabelExpressions\":[{\"key\":\"k\",\"values\":[\"a\"]},"
				"{\"key\":\"k\",\"values\":[\"b\"]}]}"));
	run((struct provision_options){ 0 });
	assert_true(contains(fake_events(), "a key stands twice in one term"));
}

TEST(selected_node_without_labels_is_waited_for)
{
	cluster_begin();
	cluster_use_wait_for_consumer();
	fake_merge("/api/v1/nodes/n2", "{\"metadata\":{\"labels\":null}}");
	run((struct provision_options){ 0 });
	assert_true(
		contains(fake_events(), "selected node 'n2' has no label 'topology.example/zone'"));
	assert_true(contains(fake_text(CLAIM), "selected-node"));
}

TEST(another_half_registered_node_stops_nobody)
{
	cluster_begin();
	fake_merge(NODE1, "{\"metadata\":{\"labels\":null}}");
	run((struct provision_options){ 0 });
	assert_true(contains(fake_service.last_request, " requisite=[" Z("b") "]"));
}

TEST(driver_not_registered_on_the_node_is_waited_for)
{
	cluster_begin();
	cluster_use_wait_for_consumer();
	fake_merge("/apis/storage.k8s.io/v1/csinodes/n2", "{\"spec\":{\"drivers\":[]}}");
	run((struct provision_options){ 0 });
	assert_true(contains(fake_events(),
			     "driver " DRIVER
			     " is not registered with topology keys on selected node 'n2'"));
	ASSERT_EQ(fake_service.n_created, 0);
}

TEST(a_node_that_is_gone_gives_the_claim_back_to_the_scheduler)
{
	cluster_begin();
	cluster_use_wait_for_consumer();
	fake_merge(
		CLAIM,
		"{\"metadata\":{\"annotations\":{\"volume.kubernetes.io/selected-node\":\"n9\"}}}");
	run((struct provision_options){ 0 });
	assert_true(contains(fake_events(), "selected node 'n9' has no Node object"));
	assert_null(strstr(fake_text(CLAIM), "selected-node"));
	assert_true(contains(fake_text(CLAIM), "\"team\":\"blue\""));
}

/* ---- A2: a driver whose places are pools ---- */

#define POOL_A DRIVER "/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define POOL_B DRIVER "/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define POOL_C DRIVER "/cccccccccccccccccccccccccccccccc"
#define P(pool) "{" pool "=here}"
#define ONLY(pool) " requisite=[" P(pool) "] preferred=[" P(pool) "]"

/* n1 has pools A and B, n2 has C. */
static void begin_with_pools(void)
{
	cluster_begin();
	fake_service.caps |= CSI_CAP_BIT(CSI_CTRL_GET_CAPACITY);
	fake_merge(NODE1,
		   "{\"metadata\":{\"labels\":{\"" POOL_A "\":\"here\",\"" POOL_B "\":\"here\"}}}");
	fake_merge("/api/v1/nodes/n2", "{\"metadata\":{\"labels\":{\"" POOL_C "\":\"here\"}}}");
	fake_merge(CSI_NODE1,
		   "{\"spec\":{\"drivers\":[{\"name\":\"" DRIVER
		   "\",\"nodeID\":\"n1\",\"topologyKeys\":[\"" POOL_A "\",\"" POOL_B "\"]}]}}");
	fake_merge("/apis/storage.k8s.io/v1/csinodes/n2",
		   "{\"spec\":{\"drivers\":[{\"name\":\"" DRIVER
		   "\",\"nodeID\":\"n2\",\"topologyKeys\":[\"" POOL_C "\"]}]}}");
}

static void select_node(const char *name)
{
	char patch[160];

	(void)snprintf(patch, sizeof(patch),
		       "{\"metadata\":{\"annotations\":{\"volume.kubernetes.io/"
		       "selected-node\":\"%s\"}}}",
		       name);
	fake_merge(CLASS, "{\"volumeBindingMode\":\"WaitForFirstConsumer\"}");
	fake_merge(CLAIM, patch);
}

TEST(exactly_one_pool_is_asked_for_and_it_is_the_roomiest)
{
	static const char *const pools[] = { POOL_A, POOL_B, POOL_C };
	static const char *const wanted[] = { ONLY(POOL_A), ONLY(POOL_B), ONLY(POOL_C) };

	for (size_t i = 0; i < ARRAY_LEN(pools); i++) {
		begin_with_pools();
		fake_service.roomy_key = pools[i];
		run((struct provision_options){ 0 });
		assert_true(contains(fake_service.last_request, wanted[i]));
		ASSERT_EQ(fake_service.n_asked_room, 3);
		ASSERT_EQ(fake_service.n_created, 1);
	}
}

/* It says that the largest volume is one of none, which is not to say nothing. */
TEST(a_pool_that_takes_no_volume_is_not_the_roomiest)
{
	begin_with_pools();
	fake_service.roomy_key = POOL_A;
	fake_service.full_key = POOL_B;
	run((struct provision_options){ 0 });
	assert_true(contains(fake_service.last_request, ONLY(POOL_A)));
}

TEST(a_selected_node_leaves_its_own_pools)
{
	begin_with_pools();
	select_node("n1");
	fake_service.roomy_key = POOL_B;
	run((struct provision_options){ 0 });
	assert_true(contains(fake_service.last_request, ONLY(POOL_B)));
	ASSERT_EQ(fake_service.n_asked_room, 2);
}

TEST(a_single_pool_costs_no_call)
{
	begin_with_pools();
	select_node("n2");
	run((struct provision_options){ 0 });
	assert_true(contains(fake_service.last_request, ONLY(POOL_C)));
	ASSERT_EQ(fake_service.n_asked_room, 0);
}

TEST(agents_that_do_not_answer_leave_the_choice_to_the_order)
{
	begin_with_pools();
	select_node("n1");
	run((struct provision_options){ 0 });
	assert_true(contains(fake_service.last_request, ONLY(POOL_A)));
}

TEST(labels_of_nodes_stand_for_their_pools)
{
	static const struct {
		const char *allowed, *node, *wanted;
	} cases[] = {
		{ ALLOW(ZONE("\"b\"")), NULL, ONLY(POOL_C) },
		{ ALLOW(ZONE("\"b\"")), "n2", ONLY(POOL_C) },
		{ ALLOW(ZONE("\"a\",\"b\"")), "n2", ONLY(POOL_C) },
		{ ALLOW(ZONE("\"a\"")), "n1", ONLY(POOL_B) },
		{ ALLOW("{\"matchLabelExpressions\":[{\"key\":\"" POOL_A
			"\",\"values\":[\"here\"]}]}"),
		  NULL, ONLY(POOL_A) },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		begin_with_pools();
		fake_merge(CLASS, cases[i].allowed);
		if (cases[i].node)
			select_node(cases[i].node);
		fake_service.roomy_key = POOL_B;
		run((struct provision_options){ 0 });
		assert_true(contains(fake_service.last_request, cases[i].wanted));
	}
}

TEST(labels_that_no_node_bears_are_named)
{
	begin_with_pools();
	fake_merge(CLASS,
		   ALLOW("{\"matchLabelExpressions\":[{\"key\":\"rack\",\"values\":[\"r1\"]}]}"));
	run((struct provision_options){ 0 });
	assert_true(contains(fake_events(), "allowedTopologies: no node with driver " DRIVER
					    " has the label 'rack'"));
	begin_with_pools();
	fake_merge(CLASS, ALLOW(ZONE("\"z\"")));
	run((struct provision_options){ 0 });
	assert_true(contains(fake_events(), "is in the class's allowedTopologies"));
	begin_with_pools();
	fake_merge(CLASS, ALLOW(ZONE("\"a\"")));
	select_node("n2");
	run((struct provision_options){ 0 });
	assert_true(contains(fake_events(), "selected node 'n2' is in none of"));
	ASSERT_EQ(fake_service.n_created, 0);
}

/* In doubt at one pool, it is asked for there and nowhere else. */
TEST(a_volume_in_doubt_is_never_tried_elsewhere)
{
	struct process p;

	begin_with_pools();
	fake_service.roomy_key = POOL_A;
	fake_service.create_error = ERR_DEADLINE_EXCEEDED;
	process_start(&p, (struct provision_options){ 0 });
	fake_settle();
	fake_service.roomy_key = POOL_C;
	fake_service.create_error = ERR_OK;
	fake_run(MINUTE);
	process_stop(&p);
	assert_true(contains(fake_service.last_request, ONLY(POOL_A)));
}

RUN_TESTS(UNIT(names_rotate_by_fnv1_and_ordinal), UNIT(immediate_claims_may_go_to_every_node),
	  UNIT(claims_of_a_set_go_round_the_zones), UNIT(no_requirement_without_topology_support),
	  UNIT(immediate_topology_can_be_switched_off), UNIT(allowed_topologies_are_multiplied_out),
	  UNIT(selected_node_comes_first), UNIT(strict_topology_asks_for_the_node_alone),
	  UNIT(strict_topology_stays_within_the_allowed),
	  UNIT(a_node_outside_the_allowed_is_refused), UNIT(a_key_twice_in_one_term_is_refused),
	  UNIT(selected_node_without_labels_is_waited_for),
	  UNIT(another_half_registered_node_stops_nobody),
	  UNIT(driver_not_registered_on_the_node_is_waited_for),
	  UNIT(a_node_that_is_gone_gives_the_claim_back_to_the_scheduler),
	  UNIT(exactly_one_pool_is_asked_for_and_it_is_the_roomiest),
	  UNIT(a_pool_that_takes_no_volume_is_not_the_roomiest),
	  UNIT(a_selected_node_leaves_its_own_pools), UNIT(a_single_pool_costs_no_call),
	  UNIT(agents_that_do_not_answer_leave_the_choice_to_the_order),
	  UNIT(labels_of_nodes_stand_for_their_pools), UNIT(labels_that_no_node_bears_are_named),
	  UNIT(a_volume_in_doubt_is_never_tried_elsewhere))
