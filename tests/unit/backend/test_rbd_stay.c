/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots that stay on their volume's image, and what differs between them. How each step of
 * theirs fails is in test_rbd_failure.c. */
#include "backend/rbd/audit.h"
#include "rbd_world.h"

#include <errno.h>

#define RANGES 64

struct told {
	struct backend_range v[RANGES];
	size_t n, max; /* stops there; 0: goes on */
};

static struct backend_volume begin(struct world *w)
{
	struct backend_volume vol;

	world_begin(w);
	ASSERT_OK(make(w, "v", BACKEND_SOURCE_NONE, NULL, &vol), &w->err);
	return vol;
}

static int stay(struct world *w, const char *name, const char *volume,
		struct backend_snapshot *ret_snap)
{
	return cut_by(w, &staying_class, name, volume, ret_snap);
}

static int keep_range(void *arg, const struct backend_range *range)
{
	struct told *told = arg;

	ASSERT_TRUE(told->n < RANGES);
	told->v[told->n++] = *range;
	return told->n == told->max;
}

static int allocated(struct world *w, const char *token, uint64_t from, struct told *told)
{
	told->n = 0;
	return backend_allocated(w->b, &w->ctx, token, &secrets, from, keep_range, told, &w->err);
}

static int changed(struct world *w, const char *base, const char *target, uint64_t from,
		   struct told *told)
{
	told->n = 0;
	return backend_changed(w->b, &w->ctx, base, target, &secrets, from, keep_range, told,
			       &w->err);
}

static void assert_range(const struct told *told, size_t i, uint64_t offset, uint64_t bytes)
{
	ASSERT_TRUE(i < told->n);
	ASSERT_EQ(told->v[i].offset, offset);
	ASSERT_EQ(told->v[i].bytes, bytes);
}

TEST(it_is_in_the_journal_and_on_the_image_of_its_volume)
{
	struct backend_snapshot snap, again;
	struct world w;
	struct backend_volume vol = begin(&w);
	const char *object, *image = image_name(&w, "csi-vol-", vol.token);

	ASSERT_OK(stay(&w, "s", vol.token, &snap), &w.err);
	object = image_name(&w, "csi.snap.", snap.token);
	ASSERT_STR(omap(object, "csi.source"), image);
	ASSERT_STR(omap(object, "csi.imagename"), image_name(&w, "csi-snap-", snap.token));
	ASSERT_STR(omap(object, "cleat.layout"), "source");
	ASSERT_STR(omap(object, "csi.imageid"),
		   omap(image_name(&w, "csi.volume.", vol.token), "csi.imageid"));
	ASSERT_EQ(fake_ceph_n_images(POOL), 1);
	/* the size is that of its moment; and another class does not make another */
	ASSERT_OK(backend_grow(w.b, &w.ctx, vol.token, 3 * GIB, &secrets, &vol, &w.err), &w.err);
	ASSERT_OK(cut(&w, "s", vol.token, &again), &w.err);
	ASSERT_STR(again.token, snap.token);
	ASSERT_EQ(again.bytes, 1 * GIB);
	ASSERT_EQ(again.created_ns, snap.created_ns);
	ASSERT_OK(backend_snapshot_stat(w.b, &w.ctx, snap.token, &secrets, &again, &w.err), &w.err);
	ASSERT_TRUE(again.is_ready && !again.is_damaged && again.bytes == 1 * GIB);
	ASSERT_OK(drop_snapshot(&w, snap.token), &w.err);
	ASSERT_OK(drop_volume(&w, vol.token), &w.err);
	assert_nothing_left();
	world_end(&w);
}

TEST(one_whose_image_was_removed_by_hand_is_damaged_and_goes)
{
	struct backend_snapshot snap;
	struct world w;
	struct backend_volume vol = begin(&w), copy;

	ASSERT_OK(stay(&w, "s", vol.token, &snap), &w.err);
	fake_ceph_remove_image(POOL, "", image_name(&w, "csi-vol-", vol.token));
	ASSERT_OK(backend_snapshot_stat(w.b, &w.ctx, snap.token, &secrets, &snap, &w.err), &w.err);
	ASSERT_TRUE(snap.is_damaged);
	ASSERT_ERR(make(&w, "copy", BACKEND_SOURCE_SNAPSHOT, snap.token, &copy), &w.err,
		   ERR_NOT_FOUND, "no snapshot");
	ASSERT_OK(drop_snapshot(&w, snap.token), &w.err);
	ASSERT_OK(drop_volume(&w, vol.token), &w.err);
	assert_nothing_left();
	world_end(&w);
}

