/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The local CSI service over the pools of this process: the table, Identity, and what Controller
 * and Node share.
 *
 * Order of checks in every call, as the conformance suite wants it: the arguments by themselves
 * (INVALID_ARGUMENT), then whether the volume exists (NOT_FOUND), then whether it can do what is
 * asked, then what is in the way. The plugin capabilities are the same from every instance,
 * whichever services it serves (CSI 1.13, GetPluginCapabilities).
 */
#include <fcntl.h>
#include <string.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "csi/driver-internal.h"
#include "csi/validate.h"
#include "host/fs.h"
#include "host/resolve.h"
#include "volume/owner.h"
#include "volume/topology.h"

#define BOOT_ID_PATH "/proc/sys/kernel/random/boot_id"

const struct csi_capability *driver_capabilities(const struct csi_driver *d, struct arena *a,
						 const struct driver_capability *table, size_t n,
						 size_t *ret_n)
{
	unsigned can = registry_caps(d->pools);
	uint64_t bits = 0;

	for (size_t i = 0; i < n; i++) {
		if ((table[i].needs & ~can) == 0 && (table[i].unless & can) == 0)
			bits |= table[i].bits;
	}
	return csi_capabilities(a, bits, ret_n);
}

/* What the open pools lie on, by their identities; nothing goes by it. */
static struct strmap describe_pools(const struct csi_driver *d, struct arena *a)
{
	const struct registry_pools pools = registry_pools(d->pools, a);
	struct strmap described = STRMAP_EMPTY;

	for (size_t i = 0; i < pools.n; i++) {
		char identity[UUID_TEXT_MAX];

		if (!pools.v[i]->medium)
			continue;
		uuid_format(&pools.v[i]->identity, identity);
		described = strmap_with(a, &described, arena_printf(a, "pool/%s", identity),
					pools.v[i]->medium);
	}
	return described;
}

static int get_plugin_info(void *impl, struct ctx *ctx,
			   const struct csi_get_plugin_info_request *req,
			   struct csi_get_plugin_info_response *ret, struct err *err)
{
	struct csi_driver *d = impl;

	ret->name = d->name;
	ret->vendor_version = d->version;
	ret->manifest = describe_pools(d, ctx->arena);
	return 0;
}

static int get_plugin_capabilities(void *impl, struct ctx *ctx,
				   const struct csi_get_plugin_capabilities_request *req,
				   struct csi_get_plugin_capabilities_response *ret,
				   struct err *err)
{
	static const struct driver_capability table[] = {
		{ CSI_CAP_BIT(CSI_PLUGIN_CONTROLLER_SERVICE), 0, 0 },
		{ CSI_CAP_BIT(CSI_PLUGIN_VOLUME_ACCESSIBILITY_CONSTRAINTS), 0, BACKEND_ELSEWHERE },
		{ CSI_CAP_BIT(CSI_PLUGIN_SNAPSHOT_METADATA_SERVICE), BACKEND_CHANGED_BLOCKS, 0 },
		{ CSI_CAP_BIT(CSI_PLUGIN_GROUP_CONTROLLER_SERVICE), BACKEND_GROUP, 0 },
		{ CSI_EXPANSION_BIT(CSI_EXPANSION_ONLINE), BACKEND_GROW, 0 },
	};

	ret->capabilities = driver_capabilities(impl, ctx->arena, table, ARRAY_LEN(table),
						&ret->n_capabilities);
	return 0;
}

/* Pools are opened before the driver is made; whether one has gone since is said by the calls that
 * need it. */
static int probe(void *impl, struct ctx *ctx, const struct csi_probe_request *req,
		 struct csi_probe_response *ret, struct err *err)
{
	ret->has_ready = ret->ready = true;
	return 0;
}

/* Nobody here can tell whether it exists: its pool may come (back), so this is for another time
 * and never an end. */
