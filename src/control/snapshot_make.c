/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The content of a VolumeSnapshot of a claim: its class, and the content itself, which tells the
 * snapshotter what to cut. Its name comes from the snapshot's UID, so that it is made once whoever
 * makes it; and when it is made the snapshot, which had its finalizer before, is read from the API
 * server, so that none stays for one that is gone.
 */
#include "control/snapshot_controller-internal.h"

#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "control/secrets.h"
#include "kube/informer.h"

/* What it is cut of. All are counted objects. */
struct origin {
	const struct kube_object *claim, *pv, *class;
};

static void origin_done(struct origin *o)
{
	kube_object_unref(o->claim);
	kube_object_unref(o->pv);
	kube_object_unref(o->class);
}
#define autoorigin __attribute__((cleanup(origin_done)))

/* The claim and its volume, from caches, which must agree that they belong together. */
static int find_volume(const struct binding *b, struct origin *o, struct err *err)
{
	const char *name = binding_snapshot(b)->claim;
	const struct core_pv *pv;

	o->claim = informer_get(b->s->caches.pvcs, b->obj->ns, name);
	if (!o->claim)
		return err_set(err, ERR_NOT_FOUND, "the PVC %s is not there", name);
	if (!str_is_equal(core_pvc_of(o->claim)->phase, "Bound") ||
	    !*core_pvc_of(o->claim)->volume_name)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "the PVC %s is not yet bound to a PV, will not attempt to take a "
			       "snapshot",
			       name);
	o->pv = informer_get(b->s->caches.pvs, "", core_pvc_of(o->claim)->volume_name);
	pv = core_pv_of(o->pv);
	if (!pv)
		return err_set(err, ERR_NOT_FOUND, "the PV %s of PVC %s is not there",
			       core_pvc_of(o->claim)->volume_name, name);
	if (!str_is_equal(pv->claim_uid, o->claim->uid) ||
	    !str_is_equal(pv->claim_name, o->claim->name) ||
	    !str_is_equal(pv->claim_ns, o->claim->ns))
		return err_set(err, ERR_FAILED_PRECONDITION, "the PV %s is not bound to the PVC %s",
			       o->pv->name, name);
	if (!*pv->driver || !*pv->handle)
		return err_set(err, ERR_INVALID_ARGUMENT, "the PV %s is no volume of a CSI driver",
			       o->pv->name);
	return 0;
}

/* ---- the class ---- */

struct class_search {
	const char *driver;
	struct arena *arena;
	const char *name;
	unsigned n;
};

static int see_class(void *arg, const struct kube_object *o)
{
	struct class_search *search = arg;

	if (!str_is_equal(snapshot_class_of(o)->driver, search->driver))
		return 0;
	search->n++;
	search->name = arena_strdup(search->arena, o->name);
	return 0;
}

static int find_default(struct binding *b, const char **ret_name, struct err *err)
{
	autoorigin struct origin o = { 0 };
	struct class_search search = { .arena = b->ctx->arena };

	if (find_volume(b, &o, err) < 0)
		return -1;
	search.driver = core_pv_of(o.pv)->driver;
	informer_each_in(b->s->caches.classes, SNAPSHOT_DEFAULT_CLASSES, "true", see_class,
			 &search);
	if (search.n == 0)
		return err_set(err, ERR_NOT_FOUND,
			       "cannot find default snapshot class of driver %s", search.driver);
	if (search.n > 1)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "%u default snapshot classes were found of driver %s", search.n,
			       search.driver);
	*ret_name = search.name;
	return 0;
}

/* Before anything is made for it: the one that it names is there. */
static int check_class(struct binding *b, enum queue_verdict *ret_verdict)
{
	const char *name = binding_snapshot(b)->class_name;
	autokobj const struct kube_object *class = NULL;

	if (*binding_snapshot(b)->bound_content)
		return 0;
	class = informer_get(b->s->caches.classes, "", name);
	if (class)
		return 0;
	*ret_verdict = binding_fail(
		b, "GetSnapshotClassFailed",
		arena_printf(b->ctx->arena,
			     "Failed to get snapshot class with error "
			     "volumesnapshotclass.snapshot.storage.k8s.io \"%s\" not found",
			     name));
	return -1;
}

