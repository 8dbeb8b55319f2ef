/* SPDX-License-Identifier: Apache-2.0 */
/* The access modes of a PV, all of them, become one of CSI. */
#include "check.h"
#include "control/capability.h"

#include "base/mem.h"

static int read_modes(struct arena *arena, const char *modes, bool has_multi_writer,
		      struct vol_capability *cap, struct err *err)
{
	autofree char *text = xasprintf("{\"accessModes\":%s}", modes);
	autojson struct json_doc *doc = NULL;

	ASSERT_OK(json_parse(text, strlen(text), &doc, err), err);
	return capability_of_pv(arena, json_root(doc), "ext4", has_multi_writer, cap, err);
}

TEST(modes_become_one)
{
	static const struct {
		const char *modes;
		enum vol_mode plain, with_multi_writer;
	} cases[] = {
		{ "[\"ReadWriteMany\"]", VOL_MODE_MULTI_NODE_MULTI_WRITER,
		  VOL_MODE_MULTI_NODE_MULTI_WRITER },
		{ "[\"ReadWriteOnce\",\"ReadOnlyMany\",\"ReadWriteMany\"]",
		  VOL_MODE_MULTI_NODE_MULTI_WRITER, VOL_MODE_MULTI_NODE_MULTI_WRITER },
		{ "[\"ReadOnlyMany\"]", VOL_MODE_MULTI_NODE_READER_ONLY,
		  VOL_MODE_MULTI_NODE_READER_ONLY },
		{ "[\"ReadWriteOnce\"]", VOL_MODE_SINGLE_NODE_WRITER,
		  VOL_MODE_SINGLE_NODE_MULTI_WRITER },
		{ "[\"ReadWriteOncePod\"]", VOL_MODE_SINGLE_NODE_WRITER,
		  VOL_MODE_SINGLE_NODE_SINGLE_WRITER },
	};
	autoarena struct arena *arena = arena_new();

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct vol_capability cap;
		struct err err;

		ASSERT_OK(read_modes(arena, cases[i].modes, false, &cap, &err), &err);
		ASSERT_EQ(cap.mode, cases[i].plain);
		ASSERT_OK(read_modes(arena, cases[i].modes, true, &cap, &err), &err);
		ASSERT_EQ(cap.mode, cases[i].with_multi_writer);
		ASSERT_STR(cap.fs_type, "ext4");
	}
}

TEST(modes_that_make_none_are_named)
{
	static const struct {
		const char *modes, *want;
	} cases[] = {
		{ "[]", "no access mode" },
		{ "null", "no access mode" },
		{ "[\"ReadOnlyMany\",\"ReadWriteOnce\"]", "ReadOnlyMany and ReadWriteOnce" },
		{ "[\"ReadWriteOncePod\",\"ReadWriteOnce\"]", "ReadWriteOncePod goes with" },
		{ "[\"Odd\"]", "unknown access mode 'Odd'" },
		{ "[7]", "unknown access mode ''" },
	};
	autoarena struct arena *arena = arena_new();

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct vol_capability cap;
		struct err err;

		ASSERT_ERR(read_modes(arena, cases[i].modes, true, &cap, &err), &err,
			   ERR_INVALID_ARGUMENT, cases[i].want);
	}
}

TEST(a_block_volume_has_no_filesystem)
{
	static const char text[] = "{\"accessModes\":[\"ReadWriteOnce\"],\"volumeMode\":\"Block\","
				   "\"mountOptions\":[\"x\"],\"csi\":{\"fsType\":\"xfs\"}}";
	autoarena struct arena *arena = arena_new();
	autojson struct json_doc *doc = NULL;
	struct vol_capability cap;
	struct err err;

	ASSERT_OK(json_parse(text, strlen(text), &doc, &err), &err);
	ASSERT_OK(capability_of_pv(arena, json_root(doc), "ext4", false, &cap, &err), &err);
	ASSERT_EQ(cap.access, VOL_ACCESS_BLOCK);
	ASSERT_STR(cap.fs_type, "");
	ASSERT_EQ(cap.n_mount_flags, 0);
}

RUN_TESTS(UNIT(modes_become_one), UNIT(modes_that_make_none_are_named),
	  UNIT(a_block_volume_has_no_filesystem))