static int refuse_pool(struct csi_driver *d, enum vol_kind kind, const char *id, struct err *err)
{
	autoarena struct arena *a = arena_new();
	const struct registry_missing *missing;

	if (registry_missing(d->pools, a, &missing) == 0)
		return err_set(err, ERR_UNAVAILABLE,
			       "%s '%s': its pool is not on this node; ask the node that has it, "
			       "or bring the disk back",
			       vol_kind_name(kind), id);
	return err_set(err, ERR_UNAVAILABLE,
		       "%s '%s': its pool is not here now; not served is '%s' at '%s': %s",
		       vol_kind_name(kind), id, missing[0].name, missing[0].where, missing[0].why);
}

int driver_resolve(struct csi_driver *d, const char *volume_id, struct csi_ref *ret_ref,
		   struct err *err)
{
	struct csi_ref ref;

	if (registry_resolve(d->pools, VOL_KIND_VOLUME, volume_id, &ref.pool, ref.token, err) < 0)
		return -1;
	*ret_ref = ref;
	return 0;
}

int driver_find_pool_of(struct csi_driver *d, enum vol_kind kind, const char *id,
			struct csi_ref *ret_ref, struct err *err)
{
	struct csi_ref ref;

	if (registry_resolve(d->pools, kind, id, &ref.pool, ref.token, err) < 0)
		return -1;
	if (!ref.pool)
		return refuse_pool(d, kind, id, err);
	*ret_ref = ref;
	return 0;
}

int driver_find_pool(struct csi_driver *d, const char *volume_id, struct csi_ref *ret_ref,
		     struct err *err)
{
	return driver_find_pool_of(d, VOL_KIND_VOLUME, volume_id, ret_ref, err);
}

struct backend *driver_elsewhere(const struct csi_driver *d)
{
	struct backend *b = registry_count(d->pools) > 0 ? registry_at(d->pools, 0) : NULL;

	return b && (b->caps & BACKEND_ELSEWHERE) ? b : NULL;
}

int driver_check_listed(const struct csi_driver *d, struct err *err)
{
	const struct backend *b = driver_elsewhere(d);

	return b ? err_set(err, ERR_UNIMPLEMENTED,
			   "'%s' is asked nothing without the secrets of a class, which this call "
			   "does not bring",
			   b->ops->name)
		 : 0;
}

int driver_find_volume(struct csi_driver *d, struct ctx *ctx, const char *volume_id,
		       const struct secrets *secrets, struct csi_ref *ret_ref,
		       struct backend_volume *ret_vol, struct err *err)
{
	struct csi_ref ref;
	struct backend_volume vol = { .allow_buffered = true };

	if (driver_find_pool(d, volume_id, &ref, err) < 0)
		return -1;
	if ((ref.pool->caps & BACKEND_ELSEWHERE) && !secrets)
		memcpy(vol.token, ref.token, sizeof(vol.token));
	else if (backend_stat(ref.pool, ctx, ref.token, secrets, &vol, err) < 0)
		return err_wrap(err, "volume '%s'", volume_id);
	if (vol.is_damaged)
		return err_set(err, ERR_DATA_LOSS, "volume '%s' in pool '%s' is damaged: %s",
			       volume_id, ref.pool->pool_name, vol.damage);
	*ret_ref = ref;
	*ret_vol = vol;
	return 0;
}

int driver_resolve_path(struct csi_driver *d, struct ctx *ctx, const char *field, const char *path,
			const char **ret_path, struct err *err)
{
	char real[PATH_MAX];

	if (host_path_resolve(d->path_root_fd, d->path_root, path, real, err) < 0)
		return err_wrap(err, "%s", field);
	*ret_path = arena_strdup(ctx->arena, real);
	return 0;
}

/* Its filesystem is the storage's own, which the CO can only name or leave open. */
static int check_without_device(const struct backend *pool, const struct backend_volume *vol,
				struct vol_capability *cap, struct err *err)
{
	struct vol_capability any_fs = *cap;
	bool is_shared = pool->caps & BACKEND_ELSEWHERE;

