/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of a VolumeSnapshot, and the finalizers of others that hang on it.
 *
 *   deleted ── a claim waits to be made of it ─────────────► told, and kept
 *      └─ its content: annotation ("being deleted") ─► policy Delete: the content is deleted too,
 *         and the finalizers go when it is gone;  Retain: they go at once
 *
 * The annotation is what lets the snapshotter take a content down (snapshot_let_go.c). The
 * finalizers go only when the API server says that there is no content, since a cache may not have
 * it yet.
 */
#include "control/snapshot_controller-internal.h"

#include "base/arena.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "kube/informer.h"

/* ---- claims that are made of it ---- */

static int see_restore(void *arg, const struct kube_object *o)
{
	const struct kube_object **snapshot = arg;

	if (!str_is_equal(o->ns, (*snapshot)->ns) || !core_pvc_is_of_snapshot(core_pvc_of(o)))
		return 0;
	*snapshot = NULL;
	return 1;
}

static bool is_restoring(const struct binding *b)
{
	const struct kube_object *found = b->obj;

	informer_each_in(b->s->caches.pvcs, CORE_WAITING_BY_SOURCE, b->obj->name, see_restore,
			 &found);
	return !found;
}

/* ---- the snapshot ---- */

bool snapshot_is_held(const struct kube_object *o)
{
	return kube_object_has_finalizer(o, SNAPSHOT_SOURCE_FINALIZER) ||
	       kube_object_has_finalizer(o, SNAPSHOT_BOUND_FINALIZER) || snapshot_is_member(o);
}

static enum queue_verdict release(struct binding *b)
{
	static const struct finalizer_change none[] = {
		{ SNAPSHOT_SOURCE_FINALIZER, false },
		{ SNAPSHOT_BOUND_FINALIZER, false },
		{ SNAPSHOT_MEMBER_FINALIZER, false },
	};
	struct err err;

	if (object_change_finalizers(&b->s->snapshots, b->ctx, &b->obj, none, ARRAY_LEN(none),
				     &err) < 0)
		return binding_retry_later(b, &err);
	return QUEUE_DONE;
}

static enum queue_verdict fail_content(struct binding *b, const struct err *err)
{
	if (!snapshot_controller_is_cut_off(b->s, b->ctx) && err->code != ERR_ABORTED)
		recorder_event(b->s->recorder, b->obj, RECORDER_WARNING,
			       "SnapshotContentObjectDeleteError",
			       "Failed to delete snapshot content API object: %s", err->msg);
	return binding_retry_later(b, err);
}

static enum queue_verdict take_content_along(struct binding *b)
{
	bool goes_along = str_is_equal(binding_content(b)->deletion_policy, "Delete");
	struct err err;

	if (content_let_go(&b->s->contents, b->ctx, &b->content, &snapshot_let_go, &err) < 0)
		return err.code == ERR_NOT_FOUND ? QUEUE_RETRY : fail_content(b, &err);
	if (!goes_along)
		return release(b);
	if (!b->content->is_deleting &&
	    object_delete(&b->s->contents, b->ctx, b->content, &err) < 0)
		return fail_content(b, &err);
	return QUEUE_DONE; /* the content wakes it when it is gone */
}

/* 1: it goes with its group, which is there and not going. 0: nothing holds it. */
static int is_held_by_group(struct binding *b, struct err *err)
{
	autokobj const struct kube_object *group = NULL;
	const char *name = binding_snapshot(b)->group_name;

	if (!snapshot_is_member(b->obj) || !*name)
		return 0;
	if (object_read(&b->s->groups, b->ctx, b->obj->ns, name, &group, err) < 0)
		return err->code == ERR_NOT_FOUND ? 0 : -1;
	return !group->is_deleting;
}

enum queue_verdict snapshot_take_down(struct binding *b)
{
	struct err err;
	int held;

	if (!snapshot_is_held(b->obj))
		return QUEUE_DONE;
	held = is_held_by_group(b, &err);
	if (held < 0)
		return binding_retry_later(b, &err);
	if (held) {
		recorder_event(b->s->recorder, b->obj, RECORDER_WARNING, "SnapshotDeletePending",
			       "Snapshot is a member of group snapshot %s and goes with it",
			       binding_snapshot(b)->group_name);
		return QUEUE_RETRY;
	}
	if (is_restoring(b)) {
		recorder_event(b->s->recorder, b->obj, RECORDER_WARNING, "SnapshotDeletePending",
			       "Snapshot is being used to restore a PVC");
		return QUEUE_RETRY;
	}
	if (snapshot_read_content(b, &err) < 0)
		return binding_retry_later(b, &err);
	if (b->content && snapshot_content_is_of(b->content, b->obj))
		return take_content_along(b);
	return release(b);
}

