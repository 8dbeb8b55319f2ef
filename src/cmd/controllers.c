/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of controllers, and what is made of its rows. A row says what it reads and needs of the
 * driver; who else reads the same makes no difference, since each kind has one cache a process.
 */
#include "cmd/controllers.h"

#include "base/mem.h"
#include "base/str.h"
#include "cmd/controller_run.h"
#include "cmd/lanes.h"
#include "control/attach.h"
#include "control/core.h"
#include "control/group_snapshots.h"
#include "control/provision.h"
#include "control/resizer.h"
#include "control/snapshot_controller.h"
#include "control/snapshots.h"
#include "control/snapshotter.h"
#include "control/storage.h"
#include "kube/informer.h"
#include "kube/recorder.h"

/* ---- those of a process ---- */

struct informer *controllers_cache(const struct controllers *c, const struct kube_type *type)
{
	for (size_t i = 0; i < c->types.n; i++)
		if (c->types.v[i] == type)
			return c->caches.v[i];
	return NULL;
}

static void add_caches(struct controllers *c, const struct controller_row *row,
		       const struct controller_env *env)
{
	for (const struct controller_need *need = row->needs; need->type; need++) {
		if (controllers_cache(c, need->type) ||
		    (need->is_needed && !need->is_needed(&env->driver)))
			continue;
		vec_push(&c->caches, informer_new(env->client, need->type, NULL));
		vec_push(&c->types, need->type);
	}
}

static void add_controller(struct controllers *c, const struct controller_row *row,
			   const struct controller_env *env)
{
	autofree char *component = row->needs_no_driver ? xstrdup(row->component)
				   : row->component
					   ? xasprintf("%s %s", row->component, env->driver_name)
					   : xstrdup(env->driver_name);
	struct controller_env own = *env;

	own.recorder = recorder_new(env->work, LANE_API, env->client, component, env->identity);
	vec_push(&c->recorders, own.recorder);
	vec_push(&c->running, row->new (&own, c));
}

/* Caches first, so that rows may read each other's; they start last, when all watch. */
void controllers_init(struct controllers *c, const struct controller_row *rows, size_t n_rows,
		      const char *names, const struct controller_env *env)
{
	for (size_t i = 0; i < n_rows; i++) {
		if (!controller_is_named(&rows[i], names))
			continue;
		vec_push(&c->rows, &rows[i]);
		add_caches(c, &rows[i], env);
	}
	for (size_t i = 0; i < c->rows.n; i++)
		add_controller(c, c->rows.v[i], env);
	for (size_t i = 0; i < c->caches.n; i++)
		informer_start(c->caches.v[i]);
}

void controllers_start(struct controllers *c)
{
	for (size_t i = 0; i < c->running.n; i++)
		c->rows.v[i]->start(c->running.v[i]);
}

void controllers_pause(struct controllers *c)
{
	for (size_t i = 0; i < c->running.n; i++)
		c->rows.v[i]->pause(c->running.v[i]);
}

void controllers_free(struct controllers *c)
{
	for (size_t i = 0; i < c->running.n; i++)
		c->rows.v[i]->free(c->running.v[i]);
	for (size_t i = 0; i < c->recorders.n; i++)
		recorder_free(c->recorders.v[i]);
	vec_done(&c->running);
	vec_done(&c->recorders);
	vec_done(&c->rows);
}

void controllers_free_caches(struct controllers *c)
{
	for (size_t i = 0; i < c->caches.n; i++)
		informer_free(c->caches.v[i]);
	vec_done(&c->caches);
	vec_done(&c->types);
}

/* ---- the table ---- */

/* A controller's own functions, as those of a row. */
#define CONTROLLER(name)                           \
	static void start_##name(void *controller) \
	{                                          \
		name##_start(controller);          \
	}                                          \
	static void pause_##name(void *controller) \
	{                                          \
		name##_pause(controller);          \
	}                                          \
	static void free_##name(void *controller)  \
	{                                          \
		name##_free(controller);           \
	}
