/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The snapshot-controller's frame: changes in five caches become keys of three queues, keys become
 * reconciles on workers (snapshot_bind.c, snapshot_make.c, snapshot_end.c).
 *
 *   snapshots  what a VolumeSnapshot's own change, its content's, its class's, its claim's, or
 *              that of a claim that is made of it, is news for
 *   contents   the finalizer of contents
 *   claims     the finalizer of claims that snapshots were cut of
 */
#include "control/snapshot_controller-internal.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/vec.h"
#include "kube/fence.h"
#include "kube/informer.h"

#define DEFAULT_WORKERS 16
#define RECONCILE_NS (60 * NS_PER_S)

bool snapshot_controller_is_cut_off(const struct snapshot_controller *s, const struct ctx *ctx)
{
	struct err why;

	return fence_check(s->fence, ctx, &why) < 0;
}

void snapshot_split_key(struct arena *arena, const char *key, const char **ret_ns,
			const char **ret_name)
{
	const char *slash = strchr(key, '/');

	*ret_ns = arena_strndup(arena, key, (size_t)(slash - key));
	*ret_name = slash + 1;
}

enum queue_verdict binding_retry_later(const struct binding *b, const struct err *err)
{
	if (err->code == ERR_ABORTED || snapshot_controller_is_cut_off(b->s, b->ctx))
		log_debug("volumesnapshot left for later", log_str("namespace", b->obj->ns),
			  log_str("snapshot", b->obj->name), log_err(err));
	else
		log_warn("volumesnapshot not reconciled", log_str("namespace", b->obj->ns),
			 log_str("snapshot", b->obj->name), log_err(err));
	return QUEUE_RETRY;
}

enum queue_verdict binding_fail(struct binding *b, const char *reason, const char *message)
{
	autostr struct str part = STR_INIT;
	struct json_writer w = JSON_WRITER(&part);
	char now[CLOCK_TEXT_MAX];
	struct err err;

	if (snapshot_controller_is_cut_off(b->s, b->ctx) ||
	    str_is_equal(binding_snapshot(b)->error_message, message))
		return QUEUE_RETRY;
	log_warn("volumesnapshot waits", log_str("namespace", b->obj->ns),
		 log_str("snapshot", b->obj->name), log_str("why", message));
	recorder_event(b->s->recorder, b->obj, RECORDER_WARNING, reason, "%s", message);
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
	if (object_patch(&b->s->snapshots, b->ctx, &b->obj, "status", str_get(&part), "", &err) < 0)
		recorder_event(b->s->recorder, b->obj, RECORDER_WARNING,
			       "SnapshotStatusUpdateFailed", "Snapshot status update failed: %s",
			       err.msg);
	return QUEUE_RETRY;
}

/* ---- what wakes whom ---- */

static const char *source_claim(const struct kube_object *snapshot, size_t i)
{
	const char *claim = snapshot_of(snapshot)->claim;

	return i == 0 && *claim ? claim : NULL;
}

static const char *waiting_class(const struct kube_object *snapshot, size_t i)
{
	const struct snapshot *s = snapshot_of(snapshot);

	if (i > 0 || s->is_ready || *s->bound_content)
		return NULL;
	return str_or(s->class_name, SNAPSHOT_NO_CLASS);
}

static const char *default_mark(const struct kube_object *class, size_t i)
{
	return i == 0 ? strmap_find(&class->annotations, ANN_DEFAULT_SNAPSHOT_CLASS) : NULL;
}

static void add_key(struct queue *q, const char *ns, const char *name)
{
	autofree char *key = xasprintf("%s/%s", ns, name);

	queue_add(q, key);
}

struct key_list {
	const char *ns; /* NULL: any */
	VEC(char *) keys;
};

static int collect_key(void *arg, const struct kube_object *o)
{
	struct key_list *list = arg;

	if (!list->ns || str_is_equal(list->ns, o->ns))
		vec_push(&list->keys, xasprintf("%s/%s", o->ns, o->name));
	return 0;
}

