/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reconcile of a VolumeGroupSnapshotContent: that of a single content (snapshot_content.c) with
 * the calls for groups. What is cut is told member by member in the status; the members' own
 * contents are made of that by the snapshot-controller, and go with the group: nobody deletes them
 * singly.
 */
#include "control/snapshotter-internal.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "control/group_snapshots.h"
#include "control/secrets.h"
#include "control/snapshot_params.h"
#include "kube/fence.h"
#include "kube/informer.h"
#include "kube/recorder.h"

#define PREFIX "csi.storage.k8s.io/"

/* One reconcile of one content. */
struct group_cut {
	struct snapshotter *s;
	struct ctx *ctx;
	const struct kube_object *obj;       /* owned */
	const struct kube_object *class_obj; /* owned; NULL: it has none, or that is gone */
	bool was_in_doubt;                   /* the annotation was there when we came */
	int64_t *ret_after_ns;
};

enum group_need { NEED_NOTHING, NEED_GROUP, NEED_LOOK, NEED_SETTLE, NEED_DELETE };

static const struct group_content *content_of(const struct group_cut *c)
{
	return group_content_of(c->obj);
}

static bool is_cut_off(const struct group_cut *c)
{
	struct err why;

	return fence_check(c->s->fence, c->ctx, &why) < 0;
}

static bool has_annotation(const struct kube_object *o, const char *key)
{
	return strmap_find(&o->annotations, key);
}

static bool is_let_go(const struct kube_object *o)
{
	const struct group_content *c = group_content_of(o);
	bool was_never_bound = *c->source_handle && !*c->ref_uid;

	return o->is_deleting && !has_annotation(o, ANN_GROUP_BEING_CREATED) &&
	       (has_annotation(o, ANN_GROUP_BEING_DELETED) || was_never_bound);
}

static enum group_need look_at(const struct snapshotter *s, const struct kube_object *o)
{
	const struct group_content *c = group_content_of(o);
	bool is_doubted = has_annotation(o, ANN_GROUP_BEING_CREATED);

	if (!str_is_equal(c->driver, s->csi.name))
		return NEED_NOTHING;
	if (is_let_go(o))
		return *c->handle || kube_object_has_finalizer(o, GROUP_CONTENT_FINALIZER)
			       ? NEED_DELETE
			       : NEED_NOTHING;
	if (c->is_ready)
		return is_doubted ? NEED_SETTLE : NEED_NOTHING;
	if (o->is_deleting && !is_doubted)
		return NEED_NOTHING;
	if (c->volume_handles.n)
		return *c->ref_uid ? NEED_GROUP : NEED_NOTHING;
	return *c->source_handle ? NEED_LOOK : NEED_NOTHING;
}

bool group_content_is_wanted(const struct snapshotter *s, const struct kube_object *content)
{
	return look_at(s, content) != NEED_NOTHING;
}

/* ---- the status ---- */

/* Nanoseconds since the epoch; now, if it is not told. */
static int64_t creation_ns(bool has_time, const struct pb_timestamp *time)
{
	if (has_time && time->seconds > 0 && time->seconds < INT64_MAX / NS_PER_S - 1)
		return time->seconds * NS_PER_S + time->nanos;
	return clock_wall_ns();
}

static bool is_ready(const struct csi_volume_group_snapshot *group)
{
	bool all = group->ready_to_use;

	for (size_t i = 0; i < group->n_snapshots; i++)
		all &= group->snapshots[i].ready_to_use;
	return all;
}

static void write_member(struct json_writer *w, const struct csi_snapshot *snapshot)
{
	json_begin_object(w);
	json_field_string(w, "volumeHandle", snapshot->source_volume_id);
	json_field_string(w, "snapshotHandle", snapshot->snapshot_id);
	json_field_i64(w, "creationTime",
		       creation_ns(snapshot->has_creation_time, &snapshot->creation_time));
	json_field_bool(w, "readyToUse", snapshot->ready_to_use);
	if (snapshot->size_bytes)
		json_field_u64(w, "restoreSize", snapshot->size_bytes);
	json_end_object(w);
}

static int write_status(struct group_cut *c, const struct csi_volume_group_snapshot *group,
			struct err *err)
{
	autostr struct str part = STR_INIT;
	struct json_writer w = JSON_WRITER(&part);
	char time[CLOCK_TEXT_MAX];

