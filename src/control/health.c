/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The watch over volumes' health: one key, worked off again and again. A look asks for the list of
 * what is not well, and of each claimed PV that the list says nothing of, and that was not well
 * before, for itself:
 *
 *   in the list ───────────────────────► told
 *   not in it, and well before ────────► nothing to do
 *   not in it, and not well before ──┐
 *   no list, or it failed midway ────┴─► asked for alone: its word is told; no answer: all stays
 *
 * Before is what the claim's status says, or what this process told: where the API server keeps no
 * healthStatus, Events are all there is. They come when kinds of conditions change, and once an
 * hour while there are any, since the API server forgets Events after that.
 */
#define LOG_ROOM "control"
#include "control/health.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/str.h"
#include "control/core.h"
#include "control/driver.h"
#include "control/health-internal.h"
#include "control/object.h"
#include "control/sync_gate.h"
#include "kube/fence.h"
#include "kube/informer.h"
#include "kube/queue.h"
#include "kube/recorder.h"

#include <stdatomic.h>

#define KEY "look"
#define DEFAULT_INTERVAL_NS (300 * NS_PER_S)
#define DEFAULT_TIMEOUT_NS (15 * NS_PER_S)
#define LOOK_NS (900 * NS_PER_S)
#define TELL_AGAIN_NS (3600 * NS_PER_S)
/* After so many calls in a row that got no answer in time nobody answers. */
#define HANGS_MAX 3
/* More pages than any driver has volumes: the same token again and again. */
#define PAGES_MAX 100000

/* What was told of a PV's volume. */
struct told {
	uint64_t hash, kinds;
	int64_t at_ns; /* of the last Event, clock_boot_ns() */
	uint64_t look; /* the last one in which the PV was there */
};

struct health_monitor {
	struct queue *queue;
	struct sync_gate gate;
	struct fence *fence;
	struct recorder *recorder;
	struct driver csi;
	struct object_store claims;
	struct informer *pvs;
	int64_t interval_ns;
	atomic_bool is_new_term;
	/* Of the one reconcile. */
	struct map *told; /* name of the PV → struct told, while it is not well */
	uint64_t n_looks;
	int64_t dropped_ns; /* clock_boot_ns() when the API server kept no healthStatus; 0: it did
			     */
};

struct look {
	struct health_monitor *h;
	struct ctx *ctx;
	struct arena *one;  /* of one volume's words */
	struct map *listed; /* handle → const struct csi_volume_health */
	bool has_list;      /* it is whole */
	bool can_get;
	unsigned n_hangs;
	size_t n_unwell;
};

/* ---- what was told ---- */

static void forget_all(struct health_monitor *h)
{
	const char *name;
	void *t;

	for (size_t it = 0; map_next(h->told, &it, &name, &t);)
		free(t);
	map_free(h->told);
	h->told = map_new();
}

/* Those whose PVs are gone. */
static void forget(struct health_monitor *h)
{
	struct map *kept = map_new();
	const char *name;
	void *v;

	for (size_t it = 0; map_next(h->told, &it, &name, &v);) {
		if (((struct told *)v)->look == h->n_looks)
			map_put(kept, name, v);
		else
			free(v);
	}
	map_free(h->told);
	h->told = kept;
}

static bool may_write(const struct health_monitor *h)
{
	return h->dropped_ns == 0 || clock_boot_ns() - h->dropped_ns >= TELL_AGAIN_NS;
}

/* 0 also where the server keeps no such field. */
static int write_status(struct look *l, const struct kube_object **claim,
			const struct health_state *s, struct err *err)
{
	struct health_monitor *h = l->h;
	autostr struct str part = STR_INIT;

	if (core_pvc_of(*claim)->health == s->hash || (s->n && !may_write(h)))
		return 0;
	health_state_patch(s, &part);
	if (object_patch(&h->claims, l->ctx, claim, "status", str_get(&part), "", err) < 0)
		return -1;
	if (core_pvc_of(*claim)->health == s->hash) {
		h->dropped_ns = s->n ? 0 : h->dropped_ns;
		return 0;
	}
	if (h->dropped_ns == 0)
		log_info("the API server keeps no healthStatus of claims (gate CSIVolumeHealth); "
			 "volumes' health is told by Events alone");
	h->dropped_ns = clock_boot_ns();
	return 0;
}

static void record(struct look *l, const struct kube_object *claim, struct told *t,
		   const struct health_state *s)
{
	bool is_due = t->at_ns == 0 || clock_boot_ns() - t->at_ns >= TELL_AGAIN_NS;
	struct recorder *r = l->h->recorder;

	if (*s->unknown && (is_due || t->kinds != s->kinds))
		recorder_event(r, claim, RECORDER_WARNING, "UnknownVolumeHealthCondition",
			       "The CSI driver reported volume health conditions of a type unknown "
			       "to this monitor: %s",
			       s->unknown);
	if (s->n && (is_due || t->kinds != s->kinds))
		recorder_event(r, claim, RECORDER_WARNING, "VolumeConditionAbnormal", "%s",
			       health_state_text(l->one, s));
	if (!s->n && t->kinds)
		recorder_event(r, claim, RECORDER_NORMAL, "VolumeConditionNormal",
			       "The Volume returns to the healthy state");
	if (is_due || t->kinds != s->kinds)
		t->at_ns = clock_boot_ns();
}

