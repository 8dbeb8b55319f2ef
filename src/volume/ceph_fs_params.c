/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parameters of ceph-csi's classes of filesystems; as those of images (ceph_params.c).
 *
 * Options of a mount come from whoever may write a class and end in the kernel, or as words of
 * ceph-fuse, with full rights. What they may not say is who the client is and what it mounts.
 */
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "volume/ceph_params-internal.h"
#include "volume/params-internal.h"

#define OPTIONS_MAX 512

int ceph_fs_mounter_parse(const char *key, const char *value, enum ceph_mounter *ret_mounter,
			  struct err *err)
{
	if (str_is_empty(value))
		*ret_mounter = CEPH_MOUNTER_ANY;
	else if (str_is_equal(value, "kernel"))
		*ret_mounter = CEPH_MOUNTER_KERNEL;
	else if (str_is_equal(value, "fuse"))
		*ret_mounter = CEPH_MOUNTER_FUSE;
	else
		return ceph_param_refuse(key, value,
					 "is neither 'kernel' nor 'fuse'; leave it out for what "
					 "the node has",
					 err);
	return 0;
}

static const char *const kernel_ours[] = {
	"name", "secret", "key", "source", "mds_namespace", "fs", "fsid", "mon_addr", "ip",
};

/* modules: libfuse would load a library of that name. */
static const char *const fuse_ours[] = {
	"fsname", "subtype", "fd",     "rootmode", "user_id",      "group_id",
	"blkdev", "modules", "subdir", "id",       "auto_unmount",
};

static bool is_one_of(const char *const *names, size_t n_names, const char *name, size_t n)
{
	for (size_t i = 0; i < n_names; i++) {
		if (strlen(names[i]) == n && memcmp(names[i], name, n) == 0)
			return true;
	}
	return false;
}

int ceph_fs_options_check(const char *key, const char *value, bool is_fuse, struct err *err)
{
	const char *const *ours = is_fuse ? fuse_ours : kernel_ours;
	size_t n_ours = is_fuse ? ARRAY_LEN(fuse_ours) : ARRAY_LEN(kernel_ours);

	if (strlen(value) > OPTIONS_MAX)
		return ceph_param_refuse(key, value, "is longer than 512 bytes", err);
	for (const char *p = value; *p; p++) {
		if (*p <= ' ' || *p == 0x7f || *p == '\\')
			return ceph_param_refuse(
				key, value, "has a blank, a control character or a backslash", err);
	}
	for (const char *at = value; *at;) {
		size_t n = strcspn(at, ",");
		size_t n_name = strcspn(at, "=,");

		if (n_name == 0)
			return ceph_param_refuse(key, value, "has a word without a name", err);
		if (is_one_of(ours, n_ours, at, n_name))
			return err_set(err, ERR_INVALID_ARGUMENT,
				       "parameters: %s: '%.*s' is not for a class to say; it comes "
				       "from the secret, config.json and the volume",
				       key, (int)n_name, at);
		at += n;
		at += *at == ',';
	}
	return 0;
}

static int parse_cluster(const struct ceph_param *p, struct ceph_fs_params *params, struct err *err)
{
	return ceph_param_cluster(p, &params->cluster, err);
}

static int parse_fs_name(const struct ceph_param *p, struct ceph_fs_params *params, struct err *err)
{
	return ceph_param_name(p, &params->fs_name, err);
}

static int parse_pool(const struct ceph_param *p, struct ceph_fs_params *params, struct err *err)
{
	return ceph_param_name(p, &params->pool, err);
}

static int parse_prefix(const struct ceph_param *p, struct ceph_fs_params *params, struct err *err)
{
	return ceph_param_prefix(p, &params->prefix, err);
}

/* Nodes read it in the volume's context; here so that the class is refused. */
static int parse_mounter(const struct ceph_param *p, struct ceph_fs_params *params, struct err *err)
{
	enum ceph_mounter mounter;

	(void)params;
	return ceph_fs_mounter_parse(p->key, p->value, &mounter, err);
}

/* Those of a mount are looked at again where they are used; here so that the class is refused and
 * not each pod. */
static int parse_kernel_options(const struct ceph_param *p, struct ceph_fs_params *params,
				struct err *err)
{
	(void)params;
	return ceph_fs_options_check(p->key, p->value, false, err);
}

static int parse_fuse_options(const struct ceph_param *p, struct ceph_fs_params *params,
			      struct err *err)
{
	(void)params;
	return ceph_fs_options_check(p->key, p->value, true, err);
}

