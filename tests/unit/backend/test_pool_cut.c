/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A power cut at every system call of the birth of a volume, a snapshot or a group, on real XFS:
 * the filesystem is shut down with what is not in its log lost (XFS_IOC_GOINGDOWN), mounted again
 * and looked at. The volume is not there or it is whole; and it is there once the call said so.
 * Each cut is made twice, the second time after somebody else's sync has put all changes so far
 * into the log: the moment at which a name could be durable before what it names.
 *
 * The creating process is a child that is stopped at its n-th system call. As root.
 */
#include "backend/registry.h"
#include "base/clock.h"
#include "base/num.h"
#include "base/str.h"
#include "check.h"
#include "contract.h"
#include "host/fs.h"
#include "host/repair.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

/* fs/xfs/libxfs/xfs_fs.h */
#define XFS_GOINGDOWN _IOR('X', 125, uint32_t)
#define XFS_GOING_NOLOGFLUSH 2u

#define VOLUME "volume"
#define FIRST "first"   /* the volume that was there before */
#define SECOND "second" /* and for a group this one */
#define ROUNDS_MAX 1000

/* What is born. */
enum birth { BIRTH_EMPTY, BIRTH_WRITTEN, BIRTH_SNAPSHOT, BIRTH_CLONE, BIRTH_GROUP };

struct shape {
	enum birth birth;
	const char *fs;
	uint64_t bytes;
};

static int take_group(struct backend *b, struct ctx *ctx, const char *name, struct err *err)
{
	const struct backend_group_spec spec = {
		.name = name,
		.token = name,
		.sources = (const char *const[]){ SECOND, FIRST },
		.n_sources = 2,
	};
	struct backend_group group;

	return backend_group_create(b, ctx, &spec, &group, err);
}

static int create(struct registry *r, const struct shape *shape, const char *name, struct err *err)
{
	const struct backend_spec spec = {
		.name = name,
		.token = name,
		.bytes = shape->bytes,
		.fs = shape->fs,
		.source_kind =
			shape->birth == BIRTH_CLONE ? BACKEND_SOURCE_VOLUME : BACKEND_SOURCE_NONE,
		.source = FIRST,
		.is_written = shape->birth == BIRTH_WRITTEN,
	};
	const struct backend_snapshot_spec snap_spec = { .name = name,
							 .token = name,
							 .source = FIRST };
	struct backend_snapshot snap;
	struct backend_volume vol;
	struct ctx ctx;
	int rc;

	ctx_init(&ctx, 0);
	if (shape->birth == BIRTH_GROUP)
		rc = take_group(registry_at(r, 0), &ctx, name, err);
	else
		rc = shape->birth == BIRTH_SNAPSHOT
			     ? backend_snapshot_create(registry_at(r, 0), &ctx, &snap_spec, &snap,
						       err)
			     : backend_create(registry_at(r, 0), &ctx, &spec, &vol, err);
	ctx_done(&ctx);
	return rc;
}

static void remove_it(struct registry *r, enum birth birth, const char *name)
{
	struct backend *b = registry_at(r, 0);
	struct ctx ctx;
	struct err err;

	ctx_init(&ctx, 0);
	ASSERT_OK(birth == BIRTH_SNAPSHOT ? backend_snapshot_remove(b, &ctx, name, NULL, &err)
		  : birth == BIRTH_GROUP  ? backend_group_remove(b, &ctx, name, NULL, &err)
					  : backend_remove(b, &ctx, name, NULL, &err),
		  &err);
	ctx_done(&ctx);
}

/* NULL and the reason printed. */
static struct registry *open_pool(const char *dir)
{
	char image[PATH_MAX];
	struct backend_config config = {
		.kind = "pool",
		.dir = dir,
		.image = image,
		.image_bytes = 1400 * MIB,
	};
	struct registry *r = registry_new();
	struct ctx ctx;
	struct err err;

	(void)snprintf(image, sizeof(image), "%s.img", dir); /* as contract_real.c has it */
	ctx_init(&ctx, 0);
	if (registry_open(r, &ctx, &config, &err) < 0) {
		(void)fprintf(stderr, "open the pool: %s\n", err.msg);
		registry_free(r);
		r = NULL;
	}
	ctx_done(&ctx);
	return r;
}

/* The child: this program with the arguments DIR FS BYTES BIRTH. */
static int create_traced(char **argv)
{
	struct shape shape = { .fs = argv[2] };
	struct registry *r = open_pool(argv[1]);
	uint64_t birth;
	struct err err;

	if (!r || str_parse_u64(argv[3], &shape.bytes) < 0 || str_parse_u64(argv[4], &birth) < 0)
		return 2;
	shape.birth = (enum birth)birth;
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0 || raise(SIGSTOP) != 0)
		return 2;
	_exit(create(r, &shape, VOLUME, &err) < 0 ? 3 : 0);
}

