/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Real mkfs in nameless files, judged by the filesystems' own checkers. No root needed; skips
 * loudly without the tools.
 */
#include "base/clock.h"
#include "base/num.h"
#include "base/uuid.h"
#include "host/mkfs.h"
#include "host/spawn.h"
#include "scratch.h"

struct made {
	struct scratch s;
	struct ctx ctx;
	struct err err;
	int fd;
};

static void make(struct made *m, uint64_t bytes)
{
	scratch_init(&m->s);
	ctx_init(&m->ctx, 0);
	ASSERT_OK(host_file_make(m->s.fd, &m->fd, &m->err), &m->err);
	ASSERT_OK(host_file_resize(m->fd, bytes, &m->err), &m->err);
}

static void done(struct made *m)
{
	host_fd_close(m->fd);
	ctx_done(&m->ctx);
	scratch_done(&m->s);
}

/* A tool that this machine lacks skips the test, saying so. */
static void need(struct made *m, int rc)
{
	if (rc == 0)
		return;
	if (m->err.code != ERR_FAILED_PRECONDITION)
		fail_msg("%s", m->err.msg);
	print_message("SKIPPED: %s\n", m->err.msg);
	done(m);
	skip();
}

static int check(struct made *m, const char *const *argv, const char *package)
{
	return host_spawn(&m->ctx,
			  &(struct host_spawn){
				  .tool = argv[0],
				  .package = package,
				  .argv = argv,
				  .pass_fd = m->fd,
				  .timeout_ns = 60 * NS_PER_S,
			  },
			  &m->err);
}

static void assert_ext4(struct made *m, const char *want_uuid)
{
	const char *const fsck[] = { "e2fsck", "-f", "-n", HOST_SPAWN_FD_PATH, NULL };
	struct host_probe probe;
	uint8_t bytes[16];
	struct uuid uuid;

	ASSERT_OK(check(m, fsck, "e2fsprogs"), &m->err);
	ASSERT_OK(host_probe(m->fd, &probe, &m->err), &m->err);
	ASSERT_STR(probe.type, "ext4");
	ASSERT_EQ(uuid_parse(want_uuid, &uuid), 0);
	ASSERT_EQ(pread(m->fd, bytes, sizeof(bytes), 1024 + 0x68), 16);
	ASSERT_EQ(memcmp(bytes, uuid.b, sizeof(bytes)), 0);
}

#define UUID_TEXT "0b5e0b5e-0b5e-4b5e-8b5e-0b5e0b5e0b5e"

TEST(stamps_an_ext4_of_any_size)
{
	/* one group, few, and enough for backups in groups 1 3 5 7 9 25 27 49 and 81 */
	static const uint64_t sizes[] = { 16 * MIB, 700 * MIB, 11 * GIB, 1100 * GIB };
	struct uuid uuid;
	struct made m;

	ASSERT_EQ(uuid_parse(UUID_TEXT, &uuid), 0);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		make(&m, sizes[i]);
		need(&m, host_mkfs_ext4(&m.ctx, m.fd, sizes[i], &m.err));
		ASSERT_OK(host_ext4_stamp(m.fd, &uuid, &m.err), &m.err);
		assert_ext4(&m, UUID_TEXT);
		done(&m);
	}
}

TEST(stamps_every_backup)
{
	struct uuid uuid;
	uint8_t bytes[16];
	struct made m;

	uuid_make(&uuid);
	make(&m, 2 * GIB);
	need(&m, host_mkfs_ext4(&m.ctx, m.fd, 2 * GIB, &m.err));
	ASSERT_OK(host_ext4_stamp(m.fd, &uuid, &m.err), &m.err);
	for (uint64_t group = 1; group <= 9; group += 2) {
		ASSERT_EQ(pread(m.fd, bytes, sizeof(bytes), (off_t)(group * 32768 * 4096 + 0x68)),
			  16);
		ASSERT_EQ(memcmp(bytes, uuid.b, sizeof(bytes)), 0);
	}
	done(&m);
}

