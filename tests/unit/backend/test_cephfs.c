/* SPDX-License-Identifier: Apache-2.0 */
/* Volumes of CephFS as the CO sees them, with clusters in memory, and as mounts of the fake host,
 * whose kernel has a client. What our own server does is in tests/integration/test_cephfs.py. */
#include "cephfs_world.h"
#include "fake/host.h"
#include "host/mount.h"

#define STATE "/run/cephfs"
#define STAGING "/staging"
#define UUID_2 "1cbb7b58-f994-464b-85a1-72df6c9535c7"

static void begin(struct world *w)
{
	fake_host_reset(GIB);
	fake_host_add_dir(STATE);
	fake_host_add_dir(STAGING);
	fake_host_set_client("ceph");
	world_begin(w, STATE);
}

TEST(what_is_written_is_what_ceph_csi_writes)
{
	struct backend_snapshot snap;
	struct backend_volume v;
	struct world w;
	const char *name, *object;

	begin(&w);
	ASSERT_OK(make(&w, "pv-1", BACKEND_SOURCE_NONE, NULL, &v), &w.err);
	name = name_of(&w, "csi-vol-", v.token);
	object = name_of(&w, "csi.volume.", v.token);
	ASSERT_STR(v.fs, "ceph");
	ASSERT_TRUE(str_has_prefix(v.token, "0001-0002-c1-0000000000000001-"));
	ASSERT_STR(omap(&w, "csi.volumes.default", "csi.volume.pv-1"),
		   v.token + strlen(v.token) - 36);
	ASSERT_STR(omap(&w, object, "csi.volname"), "pv-1");
	ASSERT_STR(omap(&w, object, "csi.imagename"), name);
	ASSERT_STR(omap(&w, object, "csi.volume.owner"), "ns1");
	ASSERT_EQ(fake_ceph_omap_count(w.pool, "csi", object), 3);
	ASSERT_EQ(v.context.n, 4);
	ASSERT_STR(strmap_find(&v.context, "subvolumeName"), name);
	ASSERT_STR(strmap_find(&v.context, "subvolumePath"),
		   arena_printf(w.ctx.arena, "/volumes/csi/%s/" UUID_2, name));
	ASSERT_OK(cut(&w, "snapshot-1", v.token, &snap), &w.err);
	object = name_of(&w, "csi.snap.", snap.token);
	ASSERT_STR(omap(&w, object, "csi.snapname"), "snapshot-1");
	ASSERT_STR(omap(&w, object, "csi.imagename"), name_of(&w, "csi-snap-", snap.token));
	ASSERT_STR(omap(&w, object, "csi.source"), name);
	/* of which that program does not know */
	ASSERT_STR(omap(&w, object, "cleat.path"), strmap_find(&v.context, "subvolumePath"));
	ASSERT_EQ(fake_ceph_omap_count(w.pool, "csi", object), 4);
	ASSERT_OK(drop_snapshot(&w, snap.token), &w.err);
	ASSERT_OK(drop_volume(&w, v.token), &w.err);
	assert_nothing_left(&w);
	world_end(&w);
}

TEST(a_copy_says_how_far_it_is)
{
	struct backend_volume source, copy;
	struct world w;
	struct backend_spec spec;

	begin(&w);
	ASSERT_OK(make(&w, "pv-1", BACKEND_SOURCE_NONE, NULL, &source), &w.err);
	spec = spec_of("pv-2", BACKEND_SOURCE_VOLUME, source.token);
	ASSERT_ERR(backend_create(w.b, &w.ctx, &spec, &copy, &w.err), &w.err, ERR_ABORTED,
		   "is copying it, 40%");
	/* and is no volume yet, and no source of another one's */
	ASSERT_EQ(fake_ceph_n_subvolumes(), 2);
	ASSERT_ERR(make(&w, "pv-2", BACKEND_SOURCE_NONE, NULL, &copy), &w.err, ERR_ALREADY_EXISTS,
		   "now 'none' is asked");
	ASSERT_OK(make_spec(&w, &spec, &copy), &w.err);
	ASSERT_STR(copy.source, source.token);
	ASSERT_OK(drop_volume(&w, source.token), &w.err);
	ASSERT_OK(make_spec(&w, &spec, &copy),
		  &w.err); /* it is finished, whatever became of that */
	ASSERT_OK(drop_volume(&w, copy.token), &w.err);
	assert_nothing_left(&w);
	world_end(&w);
}

