/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images of RBD: opened, put into the trash and removed, with the answers that librbd's requests
 * give. An image that is open for writing has a watch; one with snapshots, clones or others'
 * watches is not removed.
 */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "fake/ceph-image-internal.h"

#define FEATURE_OPERATIONS UINT64_C(256)

struct fake_image *fake_image_find(const struct fake_pool *pool, const char *ns, const char *name)
{
	for (size_t i = 0; i < pool->images.n; i++) {
		struct fake_image *image = pool->images.v[i];

		if (!image->in_trash && str_is_equal(image->ns, ns) &&
		    str_is_equal(image->name, name))
			return image;
	}
	return NULL;
}

struct fake_image *fake_image_find_id(const struct fake_pool *pool, const char *ns, const char *id)
{
	for (size_t i = 0; i < pool->images.n; i++)
		if (str_is_equal(pool->images.v[i]->ns, ns) &&
		    str_is_equal(pool->images.v[i]->id, id))
			return pool->images.v[i];
	return NULL;
}

static void watch(struct fake_open *open)
{
	struct fake_watcher w = { .client = open->conn->client,
				  .cookie = open->cookie,
				  .process = open->conn->process };

	w.addr = xstrdup(open->conn->address);
	vec_push(&open->image->watchers, w);
}

static struct fake_open *open_image(struct fake_conn *conn, struct fake_image *image,
				    struct fake_snap *snap, bool is_read_only)
{
	struct fake_open *open = xcalloc(1, sizeof(*open));

	open->conn = conn;
	open->image = image;
	open->snap = snap;
	open->is_read_only = is_read_only;
	open->cookie = fake_ceph_id(conn->cluster);
	image->n_open++;
	if (!is_read_only)
		watch(open);
	fake_ceph_opened(1);
	return open;
}

static int open_found(struct fake_io *io, struct fake_image *image, const char *snap_name,
		      bool is_read_only, rbd_image_t *ret)
{
	struct fake_snap *snap = NULL;

	if (!image || image->is_half)
		return -ENOENT;
	if (snap_name && (!(snap = fake_snap_find_user(image, snap_name)) || snap->is_lost))
		return -ENOENT;
	*ret = open_image(io->conn, image, snap, is_read_only);
	return 0;
}

static int open_named(rados_ioctx_t handle, const char *name, rbd_image_t *ret, const char *snap,
		      bool is_read_only)
{
	struct fake_io *io = handle;
	int rc = fake_ceph_enter(io->conn, FAKE_LOOK);

	if (rc == 0)
		rc = open_found(io, fake_image_find(io->pool, io->ns, name), snap, is_read_only,
				ret);
	return fake_ceph_leave(rc);
}

static int fake_open(rados_ioctx_t io, const char *name, rbd_image_t *ret, const char *snap)
{
	return open_named(io, name, ret, snap, false);
}

static int open_read_only(rados_ioctx_t io, const char *name, rbd_image_t *ret, const char *snap)
{
	return open_named(io, name, ret, snap, true);
}

/* Also one that is in the trash. */
static int open_by_id_read_only(rados_ioctx_t handle, const char *id, rbd_image_t *ret,
				const char *snap)
{
	struct fake_io *io = handle;
	int rc = fake_ceph_enter(io->conn, FAKE_LOOK);

	if (rc == 0)
		rc = open_found(io, fake_image_find_id(io->pool, io->ns, id), snap, true, ret);
	return fake_ceph_leave(rc);
}

static void unwatch(struct fake_image *image, uint64_t cookie)
{
	for (size_t i = 0; i < image->watchers.n; i++)
		if (image->watchers.v[i].cookie == cookie) {
			free(image->watchers.v[i].addr);
			image->watchers.v[i] = image->watchers.v[--image->watchers.n];
			return;
		}
}

