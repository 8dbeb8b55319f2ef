/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reconcile of a VolumeGroupSnapshot that is not being deleted (that is group_end.c).
 *
 *   its class ─► its content: of what its selector finds, made if there is none (group_make.c); or
 * by name, which must be there and be meant for it ─► finalizer ─► once it is cut, a VolumeSnapshot
 *   and a content for each member (group_members.c) ─► status as the content's
 *
 * As with single snapshots each step looks whether it is done already.
 */
#include "control/snapshot_controller-internal.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "kube/informer.h"

#define MISSING "VolumeGroupSnapshotContent is missing"

bool group_content_is_of(const struct kube_object *content, const struct kube_object *group)
{
	const struct group_content *c = group_content_of(content);

	return c && str_is_equal(c->ref_ns, group->ns) && str_is_equal(c->ref_name, group->name) &&
	       str_is_equal(c->ref_uid, group->uid);
}

const char *group_content_name(const struct grouping *g)
{
	const struct group_snapshot *s = grouping_group(g);

	if (*s->bound_content)
		return s->bound_content;
	return *s->content ? s->content
			   : arena_printf(g->ctx->arena, "groupsnapcontent-%s", g->obj->uid);
}

int group_read_content(struct grouping *g, struct err *err)
{
	if (g->content || object_read(&g->s->group_contents, g->ctx, NULL, group_content_name(g),
				      &g->content, err) == 0)
		return 0;
	return err->code == ERR_NOT_FOUND ? 0 : -1;
}

enum queue_verdict grouping_retry_later(const struct grouping *g, const struct err *err)
{
	if (err->code == ERR_ABORTED || snapshot_controller_is_cut_off(g->s, g->ctx))
		log_debug("volumegroupsnapshot left for later", log_str("namespace", g->obj->ns),
			  log_str("group", g->obj->name), log_err(err));
	else
		log_warn("volumegroupsnapshot not reconciled", log_str("namespace", g->obj->ns),
			 log_str("group", g->obj->name), log_err(err));
	return QUEUE_RETRY;
}

static void write_error(struct json_writer *w, const char *message, const char *time)
{
	json_key(w, "error");
	json_begin_object(w);
	json_field_string(w, "message", message);
	json_field_string(w, "time", time);
	json_end_object(w);
}

enum queue_verdict grouping_fail(struct grouping *g, const char *reason, const char *message)
{
	autostr struct str part = STR_INIT;
	struct json_writer w = JSON_WRITER(&part);
	char now[CLOCK_TEXT_MAX];
	struct err err;

	if (snapshot_controller_is_cut_off(g->s, g->ctx) ||
	    str_is_equal(grouping_group(g)->error_message, message))
		return QUEUE_RETRY;
	log_warn("volumegroupsnapshot waits", log_str("namespace", g->obj->ns),
		 log_str("group", g->obj->name), log_str("why", message));
	recorder_event(g->s->recorder, g->obj, RECORDER_WARNING, reason, "%s", message);
	clock_format(clock_wall_ns(), now);
	str_append(&part, "\"status\":");
	json_begin_object(&w);
	write_error(&w, message, now);
	json_field_bool(&w, "readyToUse", false);
	json_end_object(&w);
	if (object_patch(&g->s->groups, g->ctx, &g->obj, "status", str_get(&part), "", &err) < 0)
		recorder_event(g->s->recorder, g->obj, RECORDER_WARNING,
			       "GroupSnapshotStatusUpdateFailed",
			       "Group snapshot status update failed, %s", err.msg);
	return QUEUE_RETRY;
}

/* ---- status ---- */

static bool is_copied(const struct group_snapshot *s, const struct group_content *c)
{
	return str_is_equal(s->bound_content, c->meta.name) && s->is_ready == c->is_ready &&
	       (!*c->creation_time || str_is_equal(s->creation_time, c->creation_time)) &&
	       str_is_equal(s->error_message, c->is_ready ? "" : c->error_message);
}

static void write_status(struct json_writer *w, const struct group_content *c)
{
	char now[CLOCK_TEXT_MAX];

	clock_format(clock_wall_ns(), now);
	json_begin_object(w);
	json_field_string(w, "boundVolumeGroupSnapshotContentName", c->meta.name);
	json_field_bool(w, "readyToUse", c->is_ready);
	if (*c->creation_time)
		json_field_string(w, "creationTime", c->creation_time);
	if (!c->is_ready && *c->error_message)
		write_error(w, c->error_message, str_or(c->error_time, now));
	else
		json_field_string(w, "error", NULL);
	json_end_object(w);
}

