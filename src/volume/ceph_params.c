/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parameters of ceph-csi's classes.
 *
 * Classes are taken as they were written for ceph-csi, where its chart leaves keys in with nothing
 * behind them: an empty value is as good as none. What this program does not do is refused by its
 * name and not passed over: a class that says how its volumes are encrypted would else make some
 * that are not so.
 */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "base/str.h"
#include "volume/ceph_params-internal.h"
#include "volume/io_limits.h"
#include "volume/params-internal.h"

#define NAME_MAX_BYTES 128  /* of a pool or a namespace */
#define PREFIX_MAX_BYTES 48 /* with UUID and "-temp" the image's name has less than 96 */
/* Its limits grow with the volume; ours are what they say. */
#define LIMITS_INSTEAD                                                                         \
	"leave it out, and say readIOPS, writeIOPS, readBandwidth, writeBandwidth here or in " \
	"a VolumeAttributesClass"
#define OBJECT_SIZE_DEFAULT (4 * MIB)
#define OBJECT_SIZE_MIN (4 * KIB)
#define OBJECT_SIZE_MAX (32 * MIB)

int ceph_param_refuse(const char *key, const char *value, const char *why, struct err *err)
{
	return err_set(err, ERR_INVALID_ARGUMENT, "parameters: %s: '%.64s' %s", key, value, why);
}

/* Blanks would end a word of what the kernel is told, '/' and '@' a name of what the manager is. */
static int check_name(const char *key, const char *value, size_t max, struct err *err)
{
	size_t n = strlen(value);
	char why[96];

	for (size_t i = 0; i < n; i++) {
		if (value[i] <= ' ' || value[i] == 0x7f || strchr("/@,\"\\", value[i]))
			return ceph_param_refuse(
				key, value,
				"has a character that Ceph's names cannot have here "
				"(blank, control, / @ , \" \\)",
				err);
	}
	(void)snprintf(why, sizeof(why), "is longer than %zu bytes", max);
	return n <= max && str_is_utf8(value, n) ? 0 : ceph_param_refuse(key, value, why, err);
}

int ceph_param_check_text(const char *key, const char *value, struct err *err)
{
	for (const char *p = value; *p; p++) {
		if ((*p > 0 && *p < ' ') || *p == 0x7f)
			return ceph_param_refuse(key, value, "has a control character", err);
	}
	return 0;
}

int ceph_param_cluster(const struct ceph_param *r, const char **ret, struct err *err)
{
	if (!ceph_cluster_id_is_valid(r->value))
		return ceph_param_refuse(
			r->key, r->value,
			"is no id of a cluster (1 to 36 of A-Z, a-z, 0-9, '.', '_' "
			"and '-', as config.json has it)",
			err);
	*ret = r->value;
	return 0;
}

int ceph_param_name(const struct ceph_param *r, const char **ret, struct err *err)
{
	if (check_name(r->key, r->value, NAME_MAX_BYTES, err) < 0)
		return -1;
	*ret = r->value;
	return 0;
}

int ceph_param_prefix(const struct ceph_param *r, const char **ret, struct err *err)
{
	if (check_name(r->key, r->value, PREFIX_MAX_BYTES, err) < 0)
		return -1;
	*ret = r->value;
	return 0;
}

static int parse_cluster(const struct ceph_param *r, struct ceph_rbd_params *params,
			 struct err *err)
{
	return ceph_param_cluster(r, &params->cluster, err);
}

static int parse_pool(const struct ceph_param *r, struct ceph_rbd_params *params, struct err *err)
{
	return ceph_param_name(r, &params->pool, err);
}

static int parse_data_pool(const struct ceph_param *r, struct ceph_rbd_params *params,
			   struct err *err)
{
	return ceph_param_name(r, &params->data_pool, err);
}

static int parse_namespace(const struct ceph_param *r, struct ceph_rbd_params *params,
			   struct err *err)
{
	return ceph_param_name(r, &params->rados_namespace, err);
}

static int parse_prefix(const struct ceph_param *r, struct ceph_rbd_params *params, struct err *err)
{
	return ceph_param_prefix(r, &params->prefix, err);
}

