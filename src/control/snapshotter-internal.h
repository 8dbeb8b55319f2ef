/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_SNAPSHOTTER_INTERNAL_H
#define CONTROL_SNAPSHOTTER_INTERNAL_H

#include "control/snapshotter.h"

#include "control/driver.h"
#include "control/group_snapshots.h"
#include "control/object.h"
#include "control/snapshots.h"
#include "control/sync_gate.h"
#include "kube/queue.h"

/* All fixed after snapshotter_new. */
struct snapshotter {
	struct kube_client *client;
	struct fence *fence;
	struct object_store contents;
	struct informer *classes;
	struct object_store group_contents; /* its cache NULL: the driver cuts no groups */
	struct informer *group_classes;
	struct recorder *recorder;
	struct driver csi;
	char *prefix, *group_prefix;
	bool extra_create_metadata;
	struct queue *queue;               /* keys: names of contents */
	struct queue *group_queue;         /* keys: names of contents of groups */
	struct sync_gate gate, group_gate; /* a cluster may have the kinds of the first alone */
};

/* snapshot_content.c. Whether a reconcile could find anything to do. */
bool content_is_wanted(const struct snapshotter *s, const struct kube_object *content);
enum queue_verdict content_reconcile(void *arg, struct ctx *ctx, const char *key,
				     int64_t *ret_after_ns);

/* group_content.c: the same of groups. */
bool group_content_is_wanted(const struct snapshotter *s, const struct kube_object *content);
enum queue_verdict group_content_reconcile(void *arg, struct ctx *ctx, const char *key,
					   int64_t *ret_after_ns);

#endif
