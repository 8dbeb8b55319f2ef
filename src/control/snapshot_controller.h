/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_SNAPSHOT_CONTROLLER_H
#define CONTROL_SNAPSHOT_CONTROLLER_H

#include <stdbool.h>
#include <stdint.h>

struct ev_loop;
struct fence;
struct informer;
struct kube_client;
struct recorder;
struct work;

/*
 * The snapshot-controller: VolumeSnapshots to VolumeSnapshotContents and back, of all drivers of
 * the cluster, by the contract of external-snapshotter's snapshot-controller (8.7). A cluster has
 * one. It calls no driver; what cuts and deletes is the snapshotter of each (snapshotter.h). Safe
 * to kill at any step: the content's name comes from the VolumeSnapshot's UID, and finalizers keep
 * what there is still something to do about.
 *
 * Where the cluster lacks the kinds of snapshots it waits. The rights are those of upstream's.
 */
struct snapshot_controller;

struct snapshot_caches {
	struct informer *snapshots, *contents, *classes, *pvcs, *pvs;
	struct informer *groups, *group_contents,
		*group_classes; /* may never sync: few have them */
	struct informer *nodes; /* each has a snapshotter, whose name contents bear; NULL: none of
				   them has one of its own */
};

struct snapshot_controller_options {
	struct ev_loop *loop;
	struct work *work;
	unsigned lane; /* of work: where it reconciles */
	struct kube_client *client;
	struct fence *fence; /* borrowed; the client's own. NULL: whoever asks leads */
	struct snapshot_caches caches;
	struct recorder *recorder;
	bool no_source_mode; /* contents tell nothing of the volumeMode that they are cut of */
	unsigned workers;    /* 0: 16 */
	int64_t retry_base_ns, retry_max_ns; /* 0: 1 s, 5 min */
};

struct snapshot_controller *snapshot_controller_new(const struct snapshot_controller_options *opts);
void snapshot_controller_start(struct snapshot_controller *s); /* once the caches have synced */
void snapshot_controller_pause(struct snapshot_controller *s); /* nothing more is written */
/* Before the caches are freed. Waits for reconciles under way. */
void snapshot_controller_free(struct snapshot_controller *s);

#endif
