/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a new volume goes, and how much room there is.
 *
 * A copy goes where its source is. Anything else goes to one of the pools of the wanted topology,
 * in the order that the CO prefers; where it does not, to the roomiest. A pool that is full is no
 * answer as long as there is another.
 *
 * One name makes one volume: a volume's id can be told from pool and name, so where several pools
 * are possible each is asked first whether it has it. Then all of them have to answer, since one
 * that does not may be where an earlier call made it. Our own provisioner names one pool, which its
 * journal keeps, and needs none of that.
 */
#include "csi/router-internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "volume/topology.h"

struct place {
	struct uuid pool;
	uint64_t available_bytes;
};

struct places {
	struct place *v;
	size_t n;
	bool is_ordered; /* by the CO */
};

static void add_place(struct places *places, const struct uuid *pool)
{
	for (size_t i = 0; i < places->n; i++) {
		if (memcmp(&places->v[i].pool, pool, sizeof(*pool)) == 0)
			return;
	}
	places->v[places->n++].pool = *pool;
}

static size_t count_segments(const struct vol_topologies *terms)
{
	size_t n = 0;

	for (size_t i = 0; i < terms->n; i++)
		n += terms->v[i].segments.n;
	return n;
}

static void add_terms(struct csi_router *r, struct places *places,
		      const struct vol_topologies *terms, const char *driver)
{
	for (size_t i = 0; i < terms->n; i++) {
		const struct strmap *segments = &terms->v[i].segments;
		struct uuid pool;

		for (size_t k = 0; k < segments->n; k++) {
			if (vol_segment_parse(segments->v[k].key, driver, &pool) == 0 &&
			    !csi_router_has_forgotten(r, &pool))
				add_place(places, &pool);
		}
	}
}

/* The possible ones. RESOURCE_EXHAUSTED: none, so that the claim is scheduled anew. */
static int collect(struct csi_router *r, struct arena *a, const char *driver,
		   const struct csi_topology_requirement *wanted, struct places *ret,
		   struct err *err)
{
	size_t n_pools = 0,
	       n_said = count_segments(&wanted->preferred) + count_segments(&wanted->requisite);
	bool is_anywhere = wanted->preferred.n == 0 && wanted->requisite.n == 0;
	const struct uuid *pools = is_anywhere ? router_pools(r, a, &n_pools) : NULL;

	ret->v = arena_array(a, n_said + n_pools, sizeof(*ret->v));
	ret->n = 0;
	ret->is_ordered = wanted->preferred.n > 0;
	add_terms(r, ret, &wanted->preferred, driver);
	add_terms(r, ret, &wanted->requisite, driver);
	for (size_t i = 0; i < n_pools; i++)
		add_place(ret, &pools[i]);
	return ret->n > 0 ? 0
			  : err_set(err, ERR_RESOURCE_EXHAUSTED,
				    "no node has a pool that is within the wanted topology");
}

/* Of a topology with this pool alone. */
static struct vol_topology *segment_of(struct arena *a, const char *driver, const struct uuid *pool)
{
	struct vol_topology *term = arena_alloc(a, sizeof(*term));
	const struct strpair pair = { vol_segment_key(a, driver, pool), VOL_SEGMENT_VALUE };

	term->segments = strmap_from(a, &pair, 1);
	return term;
}

static int create_at(struct csi_router *r, const struct csi_rpc *rpc, struct ctx *ctx,
		     const char *driver, const struct uuid *pool,
		     const struct csi_create_volume_request *req,
		     struct csi_create_volume_response *ret, struct err *err)
{
	struct csi_create_volume_request at = *req;
	struct vol_id id;

	at.accessibility_requirements.requisite =
		(struct vol_topologies){ segment_of(ctx->arena, driver, pool), 1 };
	at.accessibility_requirements.preferred = at.accessibility_requirements.requisite;
	if (router_forward(r, rpc, ctx, pool, &at, ret, err) < 0)
		return -1;
	if (vol_id_parse(VOL_KIND_VOLUME, ret->volume.volume_id, &id, err) < 0 ||
	    memcmp(&id.pool, pool, sizeof(*pool)) != 0)
		return err_set(err, ERR_INTERNAL,
			       "a volume for another pool came back: id '%.128s'",
			       ret->volume.volume_id);
	return 0;
}

/* 1: it is there; 0: it is not. */
static int is_there(struct csi_router *r, struct ctx *ctx, const struct uuid *pool,
		    const char *name, struct err *err)
{
	struct csi_controller_get_volume_request ask;
	struct csi_controller_get_volume_response reply;
	struct vol_id id = { .pool = *pool };
	char text[VOL_ID_MAX];

	vol_token_from_name(name, id.token);
	vol_id_format(VOL_KIND_VOLUME, &id, text);
	ask.volume_id = text;
	if (router_forward(r, &csi_rpcs[CSI_RPC_ControllerGetVolume], ctx, pool, &ask, &reply,
			   err) == 0)
		return 1;
	return err->code == ERR_NOT_FOUND ? 0 : -1;
}

