/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CSI_VALIDATE_H
#define CSI_VALIDATE_H

#include "csi/service.h"

/*
 * The limits of CSI 1.13 ("Field Requirements") and of the messages themselves, before anything is
 * looked up or made. Every refusal is INVALID_ARGUMENT that begins with the field's name and says
 * the limit. Whether a volume can do what is asked is decided later, with volume/ and the backend.
 */
#define CSI_STRING_MAX 128u
#define CSI_NODE_ID_MAX 256u
#define CSI_MAP_MAX 4096u
#define CSI_FLAGS_MAX 4096u
#define CSI_LIST_MAX 1000u /* elements of a repeated field; not in the specification */

int validate_volume_id(const char *volume_id, struct err *err);
/* Absolute and clean: no "." or ".." part, no double or trailing slash, no control character,
 * shorter than PATH_MAX. */
int validate_path(const char *field, const char *path, struct err *err);
int validate_capability(const struct vol_capability *cap, struct err *err);

int validate_create_volume(const struct csi_create_volume *req, struct err *err);
int validate_delete_volume(const char *volume_id, const struct secrets *secrets, struct err *err);
int validate_validate(const struct csi_validate *req, struct err *err);
int validate_list_volumes(const char *starting_token, struct err *err);
int validate_get_capacity(const struct csi_get_capacity *req, struct err *err);
int validate_stage(const struct csi_stage *req, struct err *err);
int validate_unstage(const char *volume_id, const char *staging_target_path, struct err *err);
int validate_publish(const struct csi_publish *req, struct err *err);
int validate_unpublish(const char *volume_id, const char *target_path, struct err *err);
/* volume_path is only required: one that is not a clean path names no volume, which is NOT_FOUND
 * and not said here. */
int validate_stats(const char *volume_id, const char *volume_path, const char *staging_target_path,
		   struct err *err);

/* Options of the driver: GetPluginInfo.name and NodeGetInfo.node_id. */
int validate_driver_name(const char *name, struct err *err);
int validate_node_id(const char *node_id, struct err *err);

#endif
