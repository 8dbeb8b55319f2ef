/* SPDX-License-Identifier: Apache-2.0 */
/* What is published of room, for which nodes and classes, and when. */
#include "capacities.h"
#include "check.h"

#include "base/mem.h"
#include "base/metric.h"
#include "base/str.h"
#include "kube/informer.h"

TEST(each_segment_has_one_for_each_class)
{
	capacities_begin();
	capacities_put_class("slow", DRIVER, true);
	capacities_put_class("at-once", DRIVER, false);
	capacities_put_class("foreign", "another.csi", true);
	capacities_run(NS_PER_S);
	ASSERT_EQ(fake_count(&storage_capacity_type), 4);
	ASSERT_STR(capacities_at("fast", "a", "capacity"), "10Gi");
	ASSERT_STR(capacities_at("fast", "a", "maximumVolumeSize"), "5Gi");
	ASSERT_STR(capacities_at("fast", "b", "capacity"), "10Gi");
	ASSERT_STR(capacities_at("slow", "a", "apiVersion"), "storage.k8s.io/v1");
	ASSERT_STR(capacities_at("slow", "b", "metadata.namespace"), "cleat");
	ASSERT_STR(capacities_at("slow", "b", "owner"), "set-uid");
	ASSERT_TRUE(contains(fake_text(capacities_find("fast", "a")), "\"controller\":true"));
	ASSERT_TRUE(contains(capacities_find("fast", "a"), CAPACITIES "csisc-"));
}

/* Drivers may read Kubernetes' own parameters there, as external-provisioner has it. */
TEST(the_driver_gets_segment_and_parameters_as_they_are)
{
	capacities_begin();
	fake_delete(NODE2);
	capacities_run(NS_PER_S);
	ASSERT_STR(fake_service.last_capacity, "{topology.example/zone=a}"
					       "{csi.storage.k8s.io/fstype=xfs,pool=p}");
}

TEST(classes_that_bind_at_once_on_demand)
{
	struct capacity_process p;

	capacities_begin();
	capacities_put_class("at-once", DRIVER, false);
	capacities_start(&p, (struct capacity_options){ .covers_immediate = true });
	fake_run(NS_PER_S);
	capacities_stop(&p);
	ASSERT_EQ(fake_count(&storage_capacity_type), 4);
}

static void assert_owner(struct capacity_options opts, const char *uid)
{
	struct capacity_process p;

	capacities_begin();
	capacities_start(&p, opts);
	fake_run(NS_PER_S);
	capacities_stop(&p);
	ASSERT_STR(capacities_at("fast", "a", "owner"), uid);
}

TEST(the_owner_is_by_level)
{
	assert_owner((struct capacity_options){ .owner_level = 2 }, "deployment-uid");
	assert_owner((struct capacity_options){ .owner_level = -1 }, "");
	assert_owner((struct capacity_options){ .owner_level = 1 }, "set-uid");
}

TEST(the_pod_itself_may_be_the_owner)
{
	capacities_begin();
	fake_merge(POD_PATH, "{\"metadata\":{\"ownerReferences\":null}}");
	capacities_run(NS_PER_S);
	ASSERT_STR(capacities_at("fast", "a", "owner"), "pod-uid");
}

/* A static pod: the object of it in the API has its node for an owner. */
TEST(an_owner_may_be_in_no_namespace)
{
	struct capacity_process p;

	capacities_begin();
	fake_merge(POD_PATH,
		   "{\"metadata\":{\"ownerReferences\":[{\"apiVersion\":\"v1\",\"kind\":\"Node\","
		   "\"name\":\"n1\",\"uid\":\"node-uid\",\"controller\":true}]}}");
	fake_merge("/api/v1/nodes/n1", "{\"metadata\":{\"uid\":\"node-uid\"}}");
	capacities_start(&p, (struct capacity_options){ .owner_level = 2 });
	fake_run(NS_PER_S);
	capacities_stop(&p);
	ASSERT_STR(capacities_at("fast", "a", "owner"), "node-uid");
}

