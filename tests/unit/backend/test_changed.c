/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changed blocks of snapshots in a pool, on the fake host: against what the files hold, from any
 * offset, and with everything that may happen to the files while they are looked at.
 */
#include "backend/changes.h"
#include "backend/registry.h"
#include "base/mem.h"
#include "base/num.h"
#include "check.h"
#include "fake/host.h"
#include "fake/host_extent.h"
#include "host/extent.h"
#include "host/fs.h"

#define BLOCK 4096u
#define BYTES (16 * MIB)
#define BLOCKS (2 * BYTES / BLOCK) /* room for growth */

struct env {
	struct registry *r;
	struct backend *b;
	struct ctx ctx;
	struct err err;
	uint32_t seed;
	/* what was told */
	bool is_told[BLOCKS];
	size_t n_ranges;
	uint64_t first, last_end;
	size_t stop_at;        /* after so many ranges */
	const char *to_remove; /* a snapshot, at the first range */
};

static void setup(struct env *e)
{
	const struct backend_config config = { .kind = "pool",
					       .dir = "/pool",
					       .reserve_bytes = 100 * MIB };

	memset(e, 0, sizeof(*e));
	e->seed = 1;
	fake_host_reset(4 * GIB);
	ctx_init(&e->ctx, 0);
	e->r = registry_new();
	ASSERT_OK(registry_open(e->r, &e->ctx, &config, &e->err), &e->err);
	e->b = registry_at(e->r, 0);
}

static void teardown(struct env *e)
{
	registry_free(e->r);
	ctx_done(&e->ctx);
	ASSERT_EQ(fake_host_n_fds(), 0);
	fake_host_reset(0);
}

static void create(struct env *e, const char *name)
{
	const struct backend_spec spec = { .name = name, .token = name, .bytes = BYTES, .fs = "" };
	struct backend_volume vol;

	ASSERT_OK(backend_create(e->b, &e->ctx, &spec, &vol, &e->err), &e->err);
}

static void take(struct env *e, const char *name, const char *source)
{
	const struct backend_snapshot_spec spec = { .name = name, .token = name, .source = source };
	struct backend_snapshot snap;

	ASSERT_OK(backend_snapshot_create(e->b, &e->ctx, &spec, &snap, &e->err), &e->err);
}

static uint32_t random_below(struct env *e, uint32_t n)
{
	e->seed = e->seed * 1664525 + 1013904223;
	return (uint32_t)((uint64_t)e->seed * n >> 32);
}

static void write_blocks(const char *name, uint64_t block, uint64_t n)
{
	fake_host_write(name, block * BLOCK, n * BLOCK);
}

static void write_anywhere(struct env *e, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t block = random_below(e, BYTES / BLOCK - 8);
		uint64_t count = 1 + random_below(e, 8);

		if (random_below(e, 4) == 0)
			fake_host_punch("v", block * BLOCK, count * BLOCK);
		else
			write_blocks("v", block, count);
	}
}

static int note(void *arg, const struct backend_range *range)
{
	struct env *e = arg;

	ASSERT_TRUE(range->bytes > 0 && range->offset % BLOCK == 0 && range->bytes % BLOCK == 0);
	ASSERT_TRUE(e->n_ranges == 0 || range->offset > e->last_end);
	if (e->n_ranges++ == 0)
		e->first = range->offset;
	e->last_end = range->offset + range->bytes;
	for (uint64_t i = range->offset / BLOCK; i < e->last_end / BLOCK; i++) {
		ASSERT_TRUE(i < BLOCKS);
		e->is_told[i] = true;
	}
	if (e->to_remove && e->n_ranges == 1)
		ASSERT_OK(backend_snapshot_remove(e->b, &e->ctx, e->to_remove, NULL, &e->err),
			  &e->err);
	return e->n_ranges == e->stop_at;
}

static void forget(struct env *e)
{
	memset(e->is_told, 0, sizeof(e->is_told));
	e->n_ranges = 0;
	e->first = e->last_end = 0;
}

static int changed(struct env *e, const char *base, const char *target, uint64_t from)
{
	forget(e);
	return backend_changed(e->b, &e->ctx, base, target, NULL, from, note, e, &e->err);
}

