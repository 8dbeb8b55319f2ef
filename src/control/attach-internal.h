/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_ATTACH_INTERNAL_H
#define CONTROL_ATTACH_INTERNAL_H

#include "control/attach.h"

#include "base/json.h"
#include "base/map.h"
#include "control/core.h"
#include "control/driver.h"
#include "control/object.h"
#include "control/secrets.h"
#include "control/storage.h"
#include "control/sync_gate.h"
#include "kube/queue.h"

#include <pthread.h>

/* Among the keys of volumes: the driver is to be asked what is attached. */
#define LIST_KEY ""

struct attacher {
	/* Fixed after attacher_new. */
	struct ev_loop *loop;
	struct kube_client *client;
	struct fence *fence;
	struct informer *pvs, *csi_nodes, *attachments;
	struct driver csi;
	char *finalizer; /* of attachments and PVs */
	char *default_fs;
	bool lends_expand_secret;
	uint32_t max_entries;
	int64_t list_interval_ns;
	struct queue *attaches, *detaches; /* keys: names of attachments */
	struct queue *volumes;             /* keys: names of PVs, and LIST_KEY */

	struct sync_gate gate;

	/* The loop's. */
	struct ev_timer *link_timer;
	uint64_t link; /* csi_link_changes() as last seen */

	pthread_mutex_t lock; /* guards what follows; nothing is called while it is held */
	struct map *at_work;  /* names of attachments → the attacher */
	struct map *forced;   /* the same: what ListVolumes told another story of */
};

/* What the spec of a PV, or an attachment's own, says about attaching. In the arena. */
struct attach_spec {
	const char *handle;
	bool is_readonly;
	struct strmap attributes;
	struct secret_ref secret;
	struct vol_capability capability;
};

/* One reconcile of one attachment. Everything lives as long as ctx->arena but the counted. */
struct attach_job {
	struct attacher *a;
	struct ctx *ctx;
	struct object_whole va;       /* as last seen; no doc: as in the cache */
	const struct kube_object *pv; /* as just read; owned. NULL: the volume is inline */
	struct driver_caps caps;
	struct attach_spec spec;
	bool is_gone;   /* the attachment */
	bool is_moved;  /* the attachment is another, or in another phase, than it began with */
	bool is_answer; /* what failed is the driver's call */
};

static inline const struct storage_attachment *attach_job_of(const struct attach_job *job)
{
	return storage_attachment_of(job->va.obj);
}
static inline bool attach_is_marked(const struct attacher *a, const struct kube_object *o)
{
	return kube_object_has_finalizer(o, a->finalizer);
}

/* attach.c */
/* Whether a reconcile could find anything to do for the object as it stands in a cache. */
bool attach_is_wanted(const struct attacher *a, const struct kube_object *attachment);
bool detach_is_wanted(const struct attacher *a, const struct kube_object *attachment);
bool attach_volume_is_wanted(const struct attacher *a, const struct kube_object *pv);

/* attach_lane.c: the two reconciles. */
enum queue_verdict attach_reconcile(void *arg, struct ctx *ctx, const char *key,
				    int64_t *ret_after_ns);
enum queue_verdict detach_reconcile(void *arg, struct ctx *ctx, const char *key,
				    int64_t *ret_after_ns);
/* It will be attached, or detached if it is being deleted, though its status says that it is. */
void attach_force(struct attacher *a, const struct kube_object *attachment);
bool attach_is_at_work(struct attacher *a, const char *name);
/* What the node is called by the driver: by its CSINode, else by the attachment's note, if that
 * counts. In the arena. FAILED_PRECONDITION: by neither. */
int attach_node_id(struct attacher *a, struct ctx *ctx, const struct kube_object *attachment,
		   bool with_note, const char **ret_id, struct err *err);

/* attach_volume.c: our finalizer on PVs; attach_list.c: ListVolumes. */
enum queue_verdict attach_volume_reconcile(void *arg, struct ctx *ctx, const char *key,
					   int64_t *ret_after_ns);
/* As object_protect (object.h): *pv is NULL afterwards if it is gone. */
int attach_volume_protect(struct attacher *a, struct ctx *ctx, const struct kube_object **pv,
			  bool is_wanted, struct err *err);
enum queue_verdict attach_list_reconcile(struct attacher *a, struct ctx *ctx,
					 int64_t *ret_after_ns);

/*
 * attach_write.c: what is written to an attachment. All are conditional on the version and made
 * again when somebody else wrote meanwhile. ABORTED and job->is_moved: the object has become
 * another one, or is being deleted now and was not. NOT_FOUND and job->is_gone: there is none.
 */
int attach_write_mark(struct attach_job *job, const char *node_id, struct err *err);
int attach_write_unmark(struct attach_job *job, struct err *err); /* 0 also when it is gone */
int attach_write_attached(struct attach_job *job, const struct strmap *metadata, struct err *err);
int attach_write_detached(struct attach_job *job, struct err *err); /* 0 also when it is gone */
/* Best effort: failures are logged. */
void attach_write_error(struct attach_job *job, const struct err *what);
/* Reads the attachment anew. */
int attach_refresh(struct attach_job *job, struct err *err);

/*
 * attach_spec.c. spec: a PersistentVolumeSpec. INVALID_ARGUMENT or FAILED_PRECONDITION name what is
 * missing or of the wrong kind. _read leaves the capability out, which only attaching needs.
 * lends_expand_secret: as of attach_options.
 */
int attach_spec_read(struct arena *arena, const struct json *spec, const char *driver,
		     bool lends_expand_secret, struct attach_spec *ret_spec, struct err *err);

#endif
