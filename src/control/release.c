/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reconcile of a PersistentVolume: its finalizer while it is bound, its end when it is
 * released.
 *
 *   Released, policy Delete, not attached:  DeleteVolume → delete the PV → take our finalizer off
 *
 * In this order because each step is repeatable and the PV, kept by the finalizer, is the record of
 * what is still to do: killed anywhere, the next one starts again with a DeleteVolume that finds
 * nothing. A PV that a user deletes keeps its finalizer until the claim is gone, so the policy is
 * honoured in either order of deletion. Retain: the finalizer goes, the volume stays.
 *
 * DeleteVolume destroys data, so the PV is read from the API server before it: an administrator may
 * have taken the claimRef off to keep the volume, and the cache not know it yet. Nor is the phase
 * enough: it is another controller's, written some time after the claimRef is edited. So a PV is
 * deleted only for a claim that it names by UID, and that the API server says is gone.
 */
#include "control/provision-internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/str.h"
#include "control/object.h"
#include "kube/client.h"
#include "kube/fence.h"
#include "kube/informer.h"
#include "kube/path.h"
#include "kube/recorder.h"

/* How long a volume may be in use without anybody being told, and how soon it is tried again. */
#define IN_USE_GRACE_NS (30 * NS_PER_S)
#define IN_USE_RETRY_NS (NS_PER_S / 2)
/* How soon it is looked again whether a node is registered. */
#define NODE_RETRY_NS (5 * NS_PER_S)

/* ABORTED: the cache is behind. 0 also when it is gone. */
static int write_finalizer(struct provisioner *p, struct ctx *ctx, const struct kube_object *o,
			   bool is_wanted, struct err *err)
{
	const struct finalizer_change change = { PV_FINALIZER, is_wanted };

	if (finalizer_patch(p->client, ctx, o, &change, 1, NULL, err) < 0)
		return err->code == ERR_NOT_FOUND ? 0 : -1;
	return 0;
}

static bool is_to_be_deleted(const struct provisioner *p, const struct kube_object *o)
{
	const struct core_pv *pv = core_pv_of(o);

	return str_is_equal(pv->driver, p->driver) && *pv->handle && *pv->claim_uid &&
	       str_is_equal(pv->phase, "Released") && str_is_equal(pv->reclaim_policy, "Delete") &&
	       (!o->is_deleting || kube_object_has_finalizer(o, PV_FINALIZER));
}

/* 1 if the claim that the PV was bound to is there no more, 0 if it is. */
static int is_claim_gone(struct provisioner *p, struct ctx *ctx, const struct core_pv *pv,
			 struct err *err)
{
	autofree char *path = NULL;
	autojson struct json_doc *doc = NULL;

	if (kube_object_path(&core_pvc_type, pv->claim_ns, pv->claim_name, &path, err) < 0)
		return -1;
	if (kube_get(p->client, ctx, path, &doc, err) < 0)
		return err->code == ERR_NOT_FOUND ? 1 : -1;
	return !str_is_equal(json_path_string(json_root(doc), "metadata.uid"), pv->claim_uid);
}

struct attachment_search {
	struct arena *arena;
	const char *node_name; /* found; NULL if none */
};

static int take_node_name(void *arg, const struct kube_object *o)
{
	struct attachment_search *search = arg;

	search->node_name = arena_strdup(search->arena, storage_attachment_of(o)->node_name);
	return 1;
}

static int check_attachments(struct provisioner *p, struct ctx *ctx, const struct kube_object *o,
			     struct err *err)
{
	struct attachment_search search = { .arena = ctx->arena };

	if (!p->caches.attachments)
		return 0;
	informer_each_in(p->caches.attachments, STORAGE_ATTACHMENTS_BY_PV, o->name, take_node_name,
			 &search);
	if (!search.node_name)
		return 0;
	return err_set(err, ERR_FAILED_PRECONDITION,
		       "persistentvolume %s is still attached to node %s", o->name,
		       search.node_name);
}

static int resolve_by_class(struct provisioner *p, struct ctx *ctx, const struct core_pv *pv,
			    struct secret_ref *ret_ref, struct err *err)
{
	autokobj const struct kube_object *class =
		informer_get(p->caches.classes, "", pv->class_name);
	const struct secret_vars vars = {
		.pv_name = pv->meta.name,
		.claim_ns = pv->claim_ns,
		.claim_name = pv->claim_name,
	};

	if (!class)
		return 0;
	return secret_ref_resolve(ctx->arena, &storage_class_of(class)->parameters,
				  SECRET_PROVISIONER, &vars, ret_ref, err);
}

/* As noted on the PV when it was made; a PV without the note (made by hand) goes by its class. */
static int find_secrets(struct provisioner *p, struct ctx *ctx, const struct object_whole *f,
			struct secrets *ret_secrets, struct err *err)
{
	const struct json *annotations = json_path(json_root(f->doc), "metadata.annotations");
	struct secret_ref ref =
		secret_ref_at(annotations, ANN_DELETE_SECRET_NAME, ANN_DELETE_SECRET_NS);

