/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "check.h"
#include "host/mount.h"

#include <sys/sysmacros.h>

static int parse(const char *text, char *buf, size_t cap, struct host_mountinfo *info)
{
	(void)snprintf(buf, cap, "%s", text);
	return host_mountinfo_parse(buf, info);
}

TEST(reads_a_line_of_proc)
{
	struct host_mountinfo info;
	char buf[256];

	ASSERT_EQ(parse("36 35 98:12 /mnt1 /mnt2 rw,noatime master:1 shared:4 - ext3 /dev/root "
			"rw,errors=continue\n",
			buf, sizeof(buf), &info),
		  0);
	ASSERT_EQ(info.device, makedev(98, 12));
	ASSERT_TRUE(info.id == 36 && info.parent == 35);
	ASSERT_STR(info.root, "/mnt1");
	ASSERT_STR(info.point, "/mnt2");
	ASSERT_STR(info.fs, "ext3");
	ASSERT_STR(info.source, "/dev/root");
	ASSERT_STR(info.super_options, "rw,errors=continue");
	ASSERT_FALSE(info.read_only);
}

TEST(undoes_escapes)
{
	struct host_mountinfo info;
	char buf[256];

	ASSERT_EQ(parse("1 2 0:5 /a\\040b /x\\134y\\011z\\9 ro - tmp\\057fs a\\012b rw", buf,
			sizeof(buf), &info),
		  0);
	ASSERT_STR(info.root, "/a b");
	ASSERT_STR(info.point, "/x\\y\tz\\9");
	ASSERT_STR(info.fs, "tmp/fs");
	ASSERT_STR(info.source, "a\nb");
	ASSERT_TRUE(info.read_only);
}

TEST(is_read_only_when_mount_or_filesystem_is)
{
	static const struct {
		const char *line;
		bool read_only;
	} cases[] = {
		{ "1 2 0:5 / /x rw,ro_not - tmpfs t rw", false },
		{ "1 2 0:5 / /x ro,nosuid - tmpfs t rw", true },
		{ "1 2 0:5 / /x rw - tmpfs t ro,size=1", true },
		{ "1 2 0:5 / /x rw - tmpfs t root=1", false },
		{ "1 2 0:5 / /x rw - tmpfs t", false },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct host_mountinfo info;
		char buf[128];

		ASSERT_EQ(parse(cases[i].line, buf, sizeof(buf), &info), 0);
		ASSERT_EQ(info.read_only, cases[i].read_only);
	}
}

TEST(refuses_what_is_no_line)
{
	static const char *const cases[] = {
		"",
		"1",
		"1 2",
		"1 2 3 / /x rw - a b rw",
		"1 2 a:b / /x rw - a b rw",
		"1 2 1:-1 / /x rw - a b rw",
		"1 2 4294967296:1 / /x rw - a b rw",
		"1 2 0:5 / /x rw shared:1",
		"1 2 0:5 / /x rw -",
		"1 2 0:5 / /x rw - tmpfs",
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct host_mountinfo info;
		char buf[128];

		assert_true(parse(cases[i], buf, sizeof(buf), &info) < 0);
	}
}

RUN_TESTS(UNIT(reads_a_line_of_proc), UNIT(undoes_escapes),
	  UNIT(is_read_only_when_mount_or_filesystem_is), UNIT(refuses_what_is_no_line))