static void add_snapshots_in(struct snapshot_controller *s, const char *index, const char *key,
			     const char *ns)
{
	struct key_list list = { .ns = ns, .keys = VEC_INIT };

	informer_each_in(s->caches.snapshots, index, key, collect_key, &list);
	for (size_t i = 0; i < list.keys.n; i++) {
		queue_add(s->snapshot_queue, list.keys.v[i]);
		free(list.keys.v[i]);
	}
	vec_done(&list.keys);
}

static bool is_snapshot_changed(const struct kube_object *a, const struct kube_object *b)
{
	const struct snapshot *old = snapshot_of(a), *new = snapshot_of(b);

	return !str_is_equal(a->uid, b->uid) || a->is_deleting != b->is_deleting ||
	       a->n_finalizers != b->n_finalizers ||
	       !str_is_equal(old->class_name, new->class_name) ||
	       !str_is_equal(old->bound_content, new->bound_content) ||
	       old->is_ready != new->is_ready;
}

static void on_snapshot(void *arg, const struct kube_object *old_obj,
			const struct kube_object *new_obj)
{
	struct snapshot_controller *s = arg;
	const struct snapshot *is = snapshot_of(new_obj ? new_obj : old_obj);
	bool is_done = !new_obj || is->is_ready || new_obj->is_deleting;

	if (!new_obj && *is->bound_content)
		queue_add(s->content_queue, is->bound_content);
	if (new_obj && (!old_obj || is_snapshot_changed(old_obj, new_obj)))
		add_key(s->snapshot_queue, new_obj->ns, new_obj->name);
	if (is_done && *is->claim)
		add_key(s->claim_queue, is->meta.ns, is->claim);
}

static bool is_content_changed(const struct kube_object *a, const struct kube_object *b)
{
	const struct snapshot_content *old = snapshot_content_of(a), *new = snapshot_content_of(b);

	return !str_is_equal(a->uid, b->uid) || a->is_deleting != b->is_deleting ||
	       !str_is_equal(old->ref_uid, new->ref_uid) ||
	       !str_is_equal(old->ref_name, new->ref_name) ||
	       !str_is_equal(old->deletion_policy, new->deletion_policy) ||
	       !str_is_equal(old->error_message, new->error_message) ||
	       old->creation_ns != new->creation_ns || old->is_ready != new->is_ready ||
	       old->restore_bytes != new->restore_bytes;
}

static void on_content(void *arg, const struct kube_object *old_obj,
		       const struct kube_object *new_obj)
{
	struct snapshot_controller *s = arg;
	const struct snapshot_content *is = snapshot_content_of(new_obj ? new_obj : old_obj);

	if (new_obj && snapshot_content_is_wanted(s, new_obj))
		queue_add(s->content_queue, new_obj->name);
	if ((!new_obj || !old_obj || is_content_changed(old_obj, new_obj)) && *is->ref_name &&
	    *is->ref_ns)
		add_key(s->snapshot_queue, is->ref_ns, is->ref_name);
}

/* A class that appears, or becomes the default. */
static void on_class(void *arg, const struct kube_object *old_obj,
		     const struct kube_object *new_obj)
{
	struct snapshot_controller *s = arg;

	if (!new_obj)
		return;
	add_snapshots_in(s, SNAPSHOTS_BY_CLASS, new_obj->name, NULL);
	add_snapshots_in(s, SNAPSHOTS_BY_CLASS, SNAPSHOT_NO_CLASS, NULL);
}

static bool is_bound(const struct kube_object *claim)
{
	return claim && str_is_equal(core_pvc_of(claim)->phase, "Bound");
}

/* A claim as a source, and as one that is made of a snapshot and no more waits for it. */
static void on_claim(void *arg, const struct kube_object *old_obj,
		     const struct kube_object *new_obj)
{
	struct snapshot_controller *s = arg;

	if (is_bound(new_obj) && !is_bound(old_obj))
		add_snapshots_in(s, SNAPSHOTS_BY_CLAIM, new_obj->name, new_obj->ns);
	if (new_obj && new_obj->is_deleting &&
	    kube_object_has_finalizer(new_obj, CLAIM_SOURCE_FINALIZER))
		add_key(s->claim_queue, new_obj->ns, new_obj->name);
	if (old_obj && !*core_pvc_of(old_obj)->volume_name &&
	    core_pvc_is_of_snapshot(core_pvc_of(old_obj)) &&
	    (!new_obj || *core_pvc_of(new_obj)->volume_name))
		add_key(s->snapshot_queue, old_obj->ns, core_pvc_of(old_obj)->source_name);
}

