/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reconcile of a VolumeSnapshotContent, by what the cache says, to one next act.
 *
 *   look ── another driver's, or nothing to do ─────────────────────────────────────► done
 *    ├─── to be cut, or not ready:  annotation → CreateSnapshot → status → annotation off
 *    │                              (not ready: again after the backoff)
 *    ├─── there already, unread:    ListSnapshots → status
 *    └─── deleted, and let go:      DeleteSnapshot → status emptied → finalizer off
 *
 * The annotation says that a CreateSnapshot may be under way whose end nobody knows. As long as it
 * is there the content is not taken down: a deleted one is asked for to the end first, by the same
 * name, so that what comes of it is deleted and not forgotten. Every step may be the last one of
 * this process; the next one begins at the top.
 *
 * "Let go" is the snapshot-controller's other annotation, which comes when the VolumeSnapshot is
 * deleted; a content that somebody deletes by hand keeps its snapshot until then. Before
 * DeleteSnapshot, which destroys data, the content is read from the API server.
 */
#include "control/snapshotter-internal.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "control/secrets.h"
#include "control/snapshot_params.h"
#include "kube/fence.h"
#include "kube/informer.h"
#include "kube/recorder.h"

#define PREFIX "csi.storage.k8s.io/"

/* One reconcile of one content. */
struct cut {
	struct snapshotter *s;
	struct ctx *ctx;
	const struct kube_object *obj;       /* owned */
	const struct kube_object *class_obj; /* owned; NULL: it has none, or that is gone */
	bool was_in_doubt;                   /* the annotation was there when we came */
	int64_t *ret_after_ns;
};

enum content_need { NEED_NOTHING, NEED_SNAPSHOT, NEED_LOOK, NEED_SETTLE, NEED_DELETE };

static const struct snapshot_content *content_of(const struct cut *c)
{
	return snapshot_content_of(c->obj);
}

static bool is_cut_off(const struct cut *c)
{
	struct err why;

	return fence_check(c->s->fence, c->ctx, &why) < 0;
}

static bool has_annotation(const struct kube_object *o, const char *key)
{
	return strmap_find(&o->annotations, key);
}

/* It may go, with what is behind it. */
static bool is_let_go(const struct kube_object *o)
{
	const struct snapshot_content *c = snapshot_content_of(o);
	bool was_never_bound = *c->source_handle && !*c->ref_uid;

	return o->is_deleting && !has_annotation(o, ANN_BEING_CREATED) &&
	       (has_annotation(o, ANN_BEING_DELETED) || was_never_bound);
}

static enum content_need look_at(const struct snapshotter *s, const struct kube_object *o)
{
	const struct snapshot_content *c = snapshot_content_of(o);
	bool is_dynamic = *c->volume_handle;
	bool is_doubted = has_annotation(o, ANN_BEING_CREATED);

	if (!str_is_equal(c->driver, s->csi.name))
		return NEED_NOTHING;
	if (is_let_go(o))
		return *c->handle || kube_object_has_finalizer(o, SNAPSHOT_CONTENT_FINALIZER)
			       ? NEED_DELETE
			       : NEED_NOTHING;
	if (c->is_ready)
		return is_doubted ? NEED_SETTLE : NEED_NOTHING;
	if (o->is_deleting && !is_doubted)
		return NEED_NOTHING;
	if (!is_dynamic)
		return *c->source_handle ? NEED_LOOK : NEED_NOTHING;
	/* A member of a group is cut with it, and its status comes from there. */
	if (has_annotation(o, ANN_GROUP_HANDLE))
		return *c->handle ? NEED_LOOK : NEED_NOTHING;
	return *c->ref_uid ? NEED_SNAPSHOT : NEED_NOTHING;
}

bool content_is_wanted(const struct snapshotter *s, const struct kube_object *content)
{
	return look_at(s, content) != NEED_NOTHING;
}

/* ---- the status ---- */

/* What the driver says, or what is so without asking. */
struct facts {
	const char *handle, *group_handle; /* group_handle "": of none, or not told */
	bool is_ready;
	int64_t creation_ns; /* 0: not told */
	uint64_t bytes;      /* 0: not told */
};

static struct facts facts_of(const struct csi_snapshot *snapshot)
{
	int64_t seconds = snapshot->creation_time.seconds;
	struct facts f = {
		.handle = snapshot->snapshot_id,
		.group_handle = snapshot->group_snapshot_id,
		.is_ready = snapshot->ready_to_use,
		.bytes = snapshot->size_bytes,
	};

