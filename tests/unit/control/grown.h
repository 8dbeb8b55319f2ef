/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_CONTROL_GROWN_H
#define TESTS_UNIT_CONTROL_GROWN_H

/*
 * What the resizer's tests share: the cluster of cluster.h, whose claim is bound to a PV of 1Gi
 * here; a driver that grows and modifies; a process that resizes; and kubelet's part.
 */
#include "cluster.h"
#include "control/resizer.h"

#define GOLD "/apis/storage.k8s.io/v1/volumeattributesclasses/gold"
#define POD "/api/v1/namespaces/default/pods/web"

void grown_begin(void);
void grown_ask(const char *size); /* as a user edits the claim */
void grown_want_class(const char *name);
void grown_put_class(const char *name, const char *driver, const char *iops);

struct resize_process {
	struct informer *pvcs, *pvs, *classes;
	struct resizer *resizer;
};
void grown_start(struct resize_process *p, struct resizer_options opts);
void grown_stop(struct resize_process *p);

/* One process from start to end of `limit_ns`. */
void grown_run(int64_t limit_ns);

/* Does to a claim that waits for its node what kubelet does; false if none waits. */
bool grown_on_node(void);

/* Of the claim's status or, by "spec…", of an object: the text at the dotted path; "" without. */
const char *grown_at(const char *path, const char *dotted);
/* The types of the claim's conditions that are True: "Resizing,ModifyingVolume". */
const char *grown_conditions(void);

#endif
