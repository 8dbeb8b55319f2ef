/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_CAPACITY_INTERNAL_H
#define CONTROL_CAPACITY_INTERNAL_H

#include "control/capacity.h"

#include "base/arena.h"
#include "base/map.h"
#include "base/vec.h"
#include "control/driver.h"
#include "control/object.h"
#include "control/storage.h"
#include "control/sync_gate.h"
#include "kube/queue.h"

#include <pthread.h>

/* Among the keys, which are slots: the table of slots itself. */
#define PLAN_KEY ""

/* One object that is to be: its class and segment. Its strings are in its arena, which has the slot
 * itself too. */
struct slot {
	struct arena *arena;
	const char *class_name;
	struct strmap segment;
	const uint64_t *place; /* core_label_hash() of each of the segment's labels */
	int64_t good_ns;       /* when its value was last known to be true, or it came to be */
	bool is_away;          /* the driver is registered on none of its nodes now */
	bool is_published;     /* as far as this process knows */
	/* What was published last. */
	bool has_maximum;
	uint64_t capacity_bytes, maximum_bytes;
};

struct owner {
	char *json; /* an ownerReference; NULL: not known yet */
	char *uid;
};

struct capacity {
	/* Fixed after capacity_new. */
	struct fence *fence;
	struct object_store objects;
	struct informer *classes, *pvs, *pvcs, *nodes, *csi_nodes;
	struct driver csi;
	char *ns, *manager, *pod_name;
	int owner_level;
	bool covers_immediate;
	int64_t poll_ns, keep_ns;
	int64_t write_gap_ns, write_slack_ns; /* of the bound on writes; 0: none */
	struct queue *queue;                  /* keys: slots, and PLAN_KEY */
	struct sync_gate gate;

	/* Guards what follows; while it is held keys are put into the queue, nothing else. */
	pthread_mutex_t lock;
	struct map *slots;  /* slot → struct slot; those that are to be */
	bool has_plan;      /* slots is whole: what is not in it is not to be */
	bool is_stale;      /* what it was made of has changed since */
	struct owner owner; /* once known, it stays */
	int64_t next_write_ns;
};

/* An owner, or that there is none: with nothing to look for, "" for the uid. */
static inline bool capacity_has_owner(const struct capacity *c)
{
	return c->owner_level >= 0 && *c->pod_name;
}

/* capacity_plan.c: which slots there are to be, of what the caches hold. Queues those that are new
 * or no more, and objects that are nobody's. */
enum queue_verdict capacity_plan(struct capacity *c, struct ctx *ctx);
void capacity_slot_free(struct slot *s);
/* Their numbers, and their age, are the leader's to tell. A pause cancels first and says none then;
 * who finds itself cut off after it has told takes it back. */
void capacity_tell_none(void);
/* Ours: by namespace and labels. */
bool capacity_is_ours(const struct capacity *c, const struct kube_object *o);

/* capacity_publish.c: one slot, from the driver's answer to its object. */
enum queue_verdict capacity_publish(struct capacity *c, struct ctx *ctx, const char *key,
				    int64_t *ret_after_ns);

/* capacity_owner.c: 0 once c->owner is known. */
int capacity_find_owner(struct capacity *c, struct ctx *ctx, struct err *err);

#endif
