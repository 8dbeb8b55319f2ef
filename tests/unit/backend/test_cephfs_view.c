/* SPDX-License-Identifier: Apache-2.0 */
/* Volumes that show a snapshot, as the CO sees them, in bytes, and as mounts of the fake host. */
#include "cephfs_world.h"
#include "fake/host.h"
#include "host/mount.h"

#define STATE "/run/cephfs"
#define STAGING "/staging"
#define UUID_2 "1cbb7b58-f994-464b-85a1-72df6c9535c7"

struct scene {
	struct world w;
	struct backend_volume source, view;
	struct backend_snapshot snap;
	const char *name;   /* of view's subvolume, if it had one */
	const char *object; /* and its entry */
};

static void begin(struct scene *s)
{
	fake_host_reset(GIB);
	fake_host_add_dir(STATE);
	fake_host_add_dir(STAGING);
	fake_host_set_client("ceph");
	world_begin(&s->w, STATE);
	ASSERT_OK(make(&s->w, "source", BACKEND_SOURCE_NONE, NULL, &s->source), &s->w.err);
	ASSERT_OK(cut(&s->w, "snap", s->source.token, &s->snap), &s->w.err);
}

static void begin_with_view(struct scene *s)
{
	begin(s);
	ASSERT_OK(show(&s->w, "view", s->snap.token, &s->view), &s->w.err);
	s->name = name_of(&s->w, "csi-vol-", s->view.token);
	s->object = name_of(&s->w, "csi.volume.", s->view.token);
}

static void end(struct scene *s)
{
	assert_nothing_left(&s->w);
	world_end(&s->w);
}

static const char *inside_of(struct scene *s)
{
	return arena_printf(s->w.ctx.arena, ".snap/%s/" UUID_2,
			    name_of(&s->w, "csi-snap-", s->snap.token));
}

static const char *root_of(struct scene *s)
{
	return arena_printf(s->w.ctx.arena, "/volumes/csi/%s/",
			    name_of(&s->w, "csi-vol-", s->source.token));
}

static const char *counts(struct scene *s, const char *text)
{
	return arena_printf(s->w.ctx.arena, "%s csi.ceph.com/rt-version=00000001 %s", text,
			    s->snap.token);
}

TEST(what_is_written_is_what_ceph_csi_writes)
{
	struct scene s;

	begin_with_view(&s);
	ASSERT_EQ(fake_ceph_omap_count(s.w.pool, "csi", s.object), 4);
	ASSERT_STR(omap(&s.w, s.object, "csi.volname"), "view");
	ASSERT_STR(omap(&s.w, s.object, "csi.imagename"), s.name);
	ASSERT_STR(omap(&s.w, s.object, "csi.volume.owner"), "ns1");
	ASSERT_STR(omap(&s.w, s.object, "csi.volume.backingsnapshotid"), s.snap.token);
	assert_backs(&s.w, s.snap.token,
		     arena_printf(s.w.ctx.arena, "%s:01 %s:01", counts(&s, "00000002"), s.name));
	ASSERT_EQ(fake_ceph_n_subvolumes(), 1);
	ASSERT_EQ(s.view.bytes, 1 * GIB);
	ASSERT_TRUE(s.view.is_read_only);
	ASSERT_EQ(s.view.context.n, 6);
	ASSERT_STR(strmap_find(&s.view.context, "subvolumeName"), s.name);
	ASSERT_STR(strmap_find(&s.view.context, "subvolumePath"), root_of(&s));
	ASSERT_STR(strmap_find(&s.view.context, "backingSnapshotRoot"), inside_of(&s));
	ASSERT_STR(strmap_find(&s.view.context, "backingSnapshotID"), s.snap.token);
	ASSERT_OK(drop_volume(&s.w, s.view.token), &s.w.err);
	ASSERT_OK(drop_volume(&s.w, s.view.token), &s.w.err);
	ASSERT_OK(drop_snapshot(&s.w, s.snap.token), &s.w.err);
	ASSERT_OK(drop_volume(&s.w, s.source.token), &s.w.err);
	end(&s);
}

