/* SPDX-License-Identifier: Apache-2.0 */
/* What of a Node's JSON tells whether it is lost, back, and has a volume. */
#include "check.h"

#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "cmd/nodes.h"

#define DRIVER "rbd.csi.ceph.com"
#define HANDLE "0001-0002-c1-0000000000000001-ef8bee5a-62a9-41fa-88f5-f0784edfb316"
#define MACHINE "4C4C4544-0051-4A10-8059-B7C04F4D4732"
#define BOOT "1f6f5e0c-77d6-4b2c-a2b9-3f1f6b0e9f11"

static struct arena *arena;
static struct json_doc *doc;

static struct backend_node read_node(const char *text)
{
	struct backend_node node;
	struct err err;

	arena = arena_new();
	ASSERT_OK(json_parse(text, strlen(text), &doc, &err), &err);
	nodes_read(arena, json_root(doc), DRIVER, HANDLE, &node);
	return node;
}

static void done(void)
{
	json_free(doc);
	arena_free(arena);
}

TEST(a_node_that_is_well_says_what_it_has)
{
	struct backend_node node = read_node(
		"{\"spec\":{\"taints\":[{\"key\":\"node.kubernetes.io/unschedulable\"}]},"
		"\"status\":{\"nodeInfo\":{\"bootID\":\"" BOOT "\",\"systemUUID\":\"" MACHINE "\"},"
		"\"conditions\":[{\"type\":\"MemoryPressure\",\"status\":\"False\"},"
		"{\"type\":\"Ready\",\"status\":\"True\"}],"
		"\"addresses\":[{\"type\":\"Hostname\",\"address\":\"w1\"},"
		"{\"type\":\"InternalIP\",\"address\":\"10.98.0.11\"},"
		"{\"type\":\"InternalIP\",\"address\":\"fd00::11\"}],"
		"\"volumesInUse\":[\"kubernetes.io/csi/other.driver^" HANDLE "\","
		"\"kubernetes.io/csi/" DRIVER "^" HANDLE "\"]}}");

	ASSERT_FALSE(node.is_gone);
	ASSERT_FALSE(node.is_out_of_service);
	ASSERT_TRUE(node.is_ready);
	ASSERT_TRUE(node.has_volume && node.has_volumes);
	ASSERT_STR(node.boot_id, BOOT);
	ASSERT_STR(node.machine, "4c4c4544-0051-4a10-8059-b7c04f4d4732");
	ASSERT_EQ(node.n_addresses, 2);
	ASSERT_STR(node.addresses[0], "10.98.0.11");
	ASSERT_STR(node.addresses[1], "fd00::11");
	done();
}

TEST(a_node_out_of_service_is_told_by_its_taint)
{
	struct backend_node node = read_node(
		"{\"spec\":{\"taints\":[{\"key\":\"node.kubernetes.io/unreachable\"},"
		"{\"key\":\"node.kubernetes.io/out-of-service\",\"value\":\"nodeshutdown\","
		"\"effect\":\"NoExecute\"}]},"
		"\"status\":{\"conditions\":[{\"type\":\"Ready\",\"status\":\"Unknown\"}],"
		"\"volumesInUse\":[\"kubernetes.io/csi/" DRIVER "^" HANDLE "0\"]}}");

	ASSERT_TRUE(node.is_out_of_service);
	ASSERT_FALSE(node.is_ready);
	ASSERT_FALSE(node.has_volume);
	ASSERT_TRUE(node.has_volumes);
	done();
}

/* Firmware that was never told who it is says so of each machine. */
TEST(what_many_machines_say_names_none)
{
	static const char *const words[] = { "00000000-0000-0000-0000-000000000000",
					     "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF", "Not Settable",
					     "" };

	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		autofree char *text =
			xasprintf("{\"status\":{\"nodeInfo\":{\"systemUUID\":\"%s\"}}}", words[i]);

		ASSERT_STR(read_node(text).machine, "");
		done();
	}
}

/* One that has just been made, or that says nothing that can be understood. */
TEST(what_is_not_said_is_not_so)
{
	static const char *const texts[] = {
		"{}",
		"{\"spec\":{\"taints\":null},\"status\":{\"nodeInfo\":{\"bootID\":\"today\"},"
		"\"conditions\":[7],\"addresses\":{},\"volumesInUse\":[3,\"kubernetes.io/csi/\","
		"\"kubernetes.io/csi/" DRIVER "\",\"kubernetes.io/csi/" DRIVER ".other^x\"]}}",
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct backend_node node = read_node(texts[i]);

		ASSERT_FALSE(node.is_gone || node.is_out_of_service || node.is_ready);
		ASSERT_FALSE(node.has_volume || node.has_volumes);
		ASSERT_STR(node.boot_id, "");
		ASSERT_EQ(node.n_addresses, 0);
		done();
	}
}

RUN_TESTS(UNIT(a_node_that_is_well_says_what_it_has),
	  UNIT(a_node_out_of_service_is_told_by_its_taint), UNIT(what_many_machines_say_names_none),
	  UNIT(what_is_not_said_is_not_so))
