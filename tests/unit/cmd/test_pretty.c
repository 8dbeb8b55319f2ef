/* SPDX-License-Identifier: Apache-2.0 */
/* What a person gets to read of a JSON document. */
#include "check.h"
#include "cmd/pretty.h"

TEST(documents_are_written_as_people_read_them)
{
	static const struct {
		const char *json, *pretty, *yaml;
	} cases[] = {
		{ "{}", "{}\n", "{}\n" },
		{ "[]", "[]\n", "[]\n" },
		{ "{\"items\":[]}", "{\n  \"items\": []\n}\n", "\"items\": []\n" },
		{ "{\"a\":1,\"b\":\"x: y\\n\"}", "{\n  \"a\": 1,\n  \"b\": \"x: y\\n\"\n}\n",
		  "\"a\": 1\n\"b\": \"x: y\\n\"\n" },
		{ "{\"i\":[{\"a\":true,\"m\":{\"k\":\"v\"}},{\"a\":null}]}",
		  "{\n  \"i\": [\n    {\n      \"a\": true,\n      \"m\": {\n        \"k\": "
		  "\"v\"\n      }\n"
		  "    },\n    {\n      \"a\": null\n    }\n  ]\n}\n",
		  "\"i\":\n  - \"a\": true\n    \"m\":\n      \"k\": \"v\"\n  - \"a\": null\n" },
		{ "[[1,2],[3]]", "[\n  [\n    1,\n    2\n  ],\n  [\n    3\n  ]\n]\n",
		  "- - 1\n  - 2\n- - 3\n" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		autostr struct str pretty = STR_INIT;
		autostr struct str yaml = STR_INIT;
		autojson struct json_doc *doc = NULL;
		struct err err;

		ASSERT_OK(json_parse(cases[i].json, strlen(cases[i].json), &doc, &err), &err);
		pretty_json(json_root(doc), &pretty);
		pretty_yaml(json_root(doc), &yaml);
		ASSERT_STR(str_get(&pretty), cases[i].pretty);
		ASSERT_STR(str_get(&yaml), cases[i].yaml);
	}
}

RUN_TESTS(UNIT(documents_are_written_as_people_read_them))
