/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KUBE_PATH_H
#define KUBE_PATH_H

#include "base/err.h"
#include "kube/type.h"

/*
 * Paths of the API. Names come out of objects that others wrote, so each is looked at before it
 * becomes part of a path: "../x" in one must not lead to another object.
 *
 * INVALID_ARGUMENT names what is no name. Paths are malloc'ed. ns does not matter for
 * cluster-scoped types.
 */

/* what: "namespace", "name of a Secret". A name is 1 to 253 printable ASCII characters but / % ? #,
 * and neither "." nor "..". */
int kube_name_check(const char *what, const char *name, struct err *err);

/* "/api/v1/namespaces/a/persistentvolumeclaims"; ns NULL: of all namespaces. */
int kube_collection_path(const struct kube_type *type, const char *ns, char **ret_path,
			 struct err *err);
int kube_object_path(const struct kube_type *type, const char *ns, const char *name,
		     char **ret_path, struct err *err);
/* Of a path from above: "…/persistentvolumeclaims/x/status". */
int kube_subresource_path(const char *object_path, const char *subresource, char **ret_path,
			  struct err *err);

#endif
