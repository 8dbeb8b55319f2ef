/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_DISCOVERY_H
#define CONTROL_DISCOVERY_H

#include "base/arena.h"
#include "kube/object.h"

/* EndpointSlices (discovery.k8s.io/v1): where the pods of a Service are, and on which nodes. */

struct discovery_endpoint {
	const char *address;   /* the first; the others are the same pod's */
	const char *node_name; /* "" if it is not said */
	bool is_serving;       /* where it is not said: as ready, and ready where that is not */
	bool is_terminating;
};

struct discovery_port {
	const char *name; /* "" where there is one alone */
	uint64_t port;    /* 0: any, which is of no use here */
};

struct discovery_slice {
	struct kube_object meta;
	const char *address_type; /* "IPv4", "IPv6", "FQDN" */
	const struct discovery_endpoint *endpoints;
	size_t n_endpoints;
	const struct discovery_port *ports;
	size_t n_ports;
};

#define DISCOVERY_SERVICE_LABEL "kubernetes.io/service-name"

extern const struct kube_type discovery_slice_type;
const struct discovery_slice *discovery_slice_of(const struct kube_object *o);

/* Index: of slices by their Service. */
#define DISCOVERY_SLICES_BY_SERVICE "slices by service"
const char *discovery_slice_service(const struct kube_object *slice, size_t i);

/*
 * Where each node's pod is reached, by node, each once. Of several on one node: one that is not
 * terminating before one that is, one that serves before one that does not, IPv4 before IPv6, the
 * least address. Those without a node's name are passed over, and slices of names (FQDN) or without
 * a port of that name.
 */
struct discovery_place {
	const char *node_name;
	const char *address; /* "tcp://[10.0.0.1]:10000" */
};
/* slices: those of one Service. In the arena, sorted by node. */
const struct discovery_place *discovery_places(struct arena *a,
					       const struct discovery_slice *const *slices,
					       size_t n, const char *port_name, size_t *ret_n);

#endif
