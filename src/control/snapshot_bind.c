/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reconcile of a VolumeSnapshot that is not being deleted (that is snapshot_end.c).
 *
 *   its class, if it names none ─► finalizer ─► its content:
 *       of a volume:    made, if there is none (snapshot_make.c)
 *       by name:        must be there, hold a snapshot, and be meant for this VolumeSnapshot;
 *                       gets its UID
 *   ─► status as the content's ─► the second finalizer, if content and snapshot go together
 *
 * Each step looks whether it is done already, and any may be the last one of this process. What
 * waits for somebody else (the snapshotter, an administrator) is woken by the cache; an error is
 * told once, in status and as an Event, and tried again with backoff.
 */
#include "control/snapshot_controller-internal.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/str.h"
#include "kube/informer.h"

#define MEMBER_PREFIX "snapshot-"
#define MISSING "VolumeSnapshotContent is missing"

bool snapshot_content_is_of(const struct kube_object *content, const struct kube_object *snapshot)
{
	const struct snapshot_content *c = snapshot_content_of(content);

	return c && str_is_equal(c->ref_ns, snapshot->ns) &&
	       str_is_equal(c->ref_name, snapshot->name) && str_is_equal(c->ref_uid, snapshot->uid);
}

/* ---- status ---- */

static bool is_copied(const struct snapshot *s, const struct snapshot_content *c, const char *time)
{
	return str_is_equal(s->bound_content, c->meta.name) && s->is_ready == c->is_ready &&
	       (!*time || str_is_equal(s->creation_time, time)) &&
	       (!c->has_restore_bytes ||
		(s->has_restore_bytes && s->restore_bytes == c->restore_bytes)) &&
	       str_is_equal(s->error_message, c->is_ready ? "" : c->error_message);
}

static void write_error(struct json_writer *w, const struct snapshot_content *c)
{
	char now[CLOCK_TEXT_MAX];

	json_key(w, "error");
	if (c->is_ready || !*c->error_message) {
		json_put_null(w);
		return;
	}
	clock_format(clock_wall_ns(), now);
	json_begin_object(w);
	json_field_string(w, "message", c->error_message);
	json_field_string(w, "time", str_or(c->error_time, now));
	json_end_object(w);
}

static void write_status(struct json_writer *w, const struct snapshot_content *c, const char *time)
{
	char bytes[NUM_QUANTITY_MAX];

	json_begin_object(w);
	json_field_string(w, "boundVolumeSnapshotContentName", c->meta.name);
	json_field_bool(w, "readyToUse", c->is_ready);
	if (*time)
		json_field_string(w, "creationTime", time);
	if (c->has_restore_bytes) {
		num_format_quantity(c->restore_bytes, bytes);
		json_field_string(w, "restoreSize", bytes);
	}
	write_error(w, c);
	json_end_object(w);
}

static void tell_progress(const struct binding *b, bool was_created, bool was_ready)
{
	const struct snapshot *s = binding_snapshot(b);

	if (!was_created && *s->creation_time)
		recorder_event(b->s->recorder, b->obj, RECORDER_NORMAL, "SnapshotCreated",
			       "Snapshot %s/%s was successfully created by the CSI driver.",
			       b->obj->ns, b->obj->name);
	if (was_ready || !s->is_ready)
		return;
	log_info("volumesnapshot ready", log_str("namespace", b->obj->ns),
		 log_str("snapshot", b->obj->name), log_str("content", s->bound_content));
	recorder_event(b->s->recorder, b->obj, RECORDER_NORMAL, "SnapshotReady",
		       "Snapshot %s/%s is ready to use.", b->obj->ns, b->obj->name);
}

int snapshot_copy_status(struct binding *b, struct err *err)
{
	const struct snapshot_content *c = binding_content(b);
	bool was_created = *binding_snapshot(b)->creation_time;
	bool was_ready = binding_snapshot(b)->is_ready;
	autostr struct str part = STR_INIT;
	struct json_writer w = JSON_WRITER(&part);
	char time[CLOCK_TEXT_MAX];

	*time = '\0';
	if (c->creation_ns)
		clock_format(c->creation_ns, time);
	if (is_copied(binding_snapshot(b), c, time))
		return 0;
	str_append(&part, "\"status\":");
	write_status(&w, c, time);
	if (object_patch(&b->s->snapshots, b->ctx, &b->obj, "status", str_get(&part), "", err) < 0)
		return -1;
	tell_progress(b, was_created, was_ready);
	return 0;
}

