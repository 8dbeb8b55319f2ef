/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_SNAPSHOTTER_H
#define CONTROL_SNAPSHOTTER_H

#include "csi/service.h"

#include <stdbool.h>
#include <stdint.h>

struct ev_loop;
struct fence;
struct informer;
struct kube_client;
struct recorder;
struct work;

/*
 * The snapshotter: VolumeSnapshotContents of one driver to snapshots, VolumeGroupSnapshotContents
 * to snapshots of groups, and deleted ones to nothing, by the contract of external-snapshotter's
 * sidecar (8.7). Which contents there are is the snapshot-controller's affair. Safe to kill at any
 * step: the snapshot's name comes from the VolumeSnapshot's UID, and before CreateSnapshot the
 * content bears an annotation that keeps it until the driver has answered finally.
 *
 * It needs the caches of contents and classes; where the cluster lacks these kinds it waits. The
 * rights are those of external-snapshotter's sidecar.
 */
struct snapshotter;

struct snapshotter_options {
	struct ev_loop *loop;
	struct work *work;
	unsigned lane; /* of work: where it reconciles */
	struct kube_client *client;
	struct fence *fence; /* borrowed; the client's own. NULL: whoever asks leads */
	struct informer *contents, *classes;
	struct informer *group_contents, *group_classes; /* NULL: the driver cuts no groups */
	struct recorder *recorder;
	struct csi_service service;    /* copied; what it points to must outlive the snapshotter */
	const char *driver_name;       /* copied */
	const char *name_prefix;       /* "" = "snapshot"; copied */
	const char *group_name_prefix; /* "" = "groupsnapshot"; copied */
	unsigned name_digits, group_name_digits; /* of UIDs behind these; 0: all */
	bool extra_create_metadata;
	unsigned workers;                    /* 0: 16 */
	int64_t timeout_ns;                  /* of one CSI call; 0: 1 min */
	int64_t retry_base_ns, retry_max_ns; /* 0: 1 s, 5 min */
};

struct snapshotter *snapshotter_new(const struct snapshotter_options *opts);
void snapshotter_start(struct snapshotter *s); /* begins work once the caches have synced */
void snapshotter_pause(struct snapshotter *s); /* lease lost: nothing more is written */
/* Before the caches are freed. Waits for reconciles under way. */
void snapshotter_free(struct snapshotter *s);

#endif