/* As of an image that was being flattened when it was made. */
TEST(one_that_cannot_be_opened_is_not_ready)
{
	struct backend_snapshot snap;
	struct world w;
	struct backend_volume vol = begin(&w);

	ASSERT_OK(stay(&w, "s", vol.token, &snap), &w.err);
	fake_ceph_lose_parent(POOL, "", image_name(&w, "csi-vol-", vol.token),
			      image_name(&w, "csi-snap-", snap.token));
	ASSERT_ERR(backend_snapshot_stat(w.b, &w.ctx, snap.token, &secrets, &snap, &w.err), &w.err,
		   ERR_ABORTED, "cannot be opened");
	ASSERT_ERR(stay(&w, "s", vol.token, &snap), &w.err, ERR_ABORTED, "cannot be opened");
	ASSERT_OK(drop_snapshot(&w, snap.token), &w.err);
	ASSERT_OK(drop_volume(&w, vol.token), &w.err);
	assert_nothing_left();
	world_end(&w);
}

/* It lost its name by a hand, and not as the last of its snapshots went. */
TEST(what_a_hand_has_put_into_the_trash_stays_there)
{
	struct backend_snapshot snap;
	struct image_entry e;
	struct world w;
	struct backend_volume vol = begin(&w);

	ASSERT_OK(stay(&w, "s", vol.token, &snap), &w.err);
	ASSERT_OK(image_entry_open(w.b, &w.ctx, vol.token, CEPH_JOURNAL_VOLUMES, &secrets, &e,
				   &w.err),
		  &w.err);
	ASSERT_EQ(e.place.lib->rbd_trash_move(e.place.io, e.entry.image, 0), 0);
	image_place_close(&e.place);
	ASSERT_OK(drop_snapshot(&w, snap.token), &w.err);
	ASSERT_EQ(fake_ceph_n_trash(POOL), 1);
	world_end(&w);
}

TEST(a_volume_in_use_is_not_given_up)
{
	struct backend_snapshot snap;
	struct world w;
	struct backend_volume vol = begin(&w);
	const char *image = image_name(&w, "csi-vol-", vol.token);

	ASSERT_OK(stay(&w, "s", vol.token, &snap), &w.err);
	fake_ceph_set_watched(POOL, "", image, OTHER);
	ASSERT_ERR(drop_volume(&w, vol.token), &w.err, ERR_FAILED_PRECONDITION, OTHER);
	ASSERT_TRUE(!fake_ceph_image_meta(POOL, "", image, "cleat/deleted"));
	fake_ceph_set_watched(POOL, "", image, NULL);
	ASSERT_OK(drop_volume(&w, vol.token), &w.err);
	ASSERT_STR(fake_ceph_image_meta(POOL, "", image, "cleat/deleted"), image);
	ASSERT_OK(drop_snapshot(&w, snap.token), &w.err);
	assert_nothing_left();
	world_end(&w);
}

/* A clone has its parent's metadata, and is no deleted volume for that. */
TEST(a_copy_of_what_was_given_up_is_not_given_up)
{
	struct backend_snapshot snap, own;
	struct world w;
	struct backend_volume vol = begin(&w), copy;

	ASSERT_OK(stay(&w, "s", vol.token, &snap), &w.err);
	ASSERT_OK(drop_volume(&w, vol.token), &w.err);
	ASSERT_OK(make(&w, "copy", BACKEND_SOURCE_SNAPSHOT, snap.token, &copy), &w.err);
	ASSERT_OK(stay(&w, "own", copy.token, &own), &w.err);
	ASSERT_OK(drop_snapshot(&w, own.token), &w.err);
	ASSERT_OK(backend_stat(w.b, &w.ctx, copy.token, &secrets, &copy, &w.err), &w.err);
	ASSERT_FALSE(copy.is_damaged);
	ASSERT_OK(drop_snapshot(&w, snap.token), &w.err);
	ASSERT_OK(drop_volume(&w, copy.token), &w.err);
	assert_nothing_left();
	world_end(&w);
}

static int count_trouble(void *arg, const struct ceph_finding *finding, struct err *err)
{
	*(unsigned *)arg += finding->trouble != CEPH_TROUBLE_NONE;
	return 0;
}