static int ask_room(struct csi_router *r, struct ctx *ctx, const char *driver, struct place *place,
		    const struct csi_create_volume_request *req, struct err *err)
{
	const struct csi_get_capacity_request ask = {
		.volume_capabilities = req->volume_capabilities,
		.n_volume_capabilities = req->n_volume_capabilities,
		.parameters = req->parameters,
		.has_accessible_topology = true,
		.accessible_topology = *segment_of(ctx->arena, driver, &place->pool),
	};
	struct csi_get_capacity_response room;

	if (router_forward(r, &csi_rpcs[CSI_RPC_GetCapacity], ctx, &place->pool, &ask, &room, err) <
	    0)
		return -1;
	place->available_bytes = room.available_capacity;
	return 0;
}

static int by_room(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	if (x->available_bytes != y->available_bytes)
		return x->available_bytes > y->available_bytes ? -1 : 1;
	return memcmp(&x->pool, &y->pool, sizeof(x->pool));
}

/* One that exists comes first, and is the only one. */
static int choose(struct csi_router *r, struct ctx *ctx, const char *driver,
		  const struct csi_create_volume_request *req, struct places *places,
		  struct err *err)
{
	for (size_t i = 0; i < places->n; i++) {
		int rc = is_there(r, ctx, &places->v[i].pool, req->name, err);

		if (rc < 0)
			return -1;
		if (rc == 0)
			continue;
		places->v[0] = places->v[i];
		places->n = 1;
		return 0;
	}
	if (places->is_ordered)
		return 0;
	for (size_t i = 0; i < places->n; i++) {
		if (ask_room(r, ctx, driver, &places->v[i], req, err) < 0)
			return -1;
	}
	qsort(places->v, places->n, sizeof(*places->v), by_room);
	return 0;
}

static int create_of_source(struct csi_router *r, const struct csi_rpc *rpc, struct ctx *ctx,
			    const struct csi_create_volume_request *req, void *ret, struct err *err)
{
	const struct csi_content_source *source = &req->volume_content_source;
	struct vol_id id;

	if (vol_id_parse(source->kind == CSI_SOURCE_SNAPSHOT ? VOL_KIND_SNAPSHOT : VOL_KIND_VOLUME,
			 source->id, &id, err) < 0)
		return -1;
	return router_forward(r, rpc, ctx, &id.pool, req, ret, err);
}

int router_create_volume(struct csi_router *r, const struct csi_rpc *rpc, struct ctx *ctx,
			 const void *request, void *ret, struct err *err)
{
	const struct csi_create_volume_request *req = request;
	struct places places;
	const char *driver;

	if (req->has_volume_content_source)
		return create_of_source(r, rpc, ctx, req, ret, err);
	if (router_name(r, ctx->arena, &driver, err) < 0 ||
	    collect(r, ctx->arena, driver, &req->accessibility_requirements, &places, err) < 0 ||
	    (places.n > 1 && choose(r, ctx, driver, req, &places, err) < 0))
		return -1;
	for (size_t i = 0; i < places.n; i++) {
		if (create_at(r, rpc, ctx, driver, &places.v[i].pool, req, ret, err) == 0)
			return 0;
		if (err->code != ERR_RESOURCE_EXHAUSTED)
			return -1;
	}
	return -1;
}

/* ---- capacity ---- */

static void add_capacity(struct csi_get_capacity_response *all,
			 const struct csi_get_capacity_response *one)
{
	all->available_capacity += one->available_capacity;
	if (one->has_maximum_volume_size && (!all->has_maximum_volume_size ||
					     one->maximum_volume_size > all->maximum_volume_size)) {
		all->has_maximum_volume_size = true;
		all->maximum_volume_size = one->maximum_volume_size;
	}
	if (one->has_minimum_volume_size && (!all->has_minimum_volume_size ||
					     one->minimum_volume_size < all->minimum_volume_size)) {
		all->has_minimum_volume_size = true;
		all->minimum_volume_size = one->minimum_volume_size;
	}
}

/* Of the pools in a topology, each by itself: a node may have several. */
int router_get_capacity(struct csi_router *r, const struct csi_rpc *rpc, struct ctx *ctx,
			const void *request, void *ret, struct err *err)
{
	const struct csi_get_capacity_request *req = request;
	struct csi_get_capacity_response *all = ret, one;
	struct csi_get_capacity_request at = *req;
	const struct vol_topologies wanted = { &req->accessible_topology,
					       req->has_accessible_topology };
	struct places places;
	const char *driver;

	if (router_name(r, ctx->arena, &driver, err) < 0)
		return -1;
	if (collect(r, ctx->arena, driver,
		    &(const struct csi_topology_requirement){ .requisite = wanted }, &places,
		    err) < 0)
		return 0; /* there is none */
	for (size_t i = 0; i < places.n; i++) {
		at.has_accessible_topology = true;
		at.accessible_topology = *segment_of(ctx->arena, driver, &places.v[i].pool);
		if (router_forward(r, rpc, ctx, &places.v[i].pool, &at, &one, err) < 0)
			return -1;
		add_capacity(all, &one);
	}
	return 0;
}