/* needs: what has to be among them, too. */
static const struct feature {
	const char *name;
	uint64_t bit;
	uint64_t needs;
	const char *needs_name;
} features_known[] = {
	{ "layering", CEPH_RBD_LAYERING, 0, "" },
	{ "exclusive-lock", CEPH_RBD_EXCLUSIVE_LOCK, 0, "" },
	{ "object-map", CEPH_RBD_OBJECT_MAP, CEPH_RBD_EXCLUSIVE_LOCK, "exclusive-lock" },
	{ "fast-diff", CEPH_RBD_FAST_DIFF, CEPH_RBD_OBJECT_MAP, "object-map" },
	{ "deep-flatten", CEPH_RBD_DEEP_FLATTEN, 0, "" },
};

static int add_feature(const char *value, const char *name, size_t n, uint64_t *features,
		       struct err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(features_known); i++) {
		if (strlen(features_known[i].name) != n ||
		    memcmp(features_known[i].name, name, n) != 0)
			continue;
		*features |= features_known[i].bit;
		return 0;
	}
	if (n == strlen("journaling") && memcmp(name, "journaling", n) == 0)
		return ceph_param_refuse(
			"imageFeatures", value,
			"has journaling, which neither the kernel's client nor this "
			"program's can do; leave it out",
			err);
	return err_set(err, ERR_INVALID_ARGUMENT,
		       "parameters: imageFeatures: '%.*s' is no feature of an image; known are "
		       "layering, exclusive-lock, object-map, fast-diff, deep-flatten",
		       (int)(n < 64 ? n : 64), name);
}

/* "layering, exclusive-lock" */
static int parse_features(const struct ceph_param *r, struct ceph_rbd_params *params,
			  struct err *err)
{
	uint64_t features = 0;

	for (const char *at = r->value;; at++) {
		size_t n;

		at += strspn(at, " ");
		n = strcspn(at, ", ");
		if (add_feature(r->value, at, n, &features, err) < 0)
			return -1;
		at += n + strspn(at + n, " ");
		if (*at != ',' && *at)
			return ceph_param_refuse(r->key, r->value, "is no list with commas between",
						 err);
		if (!*at)
			break;
	}
	for (size_t i = 0; i < ARRAY_LEN(features_known); i++) {
		const struct feature *f = &features_known[i];

		if ((features & f->bit) && (features & f->needs) != f->needs)
			return err_set(err, ERR_INVALID_ARGUMENT,
				       "parameters: imageFeatures: %s needs %s; add that", f->name,
				       f->needs_name);
	}
	params->features = features;
	return 0;
}

static int read_bytes(const struct ceph_param *r, uint64_t *ret, struct err *err)
{
	if (str_parse_u64(r->value, ret) < 0 || *ret == 0)
		return ceph_param_refuse(r->key, r->value, "is no whole number above 0", err);
	return 0;
}

static int parse_stripe_unit(const struct ceph_param *r, struct ceph_rbd_params *params,
			     struct err *err)
{
	return read_bytes(r, &params->stripe_unit, err);
}

static int parse_stripe_count(const struct ceph_param *r, struct ceph_rbd_params *params,
			      struct err *err)
{
	return read_bytes(r, &params->stripe_count, err);
}

static int parse_object_size(const struct ceph_param *r, struct ceph_rbd_params *params,
			     struct err *err)
{
	uint64_t bytes;

	if (read_bytes(r, &bytes, err) < 0)
		return -1;
	if (bytes < OBJECT_SIZE_MIN || bytes > OBJECT_SIZE_MAX || (bytes & (bytes - 1)))
		return ceph_param_refuse(r->key, r->value,
					 "is no power of two from 4096 to 33554432 (bytes)", err);
	params->object_size = bytes;
	return 0;
}

static int parse_mounter(const struct ceph_param *r, struct ceph_rbd_params *params,
			 struct err *err)
{
	static const struct {
		const char *name;
		enum ceph_mounter mounter;
	} known[] = {
		{ "rbd", CEPH_MOUNTER_ANY },
		{ "krbd", CEPH_MOUNTER_KRBD },
		{ "fuse", CEPH_MOUNTER_FUSE },
		{ "rbd-nbd", CEPH_MOUNTER_FUSE },
	};

	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		if (!str_is_equal(r->value, known[i].name))
			continue;
		params->mounter = known[i].mounter;
		return 0;
	}
	return ceph_param_refuse(
		r->key, r->value,
		"is none of 'rbd' (what the node has), 'krbd', 'fuse' and 'rbd-nbd' "
		"(taken as fuse)",
		err);
}

