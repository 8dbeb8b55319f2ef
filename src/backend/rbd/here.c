/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How images that are attached here are found and go. This asks the machine alone: a cluster that
 * is away, has left config.json or refuses the key keeps no mount and no device, and no call here
 * has a secret to ask with.
 *
 * A mapped image is known by cluster, pool and name, and where the record of that was lost
 * (state.h), by pool and the UUID at the end of the name, which nobody else gives an image. The
 * pool is the handle's, or the one that cluster-mapping.json led to when it was attached, which the
 * record has (or of what ceph-csi has attached, the kernel); without one it is asked of that file,
 * where the kernel has nothing of the handle's.
 */
#include "backend/rbd/here.h"

#include <string.h>

#include "backend/rbd/served.h"
#include "host/fs.h"

static int read_attached(const struct images *images, const char *token,
			 struct image_attached *ret_how, struct err *err)
{
	char text[IMAGE_ATTACHED_MAX];

	*ret_how = (struct image_attached){ .image = "" };
	if (image_state_get(images, token, IMAGE_ATTACHED, text, sizeof(text), err) < 0)
		return -1;
	if (image_attached_parse(text, ret_how) < 0)
		*ret_how = (struct image_attached){ .image = "" };
	return 0;
}

/* Where cluster-mapping.json leads to; if that cannot be read, nowhere. */
static int find_elsewhere(const struct images *images, const struct ceph_handle *handle,
			  struct host_krbd *ret_dev, struct err *err)
{
	struct ceph_candidates all;
	int rc = 0;

	ceph_config_candidates(images->ceph.config, CEPH_MAPPED_POOLS, handle, &all);
	for (size_t i = 1; i < all.n && rc == 0; i++)
		if (all.v[i].pool_id != handle->pool_id)
			rc = host_krbd_find_ending(all.v[i].pool_id, handle->uuid, ret_dev, err);
	return rc;
}

int image_here_find_mapped(const struct images *images, const struct ceph_handle *handle,
			   const struct image_attached *how, struct host_krbd *ret_dev,
			   struct err *err)
{
	int64_t pool_id = how->is_mapped ? how->pool_id : handle->pool_id;
	int rc = how->image[0] ? host_krbd_find(how->fsid, pool_id, how->image, ret_dev, err) : 0;

	if (rc == 0)
		rc = host_krbd_find_ending(pool_id, handle->uuid, ret_dev, err);
	/* what was attached from the handle's own pool is there or not at all */
	return rc == 0 && !how->is_mapped && !how->fsid[0]
		       ? find_elsewhere(images, handle, ret_dev, err)
		       : rc;
}

void image_here_fill(const struct host_krbd *dev, const struct vol_limits *limits,
		     struct backend_device *ret_dev)
{
	/* direct I/O is the kernel's own there */
	*ret_dev = (struct backend_device){ .devno = dev->devno,
					    .is_direct = true,
					    .is_read_only = dev->is_read_only,
					    .limits = *limits };
	memcpy(ret_dev->path, dev->path, sizeof(ret_dev->path));
}

int image_here_look(struct images *images, struct ctx *ctx, const char *token,
		    struct image_here *ret_here, struct err *err)
{
	struct image_here here = { .is_mapped = false };
	int rc;

	if (ctx_check(ctx, err) < 0 || ceph_handle_parse(token, &here.handle, err) < 0 ||
	    read_attached(images, token, &here.how, err) < 0)
		return -1;
	rc = image_here_find_mapped(images, &here.handle, &here.how, &here.mapped, err);
	if (rc < 0)
		return -1;
	here.is_mapped = rc > 0;
	*ret_here = here;
	return 0;
}

int image_find_device(struct backend *b, struct ctx *ctx, const char *token,
		      struct backend_device *ret_dev, struct err *err)
{
	struct image_here here;
	int rc;

