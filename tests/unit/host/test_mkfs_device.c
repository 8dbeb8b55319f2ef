/* SPDX-License-Identifier: Apache-2.0 */
/* Real mkfs over a path that may bear something, here a file's. No root needed. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/num.h"
#include "host/mkfs.h"
#include "scratch.h"

#define EXT4_SB 1024 /* of the superblock: s_r_blocks_count_lo at 8, s_uuid at 104 */

struct made {
	struct scratch s;
	struct ctx ctx;
	struct err err;
	int fd;
	char path[64];
};

static void begin(struct made *m)
{
	scratch_init(&m->s);
	ctx_init(&m->ctx, 0);
	ASSERT_OK(host_file_make(m->s.fd, &m->fd, &m->err), &m->err);
	ASSERT_OK(host_file_resize(m->fd, 320 * MIB, &m->err), &m->err);
	(void)snprintf(m->path, sizeof(m->path), "/proc/self/fd/%d", m->fd);
}

static void end(struct made *m)
{
	host_fd_close(m->fd);
	ctx_done(&m->ctx);
	scratch_done(&m->s);
}

static int make(struct made *m, const char *fs, const char *options)
{
	return host_mkfs_device(&m->ctx, m->path, fs, options, &m->err);
}

static void see(const struct made *m, uint64_t at, void *ret, size_t n)
{
	ASSERT_EQ(pread(m->fd, ret, n, (off_t)at), (ssize_t)n);
}

static void put(const struct made *m, uint64_t at, const void *bytes, size_t n)
{
	ASSERT_EQ(pwrite(m->fd, bytes, n, (off_t)at), (ssize_t)n);
}

static void assert_bears(struct made *m, const char *fs)
{
	struct host_probe found;

	ASSERT_OK(host_probe(m->fd, &found, &m->err), &m->err);
	ASSERT_STR(found.type, fs);
}

TEST(what_bears_nothing_gets_its_filesystem_and_keeps_it)
{
	static const struct {
		const char *fs;
		uint64_t uuid_at;
	} cases[] = { { "ext4", EXT4_SB + 104 }, { "xfs", 32 } };

	for (size_t i = 0; i < 2; i++) {
		uint8_t first[16], second[16];
		struct made m;

		begin(&m);
		ASSERT_OK(make(&m, cases[i].fs, ""), &m.err);
		assert_bears(&m, cases[i].fs);
		see(&m, cases[i].uuid_at, first, sizeof(first));
		ASSERT_OK(make(&m, cases[i].fs, ""), &m.err);
		see(&m, cases[i].uuid_at, second, sizeof(second));
		ASSERT_EQ(memcmp(first, second, sizeof(first)), 0);
		end(&m);
	}
}

TEST(nothing_is_overwritten)
{
	static const uint8_t luks[] = { 'L', 'U', 'K', 'S', 0xba, 0xbe, 0, 1 };
	struct made m;
	uint8_t now[sizeof(luks)];

	begin(&m);
	ASSERT_OK(make(&m, "ext4", ""), &m.err);
	ASSERT_ERR(make(&m, "xfs", ""), &m.err, ERR_FAILED_PRECONDITION, "bears 'ext4'");
	assert_bears(&m, "ext4");
	end(&m);
	begin(&m);
	put(&m, 0, luks, sizeof(luks));
	ASSERT_ERR(make(&m, "ext4", ""), &m.err, ERR_FAILED_PRECONDITION, "bears 'crypto_LUKS'");
	see(&m, 0, now, sizeof(now));
	ASSERT_EQ(memcmp(luks, now, sizeof(luks)), 0);
	end(&m);
}

TEST(an_xfs_that_was_not_finished_is_made_again)
{
	const uint8_t in_progress = 1;
	uint8_t now = 1;
	struct made m;

	begin(&m);
	ASSERT_OK(make(&m, "xfs", ""), &m.err);
	put(&m, 126, &in_progress, 1);
	ASSERT_OK(make(&m, "xfs", ""), &m.err);
	see(&m, 126, &now, 1);
	ASSERT_EQ(now, 0);
	end(&m);
}

TEST(the_classes_options_take_the_place_of_ours)
{
	uint32_t reserved = 0;
	struct made m;

	begin(&m);
	ASSERT_OK(make(&m, "ext4", " -m 5  -E nodiscard"), &m.err);
	see(&m, EXT4_SB + 8, &reserved, sizeof(reserved));
	ASSERT_EQ(reserved, 320 * MIB / 4096 / 20);
	end(&m);
	begin(&m);
	ASSERT_ERR(make(&m, "ext4", "--no-such-option"), &m.err, ERR_INTERNAL, "mkfs.ext4");
	end(&m);
}

TEST(other_filesystems_and_places_are_refused)
{
	struct made m;

	begin(&m);
	ASSERT_ERR(make(&m, "vfat", ""), &m.err, ERR_INVALID_ARGUMENT, "'vfat'");
	ASSERT_ERR(host_mkfs_device(&m.ctx, "/no/such/device", "ext4", "", &m.err), &m.err,
		   ERR_NOT_FOUND, "/no/such/device");
	end(&m);
}

RUN_TESTS(UNIT(what_bears_nothing_gets_its_filesystem_and_keeps_it), UNIT(nothing_is_overwritten),
	  UNIT(an_xfs_that_was_not_finished_is_made_again),
	  UNIT(the_classes_options_take_the_place_of_ours),
	  UNIT(other_filesystems_and_places_are_refused))
