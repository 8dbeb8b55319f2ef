/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From nothing to a mounted volume: cleat's backend in this process against what a script does with
 * truncate, losetup, mkfs and mount, in the same pool, in turns, so that whatever else the machine
 * does falls on both.
 *
 * The reference is spared what it would lose by default: mkfs does not discard, ext4 initialises
 * lazily, direct I/O and 4096-byte sectors as ours, and it neither allocates (its file is sparse)
 * nor syncs. Ours allocates all blocks, gives the filesystem an identity of its own and is durable
 * before it is mounted. The first volume of a size, for which cleat makes its ext4 template, is
 * shown apart.
 *
 * The ext4 rows are measured again with 600 loop devices that are somebody's and bound to nothing,
 * as they are left by programs that only ever add. A row that misses its target says NOT MET.
 *
 * Runs in a mount namespace of its own; the pool is a sparse image that is gone at the end.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend/registry.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/str.h"
#include "host/mount.h"

#define POOL_BYTES (140 * GIB)
#define ROUNDS_MAX 1000
#define N_FOREIGN 600
#define FOREIGN_FIRST 0x8000
#define N_REMOVERS 30

struct bench {
	char base[128];
	char pool[160];
	char image[160];
	char mnt[160];
	char ref_dir[192];
	struct registry *r;
	struct backend *b;
	struct ctx ctx;
	struct err err;
};

struct shape {
	const char *fs;
	uint64_t gib;
};

static void die(struct bench *b, const char *what)
{
	(void)fprintf(stderr, "perf_volume: %s: %s\n", what, b->err.msg);
	exit(1);
}

/* Runs a tool; its first line of output goes to line. */
static int run_tool(char *line, size_t cap, const char *const *argv)
{
	static char path_env[] = "PATH=/usr/sbin:/sbin:/usr/bin:/bin";
	static char *const env[] = { path_env, NULL };
	posix_spawn_file_actions_t actions;
	int fds[2];
	int status;
	pid_t pid;
	ssize_t n;
	int rc;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -1;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, fds[1], 1);
	rc = posix_spawnp(&pid, argv[0], &actions, NULL, (char *const *)(uintptr_t)argv, env);
	posix_spawn_file_actions_destroy(&actions);
	(void)close(fds[1]);
	n = rc == 0 ? read(fds[0], line, cap - 1) : 0;
	line[n > 0 ? n : 0] = '\0';
	line[strcspn(line, "\n")] = '\0';
	(void)close(fds[0]);
	if (rc != 0 || waitpid(pid, &status, 0) < 0)
		return -1;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}

#define RUN(line, ...) run_tool((line), sizeof(line), (const char *const[]){ __VA_ARGS__, NULL })

static int64_t make_by_tools(struct bench *b, const struct shape *shape)
{
	char file[224], size[32], device[64], ignored[8];
	int64_t start_ns;
	int rc;

	(void)snprintf(file, sizeof(file), "%s/volume", b->ref_dir);
	(void)snprintf(size, sizeof(size), "%lluG", (unsigned long long)shape->gib);
	start_ns = clock_now_ns();
	rc = RUN(ignored, "truncate", "-s", size, file);
	if (rc == 0)
		rc = RUN(device, "losetup", "-f", "--show", "--direct-io=on", "-b", "4096", file);
	if (rc == 0 && str_is_equal(shape->fs, "ext4"))
		rc = RUN(ignored, "mkfs.ext4", "-q", "-m", "0", "-E",
			 "nodiscard,lazy_itable_init=1,lazy_journal_init=1", device);
	else if (rc == 0)
		rc = RUN(ignored, "mkfs.xfs", "-q", "-K", device);
	if (rc == 0)
		rc = RUN(ignored, "mount", "-t", shape->fs, device, b->mnt);
	start_ns = clock_now_ns() - start_ns;
	b->err.msg[0] = '\0';
	if (rc < 0)
		die(b, "the tools failed (truncate, losetup, mkfs, mount)");
	if (RUN(ignored, "umount", b->mnt) < 0 || RUN(ignored, "losetup", "-d", device) < 0 ||
	    unlink(file) < 0)
		die(b, "the tools failed (umount, losetup -d)");
	return start_ns;
}

static int64_t make_by_cleat(struct bench *b, const struct shape *shape)
{
	const struct backend_spec spec = {
		.name = "volume", .token = "volume", .bytes = shape->gib * GIB, .fs = shape->fs
	};
	const struct backend_attach_options opts = { 0 };
	const struct host_mount_options mount_opts = { .fs = shape->fs };
	struct backend_volume vol;
	struct backend_device dev;
	int64_t start_ns = clock_now_ns();

	if (backend_create(b->b, &b->ctx, &spec, &vol, &b->err) < 0 ||
	    backend_attach(b->b, &b->ctx, "volume", &opts, &dev, &b->err) < 0 ||
	    host_mount_device(&b->ctx, dev.path, b->mnt, &mount_opts, &b->err) < 0 ||
	    backend_settle(b->b, &b->ctx, "volume", b->mnt, &b->err) < 0)
		die(b, "cleat failed");
	start_ns = clock_now_ns() - start_ns;
	if (host_mount_umount(&b->ctx, b->mnt, &b->err) < 0 ||
	    backend_detach(b->b, &b->ctx, "volume", &b->err) < 0 ||
	    backend_remove(b->b, &b->ctx, "volume", NULL, &b->err) < 0)
		die(b, "cleat failed to clean up");
	return start_ns;
}