static int copy_status(struct grouping *g, struct err *err)
{
	bool was_created = *grouping_group(g)->creation_time;
	bool was_ready = grouping_group(g)->is_ready;
	autostr struct str part = STR_INIT;
	struct json_writer w = JSON_WRITER(&part);

	if (is_copied(grouping_group(g), grouping_content(g)))
		return 0;
	str_append(&part, "\"status\":");
	write_status(&w, grouping_content(g));
	if (object_patch(&g->s->groups, g->ctx, &g->obj, "status", str_get(&part), "", err) < 0)
		return -1;
	if (!was_created && *grouping_group(g)->creation_time)
		recorder_event(g->s->recorder, g->obj, RECORDER_NORMAL, "GroupSnapshotCreated",
			       "GroupSnapshot %s/%s was successfully created by the CSI driver.",
			       g->obj->ns, g->obj->name);
	if (!was_ready && grouping_group(g)->is_ready) {
		log_info("volumegroupsnapshot ready", log_str("namespace", g->obj->ns),
			 log_str("group", g->obj->name), log_str("content", g->content->name));
		recorder_event(g->s->recorder, g->obj, RECORDER_NORMAL, "GroupSnapshotReady",
			       "GroupSnapshot %s/%s is ready to use.", g->obj->ns, g->obj->name);
	}
	return 0;
}

/* ---- the content ---- */

static enum queue_verdict misbound(struct grouping *g)
{
	return grouping_fail(g, "GroupSnapshotContentMisbound",
			     arena_printf(g->ctx->arena,
					  "VolumeGroupSnapshotContent [%s] is bound to a different "
					  "group snapshot",
					  g->content->name));
}

static int bind_content(struct grouping *g, struct err *err)
{
	const char *class = grouping_group(g)->class_name;
	autostr struct str part = STR_INIT;
	struct json_writer w = JSON_WRITER(&part);

	if (*grouping_content(g)->ref_uid)
		return 0;
	str_append(&part, "\"spec\":");
	json_begin_object(&w);
	json_key(&w, "volumeGroupSnapshotRef");
	json_begin_object(&w);
	json_field_string(&w, "uid", g->obj->uid);
	json_end_object(&w);
	if (*class)
		json_field_string(&w, "volumeGroupSnapshotClassName", class);
	json_end_object(&w);
	return object_patch(&g->s->group_contents, g->ctx, &g->content, NULL, str_get(&part), "",
			    err);
}

static bool is_for_another(const struct grouping *g)
{
	const struct group_content *c = grouping_content(g);

	return !str_is_equal(c->ref_ns, g->obj->ns) || !str_is_equal(c->ref_name, g->obj->name) ||
	       (*c->ref_uid && !str_is_equal(c->ref_uid, g->obj->uid));
}

/* 1: go on; 0: *ret_verdict says what comes next. */
static int take_named(struct grouping *g, enum queue_verdict *ret_verdict)
{
	struct err err;

	*ret_verdict = QUEUE_RETRY;
	if (group_read_content(g, &err) < 0)
		*ret_verdict = grouping_retry_later(g, &err);
	else if (!g->content)
		*ret_verdict = grouping_fail(g, "GroupSnapshotContentMissing", MISSING);
	else if (!*grouping_content(g)->source_handle)
		*ret_verdict = grouping_fail(g, "GroupSnapshotContentMismatch",
					     "VolumeGroupSnapshotContent is dynamically "
					     "provisioned while expecting a pre-provisioned one");
	else if (is_for_another(g))
		*ret_verdict = misbound(g);
	else if (bind_content(g, &err) < 0)
		*ret_verdict = grouping_fail(
			g, "GroupSnapshotBindFailed",
			arena_printf(g->ctx->arena,
				     "GroupSnapshot failed to bind VolumeGroupSnapshotContent, %s",
				     err.msg));
	else
		return 1;
	return 0;
}

