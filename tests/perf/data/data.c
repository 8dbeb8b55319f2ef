/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a read and a write cost: 4 KiB at random, one at a time, on a raw volume as cleat attaches
 * it and on a file of the same filesystem without cleat, with blocks that are reserved and blocks
 * that were written once; all four in turns, so that whatever else the machine does falls on each.
 * As they were made, after the first snapshot and after the tenth; a snapshot is a FICLONE of the
 * file. Where the median of the volume is more than TARGET_US behind the file's, the row says NOT
 * MET.
 *
 * Extents are as XFS counts them (fsx_nextents); "clone" is how long the FICLONE that follows the
 * row takes and writers wait.
 *
 * The pool's image is sparse. A volume that takes all the room is made written and removed before
 * anything is measured, so that no row pays for the image's own first writes; what that costs is
 * the price of allocation=written.
 *
 * Runs in a mount namespace of its own; the image is gone at the end.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/registry.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/str.h"
#include "host/fs.h"

#define POOL_BYTES (8 * GIB)
#define BYTES GIB
#define BLOCK 4096
#define TURN 200u
#define N_SUBJECTS 4
#define N_SNAPSHOTS 10
#define BETWEEN 500u /* writes between two snapshots */
#define TARGET_US 5.0

struct bench {
	char base[128];
	char pool[160];
	char image[160];
	char clones[192]; /* and the native file; where cleat looks for no volumes */
	struct registry *r;
	struct backend *b;
	struct ctx ctx;
	struct err err;
	unsigned rounds;
};

/* What is written to: itself, or through the device of file_fd. */
struct subject {
	const char *what;
	int io_fd;
	int file_fd;
	unsigned n_clones;
	uint64_t random;
	int64_t *read_ns, *write_ns, *sync_ns;
	double clone_ms;
};

static void die(struct bench *b, const char *what)
{
	(void)fprintf(stderr, "perf_data: %s: %s\n", what,
		      b->err.msg[0] ? b->err.msg : strerror(errno));
	(void)unlink(b->image); /* the rest of it is empty */
	exit(1);
}

/* xorshift: the same places in each run. */
static off_t next_place(struct subject *s)
{
	s->random ^= s->random << 13;
	s->random ^= s->random >> 7;
	s->random ^= s->random << 17;
	return (off_t)(s->random % (BYTES / BLOCK) * BLOCK);
}

static void write_some(struct bench *b, struct subject *s, unsigned n, bool sync, int64_t *ret_ns)
{
	static char block[BLOCK] __attribute__((aligned(BLOCK)));

	memset(block, 'x', sizeof(block));
	for (unsigned i = 0; i < n; i++) {
		off_t at = next_place(s);
		int64_t start_ns = clock_now_ns();

		if (pwrite(s->io_fd, block, BLOCK, at) != BLOCK ||
		    (sync && fdatasync(s->io_fd) < 0))
			die(b, "write");
		if (ret_ns)
			ret_ns[i] = clock_now_ns() - start_ns;
	}
}

static void read_some(struct bench *b, struct subject *s, unsigned n, int64_t *ret_ns)
{
	static char block[BLOCK] __attribute__((aligned(BLOCK)));

	for (unsigned i = 0; i < n; i++) {
		off_t at = next_place(s);
		int64_t start_ns = clock_now_ns();

		if (pread(s->io_fd, block, BLOCK, at) != BLOCK)
			die(b, "read");
		ret_ns[i] = clock_now_ns() - start_ns;
	}
}

static void clone_once(struct bench *b, struct subject *s)
{
	char path[256];
	int64_t start_ns;
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s-%u", b->clones, s->what, s->n_clones++);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || fsync(s->file_fd) < 0)
		die(b, "make a clone");
	start_ns = clock_now_ns();
	if (ioctl(fd, FICLONE, s->file_fd) < 0)
		die(b, "FICLONE");
	s->clone_ms = (double)(clock_now_ns() - start_ns) / NS_PER_MS;
	(void)close(fd);
}

static void drop_clones(struct bench *b, struct subject *s)
{
	char path[256];

	while (s->n_clones > 0) {
		(void)snprintf(path, sizeof(path), "%s/%s-%u", b->clones, s->what, --s->n_clones);
		if (unlink(path) < 0)
			die(b, "remove a clone");
	}
}

