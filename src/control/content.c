/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reconcile of a VolumeSnapshotContent, or of a VolumeGroupSnapshotContent, by what the cache
 * says, to one next act. Create, look and delete are what the kind calls so (snapshot_content.c,
 * group_content.c).
 *
 *   look ── another driver's, or nothing to do ──────────────────────────────► done
 *    ├─── to be cut, or not ready:  annotation → create → status → annotation off
 *    │                              (not ready: again after the backoff)
 *    ├─── there already, unread:    look → status
 *    └─── deleted, and let go:      delete → status emptied → finalizer off
 *
 * The annotation says that a call to create may be under way whose end nobody knows. As long as it
 * is there the content is not taken down: a deleted one is asked for to the end first, by the same
 * name, so that what comes of it is deleted and not forgotten. Every step may be the last one of
 * this process; the next one begins at the top.
 *
 * "Let go" is the snapshot-controller's other annotation, which comes when the VolumeSnapshot, or
 * the group, is deleted; a content that somebody deletes by hand keeps what was cut until then.
 * Before what destroys data is called, the content is read from the API server.
 */
#include "control/snapshotter-internal.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "control/content_view.h"
#include "control/snapshot_params.h"
#include "kube/fence.h"
#include "kube/informer.h"
#include "kube/recorder.h"

#define PREFIX "csi.storage.k8s.io/"

enum content_need { NEED_NOTHING, NEED_CUT, NEED_LOOK, NEED_SETTLE, NEED_DELETE };

static const struct content_kind *kind_of(const struct cut *c)
{
	return c->cutter->kind;
}

static bool is_cut_off(const struct cut *c)
{
	struct err why;

	return fence_check(c->cutter->s->fence, c->ctx, &why) < 0;
}

static bool has_annotation(const struct kube_object *o, const char *key)
{
	return strmap_find(&o->annotations, key);
}

/* It may go, with what is behind it. */
static bool is_let_go(const struct content_kind *kind, const struct kube_object *o,
		      const struct content_view *v)
{
	bool was_never_bound = *v->source_handle && !*v->ref_uid;

	return o->is_deleting && !has_annotation(o, kind->being_created) &&
	       (has_annotation(o, kind->being_deleted) || was_never_bound);
}

static enum content_need look_at(const struct cutter *k, const struct kube_object *o)
{
	const struct content_view v = content_view(o);
	bool is_doubted = has_annotation(o, k->kind->being_created);

	if (!str_is_equal(v.driver, k->s->csi.name))
		return NEED_NOTHING;
	if (is_let_go(k->kind, o, &v))
		return *v.handle || kube_object_has_finalizer(o, k->kind->finalizer) ? NEED_DELETE
										     : NEED_NOTHING;
	if (v.is_ready)
		return is_doubted ? NEED_SETTLE : NEED_NOTHING;
	if (o->is_deleting && !is_doubted)
		return NEED_NOTHING;
	if (!v.is_dynamic)
		return *v.source_handle ? NEED_LOOK : NEED_NOTHING;
	/* A member of a group is cut with it, and its status comes from there. */
	if (has_annotation(o, ANN_GROUP_HANDLE))
		return *v.handle ? NEED_LOOK : NEED_NOTHING;
	return *v.ref_uid ? NEED_CUT : NEED_NOTHING;
}

bool content_is_wanted(const struct cutter *k, const struct kube_object *content)
{
	return look_at(k, content) != NEED_NOTHING;
}

/* ---- the status ---- */

int64_t cut_time_ns(bool is_told, const struct pb_timestamp *time, int64_t otherwise_ns)
{
	if (is_told && time->seconds > 0 && time->seconds < INT64_MAX / NS_PER_S - 1)
		return time->seconds * NS_PER_S + time->nanos;
	return otherwise_ns;
}

int cut_patch_status(struct cut *c, const char *part, struct err *err)
{
	return object_patch(&c->cutter->contents, c->ctx, &c->obj, "status", part, "", err);
}

