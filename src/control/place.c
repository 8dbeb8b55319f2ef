/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which one pool: for drivers whose places are single pools (volume/topology.h), of all pools that
 * the claim may go to the roomiest that can hold it is chosen, and the driver is asked for that one
 * alone. A name that was asked for in one place and is in doubt there is then never made a second
 * time in another, and the journal knows where to look.
 *
 * Whether it fits is the driver's to say: where no pool seems to have the room, or none can be
 * asked, the best guess is sent all the same, and the driver's words reach the user. Of equals the
 * first of the preferred order is taken, which goes round the nodes (topology.c).
 */
#include "control/provision-internal.h"

#include "base/log.h"
#include "base/str.h"
#include "volume/topology.h"

/* Each costs a call before CreateVolume; all together they have the time of one. */
#define ASKED_MAX 64

struct pools {
	struct strpair v[ASKED_MAX];
	size_t n;
};

static void add_pool(struct pools *pools, const struct strpair *pair)
{
	for (size_t i = 0; i < pools->n; i++)
		if (str_is_equal(pools->v[i].key, pair->key))
			return;
	if (pools->n < ASKED_MAX)
		pools->v[pools->n++] = *pair;
}

static void collect_pools(const struct attempt *a, struct pools *pools)
{
	const struct vol_topologies *terms = &a->it.request.accessibility_requirements.preferred;

	for (size_t i = 0; i < terms->n; i++)
		for (size_t k = 0; k < terms->v[i].segments.n; k++)
			if (vol_segment_is_pool(terms->v[i].segments.v[k].key, a->p->driver))
				add_pool(pools, &terms->v[i].segments.v[k]);
}

/* The room in one pool; nothing if it cannot be told. */
static struct csi_get_capacity_response ask_pool(struct attempt *a, const struct strpair *pool)
{
	const struct csi_get_capacity_request req = {
		.volume_capabilities = a->it.request.volume_capabilities,
		.n_volume_capabilities = a->it.request.n_volume_capabilities,
		.parameters = a->it.request.parameters,
		.accessible_topology = { .segments = strmap_from(a->ctx->arena, pool, 1) },
		.has_accessible_topology = true,
	};
	struct csi_get_capacity_response capacity = { 0 };
	struct err err;

	if (csi_get_capacity(&a->p->csi.service, a->ctx, &req, &capacity, &err) < 0) {
		log_debug("room not told", log_str("claim", a->key), log_str("pool", pool->key),
			  log_err(&err));
		capacity = (struct csi_get_capacity_response){ 0 };
	}
	return capacity;
}

static bool fits(const struct attempt *a, const struct csi_get_capacity_response *capacity)
{
	uint64_t most = capacity->has_maximum_volume_size ? capacity->maximum_volume_size
							  : capacity->available_capacity;

	return a->it.request.capacity_range.required_bytes <= most;
}

static const struct strpair *choose(struct attempt *a, const struct pools *pools)
{
	const struct strpair *best = NULL;
	struct csi_get_capacity_response most = { 0 };
	int64_t deadline_ns = driver_limit(&a->p->csi, a->ctx);

	for (size_t i = 0; i < pools->n; i++) {
		struct csi_get_capacity_response room = ask_pool(a, &pools->v[i]);
		bool is_better = fits(a, &room) != fits(a, &most)
					 ? fits(a, &room)
					 : room.available_capacity > most.available_capacity;

		if (best && !is_better)
			continue;
		best = &pools->v[i];
		most = room;
	}
	a->ctx->deadline_ns = deadline_ns;
	return best;
}

void place_choose(struct attempt *a)
{
	struct pools pools = { .n = 0 };
	const struct strpair *pool = pools.v;
	struct vol_topology *place;

	collect_pools(a, &pools);
	if (pools.n == 0)
		return;
	if (pools.n > 1 && (a->caps.controller & CSI_CAP_BIT(CSI_CTRL_GET_CAPACITY)))
		pool = choose(a, &pools);
	place = arena_alloc(a->ctx->arena, sizeof(*place));
	place->segments = strmap_from(a->ctx->arena, pool, 1);
	a->it.request.accessibility_requirements.requisite =
		(struct vol_topologies){ .v = place, .n = 1 };
	a->it.request.accessibility_requirements.preferred =
		a->it.request.accessibility_requirements.requisite;
}
