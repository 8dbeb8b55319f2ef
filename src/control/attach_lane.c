/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two reconciles of a VolumeAttachment.
 *
 *   attach:  read the PV ─► PV finalizer ─► finalizer and node id on the attachment
 *              ─► ControllerPublishVolume ─► status: attached, with what the driver answered
 *   detach:  ControllerUnpublishVolume ─► finalizer off, which is the object's end
 *
 * What is detached the cache of PVs tells: a CSI source does not change as long as its PV is there,
 * and that is kept by the finalizer. Only a PV with Secrets, or that the cache does not have, is
 * read.
 *
 * Killed anywhere, the next one begins again: the calls are idempotent, and from before the first
 * one the finalizers keep the objects that tell what is to be detached. Whatever an Unpublish
 * fails with, the volume counts as attached. What goes wrong stands in the attachment's status,
 * where the controller-manager reads it to the pod.
 *
 * Each lane has its queue, so one attachment can be in both. Whoever comes second gives way, and
 * whoever ends looks whether the other lane has something to do: the cache knows by then why the
 * second one came.
 *
 * When somebody else has finalizers on an attachment it lives on without ours; then its status says
 * that it is detached before ours goes, since nobody would look at it afterwards.
 */
#include "control/attach-internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "control/capability.h"
#include "event/sync.h"
#include "kube/fence.h"
#include "kube/informer.h"

/* ---- whose turn it is ---- */

static bool begin_turn(struct attacher *a, const char *name)
{
	LOCK_SCOPE(&a->lock);
	if (map_find(a->at_work, name))
		return false;
	map_put(a->at_work, name, a);
	return true;
}

bool attach_is_at_work(struct attacher *a, const char *name)
{
	LOCK_SCOPE(&a->lock);
	return map_find(a->at_work, name);
}

static void set_forced(struct attacher *a, const char *name)
{
	LOCK_SCOPE(&a->lock);
	map_put(a->forced, name, a);
}

static bool take_forced(struct attacher *a, const char *name)
{
	LOCK_SCOPE(&a->lock);
	return map_take(a->forced, name);
}

void attach_force(struct attacher *a, const struct kube_object *attachment)
{
	set_forced(a, attachment->name);
	queue_add(attachment->is_deleting ? a->detaches : a->attaches, attachment->name);
}

/* A write of ours may have brought the change that the other lane, or this one once more, is to
 * look at; then no watch tells of it again. */
static void end_turn(const struct attach_job *job, const char *name, bool is_detaching)
{
	struct attacher *a = job->a;
	autokobj const struct kube_object *o = NULL;

	{
		LOCK_SCOPE(&a->lock);
		map_take(a->at_work, name);
	}
	o = informer_get(a->attachments, "", name);
	if (!o)
		return;
	if ((is_detaching || job->is_moved) && attach_is_wanted(a, o))
		queue_add(a->attaches, name);
	if ((!is_detaching || job->is_moved) && detach_is_wanted(a, o))
		queue_add(a->detaches, name);
}

/* ---- what both need to know ---- */

int attach_node_id(struct attacher *a, struct ctx *ctx, const struct kube_object *attachment,
		   bool with_note, const char **ret_id, struct err *err)
{
	const char *node = storage_attachment_of(attachment)->node_name;
	autokobj const struct kube_object *o = informer_get(a->csi_nodes, "", node);
	const struct storage_csi_node *csi_node = storage_csi_node_of(o);
	const struct storage_csi_driver *found = storage_csi_node_find(csi_node, a->csi.name);
	const char *id = found ? found->node_id : NULL;

	if (str_is_empty(id) && with_note)
		id = strmap_find(&attachment->annotations, ANN_NODE_ID);
	if (!str_is_empty(id)) {
		*ret_id = arena_strdup(ctx->arena, id);
		return 0;
	}
	if (!csi_node)
		return err_set(err, ERR_FAILED_PRECONDITION, "there is no CSINode %s", node);
	return err_set(err, ERR_FAILED_PRECONDITION,
		       "driver %s is not in CSINode %s: its node plugin has not registered there",
		       a->csi.name, node);
}

static int read_inline(struct attach_job *job, const struct json **ret_spec, struct err *err)
{
	if (attach_refresh(job, err) < 0)
		return -1;
	*ret_spec = json_path(json_root(job->va.doc), "spec.source.inlineVolumeSpec");
	return 0;
}

static int read_pv(struct attach_job *job, struct object_whole *pv, const struct json **ret_spec,
		   struct err *err)
{
	const struct object_store store = { job->a->client, job->a->pvs, &core_pv_type };

	if (object_read_whole(&store, job->ctx, NULL, attach_job_of(job)->pv_name, pv, err) < 0)
		return -1;
	job->pv = kube_object_ref(pv->obj);
	*ret_spec = json_get(json_root(pv->doc), "spec");
	return 0;
}