static int compare_ns(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

static double at_us(int64_t *ns, unsigned n, unsigned percent)
{
	qsort(ns, n, sizeof(*ns), compare_ns);
	return (double)ns[(uint64_t)n * percent / 100] / NS_PER_US;
}

static unsigned count_extents(struct bench *b, const struct subject *s)
{
	struct fsxattr attr;

	if (fsync(s->file_fd) < 0 || ioctl(s->file_fd, FS_IOC_FSGETXATTR, &attr) < 0)
		die(b, "count extents");
	return attr.fsx_nextents;
}

/* Medians, of one state. */
struct medians {
	double read_us, write_us;
};

static void print_row(struct bench *b, const char *state, struct subject *s, struct medians *ret)
{
	unsigned n = b->rounds * TURN;
	unsigned n_extents = count_extents(b, s);

	clone_once(b, s);
	ret->read_us = at_us(s->read_ns, n, 50);
	ret->write_us = at_us(s->write_ns, n, 50);
	(void)printf("  %-15s %-16s %7.1f %8.1f  %7.1f %8.1f  %7.1f %8.1f  %7u %7.1f", state,
		     s->what, ret->read_us, at_us(s->read_ns, n, 99), ret->write_us,
		     at_us(s->write_ns, n, 99), at_us(s->sync_ns, n / 4, 50),
		     at_us(s->sync_ns, n / 4, 99), n_extents, s->clone_ms);
}

static void print_difference(const struct medians *native, const struct medians *ours)
{
	double read_us = ours->read_us - native->read_us;
	double write_us = ours->write_us - native->write_us;

	(void)printf("  %+.1f, %+.1f us%s", read_us, write_us,
		     read_us > TARGET_US || write_us > TARGET_US ? "  NOT MET" : "");
}

/* One state of all: writes in turns, then a snapshot of each. Even ones are the native files of
 * those that follow them. */
static void measure(struct bench *b, const char *state, struct subject s[N_SUBJECTS])
{
	struct medians median[N_SUBJECTS];

	for (unsigned round = 0; round < b->rounds; round++) {
		for (unsigned i = 0; i < N_SUBJECTS; i++) {
			struct subject *turn = &s[(i + round) % N_SUBJECTS];

			write_some(b, turn, TURN, false, turn->write_ns + (size_t)round * TURN);
			read_some(b, turn, TURN, turn->read_ns + (size_t)round * TURN);
			write_some(b, turn, TURN / 4, true,
				   turn->sync_ns + (size_t)round * (TURN / 4));
		}
	}
	for (unsigned i = 0; i < N_SUBJECTS; i++) {
		print_row(b, state, &s[i], &median[i]);
		if (i % 2)
			print_difference(&median[i - 1], &median[i]);
		(void)printf("\n");
	}
	(void)fflush(stdout);
}

static void create(struct bench *b, const char *name, uint64_t bytes, bool is_written)
{
	const struct backend_spec spec = {
		.name = name, .token = name, .bytes = bytes, .fs = "", .is_written = is_written
	};
	struct backend_volume vol;

	if (backend_create(b->b, &b->ctx, &spec, &vol, &b->err) < 0)
		die(b, "create");
}

static void remove_volume(struct bench *b, const char *name)
{
	if (backend_detach(b->b, &b->ctx, name, &b->err) < 0 ||
	    backend_remove(b->b, &b->ctx, name, NULL, &b->err) < 0)
		die(b, "remove");
	b->err.msg[0] = '\0';
}

static int open_file(struct bench *b, const char *dir, const char *name, int flags)
{
	char path[256];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, flags | O_CLOEXEC, 0600);
	if (fd < 0)
		die(b, path);
	return fd;
}

/* A file beside cleat's, as its user would make it. */
static void open_native(struct bench *b, struct subject *s, bool is_written)
{
	int fd = open_file(b, b->clones, s->what, O_RDWR | O_CREAT | O_EXCL | O_DIRECT);

	if (fallocate(fd, 0, 0, (off_t)BYTES) < 0 ||
	    (is_written && host_file_write_gaps(&b->ctx, fd, &b->err) < 0) || fsync(fd) < 0)
		die(b, "make the native file");
	s->io_fd = s->file_fd = fd;
}

static void open_volume(struct bench *b, struct subject *s, bool is_written)
{
	const struct backend_attach_options opts = { .hold = true };
	struct backend_device dev;

	create(b, s->what, BYTES, is_written);
	if (backend_attach(b->b, &b->ctx, s->what, &opts, &dev, &b->err) < 0)
		die(b, "attach");
	b->err.msg[0] = '\0';
	s->io_fd = open_file(b, "", dev.path + 1, O_RDWR | O_DIRECT);
	s->file_fd = open_file(b, b->pool, s->what, O_RDONLY);
}

static void close_subject(struct bench *b, struct subject *s)
{
	char path[256];

	drop_clones(b, s);
	free(s->read_ns);
	free(s->write_ns);
	free(s->sync_ns);
	(void)close(s->io_fd);
	if (s->io_fd != s->file_fd) {
		(void)close(s->file_fd);
		remove_volume(b, s->what);
		return;
	}
	(void)snprintf(path, sizeof(path), "%s/%s", b->clones, s->what);
	if (unlink(path) < 0)
		die(b, "remove the native file");
}

