/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_PROVISION_H
#define CONTROL_PROVISION_H

#include "csi/service.h"

#include <stdbool.h>
#include <stdint.h>

struct ev_loop;
struct fence;
struct informer;
struct kube_client;
struct recorder;
struct work;

/* Informers that controllers of one process share; those a controller does not use may be NULL.
 * Borrowed. */
struct control_caches {
	struct informer *pvcs, *pvs, *classes, *nodes, *csi_nodes, *attachments;
	struct informer *snapshots; /* may never sync: their CRD may be missing */
};

/*
 * The provisioner: claims to volumes and PVs, released PVs to nothing, by the contract of
 * external-provisioner. Safe to kill at any step: the volume's name comes from the claim's UID, and
 * before CreateVolume the whole request is in the journal (journal.h), where it stays until the PV
 * is saved or the driver has said finally that there is no volume.
 *
 * It needs the caches of claims, PVs and classes, with topology also of nodes and CSINodes, with
 * attaching drivers of attachments, and with drivers that have snapshots of these. The rights are
 * those of external-provisioner, with get, create and update of leases in the journal's namespace.
 */
struct provisioner;

struct provision_options {
	struct ev_loop *loop;
	struct work *work;
	unsigned lane; /* of work: where it reconciles */
	struct kube_client *client;
	struct fence *fence; /* borrowed; the client's own. NULL: whoever asks leads */
	struct control_caches caches;
	struct recorder *recorder;
	struct csi_service service; /* copied; what it points to must outlive the provisioner */
	const char *driver_name;    /* copied */
	const char *journal_ns;     /* of its Leases; NULL: "default". Copied, as the three below */
	const char *journal_name;   /* NULL: "cleat-intents" */
	const char *journal_node;   /* whose node's own it is, as in its name; NULL: of none */
	const char *holder;         /* this process, for people; NULL: "cleat" */
	const char *volume_name_prefix; /* "" = "pvc" */
	unsigned name_digits;           /* so many of the UID behind it; 0: all */
	const char *default_fs;         /* "" = none */
	bool grows_on_node; /* though the driver's controller service has no call for it */
	bool extra_create_metadata;
	bool strict_topology;
	bool no_immediate_topology;
	bool cross_namespace;       /* claims may be made of what another namespace grants */
	bool publish_readonly;      /* PVs of ReadOnlyMany alone are readOnly */
	bool allow_mode_conversion; /* volumes of snapshots of the other volumeMode, unasked */
	/* The node whose driver the service is, where each node has a driver and a provisioner of
	 * its own, without a leader; NULL: there is one for all. Its caches of nodes and CSINodes
	 * hold that node alone. */
	const char *node_name;
	bool owns_immediate; /* with it: competes for claims that no node is chosen for */
	int64_t own_base_ns, own_max_ns;     /* how long it holds back in that; 0: 20 s, 60 s */
	int64_t gather_ns;                   /* of the journal (journal.h); 0: none */
	unsigned workers;                    /* 0: 16 */
	int64_t timeout_ns;                  /* of one CSI call; 0: 10 s */
	int64_t retry_base_ns, retry_max_ns; /* 0: 1 s, 5 min */
};

struct provisioner *provisioner_new(const struct provision_options *opts);
void provisioner_start(struct provisioner *p); /* begins work once the caches have synced */
/* Before the lease is given back: what is over goes out of the journal, so that the next leader
 * need not ask the driver about it. Blocks, 2 s at most; not on the loop, which runs. */
void provisioner_settle(struct provisioner *p);
void provisioner_pause(struct provisioner *p); /* lease lost: nothing more is written */
/* Before the caches are freed. Waits for reconciles under way. */
void provisioner_free(struct provisioner *p);

#endif
