/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CSI_VALIDATE_H
#define CSI_VALIDATE_H

#include "csi/service.h"

/*
 * The limits of CSI 1.13 ("Field Requirements") and of the messages themselves, before anything is
 * looked up or made; for calls that have no function here fields_check is all. Every refusal is
 * INVALID_ARGUMENT that begins with the field's name and says the limit. Whether a volume can do
 * what is asked is decided later, with volume/ and the backend.
 *
 * Paths (but volume_path, where one that is not clean names no volume, which is NOT_FOUND and not
 * said here) are absolute and clean: no "." or ".." part, no double or trailing slash, no control
 * character, shorter than PATH_MAX.
 */
int validate_capability(const struct vol_capability *cap, struct err *err);
/* Whether an OPTIONAL one is there. */
bool validate_is_capability_said(const struct vol_capability *cap);

int validate_create_volume(const struct csi_create_volume_request *req, struct err *err);
int validate_controller_publish(const struct csi_controller_publish_volume_request *req,
				struct err *err);
int validate_controller_expand(const struct csi_controller_expand_volume_request *req,
			       struct err *err);
int validate_node_expand(const struct csi_node_expand_volume_request *req, struct err *err);
int validate_create_snapshot(const struct csi_create_snapshot_request *req, struct err *err);
int validate_create_group(const struct csi_create_volume_group_snapshot_request *req,
			  struct err *err);
int validate_validate(const struct csi_validate_volume_capabilities_request *req, struct err *err);
int validate_get_capacity(const struct csi_get_capacity_request *req, struct err *err);
int validate_stage(const struct csi_node_stage_volume_request *req, struct err *err);
int validate_unstage(const struct csi_node_unstage_volume_request *req, struct err *err);
int validate_publish(const struct csi_node_publish_volume_request *req, struct err *err);
int validate_unpublish(const struct csi_node_unpublish_volume_request *req, struct err *err);

/* Options of the driver: GetPluginInfo.name and NodeGetInfo.node_id. */
int validate_driver_name(const char *name, struct err *err);
int validate_node_id(const char *node_id, struct err *err);

#endif
