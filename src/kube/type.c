/* SPDX-License-Identifier: Apache-2.0 */
/* The kinds that every client writes, whatever else it knows. Never cached. */
#include "kube/type.h"

const struct kube_type kube_event_type = {
	.kind = "Event",
	.resource = "events",
	.group_version = "v1",
	.is_namespaced = true,
};

const struct kube_type kube_lease_type = {
	.kind = "Lease",
	.resource = "leases",
	.group_version = "coordination.k8s.io/v1",
	.is_namespaced = true,
};
