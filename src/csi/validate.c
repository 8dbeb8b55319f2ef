/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checks of requests beyond what fields_check reads from their description: what CSI says in
 * words, and what this driver wants of paths.
 *
 * Control characters are refused in paths too, though the specification does not forbid them: no
 * kubelet makes such paths, and they would end in logs, in notes and in mountinfo.
 */
#include "csi/validate.h"

#include <inttypes.h>
#include <string.h>

#include "base/path.h"
#include "base/str.h"
#include "csi/fields.h"

/* U+0000–0008, 000B, 000C, 000E–001F and 007F–009F are banned in names; the last are 0xC2 0x80–0x9F
 * in UTF-8. */
static bool has_banned_char(const char *name)
{
	for (const unsigned char *p = (const unsigned char *)name; *p; p++) {
		if ((*p < 0x20 && *p != '\t' && *p != '\n' && *p != '\r') || *p == 0x7f)
			return true;
		if (*p == 0xc2 && p[1] >= 0x80 && p[1] <= 0x9f)
			return true;
	}
	return false;
}

static int validate_name(const char *name, struct err *err)
{
	if (has_banned_char(name))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "name: has a control character, which CSI does not allow in names");
	return 0;
}

static int validate_path(const char *field, const char *path, struct err *err)
{
	for (const unsigned char *p = (const unsigned char *)path; *p; p++) {
		if (*p < 0x20 || *p == 0x7f)
			return err_set(err, ERR_INVALID_ARGUMENT, "%s: has a control character",
				       field);
	}
	if (!path_is_clean(path) || str_is_equal(path, "/"))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "%s: '%.200s' is not an absolute path without '.', '..' and double "
			       "or trailing slashes",
			       field, path);
	return 0;
}

int validate_capability(const struct vol_capability *cap, struct err *err)
{
	if (cap->access == VOL_ACCESS_NONE)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "volume_capability.access_type: required, block or mount");
	if (cap->mode == VOL_MODE_UNKNOWN)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "volume_capability.access_mode: required and must not be UNKNOWN");
	if ((unsigned)cap->mode > VOL_MODE_SINGLE_NODE_MULTI_WRITER)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "volume_capability.access_mode.mode: unknown value %d",
			       (int)cap->mode);
	return 0;
}

bool validate_is_capability_said(const struct vol_capability *cap)
{
	return cap->access != VOL_ACCESS_NONE || cap->mode != VOL_MODE_UNKNOWN;
}

static int validate_capabilities(const struct vol_capability *caps, size_t n, struct err *err)
{
	for (size_t i = 0; i < n; i++) {
		if (validate_capability(&caps[i], err) < 0)
			return -1;
	}
	return 0;
}

static int validate_topologies(const char *field, const struct vol_topologies *topologies,
			       struct err *err)
{
	for (size_t i = 0; i < topologies->n; i++) {
		if (topologies->v[i].segments.n == 0)
			return err_set(err, ERR_INVALID_ARGUMENT, "%s.segments: required", field);
	}
	return 0;
}

static int validate_requirement(const struct csi_topology_requirement *topology, struct err *err)
{
	if (validate_topologies("accessibility_requirements.requisite", &topology->requisite, err) <
	    0)
		return -1;
	return validate_topologies("accessibility_requirements.preferred", &topology->preferred,
				   err);
}

static int validate_range(const struct vol_range *range, struct err *err)
{
	if (range->limit_bytes && range->limit_bytes < range->required_bytes)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "capacity_range: limit_bytes %" PRIu64
			       " is less than required_bytes %" PRIu64,
			       range->limit_bytes, range->required_bytes);
	return 0;
}

int validate_create_volume(const struct csi_create_volume_request *req, struct err *err)
{
	if (fields_check(&csi_create_volume_request_type, req, err) < 0 ||
	    validate_name(req->name, err) < 0 ||
	    validate_capabilities(req->volume_capabilities, req->n_volume_capabilities, err) < 0 ||
	    validate_requirement(&req->accessibility_requirements, err) < 0)
		return -1;
	/* A source of a kind that this version does not know must not become an empty volume. */
	if (req->has_volume_content_source && req->volume_content_source.kind == CSI_SOURCE_NONE)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "volume_content_source.type: required, snapshot or volume");
	return validate_range(&req->capacity_range, err);
}

/* One that is OPTIONAL. */
static int validate_capability_if_said(const struct vol_capability *cap, struct err *err)
{
	return validate_is_capability_said(cap) ? validate_capability(cap, err) : 0;
}

int validate_controller_publish(const struct csi_controller_publish_volume_request *req,
				struct err *err)
{
	if (fields_check(&csi_controller_publish_volume_request_type, req, err) < 0)
		return -1;
	return validate_capability(&req->volume_capability, err);
}

