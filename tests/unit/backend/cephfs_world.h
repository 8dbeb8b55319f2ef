/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_BACKEND_CEPHFS_WORLD_H
#define TESTS_UNIT_BACKEND_CEPHFS_WORLD_H

#include "backend/cephfs/subvolume.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/str.h"
#include "check.h"
#include "fake/ceph.h"

#include <sys/stat.h>
#include <unistd.h>

/* A process with the backend of subvolumes over a fake cluster, "c1", with filesystem "cephfs". */
struct world {
	struct backend *b;
	struct ctx ctx;
	struct err err;
	char dir[64];
	struct backend_config config;
	int64_t pool; /* the metadata's */
};

static const struct strpair secret_pairs[] = { { "adminID", FAKE_CEPH_USER },
					       { "adminKey", FAKE_CEPH_KEY } };
static const struct secrets secrets = { { (struct strpair *)(uintptr_t)secret_pairs, 2 } };

static struct strpair class_pairs[] = {
	{ "clusterID", "c1" },
	{ "csi.storage.k8s.io/pv/name", "pv-1" },
	{ "csi.storage.k8s.io/pvc/name", "data" },
	{ "csi.storage.k8s.io/pvc/namespace", "ns1" },
	{ "fsName", "cephfs" },
};
static const struct strmap class = { class_pairs, ARRAY_LEN(class_pairs) };

static struct strpair snapshot_class_pairs[] = { { "clusterID", "c1" } };
static const struct strmap snapshot_class = { snapshot_class_pairs,
					      ARRAY_LEN(snapshot_class_pairs) };

/* As kubelet does: another file, so that it is seen to have changed within one tick of the clock.
 */
static inline void world_write_as(const struct world *w, const char *name, const char *text)
{
	char path[128], fresh[128];
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/%s", w->dir, name);
	(void)snprintf(fresh, sizeof(fresh), "%s/new", w->dir);
	f = fopen(fresh, "we");
	ASSERT_TRUE(f && fputs(text, f) >= 0 && fclose(f) == 0);
	ASSERT_EQ(rename(fresh, path), 0);
}

static inline void world_write(const struct world *w, const char *text)
{
	world_write_as(w, "config.json", text);
}

static inline void world_map(const struct world *w, const char *text)
{
	world_write_as(w, "cluster-mapping.json", text);
}

/* A process comes up. */
static inline void world_start(struct world *w)
{
	w->b = subvolumes_new(&w->config, fake_ceph_lib());
	w->b->kind = &cephfs_kind;
	subvolumes_of(w->b)->copy_wait_ns = 0; /* no test waits */
	pthread_mutex_init(&w->b->use_lock, NULL);
	ctx_init(&w->ctx, 0);
}

static inline void world_stop(struct world *w)
{
	ctx_done(&w->ctx);
	pthread_mutex_destroy(&w->b->use_lock);
	backend_close(w->b);
	w->b = NULL;
}

static inline void world_begin(struct world *w, const char *state_dir)
{
	fake_ceph_reset();
	*w = (struct world){ .config = {
				     .kind = "cephfs", .name = "ceph", .state_dir = state_dir } };
	w->pool = fake_ceph_add_fs(FAKE_CEPH_MONITORS, "cephfs");
	(void)snprintf(w->dir, sizeof(w->dir), "/tmp/cleat-cephfs-XXXXXX");
	ASSERT_TRUE(mkdtemp(w->dir) != NULL);
	w->config.dir = w->dir;
	world_write(w, "[{\"clusterID\":\"c1\",\"monitors\":[\"" FAKE_CEPH_MONITORS "\"]}]");
	world_start(w);
}

static inline void world_end(struct world *w)
{
	char path[128];

	world_stop(w);
	(void)snprintf(path, sizeof(path), "%s/config.json", w->dir);
	(void)unlink(path);
	(void)snprintf(path, sizeof(path), "%s/cluster-mapping.json", w->dir);
	(void)unlink(path);
	ASSERT_EQ(rmdir(w->dir), 0);
	ASSERT_EQ(fake_ceph_n_handles(), 0);
	ASSERT_EQ(fake_ceph_n_connections(), 0);
}

