/* SPDX-License-Identifier: Apache-2.0 */
/* Who may have how much of a pool: tables of figures, in MiB where not said otherwise. */
#include "volume/space.h"

#include "base/mem.h"
#include "base/num.h"
#include "check.h"
#include "volume/size.h"

struct figures {
	uint64_t total, free, kept, pending, shared, thick, thin, allocated;
	unsigned overcommit;
};

static struct vol_space space_of(const struct figures *f)
{
	return (struct vol_space){ .total_bytes = f->total * MIB,
				   .free_bytes = f->free * MIB,
				   .kept_bytes = f->kept * MIB,
				   .pending_bytes = f->pending * MIB,
				   .shared_bytes = f->shared * MIB,
				   .thick_bytes = f->thick * MIB,
				   .thin_bytes = f->thin * MIB,
				   .thin_allocated = f->allocated * MIB,
				   .overcommit = f->overcommit };
}

TEST(thick_and_thin_volumes_share_a_pool_by_one_rule)
{
	static const struct {
		const char *what;
		struct figures is;
		uint64_t for_thick, for_thin;
		unsigned percent;
	} cases[] = {
		{ "empty", { 1100, 1100, 100, 0, 0, 0, 0, 0, 200 }, 1000, 2000, 0 },
		{ "no over-commit", { 1100, 1100, 100, 0, 0, 0, 0, 0, 100 }, 1000, 1000, 0 },
		{ "one and a half", { 1100, 1100, 100, 0, 0, 0, 0, 0, 150 }, 1000, 1500, 0 },
		{ "one thin", { 1100, 1100, 100, 0, 0, 0, 600, 0, 200 }, 700, 1400, 0 },
		{ "thin, promised once", { 1100, 1100, 100, 0, 0, 0, 600, 0, 100 }, 400, 400, 0 },
		/* what thin ones have written is theirs, and is not kept for them again */
		{ "thin, half of it written",
		  { 1100, 800, 100, 0, 0, 0, 600, 300, 100 },
		  400,
		  400,
		  30 },
		{ "thin, more written than kept",
		  { 1100, 700, 100, 0, 0, 0, 600, 400, 200 },
		  600,
		  1400,
		  40 },
		/* thick after thin, and thin after thick */
		{ "both", { 1100, 700, 100, 0, 0, 400, 600, 0, 200 }, 300, 600, 40 },
		{ "what thick ones share",
		  { 1100, 700, 100, 0, 200, 400, 0, 0, 200 },
		  400,
		  800,
		  60 },
		{ "what is being made", { 1100, 700, 100, 150, 0, 400, 0, 0, 200 }, 450, 900, 55 },
		/* the watermark is of what is written and promised to thick ones, not of sizes */
		{ "89 %", { 1100, 210, 100, 0, 0, 890, 0, 0, 200 }, 110, 220, 89 },
		{ "90 %", { 1100, 200, 100, 0, 0, 900, 0, 0, 200 }, 100, 0, 90 },
		{ "90 % by thin ones", { 1100, 200, 100, 0, 0, 0, 950, 900, 200 }, 100, 0, 90 },
		{ "full of promises, empty", { 1100, 1100, 100, 0, 0, 0, 2000, 0, 200 }, 0, 0, 0 },
		{ "the ratio was lowered", { 1100, 1100, 100, 0, 0, 0, 1500, 0, 100 }, 0, 0, 0 },
		{ "the pool shrank", { 600, 600, 100, 0, 0, 0, 1500, 0, 200 }, 0, 0, 0 },
		/* two clones of one thin volume have the same 400, which are used once */
		{ "shared by thin ones",
		  { 1100, 700, 100, 0, 0, 0, 900, 1200, 100 },
		  100,
		  100,
		  40 },
		/* … and what a thick one has is not theirs */
		{ "shared by thin ones beside a thick one",
		  { 1100, 600, 100, 0, 0, 100, 900, 1200, 100 },
		  0,
		  0,
		  50 },
		{ "written into the reserve",
		  { 1100, 60, 100, 0, 0, 500, 600, 540, 200 },
		  0,
		  0,
		  100 },
		{ "no room at all", { 0, 0, 0, 0, 0, 0, 0, 0, 200 }, 0, 0, 100 },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const struct vol_space s = space_of(&cases[i].is);

		if (vol_space_for_thick(&s) != cases[i].for_thick * MIB ||
		    vol_space_for_thin(&s) != cases[i].for_thin * MIB ||
		    vol_space_percent(&s) != cases[i].percent)
			fail_msg("%s: thick %llu, thin %llu, %u %%", cases[i].what,
				 (unsigned long long)(vol_space_for_thick(&s) / MIB),
				 (unsigned long long)(vol_space_for_thin(&s) / MIB),
				 vol_space_percent(&s));
	}
}