static int allocated(struct env *e, const char *token, uint64_t from)
{
	forget(e);
	return backend_allocated(e->b, &e->ctx, token, NULL, from, note, e, &e->err);
}

static int open_snapshot(const char *token)
{
	struct err err;
	int dir_fd;
	int fd;

	ASSERT_OK(host_dir_open("/pool/.cleat/snapshots", &dir_fd, &err), &err);
	ASSERT_OK(host_file_open(dir_fd, token, true, &fd, &err), &err);
	host_fd_close(dir_fd);
	return fd;
}

static int mark(void *arg, uint64_t start, uint64_t bytes)
{
	for (uint64_t i = start / BLOCK; i < (start + bytes) / BLOCK; i++)
		((bool *)arg)[i] = true;
	return 0;
}

/* What was told is what the bytes say; base NULL: zeros. */
static void assert_as_bytes_are(struct env *e, const char *base, const char *target)
{
	static bool differs[BLOCKS];
	int fd = open_snapshot(target);
	int other_fd = base ? open_snapshot(base) : -1;

	memset(differs, 0, sizeof(differs));
	ASSERT_OK(host_file_each_difference(&e->ctx, fd, other_fd, 0, (uint64_t)BLOCKS * BLOCK,
					    mark, differs, &e->err),
		  &e->err);
	host_fd_close(fd);
	host_fd_close(other_fd);
	for (size_t i = 0; i < BLOCKS; i++)
		ASSERT_EQ(e->is_told[i], differs[i]);
}

TEST(tells_exactly_what_differs)
{
	struct env e;

	setup(&e);
	create(&e, "v");
	for (size_t round = 0; round < 30; round++) {
		write_anywhere(&e, 1 + random_below(&e, 40));
		take(&e, "a", "v");
		write_anywhere(&e, random_below(&e, 60));
		take(&e, "b", "v");
		ASSERT_OK(changed(&e, "a", "b", 0), &e.err);
		assert_as_bytes_are(&e, "a", "b");
		ASSERT_OK(changed(&e, "b", "a", 0), &e.err);
		assert_as_bytes_are(&e, "b", "a");
		ASSERT_OK(allocated(&e, "b", 0), &e.err);
		assert_as_bytes_are(&e, NULL, "b");
		ASSERT_OK(changed(&e, "b", "b", 0), &e.err);
		ASSERT_EQ(e.n_ranges, 0);
		ASSERT_OK(backend_snapshot_remove(e.b, &e.ctx, "a", NULL, &e.err), &e.err);
		ASSERT_OK(backend_snapshot_remove(e.b, &e.ctx, "b", NULL, &e.err), &e.err);
	}
	teardown(&e);
}

/* A reader that comes again with the byte after what it had gets the rest and nothing twice. */
TEST(goes_on_from_any_byte)
{
	static bool all[BLOCKS];
	struct env e;
	uint64_t from = 0;
	size_t n_ranges;
	size_t n = 0;

	setup(&e);
	create(&e, "v");
	take(&e, "a", "v");
	write_anywhere(&e, 100);
	take(&e, "b", "v");
	ASSERT_OK(changed(&e, "a", "b", 0), &e.err);
	memcpy(all, e.is_told, sizeof(all));
	n_ranges = e.n_ranges;
	e.stop_at = 1;
	for (;; n++) {
		ASSERT_OK(changed(&e, "a", "b", from), &e.err);
		if (e.n_ranges == 0)
			break;
		ASSERT_TRUE(e.first >= from);
		from = e.last_end;
	}
	ASSERT_EQ(n, n_ranges);
	e.stop_at = 0;
	for (uint64_t i = 0; i < BYTES; i += 123457) {
		ASSERT_OK(changed(&e, "a", "b", i), &e.err);
		for (uint64_t at = 0; at < BLOCKS; at++)
			ASSERT_EQ(e.is_told[at], all[at] && at >= i / BLOCK);
	}
	ASSERT_OK(changed(&e, "a", "b", BYTES), &e.err);
	ASSERT_EQ(e.n_ranges, 0);
	teardown(&e);
}

