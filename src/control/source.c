/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a claim is to be made of: a snapshot or another claim's volume, of the same namespace and
 * the same driver. Sources are read from the API server, not from a cache, since what is refused or
 * allowed here decides whose data the new volume gets.
 *
 * A finalizer of the provisioner's keeps the source until nobody needs it: until no claim without a
 * volume names it and no intent in the journal does. (The second counts too: a volume in doubt is
 * asked for once more by the recorded request before it is deleted, and a driver that looks for the
 * source first would answer that forever with NOT_FOUND.) It goes when the last one is bound or
 * gone, and not before somebody wants to delete a source that is a claim, as external-provisioner
 * does it.
 */
#include "control/provision-internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/str.h"
#include "control/object.h"
#include "control/snapshots.h"
#include "kube/client.h"
#include "kube/fence.h"
#include "kube/informer.h"
#include "kube/path.h"
#include "kube/recorder.h"

#define CLONE_FINALIZER "provisioner.storage.kubernetes.io/cloning-protection"
#define RESTORE_FINALIZER "provisioner.storage.kubernetes.io/volumesnapshot-as-source-protection"
#define JOURNAL_RETRY_NS (30 * NS_PER_S)

static int read_source(struct provisioner *p, struct ctx *ctx, const struct kube_type *type,
		       const char *ns, const char *name, struct object_whole *f, struct err *err)
{
	const struct object_store store = { p->client, NULL, type };

	if (object_read_whole(&store, ctx, ns, name, f, err) < 0)
		return err_wrap(err, "data source %s '%s'", type->kind, name);
	return 0;
}

static struct object_store store_of(const struct provisioner *p, const struct kube_type *type)
{
	return (struct object_store){
		.client = p->client,
		.cache = type == &core_pvc_type ? p->caches.pvcs : p->caches.snapshots,
		.type = type,
	};
}

/* The finalizer put on the version that was looked at, or on what has become of it meanwhile. */
static int protect(struct attempt *a, const struct object_whole *f, const char *finalizer,
		   struct err *err)
{
	const struct object_store store = store_of(a->p, f->obj->type);
	autowhole struct object_whole now = { 0 };
	struct json_doc *reply = NULL;

	if (kube_object_has_finalizer(f->obj, finalizer))
		return 0;
	if (finalizer_update(a->p->client, a->ctx, store.type, json_root(f->doc), finalizer, true,
			     &reply, err) == 0)
		return object_take_whole(&store, reply, &now, err);
	if (err->code == ERR_ABORTED)
		return object_put_finalizer(&store, a->ctx, f->obj->ns, f->obj->name, f->obj->uid,
					    finalizer, true, err);
	return err_wrap(err, "protect data source %s '%s'", store.type->kind, f->obj->name);
}

static int check_size(const struct attempt *a, uint64_t source_bytes, struct err *err)
{
	char wanted[NUM_QUANTITY_MAX], needed[NUM_QUANTITY_MAX];

	if (attempt_claim(a)->request_bytes >= source_bytes)
		return 0;
	num_format_quantity(attempt_claim(a)->request_bytes, wanted);
	num_format_quantity(source_bytes, needed);
	return err_set(err, ERR_OUT_OF_RANGE,
		       "the claim asks for %s and its data source %s '%s' needs %s", wanted,
		       attempt_claim(a)->source_kind, attempt_claim(a)->source_name, needed);
}

static void set_source(struct attempt *a, enum csi_source kind, const char *id)
{
	a->it.request.has_volume_content_source = true;
	a->it.request.volume_content_source = (struct csi_content_source){
		.kind = kind,
		.id = arena_strdup(a->ctx->arena, id),
	};
}

/* ---- another claim ---- */

static int refuse_claim(const struct kube_object *source, const char *why, struct err *err)
{
	return err_set(err, ERR_FAILED_PRECONDITION, "data source PersistentVolumeClaim '%s' %s",
		       source->name, why);
}

/* Its volume, which must be this claim's and say so. */
static int check_volume(const struct attempt *a, const struct kube_object *source,
			const struct core_pv *pv, struct err *err)
{
	if (!pv)
		return refuse_claim(source, "has a volume that is not there (yet)", err);
	if (!str_is_equal(pv->driver, a->p->driver))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "data source PersistentVolumeClaim '%s' is a volume of driver '%s'",
			       source->name, pv->driver);
	if (!str_is_equal(pv->claim_uid, source->uid) ||
	    !str_is_equal(pv->claim_name, source->name) ||
	    !str_is_equal(pv->claim_ns, source->ns) || !str_is_equal(pv->phase, "Bound"))
		return refuse_claim(source, "has a volume that is not bound to it", err);
	return 0;
}