	if (cap->access == VOL_ACCESS_BLOCK)
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "volume_capability.block: pool '%s' (%s) has no block devices; use "
			       "volumeMode Filesystem, or a class of another pool",
			       pool->pool_name, pool->ops->name);
	/* a provisioner writes its default into each PV, where the filesystem is told nobody */
	if (!is_shared && !str_is_empty(cap->fs_type) && !str_is_equal(cap->fs_type, vol->fs))
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "volume_capability.mount.fs_type: '%.64s' is asked, the volume has "
			       "%s",
			       cap->fs_type, vol->fs);
	if (vol->is_read_only && !vol_mode_is_reader_only(cap->mode))
		return err_set(
			err, ERR_FAILED_PRECONDITION,
			"volume_capability.access_mode: %s is asked, and the volume can only "
			"be read",
			vol_mode_name(cap->mode));
	any_fs.fs_type = "";
	cap->fs_type = vol->fs;
	return is_shared ? vol_capability_check_shared(&any_fs, err)
			 : vol_capability_check(&any_fs, err);
}

int driver_check_capability(const struct backend *pool, const struct backend_volume *vol,
			    struct vol_capability *cap, struct err *err)
{
	if (pool->caps & BACKEND_MOUNT)
		return check_without_device(pool, vol, cap, err);
	if (cap->access == VOL_ACCESS_BLOCK)
		return vol_capability_check(cap, err);
	if (pool->caps & BACKEND_ELSEWHERE) { /* the node's to make */
		if (vol_capability_check(cap, err) < 0)
			return -1;
		cap->fs_type = vol_fs_resolve(cap->fs_type);
		return 0;
	}
	if (str_is_empty(vol->fs))
		return err_set(
			err, ERR_FAILED_PRECONDITION,
			"volume_capability.mount: the volume is a raw block device without a "
			"filesystem");
	if (str_is_empty(cap->fs_type))
		cap->fs_type = vol->fs;
	if (vol_capability_check(cap, err) < 0)
		return -1;
	if (!str_is_equal(cap->fs_type, vol->fs))
		return err_set(err, ERR_FAILED_PRECONDITION,
			       "volume_capability.mount.fs_type: '%s' is asked, the volume has %s",
			       cap->fs_type, vol->fs);
	return 0;
}

struct vol_topology driver_pool_topology(struct csi_driver *d, struct arena *a,
					 const struct backend *pool)
{
	struct strpair pair;

	if (pool->caps & BACKEND_ELSEWHERE)
		return (struct vol_topology){ STRMAP_EMPTY };
	pair = (struct strpair){ vol_segment_key(a, d->name, &pool->identity), VOL_SEGMENT_VALUE };

	return (struct vol_topology){ strmap_from(a, &pair, 1) };
}

const char *driver_format_id(struct arena *a, const struct backend *pool, enum vol_kind kind,
			     const char *token)
{
	char text[VOL_ID_MAX];

	backend_format_id(pool, kind, token, text);
	return arena_strdup(a, text);
}

static void fill_source(struct arena *a, const struct backend *pool,
			const struct backend_volume *vol, struct csi_volume *ret)
{
	bool is_snapshot = vol->source_kind == BACKEND_SOURCE_SNAPSHOT;

	ret->content_source = (struct csi_content_source){ CSI_SOURCE_NONE, "" };
	if (vol->source_kind == BACKEND_SOURCE_NONE)
		return;
	ret->has_content_source = true;
	ret->content_source.kind = is_snapshot ? CSI_SOURCE_SNAPSHOT : CSI_SOURCE_VOLUME;
	ret->content_source.id = driver_format_id(
		a, pool, is_snapshot ? VOL_KIND_SNAPSHOT : VOL_KIND_VOLUME, vol->source);
}