	clock_format(creation_ns(group->has_creation_time, &group->creation_time), time);
	str_append(&part, "\"status\":");
	json_begin_object(&w);
	json_field_string(&w, "volumeGroupSnapshotHandle", group->group_snapshot_id);
	json_field_bool(&w, "readyToUse", is_ready(group));
	json_field_string(&w, "creationTime", str_or(content_of(c)->creation_time, time));
	json_key(&w, "volumeSnapshotInfoList");
	json_begin_array(&w);
	for (size_t i = 0; i < group->n_snapshots; i++)
		write_member(&w, &group->snapshots[i]);
	json_end_array(&w);
	json_field_string(&w, "error", NULL);
	json_end_object(&w);
	return object_patch(&c->s->group_contents, c->ctx, &c->obj, "status", str_get(&part), "",
			    err);
}

static int write_error(struct group_cut *c, const char *message, struct err *err)
{
	autostr struct str part = STR_INIT;
	struct json_writer w = JSON_WRITER(&part);
	char now[CLOCK_TEXT_MAX];

	if (str_is_equal(content_of(c)->error_message, message))
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
	return object_patch(&c->s->group_contents, c->ctx, &c->obj, "status", str_get(&part), "",
			    err);
}

/* The API server's trouble, or another's write: no word on the group. */
static enum queue_verdict retry_later(const struct group_cut *c, const struct err *err)
{
	if (err->code == ERR_ABORTED || is_cut_off(c))
		log_debug("group snapshot left for later", log_str("content", c->obj->name),
			  log_err(err));
	else
		log_warn("group snapshot not reconciled", log_str("content", c->obj->name),
			 log_err(err));
	return QUEUE_RETRY;
}

static enum queue_verdict fail(struct group_cut *c, bool is_first, const struct err *why)
{
	const char *reason = is_first ? "GroupSnapshotCreationFailed"
				      : "GroupSnapshotContentCheckandUpdateFailed";
	const char *message =
		arena_printf(c->ctx->arena, "%s: %s",
			     is_first ? "Failed to create group snapshot"
				      : "Failed to check and update group snapshot content",
			     why->msg);
	struct err err;

	if (is_cut_off(c))
		return QUEUE_RETRY;
	log_warn("group snapshot not ready", log_str("content", c->obj->name), log_err(why));
	recorder_event(c->s->recorder, c->obj, RECORDER_WARNING, reason, "%s", message);
	return write_error(c, message, &err) < 0 ? retry_later(c, &err) : QUEUE_RETRY;
}

/* ---- what is asked ---- */

static int find_class(struct group_cut *c, struct err *err)
{
	const char *name = content_of(c)->class_name;

	if (!*name)
		return 0;
	c->class_obj = informer_get(c->s->group_classes, "", name);
	if (!c->class_obj && c->obj->is_deleting)
		return 0; /* asked for without its parameters, to be deleted (is_in_doubt) */
	if (!c->class_obj)
		return err_set(err, ERR_NOT_FOUND, "volumegroupsnapshotclass %s is not there",
			       name);
	if (str_is_equal(group_class_of(c->class_obj)->driver, c->s->csi.name))
		return 0;
	return err_set(err, ERR_FAILED_PRECONDITION,
		       "volumegroupsnapshotclass %s is of driver '%s'", name,
		       group_class_of(c->class_obj)->driver);
}

static int build_parameters(struct group_cut *c, struct strmap *ret_params, struct err *err)
{
	struct arena *arena = c->ctx->arena;
	struct strmap params = STRMAP_EMPTY;

	if (c->class_obj &&
	    snapshot_strip_parameters(arena, &group_class_of(c->class_obj)->parameters, &params,
				      err) < 0)
		return -1;
	if (c->s->extra_create_metadata) {
		params = strmap_with(arena, &params, PREFIX "volumegroupsnapshot/name",
				     content_of(c)->ref_name);
		params = strmap_with(arena, &params, PREFIX "volumegroupsnapshot/namespace",
				     content_of(c)->ref_ns);
		params = strmap_with(arena, &params, PREFIX "volumegroupsnapshotcontent/name",
				     c->obj->name);
	}
	*ret_params = params;
	return 0;
}

static int fetch_noted_secrets(struct group_cut *c, struct secrets *ret_secrets, struct err *err)
{
	const struct secret_ref ref = {
		.name = str_or(strmap_find(&c->obj->annotations, ANN_GROUP_SECRET_NAME), ""),
		.ns = str_or(strmap_find(&c->obj->annotations, ANN_GROUP_SECRET_NS), ""),
	};

	return secret_fetch(c->s->client, c->ctx, &ref, ret_secrets, err);
}

