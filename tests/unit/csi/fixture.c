/* SPDX-License-Identifier: Apache-2.0 */
#include "fixture.h"

#include "base/log.h"
#include "fake/host_cgroup.h"
#include "host/mount.h"

static struct fixture the;
static const struct backend_kind *kind; /* NULL: the product's, of which a pool is opened */

const struct vol_capability cap_mount = { .access = VOL_ACCESS_MOUNT,
					  .mode = VOL_MODE_SINGLE_NODE_MULTI_WRITER,
					  .fs_type = "ext4",
					  .mount_group = "" };
const struct vol_capability cap_block = { .access = VOL_ACCESS_BLOCK,
					  .mode = VOL_MODE_SINGLE_NODE_MULTI_WRITER,
					  .fs_type = "",
					  .mount_group = "" };

static void keep_quiet(void *arg, const char *line)
{
	(void)arg;
	(void)line;
}

void fixture_start(struct fixture *f)
{
	struct backend_config config = { .kind = kind ? kind->name : "pool",
					 .name = "disk",
					 .dir = "/pool",
					 .reserve_bytes = 100 * MIB };
	struct csi_driver_options opts = { .name = "d.test",
					   .version = "1",
					   .node_id = "n1",
					   .serve_controller = true,
					   .serve_node = true,
					   .cgroup_root = "/sys/fs/cgroup" };

	ctx_init(&f->ctx, 0);
	f->pools = kind ? registry_new_of(&kind, 1) : registry_new();
	ASSERT_OK(registry_open(f->pools, &f->ctx, &config, &f->err), &f->err);
	opts.pools = f->pools;
	ASSERT_OK(csi_driver_new(&opts, &f->driver, &f->err), &f->err);
	f->csi = csi_driver_service(f->driver);
}

void fixture_stop(struct fixture *f)
{
	csi_driver_free(f->driver);
	registry_free(f->pools);
}

struct fixture *fixture_begin_with(const struct backend_kind *with)
{
	kind = with;
	return fixture_begin();
}

struct fixture *fixture_begin(void)
{
	log_set_sink(keep_quiet, NULL);
	fake_host_reset(8 * GIB);
	fake_cgroup_reset();
	fake_host_add_dir("/s1");
	fake_host_add_dir("/s2");
	fake_host_add_dir("/pods");
	the.id = NULL;
	fixture_start(&the);
	return &the;
}

static struct spy spy;
static struct backend_ops spy_ops;
static const struct backend_ops *spied_ops; /* NULL: none */
static struct backend *spied;
static struct fixture *spy_fixture;

/* A backend knows itself by its table. */
static struct backend *spy_step_aside(void)
{
	spied->ops = spied_ops;
	return spied;
}

static int spy_return(int r)
{
	spied->ops = &spy_ops;
	return r;
}

static void spy_change(struct backend_snapshot *snap)
{
	if (spy.change)
		spy.change(snap);
}

static int spy_create(struct backend *b, struct ctx *ctx, const struct backend_spec *spec,
		      struct backend_volume *ret_vol, struct err *err)
{
	spy.volume = *spec;
	return spy_return(spied_ops->create(spy_step_aside(), ctx, spec, ret_vol, err));
}

static void spy_keep(const struct backend_snapshot_options *options)
{
	const struct backend_owner *o = &options->owner;

	spy.options = *options;
	(void)snprintf(spy.owner[0], sizeof(spy.owner[0]), "%s", o->claim_namespace);
	(void)snprintf(spy.owner[1], sizeof(spy.owner[1]), "%s", o->claim_name);
	(void)snprintf(spy.owner[2], sizeof(spy.owner[2]), "%s", o->claim_uid);
}

static int spy_snapshot_create(struct backend *b, struct ctx *ctx,
			       const struct backend_snapshot_spec *spec,
			       struct backend_snapshot *ret_snap, struct err *err)
{
	void (*during)(struct fixture * f) = spy.during;
	int r;

	spy_keep(&spec->options);
	spy.during = NULL;
	if (during)
		during(spy_fixture);
	r = spy_return(spied_ops->snapshot_create(spy_step_aside(), ctx, spec, ret_snap, err));
	if (r == 0)
		spy_change(ret_snap);
	return r;
}

static int spy_snapshot_stat(struct backend *b, struct ctx *ctx, const char *token,
			     const struct secrets *secrets, struct backend_snapshot *ret_snap,
			     struct err *err)
{
	int r = spy_return(
		spied_ops->snapshot_stat(spy_step_aside(), ctx, token, secrets, ret_snap, err));

	if (r == 0)
		spy_change(ret_snap);
	return r;
}

