/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_ORPHANS_H
#define CONTROL_ORPHANS_H

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
 * The watch over orphans (orphan.h): every so often what the driver has is compared with what the
 * cluster knows. What was an orphan at two looks in a row is told, as a metric, a line of the log
 * and an Event on the CSIDriver. Nothing is deleted unless the operator said after which time; then
 * what the driver says was made for this cluster is, in no use, and found to be an orphan by a look
 * at the API server a moment before. If most of a kind are orphans the cluster is thought to
 * have forgotten (an etcd of yesterday), not the volumes to be of no use, and nothing is deleted.
 *
 * Since when something is an orphan is known as long as this process leads, so the time begins anew
 * with each leader.
 *
 * It needs the cache of PVs, and that of contents where the driver has snapshots. The rights are
 * list of claims, PVs, VolumeSnapshots, VolumeGroupSnapshots and their contents, and get of these,
 * of csidrivers, of the namespace kube-system, and of leases.
 */
struct orphans;

struct orphans_options {
	struct ev_loop *loop;
	struct work *work;
	unsigned lane; /* of work: where it reconciles */
	struct kube_client *client;
	struct fence *fence; /* borrowed; the client's own. NULL: whoever asks leads */
	struct informer *pvs;
	struct informer *contents, *group_contents; /* NULL: the driver has no snapshots, no groups
						     */
	struct recorder *recorder;
	struct csi_service service;  /* copied; what it points to must outlive it */
	const char *driver_name;     /* copied, as all strings */
	const char *journal_ns;      /* as the provisioners' */
	const char *volume_prefix;   /* "" = "pvc" */
	const char *snapshot_prefix; /* "" = "snapshot" */
	const char *group_prefix;    /* "" = "groupsnapshot" */
	int64_t interval_ns;         /* 0: 10 min */
	int64_t delete_after_ns;     /* 0: never */
	int64_t timeout_ns;          /* of one CSI call; 0: 1 min */
};

struct orphans *orphans_new(const struct orphans_options *opts);
void orphans_start(struct orphans *o); /* begins work once the caches have synced */
void orphans_pause(struct orphans *o); /* lease lost: nothing more is told or deleted */
/* Before the caches are freed. Waits for a look under way. NULL is fine. */
void orphans_free(struct orphans *o);

#endif