	if (snapshot->has_creation_time && seconds > 0 && seconds < INT64_MAX / NS_PER_S - 1)
		f.creation_ns = seconds * NS_PER_S + snapshot->creation_time.nanos;
	return f;
}

static bool is_told(const struct snapshot_content *c, const struct facts *f)
{
	return str_is_equal(c->handle, f->handle) && c->is_ready == f->is_ready &&
	       c->creation_ns == f->creation_ns && !*c->error_message &&
	       (f->bytes == 0 || (c->has_restore_bytes && c->restore_bytes == f->bytes)) &&
	       (!*f->group_handle || str_is_equal(c->group_handle, f->group_handle));
}

static int write_status(struct cut *c, struct facts f, struct err *err)
{
	autostr struct str part = STR_INIT;
	struct json_writer w = JSON_WRITER(&part);

	if (f.creation_ns == 0)
		f.creation_ns =
			content_of(c)->creation_ns ? content_of(c)->creation_ns : clock_wall_ns();
	if (is_told(content_of(c), &f))
		return 0;
	str_append(&part, "\"status\":");
	json_begin_object(&w);
	json_field_string(&w, "snapshotHandle", f.handle);
	json_field_bool(&w, "readyToUse", f.is_ready);
	json_field_i64(&w, "creationTime", f.creation_ns);
	if (f.bytes)
		json_field_u64(&w, "restoreSize", f.bytes);
	if (*f.group_handle)
		json_field_string(&w, "volumeGroupSnapshotHandle", f.group_handle);
	json_field_string(&w, "error", NULL);
	json_end_object(&w);
	return object_patch(&c->s->contents, c->ctx, &c->obj, "status", str_get(&part), "", err);
}

static int write_error(struct cut *c, const char *message, struct err *err)
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
	return object_patch(&c->s->contents, c->ctx, &c->obj, "status", str_get(&part), "", err);
}

/* The API server's trouble, or another's write: no word on the snapshot. */
static enum queue_verdict retry_later(const struct cut *c, const struct err *err)
{
	if (err->code == ERR_ABORTED || is_cut_off(c))
		log_debug("snapshot left for later", log_str("content", c->obj->name),
			  log_err(err));
	else
		log_warn("snapshot not reconciled", log_str("content", c->obj->name), log_err(err));
	return QUEUE_RETRY;
}

static enum queue_verdict fail(struct cut *c, const char *reason, const char *text,
			       const struct err *why)
{
	const char *message = arena_printf(c->ctx->arena, "%s: %s", text, why->msg);
	struct err err;

	if (is_cut_off(c))
		return QUEUE_RETRY;
	log_warn("snapshot not ready", log_str("content", c->obj->name), log_err(why));
	recorder_event(c->s->recorder, c->obj, RECORDER_WARNING, reason, "%s", message);
	if (write_error(c, message, &err) < 0)
		return retry_later(c, &err);
	return QUEUE_RETRY;
}

/* ---- CreateSnapshot ---- */

static int find_class(struct cut *c, struct err *err)
{
	const char *name = content_of(c)->class_name;

	if (!*name)
		return 0;
	c->class_obj = informer_get(c->s->classes, "", name);
	if (!c->class_obj && c->obj->is_deleting)
		return 0; /* asked for without its parameters, to be deleted (is_in_doubt) */
	if (!c->class_obj)
		return err_set(err, ERR_NOT_FOUND, "volumesnapshotclass %s is not there", name);
	if (str_is_equal(snapshot_class_of(c->class_obj)->driver, c->s->csi.name))
		return 0;
	return err_set(err, ERR_FAILED_PRECONDITION, "volumesnapshotclass %s is of driver '%s'",
		       name, snapshot_class_of(c->class_obj)->driver);
}

static int build_parameters(struct cut *c, struct strmap *ret_params, struct err *err)
{
	struct arena *arena = c->ctx->arena;
	struct strmap params = STRMAP_EMPTY;

	if (c->class_obj &&
	    snapshot_strip_parameters(arena, &snapshot_class_of(c->class_obj)->parameters, &params,
				      err) < 0)
		return -1;
	if (c->s->extra_create_metadata) {
		params = strmap_with(arena, &params, PREFIX "volumesnapshot/name",
				     content_of(c)->ref_name);
		params = strmap_with(arena, &params, PREFIX "volumesnapshot/namespace",
				     content_of(c)->ref_ns);
		params = strmap_with(arena, &params, PREFIX "volumesnapshotcontent/name",
				     c->obj->name);
	}
	*ret_params = params;
	return 0;
}

