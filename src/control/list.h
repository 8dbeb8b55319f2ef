/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_LIST_H
#define CONTROL_LIST_H

#include "base/ctx.h"
#include "base/err.h"

struct json;
struct kube_client;
struct kube_type;

/* An item as the API server has it, borrowed for the call. ≠0 ends the list. */
typedef int (*list_fn)(void *arg, const struct json *item);

/*
 * All objects of a kind from the API server and not from a cache, in pages. ns NULL: of all
 * namespaces. Returns 0, or what fn did not return 0 with. NOT_FOUND: the server has no such kind.
 * What was seen before a failure is no list: nothing may be concluded from what was not in it.
 */
int list_each(struct kube_client *client, struct ctx *ctx, const struct kube_type *type,
	      const char *ns, list_fn fn, void *arg, struct err *err);

#endif
