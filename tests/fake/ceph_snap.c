/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshots, and who is whose parent. Clones are of format 2: a snapshot with clones that is
 * removed goes into the trash's namespace under another name, and is gone when its last clone
 * leaves it, by being removed or flattened. A clone's own snapshots keep it there too, unless it
 * has deep-flatten.
 */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/uuid.h"
#include "fake/ceph-image-internal.h"

struct fake_snap *fake_snap_find(const struct fake_image *image, uint64_t id)
{
	for (size_t i = 0; i < image->snaps.n; i++)
		if (image->snaps.v[i]->id == id)
			return image->snaps.v[i];
	return NULL;
}

static bool is_child(const struct fake_image *child, const struct fake_image *image, uint64_t id)
{
	if (child->parent.image == image && child->parent.snap_id == id)
		return true;
	for (size_t i = 0; i < child->snaps.n; i++)
		if (child->snaps.v[i]->parent.image == image &&
		    child->snaps.v[i]->parent.snap_id == id)
			return true;
	return false;
}

size_t fake_snap_children(const struct fake_image *image, uint64_t id)
{
	const struct fake_cluster *cluster = image->pool->cluster;
	size_t n = 0;

	for (size_t p = 0; p < cluster->pools.n; p++)
		for (size_t i = 0; i < cluster->pools.v[p]->images.n; i++)
			n += is_child(cluster->pools.v[p]->images.v[i], image, id);
	return n;
}

void fake_snap_free(struct fake_image *image, struct fake_snap *snap)
{
	for (size_t i = 0; i < image->snaps.n; i++)
		if (image->snaps.v[i] == snap) {
			memmove(&image->snaps.v[i], &image->snaps.v[i + 1],
				(image->snaps.n - i - 1) * sizeof(image->snaps.v[0]));
			image->snaps.n--;
			break;
		}
	fake_data_free(&snap->data);
	free(snap->name);
	free(snap);
}

void fake_parent_leave(struct fake_parent *parent)
{
	struct fake_image *image = parent->image;
	uint64_t id = parent->snap_id;
	struct fake_snap *snap;

	*parent = (struct fake_parent){ 0 };
	if (!image)
		return;
	snap = fake_snap_find(image, id);
	if (snap && snap->type == RBD_SNAP_NAMESPACE_TYPE_TRASH && !fake_snap_children(image, id))
		fake_snap_free(image, snap);
}

int fake_image_flatten(struct fake_image *image)
{
	if (!image->parent.image)
		return -EINVAL;
	fake_data_flatten(image);
	if (image->features & RBD_FEATURE_DEEP_FLATTEN)
		for (size_t i = 0; i < image->snaps.n; i++)
			fake_parent_leave(&image->snaps.v[i]->parent);
	fake_parent_leave(&image->parent);
	return 0;
}

void fake_ceph_lose_parent(int64_t pool, const char *ns, const char *image, const char *snap)
{
	struct fake_image *i;

	fake_ceph_lock();
	i = fake_image_find(fake_ceph_pool(fake_ceph_cluster(FAKE_CEPH_MONITORS), pool), ns, image);
	fake_snap_find_user(i, snap)->is_lost = true;
	fake_ceph_unlock();
}

static int fake_flatten(rbd_image_t handle)
{
	struct fake_open *open = handle;
	int rc = fake_ceph_enter(open->conn, FAKE_GROW);

	if (rc == 0)
		rc = fake_image_is_writable(open) ? fake_image_flatten(open->image) : -EROFS;
	if (rc == 0)
		fake_manager_work(open->conn->cluster);
	return fake_ceph_leave(rc);
}

struct fake_snap *fake_snap_find_user(const struct fake_image *image, const char *name)
{
	for (size_t i = 0; i < image->snaps.n; i++)
		if (image->snaps.v[i]->type == RBD_SNAP_NAMESPACE_TYPE_USER &&
		    str_is_equal(image->snaps.v[i]->name, name))
			return image->snaps.v[i];
	return NULL;
}

static int make_snap(struct fake_image *image, const char *name)
{
	int64_t now_ns = clock_wall_ns();
	struct fake_snap *snap;

	if (fake_snap_find_user(image, name))
		return -EEXIST;
	snap = xcalloc(1, sizeof(*snap));
	snap->id = fake_ceph_id(image->pool->cluster);
	snap->name = xstrdup(name);
	snap->size = image->size;
	snap->created = (struct timespec){ now_ns / NS_PER_S, (long)(now_ns % NS_PER_S) };
	snap->type = RBD_SNAP_NAMESPACE_TYPE_USER;
	snap->parent = image->parent;
	fake_data_copy(&snap->data, &image->data);
	vec_push(&image->snaps, snap);
	return 0;
}

static int snap_create(rbd_image_t handle, const char *name)
{
	struct fake_open *open = handle;
	int rc = fake_ceph_enter(open->conn, FAKE_WRITE);

	if (rc == 0)
		rc = fake_image_is_writable(open) ? make_snap(open->image, name) : -EROFS;
	return fake_ceph_leave(rc);
}

