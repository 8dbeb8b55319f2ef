/* SPDX-License-Identifier: Apache-2.0 */
/* The calls of service.h: a NULL in the table is UNIMPLEMENTED here, once, and not in every caller.
 */
#include "csi/service.h"

static int unimplemented(const char *method, struct err *err)
{
	return err_set(err, ERR_UNIMPLEMENTED, "%s is not offered by this driver", method);
}

uint64_t csi_link_changes(const struct csi_service *s)
{
	return s->ops->link_changes ? s->ops->link_changes(s->impl) : 0;
}

int csi_get_plugin_info(const struct csi_service *s, struct ctx *ctx, struct csi_plugin_info *ret,
			struct err *err)
{
	if (!s->ops->get_plugin_info)
		return unimplemented("GetPluginInfo", err);
	return s->ops->get_plugin_info(s->impl, ctx, ret, err);
}

int csi_get_plugin_capabilities(const struct csi_service *s, struct ctx *ctx,
				struct csi_plugin_capabilities *ret, struct err *err)
{
	if (!s->ops->get_plugin_capabilities)
		return unimplemented("GetPluginCapabilities", err);
	return s->ops->get_plugin_capabilities(s->impl, ctx, ret, err);
}

int csi_probe(const struct csi_service *s, struct ctx *ctx, bool *ret_ready, struct err *err)
{
	if (!s->ops->probe)
		return unimplemented("Probe", err);
	return s->ops->probe(s->impl, ctx, ret_ready, err);
}

int csi_controller_get_capabilities(const struct csi_service *s, struct ctx *ctx,
				    uint64_t *ret_caps, struct err *err)
{
	if (!s->ops->controller_get_capabilities)
		return unimplemented("ControllerGetCapabilities", err);
	return s->ops->controller_get_capabilities(s->impl, ctx, ret_caps, err);
}

int csi_create_volume(const struct csi_service *s, struct ctx *ctx,
		      const struct csi_create_volume *req, struct csi_volume *ret, struct err *err)
{
	if (!s->ops->create_volume)
		return unimplemented("CreateVolume", err);
	return s->ops->create_volume(s->impl, ctx, req, ret, err);
}

int csi_delete_volume(const struct csi_service *s, struct ctx *ctx, const char *volume_id,
		      const struct secrets *secrets, struct err *err)
{
	if (!s->ops->delete_volume)
		return unimplemented("DeleteVolume", err);
	return s->ops->delete_volume(s->impl, ctx, volume_id, secrets, err);
}

int csi_validate_volume_capabilities(const struct csi_service *s, struct ctx *ctx,
				     const struct csi_validate *req, struct csi_validated *ret,
				     struct err *err)
{
	if (!s->ops->validate_volume_capabilities)
		return unimplemented("ValidateVolumeCapabilities", err);
	return s->ops->validate_volume_capabilities(s->impl, ctx, req, ret, err);
}

int csi_list_volumes(const struct csi_service *s, struct ctx *ctx, uint32_t max_entries,
		     const char *starting_token, struct csi_volume_list *ret, struct err *err)
{
	if (!s->ops->list_volumes)
		return unimplemented("ListVolumes", err);
	return s->ops->list_volumes(s->impl, ctx, max_entries, starting_token, ret, err);
}

int csi_get_capacity(const struct csi_service *s, struct ctx *ctx,
		     const struct csi_get_capacity *req, struct csi_capacity *ret, struct err *err)
{
	if (!s->ops->get_capacity)
		return unimplemented("GetCapacity", err);
	return s->ops->get_capacity(s->impl, ctx, req, ret, err);
}

int csi_controller_get_volume(const struct csi_service *s, struct ctx *ctx, const char *volume_id,
			      struct csi_volume_status *ret, struct err *err)
{
	if (!s->ops->controller_get_volume)
		return unimplemented("ControllerGetVolume", err);
	return s->ops->controller_get_volume(s->impl, ctx, volume_id, ret, err);
}

int csi_node_get_capabilities(const struct csi_service *s, struct ctx *ctx, uint64_t *ret_caps,
			      struct err *err)
{
	if (!s->ops->node_get_capabilities)
		return unimplemented("NodeGetCapabilities", err);
	return s->ops->node_get_capabilities(s->impl, ctx, ret_caps, err);
}

int csi_node_get_info(const struct csi_service *s, struct ctx *ctx, struct csi_node_info *ret,
		      struct err *err)
{
	if (!s->ops->node_get_info)
		return unimplemented("NodeGetInfo", err);
	return s->ops->node_get_info(s->impl, ctx, ret, err);
}

int csi_node_stage_volume(const struct csi_service *s, struct ctx *ctx, const struct csi_stage *req,
			  struct err *err)
{
	if (!s->ops->node_stage_volume)
		return unimplemented("NodeStageVolume", err);
	return s->ops->node_stage_volume(s->impl, ctx, req, err);
}

int csi_node_unstage_volume(const struct csi_service *s, struct ctx *ctx, const char *volume_id,
			    const char *staging_target_path, struct err *err)
{
	if (!s->ops->node_unstage_volume)
		return unimplemented("NodeUnstageVolume", err);
	return s->ops->node_unstage_volume(s->impl, ctx, volume_id, staging_target_path, err);
}

int csi_node_publish_volume(const struct csi_service *s, struct ctx *ctx,
			    const struct csi_publish *req, struct err *err)
{
	if (!s->ops->node_publish_volume)
		return unimplemented("NodePublishVolume", err);
	return s->ops->node_publish_volume(s->impl, ctx, req, err);
}

int csi_node_unpublish_volume(const struct csi_service *s, struct ctx *ctx, const char *volume_id,
			      const char *target_path, struct err *err)
{
	if (!s->ops->node_unpublish_volume)
		return unimplemented("NodeUnpublishVolume", err);
	return s->ops->node_unpublish_volume(s->impl, ctx, volume_id, target_path, err);
}

int csi_node_get_volume_stats(const struct csi_service *s, struct ctx *ctx, const char *volume_id,
			      const char *volume_path, const char *staging_target_path,
			      struct csi_stats *ret, struct err *err)
{
	if (!s->ops->node_get_volume_stats)
		return unimplemented("NodeGetVolumeStats", err);
	return s->ops->node_get_volume_stats(s->impl, ctx, volume_id, volume_path,
					     staging_target_path, ret, err);
}
