/* SPDX-License-Identifier: Apache-2.0 */
/* Which capabilities one node's pool takes, and when two are the same. */
#include "volume/capability.h"

#include "base/mem.h"
#include "check.h"

static struct vol_capability mount_cap(const char *fs, const char *const *flags, size_t n)
{
	return (struct vol_capability){ .access = VOL_ACCESS_MOUNT,
					.mode = VOL_MODE_SINGLE_NODE_WRITER,
					.fs_type = fs,
					.mount_flags = flags,
					.n_mount_flags = n,
					.mount_group = "" };
}

TEST(single_node_modes_are_taken_and_others_named)
{
	struct err err;

	for (int mode = 0; mode <= 7; mode++) {
		struct vol_capability cap = { .access = VOL_ACCESS_BLOCK,
					      .mode = (enum vol_mode)mode };

		if (mode == 1 || mode == 2 || mode == 6 || mode == 7)
			ASSERT_OK(vol_capability_check(&cap, &err), &err);
		else
			ASSERT_ERR(vol_capability_check(&cap, &err), &err, ERR_INVALID_ARGUMENT,
				   vol_mode_name((enum vol_mode)mode));
	}
}

TEST(mode_names_are_those_of_csi)
{
	ASSERT_STR(vol_mode_name(VOL_MODE_MULTI_NODE_MULTI_WRITER), "MULTI_NODE_MULTI_WRITER");
	ASSERT_STR(vol_mode_name((enum vol_mode)99), "UNKNOWN");
	ASSERT_TRUE(vol_mode_is_reader_only(VOL_MODE_SINGLE_NODE_READER_ONLY));
	ASSERT_FALSE(vol_mode_is_reader_only(VOL_MODE_SINGLE_NODE_WRITER));
}

TEST(only_many_writer_modes_allow_a_second_target)
{
	static const bool many[] = { false, false, false, true, true, true, false, true };

	for (size_t i = 0; i < ARRAY_LEN(many); i++)
		ASSERT_EQ(vol_mode_has_many_targets((enum vol_mode)i), many[i]);
}

TEST(filesystems_are_ext4_and_xfs)
{
	struct vol_capability cap = mount_cap("ntfs", NULL, 0);
	struct err err;

	ASSERT_STR(vol_fs_resolve(""), "ext4");
	ASSERT_STR(vol_fs_resolve("xfs"), "xfs");
	ASSERT_TRUE(vol_fs_resolve("EXT4") == NULL);
	ASSERT_ERR(vol_capability_check(&cap, &err), &err, ERR_INVALID_ARGUMENT, "ntfs");
}

TEST(a_mount_group_is_refused_with_the_way_out)
{
	struct vol_capability cap = mount_cap("", NULL, 0);
	struct err err;

	cap.mount_group = "1000";
	ASSERT_ERR(vol_capability_check(&cap, &err), &err, ERR_INVALID_ARGUMENT, "fsGroupPolicy");
}

#define LABEL "system_u:object_r:container_file_t:s0:c1,c2"

TEST(mount_flags_are_an_allow_list_per_filesystem)
{
	static const struct {
		const char *fs, *flag;
		bool ok;
	} cases[] = {
		{ "ext4", "noatime", true },
		{ "ext4", "defaults", true },
		{ "xfs", "defaults", true },
		{ "xfs", "allocsize=1M", true },
		{ "xfs", "logbsize=256K", true },
		{ "ext4", "errors=continue", true },
		{ "ext4", "errors=", false },
		{ "ext4", "errors=stop", false },
		{ "xfs", "noatime", true },
		{ "ext4", "data=ordered", true },
		{ "xfs", "data=ordered", false },
		{ "xfs", "inode64", true },
		{ "ext4", "inode64", false },
		{ "ext4", "errors=remount-ro", true },
		{ "ext4", "errors=panic", false },
		{ "ext4", "commit=", false },
		{ "ext4", "commit=5,suid", false },
		{ "ext4", "commit=5 ", false },
		{ "ext4", "noatime=1", false },
		{ "ext4", "noload", false },
		{ "xfs", "norecovery", false },
		{ "ext4", "", false },
		{ "ext4", "noatime,suid", false },
		{ "ext4", "loop", false },
		{ "ext4", "bind", false },
		{ "ext4", "nonsense", false },
		{ "ext4", "context=" LABEL, true },
		{ "xfs", "context=\"" LABEL "\"", true },
		{ "xfs", "context=\"s0:c1,c2", false },
		{ "ext4", "context=s0:c1,c2\"", false },
		{ "ext4", "context=\"\"", false },
		{ "ext4", "context=", false },
		{ "ext4", "context=\"a\",suid", false },
		{ "ext4", "context=a b", false },
		{ "ext4", "fscontext=s0", false },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct vol_capability cap = mount_cap(cases[i].fs, &cases[i].flag, 1);
		struct err err;

		if (cases[i].ok)
			ASSERT_OK(vol_capability_check(&cap, &err), &err);
		else
			ASSERT_ERR(vol_capability_check(&cap, &err), &err, ERR_INVALID_ARGUMENT,
				   cases[i].flag);
	}
}

