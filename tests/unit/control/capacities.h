/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_CONTROL_CAPACITIES_H
#define TESTS_UNIT_CONTROL_CAPACITIES_H

/*
 * What the tests of published capacity share: the cluster of cluster.h, whose class waits for the
 * first consumer here, with room of 10Gi everywhere; the pod that all this runs in, its ReplicaSet
 * and Deployment; and a process that publishes. Objects are found by what they are of: class and
 * zone.
 */
#include "cluster.h"
#include "control/capacity.h"

#define GIB_10 (UINT64_C(10) << 30)
#define CAPACITIES "/apis/storage.k8s.io/v1/namespaces/cleat/csistoragecapacities/"
#define POD_PATH "/api/v1/namespaces/cleat/pods/controller-x"
#define CSI_NODE2 "/apis/storage.k8s.io/v1/csinodes/n2"
#define NODE2 "/api/v1/nodes/n2"

void capacities_begin(void);

struct capacity_process {
	struct informer *classes, *pvs, *pvcs, *nodes, *csi_nodes, *objects;
	struct capacity *capacity;
};
/* What opts leaves out is as a whole deployment has it: owner by level 1, values kept for 10 min.
 */
void capacities_start(struct capacity_process *p, struct capacity_options opts);
void capacities_stop(struct capacity_process *p);
/* One process from start to end of `limit_ns`. */
void capacities_run(int64_t limit_ns);

/* How many there are with our labels for the class and, in n1 of zone "a", the zone. */
unsigned capacities_count(const char *class_name, const char *zone);
/* The path of the one that there is, NULL if there is none; asserts that there are not two. */
const char *capacities_find(const char *class_name, const char *zone);
/* Text at the dotted path of that one; "" without. */
const char *capacities_at(const char *class_name, const char *zone, const char *dotted);

/* One as another process made it. zone NULL: without nodeTopology. */
void capacities_put(const char *name, const char *manager, const char *class_name, const char *zone,
		    const char *bytes);
void capacities_put_class(const char *name, const char *driver, bool waits);
/* A PV of the driver's that was made in the zone; NULL: that is anywhere. */
void capacities_put_pv(const char *name, const char *zone);

#endif
