/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What backend.h says of what snapshots hold and how they differ, for every backend. Linked with
 * the fake host (suite unit) and, as root, with the real one (suite root).
 */
#include "base/mem.h"
#include "base/num.h"
#include "contract_run.h"
#include "volume/id.h"

#define BYTES (16 * MIB)
/* The block that contract_write writes. */
#define AT 8192u
#define BLOCK 4096u

static void create(struct run *run, const char *name)
{
	const struct backend_spec spec = {
		.name = name, .token = name, .bytes = BYTES, .fs = "", .allow_buffered = true
	};

	ASSERT_OK(backend_create(run->b, run->ctx, &spec, &run->vol, &run->err), &run->err);
}

static void write_block(struct run *run, const char *token, const char *text)
{
	const struct backend_attach_options opts = { .hold = true };

	ASSERT_OK(backend_attach(run->b, run->ctx, token, &opts, &run->dev, &run->err), &run->err);
	contract_write(run->dev.path, text);
	ASSERT_OK(backend_detach(run->b, run->ctx, token, &run->err), &run->err);
}

static void take(struct run *run, const char *name, const char *source)
{
	struct backend_snapshot snap;

	ASSERT_OK(backend_snapshot_create(run->b, run->ctx,
					  &(struct backend_snapshot_spec){
						  .name = name, .token = name, .source = source },
					  &snap, &run->err),
		  &run->err);
}

struct told {
	struct run *run;
	struct backend_range v[16];
	size_t n;
	const char *to_remove; /* at the first */
	bool is_refused;       /* by the reader */
};

static int note(void *arg, const struct backend_range *range)
{
	struct told *told = arg;
	struct run *run = told->run;

	ASSERT_TRUE(told->n < ARRAY_LEN(told->v));
	told->v[told->n++] = *range;
	if (told->to_remove)
		ASSERT_OK(
			backend_snapshot_remove(run->b, run->ctx, told->to_remove, NULL, &run->err),
			&run->err);
	if (told->is_refused)
		return err_set(&run->err, ERR_CANCELLED, "nobody listens");
	return 0;
}

static int allocated(struct run *run, const char *token, uint64_t from, struct told *ret)
{
	*ret = (struct told){ .run = run };
	return backend_allocated(run->b, run->ctx, token, NULL, from, note, ret, &run->err);
}

static int changed(struct run *run, const char *base, const char *target, uint64_t from,
		   struct told *ret)
{
	*ret = (struct told){ .run = run };
	return backend_changed(run->b, run->ctx, base, target, NULL, from, note, ret, &run->err);
}

static void assert_block(const struct told *told)
{
	ASSERT_EQ(told->n, 1);
	ASSERT_EQ(told->v[0].offset, AT);
	ASSERT_EQ(told->v[0].bytes, BLOCK);
}

static void make_two(struct run *run)
{
	create(run, "v");
	take(run, "a", "v");
	write_block(run, "v", "some");
	take(run, "b", "v");
}

CONTRACT(tells_what_is_not_zero)
{
	struct told told;

	make_two(run);
	ASSERT_OK(allocated(run, "a", 0, &told), &run->err);
	ASSERT_EQ(told.n, 0);
	ASSERT_OK(allocated(run, "b", 0, &told), &run->err);
	assert_block(&told);
}

CONTRACT(tells_what_has_changed)
{
	struct told told;

	make_two(run);
	ASSERT_OK(changed(run, "a", "b", 0, &told), &run->err);
	assert_block(&told);
	ASSERT_OK(changed(run, "b", "a", 0, &told), &run->err);
	assert_block(&told);
	ASSERT_OK(changed(run, "b", "b", 0, &told), &run->err);
	ASSERT_EQ(told.n, 0);
	write_block(run, "v", "other");
	take(run, "c", "v");
	ASSERT_OK(changed(run, "b", "c", 0, &told), &run->err);
	assert_block(&told);
	take(run, "d", "v");
	ASSERT_OK(changed(run, "c", "d", 0, &told), &run->err);
	if (shares_blocks(run))
		ASSERT_EQ(told.n, 0);
	else /* all that there is lies elsewhere in a copy */
		assert_block(&told);
	/* the volume is not needed for it */
	ASSERT_OK(backend_remove(run->b, run->ctx, "v", NULL, &run->err), &run->err);
	ASSERT_OK(changed(run, "a", "d", 0, &told), &run->err);
	assert_block(&told);
}