	if (!json_get_string(annotations, ANN_DELETE_SECRET_NAME) &&
	    resolve_by_class(p, ctx, core_pv_of(f->obj), &ref, err) < 0)
		return -1;
	if (secret_fetch(p->client, ctx, &ref, ret_secrets, err) == 0)
		return 0;
	if (err->code != ERR_NOT_FOUND)
		return -1;
	log_warn("secret for deletion is gone, deleting without it", log_str("pv", f->obj->name),
		 log_err(err));
	ret_secrets->map = STRMAP_EMPTY;
	return 0;
}

/* By name and UID, whatever version it has come to: the binder writes to it at the same time. */
static int drop_finalizer(struct provisioner *p, struct ctx *ctx, const char *path, const char *uid,
			  struct err *err)
{
	autostr struct str body = STR_INIT;
	autojson struct json_doc *doc = NULL;
	autokobj const struct kube_object *o = NULL;
	struct json_writer w = JSON_WRITER(&body);

	json_begin_object(&w);
	json_key(&w, "metadata");
	json_begin_object(&w);
	json_field_string(&w, "uid", uid);
	json_key(&w, "$deleteFromPrimitiveList/finalizers");
	json_begin_array(&w);
	json_put_string(&w, PV_FINALIZER);
	json_end_array(&w);
	json_end_object(&w);
	json_end_object(&w);
	if (kube_patch(p->client, ctx, path, KUBE_STRATEGIC, str_get(&body), &doc, err) == 0) {
		/* so that our own DELETE, when the watch tells of it, is not looked at again */
		o = kube_object_decode(&core_pv_type, json_root(doc));
		if (o)
			informer_note_write(p->caches.pvs, o);
		return 0;
	}
	/* gone, or another object's name by now */
	return err->code == ERR_NOT_FOUND || err->code == ERR_ABORTED ? 0 : -1;
}

/* The object goes first and the finalizer last. */
static int remove_object(struct provisioner *p, struct ctx *ctx, const char *name,
			 const struct object_whole *f, struct err *err)
{
	autofree char *path = NULL;

	if (kube_object_path(&core_pv_type, NULL, name, &path, err) < 0 ||
	    kube_delete(p->client, ctx, path, f->obj->uid, err) < 0)
		return -1;
	if (!kube_object_has_finalizer(f->obj, PV_FINALIZER))
		return 0;
	return drop_finalizer(p, ctx, path, f->obj->uid, err);
}

static int delete_volume(struct provisioner *p, struct ctx *ctx, const struct object_whole *f,
			 struct err *err)
{
	struct secrets secrets;

	if (find_secrets(p, ctx, f, &secrets, err) < 0)
		return -1;
	return provision_delete_volume(p, ctx, core_pv_of(f->obj)->handle, &secrets, err);
}

/* A volume whose pod goes at the same moment is still being unmounted: nobody need be told, and
 * nobody should wait for a backoff's next turn. True while that may be all. */
static bool is_moment(struct provisioner *p, const struct kube_object *o, const struct err *err,
		      int64_t *ret_after_ns)
{
	int64_t since_ns = clock_now_ns() - memo_began_ns(p, o->uid);

	if ((err->code != ERR_ABORTED && err->code != ERR_FAILED_PRECONDITION) ||
	    since_ns >= IN_USE_GRACE_NS)
		return false;
	*ret_after_ns = since_ns < IN_USE_RETRY_NS ? IN_USE_RETRY_NS : since_ns;
	log_debug("volume not deleted yet", log_str("pv", o->name), log_err(err));
	return true;
}

static enum queue_verdict fail_delete(struct provisioner *p, const struct ctx *ctx,
				      const struct kube_object *o, bool is_attached,
				      const struct err *err, int64_t *ret_after_ns)
{
	if (fence_is_cut_off(p->fence, ctx))
		return QUEUE_RETRY;
	if (!is_attached && is_moment(p, o, err, ret_after_ns))
		return QUEUE_RETRY_AFTER;
	metric_add(METRIC_DELETE_FAILED, 1, METRIC_ARGS(core_pv_of(o)->class_name));
	log_warn("volume not deleted", log_str("pv", o->name),
		 log_str("volume", core_pv_of(o)->handle), log_err(err));
	if (is_attached)
		recorder_event(p->recorder, o, RECORDER_NORMAL, "VolumeDelete", "%s", err->msg);
	else
		recorder_event(p->recorder, o, RECORDER_WARNING, "VolumeFailedDelete", "%s",
			       err->msg);
	return QUEUE_RETRY;
}

