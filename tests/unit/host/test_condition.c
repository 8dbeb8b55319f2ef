/* SPDX-License-Identifier: Apache-2.0 */
/* Superblocks in files; what they say is changed at the offsets of the kernel's documentation. Real
 * filesystems are judged in tests/integration/test_condition.py. */
#include "base/mem.h"
#include "base/num.h"
#include "host/condition.h"
#include "host/ext4-internal.h"
#include "scratch.h"

#include <string.h>

struct super {
	struct scratch s;
	int fd;
	char path[80];
	unsigned char bytes[4096];
	bool has_errors;
	struct err err;
};

static void begin(struct super *x)
{
	memset(x->bytes, 0, sizeof(x->bytes));
	scratch_init(&x->s);
	ASSERT_OK(host_file_make(x->s.fd, &x->fd, &x->err), &x->err);
	(void)snprintf(x->path, sizeof(x->path), "/proc/self/fd/%d", x->fd);
}

static void end(struct super *x)
{
	host_fd_close(x->fd);
	scratch_done(&x->s);
}

static int judge(struct super *x, const char *fs, size_t n)
{
	ASSERT_EQ(pwrite(x->fd, x->bytes, n, 0), n);
	return host_condition_of_device(x->path, fs, &x->has_errors, &x->err);
}

TEST(ext4_says_that_errors_were_found)
{
	struct super x;

	begin(&x);
	ASSERT_ERR(judge(&x, "ext4", 4096), &x.err, ERR_DATA_LOSS, "no ext4 superblock");
	x.bytes[1024 + 0x38] = 0x53;
	x.bytes[1024 + 0x39] = 0xef;
	x.bytes[1024 + 0x3a] = 1; /* clean */
	ASSERT_OK(judge(&x, "ext4", 4096), &x.err);
	ASSERT_FALSE(x.has_errors);
	x.bytes[1024 + 0x3a] = 0; /* in use: its journal is to be replayed */
	ASSERT_OK(judge(&x, "ext4", 4096), &x.err);
	ASSERT_FALSE(x.has_errors);
	x.bytes[1024 + 0x3a] = 3;
	ASSERT_OK(judge(&x, "ext4", 4096), &x.err);
	ASSERT_TRUE(x.has_errors);
	end(&x);
}

/* What resize2fs leaves when it is killed, and what of that, changed, is something else. */
TEST(ext4_that_was_cut_short_in_growing_is_known)
{
	static const struct {
		size_t at;
		unsigned char byte;
	} others[] = {
		{ 0x3a, 1 },  /* no errors */
		{ 0x34, 1 },  /* mounted since it was checked */
		{ 0x35, 1 },  /* 256 times */
		{ 0x194, 1 }, /* the kernel counted an error */
	};
	struct super x;
	bool is_half_grown = false;

	begin(&x);
	ASSERT_EQ(pwrite(x.fd, x.bytes, 4096, 0), 4096);
	ASSERT_ERR(host_ext4_is_half_grown(x.path, &is_half_grown, &x.err), &x.err, ERR_DATA_LOSS,
		   "no ext4 superblock");
	memcpy(x.bytes + 1024 + 0x38, "\x53\xef\x03", 3);
	ASSERT_EQ(pwrite(x.fd, x.bytes, 4096, 0), 4096);
	ASSERT_OK(host_ext4_is_half_grown(x.path, &is_half_grown, &x.err), &x.err);
	ASSERT_TRUE(is_half_grown);
	for (size_t i = 0; i < ARRAY_LEN(others); i++) {
		unsigned char byte = x.bytes[1024 + others[i].at];

		x.bytes[1024 + others[i].at] = others[i].byte;
		ASSERT_EQ(pwrite(x.fd, x.bytes, 4096, 0), 4096);
		ASSERT_OK(host_ext4_is_half_grown(x.path, &is_half_grown, &x.err), &x.err);
		ASSERT_FALSE(is_half_grown);
		x.bytes[1024 + others[i].at] = byte;
	}
	end(&x);
}

static bool is_half_grown(struct super *x)
{
	bool is = false;

	ASSERT_OK(host_ext4_is_half_grown(x->path, &is, &x->err), &x->err);
	return is;
}

/* That the sum is the kernel's is held by test_expand.py, where e2fsck takes it. */
TEST(a_superblock_written_in_part_stays_known_until_e2fsck_has_run)
{
	static const unsigned char sum[] = { 0x5a, 0x5a, 0x5a, 0x5a };
	struct super x;

	begin(&x);
	memcpy(x.bytes + 1024 + 0x38, "\x53\xef\x01", 3);
	memcpy(x.bytes + 1024 + 0x3fc, sum, sizeof(sum));
	ASSERT_EQ(pwrite(x.fd, x.bytes, 4096, 0), 4096);
	ASSERT_FALSE(is_half_grown(&x)); /* has no sums */
	x.bytes[1024 + 0x65] = 0x04;
	ASSERT_EQ(pwrite(x.fd, x.bytes, 4096, 0), 4096);
	ASSERT_TRUE(is_half_grown(&x));
	ASSERT_OK(host_ext4_end_torn_write(x.fd, &x.err), &x.err);
	ASSERT_TRUE(is_half_grown(&x)); /* killed here */
	ASSERT_EQ(pread(x.fd, x.bytes, 4096, 0), 4096);
	ASSERT_EQ(x.bytes[1024 + 0x3a], 3);
	ASSERT_TRUE(memcmp(x.bytes + 1024 + 0x3fc, sum, sizeof(sum)) != 0);
	x.bytes[1024 + 0x34] = 1;
	ASSERT_EQ(pwrite(x.fd, x.bytes, 4096, 0), 4096);
	ASSERT_FALSE(is_half_grown(&x)); /* mounted since: damage */
	end(&x);
}

TEST(xfs_says_that_it_needs_repair)
{
	struct super x;

	begin(&x);
	ASSERT_ERR(judge(&x, "xfs", 4096), &x.err, ERR_DATA_LOSS, "no xfs superblock");
	memcpy(x.bytes, "XFSB", 4);
	x.bytes[219] = 0x0b; /* ftype, sparse inodes, bigtime */
	ASSERT_OK(judge(&x, "xfs", 4096), &x.err);
	ASSERT_FALSE(x.has_errors);
	x.bytes[219] |= 0x10;
	ASSERT_OK(judge(&x, "xfs", 4096), &x.err);
	ASSERT_TRUE(x.has_errors);
	end(&x);
}

TEST(what_is_cut_short_is_no_filesystem)
{
	struct super x;

	begin(&x);
	memcpy(x.bytes, "XFSB", 4);
	ASSERT_ERR(judge(&x, "xfs", 512), &x.err, ERR_DATA_LOSS, "no xfs superblock");
	ASSERT_ERR(host_condition_of_device("/dev/absent", "xfs", &x.has_errors, &x.err), &x.err,
		   ERR_NOT_FOUND, "/dev/absent");
	end(&x);
}

RUN_TESTS(UNIT(ext4_says_that_errors_were_found), UNIT(ext4_that_was_cut_short_in_growing_is_known),
	  UNIT(a_superblock_written_in_part_stays_known_until_e2fsck_has_run),
	  UNIT(xfs_says_that_it_needs_repair), UNIT(what_is_cut_short_is_no_filesystem))
