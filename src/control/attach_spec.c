/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a PersistentVolumeSpec to what ControllerPublishVolume is told. The spec comes whole from
 * the API server: a cache of PVs that kept all this would be several times as large, and a volume
 * is attached once in a while.
 *
 * In-tree volumes that are migrated to a CSI driver are not translated: that is a table of other
 * vendors' drivers. Inline ones come translated from the controller-manager.
 */
#include "control/attach-internal.h"

#include "base/str.h"

static int read_secret(struct arena *arena, const struct json *csi, const char *key,
		       struct secret_ref *ret_ref, struct err *err)
{
	const struct json *ref = json_get(csi, key);
	struct secret_ref found = {
		.ns = arena_strdup(arena, str_or(json_get_string(ref, "namespace"), "")),
		.name = arena_strdup(arena, str_or(json_get_string(ref, "name"), "")),
	};

	if (!*found.ns != !*found.name)
		return err_set(err, ERR_INVALID_ARGUMENT, "%s has no %s", key,
			       *found.ns ? "name" : "namespace");
	*ret_ref = found;
	return 0;
}

int attach_spec_read(struct arena *arena, const struct json *spec, const char *driver,
		     bool lends_expand_secret, struct attach_spec *ret_spec, struct err *err)
{
	const struct json *csi = json_get(spec, "csi");
	const char *named = str_or(json_get_string(csi, "driver"), "");
	struct attach_spec found = {
		.handle = arena_strdup(arena, str_or(json_get_string(csi, "volumeHandle"), "")),
		.is_readonly = json_bool(json_get(csi, "readOnly"), false),
		.attributes = json_strmap(arena, json_get(csi, "volumeAttributes")),
	};

	if (!json_is_object(csi))
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "it is no CSI volume: in-tree volumes are not translated to one "
			       "here");
	if (!str_is_equal(named, driver))
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "it is a volume of driver '%s', not of %s", named, driver);
	if (!*found.handle)
		return err_set(err, ERR_INVALID_ARGUMENT, "its csi.volumeHandle is empty");
	if (read_secret(arena, csi, "controllerPublishSecretRef", &found.secret, err) < 0)
		return -1;
	if (!*found.secret.name && lends_expand_secret &&
	    read_secret(arena, csi, "controllerExpandSecretRef", &found.secret, err) < 0)
		return -1;
	*ret_spec = found;
	return 0;
}
