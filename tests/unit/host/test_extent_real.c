/* SPDX-License-Identifier: Apache-2.0 */
/* Clones, maps and copies on real filesystems, as root. */
#include "base/num.h"
#include "base/random.h"
#include "disk.h"
#include "host/extent.h"

#include <errno.h>
#include <fcntl.h>

#define BLOCK 4096u
#define DISK_BYTES (1 * GIB)

static int make(struct disk *d)
{
	int fd;

	ASSERT_OK(host_file_make(d->root, &fd, &d->err), &d->err);
	return fd;
}

/* n blocks from this one on, each different, through the page cache. */
static void write_blocks(int fd, uint64_t block, size_t n)
{
	autofree char *bytes = xmalloc(n * BLOCK);

	random_bytes(bytes, n * BLOCK);
	ASSERT_EQ(pwrite(fd, bytes, n * BLOCK, (off_t)(block * BLOCK)), n * BLOCK);
}

/* One block as a loop device writes it, past the page cache. */
static void write_direct(int fd, uint64_t block)
{
	static _Alignas(BLOCK) char bytes[BLOCK];
	char path[64];
	int direct;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	direct = open(path, O_WRONLY | O_DIRECT | O_CLOEXEC);
	ASSERT_TRUE(direct >= 0);
	random_bytes(bytes, BLOCK);
	ASSERT_EQ(pwrite(direct, bytes, BLOCK, (off_t)(block * BLOCK)), BLOCK);
	(void)close(direct);
}

static int clone_of(struct disk *d, int from)
{
	int fd = make(d);

	ASSERT_OK(host_file_clone(from, fd, &d->err), &d->err);
	return fd;
}

static uint64_t shared(struct disk *d, int fd)
{
	uint64_t n;

	ASSERT_OK(host_file_shared_bytes(&d->ctx, fd, &n, &d->err), &d->err);
	return n;
}

static uint64_t extents(struct disk *d, int fd)
{
	uint64_t n;

	ASSERT_OK(host_file_count_extents(fd, &n, &d->err), &d->err);
	return n;
}

static struct host_file look(struct disk *d, int fd)
{
	struct host_file file;

	ASSERT_OK(host_file_look(fd, &file, &d->err), &d->err);
	return file;
}

/* Blocks whose bytes differ. */
static void compare(int a, int b, uint64_t n_blocks, bool *ret_differs)
{
	char x[BLOCK];
	char y[BLOCK];

	for (uint64_t i = 0; i < n_blocks; i++) {
		ASSERT_EQ(pread(a, x, BLOCK, (off_t)(i * BLOCK)), BLOCK);
		ASSERT_EQ(pread(b, y, BLOCK, (off_t)(i * BLOCK)), BLOCK);
		ret_differs[i] = memcmp(x, y, BLOCK) != 0;
	}
}

/* Where each block is: 0 for what reads as zeros. */
struct places {
	uint64_t of_block[4096];
	uint64_t n_blocks;
	size_t n_uncertain;
	uint64_t n_unwritten;
};

static int note_places(void *arg, const struct host_extent *extent)
{
	struct places *p = arg;

	ASSERT_TRUE(extent->start % BLOCK == 0);
	p->n_uncertain += !extent->is_certain;
	p->n_unwritten += extent->is_unwritten ? extent->bytes / BLOCK : 0;
	for (uint64_t at = 0; at < extent->bytes && !extent->is_unwritten; at += BLOCK) {
		ASSERT_TRUE((extent->start + at) / BLOCK < ARRAY_LEN(p->of_block));
		p->of_block[(extent->start + at) / BLOCK] = extent->physical + at;
		p->n_blocks++;
	}
	return 0;
}

static void find_places(struct disk *d, int fd, struct places *p)
{
	memset(p, 0, sizeof(*p));
	ASSERT_OK(host_file_each_extent(&d->ctx, fd, 0, note_places, p, &d->err), &d->err);
}