void fake_image_free(struct fake_image *image)
{
	for (size_t i = 0; i < image->meta.n; i++) {
		free(image->meta.v[i].key);
		free(image->meta.v[i].value);
	}
	vec_done(&image->meta);
	free(image->locked_by);
	while (image->snaps.n)
		fake_snap_free(image, image->snaps.v[0]);
	vec_done(&image->snaps);
	while (image->watchers.n)
		unwatch(image, image->watchers.v[0].cookie);
	vec_done(&image->watchers);
	fake_data_free(&image->data);
	free(image->ns);
	free(image->name);
	free(image->id);
	free(image);
}

static int fake_close(rbd_image_t handle)
{
	struct fake_open *open = handle;

	fake_ceph_lock();
	unwatch(open->image, open->cookie);
	if (--open->image->n_open == 0 && open->image->is_removed)
		fake_image_free(open->image);
	fake_ceph_unlock();
	fake_ceph_opened(-1);
	free(open);
	return 0;
}

bool fake_image_is_writable(const struct fake_open *open)
{
	return !open->is_read_only && !open->snap;
}

static void drop_dead_watchers(struct fake_image *image)
{
	for (size_t i = image->watchers.n; i > 0; i--) {
		const struct fake_watcher *w = &image->watchers.v[i - 1];

		if (!w->is_foreign && !fake_ceph_is_alive(w->process))
			unwatch(image, w->cookie);
	}
}

bool fake_image_is_watched(struct fake_image *image)
{
	drop_dead_watchers(image);
	return image->watchers.n > 0;
}

/* Snapshots in the trash go with the image, but for those with clones. */
static int prune_snaps(struct fake_image *image)
{
	int rc = 0;

	for (size_t i = image->snaps.n; i > 0; i--) {
		struct fake_snap *snap = image->snaps.v[i - 1];

		if (fake_snap_children(image, snap->id))
			rc = -ENOTEMPTY;
		else
			fake_snap_free(image, snap);
	}
	return rc;
}

int fake_image_remove(struct fake_image *image)
{
	int rc;

	for (size_t i = 0; i < image->snaps.n; i++)
		if (image->snaps.v[i]->type != RBD_SNAP_NAMESPACE_TYPE_TRASH)
			return -ENOTEMPTY;
	if (fake_image_is_watched(image))
		return -EBUSY;
	rc = prune_snaps(image);
	if (rc < 0)
		return rc;
	fake_parent_leave(&image->parent);
	for (size_t i = 0; i < image->pool->images.n; i++)
		if (image->pool->images.v[i] == image)
			image->pool->images.v[i] = image->pool->images.v[--image->pool->images.n];
	image->is_removed = true;
	if (image->n_open == 0)
		fake_image_free(image);
	return 0;
}

static int fake_rbd_remove(rados_ioctx_t handle, const char *name)
{
	struct fake_io *io = handle;
	int rc = fake_ceph_enter(io->conn, FAKE_WRITE);
	struct fake_image *image = rc < 0 ? NULL : fake_image_find(io->pool, io->ns, name);

	if (rc == 0)
		rc = image ? fake_image_remove(image) : -ENOENT;
	if (rc == 0)
		fake_manager_work(io->conn->cluster);
	return fake_ceph_leave(rc);
}

static int trash_move(rados_ioctx_t handle, const char *name, uint64_t delay)
{
	struct fake_io *io = handle;
	int rc = fake_ceph_enter(io->conn, FAKE_WRITE);
	struct fake_image *image = rc < 0 ? NULL : fake_image_find(io->pool, io->ns, name);

	/* Also where a pool without a trash has no room for one: the image stays. */
	if (rc == 0 && (!image || (io->conn->cluster->is_full && !io->pool->has_trash)))
		rc = -ENOENT;
	if (rc == 0) {
		io->pool->has_trash = true;
		image->in_trash = true;
		image->trashed_s = clock_wall_ns() / NS_PER_S;
		image->kept_until_s = image->trashed_s + (int64_t)delay;
	}
	return fake_ceph_leave(rc);
}

