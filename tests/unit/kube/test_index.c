/* SPDX-License-Identifier: Apache-2.0 */
/* The index against a plain look through all objects. */
#include "check.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "kube/index.h"
#include "thing.h"

#define OBJECTS 200
#define KEYS 12
#define ROUNDS 20000

static const char *tag_of(const struct kube_object *o, size_t i)
{
	return i < thing_of(o)->tags.n ? thing_of(o)->tags.v[i] : NULL;
}

static const struct kube_object *make(unsigned name, const char *tags)
{
	autofree char *text = xasprintf("{\"metadata\":{\"namespace\":\"%u\",\"name\":\"%u\"},"
					"\"spec\":{\"tags\":[%s]}}",
					name % 3, name, tags);
	autojson struct json_doc *doc = NULL;
	struct err err;

	ASSERT_OK(json_parse(text, strlen(text), &doc, &err), &err);
	return kube_object_decode(&thing_type, json_root(doc));
}

/* The same series at each run. */
static unsigned next_random(unsigned below)
{
	static uint32_t x = 1;

	x = x * 1664525u + 1013904223u;
	return (x >> 16) % below;
}

/* None to three keys, some of them twice. */
static const struct kube_object *make_random(unsigned name)
{
	autostr struct str tags = STR_INIT;

	for (unsigned i = next_random(4); i > 0; i--)
		str_appendf(&tags, "%s\"%u\"", tags.len ? "," : "", next_random(KEYS));
	return make(name, str_get(&tags));
}

static bool has_tag(const struct kube_object *o, const char *tag)
{
	for (size_t i = 0; i < thing_of(o)->tags.n; i++)
		if (str_is_equal(thing_of(o)->tags.v[i], tag))
			return true;
	return false;
}

static uint64_t number_of(const char *name)
{
	uint64_t n = OBJECTS;

	(void)str_parse_u64(name, &n);
	ASSERT_TRUE(n < OBJECTS);
	return n;
}

static void compare(const struct index *x, const struct kube_object *const *all, const char *tag)
{
	const struct kube_object *o;
	unsigned n = 0, want = 0;

	for (uint32_t it = index_first(x, tag); (o = index_next(x, &it)); n++) {
		ASSERT_TRUE(has_tag(o, tag));
		assert_ptr_equal(all[number_of(o->name)], o);
	}
	for (unsigned i = 0; i < OBJECTS; i++)
		want += all[i] && has_tag(all[i], tag);
	ASSERT_EQ(n, want);
}

TEST(it_has_what_is_there_and_nothing_else)
{
	const struct kube_object *all[OBJECTS] = { 0 };
	struct index x;

	index_init(&x, tag_of);
	for (unsigned round = 0; round < ROUNDS; round++) {
		unsigned i = next_random(OBJECTS);
		char tag[16];

		if (all[i])
			index_remove(&x, all[i]);
		kube_object_unref(all[i]);
		all[i] = next_random(3) ? make_random(i) : NULL;
		if (all[i])
			index_add(&x, all[i]);
		(void)snprintf(tag, sizeof(tag), "%u", next_random(KEYS + 1));
		compare(&x, all, tag);
	}
	index_done(&x);
	for (unsigned i = 0; i < OBJECTS; i++)
		kube_object_unref(all[i]);
}

TEST(an_empty_one_has_nothing)
{
	struct index x;
	uint32_t it;

	index_init(&x, tag_of);
	it = index_first(&x, "a");
	assert_null(index_next(&x, &it));
	index_done(&x);
}

/* With a walk along the list it would be 2·10⁸ steps. */
TEST(twenty_thousand_of_one_key_come_and_go)
{
	enum { MANY = 20000 };
	const struct kube_object **all = xcalloc(MANY, sizeof(const struct kube_object *));
	int64_t begin_ns;
	struct index x;

	for (unsigned i = 0; i < MANY; i++)
		all[i] = make(i, "\"one\"");
	begin_ns = clock_now_ns();
	index_init(&x, tag_of);
	for (unsigned i = 0; i < MANY; i++)
		index_add(&x, all[i]);
	for (unsigned i = 0; i < MANY; i++)
		index_remove(&x, all[i]);
	ASSERT_EQ(index_first(&x, "one"), 0);
	ASSERT_TRUE(clock_now_ns() - begin_ns < 5 * NS_PER_S);
	index_done(&x);
	for (unsigned i = 0; i < MANY; i++)
		kube_object_unref(all[i]);
	free(all);
}

RUN_TESTS(UNIT(it_has_what_is_there_and_nothing_else), UNIT(an_empty_one_has_nothing),
	  UNIT(twenty_thousand_of_one_key_come_and_go))