/* ---- contents ---- */

static bool is_unprotected(const struct kube_object *content)
{
	const struct snapshot_content *c = snapshot_content_of(content);

	return *c->ref_uid && !content->is_deleting &&
	       !kube_object_has_finalizer(content, SNAPSHOT_CONTENT_FINALIZER);
}

/* Deleted by hand, and nobody has let it go. */
static bool is_stuck(struct snapshot_controller *s, const struct kube_object *content)
{
	const struct snapshot_content *c = snapshot_content_of(content);
	autokobj const struct kube_object *snapshot = NULL;

	if (!*c->ref_uid || !content_is_not_let_go(content, &snapshot_let_go))
		return false;
	snapshot = informer_get(s->caches.snapshots, c->ref_ns, c->ref_name);
	return !snapshot || !str_is_equal(snapshot->uid, c->ref_uid);
}

bool snapshot_content_is_wanted(struct snapshot_controller *s, const struct kube_object *content)
{
	return is_unprotected(content) || is_stuck(s, content);
}

/* 1: the API server knows no such snapshot. */
static int is_snapshot_gone(struct snapshot_controller *s, struct ctx *ctx,
			    const struct snapshot_content *c, struct err *err)
{
	autokobj const struct kube_object *snapshot = NULL;

	if (object_read(&s->snapshots, ctx, c->ref_ns, c->ref_name, &snapshot, err) < 0)
		return err->code == ERR_NOT_FOUND ? 1 : -1;
	return !str_is_equal(snapshot->uid, c->ref_uid);
}

static int reconcile_content(struct snapshot_controller *s, struct ctx *ctx,
			     const struct kube_object **content, struct err *err)
{
	int gone;

	if (is_unprotected(*content))
		return object_protect(&s->contents, ctx, content, SNAPSHOT_CONTENT_FINALIZER, true,
				      err);
	if (!is_stuck(s, *content))
		return 0;
	gone = is_snapshot_gone(s, ctx, snapshot_content_of(*content), err);
	if (gone <= 0)
		return gone;
	return content_let_go(&s->contents, ctx, content, &snapshot_let_go, err);
}

enum queue_verdict snapshot_content_reconcile(void *arg, struct ctx *ctx, const char *key,
					      int64_t *ret_after_ns)
{
	struct snapshot_controller *s = arg;
	autokobj const struct kube_object *o = informer_get(s->caches.contents, "", key);
	struct err err;

	(void)ret_after_ns;
	if (!o || reconcile_content(s, ctx, &o, &err) == 0)
		return QUEUE_DONE;
	if (err.code == ERR_NOT_FOUND)
		return QUEUE_DONE;
	if (err.code != ERR_ABORTED && !snapshot_controller_is_cut_off(s, ctx))
		log_warn("volumesnapshotcontent not reconciled", log_str("content", key),
			 log_err(&err));
	return QUEUE_RETRY;
}

/* ---- claims that snapshots were cut of ---- */

static int see_unready(void *arg, const struct kube_object *o)
{
	const char **ns = arg;

	if (!str_is_equal(o->ns, *ns) || snapshot_of(o)->is_ready)
		return 0;
	*ns = NULL;
	return 1;
}

enum queue_verdict snapshot_claim_reconcile(void *arg, struct ctx *ctx, const char *key,
					    int64_t *ret_after_ns)
{
	struct snapshot_controller *s = arg;
	autokobj const struct kube_object *o = NULL;
	const char *ns, *name, *unready;
	struct err err;

	(void)ret_after_ns;
	snapshot_split_key(ctx->arena, key, &ns, &name);
	o = informer_get(s->caches.pvcs, ns, name);
	if (!o || !kube_object_has_finalizer(o, CLAIM_SOURCE_FINALIZER))
		return QUEUE_DONE;
	unready = ns;
	informer_each_in(s->caches.snapshots, SNAPSHOTS_BY_CLAIM, name, see_unready, &unready);
	if (!unready)
		return QUEUE_DONE;
	if (object_put_finalizer(&s->claims, ctx, ns, name, o->uid, CLAIM_SOURCE_FINALIZER, false,
				 &err) == 0 ||
	    err.code == ERR_NOT_FOUND)
		return QUEUE_DONE;
	if (err.code != ERR_ABORTED && !snapshot_controller_is_cut_off(s, ctx))
		log_warn("finalizer of a claim that was cut not taken off", log_str("claim", key),
			 log_err(&err));
	return QUEUE_RETRY;
}