TEST(a_copy_that_failed_is_begun_anew)
{
	struct backend_volume source, copy;
	struct world w;
	struct backend_spec spec;
	bool was_told = false;

	begin(&w);
	ASSERT_OK(make(&w, "pv-1", BACKEND_SOURCE_NONE, NULL, &source), &w.err);
	spec = spec_of("pv-2", BACKEND_SOURCE_VOLUME, source.token);
	fake_ceph_fail_copies(1);
	for (int i = 0; i < 2 * COPY_TRIES; i++) {
		if (backend_create(w.b, &w.ctx, &spec, &copy, &w.err) == 0)
			break;
		ASSERT_EQ(w.err.code, ERR_ABORTED);
		was_told |= strstr(w.err.msg, "disk on fire") != NULL;
	}
	ASSERT_TRUE(was_told);
	ASSERT_OK(make_spec(&w, &spec, &copy), &w.err);
	ASSERT_EQ(fake_ceph_n_subvolume_snaps(name_of(&w, "csi-vol-", source.token)), 0);
	ASSERT_OK(drop_volume(&w, copy.token), &w.err);
	ASSERT_OK(drop_volume(&w, source.token), &w.err);
	assert_nothing_left(&w);
	world_end(&w);
}

/* As one of an earlier try for another source may be. */
TEST(an_empty_volume_is_no_copy)
{
	struct backend_volume source, made;
	struct backend_snapshot snap;
	struct world w;

	begin(&w);
	ASSERT_OK(make(&w, "pv-1", BACKEND_SOURCE_NONE, NULL, &source), &w.err);
	ASSERT_OK(cut(&w, "snapshot-1", source.token, &snap), &w.err);
	ASSERT_OK(make(&w, "pv-2", BACKEND_SOURCE_NONE, NULL, &made), &w.err);
	ASSERT_ERR(make(&w, "pv-2", BACKEND_SOURCE_VOLUME, source.token, &made), &w.err,
		   ERR_ALREADY_EXISTS, "exists and is no copy; now one is asked");
	ASSERT_ERR(make(&w, "pv-2", BACKEND_SOURCE_SNAPSHOT, snap.token, &made), &w.err,
		   ERR_ALREADY_EXISTS, "exists and is no copy; now one is asked");
	ASSERT_TRUE(!fake_ceph_subvolume_meta(name_of(&w, "csi-vol-", made.token), "cleat/source"));
	world_end(&w);
}

/* And one that another program has begun under an entry that does not say so. */
TEST(a_copy_without_a_word_is_no_empty_volume)
{
	struct backend_volume source, made;
	struct world w;
	const char *object;

	begin(&w);
	ASSERT_OK(make(&w, "pv-1", BACKEND_SOURCE_NONE, NULL, &source), &w.err);
	ASSERT_OK(make(&w, "pv-2", BACKEND_SOURCE_VOLUME, source.token, &made), &w.err);
	object = name_of(&w, "csi.volume.", made.token);
	ASSERT_STR(omap(&w, object, "cleat.source"), name_of(&w, "csi-vol-", source.token));
	fake_ceph_omap_rm(w.pool, "csi", object, "cleat.source");
	fake_ceph_forget_words();
	ASSERT_ERR(make(&w, "pv-2", BACKEND_SOURCE_NONE, NULL, &made), &w.err, ERR_ALREADY_EXISTS,
		   "exists and is a copy; now none is asked");
	ASSERT_OK(make(&w, "pv-2", BACKEND_SOURCE_VOLUME, source.token, &made), &w.err);
	world_end(&w);
}

