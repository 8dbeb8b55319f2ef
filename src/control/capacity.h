/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_CAPACITY_H
#define CONTROL_CAPACITY_H

#include "base/strmap.h"
#include "csi/service.h"

#include <stdbool.h>
#include <stdint.h>

struct ev_loop;
struct fence;
struct informer;
struct kube_client;
struct work;

/*
 * What the scheduler is told of room: a CSIStorageCapacity for each segment of the driver's nodes
 * and each of its StorageClasses, by the contract of external-provisioner.
 *
 * A segment is what the Node's labels say for the topology keys that the driver registered there. A
 * value is asked for again when a volume there came, grew or went, or a claim was sent away from
 * there, within a second; and at a period. Where the driver does not answer, the last one stays for
 * a time that is an option and is then taken back.
 *
 * Objects are known by their labels and by what they are of, not by name: those of
 * external-provisioner are taken over, others are not touched. Safe to kill at any step, and two
 * that both believe to lead do no harm: an object's name comes of what it is of, and a write names
 * the version that it was decided by.
 */
struct capacity;

struct capacity_options {
	struct ev_loop *loop;
	struct work *work;
	unsigned lane; /* of work; one of its own, so that it holds up nobody */
	struct kube_client *client;
	struct fence *fence; /* borrowed; the client's own. NULL: whoever asks leads */
	struct informer *classes, *pvs, *pvcs, *capacities; /* of ns alone: the last */
	struct informer *nodes, *csi_nodes;
	struct csi_service service; /* copied; what it points to must outlive this */
	const char *driver_name;    /* copied, as the three below */
	const char *ns;             /* where the objects are */
	const char *manager;        /* in their label; NULL: "external-provisioner" */
	const char *pod_name;       /* in ns: whose owner is theirs; NULL or "": they have none */
	int owner_level; /* 0: the pod, 1: its controller, 2: that one's; <0: they have none */
	bool covers_immediate; /* also classes whose volumes are made at once */
	unsigned workers;      /* 0: 4 */
	double write_qps;      /* of its writes; 0: no bound */
	unsigned write_burst;  /* 0: qps */
	int64_t poll_ns;       /* 0: 1 min */
	int64_t keep_ns;       /* how long a value outlives its last confirmation; 0: for ever */
	int64_t timeout_ns;    /* of one CSI call; 0: 10 s */
	int64_t retry_base_ns, retry_max_ns; /* 0: 1 s, 5 min */
};

struct capacity *capacity_new(const struct capacity_options *opts);
void capacity_start(struct capacity *c); /* begins work once the caches have synced */
void capacity_pause(struct capacity *c); /* lease lost: nothing more is written */
/* Before the caches are freed. Waits for reconciles under way. */
void capacity_free(struct capacity *c);

/* The value of the label that says whose objects they are, and by which a cache selects them; node:
 * of a process that has one of its own, else "". */
#define CAPACITY_MANAGER "external-provisioner"
#define CAPACITY_MANAGER_BYTES 64
void capacity_manager(const char *node, char ret_manager[CAPACITY_MANAGER_BYTES]);

#endif
