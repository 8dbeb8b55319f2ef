/* SPDX-License-Identifier: Apache-2.0 */
#include "base/map.h"

#include "../check.h"

#include "base/random.h"

#define KEYS 400

TEST(an_empty_map_has_nothing)
{
	struct map *m = map_new();
	size_t it = 0;

	ASSERT_TRUE(map_find(m, "a") == NULL);
	ASSERT_TRUE(map_take(m, "a") == NULL);
	ASSERT_EQ(map_count(m), 0);
	ASSERT_FALSE(map_next(m, &it, NULL, NULL));
	map_free(m);
	map_free(NULL);
}

TEST(put_replaces_and_gives_the_old_value)
{
	struct map *m = map_new();
	char key[] = "name";
	int a;
	int b;

	ASSERT_TRUE(map_put(m, key, &a) == NULL);
	key[0] = 'x'; /* the map has its own copy */
	ASSERT_TRUE(map_put(m, "name", &b) == &a);
	ASSERT_TRUE(map_find(m, "name") == &b);
	ASSERT_EQ(map_count(m), 1);
	ASSERT_TRUE(map_take(m, "name") == &b);
	ASSERT_EQ(map_count(m), 0);
	ASSERT_TRUE(map_find(m, "name") == NULL);
	map_free(m);
}

TEST(keys_of_every_length_are_told_apart)
{
	struct map *m = map_new();
	static int values[40];
	char key[41] = "";

	for (int i = 0; i < 40; i++) {
		map_put(m, key, &values[i]);
		key[i] = 'k';
	}
	memset(key, 0, sizeof(key));
	for (int i = 0; i < 40; i++) {
		ASSERT_TRUE(map_find(m, key) == &values[i]);
		key[i] = 'k';
	}
	map_free(m);
}

/* Against an array that cannot be wrong: the gap closing of map_take is where such tables break. */
TEST(random_puts_and_takes_agree_with_a_plain_array)
{
	struct map *m = map_new();
	static bool in[KEYS];
	static int values[KEYS];
	size_t n = 0;

	for (int step = 0; step < 40000; step++) {
		size_t i = (size_t)random_below(KEYS);
		char key[32];
		void *was;

		(void)snprintf(key, sizeof(key), "ns-%zu/claim-%zu", i % 7, i); /* fits */
		if (random_below(2))
			was = map_put(m, key, &values[i]), n += !in[i];
		else
			was = map_take(m, key), n -= in[i];
		ASSERT_TRUE(was == (in[i] ? &values[i] : NULL));
		in[i] = map_find(m, key) != NULL;
		ASSERT_EQ(map_count(m), n);
	}
	for (size_t i = 0; i < KEYS; i++) {
		char key[32];

		(void)snprintf(key, sizeof(key), "ns-%zu/claim-%zu", i % 7, i); /* fits */
		ASSERT_TRUE(map_find(m, key) == (in[i] ? &values[i] : NULL));
	}
	map_free(m);
}

TEST(walking_sees_each_entry_once)
{
	struct map *m = map_new();
	static int values[100];
	int seen[100] = { 0 };
	const char *key;
	void *value;
	char text[16];

	for (int i = 0; i < 100; i++) {
		(void)snprintf(text, sizeof(text), "%d", i); /* fits */
		map_put(m, text, &values[i]);
	}
	for (size_t it = 0; map_next(m, &it, &key, &value);) {
		size_t i = (size_t)((int *)value - values);

		(void)snprintf(text, sizeof(text), "%zu", i); /* fits */
		ASSERT_STR(key, text);
		seen[i]++;
	}
	for (int i = 0; i < 100; i++)
		ASSERT_EQ(seen[i], 1);
	map_free(m);
}

RUN_TESTS(UNIT(an_empty_map_has_nothing), UNIT(put_replaces_and_gives_the_old_value),
	  UNIT(keys_of_every_length_are_told_apart),
	  UNIT(random_puts_and_takes_agree_with_a_plain_array), UNIT(walking_sees_each_entry_once))