/* More extents than are looked at in one go, in either file. */
TEST(goes_on_from_window_to_window)
{
	struct env e;

	setup(&e);
	create(&e, "v");
	for (uint64_t i = 0; i < 2048; i++)
		write_blocks("v", 2 * (i * 7 % 2048), 1);
	take(&e, "a", "v");
	write_blocks("v", 100, 50);
	write_blocks("v", 4000, 96);
	take(&e, "b", "v");
	for (uint64_t i = 0; i < 300; i++)
		write_blocks("v", 2 * i + 1, 1);
	take(&e, "c", "v");
	ASSERT_OK(changed(&e, "a", "b", 0), &e.err);
	assert_as_bytes_are(&e, "a", "b");
	ASSERT_OK(changed(&e, "b", "c", 0), &e.err);
	assert_as_bytes_are(&e, "b", "c");
	ASSERT_OK(changed(&e, "c", "a", 0), &e.err);
	assert_as_bytes_are(&e, "c", "a");
	ASSERT_OK(allocated(&e, "c", 0), &e.err);
	assert_as_bytes_are(&e, NULL, "c");
	teardown(&e);
}

TEST(what_a_volume_grew_by_has_changed_where_it_was_written)
{
	struct env e;

	setup(&e);
	create(&e, "v");
	write_blocks("v", 5, 1);
	take(&e, "a", "v");
	fake_host_set_size("v", BYTES + 8 * MIB);
	write_blocks("v", BYTES / BLOCK + 10, 20);
	take(&e, "b", "v");
	ASSERT_OK(changed(&e, "a", "b", 0), &e.err);
	ASSERT_EQ(e.n_ranges, 1);
	assert_as_bytes_are(&e, "a", "b");
	ASSERT_OK(changed(&e, "a", "b", BYTES + 8 * MIB - 1), &e.err);
	ASSERT_EQ(e.n_ranges, 0);
	teardown(&e);
}

TEST(what_has_no_certain_place_has_changed)
{
	struct env e;

	setup(&e);
	create(&e, "v");
	write_blocks("v", 100, 1);
	write_blocks("v", 200, 1);
	take(&e, "a", "v");
	take(&e, "b", "v");
	fake_host_blur(".cleat/snapshots/b");
	for (int i = 0; i < 2; i++) {
		ASSERT_OK(i ? changed(&e, "a", "b", 0) : changed(&e, "b", "a", 0), &e.err);
		ASSERT_EQ(e.n_ranges, 2);
		ASSERT_TRUE(e.is_told[100] && e.is_told[200]);
	}
	ASSERT_OK(allocated(&e, "b", 0), &e.err);
	ASSERT_EQ(e.n_ranges, 2);
	fake_host_blur(".cleat/snapshots/a");
	ASSERT_OK(changed(&e, "a", "b", 0), &e.err);
	ASSERT_EQ(e.n_ranges, 2);
	teardown(&e);
}

/* Between the looks at the two maps. */
static void move_blocks(void *arg)
{
	fake_host_after_map(NULL, NULL);
	fake_host_move(".cleat/snapshots/a", ".cleat/snapshots/b");
}

TEST(blocks_that_are_moved_meanwhile_hide_nothing)
{
	struct env e;

	setup(&e);
	create(&e, "v");
	write_blocks("v", 100, 4);
	take(&e, "a", "v");
	write_blocks("v", 100, 4);
	take(&e, "b", "v");
	fake_host_after_map(move_blocks, NULL);
	ASSERT_OK(changed(&e, "a", "b", 0), &e.err);
	ASSERT_EQ(e.n_ranges, 1);
	assert_as_bytes_are(&e, "a", "b");
	teardown(&e);
}

static const char *goes; /* once a map was looked at */

static void remove_one(void *arg)
{
	struct env *e = arg;

	fake_host_after_map(NULL, NULL);
	ASSERT_OK(backend_snapshot_remove(e->b, &e->ctx, goes, NULL, &e->err), &e->err);
}

static void make_two(struct env *e)
{
	create(e, "v");
	write_blocks("v", 100, 4);
	take(e, "a", "v");
	write_blocks("v", 200, 4);
	take(e, "b", "v");
}

