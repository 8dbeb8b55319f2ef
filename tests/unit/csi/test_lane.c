/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Over a real unix socket, with one thread a lane: a kind of backend whose calls hang holds up its
 * own and nobody else's.
 */
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "backend/mem/mem.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/num.h"
#include "check.h"
#include "csi/client.h"
#include "csi/driver.h"
#include "csi/server.h"
#include "event/loop.h"
#include "event/sync.h"
#include "event/work.h"
#include "grpc/client.h"
#include "grpc/server.h"

#define N_HANGING 3

static struct {
	char dir[32];
	struct net_addr addr;
	struct ev_loop *loop;
	struct work *work;
	struct grpc_server *server;
	struct csi_server *csi;
	struct grpc_channel *channel;
	struct csi_client *client;
	struct csi_service remote;
	struct registry *pools;
	struct csi_driver *driver;
	struct ctx ctx;
	struct err err;
	int listened;
	pthread_mutex_t lock; /* below */
	pthread_cond_t changed;
	unsigned n_hanging;
	bool is_released;
} t;

/* ---- a kind whose server answers nothing before release() ---- */

static int hang(void)
{
	LOCK_SCOPE(&t.lock);
	t.n_hanging++;
	pthread_cond_broadcast(&t.changed);
	while (!t.is_released)
		(void)sync_cond_wait_until(&t.changed, &t.lock, INT64_MAX);
	return 0;
}

static unsigned count_hanging(void)
{
	LOCK_SCOPE(&t.lock);
	return t.n_hanging;
}

static void wait_for_hanging(void)
{
	LOCK_SCOPE(&t.lock);
	while (t.n_hanging == 0)
		(void)sync_cond_wait_until(&t.changed, &t.lock, INT64_MAX);
}

static void release(void)
{
	LOCK_SCOPE(&t.lock);
	t.is_released = true;
	pthread_cond_broadcast(&t.changed);
}

static void far_close(struct backend *b)
{
	free(b->pool_name);
	free(b);
}

static int far_info(struct backend *b, struct ctx *ctx, struct backend_info *ret_info,
		    struct err *err)
{
	*ret_info = (struct backend_info){ .name = b->pool_name };
	return 0;
}

static int far_create(struct backend *b, struct ctx *ctx, const struct backend_spec *spec,
		      struct backend_volume *ret_vol, struct err *err)
{
	(void)hang();
	return err_set(err, ERR_UNAVAILABLE, "no answer");
}

static int far_remove(struct backend *b, struct ctx *ctx, const char *token,
		      const struct secrets *secrets, struct err *err)
{
	return hang();
}

static int far_stat(struct backend *b, struct ctx *ctx, const char *token,
		    const struct secrets *secrets, struct backend_volume *ret_vol, struct err *err)
{
	(void)hang();
	return err_set(err, ERR_NOT_FOUND, "no such volume");
}

static int far_each(struct backend *b, struct ctx *ctx, const char *after, backend_each_fn fn,
		    void *arg, struct err *err)
{
	return hang();
}

static const struct backend_ops far_ops = {
	.name = "far",
	.close = far_close,
	.info = far_info,
	.create = far_create,
	.remove = far_remove,
	.stat = far_stat,
	.each = far_each,
};

static int far_open(struct ctx *ctx, const struct backend_config *config,
		    const struct registry *others, struct backend **ret_backend, struct err *err)
{
	struct backend *b = xcalloc(1, sizeof(*b));

	b->ops = &far_ops;
	b->pool_name = xstrdup(config->name);
	uuid_make(&b->identity);
	*ret_backend = b;
	return 0;
}

static const struct backend_kind far_kind = {
	.name = "far",
	.lane = BACKEND_LANE_REMOTE,
	.open = far_open,
};
static const struct backend_kind *const kinds[] = { &mem_kind, &far_kind };

/* ---- */

static void keep_quiet(void *arg, const char *line)
{
	(void)arg;
	(void)line;
}

static struct backend *open_pool(const char *kind, const char *name)
{
	const struct backend_config config = { .kind = kind, .name = name, .mem_bytes = GIB };

	ASSERT_OK(registry_open(t.pools, &t.ctx, &config, &t.err), &t.err);
	return registry_find_name(t.pools, name);
}

static const char *id_in(const struct backend *pool, enum vol_kind kind)
{
	char id[VOL_ID_MAX];

	backend_format_id(pool, kind, "v", id);
	return arena_strdup(t.ctx.arena, id);
}

static int make_driver(void **state)
{
	struct csi_driver_options opts = {
		.name = "d.test", .version = "1", .node_id = "n1", .serve_controller = true
	};

	memset(&t, 0, sizeof(t));
	log_set_sink(keep_quiet, NULL);
	pthread_mutex_init(&t.lock, NULL);
	sync_cond_init(&t.changed);
	ctx_init(&t.ctx, 20 * NS_PER_S);
	opts.pools = t.pools = registry_new_of(kinds, ARRAY_LEN(kinds));
	ASSERT_OK(csi_driver_new(&opts, &t.driver, &t.err), &t.err);
	return 0;
}