CONTROLLER(provisioner)
CONTROLLER(attacher)
CONTROLLER(resizer)
CONTROLLER(snapshotter)
CONTROLLER(snapshot_controller)
#undef CONTROLLER

static bool has_topology(const struct controller_driver *driver)
{
	return driver->has_topology;
}

/* ControllerPublishVolume, so there are VolumeAttachments. */
static bool attaches(const struct controller_driver *driver)
{
	return driver->caps & CSI_CAP_BIT(CSI_CTRL_PUBLISH_UNPUBLISH_VOLUME);
}

static bool has_snapshots(const struct controller_driver *driver)
{
	return driver->caps & CSI_CAP_BIT(CSI_CTRL_CREATE_DELETE_SNAPSHOT);
}

/* Its controller service has no call to grow a volume, and its nodes grow it all the same. */
static bool grows_on_node(const struct controller_driver *driver)
{
	return !(driver->caps & CSI_CAP_BIT(CSI_CTRL_EXPAND_VOLUME)) &&
	       driver->node_caps & CSI_CAP_BIT(CSI_NODE_EXPAND_VOLUME);
}

static void *new_provisioner(const struct controller_env *env, const struct controllers *all)
{
	const struct controller_options *o = env->opts;
	autofree char *journal = xasprintf("%s-intents", env->lease_name);

	return provisioner_new(&(struct provision_options){
		.loop = env->loop,
		.work = env->work,
		.lane = LANE_API,
		.client = env->client,
		.fence = env->fence,
		.caches = {
			.pvcs = controllers_cache(all, &core_pvc_type),
			.pvs = controllers_cache(all, &core_pv_type),
			.classes = controllers_cache(all, &storage_class_type),
			.nodes = controllers_cache(all, &core_node_type),
			.csi_nodes = controllers_cache(all, &storage_csi_node_type),
			.attachments = controllers_cache(all, &storage_attachment_type),
			.snapshots = controllers_cache(all, &snapshot_type),
		},
		.recorder = env->recorder,
		.service = env->service,
		.driver_name = env->driver_name,
		.journal_ns = env->lease_ns,
		.journal_name = journal,
		.holder = env->identity,
		.volume_name_prefix = o->prefix,
		.default_fs = str_or(o->fs, ""),
		.grows_on_node = grows_on_node(&env->driver),
		.extra_create_metadata = o->extra_metadata,
		.strict_topology = o->strict,
		.no_immediate_topology = !o->immediate,
		.allow_mode_conversion = !o->prevent_mode_conversion,
		.workers = o->workers,
		.timeout_ns = o->timeout_ns,
		.retry_base_ns = o->backoff_ns,
		.retry_max_ns = o->backoff_max_ns,
	});
}

static void *new_attacher(const struct controller_env *env, const struct controllers *all)
{
	const struct controller_options *o = env->opts;

	return attacher_new(&(struct attach_options){
		.loop = env->loop,
		.work = env->work,
		.lane = LANE_API,
		.client = env->client,
		.fence = env->fence,
		.pvs = controllers_cache(all, &core_pv_type),
		.csi_nodes = controllers_cache(all, &storage_csi_node_type),
		.attachments = controllers_cache(all, &storage_attachment_type),
		.service = env->service,
		.driver_name = env->driver_name,
		.default_fs = str_or(o->fs, ""),
		.max_entries = o->attacher_max_entries,
		.list_interval_ns = o->attacher_reconcile_ns,
		.workers = o->workers,
		.timeout_ns = o->attacher_timeout_ns,
		.retry_base_ns = o->backoff_ns,
		.retry_max_ns = o->backoff_max_ns,
	});
}

static const struct controller_flag attacher_flags[] = {
	{ "max-entries", "attacher-max-entries" },
	{ "reconcile-sync", "attacher-reconcile-sync" },
	{ "timeout", "attacher-timeout" },
	{ 0 },
};

static bool has_groups(const struct controller_driver *driver)
{
	return driver->group_caps & CSI_CAP_BIT(CSI_GROUP_CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT);
}

