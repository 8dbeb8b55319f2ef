/* SPDX-License-Identifier: Apache-2.0 */
/* Ids and tokens: one text for one volume, nothing else is taken. */
#include "volume/id.h"

#include "base/mem.h"
#include "check.h"

#define POOL_TEXT "00112233-4455-6677-8899-aabbccddeeff"
#define POOL_HEX "00112233445566778899aabbccddeeff"

TEST(readable_names_stay_as_they_are)
{
	char token[VOL_TOKEN_MAX];

	vol_token_from_name("pvc-0b5e4c1e-77d6-4b2c-a2b9-3f1f6b0e9f11", token);
	ASSERT_STR(token, "pvc-0b5e4c1e-77d6-4b2c-a2b9-3f1f6b0e9f11");
}

TEST(other_names_become_hashes_that_are_tokens)
{
	static const char *const names[] = {
		"Upper", "with space", "../../etc/passwd", ".hidden", "-dash", "h.abc", "größe", "",
	};
	char seen[ARRAY_LEN(names)][VOL_TOKEN_MAX];

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		vol_token_from_name(names[i], seen[i]);
		ASSERT_EQ(strlen(seen[i]), 34);
		ASSERT_TRUE(vol_token_is_valid(seen[i]));
		for (size_t k = 0; k < i; k++)
			ASSERT_TRUE(strcmp(seen[i], seen[k]) != 0);
	}
}

TEST(hashes_are_fnv_1a_for_ever)
{
	char token[VOL_TOKEN_MAX];

	/* The published vector of the empty string; any other value would orphan existing volumes.
	 */
	vol_token_from_name("", token);
	ASSERT_STR(token, "h.6c62272e07bb014262b821756295c58d");
	vol_token_from_name("A", token);
	ASSERT_STR(token, "h.d228cb694f1a8caf78912b704e4a6204");
}

TEST(names_of_128_bytes_fit)
{
	char name[129];
	char token[VOL_TOKEN_MAX];
	struct vol_id id = { 0 };
	char text[VOL_ID_MAX];

	memset(name, 'a', 128);
	name[128] = '\0';
	vol_token_from_name(name, token);
	ASSERT_EQ(strlen(token), 34);
	name[90] = '\0';
	vol_token_from_name(name, id.token);
	ASSERT_STR(id.token, name);
	vol_id_format(VOL_KIND_VOLUME, &id, text);
	ASSERT_EQ(strlen(text), 126);
}

TEST(ids_go_there_and_back)
{
	struct vol_id id = { .token = "pvc-1" };
	struct vol_id back;
	char text[VOL_ID_MAX];
	struct err err;

	ASSERT_EQ(uuid_parse(POOL_TEXT, &id.pool), 0);
	vol_id_format(VOL_KIND_VOLUME, &id, text);
	ASSERT_STR(text, "v1-" POOL_HEX "-pvc-1");
	ASSERT_OK(vol_id_parse(VOL_KIND_VOLUME, text, &back, &err), &err);
	ASSERT_STR(back.token, "pvc-1");
	assert_memory_equal(back.pool.b, id.pool.b, 16);
}

TEST(nonsense_is_not_found)
{
	static const struct {
		const char *text, *why;
	} cases[] = {
		{ "", "not an id" },
		{ "fake-vol-id", "not an id" },
		{ "v-" POOL_HEX "-pvc-1", "not an id" },
		{ "v1x-" POOL_HEX "-pvc-1", "not an id" },
		{ "v1-", "not an id" },
		{ "v1-" POOL_HEX, "not an id" },
		{ "v1-" POOL_HEX "-", "not an id" },
		{ "v1-00112233445566778899AABBCCDDEEFF-pvc-1", "not an id" },
		{ "v1-" POOL_HEX "-../x", "not an id" },
		{ "v1-" POOL_HEX "-a/b", "not an id" },
		{ "v1-" POOL_HEX "-.x", "not an id" },
		{ "v1-" POOL_HEX "-X", "not an id" },
		{ "v1-" POOL_HEX "_x", "not an id" },
		{ "v1-00112233445566778899aabbccddee-pvc-1", "not an id" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct vol_id id;
		struct err err;

		ASSERT_ERR(vol_id_parse(VOL_KIND_VOLUME, cases[i].text, &id, &err), &err,
			   ERR_NOT_FOUND, cases[i].why);
	}
}

/* After a rollback they may be asked for: never to be taken for gone. */
TEST(ids_of_other_versions_are_told_from_nonsense)
{
	static const char *const texts[] = {
		"v2-" POOL_HEX "-pvc-1",
		"v10-something-new",
		"s2-" POOL_HEX "-pvc-1",
		"g7-" POOL_HEX "-pvc-1",
	};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct vol_id id;
		struct err err;

		ASSERT_ERR(vol_id_parse(VOL_KIND_VOLUME, texts[i], &id, &err), &err,
			   ERR_FAILED_PRECONDITION, "another version");
	}
}

TEST(an_id_names_one_kind_of_thing)
{
	static const enum vol_kind all[] = { VOL_KIND_VOLUME, VOL_KIND_SNAPSHOT, VOL_KIND_GROUP };

	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		struct vol_id id = { .token = "one" };
		char text[VOL_ID_MAX];
		struct err err;

		vol_id_format(all[i], &id, text);
		for (size_t j = 0; j < ARRAY_LEN(all); j++) {
			if (i == j)
				ASSERT_OK(vol_id_parse(all[j], text, &id, &err), &err);
			else
				ASSERT_ERR(vol_id_parse(all[j], text, &id, &err), &err,
					   ERR_NOT_FOUND, "not an id of this driver");
		}
	}
}

TEST(tokens_over_90_bytes_are_none)
{
	char token[128];

	memset(token, 'a', sizeof(token));
	token[90] = '\0';
	ASSERT_TRUE(vol_token_is_valid(token));
	token[90] = 'a';
	token[91] = '\0';
	ASSERT_FALSE(vol_token_is_valid(token));
}

RUN_TESTS(UNIT(readable_names_stay_as_they_are), UNIT(other_names_become_hashes_that_are_tokens),
	  UNIT(hashes_are_fnv_1a_for_ever), UNIT(names_of_128_bytes_fit),
	  UNIT(ids_go_there_and_back), UNIT(nonsense_is_not_found),
	  UNIT(ids_of_other_versions_are_told_from_nonsense), UNIT(an_id_names_one_kind_of_thing),
	  UNIT(tokens_over_90_bytes_are_none))
