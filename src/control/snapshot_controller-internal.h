/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_SNAPSHOT_CONTROLLER_INTERNAL_H
#define CONTROL_SNAPSHOT_CONTROLLER_INTERNAL_H

#include "control/snapshot_controller.h"

#include "control/core.h"
#include "control/group_snapshots.h"
#include "control/object.h"
#include "control/snapshot_ops.h"
#include "control/snapshots.h"
#include "control/sync_gate.h"
#include "kube/queue.h"
#include "kube/recorder.h"

/* All fixed after snapshot_controller_new. */
struct snapshot_controller {
	struct kube_client *client;
	struct fence *fence;
	struct snapshot_caches caches;
	struct object_store snapshots, contents, claims, groups, group_contents;
	struct recorder *recorder;
	struct snapshot_ops *ops;
	bool no_source_mode;
	struct queue *snapshot_queue;      /* keys "ns/name" */
	struct queue *content_queue;       /* keys: names */
	struct queue *claim_queue;         /* keys "ns/name" of what snapshots are cut of */
	struct queue *group_queue;         /* keys "ns/name" */
	struct queue *group_content_queue; /* keys: names */
	struct sync_gate gate, group_gate; /* a cluster may have the kinds of the first alone */
};

/* Indexes: snapshots by the claim that they are of; those that are not bound yet by their class,
 * under SNAPSHOT_NO_CLASS if they name none. */
#define SNAPSHOTS_BY_CLAIM "snapshots by claim"
#define SNAPSHOTS_BY_CLASS "snapshots by class"
#define SNAPSHOT_NO_CLASS " "
/* Classes by the annotation that makes one the default. */
#define SNAPSHOT_DEFAULT_CLASSES "default classes"
/* Groups that are not bound yet by class, as above; volumes by what their driver calls them. */
#define GROUPS_BY_CLASS "groups by class"
#define GROUP_VOLUMES_BY_HANDLE "volumes by handle"

/* One reconcile of one VolumeSnapshot. */
struct binding {
	struct snapshot_controller *s;
	struct ctx *ctx;
	const struct kube_object *obj;     /* the snapshot; owned */
	const struct kube_object *content; /* owned; NULL: none is known */
};

static inline const struct snapshot *binding_snapshot(const struct binding *b)
{
	return snapshot_of(b->obj);
}
static inline const struct snapshot_content *binding_content(const struct binding *b)
{
	return snapshot_content_of(b->content);
}

/* snapshot_controller.c. Whether a reconcile was cut off (fence.h). */
bool snapshot_controller_is_cut_off(const struct snapshot_controller *s, const struct ctx *ctx);
/* The API server's trouble, or another's write. */
enum queue_verdict binding_retry_later(const struct binding *b, const struct err *err);
/* Said as an Event and in the status, unless it stands there already. */
enum queue_verdict binding_fail(struct binding *b, const char *reason, const char *message);

/* snapshot_bind.c: a VolumeSnapshot that is not being deleted. */
enum queue_verdict snapshot_reconcile(void *arg, struct ctx *ctx, const char *key,
				      int64_t *ret_after_ns);
bool snapshot_content_is_of(const struct kube_object *content, const struct kube_object *snapshot);
/* What its content is called, by status, source or rule; and b->content from the API server, if the
 * cache has none. 0 also if there is none at all. */
const char *snapshot_content_name(const struct binding *b);
int snapshot_read_content(struct binding *b, struct err *err);
/* Status as the content says. */
int snapshot_copy_status(struct binding *b, struct err *err);

/* snapshot_make.c: b->content made, or found. -1: *ret_verdict says what comes next. */
int snapshot_choose_class(struct binding *b, enum queue_verdict *ret_verdict);
int snapshot_make_content(struct binding *b, enum queue_verdict *ret_verdict);

/* snapshot_node.c: whose snapshotter cuts of the volume, in the arena; NULL: any, or none is found.
 * And that as a content's label, a member of its metadata. */
const char *snapshot_node_of(const struct snapshot_controller *s, struct arena *arena,
			     const struct kube_object *pv);
void snapshot_write_node(struct json_writer *w, const char *node);

/* snapshot_end.c: a VolumeSnapshot that is being deleted; contents; claims that were cut of. */
enum queue_verdict snapshot_take_down(struct binding *b);
/* By a finalizer that is taken off here. */
bool snapshot_is_held(const struct kube_object *snapshot);
bool snapshot_content_is_wanted(struct snapshot_controller *s, const struct kube_object *content);
enum queue_verdict snapshot_content_reconcile(void *arg, struct ctx *ctx, const char *key,
					      int64_t *ret_after_ns);
enum queue_verdict snapshot_claim_reconcile(void *arg, struct ctx *ctx, const char *key,
					    int64_t *ret_after_ns);

/* snapshot_let_go.c: the annotation by which the snapshotter may take a deleted content down, and
 * that by which it says that it may be making what is behind one. */
struct let_go {
	const char *mark, *attempt;
};
extern const struct let_go snapshot_let_go, group_let_go;
/* The mark is put on, or taken off while there is an attempt. */
int content_let_go(const struct object_store *s, struct ctx *ctx,
		   const struct kube_object **content, const struct let_go *kind, struct err *err);
/* A deleted content whose mark is not as that leaves it. */
bool content_is_not_let_go(const struct kube_object *content, const struct let_go *kind);

/* One reconcile of one VolumeGroupSnapshot. */
struct grouping {
	struct snapshot_controller *s;
	struct ctx *ctx;
	const struct kube_object *obj;     /* the group; owned */
	const struct kube_object *content; /* owned; NULL: none is known */
};

static inline const struct group_snapshot *grouping_group(const struct grouping *g)
{
	return group_snapshot_of(g->obj);
}
static inline const struct group_content *grouping_content(const struct grouping *g)
{
	return group_content_of(g->content);
}

/* group_bind.c: as of single snapshots. */
enum queue_verdict group_reconcile(void *arg, struct ctx *ctx, const char *key,
				   int64_t *ret_after_ns);
enum queue_verdict grouping_retry_later(const struct grouping *g, const struct err *err);
enum queue_verdict grouping_fail(struct grouping *g, const char *reason, const char *message);
bool group_content_is_of(const struct kube_object *content, const struct kube_object *group);
const char *group_content_name(const struct grouping *g);
int group_read_content(struct grouping *g, struct err *err);

/* group_make.c: g->content made, or found. -1: *ret_verdict says what comes next. */
int group_choose_class(struct grouping *g, enum queue_verdict *ret_verdict);
int group_make_content(struct grouping *g, enum queue_verdict *ret_verdict);

/* group_members.c: a VolumeSnapshot and a content for each member that g->content tells of. hash:
 * what their names end with, in the arena. */
int group_make_members(struct grouping *g, struct err *err);
const char *group_member_hash(struct arena *arena, const char *group_uid,
			      const char *volume_handle);
const char *group_volume_handle(const struct kube_object *pv, size_t i);

/* group_end.c */
enum queue_verdict group_take_down(struct grouping *g);
bool snapshot_group_content_is_wanted(struct snapshot_controller *s,
				      const struct kube_object *content);
enum queue_verdict snapshot_group_content_reconcile(void *arg, struct ctx *ctx, const char *key,
						    int64_t *ret_after_ns);

/* snapshot_wake.c: which change is news for whom, put into queues. */
void snapshot_controller_watch(struct snapshot_controller *s);
void snapshot_controller_unwatch(struct snapshot_controller *s);

/* "ns/name" in two, in the arena. */
void snapshot_split_key(struct arena *arena, const char *key, const char **ret_ns,
			const char **ret_name);

#endif
