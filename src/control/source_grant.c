/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether a claim may be made of what is in another namespace: a ReferenceGrant there has to say
 * so, of claims of this namespace and of such a source, as external-provisioner asks for it with
 * CrossNamespaceVolumeDataSource. Grants are read anew each time, and not from a cache: there are
 * few of them, few claims ask, and a grant that was taken back must not count.
 */
#include "control/provision-internal.h"

#include "base/json.h"
#include "base/str.h"
#include "control/list.h"

const struct kube_type source_grant_type = {
	.kind = "ReferenceGrant",
	.resource = "referencegrants",
	.group_version = "gateway.networking.k8s.io/v1beta1",
	.is_namespaced = true,
	.is_custom = true,
};

static bool is_of(const struct json *rule, const char *group, const char *kind)
{
	return str_is_equal(str_or(json_get_string(rule, "group"), ""), group) &&
	       str_is_equal(json_get_string(rule, "kind"), kind);
}

static bool has_from(const struct json *grant, const char *ns)
{
	const struct json *rule;

	for (struct json_it it = json_each(json_path(grant, "spec.from"));
	     json_next(&it, NULL, &rule);)
		if (is_of(rule, "", core_pvc_type.kind) &&
		    str_is_equal(json_get_string(rule, "namespace"), ns))
			return true;
	return false;
}

static bool has_to(const struct json *grant, const struct core_pvc *claim)
{
	const struct json *rule;

	for (struct json_it it = json_each(json_path(grant, "spec.to"));
	     json_next(&it, NULL, &rule);) {
		const char *name = str_or(json_get_string(rule, "name"), "");

		if (is_of(rule, claim->source_api_group, claim->source_kind) &&
		    (!*name || str_is_equal(name, claim->source_name)))
			return true;
	}
	return false;
}

static int see_grant(void *arg, const struct json *grant)
{
	const struct kube_object *claim = arg;

	return has_from(grant, claim->ns) && has_to(grant, core_pvc_of(claim));
}

int source_is_granted(struct provisioner *p, struct ctx *ctx, const struct kube_object *claim,
		      struct err *err)
{
	const char *ns = core_pvc_source_ns(claim);
	int r;

	if (str_is_equal(ns, claim->ns))
		return 1;
	r = list_each(p->client, ctx, &source_grant_type, ns, see_grant, (void *)claim, err);
	return r < 0 && err->code == ERR_NOT_FOUND ? 0 : r; /* without the kind there are none */
}
