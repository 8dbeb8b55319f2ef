/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_PROVISION_INTERNAL_H
#define CONTROL_PROVISION_INTERNAL_H

#include "control/provision.h"

#include "base/json.h"
#include "base/map.h"
#include "control/core.h"
#include "control/driver.h"
#include "control/intent.h"
#include "control/journal.h"
#include "control/object.h"
#include "control/secrets.h"
#include "control/storage.h"
#include "control/sync_gate.h"
#include "csi/service.h"
#include "kube/queue.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define ANN_PROVISIONED_BY "pv.kubernetes.io/provisioned-by"
#define ANN_DELETE_SECRET_NAME "volume.kubernetes.io/provisioner-deletion-secret-name"
#define ANN_DELETE_SECRET_NS "volume.kubernetes.io/provisioner-deletion-secret-namespace"

/* Among the keys of claims: the journal itself, which is to be opened or written out. */
#define JOURNAL_KEY ""

/* How long an infeasible claim (INVALID_ARGUMENT) rests, unless its StorageClass is made anew. */
#define INFEASIBLE_REST_NS (300 * INT64_C(1000000000))

/* What is remembered of a claim, or of a PV that is to go, between its reconciles, by UID; losing
 * it costs nothing but a metric and a retry. */
struct memo {
	int64_t first_ns;            /* first attempt */
	int64_t infeasible_until_ns; /* 0: is feasible as far as known */
	char *class_uid;             /* of the class that was infeasible */
	/* With a node of its own: when to try to have the claim for it, and how often it was tried.
	 */
	int64_t race_ns; /* 0: not said yet */
	unsigned n_races;
};

struct fence;

struct provisioner {
	/* Fixed after provisioner_new. */
	struct kube_client *client;
	struct fence *fence;
	struct control_caches caches;
	struct recorder *recorder;
	struct driver csi;
	const char *driver; /* its name */
	char *prefix;
	unsigned name_digits; /* of the UID, behind the prefix; 0: all */
	char *default_fs;
	char *identity; /* csiProvisionerIdentity of this process */
	bool grows_on_node, extra_create_metadata, strict_topology, no_immediate_topology,
		allow_mode_conversion, publish_readonly, cross_namespace;
	char *node_name; /* whose volumes alone; NULL: all */
	bool owns_immediate;
	int64_t own_base_ns, own_max_ns;
	struct journal *journal;
	struct queue *claims;  /* keys "ns/name", and JOURNAL_KEY */
	struct queue *pvs;     /* keys: names of PVs */
	struct queue *sources; /* keys "kind/ns/name" of what volumes are made of */
	struct sync_gate gate;

	pthread_mutex_t lock;      /* guards what follows; nothing is called while it is held */
	struct map *memos;         /* UID → struct memo */
	char trouble[ERR_MSG_MAX]; /* why the journal is not open; "" if nothing is wrong */
};

/* What a failed attempt means for the claim (contract of external-provisioner). */
enum attempt_state {
	ATTEMPT_NO_CHANGE,     /* before any RPC: what was in doubt stays in doubt */
	ATTEMPT_FINISHED,      /* the driver's final answer: nothing was made */
	ATTEMPT_IN_BACKGROUND, /* may have been made or be being made: ask until the answer is final
				*/
	ATTEMPT_RESCHEDULE,    /* not on this node */
	ATTEMPT_INFEASIBLE, /* repeating it soon is pointless; final unless a call was in doubt */
};

/* One reconcile of one claim. Everything lives as long as ctx->arena but the counted objects. */
struct attempt {
	struct provisioner *p;
	struct ctx *ctx;
	const char *key;
	const char *uid;                     /* the claim's */
	struct object_whole claim;           /* no obj: it is gone; no doc: it was not read yet */
	const struct kube_object *class_obj; /* owned; NULL if the class is gone */
	const char *pv_name;                 /* also the volume's name */
	bool was_in_doubt;                   /* on record: an earlier call's end is unknown */
	bool is_cleanup;                     /* the volume is asked for only to be deleted */
	enum attempt_state state;            /* read after a failure */
	struct driver_caps caps;
	struct intent it; /* what is asked for: built from claim and class, or as recorded */
};

static inline const struct core_pvc *attempt_claim(const struct attempt *a)
{
	return core_pvc_of(a->claim.obj);
}
static inline const struct storage_class *attempt_class(const struct attempt *a)
{
	return storage_class_of(a->class_obj);
}

/* The driver has it, and whoever started us reckoned with it and gave us the caches. */
static inline bool attempt_has_topology(const struct attempt *a)
{
	return a->caps.plugin & CSI_CAP_BIT(CSI_PLUGIN_VOLUME_ACCESSIBILITY_CONSTRAINTS) &&
	       a->p->caches.nodes && a->p->caches.csi_nodes;
}

/* provision.c. DeleteVolume within the timeout of one call. */
int provision_delete_volume(struct provisioner *p, struct ctx *ctx, const char *volume_id,
			    const struct secrets *secrets, struct err *err);

/* memo.c */
int64_t memo_began_ns(struct provisioner *p, const char *uid); /* the first attempt: now, if none */
/* Why the journal cannot be opened, which claims that wait for it are told; "" is nothing. The
 * second is a copy. */
void memo_set_trouble(struct provisioner *p, const char *text);
const char *memo_trouble(struct provisioner *p, struct arena *arena);
void memo_set_infeasible(struct provisioner *p, const char *uid, const char *class_uid);
int64_t memo_rest_ns(struct provisioner *p, const char *uid, const char *class_uid); /* 0: try */
void memo_forget(struct provisioner *p, const char *uid);
void memo_free_all(struct provisioner *p);
/* How long to wait before the next try to have the claim for the node; 0: now. */
int64_t memo_race_ns(struct provisioner *p, const char *uid);
void memo_lost_race(struct provisioner *p, const char *uid); /* the next one is later */