int snapshot_choose_class(struct binding *b, enum queue_verdict *ret_verdict)
{
	autostr struct str part = STR_INIT;
	struct json_writer w = JSON_WRITER(&part);
	const char *name;
	struct err err;

	if (b->content || snapshot_is_member(b->obj))
		return 0;
	if (*binding_snapshot(b)->class_name)
		return check_class(b, ret_verdict);
	if (find_default(b, &name, &err) < 0) {
		*ret_verdict = binding_fail(
			b, "SetDefaultSnapshotClassFailed",
			arena_printf(b->ctx->arena,
				     "Failed to set default snapshot class with error %s",
				     err.msg));
		return -1;
	}
	str_append(&part, "\"spec\":");
	json_begin_object(&w);
	json_field_string(&w, "volumeSnapshotClassName", name);
	json_end_object(&w);
	if (object_patch(&b->s->snapshots, b->ctx, &b->obj, NULL, str_get(&part), "", &err) == 0)
		return 0;
	*ret_verdict = binding_retry_later(b, &err);
	return -1;
}

static int find_class(const struct binding *b, struct origin *o, struct err *err)
{
	const char *name = binding_snapshot(b)->class_name;

	o->class = informer_get(b->s->caches.classes, "", name);
	if (!o->class)
		return err_set(err, ERR_NOT_FOUND, "volumesnapshotclass %s is not there", name);
	if (str_is_equal(snapshot_class_of(o->class)->driver, core_pv_of(o->pv)->driver))
		return 0;
	return err_set(err, ERR_INVALID_ARGUMENT,
		       "volumesnapshotclass %s is of driver %s, and the volume of %s", name,
		       snapshot_class_of(o->class)->driver, core_pv_of(o->pv)->driver);
}

/* ---- the content ---- */

/* The claim stays until it is cut. By a PUT of what the API server has, for want of the verb patch.
 */
static int protect_claim(const struct binding *b, const struct kube_object *claim, struct err *err)
{
	if (kube_object_has_finalizer(claim, CLAIM_SOURCE_FINALIZER))
		return 0;
	return object_put_finalizer(&b->s->claims, b->ctx, claim->ns, claim->name, claim->uid,
				    CLAIM_SOURCE_FINALIZER, true, err);
}

static int resolve_secret(const struct binding *b, const struct origin *o, const char *content,
			  struct secret_ref *ret_ref, struct err *err)
{
	const struct snapshot_vars vars = {
		.content_name = content,
		.ns = b->obj->ns,
		.name = b->obj->name,
	};

	return secret_ref_resolve_snapshot(b->ctx->arena, &snapshot_class_of(o->class)->parameters,
					   SNAPSHOT_SECRET, &vars, ret_ref, err);
}

static void write_meta(struct json_writer *w, const char *name, const char *node,
		       const struct secret_ref *ref)
{
	json_key(w, "metadata");
	json_begin_object(w);
	json_field_string(w, "name", name);
	snapshot_write_node(w, node);
	if (secret_ref_is_set(ref)) {
		json_key(w, "annotations");
		json_begin_object(w);
		json_field_string(w, ANN_SNAPSHOT_SECRET_NAME, ref->name);
		json_field_string(w, ANN_SNAPSHOT_SECRET_NS, ref->ns);
		json_end_object(w);
	}
	json_key(w, "finalizers");
	json_begin_array(w);
	json_put_string(w, SNAPSHOT_CONTENT_FINALIZER);
	json_end_array(w);
	json_end_object(w);
}

static void write_ref(struct json_writer *w, const struct kube_object *snapshot)
{
	json_key(w, "volumeSnapshotRef");
	json_begin_object(w);
	json_field_string(w, "apiVersion", snapshot_type.group_version);
	json_field_string(w, "kind", snapshot_type.kind);
	json_field_string(w, "namespace", snapshot->ns);
	json_field_string(w, "name", snapshot->name);
	json_field_string(w, "uid", snapshot->uid);
	json_field_string(w, "resourceVersion", snapshot->resource_version);
	json_end_object(w);
}

