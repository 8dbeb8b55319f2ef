/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a claim and its StorageClass to the CreateVolume request. Pure but for what it reads: the
 * Secret, the VolumeAttributesClass and the data source (source.c): the same claim, class and nodes
 * give the same request again, which is what makes a repeated CreateVolume the same call. All that
 * can be wrong with the wishes of a user is found here, before anything is recorded or made; each
 * refusal names the field or parameter, since its text becomes the Event on the claim.
 *
 * One capability for each access mode of the claim, and parameters without Kubernetes' own keys, as
 * external-provisioner sends them: a driver must not see which of the two is calling.
 */
#include "control/provision-internal.h"

#include "base/mem.h"
#include "base/str.h"
#include "kube/client.h"
#include "kube/path.h"

#include <strings.h>

#define PARAM_FS_TYPE PARAM_PREFIX "fstype"

int request_strip_parameters(struct arena *arena, const struct strmap *params,
			     struct strmap *ret_params, struct err *err)
{
	struct strpair *pairs = arena_array(arena, params->n, sizeof(*pairs));
	size_t n = 0;

	for (size_t i = 0; i < params->n; i++) {
		const char *key = params->v[i].key;

		if (!str_has_prefix(key, PARAM_PREFIX))
			pairs[n++] = params->v[i];
		else if (!str_is_equal(key, PARAM_FS_TYPE) && !secret_key_is_known(key))
			return err_set(err, ERR_INVALID_ARGUMENT,
				       "unknown parameter '%s': of those with '" PARAM_PREFIX
				       "' there are fstype and the …secret-name and "
				       "…secret-namespace pairs",
				       key);
	}
	*ret_params = strmap_from(arena, pairs, n);
	return 0;
}

int request_fs_type(const struct strmap *params, const char *fallback, const char **ret_fs,
		    struct err *err)
{
	const char *found_key = NULL;

	for (size_t i = 0; i < params->n; i++) {
		const char *key = params->v[i].key;

		if (!str_is_equal(key, PARAM_FS_TYPE) && strcasecmp(key, "fstype") != 0)
			continue;
		if (found_key)
			return err_set(err, ERR_INVALID_ARGUMENT,
				       "parameters '%s' and '%s' both give a filesystem", found_key,
				       key);
		found_key = key;
	}
	*ret_fs = str_or(found_key ? strmap_find(params, found_key) : "", fallback);
	return 0;
}

int request_access_mode(const char *mode, bool has_multi_writer, enum vol_mode *ret_mode,
			struct err *err)
{
	/* clang-format off */
	static const struct {
		const char *name;
		enum vol_mode plain, with_multi_writer;
	} modes[] = {
		{ "ReadWriteMany",    VOL_MODE_MULTI_NODE_MULTI_WRITER, VOL_MODE_MULTI_NODE_MULTI_WRITER },
		{ "ReadOnlyMany",     VOL_MODE_MULTI_NODE_READER_ONLY,  VOL_MODE_MULTI_NODE_READER_ONLY },
		{ "ReadWriteOnce",    VOL_MODE_SINGLE_NODE_WRITER,      VOL_MODE_SINGLE_NODE_MULTI_WRITER },
		{ "ReadWriteOncePod", VOL_MODE_SINGLE_NODE_WRITER,      VOL_MODE_SINGLE_NODE_SINGLE_WRITER },
	};
	/* clang-format on */

	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		if (!str_is_equal(mode, modes[i].name))
			continue;
		*ret_mode = has_multi_writer ? modes[i].with_multi_writer : modes[i].plain;
		return 0;
	}
	return err_set(err, ERR_INVALID_ARGUMENT, "unknown access mode '%s'", mode);
}

static bool has_controller_cap(const struct attempt *a, enum csi_controller_cap cap)
{
	return a->caps.controller & CSI_CAP_BIT(cap);
}

static int build_capabilities(struct attempt *a, struct err *err)
{
	const struct core_pvc *claim = attempt_claim(a);
	const struct kube_string_list *options = &attempt_class(a)->mount_options;
	bool is_block = str_is_equal(claim->volume_mode, "Block");
	struct vol_capability *caps =
		arena_array(a->ctx->arena, claim->access_modes.n, sizeof(*caps));

	if (claim->access_modes.n == 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "the claim has no access mode");
	if (request_fs_type(&attempt_class(a)->parameters, is_block ? "" : a->p->default_fs,
			    &a->it.fs_type, err) < 0)
		return -1;
	for (size_t i = 0; i < claim->access_modes.n; i++) {
		caps[i] = (struct vol_capability){ .access = VOL_ACCESS_BLOCK,
						   .fs_type = "",
						   .mount_group = "" };
		if (!is_block) {
			caps[i].access = VOL_ACCESS_MOUNT;
			caps[i].fs_type = a->it.fs_type;
			caps[i].mount_flags = options->v;
			caps[i].n_mount_flags = options->n;
		}
		if (request_access_mode(claim->access_modes.v[i],
					has_controller_cap(a, CSI_CTRL_SINGLE_NODE_MULTI_WRITER),
					&caps[i].mode, err) < 0)
			return -1;
	}
	a->it.request.volume_capabilities = caps;
	a->it.request.n_volume_capabilities = claim->access_modes.n;
	return 0;
}

