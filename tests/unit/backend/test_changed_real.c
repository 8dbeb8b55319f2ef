/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changed blocks against bytes, on real XFS and btrfs: rounds of random writes of every kind into a
 * file and into the loop device over it, a clone after each, and every byte of two clones in a row
 * compared with what was told of them. A block that differs and was not told is a backup that is
 * wrong without a word.
 *
 * As root. CLEAT_ROUNDS says how many (100 of each kind), CLEAT_SEED repeats a run.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "../host/disk.h"
#include "backend/changes.h"
#include "base/num.h"
#include "host/extent.h"

#define BLOCK ((size_t)4096)
#define LEAST (4 * MIB)
#define MOST (6 * MIB)
#define BLOCKS (MOST / BLOCK)
#define WRITE_MAX ((size_t)128 << 10)
#define FRESH_ROUNDS 200 /* then the file is a new one */

static uint64_t seed;
static uint64_t n_rounds = 100;

static uint64_t draw(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static uint64_t below(uint64_t n)
{
	return draw() % n;
}

/* A place in the file: start and bytes are multiples of step. */
struct place {
	off_t start;
	size_t bytes;
};

static struct place anywhere(uint64_t size, size_t step)
{
	size_t bytes = step * (1 + below(below(4) ? 4 : WRITE_MAX / step));
	uint64_t start = below((size - bytes) / step) * step;

	return (struct place){ (off_t)start, bytes };
}

/* ---- a file, and a loop device over it ---- */

struct live {
	struct disk disk;
	int fd;
	uint64_t bytes;
	struct host_loop loop;
	int hold;
	int direct;   /* the device, by direct I/O */
	int buffered; /* and through its page cache */
	char *bytes_to_write;
	unsigned n_clones;
	int clone_fd; /* the last one; -1 */
	char *a, *b;
	bool is_told[BLOCKS];
	uint64_t n_changed, n_extra;
	uint64_t n_no_discard;
};

static void fill(struct live *l, size_t n)
{
	uint64_t *word = (uint64_t *)(void *)l->bytes_to_write;

	if (below(20) == 0) { /* zeros that are written */
		memset(l->bytes_to_write, 0, n);
		return;
	}
	for (size_t i = 0; i < n / sizeof(*word); i++)
		word[i] = draw();
}

static void write_out(struct live *l, int fd, const struct place *p)
{
	fill(l, p->bytes);
	ASSERT_EQ(pwrite(fd, l->bytes_to_write, p->bytes, p->start), (ssize_t)p->bytes);
}

static void punch(struct live *l, int mode, size_t step)
{
	struct place p = anywhere(l->bytes, step);

	if (fallocate(l->fd, mode, p.start, (off_t)p.bytes) < 0)
		ASSERT_EQ(errno, EOPNOTSUPP);
}

static void tell_device(struct live *l, unsigned long request)
{
	struct place p = anywhere(LEAST, BLOCK);
	uint64_t range[2] = { (uint64_t)p.start, p.bytes };

	if (ioctl(l->direct, request, range) < 0) {
		ASSERT_EQ(errno, EOPNOTSUPP);
		l->n_no_discard++;
	}
}

static void grow(struct live *l)
{
	if (l->bytes + WRITE_MAX > MOST)
		return;
	l->bytes += BLOCK * (1 + below(WRITE_MAX / BLOCK));
	ASSERT_EQ(ftruncate(l->fd, (off_t)l->bytes), 0);
}

static void cut_and_mend(struct live *l)
{
	ASSERT_EQ(ftruncate(l->fd, (off_t)(LEAST + below(l->bytes - LEAST + 1))), 0);
	ASSERT_EQ(ftruncate(l->fd, (off_t)l->bytes), 0);
}

static void change(struct live *l)
{
	struct place any = anywhere(l->bytes, 1 + below(777));
	struct place of_device = anywhere(LEAST, below(2) ? BLOCK : 3 * BLOCK);

	switch (below(16)) {
	case 0:
		punch(l, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1 + below(5000));
		break;
	case 1:
		punch(l, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 1 + below(5000));
		break;
	case 2:
		punch(l, 0, BLOCK);
		break;
	case 3:
		punch(l, FALLOC_FL_UNSHARE_RANGE, BLOCK);
		break;
	case 4:
		tell_device(l, BLKDISCARD);
		break;
	case 5:
		tell_device(l, BLKZEROOUT);
		break;
	case 6:
		if (below(4) == 0)
			cut_and_mend(l);
		break;
	case 7:
		if (below(8) == 0)
			grow(l);
		break;
	case 8:
		ASSERT_EQ(fdatasync(l->fd), 0);
		break;
	case 9:
	case 10:
		write_out(l, l->buffered, &of_device);
		break;
	case 11:
	case 12:
	case 13:
		write_out(l, l->direct, &of_device);
		break;
	default:
		write_out(l, l->fd, &any);
	}
}

static int open_device(const char *path, int flags)
{
	int fd = open(path, O_RDWR | O_CLOEXEC | flags);

	ASSERT_TRUE(fd >= 0);
	return fd;
}

/* Sparse, allocated or written. */
static void begin_file(struct live *l)
{
	const struct host_loop_options opts = { .allow_buffered = true };
	struct err *err = &l->disk.err;
	unsigned kind = (unsigned)below(3);

	l->bytes = LEAST;
	ASSERT_OK(host_file_make(l->disk.root, &l->fd, err), err);
	if (kind == 0)
		ASSERT_OK(host_file_resize(l->fd, LEAST, err), err);
	else
		ASSERT_OK(host_file_allocate(l->fd, LEAST, err), err);
	for (off_t at = 0; kind == 2 && at < (off_t)LEAST; at += (off_t)WRITE_MAX)
		write_out(l, l->fd, &(struct place){ at, WRITE_MAX });
	ASSERT_OK(host_loop_attach(&l->disk.ctx, l->fd, &opts, &l->loop, &l->hold, err), err);
	l->direct = open_device(l->loop.path, O_DIRECT);
	l->buffered = open_device(l->loop.path, 0);
}

static void end_file(struct live *l)
{
	host_fd_close(l->direct);
	host_fd_close(l->buffered);
	host_fd_close(l->hold);
	host_fd_close(l->fd);
}

static void name_clone(unsigned n, char ret_name[16])
{
	(void)snprintf(ret_name, 16, "clone-%u", n);
}

static int make_clone(struct live *l)
{
	struct err *err = &l->disk.err;
	char name[16];
	int fd;

	ASSERT_EQ(fsync(l->buffered), 0);
	name_clone(++l->n_clones, name);
	ASSERT_OK(host_file_make(l->disk.root, &fd, err), err);
	ASSERT_OK(host_file_clone(l->fd, fd, err), err);
	ASSERT_OK(host_file_link(fd, l->disk.root, name, err), err);
	return fd;
}

static void drop_clone(struct live *l, unsigned n, int fd)
{
	char name[16];

	if (fd < 0)
		return;
	name_clone(n, name);
	ASSERT_OK(host_file_unlink(l->disk.root, name, &l->disk.err), &l->disk.err);
	host_fd_close(fd);
}

static int note(void *arg, const struct backend_range *range)
{
	bool *is_told = arg;

	ASSERT_EQ(range->offset % BLOCK, 0);
	for (uint64_t at = range->offset; at < range->offset + range->bytes; at += BLOCK)
		is_told[at / BLOCK] = true;
	return 0;
}

static void read_file(int fd, char *buf)
{
	ssize_t n = fd < 0 ? 0 : pread(fd, buf, MOST, 0);

	ASSERT_TRUE(n >= 0);
	memset(buf + n, 0, MOST - (size_t)n);
}

/* base -1: zeros. */
static void check(struct live *l, int base, int target)
{
	const struct changes_file files[] = { { base, "base" }, { target, "target" } };
	struct changes c = { .end = l->bytes, .fn = note, .arg = l->is_told };

	memset(l->is_told, 0, sizeof(l->is_told));
	ASSERT_OK(changes_walk(&l->disk.ctx, base < 0 ? NULL : &files[0], &files[1], 0, &c,
			       &l->disk.err),
		  &l->disk.err);
	read_file(base, l->a);
	read_file(target, l->b);
	for (size_t i = 0; i < BLOCKS; i++) {
		bool differs = memcmp(l->a + i * BLOCK, l->b + i * BLOCK, BLOCK) != 0;

		if (differs && !l->is_told[i])
			fail_msg("block %zu differs and was not told (CLEAT_SEED, see above)", i);
		l->n_changed += differs;
		l->n_extra += l->is_told[i] && !differs;
	}
}

/* The reader of bytes that backends without maps use says the same as memcmp(). */
static int unmark(void *arg, uint64_t start, uint64_t bytes)
{
	bool *differs = arg;

	for (uint64_t at = start; at < start + bytes; at += BLOCK) {
		ASSERT_TRUE(differs[at / BLOCK]);
		differs[at / BLOCK] = false;
	}
	return 0;
}

static void check_reader(struct live *l, int base, int target)
{
	bool *differs = l->is_told;

	for (size_t i = 0; i < BLOCKS; i++)
		differs[i] = memcmp(l->a + i * BLOCK, l->b + i * BLOCK, BLOCK) != 0;
	ASSERT_OK(host_file_each_difference(&l->disk.ctx, target, base, 0, MOST, unmark, differs,
					    &l->disk.err),
		  &l->disk.err);
	for (size_t i = 0; i < BLOCKS; i++)
		ASSERT_FALSE(differs[i]);
}

static void run_round(struct live *l)
{
	int last = l->clone_fd;

	for (uint64_t n = 1 + below(24); n > 0; n--)
		change(l);
	l->clone_fd = make_clone(l);
	check(l, last, l->clone_fd);
	if (below(8) == 0) {
		check_reader(l, last, l->clone_fd);
		check(l, -1, l->clone_fd);
	}
	drop_clone(l, l->n_clones - 1, last);
}

static void run_files(const char *fs)
{
	struct live *l = xcalloc(1, sizeof(*l));

	if (!disk_open(&l->disk, fs, 3 * GIB)) {
		free(l);
		skip();
	}
	l->bytes_to_write = aligned_alloc(BLOCK, WRITE_MAX + 3 * BLOCK);
	l->a = xmalloc(MOST);
	l->b = xmalloc(MOST);
	for (uint64_t i = 0; i < n_rounds; i++) {
		if (i % FRESH_ROUNDS == 0) {
			l->clone_fd = -1;
			begin_file(l);
		}
		run_round(l);
		if ((i + 1) % FRESH_ROUNDS == 0 || i + 1 == n_rounds) {
			drop_clone(l, l->n_clones, l->clone_fd);
			end_file(l);
		}
	}
	print_message(
		"%s: %llu rounds, %llu blocks changed, 0 missed, %llu told that had not, %llu "
		"discards refused\n",
		fs, (unsigned long long)n_rounds, (unsigned long long)l->n_changed,
		(unsigned long long)l->n_extra, (unsigned long long)l->n_no_discard);
	disk_done(&l->disk);
	free(l->a);
	free(l->b);
	free(l->bytes_to_write);
	free(l);
}

TEST(no_block_is_missed_on_xfs)
{
	run_files("xfs");
}

TEST(no_block_is_missed_on_btrfs)
{
	run_files("btrfs");
}

static uint64_t number_of(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text && *text ? strtoull(text, NULL, 10) : otherwise;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		UNIT(no_block_is_missed_on_xfs),
		UNIT(no_block_is_missed_on_btrfs),
	};
	const char *missing = disk_enter();
	int rc;

	if (missing) {
		print_message("SKIPPED: changed blocks of real files need %s\n", missing);
		return 77;
	}
	n_rounds = number_of("CLEAT_ROUNDS", n_rounds);
	seed = number_of("CLEAT_SEED", (uint64_t)getpid() + 1);
	print_message("CLEAT_SEED=%llu\n", (unsigned long long)seed);
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	host_loop_sweep();
	return rc;
}
