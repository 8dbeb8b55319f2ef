/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GetMetadataAllocated and GetMetadataDelta over a pool on the fake host: what they refuse, how
 * what is told is cut into messages, and what happens when a snapshot or the reader goes.
 */
#include "base/mem.h"
#include "base/str.h"
#include "fake/host_extent.h"
#include "fixture.h"
#include "volume/id.h"

#define BLOCK UINT64_C(4096)
#define BYTES (64 * MIB)

/* What a reader gets. */
struct reader {
	struct fixture *f;
	size_t n_messages, n_ranges;
	size_t most; /* ranges in a message */
	struct csi_block_metadata v[64];
	uint64_t capacity;
	enum csi_block_metadata_type type;
	const char *to_delete; /* at the first message */
	bool is_replaced;      /* then by one of the same name, "a" */
	bool gives_up;
};

static struct reader r;

static int take_ranges(uint64_t capacity, enum csi_block_metadata_type type,
		       const struct csi_block_metadata *v, size_t n, struct err *err)
{
	ASSERT_TRUE(r.n_messages == 0 || (capacity == r.capacity && type == r.type));
	r.capacity = capacity;
	r.type = type;
	r.n_messages++;
	r.most = n > r.most ? n : r.most;
	for (size_t i = 0; i < n; i++, r.n_ranges++) {
		if (r.n_ranges < ARRAY_LEN(r.v))
			r.v[r.n_ranges] = v[i];
	}
	if (r.to_delete && r.n_messages == 1)
		ASSERT_OK(do_delete_snapshot(r.f, r.to_delete), &r.f->err);
	if (r.is_replaced && r.n_messages == 1)
		ASSERT_TRUE(do_snapshot(r.f, "a", r.f->id) != NULL);
	return r.gives_up ? err_set(err, ERR_CANCELLED, "enough") : 0;
}

static int take_allocated(void *arg, const void *message, struct err *err)
{
	const struct csi_get_metadata_allocated_response *m = message;

	return take_ranges(m->volume_capacity_bytes, m->block_metadata_type, m->block_metadata,
			   m->n_block_metadata, err);
}

static int take_delta(void *arg, const void *message, struct err *err)
{
	const struct csi_get_metadata_delta_response *m = message;

	return take_ranges(m->volume_capacity_bytes, m->block_metadata_type, m->block_metadata,
			   m->n_block_metadata, err);
}

static void forget(struct fixture *f)
{
	r = (struct reader){ .f = f,
			     .to_delete = r.to_delete,
			     .is_replaced = r.is_replaced,
			     .gives_up = r.gives_up };
}

static int allocated(struct fixture *f, const char *id, int64_t offset, uint32_t max)
{
	const struct csi_get_metadata_allocated_request req = { .snapshot_id = id,
								.starting_offset = offset,
								.max_results = max };

	forget(f);
	return csi_get_metadata_allocated(&f->csi, &f->ctx, &req,
					  &(struct csi_stream){ .take = take_allocated }, &f->err);
}

static int delta(struct fixture *f, const char *base, const char *target, int64_t offset,
		 uint32_t max)
{
	const struct csi_get_metadata_delta_request req = { .base_snapshot_id = base,
							    .target_snapshot_id = target,
							    .starting_offset = offset,
							    .max_results = max };

	forget(f);
	return csi_get_metadata_delta(&f->csi, &f->ctx, &req,
				      &(struct csi_stream){ .take = take_delta }, &f->err);
}

static void write_blocks(uint64_t first, size_t n, uint64_t step)
{
	for (size_t i = 0; i < n; i++)
		fake_host_write("v", (first + i * step) * BLOCK, BLOCK);
}

static const char *take_snapshot(struct fixture *f, const char *name, const char *volume_id)
{
	const char *id = do_snapshot(f, name, volume_id);

	ASSERT_TRUE(id != NULL);
	return id;
}

/* Of the volume "v": b has ten blocks that a has not. */
struct pair {
	const char *a, *b;
};

static struct pair make_pair(struct fixture *f)
{
	struct pair p;