static void check_clone(const char *fs)
{
	bool differs[512];
	char text[16];
	struct disk d;
	int from;
	int to;

	if (!disk_open(&d, fs, DISK_BYTES))
		skip();
	from = make(&d);
	write_blocks(from, 0, 512);
	ASSERT_OK(host_file_set_attr(from, "user.cleat-test", "x", &d.err), &d.err);
	to = clone_of(&d, from);
	ASSERT_EQ(look(&d, to).bytes, 512 * BLOCK);
	compare(from, to, 512, differs);
	for (size_t i = 0; i < 512; i++)
		ASSERT_FALSE(differs[i]);
	ASSERT_ERR(host_file_get_attr(to, "user.cleat-test", text, sizeof(text), &d.err), &d.err,
		   ERR_NOT_FOUND, "");
	ASSERT_EQ(shared(&d, from), 512 * BLOCK);
	ASSERT_EQ(shared(&d, to), 512 * BLOCK);
	ASSERT_EQ(extents(&d, to), 1);
	write_blocks(to, 100, 1);
	compare(from, to, 512, differs);
	for (size_t i = 0; i < 512; i++)
		ASSERT_EQ(differs[i], i == 100);
	/* before Linux 6.6 a large folio of the page cache is dirty as a whole */
	ASSERT_TRUE(shared(&d, to) <= 511 * BLOCK && shared(&d, to) >= 384 * BLOCK);
	ASSERT_EQ(extents(&d, to), 3);
	ASSERT_ERR(host_file_clone(from, to, &d.err), &d.err, ERR_FAILED_PRECONDITION, "already");
	host_fd_close(from);
	host_fd_close(to);
	disk_done(&d);
}

TEST(a_clone_has_the_bytes_and_shares_the_blocks)
{
	check_clone("xfs");
}

TEST(a_clone_on_btrfs_as_well)
{
	check_clone("btrfs");
}

TEST(a_filesystem_says_whether_it_can_clone)
{
	static const struct {
		const char *fs;
		enum host_fs_kind kind;
		bool can;
	} cases[] = {
		{ "xfs", HOST_FS_KIND_XFS, true },
		{ "ext4", HOST_FS_KIND_EXT4, false },
		{ "btrfs", HOST_FS_KIND_BTRFS, true },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct host_fs fs;
		struct disk d;
		int from, to;
		bool can;

		if (!disk_open(&d, cases[i].fs, DISK_BYTES))
			continue;
		ASSERT_OK(host_fs_look(d.root, &fs, &d.err), &d.err);
		ASSERT_EQ(fs.kind, cases[i].kind);
		ASSERT_EQ(fs.can_clone, cases[i].can);
		ASSERT_OK(host_dir_try_clone(d.root, &can, &d.err), &d.err);
		ASSERT_EQ(can, cases[i].can);
		from = make(&d);
		write_blocks(from, 0, 1);
		to = make(&d);
		if (!can)
			ASSERT_ERR(host_file_clone(from, to, &d.err), &d.err,
				   ERR_FAILED_PRECONDITION, "reflink=1");
		host_fd_close(to);
		ASSERT_OK(host_file_make(d.dir_fd, &to, &d.err), &d.err);
		ASSERT_ERR(host_file_clone(from, to, &d.err), &d.err, ERR_FAILED_PRECONDITION, "");
		host_fd_close(to);
		host_fd_close(from);
		disk_done(&d);
	}
}

/* A clone of a thick file is not thick. */
TEST(what_was_never_written_is_a_hole_in_the_clone)
{
	static struct places p;
	struct disk d;
	int from;
	int to;

	if (!disk_open(&d, "xfs", DISK_BYTES))
		skip();
	from = make(&d);
	ASSERT_OK(host_file_allocate(from, 16 * MIB, &d.err), &d.err);
	write_blocks(from, 10, 5);
	find_places(&d, from, &p);
	ASSERT_EQ(p.n_blocks, 5);
	ASSERT_EQ(p.n_unwritten, 4096 - 5);
	ASSERT_EQ(extents(&d, from), 3);
	to = clone_of(&d, from);
	find_places(&d, to, &p);
	ASSERT_EQ(p.n_blocks, 5);
	ASSERT_EQ(p.n_unwritten, 0);
	ASSERT_TRUE(look(&d, from).allocated_bytes >= 16 * MIB);
	ASSERT_EQ(look(&d, to).allocated_bytes, 5 * BLOCK);
	host_fd_close(from);
	host_fd_close(to);
	disk_done(&d);
}

