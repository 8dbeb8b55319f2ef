/* SPDX-License-Identifier: Apache-2.0 */
/* The operations of subvolumes, each troubled at every call. */
#include "cephfs_world.h"

#include "ceph_failure.h"

static void set_scene(struct scene *s, const struct operation *op)
{
	struct backend_volume copy;

	world_begin(&s->w, "");
	if (op->has_volume)
		ASSERT_OK(make(&s->w, "source", BACKEND_SOURCE_NONE, NULL, &s->volume), &s->w.err);
	if (op->has_snapshot)
		ASSERT_OK(cut(&s->w, "snap", s->volume.token, &s->snapshot), &s->w.err);
	if (op->has_copies) {
		ASSERT_OK(
			make(&s->w, "restored", BACKEND_SOURCE_SNAPSHOT, s->snapshot.token, &copy),
			&s->w.err);
		ASSERT_OK(make(&s->w, "clone", BACKEND_SOURCE_VOLUME, s->volume.token, &copy),
			  &s->w.err);
	}
}

static void delete_all(struct scene *s)
{
	delete_named(s, s->w.pool, "csi");
	assert_nothing_left(&s->w);
}

static int run_create(struct scene *s)
{
	return make(&s->w, "made", BACKEND_SOURCE_NONE, NULL, &s->made);
}

static void check_create(struct scene *s)
{
	const char *name = name_of(&s->w, "csi-vol-", s->made.token);

	assert_has(&s->w, 1, 1, 0);
	ASSERT_EQ(s->made.bytes, 1 * GIB);
	ASSERT_EQ(fake_ceph_subvolume_bytes(name), 1 * GIB);
	ASSERT_STR(strmap_find(&s->made.context, "subvolumeName"), name);
}

TEST(a_volume_is_made_once)
{
	run_all(&(struct operation){ .run = run_create, .check = check_create });
}

static int run_restore(struct scene *s)
{
	struct backend_spec spec = spec_of("made", BACKEND_SOURCE_SNAPSHOT, s->snapshot.token);

	spec.bytes = 2 * GIB;
	return make_spec(&s->w, &spec, &s->made);
}

static void check_restore(struct scene *s)
{
	assert_has(&s->w, 2, 2, 1);
	ASSERT_EQ(s->made.bytes, 2 * GIB);
	ASSERT_EQ(fake_ceph_subvolume_bytes(name_of(&s->w, "csi-vol-", s->made.token)), 2 * GIB);
	ASSERT_EQ(fake_ceph_n_subvolume_snaps(name_of(&s->w, "csi-vol-", s->volume.token)), 1);
	ASSERT_ERR(make(&s->w, "made", BACKEND_SOURCE_NONE, NULL, &s->made), &s->w.err,
		   ERR_ALREADY_EXISTS, "now 'none' is asked");
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
	assert_has(&s->w, 2, 2, 0);
	ASSERT_EQ(s->made.bytes, 1 * GIB);
	/* what it was made of is no more */
	ASSERT_EQ(fake_ceph_n_subvolume_snaps(name_of(&s->w, "csi-vol-", s->volume.token)), 0);
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
	struct backend_volume of;

	assert_has(&s->w, 1, 1, 1);
	ASSERT_TRUE(s->cut.is_ready);
	ASSERT_EQ(s->cut.bytes, 1 * GIB);
	ASSERT_STR(s->cut.source, s->volume.token);
	ASSERT_EQ(fake_ceph_n_subvolume_snaps(name_of(&s->w, "csi-vol-", s->volume.token)), 1);
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
	assert_has(&s->w, 1, 1, 0);
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
	assert_has(&s->w, 3, 2, 1); /* it is there for its snapshot */
	ASSERT_EQ(fake_ceph_subvolume_bytes(name_of(&s->w, "csi-vol-", s->volume.token)), 0);
	ASSERT_OK(run_remove(s), &s->w.err);
	/* a volume of the same name is another one */
	ASSERT_OK(make(&s->w, "source", BACKEND_SOURCE_NONE, NULL, &s->made), &s->w.err);
	ASSERT_TRUE(!str_is_equal(s->made.token, s->volume.token));
}

TEST(a_volume_with_snapshots_and_copies_goes_once)
{
	run_all(&(struct operation){ .has_volume = true,
				     .has_snapshot = true,
				     .has_copies = true,
				     .run = run_remove,
				     .check = check_remove });
}

static int run_drop(struct scene *s)
{
	return drop_snapshot(&s->w, s->snapshot.token);
}