static int free_driver(void **state)
{
	csi_driver_free(t.driver);
	registry_free(t.pools);
	ctx_done(&t.ctx);
	pthread_cond_destroy(&t.changed);
	pthread_mutex_destroy(&t.lock);
	log_set_sink(NULL, NULL);
	return 0;
}

static void listen_on_loop(void *arg)
{
	const struct csi_service service = csi_driver_service(t.driver);
	const struct csi_server_options options = {
		.driver_name = "d.test",
		.lanes = { [CSI_RPC_STORE] = 0, [CSI_RPC_HOST] = 1, [CSI_RPC_REMOTE] = 2 },
		.lane_of = csi_driver_lane_of,
		.lane_arg = t.driver,
	};

	t.server = grpc_server_new(t.loop, t.work);
	t.csi = csi_server_new(t.server, &service, &options);
	t.listened =
		grpc_server_listen(t.server, &t.addr, &(struct grpc_listen_options){ 0 }, &t.err);
}

static int serve(void **state)
{
	static const struct work_lane_def lanes[] = {
		{ .name = "store", .threads = 1 },
		{ .name = "host", .threads = 1 },
		{ .name = "remote", .threads = 1 },
	};
	char path[64] = "";

	(void)make_driver(state);
	snprintf(t.dir, sizeof(t.dir), "/tmp/cleat-lane-XXXXXX");
	assert_non_null(mkdtemp(t.dir));
	snprintf(path, sizeof(path), "unix://%s/s.sock", t.dir);
	ASSERT_OK(net_addr_parse(path, &t.addr, &t.err), &t.err);
	assert_int_equal(ev_loop_new(&t.loop), 0);
	assert_int_equal(work_new(&(struct work_options){ .lanes = lanes, .n_lanes = 3 }, &t.work),
			 0);
	assert_int_equal(ev_loop_spawn(t.loop), 0);
	ev_call(t.loop, listen_on_loop, NULL);
	ASSERT_OK(t.listened, &t.err);
	t.channel = grpc_channel_new(t.loop, &t.addr, NULL);
	t.client = csi_client_new(t.channel);
	t.remote = csi_client_service(t.client);
	return 0;
}

static void free_on_loop(void *arg)
{
	grpc_server_free(t.server);
}

static int stop(void **state)
{
	release();
	csi_client_free(t.client);
	grpc_channel_free(t.channel);
	work_free(t.work);
	ev_call(t.loop, free_on_loop, NULL);
	csi_server_free(t.csi);
	ev_loop_join(t.loop);
	ev_loop_free(t.loop);
	rmdir(t.dir);
	return free_driver(state);
}

static int delete_volume(struct ctx *ctx, const char *id, struct err *err)
{
	const struct csi_delete_volume_request req = { .volume_id = id };
	struct csi_delete_volume_response reply;

	return csi_delete_volume(&t.remote, ctx, &req, &reply, err);
}

static void *delete_far(void *arg)
{
	struct ctx ctx;
	struct err err;
	intptr_t r;

	ctx_init(&ctx, 20 * NS_PER_S);
	r = delete_volume(&ctx, arg, &err);
	ctx_done(&ctx);
	return (void *)r;
}

TEST(a_silent_server_holds_up_its_own_calls_and_no_others)
{
	struct strpair near = { "pool", "near" };
	const struct csi_get_capacity_request capacity = { .parameters = strmap_from(t.ctx.arena,
										     &near, 1) };
	pthread_t threads[N_HANGING];
	char *far_ids[N_HANGING];
	const struct backend *far = open_pool("far", "far");
	struct backend *pool = open_pool("mem", "near");
	void *r;

	for (int i = 0; i < N_HANGING; i++) {
		autofree char *token = xasprintf("v%d", i);
		char id[VOL_ID_MAX];

		backend_format_id(far, VOL_KIND_VOLUME, token, id);
		far_ids[i] = arena_strdup(t.ctx.arena, id);
		assert_int_equal(pthread_create(&threads[i], NULL, delete_far, far_ids[i]), 0);
	}
	wait_for_hanging();
	ASSERT_OK(delete_volume(&t.ctx, id_in(pool, VOL_KIND_VOLUME), &t.err), &t.err);
	ASSERT_OK(csi_get_capacity(&t.remote, &t.ctx, &capacity,
				   &(struct csi_get_capacity_response){}, &t.err),
		  &t.err);
	ASSERT_EQ(count_hanging(), 1);
	release();
	for (int i = 0; i < N_HANGING; i++) {
		assert_int_equal(pthread_join(threads[i], &r), 0);
		assert_null(r);
	}
}

static enum csi_rpc_lane lane_of(enum csi_rpc_id id, const void *request)
{
	const struct csi_rpc *rpc = &csi_rpcs[id];
	const struct msg_bytes bytes = message_encode(rpc->request, t.ctx.arena, request);