/* Two clones with writes between them: exactly the blocks that differ are at different places. */
static void check_changed(const char *fs)
{
	enum { BLOCKS = 4096, WRITES = 300 };
	static struct places a, b;
	static bool differs[BLOCKS];
	struct disk d;
	int live, one, two;

	if (!disk_open(&d, fs, DISK_BYTES))
		skip();
	live = make(&d);
	write_blocks(live, 0, BLOCKS / 2);
	ASSERT_OK(host_file_resize(live, BLOCKS * BLOCK, &d.err), &d.err);
	one = clone_of(&d, live);
	for (size_t i = 0; i < WRITES; i++) {
		uint32_t block;

		random_bytes(&block, sizeof(block));
		write_direct(live, block % BLOCKS);
	}
	ASSERT_EQ(
		fallocate(live, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 7 * BLOCK, 20 * BLOCK),
		0);
	two = clone_of(&d, live);
	find_places(&d, one, &a);
	find_places(&d, two, &b);
	ASSERT_EQ(a.n_uncertain + b.n_uncertain, 0);
	compare(one, two, BLOCKS, differs);
	for (size_t i = 0; i < BLOCKS; i++)
		ASSERT_EQ(a.of_block[i] != b.of_block[i], differs[i]);
	/* the live file too, whose last writes are in the page cache */
	write_blocks(live, 3000, 64);
	find_places(&d, live, &a);
	ASSERT_EQ(a.n_uncertain, 0);
	for (size_t i = 3000; i < 3064; i++)
		ASSERT_TRUE(a.of_block[i] != b.of_block[i]);
	host_fd_close(live);
	host_fd_close(one);
	host_fd_close(two);
	disk_done(&d);
}

TEST(changed_blocks_are_those_at_other_places)
{
	check_changed("xfs");
}

TEST(changed_blocks_on_btrfs_as_well)
{
	check_changed("btrfs");
}

struct counted {
	uint64_t n;
	uint64_t bytes;
	uint64_t first;
	uint64_t stop_at;
	struct ctx *cancel;
};

static int count(void *arg, const struct host_extent *extent)
{
	struct counted *c = arg;

	if (c->n == 0)
		c->first = extent->start;
	c->n++;
	c->bytes += extent->bytes;
	if (c->cancel)
		ctx_cancel(c->cancel);
	return c->stop_at && c->n == c->stop_at;
}

/* More than two pages of the map. */
TEST(a_map_of_many_pages_is_whole)
{
	enum { EXTENTS = 5000 };
	struct counted c = { 0 };
	struct disk d;
	int fd;

	if (!disk_open(&d, "xfs", DISK_BYTES))
		skip();
	fd = make(&d);
	/* written in the midst of a file, XFS does not allocate ahead */
	ASSERT_OK(host_file_resize(fd, EXTENTS * 2 * BLOCK, &d.err), &d.err);
	for (size_t i = 0; i < EXTENTS; i++)
		write_blocks(fd, 2 * i, 1);
	ASSERT_OK(host_file_each_extent(&d.ctx, fd, 0, count, &c, &d.err), &d.err);
	ASSERT_EQ(c.n, EXTENTS);
	ASSERT_EQ(c.bytes, EXTENTS * BLOCK);
	ASSERT_EQ(extents(&d, fd), EXTENTS);
	c = (struct counted){ 0 };
	ASSERT_OK(host_file_each_extent(&d.ctx, fd, 4000 * 2 * BLOCK + 100, count, &c, &d.err),
		  &d.err);
	ASSERT_EQ(c.first, 4000 * 2 * BLOCK + 100);
	ASSERT_EQ(c.n, 1000);
	ASSERT_EQ(c.bytes, 1000 * BLOCK - 100);
	c = (struct counted){ .stop_at = 3000 };
	ASSERT_OK(host_file_each_extent(&d.ctx, fd, 0, count, &c, &d.err), &d.err);
	ASSERT_EQ(c.n, 3000);
	c = (struct counted){ 0 };
	ASSERT_OK(host_file_each_extent(&d.ctx, fd, GIB, count, &c, &d.err), &d.err);
	ASSERT_EQ(c.n, 0);
	c = (struct counted){ .cancel = &d.ctx };
	ASSERT_ERR(host_file_each_extent(&d.ctx, fd, 0, count, &c, &d.err), &d.err, ERR_CANCELLED,
		   "");
	ASSERT_TRUE(c.n < EXTENTS / 2);
	host_fd_close(fd);
	ctx_done(&d.ctx);
	ctx_init(&d.ctx, 0);
	disk_done(&d);
}

/* What is allocated beyond the end is none of the file's; neither is the rest of its last block. */
TEST(a_map_ends_with_the_file)
{
	struct counted c = { 0 };
	struct disk d;
	int fd;

	if (!disk_open(&d, "xfs", DISK_BYTES))
		skip();
	fd = make(&d);
	write_blocks(fd, 0, 2);
	ASSERT_OK(host_file_resize(fd, BLOCK + 100, &d.err), &d.err);
	ASSERT_EQ(fallocate(fd, FALLOC_FL_KEEP_SIZE, MIB, MIB), 0);
	ASSERT_OK(host_file_each_extent(&d.ctx, fd, 0, count, &c, &d.err), &d.err);
	ASSERT_EQ(c.bytes, BLOCK + 100);
	host_fd_close(fd);
	disk_done(&d);
}

