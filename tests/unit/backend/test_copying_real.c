/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A snapshot that is copied in the background on a real filesystem, with a thread that copies and
 * one that wants the volume: neither waits for long, and the snapshot has the bytes of its moment.
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/path.h"
#include "check.h"
#include "contract_run.h"
#include "host/fs.h"

#define DATA_BYTES (480 * MIB) /* more than a call copies */
#define CHUNK MIB

static const struct backend_snapshot_spec snapshot = {
	.name = "s",
	.token = "s",
	.source = "v",
	.options = { .max_extents = 1, .copy_above = true },
};

static void create(struct run *run)
{
	const struct backend_spec spec = {
		.name = "v", .token = "v", .bytes = 512 * MIB, .fs = ""
	};

	ASSERT_OK(backend_create(run->b, run->ctx, &spec, &run->vol, &run->err), &run->err);
}

static void attach(struct run *run)
{
	const struct backend_attach_options opts = { .hold = true };

	ASSERT_OK(backend_attach(run->b, run->ctx, "v", &opts, &run->dev, &run->err), &run->err);
}

static void detach(struct run *run)
{
	ASSERT_OK(backend_detach(run->b, run->ctx, "v", &run->err), &run->err);
}

/* Each MiB has its own bytes; every second one is left out at first, so that there are extents. */
static void fill(const char *device, unsigned char mark)
{
	unsigned char *chunk = xmalloc(CHUNK);
	int fd = open(device, O_WRONLY | O_CLOEXEC);

	ASSERT_TRUE(fd >= 0);
	for (uint64_t i = 0; i < DATA_BYTES / CHUNK; i++) {
		uint64_t at = (i * 2) % (DATA_BYTES / CHUNK) + (i * 2 >= DATA_BYTES / CHUNK);

		memset(chunk, (int)(mark + at), CHUNK);
		ASSERT_EQ(pwrite(fd, chunk, CHUNK, (off_t)(at * CHUNK)), (ssize_t)CHUNK);
		if (i == DATA_BYTES / CHUNK / 2)
			ASSERT_EQ(fsync(fd), 0);
	}
	ASSERT_EQ(fsync(fd), 0);
	host_fd_close(fd);
	free(chunk);
}

static void assert_has(const char *path, unsigned char mark)
{
	unsigned char *chunk = xmalloc(CHUNK);
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	ASSERT_TRUE(fd >= 0);
	for (uint64_t at = 0; at < DATA_BYTES / CHUNK; at++) {
		ASSERT_EQ(pread(fd, chunk, CHUNK, (off_t)(at * CHUNK)), (ssize_t)CHUNK);
		for (size_t i = 0; i < CHUNK; i += 4096)
			ASSERT_EQ(chunk[i], (unsigned char)(mark + at));
	}
	host_fd_close(fd);
	free(chunk);
}

static char *snapshot_path(void)
{
	return path_join(contract_pool_dir(), ".cleat/snapshots/s");
}

struct tending {
	struct backend *b;
	atomic_bool is_over;
	pthread_t thread;
};

static void *tend(void *arg)
{
	struct tending *t = arg;

	while (!atomic_load(&t->is_over)) {
		struct ctx ctx;
		struct err err;

		ctx_init(&ctx, NS_PER_S);
		(void)backend_tend(t->b, &ctx, &err);
		ctx_done(&ctx);
		(void)poll(NULL, 0, 1);
	}
	return NULL;
}

static void tend_begin(struct tending *t, struct backend *b)
{
	t->b = b;
	atomic_init(&t->is_over, false);
	ASSERT_EQ(pthread_create(&t->thread, NULL, tend, t), 0);
}

static void tend_end(struct tending *t)
{
	atomic_store(&t->is_over, true);
	ASSERT_EQ(pthread_join(t->thread, NULL), 0);
}

static void begin(struct run *run)
{
	struct backend_snapshot snap;

	create(run);
	attach(run);
	fill(run->dev.path, 1);
	detach(run);
	ASSERT_OK(backend_snapshot_create(run->b, run->ctx, &snapshot, &snap, &run->err),
		  &run->err);
	ASSERT_FALSE(snap.is_ready);
}

static struct backend_snapshot look(struct run *run)
{
	struct backend_snapshot snap;

	ASSERT_OK(backend_snapshot_create(run->b, run->ctx, &snapshot, &snap, &run->err),
		  &run->err);
	return snap;
}

static void end(struct run *run)
{
	detach(run);
	ASSERT_OK(backend_snapshot_remove(run->b, run->ctx, "s", NULL, &run->err), &run->err);
	ASSERT_OK(backend_remove(run->b, run->ctx, "v", NULL, &run->err), &run->err);
}

static void check_whole(struct run *run)
{
	autofree char *path = snapshot_path();
	struct tending t;

	begin(run);
	tend_begin(&t, run->b);
	for (unsigned i = 0; i < 3000 && !look(run).is_ready; i++)
		(void)poll(NULL, 0, 10);
	tend_end(&t);
	ASSERT_TRUE(look(run).is_ready);
	assert_has(path, 1);
	end(run);
}

/* There a pod waits for what is done in half a minute. */
static void wait_where_nothing_can_be_shared(struct run *run)
{
	const struct backend_attach_options opts = { .hold = true };

	if (contract_pool_can_clone())
		return;
	ASSERT_ERR(backend_attach(run->b, run->ctx, "v", &opts, &run->dev, &run->err), &run->err,
		   ERR_ABORTED, "it is being copied for snapshot 's'");
	for (unsigned i = 0; i < 3000 && !look(run).is_ready; i++)
		(void)poll(NULL, 0, 10);
}

/* While a piece is being copied. */
static void check_wanted(struct run *run)
{
	autofree char *path = snapshot_path();
	int64_t began_ns;
	struct tending t;

	begin(run);
	tend_begin(&t, run->b);
	(void)poll(NULL, 0, 50);
	began_ns = clock_now_ns();
	wait_where_nothing_can_be_shared(run);
	attach(run);
	ASSERT_TRUE(clock_now_ns() - began_ns < 30 * NS_PER_S);
	(void)fprintf(stderr, "a pod waited %lld us for a copy to be ended\n",
		      (long long)((clock_now_ns() - began_ns) / NS_PER_US));
	ASSERT_TRUE(look(run).is_ready);
	fill(run->dev.path, 77);
	assert_has(path, 1);
	tend_end(&t);
	end(run);
}

static void check_deleted(struct run *run)
{
	struct tending t;

	begin(run);
	tend_begin(&t, run->b);
	(void)poll(NULL, 0, 50);
	ASSERT_OK(backend_snapshot_remove(run->b, run->ctx, "s", NULL, &run->err), &run->err);
	ASSERT_OK(backend_remove(run->b, run->ctx, "v", NULL, &run->err), &run->err);
	tend_end(&t);
}

TEST(a_copy_becomes_whole)
{
	run_contract("pool", check_whole);
}

TEST(who_wants_the_volume_has_it_at_once_and_the_snapshot_keeps_its_bytes)
{
	run_contract("pool", check_wanted);
}

TEST(a_copy_is_deleted_while_it_is_made)
{
	run_contract("pool", check_deleted);
}

static const struct CMUnitTest tests[] = {
	UNIT(a_copy_becomes_whole),
	UNIT(who_wants_the_volume_has_it_at_once_and_the_snapshot_keeps_its_bytes),
	UNIT(a_copy_is_deleted_while_it_is_made),
};

int main(void)
{
	int rc = contract_setup();

	if (rc == 0)
		rc = cmocka_run_group_tests(tests, NULL, NULL);
	contract_teardown();
	return rc;
}
