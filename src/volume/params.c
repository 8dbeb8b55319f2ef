/* SPDX-License-Identifier: Apache-2.0 */
/*
 * StorageClass parameters.
 *
 * An unknown key is an error and not ignored: a class with "directio" instead of "directIO" would
 * otherwise make volumes of another kind than its author meant, and nobody would notice.
 * Kubernetes' own keys are let through because the provisioner adds them (pvc/name, pv/name) and
 * old ones leave them in.
 */
#include "volume/params.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "base/opt.h"
#include "base/str.h"
#include "base/uuid.h"
#include "volume/params-internal.h"

#define POOL_NAME_MAX 63
#define KNOWN_MAX 512 /* bytes of a list of keys */

typedef int (*param_fn)(const char *value, struct vol_params *params, struct err *err);

struct param {
	const char *key;
	param_fn parse;
};

static int parse_pool(const char *value, struct vol_params *params, struct err *err)
{
	size_t n = strlen(value);

	if (n == 0 || n > POOL_NAME_MAX ||
	    strspn(value, "abcdefghijklmnopqrstuvwxyz0123456789-") != n)
		return err_set(
			err, ERR_INVALID_ARGUMENT,
			"parameters: pool: '%.64s' is no name of a pool (1 to %d of a-z, 0-9 "
			"and '-')",
			value, POOL_NAME_MAX);
	params->pool = value;
	return 0;
}

static int parse_direct_io(const char *value, struct vol_params *params, struct err *err)
{
	if (str_is_equal(value, "required"))
		params->allow_buffered = false;
	else if (str_is_equal(value, "preferred"))
		params->allow_buffered = true;
	else
		return err_set(
			err, ERR_INVALID_ARGUMENT,
			"parameters: directIO: '%.64s' is neither 'required' nor 'preferred'",
			value);
	return 0;
}

static int parse_allocation(const char *value, struct vol_params *params, struct err *err)
{
	if (str_is_equal(value, "reserved"))
		params->is_written = false;
	else if (str_is_equal(value, "written"))
		params->is_written = true;
	else
		return err_set(
			err, ERR_INVALID_ARGUMENT,
			"parameters: allocation: '%.64s' is neither 'reserved' nor 'written'",
			value);
	return 0;
}

static int parse_provisioning(const char *value, struct vol_params *params, struct err *err)
{
	if (str_is_equal(value, "thick"))
		params->is_thin = false;
	else if (str_is_equal(value, "thin"))
		params->is_thin = true;
	else
		return err_set(
			err, ERR_INVALID_ARGUMENT,
			"parameters: provisioning: '%.64s' is neither 'thick' (the volume has all "
			"its blocks from the beginning) nor 'thin'",
			value);
	return 0;
}

static int parse_snapshot_reserve(const char *value, struct vol_params *params, struct err *err)
{
	if (str_is_equal(value, "full"))
		params->no_snapshot_reserve = false;
	else if (str_is_equal(value, "none"))
		params->no_snapshot_reserve = true;
	else
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "parameters: snapshotReserve: '%.64s' is neither 'full' (room to "
			       "overwrite what snapshots share is kept free) nor 'none'",
			       value);
	return 0;
}

static int parse_legacy_fs(const char *value, struct vol_params *params, struct err *err)
{
	params->legacy_fs = value;
	return 0;
}

static const struct param param_legacy_fs = { "fstype", parse_legacy_fs };

static const struct param params_known[] = {
	{ "pool", parse_pool },
	{ "directIO", parse_direct_io },
	{ "allocation", parse_allocation },
	{ "snapshotReserve", parse_snapshot_reserve },
	{ "provisioning", parse_provisioning },
};

static const struct param *find_param(const char *key)
{
	for (size_t i = 0; i < ARRAY_LEN(params_known); i++) {
		if (str_is_equal(params_known[i].key, key))
			return &params_known[i];
	}
	return strcasecmp(key, param_legacy_fs.key) == 0 ? &param_legacy_fs : NULL;
}

int params_refuse_key(const char *key, const char *const *known, size_t n, struct err *err)
{
	const char *nearest = opt_nearest(key, known, n);
	char all[KNOWN_MAX] = "";

	for (size_t i = 0; i < n; i++) {
		size_t len = strlen(all);

		(void)snprintf(all + len, sizeof(all) - len, "%s%s", i ? ", " : "",
			       known[i]); /* fits: the tables are short */
	}
	return err_set(err, ERR_INVALID_ARGUMENT,
		       "parameters: unknown key '%.64s'%s%s%s; known are %s", key,
		       nearest ? ", meant is perhaps '" : "", nearest ? nearest : "",
		       nearest ? "'" : "", all);
}