	r = (struct reader){ .f = f };
	ASSERT_OK(do_create(f, "v", &cap_block, BYTES), &f->err);
	write_blocks(5, 1, 1);
	p.a = take_snapshot(f, "a", f->id);
	write_blocks(100, 10, 2);
	p.b = take_snapshot(f, "b", f->id);
	return p;
}

static void assert_ten(void)
{
	ASSERT_EQ(r.n_ranges, 10);
	for (size_t i = 0; i < 10; i++) {
		ASSERT_EQ(r.v[i].byte_offset, (100 + 2 * i) * BLOCK);
		ASSERT_EQ(r.v[i].size_bytes, BLOCK);
	}
}

TEST(tells_ranges_of_any_length_and_the_size_of_the_volume)
{
	struct fixture *f = fixture_begin();
	struct pair p = make_pair(f);

	ASSERT_OK(delta(f, p.a, p.b, 0, 0), &f->err);
	assert_ten();
	ASSERT_EQ(r.n_messages, 1);
	ASSERT_EQ(r.capacity, BYTES);
	ASSERT_EQ(r.type, CSI_BLOCK_METADATA_TYPE_VARIABLE_LENGTH);
	ASSERT_OK(allocated(f, p.a, 0, 0), &f->err);
	ASSERT_EQ(r.n_ranges, 1);
	ASSERT_EQ(r.v[0].byte_offset, 5 * BLOCK);
	ASSERT_OK(allocated(f, p.b, 0, 0), &f->err);
	ASSERT_EQ(r.n_ranges, 11);
	ASSERT_EQ(r.capacity, BYTES);
	ASSERT_EQ(r.type, CSI_BLOCK_METADATA_TYPE_VARIABLE_LENGTH);
	fixture_end(f);
}

/* The size of the volume is told also where nothing has changed. */
TEST(tells_nothing_in_one_message)
{
	struct fixture *f = fixture_begin();
	struct pair p = make_pair(f);

	ASSERT_OK(delta(f, p.b, p.b, 0, 0), &f->err);
	ASSERT_EQ(r.n_messages, 1);
	ASSERT_EQ(r.n_ranges, 0);
	ASSERT_EQ(r.capacity, BYTES);
	ASSERT_OK(delta(f, p.a, p.b, BYTES, 0), &f->err);
	ASSERT_EQ(r.n_messages, 1);
	ASSERT_EQ(r.n_ranges, 0);
	ASSERT_OK(allocated(f, p.b, BYTES, 0), &f->err);
	ASSERT_EQ(r.n_messages, 1);
	ASSERT_EQ(r.n_ranges, 0);
	fixture_end(f);
}

TEST(a_message_has_no_more_ranges_than_were_asked_for)
{
	static const struct {
		uint32_t max;
		size_t n_messages, most;
	} cases[] = {
		{ 1, 10, 1 }, { 3, 4, 3 }, { 5, 2, 5 }, { 10, 1, 10 }, { UINT32_MAX >> 1, 1, 10 }
	};
	struct fixture *f = fixture_begin();
	struct pair p = make_pair(f);

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		ASSERT_OK(delta(f, p.a, p.b, 0, cases[i].max), &f->err);
		assert_ten();
		ASSERT_EQ(r.n_messages, cases[i].n_messages);
		ASSERT_EQ(r.most, cases[i].most);
	}
	fixture_end(f);
}

/* Whoever asks for the byte after what he has gets the rest. */
TEST(goes_on_where_a_reader_was)
{
	struct fixture *f = fixture_begin();
	struct pair p = make_pair(f);

	for (uint64_t i = 0; i < 10; i++) {
		uint64_t at = (100 + 2 * i) * BLOCK;
		static const uint64_t within[] = { 0, 1, BLOCK - 1 };

		for (size_t j = 0; j < ARRAY_LEN(within); j++) {
			ASSERT_OK(delta(f, p.a, p.b, (int64_t)(at + within[j]), 0), &f->err);
			ASSERT_EQ(r.n_ranges, 10 - i);
			ASSERT_EQ(r.v[0].byte_offset, at);
			ASSERT_EQ(r.v[0].size_bytes, BLOCK);
		}
		ASSERT_OK(delta(f, p.a, p.b, (int64_t)(at + BLOCK), 0), &f->err);
		ASSERT_EQ(r.n_ranges, 9 - i);
	}
	fixture_end(f);
}

