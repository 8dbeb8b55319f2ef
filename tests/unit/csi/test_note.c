/* SPDX-License-Identifier: Apache-2.0 */
/* Notes: there and back, and what is no note. */
#include "csi/note.h"

#include "base/mem.h"
#include "base/str.h"
#include "check.h"

#define BOOT "5e1f0b9c-0000-4000-8000-000000000001"
#define OTHER_BOOT "5e1f0b9c-0000-4000-8000-000000000002"

static const struct vol_capability mount_cap = { .access = VOL_ACCESS_MOUNT,
						 .mode = VOL_MODE_SINGLE_NODE_WRITER,
						 .fs_type = "ext4",
						 .mount_group = "" };
static const struct vol_capability block_cap = { .access = VOL_ACCESS_BLOCK,
						 .mode = VOL_MODE_SINGLE_NODE_WRITER };

TEST(notes_go_there_and_back)
{
	struct note note = { 0 };
	struct note back;
	char text[BACKEND_NOTE_MAX + 1];

	note_stage(&note, "/staging/a", &mount_cap);
	ASSERT_TRUE(note_add(&note, "/target/1", note_hash_publish(&mount_cap, false)));
	ASSERT_TRUE(note_add(&note, "/target/2", note_hash_publish(&mount_cap, true)));
	note_format(&note, BOOT, text);
	note_parse(text, BOOT, &back);
	ASSERT_TRUE(back.is_staged);
	ASSERT_FALSE(back.is_block);
	ASSERT_STR(back.staging_text, "/staging/a");
	ASSERT_TRUE(back.staging == note_hash_path("/staging/a"));
	ASSERT_TRUE(back.capability == note_hash_capability(&mount_cap));
	ASSERT_EQ(back.n_targets, 2);
	ASSERT_TRUE(note_find(&back, note_hash_path("/target/2"))->args ==
		    note_hash_publish(&mount_cap, true));
	ASSERT_TRUE(note_find(&back, note_hash_path("/target/3")) == NULL);
}

/* They are on disk, and the next version of the program must know what this one wrote. */
TEST(notes_are_written_in_the_same_bytes_for_ever)
{
	struct note note = { 0 };
	char text[BACKEND_NOTE_MAX + 1];

	note_stage(&note, "/staging/a", &mount_cap);
	ASSERT_TRUE(note_add(&note, "/target/1", note_hash_publish(&mount_cap, false)));
	note_format(&note, BOOT, text);
	ASSERT_STR(text, "cleat-note 1\nboot " BOOT "\n"
			 "staged ce609bea61bb3049 8405aba15f890f0b mount /staging/a\n"
			 "target 83c384dc7bd422f8 deb1ae3555e48fb1\n");
}

TEST(notes_of_another_boot_are_none)
{
	struct note note = { 0 };
	struct note back;
	char text[BACKEND_NOTE_MAX + 1];

	note_stage(&note, "/staging/a", &block_cap);
	note_format(&note, OTHER_BOOT, text);
	note_parse(text, BOOT, &back);
	ASSERT_FALSE(back.is_staged);
}

TEST(broken_notes_are_none)
{
	static const char *const texts[] = {
		"",
		"x",
		"cleat-note 2\nboot " BOOT "\n",
		"cleat-note 1\nstaged\n",
		"cleat-note 1\nboot " BOOT "\nstaged 12 34 mount /x\n",
		"cleat-note 1\nboot " BOOT "\nstaged 0123456789abcdef 0123456789abcdef disk /x\n",
		"cleat-note 1\nboot " BOOT "\ntarget 0123456789abcdef\n",
		"cleat-note 1\nboot " BOOT "\ntarget 0123456789abcdef 0123456789abcdeg\n",
	};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct note note = { .n_targets = 5 };

		note_parse(texts[i], BOOT, &note);
		ASSERT_FALSE(note.is_staged);
		ASSERT_EQ(note.n_targets, 0);
	}
}

TEST(an_empty_note_is_no_text)
{
	struct note note = { 0 };
	char text[BACKEND_NOTE_MAX + 1] = "x";

	note_format(&note, BOOT, text);
	ASSERT_STR(text, "");
}

TEST(a_full_note_fits_and_takes_no_more)
{
	struct note note = { 0 };
	struct note back;
	char text[BACKEND_NOTE_MAX + 1];
	char path[NOTE_PATH_MAX];

	memset(path, 'p', sizeof(path));
	path[0] = '/';
	path[sizeof(path) - 1] = '\0';
	note_stage(&note, path, &block_cap);
	memset(note.flags_text, 'f', NOTE_FLAGS_MAX - 1);
	for (unsigned i = 0; i < NOTE_TARGETS_MAX; i++) {
		autofree char *target = xasprintf("/target/%u", i);

		ASSERT_TRUE(note_add(&note, target, i));
	}
	ASSERT_FALSE(note_add(&note, "/one/more", 1));
	ASSERT_TRUE(note_add(&note, "/target/7", 77));
	note_format(&note, BOOT, text);
	note_parse(text, BOOT, &back);
	ASSERT_EQ(back.n_targets, NOTE_TARGETS_MAX);
	ASSERT_STR(back.staging_text, path);
	note_remove(&back, note_hash_path("/target/7"));
	ASSERT_EQ(back.n_targets, NOTE_TARGETS_MAX - 1);
}

