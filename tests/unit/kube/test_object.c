/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include "base/mem.h"
#include "base/str.h"
#include "kube/object-internal.h"
#include "thing.h"

static const struct kube_object *decode(const struct kube_type *type, const char *text)
{
	autojson struct json_doc *doc = NULL;
	struct err err;

	ASSERT_OK(json_parse(text, strlen(text), &doc, &err), &err);
	return kube_object_decode(type, json_root(doc)); /* must not need doc any more */
}

static const char thing_text[] =
	"{\"metadata\":{\"name\":\"t\",\"namespace\":\"web\",\"uid\":\"u-1\","
	"\"resourceVersion\":\"77\",\"finalizers\":[\"one\",\"own/finalizer\"],"
	"\"annotations\":{\"foreign\":\"x\",\"b/kept\":\"\"},\"labels\":{\"z\":\"1\","
	"\"a\":\"2\",\"z\":\"1\"}},\"spec\":{\"owner\":\"blue\",\"size\":\"1Gi\","
	"\"tags\":[\"red\",\"odd\"],\"options\":{\"k\":\"v\"},\"parts\":[{\"name\":"
	"\"p\",\"tags\":[\"x\",\"y\"]},{}]}}";

TEST(an_object_is_metadata_and_what_its_type_keeps)
{
	autokobj const struct kube_object *o = decode(&thing_type, thing_text);
	const struct thing *t = thing_of(o);

	ASSERT_STR(o->ns, "web");
	ASSERT_STR(o->name, "t");
	ASSERT_STR(o->uid, "u-1");
	ASSERT_STR(o->resource_version, "77");
	ASSERT_FALSE(o->is_deleting);
	ASSERT_TRUE(kube_object_has_finalizer(o, "own/finalizer"));
	ASSERT_FALSE(kube_object_has_finalizer(o, "two"));
	ASSERT_EQ(o->annotations.n, 1);
	ASSERT_STR(strmap_find(&o->annotations, "b/kept"), "");
	ASSERT_EQ(o->labels.n, 2);
	ASSERT_STR(strmap_find(&o->labels, "a"), "2");
	ASSERT_STR(t->owner, "blue");
	ASSERT_TRUE(t->has_size);
	ASSERT_EQ(t->size, 1 << 30);
	ASSERT_EQ(t->tags.n, 2);
	ASSERT_STR(t->tags.v[1], "odd");
	ASSERT_STR(strmap_find(&t->options, "k"), "v");
	ASSERT_EQ(t->n_parts, 2);
	ASSERT_STR(t->parts[0].tags.v[1], "y");
	ASSERT_STR(t->parts[1].name, "");
}

TEST(words_of_the_type_take_no_memory)
{
	autokobj const struct kube_object *o = decode(&thing_type, thing_text);

	assert_ptr_equal(thing_of(o)->owner, thing_type.words.v[0]);
	assert_ptr_equal(thing_of(o)->tags.v[0], thing_type.words.v[2]);
	assert_ptr_equal(o->annotations.v[0].key, thing_type.annotations.v[1]);
}

TEST(a_type_may_keep_nothing_but_metadata)
{
	static const struct kube_type bare = { .kind = "Bare" };
	autokobj const struct kube_object *o = decode(&bare, thing_text);

	ASSERT_STR(o->name, "t");
	ASSERT_EQ(o->n_finalizers, 2);
	ASSERT_EQ(o->annotations.n, 0);
	ASSERT_EQ(o->labels.n, 0);
}

TEST(strings_are_never_null)
{
	autokobj const struct kube_object *o =
		decode(&thing_type, "{\"metadata\":{\"name\":\"x\",\"deletionTimestamp\":"
				    "\"2026-11-23T10:00:00Z\"}}");

	ASSERT_TRUE(o->is_deleting);
	ASSERT_STR(o->ns, "");
	ASSERT_STR(o->uid, "");
	ASSERT_STR(o->resource_version, "");
	ASSERT_STR(thing_of(o)->owner, "");
	ASSERT_FALSE(thing_of(o)->has_size);
}

TEST(a_size_is_a_quantity_or_none)
{
	static const char *const sizes[] = { "\"1ki\"", "\"10E\"", "\"-1\"", "null", "{}", "\"\"" };

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		autofree char *text = xasprintf(
			"{\"metadata\":{\"name\":\"x\"},\"spec\":{\"size\":%s}}", sizes[i]);
		autokobj const struct kube_object *o = decode(&thing_type, text);

		if (thing_of(o)->has_size)
			fail_msg("%s passed", sizes[i]);
	}
}

TEST(fields_of_the_wrong_type_are_as_if_absent)
{
	autokobj const struct kube_object *o = decode(
		&thing_type,
		"{\"metadata\":{\"name\":\"x\",\"finalizers\":{},\"annotations\":[1],"
		"\"labels\":7},\"spec\":{\"tags\":7,\"options\":[],\"parts\":{},\"owner\":[]}}");

	ASSERT_STR(o->name, "x");
	ASSERT_EQ(o->n_finalizers, 0);
	ASSERT_EQ(o->annotations.n, 0);
	ASSERT_EQ(o->labels.n, 0);
	ASSERT_STR(thing_of(o)->owner, "");
	ASSERT_EQ(thing_of(o)->tags.n, 0);
	ASSERT_EQ(thing_of(o)->n_parts, 0);
	assert_null(decode(&thing_type, "{\"metadata\":{\"name\":7}}"));
	assert_null(decode(&thing_type, "[]"));
}

TEST(an_object_lives_until_its_last_reference_goes)
{
	const struct kube_object *o = decode(&thing_type, thing_text);
	const struct kube_object *again = kube_object_ref(o);

	kube_object_unref(o);
	ASSERT_STR(again->name, "t");
	kube_object_unref(again);
	kube_object_unref(NULL);
}

TEST(versions_compare_as_numbers_of_any_length)
{
	ASSERT_TRUE(kube_version_compare("9", "10") < 0);
	ASSERT_TRUE(kube_version_compare("99999999999999999999", "100000000000000000000") < 0);
	ASSERT_TRUE(kube_version_compare("12", "11") > 0);
	ASSERT_EQ(kube_version_compare("12", "12"), 0);
	ASSERT_TRUE(kube_version_compare("a9", "b") < 0);
}

RUN_TESTS(UNIT(an_object_is_metadata_and_what_its_type_keeps),
	  UNIT(words_of_the_type_take_no_memory), UNIT(a_type_may_keep_nothing_but_metadata),
	  UNIT(strings_are_never_null), UNIT(a_size_is_a_quantity_or_none),
	  UNIT(fields_of_the_wrong_type_are_as_if_absent),
	  UNIT(an_object_lives_until_its_last_reference_goes),
	  UNIT(versions_compare_as_numbers_of_any_length))
