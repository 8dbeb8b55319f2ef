/* SPDX-License-Identifier: Apache-2.0 */
/* The backend of images. Most of what an instance is all kinds of Ceph are: ceph/elsewhere.h. */
#include "backend/rbd/rbd.h"

#include <stdio.h>
#include <stdlib.h>

#include "backend/rbd/image.h"
#include "backend/rbd/stash.h"
#include "base/mem.h"
#include "base/str.h"
#include "volume/size.h"

/* What a process can alone that stages. */
#define IMAGES_STAGING (BACKEND_ATTACH | BACKEND_NOTES | BACKEND_DIRECT)

static void images_close(struct backend *b)
{
	struct images *images = images_of(b);

	ceph_elsewhere_done(&images->ceph);
	free(images);
}

/* Whatever the cluster: one that is not configured is no reason to say that a volume is gone. A
 * handle of another version is refused by the call, for the same reason. */
static int images_resolve(const struct backend *b, enum vol_kind kind, const char *id,
			  char ret_token[VOL_TOKEN_MAX], struct err *err)
{
	struct ceph_handle handle;

	if (kind == VOL_KIND_GROUP || strlen(id) >= VOL_TOKEN_MAX)
		return err_set(err, ERR_NOT_FOUND, "'%.128s' is no handle of Ceph's", id);
	if (ceph_handle_parse(id, &handle, err) < 0 && err->code != ERR_FAILED_PRECONDITION)
		return -1;
	memcpy(ret_token, id, strlen(id) + 1);
	return 0;
}

/* Connections that nobody has used for some minutes. */
static int images_tend(struct backend *b, struct ctx *ctx, struct err *err)
{
	if (ctx_check(ctx, err) < 0)
		return -1;
	ceph_conns_sweep(images_of(b)->ceph.conns);
	return 0;
}

static const struct backend_ops images_ops = {
	.name = "rbd",
	.close = images_close,
	.info = ceph_elsewhere_info,
	.create = image_create,
	.remove = image_remove,
	.grow = image_grow,
	.modify = image_modify,
	.stat = image_stat,
	.each = ceph_elsewhere_each,
	.each_here = image_each_here,
	.attach = image_attach,
	.find_device = image_find_device,
	.detach = image_detach,
	.staging_take = image_staging_take,
	.staging_forget = image_staging_forget,
	.find_reader = image_find_reader,
	.drop_reader = image_drop_reader,
	.settle = image_settle,
	.note_get = image_note_get,
	.note_set = image_note_set,
	.resolve = images_resolve,
	.format_id = ceph_elsewhere_format_id,
	.publish = image_publish,
	.unpublish = image_unpublish,
	.snapshot_create = image_snapshot_create,
	.snapshot_remove = image_snapshot_remove,
	.snapshot_stat = image_snapshot_stat,
	.snapshot_each = ceph_elsewhere_snapshot_each,
	.allocated = image_snapshot_allocated,
	.changed = image_snapshot_changed,
	.tend = images_tend,
};

struct backend *images_new(const struct backend_config *config, const struct ceph_lib *lib)
{
	const struct backend_ceph_config *ceph = &config->ceph;
	struct images *images = xcalloc(1, sizeof(*images));

	ceph_elsewhere_init(&images->ceph, &rbd_kind, &images_ops, IMAGES_STAGING, config, lib);
	images->soft_depth = ceph->soft_depth ? ceph->soft_depth : IMAGE_SOFT_DEPTH;
	images->hard_depth = ceph->hard_depth ? ceph->hard_depth : IMAGE_HARD_DEPTH;
	images->max_snapshots = ceph->max_snapshots ? ceph->max_snapshots : IMAGE_MAX_SNAPSHOTS;
	return &images->ceph.base;
}

static int images_open(struct ctx *ctx, const struct backend_config *config,
		       const struct registry *others, struct backend **ret_backend, struct err *err)
{
	(void)others;
	if (ctx_check(ctx, err) < 0)
		return -1;
	*ret_backend = images_new(config, NULL);
	return 0;
}

const struct backend_kind rbd_kind = {
	.name = "rbd",
	.caps = BACKEND_ELSEWHERE | BACKEND_GROW | BACKEND_SNAPSHOT | BACKEND_CLONE |
		BACKEND_CHANGED_BLOCKS | BACKEND_FENCE | BACKEND_MODIFY | IMAGES_STAGING,
	.lane = BACKEND_LANE_REMOTE,
	.configure = ceph_elsewhere_configure,
	.open = images_open,
};