static int check_claim(const struct attempt *a, const struct kube_object *o, struct err *err)
{
	const struct core_pvc *source = core_pvc_of(o);

	if (o->is_deleting)
		return refuse_claim(o, "is being deleted", err);
	if (!str_is_equal(source->phase, "Bound"))
		return refuse_claim(o, "is not bound", err);
	if (!*source->class_name)
		return refuse_claim(o, "has no StorageClass", err);
	if (!str_is_equal(source->volume_mode, attempt_claim(a)->volume_mode))
		return err_set(
			err, ERR_INVALID_ARGUMENT,
			"data source PersistentVolumeClaim '%s' has volumeMode %s, the claim %s",
			o->name, source->volume_mode, attempt_claim(a)->volume_mode);
	return source->has_bad_request ? refuse_claim(o, "asks for no size", err)
				       : check_size(a, source->request_bytes, err);
}

static int require_claim(struct attempt *a, struct err *err)
{
	autowhole struct object_whole f = { 0 };
	autokobj const struct kube_object *pv = NULL;
	const char *name = attempt_claim(a)->source_name;

	if (!(a->caps.controller & CSI_CAP_BIT(CSI_CTRL_CLONE_VOLUME)))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "data source PersistentVolumeClaim '%s': driver %s does not clone "
			       "volumes",
			       name, a->p->driver);
	if (read_source(a->p, a->ctx, &core_pvc_type, core_pvc_source_ns(a->claim.obj), name, &f,
			err) < 0 ||
	    check_claim(a, f.obj, err) < 0)
		return -1;
	pv = informer_get(a->p->caches.pvs, "", core_pvc_of(f.obj)->volume_name);
	if (check_volume(a, f.obj, core_pv_of(pv), err) < 0)
		return -1;
	set_source(a, CSI_SOURCE_VOLUME, core_pv_of(pv)->handle);
	return protect(a, &f, CLONE_FINALIZER, err);
}

/* ---- a snapshot ---- */

static int refuse_snapshot(const struct kube_object *source, const char *why, struct err *err)
{
	return err_set(err, ERR_FAILED_PRECONDITION, "data source VolumeSnapshot '%s' %s",
		       source->name, why);
}

/*
 * A snapshot that is deleted while a claim waits to be made of it is kept by the
 * snapshot-controller until that is done; if it were refused here, neither would ever go on. So a
 * claim that was there first gets its volume. 1: it was.
 */
static int was_first(struct attempt *a, const struct object_whole *snapshot, struct err *err)
{
	const char *deleted =
		json_path_string(json_root(snapshot->doc), "metadata.deletionTimestamp");
	const char *created;

	if (!a->claim.doc && attempt_read_claim(a, err) < 0)
		return -1;
	created = json_path_string(json_root(a->claim.doc), "metadata.creationTimestamp");
	return created && deleted && strcmp(created, deleted) <= 0;
}

static int check_deletion(struct attempt *a, const struct object_whole *f, struct err *err)
{
	int first;

	if (!f->obj->is_deleting || kube_object_has_finalizer(f->obj, RESTORE_FINALIZER))
		return 0;
	first = was_first(a, f, err);
	if (first != 0)
		return first < 0 ? -1 : 0;
	return refuse_snapshot(f->obj, "is being deleted", err);
}

static int check_snapshot(const struct attempt *a, const struct kube_object *o, struct err *err)
{
	const struct snapshot *s = snapshot_of(o);

	if (!*s->bound_content)
		return refuse_snapshot(o, "is not bound to a VolumeSnapshotContent", err);
	if (!s->is_ready)
		return refuse_snapshot(o, "is not ready to use", err);
	return s->has_restore_bytes ? check_size(a, s->restore_bytes, err) : 0;
}

/* As Go reads booleans. */
static bool is_true(const char *text)
{
	static const char *const words[] = { "1", "t", "T", "true", "TRUE", "True" };

	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (str_is_equal(text, words[i]))
			return true;
	return false;
}