/* ---- the content ---- */

const char *snapshot_content_name(const struct binding *b)
{
	const struct snapshot *s = binding_snapshot(b);

	if (*s->bound_content)
		return s->bound_content;
	if (*s->content)
		return s->content;
	if (snapshot_is_member(b->obj) && str_has_prefix(b->obj->name, MEMBER_PREFIX))
		return arena_printf(b->ctx->arena, "snapcontent-%s",
				    b->obj->name + strlen(MEMBER_PREFIX)); /* group_members.c */
	return arena_printf(b->ctx->arena, "snapcontent-%s", b->obj->uid);
}

int snapshot_read_content(struct binding *b, struct err *err)
{
	if (b->content || object_read(&b->s->contents, b->ctx, NULL, snapshot_content_name(b),
				      &b->content, err) == 0)
		return 0;
	return err->code == ERR_NOT_FOUND ? 0 : -1;
}

/* Of one that was ready: what may have become of its content meanwhile. */
static enum queue_verdict look_after(struct binding *b)
{
	struct err err;

	if (snapshot_read_content(b, &err) < 0)
		return binding_retry_later(b, &err);
	if (!b->content)
		return binding_fail(b, "SnapshotContentMissing", MISSING);
	if (!snapshot_content_is_of(b->content, b->obj))
		return binding_fail(
			b, "SnapshotMisbound",
			"VolumeSnapshotContent is not bound to the VolumeSnapshot correctly");
	return QUEUE_DONE;
}

/* Of a content that somebody else made: who it is for. */
static int bind_content(struct binding *b, struct err *err)
{
	const char *class = binding_snapshot(b)->class_name;
	autostr struct str part = STR_INIT;
	struct json_writer w = JSON_WRITER(&part);

	if (*binding_content(b)->ref_uid)
		return 0;
	str_append(&part, "\"spec\":");
	json_begin_object(&w);
	json_key(&w, "volumeSnapshotRef");
	json_begin_object(&w);
	json_field_string(&w, "uid", b->obj->uid);
	json_end_object(&w);
	if (*class)
		json_field_string(&w, "volumeSnapshotClassName", class);
	json_end_object(&w);
	return object_patch(&b->s->contents, b->ctx, &b->content, NULL, str_get(&part), "", err);
}

static bool is_for_another(const struct binding *b)
{
	const struct snapshot_content *c = binding_content(b);

	return !str_is_equal(c->ref_ns, b->obj->ns) || !str_is_equal(c->ref_name, b->obj->name) ||
	       (*c->ref_uid && !str_is_equal(c->ref_uid, b->obj->uid));
}

static enum queue_verdict misbound(struct binding *b)
{
	return binding_fail(b, "SnapshotContentMisbound",
			    arena_printf(b->ctx->arena,
					 "VolumeSnapshotContent [%s] is bound to a different "
					 "snapshot",
					 b->content->name));
}

/* 1: go on; 0: *ret_verdict says what comes next. */
static int take_named(struct binding *b, enum queue_verdict *ret_verdict)
{
	struct err err;

	*ret_verdict = QUEUE_RETRY;
	if (snapshot_read_content(b, &err) < 0)
		*ret_verdict = binding_retry_later(b, &err);
	else if (!b->content)
		*ret_verdict = binding_fail(b, "SnapshotContentMissing", MISSING);
	else if (!*binding_content(b)->source_handle)
		*ret_verdict =
			binding_fail(b, "SnapshotContentMismatch",
				     "VolumeSnapshotContent is dynamically provisioned while "
				     "expecting a pre-provisioned one");
	else if (is_for_another(b))
		*ret_verdict = misbound(b);
	else if (bind_content(b, &err) < 0)
		*ret_verdict = binding_fail(
			b, "SnapshotBindFailed",
			arena_printf(b->ctx->arena,
				     "Snapshot failed to bind VolumeSnapshotContent, %s", err.msg));
	else
		return 1;
	return 0;
}