void driver_fill_volume(struct csi_driver *d, struct arena *a, const struct backend *pool,
			const struct backend_volume *vol, struct csi_volume *ret)
{
	struct vol_topology *topology = arena_alloc(a, sizeof(*topology));
	struct strpair fs = { "filesystem", str_is_empty(vol->fs) ? "none" : vol->fs };

	*ret = (struct csi_volume){ .volume_id =
					    driver_format_id(a, pool, VOL_KIND_VOLUME, vol->token),
				    .capacity_bytes = vol->bytes,
				    .volume_context = vol->context };
	fill_source(a, pool, vol, ret);
	if (pool->caps & BACKEND_ELSEWHERE)
		return;
	*topology = driver_pool_topology(d, a, pool);
	ret->accessible_topology = (struct vol_topologies){ topology, 1 };
	ret->volume_context = strmap_from(a, &fs, 1);
}

void driver_fill_listed(struct csi_driver *d, struct arena *a, const struct backend *pool,
			const struct backend_volume *vol, struct csi_volume *ret)
{
	char created[CLOCK_TEXT_MAX];

	driver_fill_volume(d, a, pool, vol, ret);
	if (vol->cluster[0])
		ret->volume_context = strmap_with(a, &ret->volume_context, VOL_OWNER_CLUSTER,
						  arena_strdup(a, vol->cluster));
	if (vol->claim_namespace[0] && vol->claim_name[0])
		ret->volume_context = strmap_with(
			a, &ret->volume_context, VOL_OWNER_CLAIM,
			arena_printf(a, "%s/%s", vol->claim_namespace, vol->claim_name));
	if (vol->created_ns <= 0)
		return;
	clock_format(vol->created_ns, created);
	ret->volume_context =
		strmap_with(a, &ret->volume_context, VOL_OWNER_CREATED, arena_strdup(a, created));
}

static int read_boot_id(char ret_id[UUID_TEXT_MAX], struct err *err)
{
	autofree char *text = NULL;
	struct uuid id;
	size_t n;
	int r = fd_read_file(AT_FDCWD, BOOT_ID_PATH, 128, &text, &n);

	if (r < 0)
		return err_os(err, ERR_INTERNAL, r, "read '%s'", BOOT_ID_PATH);
	text[strcspn(text, "\n")] = '\0';
	if (uuid_parse(text, &id) < 0)
		return err_set(err, ERR_INTERNAL, "'%s' holds no UUID", BOOT_ID_PATH);
	uuid_format(&id, ret_id);
	return 0;
}

/* clang-format off */
static const struct csi_service_ops driver_ops = {
	.get_plugin_info              = get_plugin_info,
	.get_plugin_capabilities      = get_plugin_capabilities,
	.probe                        = probe,
	.controller_get_capabilities  = driver_controller_get_capabilities,
	.create_volume                = driver_create_volume,
	.delete_volume                = driver_delete_volume,
	.controller_expand_volume     = driver_controller_expand_volume,
	.controller_publish_volume    = driver_controller_publish_volume,
	.controller_unpublish_volume  = driver_controller_unpublish_volume,
	.validate_volume_capabilities = driver_validate_volume_capabilities,
	.list_volumes                 = driver_list_volumes,
	.get_capacity                 = driver_get_capacity,
	.create_snapshot              = driver_create_snapshot,
	.delete_snapshot              = driver_delete_snapshot,
	.list_snapshots               = driver_list_snapshots,
	.get_snapshot                 = driver_get_snapshot,
	.group_controller_get_capabilities = driver_group_controller_get_capabilities,
	.create_volume_group_snapshot = driver_create_volume_group_snapshot,
	.delete_volume_group_snapshot = driver_delete_volume_group_snapshot,
	.get_volume_group_snapshot    = driver_get_volume_group_snapshot,
	.controller_get_volume        = driver_controller_get_volume,
	.get_metadata_allocated       = driver_get_metadata_allocated,
	.get_metadata_delta           = driver_get_metadata_delta,
	.controller_modify_volume     = driver_controller_modify_volume,
	.controller_list_volume_health = driver_controller_list_volume_health,
	.controller_get_volume_health = driver_controller_get_volume_health,
	.node_get_capabilities        = driver_node_get_capabilities,
	.node_get_info                = driver_node_get_info,
	.node_stage_volume            = driver_node_stage_volume,
	.node_unstage_volume          = driver_node_unstage_volume,
	.node_publish_volume          = driver_node_publish_volume,
	.node_unpublish_volume        = driver_node_unpublish_volume,
	.node_get_volume_stats        = driver_node_get_volume_stats,
	.node_expand_volume           = driver_node_expand_volume,
	.node_get_volume_health       = driver_node_get_volume_health,
	.node_get_storage_health      = driver_node_get_storage_health,
};
/* clang-format on */

