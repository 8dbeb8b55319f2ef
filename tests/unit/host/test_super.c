/* SPDX-License-Identifier: Apache-2.0 */
/* What superblocks say of sizes, by the offsets of the kernel's documentation. test_grow_real.c has
 * the same rules against real filesystems. */
#include "base/mem.h"
#include "base/num.h"
#include "host/grow.h"
#include "scratch.h"

#include <string.h>

static void put(uint8_t *at, uint64_t value, size_t n, bool is_big)
{
	for (size_t i = 0; i < n; i++)
		at[is_big ? n - 1 - i : i] = (uint8_t)(value >> (8 * i));
}

/* As mkfs.ext4 makes it: blocks of 4 KiB, groups of 128 MiB with 8192 inodes of 256 bytes. */
static void make_ext4(uint8_t head[HOST_SUPER_BYTES], uint64_t n_blocks)
{
	uint8_t *sb = head + 1024;

	memset(head, 0, HOST_SUPER_BYTES);
	put(sb + 0x38, 0xef53, 2, false);
	put(sb + 0x04, n_blocks, 4, false);
	put(sb + 0x150, n_blocks >> 32, 4, false);
	put(sb + 0x18, 2, 4, false);
	put(sb + 0x20, 32768, 4, false);
	put(sb + 0x28, 8192, 4, false);
	put(sb + 0x4c, 1, 4, false);
	put(sb + 0x58, 256, 2, false);
	put(sb + 0x60, 0x2c2 | 0x2000, 4, false);
	put(sb + 0xce, 255, 2, false);
	put(sb + 0xfe, 64, 2, false);
}

static void make_xfs(uint8_t head[HOST_SUPER_BYTES], uint64_t n_blocks)
{
	memset(head, 0, HOST_SUPER_BYTES);
	memcpy(head, "XFSB", 4);
	put(head + 4, 4096, 4, true);
	put(head + 8, n_blocks, 8, true);
	put(head + 84, 20480, 4, true);
}

TEST(ext4_uses_a_rest_that_its_tables_fit_in)
{
	enum { TABLES = 2 + 512 + 50, COPIES = 1 + 255 + 1 };
	static const struct {
		uint64_t groups;
		uint64_t rest;
		bool is_used;
	} cases[] = {
		{ 0, 5, true },
		{ 0, 32767, true },
		{ 4, 0, true },
		{ 4, 1, false },
		{ 4, TABLES - 1, false },
		{ 4, TABLES, true },
		/* the last group begins with a superblock, descriptors and room for more */
		{ 3, TABLES, false },
		{ 3, TABLES + COPIES - 1, false },
		{ 3, TABLES + COPIES, true },
		{ 1, TABLES + COPIES - 1, false },
		{ 49, TABLES + COPIES - 1, false },
		{ 50, TABLES, true },
		/* 64 descriptors in a block */
		{ 81, TABLES + COPIES, false },
		{ 81, TABLES + COPIES + 1, true },
	};
	uint8_t head[HOST_SUPER_BYTES];
	struct host_super super;

	make_ext4(head, 32768);
	ASSERT_EQ(host_super_parse(head, sizeof(head), "ext4", &super), 0);
	ASSERT_EQ(super.n_blocks, 32768);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		uint64_t n = cases[i].groups * 32768 + cases[i].rest;

		ASSERT_EQ(host_super_usable_blocks(&super, n * 4096 + 4095),
			  cases[i].is_used ? n : cases[i].groups * 32768);
	}
}

TEST(xfs_uses_a_rest_of_64_blocks)
{
	uint8_t head[HOST_SUPER_BYTES];
	struct host_super super;

	make_xfs(head, 81920);
	ASSERT_EQ(host_super_parse(head, sizeof(head), "xfs", &super), 0);
	ASSERT_EQ(super.n_blocks, 81920);
	ASSERT_EQ(host_super_usable_blocks(&super, 81920 * 4096), 81920);
	ASSERT_EQ(host_super_usable_blocks(&super, (81920 + 63) * 4096), 81920);
	ASSERT_EQ(host_super_usable_blocks(&super, (81920 + 64) * 4096), 81920 + 64);
	ASSERT_EQ(host_super_usable_blocks(&super, 20480ull * 100 * 4096 + 1), 20480 * 100);
	ASSERT_EQ(host_super_usable_blocks(&super, 4096 * 10), 10);
	ASSERT_EQ(host_super_usable_blocks(&super, 0), 0);
}

TEST(descriptors_say_how_far_ext4_grows_in_place)
{
	uint8_t head[HOST_SUPER_BYTES];
	struct host_super super;

	/* 64 descriptors in a block, one block of them, 255 more */
	make_ext4(head, 32768);
	ASSERT_EQ(host_super_parse(head, sizeof(head), "ext4", &super), 0);
	ASSERT_EQ(host_super_in_place_blocks(&super), (1 + 255) * 64 * 32768ull);
	make_ext4(head, 65 * 32768);
	ASSERT_EQ(host_super_parse(head, sizeof(head), "ext4", &super), 0);
	ASSERT_EQ(host_super_in_place_blocks(&super), (2 + 255) * 64 * 32768ull);
	super.n_blocks = UINT64_MAX;
	ASSERT_EQ(host_super_in_place_blocks(&super), UINT64_MAX);
	make_xfs(head, 81920);
	ASSERT_EQ(host_super_parse(head, sizeof(head), "xfs", &super), 0);
	ASSERT_EQ(host_super_in_place_blocks(&super), UINT64_MAX);
}

