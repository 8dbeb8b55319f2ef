/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls of librbd on one image, with the words that make an error of theirs understood.
 *
 * An image that cannot be opened need not be gone: so librbd answers as well while one of its
 * parents is just being flattened, and what is left of a killed rbd_create4 has the name and
 * nothing else. Whether the name is there says the object that gives it an id.
 *
 * Looking opens the image read-only: such a handle is no watcher, so whoever watches is somebody
 * else. A parent in the trash has lost its name, so parents are followed by their ids.
 *
 * Clones are of the second format: their snapshot needs no protection, and when it is removed while
 * clones use it, it goes to the trash of its image and from there when the last of them goes.
 */
#include "backend/rbd/image.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/vec.h"

#define SNAPS_GUESS 64
#define WATCHERS_GUESS 16
#define TRIES 8 /* for a list that grows meanwhile */
#define AGAIN_MS 200
#define BRANCHES 3

const struct image_shape image_shape_hidden = {
	.features = CEPH_RBD_LAYERING | CEPH_RBD_DEEP_FLATTEN,
	.data_pool = "",
};

const char *image_spec(const struct image_place *p, const char *name)
{
	const char *ns = p->cluster.rados_namespace;
	char pool[256] = "";

	if (p->lib->rados_ioctx_get_pool_name(p->io, pool, sizeof(pool)) < 0)
		(void)snprintf(pool, sizeof(pool), "%lld", (long long)p->pool_id);
	return arena_printf(p->ctx->arena, "%s%s%s/%s", pool, *ns ? "/" : "", ns, name);
}

static int failed(const struct image_place *p, int rc, const char *verb, const char *name,
		  struct err *err)
{
	return ceph_conn_failed(p->conn, rc, err, "%s image '%s'", verb, image_spec(p, name));
}

static int look_at_snaps(const struct image_place *p, rbd_image_t open, struct image_look *look)
{
	rbd_snap_info_t *list = NULL;
	struct image_snap *snaps;
	int max = SNAPS_GUESS;
	int n = -ERANGE;

	for (int i = 0; i < TRIES && n == -ERANGE; i++) {
		free(list);
		list = xcalloc((size_t)max + 1, sizeof(*list));
		n = p->lib->rbd_snap_list(open, list, &max);
	}
	if (n > 0) {
		snaps = arena_array(p->ctx->arena, (size_t)n, sizeof(*snaps));
		for (int i = 0; i < n; i++) {
			rbd_snap_namespace_type_t type = RBD_SNAP_NAMESPACE_TYPE_TRASH;
			struct timespec created = { 0 };

			(void)p->lib->rbd_snap_get_namespace_type(open, list[i].id, &type);
			(void)p->lib->rbd_snap_get_timestamp(open, list[i].id, &created);
			snaps[i] = (struct image_snap){
				.name = arena_strdup(p->ctx->arena, list[i].name),
				.is_user = type == RBD_SNAP_NAMESPACE_TYPE_USER,
				.bytes = list[i].size,
				.created_ns = created.tv_sec * NS_PER_S + created.tv_nsec,
			};
		}
		look->snaps = snaps;
		look->n_snaps = (size_t)n;
	}
	if (n >= 0)
		p->lib->rbd_snap_list_end(list);
	free(list);
	return n < 0 ? n : 0;
}

static int look_at_watchers(const struct image_place *p, rbd_image_t open, struct image_look *look)
{
	rbd_image_watcher_t *list = NULL;
	size_t max = WATCHERS_GUESS;
	int rc = -ERANGE;

	for (int i = 0; i < TRIES && rc == -ERANGE; i++) {
		free(list);
		list = xcalloc(max + 1, sizeof(*list));
		rc = p->lib->rbd_watchers_list(open, list, &max);
	}
	if (rc == 0) {
		if (max > 0)
			look->watcher = arena_strdup(p->ctx->arena, list[0].addr);
		p->lib->rbd_watchers_list_cleanup(list, max);
	}
	free(list);
	return rc;
}

static int look_at_parent(const struct image_place *p, rbd_image_t open, struct image_look *look)
{
	rbd_linked_image_spec_t parent;
	rbd_snap_spec_t snap;
	int rc = p->lib->rbd_get_parent(open, &parent, &snap);

	look->parent = look->parent_id = look->parent_ns = "";
	look->is_parent_in_trash = false;
	if (rc < 0)
		return rc == -ENOENT ? 0 : rc;
	look->parent = arena_strdup(p->ctx->arena, str_or(parent.image_name, ""));
	look->parent_id = arena_strdup(p->ctx->arena, str_or(parent.image_id, ""));
	look->parent_ns = arena_strdup(p->ctx->arena, str_or(parent.pool_namespace, ""));
	look->parent_pool = parent.pool_id;
	look->is_parent_in_trash = parent.trash;
	p->lib->rbd_linked_image_spec_cleanup(&parent);
	p->lib->rbd_snap_spec_cleanup(&snap);
	return 0;
}