/* Copies in the arena, since the object is replaced as it is written. */
static const char *const *copy_strings(struct arena *arena, const struct kube_string_list *list)
{
	const char **v = arena_array(arena, list->n, sizeof(*v));

	for (size_t i = 0; i < list->n; i++)
		v[i] = arena_strdup(arena, list->v[i]);
	return v;
}

static int build_request(struct group_cut *c, struct csi_create_volume_group_snapshot_request *req,
			 struct err *err)
{
	struct driver_caps caps;

	if (driver_ask(&c->s->csi, c->ctx, &caps, err) < 0 || find_class(c, err) < 0 ||
	    build_parameters(c, &req->parameters, err) < 0 ||
	    fetch_noted_secrets(c, &req->secrets, err) < 0)
		return -1;
	req->name =
		arena_printf(c->ctx->arena, "%s-%s", c->s->group_prefix, content_of(c)->ref_uid);
	req->source_volume_ids = copy_strings(c->ctx->arena, &content_of(c)->volume_handles);
	req->n_source_volume_ids = content_of(c)->volume_handles.n;
	return 0;
}

/* In words of upstream's, with the code that the call ended with. */
static int fail_call(struct group_cut *c, const char *what, struct err *err)
{
	return err_set(err, err->code, "%s: \"rpc error: code = %s desc = %s\"", what,
		       err_code_camel(err->code), arena_strdup(c->ctx->arena, err->msg));
}

static int call_create(struct group_cut *c,
		       const struct csi_create_volume_group_snapshot_request *req,
		       struct csi_volume_group_snapshot *ret_group, struct err *err)
{
	struct csi_create_volume_group_snapshot_response reply;
	int64_t deadline_ns;
	int r;

	if (fence_check(c->s->fence, c->ctx, err) < 0)
		return -1;
	deadline_ns = driver_limit(&c->s->csi, c->ctx);
	r = csi_create_volume_group_snapshot(&c->s->csi.service, c->ctx, req, &reply, err);
	c->ctx->deadline_ns = deadline_ns;
	if (r < 0)
		return fail_call(c, "failed to take group snapshot of the volumes", err);
	if (str_is_empty(reply.group_snapshot.group_snapshot_id))
		return err_set(err, ERR_UNKNOWN,
			       "the driver answered CreateVolumeGroupSnapshot without a "
			       "group_snapshot_id");
	*ret_group = reply.group_snapshot;
	return 0;
}

/* As for single snapshots: whether a group may have come to be, or yet come. */
static bool is_in_doubt(const struct group_cut *c, enum err_code code)
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
	return c->was_in_doubt && !c->class_obj && *content_of(c)->class_name;
}

/* ---- DeleteVolumeGroupSnapshot ---- */

/* The members as the status tells, or as the content was brought along. */
static void name_members(struct group_cut *c, struct csi_delete_volume_group_snapshot_request *req)
{
	const struct group_content *o = content_of(c);
	const char **ids = arena_array(c->ctx->arena, o->n_members, sizeof(*ids));

	for (size_t i = 0; i < o->n_members; i++)
		ids[i] = arena_strdup(c->ctx->arena, o->members[i].handle);
	req->snapshot_ids = ids;
	req->n_snapshot_ids = o->n_members;
	if (o->n_members)
		return;
	req->snapshot_ids = copy_strings(c->ctx->arena, &o->snapshot_handles);
	req->n_snapshot_ids = o->snapshot_handles.n;
}

static int call_delete(struct group_cut *c, struct csi_delete_volume_group_snapshot_request *req,
		       struct err *err)
{
	struct csi_delete_volume_group_snapshot_response reply;
	int64_t deadline_ns;
	int r;

	if (fetch_noted_secrets(c, &req->secrets, err) < 0) {
		if (err->code != ERR_NOT_FOUND)
			return -1;
		log_warn("secret for deletion is gone, deleting without it",
			 log_str("content", c->obj->name), log_err(err));
		req->secrets.map = STRMAP_EMPTY;
	}
	if (fence_check(c->s->fence, c->ctx, err) < 0)
		return -1;
	deadline_ns = driver_limit(&c->s->csi, c->ctx);
	r = csi_delete_volume_group_snapshot(&c->s->csi.service, c->ctx, req, &reply, err);
	c->ctx->deadline_ns = deadline_ns;
	if (r < 0)
		return fail_call(c, "failed to delete group snapshot", err);
	log_info("group snapshot deleted", log_str("content", c->obj->name),
		 log_str("group", req->group_snapshot_id));
	return 0;
}