static void remember(struct look *l, const char *pv, const struct told *now)
{
	struct told *t = map_find(l->h->told, pv);

	if (!t) {
		t = xcalloc(1, sizeof(*t));
		map_put(l->h->told, pv, t);
	}
	*t = *now;
}

/* The claim's own status counts as told, so that what another leader told is taken back. */
static int tell(struct look *l, const struct kube_object *pv, const struct kube_object **claim,
		const struct health_state *s, struct err *err)
{
	const struct told *before = map_find(l->h->told, pv->name);
	struct told now = before ? *before : (struct told){ 0 };
	int r;

	if (!before && core_pvc_of(*claim)->health)
		now.kinds = core_pvc_of(*claim)->health;
	r = write_status(l, claim, s, err);
	if (r < 0 && (err->code == ERR_NOT_FOUND || fence_is_cut_off(l->h->fence, l->ctx)))
		return err->code == ERR_NOT_FOUND ? 0 : -1;
	record(l, *claim, &now, s); /* also where the status may not be written */
	now.hash = s->hash;
	now.kinds = s->kinds;
	now.look = l->h->n_looks;
	if (s->n || *s->unknown)
		remember(l, pv->name, &now);
	else
		free(map_take(l->h->told, pv->name));
	l->n_unwell += s->n > 0;
	return r;
}

/* ---- the driver's word ---- */

/* 1: *ret is there; 0: nothing is known, which changes nothing. */
static int ask_one(struct look *l, const char *handle, struct csi_volume_health *ret,
		   struct err *err)
{
	const struct csi_controller_get_volume_health_request req = { .volume_id = handle };
	struct csi_controller_get_volume_health_response reply;
	int64_t deadline_ns;
	int r;

	if (!l->can_get || l->n_hangs >= HANGS_MAX)
		return 0;
	deadline_ns = driver_limit(&l->h->csi, l->ctx);
	r = csi_controller_get_volume_health(&l->h->csi.service, l->ctx, &req, &reply, err);
	l->ctx->deadline_ns = deadline_ns;
	l->n_hangs = r < 0 && err->code == ERR_DEADLINE_EXCEEDED ? l->n_hangs + 1 : 0;
	if (r < 0) {
		log_debug("health of a volume is not known", log_str("volume", handle),
			  log_err(err));
		return 0;
	}
	if (!str_is_equal(reply.volume_health.volume_id, handle)) {
		log_warn("the driver answered with the health of another volume",
			 log_str("volume", handle), log_str("told", reply.volume_health.volume_id));
		return 0;
	}
	*ret = reply.volume_health;
	return 1;
}

static int list_page(struct look *l, const char *token,
		     struct csi_controller_list_volume_health_response *ret, struct err *err)
{
	const struct csi_controller_list_volume_health_request req = { .starting_token = token };
	int64_t deadline_ns = driver_limit(&l->h->csi, l->ctx);
	int r = csi_controller_list_volume_health(&l->h->csi.service, l->ctx, &req, ret, err);

	l->ctx->deadline_ns = deadline_ns;
	return r;
}

/* What came before a failure is true all the same. */
static int list(struct look *l, struct err *err)
{
	struct csi_controller_list_volume_health_response page = { .next_token = "" };

	for (unsigned i = 0; i < PAGES_MAX; i++) {
		const char *token = page.next_token;

		if (list_page(l, token, &page, err) < 0)
			return -1;
		for (size_t k = 0; k < page.n_entries; k++)
			map_put(l->listed, page.entries[k].volume_id,
				(void *)(uintptr_t)&page.entries[k]);
		if (!*page.next_token)
			return 0;
		if (str_is_equal(page.next_token, token))
			break;
	}
	return err_set(err, ERR_INTERNAL, "the driver's list of volumes' health does not end");
}

/* ---- the look ---- */

static bool was_unwell(const struct look *l, const struct kube_object *pv,
		       const struct kube_object *claim)
{
	return core_pvc_of(claim)->health || map_find(l->h->told, pv->name);
}

