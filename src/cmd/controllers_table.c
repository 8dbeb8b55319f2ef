/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of controllers. A row says what it reads and needs of the driver; who else reads the
 * same makes no difference, since each kind has one cache a process.
 */
#include "cmd/controllers-internal.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/str.h"
#include "cmd/controller_run.h"
#include "control/attach.h"
#include "control/capacity.h"
#include "control/certificates.h"
#include "control/core.h"
#include "control/group_snapshots.h"
#include "control/health.h"
#include "control/orphans.h"
#include "control/provision.h"
#include "control/resizer.h"
#include "control/signing_request.h"
#include "control/snapshot_controller.h"
#include "control/snapshots.h"
#include "control/snapshotter.h"
#include "control/storage.h"
#include <stdio.h>

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
CONTROLLER(capacity)
CONTROLLER(certificates)
CONTROLLER(attacher)
CONTROLLER(orphans)
CONTROLLER(health_monitor)
CONTROLLER(resizer)
CONTROLLER(snapshotter)
CONTROLLER(snapshot_controller)
#undef CONTROLLER

static void settle_provisioner(void *controller)
{
	provisioner_settle(controller);
}

static bool has_topology(const struct controller_env *env)
{
	return env->driver.has_topology;
}

/* ControllerPublishVolume, so there are VolumeAttachments. */
static bool attaches(const struct controller_env *env)
{
	return env->driver.caps & CSI_CAP_BIT(CSI_CTRL_PUBLISH_UNPUBLISH_VOLUME);
}

static bool has_snapshots(const struct controller_env *env)
{
	return env->driver.caps & CSI_CAP_BIT(CSI_CTRL_CREATE_DELETE_SNAPSHOT);
}

/* Its controller service has no call to grow a volume, and its nodes grow it all the same. */
bool controllers_grow_on_node(const struct controller_driver *driver)
{
	return !(driver->caps & CSI_CAP_BIT(CSI_CTRL_EXPAND_VOLUME)) &&
	       driver->node_caps & CSI_CAP_BIT(CSI_NODE_EXPAND_VOLUME);
}

static const struct controller_flag provisioner_flags[] = {
	{ "metrics-address", "http-endpoint" },
	{ 0 },
};

/* With a node of its own the others do not matter. */
static void select_own_node(const struct controller_env *env, struct controller_scope *ret_scope)
{
	if (env->opts->node_deployment)
		(void)snprintf(ret_scope->field_selector, sizeof(ret_scope->field_selector),
			       "metadata.name=%s", env->opts->node_name);
}

/* Contents that the snapshot-controller has marked for that node. */
static void select_own_contents(const struct controller_env *env,
				struct controller_scope *ret_scope)
{
	if (env->opts->node_deployment)
		(void)snprintf(ret_scope->label_selector, sizeof(ret_scope->label_selector),
			       SNAPSHOT_LABEL_NODE "=%s", env->opts->node_name);
}

static bool marks_nodes(const struct controller_env *env)
{
	return env->opts->distributed;
}

/* Whose capacities are ours, by their label. */
void controllers_format_manager(const struct controller_options *o, char *manager)
{
	capacity_manager(o->node_deployment ? o->node_name : "", manager);
}

const char *controllers_capacity_ns(const struct controller_env *env)
{
	return str_or(env->opts->capacity_ns, env->lease_ns);
}

static void select_capacities(const struct controller_env *env, struct controller_scope *ret_scope)
{
	char manager[CAPACITY_MANAGER_BYTES];

	controllers_format_manager(env->opts, manager);
	ret_scope->ns = controllers_capacity_ns(env);
	(void)snprintf(ret_scope->label_selector, sizeof(ret_scope->label_selector),
		       STORAGE_LABEL_DRIVER "=%s," STORAGE_LABEL_MANAGER "=%s", env->driver_name,
		       manager);
}