static int fetch_noted_secrets(struct cut *c, struct secrets *ret_secrets, struct err *err)
{
	const struct secret_ref ref = {
		.name = str_or(strmap_find(&c->obj->annotations, ANN_SNAPSHOT_SECRET_NAME), ""),
		.ns = str_or(strmap_find(&c->obj->annotations, ANN_SNAPSHOT_SECRET_NS), ""),
	};

	return secret_fetch(c->s->client, c->ctx, &ref, ret_secrets, err);
}

static int build_request(struct cut *c, struct csi_create_snapshot_request *req, struct err *err)
{
	struct driver_caps caps;

	if (driver_ask(&c->s->csi, c->ctx, &caps, err) < 0)
		return -1;
	if (!(caps.controller & CSI_CAP_BIT(CSI_CTRL_CREATE_DELETE_SNAPSHOT)))
		return err_set(err, ERR_FAILED_PRECONDITION, "driver %s does not cut snapshots",
			       c->s->csi.name);
	if (find_class(c, err) < 0 || build_parameters(c, &req->parameters, err) < 0 ||
	    fetch_noted_secrets(c, &req->secrets, err) < 0)
		return -1;
	req->source_volume_id = arena_strdup(c->ctx->arena, content_of(c)->volume_handle);
	req->name = arena_printf(c->ctx->arena, "%s-%s", c->s->prefix, content_of(c)->ref_uid);
	return 0;
}

static int call_create(struct cut *c, const struct csi_create_snapshot_request *req,
		       struct csi_snapshot *ret_snapshot, struct err *err)
{
	struct csi_create_snapshot_response reply;
	int64_t deadline_ns;
	int r;

	if (fence_check(c->s->fence, c->ctx, err) < 0)
		return -1;
	deadline_ns = driver_limit(&c->s->csi, c->ctx);
	r = csi_create_snapshot(&c->s->csi.service, c->ctx, req, &reply, err);
	c->ctx->deadline_ns = deadline_ns;
	if (r < 0)
		return err_set(err, err->code,
			       "failed to take snapshot of the volume %s: \"rpc error: code = %s "
			       "desc = %s\"",
			       req->source_volume_id, err_code_camel(err->code),
			       arena_strdup(c->ctx->arena, err->msg));
	if (str_is_empty(reply.snapshot.snapshot_id))
		return err_set(err, ERR_UNKNOWN,
			       "the driver answered CreateSnapshot without a snapshot_id");
	*ret_snapshot = reply.snapshot;
	return 0;
}

/*
 * Whether a snapshot may have come to be, or yet come. ALREADY_EXISTS says that one of our name and
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
	return c->was_in_doubt && !c->class_obj && *content_of(c)->class_name;
}

static int settle(struct cut *c, struct err *err)
{
	return object_annotate(&c->s->contents, c->ctx, &c->obj, ANN_BEING_CREATED, NULL, err);
}

static enum queue_verdict fail_create(struct cut *c, bool is_first, const struct err *why)
{
	const char *reason =
		is_first ? "SnapshotCreationFailed" : "SnapshotContentCheckandUpdateFailed";
	const char *text = is_first ? "Failed to create snapshot"
				    : "Failed to check and update snapshot content";

	return fail(c, reason, text, why);
}

/* Deleted meanwhile; now that it is settled it may go. */
static enum queue_verdict go_on(struct cut *c)
{
	*c->ret_after_ns = 0;
	return QUEUE_RETRY_AFTER;
}

static int call_delete(struct cut *c, const char *handle, struct err *err)
{
	struct csi_delete_snapshot_request req = {
		.snapshot_id = arena_strdup(c->ctx->arena, handle),
	};
	struct csi_delete_snapshot_response reply;
	int64_t deadline_ns;
	int r;

	if (fetch_noted_secrets(c, &req.secrets, err) < 0) {
		if (err->code != ERR_NOT_FOUND)
			return -1;
		log_warn("secret for deletion is gone, deleting without it",
			 log_str("content", c->obj->name), log_err(err));
		req.secrets.map = STRMAP_EMPTY;
	}
	if (fence_check(c->s->fence, c->ctx, err) < 0)
		return -1;
	deadline_ns = driver_limit(&c->s->csi, c->ctx);
	r = csi_delete_snapshot(&c->s->csi.service, c->ctx, &req, &reply, err);
	c->ctx->deadline_ns = deadline_ns;
	if (r < 0)
		return err_set(err, err->code, "rpc error: code = %s desc = %s",
			       err_code_camel(err->code), arena_strdup(c->ctx->arena, err->msg));
	log_info("snapshot deleted", log_str("content", c->obj->name),
		 log_str("snapshot", req.snapshot_id));
	return 0;
}

