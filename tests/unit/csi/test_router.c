/* SPDX-License-Identifier: Apache-2.0 */
/* The router over members that are made up here: where each call goes, and what it says when it
 * cannot. */
#include "csi/router.h"

#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/vec.h"
#include "check.h"
#include "event/sync.h"
#include "volume/id.h"
#include "volume/topology.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#define DRIVER "pool.cleat.csi"
#define GIB (UINT64_C(1) << 30)

struct member {
	const char *name;
	const char *driver;
	struct uuid pools[2];
	size_t n_pools;
	uint64_t caps;
	uint64_t available;
	uint64_t link;
	bool is_away, is_full, lies;
	bool waits; /* in DeleteVolume, until may_go */
	atomic_bool may_go;
	pthread_mutex_t lock;
	unsigned n_waiting;
	unsigned n_calls[CSI_N_RPCS];
	VEC(char *) volumes;         /* tokens; of the first pool */
	struct vol_topologies asked; /* by the last CreateVolume, its requisite */
};

static int called(struct member *m, enum csi_rpc_id rpc, struct err *err)
{
	LOCK_SCOPE(&m->lock);

	m->n_calls[rpc]++;
	return m->is_away ? err_set(err, ERR_UNAVAILABLE, "connection refused") : 0;
}

static const char *id_in(struct arena *a, enum vol_kind kind, const struct uuid *pool,
			 const char *token)
{
	struct vol_id id = { .pool = *pool };
	char *text = arena_alloc(a, VOL_ID_MAX);

	(void)snprintf(id.token, sizeof(id.token), "%s", token);
	vol_id_format(kind, &id, text);
	return text;
}

static bool has_volume(const struct member *m, const char *token)
{
	for (size_t i = 0; i < m->volumes.n; i++) {
		if (str_is_equal(m->volumes.v[i], token))
			return true;
	}
	return false;
}