/* Whatever is granted to the one kind or the other, the rule holds afterwards, to the byte. */
TEST(what_is_granted_keeps_the_rule)
{
	static const unsigned ratios[] = { 100, 101, 133, 150, 200, 333, 1000, VOL_OVERCOMMIT_MAX };
	static const uint64_t sizes[] = { 0, 4096, 300 * MIB, 5 * GIB + 4096, 90 * GIB };

	for (size_t r = 0; r < ARRAY_LEN(ratios); r++) {
		for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
			struct vol_space s = { .total_bytes = 100 * GIB,
					       .free_bytes = 97 * GIB,
					       .kept_bytes = 5 * GIB,
					       .thick_bytes = 2 * GIB,
					       .thin_bytes = sizes[i],
					       .thin_allocated = GIB,
					       .overcommit = ratios[r] };
			struct vol_space thick = s, thin = s;
			uint64_t bytes = vol_space_for_thick(&s);

			thick.free_bytes -= bytes;
			thick.thick_bytes += bytes;
			if (bytes)
				ASSERT_TRUE((vol_space_unpromised(&thick) +
					     vol_space_thin_used(&thick)) *
						    ratios[r] / 100 >=
					    thick.thin_bytes);
			thin.thin_bytes += vol_space_for_thin(&s);
			if (thin.thin_bytes > s.thin_bytes)
				ASSERT_TRUE(
					(vol_space_unpromised(&thin) + vol_space_thin_used(&thin)) *
						ratios[r] / 100 >=
					thin.thin_bytes);
			ASSERT_EQ(vol_space_for_thin(&thin), 0);
			ASSERT_EQ(vol_space_for_thick(&thick) +
					  vol_space_for_thin(&s) % VOL_SIZE_UNIT,
				  0);
		}
	}
}

TEST(no_figures_overflow)
{
	static const uint64_t some[] = {
		0, 1, 4095, UINT64_C(1) << 50, UINT64_MAX / 100, UINT64_MAX / 2, UINT64_MAX
	};

	for (size_t i = 0; i < 7 * 7 * 7 * 7; i++) {
		struct vol_space s = { .total_bytes = UINT64_MAX,
				       .free_bytes = some[i % 7],
				       .kept_bytes = some[i / 7 % 7],
				       .shared_bytes = some[i / 49 % 7],
				       .pending_bytes = some[i / 7 % 7],
				       .thick_bytes = some[i / 49 % 7],
				       .thin_bytes = some[i / 343],
				       .thin_allocated = some[i % 7],
				       .overcommit = i % 2 ? VOL_OVERCOMMIT_MAX : 100 };

		ASSERT_TRUE(vol_space_for_thick(&s) <= vol_space_unpromised(&s));
		ASSERT_TRUE(vol_space_unpromised(&s) <= s.free_bytes);
		ASSERT_TRUE(vol_space_percent(&s) <= 100);
		ASSERT_TRUE(vol_space_thin_used(&s) <= s.thin_allocated);
		if (vol_space_for_thin(&s))
			ASSERT_TRUE(s.thin_bytes <= UINT64_MAX - vol_space_for_thin(&s));
	}
}

TEST(overdrawn_is_what_is_gone_of_what_is_kept)
{
	struct vol_space s = { .total_bytes = 1000, .kept_bytes = 100, .shared_bytes = 300 };

	s.free_bytes = 400;
	ASSERT_EQ(vol_space_overdrawn(&s), 0);
	s.pending_bytes = 1000; /* for a moment counted twice */
	ASSERT_EQ(vol_space_overdrawn(&s), 0);
	s.free_bytes = 250;
	ASSERT_EQ(vol_space_overdrawn(&s), 150);
	s.free_bytes = 0;
	ASSERT_EQ(vol_space_overdrawn(&s), 400);
}

TEST(ratios_are_read_and_written)
{
	static const struct {
		const char *text;
		unsigned percent; /* 0: refused */
		const char *again;
	} cases[] = {
		{ "1", 100, "1" },       { "2", 200, "2" },       { "1.5", 150, "1.5" },
		{ "1.25", 125, "1.25" }, { "1.05", 105, "1.05" }, { "1.50", 150, "1.5" },
		{ "100", 10000, "100" }, { "002", 200, "2" },     { "100.01", 0, "" },
		{ "0.99", 0, "" },       { "0", 0, "" },          { "", 0, "" },
		{ "1.", 0, "" },         { ".5", 0, "" },         { "1.255", 0, "" },
		{ "1.5x", 0, "" },       { "-2", 0, "" },         { "150%", 0, "" },
		{ "2x", 0, "" },         { "1e2", 0, "" },        { "9999", 0, "" },
		{ "1..5", 0, "" },       { " 2", 0, "" },         { "1,5", 0, "" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char text[VOL_OVERCOMMIT_TEXT_MAX];
		unsigned percent = 7;
		struct err err;

		if (cases[i].percent == 0) {
			ASSERT_ERR(vol_overcommit_parse(cases[i].text, &percent, &err), &err,
				   ERR_INVALID_ARGUMENT, "such as 2 or 1.5");
			ASSERT_EQ(percent, 7);
			continue;
		}
		ASSERT_OK(vol_overcommit_parse(cases[i].text, &percent, &err), &err);
		ASSERT_EQ(percent, cases[i].percent);
		vol_overcommit_format(percent, text);
		ASSERT_STR(text, cases[i].again);
	}
}

RUN_TESTS(UNIT(thick_and_thin_volumes_share_a_pool_by_one_rule),
	  UNIT(what_is_granted_keeps_the_rule), UNIT(no_figures_overflow),
	  UNIT(overdrawn_is_what_is_gone_of_what_is_kept), UNIT(ratios_are_read_and_written))