TEST(sizes_beyond_32_bits_are_whole)
{
	const uint64_t n = UINT64_C(5) << 32 | 77;
	uint8_t head[HOST_SUPER_BYTES];
	struct host_super super;

	make_ext4(head, n);
	ASSERT_EQ(host_super_parse(head, sizeof(head), "ext4", &super), 0);
	ASSERT_EQ(super.n_blocks, n);
	head[1024 + 0x60] &= 0x7f; /* without 64bit the upper half is something else */
	ASSERT_EQ(host_super_parse(head, sizeof(head), "ext4", &super), 0);
	ASSERT_EQ(super.n_blocks, 77);
	make_xfs(head, n);
	ASSERT_EQ(host_super_parse(head, sizeof(head), "xfs", &super), 0);
	ASSERT_EQ(super.n_blocks, n);
}

/* Each of these, put into a good superblock, makes it none. */
TEST(what_contradicts_itself_is_no_superblock)
{
	static const struct {
		const char *fs;
		size_t at;
		size_t n;
		uint64_t value;
	} cases[] = {
		{ "ext4", 1024 + 0x38, 2, 0xef54 },
		{ "ext4", 1024 + 0x18, 4, 7 },
		{ "ext4", 1024 + 0x20, 4, 0 },
		{ "ext4", 1024 + 0x20, 4, 32769 },
		{ "ext4", 1024 + 0x28, 4, 1000000 },
		{ "ext4", 1024 + 0x58, 2, 64 },
		{ "ext4", 1024 + 0x58, 2, 8192 },
		{ "ext4", 1024 + 0xfe, 2, 0 },
		{ "ext4", 1024 + 0xfe, 2, 8192 },
		{ "ext4", 1024 + 0x14, 4, 2 },
		{ "xfs", 0, 1, 'Y' },
		{ "xfs", 4, 4, 0 },
		{ "xfs", 4, 4, 4097 },
		{ "xfs", 4, 4, 1 << 20 },
		{ "xfs", 8, 8, 0 },
		{ "xfs", 84, 4, 63 },
	};
	uint8_t head[HOST_SUPER_BYTES];
	struct host_super super = { .n_blocks = 7 };

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		bool is_xfs = cases[i].fs[0] == 'x';

		(is_xfs ? make_xfs : make_ext4)(head, 100000);
		put(head + cases[i].at, cases[i].value, cases[i].n, is_xfs);
		ASSERT_EQ(host_super_parse(head, sizeof(head), cases[i].fs, &super), -1);
	}
	make_ext4(head, 0);
	ASSERT_EQ(host_super_parse(head, sizeof(head), "ext4", &super), -1);
	make_xfs(head, 100);
	ASSERT_EQ(host_super_parse(head, sizeof(head) - 1, "xfs", &super), -1);
	ASSERT_EQ(host_super_parse(head, sizeof(head), "ext4", &super), -1);
	ASSERT_EQ(host_super_parse(head, sizeof(head), "btrfs", &super), -1);
	ASSERT_EQ(super.n_blocks, 7);
}

TEST(a_device_is_compared_with_what_is_on_it)
{
	uint8_t head[HOST_SUPER_BYTES];
	bool is_smaller = false;
	struct scratch s;
	char path[64];
	struct err err;
	int fd;

	scratch_init(&s);
	ASSERT_OK(host_file_make(s.fd, &fd, &err), &err);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ASSERT_OK(host_file_resize(fd, 81920 * 4096, &err), &err);
	ASSERT_ERR(host_fs_device_is_smaller(path, "xfs", &is_smaller, &err), &err, ERR_DATA_LOSS,
		   "no xfs superblock");
	make_xfs(head, 81920);
	ASSERT_EQ(pwrite(fd, head, sizeof(head), 0), sizeof(head));
	ASSERT_OK(host_fs_device_is_smaller(path, "xfs", &is_smaller, &err), &err);
	ASSERT_FALSE(is_smaller);
	ASSERT_OK(host_file_resize(fd, (81920 + 64) * 4096, &err), &err);
	ASSERT_OK(host_fs_device_is_smaller(path, "xfs", &is_smaller, &err), &err);
	ASSERT_TRUE(is_smaller);
	ASSERT_OK(host_file_resize(fd, 4096 * 10, &err), &err); /* cut short: not to be grown */
	ASSERT_OK(host_fs_device_is_smaller(path, "xfs", &is_smaller, &err), &err);
	ASSERT_FALSE(is_smaller);
	ASSERT_ERR(host_fs_device_is_smaller("/dev/absent", "xfs", &is_smaller, &err), &err,
		   ERR_NOT_FOUND, "/dev/absent");
	ASSERT_ERR(host_fs_device_is_smaller(path, "btrfs", &is_smaller, &err), &err,
		   ERR_FAILED_PRECONDITION, "btrfs");
	host_fd_close(fd);
	scratch_done(&s);
}

RUN_TESTS(UNIT(ext4_uses_a_rest_that_its_tables_fit_in),
	  UNIT(descriptors_say_how_far_ext4_grows_in_place), UNIT(xfs_uses_a_rest_of_64_blocks),
	  UNIT(sizes_beyond_32_bits_are_whole), UNIT(what_contradicts_itself_is_no_superblock),
	  UNIT(a_device_is_compared_with_what_is_on_it))