TEST(without_an_owner_that_can_be_read_nothing_is_done)
{
	struct capacity_process p;

	capacities_begin();
	fake_delete(POD_PATH);
	capacities_put("old", CAPACITY_MANAGER, "fast", "a", "1Gi");
	capacities_put("stale", CAPACITY_MANAGER, "fast", "z", "1Gi");
	capacities_start(&p, (struct capacity_options){ 0 });
	fake_run(MINUTE);
	ASSERT_EQ(fake_count(&storage_capacity_type), 2); /* nor is anything taken for stale */
	ASSERT_STR(capacities_at("fast", "a", "capacity"), "1Gi");
	capacities_stop(&p);
}

TEST(a_volume_that_comes_or_goes_is_seen_within_a_second)
{
	struct capacity_process p;

	capacities_begin();
	capacities_start(&p, (struct capacity_options){ 0 });
	fake_run(5 * NS_PER_S);
	fake_service.room_bytes = GIB_10 / 2;
	capacities_put_pv("one", "b");
	fake_run(NS_PER_S);
	ASSERT_STR(capacities_at("fast", "b", "capacity"), "5Gi");
	ASSERT_STR(capacities_at("fast", "a", "capacity"), "10Gi"); /* nothing happened there */
	fake_service.room_bytes = GIB_10;
	fake_delete("/api/v1/persistentvolumes/one");
	fake_run(NS_PER_S);
	ASSERT_STR(capacities_at("fast", "b", "capacity"), "10Gi");
	capacities_stop(&p);
}

TEST(a_volume_that_grows_is_seen_and_one_that_is_anywhere_too)
{
	struct capacity_process p;

	capacities_begin();
	capacities_start(&p, (struct capacity_options){ 0 });
	capacities_put_pv("one", NULL);
	fake_run(5 * NS_PER_S);
	fake_service.room_bytes = GIB_10 / 2;
	fake_merge("/api/v1/persistentvolumes/one",
		   "{\"spec\":{\"capacity\":{\"storage\":\"2Gi\"}}}");
	fake_run(NS_PER_S);
	ASSERT_STR(capacities_at("fast", "a", "capacity"), "5Gi");
	ASSERT_STR(capacities_at("fast", "b", "capacity"), "5Gi");
	capacities_stop(&p);
}

TEST(a_burst_of_volumes_is_one_question)
{
	struct capacity_process p;
	unsigned before;

	capacities_begin();
	capacities_start(&p, (struct capacity_options){ 0 });
	fake_run(5 * NS_PER_S);
	before = fake_service.n_asked_room;
	for (unsigned i = 0; i < 50; i++) {
		autofree char *name = xasprintf("pv-%u", i);

		capacities_put_pv(name, "a");
		fake_run(NS_PER_MS);
	}
	fake_run(NS_PER_S);
	ASSERT_EQ(fake_service.n_asked_room - before, 1);
	capacities_stop(&p);
}

/* Two volumes, the second 700 ms after the first: how often room was asked for. */
static unsigned ask_about_two(const char *first, const char *second)
{
	unsigned before = fake_service.n_asked_room;

	capacities_put_pv(first, "a");
	fake_run(700 * NS_PER_MS);
	capacities_put_pv(second, "a");
	fake_run(NS_PER_S);
	return fake_service.n_asked_room - before;
}

TEST(where_it_was_published_just_now_more_is_gathered)
{
	struct capacity_process p;

	capacities_begin();
	capacities_start(&p, (struct capacity_options){ 0 });
	fake_run(10 * NS_PER_S);
	ASSERT_EQ(ask_about_two("one", "two"), 2);
	ASSERT_EQ(ask_about_two("three", "four"), 1);
	fake_run(10 * NS_PER_S);
	ASSERT_EQ(ask_about_two("five", "six"), 2);
	capacities_stop(&p);
}

TEST(a_claim_that_was_sent_away_is_seen)
{
	struct capacity_process p;

	capacities_begin();
	cluster_put_claim("data-0");
	cluster_use_wait_for_consumer();
	capacities_start(&p, (struct capacity_options){ 0 });
	fake_run(5 * NS_PER_S);
	fake_service.room_bytes = GIB_10 / 2;
	fake_merge(CLAIM, "{\"metadata\":{\"annotations\":{\"volume.kubernetes.io/selected-node\":"
			  "null}}}");
	fake_run(NS_PER_S);
	ASSERT_STR(capacities_at("fast", "b", "capacity"), "5Gi");
	ASSERT_STR(capacities_at("fast", "a", "capacity"), "10Gi");
	capacities_stop(&p);
}

