/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checks of plain requests, so that callers in this process get the same answers as those on the
 * wire. What a plain struct cannot hold any more (a NUL in a string, a negative size, no access
 * type) is refused by csi/wire and by the codec, with the same words.
 *
 * Control characters are refused in paths too, though the specification does not forbid them: no
 * kubelet makes such paths, and they would end in logs, in notes and in mountinfo.
 */
#include "csi/validate.h"

#include <inttypes.h>
#include <limits.h>
#include <string.h>

#include "base/path.h"
#include "base/str.h"

static int invalid_length(const char *field, size_t n, size_t max, struct err *err)
{
	return err_set(err, ERR_INVALID_ARGUMENT, "%s: %zu bytes, at most %zu are allowed", field,
		       n, max);
}

static int validate_string(const char *field, const char *s, size_t max, bool is_required,
			   struct err *err)
{
	size_t n = strlen(s);

	if (n == 0 && is_required)
		return err_set(err, ERR_INVALID_ARGUMENT, "%s: required", field);
	if (n > max)
		return invalid_length(field, n, max, err);
	if (n > 0 && !str_is_utf8(s, n))
		return err_set(err, ERR_INVALID_ARGUMENT, "%s: not UTF-8", field);
	return 0;
}

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
	if (validate_string("name", name, CSI_STRING_MAX, true, err) < 0)
		return -1;
	if (has_banned_char(name))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "name: has a control character, which CSI does not allow in names");
	return 0;
}

static int validate_map(const char *field, const struct strmap *map, struct err *err)
{
	size_t n = strmap_bytes(map);

	if (n > CSI_MAP_MAX)
		return invalid_length(field, n, CSI_MAP_MAX, err);
	for (size_t i = 0; i < map->n; i++) {
		if (!str_is_utf8(map->v[i].key, strlen(map->v[i].key)) ||
		    !str_is_utf8(map->v[i].value, strlen(map->v[i].value)))
			return err_set(err, ERR_INVALID_ARGUMENT, "%s: not UTF-8", field);
	}
	return 0;
}

/* The values are secrets: only the field and the rule are in the message. */
static int validate_secrets(const struct secrets *secrets, struct err *err)
{
	static const char allowed[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.";
	const struct strmap *map = &secrets->map;

	if (validate_map("secrets", map, err) < 0)
		return -1;
	for (size_t i = 0; i < map->n; i++) {
		const char *key = map->v[i].key;

		if (!*key || key[strspn(key, allowed)])
			return err_set(err, ERR_INVALID_ARGUMENT,
				       "secrets: a key has a character other than letters, digits, "
				       "'-', '_' and '.'");
	}
	return 0;
}

int validate_volume_id(const char *volume_id, struct err *err)
{
	return validate_string("volume_id", volume_id, CSI_STRING_MAX, true, err);
}

int validate_path(const char *field, const char *path, struct err *err)
{
	if (validate_string(field, path, PATH_MAX - 1, true, err) < 0)
		return -1;
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

static int validate_flags(const struct vol_capability *cap, struct err *err)
{
	size_t total = 0;

	if (cap->n_mount_flags > CSI_LIST_MAX)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "volume_capability.mount.mount_flags: %zu flags, at most %u are "
			       "allowed",
			       cap->n_mount_flags, CSI_LIST_MAX);
	for (size_t i = 0; i < cap->n_mount_flags; i++) {
		if (validate_string("volume_capability.mount.mount_flags", cap->mount_flags[i],
				    CSI_FLAGS_MAX, false, err) < 0)
			return -1;
		total += strlen(cap->mount_flags[i]);
	}
	if (total > CSI_FLAGS_MAX)
		return invalid_length("volume_capability.mount.mount_flags", total, CSI_FLAGS_MAX,
				      err);
	return 0;
}

int validate_capability(const struct vol_capability *cap, struct err *err)
{
	if (cap->mode == VOL_MODE_UNKNOWN)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "volume_capability.access_mode: required and must not be UNKNOWN");
	if ((unsigned)cap->mode > VOL_MODE_SINGLE_NODE_MULTI_WRITER)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "volume_capability.access_mode.mode: unknown value %d",
			       (int)cap->mode);
	if (cap->access == VOL_ACCESS_BLOCK)
		return 0;
	if (validate_string("volume_capability.mount.fs_type", str_or(cap->fs_type, ""),
			    CSI_STRING_MAX, false, err) < 0 ||
	    validate_string("volume_capability.mount.volume_mount_group",
			    str_or(cap->mount_group, ""), CSI_STRING_MAX, false, err) < 0)
		return -1;
	return validate_flags(cap, err);
}

static int validate_capabilities(const struct vol_capability *caps, size_t n, bool is_required,
				 struct err *err)
{
	if (n == 0 && is_required)
		return err_set(err, ERR_INVALID_ARGUMENT, "volume_capabilities: required");
	if (n > CSI_LIST_MAX)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "volume_capabilities: %zu elements, at most %u are allowed", n,
			       CSI_LIST_MAX);
	for (size_t i = 0; i < n; i++) {
		if (validate_capability(&caps[i], err) < 0)
			return -1;
	}
	return 0;
}