/* It is deferred, and nobody but those that show it has the snapshot any more. */
TEST(a_deleted_snapshot_goes_with_the_last_that_shows_it)
{
	struct backend_volume second, other;
	struct backend_snapshot snap;
	struct scene s;

	begin_with_view(&s);
	ASSERT_OK(show(&s.w, "second", s.snap.token, &second), &s.w.err);
	ASSERT_OK(drop_snapshot(&s.w, s.snap.token), &s.w.err);
	ASSERT_OK(drop_snapshot(&s.w, s.snap.token), &s.w.err);
	ASSERT_EQ(fake_ceph_n_subvolume_snaps(name_of(&s.w, "csi-vol-", s.source.token)), 1);
	ASSERT_ERR(backend_snapshot_stat(s.w.b, &s.w.ctx, s.snap.token, &secrets, &snap, &s.w.err),
		   &s.w.err, ERR_NOT_FOUND, "no snapshot");
	ASSERT_ERR(show(&s.w, "third", s.snap.token, &other), &s.w.err, ERR_NOT_FOUND,
		   "was deleted");
	ASSERT_ERR(make(&s.w, "third", BACKEND_SOURCE_SNAPSHOT, s.snap.token, &other), &s.w.err,
		   ERR_NOT_FOUND, "not deleted");
	ASSERT_ERR(cut(&s.w, "snap", s.source.token, &snap), &s.w.err, ERR_FAILED_PRECONDITION,
		   "was deleted");
	ASSERT_OK(show(&s.w, "view", s.snap.token, &s.view), &s.w.err); /* it is there */
	ASSERT_EQ(fake_ceph_omap_count(s.w.pool, "csi", "csi.volumes.default"), 3);
	ASSERT_OK(drop_volume(&s.w, s.view.token), &s.w.err);
	assert_backs(&s.w, s.snap.token,
		     arena_printf(s.w.ctx.arena, "%s:02 %s:01", counts(&s, "00000001"),
				  name_of(&s.w, "csi-vol-", second.token)));
	ASSERT_OK(drop_volume(&s.w, s.source.token), &s.w.err); /* it stays for the snapshot */
	ASSERT_OK(drop_volume(&s.w, second.token), &s.w.err);
	end(&s);
}

TEST(what_it_cannot_do_is_said)
{
	struct backend_volume other;
	struct backend_snapshot snap;
	struct backend_spec spec;
	struct scene s;

	begin_with_view(&s);
	ASSERT_ERR(backend_grow(s.w.b, &s.w.ctx, s.view.token, 2 * GIB, &secrets, &other, &s.w.err),
		   &s.w.err, ERR_INVALID_ARGUMENT, "cannot grow");
	ASSERT_ERR(cut(&s.w, "of-view", s.view.token, &snap), &s.w.err, ERR_INVALID_ARGUMENT,
		   "nothing of its own");
	ASSERT_ERR(make(&s.w, "of-view", BACKEND_SOURCE_VOLUME, s.view.token, &other), &s.w.err,
		   ERR_INVALID_ARGUMENT, "nothing of its own");
	ASSERT_ERR(make(&s.w, "view", BACKEND_SOURCE_SNAPSHOT, s.snap.token, &other), &s.w.err,
		   ERR_ALREADY_EXISTS, "now a volume of its own is asked");
	ASSERT_ERR(make(&s.w, "view", BACKEND_SOURCE_NONE, NULL, &other), &s.w.err,
		   ERR_ALREADY_EXISTS, "now a volume of its own is asked");
	ASSERT_OK(cut(&s.w, "snap-2", s.source.token, &snap), &s.w.err);
	ASSERT_ERR(show(&s.w, "view", snap.token, &other), &s.w.err, ERR_ALREADY_EXISTS,
		   "it exists and shows");
	spec = spec_of("small", BACKEND_SOURCE_SNAPSHOT, s.snap.token);
	spec.is_read_only = true;
	spec.bytes = 512 * MIB;
	ASSERT_ERR(make_spec(&s.w, &spec, &other), &s.w.err, ERR_OUT_OF_RANGE, "ask for at least");
	spec.bytes = 4 * GIB;
	ASSERT_OK(make_spec(&s.w, &spec, &other), &s.w.err);
	ASSERT_EQ(other.bytes, 4 * GIB);
	ASSERT_OK(backend_stat(s.w.b, &s.w.ctx, s.view.token, &secrets, &other, &s.w.err),
		  &s.w.err);
	ASSERT_TRUE(other.is_read_only);
	ASSERT_EQ(other.bytes, 1 * GIB);
	world_end(&s.w);
}