/* Who has no kernel client has the other in any case. */
static int parse_try_others(const struct ceph_param *r, struct ceph_rbd_params *params,
			    struct err *err)
{
	(void)params;
	if (str_is_equal(r->value, "true") || str_is_equal(r->value, "false"))
		return 0;
	return ceph_param_refuse(r->key, r->value, "is neither 'true' nor 'false'", err);
}

int ceph_encryption_check(const char *kms, const char *type, struct err *err)
{
	if (!str_is_empty(type) && !str_is_equal(type, "block"))
		return ceph_param_refuse(
			"encryptionType", type,
			str_is_equal(type, "file")
				? "is fscrypt's, which cleat does not do; leave it out (block), or "
				  "keep this class with ceph-csi"
				: "is none of 'block' and 'file'",
			err);
	if (str_is_empty(kms) || str_is_equal(kms, CEPH_KMS_DEFAULT))
		return 0;
	return ceph_param_refuse(
		"encryptionKMSID", kms,
		"asks for a key service, which cleat does not do: the passphrase is "
		"encryptionPassphrase of the class's secret; leave it out, or keep this class with "
		"ceph-csi",
		err);
}

static int check_krbd_options(const char *key, const char *value, const char *options,
			      struct err *err)
{
	static const char *const ours[] = { "name", "key", "secret", "_pool_ns" };

	for (const char *at = options; *at;) {
		size_t n = strcspn(at, ",");
		size_t n_name = strcspn(at, "=,");

		for (size_t i = 0; i < ARRAY_LEN(ours); i++) {
			if (strlen(ours[i]) == n_name && memcmp(ours[i], at, n_name) == 0)
				return err_set(err, ERR_INVALID_ARGUMENT,
					       "parameters: %s: '%s' is not for a class to say; "
					       "it comes from the secret and config.json",
					       key, ours[i]);
		}
		at += n;
		at += *at == ',';
	}
	for (const char *p = options; *p; p++) {
		if (*p <= ' ' || *p == 0x7f)
			return ceph_param_refuse(key, value, "has a blank or a control character",
						 err);
	}
	return 0;
}

int ceph_krbd_options_parse(const char *key, const char *value, char ret_options[CEPH_OPTIONS_MAX],
			    struct err *err)
{
	char options[CEPH_OPTIONS_MAX] = "";

	for (const char *at = value; *at;) {
		size_t n = strcspn(at, ";");
		size_t skip = str_has_prefix(at, "krbd:") ? strlen("krbd:") : 0;

		if (n >= sizeof(options))
			return ceph_param_refuse(key, value, "is longer than 255 bytes", err);
		if (!str_has_prefix(at, "nbd:") && n > skip) {
			memcpy(options, at + skip, n - skip);
			options[n - skip] = '\0';
		}
		at += n;
		at += *at == ';';
	}
	if (check_krbd_options(key, value, options, err) < 0)
		return -1;
	memcpy(ret_options, options, sizeof(options));
	return 0;
}

static int parse_map_options(const struct ceph_param *r, struct ceph_rbd_params *params,
			     struct err *err)
{
	return ceph_krbd_options_parse(r->key, r->value, params->map_options, err);
}

static int parse_unmap_options(const struct ceph_param *r, struct ceph_rbd_params *params,
			       struct err *err)
{
	return ceph_krbd_options_parse(r->key, r->value, params->unmap_options, err);
}

static int parse_mkfs_options(const struct ceph_param *r, struct ceph_rbd_params *params,
			      struct err *err)
{
	if (ceph_param_check_text(r->key, r->value, err) < 0)
		return -1;
	params->mkfs_options = r->value;
	return 0;
}

static int parse_encrypted(const struct ceph_param *r, struct ceph_rbd_params *params,
			   struct err *err)
{
	params->encrypted = str_is_equal(r->value, "true");
	if (params->encrypted || str_is_equal(r->value, "false"))
		return 0;
	return ceph_param_refuse(r->key, r->value, "is neither 'true' nor 'false'", err);
}

static int parse_encryption_type(const struct ceph_param *r, struct ceph_rbd_params *params,
				 struct err *err)
{
	(void)params;
	return ceph_encryption_check(NULL, r->value, err);
}

static int parse_kms(const struct ceph_param *r, struct ceph_rbd_params *params, struct err *err)
{
	(void)params;
	return ceph_encryption_check(r->value, NULL, err);
}

/* What a log of rbd-nbd would do: there is none. */
static int parse_nothing(const struct ceph_param *r, struct ceph_rbd_params *params,
			 struct err *err)
{
	(void)params;
	return ceph_param_check_text(r->key, r->value, err);
}