static rbd_trash_image_info_t tell_trash(const struct fake_image *image)
{
	return (rbd_trash_image_info_t){ xstrdup(image->id), xstrdup(image->name),
					 RBD_TRASH_IMAGE_SOURCE_USER, image->trashed_s,
					 image->kept_until_s };
}

static struct fake_image *find_in_trash(const struct fake_io *io, const char *id)
{
	struct fake_image *image = fake_image_find_id(io->pool, io->ns, id);

	return image && image->in_trash ? image : NULL;
}

static int trash_get(rados_ioctx_t handle, const char *id, rbd_trash_image_info_t *ret_info)
{
	struct fake_io *io = handle;
	int rc = fake_ceph_enter(io->conn, FAKE_LOOK);
	struct fake_image *image = rc < 0 ? NULL : find_in_trash(io, id);

	if (rc == 0 && !image)
		rc = -ENOENT;
	if (rc == 0) {
		*ret_info = tell_trash(image);
		fake_ceph_opened(1);
	}
	return fake_ceph_leave(rc);
}

static void free_trash(rbd_trash_image_info_t *info)
{
	free(info->id);
	free(info->name);
}

static void trash_get_cleanup(rbd_trash_image_info_t *info)
{
	free_trash(info);
	fake_ceph_opened(-1);
}

static int list_trash(const struct fake_io *io, rbd_trash_image_info_t *ret, size_t *n)
{
	size_t found = 0;

	for (size_t i = 0; i < io->pool->images.n; i++)
		found += io->pool->images.v[i]->in_trash &&
			 str_is_equal(io->pool->images.v[i]->ns, io->ns);
	if (*n < found) {
		*n = found;
		return -ERANGE;
	}
	*n = 0;
	for (size_t i = 0; i < io->pool->images.n; i++)
		if (io->pool->images.v[i]->in_trash &&
		    str_is_equal(io->pool->images.v[i]->ns, io->ns))
			ret[(*n)++] = tell_trash(io->pool->images.v[i]);
	fake_ceph_opened((int)*n);
	return (int)*n;
}

static int trash_list(rados_ioctx_t handle, rbd_trash_image_info_t *ret, size_t *n)
{
	struct fake_io *io = handle;
	int rc = fake_ceph_enter(io->conn, FAKE_LOOK);

	if (rc == 0)
		rc = list_trash(io, ret, n);
	return fake_ceph_leave(rc);
}

static void trash_list_cleanup(rbd_trash_image_info_t *entries, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free_trash(&entries[i]);
	fake_ceph_opened(-(int)n);
}

static int list_images(const struct fake_io *io, rbd_image_spec_t *ret, size_t *n)
{
	size_t found = 0;

	for (size_t i = 0; i < io->pool->images.n; i++) {
		const struct fake_image *image = io->pool->images.v[i];

		if (image->in_trash || !str_is_equal(image->ns, io->ns))
			continue;
		if (found < *n)
			ret[found] = (rbd_image_spec_t){ xstrdup(image->id), xstrdup(image->name) };
		found++;
	}
	if (found > *n) {
		for (size_t i = 0; i < *n; i++) {
			free(ret[i].id);
			free(ret[i].name);
		}
		*n = found;
		return -ERANGE;
	}
	*n = found;
	fake_ceph_opened((int)found);
	return (int)found;
}

static int list2(rados_ioctx_t handle, rbd_image_spec_t *ret, size_t *n)
{
	struct fake_io *io = handle;
	int rc = fake_ceph_enter(io->conn, FAKE_READ);

	if (rc == 0)
		rc = list_images(io, ret, n);
	return fake_ceph_leave(rc);
}

static void image_spec_list_cleanup(rbd_image_spec_t *images, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(images[i].id);
		free(images[i].name);
	}
	fake_ceph_opened(-(int)n);
}