TEST(the_class_says_whether_it_is_copied)
{
	struct strmap always, never;
	struct backend_volume made;
	struct backend_spec spec;
	struct scene s;

	begin(&s);
	always = strmap_with(s.w.ctx.arena, &class, "backingSnapshot", "true");
	never = strmap_with(s.w.ctx.arena, &class, "backingSnapshot", "false");
	spec = spec_of("made", BACKEND_SOURCE_SNAPSHOT, s.snap.token);
	spec.parameters = &always;
	ASSERT_ERR(make_spec(&s.w, &spec, &made), &s.w.err, ERR_INVALID_ARGUMENT, "ReadOnlyMany");
	spec.source_kind = BACKEND_SOURCE_NONE;
	spec.bytes = GIB;
	ASSERT_ERR(make_spec(&s.w, &spec, &made), &s.w.err, ERR_INVALID_ARGUMENT, "to be empty");
	spec = spec_of("made", BACKEND_SOURCE_SNAPSHOT, s.snap.token);
	spec.is_read_only = true;
	spec.parameters = &never;
	ASSERT_OK(make_spec(&s.w, &spec, &made), &s.w.err);
	ASSERT_EQ(fake_ceph_n_subvolumes(), 2);
	/* one that an earlier version has begun as a copy stays one, unless a view is insisted on
	 */
	spec.parameters = &class;
	ASSERT_OK(make_spec(&s.w, &spec, &made), &s.w.err);
	ASSERT_FALSE(made.is_read_only);
	spec.parameters = &always;
	ASSERT_ERR(make_spec(&s.w, &spec, &made), &s.w.err, ERR_ALREADY_EXISTS,
		   "a subvolume of its own");
	world_end(&s.w);
}

/* The volume of the snapshot is gone, which tells where its directory is. */
TEST(a_snapshot_of_a_deleted_volume_is_shown_if_it_says_where_it_is)
{
	struct backend_volume made;
	struct strmap always;
	struct backend_spec spec;
	struct scene s;

	begin(&s);
	ASSERT_OK(drop_volume(&s.w, s.source.token), &s.w.err);
	ASSERT_OK(show(&s.w, "view", s.snap.token, &s.view), &s.w.err);
	ASSERT_STR(strmap_find(&s.view.context, "backingSnapshotRoot"), inside_of(&s));
	fake_ceph_omap_rm(s.w.pool, "csi", name_of(&s.w, "csi.snap.", s.snap.token), "cleat.path");
	always = strmap_with(s.w.ctx.arena, &class, "backingSnapshot", "true");
	spec = spec_of("other", BACKEND_SOURCE_SNAPSHOT, s.snap.token);
	spec.is_read_only = true;
	spec.parameters = &always;
	ASSERT_ERR(make_spec(&s.w, &spec, &made), &s.w.err, ERR_FAILED_PRECONDITION,
		   "can be copied");
	ASSERT_OK(show(&s.w, "other", s.snap.token, &made), &s.w.err);
	ASSERT_FALSE(made.is_read_only); /* it is a copy */
	world_end(&s.w);
}

/* An entry without a reference is of a call that was killed: the snapshot is not its to delete. */
TEST(an_entry_without_a_reference_takes_no_snapshot_along)
{
	struct scene s;

	begin_with_view(&s);
	fake_ceph_remove_object(s.w.pool, "csi",
				arena_printf(s.w.ctx.arena, "rt-backingsnapshot-%s", s.snap.token));
	ASSERT_OK(drop_volume(&s.w, s.view.token), &s.w.err);
	assert_has(&s.w, 1, 1, 1);
	world_end(&s.w);
}