static void *new_snapshotter(const struct controller_env *env, const struct controllers *all)
{
	const struct controller_options *o = env->opts;

	return snapshotter_new(&(struct snapshotter_options){
		.loop = env->loop,
		.work = env->work,
		.lane = LANE_API,
		.client = env->client,
		.fence = env->fence,
		.contents = controllers_cache(all, &snapshot_content_type),
		.classes = controllers_cache(all, &snapshot_class_type),
		.group_contents = controllers_cache(all, &group_content_type),
		.group_classes = controllers_cache(all, &group_class_type),
		.recorder = env->recorder,
		.service = env->service,
		.driver_name = env->driver_name,
		.name_prefix = o->snapshotter_prefix,
		.group_name_prefix = o->snapshotter_group_prefix,
		.extra_create_metadata = o->snapshotter_extra_metadata,
		.workers = o->workers,
		.timeout_ns = o->snapshotter_timeout_ns,
		.retry_base_ns = o->backoff_ns,
		.retry_max_ns = o->backoff_max_ns,
	});
}

static const struct controller_flag snapshotter_flags[] = {
	{ "timeout", "snapshotter-timeout" },
	{ "snapshot-name-prefix", "snapshotter-name-prefix" },
	{ "groupsnapshot-name-prefix", "snapshotter-group-name-prefix" },
	{ "extra-create-metadata", "snapshotter-extra-create-metadata" },
	{ 0 },
};

static void *new_snapshot_controller(const struct controller_env *env,
				     const struct controllers *all)
{
	const struct controller_options *o = env->opts;

	return snapshot_controller_new(&(struct snapshot_controller_options){
		.loop = env->loop,
		.work = env->work,
		.lane = LANE_API,
		.client = env->client,
		.fence = env->fence,
		.caches = {
			.snapshots = controllers_cache(all, &snapshot_type),
			.contents = controllers_cache(all, &snapshot_content_type),
			.classes = controllers_cache(all, &snapshot_class_type),
			.pvcs = controllers_cache(all, &core_pvc_type),
			.pvs = controllers_cache(all, &core_pv_type),
			.groups = controllers_cache(all, &group_snapshot_type),
			.group_contents = controllers_cache(all, &group_content_type),
			.group_classes = controllers_cache(all, &group_class_type),
		},
		.recorder = env->recorder,
		.no_source_mode = !o->prevent_mode_conversion,
		.workers = o->workers,
		.retry_base_ns = o->backoff_ns,
		.retry_max_ns = o->backoff_max_ns,
	});
}

static bool modifies(const struct controller_driver *driver)
{
	return driver->caps & CSI_CAP_BIT(CSI_CTRL_MODIFY_VOLUME);
}

static bool resizes(const struct controller_driver *driver)
{
	return driver->caps & CSI_CAP_BIT(CSI_CTRL_EXPAND_VOLUME) || grows_on_node(driver) ||
	       modifies(driver);
}

static void *new_resizer(const struct controller_env *env, const struct controllers *all)
{
	const struct controller_options *o = env->opts;

	return resizer_new(&(struct resizer_options){
		.loop = env->loop,
		.work = env->work,
		.lane = LANE_API,
		.client = env->client,
		.fence = env->fence,
		.pvcs = controllers_cache(all, &core_pvc_type),
		.pvs = controllers_cache(all, &core_pv_type),
		.classes = controllers_cache(all, &storage_attributes_class_type),
		.recorder = env->recorder,
		.service = env->service,
		.driver_name = env->driver_name,
		.grows_on_node = grows_on_node(&env->driver),
		.grows = env->driver.caps & CSI_CAP_BIT(CSI_CTRL_EXPAND_VOLUME),
		.modifies = modifies(&env->driver),
		.extra_modify_metadata = o->resizer_extra_metadata,
		.ignores_use = !o->resizer_handles_use,
		.workers = o->workers,
		.timeout_ns = o->resizer_timeout_ns ? o->resizer_timeout_ns : o->timeout_ns,
		.modify_timeout_ns =
			o->resizer_modify_timeout_ns ? o->resizer_modify_timeout_ns : o->timeout_ns,
		.retry_base_ns = o->backoff_ns,
		.retry_max_ns = o->backoff_max_ns,
	});
}

