/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_CONTROL_ATTACHING_H
#define TESTS_UNIT_CONTROL_ATTACHING_H

/*
 * What the attacher's tests share: a driver that attaches, its node n1 (the driver's i-1), a PV
 * pv-1 of volume vol-1, an attachment va-1 of it to n1, and a process that attaches.
 */
#include "base/clock.h"
#include "control/attach.h"
#include "fake/kube.h"
#include "fake/service.h"

#define DRIVER "pool.cleat.csi"
#define FINALIZER "external-attacher/pool-cleat-csi"
#define VA "/apis/storage.k8s.io/v1/volumeattachments/va-1"
#define VOLUME "/api/v1/persistentvolumes/pv-1"
#define CSI_NODE "/apis/storage.k8s.io/v1/csinodes/n1"
#define SECRET "/api/v1/namespaces/ops/secrets/key"
#define MINUTE (60 * NS_PER_S)

void attaching_begin(void);
void attaching_put(void); /* va-1, once more */

struct attaching {
	struct informer *pvs, *csi_nodes, *attachments;
	struct attacher *attacher;
};
void attaching_start(struct attaching *p, struct attach_options opts);
void attaching_stop(struct attaching *p);
/* One process from start to end of `limit_ns`. */
void attaching_run(int64_t limit_ns);

bool contains(const char *text, const char *part);

#endif