TEST(what_nobody_tells_is_seen_at_the_next_poll)
{
	struct capacity_process p;

	capacities_begin();
	capacities_start(&p, (struct capacity_options){ 0 });
	fake_run(5 * NS_PER_S);
	fake_service.room_bytes = GIB_10 / 2;
	fake_service.tells_no_maximum = true;
	fake_run(40 * NS_PER_S);
	ASSERT_STR(capacities_at("fast", "a", "capacity"), "10Gi");
	fake_run(30 * NS_PER_S);
	ASSERT_STR(capacities_at("fast", "a", "capacity"), "5Gi");
	ASSERT_STR(capacities_at("fast", "a", "maximumVolumeSize"), "");
	capacities_stop(&p);
}

TEST(what_is_the_same_is_not_written_again)
{
	struct capacity_process p;
	autofree char *before = NULL;

	capacities_begin();
	capacities_start(&p, (struct capacity_options){ 0 });
	fake_run(5 * NS_PER_S);
	before = xstrdup(capacities_at("fast", "a", "metadata.resourceVersion"));
	fake_run(20 * MINUTE);
	ASSERT_STR(capacities_at("fast", "a", "metadata.resourceVersion"), before);
	capacities_stop(&p);
}

TEST(a_new_node_or_class_brings_its_own_and_takes_it_along)
{
	struct capacity_process p;

	capacities_begin();
	capacities_start(&p, (struct capacity_options){ 0 });
	fake_run(5 * NS_PER_S);
	fake_merge(NODE2, "{\"metadata\":{\"labels\":{\"topology.example/zone\":\"c\"}}}");
	fake_run(NS_PER_S);
	ASSERT_STR(capacities_at("fast", "c", "capacity"), "10Gi");
	ASSERT_STR(capacities_at("fast", "b", "capacity"), "none");
	fake_delete(NODE2);
	fake_run(NS_PER_S);
	ASSERT_STR(capacities_at("fast", "c", "capacity"), "none");
	fake_delete(CLASS);
	fake_run(NS_PER_S);
	ASSERT_EQ(fake_count(&storage_capacity_type), 0);
	capacities_put_class("fast", DRIVER, true);
	fake_run(NS_PER_S);
	ASSERT_STR(capacities_at("fast", "a", "capacity"), "10Gi");
	capacities_stop(&p);
}

TEST(two_nodes_of_one_segment_are_one)
{
	capacities_begin();
	fake_merge(NODE2, "{\"metadata\":{\"labels\":{\"topology.example/zone\":\"a\"}}}");
	capacities_run(NS_PER_S);
	ASSERT_EQ(fake_count(&storage_capacity_type), 1);
}

TEST(a_changed_topology_key_is_another_segment)
{
	struct capacity_process p;

	capacities_begin();
	capacities_start(&p, (struct capacity_options){ 0 });
	fake_run(5 * NS_PER_S);
	fake_merge(CSI_NODE2,
		   "{\"spec\":{\"drivers\":[{\"name\":\"" DRIVER
		   "\",\"nodeID\":\"n2\",\"topologyKeys\":[\"topology.example/host\"]}]}}");
	fake_run(NS_PER_S);
	ASSERT_STR(capacities_at("fast", "b", "capacity"), "none");
	ASSERT_EQ(fake_count(&storage_capacity_type), 2);
	ASSERT_STR(fake_service.last_capacity, "{topology.example/host=n2}"
					       "{csi.storage.k8s.io/fstype=xfs,pool=p}");
	capacities_stop(&p);
}

/* A node that is registered by halves, with nothing to say where it is, or with no keys at all. */
TEST(a_node_without_keys_is_everywhere_and_one_without_a_list_nowhere)
{
	capacities_begin();
	fake_merge(CSI_NODE1, "{\"spec\":{\"drivers\":[{\"name\":\"" DRIVER
			      "\",\"nodeID\":\"n1\",\"topologyKeys\":[]}]}}");
	fake_merge(CSI_NODE2, "{\"spec\":{\"drivers\":[{\"name\":\"" DRIVER
			      "\",\"nodeID\":\"n2\",\"topologyKeys\":null}]}}");
	capacities_run(NS_PER_S);
	ASSERT_EQ(fake_count(&storage_capacity_type), 1);
	ASSERT_STR(fake_service.last_capacity, "{}{csi.storage.k8s.io/fstype=xfs,pool=p}");
	capacities_begin();
	fake_merge(NODE2, "{\"metadata\":{\"labels\":{\"topology.example/zone\":null}}}");
	capacities_run(NS_PER_S);
	ASSERT_EQ(fake_count(&storage_capacity_type), 1);
}