typedef int (*param_fn)(const struct ceph_param *r, struct ceph_rbd_params *params,
			struct err *err);

static const struct {
	const char *key;
	param_fn parse;
} params_known[] = {
	{ "clusterID", parse_cluster },           { "pool", parse_pool },
	{ "dataPool", parse_data_pool },          { "radosNamespace", parse_namespace },
	{ "volumeNamePrefix", parse_prefix },     { "imageFeatures", parse_features },
	{ "stripeUnit", parse_stripe_unit },      { "stripeCount", parse_stripe_count },
	{ "objectSize", parse_object_size },      { "mounter", parse_mounter },
	{ "tryOtherMounters", parse_try_others }, { "mapOptions", parse_map_options },
	{ "unmapOptions", parse_unmap_options },  { "mkfsOptions", parse_mkfs_options },
	{ "cephLogDir", parse_nothing },          { "cephLogStrategy", parse_nothing },
	{ "encrypted", parse_encrypted },         { "encryptionType", parse_encryption_type },
	{ "encryptionKMSID", parse_kms },
};

/* What ceph-csi does and cleat does not. */
static const struct {
	const char *key;
	const char *instead;
} params_refused[] = {
	{ "encryptionSectorSize", "keep this class with ceph-csi" },
	{ "encryptionCipher", "keep this class with ceph-csi" },
	{ "encryptionKeySize", "keep this class with ceph-csi" },
	{ "integrityMode", "keep this class with ceph-csi" },
	{ "topologyConstrainedPools", "make one class for each pool, with allowedTopologies" },
	{ "baseVolSizeBytes", LIMITS_INSTEAD },
};

/* baseReadIops, maxWriteBps, readIopsPerGiB … */
static bool is_qos(const char *key)
{
	return str_has_suffix(key, "PerGiB") ||
	       ((str_has_prefix(key, "base") || str_has_prefix(key, "max")) &&
		(str_has_suffix(key, "Iops") || str_has_suffix(key, "Bps") ||
		 str_has_suffix(key, "BytesPerSecond")));
}

int ceph_param_refuse_undone(const struct strpair *pair, const char *instead, struct err *err)
{
	if (str_is_equal(pair->value, "false") || str_is_equal(pair->value, "[]"))
		return 0;
	return err_set(err, ERR_INVALID_ARGUMENT,
		       "parameters: %s: '%.64s' asks for what ceph-csi does and cleat does not: "
		       "%s",
		       pair->key, pair->value, instead);
}

static int parse_own(const struct strpair *pair, struct ceph_rbd_params *params, struct err *err)
{
	const char *known[ARRAY_LEN(params_known) + VOL_LIMITS_N];

	memcpy(known + ARRAY_LEN(params_known), vol_limits_keys, sizeof(vol_limits_keys));
	if (vol_limits_is_key(pair->key)) /* csi/ reads them, of any class */
		return 0;
	for (size_t i = 0; i < ARRAY_LEN(params_known); i++) {
		known[i] = params_known[i].key;
		if (str_is_equal(known[i], pair->key))
			return *pair->value
				       ? params_known[i].parse(
						 &(struct ceph_param){ pair->key, pair->value },
						 params, err)
				       : 0;
	}
	for (size_t i = 0; i < ARRAY_LEN(params_refused); i++) {
		if (str_is_equal(params_refused[i].key, pair->key))
			return *pair->value ? ceph_param_refuse_undone(
						      pair, params_refused[i].instead, err)
					    : 0;
	}
	if (is_qos(pair->key))
		return *pair->value ? ceph_param_refuse_undone(pair, LIMITS_INSTEAD, err) : 0;
	return params_refuse_key(pair->key, known, ARRAY_LEN(known), err);
}

const char *ceph_param_kubernetes(const struct strmap *map, const char *key)
{
	for (size_t i = 0; i < map->n; i++) {
		if (str_has_prefix(map->v[i].key, PARAMS_KUBERNETES_PREFIX) &&
		    str_is_equal(map->v[i].key + strlen(PARAMS_KUBERNETES_PREFIX), key))
			return map->v[i].value;
	}
	return "";
}

int ceph_param_require(const char *key, const char *value, struct err *err)
{
	if (*value)
		return 0;
	return err_set(err, ERR_INVALID_ARGUMENT, "parameters: %s is missing", key);
}