/* "" also of one that is too long to be ours. */
static int look_at_word(const struct image_place *p, rbd_image_t open, const char *key,
			const char **ret_value)
{
	char value[VOL_TOKEN_MAX];
	size_t n = sizeof(value) - 1;
	int rc = p->lib->rbd_metadata_get(open, key, value, &n);

	*ret_value = "";
	if (rc < 0)
		return rc == -ENOENT || rc == -ERANGE ? 0 : rc;
	value[sizeof(value) - 1] = '\0';
	*ret_value = arena_strdup(p->ctx->arena, value);
	return 0;
}

static int look_at(const struct image_place *p, rbd_image_t open, unsigned ask,
		   struct image_look *look)
{
	struct timespec created = { 0 };
	int rc = p->lib->rbd_get_id(open, look->id, sizeof(look->id));

	if (rc == 0)
		rc = p->lib->rbd_get_size(open, &look->bytes);
	if (rc == 0)
		rc = p->lib->rbd_get_create_timestamp(open, &created);
	if (rc == 0)
		rc = look_at_parent(p, open, look);
	if (rc == 0)
		rc = look_at_snaps(p, open, look);
	if (rc == 0 && (ask & IMAGE_ASK_WATCHER))
		rc = look_at_watchers(p, open, look);
	if (rc == 0 && (ask & IMAGE_ASK_SOURCE))
		rc = look_at_word(p, open, IMAGE_SOURCE_WORD, &look->made_of);
	if (rc == 0 && (ask & IMAGE_ASK_LIMITS))
		rc = image_limits_get(p, look->id, &look->limits);
	if (rc == 0 && (ask & IMAGE_ASK_GIVEN_UP))
		rc = look_at_word(p, open, IMAGE_GIVEN_UP_WORD, &look->given_up);
	look->created_ns = created.tv_sec * NS_PER_S + created.tv_nsec;
	return rc;
}

int image_refuse_missing(const struct image_place *p, const char *name, struct err *err)
{
	const char *object = arena_printf(p->ctx->arena, "rbd_id.%s", name);
	uint64_t bytes;
	time_t changed;
	int rc;

	if (ctx_check(p->ctx, err) < 0)
		return -1;
	rc = p->lib->rados_stat(p->io, object, &bytes, &changed);
	if (rc == 0)
		return err_os(err, ERR_ABORTED, ENOENT,
			      "image '%s' is there and cannot be opened now, while one of its "
			      "parents is being flattened; try again",
			      image_spec(p, name));
	return failed(p, rc, "look at", name, err);
}

int image_look(const struct image_place *p, const char *name, unsigned ask,
	       struct image_look *ret_look, struct err *err)
{
	struct image_look look = { .watcher = "", .made_of = "", .given_up = "" };
	rbd_image_t open;
	int rc;

	if (ctx_check(p->ctx, err) < 0)
		return -1;
	rc = p->lib->rbd_open_read_only(p->io, name, &open, NULL);
	if (rc == -ENOENT)
		return image_refuse_missing(p, name, err);
	if (rc < 0)
		return failed(p, rc, "look at", name, err);
	rc = look_at(p, open, ask, &look);
	(void)p->lib->rbd_close(open); /* nothing was changed */
	if (rc == -ENOENT)
		return image_refuse_missing(p, name, err);
	if (rc < 0)
		return failed(p, rc, "look at", name, err);
	*ret_look = look;
	return 0;
}

int image_look_maybe(const struct image_place *p, const char *name, unsigned ask,
		     struct image_look *ret_look, struct err *err)
{
	if (image_look(p, name, ask, ret_look, err) == 0)
		return 1;
	return err->code == ERR_NOT_FOUND ? 0 : -1;
}

int image_look_begun(const struct image_place *p, const char *name, unsigned ask,
		     struct image_look *ret_look, struct err *err)
{
	int found = image_look_maybe(p, name, ask, ret_look, err);

	return found < 0 && err->code == ERR_ABORTED && err->os == ENOENT ? 0 : found;
}

const struct image_snap *image_find_snap(const struct image_look *look, const char *name)
{
	for (size_t i = 0; i < look->n_snaps; i++) {
		if (look->snaps[i].is_user && str_is_equal(look->snaps[i].name, name))
			return &look->snaps[i];
	}
	return NULL;
}