/* job->pv and job->spec; the capability only to attach. */
static int read_volume(struct attach_job *job, struct err *err)
{
	const struct storage_attachment *va = attach_job_of(job);
	bool has_multi_writer =
		job->caps.controller & CSI_CAP_BIT(CSI_CTRL_SINGLE_NODE_MULTI_WRITER);
	struct arena *arena = job->ctx->arena;
	const char *name =
		va->has_inline ? "of the attachment itself" : arena_strdup(arena, va->pv_name);
	autowhole struct object_whole pv = { 0 };
	const struct json *spec = NULL;
	int r;

	if (va->has_inline == (*va->pv_name != '\0'))
		return err_set(err, ERR_INVALID_ARGUMENT,
			       "its source must be either a persistentVolumeName or an "
			       "inlineVolumeSpec");
	r = va->has_inline ? read_inline(job, &spec, err) : read_pv(job, &pv, &spec, err);
	if (r < 0)
		return -1;
	if (attach_spec_read(arena, spec, job->a->csi.name, job->a->lends_expand_secret, &job->spec,
			     err) < 0 ||
	    (!job->va.obj->is_deleting &&
	     capability_of_pv(arena, spec, job->a->default_fs, has_multi_writer,
			      &job->spec.capability, err) < 0))
		return err_wrap(err, "volume %s", name);
	return 0;
}

/* Of the cache's PV, if that is all there is to know for detaching. */
static bool find_volume(struct attach_job *job)
{
	const struct storage_attachment *va = attach_job_of(job);
	autokobj const struct kube_object *o =
		va->has_inline ? NULL : informer_get(job->a->pvs, "", va->pv_name);
	const struct core_pv *pv = core_pv_of(o);

	if (!pv || pv->has_attach_secret || !*pv->handle ||
	    !str_is_equal(pv->driver, job->a->csi.name))
		return false;
	job->spec.handle = arena_strdup(job->ctx->arena, pv->handle);
	job->spec.secret = (struct secret_ref){ .ns = "", .name = "" };
	return true;
}

static bool does_attach(const struct attach_job *job)
{
	return job->caps.plugin & CSI_CAP_BIT(CSI_PLUGIN_CONTROLLER_SERVICE) &&
	       job->caps.controller & CSI_CAP_BIT(CSI_CTRL_PUBLISH_UNPUBLISH_VOLUME);
}

/* ---- attach ---- */

static int publish(struct attach_job *job, const char *node_id, const struct secrets *secrets,
		   struct strmap *ret_metadata, struct err *err)
{
	struct driver *csi = &job->a->csi;
	const struct csi_controller_publish_volume_request req = {
		.volume_id = job->spec.handle,
		.node_id = node_id,
		.volume_capability = job->spec.capability,
		.readonly = job->spec.is_readonly &&
			    job->caps.controller & CSI_CAP_BIT(CSI_CTRL_PUBLISH_READONLY),
		.secrets = *secrets,
		.volume_context = job->spec.attributes,
	};
	struct csi_controller_publish_volume_response reply;
	int64_t deadline_ns;
	int r;

	if (fence_check(job->a->fence, job->ctx, err) < 0)
		return -1;
	deadline_ns = driver_limit(csi, job->ctx);
	r = csi_controller_publish_volume(&csi->service, job->ctx, &req, &reply, err);
	job->ctx->deadline_ns = deadline_ns;
	job->is_answer = r < 0;
	if (r < 0)
		return err_wrap(err, "attach volume %s to %s", job->spec.handle, node_id);
	*ret_metadata = reply.publish_context;
	return 0;
}

static int protect_volume(struct attach_job *job, struct err *err)
{
	if (!job->pv)
		return 0;
	if (attach_volume_protect(job->a, job->ctx, &job->pv, true, err) < 0)
		return -1;
	if (!job->pv)
		return err_set(err, ERR_NOT_FOUND, "persistentvolume %s is gone",
			       attach_job_of(job)->pv_name);
	return 0;
}

static int attach(struct attach_job *job, struct err *err)
{
	struct strmap metadata = STRMAP_EMPTY;
	struct secrets secrets;
	const char *node_id;

	if (!does_attach(job))
		return attach_write_attached(job, &metadata, err);
	if (read_volume(job, err) < 0)
		return -1;
	if (job->pv && job->pv->is_deleting)
		return err_set(err, ERR_FAILED_PRECONDITION, "persistentvolume %s is being deleted",
			       job->pv->name);
	if (attach_node_id(job->a, job->ctx, job->va.obj, false, &node_id, err) < 0 ||
	    secret_fetch(job->a->client, job->ctx, &job->spec.secret, &secrets, err) < 0)
		return -1;
	if (protect_volume(job, err) < 0)
		return -1;
	if (attach_write_mark(job, node_id, err) < 0 ||
	    publish(job, node_id, &secrets, &metadata, err) < 0)
		return -1;
	return attach_write_attached(job, &metadata, err);
}

/* ---- detach ---- */

/* A Secret that is gone stops no volume: whether it is needed the driver says. */
static int find_secrets(struct attach_job *job, struct secrets *ret_secrets, struct err *err)
{
	if (secret_fetch(job->a->client, job->ctx, &job->spec.secret, ret_secrets, err) == 0)
		return 0;
	if (err->code != ERR_NOT_FOUND)
		return -1;
	log_warn("secret for detaching is gone, detaching without it",
		 log_str("attachment", job->va.obj->name), log_err(err));
	ret_secrets->map = STRMAP_EMPTY;
	return 0;
}