struct spy_walk {
	backend_each_snapshot_fn fn;
	void *arg;
};

static int spy_show(void *arg, const struct backend_snapshot *snap)
{
	struct spy_walk *walk = arg;
	struct backend_snapshot changed = *snap;

	spy_change(&changed);
	return walk->fn(walk->arg, &changed);
}

static int spy_snapshot_each(struct backend *b, struct ctx *ctx, const char *after,
			     backend_each_snapshot_fn fn, void *arg, struct err *err)
{
	struct spy_walk walk = { fn, arg };

	return spy_return(
		spied_ops->snapshot_each(spy_step_aside(), ctx, after, spy_show, &walk, err));
}

/* What else is called passes by the spy. */
static int spy_snapshot_remove(struct backend *b, struct ctx *ctx, const char *token,
			       const struct secrets *secrets, struct err *err)
{
	return spy_return(spied_ops->snapshot_remove(spy_step_aside(), ctx, token, secrets, err));
}

static int spy_remove(struct backend *b, struct ctx *ctx, const char *token,
		      const struct secrets *secrets, struct err *err)
{
	return spy_return(spied_ops->remove(spy_step_aside(), ctx, token, secrets, err));
}

static int spy_stat(struct backend *b, struct ctx *ctx, const char *token,
		    const struct secrets *secrets, struct backend_volume *ret_vol, struct err *err)
{
	return spy_return(spied_ops->stat(spy_step_aside(), ctx, token, secrets, ret_vol, err));
}

static int spy_info(struct backend *b, struct ctx *ctx, struct backend_info *ret_info,
		    struct err *err)
{
	return spy_return(spied_ops->info(spy_step_aside(), ctx, ret_info, err));
}

static int spy_find_device(struct backend *b, struct ctx *ctx, const char *token,
			   struct backend_device *ret_dev, struct err *err)
{
	return spy_return(spied_ops->find_device(spy_step_aside(), ctx, token, ret_dev, err));
}

struct spy *fixture_spy(struct fixture *f)
{
	spied = registry_find_name(f->pools, "ram");
	spied_ops = spied->ops;
	spy_fixture = f;
	spy = (struct spy){ 0 };
	spy_ops = (struct backend_ops){ .name = "spy",
					.info = spy_info,
					.create = spy_create,
					.remove = spy_remove,
					.stat = spy_stat,
					.find_device = spy_find_device,
					.snapshot_create = spy_snapshot_create,
					.snapshot_remove = spy_snapshot_remove,
					.snapshot_stat = spy_snapshot_stat,
					.snapshot_each = spy_snapshot_each };
	spied->ops = &spy_ops;
	return &spy;
}

void fixture_take_caps(struct fixture *f, const char *pool, unsigned caps)
{
	registry_find_name(f->pools, pool)->caps &= ~caps;
}

void fixture_end(struct fixture *f)
{
	if (spied_ops)
		(void)spy_step_aside();
	spied_ops = NULL;
	fixture_stop(f);
	ctx_done(&f->ctx);
	ASSERT_EQ(fake_host_n_fds(), 0);
	fake_host_reset(0);
	kind = NULL;
	log_set_sink(NULL, NULL);
}

void fixture_add_mem(struct fixture *f, uint64_t bytes)
{
	struct backend_config config = { .kind = "mem", .name = "ram", .mem_bytes = bytes };

	ASSERT_OK(registry_open(f->pools, &f->ctx, &config, &f->err), &f->err);
}

/* Ids outlive the restart: they are in the arena of a ctx that goes. */
void fixture_restart(struct fixture *f, bool is_reboot)
{
	static char id[VOL_ID_MAX];

	if (f->id != id)
		(void)snprintf(id, sizeof(id), "%s", f->id ? f->id : "");
	fake_host_fail_from(1);
	fixture_stop(f);
	ctx_done(&f->ctx);
	if (is_reboot)
		fake_host_power_cut();
	else
		fake_host_kill();
	fake_host_fail_at(0);
	fixture_start(f);
	f->id = id;
}

int do_create(struct fixture *f, const char *name, const struct vol_capability *cap, uint64_t bytes)
{
	struct csi_create_volume_request req = { .name = name,
						 .capacity_range = { bytes, 0 },
						 .volume_capabilities = cap,
						 .n_volume_capabilities = 1,
						 .volume_content_source = { .id = "" } };
	struct csi_create_volume_response reply;

	if (csi_create_volume(&f->csi, &f->ctx, &req, &reply, &f->err) < 0)
		return -1;
	f->id = reply.volume.volume_id;
	return 0;
}