static int compare_ns(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

static double median_ms(int64_t *ns, size_t n)
{
	qsort(ns, n, sizeof(*ns), compare_ns);
	return (double)(ns[(n - 1) / 2] + ns[n / 2]) / 2 / NS_PER_MS;
}

static void measure(struct bench *b, const struct shape *shape, size_t rounds)
{
	static int64_t ours[ROUNDS_MAX], theirs[ROUNDS_MAX];
	double first_ms = (double)make_by_cleat(b, shape) / NS_PER_MS;
	double target = str_is_equal(shape->fs, "ext4") ? 4 : 1;
	double our_ms, their_ms;

	(void)make_by_tools(b, shape);
	for (size_t i = 0; i < rounds; i++) {
		bool is_ours_first = i % 2;

		if (is_ours_first)
			ours[i] = make_by_cleat(b, shape);
		theirs[i] = make_by_tools(b, shape);
		if (!is_ours_first)
			ours[i] = make_by_cleat(b, shape);
	}
	our_ms = median_ms(ours, rounds); /* sorts, so that the best is first */
	their_ms = median_ms(theirs, rounds);
	(void)printf("  %-4s %4llu GiB  %8.1f ms %8.1f ms  %5.1fx  (target %gx)   %8.1f %8.1f   "
		     "%8.1f%s\n",
		     shape->fs, (unsigned long long)shape->gib, our_ms, their_ms, their_ms / our_ms,
		     target, (double)ours[0] / NS_PER_MS, (double)theirs[0] / NS_PER_MS, first_ms,
		     their_ms / our_ms < target ? "   NOT MET" : "");
	(void)fflush(stdout);
}

static void change_foreign(struct bench *b, unsigned long what, unsigned from, unsigned step)
{
	int fd = open("/dev/loop-control", O_RDWR | O_CLOEXEC);

	b->err.msg[0] = '\0';
	if (fd < 0)
		die(b, "open /dev/loop-control");
	for (unsigned i = from; i < N_FOREIGN; i += step) {
		if (ioctl(fd, what, FOREIGN_FIRST + i) < 0 && errno != ENODEV)
			die(b, "add or remove loop devices");
	}
	(void)close(fd);
}

struct remover {
	struct bench *b;
	unsigned from;
	pthread_t thread;
};

static void *remove_some(void *arg)
{
	struct remover *r = arg;

	change_foreign(r->b, LOOP_CTL_REMOVE, r->from, N_REMOVERS);
	return NULL;
}

/* One takes 45 ms of waiting. */
static void remove_foreign(struct bench *b)
{
	struct remover removers[N_REMOVERS];

	for (unsigned i = 0; i < N_REMOVERS; i++) {
		removers[i] = (struct remover){ .b = b, .from = i };
		if (pthread_create(&removers[i].thread, NULL, remove_some, &removers[i]) != 0)
			die(b, "start a thread");
	}
	for (unsigned i = 0; i < N_REMOVERS; i++)
		(void)pthread_join(removers[i].thread, NULL);
}

static void start(struct bench *b, const char *where)
{
	struct backend_config config = { .kind = "pool",
					 .name = "bench",
					 .image_bytes = POOL_BYTES };

	b->err.msg[0] = '\0';
	(void)snprintf(b->base, sizeof(b->base), "%s/cleat-bench-XXXXXX", where);
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    !mkdtemp(b->base))
		die(b, "a mount namespace and a directory of its own (root?)");
	(void)snprintf(b->pool, sizeof(b->pool), "%s/pool", b->base);
	(void)snprintf(b->image, sizeof(b->image), "%s/pool.img", b->base);
	(void)snprintf(b->mnt, sizeof(b->mnt), "%s/mnt", b->base);
	(void)snprintf(b->ref_dir, sizeof(b->ref_dir), "%s/.reference", b->pool);
	if (mkdir(b->pool, 0700) < 0 || mkdir(b->mnt, 0700) < 0)
		die(b, "make directories");
	config.image = b->image;
	config.dir = b->pool;
	ctx_init(&b->ctx, 0);
	b->r = registry_new();
	if (registry_open(b->r, &b->ctx, &config, &b->err) < 0)
		die(b, "open the pool");
	b->b = registry_at(b->r, 0);
	if (mkdir(b->ref_dir, 0700) < 0)
		die(b, "make directories");
}

static void stop(struct bench *b)
{
	struct stat st = { 0 };

	(void)rmdir(b->ref_dir);
	registry_free(b->r);
	ctx_done(&b->ctx);
	(void)stat(b->image, &st);
	(void)printf("  the pool's image took %llu MiB of disk\n",
		     (unsigned long long)st.st_blocks * 512 / MIB);
	(void)unlink(b->image);
	(void)rmdir(b->pool);
	(void)rmdir(b->mnt);
	(void)rmdir(b->base);
}

int main(int argc, char **argv)
{
	static const struct shape shapes[] = {
		{ "ext4", 1 }, { "ext4", 100 }, { "xfs", 1 }, { "xfs", 100 }
	};
	uint64_t rounds = 15;
	struct bench b;

	if (argc != 3 || str_parse_u64(argv[1], &rounds) < 0 || rounds == 0 ||
	    rounds > ROUNDS_MAX) {
		(void)fprintf(stderr, "usage: perf_volume ROUNDS DIR\n");
		return 2;
	}
	start(&b, argv[2]);
	(void)printf("from nothing to mounted, medians of %llu rounds in turns\n",
		     (unsigned long long)rounds);
	(void)printf("                     cleat       tools  quicker       best of: cleat    "
		     "tools   cleat's first\n");
	for (size_t i = 0; i < ARRAY_LEN(shapes); i++)
		measure(&b, &shapes[i], rounds);
	(void)printf("  beside %d loop devices of others:\n", N_FOREIGN);
	change_foreign(&b, LOOP_CTL_ADD, 0, 1);
	for (size_t i = 0; i < 2; i++)
		measure(&b, &shapes[i], rounds);
	remove_foreign(&b);
	stop(&b);
	return 0;
}
