/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a volume is staged: at the path that the CO gives, or, where its handles are another
 * driver's as well, in a directory or file of its name below, as that driver does it. All of csi/
 * but this works with the place and not with the CO's path, which says nothing of a mount then.
 *
 * The place is made before the mount and goes after the device. What is left of it by a kill is
 * found by the next NodeStage or NodeUnstage, which look for nothing but the name.
 */
#include "base/mem.h"
#include "base/path.h"
#include "csi/driver-internal.h"

int node_place_of(const struct csi_ref *ref, struct arena *a, const char *volume_id,
		  const char *staging, struct node_place *ret_place, struct err *err)
{
	if (!ref->pool || !ref->pool->ops->staging_take) {
		*ret_place = (struct node_place){ .path = staging };
		return 0;
	}
	if (!path_is_name(volume_id))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "volume_id: '%.128s' is no name of a directory", volume_id);
	*ret_place = (struct node_place){ .path = arena_printf(a, "%s/%s", staging, volume_id),
					  .dir = staging };
	return 0;
}

int node_place_look(const struct csi_ref *ref, struct arena *a, const char *volume_id,
		    const char **path, struct err *err)
{
	struct node_place place;
	struct host_mount_at at;

	if (node_place_of(ref, a, volume_id, *path, &place, err) < 0)
		return -1;
	if (!place.dir)
		return 0;
	if (host_mount_look(place.dir, &at, err) < 0)
		return -1;
	if (!at.is_dir || at.is_mount_root)
		return 0;
	if (host_mount_look(place.path, &at, err) < 0)
		return -1;
	if (at.is_mount_root)
		*path = place.path;
	return 0;
}

int node_place_make(const struct node_place *place, bool is_block, struct err *err)
{
	bool is_made;

	return place->dir ? host_mount_make_target(place->path, !is_block, &is_made, err) : 0;
}

int node_place_clear(const struct csi_ref *ref, struct ctx *ctx, const struct node_place *place,
		     struct err *err)
{
	if (!place->dir)
		return 0;
	if (host_mount_remove_target(place->path, err) < 0)
		return -1;
	return backend_staging_forget(ref->pool, ctx, place->dir, err);
}
