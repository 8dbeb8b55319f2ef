/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_RESIZER_INTERNAL_H
#define CONTROL_RESIZER_INTERNAL_H

#include "control/resizer.h"

#include "base/json.h"
#include "base/map.h"
#include "control/core.h"
#include "control/driver.h"
#include "control/object.h"
#include "control/secrets.h"
#include "control/sync_gate.h"
#include "kube/queue.h"

#include <pthread.h>

#define ANN_NODE_NOT_REQUIRED "volume.kubernetes.io/node-expansion-not-required"

/* Conditions of a claim. */
#define COND_RESIZING "Resizing"
#define COND_FS_PENDING "FileSystemResizePending"
#define COND_RESIZE_ERROR "ControllerResizeError"
#define COND_NODE_ERROR "NodeResizeError"
#define COND_MODIFYING "ModifyingVolume"
#define COND_MODIFY_ERROR "ModifyVolumeError"

/* What is remembered of a claim between its reconciles, by UID. Losing it costs a call too many. */
struct resize_memo {
	bool is_final;         /* the last growth failed for good: nothing of it is under way */
	bool is_in_use;        /* it failed since the volume was in use */
	int64_t rest_until_ns; /* it was infeasible; 0: it was not */
	bool is_modify_final;  /* as the first and the third, of the last modification */
	int64_t modify_rest_until_ns;
};

struct resizer {
	/* Fixed after resizer_new. */
	struct kube_client *client;
	struct fence *fence;
	struct informer *pvcs, *pvs, *classes;
	struct recorder *recorder;
	struct driver csi;
	char *default_fs;
	int64_t modify_timeout_ns;
	bool grows; /* at all */
	bool grows_on_node, modifies, extra_modify_metadata, ignores_use;
	int64_t rest_ns;      /* how long what is infeasible rests */
	struct queue *claims; /* keys "ns/name" */
	struct sync_gate gate;

	pthread_mutex_t lock; /* guards what follows; nothing is called while it is held */
	struct map *memos;    /* UID → struct resize_memo */
};

/* One reconcile of one claim. What is not counted lives as long as ctx->arena. */
struct claim_work {
	struct resizer *r;
	struct ctx *ctx;
	const char *key;
	const char *uid;           /* the claim's */
	struct object_whole claim; /* as last read or written; as in the cache at first */
	struct object_whole pv;    /* its PV */
	struct driver_caps caps;
};

static inline const struct core_pvc *work_claim(const struct claim_work *w)
{
	return core_pvc_of(w->claim.obj);
}
static inline const struct core_pv *work_pv(const struct claim_work *w)
{
	return core_pv_of(w->pv.obj);
}
static inline const struct json *work_status(const struct claim_work *w)
{
	return json_get(json_root(w->claim.doc), "status");
}
static inline const char *work_driver(const struct claim_work *w)
{
	return w->r->csi.name;
}

/*
 * resize_target.c: what a claim that asks for more than it has is to be grown to; 0: nothing is to
 * be done here now. Without whoever called before having said otherwise (status), growth goes on to
 * what it was begun for, since the driver may be at it.
 */
struct resize_facts {
	uint64_t request_bytes;
	uint64_t pv_bytes;
	uint64_t allocated_bytes; /* 0: none */
	enum core_resize status;
	bool is_final;      /* what the status says is begun failed for good */
	bool grows_on_node; /* the driver's controller service has no call for it */
	bool is_fs_pending; /* the condition: kubelet has it */
};
uint64_t resize_target(const struct resize_facts *f);

/* resize_memo.c: a copy, all zero if nothing is remembered; of zeros nothing is kept. */
struct resize_memo resize_memo_get(struct resizer *r, const char *uid);
void resize_memo_set(const struct claim_work *w, const struct resize_memo *memo);
void resize_memo_forget(struct resizer *r, const char *uid);
/* Another term begins: somebody else may have called meanwhile. */
void resize_memo_begin_anew(struct resizer *r);
void resize_memo_free_all(struct resizer *r);

/*
 * resize.c, modify.c: the two halves of a reconcile, and whether they could find anything to do for
 * a claim and its PV as they stand in caches.
 */
bool resize_is_wanted(const struct resizer *r, const struct core_pvc *claim,
		      const struct core_pv *pv);
enum queue_verdict resize_reconcile(struct claim_work *w, int64_t *ret_after_ns);
bool modify_is_wanted(const struct resizer *r, const struct core_pvc *claim);
enum queue_verdict modify_reconcile(struct claim_work *w, int64_t *ret_after_ns);

/* resize_call.c: 0 and what the driver says, which is checked. Secrets and capability are the PV's.
 * *ret_asked: whether the driver was reached; what failed before is no answer of its. */
struct resize_answer {
	uint64_t capacity_bytes;
	bool needs_node;
};
int resize_call(struct claim_work *w, uint64_t bytes, struct resize_answer *ret_answer,
		bool *ret_asked, struct err *err);
/* Whether a pod that has not ended names the claim: 1 or 0. */
int resize_look_for_pods(struct claim_work *w, struct err *err);

/*
 * claim_work.c: the claim and its PV from the API server and back into the caches.
 *
 * _read: NOT_FOUND if one of them is gone. Writes are conditional on the version that was read;
 * ABORTED: somebody else wrote. What is the same already is not written.
 */
int claim_work_read(struct claim_work *w, struct err *err);
void claim_work_done(struct claim_work *w);

struct claim_condition {
	const char *type;             /* NULL: none */
	const char *reason, *message; /* "" or NULL: without */
	bool is_probed;               /* with the time that it was found */
};
#define CLAIM_DROPS_MAX 4
#define CLAIM_CONDITIONS_MAX 2
/* What is to be in a claim's status. NULL: as it is; of texts "" takes the field off. */
struct claim_status {
	const char *capacity;  /* a quantity */
	const char *allocated; /* a quantity */
	const char *resize_status;
	const char *node_not_required; /* the annotation */
	const char *current_class;
	const char *modify_status;
	const char *modify_target; /* with a modify_status that is not "" */
	struct claim_condition conditions[CLAIM_CONDITIONS_MAX]; /* set to True; up to the first
								    without type */
	const char *drops[CLAIM_DROPS_MAX];                      /* conditions */
};
int claim_status_write(struct claim_work *w, const struct claim_status *status, struct err *err);
/* The same though somebody wrote meanwhile: reads anew and writes as long as the claim is the same
 * and still in the state (resize, modify) that it is in now. ABORTED: it is not. */
int claim_status_settle(struct claim_work *w, const struct claim_status *status, struct err *err);
bool claim_has_condition(const struct claim_work *w, const char *type);

/* What is to be in a PV; NULL: as it is, "" takes it off. Written though somebody wrote meanwhile,
 * as long as it is the same volume. */
struct pv_fields {
	const char *capacity;
	const char *pre_resize; /* the annotation */
	const char *attributes_class;
};
int claim_work_write_pv(struct claim_work *w, const struct pv_fields *fields, struct err *err);

#endif
