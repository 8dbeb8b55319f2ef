/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which Secrets go with a volume, a snapshot or a group of these. A StorageClass names up to seven
 * of them by pairs of parameters, with one default pair for those it leaves out, and an older
 * spelling for four. Names are templates over the claim: a whole template is resolved before
 * anything is created, so that a typo is an event on the claim and not a volume that cannot be
 * mounted. The grammar is narrower than the shell-like one of external-provisioner: a '$' must
 * begin a known ${token}; anything else could only have ended in an invalid name there.
 *
 * The data is fetched by GET when a call needs it and never cached. It travels in struct secrets
 * alone, which the logger cannot print; errors name keys, never values.
 */
#include "control/secrets.h"

#include "base/base64.h"
#include "base/mem.h"
#include "base/str.h"
#include "control/core.h"
#include "kube/client.h"
#include "kube/path.h"

#define DEFAULT_NAME "csi.storage.k8s.io/secret-name"
#define DEFAULT_NS "csi.storage.k8s.io/secret-namespace"
#define DNS_LABEL_MAX 63
#define DNS_SUBDOMAIN_MAX 253

struct secret_keys {
	const char *name, *ns;
	const char *old_name, *old_ns; /* "" = there is none */
};

/* clang-format off */
static const struct secret_keys secret_table[SECRET_KINDS] = {
	[SECRET_PROVISIONER] = {
		"csi.storage.k8s.io/provisioner-secret-name", "csi.storage.k8s.io/provisioner-secret-namespace",
		"csiProvisionerSecretName", "csiProvisionerSecretNamespace" },
	[SECRET_CONTROLLER_PUBLISH] = {
		"csi.storage.k8s.io/controller-publish-secret-name", "csi.storage.k8s.io/controller-publish-secret-namespace",
		"csiControllerPublishSecretName", "csiControllerPublishSecretNamespace" },
	[SECRET_NODE_STAGE] = {
		"csi.storage.k8s.io/node-stage-secret-name", "csi.storage.k8s.io/node-stage-secret-namespace",
		"csiNodeStageSecretName", "csiNodeStageSecretNamespace" },
	[SECRET_NODE_PUBLISH] = {
		"csi.storage.k8s.io/node-publish-secret-name", "csi.storage.k8s.io/node-publish-secret-namespace",
		"csiNodePublishSecretName", "csiNodePublishSecretNamespace" },
	[SECRET_CONTROLLER_EXPAND] = {
		"csi.storage.k8s.io/controller-expand-secret-name", "csi.storage.k8s.io/controller-expand-secret-namespace",
		"", "" },
	[SECRET_NODE_EXPAND] = {
		"csi.storage.k8s.io/node-expand-secret-name", "csi.storage.k8s.io/node-expand-secret-namespace", "", "" },
	[SECRET_CONTROLLER_MODIFY] = {
		"csi.storage.k8s.io/controller-modify-secret-name", "csi.storage.k8s.io/controller-modify-secret-namespace",
		"", "" },
};
static const struct secret_keys snapshot_table[SNAPSHOT_SECRETS] = {
	[SNAPSHOT_SECRET] = {
		"csi.storage.k8s.io/snapshotter-secret-name", "csi.storage.k8s.io/snapshotter-secret-namespace", "", "" },
	[SNAPSHOT_SECRET_LIST] = {
		"csi.storage.k8s.io/snapshotter-list-secret-name", "csi.storage.k8s.io/snapshotter-list-secret-namespace",
		"", "" },
	[SNAPSHOT_SECRET_GROUP] = {
		"csi.storage.k8s.io/group-snapshotter-secret-name", "csi.storage.k8s.io/group-snapshotter-secret-namespace",
		"", "" },
	[SNAPSHOT_SECRET_GROUP_GET] = {
		"csi.storage.k8s.io/group-snapshotter-get-secret-name",
		"csi.storage.k8s.io/group-snapshotter-get-secret-namespace", "", "" },
};
/* clang-format on */

bool snapshot_secret_key_is_known(const char *key)
{
	for (int i = 0; i < SNAPSHOT_SECRETS; i++)
		if (str_is_equal(key, snapshot_table[i].name) ||
		    str_is_equal(key, snapshot_table[i].ns))
			return true;
	return false;
}

bool secret_key_is_known(const char *key)
{
	if (str_is_equal(key, DEFAULT_NAME) || str_is_equal(key, DEFAULT_NS))
		return true;
	for (int i = 0; i < SECRET_KINDS; i++)
		if (str_is_equal(key, secret_table[i].name) ||
		    str_is_equal(key, secret_table[i].ns))
			return true;
	return false;
}

/* The template and the key it stands under; both untouched if neither spelling is there. */
static int find_template(const struct strmap *params, const char *key, const char *old_key,
			 const char **ret_template, const char **ret_key, struct err *err)
{
	const char *value = strmap_find(params, key);
	const char *old = *old_key ? strmap_find(params, old_key) : NULL;

	if (value && old)
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "parameters '%s' and '%s' say the same thing: use the first alone",
			       key, old_key);
	if (!value && !old)
		return 0;
	*ret_template = value ? value : old;
	*ret_key = value ? key : old_key;
	return 0;
}