TEST(a_volume_that_grew_has_the_size_of_the_newer_snapshot)
{
	struct fixture *f = fixture_begin();
	struct pair p = make_pair(f);
	const char *c;

	fake_host_set_size("v", BYTES + 16 * MIB);
	write_blocks(BYTES / BLOCK + 3, 1, 1);
	c = take_snapshot(f, "c", f->id);
	ASSERT_OK(delta(f, p.b, c, 0, 0), &f->err);
	ASSERT_EQ(r.capacity, BYTES + 16 * MIB);
	ASSERT_EQ(r.n_ranges, 1);
	ASSERT_EQ(r.v[0].byte_offset, BYTES + 3 * BLOCK);
	fixture_end(f);
}

TEST(refuses_offsets_that_are_in_no_volume)
{
	struct fixture *f = fixture_begin();
	struct pair p = make_pair(f);

	ASSERT_ERR(allocated(f, p.a, -1, 0), &f->err, ERR_OUT_OF_RANGE, "starting_offset: -1");
	ASSERT_ERR(allocated(f, p.a, BYTES + 1, 0), &f->err, ERR_OUT_OF_RANGE, "67108864 bytes");
	ASSERT_ERR(delta(f, p.a, p.b, INT64_MIN, 0), &f->err, ERR_OUT_OF_RANGE, "negative");
	ASSERT_ERR(delta(f, p.a, p.b, INT64_MAX, 0), &f->err, ERR_OUT_OF_RANGE, "beyond");
	ASSERT_EQ(r.n_messages, 0);
	fixture_end(f);
}

TEST(refuses_ids_that_name_nothing)
{
	struct fixture *f = fixture_begin();
	struct pair p = make_pair(f);
	const char *gone = take_snapshot(f, "gone", f->id);

	ASSERT_OK(do_delete_snapshot(f, gone), &f->err);
	ASSERT_ERR(allocated(f, "", 0, 0), &f->err, ERR_INVALID_ARGUMENT, "snapshot_id: required");
	ASSERT_ERR(delta(f, "", p.b, 0, 0), &f->err, ERR_INVALID_ARGUMENT, "base_snapshot_id");
	ASSERT_ERR(delta(f, p.a, "", 0, 0), &f->err, ERR_INVALID_ARGUMENT, "target_snapshot_id");
	ASSERT_ERR(allocated(f, "of-nobody", 0, 0), &f->err, ERR_NOT_FOUND, "of-nobody");
	ASSERT_ERR(delta(f, "of-nobody", p.b, 0, 0), &f->err, ERR_NOT_FOUND, "base_snapshot_id");
	ASSERT_ERR(delta(f, p.a, "of-nobody", 0, 0), &f->err, ERR_NOT_FOUND, "target_snapshot_id");
	ASSERT_ERR(allocated(f, gone, 0, 0), &f->err, ERR_NOT_FOUND, gone);
	ASSERT_ERR(delta(f, gone, p.b, 0, 0), &f->err, ERR_NOT_FOUND, "base_snapshot_id");
	ASSERT_ERR(delta(f, p.a, gone, 0, 0), &f->err, ERR_NOT_FOUND, "target_snapshot_id");
	/* a volume is no snapshot */
	ASSERT_ERR(allocated(f, f->id, 0, 0), &f->err, ERR_NOT_FOUND, f->id);
	ASSERT_EQ(r.n_messages, 0);
	fixture_end(f);
}

