/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images that are served, as root: the kernel's FUSE, real loop devices and filesystems, and this
 * program as its own server, over images that are files (fake/ceph_file.h).
 */
#include "backend/rbd/fence.h"
#include "backend/rbd/luks.h"
#include "backend/rbd/served.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/str.h"
#include "check.h"
#include "fake/ceph_file.h"
#include "host/blockdev.h"
#include "host/fs.h"
#include "host/grow.h"
#include "host/loopdev.h"
#include "host/mount.h"
#include "host/self.h"
#include "host/spawn.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#define TOKEN "0001-0002-c1-0000000000000007-ef8bee5a-62a9-41fa-88f5-f0784edfb316"
#define OTHER "0001-0002-c1-0000000000000007-8a46b2d4-2c94-44fe-b220-211d3d900cae"
#define IMAGE_BYTES (64 * MIB)
#define XFS_BYTES (320 * MIB)
#define ATTACHES "attach-and-stand-still" /* other things that this program is for a test */
#define ATTACHES_APART "attaches-apart"
#define HOLDS "hold-the-mounts"
#define TIDY(name) cmocka_unit_test_teardown(name, clean_up)

struct node {
	char dir[64];
	char state[96], pool[96], point[96];
	const char *image;
	struct serve_order order;
	struct backend_device dev;
	struct ctx ctx;
	struct err err;
};

static void put_image(const struct node *n, const char *name, uint64_t bytes)
{
	char path[200];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", n->pool, name);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ASSERT_TRUE(fd >= 0 && ftruncate(fd, (off_t)bytes) == 0);
	(void)close(fd);
}

static uint64_t image_blocks(const struct node *n)
{
	char path[200];
	struct stat st;

	(void)snprintf(path, sizeof(path), "%s/%s", n->pool, n->image);
	ASSERT_EQ(stat(path, &st), 0);
	return (uint64_t)st.st_blocks;
}

static void make_order(struct node *n)
{
	(void)snprintf(n->state, sizeof(n->state), "%s/state", n->dir);
	(void)snprintf(n->pool, sizeof(n->pool), "%s/pool", n->dir);
	(void)snprintf(n->point, sizeof(n->point), "%s/point", n->dir);
	n->order = (struct serve_order){ .monitors = "mon",
					 .user = "csi-rbd",
					 .key = "key",
					 .passphrase = "",
					 .pool = n->pool,
					 .ns = "",
					 .image = n->image,
					 .node = "n1",
					 .boot_id = "" };
	ctx_init(&n->ctx, 60 * NS_PER_S);
}

#define LOOPS_MAX 64

/* Loop devices over files of this test, by what sysfs says while they have their mount. */
static unsigned seen[LOOPS_MAX], n_seen;

static char begun[64]; /* the directory of a test that has not ended */

static void begin(struct node *n, const char *image)
{
	n_seen = 0;
	*n = (struct node){ .image = image };
	(void)snprintf(n->dir, sizeof(n->dir), "/var/tmp/cleat-served-XXXXXX");
	assert_non_null(mkdtemp(n->dir));
	memcpy(begun, n->dir, sizeof(begun));
	make_order(n);
	ASSERT_EQ(mkdir(n->state, 0700), 0);
	ASSERT_EQ(mkdir(n->pool, 0700), 0);
	ASSERT_EQ(mkdir(n->point, 0700), 0);
	put_image(n, image, IMAGE_BYTES);
}

/* Whether a server of the token lives. */
static int server_of(const struct node *n, const char *token)
{
	int dir_fd = -1, state_fd = -1, holder = 0;
	struct err err;
	int rc = 0;

	ASSERT_OK(host_dir_open(n->state, &state_fd, &err), &err);
	if (host_dir_open_at(state_fd, token, &dir_fd, &err) == 0)
		rc = host_lock_look(dir_fd, SERVE_LOCK, &holder, &err);
	host_fd_close(dir_fd);
	host_fd_close(state_fd);
	return rc > 0 ? holder : 0;
}

static void remove_tree(const char *dir)
{
	const char *const argv[] = { "rm", "-r", "--one-file-system", dir, NULL };
	struct ctx ctx;
	struct err err;

	ctx_init(&ctx, 0);
	ASSERT_OK(host_spawn(&ctx,
			     &(struct host_spawn){ .tool = "rm",
						   .package = "coreutils",
						   .argv = argv,
						   .pass_fd = -1,
						   .timeout_ns = 20 * NS_PER_S },
			     &err),
		  &err);
	ctx_done(&ctx);
}

