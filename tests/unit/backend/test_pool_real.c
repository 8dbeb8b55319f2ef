/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What only the real kernel can answer of a pool: that thick stays thick, that identities differ,
 * that data is there after a restart, and that many threads at once do not disturb one another. As
 * root; contract_real.c makes the place.
 */
#include "backend/registry.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/path.h"
#include "check.h"
#include "contract.h"
#include "host/extent.h"
#include "host/fs.h"
#include "host/mount.h"
#include "host/repair.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define N_THREADS 6
#define N_ROUNDS 6

struct env {
	struct registry *r;
	struct backend *b;
	struct ctx ctx;
	struct err err;
};

static void setup(struct env *e)
{
	contract_open("pool", &e->r);
	e->b = registry_at(e->r, 0);
	ctx_init(&e->ctx, 0);
}

static void teardown(struct env *e)
{
	ctx_done(&e->ctx);
	contract_close(e->r);
}

static void create(struct env *e, const char *name, uint64_t bytes, const char *fs)
{
	const struct backend_spec spec = { .name = name, .token = name, .bytes = bytes, .fs = fs };
	struct backend_volume vol;

	ASSERT_OK(backend_create(e->b, &e->ctx, &spec, &vol, &e->err), &e->err);
}

static int create_written(struct env *e, const char *name, uint64_t bytes, const char *fs)
{
	const struct backend_spec spec = {
		.name = name, .token = name, .bytes = bytes, .fs = fs, .is_written = true
	};
	struct backend_volume vol;

	return backend_create(e->b, &e->ctx, &spec, &vol, &e->err);
}

static void mount_volume(struct env *e, const char *name, const char *fs)
{
	const struct backend_attach_options opts = { 0 };
	const struct host_mount_options mount = { .fs = fs };
	struct backend_device dev;

	ASSERT_OK(backend_attach(e->b, &e->ctx, name, &opts, &dev, &e->err), &e->err);
	ASSERT_TRUE(dev.is_direct);
	ASSERT_OK(host_mount_device(&e->ctx, dev.path, contract_mount_dir(), &mount, &e->err),
		  &e->err);
	ASSERT_OK(backend_settle(e->b, &e->ctx, name, contract_mount_dir(), &e->err), &e->err);
}

static void umount_volume(struct env *e, const char *name)
{
	ASSERT_OK(host_mount_umount(&e->ctx, contract_mount_dir(), &e->err), &e->err);
	ASSERT_OK(backend_detach(e->b, &e->ctx, name, &e->err), &e->err);
}