static int write_error(struct cut *c, const char *message, struct err *err)
{
	autostr struct str part = STR_INIT;
	struct json_writer w = JSON_WRITER(&part);
	char now[CLOCK_TEXT_MAX];

	if (str_is_equal(content_view(c->obj).error_message, message))
		return 0;
	clock_format(clock_wall_ns(), now);
	str_append(&part, "\"status\":");
	json_begin_object(&w);
	json_key(&w, "error");
	json_begin_object(&w);
	json_field_string(&w, "message", message);
	json_field_string(&w, "time", now);
	json_end_object(&w);
	json_field_bool(&w, "readyToUse", false);
	json_end_object(&w);
	return cut_patch_status(c, str_get(&part), err);
}

/* For logs: "snapshot not ready", "group snapshot not ready". */
static const char *say(const struct cut *c, const char *what)
{
	return arena_printf(c->ctx->arena, "%s %s", kind_of(c)->noun, what);
}

/* The API server's trouble, or another's write: no word on what is cut. */
static enum queue_verdict retry_later(const struct cut *c, const struct err *err)
{
	if (err->code == ERR_ABORTED || is_cut_off(c))
		log_debug(say(c, "left for later"), log_str("content", c->obj->name), log_err(err));
	else
		log_warn(say(c, "not reconciled"), log_str("content", c->obj->name), log_err(err));
	return QUEUE_RETRY;
}

static enum queue_verdict fail(struct cut *c, bool is_first, const struct err *why)
{
	const struct content_kind *kind = kind_of(c);
	const char *message = arena_printf(c->ctx->arena,
					   is_first ? "Failed to create %s: %s"
						    : "Failed to check and update %s content: %s",
					   kind->noun, why->msg);
	struct err err;

	if (is_cut_off(c))
		return QUEUE_RETRY;
	log_warn(say(c, "not ready"), log_str("content", c->obj->name), log_err(why));
	recorder_event(c->cutter->s->recorder, c->obj, RECORDER_WARNING,
		       is_first ? kind->create_failed : kind->check_failed, "%s", message);
	return write_error(c, message, &err) < 0 ? retry_later(c, &err) : QUEUE_RETRY;
}

/* ---- what is asked ---- */

static int find_class(struct cut *c, struct err *err)
{
	const char *name = content_view(c->obj).class_name;

	if (!*name)
		return 0;
	c->class_obj = informer_get(c->cutter->classes, "", name);
	if (!c->class_obj && c->obj->is_deleting)
		return 0; /* asked for without its parameters, to be deleted (is_in_doubt) */
	if (!c->class_obj)
		return err_set(err, ERR_NOT_FOUND, "%sclass %s is not there", kind_of(c)->resource,
			       name);
	if (str_is_equal(snapshot_class_of(c->class_obj)->driver, c->cutter->s->csi.name))
		return 0;
	return err_set(err, ERR_FAILED_PRECONDITION, "%sclass %s is of driver '%s'",
		       kind_of(c)->resource, name, snapshot_class_of(c->class_obj)->driver);
}

static int build_parameters(const struct cut *c, struct strmap *ret_params, struct err *err)
{
	const struct content_view v = content_view(c->obj);
	const char *resource = kind_of(c)->resource;
	struct arena *arena = c->ctx->arena;
	struct strmap params = STRMAP_EMPTY;

	if (c->class_obj &&
	    snapshot_strip_parameters(arena, &snapshot_class_of(c->class_obj)->parameters, &params,
				      err) < 0)
		return -1;
	if (c->cutter->s->extra_create_metadata) {
		params = strmap_with(arena, &params,
				     arena_printf(arena, PREFIX "%s/name", resource), v.ref_name);
		params =
			strmap_with(arena, &params,
				    arena_printf(arena, PREFIX "%s/namespace", resource), v.ref_ns);
		params = strmap_with(arena, &params,
				     arena_printf(arena, PREFIX "%scontent/name", resource),
				     c->obj->name);
	}
	*ret_params = params;
	return 0;
}