TEST(what_cannot_be_is_refused_and_leaves_nothing)
{
	struct backend_volume v, other;
	struct backend_snapshot snap;
	struct strmap context;
	struct world w;
	struct backend_spec spec;

	begin(&w);
	ASSERT_OK(make(&w, "pv-1", BACKEND_SOURCE_NONE, NULL, &v), &w.err);
	ASSERT_OK(cut(&w, "snapshot-1", v.token, &snap), &w.err);
	spec = spec_of("pv-2", BACKEND_SOURCE_SNAPSHOT, snap.token);
	spec.bytes = 512 * MIB;
	ASSERT_ERR(make_spec(&w, &spec, &other), &w.err, ERR_OUT_OF_RANGE, "ask for at least");
	spec = spec_of("pv-2", BACKEND_SOURCE_SNAPSHOT, v.token); /* no snapshot */
	ASSERT_ERR(make_spec(&w, &spec, &other), &w.err, ERR_NOT_FOUND, "csi.snap.");
	spec = spec_of("pv-2", BACKEND_SOURCE_VOLUME, v.token);
	context = strmap_with(w.ctx.arena, &class, "pool", "nowhere");
	spec.parameters = &context;
	ASSERT_ERR(make_spec(&w, &spec, &other), &w.err, ERR_INVALID_ARGUMENT, "nowhere");
	ASSERT_EQ(fake_ceph_n_subvolume_snaps(name_of(&w, "csi-vol-", v.token)), 1);
	assert_has(&w, 1, 1, 1);
	ASSERT_OK(make(&w, "pv-3", BACKEND_SOURCE_NONE, NULL, &other), &w.err);
	ASSERT_ERR(cut(&w, "snapshot-1", other.token, &snap), &w.err, ERR_ALREADY_EXISTS,
		   "it exists and is of");
	ASSERT_OK(backend_snapshot_remove(w.b, &w.ctx, snap.token, &secrets, &w.err), &w.err);
	fake_ceph_refuse_manager(FAKE_CEPH_MONITORS, 13);
	ASSERT_ERR(make(&w, "pv-4", BACKEND_SOURCE_NONE, NULL, &other), &w.err,
		   ERR_PERMISSION_DENIED, "mgr 'allow rw'");
	world_end(&w);
}

TEST(a_silent_cluster_ends_each_call)
{
	struct backend_volume v;
	struct world w;

	begin(&w);
	ASSERT_OK(make(&w, "pv-1", BACKEND_SOURCE_NONE, NULL, &v), &w.err);
	fake_ceph_silence(FAKE_CEPH_MONITORS, true);
	ASSERT_ERR(drop_volume(&w, v.token), &w.err, ERR_UNAVAILABLE, "c1");
	fake_ceph_silence(FAKE_CEPH_MONITORS, false);
	ASSERT_OK(drop_volume(&w, v.token), &w.err);
	world_end(&w);
}

static void assert_kept(struct world *w, const char *volume, const char *snapshot, const char *says)
{
	struct backend_volume v;

	ASSERT_ERR(drop_snapshot(w, snapshot), &w->err, ERR_FAILED_PRECONDITION, says);
	ASSERT_ERR(drop_volume(w, volume), &w->err, ERR_FAILED_PRECONDITION, says);
	ASSERT_ERR(backend_stat(w->b, &w->ctx, volume, &secrets, &v, &w->err), &w->err,
		   ERR_FAILED_PRECONDITION, says);
	assert_has(w, 1, 1, 1);
}

/* What nobody has looked for is not gone: caps may hide a filesystem, and config.json may name
 * another group than it did. */
TEST(nothing_is_gone_of_what_is_not_seen)
{
	struct backend_snapshot snap;
	struct backend_volume v;
	struct world w;

	begin(&w);
	ASSERT_OK(make(&w, "pv-1", BACKEND_SOURCE_NONE, NULL, &v), &w.err);
	ASSERT_OK(cut(&w, "snapshot-1", v.token, &snap), &w.err);
	fake_ceph_hide_filesystems(true);
	assert_kept(&w, v.token, snap.token, "no filesystem number 1, or its user may not see it");
	ASSERT_ERR(cut(&w, "snapshot-2", v.token, &snap), &w.err, ERR_FAILED_PRECONDITION,
		   "no filesystem number 1");
	fake_ceph_hide_filesystems(false);
	world_write(&w, "[{\"clusterID\":\"c1\",\"monitors\":[\"" FAKE_CEPH_MONITORS
			"\"],\"cephFS\":{\"subvolumeGroup\":\"other\"}}]");
	assert_kept(&w, v.token, snap.token, "filesystem 'cephfs' has no subvolume group 'other'");
	world_write(&w, "[{\"clusterID\":\"c1\",\"monitors\":[\"" FAKE_CEPH_MONITORS "\"]}]");
	ASSERT_OK(drop_snapshot(&w, snap.token), &w.err);
	ASSERT_OK(drop_volume(&w, v.token), &w.err);
	assert_nothing_left(&w);
	world_end(&w);
}

/* ---- as mounts ---- */