static int take_made(struct grouping *g, enum queue_verdict *ret_verdict)
{
	struct err err;

	/* What was bound once is not cut anew. */
	if (!g->content && *grouping_group(g)->bound_content) {
		if (group_read_content(g, &err) < 0) {
			*ret_verdict = grouping_retry_later(g, &err);
			return 0;
		}
		if (!g->content) {
			*ret_verdict = grouping_fail(g, "GroupSnapshotContentMissing", MISSING);
			return 0;
		}
	}
	if (!g->content && group_make_content(g, ret_verdict) < 0)
		return 0;
	if (!grouping_content(g)->volume_handles.n)
		*ret_verdict = grouping_fail(g, "GroupSnapshotContentMismatch",
					     "VolumeGroupSnapshotContent is pre-provisioned while "
					     "expecting a dynamically provisioned one");
	else if (!group_content_is_of(g->content, g->obj))
		*ret_verdict = misbound(g);
	else
		return 1;
	return 0;
}

static enum queue_verdict look_after(struct grouping *g)
{
	struct err err;

	if (group_read_content(g, &err) < 0)
		return grouping_retry_later(g, &err);
	if (!g->content)
		return grouping_fail(g, "GroupSnapshotContentMissing", MISSING);
	return group_content_is_of(g->content, g->obj) ? QUEUE_DONE : misbound(g);
}

/* Before there is anything to lose. */
static int protect(struct grouping *g, struct err *err)
{
	return object_protect(&g->s->groups, g->ctx, &g->obj, GROUP_BOUND_FINALIZER, true, err);
}

static enum queue_verdict bind_group(struct grouping *g)
{
	bool is_named = *grouping_group(g)->content;
	enum queue_verdict verdict = QUEUE_DONE;
	struct err err;

	if (grouping_group(g)->is_ready && *grouping_group(g)->bound_content)
		return look_after(g);
	if (!is_named && group_choose_class(g, &verdict) < 0)
		return verdict;
	if (protect(g, &err) < 0)
		return grouping_retry_later(g, &err);
	if (!g->obj)
		return QUEUE_DONE; /* it went meanwhile */
	if (!(is_named ? take_named(g, &verdict) : take_made(g, &verdict)))
		return verdict;
	if (*grouping_content(g)->handle && group_make_members(g, &err) < 0)
		return err.code == ERR_ABORTED || err.code == ERR_UNAVAILABLE
			       ? grouping_retry_later(g, &err)
			       : grouping_fail(g, "GroupSnapshotContentCreationFailed",
					       arena_printf(g->ctx->arena,
							    "Failed to make the members of the "
							    "group: %s",
							    err.msg));
	if (copy_status(g, &err) < 0)
		return grouping_retry_later(g, &err);
	return QUEUE_DONE;
}

static const char *driver_of(const struct grouping *g)
{
	autokobj const struct kube_object *class = NULL;

	if (g->content)
		return grouping_content(g)->driver;
	class = informer_get(g->s->caches.group_classes, "", grouping_group(g)->class_name);
	return class ? arena_strdup(g->ctx->arena, snapshot_class_of(class)->driver) : "";
}

static void count(const struct grouping *g, const char *key)
{
	const struct group_snapshot *s = g->obj ? grouping_group(g) : NULL;
	struct snapshot_seen seen;

	if (s)
		seen = (struct snapshot_seen){
			.uid = g->obj->uid,
			.driver = driver_of(g),
			.is_dynamic = !*s->content,
			.is_created = *s->creation_time,
			.is_ready = s->is_ready,
			.is_deleting = g->obj->is_deleting,
			.is_let_go = g->obj->is_deleting &&
				     !kube_object_has_finalizer(g->obj, GROUP_BOUND_FINALIZER),
		};
	snapshot_ops_look(g->s->ops, SNAPSHOT_OPS_GROUP, key, s ? &seen : NULL);
}

enum queue_verdict group_reconcile(void *arg, struct ctx *ctx, const char *key,
				   int64_t *ret_after_ns)
{
	struct snapshot_controller *s = arg;
	struct grouping g = { .s = s, .ctx = ctx };
	enum queue_verdict verdict = QUEUE_DONE;
	const char *ns, *name;

	(void)ret_after_ns;
	snapshot_split_key(ctx->arena, key, &ns, &name);
	g.obj = informer_get(s->caches.groups, ns, name);
	if (g.obj) {
		g.content = informer_get(s->caches.group_contents, "", group_content_name(&g));
		count(&g, key);
		verdict = g.obj->is_deleting ? group_take_down(&g) : bind_group(&g);
	}
	count(&g, key);
	kube_object_unref(g.obj);
	kube_object_unref(g.content);
	return verdict;
}
