/* SPDX-License-Identifier: Apache-2.0 */
/* Loop devices over files in memory, as root: by inode, and by what sysfs alone tells. */
#include "base/mem.h"
#include "base/num.h"
#include "check.h"
#include "host/blockdev.h"
#include "host/fs.h"
#include "host/loopdev.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

struct bound {
	char name[40];
	char file_name[48]; /* as loopdev.h wants it of a memfd */
	int fd;
	int hold;
	struct host_file file;
	struct host_loop loop;
	struct ctx ctx;
	struct err err;
};

static void bind_file(struct bound *b)
{
	const struct host_loop_options opts = { .allow_buffered = true };

	ctx_init(&b->ctx, 0);
	(void)snprintf(b->name, sizeof(b->name), "cleat-test-%d", (int)getpid());
	(void)snprintf(b->file_name, sizeof(b->file_name), "memfd:%s", b->name);
	ASSERT_OK(host_file_make_memory(b->name, 4 * MIB, &b->fd, &b->err), &b->err);
	ASSERT_OK(host_file_look(b->fd, &b->file, &b->err), &b->err);
	ASSERT_OK(host_loop_attach(&b->ctx, b->fd, &opts, &b->loop, &b->hold, &b->err), &b->err);
}

static int bind_reader(struct bound *b, struct host_loop *loop, int *hold)
{
	const struct host_loop_options opts = { .allow_buffered = true,
						.read_only = true,
						.reader = true };

	return host_loop_attach(&b->ctx, b->fd, &opts, loop, hold, &b->err);
}

static void done(struct bound *b)
{
	host_fd_close(b->hold);
	host_fd_close(b->fd);
	ctx_done(&b->ctx);
}

static int find(struct bound *b,
		int (*fn)(const struct host_loop_file *file, struct host_loop *ret_loop,
			  int *ret_hold_fd, struct err *err),
		struct host_loop *ret_loop)
{
	/* -1: b->fd is the very one that the device was bound with */
	const struct host_loop_file file = { .fd = -1,
					     .device = b->file.device,
					     .inode = b->file.inode,
					     .bytes = b->file.bytes,
					     .name = b->file_name };

	return fn(&file, ret_loop, NULL, &b->err);
}

static int keep_seen(void *arg, const struct host_loop_seen *seen)
{
	struct host_loop_seen *last = arg;

	*last = *seen;
	return 0;
}

TEST(a_device_is_seen_by_the_name_of_its_file)
{
	struct host_loop_seen seen = { .devno = 0 };
	struct bound b;

	bind_file(&b);
	ASSERT_OK(host_loop_each_named(b.name, keep_seen, &seen, &b.err), &b.err);
	ASSERT_TRUE(seen.devno == b.loop.devno && seen.is_deleted);
	ASSERT_STR(seen.path, b.loop.path);
	assert_non_null(strstr(seen.file, b.name));
	seen.devno = 0;
	ASSERT_OK(host_loop_each_named("another", keep_seen, &seen, &b.err), &b.err);
	ASSERT_TRUE(seen.devno == 0);
	done(&b);
}

/* A person's, over a file that has the name of one of ours. */
TEST(a_device_with_small_sectors_is_not_seen)
{
	const char name[] = "cleat-test-small";
	struct loop_config config = { .info.lo_flags = LO_FLAGS_AUTOCLEAR };
	struct host_loop_seen seen = { .devno = 0 };
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	char path[64];
	struct err err;
	int file;
	int fd;

	ASSERT_OK(host_file_make_memory(name, MIB, &file, &err), &err);
	config.fd = (uint32_t)file;
	(void)snprintf(path, sizeof(path), "/dev/loop%d", ioctl(control, LOOP_CTL_GET_FREE));
	fd = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_EQ(ioctl(fd, LOOP_CONFIGURE, &config), 0);
	ASSERT_OK(host_loop_each_named(name, keep_seen, &seen, &err), &err);
	ASSERT_TRUE(seen.devno == 0);
	(void)close(fd);
	(void)close(control);
	host_fd_close(file);
}

