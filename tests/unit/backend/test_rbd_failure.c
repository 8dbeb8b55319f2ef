/* SPDX-License-Identifier: Apache-2.0 */
/* The operations of images, each troubled at every call. */
#include "rbd_world.h"

#include "ceph_failure.h"

#include <errno.h>

static void set_scene(struct scene *s, const struct operation *op)
{
	struct backend_volume copy;

	world_begin(&s->w);
	if (op->has_volume)
		ASSERT_OK(make(&s->w, "source", BACKEND_SOURCE_NONE, NULL, &s->volume), &s->w.err);
	if (op->has_snapshot)
		ASSERT_OK(cut_by(&s->w, op->stays ? &staying_class : &snapshot_class, "snap",
				 s->volume.token, &s->snapshot),
			  &s->w.err);
	if (op->has_copies) {
		ASSERT_OK(
			make(&s->w, "restored", BACKEND_SOURCE_SNAPSHOT, s->snapshot.token, &copy),
			&s->w.err);
		ASSERT_OK(make(&s->w, "clone", BACKEND_SOURCE_VOLUME, s->volume.token, &copy),
			  &s->w.err);
	}
	if (op->is_gone)
		ASSERT_OK(drop_volume(&s->w, s->volume.token), &s->w.err);
}

static void delete_all(struct scene *s)
{
	delete_named(s, POOL, "");
	assert_nothing_left();
}

static int run_create(struct scene *s)
{
	return make(&s->w, "made", BACKEND_SOURCE_NONE, NULL, &s->made);
}

static void check_create(struct scene *s)
{
	const char *image = image_name(&s->w, "csi-vol-", s->made.token);

	assert_has(1, 1, 0);
	ASSERT_EQ(fake_ceph_n_trash(POOL), 0);
	ASSERT_TRUE(fake_ceph_has_image(POOL, "", image));
	ASSERT_EQ(s->made.bytes, 1 * GIB);
	ASSERT_STR(strmap_find(&s->made.context, "imageName"), image);
	ASSERT_EQ(fake_ceph_n_watchers(POOL, "", image), 0);
}

TEST(a_volume_is_made_once)
{
	run_all(&(struct operation){ .run = run_create, .check = check_create });
}

/* "Something is not there" is also said while a parent is being flattened. */
TEST(what_cannot_be_opened_for_a_moment_is_not_taken_for_gone)
{
	unsigned n = 1;

	for (bool came = true; came; n++) {
		const struct operation op = { .has_volume = true, .has_snapshot = true };
		struct scene s = { 0 };
		char first[VOL_TOKEN_MAX];

		set_scene(&s, &op);
		ASSERT_OK(make(&s.w, "made", BACKEND_SOURCE_SNAPSHOT, s.snapshot.token, &s.made),
			  &s.w.err);
		memcpy(first, s.made.token, sizeof(first));
		fake_ceph_fail_at(n, ENOENT);
		(void)make(&s.w, "made", BACKEND_SOURCE_SNAPSHOT, s.snapshot.token, &s.made);
		came = fake_ceph_trouble_came();
		fake_ceph_fail_at(0, 0);
		ASSERT_OK(make(&s.w, "made", BACKEND_SOURCE_SNAPSHOT, s.snapshot.token, &s.made),
			  &s.w.err);
		ASSERT_STR(s.made.token, first);
		delete_all(&s);
		world_end(&s.w);
	}
	ASSERT_TRUE(n > 5);
}

static int run_restore(struct scene *s)
{
	struct backend_spec spec = spec_of("made", BACKEND_SOURCE_SNAPSHOT, s->snapshot.token);

	spec.bytes = 2 * GIB;
	return backend_create(s->w.b, &s->w.ctx, &spec, &s->made, &s->w.err);
}

static void check_restore(struct scene *s)
{
	assert_has(3, 2, 1);
	ASSERT_EQ(fake_ceph_n_trash(POOL), 0);
	ASSERT_EQ(s->made.bytes, 2 * GIB);
	ASSERT_EQ(fake_ceph_n_snapshots(POOL, "", image_name(&s->w, "csi-vol-", s->volume.token)),
		  1);
	/* what it was made of can still be told */
	ASSERT_TRUE(make(&s->w, "made", BACKEND_SOURCE_NONE, NULL, &s->made) < 0);
	ASSERT_ERR(-1, &s->w.err, ERR_ALREADY_EXISTS, "now none is asked");
}

TEST(a_volume_is_made_once_of_a_snapshot)
{
	run_all(&(struct operation){ .has_volume = true,
				     .has_snapshot = true,
				     .run = run_restore,
				     .check = check_restore });
}

static int run_clone(struct scene *s)
{
	return make(&s->w, "made", BACKEND_SOURCE_VOLUME, s->volume.token, &s->made);
}

