/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each part of a path is checked where it is put in, and nothing is escaped: no object has a name
 * that would need it. The rules are the API server's own for names as path segments
 * (IsValidPathSegmentName), and those of a request line on top.
 */
#include "kube/path.h"

#include "base/mem.h"
#include "base/str.h"

#define NAME_MAX_BYTES 253

/* Why it is no name, NULL if it is one. */
static const char *find_fault(const char *name)
{
	size_t n = strlen(name);

	if (n == 0)
		return "is empty";
	if (n > NAME_MAX_BYTES)
		return "is longer than 253 bytes";
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return "leads elsewhere";
	for (const char *p = name; *p; p++)
		if (*p <= ' ' || *p >= 0x7f || strchr("/%?#", *p))
			return "has a character that no name has";
	return NULL;
}

int kube_name_check(const char *what, const char *name, struct err *err)
{
	const char *fault = find_fault(str_or(name, ""));

	if (!fault)
		return 0;
	return err_set(err, ERR_INVALID_ARGUMENT, "%s '%.80s' %s", what, str_or(name, ""), fault);
}

/* "/api/v1/", "/apis/GROUP/VERSION/", with the namespace behind it. */
static char *make_head(const struct kube_type *type, const char *ns)
{
	const char *api = strchr(type->group_version, '/') ? "apis" : "api";

	if (ns && type->is_namespaced)
		return xasprintf("/%s/%s/namespaces/%s/%s", api, type->group_version, ns,
				 type->resource);
	return xasprintf("/%s/%s/%s", api, type->group_version, type->resource);
}

int kube_collection_path(const struct kube_type *type, const char *ns, char **ret_path,
			 struct err *err)
{
	if (ns && type->is_namespaced && kube_name_check("namespace", ns, err) < 0)
		return -1;
	*ret_path = make_head(type, ns);
	return 0;
}

int kube_object_path(const struct kube_type *type, const char *ns, const char *name,
		     char **ret_path, struct err *err)
{
	autofree char *head = NULL;
	autofree char *what = NULL;

	if (kube_collection_path(type, str_or(ns, ""), &head, err) < 0)
		return err_wrap(err, "%s %s", type->kind, str_or(name, ""));
	what = xasprintf("name of a %s", type->kind);
	if (kube_name_check(what, name, err) < 0)
		return -1;
	*ret_path = xasprintf("%s/%s", head, name);
	return 0;
}

int kube_subresource_path(const char *object_path, const char *subresource, char **ret_path,
			  struct err *err)
{
	if (kube_name_check("subresource", subresource, err) < 0)
		return -1;
	*ret_path = xasprintf("%s/%s", object_path, subresource);
	return 0;
}