/* Each word after "allowed are". */
TEST(what_the_message_lists_is_what_is_taken)
{
	static const char *const systems[] = { "ext4", "xfs" };
	static const char long_flag[] = "a-flag-that-is-a-good-deal-longer-than-any-that-there-is";

	for (size_t i = 0; i < ARRAY_LEN(systems); i++) {
		const char *flag = long_flag;
		struct vol_capability cap = mount_cap(systems[i], &flag, 1);
		struct err err;
		struct err other;
		char *list;
		unsigned n = 0;

		ASSERT_ERR(vol_capability_check(&cap, &err), &err, ERR_INVALID_ARGUMENT,
			   "allowed are ");
		list = strstr(err.msg, "allowed are ") + strlen("allowed are ");
		for (char *word; (word = strsep(&list, ", "));) {
			char with_value[64];

			if (!*word)
				continue;
			(void)snprintf(with_value, sizeof(with_value), "%s%s", word,
				       strchr(word, '=') == word + strlen(word) - 1 ? "1" : "");
			flag = with_value;
			ASSERT_OK(vol_capability_check(&cap, &other), &other);
			n++;
		}
		ASSERT_TRUE(n > 20);
	}
}

TEST(flags_of_the_mount_and_of_the_filesystem_are_told_apart)
{
	static const char *const flags[] = { "sync",   "noexec", "commit=5", "defaults",
					     "noexec", "rw",     "discard",  "noatime" };
	struct vol_capability cap = mount_cap("ext4", flags, ARRAY_LEN(flags));
	const char *out[ARRAY_LEN(flags)];

	ASSERT_EQ(vol_capability_flags(&cap, false, out), 3);
	ASSERT_STR(out[0], "commit=5");
	ASSERT_STR(out[1], "discard");
	ASSERT_STR(out[2], "sync");
	ASSERT_EQ(vol_capability_flags(&cap, true, out), 2);
	ASSERT_STR(out[0], "noatime");
	ASSERT_STR(out[1], "noexec");
}

TEST(ro_and_rw_together_are_refused)
{
	static const char *const flags[] = { "ro", "rw" };
	struct vol_capability cap = mount_cap("", flags, 2);
	struct err err;

	ASSERT_ERR(vol_capability_check(&cap, &err), &err, ERR_INVALID_ARGUMENT, "rw");
}

TEST(equality_looks_at_what_matters)
{
	static const char *const flags[] = { "noatime", "nodev" };
	struct vol_capability a = mount_cap("", flags, 2);
	struct vol_capability b = mount_cap("ext4", flags, 2);

	ASSERT_TRUE(vol_capability_is_equal(&a, &b));
	b.mount_flags = (const char *const[]){ "nodev", "noatime" };
	ASSERT_TRUE(vol_capability_is_equal(&a, &b));
	b.n_mount_flags = 1;
	ASSERT_FALSE(vol_capability_is_equal(&a, &b));
	b = mount_cap("xfs", flags, 2);
	ASSERT_FALSE(vol_capability_is_equal(&a, &b));
	b = a;
	b.mode = VOL_MODE_SINGLE_NODE_MULTI_WRITER;
	ASSERT_FALSE(vol_capability_is_equal(&a, &b));
	b = a;
	b.access = VOL_ACCESS_BLOCK;
	ASSERT_FALSE(vol_capability_is_equal(&a, &b));
	b = a;
	b.mount_group = "5";
	ASSERT_FALSE(vol_capability_is_equal(&a, &b));
}

RUN_TESTS(UNIT(single_node_modes_are_taken_and_others_named), UNIT(mode_names_are_those_of_csi),
	  UNIT(only_many_writer_modes_allow_a_second_target), UNIT(filesystems_are_ext4_and_xfs),
	  UNIT(a_mount_group_is_refused_with_the_way_out),
	  UNIT(mount_flags_are_an_allow_list_per_filesystem),
	  UNIT(what_the_message_lists_is_what_is_taken),
	  UNIT(flags_of_the_mount_and_of_the_filesystem_are_told_apart),
	  UNIT(ro_and_rw_together_are_refused), UNIT(equality_looks_at_what_matters))
