/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the operations on volumes and snapshots cost: through the RPCs of a real cleat driver, by
 * the bare system calls that such an operation needs (the limit), and by the tools that drivers of
 * files run for it; in turns, in one pool, so that whatever else the machine does falls on each.
 * The heads of cleat.c, bare.c and tools.c say what each does.
 *
 * Wall time is the caller's; CPU that of the driver and the tools it ran, of the calling thread, or
 * of the tools, a call. What kernel threads do for any of them (the loop device's, XFS's) is not in
 * it. A row that misses its target says NOT MET.
 *
 * Runs in a mount namespace of its own; the pool is a sparse image that is gone at the end. After a
 * failure the driver ends by SIGTERM and what is mounted with the namespace; a directory may stay.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "bench.h"
#include "csi/client.h"
#include "event/loop.h"
#include "grpc/client.h"

#define POOL_BYTES "700G"
#define CLONE_ROUNDS 5u
#define READY_TRIES 500u
#define FILE_BYTES (64 * MIB)

static pid_t server_of_die;

void die(const char *format, ...)
{
	int errnum = errno;
	va_list args;

	va_start(args, format);
	(void)fprintf(stderr, "perf_snapshots: ");
	(void)vfprintf(stderr, format, args);
	(void)fprintf(stderr, " (errno: %s)\n", strerror(errnum));
	va_end(args);
	if (server_of_die > 0)
		(void)kill(server_of_die, SIGTERM);
	_exit(1);
}

const char *place(char path[256], const char *dir, const char *word, unsigned number)
{
	if (snprintf(path, 256, "%s/%s-%u", dir, word, number) >= 256)
		die("a long path");
	return path;
}