static unsigned audit(struct world *w)
{
	const struct rbd_audit what = {
		.config_dir = w->dir, .cluster = "c1", .pool = "rbd", .secrets = &secrets
	};
	struct ceph_audited done;
	unsigned n = 0;

	ASSERT_OK(
		rbd_audit_with(fake_ceph_lib(), &w->ctx, &what, count_trouble, &n, &done, &w->err),
		&w->err);
	return n;
}

TEST(an_audit_finds_nothing_wrong_with_it)
{
	struct backend_snapshot snap;
	struct world w;
	struct backend_volume vol = begin(&w);

	ASSERT_OK(stay(&w, "s", vol.token, &snap), &w.err);
	ASSERT_EQ(audit(&w), 0);
	ASSERT_OK(drop_volume(&w, vol.token), &w.err);
	ASSERT_EQ(audit(&w), 0);
	fake_ceph_remove_image(POOL, "", image_name(&w, "csi-vol-", vol.token));
	ASSERT_EQ(audit(&w), 1);
	ASSERT_OK(drop_snapshot(&w, snap.token), &w.err);
	world_end(&w);
}

/* ---- what differs ---- */

/* Volumes of whole objects, or of the blocks that were written. */
static struct backend_volume begin_with(struct world *w, const char *features)
{
	struct backend_spec spec = spec_of("v", BACKEND_SOURCE_NONE, NULL);
	struct backend_volume vol;
	struct strmap with;

	world_begin(w);
	with = strmap_with(w->ctx.arena, &class, "imageFeatures", features);
	spec.parameters = &with;
	ASSERT_OK(backend_create(w->b, &w->ctx, &spec, &vol, &w->err), &w->err);
	return vol;
}

static void write_at(struct world *w, const char *volume, uint64_t offset)
{
	fake_ceph_write(POOL, "", image_name(w, "csi-vol-", volume), offset, "changed");
}

TEST(what_differs_is_told_by_block_or_by_object)
{
	static const struct {
		const char *features;
		uint64_t unit;
	} cases[] = { { "layering", 4096 },
		      { "layering,exclusive-lock,object-map,fast-diff", 4 * MIB } };

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		uint64_t unit = cases[i].unit;
		struct backend_snapshot a, b;
		struct told told = { .n = 0 };
		struct world w;
		struct backend_volume vol = begin_with(&w, cases[i].features);

		write_at(&w, vol.token, 8 * MIB);
		ASSERT_OK(stay(&w, "a", vol.token, &a), &w.err);
		write_at(&w, vol.token, 16 * MIB);
		write_at(&w, vol.token, 16 * MIB + unit); /* the next to it: one range */
		write_at(&w, vol.token, 600 * MIB);
		ASSERT_OK(stay(&w, "b", vol.token, &b), &w.err);
		write_at(&w, vol.token, 0);
		ASSERT_OK(changed(&w, a.token, b.token, 0, &told), &w.err);
		ASSERT_EQ(told.n, 2);
		assert_range(&told, 0, 16 * MIB, 2 * unit);
		assert_range(&told, 1, 600 * MIB, unit);
		ASSERT_OK(allocated(&w, a.token, 0, &told), &w.err);
		ASSERT_EQ(told.n, 1);
		assert_range(&told, 0, 8 * MIB, unit);
		ASSERT_OK(allocated(&w, b.token, 9 * MIB + unit, &told), &w.err);
		ASSERT_EQ(told.n, 2);
		told.max = 1; /* one has enough, and goes on from where that ended */
		ASSERT_OK(allocated(&w, b.token, 0, &told), &w.err);
		assert_range(&told, 0, 8 * MIB, unit);
		ASSERT_OK(allocated(&w, b.token, 8 * MIB + unit, &told), &w.err);
		assert_range(&told, 0, 16 * MIB, 2 * unit);
		ASSERT_OK(changed(&w, a.token, b.token, 1 * GIB, &told), &w.err);
		ASSERT_EQ(told.n, 0);
		world_end(&w);
	}
}

