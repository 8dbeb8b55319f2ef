/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_RESIZER_H
#define CONTROL_RESIZER_H

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
 * The resizer: bound claims that ask for more than they have, and those that name another
 * VolumeAttributesClass than theirs, by the contract of external-resizer. Safe to kill at any step:
 * what is under way stands in the claim's status before the driver hears of it, and each call is
 * one that may be made again.
 *
 * It needs the caches of claims and PVs; that of VolumeAttributesClasses only wakes claims whose
 * class comes late, and may be missing or never sync. The rights are those of external-resizer, but
 * no watch of pods: those of one namespace are listed when a volume cannot grow while it is in use.
 */
struct resizer;

struct resizer_options {
	struct ev_loop *loop;
	struct work *work;
	unsigned lane; /* of work: where it reconciles */
	struct kube_client *client;
	struct fence *fence; /* borrowed; the client's own. NULL: whoever asks leads */
	struct informer *pvcs, *pvs, *classes; /* borrowed; classes may be NULL */
	struct recorder *recorder;
	struct csi_service service; /* copied; what it points to must outlive the resizer */
	const char *driver_name;    /* copied */
	const char *default_fs;     /* filesystem of PVs that name none; NULL or "": none. Copied */
	bool grows;                 /* the driver has EXPAND_VOLUME */
	bool grows_on_node; /* the driver's nodes grow what its controller service has no call for:
			       then a claim is handed on to kubelet at once */
	bool modifies;      /* the driver has MODIFY_VOLUME */
	bool extra_modify_metadata; /* the driver is told the names of claim and PV */
	bool ignores_use; /* a driver that refuses to grow what is in use is asked again and again,
			     without a look whether a pod still uses it */
	unsigned workers; /* 0: 10 */
	int64_t timeout_ns;                  /* of one CSI call; 0: 10 s */
	int64_t modify_timeout_ns;           /* of ControllerModifyVolume; 0: as timeout_ns */
	int64_t retry_base_ns, retry_max_ns; /* 0: 1 s, 5 min */
};

struct resizer *resizer_new(const struct resizer_options *opts);
void resizer_start(struct resizer *r); /* begins work once the caches have synced */
void resizer_pause(struct resizer *r); /* lease lost: nothing more is written */
/* Before the caches are freed. Waits for reconciles under way. */
void resizer_free(struct resizer *r);

#endif
