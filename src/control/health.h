/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_HEALTH_H
#define CONTROL_HEALTH_H

#include "csi/service.h"

#include <stdint.h>

struct ev_loop;
struct fence;
struct informer;
struct kube_client;
struct recorder;
struct work;

/*
 * What is wrong with volumes by their driver's word, told on their claims: status.healthStatus, as
 * external-health-monitor 0.19 writes it, and Events, since an API server without the gate
 * CSIVolumeHealth (alpha, off) drops that field. A volume is asked for alone where the list of the
 * unhealthy failed, or does not have one that was unhealthy before: only an answer that says so
 * makes a claim healthy again. What pods see of it is kubelet's.
 *
 * The rights are get, list, watch of claims and PVs, patch of persistentvolumeclaims/status, and
 * Events.
 */
struct health_monitor;

struct health_monitor_options {
	struct ev_loop *loop;
	struct work *work;
	unsigned lane; /* of work: where it reconciles */
	struct kube_client *client;
	struct fence *fence; /* borrowed; the client's own. NULL: whoever asks leads */
	struct informer *pvcs, *pvs;
	struct recorder *recorder;
	struct csi_service service; /* copied; what it points to must outlive it */
	const char *driver_name;    /* copied */
	int64_t interval_ns;        /* between two looks; 0: 5 min */
	int64_t timeout_ns;         /* of one CSI call; 0: 15 s */
};

struct health_monitor *health_monitor_new(const struct health_monitor_options *opts);
void health_monitor_start(struct health_monitor *h); /* begins once the caches have synced */
void health_monitor_pause(struct health_monitor *h); /* lease lost: nothing more is told */
/* Before the caches are freed. Waits for a look under way. NULL is fine. */
void health_monitor_free(struct health_monitor *h);

#endif