/* ---- CreateVolumeGroupSnapshot ---- */

static int settle(struct group_cut *c, struct err *err)
{
	return object_annotate(&c->s->group_contents, c->ctx, &c->obj, ANN_GROUP_BEING_CREATED,
			       NULL, err);
}

/* The content went while its group was cut (snapshot_content.c). */
static enum queue_verdict undo(struct group_cut *c, const struct csi_volume_group_snapshot *group)
{
	const char **ids = arena_array(c->ctx->arena, group->n_snapshots, sizeof(*ids));
	struct csi_delete_volume_group_snapshot_request req = {
		.group_snapshot_id = group->group_snapshot_id,
		.snapshot_ids = ids,
		.n_snapshot_ids = group->n_snapshots,
	};
	struct err err;

	for (size_t i = 0; i < group->n_snapshots; i++)
		ids[i] = group->snapshots[i].snapshot_id;
	if (!str_is_equal(content_of(c)->deletion_policy, "Delete") || *content_of(c)->handle ||
	    call_delete(c, &req, &err) == 0)
		return QUEUE_DONE;
	log_warn("group snapshot of a content that is gone left behind",
		 log_str("content", c->obj->name), log_str("group", group->group_snapshot_id),
		 log_err(&err));
	return QUEUE_RETRY;
}

static enum queue_verdict go_on(struct group_cut *c)
{
	*c->ret_after_ns = 0;
	return QUEUE_RETRY_AFTER;
}

static enum queue_verdict finish_create(struct group_cut *c,
					const struct csi_volume_group_snapshot *group)
{
	struct err err;

	if (write_status(c, group, &err) < 0)
		return err.code == ERR_NOT_FOUND ? undo(c, group) : retry_later(c, &err);
	if (settle(c, &err) < 0)
		return retry_later(c, &err);
	log_info("group snapshot cut", log_str("content", c->obj->name),
		 log_str("group", group->group_snapshot_id), log_u64("members", group->n_snapshots),
		 log_bool("ready", is_ready(group)));
	if (c->obj->is_deleting)
		return go_on(c);
	return is_ready(group) ? QUEUE_DONE : QUEUE_RETRY;
}

static enum queue_verdict create(struct group_cut *c)
{
	bool is_first = !content_of(c)->has_status;
	struct csi_create_volume_group_snapshot_request req = { 0 };
	struct csi_volume_group_snapshot group = { 0 };
	struct err err, why;

	c->was_in_doubt = has_annotation(c->obj, ANN_GROUP_BEING_CREATED);
	if (build_request(c, &req, &err) < 0)
		return fail(c, is_first, &err);
	if (object_annotate(&c->s->group_contents, c->ctx, &c->obj, ANN_GROUP_BEING_CREATED, "yes",
			    &err) < 0)
		return retry_later(c, &err);
	if (call_create(c, &req, &group, &why) == 0)
		return finish_create(c, &group);
	if (is_cut_off(c))
		return QUEUE_RETRY;
	if (!is_in_doubt(c, why.code) && settle(c, &err) < 0)
		return retry_later(c, &err);
	return fail(c, is_first, &why);
}

/* ---- a group that there is ---- */

static int fetch_get_secrets(struct group_cut *c, struct secrets *ret_secrets, struct err *err)
{
	struct secret_ref ref = { .ns = "", .name = "" };
	const struct snapshot_vars vars = {
		.content_name = c->obj->name,
		.ns = content_of(c)->ref_ns,
		.name = content_of(c)->ref_name,
	};

	if (find_class(c, err) < 0 ||
	    (c->class_obj &&
	     secret_ref_resolve_snapshot(c->ctx->arena, &group_class_of(c->class_obj)->parameters,
					 SNAPSHOT_SECRET_GROUP_GET, &vars, &ref, err) < 0))
		return -1;
	return secret_fetch(c->s->client, c->ctx, &ref, ret_secrets, err);
}

static int call_get(struct group_cut *c, struct csi_volume_group_snapshot *ret_group,
		    struct err *err)
{
	struct csi_get_volume_group_snapshot_request req = {
		.group_snapshot_id = arena_strdup(c->ctx->arena, content_of(c)->source_handle),
		.snapshot_ids = copy_strings(c->ctx->arena, &content_of(c)->snapshot_handles),
		.n_snapshot_ids = content_of(c)->snapshot_handles.n,
	};
	struct csi_get_volume_group_snapshot_response reply;
	struct driver_caps caps;
	int64_t deadline_ns;
	int r;

