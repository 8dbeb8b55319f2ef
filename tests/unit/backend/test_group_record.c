/* SPDX-License-Identifier: Apache-2.0 */
/* The record of a group of snapshots: written, read again, and what is refused. */
#include "backend/pool/group_record.h"
#include "base/mem.h"
#include "check.h"

#define UUID "0b5e0b5e-0b5e-4b5e-8b5e-0b5e0b5e0b5e"
#define HEAD "cleat group 1\ncreated=7\npool=" UUID "\n"
#define GOOD HEAD "member=s1,v\nmember=s2,w\n"

TEST(is_written_as_it_was_read)
{
	autostr struct str text = STR_INIT;
	struct group_record r;
	struct err err;

	ASSERT_OK(group_record_parse(GOOD "name=a name=b\nand more", &r, &err), &err);
	ASSERT_EQ(r.created_ns, 7);
	ASSERT_EQ(r.n_members, 2);
	ASSERT_STR(r.members[0].token, "s1");
	ASSERT_STR(r.members[0].source, "v");
	ASSERT_STR(r.members[1].source, "w");
	ASSERT_STR(r.name, "a name=b\nand more");
	group_record_format(&r, &text);
	ASSERT_STR(str_get(&text), GOOD "name=a name=b\nand more");
	group_record_done(&r);
}

TEST(passes_over_what_it_does_not_know)
{
	struct group_record r;
	struct err err;

	ASSERT_OK(group_record_parse(HEAD "mood=good\nmember=s,v\nneeds=\nname=g", &r, &err), &err);
	ASSERT_EQ(r.n_members, 1);
	group_record_done(&r);
	ASSERT_ERR(group_record_parse(HEAD "needs=clouds\nmember=s,v\nname=g", &r, &err), &err,
		   ERR_FAILED_PRECONDITION, "'clouds'");
}

TEST(the_largest_group_fits)
{
	autostr struct str text = STR_INIT;
	struct group_record r;
	char longest[VOL_TOKEN_OWN_MAX];
	struct err err;

	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	str_append(&text, HEAD);
	for (unsigned i = 0; i < BACKEND_GROUP_MAX; i++) {
		char number[8];

		(void)snprintf(number, sizeof(number), "%03u", i);
		memcpy(longest, number, 3);
		str_appendf(&text, "member=%s,%s\n", longest, longest);
	}
	str_append(&text, "name=");
	for (unsigned i = 0; i < 128; i++)
		str_append_char(&text, 'n');
	ASSERT_TRUE(text.len < GROUP_RECORD_MAX);
	ASSERT_OK(group_record_parse(str_get(&text), &r, &err), &err);
	ASSERT_EQ(r.n_members, BACKEND_GROUP_MAX);
	group_record_done(&r);
}

TEST(refuses_everything_else)
{
	static const struct {
		const char *text;
		const char *part;
	} cases[] = {
		{ "", "version" },
		{ "cleat group 2\ncreated=7\n", "version" },
		{ "cleat 1\n", "version" },
		{ HEAD, "name" },
		{ HEAD "member=s,v\n", "name" },
		{ HEAD "member=s,v\nname=", "name" },
		{ HEAD "name=g", "member" },
		{ HEAD "member=s\nname=g", "member" },
		{ HEAD "member=s,\nname=g", "member" },
		{ HEAD "member=,v\nname=g", "member" },
		{ HEAD "member=../s,v\nname=g", "member" },
		{ HEAD "member=s,v,w\nname=g", "member" },
		{ GOOD "member=s3,v\nname=g", "member" },
		{ GOOD "member=s3,w\nname=g", "member" },
		{ "cleat group 1\ncreated=x\npool=" UUID "\nmember=s,v\nname=g", "time" },
		{ "cleat group 1\npool=" UUID "\nmember=s,v\nname=g", "time" },
		{ "cleat group 1\ncreated=7\npool=1\nmember=s,v\nname=g", "pool" },
		{ "cleat group 1\ncreated=7\nmember=s,v\nname=g", "pool" },
		{ HEAD "member=s,v\nno line", "name" },
	};
	struct group_record r;
	struct err err;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		ASSERT_ERR(group_record_parse(cases[i].text, &r, &err), &err,
			   ERR_FAILED_PRECONDITION, cases[i].part);
}

RUN_TESTS(UNIT(is_written_as_it_was_read), UNIT(passes_over_what_it_does_not_know),
	  UNIT(the_largest_group_fits), UNIT(refuses_everything_else))