static void write_content(const struct binding *b, const struct origin *o, const char *name,
			  const struct secret_ref *ref, struct str *out)
{
	const struct snapshot_class *class = snapshot_class_of(o->class);
	struct json_writer w = JSON_WRITER(out);

	json_begin_object(&w);
	json_field_string(&w, "apiVersion", snapshot_content_type.group_version);
	json_field_string(&w, "kind", snapshot_content_type.kind);
	write_meta(&w, name, snapshot_node_of(b->s, b->ctx->arena, o->pv), ref);
	json_key(&w, "spec");
	json_begin_object(&w);
	json_field_string(&w, "driver", class->driver);
	json_field_string(&w, "deletionPolicy", class->deletion_policy);
	json_field_string(&w, "volumeSnapshotClassName", class->meta.name);
	if (!b->s->no_source_mode)
		json_field_string(&w, "sourceVolumeMode", core_pvc_of(o->claim)->volume_mode);
	json_key(&w, "source");
	json_begin_object(&w);
	json_field_string(&w, "volumeHandle", core_pv_of(o->pv)->handle);
	json_end_object(&w);
	write_ref(&w, b->obj);
	json_end_object(&w);
	json_end_object(&w);
}

/* The content may have been made for a snapshot that another leader saw to its end: then nobody
 * else takes it down. 0: the snapshot is there. */
static int look_back(struct binding *b, struct err *err)
{
	const struct kube_object *fresh = NULL;
	bool is_same;

	if (object_read(&b->s->snapshots, b->ctx, b->obj->ns, b->obj->name, &fresh, err) < 0 &&
	    err->code != ERR_NOT_FOUND)
		return -1;
	is_same = fresh && str_is_equal(fresh->uid, b->obj->uid);
	kube_object_unref(fresh);
	if (is_same)
		return 0;
	if (content_let_go(&b->s->contents, b->ctx, &b->content, &snapshot_let_go, err) < 0 ||
	    object_delete(&b->s->contents, b->ctx, b->content, err) < 0)
		return -1;
	return err_set(err, ERR_ABORTED, "the volumesnapshot went while its content was made");
}

static int create(struct binding *b, const struct origin *o, struct err *err)
{
	const char *name = arena_printf(b->ctx->arena, "snapcontent-%s", b->obj->uid);
	autostr struct str body = STR_INIT;
	struct secret_ref ref;

	if (resolve_secret(b, o, name, &ref, err) < 0)
		return -1;
	write_content(b, o, name, &ref, &body);
	if (object_create(&b->s->contents, b->ctx, NULL, str_get(&body), &b->content, err) == 0) {
		log_info("volumesnapshotcontent made", log_str("namespace", b->obj->ns),
			 log_str("snapshot", b->obj->name), log_str("content", name));
		recorder_event(b->s->recorder, b->obj, RECORDER_NORMAL, "CreatingSnapshot",
			       "Waiting for a snapshot %s/%s to be created by the CSI driver.",
			       b->obj->ns, b->obj->name);
		return look_back(b, err);
	}
	if (err->code != ERR_ALREADY_EXISTS)
		return err_wrap(err, "save volumesnapshotcontent %s", name);
	return object_read(&b->s->contents, b->ctx, NULL, name, &b->content, err);
}

static int make(struct binding *b, struct err *err)
{
	autoorigin struct origin o = { 0 };

	if (find_volume(b, &o, err) < 0 || find_class(b, &o, err) < 0)
		return -1;
	if (o.claim->is_deleting && !kube_object_has_finalizer(o.claim, CLAIM_SOURCE_FINALIZER))
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "the PVC %s is being deleted, can not take a snapshot of it",
			       o.claim->name);
	if (protect_claim(b, o.claim, err) < 0)
		return -1;
	return create(b, &o, err);
}

int snapshot_make_content(struct binding *b, enum queue_verdict *ret_verdict)
{
	struct err err;

	*ret_verdict = QUEUE_DONE;
	if (snapshot_is_member(b->obj))
		return -1; /* its content is made with the group's */
	if (make(b, &err) == 0)
		return 0;
	if (err.code == ERR_ABORTED || err.code == ERR_UNAVAILABLE)
		*ret_verdict = binding_retry_later(b, &err);
	else
		*ret_verdict = binding_fail(
			b, "SnapshotContentCreationFailed",
			arena_printf(b->ctx->arena,
				     "Failed to create snapshot content with error %s", err.msg));
	return -1;
}
