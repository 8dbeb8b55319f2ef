/* SPDX-License-Identifier: Apache-2.0 */
/*
 * VolumeSnapshotClass parameters; read and refused as those of a StorageClass (params.c).
 *
 * The limit of extents: sharing the blocks of a file costs the kernel 4 to 11 us an extent, and
 * whoever writes to the volume waits for all of them (measured on XFS, Linux 6.18). 100,000 are
 * half a second to a second: what a database takes for a slow disk and not for a dead one. Less
 * would refuse the very volumes that are snapshotted most: 20,000 random writes of 4 KiB after one
 * snapshot make 36,000, and a file in use can be shared or not, but hardly be copied.
 */
#include "volume/snapshot_params.h"

#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "volume/params-internal.h"

typedef int (*param_fn)(const char *value, struct vol_snapshot_params *params, struct err *err);

struct param {
	const char *key;
	param_fn parse;
};

static int parse_freeze(const char *value, struct vol_snapshot_params *params, struct err *err)
{
	if (!str_is_equal(value, "true") && !str_is_equal(value, "false"))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "parameters: freeze: '%.64s' is neither 'true' nor 'false'", value);
	params->freeze = str_is_equal(value, "true");
	return 0;
}

static int parse_max_extents(const char *value, struct vol_snapshot_params *params, struct err *err)
{
	if (str_parse_u64(value, &params->max_extents) < 0)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "parameters: maxExtents: '%.64s' is no whole number; 0 means no "
			       "limit",
			       value);
	return 0;
}

static int parse_when_fragmented(const char *value, struct vol_snapshot_params *params,
				 struct err *err)
{
	if (!str_is_equal(value, "copy") && !str_is_equal(value, "refuse"))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "parameters: whenFragmented: '%.64s' is neither 'copy' nor 'refuse'",
			       value);
	params->copy_above = str_is_equal(value, "copy");
	return 0;
}

static const struct param params_known[] = {
	{ "freeze", parse_freeze },
	{ "maxExtents", parse_max_extents },
	{ "whenFragmented", parse_when_fragmented },
};

static int refuse_key(const char *key, struct err *err)
{
	const char *known[ARRAY_LEN(params_known)];

	for (size_t i = 0; i < ARRAY_LEN(params_known); i++)
		known[i] = params_known[i].key;
	return params_refuse_key(key, known, ARRAY_LEN(known), err);
}

static int parse_own(const struct strpair *pair, struct vol_snapshot_params *params,
		     struct err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(params_known); i++) {
		if (str_is_equal(params_known[i].key, pair->key))
			return params_known[i].parse(pair->value, params, err);
	}
	return refuse_key(pair->key, err);
}

static void read_kubernetes(const struct strpair *pair, struct vol_snapshot_params *params)
{
	const struct {
		const char *key;
		const char **value;
	} read[] = {
		{ "volumesnapshot/namespace", &params->owner_namespace },
		{ "volumesnapshot/name", &params->owner_name },
		{ "volumegroupsnapshot/namespace", &params->owner_namespace },
		{ "volumegroupsnapshot/name", &params->owner_name },
	};
	const char *key = pair->key + strlen(PARAMS_KUBERNETES_PREFIX);

	for (size_t i = 0; i < ARRAY_LEN(read); i++) {
		if (str_is_equal(key, read[i].key))
			*read[i].value = pair->value;
	}
	/* snapcontent-<uid of the VolumeSnapshot>, groupsnapcontent-<uid of the group> */
	if (str_is_equal(key, "volumesnapshotcontent/name") ||
	    str_is_equal(key, "volumegroupsnapshotcontent/name"))
		params->owner_uid = params_uid_in_name(pair->value);
}

int vol_snapshot_params_parse(const struct strmap *map, struct vol_snapshot_params *ret_params,
			      struct err *err)
{
	struct vol_snapshot_params params = { .max_extents = VOL_SNAPSHOT_MAX_EXTENTS,
					      .copy_above = true,
					      .owner_namespace = "",
					      .owner_name = "",
					      .owner_uid = "" };

	for (size_t i = 0; i < map->n; i++) {
		if (str_has_prefix(map->v[i].key, PARAMS_KUBERNETES_PREFIX))
			read_kubernetes(&map->v[i], &params);
		else if (parse_own(&map->v[i], &params, err) < 0)
			return -1;
	}
	*ret_params = params;
	return 0;
}
