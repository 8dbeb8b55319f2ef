/* SPDX-License-Identifier: Apache-2.0 */
#include "fixture.h"

#include "base/log.h"
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
					   .serve_node = true };

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
	fake_host_add_dir("/s1");
	fake_host_add_dir("/s2");
	fake_host_add_dir("/pods");
	the.id = NULL;
	fixture_start(&the);
	return &the;
}

void fixture_end(struct fixture *f)
{
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