static int check_content(const struct attempt *a, const struct kube_object *snapshot,
			 const struct kube_object *o, struct err *err)
{
	const struct snapshot_content *c = snapshot_content_of(o);
	const char *mode = attempt_claim(a)->volume_mode;

	if (!str_is_equal(c->ref_uid, snapshot->uid) || !str_is_equal(c->ref_ns, snapshot->ns) ||
	    !str_is_equal(c->ref_name, snapshot->name))
		return refuse_snapshot(snapshot, "is bound to the content of another", err);
	if (!str_is_equal(c->driver, a->p->driver))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "data source VolumeSnapshot '%s' is of driver '%s'", snapshot->name,
			       c->driver);
	if (o->is_deleting)
		return refuse_snapshot(snapshot, "has a content that is being deleted", err);
	if (!*c->handle)
		return refuse_snapshot(snapshot, "has a content without a snapshotHandle", err);
	if (a->p->allow_mode_conversion || !*c->volume_mode || str_is_equal(c->volume_mode, mode) ||
	    is_true(strmap_find(&o->annotations, ANN_ALLOW_MODE_CHANGE)))
		return 0;
	return err_set(
		err, ERR_INVALID_ARGUMENT,
		"data source VolumeSnapshot '%s' was cut of a volume with volumeMode %s, the "
		"claim has %s; " ANN_ALLOW_MODE_CHANGE " on its content would allow that",
		snapshot->name, c->volume_mode, mode);
}

static int require_snapshot(struct attempt *a, struct err *err)
{
	autowhole struct object_whole f = { 0 }, content = { 0 };
	const char *name = attempt_claim(a)->source_name;

	if (!(a->caps.controller & CSI_CAP_BIT(CSI_CTRL_CREATE_DELETE_SNAPSHOT)))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "data source VolumeSnapshot '%s': driver %s has no snapshots", name,
			       a->p->driver);
	if (read_source(a->p, a->ctx, &snapshot_type, core_pvc_source_ns(a->claim.obj), name, &f,
			err) < 0 ||
	    check_deletion(a, &f, err) < 0 || check_snapshot(a, f.obj, err) < 0 ||
	    read_source(a->p, a->ctx, &snapshot_content_type, NULL,
			snapshot_of(f.obj)->bound_content, &content, err) < 0 ||
	    check_content(a, f.obj, content.obj, err) < 0)
		return -1;
	set_source(a, CSI_SOURCE_SNAPSHOT, snapshot_content_of(content.obj)->handle);
	if (f.obj->is_deleting) /* takes no finalizer any more */
		return 0;
	if (protect(a, &f, RESTORE_FINALIZER, err) == 0 || err->code == ERR_PERMISSION_DENIED)
		return 0; /* an older Role; the snapshot-controller looks at claims as well */
	return -1;
}

static int check_grant(struct attempt *a, struct err *err)
{
	const struct core_pvc *claim = attempt_claim(a);
	int r = source_is_granted(a->p, a->ctx, a->claim.obj, err);

	if (r != 0)
		return r < 0 ? -1 : 0;
	return err_set(err, ERR_FAILED_PRECONDITION,
		       "accessing %s/%s of %s dataSource from %s/%s isn't allowed: no "
		       "ReferenceGrant there says so",
		       claim->source_namespace, claim->source_name, claim->source_kind,
		       a->claim.obj->ns, a->claim.obj->name);
}

int source_require(struct attempt *a, struct err *err)
{
	const struct core_pvc *claim = attempt_claim(a);

	if (!*claim->source_kind)
		return 0;
	if (check_grant(a, err) < 0)
		return -1;
	return core_pvc_is_of_snapshot(claim) ? require_snapshot(a, err) : require_claim(a, err);
}

/* ---- the end of the protection ---- */

static bool waits_for(const struct provisioner *p, const struct kube_object *claim,
		      const struct kube_object *source)
{
	return str_is_equal(core_pvc_of(claim)->source_kind, source->type->kind) &&
	       str_is_equal(core_pvc_source_ns(claim), source->ns) &&
	       (p->cross_namespace || str_is_equal(claim->ns, source->ns));
}

struct wait_search {
	const struct provisioner *p;
	const struct kube_object *source;
	bool is_found;               /* one of its own namespace */
	struct kube_objects strange; /* those of others, before that */
};

static int see_waiting(void *arg, const struct kube_object *o)
{
	struct wait_search *search = arg;

	if (!waits_for(search->p, o, search->source))
		return 0;
	search->is_found = str_is_equal(o->ns, search->source->ns);
	return search->is_found ? 1 : kube_objects_add(&search->strange, o);
}

/* One that waits in another namespace counts if it may: nobody is to keep what is not theirs. */
static int is_waited_for(struct provisioner *p, struct ctx *ctx, const struct kube_object *source,
			 struct err *err)
{
	struct wait_search search = { .p = p, .source = source };
	int r;

	informer_each_in(p->caches.pvcs, CORE_WAITING_BY_SOURCE, source->name, see_waiting,
			 &search);
	r = search.is_found;
	for (size_t i = 0; i < search.strange.n && r == 0; i++)
		r = source_is_granted(p, ctx, search.strange.v[i], err);
	kube_objects_done(&search.strange);
	return r;
}

