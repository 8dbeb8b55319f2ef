/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Conditions as metrics and as lines of the log, for clusters whose kubelet does not ask for them.
 *
 * What was told last is kept so that each condition is one line when it comes and one when it goes.
 * That is all it is for: the metrics are of this look.
 */
#define LOG_ROOM "csi"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/str.h"
#include "csi/driver-internal.h"

static char is_told; /* values of health_told: only the address counts */

struct round {
	struct csi_driver *d;
	struct map *found; /* "volume reason" */
	uint64_t counts[N_HEALTH];
};

static void tell(struct round *round, const char *volume_id,
		 const struct csi_volume_health_volume_health_entry *entry)
{
	autofree char *key = xasprintf("%s %s", volume_id, entry->reason);

	(void)map_put(round->found, key, &is_told);
	if (!map_find(round->d->health_told, key))
		log_warn("volume is not well", log_str("volume", volume_id),
			 log_str("reason", entry->reason), log_str("message", entry->message));
}

static int count_volume(void *arg, const char *volume_id, const struct health *h)
{
	struct round *round = arg;

	for (size_t i = 0; i < h->n; i++) {
		round->counts[h->kinds[i]]++;
		tell(round, volume_id, &h->entries[i]);
	}
	return 0;
}

static void tell_ended(const struct round *round)
{
	const char *key;
	void *told;

	for (size_t it = 0; map_next(round->d->health_told, &it, &key, &told);) {
		if (!map_find(round->found, key))
			log_info("volume is well again, or gone", log_str("volume", key));
	}
}

static void look_at_volumes(struct csi_driver *d, struct ctx *ctx,
			    const struct registry_pools *pools)
{
	struct round round = { .d = d, .found = map_new() };
	bool is_whole = true;
	struct err err;

	if (!d->health_told)
		d->health_told = map_new();
	for (size_t i = 0; i < pools->n; i++)
		is_whole = driver_each_unhealthy(d, ctx, pools->v[i], "", count_volume, &round,
						 &err) == 0 &&
			   is_whole;
	for (int kind = 0; kind < N_HEALTH; kind++)
		metric_set(METRIC_VOLUME_CONDITIONS, (double)round.counts[kind],
			   METRIC_ARGS(health_label((enum health_kind)kind)));
	if (!is_whole) { /* what was not looked at has not ended */
		map_free(round.found);
		return;
	}
	tell_ended(&round);
	map_free(d->health_told);
	d->health_told = round.found;
}

/* The label is the pool's name, and several may have one; of those that are not served it is known
 * as well. */
static void look_at_name(struct csi_driver *d, struct ctx *ctx, const char *name,
			 const struct registry_pools *pools, const struct registry_missing *missing,
			 size_t n_missing)
{
	unsigned counts[N_POOL_HEALTH] = { 0 };

	for (size_t i = 0; i < pools->n; i++) {
		struct pool_health health = { .a = ctx->arena };

		if (!str_is_equal(pools->v[i]->pool_name, name))
			continue;
		driver_examine_pool(d, ctx, pools->v[i], &health);
		for (int kind = 0; kind < N_POOL_HEALTH; kind++)
			counts[kind] += health.messages[kind] != NULL;
	}
	for (size_t i = 0; i < n_missing; i++)
		counts[POOL_HEALTH_GONE] += str_is_equal(missing[i].name, name);
	for (int kind = 0; kind < N_POOL_HEALTH; kind++)
		metric_set(METRIC_POOL_CONDITIONS, counts[kind],
			   METRIC_ARGS(name, pool_health_label((enum pool_health_kind)kind)));
}

static void look_at_pools(struct csi_driver *d, struct ctx *ctx, const struct registry_pools *pools)
{
	const struct registry_missing *missing;
	size_t n_missing = registry_missing(d->pools, ctx->arena, &missing);

	for (size_t i = 0; i < pools->n; i++) {
		const char *name = pools->v[i]->pool_name;

		if (registry_find_name(d->pools, name) == pools->v[i])
			look_at_name(d, ctx, name, pools, missing, n_missing);
	}
	for (size_t i = 0; i < n_missing; i++) {
		if (!registry_find_name(d->pools, missing[i].name))
			look_at_name(d, ctx, missing[i].name, pools, missing, n_missing);
	}
}

void csi_driver_watch_health(struct csi_driver *d, struct ctx *ctx)
{
	const struct registry_pools pools = registry_pools(d->pools, ctx->arena);

	look_at_pools(d, ctx, &pools);
	look_at_volumes(d, ctx, &pools);
}

size_t csi_driver_n_silent(struct csi_driver *d)
{
	return looks_count_silent(d->looks);
}

void driver_forget_health(struct csi_driver *d)
{
	map_free(d->health_told);
}