/* What the claim asks for and this provisioner, or the driver behind it, does not do. */
static int check_wishes(const struct attempt *a, struct err *err)
{
	const struct core_pvc *claim = attempt_claim(a);

	if (!(a->caps.plugin & CSI_CAP_BIT(CSI_PLUGIN_CONTROLLER_SERVICE)) ||
	    !has_controller_cap(a, CSI_CTRL_CREATE_DELETE_VOLUME))
		return err_set(err, ERR_FAILED_PRECONDITION, "driver %s does not create volumes",
			       a->p->driver);
	if (claim->has_selector)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "claim selector is not supported with dynamic provisioning");
	if (claim->has_bad_request || claim->request_bytes == 0)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "spec.resources.requests.storage is no size above zero");
	if (*claim->source_kind && !a->p->cross_namespace &&
	    !str_is_equal(core_pvc_source_ns(a->claim.obj), a->claim.obj->ns))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "dataSourceRef namespace '%s': sources in other namespaces are not "
			       "served unless CrossNamespaceVolumeDataSource is on",
			       claim->source_namespace);
	if (*claim->attributes_class && !has_controller_cap(a, CSI_CTRL_MODIFY_VOLUME))
		return err_set(
			err, ERR_INVALID_ARGUMENT,
			"volumeAttributesClassName '%s': driver %s does not support MODIFY_VOLUME",
			claim->attributes_class, a->p->driver);
	return 0;
}

static int build_parameters(struct attempt *a, struct err *err)
{
	struct arena *arena = a->ctx->arena;
	struct strmap params;

	if (request_strip_parameters(arena, &attempt_class(a)->parameters, &params, err) < 0)
		return -1;
	if (a->p->extra_create_metadata) {
		params = strmap_with(arena, &params, PARAM_PREFIX "pvc/name", a->claim.obj->name);
		params =
			strmap_with(arena, &params, PARAM_PREFIX "pvc/namespace", a->claim.obj->ns);
		params = strmap_with(arena, &params, PARAM_PREFIX "pv/name", a->pv_name);
	}
	a->it.request.parameters = params;
	return 0;
}

/* The cache keeps few annotations; a template may ask for any. */
static bool needs_annotations(const struct strmap *params)
{
	for (size_t i = 0; i < params->n; i++)
		if (strstr(params->v[i].value, "${pvc.annotations["))
			return true;
	return false;
}

static int build_secrets(struct attempt *a, struct err *err)
{
	const struct secret_vars vars = {
		.pv_name = a->pv_name,
		.claim_ns = a->claim.obj->ns,
		.claim_name = a->claim.obj->name,
		.annotations = json_path(json_root(a->claim.doc), "metadata.annotations"),
	};

	if (!a->claim.doc && needs_annotations(&attempt_class(a)->parameters)) {
		if (attempt_read_claim(a, err) < 0)
			return -1;
		return build_secrets(a, err);
	}
	for (int kind = 0; kind < SECRET_KINDS; kind++)
		if (secret_ref_resolve(a->ctx->arena, &attempt_class(a)->parameters,
				       (enum secret_kind)kind, &vars, &a->it.refs[kind], err) < 0)
			return -1;
	return secret_fetch(a->p->client, a->ctx, &a->it.refs[SECRET_PROVISIONER],
			    &a->it.request.secrets, err);
}

static int build_mutable_parameters(struct attempt *a, struct err *err)
{
	const char *name = attempt_claim(a)->attributes_class;
	autojson struct json_doc *doc = NULL;
	autofree char *path = NULL;
	const char *driver;

	if (!*name)
		return 0;
	if (kube_object_path(&storage_attributes_class_type, NULL, name, &path, err) < 0)
		return -1;
	if (kube_get(a->p->client, a->ctx, path, &doc, err) < 0)
		return err_wrap(err, "volumeAttributesClass %s", name);
	driver = str_or(json_get_string(json_root(doc), "driverName"), "");
	if (!str_is_equal(driver, a->p->driver))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "volumeAttributesClass %s is of driver '%s'", name, driver);
	a->it.request.mutable_parameters =
		json_strmap(a->ctx->arena, json_get(json_root(doc), "parameters"));
	return 0;
}

int request_build(struct attempt *a, struct err *err)
{
	a->it.request = (struct csi_create_volume_request){
		.name = a->pv_name,
		.capacity_range = { .required_bytes = attempt_claim(a)->request_bytes },
		.volume_content_source = { .kind = CSI_SOURCE_NONE, .id = "" },
	};
	if (check_wishes(a, err) < 0 || build_capabilities(a, err) < 0 ||
	    source_require(a, err) < 0)
		return -1;
	if (attempt_has_topology(a) && topology_require(a, err) < 0)
		return -1;
	if (build_secrets(a, err) < 0 || build_parameters(a, err) < 0)
		return -1;
	/* Made of another it lies where that lies, which the driver knows. */
	if (!a->it.request.has_volume_content_source)
		place_choose(a);
	return build_mutable_parameters(a, err);
}