/* ---- what was there before ---- */

TEST(those_of_external_provisioner_are_taken_over)
{
	capacities_begin();
	capacities_put("csisc-x7k2p", CAPACITY_MANAGER, "fast", "a", "1Gi");
	capacities_run(NS_PER_S);
	ASSERT_STR(capacities_at("fast", "a", "metadata.name"), "csisc-x7k2p");
	ASSERT_STR(capacities_at("fast", "a", "capacity"), "10Gi");
	ASSERT_STR(capacities_at("fast", "a", "owner"), "set-uid");
}

TEST(what_is_doubled_or_of_nothing_goes_and_what_is_not_ours_stays)
{
	capacities_begin();
	capacities_put("one", CAPACITY_MANAGER, "fast", "a", "1Gi");
	capacities_put("two", CAPACITY_MANAGER, "fast", "a", "2Gi");
	capacities_put("gone", CAPACITY_MANAGER, "fast", "z", "1Gi");
	capacities_put("nowhere", CAPACITY_MANAGER, "fast", NULL, "1Gi");
	capacities_put("foreign", "somebody", "fast", "z", "1Gi");
	capacities_put("foreign-too", "somebody", "fast", "a", "1Gi");
	capacities_run(NS_PER_S);
	ASSERT_EQ(fake_count(&storage_capacity_type), 4);
	ASSERT_EQ(capacities_count("fast", "a"), 1);
	ASSERT_TRUE(contains(fake_text(CAPACITIES "foreign"), "\"capacity\":\"1Gi\""));
	ASSERT_TRUE(contains(fake_text(CAPACITIES "foreign-too"), "\"capacity\":\"1Gi\""));
}

TEST(what_others_change_or_delete_is_as_it_was)
{
	struct capacity_process p;
	autofree char *path = NULL;

	capacities_begin();
	capacities_start(&p, (struct capacity_options){ 0 });
	fake_run(5 * NS_PER_S);
	path = xstrdup(capacities_find("fast", "a"));
	fake_merge(path, "{\"capacity\":\"1Ti\"}");
	fake_run(NS_PER_S);
	ASSERT_STR(capacities_at("fast", "a", "capacity"), "10Gi");
	fake_merge(path, "{\"metadata\":{\"ownerReferences\":null}}");
	fake_run(NS_PER_S);
	ASSERT_STR(capacities_at("fast", "a", "owner"), "set-uid");
	fake_delete(path);
	fake_run(NS_PER_S);
	ASSERT_STR(capacities_at("fast", "a", "capacity"), "10Gi");
	capacities_stop(&p);
}

/* It keeps the name that ours would have. */
TEST(one_whose_labels_were_taken_off_is_not_ours_any_more)
{
	struct capacity_process p;
	autofree char *path = NULL;

	capacities_begin();
	capacities_start(&p, (struct capacity_options){ 0 });
	fake_run(5 * NS_PER_S);
	path = xstrdup(capacities_find("fast", "a"));
	fake_merge(path, "{\"metadata\":{\"labels\":null},\"capacity\":\"3Gi\"}");
	fake_run(5 * NS_PER_S);
	ASSERT_TRUE(contains(fake_text(path), "\"capacity\":\"3Gi\""));
	ASSERT_STR(capacities_at("fast", "a", "capacity"), "10Gi");
	ASSERT_TRUE(str_has_suffix(capacities_find("fast", "a"), "-2"));
	capacities_stop(&p);
}

/* ---- a driver that does not answer ---- */

TEST(the_last_value_stays_for_a_time_and_comes_back)
{
	struct capacity_process p;

	capacities_begin();
	capacities_start(&p, (struct capacity_options){ 0 });
	fake_run(5 * NS_PER_S);
	fake_service.capacity_error = ERR_UNAVAILABLE;
	fake_run(9 * MINUTE);
	ASSERT_STR(capacities_at("fast", "a", "capacity"), "10Gi");
	fake_run(3 * MINUTE);
	ASSERT_EQ(fake_count(&storage_capacity_type), 0);
	fake_service.capacity_error = ERR_OK;
	fake_run(2 * MINUTE);
	ASSERT_STR(capacities_at("fast", "a", "capacity"), "10Gi");
	capacities_stop(&p);
}