int validate_controller_expand(const struct csi_controller_expand_volume_request *req,
			       struct err *err)
{
	if (fields_check(&csi_controller_expand_volume_request_type, req, err) < 0 ||
	    validate_capability_if_said(&req->volume_capability, err) < 0)
		return -1;
	return validate_range(&req->capacity_range, err);
}

int validate_node_expand(const struct csi_node_expand_volume_request *req, struct err *err)
{
	if (fields_check(&csi_node_expand_volume_request_type, req, err) < 0 ||
	    validate_capability_if_said(&req->volume_capability, err) < 0)
		return -1;
	return validate_range(&req->capacity_range, err);
}

int validate_create_snapshot(const struct csi_create_snapshot_request *req, struct err *err)
{
	if (fields_check(&csi_create_snapshot_request_type, req, err) < 0 ||
	    validate_name(req->name, err) < 0)
		return -1;
	return validate_requirement(&req->accessibility_requirements, err);
}

int validate_create_group(const struct csi_create_volume_group_snapshot_request *req,
			  struct err *err)
{
	if (fields_check(&csi_create_volume_group_snapshot_request_type, req, err) < 0)
		return -1;
	return validate_name(req->name, err);
}

int validate_validate(const struct csi_validate_volume_capabilities_request *req, struct err *err)
{
	if (fields_check(&csi_validate_volume_capabilities_request_type, req, err) < 0)
		return -1;
	return validate_capabilities(req->volume_capabilities, req->n_volume_capabilities, err);
}

int validate_get_capacity(const struct csi_get_capacity_request *req, struct err *err)
{
	const struct vol_topologies asked = { &req->accessible_topology,
					      req->has_accessible_topology ? 1 : 0 };

	if (fields_check(&csi_get_capacity_request_type, req, err) < 0 ||
	    validate_capabilities(req->volume_capabilities, req->n_volume_capabilities, err) < 0)
		return -1;
	return validate_topologies("accessible_topology", &asked, err);
}

int validate_stage(const struct csi_node_stage_volume_request *req, struct err *err)
{
	if (fields_check(&csi_node_stage_volume_request_type, req, err) < 0 ||
	    validate_path("staging_target_path", req->staging_target_path, err) < 0)
		return -1;
	return validate_capability(&req->volume_capability, err);
}

int validate_unstage(const struct csi_node_unstage_volume_request *req, struct err *err)
{
	if (fields_check(&csi_node_unstage_volume_request_type, req, err) < 0)
		return -1;
	return validate_path("staging_target_path", req->staging_target_path, err);
}

int validate_publish(const struct csi_node_publish_volume_request *req, struct err *err)
{
	if (fields_check(&csi_node_publish_volume_request_type, req, err) < 0 ||
	    validate_path("target_path", req->target_path, err) < 0 ||
	    validate_capability(&req->volume_capability, err) < 0)
		return -1;
	/* Staging is this driver's way (STAGE_UNSTAGE_VOLUME): without it there is nothing to
	 * publish. */
	if (str_is_empty(req->staging_target_path))
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "staging_target_path: required, volumes of this driver are staged "
			       "first");
	if (validate_path("staging_target_path", req->staging_target_path, err) < 0)
		return -1;
	if (path_is_below(req->target_path, req->staging_target_path) ||
	    path_is_below(req->staging_target_path, req->target_path))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "target_path: '%.160s' and staging_target_path '%.160s' lie within "
			       "each other",
			       req->target_path, req->staging_target_path);
	return 0;
}

int validate_unpublish(const struct csi_node_unpublish_volume_request *req, struct err *err)
{
	if (fields_check(&csi_node_unpublish_volume_request_type, req, err) < 0)
		return -1;
	return validate_path("target_path", req->target_path, err);
}

int validate_driver_name(const char *name, struct err *err)
{
	static const char alnum[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
	size_t n = strlen(name);
	bool is_ok = n > 0 && n <= 63 && strchr(alnum, name[0]) && strchr(alnum, name[n - 1]);

	for (size_t i = 0; i < n && is_ok; i++)
		is_ok = strchr(alnum, name[i]) || name[i] == '-' || name[i] == '.';
	if (!is_ok)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "driver name '%.64s': must be 1 to 63 letters, digits, '-' and '.', "
			       "with a letter or digit first and last",
			       name);
	return 0;
}

int validate_node_id(const char *node_id, struct err *err)
{
	const struct csi_node_get_info_response info = { .node_id = node_id };

	return fields_check(&csi_node_get_info_response_type, &info, err);
}
