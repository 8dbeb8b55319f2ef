/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The watch over orphans: one key, worked off again and again. What is remembered between two looks
 * is since when each was seen; a look that could not say of a kind leaves what is remembered of it.
 *
 *   seen once ──next look──► told ──time is up, of ours, in no use──► deleted
 *       │                     │
 *       └── not seen any more ┴──► forgotten
 */
#include "control/orphans.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/str.h"
#include "control/core.h"
#include "control/driver.h"
#include "control/group_snapshots.h"
#include "control/object.h"
#include "control/orphan-internal.h"
#include "control/snapshots.h"
#include "control/storage.h"
#include "control/sync_gate.h"
#include "kube/fence.h"
#include "kube/informer.h"
#include "kube/queue.h"
#include "kube/recorder.h"

#include <inttypes.h>

#define KEY "look"
#define DEFAULT_INTERVAL_NS (600 * NS_PER_S)
#define DEFAULT_TIMEOUT_NS (60 * NS_PER_S)
/* A driver with 20,000 volumes has 40 pages, and the API server 100. */
#define LOOK_NS (900 * NS_PER_S)
/* So many orphans of a kind, and more than half of all: then something else is wrong. */
#define FEW 10
/* How long what the API server said may be acted upon. */
#define FRESH_NS (30 * NS_PER_S)

static const size_t none[ORPHAN_KINDS];

struct memory {
	int64_t since_ns; /* clock_boot_ns() of the first look that saw it */
	int64_t again_ns; /* clock_boot_ns() before which it is not tried again; 0: it was not */
	uint64_t look;    /* the last one that did */
	enum orphan_kind kind;
	bool is_told;
};

struct orphans {
	struct ev_loop *loop;
	struct queue *queue;
	struct sync_gate gate;
	struct fence *fence;
	struct recorder *recorder;
	struct driver csi;
	struct object_store drivers;
	struct informer *pvs, *contents, *group_contents;
	struct orphan_look look; /* of each look; caps are asked for */
	char *journal_ns;
	char *prefixes[ORPHAN_KINDS];
	int64_t interval_ns, delete_after_ns;
	atomic_bool is_new_term;
	/* Of the one reconcile. */
	struct map *memories; /* id → struct memory */
	uint64_t n_looks;
};

/* One look, and what comes of it. */
struct round {
	struct orphans *o;
	struct ctx *ctx;
	struct orphan_list list;
	size_t n_new[ORPHAN_KINDS];
	const char *example[ORPHAN_KINDS]; /* of the new ones */
	struct orphan_deletions deletions;
};

/* ---- what caches know ---- */

static bool has_handle(const struct kube_object *object, const struct orphan *o)
{
	if (o->kind == ORPHAN_VOLUME)
		return str_is_equal(core_pv_of(object)->handle, o->id);
	if (o->kind == ORPHAN_SNAPSHOT)
		return str_is_equal(snapshot_content_of(object)->handle, o->id);
	return str_is_equal(group_content_of(object)->handle, o->id);
}

/* By the name that its object has if nobody made it by hand, so no index is needed. */
static bool is_known(void *arg, const struct orphan *orphan)
{
	struct orphans *o = arg;
	struct informer *const caches[] = { [ORPHAN_VOLUME] = o->pvs,
					    [ORPHAN_SNAPSHOT] = o->contents,
					    [ORPHAN_GROUP] = o->group_contents };
	autoarena struct arena *arena = arena_new();
	autokobj const struct kube_object *object = NULL;

	if (!caches[orphan->kind])
		return false;
	object = informer_get(caches[orphan->kind], "", orphan_object_name(arena, orphan));
	return object && has_handle(object, orphan);
}

/* ---- memory ---- */

static void forget_all(struct orphans *o)
{
	const char *id;
	void *m;

	for (size_t it = 0; map_next(o->memories, &it, &id, &m);)
		free(m);
	map_free(o->memories);
	o->memories = map_new();
}

static struct memory *remember(struct orphans *o, const struct orphan *orphan)
{
	struct memory *m = map_find(o->memories, orphan->id);