	if (image_here_look(images_of(b), ctx, token, &here, err) < 0)
		return -1;
	if (here.is_mapped) {
		image_here_fill(&here.mapped, &here.how.limits, ret_dev);
		return 0;
	}
	rc = served_find(images_of(b)->ceph.state_dir, token, ret_dev, err);
	if (rc == 0)
		return err_set(err, ERR_NOT_FOUND, "it is not attached");
	return rc < 0 ? -1 : 0;
}

int image_detach(struct backend *b, struct ctx *ctx, const char *token, struct err *err)
{
	struct images *images = images_of(b);
	struct image_here here;

	if (image_here_look(images, ctx, token, &here, err) < 0)
		return -1;
	if (here.is_mapped && host_krbd_unmap(ctx, &here.mapped, here.how.unmap_options, err) < 0)
		return -1;
	if (served_detach(ctx, images->ceph.state_dir, token, err) < 0)
		return -1;
	return image_state_set(images, token, IMAGE_ATTACHED, "", err);
}

struct walk {
	struct images *images;
	struct ctx *ctx;
	backend_each_fn fn;
	void *arg;
	bool has_failed;
	struct err err; /* the last one */
};

/* The kernel is asked where there are limits alone: it takes a look at all that it has mapped. 1,
 * or 0 where it is none of ours. */
static int look_at_limits(const struct walk *w, const char *token, struct vol_limits *ret_limits,
			  struct err *err)
{
	struct image_here here;
	struct image_attached how;

	*ret_limits = (struct vol_limits){ 0 };
	if (ceph_handle_parse(token, &here.handle, err) < 0)
		return 0;
	if (read_attached(w->images, token, &how, err) < 0)
		return -1;
	if (!how.image[0] || !vol_limits_are_set(&how.limits))
		return how.image[0] != '\0';
	if (image_here_look(w->images, w->ctx, token, &here, err) < 0)
		return -1;
	if (here.is_mapped)
		*ret_limits = here.how.limits;
	return 1;
}

/* One that cannot be looked at is left out, and the walk has failed in the end: who lifts what
 * nobody has must know that it did not see all. */
static int see_token(void *arg, const char *token, bool is_regular)
{
	struct walk *w = arg;
	struct backend_volume vol = { .allow_buffered = true };
	int rc;

	if (is_regular || strlen(token) >= sizeof(vol.token))
		return 0;
	rc = look_at_limits(w, token, &vol.limits, &w->err);
	w->has_failed |= rc < 0;
	if (rc <= 0)
		return 0;
	memcpy(vol.token, token, strlen(token) + 1);
	return w->fn(w->arg, &vol);
}

int image_each_here(struct backend *b, struct ctx *ctx, backend_each_fn fn, void *arg,
		    struct err *err)
{
	struct walk w = { .images = images_of(b), .ctx = ctx, .fn = fn, .arg = arg };
	autohostfd int fd = -1;

	if (ctx_check(ctx, err) < 0 || host_dir_open(w.images->ceph.state_dir, &fd, err) < 0)
		return -1;
	if (host_dir_each(fd, see_token, &w, err) < 0)
		return -1;
	if (w.has_failed)
		*err = w.err;
	return w.has_failed ? -1 : 0;
}

/* Nothing of ours keeps the device, so nothing has to be let go of. */
int image_settle(struct backend *b, struct ctx *ctx, const char *token, const char *mount_path,
		 struct err *err)
{
	(void)b;
	(void)token;
	(void)mount_path;
	return ctx_check(ctx, err);
}

int image_find_reader(struct backend *b, struct ctx *ctx, const char *token,
		      struct backend_device *ret_dev, struct err *err)
{
	(void)b;
	(void)ctx;
	(void)token;
	(void)ret_dev;
	return err_set(err, ERR_NOT_FOUND, "images have no second device for readers");
}

int image_drop_reader(struct backend *b, struct ctx *ctx, const char *token, struct err *err)
{
	(void)b;
	(void)token;
	return ctx_check(ctx, err);
}
