/* SPDX-License-Identifier: Apache-2.0 */
/* What the spec of a volume becomes in ControllerPublishVolume. */
#include "check.h"
#include "control/attach-internal.h"

#include "base/mem.h"

static int read_spec(struct arena *arena, const char *text, struct attach_spec *spec,
		     struct err *err)
{
	autojson struct json_doc *doc = NULL;

	ASSERT_OK(json_parse(text, strlen(text), &doc, err), err);
	return attach_spec_read(arena, json_root(doc), "d", spec, err);
}

TEST(what_is_no_volume_of_ours_is_named)
{
	static const struct {
		const char *text, *want;
	} cases[] = {
		{ "{}", "no CSI volume" },
		{ "{\"awsElasticBlockStore\":{\"volumeID\":\"x\"}}", "no CSI volume" },
		{ "{\"csi\":{\"driver\":\"e\",\"volumeHandle\":\"v\"}}", "driver 'e'" },
		{ "{\"csi\":{\"driver\":\"d\"}}", "volumeHandle is empty" },
		{ "{\"csi\":{\"driver\":\"d\",\"volumeHandle\":7}}", "volumeHandle is empty" },
		{ "{\"csi\":{\"driver\":\"d\",\"volumeHandle\":\"v\","
		  "\"controllerPublishSecretRef\":{\"name\":\"a\"}}}",
		  "has no namespace" },
		{ "{\"csi\":{\"driver\":\"d\",\"volumeHandle\":\"v\","
		  "\"controllerPublishSecretRef\":{\"namespace\":\"a\"}}}",
		  "has no name" },
	};
	autoarena struct arena *arena = arena_new();

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct attach_spec spec;
		struct err err;

		ASSERT_EQ(read_spec(arena, cases[i].text, &spec, &err), -1);
		assert_non_null(strstr(err.msg, cases[i].want));
	}
}

TEST(a_volume_of_ours_is_read)
{
	autoarena struct arena *arena = arena_new();
	struct attach_spec spec;
	struct err err;

	ASSERT_OK(read_spec(arena,
			    "{\"csi\":{\"driver\":\"d\",\"volumeHandle\":\"v\",\"readOnly\":true,"
			    "\"volumeAttributes\":{\"a\":\"b\"},"
			    "\"controllerPublishSecretRef\":{\"name\":\"n\",\"namespace\":\"s\"}}}",
			    &spec, &err),
		  &err);
	ASSERT_STR(spec.handle, "v");
	ASSERT_TRUE(spec.is_readonly);
	ASSERT_STR(strmap_find(&spec.attributes, "a"), "b");
	ASSERT_STR(spec.secret.name, "n");
	ASSERT_STR(spec.secret.ns, "s");
}

RUN_TESTS(UNIT(what_is_no_volume_of_ours_is_named), UNIT(a_volume_of_ours_is_read))