const char *do_create_in_ram(struct fixture *f, const char *name, const struct vol_capability *cap,
			     uint64_t bytes)
{
	struct strpair pool = { "pool", "ram" };
	struct csi_create_volume_request req = { .name = name,
						 .capacity_range = { bytes, 0 },
						 .volume_capabilities = cap,
						 .n_volume_capabilities = 1,
						 .parameters = { &pool, 1 },
						 .volume_content_source = { .id = "" } };
	struct csi_create_volume_response reply;

	ASSERT_OK(csi_create_volume(&f->csi, &f->ctx, &req, &reply, &f->err), &f->err);
	return reply.volume.volume_id;
}

const char *do_snapshot(struct fixture *f, const char *name, const char *volume_id)
{
	const struct csi_create_snapshot_request req = { .name = name,
							 .source_volume_id = volume_id };
	struct csi_create_snapshot_response reply;

	return csi_create_snapshot(&f->csi, &f->ctx, &req, &reply, &f->err) < 0
		       ? NULL
		       : reply.snapshot.snapshot_id;
}

int do_delete_snapshot(struct fixture *f, const char *id)
{
	const struct csi_delete_snapshot_request req = { .snapshot_id = id };

	return csi_delete_snapshot(&f->csi, &f->ctx, &req, &(struct csi_delete_snapshot_response){},
				   &f->err);
}

int do_delete(struct fixture *f)
{
	const struct csi_delete_volume_request req = { .volume_id = f->id };

	return csi_delete_volume(&f->csi, &f->ctx, &req, &(struct csi_delete_volume_response){},
				 &f->err);
}

int do_expand(struct fixture *f, uint64_t bytes)
{
	const struct csi_controller_expand_volume_request req = { .volume_id = f->id,
								  .capacity_range = { bytes, 0 } };
	struct csi_controller_expand_volume_response reply;

	if (csi_controller_expand_volume(&f->csi, &f->ctx, &req, &reply, &f->err) < 0)
		return -1;
	ASSERT_TRUE(reply.capacity_bytes >= bytes);
	return 0;
}

int do_node_expand(struct fixture *f, const char *path, uint64_t bytes)
{
	const struct csi_node_expand_volume_request req = { .volume_id = f->id,
							    .volume_path = path,
							    .capacity_range = { bytes, 0 } };

	return csi_node_expand_volume(&f->csi, &f->ctx, &req,
				      &(struct csi_node_expand_volume_response){}, &f->err);
}

int do_stage(struct fixture *f, const char *path, const struct vol_capability *cap)
{
	struct csi_node_stage_volume_request req = { .volume_id = f->id,
						     .staging_target_path = path,
						     .volume_capability = *cap };

	return csi_node_stage_volume(&f->csi, &f->ctx, &req,
				     &(struct csi_node_stage_volume_response){}, &f->err);
}

int do_unstage(struct fixture *f, const char *path)
{
	return csi_node_unstage_volume(&f->csi, &f->ctx,
				       &(const struct csi_node_unstage_volume_request){
					       .volume_id = f->id, .staging_target_path = path },
				       &(struct csi_node_unstage_volume_response){}, &f->err);
}

int do_publish(struct fixture *f, const char *staging, const char *target,
	       const struct vol_capability *cap, bool readonly)
{
	struct csi_node_publish_volume_request req = { .volume_id = f->id,
						       .staging_target_path = staging,
						       .target_path = target,
						       .volume_capability = *cap,
						       .readonly = readonly };

	return csi_node_publish_volume(&f->csi, &f->ctx, &req,
				       &(struct csi_node_publish_volume_response){}, &f->err);
}

int do_unpublish(struct fixture *f, const char *target)
{
	return csi_node_unpublish_volume(&f->csi, &f->ctx,
					 &(const struct csi_node_unpublish_volume_request){
						 .volume_id = f->id, .target_path = target },
					 &(struct csi_node_unpublish_volume_response){}, &f->err);
}

static struct host_mount_at look(const char *path)
{
	struct host_mount_at at;
	struct err err;

	ASSERT_OK(host_mount_look(path, &at, &err), &err);
	return at;
}

bool path_exists(const char *path)
{
	return look(path).exists;
}

bool is_mounted(const char *path, bool *ret_read_only)
{
	struct host_mount_at at = look(path);

	if (ret_read_only)
		*ret_read_only = at.is_read_only;
	return at.is_mount_root;
}

void assert_node_is_clean(void)
{
	ASSERT_EQ(fake_host_n_mounts(), 0);
	ASSERT_EQ(fake_host_n_loops(), 0);
	ASSERT_TRUE(path_exists("/s1"));
	ASSERT_FALSE(path_exists("/pods/t1"));
	ASSERT_FALSE(path_exists("/pods/t2"));
}