	if (driver_ask(&c->s->csi, c->ctx, &caps, err) < 0 ||
	    fetch_get_secrets(c, &req.secrets, err) < 0)
		return -1;
	deadline_ns = driver_limit(&c->s->csi, c->ctx);
	r = csi_get_volume_group_snapshot(&c->s->csi.service, c->ctx, &req, &reply, err);
	c->ctx->deadline_ns = deadline_ns;
	if (r < 0)
		return fail_call(c, "failed to get group snapshot", err);
	*ret_group = reply.group_snapshot;
	return 0;
}

static enum queue_verdict look(struct group_cut *c)
{
	struct csi_volume_group_snapshot group = { 0 };
	struct err err;

	if (call_get(c, &group, &err) < 0)
		return fail(c, false, &err);
	if (write_status(c, &group, &err) < 0)
		return retry_later(c, &err);
	return is_ready(&group) ? QUEUE_DONE : QUEUE_RETRY;
}

/* ---- the end ---- */

/* The content as the API server has it: 1, or 0 if there is nothing to delete any more. */
static int read_again(struct group_cut *c, struct err *err)
{
	const struct kube_object *fresh;

	if (object_read(&c->s->group_contents, c->ctx, NULL, c->obj->name, &fresh, err) < 0)
		return err->code == ERR_NOT_FOUND ? 0 : -1;
	if (!str_is_equal(fresh->uid, c->obj->uid)) {
		kube_object_unref(fresh);
		return 0;
	}
	kube_object_unref(c->obj);
	c->obj = fresh;
	return look_at(c->s, c->obj) == NEED_DELETE;
}

static int delete_group(struct group_cut *c, struct err *err)
{
	struct csi_delete_volume_group_snapshot_request req = {
		.group_snapshot_id = arena_strdup(c->ctx->arena, content_of(c)->handle),
	};
	struct driver_caps caps;

	name_members(c, &req);
	return driver_ask(&c->s->csi, c->ctx, &caps, err) < 0 ? -1 : call_delete(c, &req, err);
}

static enum queue_verdict take_down(struct group_cut *c)
{
	static const char none[] = "\"status\":{\"volumeGroupSnapshotHandle\":null,\"readyToUse\":"
				   "null,\"creationTime\":null,\"volumeSnapshotInfoList\":null}";
	struct err err;
	int r = read_again(c, &err);

	if (r <= 0)
		return r < 0 ? retry_later(c, &err) : QUEUE_DONE;
	if (str_is_equal(content_of(c)->deletion_policy, "Delete") && *content_of(c)->handle) {
		if (delete_group(c, &err) < 0) {
			if (is_cut_off(c))
				return QUEUE_RETRY;
			log_warn("group snapshot not deleted", log_str("content", c->obj->name),
				 log_err(&err));
			recorder_event(c->s->recorder, c->obj, RECORDER_WARNING,
				       "GroupSnapshotDeleteError",
				       "Failed to delete group snapshot: %s", err.msg);
			return QUEUE_RETRY;
		}
		if (object_patch(&c->s->group_contents, c->ctx, &c->obj, "status", none, "", &err) <
		    0)
			return err.code == ERR_NOT_FOUND ? QUEUE_DONE : retry_later(c, &err);
	}
	return object_protect(&c->s->group_contents, c->ctx, &c->obj, GROUP_CONTENT_FINALIZER,
			      false, &err) < 0
		       ? retry_later(c, &err)
		       : QUEUE_DONE;
}

static enum queue_verdict reconcile(struct group_cut *c)
{
	struct err err;

	switch (look_at(c->s, c->obj)) {
	case NEED_NOTHING:
		break;
	case NEED_GROUP:
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

enum queue_verdict group_content_reconcile(void *arg, struct ctx *ctx, const char *key,
					   int64_t *ret_after_ns)
{
	struct snapshotter *s = arg;
	struct group_cut c = { .s = s, .ctx = ctx, .ret_after_ns = ret_after_ns };
	enum queue_verdict verdict = QUEUE_DONE;

	c.obj = informer_get(s->group_contents.cache, "", key);
	if (c.obj)
		verdict = reconcile(&c);
	kube_object_unref(c.obj);
	kube_object_unref(c.class_obj);
	return verdict;
}