TEST(compares_an_older_snapshot_of_a_volume_with_a_newer_one_alone)
{
	struct fixture *f = fixture_begin();
	struct pair p;
	const char *other, *elsewhere;

	fixture_add_mem(f, GIB);
	p = make_pair(f);
	ASSERT_OK(do_create(f, "w", &cap_block, BYTES), &f->err);
	other = take_snapshot(f, "of-w", f->id);
	elsewhere = take_snapshot(f, "of-ram", do_create_in_ram(f, "x", &cap_block, MIB));
	ASSERT_ERR(delta(f, p.b, p.a, 0, 0), &f->err, ERR_INVALID_ARGUMENT, "newer");
	ASSERT_ERR(delta(f, p.a, other, 0, 0), &f->err, ERR_INVALID_ARGUMENT, "one volume");
	ASSERT_ERR(delta(f, p.a, elsewhere, 0, 0), &f->err, ERR_INVALID_ARGUMENT, "one volume");
	ASSERT_EQ(r.n_messages, 0);
	ASSERT_OK(allocated(f, elsewhere, 0, 0), &f->err);
	ASSERT_EQ(r.capacity, MIB);
	fixture_end(f);
}

static void show_unready(struct backend_snapshot *snap)
{
	snap->is_ready = false;
}

static void show_damaged(struct backend_snapshot *snap)
{
	snap->is_damaged = true;
	(void)snprintf(snap->damage, sizeof(snap->damage), "bits have rotted");
}

TEST(refuses_snapshots_that_cannot_be_looked_into)
{
	struct fixture *f = fixture_begin();
	const char *volume_id, *a, *b;
	struct spy *spy;

	r = (struct reader){ .f = f };
	fixture_add_mem(f, GIB);
	volume_id = do_create_in_ram(f, "x", &cap_block, MIB);
	a = take_snapshot(f, "a", volume_id);
	b = take_snapshot(f, "b", volume_id);
	spy = fixture_spy(f);
	spy->change = show_unready;
	ASSERT_ERR(allocated(f, a, 0, 0), &f->err, ERR_FAILED_PRECONDITION, "not ready");
	ASSERT_ERR(delta(f, a, b, 0, 0), &f->err, ERR_FAILED_PRECONDITION, "not ready");
	spy->change = show_damaged;
	ASSERT_ERR(allocated(f, a, 0, 0), &f->err, ERR_DATA_LOSS, "bits have rotted");
	ASSERT_ERR(delta(f, a, b, 0, 0), &f->err, ERR_DATA_LOSS, "bits have rotted");
	spy->change = NULL;
	fixture_take_caps(f, "ram", BACKEND_CHANGED_BLOCKS);
	ASSERT_ERR(allocated(f, a, 0, 0), &f->err, ERR_FAILED_PRECONDITION, "cannot tell");
	ASSERT_ERR(delta(f, a, b, 0, 0), &f->err, ERR_FAILED_PRECONDITION, "cannot tell");
	ASSERT_EQ(r.n_messages, 0);
	fixture_end(f);
}

static bool is_advertised(struct fixture *f)
{
	struct csi_get_plugin_capabilities_response reply;

	ASSERT_OK(csi_get_plugin_capabilities(&f->csi, &f->ctx,
					      &(struct csi_get_plugin_capabilities_request){},
					      &reply, &f->err),
		  &f->err);
	return csi_capability_bits(reply.capabilities, reply.n_capabilities) &
	       CSI_CAP_BIT(CSI_PLUGIN_SNAPSHOT_METADATA_SERVICE);
}

TEST(says_that_it_can)
{
	struct fixture *f = fixture_begin();

	ASSERT_TRUE(is_advertised(f));
	fixture_end(f);
}