static int64_t clock_ns(clockid_t clock)
{
	struct timespec ts;

	if (clock_gettime(clock, &ts) < 0)
		die("ask a clock");
	return ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

/* What the tools took that the driver ran: two fields of ticks. */
static int64_t server_children_ns(const struct bench *b)
{
	char path[32], text[512] = "";
	unsigned long user = 0, sys = 0;
	const char *at;
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", b->server);
	f = fopen(path, "re");
	if (!f || !fgets(text, sizeof(text), f))
		die("read '%s'", path);
	(void)fclose(f);
	at = strrchr(text, ')');
	for (unsigned i = 0; at && i < 14; i++)
		at = strchr(at + 1, ' ');
	if (at) {
		char *end;

		user = strtoul(at, &end, 10);
		sys = strtoul(end, NULL, 10);
	}
	return (int64_t)(user + sys) * (NS_PER_S / sysconf(_SC_CLK_TCK));
}

static int64_t cpu_ns(const struct bench *b, enum way way)
{
	switch (way) {
	case CLEAT:
		return clock_ns(b->server_clock) + server_children_ns(b);
	case BARE:
		return clock_ns(CLOCK_THREAD_CPUTIME_ID) + b->children_ns;
	case TOOLS:
	case N_WAYS:
		break;
	}
	return b->children_ns;
}

void span_begin(struct bench *b, enum way way, struct span *s)
{
	s->cpu_ns = cpu_ns(b, way);
	s->wall_ns = clock_now_ns();
}

void span_end(struct bench *b, enum way way, enum op op, const struct span *s)
{
	struct samples *samples = &b->samples[way][op];
	int64_t now_ns = clock_now_ns();

	samples->wall_ns[samples->n++] = now_ns - s->wall_ns;
	samples->cpu_ns += cpu_ns(b, way) - s->cpu_ns;
}

static void add_usage(struct bench *b, const struct rusage *use)
{
	b->children_ns += (use->ru_utime.tv_sec + use->ru_stime.tv_sec) * NS_PER_S +
			  (use->ru_utime.tv_usec + use->ru_stime.tv_usec) * NS_PER_US;
}

void run_tool(struct bench *b, char *line, size_t cap, const char *const *argv)
{
	static char path_env[] = "PATH=/usr/sbin:/sbin:/usr/bin:/bin";
	static char *const env[] = { path_env, NULL };
	posix_spawn_file_actions_t actions;
	struct rusage use;
	int status = 0;
	int fds[2];
	ssize_t n;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		die("make a pipe");
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, fds[1], 1);
	if (posix_spawnp(&pid, argv[0], &actions, NULL, (char *const *)(uintptr_t)argv, env) != 0)
		die("run '%s'", argv[0]);
	posix_spawn_file_actions_destroy(&actions);
	(void)close(fds[1]);
	n = read(fds[0], line, cap - 1);
	line[n > 0 ? n : 0] = '\0';
	line[strcspn(line, "\n")] = '\0';
	while (read(fds[0], (char[256]){ 0 }, 256) > 0)
		continue;
	(void)close(fds[0]);
	if (wait4(pid, &status, 0, &use) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
		die("'%s' failed", argv[0]);
	add_usage(b, &use);
}

/* xorshift: no two blocks alike, the same in each run. */
static void fill(int fd, uint64_t bytes)
{
	static uint64_t block[1 << 17];
	static uint64_t random = 88172645463325252u;

	for (uint64_t at = 0; at < bytes; at += sizeof(block)) {
		for (size_t i = 0; i < ARRAY_LEN(block); i++) {
			random ^= random << 13;
			random ^= random >> 7;
			random ^= random << 17;
			block[i] = random;
		}
		if (pwrite(fd, block, sizeof(block), (off_t)at) != (ssize_t)sizeof(block))
			die("write");
	}
}

static void write_file(const char *path, int flags, uint64_t bytes)
{
	int fd = open(path, flags | O_RDWR | O_CLOEXEC, 0600);

	if (fd < 0)
		die("open '%s'", path);
	fill(fd, bytes);
	if (flags & O_SYNC && fsync(fd) < 0)
		die("sync '%s'", path);
	(void)close(fd);
}

void make_dirty(const char *dir, unsigned round)
{
	char path[256];

	write_file(place(path, dir, "dirty", round % 8), O_CREAT, DIRTY_BYTES);
}

static int compare_ns(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

double median_ms(int64_t *ns, size_t n)
{
	qsort(ns, n, sizeof(*ns), compare_ns);
	return (double)(ns[(n - 1) / 2] + ns[n / 2]) / 2 / NS_PER_MS;
}

struct target {
	const char *what;
	double max_ms;       /* of cleat's; 0: none */
	double max_of_bare;  /* times the bare calls; 0: none */
	double min_of_tools; /* so many times as quick as the tools; 0: none */
};

static const struct target targets[N_OPS] = {
	[PROBE] = { "Probe: a call that does nothing" },
	[CREATE_EXT4] = { "CreateVolume, ext4 of 1 GiB", .max_of_bare = 2 },
	[CREATE_XFS] = { "CreateVolume, xfs of 1 GiB", .max_of_bare = 2 },
	[CREATE_RAW] = { "CreateVolume, raw of 1 GiB", .max_of_bare = 2 },
	[STAGE] = { "NodeStageVolume, ext4" },
	[PUBLISH] = { "NodePublishVolume" },
	[UNPUBLISH] = { "NodeUnpublishVolume" },
	[UNSTAGE] = { "NodeUnstageVolume" },
	[DELETE] = { "DeleteVolume" },
	[SNAPSHOT_IDLE] = { "CreateSnapshot, 10 GiB mounted", .max_ms = 1 },
	[SNAPSHOT_DIRTY] = { " with 1 MiB to be written out" },
	[RESTORE] = { "CreateVolume of the snapshot", .max_of_bare = 2 },
	[DELETE_RESTORED] = { "DeleteVolume of that" },
	[DELETE_SNAPSHOT] = { "DeleteSnapshot" },
	[EXPAND] = { "Controller- and NodeExpand, xfs" },
	[LIST] = { "ListSnapshots, page of 100" },
	[CLONE] = { "CreateVolume of 1 GiB of data", .max_of_bare = 2, .min_of_tools = 20 },
	[DELETE_CLONE] = { "DeleteVolume of that" },
};

static double print_way(struct samples *s)
{
	double median;

	if (s->n == 0) {
		(void)printf("  %8s %8s %8s", "-", "-", "-");
		return 0;
	}
	median = median_ms(s->wall_ns, s->n);
	(void)printf("  %8.2f %8.2f %8.2f", median,
		     (double)s->wall_ns[(uint64_t)s->n * 99 / 100] / NS_PER_MS,
		     (double)s->cpu_ns / s->n / NS_PER_MS);
	return median;
}

static void print_row(struct bench *b, enum op op)
{
	const struct target *t = &targets[op];
	double ms[N_WAYS];

	(void)printf("  %-32s", t->what);
	for (enum way way = 0; way < N_WAYS; way++)
		ms[way] = print_way(&b->samples[way][op]);
	if (t->max_ms > 0)
		(void)printf("  (target %g ms)%s", t->max_ms,
			     ms[CLEAT] > t->max_ms ? "  NOT MET" : "");
	if (t->max_of_bare > 0)
		(void)printf("  (%.1fx the bare, target %gx)%s", ms[CLEAT] / ms[BARE],
			     t->max_of_bare,
			     ms[CLEAT] > t->max_of_bare * ms[BARE] ? "  NOT MET" : "");
	if (t->min_of_tools > 0)
		(void)printf("  (%.0fx quicker, target %gx)%s", ms[TOOLS] / ms[CLEAT],
			     t->min_of_tools,
			     ms[TOOLS] < t->min_of_tools * ms[CLEAT] ? "  NOT MET" : "");
	(void)printf("\n");
}

typedef void (*round_fn)(struct bench *b, unsigned round);

static void in_turns(struct bench *b, unsigned first, unsigned n, const round_fn fns[N_WAYS])
{
	for (unsigned round = first; round < first + n; round++) {
		for (unsigned i = 0; i < N_WAYS; i++)
			fns[(i + round) % N_WAYS](b, round);
	}
}

/* What the first round of each paid for all that follow, such as templates, is not in the rows. */
static void forget(struct bench *b)
{
	memset(b->samples, 0, sizeof(b->samples));
}

static void measure(struct bench *b, unsigned rounds)
{
	static const round_fn all[N_WAYS] = { cleat_round, bare_round, tools_round };
	static const round_fn clones[N_WAYS] = { cleat_clone, bare_clone, tools_clone };
	char path[256];

	cleat_start(b);
	bare_start(b);
	tools_start(b);
	(void)snprintf(path, sizeof(path), "%s/data", b->pool);
	write_file(path, O_SYNC, SMALL_BYTES);
	write_file(place(path, b->base, "cleat-base-0/file", 0), O_CREAT | O_SYNC, FILE_BYTES);
	write_file(place(path, b->base, "bare-base-0/file", 0), O_CREAT | O_SYNC, FILE_BYTES);
	write_file(place(path, b->base, "tools-base-0/file", 0), O_CREAT | O_SYNC, FILE_BYTES);
	in_turns(b, 0, 1, all);
	forget(b);
	in_turns(b, 1, rounds, all);
	in_turns(b, 0, CLONE_ROUNDS, clones);
	(void)printf("%u rounds in turns (clones: %u), ms: median, 99 %%, CPU a call\n", rounds,
		     CLONE_ROUNDS);
	(void)printf("  %32s  %-26s  %-26s  %-26s\n", "", "cleat driver, by RPC",
		     "bare system calls", "tools");
	for (enum op op = 0; op < N_OPS; op++)
		print_row(b, op);
	(void)fflush(stdout);
	tools_stop(b);
	bare_stop(b);
	cleat_stop(b);
}

static void make_pool(struct bench *b, const char *where)
{
	char image[192], device[64], ignored[8];

	(void)snprintf(b->base, sizeof(b->base), "%s/cleat-bench-XXXXXX", where);
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    !mkdtemp(b->base))
		die("a mount namespace and a directory of its own (root?)");
	(void)snprintf(b->pool, sizeof(b->pool), "%s/pool", b->base);
	(void)snprintf(image, sizeof(image), "%s/pool.img", b->base);
	(void)snprintf(b->ref, sizeof(b->ref), "%s/.reference", b->pool);
	if (mkdir(b->pool, 0700) < 0)
		die("make '%s'", b->pool);
	RUN(b, ignored, "truncate", "-s", POOL_BYTES, image);
	RUN(b, device, "losetup", "-f", "--show", "--direct-io=on", "-b", "4096", image);
	RUN(b, ignored, "mkfs.xfs", "-q", "-K", "-m", "reflink=1", device);
	RUN(b, ignored, "mount", "-t", "xfs", device, b->pool);
	RUN(b, ignored, "losetup", "-d", device); /* when the mount goes */
	(void)unlink(image);
}

static void start_server(struct bench *b, const char *cleat, const char *socket)
{
	char endpoint[256], pool[200], log[192];
	const char *const argv[] = { cleat, "driver", endpoint, "--node-id=bench", pool, NULL };
	posix_spawn_file_actions_t actions;

	(void)snprintf(endpoint, sizeof(endpoint), "--endpoint=unix://%s", socket);
	(void)snprintf(pool, sizeof(pool), "--pool=%s", b->pool);
	(void)snprintf(log, sizeof(log), "%s/cleat.log", b->base);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 2, log, O_WRONLY | O_CREAT | O_APPEND, 0600);
	if (posix_spawn(&b->server, cleat, &actions, NULL, (char *const *)(uintptr_t)argv,
			environ) != 0)
		die("start '%s'", cleat);
	posix_spawn_file_actions_destroy(&actions);
	server_of_die = b->server;
	if (clock_getcpuclockid(b->server, &b->server_clock) != 0)
		die("find the driver's clock");
}