static int fetch_noted_secrets(const struct cut *c, struct secrets *ret_secrets, struct err *err)
{
	const struct strmap *notes = &c->obj->annotations;
	const struct secret_ref ref = {
		.name = str_or(strmap_find(notes, kind_of(c)->secret_name), ""),
		.ns = str_or(strmap_find(notes, kind_of(c)->secret_ns), ""),
	};

	return secret_fetch(c->cutter->s->client, c->ctx, &ref, ret_secrets, err);
}

static int build_request(struct cut *c, struct cut_request *req, struct err *err)
{
	uint64_t needed = kind_of(c)->create_caps;
	struct driver_caps caps;

	if (driver_ask(&c->cutter->s->csi, c->ctx, &caps, err) < 0)
		return -1;
	if ((caps.controller & needed) != needed)
		return err_set(err, ERR_FAILED_PRECONDITION, "driver %s does not cut snapshots",
			       c->cutter->s->csi.name);
	if (find_class(c, err) < 0 || build_parameters(c, &req->parameters, err) < 0 ||
	    fetch_noted_secrets(c, &req->secrets, err) < 0)
		return -1;
	req->name = object_asked_name(c->ctx->arena, c->cutter->prefix,
				      content_view(c->obj).ref_uid, c->cutter->name_digits);
	return 0;
}

int cut_fail_call(const struct cut *c, const char *what, struct err *err)
{
	return err_set(err, err->code, "%s: \"rpc error: code = %s desc = %s\"", what,
		       err_code_camel(err->code), arena_strdup(c->ctx->arena, err->msg));
}

/* ---- to create ---- */

static int call_create(struct cut *c, const struct cut_request *req, struct err *err)
{
	struct snapshotter *s = c->cutter->s;
	int64_t deadline_ns;
	int r;

	if (fence_check(s->fence, c->ctx, err) < 0)
		return -1;
	deadline_ns = driver_limit(&s->csi, c->ctx);
	r = kind_of(c)->create(c, req, err);
	c->ctx->deadline_ns = deadline_ns;
	return r;
}

/*
 * Whether something may have come to be, or yet come. ALREADY_EXISTS says that one of our name and
 * other properties does exist. UNKNOWN is also what is no answer of the call. Asked for without the
 * parameters of a class that is gone, a refusal says nothing of the first call.
 */
static bool is_in_doubt(const struct cut *c, enum err_code code)
{
	switch (code) {
	case ERR_CANCELLED:
	case ERR_DEADLINE_EXCEEDED:
	case ERR_UNAVAILABLE:
	case ERR_ABORTED:
	case ERR_RESOURCE_EXHAUSTED:
	case ERR_ALREADY_EXISTS:
	case ERR_UNKNOWN:
		return true;
	case ERR_OK:
	case ERR_INVALID_ARGUMENT:
	case ERR_OUT_OF_RANGE:
	case ERR_UNIMPLEMENTED:
	case ERR_NOT_FOUND:
	case ERR_PERMISSION_DENIED:
	case ERR_FAILED_PRECONDITION:
	case ERR_INTERNAL:
	case ERR_DATA_LOSS:
	case ERR_UNAUTHENTICATED:
		break;
	}
	return c->was_in_doubt && !c->class_obj && *content_view(c->obj).class_name;
}

static int settle(struct cut *c, struct err *err)
{
	return object_annotate(&c->cutter->contents, c->ctx, &c->obj, kind_of(c)->being_created,
			       NULL, err);
}

/* Deleted meanwhile; now that it is settled it may go. */
static enum queue_verdict go_on(struct cut *c)
{
	*c->ret_after_ns = 0;
	return QUEUE_RETRY_AFTER;
}

static int call_delete(struct cut *c, const struct cut_ids *ids, struct err *err)
{
	struct snapshotter *s = c->cutter->s;
	struct secrets secrets = { 0 };
	int64_t deadline_ns;
	int r;

	if (fetch_noted_secrets(c, &secrets, err) < 0) {
		if (err->code != ERR_NOT_FOUND)
			return -1;
		log_warn("secret for deletion is gone, deleting without it",
			 log_str("content", c->obj->name), log_err(err));
		secrets.map = STRMAP_EMPTY;
	}
	if (fence_check(s->fence, c->ctx, err) < 0)
		return -1;
	deadline_ns = driver_limit(&s->csi, c->ctx);
	r = kind_of(c)->remove(c, ids, &secrets, err);
	c->ctx->deadline_ns = deadline_ns;
	if (r < 0)
		return -1;
	log_info(say(c, "deleted"), log_str("content", c->obj->name),
		 log_str(kind_of(c)->log_key, ids->handle));
	return 0;
}