	if (!m) {
		m = xcalloc(1, sizeof(*m));
		*m = (struct memory){ .since_ns = clock_boot_ns(), .kind = orphan->kind };
		map_put(o->memories, orphan->id, m);
	}
	m->look = o->n_looks;
	return m;
}

static bool is_gone(const struct round *r, const struct memory *m)
{
	return m->look != r->o->n_looks && !*r->list.unknown[m->kind];
}

/* What this look says is no orphan (any more). */
static void forget(const struct round *r)
{
	struct map *kept = map_new();
	const char *id;
	void *v;

	for (size_t it = 0; map_next(r->o->memories, &it, &id, &v);) {
		if (is_gone(r, v))
			free(v);
		else
			map_put(kept, id, v);
	}
	map_free(r->o->memories);
	r->o->memories = kept;
}

/* ---- telling ---- */

static void set_count(const size_t n[ORPHAN_KINDS])
{
	for (int kind = 0; kind < ORPHAN_KINDS; kind++)
		metric_set(METRIC_ORPHANS, (double)n[kind],
			   METRIC_ARGS(orphan_kind_name((enum orphan_kind)kind)));
}

/* The leader's to tell. A pause may come at any moment, and it cancels first and sets to none then:
 * so who finds itself cancelled after it has told takes it back. */
static void count(const struct round *r)
{
	size_t n[ORPHAN_KINDS] = { 0 };
	const char *id;
	void *v;

	for (size_t it = 0; map_next(r->o->memories, &it, &id, &v);)
		n[((struct memory *)v)->kind] += ((struct memory *)v)->is_told;
	set_count(n);
	if (fence_is_cut_off(r->o->fence, r->ctx))
		set_count(none);
}

static void tell_one(struct round *r, const struct orphan *orphan)
{
	log_warn("orphan: its claim or snapshot is gone, and what would tell of it",
		 log_str("kind", orphan_kind_name(orphan->kind)), log_str("id", orphan->id),
		 log_u64("bytes", orphan->bytes), log_str("claim", orphan->claim),
		 log_bool("madeHere", orphan->is_ours));
	r->n_new[orphan->kind]++;
	r->example[orphan->kind] = orphan->id;
}

/* On the CSIDriver, since of what there is nothing in the API no Event can be. */
static void record(struct round *r, enum recorder_type type, const char *reason, const char *text)
{
	autokobj const struct kube_object *driver = NULL;
	struct err err;

	if (object_read(&r->o->drivers, r->ctx, NULL, r->o->csi.name, &driver, &err) == 0)
		recorder_event(r->o->recorder, driver, type, reason, "%s", text);
	else if (err.code != ERR_NOT_FOUND && !fence_is_cut_off(r->o->fence, r->ctx))
		log_warn("no Event of orphans, the CSIDriver cannot be read", log_err(&err));
}

static void tell(struct round *r)
{
	for (int kind = 0; kind < ORPHAN_KINDS; kind++) {
		autofree char *text = NULL;

		if (r->n_new[kind] == 0)
			continue;
		text = xasprintf("%zu %s%s that nothing in the cluster tells of any more, such as "
				 "%s: 'cleat "
				 "ctl orphans list' shows them",
				 r->n_new[kind], orphan_kind_name((enum orphan_kind)kind),
				 r->n_new[kind] == 1 ? "" : "s", r->example[kind]);
		record(r, RECORDER_WARNING, "OrphanFound", text);
	}
}

/* ---- deleting ---- */

static bool is_due(const struct orphans *o, const struct orphan *orphan)
{
	const struct memory *m = map_find(o->memories, orphan->id);

	return orphan->is_ours && !*orphan->node && m && m->is_told &&
	       clock_boot_ns() >= m->again_ns &&
	       clock_boot_ns() - m->since_ns >= o->delete_after_ns;
}

static bool is_forgotten(const struct round *r, enum orphan_kind kind)
{
	return r->list.n_lost[kind] > FEW && r->list.n_lost[kind] > r->list.n_seen[kind] / 2;
}