static int remove_snap(struct fake_image *image, const char *name)
{
	struct fake_snap *snap = fake_snap_find_user(image, name);
	char text[UUID_TEXT_MAX];
	struct fake_parent parent;
	struct uuid u;

	if (!snap)
		return -ENOENT;
	if (fake_snap_children(image, snap->id)) {
		uuid_make(&u);
		uuid_format(&u, text);
		free(snap->name);
		snap->name = xstrdup(text);
		snap->type = RBD_SNAP_NAMESPACE_TYPE_TRASH;
		return 0;
	}
	parent = snap->parent;
	fake_snap_free(image, snap);
	fake_parent_leave(&parent);
	return 0;
}

static int snap_remove(rbd_image_t handle, const char *name)
{
	struct fake_open *open = handle;
	int rc = fake_ceph_enter(open->conn, FAKE_WRITE);

	if (rc == 0)
		rc = fake_image_is_writable(open) ? remove_snap(open->image, name) : -EROFS;
	if (rc == 0)
		fake_manager_work(open->conn->cluster);
	return fake_ceph_leave(rc);
}

/* All of them, whatever namespace they are in. */
static int list_snaps(const struct fake_image *image, rbd_snap_info_t *ret, int *n)
{
	size_t i;

	if (*n < (int)image->snaps.n + 1) {
		*n = (int)image->snaps.n + 1;
		return -ERANGE;
	}
	for (i = 0; i < image->snaps.n; i++) {
		const struct fake_snap *s = image->snaps.v[i];

		ret[i] = (rbd_snap_info_t){ s->id, s->size, xstrdup(s->name) };
	}
	ret[i] = (rbd_snap_info_t){ 0 };
	fake_ceph_opened(i > 0); /* without any there is nothing to end */
	return (int)i;
}

static int snap_list(rbd_image_t handle, rbd_snap_info_t *ret, int *n)
{
	struct fake_open *open = handle;
	int rc = fake_ceph_enter(open->conn, FAKE_LOOK);

	if (rc == 0)
		rc = list_snaps(open->image, ret, n);
	return fake_ceph_leave(rc);
}

static void snap_list_end(rbd_snap_info_t *snaps)
{
	fake_ceph_opened(snaps->name ? -1 : 0);
	for (; snaps->name; snaps++)
		free((char *)(uintptr_t)snaps->name);
}

static int snap_get_namespace_type(rbd_image_t handle, uint64_t id, rbd_snap_namespace_type_t *ret)
{
	const struct fake_snap *snap;

	fake_ceph_lock();
	snap = fake_snap_find(((struct fake_open *)handle)->image, id);
	if (snap)
		*ret = snap->type;
	fake_ceph_unlock();
	return snap ? 0 : -ENOENT;
}

static int snap_get_timestamp(rbd_image_t handle, uint64_t id, struct timespec *ret)
{
	const struct fake_snap *snap;

	fake_ceph_lock();
	snap = fake_snap_find(((struct fake_open *)handle)->image, id);
	if (snap)
		*ret = snap->created;
	fake_ceph_unlock();
	return snap ? 0 : -ENOENT;
}

static int tell_parent(const struct fake_open *open, rbd_linked_image_spec_t *ret_image,
		       rbd_snap_spec_t *ret_snap)
{
	const struct fake_parent *parent = open->snap ? &open->snap->parent : &open->image->parent;
	const struct fake_snap *snap;

	if (!parent->image)
		return -ENOENT;
	snap = fake_snap_find(parent->image, parent->snap_id);
	*ret_image = (rbd_linked_image_spec_t){
		.pool_id = parent->image->pool->id,
		.pool_name = xstrdup(parent->image->pool->name),
		.pool_namespace = xstrdup(parent->image->ns),
		.image_id = xstrdup(parent->image->id),
		.image_name = xstrdup(parent->image->name),
		.trash = parent->image->in_trash,
	};
	*ret_snap = (rbd_snap_spec_t){ snap->id, snap->type, xstrdup(snap->name) };
	fake_ceph_opened(2);
	return 0;
}

static int get_parent(rbd_image_t handle, rbd_linked_image_spec_t *ret_image,
		      rbd_snap_spec_t *ret_snap)
{
	struct fake_open *open = handle;
	int rc = fake_ceph_enter(open->conn, FAKE_LOOK);

	if (rc == 0)
		rc = tell_parent(open, ret_image, ret_snap);
	return fake_ceph_leave(rc);
}

static void linked_image_spec_cleanup(rbd_linked_image_spec_t *image)
{
	free(image->pool_name);
	free(image->pool_namespace);
	free(image->image_id);
	free(image->image_name);
	fake_ceph_opened(-1);
}

static void snap_spec_cleanup(rbd_snap_spec_t *snap)
{
	free(snap->name);
	fake_ceph_opened(-1);
}

void fake_ceph_fill_snap(struct ceph_lib *lib)
{
	lib->rbd_flatten = fake_flatten;
	lib->rbd_snap_create = snap_create;
	lib->rbd_snap_remove = snap_remove;
	lib->rbd_snap_list = snap_list;
	lib->rbd_snap_list_end = snap_list_end;
	lib->rbd_snap_get_namespace_type = snap_get_namespace_type;
	lib->rbd_snap_get_timestamp = snap_get_timestamp;
	lib->rbd_get_parent = get_parent;
	lib->rbd_linked_image_spec_cleanup = linked_image_spec_cleanup;
	lib->rbd_snap_spec_cleanup = snap_spec_cleanup;
}