TEST(a_device_is_let_go_by_its_name_and_only_by_it)
{
	struct host_loop_seen seen;
	struct host_loop found;
	struct bound b;

	bind_file(&b);
	ASSERT_OK(host_loop_keep(b.hold, &b.err), &b.err);
	host_fd_close(b.hold);
	b.hold = -1;
	ASSERT_OK(host_loop_each_named(b.name, keep_seen, &seen, &b.err), &b.err);
	ASSERT_OK(host_loop_let_go(&seen, "another", &b.err), &b.err);
	ASSERT_EQ(find(&b, host_loop_find, &found), 1);
	ASSERT_OK(host_loop_let_go(&seen, b.name, &b.err), &b.err);
	for (int i = 0; i < 1000 && find(&b, host_loop_find, &found) > 0; i++)
		;
	ASSERT_EQ(find(&b, host_loop_find, &found), 0);
	ASSERT_OK(host_loop_let_go(&seen, b.name, &b.err), &b.err);
	done(&b);
}

TEST(an_unlinked_file_is_found_on_its_filesystem)
{
	struct host_loop_seen seen;
	struct bound b;

	bind_file(&b);
	ASSERT_EQ(host_loop_find_unlinked(b.file.device, b.name, &seen, &b.err), 1);
	ASSERT_TRUE(seen.devno == b.loop.devno);
	ASSERT_EQ(host_loop_find_unlinked(b.file.device + 1, b.name, &seen, &b.err), 0);
	ASSERT_EQ(host_loop_find_unlinked(b.file.device, "another", &seen, &b.err), 0);
	done(&b);
}

TEST(a_reader_is_another_device_that_refuses_writes)
{
	struct host_loop reader;
	struct host_loop found;
	char bytes[4096] = "written";
	struct bound b;
	int hold;
	int fd;

	bind_file(&b);
	ASSERT_OK(bind_reader(&b, &reader, &hold), &b.err);
	ASSERT_TRUE(reader.is_reader && reader.is_read_only && reader.devno != b.loop.devno);
	ASSERT_EQ(find(&b, host_loop_find, &found), 1);
	ASSERT_TRUE(found.devno == b.loop.devno && !found.is_reader);
	ASSERT_EQ(find(&b, host_loop_find_reader, &found), 1);
	ASSERT_TRUE(found.devno == reader.devno);
	fd = open(b.loop.path, O_WRONLY | O_CLOEXEC);
	ASSERT_EQ(pwrite(fd, bytes, sizeof(bytes), 0), sizeof(bytes));
	ASSERT_EQ(close(fd), 0);
	fd = open(reader.path, O_WRONLY | O_CLOEXEC);
	ASSERT_TRUE(fd < 0 || pwrite(fd, bytes, sizeof(bytes), 0) < 0);
	if (fd >= 0)
		(void)close(fd);
	ASSERT_OK(host_block_flush(b.loop.path, &b.err), &b.err);
	ASSERT_OK(host_block_flush(reader.path, &b.err), &b.err);
	memset(bytes, 0, sizeof(bytes));
	fd = open(reader.path, O_RDONLY | O_CLOEXEC);
	ASSERT_EQ(pread(fd, bytes, sizeof(bytes), 0), sizeof(bytes));
	ASSERT_STR(bytes, "written");
	ASSERT_EQ(close(fd), 0);
	host_fd_close(hold);
	done(&b);
}

static bool exists(const struct host_loop *loop)
{
	char path[80];

	(void)snprintf(path, sizeof(path), "/sys/block/%s", loop->path + strlen("/dev/"));
	return access(path, F_OK) == 0;
}

TEST(a_sweep_removes_all_and_a_search_brings_none_back)
{
	struct bound b[6];
	struct host_loop found;

	for (size_t i = 0; i < ARRAY_LEN(b); i++)
		bind_file(&b[i]);
	for (size_t i = 0; i < ARRAY_LEN(b); i++)
		done(&b[i]);
	host_loop_sweep();
	for (size_t i = 0; i < ARRAY_LEN(b); i++) {
		ASSERT_FALSE(exists(&b[i].loop));
		ASSERT_EQ(find(&b[i], host_loop_find, &found), 0);
		ASSERT_FALSE(exists(&b[i].loop));
	}
}

/* One of ours that no other test has. */
#define CONTESTED 0x3fffu
#define CONTESTED_NODE "/dev/loop16383"
#define CONTESTED_SYSFS "/sys/block/loop16383"

static atomic_bool is_swept;

static void *sweep(void *arg)
{
	host_loop_sweep();
	atomic_store(&is_swept, true);
	return NULL;
}

/* Another process, which adds the number as soon as it is free, and has it open from then on. */
static int take_contested(int control_fd)
{
	while (!atomic_load(&is_swept)) {
		if (ioctl(control_fd, LOOP_CTL_ADD, CONTESTED) >= 0)
			return open(CONTESTED_NODE, O_RDONLY | O_CLOEXEC);
	}
	return -1;
}