TEST(what_another_program_has_written_is_left)
{
	const char *object;
	struct scene s;

	begin_with_view(&s);
	object = arena_printf(s.w.ctx.arena, "rt-backingsnapshot-%s", s.snap.token);
	fake_ceph_set_bytes(s.w.pool, "csi", object, NULL, "\0\0", 2);
	ASSERT_ERR(drop_snapshot(&s.w, s.snap.token), &s.w.err, ERR_FAILED_PRECONDITION,
		   "does not say how many");
	fake_ceph_set_bytes(s.w.pool, "csi", object, NULL, "\0\0\0\0", 4);
	ASSERT_ERR(drop_volume(&s.w, s.view.token), &s.w.err, ERR_FAILED_PRECONDITION,
		   "counts fewer");
	fake_ceph_set_bytes(s.w.pool, "csi", object, NULL, "\0\0\0\2", 4);
	fake_ceph_omap_set(s.w.pool, "csi", object, s.name, "10");
	ASSERT_ERR(drop_volume(&s.w, s.view.token), &s.w.err, ERR_FAILED_PRECONDITION,
		   "no reference");
	fake_ceph_omap_set(s.w.pool, "csi", object, s.name, "\1");
	fake_ceph_set_bytes(s.w.pool, "csi", object, "csi.ceph.com/rt-version", "\0\0\0\2", 4);
	ASSERT_ERR(drop_volume(&s.w, s.view.token), &s.w.err, ERR_FAILED_PRECONDITION,
		   "version that is not known");
	world_end(&s.w);
}

/* ---- as mounts ---- */

static int mount_as(struct world *w, const char *token, const struct strmap *context, bool reads)
{
	const struct backend_mount_options opts = {
		.path = STAGING, .only_reads = reads, .secrets = &secrets, .volume_context = context
	};

	return backend_mount(w->b, &w->ctx, token, &opts, &w->err);
}

struct seen {
	struct world *w;
	const char *token;
	char source[256], path[256];
	size_t n;
};

static int see(void *arg, const struct host_mountinfo *info)
{
	struct seen *seen = arg;

	if (!cephfs_kind.is_mount_of(seen->w->b, seen->token, info))
		return 0;
	(void)snprintf(seen->source, sizeof(seen->source), "%s", info->source);
	(void)snprintf(seen->path, sizeof(seen->path), "%s", info->point);
	seen->n++;
	return 0;
}

static struct seen look(struct world *w, const char *token)
{
	struct seen seen = { .w = w, .token = token };

	ASSERT_OK(host_mountinfo_each(see, &seen, &w->err), &w->err);
	return seen;
}

static void assert_shown(struct scene *s)
{
	struct seen seen = look(&s->w, s->view.token);

	ASSERT_EQ(seen.n, 1);
	ASSERT_STR(seen.path, STAGING);
	ASSERT_STR(seen.source, arena_printf(s->w.ctx.arena, FAKE_CEPH_MONITORS ":%s", root_of(s)));
	ASSERT_EQ(look(&s->w, s->source.token).n, 0); /* it is not the source's */
}

TEST(a_mount_shows_the_snapshot_and_nothing_else)
{
	struct scene s;

	begin_with_view(&s);
	fake_host_set_remote_dir(inside_of(&s));
	ASSERT_ERR(mount_as(&s.w, s.view.token, &s.view.context, false), &s.w.err,
		   ERR_INVALID_ARGUMENT, "ReadOnlyMany");
	ASSERT_OK(mount_as(&s.w, s.view.token, &s.view.context, true), &s.w.err);
	assert_shown(&s);
	world_kill(&s.w); /* also by the next process */
	assert_shown(&s);
	ASSERT_OK(host_mount_umount(&s.w.ctx, STAGING, &s.w.err), &s.w.err);
	ASSERT_OK(backend_note_set(s.w.b, &s.w.ctx, s.view.token, "", &s.w.err), &s.w.err);
	ASSERT_EQ(look(&s.w, s.view.token).n, 0);
	world_end(&s.w);
}