/* More than is known in one look: what comes after the deletion is an error and no short answer. */
TEST(a_snapshot_that_is_deleted_meanwhile_ends_its_stream)
{
	struct fixture *f = fixture_begin();
	struct pair p = make_pair(f);
	const char *c;

	write_blocks(200, 2100, 2);
	c = take_snapshot(f, "c", f->id);
	r.to_delete = p.b;
	ASSERT_OK(delta(f, p.a, c, 0, 100), &f->err);
	ASSERT_EQ(r.n_ranges, 2110);
	ASSERT_EQ(r.most, 100);
	r.to_delete = p.a;
	ASSERT_ERR(delta(f, p.a, c, 0, 100), &f->err, ERR_NOT_FOUND, "deleted meanwhile");
	ASSERT_TRUE(r.n_ranges > 0 && r.n_ranges < 2110);
	r.to_delete = c;
	ASSERT_ERR(allocated(f, c, 0, 100), &f->err, ERR_NOT_FOUND, "deleted meanwhile");
	ASSERT_TRUE(r.n_ranges > 0 && r.n_ranges < 2110);
	fixture_end(f);
}

/* What it would tell next would be of another snapshot. */
TEST(one_that_gets_the_name_of_a_deleted_snapshot_is_not_taken_for_it)
{
	struct fixture *f = fixture_begin();
	struct pair p = make_pair(f);

	write_blocks(200, 2100, 2);
	p.b = take_snapshot(f, "b2", f->id);
	r.to_delete = p.a;
	r.is_replaced = true;
	ASSERT_ERR(delta(f, p.a, p.b, 0, 0), &f->err, ERR_NOT_FOUND, "another got its name");
	ASSERT_EQ(r.n_messages, 1);
	fixture_end(f);
}

TEST(ends_when_nobody_listens)
{
	struct fixture *f = fixture_begin();
	struct pair p = make_pair(f);

	r.gives_up = true;
	ASSERT_ERR(delta(f, p.a, p.b, 0, 2), &f->err, ERR_CANCELLED, "enough");
	ASSERT_EQ(r.n_messages, 1);
	ASSERT_ERR(allocated(f, p.b, 0, 0), &f->err, ERR_CANCELLED, "enough");
	ASSERT_EQ(r.n_messages, 1);
	r.gives_up = false;
	ctx_cancel(&f->ctx);
	ASSERT_ERR(delta(f, p.a, p.b, 0, 0), &f->err, ERR_CANCELLED, "");
	ASSERT_EQ(r.n_messages, 0);
	fixture_end(f);
}

/* Whether the n-th host call was reached, which failed: then there is an error and no short answer.
 */
static bool is_reached(struct fixture *f, const struct pair *p, bool of_two, unsigned n)
{
	bool has_failed;
	int rc;

	fake_host_fail_at(n);
	rc = of_two ? delta(f, p->a, p->b, 0, 1) : allocated(f, p->b, 0, 1);
	has_failed = fake_host_failed();
	fake_host_fail_at(0);
	ASSERT_EQ(rc, has_failed ? -1 : 0);
	return has_failed;
}

TEST(no_failure_looks_like_an_answer)
{
	struct fixture *f = fixture_begin();
	struct pair p = make_pair(f);
	unsigned n;

	for (n = 1; is_reached(f, &p, true, n); n++)
		ASSERT_TRUE(n < 100);
	ASSERT_TRUE(n > 10);
	for (n = 1; is_reached(f, &p, false, n); n++)
		ASSERT_TRUE(n < 100);
	fixture_end(f);
}

RUN_TESTS(UNIT(tells_ranges_of_any_length_and_the_size_of_the_volume),
	  UNIT(tells_nothing_in_one_message),
	  UNIT(a_message_has_no_more_ranges_than_were_asked_for), UNIT(goes_on_where_a_reader_was),
	  UNIT(a_volume_that_grew_has_the_size_of_the_newer_snapshot),
	  UNIT(refuses_offsets_that_are_in_no_volume), UNIT(refuses_ids_that_name_nothing),
	  UNIT(compares_an_older_snapshot_of_a_volume_with_a_newer_one_alone),
	  UNIT(refuses_snapshots_that_cannot_be_looked_into), UNIT(says_that_it_can),
	  UNIT(a_snapshot_that_is_deleted_meanwhile_ends_its_stream),
	  UNIT(one_that_gets_the_name_of_a_deleted_snapshot_is_not_taken_for_it),
	  UNIT(ends_when_nobody_listens), UNIT(no_failure_looks_like_an_answer))