/* What is the same for all calls: it is counted. */
#define CSI_RPC(service, Method, name_, ...)                                          \
	static int plain_##name_(void *impl, struct ctx *ctx,                         \
				 const struct csi_##name_##_request *req,             \
				 struct csi_##name_##_response *ret, struct err *err) \
	{                                                                             \
		(void)ctx;                                                            \
		(void)req;                                                            \
		(void)ret;                                                            \
		return called(impl, CSI_RPC_##Method, err);                           \
	}
#define CSI_RPC_STREAM(service, Method, name_, ...)                                               \
	static int plain_##name_(void *impl, struct ctx *ctx,                                     \
				 const struct csi_##name_##_request *req, struct csi_stream *out, \
				 struct err *err)                                                 \
	{                                                                                         \
		(void)ctx;                                                                        \
		(void)req;                                                                        \
		(void)out;                                                                        \
		return called(impl, CSI_RPC_##Method, err);                                       \
	}
#include "csi/rpc.def"

static int info(void *impl, struct ctx *ctx, const struct csi_get_plugin_info_request *req,
		struct csi_get_plugin_info_response *ret, struct err *err)
{
	struct member *m = impl;

	ret->name = m->driver;
	ret->vendor_version = "1";
	return plain_get_plugin_info(impl, ctx, req, ret, err);
}

static int plugin_caps(void *impl, struct ctx *ctx,
		       const struct csi_get_plugin_capabilities_request *req,
		       struct csi_get_plugin_capabilities_response *ret, struct err *err)
{
	ret->capabilities =
		csi_capabilities(ctx->arena,
				 CSI_CAP_BIT(CSI_PLUGIN_CONTROLLER_SERVICE) |
					 CSI_CAP_BIT(CSI_PLUGIN_GROUP_CONTROLLER_SERVICE),
				 &ret->n_capabilities);
	return plain_get_plugin_capabilities(impl, ctx, req, ret, err);
}

static int controller_caps(void *impl, struct ctx *ctx,
			   const struct csi_controller_get_capabilities_request *req,
			   struct csi_controller_get_capabilities_response *ret, struct err *err)
{
	struct member *m = impl;

	ret->capabilities = csi_capabilities(ctx->arena, m->caps, &ret->n_capabilities);
	return plain_controller_get_capabilities(impl, ctx, req, ret, err);
}

static int node_info(void *impl, struct ctx *ctx, const struct csi_node_get_info_request *req,
		     struct csi_node_get_info_response *ret, struct err *err)
{
	struct member *m = impl;
	struct strpair pairs[3] = { { "kubernetes.io/hostname", m->name } };

	for (size_t i = 0; i < m->n_pools; i++)
		pairs[1 + i] = (struct strpair){ vol_segment_key(ctx->arena, DRIVER, &m->pools[i]),
						 VOL_SEGMENT_VALUE };
	ret->node_id = m->name;
	ret->has_accessible_topology = true;
	ret->accessible_topology.segments = strmap_from(ctx->arena, pairs, 1 + m->n_pools);
	return plain_node_get_info(impl, ctx, req, ret, err);
}

static int create(void *impl, struct ctx *ctx, const struct csi_create_volume_request *req,
		  struct csi_create_volume_response *ret, struct err *err)
{
	struct member *m = impl;
	char token[VOL_TOKEN_MAX];

	if (plain_create_volume(impl, ctx, req, ret, err) < 0)
		return -1;
	m->asked = req->accessibility_requirements.requisite;
	vol_token_from_name(req->name, token);
	if (m->is_full && !has_volume(m, token))
		return err_set(err, ERR_RESOURCE_EXHAUSTED, "the pool is full");
	if (!has_volume(m, token))
		vec_push(&m->volumes, xstrdup(token));
	ret->volume.volume_id = m->lies ? "v1-00000000000000000000000000000000-x"
					: id_in(ctx->arena, VOL_KIND_VOLUME, &m->pools[0], token);
	ret->has_volume = true;
	return 0;
}

static int delete_volume(void *impl, struct ctx *ctx, const struct csi_delete_volume_request *req,
			 struct csi_delete_volume_response *ret, struct err *err)
{
	struct member *m = impl;

	if (m->waits) {
		{
			LOCK_SCOPE(&m->lock);
			m->n_waiting++;
		}
		while (!atomic_load(&m->may_go))
			sched_yield();
	}
	return plain_delete_volume(impl, ctx, req, ret, err);
}

static int get_volume(void *impl, struct ctx *ctx,
		      const struct csi_controller_get_volume_request *req,
		      struct csi_controller_get_volume_response *ret, struct err *err)
{
	struct member *m = impl;
	struct vol_id id;

	if (plain_controller_get_volume(impl, ctx, req, ret, err) < 0)
		return -1;
	ASSERT_OK(vol_id_parse(VOL_KIND_VOLUME, req->volume_id, &id, err), err);
	if (!has_volume(m, id.token))
		return err_set(err, ERR_NOT_FOUND, "no such volume");
	ret->volume.volume_id = arena_strdup(ctx->arena, req->volume_id);
	ret->has_volume = ret->has_status = true;
	return 0;
}

/* Two a page at most, whatever is asked. */
static int list(void *impl, struct ctx *ctx, const struct csi_list_volumes_request *req,
		struct csi_list_volumes_response *ret, struct err *err)
{
	struct csi_controller_get_volume_response *v = arena_array(ctx->arena, 2, sizeof(*v));
	struct member *m = impl;
	size_t from = (size_t)strtoul(req->starting_token, NULL, 10);
	size_t max = req->max_entries && req->max_entries < 2 ? req->max_entries : 2;

	if (plain_list_volumes(impl, ctx, req, ret, err) < 0)
		return -1;
	while (from < m->volumes.n && ret->n_entries < max) {
		message_init(&csi_controller_get_volume_response_type, &v[ret->n_entries]);
		v[ret->n_entries].has_volume = v[ret->n_entries].has_status = true;
		v[ret->n_entries++].volume.volume_id =
			id_in(ctx->arena, VOL_KIND_VOLUME, &m->pools[0], m->volumes.v[from++]);
	}
	ret->entries = v;
	ret->next_token = from < m->volumes.n ? arena_printf(ctx->arena, "%zu", from) : "";
	return 0;
}

static int capacity(void *impl, struct ctx *ctx, const struct csi_get_capacity_request *req,
		    struct csi_get_capacity_response *ret, struct err *err)
{
	struct member *m = impl;

	ret->available_capacity = m->available;
	ret->has_maximum_volume_size = true;
	ret->maximum_volume_size = m->available;
	return plain_get_capacity(impl, ctx, req, ret, err);
}

static uint64_t link_changes(void *impl)
{
	return ((struct member *)impl)->link;
}

static struct csi_service_ops ops = {
	.link_changes = link_changes,
#define CSI_RPC(service, Method, name_, ...) .name_ = plain_##name_,
#define CSI_RPC_STREAM CSI_RPC
#include "csi/rpc.def"
};

static const struct csi_service_ops *member_ops(void)
{
	ops.get_plugin_info = info;
	ops.get_plugin_capabilities = plugin_caps;
	ops.controller_get_capabilities = controller_caps;
	ops.node_get_info = node_info;
	ops.create_volume = create;
	ops.delete_volume = delete_volume;
	ops.controller_get_volume = get_volume;
	ops.list_volumes = list;
	ops.get_capacity = capacity;
	return &ops;
}

#define N_MEMBERS 3
struct env {
	struct csi_router *r;
	struct csi_service s;
	struct member m[N_MEMBERS];
	struct csi_router_member *in[N_MEMBERS];
	struct ctx ctx;
	struct err err;
};

static int look(struct env *e, size_t i)
{
	return csi_router_look(e->r, e->in[i], &e->ctx, &e->err);
}

static void add(struct env *e, size_t i)
{
	const struct csi_service s = { member_ops(), &e->m[i] };

	e->in[i] = csi_router_add(e->r, e->m[i].name, &s);
}

/* "a", "b" and "c", each with a pool of its own. */
static void setup(struct env *e)
{
	static const char *const names[] = { "a", "b", "c" };

	*e = (struct env){ 0 };
	ctx_init(&e->ctx, 0);
	e->r = csi_router_new(
		&(const struct csi_router_options){ .hanging_calls = 4, .hanging_ns = 1 });
	e->s = csi_router_service(e->r);
	for (size_t i = N_MEMBERS; i-- > 0;) { /* in no order */
		struct member *m = &e->m[i];

		m->name = names[i];
		m->driver = DRIVER;
		m->n_pools = 1;
		memset(&m->pools[0], 0x11 * (int)(i + 1), sizeof(m->pools[0]));
		m->caps = CSI_CAP_BIT(CSI_CTRL_CREATE_DELETE_VOLUME);
		m->available = (i + 1) * GIB;
		pthread_mutex_init(&m->lock, NULL);
		add(e, i);
		ASSERT_TRUE(csi_router_is_stale(e->r, e->in[i]));
	}
	for (size_t i = 0; i < N_MEMBERS; i++) {
		ASSERT_OK(look(e, i), &e->err);
		ASSERT_FALSE(csi_router_is_stale(e->r, e->in[i]));
		memset(e->m[i].n_calls, 0, sizeof(e->m[i].n_calls));
	}
}

static void teardown(struct env *e)
{
	for (size_t i = 0; i < N_MEMBERS; i++) {
		if (e->in[i])
			csi_router_remove(e->r, e->in[i]);
		for (size_t k = 0; k < e->m[i].volumes.n; k++)
			free(e->m[i].volumes.v[k]);
		vec_done(&e->m[i].volumes);
		pthread_mutex_destroy(&e->m[i].lock);
	}
	csi_router_free(e->r);
	ctx_done(&e->ctx);
}

static const char *id_of(struct env *e, enum vol_kind kind, size_t i, const char *token)
{
	return id_in(e->ctx.arena, kind, &e->m[i].pools[0], token);
}

/* ---- by id ---- */

static const struct {
	enum csi_rpc_id rpc;
	const char *field;
	enum vol_kind kind;
	bool is_removal;
} by_id[] = {
	{ CSI_RPC_DeleteVolume, "volume_id", VOL_KIND_VOLUME, true },
	{ CSI_RPC_ControllerPublishVolume, "volume_id", VOL_KIND_VOLUME, false },
	{ CSI_RPC_ControllerUnpublishVolume, "volume_id", VOL_KIND_VOLUME, true },
	{ CSI_RPC_ValidateVolumeCapabilities, "volume_id", VOL_KIND_VOLUME, false },
	{ CSI_RPC_ControllerGetVolumeHealth, "volume_id", VOL_KIND_VOLUME, false },
	{ CSI_RPC_CreateSnapshot, "source_volume_id", VOL_KIND_VOLUME, false },
	{ CSI_RPC_DeleteSnapshot, "snapshot_id", VOL_KIND_SNAPSHOT, true },
	{ CSI_RPC_GetSnapshot, "snapshot_id", VOL_KIND_SNAPSHOT, false },
	{ CSI_RPC_ControllerExpandVolume, "volume_id", VOL_KIND_VOLUME, false },
	{ CSI_RPC_ControllerModifyVolume, "volume_id", VOL_KIND_VOLUME, false },
	{ CSI_RPC_DeleteVolumeGroupSnapshot, "group_snapshot_id", VOL_KIND_GROUP, true },
	{ CSI_RPC_GetVolumeGroupSnapshot, "group_snapshot_id", VOL_KIND_GROUP, false },
	{ CSI_RPC_GetMetadataAllocated, "snapshot_id", VOL_KIND_SNAPSHOT, false },
	{ CSI_RPC_GetMetadataDelta, "target_snapshot_id", VOL_KIND_SNAPSHOT, false },
	{ CSI_RPC_ListSnapshots, "snapshot_id", VOL_KIND_SNAPSHOT, false },
	{ CSI_RPC_ListSnapshots, "source_volume_id", VOL_KIND_VOLUME, false },
};

static int call(struct env *e, size_t row, const char *id)
{
	const struct csi_rpc *rpc = &csi_rpcs[by_id[row].rpc];
	const struct msg_field *field = message_find(rpc->request, by_id[row].field);
	void *req = arena_alloc(e->ctx.arena, rpc->request->size);
	void *ret = arena_alloc(e->ctx.arena, rpc->response->size);
	struct csi_stream out = { NULL, NULL, NULL };

	message_init(rpc->request, req);
	memcpy((char *)req + field->offset, &id, sizeof(id));
	return rpc->call ? rpc->call(&e->s, &e->ctx, req, ret, &e->err)
			 : rpc->stream(&e->s, &e->ctx, req, &out, &e->err);
}

TEST(a_call_goes_where_the_pool_of_its_id_is)
{
	struct env e;

	setup(&e);
	for (size_t i = 0; i < ARRAY_LEN(by_id); i++) {
		int rc = call(&e, i, id_of(&e, by_id[i].kind, 1, "x"));

		/* what is served here has no reply filled in, which service.h tells of */
		ASSERT_TRUE(rc == 0 || e.err.code == ERR_INTERNAL);
		ASSERT_TRUE(e.m[1].n_calls[by_id[i].rpc] > 0);
		ASSERT_EQ(e.m[0].n_calls[by_id[i].rpc] + e.m[2].n_calls[by_id[i].rpc], 0);
	}
	teardown(&e);
}

TEST(what_cannot_be_reached_is_named)
{
	struct env e;

	setup(&e);
	e.m[1].is_away = true;
	ASSERT_ERR(look(&e, 1), &e.err, ERR_UNAVAILABLE, "connection refused");
	ASSERT_TRUE(csi_router_is_stale(e.r, e.in[1]));
	for (size_t i = 0; i < ARRAY_LEN(by_id); i++) {
		const char *unknown =
			id_in(e.ctx.arena, by_id[i].kind, &(struct uuid){ { 9 } }, "x");

		ASSERT_ERR(call(&e, i, id_of(&e, by_id[i].kind, 1, "x")), &e.err, ERR_UNAVAILABLE,
			   "node 'b' does not answer since");
		ASSERT_ERR(call(&e, i, unknown), &e.err, ERR_UNAVAILABLE, "no node serves pool 09");
		if (by_id[i].is_removal || by_id[i].rpc == CSI_RPC_ListSnapshots)
			ASSERT_OK(call(&e, i, "nobody's"), &e.err);
		else
			ASSERT_ERR(call(&e, i, "nobody's"), &e.err, ERR_NOT_FOUND, "");
	}
	e.m[1].is_away = false;
	ASSERT_OK(look(&e, 1), &e.err);
	ASSERT_OK(call(&e, 0, id_of(&e, VOL_KIND_VOLUME, 1, "x")), &e.err);
	e.m[1].is_away = true; /* what it answers has its name */
	ASSERT_ERR(call(&e, 0, id_of(&e, VOL_KIND_VOLUME, 1, "x")), &e.err, ERR_UNAVAILABLE,
		   "node 'b': connection refused");
	teardown(&e);
}

TEST(a_pool_that_two_have_is_served_by_neither)
{
	struct csi_create_volume_request req = { .name = "v" };
	struct csi_create_volume_response ret;
	struct env e;

	setup(&e);
	e.m[2].pools[0] = e.m[1].pools[0];
	e.m[2].link++;
	ASSERT_TRUE(csi_router_is_stale(e.r, e.in[2]));
	ASSERT_OK(look(&e, 2), &e.err);
	for (size_t i = 0; i < ARRAY_LEN(by_id); i++)
		ASSERT_ERR(call(&e, i, id_of(&e, by_id[i].kind, 1, "x")), &e.err, ERR_UNAVAILABLE,
			   "nodes 'b' and 'c' both have pool");
	message_init(&csi_create_volume_request_type, &req);
	req.name = "v";
	ASSERT_OK(csi_create_volume(&e.s, &e.ctx, &req, &ret, &e.err), &e.err);
	ASSERT_EQ(e.m[0].n_calls[CSI_RPC_CreateVolume], 1);
	/* the copy got an identity of its own */
	memset(&e.m[2].pools[0], 0x77, sizeof(e.m[2].pools[0]));
	ASSERT_OK(look(&e, 2), &e.err);
	ASSERT_OK(call(&e, 0, id_of(&e, VOL_KIND_VOLUME, 1, "x")), &e.err);
	ASSERT_OK(call(&e, 0, id_of(&e, VOL_KIND_VOLUME, 2, "x")), &e.err);
	teardown(&e);
}

TEST(a_member_comes_goes_and_is_another_driver)
{
	struct env e;

	setup(&e);
	csi_router_remove(e.r, e.in[1]);
	ASSERT_ERR(call(&e, 0, id_of(&e, VOL_KIND_VOLUME, 1, "x")), &e.err, ERR_UNAVAILABLE,
		   "no node serves pool");
	e.m[1].driver = "other.csi";
	add(&e, 1);
	ASSERT_ERR(call(&e, 0, id_of(&e, VOL_KIND_VOLUME, 1, "x")), &e.err, ERR_UNAVAILABLE,
		   "not heard of yet: 'b'");
	ASSERT_ERR(look(&e, 1), &e.err, ERR_FAILED_PRECONDITION, "it is driver 'other.csi'");
	e.m[1].driver = DRIVER;
	ASSERT_OK(look(&e, 1), &e.err);
	ASSERT_OK(call(&e, 0, id_of(&e, VOL_KIND_VOLUME, 1, "x")), &e.err);
	teardown(&e);
}

TEST(a_group_lies_in_one_pool)
{
	struct csi_create_volume_group_snapshot_request req = { .name = "g" };
	struct csi_create_volume_group_snapshot_response ret;
	const char *ids[2];
	struct env e;

	setup(&e);
	ids[0] = id_of(&e, VOL_KIND_VOLUME, 1, "x");
	ids[1] = id_of(&e, VOL_KIND_VOLUME, 1, "y");
	req.source_volume_ids = ids;
	req.n_source_volume_ids = 2;
	(void)csi_create_volume_group_snapshot(&e.s, &e.ctx, &req, &ret, &e.err);
	ASSERT_EQ(e.m[1].n_calls[CSI_RPC_CreateVolumeGroupSnapshot], 1);
	ids[1] = id_of(&e, VOL_KIND_VOLUME, 2, "y");
	ASSERT_ERR(csi_create_volume_group_snapshot(&e.s, &e.ctx, &req, &ret, &e.err), &e.err,
		   ERR_INVALID_ARGUMENT, "a group lies in one pool");
	ASSERT_EQ(e.m[1].n_calls[CSI_RPC_CreateVolumeGroupSnapshot], 1);
	teardown(&e);
}

/* ---- what members can ---- */

TEST(capabilities_are_those_of_any_member)
{
	struct csi_controller_get_capabilities_response caps;
	struct csi_get_plugin_info_response info;
	struct csi_node_stage_volume_response staged;
	struct csi_node_stage_volume_request stage;
	struct csi_probe_response probe;
	struct env e;

	setup(&e);
	e.m[2].caps |= CSI_CAP_BIT(CSI_CTRL_EXPAND_VOLUME);
	ASSERT_OK(look(&e, 2), &e.err);
	ASSERT_OK(csi_controller_get_capabilities(
			  &e.s, &e.ctx, &(const struct csi_controller_get_capabilities_request){},
			  &caps, &e.err),
		  &e.err);
	ASSERT_EQ(csi_capability_bits(caps.capabilities, caps.n_capabilities), e.m[2].caps);
	ASSERT_OK(csi_get_plugin_info(&e.s, &e.ctx, &(const struct csi_get_plugin_info_request){},
				      &info, &e.err),
		  &e.err);
	ASSERT_STR(info.name, DRIVER);
	ASSERT_OK(csi_probe(&e.s, &e.ctx, &(const struct csi_probe_request){}, &probe, &e.err),
		  &e.err);
	ASSERT_TRUE(csi_probe_is_ready(&probe));
	message_init(&csi_node_stage_volume_request_type, &stage);
	ASSERT_ERR(csi_node_stage_volume(&e.s, &e.ctx, &stage, &staged, &e.err), &e.err,
		   ERR_UNIMPLEMENTED, "NodeStageVolume");
	teardown(&e);
}

TEST(without_a_member_that_answered_nothing_is_said)
{
	struct csi_router *r = csi_router_new(&(const struct csi_router_options){ 0 });
	const struct csi_service s = csi_router_service(r);
	struct csi_probe_response probe;
	struct ctx ctx;
	struct err err;

	ctx_init(&ctx, 0);
	ASSERT_ERR(csi_probe(&s, &ctx, &(const struct csi_probe_request){}, &probe, &err), &err,
		   ERR_UNAVAILABLE, "there is no node with a driver yet");
	ASSERT_EQ(csi_link_changes(&s), 0);
	csi_router_free(r);
	ctx_done(&ctx);
}

TEST(what_was_asked_of_it_is_asked_again_when_members_change)
{
	struct env e;
	uint64_t before;

	setup(&e);
	before = csi_link_changes(&e.s);
	ASSERT_OK(call(&e, 0, id_of(&e, VOL_KIND_VOLUME, 1, "x")), &e.err);
	ASSERT_EQ(csi_link_changes(&e.s), before);
	ASSERT_OK(look(&e, 1), &e.err); /* it is as it was */
	ASSERT_EQ(csi_link_changes(&e.s), before);
	e.m[1].caps |= CSI_CAP_BIT(CSI_CTRL_EXPAND_VOLUME);
	ASSERT_OK(look(&e, 1), &e.err);
	ASSERT_TRUE(csi_link_changes(&e.s) != before);
	before = csi_link_changes(&e.s);
	memset(&e.m[1].pools[0], 0x66, sizeof(e.m[1].pools[0]));
	ASSERT_OK(look(&e, 1), &e.err);
	ASSERT_TRUE(csi_link_changes(&e.s) != before);
	teardown(&e);
}

/* ---- lists ---- */

static void put_volumes(struct member *m, size_t n)
{
	for (size_t i = 0; i < n; i++)
		vec_push(&m->volumes, xasprintf("%s%zu", m->name, i));
}

/* All tokens that the pages have, one after the other. */
static int list_all(struct env *e, uint32_t max, struct str *out, void (*between)(struct env *e))
{
	struct csi_list_volumes_request req = { .max_entries = max, .starting_token = "" };
	struct csi_list_volumes_response page;

	do {
		if (csi_list_volumes(&e->s, &e->ctx, &req, &page, &e->err) < 0)
			return -1;
		ASSERT_TRUE(max == 0 || page.n_entries <= max);
		for (size_t i = 0; i < page.n_entries; i++) {
			struct vol_id id;

			ASSERT_OK(vol_id_parse(VOL_KIND_VOLUME, page.entries[i].volume.volume_id,
					       &id, &e->err),
				  &e->err);
			str_appendf(out, "%s ", id.token);
		}
		req.starting_token = page.next_token;
		ASSERT_TRUE(max > 0 || !*page.next_token);
		if (between)
			between(e);
	} while (*page.next_token);
	return 0;
}

TEST(a_list_is_of_all_members_in_pages_of_any_size)
{
	struct env e;

	setup(&e);
	put_volumes(&e.m[0], 3);
	put_volumes(&e.m[2], 2);
	for (uint32_t max = 0; max < 8; max++) {
		autostr struct str all = STR_INIT;

		ASSERT_OK(list_all(&e, max, &all, NULL), &e.err);
		ASSERT_STR(str_get(&all), "a0 a1 a2 c0 c1 ");
	}
	teardown(&e);
}

static void remove_a(struct env *e)
{
	if (e->in[0])
		csi_router_remove(e->r, e->in[0]);
	e->in[0] = NULL;
}

TEST(a_list_goes_on_when_the_member_that_it_was_at_is_gone)
{
	autostr struct str all = STR_INIT;
	struct env e;

	setup(&e);
	put_volumes(&e.m[0], 3);
	put_volumes(&e.m[1], 2);
	ASSERT_OK(list_all(&e, 2, &all, remove_a), &e.err);
	ASSERT_STR(str_get(&all), "a0 a1 b0 b1 ");
	teardown(&e);
}

TEST(a_list_that_lacks_a_member_is_none)
{
	static const char *const wrong[] = { "x", "1:", "9:a:", "1:a", ":a:", "3:a:" };
	struct csi_list_volumes_response page;
	autostr struct str all = STR_INIT;
	struct env e;

	setup(&e);
	put_volumes(&e.m[0], 1);
	e.m[1].is_away = true;
	ASSERT_TRUE(look(&e, 1) < 0);
	ASSERT_ERR(list_all(&e, 0, &all, NULL), &e.err, ERR_UNAVAILABLE, "node 'b'");
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		ASSERT_ERR(csi_list_volumes(&e.s, &e.ctx,
					    &(const struct csi_list_volumes_request){
						    .starting_token = wrong[i] },
					    &page, &e.err),
			   &e.err, ERR_ABORTED, "starting_token");
	teardown(&e);
}

/* ---- places ---- */

static struct vol_topology term_of(struct env *e, const struct member *m)
{
	const struct strpair pair = { vol_segment_key(e->ctx.arena, DRIVER, &m->pools[0]),
				      VOL_SEGMENT_VALUE };

	return (struct vol_topology){ strmap_from(e->ctx.arena, &pair, 1) };
}

static int create_in(struct env *e, const char *name, const struct vol_topology *terms, size_t n,
		     bool is_preferred)
{
	struct csi_create_volume_request req;
	struct csi_create_volume_response ret;

	message_init(&csi_create_volume_request_type, &req);
	req.name = name;
	req.accessibility_requirements.requisite = (struct vol_topologies){ terms, n };
	if (is_preferred)
		req.accessibility_requirements.preferred = (struct vol_topologies){ terms, n };
	return csi_create_volume(&e->s, &e->ctx, &req, &ret, &e->err);
}

TEST(a_volume_is_made_where_it_is_wanted)
{
	struct vol_topology terms[2];
	struct env e;

	setup(&e);
	terms[0] = term_of(&e, &e.m[0]);
	terms[1] = term_of(&e, &e.m[1]);
	ASSERT_OK(create_in(&e, "one", &terms[1], 1, false), &e.err);
	ASSERT_TRUE(has_volume(&e.m[1], "one"));
	ASSERT_EQ(e.m[1].asked.n, 1);
	ASSERT_OK(create_in(&e, "first", terms, 2, true), &e.err);
	ASSERT_TRUE(has_volume(&e.m[0], "first"));
	ASSERT_OK(create_in(&e, "roomy", terms, 2, false), &e.err);
	ASSERT_TRUE(has_volume(&e.m[1], "roomy"));
	ASSERT_OK(create_in(&e, "anywhere", NULL, 0, false), &e.err);
	ASSERT_TRUE(has_volume(&e.m[2], "anywhere"));
	ASSERT_ERR(create_in(&e, "nowhere", &(struct vol_topology){ { 0 } }, 1, false), &e.err,
		   ERR_RESOURCE_EXHAUSTED, "no node has a pool");
	teardown(&e);
}

TEST(a_name_makes_one_volume_wherever_it_lands)
{
	struct env e;

	setup(&e);
	vec_push(&e.m[0].volumes, xstrdup("v"));
	ASSERT_OK(create_in(&e, "v", NULL, 0, false), &e.err);
	ASSERT_EQ(e.m[0].n_calls[CSI_RPC_CreateVolume], 1);
	ASSERT_EQ(e.m[2].n_calls[CSI_RPC_CreateVolume], 0);
	/* one that does not answer may have it */
	e.m[1].is_away = true;
	ASSERT_ERR(create_in(&e, "w", NULL, 0, false), &e.err, ERR_UNAVAILABLE, "node 'b'");
	ASSERT_EQ(e.m[2].n_calls[CSI_RPC_CreateVolume], 0);
	teardown(&e);
}

TEST(a_full_pool_is_no_answer_as_long_as_there_is_another)
{
	struct env e;

	setup(&e);
	e.m[2].is_full = true;
	ASSERT_OK(create_in(&e, "v", NULL, 0, false), &e.err);
	ASSERT_TRUE(has_volume(&e.m[1], "v"));
	e.m[0].is_full = e.m[1].is_full = true;
	ASSERT_ERR(create_in(&e, "w", NULL, 0, false), &e.err, ERR_RESOURCE_EXHAUSTED,
		   "node 'a': the pool is full");
	e.m[0].is_full = false;
	e.m[0].lies = true;
	ASSERT_ERR(create_in(&e, "x", NULL, 0, false), &e.err, ERR_INTERNAL, "another pool");
	teardown(&e);
}

TEST(a_copy_is_made_where_its_source_is)
{
	struct csi_create_volume_request req;
	struct csi_create_volume_response ret;
	struct env e;

	setup(&e);
	message_init(&csi_create_volume_request_type, &req);
	req.name = "copy";
	req.has_volume_content_source = true;
	req.volume_content_source =
		(struct csi_content_source){ CSI_SOURCE_SNAPSHOT,
					     id_of(&e, VOL_KIND_SNAPSHOT, 0, "s") };
	ASSERT_OK(csi_create_volume(&e.s, &e.ctx, &req, &ret, &e.err), &e.err);
	ASSERT_TRUE(has_volume(&e.m[0], "copy"));
	req.volume_content_source.id = "nobody's";
	ASSERT_ERR(csi_create_volume(&e.s, &e.ctx, &req, &ret, &e.err), &e.err, ERR_NOT_FOUND, "");
	teardown(&e);
}

TEST(capacity_is_of_the_pools_that_are_asked_for)
{
	struct csi_get_capacity_request req;
	struct csi_get_capacity_response ret;
	struct env e;

	setup(&e);
	message_init(&csi_get_capacity_request_type, &req);
	ASSERT_OK(csi_get_capacity(&e.s, &e.ctx, &req, &ret, &e.err), &e.err);
	ASSERT_EQ(ret.available_capacity, 6 * GIB);
	ASSERT_EQ(ret.maximum_volume_size, 3 * GIB);
	req.has_accessible_topology = true;
	req.accessible_topology = term_of(&e, &e.m[1]);
	ASSERT_OK(csi_get_capacity(&e.s, &e.ctx, &req, &ret, &e.err), &e.err);
	ASSERT_EQ(ret.available_capacity, 2 * GIB);
	req.accessible_topology = (struct vol_topology){ { 0 } };
	ASSERT_OK(csi_get_capacity(&e.s, &e.ctx, &req, &ret, &e.err), &e.err);
	ASSERT_EQ(ret.available_capacity, 0);
	teardown(&e);
}

/* ---- those that hang ---- */

#define N_HANGING 4
struct hanging {
	struct env *e;
	pthread_t thread;
	const char *id;
	int rc;
};

static void *hang(void *arg)
{
	struct hanging *h = arg;
	struct csi_delete_volume_response ret;
	struct csi_delete_volume_request req;
	struct ctx ctx;
	struct err err;

	ctx_init(&ctx, 0);
	message_init(&csi_delete_volume_request_type, &req);
	req.volume_id = h->id;
	h->rc = csi_delete_volume(&h->e->s, &ctx, &req, &ret, &err);
	ctx_done(&ctx);
	return NULL;
}

static void *remove_b(void *arg)
{
	struct env *e = arg;

	csi_router_remove(e->r, e->in[1]);
	return NULL;
}

TEST(a_member_that_hangs_costs_nobody_else)
{
	struct hanging threads[N_HANGING];
	pthread_t remover;
	struct env e;

	setup(&e);
	e.m[1].waits = true;
	for (size_t i = 0; i < N_HANGING; i++) {
		threads[i] = (struct hanging){ .e = &e,
					       .id = id_of(&e, VOL_KIND_VOLUME, 1, "x"),
					       .rc = -1 };
		ASSERT_EQ(pthread_create(&threads[i].thread, NULL, hang, &threads[i]), 0);
	}
	for (bool are_there = false; !are_there;) {
		LOCK_SCOPE(&e.m[1].lock);
		are_there = e.m[1].n_waiting == N_HANGING;
	}
	ASSERT_ERR(call(&e, 0, threads[0].id), &e.err, ERR_UNAVAILABLE,
		   "node 'b' has 4 calls that wait");
	ASSERT_OK(call(&e, 0, id_of(&e, VOL_KIND_VOLUME, 0, "x")), &e.err);
	ASSERT_EQ(pthread_create(&remover, NULL, remove_b, &e), 0);
	atomic_store(&e.m[1].may_go, true);
	for (size_t i = 0; i < N_HANGING; i++) {
		ASSERT_EQ(pthread_join(threads[i].thread, NULL), 0);
		ASSERT_EQ(threads[i].rc, 0);
	}
	ASSERT_EQ(pthread_join(remover, NULL), 0);
	e.in[1] = NULL;
	teardown(&e);
}

static int count(void *arg, const struct csi_router_state *state)
{
	unsigned *n = arg;

	n[0] += state->is_reachable;
	n[1] += state->n_shared_pools > 0;
	n[2] += !state->is_reachable && strstr(state->why, "refused") != NULL;
	return 0;
}

TEST(tells_how_each_member_is)
{
	unsigned n[3] = { 0 };
	struct env e;

	setup(&e);
	e.m[2].pools[0] = e.m[1].pools[0];
	ASSERT_OK(look(&e, 2), &e.err);
	e.m[0].is_away = true;
	ASSERT_TRUE(look(&e, 0) < 0);
	csi_router_each(e.r, count, n);
	ASSERT_TRUE(n[0] == 2 && n[1] == 2 && n[2] == 1);
	teardown(&e);
}

static int note_told(void *arg, const struct csi_router_state *state)
{
	int64_t *told_ns = arg;

	if (str_is_equal(state->name, "b"))
		*told_ns = state->told_ns;
	return 0;
}

TEST(what_is_doubted_is_asked_again_and_has_a_time)
{
	int64_t before_ns, told_ns = 0;
	struct env e;

	setup(&e);
	before_ns = clock_now_ns();
	csi_router_doubt(e.r, "b");
	csi_router_doubt(e.r, "nobody");
	ASSERT_FALSE(csi_router_is_stale(e.r, e.in[0]));
	ASSERT_TRUE(csi_router_is_stale(e.r, e.in[1]));
	csi_router_each(e.r, note_told, &told_ns);
	ASSERT_TRUE(told_ns > 0 && told_ns <= before_ns);
	e.m[1].is_away = true;
	ASSERT_TRUE(look(&e, 1) < 0);
	csi_router_each(e.r, note_told, &told_ns);
	ASSERT_TRUE(told_ns <= before_ns); /* it told nothing new */
	e.m[1].is_away = false;
	ASSERT_OK(look(&e, 1), &e.err);
	csi_router_each(e.r, note_told, &told_ns);
	ASSERT_TRUE(told_ns >= before_ns);
	ASSERT_FALSE(csi_router_is_stale(e.r, e.in[1]));
	teardown(&e);
}

/* ---- forgotten pools ---- */

TEST(a_forgotten_pool_has_nothing_any_more)
{
	struct env e;

	setup(&e);
	csi_router_forget(e.r, &e.m[1].pools[0], 1);
	for (int away = 0; away < 2; away++) {
		for (size_t row = 0; row < ARRAY_LEN(by_id); row++) {
			bool is_done =
				by_id[row].is_removal || by_id[row].rpc == CSI_RPC_ListSnapshots;
			const char *id = id_of(&e, by_id[row].kind, 1, "data");

			if (is_done)
				ASSERT_OK(call(&e, row, id), &e.err);
			else
				ASSERT_ERR(call(&e, row, id), &e.err, ERR_NOT_FOUND, "forgotten");
			ASSERT_EQ(e.m[1].n_calls[by_id[row].rpc], 0);
			ASSERT_OK(call(&e, row, id_of(&e, by_id[row].kind, 0, "data")), &e.err);
		}
		e.m[1].is_away = true;
		ASSERT_TRUE(look(&e, 1) < 0);
	}
	csi_router_forget(e.r, NULL, 0);
	e.m[1].is_away = false;
	ASSERT_OK(look(&e, 1), &e.err);
	ASSERT_OK(call(&e, 0, id_of(&e, VOL_KIND_VOLUME, 1, "data")), &e.err);
	ASSERT_EQ(e.m[1].n_calls[CSI_RPC_DeleteVolume], 1);
	teardown(&e);
}

TEST(in_a_forgotten_pool_nothing_is_made_or_listed)
{
	struct vol_topology term;
	struct env e;

	setup(&e);
	for (size_t i = 0; i < N_MEMBERS; i++)
		put_volumes(&e.m[i], 3);
	csi_router_forget(e.r, &e.m[2].pools[0], 1); /* the roomiest */
	for (int away = 0; away < 2; away++) {
		autostr struct str all = STR_INIT;

		ASSERT_OK(list_all(&e, 2, &all, NULL), &e.err);
		ASSERT_STR(str_get(&all), "a0 a1 a2 b0 b1 b2 ");
		e.m[2].is_away = true;
		ASSERT_TRUE(look(&e, 2) < 0);
	}
	ASSERT_OK(create_in(&e, "new", NULL, 0, false), &e.err);
	ASSERT_TRUE(has_volume(&e.m[1], "new"));
	term = term_of(&e, &e.m[2]);
	ASSERT_ERR(create_in(&e, "there", &term, 1, false), &e.err, ERR_RESOURCE_EXHAUSTED,
		   "no node has a pool");
	teardown(&e);
}

RUN_TESTS(UNIT(a_call_goes_where_the_pool_of_its_id_is), UNIT(what_cannot_be_reached_is_named),
	  UNIT(a_pool_that_two_have_is_served_by_neither),
	  UNIT(a_member_comes_goes_and_is_another_driver), UNIT(a_group_lies_in_one_pool),
	  UNIT(capabilities_are_those_of_any_member),
	  UNIT(without_a_member_that_answered_nothing_is_said),
	  UNIT(what_was_asked_of_it_is_asked_again_when_members_change),
	  UNIT(a_list_is_of_all_members_in_pages_of_any_size),
	  UNIT(a_list_goes_on_when_the_member_that_it_was_at_is_gone),
	  UNIT(a_list_that_lacks_a_member_is_none), UNIT(a_volume_is_made_where_it_is_wanted),
	  UNIT(a_name_makes_one_volume_wherever_it_lands),
	  UNIT(a_full_pool_is_no_answer_as_long_as_there_is_another),
	  UNIT(a_copy_is_made_where_its_source_is),
	  UNIT(capacity_is_of_the_pools_that_are_asked_for),
	  UNIT(a_member_that_hangs_costs_nobody_else), UNIT(tells_how_each_member_is),
	  UNIT(what_is_doubted_is_asked_again_and_has_a_time),
	  UNIT(a_forgotten_pool_has_nothing_any_more),
	  UNIT(in_a_forgotten_pool_nothing_is_made_or_listed))
