/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_FINALIZER_H
#define CONTROL_FINALIZER_H

#include "base/ctx.h"
#include "base/err.h"
#include "base/json.h"
#include "kube/object.h"

#include <stdbool.h>

struct kube_client;

/*
 * Finalizers put on an object or taken off, whatever others it has. Writes are conditional on
 * the version: ABORTED if it is stale. NOT_FOUND: the object is gone. *ret, which may be NULL, is
 * the object as it is then; the caller frees it.
 */

/* By a PUT of the whole object as read, for those whom upstream's Roles give the verb `update` and
 * no `patch`. */
int finalizer_update(struct kube_client *client, struct ctx *ctx, const struct kube_type *type,
		     const struct json *root, const char *name, bool is_wanted,
		     struct json_doc **ret, struct err *err);

struct finalizer_change {
	const char *name;
	bool is_wanted;
};
/* Whether the object is as the changes would make it. */
bool finalizer_is_so(const struct kube_object *o, const struct finalizer_change *changes, size_t n);
/* By a patch of the list: some at once. Taken off an object of the API's own that is being deleted
 * they go by its UID, whatever version it has come to: others take off theirs meanwhile. */
int finalizer_patch(struct kube_client *client, struct ctx *ctx, const struct kube_object *o,
		    const struct finalizer_change *changes, size_t n, struct json_doc **ret,
		    struct err *err);

#endif