static enum queue_verdict release(struct provisioner *p, struct ctx *ctx, const char *name,
				  struct object_whole *f, int64_t *ret_after_ns)
{
	int64_t began_ns = clock_now_ns();
	const char *class = arena_strdup(ctx->arena, core_pv_of(f->obj)->class_name);
	const char *handle = arena_strdup(ctx->arena, core_pv_of(f->obj)->handle);
	const char *uid = arena_strdup(ctx->arena, f->obj->uid);
	int64_t took_ns;
	struct err err;
	int gone = is_claim_gone(p, ctx, core_pv_of(f->obj), &err);

	if (gone == 0)
		(void)err_set(&err, ERR_FAILED_PRECONDITION, "its claim %s/%s is there",
			      core_pv_of(f->obj)->claim_ns, core_pv_of(f->obj)->claim_name);
	if (gone <= 0) {
		log_warn("released persistentvolume kept", log_str("pv", name), log_err(&err));
		if (gone == 0)
			recorder_event(p->recorder, f->obj, RECORDER_WARNING, "VolumeFailedDelete",
				       "%s", err.msg);
		return QUEUE_RETRY;
	}
	metric_expect(METRIC_DELETE_TOTAL, METRIC_ARGS(class));
	metric_expect(METRIC_DELETE_FAILED, METRIC_ARGS(class));
	if (check_attachments(p, ctx, f->obj, &err) < 0)
		return fail_delete(p, ctx, f->obj, true, &err, ret_after_ns);
	if (delete_volume(p, ctx, f, &err) < 0)
		return fail_delete(p, ctx, f->obj, false, &err, ret_after_ns);
	if (remove_object(p, ctx, name, f, &err) < 0) {
		log_warn("volume deleted, its persistentvolume not yet", log_str("pv", name),
			 log_err(&err));
		return QUEUE_RETRY;
	}
	memo_forget(p, uid);
	took_ns = clock_now_ns() - began_ns;
	metric_add(METRIC_DELETE_TOTAL, 1, METRIC_ARGS(class));
	metric_observe(METRIC_DELETE_SECONDS, (double)took_ns / NS_PER_S, METRIC_ARGS(class));
	log_info("volume deleted", log_str("pv", name), log_str("volume", handle),
		 log_duration("took", took_ns));
	return QUEUE_DONE;
}

static enum queue_verdict look_again(struct provisioner *p, struct ctx *ctx, const char *name,
				     int64_t *ret_after_ns)
{
	const struct object_store store = { p->client, p->caches.pvs, &core_pv_type };
	autowhole struct object_whole f = { 0 };
	enum queue_verdict verdict = QUEUE_DONE;
	struct err err;

	if (object_read_whole(&store, ctx, NULL, name, &f, &err) == 0) {
		if (is_to_be_deleted(p, f.obj))
			verdict = release(p, ctx, name, &f, ret_after_ns);
	} else if (err.code != ERR_NOT_FOUND) {
		log_warn("persistentvolume not read", log_str("pv", name), log_err(&err));
		verdict = QUEUE_RETRY;
	}
	return verdict;
}

/* Whether the finalizer must change, and to what. */
static bool is_finalizer_due(const struct provisioner *p, const struct kube_object *o,
			     bool *ret_wanted)
{
	const struct core_pv *pv = core_pv_of(o);
	bool has = kube_object_has_finalizer(o, PV_FINALIZER);

	if (!str_is_equal(pv->driver, p->driver))
		return false;
	*ret_wanted = str_is_equal(pv->reclaim_policy, "Delete");
	if (*ret_wanted)
		return !has && !o->is_deleting && str_is_equal(pv->phase, "Bound");
	return has;
}

bool pv_is_wanted(const struct provisioner *p, const struct kube_object *pv)
{
	bool is_finalizer_wanted;

	return is_to_be_deleted(p, pv) || is_finalizer_due(p, pv, &is_finalizer_wanted);
}

enum queue_verdict pv_reconcile(void *arg, struct ctx *ctx, const char *key, int64_t *ret_after_ns)
{
	struct provisioner *p = arg;
	autokobj const struct kube_object *o = informer_get(p->caches.pvs, "", key);
	bool is_wanted;
	struct err err;
	int has = 1;

	if (!o)
		return QUEUE_DONE;
	if (p->node_name)
		has = own_node_has_volume(p, o);
	if (has <= 0) {
		*ret_after_ns = NODE_RETRY_NS;
		return has < 0 ? QUEUE_RETRY_AFTER : QUEUE_DONE;
	}
	if (is_to_be_deleted(p, o))
		return look_again(p, ctx, key, ret_after_ns);
	if (!is_finalizer_due(p, o, &is_wanted))
		return QUEUE_DONE;
	if (write_finalizer(p, ctx, o, is_wanted, &err) == 0)
		return QUEUE_DONE;
	if (err.code != ERR_ABORTED && !fence_is_cut_off(p->fence, ctx))
		log_warn("finalizer not written", log_str("pv", key), log_err(&err));
	return QUEUE_RETRY;
}
