/* SPDX-License-Identifier: Apache-2.0 */
/* Columns as a person sees them, and sizes as a person says them. */
#include "base/mem.h"
#include "check.h"
#include "cmd/cmd.h"
#include "cmd/table.h"

TEST(what_others_wrote_moves_no_terminal)
{
	static const struct {
		const char *text, *shown;
	} cases[] = {
		{ "plain, größe\n\tand more", "plain, größe\n\tand more" },
		{ "\x1b[2Jgone\x1b]0;title\a", "?[2Jgone?]0;title?" },
		{ "over\rwritten\b\x7f", "over?written??" },
		{ "c1 \xc2\x9b"
		  "31m, no-break\xc2\xa0space",
		  "c1 ?31m, no-break\xc2\xa0space" },
		{ "cut \xc2", "cut \xc2" },
		{ "", "" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		autofree char *shown = cmd_printable(cases[i].text);

		ASSERT_STR(shown, cases[i].shown);
	}
}

static const char *const headings[] = { "NAME", "SIZE", "WHERE" };

TEST(columns_are_as_wide_as_their_widest_cell)
{
	struct str out = STR_INIT;
	struct table *t = table_new(headings, 3);

	table_row(t, (const char *const[]){ "a-long-name", "1 B", "here" });
	table_row(t, (const char *const[]){ "x", "100.0 MiB", "there" });
	table_print(t, &out);
	ASSERT_STR(str_get(&out), "NAME         SIZE       WHERE\n"
				  "a-long-name  1 B        here\n"
				  "x            100.0 MiB  there\n");
	table_free(t);
	str_done(&out);
}

TEST(width_counts_characters_not_bytes)
{
	struct str out = STR_INIT;
	struct table *t = table_new(headings, 2);

	table_row(t, (const char *const[]){ "größe", "x" });
	table_print(t, &out);
	ASSERT_STR(str_get(&out), "NAME   SIZE\n"
				  "größe  x\n");
	table_free(t);
	str_done(&out);
}

TEST(an_absent_cell_is_a_dash)
{
	struct str out = STR_INIT;
	struct table *t = table_new(headings, 2);

	table_row(t, (const char *const[]){ NULL, "" });
	table_print(t, &out);
	ASSERT_STR(str_get(&out), "NAME  SIZE\n"
				  "-     -\n");
	table_free(t);
	str_done(&out);
}

TEST(bytes_are_told_in_the_largest_unit_that_fits)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} cases[] = {
		{ 0, "0 B" },
		{ 1023, "1023 B" },
		{ 1024, "1.0 KiB" },
		{ 1536, "1.5 KiB" },
		{ UINT64_C(1) << 30, "1.0 GiB" },
		{ UINT64_C(10) << 40, "10.0 TiB" },
		{ UINT64_MAX, "16.0 EiB" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char text[CMD_BYTES_MAX];

		cmd_format_bytes(cases[i].bytes, text);
		ASSERT_STR(text, cases[i].text);
	}
}

RUN_TESTS(UNIT(what_others_wrote_moves_no_terminal), UNIT(columns_are_as_wide_as_their_widest_cell),
	  UNIT(width_counts_characters_not_bytes), UNIT(an_absent_cell_is_a_dash),
	  UNIT(bytes_are_told_in_the_largest_unit_that_fits))