static int take_made(struct binding *b, enum queue_verdict *ret_verdict)
{
	struct err err;

	/* What was bound once is not cut anew: that would be another moment's data. */
	if (!b->content && *binding_snapshot(b)->bound_content) {
		if (snapshot_read_content(b, &err) < 0) {
			*ret_verdict = binding_retry_later(b, &err);
			return 0;
		}
		if (!b->content) {
			*ret_verdict = binding_fail(b, "SnapshotContentMissing", MISSING);
			return 0;
		}
	}
	if (!b->content && snapshot_make_content(b, ret_verdict) < 0)
		return 0;
	if (!*binding_content(b)->volume_handle)
		*ret_verdict =
			binding_fail(b, "SnapshotContentMismatch",
				     "VolumeSnapshotContent is pre-provisioned while expecting "
				     "a dynamically provisioned one");
	else if (!snapshot_content_is_of(b->content, b->obj))
		*ret_verdict = misbound(b);
	else
		return 1;
	return 0;
}

/* ---- finalizers ---- */

static int protect(struct binding *b, struct err *err)
{
	bool goes_along = *binding_snapshot(b)->bound_content && b->content &&
			  snapshot_content_is_of(b->content, b->obj) &&
			  str_is_equal(binding_content(b)->deletion_policy, "Delete");
	const struct finalizer_change changes[] = {
		{ SNAPSHOT_SOURCE_FINALIZER, true },
		{ SNAPSHOT_BOUND_FINALIZER, true },
	};

	return object_change_finalizers(&b->s->snapshots, b->ctx, &b->obj, changes,
					goes_along ? 2 : 1, err);
}

static enum queue_verdict bind_snapshot(struct binding *b)
{
	bool is_named = *binding_snapshot(b)->content;
	enum queue_verdict verdict = QUEUE_DONE;
	struct err err;

	if (binding_snapshot(b)->is_ready && *binding_snapshot(b)->bound_content) {
		if (protect(b, &err) < 0)
			return binding_retry_later(b, &err);
		return b->obj ? look_after(b) : QUEUE_DONE;
	}
	if (!is_named && snapshot_choose_class(b, &verdict) < 0)
		return verdict;
	if (protect(b, &err) < 0)
		return binding_retry_later(b, &err);
	if (!b->obj)
		return QUEUE_DONE; /* it went meanwhile */
	if (!(is_named ? take_named(b, &verdict) : take_made(b, &verdict)))
		return verdict;
	if (snapshot_copy_status(b, &err) < 0) {
		if (!snapshot_controller_is_cut_off(b->s, b->ctx) && err.code != ERR_ABORTED)
			recorder_event(b->s->recorder, b->obj, RECORDER_WARNING,
				       "SnapshotStatusUpdateFailed",
				       "Snapshot status update failed, %s", err.msg);
		return binding_retry_later(b, &err);
	}
	return protect(b, &err) < 0 ? binding_retry_later(b, &err) : QUEUE_DONE;
}

static const char *driver_of(const struct binding *b)
{
	autokobj const struct kube_object *class = NULL;

	if (b->content)
		return binding_content(b)->driver;
	class = informer_get(b->s->caches.classes, "", binding_snapshot(b)->class_name);
	return class ? arena_strdup(b->ctx->arena, snapshot_class_of(class)->driver) : "";
}

static void count(const struct binding *b, const char *key)
{
	const struct snapshot *s = b->obj ? binding_snapshot(b) : NULL;
	struct snapshot_seen seen;

	if (s)
		seen = (struct snapshot_seen){
			.uid = b->obj->uid,
			.driver = driver_of(b),
			.is_dynamic = *s->claim,
			.is_created = *s->creation_time,
			.is_ready = s->is_ready,
			.is_deleting = b->obj->is_deleting,
			.is_let_go = b->obj->is_deleting && !snapshot_is_held(b->obj),
		};
	snapshot_ops_look(b->s->ops, SNAPSHOT_OPS_SNAPSHOT, key, s ? &seen : NULL);
}

enum queue_verdict snapshot_reconcile(void *arg, struct ctx *ctx, const char *key,
				      int64_t *ret_after_ns)
{
	struct snapshot_controller *s = arg;
	struct binding b = { .s = s, .ctx = ctx };
	enum queue_verdict verdict = QUEUE_DONE;
	const char *ns, *name;

	(void)ret_after_ns;
	snapshot_split_key(ctx->arena, key, &ns, &name);
	b.obj = informer_get(s->caches.snapshots, ns, name);
	if (b.obj) {
		b.content = informer_get(s->caches.contents, "", snapshot_content_name(&b));
		count(&b, key);
		verdict = b.obj->is_deleting ? snapshot_take_down(&b) : bind_snapshot(&b);
	}
	count(&b, key);
	kube_object_unref(b.obj);
	kube_object_unref(b.content);
	return verdict;
}