bool image_has_snap(const struct image_look *look, const char *name)
{
	return image_find_snap(look, name);
}

int image_look_further(const struct image_place *p, struct image_look *look, struct err *err)
{
	rados_ioctx_t io;
	rbd_image_t open;
	int rc;

	if (ctx_check(p->ctx, err) < 0 ||
	    ceph_conn_open_pool_id(p->conn, look->parent_pool, look->parent_ns, &io, err) < 0)
		return -1;
	rc = p->lib->rbd_open_by_id_read_only(io, look->parent_id, &open, NULL);
	if (rc == 0) {
		rc = look_at_parent(p, open, look);
		(void)p->lib->rbd_close(open);
	} else if (rc == -ENOENT) {
		look->parent_id = ""; /* flattened and removed meanwhile */
		look->is_parent_in_trash = false;
		rc = 0;
	}
	p->lib->rados_ioctx_destroy(io);
	return rc < 0 ? ceph_conn_failed(p->conn, rc, err, "look at the parents of an image") : 0;
}

int image_depth(const struct image_place *p, const struct image_look *look, unsigned *ret_depth,
		struct err *err)
{
	struct image_look at = *look;
	unsigned depth = 0;

	while (*at.parent_id && depth <= p->images->hard_depth) {
		depth++;
		if (image_look_further(p, &at, err) < 0)
			return -1;
	}
	*ret_depth = depth;
	return 0;
}

int image_open(const struct image_place *p, const char *name, struct image *ret_image,
	       struct err *err)
{
	rbd_image_t open;
	int rc;

	if (ctx_check(p->ctx, err) < 0)
		return -1;
	rc = p->lib->rbd_open(p->io, name, &open, NULL);
	if (rc == -ENOENT)
		return image_refuse_missing(p, name, err);
	if (rc < 0)
		return failed(p, rc, "open", name, err);
	*ret_image = (struct image){ p, name, open };
	return 0;
}

/* What was changed is there already: each change is an operation of its own. */
void image_close(struct image *image)
{
	(void)image->place->lib->rbd_close(image->open);
}

int image_look_open(const struct image *image, struct image_look *ret_look, struct err *err)
{
	struct image_look look = { .watcher = "", .made_of = "", .given_up = "" };
	int rc;

	if (ctx_check(image->place->ctx, err) < 0)
		return -1;
	rc = look_at(image->place, image->open, 0, &look);
	if (rc < 0)
		return failed(image->place, rc, "look at", image->name, err);
	*ret_look = look;
	return 0;
}

int image_snap(const struct image *image, const char *snap, struct err *err)
{
	int rc;

	if (ctx_check(image->place->ctx, err) < 0)
		return -1;
	rc = image->place->lib->rbd_snap_create(image->open, snap);
	return rc < 0 ? failed(image->place, rc, "snapshot", image->name, err) : 0;
}

int image_drop_snap(const struct image *image, const char *snap, struct err *err)
{
	int rc;

	if (ctx_check(image->place->ctx, err) < 0)
		return -1;
	rc = image->place->lib->rbd_snap_remove(image->open, snap);
	return rc < 0 && rc != -ENOENT
		       ? failed(image->place, rc, "remove the snapshot of", image->name, err)
		       : 0;
}

int image_resize(const struct image *image, uint64_t bytes, uint64_t *ret_bytes, struct err *err)
{
	const struct ceph_lib *lib = image->place->lib;
	uint64_t now = 0;
	int rc = lib->rbd_get_size(image->open, &now);

	if (ctx_check(image->place->ctx, err) < 0)
		return -1;
	if (rc == 0 && now < bytes)
		rc = lib->rbd_resize(image->open, bytes);
	if (rc < 0)
		return failed(image->place, rc, "grow", image->name, err);
	*ret_bytes = now < bytes ? bytes : now;
	return 0;
}

static int set_numbers(const struct ceph_lib *lib, rbd_image_options_t opts,
		       const struct image_shape *shape, bool is_clone)
{
	uint64_t features = shape->features | (shape->stripe_unit ? CEPH_RBD_STRIPINGV2 : 0);
	uint64_t order = shape->object_size ? (uint64_t)__builtin_ctzll(shape->object_size) : 0;
	const struct {
		int option;
		uint64_t value; /* 0: the library's own */
	} all[] = {
		{ RBD_IMAGE_OPTION_FEATURES, features },
		{ RBD_IMAGE_OPTION_ORDER, order },
		{ RBD_IMAGE_OPTION_STRIPE_UNIT, shape->stripe_unit },
		{ RBD_IMAGE_OPTION_STRIPE_COUNT, shape->stripe_count },
		{ RBD_IMAGE_OPTION_CLONE_FORMAT, is_clone ? 2 : 0 },
	};
	int rc = 0;

	for (size_t i = 0; i < ARRAY_LEN(all) && rc == 0; i++) {
		if (all[i].value)
			rc = lib->rbd_image_options_set_uint64(opts, all[i].option, all[i].value);
	}
	return rc;
}

