/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The snapshot-controller's frame: changes in caches become keys of queues (snapshot_wake.c), keys
 * become reconciles on workers (snapshot_bind.c, snapshot_make.c, snapshot_end.c; those of groups
 * group_bind.c, group_make.c, group_members.c, group_end.c).
 *
 *   snapshots  what a VolumeSnapshot's own change, its content's, its class's, its claim's, or
 *              that of a claim that is made of it, is news for
 *   contents   the finalizer of contents
 *   claims     the finalizer of claims that snapshots were cut of
 *   groups, and their contents: the same of VolumeGroupSnapshots
 */
#include "control/snapshot_controller-internal.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "kube/fence.h"

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
		.groups = { opts->client, opts->caches.groups, &group_snapshot_type },
		.group_contents = { opts->client, opts->caches.group_contents,
				    &group_content_type },
		.recorder = opts->recorder,
		.ops = snapshot_ops_new(),
		.no_source_mode = opts->no_source_mode,
	};
	s->snapshot_queue = make_queue(s, opts, "snapshot-controller-snapshot", snapshot_reconcile);
	s->content_queue =
		make_queue(s, opts, "snapshot-controller-content", snapshot_content_reconcile);
	s->claim_queue = make_queue(s, opts, "snapshot-controller-claim", snapshot_claim_reconcile);
	s->group_queue = make_queue(s, opts, "snapshot-controller-group-snapshot", group_reconcile);
	s->group_content_queue = make_queue(s, opts, "snapshot-controller-group-content",
					    snapshot_group_content_reconcile);
	sync_gate_init(&s->gate, opts->loop);
	sync_gate_init(&s->group_gate, opts->loop);
	memcpy(s->gate.caches,
	       (struct informer *[]){ s->caches.snapshots, s->caches.contents, s->caches.classes,
				      s->caches.pvcs, s->caches.pvs, s->caches.nodes },
	       6 * sizeof(s->gate.caches[0]));
	memcpy(s->gate.queues,
	       (struct queue *[]){ s->snapshot_queue, s->content_queue, s->claim_queue },
	       3 * sizeof(s->gate.queues[0]));
	memcpy(s->group_gate.caches,
	       (struct informer *[]){ s->caches.groups, s->caches.group_contents,
				      s->caches.group_classes, s->caches.snapshots,
				      s->caches.contents, s->caches.pvcs, s->caches.pvs,
				      s->caches.nodes },
	       8 * sizeof(s->group_gate.caches[0]));
	memcpy(s->group_gate.queues, (struct queue *[]){ s->group_queue, s->group_content_queue },
	       2 * sizeof(s->group_gate.queues[0]));
	snapshot_controller_watch(s);
	return s;
}

void snapshot_controller_start(struct snapshot_controller *s)
{
	snapshot_ops_open(s->ops);
	sync_gate_start(&s->gate);
	sync_gate_start(&s->group_gate);
}

void snapshot_controller_pause(struct snapshot_controller *s)
{
	sync_gate_pause(&s->gate);
	sync_gate_pause(&s->group_gate);
	snapshot_ops_close(s->ops);
}

void snapshot_controller_free(struct snapshot_controller *s)
{
	if (!s)
		return;
	snapshot_controller_unwatch(s);
	sync_gate_done(&s->gate);
	sync_gate_done(&s->group_gate);
	queue_free(s->snapshot_queue);
	queue_free(s->content_queue);
	queue_free(s->claim_queue);
	queue_free(s->group_queue);
	queue_free(s->group_content_queue);
	snapshot_ops_free(s->ops);
	free(s);
}