/* Nobody knows how long it had been away before. */
TEST(another_process_gives_it_the_whole_time_again)
{
	capacities_begin();
	capacities_run(5 * NS_PER_S);
	fake_service.capacity_error = ERR_DEADLINE_EXCEEDED;
	capacities_run(9 * MINUTE);
	capacities_run(9 * MINUTE);
	ASSERT_STR(capacities_at("fast", "a", "capacity"), "10Gi");
}

#define DRIVERS(list) "{\"spec\":{\"drivers\":[" list "]}}"
#define REGISTERED \
	"{\"name\":\"" DRIVER "\",\"nodeID\":\"n2\",\"topologyKeys\":[\"topology.example/zone\"]}"

/* As kubelet does it while the agent's pod is replaced. */
TEST(while_a_driver_is_not_registered_its_last_value_stays)
{
	struct capacity_process p;
	autofree char *uid = NULL;

	capacities_begin();
	capacities_start(&p, (struct capacity_options){ 0 });
	fake_run(5 * NS_PER_S);
	uid = xstrdup(capacities_at("fast", "b", "metadata.uid"));
	fake_merge(CSI_NODE2, DRIVERS(""));
	fake_service.room_bytes = GIB_10 / 2;
	fake_run(9 * MINUTE);
	ASSERT_STR(capacities_at("fast", "b", "capacity"), "10Gi"); /* nor is anybody asked */
	fake_merge(CSI_NODE2, DRIVERS(REGISTERED));
	fake_run(NS_PER_S);
	ASSERT_STR(capacities_at("fast", "b", "capacity"), "5Gi");
	ASSERT_STR(capacities_at("fast", "b", "metadata.uid"), uid);
	fake_merge(CSI_NODE2, DRIVERS(""));
	fake_run(12 * MINUTE);
	ASSERT_EQ(capacities_count("fast", "b"), 0);
	ASSERT_EQ(capacities_count("fast", "a"), 1);
	fake_merge(CSI_NODE2, DRIVERS(REGISTERED));
	fake_run(NS_PER_S);
	ASSERT_STR(capacities_at("fast", "b", "capacity"), "5Gi");
	capacities_stop(&p);
}

/* An upgrade replaces controller and agents together. */
TEST(another_process_keeps_it_too_but_not_without_node_or_class)
{
	capacities_begin();
	capacities_put_class("slow", DRIVER, true);
	capacities_run(5 * NS_PER_S);
	fake_merge(CSI_NODE2, DRIVERS(""));
	capacities_run(9 * MINUTE);
	ASSERT_EQ(capacities_count("fast", "b"), 1);
	fake_delete(CLASS);
	capacities_run(NS_PER_S);
	ASSERT_EQ(capacities_count("fast", "b"), 0);
	ASSERT_EQ(capacities_count("slow", "b"), 1);
	fake_delete(NODE2);
	capacities_run(NS_PER_S);
	ASSERT_EQ(capacities_count("slow", "b"), 0);
	ASSERT_EQ(capacities_count("slow", "a"), 1);
}

/* ---- terms ---- */

TEST(who_was_paused_looks_at_everything_anew)
{
	struct capacity_process p;

	capacities_begin();
	capacities_start(&p, (struct capacity_options){ 0 });
	fake_run(5 * NS_PER_S);
	capacity_pause(p.capacity);
	fake_service.room_bytes = GIB_10 / 2;
	capacities_put("stale", CAPACITY_MANAGER, "fast", "z", "1Gi");
	fake_run(5 * MINUTE);
	ASSERT_STR(capacities_at("fast", "a", "capacity"), "10Gi");
	ASSERT_STR(capacities_at("fast", "z", "capacity"), "1Gi");
	capacity_start(p.capacity);
	fake_run(NS_PER_S);
	ASSERT_STR(capacities_at("fast", "a", "capacity"), "5Gi");
	ASSERT_STR(capacities_at("fast", "z", "capacity"), "none");
	capacities_stop(&p);
}

static bool is_metric(const char *line)
{
	autostr struct str page = STR_INIT;

	metric_render(&page);
	return strstr(str_get(&page), line);
}