static void wait_ready(struct bench *b)
{
	const struct csi_probe_request req = {};
	struct csi_probe_response ret;
	struct err err = { 0 };

	for (unsigned i = 0; i < READY_TRIES; i++) {
		struct ctx ctx;
		int rc;

		ctx_init(&ctx, NS_PER_S);
		rc = csi_probe(&b->service, &ctx, &req, &ret, &err);
		ctx_done(&ctx);
		if (rc == 0 && csi_probe_is_ready(&ret))
			return;
		if (waitpid(b->server, NULL, WNOHANG) != 0)
			break;
		(void)nanosleep(&(struct timespec){ .tv_nsec = 20 * NS_PER_MS }, NULL);
	}
	die("the driver does not answer: %s", err.msg);
}

static void stop_server(struct bench *b)
{
	int status = 0;

	(void)kill(b->server, SIGTERM);
	if (waitpid(b->server, &status, 0) < 0 || status != 0)
		die("the driver ended with %d", status);
	server_of_die = 0;
}

static void remove_pool(struct bench *b)
{
	char path[256];

	(void)close(b->ref_fd);
	if (umount2(b->pool, 0) < 0 || rmdir(b->pool) < 0)
		die("unmount '%s'", b->pool);
	(void)snprintf(path, sizeof(path), "%s/cleat.log", b->base);
	(void)unlink(path);
	(void)snprintf(path, sizeof(path), "%s/run", b->base);
	if (rmdir(path) < 0 || rmdir(b->base) < 0)
		die("remove '%s'", b->base);
}