static int unpublish(struct attach_job *job, const char *node_id, const struct secrets *secrets,
		     struct err *err)
{
	struct driver *csi = &job->a->csi;
	const struct csi_controller_unpublish_volume_request req = {
		.volume_id = job->spec.handle,
		.node_id = node_id,
		.secrets = *secrets,
	};
	struct csi_controller_unpublish_volume_response reply;
	int64_t deadline_ns;
	int r;

	if (fence_check(job->a->fence, job->ctx, err) < 0)
		return -1;
	deadline_ns = driver_limit(csi, job->ctx);
	r = csi_controller_unpublish_volume(&csi->service, job->ctx, &req, &reply, err);
	job->ctx->deadline_ns = deadline_ns;
	job->is_answer = r < 0;
	return r < 0 ? err_wrap(err, "detach volume %s from %s", job->spec.handle, node_id) : 0;
}

static int call_unpublish(struct attach_job *job, struct err *err)
{
	struct secrets secrets;
	const char *node_id;

	if (!find_volume(job) && read_volume(job, err) < 0) {
		if (err->code == ERR_NOT_FOUND && !attach_job_of(job)->has_inline)
			return err_wrap(err,
					"what to detach is not known: put the persistentvolume "
					"back, or detach by hand and take finalizer %s off",
					job->a->finalizer);
		return -1;
	}
	if (attach_node_id(job->a, job->ctx, job->va.obj, true, &node_id, err) < 0 ||
	    find_secrets(job, &secrets, err) < 0)
		return -1;
	return unpublish(job, node_id, &secrets, err);
}

static int detach(struct attach_job *job, struct err *err)
{
	bool has_others = job->va.obj->n_finalizers > attach_is_marked(job->a, job->va.obj);

	if (does_attach(job) && call_unpublish(job, err) < 0)
		return -1;
	if (has_others && attach_write_detached(job, err) < 0)
		return -1;
	return attach_write_unmark(job, err);
}

/* ---- the frame of both ---- */

static enum queue_verdict fail(struct attach_job *job, bool is_forced, struct err *err)
{
	bool is_detaching = job->va.obj->is_deleting;

	if (is_forced && !job->is_moved && !job->is_gone)
		set_forced(job->a, job->va.obj->name);
	if (fence_is_cut_off(job->a->fence, job->ctx))
		return QUEUE_RETRY;
	if (job->is_moved || job->is_gone) /* the end of the turn, or the watch, sees to it */
		return QUEUE_DONE;
	log_warn(is_detaching ? "volume not detached" : "volume not attached",
		 log_str("attachment", job->va.obj->name),
		 log_str("node", attach_job_of(job)->node_name), log_err(err));
	attach_write_error(job, err);
	return QUEUE_RETRY;
}

static enum queue_verdict run(struct attach_job *job, bool is_forced)
{
	int64_t began_ns = clock_now_ns();
	bool is_detaching = job->va.obj->is_deleting;
	struct err err;

	if (driver_ask(&job->a->csi, job->ctx, &job->caps, &err) < 0 ||
	    (is_detaching ? detach(job, &err) : attach(job, &err)) < 0)
		return fail(job, is_forced, &err);
	log_info(is_detaching ? "volume detached" : "volume attached",
		 log_str("attachment", job->va.obj->name),
		 log_str("volume", str_or(job->spec.handle, "")),
		 log_str("node", attach_job_of(job)->node_name),
		 log_duration("took", clock_now_ns() - began_ns));
	return QUEUE_DONE;
}

static enum queue_verdict reconcile(struct attacher *a, struct ctx *ctx, const char *name,
				    bool is_detaching)
{
	struct attach_job job = { .a = a, .ctx = ctx };
	enum queue_verdict verdict = QUEUE_DONE;
	bool is_forced;

	if (!begin_turn(a, name))
		return QUEUE_DONE;
	is_forced = take_forced(a, name);
	job.va.obj = informer_get(a->attachments, "", name);
	if (job.va.obj && job.va.obj->is_deleting == is_detaching &&
	    str_is_equal(attach_job_of(&job)->attacher, a->csi.name) &&
	    (is_forced || attach_is_wanted(a, job.va.obj) || detach_is_wanted(a, job.va.obj)))
		verdict = run(&job, is_forced);
	end_turn(&job, name, is_detaching);
	object_whole_done(&job.va);
	kube_object_unref(job.pv);
	return verdict;
}

enum queue_verdict attach_reconcile(void *arg, struct ctx *ctx, const char *key,
				    int64_t *ret_after_ns)
{
	return reconcile(arg, ctx, key, false);
}

enum queue_verdict detach_reconcile(void *arg, struct ctx *ctx, const char *key,
				    int64_t *ret_after_ns)
{
	return reconcile(arg, ctx, key, true);
}