static void check_drop(struct scene *s)
{
	assert_has(&s->w, 3, 3, 0);
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

/* Nobody waits for it any more; the copy is under way in the manager. */
static int run_remove_half(struct scene *s)
{
	const struct backend_spec spec =
		spec_of("made", BACKEND_SOURCE_SNAPSHOT, s->snapshot.token);
	const char *token;

	if (!s->made.token[0]) {
		if (backend_create(s->w.b, &s->w.ctx, &spec, &s->made, &s->w.err) < 0 &&
		    s->w.err.code != ERR_ABORTED)
			return -1;
		token = token_of(s, s->w.pool, "csi", "volume", "made");
		ASSERT_TRUE(token != NULL);
		(void)snprintf(s->made.token, sizeof(s->made.token), "%s", token);
	}
	return drop_volume(&s->w, s->made.token);
}

static void check_remove_half(struct scene *s)
{
	assert_has(&s->w, 1, 1, 1);
}

TEST(a_copy_that_is_under_way_goes_once)
{
	run_all(&(struct operation){ .has_volume = true,
				     .has_snapshot = true,
				     .run = run_remove_half,
				     .check = check_remove_half });
}

static int run_remove_half_clone(struct scene *s)
{
	const struct backend_spec spec = spec_of("made", BACKEND_SOURCE_VOLUME, s->volume.token);
	const char *token;

	if (!s->made.token[0]) {
		if (backend_create(s->w.b, &s->w.ctx, &spec, &s->made, &s->w.err) < 0 &&
		    s->w.err.code != ERR_ABORTED)
			return -1;
		token = token_of(s, s->w.pool, "csi", "volume", "made");
		ASSERT_TRUE(token != NULL);
		(void)snprintf(s->made.token, sizeof(s->made.token), "%s", token);
	}
	return drop_volume(&s->w, s->made.token);
}

static void check_remove_half_clone(struct scene *s)
{
	assert_has(&s->w, 1, 1, 0);
	ASSERT_EQ(fake_ceph_n_subvolume_snaps(name_of(&s->w, "csi-vol-", s->volume.token)), 0);
}

TEST(a_clone_that_is_under_way_goes_once_with_its_snapshot)
{
	run_all(&(struct operation){ .has_volume = true,
				     .run = run_remove_half_clone,
				     .check = check_remove_half_clone });
}

/* Nobody asks for it again, whatever came of it. */
static bool give_up(enum trouble trouble, unsigned n)
{
	struct scene s = { 0 };
	bool came;

	set_scene(&s, &(struct operation){ .has_volume = true });
	begin_trouble(trouble, n);
	(void)run_clone(&s);
	came = fake_ceph_trouble_came();
	fake_ceph_fail_at(0, 0);
	if (trouble == TROUBLE_KILL)
		world_kill(&s.w);
	delete_named(&s, s.w.pool, "csi");
	/* the source as well, which would be there for a snapshot that is left; a name may be left
	 * whose entry was never written, and is free for the same name */
	ASSERT_EQ(fake_ceph_n_subvolumes(), 0);
	ASSERT_EQ(fake_ceph_n_objects(s.w.pool), 1);
	world_end(&s.w);
	return came;
}

TEST(a_clone_that_is_given_up_goes_with_its_entry)
{
	for (enum trouble trouble = 0; trouble < TROUBLES; trouble++) {
		for (unsigned n = 1; give_up(trouble, n); n++)
			ASSERT_TRUE(n < 1000);
	}
}

/* Under its name something else is asked: it is made as asked, or refused. */
static bool ask_otherwise(unsigned n, enum backend_source kind, bool is_other_first)
{
	struct backend_volume other, made;
	struct scene s = { 0 };
	const char *from, *source;
	bool came;

	set_scene(&s, &(struct operation){ .has_volume = true });
	ASSERT_OK(make(&s.w, "clone", BACKEND_SOURCE_NONE, NULL, &other), &s.w.err);
	begin_trouble(TROUBLE_KILL, n);
	(void)make(&s.w, "made", is_other_first ? BACKEND_SOURCE_VOLUME : BACKEND_SOURCE_NONE,
		   other.token, &made);
	came = fake_ceph_trouble_came();
	world_kill(&s.w);
	if (make(&s.w, "made", kind, s.volume.token, &made) == 0) {
		from = fake_ceph_copied_from(name_of(&s.w, "csi-vol-", made.token));
		source = kind == BACKEND_SOURCE_NONE ? "nothing"
						     : name_of(&s.w, "csi-vol-", s.volume.token);
		ASSERT_STR(str_or(from, "nothing"), source);
	} else {
		ASSERT_EQ(s.w.err.code, ERR_ALREADY_EXISTS);
	}
	delete_all(&s);
	world_end(&s.w);
	return came;
}

TEST(what_was_cut_off_is_not_taken_for_something_else)
{
	for (unsigned n = 1; ask_otherwise(n, BACKEND_SOURCE_VOLUME, true); n++)
		;
	for (unsigned n = 1; ask_otherwise(n, BACKEND_SOURCE_VOLUME, false); n++)
		;
	for (unsigned n = 1; ask_otherwise(n, BACKEND_SOURCE_NONE, true); n++)
		;
}

/* ---- volumes that show a snapshot ---- */

static int run_show(struct scene *s)
{
	return show(&s->w, "made", s->snapshot.token, &s->made);
}

static void check_show(struct scene *s)
{
	ASSERT_EQ(fake_ceph_n_subvolumes(), 1);
	ASSERT_TRUE(s->made.is_read_only);
	assert_backs(&s->w, s->snapshot.token,
		     arena_printf(s->w.ctx.arena,
				  "00000002 csi.ceph.com/rt-version=00000001 %s:01 %s:01",
				  s->snapshot.token, name_of(&s->w, "csi-vol-", s->made.token)));
	/* the snapshot is somebody's, and goes when both are gone */
	ASSERT_OK(drop_volume(&s->w, s->made.token), &s->w.err);
	assert_has(&s->w, 1, 1, 1);
}

TEST(a_volume_that_shows_a_snapshot_is_made_once)
{
	run_all(&(struct operation){
		.has_volume = true, .has_snapshot = true, .run = run_show, .check = check_show });
}

/* Two show it. */
static int run_drop_shown(struct scene *s)
{
	struct backend_volume clone;

	if (!s->made.token[0]) {
		if (show(&s->w, "made", s->snapshot.token, &s->made) < 0 ||
		    show(&s->w, "clone", s->snapshot.token, &clone) < 0) {
			s->made.token[0] = '\0';
			return -1;
		}
	}
	return drop_snapshot(&s->w, s->snapshot.token);
}

static void check_drop_shown(struct scene *s)
{
	const char *clone = token_of(s, s->w.pool, "csi", "volume", "clone");

	ASSERT_EQ(fake_ceph_omap_count(s->w.pool, "csi", "csi.snaps.default"), 1);
	ASSERT_OK(drop_volume(&s->w, s->made.token), &s->w.err);
	ASSERT_EQ(fake_ceph_omap_count(s->w.pool, "csi", "csi.snaps.default"), 1);
	ASSERT_OK(drop_volume(&s->w, clone), &s->w.err);
	assert_has(&s->w, 1, 1, 0);
	ASSERT_EQ(fake_ceph_n_subvolume_snaps(name_of(&s->w, "csi-vol-", s->volume.token)), 0);
}

TEST(a_snapshot_that_is_shown_is_deleted_once)
{
	run_all(&(struct operation){ .has_volume = true,
				     .has_snapshot = true,
				     .run = run_drop_shown,
				     .check = check_drop_shown });
}

/* The last that shows a deleted snapshot. */
static int run_remove_last(struct scene *s)
{
	if (!s->made.token[0] && show(&s->w, "made", s->snapshot.token, &s->made) < 0) {
		s->made.token[0] = '\0';
		return -1;
	}
	return drop_snapshot(&s->w, s->snapshot.token) < 0 ? -1 : drop_volume(&s->w, s->made.token);
}

static void check_remove_last(struct scene *s)
{
	assert_has(&s->w, 1, 1, 0);
	ASSERT_EQ(fake_ceph_n_subvolume_snaps(name_of(&s->w, "csi-vol-", s->volume.token)), 0);
}

TEST(the_last_that_shows_a_deleted_snapshot_takes_it_along)
{
	run_all(&(struct operation){ .has_volume = true,
				     .has_snapshot = true,
				     .run = run_remove_last,
				     .check = check_remove_last });
}

RUN_TESTS(UNIT(a_volume_is_made_once), UNIT(a_volume_is_made_once_of_a_snapshot),
	  UNIT(a_volume_is_made_once_of_a_volume), UNIT(a_snapshot_is_cut_once),
	  UNIT(a_volume_grows_once), UNIT(a_volume_with_snapshots_and_copies_goes_once),
	  UNIT(a_snapshot_with_volumes_of_it_goes_once), UNIT(a_copy_that_is_under_way_goes_once),
	  UNIT(a_clone_that_is_under_way_goes_once_with_its_snapshot),
	  UNIT(a_clone_that_is_given_up_goes_with_its_entry),
	  UNIT(what_was_cut_off_is_not_taken_for_something_else),
	  UNIT(a_volume_that_shows_a_snapshot_is_made_once),
	  UNIT(a_snapshot_that_is_shown_is_deleted_once),
	  UNIT(the_last_that_shows_a_deleted_snapshot_takes_it_along))
