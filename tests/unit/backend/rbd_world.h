/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_BACKEND_RBD_WORLD_H
#define TESTS_UNIT_BACKEND_RBD_WORLD_H

#include "backend/rbd/image.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/str.h"
#include "check.h"
#include "fake/ceph.h"

#include <sys/stat.h>
#include <unistd.h>

/* A process with the backend of images over a fake cluster, "c1". */
#define POOL 1
#define OTHER "10.0.0.9:0/77"

struct world {
	struct backend *b;
	struct ctx ctx;
	struct err err;
	char dir[64];
	struct backend_config config;
};

static const struct strpair secret_pairs[] = { { "userID", FAKE_CEPH_USER },
					       { "userKey", FAKE_CEPH_KEY } };
static const struct secrets secrets = { { (struct strpair *)(uintptr_t)secret_pairs, 2 } };

static struct strpair class_pairs[] = {
	{ "clusterID", "c1" },
	{ "csi.storage.k8s.io/pv/name", "pv-1" },
	{ "csi.storage.k8s.io/pvc/name", "data" },
	{ "csi.storage.k8s.io/pvc/namespace", "ns1" },
	{ "imageFeatures", "layering,exclusive-lock,object-map,fast-diff,deep-flatten" },
	{ "pool", "rbd" },
};
static const struct strmap class = { class_pairs, ARRAY_LEN(class_pairs) };

static struct strpair snapshot_class_pairs[] = {
	{ "clusterID", "c1" },
	{ "csi.storage.k8s.io/volumesnapshot/name", "daily" },
	{ "csi.storage.k8s.io/volumesnapshot/namespace", "ns1" },
	{ "csi.storage.k8s.io/volumesnapshotcontent/name", "snapcontent-1" },
};
static const struct strmap snapshot_class = { snapshot_class_pairs,
					      ARRAY_LEN(snapshot_class_pairs) };

/* Of snapshots that stay on their volume's image. */
static struct strpair staying_class_pairs[] = { { "clusterID", "c1" },
						{ "snapshotLayout", "source" } };
static const struct strmap staying_class = { staying_class_pairs, ARRAY_LEN(staying_class_pairs) };

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
	w->b = images_new(&w->config, fake_ceph_lib());
	w->b->kind = &rbd_kind;
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

static inline void world_begin(struct world *w)
{
	fake_ceph_reset();
	*w = (struct world){ .config = { .kind = "rbd", .name = "ceph" } };
	(void)snprintf(w->dir, sizeof(w->dir), "/tmp/cleat-rbd-XXXXXX");
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

static inline int make(struct world *w, const char *name, enum backend_source kind,
		       const char *source, struct backend_volume *ret_vol)
{
	const struct backend_spec spec = spec_of(name, kind, source);

	return backend_create(w->b, &w->ctx, &spec, ret_vol, &w->err);
}

static inline int cut_by(struct world *w, const struct strmap *by, const char *name,
			 const char *volume, struct backend_snapshot *ret_snap)
{
	const struct backend_snapshot_spec spec = { .name = name,
						    .token = name,
						    .source = volume,
						    .options = { .secrets = &secrets,
								 .parameters = by } };

	return backend_snapshot_create(w->b, &w->ctx, &spec, ret_snap, &w->err);
}

static inline int cut(struct world *w, const char *name, const char *volume,
		      struct backend_snapshot *ret_snap)
{
	return cut_by(w, &snapshot_class, name, volume, ret_snap);
}

static inline int drop_volume(struct world *w, const char *token)
{
	return backend_remove(w->b, &w->ctx, token, &secrets, &w->err);
}

static inline int drop_snapshot(struct world *w, const char *token)
{
	return backend_snapshot_remove(w->b, &w->ctx, token, &secrets, &w->err);
}

static inline const char *omap(const char *object, const char *key)
{
	return str_or(fake_ceph_omap_get(POOL, "", object, key), "(absent)");
}

/* "csi-vol-" or another prefix, and the UUID of a token */
static inline const char *image_name(struct world *w, const char *prefix, const char *token)
{
	return arena_printf(w->ctx.arena, "%s%s", prefix, token + strlen(token) - 36);
}

/* What a pool is to have: images that are not in the trash, entries of either kind. */
static inline void assert_has(size_t n_images, size_t n_volumes, size_t n_snapshots)
{
	ASSERT_EQ(fake_ceph_n_images(POOL) - fake_ceph_n_trash(POOL), n_images);
	ASSERT_EQ(fake_ceph_omap_count(POOL, "", "csi.volumes.default"), n_volumes);
	ASSERT_EQ(fake_ceph_omap_count(POOL, "", "csi.snaps.default"), n_snapshots);
	ASSERT_EQ(fake_ceph_n_objects(POOL),
		  n_volumes + n_snapshots + fake_ceph_has_object(POOL, "", "csi.volumes.default") +
			  fake_ceph_has_object(POOL, "", "csi.snaps.default"));
}

static inline void assert_nothing_left(void)
{
	assert_has(0, 0, 0);
	ASSERT_EQ(fake_ceph_n_trash(POOL), 0);
}

#endif
