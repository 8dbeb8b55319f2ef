/* SPDX-License-Identifier: Apache-2.0 */
/* The rules are those of Kubernetes' own table (csi-lib-utils, accessmodes): modes that one mode of
 * CSI covers together are taken, the others refused. */
#include "control/capability.h"

#include "base/str.h"

#define N_MODES 4

/* All modes of a PV make one of CSI. */
static int join_modes(const struct json *modes, bool has_multi_writer, enum vol_mode *ret_mode,
		      struct err *err)
{
	static const char *const names[N_MODES] = { "ReadWriteMany", "ReadOnlyMany",
						    "ReadWriteOnce", "ReadWriteOncePod" };
	enum { RWX = 1, ROX = 2, RWO = 4, RWOP = 8 };
	unsigned found = 0;
	const struct json *value;
	const char *none;

	for (struct json_it it = json_each(json_is_array(modes) ? modes : NULL);
	     json_next(&it, &none, &value);) {
		unsigned at = 0;

		while (at < N_MODES && !str_is_equal(json_string(value), names[at]))
			at++;
		if (at == N_MODES)
			return err_set(err, ERR_INVALID_ARGUMENT, "unknown access mode '%s'",
				       str_or(json_string(value), ""));
		found |= 1u << at;
	}
	if (found == 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "the volume has no access mode");
	if (found & RWOP && found != RWOP)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "access mode ReadWriteOncePod goes with no other");
	if (found == (ROX | RWO))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "CSI has no mode for ReadOnlyMany and ReadWriteOnce together");
	if (found & RWX)
		*ret_mode = VOL_MODE_MULTI_NODE_MULTI_WRITER;
	else if (found & ROX)
		*ret_mode = VOL_MODE_MULTI_NODE_READER_ONLY;
	else if (!has_multi_writer)
		*ret_mode = VOL_MODE_SINGLE_NODE_WRITER;
	else
		*ret_mode = found & RWO ? VOL_MODE_SINGLE_NODE_MULTI_WRITER
					: VOL_MODE_SINGLE_NODE_SINGLE_WRITER;
	return 0;
}

static void read_flags(struct arena *arena, const struct json *options, struct vol_capability *cap)
{
	size_t n = json_is_array(options) ? json_count(options) : 0;
	const char **flags = arena_array(arena, n, sizeof(*flags));
	const struct json *value;
	const char *none;

	for (struct json_it it = json_each(n ? options : NULL); json_next(&it, &none, &value);)
		if (json_string(value))
			flags[cap->n_mount_flags++] = arena_strdup(arena, json_string(value));
	cap->mount_flags = flags;
}

int capability_of_pv(struct arena *arena, const struct json *spec, const char *default_fs,
		     bool has_multi_writer, struct vol_capability *ret_capability, struct err *err)
{
	const char *fs = json_path_string(spec, "csi.fsType");
	struct vol_capability cap = {
		.access = VOL_ACCESS_BLOCK,
		.fs_type = "",
		.mount_group = "",
	};

	if (join_modes(json_get(spec, "accessModes"), has_multi_writer, &cap.mode, err) < 0)
		return -1;
	if (!str_is_equal(json_get_string(spec, "volumeMode"), "Block")) {
		cap.access = VOL_ACCESS_MOUNT;
		cap.fs_type = arena_strdup(arena, str_is_empty(fs) ? default_fs : fs);
		read_flags(arena, json_get(spec, "mountOptions"), &cap);
	}
	*ret_capability = cap;
	return 0;
}