/* One that cannot be deleted is none of the others' affair: looks that come at once pass it over.
 */
static void postpone(struct orphans *o, const struct orphan *orphan)
{
	struct memory *m = map_find(o->memories, orphan->id);

	m->again_ns = clock_boot_ns() + o->interval_ns;
}

/* -1: whoever leads may act no more. */
static int delete_one(struct round *r, const struct orphan *orphan, struct err *err)
{
	autofree char *text = NULL;
	struct err why;

	if (fence_check(r->o->fence, r->ctx, err) < 0)
		return -1;
	if (orphan_delete(&r->o->look, r->ctx, orphan, &r->deletions, &why) < 0) {
		if (fence_is_cut_off(r->o->fence, r->ctx))
			return fence_check(r->o->fence, r->ctx, err);
		log_warn("orphan not deleted", log_str("id", orphan->id), log_err(&why));
		record(r, RECORDER_WARNING, "OrphanNotDeleted", why.msg);
		postpone(r->o, orphan);
		return 0;
	}
	log_info("orphan deleted", log_str("kind", orphan_kind_name(orphan->kind)),
		 log_str("id", orphan->id), log_u64("bytes", orphan->bytes),
		 log_str("claim", orphan->claim));
	text = xasprintf("%s %s, which nothing in the cluster told of any more",
			 orphan_kind_name(orphan->kind), orphan->id);
	record(r, RECORDER_NORMAL, "OrphanDeleted", text);
	free(map_take(r->o->memories, orphan->id));
	return 0;
}

static void tell_forgotten(const struct round *r)
{
	for (int kind = 0; kind < ORPHAN_KINDS; kind++)
		if (is_forgotten(r, (enum orphan_kind)kind))
			log_warn("orphans are not deleted: most of what there is would go",
				 log_str("kind", orphan_kind_name((enum orphan_kind)kind)),
				 log_u64("orphans", r->list.n_lost[kind]),
				 log_u64("seen", r->list.n_seen[kind]));
}

/* What was seen too long ago is left to another look, which comes at once if this one got further:
 * each that is tried is gone then, or postponed. */
static int delete_due(struct round *r, int64_t *ret_after_ns, struct err *err)
{
	int64_t until_ns = r->list.read_ns + FRESH_NS;
	bool is_any_tried = false;

	if (r->o->delete_after_ns == 0)
		return 0;
	tell_forgotten(r);
	for (size_t i = 0; i < r->list.n; i++) {
		const struct orphan *orphan = &r->list.v[i];

		if (is_forgotten(r, orphan->kind) || !is_due(r->o, orphan))
			continue;
		if (clock_now_ns() >= until_ns) {
			if (is_any_tried)
				*ret_after_ns = 0;
			return 0;
		}
		if (delete_one(r, orphan, err) < 0)
			return -1;
		is_any_tried = true;
	}
	return 0;
}

/* ---- the look ---- */

static void take(struct round *r)
{
	r->o->n_looks++;
	for (size_t i = 0; i < r->list.n; i++) {
		bool is_new = !map_find(r->o->memories, r->list.v[i].id);
		struct memory *m = remember(r->o, &r->list.v[i]);

		if (is_new || m->is_told)
			continue;
		m->is_told = true;
		tell_one(r, &r->list.v[i]);
	}
	forget(r);
}

static void complain(const struct round *r)
{
	for (int kind = 0; kind < ORPHAN_KINDS; kind++) {
		const char *name = orphan_kind_name((enum orphan_kind)kind);

		if (r->list.broke_off[kind])
			log_warn("orphans of a kind were not looked for", log_str("kind", name),
				 log_str("why", r->list.unknown[kind]));
		else if (*r->list.unknown[kind])
			log_debug("orphans of a kind are not known", log_str("kind", name),
				  log_str("why", r->list.unknown[kind]));
	}
}