/*
 * The content went while its snapshot was cut: another leader had it deleted, whose DeleteSnapshot
 * came before our CreateSnapshot. Nobody else knows of what was made. (One to be retained may have
 * been there before, and stays.)
 */
static enum queue_verdict undo(struct cut *c, const char *handle)
{
	struct err err;

	if (!str_is_equal(content_of(c)->deletion_policy, "Delete") || *content_of(c)->handle ||
	    call_delete(c, handle, &err) == 0)
		return QUEUE_DONE;
	log_warn("snapshot of a content that is gone left behind", log_str("content", c->obj->name),
		 log_str("snapshot", handle), log_err(&err));
	return QUEUE_RETRY;
}

static enum queue_verdict finish_create(struct cut *c, const struct csi_snapshot *snapshot)
{
	struct facts f = facts_of(snapshot);
	struct err err;

	if (write_status(c, f, &err) < 0)
		return err.code == ERR_NOT_FOUND ? undo(c, f.handle) : retry_later(c, &err);
	if (settle(c, &err) < 0)
		return retry_later(c, &err);
	log_info("snapshot cut", log_str("content", c->obj->name), log_str("snapshot", f.handle),
		 log_bool("ready", f.is_ready));
	if (c->obj->is_deleting)
		return go_on(c);
	/* Not ready: asked again, by the same call, as often as it takes. */
	return f.is_ready ? QUEUE_DONE : QUEUE_RETRY;
}

static enum queue_verdict create(struct cut *c)
{
	bool is_first = !content_of(c)->has_status;
	struct csi_create_snapshot_request req = { 0 };
	struct csi_snapshot snapshot = { 0 };
	struct err err, why;

	c->was_in_doubt = has_annotation(c->obj, ANN_BEING_CREATED);
	if (build_request(c, &req, &err) < 0)
		return fail_create(c, is_first, &err);
	if (object_annotate(&c->s->contents, c->ctx, &c->obj, ANN_BEING_CREATED, "yes", &err) < 0)
		return retry_later(c, &err);
	if (call_create(c, &req, &snapshot, &why) == 0)
		return finish_create(c, &snapshot);
	if (is_cut_off(c))
		return QUEUE_RETRY;
	if (!is_in_doubt(c, why.code) && settle(c, &err) < 0)
		return retry_later(c, &err);
	return fail_create(c, is_first, &why);
}

/* ---- a snapshot that there is ---- */

static int fetch_list_secrets(struct cut *c, struct secrets *ret_secrets, struct err *err)
{
	struct secret_ref ref = { .ns = "", .name = "" };
	const struct snapshot_vars vars = {
		.content_name = c->obj->name,
		.ns = content_of(c)->ref_ns,
		.name = content_of(c)->ref_name,
	};

	if (find_class(c, err) < 0 ||
	    (c->class_obj && secret_ref_resolve_snapshot(
				     c->ctx->arena, &snapshot_class_of(c->class_obj)->parameters,
				     SNAPSHOT_SECRET_LIST, &vars, &ref, err) < 0))
		return -1;
	return secret_fetch(c->s->client, c->ctx, &ref, ret_secrets, err);
}

static int list_one(struct cut *c, const char *handle, struct facts *ret_facts, struct err *err)
{
	struct csi_list_snapshots_request req = { .snapshot_id = handle,
						  .starting_token = "",
						  .source_volume_id = "" };
	struct csi_list_snapshots_response reply;
	int64_t deadline_ns;
	int r;

	if (fetch_list_secrets(c, &req.secrets, err) < 0)
		return -1;
	deadline_ns = driver_limit(&c->s->csi, c->ctx);
	r = csi_list_snapshots(&c->s->csi.service, c->ctx, &req, &reply, err);
	c->ctx->deadline_ns = deadline_ns;
	if (r < 0)
		return err_set(err, err->code,
			       "failed to list snapshot %s: \"rpc error: code = %s desc = %s\"",
			       handle, err_code_camel(err->code),
			       arena_strdup(c->ctx->arena, err->msg));
	for (size_t i = 0; i < reply.n_entries; i++) {
		if (!str_is_equal(reply.entries[i].snapshot.snapshot_id, handle))
			continue; /* a driver that does not filter */
		*ret_facts = facts_of(&reply.entries[i].snapshot);
		return 0;
	}
	return err_set(err, ERR_NOT_FOUND, "can not find snapshot for snapshotID %s", handle);
}