CONTRACT(begins_with_the_range_that_ends_after_the_offset)
{
	static const uint64_t before[] = { 1, AT - 1, AT, AT + 1, AT + BLOCK - 1 };
	static const uint64_t after[] = { AT + BLOCK, BYTES - 1, BYTES };
	struct told told;

	make_two(run);
	for (size_t i = 0; i < ARRAY_LEN(before); i++) {
		ASSERT_OK(allocated(run, "b", before[i], &told), &run->err);
		assert_block(&told);
		ASSERT_OK(changed(run, "a", "b", before[i], &told), &run->err);
		assert_block(&told);
	}
	for (size_t i = 0; i < ARRAY_LEN(after); i++) {
		ASSERT_OK(allocated(run, "b", after[i], &told), &run->err);
		ASSERT_EQ(told.n, 0);
		ASSERT_OK(changed(run, "a", "b", after[i], &told), &run->err);
		ASSERT_EQ(told.n, 0);
	}
}

CONTRACT(refuses_snapshots_that_are_not_there_or_not_of_one_volume)
{
	struct told told;

	make_two(run);
	create(run, "w");
	take(run, "of-w", "w");
	ASSERT_ERR(changed(run, "a", "of-w", 0, &told), &run->err, ERR_FAILED_PRECONDITION,
		   "one volume");
	ASSERT_ERR(changed(run, "none", "a", 0, &told), &run->err, ERR_NOT_FOUND, "'none'");
	ASSERT_ERR(changed(run, "a", "none", 0, &told), &run->err, ERR_NOT_FOUND, "'none'");
	ASSERT_ERR(allocated(run, "none", 0, &told), &run->err, ERR_NOT_FOUND, "'none'");
	ASSERT_ERR(allocated(run, "../v", 0, &told), &run->err, ERR_NOT_FOUND, "");
}

/* The reader is told what was known, or that the snapshot is gone; it stands in nobody's way. */
CONTRACT(a_snapshot_can_be_removed_while_it_is_told)
{
	struct told told;

	for (int i = 0; i < 2; i++) {
		int rc;

		make_two(run);
		told = (struct told){ .run = run, .to_remove = i ? "a" : "b" };
		rc = backend_changed(run->b, run->ctx, "a", "b", NULL, 0, note, &told, &run->err);
		if (rc < 0)
			ASSERT_EQ(run->err.code, ERR_NOT_FOUND);
		assert_block(&told);
		ASSERT_ERR(changed(run, "a", "b", 0, &told), &run->err, ERR_NOT_FOUND, "");
		ASSERT_OK(backend_snapshot_remove(run->b, run->ctx, i ? "b" : "a", NULL, &run->err),
			  &run->err);
		ASSERT_OK(backend_remove(run->b, run->ctx, "v", NULL, &run->err), &run->err);
	}
}

CONTRACT(fails_as_its_reader_does)
{
	struct told told = { .run = run, .is_refused = true };

	make_two(run);
	ASSERT_ERR(backend_changed(run->b, run->ctx, "a", "b", NULL, 0, note, &told, &run->err),
		   &run->err, ERR_CANCELLED, "nobody listens");
	told.n = 0;
	ASSERT_ERR(backend_allocated(run->b, run->ctx, "b", NULL, 0, note, &told, &run->err),
		   &run->err, ERR_CANCELLED, "nobody listens");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(tells_what_is_not_zero),
		BOTH(tells_what_has_changed),
		BOTH(begins_with_the_range_that_ends_after_the_offset),
		BOTH(refuses_snapshots_that_are_not_there_or_not_of_one_volume),
		BOTH(a_snapshot_can_be_removed_while_it_is_told),
		BOTH(fails_as_its_reader_does),
	};
	int rc = contract_setup();

	if (rc)
		return rc;
	rc = cmocka_run_group_tests_name("contract-changed", tests, NULL, NULL);
	contract_teardown();
	return rc;
}
