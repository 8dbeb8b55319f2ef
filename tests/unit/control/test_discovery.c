/* SPDX-License-Identifier: Apache-2.0 */
/* EndpointSlices: which pod of a Service stands for which node. */
#include "check.h"

#include "base/ctx.h"
#include "base/mem.h"
#include "control/discovery.h"

static const struct kube_object *decode(const char *text)
{
	autojson struct json_doc *doc = NULL;
	struct err err;

	ASSERT_OK(json_parse(text, strlen(text), &doc, &err), &err);
	return kube_object_decode(&discovery_slice_type, json_root(doc));
}

#define SLICE(type, endpoints)                                                           \
	"{\"metadata\":{\"name\":\"s\",\"namespace\":\"x\",\"labels\":{\"kubernetes.io/" \
	"service-name\":\"agents\",\"a\":\"b\"}},\"addressType\":\"" type                \
	"\",\"endpoints\":[" endpoints "],\"ports\":[{\"name\":\"http\",\"port\":1},{"   \
	"\"name\":\"agent\",\"port\":10000}]}"
#define AT(address, node, conditions)                                       \
	"{\"addresses\":[\"" address "\",\"9.9.9.9\"],\"nodeName\":\"" node \
	"\",\"conditions\":{" conditions "}}"

TEST(a_slice_keeps_what_is_used)
{
	autokobj const struct kube_object *o = decode(SLICE(
		"IPv4",
		AT("10.0.0.1", "n1", "\"ready\":false") "," AT(
			"10.0.0.2", "n2",
			"\"ready\":false,\"serving\":true,\"terminating\":true") "," AT("10.0.0.3",
											"n3", "")));
	const struct discovery_slice *s = discovery_slice_of(o);

	ASSERT_STR(discovery_slice_service(o, 0), "agents");
	ASSERT_TRUE(discovery_slice_service(o, 1) == NULL);
	ASSERT_STR(s->address_type, "IPv4");
	ASSERT_EQ(s->n_endpoints, 3);
	ASSERT_STR(s->endpoints[0].address, "10.0.0.1");
	ASSERT_STR(s->endpoints[0].node_name, "n1");
	ASSERT_FALSE(s->endpoints[0].is_serving || s->endpoints[0].is_terminating);
	ASSERT_TRUE(s->endpoints[1].is_serving && s->endpoints[1].is_terminating);
	ASSERT_TRUE(s->endpoints[2].is_serving);
	ASSERT_TRUE(s->n_ports == 2 && s->ports[1].port == 10000);
}

TEST(what_a_slice_lacks_is_empty)
{
	static const char *const texts[] = {
		"{\"metadata\":{\"name\":\"s\"}}",
		"{\"metadata\":{\"name\":\"s\"},\"endpoints\":null,\"ports\":null}",
		"{\"metadata\":{\"name\":\"s\"},\"endpoints\":[{\"addresses\":[]},{},1],\"ports\":["
		"{}]}",
	};
	struct ctx ctx;

	ctx_init(&ctx, 0);
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		autokobj const struct kube_object *o = decode(texts[i]);
		const struct discovery_slice *s = discovery_slice_of(o);
		size_t n = 9;

		ASSERT_TRUE(discovery_slice_service(o, 0) == NULL);
		(void)discovery_places(ctx.arena, &s, 1, "", &n);
		ASSERT_EQ(n, 0);
	}
	ctx_done(&ctx);
}

static void assert_places(const char *const *texts, size_t n_texts, const char *want)
{
	const struct kube_object *objects[4];
	const struct discovery_slice *slices[4];
	const struct discovery_place *places;
	autostr struct str got = STR_INIT;
	struct ctx ctx;
	size_t n;

	ctx_init(&ctx, 0);
	for (size_t i = 0; i < n_texts; i++) {
		objects[i] = decode(texts[i]);
		slices[i] = discovery_slice_of(objects[i]);
	}
	places = discovery_places(ctx.arena, slices, n_texts, "agent", &n);
	for (size_t i = 0; i < n; i++)
		str_appendf(&got, "%s=%s ", places[i].node_name, places[i].address);
	ASSERT_STR(str_get(&got), want);
	for (size_t i = 0; i < n_texts; i++)
		kube_object_unref(objects[i]);
	ctx_done(&ctx);
}

TEST(each_node_has_one_place_and_the_best)
{
	static const char *const plain[] = {
		SLICE("IPv4", AT("10.0.0.2", "n2", "") "," AT("10.0.0.1", "n1", "")),
		SLICE("IPv4", AT("10.0.0.9", "", "") "," AT("10.0.0.3", "n3", "\"ready\":false")),
	};
	static const char *const replaced[] = {
		SLICE("IPv4", AT("10.0.0.1", "n1",
				 "\"ready\":false,\"serving\":true,\"terminating\":true")),
		SLICE("IPv4", AT("10.0.0.2", "n1", "\"ready\":false") "," AT("10.0.0.8", "n1",
									     "\"ready\":false")),
	};
	static const char *const dual[] = {
		SLICE("IPv6", AT("fd00::1", "n1", "") "," AT("fd00::2", "n2", "")),
		SLICE("IPv4", AT("10.0.0.1", "n1", "")),
	};
	static const char *const named[] = {
		SLICE("FQDN", AT("agent.example", "n1", "") "," AT("agent.example", "n2", "")),
		SLICE("IPv6", AT("fd00::1", "n1", "")),
	};
	static const char *const started[] = {
		SLICE("IPv4", AT("10.0.0.1", "n1", "\"ready\":false") "," AT("10.0.0.2", "n1",
									     "\"ready\":true")),
	};

	assert_places(plain, 2,
		      "n1=tcp://[10.0.0.1]:10000 n2=tcp://[10.0.0.2]:10000 "
		      "n3=tcp://[10.0.0.3]:10000 ");
	assert_places(replaced, 2, "n1=tcp://[10.0.0.2]:10000 ");
	assert_places(dual, 2, "n1=tcp://[10.0.0.1]:10000 n2=tcp://[fd00::2]:10000 ");
	assert_places(named, 2, "n1=tcp://[fd00::1]:10000 ");
	assert_places(started, 1, "n1=tcp://[10.0.0.2]:10000 ");
}

RUN_TESTS(UNIT(a_slice_keeps_what_is_used), UNIT(what_a_slice_lacks_is_empty),
	  UNIT(each_node_has_one_place_and_the_best))
