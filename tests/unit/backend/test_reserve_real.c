/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A thick volume with a snapshot, in a pool that is as full as cleat lets it become, is overwritten
 * as a whole: no write fails. The control does without the reserve, and fails. As root;
 * contract_real.c makes the place.
 */
#include "backend/registry.h"
#include "base/mem.h"
#include "base/num.h"
#include "check.h"
#include "contract.h"
#include "host/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define VOLUME_BYTES (256 * MIB)
#define BLOCK ((size_t)4096)
#define STRIDE 12289 /* blocks; has no divisor in common with their number */

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

static void create(struct env *e, const char *name, uint64_t bytes, bool no_reserve)
{
	const struct backend_spec spec = {
		.name = name, .token = name, .bytes = bytes, .fs = "", .no_reserve = no_reserve
	};
	struct backend_volume vol;

	ASSERT_OK(backend_create(e->b, &e->ctx, &spec, &vol, &e->err), &e->err);
}

static struct backend_info info(struct env *e)
{
	struct backend_info now;

	ASSERT_OK(backend_info(e->b, &e->ctx, &now, &e->err), &e->err);
	return now;
}

/* The device, past the page cache, so that a write that fails is seen at once. */
static int open_device(struct env *e)
{
	const struct backend_attach_options opts = { .hold = true };
	struct backend_device dev;
	int fd;

	ASSERT_OK(backend_attach(e->b, &e->ctx, "v", &opts, &dev, &e->err), &e->err);
	fd = open(dev.path, O_RDWR | O_DIRECT | O_CLOEXEC);
	ASSERT_TRUE(fd >= 0);
	return fd;
}

/* All blocks once, far from one another, as it is worst for what the filesystem below allocates
 * around each. 0 or the errno of the first that failed. */
static int write_all(int fd, char byte)
{
	uint64_t n = VOLUME_BYTES / BLOCK;
	int errnum = 0;
	char *buf;

	ASSERT_EQ(posix_memalign((void **)&buf, BLOCK, BLOCK), 0);
	memset(buf, byte, BLOCK);
	for (uint64_t i = 0; i < n && errnum == 0; i++) {
		if (pwrite(fd, buf, BLOCK, (off_t)(i * STRIDE % n * BLOCK)) != (ssize_t)BLOCK)
			errnum = errno;
	}
	free(buf);
	return errnum;
}

static void fill_pool(struct env *e)
{
	create(e, "filler", info(e).available_bytes, false);
	ASSERT_EQ(info(e).available_bytes, 0);
}

static int overwrite_in_full_pool(struct env *e, bool no_reserve)
{
	const struct backend_snapshot_spec spec = { .name = "s", .token = "s", .source = "v" };
	struct backend_snapshot snap;
	int errnum;
	int fd;

	create(e, "v", VOLUME_BYTES, no_reserve);
	fd = open_device(e);
	ASSERT_EQ(write_all(fd, 'a'), 0);
	ASSERT_OK(backend_snapshot_create(e->b, &e->ctx, &spec, &snap, &e->err), &e->err);
	fill_pool(e);
	errnum = write_all(fd, 'b');
	ASSERT_EQ(fsync(fd), 0);
	host_fd_close(fd);
	ASSERT_OK(backend_detach(e->b, &e->ctx, "v", &e->err), &e->err);
	return errnum;
}

TEST(a_thick_volume_with_a_snapshot_can_be_overwritten_in_a_full_pool)
{
	struct env e;
	uint64_t reserved;

	setup(&e);
	ASSERT_EQ(overwrite_in_full_pool(&e, false), 0);
	/* what is shared no more is kept no more, and the snapshot is given back as free room */
	ASSERT_OK(backend_snapshot_remove(e.b, &e.ctx, "s", NULL, &e.err), &e.err);
	reserved = info(&e).reserved_bytes;
	ASSERT_EQ(reserved, 0);
	ASSERT_TRUE(info(&e).available_bytes + 8 * MIB >= VOLUME_BYTES);
	teardown(&e);
}

TEST(one_that_does_without_the_reserve_cannot)
{
	struct env e;

	setup(&e);
	ASSERT_EQ(overwrite_in_full_pool(&e, true), ENOSPC);
	teardown(&e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		UNIT(a_thick_volume_with_a_snapshot_can_be_overwritten_in_a_full_pool),
		UNIT(one_that_does_without_the_reserve_cannot),
	};
	int rc = contract_setup();

	if (rc)
		return rc;
	rc = cmocka_run_group_tests_name("reserve", tests, NULL, NULL);
	contract_teardown();
	return rc;
}