TEST(long_staging_paths_are_known_by_hash)
{
	struct note note = { 0 };
	struct note back;
	char text[BACKEND_NOTE_MAX + 1];
	char path[4000];

	memset(path, 'p', sizeof(path));
	path[0] = '/';
	path[sizeof(path) - 1] = '\0';
	note_stage(&note, path, &mount_cap);
	note_format(&note, BOOT, text);
	note_parse(text, BOOT, &back);
	ASSERT_TRUE(back.is_staged && back.staging == note_hash_path(path));
	ASSERT_STR(back.staging_text, "");
}

TEST(hashes_tell_arguments_apart)
{
	static const char *const ab[] = { "data=ab", "data=c" };
	static const char *const a_bc[] = { "data=a", "data=bc" };
	struct vol_capability one = mount_cap;
	struct vol_capability two = mount_cap;

	one.mount_flags = ab;
	two.mount_flags = a_bc;
	one.n_mount_flags = two.n_mount_flags = 2;
	ASSERT_TRUE(note_hash_capability(&one) != note_hash_capability(&two));
	ASSERT_TRUE(note_hash_capability(&one) != note_hash_capability(&mount_cap));
	ASSERT_TRUE(note_hash_capability(&mount_cap) != note_hash_capability(&block_cap));
	ASSERT_TRUE(note_hash_publish(&mount_cap, true) != note_hash_publish(&mount_cap, false));
}

TEST(the_order_of_flags_does_not_count)
{
	static const char *const one_way[] = { "sync", "discard", "noexec" };
	static const char *const other_way[] = { "noexec", "discard", "sync", "sync" };
	struct vol_capability one = mount_cap;
	struct vol_capability two = mount_cap;

	one.mount_flags = one_way;
	one.n_mount_flags = 3;
	two.mount_flags = other_way;
	two.n_mount_flags = 4;
	ASSERT_TRUE(note_hash_capability(&one) == note_hash_capability(&two));
	ASSERT_TRUE(note_hash_publish(&one, false) == note_hash_publish(&two, false));
	one.n_mount_flags = 2; /* noexec is the target's affair */
	ASSERT_TRUE(note_hash_capability(&one) == note_hash_capability(&two));
	ASSERT_TRUE(note_hash_publish(&one, false) != note_hash_publish(&two, false));
}

TEST(flags_are_noted_for_messages)
{
	static const char *const flags[] = { "sync", "noexec", "commit=5" };
	struct vol_capability cap = mount_cap;
	struct note note = { 0 };
	struct note back;
	char text[BACKEND_NOTE_MAX + 1];

	cap.mount_flags = flags;
	cap.n_mount_flags = 3;
	note_stage(&note, "/s", &cap);
	note_format(&note, BOOT, text);
	note_parse(text, BOOT, &back);
	ASSERT_STR(back.flags_text, "commit=5,sync");
	ASSERT_STR(back.staging_text, "/s");
	note_unstage(&back);
	ASSERT_STR(back.flags_text, "");
}

TEST(pods_are_noted_as_far_as_there_is_room)
{
	struct note note = { 0 };
	struct note back;
	char text[BACKEND_NOTE_MAX + 1], path[NOTE_PATH_MAX] = "/";

	ASSERT_TRUE(note_add(&note, "/t", 1));
	note_set_pod(&note, "/t", "u-1");
	note_set_pod(&note, "/other", "not/a/uid");
	note_format(&note, BOOT, text);
	note_parse(text, BOOT, &back);
	ASSERT_EQ(back.n_pods, 1);
	ASSERT_STR(note_pod_of(&back, note_hash_path("/t")), "u-1");
	note_set_pod(&back, "/t", "u-2");
	ASSERT_STR(note_pod_of(&back, note_hash_path("/t")), "u-2");
	note_remove(&back, note_hash_path("/t"));
	ASSERT_TRUE(note_pod_of(&back, note_hash_path("/t")) == NULL);

	for (unsigned i = 0; i < NOTE_TARGETS_MAX; i++) {
		(void)snprintf(path, sizeof(path), "/t/%u", i);
		ASSERT_TRUE(note_add(&back, path, i));
		note_set_pod(&back, path,
			     "012345678901234567890123456789012345678901234567890123456789012");
	}
	memset(path, 's', sizeof(path) - 1);
	note_stage(&back, path, &mount_cap);
	ASSERT_EQ(back.n_pods, NOTE_PODS_MAX);
	note_format(&back, BOOT, text);
	note_parse(text, BOOT, &note);
	ASSERT_EQ(note.n_targets, NOTE_TARGETS_MAX);
	ASSERT_TRUE(note.n_pods < NOTE_PODS_MAX);
}

RUN_TESTS(UNIT(notes_go_there_and_back), UNIT(notes_are_written_in_the_same_bytes_for_ever),
	  UNIT(notes_of_another_boot_are_none), UNIT(broken_notes_are_none),
	  UNIT(an_empty_note_is_no_text), UNIT(a_full_note_fits_and_takes_no_more),
	  UNIT(long_staging_paths_are_known_by_hash), UNIT(hashes_tell_arguments_apart),
	  UNIT(the_order_of_flags_does_not_count), UNIT(flags_are_noted_for_messages),
	  UNIT(pods_are_noted_as_far_as_there_is_room))