/* ceph-csi's context has a path that ends with a slash, and not which snapshot. */
TEST(one_that_ceph_csi_made_is_asked_for)
{
	struct strpair pairs[] = { { "clusterID", "c1" },
				   { "fsName", "cephfs" },
				   { "subvolumeName", "" },
				   { "subvolumePath", "" } };
	struct strmap context = { pairs, ARRAY_LEN(pairs) };
	struct scene s;

	begin_with_view(&s);
	fake_host_set_remote_dir(inside_of(&s));
	pairs[2].value = (char *)(uintptr_t)s.name;
	pairs[3].value = (char *)(uintptr_t)root_of(&s);
	ASSERT_ERR(mount_as(&s.w, s.view.token, &context, false), &s.w.err, ERR_INVALID_ARGUMENT,
		   "ReadOnlyMany");
	ASSERT_OK(mount_as(&s.w, s.view.token, &context, true), &s.w.err);
	assert_shown(&s);
	world_end(&s.w);
}

static bool mount_with_trouble(unsigned n)
{
	struct scene s;
	bool came;

	begin_with_view(&s);
	fake_host_set_remote_dir(inside_of(&s));
	fake_host_fail_at(n);
	(void)mount_as(&s.w, s.view.token, &s.view.context, true);
	came = fake_host_failed();
	fake_host_fail_at(0);
	/* nothing is seen there but the snapshot */
	if (look(&s.w, s.view.token).n > 0 && str_is_equal(look(&s.w, s.view.token).path, STAGING))
		ASSERT_OK(host_mount_umount(&s.w.ctx, STAGING, &s.w.err), &s.w.err);
	ASSERT_OK(mount_as(&s.w, s.view.token, &s.view.context, true), &s.w.err);
	assert_shown(&s);
	ASSERT_OK(host_mount_umount(&s.w.ctx, STAGING, &s.w.err), &s.w.err);
	ASSERT_OK(backend_note_set(s.w.b, &s.w.ctx, s.view.token, "", &s.w.err), &s.w.err);
	ASSERT_EQ(look(&s.w, s.view.token).n, 0);
	world_end(&s.w);
	return came;
}

TEST(each_step_of_a_mount_may_fail)
{
	unsigned n = 1;

	while (mount_with_trouble(n))
		n++;
	ASSERT_TRUE(n > 5);
}

TEST(what_a_node_is_told_wrong_is_named)
{
	static const char *const wrong[] = { "../../etc", ".snap/../x",  ".snap/x",
					     ".snap//x",  ".snap/x/y/z", "x/y/z" };
	struct scene s;

	begin_with_view(&s);
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		struct strmap context = strmap_with(s.w.ctx.arena, &s.view.context,
						    "backingSnapshotRoot", wrong[i]);

		ASSERT_ERR(mount_as(&s.w, s.view.token, &context, true), &s.w.err,
			   ERR_INVALID_ARGUMENT, "backingSnapshotRoot");
	}
	ASSERT_EQ(look(&s.w, s.view.token).n, 0);
	world_end(&s.w);
}

RUN_TESTS(UNIT(what_is_written_is_what_ceph_csi_writes),
	  UNIT(a_deleted_snapshot_goes_with_the_last_that_shows_it),
	  UNIT(what_it_cannot_do_is_said), UNIT(the_class_says_whether_it_is_copied),
	  UNIT(a_snapshot_of_a_deleted_volume_is_shown_if_it_says_where_it_is),
	  UNIT(an_entry_without_a_reference_takes_no_snapshot_along),
	  UNIT(what_another_program_has_written_is_left),
	  UNIT(a_mount_shows_the_snapshot_and_nothing_else),
	  UNIT(one_that_ceph_csi_made_is_asked_for), UNIT(each_step_of_a_mount_may_fail),
	  UNIT(what_a_node_is_told_wrong_is_named))