static bool serves_Identity(const struct csi_driver_options *opts)
{
	return true;
}

static bool serves_Controller(const struct csi_driver_options *opts)
{
	return opts->serve_controller;
}

static bool serves_GroupController(const struct csi_driver_options *opts)
{
	return opts->serve_controller;
}

static bool serves_SnapshotMetadata(const struct csi_driver_options *opts)
{
	return opts->serve_controller;
}

static bool serves_Node(const struct csi_driver_options *opts)
{
	return opts->serve_node;
}

static struct csi_service_ops choose_ops(const struct csi_driver_options *opts)
{
	struct csi_service_ops ops = driver_ops;

#define CSI_RPC(service, Method, name, ...) \
	if (!serves_##service(opts))        \
		ops.name = NULL;
#define CSI_RPC_STREAM CSI_RPC
#include "csi/rpc.def"
#undef CSI_RPC
	if (!opts->nodes)
		ops.controller_publish_volume = NULL;
	if (!opts->nodes)
		ops.controller_unpublish_volume = NULL;
	return ops;
}

int csi_driver_new(const struct csi_driver_options *opts, struct csi_driver **ret_driver,
		   struct err *err)
{
	struct csi_driver *d;
	char boot_id[UUID_TEXT_MAX];
	int root_fd = -1;

	if (validate_driver_name(opts->name, err) < 0 ||
	    (opts->serve_node && validate_node_id(opts->node_id, err) < 0) ||
	    read_boot_id(boot_id, err) < 0 ||
	    (!str_is_empty(opts->path_root) && host_root_open(opts->path_root, &root_fd, err) < 0))
		return -1;
	d = xcalloc(1, sizeof(*d));
	d->name = xstrdup(opts->name);
	d->version = xstrdup(opts->version);
	d->node_id = xstrdup(str_or(opts->node_id, ""));
	d->cluster_id = xstrdup(str_or(opts->cluster_id, ""));
	pthread_mutex_init(&d->said.lock, NULL);
	memcpy(d->boot_id, boot_id, sizeof(boot_id));
	d->serve_controller = opts->serve_controller;
	d->serve_node = opts->serve_node;
	d->max_volumes = opts->max_volumes;
	d->pools = opts->pools;
	if (opts->nodes)
		d->nodes = *opts->nodes;
	d->path_root = xstrdup(str_or(opts->path_root, ""));
	d->path_root_fd = root_fd;
	d->inflight = inflight_new();
	d->limits = limits_new(str_or(opts->cgroup_root, ""));
	d->looks = looks_new();
	d->ops = choose_ops(opts);
	*ret_driver = d;
	return 0;
}

void csi_driver_free(struct csi_driver *d)
{
	if (!d)
		return;
	inflight_free(d->inflight);
	limits_free(d->limits);
	looks_free(d->looks);
	driver_forget_health(d);
	host_fd_close(d->path_root_fd);
	free(d->path_root);
	free(d->node_id);
	free(d->cluster_id);
	for (size_t i = 0; i < SAID_MAX; i++)
		free(d->said.texts[i]);
	pthread_mutex_destroy(&d->said.lock);
	free(d->version);
	free(d->name);
	free(d);
}

struct csi_service csi_driver_service(struct csi_driver *d)
{
	return (struct csi_service){ &d->ops, d };
}