	return csi_driver_lane_of(t.driver, rpc, t.ctx.arena, &bytes);
}

static enum csi_rpc_lane lane_of_volume(const struct backend *pool)
{
	return lane_of(CSI_RPC_DeleteVolume, &(struct csi_delete_volume_request){
						     .volume_id = id_in(pool, VOL_KIND_VOLUME) });
}

static enum csi_rpc_lane lane_of_class(const char *pool)
{
	struct csi_create_volume_request req = { .name = "v" };
	struct strpair pair = { "pool", pool };

	if (pool)
		req.parameters = strmap_from(t.ctx.arena, &pair, 1);
	return lane_of(CSI_RPC_CreateVolume, &req);
}

TEST(a_call_waits_with_the_storage_that_it_is_for)
{
	const struct backend *near = open_pool("mem", "near");
	const struct backend *far;
	struct csi_node_stage_volume_request stage = { .volume_id = "" };
	struct csi_create_snapshot_request snap = { .name = "s" };
	struct csi_delete_snapshot_request del = { .snapshot_id = "" };
	struct csi_get_metadata_allocated_request told = { .snapshot_id = "" };

	ASSERT_EQ(lane_of_class(NULL), CSI_RPC_STORE);
	ASSERT_EQ(lane_of(CSI_RPC_NodeStageVolume, &stage), CSI_RPC_HOST);
	far = open_pool("far", "far");
	ASSERT_EQ(lane_of_volume(near), CSI_RPC_STORE);
	ASSERT_EQ(lane_of_volume(far), CSI_RPC_REMOTE);
	ASSERT_EQ(lane_of_class("near"), CSI_RPC_STORE);
	ASSERT_EQ(lane_of_class("far"), CSI_RPC_REMOTE);
	ASSERT_EQ(lane_of_class(NULL), CSI_RPC_REMOTE);
	ASSERT_EQ(lane_of(CSI_RPC_ListVolumes, &(struct csi_list_volumes_request){}),
		  CSI_RPC_REMOTE);
	stage.volume_id = id_in(near, VOL_KIND_VOLUME);
	ASSERT_EQ(lane_of(CSI_RPC_NodeStageVolume, &stage), CSI_RPC_HOST);
	stage.volume_id = id_in(far, VOL_KIND_VOLUME);
	ASSERT_EQ(lane_of(CSI_RPC_NodeStageVolume, &stage), CSI_RPC_REMOTE);
	snap.source_volume_id = id_in(near, VOL_KIND_VOLUME);
	ASSERT_EQ(lane_of(CSI_RPC_CreateSnapshot, &snap), CSI_RPC_STORE);
	snap.source_volume_id = id_in(far, VOL_KIND_VOLUME);
	ASSERT_EQ(lane_of(CSI_RPC_CreateSnapshot, &snap), CSI_RPC_REMOTE);
	/* what waits for its reader waits for nothing else */
	told.snapshot_id = id_in(far, VOL_KIND_SNAPSHOT);
	ASSERT_EQ(lane_of(CSI_RPC_GetMetadataAllocated, &told), CSI_RPC_STREAMS);
	told.snapshot_id = id_in(near, VOL_KIND_SNAPSHOT);
	ASSERT_EQ(lane_of(CSI_RPC_GetMetadataAllocated, &told), CSI_RPC_STREAMS);
	del.snapshot_id = id_in(far, VOL_KIND_SNAPSHOT);
	ASSERT_EQ(lane_of(CSI_RPC_DeleteSnapshot, &del), CSI_RPC_REMOTE);
	registry_retire(t.pools, registry_find_name(t.pools, "far"), "it died");
	stage.volume_id = id_in(far, VOL_KIND_VOLUME);
	ASSERT_EQ(lane_of(CSI_RPC_NodeStageVolume, &stage), CSI_RPC_REMOTE);
}

TEST(what_cannot_be_decoded_and_what_nobody_knows_waits_where_its_rpc_does)
{
	const struct msg_bytes bad = { (const uint8_t *)"\x0a\x7f", 2 };

	(void)open_pool("far", "far");
	ASSERT_EQ(csi_driver_lane_of(t.driver, &csi_rpcs[CSI_RPC_DeleteVolume], t.ctx.arena, &bad),
		  CSI_RPC_STORE);
	ASSERT_EQ(lane_of(CSI_RPC_DeleteVolume,
			  &(struct csi_delete_volume_request){ .volume_id = "of-nobody" }),
		  CSI_RPC_STORE);
}

RUN_TESTS(cmocka_unit_test_setup_teardown(a_silent_server_holds_up_its_own_calls_and_no_others,
					  serve, stop),
	  cmocka_unit_test_setup_teardown(a_call_waits_with_the_storage_that_it_is_for, make_driver,
					  free_driver),
	  cmocka_unit_test_setup_teardown(
		  what_cannot_be_decoded_and_what_nobody_knows_waits_where_its_rpc_does,
		  make_driver, free_driver))