static int refuse_key(const char *key, struct err *err)
{
	const char *known[ARRAY_LEN(params_known) + VOL_LIMITS_N];

	for (size_t i = 0; i < ARRAY_LEN(params_known); i++)
		known[i] = params_known[i].key;
	memcpy(known + ARRAY_LEN(params_known), vol_limits_keys, sizeof(vol_limits_keys));
	return params_refuse_key(key, known, ARRAY_LEN(known), err);
}

const char *params_uid_in_name(const char *name)
{
	size_t n = strlen(name);
	const char *uid = n > UUID_TEXT_MAX ? name + n - (UUID_TEXT_MAX - 1) : "";
	struct uuid ignored;

	return *uid && uid[-1] == '-' && uuid_parse(uid, &ignored) == 0 ? uid : "";
}

static void read_kubernetes(const struct strpair *pair, const char **pv_name,
			    struct vol_params *params)
{
	const struct {
		const char *key;
		const char **value;
	} read[] = {
		{ "fstype", &params->fs },
		{ "pvc/namespace", &params->claim_namespace },
		{ "pvc/name", &params->claim_name },
		{ "pvc/uid", &params->claim_uid },
		{ "pv/name", pv_name },
	};

	for (size_t i = 0; i < ARRAY_LEN(read); i++) {
		if (str_is_equal(pair->key + strlen(PARAMS_KUBERNETES_PREFIX), read[i].key))
			*read[i].value = pair->value;
	}
}

/* What a thin volume cannot have. */
static int check_together(const struct strmap *map, const struct vol_params *params,
			  struct err *err)
{
	for (size_t i = 0; params->is_thin && i < map->n; i++) {
		const struct strpair *pair = &map->v[i];

		if (str_is_equal(pair->key, "allocation"))
			return err_set(err, ERR_INVALID_ARGUMENT,
				       "parameters: allocation: '%.64s' contradicts "
				       "provisioning=thin, which allocates nothing before it is "
				       "written; leave one of them out",
				       pair->value);
		if (str_is_equal(pair->key, "snapshotReserve") && !params->no_snapshot_reserve)
			return err_set(err, ERR_INVALID_ARGUMENT,
				       "parameters: snapshotReserve: '%.64s' contradicts "
				       "provisioning=thin, for which no room is kept; leave it "
				       "out, or say 'none'",
				       pair->value);
	}
	return 0;
}

int vol_params_check_fs(const struct vol_params *params, const char *fs, bool is_block,
			struct err *err)
{
	if (!params->is_thin || (!is_block && (!*fs || str_is_equal(fs, "xfs"))))
		return 0;
	if (is_block)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "parameters: provisioning: 'thin' is for volumes with xfs inside, "
			       "and a raw block volume is asked; ask for a filesystem "
			       "(csi.storage.k8s.io/fstype: xfs), or for provisioning=thick");
	return err_set(err, ERR_INVALID_ARGUMENT,
		       "parameters: provisioning: 'thin' is for volumes with xfs inside, and %.32s "
		       "is asked, which would not survive a full pool; say "
		       "csi.storage.k8s.io/fstype: xfs, or provisioning=thick",
		       fs);
}

int vol_params_parse(const struct strmap *map, struct vol_params *ret_params, struct err *err)
{
	struct vol_params params = { .pool = "",
				     .legacy_fs = "",
				     .fs = "",
				     .claim_namespace = "",
				     .claim_name = "",
				     .claim_uid = "" };
	const char *pv_name = "";

	for (size_t i = 0; i < map->n; i++) {
		const struct strpair *pair = &map->v[i];
		const struct param *param = find_param(pair->key);

		if (str_has_prefix(pair->key, PARAMS_KUBERNETES_PREFIX)) {
			read_kubernetes(pair, &pv_name, &params);
			continue;
		}
		if (vol_limits_is_key(pair->key)) {
			if (vol_limits_set(&params.limits, "parameters", pair->key, pair->value,
					   err) < 0)
				return -1;
			continue;
		}
		if (!param)
			return refuse_key(pair->key, err);
		if (param->parse(pair->value, &params, err) < 0)
			return -1;
	}
	/* Provisioners tell the claim's name and not its uid, but call the PV after it: pvc-<uid>,
	 * or another prefix. */
	if (*params.claim_name && !*params.claim_uid)
		params.claim_uid = params_uid_in_name(pv_name);
	if (check_together(map, &params, err) < 0)
		return -1;
	*ret_params = params;
	return 0;
}
