/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_SNAPSHOT_PARAMS_H
#define CONTROL_SNAPSHOT_PARAMS_H

#include "base/err.h"
#include "base/strmap.h"

/* Parameters of a class of snapshots, or of group snapshots, as the driver gets them: without those
 * that are for the controllers. INVALID_ARGUMENT: an unknown key with Kubernetes' prefix. */
int snapshot_strip_parameters(struct arena *arena, const struct strmap *params,
			      struct strmap *ret_params, struct err *err);

#endif