static int validate_topology(const char *field, const struct vol_topology *topology,
			     struct err *err)
{
	if (topology->segments.n == 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "%s.segments: required", field);
	return validate_map(field, &topology->segments, err);
}

static int validate_topologies(const char *field, const struct vol_topologies *topologies,
			       struct err *err)
{
	for (size_t i = 0; i < topologies->n; i++) {
		if (validate_topology(field, &topologies->v[i], err) < 0)
			return -1;
	}
	return 0;
}

static int validate_source(const struct csi_content_source *source, struct err *err)
{
	if (source->kind == CSI_SOURCE_NONE)
		return 0;
	return validate_string(source->kind == CSI_SOURCE_SNAPSHOT
				       ? "volume_content_source.snapshot.snapshot_id"
				       : "volume_content_source.volume.volume_id",
			       source->id, CSI_STRING_MAX, true, err);
}

int validate_create_volume(const struct csi_create_volume *req, struct err *err)
{
	const struct vol_range *range = &req->capacity_range;

	if (validate_name(req->name, err) < 0 ||
	    validate_capabilities(req->capabilities, req->n_capabilities, true, err) < 0 ||
	    validate_map("parameters", &req->parameters, err) < 0 ||
	    validate_map("mutable_parameters", &req->mutable_parameters, err) < 0 ||
	    validate_secrets(&req->secrets, err) < 0 ||
	    validate_source(&req->content_source, err) < 0 ||
	    validate_topologies("accessibility_requirements.requisite", &req->requisite, err) < 0 ||
	    validate_topologies("accessibility_requirements.preferred", &req->preferred, err) < 0)
		return -1;
	if (range->limit_bytes && range->limit_bytes < range->required_bytes)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "capacity_range: limit_bytes %" PRIu64
			       " is less than required_bytes %" PRIu64,
			       range->limit_bytes, range->required_bytes);
	return 0;
}

int validate_delete_volume(const char *volume_id, const struct secrets *secrets, struct err *err)
{
	if (validate_volume_id(volume_id, err) < 0)
		return -1;
	return validate_secrets(secrets, err);
}

int validate_validate(const struct csi_validate *req, struct err *err)
{
	if (validate_volume_id(req->volume_id, err) < 0 ||
	    validate_capabilities(req->capabilities, req->n_capabilities, true, err) < 0 ||
	    validate_map("volume_context", &req->volume_context, err) < 0 ||
	    validate_map("parameters", &req->parameters, err) < 0 ||
	    validate_map("mutable_parameters", &req->mutable_parameters, err) < 0)
		return -1;
	return validate_secrets(&req->secrets, err);
}

int validate_list_volumes(const char *starting_token, struct err *err)
{
	return validate_string("starting_token", starting_token, CSI_STRING_MAX, false, err);
}

int validate_get_capacity(const struct csi_get_capacity *req, struct err *err)
{
	if (validate_capabilities(req->capabilities, req->n_capabilities, false, err) < 0 ||
	    validate_map("parameters", &req->parameters, err) < 0)
		return -1;
	if (!req->has_topology)
		return 0;
	return validate_topology("accessible_topology", &req->accessible_topology, err);
}

int validate_stage(const struct csi_stage *req, struct err *err)
{
	if (validate_volume_id(req->volume_id, err) < 0 ||
	    validate_path("staging_target_path", req->staging_target_path, err) < 0 ||
	    validate_capability(&req->capability, err) < 0 ||
	    validate_map("publish_context", &req->publish_context, err) < 0 ||
	    validate_map("volume_context", &req->volume_context, err) < 0)
		return -1;
	return validate_secrets(&req->secrets, err);
}

int validate_unstage(const char *volume_id, const char *staging_target_path, struct err *err)
{
	if (validate_volume_id(volume_id, err) < 0)
		return -1;
	return validate_path("staging_target_path", staging_target_path, err);
}

int validate_publish(const struct csi_publish *req, struct err *err)
{
	if (validate_volume_id(req->volume_id, err) < 0 ||
	    validate_path("target_path", req->target_path, err) < 0 ||
	    validate_capability(&req->capability, err) < 0 ||
	    validate_map("publish_context", &req->publish_context, err) < 0 ||
	    validate_map("volume_context", &req->volume_context, err) < 0 ||
	    validate_secrets(&req->secrets, err) < 0)
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

int validate_unpublish(const char *volume_id, const char *target_path, struct err *err)
{
	if (validate_volume_id(volume_id, err) < 0)
		return -1;
	return validate_path("target_path", target_path, err);
}

int validate_stats(const char *volume_id, const char *volume_path, const char *staging_target_path,
		   struct err *err)
{
	if (validate_volume_id(volume_id, err) < 0 ||
	    validate_string("volume_path", volume_path, PATH_MAX - 1, true, err) < 0)
		return -1;
	return validate_string("staging_target_path", staging_target_path, PATH_MAX - 1, false,
			       err);
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
	return validate_string("node id", node_id, CSI_NODE_ID_MAX, true, err);
}