static bool read_backing(unsigned number, char *ret_path, size_t cap)
{
	autofree char *at = xasprintf("/sys/block/loop%u/loop/backing_file", number);
	autofd int fd = open(at, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? -1 : read(fd, ret_path, cap - 1);

	ret_path[got > 0 ? got : 0] = '\0';
	ret_path[strcspn(ret_path, "\n")] = '\0';
	return got > 0;
}

static void remember_loop(unsigned number)
{
	ASSERT_TRUE(n_seen < LOOPS_MAX);
	seen[n_seen++] = number;
}

static void remember_loops(const struct node *n)
{
	autofree char *of_token = xasprintf("%s/" TOKEN "/", n->state);
	autodir DIR *dir = opendir("/sys/block");
	const struct dirent *entry;
	char path[PATH_MAX];
	unsigned number;

	assert_non_null(dir);
	while ((entry = readdir(dir))) {
		if (!str_has_prefix(entry->d_name, "loop") ||
		    str_parse_u32(entry->d_name + 4, UINT32_MAX, &number) < 0 ||
		    !read_backing(number, path, sizeof(path)) || !str_has_prefix(path, of_token))
			continue;
		remember_loop(number);
	}
}

/* One that has lost its mount is over "/". */
static void assert_no_loop(const struct node *n)
{
	char path[PATH_MAX];

	for (unsigned i = 0; i < n_seen; i++) {
		if (read_backing(seen[i], path, sizeof(path)) &&
		    (str_is_equal(path, "/") || str_has_prefix(path, n->dir)))
			fail_msg("/dev/loop%u is left over '%s'", seen[i], path);
	}
	n_seen = 0;
	remember_loops(n);
	ASSERT_EQ(n_seen, 0);
}

/* Nothing is left: no device, no mount, no server. */
static void end(struct node *n)
{
	struct backend_device dev;
	char path[300];
	char *line = NULL;
	struct host_mountinfo info;

	assert_no_loop(n);
	ASSERT_EQ(served_find(n->state, TOKEN, &dev, &n->err), 0);
	ASSERT_EQ(server_of(n, TOKEN), 0);
	(void)snprintf(path, sizeof(path), "%s/%s/%s", n->state, TOKEN, TOKEN);
	ASSERT_EQ(host_mountinfo_find_top(path, &line, &info, &n->err), 0);
	ASSERT_TRUE(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD);
	remove_tree(n->dir);
	ctx_done(&n->ctx);
	begun[0] = '\0';
}

/* What a test leaves that has failed. */
static int clean_up(void **state)
{
	static const char *const tokens[] = { TOKEN, OTHER };
	struct node n = { .image = "" };

	(void)state;
	if (!begun[0])
		return 0;
	memcpy(n.dir, begun, sizeof(n.dir));
	make_order(&n);
	begun[0] = '\0';
	(void)umount2(n.point, MNT_DETACH);
	for (size_t i = 0; i < ARRAY_LEN(tokens); i++) {
		if (served_detach(&n.ctx, n.state, tokens[i], &n.err) < 0)
			print_message("%s stays: %s\n", tokens[i], n.err.msg);
	}
	remove_tree(n.dir);
	ctx_done(&n.ctx);
	return 0;
}

static void attach(struct node *n)
{
	ASSERT_OK(served_attach(&n->ctx, n->state, TOKEN, &n->order, &n->dev, &n->err), &n->err);
}

static void detach(struct node *n)
{
	remember_loops(n);
	if (n->dev.devno)
		remember_loop(minor(n->dev.devno));
	ASSERT_OK(served_detach(&n->ctx, n->state, TOKEN, &n->err), &n->err);
	assert_no_loop(n);
}

static void run(struct node *n, const char *const *argv)
{
	ASSERT_OK(host_spawn(&n->ctx,
			     &(struct host_spawn){ .tool = argv[0],
						   .package = "its package",
						   .argv = argv,
						   .pass_fd = -1,
						   .timeout_ns = 60 * NS_PER_S },
			     &n->err),
		  &n->err);
}

static void make_fs(struct node *n)
{
	run(n, (const char *const[]){ "mkfs.ext4", "-q", n->dev.path, NULL });
}

static void mount_fs(struct node *n)
{
	ASSERT_EQ(mount(n->dev.path, n->point, "ext4", MS_NOATIME, "discard"), 0);
}

/* Writes a file of n_bytes of c, durable. 0, or an errno. */
static int write_file(const struct node *n, const char *name, char c, size_t n_bytes)
{
	autofree char *bytes = xmalloc(n_bytes);
	char path[200];
	int os = 0;
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", n->point, name);
	memset(bytes, c, n_bytes);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return errno;
	if (fd_write_all(fd, bytes, n_bytes) < 0 || fsync(fd) < 0)
		os = errno ? errno : EIO;
	(void)close(fd);
	return os;
}

static void assert_file(const struct node *n, const char *name, char c, size_t n_bytes)
{
	autofree char *bytes = NULL;
	char path[200];
	size_t got = 0;

	(void)snprintf(path, sizeof(path), "%s/%s", n->point, name);
	ASSERT_EQ(fd_read_file(AT_FDCWD, path, 2 * n_bytes, &bytes, &got), 0);
	ASSERT_EQ(got, n_bytes);
	for (size_t i = 0; i < got; i++)
		ASSERT_EQ(bytes[i], c);
}

static void umount_fs(struct node *n)
{
	ASSERT_EQ(umount2(n->point, 0), 0);
}

TEST(an_image_is_a_disk_that_keeps_its_bytes)
{
	struct backend_device again;
	struct node n;
	int block = 0;
	int fd;

	begin(&n, "plain");
	attach(&n);
	ASSERT_TRUE(n.dev.is_direct);
	ASSERT_FALSE(n.dev.is_read_only);
	fd = open(n.dev.path, O_RDONLY | O_CLOEXEC);
	ASSERT_EQ(ioctl(fd, BLKSSZGET, &block), 0);
	ASSERT_EQ(block, 512);
	(void)close(fd);
	ASSERT_OK(served_attach(&n.ctx, n.state, TOKEN, &n.order, &again, &n.err), &n.err);
	ASSERT_EQ(again.devno, n.dev.devno);
	ASSERT_EQ(served_find(n.state, TOKEN, &again, &n.err), 1);
	ASSERT_EQ(again.devno, n.dev.devno);
	make_fs(&n);
	mount_fs(&n);
	ASSERT_EQ(write_file(&n, "a", 'a', 3 * MIB + 17), 0);
	umount_fs(&n);
	detach(&n);
	ASSERT_EQ(server_of(&n, TOKEN), 0);
	attach(&n);
	mount_fs(&n);
	assert_file(&n, "a", 'a', 3 * MIB + 17);
	umount_fs(&n);
	detach(&n);
	end(&n);
}

/* What the image's metadata say of who has it; "". */
static void assert_client(const struct node *n, const char *want)
{
	char path[300], text[CEPH_CLIENT_MAX] = "";
	ssize_t got;

	(void)snprintf(path, sizeof(path), "%s/%s", n->pool, n->image);
	got = getxattr(path, "user." IMAGE_CLIENT_WORD, text, sizeof(text) - 1);
	ASSERT_TRUE(got >= 0 || errno == ENODATA);
	ASSERT_STR(text, want);
}

TEST(an_image_names_its_server_for_as_long_as_it_has_it)
{
	struct node n;

	begin(&n, "named");
	attach(&n);
	assert_client(&n, "n1 " FAKE_CEPH_FILE_CLIENT " -");
	detach(&n);
	assert_client(&n, "");
	n.order.node = "";
	attach(&n);
	assert_client(&n, "");
	detach(&n);
	n.order.node = "n1";
	n.order.read_only = true;
	attach(&n);
	assert_client(&n, "");
	detach(&n);
	end(&n);
}

/* A server that was away, and took its time to end. */
TEST(who_has_an_image_by_now_stays_named)
{
	static const char another[] = "n2 10.0.0.8:0/2 -";
	char path[300];
	struct node n;

	begin(&n, "named");
	attach(&n);
	(void)snprintf(path, sizeof(path), "%s/%s", n.pool, n.image);
	ASSERT_EQ(setxattr(path, "user." IMAGE_CLIENT_WORD, another, strlen(another), 0), 0);
	detach(&n);
	assert_client(&n, another);
	end(&n);
}

TEST(what_is_discarded_is_given_back_and_reads_as_zeros)
{
	struct fstrim_range all = { .len = UINT64_MAX };
	uint64_t range[2] = { 4 * MIB + 4096, 4 * MIB };
	unsigned char bytes[4096];
	uint64_t before, after;
	struct node n;
	int fd;

	begin(&n, "plain");
	attach(&n);
	make_fs(&n);
	mount_fs(&n);
	ASSERT_EQ(write_file(&n, "a", 'a', 24 * MIB), 0);
	before = image_blocks(&n);
	(void)snprintf((char *)bytes, sizeof(bytes), "%s/a", n.point);
	ASSERT_EQ(unlink((char *)bytes), 0);
	fd = open(n.point, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ASSERT_EQ(syncfs(fd), 0);
	ASSERT_EQ(ioctl(fd, FITRIM, &all), 0);
	(void)close(fd);
	after = image_blocks(&n);
	ASSERT_TRUE(after * 512 + 20 * MIB < before * 512);
	umount_fs(&n);
	/* what the kernel zeroes by a hole is zero to the byte */
	fd = open(n.dev.path, O_RDWR | O_CLOEXEC | O_DIRECT);
	ASSERT_TRUE(fd >= 0);
	for (unsigned i = 0; i < 16; i++) {
		autofree void *block = NULL;

		ASSERT_EQ(posix_memalign(&block, 4096, MIB), 0);
		memset(block, 'x', MIB);
		ASSERT_EQ(pwrite(fd, block, MIB, (off_t)(i * MIB)), MIB);
	}
	ASSERT_EQ(ioctl(fd, BLKZEROOUT, range), 0);
	(void)close(fd);
	fd = open(n.dev.path, O_RDONLY | O_CLOEXEC);
	ASSERT_EQ(pread(fd, bytes, 4096, (off_t)(range[0] - 4096)), 4096);
	ASSERT_EQ(bytes[4095], 'x');
	for (uint64_t at = range[0]; at < range[0] + range[1]; at += sizeof(bytes)) {
		ASSERT_EQ(pread(fd, bytes, sizeof(bytes), (off_t)at), sizeof(bytes));
		for (size_t i = 0; i < sizeof(bytes); i++)
			ASSERT_EQ(bytes[i], 0);
	}
	ASSERT_EQ(pread(fd, bytes, 4096, (off_t)(range[0] + range[1])), 4096);
	ASSERT_EQ(bytes[0], 'x');
	(void)close(fd);
	detach(&n);
	end(&n);
}

TEST(an_image_that_grows_grows_in_use)
{
	uint64_t bytes = 0;
	struct node n;

	begin(&n, "plain");
	put_image(&n, "plain", XFS_BYTES);
	attach(&n);
	run(&n, (const char *const[]){ "mkfs.xfs", "-q", n.dev.path, NULL });
	ASSERT_EQ(mount(n.dev.path, n.point, "xfs", MS_NOATIME, "discard"), 0);
	put_image(&n, "plain", 2 * XFS_BYTES);
	/* its server hears it in its own time; each look takes what is known */
	for (unsigned i = 0; bytes < 2 * XFS_BYTES && i < 500; i++) {
		ASSERT_EQ(served_find(n.state, TOKEN, &n.dev, &n.err), 1);
		ASSERT_OK(host_block_size(n.dev.path, &bytes, &n.err), &n.err);
		(void)poll(NULL, 0, 10);
	}
	ASSERT_EQ(bytes, 2 * XFS_BYTES);
	ASSERT_OK(host_fs_grow_mounted(&n.ctx, n.point, "xfs", &n.err), &n.err);
	ASSERT_EQ(write_file(&n, "a", 'a', XFS_BYTES), 0);
	assert_file(&n, "a", 'a', XFS_BYTES);
	umount_fs(&n);
	detach(&n);
	end(&n);
}

TEST(what_was_synced_survives_a_server_that_is_killed)
{
	struct backend_device dev;
	struct node n;
	int pid;

	begin(&n, "cached");
	attach(&n);
	make_fs(&n);
	mount_fs(&n);
	ASSERT_EQ(write_file(&n, "a", 'a', MIB), 0);
	pid = server_of(&n, TOKEN);
	ASSERT_TRUE(pid > 0 && kill(pid, SIGKILL) == 0);
	ASSERT_EQ(waitpid(pid, NULL, 0), pid);
	ASSERT_TRUE(write_file(&n, "b", 'b', MIB) != 0);
	assert_client(&n, "n1 " FAKE_CEPH_FILE_CLIENT " -");
	/* the mount is still known as the volume's, and is not taken away from its user */
	ASSERT_EQ(served_find(n.state, TOKEN, &dev, &n.err), 1);
	ASSERT_EQ(dev.devno, n.dev.devno);
	ASSERT_ERR(served_attach(&n.ctx, n.state, TOKEN, &n.order, &dev, &n.err), &n.err,
		   ERR_FAILED_PRECONDITION, "died");
	ASSERT_ERR(served_detach(&n.ctx, n.state, TOKEN, &n.err), &n.err, ERR_FAILED_PRECONDITION,
		   "in use: mounted at");
	umount_fs(&n);
	attach(&n); /* what is left goes by the way */
	mount_fs(&n);
	assert_file(&n, "a", 'a', MIB);
	umount_fs(&n);
	detach(&n);
	end(&n);
}

/* Its cache would say that it is. */
TEST(what_a_shut_out_server_is_given_is_not_called_written)
{
	struct node n;
	char path[300];
	int failed = 0;

	begin(&n, "cached");
	attach(&n);
	make_fs(&n);
	mount_fs(&n);
	ASSERT_EQ(write_file(&n, "a", 'a', MIB), 0);
	(void)snprintf(path, sizeof(path), "%s/%s", n.pool, n.image);
	ASSERT_EQ(setxattr(path, FAKE_CEPH_FILE_SHUT_OUT, "", 0, 0), 0);
	for (unsigned i = 0; i < 100 && !failed; i++) { /* its watch tells it a moment later */
		failed = write_file(&n, "b", 'b', MIB);
		(void)poll(NULL, 0, 10);
	}
	ASSERT_TRUE(failed != 0);
	ASSERT_TRUE(write_file(&n, "c", 'c', MIB) != 0);
	umount_fs(&n);
	detach(&n);
	/* let in again: what was synced before is there */
	ASSERT_EQ(removexattr(path, FAKE_CEPH_FILE_SHUT_OUT), 0);
	attach(&n);
	mount_fs(&n);
	assert_file(&n, "a", 'a', MIB);
	umount_fs(&n);
	detach(&n);
	end(&n);
}

TEST(a_server_that_stands_still_keeps_nothing_from_going)
{
	struct backend_device dev;
	struct node n;
	int pid;

	begin(&n, "plain");
	attach(&n);
	pid = server_of(&n, TOKEN);
	ASSERT_EQ(kill(pid, SIGSTOP), 0);
	ASSERT_EQ(served_find(n.state, TOKEN, &dev, &n.err), 1);
	ASSERT_EQ(dev.devno, n.dev.devno);
	detach(&n);
	end(&n);
}

static pid_t spawn_self(const char *const *argv)
{
	pid_t pid;

	ASSERT_EQ(posix_spawn(&pid, "/proc/self/exe", NULL, NULL, (char *const *)(uintptr_t)argv,
			      environ),
		  0);
	return pid;
}

/* As the agent would; then waits to be killed. */
static int attach_and_stand_still(char **args)
{
	struct node n = { .image = "plain" };

	(void)snprintf(n.dir, sizeof(n.dir), "%s", args[0]);
	make_order(&n);
	if (served_attach(&n.ctx, n.state, TOKEN, &n.order, &n.dev, &n.err) < 0)
		return 1;
	(void)puts("attached");
	(void)fflush(stdout);
	for (;;)
		(void)pause();
}

TEST(a_server_outlives_the_agent)
{
	const char *argv[] = { "test", ATTACHES, NULL, NULL };
	struct node n;
	pid_t pid;

	begin(&n, "plain");
	argv[2] = n.dir;
	pid = spawn_self(argv);
	for (unsigned i = 0; served_find(n.state, TOKEN, &n.dev, &n.err) != 1 && i < 1000; i++)
		(void)poll(NULL, 0, 10);
	ASSERT_EQ(kill(pid, SIGKILL), 0);
	ASSERT_EQ(waitpid(pid, NULL, 0), pid);
	ASSERT_EQ(kill(server_of(&n, TOKEN), SIGTERM), 0);
	attach(&n);
	make_fs(&n);
	mount_fs(&n);
	ASSERT_EQ(write_file(&n, "a", 'a', MIB), 0);
	umount_fs(&n);
	detach(&n);
	end(&n);
}

/* As in a container that goes: the server is the last that has its mounts, and must not wait for
 * itself when they are taken down. */
TEST(a_server_dies_as_the_last_of_its_agents_container)
{
	const char *argv[] = { "test", ATTACHES_APART, NULL, NULL };
	struct node n;
	autofd int fd = -1;
	pid_t pid, server;

	begin(&n, "plain");
	argv[2] = n.dir;
	pid = spawn_self(argv);
	for (unsigned i = 0; served_find(n.state, TOKEN, &n.dev, &n.err) != 1 && i < 1000; i++)
		(void)poll(NULL, 0, 10);
	ASSERT_EQ(kill(pid, SIGKILL), 0);
	ASSERT_EQ(waitpid(pid, NULL, 0), pid);
	server = server_of(&n, TOKEN);
	ASSERT_TRUE(server > 0);
	ASSERT_OK(host_process_open(server, &fd, &n.err), &n.err);
	ASSERT_EQ(kill(server, SIGKILL), 0);
	ASSERT_TRUE(host_process_wait(&n.ctx, server, fd, 10 * NS_PER_S));
	detach(&n);
	end(&n);
}

/* At whatever moment: the next attach or detach ends it. */
TEST(an_agent_that_is_killed_leaves_nothing_that_does_not_go)
{
	const char *argv[] = { "test", ATTACHES, NULL, NULL };
	struct node n;

	begin(&n, "plain");
	argv[2] = n.dir;
	for (int ms = 0; ms < 60; ms += 3) {
		pid_t pid = spawn_self(argv);
		int rc;

		(void)poll(NULL, 0, ms);
		ASSERT_EQ(kill(pid, SIGKILL), 0);
		ASSERT_EQ(waitpid(pid, NULL, 0), pid);
		if (ms % 2) {
			/* a server that hears in its own time that nobody wants it any more */
			for (unsigned i = 0; i < 500; i++) {
				rc = served_attach(&n.ctx, n.state, TOKEN, &n.order, &n.dev,
						   &n.err);
				if (rc == 0 || n.err.code != ERR_ABORTED)
					break;
				(void)poll(NULL, 0, 10);
			}
			ASSERT_OK(rc, &n.err);
		}
		detach(&n);
		/* one that had not locked yet learns that it is alone when it has */
		for (unsigned i = 0; server_of(&n, TOKEN) && i < 500; i++)
			(void)poll(NULL, 0, 10);
		ASSERT_EQ(server_of(&n, TOKEN), 0);
	}
	end(&n);
}

/* As of an agent that was killed as soon as it had ordered it, with a detach behind that. */
TEST(a_server_that_comes_late_leaves_nothing)
{
	autowipe struct str text = STR_INIT;
	struct serve_order order;
	struct node n;
	pid_t pid;
	int fds[2];

	begin(&n, "plain");
	attach(&n);
	detach(&n);
	order = n.order;
	order.dir = arena_printf(n.ctx.arena, "%s/%s", n.state, TOKEN);
	order.token = TOKEN;
	serve_order_encode(&order, &text);
	ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
	ASSERT_EQ(send(fds[0], text.buf, text.len, 0), (ssize_t)text.len);
	ASSERT_EQ(close(fds[0]), 0);
	ASSERT_OK(host_self_start(
			  &(struct host_self){ .word = RBD_SERVE, .name = TOKEN, .fd = fds[1] },
			  &pid, &n.err),
		  &n.err);
	ASSERT_EQ(close(fds[1]), 0);
	ASSERT_EQ(waitpid(pid, NULL, 0), pid);
	ASSERT_EQ(rmdir(order.dir), 0);
	end(&n);
}

TEST(what_cannot_be_served_says_why_and_leaves_nothing)
{
	struct node n;

	begin(&n, "plain");
	n.order.key = "wrong";
	ASSERT_ERR(served_attach(&n.ctx, n.state, TOKEN, &n.order, &n.dev, &n.err), &n.err,
		   ERR_UNAUTHENTICATED, "csi-rbd");
	ASSERT_TRUE(!strstr(n.err.msg, "wrong"));
	n.order.key = "key";
	n.order.image = "absent";
	ASSERT_ERR(served_attach(&n.ctx, n.state, TOKEN, &n.order, &n.dev, &n.err), &n.err,
		   ERR_NOT_FOUND, "absent");
	n.order.image = "plain";
	n.order.monitors = "silent";
	n.ctx.deadline_ns = clock_now_ns() + 300 * NS_PER_MS;
	ASSERT_ERR(served_attach(&n.ctx, n.state, TOKEN, &n.order, &n.dev, &n.err), &n.err,
		   ERR_DEADLINE_EXCEEDED, "still opening");
	n.ctx.deadline_ns = clock_now_ns() + 60 * NS_PER_S;
	ASSERT_EQ(server_of(&n, TOKEN), 0);
	detach(&n);
	detach(&n);
	end(&n);
}

static void set_state(const struct node *n, const char *state)
{
	autofree char *path = xasprintf("%s/%s", n->pool, n->image);

	ASSERT_EQ(setxattr(path, "user." LUKS_STATE_WORD, state, strlen(state), 0), 0);
}

static void assert_state(const struct node *n, const char *state)
{
	autofree char *path = xasprintf("%s/%s", n->pool, n->image);
	char got[64] = "";

	ASSERT_TRUE(getxattr(path, "user." LUKS_STATE_WORD, got, sizeof(got) - 1) >= 0);
	ASSERT_STR(got, state);
}

/* Whether the image, as it lies in the pool, has a run of this byte somewhere. */
static bool lies_in_pool(const struct node *n, char c)
{
	autofree char *path = xasprintf("%s/%s", n->pool, n->image);
	autofree char *bytes = NULL;
	char run[64];
	size_t got = 0;

	memset(run, c, sizeof(run));
	ASSERT_EQ(fd_read_file(AT_FDCWD, path, 2 * IMAGE_BYTES, &bytes, &got), 0);
	ASSERT_EQ(memcmp(bytes, "LUKS\xba\xbe", 6), 0);
	return memmem(bytes, got, run, sizeof(run)) != NULL;
}

TEST(an_encrypted_image_is_formatted_once_and_keeps_its_bytes_to_itself)
{
	struct node n;
	uint64_t bytes = 0;
	int pid;

	begin(&n, "plain");
	set_state(&n, LUKS_PREPARED);
	n.order.passphrase = "open sesame";
	attach(&n);
	assert_state(&n, LUKS_ENCRYPTED);
	ASSERT_OK(host_block_size(n.dev.path, &bytes, &n.err), &n.err);
	ASSERT_EQ(bytes, IMAGE_BYTES - 16 * MIB);
	make_fs(&n);
	mount_fs(&n);
	ASSERT_EQ(write_file(&n, "a", 'a', MIB), 0);
	ASSERT_FALSE(lies_in_pool(&n, 'a'));
	pid = server_of(&n, TOKEN);
	remember_loops(&n);
	ASSERT_EQ(kill(pid, SIGKILL), 0);
	ASSERT_EQ(waitpid(pid, NULL, 0), pid);
	umount_fs(&n);
	detach(&n);
	attach(&n);
	mount_fs(&n);
	assert_file(&n, "a", 'a', MIB);
	umount_fs(&n);
	detach(&n);
	end(&n);
}

/* Of what ceph-csi has decrypted by the kernel a hole is noise. */
TEST(nothing_is_punched_into_an_encrypted_image)
{
	static const char zeros[4096];
	uint64_t range[2] = { 0, 4 * MIB };
	char bytes[4096];
	struct node n;
	int fd;

	begin(&n, "plain");
	set_state(&n, LUKS_PREPARED);
	n.order.passphrase = "open sesame";
	attach(&n);
	fd = open(n.dev.path, O_RDWR | O_CLOEXEC);
	memset(bytes, 'a', sizeof(bytes));
	ASSERT_EQ(pwrite(fd, bytes, sizeof(bytes), 0), sizeof(bytes));
	ASSERT_EQ(fsync(fd), 0);
	/* "not supported" is no error to all kernels */
	ASSERT_TRUE(ioctl(fd, BLKDISCARD, range) == 0 || errno == EOPNOTSUPP);
	ASSERT_EQ(pread(fd, bytes, sizeof(bytes), 0), sizeof(bytes));
	ASSERT_TRUE(bytes[0] == 'a' && bytes[sizeof(bytes) - 1] == 'a');
	range[1] = 4096;
	ASSERT_EQ(ioctl(fd, BLKZEROOUT, range), 0);
	ASSERT_EQ(fsync(fd), 0);
	ASSERT_EQ(pread(fd, bytes, sizeof(bytes), 0), sizeof(bytes));
	ASSERT_EQ(memcmp(bytes, zeros, sizeof(bytes)), 0);
	(void)close(fd);
	detach(&n);
	end(&n);
}

static void assert_not_named(const struct node *n)
{
	autofree char *path = xasprintf("%s/%s", n->pool, n->image);

	ASSERT_TRUE(getxattr(path, "user." IMAGE_CLIENT_WORD, NULL, 0) < 0 && errno == ENODATA);
}

TEST(an_encrypted_image_that_cannot_be_opened_is_left_as_it_is)
{
	struct node n;

	begin(&n, "plain");
	set_state(&n, LUKS_PREPARED);
	ASSERT_ERR(served_attach(&n.ctx, n.state, TOKEN, &n.order, &n.dev, &n.err), &n.err,
		   ERR_INVALID_ARGUMENT, "encryptionPassphrase");
	assert_state(&n, LUKS_PREPARED);
	n.order.passphrase = "open sesame";
	n.order.read_only = true;
	ASSERT_ERR(served_attach(&n.ctx, n.state, TOKEN, &n.order, &n.dev, &n.err), &n.err,
		   ERR_FAILED_PRECONDITION, "never written to");
	n.order.read_only = false;
	attach(&n);
	detach(&n);
	n.order.passphrase = "open barley";
	ASSERT_ERR(served_attach(&n.ctx, n.state, TOKEN, &n.order, &n.dev, &n.err), &n.err,
		   ERR_UNAUTHENTICATED, "encryptionPassphrase");
	ASSERT_TRUE(!strstr(n.err.msg, "barley"));
	assert_not_named(&n);
	set_state(&n, "requiresEncryption");
	n.order.passphrase = "open sesame";
	ASSERT_ERR(served_attach(&n.ctx, n.state, TOKEN, &n.order, &n.dev, &n.err), &n.err,
		   ERR_FAILED_PRECONDITION, "neither");
	set_state(&n, LUKS_ENCRYPTED);
	n.order.read_only = true;
	attach(&n);
	ASSERT_TRUE(n.dev.is_read_only);
	detach(&n);
	end(&n);
}

TEST(read_only_is_read_only)
{
	struct backend_device dev;
	struct node n;
	int fd;

	begin(&n, "plain");
	n.order.read_only = true;
	attach(&n);
	ASSERT_TRUE(n.dev.is_read_only);
	fd = open(n.dev.path, O_RDWR | O_CLOEXEC);
	ASSERT_TRUE(fd < 0 || write(fd, "x", 1) < 0 || fsync(fd) < 0);
	(void)close(fd);
	n.order.read_only = false;
	ASSERT_ERR(served_attach(&n.ctx, n.state, TOKEN, &n.order, &dev, &n.err), &n.err,
		   ERR_FAILED_PRECONDITION, "attached read-only");
	detach(&n);
	end(&n);
}

/* Has copies of all mounts in a namespace of its own, as a container may. */
static int hold_mounts(char **args)
{
	int fd = -1;

	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return 1;
	fd = open(args[0], O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	(void)close(fd);
	for (;;)
		(void)pause();
}

TEST(a_copy_of_the_mount_keeps_no_server)
{
	const char *argv[] = { "test", HOLDS, NULL, NULL };
	struct node n;
	char ready[128];
	pid_t pid;

	begin(&n, "cached");
	attach(&n);
	(void)snprintf(ready, sizeof(ready), "%s/ready", n.dir);
	argv[2] = ready;
	pid = spawn_self(argv);
	for (unsigned i = 0; access(ready, F_OK) < 0 && i < 1000; i++)
		(void)poll(NULL, 0, 10);
	detach(&n);
	ASSERT_EQ(kill(pid, SIGKILL), 0);
	ASSERT_EQ(waitpid(pid, NULL, 0), pid);
	end(&n);
}

TEST(volumes_do_not_know_of_each_other)
{
	struct backend_device other;
	struct node n;
	int pid;

	begin(&n, "plain");
	put_image(&n, "second", IMAGE_BYTES);
	attach(&n);
	n.order.image = "second";
	ASSERT_OK(served_attach(&n.ctx, n.state, OTHER, &n.order, &other, &n.err), &n.err);
	ASSERT_TRUE(other.devno != n.dev.devno);
	pid = server_of(&n, OTHER);
	ASSERT_EQ(kill(pid, SIGKILL), 0);
	ASSERT_EQ(waitpid(pid, NULL, 0), pid);
	make_fs(&n);
	mount_fs(&n);
	ASSERT_EQ(write_file(&n, "a", 'a', MIB), 0);
	umount_fs(&n);
	detach(&n);
	ASSERT_OK(served_detach(&n.ctx, n.state, OTHER, &n.err), &n.err);
	end(&n);
}

/* NULL, or what is missing here. */
static const char *enter(void)
{
	if (geteuid() != 0 || access("/dev/loop-control", R_OK | W_OK) < 0)
		return "root and loop devices";
	if (access("/dev/fuse", R_OK | W_OK) < 0)
		return "/dev/fuse";
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return "a mount namespace (CAP_SYS_ADMIN)";
	return NULL;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TIDY(an_image_is_a_disk_that_keeps_its_bytes),
		TIDY(what_a_shut_out_server_is_given_is_not_called_written),
		TIDY(an_image_names_its_server_for_as_long_as_it_has_it),
		TIDY(who_has_an_image_by_now_stays_named),
		TIDY(what_is_discarded_is_given_back_and_reads_as_zeros),
		TIDY(an_image_that_grows_grows_in_use),
		TIDY(what_was_synced_survives_a_server_that_is_killed),
		TIDY(a_server_that_stands_still_keeps_nothing_from_going),
		TIDY(a_server_outlives_the_agent),
		TIDY(a_server_dies_as_the_last_of_its_agents_container),
		TIDY(an_agent_that_is_killed_leaves_nothing_that_does_not_go),
		TIDY(a_server_that_comes_late_leaves_nothing),
		TIDY(what_cannot_be_served_says_why_and_leaves_nothing),
		TIDY(an_encrypted_image_is_formatted_once_and_keeps_its_bytes_to_itself),
		TIDY(nothing_is_punched_into_an_encrypted_image),
		TIDY(an_encrypted_image_that_cannot_be_opened_is_left_as_it_is),
		TIDY(read_only_is_read_only),
		TIDY(a_copy_of_the_mount_keeps_no_server),
		TIDY(volumes_do_not_know_of_each_other),
	};
	const char *missing;
	int rc;

	if (argc == 3 && strcmp(argv[1], RBD_SERVE) == 0)
		_exit(rbd_serve(fake_ceph_file_lib()));
	if (argc == 3 && strcmp(argv[1], ATTACHES) == 0)
		return attach_and_stand_still(argv + 2);
	if (argc == 3 && strcmp(argv[1], ATTACHES_APART) == 0)
		return unshare(CLONE_NEWNS) < 0 ? 1 : attach_and_stand_still(argv + 2);
	if (argc == 3 && strcmp(argv[1], HOLDS) == 0)
		return hold_mounts(argv + 2);
	missing = enter();
	if (missing) {
		print_message("SKIPPED: serving images needs %s\n", missing);
		return 77;
	}
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	host_loop_sweep();
	return rc;
}