/*
 * The content went while it was cut: another leader had it deleted, whose deletion came before our
 * call to create. Nobody else knows of what was made. (What is to be retained may have been there
 * before, and stays.)
 */
static enum queue_verdict undo(struct cut *c)
{
	const struct content_view v = content_view(c->obj);
	struct err err;

	if (!str_is_equal(v.deletion_policy, "Delete") || *v.handle ||
	    call_delete(c, &c->made, &err) == 0)
		return QUEUE_DONE;
	log_warn(say(c, "of a content that is gone left behind"), log_str("content", c->obj->name),
		 log_str(kind_of(c)->log_key, c->made.handle), log_err(&err));
	return QUEUE_RETRY;
}

static enum queue_verdict finish_create(struct cut *c)
{
	struct err err;

	if (kind_of(c)->write_status(c, &err) < 0)
		return err.code == ERR_NOT_FOUND ? undo(c) : retry_later(c, &err);
	if (settle(c, &err) < 0)
		return retry_later(c, &err);
	kind_of(c)->log_cut(c);
	if (c->obj->is_deleting)
		return go_on(c);
	/* Not ready: asked again, by the same call, as often as it takes. */
	return c->is_ready ? QUEUE_DONE : QUEUE_RETRY;
}

static enum queue_verdict create(struct cut *c)
{
	bool is_first = !content_view(c->obj).has_status;
	struct cut_request req = { 0 };
	struct err err, why;

	c->was_in_doubt = has_annotation(c->obj, kind_of(c)->being_created);
	if (build_request(c, &req, &err) < 0)
		return fail(c, is_first, &err);
	if (object_annotate(&c->cutter->contents, c->ctx, &c->obj, kind_of(c)->being_created, "yes",
			    &err) < 0)
		return retry_later(c, &err);
	if (call_create(c, &req, &why) == 0)
		return finish_create(c);
	if (is_cut_off(c))
		return QUEUE_RETRY;
	if (!is_in_doubt(c, why.code) && settle(c, &err) < 0)
		return retry_later(c, &err);
	return fail(c, is_first, &why);
}

/* ---- what there is already ---- */

static int fetch_look_secrets(struct cut *c, struct secrets *ret_secrets, struct err *err)
{
	const struct content_view v = content_view(c->obj);
	struct secret_ref ref = { .ns = "", .name = "" };
	const struct snapshot_vars vars = {
		.content_name = c->obj->name,
		.ns = v.ref_ns,
		.name = v.ref_name,
	};

	if (find_class(c, err) < 0 ||
	    (c->class_obj && secret_ref_resolve_snapshot(
				     c->ctx->arena, &snapshot_class_of(c->class_obj)->parameters,
				     kind_of(c)->look_secret, &vars, &ref, err) < 0))
		return -1;
	return secret_fetch(c->cutter->s->client, c->ctx, &ref, ret_secrets, err);
}

static int call_look(struct cut *c, struct err *err)
{
	struct driver *csi = &c->cutter->s->csi;
	uint64_t needed = kind_of(c)->look_caps;
	struct secrets secrets = { 0 };
	struct driver_caps caps;
	int64_t deadline_ns;
	int r;

	if (driver_ask(csi, c->ctx, &caps, err) < 0)
		return -1;
	if ((caps.controller & needed) != needed)
		return 0;
	if (fetch_look_secrets(c, &secrets, err) < 0)
		return -1;
	deadline_ns = driver_limit(csi, c->ctx);
	r = kind_of(c)->look(c, &secrets, err);
	c->ctx->deadline_ns = deadline_ns;
	return r;
}