static const struct controller_flag resizer_flags[] = {
	{ "workers", "worker-threads" },
	{ "resize-timeout", "resizer-resize-timeout" },
	{ "modify-timeout", "resizer-modify-timeout" },
	{ "extra-modify-metadata", "resizer-extra-modify-metadata" },
	{ "handle-volume-inuse-error", "resizer-handle-volume-inuse-error" },
	{ NULL, NULL },
};

const struct controller_row controller_rows[] = {
	{
		.name = "provisioner",
		.program = "csi-provisioner",
		.n_queues = 3,
		.caps = CSI_CAP_BIT(CSI_CTRL_CREATE_DELETE_VOLUME),
		.without = "makes no volumes (no CREATE_DELETE_VOLUME)",
		.needs = {
			{ &core_pvc_type },
			{ &core_pv_type },
			{ &storage_class_type },
			{ &storage_attachment_type, attaches },
			{ &core_node_type, has_topology },
			{ &storage_csi_node_type, has_topology },
			{ &snapshot_type, has_snapshots },
		},
		.new = new_provisioner,
		.start = start_provisioner,
		.pause = pause_provisioner,
		.free = free_provisioner,
	},
	{
		.name = "attacher",
		.program = "csi-attacher",
		.flags = attacher_flags,
		.n_queues = 3,
		.caps = CSI_CAP_BIT(CSI_CTRL_PUBLISH_UNPUBLISH_VOLUME),
		.does_without = true,
		.without = "attaches no volumes (no PUBLISH_UNPUBLISH_VOLUME)",
		.needs = {
			{ &core_pv_type },
			{ &storage_csi_node_type },
			{ &storage_attachment_type },
		},
		.new = new_attacher,
		.start = start_attacher,
		.pause = pause_attacher,
		.free = free_attacher,
	},
	{
		.name = "resizer",
		.program = "csi-resizer",
		.flags = resizer_flags,
		.component = "external-resizer",
		.n_queues = 1,
		.is_able = resizes,
		.without = "neither grows nor modifies volumes (no EXPAND_VOLUME, no "
			   "MODIFY_VOLUME)",
		.needs = {
			{ &core_pvc_type },
			{ &core_pv_type },
			{ &storage_attributes_class_type, modifies },
		},
		.new = new_resizer,
		.start = start_resizer,
		.pause = pause_resizer,
		.free = free_resizer,
	},
	{
		.name = "snapshotter",
		.program = "csi-snapshotter",
		.flags = snapshotter_flags,
		.component = "csi-snapshotter",
		.n_queues = 2,
		.caps = CSI_CAP_BIT(CSI_CTRL_CREATE_DELETE_SNAPSHOT),
		.without = "cuts no snapshots (no CREATE_DELETE_SNAPSHOT)",
		.needs = {
			{ &snapshot_content_type },
			{ &snapshot_class_type },
			{ &group_content_type, has_groups },
			{ &group_class_type, has_groups },
		},
		.new = new_snapshotter,
		.start = start_snapshotter,
		.pause = pause_snapshotter,
		.free = free_snapshotter,
	},
	{
		.name = "snapshot-controller",
		.program = "snapshot-controller",
		.component = "snapshot-controller",
		.only_by_name = true,
		.needs_no_driver = true,
		.n_queues = 5,
		.without = "",
		.needs = {
			{ &core_pvc_type },
			{ &core_pv_type },
			{ &snapshot_type },
			{ &snapshot_content_type },
			{ &snapshot_class_type },
			{ &group_snapshot_type },
			{ &group_content_type },
			{ &group_class_type },
		},
		.new = new_snapshot_controller,
		.start = start_snapshot_controller,
		.pause = pause_snapshot_controller,
		.free = free_snapshot_controller,
	},
};
const size_t n_controller_rows = ARRAY_LEN(controller_rows);
