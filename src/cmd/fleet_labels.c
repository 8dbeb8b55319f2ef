/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All nodes are compared each few seconds, from memory; the API server hears of it only when there
 * is a label to take off, which is once in a disk's life. The node that gets the pool needs no
 * help: its agent tells kubelet, and kubelet labels it.
 *
 * It does so once, so a label that is taken off by mistake is gone until that agent registers
 * again. What an agent said may be a minute old, and the disk be back by now; so where a label is
 * to go both are asked anew, and it goes from the node as it was read and from no other version.
 */
#include "cmd/fleet_labels.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/ctx.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/vec.h"
#include "cmd/fleet.h"
#include "cmd/lanes.h"
#include "cmd/periodic.h"
#include "control/core.h"
#include "control/object.h"
#include "csi/router.h"
#include "event/loop.h"
#include "kube/fence.h"
#include "kube/informer.h"
#include "volume/topology.h"

#define EVERY_NS (5 * NS_PER_S)
#define TIMEOUT_NS (30 * NS_PER_S)
/* How long what an agent said may be acted upon: until the next look but one. */
#define FRESH_NS (2 * EVERY_NS)

struct fleet_labels {
	struct fleet_labels_options opts;
	char *driver;
	struct periodic *looks;
	bool is_told; /* of the one run: that a label stays */
};

struct agent {
	const char *node;
	const struct uuid *pools;
	size_t n_pools;
	int64_t told_ns;
};

/* Those that answer. */
struct agents {
	struct arena *arena;
	VEC(struct agent) v;
};

static int note(void *arg, const struct csi_router_state *state)
{
	struct agents *all = arg;

	if (!state->is_reachable)
		return 0;
	vec_push(&all->v, ((struct agent){ arena_strdup(all->arena, state->name),
					   arena_memdup(all->arena, state->pools,
							state->n_pools * sizeof(struct uuid)),
					   state->n_pools, state->told_ns }));
	return 0;
}

static bool shows(const struct agent *a, const struct uuid *pool)
{
	for (size_t i = 0; i < a->n_pools; i++) {
		if (memcmp(&a->pools[i], pool, sizeof(*pool)) == 0)
			return true;
	}
	return false;
}

/* The one other that shows the pool. */
static const struct agent *find_other(const struct agents *all, const struct agent *than,
				      const struct uuid *pool)
{
	const struct agent *found = NULL;

	for (size_t i = 0; i < all->v.n; i++) {
		if (&all->v.v[i] == than || !shows(&all->v.v[i], pool))
			continue;
		if (found)
			return NULL;
		found = &all->v.v[i];
	}
	return found;
}

/* Whether both said it just now; else they are asked again, and the next look decides. other NULL:
 * it is the one's word alone. */
static bool are_sure(struct fleet_labels *l, const struct agent *a, const struct agent *other)
{
	int64_t since_ns = clock_now_ns() - FRESH_NS;

	if (a->told_ns >= since_ns && (!other || other->told_ns >= since_ns))
		return true;
	fleet_doubt(l->opts.fleet, a->node);
	if (other)
		fleet_doubt(l->opts.fleet, other->node);
	return false;
}

/* Forgotten, and shown by nobody. Whoever is away may be back with the disk, and its node labelled,
 * before it is asked: so this, too, counts for nodes whose agents answer. */
static bool is_gone(const struct fleet_labels *l, const struct agents *all, const struct uuid *pool)
{
	if (!fleet_has_forgotten(l->opts.fleet, pool))
		return false;
	for (size_t i = 0; i < all->v.n; i++) {
		if (shows(&all->v.v[i], pool))
			return false;
	}
	return true;
}

static void take_off(struct fleet_labels *l, struct ctx *ctx, const struct kube_object **node,
		     const char *label, const char *other)
{
	const struct object_store store = { l->opts.client, l->opts.nodes, &core_node_type };
	autostr struct str part = STR_INIT;
	struct json_writer w = JSON_WRITER(&part);
	autofree char *meta = NULL;
	struct err err;

	json_begin_object(&w);
	json_key(&w, label);
	json_put_null(&w);
	json_end_object(&w);
	meta = xasprintf("\"resourceVersion\":\"%s\",\"labels\":%s", (*node)->resource_version,
			 str_get(&part));
	if (object_patch(&store, ctx, node, NULL, "", meta, &err) == 0) {
		l->is_told = false;
		log_info("the label of a pool that a node has no more is taken off",
			 log_str("label", label), log_str("node", (*node)->name),
			 log_str("why", other ? "moved" : "forgotten"),
			 log_str("movedTo", str_or(other, "")));
	} else if (err.code != ERR_ABORTED && !l->is_told &&
		   !fence_is_cut_off(l->opts.fence, ctx)) {
		l->is_told = true;
		log_warn("the label of a pool that a node has no more stays on",
			 log_str("label", label), log_str("node", (*node)->name), log_err(&err));
	}
}

static void compare(struct fleet_labels *l, struct ctx *ctx, const struct agents *all,
		    const struct agent *a)
{
	autokobj const struct kube_object *node = informer_get(l->opts.nodes, "", a->node);
	autokobj const struct kube_object *seen = node ? kube_object_ref(node) : NULL;
	const struct strmap *labels = seen ? &seen->labels : NULL;

	for (size_t i = 0; labels && i < labels->n; i++) {
		const char *label = labels->v[i].key;
		const struct agent *other;
		struct uuid pool;

		if (vol_segment_parse(label, l->driver, &pool) < 0 || shows(a, &pool))
			continue;
		other = find_other(all, a, &pool);
		if ((other || is_gone(l, all, &pool)) && are_sure(l, a, other))
			take_off(l, ctx, &node, label, other ? other->node : NULL);
	}
}

static void look(void *arg, struct ctx *ctx)
{
	struct fleet_labels *l = arg;
	struct agents all = { .arena = ctx->arena, .v = VEC_INIT };
	struct fence_member member;
	struct err err;

	if (!informer_has_synced(l->opts.nodes) ||
	    fence_join(l->opts.fence, &member, ctx, &err) < 0)
		return;
	fleet_each(l->opts.fleet, note, &all);
	for (size_t i = 0; i < all.v.n && !ctx_is_cancelled(ctx); i++)
		compare(l, ctx, &all, &all.v.v[i]);
	fence_leave(l->opts.fence, &member);
	vec_done(&all.v);
}

static void start(void *arg)
{
	struct fleet_labels *l = arg;

	l->looks = periodic_new(&(struct periodic_options){
		.loop = l->opts.loop,
		.work = l->opts.work,
		.lane = LANE_API,
		.first_ns = EVERY_NS,
		.every_ns = EVERY_NS,
		.timeout_ns = TIMEOUT_NS,
		.run = look,
		.arg = l,
	});
}

struct fleet_labels *fleet_labels_new(const struct fleet_labels_options *opts)
{
	struct fleet_labels *l = xcalloc(1, sizeof(*l));

	l->opts = *opts;
	l->driver = xstrdup(opts->driver_name);
	ev_call(opts->loop, start, l);
	return l;
}

void fleet_labels_free(struct fleet_labels *l)
{
	if (!l)
		return;
	(void)periodic_stop(l->looks, INT64_MAX);
	periodic_free(l->looks);
	free(l->driver);
	free(l);
}
