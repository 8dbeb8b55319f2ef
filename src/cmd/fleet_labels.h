/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_FLEET_LABELS_H
#define CMD_FLEET_LABELS_H

struct ev_loop;
struct fence;
struct fleet;
struct informer;
struct kube_client;
struct work;

/*
 * Takes a pool's label off the node that had the pool, once it is another node's: kubelet never
 * does, and pods would be sent where their volume is no more. Only what two agents say counts: that
 * of the node, which answers and does not show the pool, and that of the other, which does. An
 * agent that is away says nothing, and a pool that two show is nobody's (csi/router.h).
 * Of a pool that was forgotten it is enough that the node's agent answers without it, and no other
 * agent shows it.
 */
struct fleet_labels;

struct fleet_labels_options {
	struct ev_loop *loop; /* runs; as all below, outlives it */
	struct work *work;
	struct kube_client *client;
	struct fence *fence; /* who leads, writes */
	struct fleet *fleet;
	struct informer *nodes;
	const char *driver_name; /* copied */
};

struct fleet_labels *fleet_labels_new(const struct fleet_labels_options *opts);
/* While loop and workers run; before the fleet is closed and the cache freed. Not on the loop. NULL
 * is fine. */
void fleet_labels_free(struct fleet_labels *l);

#endif