static bool tells_capacity(const struct controller_driver *driver)
{
	return driver->has_topology && driver->caps & CSI_CAP_BIT(CSI_CTRL_GET_CAPACITY);
}

static const struct controller_flag attacher_flags[] = {
	{ "max-entries", "attacher-max-entries" },
	{ "metrics-address", "http-endpoint" },
	{ "reconcile-sync", "attacher-reconcile-sync" },
	{ "timeout", "attacher-timeout" },
	{ 0 },
};

static bool has_groups(const struct controller_env *env)
{
	return env->driver.group_caps &
	       CSI_CAP_BIT(CSI_GROUP_CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT);
}

static const struct controller_flag snapshotter_flags[] = {
	{ "timeout", "snapshotter-timeout" },
	{ "snapshot-name-prefix", "snapshotter-name-prefix" },
	{ "groupsnapshot-name-prefix", "snapshotter-group-name-prefix" },
	{ "groupsnapshot-name-uuid-length", "snapshotter-group-name-uuid-length" },
	{ "metrics-address", "http-endpoint" },
	{ "snapshot-name-uuid-length", "snapshotter-name-uuid-length" },
	{ "extra-create-metadata", "snapshotter-extra-create-metadata" },
	{ 0 },
};

bool controllers_modify(const struct controller_driver *driver)
{
	return driver->caps & CSI_CAP_BIT(CSI_CTRL_MODIFY_VOLUME);
}

static bool modifies(const struct controller_env *env)
{
	return controllers_modify(&env->driver);
}

static bool resizes(const struct controller_driver *driver)
{
	return driver->caps & CSI_CAP_BIT(CSI_CTRL_EXPAND_VOLUME) ||
	       controllers_grow_on_node(driver) || controllers_modify(driver);
}

static const struct controller_flag resizer_flags[] = {
	{ "metrics-address", "http-endpoint" },
	{ "workers", "worker-threads" },
	{ "resize-timeout", "resizer-resize-timeout" },
	{ "modify-timeout", "resizer-modify-timeout" },
	{ "extra-modify-metadata", "resizer-extra-modify-metadata" },
	{ "handle-volume-inuse-error", "resizer-handle-volume-inuse-error" },
	{ NULL, NULL },
};

static const struct controller_flag health_flags[] = {
	{ "list-volumes-interval", "health-interval" },
	{ "metrics-address", "http-endpoint" },
	{ "timeout", "health-timeout" },
	{ NULL, NULL },
};

static bool tells_health(const struct controller_driver *driver)
{
	return driver->caps &
	       (CSI_CAP_BIT(CSI_CTRL_GET_VOLUME_HEALTH) | CSI_CAP_BIT(CSI_CTRL_LIST_VOLUME_HEALTH));
}

static void select_requests(const struct controller_env *env, struct controller_scope *ret_scope)
{
	autofree char *signer = controller_signer(env->opts);

	(void)snprintf(ret_scope->field_selector, sizeof(ret_scope->field_selector),
		       "spec.signerName=%s", signer);
}