/* What the image has of its own parent is not zero either. */
TEST(what_a_copy_shares_with_its_source_is_told)
{
	struct backend_snapshot a, b;
	struct told told = { .n = 0 };
	struct world w;
	struct backend_volume vol = begin_with(&w, "layering"), copy;
	struct backend_spec spec = spec_of("copy", BACKEND_SOURCE_SNAPSHOT, NULL);
	struct strmap with = strmap_with(w.ctx.arena, &class, "imageFeatures", "layering");

	write_at(&w, vol.token, 8 * MIB);
	ASSERT_OK(stay(&w, "a", vol.token, &a), &w.err);
	spec.source = a.token;
	spec.parameters = &with;
	ASSERT_OK(backend_create(w.b, &w.ctx, &spec, &copy, &w.err), &w.err);
	ASSERT_OK(stay(&w, "b", copy.token, &b), &w.err);
	ASSERT_OK(allocated(&w, b.token, 0, &told), &w.err);
	assert_range(&told, 0, 8 * MIB, 4096);
	ASSERT_ERR(changed(&w, a.token, b.token, 0, &told), &w.err, ERR_FAILED_PRECONDITION,
		   "of one volume");
	world_end(&w);
}

/* A snapshot of ceph-csi's layout: what is not zero, but no difference. */
TEST(what_cannot_be_told_is_said)
{
	struct backend_snapshot a, b;
	struct told told = { .n = 0 };
	struct world w;
	struct backend_volume vol = begin_with(&w, "layering");

	write_at(&w, vol.token, 8 * MIB);
	ASSERT_OK(cut(&w, "a", vol.token, &a), &w.err);
	ASSERT_OK(stay(&w, "b", vol.token, &b), &w.err);
	ASSERT_OK(allocated(&w, a.token, 0, &told), &w.err);
	assert_range(&told, 0, 8 * MIB, 4096);
	ASSERT_ERR(changed(&w, a.token, b.token, 0, &told), &w.err, ERR_FAILED_PRECONDITION,
		   "snapshotLayout: source");
	ASSERT_OK(drop_snapshot(&w, b.token), &w.err);
	ASSERT_ERR(allocated(&w, b.token, 0, &told), &w.err, ERR_NOT_FOUND, "csi.snap");
	world_end(&w);
}

/* Whichever call fails, what was told is true, and the next call tells all. */
TEST(a_walk_that_fails_is_done_by_the_next)
{
	struct backend_snapshot a, b;
	struct told told = { .n = 0 };
	struct world w;
	struct backend_volume vol = begin_with(&w, "layering");
	bool came = true;

	ASSERT_OK(stay(&w, "a", vol.token, &a), &w.err);
	write_at(&w, vol.token, 8 * MIB);
	write_at(&w, vol.token, 600 * MIB);
	ASSERT_OK(stay(&w, "b", vol.token, &b), &w.err);
	for (unsigned n = 1; came; n++) {
		fake_ceph_fail_at(n, EIO);
		came = changed(&w, a.token, b.token, 0, &told) < 0;
		ASSERT_EQ(came, fake_ceph_trouble_came());
		fake_ceph_fail_at(0, 0);
		ASSERT_TRUE(!told.n || told.v[0].offset == 8 * MIB);
		ASSERT_OK(changed(&w, a.token, b.token, 0, &told), &w.err);
		ASSERT_EQ(told.n, 2);
		ASSERT_TRUE(came || n > 8);
	}
	world_end(&w);
}

static int refuse(void *arg, const struct backend_range *range)
{
	(void)range;
	return err_set(arg, ERR_UNAVAILABLE, "the reader is gone");
}

TEST(a_reader_that_goes_ends_the_walk)
{
	struct backend_snapshot a;
	struct world w;
	struct backend_volume vol = begin_with(&w, "layering");

	write_at(&w, vol.token, 8 * MIB);
	ASSERT_OK(stay(&w, "a", vol.token, &a), &w.err);
	ASSERT_ERR(backend_allocated(w.b, &w.ctx, a.token, &secrets, 0, refuse, &w.err, &w.err),
		   &w.err, ERR_UNAVAILABLE, "reader is gone");
	world_end(&w);
}

RUN_TESTS(UNIT(it_is_in_the_journal_and_on_the_image_of_its_volume),
	  UNIT(one_whose_image_was_removed_by_hand_is_damaged_and_goes),
	  UNIT(one_that_cannot_be_opened_is_not_ready),
	  UNIT(what_a_hand_has_put_into_the_trash_stays_there),
	  UNIT(a_volume_in_use_is_not_given_up), UNIT(a_copy_of_what_was_given_up_is_not_given_up),
	  UNIT(an_audit_finds_nothing_wrong_with_it),
	  UNIT(what_differs_is_told_by_block_or_by_object),
	  UNIT(what_a_copy_shares_with_its_source_is_told), UNIT(what_cannot_be_told_is_said),
	  UNIT(a_walk_that_fails_is_done_by_the_next), UNIT(a_reader_that_goes_ends_the_walk))