static enum queue_verdict look(struct cut *c)
{
	const char *handle = arena_strdup(c->ctx->arena, *content_of(c)->source_handle
								 ? content_of(c)->source_handle
								 : content_of(c)->handle);
	struct facts f = { .handle = handle, .group_handle = "", .is_ready = true };
	struct driver_caps caps;
	struct err err;

	if (driver_ask(&c->s->csi, c->ctx, &caps, &err) < 0 ||
	    ((caps.controller & CSI_CAP_BIT(CSI_CTRL_LIST_SNAPSHOTS)) &&
	     list_one(c, handle, &f, &err) < 0))
		return fail_create(c, false, &err);
	if (write_status(c, f, &err) < 0)
		return retry_later(c, &err);
	return f.is_ready ? QUEUE_DONE : QUEUE_RETRY;
}

/* ---- DeleteSnapshot ---- */

/* So that nobody takes what is gone for being there, while others' finalizers keep the object. */
static int empty_status(struct cut *c, struct err *err)
{
	static const char none[] = "\"status\":{\"snapshotHandle\":null,\"readyToUse\":null,"
				   "\"creationTime\":null,\"restoreSize\":null}";

	return object_patch(&c->s->contents, c->ctx, &c->obj, "status", none, "", err);
}

/* The content as the API server has it: 1, or 0 if there is nothing to delete any more. */
static int read_again(struct cut *c, struct err *err)
{
	const struct kube_object *fresh;

	if (object_read(&c->s->contents, c->ctx, NULL, c->obj->name, &fresh, err) < 0)
		return err->code == ERR_NOT_FOUND ? 0 : -1;
	if (!str_is_equal(fresh->uid, c->obj->uid)) {
		kube_object_unref(fresh);
		return 0;
	}
	kube_object_unref(c->obj);
	c->obj = fresh;
	return look_at(c->s, c->obj) == NEED_DELETE;
}

static bool has_snapshot_to_delete(const struct cut *c)
{
	const struct snapshot_content *o = content_of(c);

	return str_is_equal(o->deletion_policy, "Delete") && *o->handle && !*o->group_handle;
}

static enum queue_verdict take_down(struct cut *c)
{
	struct err err;
	int r = read_again(c, &err);

	if (r <= 0)
		return r < 0 ? retry_later(c, &err) : QUEUE_DONE;
	if (has_snapshot_to_delete(c)) {
		struct driver_caps caps;

		if (driver_ask(&c->s->csi, c->ctx, &caps, &err) < 0 ||
		    call_delete(c, content_of(c)->handle, &err) < 0) {
			if (is_cut_off(c))
				return QUEUE_RETRY;
			log_warn("snapshot not deleted", log_str("content", c->obj->name),
				 log_err(&err));
			recorder_event(c->s->recorder, c->obj, RECORDER_WARNING,
				       "SnapshotDeleteError", "Failed to delete snapshot: %s",
				       err.msg);
			return QUEUE_RETRY;
		}
		if (empty_status(c, &err) < 0)
			return err.code == ERR_NOT_FOUND ? QUEUE_DONE : retry_later(c, &err);
	}
	if (object_protect(&c->s->contents, c->ctx, &c->obj, SNAPSHOT_CONTENT_FINALIZER, false,
			   &err) < 0)
		return retry_later(c, &err);
	return QUEUE_DONE;
}

static enum queue_verdict reconcile(struct cut *c)
{
	struct err err;

	switch (look_at(c->s, c->obj)) {
	case NEED_NOTHING:
		break;
	case NEED_SNAPSHOT:
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
	struct snapshotter *s = arg;
	struct cut c = { .s = s, .ctx = ctx, .ret_after_ns = ret_after_ns };
	enum queue_verdict verdict = QUEUE_DONE;

	c.obj = informer_get(s->contents.cache, "", key);
	if (c.obj)
		verdict = reconcile(&c);
	kube_object_unref(c.obj);
	kube_object_unref(c.class_obj);
	return verdict;
}