static void check_clone(struct scene *s)
{
	const char *image = image_name(&s->w, "csi-vol-", s->made.token);

	assert_has(3, 2, 0); /* the hidden one between them is the third */
	ASSERT_TRUE(fake_ceph_has_image(POOL, "", image_temp_name(s->w.ctx.arena, image)));
	ASSERT_EQ(s->made.bytes, 1 * GIB);
	ASSERT_EQ(fake_ceph_n_snapshots(POOL, "", image), 0);
	ASSERT_OK(run_clone(s), &s->w.err);
}

TEST(a_volume_is_made_once_of_a_volume)
{
	run_all(&(struct operation){ .has_volume = true, .run = run_clone, .check = check_clone });
}

static int run_cut(struct scene *s)
{
	return cut(&s->w, "cut", s->volume.token, &s->cut);
}

static void check_cut(struct scene *s)
{
	const char *image = image_name(&s->w, "csi-snap-", s->cut.token);
	struct backend_volume of;

	assert_has(2, 1, 1);
	ASSERT_EQ(fake_ceph_n_snapshots(POOL, "", image), 1);
	ASSERT_TRUE(s->cut.is_ready);
	ASSERT_STR(s->cut.source, s->volume.token);
	ASSERT_OK(make(&s->w, "made", BACKEND_SOURCE_SNAPSHOT, s->cut.token, &of), &s->w.err);
	ASSERT_EQ(of.bytes, 1 * GIB);
}

TEST(a_snapshot_is_cut_once)
{
	run_all(&(struct operation){ .has_volume = true, .run = run_cut, .check = check_cut });
}

static int run_grow(struct scene *s)
{
	return backend_grow(s->w.b, &s->w.ctx, s->volume.token, 3 * GIB, &secrets, &s->made,
			    &s->w.err);
}

static void check_grow(struct scene *s)
{
	ASSERT_EQ(s->made.bytes, 3 * GIB);
	assert_has(1, 1, 0);
}

TEST(a_volume_grows_once)
{
	run_all(&(struct operation){ .has_volume = true, .run = run_grow, .check = check_grow });
}

static int run_remove(struct scene *s)
{
	return drop_volume(&s->w, s->volume.token);
}

static void check_remove(struct scene *s)
{
	assert_has(4, 2, 1); /* snapshot, restored, clone, hidden */
	ASSERT_OK(run_remove(s), &s->w.err);
}

TEST(a_volume_with_snapshots_and_clones_goes_once)
{
	run_all(&(struct operation){ .has_volume = true,
				     .has_snapshot = true,
				     .has_copies = true,
				     .run = run_remove,
				     .check = check_remove });
}

static int run_remove_clone(struct scene *s)
{
	struct ceph_handle handle = { "c1", POOL, "" };
	const char *uuid = fake_ceph_omap_get(POOL, "", "csi.volumes.default", "csi.volume.clone");

	/* the token that the CO has, however far a call before this one came */
	if (uuid && !s->made.token[0]) {
		(void)snprintf(handle.uuid, sizeof(handle.uuid), "%s", uuid);
		ceph_handle_format(&handle, s->made.token);
	}
	return drop_volume(&s->w, s->made.token);
}

static void check_remove_clone(struct scene *s)
{
	assert_has(3, 2, 1);
	ASSERT_EQ(fake_ceph_n_trash(POOL), 0);
	ASSERT_OK(run_remove_clone(s), &s->w.err);
}

TEST(a_clone_goes_once_with_its_hidden_image)
{
	run_all(&(struct operation){ .has_volume = true,
				     .has_snapshot = true,
				     .has_copies = true,
				     .run = run_remove_clone,
				     .check = check_remove_clone });
}

static int run_drop(struct scene *s)
{
	return drop_snapshot(&s->w, s->snapshot.token);
}

static void check_drop(struct scene *s)
{
	assert_has(4, 3, 0);
	ASSERT_OK(run_drop(s), &s->w.err);
}

TEST(a_snapshot_with_volumes_of_it_goes_once)
{
	run_all(&(struct operation){ .has_volume = true,
				     .has_snapshot = true,
				     .has_copies = true,
				     .run = run_drop,
				     .check = check_drop });
}

/* ---- snapshots that stay on their volume's image ---- */

static int run_cut_staying(struct scene *s)
{
	return cut_by(&s->w, &staying_class, "cut", s->volume.token, &s->cut);
}

static void check_cut_staying(struct scene *s)
{
	struct backend_volume of;

	assert_has(1, 1, 1);
	ASSERT_EQ(fake_ceph_n_snapshots(POOL, "", image_name(&s->w, "csi-vol-", s->volume.token)),
		  1);
	ASSERT_TRUE(s->cut.is_ready);
	ASSERT_STR(s->cut.source, s->volume.token);
	ASSERT_OK(make(&s->w, "made", BACKEND_SOURCE_SNAPSHOT, s->cut.token, &of), &s->w.err);
	ASSERT_EQ(of.bytes, 1 * GIB);
}

