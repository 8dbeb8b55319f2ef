/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_FORGOTTEN_H
#define CONTROL_FORGOTTEN_H

#include "base/ctx.h"
#include "base/err.h"
#include "base/uuid.h"

#include <stdbool.h>
#include <stddef.h>

struct kube_client;

/*
 * Pools that are gone for good, as an operator has said: annotations of the journal's first Lease
 * (journal.h), "forgotten.cleat.csi/IDENTITY" and since when. The journal leaves them where they
 * are, and puts them, as it last saw them, into a Lease that it makes anew. Any thread; all block.
 */
struct forgotten_place {
	struct kube_client *client;
	const char *ns, *name; /* of the Lease */
};

/* In the arena of ctx, in no order. What is no identity is passed over. */
struct forgotten_pools {
	const struct uuid *v;
	size_t n;
	const char *lease_uid; /* whose word it is; "": there is no Lease, and so none */
};
int forgotten_read(const struct forgotten_place *at, struct ctx *ctx, struct forgotten_pools *ret,
		   struct err *err);

/* Puts the pool there, or takes it away; 0 also if it is so already. NOT_FOUND: no controller has
 * made the Lease yet. */
int forgotten_write(const struct forgotten_place *at, struct ctx *ctx, const struct uuid *pool,
		    bool is_forgotten, struct err *err);

/* The Leases of this name, their namespaces: of ns, or of all if that is NULL. In the arena. */
int forgotten_namespaces(struct kube_client *client, struct ctx *ctx, const char *ns,
			 const char *name, const char ***ret_ns, size_t *ret_n, struct err *err);

#endif