/* btrfs keeps a small file among its metadata. */
TEST(what_is_inline_has_no_certain_place)
{
	static struct places p;
	struct disk d;
	int fd;

	if (!disk_open(&d, "btrfs", DISK_BYTES))
		skip();
	fd = make(&d);
	ASSERT_EQ(pwrite(fd, "small", 5, 0), 5);
	find_places(&d, fd, &p);
	ASSERT_EQ(p.n_uncertain, 1);
	ASSERT_EQ(p.of_block[0], 0);
	host_fd_close(fd);
	disk_done(&d);
}

TEST(a_copy_shares_nothing_and_is_of_few_extents)
{
	struct disk d;
	bool differs[2000];
	uint64_t next = 0;
	ssize_t n;
	int from;
	int to;

	if (!disk_open(&d, "xfs", DISK_BYTES))
		skip();
	from = make(&d);
	for (size_t i = 0; i < 2000; i += 2)
		write_blocks(from, i, 1);
	for (size_t i = 1; i < 2000; i += 2)
		write_blocks(from, i, 1);
	to = clone_of(&d, from);
	for (size_t i = 0; i < 2000; i += 2)
		write_blocks(from, i, 1);
	ASSERT_OK(host_file_sync(from, &d.err), &d.err);
	ASSERT_TRUE(extents(&d, from) > 100);
	host_fd_close(to);
	to = make(&d);
	while (next < 2000 * BLOCK)
		ASSERT_OK(host_file_copy_data(&d.ctx, from, to, next, MIB, &next, &d.err), &d.err);
	ASSERT_EQ(shared(&d, to), 0);
	ASSERT_TRUE(extents(&d, to) <= 10);
	compare(from, to, 2000, differs);
	for (size_t i = 0; i < 2000; i++)
		ASSERT_FALSE(differs[i]);
	host_fd_close(to);
	/* what the kernel's own copy does, and why it is not used */
	to = make(&d);
	n = copy_file_range(from, &(off64_t){ 0 }, to, &(off64_t){ 0 }, 2000 * BLOCK, 0);
	ASSERT_EQ(n, 2000 * BLOCK);
	ASSERT_EQ(shared(&d, to), 2000 * BLOCK);
	host_fd_close(to);
	host_fd_close(from);
	disk_done(&d);
}

TEST(a_copy_into_a_full_filesystem_says_so)
{
	struct host_fs fs;
	struct disk d;
	uint64_t next = 0;
	int from, fat, to;
	int rc = 0;

	if (!disk_open(&d, "xfs", DISK_BYTES))
		skip();
	from = make(&d);
	write_blocks(from, 0, 2048);
	ASSERT_OK(host_file_sync(from, &d.err), &d.err);
	fat = make(&d);
	ASSERT_OK(host_fs_look(d.root, &fs, &d.err), &d.err);
	for (uint64_t n = fs.free_bytes; n > MIB; n -= 64 * KIB) {
		if (host_file_allocate(fat, n, &d.err) == 0)
			break;
	}
	to = make(&d);
	while (rc == 0 && next < 2048 * BLOCK)
		rc = host_file_copy_data(&d.ctx, from, to, next, MIB, &next, &d.err);
	ASSERT_ERR(rc, &d.err, ERR_RESOURCE_EXHAUSTED, "");
	host_fd_close(to);
	host_fd_close(fat);
	host_fd_close(from);
	disk_done(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		UNIT(a_clone_has_the_bytes_and_shares_the_blocks),
		UNIT(a_clone_on_btrfs_as_well),
		UNIT(a_filesystem_says_whether_it_can_clone),
		UNIT(what_was_never_written_is_a_hole_in_the_clone),
		UNIT(changed_blocks_are_those_at_other_places),
		UNIT(changed_blocks_on_btrfs_as_well),
		UNIT(a_map_of_many_pages_is_whole),
		UNIT(a_map_ends_with_the_file),
		UNIT(what_is_inline_has_no_certain_place),
		UNIT(a_copy_shares_nothing_and_is_of_few_extents),
		UNIT(a_copy_into_a_full_filesystem_says_so),
	};
	const char *missing = disk_enter();
	int rc;

	if (missing) {
		print_message("SKIPPED: the blocks of real files need %s\n", missing);
		return 77;
	}
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	host_loop_sweep();
	return rc;
}
