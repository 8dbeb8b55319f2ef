/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images and clones are made, with what librbd's requests refuse. Both take several steps there:
 * who is killed within leaves half an image, and that the name is taken.
 */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "fake/ceph-image-internal.h"

#define FEATURES_ALL UINT64_C(0xfff)
#define FEATURES_DEFAULT UINT64_C(61)
#define FEATURE_OPERATIONS UINT64_C(256)
#define FEATURES_OF_LIBRARY (FEATURE_OPERATIONS | UINT64_C(512) | UINT64_C(1024))
#define ORDER_DEFAULT 22

struct option {
	int name;
	uint64_t number;
	char *text;
};

struct options {
	VEC(struct option) v;
};

static void options_create(rbd_image_options_t *ret)
{
	fake_ceph_opened(1);
	*ret = xcalloc(1, sizeof(struct options));
}

static void options_destroy(rbd_image_options_t handle)
{
	struct options *o = handle;

	for (size_t i = 0; i < o->v.n; i++)
		free(o->v.v[i].text);
	vec_done(&o->v);
	free(o);
	fake_ceph_opened(-1);
}

static bool is_text(int name)
{
	return name == RBD_IMAGE_OPTION_DATA_POOL || name == RBD_IMAGE_OPTION_JOURNAL_POOL;
}

static int options_set_uint64(rbd_image_options_t handle, int name, uint64_t value)
{
	struct options *o = handle;

	if (name < 0 || name > RBD_IMAGE_OPTION_MIRROR_IMAGE_MODE || is_text(name))
		return -EINVAL;
	vec_push(&o->v, ((struct option){ .name = name, .number = value }));
	return 0;
}

static int options_set_string(rbd_image_options_t handle, int name, const char *value)
{
	struct options *o = handle;

	if (!is_text(name))
		return -EINVAL;
	vec_push(&o->v, ((struct option){ .name = name, .text = xstrdup(value) }));
	return 0;
}

static const struct option *option_of(const struct options *o, int name)
{
	for (size_t i = o->v.n; i > 0; i--)
		if (o->v.v[i - 1].name == name)
			return &o->v.v[i - 1];
	return NULL;
}

static uint64_t number_of(const struct options *o, int name, uint64_t fallback)
{
	const struct option *found = option_of(o, name);

	return found ? found->number : fallback;
}

static int check_features(uint64_t features)
{
	if (features & ~FEATURES_ALL)
		return -ENOSYS;
	if (features & FEATURES_OF_LIBRARY)
		return -EINVAL;
	if (features & RBD_FEATURE_OBJECT_MAP && !(features & RBD_FEATURE_EXCLUSIVE_LOCK))
		return -EINVAL;
	if (features & RBD_FEATURE_FAST_DIFF && !(features & RBD_FEATURE_OBJECT_MAP))
		return -EINVAL;
	return 0;
}

static int check_options(const struct fake_io *io, const struct options *o, uint64_t features)
{
	uint64_t order = number_of(o, RBD_IMAGE_OPTION_ORDER, ORDER_DEFAULT);
	uint64_t unit = number_of(o, RBD_IMAGE_OPTION_STRIPE_UNIT, 0);
	uint64_t count = number_of(o, RBD_IMAGE_OPTION_STRIPE_COUNT, 0);
	const struct option *pool = option_of(o, RBD_IMAGE_OPTION_DATA_POOL);

	if (order < 12 || order > 25)
		return -EDOM;
	if (!unit != !count)
		return -EINVAL;
	if (unit && (UINT64_C(1) << order) % unit != 0)
		return -EINVAL;
	if (pool) {
		bool has = false;

		for (size_t i = 0; i < io->conn->cluster->pools.n; i++)
			has |= str_is_equal(io->conn->cluster->pools.v[i]->name, pool->text);
		if (!has)
			return -ENOENT;
	}
	return check_features(features);
}