static int trash_remove(rados_ioctx_t handle, const char *id, bool force)
{
	struct fake_io *io = handle;
	int rc = fake_ceph_enter(io->conn, FAKE_WRITE);
	struct fake_image *image = rc < 0 ? NULL : find_in_trash(io, id);

	if (rc == 0 && !image)
		rc = -ENOENT;
	if (rc == 0 && !force && image->kept_until_s > clock_wall_ns() / NS_PER_S)
		rc = -EPERM;
	if (rc == 0)
		rc = fake_image_remove(image);
	if (rc == 0)
		fake_manager_work(io->conn->cluster);
	return fake_ceph_leave(rc);
}

static int get_size(rbd_image_t handle, uint64_t *ret_size)
{
	struct fake_open *open = handle;

	fake_ceph_lock();
	*ret_size = open->snap ? open->snap->size : open->image->size;
	fake_ceph_unlock();
	return 0;
}

static int get_id(rbd_image_t handle, char *buf, size_t n)
{
	struct fake_open *open = handle;
	size_t len = strlen(open->image->id);

	if (len >= n)
		return -ERANGE;
	memcpy(buf, open->image->id, len + 1);
	return 0;
}

/* The bit of operations comes with the first clone, on both sides, and with snapshots in the
 * trash. */
static int get_features(rbd_image_t handle, uint64_t *ret_features)
{
	const struct fake_image *image = ((struct fake_open *)handle)->image;
	bool operates;

	fake_ceph_lock();
	operates = image->parent.image;
	for (size_t i = 0; i < image->snaps.n; i++)
		operates |= image->snaps.v[i]->type == RBD_SNAP_NAMESPACE_TYPE_TRASH ||
			    fake_snap_children(image, image->snaps.v[i]->id);
	*ret_features = image->features | (operates ? FEATURE_OPERATIONS : 0);
	fake_ceph_unlock();
	return 0;
}

static int get_create_timestamp(rbd_image_t handle, struct timespec *ret)
{
	*ret = ((struct fake_open *)handle)->image->created;
	return 0;
}

static struct fake_pair *find_meta(struct fake_image *image, const char *key)
{
	for (size_t i = 0; i < image->meta.n; i++)
		if (str_is_equal(image->meta.v[i].key, key))
			return &image->meta.v[i];
	return NULL;
}

static void drop_meta(struct fake_image *image, struct fake_pair *pair)
{
	free(pair->key);
	free(pair->value);
	*pair = image->meta.v[--image->meta.n];
}

void fake_image_set_meta(struct fake_image *image, const char *key, const char *value)
{
	struct fake_pair *old = find_meta(image, key);

	image->n_meta_changes++;
	if (old)
		drop_meta(image, old);
	if (value)
		vec_push(&image->meta,
			 ((struct fake_pair){ xstrdup(key), xstrdup(value), strlen(value) }));
}

static int metadata_set(rbd_image_t handle, const char *key, const char *value)
{
	struct fake_open *open = handle;
	int rc = fake_ceph_enter(open->conn, FAKE_WRITE);

	if (rc == 0 && open->is_read_only)
		rc = -EROFS;
	if (rc == 0)
		fake_image_set_meta(open->image, key, value);
	if (rc == 0)
		open->image->n_told = open->image->n_meta_changes;
	return fake_ceph_leave(rc);
}

static int metadata_get(rbd_image_t handle, const char *key, char *value, size_t *n)
{
	struct fake_open *open = handle;
	int rc = fake_ceph_enter(open->conn, FAKE_READ);
	struct fake_pair *found = rc < 0 ? NULL : find_meta(open->image, key);

	if (rc == 0 && !found)
		rc = -ENOENT;
	if (rc == 0 && *n < found->n + 1)
		rc = -ERANGE;
	if (rc == 0)
		memcpy(value, found->value, found->n + 1);
	if (found)
		*n = found->n + 1;
	return fake_ceph_leave(rc);
}