static void measure_all(struct bench *b)
{
	struct subject s[N_SUBJECTS] = { { .what = "native-reserved" },
					 { .what = "cleat-reserved" },
					 { .what = "native-written" },
					 { .what = "cleat-written" } };

	for (unsigned i = 0; i < N_SUBJECTS; i++) {
		s[i].random = 88172645463325252u;
		s[i].read_ns = xcalloc((size_t)b->rounds * TURN, sizeof(int64_t));
		s[i].write_ns = xcalloc((size_t)b->rounds * TURN, sizeof(int64_t));
		s[i].sync_ns = xcalloc((size_t)b->rounds * (TURN / 4), sizeof(int64_t));
		if (i % 2)
			open_volume(b, &s[i], i >= 2);
		else
			open_native(b, &s[i], i >= 2);
	}
	measure(b, "new", s);
	measure(b, "first snapshot", s);
	for (unsigned n = 2; n < N_SNAPSHOTS; n++) {
		for (unsigned i = 0; i < N_SUBJECTS; i++) {
			write_some(b, &s[i], BETWEEN, false, NULL);
			clone_once(b, &s[i]);
		}
	}
	measure(b, "ten snapshots", s);
	for (unsigned i = 0; i < N_SUBJECTS; i++)
		close_subject(b, &s[i]);
}

static double cpu_s(void)
{
	struct rusage use;

	(void)getrusage(RUSAGE_SELF, &use);
	return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
	       (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

static void fill_image(struct bench *b)
{
	struct backend_info info;

	if (backend_info(b->b, &b->ctx, &info, &b->err) < 0)
		die(b, "look at the pool");
	create(b, "all", info.max_volume_bytes, true);
	remove_volume(b, "all");
}

static void measure_making(struct bench *b, bool is_written)
{
	double cpu = cpu_s();
	int64_t start_ns = clock_now_ns();

	create(b, "one", BYTES, is_written);
	(void)printf("  making 1 GiB %s: %.3f s, %.3f s of CPU\n",
		     is_written ? "written " : "reserved",
		     (double)(clock_now_ns() - start_ns) / NS_PER_S, cpu_s() - cpu);
	remove_volume(b, "one");
}

static void start(struct bench *b, const char *where)
{
	struct backend_config config = { .kind = "pool",
					 .name = "bench",
					 .image_bytes = POOL_BYTES,
					 .reserve_bytes = 64 * MIB };

	b->err.msg[0] = '\0';
	(void)snprintf(b->base, sizeof(b->base), "%s/cleat-bench-XXXXXX", where);
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    !mkdtemp(b->base))
		die(b, "a mount namespace and a directory of its own (root?)");
	(void)snprintf(b->pool, sizeof(b->pool), "%s/pool", b->base);
	(void)snprintf(b->image, sizeof(b->image), "%s/pool.img", b->base);
	(void)snprintf(b->clones, sizeof(b->clones), "%s/.cleat/bench", b->pool);
	if (mkdir(b->pool, 0700) < 0)
		die(b, "make a directory");
	config.image = b->image;
	config.dir = b->pool;
	ctx_init(&b->ctx, 0);
	b->r = registry_new();
	if (registry_open(b->r, &b->ctx, &config, &b->err) < 0)
		die(b, "open the pool");
	b->b = registry_at(b->r, 0);
	if (mkdir(b->clones, 0700) < 0)
		die(b, "make a directory");
}

static void stop(struct bench *b)
{
	(void)rmdir(b->clones);
	registry_free(b->r);
	ctx_done(&b->ctx);
	(void)unlink(b->image);
	(void)rmdir(b->pool);
	(void)rmdir(b->base);
}

int main(int argc, char **argv)
{
	uint64_t rounds = 40;
	struct bench b = { 0 };

	if (argc != 3 || str_parse_u64(argv[1], &rounds) < 0 || rounds == 0 || rounds > 1000) {
		(void)fprintf(stderr, "usage: perf_data ROUNDS DIR\n");
		return 2;
	}
	b.rounds = (unsigned)rounds;
	start(&b, argv[2]);
	fill_image(&b);
	measure_making(&b, false);
	measure_making(&b, true);
	(void)printf("%u reads and writes of 4 KiB at random in 1 GiB, one at a time, and a "
		     "quarter as many synced writes; target: medians at most %g us behind the "
		     "native ones\n",
		     b.rounds * TURN, TARGET_US);
	(void)printf("%34s %7s %8s  %7s %8s  %7s %8s  %7s %7s\n", "median, 99 % in us:", "read", "",
		     "written", "", "synced", "", "extents", "clone ms");
	measure_all(&b);
	stop(&b);
	return 0;
}
