/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_ATTACH_H
#define CONTROL_ATTACH_H

#include "csi/service.h"

#include <stdbool.h>
#include <stdint.h>

struct ev_loop;
struct fence;
struct informer;
struct kube_client;
struct work;

/*
 * The attacher: VolumeAttachments to ControllerPublishVolume and back, by the contract of
 * external-attacher. Safe to kill at any step: before the first call the attachment and its PV have
 * our finalizer, and the attachment the node's id, so whoever comes next knows what may be
 * attached. With a driver that attaches nothing (no PUBLISH_UNPUBLISH_VOLUME) attachments are
 * marked as attached without a call.
 *
 * Attaching and detaching have queues of their own, so that a burst of one never holds up the
 * other; one attachment is in one of them at a time. Every so often the driver is asked by
 * ListVolumes what is attached, if it can tell, and what differs is attached or detached once more.
 *
 * The rights are those of external-attacher, and `get` of persistentvolumes and volumeattachments.
 */
struct attacher;

struct attach_options {
	struct ev_loop *loop;
	struct work *work;
	unsigned lane; /* of work: where it reconciles */
	struct kube_client *client;
	struct fence *fence; /* borrowed; the client's own. NULL: whoever asks leads */
	struct informer *pvs, *csi_nodes, *attachments; /* borrowed */
	struct csi_service service; /* copied; what it points to must outlive the attacher */
	const char *driver_name;    /* copied */
	const char *default_fs;     /* of PVs that name none; "" = none */
	/* Volumes that name no controllerPublishSecretRef, which nobody can give them later, are
	 * attached with their controllerExpandSecretRef. */
	bool lends_expand_secret;
	uint32_t max_entries;     /* of a page of ListVolumes; 0: as many as the driver likes */
	int64_t list_interval_ns; /* between two ListVolumes; 0: never */
	unsigned workers;         /* of each queue; 0: 10 */
	int64_t timeout_ns;       /* of one CSI call; 0: 15 s */
	int64_t retry_base_ns, retry_max_ns; /* 0: 1 s, 5 min */
};

struct attacher *attacher_new(const struct attach_options *opts);
void attacher_start(struct attacher *a); /* begins work once the caches have synced */
void attacher_pause(struct attacher *a); /* lease lost: nothing more is written */
/* Before the caches are freed. Waits for reconciles under way. NULL is fine. */
void attacher_free(struct attacher *a);

#endif
