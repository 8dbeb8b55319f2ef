/* SPDX-License-Identifier: Apache-2.0 */
/* What each row of the table makes of the options and of the process's caches. */
#include "cmd/controllers-internal.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/str.h"
#include "cmd/controller_run.h"
#include "cmd/lanes.h"
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

/* While claims come faster one after the other, their intents are written at most so often: a
 * claim waits no longer than a person notices, and of a hundred of them four in five cost no write
 * of their own. */
#define INTENTS_APART_NS (50 * NS_PER_MS)
/* How much of a Lease's name, 253 bytes, may be a node's. */
#define NODE_IN_NAME_MAX 150

/* Each process that writes a journal has one of its own: with a node deployment, each node. */
static char *journal_node(const struct controller_env *env)
{
	const char *node = env->opts->node_name;

	if (!env->opts->node_deployment)
		return NULL;
	return strlen(node) > NODE_IN_NAME_MAX
		       ? xasprintf("%08x", hash_fnv1a_32(node, strlen(node)))
		       : xstrdup(node);
}

void *controllers_new_provisioner(const struct controller_env *env, const struct controllers *all)
{
	const struct controller_options *o = env->opts;
	autofree char *journal = xasprintf("%s-intents", env->lease_name);
	autofree char *node = journal_node(env);

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
		.journal_node = node,
		.holder = env->identity,
		.node_name = o->node_deployment ? o->node_name : NULL,
		.owns_immediate = o->node_immediate,
		.own_base_ns = o->node_base_ns,
		.own_max_ns = o->node_max_ns,
		.gather_ns = INTENTS_APART_NS,
		.volume_name_prefix = o->prefix,
		.name_digits = o->name_digits,
		.default_fs = str_or(o->fs, ""),
		.grows_on_node = controllers_grow_on_node(&env->driver),
		.extra_create_metadata = o->extra_metadata,
		.strict_topology = o->strict,
		.no_immediate_topology = !o->immediate,
		.publish_readonly = o->publish_readonly,
		.allow_mode_conversion = !o->prevent_mode_conversion,
		.cross_namespace = o->cross_namespace,
		.workers = o->workers,
		.timeout_ns = o->timeout_ns,
		.retry_base_ns = o->backoff_ns,
		.retry_max_ns = o->backoff_max_ns,
	});
}

void *controllers_new_capacity(const struct controller_env *env, const struct controllers *all)
{
	const struct controller_options *o = env->opts;
	char manager[CAPACITY_MANAGER_BYTES];
	int64_t level = 0;

	controllers_format_manager(o, manager);
	(void)str_parse_i64(o->capacity_owner_level, &level); /* it was checked */
	return capacity_new(&(struct capacity_options){
		.loop = env->loop,
		.work = env->work,
		.lane = LANE_MINOR,
		.client = env->client,
		.fence = env->fence,
		.classes = controllers_cache(all, &storage_class_type),
		.pvs = controllers_cache(all, &core_pv_type),
		.pvcs = controllers_cache(all, &core_pvc_type),
		.capacities = controllers_cache(all, &storage_capacity_type),
		.nodes = controllers_cache(all, &core_node_type),
		.csi_nodes = controllers_cache(all, &storage_csi_node_type),
		.service = env->service,
		.driver_name = env->driver_name,
		.ns = controllers_capacity_ns(env),
		.manager = manager,
		.pod_name = o->capacity_pod,
		.owner_level = (int)level,
		.covers_immediate = o->capacity_immediate,
		.workers = o->capacity_workers,
		.write_qps = o->capacity_qps,
		.write_burst = o->capacity_burst,
		.poll_ns = o->capacity_poll_ns,
		.keep_ns = o->capacity_keep_ns,
		.timeout_ns = o->timeout_ns,
		.retry_base_ns = o->backoff_ns,
		.retry_max_ns = o->backoff_max_ns,
	});
}

