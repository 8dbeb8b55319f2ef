/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_CONTROL_CLUSTER_H
#define TESTS_UNIT_CONTROL_CLUSTER_H

/*
 * What the provisioner's tests share: a cluster with one class "fast" (Delete, Immediate), two
 * nodes, n1 in zone a and n2 in zone b, a claim default/data-0 of 1Gi that the controller-manager
 * has marked for the driver, and a process that provisions.
 */
#include "base/clock.h"
#include "control/provision.h"
#include "fake/kube.h"
#include "fake/service.h"

#define DRIVER "pool.cleat.csi"
#define CLAIM "/api/v1/namespaces/default/persistentvolumeclaims/data-0"
#define CLASS "/apis/storage.k8s.io/v1/storageclasses/fast"
#define NODE1 "/api/v1/nodes/n1"
#define CSI_NODE1 "/apis/storage.k8s.io/v1/csinodes/n1"
#define PV_NAME "pvc-c1a1"
#define PV "/api/v1/persistentvolumes/" PV_NAME
#define JOURNAL "/apis/coordination.k8s.io/v1/namespaces/default/leases/cleat-intents"
#define MINUTE (60 * NS_PER_S)

void cluster_begin(void);
void cluster_put_claim(const char *name); /* anew, with the same UID */
void cluster_use_wait_for_consumer(void); /* class and claim; n2 is selected */

struct process {
	struct control_caches caches;
	struct provisioner *provisioner;
};
void process_start(struct process *p, struct provision_options opts);
void process_stop(struct process *p);

/* One process from start to end of `limit_ns`. */
void cluster_run(int64_t limit_ns);

/* An intent for the claim stands in the journal, as the API server has it. */
bool is_on_record(void);

bool contains(const char *text, const char *part);

#endif