TEST(a_snapshot_that_is_deleted_while_it_is_looked_at_is_not_found)
{
	static const char *const which[] = { "a", "b" };
	struct env e;

	for (size_t i = 0; i < ARRAY_LEN(which); i++) {
		setup(&e);
		make_two(&e);
		goes = which[i];
		fake_host_after_map(remove_one, &e);
		ASSERT_ERR(changed(&e, "a", "b", 0), &e.err, ERR_NOT_FOUND, which[i]);
		ASSERT_EQ(e.n_ranges, 0);
		teardown(&e);
	}
	setup(&e);
	make_two(&e);
	goes = "b";
	fake_host_after_map(remove_one, &e);
	ASSERT_ERR(allocated(&e, "b", 0), &e.err, ERR_NOT_FOUND, "'b' was deleted");
	teardown(&e);
}

/* It is not in the way of who deletes it, and its blocks are free at once. What was known is told.
 */
TEST(a_snapshot_can_be_deleted_while_a_reader_is_slow)
{
	struct env e;

	setup(&e);
	create(&e, "v");
	take(&e, "a", "v");
	for (uint64_t i = 0; i < 2048; i++)
		write_blocks("v", 2 * i, 1);
	take(&e, "b", "v");
	for (uint64_t i = 0; i < 1000; i++)
		write_blocks("v", 2 * i + 1, 1);
	take(&e, "c", "v");
	e.to_remove = "b";
	ASSERT_ERR(changed(&e, "b", "c", 0), &e.err, ERR_NOT_FOUND, "'b' was deleted");
	ASSERT_TRUE(e.n_ranges >= 999);
	ASSERT_FALSE(fake_host_has(".cleat/snapshots/b"));
	/* nothing was left to look at */
	e.to_remove = "c";
	ASSERT_OK(changed(&e, "a", "c", (uint64_t)2040 * BLOCK), &e.err);
	teardown(&e);
}

static int refuse(void *arg, const struct backend_range *range)
{
	struct env *e = arg;

	e->n_ranges++;
	return err_set(&e->err, ERR_CANCELLED, "nobody listens");
}

TEST(ends_as_its_reader_says)
{
	struct env e;

	setup(&e);
	make_two(&e);
	write_blocks("v", 300, 1);
	take(&e, "c", "v");
	e.stop_at = 1;
	ASSERT_OK(changed(&e, "a", "c", 0), &e.err);
	ASSERT_EQ(e.n_ranges, 1);
	forget(&e);
	ASSERT_ERR(backend_changed(e.b, &e.ctx, "a", "c", NULL, 0, refuse, &e, &e.err), &e.err,
		   ERR_CANCELLED, "nobody listens");
	ASSERT_EQ(e.n_ranges, 1);
	/* also the last one, which is told at the end */
	ASSERT_ERR(backend_changed(e.b, &e.ctx, "b", "c", NULL, 0, refuse, &e, &e.err), &e.err,
		   ERR_CANCELLED, "nobody listens");
	ctx_cancel(&e.ctx);
	ASSERT_ERR(changed(&e, "a", "c", 0), &e.err, ERR_CANCELLED, "");
	ASSERT_EQ(e.n_ranges, 0);
	teardown(&e);
}

TEST(refuses_what_cannot_be_compared)
{
	struct env e;

	setup(&e);
	make_two(&e);
	create(&e, "w");
	take(&e, "of-w", "w");
	ASSERT_ERR(changed(&e, "a", "of-w", 0), &e.err, ERR_FAILED_PRECONDITION, "one volume");
	ASSERT_ERR(changed(&e, "none", "a", 0), &e.err, ERR_NOT_FOUND, "'none'");
	ASSERT_ERR(changed(&e, "a", "none", 0), &e.err, ERR_NOT_FOUND, "'none'");
	ASSERT_ERR(allocated(&e, "none", 0), &e.err, ERR_NOT_FOUND, "'none'");
	ASSERT_ERR(allocated(&e, "../v", 0), &e.err, ERR_NOT_FOUND, "");
	fake_host_set_size(".cleat/snapshots/a", BYTES / 2);
	ASSERT_ERR(changed(&e, "a", "b", 0), &e.err, ERR_FAILED_PRECONDITION, "damaged");
	ASSERT_ERR(changed(&e, "b", "a", 0), &e.err, ERR_FAILED_PRECONDITION, "damaged");
	ASSERT_ERR(allocated(&e, "a", 0), &e.err, ERR_FAILED_PRECONDITION, "damaged");
	teardown(&e);
}