/* As ceph-csi reads it. */
static int parse_backing(const struct ceph_param *p, struct ceph_fs_params *params, struct err *err)
{
	static const char *const yes[] = { "true", "True", "TRUE", "t", "T", "1" };
	static const char *const no[] = { "false", "False", "FALSE", "f", "F", "0" };
	size_t n = strlen(p->value);

	if (is_one_of(yes, ARRAY_LEN(yes), p->value, n))
		params->backing = CEPH_FS_BACKING_ALWAYS;
	else if (is_one_of(no, ARRAY_LEN(no), p->value, n))
		params->backing = CEPH_FS_BACKING_NEVER;
	else
		return ceph_param_refuse(p->key, p->value,
					 "is neither 'true' nor 'false'; leave it out for copies "
					 "where somebody may write, and none where nobody may",
					 err);
	return 0;
}

typedef int (*param_fn)(const struct ceph_param *p, struct ceph_fs_params *params, struct err *err);

static const struct {
	const char *key;
	param_fn parse;
} params_known[] = {
	{ "clusterID", parse_cluster },
	{ "fsName", parse_fs_name },
	{ "pool", parse_pool },
	{ "volumeNamePrefix", parse_prefix },
	{ "mounter", parse_mounter },
	{ "kernelMountOptions", parse_kernel_options },
	{ "fuseMountOptions", parse_fuse_options },
	{ "backingSnapshot", parse_backing },
};

/* What ceph-csi does and cleat does not. */
static const struct {
	const char *key;
	const char *instead;
} params_refused[] = {
	{ "encrypted", "its volumes would not be encrypted; keep this class with ceph-csi" },
	{ "encryptionKMSID", "keep this class with ceph-csi" },
	{ "encryptionType", "keep this class with ceph-csi" },
};

static int parse_own(const struct strpair *pair, struct ceph_fs_params *params, struct err *err)
{
	const struct ceph_param p = { pair->key, pair->value };
	const char *known[ARRAY_LEN(params_known)];

	for (size_t i = 0; i < ARRAY_LEN(params_known); i++) {
		known[i] = params_known[i].key;
		if (str_is_equal(known[i], pair->key))
			return *pair->value ? params_known[i].parse(&p, params, err) : 0;
	}
	for (size_t i = 0; i < ARRAY_LEN(params_refused); i++) {
		if (str_is_equal(params_refused[i].key, pair->key))
			return *pair->value ? ceph_param_refuse_undone(
						      pair, params_refused[i].instead, err)
					    : 0;
	}
	return params_refuse_key(pair->key, known, ARRAY_LEN(known), err);
}

int ceph_fs_params_parse(const struct strmap *map, struct ceph_fs_params *ret_params,
			 struct err *err)
{
	struct ceph_fs_params params = {
		.cluster = "",
		.fs_name = "",
		.pool = "",
		.prefix = CEPH_VOLUME_PREFIX,
		.owner = ceph_param_kubernetes(map, "pvc/namespace"),
		.claim = ceph_param_kubernetes(map, "pvc/name"),
		.volume = ceph_param_kubernetes(map, "pv/name"),
	};

	for (size_t i = 0; i < map->n; i++) {
		if (!str_has_prefix(map->v[i].key, PARAMS_KUBERNETES_PREFIX) &&
		    parse_own(&map->v[i], &params, err) < 0)
			return -1;
	}
	if (ceph_param_require("clusterID", params.cluster, err) < 0 ||
	    ceph_param_require("fsName", params.fs_name, err) < 0)
		return -1;
	*ret_params = params;
	return 0;
}

static int parse_snapshot_own(const struct strpair *pair, struct ceph_fs_snapshot_params *params,
			      struct err *err)
{
	static const char *const known[] = { "clusterID", "snapshotNamePrefix" };
	const struct ceph_param p = { pair->key, pair->value };

	if (str_is_equal(pair->key, "clusterID"))
		return *p.value ? ceph_param_cluster(&p, &params->cluster, err) : 0;
	if (str_is_equal(pair->key, "snapshotNamePrefix"))
		return *p.value ? ceph_param_prefix(&p, &params->prefix, err) : 0;
	return params_refuse_key(pair->key, known, ARRAY_LEN(known), err);
}

int ceph_fs_snapshot_params_parse(const struct strmap *map,
				  struct ceph_fs_snapshot_params *ret_params, struct err *err)
{
	struct ceph_fs_snapshot_params params = {
		.cluster = "",
		.prefix = "csi-snap-",
		.owner = ceph_param_kubernetes(map, "volumesnapshot/namespace"),
		.snapshot = ceph_param_kubernetes(map, "volumesnapshot/name"),
		.content = ceph_param_kubernetes(map, "volumesnapshotcontent/name"),
	};

	for (size_t i = 0; i < map->n; i++) {
		if (!str_has_prefix(map->v[i].key, PARAMS_KUBERNETES_PREFIX) &&
		    parse_snapshot_own(&map->v[i], &params, err) < 0)
			return -1;
	}
	if (ceph_param_require("clusterID", params.cluster, err) < 0)
		return -1;
	*ret_params = params;
	return 0;
}
