/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of a VolumeGroupSnapshot:
 *
 *   deleted ── a claim waits to be made of a member ──► told, and kept
 *      └─ its members are let go and deleted ─► its content: annotation ("being deleted") ─► policy
 *         Delete: the content is deleted too, and the finalizer goes when that is gone;
 *         Retain: it goes at once
 *
 * Members are found by what the content tells of them; it does so until it is let go, which is the
 * step after.
 */
#include "control/snapshot_controller-internal.h"

#include "base/arena.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "kube/informer.h"

struct member_search {
	const char *ns;
	bool is_found;
};

static int see_restore(void *arg, const struct kube_object *o)
{
	struct member_search *search = arg;

	search->is_found =
		str_is_equal(o->ns, search->ns) && core_pvc_is_of_snapshot(core_pvc_of(o));
	return search->is_found;
}

static const char *member_name(const struct grouping *g, size_t i)
{
	const struct group_member *m = &grouping_content(g)->members[i];

	return arena_printf(g->ctx->arena, "snapshot-%s",
			    group_member_hash(g->ctx->arena, g->obj->uid, m->volume_handle));
}

static bool is_restoring(const struct grouping *g)
{
	struct member_search search = { .ns = g->obj->ns };

	for (size_t i = 0; g->content && i < grouping_content(g)->n_members; i++) {
		informer_each_in(g->s->caches.pvcs, CORE_WAITING_BY_SOURCE, member_name(g, i),
				 see_restore, &search);
		if (search.is_found)
			return true;
	}
	return false;
}

static int delete_member(const struct grouping *g, const char *name, struct err *err)
{
	autokobj const struct kube_object *o = NULL;

	if (object_read(&g->s->snapshots, g->ctx, g->obj->ns, name, &o, err) < 0)
		return err->code == ERR_NOT_FOUND ? 0 : -1;
	if (!snapshot_is_member(o))
		return 0; /* another's, by the same name */
	if (!o->is_deleting)
		return object_delete(&g->s->snapshots, g->ctx, o, err);
	/* Deleted before, and held by us: now it may go. */
	queue_add(g->s->snapshot_queue, arena_printf(g->ctx->arena, "%s/%s", o->ns, o->name));
	return 0;
}

static int delete_members(const struct grouping *g, struct err *err)
{
	for (size_t i = 0; i < grouping_content(g)->n_members; i++)
		if (delete_member(g, member_name(g, i), err) < 0)
			return -1;
	return 0;
}

static enum queue_verdict release(struct grouping *g)
{
	struct err err;

	return object_protect(&g->s->groups, g->ctx, &g->obj, GROUP_BOUND_FINALIZER, false, &err) <
			       0
		       ? grouping_retry_later(g, &err)
		       : QUEUE_DONE;
}

static enum queue_verdict take_content_along(struct grouping *g)
{
	bool goes_along = str_is_equal(grouping_content(g)->deletion_policy, "Delete");
	struct err err;

	if (delete_members(g, &err) < 0 ||
	    content_let_go(&g->s->group_contents, g->ctx, &g->content, &group_let_go, &err) < 0)
		return grouping_retry_later(g, &err);
	if (!goes_along)
		return release(g);
	if (!g->content->is_deleting &&
	    object_delete(&g->s->group_contents, g->ctx, g->content, &err) < 0)
		return grouping_retry_later(g, &err);
	return QUEUE_DONE; /* the content wakes it when it is gone */
}

enum queue_verdict group_take_down(struct grouping *g)
{
	struct err err;

	if (!kube_object_has_finalizer(g->obj, GROUP_BOUND_FINALIZER))
		return QUEUE_DONE;
	if (is_restoring(g)) {
		recorder_event(g->s->recorder, g->obj, RECORDER_WARNING,
			       "GroupSnapshotDeletePending",
			       "A member of the group snapshot is being used to restore a PVC");
		return QUEUE_RETRY;
	}
	if (group_read_content(g, &err) < 0)
		return grouping_retry_later(g, &err);
	if (g->content && group_content_is_of(g->content, g->obj))
		return take_content_along(g);
	return release(g);
}

/* ---- contents ---- */

static bool is_unprotected(const struct kube_object *content)
{
	return *group_content_of(content)->ref_uid && !content->is_deleting &&
	       !kube_object_has_finalizer(content, GROUP_CONTENT_FINALIZER);
}

/* Deleted by hand, and nobody has let it go. */
static bool is_stuck(struct snapshot_controller *s, const struct kube_object *content)
{
	const struct group_content *c = group_content_of(content);
	autokobj const struct kube_object *group = NULL;

	if (!*c->ref_uid || !content_is_not_let_go(content, &group_let_go))
		return false;
	group = informer_get(s->caches.groups, c->ref_ns, c->ref_name);
	return !group || !str_is_equal(group->uid, c->ref_uid);
}

bool snapshot_group_content_is_wanted(struct snapshot_controller *s,
				      const struct kube_object *content)
{
	return is_unprotected(content) || is_stuck(s, content);
}

static int is_group_gone(struct snapshot_controller *s, struct ctx *ctx,
			 const struct group_content *c, struct err *err)
{
	autokobj const struct kube_object *group = NULL;

	if (object_read(&s->groups, ctx, c->ref_ns, c->ref_name, &group, err) < 0)
		return err->code == ERR_NOT_FOUND ? 1 : -1;
	return !str_is_equal(group->uid, c->ref_uid);
}

static int reconcile_content(struct snapshot_controller *s, struct ctx *ctx,
			     const struct kube_object **content, struct err *err)
{
	int gone;

	if (is_unprotected(*content))
		return object_protect(&s->group_contents, ctx, content, GROUP_CONTENT_FINALIZER,
				      true, err);
	if (!is_stuck(s, *content))
		return 0;
	gone = is_group_gone(s, ctx, group_content_of(*content), err);
	if (gone <= 0)
		return gone;
	return content_let_go(&s->group_contents, ctx, content, &group_let_go, err);
}

enum queue_verdict snapshot_group_content_reconcile(void *arg, struct ctx *ctx, const char *key,
						    int64_t *ret_after_ns)
{
	struct snapshot_controller *s = arg;
	autokobj const struct kube_object *o = informer_get(s->caches.group_contents, "", key);
	struct err err;

	(void)ret_after_ns;
	if (!o || reconcile_content(s, ctx, &o, &err) == 0 || err.code == ERR_NOT_FOUND)
		return QUEUE_DONE;
	if (err.code != ERR_ABORTED && !snapshot_controller_is_cut_off(s, ctx))
		log_warn("volumegroupsnapshotcontent not reconciled", log_str("content", key),
			 log_err(&err));
	return QUEUE_RETRY;
}