static int mount_at(struct world *w, const char *token, const struct strmap *context)
{
	const struct backend_mount_options opts = { .path = STAGING,
						    .secrets = &secrets,
						    .volume_context = context };

	return backend_mount(w->b, &w->ctx, token, &opts, &w->err);
}

struct seen {
	struct world *w;
	const char *token;
	char source[256];
	size_t n;
};

static int see(void *arg, const struct host_mountinfo *info)
{
	struct seen *seen = arg;

	if (!cephfs_kind.is_mount_of(seen->w->b, seen->token, info))
		return 0;
	(void)snprintf(seen->source, sizeof(seen->source), "%s", info->source);
	seen->n++;
	return 0;
}

static struct seen look(struct world *w, const char *token)
{
	struct seen seen = { .w = w, .token = token };

	ASSERT_OK(host_mountinfo_each(see, &seen, &w->err), &w->err);
	return seen;
}

TEST(a_mount_is_known_by_its_path)
{
	struct backend_volume v, other;
	struct world w;

	begin(&w);
	ASSERT_OK(make(&w, "pv-1", BACKEND_SOURCE_NONE, NULL, &v), &w.err);
	ASSERT_OK(make(&w, "pv-2", BACKEND_SOURCE_NONE, NULL, &other), &w.err);
	ASSERT_OK(mount_at(&w, v.token, &v.context), &w.err);
	ASSERT_STR(look(&w, v.token).source,
		   arena_printf(w.ctx.arena, FAKE_CEPH_MONITORS ":%s",
				strmap_find(&v.context, "subvolumePath")));
	ASSERT_EQ(look(&w, other.token).n, 0);
	ASSERT_OK(host_mount_umount(&w.ctx, STAGING, &w.err), &w.err);
	world_end(&w);
}

TEST(monitors_are_asked_as_the_options_say)
{
	struct strmap context;
	struct backend_volume v;
	struct world w;

	begin(&w);
	ASSERT_OK(make(&w, "pv-1", BACKEND_SOURCE_NONE, NULL, &v), &w.err);
	context = strmap_with(w.ctx.arena, &v.context, "kernelMountOptions", "ms_mode=crc");
	ASSERT_OK(mount_at(&w, v.token, &context), &w.err);
	ASSERT_STR(look(&w, v.token).source,
		   arena_printf(w.ctx.arena, "10.0.0.1:3300:%s",
				strmap_find(&v.context, "subvolumePath")));
	ASSERT_OK(host_mount_umount(&w.ctx, STAGING, &w.err), &w.err);
	world_end(&w);
}

/* Then it is not known whether there is a client, and no server takes its place. */
TEST(a_kernel_that_cannot_be_asked_is_no_kernel_without_a_client)
{
	struct backend_volume v;
	struct world w;

	begin(&w);
	ASSERT_OK(make(&w, "pv-1", BACKEND_SOURCE_NONE, NULL, &v), &w.err);
	fake_host_fail_at(1);
	ASSERT_TRUE(mount_at(&w, v.token, &v.context) < 0);
	ASSERT_TRUE(fake_host_failed());
	fake_host_fail_at(0);
	ASSERT_EQ(look(&w, v.token).n, 0);
	ASSERT_OK(mount_at(&w, v.token, &v.context), &w.err);
	ASSERT_EQ(look(&w, v.token).n, 1);
	world_end(&w);
}

TEST(an_old_volume_without_a_path_is_asked_for)
{
	const struct strpair pair = { "clusterID", "c1" };
	struct strmap context;
	struct backend_volume v;
	struct world w;

	begin(&w);
	ASSERT_OK(make(&w, "pv-1", BACKEND_SOURCE_NONE, NULL, &v), &w.err);
	context = strmap_from(w.ctx.arena, &pair, 1);
	ASSERT_OK(mount_at(&w, v.token, &context), &w.err);
	ASSERT_EQ(look(&w, v.token).n, 1);
	world_end(&w);
}