static int look(struct round *r, int64_t *ret_after_ns, struct err *err)
{
	struct orphans *o = r->o;
	struct driver_caps caps;

	if (atomic_exchange(&o->is_new_term, false))
		forget_all(o);
	if (driver_ask(&o->csi, r->ctx, &caps, err) < 0)
		return -1;
	o->look.caps = caps.controller;
	if (orphan_find(&o->look, r->ctx, &r->list, err) < 0 ||
	    fence_check(o->fence, r->ctx, err) < 0)
		return -1;
	complain(r);
	take(r);
	tell(r);
	if (delete_due(r, ret_after_ns, err) < 0)
		return -1;
	count(r);
	return 0;
}

static enum queue_verdict reconcile(void *arg, struct ctx *ctx, const char *key,
				    int64_t *ret_after_ns)
{
	struct round r = { .o = arg, .ctx = ctx };
	struct err err;

	(void)key;
	*ret_after_ns = r.o->interval_ns;
	orphan_deletions_init(&r.deletions);
	if (look(&r, ret_after_ns, &err) < 0 && !fence_is_cut_off(r.o->fence, ctx))
		log_warn("orphans were not looked for", log_err(&err));
	orphan_deletions_done(&r.deletions);
	return QUEUE_RETRY_AFTER;
}

/* ---- start and end ---- */

static void set_look(struct orphans *o, const struct orphans_options *opts)
{
	o->prefixes[ORPHAN_VOLUME] = xstrdup(str_or(opts->volume_prefix, "pvc"));
	o->prefixes[ORPHAN_SNAPSHOT] = xstrdup(str_or(opts->snapshot_prefix, "snapshot"));
	o->prefixes[ORPHAN_GROUP] = xstrdup(str_or(opts->group_prefix, "groupsnapshot"));
	o->journal_ns = xstrdup(str_or(opts->journal_ns, "default"));
	o->look = (struct orphan_look){
		.client = opts->client,
		.service = &o->csi.service,
		.driver = o->csi.name,
		.timeout_ns = o->csi.timeout_ns,
		.journal_ns = o->journal_ns,
		.is_known = is_known,
		.arg = o,
	};
	memcpy(o->look.prefixes, o->prefixes, sizeof(o->prefixes));
}

struct orphans *orphans_new(const struct orphans_options *opts)
{
	struct orphans *o = xcalloc(1, sizeof(*o));
	const struct queue_options queue = {
		.name = "orphans",
		.workers = 1,
		.lane = opts->lane,
		.timeout_ns = LOOK_NS,
		.fence = opts->fence,
	};

	*o = (struct orphans){
		.loop = opts->loop,
		.fence = opts->fence,
		.recorder = opts->recorder,
		.drivers = { opts->client, NULL, &storage_driver_type },
		.pvs = opts->pvs,
		.contents = opts->contents,
		.group_contents = opts->group_contents,
		.interval_ns = opts->interval_ns ? opts->interval_ns : DEFAULT_INTERVAL_NS,
		.delete_after_ns = opts->delete_after_ns,
		.memories = map_new(),
	};
	driver_init(&o->csi, &opts->service, opts->driver_name,
		    opts->timeout_ns ? opts->timeout_ns : DEFAULT_TIMEOUT_NS);
	set_look(o, opts);
	o->queue = queue_new(opts->loop, opts->work, &queue, reconcile, o);
	sync_gate_init(&o->gate, opts->loop);
	o->gate.caches[0] = o->pvs; /* the others' kinds may be missing */
	o->gate.queues[0] = o->queue;
	return o;
}

void orphans_start(struct orphans *o)
{
	atomic_store(&o->is_new_term, true);
	queue_add_after(o->queue, KEY, o->interval_ns);
	sync_gate_start(&o->gate);
}

void orphans_pause(struct orphans *o)
{
	sync_gate_pause(&o->gate);
	set_count(none);
}

void orphans_free(struct orphans *o)
{
	if (!o)
		return;
	sync_gate_done(&o->gate);
	queue_free(o->queue);
	forget_all(o);
	map_free(o->memories);
	driver_done(&o->csi);
	for (size_t i = 0; i < ORPHAN_KINDS; i++)
		free(o->prefixes[i]);
	free(o->journal_ns);
	free(o);
}
