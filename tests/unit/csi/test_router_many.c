/* SPDX-License-Identifier: Apache-2.0 */
/* The router's index of pools: many members, in no order, some of which share a pool, come and go.
 */
#include "csi/router.h"

#include <string.h>

#include "base/ctx.h"
#include "base/mem.h"
#include "check.h"
#include "volume/id.h"
#include "volume/topology.h"

#define DRIVER "pool.cleat.csi"
#define N_MANY 60u

struct member {
	char name[8];
	struct uuid pools[2]; /* its own; one that it shares with its neighbour */
	unsigned n_deletes;
	struct csi_router_member *in; /* NULL: it has gone */
};

struct env {
	struct csi_router *r;
	struct csi_service s;
	struct member m[N_MANY];
	struct ctx ctx;
	struct err err;
};

static int probe(void *impl, struct ctx *ctx, const struct csi_probe_request *req,
		 struct csi_probe_response *ret, struct err *err)
{
	return 0;
}

static int info(void *impl, struct ctx *ctx, const struct csi_get_plugin_info_request *req,
		struct csi_get_plugin_info_response *ret, struct err *err)
{
	ret->name = DRIVER;
	ret->vendor_version = "1";
	return 0;
}

static int plugin_caps(void *impl, struct ctx *ctx,
		       const struct csi_get_plugin_capabilities_request *req,
		       struct csi_get_plugin_capabilities_response *ret, struct err *err)
{
	return 0;
}

static int node_info(void *impl, struct ctx *ctx, const struct csi_node_get_info_request *req,
		     struct csi_node_get_info_response *ret, struct err *err)
{
	struct member *m = impl;
	struct strpair pairs[2];

	for (size_t i = 0; i < ARRAY_LEN(pairs); i++)
		pairs[i] = (struct strpair){ vol_segment_key(ctx->arena, DRIVER, &m->pools[i]),
					     VOL_SEGMENT_VALUE };
	ret->node_id = m->name;
	ret->has_accessible_topology = true;
	ret->accessible_topology.segments = strmap_from(ctx->arena, pairs, ARRAY_LEN(pairs));
	return 0;
}

static int delete_volume(void *impl, struct ctx *ctx, const struct csi_delete_volume_request *req,
			 struct csi_delete_volume_response *ret, struct err *err)
{
	((struct member *)impl)->n_deletes++;
	return 0;
}

static const struct csi_service_ops ops = {
	.probe = probe,
	.get_plugin_info = info,
	.get_plugin_capabilities = plugin_caps,
	.node_get_info = node_info,
	.delete_volume = delete_volume,
};

static int delete_in(struct env *e, const struct uuid *pool)
{
	struct vol_id id = { .pool = *pool, .token = "x" };
	struct csi_delete_volume_request req;
	struct csi_delete_volume_response ret;
	char text[VOL_ID_MAX];

	vol_id_format(VOL_KIND_VOLUME, &id, text);
	message_init(&csi_delete_volume_request_type, &req);
	req.volume_id = text;
	return csi_delete_volume(&e->s, &e->ctx, &req, &ret, &e->err);
}

static void check(struct env *e)
{
	for (size_t i = 0; i < N_MANY; i++) {
		struct member *m = &e->m[i], *neighbour = &e->m[i ^ 1];

		m->n_deletes = 0;
		if (!m->in) {
			ASSERT_ERR(delete_in(e, &m->pools[0]), &e->err, ERR_UNAVAILABLE,
				   "no node serves");
			continue;
		}
		ASSERT_OK(delete_in(e, &m->pools[0]), &e->err);
		ASSERT_EQ(m->n_deletes, 1);
		if (neighbour->in) {
			ASSERT_ERR(delete_in(e, &m->pools[1]), &e->err, ERR_UNAVAILABLE,
				   "both have pool");
			continue;
		}
		ASSERT_OK(delete_in(e, &m->pools[1]), &e->err);
		ASSERT_EQ(m->n_deletes, 2);
	}
}

static void come(struct env *e, size_t i)
{
	struct member *m = &e->m[i];

	m->in = csi_router_add(e->r, m->name, &(const struct csi_service){ &ops, m });
	ASSERT_OK(csi_router_look(e->r, m->in, &e->ctx, &e->err), &e->err);
}

static void go(struct env *e, size_t i)
{
	csi_router_remove(e->r, e->m[i].in);
	e->m[i].in = NULL;
}

TEST(each_pool_is_found_as_members_come_and_go)
{
	static struct env e;

	ctx_init(&e.ctx, 0);
	e.r = csi_router_new(&(const struct csi_router_options){ 0 });
	e.s = csi_router_service(e.r);
	for (size_t i = 0; i < N_MANY; i++) {
		struct member *m = &e.m[i];

		(void)snprintf(m->name, sizeof(m->name), "n%02zu", (i * 37) % N_MANY);
		memset(&m->pools[0], 0x40 + (int)((i * 23) % N_MANY), sizeof(m->pools[0]));
		memset(&m->pools[1], 0x80 + (int)(i / 2), sizeof(m->pools[1]));
		come(&e, i);
	}
	check(&e);
	for (size_t i = 0; i < N_MANY; i += 3) {
		go(&e, i);
		check(&e);
	}
	for (size_t i = 0; i < N_MANY; i += 6) {
		come(&e, i);
		check(&e);
	}
	for (size_t i = 0; i < N_MANY; i++) {
		if (e.m[i].in)
			go(&e, i);
	}
	check(&e);
	csi_router_free(e.r);
	ctx_done(&e.ctx);
}

RUN_TESTS(UNIT(each_pool_is_found_as_members_come_and_go))