static bool is_on_record(struct provisioner *p, struct ctx *ctx, enum csi_source kind,
			 const char *id)
{
	struct intent_strings uids = journal_uids(p->journal, ctx->arena, NULL);
	struct intent it;
	struct err err;

	for (size_t i = 0; i < uids.n; i++) {
		const struct csi_content_source *source = &it.request.volume_content_source;

		if (journal_find(p->journal, ctx->arena, uids.v[i], &it, &err) > 0 &&
		    source->kind == kind && str_is_equal(source->id, id))
			return true;
	}
	return false;
}

/* What the driver calls the source; "" if that cannot be told any more. */
static int find_id(struct provisioner *p, struct ctx *ctx, const struct kube_object *source,
		   const char **ret_id, struct err *err)
{
	autowhole struct object_whole content = { 0 };
	autokobj const struct kube_object *pv = NULL;

	*ret_id = "";
	if (source->type == &core_pvc_type) {
		pv = informer_get(p->caches.pvs, "", core_pvc_of(source)->volume_name);
		*ret_id = arena_strdup(ctx->arena, pv ? core_pv_of(pv)->handle : "");
		return 0;
	}
	if (!*snapshot_of(source)->bound_content)
		return 0;
	if (read_source(p, ctx, &snapshot_content_type, NULL, snapshot_of(source)->bound_content,
			&content, err) < 0)
		return err->code == ERR_NOT_FOUND ? 0 : -1;
	*ret_id = arena_strdup(ctx->arena, snapshot_content_of(content.obj)->handle);
	return 0;
}

bool source_is_wanted(const struct kube_object *source)
{
	if (source->type == &core_pvc_type)
		return source->is_deleting && kube_object_has_finalizer(source, CLONE_FINALIZER);
	return kube_object_has_finalizer(source, RESTORE_FINALIZER);
}

/* 1: gone. 0: still needed for a repeated request. */
static int unprotect(struct provisioner *p, struct ctx *ctx, const struct kube_object *source,
		     struct err *err)
{
	const struct object_store store = store_of(p, source->type);
	bool is_claim = source->type == &core_pvc_type;
	const char *id;

	if (find_id(p, ctx, source, &id, err) < 0)
		return -1;
	if (*id && is_on_record(p, ctx, is_claim ? CSI_SOURCE_VOLUME : CSI_SOURCE_SNAPSHOT, id))
		return 0;
	if (object_put_finalizer(&store, ctx, source->ns, source->name, source->uid,
				 is_claim ? CLONE_FINALIZER : RESTORE_FINALIZER, false, err) < 0)
		return err->code == ERR_NOT_FOUND ? 1 : -1;
	return 1;
}

/* key: "KIND/namespace/name". */
static const struct kube_object *find_source(struct provisioner *p, struct ctx *ctx,
					     const char *key)
{
	const char *ns = strchr(key, '/') + 1, *name = strchr(ns, '/') + 1;
	const char *space = arena_strndup(ctx->arena, ns, (size_t)(name - ns) - 1);

	if (str_has_prefix(key, core_pvc_type.kind))
		return informer_get(p->caches.pvcs, space, name);
	return p->caches.snapshots ? informer_get(p->caches.snapshots, space, name) : NULL;
}

/* As the snapshot-controller tells it of snapshots. */
static void tell_wait(struct provisioner *p, const struct kube_object *source)
{
	if (source->is_deleting && source->type == &core_pvc_type)
		recorder_event(p->recorder, source, RECORDER_WARNING, "ClaimDeletePending",
			       "Claim is being used to make another claim's volume");
}

enum queue_verdict source_reconcile(void *arg, struct ctx *ctx, const char *key,
				    int64_t *ret_after_ns)
{
	struct provisioner *p = arg;
	autokobj const struct kube_object *o = find_source(p, ctx, key);
	struct err err;
	int r;

	if (!o || !source_is_wanted(o))
		return QUEUE_DONE;
	r = is_waited_for(p, ctx, o, &err);
	if (r > 0) {
		tell_wait(p, o);
		return QUEUE_DONE; /* the last one that waits wakes it */
	}
	*ret_after_ns = JOURNAL_RETRY_NS;
	if (!journal_is_open(p->journal))
		return QUEUE_RETRY_AFTER;
	if (r == 0)
		r = unprotect(p, ctx, o, &err);
	if (r > 0)
		return QUEUE_DONE;
	if (r == 0)
		return QUEUE_RETRY_AFTER;
	if (err.code != ERR_ABORTED && !fence_is_cut_off(p->fence, ctx))
		log_warn("protection of a data source not taken off", log_str("source", key),
			 log_err(&err));
	return QUEUE_RETRY;
}