static const char *lookup_annotation(const struct secret_vars *vars, const char *token,
				     struct arena *arena)
{
	static const char head[] = "pvc.annotations['";
	static const char tail[] = "']";
	size_t n = strlen(token);

	if (!str_has_prefix(token, head) || n < sizeof(head) + sizeof(tail) - 2 ||
	    !str_has_suffix(token, tail))
		return NULL;
	return json_get_string(vars->annotations,
			       arena_strndup(arena, token + sizeof(head) - 1,
					     n - sizeof(head) - sizeof(tail) + 2));
}

/* What a template's ${…} may be: the value of a token, NULL if there is none such; and how those
 * that there are are told of. */
struct grammar {
	const char *(*find)(const void *vars, const char *token, bool is_name, struct arena *arena);
	const void *vars;
	const char *always, *in_names; /* the second besides, where a name is made */
};

static const char *find_volume_token(const void *arg, const char *token, bool is_name,
				     struct arena *arena)
{
	const struct secret_vars *vars = arg;

	if (str_is_equal(token, "pv.name"))
		return vars->pv_name;
	if (str_is_equal(token, "pvc.namespace"))
		return vars->claim_ns;
	if (is_name && str_is_equal(token, "pvc.name"))
		return vars->claim_name;
	return is_name ? lookup_annotation(vars, token, arena) : NULL;
}

static const char *find_snapshot_token(const void *arg, const char *token, bool is_name,
				       struct arena *arena)
{
	const struct snapshot_vars *vars = arg;

	(void)arena;
	if (str_is_equal(token, "volumesnapshotcontent.name"))
		return vars->content_name;
	if (str_is_equal(token, "volumesnapshot.namespace"))
		return vars->ns;
	return is_name && str_is_equal(token, "volumesnapshot.name") ? vars->name : NULL;
}

static const char *find_group_token(const void *arg, const char *token, bool is_name,
				    struct arena *arena)
{
	const struct snapshot_vars *vars = arg;

	(void)arena;
	if (str_is_equal(token, "volumegroupsnapshotcontent.name"))
		return vars->content_name;
	if (str_is_equal(token, "volumegroupsnapshot.namespace"))
		return vars->ns;
	return is_name && str_is_equal(token, "volumegroupsnapshot.name") ? vars->name : NULL;
}

static int expand(struct arena *arena, const char *key, const char *template, bool is_name,
		  const struct grammar *grammar, const char **ret_text, struct err *err)
{
	autostr struct str out = STR_INIT;

	for (const char *s = template; *s;) {
		const char *end = s[0] == '$' && s[1] == '{' ? strchr(s, '}') : NULL;
		const char *token, *value;

		if (*s != '$') {
			str_append_char(&out, *s++);
			continue;
		}
		if (!end)
			return err_set(err, ERR_INVALID_ARGUMENT,
				       "parameter '%s': '%s' is no ${token}", key, s);
		token = arena_strndup(arena, s + 2, (size_t)(end - s) - 2);
		value = grammar->find(grammar->vars, token, is_name, arena);
		if (!value)
			return err_set(err, ERR_INVALID_ARGUMENT,
				       "parameter '%s': unknown token '${%s}': allowed are %s%s",
				       key, token, grammar->always,
				       is_name ? grammar->in_names : "");
		str_append(&out, value);
		s = end + 1;
	}
	*ret_text = arena_strdup(arena, str_get(&out));
	return 0;
}

static bool is_dns_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* RFC 1123: labels of lower-case letters, digits and inner '-', joined by dots where these are
 * allowed. */
static bool is_dns_name(const char *s, size_t max, bool has_dots)
{
	size_t n = strlen(s);
	char before = '.';

	if (n == 0 || n > max)
		return false;
	for (size_t i = 0; i < n; i++) {
		bool is_fine = is_dns_char(s[i]);

		if (s[i] == '.')
			is_fine = has_dots && is_dns_char(before);
		if (s[i] == '-')
			is_fine = before != '.';
		if (!is_fine)
			return false;
		before = s[i];
	}
	return is_dns_char(before);
}

static int find_pair(const struct strmap *params, const struct secret_keys *keys,
		     const char **ret_name, const char **ret_name_key, const char **ret_ns,
		     const char **ret_ns_key, struct err *err)
{
	*ret_name_key = keys->name;
	*ret_ns_key = keys->ns;
	if (find_template(params, keys->name, keys->old_name, ret_name, ret_name_key, err) < 0 ||
	    find_template(params, keys->ns, keys->old_ns, ret_ns, ret_ns_key, err) < 0)
		return -1;
	if (!*ret_name != !*ret_ns)
		return err_set(err, ERR_INVALID_ARGUMENT, "parameter '%s' needs '%s' beside it",
			       *ret_name ? *ret_name_key : *ret_ns_key,
			       *ret_name ? *ret_ns_key : *ret_name_key);
	return 0;
}