TEST(a_snapshot_that_stays_is_cut_once)
{
	run_all(&(struct operation){
		.has_volume = true, .run = run_cut_staying, .check = check_cut_staying });
}

static void check_restore_staying(struct scene *s)
{
	assert_has(2, 2, 1);
	ASSERT_EQ(s->made.bytes, 2 * GIB);
	ASSERT_EQ(fake_ceph_n_trash(POOL), 0);
	ASSERT_OK(run_restore(s), &s->w.err);
}

TEST(a_volume_is_made_once_of_a_snapshot_that_stays)
{
	run_all(&(struct operation){ .has_volume = true,
				     .has_snapshot = true,
				     .stays = true,
				     .run = run_restore,
				     .check = check_restore_staying });
}

static void check_restore_gone(struct scene *s)
{
	assert_has(2, 1, 1);
	ASSERT_EQ(s->made.bytes, 2 * GIB);
}

TEST(a_volume_is_made_once_of_a_snapshot_whose_volume_is_gone)
{
	run_all(&(struct operation){ .has_volume = true,
				     .has_snapshot = true,
				     .stays = true,
				     .is_gone = true,
				     .run = run_restore,
				     .check = check_restore_gone });
}

static void check_remove_staying(struct scene *s)
{
	struct backend_volume vol;

	assert_has(4, 2, 1); /* its image as well, for the snapshot */
	ASSERT_ERR(backend_stat(s->w.b, &s->w.ctx, s->volume.token, &secrets, &vol, &s->w.err),
		   &s->w.err, ERR_NOT_FOUND, "csi.volume");
	ASSERT_OK(run_remove(s), &s->w.err);
}

TEST(a_volume_goes_once_before_its_snapshot)
{
	run_all(&(struct operation){ .has_volume = true,
				     .has_snapshot = true,
				     .has_copies = true,
				     .stays = true,
				     .run = run_remove,
				     .check = check_remove_staying });
}

static void check_drop_last(struct scene *s)
{
	assert_has(3, 2, 0); /* restored, clone, hidden */
	ASSERT_OK(run_drop(s), &s->w.err);
}

TEST(the_last_snapshot_takes_the_image_of_its_volume_along)
{
	run_all(&(struct operation){ .has_volume = true,
				     .has_snapshot = true,
				     .has_copies = true,
				     .stays = true,
				     .is_gone = true,
				     .run = run_drop,
				     .check = check_drop_last });
}

static void check_drop_all(struct scene *s)
{
	assert_has(0, 0, 0);
	ASSERT_EQ(fake_ceph_n_trash(POOL), 0);
	ASSERT_OK(run_drop(s), &s->w.err);
}

TEST(the_last_snapshot_leaves_nothing_in_the_trash)
{
	run_all(&(struct operation){ .has_volume = true,
				     .has_snapshot = true,
				     .stays = true,
				     .is_gone = true,
				     .run = run_drop,
				     .check = check_drop_all });
}

static void check_drop_staying(struct scene *s)
{
	assert_has(4, 3, 0);
	ASSERT_OK(run_drop(s), &s->w.err);
}

TEST(a_snapshot_that_stays_goes_once_and_its_volume_stays)
{
	run_all(&(struct operation){ .has_volume = true,
				     .has_snapshot = true,
				     .has_copies = true,
				     .stays = true,
				     .run = run_drop,
				     .check = check_drop_staying });
}

RUN_TESTS(UNIT(a_volume_is_made_once), UNIT(a_snapshot_that_stays_is_cut_once),
	  UNIT(a_volume_is_made_once_of_a_snapshot_that_stays),
	  UNIT(a_volume_is_made_once_of_a_snapshot_whose_volume_is_gone),
	  UNIT(a_volume_goes_once_before_its_snapshot),
	  UNIT(the_last_snapshot_takes_the_image_of_its_volume_along),
	  UNIT(the_last_snapshot_leaves_nothing_in_the_trash),
	  UNIT(a_snapshot_that_stays_goes_once_and_its_volume_stays),
	  UNIT(what_cannot_be_opened_for_a_moment_is_not_taken_for_gone),
	  UNIT(a_volume_is_made_once_of_a_snapshot), UNIT(a_volume_is_made_once_of_a_volume),
	  UNIT(a_snapshot_is_cut_once), UNIT(a_volume_grows_once),
	  UNIT(a_volume_with_snapshots_and_clones_goes_once),
	  UNIT(a_clone_goes_once_with_its_hidden_image),
	  UNIT(a_snapshot_with_volumes_of_it_goes_once))
