/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_FLEET_SLICES_H
#define CMD_FLEET_SLICES_H

#include "base/err.h"

#include <stdbool.h>

struct ctx;
struct ev_loop;
struct fleet;
struct informer;
struct kube_client;
struct work;

/*
 * Tells a fleet who its members are: the pods behind a Service, by its EndpointSlices, each known
 * by the name of its node. They are watched; what is not told (an API server that is away) stays as
 * it was.
 */
struct fleet_slices;

struct fleet_slices_options {
	struct ev_loop *loop; /* runs; as all below, outlives it */
	struct work *work;
	struct kube_client *client;
	struct fleet *fleet;
	const char *ns, *service; /* copied */
	const char *port;         /* its name in the Service; copied */
};

/* Once, for those who only look: the API server is asked, and work is not used. NOT_FOUND: there is
 * no slice of that Service. Not on the loop. */
int fleet_slices_read(const struct fleet_slices_options *opts, struct ctx *ctx, struct err *err);

struct fleet_slices *fleet_slices_new(const struct fleet_slices_options *opts);
/* For readiness: whether the first list is there, and what is wrong with the watch. */
struct informer *fleet_slices_cache(struct fleet_slices *s);
/* While loop and workers run; before the fleet is closed. Not on the loop. NULL is fine. */
void fleet_slices_free(struct fleet_slices *s);

#endif