static struct fake_image *add_image(struct fake_io *io, const char *name, uint64_t size,
				    uint64_t features, const struct options *o)
{
	struct fake_image *image = xcalloc(1, sizeof(*image));
	int64_t now_ns = clock_wall_ns();

	image->pool = io->pool;
	image->ns = xstrdup(io->ns);
	image->name = xstrdup(name);
	image->id = xasprintf("%llx%llx", (unsigned long long)io->conn->client,
			      (unsigned long long)fake_ceph_id(io->conn->cluster));
	image->size = size;
	image->features = features;
	image->order = (unsigned)number_of(o, RBD_IMAGE_OPTION_ORDER, ORDER_DEFAULT);
	image->created = (struct timespec){ now_ns / NS_PER_S, (long)(now_ns % NS_PER_S) };
	vec_push(&io->pool->images, image);
	return image;
}

static int create4(rados_ioctx_t handle, const char *name, uint64_t size, rbd_image_options_t opts)
{
	struct fake_io *io = handle;
	const struct options *o = opts;
	uint64_t features = number_of(o, RBD_IMAGE_OPTION_FEATURES, FEATURES_DEFAULT);
	int rc = fake_ceph_enter(io->conn, FAKE_GROW);

	if (fake_ceph_died_within() && !fake_image_find(io->pool, io->ns, name))
		add_image(io, name, size, features, o)->is_half = true;
	if (rc == 0)
		rc = !*name ? -EINVAL : check_options(io, o, features);
	if (rc == 0 && fake_image_find(io->pool, io->ns, name))
		rc = -EEXIST;
	if (rc == 0)
		(void)add_image(io, name, size, features, o);
	return fake_ceph_leave(rc);
}

static void copy_meta(struct fake_image *to, const struct fake_image *from)
{
	for (size_t i = 0; i < from->meta.n; i++)
		vec_push(&to->meta,
			 ((struct fake_pair){ xstrdup(from->meta.v[i].key),
					      xstrdup(from->meta.v[i].value), from->meta.v[i].n }));
}

static int clone_snap(struct fake_image *parent, const struct fake_snap *snap, struct fake_io *io,
		      const char *name, const struct options *o, bool is_half)
{
	uint64_t features = number_of(o, RBD_IMAGE_OPTION_FEATURES, parent->features);
	struct fake_image *child;
	int rc;

	if (!(parent->features & features & RBD_FEATURE_LAYERING))
		return -ENOSYS;
	/* Without it, the cluster's oldest client decides, which is format 1 on a new cluster: and
	 * nothing is protected here. */
	if (number_of(o, RBD_IMAGE_OPTION_CLONE_FORMAT, 1) != 2)
		return -EINVAL;
	rc = check_options(io, o, features);
	if (rc < 0)
		return rc;
	if (fake_image_find(io->pool, io->ns, name))
		return -EEXIST;
	child = add_image(io, name, snap->size, features, o);
	if (!is_half) {
		child->parent = (struct fake_parent){ parent, snap->id, snap->size };
		copy_meta(child, parent);
	}
	return 0;
}

/* Killed within, there is a child without a parent: as large as it is to be, and empty. */
static int clone3(rados_ioctx_t p_handle, const char *p_name, const char *p_snap,
		  rados_ioctx_t c_handle, const char *c_name, rbd_image_options_t opts)
{
	struct fake_io *p_io = p_handle, *io = c_handle;
	int rc = fake_ceph_enter(io->conn, FAKE_GROW);
	bool is_half = fake_ceph_died_within();
	struct fake_image *parent = NULL;
	struct fake_snap *snap = NULL;

	if (rc == 0 || is_half) {
		parent = fake_image_find(p_io->pool, p_io->ns, p_name);
		snap = parent && !parent->is_half ? fake_snap_find_user(parent, p_snap) : NULL;
		if (snap && is_half)
			(void)clone_snap(parent, snap, io, c_name, opts, true);
	}
	if (rc == 0)
		rc = snap ? clone_snap(parent, snap, io, c_name, opts, false) : -ENOENT;
	return fake_ceph_leave(rc);
}

void fake_ceph_fill_make(struct ceph_lib *lib)
{
	lib->rbd_image_options_create = options_create;
	lib->rbd_image_options_destroy = options_destroy;
	lib->rbd_image_options_set_uint64 = options_set_uint64;
	lib->rbd_image_options_set_string = options_set_string;
	lib->rbd_create4 = create4;
	lib->rbd_clone3 = clone3;
}