static void measure_all(struct bench *b, const char *cleat, unsigned rounds, unsigned many_rounds)
{
	struct grpc_channel *channel;
	struct csi_client *client;
	struct net_addr addr = { 0 };
	struct ev_loop *loop = NULL;
	struct err err = { 0 };
	char socket[192];

	/* alone in its directory, which the driver watches */
	(void)snprintf(socket, sizeof(socket), "%s/run", b->base);
	if (mkdir(socket, 0700) < 0)
		die("make '%s'", socket);
	(void)snprintf(socket, sizeof(socket), "%s/run/csi.sock", b->base);
	start_server(b, cleat, socket);
	if (net_addr_parse(socket, &addr, &err) < 0 || ev_loop_new(&loop) < 0 ||
	    ev_loop_spawn(loop) < 0)
		die("start a client: %s", err.msg);
	channel = grpc_channel_new(loop, &addr, NULL);
	client = csi_client_new(channel);
	b->service = csi_client_service(client);
	wait_ready(b);
	if (mkdir(b->ref, 0700) < 0)
		die("make '%s'", b->ref);
	b->ref_fd = open(b->ref, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bare_make_template(b);
	measure(b, rounds);
	measure_many(b, many_rounds);
	bare_remove_template(b);
	csi_client_free(client);
	grpc_channel_free(channel);
	ev_loop_join(loop);
	ev_loop_free(loop);
	stop_server(b);
}

int main(int argc, char **argv)
{
	static struct bench b;
	uint64_t rounds = 30, many_rounds = 3;

	if (argc != 5 || str_parse_u64(argv[2], &rounds) < 0 ||
	    str_parse_u64(argv[3], &many_rounds) < 0 || rounds == 0 || rounds >= ROUNDS_MAX ||
	    many_rounds > 100) {
		(void)fprintf(stderr, "usage: perf_snapshots CLEAT ROUNDS MANY-ROUNDS DIR\n");
		return 2;
	}
	log_init(&(struct log_options){ .verbosity = 0 });
	make_pool(&b, argv[4]);
	measure_all(&b, argv[1], (unsigned)rounds, (unsigned)many_rounds);
	remove_pool(&b);
	return 0;
}