TEST(a_sweep_leaves_the_node_of_a_number_that_another_process_took)
{
	int control_fd = open("/dev/loop-control", O_RDWR | O_CLOEXEC);

	ASSERT_TRUE(control_fd >= 0);
	for (int i = 0; i < 100; i++) {
		pthread_t sweeper;
		int fd;

		(void)ioctl(control_fd, LOOP_CTL_ADD, CONTESTED);
		atomic_store(&is_swept, false);
		ASSERT_EQ(pthread_create(&sweeper, NULL, sweep, NULL), 0);
		fd = take_contested(control_fd);
		(void)pthread_join(sweeper, NULL);
		if (access(CONTESTED_SYSFS, F_OK) == 0)
			ASSERT_EQ(access(CONTESTED_NODE, F_OK), 0);
		host_fd_close(fd);
	}
	host_fd_close(control_fd);
}

/* A loop device over a file at this path, on a filesystem that is mounted there for it. */
static dev_t bind_at(struct bound *b, const char *dir, const char *name)
{
	const struct host_loop_options opts = { .allow_buffered = true };
	int dir_fd;

	ctx_init(&b->ctx, 0);
	ASSERT_EQ(mount("tmpfs", dir, "tmpfs", 0, "size=8m"), 0);
	ASSERT_OK(host_dir_open(dir, &dir_fd, &b->err), &b->err);
	ASSERT_OK(host_file_open_or_make(dir_fd, name, &b->fd, &b->err), &b->err);
	ASSERT_OK(host_file_resize(b->fd, 4 * MIB, &b->err), &b->err);
	ASSERT_OK(host_file_look(b->fd, &b->file, &b->err), &b->err);
	ASSERT_OK(host_loop_attach(&b->ctx, b->fd, &opts, &b->loop, &b->hold, &b->err), &b->err);
	host_fd_close(dir_fd);
	return b->file.device;
}

/* As of two nodes that are containers of one machine. */
TEST(a_device_at_the_same_path_of_another_filesystem_is_not_seen)
{
	char dir[] = "/var/tmp/cleat-loop-XXXXXX";
	struct host_loop_seen seen;
	struct bound first, second;
	dev_t fs[2] = { 0 };
	char path[64];

	assert_non_null(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/image", dir);
	ASSERT_EQ(unshare(CLONE_NEWNS), 0);
	ASSERT_EQ(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	fs[1] = bind_at(&first, dir, "image");
	ASSERT_EQ(host_loop_find_over(path, fs, 1, &seen, &first.err), 0);
	ASSERT_EQ(host_loop_find_over(path, fs, 2, &seen, &first.err), 1);
	ASSERT_TRUE(seen.devno == first.loop.devno);
	fs[0] = bind_at(&second, dir, "image");
	ASSERT_TRUE(fs[0] != fs[1]);
	ASSERT_EQ(host_loop_find_over(path, fs, 1, &seen, &second.err), 1);
	ASSERT_TRUE(seen.devno == second.loop.devno);
	ASSERT_EQ(host_loop_find_over(path, fs + 1, 1, &seen, &second.err), 1);
	ASSERT_TRUE(seen.devno == first.loop.devno);
	done(&second);
	done(&first);
	ASSERT_EQ(umount2(dir, MNT_DETACH), 0);
	ASSERT_EQ(umount2(dir, MNT_DETACH), 0);
	ASSERT_EQ(rmdir(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		UNIT(a_device_is_seen_by_the_name_of_its_file),
		UNIT(a_device_with_small_sectors_is_not_seen),
		UNIT(a_device_is_let_go_by_its_name_and_only_by_it),
		UNIT(an_unlinked_file_is_found_on_its_filesystem),
		UNIT(a_reader_is_another_device_that_refuses_writes),
		UNIT(a_device_at_the_same_path_of_another_filesystem_is_not_seen),
		UNIT(a_sweep_removes_all_and_a_search_brings_none_back),
		UNIT(a_sweep_leaves_the_node_of_a_number_that_another_process_took),
	};
	int rc;

	if (geteuid() != 0 || access("/dev/loop-control", R_OK | W_OK) < 0) {
		print_message("SKIPPED: loop devices need root\n");
		return 77;
	}
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	host_loop_sweep();
	return rc;
}