void *controllers_new_attacher(const struct controller_env *env, const struct controllers *all)
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
		.lends_expand_secret = o->attacher_lends,
		.max_entries = o->attacher_max_entries,
		.list_interval_ns = o->attacher_reconcile_ns,
		.workers = o->workers,
		.timeout_ns = o->attacher_timeout_ns,
		.retry_base_ns = o->backoff_ns,
		.retry_max_ns = o->backoff_max_ns,
	});
}

void *controllers_new_snapshotter(const struct controller_env *env, const struct controllers *all)
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
		.name_digits = o->snapshotter_digits,
		.group_name_digits = o->snapshotter_group_digits,
		.extra_create_metadata = o->snapshotter_extra_metadata,
		.workers = o->workers,
		.timeout_ns = o->snapshotter_timeout_ns,
		.retry_base_ns = o->backoff_ns,
		.retry_max_ns = o->backoff_max_ns,
	});
}

void *controllers_new_snapshot_controller(const struct controller_env *env,
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
			.nodes = o->distributed ? controllers_cache(all, &core_node_type) : NULL,
		},
		.recorder = env->recorder,
		.no_source_mode = !o->prevent_mode_conversion,
		.workers = o->workers,
		.retry_base_ns = o->backoff_ns,
		.retry_max_ns = o->backoff_max_ns,
	});
}

void *controllers_new_resizer(const struct controller_env *env, const struct controllers *all)
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
		.grows_on_node = controllers_grow_on_node(&env->driver),
		.grows = env->driver.caps & CSI_CAP_BIT(CSI_CTRL_EXPAND_VOLUME),
		.modifies = controllers_modify(&env->driver),
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

void *controllers_new_orphans(const struct controller_env *env, const struct controllers *all)
{
	const struct controller_options *o = env->opts;

	return orphans_new(&(struct orphans_options){
		.loop = env->loop,
		.work = env->work,
		.lane = LANE_API,
		.client = env->client,
		.fence = env->fence,
		.pvs = controllers_cache(all, &core_pv_type),
		.contents = controllers_cache(all, &snapshot_content_type),
		.group_contents = controllers_cache(all, &group_content_type),
		.recorder = env->recorder,
		.service = env->service,
		.driver_name = env->driver_name,
		.journal_ns = env->lease_ns,
		.volume_prefix = o->prefix,
		.snapshot_prefix = o->snapshotter_prefix,
		.group_prefix = o->snapshotter_group_prefix,
		.interval_ns = o->orphans_interval_ns,
		.delete_after_ns = o->orphans_delete_after_ns,
	});
}

void *controllers_new_health_monitor(const struct controller_env *env,
				     const struct controllers *all)
{
	const struct controller_options *o = env->opts;

	return health_monitor_new(&(struct health_monitor_options){
		.loop = env->loop,
		.work = env->work,
		.lane = LANE_API,
		.client = env->client,
		.fence = env->fence,
		.pvcs = controllers_cache(all, &core_pvc_type),
		.pvs = controllers_cache(all, &core_pv_type),
		.recorder = env->recorder,
		.service = env->service,
		.driver_name = env->driver_name,
		.interval_ns = o->health_interval_ns,
		.timeout_ns = o->health_timeout_ns,
	});
}

void *controllers_new_certificates(const struct controller_env *env, const struct controllers *all)
{
	const struct controller_options *o = env->opts;
	autofree char *account = controller_agents_account(o, env->lease_ns);
	autofree char *signer = controller_signer(o);

	return certificates_new(&(struct certificates_options){
		.loop = env->loop,
		.work = env->work,
		.lane = LANE_API,
		.client = env->client,
		.fence = env->fence,
		.requests = controllers_cache(all, &signing_request_type),
		.signer_name = signer,
		.account = account,
		.authority_file = o->agents_ca_cert,
		.authority_key_file = o->agents_ca_key,
		.lifetime_ns = o->agents_lifetime_ns,
		.retry_base_ns = o->backoff_ns,
		.retry_max_ns = o->backoff_max_ns,
	});
}