static int make_options(const struct image_place *p, const struct image_shape *shape, bool is_clone,
			rbd_image_options_t *ret_opts, struct err *err)
{
	rbd_image_options_t opts;
	int rc;

	p->lib->rbd_image_options_create(&opts);
	rc = set_numbers(p->lib, opts, shape, is_clone);
	if (rc == 0 && *shape->data_pool)
		rc = p->lib->rbd_image_options_set_string(opts, RBD_IMAGE_OPTION_DATA_POOL,
							  shape->data_pool);
	if (rc < 0) {
		p->lib->rbd_image_options_destroy(opts);
		return ceph_conn_failed(p->conn, rc, err, "options of an image");
	}
	*ret_opts = opts;
	return 0;
}

int image_make(const struct image_place *p, const char *name, uint64_t bytes,
	       const struct image_shape *shape, struct err *err)
{
	rbd_image_options_t opts;
	int rc;

	if (ctx_check(p->ctx, err) < 0 || make_options(p, shape, false, &opts, err) < 0)
		return -1;
	rc = p->lib->rbd_create4(p->io, name, bytes, opts);
	p->lib->rbd_image_options_destroy(opts);
	return rc < 0 ? failed(p, rc, "make", name, err) : 0;
}

void image_wait_a_moment(const struct image_place *p)
{
	struct pollfd fd = { .fd = ctx_cancel_fd(p->ctx), .events = POLLIN };

	(void)poll(&fd, 1, ctx_poll_ms(p->ctx, AGAIN_MS));
}

int image_clone(const struct image_place *from, const char *parent, const char *snap,
		const struct image_place *p, const char *name, const struct image_shape *shape,
		struct err *err)
{
	rbd_image_options_t opts;
	bool is_over = false;
	int rc = -ENOENT;

	if (make_options(p, shape, true, &opts, err) < 0)
		return -1;
	for (int i = 0; i < IMAGE_TRIES && rc == -ENOENT && !is_over; i++) {
		if (i > 0)
			image_wait_a_moment(p);
		is_over = ctx_check(p->ctx, err) < 0;
		if (!is_over)
			rc = p->lib->rbd_clone3(from->io, parent, snap, p->io, name, opts);
	}
	p->lib->rbd_image_options_destroy(opts);
	if (is_over)
		return -1;
	if (rc == -ENOENT)
		return err_os(
			err, ERR_ABORTED, ENOENT,
			"image '%s' or one of its parents is just being flattened or removed; "
			"try again",
			image_spec(from, parent));
	return rc < 0 ? ceph_conn_failed(p->conn, rc, err, "clone '%s@%s' to '%s'",
					 image_spec(from, parent), snap, image_spec(p, name))
		      : 0;
}

/* A snapshot that was made just before the flattening of its image ended may have lost its parent,
 * and nothing can be cloned of it any more; the next one has none. */
int image_branch(const struct image *source, const char *snap, const struct image_place *p,
		 const char *name, const struct image_shape *shape, struct err *err)
{
	int rc = -1;

	for (int i = 0; i < BRANCHES && rc < 0; i++) {
		if ((i > 0 && image_drop_snap(source, snap, err) < 0) ||
		    image_snap(source, snap, err) < 0)
			return -1;
		rc = image_clone(source->place, source->name, snap, p, name, shape, err);
		if (rc < 0 && (err->code != ERR_ABORTED || err->os != ENOENT))
			return -1;
	}
	return rc < 0 ? -1 : image_drop_snap(source, snap, err);
}

int image_set_words(const struct image *image, const struct image_word *words, size_t n,
		    struct err *err)
{
	for (size_t i = 0; i < n; i++) {
		int rc = 0;

		if (ctx_check(image->place->ctx, err) < 0)
			return -1;
		if (*words[i].value)
			rc = image->place->lib->rbd_metadata_set(image->open, words[i].key,
								 words[i].value);
		if (rc < 0)
			return failed(image->place, rc, "write the metadata of", image->name, err);
	}
	return 0;
}

int image_get_word(const struct image *image, const char *key, const char **ret_value,
		   struct err *err)
{
	int rc;

	if (ctx_check(image->place->ctx, err) < 0)
		return -1;
	rc = look_at_word(image->place, image->open, key, ret_value);
	return rc < 0 ? failed(image->place, rc, "read the metadata of", image->name, err) : 0;
}