static int list_watchers(struct fake_image *image, rbd_image_watcher_t *ret, size_t *n)
{
	size_t found = 0;

	drop_dead_watchers(image);
	for (size_t i = 0; i < image->watchers.n; i++)
		found += !image->watchers.v[i].changed;
	if (*n < found) {
		*n = found;
		return -ERANGE;
	}
	*n = 0;
	for (size_t i = 0; i < image->watchers.n; i++) {
		const struct fake_watcher *w = &image->watchers.v[i];

		if (!w->changed)
			ret[(*n)++] = (rbd_image_watcher_t){ xstrdup(w->addr), (int64_t)w->client,
							     w->cookie };
	}
	fake_ceph_opened((int)*n);
	return 0;
}

static int watchers_list(rbd_image_t handle, rbd_image_watcher_t *ret, size_t *n)
{
	struct fake_open *open = handle;
	int rc = fake_ceph_enter(open->conn, FAKE_LOOK);

	if (rc == 0)
		rc = list_watchers(open->image, ret, n);
	return fake_ceph_leave(rc);
}

static void watchers_list_cleanup(rbd_image_watcher_t *watchers, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(watchers[i].addr);
	fake_ceph_opened(-(int)n);
}

/* Those who want to be told of a change have no watch of their own: it is the open image's. */
static int update_watch(rbd_image_t handle, uint64_t *ret_cookie, rbd_update_callback_t changed,
			void *arg)
{
	struct fake_open *open = handle;
	struct fake_watcher w = { .changed = changed, .arg = arg, .process = open->conn->process };

	fake_ceph_lock();
	w.cookie = fake_ceph_id(open->conn->cluster);
	vec_push(&open->image->watchers, w);
	fake_ceph_unlock();
	*ret_cookie = w.cookie;
	return 0;
}

static int update_unwatch(rbd_image_t handle, uint64_t cookie)
{
	fake_ceph_lock();
	unwatch(((struct fake_open *)handle)->image, cookie);
	fake_ceph_unlock();
	return 0;
}

void fake_ceph_free_images(struct fake_pool *pool)
{
	for (size_t i = 0; i < pool->images.n; i++)
		fake_image_free(pool->images.v[i]);
	vec_done(&pool->images);
}

void fake_ceph_fill_image(struct ceph_lib *lib)
{
	lib->rbd_open = fake_open;
	lib->rbd_open_read_only = open_read_only;
	lib->rbd_open_by_id_read_only = open_by_id_read_only;
	lib->rbd_close = fake_close;
	lib->rbd_remove = fake_rbd_remove;
	lib->rbd_trash_move = trash_move;
	lib->rbd_trash_get = trash_get;
	lib->rbd_trash_get_cleanup = trash_get_cleanup;
	lib->rbd_list2 = list2;
	lib->rbd_image_spec_list_cleanup = image_spec_list_cleanup;
	lib->rbd_trash_list = trash_list;
	lib->rbd_trash_list_cleanup = trash_list_cleanup;
	lib->rbd_trash_remove = trash_remove;
	lib->rbd_get_size = get_size;
	lib->rbd_get_id = get_id;
	lib->rbd_get_features = get_features;
	lib->rbd_get_create_timestamp = get_create_timestamp;
	lib->rbd_metadata_set = metadata_set;
	lib->rbd_metadata_get = metadata_get;
	lib->rbd_watchers_list = watchers_list;
	lib->rbd_watchers_list_cleanup = watchers_list_cleanup;
	lib->rbd_update_watch = update_watch;
	lib->rbd_update_unwatch = update_unwatch;
	fake_ceph_fill_make(lib);
	fake_ceph_fill_snap(lib);
	fake_ceph_fill_data(lib);
	fake_ceph_fill_manager(lib);
	fake_ceph_fill_monitor(lib);
}