/* SIGKILL, and another process comes up. */
static inline void world_kill(struct world *w)
{
	fake_ceph_kill();
	world_stop(w);
	world_start(w);
}

static inline struct backend_spec spec_of(const char *name, enum backend_source kind,
					  const char *source)
{
	return (struct backend_spec){ .name = name,
				      .token = name,
				      .bytes = kind == BACKEND_SOURCE_NONE ? 1 * GIB : 0,
				      .fs = "",
				      .source_kind = kind,
				      .source = source,
				      .secrets = &secrets,
				      .parameters = &class };
}

/* As a CO does, which asks again while it is copied. */
#define COPY_TRIES 8
static inline int make_spec(struct world *w, const struct backend_spec *spec,
			    struct backend_volume *ret_vol)
{
	int rc = -1;

	for (int i = 0; i < COPY_TRIES; i++) {
		rc = backend_create(w->b, &w->ctx, spec, ret_vol, &w->err);
		if (rc == 0 || w->err.code != ERR_ABORTED)
			break;
	}
	return rc;
}

static inline int make(struct world *w, const char *name, enum backend_source kind,
		       const char *source, struct backend_volume *ret_vol)
{
	const struct backend_spec spec = spec_of(name, kind, source);

	return make_spec(w, &spec, ret_vol);
}

/* One that shows the snapshot: nobody who asks will write to it. */
static inline int show(struct world *w, const char *name, const char *snapshot,
		       struct backend_volume *ret_vol)
{
	struct backend_spec spec = spec_of(name, BACKEND_SOURCE_SNAPSHOT, snapshot);

	spec.is_read_only = true;
	return make_spec(w, &spec, ret_vol);
}

static inline int cut(struct world *w, const char *name, const char *volume,
		      struct backend_snapshot *ret_snap)
{
	const struct backend_snapshot_spec spec = { .name = name,
						    .token = name,
						    .source = volume,
						    .options = { .secrets = &secrets,
								 .parameters = &snapshot_class } };

	return backend_snapshot_create(w->b, &w->ctx, &spec, ret_snap, &w->err);
}

static inline int drop_volume(struct world *w, const char *token)
{
	return backend_remove(w->b, &w->ctx, token, &secrets, &w->err);
}

static inline int drop_snapshot(struct world *w, const char *token)
{
	return backend_snapshot_remove(w->b, &w->ctx, token, &secrets, &w->err);
}

static inline const char *omap(const struct world *w, const char *object, const char *key)
{
	return str_or(fake_ceph_omap_get(w->pool, "csi", object, key), "(absent)");
}

/* A prefix, and the UUID of a token */
static inline const char *name_of(struct world *w, const char *prefix, const char *token)
{
	return arena_printf(w->ctx.arena, "%s%s", prefix, token + strlen(token) - 36);
}

/* What there is to be: subvolumes, also those that are there for their snapshots; entries. */
static inline void assert_has(const struct world *w, size_t n_subvolumes, size_t n_volumes,
			      size_t n_snapshots)
{
	ASSERT_EQ(fake_ceph_n_subvolumes(), n_subvolumes);
	ASSERT_EQ(fake_ceph_omap_count(w->pool, "csi", "csi.volumes.default"), n_volumes);
	ASSERT_EQ(fake_ceph_omap_count(w->pool, "csi", "csi.snaps.default"), n_snapshots);
	ASSERT_EQ(fake_ceph_n_objects(w->pool),
		  n_volumes + n_snapshots +
			  fake_ceph_has_object(w->pool, "csi", "csi.volumes.default") +
			  fake_ceph_has_object(w->pool, "csi", "csi.snaps.default"));
}

/* How many references a snapshot has; beside assert_has, which counts no such object. */
static inline void assert_backs(struct world *w, const char *snapshot, const char *says)
{
	autostr struct str text = STR_INIT;

	fake_ceph_dump_object(w->pool, "csi",
			      arena_printf(w->ctx.arena, "rt-backingsnapshot-%s", snapshot), &text);
	ASSERT_STR(str_get(&text), says);
}

static inline void assert_nothing_left(const struct world *w)
{
	assert_has(w, 0, 0, 0);
}

#endif