static enum queue_verdict look(struct cut *c)
{
	const struct content_view v = content_view(c->obj);
	struct err err;

	c->made.handle = arena_strdup(c->ctx->arena, str_or(v.source_handle, v.handle));
	c->is_ready = true;
	if (call_look(c, &err) < 0)
		return fail(c, false, &err);
	if (kind_of(c)->write_status(c, &err) < 0)
		return retry_later(c, &err);
	return c->is_ready ? QUEUE_DONE : QUEUE_RETRY;
}

/* ---- to delete ---- */

/* The content as the API server has it: 1, or 0 if there is nothing to delete any more. */
static int read_again(struct cut *c, struct err *err)
{
	const struct kube_object *fresh;

	if (object_read(&c->cutter->contents, c->ctx, NULL, c->obj->name, &fresh, err) < 0)
		return err->code == ERR_NOT_FOUND ? 0 : -1;
	if (!str_is_equal(fresh->uid, c->obj->uid)) {
		kube_object_unref(fresh);
		return 0;
	}
	kube_object_unref(c->obj);
	c->obj = fresh;
	return look_at(c->cutter, c->obj) == NEED_DELETE;
}

static bool is_to_delete(const struct cut *c)
{
	const struct content_view v = content_view(c->obj);

	return str_is_equal(v.deletion_policy, "Delete") && *v.handle && !*v.group_handle;
}

static int delete_it(struct cut *c, struct err *err)
{
	const struct cut_ids ids = kind_of(c)->ids_of(c);
	struct driver_caps caps;

	return driver_ask(&c->cutter->s->csi, c->ctx, &caps, err) < 0 ? -1
								      : call_delete(c, &ids, err);
}

static enum queue_verdict fail_delete(struct cut *c, const struct err *why)
{
	if (is_cut_off(c))
		return QUEUE_RETRY;
	log_warn(say(c, "not deleted"), log_str("content", c->obj->name), log_err(why));
	recorder_event(c->cutter->s->recorder, c->obj, RECORDER_WARNING, kind_of(c)->delete_failed,
		       "Failed to delete %s: %s", kind_of(c)->noun, why->msg);
	return QUEUE_RETRY;
}

static enum queue_verdict take_down(struct cut *c)
{
	struct err err;
	int r = read_again(c, &err);

	if (r <= 0)
		return r < 0 ? retry_later(c, &err) : QUEUE_DONE;
	if (is_to_delete(c)) {
		if (delete_it(c, &err) < 0)
			return fail_delete(c, &err);
		/* So that nobody takes what is gone for being there, while others' finalizers keep
		 * the object. */
		if (cut_patch_status(c, kind_of(c)->empty_status, &err) < 0)
			return err.code == ERR_NOT_FOUND ? QUEUE_DONE : retry_later(c, &err);
	}
	return object_protect(&c->cutter->contents, c->ctx, &c->obj, kind_of(c)->finalizer, false,
			      &err) < 0
		       ? retry_later(c, &err)
		       : QUEUE_DONE;
}

static enum queue_verdict reconcile(struct cut *c)
{
	struct err err;

	switch (look_at(c->cutter, c->obj)) {
	case NEED_NOTHING:
		break;
	case NEED_CUT:
		return create(c);
	case NEED_LOOK:
		return look(c);
	case NEED_SETTLE:
		if (settle(c, &err) < 0)
			return retry_later(c, &err);
		return c->obj->is_deleting ? go_on(c) : QUEUE_DONE;
	case NEED_DELETE:
		return take_down(c);
	}
	return QUEUE_DONE;
}

enum queue_verdict content_reconcile(void *arg, struct ctx *ctx, const char *key,
				     int64_t *ret_after_ns)
{
	struct cutter *k = arg;
	struct cut c = { .cutter = k, .ctx = ctx, .ret_after_ns = ret_after_ns };
	enum queue_verdict verdict = QUEUE_DONE;

	c.obj = informer_get(k->contents.cache, "", key);
	if (c.obj)
		verdict = reconcile(&c);
	kube_object_unref(c.obj);
	kube_object_unref(c.class_obj);
	return verdict;
}