static int resolve(struct arena *arena, const struct strmap *params, const struct secret_keys *keys,
		   const struct secret_keys *fallback, const struct grammar *grammar,
		   struct secret_ref *ret_ref, struct err *err)
{
	const char *name = NULL, *ns = NULL, *name_key, *ns_key;
	struct secret_ref ref = { .ns = "", .name = "" };

	if (find_pair(params, keys, &name, &name_key, &ns, &ns_key, err) < 0)
		return -1;
	if (!name && fallback &&
	    find_pair(params, fallback, &name, &name_key, &ns, &ns_key, err) < 0)
		return -1;
	if (name) {
		if (expand(arena, name_key, name, true, grammar, &ref.name, err) < 0 ||
		    expand(arena, ns_key, ns, false, grammar, &ref.ns, err) < 0)
			return -1;
		if (!is_dns_name(ref.name, DNS_SUBDOMAIN_MAX, true))
			return err_set(err, ERR_INVALID_ARGUMENT,
				       "parameter '%s' gives '%s', which is no name of a Secret",
				       name_key, ref.name);
		if (!is_dns_name(ref.ns, DNS_LABEL_MAX, false))
			return err_set(err, ERR_INVALID_ARGUMENT,
				       "parameter '%s' gives '%s', which is no namespace", ns_key,
				       ref.ns);
	}
	*ret_ref = ref;
	return 0;
}

int secret_ref_resolve(struct arena *arena, const struct strmap *params, enum secret_kind kind,
		       const struct secret_vars *vars, struct secret_ref *ret_ref, struct err *err)
{
	static const struct secret_keys fallback = { DEFAULT_NAME, DEFAULT_NS, "", "" };
	const struct grammar grammar = {
		.find = find_volume_token,
		.vars = vars,
		.always = "${pv.name}, ${pvc.namespace}",
		.in_names = ", ${pvc.name}, ${pvc.annotations['KEY']} of a key that is there",
	};

	return resolve(arena, params, &secret_table[kind], &fallback, &grammar, ret_ref, err);
}

int secret_ref_resolve_snapshot(struct arena *arena, const struct strmap *params,
				enum snapshot_secret which, const struct snapshot_vars *vars,
				struct secret_ref *ret_ref, struct err *err)
{
	const struct grammar of_snapshot = {
		.find = find_snapshot_token,
		.vars = vars,
		.always = "${volumesnapshotcontent.name}, ${volumesnapshot.namespace}",
		.in_names = ", ${volumesnapshot.name}",
	};
	const struct grammar of_group = {
		.find = find_group_token,
		.vars = vars,
		.always = "${volumegroupsnapshotcontent.name}, ${volumegroupsnapshot.namespace}",
		.in_names = ", ${volumegroupsnapshot.name}",
	};

	return resolve(arena, params, &snapshot_table[which], NULL,
		       which < SNAPSHOT_SECRET_GROUP ? &of_snapshot : &of_group, ret_ref, err);
}

struct secret_ref secret_ref_at(const struct json *object, const char *name_key, const char *ns_key)
{
	return (struct secret_ref){
		.name = str_or(json_get_string(object, name_key), ""),
		.ns = str_or(json_get_string(object, ns_key), ""),
	};
}

int secret_fetch(struct kube_client *client, struct ctx *ctx, const struct secret_ref *ref,
		 struct secrets *ret_secrets, struct err *err)
{
	autojson struct json_doc *doc = NULL;
	struct secrets secrets = { .map = STRMAP_EMPTY };
	const struct json *data, *value;
	struct strpair *pairs;
	autofree char *path = NULL;
	const char *key;
	size_t n = 0;

	if (secret_ref_is_set(ref)) {
		if (kube_object_path(&core_secret_type, ref->ns, ref->name, &path, err) < 0)
			return -1;
		if (kube_get(client, ctx, path, &doc, err) < 0)
			return err_wrap(err, "secret %s/%s", ref->ns, ref->name);
		data = json_get(json_root(doc), "data");
		pairs = arena_array(ctx->arena, json_count(data), sizeof(*pairs));
		for (struct json_it it = json_each(data); json_next(&it, &key, &value);) {
			size_t len = 0;
			autofree char *text = base64_decode(str_or(json_string(value), ""), &len);

			if (!text || !str_is_utf8(text, len))
				return err_set(err, ERR_INVALID_ARGUMENT,
					       "secret %s/%s: key '%s' is no text", ref->ns,
					       ref->name, key);
			pairs[n++] = (struct strpair){ .key = key,
						       .value = arena_strdup(ctx->arena, text) };
			explicit_bzero(text, len);
		}
		secrets.map = strmap_from(ctx->arena, pairs, n);
	}
	*ret_secrets = secrets;
	return 0;
}