static pid_t start_child(const struct shape *shape)
{
	char self[] = "/proc/self/exe";
	char fs[8], bytes[24], birth[4], dir[PATH_MAX];
	char *const argv[] = { self, dir, fs, bytes, birth, NULL };
	char *const env[] = { NULL };
	pid_t pid;

	(void)snprintf(dir, sizeof(dir), "%s", contract_pool_dir());
	(void)snprintf(fs, sizeof(fs), "%s", shape->fs);
	(void)snprintf(bytes, sizeof(bytes), "%llu", (unsigned long long)shape->bytes);
	(void)snprintf(birth, sizeof(birth), "%d", (int)shape->birth);
	ASSERT_EQ(posix_spawn(&pid, self, NULL, NULL, argv, env), 0);
	return pid;
}

static void wait_stop(pid_t pid, int *ret_status)
{
	ASSERT_EQ(waitpid(pid, ret_status, 0), pid);
	if (WIFEXITED(*ret_status))
		ASSERT_EQ(WEXITSTATUS(*ret_status), 0);
}

/* Lets the child go to its n-th system call: false if it was done before. */
static bool run_to(pid_t pid, unsigned n)
{
	int status;

	wait_stop(pid, &status);
	ASSERT_TRUE(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
	ASSERT_EQ(ptrace(PTRACE_SETOPTIONS, pid, NULL,
			 (void *)(PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL)),
		  0);
	/* two stops a call, before it and after it */
	for (unsigned i = 0; i <= 2 * n;) {
		long sig = WSTOPSIG(status) == (SIGTRAP | 0x80) || WSTOPSIG(status) == SIGSTOP
				   ? 0
				   : WSTOPSIG(status);

		ASSERT_EQ(ptrace(PTRACE_SYSCALL, pid, NULL, (void *)sig), 0);
		wait_stop(pid, &status);
		if (WIFEXITED(status))
			return false;
		i += WSTOPSIG(status) == (SIGTRAP | 0x80);
	}
	return true;
}

/* Somebody else's file of the same filesystem is synced. */
static void sync_beside(int dir_fd)
{
	int fd = openat(dir_fd, "beside", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	ASSERT_TRUE(fd >= 0);
	ASSERT_EQ(fsync(fd), 0);
	ASSERT_EQ(fsync(dir_fd), 0);
	host_fd_close(fd);
	ASSERT_EQ(unlinkat(dir_fd, "beside", 0), 0);
	ASSERT_EQ(fsync(dir_fd), 0);
}

static void cut_power(bool is_log_written)
{
	uint32_t how = XFS_GOING_NOLOGFLUSH;
	int fd = open(contract_pool_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	ASSERT_TRUE(fd >= 0);
	if (is_log_written)
		sync_beside(fd);
	ASSERT_EQ(ioctl(fd, XFS_GOINGDOWN, &how), 0);
	host_fd_close(fd);
}

static int count_name(void *arg, const char *name, bool is_regular)
{
	(void)name;
	(void)is_regular;
	++*(unsigned *)arg;
	return 0;
}

static unsigned n_entries(const char *dir)
{
	char path[PATH_MAX];
	unsigned n = 0;
	struct err err;
	int fd;

	(void)snprintf(path, sizeof(path), "%s/.cleat/%s", contract_pool_dir(), dir);
	ASSERT_OK(host_dir_open(path, &fd, &err), &err);
	ASSERT_OK(host_dir_each(fd, count_name, &n, &err), &err);
	host_fd_close(fd);
	return n;
}

/* Whole as a backend sees it, and nothing of it is left if it is not there. */
static bool is_group_there(struct registry *r)
{
	struct backend_group group;
	struct ctx ctx;
	struct err err;
	bool is;

	ctx_init(&ctx, 0);
	is = backend_group_stat(registry_at(r, 0), &ctx, VOLUME, &group, &err) == 0;
	if (is)
		ASSERT_TRUE(group.n_members == 2 && group.members[0].is_ready &&
			    group.members[1].is_ready);
	else
		ASSERT_EQ(err.code, ERR_NOT_FOUND);
	ASSERT_EQ(n_entries("snapshots"), is ? 2 : 0);
	ASSERT_EQ(n_entries("groups"), is ? 1 : 0);
	ctx_done(&ctx);
	return is;
}

static bool is_there(struct registry *r, const struct shape *shape)
{
	enum host_verdict verdict = HOST_FS_CLEAN;
	struct host_file file;
	struct ctx ctx;
	struct err err;
	int dir_fd = open(contract_pool_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int fd;

	if (shape->birth == BIRTH_GROUP) {
		host_fd_close(dir_fd);
		return is_group_there(r);
	}
	ASSERT_TRUE(dir_fd >= 0);
	fd = openat(dir_fd, shape->birth == BIRTH_SNAPSHOT ? ".cleat/snapshots/" VOLUME : VOLUME,
		    O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		ASSERT_EQ(errno, ENOENT);
	host_fd_close(dir_fd);
	if (fd < 0)
		return false;
	ctx_init(&ctx, 0);
	ASSERT_OK(host_file_look(fd, &file, &err), &err);
	ASSERT_EQ(file.bytes, shape->bytes);
	ASSERT_TRUE(shape->birth == BIRTH_SNAPSHOT || file.allocated_bytes >= shape->bytes);
	if (shape->fs[0])
		ASSERT_OK(host_fs_check(&ctx, fd, shape->fs, false, NULL, &verdict, &err), &err);
	ASSERT_EQ(verdict, HOST_FS_CLEAN);
	if (shape->birth == BIRTH_WRITTEN)
		ASSERT_EQ(lseek(fd, 0, SEEK_HOLE), shape->bytes);
	ctx_done(&ctx);
	host_fd_close(fd);
	return true;
}

/* A mkfs that the child had started may still be ending, with the file in its hands. */
static void umount_pool(void)
{
	int64_t end_ns = clock_now_ns() + 10 * NS_PER_S;

	while (umount2(contract_pool_dir(), UMOUNT_NOFOLLOW) < 0) {
		ASSERT_EQ(errno, EBUSY);
		ASSERT_TRUE(clock_now_ns() < end_ns);
		(void)poll(NULL, 0, 1);
	}
}

/* One birth, cut at its n-th call: false when it has fewer. */
static bool cut_at(const struct shape *shape, unsigned n, bool is_log_written, bool *ret_was_there)
{
	struct registry *r;
	struct err err;
	bool is_cut;
	pid_t pid = start_child(shape);

	is_cut = run_to(pid, n);
	cut_power(is_log_written);
	if (is_cut) {
		ASSERT_EQ(kill(pid, SIGKILL), 0);
		ASSERT_EQ(waitpid(pid, NULL, 0), pid);
	}
	umount_pool();
	r = open_pool(contract_pool_dir());
	ASSERT_TRUE(r);
	*ret_was_there = is_there(r, shape);
	ASSERT_TRUE(is_cut || *ret_was_there);
	ASSERT_OK(create(r, shape, VOLUME, &err), &err);
	ASSERT_TRUE(is_there(r, shape));
	remove_it(r, shape->birth, VOLUME);
	registry_free(r);
	return is_cut;
}

static void cut_everywhere(const struct shape *shape)
{
	unsigned n_there[2] = { 0 };
	struct registry *r;
	struct err err;
	unsigned n = 0;
	bool is_cut = true;
	bool was_there;

	r = open_pool(contract_pool_dir()); /* with a template */
	ASSERT_TRUE(r);
	ASSERT_OK(create(r, &(struct shape){ BIRTH_EMPTY, shape->fs, shape->bytes }, FIRST, &err),
		  &err);
	ASSERT_OK(create(r, &(struct shape){ BIRTH_EMPTY, "", MIB }, SECOND, &err), &err);
	registry_free(r);
	for (; is_cut && n < ROUNDS_MAX; n++) {
		is_cut = false;
		for (int is_log_written = 0; is_log_written < 2; is_log_written++) {
			is_cut |= cut_at(shape, n, is_log_written, &was_there);
			n_there[is_log_written] += was_there;
		}
	}
	/* a name without what it names could only show where the log had it before the end */
	print_message("%u calls; there after %u cuts, %u with the log written\n", n, n_there[0],
		      n_there[1]);
	ASSERT_TRUE(n > 10 && n < ROUNDS_MAX);
	ASSERT_TRUE(n_there[0] >= 1 && n_there[1] > n_there[0]);
	r = open_pool(contract_pool_dir());
	ASSERT_TRUE(r);
	remove_it(r, BIRTH_EMPTY, FIRST);
	remove_it(r, BIRTH_EMPTY, SECOND);
	contract_close(r);
}

TEST(ext4_is_absent_or_whole)
{
	cut_everywhere(&(struct shape){ BIRTH_EMPTY, "ext4", 64 * MIB });
}

TEST(xfs_is_absent_or_whole)
{
	cut_everywhere(&(struct shape){ BIRTH_EMPTY, "xfs", 300 * MIB });
}

TEST(a_written_volume_is_absent_or_whole)
{
	cut_everywhere(&(struct shape){ BIRTH_WRITTEN, "", 16 * MIB });
}

TEST(a_raw_volume_is_absent_or_whole)
{
	cut_everywhere(&(struct shape){ BIRTH_EMPTY, "", 64 * MIB });
}

TEST(a_snapshot_is_absent_or_whole)
{
	cut_everywhere(&(struct shape){ BIRTH_SNAPSHOT, "ext4", 64 * MIB });
}

TEST(a_group_is_absent_or_whole)
{
	cut_everywhere(&(struct shape){ BIRTH_GROUP, "ext4", 64 * MIB });
}

TEST(a_clone_is_absent_or_whole)
{
	cut_everywhere(&(struct shape){ BIRTH_CLONE, "ext4", 64 * MIB });
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		UNIT(ext4_is_absent_or_whole),         UNIT(xfs_is_absent_or_whole),
		UNIT(a_raw_volume_is_absent_or_whole), UNIT(a_snapshot_is_absent_or_whole),
		UNIT(a_clone_is_absent_or_whole),      UNIT(a_written_volume_is_absent_or_whole),
		UNIT(a_group_is_absent_or_whole),
	};
	int rc;

	if (argc == 5)
		return create_traced(argv);
	rc = contract_setup();
	if (rc)
		return rc;
	rc = cmocka_run_group_tests_name("pool-cut", tests, NULL, NULL);
	contract_teardown();
	return rc;
}