const struct controller_row controller_rows[] = {
	{
		.name = "provisioner",
		.program = "csi-provisioner",
		.flags = provisioner_flags,
		.lease = "",
		.n_queues = 3,
		.caps = CSI_CAP_BIT(CSI_CTRL_CREATE_DELETE_VOLUME),
		.without = "makes no volumes (no CREATE_DELETE_VOLUME)",
		.needs = {
			{ &core_pvc_type },
			{ &core_pv_type },
			{ &storage_class_type },
			{ &storage_attachment_type, attaches },
			{ &core_node_type, has_topology, select_own_node },
			{ &storage_csi_node_type, has_topology, select_own_node },
			{ &snapshot_type, has_snapshots },
		},
		.new = controllers_new_provisioner,
		.start = start_provisioner,
		.pause = pause_provisioner,
		.settle = settle_provisioner,
		.free = free_provisioner,
	},
	{
		.name = "capacity",
		.is_able = tells_capacity,
		.does_without = true,
		.without = "does not tell how much room there is where (no GET_CAPACITY, or no "
			   "topology)",
		.needs = {
			{ &core_pvc_type },
			{ &core_pv_type },
			{ &storage_class_type },
			{ &core_node_type, NULL, select_own_node },
			{ &storage_csi_node_type, NULL, select_own_node },
			{ &storage_capacity_type, NULL, select_capacities },
		},
		.new = controllers_new_capacity,
		.start = start_capacity,
		.pause = pause_capacity,
		.free = free_capacity,
	},
	{
		.name = "attacher",
		.program = "csi-attacher",
		.lease = "external-attacher-leader-",
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
		.new = controllers_new_attacher,
		.start = start_attacher,
		.pause = pause_attacher,
		.free = free_attacher,
	},
	{
		.name = "resizer",
		.program = "csi-resizer",
		.lease = "external-resizer-",
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
		.new = controllers_new_resizer,
		.start = start_resizer,
		.pause = pause_resizer,
		.free = free_resizer,
	},
	{
		.name = "snapshotter",
		.program = "csi-snapshotter",
		.lease = "external-snapshotter-leader-",
		.flags = snapshotter_flags,
		.component = "csi-snapshotter",
		.n_queues = 2,
		.caps = CSI_CAP_BIT(CSI_CTRL_CREATE_DELETE_SNAPSHOT),
		.without = "cuts no snapshots (no CREATE_DELETE_SNAPSHOT)",
		.needs = {
			{ &snapshot_content_type, NULL, select_own_contents },
			{ &snapshot_class_type },
			{ &group_content_type, has_groups, select_own_contents },
			{ &group_class_type, has_groups },
		},
		.new = controllers_new_snapshotter,
		.start = start_snapshotter,
		.pause = pause_snapshotter,
		.free = free_snapshotter,
	},
	{
		.name = "health",
		.program = "csi-external-health-monitor-controller",
		.lease = "external-health-monitor-leader-",
		.flags = health_flags,
		.component = "csi-pv-monitor-controller",
		.n_queues = 1,
		.is_able = tells_health,
		.without = "does not tell how its volumes are (no GET_VOLUME_HEALTH, no "
			   "LIST_VOLUME_HEALTH)",
		.needs = {
			{ &core_pvc_type },
			{ &core_pv_type },
		},
		.new = controllers_new_health_monitor,
		.start = start_health_monitor,
		.pause = pause_health_monitor,
		.free = free_health_monitor,
	},
	{
		.name = "orphans",
		.component = "orphans",
		.only_by_name = true,
		.n_queues = 1,
		.caps = CSI_CAP_BIT(CSI_CTRL_LIST_VOLUMES),
		.without = "does not list its volumes (no LIST_VOLUMES)",
		.needs = {
			{ &core_pv_type },
			{ &snapshot_content_type, has_snapshots },
			{ &group_content_type, has_groups },
		},
		.new = controllers_new_orphans,
		.start = start_orphans,
		.pause = pause_orphans,
		.free = free_orphans,
	},
	{
		.name = "certificates",
		.component = "certificates",
		.only_by_name = true,
		.needs_no_driver = true,
		.is_early = true,
		.n_queues = 1,
		.without = "",
		.needs = {
			{ &signing_request_type, NULL, select_requests },
		},
		.new = controllers_new_certificates,
		.start = start_certificates,
		.pause = pause_certificates,
		.free = free_certificates,
	},
	{
		.name = "snapshot-controller",
		.program = "snapshot-controller",
		.lease = "snapshot-controller-leader",
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
			{ &core_node_type, marks_nodes },
		},
		.new = controllers_new_snapshot_controller,
		.start = start_snapshot_controller,
		.pause = pause_snapshot_controller,
		.free = free_snapshot_controller,
	},
};
const size_t n_controller_rows = ARRAY_LEN(controller_rows);
