/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CMD_CONTROLLERS_INTERNAL_H
#define CMD_CONTROLLERS_INTERNAL_H

#include "cmd/controllers.h"

/* Shared by controllers_table.c and controllers_new.c. */

/* controllers_new.c: as struct controller_row's new. */
void *controllers_new_provisioner(const struct controller_env *env, const struct controllers *all);
void *controllers_new_capacity(const struct controller_env *env, const struct controllers *all);
void *controllers_new_attacher(const struct controller_env *env, const struct controllers *all);
void *controllers_new_snapshotter(const struct controller_env *env, const struct controllers *all);
void *controllers_new_snapshot_controller(const struct controller_env *env,
					  const struct controllers *all);
void *controllers_new_resizer(const struct controller_env *env, const struct controllers *all);
void *controllers_new_orphans(const struct controller_env *env, const struct controllers *all);
void *controllers_new_health_monitor(const struct controller_env *env,
				     const struct controllers *all);
void *controllers_new_certificates(const struct controller_env *env, const struct controllers *all);

/* controllers_table.c: its controller service has no call to grow a volume, and its nodes grow it
 * all the same. */
bool controllers_grow_on_node(const struct controller_driver *driver);
bool controllers_modify(const struct controller_driver *driver);
/* Who publishes capacities: the value of their label (CAPACITY_MANAGER_BYTES); and their namespace.
 */
void controllers_format_manager(const struct controller_options *o, char *manager);
const char *controllers_capacity_ns(const struct controller_env *env);

#endif