/* ---- life ---- */

static struct queue *make_queue(struct snapshot_controller *s,
				const struct snapshot_controller_options *opts, const char *name,
				queue_reconcile_fn fn)
{
	const struct queue_options options = {
		.name = name,
		.workers = opts->workers ? opts->workers : DEFAULT_WORKERS,
		.lane = opts->lane,
		.backoff_base_ns = opts->retry_base_ns,
		.backoff_max_ns = opts->retry_max_ns,
		.timeout_ns = RECONCILE_NS,
		.fence = opts->fence,
	};

	return queue_new(opts->loop, opts->work, &options, fn, s);
}

static void watch(struct snapshot_controller *s)
{
	informer_add_index(s->caches.snapshots, SNAPSHOTS_BY_CLAIM, source_claim);
	informer_add_index(s->caches.snapshots, SNAPSHOTS_BY_CLASS, waiting_class);
	informer_add_index(s->caches.classes, SNAPSHOT_DEFAULT_CLASSES, default_mark);
	informer_add_index(s->caches.pvcs, CORE_WAITING_BY_SOURCE, core_waiting_source);
	informer_on_change(s->caches.snapshots, on_snapshot, s);
	informer_on_change(s->caches.contents, on_content, s);
	informer_on_change(s->caches.classes, on_class, s);
	informer_on_change(s->caches.pvcs, on_claim, s);
}

struct snapshot_controller *snapshot_controller_new(const struct snapshot_controller_options *opts)
{
	struct snapshot_controller *s = xcalloc(1, sizeof(*s));

	*s = (struct snapshot_controller){
		.client = opts->client,
		.fence = opts->fence,
		.caches = opts->caches,
		.snapshots = { opts->client, opts->caches.snapshots, &snapshot_type },
		.contents = { opts->client, opts->caches.contents, &snapshot_content_type },
		.claims = { opts->client, opts->caches.pvcs, &core_pvc_type },
		.recorder = opts->recorder,
		.no_source_mode = opts->no_source_mode,
	};
	s->snapshot_queue = make_queue(s, opts, "snapshots", snapshot_reconcile);
	s->content_queue = make_queue(s, opts, "snapshot-contents", snapshot_content_reconcile);
	s->claim_queue = make_queue(s, opts, "snapshot-claims", snapshot_claim_reconcile);
	sync_gate_init(&s->gate, opts->loop);
	memcpy(s->gate.caches,
	       (struct informer *[]){ s->caches.snapshots, s->caches.contents, s->caches.classes,
				      s->caches.pvcs, s->caches.pvs },
	       5 * sizeof(s->gate.caches[0]));
	memcpy(s->gate.queues,
	       (struct queue *[]){ s->snapshot_queue, s->content_queue, s->claim_queue },
	       3 * sizeof(s->gate.queues[0]));
	watch(s);
	return s;
}

void snapshot_controller_start(struct snapshot_controller *s)
{
	sync_gate_start(&s->gate);
}

void snapshot_controller_pause(struct snapshot_controller *s)
{
	sync_gate_pause(&s->gate);
}

void snapshot_controller_free(struct snapshot_controller *s)
{
	if (!s)
		return;
	informer_off_change(s->caches.snapshots, on_snapshot, s);
	informer_off_change(s->caches.contents, on_content, s);
	informer_off_change(s->caches.classes, on_class, s);
	informer_off_change(s->caches.pvcs, on_claim, s);
	sync_gate_done(&s->gate);
	queue_free(s->snapshot_queue);
	queue_free(s->content_queue);
	queue_free(s->claim_queue);
	free(s);
}