static int open_volume_file(const char *name)
{
	autofree char *path = path_join(contract_pool_dir(), name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	ASSERT_TRUE(fd >= 0);
	return fd;
}

static uint64_t allocated(const char *name)
{
	int fd = open_volume_file(name);
	struct host_file file;
	struct err err;

	ASSERT_OK(host_file_look(fd, &file, &err), &err);
	host_fd_close(fd);
	return file.allocated_bytes;
}

/* Trims the mounted filesystem as fstrim does: it must be refused, or free nothing of the file. */
static void trim(void)
{
	struct fstrim_range range = { .len = UINT64_MAX };
	int fd = open(contract_mount_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	ASSERT_TRUE(fd >= 0);
	ASSERT_EQ(ioctl(fd, FITRIM, &range), -1);
	ASSERT_EQ(errno, EOPNOTSUPP);
	host_fd_close(fd);
}

TEST(thick_stays_thick)
{
	static const char *const kinds[] = { "ext4", "xfs" };
	struct env e;

	setup(&e);
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		create(&e, kinds[i], 320 * MIB, kinds[i]);
		ASSERT_TRUE(allocated(kinds[i]) >= 320 * MIB);
		mount_volume(&e, kinds[i], kinds[i]);
		trim();
		umount_volume(&e, kinds[i]);
		ASSERT_TRUE(allocated(kinds[i]) >= 320 * MIB);
	}
	create(&e, "raw", 64 * MIB, "");
	ASSERT_TRUE(allocated("raw") >= 64 * MIB);
	teardown(&e);
}

/* Nothing of it is a hole or unwritten; n_extents as XFS counts them. */
static void assert_written(const char *name, uint64_t bytes)
{
	struct fsxattr attr;
	int fd = open_volume_file(name);

	/* what was read into the page cache would pass for data */
	ASSERT_EQ(fsync(fd), 0);
	ASSERT_EQ(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
	ASSERT_EQ(lseek(fd, 0, SEEK_HOLE), bytes);
	ASSERT_EQ(ioctl(fd, FS_IOC_FSGETXATTR, &attr), 0);
	ASSERT_TRUE(attr.fsx_nextents <= 8);
	host_fd_close(fd);
}

TEST(written_is_written_whatever_is_inside)
{
	static const char *const kinds[] = { "ext4", "xfs", "" };
	struct env e;

	setup(&e);
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		const char *name = kinds[i][0] ? kinds[i] : "raw";
		int fd;

		ASSERT_OK(create_written(&e, name, 320 * MIB, kinds[i]), &e.err);
		ASSERT_TRUE(allocated(name) >= 320 * MIB);
		assert_written(name, 320 * MIB);
		if (!kinds[i][0])
			continue;
		mount_volume(&e, name, kinds[i]);
		umount_volume(&e, name);
		fd = open_volume_file(name);
		ASSERT_OK(host_fs_check(&e.ctx, fd, kinds[i], false, NULL,
					&(enum host_verdict){ 0 }, &e.err),
			  &e.err);
		host_fd_close(fd);
	}
	teardown(&e);
}

TEST(calls_that_are_too_short_write_it_together)
{
	struct env e;
	unsigned n = 1;

	setup(&e);
	ctx_done(&e.ctx);
	ctx_init(&e.ctx, NS_PER_S / 4);
	while (create_written(&e, "v", 64 * MIB, "ext4") < 0) {
		ASSERT_ERR(-1, &e.err, ERR_ABORTED, "of 64 MiB are written");
		ctx_done(&e.ctx);
		ctx_init(&e.ctx, NS_PER_S / 4);
		n++;
	}
	ASSERT_TRUE(n > 4 && n < 64);
	assert_written("v", 64 * MIB);
	teardown(&e);
}

TEST(a_device_does_not_inherit_that_the_last_one_was_read_only)
{
	const struct backend_attach_options opts = { .hold = true };
	struct backend_device dev;
	struct env e;
	int fd, ro = -1;

	setup(&e);
	create(&e, "raw", 16 * MIB, "");
	for (int i = 0; i < 2; i++) {
		ASSERT_OK(backend_attach(e.b, &e.ctx, "raw", &opts, &dev, &e.err), &e.err);
		fd = open(dev.path, O_RDONLY | O_CLOEXEC);
		ASSERT_TRUE(fd >= 0);
		ASSERT_EQ(ioctl(fd, BLKROGET, &ro), 0);
		ASSERT_EQ(ro, 0);
		/* only the first time: the number goes back to this machine as it was */
		ASSERT_EQ(ioctl(fd, BLKROSET, &(int){ i == 0 }), 0);
		host_fd_close(fd);
		ASSERT_OK(backend_detach(e.b, &e.ctx, "raw", &e.err), &e.err);
	}
	teardown(&e);
}

static void read_uuid(const char *name, uint8_t uuid[16])
{
	int fd = open_volume_file(name);

	ASSERT_EQ(pread(fd, uuid, 16, 1024 + 0x68), 16);
	host_fd_close(fd);
}

TEST(each_ext4_has_its_own_uuid)
{
	uint8_t a[16], b[16];
	struct env e;

	setup(&e);
	create(&e, "a", 64 * MIB, "ext4");
	create(&e, "b", 64 * MIB, "ext4");
	read_uuid("a", a);
	read_uuid("b", b);
	ASSERT_TRUE(memcmp(a, b, sizeof(a)) != 0);
	teardown(&e);
}

TEST(data_is_there_after_a_restart)
{
	autofree char *path = path_join(contract_mount_dir(), "data");
	char text[16] = "";
	struct env e;
	int fd;

	setup(&e);
	create(&e, "v", 64 * MIB, "ext4");
	mount_volume(&e, "v", "ext4");
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	ASSERT_EQ(write(fd, "kept", 4), 4);
	host_fd_close(fd);
	umount_volume(&e, "v");
	registry_free(e.r);
	contract_open("pool", &e.r);
	e.b = registry_at(e.r, 0);
	mount_volume(&e, "v", "ext4");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ASSERT_EQ(read(fd, text, sizeof(text) - 1), 4);
	host_fd_close(fd);
	ASSERT_STR(text, "kept");
	umount_volume(&e, "v");
	teardown(&e);
}

static int take(struct env *e, const char *name, bool copy_above)
{
	const struct backend_snapshot_spec spec = {
		.name = name,
		.token = name,
		.source = "v",
		.options = { .max_extents = 1000, .copy_above = copy_above },
	};
	struct backend_snapshot snap;

	return backend_snapshot_create(e->b, &e->ctx, &spec, &snap, &e->err);
}

/* Every other block of a file whose space was allocated and not written: each write makes two more
 * extents. */
static void fragment(struct env *e, const char *name)
{
	const struct backend_attach_options opts = { .hold = true };
	struct backend_device dev;
	char *block;
	int fd;

	ASSERT_OK(backend_attach(e->b, &e->ctx, name, &opts, &dev, &e->err), &e->err);
	fd = open(dev.path, O_RDWR | O_DIRECT | O_CLOEXEC);
	ASSERT_TRUE(fd >= 0);
	ASSERT_EQ(posix_memalign((void **)&block, 4096, 4096), 0);
	for (int i = 0; i < 1000; i++) {
		memset(block, 'a' + i % 26, 4096);
		ASSERT_EQ(pwrite(fd, block, 4096, (off_t)i * 8192), 4096);
	}
	free(block);
	host_fd_close(fd);
	ASSERT_OK(backend_detach(e->b, &e->ctx, name, &e->err), &e->err);
}

static void assert_same(const char *name, const char *other_name)
{
	char a[4096], b[4096];
	int fd = open_volume_file(name);
	int other = open_volume_file(other_name);

	for (off_t at = 0; at < (off_t)(16 * MIB); at += (off_t)sizeof(a)) {
		ASSERT_EQ(pread(fd, a, sizeof(a), at), (ssize_t)sizeof(a));
		ASSERT_EQ(pread(other, b, sizeof(b), at), (ssize_t)sizeof(b));
		ASSERT_EQ(memcmp(a, b, sizeof(a)), 0);
	}
	host_fd_close(fd);
	host_fd_close(other);
}

static uint64_t shared_bytes(struct env *e, const char *name)
{
	int fd = open_volume_file(name);
	uint64_t bytes;

	ASSERT_OK(host_file_shared_bytes(&e->ctx, fd, &bytes, &e->err), &e->err);
	host_fd_close(fd);
	return bytes;
}

TEST(a_fragmented_volume_is_refused_or_copied)
{
	const struct backend_spec spec = { .name = "c",
					   .token = "c",
					   .bytes = 16 * MIB,
					   .fs = "",
					   .source_kind = BACKEND_SOURCE_SNAPSHOT,
					   .source = "copy" };
	struct backend_volume vol;
	struct env e;

	setup(&e);
	create(&e, "v", 16 * MIB, "");
	fragment(&e, "v");
	ASSERT_ERR(take(&e, "s", false), &e.err, ERR_FAILED_PRECONDITION,
		   "extents, more than the 1000");
	ASSERT_OK(take(&e, "copy", true), &e.err);
	ASSERT_EQ(shared_bytes(&e, "v"), 0);
	assert_same("v", ".cleat/snapshots/copy");
	ASSERT_OK(backend_create(e.b, &e.ctx, &spec, &vol, &e.err), &e.err);
	assert_same("v", "c");
	ASSERT_TRUE(allocated("c") >= 16 * MIB);
	teardown(&e);
}

struct worker {
	pthread_t thread;
	struct backend *b;
	unsigned number;
	int rc;
	struct err err;
};

static int live_once(struct worker *w, struct ctx *ctx, unsigned round)
{
	const char *fs = (w->number + round) % 2 ? "ext4" : "";
	const struct backend_attach_options opts = { .hold = !fs[0] };
	struct backend_spec spec = { .bytes = (16 + 4 * (round % 2)) * MIB, .fs = fs };
	struct backend_volume vol;
	struct backend_device dev, found;
	char name[32];

	(void)snprintf(name, sizeof(name), "w%u-%u", w->number, round);
	spec.name = spec.token = name;
	if (backend_create(w->b, ctx, &spec, &vol, &w->err) < 0 ||
	    backend_attach(w->b, ctx, name, &opts, &dev, &w->err) < 0 ||
	    backend_find_device(w->b, ctx, name, &found, &w->err) < 0)
		return -1;
	if (found.devno != dev.devno)
		return err_set(&w->err, ERR_INTERNAL, "'%s' was found as '%s'", dev.path,
			       found.path);
	if (backend_detach(w->b, ctx, name, &w->err) < 0)
		return -1;
	/* another program that looks for a free loop device may have this one open for a moment:
	 * ask again, as a CO does */
	while (backend_remove(w->b, ctx, name, NULL, &w->err) < 0) {
		if (w->err.code != ERR_FAILED_PRECONDITION || ctx_remaining_ns(ctx) == 0)
			return -1;
		(void)sched_yield();
	}
	return 0;
}

static void *live(void *arg)
{
	struct worker *w = arg;
	struct ctx ctx;

	ctx_init(&ctx, 60 * NS_PER_S);
	for (unsigned round = 0; round < N_ROUNDS && w->rc == 0; round++)
		w->rc = live_once(w, &ctx, round);
	ctx_done(&ctx);
	return NULL;
}

TEST(many_threads_do_not_disturb_one_another)
{
	struct worker workers[N_THREADS] = { 0 };
	struct backend_info before, after;
	struct env e;

	setup(&e);
	create(&e, "other", 16 * MIB, "ext4");
	create(&e, "another", 20 * MIB, "ext4");
	ASSERT_OK(backend_info(e.b, &e.ctx, &before, &e.err), &e.err);
	for (unsigned i = 0; i < N_THREADS; i++) {
		workers[i].b = e.b;
		workers[i].number = i;
		ASSERT_EQ(pthread_create(&workers[i].thread, NULL, live, &workers[i]), 0);
	}
	for (unsigned i = 0; i < N_THREADS; i++)
		ASSERT_EQ(pthread_join(workers[i].thread, NULL), 0);
	for (unsigned i = 0; i < N_THREADS; i++)
		ASSERT_OK(workers[i].rc, &workers[i].err);
	ASSERT_OK(backend_info(e.b, &e.ctx, &after, &e.err), &e.err);
	ASSERT_EQ(after.n_volumes, 2);
	ASSERT_TRUE(after.available_bytes + MIB >= before.available_bytes);
	teardown(&e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		UNIT(thick_stays_thick),
		UNIT(written_is_written_whatever_is_inside),
		UNIT(calls_that_are_too_short_write_it_together),
		UNIT(a_device_does_not_inherit_that_the_last_one_was_read_only),
		UNIT(each_ext4_has_its_own_uuid),
		UNIT(data_is_there_after_a_restart),
		UNIT(a_fragmented_volume_is_refused_or_copied),
		UNIT(many_threads_do_not_disturb_one_another),
	};
	int rc = contract_setup();

	if (rc)
		return rc;
	rc = cmocka_run_group_tests_name("pool", tests, NULL, NULL);
	contract_teardown();
	return rc;
}