TEST(a_static_volume_is_known_by_what_was_kept)
{
	const struct strpair pairs[] = { { "clusterID", "c1" },
					 { "fsName", "cephfs" },
					 { "rootPath", "/data" },
					 { "staticVolume", "true" } };
	char token[VOL_TOKEN_MAX], other[VOL_TOKEN_MAX];
	struct host_mount_at at;
	struct strmap context;
	struct world w;

	begin(&w);
	context = strmap_from(w.ctx.arena, pairs, ARRAY_LEN(pairs));
	ASSERT_OK(backend_resolve(w.b, VOL_KIND_VOLUME, "data of ours", token, &w.err), &w.err);
	ASSERT_OK(backend_resolve(w.b, VOL_KIND_VOLUME, "other", other, &w.err), &w.err);
	ASSERT_TRUE(!strchr(token, ' ') && !str_is_equal(token, other));
	ASSERT_OK(mount_at(&w, token, &context), &w.err);
	ASSERT_EQ(look(&w, token).n, 1);
	ASSERT_EQ(look(&w, other).n, 0);
	world_kill(&w); /* also by the next process */
	ASSERT_EQ(look(&w, token).n, 1);
	ASSERT_OK(drop_volume(&w, token), &w.err); /* which is nobody's to delete */
	/* nothing is kept of what is staged no more */
	ASSERT_OK(backend_note_set(w.b, &w.ctx, token, "note", &w.err), &w.err);
	ASSERT_OK(host_mount_umount(&w.ctx, STAGING, &w.err), &w.err);
	ASSERT_OK(backend_note_set(w.b, &w.ctx, token, "", &w.err), &w.err);
	ASSERT_OK(backend_note_set(w.b, &w.ctx, token, "", &w.err), &w.err);
	ASSERT_OK(host_mount_look(arena_printf(w.ctx.arena, STATE "/%s", token), &at, &w.err),
		  &w.err);
	ASSERT_FALSE(at.exists);
	world_end(&w);
}

TEST(what_a_node_is_told_wrong_is_named)
{
	const struct {
		const char *key, *value, *says;
		enum err_code code;
	} wrong[] = {
		{ "mounter", "nfs", "neither 'kernel' nor 'fuse'", ERR_INVALID_ARGUMENT },
		{ "kernelMountOptions", "secret=x", "not for a class", ERR_INVALID_ARGUMENT },
		{ "fuseMountOptions", "fsname=x", "not for a class", ERR_INVALID_ARGUMENT },
		{ "subvolumePath", "volumes", "no absolute path", ERR_INVALID_ARGUMENT },
	};
	struct backend_volume v;
	struct world w;

	begin(&w);
	ASSERT_OK(make(&w, "pv-1", BACKEND_SOURCE_NONE, NULL, &v), &w.err);
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		struct strmap context =
			strmap_with(w.ctx.arena, &v.context, wrong[i].key, wrong[i].value);

		ASSERT_ERR(mount_at(&w, v.token, &context), &w.err, wrong[i].code, wrong[i].says);
		ASSERT_EQ(look(&w, v.token).n, 0);
	}
	fake_host_set_client(NULL);
	world_write(&w, "[{\"clusterID\":\"c2\",\"monitors\":[\"" FAKE_CEPH_MONITORS "\"]}]");
	ASSERT_ERR(mount_at(&w, v.token, &v.context), &w.err, ERR_FAILED_PRECONDITION, "'c1'");
	world_write(&w, "[{\"clusterID\":\"c1\",\"monitors\":[\"" FAKE_CEPH_MONITORS "\"]}]");
	v.context = strmap_with(w.ctx.arena, &v.context, "mounter", "kernel");
	ASSERT_ERR(mount_at(&w, v.token, &v.context), &w.err, ERR_FAILED_PRECONDITION,
		   "modprobe ceph");
	world_end(&w);
}

RUN_TESTS(UNIT(what_is_written_is_what_ceph_csi_writes), UNIT(a_copy_says_how_far_it_is),
	  UNIT(a_copy_that_failed_is_begun_anew), UNIT(an_empty_volume_is_no_copy),
	  UNIT(a_copy_without_a_word_is_no_empty_volume),
	  UNIT(what_cannot_be_is_refused_and_leaves_nothing), UNIT(a_silent_cluster_ends_each_call),
	  UNIT(nothing_is_gone_of_what_is_not_seen),
	  UNIT(a_kernel_that_cannot_be_asked_is_no_kernel_without_a_client),
	  UNIT(a_mount_is_known_by_its_path), UNIT(monitors_are_asked_as_the_options_say),
	  UNIT(an_old_volume_without_a_path_is_asked_for),
	  UNIT(a_static_volume_is_known_by_what_was_kept), UNIT(what_a_node_is_told_wrong_is_named))