static int see(struct look *l, const struct kube_object *pv, struct err *err)
{
	const struct core_pv *v = core_pv_of(pv);
	autokobj const struct kube_object *claim =
		informer_get(l->h->claims.cache, v->claim_ns, v->claim_name);
	const struct csi_volume_health *health = map_find(l->listed, v->handle);
	struct csi_volume_health alone;
	struct health_state s;
	struct told *t = map_find(l->h->told, pv->name);

	if (t)
		t->look = l->h->n_looks;
	if (!claim || !str_is_equal(claim->uid, v->claim_uid))
		return 0;
	if (!health) {
		if (l->has_list && !was_unwell(l, pv, claim))
			return 0;
		if (ask_one(l, v->handle, &alone, err) <= 0)
			return 0;
		health = &alone;
	}
	arena_reset(l->one);
	s = health_state_of(l->one, health);
	if (s.n == 0 && !*s.unknown && !was_unwell(l, pv, claim))
		return 0;
	return tell(l, pv, &claim, &s, err);
}

static int see_all(struct look *l, struct err *err)
{
	struct health_monitor *h = l->h;
	autokobjs struct kube_objects pvs = { 0 };
	struct err failure = { .code = ERR_OK };

	informer_each_in(h->pvs, CORE_BOUND_BY_DRIVER, h->csi.name, kube_objects_add, &pvs);
	for (size_t i = 0; i < pvs.n; i++) {
		if (fence_check(h->fence, l->ctx, err) < 0 || ctx_check(l->ctx, err) < 0)
			return -1;
		/* One claim that cannot be written is its own affair. */
		if (see(l, pvs.v[i], err) < 0)
			failure = *err;
	}
	if (failure.code == ERR_OK)
		return 0;
	*err = failure;
	return -1;
}

static int look(struct look *l, struct err *err)
{
	struct health_monitor *h = l->h;
	struct driver_caps caps;
	struct err why;
	int r;

	if (atomic_exchange(&h->is_new_term, false))
		forget_all(h);
	if (driver_ask(&h->csi, l->ctx, &caps, err) < 0)
		return -1;
	l->can_get = caps.controller & CSI_CAP_BIT(CSI_CTRL_GET_VOLUME_HEALTH);
	h->n_looks++;
	if (caps.controller & CSI_CAP_BIT(CSI_CTRL_LIST_VOLUME_HEALTH)) {
		l->has_list = list(l, &why) == 0;
		if (!l->has_list)
			log_debug("volumes are asked for one by one", log_err(&why));
	}
	r = see_all(l, err);
	if (ctx_is_cancelled(l->ctx))
		return -1;
	forget(h);
	metric_set(METRIC_VOLUMES_UNWELL, (double)l->n_unwell, METRIC_ARGS(h->csi.name));
	return r;
}

static enum queue_verdict reconcile(void *arg, struct ctx *ctx, const char *key,
				    int64_t *ret_after_ns)
{
	autoarena struct arena *one = arena_new();
	struct look l = { .h = arg, .ctx = ctx, .one = one, .listed = map_new() };
	struct err err;

	(void)key;
	*ret_after_ns = l.h->interval_ns;
	if (look(&l, &err) < 0 && !fence_is_cut_off(l.h->fence, ctx))
		log_warn("volumes' health is not told of all", log_err(&err));
	map_free(l.listed);
	return QUEUE_RETRY_AFTER;
}

/* ---- start and end ---- */

struct health_monitor *health_monitor_new(const struct health_monitor_options *opts)
{
	struct health_monitor *h = xcalloc(1, sizeof(*h));
	const struct queue_options queue = {
		.name = "csi-monitor-pv-queue", /* upstream's */
		.workers = 1,
		.lane = opts->lane,
		.timeout_ns = LOOK_NS,
		.fence = opts->fence,
	};

	*h = (struct health_monitor){
		.fence = opts->fence,
		.recorder = opts->recorder,
		.claims = { opts->client, opts->pvcs, &core_pvc_type },
		.pvs = opts->pvs,
		.interval_ns = opts->interval_ns ? opts->interval_ns : DEFAULT_INTERVAL_NS,
		.told = map_new(),
	};
	driver_init(&h->csi, &opts->service, opts->driver_name,
		    opts->timeout_ns ? opts->timeout_ns : DEFAULT_TIMEOUT_NS);
	informer_add_index(h->pvs, CORE_BOUND_BY_DRIVER, core_bound_driver);
	h->queue = queue_new(opts->loop, opts->work, &queue, reconcile, h);
	sync_gate_init(&h->gate, opts->loop);
	h->gate.caches[0] = opts->pvs;
	h->gate.caches[1] = opts->pvcs;
	h->gate.queues[0] = h->queue;
	return h;
}

void health_monitor_start(struct health_monitor *h)
{
	atomic_store(&h->is_new_term, true);
	queue_add(h->queue, KEY);
	sync_gate_start(&h->gate);
}

void health_monitor_pause(struct health_monitor *h)
{
	sync_gate_pause(&h->gate);
	metric_set(METRIC_VOLUMES_UNWELL, 0, METRIC_ARGS(h->csi.name)); /* the leader's to tell */
}

void health_monitor_free(struct health_monitor *h)
{
	if (!h)
		return;
	sync_gate_done(&h->gate);
	queue_free(h->queue);
	forget_all(h);
	map_free(h->told);
	driver_done(&h->csi);
	free(h);
}