/*
 * claim.c, release.c: the two reconciles, and whether they could find anything to do for an object
 * as it stands in a cache. What no reconcile would act upon is not queued at all; whatever can make
 * a difference (journal, class, volume) is watched, and asks again for the objects it touches.
 */
bool claim_is_wanted(struct provisioner *p, const struct kube_object *claim);
bool pv_is_wanted(const struct provisioner *p, const struct kube_object *pv);
enum queue_verdict claim_reconcile(void *arg, struct ctx *ctx, const char *key,
				   int64_t *ret_after_ns);
enum queue_verdict pv_reconcile(void *arg, struct ctx *ctx, const char *key, int64_t *ret_after_ns);

/* claim_create.c: the volume that a->it asks for; a volume that must not be handed out is deleted
 * at once. On failure a->state says what the error means for the claim. */
int claim_create_volume(struct attempt *a, struct csi_volume *ret_volume, struct err *err);

/*
 * attempt.c. _read_claim: from the API server into a->claim; NOT_FOUND if it is gone.
 * _fill_intent: all of a->it but what request_build() does. _load_intent: a->it from the journal,
 * with its Secrets. _unselect_node: takes the selected node off the claim, reading anew on
 * conflict; 0 also when the claim is gone.
 */
int attempt_read_claim(struct attempt *a, struct err *err);
void attempt_fill_intent(struct attempt *a);
int attempt_load_intent(struct attempt *a, struct err *err);
int attempt_unselect_node(struct attempt *a, struct err *err);
/* Where none is selected: 1 once this one is, 0 if another one is by now or nobody needs it.
 * ABORTED: somebody else wrote meanwhile. */
int attempt_select_node(struct attempt *a, const char *node, struct err *err);
/* JOURNAL_KEY: opens it or writes it out. */
enum queue_verdict attempt_reconcile_journal(struct provisioner *p, struct ctx *ctx,
					     int64_t *ret_after_ns);
/* It is settled; the journal is written out soon. */
void attempt_drop_intent(struct attempt *a);

/*
 * source.c: the request's content source, and the finalizer that keeps the source while it is
 * needed; for a claim without a source nothing. FAILED_PRECONDITION: the source is not so far yet.
 */
int source_require(struct attempt *a, struct err *err);
/* Whether the claim may be made of its source: 1 of one of its own namespace, and of one whose
 * namespace has a ReferenceGrant for it; else 0. */
int source_is_granted(struct provisioner *p, struct ctx *ctx, const struct kube_object *claim,
		      struct err *err);
extern const struct kube_type source_grant_type;
/* Whether its protection may have to be taken off. */
bool source_is_wanted(const struct kube_object *source);
enum queue_verdict source_reconcile(void *arg, struct ctx *ctx, const char *key,
				    int64_t *ret_after_ns);

/* request.c: request, filesystem and Secrets of a->it from claim, class and caches. On failure
 * a->state says what it means. */
int request_build(struct attempt *a, struct err *err);
/* Parameters as the driver gets them. INVALID_ARGUMENT for unknown keys with Kubernetes' prefix. */
int request_strip_parameters(struct arena *arena, const struct strmap *params,
			     struct strmap *ret_params, struct err *err);
/* csi.storage.k8s.io/fstype, else (any case) fstype, else fallback. INVALID_ARGUMENT when both are
 * given. */
int request_fs_type(const struct strmap *params, const char *fallback, const char **ret_fs,
		    struct err *err);
int request_access_mode(const char *mode, bool has_multi_writer, enum vol_mode *ret_mode,
			struct err *err);

/*
 * own_node.c: a provisioner beside the driver of one node (p->node_name), of which each node has
 * one. _is_for: the claim is for this node, or for any and may become so. _race: tries that.
 * _has_volume: 1 if the PV is of this node, 0 if not, -1 if the node's labels do not tell yet.
 */
bool own_node_is_for(const struct provisioner *p, const struct kube_object *claim,
		     const struct storage_class *class);
bool own_node_is_selected(const struct provisioner *p, const struct kube_object *claim);
/* The same of the PV that is saved for the claim. It is not asked for by its volume: where that was
 * deleted meanwhile, asking would make another one. */
int own_node_has_saved(struct attempt *a, struct err *err);
enum queue_verdict own_node_race(struct attempt *a, int64_t *ret_after_ns);
int own_node_has_volume(const struct provisioner *p, const struct kube_object *pv);

/* topology.c: the request's requisite and preferred. RESCHEDULE if the selected node is not there.
 */
int topology_require(struct attempt *a, struct err *err);
/* FNV-1 over the claim's name plus its ordinal: where in n sorted terms a claim without a node
 * begins. */
size_t topology_offset(const char *claim_name, size_t n);

/* place.c: of a list of pools (vol_segment_is_pool) exactly one. Needs the whole request. */
void place_choose(struct attempt *a);

/* pv.c: 0 once the PV is saved, by us now or before. ALREADY_EXISTS if another claim's or another
 * volume's PV has the name. */
int pv_save(struct attempt *a, const struct csi_volume *volume, struct err *err);
/* 1 if a PV of this name says that it is this claim's, 0 if there is none. ALREADY_EXISTS if it is
 * another's. */
int pv_is_saved(struct attempt *a, const char *handle, struct err *err);
/* The member nodeAffinity, if there are places. */
struct json_writer;
void pv_write_affinity(struct json_writer *w, const struct vol_topologies *places);

#endif
