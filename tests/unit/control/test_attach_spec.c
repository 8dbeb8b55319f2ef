/* SPDX-License-Identifier: Apache-2.0 */
/* What the spec of a volume becomes in ControllerPublishVolume. */
#include "check.h"
#include "control/attach-internal.h"

#include "base/mem.h"

static bool lends_expand_secret;

static int read_spec(struct arena *arena, const char *text, struct attach_spec *spec,
		     struct err *err)
{
	autojson struct json_doc *doc = NULL;

	ASSERT_OK(json_parse(text, strlen(text), &doc, err), err);
	return attach_spec_read(arena, json_root(doc), "d", lends_expand_secret, spec, err);
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

TEST(the_secret_for_growing_is_lent_where_there_is_no_other)
{
#define GROWS "\"controllerExpandSecretRef\":{\"name\":\"e\",\"namespace\":\"s\"}"
#define VOLUME "{\"csi\":{\"driver\":\"d\",\"volumeHandle\":\"v\""
	static const struct {
		const char *text;
		bool lends;
		const char *name;
	} cases[] = {
		{ VOLUME "," GROWS "}}", true, "e" },
		{ VOLUME "," GROWS "}}", false, "" },
		{ VOLUME "}}", true, "" },
		{ VOLUME "," GROWS ",\"controllerPublishSecretRef\":"
			 "{\"name\":\"p\",\"namespace\":\"s\"}}}",
		  true, "p" },
	};
	autoarena struct arena *arena = arena_new();
	struct attach_spec spec;
	struct err err;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		lends_expand_secret = cases[i].lends;
		ASSERT_OK(read_spec(arena, cases[i].text, &spec, &err), &err);
		ASSERT_STR(spec.secret.name, cases[i].name);
	}
	lends_expand_secret = true;
	ASSERT_ERR(read_spec(arena, VOLUME ",\"controllerExpandSecretRef\":{\"name\":\"e\"}}}",
			     &spec, &err),
		   &err, ERR_INVALID_ARGUMENT, "controllerExpandSecretRef has no namespace");
	lends_expand_secret = false;
}

RUN_TESTS(UNIT(what_is_no_volume_of_ours_is_named), UNIT(a_volume_of_ours_is_read),
	  UNIT(the_secret_for_growing_is_lent_where_there_is_no_other))