/* As librbd has it: units fill an object, and are only of use with a count. */
static int check_stripes(const struct ceph_rbd_params *params, struct err *err)
{
	uint64_t object = params->object_size ? params->object_size : OBJECT_SIZE_DEFAULT;

	if (!params->stripe_unit != !params->stripe_count)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "parameters: stripeUnit and stripeCount: one is of no use without "
			       "the other; give both or neither");
	if (params->stripe_unit && object % params->stripe_unit)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "parameters: stripeUnit: %llu does not divide the object's size, "
			       "%llu (objectSize)",
			       (unsigned long long)params->stripe_unit, (unsigned long long)object);
	return 0;
}

/* The data of an encrypted one begin behind LUKS' header, and with an object. */
static int check_encrypted(const struct ceph_rbd_params *params, struct err *err)
{
	uint64_t object = params->object_size ? params->object_size : OBJECT_SIZE_DEFAULT;
	uint64_t count = params->stripe_count ? params->stripe_count : 1;

	if (!params->encrypted)
		return 0;
	if (params->mounter == CEPH_MOUNTER_KRBD)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "parameters: mounter: 'krbd' is the kernel's client, which does not "
			       "encrypt; leave it out, and encrypted volumes are served by FUSE");
	if (count > CEPH_LUKS_HEADER || CEPH_LUKS_HEADER % (object * count))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "parameters: encrypted: a row of %llu objects of %llu bytes "
			       "(stripeCount, objectSize) does not divide the 16 MiB that LUKS' "
			       "header has, and librbd opens no such image; make them smaller",
			       (unsigned long long)count, (unsigned long long)object);
	return 0;
}

int ceph_rbd_params_parse(const struct strmap *map, struct ceph_rbd_params *ret_params,
			  struct err *err)
{
	struct ceph_rbd_params params = { .cluster = "",
					  .pool = "",
					  .data_pool = "",
					  .rados_namespace = "",
					  .prefix = CEPH_VOLUME_PREFIX,
					  .features = CEPH_RBD_LAYERING,
					  .mkfs_options = "",
					  .owner = ceph_param_kubernetes(map, "pvc/namespace"),
					  .claim = ceph_param_kubernetes(map, "pvc/name"),
					  .volume = ceph_param_kubernetes(map, "pv/name") };

	for (size_t i = 0; i < map->n; i++) {
		if (!str_has_prefix(map->v[i].key, PARAMS_KUBERNETES_PREFIX) &&
		    parse_own(&map->v[i], &params, err) < 0)
			return -1;
	}
	if (ceph_param_require("clusterID", params.cluster, err) < 0 ||
	    ceph_param_require("pool", params.pool, err) < 0 || check_stripes(&params, err) < 0 ||
	    check_encrypted(&params, err) < 0)
		return -1;
	*ret_params = params;
	return 0;
}

static int read_layout(const struct ceph_param *r, bool *ret_stays, struct err *err)
{
	*ret_stays = str_is_equal(r->value, "source");
	if (*ret_stays || !*r->value || str_is_equal(r->value, "image"))
		return 0;
	return ceph_param_refuse(r->key, r->value,
				 "is neither 'image' (an image of its own, as ceph-csi has it) nor "
				 "'source' (it stays on its volume's)",
				 err);
}

static int parse_snapshot_own(const struct strpair *pair, struct ceph_rbd_snapshot_params *params,
			      struct err *err)
{
	static const char *const known[] = { "clusterID", "pool", "snapshotNamePrefix",
					     "snapshotLayout" };
	struct ceph_param r = { pair->key, pair->value };

	if (str_is_equal(pair->key, "clusterID"))
		return *r.value ? ceph_param_cluster(&r, &params->cluster, err) : 0;
	if (str_is_equal(pair->key, "pool"))
		return *r.value ? ceph_param_name(&r, &params->pool, err) : 0;
	if (str_is_equal(pair->key, "snapshotNamePrefix"))
		return *r.value ? ceph_param_prefix(&r, &params->prefix, err) : 0;
	if (str_is_equal(pair->key, "snapshotLayout"))
		return read_layout(&r, &params->stays, err);
	return params_refuse_key(pair->key, known, ARRAY_LEN(known), err);
}

int ceph_rbd_snapshot_params_parse(const struct strmap *map,
				   struct ceph_rbd_snapshot_params *ret_params, struct err *err)
{
	struct ceph_rbd_snapshot_params params = {
		.cluster = "",
		.pool = "",
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