TEST(stamps_nothing_that_is_no_ext4_of_ours)
{
	struct uuid uuid;
	char byte = 1;
	struct made m;

	uuid_make(&uuid);
	make(&m, 64 * MIB);
	ASSERT_ERR(host_ext4_stamp(m.fd, &uuid, &m.err), &m.err, ERR_INTERNAL,
		   "no whole ext4 superblock");
	need(&m, host_mkfs_ext4(&m.ctx, m.fd, 64 * MIB, &m.err));
	ASSERT_EQ(pwrite(m.fd, &byte, 1, 1024 + 0x200), 1);
	ASSERT_ERR(host_ext4_stamp(m.fd, &uuid, &m.err), &m.err, ERR_INTERNAL,
		   "no whole ext4 superblock");
	done(&m);
}

/* Which no option says and so mke2fs.conf could: errors, default mount options, hash. */
TEST(says_all_that_a_machine_could_say_otherwise)
{
	uint8_t sb[1024];
	struct made m;

	make(&m, 1 * GIB);
	need(&m, host_mkfs_ext4(&m.ctx, m.fd, 1 * GIB, &m.err));
	ASSERT_EQ(pread(m.fd, sb, sizeof(sb), 1024), 1024);
	ASSERT_EQ(sb[0x3c], 2);               /* errors: remount-ro */
	ASSERT_EQ(sb[0x100], 0x0c);           /* user_xattr, acl */
	ASSERT_EQ(sb[0xfc], 1);               /* half_md4 */
	ASSERT_EQ(sb[0x02], 1);               /* 65536 inodes */
	ASSERT_EQ(sb[0x36] & sb[0x37], 0xff); /* never by number of mounts */
	ASSERT_EQ(sb[0x44] | sb[0x45] | sb[0x46] | sb[0x47], 0);
	done(&m);
}

TEST(leaves_the_kernel_nothing_to_initialise)
{
	enum { INODE_ZEROED = 4, DESCRIPTOR = 64, OFF_FLAGS = 0x12 };
	uint8_t flags;
	struct made m;

	make(&m, 11 * GIB);
	need(&m, host_mkfs_ext4(&m.ctx, m.fd, 11 * GIB, &m.err));
	for (unsigned group = 0; group < 88; group++) {
		ASSERT_EQ(pread(m.fd, &flags, 1, 4096 + group * DESCRIPTOR + OFF_FLAGS), 1);
		ASSERT_TRUE(flags & INODE_ZEROED);
	}
	done(&m);
}

TEST(makes_an_xfs_with_uuid_and_label)
{
	struct host_probe probe;
	uint8_t bytes[16];
	struct uuid uuid;
	struct made m;

	uuid_make(&uuid);
	make(&m, 320 * MIB);
	need(&m, host_mkfs_xfs(&m.ctx, m.fd, &uuid, "cleat-test", &m.err));
	ASSERT_OK(host_probe(m.fd, &probe, &m.err), &m.err);
	ASSERT_STR(probe.type, "xfs");
	ASSERT_STR(probe.label, "cleat-test");
	ASSERT_EQ(pread(m.fd, bytes, sizeof(bytes), 32), 16);
	ASSERT_EQ(memcmp(bytes, uuid.b, sizeof(bytes)), 0);
	done(&m);
}

TEST(tells_blank_from_unreadable)
{
	struct host_probe probe;
	struct made m;

	make(&m, 4 * MIB);
	ASSERT_OK(host_probe(m.fd, &probe, &m.err), &m.err);
	ASSERT_STR(probe.type, "");
	ASSERT_ERR(host_probe(m.s.fd, &probe, &m.err), &m.err, ERR_INTERNAL, "read");
	done(&m);
}

TEST(gives_the_tools_last_line)
{
	struct made m;

	make(&m, 4096);
	need(&m,
	     host_mkfs_ext4(&m.ctx, m.fd, 4096, &m.err) < 0 && m.err.code == ERR_INTERNAL ? 0 : -1);
	ASSERT_TRUE(strstr(m.err.msg, "mkfs.ext4 exited 1: ") != NULL);
	done(&m);
}

RUN_TESTS(UNIT(stamps_an_ext4_of_any_size), UNIT(stamps_every_backup),
	  UNIT(stamps_nothing_that_is_no_ext4_of_ours),
	  UNIT(says_all_that_a_machine_could_say_otherwise),
	  UNIT(leaves_the_kernel_nothing_to_initialise), UNIT(makes_an_xfs_with_uuid_and_label),
	  UNIT(tells_blank_from_unreadable), UNIT(gives_the_tools_last_line))