TEST(who_was_paused_counts_no_more)
{
	struct capacity_process p;

	capacities_begin();
	capacities_start(&p, (struct capacity_options){ 0 });
	fake_run(5 * NS_PER_S);
	fake_service.capacity_error = ERR_UNAVAILABLE;
	fake_run(2 * MINUTE);
	ASSERT_TRUE(is_metric("csistoragecapacities_desired_goal 2\n"));
	ASSERT_FALSE(is_metric("cleat_capacity_oldest_seconds 0\n"));
	capacity_pause(p.capacity);
	ASSERT_TRUE(is_metric("csistoragecapacities_desired_goal 0\n"));
	ASSERT_TRUE(is_metric("csistoragecapacities_desired_current 0\n"));
	ASSERT_TRUE(is_metric("cleat_capacity_oldest_seconds 0\n"));
	capacities_stop(&p);
}

TEST(writes_can_be_bounded)
{
	struct capacity_process p;

	capacities_begin();
	capacities_put_class("slow", DRIVER, true);
	capacities_start(&p, (struct capacity_options){ .write_qps = 1, .write_burst = 2 });
	fake_run(NS_PER_S / 2);
	ASSERT_EQ(fake_count(&storage_capacity_type), 2);
	fake_run(NS_PER_S);
	ASSERT_EQ(fake_count(&storage_capacity_type), 3);
	fake_run(NS_PER_S);
	ASSERT_EQ(fake_count(&storage_capacity_type), 4);
	capacities_stop(&p);
}

/* ---- a process of one node ---- */

TEST(a_nodes_own_objects_bear_its_name_as_upstream_shortens_it)
{
	char manager[CAPACITY_MANAGER_BYTES];

	capacity_manager("", manager);
	ASSERT_STR(manager, "external-provisioner");
	capacity_manager("n1", manager);
	ASSERT_STR(manager, "external-provisioner-n1");
	capacity_manager("ip-10-0-0-1.eu-central-1.compute.internal.example", manager);
	ASSERT_STR(manager, "exte-53f40b57-ip-10-0-0-1.eu-central-1.compute.internal.example");
	capacity_manager("a-name.of-more-than-what-a-label-may-have.in-all.together.example.com",
			 manager);
	ASSERT_STR(manager, "external-provisioner-f9e1dc53");
}

RUN_TESTS(UNIT(each_segment_has_one_for_each_class),
	  UNIT(the_driver_gets_segment_and_parameters_as_they_are),
	  UNIT(classes_that_bind_at_once_on_demand), UNIT(the_owner_is_by_level),
	  UNIT(the_pod_itself_may_be_the_owner), UNIT(an_owner_may_be_in_no_namespace),
	  UNIT(without_an_owner_that_can_be_read_nothing_is_done),
	  UNIT(a_volume_that_comes_or_goes_is_seen_within_a_second),
	  UNIT(a_volume_that_grows_is_seen_and_one_that_is_anywhere_too),
	  UNIT(a_burst_of_volumes_is_one_question),
	  UNIT(where_it_was_published_just_now_more_is_gathered),
	  UNIT(a_claim_that_was_sent_away_is_seen),
	  UNIT(what_nobody_tells_is_seen_at_the_next_poll),
	  UNIT(what_is_the_same_is_not_written_again),
	  UNIT(a_new_node_or_class_brings_its_own_and_takes_it_along),
	  UNIT(two_nodes_of_one_segment_are_one), UNIT(a_changed_topology_key_is_another_segment),
	  UNIT(a_node_without_keys_is_everywhere_and_one_without_a_list_nowhere),
	  UNIT(those_of_external_provisioner_are_taken_over),
	  UNIT(what_is_doubled_or_of_nothing_goes_and_what_is_not_ours_stays),
	  UNIT(what_others_change_or_delete_is_as_it_was),
	  UNIT(one_whose_labels_were_taken_off_is_not_ours_any_more),
	  UNIT(the_last_value_stays_for_a_time_and_comes_back),
	  UNIT(another_process_gives_it_the_whole_time_again),
	  UNIT(while_a_driver_is_not_registered_its_last_value_stays),
	  UNIT(another_process_keeps_it_too_but_not_without_node_or_class),
	  UNIT(who_was_paused_looks_at_everything_anew), UNIT(who_was_paused_counts_no_more),
	  UNIT(writes_can_be_bounded),
	  UNIT(a_nodes_own_objects_bear_its_name_as_upstream_shortens_it))