/* Whether the n-th host call was reached, which failed: never a wrong answer, nothing left. */
static bool is_reached(struct env *e, bool of_two, unsigned n)
{
	bool has_failed;
	int rc;

	fake_host_fail_at(n);
	rc = of_two ? changed(e, "a", "b", 0) : allocated(e, "b", 0);
	has_failed = fake_host_failed();
	fake_host_fail_at(0);
	ASSERT_EQ(rc, has_failed ? -1 : 0);
	return has_failed;
}

TEST(a_call_that_fails_is_no_answer)
{
	struct env e;
	unsigned n;

	setup(&e);
	make_two(&e);
	for (n = 1; is_reached(&e, true, n); n++)
		ASSERT_TRUE(n < 100);
	ASSERT_TRUE(n > 8);
	for (n = 1; is_reached(&e, false, n); n++)
		ASSERT_TRUE(n < 100);
	teardown(&e);
}

struct joined {
	struct backend_range v[8];
	size_t n;
};

static int join(void *arg, const struct backend_range *range)
{
	struct joined *j = arg;

	ASSERT_TRUE(j->n < ARRAY_LEN(j->v));
	j->v[j->n++] = *range;
	return 0;
}

TEST(ranges_are_of_whole_blocks_and_neither_touch_nor_overlap)
{
	struct joined j = { .n = 0 };
	struct changes c = { .end = 100 * BLOCK + 512, .fn = join, .arg = &j };

	ASSERT_EQ(changes_finish(&c), 0);
	ASSERT_EQ(j.n, 0);
	ASSERT_EQ(changes_add(&c, 512, 512), 0);         /* the first block */
	ASSERT_EQ(changes_add(&c, 2048, 4096), 0);       /* and the second */
	ASSERT_EQ(changes_add(&c, 2 * BLOCK, BLOCK), 0); /* which the third touches */
	ASSERT_EQ(changes_add(&c, 4 * BLOCK, 1), 0);     /* not the fifth */
	ASSERT_EQ(changes_add(&c, 4 * BLOCK + 2, 3), 0); /* once more the fifth */
	ASSERT_EQ(changes_add(&c, 99 * BLOCK, 2 * BLOCK), 0);
	ASSERT_EQ(changes_add(&c, 101 * BLOCK, BLOCK), 0); /* beyond the end */
	ASSERT_EQ(changes_finish(&c), 0);
	ASSERT_EQ(changes_finish(&c), 0);
	ASSERT_EQ(j.n, 3);
	ASSERT_EQ(j.v[0].offset, 0);
	ASSERT_EQ(j.v[0].bytes, 3 * BLOCK);
	ASSERT_EQ(j.v[1].offset, 4 * BLOCK);
	ASSERT_EQ(j.v[1].bytes, BLOCK);
	ASSERT_EQ(j.v[2].offset, 99 * BLOCK);
	ASSERT_EQ(j.v[2].bytes, BLOCK + 512);
}

RUN_TESTS(UNIT(tells_exactly_what_differs), UNIT(goes_on_from_any_byte),
	  UNIT(goes_on_from_window_to_window),
	  UNIT(what_a_volume_grew_by_has_changed_where_it_was_written),
	  UNIT(what_has_no_certain_place_has_changed),
	  UNIT(blocks_that_are_moved_meanwhile_hide_nothing),
	  UNIT(a_snapshot_that_is_deleted_while_it_is_looked_at_is_not_found),
	  UNIT(a_snapshot_can_be_deleted_while_a_reader_is_slow), UNIT(ends_as_its_reader_says),
	  UNIT(refuses_what_cannot_be_compared), UNIT(a_call_that_fails_is_no_answer),
	  UNIT(ranges_are_of_whole_blocks_and_neither_touch_nor_overlap))
