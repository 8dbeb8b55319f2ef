/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include "base/mem.h"
#include "base/random.h"
#include "kube/store.h"
#include "thing.h"

static const struct kube_object *make(const char *ns, const char *name, unsigned version)
{
	autofree char *text = xasprintf("{\"metadata\":{\"namespace\":\"%s\",\"name\":\"%s\","
					"\"resourceVersion\":\"%u\"}}",
					ns, name, version);
	autojson struct json_doc *doc = NULL;
	struct err err;

	ASSERT_OK(json_parse(text, strlen(text), &doc, &err), &err);
	return kube_object_decode(&thing_type, json_root(doc));
}

TEST(namespaces_keep_equal_names_apart)
{
	struct store s;

	store_init(&s);
	assert_null(store_find(&s, "a", "x"));
	assert_null(store_take(&s, "a", "x"));
	assert_null(store_put(&s, make("a", "x", 1)));
	assert_null(store_put(&s, make("b", "x", 2)));
	assert_null(store_put(&s, make("ax", "y", 3)));
	ASSERT_STR(store_find(&s, "a", "x")->resource_version, "1");
	ASSERT_STR(store_find(&s, "b", "x")->resource_version, "2");
	assert_null(store_find(&s, "a", "xy"));
	store_done(&s);
}

TEST(putting_gives_the_old_one_back)
{
	const struct kube_object *old;
	struct store s;

	store_init(&s);
	(void)store_put(&s, make("a", "x", 1));
	old = store_put(&s, make("a", "x", 2));
	ASSERT_STR(old->resource_version, "1");
	kube_object_unref(old);
	ASSERT_EQ(s.n, 1);
	store_done(&s);
}

/* Random puts and takes beside an array of 300 possible objects. */
TEST(it_agrees_with_a_plain_table)
{
	unsigned version[300] = { 0 };
	struct store s;
	size_t n = 0;

	store_init(&s);
	for (unsigned round = 1; round < 20000; round++) {
		unsigned i = (unsigned)random_below(300);
		autofree char *name = xasprintf("n%u", i);
		autokobj const struct kube_object *old = NULL;

		if (random_below(2)) {
			old = store_put(&s, make("ns", name, round));
			n += !old;
			ASSERT_EQ(old != NULL, version[i] != 0);
			version[i] = round;
		} else {
			old = store_take(&s, "ns", name);
			n -= old != NULL;
			ASSERT_EQ(old != NULL, version[i] != 0);
			version[i] = 0;
		}
		ASSERT_EQ(s.n, n);
	}
	for (unsigned i = 0; i < 300; i++) {
		autofree char *name = xasprintf("n%u", i);

		ASSERT_EQ(store_find(&s, "ns", name) != NULL, version[i] != 0);
	}
	store_done(&s);
}

TEST(walking_sees_each_once)
{
	const struct kube_object *o;
	struct store s;
	size_t n = 0;

	store_init(&s);
	for (unsigned i = 0; i < 100; i++) {
		autofree char *name = xasprintf("n%u", i);

		(void)store_put(&s, make("", name, i));
	}
	for (size_t it = 0; (o = store_next(&s, &it));)
		n++;
	ASSERT_EQ(n, 100);
	store_done(&s);
}

RUN_TESTS(UNIT(namespaces_keep_equal_names_apart), UNIT(putting_gives_the_old_one_back),
	  UNIT(it_agrees_with_a_plain_table), UNIT(walking_sees_each_once))
